//! Random commands against a naive model made of lists, with a standby, snapshots and invariants checked at each step.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{FileFailurePersistence, TestRunner},
};
use support::{Right, Server, actor, content, holder, install, item, key, lease, license, moment};
use triquest_allocator::{Command, DenialCode, EntitlementView, Event, LeaseId, Moment, Outcome, Refusal, Safeguards, limits};
use triquest_license::LicenseHash;

const FEATURES: [&str; 2] = ["cad", "cam"];
/// Feature, version, seats of each part.
type Wish = Vec<(usize, u32, u32)>;

/// The two keys of the one vendor.
const KEYS: [&str; 2] = ["acme", "acme+2"];
/// Some of [`KEYS`]: one bit for each.
type Keys = u8;
/// A right: feature, version, seats, its license, and the keys that signed it.
type SignedRight = (usize, u32, u32, LicenseHash, Keys);
const SETS: [Keys; 3] = [1, 3, 2];

fn names(keys: Keys) -> Vec<&'static str> {
    KEYS.iter().enumerate().filter(|(bit, _)| keys & (1 << bit) != 0).map(|(_, name)| *name).collect()
}

/// The keys that the application of an id embeds.
fn embeds(id: u8) -> Keys {
    SETS[usize::from(id) % SETS.len()]
}

/// The same, by the lease.
fn embedded(id: &LeaseId) -> Keys {
    embeds((0..IDS).find(|number| lease(&number.to_string()) == *id).unwrap())
}

const IDS: u8 = 14;

const LINGER_MS: [u64; 2] = [0, 5_000];

#[derive(Clone, Debug)]
enum Act {
    Advance(u64),
    Checkout { id: u8, attempt: u32, items: Wish, ttl_s: Option<u64>, wait_s: Option<u64> },
    Install { feature: usize, seats: u32, version: u32, signers: Keys },
    Reclaim { id: u8, now: bool },
    Release { id: u8 },
    Remove { nth: usize },
    Renew { id: u8 },
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let items = prop_oneof![
        3 => (0..2usize, 0..4u32, 1..4u32).prop_map(|item| vec![item]),
        1 => ((0..4u32, 1..3u32), (0..4u32, 1..3u32)).prop_map(|(a, b)| vec![(0, a.0, a.1), (1, b.0, b.1)]),
    ];
    let checkout = (0..IDS, 1..4u32, items, prop::option::of(10..400u64), prop::option::weighted(0.3, 1..600u64))
        .prop_map(|(id, attempt, items, ttl_s, wait_s)| Act::Checkout { id, attempt, items, ttl_s, wait_s });
    let act = prop_oneof![
        3 => prop_oneof![0..5_000u64, 0..200_000u64].prop_map(Act::Advance),
        10 => checkout,
        2 => (0..2usize, 1..4u32, 0..4u32, prop::sample::select(&SETS[..]))
            .prop_map(|(feature, seats, version, signers)| Act::Install { feature, seats, version, signers }),
        1 => (0..IDS, any::<bool>()).prop_map(|(id, now)| Act::Reclaim { id, now }),
        4 => (0..IDS).prop_map(|id| Act::Release { id }),
        1 => (0..6usize).prop_map(|nth| Act::Remove { nth }),
        4 => (0..IDS).prop_map(|id| Act::Renew { id }),
        1 => Just(Act::Restart),
    ];
    prop::collection::vec(act, 1..60)
}

/// What an id is to the model.
#[derive(Clone, Debug)]
enum Known {
    Denied { attempt: u32, code: DenialCode, content: String },
    Ended { content: Option<String> },
    Live { attempt: u32, content: String },
    Waits { attempt: u32, content: String },
}

#[derive(Clone, Debug)]
struct Seat {
    id: LeaseId,
    items: Wish,
    ttl_ms: u64,
    deadline: u64,
    heard: bool,
    lingering: bool,
    ending: bool,
    claimable: bool,
}

#[derive(Default)]
struct Model {
    /// Feature, version (0 covers all), seats, license, who has signed it.
    rights: Vec<SignedRight>,
    seats: Vec<Seat>,
    ids: BTreeMap<LeaseId, Known>,
    line: Vec<(LeaseId, Wish)>,
    /// Of every license that there ever was.
    signers: BTreeMap<LicenseHash, Keys>,
}

/// Versions order as coverage does: for a right 0 is the newest, for a wish 0 is the oldest.
fn covers(right: u32, wish: u32) -> bool {
    right == 0 || wish <= right
}

impl Model {
    /// Whether `more` can be placed for a client that embeds these keys, beside what is charged to rights in force, whatever moves.
    fn fits(&self, server: &Server, keys: Keys, more: &[(usize, u32, u32)]) -> bool {
        self.fits_by_version(server, more) && self.hall(server, keys, more)
    }

    /// The same where nothing may move.
    fn fits_as_it_is(&self, server: &Server, keys: Keys, more: &[(usize, u32, u32)]) -> bool {
        let free = |feature: usize, version: u32| -> u64 {
            let rights = self.views(server, feature).into_iter();
            let usable = rights.filter(|(right, view)| view.in_force && covers(right.1, version) && right.4 & keys != 0);
            usable.map(|(_, view)| view.seats.saturating_sub(view.charged)).sum()
        };
        self.fits_by_version(server, more) && more.iter().all(|item| u64::from(item.2) <= free(item.0, item.1))
    }

    /// The rights of a feature, with what the allocator charges there.
    fn views(&self, server: &Server, feature: usize) -> Vec<(SignedRight, EntitlementView)> {
        let Some(pool) = server.live.pool_of(&key(KEYS[0]), &FEATURES[feature].parse().unwrap()) else { return Vec::new() };
        let views = pool.entitlements.iter().filter_map(|id| server.live.entitlement_view(*id));
        views.filter_map(|view| Some((*self.rights.iter().find(|right| right.3 == view.license)?, view))).collect()
    }

    /// How a client with these keys stands in line behind these: true if it is behind, false if it passes them all, none if there is nobody.
    fn behind<'a>(
        &self,
        server: &Server,
        keys: Keys,
        wish: &[(usize, u32, u32)],
        ahead: impl Iterator<Item = &'a (LeaseId, Wish)>,
    ) -> Option<bool> {
        let mut stands = None;
        for (id, waits) in ahead {
            for feature in waits.iter().map(|item| item.0).filter(|feature| wish.iter().any(|item| item.0 == *feature)) {
                // Everything that its charges might come to be exchanged with.
                let mut reached = embedded(id);
                let pool = server.live.pool_of(&key(KEYS[0]), &FEATURES[feature].parse().unwrap()).unwrap().pool;
                let leases: Vec<_> = server.live.lease_views().collect();
                let charges = |lease: &triquest_allocator::LeaseView| -> Vec<EntitlementView> {
                    let items = lease.items.iter().filter(|item| item.pool == pool).flat_map(|item| &item.charges);
                    items.map(|charge| server.live.entitlement_view(charge.entitlement).unwrap()).collect()
                };
                for _ in 0..2 {
                    for lease in &leases {
                        let there = charges(lease).into_iter().filter(|view| view.in_force);
                        let signers: Vec<Keys> = there
                            .filter_map(|view| self.rights.iter().find(|right| right.3 == view.license))
                            .map(|right| right.4)
                            .collect();
                        if lease.ending.is_none() && signers.iter().any(|signers| signers & reached != 0) {
                            reached |= embedded(&lease.lease);
                        }
                    }
                }
                let competes = self.rights.iter().any(|right| right.0 == feature && right.4 & reached != 0 && right.4 & keys != 0);
                let beside = leases.iter().any(|lease| charges(lease).iter().any(|view| !view.in_force));
                stands = Some(stands.unwrap_or(false) | competes | beside);
            }
        }
        stands
    }

    /// Hall's condition for what is charged to rights in force, and for these with it: for the leases of each set of keys from some version on, there are
    /// so many seats that one of them can have.
    fn hall(&self, server: &Server, keys: Keys, more: &[(usize, u32, u32)]) -> bool {
        FEATURES.iter().enumerate().all(|(feature, name)| {
            let pool = server.live.pool_of(&key(KEYS[0]), &name.parse().unwrap()).map(|view| view.pool);
            let wanted = more.iter().filter(|item| item.0 == feature);
            let mut demand: Vec<(u32, Keys, u32)> = wanted.map(|item| (item.1, keys, item.2)).collect();
            for view in server.live.lease_views() {
                for part in view.items.iter().filter(|part| Some(part.pool) == pool) {
                    let version = part.version.map_or(0, |version| version.parts()[0]);
                    let in_force = part.charges.iter().filter(|charge| server.live.entitlement_view(charge.entitlement).unwrap().in_force);
                    demand.extend(in_force.map(|charge| (version, embedded(&view.lease), charge.seats)));
                }
            }
            // Beyond all versions: none of that set.
            let beyond = 5u32;
            let all = (0..=beyond).flat_map(|a| (0..=beyond).flat_map(move |b| (0..=beyond).map(move |c| [a, b, c])));
            all.into_iter().all(|from| {
                let since = |keys: Keys| from[SETS.iter().position(|set| *set == keys).unwrap()];
                let need: u32 = demand.iter().filter(|(version, keys, _)| *version >= since(*keys)).map(|(.., seats)| seats).sum();
                let usable = |right: &&SignedRight| {
                    let by = |keys: &Keys| since(*keys) < beyond && right.4 & keys != 0 && covers(right.1, since(*keys));
                    right.0 == feature && SETS.iter().any(by)
                };
                need == 0 || need <= self.rights.iter().filter(usable).map(|right| right.2).sum()
            })
        })
    }

    /// Whether there are so many seats for each version and newer ones, whoever has signed them, and whoever must go counted too.
    fn fits_by_version(&self, server: &Server, more: &[(usize, u32, u32)]) -> bool {
        FEATURES.iter().enumerate().all(|(feature, name)| {
            let wanted: Vec<_> = more.iter().filter(|item| item.0 == feature).collect();
            if wanted.is_empty() {
                return true;
            }
            let supply = |wish: u32| -> u32 {
                self.rights.iter().filter(|right| right.0 == feature && covers(right.1, wish)).map(|right| right.2).sum()
            };
            let pool = server.live.pool_of(&key("acme"), &name.parse().unwrap()).map(|view| view.pool);
            // Demand wherever it is charged: what is still on an ended entitlement holds a seat of its version too.
            let mut demand: Vec<(u32, u32)> = wanted.iter().map(|item| (item.1, item.2)).collect();
            for view in server.live.lease_views() {
                for part in view.items.iter().filter(|part| Some(part.pool) == pool) {
                    demand.push((part.version.map_or(0, |version| version.parts()[0]), part.seats));
                }
            }
            // Of newer versions than are wanted there may be too few already.
            let newest = wanted.iter().map(|item| item.1).max().unwrap_or(0);
            (0..=newest).all(|threshold| {
                let newer = |wish: u32| if threshold == 0 { true } else { wish >= threshold };
                let need: u32 = demand.iter().filter(|(wish, _)| newer(*wish)).map(|(_, seats)| seats).sum();
                need <= supply(threshold)
            })
        })
    }

    fn hopeless(&self, server: &Server, keys: Keys, items: &[(usize, u32, u32)]) -> Option<DenialCode> {
        for (feature, version, seats) in items {
            let rights = || self.rights.iter().filter(|right| right.0 == *feature && right.4 & keys != 0);
            let covering: Vec<_> = rights().filter(|right| covers(right.1, *version)).collect();
            if covering.is_empty() {
                let known = server.live.pool_of(&key("acme"), &FEATURES[*feature].parse().unwrap());
                return Some(match known {
                    None => DenialCode::UnknownFeature,
                    Some(view) if !view.entitlements.iter().any(|id| self.is_signed(server, *id, keys)) => DenialCode::UnknownFeature,
                    Some(_) if rights().next().is_none() => DenialCode::Expired,
                    Some(_) => DenialCode::VersionNotCovered,
                });
            }
            if covering.iter().map(|right| right.2).sum::<u32>() < *seats {
                return Some(DenialCode::MoreThanPool);
            }
        }
        None
    }

    fn is_signed(&self, server: &Server, right: triquest_allocator::EntitlementId, keys: Keys) -> bool {
        let license = server.live.entitlement_view(right).unwrap().license;
        self.signers.get(&license).is_some_and(|signers| signers & keys != 0)
    }

    /// Time passes in the model: what is due ends.
    fn expire(&mut self, now: u64) {
        let mut kept = Vec::new();
        for mut seat in std::mem::take(&mut self.seats) {
            if seat.deadline > now {
                kept.push(seat);
                continue;
            }
            if !seat.lingering {
                if let Some(Known::Live { content, .. }) = self.ids.get(&seat.id).cloned() {
                    self.ids.insert(seat.id, Known::Ended { content: Some(content) });
                }
                let linger = seat.items.iter().map(|item| LINGER_MS[item.0]).max().unwrap();
                if !seat.ending && !seat.claimable && seat.deadline + linger > now && linger > 0 {
                    seat.lingering = true;
                    seat.deadline += linger;
                    kept.push(seat);
                }
            }
        }
        self.seats = kept;
    }

    /// Takes over what the model leaves to the allocator: who leaves the line, who is granted from it, who loses a license.
    fn follow(&mut self, events: &[Event], now: u64) {
        for event in events {
            match event {
                Event::Dequeued { lease, reason, denial } => {
                    let (_, _) = self.line.iter().find(|(id, _)| id == lease).unwrap();
                    self.line.retain(|(id, _)| id != lease);
                    let Some(Known::Waits { attempt, content }) = self.ids.get(lease).cloned() else { panic!("nobody waits") };
                    let known = match reason {
                        triquest_allocator::DequeueReason::Released => Known::Ended { content: Some(content) },
                        _ => Known::Denied { attempt, code: denial.as_ref().unwrap().code, content },
                    };
                    self.ids.insert(*lease, known);
                }
                Event::Granted { lease, items, ttl_ms, claim_due: Some(due), attempt, .. } => {
                    let (_, wish) = self.line.iter().find(|(id, _)| id == lease).unwrap().clone();
                    assert_eq!(items.len(), wish.len());
                    self.line.retain(|(id, _)| id != lease);
                    let Some(Known::Waits { content, .. }) = self.ids.get(lease).cloned() else { panic!("nobody waits") };
                    self.ids.insert(*lease, Known::Live { attempt: *attempt, content });
                    self.seats.push(Seat {
                        id: *lease,
                        items: wish,
                        ttl_ms: *ttl_ms,
                        deadline: due.0,
                        heard: false,
                        lingering: false,
                        ending: false,
                        claimable: true,
                    });
                }
                Event::Ending { lease, .. } => {
                    let seat = self.seats.iter_mut().find(|seat| seat.id == *lease).unwrap();
                    seat.ending = true;
                    seat.deadline = seat.deadline.max(now);
                }
                Event::LingerEnded { lease, .. } => self.seats.retain(|seat| seat.id != *lease),
                _ => {}
            }
        }
    }
}

struct Run {
    server: Server,
    model: Model,
    now: u64,
    licenses: Vec<LicenseHash>,
    counter: u64,
}

impl Run {
    fn moment(&self) -> Moment {
        moment(self.now)
    }

    fn decide(&mut self, command: Command) -> (Outcome, Vec<Event>) {
        self.server.decide(self.moment(), command).unwrap()
    }

    fn settle(&mut self) {
        let events = self.server.settle(self.moment()).unwrap();
        // Deadlines first: the allocator frees what is due before it serves the line.
        self.model.expire(self.now);
        self.model.follow(&events, self.now);
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Advance(ms) => {
                // In steps, so that one thing is due at a time and the order of ends cannot matter.
                let target = self.now + ms;
                loop {
                    let due = self.server.live.next_deadline().map_or(target, |due| due.0.max(self.now + 1)).min(target);
                    self.now = due.max(self.now);
                    self.settle();
                    if self.now >= target {
                        break;
                    }
                }
            }
            Act::Checkout { id, attempt, items, ttl_s, wait_s } => self.checkout(*id, *attempt, items, *ttl_s, *wait_s),
            Act::Install { feature, seats, version, signers } => {
                let mut right = Right::new(FEATURES[*feature], *seats);
                if *version > 0 {
                    right = right.with("version", &version.to_string());
                }
                if LINGER_MS[*feature] > 0 {
                    right = right.with("linger", &format!("{}s", LINGER_MS[*feature] / 1_000));
                }
                let license = license(&names(*signers), &format!("L{}", self.licenses.len()), &[], &[right]);
                let hash = license.hash();
                self.licenses.push(hash);
                let (outcome, events) = self.decide(install(license));
                assert!(matches!(outcome, Outcome::Installed { waiting: false, .. }), "{outcome:?}");
                self.model.rights.push((*feature, *version, *seats, hash, *signers));
                self.model.signers.insert(hash, *signers);
                self.model.follow(&events, self.now);
            }
            Act::Reclaim { id, now } => {
                let id = lease(&id.to_string());
                let (outcome, events) = self.decide(Command::Reclaim { lease: id, now: *now, actor: actor() });
                let found = self.model.seats.iter().position(|seat| seat.id == id);
                match (found, self.model.ids.get(&id)) {
                    (Some(position), _) => {
                        assert!(matches!(outcome, Outcome::Reclaimed { .. }), "{outcome:?}");
                        if *now || self.model.seats[position].lingering {
                            self.model.seats.remove(position);
                            if let Some(Known::Live { content, .. }) = self.model.ids.get(&id).cloned() {
                                self.model.ids.insert(id, Known::Ended { content: Some(content) });
                            }
                        }
                    }
                    (None, Some(Known::Ended { .. })) => assert!(matches!(outcome, Outcome::Reclaimed { remaining_ms: 0 }), "{outcome:?}"),
                    (None, _) => assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}"),
                }
                self.model.follow(&events, self.now);
            }
            Act::Release { id } => {
                let id = lease(&id.to_string());
                let (outcome, events) = self.decide(Command::Release { lease: id, network: None });
                assert!(matches!(outcome, Outcome::Released { .. }), "{outcome:?}");
                match self.model.ids.get(&id).cloned() {
                    Some(Known::Live { content, .. }) => {
                        let seat = self.model.seats.iter_mut().find(|seat| seat.id == id).unwrap();
                        let linger = seat.items.iter().map(|item| LINGER_MS[item.0]).max().unwrap();
                        seat.lingering = true;
                        seat.deadline = self.now + if seat.ending { 0 } else { linger };
                        self.model.ids.insert(id, Known::Ended { content: Some(content) });
                        self.model.expire(self.now);
                    }
                    Some(Known::Waits { .. } | Known::Ended { .. }) => {}
                    Some(Known::Denied { content, .. }) => {
                        self.model.ids.insert(id, Known::Ended { content: Some(content) });
                    }
                    None => {
                        self.model.ids.insert(id, Known::Ended { content: None });
                    }
                }
                self.model.follow(&events, self.now);
            }
            Act::Remove { nth } => {
                let Some(hash) = self.licenses.get(*nth).copied() else { return };
                let here = self.model.rights.iter().any(|right| right.3 == hash);
                let (outcome, events) = self.decide(Command::Remove { license: hash, actor: actor() });
                assert_eq!(matches!(outcome, Outcome::Removed { .. }), here, "{outcome:?}");
                self.model.rights.retain(|right| right.3 != hash);
                self.model.follow(&events, self.now);
                // Whoever lost its license would not have fitted beside those who kept theirs.
                for event in &events {
                    if let Event::Ending { lease, .. } = event {
                        let view = self.server.live.lease_view(lease).unwrap();
                        let lost: Vec<_> = view
                            .items
                            .iter()
                            .flat_map(|part| {
                                let feature = FEATURES.iter().position(|name| {
                                    self.server
                                        .live
                                        .pool_of(&key("acme"), &name.parse().unwrap())
                                        .is_some_and(|view| view.pool == part.pool)
                                });
                                let version = part.version.map_or(0, |version| version.parts()[0]);
                                let in_force = |charge: &&triquest_allocator::Charge| {
                                    self.server.live.entitlement_view(charge.entitlement).unwrap().in_force
                                };
                                part.charges
                                    .iter()
                                    .filter(move |charge| !in_force(charge))
                                    .map(move |charge| (feature.unwrap(), version, charge.seats))
                            })
                            .collect();
                        assert!(!lost.is_empty());
                        let keys = embedded(lease);
                        assert!(!self.model.hall(&self.server, keys, &lost), "{lease} lost its seats although they fit");
                    }
                }
            }
            Act::Renew { id } => {
                let id = lease(&id.to_string());
                self.counter += 1;
                let (outcome, events) = self.decide(Command::Renew {
                    lease: id,
                    counter: self.counter,
                    nonce: [7; 16],
                    idle_ms: None,
                    presence: None,
                    regained: false,
                });
                self.model.follow(&events, self.now);
                match self.model.ids.get(&id) {
                    Some(Known::Live { .. }) => {
                        let seat = self.model.seats.iter_mut().find(|seat| seat.id == id).unwrap();
                        if seat.ending {
                            assert!(
                                matches!(outcome, Outcome::Ended { remaining_ms, .. } if remaining_ms == seat.deadline - self.now),
                                "{outcome:?}"
                            );
                        } else {
                            seat.deadline = self.now + seat.ttl_ms;
                            (seat.heard, seat.claimable) = (true, false);
                            assert!(matches!(outcome, Outcome::Renewed { remaining_ms, .. } if remaining_ms == seat.ttl_ms), "{outcome:?}");
                        }
                    }
                    Some(Known::Ended { .. }) => assert!(matches!(outcome, Outcome::Ended { remaining_ms: 0, .. }), "{outcome:?}"),
                    Some(Known::Denied { .. } | Known::Waits { .. }) | None => {
                        assert!(matches!(outcome, Outcome::Refused(Refusal::UnknownLease)), "{outcome:?}");
                    }
                }
            }
            Act::Restart => {
                let (_, _) = self.server.restart(self.moment()).unwrap();
                for seat in &mut self.model.seats {
                    if !seat.lingering && !seat.ending && !seat.claimable && seat.heard {
                        seat.deadline = self.now + seat.ttl_ms;
                    }
                    seat.heard = false;
                }
            }
        }
        self.settle();
        self.compare(act);
    }

    fn checkout(&mut self, id: u8, attempt: u32, items: &[(usize, u32, u32)], ttl_s: Option<u64>, wait_s: Option<u64>) {
        let text = format!("{items:?}");
        let keys = embeds(id);
        let id = lease(&id.to_string());
        let asked = items.iter().map(|(feature, version, seats)| {
            let version = (*version > 0).then(|| version.to_string());
            item(FEATURES[*feature], *seats, version.as_deref())
        });
        let command = Command::Checkout {
            accepts: Default::default(),
            lease: id,
            attempt,
            content: content(&text),
            holder: holder("ana", "ws1"),
            vendor_keys: names(keys).into_iter().map(key).collect(),
            items: asked.collect(),
            ttl_ms: ttl_s.map(|ttl| ttl * 1_000),
            wait_ms: wait_s.map(|wait| wait * 1_000),
            regained: false,
            network: None,
        };
        let hopeless = self.model.hopeless(&self.server, keys, items);
        let stands = self.model.behind(&self.server, keys, items, self.model.line.iter());
        let behind = stands == Some(true);
        let fits = if stands == Some(false) {
            self.model.fits_as_it_is(&self.server, keys, items)
        } else {
            self.model.fits(&self.server, keys, items)
        };
        let vendor_known = !self.model.rights.is_empty() || !self.licenses.is_empty();
        let (outcome, events) = self.decide(command);
        let known = self.model.ids.get(&id).cloned();
        let decided_anew = match known {
            Some(Known::Ended { content }) => {
                let same = content.is_none_or(|content| content == text);
                if same {
                    assert!(matches!(&outcome, Outcome::Denied(denial) if denial.code == DenialCode::LeaseEnded), "{outcome:?}");
                } else {
                    assert_eq!(outcome, Outcome::Refused(Refusal::IdTaken));
                }
                false
            }
            Some(Known::Live { content, .. } | Known::Waits { content, .. } | Known::Denied { content, .. }) if content != text => {
                assert_eq!(outcome, Outcome::Refused(Refusal::IdTaken));
                false
            }
            Some(Known::Live { attempt: last, .. } | Known::Waits { attempt: last, .. } | Known::Denied { attempt: last, .. })
                if attempt < last =>
            {
                assert_eq!(outcome, Outcome::Refused(Refusal::StaleAttempt { last }));
                false
            }
            Some(Known::Live { .. }) => {
                let seat = self.model.seats.iter_mut().find(|seat| seat.id == id).unwrap();
                if seat.ending {
                    assert!(matches!(outcome, Outcome::Ended { .. }), "{outcome:?}");
                } else {
                    seat.deadline = self.now + seat.ttl_ms;
                    (seat.heard, seat.claimable) = (true, false);
                    assert!(matches!(&outcome, Outcome::Granted(grant) if grant.remaining_ms == seat.ttl_ms), "{outcome:?}");
                }
                false
            }
            Some(Known::Waits { .. }) => {
                assert!(matches!(outcome, Outcome::Waiting { .. }), "{outcome:?}");
                false
            }
            Some(Known::Denied { attempt: last, code, .. }) if attempt == last => {
                assert!(matches!(&outcome, Outcome::Denied(denial) if denial.code == code), "{outcome:?}");
                false
            }
            Some(Known::Denied { .. }) | None => true,
        };
        if !decided_anew {
            return;
        }
        let content = text;
        if !vendor_known {
            assert!(matches!(&outcome, Outcome::Denied(denial) if denial.code == DenialCode::UnknownVendor), "{outcome:?}");
            self.model.ids.insert(id, Known::Denied { attempt, code: DenialCode::UnknownVendor, content });
        } else if let Some(code) = hopeless {
            assert!(matches!(&outcome, Outcome::Denied(denial) if denial.code == code), "{code:?} {outcome:?}");
            self.model.ids.insert(id, Known::Denied { attempt, code, content });
        } else if fits && !behind {
            let Outcome::Granted(grant) = &outcome else { panic!("it fits, but {outcome:?}") };
            let ttl_ms = ttl_s.map_or(limits::TTL_MS_DEFAULT, |ttl| ttl * 1_000);
            assert_eq!(grant.ttl_ms, ttl_ms);
            self.model.ids.insert(id, Known::Live { attempt, content });
            self.model.seats.push(Seat {
                id,
                items: items.to_vec(),
                ttl_ms,
                deadline: self.now + ttl_ms,
                heard: true,
                lingering: false,
                ending: false,
                claimable: false,
            });
        } else if wait_s.is_some() {
            assert!(matches!(outcome, Outcome::Waiting { .. }), "fits {fits}, behind {behind}: {outcome:?}");
            self.model.ids.insert(id, Known::Waits { attempt, content });
            self.model.line.push((id, items.to_vec()));
        } else {
            let code = DenialCode::NoSeatFree;
            assert!(matches!(&outcome, Outcome::Denied(denial) if denial.code == code), "fits {fits}, behind {behind}: {outcome:?}");
            self.model.ids.insert(id, Known::Denied { attempt, code, content });
        }
        self.model.follow(&events, self.now);
    }

    fn compare(&self, act: &Act) {
        let mut seats: Vec<_> = self.model.seats.iter().map(|seat| (seat.id, seat.deadline, seat.lingering, seat.ending)).collect();
        seats.sort();
        let views = self.server.live.lease_views();
        let views: Vec<_> = views.map(|view| (view.lease, view.deadline.0, view.lingering, view.ending.is_some())).collect();
        assert_eq!(views, seats, "after {act:?}");
        let line: Vec<_> = self.server.live.waiting().map(|(id, _)| id).collect();
        assert_eq!(line, self.model.line.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        // queue_moves: who is first wherever it waits is served as soon as it can be.
        for (position, (id, wish)) in self.model.line.iter().enumerate() {
            let keys = embedded(id);
            assert_eq!(self.model.hopeless(&self.server, keys, wish), None, "queue_moves: {id} can never be served after {act:?}");
            let could_be_served = match self.model.behind(&self.server, keys, wish, self.model.line[..position].iter()) {
                Some(true) => false,
                Some(false) => self.model.fits_as_it_is(&self.server, keys, wish),
                None => self.model.fits(&self.server, keys, wish),
            };
            assert!(!could_be_served, "queue_moves: {id} could be served after {act:?}");
        }
    }
}

fn run_all(safeguards: Safeguards, acts: &[Act]) {
    let mut run = Run { server: Server::new(safeguards), model: Model::default(), now: 0, licenses: Vec::new(), counter: 0 };
    run.server.load_every = 5;
    run.server.restart(run.moment()).unwrap();
    // A text that both keys have signed makes them one vendor.
    run.decide(install(license(&KEYS, "LINK", &[], &[Right::new("link", 1)])));
    run.act(&Act::Install { feature: 0, seats: 2, version: 2, signers: 3 });
    run.act(&Act::Install { feature: 1, seats: 2, version: 0, signers: 3 });
    for act in acts {
        run.act(act);
    }
}

/// The same random commands, until one run shows that a rule is off.
fn noticed(rule: impl FnOnce(&mut Safeguards)) -> bool {
    let mut safeguards = Safeguards::default();
    rule(&mut safeguards);
    let mut runner = TestRunner::deterministic();
    (0..200).any(|_| {
        let acts = acts().new_tree(&mut runner).unwrap().current();
        std::panic::catch_unwind(|| run_all(safeguards.clone(), &acts)).is_err()
    })
}

#[test]
fn the_naive_list_notices_when_a_rule_is_off() {
    assert!(noticed(|safeguards| safeguards.charges_move = false), "charges_move");
    assert!(noticed(|safeguards| safeguards.extend_on_recovery = false), "extend_on_recovery");
    assert!(noticed(|safeguards| safeguards.grant_within_total = false), "grant_within_total");
    assert!(noticed(|safeguards| safeguards.keys_bind_charges = false), "keys_bind_charges");
    assert!(noticed(|safeguards| safeguards.queue_strict = false), "queue_strict");
    assert!(noticed(|safeguards| safeguards.remember_ended = false), "remember_ended");
}

/// So many random scripts, in some seconds; more if `PROPTEST_CASES` says so.
const CASES: u32 = 400;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(CASES),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/model.regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_asked_in_whatever_order_the_answer_is_that_of_a_naive_list(acts in acts()) {
        run_all(Safeguards::default(), &acts);
    }
}
