//! What is due: dates, stranded leases, deadlines, silent waiters, lines, memory. In portions that an entry can hold.

use crate::{
    Allocator, DequeueReason, EndReason, EntitlementId, Event, PoolId, RightEnd, Timestamp,
    allocator::Sink,
    limits::{CLAIM_MS, FORGET_EVERY_MS, WHEEL_PER_BATCH_MAX},
    store::{Phase, READY, Slot, bucket_of},
};

impl Allocator {
    /// Handles what is due, as much as fits.
    pub(crate) fn work(&mut self, sink: &mut Sink<'_>) {
        if self.lines_stand() {
            return;
        }
        self.work_lineage(sink);
        self.resume_lines(sink);
        self.work_dates(sink);
        self.work_stranded(sink);
        self.work_deadlines(sink);
        self.work_waiters(sink);
        self.work_lines(sink);
        self.work_memory(sink);
    }

    /// Something is to be done that no time has to pass for.
    pub(crate) fn has_backlog_now(&self) -> bool {
        let dates = !self.clock_is_ahead() && self.dates.first().is_some_and(|(due, _)| *due <= self.now.wall_ms);
        let lines = !self.dirty.is_empty() || self.resumes_lines;
        let proof = self.proof.is_some() && self.has_room();
        dates || !self.stranded.is_empty() || lines || proof
    }

    /// Deadlines have come that were not handled yet.
    pub(crate) fn due_backlog(&self) -> bool {
        let at = self.due_until;
        self.wheel.first_bucket().is_some_and(|bucket| bucket <= bucket_of(at))
            || self.wheel.first_ready().is_some_and(|(due, _)| due <= at)
    }

    /// Begins and ends entitlements by date. While the wall clock is not believed nothing begins and nothing ends.
    pub(crate) fn work_dates(&mut self, sink: &mut Sink<'_>) {
        if self.clock_is_ahead() {
            return;
        }
        let wall_ms = self.now.wall_ms;
        while let Some((due, id)) = self.dates.first().copied()
            && due <= wall_ms
            && !sink.full()
        {
            let Some(right) = self.right(id) else {
                self.dates.pop_first();
                continue;
            };
            if !right.in_force() && right.runs_at(wall_ms) {
                self.begin(id, sink);
            } else {
                self.emit(sink, Event::EntitlementEnded { entitlement: id, reason: RightEnd::Expired });
            }
        }
    }

    /// An entitlement begins, and what its license replaces ends where this one takes its place.
    pub(crate) fn begin(&mut self, id: EntitlementId, sink: &mut Sink<'_>) {
        self.emit(sink, Event::EntitlementBegan { entitlement: id });
        let Some((first, pool)) = self.right(id).map(|right| (right.license, self.resolve(right.pool))) else { return };
        let Some(license) = self.licenses.get(&first) else { return };
        if license.removed.is_some() {
            return;
        }
        let actor = license.actor.clone();
        let pools: Vec<_> = license.rights(first).filter_map(|right| Some(self.resolve(self.right(right)?.pool))).collect();
        for old in self.replaced_by(first) {
            let rights: Vec<_> = self.licenses[&old].rights(old).collect();
            for right in &rights {
                let Some(found) = self.right(*right) else { continue };
                let its_pool = self.resolve(found.pool);
                let corresponds = its_pool == pool || !pools.contains(&its_pool);
                if found.ended.is_none() && corresponds {
                    self.emit(sink, Event::EntitlementEnded { entitlement: *right, reason: RightEnd::Replaced });
                }
            }
            let over = |right: &EntitlementId| self.right(*right).is_none_or(|right| right.ended.is_some());
            if rights.iter().all(over) {
                let license = self.licenses[&old].hash;
                self.emit(sink, Event::LicenseRemoved { license, reason: RightEnd::Replaced, actor: actor.clone() });
            }
        }
    }

    /// The licenses, still installed, that this one names in `replaces`.
    pub(crate) fn replaced_by(&self, first: EntitlementId) -> Vec<EntitlementId> {
        let Some(license) = self.licenses.get(&first) else { return Vec::new() };
        let named = license.replaces.iter().filter_map(|id| self.by_id.get(&(license.vendor, id.clone())));
        named.flatten().copied().filter(|other| *other != first).collect()
    }

    /// Moves or marks leases whose entitlement has ended.
    pub(crate) fn work_stranded(&mut self, sink: &mut Sink<'_>) {
        while let Some((pool, right)) = self.stranded.first().copied()
            && !sink.full()
        {
            let Some(slot) = self.right(right).and_then(|right| right.held.first_key_value()?.1.first().copied()) else {
                self.stranded.remove(&(pool, right));
                continue;
            };
            if self.leases.at(slot).ending.is_some() {
                self.unstrand(slot);
            } else {
                self.settle(slot, sink);
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
            self.emit(sink, Event::LinesResumed { claim_due: self.now.at.after_ms(CLAIM_MS) });
        }
    }

    fn expire(&mut self, slot: Slot, sink: &mut Sink<'_>) {
        let found = self.leases.at(slot);
        let (lease, due) = (found.id, found.deadline);
        let linger = due.after_ms(found.wish.linger_ms.into());
        let (reason, linger_until) = match (found.phase, found.ending) {
            (Phase::Lingering, _) => {
                self.emit(sink, Event::LingerEnded { lease });
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
        self.emit(sink, Event::Ended { lease, due, reason, linger_until, actor: None });
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
            let lease = waiter.lease;
            self.emit(sink, Event::Dequeued { lease, reason });
        }
    }

    /// Looks at the lines of pools where something changed: the head of all its lines is served if it can be.
    pub(crate) fn work_lines(&mut self, sink: &mut Sink<'_>) {
        if self.lines_stand() {
            return;
        }
        if self.withholds() {
            self.dirty.clear();
            return;
        }
        if !self.stranded.is_empty() {
            // Leases that lost their entitlement come before those who wait for one.
            self.work_stranded(sink);
        }
        while let Some(pool) = self.dirty.first().copied() {
            if sink.full() || !self.stranded.is_empty() {
                return;
            }
            self.dirty.pop_first();
            self.work_line(pool, sink);
        }
    }

    fn work_line(&mut self, pool: PoolId, sink: &mut Sink<'_>) {
        let mut after = 0;
        loop {
            let Some(order) = self.pool(pool).and_then(|pool| pool.line.range(after..).next().copied()) else { return };
            if sink.full() {
                self.dirty.insert(self.resolve(pool));
                return;
            }
            let is_head = |pool: PoolId| self.pool(pool).is_some_and(|pool| pool.line.first() == Some(&order));
            let first_everywhere = self.line[&order].items.iter().all(|item| is_head(item.pool));
            let served = (first_everywhere || !self.safeguards.queue_strict) && self.serve(order, sink);
            if !served {
                if self.safeguards.queue_strict {
                    return;
                }
                after = order + 1;
            }
        }
    }

    fn work_memory(&mut self, sink: &mut Sink<'_>) {
        let at = self.now.at;
        let Some((first, _)) = self.forget.first().copied() else { return };
        if first.after_ms(FORGET_EVERY_MS) > at || sink.full() {
            return;
        }
        // A portion: all up to a time, at least those of the first time, not more than a batch should.
        let mut until = first;
        for (due, _) in self.forget.iter().take(WHEEL_PER_BATCH_MAX) {
            if *due > at {
                break;
            }
            until = *due;
        }
        let more = self.forget.iter().nth(WHEEL_PER_BATCH_MAX).is_some_and(|(due, _)| *due == until);
        if more && until > first {
            until = Timestamp(until.0 - 1);
        }
        self.emit(sink, Event::Forgot { until });
    }
}
