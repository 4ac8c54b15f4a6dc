//! Changes that concern thousands of leases: one fact, with follow-ups in portions that an entry holds, and nobody served wrongly in between.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Right, Server, actor, content, holder, install, item, key, lease, license, moment};
use triquest_allocator::{Command, DenialCode, Event, Outcome, Safeguards, limits};

type Journal = Vec<(triquest_allocator::Moment, Vec<Event>)>;

fn checkout(name: &str) -> Command {
    Command::Checkout {
        lease: lease(name),
        attempt: 1,
        content: content(name),
        holder: holder(name, "ws1"),
        vendor_keys: vec![key("acme")],
        items: vec![item("cad", 1, None)],
        ttl_ms: None,
        wait_ms: None,
        regained: false,
        network: None,
    }
}

fn server_with(leases: usize, licenses: &[(&str, u32)]) -> Server {
    let mut server = Server::new(Safeguards::default());
    server.checked = false;
    server.restart(moment(0)).unwrap();
    for (id, seats) in licenses {
        server.decide(moment(0), install(license(&["acme"], id, &[], &[Right::new("cad", *seats)]))).unwrap();
    }
    for number in 0..leases {
        let (outcome, _) = server.decide(moment(0), checkout(&number.to_string())).unwrap();
        assert!(matches!(outcome, Outcome::Granted(_)), "{outcome:?}");
    }
    server
}

#[test]
fn a_license_with_thousands_of_leases_is_removed_in_portions_and_renewals_in_between_know_it() {
    let mut server = server_with(5_000, &[("A", 5_000)]);
    server.decide(moment(1), install(license(&["acme"], "B", &[], &[Right::new("cad", 2_000)]))).unwrap();
    let license = server.live.licenses().next().unwrap().license;
    let batch = server.live.decide_batch(moment(2), vec![((), Command::Remove { license, actor: actor() })]);
    assert!(batch.events.len() <= limits::EVENTS_MAX, "{}", batch.events.len());
    let Some(((), Outcome::Removed { ending })) = batch.outcomes.first() else { panic!("{:?}", batch.outcomes) };
    assert!(*ending >= 3_000, "{ending}");
    let (mut moved, mut marked) = (0, 0);
    let mut count = |events: &[Event]| {
        moved += events.iter().filter(|event| matches!(event, Event::ChargeMoved { .. })).count();
        marked += events.iter().filter(|event| matches!(event, Event::Ending { .. })).count();
    };
    count(&batch.events);
    assert_eq!(server.live.next_deadline(), Some(moment(2).at), "the rest is due at once");

    // A renewal before its turn: moved or ended, not renewed on a license that is gone.
    for number in [4_999, 2_500, 10] {
        let renew = Command::Renew {
            lease: lease(&number.to_string()),
            counter: 1,
            nonce: [0; 16],
            idle_ms: None,
            presence: None,
            regained: false,
        };
        let mut batch = server.live.decide_batch(moment(3), vec![((), renew)]);
        count(&batch.events);
        let view = server.live.lease_view(&lease(&number.to_string())).unwrap();
        let charged = view.items[0].charges[0].entitlement;
        let in_force = server.live.entitlement_view(charged).unwrap().in_force;
        match batch.outcomes.pop().unwrap().1 {
            Outcome::Renewed { .. } => assert!(in_force),
            Outcome::Ended { remaining_ms, .. } => assert!(!in_force && remaining_ms > 0),
            other => panic!("{other:?}"),
        }
    }
    // A newcomer is neither granted the seat of one who has not been moved yet, nor told anything too early.
    let mut commands = vec![((), checkout("newcomer"))];
    for _ in 0..40 {
        let batch = server.live.decide_batch(moment(4), commands);
        assert!(batch.events.len() <= limits::EVENTS_MAX);
        count(&batch.events);
        commands = batch.left;
        if let Some((_, outcome)) = batch.outcomes.first() {
            assert!(matches!(outcome, Outcome::Denied(denial) if denial.code == DenialCode::NoSeatFree), "{outcome:?}");
            break;
        }
    }
    assert!(commands.is_empty());
    assert_eq!((moved, marked), (2_000, 3_000));
    server.live.check_invariants().unwrap();
}

#[test]
fn thousands_of_leases_that_expire_at_once_are_freed_in_portions_and_nobody_is_denied_over_them() {
    let mut server = server_with(6_000, &[("A", 6_000)]);
    let mut commands = vec![((), checkout("newcomer"))];
    let mut granted = false;
    for _ in 0..40 {
        let batch = server.live.decide_batch(moment(400_000), commands);
        assert!(batch.events.len() <= limits::EVENTS_MAX, "{}", batch.events.len());
        let ended = batch.events.iter().filter(|event| matches!(event, Event::Ended { .. })).count();
        assert!(ended <= limits::DUE_PER_BATCH_MAX, "{ended}");
        for (_, outcome) in &batch.outcomes {
            granted |= matches!(outcome, Outcome::Granted(_));
            assert!(!matches!(outcome, Outcome::Denied(_)), "{outcome:?}");
        }
        commands = batch.left;
        if commands.is_empty() {
            commands = vec![((), Command::Sweep)];
        }
    }
    assert!(granted);
    assert_eq!(server.live.leases(), 1);
    server.live.check_invariants().unwrap();
}

#[test]
fn an_entry_never_outgrows_what_a_journal_takes() {
    let mut server = server_with(0, &[("A", 1_000_000)]);
    let mut rights: Vec<_> = (0..200).map(|number| Right::new(&format!("feature-{number}"), 1)).collect();
    rights.iter_mut().for_each(|right| *right = right.clone().with("vendor_data", &"x".repeat(200)));
    let licenses: Vec<_> = (0..40).map(|number| install(license(&["acme"], &format!("L{number}"), &[], &rights))).collect();
    let mut commands: Vec<_> = licenses.into_iter().map(|command| ((), command)).collect();
    commands.extend((0..limits::BATCH_MAX).map(|number| ((), checkout(&number.to_string()))));
    let mut done = 0;
    for _ in 0..200 {
        let batch = server.live.decide_batch(moment(1), commands);
        let weight: usize = batch.events.iter().map(Event::weight).sum();
        assert!(weight <= limits::ENTRY_BYTES_MAX && batch.events.len() <= limits::EVENTS_MAX, "{weight} {}", batch.events.len());
        assert!(!batch.outcomes.is_empty());
        done += batch.outcomes.len();
        commands = batch.left;
        if commands.is_empty() {
            break;
        }
    }
    assert_eq!(done, 40 + limits::BATCH_MAX);
}

#[test]
fn in_a_batch_renewals_come_before_what_is_due_and_that_before_the_rest() {
    let mut server = server_with(2, &[("A", 2)]);
    let renew = Command::Renew { lease: lease("0"), counter: 1, nonce: [0; 16], idle_ms: None, presence: None, regained: false };
    let batch = server.live.decide_batch(moment(300_000), vec![("new", checkout("new")), ("late", checkout("late")), ("renew", renew)]);
    let of = |tag: &str| batch.outcomes.iter().find(|(found, _)| *found == tag).map(|(_, outcome)| outcome).unwrap();
    assert!(matches!(of("renew"), Outcome::Renewed { .. }));
    assert!(matches!(of("new"), Outcome::Granted(_)), "the other lease's time was up");
    assert!(matches!(of("late"), Outcome::Denied(_)));
}

#[test]
fn a_start_is_alone_in_its_entry() {
    let mut server = server_with(1, &[("A", 1)]);
    let recover = Command::Recover {
        epoch: triquest_allocator::Epoch(2),
        instance: triquest_allocator::Instance([2; 16]),
        lineage: server.live.lineage(),
        folder_ttl_max_ms: 0,
    };
    let batch = server.live.decide_batch(moment(1), vec![(1, checkout("0")), (2, recover), (3, Command::Sweep)]);
    assert_eq!(batch.events.len(), 1);
    assert_eq!(batch.outcomes.len(), 1);
    assert_eq!(batch.left.len(), 2);
}

#[test]
fn a_grant_remembers_the_entry_that_made_it() {
    let mut server = server_with(1, &[("A", 1)]);
    let (outcome, _) = server.decide(moment(1), checkout("0")).unwrap();
    let Outcome::Granted(grant) = outcome else { panic!("{outcome:?}") };
    assert_eq!(grant.granted_in, Some((triquest_allocator::Epoch(1), triquest_allocator::Index(3))));
    server.restart(moment(2)).unwrap();
    let (outcome, _) = server.decide(moment(3), checkout("0")).unwrap();
    let Outcome::Granted(grant) = outcome else { panic!("{outcome:?}") };
    assert_eq!(grant.granted_in, Some((triquest_allocator::Epoch(1), triquest_allocator::Index(3))));
}

#[test]
fn a_journal_that_does_not_fit_is_refused_and_not_guessed_at() {
    let server = server_with(2, &[("A", 2)]);
    let replay = |change: &dyn Fn(&mut Journal)| {
        let mut journal = server.journal.clone();
        change(&mut journal);
        let mut state = triquest_allocator::Allocator::new(Safeguards::default());
        let mut entries = journal.iter().zip(1..);
        entries.try_for_each(|((moment, events), index)| state.apply_entry(triquest_allocator::Index(index), *moment, events))
    };
    assert_eq!(replay(&|_| {}), Ok(()));
    assert!(replay(&|journal| drop(journal.remove(1))).is_err(), "a missing entry");
    assert!(replay(&|journal| journal.swap(2, 3)).is_ok(), "two grants in the other order are another history, but a whole one");
    assert!(replay(&|journal| journal.push(journal[2].clone())).is_err(), "a grant twice");
    assert!(replay(&|journal| journal[2].0.at.0 = 9_000).is_err(), "time that goes back");
    let overdrawn = |journal: &mut Journal| {
        let Event::Granted { items, .. } = &mut journal[2].1[0] else { panic!() };
        items[0].seats = 3;
        items[0].charges[0].seats = 3;
    };
    assert!(replay(&overdrawn).is_err(), "more than there is");
    let tampered = |journal: &mut Journal| {
        for event in &mut journal[1].1 {
            if let Event::LicenseInstalled { note, .. } = event {
                let text = String::from_utf8(note.clone()).unwrap().replace("seats = 2", "seats = 9");
                *note = text.into_bytes();
            }
        }
    };
    assert!(replay(&tampered).is_err(), "a license that nobody signed");
}

/// Whether a renewal between a license's removal and the lease's turn is told the truth.
fn renewed_on_a_license_that_is_gone(safeguards: Safeguards) -> bool {
    let mut server = server_with(2_000, &[("A", 2_000)]);
    let records: Vec<_> = server.live.snapshot().collect();
    server.live = triquest_allocator::Allocator::load(safeguards, records).unwrap();
    let license = server.live.licenses().next().unwrap().license;
    server.live.decide_batch(moment(2), vec![((), Command::Remove { license, actor: actor() })]);
    // The last first: the first few hundred were marked in the entry that removed the license.
    (0..2_000).rev().any(|number| {
        let renew = Command::Renew {
            lease: lease(&number.to_string()),
            counter: 1,
            nonce: [0; 16],
            idle_ms: None,
            presence: None,
            regained: false,
        };
        let batch = server.live.decide_batch(moment(3), vec![((), renew)]);
        matches!(batch.outcomes[0].1, Outcome::Renewed { .. })
    })
}

#[test]
fn a_renewal_before_its_turn_knows_that_the_license_is_gone() {
    assert!(!renewed_on_a_license_that_is_gone(Safeguards::default()));
    assert!(renewed_on_a_license_that_is_gone(Safeguards { stranded_checked_at_renewal: false, ..Safeguards::default() }));
}
