//! What must hold, judged from outside: by committed facts and by what clients believe, never by the allocator's own counters.

use std::collections::{BTreeMap, BTreeSet};

use triquest_allocator::{
    DenialCode, EndReason, EntitlementId, Event, GrantedItem, Index, InstalledTerms, LeaseId, Moment, Outcome, PoolId, Timestamp,
};
use triquest_license::{Note, VerifiedLicense};

/// A broken invariant: its name (leases.md, *Invariants*) and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Such as `one_holder_per_seat`.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
}

/// Makes a broken invariant.
pub fn broken(invariant: &'static str, detail: impl Into<String>) -> Broken {
    Broken { invariant, detail: detail.into() }
}

/// How long servers have run, and how often they were started: what a dead client's seat costs is counted in this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpTime {
    /// Milliseconds of real time in which a server made passes, each counted with at most the stall limit.
    pub ms: u64,
    /// Starts.
    pub starts: u64,
}

#[derive(Clone, Debug)]
struct Held {
    items: Vec<GrantedItem>,
    ttl_ms: u64,
    linger_ms: u64,
}

/// What the committed facts say, folded naively.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    leases: BTreeMap<LeaseId, Held>,
    lingering: BTreeMap<LeaseId, Vec<GrantedItem>>,
    line: Vec<(LeaseId, Vec<GrantedItem>)>,
    entitlements: BTreeMap<EntitlementId, (PoolId, u32, bool)>,
    grants: BTreeMap<LeaseId, u32>,
    ended: BTreeSet<LeaseId>,
    denied: BTreeSet<(LeaseId, u32)>,
    dequeued: BTreeSet<LeaseId>,
    adopted: BTreeSet<LeaseId>,
    last: Option<(Index, Moment)>,
    /// Lease time of the last renewal or repeat that was answered, by lease.
    pub heard: BTreeMap<LeaseId, Timestamp>,
    /// Leases whose seats an administrator freed at once: recorded over-use until their promise ends.
    pub excused: BTreeSet<LeaseId>,
    /// How long servers have run by now.
    pub up: UpTime,
    /// When each lease was last in somebody's hands: granted, claimable, heard or alive.
    pub in_hands: BTreeMap<LeaseId, UpTime>,
    /// Leases whose process died for good.
    pub died: BTreeSet<LeaseId>,
}

impl Ledger {
    /// An empty ledger for reading a journal back, which keeps what the world outside knows.
    #[must_use]
    pub fn reread(&self) -> Self {
        Self {
            excused: self.excused.clone(),
            up: self.up,
            in_hands: self.in_hands.clone(),
            died: self.died.clone(),
            heard: self.heard.clone(),
            ..Self::default()
        }
    }

    /// Seats that count in a pool.
    #[must_use]
    pub fn total(&self, pool: PoolId) -> u32 {
        self.entitlements.values().filter(|(of, _, counts)| *of == pool && *counts).map(|(_, seats, _)| seats).sum()
    }

    /// Seats that leases hold or that linger.
    #[must_use]
    pub fn taken(&self, pool: PoolId) -> u32 {
        let held = self.leases.values().flat_map(|held| &held.items);
        held.chain(self.lingering.values().flatten()).filter(|item| item.pool == pool).map(|item| item.seats).sum()
    }

    /// A live lease's parts.
    #[must_use]
    pub fn items(&self, lease: LeaseId) -> Option<&[GrantedItem]> {
        self.leases.get(&lease).map(|held| held.items.as_slice())
    }

    /// Live leases.
    pub fn live(&self) -> impl Iterator<Item = LeaseId> + '_ {
        self.leases.keys().copied()
    }

    /// Whether this lease was ever granted in this history.
    #[must_use]
    pub fn granted(&self, lease: LeaseId) -> bool {
        self.grants.contains_key(&lease) || self.adopted.contains(&lease)
    }

    /// Whether this lease was taken over from lost history: an earlier denial in this one is void then.
    #[must_use]
    pub fn adopted(&self, lease: LeaseId) -> bool {
        self.adopted.contains(&lease)
    }

    /// Whether this lease has ended or was given back in this history.
    #[must_use]
    pub fn over(&self, lease: LeaseId) -> bool {
        self.ended.contains(&lease) || self.dequeued.contains(&lease)
    }

    /// Whether this attempt was denied in this history.
    #[must_use]
    pub fn denied(&self, lease: LeaseId, attempt: u32) -> bool {
        self.denied.contains(&(lease, attempt)) || self.dequeued.contains(&lease)
    }

    fn shares_pool(one: &[GrantedItem], other: &[GrantedItem]) -> bool {
        one.iter().any(|item| other.iter().any(|there| there.pool == item.pool))
    }

    /// Whether these parts fit into the pools as the facts stand.
    fn fits(&self, items: &[GrantedItem]) -> bool {
        items.iter().all(|item| self.taken(item.pool) + item.seats <= self.total(item.pool))
    }

    /// A restarted server goes on from the last entry's lease time: what was noted later in the lost time counts from there.
    pub fn resume(&mut self) {
        let at = self.last.map_or(Timestamp(0), |(_, moment)| moment.at);
        for noted in self.heard.values_mut() {
            *noted = (*noted).min(at);
        }
    }

    /// Folds a committed entry in and judges each fact. `live` is false when a journal is only read back.
    pub fn fold(&mut self, index: Index, moment: Moment, events: &[Event], live: bool) -> Result<(), Broken> {
        if let Some((last, at)) = self.last {
            if index.0 != last.0 + 1 {
                return Err(broken("one_writer", format!("entry {} follows entry {}", index.0, last.0)));
            }
            if moment.at < at.at {
                return Err(broken("lease_time_never_fast", format!("lease time went back from {} to {}", at.at.0, moment.at.0)));
            }
        }
        self.last = Some((index, moment));
        for event in events {
            self.fact(moment, event, live)?;
        }
        Ok(())
    }

    fn fact(&mut self, moment: Moment, event: &Event, live: bool) -> Result<(), Broken> {
        match event {
            Event::Adopted { lease, items, ttl_ms, linger_ms, .. } => {
                self.adopted.insert(*lease);
                self.leases.insert(*lease, Held { items: items.clone(), ttl_ms: *ttl_ms, linger_ms: *linger_ms });
            }
            Event::Denied { lease, attempt, .. } => {
                self.denied.insert((*lease, *attempt));
            }
            Event::Dequeued { lease, .. } => {
                self.dequeued.insert(*lease);
                self.line.retain(|(waiting, _)| waiting != lease);
            }
            Event::Ended { lease, due, reason, linger_until, .. } => self.ends(*lease, *due, *reason, *linger_until, live)?,
            Event::EntitlementBegan { entitlement } => {
                if let Some(known) = self.entitlements.get_mut(entitlement) {
                    known.2 = true;
                }
            }
            Event::EntitlementEnded { entitlement, .. } => {
                if let Some(known) = self.entitlements.get_mut(entitlement) {
                    known.2 = false;
                }
            }
            Event::Granted { lease, items, ttl_ms, linger_ms, claim_due, .. } => {
                let times = self.grants.entry(*lease).or_default();
                *times += 1;
                if *times > 1 {
                    return Err(broken("one_grant_per_id", format!("{lease} was granted {times} times")));
                }
                self.line_respected(*lease, items)?;
                self.line.retain(|(waiting, _)| waiting != lease);
                if live {
                    let claim_ms = claim_due.map_or(0, |due| due.since_ms(moment.at));
                    self.in_hands.insert(*lease, UpTime { ms: self.up.ms + claim_ms, ..self.up });
                }
                self.leases.insert(*lease, Held { items: items.clone(), ttl_ms: *ttl_ms, linger_ms: *linger_ms });
                for item in items {
                    let (taken, total) = (self.taken(item.pool), self.total(item.pool));
                    if taken > total {
                        return Err(broken(
                            "no_grant_past_entitlement",
                            format!("{lease} raised pool {} to {taken} of {total}", item.pool.0),
                        ));
                    }
                    let charged: u32 = item.charges.iter().map(|charge| charge.seats).sum();
                    if charged != item.seats {
                        return Err(broken("seats_conserved", format!("{lease} has {} seats and {charged} charged", item.seats)));
                    }
                }
            }
            Event::LicenseInstalled { note, terms, first_entitlement, pools, .. } => {
                let license = Note::parse(note).ok().and_then(|note| VerifiedLicense::verify_named(&note).ok());
                let license = license.ok_or_else(|| broken("apply_total", "a journalled license does not verify"))?;
                if InstalledTerms::of(license.terms()) != **terms {
                    return Err(broken("apply_total", "a journalled license says something else than its fact"));
                }
                for (entitlement, pool) in terms.entitlements.iter().zip(pools) {
                    let id = EntitlementId(first_entitlement.0 + u32::from(entitlement.position));
                    self.entitlements.insert(id, (*pool, entitlement.seats, false));
                }
            }
            Event::LingerEnded { lease } => {
                self.lingering.remove(lease);
            }
            Event::Queued { lease, items, .. } => self.line.push((*lease, items.clone())),
            Event::Released { lease, linger_until, .. } => self.frees(*lease, *linger_until)?,
            Event::ReleasedUnknown { lease, .. } => {
                self.ended.insert(*lease);
            }
            Event::BorrowLossAccepted { .. }
            | Event::ChargeMoved { .. }
            | Event::ClockAccepted { .. }
            | Event::ClockMarked
            | Event::ClockStepped { .. }
            | Event::Ending { .. }
            | Event::Forgot { .. }
            | Event::Heard { .. }
            | Event::LicenseRemoved { .. }
            | Event::PoolOpened { .. }
            | Event::PresenceRegretted { .. }
            | Event::LineageBegan { .. }
            | Event::LinesResumed { .. }
            | Event::PresenceAllowed { .. }
            | Event::QuarantineEnded { .. }
            | Event::QuarantineLengthened { .. }
            | Event::Recovered { .. }
            | Event::TtlLowered { .. }
            | Event::EntitlementsUnderstood { .. }
            | Event::FormatRaised { .. }
            | Event::LicenseChecked { .. }
            | Event::WordsAccepted { .. }
            | Event::WaiterHeard { .. }
            | Event::VendorKeys { .. }
            | Event::PoolsMerged { .. }
            | Event::VendorsMerged { .. } => {}
        }
        Ok(())
    }

    /// A grant passes nobody who waits for the same pool and could be served.
    fn line_respected(&self, lease: LeaseId, items: &[GrantedItem]) -> Result<(), Broken> {
        for (waiting, wanted) in self.line.iter().take_while(|(waiting, _)| *waiting != lease) {
            let servable = wanted.iter().all(|item| item.seats <= self.total(item.pool));
            if servable && Self::shares_pool(wanted, items) {
                return Err(broken("queue_order", format!("{lease} passed {waiting}")));
            }
        }
        Ok(())
    }

    fn frees(&mut self, lease: LeaseId, linger_until: Option<Timestamp>) -> Result<(), Broken> {
        let held = self.leases.remove(&lease).ok_or_else(|| broken("apply_total", format!("{lease} was freed and not held")))?;
        self.ended.insert(lease);
        if linger_until.is_some() {
            self.lingering.insert(lease, held.items);
        }
        Ok(())
    }

    fn ends(
        &mut self,
        lease: LeaseId,
        due: Timestamp,
        reason: EndReason,
        linger_until: Option<Timestamp>,
        live: bool,
    ) -> Result<(), Broken> {
        let held = self.leases.get(&lease).cloned();
        if live && let Some(held) = &held {
            if reason == EndReason::Expired
                && let Some(heard) = self.heard.get(&lease)
                && due.0 < heard.0 + held.ttl_ms
            {
                return Err(broken(
                    "renewing_never_expires",
                    format!("{lease} was heard at {} and expired at {}, ttl {}", heard.0, due.0, held.ttl_ms),
                ));
            }
            if self.died.contains(&lease)
                && let Some(last) = self.in_hands.get(&lease)
            {
                // Lease time since the last entry is lost with a crash: at most the interval of clock entries, and a batch, for each start.
                let starts = self.up.starts.saturating_sub(last.starts);
                let limit = 2 * held.ttl_ms + held.linger_ms + 15_000 + 13_000 * starts;
                // The slowest clock that is allowed takes a 64th longer.
                if self.up.ms.saturating_sub(last.ms) > limit + limit / 32 {
                    return Err(broken(
                        "dead_seat_returns",
                        format!("{lease} was freed after {} ms of up-time and {starts} starts", self.up.ms.saturating_sub(last.ms)),
                    ));
                }
            }
        }
        if held.is_none() && self.ended.contains(&lease) {
            return Ok(());
        }
        self.frees(lease, linger_until)
    }

    /// A renewal or repeat was answered.
    pub fn hear(&mut self, lease: LeaseId, at: Timestamp) {
        self.heard.insert(lease, at);
        self.in_hands.insert(lease, self.up);
    }

    /// A lease's process died for good.
    pub fn die(&mut self, lease: LeaseId) {
        self.died.insert(lease);
        let up = self.up;
        let last = self.in_hands.entry(lease).or_insert(up);
        *last = (*last).max(up);
    }

    /// A free seat and a waiter at the head who could have it.
    #[must_use]
    pub fn head_that_fits(&self) -> Option<LeaseId> {
        self.line.first().filter(|(_, items)| self.fits(items)).map(|(lease, _)| *lease)
    }
}

/// Answers that clients saw, for agreement and durability.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    finals: BTreeMap<(LeaseId, u32), bool>,
    granted: BTreeSet<LeaseId>,
    released: BTreeSet<LeaseId>,
    denied: BTreeSet<(LeaseId, u32)>,
}

impl Answers {
    /// An answer leaves the server.
    pub fn note(&mut self, lease: LeaseId, attempt: Option<u32>, outcome: &Outcome) -> Result<(), Broken> {
        match (outcome, attempt) {
            (Outcome::Granted(_), Some(attempt)) => {
                self.granted.insert(lease);
                self.agree(lease, attempt, true)
            }
            // An id that has ended is told so for ever; that takes nothing back.
            (Outcome::Denied(denial), Some(_)) if denial.code == DenialCode::LeaseEnded => Ok(()),
            (Outcome::Denied(_), Some(attempt)) => {
                self.denied.insert((lease, attempt));
                self.agree(lease, attempt, false)
            }
            (Outcome::Released { .. }, _) => {
                self.released.insert(lease);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn agree(&mut self, lease: LeaseId, attempt: u32, granted: bool) -> Result<(), Broken> {
        match self.finals.insert((lease, attempt), granted) {
            Some(before) if before != granted => {
                Err(broken("one_grant_per_id", format!("attempt {attempt} of {lease} was answered both ways")))
            }
            _ => Ok(()),
        }
    }

    /// A new history begins: what was answered in the old one binds nobody.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// All that was answered must be derivable from what is durable.
    pub fn durable_in(&self, ledger: &Ledger) -> Result<(), Broken> {
        for lease in &self.granted {
            if !ledger.granted(*lease) {
                return Err(broken("answered_implies_durable", format!("the grant of {lease} is gone")));
            }
        }
        for lease in &self.released {
            if !ledger.over(*lease) {
                return Err(broken("answered_implies_durable", format!("the release of {lease} is gone")));
            }
        }
        for (lease, attempt) in &self.denied {
            if !ledger.denied(*lease, *attempt) && !ledger.over(*lease) {
                return Err(broken("answered_implies_durable", format!("the denial of {lease}, attempt {attempt}, is gone")));
            }
        }
        Ok(())
    }
}
