//! Whoever has asked lives: nobody loses a lease or a place whose renewal, repeat or claim came in time, however long the disk takes and whoever still waits
//! for the answer.

use triquest_allocator::{
    DequeueReason, EndReason, Event, Outcome, Refusal, Standing,
    limits::{CLAIM_MS, TTL_MS_DEFAULT, WAIT_TTL_MS},
};
use triquest_engine::{Why, limits::QueueLimits};

use crate::desk::{Desk, checkout, from, home, is_granted, is_renewed, lease, release, renew, waits};

const FEW: QueueLimits = QueueLimits {
    commands_local_max: 4_096,
    commands_max: 32_768,
    commands_per_network_max: 4_096,
    commands_per_pass_max: 1,
    commands_per_turn_max: 1,
    lane_per_pass_max: 1,
};

fn with(limits: QueueLimits, desk: Desk) -> Desk {
    Desk { engine: desk.engine.with_limits(limits), ..desk }
}

/// Everything that may be in flight is, and the disk answers nothing.
fn the_disk_hangs(desk: &mut Desk) {
    desk.settle();
    desk.journal_held = true;
    for number in [90, 91] {
        desk.send(from(9), checkout(number), 0);
        desk.settle();
    }
    assert_eq!(desk.waiting.len(), 2);
}

fn the_disk_goes_on(desk: &mut Desk) {
    desk.journal_held = false;
    desk.commit_all();
    desk.settle();
    desk.wait_ms(2_000);
}

fn stands(desk: &Desk, number: u32) -> Standing {
    desk.engine.allocator().standing(&lease(number))
}

fn silent(desk: &Desk) -> usize {
    desk.events().filter(|event| matches!(event, Event::Dequeued { reason: DequeueReason::Silent, .. })).count()
}

fn unclaimed(desk: &Desk) -> usize {
    desk.events().filter(|event| matches!(event, Event::Ended { reason: EndReason::Unclaimed, .. })).count()
}

/// One lease and so many who wait for its seat.
fn a_line(many: u32, limits: QueueLimits) -> Desk {
    let mut desk = with(limits, Desk::with_seats(1));
    desk.now(checkout(1));
    for number in 2..2 + many {
        assert!(matches!(desk.now(waits(number)), Outcome::Waiting { .. }));
    }
    desk
}

#[test]
fn waiters_who_asked_in_time_keep_their_place_behind_a_disk_that_hangs() {
    let mut desk = a_line(20, FEW);
    the_disk_hangs(&mut desk);
    for _ in 0..5 {
        desk.wait_ms(WAIT_TTL_MS / 2);
        for number in 2..22 {
            desk.ask(waits(number));
        }
        desk.wait_ms(10);
        assert!(is_renewed(&desk.now(renew(1, desk.boot_ms))));
    }
    the_disk_goes_on(&mut desk);
    assert_eq!(silent(&desk), 0);
    desk.wait_ms(WAIT_TTL_MS);
    assert_eq!(silent(&desk), 20, "whoever asks no more leaves the line");
}

#[test]
fn waiters_who_first_ask_after_a_start_keep_their_place_behind_a_disk_that_hangs() {
    let desk = a_line(20, FEW);
    let mut desk = with(FEW, desk.crash());
    desk.now(renew(1, 1));
    the_disk_hangs(&mut desk);
    // That they ask is a fact, which cannot be written.
    for number in 2..22 {
        desk.ask(waits(number));
    }
    for counter in 2..8 {
        desk.wait_ms(WAIT_TTL_MS / 3);
        assert!(is_renewed(&desk.now(renew(1, counter))));
    }
    the_disk_goes_on(&mut desk);
    assert_eq!(silent(&desk), 0);
    assert!((2..22).all(|number| stands(&desk, number) == Standing::Waiting));
}

#[test]
fn a_seat_that_was_claimed_in_time_does_not_end_behind_a_disk_that_hangs() {
    let mut desk = with(FEW, Desk::with_seats(10));
    (1..=10).for_each(|number| {
        desk.now(checkout(number));
    });
    (11..=20).for_each(|number| {
        desk.now(waits(number));
    });
    (1..=10).for_each(|number| {
        desk.now(release(number));
    });
    desk.settle();
    the_disk_hangs(&mut desk);
    desk.wait_ms(CLAIM_MS / 2);
    let claims: Vec<_> = (11..=20).map(|number| desk.ask(waits(number))).collect();
    desk.wait_ms(CLAIM_MS);
    the_disk_goes_on(&mut desk);
    assert_eq!(unclaimed(&desk), 0);
    assert!(claims.into_iter().all(|claim| is_granted(&desk.outcome(claim))));
}

#[test]
fn a_seat_is_kept_for_whoever_waits_to_be_told_of_it_behind_a_disk_that_hangs() {
    let mut desk = with(QueueLimits { lane_per_pass_max: 64, ..FEW }, Desk::with_seats(10));
    (1..=10).for_each(|number| {
        desk.now(checkout(number));
    });
    let held: Vec<_> = (11..=20).map(|number| desk.send(home(), waits(number), 100_000)).collect();
    desk.settle();
    desk.journal_held = true;
    (1..=10).for_each(|number| {
        desk.ask(release(number));
    });
    desk.pass();
    desk.send(from(9), checkout(90), 0);
    desk.pass();
    // The grants are durable, and nothing behind them.
    desk.commit();
    desk.drain();
    assert_eq!(desk.events().filter(|event| matches!(event, Event::Granted { claim_due: Some(_), .. })).count(), 10);
    desk.pass();
    assert_eq!(desk.waiting.len(), 2);
    desk.wait_ms(CLAIM_MS + 10_000);
    the_disk_goes_on(&mut desk);
    assert_eq!(unclaimed(&desk), 0);
    assert!(held.into_iter().all(|name| is_granted(&desk.outcome(name))));
}

#[test]
fn a_repeat_that_needs_no_entry_is_answered_while_the_disk_hangs() {
    let mut desk = Desk::with_seats(3);
    desk.now(checkout(1));
    the_disk_hangs(&mut desk);
    let newcomer = desk.ask(checkout(5));
    for _ in 0..5 {
        desk.wait_ms(TTL_MS_DEFAULT / 2);
        assert!(is_granted(&desk.now(checkout(1))));
    }
    the_disk_goes_on(&mut desk);
    assert_eq!(stands(&desk, 1), Standing::Live);
    assert!(desk.is_back(newcomer));
}

#[test]
fn what_needs_an_entry_does_not_keep_repeats_that_need_none_from_their_answer() {
    let desk = a_line(20, FEW);
    let mut desk = with(FEW, desk.crash());
    desk.now(renew(1, 1));
    the_disk_hangs(&mut desk);
    (2..22).for_each(|number| {
        desk.ask(waits(number));
    });
    let repeat = desk.ask(checkout(1));
    desk.settle();
    assert!(is_granted(&desk.outcome(repeat)));
    assert_ne!(desk.engine.wake_in_ms(), Some(0), "what was tried in vain waits for the disk");
}

#[test]
fn what_others_ask_for_takes_no_place_of_a_repeat() {
    let few = QueueLimits { commands_per_network_max: 2, ..QueueLimits::default() };
    let mut desk = a_line(1, few);
    the_disk_hangs(&mut desk);
    (50..52).for_each(|number| {
        desk.ask(checkout(number));
    });
    let refused = desk.ask(checkout(52));
    assert!(matches!(desk.why(refused), Why::Overloaded(_)));
    for repeat in [checkout(1), waits(2)] {
        let repeat = desk.ask(repeat);
        assert!(!desk.is_back(repeat));
        desk.settle();
    }
}

#[test]
fn a_repeat_that_is_refused_because_too_much_waits_is_heard() {
    let few = QueueLimits { commands_per_network_max: 2, ..QueueLimits::default() };
    let mut desk = a_line(3, few);
    desk.wait_ms(WAIT_TTL_MS - 5_000);
    let asks: Vec<_> = (2..5).map(|number| desk.ask(waits(number))).collect();
    assert!(matches!(desk.why(asks[2]), Why::Overloaded(_)));
    desk.wait_ms(WAIT_TTL_MS - 5_000);
    assert_eq!(silent(&desk), 0);
    // So is a lease.
    (50..52).for_each(|_| {
        desk.ask(waits(2));
    });
    let refused = desk.ask(checkout(1));
    assert!(matches!(desk.why(refused), Why::Overloaded(_)));
    desk.wait_ms(TTL_MS_DEFAULT - 5_000);
    assert_eq!(stands(&desk, 1), Standing::Live);
}

#[test]
fn a_first_word_that_is_refused_because_too_much_waits_is_heard() {
    let few = QueueLimits { commands_per_network_max: 2, ..QueueLimits::default() };
    let desk = a_line(3, few);
    let mut desk = with(few, desk.crash());
    desk.now(renew(1, 1));
    desk.wait_ms(WAIT_TTL_MS - 5_000);
    let asks: Vec<_> = (2..5).map(|number| desk.ask(waits(number))).collect();
    assert!(matches!(desk.why(asks[2]), Why::Overloaded(_)));
    desk.wait_ms(WAIT_TTL_MS - 5_000);
    assert_eq!(silent(&desk), 0);
    // So is a lease.
    let mut desk = Desk::with_seats(3);
    (1..4).for_each(|number| {
        desk.now(checkout(number));
    });
    let mut desk = with(few, desk.crash());
    desk.wait_ms(TTL_MS_DEFAULT - 5_000);
    let [.., refused] = [2, 3, 1].map(|number| desk.ask(checkout(number)));
    assert!(matches!(desk.why(refused), Why::Overloaded(_)));
    desk.wait_ms(TTL_MS_DEFAULT - 5_000);
    assert_eq!(stands(&desk, 1), Standing::Live);
}

#[test]
fn repeats_without_end_do_not_hold_up_what_is_due() {
    let mut desk = with(QueueLimits { commands_per_network_max: 8, ..FEW }, Desk::with_seats(5));
    desk.now(checkout(1));
    desk.now(checkout(2));
    desk.ask(checkout(1));
    let mut waited = 0;
    while stands(&desk, 2) == Standing::Live {
        desk.ask(checkout(1));
        desk.ask(checkout(3));
        desk.wait_ms(500);
        waited += 500;
        assert!(waited < TTL_MS_DEFAULT + 15_000, "a dead lease ends while a live one asks");
    }
    assert_eq!(stands(&desk, 1), Standing::Live);
}

#[test]
fn a_renewal_or_a_repeat_that_nobody_waits_for_any_more_is_a_sign_of_life() {
    for ask in [renew(1, 1), checkout(1)] {
        let mut desk = Desk::with_seats(1);
        desk.now(checkout(1));
        desk.wait_ms(TTL_MS_DEFAULT - 1_000);
        let name = desk.ask(ask.clone());
        desk.leaves(name);
        desk.wait_ms(5_000);
        assert_eq!(stands(&desk, 1), Standing::Live, "{ask:?}");
    }
    let mut desk = a_line(1, QueueLimits::default());
    desk.wait_ms(WAIT_TTL_MS - 1_000);
    let name = desk.send(home(), waits(2), 20_000);
    desk.leaves(name);
    desk.wait_ms(5_000);
    assert_eq!(silent(&desk), 0);
    assert!(desk.is_back(name), "nobody is there whose answer could be held");
}

#[test]
fn a_held_question_that_nobody_waits_for_any_more_claims_nothing() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    let held = desk.send(home(), waits(2), 20_000);
    desk.settle();
    desk.leaves(held);
    desk.now(release(1));
    desk.settle();
    assert_eq!(desk.why(held), Why::Gone);
    desk.wait_ms(CLAIM_MS + 1_000);
    assert_eq!(unclaimed(&desk), 1);
    let newcomer = desk.ask(checkout(3));
    desk.leaves(newcomer);
    desk.settle();
    assert_eq!(desk.why(newcomer), Why::Gone, "what nobody holds is dropped");
}

#[test]
fn a_late_copy_of_an_older_renewal_does_not_take_the_place_of_a_newer_one() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    let newer = desk.ask(renew(1, 7));
    let late = desk.ask(renew(1, 6));
    assert_eq!(desk.why(late), Why::Unknown);
    desk.settle();
    assert!(is_renewed(&desk.outcome(newer)));
    assert_eq!(desk.now(renew(1, 6)), Outcome::Refused(Refusal::StaleCounter));
}
