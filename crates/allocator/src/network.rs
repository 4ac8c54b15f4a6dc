//! Networks of clients, by which what anybody can make the server keep is counted and shared.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The network that a request came from: one IPv4 address, or the first 64 bits of an IPv6 address. It is no part of a request's content:
/// a client that moves stays the same client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// An IPv4 address.
    V4([u8; 4]),
    /// The first half of an IPv6 address.
    V6([u8; 8]),
}

/// The wider network around a [`Network`]: a /24 of IPv4 or a /48 of IPv6, in which one party often has many addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WideNetwork {
    /// The first three bytes of an IPv4 address.
    V4([u8; 3]),
    /// The first six bytes of an IPv6 address.
    V6([u8; 6]),
}

/// Which networks a word is about. Written as an address or network of either width, `*` for all; read from an address of any network, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Networks {
    /// Every network.
    All,
    /// One.
    One(Network),
    /// A wider one, with all in it.
    Wide(WideNetwork),
}

/// A range of addresses that the administrator named, as far as networks can tell it: of an IPv6 range its first 64 bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamedNetwork {
    /// The first address, and how many of its bits all have.
    V4([u8; 4], u8),
    /// The first half of the first address, and how many of its bits all have.
    V6([u8; 8], u8),
}

impl NamedNetwork {
    /// The range whose addresses have so many first bits of this one.
    #[must_use]
    pub fn new(first: IpAddr, bits: u8) -> Self {
        match Network::from(first) {
            Network::V4(first) => Self::V4(first, bits.min(32)),
            Network::V6(first) => Self::V6(first, bits.min(64)),
        }
    }

    /// Whether this network, or a part of it, is of the range.
    #[must_use]
    pub fn covers(self, network: Network) -> bool {
        match (self, network) {
            (Self::V4(first, bits), Network::V4(other)) => {
                (u32::from_be_bytes(first) ^ u32::from_be_bytes(other)).leading_zeros() >= u32::from(bits)
            }
            (Self::V6(first, bits), Network::V6(other)) => {
                (u64::from_be_bytes(first) ^ u64::from_be_bytes(other)).leading_zeros() >= u32::from(bits)
            }
            _ => false,
        }
    }
}

impl WideNetwork {
    /// The first and the last network in it.
    #[must_use]
    pub fn ends(self) -> (Network, Network) {
        match self {
            Self::V4([a, b, c]) => (Network::V4([a, b, c, 0]), Network::V4([a, b, c, u8::MAX])),
            Self::V6([a, b, c, d, e, f]) => (Network::V6([a, b, c, d, e, f, 0, 0]), Network::V6([a, b, c, d, e, f, u8::MAX, u8::MAX])),
        }
    }
}

impl fmt::Display for WideNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ends().0 {
            Network::V4(first) => write!(f, "{}/24", Ipv4Addr::from(first)),
            Network::V6(first) => write!(f, "{}/48", Ipv6Addr::from(u128::from(u64::from_be_bytes(first)) << 64)),
        }
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::One(network) => network.fmt(f),
            Self::Wide(network) => network.fmt(f),
        }
    }
}

impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::All);
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| format!("{text:?} is no address, no network and not `*`"))?;
        let network = Network::from(address);
        match (network, bits) {
            (_, None) | (Network::V4(_), Some("32")) | (Network::V6(_), Some("64" | "128")) => Ok(Self::One(network)),
            (Network::V4(_), Some("24")) | (Network::V6(_), Some("48")) => Ok(Self::Wide(network.wide())),
            (Network::V4(_), _) => Err(format!("{text:?}: a network is an address or a /24")),
            (Network::V6(_), _) => Err(format!("{text:?}: a network is a /64 or a /48")),
        }
    }
}

impl Network {
    /// The wider network that it lies in.
    #[must_use]
    pub fn wide(self) -> WideNetwork {
        match self {
            Self::V4([a, b, c, _]) => WideNetwork::V4([a, b, c]),
            Self::V6([a, b, c, d, e, f, ..]) => WideNetwork::V6([a, b, c, d, e, f]),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(bytes) => write!(f, "{}", Ipv4Addr::from(*bytes)),
            Self::V6(bytes) => write!(f, "{}/64", Ipv6Addr::from(u128::from(u64::from_be_bytes(*bytes)) << 64)),
        }
    }
}

impl From<IpAddr> for Network {
    /// An IPv4 address that is written as IPv6 counts as what it is.
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn networks_are_read_as_they_are_written_and_from_any_address_in_them() {
        let read = |text: &str| text.parse::<Networks>().map(|networks| networks.to_string());
        for text in ["*", "10.1.2.3", "10.1.2.0/24", "2001:db8:1:2::/64", "2001:db8:1::/48"] {
            assert_eq!(read(text).unwrap(), text);
        }
        let others = [
            ("10.1.2.3/32", "10.1.2.3"),
            ("10.1.2.3/24", "10.1.2.0/24"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("2001:db8:1:2::3", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::3/48", "2001:db8:1::/48"),
        ];
        for (text, meant) in others {
            assert_eq!(read(text).unwrap(), meant);
        }
        assert!(read("10.1.2.3/16").unwrap_err().contains("/24"));
        assert!(read("2001:db8::/32").unwrap_err().contains("/48"));
        for text in ["", "**", "ws1", "10.1.2/24", "10.1.2.3/"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_named_range_covers_networks_that_it_has_a_part_of() {
        let named = |text: &str, bits| NamedNetwork::new(text.parse().unwrap(), bits);
        let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
        assert!(named("10.1.0.0", 16).covers(network("10.1.255.7")) && !named("10.1.0.0", 16).covers(network("10.2.0.1")));
        assert!(named("10.1.0.7", 32).covers(network("10.1.0.7")) && !named("10.1.0.7", 32).covers(network("10.1.0.6")));
        assert!(named("0.0.0.0", 0).covers(network("192.0.2.1")) && !named("0.0.0.0", 0).covers(network("::1")));
        assert!(named("fd00:1::7", 128).covers(network("fd00:1::8")), "its network has a part of it");
        assert!(!named("fd00:1::", 32).covers(network("fd00:2::3")));
    }

    #[test]
    fn an_address_belongs_to_its_network_and_that_to_a_wider_one() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("::ffff:10.1.2.3"), Network::V4([10, 1, 2, 3]));
        assert_eq!(network("2001:db8:1:2::3"), network("2001:db8:1:2:ffff::"));
        assert_ne!(network("2001:db8:1:2::3"), network("2001:db8:1:3::3"));
        assert_eq!(network("2001:db8:1:2::3").wide(), network("2001:db8:1:3::3").wide());
        assert_eq!(network("10.1.2.3").wide(), WideNetwork::V4([10, 1, 2]));
        assert_eq!(network("::ffff:10.1.2.3").to_string(), "10.1.2.3");
        assert_eq!(network("2001:db8:1:2::3").to_string(), "2001:db8:1:2::/64");
    }
}
