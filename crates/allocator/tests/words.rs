//! Licenses of a next version on this one: what is left out, what begins when it is understood, and who may be charged to it.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Right, Server, content, holder, install, item, key, lease, license, moment};
use triquest_allocator::{Command, DenialCode, Epoch, Event, Index, Instance, Lineage, Outcome, Safeguards, ShownGrant, ShownItem};
use triquest_license::words::{Binds, Registered};
use triquest_license::{VerifiedLicense, Vocabulary, Words};

const TOMORROW: &[Registered] = &[
    Registered { word: "1.0", since: "1.0", binds: Binds::Everyone, includes: &[], key: None, what: "" },
    Registered { word: "share", since: "1.1", binds: Binds::Everyone, includes: &[], key: Some("share"), what: "" },
];

fn server(safeguards: Safeguards) -> Server {
    let mut server = Server::new(safeguards);
    server.restart(moment(0)).unwrap();
    server
}

fn ask(name: &str, feature: &str, accepts: &[&str]) -> Command {
    ask_waiting(name, feature, accepts, None)
}

fn ask_waiting(name: &str, feature: &str, accepts: &[&str], wait_ms: Option<u64>) -> Command {
    Command::Checkout {
        accepts: Words::parse(accepts.iter().copied()).unwrap(),
        lease: lease(name),
        attempt: 1,
        content: content(name),
        holder: holder(name, "ws1"),
        vendor_keys: vec![key("acme")],
        items: vec![item(feature, 1, None)],
        ttl_ms: None,
        wait_ms,
        regained: false,
        network: None,
    }
}

/// The same license, read by a version that knows the word.
fn understood(license: &VerifiedLicense) -> Command {
    let read = VerifiedLicense::verify_named_knowing(license.note(), Vocabulary::of(TOMORROW)).unwrap();
    Command::Reread { license: license.hash(), read: Ok(Box::new(read)) }
}

fn shared(feature: &str, seats: u32) -> Right {
    let mut right = Right::new(feature, seats);
    right.lines = vec!["share = \"user\"".to_owned(), "needs = [\"share\"]".to_owned()];
    right
}

fn total(server: &Server, feature: &str) -> u64 {
    server.live.pools().find(|pool| pool.feature.as_str() == feature).map_or(0, |pool| pool.numbers.total)
}

#[test]
fn what_is_left_out_begins_by_a_fact_when_a_start_understands_it() {
    let mut server = server(Safeguards::default());
    let license = license(&["acme"], "A", &[], &[Right::new("cad", 5), shared("mesh", 7), Right::new("sim", 3)]);
    assert_eq!(license.terms().left_out.len(), 1);
    server.decide(moment(1), install(license.clone())).unwrap();
    assert_eq!((total(&server, "cad"), total(&server, "mesh"), total(&server, "sim")), (5, 0, 3));
    // A start of the same version reads nothing new.
    let same = Command::Reread { license: license.hash(), read: Ok(Box::new(license.clone())) };
    let (outcome, events) = server.decide(moment(2), same).unwrap();
    assert!(matches!(outcome, Outcome::Refused(_)) && events.is_empty(), "{outcome:?}");
    let (outcome, events) = server.decide(moment(3), understood(&license)).unwrap();
    assert_eq!(outcome, Outcome::Done);
    assert!(events.iter().any(|event| matches!(event, Event::EntitlementsUnderstood { .. })), "{events:?}");
    assert_eq!((total(&server, "cad"), total(&server, "mesh"), total(&server, "sim")), (5, 7, 3));
    // And an older version that starts on it again takes nothing back.
    let older = Command::Reread { license: license.hash(), read: Ok(Box::new(license)) };
    server.decide(moment(4), older).unwrap();
    assert_eq!(total(&server, "mesh"), 7);
}

#[test]
fn a_license_replaces_only_as_far_as_it_is_understood() {
    let mut server = server(Safeguards::default());
    server.decide(moment(1), install(license(&["acme"], "OLD", &[], &[Right::new("cad", 2), Right::new("mesh", 4)]))).unwrap();
    let new = license(&["acme"], "NEW", &["OLD"], &[Right::new("cad", 3), shared("mesh", 9)]);
    server.decide(moment(2), install(new.clone())).unwrap();
    assert_eq!((total(&server, "cad"), total(&server, "mesh")), (3, 4), "the old seats of what is left out stay");
    let installed = |server: &Server| server.live.licenses().filter(|license| license.removed.is_none()).count();
    assert_eq!(installed(&server), 2);
    server.decide(moment(3), understood(&new)).unwrap();
    assert_eq!((total(&server, "cad"), total(&server, "mesh")), (3, 9));
    assert_eq!(installed(&server), 1, "by now it has taken the whole place");
}

#[test]
fn a_bad_signature_is_a_fact_once_and_ends_nothing() {
    let mut server = server(Safeguards::default());
    let license = license(&["acme"], "A", &[], &[Right::new("cad", 5)]);
    server.decide(moment(1), install(license.clone())).unwrap();
    server.decide(moment(2), ask("ana", "cad", &[])).unwrap();
    let bad = || Command::Reread { license: license.hash(), read: Err("the signature does not verify".to_owned()) };
    let (_, events) = server.decide(moment(3), bad()).unwrap();
    assert!(matches!(&events[..], [Event::LicenseChecked { problem: Some(_), .. }]), "{events:?}");
    let (_, events) = server.decide(moment(4), bad()).unwrap();
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(total(&server, "cad"), 5);
    let good = Command::Reread { license: license.hash(), read: Ok(Box::new(license.clone())) };
    let (_, events) = server.decide(moment(5), good).unwrap();
    assert!(matches!(&events[..], [Event::LicenseChecked { problem: None, .. }]), "{events:?}");
}

/// Seats of one pool, some of which need a word; what a client gets that does not accept it, and one that does.
fn outcomes(safeguards: Safeguards) -> (Outcome, Outcome) {
    let mut server = server(safeguards);
    server.checked = false;
    let license = license(&["acme"], "A", &[], &[shared("mesh", 7)]);
    server.decide(moment(1), install(license.clone())).unwrap();
    server.decide(moment(2), understood(&license)).unwrap();
    let old = server.decide(moment(3), ask("old", "mesh", &[])).unwrap().0;
    let new = server.decide(moment(4), ask("new", "mesh", &["share"])).unwrap().0;
    (old, new)
}

#[test]
fn no_seat_comes_from_an_entitlement_whose_words_the_client_does_not_accept() {
    let (old, new) = outcomes(Safeguards::default());
    let Outcome::Denied(denial) = old else { panic!("{old:?}") };
    assert_eq!(denial.code, DenialCode::WordsNotAccepted);
    assert!(matches!(new, Outcome::Granted(_)), "{new:?}");
    let (old, _) = outcomes(Safeguards { words_are_accepted: false, ..Safeguards::default() });
    assert!(matches!(old, Outcome::Granted(_)), "without the safeguard: {old:?}");
}

#[test]
fn a_charge_moves_to_such_an_entitlement_only_if_the_leases_client_accepted_its_words() {
    let mut server = server(Safeguards::default());
    let plain = license(&["acme"], "PLAIN", &[], &[Right::new("mesh", 2)]);
    server.decide(moment(1), install(plain.clone())).unwrap();
    server.decide(moment(2), ask("old", "mesh", &[])).unwrap();
    server.decide(moment(3), ask("new", "mesh", &["share"])).unwrap();
    let other = license(&["acme"], "SHARED", &[], &[shared("mesh", 7)]);
    server.decide(moment(4), install(other.clone())).unwrap();
    server.decide(moment(5), understood(&other)).unwrap();
    // The words are in the facts: a start remembers who accepted what.
    server.restart(moment(6)).unwrap();
    let (_, events) = server.decide(moment(7), Command::Remove { license: plain.hash(), actor: support::actor() }).unwrap();
    let of = |name: &str| -> Vec<&Event> {
        let about = |event: &&Event| match event {
            Event::ChargeMoved { lease: id, .. } | Event::Ending { lease: id, .. } => *id == lease(name),
            _ => false,
        };
        events.iter().filter(about).collect()
    };
    assert!(matches!(of("old")[..], [Event::Ending { .. }]), "{events:?}");
    assert!(matches!(of("new")[..], [Event::ChargeMoved { .. }]), "{events:?}");
}

#[test]
fn a_waiter_is_judged_by_the_words_that_its_own_client_accepts() {
    let mut server = server(Safeguards::default());
    let license = license(&["acme"], "A", &[], &[shared("mesh", 1)]);
    server.decide(moment(1), install(license.clone())).unwrap();
    server.decide(moment(2), understood(&license)).unwrap();
    server.decide(moment(3), ask("first", "mesh", &["share"])).unwrap();
    let wait = || ask_waiting("second", "mesh", &["share"], Some(3_600_000));
    let (outcome, _) = server.decide(moment(4), wait()).unwrap();
    assert!(matches!(outcome, Outcome::Waiting { .. }), "{outcome:?}");
    // A start looks at everybody in line, and has heard of nobody's words but by the facts.
    server.restart(moment(5)).unwrap();
    let events = server.settle(moment(6)).unwrap();
    assert!(!events.iter().any(|event| matches!(event, Event::Dequeued { .. })), "{events:?}");
    let (outcome, _) = server.decide(moment(7), wait()).unwrap();
    assert!(matches!(outcome, Outcome::Waiting { place: 1, .. }), "{outcome:?}");
}

#[test]
fn a_right_that_is_understood_after_its_license_was_replaced_does_not_count_beside_its_successor() {
    let mut server = server(Safeguards::default());
    let old = license(&["acme"], "OLD", &[], &[Right::new("cad", 2), Right::new("sim", 3), shared("mesh", 4)]);
    server.decide(moment(1), install(old.clone())).unwrap();
    // The old seats of `sim` stay until the new ones begin, so the old license is still installed.
    let later = Right::new("sim", 5).with("starts", "2027-01-01");
    let new = license(&["acme"], "NEW", &["OLD"], &[Right::new("cad", 3), later, Right::new("mesh", 9)]);
    server.decide(moment(2), install(new)).unwrap();
    assert_eq!((total(&server, "cad"), total(&server, "sim"), total(&server, "mesh")), (3, 3, 9));
    server.decide(moment(3), understood(&old)).unwrap();
    server.settle(moment(3)).unwrap();
    assert_eq!((total(&server, "cad"), total(&server, "sim"), total(&server, "mesh")), (3, 3, 9));
    // A server that starts on it decides the same.
    server.restart(moment(4)).unwrap();
    let events = server.settle(moment(5)).unwrap();
    assert!(!events.iter().any(|event| matches!(event, Event::EntitlementEnded { .. })), "{events:?}");
}

#[test]
fn a_license_that_is_wholly_understood_by_now_replaces_at_once_although_what_was_left_out_begins_later() {
    let mut server = server(Safeguards::default());
    server.decide(moment(1), install(license(&["acme"], "OLD", &[], &[Right::new("cad", 2), Right::new("mesh", 4)]))).unwrap();
    let new = license(&["acme"], "NEW", &["OLD"], &[Right::new("cad", 3), shared("sim", 9).with("starts", "2027-01-01")]);
    server.decide(moment(2), install(new.clone())).unwrap();
    assert_eq!((total(&server, "cad"), total(&server, "mesh")), (3, 4), "what is left out may be meant for it");
    server.decide(moment(3), understood(&new)).unwrap();
    server.settle(moment(3)).unwrap();
    assert_eq!((total(&server, "cad"), total(&server, "mesh")), (3, 0));
}

/// Shows a grant of the lost lineage, charged to the one right of a license.
fn adopt(server: &Server, name: &str, license: &VerifiedLicense, accepts: &[&str]) -> Command {
    let Command::Checkout { lease, attempt, content, holder, vendor_keys, items, accepts, .. } = ask(name, "mesh", accepts) else {
        unreachable!("a checkout is asked for")
    };
    let shown = ShownGrant {
        lineage: Lineage([1; 16]),
        epoch: Epoch(1),
        instance: Instance([1; 16]),
        index: Index(1_000),
        ttl_ms: 300_000,
        items: vec![ShownItem { feature: items[0].feature.clone(), from: vec![(license.hash(), 0, 1)] }],
    };
    Command::Adopt {
        lease,
        attempt,
        content,
        holder,
        vendor_keys,
        items,
        ttl_ms: None,
        wait_ms: None,
        regained: false,
        network: None,
        shown: Box::new(shown),
        next_lineage: server.next_lineage(),
        accepts,
    }
}

#[test]
fn a_lease_that_is_taken_over_has_accepted_the_words_of_what_its_grant_was_charged_to() {
    let mut server = server(Safeguards::default());
    let mut right = shared("mesh", 1);
    right = right.with("version", "12").with("expires", "2026-12-31");
    let license_a = license(&["acme"], "A", &[], &[right]);
    server.decide(moment(1), install(license_a.clone())).unwrap();
    server.decide(moment(2), understood(&license_a)).unwrap();
    server.restore(server.journal.len(), moment(3)).unwrap();
    // The new program does not say any more which words it accepts.
    let (outcome, events) = server.decide(moment(4), adopt(&server, "old", &license_a, &[])).unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::Adopted { .. })), "{outcome:?} {events:?}");
    let lineage = server.live.lineage();
    server.decide(moment(5), Command::EndQuarantine { lineage, actor: support::actor() }).unwrap();
    // A seat elsewhere is free, so that the lease can move there to make room for somebody else, and back when that is not enough.
    let rights = [("mesh", "11"), ("cad", "12"), ("cad", "13")].map(|(feature, version)| Right::new(feature, 1).with("version", version));
    server.decide(moment(6), install(license(&["acme"], "PLAIN", &[], &rights))).unwrap();
    let wants = |name: &str, items: &[(&str, &str)]| {
        let mut command = ask(name, "mesh", &["share"]);
        if let Command::Checkout { items: asked, .. } = &mut command {
            *asked = items.iter().map(|(feature, version)| item(feature, 1, Some(version))).collect();
        }
        command
    };
    let (outcome, _) = server.decide(moment(7), wants("other", &[("cad", "13")])).unwrap();
    assert!(matches!(outcome, Outcome::Granted(_)), "{outcome:?}");
    let (outcome, _) = server.decide(moment(8), wants("both", &[("mesh", "12"), ("cad", "13")])).unwrap();
    assert!(matches!(&outcome, Outcome::Denied(denial) if denial.code == DenialCode::NoSeatFree), "{outcome:?}");
    // And its place is durable: it moves to where its words are needed.
    server.restart(moment(9)).unwrap();
    let more = license(&["acme"], "B", &[], &[shared("mesh", 1)]);
    server.decide(moment(10), install(more.clone())).unwrap();
    server.decide(moment(10), understood(&more)).unwrap();
    let (_, events) = server.decide(moment(11), Command::Remove { license: license_a.hash(), actor: support::actor() }).unwrap();
    assert!(!events.iter().any(|event| matches!(event, Event::Ending { .. })), "{events:?}");
    server.live.check_invariants().unwrap();
}

#[test]
fn a_license_that_needs_the_first_version_gives_its_seats_to_everybody() {
    let mut server = server(Safeguards::default());
    let mut right = Right::new("cad", 2);
    right.lines = vec!["needs = [\"1.0\"]".to_owned()];
    let license = license(&["acme"], "A", &[], &[right]);
    assert!(license.terms().left_out.is_empty(), "this version is the first");
    server.decide(moment(1), install(license)).unwrap();
    let (outcome, _) = server.decide(moment(2), ask("L1", "cad", &[])).unwrap();
    assert!(matches!(outcome, Outcome::Granted(_)), "what every client knows is asked of none: {outcome:?}");
}
