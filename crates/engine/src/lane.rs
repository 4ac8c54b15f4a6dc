//! The lane: renewals and releases of leases that live. At most one waits for each lease, so nobody but the holders can lengthen it.

use std::collections::{BTreeMap, VecDeque};

use triquest_allocator::{Command, LeaseId};

use crate::{Network, Renewal, queues::Asker};

/// What a lease asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LaneAsk {
    Release(LeaseId, Option<Network>),
    Renew(Renewal),
}

impl LaneAsk {
    pub(crate) fn lease(&self) -> LeaseId {
        match self {
            Self::Release(lease, _) => *lease,
            Self::Renew(renewal) => renewal.lease,
        }
    }

    pub(crate) fn command(self) -> Command {
        match self {
            Self::Release(lease, network) => Command::Release { lease, network },
            Self::Renew(renewal) => renewal.into(),
        }
    }
}

/// One that waits.
#[derive(Debug)]
pub(crate) struct InLane<T> {
    pub(crate) asker: Asker<T>,
    pub(crate) ask: LaneAsk,
    /// Of this one, or of an older one whose place it took.
    pub(crate) arrived_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Lane<T> {
    waiting: VecDeque<InLane<T>>,
    /// The number of the first in `waiting`; it goes down when one is given back.
    first: u64,
    numbers: BTreeMap<LeaseId, u64>,
}

impl<T> Lane<T> {
    pub(crate) fn new() -> Self {
        Self { waiting: VecDeque::new(), first: u64::MAX / 2, numbers: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds one, at the place of an older one of the same lease if there is one. Who is put out by that hears so: the older one, or this one if the
    /// older one is a release, which nothing takes the place of.
    pub(crate) fn push(&mut self, new: InLane<T>) -> Option<Asker<T>> {
        let lease = new.ask.lease();
        let older = self.numbers.get(&lease).and_then(|number| usize::try_from(number - self.first).ok());
        if let Some(older) = older.and_then(|place| self.waiting.get_mut(place)) {
            if matches!(older.ask, LaneAsk::Release(..)) {
                return Some(new.asker);
            }
            older.ask = new.ask;
            older.arrived_ms = older.arrived_ms.min(new.arrived_ms);
            return Some(std::mem::replace(&mut older.asker, new.asker));
        }
        self.numbers.insert(lease, self.first + self.waiting.len() as u64);
        self.waiting.push_back(new);
        None
    }

    pub(crate) fn pop(&mut self) -> Option<InLane<T>> {
        let first = self.waiting.pop_front()?;
        self.first += 1;
        self.numbers.remove(&first.ask.lease());
        Some(first)
    }

    /// Gives one back that was just taken; several in the reverse order.
    pub(crate) fn give_back(&mut self, taken: InLane<T>) {
        self.first -= 1;
        self.numbers.insert(taken.ask.lease(), self.first);
        self.waiting.push_front(taken);
    }

    /// Gives one back behind all others: those that need no room must not wait behind those that wait for it.
    pub(crate) fn give_back_last(&mut self, taken: InLane<T>) {
        self.numbers.insert(taken.ask.lease(), self.first + self.waiting.len() as u64);
        self.waiting.push_back(taken);
    }

    /// When the oldest arrived.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.arrived_ms).min()
    }
}
