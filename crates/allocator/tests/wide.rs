//! Changes that concern thousands of leases: one fact, with follow-ups in portions that an entry holds, and nobody served wrongly in between.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Right, Server, actor, content, holder, install, item, key, lease, license, moment};
use triquest_allocator::{
    Allocator, Command, DenialCode, EndReason, Event, GrantedItem, Limits, Moment, Network, Networks, Outcome, PoolId, Refusal, Rules,
    Safeguards, StateRecord, Timestamp, limits,
};

type Journal = Vec<(triquest_allocator::Moment, Vec<Event>)>;

fn checkout(name: &str) -> Command {
    Command::Checkout {
        accepts: Default::default(),
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
    commands.extend((0..256).map(|number| ((), checkout(&number.to_string()))));
    let mut done = 0;
    for _ in 0..200 {
        let batch = server.live.decide_batch(moment(1), commands);
        let weight: usize = batch.events.iter().map(Event::weight).sum();
        assert!(weight <= limits::ENTRY_BYTES_MAX && batch.events.len() <= limits::EVENTS_MAX, "{weight} {}", batch.events.len());
        assert!(!batch.outcomes.is_empty() || !batch.events.is_empty());
        done += batch.outcomes.len();
        commands = batch.left;
        if commands.is_empty() {
            break;
        }
    }
    assert_eq!(done, 40 + 256);
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
            if let Event::LicenseInstalled { pools, .. } = event {
                pools.clear();
            }
        }
    };
    assert!(replay(&tampered).is_err(), "an entitlement without its pool");
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

/// A batch that must keep the bounds of an entry, folded into `server` as its journal would have it.
fn bounded(server: &mut Server, at: Moment, commands: Vec<((), Command)>) -> triquest_allocator::Batch<()> {
    let batch = server.live.decide_batch(at, commands);
    let weight: usize = batch.events.iter().map(Event::weight).sum();
    assert!(batch.events.len() <= limits::EVENTS_MAX && weight <= limits::ENTRY_BYTES_MAX, "{} {weight}", batch.events.len());
    if !batch.events.is_empty() {
        let index = triquest_allocator::Index(server.live.index().0 + 1);
        server.live.sealed(index);
        server.journal.push((at, batch.events.clone()));
    }
    batch
}

/// Sweeps until nothing is due; all that happened.
fn swept(server: &mut Server, at: Moment) -> Vec<Event> {
    let mut all = Vec::new();
    loop {
        let events = bounded(server, at, vec![((), Command::Sweep)]).events;
        if events.is_empty() {
            return all;
        }
        all.extend(events);
    }
}

/// 600 features of which the old rights end at the instant at which the new ones begin, in licenses of 200; whether a lease of some of
/// them that is renewed between any two entries is ever marked as ending.
fn a_renewal_between_portions_ends(safeguards: Safeguards, replaces: bool) -> bool {
    let mut server = Server::new(safeguards);
    server.checked = false;
    server.restart(moment(0)).unwrap();
    // The instant at which the last place on Earth leaves the day is written as one.
    let instant = "2026-08-01T00:00:00Z";
    for part in 0..3 {
        let rights = |key: &str, value: &str| -> Vec<Right> {
            let features = (0..200).map(|number| format!("feature-{}", part * 200 + number));
            features
                .map(|feature| if key.is_empty() { Right::new(&feature, 1) } else { Right::new(&feature, 1).with(key, value) })
                .collect()
        };
        let (old, new) = (format!("Old-{part}"), format!("New-{part}"));
        let ends = if replaces { rights("", "") } else { rights("expires", instant) };
        server.decide(moment(0), install(license(&["acme"], &old, &[], &ends))).unwrap();
        let names: &[&str] = if replaces { &[old.as_str()] } else { &[] };
        server.decide(moment(0), install(license(&["acme"], &new, names, &rights("starts", instant)))).unwrap();
    }
    let features: Vec<u32> = (0..32).map(|number| number * 18).collect();
    let leased = Command::Checkout {
        lease: lease("ana"),
        attempt: 1,
        accepts: Default::default(),
        content: content("ana"),
        holder: holder("ana", "ws1"),
        vendor_keys: vec![key("acme")],
        items: features.iter().map(|number| item(&format!("feature-{number}"), 1, None)).collect(),
        ttl_ms: None,
        wait_ms: None,
        regained: false,
        network: None,
    };
    let (outcome, _) = server.decide(moment(1), leased).unwrap();
    assert!(matches!(outcome, Outcome::Granted(_)), "{outcome:?}");
    let at = |ms: u64| Moment { at: Timestamp(ms), wall_ms: support::civil("2026-08-01") + ms as i64 };
    for pass in 2..40 {
        let renew = Command::Renew { lease: lease("ana"), counter: pass, nonce: [0; 16], idle_ms: None, presence: None, regained: false };
        let batch = bounded(&mut server, at(pass), vec![((), renew), ((), Command::Sweep)]);
        if batch.events.iter().any(|event| matches!(event, Event::Ending { .. })) {
            return true;
        }
        // A newcomer never finds seats of both the old and the new.
        let batch = bounded(&mut server, at(pass), vec![((), newcomer(pass, "feature-18"))]);
        assert!(!batch.outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Granted(_))), "{:?}", batch.outcomes);
    }
    server.live.check_invariants().unwrap();
    server.replayed().unwrap();
    let total: u64 = server.live.pools().map(|pool| pool.numbers.total).sum();
    assert_eq!(total, 600);
    false
}

fn newcomer(number: u64, feature: &str) -> Command {
    from(None, &format!("newcomer-{number}"), feature, None)
}

fn from(network: Option<Network>, name: &str, feature: &str, wait_ms: Option<u64>) -> Command {
    Command::Checkout {
        lease: lease(name),
        attempt: 1,
        accepts: Default::default(),
        content: content(name),
        holder: holder("bo", "ws2"),
        vendor_keys: vec![key("acme")],
        items: vec![item(feature, 1, None)],
        ttl_ms: None,
        wait_ms,
        regained: false,
        network,
    }
}

#[test]
fn at_one_instant_rights_begin_before_others_end_over_any_number_of_entries() {
    for replaces in [false, true] {
        assert!(!a_renewal_between_portions_ends(Safeguards::default(), replaces), "replaces: {replaces}");
    }
    assert!(a_renewal_between_portions_ends(Safeguards { begin_before_end: false, ..Safeguards::default() }, false));
}

#[test]
fn thousands_of_waiters_are_looked_at_in_portions_when_licenses_change() {
    let mut server = server_with(0, &[("A", 3), ("B", 2)]);
    let first = server.live.licenses().next().unwrap().license;
    let (outcome, _) = server.decide(moment(1), checkout("holder")).unwrap();
    assert!(matches!(outcome, Outcome::Granted(_)));
    for number in 0..6_000 {
        let mut command = from(None, &number.to_string(), "cad", Some(3_600_000));
        let Command::Checkout { items, .. } = &mut command else { unreachable!() };
        items[0].seats = if number % 3 == 2 { 2 } else { 5 };
        let (outcome, _) = server.decide(moment(2), command).unwrap();
        assert!(matches!(outcome, Outcome::Waiting { .. }), "{outcome:?}");
    }
    let events = bounded(&mut server, moment(3), vec![((), Command::Remove { license: first, actor: actor() })]).events;
    let all: Vec<Event> = events.into_iter().chain(swept(&mut server, moment(3))).collect();
    let told = |event: &&Event| matches!(event, Event::Dequeued { denial: Some(denial), .. } if denial.code == DenialCode::MoreThanPool);
    assert_eq!(all.iter().filter(told).count(), 4_000);
    server.replayed().unwrap();
}

#[test]
fn vendors_with_thousands_of_features_become_one_in_portions_and_nobody_is_served_in_between() {
    let mut server = Server::new(Safeguards::default());
    server.checked = false;
    server.restart(moment(0)).unwrap();
    for (vendor, count) in [("acme", 24), ("acme+2", 30)] {
        for part in 0..count {
            let rights: Vec<_> = (0..250).map(|number| Right::new(&format!("feature-{}", part * 250 + number), 1)).collect();
            server.decide(moment(0), install(license(&[vendor], &format!("{}-{part}", vendor.len()), &[], &rights))).unwrap();
        }
    }
    let mut server_keys = checkout("ana");
    let Command::Checkout { vendor_keys, items, .. } = &mut server_keys else { unreachable!() };
    (*vendor_keys, *items) = (vec![key("acme+2")], vec![item("feature-5999", 1, None)]);
    let (outcome, _) = server.decide(moment(1), server_keys).unwrap();
    assert!(matches!(outcome, Outcome::Granted(_)), "{outcome:?}");

    let both = install(license(&["acme", "acme+2"], "Both", &[], &[Right::new("feature-5999", 1)]));
    let batch = bounded(&mut server, moment(2), vec![((), both)]);
    assert!(matches!(batch.outcomes[..], [((), Outcome::Installed { .. })]), "{:?}", batch.outcomes);
    let mut commands = vec![((), newcomer(1, "feature-5999")), ((), newcomer(2, "feature-5999")), ((), newcomer(3, "feature-5999"))];
    let mut granted = 0;
    let mut entries = 0;
    while !commands.is_empty() {
        let batch = bounded(&mut server, moment(3), commands);
        entries += 1;
        // A snapshot in the middle loads.
        let loaded = Allocator::load(Safeguards::default(), server.live.snapshot()).unwrap();
        triquest_allocator::invariants::hard_state_equal(&server.live, &loaded).unwrap();
        granted += batch.outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Granted(_))).count();
        commands = batch.left;
    }
    assert_eq!(granted, 2, "three seats, one of them taken, after {entries} entries");
    assert_eq!(server.live.pools().count(), 7_500);
    let seen: Vec<PoolId> = (0..13_500).filter_map(|pool| server.live.pool_view(PoolId(pool))).map(|seen| seen.pool).collect();
    let different: std::collections::BTreeSet<&PoolId> = seen.iter().collect();
    assert_eq!((seen.len(), different.len()), (13_500, 7_500), "a pool that became part of another is seen as that one");
    assert_eq!(server.live.vendor_view(triquest_allocator::VendorId(1)), None);
    server.replayed().unwrap();
}

#[test]
fn counts_are_wide_and_vendors_whose_seats_exceed_the_limit_do_not_become_one() {
    let mut server = Server::new(Safeguards::default());
    server.checked = false;
    server.restart(moment(0)).unwrap();
    // 250 rights of 10,000,000 seats each.
    let rights: Vec<_> = (0..250).map(|_| Right::new("cad", 10_000_000)).collect();
    let install_some = |server: &mut Server, vendor: &str, numbers: std::ops::Range<u32>| {
        for number in numbers {
            server.decide(moment(0), install(license(&[vendor], &format!("{}-{number}", vendor.len()), &[], &rights))).unwrap();
        }
    };
    install_some(&mut server, "acme", 0..19);
    install_some(&mut server, "acme+2", 0..19);
    let both = |id: &str| install(license(&["acme", "acme+2"], id, &[], &[Right::new("cam", 1)]));
    install_some(&mut server, "acme+2", 19..39);
    let (outcome, events) = server.decide(moment(1), both("Both")).unwrap();
    assert!(matches!(outcome, Outcome::Refused(Refusal::LimitReached(_))), "{outcome:?}");
    assert!(events.is_empty());
    let hash = server.live.licenses().last().unwrap().license;
    let hashes: Vec<_> = server.live.licenses().map(|view| view.license).collect();
    assert_eq!(hashes.last(), Some(&hash));
    for license in hashes.into_iter().rev().take(20) {
        server.decide(moment(2), Command::Remove { license, actor: actor() }).unwrap();
    }
    let (outcome, _) = server.decide(moment(3), both("Both")).unwrap();
    assert!(matches!(outcome, Outcome::Installed { .. }), "{outcome:?}");
    let pool = server.live.pool_of(&key("acme"), &"cad".parse().unwrap()).unwrap();
    assert_eq!(pool.numbers.total, 95_000_000_000);
    let loaded = Allocator::load(Safeguards::default(), server.live.snapshot()).unwrap();
    triquest_allocator::invariants::hard_state_equal(&server.live, &loaded).unwrap();
}

fn network(a: u8, b: u16) -> Option<Network> {
    let [high, low] = b.to_be_bytes();
    Some(Network::V4([10, a, high, low]))
}

/// The state of `server` with more records of one kind.
fn with_records(server: &Server, more: impl Iterator<Item = StateRecord>) -> Allocator {
    Allocator::load(server.safeguards.clone(), server.live.snapshot().chain(more)).unwrap()
}

/// What a command is answered, over as many entries as it takes.
fn decided(live: &mut Allocator, at: Moment, command: Command) -> Outcome {
    let mut commands = vec![((), command)];
    loop {
        let batch = live.decide_batch(at, commands);
        if let Some((_, outcome)) = batch.outcomes.into_iter().next() {
            return outcome;
        }
        commands = batch.left;
    }
}

/// A state in which as many networks are remembered for their regrets as can be, each of another wider network.
fn full_of_regrets(server: &Server) -> Allocator {
    let known = (0..limits::PRESENCE_OFF_MAX as u32).map(|number| {
        let [_, a, b, c] = number.to_be_bytes();
        StateRecord::PresenceOff { networks: Networks::One(Network::V4([a, b, c, 1])), until: moment(80_000 + u64::from(number)).at }
    });
    with_records(server, known)
}

/// A client of this network takes a seat, its presence connection ends in order, and it comes back: whether its seat was freed, and that is regretted.
fn freed(live: &mut Allocator, name: &str, network: [u8; 4], at: u64) -> bool {
    let lease = lease(name);
    let mut asked = checkout(name);
    if let Command::Checkout { network: from, .. } = &mut asked {
        *from = Some(Network::V4(network));
    }
    assert!(matches!(decided(live, moment(at), asked), Outcome::Granted(_)));
    let opened = Command::PresenceOpened { lease, connection: 1, generation: 1, between: triquest_allocator::Between::Nothing };
    decided(live, moment(at), opened);
    let renewal = |counter| Command::Renew { lease, counter, nonce: [0; 16], idle_ms: None, presence: Some(1), regained: false };
    decided(live, moment(at), renewal(1));
    decided(live, moment(at), Command::PresenceClosed { lease, generation: 1, network: None, unnamings: 0 });
    matches!(decided(live, moment(at), renewal(2)), Outcome::Ended { .. })
}

#[test]
fn where_no_more_networks_can_be_remembered_early_freeing_is_off_everywhere_until_there_is_room() {
    let server = server_with(0, &[("A", 10)]);
    let mut live = full_of_regrets(&server);
    assert!(freed(&mut live, "first", [192, 0, 2, 1], 1), "it comes back, and there is no place to remember that for its network");
    assert!(!freed(&mut live, "second", [192, 0, 2, 1], 2));
    assert!(!freed(&mut live, "third", [192, 0, 3, 1], 3), "nobody knows any more whose it is");
    assert_eq!(live.presence_off().next().unwrap(), (Networks::All, moment(80_000).at), "until the first of them is over");
    assert_eq!(live.presence_off().count(), limits::PRESENCE_OFF_MAX + 1);
    // One that is off by itself is named, or the whole.
    let allow = |live: &mut Allocator, networks: &str| {
        decided(live, moment(4), Command::AllowPresence { networks: networks.parse().unwrap(), actor: actor() })
    };
    let refused = allow(&mut live, "192.0.2.1");
    assert!(matches!(&refused, Outcome::Refused(Refusal::NothingToDo(why)) if why.contains("everywhere")), "{refused:?}");
    assert!(matches!(allow(&mut live, "0.0.9.200"), Outcome::Refused(Refusal::NothingToDo(_))), "an address of another network");
    assert!(matches!(allow(&mut live, "0.0.9.1"), Outcome::Done));
    assert!(freed(&mut live, "fourth", [192, 0, 3, 1], 5), "there is room again");
    assert!(!freed(&mut live, "fifth", [192, 0, 3, 1], 6), "and it was used");
    assert_eq!(live.presence_off().count(), limits::PRESENCE_OFF_MAX);
    triquest_allocator::invariants::hard_state_equal(&live, &Allocator::load(Safeguards::default(), live.snapshot()).unwrap()).unwrap();
}

#[test]
fn no_network_turns_early_freeing_off_for_others_than_its_wider_one() {
    let mut server = server_with(0, &[("A", 10)]);
    let mut live = full_of_regrets(&server);
    assert!(freed(&mut live, "first", [0, 0, 7, 2], 1), "its wider network has one, and takes its place");
    assert!(!freed(&mut live, "second", [0, 0, 7, 3], 2));
    assert!(freed(&mut live, "third", [192, 0, 2, 1], 3), "others are not concerned");
    server.safeguards.presence_off_by_network = false;
    let mut live = full_of_regrets(&server);
    assert!(freed(&mut live, "first", [0, 0, 7, 2], 1));
    assert!(!freed(&mut live, "third", [192, 0, 2, 1], 3), "but they are without the rule");
}

fn waiter(number: u32, network: Option<Network>) -> StateRecord {
    StateRecord::Waiter {
        lease: lease(&format!("waiter-{number}")),
        attempt: 1,
        content: content("waiter"),
        holder: holder("ed", "ws5"),
        items: vec![GrantedItem { pool: PoolId(0), version: None, seats: 1, charges: Vec::new() }],
        ttl_ms: 0,
        linger_ms: 0,
        gives_up: Timestamp(100_000_000),
        order: number.into(),
        heard: triquest_allocator::Epoch(1),
        unheard_due: Timestamp(0),
        embeds: triquest_allocator::VerifierKeys::of(&[support::key("acme")]),
        network,
    }
}

#[test]
fn a_network_takes_half_of_a_line_and_its_last_quarter_is_for_those_with_next_to_nothing_in_it() {
    for safeguards in [Safeguards::default(), Safeguards { shares_by_network: false, ..Safeguards::default() }] {
        let shared = safeguards.shares_by_network;
        let mut server = server_with(1, &[("A", 1)]);
        server.safeguards = safeguards;
        let mut asked = 0;
        let mut ask = |live: &mut Allocator, network: Option<Network>| {
            asked += 1;
            let command = from(network, &format!("asks-{asked}"), "cad", Some(1_000_000));
            match decided(live, moment(2), command) {
                Outcome::Waiting { place, .. } => Some(place),
                Outcome::Denied(denial) if denial.code == DenialCode::QueueFull => None,
                other => panic!("{other:?}"),
            }
        };
        // Half a line of one network.
        let mut live = with_records(&server, (0..10_000).map(|number| waiter(number, network(1, 1))));
        assert_eq!(ask(&mut live, network(1, 1)), (!shared).then_some(10_001));
        assert!(ask(&mut live, network(1, 2)).is_some());
        assert!(ask(&mut live, None).is_some(), "this machine's own socket");
        // Three quarters, of two networks.
        let of = |number: u32| network(1, u16::from(number >= 9_000));
        let mut live = with_records(&server, (0..15_000).map(|number| waiter(number, of(number))));
        assert_eq!(ask(&mut live, network(1, 1)), (!shared).then_some(15_001), "6,000 of the line");
        let places: Vec<_> = (0..160).map(|_| ask(&mut live, network(2, 1)).is_some()).collect();
        let taken = places.iter().filter(|place| **place).count();
        assert!(if shared { (150..=152).contains(&taken) } else { taken == 160 }, "{taken}");
        assert!(ask(&mut live, network(3, 1)).is_some());
        // All of it.
        let mut live = with_records(&server, (0..20_000).map(|number| waiter(number, network(1, (number / 100) as u16))));
        assert_eq!(ask(&mut live, network(9, 9)), None);
    }
}

#[test]
fn a_wider_network_has_a_share_of_a_line_and_of_what_is_remembered_however_many_networks_are_in_it() {
    for wider_too in [true, false] {
        let mut server = server_with(1, &[("A", 1)]);
        server.safeguards = Safeguards { shares_by_wider_network: wider_too, ..Safeguards::default() };
        let queued = |live: &mut Allocator, name: &str, network| {
            let outcome = decided(live, moment(2), from(network, name, "cad", Some(1_000_000)));
            matches!(outcome, Outcome::Waiting { .. })
        };
        // Three quarters of a line, and few of each network.
        let of = |number: u32| network(1, u16::try_from(number % 200).unwrap());
        let mut live = with_records(&server, (0..15_000).map(|number| waiter(number, of(number))));
        assert_eq!(queued(&mut live, "one-more", network(1, 250)), !wider_too);
        assert!(queued(&mut live, "another", network(2, 1)));
        // Three quarters of all that is remembered.
        let limits = Limits { remembered_max: 100, remembered_per_network_max: 40, ..Limits::default() };
        let known = (0..75).map(|number| remembered(number, of(u32::try_from(number).unwrap())));
        let rules = Rules { safeguards: server.safeguards.clone(), limits };
        let mut live = Allocator::load(rules, server.live.snapshot().chain(known)).unwrap();
        let denied = |live: &mut Allocator, name: &str, network| {
            let outcome = decided(live, moment(2), from(network, name, "no-such-feature", None));
            matches!(outcome, Outcome::Denied(_))
        };
        assert_eq!(denied(&mut live, "one-more", network(1, 250)), !wider_too);
        assert!(denied(&mut live, "another", network(2, 1)));
    }
}

#[test]
fn a_network_has_no_more_waiters_in_all_lines_than_its_share() {
    let mut server = server_with(1, &[("A", 1)]);
    let rights: Vec<_> = (0..3).map(|number| Right::new(&format!("feature-{number}"), 1)).collect();
    server.decide(moment(1), install(license(&["acme"], "More", &[], &rights))).unwrap();
    let record = |number: u32| {
        let mut record = waiter(number, network(1, 1));
        if let StateRecord::Waiter { items, .. } = &mut record {
            items[0].pool = PoolId(number % 4);
        }
        record
    };
    let mut live = with_records(&server, (0..limits::WAITERS_PER_NETWORK_MAX as u32).map(record));
    let ask = |live: &mut Allocator, name: &str, network| {
        let outcome = decided(live, moment(2), from(network, name, "cad", Some(1_000_000)));
        matches!(outcome, Outcome::Waiting { .. })
    };
    // Three lines have a free seat for their first.
    assert_eq!((0..5).map(|name| ask(&mut live, &name.to_string(), network(1, 1))).filter(|placed| *placed).count(), 3);
    assert!(ask(&mut live, "other", network(1, 2)));
}

fn remembered(number: u64, network: Option<Network>) -> StateRecord {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    StateRecord::Remembered {
        lease: triquest_allocator::LeaseId(id),
        attempt: 1,
        content: None,
        denial: None,
        ended: Some(EndReason::Released),
        forget: Timestamp(3_600_384),
        network,
    }
}

#[test]
fn a_network_has_a_budget_of_remembered_ids_that_stops_new_ids_only() {
    let mut server = server_with(0, &[("A", 9)]);
    let hostile = network(1, 1);
    server.decide(moment(1), from(hostile, "live", "cad", None)).unwrap();
    server.decide(moment(1), from(hostile, "denied", "cam", None)).unwrap();
    let more = (1..limits::REMEMBERED_PER_NETWORK_MAX).map(|number| remembered(number, hostile));
    let mut live = with_records(&server, more);
    let mut decide = |command: Command| decided(&mut live, moment(2), command);
    let too_many = |outcome: &Outcome| matches!(outcome, Outcome::Refused(Refusal::TooManyIds { retry_after_ms }) if *retry_after_ms > 0);
    assert!(too_many(&decide(from(hostile, "new", "cad", None))));
    assert!(too_many(&decide(Command::Release { lease: lease("never seen"), network: hostile })));
    // Others, the socket, repeats, renewals and releases are not refused.
    assert!(matches!(decide(from(network(1, 2), "other", "cad", None)), Outcome::Granted(_)));
    assert!(matches!(decide(from(None, "socket", "cad", None)), Outcome::Granted(_)));
    assert!(matches!(decide(from(hostile, "live", "cad", None)), Outcome::Granted(_)));
    assert!(matches!(decide(from(hostile, "denied", "cam", None)), Outcome::Denied(_)));
    let mut again = from(hostile, "denied", "cam", None);
    let Command::Checkout { attempt, .. } = &mut again else { unreachable!() };
    *attempt = 2;
    assert!(matches!(decide(again), Outcome::Denied(_)));
    let renew = Command::Renew { lease: lease("live"), counter: 1, nonce: [0; 16], idle_ms: None, presence: None, regained: false };
    assert!(matches!(decide(renew), Outcome::Renewed { .. }));
    assert!(matches!(decide(Command::Release { lease: lease("live"), network: hostile }), Outcome::Released { .. }));
    // When they are forgotten there is room again.
    for _ in 0..2_000 {
        live.decide_batch(moment(3_700_000), vec![((), Command::Sweep)]);
    }
    let outcome = decided(&mut live, moment(3_700_000), from(hostile, "later", "cad", None));
    assert!(matches!(outcome, Outcome::Granted(_)), "{outcome:?}");
}

/// A server on which a network may make three ids be remembered and all have ten, with one rule switched off or none.
fn with_three_ids(off: fn(&mut Safeguards)) -> Allocator {
    let server = server_with(0, &[("A", 9)]);
    let mut rules = Rules { limits: Limits { remembered_per_network_max: 3, remembered_max: 10, ..Limits::default() }, ..Rules::default() };
    off(&mut rules.safeguards);
    Allocator::load(rules, server.live.snapshot()).unwrap()
}

fn attempt_of(command: Command, number: u32) -> Command {
    match command {
        Command::Checkout { lease, content, accepts, holder, vendor_keys, items, ttl_ms, wait_ms, regained, network, .. } => {
            Command::Checkout { lease, attempt: number, content, accepts, holder, vendor_keys, items, ttl_ms, wait_ms, regained, network }
        }
        other => other,
    }
}

#[test]
fn at_the_limit_new_ids_are_refused_known_ones_are_decided_and_nothing_is_forgotten_early() {
    let too_many = |outcome: &Outcome| matches!(outcome, Outcome::Refused(Refusal::TooManyIds { .. }));
    let hostile = network(1, 1);
    let fill = |live: &mut Allocator| {
        // Used and given back, and denied twice.
        assert!(matches!(decided(live, moment(1), from(hostile, "used", "cad", None)), Outcome::Granted(_)));
        assert!(matches!(decided(live, moment(1), Command::Release { lease: lease("used"), network: hostile }), Outcome::Released { .. }));
        for name in ["one", "two"] {
            assert!(matches!(decided(live, moment(1), from(hostile, name, "cam", None)), Outcome::Denied(_)));
        }
    };
    let next = || attempt_of(from(hostile, "one", "cam", None), 2);
    let copy = || from(hostile, "used", "cad", None);

    let mut live = with_three_ids(|_| {});
    fill(&mut live);
    assert!(too_many(&decided(&mut live, moment(2), from(hostile, "three", "cad", None))));
    assert!(too_many(&decided(&mut live, moment(2), Command::Release { lease: lease("four"), network: hostile })));
    assert!(matches!(decided(&mut live, moment(2), next()), Outcome::Denied(denial) if denial.code == DenialCode::UnknownFeature));
    assert!(matches!(decided(&mut live, moment(2), copy()), Outcome::Denied(denial) if denial.code == DenialCode::LeaseEnded));

    let mut live = with_three_ids(|safeguards| safeguards.remembered_by_network = false);
    fill(&mut live);
    assert!(matches!(decided(&mut live, moment(2), from(hostile, "three", "cad", None)), Outcome::Granted(_)));

    let mut live = with_three_ids(|safeguards| safeguards.known_ids_are_taken = false);
    fill(&mut live);
    assert!(too_many(&decided(&mut live, moment(2), next())));

    let mut live = with_three_ids(|safeguards| safeguards.nothing_is_forgotten_early = false);
    fill(&mut live);
    assert!(matches!(decided(&mut live, moment(2), from(hostile, "three", "cad", None)), Outcome::Granted(_)));
    assert!(matches!(decided(&mut live, moment(2), copy()), Outcome::Granted(_)), "an id that ended is granted again");
}

#[test]
fn a_denial_in_a_quarantine_is_remembered_within_the_same_limit() {
    let mut server = server_with(0, &[("A", 9)]);
    server.restore(server.journal.len(), moment(1)).unwrap();
    let rules = Rules { limits: Limits { remembered_per_network_max: 3, ..Limits::default() }, ..Rules::default() };
    let mut live = Allocator::load(rules, server.live.snapshot()).unwrap();
    let asked: Vec<Outcome> =
        (0..5).map(|number| decided(&mut live, moment(2), from(network(1, 1), &format!("asks-{number}"), "cad", None))).collect();
    let denied = |outcome: &&Outcome| matches!(outcome, Outcome::Denied(denial) if denial.code == DenialCode::Quarantine);
    assert_eq!(asked.iter().filter(denied).count(), 3, "{asked:?}");
    assert!(asked[3..].iter().all(|outcome| matches!(outcome, Outcome::Refused(Refusal::TooManyIds { .. }))), "{asked:?}");
}

#[test]
fn a_batch_is_divided_as_any_pass_is_and_takes_several_if_it_must() {
    let mut server = server_with(4_000, &[("A", 9_000)]);
    server.restart(moment(10)).unwrap();
    // Nobody was heard since, their time is over, a part of them renews now, and newcomers ask.
    let at = moment(400_000);
    let renew = |number: u32| Command::Renew {
        lease: lease(&number.to_string()),
        counter: 1,
        nonce: [0; 16],
        idle_ms: None,
        presence: None,
        regained: false,
    };
    let commands = (0..2_000).map(renew).chain((0..1_000).map(|number| checkout(&format!("new-{number}"))));
    let mut left: Vec<((), Command)> = commands.map(|command| ((), command)).collect();
    let batch = server.live.decide_batch(at, left);
    let count = |is: fn(&Event) -> bool| batch.events.iter().filter(|event| is(event)).count();
    let heard = count(|event| matches!(event, Event::Heard { .. }));
    let ended = count(|event| matches!(event, Event::Ended { .. }));
    let granted = count(|event| matches!(event, Event::Granted { .. }));
    assert!((limits::EVENTS_MAX / 2 - 128..=limits::EVENTS_MAX / 2).contains(&heard), "{heard}");
    assert!((limits::EVENTS_MAX / 4 - 128..=limits::EVENTS_MAX / 4).contains(&ended), "{ended}");
    assert!(granted > 0 && batch.events.len() <= limits::EVENTS_MAX, "{granted} of {}", batch.events.len());
    let mut decided = batch.outcomes.len();
    left = batch.left;
    let mut batches = 1;
    while !left.is_empty() {
        let batch = server.live.decide_batch(at, left);
        decided += batch.outcomes.len();
        left = batch.left;
        batches += 1;
    }
    assert_eq!(decided, 3_000);
    assert!((2..20).contains(&batches), "{batches}");
}

/// One seat for each right, and so many rights for each of these features, in licenses that end on one day.
fn small_rights(server: &mut Server, features: usize, rights: usize) {
    let all: Vec<_> = (0..features)
        .flat_map(|feature| (0..rights).map(move |_| Right::new(&format!("feature-{feature}"), 1).with("expires", "2026-12-31")))
        .collect();
    for (number, rights) in all.chunks(256).enumerate() {
        let license = license(&["acme"], &format!("SMALL-{number}"), &[], rights);
        let (outcome, _) = server.decide(moment(0), install(license)).unwrap();
        assert!(matches!(outcome, Outcome::Installed { .. }), "{outcome:?}");
    }
}

fn wide_checkout(name: &str, features: usize, seats: u32, wait_ms: Option<u64>) -> Command {
    let mut command = from(None, name, "feature-0", wait_ms);
    if let Command::Checkout { items, .. } = &mut command {
        *items = (0..features).map(|feature| item(&format!("feature-{feature}"), seats, None)).collect();
    }
    command
}

#[test]
fn a_lease_whose_thousands_of_charges_end_on_one_day_moves_over_in_portions() {
    [false, true].into_iter().for_each(thousands_of_charges_move);
}

/// With renewals of the lease in between, or without.
fn thousands_of_charges_move(renews: bool) {
    let mut server = server_with(0, &[]);
    let (parts, seats) = (limits::ITEMS_PER_CHECKOUT_MAX, limits::CHARGES_PER_PART_MAX);
    small_rights(&mut server, parts, seats);
    let (outcome, events) = server.decide(moment(1), wide_checkout("wide", parts, seats as u32, None)).unwrap();
    assert!(matches!(outcome, Outcome::Granted(_)), "{outcome:?}");
    let weight: usize = events.iter().map(Event::weight).sum();
    assert!(weight <= limits::ENTRY_BYTES_MAX / 8, "{weight}");
    let rights: Vec<_> = (0..parts).map(|feature| Right::new(&format!("feature-{feature}"), seats as u32)).collect();
    server.decide(moment(1), install(license(&["acme"], "LARGE", &[], &rights))).unwrap();
    let day = support::civil("2027-01-02");
    let mut moved = 0;
    for number in 0..60 {
        let at = Moment { wall_ms: day, ..moment(2 + number) };
        let mut commands = vec![((), Command::Sweep)];
        if renews && number % 3 == 0 {
            let (lease, nonce) = (lease("wide"), [0; 16]);
            commands = vec![((), Command::Renew { lease, counter: number, nonce, idle_ms: None, presence: None, regained: false })];
        }
        for event in bounded(&mut server, at, commands).events {
            moved += usize::from(matches!(event, Event::ChargeMoved { .. }));
            assert!(!matches!(event, Event::Ending { .. }), "{event:?}");
        }
    }
    assert_eq!(moved, parts * seats);
    server.live.check_invariants().unwrap();
}

#[test]
fn a_part_is_charged_to_few_entitlements_or_to_the_largest_and_is_told_at_once_where_it_can_never_be() {
    let mut server = server_with(0, &[]);
    let most = limits::CHARGES_PER_PART_MAX as u32;
    small_rights(&mut server, 1, 2_500);
    let (outcome, _) = server.decide(moment(1), wide_checkout("huge", 1, 2_500, Some(3_600_000))).unwrap();
    assert!(matches!(&outcome, Outcome::Denied(denial) if denial.code == DenialCode::MoreThanPool), "{outcome:?}");
    let charges = |server: &Server, name: &str| server.live.lease_view(&lease(name)).unwrap().items[0].charges.len();
    let (outcome, _) = server.decide(moment(1), wide_checkout("few", 1, most, None)).unwrap();
    assert!(matches!(outcome, Outcome::Granted(_)), "{outcome:?}");
    assert_eq!(charges(&server, "few"), most as usize);
    // The small ones end sooner and would be charged first.
    server.decide(moment(2), install(license(&["acme"], "LARGE", &[], &[Right::new("feature-0", 1_000)]))).unwrap();
    let (outcome, _) = server.decide(moment(3), wide_checkout("large", 1, 1_000 + most - 1, None)).unwrap();
    assert!(matches!(outcome, Outcome::Granted(_)), "{outcome:?}");
    assert_eq!(charges(&server, "large"), most as usize);
    let (outcome, _) = server.decide(moment(4), wide_checkout("more", 1, most + 1, None)).unwrap();
    assert!(matches!(&outcome, Outcome::Denied(denial) if denial.code == DenialCode::NoSeatFree), "{outcome:?}");
    server.live.check_invariants().unwrap();
}

#[test]
fn what_began_in_a_wrong_future_is_not_over_for_a_license_that_replaces_another_part_first() {
    let mut server = server_with(0, &[]);
    let old = [Right::new("cad", 2), Right::new("mesh", 4).with("starts", "2027-01-01")];
    server.decide(moment(1), install(license(&["acme"], "OLD", &[], &old))).unwrap();
    let now_ms = moment(1).wall_ms;
    let at = |ms: u64, wall_ms: i64| Moment { wall_ms, ..moment(ms) };
    let total = |server: &Server, feature: &str| {
        server.live.pools().find(|pool| pool.feature.as_str() == feature).map_or(0, |pool| pool.numbers.total)
    };
    server.settle(at(2, support::civil("2027-02-01"))).unwrap();
    assert_eq!((total(&server, "cad"), total(&server, "mesh")), (2, 4));
    let accept = Command::AcceptClock { actor: support::actor() };
    server.decide(at(3, now_ms), accept).unwrap();
    server.settle(at(4, now_ms)).unwrap();
    assert_eq!((total(&server, "cad"), total(&server, "mesh")), (2, 0));
    // Its other part begins later.
    let new = [Right::new("cad", 3), Right::new("mesh", 9).with("starts", "2028-01-01")];
    let (outcome, _) = server.decide(at(5, now_ms), install(license(&["acme"], "NEW", &["OLD"], &new))).unwrap();
    assert!(matches!(&outcome, Outcome::Installed { replaced, .. } if replaced.is_empty()), "{outcome:?}");
    server.settle(at(6, support::civil("2027-01-02"))).unwrap();
    assert_eq!((total(&server, "cad"), total(&server, "mesh")), (3, 4));
    server.settle(at(7, support::civil("2028-01-02"))).unwrap();
    assert_eq!((total(&server, "cad"), total(&server, "mesh")), (3, 9));
    server.live.check_invariants().unwrap();
    server.replayed().unwrap();
}
