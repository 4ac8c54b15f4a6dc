//! What is due: dates, stranded leases, deadlines, silent waiters, lines, memory. In portions that an entry can hold.

use std::ops::Bound;

use triquest_license::FeatureName;

use crate::{
    Allocator, Denial, DenialCode, DequeueReason, EndReason, EntitlementId, Event, PoolId, RightEnd, Standing, VendorId,
    allocator::{InstalledLicense, Pool, Right, Sink},
    limits::{FORGET_EVERY_MS, POOLS_PER_MERGE_MAX, WAITERS_LOOKED_AT_MAX, WHEEL_PER_BATCH_MAX},
    matching::InLine,
    store::{Phase, READY, Slot, bucket_of},
};

impl Allocator {
    /// Handles what is due, as much as fits.
    pub(crate) fn work(&mut self, sink: &mut Sink<'_>) {
        if self.lines_stand() {
            self.hear_who_asked(sink);
            self.work_proof(sink);
            return;
        }
        self.work_lineage(sink);
        self.resume_lines(sink);
        self.work_licenses(sink);
        self.hear_who_asked(sink);
        if !self.asked_in_vain.is_empty() {
            // Nobody loses what it has asked for while the fact that says so is still to be written.
            return;
        }
        self.work_presence(sink);
        self.work_deadlines(sink);
        self.work_waiters(sink);
        self.work_lines(sink);
        self.work_memory(sink);
    }

    /// All that follows from licenses: vendors that merge, rights that begin and end, leases that lost theirs.
    pub(crate) fn work_licenses(&mut self, sink: &mut Sink<'_>) {
        self.work_merges(sink);
        self.work_dates(sink);
        self.work_stranded(sink);
    }

    /// Licenses are changing: pools of merged vendors have not all followed, or rights that are due have not all begun and ended.
    pub(crate) fn licenses_are_changing(&self) -> bool {
        let replacements = !self.replacing.is_empty() || !self.returning.is_empty();
        !self.merging.is_empty() || replacements || self.begins_are_due() || self.ends_are_due()
    }

    /// The same for one pool.
    pub(crate) fn licenses_change_in(&self, pool: PoolId) -> bool {
        if !self.licenses_are_changing() {
            return false;
        }
        let Some(found) = self.pool(pool) else { return false };
        let is_merging = || {
            let other = |(from, into): (&VendorId, &VendorId)| {
                let has = || self.vendor(*from).is_some_and(|vendor| vendor.features.get(&found.feature).is_some());
                *from == found.vendor || *into == found.vendor && has()
            };
            self.merging.iter().any(other)
        };
        let wall_ms = self.now.wall_ms;
        let is_replaced = |right: &Right| {
            let license = self.licenses.get(&right.license);
            let successors = license.and_then(|license| self.successors.get(&(license.vendor, license.id.clone())));
            !right.is_over_at(wall_ms) && successors.is_some_and(|firsts| firsts.iter().any(|first| self.replacing.contains(first)))
        };
        let is_due = |right: &Right| {
            let dates = [right.begins_at(wall_ms), right.ends_at(wall_ms)];
            let has_ended = matches!(right.ended, Some(RightEnd::Expired | RightEnd::Replaced));
            let returns = has_ended && self.returning.contains(&right.license);
            !self.clock_is_ahead() && dates.contains(&Some(i64::MIN)) || is_replaced(right) || returns
        };
        is_merging() || found.rights.iter().filter_map(|right| self.right(*right)).any(is_due)
    }

    fn begins_are_due(&self) -> bool {
        !self.clock_is_ahead() && self.begins.first().is_some_and(|(due, _)| *due <= self.now.wall_ms)
    }

    fn ends_are_due(&self) -> bool {
        !self.clock_is_ahead() && self.ends.first().is_some_and(|(due, _)| *due <= self.now.wall_ms)
    }

    /// Something is to be done that no time has to pass for.
    pub(crate) fn has_backlog_now(&self) -> bool {
        let lines = !self.dirty.is_empty() || !self.recheck.is_empty() || self.resumes_lines || !self.asked_in_vain.is_empty();
        self.licenses_are_changing() || !self.stranded.is_empty() || lines || self.owes_lineage()
    }

    /// Deadlines have come that were not handled yet.
    pub(crate) fn due_backlog(&self) -> bool {
        let at = self.due_until;
        self.wheel.first_bucket().is_some_and(|bucket| bucket <= bucket_of(at))
            || self.wheel.first_ready().is_some_and(|(due, _)| due <= at)
    }

    /// Pools of merged vendors follow, in portions.
    fn work_merges(&mut self, sink: &mut Sink<'_>) {
        while let Some((from, into)) = self.merging.first_key_value().map(|(from, into)| (*from, *into))
            && !sink.full()
        {
            let features = self.vendor(from).into_iter().flat_map(|vendor| vendor.features.iter());
            let pools: Vec<_> =
                features.take(POOLS_PER_MERGE_MAX).map(|(feature, pool)| (pool, self.counterpart(into, feature, pool))).collect();
            self.emit(sink, Event::PoolsMerged { from, into, pools });
        }
    }

    /// The pool of a vendor that a pool of another becomes part of: itself if there is none for its feature.
    pub(crate) fn counterpart(&self, into: VendorId, feature: &FeatureName, pool: PoolId) -> PoolId {
        let there = self.vendor(into).and_then(|vendor| vendor.features.get(feature));
        there.map_or(pool, |there| self.resolve(there))
    }

    /// Begins and ends entitlements, by date and by replacement. At one instant all that begin come first, over any number of entries.
    /// While the wall clock is not believed nothing begins and nothing ends by date.
    pub(crate) fn work_dates(&mut self, sink: &mut Sink<'_>) {
        self.work_returning(sink);
        if !self.returning.is_empty() {
            return;
        }
        if !self.safeguards.begin_before_end {
            self.work_ends(sink);
        }
        self.work_begins(sink);
        if !self.begins_are_due() || !self.safeguards.begin_before_end {
            self.work_replaced(sink);
            self.work_ends(sink);
        }
    }

    /// What was replaced in a future that was taken back comes back, before what replaced it ends.
    fn work_returning(&mut self, sink: &mut Sink<'_>) {
        while let Some(first) = self.returning.first().copied()
            && !sink.full()
        {
            let entitlements = self.returned(first, &self.successors_of(first));
            let license = self.licenses.get(&first).filter(|_| !entitlements.is_empty()).map(|license| license.hash);
            match license {
                Some(license) => self.emit(sink, Event::ReplacementUndone { license, first_entitlement: first, entitlements }),
                None => drop(self.returning.remove(&first)),
            }
        }
    }

    /// All licenses, also such that were replaced or removed themselves, that name this one as what they replace.
    fn successors_of(&self, first: EntitlementId) -> Vec<EntitlementId> {
        let Some(license) = self.licenses.get(&first) else { return Vec::new() };
        let names =
            |(_, other): &(&EntitlementId, &InstalledLicense)| other.vendor == license.vendor && other.replaces.contains(&license.id);
        self.licenses.iter().filter(names).map(|(successor, _)| *successor).collect()
    }

    /// The rights of a license that were replaced by what has not begun after all, of these that may have replaced it. So were those that had ended by
    /// a date of that same future, if the license was taken off for what replaced it.
    pub(crate) fn returned(&self, first: EntitlementId, successors: &[EntitlementId]) -> Vec<EntitlementId> {
        let wall_ms = self.now.wall_ms;
        let Some(license) = self.licenses.get(&first) else { return Vec::new() };
        let is_forgotten = license.removed == Some(RightEnd::Replaced) && !self.taken_off.contains(first);
        if license.removed == Some(RightEnd::Removed) || is_forgotten {
            return Vec::new();
        }
        let later = || successors.iter().copied().filter(|successor| *successor > first);
        let returns = |right: &EntitlementId| {
            self.right(*right).is_some_and(|right| {
                let was_replaced = match right.ended {
                    Some(RightEnd::Replaced) => true,
                    Some(RightEnd::Expired) => license.removed == Some(RightEnd::Replaced),
                    Some(RightEnd::Removed) | None => false,
                };
                was_replaced
                    && right.expires.is_none_or(|expires| expires > wall_ms)
                    && later().any(|successor| self.was_to_take_the_place_of(successor, right.pool))
                    && !later().any(|successor| self.has_taken_the_place_of(successor, right.pool))
            })
        };
        license.rights(first).filter(returns).collect()
    }

    /// Whether a license took the place of rights in this pool by now, in no future that was taken back, whatever has become of it since.
    fn has_taken_the_place_of(&self, first: EntitlementId, pool: PoolId) -> bool {
        let Some(license) = self.licenses.get(&first) else { return false };
        let (pool, wall_ms) = (self.resolve(pool), self.now.wall_ms);
        let rights: Vec<&Right> = license.rights(first).filter_map(|right| self.right(right)).collect();
        let has_begun = |right: &&&Right| right.has_begun_at(wall_ms);
        if rights.iter().any(|right| self.resolve(right.pool) == pool) {
            return rights.iter().filter(|right| self.resolve(right.pool) == pool).any(|right| has_begun(&right));
        }
        // As far as it is understood.
        license.terms.left_out.is_empty() && rights.iter().any(|right| has_begun(&right))
    }

    /// Whether a license took the place of rights in this pool in a future that was taken back.
    fn was_to_take_the_place_of(&self, first: EntitlementId, pool: PoolId) -> bool {
        let pool = self.resolve(pool);
        let rights: Vec<&Right> =
            self.licenses.get(&first).into_iter().flat_map(|license| license.rights(first)).filter_map(|right| self.right(right)).collect();
        let has_one_there = rights.iter().any(|right| self.resolve(right.pool) == pool);
        let counts = |right: &&&Right| !has_one_there || self.resolve(right.pool) == pool;
        rights.iter().filter(counts).any(|right| right.was_taken_back(self.now.wall_ms))
    }

    pub(crate) fn work_begins(&mut self, sink: &mut Sink<'_>) {
        while let Some((_, id)) = self.begins.first().copied()
            && self.begins_are_due()
            && !sink.full()
        {
            match self.right(id) {
                None => drop(self.begins.pop_first()),
                Some(right) if right.runs_at(self.now.wall_ms) => self.emit(sink, Event::EntitlementBegan { entitlement: id }),
                // It ended while nobody looked.
                Some(_) => self.emit(sink, Event::EntitlementEnded { entitlement: id, reason: RightEnd::Expired }),
            }
        }
    }

    fn work_ends(&mut self, sink: &mut Sink<'_>) {
        while let Some((_, id)) = self.ends.first().copied()
            && self.ends_are_due()
            && !sink.full()
        {
            match self.right(id) {
                None => drop(self.ends.pop_first()),
                Some(_) => self.emit(sink, Event::EntitlementEnded { entitlement: id, reason: RightEnd::Expired }),
            }
        }
    }

    /// What licenses replace ends where rights of theirs have begun: in which pools that is, is known when those of merged vendors have followed.
    fn work_replaced(&mut self, sink: &mut Sink<'_>) {
        while let Some(first) = self.replacing.first().copied()
            && self.merging.is_empty()
        {
            for old in self.replaced_by(first) {
                let Some(license) = self.licenses.get(&old) else { continue };
                let (hash, rights) = (license.hash, license.rights(old));
                for right in rights.clone() {
                    if sink.full() {
                        return;
                    }
                    let Some(found) = self.right(right).filter(|right| !right.is_over_at(self.now.wall_ms)) else { continue };
                    if self.takes_the_place_of(first, found.pool) {
                        self.emit(sink, Event::EntitlementEnded { entitlement: right, reason: RightEnd::Replaced });
                    }
                }
                let over = rights.clone().all(|right| self.right(right).is_none_or(|right| right.is_over_at(self.now.wall_ms)));
                let actor = self.licenses.get(&first).map(|license| license.actor.clone());
                if let Some(actor) = actor.filter(|_| over && self.by_hash.contains_key(&hash)) {
                    self.emit(sink, Event::LicenseRemoved { license: hash, reason: RightEnd::Replaced, actor });
                }
            }
            self.replacing.remove(&first);
        }
    }

    /// Whether a license has begun where it replaces rights in this pool: in the pool itself, or anywhere if it has none there.
    fn takes_the_place_of(&self, first: EntitlementId, pool: PoolId) -> bool {
        let pool = self.resolve(pool);
        let rights =
            || self.licenses.get(&first).into_iter().flat_map(|license| license.rights(first)).filter_map(|right| self.right(right));
        let in_pool = |right: &&Right| self.resolve(right.pool) == pool;
        if rights().any(|right| in_pool(&right)) {
            return rights().filter(in_pool).any(|right| right.stands_at(self.now.wall_ms));
        }
        // A license replaces only as far as it is understood: what it leaves out may be meant for that pool.
        let understood = self.licenses.get(&first).is_some_and(|license| license.terms.left_out.is_empty());
        understood && rights().any(|right| right.stands_at(self.now.wall_ms))
    }

    /// The licenses, still installed, that this one replaces: those that it names and that were installed before it.
    pub(crate) fn replaced_by(&self, first: EntitlementId) -> Vec<EntitlementId> {
        let Some(license) = self.licenses.get(&first) else { return Vec::new() };
        let named = license.replaces.iter().filter_map(|id| self.by_id.get(&(license.vendor, id.clone())));
        let before = |other: &EntitlementId| if self.safeguards.reissue_order { *other < first } else { *other != first };
        named.flatten().copied().filter(before).collect()
    }

    /// Moves or marks leases whose entitlement has ended.
    pub(crate) fn work_stranded(&mut self, sink: &mut Sink<'_>) {
        while let Some((pool, right)) = self.stranded.first().copied()
            // Where a lease fits is known when all that is due has begun and ended.
            && (!self.licenses_are_changing() || !self.safeguards.begin_before_end)
            && !sink.full()
        {
            let Some(slot) = self.right(right).and_then(|right| right.held.first_key_value()?.1.first().copied()) else {
                self.stranded.remove(&(pool, right));
                continue;
            };
            if self.leases.at(slot).ending.is_some() {
                self.unstrand(slot);
            } else if !self.settle(slot, sink) {
                return;
            }
        }
    }

    /// Frees the seats of clients in named networks whose presence connection has ended and who did not come back. That they are dead is likely and not
    /// certain: the fact says until when they were promised.
    fn work_presence(&mut self, sink: &mut Sink<'_>) {
        while let Some((due, lease)) = self.presence_waits_due.first().copied()
            && due <= self.silent_until
            && !sink.full()
        {
            let network = self.presence_waits.get(&lease).and_then(|wait| wait.network);
            self.no_presence_wait(&lease);
            // Its client may have tried to come back in vain. Nobody can know, so it has its whole time.
            if self.turned_away.lately(network, due) && self.safeguards.turned_away_frees_nothing {
                continue;
            }
            let Some(slot) = self.leases.find(&lease).filter(|slot| self.leases.at(*slot).phase == Phase::Live) else { continue };
            let deadline = self.leases.at(slot).deadline;
            // What is due anyway has its own end.
            if deadline > self.now.at && self.frees_by_presence(slot) {
                let linger_until = self.linger_until(slot, self.now.at);
                let items = self.seats_of(slot);
                self.emit(sink, Event::Ended { lease, due: deadline, reason: EndReason::Presence, linger_until, items, actor: None });
            }
        }
    }

    fn work_deadlines(&mut self, sink: &mut Sink<'_>) {
        let at = self.due_until;
        for _ in 0..WHEEL_PER_BATCH_MAX {
            let Some((bucket, slot)) = self.wheel.take_come(at) else { break };
            let Some(lease) = self.leases.get(slot).filter(|lease| lease.bucket == bucket) else { continue };
            if self.may_end(slot) && lease.deadline <= at && !sink.full() {
                self.leases.at_mut(slot).bucket = READY;
                self.expire(slot, sink);
            } else {
                self.stand_again(slot);
            }
        }
        while let Some((due, slot)) = self.wheel.first_ready()
            && due <= at
            && !sink.full()
        {
            self.wheel.unready(due, slot);
            let Some(lease) = self.leases.get(slot).filter(|lease| lease.bucket == READY) else { continue };
            if lease.deadline > at || !self.may_end(slot) {
                self.stand_again(slot);
            } else {
                self.expire(slot, sink);
            }
        }
    }

    /// Puts a lease where its present deadline belongs.
    fn stand_again(&mut self, slot: Slot) {
        let lease = self.leases.at(slot);
        let deadline = match lease.phase {
            Phase::Lingering => lease.deadline,
            Phase::Claimable | Phase::Live => self.ends_no_earlier_than(lease.deadline),
        };
        let bucket = if bucket_of(deadline) > bucket_of(self.now.at) {
            self.wheel.put(slot, deadline)
        } else {
            self.wheel.ready(deadline, slot);
            READY
        };
        self.leases.at_mut(slot).bucket = bucket;
    }

    /// Its deadline counts now: not that of a lease or claim in a quarantine.
    fn may_end(&self, slot: Slot) -> bool {
        let lease = self.leases.at(slot);
        lease.phase == Phase::Lingering || self.ends_no_earlier_than(lease.deadline) <= self.now.at
    }

    /// The disk has room again: who waits and who was granted a seat meanwhile begins anew.
    fn resume_lines(&mut self, sink: &mut Sink<'_>) {
        if !self.resumes_lines {
            return;
        }
        self.resumes_lines = false;
        let claims = || self.leases.slots().any(|slot| self.leases.at(slot).phase == Phase::Claimable);
        if !self.line.is_empty() || claims() {
            self.emit(sink, Event::LinesResumed { claim_due: self.now.at.after_ms(self.limits.claim_ms) });
        }
    }

    /// Whoever asked for what is its own when that could not be written is heard now, in portions: a lease is renewed, a seat that was granted in line is
    /// claimed, and a place is kept.
    fn hear_who_asked(&mut self, sink: &mut Sink<'_>) {
        let mut after = None;
        // Those that have to be moved first may be many, and are passed over again in each batch until they are.
        for _ in 0..WHEEL_PER_BATCH_MAX {
            let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
            let Some(lease) = self.asked_in_vain.range(behind).next().copied().filter(|_| !sink.full()) else { return };
            // A lease that lost its entitlement is moved or marked first.
            if self.leases.find(&lease).is_some_and(|slot| self.leases.at(slot).ending.is_none() && self.is_stranded(slot)) {
                after = Some(lease);
                continue;
            }
            self.asked_in_vain.remove(&lease);
            match self.unheard(&lease) {
                Some(Standing::Live) => self.emit(sink, Event::Heard { lease }),
                Some(Standing::Waiting) => self.emit(sink, Event::WaiterHeard { lease }),
                _ => {}
            }
        }
    }

    fn expire(&mut self, slot: Slot, sink: &mut Sink<'_>) {
        let found = self.leases.at(slot);
        let (lease, due) = (found.id, found.deadline);
        let linger = due.after_ms(found.wish.linger_ms.into());
        let items = self.seats_of(slot);
        let (reason, linger_until) = match (found.phase, found.ending) {
            (Phase::Lingering, _) => {
                self.emit(sink, Event::LingerEnded { lease, items });
                return;
            }
            (_, Some(reason)) => (reason, None),
            (Phase::Claimable, None) if self.safeguards.claims_end => (EndReason::Unclaimed, None),
            (Phase::Claimable, None) => {
                let at = self.now.at;
                self.leases.at_mut(slot).deadline = at.after_ms(crate::limits::TTL_MS_DEFAULT);
                self.stand_again(slot);
                return;
            }
            (Phase::Live, None) => (EndReason::Expired, (linger > self.now.at).then_some(linger)),
        };
        self.emit(sink, Event::Ended { lease, due, reason, linger_until, items, actor: None });
    }

    fn work_waiters(&mut self, sink: &mut Sink<'_>) {
        while let Some((due, order)) = self.waiters_due.first().copied()
            && due <= self.due_until
            && !sink.full()
        {
            let Some(waiter) = self.line.get_mut(&order) else {
                self.waiters_due.pop_first();
                continue;
            };
            let over = waiter.gives_up <= self.due_until;
            if !over && !self.safeguards.silent_waiters_leave {
                self.waiters_due.pop_first();
                waiter.due = waiter.gives_up;
                self.waiters_due.insert((waiter.due, order));
                continue;
            }
            let reason = if over { DequeueReason::WaitOver } else { DequeueReason::Silent };
            self.dequeue_with(order, reason, sink);
        }
    }

    /// Looks at the lines of pools where something changed: whoever can never be served is told so, wherever it stands, and the head of all
    /// its lines is served if it can be.
    pub(crate) fn work_lines(&mut self, sink: &mut Sink<'_>) {
        if self.lines_stand() {
            return;
        }
        if self.licenses_are_changing() || !self.stranded.is_empty() {
            // Leases that lost their entitlement come before those who wait for one.
            self.work_licenses(sink);
            if self.licenses_are_changing() || !self.stranded.is_empty() {
                return;
            }
        }
        self.work_unsatisfiable(sink);
        if self.withholds() {
            self.dirty.clear();
            return;
        }
        while let Some(pool) = self.dirty.first().copied() {
            if sink.full() || !self.recheck.is_empty() {
                return;
            }
            self.dirty.pop_first();
            self.work_line(pool, sink);
        }
    }

    /// Everybody in line where licenses changed, in portions: who can never be served now leaves.
    fn work_unsatisfiable(&mut self, sink: &mut Sink<'_>) {
        if !self.safeguards.waiters_looked_at {
            self.recheck.clear();
            return;
        }
        let mut left = WAITERS_LOOKED_AT_MAX;
        while let Some((pool, after)) = self.recheck.first_key_value().map(|(pool, after)| (*pool, *after)) {
            let Some(order) = self.pool(pool).and_then(|pool| pool.line.from(after)) else {
                self.recheck.remove(&pool);
                continue;
            };
            if left == 0 || sink.full() {
                return;
            }
            left -= 1;
            self.recheck.insert(pool, order + 1);
            if self.unsatisfiable(order).is_some() {
                self.dequeue_with(order, DequeueReason::Hopeless, sink);
            }
        }
    }

    /// Why a waiter can never be served, if so: judged by the words and keys of its own client, whoever was decided before.
    fn unsatisfiable(&mut self, order: u64) -> Option<Denial> {
        self.accepting = self.accepting_in_line(self.line.get(&order)?);
        self.line.get(&order)?.items.iter().find_map(|item| self.hopeless(item))
    }

    /// Takes a waiter out of the line, with what it is told when it asks again.
    pub(crate) fn dequeue_with(&mut self, order: u64, reason: DequeueReason, sink: &mut Sink<'_>) {
        let hopeless = if reason == DequeueReason::Hopeless { self.unsatisfiable(order) } else { None };
        let Some(waiter) = self.line.get(&order) else { return };
        self.accepting = self.accepting_in_line(waiter);
        let Some(waiter) = self.line.get(&order) else { return };
        let over = |code| waiter.items.first().map(|first| Denial { code, first_due_ms: None, ..self.no_seat_free(first) });
        let denial = match reason {
            DequeueReason::Released => None,
            DequeueReason::Hopeless => hopeless.or_else(|| over(DenialCode::MoreThanPool)),
            DequeueReason::Silent | DequeueReason::WaitOver => over(DenialCode::WaitOver),
        };
        let event = Event::Dequeued { lease: waiter.lease, reason, denial: denial.map(Box::new) };
        self.emit(sink, event);
    }

    fn work_line(&mut self, pool: PoolId, sink: &mut Sink<'_>) {
        let mut after = 0;
        loop {
            // Behind another with the same keys nobody is first.
            let strict = self.safeguards.queue_strict;
            let next = |pool: &Pool| if strict { pool.first_in_line_from(after) } else { pool.line.from(after) };
            let Some(order) = self.pool(pool).and_then(next) else { return };
            if sink.full() {
                self.dirty.insert(self.resolve(pool));
                return;
            }
            let waiter = &self.line[&order];
            let may_be_served = self.in_lines(&waiter.items, order, &waiter.embeds.keys) != InLine::Behind;
            if !may_be_served || !self.serve(order, sink) {
                after = order + 1;
            }
        }
    }

    fn work_memory(&mut self, sink: &mut Sink<'_>) {
        let at = self.now.at;
        let Some(first) = self.remembered.first_due() else { return };
        if first.after_ms(FORGET_EVERY_MS) > at || sink.full() {
            return;
        }
        let Some(until) = self.remembered.portion(at, WHEEL_PER_BATCH_MAX) else { return };
        self.emit(sink, Event::Forgot { until });
    }
}
