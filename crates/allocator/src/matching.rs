//! Which entitlements a wish is charged to, and which charges move to make room for it.
//!
//! Coverage is nested: who covers a version covers every older one. So a wish fits after some rearrangement exactly if a chain of moves
//! leads from an older entitlement with a free seat to one that covers it; the shortest chain is found by breadth.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    Allocator, Charge, Denial, DenialCode, EntitlementId, Event, GrantedItem, PoolId, PoolNumbers, RightEnd, VerifierKeys,
    allocator::{Pool, Right},
    limits::{
        CHARGES_PER_PART_MAX, FIRST_DUE_SCAN_MAX, KEY_SETS_IN_LINE_MAX, KINDS_LOOKED_AT_MAX, MOVES_PER_CHECKOUT_MAX, TTL_MS_DEFAULT,
        TTL_MS_MIN,
    },
    store::{Rank, Slot, WishItem},
};

/// What became of trying to place a wish.
pub(crate) enum Placed {
    /// It fits so; the moves that made room are folded in already and must be handed out before the grant.
    Fits { items: Vec<GrantedItem>, moves: Vec<Event> },
    /// It may fit when somebody leaves.
    NoSeatFree(Denial),
    /// Waiting for seats cannot help.
    Hopeless(Denial),
}

/// How somebody stands in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum InLine {
    /// Nobody comes before.
    First,
    /// Who comes before can have none of the same seats, however leases move.
    Passes,
    /// Somebody comes before.
    Behind,
}

impl Allocator {
    /// Tries to place all parts of a wish, or none. Who passes somebody in line moves nobody to make room.
    pub(crate) fn place_all(&mut self, items: &[WishItem], passes: bool) -> Placed {
        for item in items {
            if let Some(denial) = self.hopeless(item) {
                return Placed::Hopeless(denial);
            }
        }
        let short = items
            .iter()
            .find(|item| self.free_for_version(item.pool, item.rank()) < item.seats.into() && self.safeguards.grant_within_total);
        if let Some(item) = short {
            return Placed::NoSeatFree(self.no_seat_free(item));
        }
        let mut moves = Vec::new();
        let mut granted = Vec::with_capacity(items.len());
        for item in items {
            let pool = self.resolve(item.pool);
            let charges = match self.place(pool, item.rank(), item.seats.into(), CHARGES_PER_PART_MAX, !passes, &mut moves) {
                Some(charges) => charges,
                None if !self.safeguards.grant_within_total => match self.pile_on(pool, item.rank(), item.seats) {
                    Some(charge) => vec![charge],
                    None => return Placed::NoSeatFree(self.no_seat_free(item)),
                },
                None => {
                    self.undo(moves);
                    return Placed::NoSeatFree(self.no_seat_free(item));
                }
            };
            granted.push(GrantedItem { pool, version: item.version, seats: item.seats, charges });
        }
        Placed::Fits { items: granted, moves }
    }

    /// How many seats a grant for this rank may take without more leases than entitlements for any version: what is free in the pool, and of each
    /// older version, in the entitlements that cover newer ones, what is left by all who need such a one, wherever they are charged. Who must go
    /// because a license ended, and who is charged where there is no seat, hold seats that no entitlement shows.
    pub(crate) fn free_for_version(&self, pool: PoolId, rank: Rank) -> u64 {
        let Some(found) = self.pool(pool) else { return 0 };
        let free = found.free();
        let rights = || found.rights.iter().filter_map(|id| self.right(*id));
        if !self.some_are_beside(found) || !self.safeguards.grant_within_versions {
            return free;
        }
        let mut seats: BTreeMap<Rank, u64> = BTreeMap::new();
        for right in rights().filter(|right| right.in_force()) {
            *seats.entry(right.rank()).or_default() += right.seats;
        }
        let mut asked = found.asked.iter().rev().peekable();
        let (mut there, mut taken, mut least) = (0u64, 0u64, free);
        // From the newest entitlements down: before those of a rank are added, what is there is only for who needs a newer one.
        for (covered, more) in seats.iter().rev() {
            while let Some((_, wanted)) = asked.next_if(|(asked, _)| *asked > covered) {
                taken += wanted;
            }
            if *covered < rank {
                least = least.min(there.saturating_sub(taken));
            }
            there += more;
        }
        least
    }

    /// Seats of a pool are taken that no entitlement shows: whoever has them must go.
    fn some_are_beside(&self, pool: &Pool) -> bool {
        let mut rights = pool.rights.iter().filter_map(|id| self.right(*id));
        rights.any(|right| right.charged > if right.in_force() { right.seats } else { 0 })
    }

    /// How somebody stands in a pool's line, for a newcomer the end of it: who comes before, and may want the seats that a client with these keys can
    /// have, is not passed. Nobody is that who can never be charged there, whoever moves.
    pub(crate) fn in_line(&self, pool: PoolId, order: u64, embeds: &VerifierKeys) -> InLine {
        let Some(found) = self.pool(pool) else { return InLine::First };
        if found.line.first().is_none_or(|first| first >= order) {
            return InLine::First;
        }
        // Where seats are taken beside the entitlements, what is free is free for all of them together.
        let strict = !self.safeguards.keys_bind_charges || found.line_by_keys.len() > KEY_SETS_IN_LINE_MAX;
        let mut earlier = found.line_by_keys.values().filter(|(_, orders)| orders.first().is_some_and(|first| *first < order));
        if strict
            || earlier.any(|(set, _)| set.keys == *embeds || self.may_want_seats_of(found, &set.keys, embeds))
            || self.some_are_beside(found)
        {
            return InLine::Behind;
        }
        InLine::Passes
    }

    /// Whether a client that embeds some keys might be charged where one that embeds others can be, now or when leases have moved.
    fn may_want_seats_of(&self, pool: &Pool, waits: &VerifierKeys, wants: &VerifierKeys) -> bool {
        let mut rights: Vec<&Right> = pool.rights.iter().filter_map(|id| self.right(*id)).filter(|right| right.ended.is_none()).collect();
        let mut reached: Vec<VerifierKeys> = vec![waits.clone()];
        while let Some(embeds) = reached.pop() {
            let (here, rest): (Vec<&Right>, Vec<&Right>) = rights.into_iter().partition(|right| self.can_verify(&embeds, right));
            rights = rest;
            for right in here {
                if self.can_verify(wants, right) || right.held.len() > KINDS_LOOKED_AT_MAX {
                    return true;
                }
                for slot in right.held.values().filter_map(|slots| slots.first()) {
                    let keys = &self.leases.at(*slot).wish.embeds.keys;
                    if !reached.contains(keys) {
                        reached.push(keys.clone());
                    }
                }
            }
        }
        false
    }

    /// Finds seats for one part from at most so many entitlements, moving other leases' charges if need be and if they may; those moves are folded in
    /// and appended to `moves`. On failure the caller undoes them.
    pub(crate) fn place(
        &mut self,
        pool: PoolId,
        rank: Rank,
        seats: u64,
        most: usize,
        others_may_move: bool,
        moves: &mut Vec<Event>,
    ) -> Option<Vec<Charge>> {
        loop {
            let free = self.free_for(pool, rank)?;
            let (charges, need) = charged_to(free, seats);
            if need == 0 && charges.len() <= most {
                return Some(charges);
            }
            if need == 0 {
                // Those that end soonest are too many and too small.
                let mut largest: Vec<_> = self.free_for(pool, rank)?.collect();
                largest.sort_by_key(|(_, free)| std::cmp::Reverse(*free));
                let (charges, need) = charged_to(largest.into_iter().take(most), seats);
                return (need == 0).then_some(charges);
            }
            if !others_may_move || !self.safeguards.charges_move || !self.make_room(pool, rank, need, moves) {
                return None;
            }
        }
    }

    /// Where a lease of this rank may be charged, and how many seats are free there.
    fn free_for(&self, pool: PoolId, rank: Rank) -> Option<impl Iterator<Item = (EntitlementId, u64)>> {
        let rights = self.pool(pool)?.rights.iter().filter_map(|id| Some((*id, self.right(*id)?)));
        let fit = rights.filter(move |(_, right)| right.in_force() && right.rank() >= rank && self.is_accepted(right));
        Some(fit.map(|(id, right)| (id, right.free())).filter(|(_, free)| *free > 0))
    }

    /// One chain of moves that frees at least one seat for `rank`. False if there is none, or too many moves were made.
    fn make_room(&mut self, pool: PoolId, rank: Rank, need: u64, moves: &mut Vec<Event>) -> bool {
        let Some(found) = self.pool(pool) else { return false };
        let mut came: BTreeMap<EntitlementId, Option<EntitlementId>> = BTreeMap::new();
        let mut frontier = VecDeque::new();
        let in_force = |id: &EntitlementId| self.right(*id).filter(|right| right.in_force());
        // Others are moved only to where nothing must have been accepted, so that the chain needs to know of no lease what its client accepts.
        for id in &found.rights {
            if in_force(id)
                .is_some_and(|right| right.free() > 0 && right.needs.is_empty() && (right.rank() < rank || !self.is_accepted(right)))
            {
                came.insert(*id, None);
                frontier.push_back(*id);
            }
        }
        let mut chain = Vec::new();
        'search: while let Some(to) = frontier.pop_front() {
            let Some(target) = in_force(&to) else { continue };
            for from in &found.rights {
                let Some(right) = in_force(from) else { continue };
                if came.contains_key(from) || self.who_moves(right, target).is_none() {
                    continue;
                }
                came.insert(*from, Some(to));
                if right.rank() >= rank && self.is_accepted(right) {
                    let mut from = *from;
                    while let Some(Some(to)) = came.get(&from) {
                        chain.push((from, *to));
                        from = *to;
                    }
                    break 'search;
                }
                if right.needs.is_empty() {
                    frontier.push_back(*from);
                }
            }
        }
        let Some((_, last)) = chain.last().copied() else { return false };
        if moves.len() + chain.len() > MOVES_PER_CHECKOUT_MAX {
            return false;
        }
        let mut amount = need.min(self.right(last).map_or(0, Right::free));
        let mut hops = Vec::with_capacity(chain.len());
        for (from, to) in chain.into_iter().rev() {
            let Some(slot) = self.right(from).and_then(|right| self.who_moves(right, self.right(to)?)) else { return false };
            let mut there = None;
            self.leases.each_charge(slot, |item, charge| {
                if charge.entitlement == from {
                    there = Some((item, charge.seats));
                }
            });
            let Some((item, seats)) = there else { return false };
            amount = amount.min(seats.into());
            hops.push((slot, item, from, to, seats));
        }
        let seats = u32::try_from(amount).unwrap_or(u32::MAX);
        // What moves in part is charged to one entitlement more than before.
        let spreads = |(slot, item, _, _, all): &(Slot, usize, EntitlementId, EntitlementId, u32)| {
            seats < *all && self.leases.charges(*slot, *item).len() >= CHARGES_PER_PART_MAX
        };
        if hops.iter().any(spreads) {
            return false;
        }
        for (slot, item, from, to, _) in hops {
            let moved = Event::ChargeMoved { lease: self.leases.at(slot).id, item: item as u8, from, to, seats };
            if self.fold(&moved).is_err() {
                return false;
            }
            moves.push(moved);
        }
        true
    }

    /// A lease that is charged to an entitlement and may be charged to another one too: of the oldest version that there is, because it fits most
    /// places.
    fn who_moves(&self, from: &Right, to: &Right) -> Option<Slot> {
        let kinds = from.held.range(..=(to.rank(), u64::MAX)).take(KINDS_LOOKED_AT_MAX);
        // Those of one kind embed the same keys.
        let first = kinds.filter_map(|(_, slots)| slots.first().copied());
        first.into_iter().find(|slot| self.can_verify(&self.leases.at(*slot).wish.embeds.keys, to))
    }

    /// Takes moves back that were folded in but made no room in the end. A lease may always be where it was, whatever speaks against moving
    /// it there.
    pub(crate) fn undo(&mut self, moves: Vec<Event>) {
        for moved in moves.into_iter().rev() {
            if let Event::ChargeMoved { lease, item, from, to, seats } = moved
                && let Some(slot) = self.leases.find(&lease)
            {
                self.shift_charge(slot, usize::from(item), to, from, seats).expect("what has just moved there is still there");
            }
        }
    }

    /// Where an adopted lease is charged that fits nowhere: the first entitlement that covers it goes over.
    pub(crate) fn pile_on(&self, pool: PoolId, rank: Rank, seats: u32) -> Option<Charge> {
        let covers =
            |id: &&EntitlementId| self.right(**id).is_some_and(|right| right.in_force() && right.rank() >= rank && self.is_accepted(right));
        let entitlement = *self.pool(pool)?.rights.iter().find(covers)?;
        Some(Charge { entitlement, seats })
    }

    /// Why waiting for seats cannot help, if so.
    pub(crate) fn hopeless(&self, item: &WishItem) -> Option<Denial> {
        let rank = item.rank();
        let clock_ms = self.clock_refused.map(|(_, reading_ms)| reading_ms);
        let Some(pool) = self.pool(item.pool) else {
            return Some(Denial { code: DenialCode::UnknownFeature, ..self.denial(item) });
        };
        // What the client cannot verify is nothing to it.
        let rights = || pool.rights.iter().filter_map(|id| self.right(*id)).filter(|right| self.is_verifiable(right));
        let in_force = || rights().filter(|right| right.in_force());
        let covering = || in_force().filter(|right| right.rank() >= rank && self.is_accepted(right));
        if covering().next().is_none() && in_force().any(|right| right.rank() >= rank) {
            return Some(Denial { code: DenialCode::WordsNotAccepted, ..self.denial(item) });
        }
        if covering().next().is_none() {
            let gone = |right: &&Right| matches!(right.ended, Some(RightEnd::Removed | RightEnd::Replaced));
            let waiting = rights().filter(|right| !gone(right) && right.rank() >= rank).filter_map(|right| right.starts);
            if let Some(starts) = waiting.filter(|starts| *starts > self.now.wall_ms).min() {
                return Some(Denial { code: DenialCode::NotYetValid, at_civil_ms: Some(starts), clock_ms, ..self.denial(item) });
            }
            if let Some(newest) = in_force().max_by_key(|right| right.rank()) {
                return Some(Denial { code: DenialCode::VersionNotCovered, newest_version: newest.version, ..self.denial(item) });
            }
            // What was taken off before its last day did not end by it.
            let expired = rights().filter(|right| !gone(right) && right.rank() >= rank).filter_map(|right| right.expires).max();
            let code = if rights().next().is_none() { DenialCode::UnknownFeature } else { DenialCode::Expired };
            let clock_ms = clock_ms.filter(|_| code == DenialCode::Expired);
            return Some(Denial { code, at_civil_ms: expired, clock_ms, ..self.denial(item) });
        }
        let mut seats: Vec<u64> = covering().map(|right| right.seats).collect();
        if seats.len() > CHARGES_PER_PART_MAX {
            // A part is charged to so many entitlements and no more: at best to the largest.
            seats.sort_unstable_by_key(|seats| std::cmp::Reverse(*seats));
            seats.truncate(CHARGES_PER_PART_MAX);
        }
        if seats.iter().sum::<u64>() < item.seats.into() {
            return Some(Denial { code: DenialCode::MoreThanPool, ..self.denial(item) });
        }
        None
    }

    pub(crate) fn no_seat_free(&self, item: &WishItem) -> Denial {
        Denial { code: DenialCode::NoSeatFree, first_due_ms: self.first_due_ms(item.pool, &self.accepting.embeds), ..self.denial(item) }
    }

    pub(crate) fn denial(&self, item: &WishItem) -> Denial {
        let pool = self.pool(item.pool);
        Denial {
            code: DenialCode::NoSeatFree,
            feature: pool.map(|pool| pool.feature.clone()),
            seats: item.seats,
            pool: pool.map_or(PoolNumbers::default(), |pool| self.numbers_for(pool, &self.accepting.embeds)),
            first_due_ms: None,
            newest_version: None,
            at_civil_ms: None,
            clock_ms: None,
        }
    }

    /// The numbers of a pool as a client sees it that embeds these keys: of the seats whose licenses it can verify.
    pub(crate) fn numbers_for(&self, pool: &Pool, embeds: &VerifierKeys) -> PoolNumbers {
        let rights = || pool.rights.iter().filter_map(|id| self.right(*id));
        if rights().all(|right| self.can_verify(embeds, right)) {
            return pool.numbers();
        }
        let (mut total, mut charged, mut lingering) = (0, 0, 0);
        for right in rights().filter(|right| self.can_verify(embeds, right)) {
            total += if right.in_force() { right.seats } else { 0 };
            charged += right.charged;
            lingering += right.lingering;
        }
        let (free, over) = (total.saturating_sub(charged), charged.saturating_sub(total));
        PoolNumbers { total, used: charged - lingering, lingering, free, over, ..pool.numbers() }
    }

    /// The earliest deadline or end of linger of the seats of a pool whose licenses can be verified by these keys, in milliseconds from now; in a pool
    /// with more than [`FIRST_DUE_SCAN_MAX`] leases, of those that were looked at.
    pub(crate) fn first_due_ms(&self, pool: PoolId, embeds: &VerifierKeys) -> Option<u64> {
        let rights = self.pool(pool)?.rights.iter().filter_map(|id| self.right(*id)).filter(|right| self.can_verify(embeds, right));
        let slots = rights.flat_map(|right| right.held.values().flatten()).take(FIRST_DUE_SCAN_MAX);
        slots.map(|slot| self.leases.at(*slot).deadline.since_ms(self.now.at)).min()
    }

    /// Time to live and linger of a lease that is charged so: what was asked for, what the vendor wants, within what the vendor permits.
    pub(crate) fn terms_of(&self, items: &[GrantedItem], asked_ttl_ms: Option<u64>) -> (u64, u64) {
        let rights = || items.iter().flat_map(|item| &item.charges).filter_map(|charge| self.right(charge.entitlement));
        let most = rights().map(|right| right.ttl_max_ms).min().unwrap_or(TTL_MS_DEFAULT);
        let usual = rights().filter_map(|right| right.ttl_ms).min().unwrap_or(TTL_MS_DEFAULT);
        let ttl_ms = asked_ttl_ms.unwrap_or(usual).min(most).min(self.limits.ttl_ms_max).max(TTL_MS_MIN);
        (ttl_ms, rights().map(|right| right.linger_ms).max().unwrap_or(0))
    }
}

/// Charges that take so many seats of what is free, in this order, and how many are missing.
fn charged_to(free: impl Iterator<Item = (EntitlementId, u64)>, seats: u64) -> (Vec<Charge>, u64) {
    let mut need = seats;
    let mut charges = Vec::new();
    for (entitlement, free) in free {
        if need == 0 {
            break;
        }
        let take = u32::try_from(free.min(need)).unwrap_or(u32::MAX);
        charges.push(Charge { entitlement, seats: take });
        need -= u64::from(take);
    }
    (charges, need)
}
