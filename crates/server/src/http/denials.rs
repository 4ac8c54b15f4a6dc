//! How often one network may be denied before it is told to slow down. A denial is a durable entry; without a bound, asking in a loop would
//! fill the disk. The table has a fixed size and a secret key, so no choice of addresses grows it or aims at somebody else's slot.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use triquest_wire::limits::{DENIAL_TABLE_SLOTS, DENIALS_BURST, DENIALS_PER_SECOND};

use crate::accept::network_of;

/// The table. Each slot holds the time, in microseconds of the boot clock, at which all denials so far will have been paid for.
pub struct Denials {
    slots: Box<[AtomicU64]>,
    key: RandomState,
    interval_us: u64,
    credit_us: u64,
}

impl Denials {
    /// With bounds that differ from the built-in ones, or not.
    #[must_use]
    pub fn new(burst: Option<u32>, per_second: Option<u32>) -> Self {
        let interval_us = 1_000_000 / u64::from(per_second.unwrap_or(DENIALS_PER_SECOND)).max(1);
        Self {
            slots: (0..DENIAL_TABLE_SLOTS).map(|_| AtomicU64::new(0)).collect(),
            key: RandomState::new(),
            interval_us,
            credit_us: interval_us * u64::from(burst.unwrap_or(DENIALS_BURST)),
        }
    }

    fn slot(&self, address: IpAddr) -> &AtomicU64 {
        let hash = self.key.hash_one(network_of(address));
        &self.slots[usize::try_from(hash % self.slots.len() as u64).unwrap_or(0)]
    }

    /// After how many milliseconds this network may be denied again; `None` is now.
    #[must_use]
    pub fn wait_ms(&self, address: IpAddr, now_ms: u64) -> Option<u64> {
        let paid = self.slot(address).load(Ordering::Relaxed);
        let ahead = paid.saturating_sub(now_ms * 1_000);
        (ahead + self.interval_us > self.credit_us).then(|| (ahead + self.interval_us - self.credit_us).div_ceil(1_000))
    }

    /// Counts one denial of this network.
    pub fn charge(&self, address: IpAddr, now_ms: u64) {
        let _ =
            self.slot(address).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| Some(paid.max(now_ms * 1_000) + self.interval_us));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn after_the_burst_denials_come_at_the_rate() {
        let denials = Denials::new(Some(3), Some(2));
        let ana: IpAddr = "10.0.0.1".parse().unwrap();
        let now = 1_000_000;
        for _ in 0..3 {
            assert_eq!(denials.wait_ms(ana, now), None);
            denials.charge(ana, now);
        }
        assert_eq!(denials.wait_ms(ana, now), Some(500));
        assert_eq!(denials.wait_ms(ana, now + 499), Some(1));
        assert_eq!(denials.wait_ms(ana, now + 500), None);
        assert_eq!(denials.wait_ms("10.0.0.2".parse().unwrap(), now), None);
    }

    #[test]
    fn a_hundred_thousand_sources_of_one_half_are_one_network() {
        let denials = Denials::new(Some(10), Some(1));
        let mut denied = 0;
        for source in 0..100_000u128 {
            let address = IpAddr::V6((0xfd00_u128 << 112 | source).into());
            if denials.wait_ms(address, 5_000).is_none() {
                denials.charge(address, 5_000);
                denied += 1;
            }
        }
        assert_eq!(denied, 10);
    }
}
