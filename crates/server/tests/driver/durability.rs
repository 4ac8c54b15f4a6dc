//! Nothing is answered before it is durable, and nothing durable is lost.

use triquest_allocator::{Command, Lineage, Outcome, Refusal};
use triquest_engine::TookEffect;
use triquest_journal::memory::Fault;
use triquest_server::{driver::DriverError, view::LeaseFilter};
use triquest_wire::status::JournalState;

use crate::world::{World, checkout, checkout_of, install, is_granted, lease, release, renew};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grant_denial_and_release_are_answered_only_when_they_are_on_disk() {
    let world = World::with_seats(3).await;
    for number in [1, 4] {
        assert!(is_granted(&world.decide(checkout(number)).await));
    }

    world.gate.hold();
    let before = world.driver.view().position();
    let arrived = world.gate.arrivals();
    let granted = world.spawn(checkout(2));
    world.gate.wait_for_arrivals(arrived + 1).await;
    let denied = world.spawn(checkout(3));
    let released = world.spawn(release(1));
    // The driver decides on: a renewal that depends on nothing of this is answered while the disk stands still.
    let renewed = world.decide(renew(4, 1)).await.unwrap();
    assert!(matches!(renewed.outcome, Outcome::Renewed { .. }));
    assert_eq!(world.driver.view().position(), before, "nothing is shown before it is durable");
    assert!(world.driver.view().lease(triquest_wire::LeaseId(lease(2).0)).is_none());
    assert!(!granted.is_finished() && !denied.is_finished() && !released.is_finished());

    world.gate.open();
    let granted = granted.await.unwrap().unwrap();
    assert!(matches!(granted.outcome, Outcome::Granted(_)));
    assert!(granted.position > before);
    let denied = denied.await.unwrap().unwrap();
    let released = released.await.unwrap().unwrap();
    assert!(matches!(released.outcome, Outcome::Released { .. }));
    // Whichever of the two came first into the entry, the view has both.
    assert!(matches!(denied.outcome, Outcome::Denied(_) | Outcome::Granted(_)));
    assert!(world.driver.view().position() >= denied.position.max(released.position));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_waits_for_the_grant_that_it_depends_on() {
    let world = World::with_seats(2).await;
    world.gate.hold();
    let arrived = world.gate.arrivals();
    let granted = world.spawn(checkout(1));
    world.gate.wait_for_arrivals(arrived + 1).await;
    // A client that repeats over another connection could ask so.
    let renewed = world.spawn(renew(1, 1));
    let other = world.decide(renew(77, 1));
    let unknown = tokio::spawn({
        let driver = world.driver.clone();
        async move { driver.decide(renew(78, 1), None).await }
    });
    tokio::task::yield_now().await;
    assert!(!granted.is_finished() && !renewed.is_finished() && !unknown.is_finished());
    world.gate.open();
    assert!(is_granted(&granted.await.unwrap()));
    assert!(matches!(renewed.await.unwrap().unwrap().outcome, Outcome::Renewed { .. }));
    assert_eq!(unknown.await.unwrap().unwrap().outcome, Outcome::Refused(Refusal::UnknownLease));
    assert_eq!(other.await.unwrap().outcome, Outcome::Refused(Refusal::UnknownLease));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_a_crash_and_repeats_get_the_same_outcome() {
    let world = World::with_seats(2).await;
    assert!(is_granted(&world.decide(checkout(1)).await));
    assert!(is_granted(&world.decide(checkout(2)).await));
    let denied = world.decide(checkout(3)).await.unwrap().outcome;
    assert!(matches!(denied, Outcome::Denied(_)));
    world.decide(release(2)).await.unwrap();

    let world = world.crash();
    assert!(is_granted(&world.decide(checkout(1)).await), "the same attempt, the same outcome");
    assert_eq!(world.decide(checkout(3)).await.unwrap().outcome, denied);
    assert!(!is_granted(&world.decide(checkout(2)).await), "a released id never grants again");
    assert!(is_granted(&world.decide(checkout_of(3, 2, &[("cad", 1)], None)).await), "a higher attempt is decided anew");
    assert_eq!(world.driver.view().live_leases(), 2);
    let pools = world.driver.view().pools(&triquest_server::view::PoolFilter::default(), None, 10).pools;
    assert_eq!((pools[0].numbers.total, pools[0].numbers.used, pools[0].numbers.free), (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_whose_append_is_lost_in_a_crash_was_never_answered_and_its_seat_is_free() {
    let world = World::with_seats(1).await;
    world.gate.hold();
    let arrived = world.gate.arrivals();
    let lost = world.spawn(checkout(1));
    world.gate.wait_for_arrivals(arrived + 1).await;
    assert!(!lost.is_finished());
    let disk = world.disk.copy();
    let world_after = World::start(disk, world.clock.clone());
    assert!(is_granted(&world_after.decide(checkout(2)).await));
    world.gate.open();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_is_asked_again_until_the_index_is_occupied() {
    let world = World::with_seats(2).await;
    world.gate.inject([Fault::UnknownLost, Fault::UnknownCommitted]);
    assert!(is_granted(&world.decide(checkout(1)).await));
    assert!(is_granted(&world.decide(checkout(2)).await));
    let world = world.restart().await;
    assert_eq!(world.driver.view().live_leases(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_grants_but_not_renewals_and_room_brings_them_back() {
    let world = World::with_seats(3).await;
    assert!(is_granted(&world.decide(checkout(1)).await));
    world.decide(renew(1, 1)).await.unwrap();

    let arrived = world.gate.arrivals();
    world.gate.hold();
    let stuck = world.spawn(checkout(2));
    // It was decided while there was room; others take that before it is written.
    world.gate.wait_for_arrivals(arrived + 1).await;
    world.disk.set_room_bytes(Some(0));
    world.gate.open();
    // The second append of the same entry comes after the driver has heard that the first found no room.
    world.gate.wait_for_arrivals(arrived + 2).await;
    assert_eq!(world.driver.journal_state(), JournalState::DiskFull);
    assert_eq!(world.decide(checkout(3)).await.unwrap_err(), DriverError::DiskFull(TookEffect::No));
    assert!(matches!(world.decide(renew(1, 2)).await.unwrap().outcome, Outcome::Renewed { .. }));
    assert!(!stuck.is_finished(), "neither granted nor refused: its entry may still become durable");

    world.disk.set_room_bytes(None);
    assert!(is_granted(&stuck.await.unwrap()), "the same bytes were appended when there was room");
    // The answer comes before the journal thread has looked for a new reserve; a durable request comes after it.
    world.decide(release(1)).await.unwrap();
    assert_eq!(world.driver.journal_state(), JournalState::Ok);
    assert!(is_granted(&world.decide(checkout_of(3, 2, &[("cad", 1)], None)).await));
    assert_eq!(world.driver.view().live_leases(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_journal_stops_the_server_and_answers_nobody_falsely() {
    let world = World::with_seats(2).await;
    world.gate.inject([Fault::Fenced]);
    assert_eq!(world.decide(checkout(1)).await.unwrap_err(), DriverError::OutcomeUnknown);
    let fault = world.driver.faulted().await;
    assert!(fault.message.contains("another server"), "{fault:?}");
    assert!(!fault.hint.is_empty());
    assert_eq!(world.decide(checkout(2)).await.unwrap_err(), DriverError::Stopping(TookEffect::No));
    let world = world.crash();
    assert_eq!(world.driver.view().live_leases(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_disk_stops_the_server_with_what_to_do() {
    let world = World::with_seats(2).await;
    world.gate.inject([Fault::Error]);
    assert_eq!(world.decide(checkout(1)).await.unwrap_err(), DriverError::OutcomeUnknown);
    let fault = world.driver.faulted().await;
    assert!(!fault.message.is_empty() && !fault.hint.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_together_share_an_entry_in_their_order() {
    let world = World::with_seats(3).await;
    world.gate.hold();
    let arrived = world.gate.arrivals();
    let first = world.spawn(checkout(1));
    world.gate.wait_for_arrivals(arrived + 1).await;
    let driver = world.driver.clone();
    // Polled in this order, so they stand in the channel in this order.
    let (second, third, fourth, fifth) = {
        let driver = &driver;
        let go = world.gate.clone();
        let open = async move {
            go.open();
        };
        let (a, b, c, d, ()) = tokio::join!(
            driver.decide(checkout(2), Some([2; 32])),
            driver.decide(checkout(3), Some([3; 32])),
            driver.decide(checkout(4), Some([4; 32])),
            driver.decide(checkout(5), Some([5; 32])),
            open
        );
        (a.unwrap(), b.unwrap(), c.unwrap(), d.unwrap())
    };
    assert!(is_granted(&first.await.unwrap()));
    assert!(matches!(second.outcome, Outcome::Granted(_)) && matches!(third.outcome, Outcome::Granted(_)));
    assert!(matches!(fourth.outcome, Outcome::Denied(_)) && matches!(fifth.outcome, Outcome::Denied(_)));
    // However the passes fell, at most two entries were needed while the first was written, and grants of one entry share a signature.
    if second.position == third.position {
        let (a, b) = (second.signed.unwrap(), third.signed.unwrap());
        assert_eq!((a.signature, &a.statement), (b.signature, &b.statement));
        assert_ne!(a.position, b.position);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_and_the_tail_give_the_same_state_as_all_entries() {
    let world = World::with_seats(50).await;
    for number in 0..40 {
        world.decide(checkout(number)).await.unwrap();
        if number % 3 == 0 {
            world.decide(release(number)).await.unwrap();
        }
        if number == 20 {
            world
                .driver
                .with_journal(|journal| {
                    triquest_journal::snapshot::make(
                        journal,
                        triquest_allocator::Safeguards::default(),
                        triquest_journal::snapshot::Keep::NONE,
                    )
                    .unwrap()
                })
                .await
                .unwrap()
                .unwrap();
        }
    }
    let leases = world.driver.view().leases(&Default::default(), None, 100);
    let live: Vec<_> = leases.leases.iter().map(|lease| (lease.lease, lease.holder.clone())).collect();
    let world = world.restart().await;
    let after = world.driver.view().leases(&Default::default(), None, 100);
    let live_after: Vec<_> = after.leases.iter().map(|lease| (lease.lease, lease.holder.clone())).collect();
    assert_eq!(live, live_after);
    assert_eq!(live.len(), 26);
    for (number, _) in (0..40).zip(0..) {
        let again = world.decide(checkout(number)).await;
        assert_eq!(is_granted(&again), number % 3 != 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_renewal_after_a_restart_is_durable_and_later_ones_are_not() {
    let world = World::with_seats(1).await;
    world.decide(checkout(1)).await.unwrap();
    let world = world.restart().await;
    let arrived = world.gate.arrivals();
    world.decide(renew(1, 1)).await.unwrap();
    assert_eq!(world.gate.arrivals(), arrived + 1);
    world.decide(renew(1, 2)).await.unwrap();
    assert_eq!(world.gate.arrivals(), arrived + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_not_renewed_ends_when_its_time_has_passed_and_not_by_a_stall() {
    let world = World::with_seats(1).await;
    world.decide(checkout(1)).await.unwrap();
    // An hour in one step is a stall: lease time goes on by two seconds at most.
    world.clock.advance_ms(3_600_000);
    world.tick().await;
    assert_eq!(world.driver.view().live_leases(), 1);
    for _ in 0..160 {
        world.clock.advance_ms(2_000);
        world.tick().await;
    }
    assert_eq!(world.driver.view().live_leases(), 0);
    assert!(is_granted(&world.decide(checkout(2)).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_history_begins_another_lineage_and_grants_nothing_new_for_a_while() {
    let world = World::with_seats(1).await;
    let disk = world.disk.copy();
    disk.begin_lineage(Lineage([2; 16]));
    let world = World::start(disk, world.clock.clone());
    assert_eq!(world.driver.view().position().lineage.0, [2; 16]);
    assert!(matches!(world.decide(checkout(1)).await.unwrap().outcome, Outcome::Denied(_)));
    world.decide(Command::EndQuarantine { lineage: Lineage([2; 16]), actor: crate::world::actor() }).await.unwrap();
    assert!(is_granted(&world.decide(checkout_of(1, 2, &[("cad", 1)], None)).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_what_was_taken_and_refuses_what_comes_after() {
    let world = World::with_seats(2).await;
    world.gate.hold();
    let arrived = world.gate.arrivals();
    let taken = world.spawn(checkout(1));
    world.gate.wait_for_arrivals(arrived + 1).await;
    let stop = tokio::spawn(world.driver.clone().stop());
    world.gate.open();
    stop.await.unwrap();
    assert!(is_granted(&taken.await.unwrap()));
    assert_eq!(world.decide(install("B-1", &[("cad", 1)])).await.unwrap_err(), DriverError::Stopping(TookEffect::No));
    let world = World::start(world.disk.clone(), world.clock.clone());
    assert_eq!(world.driver.view().live_leases(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_jump_of_the_wall_clock_is_shown_and_ends_no_license_until_it_is_accepted() {
    use triquest_wire::status::ClockState;
    let world = World::with_seats(1).await;
    world.clock.set_synchronized(false);
    world.clock.set_wall_ms(crate::world::TODAY_MS + 10 * 365 * 86_400_000);
    world.tick().await;
    world.tick().await;
    assert_eq!(world.driver.clock_state(), ClockState::Held);
    assert!(is_granted(&world.decide(checkout(1)).await));
    world.decide(release(1)).await.unwrap();
    world.decide(Command::AcceptClock { actor: crate::world::actor() }).await.unwrap();
    assert_ne!(world.driver.clock_state(), ClockState::Held);
    assert!(matches!(world.decide(checkout(2)).await.unwrap().outcome, Outcome::Denied(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_renewals_of_a_lease_both_wait_for_the_first_to_be_durable() {
    let world = World::with_seats(1).await;
    world.decide(checkout(1)).await.unwrap();
    let world = world.restart().await;
    world.gate.hold();
    let arrived = world.gate.arrivals();
    let renewed = world.spawn(renew(1, 1));
    world.gate.wait_for_arrivals(arrived + 1).await;
    // A later pass, so that the earlier one is over.
    let second = world.spawn(renew(1, 2));
    assert!(!renewed.is_finished() && !second.is_finished());
    world.gate.open();
    let before = world.driver.view().position();
    for answer in [renewed.await.unwrap().unwrap(), second.await.unwrap().unwrap()] {
        assert!(matches!(answer.outcome, Outcome::Renewed { .. }));
        assert!(answer.position >= before);
    }
}

/// What a client shows of an answer that it was given.
fn shown(number: u32, answer: &triquest_server::driver::Answer) -> Command {
    let Command::Checkout { lease, content, holder, vendor_keys, items, .. } = checkout(number) else { panic!("a checkout") };
    let signed = answer.signed.as_ref().unwrap();
    let statement: triquest_wire::trust::GrantsStatement = serde_json::from_slice(&signed.statement.0).unwrap();
    let grant: triquest_wire::trust::GrantPayload = serde_json::from_slice(&signed.grant.0).unwrap();
    let part = |item: &triquest_wire::trust::GrantedItem| triquest_allocator::ShownItem {
        feature: item.feature.parse().unwrap(),
        from: item
            .from
            .iter()
            .map(|from| (triquest_license::LicenseHash::from_bytes(from.license.0), from.entitlement, from.seats))
            .collect(),
    };
    Command::Adopt {
        lease,
        attempt: 1,
        accepts: Default::default(),
        content,
        holder,
        vendor_keys,
        items,
        ttl_ms: None,
        wait_ms: None,
        regained: false,
        network: None,
        shown: Box::new(triquest_allocator::ShownGrant {
            lineage: Lineage(statement.lineage.0),
            epoch: triquest_allocator::Epoch(statement.epoch),
            instance: triquest_allocator::Instance(statement.instance.0),
            index: triquest_allocator::Index(statement.index),
            ttl_ms: grant.ttl_ms,
            items: grant.items.iter().map(part).collect(),
        }),
        next_lineage: Lineage([77; 16]),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_of_the_data_that_was_put_back_is_proved_by_a_grant_and_protects_the_seats_in_use() {
    let world = World::with_seats(1).await;
    let copy = world.disk.copy();
    let world = world.crash();
    let granted = world.decide(checkout(1)).await.unwrap();
    let show = shown(1, &granted);
    // A repeat on the right server is a repeat.
    assert!(is_granted(&world.decide(show.clone()).await));
    assert_eq!(world.driver.view().position().lineage.0, [1; 16]);
    let clock = world.clock.clone();
    world.driver.stop().await;

    let world = World::start(copy, clock);
    assert_eq!(world.driver.view().live_leases(), 0);
    let adopted = world.decide(show.clone()).await.unwrap();
    assert!(matches!(adopted.outcome, Outcome::Granted(_)), "{:?}", adopted.outcome);
    assert_eq!(adopted.position.lineage.0, [77; 16]);
    let is_adopted = |world: &World| world.driver.view().leases(&LeaseFilter::default(), None, 10).leases.iter().all(|lease| lease.adopted);
    assert!(is_adopted(&world), "since when it is held is not known");
    let newcomer = world.decide(checkout(2)).await.unwrap();
    assert!(
        matches!(&newcomer.outcome, Outcome::Denied(denial) if denial.code == triquest_allocator::DenialCode::Quarantine),
        "{:?}",
        newcomer.outcome
    );
    // It is durable: another start goes on in the new history, and the grant that was signed in it is its own.
    let world = world.crash();
    assert_eq!(world.driver.view().position().lineage.0, [77; 16]);
    assert!(world.driver.view().quarantine_ms().is_some());
    assert!(is_adopted(&world));
    let again = world.decide(shown(1, &adopted)).await.unwrap();
    assert_eq!((again.position.lineage.0, world.driver.view().live_leases()), ([77; 16], 1));
}
