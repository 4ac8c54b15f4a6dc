//! Networks as administrators write them: an address and how many of its bits count.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use triquest_allocator::NamedNetwork;

/// A network: `10.1.0.0/16`, `fd00:1::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// The bits of an address, at the top of 128.
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Prefix {
    /// Whether every address of its kind is of this network.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.bits == 0
    }

    /// The same as the core tells it: of an IPv6 network its first 64 bits count.
    #[must_use]
    pub fn named(&self) -> NamedNetwork {
        NamedNetwork::new(self.address, self.bits)
    }

    /// How many first bits its addresses have in common.
    #[must_use]
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether every address of this network is of the other one.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.bits >= other.bits && other.contains(self.address)
    }

    /// Whether an address is of this network. An IPv4 address may come as an IPv6 one (`::ffff:10.1.0.7`).
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && (bits_of(address) ^ bits_of(self.address)).leading_zeros() >= u32::from(self.bits)
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is no network such as `10.1.0.0/16` or `fd00:1::/32`, and no address");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let most = length(address);
        let bits = bits.map_or(Ok(most), |bits| bits.parse::<u8>().map_err(|_| wrong()))?;
        if bits > most {
            return Err(format!("{text:?}: an address of this kind has {most} bits"));
        }
        let left = 128 - u32::from(bits);
        let network = bits_of(address).checked_shr(left).and_then(|kept| kept.checked_shl(left)).unwrap_or(0);
        if network != bits_of(address) {
            let begins = match address {
                IpAddr::V4(_) => IpAddr::V4(u32::try_from(network >> 96).expect("the top quarter").into()),
                IpAddr::V6(_) => IpAddr::V6(network.into()),
            };
            return Err(format!("{text:?}: the network with this address is `{begins}/{bits}`"));
        }
        Ok(Self { address, bits })
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if self.bits == length(self.address) { Ok(()) } else { write!(f, "/{}", self.bits) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_network_has_its_addresses_in_whatever_form_and_no_others() {
        let contains = |network: &str, address: &str| network.parse::<Prefix>().unwrap().contains(address.parse().unwrap());
        assert!(contains("10.1.0.0/16", "10.1.255.7") && contains("10.1.0.0/16", "::ffff:10.1.2.3"));
        assert!(!contains("10.1.0.0/16", "10.2.0.1") && !contains("10.1.0.0/16", "a01::1"));
        assert!(contains("10.1.2.3", "10.1.2.3") && !contains("10.1.2.3", "10.1.2.2"));
        assert!(contains("0.0.0.0/0", "192.0.2.1") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("fd00:1::/32", "fd00:1:2::3") && !contains("fd00:1::/32", "fd00:2::3") && contains("::/0", "fd00::1"));
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_was_meant() {
        let wrong = |text: &str| text.parse::<Prefix>().unwrap_err();
        assert!(wrong("10.1.2.3/16").contains("`10.1.0.0/16`"));
        assert!(wrong("fd00:1:2::/32").contains("`fd00:1::/32`"));
        assert!(wrong("10.1.0.0/33").contains("32 bits"));
        for text in ["", "/8", "10.1.0.0/", "10.1/16", "lab", "10.1.0.0/-1"] {
            assert!(wrong(text).contains("no network"), "{text:?}");
        }
        for text in ["10.1.0.0/16", "192.0.2.7", "fd00:1::/32"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
    }
}
