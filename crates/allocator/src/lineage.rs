//! Histories: whose grants are ours, what proves that entries were lost, the quarantine of a new lineage, and what is taken over in it.

use std::collections::BTreeMap;

use triquest_license::Words;

use crate::{
    Actor, Allocator, Charge, EndReason, EntitlementId, Epoch, Event, GrantedItem, Index, Instance, Lineage, Outcome, Refusal, ShownGrant,
    Timestamp,
    allocator::Sink,
    decide::{Asked, well_formed},
    limits::{CHARGES_PER_PART_MAX, TTL_MS_MIN},
    store::Phase,
};

/// A finished epoch, kept to judge shown grants by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochRecord {
    /// Its lineage.
    pub lineage: Lineage,
    /// Which.
    pub epoch: Epoch,
    /// The start that had it.
    pub instance: Instance,
    /// Its last entry.
    pub last: Index,
}

/// What a grant that bears our signature says about our history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// It stands in this history.
    Ours,
    /// It is of a lineage that this history comes from, but of entries that a restore has lost.
    Lost,
    /// It is of the present lineage and does not stand in it: entries were lost without a restore.
    Proof,
    /// It is older than what is remembered: nothing is known of it.
    TooOld,
    /// It is of a lineage that this history does not come from, such as a test copy's.
    UnknownLineage,
}

impl Judgement {
    /// It was promised by entries that this history does not have.
    fn is_of_lost_history(self) -> bool {
        matches!(self, Self::Lost | Self::Proof | Self::UnknownLineage)
    }
}

impl Allocator {
    /// Judges a shown grant against everything that was handed to the journal, committed or not.
    #[must_use]
    pub fn judge(&self, shown: &ShownGrant) -> Judgement {
        let ShownGrant { lineage, epoch, instance, index, .. } = *shown;
        let present = lineage == self.lineage;
        if present && epoch == self.epoch {
            let fits = (instance == self.instance || !self.safeguards.epoch_has_instance) && index <= self.index;
            return if fits { Judgement::Ours } else { Judgement::Proof };
        }
        let mut known = present;
        for record in &self.epochs {
            known |= record.lineage == lineage;
            if (record.lineage, record.epoch) == (lineage, epoch) {
                let fits = (instance == record.instance || !self.safeguards.epoch_has_instance) && index <= record.last;
                return match (fits, present) {
                    (true, _) => Judgement::Ours,
                    (false, true) => Judgement::Proof,
                    (false, false) => Judgement::Lost,
                };
            }
        }
        let oldest = self.epochs.front().map_or(self.epoch, |record| record.epoch);
        match (known, present) {
            (false, _) => Judgement::UnknownLineage,
            (true, _) if epoch < oldest => Judgement::TooOld,
            (true, true) => Judgement::Proof,
            (true, false) => Judgement::Lost,
        }
    }

    /// A shown grant has come, and is not decided yet: if it is a proof, nothing is granted from now on, and the new lineage begins as soon as it can
    /// be written. Of several the first counts. So long as it was promised for does a quarantine last that runs, whether the request can be decided or
    /// not.
    pub fn note_proof(&mut self, lease: crate::LeaseId, shown: &ShownGrant, next_lineage: Lineage) {
        let counts = self.safeguards.rollback_is_proved && self.safeguards.proof_stops_at_once;
        let judgement = self.judge(shown);
        if counts && self.proof.is_none() && judgement == Judgement::Proof {
            self.proof = Some(Proof { lease, shown: Box::new(shown.clone()), next_lineage });
            self.proved_by = Some(lease);
        }
        if judgement.is_of_lost_history() && self.lengthened_until(shown.ttl_ms).is_some() {
            self.shown_ttl_ms = self.shown_ttl_ms.max(shown.ttl_ms);
        }
    }

    /// Until when a quarantine that runs has to last if lost history may have promised for so long, unless it lasts as long anyway.
    fn lengthened_until(&self, ttl_ms: u64) -> Option<Timestamp> {
        let until = self.lineage_since.after_ms(ttl_ms.min(self.limits.ttl_ms_max));
        let lengthens = self.safeguards.quarantine_from_lineage_start && self.quarantine_until.is_some_and(|ends| ends < until);
        lengthens.then_some(until)
    }

    /// Something that shown grants say of lost history is not written yet.
    #[must_use]
    pub fn owes_lineage(&self) -> bool {
        self.proof.is_some() || self.shown_ttl_ms > 0
    }

    /// Nothing is granted: a quarantine runs, or one is about to be written.
    pub(crate) fn withholds(&self) -> bool {
        self.quarantine_until.is_some() || self.proof.is_some()
    }

    /// How long the quarantine must be from the beginning of a lineage, in milliseconds: as long as lost history may have promised.
    #[must_use]
    pub fn quarantine_ms(&self) -> u64 {
        let known = if self.safeguards.quarantine_from_lineage_start {
            self.ttl_max_seen_ms.max(self.folder_ttl_max_ms)
        } else {
            self.rights.iter().flatten().map(|right| right.ttl_max_ms).max().unwrap_or(0)
        };
        known.clamp(self.limits.quarantine_ms_min, self.limits.ttl_ms_max)
    }

    /// Lost history may have promised for so long: a quarantine that runs ends no earlier than that after the lineage began.
    pub(crate) fn lengthen_quarantine(&mut self, ttl_ms: u64, sink: &mut Sink<'_>) {
        if let Some(until) = self.lengthened_until(ttl_ms) {
            self.emit(sink, Event::QuarantineLengthened { until });
        }
    }

    /// Whose shown grant proved last, in this start, that history was lost: the fact that begins the new lineage names it.
    #[must_use]
    pub fn proved_by(&self) -> Option<crate::LeaseId> {
        self.proved_by
    }

    fn begin_lineage(&mut self, proof: Proof, sink: &mut Sink<'_>) {
        let Proof { lease, shown, next_lineage } = proof;
        self.proved_by = Some(lease);
        let ends = self.now.at.after_ms(self.quarantine_ms().max(shown.ttl_ms.min(self.limits.ttl_ms_max)));
        // A proof within a quarantine does not shorten it.
        let quarantine_until = ends.max(self.quarantine_until.unwrap_or(ends));
        let ShownGrant { epoch, instance, index, .. } = *shown;
        self.emit(sink, Event::LineageBegan { lineage: next_lineage, quarantine_until, lease, epoch, instance, index });
    }

    /// Writes what shown grants say of lost history as soon as anything can be written, from what is kept for a full disk too: a start would not know it.
    pub(crate) fn work_proof(&mut self, sink: &mut Sink<'_>) {
        if !self.pass_writes {
            return;
        }
        if let Some(proof) = self.proof.take() {
            self.begin_lineage(proof, sink);
        }
        let shown_ttl_ms = std::mem::take(&mut self.shown_ttl_ms);
        self.lengthen_quarantine(shown_ttl_ms, sink);
    }

    /// What must be said of histories before anything else is decided.
    pub(crate) fn work_lineage(&mut self, sink: &mut Sink<'_>) {
        self.work_proof(sink);
        if self.quarantine_until.is_some_and(|until| until <= self.now.at) {
            self.emit(sink, Event::QuarantineEnded { actor: None });
        }
    }

    pub(crate) fn end_quarantine(&mut self, lineage: Lineage, actor: &Actor, sink: &mut Sink<'_>) -> Outcome {
        // A proof may have begun another one since, which nobody has looked at.
        let another = lineage != self.lineage || self.proof.is_some();
        if another && self.safeguards.quarantine_end_names_its_history {
            return Outcome::Refused(Refusal::OtherHistory);
        }
        if self.quarantine_until.is_none() {
            return Outcome::Refused(Refusal::NothingToDo("this history was not restored, or its quarantine is over"));
        }
        self.emit(sink, Event::QuarantineEnded { actor: Some(actor.clone()) });
        Outcome::Done
    }

    /// A checkout that shows a grant. `None` if it must wait until more of what is due was handled.
    pub(crate) fn adopt(&mut self, asked: &Asked<'_>, shown: &ShownGrant, next_lineage: Lineage, sink: &mut Sink<'_>) -> Option<Outcome> {
        // What it shows bears our signature, and counts whatever it asks for.
        let judgement = self.judge(shown);
        if judgement == Judgement::Proof && self.safeguards.rollback_is_proved {
            if self.pass_writes {
                self.begin_lineage(Proof { lease: asked.lease, shown: Box::new(shown.clone()), next_lineage }, sink);
            } else {
                self.note_proof(asked.lease, shown, next_lineage);
            }
        }
        if let Err(refusal) = well_formed(asked.items, asked.vendor_keys) {
            return Some(Outcome::Refused(refusal));
        }
        let same = shown.items.len() == asked.items.len() && shown.items.iter().zip(asked.items).all(|(a, b)| a.feature == b.feature);
        if !same {
            return Some(Outcome::Refused(Refusal::Malformed("the shown grant is for other parts")));
        }
        if self.pass_writes && judgement.is_of_lost_history() {
            self.lengthen_quarantine(shown.ttl_ms, sink);
        }
        if self.has_room() && self.quarantine_until.is_some() && self.may_be_adopted(asked, judgement) {
            let said = self.accepting.clone();
            if let Some(outcome) = self.take_over(asked, shown, sink) {
                return Some(outcome);
            }
            self.accepting = said;
        }
        self.checkout(asked, sink)
    }

    /// The id is not live, nothing that is known of it speaks against it, and its grant is of lost history, or the end that it had here
    /// may have been prevented there.
    fn may_be_adopted(&self, asked: &Asked<'_>, judgement: Judgement) -> bool {
        if self.leases.find(&asked.lease).is_some() {
            return false;
        }
        let known = self.remembered.get(&asked.lease);
        if known.as_ref().is_some_and(|known| !known.may_be(asked.content)) {
            return false;
        }
        let ended = known.and_then(|known| known.ended);
        let by_itself = matches!(ended, Some(EndReason::Expired | EndReason::Unclaimed));
        match judgement {
            Judgement::Ours => by_itself,
            Judgement::Lost | Judgement::Proof | Judgement::UnknownLineage => ended.is_none() || by_itself,
            Judgement::TooOld => false,
        }
    }

    /// Takes a lease of lost history over; `None` if its grant gives no right to that.
    fn take_over(&mut self, asked: &Asked<'_>, shown: &ShownGrant, sink: &mut Sink<'_>) -> Option<Outcome> {
        let vendors = self.vendors_of(asked.vendor_keys);
        let mut sums: BTreeMap<EntitlementId, u64> = BTreeMap::new();
        let mut wished = Vec::with_capacity(asked.items.len());
        let mut as_shown = Vec::with_capacity(asked.items.len());
        for (part, item) in shown.items.iter().zip(asked.items) {
            let mut pool = None;
            let mut charges: Vec<Charge> = Vec::with_capacity(part.from.len());
            for (license, position, seats) in &part.from {
                let Some(first) = self.by_hash.get(license).copied() else {
                    return Some(Outcome::Refused(Refusal::LicenseUnknown(*license)));
                };
                let installed = self.licenses.get(&first)?;
                let entitlement = EntitlementId(first.0 + u32::from(*position));
                let right = self.right(entitlement).filter(|_| u32::from(*position) < installed.entitlements)?;
                // By one of the keys that the request names, not only by one of their vendor's.
                let is_named = vendors.contains(&installed.vendor) && self.is_verifiable(right);
                let of_named_vendor = is_named || !self.safeguards.adoption_is_bounded;
                let right_pool = self.resolve(right.pool);
                let feature = &self.pool(right_pool)?.feature;
                let covers = right.rank() >= crate::store::asked_rank(item.version.as_ref());
                if !of_named_vendor || *feature != item.feature || !covers || *pool.get_or_insert(right_pool) != right_pool {
                    return None;
                }
                if *seats == 0 {
                    return None;
                }
                *sums.entry(entitlement).or_default() += u64::from(*seats);
                match charges.iter_mut().find(|charge| charge.entitlement == entitlement) {
                    Some(charge) => charge.seats = charge.seats.checked_add(*seats)?,
                    None => charges.push(Charge { entitlement, seats: *seats }),
                }
            }
            let sum: u64 = charges.iter().map(|charge| u64::from(charge.seats)).sum();
            if sum != u64::from(item.seats) || charges.len() > CHARGES_PER_PART_MAX {
                return None;
            }
            wished.push(crate::store::WishItem { pool: pool?, version: item.version, seats: item.seats });
            as_shown.push(charges);
        }
        let within = |(entitlement, seats): (&EntitlementId, &u64)| {
            let adopted = self.adopted_seats.get(entitlement).copied().unwrap_or(0);
            self.right(*entitlement).is_some_and(|right| adopted + seats <= right.seats)
        };
        if self.safeguards.adoption_is_bounded && !sums.iter().all(within) {
            return None;
        }
        // The signed grant proves that its client accepted the words of what it was charged to, whatever it says now.
        let rights = sums.keys().filter_map(|entitlement| self.right(*entitlement));
        let proved = rights.flat_map(|right| right.needs.iter());
        self.accepting.words = Words::new(self.accepting.words.iter().chain(proved).cloned()).ok()?;
        let mut moves = Vec::new();
        let mut granted = Vec::with_capacity(wished.len());
        for (item, charges) in wished.iter().zip(&as_shown) {
            let placed = self.place(item.pool, item.rank(), item.seats.into(), CHARGES_PER_PART_MAX, true, &mut moves);
            let in_force = |charge: &Charge| self.right(charge.entitlement).is_some_and(crate::allocator::Right::in_force);
            let placed = placed.or_else(|| charges.iter().all(in_force).then(|| charges.clone()));
            let placed = placed.or_else(|| self.pile_on(item.pool, item.rank(), item.seats).map(|charge| vec![charge]));
            let Some(charges) = placed else {
                self.undo(moves);
                return None;
            };
            granted.push(GrantedItem { pool: item.pool, version: item.version, seats: item.seats, charges });
        }
        self.hand_out(moves, sink);
        let charged_vendors: Vec<_> = granted.iter().filter_map(|item| self.pool(item.pool)).map(|pool| pool.vendor).collect();
        let embeds = self.kept_keys(&charged_vendors);
        // The promise that was shown stands, whatever is permitted now.
        let (_, linger_ms) = self.terms_of(&granted, None);
        let charged = sums.into_iter().map(|(entitlement, seats)| Charge { entitlement, seats: u32::try_from(seats).unwrap_or(u32::MAX) });
        self.keep_accepted(asked.lease, sink);
        let adopted = Event::Adopted {
            lease: asked.lease,
            attempt: asked.attempt,
            content: asked.content,
            holder: asked.holder.clone(),
            items: granted,
            ttl_ms: shown.ttl_ms.clamp(TTL_MS_MIN, self.limits.ttl_ms_max),
            linger_ms,
            asked_ttl_ms: asked.asked_ttl_ms(self.limits.ttl_ms_max),
            shown: charged.collect(),
            embeds,
            network: asked.network,
        };
        self.emit(sink, adopted);
        let slot = self.leases.find(&asked.lease).expect("just adopted");
        debug_assert!(self.leases.at(slot).phase == Phase::Live);
        Some(Outcome::Granted(Box::new(self.grant(slot))))
    }
}

/// A proof of a rollback that is not durable yet.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) lease: crate::LeaseId,
    pub(crate) shown: Box<ShownGrant>,
    pub(crate) next_lineage: Lineage,
}

impl Allocator {
    // Folding.

    pub(crate) fn begin_epoch(&mut self, lineage: Lineage, epoch: Epoch, instance: Instance) {
        if self.epoch.0 > 0 {
            let record = EpochRecord { lineage: self.lineage, epoch: self.epoch, instance: self.instance, last: self.index };
            self.epochs.push_back(record);
            // Frozen: no fact carries it.
            while self.epochs.len() > crate::limits::EPOCHS_MAX {
                self.epochs.pop_front();
            }
        }
        if lineage != self.lineage {
            self.lineage_since = self.now.at;
        }
        (self.lineage, self.epoch, self.instance) = (lineage, epoch, instance);
    }

    pub(crate) fn quarantine_is_over(&mut self) {
        self.quarantine_until = None;
        self.rebuild_wheel();
        self.all_lines_dirty();
    }

    pub(crate) fn note_adopted(&mut self, lease: crate::LeaseId, shown: &[Charge]) {
        if shown.is_empty() {
            return;
        }
        for charge in shown {
            *self.adopted_seats.entry(charge.entitlement).or_default() += u64::from(charge.seats);
        }
        self.adopted.insert(lease, shown.into());
    }

    pub(crate) fn forget_adopted(&mut self, lease: &crate::LeaseId) {
        for charge in self.adopted.remove(lease).unwrap_or_default() {
            if let Some(seats) = self.adopted_seats.get_mut(&charge.entitlement) {
                *seats = seats.saturating_sub(charge.seats.into());
                if *seats == 0 {
                    self.adopted_seats.remove(&charge.entitlement);
                }
            }
        }
    }

    /// Until when nothing of this lease ends by time.
    pub(crate) fn ends_no_earlier_than(&self, deadline: Timestamp) -> Timestamp {
        match self.quarantine_until {
            Some(until) if self.safeguards.new_lineage_frees_nothing => deadline.max(until),
            _ => deadline,
        }
    }
}
