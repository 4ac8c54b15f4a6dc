//! What the tests of this crate share: one vendor, one server, one license.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use triquest_license::{Note, ServerKey, Signer, SigningKey, VendorName, VerifierKey};

pub fn signer(name: &str, seed: u8) -> Signer {
    Signer::new(VendorName::new(name).unwrap(), SigningKey::from_seed([seed; 32]))
}

pub fn acme() -> Signer {
    signer("acme.example", 1)
}

pub fn server(seed: u8) -> ServerKey {
    ServerKey::new(*SigningKey::from_seed([seed; 32]).public())
}

/// A good license text of acme.example for `server(7)`.
pub fn text() -> String {
    text_signed_by(&[acme().verifier_key().clone()])
}

pub fn text_signed_by(keys: &[VerifierKey]) -> String {
    let verifier = keys.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(", ");
    format!(
        r#"format = "triquest-lm/v1/license"
license = "ACME-2026-00017"
vendor = "acme.example"
verifier = [{verifier}]
licensee = "Initech GmbH"
issued = 2026-11-23
servers = ["{}"]

[[entitlement]]
feature = "cad-pro"
version = "12.4"
seats = 25
expires = 2027-12-31
borrow = "14d"
"#,
        server(7)
    )
}

pub fn note() -> Note {
    Note::sign(&text(), &[acme()]).unwrap()
}

pub fn file() -> String {
    String::from_utf8(note().to_file_bytes()).unwrap()
}

pub fn unhex(hex: &str) -> Vec<u8> {
    if hex == "-" {
        return Vec::new();
    }
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}
