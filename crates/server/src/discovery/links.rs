//! Which networks this machine is attached to, and on which of their interfaces the server may be found without being addressed.

use std::net::{IpAddr, Ipv4Addr};

/// One address of one interface, with the subnet that is attached there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The interface's name.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// Our address there.
    pub address: IpAddr,
    /// Bits of the subnet.
    pub prefix: u8,
    /// The subnet's own broadcast address, if it has one.
    pub broadcast: Option<Ipv4Addr>,
    /// Whether questions to groups are heard there.
    pub allowed: bool,
}

/// Which interfaces count for groups and mDNS.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AllowedInterfaces(Vec<String>);

/// Names that are no network of people: this machine's own loop, and what containers, virtual machines and tunnels make.
const NOT_BY_DEFAULT: &[&str] = &[
    "br-*", "cali*", "cni*", "cilium*", "docker*", "flannel*", "lo", "lxcbr*", "lxdbr*", "podman*", "tap*", "tun*", "utun*", "veth*",
    "virbr*", "vmnet*", "vnet*", "wg*", "zt*",
];

impl AllowedInterfaces {
    /// Of the names in the configuration, each exact or with `*` at its end; none means the default.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        Self(names.to_vec())
    }

    /// Whether this interface counts.
    #[must_use]
    pub fn allows(&self, interface: &str) -> bool {
        if self.0.is_empty() {
            !NOT_BY_DEFAULT.iter().any(|pattern| matches(pattern, interface))
        } else {
            self.0.iter().any(|pattern| matches(pattern, interface))
        }
    }
}

impl Link {
    /// What the system says now. Without an answer there is no link, and questions to groups stay unanswered.
    #[must_use]
    pub fn read(allowed: &AllowedInterfaces) -> Vec<Self> {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|cause| {
            tracing::warn!(%cause, "cannot read this machine's interfaces: questions to groups are not answered");
            Vec::new()
        });
        interfaces
            .into_iter()
            .filter_map(|interface| {
                let (address, prefix, broadcast) = match &interface.addr {
                    if_addrs::IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.prefixlen, broadcast_of(v4.ip, v4.prefixlen, v4.broadcast)),
                    if_addrs::IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.prefixlen, None),
                };
                // A loop's addresses are ours, but nobody is on its link.
                let allowed = !address.is_loopback() && allowed.allows(&interface.name);
                Some(Self { index: interface.index?, name: interface.name, address, prefix, broadcast, allowed })
            })
            .collect()
    }

    /// Whether somebody with this address is attached to the same subnet.
    #[must_use]
    pub fn reaches(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same_bits(u128::from(own.to_bits()), u128::from(other.to_bits()), 32, self.prefix),
            (IpAddr::V6(own), IpAddr::V6(other)) => same_bits(own.to_bits(), other.to_bits(), 128, self.prefix),
            _ => false,
        }
    }
}

/// The address of everybody on a subnet. Where none was set, the system says the interface's own address or nothing, and the kernel takes the last address of
/// the subnet all the same. A subnet of one or two has no such address (RFC 3021).
fn broadcast_of(own: Ipv4Addr, prefix: u8, said: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let by_mask = || (prefix < 31).then(|| Ipv4Addr::from_bits(own.to_bits() | u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0)));
    said.filter(|said| *said != own).or_else(by_mask)
}

fn same_bits(own: u128, other: u128, width: u32, prefix: u8) -> bool {
    match width.checked_sub(u32::from(prefix)) {
        // No subnet at all is nobody's neighbour.
        Some(rest) if rest == width => false,
        Some(rest) => own >> rest == other >> rest,
        None => false,
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_subnet_has_an_address_of_everybody_even_if_none_was_set() {
        let own = Ipv4Addr::new(10, 77, 0, 1);
        let everybody = Some(Ipv4Addr::new(10, 77, 0, 255));
        assert_eq!(broadcast_of(own, 24, everybody), everybody);
        assert_eq!(broadcast_of(own, 24, Some(own)), everybody);
        assert_eq!(broadcast_of(own, 24, None), everybody);
        assert_eq!(broadcast_of(own, 31, None), None);
        assert_eq!(broadcast_of(own, 32, Some(own)), None);
    }

    #[test]
    fn interfaces_of_containers_and_tunnels_do_not_count_by_default() {
        let default = AllowedInterfaces::default();
        for name in ["eth0", "enp3s0", "wlan0", "bond0", "br0", "lan0", "eno1"] {
            assert!(default.allows(name), "{name}");
        }
        for name in ["lo", "docker0", "veth12ab", "br-9f3c", "virbr0", "tun0", "tap1", "wg0"] {
            assert!(!default.allows(name), "{name}");
        }
        let named = AllowedInterfaces::new(&["eth1".to_owned(), "docker*".to_owned()]);
        assert!(named.allows("eth1") && named.allows("docker0"));
        assert!(!named.allows("eth0") && !named.allows("eth10"));
    }

    #[test]
    fn a_subnet_reaches_its_own_and_nobody_else() {
        let link = |address: &str, prefix| Link {
            name: "eth0".into(),
            index: 2,
            address: address.parse().unwrap(),
            prefix,
            broadcast: None,
            allowed: true,
        };
        let reaches = |address, prefix, other: &str| link(address, prefix).reaches(other.parse().unwrap());
        assert!(reaches("10.1.4.20", 24, "10.1.4.255"));
        assert!(!reaches("10.1.4.20", 24, "10.1.5.1"));
        assert!(reaches("10.1.4.20", 32, "10.1.4.20") && !reaches("10.1.4.20", 32, "10.1.4.21"));
        assert!(!reaches("10.1.4.20", 0, "10.1.4.21"));
        assert!(reaches("fd00:4::20", 64, "fd00:4::1") && !reaches("fd00:4::20", 64, "fd00:5::1"));
        assert!(reaches("fe80::1", 64, "fe80::2") && !reaches("fe80::1", 64, "10.1.4.20"));
        assert!(!reaches("10.1.4.20", 33, "10.1.4.20") && !reaches("fd00::1", 255, "fd00::1"));
    }

    #[test]
    fn the_own_loop_is_a_link_that_is_not_allowed() {
        let links = Link::read(&AllowedInterfaces::default());
        assert!(links.iter().any(|link| link.address.is_loopback() && !link.allowed), "{links:?}");
    }
}
