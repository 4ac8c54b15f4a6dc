//! What was decided and may not be told yet: entries in flight with the answers that depend on them, and answers whose pass is not confirmed.
//!
//! An answer leaves when its pass is confirmed and every entry in flight that its lease or entitlement stands in is committed. A committed entry
//! confirms the pass that it came of: nothing of an older epoch can be committed after a newer one began.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use triquest_allocator::{Event, Index, LeaseId, Lineage};
use triquest_journal::{Room, record::Entry};

use crate::{Answer, Heard, PassId, limits::ENTRY_HEAD_BYTES_MAX, queues::Asker};

/// An answer with whom it is for.
#[derive(Debug)]
pub(crate) struct Ready<T> {
    pub(crate) asker: Asker<T>,
    pub(crate) answer: Answer,
    /// What it says of a deadline: shown when the answer leaves, never sooner.
    pub(crate) heard: Option<Heard>,
}

/// What leaves together.
#[derive(Debug)]
pub(crate) struct Leaving<T> {
    pub(crate) pass: PassId,
    pub(crate) answers: Vec<Ready<T>>,
    /// Of waiters whose answers are held.
    pub(crate) heard: Vec<Heard>,
}

/// An entry that is being written.
#[derive(Debug)]
pub(crate) struct InFlight<T> {
    pub(crate) entry: Arc<Entry>,
    /// What it takes of the journal's room, estimated from above.
    pub(crate) takes_bytes: u64,
    /// When it was first handed out, by the boot clock, milliseconds.
    began_ms: u64,
    /// The pass that it came of; none for the first of a start.
    pub(crate) pass: PassId,
    /// Leases whose promise it touches.
    leases: Vec<LeaseId>,
    /// It may touch any lease.
    wide: bool,
    /// Whom it gives a seat or takes out of the line; some of them may be held waiters.
    pub(crate) resolved: Vec<LeaseId>,
    /// What waits for it, of its own pass and of later ones.
    pub(crate) answers: Vec<Ready<T>>,
    /// Of waiters whose answers are held.
    pub(crate) heard: Vec<Heard>,
}

/// What an event touches, as far as a renewal's answer can tell.
enum Touches {
    Anything,
    Lease(LeaseId),
    /// Nothing that lives after it.
    Nothing,
}

fn touches(event: &Event, lowers_nothing: bool) -> Touches {
    match event {
        Event::Adopted { lease, .. }
        | Event::ChargeMoved { lease, .. }
        | Event::Ending { lease, .. }
        | Event::Granted { lease, .. }
        | Event::Heard { lease } => Touches::Lease(*lease),
        Event::ClockMarked
        | Event::Denied { .. }
        | Event::DenialsCounted { .. }
        | Event::Dequeued { .. }
        | Event::Ended { .. }
        | Event::Forgot { .. }
        | Event::LingerEnded { .. }
        | Event::PresenceAllowed { .. }
        | Event::PresenceRegretted { .. }
        | Event::Queued { .. }
        | Event::Released { .. }
        | Event::ReleasedUnknown { .. }
        | Event::WaiterHeard { .. }
        | Event::WordsAccepted { .. } => Touches::Nothing,
        // What it promises is less than what the journal promises without it: true before it is durable, and if it never is. Nobody waits for it.
        Event::TtlLowered { lease, .. } if !lowers_nothing => Touches::Lease(*lease),
        // Nor for a longer one: until it is durable answers name the time before.
        Event::TtlLowered { .. } | Event::TtlRaised { .. } => Touches::Nothing,
        // Licenses, dates, clocks, lineages.
        _ => Touches::Anything,
    }
}

#[derive(Debug)]
pub(crate) struct Writing<T> {
    pub(crate) in_flight: VecDeque<InFlight<T>>,
    /// The last entry in flight that touches a lease.
    fresh: BTreeMap<LeaseId, Index>,
    /// In the order of passes.
    pub(crate) unconfirmed: VecDeque<Leaving<T>>,
    pub(crate) confirmed: PassId,
    confirming: Option<PassId>,
    wanted: Option<PassId>,
    pub(crate) committed: Index,
    /// Of the last entry that was committed.
    lineage: Lineage,
}

impl<T> Writing<T> {
    pub(crate) fn new(committed: Index, lineage: Lineage) -> Self {
        Self {
            in_flight: VecDeque::new(),
            fresh: BTreeMap::new(),
            unconfirmed: VecDeque::new(),
            confirmed: PassId(0),
            confirming: None,
            wanted: None,
            committed,
            lineage,
        }
    }

    /// An entry goes out to be written. `lowers_nothing`: no renewal waits for a fact that only lowers its time to live.
    pub(crate) fn begin(&mut self, entry: Arc<Entry>, began_ms: u64, pass: PassId, answers: Vec<Ready<T>>, lowers_nothing: bool) {
        let bytes = ENTRY_HEAD_BYTES_MAX + entry.events.iter().map(Event::weight).sum::<usize>();
        let takes_bytes = Room::taken_by(bytes);
        let mut in_flight = InFlight {
            entry,
            takes_bytes,
            began_ms,
            pass,
            leases: Vec::new(),
            wide: false,
            resolved: Vec::new(),
            answers,
            heard: Vec::new(),
        };
        for event in &in_flight.entry.events {
            match touches(event, lowers_nothing) {
                Touches::Anything => in_flight.wide = true,
                Touches::Lease(lease) => {
                    in_flight.leases.push(lease);
                    self.fresh.insert(lease, in_flight.entry.index);
                }
                Touches::Nothing => {}
            }
            if let Event::Granted { lease, .. } | Event::Dequeued { lease, .. } | Event::Released { lease, .. } = event {
                // Whoever is held for it may have asked in this very pass.
                in_flight.resolved.push(*lease);
            }
        }
        self.in_flight.push_back(in_flight);
    }

    /// For how long the oldest entry in flight has been on its way, milliseconds.
    pub(crate) fn under_way_ms(&self, now_ms: u64) -> u64 {
        self.in_flight.front().map_or(0, |oldest| now_ms.saturating_sub(oldest.began_ms))
    }

    /// The last entry in flight that a renewal's answer depends on.
    pub(crate) fn touching(&self, lease: &LeaseId) -> Option<Index> {
        if self.in_flight.is_empty() {
            return None;
        }
        let wide = self.in_flight.iter().rev().find(|in_flight| in_flight.wide).map(|in_flight| in_flight.entry.index);
        wide.max(self.fresh.get(lease).copied())
    }

    /// What all in flight take of the journal's room.
    pub(crate) fn takes_bytes(&self) -> u64 {
        self.in_flight.iter().map(|in_flight| in_flight.takes_bytes).sum()
    }

    /// The last entry in flight.
    pub(crate) fn last(&self) -> Option<Index> {
        self.in_flight.back().map(|in_flight| in_flight.entry.index)
    }

    /// The history that an entry in flight belongs to, or the last that was committed.
    pub(crate) fn lineage_at(&self, index: Index) -> Lineage {
        let there = self.in_flight.iter().find(|in_flight| in_flight.entry.index == index);
        there.map_or(self.lineage, |there| there.entry.lineage)
    }

    pub(crate) fn entry(&mut self, index: Index) -> Option<&mut InFlight<T>> {
        self.in_flight.iter_mut().find(|in_flight| in_flight.entry.index == index)
    }

    /// The next entry in flight, if it is committed now.
    pub(crate) fn commit(&mut self, index: Index) -> Option<InFlight<T>> {
        if self.in_flight.front()?.entry.index > index {
            return None;
        }
        let done = self.in_flight.pop_front()?;
        self.committed = done.entry.index;
        self.lineage = done.entry.lineage;
        self.confirmed = self.confirmed.max(done.pass);
        for lease in &done.leases {
            if self.fresh.get(lease) == Some(&done.entry.index) {
                self.fresh.remove(lease);
            }
        }
        Some(done)
    }

    /// These wait for the confirmation of their pass; which one is to be asked for now. `keeps_later`: a confirmation that is wanted for a later
    /// pass stays wanted.
    pub(crate) fn want(&mut self, leaving: Leaving<T>, keeps_later: bool) -> Option<PassId> {
        let pass = leaving.pass;
        // An answer that waited for its entry comes here after those of later passes that waited for none.
        let later = self.unconfirmed.iter().rev().take_while(|other| keeps_later && other.pass > pass).count();
        self.unconfirmed.insert(self.unconfirmed.len() - later, leaving);
        if self.confirming.is_some() {
            self.wanted = if keeps_later { self.wanted.max(Some(pass)) } else { Some(pass) };
            return None;
        }
        self.confirming = Some(pass);
        Some(pass)
    }

    /// A pass is confirmed, and all before it; which one is to be asked for next.
    pub(crate) fn confirm(&mut self, pass: PassId) -> Option<PassId> {
        self.confirmed = self.confirmed.max(pass);
        if self.confirming.is_some_and(|confirming| confirming <= pass) {
            self.confirming = None;
        }
        if self.confirming.is_none() {
            self.confirming = self.wanted.take().filter(|wanted| *wanted > self.confirmed);
            return self.confirming;
        }
        None
    }
}
