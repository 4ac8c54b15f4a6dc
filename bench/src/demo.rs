//! A vendor that exists only here, and the licenses that it signs for what is measured.

use std::fmt::Write as _;

use anyhow::Context as _;
use triquest_license::limits::ENTITLEMENTS_MAX;
use triquest_license::{Note, ServerKey, Signer, SigningKey, VendorName, VerifiedLicense};
use triquest_wire::Bytes32;

/// The vendor.
pub(crate) fn vendor() -> anyhow::Result<Signer> {
    Ok(Signer::new(VendorName::new("bench.example")?, SigningKey::from_seed([0x42; 32])))
}

/// Its key, as a checkout names it.
pub(crate) fn vendor_key() -> anyhow::Result<Bytes32> {
    Ok(Bytes32(*vendor()?.verifier_key().public().as_bytes()))
}

/// Licenses for these features and seats, as many as the largest size of one license asks for.
pub(crate) fn licenses(server: &ServerKey, features: &[(String, u32)]) -> anyhow::Result<Vec<Note>> {
    let vendor = vendor()?;
    let mut notes = Vec::new();
    for (number, features) in features.chunks(ENTITLEMENTS_MAX).enumerate() {
        let mut text = format!(
            "format = \"triquest-lm/v1/license\"\nlicense = \"BENCH-{number:04}\"\nvendor = \"{}\"\nverifier = [\"{}\"]\nlicensee = \"Measurement\"\nissued = 2026-01-01\nservers = [\"{server}\"]\n",
            vendor.name(),
            vendor.verifier_key(),
        );
        for (feature, seats) in features {
            write!(text, "\n[[entitlement]]\nfeature = \"{feature}\"\nseats = {seats}\nttl = \"1h\"\n")?;
        }
        let note = Note::sign(&text, std::slice::from_ref(&vendor))?;
        VerifiedLicense::verify_named(&note).map_err(|error| anyhow::anyhow!("{error}")).context("the license made here")?;
        notes.push(note);
    }
    Ok(notes)
}
