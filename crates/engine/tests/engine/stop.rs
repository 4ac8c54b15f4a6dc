//! The end.

use triquest_allocator::Outcome;
use triquest_engine::{Input, TookEffect, Why};

use crate::desk::{Desk, NONE, checkout, home, is_granted, release, waits};

#[test]
fn a_stop_decides_what_was_taken_and_refuses_what_comes() {
    let mut desk = Desk::with_seats(2);
    let taken = desk.ask(checkout(1));
    desk.engine.handle(Input::Stop);
    desk.drain();
    let late = desk.ask(checkout(2));
    assert_eq!(desk.why(late), Why::Stopping(TookEffect::No));
    desk.settle();
    assert!(is_granted(&desk.outcome(taken)));
    assert!(desk.stopped);
}

#[test]
fn a_held_waiter_hears_its_place_when_the_server_stops() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    let held = desk.send(home(), waits(2), 20_000);
    desk.settle();
    assert!(!desk.is_back(held));
    desk.engine.handle(Input::Stop);
    desk.drain();
    assert!(matches!(desk.outcome(held), Outcome::Waiting { place: 1, .. }));
    assert!(desk.stopped);
    let mut desk = desk.crash();
    desk.now(release(1));
    assert!(is_granted(&desk.now(waits(2))), "its place was there after the start");
}

#[test]
fn a_held_waiter_whose_place_is_not_durable_yet_hears_it_when_it_is() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.journal_held = true;
    let held = desk.send(home(), waits(2), 20_000);
    desk.pass();
    desk.engine.stop_holding();
    desk.drain();
    assert!(!desk.is_back(held));
    desk.commit_all();
    assert!(matches!(desk.outcome(held), Outcome::Waiting { .. }));
    let at_once = desk.send(home(), waits(3), 20_000);
    desk.journal_held = false;
    desk.settle();
    assert!(matches!(desk.outcome(at_once), Outcome::Waiting { place: 2, .. }), "nothing is held any more");
}

#[test]
fn a_stop_on_a_full_disk_says_unknown_of_what_may_still_be_written() {
    let mut desk = Desk::with_seats(2);
    desk.journal_held = true;
    let decided = desk.ask(checkout(1));
    desk.pass();
    desk.say(Input::Full);
    let waiting = desk.ask(release(1));
    desk.engine.handle(Input::Stop);
    desk.drain();
    assert_eq!(desk.why(decided), Why::Unknown);
    assert_eq!(desk.why(waiting), Why::Stopping(TookEffect::Unknown));
    assert!(desk.stopped);
}

#[test]
fn a_stop_without_room_ends_although_something_waits_for_it() {
    let mut desk = Desk::with_seats(2);
    desk.now(checkout(1));
    desk.engine.handle(Input::Room(NONE));
    let waiting = desk.ask(release(1));
    desk.settle();
    desk.engine.handle(Input::Stop);
    desk.drain();
    assert_eq!(desk.why(waiting), Why::Stopping(TookEffect::Unknown));
    assert!(desk.stopped);
}

#[test]
fn a_held_waiter_that_has_left_the_line_hears_its_place_as_of_when_it_was_found() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    let held = desk.send(home(), waits(2), 600_000);
    desk.settle();
    desk.journal_held = true;
    let gone = desk.ask(release(2));
    desk.pass();
    desk.pass();
    desk.engine.handle(Input::Stop);
    desk.drain();
    desk.commit_all();
    let pass = |name| crate::desk::one(&desk.back[&name]).pass;
    assert!(matches!(desk.outcome(held), Outcome::Waiting { .. }));
    assert!(pass(held) < pass(gone), "no order of answers has a place in line after the end of it");
}

#[test]
fn a_waiter_that_leaves_the_line_in_the_pass_in_which_it_came_hears_no_place_beside_the_end_of_it() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    desk.journal_held = true;
    let waiting = desk.send(home(), waits(2), 600_000);
    let gone = desk.ask(release(2));
    desk.pass();
    desk.engine.handle(Input::Stop);
    desk.drain();
    desk.commit_all();
    desk.settle();
    assert!(matches!(desk.outcome(gone), Outcome::Released { .. }));
    assert!(!matches!(desk.outcome(waiting), Outcome::Waiting { .. }), "{:?}", desk.outcome(waiting));
}
