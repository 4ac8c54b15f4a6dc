//! Where clients came back after presence had freed their seats: for a while nothing is freed early there.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Network, Networks, Timestamp, WideNetwork,
    limits::{PRESENCE_OFF_MS, PRESENCE_OFF_PER_WIDE_MAX},
    share::{Has, Share},
};

/// The networks in which presence frees nothing early, and until when. The server's view follows the same facts with it.
///
/// Where too many of one wider network are in it, that one takes their place. Only where it holds as many wider networks as it may have members is
/// presence off everywhere, and that ends as soon as one of them leaves.
#[derive(Clone, Debug, Default)]
pub struct Regrets {
    off: BTreeMap<Networks, Timestamp>,
    /// The same in the order of their ends.
    ends: BTreeSet<(Timestamp, Networks)>,
    /// How many networks of each wider one are in it.
    wide: BTreeMap<WideNetwork, u32>,
}

impl Regrets {
    /// Folds a regret in, as it was decided.
    pub fn put(&mut self, networks: Networks, until: Timestamp, now: Timestamp) {
        self.forget(now);
        if let Networks::Wide(wide) = networks {
            self.makes_room(|regrets| regrets.remove_within(wide));
        }
        self.insert(networks, until);
    }

    /// One of a snapshot.
    pub fn insert(&mut self, networks: Networks, until: Timestamp) {
        match self.off.insert(networks, until) {
            Some(before) => drop(self.ends.remove(&(before, networks))),
            None => {
                if let Networks::One(network) = networks {
                    *self.wide.entry(network.wide()).or_default() += 1;
                }
            }
        }
        self.ends.insert((until, networks));
    }

    /// An administrator has early freeing back in these networks, and in all within them.
    pub fn allow(&mut self, networks: Networks) {
        match networks {
            Networks::All => *self = Self::default(),
            Networks::One(_) => self.makes_room(|regrets| regrets.remove(networks)),
            Networks::Wide(wide) => self.makes_room(|regrets| {
                regrets.remove_within(wide);
                regrets.remove(networks);
            }),
        }
    }

    /// Forgets what is over.
    pub fn forget(&mut self, now: Timestamp) {
        self.makes_room(|regrets| {
            while let Some((_, networks)) = regrets.ends.first().copied().filter(|(until, _)| *until <= now) {
                regrets.remove(networks);
            }
        });
    }

    /// Whatever leaves makes room, and with room nothing is off everywhere.
    fn makes_room(&mut self, go: impl FnOnce(&mut Self)) {
        let before = self.off.len();
        go(self);
        if self.off.len() < before {
            self.remove(Networks::All);
        }
    }

    fn remove(&mut self, networks: Networks) {
        let Some(until) = self.off.remove(&networks) else { return };
        self.ends.remove(&(until, networks));
        if let Networks::One(network) = networks
            && let Some(count) = self.wide.get_mut(&network.wide())
        {
            *count -= 1;
            if *count == 0 {
                self.wide.remove(&network.wide());
            }
        }
    }

    fn within(&self, wide: WideNetwork) -> impl Iterator<Item = (Networks, Timestamp)> {
        let (first, last) = wide.ends();
        self.off.range(Networks::One(first)..=Networks::One(last)).map(|(networks, until)| (*networks, *until))
    }

    fn remove_within(&mut self, wide: WideNetwork) {
        let networks: Vec<Networks> = self.within(wide).map(|(networks, _)| networks).collect();
        networks.into_iter().for_each(|networks| self.remove(networks));
    }

    fn has(&self, networks: Networks, now: Timestamp) -> bool {
        self.off.get(&networks).is_some_and(|until| *until > now)
    }

    /// By which of its members presence frees nothing early in this network now, if by any.
    #[must_use]
    pub fn by(&self, network: Network, now: Timestamp) -> Option<Networks> {
        if self.off.is_empty() {
            return None;
        }
        [Networks::One(network), Networks::Wide(network.wide()), Networks::All].into_iter().find(|networks| self.has(*networks, now))
    }

    /// Whether an administrator who names these networks changes anything; for one that is off because the wider network is, that wider one.
    #[must_use]
    pub fn allows(&self, networks: Networks, now: Timestamp) -> Option<Networks> {
        match networks {
            Networks::All => (self.iter(now).next().is_some()).then_some(networks),
            Networks::One(network) => self.by(network, now).filter(|by| *by != Networks::All),
            Networks::Wide(wide) => {
                let off = self.has(networks, now) || self.within(wide).any(|(_, until)| until > now);
                off.then_some(networks)
            }
        }
    }

    /// What a client of this network that came back turns early freeing off for, and until when. At most `most` members; without a share for each
    /// wider network, the first that has no place turns it off everywhere.
    pub(crate) fn decide(&self, network: Network, most: usize, shares: bool, now: Timestamp) -> (Networks, Timestamp) {
        let until = now.after_ms(PRESENCE_OFF_MS);
        if let Some(by) = self.by(network, now).filter(|by| *by != Networks::All) {
            return (by, until);
        }
        let wide = network.wide();
        let (over, running) = (..(now.after_ms(1), Networks::All), (now.after_ms(1), Networks::All)..);
        let all = self.off.len() - self.ends.range(over).count() - usize::from(self.has(Networks::All, now));
        let in_wide = self.within(wide).filter(|(_, until)| *until > now).count() as u64;
        if all >= most && (in_wide == 0 || !shares) {
            let first = self.ends.range(running).find(|(_, networks)| *networks != Networks::All);
            return (Networks::All, first.map_or(until, |(until, _)| *until));
        }
        let share = Share { network: PRESENCE_OFF_PER_WIDE_MAX, all: most as u64 };
        let within = u64::from(in_wide > 0);
        let has = Has { own: in_wide, wider: in_wide, all: all as u64, within, present: self.wide.len() as u64 };
        match share.admits(has, 1) {
            Err(_) if shares => (Networks::Wide(wide), until),
            _ => (Networks::One(network), until),
        }
    }

    /// Where presence frees nothing early now, and until when; everywhere comes first.
    pub fn iter(&self, now: Timestamp) -> impl Iterator<Item = (Networks, Timestamp)> {
        self.off.iter().map(|(networks, until)| (*networks, *until)).filter(move |(_, until)| *until > now)
    }

    /// All members, over or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Networks, Timestamp)> {
        self.off.iter().map(|(networks, until)| (*networks, *until))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn network(text: &str) -> Network {
        Network::from(text.parse::<std::net::IpAddr>().unwrap())
    }

    /// A client of this network comes back at this time.
    fn regret(regrets: &mut Regrets, address: &str, most: usize, now: Timestamp) -> Networks {
        let (networks, until) = regrets.decide(network(address), most, true, now);
        regrets.put(networks, until, now);
        networks
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_and_no_number_of_them_fills_the_table() {
        let mut regrets = Regrets::default();
        for host in 0..1_000 {
            assert_eq!(regret(&mut regrets, &format!("2001:db8:1:2::{host:x}"), 10, NOW).to_string(), "2001:db8:1:2::/64");
        }
        assert_eq!(regrets.iter(NOW).count(), 1);
        assert_eq!(regrets.by(network("2001:db8:1:3::1"), NOW), None);
    }

    #[test]
    fn too_many_of_a_wider_network_turn_early_freeing_off_for_it_and_for_nobody_else() {
        let mut regrets = Regrets::default();
        for host in 0..PRESENCE_OFF_PER_WIDE_MAX {
            assert_eq!(regret(&mut regrets, &format!("10.0.1.{host}"), 100_000, NOW), Networks::One(network(&format!("10.0.1.{host}"))));
        }
        assert_eq!(regret(&mut regrets, "10.0.1.200", 100_000, NOW).to_string(), "10.0.1.0/24");
        assert_eq!(regrets.iter(NOW).count(), 1);
        assert!(regrets.by(network("10.0.1.250"), NOW).is_some() && regrets.by(network("10.0.2.1"), NOW).is_none());
        // It stays so from its last regret on, for a day.
        let later = Timestamp(50_000_000);
        assert_eq!(regret(&mut regrets, "10.0.1.7", 100_000, later).to_string(), "10.0.1.0/24");
        assert!(regrets.by(network("10.0.1.250"), NOW.after_ms(PRESENCE_OFF_MS)).is_some());
        assert!(regrets.by(network("10.0.1.250"), later.after_ms(PRESENCE_OFF_MS)).is_none());
    }

    #[test]
    fn in_a_table_that_is_nearly_full_whoever_has_more_than_an_even_part_becomes_one() {
        let mut regrets = Regrets::default();
        for host in 0..3 {
            regret(&mut regrets, &format!("10.0.1.{host}"), 4, NOW);
        }
        assert_eq!(regret(&mut regrets, "10.0.2.1", 4, NOW), Networks::One(network("10.0.2.1")), "the even part of two is two");
        assert_eq!(regret(&mut regrets, "10.0.1.9", 4, NOW).to_string(), "10.0.1.0/24");
        assert_eq!(regrets.iter(NOW).count(), 2);
    }

    #[test]
    fn everywhere_ends_as_soon_as_there_is_room_again() {
        let full = |regrets: &mut Regrets| {
            *regrets = Regrets::default();
            for wide in 0..4 {
                regret(regrets, &format!("10.0.{wide}.1"), 4, NOW.after_ms(wide));
            }
            let (networks, until) = regrets.decide(network("10.9.9.9"), 4, true, Timestamp(5_000));
            assert_eq!((networks, until), (Networks::All, NOW.after_ms(PRESENCE_OFF_MS)), "until the first of them is over");
            regrets.put(networks, until, Timestamp(5_000));
            assert_eq!(regrets.by(network("192.0.2.1"), Timestamp(5_000)), Some(Networks::All));
            assert_eq!(regret(regrets, "10.0.2.1", 4, Timestamp(5_000)), Networks::One(network("10.0.2.1")), "who has a place keeps it");
            assert_eq!(regrets.iter(NOW).next().unwrap().0.to_string(), "*");
        };
        let off = |regrets: &Regrets, now| regrets.by(network("192.0.2.1"), now).is_some();
        let mut regrets = Regrets::default();
        full(&mut regrets);
        assert!(!off(&regrets, NOW.after_ms(PRESENCE_OFF_MS)));
        for allowed in ["10.0.3.1", "10.0.1.0/24", "*"] {
            full(&mut regrets);
            let networks = regrets.allows(allowed.parse().unwrap(), Timestamp(6_000)).unwrap();
            regrets.allow(networks);
            assert!(!off(&regrets, Timestamp(6_000)), "{allowed}");
            assert_eq!(regrets.iter(NOW).count(), if allowed == "*" { 0 } else { 3 });
        }
        full(&mut regrets);
        regrets.forget(NOW.after_ms(PRESENCE_OFF_MS));
        assert!(!off(&regrets, Timestamp(6_000)));
        // A second one of a network in it makes room for all.
        full(&mut regrets);
        assert_eq!(regret(&mut regrets, "10.0.1.2", 4, Timestamp(6_000)).to_string(), "10.0.1.0/24");
        assert_eq!(regret(&mut regrets, "10.0.1.3", 4, Timestamp(6_000)).to_string(), "10.0.1.0/24");
    }

    #[test]
    fn whatever_an_administrator_names_and_however_wide_presence_is_off_it_is_on_again_there_and_stays_off_elsewhere() {
        let addresses = ["10.0.1.1", "10.0.1.250", "10.0.2.1", "2001:db8:1:1::7", "2001:db8:1:2::7", "2001:db8:2::7"];
        let wide = ["10.0.1.0/24", "10.0.2.0/24", "2001:db8:1::/48", "2001:db8:2::/48"];
        // Every set of addresses that are off, each alone or as the wider network around it.
        for off in 0..1_u32 << addresses.len() {
            for is_wide in [false, true] {
                let mut regrets = Regrets::default();
                for (_, address) in addresses.iter().enumerate().filter(|(bit, _)| off & (1 << bit) != 0) {
                    let one = Networks::One(network(address));
                    regrets.put(if is_wide { Networks::Wide(network(address).wide()) } else { one }, NOW.after_ms(1_000), NOW);
                }
                for named in addresses.iter().chain(&wide) {
                    let (named, mut after) = (named.parse::<Networks>().unwrap(), regrets.clone());
                    let within = |address: &str| match named {
                        Networks::One(one) => one == network(address),
                        Networks::Wide(wide) => wide == network(address).wide(),
                        Networks::All => true,
                    };
                    let is_off = |regrets: &Regrets, address: &str| regrets.by(network(address), NOW).is_some();
                    let allowed = regrets.allows(named, NOW);
                    assert_eq!(
                        allowed.is_some(),
                        addresses.iter().any(|address| within(address) && is_off(&regrets, address)),
                        "{named}: {regrets:?}"
                    );
                    allowed.into_iter().for_each(|allowed| after.allow(allowed));
                    for address in addresses {
                        let with_it = is_wide && matches!(named, Networks::One(one) if one.wide() == network(address).wide());
                        let wanted = is_off(&regrets, address) && !within(address) && !with_it;
                        assert_eq!(is_off(&after, address), wanted, "{named} of {regrets:?}: {address}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_administrator_names_an_address_a_network_or_a_wider_one() {
        let mut regrets = Regrets::default();
        for host in 0..=PRESENCE_OFF_PER_WIDE_MAX {
            regret(&mut regrets, &format!("10.0.1.{host}"), 100_000, NOW);
        }
        regret(&mut regrets, "10.0.2.1", 100_000, NOW);
        regret(&mut regrets, "2001:db8::7", 100_000, NOW);
        let mut allow = |text: &str| {
            let networks = regrets.allows(text.parse().unwrap(), NOW)?;
            regrets.allow(networks);
            Some(networks.to_string())
        };
        assert_eq!(allow("10.0.3.1"), None);
        assert_eq!(allow("10.0.1.250").as_deref(), Some("10.0.1.0/24"), "it is off because the wider network is");
        assert_eq!(allow("10.0.1.250"), None);
        assert_eq!(allow("10.0.2.0/24").as_deref(), Some("10.0.2.0/24"));
        assert_eq!(allow("2001:db8::1234").as_deref(), Some("2001:db8::/64"));
        assert_eq!(allow("*"), None, "nothing is left");
        assert!(regrets.off.is_empty() && regrets.ends.is_empty() && regrets.wide.is_empty());
    }
}
