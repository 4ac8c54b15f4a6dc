//! Which presence connection stands for which lease of one server: what to open, what to add to one, what to drop from one. Pure.
//!
//! A connection stands for at most [`PRESENCE_LEASES_MAX`] leases, so a program with more has several, each with its own generation. Seats that come and
//! go change what a connection stands for and never open it anew.

use std::collections::{BTreeMap, BTreeSet};

use triquest_wire::{LeaseId, Secret, limits::PRESENCE_LEASES_MAX};

/// Leases with their secrets.
pub(crate) type Leases = BTreeMap<LeaseId, Secret>;

/// One connection, whatever it is made of.
#[derive(Debug)]
pub(crate) struct Place<C> {
    pub(crate) connection: C,
    pub(crate) generation: u64,
    /// What the server was told, as far as it has answered.
    leases: Leases,
    /// The server says that it stands for as many as it may, which can be more than it has answered for.
    full: bool,
}

/// All connections to one server.
#[derive(Debug)]
pub(crate) struct Standing<C> {
    places: Vec<Place<C>>,
    /// The newest generation that each lease has entered: it enters each once, and only a higher one counts.
    entered: BTreeMap<LeaseId, u64>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Open a connection that stands for these.
    Open(Leases),
    /// Let the connection of this generation stand for some more, and for some no more.
    Change { generation: u64, add: Leases, drop: Leases },
}

impl<C> Default for Standing<C> {
    fn default() -> Self {
        Self { places: Vec::new(), entered: BTreeMap::new() }
    }
}

impl<C> Standing<C> {
    /// What is to be done so that connections stand for what is wanted and for nothing that lives on without being wanted. `lives`: leases that this
    /// program still keeps, wanted or not. What was given back has ended and is dropped when a change is made anyway.
    pub(crate) fn next(&self, wanted: &Leases, lives: &BTreeSet<LeaseId>) -> Option<Step> {
        let mut missing = wanted.iter().filter(|(lease, _)| !self.places.iter().any(|place| place.leases.contains_key(*lease))).peekable();
        for place in &self.places {
            let gone = || place.leases.iter().filter(|(lease, _)| !wanted.contains_key(*lease));
            let room = PRESENCE_LEASES_MAX.saturating_sub(place.leases.len() - gone().count());
            let fresh = |lease: &LeaseId| self.entered.get(lease).is_none_or(|entered| *entered < place.generation);
            let mut add = Leases::new();
            if room > 0 && missing.peek().is_some() {
                let fits = wanted.iter().filter(|(lease, _)| !self.places.iter().any(|place| place.leases.contains_key(*lease)));
                add.extend(fits.filter(|(lease, _)| fresh(lease)).take(room).map(|(lease, secret)| (*lease, *secret)));
            }
            let is_wanted_here = !add.is_empty();
            if place.full {
                // What an answer that was lost has added is not known here, so room is made before anything is added again.
                if gone().next().is_none() {
                    continue;
                }
                add.clear();
            }
            if is_wanted_here || gone().any(|(lease, _)| lives.contains(lease)) {
                let drop = gone().map(|(lease, secret)| (*lease, *secret)).collect();
                return Some(Step::Change { generation: place.generation, add, drop });
            }
        }
        missing.peek()?;
        Some(Step::Open(missing.take(PRESENCE_LEASES_MAX).map(|(lease, secret)| (*lease, *secret)).collect()))
    }

    /// A connection stands.
    pub(crate) fn opened(&mut self, connection: C, generation: u64, leases: Leases) {
        self.entered.extend(leases.keys().map(|lease| (*lease, generation)));
        self.places.push(Place { connection, generation, leases, full: false });
    }

    /// A change was answered.
    pub(crate) fn changed(&mut self, generation: u64, add: Leases, drop: &Leases) {
        self.entered.extend(add.keys().map(|lease| (*lease, generation)));
        if let Some(place) = self.places.iter_mut().find(|place| place.generation == generation) {
            place.leases.retain(|lease, _| !drop.contains_key(lease));
            place.leases.extend(add);
            place.full = false;
        }
    }

    /// It takes no more: an answer that was lost may have added what is not wanted any more.
    pub(crate) fn is_full(&mut self, generation: u64) {
        if let Some(place) = self.places.iter_mut().find(|place| place.generation == generation) {
            place.full = true;
        }
    }

    /// The connection of a generation.
    pub(crate) fn connection(&self, generation: u64) -> Option<&C> {
        self.places.iter().find(|place| place.generation == generation).map(|place| &place.connection)
    }

    /// All connections.
    pub(crate) fn connections(&self) -> impl Iterator<Item = &C> {
        self.places.iter().map(|place| &place.connection)
    }

    /// Takes out the connections that have ended, and those that stand for nothing any more.
    pub(crate) fn take_ended(&mut self, wanted: &Leases, is_over: impl Fn(&C) -> bool) -> Vec<(C, Leases)> {
        let (kept, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut self.places)
            .into_iter()
            .partition(|place| !is_over(&place.connection) && place.leases.keys().any(|lease| wanted.contains_key(lease)));
        self.places = kept;
        ended.into_iter().map(|place| (place.connection, place.leases)).collect()
    }

    /// The connection of this generation is no more.
    pub(crate) fn ended(&mut self, generation: u64) -> Option<(C, Leases)> {
        let place = self.places.iter().position(|place| place.generation == generation)?;
        let place = self.places.swap_remove(place);
        Some((place.connection, place.leases))
    }

    /// Forgets leases that are no more.
    pub(crate) fn forget(&mut self, lives: &BTreeSet<LeaseId>) {
        self.entered.retain(|lease, _| lives.contains(lease));
    }

    /// The generation that stands for a lease.
    pub(crate) fn generation_of(&self, lease: &LeaseId) -> Option<u64> {
        let standing = self.places.iter().filter(|place| place.leases.contains_key(lease));
        standing.map(|place| place.generation).max()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use triquest_wire::Bytes32;

    use super::*;

    fn leases(numbers: impl IntoIterator<Item = u32>) -> Leases {
        let secret = |number: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            Secret(Bytes32(bytes))
        };
        numbers.into_iter().map(|number| (secret(number).lease_id(), secret(number))).collect()
    }

    fn ids(of: &Leases) -> BTreeSet<LeaseId> {
        of.keys().copied().collect()
    }

    /// Does all that is to be done; what was opened and how many changes were made.
    fn settle(standing: &mut Standing<()>, generation: &mut u64, wanted: &Leases, lives: &Leases) -> (Vec<usize>, usize) {
        let (mut opened, mut changes) = (Vec::new(), 0);
        while let Some(step) = standing.next(wanted, &ids(lives)) {
            match step {
                Step::Open(leases) => {
                    *generation += 1;
                    opened.push(leases.len());
                    standing.opened((), *generation, leases);
                }
                Step::Change { generation, add, drop } => {
                    changes += 1;
                    assert!(!add.is_empty() || !drop.is_empty());
                    standing.changed(generation, add, &drop);
                }
            }
            assert!(standing.places.iter().all(|place| place.leases.len() <= PRESENCE_LEASES_MAX));
        }
        assert!(wanted.keys().all(|lease| standing.generation_of(lease).is_some()));
        (opened, changes)
    }

    #[test]
    fn many_leases_stand_on_several_connections_and_one_more_opens_none() {
        let (mut standing, mut generation) = (Standing::default(), 0);
        let wanted = leases(0..2_500);
        assert_eq!(settle(&mut standing, &mut generation, &wanted, &wanted), (vec![1_000, 1_000, 500], 0));
        let wanted = leases(0..2_501);
        assert_eq!(settle(&mut standing, &mut generation, &wanted, &wanted), (vec![], 1));
        // Given back: nothing to do, until there is something to add.
        let wanted = leases(1_000..2_501);
        assert_eq!(settle(&mut standing, &mut generation, &wanted, &wanted), (vec![], 0));
        let wanted = leases(1_000..3_400);
        let (opened, changes) = settle(&mut standing, &mut generation, &wanted, &wanted);
        assert!(opened.is_empty() && changes <= 3, "{opened:?} {changes}");
    }

    #[test]
    fn a_lease_that_lives_and_is_not_wanted_is_dropped_and_comes_back_in_a_higher_generation_only() {
        let (mut standing, mut generation) = (Standing::default(), 0);
        let both = leases(0..2);
        settle(&mut standing, &mut generation, &both, &both);
        let one = leases(0..1);
        let (lease, _) = leases(1..2).into_iter().next().unwrap();
        assert_eq!(standing.next(&one, &ids(&both)), Some(Step::Change { generation: 1, add: Leases::new(), drop: leases(1..2) }));
        assert_eq!(settle(&mut standing, &mut generation, &one, &both), (vec![], 1));
        assert_eq!(standing.generation_of(&lease), None);
        assert_eq!(settle(&mut standing, &mut generation, &both, &both), (vec![1], 0));
        assert_eq!(standing.generation_of(&lease), Some(2));
    }

    #[test]
    fn what_stood_on_a_connection_that_ended_gets_one_of_a_higher_generation() {
        let (mut standing, mut generation) = (Standing::default(), 0);
        let wanted = leases(0..1_500);
        settle(&mut standing, &mut generation, &wanted, &wanted);
        let (_, lost) = standing.ended(1).unwrap();
        assert_eq!(lost.len(), 1_000);
        // Half of them find room on the newer one.
        assert_eq!(settle(&mut standing, &mut generation, &wanted, &wanted), (vec![500], 1));
        assert!(lost.keys().all(|lease| standing.generation_of(lease) > Some(1)));
        // The newest one ends: its leases cannot enter an older generation, whatever room it has.
        let wanted = leases(0..1_500).into_iter().filter(|(lease, _)| standing.generation_of(lease) == Some(3)).collect();
        standing.ended(3).unwrap();
        assert_eq!(settle(&mut standing, &mut generation, &wanted, &wanted), (vec![500], 0));
    }

    #[test]
    fn a_connection_that_is_fuller_than_was_answered_drops_what_is_gone_and_is_asked_for_more_once() {
        let (mut standing, mut generation) = (Standing::default(), 0);
        let wanted = leases(0..998);
        settle(&mut standing, &mut generation, &wanted, &wanted);
        // The answer to a change that added two more was lost, and they were given back: the server counts them still.
        let mut counted: BTreeSet<LeaseId> = ids(&leases(0..1_000));
        let wanted = leases((1..998).chain(2_000..2_002));
        let mut refused = 0;
        let mut opened = Vec::new();
        for _ in 0..10 {
            match standing.next(&wanted, &ids(&wanted)) {
                None => break,
                Some(Step::Open(leases)) => {
                    opened.push(leases.len());
                    standing.opened((), 2, leases);
                }
                Some(Step::Change { generation, add, drop }) => {
                    let after: BTreeSet<_> = counted.iter().filter(|lease| !drop.contains_key(*lease)).chain(add.keys()).copied().collect();
                    if after.len() > PRESENCE_LEASES_MAX {
                        refused += 1;
                        standing.is_full(generation);
                    } else {
                        counted = after;
                        standing.changed(generation, add, &drop);
                    }
                }
            }
        }
        assert_eq!(standing.next(&wanted, &ids(&wanted)), None);
        assert_eq!((refused, opened, counted.len()), (2, vec![2], 999));
    }

    #[test]
    fn a_connection_that_takes_no_more_is_left_as_it_is() {
        let (mut standing, mut generation) = (Standing::default(), 0);
        let wanted = leases(0..10);
        settle(&mut standing, &mut generation, &wanted, &wanted);
        standing.is_full(1);
        let wanted = leases(0..11);
        assert_eq!(settle(&mut standing, &mut generation, &wanted, &wanted), (vec![1], 0));
        assert!(standing.take_ended(&leases(0..10), |()| false).len() == 1, "one that stands for nothing wanted");
    }
}
