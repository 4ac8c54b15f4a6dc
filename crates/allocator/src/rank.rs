//! Places in line: a set of orders that tells in logarithmic time how many come before one.

/// Orders that are in line. Orders come in ascending; those that left are kept as gaps until half are gaps.
#[derive(Debug, Default)]
pub(crate) struct Ranks {
    /// Ascending, gaps included.
    orders: Vec<u64>,
    here: Vec<bool>,
    /// A Fenwick tree over `here`: element i, from 1, counts those in the `i & -i` positions up to i.
    tree: Vec<u32>,
    len: usize,
}

fn low_bit(at: usize) -> usize {
    at & at.wrapping_neg()
}

impl Ranks {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an order in; one at the end, as all newcomers are, is quick. Nothing happens if it is there.
    pub(crate) fn insert(&mut self, order: u64) {
        if self.orders.last().is_none_or(|last| *last < order) {
            self.push(order);
            return;
        }
        let at = self.orders.partition_point(|other| *other < order);
        if self.orders.get(at) == Some(&order) && self.here[at] {
            return;
        }
        let mut all: Vec<u64> = self.iter().collect();
        let at = all.partition_point(|other| *other < order);
        all.insert(at, order);
        self.rebuild(all);
    }

    /// Puts many in at once, in any order.
    pub(crate) fn extend(&mut self, more: impl Iterator<Item = u64>) {
        let mut all: Vec<u64> = self.iter().chain(more).collect();
        all.sort_unstable();
        all.dedup();
        self.rebuild(all);
    }

    /// Takes an order out; false if it is not there.
    pub(crate) fn remove(&mut self, order: u64) -> bool {
        let Ok(at) = self.orders.binary_search(&order) else { return false };
        if !self.here[at] {
            return false;
        }
        self.here[at] = false;
        self.len -= 1;
        let mut place = at + 1;
        while place <= self.tree.len() {
            self.tree[place - 1] -= 1;
            place += low_bit(place);
        }
        if self.len == 0 {
            *self = Self::default();
        } else if self.orders.len() >= 2 * self.len + 16 {
            let all = self.iter().collect();
            self.rebuild(all);
        }
        true
    }

    /// How many come before this order.
    pub(crate) fn before(&self, order: u64) -> usize {
        self.count(self.orders.partition_point(|other| *other < order))
    }

    /// The first order.
    pub(crate) fn first(&self) -> Option<u64> {
        self.at(0)
    }

    /// The first order that is not before this one.
    pub(crate) fn from(&self, order: u64) -> Option<u64> {
        self.at(self.before(order))
    }

    /// All, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.orders.iter().zip(&self.here).filter(|(_, here)| **here).map(|(order, _)| *order)
    }

    /// How many of the first positions are in line.
    fn count(&self, positions: usize) -> usize {
        let mut place = positions;
        let mut sum = 0;
        while place > 0 {
            sum += self.tree[place - 1] as usize;
            place -= low_bit(place);
        }
        sum
    }

    /// The order that so many come before.
    fn at(&self, before: usize) -> Option<u64> {
        if before >= self.len {
            return None;
        }
        let mut left = before;
        let mut place = 0;
        let mut step = self.tree.len().next_power_of_two();
        while step > 0 {
            if place + step <= self.tree.len() && self.tree[place + step - 1] as usize <= left {
                place += step;
                left -= self.tree[place - 1] as usize;
            }
            step /= 2;
        }
        self.orders.get(place).copied()
    }

    fn push(&mut self, order: u64) {
        self.orders.push(order);
        self.here.push(true);
        let place = self.orders.len();
        let inside = self.count(place - 1) - self.count(place - low_bit(place));
        self.tree.push(inside as u32 + 1);
        self.len += 1;
    }

    fn rebuild(&mut self, all: Vec<u64>) {
        *self = Self::default();
        all.into_iter().for_each(|order| self.push(order));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Come,
        Insert(u64),
        Leave(usize),
        Extend(Vec<u64>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Come),
            1 => (0..400u64).prop_map(Step::Insert),
            5 => (0..400usize).prop_map(Step::Leave),
            1 => prop::collection::vec(0..400u64, 0..20).prop_map(Step::Extend),
        ];
        prop::collection::vec(step, 0..300)
    }

    /// The least time that a thousand asks took, spread over a line of so many.
    #[expect(clippy::disallowed_methods, reason = "what an ask costs is measured, and no right depends on it")]
    fn asks(len: u64) -> std::time::Duration {
        let mut ranks = Ranks::default();
        ranks.extend(0..len);
        let thousand = || {
            let began = std::time::Instant::now();
            let sum: usize = (0..1_000).map(|nth| ranks.before(nth * len / 1_000)).sum();
            assert_eq!(sum as u64, len / 1_000 * 499_500);
            began.elapsed()
        };
        (0..9).map(|_| thousand()).min().unwrap()
    }

    #[test]
    fn a_place_in_a_line_of_a_hundred_thousand_is_found_without_counting_those_before_it() {
        // A hundred times as many: seven more steps each, where a count would take a hundred times as long.
        let (short, long) = (asks(1_000), asks(100_000));
        assert!(long < short * 20, "{short:?}, {long:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn every_place_is_that_of_a_naive_list(steps in steps()) {
            let mut ranks = Ranks::default();
            let mut naive = BTreeSet::new();
            let mut next = 0;
            for step in steps {
                match step {
                    Step::Come => {
                        next = naive.last().map_or(next, |last: &u64| next.max(last + 1));
                        ranks.insert(next);
                        naive.insert(next);
                        next += 1;
                    }
                    Step::Insert(order) => {
                        ranks.insert(order);
                        naive.insert(order);
                    }
                    Step::Leave(nth) => {
                        let order = naive.iter().nth(nth).copied().unwrap_or(nth as u64);
                        prop_assert_eq!(ranks.remove(order), naive.remove(&order));
                    }
                    Step::Extend(more) => {
                        ranks.extend(more.iter().copied());
                        naive.extend(more);
                    }
                }
                prop_assert_eq!(ranks.len(), naive.len());
                prop_assert_eq!(ranks.is_empty(), naive.is_empty());
                prop_assert_eq!(ranks.first(), naive.first().copied());
                prop_assert!(ranks.iter().eq(naive.iter().copied()));
                for order in (0..420).step_by(7) {
                    prop_assert_eq!(ranks.before(order), naive.range(..order).count());
                    prop_assert_eq!(ranks.from(order), naive.range(order..).next().copied());
                }
            }
        }
    }

    #[test]
    fn gaps_are_given_up_so_that_a_line_that_moves_for_ever_stays_small() {
        let mut ranks = Ranks::default();
        for order in 0..100_000 {
            ranks.insert(order);
            if order >= 10 {
                assert!(ranks.remove(order - 10));
            }
        }
        assert_eq!(ranks.len(), 10);
        assert!(ranks.orders.len() < 64, "{}", ranks.orders.len());
    }
}
