//! Where a request comes from: the one definition of a network, for the turns here and for every table of limits.

use core::net::IpAddr;

/// Whose turn it is: a /32 of IPv4 or a /64 of IPv6, which is what one customer or machine is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// An IPv4 address.
    V4([u8; 4]),
    /// The first 64 bits of an IPv6 address.
    V6([u8; 8]),
}

/// What lies around a network: a /24 of IPv4 or a /48 of IPv6. It gets four times a network's value of each limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WiderNetwork {
    /// The first 24 bits of an IPv4 address.
    V4([u8; 3]),
    /// The first 48 bits of an IPv6 address.
    V6([u8; 6]),
}

impl Network {
    /// The network of an address. An IPv4 address in IPv6 clothes is that IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }

    /// What lies around it.
    #[must_use]
    pub fn wider(self) -> WiderNetwork {
        match self {
            Self::V4([a, b, c, _]) => WiderNetwork::V4([a, b, c]),
            Self::V6([a, b, c, d, e, f, ..]) => WiderNetwork::V6([a, b, c, d, e, f]),
        }
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// None: the Unix socket, or the server itself. Such requests have a place of their own in every queue.
    pub network: Option<Network>,
    /// Tells the connections of one network apart; any number that is one connection's for its life.
    pub connection: u64,
}

impl Origin {
    /// The server itself.
    pub const SERVER: Self = Self { network: None, connection: 0 };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_network_is_an_ipv4_address_or_the_first_half_of_an_ipv6_address() {
        let of = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("192.0.2.7").wider(), of("192.0.2.8").wider());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("2001:db8:1:2::1").wider(), of("2001:db8:1:3::1").wider());
        assert_ne!(of("2001:db8:1:2::1").wider(), of("2001:db8:2:2::1").wider());
    }
}
