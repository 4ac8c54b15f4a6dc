//! A full disk.

use triquest_allocator::{
    Actor, Between, Command, EndReason, Event, LeaseId, Outcome, Refusal, ReleaseCause, Standing,
    limits::{CLAIM_MS, TTL_MS_DEFAULT, WAIT_TTL_MS},
};
use triquest_engine::{
    Answers, Input, MayWrite, Room, TookEffect, Why,
    limits::{DISK_HANGS_MS, QueueLimits, ROOM_AGAIN_BYTES, ROOM_FOR_ALL_BYTES, ROOM_FOR_ANY_BYTES},
};

use crate::desk::{
    Desk, ENOUGH, NONE, RESERVE, adopt, checkout, checkout_of, home, install, install_shorter, is_granted, is_renewed, lease, license,
    release, renew, waits,
};

fn administrator() -> Actor {
    Actor { name: "test".to_owned(), reason: String::new() }
}

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
    desk.engine.handle(Input::Room(NONE));
    let new = desk.ask(checkout(2));
    desk.settle();
    assert_eq!(desk.why(new), Why::DiskFull(TookEffect::No));
    assert!(is_renewed(&desk.now(renew(1, 1))));
    assert!(is_granted(&desk.now(checkout(1))), "a repeat is a renewal");
    let release = desk.ask(release(1));
    desk.settle();
    assert!(!desk.is_back(release), "a release waits for room");
    desk.engine.handle(Input::Room(ENOUGH));
    desk.settle();
    assert!(matches!(desk.outcome(release), Outcome::Released { .. }));
}

#[test]
fn a_repeat_that_cannot_be_decided_on_a_full_disk_is_unknown() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.now(checkout(2));
    desk.engine.handle(Input::Room(NONE));
    let again = desk.ask(checkout_of(2, 2, None));
    desk.settle();
    assert_eq!(desk.why(again), Why::DiskFull(TookEffect::Unknown));
    assert!(matches!(desk.now(checkout(2)), Outcome::Denied(_)), "the same attempt has its outcome");
}

/// Which leases were heard, as facts say.
fn heard(desk: &Desk) -> Vec<LeaseId> {
    desk.events().filter_map(|event| if let Event::Heard { lease } = event { Some(*lease) } else { None }).collect()
}

#[test]
fn whoever_only_repeats_on_a_disk_with_nothing_left_keeps_its_seat_with_room_again() {
    let mut desk = Desk::with_seats(2);
    desk.now(checkout_of(1, 2, None));
    desk.now(checkout(2));
    let mut desk = desk.crash();
    desk.engine.handle(Input::Room(NONE));
    for _ in 0..4 {
        desk.wait_ms(TTL_MS_DEFAULT / 2);
        for _ in 0..3 {
            let again = desk.ask(checkout_of(1, 2, None));
            // A late copy of what it asked before.
            let late = desk.ask(checkout_of(2, 0, None));
            desk.settle();
            assert_eq!(desk.why(again), Why::DiskFull(TookEffect::Unknown));
            assert!(desk.is_back(late));
        }
    }
    desk.wait_ms(1_000);
    desk.engine.handle(Input::Room(ENOUGH));
    desk.settle();
    let standing = |desk: &Desk, number| desk.engine.allocator().standing(&lease(number));
    assert_eq!(heard(&desk), [lease(1)], "once, however often it asked");
    assert_eq!([standing(&desk, 1), standing(&desk, 2)], [Standing::Live, Standing::Remembered]);
    desk.wait_ms(TTL_MS_DEFAULT - 2_000);
    assert_eq!(standing(&desk, 1), Standing::Live, "its time begins anew");
    desk.wait_ms(4_000);
    assert_eq!(standing(&desk, 1), Standing::Remembered, "if it asks no more, its seat comes back");
}

#[test]
fn whoever_repeats_on_a_disk_with_nothing_left_is_heard_from_the_reserve() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.now(waits(2));
    let mut desk = desk.crash();
    desk.engine.handle(Input::Room(NONE));
    for ask in [checkout(1), waits(2)] {
        let again = desk.ask(ask);
        desk.settle();
        assert_eq!(desk.why(again), Why::DiskFull(TookEffect::Unknown));
    }
    desk.engine.handle(Input::Room(RESERVE));
    desk.wait_ms(2_000);
    assert_eq!(heard(&desk), [lease(1)]);
    assert!(desk.events().any(|event| matches!(event, Event::WaiterHeard { lease: of } if *of == lease(2))));
}

#[test]
fn a_seat_that_was_claimed_on_a_disk_with_nothing_left_is_claimed() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.now(waits(2));
    desk.now(release(1));
    desk.settle();
    desk.engine.handle(Input::Room(NONE));
    let claim = desk.ask(waits(2));
    desk.settle();
    assert_eq!(desk.why(claim), Why::DiskFull(TookEffect::Unknown));
    desk.engine.handle(Input::Room(ENOUGH));
    desk.settle();
    assert_eq!(heard(&desk), [lease(2)]);
    desk.wait_ms(CLAIM_MS + 2_000);
    assert!(!desk.events().any(|event| matches!(event, Event::Ended { .. })), "it has its whole time to live");
}

#[test]
fn the_reserve_is_for_the_first_word_of_a_lease_and_for_releases() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    let mut desk = desk.crash();
    desk.engine.handle(Input::Room(RESERVE));
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
    desk.engine.handle(Input::Room(RESERVE));
    desk.now(release(1));
    for _ in 0..20 {
        desk.wait_ms(15_000);
        for number in 2..6 {
            assert!(matches!(desk.now(waits(number)), Outcome::Waiting { place, .. } if place == number - 1), "its place, not a no");
        }
    }
    let changed = |event: &Event| matches!(event, Event::Dequeued { .. } | Event::Granted { claim_due: Some(_), .. } | Event::Ended { .. });
    assert!(!desk.events().any(changed));
    desk.engine.handle(Input::Room(ENOUGH));
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
    desk.engine.handle(Input::Room(NONE));
    desk.wait_ms(2 * CLAIM_MS);
    desk.engine.handle(Input::Room(ENOUGH));
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
    desk.engine.handle(Input::Room(NONE));
    desk.wait_ms(21_000);
    assert!(matches!(desk.outcome(held), Outcome::Waiting { place: 1, .. }));
}

#[test]
fn nothing_ends_on_a_full_disk_but_by_its_holder_and_what_is_over_ends_with_room() {
    let mut desk = Desk::with_seats(5);
    for number in 1..=5 {
        desk.now(checkout(number));
    }
    for number in [4, 5] {
        desk.now(Command::PresenceOpened { lease: lease(number), connection: number.into(), generation: 1, between: Between::Nothing });
        let nonce = [1; 16];
        desk.now(Command::Renew { lease: lease(number), counter: 1, nonce, idle_ms: None, presence: Some(1), regained: false });
    }
    desk.now(Command::Reclaim { lease: lease(3), now: false, actor: administrator() });
    let dies = |number| Command::PresenceClosed { lease: lease(number), generation: 1, network: None, unnamings: 0 };
    desk.engine.handle(Input::Room(RESERVE));
    desk.now(dies(4));
    let freed = |event: &Event| matches!(event, Event::Released { lease: of, cause: ReleaseCause::Presence, .. } if *of == lease(4));
    assert!(desk.events().any(freed), "the reserve is for that too");
    desk.engine.handle(Input::Room(NONE));
    let late = desk.ask(dies(5));
    desk.settle();
    assert_eq!(desk.why(late), Why::DiskFull(TookEffect::Unknown));

    for counter in 1..=20 {
        desk.wait_ms(60_000);
        assert!(is_renewed(&desk.now(renew(1, counter))));
    }
    let ended = |desk: &Desk, reason: EndReason| {
        let of = |event: &Event| match event {
            Event::Ended { lease, reason: why, .. } if *why == reason => Some(*lease),
            _ => None,
        };
        desk.events().filter_map(of).collect::<Vec<_>>()
    };
    assert!(!desk.events().any(|event| matches!(event, Event::Ended { .. })));
    desk.engine.handle(Input::Room(ENOUGH));
    desk.settle();
    assert_eq!(ended(&desk, EndReason::Reclaimed), [lease(3)]);
    let mut expired = ended(&desk, EndReason::Expired);
    expired.sort();
    let mut silent = [lease(2), lease(5)];
    silent.sort();
    assert_eq!(expired, silent);
    assert!(is_renewed(&desk.now(renew(1, 21))));
}

#[test]
fn renewals_do_not_wait_behind_more_releases_than_a_pass_takes() {
    let mut desk = Desk::with_seats(5);
    for number in 1..=5 {
        desk.now(checkout(number));
    }
    desk.engine = desk.engine.with_limits(QueueLimits { lane_per_pass_max: 2, ..QueueLimits::default() });
    desk.engine.handle(Input::Room(NONE));
    let releases: Vec<_> = (1..=3).map(|number| desk.ask(release(number))).collect();
    let renewals = [4, 5].map(|number| desk.ask(renew(number, 1)));
    for _ in 0..4 {
        desk.pass();
    }
    for renewal in renewals {
        assert!(is_renewed(&desk.outcome(renewal)));
    }
    assert!(releases.iter().all(|release| !desk.is_back(*release)), "they wait for room");
    desk.engine.handle(Input::Room(ENOUGH));
    desk.settle();
    assert!(releases.iter().all(|release| desk.is_back(*release)));
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
    desk.engine.handle(Input::Room(ENOUGH));
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
    desk.engine.handle(Input::Room(RESERVE));
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
    desk.engine.handle(Input::Room(NONE));
    // Signed in an epoch that this history has not had.
    let shown = desk.ask(adopt(5, 99, 1));
    desk.settle();
    assert_eq!(desk.why(shown), Why::DiskFull(TookEffect::Unknown));
    desk.engine.handle(Input::Room(ENOUGH));
    desk.settle();
    assert!(desk.events().any(|event| matches!(event, Event::LineageBegan { .. })), "it begins a new lineage as soon as there is room");
}

/// Of a request with several, the first was renewed, and the others hear why they were not.
fn only_the_first_is_renewed(desk: &Desk, many: u64, why: Why) {
    let Some(Ok(Answers::Many(answers))) = desk.back.get(&many) else { panic!("no answer: {:?}", desk.back.get(&many)) };
    assert!(answers[0].as_ref().is_ok_and(|answer| is_renewed(&answer.outcome)), "{answers:?}");
    assert!(answers.len() > 1);
    for waiting in &answers[1..] {
        assert_eq!(*waiting.as_ref().unwrap_err(), why);
    }
}

#[test]
fn a_renewal_that_waits_for_room_does_not_hold_up_those_in_one_request_with_it() {
    let mut desk = Desk::with_seats(3);
    for number in 1..4 {
        desk.now(checkout(number));
    }
    let mut desk = desk.crash();
    assert!(is_renewed(&desk.now(renew(1, 1))));
    desk.engine.handle(Input::Room(NONE));
    // Of the three only the first was heard in this epoch.
    let many = desk.send(home(), vec![renew(1, 2), renew(2, 1), release(3)], 0);
    desk.settle();
    only_the_first_is_renewed(&desk, many, Why::DiskFull(TookEffect::Unknown));
    desk.engine.handle(Input::Room(ENOUGH));
    desk.settle();
    assert!(desk.events().any(|event| matches!(event, Event::Heard { lease: heard } if *heard == lease(2))), "it waited for room");
    assert!(desk.events().any(|event| matches!(event, Event::Released { lease: over, .. } if *over == lease(3))), "so did the release");
}

#[test]
fn a_first_word_that_meets_the_full_disk_does_not_hold_up_those_in_one_request_with_it() {
    let mut desk = Desk::with_seats(3);
    for number in 1..4 {
        desk.now(checkout(number));
    }
    let mut desk = desk.crash();
    assert!(is_renewed(&desk.now(renew(1, 1))));
    desk.journal_held = true;
    let together = [(2, 1), (3, 2)].map(|(unheard, counter)| {
        let many = desk.send(home(), vec![renew(1, 1 + counter), renew(unheard, counter)], 0);
        desk.pass();
        many
    });
    desk.say(Input::Full);
    let later = desk.send(home(), vec![renew(1, 4), renew(2, 4)], 0);
    desk.pass();
    for many in [together[0], together[1], later] {
        only_the_first_is_renewed(&desk, many, Why::DiskFull(TookEffect::Unknown));
    }
}

#[test]
fn a_first_word_that_meets_a_disk_that_hangs_does_not_hold_up_those_in_one_request_with_it() {
    let mut desk = Desk::with_seats(4);
    for number in 1..5 {
        desk.now(checkout(number));
    }
    let mut desk = desk.crash();
    assert!(is_renewed(&desk.now(renew(1, 1))));
    desk.journal_held = true;
    // Two wait for the entries that are on their way, and one for an entry that there cannot be before these are durable.
    let together = [(2, 1), (3, 2), (4, 3)].map(|(unheard, counter)| {
        let many = desk.send(home(), vec![renew(1, 1 + counter), renew(unheard, counter)], 0);
        desk.pass();
        many
    });
    assert!(together.iter().all(|many| !desk.is_back(*many)), "a disk that is slow is waited for");
    desk.wait_ms(DISK_HANGS_MS);
    desk.pass();
    let later = desk.send(home(), vec![renew(1, 5), renew(4, 5)], 0);
    desk.pass();
    for many in [together[0], together[1], together[2], later] {
        only_the_first_is_renewed(&desk, many, Why::Unknown);
    }
    desk.journal_held = false;
    desk.commit_all();
    desk.settle();
    let heard = |number| desk.events().any(|event| matches!(event, Event::Heard { lease: heard } if *heard == lease(number)));
    assert!((2..5).all(heard), "what waited for it is written");
}

#[test]
fn a_live_lease_is_renewed_on_a_full_disk_whatever_its_client_asks_with() {
    let mut desk = Desk::with_seats(3);
    desk.now(checkout(1));
    desk.now(checkout(2));
    desk.now(Command::Reclaim { lease: lease(2), now: false, actor: administrator() });
    let (epoch, index) = (desk.epoch().0, desk.engine.committed().index.0);
    // An entry that has nothing to do with them meets the full disk.
    desk.journal_held = true;
    let other = desk.ask(checkout(3));
    desk.pass();
    desk.say(Input::Full);
    let asked = [renew(1, 2), checkout(1), adopt(1, epoch, index), renew(1, 1), renew(2, 1)];
    let [renewed, repeated, shown, late, ending] = asked.map(|asked| {
        let name = desk.ask(asked);
        desk.pass();
        name
    });
    assert!(is_renewed(&desk.outcome(renewed)));
    assert!(is_granted(&desk.outcome(repeated)));
    assert!(is_granted(&desk.outcome(shown)), "it shows a grant because its licenses changed");
    assert_eq!(desk.outcome(late), Outcome::Refused(Refusal::StaleCounter));
    assert!(matches!(desk.outcome(ending), Outcome::Ended { remaining_ms: 1.., .. }));
    assert!(!desk.is_back(other));
}

#[test]
fn a_lease_whose_entitlement_stands_is_renewed_on_a_full_disk_whoever_lost_theirs() {
    // More leases lose their entitlement than one entry marks.
    let (many, few) = (1_000, 10);
    let mut desk = Desk::with_seats(many);
    desk.now(install("B-1", &[("cad", few)]));
    desk.send(home(), (0..many + few).map(checkout).collect::<Vec<_>>(), 0);
    desk.settle();
    desk.engine.handle(Input::Room(RESERVE));
    let removed = desk.now(Command::Remove { license: license("A-1", &[("cad", many)]).hash(), actor: administrator() });
    assert!(matches!(removed, Outcome::Removed { ending: 990..=1_000 }), "{removed:?}");
    desk.engine.handle(Input::Room(NONE));
    let asked: Vec<u64> = (0..many + few).map(|number| desk.ask(renew(number, 1))).collect();
    desk.settle();
    let back = |name: &u64| desk.is_back(*name);
    let renewed = asked.iter().filter(|name| back(name) && is_renewed(&desk.outcome(**name))).count();
    assert_eq!(renewed, few as usize, "those of the license that stands");
    assert!(!asked.iter().all(back), "the others wait for the fact that they are ending");
}

#[test]
fn an_entry_is_decided_only_if_it_and_all_in_flight_fit_what_is_left() {
    let mut desk = Desk::with_seats(2);
    desk.now(checkout(1));
    desk.now(checkout(2));
    desk.engine.handle(Input::Room(Room { left_bytes: ROOM_FOR_ANY_BYTES + 1_000, ..RESERVE }));
    desk.journal_held = true;
    let first = desk.ask(release(1));
    desk.pass();
    let second = desk.ask(release(2));
    desk.settle();
    assert_eq!(desk.waiting.len(), 1, "with the entry in flight the next may not fit");
    desk.journal_held = false;
    desk.commit_all();
    desk.settle();
    assert!(matches!(desk.outcome(first), Outcome::Released { .. }));
    assert!(!desk.is_back(second), "what the first took is not there any more");
    assert_eq!(desk.engine.may_write(), MayWrite::Nothing);
    desk.engine.handle(Input::Room(ENOUGH));
    desk.settle();
    assert!(matches!(desk.outcome(second), Outcome::Released { .. }));
}

#[test]
fn what_is_committed_counts_until_the_room_is_told_anew() {
    let mut desk = Desk::with_seats(1);
    let room = |beside| Room { left_bytes: RESERVE.reserve_bytes + beside, ..RESERVE };
    desk.engine.handle(Input::Room(room(ROOM_FOR_ALL_BYTES)));
    assert!(is_granted(&desk.now(checkout(1))));
    assert_eq!(desk.engine.may_write(), MayWrite::Reserved, "the largest entries might not fit beside the reserve any more");
    let refused = desk.ask(checkout(2));
    desk.settle();
    assert_eq!(desk.why(refused), Why::DiskFull(TookEffect::No));
    desk.engine.handle(Input::Room(room(ROOM_FOR_ALL_BYTES)));
    assert_eq!(desk.engine.may_write(), MayWrite::Reserved, "a little more is no reason to begin again");
    desk.engine.handle(Input::Room(room(ROOM_AGAIN_BYTES)));
    assert!(matches!(desk.now(checkout_of(2, 2, None)), Outcome::Denied(_)), "it is decided again");
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
    desk.engine.handle(Input::Room(ENOUGH));
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
    for room in [RESERVE, NONE] {
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

#[test]
fn leases_that_lost_their_license_stay_as_they_are_on_a_disk_with_nothing_left_and_are_moved_with_room() {
    const HELD: u32 = 1_300;
    const LEFT: u32 = 900;
    let mut desk = Desk::with_seats(HELD);
    let names: Vec<_> = (0..HELD).map(|number| desk.ask(checkout(number))).collect();
    desk.settle();
    assert!(names.iter().all(|name| is_granted(&desk.outcome(*name))));
    desk.now(install("A-2", &[("cad", LEFT)]));
    let removed = desk.ask(Command::Remove { license: license("A-1", &[("cad", HELD)]).hash(), actor: administrator() });
    // One entry is written of it; what follows finds no room.
    desk.pass();
    desk.engine.handle(Input::Room(NONE));
    desk.settle();
    assert!(matches!(desk.outcome(removed), Outcome::Removed { .. }));
    let moved = |desk: &Desk| desk.events().filter(|event| matches!(event, Event::ChargeMoved { .. })).count();
    let marked = |desk: &Desk| desk.events().filter(|event| matches!(event, Event::Ending { .. })).count();
    let settled = moved(&desk) + marked(&desk);
    assert!(settled > 0 && settled < HELD as usize, "{settled}");
    let counts = |desk: &Desk| {
        let numbers = desk.engine.allocator().pools().next().unwrap().numbers;
        (numbers.total, numbers.used, numbers.over, numbers.free)
    };
    let all = (u64::from(LEFT), u64::from(HELD), u64::from(HELD - LEFT), 0);
    let waits = |desk: &mut Desk| {
        for _ in 0..20 {
            let before = desk.journal.len();
            desk.wait_ms(30_000);
            assert_eq!(desk.journal.len(), before, "nothing can be written");
            assert_eq!(counts(desk), all, "none is freed, and none is counted twice");
            assert_eq!(desk.engine.allocator().check_invariants(), Ok(()));
        }
        // Whoever asks is told nothing that may not be so.
        let renewals: Vec<_> = (0..HELD).step_by(50).map(|number| desk.ask(renew(number, 1))).collect();
        desk.settle();
        for name in renewals {
            match desk.back.get(&name) {
                None => {}
                Some(Ok(_)) => assert!(is_renewed(&desk.outcome(name)) || matches!(desk.outcome(name), Outcome::Ended { .. })),
                Some(Err(why)) => assert_eq!(*why, Why::DiskFull(TookEffect::Unknown)),
            }
        }
    };
    waits(&mut desk);
    desk.engine.handle(Input::Room(ENOUGH));
    desk.pass();
    while moved(&desk) + marked(&desk) < HELD as usize {
        let before = moved(&desk) + marked(&desk);
        desk.pass();
        assert!(moved(&desk) + marked(&desk) > before, "the rest follows at once");
    }
    assert_eq!(moved(&desk), LEFT as usize);
    assert_eq!(desk.engine.allocator().check_invariants(), Ok(()));
}
