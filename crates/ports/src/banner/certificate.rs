//! The few fields of an X.509 certificate (RFC 5280) that are worth showing, read so leniently that an odd certificate still shows them.

use serde::Serialize;

use super::text;

/// What a certificate says of itself. Nobody vouches for it here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Whom it is for, as `CN=tqlic01, O=Initech`.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// SHA-256 of its SubjectPublicKeyInfo in hexadecimal digits.
    pub spki_sha256: String,
}

/// Parts of a name that are shown.
const NAME_PARTS_MAX: usize = 8;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const VERSION: u8 = 0xA0;

impl Certificate {
    /// None if it is no certificate.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(der).filter(|(tag, _, _)| *tag == SEQUENCE)?;
        let (_, mut rest, _) = element(certificate).filter(|(tag, _, _)| *tag == SEQUENCE)?;
        // TBSCertificate: [version], serial, signature, issuer, validity, subject, subjectPublicKeyInfo
        if let Some((VERSION, _, after)) = element(rest) {
            rest = after;
        }
        let mut next = || {
            let before = rest;
            let (_, value, after) = element(rest)?;
            rest = after;
            Some((value, before.get(..before.len() - after.len())?))
        };
        let (_serial, _signature) = (next()?, next()?);
        let (issuer, _) = next()?;
        let _validity = next()?;
        let (subject, _) = next()?;
        let (_, spki) = next()?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, spki);
        let spki_sha256 = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { subject: name(subject), issuer: name(issuer), spki_sha256 })
    }
}

/// A name's parts that people know, in their order.
fn name(mut rest: &[u8]) -> String {
    let mut parts = Vec::new();
    while let Some((tag, mut set, after)) = element(rest) {
        rest = after;
        while let Some((SEQUENCE, pair, after)) = element(set).filter(|_| tag == SET) {
            set = after;
            let Some((OID, kind, value)) = element(pair) else { continue };
            let Some((kind, (_, value, _))) = label(kind).zip(element(value)) else { continue };
            if parts.len() < NAME_PARTS_MAX {
                parts.push(format!("{kind}={}", text(value)));
            }
        }
    }
    parts.join(", ")
}

/// Attributes of RFC 4519, which are all 2.5.4.x.
fn label(oid: &[u8]) -> Option<&'static str> {
    match oid {
        [0x55, 0x04, 3] => Some("CN"),
        [0x55, 0x04, 6] => Some("C"),
        [0x55, 0x04, 7] => Some("L"),
        [0x55, 0x04, 8] => Some("ST"),
        [0x55, 0x04, 10] => Some("O"),
        [0x55, 0x04, 11] => Some("OU"),
        _ => None,
    }
}

/// Tag, value and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (value, after) = rest.split_at_checked(length)?;
    Some((*tag, value, after))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
        rcgen::generate_simple_self_signed(["tqlic01.example".to_owned()]).unwrap()
    }

    #[test]
    fn names_and_key_of_a_certificate_are_read() {
        let made = certificate();
        let read = Certificate::read(made.cert.der()).unwrap();
        assert_eq!(read.subject, "CN=rcgen self signed cert");
        assert_eq!(read.issuer, read.subject);
        let key = rustls::server::ParsedCertificate::try_from(made.cert.der()).unwrap().subject_public_key_info();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key);
        assert_eq!(read.spki_sha256, digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }

    #[test]
    fn a_certificate_cut_off_anywhere_is_none_or_still_read() {
        let made = certificate();
        for end in 0..made.cert.der().len() {
            let _ = Certificate::read(&made.cert.der()[..end]);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Certificate::read(&bytes);
        }

        #[test]
        fn no_changed_certificate_panics(place in 0usize..400, byte: u8) {
            let mut der = certificate().cert.der().to_vec();
            if let Some(slot) = der.get_mut(place) {
                *slot = byte;
            }
            let _ = Certificate::read(&der);
        }
    }
}
