//! How often somebody may: so many at once, then so many a second, for each network, for the wider network around it (four times as many, but never
//! the last quarter of what all may) and for all together. One number is kept for each, in tables of fixed size under a secret key, so no choice of addresses grows them or aims at
//! somebody else's slot. Pure: the time is an argument.
//!
//! What is charged is debt, and debt is paid off with time. What is asked for beforehand never makes it grow above what may be had at once, so whoever was
//! told to wait needs to wait no longer than it was told. What was done already, or goes on anyway, is owed beyond that ([`Rates::owe`],
//! [`Rates::owe_within`]). What turns out to have cost nothing is given back.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, Hasher, RandomState},
};

use triquest_allocator::{Network, WideNetwork, limits::WIDE_NETWORK_SHARES, share::Has};

use crate::shares::{Over, Share};

/// So many per second, after a burst. What is kept of somebody is the time, in microseconds of the boot clock, at which all so far will have been
/// paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval_us: u64,
    burst: u64,
}

impl Rate {
    /// So many at once, then so many per second.
    #[must_use]
    pub fn new(burst: u32, per_second: u32) -> Self {
        Self { interval_us: 1_000_000 / u64::from(per_second).clamp(1, 1_000_000), burst: burst.into() }
    }

    /// So many at once, then so many per minute.
    #[must_use]
    pub fn per_minute(burst: u32, per_minute: u32) -> Self {
        Self { interval_us: 60_000_000 / u64::from(per_minute).max(1), burst: burst.into() }
    }

    /// After how many milliseconds the next one may be; `None` is now.
    #[must_use]
    pub fn wait_ms(self, paid_us: u64, now_ms: u64) -> Option<u64> {
        self.wait_for_ms(paid_us, 1, now_ms)
    }

    /// After how many milliseconds the next `count` may be; `None` is now. More than a burst counts as a burst.
    #[must_use]
    pub fn wait_for_ms(self, paid_us: u64, count: u64, now_ms: u64) -> Option<u64> {
        let credit_us = self.interval_us.saturating_mul(self.burst.max(1));
        let wanted_us = self.interval_us.saturating_mul(count).min(credit_us);
        let owed_us = paid_us.saturating_sub(now_ms.saturating_mul(1_000)).saturating_add(wanted_us);
        (owed_us > credit_us).then(|| (owed_us - credit_us).div_ceil(1_000))
    }

    /// What is kept after one more.
    #[must_use]
    pub fn charged(self, paid_us: u64, now_ms: u64) -> u64 {
        self.charged_for(paid_us, 1, now_ms)
    }

    fn charged_for(self, paid_us: u64, count: u64, now_ms: u64) -> u64 {
        let credit_us = self.interval_us.saturating_mul(self.burst.max(1));
        paid_us.max(now_ms.saturating_mul(1_000)).saturating_add(self.interval_us.saturating_mul(count).min(credit_us))
    }

    /// What is kept after `count` more, however many that is.
    fn owing(self, paid_us: u64, count: u64, now_ms: u64) -> u64 {
        paid_us.max(now_ms.saturating_mul(1_000)).saturating_add(self.interval_us.saturating_mul(count))
    }

    /// How many are owed now.
    fn owed(self, paid_us: u64, now_ms: u64) -> u64 {
        paid_us.saturating_sub(now_ms.saturating_mul(1_000)).div_ceil(self.interval_us)
    }
}

/// What one network may, and all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateShare {
    /// One network.
    pub network: Rate,
    /// All together, if there is such a limit.
    pub all: Option<Rate>,
}

/// Why not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// When to ask again.
    pub wait_ms: u64,
    /// Whose limit it is.
    pub by: Over,
}

/// A [`RateShare`] for every network. Networks that meet in a slot share it.
pub struct Rates<S = RandomState> {
    share: RateShare,
    key: S,
    networks: Box<[u64]>,
    wider: Box<[u64]>,
    all_us: u64,
    /// Only where all together have a limit.
    present: Present,
}

/// Slots of networks that owe something.
#[derive(Default)]
struct Present {
    /// By when they will have paid, with the slot of the wider network around each.
    networks: BTreeSet<(u64, usize, usize)>,
    /// How many of these are within each slot of a wider network.
    within: BTreeMap<usize, u64>,
}

impl Present {
    fn insert(&mut self, paid_us: u64, slot: usize, around: usize) {
        if self.networks.insert((paid_us, slot, around)) {
            *self.within.entry(around).or_default() += 1;
        }
    }

    /// A slot owes nothing any more, or something else: then it may be another network's, and around it another one.
    fn remove(&mut self, paid_us: u64, slot: usize) {
        let found = self.networks.range((paid_us, slot, 0)..=(paid_us, slot, usize::MAX)).next().copied();
        if let Some(found) = found {
            self.networks.remove(&found);
            self.left(found.2);
        }
    }

    /// Those have gone that have paid by now.
    fn forget(&mut self, now_us: u64) {
        while let Some(first) = self.networks.first().copied().filter(|(paid_us, ..)| *paid_us <= now_us) {
            self.networks.pop_first();
            self.left(first.2);
        }
    }

    fn left(&mut self, around: usize) {
        if let Some(count) = self.within.get_mut(&around) {
            *count -= 1;
            if *count == 0 {
                self.within.remove(&around);
            }
        }
    }
}

impl Rates {
    /// A table of so many slots.
    #[must_use]
    pub fn new(slots: usize, share: RateShare) -> Self {
        Self::with_key(slots, share, RandomState::new())
    }
}

impl<S: BuildHasher> Rates<S> {
    /// The wider network's table is a quarter of the network's.
    fn with_key(slots: usize, share: RateShare, key: S) -> Self {
        let table = |slots: usize| vec![0; slots.max(1)].into_boxed_slice();
        Self { share, key, networks: table(slots), wider: table(slots / 4), all_us: 0, present: Present::default() }
    }

    /// Charges `count` to a network, and to those around it.
    ///
    /// # Errors
    /// When to ask again; then nothing was charged.
    pub fn charge(&mut self, network: Network, count: u64, now_ms: u64) -> Result<(), Limited> {
        self.charge_for(network, "", count, now_ms)
    }

    /// The same, counted apart for each `what` (such as a feature).
    ///
    /// # Errors
    /// As [`Rates::charge`].
    pub fn charge_for(&mut self, network: Network, what: &str, count: u64, now_ms: u64) -> Result<(), Limited> {
        let place = self.slots(network, what);
        self.may(place, count, now_ms)?;
        self.add(place, count, now_ms);
        Ok(())
    }

    /// Whether `count` may be charged to a network now. Nothing is.
    ///
    /// # Errors
    /// As [`Rates::charge`].
    pub fn look(&mut self, network: Network, count: u64, now_ms: u64) -> Result<(), Limited> {
        self.may(self.slots(network, ""), count, now_ms)
    }

    fn may(&mut self, (slot, around): (usize, usize), count: u64, now_ms: u64) -> Result<(), Limited> {
        let (own, wider) = (self.share.network, self.wider_rate());
        let limited = |by, wait_ms: Option<u64>| wait_ms.map_or(Ok(()), |wait_ms| Err(Limited { wait_ms, by }));
        limited(Over::Network, own.wait_for_ms(self.networks[slot], count, now_ms))?;
        limited(Over::Wider, wider.wait_for_ms(self.wider[around], count, now_ms))?;
        let Some(all) = self.share.all else { return Ok(()) };
        self.present.forget(now_ms.saturating_mul(1_000));
        let has = Has {
            own: own.owed(self.networks[slot], now_ms),
            wider: wider.owed(self.wider[around], now_ms),
            all: all.owed(self.all_us, now_ms),
            within: self.present.within.get(&around).copied().unwrap_or(0),
            present: self.present.within.len() as u64,
        };
        // Whether a wider network is among those present, its networks say: its own debt may be paid sooner or later than theirs.
        let part = Has { wider: has.within, ..has }.even_part(all.burst);
        if has.all.saturating_add(count) > self.server().crowded() {
            // At the latest when its own debt is paid down to an even part.
            let paid_ms = |over: u64, rate: Rate| over.saturating_mul(rate.interval_us).div_ceil(1_000).max(1);
            let over = |owed: u64, part: u64| Some(owed.saturating_add(count).saturating_sub(part)).filter(|over| *over > 0);
            if let Some(over) = over(has.wider, part.wider) {
                return Err(Limited { wait_ms: paid_ms(over, wider), by: Over::WiderEvenPart });
            }
            if let Some(over) = over(has.own, part.network) {
                return Err(Limited { wait_ms: paid_ms(over, own), by: Over::EvenPart });
            }
        }
        limited(Over::All, all.wait_for_ms(self.all_us, count, now_ms))
    }

    fn add(&mut self, (slot, around): (usize, usize), count: u64, now_ms: u64) {
        let wider = self.wider_rate();
        self.set(slot, around, self.share.network.charged_for(self.networks[slot], count, now_ms));
        self.wider[around] = wider.charged_for(self.wider[around], count, now_ms);
        if let Some(all) = self.share.all {
            self.all_us = all.charged_for(self.all_us, count, now_ms);
        }
    }

    /// What `charged` was charged for is done, and cost `cost`. Nobody owes more than a burst for it: what was not foreseen is forgiven beyond that.
    pub fn settle(&mut self, network: Network, charged: u64, cost: u64, now_ms: u64) {
        if cost <= charged {
            return self.give_back(network, charged - cost);
        }
        let place = self.slots(network, "");
        self.add(place, cost - charged, now_ms);
        let most = |rate: Rate, paid_us: u64| paid_us.min(rate.charged_for(0, rate.burst, now_ms));
        self.set(place.0, place.1, most(self.share.network, self.networks[place.0]));
        self.wider[place.1] = most(self.wider_rate(), self.wider[place.1]);
        if let Some(all) = self.share.all {
            self.all_us = most(all, self.all_us);
        }
    }

    /// Charges what was done already, whatever is owed: then it is not much, and known too late to refuse it.
    pub fn owe(&mut self, network: Network, count: u64, now_ms: u64) {
        self.add(self.slots(network, ""), count, now_ms);
    }

    /// Charges what goes on anyway, as long as no more is owed than `bursts` times what may be had at once. False if it is; then nothing was charged.
    pub fn owe_within(&mut self, network: Network, count: u64, bursts: u64, now_ms: u64) -> bool {
        let place = self.slots(network, "");
        let owed = |rate: Rate, paid_us: u64| rate.owed(paid_us, now_ms).saturating_add(count) <= rate.burst.saturating_mul(bursts);
        let fits = owed(self.share.network, self.networks[place.0]) && owed(self.wider_rate(), self.wider[place.1]);
        if fits {
            self.add(place, count, now_ms);
        }
        fits
    }

    /// In how many milliseconds, at most `most_ms`, it is the turn of the last of `count` things that come one by one at the rate. They are charged, unless
    /// the wait is cut. Only for what has no limit for all together.
    pub fn turn_ms(&mut self, network: Network, count: u64, most_ms: u64, now_ms: u64) -> u64 {
        let (slot, around) = self.slots(network, "");
        let (own, wider) = (self.share.network, self.wider_rate());
        let after_ms = |rate: Rate, paid_us: u64| {
            let (owing_us, credit_us) = (rate.owing(paid_us, count, now_ms), rate.interval_us.saturating_mul(rate.burst.max(1)));
            owing_us.saturating_sub(now_ms.saturating_mul(1_000)).saturating_sub(credit_us).div_ceil(1_000)
        };
        let wait_ms = after_ms(own, self.networks[slot]).max(after_ms(wider, self.wider[around]));
        if wait_ms >= most_ms {
            return most_ms;
        }
        self.set(slot, around, own.owing(self.networks[slot], count, now_ms));
        self.wider[around] = wider.owing(self.wider[around], count, now_ms);
        wait_ms
    }

    /// Takes back what was charged for something that cost nothing after all.
    pub fn give_back(&mut self, network: Network, count: u64) {
        self.give_back_for(network, "", count);
    }

    /// The same for [`Rates::charge_for`].
    pub fn give_back_for(&mut self, network: Network, what: &str, count: u64) {
        let (slot, around) = self.slots(network, what);
        let wider = self.wider_rate();
        self.set(slot, around, self.networks[slot].saturating_sub(self.share.network.interval_us.saturating_mul(count)));
        self.wider[around] = self.wider[around].saturating_sub(wider.interval_us.saturating_mul(count));
        if let Some(all) = self.share.all {
            self.all_us = self.all_us.saturating_sub(all.interval_us.saturating_mul(count));
        }
    }

    /// Bytes that the tables take, whoever asks.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        size_of_val(&*self.networks) + size_of_val(&*self.wider)
    }

    fn set(&mut self, slot: usize, around: usize, paid_us: u64) {
        if self.share.all.is_some() {
            self.present.remove(self.networks[slot], slot);
            self.present.insert(paid_us, slot, around);
        }
        self.networks[slot] = paid_us;
    }

    /// The bursts as a [`Share`], so that its rule holds here too.
    fn server(&self) -> Share {
        Share { network: self.share.network.burst, all: self.share.all.map_or(u64::MAX, |all| all.burst) }
    }

    fn wider_rate(&self) -> Rate {
        let own = self.share.network.interval_us;
        // Three quarters of the rate of all, if there is one.
        let most = self.share.all.map_or(1, |all| (all.interval_us.saturating_mul(4) / 3).min(own));
        Rate { interval_us: (own / WIDE_NETWORK_SHARES).max(most).max(1), burst: self.server().wider() }
    }

    fn slots(&self, network: Network, what: &str) -> (usize, usize) {
        let slot = |of: [u8; 9], table: &[u64]| {
            let mut hash = self.key.build_hasher();
            hash.write(&of);
            hash.write(what.as_bytes());
            usize::try_from(hash.finish() % table.len() as u64).expect("a place in a table is a number of memory")
        };
        let of = |kind: u8, bytes: &[u8]| {
            let mut of = [kind; 9];
            of[1..=bytes.len()].copy_from_slice(bytes);
            of
        };
        let own = match network {
            Network::V4(bytes) => of(4, &bytes),
            Network::V6(bytes) => of(6, &bytes),
        };
        let wider = match network.wide() {
            WideNetwork::V4(bytes) => of(4, &bytes),
            WideNetwork::V6(bytes) => of(6, &bytes),
        };
        (slot(own, &self.networks), slot(wider, &self.wider))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
        hash::BuildHasherDefault,
        net::IpAddr,
    };

    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_000_000;

    fn network(text: &str) -> Network {
        Network::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn after_the_burst_they_come_at_the_rate() {
        let mut rates = Rates::new(1_024, RateShare { network: Rate::new(3, 2), all: None });
        let ana = network("10.0.0.1");
        for _ in 0..3 {
            rates.charge(ana, 1, NOW_MS).unwrap();
        }
        assert_eq!(rates.charge(ana, 1, NOW_MS), Err(Limited { wait_ms: 500, by: Over::Network }));
        assert_eq!(rates.charge(ana, 1, NOW_MS + 499), Err(Limited { wait_ms: 1, by: Over::Network }));
        rates.give_back(ana, 1);
        rates.charge(ana, 1, NOW_MS).unwrap();
        rates.charge(ana, 1, NOW_MS + 500).unwrap();
        rates.charge(network("10.9.0.2"), 3, NOW_MS).unwrap();
    }

    #[test]
    fn whoever_was_told_to_wait_waits_no_longer_however_often_it_asked() {
        let mut rates = Rates::new(1_024, RateShare { network: Rate::new(10, 5), all: None });
        let ana = network("10.0.0.1");
        let refused = (0..4_096).filter_map(|_| rates.charge(ana, 1, NOW_MS).err()).collect::<Vec<_>>();
        assert_eq!(refused.len(), 4_086);
        assert!(refused.iter().all(|limited| limited.wait_ms == 200));
        rates.charge(ana, 1, NOW_MS + 200).unwrap();
    }

    #[test]
    fn a_look_charges_nothing_and_says_what_a_charge_would() {
        let mut rates = Rates::new(1_024, RateShare { network: Rate::new(3, 2), all: Some(Rate::new(4, 2)) });
        let ana = network("10.0.0.1");
        for _ in 0..100 {
            rates.look(ana, 3, NOW_MS).unwrap();
        }
        rates.charge(ana, 3, NOW_MS).unwrap();
        let looked = rates.look(ana, 1, NOW_MS);
        assert_eq!(looked, Err(Limited { wait_ms: 500, by: Over::Network }));
        assert_eq!(looked, rates.charge(ana, 1, NOW_MS));
        rates.look(network("10.9.0.2"), 1, NOW_MS).unwrap();
        assert!(rates.look(network("10.9.0.2"), 2, NOW_MS).is_err(), "and for all together");
    }

    #[test]
    fn what_cost_more_or_less_than_was_charged_is_settled_and_nobody_owes_more_than_a_burst() {
        let mut rates = Rates::new(1_024, RateShare { network: Rate::new(80, 10), all: Some(Rate::new(100, 10)) });
        let (ana, ben) = (network("10.0.0.1"), network("10.9.0.2"));
        rates.charge(ana, 10, NOW_MS).unwrap();
        rates.settle(ana, 10, 2, NOW_MS);
        rates.charge(ana, 60, NOW_MS).unwrap();
        rates.settle(ana, 60, 1_000_000, NOW_MS);
        assert_eq!(rates.charge(ana, 1, NOW_MS), Err(Limited { wait_ms: 100, by: Over::Network }));
        assert!(rates.charge(ben, 1, NOW_MS).unwrap_err().wait_ms <= 10_000);
        rates.charge(ben, 1, NOW_MS + 1_000).unwrap();
    }

    #[test]
    fn what_goes_on_anyway_is_owed_up_to_some_bursts() {
        let mut rates = Rates::new(1_024, RateShare { network: Rate::new(10, 1), all: None });
        let ana = network("10.0.0.1");
        assert!(rates.owe_within(ana, 10, 2, NOW_MS) && rates.owe_within(ana, 9, 2, NOW_MS));
        assert!(!rates.owe_within(ana, 2, 2, NOW_MS) && rates.owe_within(ana, 1, 2, NOW_MS));
        assert_eq!(rates.charge(ana, 1, NOW_MS), Err(Limited { wait_ms: 11_000, by: Over::Network }));
        assert!(rates.owe_within(network("10.9.0.2"), 1, 2, NOW_MS));
    }

    #[test]
    fn many_at_once_have_their_turn_when_the_last_of_them_one_by_one_would() {
        let share = RateShare { network: Rate::new(10, 100), all: None };
        let (mut together, mut single) = (Rates::new(1_024, share), Rates::new(1_024, share));
        let ana = network("10.0.0.1");
        for count in [1, 5, 30, 100] {
            let one_by_one = (0..count).map(|_| single.turn_ms(ana, 1, 2_000, NOW_MS)).last();
            assert_eq!(Some(together.turn_ms(ana, count, 2_000, NOW_MS)), one_by_one);
        }
        assert_eq!(together.turn_ms(ana, 1_000, 2_000, NOW_MS), 2_000);
        assert_eq!(together.turn_ms(ana, 1, 2_000, NOW_MS), 1_270, "a wait that was cut is not charged");
    }

    #[test]
    fn features_are_counted_apart() {
        let mut rates = Rates::new(65_536, RateShare { network: Rate::new(1, 1), all: None });
        let ana = network("10.0.0.1");
        rates.charge_for(ana, "cad", 1, NOW_MS).unwrap();
        assert!(rates.charge_for(ana, "cad", 1, NOW_MS).is_err());
        rates.charge_for(ana, "cam", 1, NOW_MS).unwrap();
    }

    #[test]
    fn a_hundred_thousand_sources_of_one_half_are_one_network() {
        let mut rates = Rates::new(1_024, RateShare { network: Rate::new(10, 1), all: None });
        let charged = (0..100_000u128)
            .filter(|source| rates.charge(Network::from(IpAddr::V6((0xfd00_u128 << 112 | source).into())), 1, 5_000).is_ok())
            .count();
        assert_eq!(charged, 10);
        let bytes = rates.table_bytes();
        assert_eq!(bytes, (1_024 + 256) * 8);
    }

    #[test]
    fn what_is_scarce_is_for_those_who_had_less_than_an_even_part() {
        let all = Some(Rate::new(100, 10));
        let mut rates = Rates::new(65_536, RateShare { network: Rate::new(90, 1), all });
        let (large, small) = (network("10.0.0.1"), network("10.9.0.1"));
        rates.charge(large, 75, NOW_MS).unwrap();
        rates.charge(small, 1, NOW_MS).unwrap();
        assert_eq!(rates.charge(large, 1, NOW_MS).unwrap_err().by, Over::WiderEvenPart);
        rates.charge(small, 24, NOW_MS).unwrap();
        assert_eq!(rates.charge(network("10.8.0.1"), 1, NOW_MS).unwrap_err().by, Over::All);
    }

    fn wide(share: RateShare) -> Rate {
        let Rate { interval_us, burst } = share.network;
        let Some(all) = share.all else { return Rate { interval_us: (interval_us / 4).max(1), burst: burst * 4 } };
        let most = (all.interval_us * 4 / 3).min(interval_us);
        Rate { interval_us: (interval_us / 4).max(1).max(most), burst: (burst * 4).min(all.burst - all.burst / 4).max(burst) }
    }

    #[test]
    fn a_wider_network_of_many_networks_is_one_party_and_leaves_a_quarter_of_the_rate() {
        let all = Some(Rate::new(1_000, 100));
        let mut rates = Rates::new(65_536, RateShare { network: Rate::new(500, 50), all });
        let of = |host: u64| network(&format!("2001:db8:1:{host:x}::1"));
        let mut charged = |range: std::ops::Range<u64>, now_ms| range.filter(|host| rates.charge(of(*host), 1, now_ms).is_ok()).count();
        assert_eq!(charged(0..10_000, NOW_MS), 750);
        // All may 1,000 in ten seconds, the wider network three quarters of that.
        assert!((740..=760).contains(&charged(10_000..20_000, NOW_MS + 10_000)));
        assert_eq!((0..400).filter(|_| rates.charge(network("10.0.0.1"), 1, NOW_MS + 10_000).is_ok()).count(), 250);
    }

    /// One number for each network that ever came, and the rule once more as plainly as can be.
    #[derive(Default)]
    struct Naive {
        networks: BTreeMap<Network, u64>,
        wider: BTreeMap<WideNetwork, u64>,
        all_us: u64,
    }

    impl Naive {
        fn charge(&mut self, share: RateShare, who: Network, count: u64, now_ms: u64) -> Result<(), Over> {
            let now_us = now_ms * 1_000;
            let cost = |rate: Rate| (rate.interval_us * count).min(rate.interval_us * rate.burst);
            let fits = |paid: u64, rate: Rate| paid.saturating_sub(now_us) + cost(rate) <= rate.interval_us * rate.burst;
            let wide = wide(share);
            let own = self.networks.get(&who).copied().unwrap_or(0);
            let around = self.wider.get(&who.wide()).copied().unwrap_or(0);
            if !fits(own, share.network) {
                return Err(Over::Network);
            }
            if !fits(around, wide) {
                return Err(Over::Wider);
            }
            if let Some(all) = share.all {
                let owe = |paid: u64, rate: Rate| paid.saturating_sub(now_us).div_ceil(rate.interval_us);
                let owing = self.networks.iter().filter(|(_, paid)| **paid > now_us).map(|(other, _)| *other);
                let present: BTreeSet<Network> = owing.chain([who]).collect();
                let parties: BTreeSet<WideNetwork> = present.iter().map(|other| other.wide()).collect();
                let within = present.iter().filter(|other| other.wide() == who.wide()).count() as u64;
                let (mine, everybody) = (owe(own, share.network) + count, owe(self.all_us, all) + count);
                let part = all.burst / parties.len() as u64;
                if everybody > all.burst - all.burst / 4 {
                    if owe(around, wide) + count > part {
                        return Err(Over::WiderEvenPart);
                    }
                    if mine > part / within {
                        return Err(Over::EvenPart);
                    }
                }
                if !fits(self.all_us, all) {
                    return Err(Over::All);
                }
                self.all_us = self.all_us.max(now_us) + cost(all);
            }
            self.networks.insert(who, own.max(now_us) + cost(share.network));
            self.wider.insert(who.wide(), around.max(now_us) + cost(wide));
            Ok(())
        }

        fn give_back(&mut self, share: RateShare, who: Network, count: u64) {
            let wide = wide(share).interval_us;
            *self.networks.entry(who).or_default() -= share.network.interval_us * count;
            *self.wider.entry(who.wide()).or_default() -= wide * count;
            if let Some(all) = share.all {
                self.all_us -= all.interval_us * count;
            }
        }
    }

    type Fixed = BuildHasherDefault<DefaultHasher>;

    proptest! {
        #[test]
        fn the_table_of_rates_is_the_plain_rule(
            network in (5u32..20, 1u32..50), all in proptest::option::of((5u32..60, 1u32..100)),
            steps in proptest::collection::vec((0u8..3, 0u8..4, 1u64..4, 0u64..200, any::<bool>()), 0..200),
        ) {
            let share = RateShare { network: Rate::new(network.0, network.1), all: all.map(|(burst, rate)| Rate::new(burst, rate)) };
            // With this key none of the twelve networks meet in a slot; each wider one has a slot of its own too.
            let mut rates = Rates::with_key(65_536, share, Fixed::default());
            let mut naive = Naive::default();
            let mut now_ms = NOW_MS;
            for (wider, host, count, passes_ms, is_given_back) in steps {
                now_ms += passes_ms;
                let who = Network::from(IpAddr::from([10, 0, wider, host]));
                let expected = naive.charge(share, who, count, now_ms);
                let charged = rates.charge(who, count, now_ms);
                prop_assert_eq!(charged.map_err(|limited| limited.by), expected);
                if let Err(limited) = charged {
                    prop_assert!(limited.wait_ms > 0);
                }
                if charged.is_ok() && is_given_back {
                    naive.give_back(share, who, count);
                    rates.give_back(who, count);
                }
            }
        }
    }
}
