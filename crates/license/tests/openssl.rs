//! Strangers can check our files: openssl does, after the text was cut off the signature line.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::{acme, file};

/// Everything before the last empty line is the text, and the base64 of the line
/// is four bytes of key id and the signature.
fn openssl_verifies(file: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (text, lines) = file.rsplit_once("\n\n").unwrap();
    std::fs::write(path("text"), format!("{text}\n")).unwrap();
    let encoded = lines.lines().next().unwrap().rsplit_once(' ').unwrap().1;
    std::fs::write(path("signature"), &STANDARD.decode(encoded).unwrap()[4..]).unwrap();
    // SubjectPublicKeyInfo of an Ed25519 key: a fixed head (RFC 8410) and the 32 bytes.
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let verifier = acme().verifier_key().to_string();
    let key = STANDARD.decode(verifier.splitn(3, '+').nth(2).unwrap()).unwrap();
    der.extend_from_slice(&key[1..]);
    std::fs::write(path("key.der"), der).unwrap();
    let output = Command::new("openssl")
        .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey"])
        .arg(path("key.der"))
        .arg("-in")
        .arg(path("text"))
        .arg("-sigfile")
        .arg(path("signature"))
        .output()
        .unwrap_or_else(|error| {
            panic!("this test checks our files with openssl, which does not start ({error}); install it: apt-get install openssl")
        });
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Verif"), "openssl 3 or newer is needed: {said}");
    output.status.success()
}

#[test]
fn openssl_verifies_what_we_sign() {
    assert!(openssl_verifies(&file()));
}

#[test]
fn openssl_refuses_a_changed_file_as_we_do() {
    assert!(!openssl_verifies(&file().replace("seats = 25", "seats = 26")));
}
