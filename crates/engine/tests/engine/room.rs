//! A full disk.

use triquest_allocator::{
    Event, Outcome,
    limits::{CLAIM_MS, WAIT_TTL_MS},
};
use triquest_engine::{Input, Room, TookEffect, Why};

use crate::desk::{Desk, adopt, checkout, checkout_of, home, install_shorter, is_granted, is_renewed, release, renew, waits};

#[test]
fn the_same_bytes_are_written_again_after_a_full_disk_or_an_unknown_outcome() {
    for said in [Input::Full, Input::Unknown(triquest_allocator::Index(3))] {
        let mut desk = Desk::with_seats(2);
        desk.journal_held = true;
        let name = desk.ask(checkout(1));
        desk.pass();
        let behind = desk.ask(checkout(2));
        desk.pass();
        let entries: Vec<_> = desk.waiting.iter().cloned().collect();
        assert_eq!(entries.len(), 2);
        desk.say(said);
        assert!(desk.waiting.is_empty());
        desk.wait_ms(500);
        assert_eq!(desk.waiting.iter().cloned().collect::<Vec<_>>(), entries);
        desk.commit_all();
        assert!(is_granted(&desk.outcome(name)) && is_granted(&desk.outcome(behind)));
    }
}

#[test]
fn while_the_disk_is_full_heard_leases_are_renewed_and_nothing_is_granted() {
    let mut desk = Desk::with_seats(3);
    desk.now(checkout(1));
    desk.engine.handle(Input::Room(Room::None));
    let new = desk.ask(checkout(2));
    desk.settle();
    assert_eq!(desk.why(new), Why::DiskFull(TookEffect::No));
    assert!(is_renewed(&desk.now(renew(1, 1))));
    assert!(is_granted(&desk.now(checkout(1))), "a repeat is a renewal");
    let release = desk.ask(release(1));
    desk.settle();
    assert!(!desk.is_back(release), "a release waits for room");
    desk.engine.handle(Input::Room(Room::Enough));
    desk.settle();
    assert!(matches!(desk.outcome(release), Outcome::Released { .. }));
}

#[test]
fn a_repeat_that_cannot_be_decided_on_a_full_disk_is_unknown() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.now(checkout(2));
    desk.engine.handle(Input::Room(Room::None));
    let again = desk.ask(checkout_of(2, 2, None));
    desk.settle();
    assert_eq!(desk.why(again), Why::DiskFull(TookEffect::Unknown));
    assert!(matches!(desk.now(checkout(2)), Outcome::Denied(_)), "the same attempt has its outcome");
}

#[test]
fn the_reserve_is_for_the_first_word_of_a_lease_and_for_releases() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    let mut desk = desk.crash();
    desk.engine.handle(Input::Room(Room::Reserve));
    assert!(is_renewed(&desk.now(renew(1, 1))));
    let new = desk.ask(checkout(2));
    let made_up = desk.ask(release(99));
    desk.settle();
    assert_eq!(desk.why(new), Why::DiskFull(TookEffect::No));
    assert_eq!(desk.why(made_up), Why::DiskFull(TookEffect::No), "anybody could fill the reserve so");
    assert!(matches!(desk.now(release(1)), Outcome::Released { .. }));
}

#[test]
fn lines_stand_still_on_a_full_disk_and_begin_anew_when_there_is_room() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    for number in 2..6 {
        assert!(matches!(desk.now(waits(number)), Outcome::Waiting { .. }));
    }
    desk.engine.handle(Input::Room(Room::Reserve));
    desk.now(release(1));
    for _ in 0..20 {
        desk.wait_ms(15_000);
        for number in 2..6 {
            assert!(matches!(desk.now(waits(number)), Outcome::Waiting { place, .. } if place == number - 1), "its place, not a no");
        }
    }
    let changed = |event: &Event| matches!(event, Event::Dequeued { .. } | Event::Granted { claim_due: Some(_), .. } | Event::Ended { .. });
    assert!(!desk.events().any(changed));
    desk.engine.handle(Input::Room(Room::Enough));
    desk.settle();
    assert!(is_granted(&desk.now(waits(2))));
    desk.wait_ms(WAIT_TTL_MS - 1_000);
    assert!(!desk.events().any(|event| matches!(event, Event::Dequeued { .. })), "every waiter has its full time to ask");
    desk.wait_ms(2_000);
    assert_eq!(desk.events().filter(|event| matches!(event, Event::Dequeued { .. })).count(), 3);
}

#[test]
fn a_seat_that_could_not_be_claimed_on_a_full_disk_has_its_full_time_again() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.now(waits(2));
    desk.now(release(1));
    desk.settle();
    desk.engine.handle(Input::Room(Room::None));
    desk.wait_ms(2 * CLAIM_MS);
    desk.engine.handle(Input::Room(Room::Enough));
    desk.wait_ms(CLAIM_MS - 1_000);
    assert!(!desk.events().any(|event| matches!(event, Event::Ended { .. })));
    assert!(is_granted(&desk.now(waits(2))));
}

#[test]
fn held_waiters_keep_their_place_over_a_full_disk() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    let held = desk.send(home(), waits(2), 20_000);
    desk.settle();
    desk.engine.handle(Input::Room(Room::None));
    desk.wait_ms(21_000);
    assert!(matches!(desk.outcome(held), Outcome::Waiting { place: 1, .. }));
}

#[test]
fn no_renewal_waits_for_a_fact_that_only_lowers_its_time_to_live() {
    let mut desk = Desk::with_seats(2);
    desk.now(checkout(1));
    desk.now(checkout(2));
    desk.now(install_shorter("B-1", "A-1", 2, 20));
    // That the disk is full shows when the fact is to be written.
    desk.journal_held = true;
    let lowered = desk.ask(renew(1, 1));
    desk.pass();
    assert!(desk.waiting.iter().any(|entry| entry.events.iter().any(|event| matches!(event, Event::TtlLowered { .. }))));
    desk.say(Input::Full);
    let remaining_ms = |outcome| if let Outcome::Renewed { remaining_ms, .. } = outcome { remaining_ms } else { 0 };
    assert_eq!(remaining_ms(desk.outcome(lowered)), 20_000);
    for counter in 2..20 {
        desk.wait_ms(5_000);
        let again = desk.ask(renew(1, counter));
        let other = desk.ask(renew(2, counter));
        desk.pass();
        assert_eq!(remaining_ms(desk.outcome(again)), 20_000);
        assert!(remaining_ms(desk.outcome(other)) >= 20_000, "nothing of it was lowered");
    }
    desk.engine.handle(Input::Room(Room::Enough));
    desk.journal_held = false;
    while !desk.waiting.is_empty() {
        desk.commit();
        desk.drain();
    }
    desk.settle();
    assert!(!desk.events().any(|event| matches!(event, Event::Ended { .. })), "both were heard all the time");
}

#[test]
fn waiters_who_ask_keep_their_place_over_starts_with_little_room() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.now(waits(2));
    let mut desk = desk.crash();
    desk.engine.handle(Input::Room(Room::Reserve));
    for turn in 0..12 {
        desk.wait_ms(15_000);
        assert!(matches!(desk.now(waits(2)), Outcome::Waiting { place: 1, .. }), "its place, not a no");
        desk.now(renew(1, turn + 1));
    }
    let mut desk = desk.crash();
    desk.settle();
    assert!(!desk.events().any(|event| matches!(event, Event::Dequeued { .. })), "it asked all the time");
    assert!(matches!(desk.now(waits(2)), Outcome::Waiting { place: 1, .. }));
}

#[test]
fn a_proof_that_cannot_be_written_yet_is_no_request_without_effect() {
    let mut desk = Desk::with_seats(1);
    desk.engine.handle(Input::Room(Room::None));
    // Signed in an epoch that this history has not had.
    let shown = desk.ask(adopt(5, 99, 1));
    desk.settle();
    assert_eq!(desk.why(shown), Why::DiskFull(TookEffect::Unknown));
    desk.engine.handle(Input::Room(Room::Enough));
    desk.settle();
    assert!(desk.events().any(|event| matches!(event, Event::LineageBegan { .. })), "it begins a new lineage as soon as there is room");
}

#[test]
fn a_longer_time_to_live_is_told_when_it_is_durable_and_nobody_waits_for_it() {
    let mut desk = Desk::with_seats(1);
    desk.now(install_shorter("B-1", "A-1", 1, 20));
    desk.now(checkout(1));
    desk.now(install_shorter("C-1", "B-1", 1, 100));
    let remaining_ms = |outcome| if let Outcome::Renewed { remaining_ms, .. } = outcome { remaining_ms } else { 0 };
    // That the disk is full shows when the fact is to be written.
    desk.journal_held = true;
    let raised = desk.ask(renew(1, 1));
    desk.pass();
    assert!(desk.waiting.iter().any(|entry| entry.events.iter().any(|event| matches!(event, Event::TtlRaised { ttl_ms: 100_000, .. }))));
    desk.say(Input::Full);
    assert_eq!(remaining_ms(desk.outcome(raised)), 20_000);
    for counter in 2..10 {
        desk.wait_ms(5_000);
        let again = desk.ask(renew(1, counter));
        desk.pass();
        assert_eq!(remaining_ms(desk.outcome(again)), 20_000, "the time before, at once");
    }
    // Whoever asks for its grant meanwhile is shown the time before, too.
    let repeated = desk.ask(checkout(1));
    desk.pass();
    let Outcome::Granted(grant) = desk.outcome(repeated) else { panic!("a repeat") };
    assert_eq!((grant.ttl_ms, grant.remaining_ms), (20_000, 20_000));
    desk.engine.handle(Input::Room(Room::Enough));
    desk.journal_held = false;
    while !desk.waiting.is_empty() {
        desk.commit();
        desk.drain();
    }
    let counts = desk.now(renew(1, 20));
    assert!(matches!(counts, Outcome::Renewed { remaining_ms: 100_000, regrant: true }), "{counts:?}");
    let Outcome::Granted(grant) = desk.now(checkout(1)) else { panic!("a repeat") };
    assert_eq!((grant.ttl_ms, grant.remaining_ms), (100_000, 100_000));
    let raised = desk.events().filter(|event| matches!(event, Event::TtlRaised { .. })).count();
    assert_eq!(raised, 1, "once");
}

#[test]
fn whoever_lives_and_shows_its_grant_is_renewed_however_full_the_disk_is() {
    let mut desk = Desk::with_seats(2);
    desk.now(checkout(1));
    for room in [Room::Reserve, Room::None] {
        desk.engine.handle(Input::Room(room));
        let shown = desk.ask(adopt(1, 1, 1));
        desk.settle();
        assert!(is_granted(&desk.outcome(shown)), "{room:?}");
        // Of an id that nobody holds it cannot be decided.
        let other = desk.ask(adopt(2, 1, 1));
        desk.settle();
        assert_eq!(desk.why(other), Why::DiskFull(TookEffect::No), "{room:?}");
    }
}
