//! How many of something each network has: ids that are remembered, places in line. Derived from the hard state, rebuilt on load.

use std::collections::BTreeMap;

use crate::{
    Network, WideNetwork,
    share::{Has, Part, Share},
};

/// Counts by network and by wider network.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    networks: BTreeMap<Network, Slot>,
    wide: BTreeMap<WideNetwork, Around>,
    /// By slot, from 1: whose it is and how many it has.
    slots: Vec<(Network, u32)>,
    free: Vec<Slot>,
    total: u64,
}

/// What a wider network has.
#[derive(Clone, Copy, Debug, Default)]
struct Around {
    count: u32,
    /// How many of its networks have something.
    networks: u32,
}

/// A network's number in a [`Crowd`], 0 for this machine's own socket: four bytes where the network itself takes nine.
pub(crate) type Slot = u32;

impl Crowd {
    /// Counts one more of a network.
    pub(crate) fn enter(&mut self, network: Option<Network>) -> Slot {
        self.total += 1;
        let Some(network) = network else { return 0 };
        let around = self.wide.entry(network.wide()).or_default();
        around.count += 1;
        let slot = match self.networks.get(&network) {
            Some(slot) => *slot,
            None => {
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.slots.push((network, 0));
                    self.slots.len() as Slot
                });
                self.slots[slot as usize - 1] = (network, 0);
                self.networks.insert(network, slot);
                around.networks += 1;
                slot
            }
        };
        self.slots[slot as usize - 1].1 += 1;
        slot
    }

    /// One less, by the number that [`Crowd::enter`] gave.
    pub(crate) fn leave(&mut self, slot: Slot) {
        self.total -= 1;
        let Some(found) = (slot as usize).checked_sub(1).and_then(|at| self.slots.get_mut(at)) else { return };
        let network = found.0;
        found.1 -= 1;
        let is_last = found.1 == 0;
        if is_last {
            self.networks.remove(&network);
            self.free.push(slot);
        }
        if let Some(around) = self.wide.get_mut(&network.wide()) {
            around.count -= 1;
            around.networks -= u32::from(is_last);
            if around.count == 0 {
                self.wide.remove(&network.wide());
            }
        }
    }

    /// One less, by the network itself.
    pub(crate) fn leave_network(&mut self, network: Option<Network>) {
        let slot = network.and_then(|network| self.networks.get(&network).copied()).unwrap_or(0);
        self.leave(slot);
    }

    /// The network of a number.
    pub(crate) fn network(&self, slot: Slot) -> Option<Network> {
        (slot as usize).checked_sub(1).and_then(|at| self.slots.get(at)).map(|(network, _)| *network)
    }

    /// How many a network has.
    pub(crate) fn of(&self, network: Network) -> u64 {
        self.networks.get(&network).map_or(0, |slot| self.slots[*slot as usize - 1].1.into())
    }

    /// How many all have together.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Whether a network may have one more. `crowded` is what it may have in the last quarter; without it, an even share of all.
    /// This machine's own socket always may. What the wider network has counts only if `wider_too`.
    pub(crate) fn admits(&self, network: Option<Network>, share: Share, crowded: Option<u64>, wider_too: bool) -> bool {
        let Some(network) = network else { return true };
        let mut has = self.has(network);
        if !wider_too {
            // As if all networks were those of one wider network that has no limit.
            has = Has { wider: has.own, within: self.networks.len() as u64, present: u64::from(has.own > 0), ..has };
        }
        share.admits_crowded(has, 1, crowded.map_or_else(|| has.even_part(share.all), Part::of)).is_ok()
    }

    fn has(&self, network: Network) -> Has {
        let around = self.wide.get(&network.wide()).copied().unwrap_or_default();
        Has {
            own: self.of(network),
            wider: around.count.into(),
            all: self.total,
            within: around.networks.into(),
            present: self.wide.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const SHARE: Share = Share { network: 40, all: 100 };

    fn network(wide: u8, host: u8) -> Option<Network> {
        Some(Network::V4([10, 0, wide, host]))
    }

    fn fill(crowd: &mut Crowd, network: Option<Network>, count: usize) -> usize {
        (0..count).filter(|_| crowd.admits(network, SHARE, None, true) && crowd.enter(network) > 0).count()
    }

    #[test]
    fn a_network_has_its_share_and_a_wider_one_four_times_as_much() {
        let mut crowd = Crowd::default();
        let share = Share { network: 10, all: 1_000 };
        let mut taken = [0; 7];
        for (host, taken) in (0..).zip(&mut taken) {
            while crowd.admits(network(1, host), share, None, true) {
                crowd.enter(network(1, host));
                *taken += 1;
            }
        }
        assert_eq!(taken, [10, 10, 10, 10, 0, 0, 0]);
        assert!(crowd.admits(network(2, 1), share, None, true));
    }

    #[test]
    fn in_the_last_quarter_only_networks_under_their_even_share_are_let_in() {
        let mut crowd = Crowd::default();
        assert_eq!(fill(&mut crowd, network(1, 1), 50), 40);
        assert_eq!(fill(&mut crowd, network(2, 1), 50), 40, "the even share of two is 50");
        // The third has an even share of 33.
        assert_eq!(fill(&mut crowd, network(3, 1), 10), 10);
        assert!(!crowd.admits(network(1, 1), SHARE, None, true));
        assert!(crowd.admits(network(4, 1), SHARE, None, true));
        assert!(!crowd.admits(network(3, 1), SHARE, Some(5), true), "or under what the caller says");
        assert_eq!(fill(&mut crowd, network(5, 1), 50), 10);
        assert!(!crowd.admits(network(6, 1), SHARE, None, true), "it is full");
        assert!(crowd.admits(None, SHARE, None, true), "but not for this machine's own socket");
    }

    #[test]
    fn a_wider_network_with_many_networks_is_one_party_and_leaves_the_last_quarter() {
        let mut crowd = Crowd::default();
        // Far more networks than there are places, one place each, then as many as each may have.
        for _ in 0..2 {
            (0..=u8::MAX).for_each(|host| {
                fill(&mut crowd, network(1, host), 1);
            });
        }
        assert_eq!(crowd.total(), 75);
        assert_eq!(fill(&mut crowd, network(2, 1), 50), 25, "an even part of two wider networks is 50");
        crowd.leave_network(network(1, 0));
        assert!(!crowd.admits(network(1, 255), SHARE, None, true), "the wider network has more than its even part");
        assert!(crowd.admits(network(2, 1), SHARE, None, true) && crowd.admits(network(3, 1), SHARE, None, true));
    }

    #[test]
    fn a_wider_network_has_four_hundredths_where_a_network_has_one() {
        let mut crowd = Crowd::default();
        let line = Share { network: 500, all: 1_000 };
        let fill = |crowd: &mut Crowd, wide, host, count: usize| {
            (0..count).filter(|_| crowd.admits(network(wide, host), line, Some(10), true) && crowd.enter(network(wide, host)) > 0).count()
        };
        assert_eq!((fill(&mut crowd, 1, 1, 600), fill(&mut crowd, 2, 1, 300)), (500, 250));
        assert_eq!((0..=u8::MAX).map(|host| fill(&mut crowd, 3, host, 1)).sum::<usize>(), 40);
        assert_eq!(fill(&mut crowd, 4, 1, 50), 10);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn counts_are_those_of_a_naive_list(steps in prop::collection::vec((any::<bool>(), 0..4u8, 0..4u8), 0..200)) {
            let mut crowd = Crowd::default();
            let mut naive: Vec<(Slot, Option<Network>)> = Vec::new();
            for (enters, wide, host) in steps {
                let network = if wide == 0 { None } else { network(wide, host) };
                if enters {
                    naive.push((crowd.enter(network), network));
                } else if let Some(at) = naive.iter().position(|(_, other)| *other == network) {
                    let (slot, _) = naive.swap_remove(at);
                    if host == 0 { crowd.leave(slot) } else { crowd.leave_network(network) }
                }
                prop_assert_eq!(crowd.total(), naive.len() as u64);
                for (slot, network) in &naive {
                    prop_assert_eq!(crowd.network(*slot), *network);
                    if let Some(network) = network {
                        let count = naive.iter().filter(|(_, other)| *other == Some(*network)).count();
                        prop_assert_eq!(crowd.of(*network), count as u64);
                    }
                }
                let mut networks: Vec<_> = naive.iter().filter_map(|(_, network)| *network).collect();
                networks.sort();
                networks.dedup();
                prop_assert_eq!(crowd.networks.len(), networks.len());
                for network in &networks {
                    let around = crowd.wide[&network.wide()];
                    let within = |other: &&Network| other.wide() == network.wide();
                    prop_assert_eq!(around.networks as usize, networks.iter().filter(within).count());
                    let count = naive.iter().filter_map(|(_, other)| other.as_ref()).filter(within).count();
                    prop_assert_eq!(around.count as usize, count);
                }
            }
            while let Some((slot, _)) = naive.pop() {
                crowd.leave(slot);
            }
            prop_assert!(crowd.wide.is_empty() && crowd.networks.is_empty() && crowd.total() == 0);
        }
    }
}
