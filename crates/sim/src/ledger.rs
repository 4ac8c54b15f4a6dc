//! What the committed facts say, folded naively: the judge's own books, which know nothing of how the allocator keeps its own.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use triquest_allocator::{
    CheckoutItem, Denial, DequeueReason, EndReason, EntitlementId, Epoch, Event, GrantedItem, Index, Instance, LeaseId, Lineage, Moment,
    Network, PoolId, RightEnd, Timestamp, VendorId, VerifierKeys, WideNetwork, share::Has,
};
use triquest_license::{FeatureName, LicenseHash, Version};

use crate::plan::Issued;

/// A live lease.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its parts with their charges.
    pub items: Vec<GrantedItem>,
    /// Its promised time to live.
    pub ttl_ms: u64,
    /// The longest that it was ever promised.
    pub longest_ttl_ms: u64,
    /// How long its seats stay taken after it.
    pub linger_ms: u64,
    /// Since when.
    pub granted_at: Timestamp,
    /// A waiter has not come for it yet.
    pub claim_due: Option<Timestamp>,
    /// It is not renewed any more.
    pub ending: Option<(Timestamp, EndReason)>,
    /// The attempt that it was granted to; none for one that was taken over.
    pub attempt: Option<u32>,
    /// The epoch in which it was last heard.
    pub heard: Epoch,
    /// What its grant of lost history was charged to.
    pub shown: Vec<triquest_allocator::Charge>,
    /// From where it was asked for.
    pub network: Option<Network>,
    /// The keys that its client embeds.
    pub embeds: VerifierKeys,
}

/// An id that is neither live nor forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Remembered {
    /// Who made the server remember it.
    pub network: Option<Network>,
    /// For so long.
    pub until: Timestamp,
    /// Since which entry.
    pub since: Index,
}

/// Who makes the server remember how many ids.
#[derive(Clone, Debug, Default)]
struct Crowd {
    networks: BTreeMap<Network, u64>,
    wide: BTreeMap<WideNetwork, u64>,
}

impl Crowd {
    fn change(&mut self, network: Option<Network>, change: impl Fn(u64) -> u64) {
        let Some(network) = network else { return };
        let own = self.networks.entry(network).or_default();
        *own = change(*own);
        if *own == 0 {
            self.networks.remove(&network);
        }
        let wider = self.wide.entry(network.wide()).or_default();
        *wider = change(*wider);
    }
}

/// The end of memory is a whole number of so many milliseconds.
const MEMORY_TICK_MS: u64 = 1_024;
/// What was forgotten in the last so many entries is known yet: answers may come of before.
const ENTRIES_LOOKED_BACK: u64 = 8;

/// One entitlement of an installed license.
#[derive(Clone, Debug)]
pub struct Right {
    /// Whose.
    pub license: LicenseHash,
    /// Its position in the license.
    pub position: usize,
    /// The keys that have signed the license.
    pub signers: VerifierKeys,
    /// The license was installed as the so-many-eth.
    pub installed: u64,
    /// Where its seats count.
    pub pool: PoolId,
    /// How many.
    pub seats: u64,
    /// The newest version that it covers; none is every one.
    pub version: Option<Version>,
    /// Begins, unix milliseconds.
    pub starts: Option<i64>,
    /// Ends, unix milliseconds.
    pub expires: Option<i64>,
    /// It has begun.
    pub began: bool,
    /// It has ended, and why.
    pub ended: Option<RightEnd>,
    /// The entry by which it ended.
    pub ended_by: Index,
    /// Seats of leases that are charged to it.
    pub charged: u64,
}

impl Right {
    /// Whether it counts.
    #[must_use]
    pub fn in_force(&self) -> bool {
        self.began && self.ended.is_none()
    }

    /// Whether it covers this version.
    #[must_use]
    pub fn covers(&self, version: Option<&Version>) -> bool {
        match (&self.version, version) {
            (None, _) | (_, None) => true,
            (Some(newest), Some(version)) => version <= newest,
        }
    }
}

/// A license that was installed.
#[derive(Clone, Debug)]
pub struct Installed {
    /// It was the so-many-eth installation.
    pub order: u64,
    /// What it says.
    pub issued: Arc<Issued>,
    /// Its first entitlement.
    pub first: EntitlementId,
    /// Whose.
    pub vendor: VendorId,
    /// It was taken off, and why.
    pub removed: Option<RightEnd>,
}

/// A pool's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Seats in force.
    pub total: u64,
    /// Held by leases.
    pub used: u64,
    /// Taken after release.
    pub lingering: u64,
}

impl Counts {
    /// Held or lingering.
    #[must_use]
    pub fn taken(self) -> u64 {
        self.used + self.lingering
    }

    /// Free.
    #[must_use]
    pub fn free(self) -> u64 {
        self.total.saturating_sub(self.taken())
    }
}

/// Somebody in line.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// Who.
    pub lease: LeaseId,
    /// For what.
    pub items: Vec<GrantedItem>,
    /// With which attempt.
    pub attempt: u32,
    /// From where.
    pub network: Option<Network>,
    /// The keys that its client embeds.
    pub embeds: VerifierKeys,
}

/// The books.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What each text says, known to the world that issued it.
    issued: BTreeMap<LicenseHash, Arc<Issued>>,
    /// The history.
    pub lineage: Lineage,
    /// The last start.
    pub epoch: Epoch,
    /// The last entry.
    pub index: Index,
    /// Its moment.
    pub moment: Option<Moment>,
    /// Live leases.
    pub leases: BTreeMap<LeaseId, Held>,
    /// Seats that linger.
    pub lingering: BTreeMap<LeaseId, Vec<GrantedItem>>,
    /// In the order of their coming.
    pub line: Vec<Waiter>,
    /// By number.
    pub pools: BTreeMap<PoolId, Counts>,
    /// Vendors by their keys.
    keys: BTreeMap<[u8; 32], VendorId>,
    /// Vendors that became part of another.
    merged: BTreeMap<VendorId, VendorId>,
    /// Where a vendor's feature is counted.
    features: BTreeMap<(VendorId, FeatureName), PoolId>,
    /// The wall clock is not believed.
    pub clock_held: bool,
    /// Merged pools.
    aliases: BTreeMap<PoolId, PoolId>,
    /// By number.
    pub rights: BTreeMap<EntitlementId, Right>,
    /// All installations.
    pub installed: Vec<Installed>,
    /// How often each id was granted or taken over.
    pub grants: BTreeMap<LeaseId, u32>,
    /// Ids that ended or were given back.
    pub ended: BTreeMap<LeaseId, EndReason>,
    /// Attempts that were denied, with what is told of them; none of those whose client left the line by itself.
    pub denied: BTreeMap<(LeaseId, u32), Option<Denial>>,
    /// Waiters that left the line.
    pub dequeued: BTreeMap<LeaseId, DequeueReason>,
    /// Ids that are neither live nor forgotten.
    pub remembered: BTreeMap<LeaseId, Remembered>,
    crowd: Crowd,
    /// Ids that were remembered and are not, by the last entries.
    gone: VecDeque<(Index, Option<Network>)>,
    /// How long the present start remembers.
    pub remember_ms: u64,
    /// Ids that ended or were given back, and until when they are never granted again, whatever is forgotten.
    pub over: BTreeMap<LeaseId, Timestamp>,
    /// Nothing is granted before then.
    pub quarantine_until: Option<Timestamp>,
    /// The loss of what was granted in lost history was accepted in this lineage.
    pub loss_accepted: bool,
    /// Every start that this history comes from: its instance and its last entry.
    pub starts: BTreeMap<(Lineage, Epoch), (Instance, Index)>,
}

impl Ledger {
    /// Empty books of a world that issued these licenses.
    #[must_use]
    pub fn new(issued: impl IntoIterator<Item = Arc<Issued>>) -> Self {
        Self { issued: issued.into_iter().map(|issued| (issued.license.hash(), issued)).collect(), ..Self::default() }
    }

    /// The pool that an id means now.
    #[must_use]
    pub fn resolve(&self, mut pool: PoolId) -> PoolId {
        while let Some(into) = self.aliases.get(&pool) {
            pool = *into;
        }
        pool
    }

    /// A pool's counts.
    #[must_use]
    pub fn counts(&self, pool: PoolId) -> Counts {
        self.pools.get(&self.resolve(pool)).copied().unwrap_or_default()
    }

    /// What counts in a pool, covers a version, and can be verified by a client that embeds these keys.
    fn usable<'a>(&'a self, pool: PoolId, version: Option<&'a Version>, embeds: &'a VerifierKeys) -> impl Iterator<Item = &'a Right> {
        let pool = self.resolve(pool);
        let counts = move |right: &&Right| right.in_force() && self.resolve(right.pool) == pool && right.covers(version);
        self.rights.values().filter(counts).filter(|right| right.signers.shares(embeds))
    }

    /// Seats in force of a pool that cover a version, for a client that embeds these keys.
    #[must_use]
    pub fn covering(&self, pool: PoolId, version: Option<&Version>, embeds: &VerifierKeys) -> u64 {
        self.usable(pool, version, embeds).map(|right| right.seats).sum()
    }

    /// Free seats of a pool that cover a version, for a client that embeds these keys, as far as charges need not move.
    #[must_use]
    pub fn covering_free(&self, pool: PoolId, version: Option<&Version>, embeds: &VerifierKeys) -> u64 {
        self.usable(pool, version, embeds).map(|right| right.seats.saturating_sub(right.charged)).sum()
    }

    /// Whether there is anything in force that this waiter and a client which embeds these keys could both be charged to for such parts.
    #[must_use]
    pub fn compete(&self, waiter: &Waiter, items: &[GrantedItem], embeds: &VerifierKeys) -> bool {
        let shared = |item: &GrantedItem| self.usable(item.pool, None, embeds).any(|right| right.signers.shares(&waiter.embeds));
        items.iter().any(|item| self.meet(&waiter.items, std::slice::from_ref(item)) && shared(item))
    }

    /// Whether two lists of parts meet in a pool.
    #[must_use]
    pub fn meet(&self, one: &[GrantedItem], other: &[GrantedItem]) -> bool {
        one.iter().any(|item| other.iter().any(|there| self.resolve(there.pool) == self.resolve(item.pool)))
    }

    /// Whether there are so many seats in all, free or not, for a client that embeds these keys.
    #[must_use]
    pub fn satisfiable(&self, items: &[GrantedItem], embeds: &VerifierKeys) -> bool {
        items.iter().all(|item| u64::from(item.seats) <= self.covering(item.pool, item.version.as_ref(), embeds))
    }

    /// Whether so many seats are free for a client that embeds these keys.
    #[must_use]
    pub fn fits(&self, items: &[GrantedItem], embeds: &VerifierKeys) -> bool {
        items.iter().all(|item| {
            let seats = u64::from(item.seats);
            seats <= self.counts(item.pool).free()
                && seats <= self.covering_free(item.pool, item.version.as_ref(), embeds)
                && self.lacks_for(item.pool, item.version, item.seats).is_none()
        })
    }

    /// The installed licenses that name this one's id in `replaces` and were installed after it.
    pub fn later_successors<'a>(&'a self, license: &'a Installed) -> impl Iterator<Item = &'a Installed> {
        let id = &license.issued.id;
        self.installed.iter().filter(move |other| {
            other.order > license.order && other.issued.replaces.contains(id) && self.vendor(other.vendor) == self.vendor(license.vendor)
        })
    }

    /// A license with a right in one of these pools that counts by this civil time, and does not because of what took its place in a future that was taken
    /// back.
    #[must_use]
    pub fn lost_to_a_wrong_future(&self, pools: &[PoolId], wall_ms: i64) -> Option<&Installed> {
        let rights = |license: &Installed| {
            self.rights.values().filter({
                let order = license.order;
                move |right| right.installed == order
            })
        };
        self.installed.iter().find(|license| {
            let copies = self.installed.iter().filter(|other| other.first > license.first);
            let again = copies.into_iter().any(|other| other.issued.license.hash() == license.issued.license.hash());
            if license.removed == Some(RightEnd::Removed) || again {
                return false;
            }
            let is_lost = |right: &Right| {
                let pool = self.resolve(right.pool);
                let was_replaced = match right.ended {
                    Some(RightEnd::Replaced) => true,
                    Some(RightEnd::Expired) => license.removed == Some(RightEnd::Replaced),
                    Some(RightEnd::Removed) | None => false,
                };
                let counts = was_replaced && pools.contains(&pool) && right.expires.is_none_or(|expires| expires > wall_ms);
                // By what, and when that is to begin.
                let begins = |other: &Installed| {
                    let there: Vec<&Right> = rights(other).filter(|right| self.resolve(right.pool) == pool).collect();
                    let all = if there.is_empty() { rights(other).collect() } else { there };
                    let begun = all.into_iter().filter(|right| right.began);
                    begun.map(|right| right.starts.unwrap_or(i64::MIN)).min()
                };
                counts && self.later_successors(license).filter_map(begins).min().is_some_and(|begins| begins > wall_ms)
            };
            rights(license).any(is_lost)
        })
    }

    /// The vendor that one means now.
    fn vendor(&self, mut vendor: VendorId) -> VendorId {
        while let Some(into) = self.merged.get(&vendor) {
            vendor = *into;
        }
        vendor
    }

    /// What a checkout of these parts under these keys asks for: the first vendor that has all the features.
    #[must_use]
    pub fn wished(&self, keys: &[[u8; 32]], items: &[CheckoutItem]) -> Option<Vec<GrantedItem>> {
        keys.iter().find_map(|key| {
            let vendor = self.vendor(*self.keys.get(key)?);
            let part = |item: &CheckoutItem| {
                let pool = self.features.get(&(vendor, item.feature.clone()))?;
                Some(GrantedItem { pool: self.resolve(*pool), version: item.version, seats: item.seats, charges: Vec::new() })
            };
            items.iter().map(part).collect()
        })
    }

    fn charge(&mut self, items: &[GrantedItem], add: bool) {
        for charge in items.iter().flat_map(|item| &item.charges) {
            if let Some(right) = self.rights.get_mut(&charge.entitlement) {
                let seats = u64::from(charge.seats);
                right.charged = if add { right.charged + seats } else { right.charged.saturating_sub(seats) };
            }
        }
    }

    fn count(&mut self, items: &[GrantedItem], change: impl Fn(&mut Counts, u64)) {
        for item in items {
            let pool = self.resolve(item.pool);
            change(self.pools.entry(pool).or_default(), item.seats.into());
        }
    }

    /// An id is remembered, or remembered anew, for as long as this start does, and as long as its seats linger.
    fn remember(&mut self, lease: LeaseId, network: Option<Network>, at: Timestamp, linger_until: Option<Timestamp>, is_over: bool) {
        let until = at.after_ms(self.remember_ms).max(linger_until.unwrap_or_default());
        if is_over {
            self.over.insert(lease, until);
        }
        let until = Timestamp(until.0.div_ceil(MEMORY_TICK_MS) * MEMORY_TICK_MS);
        self.crowd.change(network, |count| count + 1);
        let since = self.remembered.get(&lease).map_or(self.index, |known| known.since);
        if let Some(before) = self.remembered.insert(lease, Remembered { network, until, since }) {
            self.crowd.change(before.network, |count| count - 1);
        }
    }

    /// It is live again, waits, or is forgotten.
    fn remembers_no_more(&mut self, lease: LeaseId) {
        if let Some(known) = self.remembered.remove(&lease) {
            self.crowd.change(known.network, |count| count - 1);
            self.gone.push_back((self.index, known.network));
        }
    }

    /// Whether an id is live, waits or is remembered.
    #[must_use]
    pub fn is_known(&self, lease: LeaseId) -> bool {
        let held = self.leases.contains_key(&lease) || self.remembered.contains_key(&lease);
        held || self.line.iter().any(|waiter| waiter.lease == lease)
    }

    /// How many ids a network makes the server remember; with what was forgotten in this entry and later, if that is asked for.
    #[must_use]
    pub fn remembered_of(&self, network: Network, gone_since: Option<Index>) -> Has {
        let gone = || self.gone.iter().filter(|(index, _)| gone_since.is_some_and(|since| *index >= since)).map(|(_, network)| *network);
        let gone_of = |is: &dyn Fn(Network) -> bool| gone().flatten().filter(|gone| is(*gone)).count() as u64;
        Has {
            own: self.crowd.networks.get(&network).copied().unwrap_or_default() + gone_of(&|other| other == network),
            wider: self.crowd.wide.get(&network.wide()).copied().unwrap_or_default() + gone_of(&|other| other.wide() == network.wide()),
            all: (self.remembered.len() + gone().count()) as u64,
            within: self.crowd.networks.keys().filter(|other| other.wide() == network.wide()).count() as u64
                + gone_of(&|other| other.wide() == network.wide()),
            present: (self.crowd.wide.len() + gone().count()) as u64,
        }
    }

    fn take(&mut self, lease: LeaseId, held: Held) {
        *self.grants.entry(lease).or_default() += 1;
        self.over.remove(&lease);
        self.remembers_no_more(lease);
        self.line.retain(|waiter| waiter.lease != lease);
        self.charge(&held.items, true);
        self.count(&held.items, |counts, seats| counts.used += seats);
        if let Some(before) = self.leases.insert(lease, held) {
            self.charge(&before.items, false);
            self.count(&before.items, |counts, seats| counts.used = counts.used.saturating_sub(seats));
        }
    }

    fn free(&mut self, lease: LeaseId, reason: EndReason, at: Timestamp, linger_until: Option<Timestamp>) {
        self.ended.insert(lease, reason);
        let Some(held) = self.leases.remove(&lease) else { return };
        self.remember(lease, held.network, at, linger_until, true);
        self.count(&held.items, |counts, seats| counts.used = counts.used.saturating_sub(seats));
        if linger_until.is_some() {
            self.count(&held.items, |counts, seats| counts.lingering += seats);
            self.lingering.insert(lease, held.items);
        } else {
            self.charge(&held.items, false);
        }
    }

    fn end_linger(&mut self, lease: LeaseId) {
        if let Some(items) = self.lingering.remove(&lease) {
            self.charge(&items, false);
            self.count(&items, |counts, seats| counts.lingering = counts.lingering.saturating_sub(seats));
        }
    }

    fn counts_now(&mut self, entitlement: EntitlementId, change: impl FnOnce(&mut Right)) {
        let Some(right) = self.rights.get_mut(&entitlement) else { return };
        let before = right.in_force();
        change(right);
        let (after, seats, pool) = (right.in_force(), right.seats, right.pool);
        let pool = self.resolve(pool);
        let counts = self.pools.entry(pool).or_default();
        match (before, after) {
            (false, true) => counts.total += seats,
            (true, false) => counts.total = counts.total.saturating_sub(seats),
            _ => {}
        }
    }

    /// A version, not newer than this one, for which and newer ones more seats of a pool are taken than its entitlements have, with both numbers; so many
    /// are wanted for this version beside those that are taken.
    #[must_use]
    pub fn lacks_for(&self, pool: PoolId, newest: Option<Version>, wanted: u32) -> Option<(Option<Version>, u64, u64)> {
        let pool = self.resolve(pool);
        let rights: Vec<&Right> = self.rights.values().filter(|right| right.in_force() && self.resolve(right.pool) == pool).collect();
        if rights.iter().all(|right| right.version.is_none()) {
            return None;
        }
        let mut asked = BTreeMap::from([(newest, u64::from(wanted))]);
        for item in self.leases.values().map(|held| &held.items).chain(self.lingering.values()).flatten() {
            if self.resolve(item.pool) == pool {
                *asked.entry(item.version).or_default() += u64::from(item.seats);
            }
        }
        let mut taken = 0;
        for (version, seats) in asked.iter().rev() {
            taken += seats;
            let there = rights.iter().filter(|right| right.covers(version.as_ref())).map(|right| right.seats).sum();
            if *version <= newest && taken > there {
                return Some((*version, taken, there));
            }
        }
        None
    }

    /// Takes the head of an entry.
    pub fn enter(&mut self, lineage: Lineage, epoch: Epoch, index: Index, moment: Moment) {
        if lineage != self.lineage {
            self.loss_accepted = false;
        }
        // A history that begins within a start goes on with its instance.
        let instance = self.starts.get(&(self.lineage, epoch)).map(|(instance, _)| *instance).unwrap_or_default();
        self.starts.entry((lineage, epoch)).or_insert((instance, index)).1 = index;
        (self.lineage, self.epoch, self.index, self.moment) = (lineage, epoch, index, Some(moment));
        while self.gone.front().is_some_and(|(gone, _)| gone.0 + ENTRIES_LOOKED_BACK < index.0) {
            self.gone.pop_front();
        }
    }

    /// Whether this point of this start is a part of this history.
    #[must_use]
    pub fn holds(&self, lineage: Lineage, epoch: Epoch, instance: Option<Instance>, index: Index) -> bool {
        let start = self.starts.get(&(lineage, epoch));
        start.is_some_and(|(ours, last)| instance.is_none_or(|instance| instance == *ours) && index <= *last)
    }

    /// Folds one fact in.
    pub fn fold(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::Adopted { lease, items, ttl_ms, linger_ms, shown, network, embeds, .. } => {
                self.ended.remove(lease);
                self.end_linger(*lease);
                let held = Held {
                    items: items.clone(),
                    ttl_ms: *ttl_ms,
                    longest_ttl_ms: *ttl_ms,
                    linger_ms: *linger_ms,
                    granted_at: at,
                    claim_due: None,
                    ending: None,
                    attempt: None,
                    heard: self.epoch,
                    shown: shown.clone(),
                    network: *network,
                    embeds: embeds.clone(),
                };
                self.take(*lease, held);
            }
            Event::ChargeMoved { lease, item, from, to, seats } => {
                let (from, to, seats) = (*from, *to, *seats);
                let items = self.leases.get_mut(lease).map(|held| &mut held.items).or(self.lingering.get_mut(lease));
                if let Some(item) = items.and_then(|items| items.get_mut(usize::from(*item))) {
                    if let Some(charge) = item.charges.iter_mut().find(|charge| charge.entitlement == from) {
                        charge.seats = charge.seats.saturating_sub(seats);
                    }
                    item.charges.retain(|charge| charge.seats > 0);
                    match item.charges.iter_mut().find(|charge| charge.entitlement == to) {
                        Some(charge) => charge.seats += seats,
                        None => item.charges.push(triquest_allocator::Charge { entitlement: to, seats }),
                    }
                }
                if let Some(right) = self.rights.get_mut(&from) {
                    right.charged = right.charged.saturating_sub(seats.into());
                }
                if let Some(right) = self.rights.get_mut(&to) {
                    right.charged += u64::from(seats);
                }
            }
            Event::Denied { lease, attempt, denial, network, .. } => {
                self.denied.insert((*lease, *attempt), Some(denial.clone()));
                self.remember(*lease, *network, at, None, false);
            }
            Event::Dequeued { lease, reason, denial } => {
                if let Some(place) = self.line.iter().position(|waiter| waiter.lease == *lease) {
                    let waiter = self.line.remove(place);
                    self.denied.insert((*lease, waiter.attempt), denial.as_deref().cloned());
                    self.remember(*lease, waiter.network, at, None, denial.is_none());
                }
                self.dequeued.insert(*lease, *reason);
                if *reason == DequeueReason::Released {
                    self.ended.insert(*lease, EndReason::Released);
                }
            }
            Event::Ended { lease, reason, linger_until, .. } => self.free(*lease, *reason, at, *linger_until),
            Event::Ending { lease, due, reason, .. } => {
                if let Some(held) = self.leases.get_mut(lease) {
                    held.ending = Some((*due, *reason));
                }
            }
            Event::EntitlementBegan { entitlement, .. } => self.counts_now(*entitlement, |right| {
                right.began = true;
                right.ended = None;
            }),
            Event::EntitlementEnded { entitlement, reason, .. } => {
                let index = self.index;
                self.counts_now(*entitlement, |right| {
                    right.ended = Some(*reason);
                    right.ended_by = index;
                });
            }
            Event::Forgot { until } => {
                let forgotten = self.remembered.iter().filter(|(_, known)| known.until <= *until).map(|(lease, _)| *lease);
                for lease in forgotten.collect::<Vec<_>>() {
                    self.remembers_no_more(lease);
                }
                self.over.retain(|_, until| *until > at);
                let (leases, lingering) = (&self.leases, &self.lingering);
                self.grants.retain(|lease, _| leases.contains_key(lease) || lingering.contains_key(lease));
            }
            Event::Granted { lease, attempt, items, ttl_ms, linger_ms, claim_due, network, embeds, .. } => {
                let held = Held {
                    items: items.clone(),
                    ttl_ms: *ttl_ms,
                    longest_ttl_ms: *ttl_ms,
                    linger_ms: *linger_ms,
                    granted_at: at,
                    claim_due: *claim_due,
                    ending: None,
                    attempt: Some(*attempt),
                    heard: self.epoch,
                    shown: Vec::new(),
                    network: *network,
                    embeds: embeds.clone(),
                };
                self.take(*lease, held);
            }
            Event::Heard { lease, .. } => {
                if let Some(held) = self.leases.get_mut(lease) {
                    held.claim_due = None;
                    held.heard = self.epoch;
                }
            }
            Event::LicenseInstalled { license, vendor, first_entitlement, pools, .. } => {
                self.install(*license, *vendor, *first_entitlement, pools)
            }
            Event::LingerEnded { lease, .. } => self.end_linger(*lease),
            Event::LineageBegan { quarantine_until, .. } => self.quarantine_until = Some(*quarantine_until),
            Event::QuarantineEnded { actor, .. } => {
                self.quarantine_until = None;
                self.loss_accepted |= actor.is_some();
            }
            Event::QuarantineLengthened { until, .. } => self.quarantine_until = self.quarantine_until.map(|_| *until),
            Event::TtlLowered { lease, ttl_ms, .. } => {
                if let Some(held) = self.leases.get_mut(lease) {
                    held.ttl_ms = *ttl_ms;
                }
            }
            Event::TtlRaised { lease, ttl_ms } => {
                if let Some(held) = self.leases.get_mut(lease) {
                    held.ttl_ms = *ttl_ms;
                    held.longest_ttl_ms = held.longest_ttl_ms.max(*ttl_ms);
                }
            }
            Event::LicenseRemoved { license, reason, .. } => {
                let there = self.installed.iter_mut().rfind(|there| there.issued.license.hash() == *license);
                there.into_iter().for_each(|there| there.removed = Some(*reason));
            }
            Event::ReplacementUndone { first_entitlement, entitlements, .. } => {
                let there = self.installed.iter_mut().find(|there| there.first == *first_entitlement);
                there.into_iter().for_each(|there| there.removed = None);
                for entitlement in entitlements {
                    self.counts_now(*entitlement, |right| (right.began, right.ended) = (false, None));
                }
            }
            Event::Queued { lease, attempt, items, network, embeds, .. } => {
                self.dequeued.remove(lease);
                self.remembers_no_more(*lease);
                let (items, embeds) = (items.clone(), embeds.clone());
                self.line.push(Waiter { lease: *lease, items, attempt: *attempt, network: *network, embeds });
            }
            Event::Recovered { quarantine_until, epoch, instance, lineage, remember_ms, .. } => {
                self.remember_ms = *remember_ms;
                self.quarantine_until = *quarantine_until;
                self.starts.insert((*lineage, *epoch), (*instance, self.index));
            }
            Event::Released { lease, linger_until, .. } => self.free(*lease, EndReason::Released, at, *linger_until),
            Event::ReleasedUnknown { lease, network } => {
                let network = self.remembered.get(lease).map_or(*network, |known| known.network);
                self.remember(*lease, network, at, None, true);
                self.ended.insert(*lease, EndReason::Released);
            }
            Event::ClockAccepted { .. } => self.clock_held = false,
            Event::ClockStepped { believed, .. } => self.clock_held = !*believed,
            Event::PoolOpened { pool, vendor, feature, .. } => {
                self.features.insert((*vendor, feature.clone()), *pool);
            }
            Event::VendorKeys { vendor, keys, .. } => self.keys.extend(keys.iter().map(|key| (*key, *vendor))),
            Event::VendorsMerged { from, into, .. } => {
                self.merged.insert(*from, *into);
            }
            Event::PoolsMerged { from: vendor, into: other, pools, .. } => {
                for (from, into) in pools {
                    let feature =
                        self.features.iter().find(|((whose, _), pool)| whose == vendor && *pool == from).map(|((_, name), _)| name.clone());
                    if let Some(feature) = feature {
                        self.features.entry((*other, feature)).or_insert(*into);
                    }
                    let (from, into) = (self.resolve(*from), self.resolve(*into));
                    if from != into {
                        let moved = self.pools.remove(&from).unwrap_or_default();
                        let counts = self.pools.entry(into).or_default();
                        counts.total += moved.total;
                        counts.used += moved.used;
                        counts.lingering += moved.lingering;
                        self.aliases.insert(from, into);
                    }
                }
            }
            _ => {}
        }
    }

    fn install(&mut self, license: LicenseHash, vendor: VendorId, first: EntitlementId, pools: &[PoolId]) {
        let Some(issued) = self.issued.get(&license).cloned() else { return };
        let order = self.installed.len() as u64;
        let signers = VerifierKeys::of(&issued.keys.iter().map(|key| crate::plan::public_key(*key)).collect::<Vec<_>>());
        for (position, (right, pool)) in issued.license.terms().entitlements.iter().zip(pools).enumerate() {
            let id = EntitlementId(first.0 + u32::try_from(position).expect("a license has few entitlements"));
            let right = Right {
                license,
                position,
                signers: signers.clone(),
                installed: order,
                pool: *pool,
                seats: right.seats.into(),
                version: right.version,
                starts: right.starts.map(|starts| starts.0),
                expires: right.expires.map(|expires| expires.0),
                began: false,
                ended: None,
                ended_by: Index(0),
                charged: 0,
            };
            self.rights.insert(id, right);
        }
        self.installed.push(Installed { order, issued, first, vendor, removed: None });
    }
}
