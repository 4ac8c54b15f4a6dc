//! What becomes of each command.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    Actor, Allocator, Between, CheckoutItem, Command, ContentDigest, Denial, DenialCode, DequeueReason, EndReason, EntitlementId, Epoch,
    Event, Grant, GrantItem, GrantedItem, Holder, Instance, LeaseId, Limits, Lineage, Network, Networks, Outcome, PoolId, PoolNumbers,
    Refusal, ReleaseCause, RightEnd, Timestamp, VendorId, VerifierKeys,
    allocator::{Accepting, Pool, Presence, PresenceWait, Right, Sink},
    limits::{
        CHARGES_PER_PART_MAX, DENIALS_COUNTED_POOLS_MAX, FORGET_EVERY_MS, ITEMS_PER_CHECKOUT_MAX, KEY_SETS_LOOKED_AT_MAX,
        KEY_SETS_OF_OTHERS_MAX, LEASES_MAX, LEASES_PER_POOL_MAX, LINGERERS_PASSED_MAX, PRESENCE_WAIT_MS, TTL_MS_MIN, VENDOR_KEYS_MAX,
        WAIT_MS_MAX, WAITERS_MAX,
    },
    matching::{InLine, Placed},
    share::Share,
    store::{Phase, Rank, Slot, UNSEALED, WishItem},
};

/// A checkout's fields.
pub(crate) struct Asked<'a> {
    pub(crate) lease: LeaseId,
    pub(crate) attempt: u32,
    pub(crate) content: ContentDigest,
    pub(crate) holder: &'a Holder,
    pub(crate) vendor_keys: &'a [[u8; 32]],
    pub(crate) items: &'a [CheckoutItem],
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) wait_ms: Option<u64>,
    pub(crate) regained: bool,
    pub(crate) network: Option<Network>,
}

impl Asked<'_> {
    /// The time to live that is asked for, as a lease can have it: at most `most`, milliseconds.
    pub(crate) fn asked_ttl_ms(&self, most: u64) -> Option<u64> {
        self.ttl_ms.map(|ttl_ms| ttl_ms.clamp(TTL_MS_MIN, most))
    }
}

impl Allocator {
    /// Decides one command; `None` if it must wait until more of what is due was handled.
    pub(crate) fn try_decide(&mut self, command: &Command, sink: &mut Sink<'_>) -> Option<Outcome> {
        let facts = sink.events.len();
        let outcome = self.decide_one(command, sink)?;
        let Outcome::Refused(refusal) = outcome else { return Some(outcome) };
        let Some(lease) = command.lease().filter(|_| self.safeguards.refusals_know_their_id) else {
            return Some(Outcome::Refused(refusal));
        };
        // The fact that begins a new lineage names whose grant proves it, and may stand in an earlier entry.
        let had_effect = sink.events.len() > facts || self.proved_by == Some(lease);
        Some(Outcome::Refused(if had_effect { Refusal::HadEffect(Box::new(refusal)) } else { refusal }))
    }

    fn decide_one(&mut self, command: &Command, sink: &mut Sink<'_>) -> Option<Outcome> {
        Some(match command {
            Command::AcceptClock { actor } => {
                self.emit(sink, Event::ClockAccepted { wall_ms: self.now.wall_ms, actor: actor.clone() });
                self.work_dates(sink);
                Outcome::Done
            }
            Command::Adopt {
                lease,
                attempt,
                content,
                holder,
                vendor_keys,
                items,
                ttl_ms,
                wait_ms,
                regained,
                network,
                shown,
                next_lineage,
                accepts,
            } => {
                self.accepting = Accepting { words: accepts.clone(), embeds: VerifierKeys::of(vendor_keys) };
                let asked = Asked {
                    lease: *lease,
                    attempt: *attempt,
                    content: *content,
                    holder,
                    vendor_keys,
                    items,
                    ttl_ms: *ttl_ms,
                    wait_ms: *wait_ms,
                    regained: *regained,
                    network: *network,
                };
                return self.adopt(&asked, shown, *next_lineage, sink);
            }
            Command::AllowPresence { networks, actor } => self.allow_presence(*networks, actor, sink),
            Command::Checkout { lease, attempt, content, accepts, holder, vendor_keys, items, ttl_ms, wait_ms, regained, network } => {
                self.accepting = Accepting { words: accepts.clone(), embeds: VerifierKeys::of(vendor_keys) };
                let asked = Asked {
                    lease: *lease,
                    attempt: *attempt,
                    content: *content,
                    holder,
                    vendor_keys,
                    items,
                    ttl_ms: *ttl_ms,
                    wait_ms: *wait_ms,
                    network: *network,
                    regained: *regained,
                };
                return self.checkout(&asked, sink);
            }
            Command::CountDenials { since, pools, elsewhere } => self.count_denials(*since, pools, *elsewhere, sink),
            Command::EndQuarantine { lineage, actor } => self.end_quarantine(*lineage, actor, sink),
            Command::Install(install) => self.install_license(install, sink),
            Command::PresenceAdded { lease, connection, generation, between } => {
                let confirmed = !self.safeguards.added_counts_from_its_renewal;
                let added = Presence { generation: *generation, connection: *connection, between: *between, confirmed, dropped: false };
                self.presence_stands(lease, added)
            }
            Command::PresenceClosed { lease, generation, network, unnamings } => {
                self.presence_closed(lease, *generation, (*network, *unnamings), sink)
            }
            Command::PresenceDropped { lease, connection, generation, between } => {
                let rest =
                    Presence { generation: *generation, connection: *connection, between: *between, confirmed: false, dropped: true };
                if self.safeguards.dropped_is_not_freed { self.presence_stands(lease, rest) } else { Outcome::Done }
            }
            Command::PresenceOpened { lease, connection, generation, between } => {
                let opened =
                    Presence { generation: *generation, connection: *connection, between: *between, confirmed: false, dropped: false };
                self.presence_stands(lease, opened)
            }
            Command::PresenceRefused { lease } => {
                self.refuses_presence(lease);
                Outcome::Done
            }
            Command::PresenceTurnedAway { named } => {
                self.turned_away.note(*named, self.now.at);
                Outcome::Done
            }
            Command::PresenceUnnamed { unnamings } => {
                self.unnames(*unnamings);
                Outcome::Done
            }
            Command::Reclaim { lease, now, actor } => self.reclaim(lease, *now, actor, sink),
            Command::Recover { epoch, instance, lineage, folder_ttl_max_ms } => {
                self.folder_ttl_max_ms = *folder_ttl_max_ms;
                self.decide_recover(*epoch, *instance, *lineage, sink)
            }
            Command::Release { lease, network } => self.release(*lease, *network, sink),
            Command::Reread { license, read } => self.reread_license(license, read, sink),
            Command::Remove { license, actor } => self.remove_license(license, actor, sink),
            Command::Renew { lease, counter, nonce, idle_ms: _, presence, regained } => {
                let before = self.leases.find(lease).map(|slot| self.leases.at(slot).counter);
                let outcome = self.renew(lease, *counter, nonce, *regained, sink)?;
                if matches!(outcome, Outcome::Renewed { .. })
                    && let Some(newest) = self.presence.get_mut(lease)
                {
                    // Which copy of one renewal its client sent last nobody knows: none of them takes back what another has confirmed.
                    let is_copy = *counter != 0 && before == Some(*counter);
                    newest.confirmed = *presence == Some(newest.generation) || is_copy && newest.confirmed;
                }
                outcome
            }
            Command::StepClock { to_ms, believed } => {
                self.emit(sink, Event::ClockStepped { from_ms: self.now.wall_ms, to_ms: *to_ms, believed: *believed });
                Outcome::Done
            }
            Command::Sweep => Outcome::Done,
        })
    }

    // Starts and lineage.

    fn decide_recover(&mut self, epoch: Epoch, instance: Instance, lineage: Lineage, sink: &mut Sink<'_>) -> Outcome {
        if epoch.0 != self.epoch.0 + 1 || u32::try_from(epoch.0).is_err() {
            return Outcome::Refused(Refusal::Malformed("an epoch is one more than the last"));
        }
        let restored = self.epoch.0 > 0 && lineage != self.lineage && self.safeguards.quarantine_after_restore;
        let length_ms = self.quarantine_ms();
        let quarantine_until = if restored {
            // One that runs is never made shorter: what a shown grant was promised is known by it alone.
            let until = self.now.at.after_ms(length_ms);
            Some(self.quarantine_until.map_or(until, |running| running.max(until)))
        } else {
            let since = self.lineage_since;
            let longer =
                |until: Timestamp| if self.safeguards.quarantine_from_lineage_start { until.max(since.after_ms(length_ms)) } else { until };
            self.quarantine_until.map(longer)
        };
        let Limits { remember_ms, wait_ttl_ms, .. } = self.limits;
        self.emit(sink, Event::Recovered { epoch, instance, lineage, quarantine_until, remember_ms, wait_ttl_ms });
        Outcome::Recovered
    }

    // One lease.

    /// Why an id has ended, if it has.
    fn ended(&self, lease: &LeaseId) -> Option<EndReason> {
        let lingering = self.leases.find(lease).filter(|slot| self.leases.at(*slot).phase == Phase::Lingering);
        self.remembered.ended(lease).or(lingering.map(|_| EndReason::Released))
    }

    /// Why it ended, if that was not by its holder's release.
    fn ended_otherwise(&self, lease: &LeaseId) -> Option<EndReason> {
        self.ended(lease).filter(|reason| *reason != EndReason::Released)
    }

    /// A client came back to a lease that its own presence connection had ended, with its right still running. One that had lost it by its own
    /// clock before has nothing to regret.
    fn regret(&mut self, lease: &LeaseId, regained: bool, sink: &mut Sink<'_>) {
        if regained {
            return;
        }
        let Some(freed) = self.freed_by_presence.get(lease) else { return };
        if self.safeguards.presence_regret && self.now.at < freed.right_until {
            let (most, shares) = (self.limits.presence_off_max, self.safeguards.presence_off_by_network);
            let off = freed.network.map(|network| self.presence_off.decide(network, most, shares, self.now.at));
            let until = off.map_or(self.now.at, |(_, until)| until);
            self.emit(sink, Event::PresenceRegretted { lease: *lease, networks: off.map(|(networks, _)| networks), until });
        }
    }

    fn allow_presence(&mut self, networks: Networks, actor: &Actor, sink: &mut Sink<'_>) -> Outcome {
        let Some(allowed) = self.presence_off.allows(networks, self.now.at) else {
            let everywhere = self.presence_off.iter(self.now.at).any(|(networks, _)| networks == Networks::All);
            return Outcome::Refused(Refusal::NothingToDo(if everywhere {
                "presence is off everywhere, not for this network alone: `*` allows it everywhere"
            } else {
                "presence frees seats early there already"
            }));
        };
        self.emit(sink, Event::PresenceAllowed { networks: allowed, actor: actor.clone() });
        Outcome::Done
    }

    /// Moves a lease's charges off ended entitlements, or marks it as ending if they fit nowhere. False if that, or what is left of it, is for
    /// the next entry.
    pub(crate) fn settle(&mut self, slot: Slot, sink: &mut Sink<'_>) -> bool {
        self.accepting = self.accepting_of(slot);
        let mut giving_way = VecDeque::new();
        let mut goes_on = false;
        loop {
            let mut stranded = None;
            self.leases.each_charge(slot, |item, charge| {
                if stranded.is_none() && self.right(charge.entitlement).is_some_and(|right| !right.in_force()) {
                    stranded = Some((item, charge));
                }
            });
            let Some((item, charge)) = stranded else { return true };
            // What one charge becomes always fits; of many, the rest goes on in the next entry.
            if goes_on && sink.full() {
                return false;
            }
            goes_on = true;
            let wished = self.leases.at(slot).wish.items[item];
            let most = (CHARGES_PER_PART_MAX + 1).saturating_sub(self.leases.charges(slot, item).len()).max(1);
            let mut moves = Vec::new();
            let placed = if self.safeguards.charges_move {
                self.place(wished.pool, wished.rank(), charge.seats.into(), most, true, &mut moves)
            } else {
                None
            };
            let lease = self.leases.at(slot).id;
            let Some(charges) = placed else {
                self.undo(moves);
                let reason = match self.right(charge.entitlement).and_then(|right| right.ended) {
                    Some(RightEnd::Removed) => EndReason::LicenseRemoved,
                    Some(RightEnd::Replaced) => EndReason::LicenseReplaced,
                    Some(RightEnd::Expired) | None => EndReason::LicenseEnded,
                };
                if self.leases.at(slot).phase == Phase::Lingering {
                    let items = self.seats_of(slot);
                    self.emit(sink, Event::LingerEnded { lease, items });
                    return true;
                }
                if giving_way.is_empty() {
                    giving_way = self.who_gives_way(slot);
                }
                let Some(lingering) = giving_way.pop_front() else {
                    self.begin_ending(slot, reason, None, sink);
                    return true;
                };
                if sink.full() {
                    return false;
                }
                let items = self.leases.find(&lingering).map(|slot| self.seats_of(slot)).unwrap_or_default();
                self.emit(sink, Event::LingerEnded { lease: lingering, items });
                continue;
            };
            self.hand_out(moves, sink);
            for target in charges {
                let moved =
                    Event::ChargeMoved { lease, item: item as u8, from: charge.entitlement, to: target.entitlement, seats: target.seats };
                self.emit(sink, moved);
                self.charges_changed(target.entitlement);
            }
        }
    }

    /// Whose lingering seats are given up, those first that are free soonest, so that a lease whose entitlements have ended can go on. Nobody's
    /// if it could not go on with all of them either.
    fn who_gives_way(&self, slot: Slot) -> VecDeque<LeaseId> {
        let mut wanted: BTreeMap<usize, u64> = BTreeMap::new();
        if self.safeguards.linger_gives_way {
            self.leases.each_charge(slot, |item, charge| {
                if !self.is_in_force(charge.entitlement) {
                    *wanted.entry(item).or_default() += u64::from(charge.seats);
                }
            });
        }
        let mut all = VecDeque::new();
        // One may linger in several pools.
        let mut seen = BTreeSet::new();
        for (item, seats) in wanted {
            let Some(leases) = self.lingerers_that_help(&self.leases.at(slot).wish.items[item], seats) else { return VecDeque::new() };
            all.extend(leases.into_iter().filter(|lease| seen.insert(*lease)));
        }
        all
    }

    /// Whose lingering seats would make room for so many seats of a part, with what is free; `None` if all of them would not.
    fn lingerers_that_help(&self, wished: &WishItem, seats: u64) -> Option<Vec<LeaseId>> {
        let pool = self.resolve(wished.pool);
        let found = self.pool(pool)?;
        let in_force = || found.rights.iter().filter_map(|id| Some((*id, self.right(*id).filter(|right| right.in_force())?)));
        let covers = |right: &Right| right.rank() >= wished.rank() && self.is_accepted(right);
        // Where it is not covered, room helps only if live leases move there from where it is.
        let takes_others = |right: &Right| !covers(right) && right.needs.is_empty();
        let free_where =
            |counts: &dyn Fn(&Right) -> bool| in_force().filter(|(_, right)| counts(right)).map(|(_, right)| right.free()).sum::<u64>();
        // Where others may go, by who has signed it: mostly one, the newest.
        let mut targets: Vec<&Right> = Vec::new();
        for (_, right) in in_force().filter(|(_, right)| takes_others(right)) {
            match targets.iter_mut().find(|target| target.signers == right.signers) {
                Some(target) if target.rank() < right.rank() => *target = right,
                Some(_) => {}
                None => targets.push(right),
            }
        }
        let movable = targets.iter().map(|target| target.rank()).max().map_or(0, |newest| {
            let held = in_force().filter(|(_, right)| covers(right));
            let held = held.flat_map(|(id, right)| {
                let kinds = right.held.range(..=(newest, u64::MAX));
                kinds.flat_map(move |(kind, slots)| slots.iter().map(move |slot| (id, kind.0, *slot)))
            });
            let moves = |(_, rank, slot): &(EntitlementId, Rank, Slot)| {
                let lease = self.leases.at(*slot);
                let fits = |target: &&Right| *rank <= target.rank() && self.can_verify(&lease.wish.embeds.keys, target);
                lease.phase != Phase::Lingering && targets.iter().any(fits)
            };
            let live = held.take(LINGERERS_PASSED_MAX).filter(moves);
            live.map(|(id, _, slot)| self.charged_where(slot, &|right, _| right == id)).sum::<u64>()
        });
        let (mut here, mut there) = (free_where(&covers), free_where(&takes_others));
        let (mut chosen, mut others) = (Vec::new(), Vec::new());
        let mut passed = 0;
        for (_, slot) in &found.lingerers {
            if here >= seats || passed == LINGERERS_PASSED_MAX {
                break;
            }
            let lingers = |counts: &dyn Fn(&Right) -> bool| {
                self.charged_where(*slot, &|_, right| right.in_force() && self.resolve(right.pool) == pool && counts(right))
            };
            let (covered, moved) = (lingers(&covers), lingers(&takes_others));
            if covered > 0 {
                here += covered;
                chosen.push(self.leases.at(*slot).id);
            } else {
                passed += 1;
                if moved > 0 {
                    others.push((moved, self.leases.at(*slot).id));
                }
            }
        }
        for (moved, lease) in others {
            if here + movable.min(there) >= seats {
                break;
            }
            there += moved;
            chosen.push(lease);
        }
        (here + movable.min(there) >= seats).then_some(chosen)
    }

    /// How many seats of a lease are charged to such entitlements.
    fn charged_where(&self, slot: Slot, counts: &dyn Fn(EntitlementId, &Right) -> bool) -> u64 {
        let mut seats = 0;
        self.leases.each_charge(slot, |_, charge| {
            if self.right(charge.entitlement).is_some_and(|right| counts(charge.entitlement, right)) {
                seats += u64::from(charge.seats);
            }
        });
        seats
    }

    /// Hands out moves that are folded in already.
    pub(crate) fn hand_out(&mut self, moves: Vec<Event>, sink: &mut Sink<'_>) {
        sink.bytes += moves.iter().map(Event::weight).sum::<usize>();
        for moved in &moves {
            if let Event::ChargeMoved { to, .. } = moved {
                self.charges_changed(*to);
            }
        }
        sink.events.extend(moves);
    }

    /// Leases have moved to an entitlement: who waits for its pool may be in nobody's way any more.
    fn charges_changed(&mut self, to: EntitlementId) {
        let pool = self.right(to).map(|right| self.resolve(right.pool));
        if let Some(pool) = pool.filter(|pool| self.pool(*pool).is_some_and(|pool| pool.line_by_keys.len() > 1)) {
            self.dirty.insert(pool);
        }
    }

    /// No renewal any more; free at the end of the present promise.
    fn begin_ending(&mut self, slot: Slot, reason: EndReason, actor: Option<Actor>, sink: &mut Sink<'_>) {
        let lease = self.leases.at(slot);
        let (lease, due) = (lease.id, lease.deadline.max(self.now.at));
        let event = if self.safeguards.ending_keeps_deadline {
            Event::Ending { lease, due, reason, actor }
        } else {
            Event::Ended { lease, due, reason, linger_until: None, items: self.seats_of(slot), actor }
        };
        self.emit(sink, event);
    }

    /// The time to live that a renewal now would give the lease, if that is another than it has. Where that cannot be written, no renewal waits
    /// for it: the old one goes on.
    pub(crate) fn changed_ttl(&self, slot: Slot) -> Option<u64> {
        if !self.pass_writes || !self.safeguards.promised_ttl_counts {
            return None;
        }
        let promised = u64::from(self.leases.at(slot).wish.ttl_ms);
        let (permitted, wanted) = self.ttl_by_charges(slot);
        if permitted < promised {
            return (self.has_room() || !self.safeguards.full_disk_lowers_nothing).then_some(permitted);
        }
        (wanted > promised && self.has_room()).then_some(wanted)
    }

    /// What its entitlements permit now is less than the lease was promised, or lets it have what its client asked for: a fact says so. The
    /// renewal tells the lower one at once, and a longer one when the fact is durable.
    fn change_ttl(&mut self, slot: Slot, sink: &mut Sink<'_>) {
        let Some(ttl_ms) = self.changed_ttl(slot) else { return };
        let promised = u64::from(self.leases.at(slot).wish.ttl_ms);
        let lease = self.leases.at(slot).id;
        if ttl_ms > promised {
            let told_ms = self.told_ttl(slot);
            self.emit(sink, Event::TtlRaised { lease, ttl_ms });
            self.raising.begin(lease, told_ms);
            return;
        }
        // An earlier answer may not have arrived, and the longer promise of the one before it still runs.
        let floor = self.now.at.after_ms(promised).max(self.floors.get(&lease).copied().unwrap_or_default());
        let not_before = if self.safeguards.lowered_ttl_has_floor { floor } else { Timestamp(0) };
        self.emit(sink, Event::TtlLowered { lease, ttl_ms, not_before });
    }

    /// The lease is heard and prolonged: every answer that carries a live lease is a renewal.
    fn hear(&mut self, slot: Slot, sink: &mut Sink<'_>) {
        let epoch = self.epoch_narrow();
        let lease = self.leases.at(slot);
        if lease.heard != epoch || lease.phase == Phase::Claimable {
            let event = Event::Heard { lease: lease.id };
            if self.safeguards.heard_is_durable {
                self.emit(sink, event);
            } else {
                self.fold(&event).expect("a live lease can be heard");
            }
        } else {
            let deadline = self.now.at.after_ms(self.ttl_of(slot));
            let lease = self.leases.at_mut(slot);
            lease.deadline = lease.deadline.max(deadline);
        }
        self.change_ttl(slot, sink);
    }

    /// The client of a lease or a place has asked and gets no answer: it has as long to ask again as if it had got one. Of what was not heard in this epoch
    /// that is a fact, which [`Allocator::owes_a_hearing`] notes.
    pub(crate) fn hear_in_vain(&mut self, lease: &LeaseId) {
        let (epoch, at) = (self.epoch_narrow(), self.now.at);
        if let Some(slot) = self.leases.find(lease) {
            let deadline = at.after_ms(self.ttl_of(slot));
            let lease = self.leases.at_mut(slot);
            if lease.phase == Phase::Live && lease.heard == epoch && lease.ending.is_none() {
                lease.deadline = lease.deadline.max(deadline);
            }
        } else if let Some(order) = self.waiting_ids.get(lease).copied()
            && self.line.get(&order).is_some_and(|waiter| waiter.heard == epoch)
        {
            self.waiter_asked(order);
        }
    }

    /// Whoever waits at this place has its full time to ask again.
    fn waiter_asked(&mut self, order: u64) {
        let asks_by = self.now.at.after_ms(self.wait_ttl_ms);
        if let Some(waiter) = self.line.get_mut(&order) {
            self.waiters_due.remove(&(waiter.due, order));
            waiter.due = waiter.gives_up.min(asks_by);
            self.waiters_due.insert((waiter.due, order));
        }
    }

    /// The answer about a lease that is not lingering, to one who may have it.
    fn live(&mut self, slot: Slot, sink: &mut Sink<'_>) -> Option<Outcome> {
        let id = self.leases.at(slot).id;
        self.lives(&id);
        if let Some(ended) = self.still_running(slot, sink)? {
            return Some(ended);
        }
        self.hear(slot, sink);
        let grant = self.grant(slot);
        self.leases.at_mut(slot).regrant = false;
        Some(Outcome::Granted(Box::new(grant)))
    }

    /// Seats of it are charged to an entitlement that has ended.
    pub(crate) fn is_stranded(&self, slot: Slot) -> bool {
        let mut stranded = false;
        if !self.stranded.is_empty() {
            self.leases.each_charge(slot, |_, charge| stranded |= self.right(charge.entitlement).is_some_and(|right| !right.in_force()));
        }
        stranded
    }

    /// Settles a stranded lease first; the answer if it is ending. None if that has to wait for the next entry.
    fn still_running(&mut self, slot: Slot, sink: &mut Sink<'_>) -> Option<Option<Outcome>> {
        let id = self.leases.at(slot).id;
        if self.safeguards.stranded_checked_at_renewal && self.leases.at(slot).ending.is_none() && self.is_stranded(slot) {
            if self.safeguards.begin_before_end {
                self.work_begins(sink);
            }
            if !self.settle(slot, sink) {
                return None;
            }
        }
        let Some(lease) = self.leases.get(slot).filter(|lease| lease.id == id) else {
            return Some(Some(Outcome::Ended { reason: self.ended(&id).unwrap_or(EndReason::LicenseEnded), remaining_ms: 0 }));
        };
        Some(lease.ending.map(|reason| Outcome::Ended { reason, remaining_ms: lease.deadline.since_ms(self.now.at) }))
    }

    /// The time to live that answers may name: a longer one than before counts only when its entry is durable.
    fn told_ttl(&self, slot: Slot) -> u64 {
        let ttl_ms = self.ttl_of(slot);
        let durable = self.raising.told_ms(&self.leases.at(slot).id).filter(|_| self.safeguards.longer_ttl_is_durable);
        durable.map_or(ttl_ms, |durable| durable.min(ttl_ms))
    }

    /// The driver says that all entries up to here are durable.
    pub fn committed(&mut self, through: crate::Index) {
        for lease in self.raising.end(through) {
            // Its client asks for a grant that says the longer time.
            if let Some(slot) = self.leases.find(&lease) {
                self.leases.at_mut(slot).regrant = true;
            }
        }
    }

    pub(crate) fn grant(&self, slot: Slot) -> Grant {
        let lease = self.leases.at(slot);
        // Where a lower one could not be written, no client is shown more than its license permits: it would refuse it.
        let ttl_ms = self.told_ttl(slot).min(self.permitted_ttl(slot));
        let mut grace_ms = u64::MAX;
        let mut presence = true;
        let mut vendor_data: Vec<String> = Vec::new();
        let items = lease.wish.items.iter().enumerate().map(|(position, item)| {
            let charges = self.leases.charges(slot, position);
            let rights = charges.iter().filter_map(|charge| Some((self.right(charge.entitlement)?, charge.seats)));
            let mut from: Vec<_> = rights
                .map(|(right, seats)| {
                    grace_ms = grace_ms.min(right.grace_ms);
                    presence &= right.presence;
                    if let Some(data) = right.vendor_data.as_deref()
                        && !vendor_data.iter().any(|known| known == data)
                    {
                        vendor_data.push(data.to_owned());
                    }
                    (right.hash, right.position, seats)
                })
                .collect();
            from.shrink_to_fit();
            let feature = self.pool(item.pool).expect("a lease's pools are here as long as it is").feature.clone();
            GrantItem { feature, version: item.version, seats: item.seats, from }
        });
        let items = items.collect();
        Grant {
            lease: lease.id,
            granted_at: lease.granted_at,
            granted_in: (lease.granted_index != UNSEALED).then(|| (Epoch(lease.granted_epoch.into()), crate::Index(lease.granted_index))),
            ttl_ms,
            // A lease whose time to live was lowered or just raised may be kept longer here than it is promised.
            remaining_ms: lease.deadline.since_ms(self.now.at).min(ttl_ms),
            grace_ms: if grace_ms == u64::MAX { 0 } else { grace_ms },
            presence: presence && !self.regretted(slot),
            items,
            vendor_data,
        }
    }

    fn renew(&mut self, lease: &LeaseId, counter: u64, nonce: &[u8; 16], regained: bool, sink: &mut Sink<'_>) -> Option<Outcome> {
        let slot = match self.leases.find(lease) {
            Some(slot) if self.leases.at(slot).phase != Phase::Lingering => slot,
            _ => {
                self.regret(lease, regained, sink);
                return Some(match self.ended(lease) {
                    Some(reason) => Outcome::Ended { reason, remaining_ms: 0 },
                    None => Outcome::Refused(Refusal::UnknownLease),
                });
            }
        };
        // Four bytes of the nonce tell clones apart but for one renewal in four thousand million; the next renewal shows them.
        let nonce = u32::from_le_bytes([nonce[0], nonce[1], nonce[2], nonce[3]]);
        let last = self.leases.at(slot);
        if self.safeguards.counters_detect_clones {
            if counter < last.counter {
                return Some(Outcome::Refused(Refusal::StaleCounter));
            }
            if counter == last.counter && counter != 0 && nonce != last.nonce {
                return Some(Outcome::Refused(Refusal::ClonedClient));
            }
        }
        self.lives(lease);
        if let Some(ended) = self.still_running(slot, sink)? {
            return Some(ended);
        }
        self.hear(slot, sink);
        let (at, ttl_ms) = (self.now.at, self.told_ttl(slot));
        let lease = self.leases.at_mut(slot);
        lease.counter = counter;
        lease.nonce = nonce;
        Some(Outcome::Renewed { remaining_ms: lease.deadline.since_ms(at).min(ttl_ms), regrant: lease.regrant })
    }

    /// When the seats are free after a release now, if they linger. An ending lease does not: its seats are awaited.
    pub(crate) fn linger_until(&self, slot: Slot, from: crate::Timestamp) -> Option<crate::Timestamp> {
        let lease = self.leases.at(slot);
        let until = from.after_ms(lease.wish.linger_ms.into());
        (until > self.now.at && lease.ending.is_none()).then_some(until)
    }

    fn release(&mut self, lease: LeaseId, network: Option<Network>, sink: &mut Sink<'_>) -> Outcome {
        if let Some(slot) = self.leases.find(&lease) {
            let found = self.leases.at(slot);
            if found.phase == Phase::Lingering {
                return Outcome::Released { linger_ms: found.deadline.since_ms(self.now.at), ended: self.ended_otherwise(&lease) };
            }
            let linger_until = self.linger_until(slot, self.now.at);
            let items = self.seats_of(slot);
            self.emit(sink, Event::Released { lease, cause: ReleaseCause::Holder, linger_until, items });
            self.work_lines(sink);
            return Outcome::Released { linger_ms: linger_until.map_or(0, |until| until.since_ms(self.now.at)), ended: None };
        }
        if let Some(order) = self.waiting_ids.get(&lease).copied() {
            self.dequeue_with(order, DequeueReason::Released, sink);
            self.work_lines(sink);
            return Outcome::Released { linger_ms: 0, ended: None };
        }
        if self.ended(&lease).is_some() {
            return Outcome::Released { linger_ms: 0, ended: self.ended_otherwise(&lease) };
        }
        if self.safeguards.release_before_known {
            if let Some(refusal) = self.too_many_ids(&lease, network, sink) {
                return Outcome::Refused(refusal);
            }
            self.emit(sink, Event::ReleasedUnknown { lease, network });
        }
        Outcome::Released { linger_ms: 0, ended: None }
    }

    /// Whether one more id of this network may be remembered; an id that is known is none more.
    fn too_many_ids(&mut self, lease: &LeaseId, network: Option<Network>, sink: &mut Sink<'_>) -> Option<Refusal> {
        let share = Share { network: self.limits.remembered_per_network_max, all: self.limits.remembered_max };
        let is_known = self.remembered.contains(lease) && self.safeguards.known_ids_are_taken;
        let wider_too = self.safeguards.shares_by_wider_network;
        if !self.safeguards.remembered_by_network || is_known || self.remembered.crowd.admits(network, share, None, wider_too) {
            return None;
        }
        let first = self.remembered.first_due().unwrap_or(self.now.at);
        if !self.safeguards.nothing_is_forgotten_early {
            self.emit(sink, Event::Forgot { until: first });
            return None;
        }
        let first = first.after_ms(FORGET_EVERY_MS);
        Some(Refusal::TooManyIds { retry_after_ms: first.since_ms(self.now.at).max(FORGET_EVERY_MS) })
    }

    /// A connection stands for a lease, or stands for it no more, unless a newer one does.
    fn presence_stands(&mut self, lease: &LeaseId, stands: Presence) -> Outcome {
        if self.leases.find(lease).is_none_or(|slot| self.leases.at(slot).phase != Phase::Live) {
            return Outcome::Done;
        }
        // Only a living client opens one. That it stands, a renewal has yet to confirm.
        if !stands.dropped && self.safeguards.opening_ends_the_wait {
            self.no_presence_wait(lease);
        }
        let Some(newest) = self.presence.get_mut(lease) else {
            self.presence.insert(*lease, stands);
            return Outcome::Done;
        };
        match stands.generation.cmp(&newest.generation) {
            std::cmp::Ordering::Less => {}
            // Two connections of one generation cannot be told apart, so the end of neither counts.
            std::cmp::Ordering::Equal if newest.connection != stands.connection => newest.between = Between::Something,
            // The same request once more, or a drop.
            std::cmp::Ordering::Equal => newest.dropped |= stands.dropped,
            std::cmp::Ordering::Greater => *newest = stands,
        }
        Outcome::Done
    }

    /// What the end of this connection says of the lease's client, if anything: it is the newest that stands for the lease, and confirmed by it.
    fn presence_counts(&self, lease: &LeaseId, generation: u64) -> Option<Between> {
        let keeps = &self.safeguards;
        let newest = self.presence.get(lease)?;
        let counts = (newest.generation == generation || !keeps.presence_generation)
            && (newest.confirmed || !keeps.presence_confirmed)
            && !(newest.dropped && keeps.dropped_is_not_freed);
        match newest.between {
            _ if !counts => None,
            Between::Something if keeps.presence_ends_agree => None,
            Between::Named if keeps.named_network_waits => Some(Between::Named),
            _ => Some(Between::Nothing),
        }
    }

    fn presence_closed(
        &mut self,
        lease: &LeaseId,
        generation: u64,
        (network, unnamings): (Option<Network>, u64),
        sink: &mut Sink<'_>,
    ) -> Outcome {
        let Some(between) = self.presence_counts(lease, generation) else { return Outcome::Done };
        let Some(slot) = self.leases.find(lease).filter(|slot| self.leases.at(*slot).phase == Phase::Live) else {
            return Outcome::Done;
        };
        self.presence.remove(lease);
        if !self.frees_by_presence(slot) {
            return Outcome::Done;
        }
        if between == Between::Named {
            // It was on its way when some network was taken out of the named ones, and that may be its own.
            if unnamings < self.unnamings && self.safeguards.unnamed_frees_nothing {
                return Outcome::Done;
            }
            let due = self.now.at.after_ms(PRESENCE_WAIT_MS);
            self.no_presence_wait(lease);
            self.presence_waits.insert(*lease, PresenceWait { due, network });
            self.presence_waits_due.insert((due, *lease));
            return Outcome::Done;
        }
        let linger_until = self.linger_until(slot, self.now.at);
        let items = self.seats_of(slot);
        self.emit(sink, Event::Released { lease: *lease, cause: ReleaseCause::Presence, linger_until, items });
        self.work_lines(sink);
        Outcome::Done
    }

    /// Whether the end of its presence connection may free a lease now: its licenses permit it, nothing is held against its network, and no
    /// quarantine runs, in which nobody could have the seat anyway.
    pub(crate) fn frees_by_presence(&self, slot: Slot) -> bool {
        if self.ends_no_earlier_than(self.now.at) > self.now.at {
            return false;
        }
        let mut permitted = true;
        self.leases.each_charge(slot, |_, charge| permitted &= self.right(charge.entitlement).is_none_or(|right| right.presence));
        permitted && !self.regretted(slot)
    }

    /// Nobody waits any more to see whether this lease's client comes back.
    pub(crate) fn no_presence_wait(&mut self, lease: &LeaseId) {
        if let Some(wait) = self.presence_waits.remove(lease) {
            self.presence_waits_due.remove(&(wait.due, *lease));
        }
    }

    /// Some network is named no more. Which waits it concerns is not told: the seats of those who died in the last half minute in other named networks
    /// are free at the end of their time to live.
    pub(crate) fn unnames(&mut self, unnamings: u64) {
        if unnamings > self.unnamings && self.safeguards.unnamed_frees_nothing {
            self.unnamings = unnamings;
            self.presence_waits.clear();
            self.presence_waits_due.clear();
        }
    }

    /// An opening for this lease came and was refused.
    pub(crate) fn refuses_presence(&mut self, lease: &LeaseId) {
        if self.safeguards.refused_opening_ends_the_wait {
            self.no_presence_wait(lease);
        }
    }

    /// The client of a live lease was heard: whatever ended its presence connection, it was not its death.
    fn lives(&mut self, lease: &LeaseId) {
        if self.safeguards.renewal_ends_the_wait {
            self.no_presence_wait(lease);
        }
    }

    /// Presence is turned off for the network that this lease was asked for from. On this machine's own socket nothing ends a connection but its process.
    fn regretted(&self, slot: Slot) -> bool {
        self.leases.at(slot).holder.network().is_some_and(|network| self.presence_off.by(network, self.now.at).is_some())
    }

    fn reclaim(&mut self, lease: &LeaseId, now: bool, actor: &Actor, sink: &mut Sink<'_>) -> Outcome {
        let Some(slot) = self.leases.find(lease) else {
            return match self.ended(lease) {
                Some(_) => Outcome::Reclaimed { remaining_ms: 0 },
                None if self.waiting_ids.contains_key(lease) => {
                    Outcome::Refused(Refusal::NothingToDo("it waits in line and holds nothing"))
                }
                None => Outcome::Refused(Refusal::UnknownLease),
            };
        };
        let found = self.leases.at(slot);
        let (phase, ending, due) = (found.phase, found.ending, found.deadline);
        let items = self.seats_of(slot);
        if phase == Phase::Lingering {
            self.emit(sink, Event::LingerEnded { lease: *lease, items });
            self.work_lines(sink);
            return Outcome::Reclaimed { remaining_ms: 0 };
        }
        let actor = Some(actor.clone());
        if now {
            self.emit(sink, Event::Ended { lease: *lease, due, reason: EndReason::Reclaimed, linger_until: None, items, actor });
            self.work_lines(sink);
            return Outcome::Reclaimed { remaining_ms: 0 };
        }
        if ending.is_none() {
            self.begin_ending(slot, EndReason::Reclaimed, actor, sink);
        }
        Outcome::Reclaimed { remaining_ms: due.since_ms(self.now.at) }
    }

    // Checkout.

    pub(crate) fn checkout(&mut self, asked: &Asked<'_>, sink: &mut Sink<'_>) -> Option<Outcome> {
        if let Err(refusal) = well_formed(asked.items, asked.vendor_keys) {
            return Some(Outcome::Refused(refusal));
        }
        if let Some(outcome) = self.known(asked, sink) {
            return outcome;
        }
        // Before anything that makes the server remember the id: a denial in a quarantine does.
        if let Some(refusal) = self.too_many_ids(&asked.lease, asked.network, sink) {
            return Some(Outcome::Refused(refusal));
        }
        if self.withholds() {
            return Some(self.deny_in_quarantine(asked, sink));
        }
        if self.leases.len() >= LEASES_MAX {
            return Some(self.deny(asked, None, bare_denial(DenialCode::ServerFull), sink));
        }
        let mut no_seat: Option<(VendorId, Vec<WishItem>, Denial)> = None;
        let mut other: Option<(VendorId, Denial)> = None;
        for vendor in self.vendors_of(asked.vendor_keys) {
            let wished = match self.wished(vendor, asked.items) {
                Ok(wished) => wished,
                Err(denial) => {
                    other.get_or_insert((vendor, *denial));
                    continue;
                }
            };
            if self.safeguards.due_before_decide && wished.iter().any(|item| self.unsettled(item.pool)) {
                return None;
            }
            if let Some(item) = wished.iter().find(|item| self.pool_is_full_of_leases(item.pool)) {
                other.get_or_insert((vendor, Denial { code: DenialCode::ServerFull, ..self.no_seat_free(item) }));
                continue;
            }
            let in_line = self.in_lines(&wished, u64::MAX, &self.accepting.embeds);
            let placed = match wished.iter().find_map(|item| self.hopeless(item)) {
                Some(denial) => Placed::Hopeless(denial),
                None if in_line == InLine::Behind => {
                    let behind = |item: &&WishItem| self.in_line(item.pool, u64::MAX, &self.accepting.embeds) == InLine::Behind;
                    Placed::NoSeatFree(self.no_seat_free(wished.iter().find(behind).expect("just found")))
                }
                None => self.place_all(&wished, in_line == InLine::Passes),
            };
            match placed {
                Placed::Fits { items, moves } => {
                    self.hand_out(moves, sink);
                    let (ttl_ms, linger_ms) = self.terms_of(&items, asked.ttl_ms);
                    self.keep_accepted(asked.lease, sink);
                    self.emit(
                        sink,
                        Event::Granted {
                            lease: asked.lease,
                            attempt: asked.attempt,
                            content: asked.content,
                            holder: asked.holder.clone(),
                            items,
                            ttl_ms,
                            linger_ms,
                            asked_ttl_ms: asked.asked_ttl_ms(self.limits.ttl_ms_max),
                            claim_due: None,
                            embeds: self.kept_keys(&[vendor]),
                            network: asked.network,
                        },
                    );
                    let slot = self.leases.find(&asked.lease).expect("just granted");
                    return Some(Outcome::Granted(Box::new(self.grant(slot))));
                }
                Placed::NoSeatFree(denial) => {
                    no_seat.get_or_insert((vendor, wished, denial));
                }
                Placed::Hopeless(denial) => {
                    if other.as_ref().is_none_or(|(_, denial)| denial.code == DenialCode::UnknownFeature) {
                        other = Some((vendor, denial));
                    }
                }
            }
        }
        if let Some((vendor, wished, denial)) = no_seat {
            // Nobody is turned away over a seat whose time is up but not handled yet.
            if self.safeguards.due_before_decide && self.due_backlog() {
                return None;
            }
            return Some(match asked.wait_ms {
                Some(wait_ms) if wait_ms > 0 => self.queue(asked, vendor, wished, wait_ms.min(WAIT_MS_MAX), denial, sink),
                _ => self.deny(asked, Some(vendor), denial, sink),
            });
        }
        Some(match other {
            Some((vendor, denial)) => self.deny(asked, Some(vendor), denial, sink),
            None => self.deny(asked, None, bare_denial(DenialCode::UnknownVendor), sink),
        })
    }

    /// The answer for an id that was seen before, in itself none if it has to wait for the next entry; `None` if it is to be decided (anew).
    fn known(&mut self, asked: &Asked<'_>, sink: &mut Sink<'_>) -> Option<Option<Outcome>> {
        let stale = |last: u32| {
            (asked.attempt < last && self.safeguards.attempts_ordered).then_some(Outcome::Refused(Refusal::StaleAttempt { last }))
        };
        if let Some(slot) = self.leases.find(&asked.lease)
            && self.leases.at(slot).phase != Phase::Lingering
        {
            let lease = self.leases.at(slot);
            if lease.content != asked.content {
                return Some(Some(Outcome::Refused(Refusal::IdTaken)));
            }
            return Some(stale(lease.attempt).or_else(|| self.live(slot, sink)));
        }
        if let Some(order) = self.waiting_ids.get(&asked.lease).copied() {
            let waiter = &self.line[&order];
            if waiter.content != asked.content {
                return Some(Some(Outcome::Refused(Refusal::IdTaken)));
            }
            let (stale, heard) = (stale(waiter.attempt), waiter.heard == self.epoch_narrow());
            return Some(Some(stale.unwrap_or_else(|| {
                if !heard && self.safeguards.waiter_heard {
                    self.emit(sink, Event::WaiterHeard { lease: asked.lease });
                    return self.place_in_line(order);
                }
                self.waiter_asked(order);
                self.place_in_line(order)
            })));
        }
        if let Some(known) = self.remembered.get(&asked.lease) {
            if !known.may_be(asked.content) {
                return Some(Some(Outcome::Refused(Refusal::IdTaken)));
            }
            if known.ended.is_none() {
                let same = known.denial.as_ref().filter(|_| known.attempt == asked.attempt && self.safeguards.attempts_ordered);
                return stale(known.attempt).or_else(|| same.map(|denial| Outcome::Denied((**denial).clone()))).map(Some);
            }
        }
        if self.ended(&asked.lease).is_some() {
            self.regret(&asked.lease, asked.regained, sink);
            return Some(Some(Outcome::Denied(bare_denial(DenialCode::LeaseEnded))));
        }
        None
    }

    /// Nothing is granted until the quarantine ends; the numbers are those of the first part's pool.
    fn deny_in_quarantine(&mut self, asked: &Asked<'_>, sink: &mut Sink<'_>) -> Outcome {
        let ends = self.quarantine_until.map_or(self.quarantine_ms(), |until| until.since_ms(self.now.at));
        let vendors = self.vendors_of(asked.vendor_keys);
        let found = vendors.into_iter().find_map(|vendor| Some((vendor, *self.wished(vendor, asked.items).ok()?.first()?)));
        let denial = match (&found, asked.items.first()) {
            (Some((_, first)), _) => self.denial(first),
            (None, Some(first)) => {
                Denial { feature: Some(first.feature.clone()), seats: first.seats, ..bare_denial(DenialCode::Quarantine) }
            }
            (None, None) => bare_denial(DenialCode::Quarantine),
        };
        let denial = Denial { code: DenialCode::Quarantine, first_due_ms: Some(ends), ..denial };
        self.deny(asked, found.map(|(vendor, _)| vendor), denial, sink)
    }

    /// One fact for all that were refused without a record.
    fn count_denials(&mut self, since: Timestamp, pools: &[(PoolId, u64)], elsewhere: u64, sink: &mut Sink<'_>) -> Outcome {
        let mut elsewhere = elsewhere;
        let mut counted: BTreeMap<PoolId, u64> = BTreeMap::new();
        for (pool, count) in pools.iter().filter(|(_, count)| *count > 0) {
            let pool = self.resolve(*pool);
            if self.pool(pool).is_some() && (counted.contains_key(&pool) || counted.len() < DENIALS_COUNTED_POOLS_MAX) {
                let sum = counted.entry(pool).or_default();
                *sum = sum.saturating_add(*count);
            } else {
                elsewhere = elsewhere.saturating_add(*count);
            }
        }
        if counted.is_empty() && elsewhere == 0 {
            return Outcome::Refused(Refusal::NothingToDo("nothing was denied without a record"));
        }
        let since = since.min(self.now.at);
        self.emit(sink, Event::DenialsCounted { since, pools: counted.into_iter().collect(), elsewhere });
        Outcome::Done
    }

    fn deny(&mut self, asked: &Asked<'_>, vendor: Option<VendorId>, denial: Denial, sink: &mut Sink<'_>) -> Outcome {
        self.emit(
            sink,
            Event::Denied {
                lease: asked.lease,
                attempt: asked.attempt,
                content: asked.content,
                holder: asked.holder.clone(),
                vendor,
                denial: denial.clone(),
                network: asked.network,
            },
        );
        Outcome::Denied(denial)
    }

    fn queue(
        &mut self,
        asked: &Asked<'_>,
        vendor: VendorId,
        wished: Vec<WishItem>,
        wait_ms: u64,
        denial: Denial,
        sink: &mut Sink<'_>,
    ) -> Outcome {
        if wished.iter().any(|item| !self.has_place(item.pool, asked.network)) {
            return self.deny(asked, Some(vendor), Denial { code: DenialCode::QueueFull, ..denial }, sink);
        }
        let items =
            wished.into_iter().map(|item| GrantedItem { pool: item.pool, version: item.version, seats: item.seats, charges: Vec::new() });
        let items: Vec<_> = items.collect();
        // What is asked for is kept; at the grant it is bounded by the terms of what the lease is charged to then.
        let ttl_ms = asked.asked_ttl_ms(self.limits.ttl_ms_max).unwrap_or(0);
        self.keep_accepted(asked.lease, sink);
        self.emit(
            sink,
            Event::Queued {
                lease: asked.lease,
                attempt: asked.attempt,
                content: asked.content,
                holder: asked.holder.clone(),
                items,
                ttl_ms,
                linger_ms: 0,
                gives_up: self.now.at.after_ms(wait_ms),
                embeds: self.kept_keys(&[vendor]),
                network: asked.network,
            },
        );
        self.place_in_line(self.waiting_ids[&asked.lease])
    }

    /// Whether a line has a place for this network.
    fn has_place(&self, pool: PoolId, network: Option<Network>) -> bool {
        let Limits { waiters_per_network_max, waiters_per_pool_max, .. } = self.limits;
        let everywhere = Share { network: waiters_per_network_max, all: WAITERS_MAX };
        let line = Share { network: waiters_per_pool_max / 2, all: waiters_per_pool_max };
        let Some(pool) = self.pool(pool) else { return false };
        if self.waiting_crowd.total() >= WAITERS_MAX || pool.line.len() as u64 >= waiters_per_pool_max {
            return false;
        }
        let wider_too = self.safeguards.shares_by_wider_network;
        let hundredth = (pool.line.len() as u64).div_ceil(100);
        let in_line = || pool.crowd.as_ref().is_none_or(|crowd| crowd.admits(network, line, Some(hundredth), wider_too));
        !self.safeguards.shares_by_network || self.waiting_crowd.admits(network, everywhere, None, wider_too) && in_line()
    }

    /// The answer to somebody in line.
    fn place_in_line(&self, order: u64) -> Outcome {
        let waiter = &self.line[&order];
        let ahead = |pool: PoolId| self.pool(pool).map_or(0, |pool| pool.line.before(order));
        let worst = waiter.items.iter().max_by_key(|item| ahead(item.pool)).copied();
        let pool = worst.and_then(|item| self.pool(item.pool));
        Outcome::Waiting {
            place: worst.map_or(1, |item| ahead(item.pool) as u32 + 1),
            pool: pool.map(|pool| self.numbers_for(pool, &waiter.embeds.keys)).unwrap_or_default(),
            gives_up_in_ms: waiter.gives_up.since_ms(self.now.at),
            first_due_ms: worst.and_then(|item| self.first_due_ms(item.pool, &waiter.embeds.keys)),
        }
    }

    /// How somebody stands in all of its lines.
    pub(crate) fn in_lines(&self, items: &[WishItem], order: u64, embeds: &VerifierKeys) -> InLine {
        if !self.safeguards.queue_strict {
            return InLine::First;
        }
        items.iter().map(|item| self.in_line(item.pool, order, embeds)).max().unwrap_or(InLine::First)
    }

    /// Grants, to the head of a line, what fits now; it must come for it.
    pub(crate) fn serve(&mut self, order: u64, sink: &mut Sink<'_>) -> bool {
        self.accepting = self.accepting_in_line(&self.line[&order]);
        let items = self.line[&order].items.clone();
        let passes = self.in_lines(&items, order, &self.accepting.embeds) == InLine::Passes;
        match self.place_all(&items, passes) {
            Placed::Fits { items, moves } => {
                self.hand_out(moves, sink);
                let waiter = &self.line[&order];
                let asked = (waiter.ttl_ms > 0).then_some(waiter.ttl_ms);
                let (ttl_ms, linger_ms) = self.terms_of(&items, asked);
                let granted = Event::Granted {
                    lease: waiter.lease,
                    attempt: waiter.attempt,
                    content: waiter.content,
                    holder: waiter.holder.clone(),
                    items,
                    ttl_ms,
                    linger_ms,
                    asked_ttl_ms: asked,
                    claim_due: Some(self.now.at.after_ms(self.limits.claim_ms)),
                    embeds: waiter.embeds.keys.clone(),
                    network: waiter.network,
                };
                self.emit(sink, granted);
                true
            }
            Placed::NoSeatFree(_) => false,
            Placed::Hopeless(_) => {
                self.dequeue_with(order, DequeueReason::Hopeless, sink);
                true
            }
        }
    }

    // What a checkout names.

    /// What is kept of the keys that a request names whose seats are these vendors': all, if they are one vendor's or few other sets are kept; else those of
    /// the vendors.
    pub(crate) fn kept_keys(&self, vendors: &[VendorId]) -> VerifierKeys {
        let embeds = &self.accepting.embeds;
        let is_own = |key: &[u8; 32]| self.keys.get(key).is_some_and(|vendor| vendors.contains(vendor));
        let of_one_vendor = |set: &VerifierKeys| {
            let first = set.as_slice().first().and_then(|key| self.keys.get(key));
            first.is_some() && set.as_slice().iter().all(|key| self.keys.get(key) == first)
        };
        let sets = || self.wishes.key_sets.iter();
        let is_room = || {
            let looked = sets().take(KEY_SETS_LOOKED_AT_MAX);
            sets().nth(KEY_SETS_LOOKED_AT_MAX).is_none() && looked.filter(|set| !of_one_vendor(set)).count() < KEY_SETS_OF_OTHERS_MAX
        };
        let all_are_kept = !self.safeguards.made_up_keys_are_few
            || of_one_vendor(embeds) && embeds.as_slice().iter().all(is_own)
            || self.wishes.key_sets.contains(embeds)
            || is_room();
        if all_are_kept {
            return embeds.clone();
        }
        let own: Vec<[u8; 32]> = embeds.as_slice().iter().copied().filter(is_own).collect();
        VerifierKeys::of(&own)
    }

    /// The vendors that these keys name here, in the order of the keys.
    pub(crate) fn vendors_of(&self, keys: &[[u8; 32]]) -> Vec<VendorId> {
        let mut vendors = Vec::with_capacity(1);
        for key in keys {
            if let Some(vendor) = self.keys.get(key)
                && !vendors.contains(vendor)
            {
                vendors.push(*vendor);
            }
        }
        vendors
    }

    fn wished(&self, vendor: VendorId, items: &[CheckoutItem]) -> Result<Vec<WishItem>, Box<Denial>> {
        items
            .iter()
            .map(|item| match self.pool_of_feature(vendor, &item.feature) {
                Some(pool) => Ok(WishItem { pool, version: item.version, seats: item.seats }),
                None => {
                    let feature = Some(item.feature.clone());
                    Err(Box::new(Denial { feature, seats: item.seats, ..bare_denial(DenialCode::UnknownFeature) }))
                }
            })
            .collect()
    }

    /// Something in this pool comes before a newcomer: leases without their entitlement, or a line that was not looked at since seats came.
    fn unsettled(&self, pool: PoolId) -> bool {
        let pool = self.resolve(pool);
        let waiters = self.dirty.contains(&pool) || self.recheck.contains_key(&pool);
        waiters
            || self.licenses_change_in(pool)
            || self.stranded.range((pool, EntitlementId(0))..=(pool, EntitlementId(u32::MAX))).next().is_some()
    }

    fn pool_is_full_of_leases(&self, pool: PoolId) -> bool {
        let leases = |pool: &Pool| {
            let rights = pool.rights.iter().filter_map(|right| self.right(*right));
            rights.flat_map(|right| right.held.values()).map(std::collections::BTreeSet::len).sum::<usize>()
        };
        // Leases are counted only where seats already say that there may be so many.
        self.pool(pool).is_some_and(|pool| pool.taken() >= u64::from(LEASES_PER_POOL_MAX) && leases(pool) >= LEASES_PER_POOL_MAX as usize)
    }
}

pub(crate) fn well_formed(items: &[CheckoutItem], vendor_keys: &[[u8; 32]]) -> Result<(), Refusal> {
    if items.is_empty() || items.len() > ITEMS_PER_CHECKOUT_MAX {
        return Err(Refusal::Malformed("a checkout has 1 to 32 parts"));
    }
    if vendor_keys.is_empty() {
        return Err(Refusal::Malformed("a checkout names its vendor's keys"));
    }
    if vendor_keys.len() > VENDOR_KEYS_MAX {
        return Err(Refusal::Malformed("a checkout names at most 16 keys"));
    }
    if items.iter().any(|item| item.seats == 0) {
        return Err(Refusal::Malformed("a part has at least one seat"));
    }
    let twice = |(position, item): (usize, &CheckoutItem)| items[..position].iter().any(|other| other.feature == item.feature);
    if items.iter().enumerate().any(twice) {
        return Err(Refusal::Malformed("a feature is asked for once in a checkout"));
    }
    Ok(())
}

/// A denial that no pool's numbers belong to.
fn bare_denial(code: DenialCode) -> Denial {
    Denial {
        code,
        feature: None,
        seats: 0,
        pool: PoolNumbers::default(),
        first_due_ms: None,
        newest_version: None,
        at_civil_ms: None,
        clock_ms: None,
    }
}
