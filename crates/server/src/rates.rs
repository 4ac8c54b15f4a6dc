//! How often somebody may: a rate with a burst, for everybody together or for each network. One number is kept for each, so memory is fixed, and the
//! table of networks has a secret key, so no choice of addresses grows it or aims at somebody else's slot.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::accept::network_of;

/// So many per second, after a burst. What is kept of somebody is the time, in microseconds of the boot clock, at which all so far will have been
/// paid for.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    interval_us: u64,
    credit_us: u64,
}

impl Rate {
    /// So many at once, then so many per second.
    #[must_use]
    pub fn new(burst: u32, per_second: u32) -> Self {
        let interval_us = 1_000_000 / u64::from(per_second).max(1);
        Self { interval_us, credit_us: interval_us * u64::from(burst) }
    }

    /// So many at once, then so many per minute.
    #[must_use]
    pub fn per_minute(burst: u32, per_minute: u32) -> Self {
        let interval_us = 60_000_000 / u64::from(per_minute).max(1);
        Self { interval_us, credit_us: interval_us * u64::from(burst) }
    }

    /// After how many milliseconds the next one may be; `None` is now.
    #[must_use]
    pub fn wait_ms(self, paid_us: u64, now_ms: u64) -> Option<u64> {
        let ahead = paid_us.saturating_sub(now_ms * 1_000);
        (ahead + self.interval_us > self.credit_us).then(|| (ahead + self.interval_us - self.credit_us).div_ceil(1_000))
    }

    /// What is kept after one more.
    #[must_use]
    pub fn charged(self, paid_us: u64, now_ms: u64) -> u64 {
        paid_us.max(now_ms * 1_000) + self.interval_us
    }
}

/// A [`Rate`] for each network (/32, or /64 of IPv6), in a table of fixed size. Networks that meet in a slot share it.
pub struct NetworkRates {
    slots: Box<[AtomicU64]>,
    key: RandomState,
    rate: Rate,
}

impl NetworkRates {
    /// A table of so many slots.
    #[must_use]
    pub fn new(slots: usize, rate: Rate) -> Self {
        Self { slots: (0..slots.max(1)).map(|_| AtomicU64::new(0)).collect(), key: RandomState::new(), rate }
    }

    /// After how many milliseconds this network may again; `None` is now.
    #[must_use]
    pub fn wait_ms(&self, address: IpAddr, now_ms: u64) -> Option<u64> {
        self.rate.wait_ms(self.slot(address).load(Ordering::Relaxed), now_ms)
    }

    /// Counts one of this network.
    pub fn charge(&self, address: IpAddr, now_ms: u64) {
        let slot = self.slot(address);
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| Some(self.rate.charged(paid, now_ms)));
    }

    /// Bytes that the table takes, whoever asks.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        std::mem::size_of_val(&*self.slots)
    }

    fn slot(&self, address: IpAddr) -> &AtomicU64 {
        let hash = self.key.hash_one(network_of(address));
        &self.slots[usize::try_from(hash % self.slots.len() as u64).unwrap_or(0)]
    }
}
