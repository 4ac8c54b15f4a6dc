//! Networks of clients, by which what anybody can make the server keep is counted and shared.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
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
