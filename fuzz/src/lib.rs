//! Fuzz targets: each takes any bytes, and panics if what must hold does not. libFuzzer runs them for hours (`fuzz_targets/`), and
//! `tests/short.rs` for seconds under plain `cargo test`.

pub mod mutate;
pub mod seeds;

use serde::Serialize;
use serde::de::DeserializeOwned;
use triquest_journal::record;
use triquest_license::{LicenseTerms, Note, VerifiedLicense, VerifierKey, draft, read_any, request::ServerRequest};
use triquest_wire::{lease, license as license_bodies, status, trust};

/// License files, one-line licenses, drafts, verifier keys and servers' requests.
///
/// # Panics
/// If a note or terms change by being written and read again, or a license verifies without a genuine signature.
pub fn license(bytes: &[u8]) {
    if let Ok(note) = read_any(bytes) {
        let again = Note::parse(&note.to_file_bytes()).expect("what we write, we read");
        assert_eq!(again, note, "a note changes by being written");
        let line = read_any(note.to_line().as_bytes()).expect("the one-line form is the same note");
        assert_eq!(line, note, "a note changes by becoming one line");
        if let Ok(license) = VerifiedLicense::verify_named(&note) {
            assert_eq!(license.note().text(), note.text(), "verified is what was read");
            assert!(!license.vendor_keys().is_empty(), "verified by nobody");
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(terms) = LicenseTerms::parse(text) {
        let again = LicenseTerms::parse(&terms.to_text()).expect("what we write, we read");
        assert_eq!(again, terms, "terms change by being written");
    }
    if let Ok(draft) = draft::from_json(bytes) {
        assert!(draft.is_ascii() || !draft.is_empty(), "a draft has text");
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string().parse::<VerifierKey>().as_ref(), Ok(&key), "a key changes by being written");
    }
    let _ = ServerRequest::parse(bytes);
}

/// Entries and snapshot chunks of the journal: as found, and with a good checksum around any body.
///
/// # Panics
/// If something decoded changes by being encoded and decoded again.
pub fn record(bytes: &[u8]) {
    let entry = |bytes: &[u8]| {
        let _ = record::peek_entry(bytes);
        if let Ok(entry) = record::decode_entry(bytes) {
            let again = record::decode_entry(&record::encode_entry(&entry)).expect("what we write, we read");
            assert_eq!(again, entry, "an entry changes by being written");
        }
    };
    let chunk = |bytes: &[u8]| {
        if let Ok(records) = record::decode_snapshot_chunk(bytes) {
            for chunk in record::encode_snapshot(records.clone().into_iter()) {
                record::decode_snapshot_chunk(&chunk).expect("what we write, we read");
            }
        }
    };
    entry(bytes);
    chunk(bytes);
    let Some((_, body)) = bytes.split_first() else { return };
    entry(&sealed(0x01, body));
    chunk(&sealed(0x81, body));
}

/// A body between its version and its checksum, so that mutations reach the decoder behind the checksum.
#[must_use]
pub fn sealed(version: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![version];
    bytes.extend_from_slice(body);
    let digest = triquest_license::sha256(&bytes);
    bytes.extend_from_slice(&digest[..8]);
    bytes
}

/// Every request body, and the answers and signed payloads that a client reads.
///
/// # Panics
/// If a body that was read changes by being written and read again.
pub fn bodies(bytes: &[u8]) {
    round::<lease::CheckoutRequest>(bytes);
    round::<lease::CheckoutAnswer>(bytes);
    round::<lease::RenewRequest>(bytes);
    round::<lease::RenewAnswer>(bytes);
    round::<lease::RenewBatchRequest>(bytes);
    round::<lease::SecretRequest>(bytes);
    round::<lease::ReleaseAnswer>(bytes);
    round::<lease::PresenceRequest>(bytes);
    round::<license_bodies::InstallRequest>(bytes);
    round::<license_bodies::RemoveRequest>(bytes);
    round::<status::ReclaimRequest>(bytes);
    round::<status::AcceptRequest>(bytes);
    round::<trust::TrustRequest>(bytes);
    round::<trust::TrustAnswer>(bytes);
    round::<trust::TrustPayload>(bytes);
    round::<trust::GrantsStatement>(bytes);
    round::<trust::GrantPayload>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(position) = text.parse::<triquest_wire::Position>()
    {
        assert_eq!(position.to_string().parse(), Ok(position), "a position changes by being written");
    }
}

fn round<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(body) = serde_json::from_slice::<T>(bytes) else { return };
    let once = serde_json::to_vec(&body).expect("a body is JSON");
    let again: T = serde_json::from_slice(&once).expect("what we write, we read");
    assert_eq!(serde_json::to_vec(&again).expect("a body is JSON"), once, "a body changes by being written");
}
