//! A vendor that goes from one key to another: whose license a client can be charged to, which of its vendor's keys it embeds.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use support::{Right, Server, actor, content, holder, install, item, key, lease, license, moment};
use triquest_allocator::{
    Command, Denial, DenialCode, EndReason, Event, Grant, Outcome, Refusal, Safeguards, ShownGrant, ShownItem, StateRecord, limits,
    limits::VENDOR_KEYS_MAX,
};
use triquest_license::{VerifiedLicense, Words};

const OLD: &str = "acme";
const NEW: &str = "acme+2";

fn server(safeguards: Safeguards) -> Server {
    let mut server = Server::new(safeguards);
    server.restart(moment(0)).unwrap();
    server
}

fn ask(name: &str, embeds: &[&str], items: &[(&str, u32)], wait_ms: Option<u64>) -> Command {
    Command::Checkout {
        accepts: Words::default(),
        lease: lease(name),
        attempt: 1,
        content: content(name),
        holder: holder(name, "ws1"),
        vendor_keys: embeds.iter().map(|name| key(name)).collect(),
        items: items.iter().map(|(feature, seats)| item(feature, *seats, None)).collect(),
        ttl_ms: None,
        wait_ms,
        regained: false,
        network: None,
    }
}

fn asks(server: &mut Server, at_ms: u64, name: &str, embeds: &[&str], seats: u32, wait_ms: Option<u64>) -> Outcome {
    server.decide(moment(at_ms), ask(name, embeds, &[("cad", seats)], wait_ms)).unwrap().0
}

fn granted(outcome: Outcome) -> Box<Grant> {
    let Outcome::Granted(grant) = outcome else { panic!("{outcome:?}") };
    grant
}

fn denied(outcome: Outcome) -> Denial {
    let Outcome::Denied(denial) = outcome else { panic!("{outcome:?}") };
    denial
}

fn charged_to(grant: &Grant, license: &VerifiedLicense) -> bool {
    grant.items.iter().flat_map(|item| &item.from).all(|from| from.0 == license.hash())
}

fn cad(signers: &[&str], id: &str, seats: u32) -> VerifiedLicense {
    license(signers, id, &[], &[Right::new("cad", seats)])
}

/// Two licenses, each of one key, whose vendors are one since a third text: with its seats.
fn merged(safeguards: Safeguards, old: u32, new: u32, both: u32) -> (Server, [VerifiedLicense; 3]) {
    let mut server = server(safeguards);
    let licenses = [cad(&[OLD], "OLD", old), cad(&[NEW], "NEW", new), cad(&[OLD, NEW], "BOTH", both)];
    for license in &licenses {
        server.decide(moment(1), install(license.clone())).unwrap();
    }
    (server, licenses)
}

#[test]
fn a_client_is_charged_only_to_licenses_that_a_key_which_it_embeds_has_signed() {
    let (mut server, [old, new, both]) = merged(Safeguards::default(), 2, 2, 1);
    assert!(charged_to(&granted(asks(&mut server, 2, "n1", &[NEW], 2, None)), &new));
    assert!(charged_to(&granted(asks(&mut server, 2, "o1", &[OLD], 2, None)), &old));
    assert!(charged_to(&granted(asks(&mut server, 2, "o2", &[OLD], 1, None)), &both), "whoever embeds one of two keys can verify");
    assert_eq!(denied(asks(&mut server, 3, "o3", &[OLD], 1, None)).code, DenialCode::NoSeatFree);
    server.replayed().unwrap();
}

#[test]
fn without_the_rule_a_client_gets_a_seat_that_it_cannot_verify() {
    let (mut server, [_, new, _]) = merged(Safeguards { keys_bind_charges: false, ..Safeguards::default() }, 1, 1, 1);
    for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
        let grant = granted(asks(&mut server, 2, name, &[OLD], 1, None));
        assert_eq!(charged_to(&grant, &new), number == 1);
    }
}

#[test]
fn seats_of_other_keys_than_the_clients_are_in_none_of_its_numbers() {
    let (mut server, _) = merged(Safeguards::default(), 2, 40, 1);
    granted(asks(&mut server, 2, "n", &[NEW], 7, None));
    granted(asks(&mut server, 2, "o", &[OLD], 3, None));
    let pool = denied(asks(&mut server, 3, "o2", &[OLD], 1, None)).pool;
    assert_eq!((pool.total, pool.used, pool.free, pool.over), (3, 3, 0, 0));
    let pool = denied(asks(&mut server, 3, "x", &[OLD, NEW], 34, None)).pool;
    assert_eq!((pool.total, pool.used, pool.free), (43, 10, 33));
}

#[test]
fn what_the_keys_of_a_client_can_never_give_is_told_at_once() {
    let (mut server, _) = merged(Safeguards::default(), 2, 40, 1);
    let denial = denied(asks(&mut server, 2, "o", &[OLD], 4, Some(60_000)));
    assert_eq!((denial.code, denial.pool.total), (DenialCode::MoreThanPool, 3));
    server.decide(moment(3), install(license(&[NEW], "MESH", &[], &[Right::new("mesh", 5)]))).unwrap();
    let mesh = |embeds: &[&str]| ask("m", embeds, &[("mesh", 1)], Some(60_000));
    let (outcome, _) = server.decide(moment(4), mesh(&[OLD])).unwrap();
    assert_eq!(denied(outcome).code, DenialCode::UnknownFeature, "nothing that its keys have signed has it");
    // A new application asks with a new id.
    let Command::Checkout { vendor_keys, items, .. } = mesh(&[OLD, NEW]) else { unreachable!("a checkout") };
    let mut again = ask("m2", &[OLD], &[("mesh", 1)], None);
    if let Command::Checkout { vendor_keys: named, items: asked, .. } = &mut again {
        (*named, *asked) = (vendor_keys, items);
    }
    granted(server.decide(moment(5), again).unwrap().0);
}

#[test]
fn a_lease_that_loses_its_license_moves_only_to_where_its_client_can_verify() {
    let (mut server, [old, new, _]) = merged(Safeguards::default(), 2, 2, 1);
    granted(asks(&mut server, 2, "o1", &[OLD], 1, None));
    granted(asks(&mut server, 2, "b1", &[OLD, NEW], 1, None));
    granted(asks(&mut server, 2, "o2", &[OLD], 1, None));
    // The keys are in the facts: a start knows them.
    server.restart(moment(3)).unwrap();
    let (_, events) = server.decide(moment(4), Command::Remove { license: old.hash(), actor: actor() }).unwrap();
    let moved = |name: &str| events.iter().any(|event| matches!(event, Event::ChargeMoved { lease: id, .. } if *id == lease(name)));
    let ending = |name: &str| {
        let is = |event: &Event| matches!(event, Event::Ending { lease: id, reason: EndReason::LicenseRemoved, .. } if *id == lease(name));
        events.iter().any(is)
    };
    let only_old = ["o1", "o2"].map(|name| (moved(name), ending(name)));
    // One seat is left that both keys have signed, and whoever embeds the new key too finds another.
    assert!(moved("b1") && !ending("b1"), "{events:?}");
    let nowhere = |(moved, ending): &(bool, bool)| !moved && *ending;
    assert!(only_old.iter().any(nowhere), "{events:?}");
    let view = |server: &Server, name: &str| server.live.lease_view(&lease(name)).unwrap();
    for name in ["o1", "o2"] {
        let charges = &view(&server, name).items[0].charges;
        assert!(
            charges.iter().all(|charge| server.live.entitlement_view(charge.entitlement).unwrap().license != new.hash()),
            "{charges:?}"
        );
    }
    server.replayed().unwrap();
}

#[test]
fn others_move_to_make_room_only_to_where_their_clients_can_verify() {
    let mut server = server(Safeguards::default());
    let old = cad(&[OLD], "OLD", 2);
    server.decide(moment(1), install(old.clone())).unwrap();
    granted(asks(&mut server, 2, "o1", &[OLD], 1, None));
    granted(asks(&mut server, 2, "b1", &[OLD, NEW], 1, None));
    for license in [cad(&[NEW], "NEW", 1), license(&[OLD, NEW], "LINK", &[], &[Right::new("mesh", 1)])] {
        server.decide(moment(3), install(license)).unwrap();
    }
    // The one that embeds both keys makes room, although the other is the older lease.
    let (outcome, events) = server.decide(moment(4), ask("o2", &[OLD], &[("cad", 1)], None)).unwrap();
    assert!(charged_to(&granted(outcome), &old));
    let moved: Vec<_> =
        events.iter().filter_map(|event| if let Event::ChargeMoved { lease, .. } = event { Some(*lease) } else { None }).collect();
    assert_eq!(moved, [lease("b1")], "{events:?}");
    assert_eq!(denied(asks(&mut server, 5, "o3", &[OLD], 1, None)).code, DenialCode::NoSeatFree);
}

#[test]
fn nobody_waits_behind_one_whose_seats_it_could_not_have() {
    let (mut server, [_, new, _]) = merged(Safeguards::default(), 1, 1, 1);
    granted(asks(&mut server, 2, "o1", &[OLD], 2, None));
    assert!(matches!(asks(&mut server, 3, "o2", &[OLD], 1, Some(600_000)), Outcome::Waiting { place: 1, .. }));
    // Where both may be charged, the earlier one comes first.
    let (both, _) = server.decide(moment(4), ask("b", &[OLD, NEW], &[("cad", 1)], None)).unwrap();
    assert_eq!(denied(both).code, DenialCode::NoSeatFree);
    // `BOTH` is signed by the new key too: who waits for a seat of it is not passed.
    assert_eq!(denied(asks(&mut server, 5, "n1", &[NEW], 1, None)).code, DenialCode::NoSeatFree);
    let both = server.live.licenses().find(|there| there.entitlements == 1 && there.license != new.hash()).unwrap().license;
    let _ = both;
}

#[test]
fn a_waiter_for_seats_of_one_key_does_not_hold_up_those_of_another() {
    let mut server = server(Safeguards::default());
    let link = license(&[OLD, NEW], "LINK", &[], &[Right::new("mesh", 1)]);
    let (old, new) = (cad(&[OLD], "OLD", 1), cad(&[NEW], "NEW", 1));
    for license in [old.clone(), new.clone(), link] {
        server.decide(moment(1), install(license)).unwrap();
    }
    granted(asks(&mut server, 2, "o1", &[OLD], 1, None));
    assert!(matches!(asks(&mut server, 3, "o2", &[OLD], 1, Some(600_000)), Outcome::Waiting { .. }));
    assert!(matches!(asks(&mut server, 3, "o3", &[OLD], 1, Some(600_000)), Outcome::Waiting { .. }));
    assert!(charged_to(&granted(asks(&mut server, 4, "n1", &[NEW], 1, None)), &new), "a newcomer");
    assert!(matches!(asks(&mut server, 5, "n2", &[NEW], 1, Some(600_000)), Outcome::Waiting { .. }));
    // And in line: the seat of the new key goes to who waits for it, wherever it stands.
    let (_, events) = server.decide(moment(6), Command::Release { lease: lease("n1"), network: None }).unwrap();
    let served =
        |events: &[Event], name: &str| events.iter().any(|event| matches!(event, Event::Granted { lease: id, .. } if *id == lease(name)));
    assert!(served(&events, "n2") && !served(&events, "o2"), "{events:?}");
    let (_, events) = server.decide(moment(7), Command::Release { lease: lease("o1"), network: None }).unwrap();
    assert!(served(&events, "o2") && !served(&events, "o3"), "{events:?}");
    server.replayed().unwrap();
}

#[test]
fn a_waiter_whose_keys_cannot_be_served_any_more_is_told_so() {
    let (mut server, [old, _, both]) = merged(Safeguards::default(), 1, 5, 1);
    granted(asks(&mut server, 2, "o1", &[OLD], 2, None));
    assert!(matches!(asks(&mut server, 3, "o2", &[OLD], 1, Some(600_000)), Outcome::Waiting { .. }));
    server.restart(moment(4)).unwrap();
    server.decide(moment(5), Command::Remove { license: old.hash(), actor: actor() }).unwrap();
    let (_, events) = server.decide(moment(6), Command::Remove { license: both.hash(), actor: actor() }).unwrap();
    let told = events.iter().any(|event| matches!(event, Event::Dequeued { lease: id, .. } if *id == lease("o2")));
    assert!(told, "{events:?}");
}

#[test]
fn a_waiter_keeps_its_keys_over_a_start_and_is_granted_what_it_can_verify() {
    let (mut server, [old, new, _]) = merged(Safeguards::default(), 1, 1, 1);
    granted(asks(&mut server, 2, "all", &[OLD, NEW], 3, None));
    assert!(matches!(asks(&mut server, 3, "n", &[NEW], 1, Some(600_000)), Outcome::Waiting { .. }));
    server.restart(moment(4)).unwrap();
    let (_, events) = server.decide(moment(5), Command::Release { lease: lease("all"), network: None }).unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::Granted { lease: id, .. } if *id == lease("n"))), "{events:?}");
    let claimed = granted(asks(&mut server, 6, "n", &[NEW], 1, Some(600_000)));
    assert!(!charged_to(&claimed, &old), "{claimed:?}");
    let _ = new;
}

#[test]
fn seats_that_linger_stay_with_licenses_that_their_client_could_verify() {
    let mut server = server(Safeguards::default());
    let lingers = |signers: &[&str], id: &str| license(signers, id, &[], &[Right::new("cad", 1).with("linger", "60s")]);
    let (old, new) = (lingers(&[OLD], "OLD"), lingers(&[NEW], "NEW"));
    for license in [old.clone(), new.clone(), license(&[OLD, NEW], "LINK", &[], &[Right::new("mesh", 1)])] {
        server.decide(moment(1), install(license)).unwrap();
    }
    granted(asks(&mut server, 2, "o1", &[OLD], 1, None));
    server.decide(moment(3), Command::Release { lease: lease("o1"), network: None }).unwrap();
    let pool = denied(asks(&mut server, 4, "o2", &[OLD], 1, None)).pool;
    assert_eq!((pool.total, pool.used, pool.lingering, pool.free), (1, 0, 1, 0));
    server.restart(moment(5)).unwrap();
    let (_, events) = server.decide(moment(6), Command::Remove { license: old.hash(), actor: actor() }).unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::LingerEnded { .. })), "{events:?}");
    assert!(charged_to(&granted(asks(&mut server, 7, "n1", &[NEW], 1, None)), &new));
}

#[test]
fn a_shown_grant_is_taken_over_only_by_a_client_that_embeds_a_key_of_its_license() {
    let (mut server, [_, new, _]) = merged(Safeguards::default(), 1, 1, 1);
    server.restore(server.journal.len(), moment(2)).unwrap();
    let shows = |server: &Server, name: &str, embeds: &[&str]| {
        let Command::Checkout { lease, attempt, content, holder, vendor_keys, items, accepts, .. } = ask(name, embeds, &[("cad", 1)], None)
        else {
            unreachable!("a checkout")
        };
        let shown = ShownGrant {
            lineage: triquest_allocator::Lineage([1; 16]),
            epoch: triquest_allocator::Epoch(1),
            instance: triquest_allocator::Instance([1; 16]),
            index: triquest_allocator::Index(1_000),
            ttl_ms: 300_000,
            items: vec![ShownItem { feature: items[0].feature.clone(), from: vec![(new.hash(), 0, 1)] }],
        };
        let (shown, next_lineage) = (Box::new(shown), server.next_lineage());
        let (ttl_ms, wait_ms, network) = (None, None, None);
        Command::Adopt {
            lease,
            attempt,
            content,
            holder,
            vendor_keys,
            items,
            ttl_ms,
            wait_ms,
            regained: false,
            network,
            shown,
            next_lineage,
            accepts,
        }
    };
    let command = shows(&server, "old", &[OLD]);
    assert_eq!(denied(server.decide(moment(3), command).unwrap().0).code, DenialCode::Quarantine);
    let command = shows(&server, "new", &[NEW]);
    let grant = granted(server.decide(moment(4), command).unwrap().0);
    assert!(!grant.items.is_empty());
    server.replayed().unwrap();
}

#[test]
fn a_checkout_names_no_more_keys_than_are_kept() {
    let (mut server, _) = merged(Safeguards::default(), 1, 1, 1);
    let names: Vec<String> = (0..=VENDOR_KEYS_MAX).map(|number| format!("acme+{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let outcome = asks(&mut server, 2, "many", &names, 1, None);
    assert!(matches!(outcome, Outcome::Refused(Refusal::Malformed(_))), "{outcome:?}");
}

#[test]
fn made_up_keys_make_few_sets_and_a_key_that_comes_later_is_kept() {
    const SETS: usize = limits::KEY_SETS_OF_OTHERS_MAX;
    for safeguards in [Safeguards::default(), Safeguards { made_up_keys_are_few: false, ..Safeguards::default() }] {
        let few = safeguards.made_up_keys_are_few;
        let (mut server, _) = merged(safeguards, 1_000, 1, 1);
        // Whoever knows which key comes next keeps it.
        granted(asks(&mut server, 2, "rotates", &[OLD, "acme+3"], 1, None));
        let kept = |server: &Server| {
            let sets = server.live.snapshot().filter_map(|record| match record {
                StateRecord::Lease { embeds, .. } | StateRecord::Waiter { embeds, .. } => Some(embeds.as_slice().to_vec()),
                _ => None,
            });
            sets.collect::<BTreeSet<_>>()
        };
        assert!(kept(&server).iter().any(|set| set.contains(&key("acme+3"))));
        for number in 0..4 * SETS {
            granted(asks(&mut server, 3, &format!("made-up-{number}"), &[OLD, &format!("made-up-{number}")], 1, None));
        }
        assert_eq!(kept(&server).len(), if few { SETS + 1 } else { 4 * SETS + 1 });
        // In line too.
        asks(&mut server, 4, "all", &[OLD], 1_000 - 4 * SETS as u32, None);
        for number in 0..2 * SETS {
            let outcome = asks(&mut server, 5, &format!("waits-{number}"), &[OLD, &format!("waits-{number}")], 1, Some(60_000));
            assert!(matches!(outcome, Outcome::Waiting { .. }), "{outcome:?}");
        }
        assert_eq!(kept(&server).len(), if few { SETS + 1 } else { 6 * SETS + 2 });
        server.replayed().unwrap();
    }
}
