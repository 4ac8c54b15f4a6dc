//! `apply`: how each fact changes the state, the same live, in replay and on a standby. It only adds up what facts name and never matches.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use triquest_license::{LicenseHash, LicenseId, Vocabulary, Word, Words};

use crate::{
    Actor, Allocator, Charge, ContentDigest, Denial, EndReason, EntitlementId, Epoch, Event, GrantedItem, Holder, InstalledEntitlement,
    InstalledLeftOut, InstalledTerms, Instance, LeaseId, Lineage, Network, PoolId, ReleaseCause, RightEnd, Timestamp, VendorId,
    VerifierKeys,
    allocator::{FreedByPresence, InstalledLicense, Pool, Right, TurnedAway, Vendor, Waiter},
    crowd::Crowd,
    memory::{Remembered, mark, ticked},
    rank::Ranks,
    store::{Features, Kind, Lease, Phase, READY, SPREAD, Slot, UNSEALED, Wish, WishItem},
};

/// What a fact about no such thing is answered.
fn missing<T>(found: Option<T>, what: &str, id: impl std::fmt::Debug) -> Result<T, String> {
    found.ok_or_else(|| format!("no {what} {id:?}"))
}

/// Takes a license out of an index by id.
fn drop_from(index: &mut BTreeMap<(VendorId, LicenseId), BTreeSet<EntitlementId>>, key: (VendorId, LicenseId), first: EntitlementId) {
    if let Some(firsts) = index.get_mut(&key) {
        firsts.remove(&first);
        if firsts.is_empty() {
            index.remove(&key);
        }
    }
}

/// Keeps that a lease was freed before its promise was over at `due`: by whole seconds, so that their number is bounded by the longest promise. Promises
/// that are over at `at` are forgotten.
pub fn note_freed_early(freed_early: &mut BTreeMap<Timestamp, u64>, due: Timestamp, at: Timestamp) {
    if due > at {
        *freed_early = freed_early.split_off(&at);
        *freed_early.entry(Timestamp(due.0.next_multiple_of(1_000))).or_default() += 1;
    }
}

/// All that a grant and an adoption say.
struct NewLease<'a> {
    lease: LeaseId,
    attempt: u32,
    content: ContentDigest,
    holder: &'a Holder,
    items: &'a [GrantedItem],
    ttl_ms: u64,
    linger_ms: u64,
    asked_ttl_ms: Option<u64>,
    claim_due: Option<Timestamp>,
    embeds: &'a VerifierKeys,
    network: Option<Network>,
    may_go_over: bool,
}

impl Allocator {
    /// Folds one fact in at the present moment.
    pub(crate) fn fold(&mut self, event: &Event) -> Result<(), String> {
        self.fact_at = self.now.at;
        match event {
            Event::Adopted { lease, attempt, content, holder, items, ttl_ms, linger_ms, asked_ttl_ms, shown, embeds, network } => {
                self.add_lease(&NewLease {
                    lease: *lease,
                    attempt: *attempt,
                    content: *content,
                    holder,
                    items,
                    ttl_ms: *ttl_ms,
                    linger_ms: *linger_ms,
                    asked_ttl_ms: *asked_ttl_ms,
                    claim_due: None,
                    embeds,
                    network: *network,
                    may_go_over: true,
                })?;
                self.note_adopted(*lease, shown);
                Ok(())
            }
            Event::QuarantineEnded { .. } => {
                self.quarantine_is_over();
                Ok(())
            }
            Event::ChargeMoved { lease, item, from, to, seats } => self.move_charge(*lease, usize::from(*item), *from, *to, *seats),
            Event::ClockAccepted { wall_ms, .. } => {
                self.clock_refused = None;
                self.now.wall_ms = *wall_ms;
                self.reschedule_dates();
                self.note_returning();
                Ok(())
            }
            Event::ClockMarked => Ok(()),
            Event::ClockStepped { from_ms, to_ms, believed } => {
                self.clock_refused = (!believed).then_some((*from_ms, *to_ms));
                Ok(())
            }
            Event::Denied { lease, attempt, content, denial, network, .. } => {
                if self.leases.find(lease).is_some() || self.waiting_ids.contains_key(lease) {
                    return Err(format!("a denial of {lease}, which is live or waits"));
                }
                let denial = Some(Box::new(denial.clone()));
                self.remember(
                    *lease,
                    Remembered {
                        attempt: *attempt,
                        content: Some(mark(*content)),
                        denial,
                        ended: None,
                        forget: self.forget_at(),
                        network: *network,
                    },
                );
                Ok(())
            }
            // For readers: what it counts was never known here.
            Event::DenialsCounted { .. } => Ok(()),
            Event::Dequeued { lease, denial, .. } => self.dequeue(lease, denial.clone()),
            Event::Ending { lease, due, reason, .. } => self.mark_ending(lease, *due, *reason),
            Event::Ended { lease, due, reason, linger_until, .. } => {
                self.end_lease(lease, *reason, *linger_until)?;
                note_freed_early(&mut self.freed_early, *due, self.now.at);
                Ok(())
            }
            Event::EntitlementBegan { entitlement } => self.begin_right(*entitlement),
            Event::EntitlementEnded { entitlement, reason } => self.end_right(*entitlement, *reason),
            Event::Forgot { until } => {
                let freed = &mut self.freed_by_presence;
                self.remembered.forget(*until, |lease| {
                    freed.remove(&lease);
                });
                self.forgotten_until = *until;
                self.presence_off.forget(self.now.at);
                Ok(())
            }
            Event::Granted { lease, attempt, content, holder, items, ttl_ms, linger_ms, asked_ttl_ms, claim_due, embeds, network } => self
                .add_lease(&NewLease {
                    lease: *lease,
                    attempt: *attempt,
                    content: *content,
                    holder,
                    items,
                    ttl_ms: *ttl_ms,
                    linger_ms: *linger_ms,
                    asked_ttl_ms: *asked_ttl_ms,
                    claim_due: *claim_due,
                    embeds,
                    network: *network,
                    may_go_over: !self.safeguards.grant_within_total,
                }),
            Event::Heard { lease } => {
                let slot = missing(self.leases.find(lease), "lease", lease)?;
                let (epoch, ttl_ms) = (self.epoch_narrow(), self.ttl_of(slot));
                let floor = self.floor_of(lease);
                self.change(slot, |lease, now| {
                    lease.heard = epoch;
                    if lease.phase == Phase::Claimable {
                        lease.phase = Phase::Live;
                    }
                    if lease.ending.is_none() {
                        lease.deadline = now.after_ms(ttl_ms).max(floor);
                    }
                });
                Ok(())
            }
            Event::EntitlementsUnderstood { license, entitlements, left_out, pools } => {
                self.understand(license, entitlements, left_out, pools)
            }
            Event::FormatRaised { words } => self.raise_format(words),
            Event::LicenseChecked { license, problem } => {
                let first = *missing(self.by_hash.get(license), "license", license)?;
                missing(self.licenses.get_mut(&first), "license", first)?.problem.clone_from(problem);
                Ok(())
            }
            Event::LicenseInstalled { license, note, terms, vendor, first_entitlement, pools, actor } => {
                self.install(license, note, terms, *vendor, *first_entitlement, pools, actor, None)?;
                self.supersede(license, *first_entitlement);
                Ok(())
            }
            Event::LicenseRemoved { license, reason, .. } => {
                let first = missing(self.by_hash.remove(license), "license", license)?;
                let installed = missing(self.licenses.get_mut(&first), "license", first)?;
                installed.removed = Some(*reason);
                let vendor = installed.vendor;
                let (id, replaces) = (installed.id.clone(), installed.replaces.clone());
                drop_from(&mut self.by_id, (vendor, id), first);
                for old in replaces {
                    drop_from(&mut self.successors, (vendor, old), first);
                }
                let rights: Vec<_> = self.licenses[&first].rights(first).collect();
                for right in rights {
                    self.schedule(right);
                }
                let oldest = if self.is_kept_taken_off(first) { self.taken_off.push(first) } else { None };
                self.purge(first);
                // It does not come back any more. No fact says so: how many are kept is frozen.
                if let Some(oldest) = oldest {
                    self.returning.remove(&oldest);
                    self.purge(oldest);
                }
                Ok(())
            }
            Event::LineageBegan { lineage, quarantine_until, .. } => {
                if *lineage == self.lineage {
                    return Err(format!("lineage {lineage} began twice"));
                }
                self.begin_epoch(*lineage, self.epoch, self.instance);
                self.quarantine_until = Some(*quarantine_until);
                self.proof = None;
                Ok(())
            }
            Event::LinesResumed { claim_due } => {
                let slots: Vec<_> = self.leases.slots().filter(|slot| self.leases.at(*slot).phase == Phase::Claimable).collect();
                for slot in slots {
                    self.change(slot, |lease, _| {
                        if lease.ending.is_none() {
                            lease.deadline = lease.deadline.max(*claim_due);
                        }
                    });
                }
                let asked = self.now.at;
                for (order, waiter) in &mut self.line {
                    self.waiters_due.remove(&(waiter.due, *order));
                    waiter.due = waiter.due.max(waiter.gives_up.min(asked.after_ms(self.wait_ttl_ms)));
                    self.waiters_due.insert((waiter.due, *order));
                }
                self.all_lines_dirty();
                Ok(())
            }
            Event::LingerEnded { lease, .. } => {
                let slot = missing(self.leases.find(lease), "lease", lease)?;
                if self.leases.at(slot).phase != Phase::Lingering {
                    return Err(format!("the end of linger of {lease}, which is live"));
                }
                self.drop_lease(slot)
            }
            Event::PoolOpened { pool, vendor, feature } => {
                if pool.0 as usize != self.pools.len() {
                    return Err(format!("{pool:?} opened after {} pools", self.pools.len()));
                }
                let owner = missing(self.vendors.get_mut(vendor.0 as usize).and_then(Option::as_mut), "vendor", vendor)?;
                if !owner.features.insert(feature.clone(), *pool) {
                    return Err(format!("a second pool for {feature}"));
                }
                self.pools.push(Some(Pool::new(*vendor, feature.clone())));
                Ok(())
            }
            Event::PresenceAllowed { networks, .. } => {
                self.presence_off.allow(*networks);
                Ok(())
            }
            Event::PresenceRegretted { lease, networks, until } => {
                self.freed_by_presence.remove(lease);
                if let Some(networks) = networks {
                    self.presence_off.put(*networks, *until, self.now.at);
                }
                Ok(())
            }
            Event::Queued { lease, attempt, content, holder, items, ttl_ms, linger_ms, gives_up, embeds, network } => {
                if self.leases.find(lease).is_some() || self.waiting_ids.contains_key(lease) {
                    return Err(format!("a second place for {lease}"));
                }
                let items = items.iter().map(|item| WishItem { pool: item.pool, version: item.version, seats: item.seats }).collect();
                let embeds = self.wishes.key_sets.intern(embeds);
                self.add_waiter(Waiter {
                    lease: *lease,
                    attempt: *attempt,
                    content: *content,
                    holder: holder.clone(),
                    items,
                    ttl_ms: *ttl_ms,
                    linger_ms: *linger_ms,
                    gives_up: *gives_up,
                    heard: self.epoch_narrow(),
                    due: self.now.at.after_ms(self.wait_ttl_ms).min(*gives_up),
                    embeds,
                    network: *network,
                })
            }
            Event::QuarantineLengthened { until } => {
                self.quarantine_until = Some(*until);
                Ok(())
            }
            Event::Recovered { epoch, instance, lineage, quarantine_until, remember_ms, wait_ttl_ms } => {
                if epoch.0 != self.epoch.0 + 1 || u32::try_from(epoch.0).is_err() {
                    return Err(format!("epoch {} follows epoch {}", epoch.0, self.epoch.0));
                }
                (self.remember_ms, self.wait_ttl_ms) = (*remember_ms, *wait_ttl_ms);
                self.recover(*epoch, *instance, *lineage);
                self.quarantine_until = *quarantine_until;
                Ok(())
            }
            Event::Released { lease, cause, linger_until, .. } => {
                let reason = match cause {
                    ReleaseCause::Holder => EndReason::Released,
                    ReleaseCause::Presence => EndReason::Presence,
                };
                self.end_lease(lease, reason, *linger_until)
            }
            Event::ReleasedUnknown { lease, network } => {
                if self.leases.find(lease).is_some() || self.waiting_ids.contains_key(lease) {
                    return Err(format!("{lease} is known"));
                }
                let known = self.remembered.get(lease);
                let network = known.as_ref().map_or(*network, |known| known.network);
                let (attempt, content) = known.map_or((0, None), |known| (known.attempt, known.content));
                let (ended, forget) = (Some(EndReason::Released), self.forget_at());
                self.remember(*lease, Remembered { attempt, content, denial: None, ended, forget, network });
                Ok(())
            }
            Event::ReplacementUndone { license, first_entitlement, entitlements } => {
                self.undo_replacement(license, *first_entitlement, entitlements)
            }
            Event::TtlLowered { lease, ttl_ms, not_before } => self.lower(lease, *ttl_ms, *not_before),
            Event::TtlRaised { lease, ttl_ms } => self.raise(lease, *ttl_ms),
            Event::WordsAccepted { lease, words } => {
                if words.is_empty() {
                    self.accepted.remove(lease);
                } else {
                    self.accepted.insert(*lease, words.clone());
                }
                Ok(())
            }
            Event::VendorKeys { vendor, name, keys } => self.add_keys(*vendor, name, keys),
            Event::PoolsMerged { from, into, pools } => self.take_over_pools(*from, *into, pools),
            Event::VendorsMerged { from, into } => self.merge_vendors(*from, *into),
            Event::WaiterHeard { lease } => {
                let order = *missing(self.waiting_ids.get(lease), "waiter", lease)?;
                let (epoch, asks_by) = (self.epoch_narrow(), self.now.at.after_ms(self.wait_ttl_ms));
                let waiter = missing(self.line.get_mut(&order), "waiter", lease)?;
                self.unheard_waiters -= usize::from(waiter.heard != epoch);
                waiter.heard = epoch;
                self.waiters_due.remove(&(waiter.due, order));
                waiter.due = waiter.gives_up.min(asks_by);
                self.waiters_due.insert((waiter.due, order));
                Ok(())
            }
        }
    }

    /// Epochs are kept in 32 bits; [`Event::Recovered`] checks that they fit.
    pub(crate) fn epoch_narrow(&self) -> u32 {
        u32::try_from(self.epoch.0).unwrap_or(u32::MAX)
    }

    fn forget_at(&self) -> Timestamp {
        ticked(self.now.at.after_ms(self.remember_ms))
    }

    pub(crate) fn remember(&mut self, lease: LeaseId, remembered: Remembered) {
        self.remembered.insert(lease, remembered);
    }

    pub(crate) fn all_lines_dirty(&mut self) {
        let pools: Vec<_> = self.line.values().flat_map(|waiter| waiter.items.iter().map(|item| item.pool)).collect();
        for pool in pools {
            let pool = self.resolve(pool);
            self.dirty.insert(pool);
            self.recheck.insert(pool, 0);
        }
    }

    /// The licenses of a pool changed: all that wait there are looked at again.
    fn licenses_changed(&mut self, pool: PoolId) {
        let pool = self.resolve(pool);
        if self.pool(pool).is_some_and(|pool| !pool.line.is_empty()) {
            self.dirty.insert(pool);
            self.recheck.insert(pool, 0);
        }
    }

    fn line_dirty(&mut self, pool: PoolId) {
        let pool = self.resolve(pool);
        if self.pool(pool).is_some_and(|pool| !pool.line.is_empty()) {
            self.dirty.insert(pool);
        }
    }

    // Leases.

    fn add_lease(&mut self, new: &NewLease<'_>) -> Result<(), String> {
        let id = new.lease;
        if self.leases.find(&id).is_some() {
            return Err(format!("a second grant for {id}"));
        }
        if new.items.is_empty() {
            return Err(format!("a grant of nothing for {id}"));
        }
        for item in new.items {
            let pool = self.resolve(item.pool);
            let mut sum = 0u64;
            for charge in &item.charges {
                let right = missing(self.right(charge.entitlement), "entitlement", charge.entitlement)?;
                if self.resolve(right.pool) != pool || !right.in_force() || charge.seats == 0 {
                    return Err(format!("{:?} cannot be charged for {id}", charge.entitlement));
                }
                if !self.can_verify(new.embeds, right) {
                    return Err(format!("{:?} is signed by no key that the client of {id} embeds", charge.entitlement));
                }
                if !new.may_go_over && right.free() < charge.seats.into() {
                    return Err(format!("{:?} has no {} seats for {id}", charge.entitlement, charge.seats));
                }
                sum += u64::from(charge.seats);
            }
            if sum != u64::from(item.seats) || sum == 0 {
                return Err(format!("charges of {id} add up to {sum}, not {}", item.seats));
            }
            let rank = crate::store::asked_rank(item.version.as_ref());
            missing(self.pool(pool), "pool", pool)?;
            if !new.may_go_over && self.free_for_version(pool, rank) < sum {
                return Err(format!("a grant to {id} would go over what the pool has for its version"));
            }
        }
        self.leave_line(&id);
        self.remembered.remove(&id);
        let epoch = self.epoch_narrow();
        let (phase, deadline) = match new.claim_due {
            Some(due) => (Phase::Claimable, due),
            None => (Phase::Live, self.now.at.after_ms(new.ttl_ms)),
        };
        let wish = self.wish(new.items, new.ttl_ms, new.linger_ms, new.asked_ttl_ms, new.embeds);
        let holder = self.holders.intern(new.holder, new.network);
        let slot = self.put_lease(
            new.items,
            Lease {
                id,
                content: new.content,
                holder,
                charged_to: SPREAD,
                wish,
                granted_at: self.now.at,
                granted_wall_ms: self.now.wall_ms,
                granted_index: UNSEALED,
                deadline,
                counter: 0,
                nonce: 0,
                granted_epoch: epoch,
                heard: if new.claim_due.is_some() { 0 } else { epoch },
                attempt: new.attempt,
                bucket: 0,
                ending: None,
                phase,
                regrant: false,
            },
        )?;
        self.unsealed.push(slot);
        Ok(())
    }

    /// What a lease is for, shared with all that want the same.
    pub(crate) fn wish(
        &mut self,
        items: &[GrantedItem],
        ttl_ms: u64,
        linger_ms: u64,
        asked_ttl_ms: Option<u64>,
        embeds: &VerifierKeys,
    ) -> Arc<Wish> {
        let aliases = &self.aliases;
        let items = items.iter().map(|item| WishItem { pool: item.pool.resolve(aliases), version: item.version, seats: item.seats });
        self.wishes.intern(items, ttl_ms, linger_ms, asked_ttl_ms, embeds)
    }

    /// Puts a lease into the slab and charges it to what the items say.
    pub(crate) fn put_lease(&mut self, items: &[GrantedItem], mut lease: Lease) -> Result<Slot, String> {
        let mut charges: Vec<Vec<Charge>> = Vec::new();
        match items {
            [GrantedItem { charges, .. }] if charges.len() == 1 => lease.charged_to = charges[0].entitlement.0,
            _ => {
                lease.charged_to = SPREAD;
                charges = items.iter().map(|item| item.charges.clone()).collect();
                charges.iter_mut().for_each(|part| part.sort_unstable());
            }
        }
        let (restless, live) = (self.is_restless(&lease), lease.phase != Phase::Lingering);
        let deadline = lease.deadline;
        let wish = Arc::clone(&lease.wish);
        let slot = self.leases.insert(lease, charges);
        self.leases.at_mut(slot).bucket = self.wheel.put(slot, deadline);
        self.restless += usize::from(restless);
        self.live += usize::from(live);
        for (position, item) in items.iter().enumerate() {
            let kind = wish.kind(position);
            let (rank, _) = kind;
            for charge in &item.charges {
                let right = missing(self.right_mut(charge.entitlement), "entitlement", charge.entitlement)?;
                right.charged += u64::from(charge.seats);
                right.lingering += if live { 0 } else { u64::from(charge.seats) };
                right.held.entry(kind).or_default().insert(slot);
            }
            let pool = missing(self.pool_mut(item.pool), "pool", item.pool)?;
            let seats = u64::from(item.seats);
            pool.charged += item.charges.iter().map(|charge| u64::from(charge.seats)).sum::<u64>();
            *pool.asked.entry(rank).or_default() += seats;
            if live {
                pool.used += seats;
            } else {
                pool.lingering += seats;
                pool.lingerers.insert((deadline, slot));
            }
            pool.conserved()?;
        }
        Ok(slot)
    }

    /// A lease's time to live: what it was promised. What its entitlements permit now counts only when a fact has lowered the promise.
    pub(crate) fn ttl_of(&self, slot: Slot) -> u64 {
        let promised = u64::from(self.leases.at(slot).wish.ttl_ms);
        if self.safeguards.promised_ttl_counts { promised } else { self.permitted_ttl(slot).min(promised) }
    }

    /// The longest time to live that the vendor permits for what a lease is charged to by now.
    pub(crate) fn permitted_ttl(&self, slot: Slot) -> u64 {
        self.ttl_by_charges(slot).0
    }

    /// What the vendor permits at most for what a lease is charged to by now, and what the lease would have if it were granted so now.
    pub(crate) fn ttl_by_charges(&self, slot: Slot) -> (u64, u64) {
        let (mut most, mut usual) = (self.limits.ttl_ms_max, None);
        self.leases.each_charge(slot, |_, charge| {
            if let Some(right) = self.right(charge.entitlement) {
                most = most.min(right.ttl_max_ms);
                usual = [usual, right.ttl_ms].into_iter().flatten().min();
            }
        });
        let asked = self.leases.at(slot).wish.asked_ttl_ms.map(u64::from);
        let wanted = asked.or(usual).unwrap_or(crate::limits::TTL_MS_DEFAULT);
        let most = most.max(crate::limits::TTL_MS_MIN);
        (most, wanted.min(most).max(crate::limits::TTL_MS_MIN))
    }

    /// Nothing of this lease ends before.
    pub(crate) fn floor_of(&self, lease: &LeaseId) -> Timestamp {
        self.floors.get(lease).copied().unwrap_or_default()
    }

    fn lower(&mut self, lease: &LeaseId, ttl_ms: u64, not_before: Timestamp) -> Result<(), String> {
        let slot = missing(self.leases.find(lease), "lease", lease)?;
        let found = self.leases.at(slot);
        if found.phase != Phase::Live || ttl_ms >= u64::from(found.wish.ttl_ms) {
            return Err(format!("the time to live of {lease} is not lowered by {ttl_ms} ms"));
        }
        self.promise(slot, ttl_ms);
        if not_before > Timestamp(0) {
            let floor = self.floors.entry(*lease).or_default();
            *floor = (*floor).max(not_before);
        }
        let floor = self.floor_of(lease);
        self.change(slot, |lease, now| {
            if lease.ending.is_none() {
                lease.deadline = now.after_ms(ttl_ms).max(floor);
            }
        });
        Ok(())
    }

    fn raise(&mut self, lease: &LeaseId, ttl_ms: u64) -> Result<(), String> {
        let slot = missing(self.leases.find(lease), "lease", lease)?;
        let found = self.leases.at(slot);
        if found.phase != Phase::Live || ttl_ms <= u64::from(found.wish.ttl_ms) || ttl_ms > crate::limits::TTL_MS_MAX {
            return Err(format!("the time to live of {lease} is not raised by {ttl_ms} ms"));
        }
        self.promise(slot, ttl_ms);
        self.change(slot, |lease, now| {
            if lease.ending.is_none() {
                lease.deadline = lease.deadline.max(now.after_ms(ttl_ms));
            }
        });
        Ok(())
    }

    /// From now on a lease has this time to live.
    fn promise(&mut self, slot: Slot, ttl_ms: u64) {
        let wish = Arc::clone(&self.leases.at(slot).wish);
        let asked_ttl_ms = wish.asked_ttl_ms.map(u64::from);
        let changed = self.wishes.intern(wish.items.iter().copied(), ttl_ms, wish.linger_ms.into(), asked_ttl_ms, &wish.embeds.keys);
        drop(wish);
        let before = std::mem::replace(&mut self.leases.at_mut(slot).wish, changed);
        self.wishes.release(before);
    }

    pub(crate) fn is_restless(&self, lease: &Lease) -> bool {
        lease.phase != Phase::Live || lease.ending.is_some() || lease.heard != self.epoch_narrow()
    }

    /// Changes a lease, keeping the count of restless ones and the wheel right.
    pub(crate) fn change(&mut self, slot: Slot, f: impl FnOnce(&mut Lease, Timestamp)) {
        let now = self.now.at;
        let before = self.is_restless(self.leases.at(slot));
        let lease = self.leases.at_mut(slot);
        let deadline = lease.deadline;
        f(lease, now);
        // The wheel finds a later deadline by itself, but not of a lease that it has just handed out; an earlier one must be put in.
        if lease.deadline < deadline || lease.deadline != deadline && lease.bucket == READY {
            lease.bucket = self.wheel.put(slot, lease.deadline);
        }
        let after = self.is_restless(self.leases.at(slot));
        self.restless = self.restless + usize::from(after) - usize::from(before);
    }

    fn move_charge(&mut self, lease: LeaseId, item: usize, from: EntitlementId, to: EntitlementId, seats: u32) -> Result<(), String> {
        let slot = missing(self.leases.find(&lease), "lease", lease)?;
        let wished = *missing(self.leases.at(slot).wish.items.get(item), "part", item)?;
        let target = missing(self.right(to), "entitlement", to)?;
        let accepted = self.accepted.get(&lease);
        if self.safeguards.words_are_accepted && !target.needs.iter().all(|word| accepted.is_some_and(|words| words.contains(word))) {
            return Err(format!("{to:?} needs words that the client of {lease} did not accept"));
        }
        if !self.can_verify(&self.leases.at(slot).wish.embeds.keys, target) {
            return Err(format!("{to:?} is signed by no key that the client of {lease} embeds"));
        }
        if !target.in_force() || self.resolve(target.pool) != self.resolve(wished.pool) || target.rank() < wished.rank() {
            return Err(format!("{to:?} cannot take over a charge of {lease}"));
        }
        self.shift_charge(slot, item, from, to, seats)
    }

    /// Moves a charge without asking whether it may be there: whoever calls it knows.
    pub(crate) fn shift_charge(
        &mut self,
        slot: Slot,
        item: usize,
        from: EntitlementId,
        to: EntitlementId,
        seats: u32,
    ) -> Result<(), String> {
        let lease = self.leases.at(slot);
        missing(lease.wish.items.get(item), "part", item)?;
        let (lease, kind, lingers) = (lease.id, lease.wish.kind(item), lease.phase == Phase::Lingering);
        let lingering = if lingers { u64::from(seats) } else { 0 };
        if !self.leases.move_charge(slot, item, from, to, seats) {
            return Err(format!("{lease} has no {seats} seats charged to {from:?}"));
        }
        let gone = !self.leases.charges(slot, item).iter().any(|charge| charge.entitlement == from);
        self.leases.at_mut(slot).regrant = true;
        let source = missing(self.right_mut(from), "entitlement", from)?;
        source.charged -= u64::from(seats);
        source.lingering -= lingering;
        if gone {
            source.let_go(kind, slot);
        }
        let target = missing(self.right_mut(to), "entitlement", to)?;
        target.charged += u64::from(seats);
        target.lingering += lingering;
        target.held.entry(kind).or_default().insert(slot);
        self.settled(from);
        Ok(())
    }

    /// An entitlement has lost charges: nobody may be stranded on it any more, and its license may be kept for nobody.
    pub(crate) fn settled(&mut self, right: EntitlementId) {
        let Some(found) = self.right(right) else { return };
        let (pool, license) = (self.resolve(found.pool), found.license);
        let (nobody, nothing) = (found.held.is_empty(), found.charged == 0);
        if nobody {
            self.stranded.remove(&(pool, right));
        }
        if nothing {
            self.purge(license);
        }
    }

    fn mark_ending(&mut self, lease: &LeaseId, due: Timestamp, reason: EndReason) -> Result<(), String> {
        let slot = missing(self.leases.find(lease), "lease", lease)?;
        let found = self.leases.at(slot);
        if found.phase == Phase::Lingering || found.ending.is_some() {
            return Err(format!("{lease} is ending already"));
        }
        self.change(slot, |lease, _| {
            lease.ending = Some(reason);
            lease.deadline = due;
        });
        self.unstrand(slot);
        Ok(())
    }

    /// An ending lease stays charged where it is, but on an ended entitlement it waits for nothing any more.
    pub(crate) fn unstrand(&mut self, slot: Slot) {
        let mut ended = Vec::new();
        self.leases.each_charge(slot, |item, charge| {
            if self.right(charge.entitlement).is_some_and(|right| !right.in_force()) {
                ended.push((item, charge.entitlement));
            }
        });
        for (item, right) in ended {
            let kind = self.leases.at(slot).wish.kind(item);
            if let Some(found) = self.right_mut(right) {
                found.let_go(kind, slot);
            }
            self.settled(right);
        }
    }

    fn end_lease(&mut self, lease: &LeaseId, reason: EndReason, linger_until: Option<Timestamp>) -> Result<(), String> {
        let slot = missing(self.leases.find(lease), "lease", lease)?;
        let found = self.leases.at(slot);
        if found.phase == Phase::Lingering {
            return Err(format!("{lease} has ended already"));
        }
        let (attempt, content, deadline) = (found.attempt, Some(mark(found.content)), found.deadline);
        let network = found.holder.network();
        if reason == EndReason::Presence {
            self.freed_by_presence.insert(*lease, FreedByPresence { network, right_until: deadline });
        }
        self.presence.remove(lease);
        self.no_presence_wait(lease);
        match linger_until {
            None => self.drop_lease(slot)?,
            Some(until) => {
                self.forget_adopted(lease);
                self.floors.remove(lease);
                self.linger(slot, until)?;
            }
        }
        if self.safeguards.remember_ended {
            let forget = self.forget_at().max(ticked(linger_until.unwrap_or_default()));
            self.remember(*lease, Remembered { attempt, content, denial: None, ended: Some(reason), forget, network });
        }
        Ok(())
    }

    fn linger(&mut self, slot: Slot, until: Timestamp) -> Result<(), String> {
        self.change(slot, |lease, _| {
            lease.phase = Phase::Lingering;
            lease.ending = None;
            lease.deadline = until;
        });
        let nobody = self.holders.intern(&Holder::default(), None);
        let wish = Arc::clone(&self.leases.at(slot).wish);
        let bare = self.wishes.intern(wish.items.iter().copied(), 0, 0, None, &wish.embeds.keys);
        drop(wish);
        let lease = self.leases.at_mut(slot);
        lease.content = ContentDigest([0; 16]);
        let (holder, wish) = (std::mem::replace(&mut lease.holder, nobody), std::mem::replace(&mut lease.wish, bare));
        self.holders.release(holder);
        self.wishes.release(wish);
        self.live -= 1;
        let mut charges = Vec::new();
        self.leases.each_charge(slot, |_, charge| charges.push(charge));
        for charge in charges {
            missing(self.right_mut(charge.entitlement), "entitlement", charge.entitlement)?.lingering += u64::from(charge.seats);
        }
        let items: Vec<_> = self.leases.at(slot).wish.items.to_vec();
        for item in items {
            let pool = missing(self.pool_mut(item.pool), "pool", item.pool)?;
            pool.used -= u64::from(item.seats);
            pool.lingering += u64::from(item.seats);
            pool.lingerers.insert((until, slot));
            pool.conserved()?;
        }
        Ok(())
    }

    /// Takes a lease out and gives its seats back.
    fn drop_lease(&mut self, slot: Slot) -> Result<(), String> {
        let mut charges = Vec::new();
        self.leases.each_charge(slot, |item, charge| charges.push((item, charge)));
        let restless = self.is_restless(self.leases.at(slot));
        let lease = missing(self.leases.remove(slot), "slot", slot)?;
        self.accepted.remove(&lease.id);
        self.restless -= usize::from(restless);
        let live = lease.phase != Phase::Lingering;
        self.live -= usize::from(live);
        for (item, charge) in &charges {
            let wished = lease.wish.items[*item];
            let right = missing(self.right_mut(charge.entitlement), "entitlement", charge.entitlement)?;
            right.charged -= u64::from(charge.seats);
            right.lingering -= if live { 0 } else { u64::from(charge.seats) };
            right.let_go(lease.wish.kind(*item), slot);
            let pool = missing(self.pool_mut(wished.pool), "pool", wished.pool)?;
            pool.charged -= u64::from(charge.seats);
        }
        for item in &lease.wish.items {
            let pool = missing(self.pool_mut(item.pool), "pool", item.pool)?;
            if live {
                pool.used -= u64::from(item.seats);
            } else {
                pool.lingering -= u64::from(item.seats);
                pool.lingerers.remove(&(lease.deadline, slot));
            }
            if let Some(asked) = pool.asked.get_mut(&item.rank()) {
                *asked = asked.saturating_sub(item.seats.into());
                if *asked == 0 {
                    pool.asked.remove(&item.rank());
                }
            }
            pool.conserved()?;
            self.line_dirty(item.pool);
        }
        for (_, charge) in charges {
            self.settled(charge.entitlement);
        }
        let Lease { id, holder, wish, .. } = lease;
        self.forget_adopted(&id);
        self.floors.remove(&id);
        self.holders.release(holder);
        self.wishes.release(wish);
        Ok(())
    }

    fn recover(&mut self, epoch: Epoch, instance: Instance, lineage: Lineage) {
        let before = self.epoch_narrow();
        self.begin_epoch(lineage, epoch, instance);
        self.wheel.clear();
        self.presence.clear();
        self.presence_waits.clear();
        self.presence_waits_due.clear();
        self.turned_away = TurnedAway::default();
        self.freed_by_presence.clear();
        self.restless = 0;
        let slots: Vec<_> = self.leases.slots().collect();
        for slot in slots {
            let extend = self.safeguards.extend_on_recovery;
            let now = self.now.at;
            let ttl_ms = self.ttl_of(slot);
            let floor = self.floor_of(&self.leases.at(slot).id);
            let lease = self.leases.at_mut(slot);
            lease.counter = 0;
            lease.nonce = 0;
            if lease.phase == Phase::Live && lease.ending.is_none() && lease.heard == before {
                let from = if extend { now } else { lease.granted_at };
                lease.deadline = from.after_ms(ttl_ms).max(floor);
            }
            lease.bucket = self.wheel.put(slot, lease.deadline);
            self.restless += usize::from(self.is_restless(self.leases.at(slot)));
        }
        self.waiters_due.clear();
        let asked = self.now.at;
        for (order, waiter) in &mut self.line {
            if waiter.heard == before || !self.safeguards.waiter_heard {
                waiter.due = waiter.gives_up.min(asked.after_ms(self.wait_ttl_ms));
            }
            self.waiters_due.insert((waiter.due, *order));
        }
        self.unheard_waiters = self.line.len();
        self.all_lines_dirty();
    }

    /// Puts all leases where their deadlines say, as they count now.
    pub(crate) fn rebuild_wheel(&mut self) {
        self.wheel.clear();
        let slots: Vec<_> = self.leases.slots().collect();
        for slot in slots {
            let bucket = self.wheel.put(slot, self.leases.at(slot).deadline);
            self.leases.at_mut(slot).bucket = bucket;
        }
    }

    // The line.

    pub(crate) fn add_waiter(&mut self, waiter: Waiter) -> Result<(), String> {
        let order = self.next_order;
        self.next_order += 1;
        self.remembered.remove(&waiter.lease);
        for item in &waiter.items {
            let pool = missing(self.pool_mut(item.pool), "pool", item.pool)?;
            pool.stand_in_line(order, &waiter.embeds);
            pool.crowd.get_or_insert_default().enter(waiter.network);
        }
        self.waiting_crowd.enter(waiter.network);
        self.unheard_waiters += usize::from(waiter.heard != self.epoch_narrow());
        self.waiters_due.insert((waiter.due, order));
        self.waiting_ids.insert(waiter.lease, order);
        self.line.insert(order, waiter);
        Ok(())
    }

    /// Takes an id out of the line; who stood behind it is looked at again.
    fn leave_line(&mut self, lease: &LeaseId) -> Option<Waiter> {
        let order = self.waiting_ids.remove(lease)?;
        let waiter = self.line.remove(&order)?;
        self.waiters_due.remove(&(waiter.due, order));
        self.waiting_crowd.leave_network(waiter.network);
        self.unheard_waiters -= usize::from(waiter.heard != self.epoch_narrow());
        for item in &waiter.items {
            if let Some(pool) = self.pool_mut(item.pool) {
                if pool.leave_line(order, &waiter.embeds)
                    && let Some(crowd) = &mut pool.crowd
                {
                    crowd.leave_network(waiter.network);
                }
                if pool.line.is_empty() {
                    pool.crowd = None;
                }
            }
            self.line_dirty(item.pool);
        }
        self.wishes.key_sets.release(&waiter.embeds);
        Some(waiter)
    }

    fn dequeue(&mut self, lease: &LeaseId, denial: Option<Box<Denial>>) -> Result<(), String> {
        let waiter = missing(self.leave_line(lease), "waiter", lease)?;
        self.accepted.remove(lease);
        let ended = denial.is_none().then_some(EndReason::Released);
        let (attempt, content, forget, network) = (waiter.attempt, Some(mark(waiter.content)), self.forget_at(), waiter.network);
        self.remember(*lease, Remembered { attempt, content, denial, ended, forget, network });
        Ok(())
    }

    // Licenses.

    /// Kinds of records with these words may follow.
    pub(crate) fn raise_format(&mut self, words: &Words) -> Result<(), String> {
        let unknown: Vec<_> = words.iter().filter(|word| !Vocabulary::OURS.knows(word)).map(Word::as_str).collect();
        if !unknown.is_empty() {
            return Err(format!("it needs the words {}, which this version does not know", unknown.join(", ")));
        }
        self.format = Words::new(self.format.iter().chain(words.iter()).cloned()).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Puts an installed license in; its entitlements wait for their beginning.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn install(
        &mut self,
        license: &LicenseHash,
        note: &[u8],
        terms: &Arc<InstalledTerms>,
        vendor: VendorId,
        first: EntitlementId,
        pools: &[PoolId],
        actor: &Actor,
        removed: Option<RightEnd>,
    ) -> Result<(), String> {
        let in_text = terms.entitlements_in_text();
        let signers = VerifierKeys::of(&terms.keys);
        let in_order = terms.entitlements.windows(2).all(|pair| pair[0].position < pair[1].position);
        let in_range = terms.entitlements.last().is_none_or(|last| usize::from(last.position) < in_text);
        if !in_order || !in_range || first.0 as usize != self.rights.len() {
            return Err(format!("license {license} is not what the entry says"));
        }
        missing(self.vendor(vendor), "vendor", vendor)?;
        if removed.is_none() && self.by_hash.contains_key(license) {
            return Err(format!("license {license} is installed already"));
        }
        // One that is left out keeps its number, for the day on which it is understood.
        self.rights.resize_with(self.rights.len() + in_text, || None);
        let installed = InstalledLicense {
            hash: *license,
            id: terms.license.clone(),
            vendor,
            note: note.into(),
            terms: Arc::clone(terms),
            problem: None,
            replaces: terms.replaces.as_slice().into(),
            entitlements: u32::try_from(in_text).unwrap_or(u32::MAX),
            actor: actor.clone(),
            removed,
        };
        let rights: Vec<_> = installed.rights(first).collect();
        self.licenses.insert(first, installed);
        if removed.is_none() {
            self.index_license(first);
        }
        self.put_rights(license, first, vendor, &signers, &terms.entitlements, pools)?;
        for right in rights {
            self.schedule(right);
        }
        Ok(())
    }

    /// What was taken off comes back if the clock that brought its successor is taken back, and so is kept. So is, for the sake of that, a successor
    /// that was itself removed by hand: what began in it, and by which date, says whether the replacement stands.
    fn is_kept_taken_off(&self, first: EntitlementId) -> bool {
        let Some(license) = self.licenses.get(&first) else { return false };
        match license.removed {
            None | Some(RightEnd::Expired) => false,
            Some(RightEnd::Replaced) => true,
            Some(RightEnd::Removed) => {
                let has_begun = || license.rights(first).any(|right| self.right(right).is_some_and(|right| right.began.is_some()));
                self.safeguards.removed_successors_are_known && !license.replaces.is_empty() && has_begun()
            }
        }
    }

    /// A text is installed again: what becomes of it is the new copy's, and a copy that was replaced before never comes back.
    fn supersede(&mut self, license: &LicenseHash, first: EntitlementId) {
        let copies = self.taken_off.iter().filter(|copy| *copy != first);
        let copies: Vec<_> = copies.filter(|copy| self.licenses.get(copy).is_some_and(|found| found.hash == *license)).collect();
        for copy in copies {
            if let Some(found) = self.licenses.get_mut(&copy) {
                found.removed = Some(RightEnd::Removed);
            }
            self.returning.remove(&copy);
            if !self.is_kept_taken_off(copy) {
                self.taken_off.remove(copy);
                self.purge(copy);
            }
        }
    }

    /// Puts a license where it is found by its text, by its id, and by what it replaces.
    fn index_license(&mut self, first: EntitlementId) {
        let Some(license) = self.licenses.get(&first) else { return };
        self.by_hash.insert(license.hash, first);
        self.by_id.entry((license.vendor, license.id.clone())).or_default().insert(first);
        for old in &license.replaces {
            self.successors.entry((license.vendor, old.clone())).or_default().insert(first);
        }
    }

    /// What had replaced these entitlements has not begun after all.
    fn undo_replacement(&mut self, hash: &LicenseHash, first: EntitlementId, entitlements: &[EntitlementId]) -> Result<(), String> {
        let license = missing(self.licenses.get_mut(&first).filter(|license| license.hash == *hash), "license", hash)?;
        let all: Vec<_> = license.rights(first).collect();
        match license.removed {
            None => {}
            Some(RightEnd::Replaced) if !self.by_hash.contains_key(hash) && self.taken_off.contains(first) => {
                license.removed = None;
                self.taken_off.remove(first);
                self.index_license(first);
            }
            Some(_) => return Err(format!("license {hash} does not come back")),
        }
        for right in entitlements {
            let found = missing(self.right_mut(*right).filter(|right| right.license == first), "entitlement", right)?;
            if !matches!(found.ended, Some(RightEnd::Expired | RightEnd::Replaced)) {
                return Err(format!("{right:?} was not replaced"));
            }
            (found.began, found.ended) = (None, None);
        }
        all.into_iter().for_each(|right| self.schedule(right));
        self.returning.remove(&first);
        Ok(())
    }

    /// Finds the licenses whose replacement the wall clock, taken back, has not brought after all.
    pub(crate) fn note_returning(&mut self) {
        let mut by_id: BTreeMap<(VendorId, &LicenseId), Vec<EntitlementId>> = BTreeMap::new();
        for (first, license) in &self.licenses {
            for old in &license.replaces {
                by_id.entry((license.vendor, old)).or_default().push(*first);
            }
        }
        let returns = |(first, license): &(&EntitlementId, &InstalledLicense)| {
            let successors = by_id.get(&(license.vendor, &license.id));
            successors.is_some_and(|successors| !self.returned(**first, successors).is_empty())
        };
        self.returning = self.licenses.iter().filter(returns).map(|(first, _)| *first).collect();
    }

    /// Puts entitlements of an installed license into their pools.
    fn put_rights(
        &mut self,
        license: &LicenseHash,
        first: EntitlementId,
        vendor: VendorId,
        signers: &VerifierKeys,
        entitlements: &[InstalledEntitlement],
        pools: &[PoolId],
    ) -> Result<(), String> {
        if entitlements.len() != pools.len() {
            return Err(format!("license {license} has {} entitlements and {} pools", entitlements.len(), pools.len()));
        }
        for (entitlement, pool) in entitlements.iter().zip(pools) {
            let id = EntitlementId(first.0 + u32::from(entitlement.position));
            let pool = self.resolve(*pool);
            let found = missing(self.pool(pool), "pool", pool)?;
            let owner = self.merging.get(&found.vendor).copied().unwrap_or(found.vendor);
            if owner != vendor || found.feature != entitlement.feature {
                return Err(format!("{pool:?} is not of {}", entitlement.feature));
            }
            let right = Right {
                license: first,
                hash: *license,
                signers: signers.clone(),
                position: entitlement.position,
                pool,
                seats: entitlement.seats.into(),
                version: entitlement.version,
                starts: entitlement.starts,
                expires: entitlement.expires,
                began: None,
                ended: None,
                ttl_ms: entitlement.ttl_ms,
                ttl_max_ms: entitlement.ttl_max_ms,
                linger_ms: entitlement.linger_ms,
                grace_ms: entitlement.grace_ms,
                presence: entitlement.presence,
                vendor_data: entitlement.vendor_data.as_deref().map(Into::into),
                needs: entitlement.needs.clone(),
                charged: 0,
                lingering: 0,
                held: BTreeMap::new(),
            };
            let key = |right: &Right, id: EntitlementId| (right.expires.unwrap_or(i64::MAX), right.rank(), id);
            let place = key(&right, id);
            let at = found.rights.partition_point(|other| self.right(*other).is_some_and(|right| key(right, *other) < place));
            self.ttl_max_seen_ms = self.ttl_max_seen_ms.max(right.ttl_max_ms);
            match self.rights.get_mut(id.0 as usize) {
                Some(slot @ None) => *slot = Some(right),
                _ => return Err(format!("{id:?} of license {license} is there already, or is none of its own")),
            }
            if let Some(pool) = self.pool_mut(pool) {
                pool.rights.insert(at, id);
            }
        }
        Ok(())
    }

    /// What was left out of an installed license becomes a right.
    fn understand(
        &mut self,
        license: &LicenseHash,
        entitlements: &[InstalledEntitlement],
        left_out: &[InstalledLeftOut],
        pools: &[PoolId],
    ) -> Result<(), String> {
        let first = *missing(self.by_hash.get(license), "license", license)?;
        let installed = missing(self.licenses.get_mut(&first), "license", first)?;
        let terms = Arc::make_mut(&mut installed.terms);
        let before = terms.entitlements_in_text();
        terms.entitlements.extend(entitlements.iter().cloned());
        terms.entitlements.sort_by_key(|entitlement| entitlement.position);
        terms.left_out = left_out.to_vec();
        if terms.entitlements_in_text() != before {
            return Err(format!("license {license} does not have so many entitlements"));
        }
        let (vendor, signers) = (installed.vendor, VerifierKeys::of(&terms.keys));
        self.put_rights(license, first, vendor, &signers, entitlements, pools)?;
        for entitlement in entitlements {
            self.schedule(EntitlementId(first.0 + u32::from(entitlement.position)));
        }
        // What is understood now may be replaced already, and a license that is wholly understood replaces more than it did before.
        self.note_successors(first);
        self.note_replacing_if_begun(first);
        Ok(())
    }

    fn begin_right(&mut self, right: EntitlementId) -> Result<(), String> {
        let wall_ms = self.now.wall_ms;
        let found = missing(self.right_mut(right), "entitlement", right)?;
        if found.in_force() || matches!(found.ended, Some(RightEnd::Removed | RightEnd::Replaced)) {
            return Err(format!("{right:?} cannot begin"));
        }
        found.began = Some(wall_ms);
        found.ended = None;
        let (pool, seats, license) = (found.pool, found.seats, found.license);
        let pool = self.resolve(pool);
        self.stranded.remove(&(pool, right));
        let target = missing(self.pool_mut(pool), "pool", pool)?;
        target.total += seats;
        target.conserved()?;
        self.schedule(right);
        self.note_replacing(license);
        self.note_successors(license);
        self.licenses_changed(pool);
        Ok(())
    }

    fn end_right(&mut self, right: EntitlementId, reason: RightEnd) -> Result<(), String> {
        let found = missing(self.right_mut(right), "entitlement", right)?;
        if matches!(found.ended, Some(RightEnd::Removed | RightEnd::Replaced)) {
            return Err(format!("{right:?} has ended already"));
        }
        let counted = found.in_force();
        found.ended = Some(reason);
        let (pool, seats, held) = (found.pool, found.seats, !found.held.is_empty());
        let pool = self.resolve(pool);
        let target = missing(self.pool_mut(pool), "pool", pool)?;
        if counted {
            target.total -= seats;
        }
        target.conserved()?;
        if held {
            self.stranded.insert((pool, right));
        }
        self.schedule(right);
        self.licenses_changed(pool);
        Ok(())
    }

    /// Puts the entitlement's next change by date where the sweep finds it.
    pub(crate) fn schedule(&mut self, right: EntitlementId) {
        let wall_ms = self.now.wall_ms;
        let Some(found) = self.right(right) else { return };
        let removed = self.licenses.get(&found.license).is_none_or(|license| license.removed.is_some());
        let (begins, ends) = if removed { (None, None) } else { (found.begins_at(wall_ms), found.ends_at(wall_ms)) };
        self.unschedule(found.starts, found.expires, right);
        self.begins.extend(begins.map(|due| (due, right)));
        self.ends.extend(ends.map(|due| (due, right)));
    }

    /// An entitlement of these dates is not due any more: it can only stand at its beginning, its end, or "now".
    fn unschedule(&mut self, starts: Option<i64>, expires: Option<i64>, right: EntitlementId) {
        for due in [Some(i64::MIN), starts, expires].into_iter().flatten() {
            self.begins.remove(&(due, right));
            self.ends.remove(&(due, right));
        }
    }

    /// A license that has a right in force takes the place of what it replaces.
    pub(crate) fn note_replacing(&mut self, first: EntitlementId) {
        let Some(license) = self.licenses.get(&first) else { return };
        if license.removed.is_none() && !license.replaces.is_empty() {
            self.replacing.insert(first);
        }
    }

    fn reschedule_dates(&mut self) {
        for right in (0..self.rights.len() as u32).map(EntitlementId) {
            self.schedule(right);
        }
    }

    /// Forgets a removed license that nobody names any more.
    fn purge(&mut self, first: EntitlementId) {
        let Some(license) = self.licenses.get(&first) else { return };
        let rights: Vec<_> = license.rights(first).collect();
        if license.removed.is_none() || rights.iter().any(|right| self.right(*right).is_some_and(|right| right.charged > 0)) {
            return;
        }
        if self.taken_off.contains(first) {
            return;
        }
        self.returning.remove(&first);
        self.licenses.remove(&first);
        self.replacing.remove(&first);
        for right in rights {
            let Some(found) = self.rights.get_mut(right.0 as usize).and_then(Option::take) else { continue };
            self.unschedule(found.starts, found.expires, right);
            let pool = self.resolve(found.pool);
            self.stranded.remove(&(pool, right));
            if let Some(pool) = self.pool_mut(pool) {
                pool.rights.retain(|other| *other != right);
            }
        }
    }

    // Vendors.

    pub(crate) fn add_keys(&mut self, vendor: VendorId, name: &str, keys: &[[u8; 32]]) -> Result<(), String> {
        if let Some(owner) = keys.iter().find_map(|key| self.keys.get(key).filter(|owner| **owner != vendor)) {
            return Err(format!("a key of {vendor:?} belongs to {owner:?}"));
        }
        if vendor.0 as usize == self.vendors.len() {
            self.vendors.push(Some(Vendor { name: name.to_owned(), keys: Vec::new(), features: Features::default() }));
        }
        let found = missing(self.vendors.get_mut(vendor.0 as usize).and_then(Option::as_mut), "vendor", vendor)?;
        for key in keys {
            if !found.keys.contains(key) {
                found.keys.push(*key);
            }
            self.keys.insert(*key, vendor);
        }
        Ok(())
    }

    fn merge_vendors(&mut self, from: VendorId, into: VendorId) -> Result<(), String> {
        if from == into || self.vendor(into).is_none() || self.merging.contains_key(&from) || self.merging.contains_key(&into) {
            return Err(format!("{from:?} cannot become {into:?}"));
        }
        let gone = missing(self.vendors.get_mut(from.0 as usize).and_then(Option::as_mut), "vendor", from)?;
        let keys = std::mem::take(&mut gone.keys);
        for key in &keys {
            self.keys.insert(*key, into);
        }
        let owner = missing(self.vendors.get_mut(into.0 as usize).and_then(Option::as_mut), "vendor", into)?;
        for key in keys {
            if !owner.keys.contains(&key) {
                owner.keys.push(key);
            }
        }
        // Who was on the way to `from` goes on to `into`.
        self.merging.values_mut().filter(|target| **target == from).for_each(|target| *target = into);
        self.merging.insert(from, into);
        self.end_merge(from);
        let moved: Vec<_> = self.licenses.iter().filter(|(_, license)| license.vendor == from).map(|(first, _)| *first).collect();
        for first in moved {
            if let Some(license) = self.licenses.get_mut(&first) {
                license.vendor = into;
                let (id, replaces) = (license.id.clone(), license.replaces.clone());
                if let Some(firsts) = self.by_id.remove(&(from, id.clone())) {
                    self.by_id.entry((into, id)).or_default().extend(firsts);
                }
                for old in replaces {
                    if let Some(firsts) = self.successors.remove(&(from, old.clone())) {
                        self.successors.entry((into, old)).or_default().extend(firsts);
                    }
                }
            }
        }
        // Licenses of either vendor may replace those of the other from now on.
        let all = self.licenses.iter().filter(|(_, license)| license.vendor == into && !license.replaces.is_empty());
        let firsts: Vec<_> = all.map(|(first, _)| *first).collect();
        firsts.into_iter().for_each(|first| self.note_replacing_if_begun(first));
        Ok(())
    }

    /// A license that may replace more than it did before takes the place of that, if a right of its own is in force.
    pub(crate) fn note_replacing_if_begun(&mut self, first: EntitlementId) {
        let begun = self.licenses.get(&first).is_some_and(|license| license.rights(first).any(|right| self.is_in_force(right)));
        if begun {
            self.note_replacing(first);
        }
    }

    /// A license has rights that it did not have in force before: those that replace it, and have begun, take their place too.
    fn note_successors(&mut self, first: EntitlementId) {
        let Some(license) = self.licenses.get(&first) else { return };
        let Some(successors) = self.successors.get(&(license.vendor, license.id.clone())) else { return };
        let successors: Vec<_> = successors.iter().copied().filter(|successor| *successor != first).collect();
        successors.into_iter().for_each(|successor| self.note_replacing_if_begun(successor));
    }

    pub(crate) fn is_in_force(&self, right: EntitlementId) -> bool {
        self.right(right).is_some_and(Right::in_force)
    }

    /// A merged vendor whose pools have all followed is gone.
    fn end_merge(&mut self, from: VendorId) {
        if self.vendor(from).is_some_and(|vendor| vendor.features.is_empty()) {
            self.vendors[from.0 as usize] = None;
            self.merging.remove(&from);
        }
    }

    fn take_over_pools(&mut self, from: VendorId, into: VendorId, pools: &[(PoolId, PoolId)]) -> Result<(), String> {
        if self.merging.get(&from) != Some(&into) {
            return Err(format!("{from:?} is not becoming {into:?}"));
        }
        for (pool, target) in pools {
            let feature = missing(self.pools.get(pool.0 as usize).and_then(Option::as_ref), "pool", pool)?.feature.clone();
            let gone = missing(self.vendors.get_mut(from.0 as usize).and_then(Option::as_mut), "vendor", from)?;
            if !gone.features.remove(&feature) {
                return Err(format!("{pool:?} is none of {from:?}"));
            }
            if pool == target {
                missing(self.pool_mut(*pool), "pool", pool)?.vendor = into;
                let owner = missing(self.vendors.get_mut(into.0 as usize).and_then(Option::as_mut), "vendor", into)?;
                if !owner.features.insert(feature.clone(), *pool) {
                    return Err(format!("two pools for {feature}"));
                }
            } else {
                if missing(self.pool(*target), "pool", target)?.feature != feature {
                    return Err(format!("{target:?} is not of {feature}"));
                }
                self.merge_pools(*pool, *target)?;
            }
        }
        self.end_merge(from);
        Ok(())
    }

    fn merge_pools(&mut self, from: PoolId, into: PoolId) -> Result<(), String> {
        let gone = missing(self.pools.get_mut(from.0 as usize).and_then(Option::take), "pool", from)?;
        self.aliases.insert(from, into);
        for right in &gone.rights {
            if let Some(right) = self.right_mut(*right) {
                right.pool = into;
            }
            if self.stranded.remove(&(from, *right)) {
                self.stranded.insert((into, *right));
            }
        }
        let target = missing(self.pool(into), "pool", into)?;
        let mut rights: Vec<_> = target.rights.iter().chain(&gone.rights).copied().collect();
        rights.sort_by_key(|id| self.right(*id).map(|right| (right.expires.unwrap_or(i64::MAX), right.rank(), *id)));
        let target = missing(self.pool_mut(into), "pool", into)?;
        target.rights = rights;
        target.total += gone.total;
        target.used += gone.used;
        target.lingering += gone.lingering;
        target.charged += gone.charged;
        for (rank, seats) in gone.asked {
            *target.asked.entry(rank).or_default() += seats;
        }
        let here = std::mem::take(&mut target.line);
        target.lingerers.extend(gone.lingerers);
        for (id, (embeds, orders)) in gone.line_by_keys {
            target.line_by_keys.entry(id).or_insert_with(|| (embeds, BTreeSet::new())).1.extend(orders);
        }
        target.conserved()?;
        let mut line = here;
        line.extend(gone.line.iter());
        let crowd = (!line.is_empty()).then(|| {
            let mut crowd = Box::<Crowd>::default();
            for waiter in line.iter().filter_map(|order| self.line.get(&order)) {
                crowd.enter(waiter.network);
            }
            crowd
        });
        let target = missing(self.pool_mut(into), "pool", into)?;
        (target.line, target.crowd) = (line, crowd);
        self.dirty.remove(&from);
        self.recheck.remove(&from);
        self.licenses_changed(into);
        Ok(())
    }
}

impl Pool {
    pub(crate) fn new(vendor: VendorId, feature: triquest_license::FeatureName) -> Self {
        Self {
            vendor,
            feature,
            rights: Vec::new(),
            total: 0,
            used: 0,
            lingering: 0,
            charged: 0,
            asked: BTreeMap::new(),
            line: Ranks::default(),
            line_by_keys: BTreeMap::new(),
            crowd: None,
            lingerers: BTreeSet::new(),
        }
    }

    /// The conservation law: what is taken is what is charged, and free, used, lingering and over add up.
    pub(crate) fn conserved(&self) -> Result<(), String> {
        if self.charged != self.taken() {
            return Err(format!("seats_conserved: {} seats of {} are charged, {} taken", self.charged, self.feature, self.taken()));
        }
        let adds_up = self.free() + self.taken() == self.total + self.over() && (self.free() == 0 || self.over() == 0);
        if !adds_up {
            return Err(format!("seats_conserved: {} is {:?}", self.feature, self.numbers()));
        }
        Ok(())
    }
}

impl Right {
    /// A lease is not charged here any more, or may not be moved any more.
    pub(crate) fn let_go(&mut self, kind: Kind, slot: Slot) {
        if let Some(slots) = self.held.get_mut(&kind) {
            slots.remove(&slot);
            if slots.is_empty() {
                self.held.remove(&kind);
            }
        }
    }
}
