//! Licenses that others replaced, and such others that were removed by hand, in the order in which that was. They are kept for the day on which the wall
//! clock that had brought what replaced them is taken back. The state and whoever shows it keep them by this; who shows it needs the replaced ones alone.

use std::collections::BTreeMap;

use crate::{EntitlementId, limits::REPLACED_KEPT_MAX};

/// The last [`REPLACED_KEPT_MAX`] licenses that were taken off, each by its first entitlement.
#[derive(Clone, Debug, Default)]
pub struct TakenOff {
    by_order: BTreeMap<u64, EntitlementId>,
    orders: BTreeMap<EntitlementId, u64>,
}

impl TakenOff {
    /// This one was taken off now, after all others; hands out the one that was taken off first, if it is one too many.
    pub fn push(&mut self, first: EntitlementId) -> Option<EntitlementId> {
        let order = self.by_order.last_key_value().map_or(0, |(last, _)| last + 1);
        self.put(first, order);
        if self.by_order.len() <= REPLACED_KEPT_MAX {
            return None;
        }
        let (_, oldest) = self.by_order.pop_first()?;
        self.orders.remove(&oldest);
        Some(oldest)
    }

    /// Puts one where it stood, as a snapshot says.
    pub fn put(&mut self, first: EntitlementId, order: u64) {
        self.remove(first);
        self.by_order.insert(order, first);
        self.orders.insert(first, order);
    }

    /// It is back, or gone for good.
    pub fn remove(&mut self, first: EntitlementId) {
        if let Some(order) = self.orders.remove(&first) {
            self.by_order.remove(&order);
        }
    }

    /// Whether it is kept.
    #[must_use]
    pub fn contains(&self, first: EntitlementId) -> bool {
        self.orders.contains_key(&first)
    }

    /// All, those first that were taken off first.
    pub fn iter(&self) -> impl Iterator<Item = EntitlementId> + '_ {
        self.by_order.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_were_replaced_are_kept_whenever_they_were_installed() {
        let mut taken_off = TakenOff::default();
        let most = u32::try_from(REPLACED_KEPT_MAX).expect("small");
        // The newest license is replaced first.
        for number in (1..=most).rev() {
            assert_eq!(taken_off.push(EntitlementId(number)), None);
        }
        assert_eq!(taken_off.push(EntitlementId(0)), Some(EntitlementId(most)));
        assert!(!taken_off.contains(EntitlementId(most)) && taken_off.contains(EntitlementId(0)));
        // One that came back and is replaced again is the last.
        taken_off.remove(EntitlementId(most - 1));
        assert_eq!(taken_off.push(EntitlementId(most - 1)), None);
        assert_eq!(taken_off.push(EntitlementId(most + 1)), Some(EntitlementId(most - 2)));
        assert_eq!(taken_off.iter().last(), Some(EntitlementId(most + 1)));
    }
}
