//! Events keep their bytes: one golden line for each kind, and a kind of a next version passes through.
#![allow(clippy::unwrap_used)]

use triquest_wire::{
    Bytes32, LeaseId, Lineage, Position, Retry,
    event::{EventActor, EventBody, EventDenials, EventFacts, EventItem, EventLeftOut, EventPool},
    lease::{Denial, DenialCode, EndReason, PoolNumbers},
    status::{Claim, HolderStatus},
};

const LEASE: LeaseId = LeaseId([0xab; 16]);

fn every_kind() -> Vec<EventFacts> {
    let lease = LEASE;
    let actor = || Some(EventActor { name: "unix:root".into(), reason: "test".into() });
    let user = Claim { value: "ana".into(), proved: false };
    let holder = || Some(HolderStatus { user: Some(user.clone()), ..HolderStatus::default() });
    let items = || vec![EventItem { vendor: "acme.example".into(), feature: "cad".into(), version: Some("12.4".into()), seats: 2 }];
    let pools = || vec![EventPool { vendor: "acme.example".into(), feature: "cad".into() }];
    let left_out = || vec![EventLeftOut { entitlement: 1, unknown_words: vec!["token-rate".into()] }];
    let denial = Denial {
        code: DenialCode::NoSeatFree,
        retry: Retry::Later,
        feature: Some("cad".into()),
        seats: 1,
        pool: PoolNumbers { total: 1, used: 1, ..PoolNumbers::default() },
        first_due_ms: Some(9),
        newest_version: None,
        at: None,
        message: "no seat free".into(),
        hint: String::new(),
    };
    let (hash, license, vendor) = (Some("9f".repeat(32)), Some("ACME-1".to_owned()), Some("acme.example".to_owned()));
    vec![
        EventFacts::Adopted { lease, holder: holder(), items: items(), ttl_ms: 300_000 },
        EventFacts::ChargeMoved { lease, item: 0, from: 1, to: 2, seats: 3 },
        EventFacts::ClockAccepted { clock: "2026-11-23T12:00:00Z".into(), actor: actor() },
        EventFacts::ClockMarked {},
        EventFacts::ClockStepped { from: "2026-11-23T12:00:00Z".into(), to: "2027-11-23T12:00:00Z".into(), believed: false },
        EventFacts::Denied { lease, attempt: 1, holder: holder(), denial },
        EventFacts::DenialsCounted {
            since_ms: 4,
            pools: vec![EventDenials { vendor: "acme.example".into(), feature: "cad".into(), denials: 12 }],
            elsewhere: 3,
        },
        EventFacts::Dequeued { lease, reason: "silent".into() },
        EventFacts::Ended {
            lease,
            reason: EndReason::Expired,
            items: items(),
            linger_until_ms: Some(7),
            promised_until_ms: Some(8),
            actor: None,
        },
        EventFacts::Ending { lease, due_ms: 5, reason: EndReason::Reclaimed, actor: actor() },
        EventFacts::EntitlementBegan { entitlement: 4 },
        EventFacts::EntitlementEnded { entitlement: 4, reason: "replaced".into() },
        EventFacts::EntitlementsUnderstood { hash: hash.clone(), license: license.clone(), pools: pools(), left_out: left_out() },
        EventFacts::Forgot { until_ms: 8 },
        EventFacts::FormatRaised { words: vec!["share".into()] },
        EventFacts::Granted { lease, attempt: 1, holder: holder(), items: items(), ttl_ms: 300_000, from_queue: true },
        EventFacts::Heard { lease },
        EventFacts::LicenseChecked { hash: hash.clone(), license: license.clone(), problem: Some("bad".into()) },
        EventFacts::LicenseInstalled {
            hash: hash.clone(),
            license: license.clone(),
            vendor: vendor.clone(),
            pools: pools(),
            left_out: left_out(),
            actor: actor(),
        },
        EventFacts::ReplacementUndone { hash: hash.clone(), license: license.clone(), entitlements: vec![4, 5] },
        EventFacts::LicenseRemoved { hash, license, vendor: vendor.clone(), reason: "removed".into(), actor: actor() },
        EventFacts::LineageBegan { lineage: Lineage([1; 16]), quarantine_until_ms: 9, lease, shown_epoch: 3, shown_index: 41 },
        EventFacts::LinesResumed { claim_due_ms: 9 },
        EventFacts::LingerEnded { lease, items: items() },
        EventFacts::PoolOpened { vendor, feature: "cad".into() },
        EventFacts::PoolsMerged { pools: 2 },
        EventFacts::PresenceAllowed { network: Some("10.0.0.1".into()), actor: actor() },
        EventFacts::PresenceRegretted { lease, network: Some("10.0.0.1".into()), until_ms: 9 },
        EventFacts::QuarantineEnded { actor: None },
        EventFacts::QuarantineLengthened { until_ms: 9 },
        EventFacts::Queued { lease, attempt: 1, holder: None, items: items(), gives_up_ms: 9 },
        EventFacts::Recovered { epoch: 2, quarantine_until_ms: None },
        EventFacts::Released { lease, cause: "holder".into(), items: items(), linger_until_ms: None },
        EventFacts::ReleasedUnknown { lease },
        EventFacts::TtlLowered { lease, ttl_ms: 10_000, not_before_ms: 9 },
        EventFacts::TtlRaised { lease, ttl_ms: 300_000 },
        EventFacts::VendorKeys { vendor: "acme.example".into(), keys: vec![Bytes32([7; 32])] },
        EventFacts::VendorsMerged {},
        EventFacts::WaiterHeard { lease },
        EventFacts::WordsAccepted { lease, words: vec!["share".into()] },
    ]
}

fn body(facts: &EventFacts) -> EventBody {
    let position = Position { lineage: Lineage([7; 16]), epoch: 2, index: 41 };
    EventBody::new(position, 3, 123, "2026-11-23T12:00:00Z".into(), facts)
}

#[test]
fn every_kind_of_event_keeps_its_bytes_and_is_read_back() {
    let fresh: String = every_kind().iter().map(|facts| serde_json::to_string(&body(facts)).unwrap() + "\n").collect();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/events.1.jsonl");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &fresh).unwrap();
    }
    assert!(
        std::fs::read_to_string(file).unwrap() == fresh,
        "run `UPDATE=1 cargo test -p triquest-wire --test events`, if it changed on purpose"
    );
    for (line, facts) in fresh.lines().zip(every_kind()) {
        let read: EventBody = serde_json::from_str(line).unwrap();
        assert_eq!(read.known(), Some(facts), "{line}");
    }
}

#[test]
fn the_page_of_events_lists_every_kind_with_its_members() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/events.md")).unwrap();
    let (_, table) = page.split_once("| kind | members |\n|---|---|\n").expect("the page has a table of kinds");
    let rows: Vec<_> = table.lines().map_while(|line| line.strip_prefix("| `")?.split_once("` |")).collect();
    let kinds: Vec<_> = every_kind().iter().map(body).collect();
    for EventBody { kind, facts, .. } in &kinds {
        let (_, members) = rows.iter().find(|(listed, _)| listed == kind).unwrap_or_else(|| panic!("{kind} is not listed"));
        let listed = |name: &String| members.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name);
        assert_eq!(facts.keys().filter(|name| !listed(name)).collect::<Vec<_>>(), Vec::<&String>::new(), "{kind}");
    }
    for (listed, _) in rows {
        assert!(kinds.iter().any(|event| event.kind == listed), "no event is called {listed}");
    }
}

#[test]
fn a_kind_of_a_next_version_passes_through_whole() {
    let text = r#"{"position":{"lineage":"07070707070707070707070707070707","epoch":2,"index":41},"number":0,"at_ms":1,"time":"2026-11-23T12:00:00Z","kind":"tokens_spent","lease":"abababababababababababababababab","tokens":{"rate":3}}"#;
    let event: EventBody = serde_json::from_str(text).unwrap();
    assert_eq!((event.kind.as_str(), event.known()), ("tokens_spent", None));
    assert_eq!(serde_json::to_value(&event).unwrap(), serde_json::from_str::<serde_json::Value>(text).unwrap());
    // And a known kind with one member more is known.
    let more = serde_json::to_string(&body(&EventFacts::Heard { lease: LEASE })).unwrap().replacen('{', "{\"tomorrow\":1,", 1);
    assert_eq!(serde_json::from_str::<EventBody>(&more).unwrap().known(), Some(EventFacts::Heard { lease: LEASE }));
}
