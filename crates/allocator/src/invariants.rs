//! The invariants of docs/leases.md that can be seen from states and events, as functions with their names: tests, properties and the
//! simulation call these, and the allocator itself the cheap ones.

use std::collections::{BTreeMap, BTreeSet};

use triquest_license::LicenseHash;

use crate::{
    Allocator, Command, EntitlementId, Event, Index, LeaseId, Moment, PoolId, Safeguards, StateRecord, VerifierKeys,
    allocator::Pool,
    limits::ITEMS_PER_CHECKOUT_MAX,
    store::{Phase, Rank},
};

impl Allocator {
    /// Checks the conservation law and the indexes against a recount; `Err` names the broken invariant.
    ///
    /// # Errors
    /// The name of what is broken, and where.
    pub fn check_invariants(&self) -> Result<(), String> {
        seats_conserved(self)?;
        client_can_verify(self)
    }
}

/// `free + used + lingering + reserved_idle == total + over`, with `free == 0 || over == 0`, in every pool, recounted from leases and
/// entitlements.
///
/// # Errors
/// Where a count is not what a recount gives.
pub fn seats_conserved(state: &Allocator) -> Result<(), String> {
    let mut used = vec![0u64; state.pools.len()];
    let mut lingering = vec![0u64; state.pools.len()];
    let mut charged = vec![0u64; state.rights.len()];
    let mut right_lingering = vec![0u64; state.rights.len()];
    let mut asked: BTreeMap<PoolId, BTreeMap<Rank, u64>> = BTreeMap::new();
    let (mut live, mut restless) = (0, 0);
    for slot in state.leases.slots() {
        let lease = state.leases.at(slot);
        let taken = if lease.phase == Phase::Lingering { &mut lingering } else { &mut used };
        live += usize::from(lease.phase != Phase::Lingering);
        restless += usize::from(state.is_restless(lease));
        for item in &lease.wish.items {
            let pool = state.resolve(item.pool);
            *taken.get_mut(pool.0 as usize).ok_or_else(|| format!("seats_conserved: no {pool:?}"))? += u64::from(item.seats);
            *asked.entry(pool).or_default().entry(item.rank()).or_default() += u64::from(item.seats);
        }
        let mut left: [u64; ITEMS_PER_CHECKOUT_MAX] = [0; ITEMS_PER_CHECKOUT_MAX];
        for (left, item) in left.iter_mut().zip(&lease.wish.items) {
            *left = item.seats.into();
        }
        let mut broken = None;
        state.leases.each_charge(slot, |position, charge| {
            let (Some(item), Some(right)) = (lease.wish.items.get(position), state.right(charge.entitlement)) else {
                broken = Some(format!("{:?} charged for part {position} of {}", charge.entitlement, lease.id));
                return;
            };
            left[position] = left[position].wrapping_sub(charge.seats.into());
            charged[charge.entitlement.0 as usize] += u64::from(charge.seats);
            right_lingering[charge.entitlement.0 as usize] += if lease.phase == Phase::Lingering { u64::from(charge.seats) } else { 0 };
            if state.resolve(right.pool) != state.resolve(item.pool) || right.rank() < item.rank() {
                broken = Some(format!("{:?} does not cover {}", charge.entitlement, lease.id));
            }
            let held = right.held.get(&lease.wish.kind(position)).is_some_and(|slots| slots.contains(&slot));
            if !held && lease.ending.is_none() {
                broken = Some(format!("{} is not among those charged to {:?}", lease.id, charge.entitlement));
            }
        });
        if lease.wish.items.len() > left.len() || left.iter().any(|left| *left != 0) {
            broken = Some(format!("charges of {} do not add up", lease.id));
        }
        if let Some(broken) = broken {
            return Err(format!("seats_conserved: {broken}"));
        }
    }
    if live != state.live || restless != state.restless {
        return Err(format!("seats_conserved: {live} live and {restless} restless leases, counted {} and {}", state.live, state.restless));
    }
    for (right, id) in state.rights.iter().zip(0..).filter_map(|(right, id)| Some((right.as_ref()?, EntitlementId(id)))) {
        let recount = charged[id.0 as usize];
        let lingering = right_lingering[id.0 as usize];
        if (right.charged, right.lingering) != (recount, lingering) {
            let (charged, linger) = (right.charged, right.lingering);
            return Err(format!("seats_conserved: {id:?} has {recount} seats charged ({lingering} linger), counted {charged} ({linger})"));
        }
        if !right.in_force() && !right.held.is_empty() && !state.stranded.contains(&(state.resolve(right.pool), id)) {
            return Err(format!("seats_conserved: leases of {id:?} are stranded unseen"));
        }
    }
    for (pool, id) in state.pools.iter().zip(0..).filter_map(|(pool, id)| Some((pool.as_ref()?, PoolId(id)))) {
        let count = |counts: &[u64]| counts[id.0 as usize];
        let in_force = pool.rights.iter().filter_map(|right| state.right(*right)).filter(|right| right.in_force());
        let total: u64 = in_force.map(|right| right.seats).sum();
        if (pool.used, pool.lingering, pool.total) != (count(&used), count(&lingering), total) {
            return Err(format!("seats_conserved: {} is {:?}, a recount differs", pool.feature, pool.numbers()));
        }
        if asked.remove(&id).unwrap_or_default() != pool.asked {
            return Err(format!("seats_conserved: {} is asked for as {:?}, a recount differs", pool.feature, pool.asked));
        }
        let numbers = pool.numbers();
        let adds_up = numbers.free + numbers.used + numbers.lingering + numbers.reserved_idle == numbers.total + numbers.over;
        if !adds_up || (numbers.free != 0 && numbers.over != 0) {
            return Err(format!("seats_conserved: {} is {numbers:?}", pool.feature));
        }
        pool.conserved()?;
    }
    Ok(())
}

/// Every seat comes from a license that one of the keys which its client embeds has signed: a client refuses a grant that it cannot verify.
///
/// # Errors
/// The lease whose client cannot verify where it is charged.
pub fn client_can_verify(state: &Allocator) -> Result<(), String> {
    for slot in state.leases.slots() {
        let lease = state.leases.at(slot);
        let mut broken = None;
        state.leases.each_charge(slot, |_, charge| {
            if state.right(charge.entitlement).is_some_and(|right| !state.can_verify(&lease.wish.embeds.keys, right)) {
                broken = Some(charge.entitlement);
            }
        });
        if let Some(right) = broken {
            return Err(format!("client_can_verify: {right:?} is signed by no key that the client of {} embeds", lease.id));
        }
    }
    Ok(())
}

/// At most one grant for an id in a lineage.
///
/// # Errors
/// The id that was granted twice.
pub fn one_grant_per_id<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<(), String> {
    let mut granted: BTreeSet<LeaseId> = BTreeSet::new();
    for event in events {
        if let Event::Granted { lease, .. } | Event::Adopted { lease, .. } = event
            && !granted.insert(*lease)
        {
            return Err(format!("one_grant_per_id: {lease} was granted twice"));
        }
    }
    Ok(())
}

/// The seats over in each pool, for [`no_grant_past_entitlement`]: of all seats, or of those for some version and newer ones, whichever is more.
#[must_use]
pub fn over(state: &Allocator) -> BTreeMap<PoolId, u64> {
    let pools = state.pools.iter().zip(0..).filter_map(|(pool, id)| Some((PoolId(id), pool.as_ref()?)));
    let lacks = |pool: &Pool| {
        let rights = || pool.rights.iter().filter_map(|right| state.right(*right)).filter(|right| right.in_force());
        let lack = |version: &Rank| {
            let asked: u64 = pool.asked.range(*version..).map(|(_, seats)| seats).sum();
            let seats: u64 = rights().filter(|right| right.rank() >= *version).map(|right| right.seats).sum();
            asked.saturating_sub(seats)
        };
        pool.asked.keys().map(lack).max().unwrap_or(0)
    };
    pools.map(|(id, pool)| (id, lacks(pool))).filter(|(_, over)| *over > 0).collect()
}

/// A grant never raises `over`, also not of one version and newer ones; only an end of an entitlement, an adoption, and merged vendors do. `before` is [`over`] before the events
/// of one entry were folded in.
///
/// # Errors
/// The pool that went over without a reason.
pub fn no_grant_past_entitlement(before: &BTreeMap<PoolId, u64>, events: &[Event], after: &Allocator) -> Result<(), String> {
    let excuse = |pool: PoolId| {
        events.iter().any(|event| match event {
            Event::Adopted { items, .. } => items.iter().any(|item| after.resolve(item.pool) == pool),
            Event::EntitlementEnded { entitlement, .. } => after.right(*entitlement).is_none_or(|right| after.resolve(right.pool) == pool),
            Event::PoolsMerged { .. } => true,
            _ => false,
        })
    };
    for (pool, over) in over(after) {
        if over > before.get(&pool).copied().unwrap_or(0) && !excuse(pool) {
            return Err(format!("no_grant_past_entitlement: {pool:?} is {over} over"));
        }
    }
    Ok(())
}

/// All parts or none: what is granted for a checkout is every part that it asked for, with charges that add up.
///
/// # Errors
/// The grant that has not all parts.
pub fn atomic_checkout(command: &Command, events: &[Event]) -> Result<(), String> {
    let Command::Checkout { lease: asked, items: wished, .. } = command else { return Ok(()) };
    for event in events {
        if let Event::Granted { lease, items, .. } = event
            && lease == asked
        {
            let same = items.len() == wished.len()
                && items.iter().zip(wished).all(|(item, wish)| item.seats == wish.seats && item.version == wish.version);
            let charged =
                items.iter().all(|item| item.charges.iter().map(|charge| u64::from(charge.seats)).sum::<u64>() == u64::from(item.seats));
            if !same || !charged {
                return Err(format!("atomic_checkout: {lease} was granted something else than it asked for"));
            }
        }
    }
    Ok(())
}

/// Whatever was decided applies to the state before it, and what comes out loads.
///
/// # Errors
/// Why it does not.
pub fn apply_total(before: &[StateRecord], index: Index, moment: Moment, events: &[Event]) -> Result<Allocator, String> {
    let mut state = Allocator::load(Safeguards::default(), before.iter().cloned()).map_err(|why| format!("apply_total: {why}"))?;
    state.apply_entry(index, moment, events).map_err(|why| format!("apply_total: {why}"))?;
    let again = Allocator::load(Safeguards::default(), state.snapshot()).map_err(|why| format!("apply_total: {why}"))?;
    hard_state_equal(&state, &again)?;
    Ok(state)
}

/// Two states have the same hard state, record for record.
///
/// # Errors
/// The first record that differs.
pub fn hard_state_equal(one: &Allocator, other: &Allocator) -> Result<(), String> {
    let (mut one, mut other) = (one.snapshot(), other.snapshot());
    loop {
        match (one.next(), other.next()) {
            (None, None) => return Ok(()),
            (a, b) if a == b => {}
            (a, b) => return Err(format!("hard_state_equal: {a:?} is not {b:?}")),
        }
    }
}

/// Nobody passes an earlier waiter that shares a pool, where something counts that both clients can verify: watched over all events in order, from an
/// empty line. A pool of which no license was seen is one where they can.
#[derive(Debug, Default)]
pub struct QueueOrder {
    line: Vec<(LeaseId, Vec<PoolId>, VerifierKeys)>,
    licenses: BTreeMap<LicenseHash, (EntitlementId, VerifierKeys)>,
    /// Where it counts, who has signed it, and whether it is in force.
    rights: BTreeMap<EntitlementId, (PoolId, VerifierKeys, bool)>,
}

impl QueueOrder {
    /// Takes the next event.
    ///
    /// # Errors
    /// Who passed whom.
    pub fn watch(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Queued { lease, items, embeds, .. } => {
                self.line.push((*lease, items.iter().map(|item| item.pool).collect(), embeds.clone()));
            }
            Event::Dequeued { lease, .. } => self.line.retain(|(waiter, ..)| waiter != lease),
            Event::LicenseInstalled { license, terms, first_entitlement, pools, .. } => {
                self.licenses.insert(*license, (*first_entitlement, VerifierKeys::of(&terms.keys)));
                self.note(license, terms.entitlements.iter().map(|right| right.position).zip(pools.iter().copied()));
            }
            Event::EntitlementsUnderstood { license, entitlements, pools, .. } => {
                self.note(license, entitlements.iter().map(|right| right.position).zip(pools.iter().copied()));
            }
            Event::EntitlementBegan { entitlement } => self.counts(*entitlement, true),
            Event::EntitlementEnded { entitlement, .. } => self.counts(*entitlement, false),
            Event::ReplacementUndone { entitlements, .. } => entitlements.iter().for_each(|right| self.counts(*right, false)),
            Event::PoolsMerged { pools, .. } => {
                let waited = self.line.iter_mut().flat_map(|(_, pools, _)| pools);
                for pool in waited.chain(self.rights.values_mut().map(|(pool, ..)| pool)) {
                    if let Some((_, into)) = pools.iter().find(|(from, _)| from == pool) {
                        *pool = *into;
                    }
                }
            }
            Event::Granted { lease, items, embeds, .. } => {
                for (waiter, pools, theirs) in &self.line {
                    if waiter == lease {
                        break;
                    }
                    if items.iter().any(|item| pools.contains(&item.pool) && self.compete(item.pool, theirs, embeds)) {
                        return Err(format!("queue_order: {lease} passed {waiter}"));
                    }
                }
                self.line.retain(|(waiter, ..)| waiter != lease);
            }
            _ => {}
        }
        Ok(())
    }

    fn note(&mut self, license: &LicenseHash, rights: impl Iterator<Item = (u16, PoolId)>) {
        let Some((first, signers)) = self.licenses.get(license) else { return };
        self.rights.extend(rights.map(|(position, pool)| (EntitlementId(first.0 + u32::from(position)), (pool, signers.clone(), false))));
    }

    fn counts(&mut self, right: EntitlementId, counts: bool) {
        if let Some((.., in_force)) = self.rights.get_mut(&right) {
            *in_force = counts;
        }
    }

    fn compete(&self, pool: PoolId, one: &VerifierKeys, other: &VerifierKeys) -> bool {
        let mut here = self.rights.values().filter(|(there, ..)| *there == pool).peekable();
        here.peek().is_none() || here.any(|(_, signers, in_force)| *in_force && signers.shares(one) && signers.shares(other))
    }
}
