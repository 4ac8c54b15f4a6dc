//! Which datagrams on UDP 1588 get an answer, and when. Pure: the time is an argument, the bytes come from somewhere and go nowhere.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use triquest_allocator::Network;
use triquest_wire::{
    identity::IdentityRequest,
    limits::{
        IDENTITY_ANSWERS_PER_NETWORK_BURST, IDENTITY_ANSWERS_PER_NETWORK_PER_SECOND_MAX, IDENTITY_ANSWERS_PER_SECOND_MAX,
        IDENTITY_DELAY_MS_MAX, IDENTITY_DELAYED_MAX, IDENTITY_SOURCE_PORT_MIN, IDENTITY_TABLE_SLOTS,
    },
};

use super::links::Link;
use crate::rates::{Rate, RateShare, Rates};

/// Where a datagram came from and went to, by the system's word.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Who asks.
    pub source: SocketAddr,
    /// The address that it was sent to, if the system told.
    pub destination: Option<IpAddr>,
    /// Number of the interface that it came in by, if the system told.
    pub interface: Option<u32>,
    /// Our own port.
    pub port: u16,
}

/// What happens with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is answered.
    Answer {
        /// As asked.
        nonce: [u8; 32],
        /// After so long.
        after_ms: u64,
        /// From this address of ours; `None` if the system did not tell which was asked.
        from: Option<IpAddr>,
    },
    /// It is not.
    Silence(Silence),
}

/// Why a datagram gets no answer. Kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The signatures of this second are used up, or too many answers wait for their time.
    Busy,
    /// It would be an answer to ourselves.
    Myself,
    /// Not the exact form of a question; answers among them.
    NoQuestion,
    /// To a group or to everybody, and not from the link where groups are heard.
    OffLink,
    /// From a port or an address that nobody asks from.
    Source,
    /// This network asked often enough.
    TooOften,
}

/// The state behind the decisions, of a size that no asker changes.
pub struct Responder {
    links: Vec<Link>,
    networks: Rates,
    signatures: Rate,
    signatures_paid_us: u64,
    /// When the answers that wait are due, at most [`IDENTITY_DELAYED_MAX`].
    delayed_ms: Vec<u64>,
    delays: RandomState,
}

impl Responder {
    /// On a machine with these links.
    #[must_use]
    pub fn new(links: Vec<Link>) -> Self {
        let network = Rate::new(IDENTITY_ANSWERS_PER_NETWORK_BURST, IDENTITY_ANSWERS_PER_NETWORK_PER_SECOND_MAX);
        Self {
            links,
            networks: Rates::new(IDENTITY_TABLE_SLOTS, RateShare { network, all: None }),
            // A tenth of a second's answers at once, so that no second has more than a tenth above the limit.
            signatures: Rate::new(IDENTITY_ANSWERS_PER_SECOND_MAX / 10, IDENTITY_ANSWERS_PER_SECOND_MAX),
            signatures_paid_us: 0,
            delayed_ms: Vec::with_capacity(IDENTITY_DELAYED_MAX),
            delays: RandomState::new(),
        }
    }

    /// The machine has other links now.
    pub fn set_links(&mut self, links: Vec<Link>) {
        self.links = links;
    }

    /// Decides about one datagram, at this time of the boot clock.
    pub fn decide(&mut self, now_ms: u64, asked: Asked, bytes: &[u8]) -> Decision {
        match self.judge(now_ms, asked, bytes) {
            Ok((nonce, after_ms, from)) => Decision::Answer { nonce, after_ms, from },
            Err(silence) => Decision::Silence(silence),
        }
    }

    /// Bytes that the state takes, whoever asks.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.networks.table_bytes() + self.delayed_ms.capacity() * size_of::<u64>()
    }

    fn judge(&mut self, now_ms: u64, asked: Asked, bytes: &[u8]) -> Result<([u8; 32], u64, Option<IpAddr>), Silence> {
        // The cheapest first: a flood of anything else ends here. What QUIC sends begins with 64 or more and ends here too (RFC 9443, section 3).
        let request = IdentityRequest::parse(bytes).ok_or(Silence::NoQuestion)?;
        let source = SocketAddr::new(asked.source.ip().to_canonical(), asked.source.port());
        let destination = asked.destination.map(|address| address.to_canonical());
        if source.port() < IDENTITY_SOURCE_PORT_MIN || !self.is_somebody(source.ip()) {
            return Err(Silence::Source);
        }
        let ours = |address: IpAddr| destination == Some(address) || self.links.iter().any(|link| link.address == address);
        if source.port() == asked.port && ours(source.ip()) {
            return Err(Silence::Myself);
        }
        let (from, after_ms) = match destination {
            Some(address) if !address.is_multicast() && !self.is_broadcast(address) => (Some(address), 0),
            // To a group, to everybody, or nobody knows to whom: on the link only, and not all servers of the link at once.
            _ => {
                let link = self.links.iter().find(|link| link.allowed && asked.interface == Some(link.index) && link.reaches(source.ip()));
                let link = link.ok_or(Silence::OffLink)?;
                (Some(link.address), self.delays.hash_one((source, request.nonce)) % (IDENTITY_DELAY_MS_MAX + 1))
            }
        };
        let network = Network::from(source.ip());
        self.networks.charge(network, 1, now_ms).map_err(|_| Silence::TooOften)?;
        self.delayed_ms.retain(|due_ms| *due_ms > now_ms);
        let crowded = after_ms > 0 && self.delayed_ms.len() >= IDENTITY_DELAYED_MAX;
        if crowded || self.signatures.wait_ms(self.signatures_paid_us, now_ms).is_some() {
            self.networks.give_back(network, 1);
            return Err(Silence::Busy);
        }
        self.signatures_paid_us = self.signatures.charged(self.signatures_paid_us, now_ms);
        if after_ms > 0 {
            self.delayed_ms.push(now_ms + after_ms);
        }
        Ok((request.nonce, after_ms, from))
    }

    /// Whether one host can have this address.
    fn is_somebody(&self, address: IpAddr) -> bool {
        let nobody = match address {
            // "This network", groups, reserved and everybody (RFC 1122, section 3.2.1.3).
            IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.octets()[0] >= 224,
            IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
        };
        !nobody && !self.is_broadcast(address)
    }

    fn is_broadcast(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return false };
        address == Ipv4Addr::BROADCAST || self.links.iter().any(|link| link.broadcast == Some(address) && link.address != address)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use triquest_license::{ServerKey, SigningKey};
    use triquest_wire::{
        identity::{GROUP_IPV4, GROUP_IPV6, IdentityReply},
        limits::IDENTITY_BYTES,
    };

    use super::*;

    const NOW_MS: u64 = 1_000_000;

    fn link(name: &str, index: u32, address: &str, prefix: u8, broadcast: Option<&str>, allowed: bool) -> Link {
        Link {
            name: name.into(),
            index,
            address: address.parse().unwrap(),
            prefix,
            broadcast: broadcast.map(|text| text.parse().unwrap()),
            allowed,
        }
    }

    fn responder() -> Responder {
        Responder::new(vec![
            link("lo", 1, "127.0.0.1", 8, None, false),
            link("eth0", 2, "10.1.4.20", 24, Some("10.1.4.255"), true),
            link("eth0", 2, "fe80::20", 64, None, true),
            link("eth0", 2, "fd00:4::20", 64, None, true),
            link("docker0", 3, "172.17.0.1", 16, Some("172.17.255.255"), false),
        ])
    }

    fn question() -> [u8; IDENTITY_BYTES] {
        IdentityRequest { nonce: [7; 32] }.encode()
    }

    fn asked(source: &str, destination: &str, interface: u32) -> Asked {
        let destination = Some(destination.parse().unwrap());
        Asked { source: source.parse().unwrap(), destination, interface: Some(interface), port: 1588 }
    }

    fn outcome(source: &str, destination: &str, interface: u32) -> Result<Option<IpAddr>, Silence> {
        match responder().decide(NOW_MS, asked(source, destination, interface), &question()) {
            Decision::Answer { from, .. } => Ok(from),
            Decision::Silence(why) => Err(why),
        }
    }

    fn address(text: &str) -> Result<Option<IpAddr>, Silence> {
        Ok(Some(text.parse().unwrap()))
    }

    fn reply(name: String, version: String, asker: SocketAddr, answerer: Option<IpAddr>) -> Vec<u8> {
        let key = SigningKey::from_seed([9; 32]);
        let server_key = ServerKey::new(*key.public());
        IdentityReply { nonce: [7; 32], server_key, tls_spki: [4; 32], instance: [5; 8], tcp_port: 1588, asker, answerer, name, version }
            .encode(&key)
    }

    #[test]
    fn a_question_is_answered_at_once_from_where_it_was_asked() {
        let decision = responder().decide(NOW_MS, asked("10.9.9.9:40000", "10.1.4.20", 2), &question());
        assert_eq!(decision, Decision::Answer { nonce: [7; 32], after_ms: 0, from: Some("10.1.4.20".parse().unwrap()) });
        assert_eq!(outcome("[fd00:9::9]:40000", "fd00:4::20", 2), address("fd00:4::20"));
        assert_eq!(outcome("127.0.0.1:40000", "127.0.0.1", 1), address("127.0.0.1"));
        assert_eq!(outcome("[::ffff:10.9.9.9]:40000", "::ffff:10.1.4.20", 2), address("10.1.4.20"), "IPv4 on a socket of both");
        assert_eq!(outcome("172.17.0.5:40000", "172.17.0.1", 3), address("172.17.0.1"), "addressed, so any interface will do");
    }

    #[test]
    fn anything_but_the_exact_question_gets_silence() {
        let good = question();
        let mut padded = good;
        padded[511] = 1;
        let mut version = good;
        version[5] = 2;
        let mut quic = good;
        quic[0] = 0x40;
        let answer = reply("n".into(), "v".into(), "10.1.4.9:1588".parse().unwrap(), None);
        let mut long_answer = answer.clone();
        long_answer.resize(IDENTITY_BYTES, 0);
        let longer = [&good[..], &[0]].concat();
        for (what, bytes) in [
            ("511 bytes", &good[..511]),
            ("513 bytes", &longer),
            ("padding that is not zero", &padded),
            ("another version", &version),
            ("a first byte of QUIC's", &quic),
            ("an answer", &answer),
            ("an answer of the question's length", &long_answer),
            ("nothing", &[]),
        ] {
            let decision = responder().decide(NOW_MS, asked("10.1.4.9:40000", "10.1.4.20", 2), bytes);
            assert_eq!(decision, Decision::Silence(Silence::NoQuestion), "{what}");
        }
    }

    #[test]
    fn questions_from_ports_of_services_and_from_nobody_get_silence() {
        for source in [
            "10.1.4.9:53",
            "10.1.4.9:1023",
            "10.1.4.9:0",
            "255.255.255.255:40000",
            "10.1.4.255:40000",
            "239.255.15.88:40000",
            "240.0.0.1:40000",
            "0.0.0.0:40000",
            "[::ffff:255.255.255.255]:40000",
            "[::]:40000",
            "[ff02::1]:40000",
        ] {
            assert_eq!(outcome(source, "10.1.4.20", 2), Err(Silence::Source), "{source}");
        }
        assert_eq!(outcome("10.1.4.9:1024", "10.1.4.20", 2), address("10.1.4.20"));
        assert_eq!(outcome("10.1.4.9:1588", "10.1.4.20", 2), address("10.1.4.20"), "another server's port is no crime");
    }

    #[test]
    fn a_server_never_answers_itself() {
        for (source, destination) in [
            ("10.1.4.20:1588", "10.1.4.20"),
            ("10.1.4.20:1588", "239.255.15.88"),
            ("127.0.0.1:1588", "127.0.0.1"),
            ("127.0.0.9:1588", "127.0.0.9"),
            ("[fd00:4::20]:1588", "fe80::20"),
        ] {
            assert_eq!(outcome(source, destination, 2), Err(Silence::Myself), "{source} to {destination}");
        }
        assert_eq!(outcome("10.1.4.20:40000", "10.1.4.20", 1), address("10.1.4.20"), "a client on the same machine");
    }

    #[test]
    fn two_servers_aimed_at_each_other_exchange_one_answer() {
        let (mut first, mut second) = (responder(), responder());
        let forged = asked("10.1.4.21:1588", "10.1.4.20", 2);
        assert!(matches!(first.decide(NOW_MS, forged, &question()), Decision::Answer { .. }));
        let answer = reply("first".into(), "1".into(), forged.source, forged.destination);
        let back = asked("10.1.4.20:1588", "10.1.4.21", 2);
        second.set_links(vec![link("eth0", 2, "10.1.4.21", 24, Some("10.1.4.255"), true)]);
        assert_eq!(second.decide(NOW_MS, back, &answer), Decision::Silence(Silence::NoQuestion));
    }

    #[test]
    fn groups_and_broadcast_are_answered_on_the_link_only_and_from_the_own_address_there() {
        let (v4, v6) = (GROUP_IPV4.to_string(), GROUP_IPV6.to_string());
        for to in [v4.as_str(), "255.255.255.255", "10.1.4.255", "::ffff:255.255.255.255"] {
            assert_eq!(outcome("10.1.4.9:40000", to, 2), address("10.1.4.20"), "{to}");
            assert_eq!(outcome("10.9.9.9:40000", to, 2), Err(Silence::OffLink), "{to}");
            assert_eq!(outcome("10.1.4.9:40000", to, 3), Err(Silence::OffLink), "{to} by another interface");
        }
        assert_eq!(outcome("[fe80::9]:40000", &v6, 2), address("fe80::20"));
        assert_eq!(outcome("[fd00:4::9]:40000", &v6, 2), address("fd00:4::20"));
        assert_eq!(outcome("[fd00:5::9]:40000", &v6, 2), Err(Silence::OffLink));
        assert_eq!(outcome("172.17.0.5:40000", &v4, 3), Err(Silence::OffLink), "an interface that does not count");
        assert_eq!(outcome("172.17.0.5:40000", "172.17.255.255", 3), Err(Silence::OffLink), "an interface that does not count");
        let untold = Asked { destination: None, interface: None, ..asked("10.1.4.9:40000", "10.1.4.20", 2) };
        assert_eq!(responder().decide(NOW_MS, untold, &question()), Decision::Silence(Silence::OffLink));
    }

    #[test]
    fn answers_to_a_group_are_spread_over_the_delay_and_few_wait() {
        let mut responder = responder();
        let (mut waiting, mut latest) = (0, 0);
        for number in 0..600u32 {
            let host = format!("10.1.4.{}:{}", number % 200 + 30, 40_000 + number);
            // Spread over time, so that neither network nor signatures are the limit.
            match responder.decide(NOW_MS + u64::from(number) / 10, asked(&host, "239.255.15.88", 2), &question()) {
                Decision::Answer { after_ms, .. } => {
                    assert!(after_ms <= IDENTITY_DELAY_MS_MAX);
                    (waiting, latest) = (waiting + 1, latest.max(after_ms));
                }
                Decision::Silence(why) => assert_eq!(why, Silence::Busy),
            }
        }
        assert!(waiting <= IDENTITY_DELAYED_MAX + 120 && latest > IDENTITY_DELAY_MS_MAX / 2, "{waiting} {latest}");
        assert!(responder.delayed_ms.len() <= IDENTITY_DELAYED_MAX && responder.delayed_ms.capacity() == IDENTITY_DELAYED_MAX);
        let later = responder.decide(NOW_MS + 1_000, asked("10.1.4.9:40000", "239.255.15.88", 2), &question());
        assert!(matches!(later, Decision::Answer { .. }), "{later:?}");
    }

    #[test]
    fn a_network_gets_its_burst_and_then_its_rate() {
        let mut responder = responder();
        let mut at = |now_ms, source: &str| responder.decide(now_ms, asked(source, "10.1.4.20", 2), &question());
        let tired = Decision::Silence(Silence::TooOften);
        for port in 0..IDENTITY_ANSWERS_PER_NETWORK_BURST {
            assert_ne!(at(NOW_MS, &format!("10.9.9.9:{}", 40_000 + port)), tired);
        }
        assert_eq!(at(NOW_MS, "10.9.9.9:50000"), tired);
        assert_ne!(at(NOW_MS, "10.9.9.10:50000"), tired);
        assert_ne!(at(NOW_MS + 1_000 / u64::from(IDENTITY_ANSWERS_PER_NETWORK_PER_SECOND_MAX), "10.9.9.9:50000"), tired);
        assert_eq!(at(NOW_MS + 101, "10.9.9.9:50000"), tired);
        for host in 0..IDENTITY_ANSWERS_PER_NETWORK_BURST {
            assert_ne!(at(NOW_MS + 5_000, &format!("[fd00:9:9:9::{host:x}]:40000")), tired);
        }
        assert_eq!(at(NOW_MS + 5_000, "[fd00:9:9:9:ffff::1]:40000"), tired, "the same /64");
    }

    #[test]
    fn a_million_forged_sources_take_no_memory_and_no_more_signatures_than_the_budget() {
        let mut responder = responder();
        let before = responder.state_bytes();
        assert_eq!(before, (IDENTITY_TABLE_SLOTS + IDENTITY_TABLE_SLOTS / 4) * 8 + IDENTITY_DELAYED_MAX * 8);
        let (mut answers, mut best) = (0u32, 0);
        const SECONDS: u64 = 10;
        for number in 0..1_000_000u64 {
            let now_ms = NOW_MS + number * SECONDS * 1_000 / 1_000_000;
            let bits = u32::try_from(number).unwrap().wrapping_mul(2_654_435_761) | 0x0100_0000;
            let source = if number % 2 == 0 {
                IpAddr::V4(Ipv4Addr::from_bits(bits & 0x7fff_ffff))
            } else {
                IpAddr::V6((u128::from(bits) << 64 | 0x2001_0db8 << 96).into())
            };
            let (destination, interface) = (Some("10.1.4.20".parse().unwrap()), Some(2));
            let asked = Asked { source: SocketAddr::new(source, 40_000), destination, interface, port: 1588 };
            if let Decision::Answer { .. } = responder.decide(now_ms, asked, &question()) {
                answers += 1;
                best = best.max(number);
            }
        }
        assert_eq!(responder.state_bytes(), before);
        let most = IDENTITY_ANSWERS_PER_SECOND_MAX * u32::try_from(SECONDS).unwrap() + IDENTITY_ANSWERS_PER_SECOND_MAX / 10;
        assert!(answers <= most && answers > most * 9 / 10, "{answers} of at most {most}");
        assert!(best > 990_000, "answers go on under the flood");
    }

    proptest! {
        #[test]
        fn a_reply_is_never_longer_than_its_question(
            name in ".{0,400}", version in ".{0,400}", port: u16, v4: [u8; 4], v6: [u8; 16], told: bool
        ) {
            let asker = SocketAddr::new(v6.into(), port);
            let reply = reply(name, version, asker, told.then(|| v4.into()));
            prop_assert!(reply.len() <= IDENTITY_BYTES);
            prop_assert_eq!(IdentityRequest::parse(&reply), None, "and is no question");
        }

        #[test]
        fn any_bytes_from_anywhere_are_answered_or_not(
            bytes in proptest::collection::vec(any::<u8>(), 0..600), v6: [u8; 16], to: [u8; 16], port: u16, interface: Option<u32>, now_ms in 0..u64::MAX / 2_000
        ) {
            let asked = Asked { source: SocketAddr::new(v6.into(), port), destination: Some(to.into()), interface, port: 1588 };
            let mut responder = responder();
            let _ = responder.decide(now_ms, asked, &question());
            prop_assert_eq!(responder.decide(now_ms, asked, &bytes), Decision::Silence(Silence::NoQuestion));
        }
    }
}
