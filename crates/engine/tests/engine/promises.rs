//! When an answer may leave, and what a refusal may say.

use triquest_allocator::{Event, Outcome, Safeguards};
use triquest_engine::{Answers, Input, TookEffect, Why};

use crate::desk::{Desk, checkout, checkout_of, from, home, is_granted, is_renewed, lease, release, renew, waits};

#[test]
fn nothing_is_decided_before_the_new_epoch_is_durable() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    let mut desk = Desk::starting_on(desk.journal, Safeguards::default());
    assert_eq!(desk.epoch().0, 2);
    let durable = desk.journal.len();
    let [renewal, denial] = [renew(1, 1), checkout(2)].map(|command| desk.ask(command));
    desk.wait_ms(2_000);
    assert!(!desk.is_back(renewal) && !desk.is_back(denial));
    assert!(
        matches!(desk.waiting.make_contiguous(), [first] if matches!(first.events[..], [Event::Recovered { .. }])),
        "nothing is written behind it"
    );
    desk.commit();
    desk.drain();
    assert!(!desk.is_back(renewal) && !desk.is_back(denial), "they are decided in the next pass");
    desk.journal_held = false;
    desk.settle();
    assert!(is_renewed(&desk.outcome(renewal)));
    assert!(matches!(desk.outcome(denial), Outcome::Denied(_)));
    let written = &desk.journal[durable + 1..];
    assert!(matches!(written[0].events[0], Event::Heard { .. }), "{written:?}");
}

#[test]
fn a_grant_is_answered_when_its_entry_is_durable() {
    let mut desk = Desk::with_seats(1);
    desk.journal_held = true;
    let name = desk.ask(checkout(1));
    desk.settle();
    assert!(!desk.is_back(name));
    desk.commit_all();
    assert!(is_granted(&desk.outcome(name)));
}

#[test]
fn an_answer_without_an_entry_waits_until_its_pass_is_confirmed() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.confirm_held = true;
    let name = desk.ask(renew(1, 1));
    desk.pass();
    assert!(!desk.is_back(name));
    let pass = desk.confirming[0];
    desk.engine.handle(Input::Confirmed(pass));
    desk.drain();
    assert!(is_renewed(&desk.outcome(name)));
}

#[test]
fn one_confirmation_is_under_way_and_one_is_wanted_and_a_later_one_counts_for_earlier_passes() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.confirm_held = true;
    let mut names = Vec::new();
    for counter in 1..=4 {
        names.push(desk.ask(renew(1, counter)));
        desk.pass();
    }
    assert_eq!(desk.confirming.len(), 1);
    let first = desk.confirming[0];
    desk.engine.handle(Input::Confirmed(first));
    desk.drain();
    assert_eq!(names.iter().filter(|name| desk.is_back(**name)).count(), 1);
    assert_eq!(desk.confirming.len(), 2, "the newest pass is asked for next, not each");
    let last = desk.confirming[1];
    desk.engine.handle(Input::Confirmed(last));
    desk.drain();
    assert!(names.iter().all(|name| is_renewed(&desk.outcome(*name))));
}

#[test]
fn what_is_not_confirmed_is_unknown_when_another_server_leads() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.confirm_held = true;
    let name = desk.ask(renew(1, 1));
    desk.pass();
    let waiting = desk.ask(checkout(7));
    desk.engine.handle(Input::Fenced);
    desk.drain();
    assert_eq!(desk.why(name), Why::Unknown);
    assert_eq!(desk.why(waiting), Why::Stopping(TookEffect::No), "it was not decided, and nobody knows its id");
    assert!(desk.stopped);
    let late = desk.ask(renew(1, 2));
    assert_eq!(desk.why(late), Why::Stopping(TookEffect::Unknown));
}

#[test]
fn a_renewal_waits_for_the_entry_in_flight_that_its_lease_stands_in() {
    let mut desk = Desk::with_seats(2);
    desk.now(checkout(1));
    desk.now(checkout(2));
    let mut desk = desk.crash();
    desk.now(renew(2, 1));
    desk.journal_held = true;
    let first = desk.ask(renew(1, 1));
    desk.pass();
    let again = desk.ask(renew(1, 2));
    let other = desk.ask(renew(2, 2));
    desk.pass();
    assert!(!desk.is_back(first) && !desk.is_back(again));
    assert!(is_renewed(&desk.outcome(other)), "it depends on nothing that is in flight");
    desk.commit_all();
    assert!(is_renewed(&desk.outcome(first)) && is_renewed(&desk.outcome(again)));
}

#[test]
fn a_renewal_waits_for_an_entry_in_flight_that_changes_licenses() {
    let mut desk = Desk::with_seats(2);
    desk.now(checkout(1));
    desk.journal_held = true;
    desk.ask(crate::desk::install("B-1", &[("cad", 3)]));
    desk.pass();
    let renewal = desk.ask(renew(1, 1));
    desk.pass();
    assert!(!desk.is_back(renewal));
    desk.commit_all();
    assert!(is_renewed(&desk.outcome(renewal)));
}

#[test]
fn what_is_in_flight_is_forgotten_when_it_is_committed() {
    let mut desk = Desk::with_seats(2);
    desk.now(checkout(1));
    // While it was in flight, an installation kept every answer back. It is committed, and what is in flight now is another lease's.
    desk.now(crate::desk::install("B-1", &[("cad", 5)]));
    desk.journal_held = true;
    desk.ask(checkout(3));
    desk.pass();
    let renewal = desk.ask(renew(1, 1));
    desk.pass();
    assert!(is_renewed(&desk.outcome(renewal)));
}

#[test]
fn one_request_of_a_lease_waits_and_a_newer_one_takes_its_place() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    let older = desk.ask(renew(1, 1));
    let newer = desk.ask(renew(1, 2));
    assert_eq!(desk.why(older), Why::Unknown);
    desk.pass();
    assert!(is_renewed(&desk.outcome(newer)));
    let release = desk.ask(release(1));
    let late = desk.ask(renew(1, 3));
    assert_eq!(desk.why(late), Why::Unknown, "nothing takes the place of a release");
    desk.pass();
    assert!(matches!(desk.outcome(release), Outcome::Released { .. }));
}

#[test]
fn parts_of_a_batch_are_decided_each_for_itself_and_answered_together() {
    let mut desk = Desk::with_seats(3);
    desk.now(checkout(1));
    desk.now(checkout(2));
    let name = desk.send(home(), vec![renew(1, 1), renew(9, 1), renew(2, 1), renew(1, 2)], 0);
    desk.settle();
    let Ok(Answers::Many(answers)) = desk.back[&name].clone() else { panic!("no batch") };
    assert_eq!(answers[0].as_ref().unwrap_err(), &Why::Unknown, "a newer one of the same lease took its place");
    assert!(matches!(answers[1].as_ref().unwrap().outcome, Outcome::Refused(_)));
    assert!(is_renewed(&answers[2].as_ref().unwrap().outcome) && is_renewed(&answers[3].as_ref().unwrap().outcome));
}

#[test]
fn a_waiter_is_held_until_its_seat_comes_or_its_time_is_over() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    let held = desk.send(home(), waits(2), 20_000);
    desk.settle();
    assert!(!desk.is_back(held));
    desk.wait_ms(20_000);
    assert!(matches!(desk.outcome(held), Outcome::Waiting { place: 1, .. }));
    let held = desk.send(home(), waits(2), 20_000);
    desk.settle();
    desk.now(release(1));
    desk.settle();
    assert!(is_granted(&desk.outcome(held)));
}

#[test]
fn a_refusal_of_a_known_id_admits_that_it_may_have_happened() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.now(checkout(2));
    // One network fills its place.
    let batch: Vec<_> = (1_000..5_000).map(checkout).collect();
    desk.send(home(), batch, 0);
    let full: Vec<_> = (5_000..5_200).map(checkout).collect();
    let full = desk.send(home(), full, 0);
    assert_eq!(desk.why(full), Why::Overloaded(TookEffect::No));
    let live = desk.send(home(), std::iter::once(checkout(1)).chain((5_000..5_200).map(checkout)).collect::<Vec<_>>(), 0);
    assert_eq!(desk.why(live), Why::Overloaded(TookEffect::Unknown), "it is live");
    let denied = desk.send(home(), vec![checkout_of(2, 2, None); 200], 0);
    assert_eq!(desk.why(denied), Why::Overloaded(TookEffect::Unknown), "it is remembered");
    let other = desk.send(from(2), checkout(6_000), 0);
    assert!(!desk.is_back(other), "another network has its own place");
    let renewal = desk.ask(renew(1, 1));
    desk.pass();
    assert!(is_renewed(&desk.outcome(renewal)), "the lane is never full");
}

#[test]
fn a_waiter_that_asks_and_gives_up_in_one_pass_is_answered() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.now(waits(2));
    let held = desk.send(home(), waits(2), 600_000);
    desk.ask(release(2));
    desk.settle();
    assert!(!matches!(desk.outcome(held), Outcome::Waiting { .. } | Outcome::Granted(_)));
}

#[test]
fn what_an_answer_says_of_a_deadline_is_shown_when_it_leaves() {
    let mut desk = Desk::with_seats(2);
    desk.now(checkout(1));
    desk.now(checkout(2));
    let mut desk = desk.crash();
    desk.now(renew(2, 1));
    desk.heard.clear();
    desk.journal_held = true;
    let first = desk.ask(renew(1, 1));
    let other = desk.ask(renew(2, 2));
    desk.pass();
    assert!(!desk.is_back(first) && desk.is_back(other));
    let shown = |desk: &Desk| desk.heard.iter().map(|heard| heard.lease).collect::<Vec<_>>();
    assert_eq!(shown(&desk), [lease(2)], "that the first was heard is not durable");
    desk.confirm_held = true;
    let again = desk.ask(renew(1, 2));
    desk.pass();
    desk.commit_all();
    assert!(desk.is_back(first) && !desk.is_back(again));
    assert_eq!(shown(&desk), [lease(2), lease(1)], "the later one is not confirmed");
    desk.engine.handle(Input::Fenced);
    desk.drain();
    assert_eq!(desk.heard.len(), 2);
}

#[test]
fn nothing_is_granted_in_the_pass_that_finds_a_rollback() {
    let mut desk = Desk::with_seats(5);
    let granted = desk.now(checkout(1));
    assert!(is_granted(&granted));
    // A grant of ours, one of an epoch that this history has not had, and a newcomer, in one pass.
    let ours = desk.ask(crate::desk::adopt(2, 1, 1));
    let proof = desk.ask(crate::desk::adopt(3, 99, 1));
    let newcomer = desk.ask(checkout(4));
    desk.settle();
    let began = desk.journal.iter().find(|entry| entry.events.iter().any(|event| matches!(event, Event::LineageBegan { .. }))).unwrap();
    assert!(!began.events.iter().any(|event| matches!(event, Event::Granted { .. })), "{:?}", began.events);
    for name in [ours, newcomer] {
        assert!(matches!(desk.outcome(name), triquest_allocator::Outcome::Denied(_)), "{:?}", desk.outcome(name));
    }
    assert!(desk.is_back(proof));
}

#[test]
fn nothing_is_granted_while_a_proof_of_a_rollback_waits_for_its_turn() {
    let mut desk = Desk::with_seats(5);
    assert!(is_granted(&desk.now(checkout(1))));
    // More come before it than one pass takes.
    let newcomers: Vec<_> = (10..400).map(|number| desk.ask(checkout(number))).collect();
    let proof = desk.ask(crate::desk::adopt(3, 99, 1));
    desk.settle();
    for name in newcomers {
        assert!(matches!(desk.outcome(name), triquest_allocator::Outcome::Denied(_)), "{:?}", desk.outcome(name));
    }
    assert!(desk.is_back(proof));
}
