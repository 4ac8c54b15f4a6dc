//! How often one network may be denied before it is told to slow down. A denial is a durable entry; without a bound, asking in a loop would
//! fill the disk.

use std::net::IpAddr;

use triquest_wire::limits::{DENIAL_TABLE_SLOTS, DENIALS_BURST, DENIALS_PER_SECOND};

use crate::rates::{NetworkRates, Rate};

/// The denials of each network.
pub struct Denials(NetworkRates);

impl Denials {
    /// With bounds that differ from the built-in ones, or not.
    #[must_use]
    pub fn new(burst: Option<u32>, per_second: Option<u32>) -> Self {
        let rate = Rate::new(burst.unwrap_or(DENIALS_BURST), per_second.unwrap_or(DENIALS_PER_SECOND));
        Self(NetworkRates::new(DENIAL_TABLE_SLOTS, rate))
    }

    /// After how many milliseconds this network may be denied again; `None` is now.
    #[must_use]
    pub fn wait_ms(&self, address: IpAddr, now_ms: u64) -> Option<u64> {
        self.0.wait_ms(address, now_ms)
    }

    /// Counts one denial of this network.
    pub fn charge(&self, address: IpAddr, now_ms: u64) {
        self.0.charge(address, now_ms);
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
