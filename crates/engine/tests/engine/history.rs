//! A proof that history was lost: what it does to a request that is refused, and to the end of a quarantine that was looked at before.

use triquest_allocator::{Actor, Command, ContentDigest, Event, Lineage, Outcome, Refusal, Safeguards};
use triquest_engine::{Input, TookEffect, Why};

use crate::desk::{Desk, ENOUGH, NONE, RESERVE, adopt, checkout, from, is_granted};

fn ends_quarantine(lineage: Lineage) -> Command {
    Command::EndQuarantine { lineage, actor: Actor { name: "test".to_owned(), reason: "looked at".to_owned() } }
}

fn began(desk: &Desk) -> usize {
    desk.events().filter(|event| matches!(event, Event::LineageBegan { .. })).count()
}

/// Shows a grant of an entry that this history does not have.
fn proof(number: u32, change: impl FnOnce(&mut Command)) -> Command {
    let mut command = adopt(number, 1, 5_000);
    change(&mut command);
    command
}

#[test]
fn a_proof_counts_although_its_request_is_refused_and_nobody_is_told_that_it_changed_nothing() {
    let other_content = |command: &mut Command| {
        if let Command::Adopt { content, .. } = command {
            *content = ContentDigest([99; 16]);
        }
    };
    let earlier = |command: &mut Command| {
        if let Command::Adopt { attempt, .. } = command {
            *attempt = 0;
        }
    };
    let no_parts = |command: &mut Command| {
        if let Command::Adopt { items, .. } = command {
            items.clear();
        }
    };
    let mut tried = 0;
    for (change, full) in [(0, false), (1, false), (2, false), (0, true), (1, true)] {
        let mut desk = Desk::with_seats(1);
        desk.now(checkout(1));
        let command = proof(1, |command| match change {
            0 => other_content(command),
            1 => earlier(command),
            _ => no_parts(command),
        });
        if full {
            desk.engine.handle(Input::Room(NONE));
        }
        let name = desk.ask(command);
        desk.settle();
        match &desk.back[&name] {
            Ok(_) => assert!(matches!(desk.outcome(name), Outcome::Refused(Refusal::HadEffect(_))), "{change} {full}"),
            Err(why) => assert_eq!(*why, Why::DiskFull(TookEffect::Unknown), "{change} {full}"),
        }
        desk.engine.handle(Input::Room(ENOUGH));
        desk.settle();
        assert_eq!(began(&desk), 1, "{change} {full}");
        tried += 1;
    }
    assert_eq!(tried, 5);
}

#[test]
fn a_proof_that_is_charged_to_a_license_that_is_not_here_says_which() {
    let mut desk = Desk::with_seats(1);
    let missing = triquest_license::LicenseHash::from_bytes([7; 32]);
    let command = proof(5, |command| {
        if let Command::Adopt { shown, .. } = command {
            shown.items[0].from = vec![(missing, 0, 1)];
        }
    });
    let Outcome::Refused(refusal) = desk.now(command) else { panic!("it is not here") };
    assert_eq!(*refusal.itself(), Refusal::LicenseUnknown(missing));
    assert_eq!(began(&desk), 1);
}

#[test]
fn a_request_that_is_refused_without_any_effect_is_told_so() {
    let mut desk = Desk::with_seats(1);
    desk.now(checkout(1));
    let mut other = checkout(1);
    if let Command::Checkout { content, .. } = &mut other {
        *content = ContentDigest([99; 16]);
    }
    assert_eq!(desk.now(other), Outcome::Refused(Refusal::IdTaken));
}

#[test]
fn whoever_ends_a_quarantine_ends_the_one_that_was_looked_at() {
    let mut desk = Desk::with_seats(2);
    desk.now(checkout(1));
    let seen = desk.engine.allocator().lineage();
    // Both lie before one pass.
    let shown = desk.ask(proof(1, |_| {}));
    let ended = desk.ask(ends_quarantine(seen));
    desk.settle();
    assert!(is_granted(&desk.outcome(shown)));
    assert_eq!(desk.outcome(ended), Outcome::Refused(Refusal::OtherHistory));
    assert_eq!(began(&desk), 1);
    assert!(matches!(desk.now(checkout(2)), Outcome::Denied(_)), "the new quarantine runs");
    let now = desk.engine.allocator().lineage();
    assert_ne!(now, seen);
    assert_eq!(desk.now(ends_quarantine(now)), Outcome::Done);
    assert!(is_granted(&desk.now(checkout(3))));
}

#[test]
fn a_quarantine_is_not_ended_while_the_proof_of_another_one_waits_for_room() {
    let mut desk = Desk::with_seats(2);
    desk.now(checkout(1));
    let seen = desk.engine.allocator().lineage();
    desk.engine.handle(Input::Room(crate::desk::RESERVE));
    desk.ask(proof(1, |_| {}));
    let ended = desk.ask(ends_quarantine(seen));
    desk.settle();
    assert_eq!(desk.outcome(ended), Outcome::Refused(Refusal::OtherHistory));
}

#[test]
fn a_proof_on_a_full_disk_is_written_from_the_reserve_and_outlives_a_start() {
    for stops in [false, true] {
        let mut desk = Desk::with_seats(1);
        desk.engine.handle(Input::Room(RESERVE));
        desk.settle();
        let shown = desk.ask(proof(5, |_| {}));
        if stops {
            desk.engine.handle(Input::Stop);
        }
        desk.settle();
        assert_eq!((began(&desk), desk.stopped), (1, stops));
        assert!(matches!(desk.why(shown), Why::DiskFull(TookEffect::Unknown) | Why::Stopping(TookEffect::Unknown)));
        let mut desk = desk.crash();
        desk.engine.handle(Input::Room(ENOUGH));
        desk.settle();
        let newcomer = desk.now(checkout(3));
        assert!(!is_granted(&newcomer), "{newcomer:?}");
    }
}

#[test]
fn a_proof_that_met_a_disk_with_nothing_left_stops_all_granting_with_room_again() {
    for keeps in [true, false] {
        let safeguards = Safeguards { proof_stops_at_once: keeps, ..Safeguards::default() };
        let mut desk = Desk::on(Desk::with_seats(1).journal, safeguards);
        desk.engine.handle(Input::Room(NONE));
        desk.settle();
        let shown = desk.ask(proof(5, |_| {}));
        desk.settle();
        assert!(matches!(desk.why(shown), Why::DiskFull(_)));
        desk.engine.handle(Input::Room(ENOUGH));
        let newcomer = desk.now(checkout(3));
        assert_eq!((is_granted(&newcomer), began(&desk)), (!keeps, usize::from(keeps)), "{newcomer:?}");
    }
}

#[test]
fn a_proof_that_comes_while_the_server_stops_stops_all_granting_and_is_written() {
    let mut desk = Desk::with_seats(3);
    desk.journal_held = true;
    for number in [90, 91] {
        desk.send(from(9), checkout(number), 0);
        desk.settle();
    }
    let newcomer = desk.ask(checkout(3));
    desk.engine.handle(Input::Stop);
    desk.drain();
    let shown = desk.ask(proof(5, |_| {}));
    assert_eq!(desk.why(shown), Why::Stopping(TookEffect::Unknown));
    desk.journal_held = false;
    desk.commit_all();
    desk.settle();
    assert!(!is_granted(&desk.outcome(newcomer)));
    assert_eq!((began(&desk), desk.stopped), (1, true));
}

#[test]
fn a_grant_that_is_shown_on_a_full_disk_lengthens_the_quarantine() {
    let desk = Desk::with_seats(1);
    let mut desk = desk.restored();
    desk.engine.handle(Input::Room(RESERVE));
    desk.settle();
    let of_a_day = proof(5, |command| {
        if let Command::Adopt { shown, .. } = command {
            shown.ttl_ms = 86_400_000;
            shown.items[0].from = vec![(triquest_license::LicenseHash::from_bytes([7; 32]), 0, 1)];
        }
    });
    let shown = desk.ask(of_a_day);
    desk.settle();
    assert!(matches!(desk.why(shown), Why::DiskFull(_)));
    desk.wait_ms(2 * 3_600_000);
    desk.engine.handle(Input::Room(ENOUGH));
    desk.settle();
    let newcomer = desk.now(checkout(3));
    assert!(!is_granted(&newcomer), "{newcomer:?}");
}
