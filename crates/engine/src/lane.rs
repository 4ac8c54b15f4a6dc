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
    /// None: it is nothing that a lease asks for itself.
    pub(crate) fn of(command: &Command) -> Option<Self> {
        match command {
            Command::Renew { lease, counter, nonce, idle_ms, presence, regained } => Some(Self::Renew(Renewal {
                lease: *lease,
                counter: *counter,
                nonce: *nonce,
                idle_ms: *idle_ms,
                presence: *presence,
                regained: *regained,
            })),
            Command::Release { lease, network } => Some(Self::Release(*lease, *network)),
            _ => None,
        }
    }

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

/// Whether one was tried in vain: it needs an entry, and so waits for a pass that may write one. Whatever was tried is older than what was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Tried,
    Untried,
}

#[derive(Debug)]
struct Line<T> {
    waiting: VecDeque<InLane<T>>,
    /// The number of the first in `waiting`; it goes down when one is given back.
    first: u64,
}

#[derive(Debug)]
pub(crate) struct Lane<T> {
    tried: Line<T>,
    untried: Line<T>,
    places: BTreeMap<LeaseId, (Part, u64)>,
}

impl<T> Line<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), first: u64::MAX / 2 }
    }
}

impl<T> Lane<T> {
    pub(crate) fn new() -> Self {
        Self { tried: Line::new(), untried: Line::new(), places: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tried.waiting.is_empty() && self.untried.waiting.is_empty()
    }

    pub(crate) fn len(&self, part: Part) -> usize {
        match part {
            Part::Tried => self.tried.waiting.len(),
            Part::Untried => self.untried.waiting.len(),
        }
    }

    fn line(&mut self, part: Part) -> &mut Line<T> {
        match part {
            Part::Tried => &mut self.tried,
            Part::Untried => &mut self.untried,
        }
    }

    /// Adds one, at the place of an older one of the same lease if there is one. Who is put out by that hears so: the older one, or this one if the
    /// older one is a release, which nothing takes the place of, or a renewal that its client sent later.
    pub(crate) fn push(&mut self, new: InLane<T>) -> Option<Asker<T>> {
        let lease = new.ask.lease();
        let older = self.places.get(&lease).copied().and_then(|(part, number)| {
            let line = self.line(part);
            line.waiting.get_mut(usize::try_from(number - line.first).ok()?)
        });
        if let Some(older) = older {
            if matches!(older.ask, LaneAsk::Release(..)) {
                return Some(new.asker);
            }
            older.arrived_ms = older.arrived_ms.min(new.arrived_ms);
            // Both say that the client lives. A late copy of what it said earlier says nothing else.
            if let (LaneAsk::Renew(waits), LaneAsk::Renew(comes)) = (&older.ask, &new.ask)
                && comes.counter < waits.counter
            {
                return Some(new.asker);
            }
            older.ask = new.ask;
            return Some(std::mem::replace(&mut older.asker, new.asker));
        }
        self.push_back(Part::Untried, new);
        None
    }

    /// The next of a part.
    pub(crate) fn pop(&mut self, part: Part) -> Option<InLane<T>> {
        let line = self.line(part);
        let first = line.waiting.pop_front()?;
        line.first += 1;
        self.places.remove(&first.ask.lease());
        Some(first)
    }

    /// Gives back those that were just taken and tried in vain, in their order. `first`: those that had been tried before were taken first, so what is
    /// left of them is newer; else it is older, or has its turn before them.
    pub(crate) fn give_back(&mut self, taken: Vec<InLane<T>>, first: bool) {
        if !first {
            taken.into_iter().for_each(|taken| self.push_back(Part::Tried, taken));
            return;
        }
        for taken in taken.into_iter().rev() {
            self.tried.first -= 1;
            self.places.insert(taken.ask.lease(), (Part::Tried, self.tried.first));
            self.tried.waiting.push_front(taken);
        }
    }

    fn push_back(&mut self, part: Part, new: InLane<T>) {
        let lease = new.ask.lease();
        let line = self.line(part);
        let number = line.first + line.waiting.len() as u64;
        line.waiting.push_back(new);
        self.places.insert(lease, (part, number));
    }

    /// Whether something of this lease waits.
    pub(crate) fn has(&self, lease: &LeaseId) -> bool {
        self.places.contains_key(lease)
    }

    /// When the oldest renewal arrived. A release loses nothing by an end that comes before it.
    pub(crate) fn oldest_renewal_ms(&self) -> Option<u64> {
        let waiting = self.tried.waiting.iter().chain(&self.untried.waiting);
        waiting.filter(|waiting| matches!(waiting.ask, LaneAsk::Renew(_))).map(|waiting| waiting.arrived_ms).min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn release(number: u8, arrived_ms: u64) -> InLane<u8> {
        InLane { asker: Asker::One(number), ask: LaneAsk::Release(LeaseId([number; 16]), None), arrived_ms }
    }

    fn numbers(taken: impl IntoIterator<Item = InLane<u8>>) -> Vec<u8> {
        taken.into_iter().map(|one| one.ask.lease().0[0]).collect()
    }

    fn take(lane: &mut Lane<u8>, part: Part, most: usize) -> Vec<InLane<u8>> {
        (0..lane.len(part).min(most)).map(|_| lane.pop(part).unwrap()).collect()
    }

    #[test]
    fn what_was_tried_in_vain_stays_in_front_of_what_came_later() {
        let mut lane = Lane::new();
        (1..=3).for_each(|number| assert!(lane.push(release(number, number.into())).is_none()));
        let first = take(&mut lane, Part::Untried, 9);
        lane.give_back(first, false);
        assert!(lane.push(release(4, 4)).is_none());
        let second = take(&mut lane, Part::Untried, 9);
        lane.give_back(second, false);
        // Part of them is tried once more, again in vain.
        let again = take(&mut lane, Part::Tried, 2);
        lane.give_back(again, true);
        assert!(lane.push(release(5, 5)).is_none());
        assert_eq!(numbers(take(&mut lane, Part::Tried, 9)), [1, 2, 3, 4]);
        assert_eq!(numbers(take(&mut lane, Part::Untried, 9)), [5]);
        assert!(lane.is_empty() && lane.places.is_empty());
    }

    #[test]
    fn a_lease_waits_once_whether_it_was_tried_or_not() {
        let mut lane = Lane::new();
        for number in [1, 2] {
            assert!(lane.push(release(number, 0)).is_none());
            let tried = take(&mut lane, Part::Untried, 1);
            lane.give_back(tried, false);
        }
        assert!(lane.push(release(3, 0)).is_none());
        for number in [1, 2, 3] {
            assert!(matches!(lane.push(release(number, 0)), Some(Asker::One(told)) if told == number));
        }
        assert_eq!(lane.len(Part::Tried) + lane.len(Part::Untried), 3);
    }
}
