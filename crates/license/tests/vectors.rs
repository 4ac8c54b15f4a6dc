//! What we accept as an Ed25519 signature, pinned by public vectors: exactly what strict verification accepts.
#![allow(clippy::unwrap_used)]

mod support;

use support::unhex;
use triquest_license::{KeyError, PublicKey};

fn lines(file: &'static str) -> impl Iterator<Item = &'static str> {
    file.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

fn accepts(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    PublicKey::parse(key).is_ok_and(|key| key.verify(message, signature).is_ok())
}

#[test]
fn wycheproof_says_the_same_of_every_signature() {
    let mut count = 0;
    for line in lines(include_str!("vectors/wycheproof-ed25519.txt")) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [id, result, key, message, signature, flags] = fields[..] else { panic!("malformed: {line}") };
        assert_eq!(accepts(&unhex(key), &unhex(message), &unhex(signature)), result == "valid", "test {id} ({flags}) should be {result}");
        count += 1;
    }
    assert_eq!(count, 151);
}

#[test]
fn edge_cases_are_accepted_only_with_large_canonical_points() {
    let (mut count, mut accepted) = (0, 0);
    for line in lines(include_str!("vectors/cctv-ed25519.txt")) {
        let fields: Vec<&str> = line.splitn(5, ' ').collect();
        let [key, r, s, flags, message] = fields[..] else { panic!("malformed: {line}") };
        let refused = ["LowOrderA", "LowOrderR", "NonCanonicalA", "NonCanonicalR", "LowOrderResidue"];
        let expected = !flags.split(',').any(|flag| refused.contains(&flag));
        let signature = [unhex(r), unhex(s)].concat();
        assert_eq!(accepts(&unhex(key), message.as_bytes(), &signature), expected, "{line}");
        // Keys are refused when they enter, not only when they verify.
        if flags.split(',').any(|flag| flag == "LowOrderA") {
            assert_eq!(PublicKey::parse(&unhex(key)), Err(KeyError::SmallOrder), "{line}");
        } else if flags.split(',').any(|flag| flag == "NonCanonicalA") {
            assert_eq!(PublicKey::parse(&unhex(key)), Err(KeyError::NonCanonical), "{line}");
        } else {
            assert!(PublicKey::parse(&unhex(key)).is_ok(), "{line}");
        }
        count += 1;
        accepted += usize::from(expected);
    }
    assert_eq!(count, 768);
    assert!(accepted > 0);
}

#[test]
fn a_key_that_is_no_point_is_refused() {
    // y = 2: (y² - 1) / (d y² + 1) is no square.
    let mut key = [0; 32];
    key[0] = 2;
    assert_eq!(PublicKey::parse(&key), Err(KeyError::NotOnCurve));
    assert_eq!(PublicKey::parse(&key[..31]), Err(KeyError::Length { found: 31 }));
    // Half of all encodings are points: of the first hundred y, about that many.
    let points = (3..=102u8)
        .filter(|y| {
            key[0] = *y;
            PublicKey::parse(&key).is_ok()
        })
        .count();
    assert!((35..=65).contains(&points), "{points}");
}

#[test]
fn the_key_of_zeros_and_the_identity_sign_nothing() {
    for first in [0u8, 1] {
        let mut key = [0; 32];
        key[0] = first;
        let mut signature = [0; 64];
        signature[0] = first;
        assert_eq!(PublicKey::parse(&key), Err(KeyError::SmallOrder));
        assert!(!accepts(&key, b"any text at all", &signature));
    }
}
