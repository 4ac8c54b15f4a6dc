//! The identity datagram of UDP 1588: one fixed question, one signed answer that is never longer.
//!
//! `docs/protocol.md` has it byte by byte. The first byte is below 64, so that QUIC may share the port (RFC 9443, section 3). An answer is a hint only:
//! whether a server is genuine is proved by a TLS handshake with the certificate that the answer names, and by a key that is known.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use triquest_license::{
    ServerKey, SigningKey,
    statement::{self, StatementKind},
};

use crate::limits::{IDENTITY_BYTES, IDENTITY_NAME_BYTES_MAX, IDENTITY_VERSION_BYTES_MAX};

/// What both begin with: a byte that QUIC never begins with, the protocol's letters, the version of the format.
const HEAD: [u8; 6] = *b"\x0aTQLM\x01";
const REQUEST: u8 = 0x01;
const REPLY: u8 = 0x81;
const NONCE: usize = 8;
const KEY: usize = NONCE + 32;
const SPKI: usize = KEY + 32;
const INSTANCE: usize = SPKI + 32;
const TCP_PORT: usize = INSTANCE + 8;
const ASKER: usize = TCP_PORT + 2;
const ASKER_PORT: usize = ASKER + 16;
const ANSWERER: usize = ASKER_PORT + 2;
const NAME: usize = ANSWERER + 16;
const SIGNATURE_BYTES: usize = 64;

const _: () = assert!(NAME + 2 + IDENTITY_NAME_BYTES_MAX + IDENTITY_VERSION_BYTES_MAX + SIGNATURE_BYTES <= IDENTITY_BYTES);

/// Servers join it on their interfaces to be found on a network of IPv4: of the range for organizations' own use (RFC 2365), and sent with a time to live of 1.
pub const MULTICAST_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 15, 88);
/// The same for IPv6, of the scope that no router passes on.
pub const MULTICAST_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x1588);

/// "Who are you?"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityRequest {
    /// Fresh; stands in the answer, so that an old answer is none.
    pub nonce: [u8; 32],
}

/// "This is who I am", signed over everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityReply {
    /// As asked.
    pub nonce: [u8; 32],
    /// Whose signature it is.
    pub server_key: ServerKey,
    /// SHA-256 of the SubjectPublicKeyInfo of the certificate that the server shows in TLS.
    pub tls_spki: [u8; 32],
    /// The first bytes of what is random for each start: one key with two instances is a clone.
    pub instance: [u8; 8],
    /// Where it serves TLS.
    pub tcp_port: u16,
    /// Whose question it was, as the server saw it.
    pub asker: SocketAddr,
    /// The address at which the server was asked, if its system told.
    pub answerer: Option<IpAddr>,
    /// The machine's name: ASCII letters, digits, dots, hyphens and underscores.
    pub name: String,
    /// The program's version, of the same letters and `+`.
    pub version: String,
}

/// Why a datagram is no answer. Kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// Not the form of an answer.
    #[error("it is no identity datagram")]
    Malformed,
    /// An answer to another question, or an old one.
    #[error("it answers another question")]
    OtherNonce,
    /// Not signed by the key that it names.
    #[error("its signature is not by the key that it names")]
    Unsigned,
}

impl IdentityRequest {
    /// The datagram.
    #[must_use]
    pub fn encode(&self) -> [u8; IDENTITY_BYTES] {
        let mut bytes = [0; IDENTITY_BYTES];
        bytes[..6].copy_from_slice(&HEAD);
        bytes[6] = REQUEST;
        bytes[NONCE..KEY].copy_from_slice(&self.nonce);
        bytes
    }

    /// Reads a datagram. Anything but the exact form is none, and gets no answer: not an answer, another version, other lengths, padding that is not zero.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let exact = bytes.len() == IDENTITY_BYTES && bytes.starts_with(&HEAD) && bytes[6..8] == [REQUEST, 0];
        if !exact || bytes[KEY..].iter().any(|byte| *byte != 0) {
            return None;
        }
        Some(Self { nonce: array(bytes, NONCE)? })
    }
}

impl IdentityReply {
    /// The datagram, signed. A name or version that does not fit is cut, and characters that it may not have are left out.
    #[must_use]
    pub fn encode(&self, key: &SigningKey) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(IDENTITY_BYTES);
        bytes.extend_from_slice(&HEAD);
        bytes.extend_from_slice(&[REPLY, 0]);
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(self.server_key.as_bytes());
        bytes.extend_from_slice(&self.tls_spki);
        bytes.extend_from_slice(&self.instance);
        bytes.extend_from_slice(&self.tcp_port.to_be_bytes());
        bytes.extend_from_slice(&octets(self.asker.ip()));
        bytes.extend_from_slice(&self.asker.port().to_be_bytes());
        bytes.extend_from_slice(&self.answerer.map_or([0; 16], octets));
        for (text, most) in [(&self.name, IDENTITY_NAME_BYTES_MAX), (&self.version, IDENTITY_VERSION_BYTES_MAX)] {
            let text: Vec<u8> = text.bytes().filter(|byte| is_plain(*byte)).take(most).collect();
            bytes.push(u8::try_from(text.len()).expect("both limits are below 256"));
            bytes.extend_from_slice(&text);
        }
        let signature = statement::sign(key, StatementKind::UdpIdentity, &bytes);
        bytes.extend_from_slice(&signature);
        bytes
    }

    /// Reads an answer to the question with this nonce: first the signature, then the rest.
    ///
    /// # Errors
    /// [`NoIdentity`].
    pub fn open(bytes: &[u8], nonce: &[u8; 32]) -> Result<Self, NoIdentity> {
        let long_enough = bytes.len() >= NAME + 2 + SIGNATURE_BYTES && bytes.len() <= IDENTITY_BYTES;
        if !long_enough || !bytes.starts_with(&HEAD) || bytes[6..8] != [REPLY, 0] {
            return Err(NoIdentity::Malformed);
        }
        let (signed, signature) = bytes.split_at(bytes.len() - SIGNATURE_BYTES);
        let server_key = ServerKey::from_bytes(&signed[KEY..SPKI]).map_err(|_| NoIdentity::Malformed)?;
        statement::verify(server_key.public(), StatementKind::UdpIdentity, signed, signature).map_err(|_| NoIdentity::Unsigned)?;
        let reply = Self::read(signed, server_key).ok_or(NoIdentity::Malformed)?;
        if reply.nonce != *nonce {
            return Err(NoIdentity::OtherNonce);
        }
        Ok(reply)
    }

    fn read(signed: &[u8], server_key: ServerKey) -> Option<Self> {
        let (name, rest) = text(&signed[NAME..], IDENTITY_NAME_BYTES_MAX)?;
        let (version, rest) = text(rest, IDENTITY_VERSION_BYTES_MAX)?;
        let answerer: [u8; 16] = array(signed, ANSWERER)?;
        rest.is_empty().then_some(Self {
            nonce: array(signed, NONCE)?,
            server_key,
            tls_spki: array(signed, SPKI)?,
            instance: array(signed, INSTANCE)?,
            tcp_port: u16::from_be_bytes(array(signed, TCP_PORT)?),
            asker: SocketAddr::new(address(array(signed, ASKER)?), u16::from_be_bytes(array(signed, ASKER_PORT)?)),
            answerer: (answerer != [0; 16]).then(|| address(answerer)),
            name,
            version,
        })
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Sixteen bytes; IPv4 as IPv6 maps it (RFC 4291, section 2.5.5.2).
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn address(octets: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-_+".contains(&byte)
}

/// A length and so many plain bytes; and what follows.
fn text(bytes: &[u8], most: usize) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let length = usize::from(*length);
    if length > most || rest.len() < length {
        return None;
    }
    let (text, rest) = rest.split_at(length);
    let text = text.iter().all(|byte| is_plain(*byte)).then(|| String::from_utf8_lossy(text).into_owned())?;
    Some((text, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed([9; 32])
    }

    fn reply() -> IdentityReply {
        IdentityReply {
            nonce: [3; 32],
            server_key: ServerKey::new(*key().public()),
            tls_spki: [4; 32],
            instance: [5; 8],
            tcp_port: 1588,
            asker: "10.1.4.20:40000".parse().unwrap(),
            answerer: Some("fd00:4::20".parse().unwrap()),
            name: "tqlic01.initech.example".into(),
            version: "0.1.0+dev".into(),
        }
    }

    #[test]
    fn a_question_is_exactly_512_bytes_and_read_back() {
        let request = IdentityRequest { nonce: [7; 32] };
        let bytes = request.encode();
        assert_eq!(bytes[..8], [0x0a, b'T', b'Q', b'L', b'M', 1, 1, 0]);
        assert_eq!(IdentityRequest::parse(&bytes), Some(request));
    }

    #[test]
    fn anything_but_the_exact_question_is_none() {
        let good = IdentityRequest { nonce: [7; 32] }.encode();
        assert_eq!(IdentityRequest::parse(&good[..511]), None, "511 bytes");
        assert_eq!(IdentityRequest::parse(&[&good[..], &[0]].concat()), None, "513 bytes");
        assert_eq!(IdentityRequest::parse(&[]), None);
        for place in (0..8).chain(40..512) {
            let mut bytes = good;
            bytes[place] ^= 0x80;
            assert_eq!(IdentityRequest::parse(&bytes), None, "byte {place}");
        }
        let mut answer = reply().encode(&key());
        answer.resize(IDENTITY_BYTES, 0);
        assert_eq!(IdentityRequest::parse(&answer), None, "an answer sent as a question");
    }

    #[test]
    fn an_answer_is_read_back_and_never_longer_than_its_question() {
        let bytes = reply().encode(&key());
        assert_eq!(IdentityReply::open(&bytes, &[3; 32]), Ok(reply()));
        let long = IdentityReply { name: "n".repeat(1000), version: "v".repeat(1000), answerer: None, ..reply() };
        let bytes = long.encode(&key());
        assert!(bytes.len() <= IDENTITY_BYTES);
        let read = IdentityReply::open(&bytes, &[3; 32]).unwrap();
        assert_eq!((read.name.len(), read.version.len(), read.answerer), (IDENTITY_NAME_BYTES_MAX, IDENTITY_VERSION_BYTES_MAX, None));
        let hostile = IdentityReply { name: "a\u{1b}[2J\nb\u{202e}".into(), ..reply() };
        assert_eq!(IdentityReply::open(&hostile.encode(&key()), &[3; 32]).unwrap().name, "a2Jb");
    }

    #[test]
    fn an_answer_that_was_changed_cut_or_belongs_to_another_question_is_none() {
        let good = reply().encode(&key());
        assert_eq!(IdentityReply::open(&good, &[4; 32]), Err(NoIdentity::OtherNonce));
        for place in 0..good.len() {
            let mut bytes = good.clone();
            bytes[place] ^= 1;
            assert!(IdentityReply::open(&bytes, &[3; 32]).is_err(), "byte {place}");
        }
        for cut in 0..good.len() {
            assert!(IdentityReply::open(&good[..cut], &[3; 32]).is_err(), "cut at {cut}");
        }
        assert!(IdentityReply::open(&[&good[..], &[0]].concat(), &[3; 32]).is_err());
        let other = SigningKey::from_seed([8; 32]);
        assert_eq!(IdentityReply::open(&reply().encode(&other), &[3; 32]), Err(NoIdentity::Unsigned));
    }

    #[test]
    fn a_signed_answer_with_control_characters_or_more_after_it_is_none() {
        let body = reply().encode(&key());
        let unsigned = &body[..body.len() - SIGNATURE_BYTES];
        let signed = |bytes: &[u8]| [bytes, &statement::sign(&key(), StatementKind::UdpIdentity, bytes)].concat();
        let mut bell = unsigned.to_vec();
        bell[NAME + 1] = 7;
        assert_eq!(IdentityReply::open(&signed(&bell), &[3; 32]), Err(NoIdentity::Malformed));
        let more = [unsigned, &[0]].concat();
        assert_eq!(IdentityReply::open(&signed(&more), &[3; 32]), Err(NoIdentity::Malformed));
        let other_kind = [unsigned, &statement::sign(&key(), StatementKind::Trust, unsigned)].concat();
        assert_eq!(IdentityReply::open(&other_kind, &[3; 32]), Err(NoIdentity::Unsigned));
    }
}
