//! A naive reading of promises beside the allocator: whatever is installed, moved, lowered, reclaimed or restarted, no lease ends before the
//! last moment that any answer about it named, unless its holder gave it back.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{Right, Server, actor, content, holder, install, item, key, lease, license, moment};
use triquest_allocator::{Command, Event, LeaseId, Outcome, Safeguards, Timestamp};

const LEASES: usize = 5;
const TTL_MAX: [&str; 4] = ["10s", "1min", "10min", "2h"];
const VERSIONS: [&str; 3] = ["5", "6", "9"];

#[derive(Clone, Debug)]
enum Act {
    Checkout {
        lease: usize,
        version: usize,
        ttl_ms: u64,
    },
    /// Beside or in place of the last license.
    Install {
        seats: u32,
        version: usize,
        ttl_max: usize,
        replaces: bool,
    },
    Reclaim {
        lease: usize,
    },
    Release {
        lease: usize,
    },
    Renew {
        lease: usize,
    },
    Restart,
    Room {
        full: bool,
    },
    Sweep,
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let act = prop_oneof![
        4 => (0..LEASES, 0..VERSIONS.len(), prop_oneof![Just(10_000u64), Just(60_000), Just(3_600_000)])
            .prop_map(|(lease, version, ttl_ms)| Act::Checkout { lease, version, ttl_ms }),
        3 => (1..3u32, 0..VERSIONS.len(), 0..TTL_MAX.len(), any::<bool>())
            .prop_map(|(seats, version, ttl_max, replaces)| Act::Install { seats, version, ttl_max, replaces }),
        1 => (0..LEASES).prop_map(|lease| Act::Reclaim { lease }),
        1 => (0..LEASES).prop_map(|lease| Act::Release { lease }),
        6 => (0..LEASES).prop_map(|lease| Act::Renew { lease }),
        3 => (0..TTL_MAX.len()).prop_map(|ttl_max| Act::Install { seats: 5, version: VERSIONS.len() - 1, ttl_max, replaces: true }),
        3 => Just(Act::Restart),
        1 => any::<bool>().prop_map(|full| Act::Room { full }),
        3 => Just(Act::Sweep),
    ];
    let wait = prop_oneof![Just(0u64), 1..5_000u64, 5_000..70_000u64, 70_000..4_000_000u64];
    proptest::collection::vec((wait, act), 1..40)
}

/// What the clients were told, and what became of their leases.
#[derive(Default)]
struct Reading {
    /// The end of the longest promise that any answer about a lease named.
    promised: BTreeMap<LeaseId, u64>,
    /// How often each name was used up.
    lives: [usize; LEASES],
    attempts: [u32; LEASES],
    counters: [u64; LEASES],
    /// The time to live and the floor of each lease, as the entries say that were durable before the present command.
    durable: BTreeMap<LeaseId, (u64, u64)>,
}

impl Reading {
    fn id(&self, number: usize) -> LeaseId {
        lease(&format!("L{number}.{}", self.lives[number]))
    }

    fn next_life(&mut self, number: usize) {
        self.lives[number] += 1;
        (self.attempts[number], self.counters[number]) = (0, 0);
    }

    /// A renewal was answered, with facts that are not durable yet.
    fn renewed(&mut self, id: LeaseId, at: u64, remaining_ms: u64) -> Result<(), String> {
        let durable = self.durable.get(&id).map_or(u64::MAX, |(ttl_ms, _)| *ttl_ms);
        self.told(id, at, remaining_ms);
        if remaining_ms > durable {
            return Err(format!("promise_survives_recovery: {id} is told {remaining_ms} ms, durable are {durable}"));
        }
        Ok(())
    }

    /// What these events say of times to live is durable from now on.
    fn read(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            match event {
                Event::Granted { lease, ttl_ms, .. } => drop(self.durable.insert(*lease, (*ttl_ms, 0))),
                Event::TtlLowered { lease, ttl_ms, not_before } => {
                    let (before, floor) = self.durable.get(lease).copied().ok_or("lowered before it was granted")?;
                    if *ttl_ms >= before || not_before.0 < floor {
                        return Err(format!("promise_only_grows: {lease} is lowered from {before} with a floor at {floor}: {event:?}"));
                    }
                    self.durable.insert(*lease, (*ttl_ms, not_before.0));
                }
                Event::TtlRaised { lease, ttl_ms } => {
                    let (before, floor) = self.durable.get(lease).copied().ok_or("raised before it was granted")?;
                    if *ttl_ms <= before {
                        return Err(format!("{lease} is raised from {before}: {event:?}"));
                    }
                    self.durable.insert(*lease, (*ttl_ms, floor));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn told(&mut self, id: LeaseId, at: u64, remaining_ms: u64) {
        let promise = self.promised.entry(id).or_default();
        *promise = (*promise).max(at + remaining_ms);
    }

    /// No event ends a lease before its promise, and no live lease has a deadline before it.
    fn check(&mut self, at: u64, events: &[Event], server: &Server) -> Result<(), String> {
        for event in events {
            match event {
                Event::Ended { lease, .. } => {
                    let promise = self.promised.remove(lease).unwrap_or(0);
                    // Its client makes a fresh id.
                    if let Some(number) = (0..LEASES).find(|number| self.id(*number) == *lease) {
                        self.next_life(number);
                    }
                    if at < promise {
                        return Err(format!("promise_survives_recovery: {lease} ends at {at}, promised until {promise}"));
                    }
                }
                Event::Released { lease, .. } => {
                    self.promised.remove(lease);
                }
                _ => {}
            }
        }
        for (id, promise) in &self.promised {
            match server.live.lease_view(id) {
                Some(view) if view.deadline >= Timestamp(*promise) => {}
                Some(view) => return Err(format!("promise_only_grows: {id} is due at {}, promised until {promise}", view.deadline.0)),
                None => return Err(format!("promise_only_grows: {id} is gone, promised until {promise}")),
            }
        }
        Ok(())
    }
}

fn run(safeguards: &Safeguards, acts: &[(u64, Act)]) -> Result<(), String> {
    let mut server = Server::new(safeguards.clone());
    server.load_every = 8;
    let mut reading = Reading::default();
    let mut at = 0;
    server.restart(moment(at))?;
    let mut licenses = 0;
    let first = license(&["acme"], "A0", &[], &[Right::new("cad", 2).with("version", "9").with("ttl_max", "2h")]);
    server.decide(moment(at), install(first))?;
    for (wait_ms, act) in acts {
        at += wait_ms;
        let now = moment(at);
        let events = match act {
            Act::Checkout { lease: number, version, ttl_ms } => {
                if !server.live.has_room() {
                    // The driver refuses it.
                    continue;
                }
                reading.attempts[*number] += 1;
                let id = reading.id(*number);
                let who = format!("u{number}");
                let command = Command::Checkout {
                    accepts: Default::default(),
                    lease: id,
                    attempt: reading.attempts[*number],
                    content: content(&format!("{number} {version}")),
                    holder: holder(&who, "ws"),
                    vendor_keys: vec![key("acme")],
                    items: vec![item("cad", 1, Some(VERSIONS[*version]))],
                    ttl_ms: Some(*ttl_ms),
                    wait_ms: None,
                    regained: false,
                    network: None,
                };
                let (outcome, events) = server.decide(now, command)?;
                if let Outcome::Granted(grant) = outcome {
                    reading.told(id, at, grant.remaining_ms);
                }
                events
            }
            Act::Install { seats, version, ttl_max, replaces } => {
                let before = format!("A{licenses}");
                licenses += 1;
                let right = Right::new("cad", *seats).with("version", VERSIONS[*version]).with("ttl_max", TTL_MAX[*ttl_max]);
                let replaced: &[&str] = if *replaces { &[&before] } else { &[] };
                let license = license(&["acme"], &format!("A{licenses}"), replaced, &[right]);
                server.decide(now, install(license))?.1
            }
            Act::Reclaim { lease: number } => {
                let command = Command::Reclaim { lease: reading.id(*number), now: false, actor: actor() };
                server.decide(now, command)?.1
            }
            Act::Release { lease: number } => {
                let id = reading.id(*number);
                reading.next_life(*number);
                server.decide(now, Command::Release { lease: id, network: None })?.1
            }
            Act::Renew { lease: number } => {
                let id = reading.id(*number);
                reading.counters[*number] += 1;
                let counter = reading.counters[*number];
                let renew = Command::Renew { lease: id, counter, nonce: [1; 16], idle_ms: None, presence: None, regained: false };
                let (outcome, events) = server.decide(now, renew)?;
                if let Outcome::Renewed { remaining_ms, .. } = outcome {
                    reading.renewed(id, at, remaining_ms)?;
                }
                events
            }
            Act::Restart => {
                let room = server.live.has_room();
                let (_, events) = server.restart(now)?;
                server.live.set_room(room);
                events
            }
            Act::Room { full } => {
                server.live.set_room(!*full);
                Vec::new()
            }
            Act::Sweep => server.settle(now)?,
        };
        reading.check(at, &events, &server)?;
        reading.read(&events)?;
    }
    server.replayed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_lease_ends_before_what_any_answer_promised(acts in acts()) {
        if let Err(why) = run(&Safeguards::default(), &acts) {
            prop_assert!(false, "{}", why);
        }
    }
}

/// Whether some of the same random acts find that a safeguard is off.
fn noticed(off: impl FnOnce(&mut Safeguards)) -> bool {
    use proptest::strategy::ValueTree;
    let mut safeguards = Safeguards::default();
    off(&mut safeguards);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = acts();
    (0..400).any(|_| {
        let acts = strategy.new_tree(&mut runner).unwrap().current();
        !matches!(std::panic::catch_unwind(|| run(&safeguards, &acts)), Ok(Ok(())))
    })
}

#[test]
fn the_naive_reading_notices_when_a_promise_is_read_from_the_present_license() {
    assert!(noticed(|safeguards| safeguards.promised_ttl_counts = false));
}

#[test]
fn the_naive_reading_notices_a_longer_time_to_live_that_is_told_before_it_is_durable() {
    assert!(noticed(|safeguards| safeguards.longer_ttl_is_durable = false));
}

#[test]
fn the_naive_reading_notices_a_lowered_time_to_live_without_a_floor() {
    assert!(noticed(|safeguards| safeguards.lowered_ttl_has_floor = false));
}
