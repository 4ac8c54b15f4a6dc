//! Fuzz targets: each takes any bytes, and panics if what must hold does not. libFuzzer runs them for hours (`fuzz_targets/`), and
//! `tests/short.rs` for seconds under plain `cargo test`.

pub mod mutate;
pub mod seeds;

use serde::Serialize;
use serde::de::DeserializeOwned;
use triquest_journal::record;
use triquest_license::{
    LicenseTerms, Note, ServerKey, SigningKey, VerifiedLicense, VerifierKey, draft, read_any,
    request::ServerRequest,
    statement::{self, StatementKind},
};
use triquest_wire::identity::{IdentityReply, IdentityRequest};
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
    if let Ok(terms) = LicenseTerms::parse(text)
        && terms.left_out.is_empty()
    {
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
    round::<lease::PresenceChangeRequest>(bytes);
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

/// The identity datagrams of UDP 1588, question and answer: as found, and as an answer with a good signature, so that mutations reach the reader behind
/// the signature.
///
/// # Panics
/// If a datagram that was read changes by being written, is both question and answer, or an answer is longer than a question.
pub fn identity(bytes: &[u8]) {
    let question = IdentityRequest::parse(bytes);
    if let Some(question) = question {
        assert_eq!(question.encode()[..], *bytes, "a question changes by being written");
    }
    let key = SigningKey::from_seed(IDENTITY_SEED);
    let open = |bytes: &[u8]| {
        let Some(nonce) = bytes.get(8..40).and_then(|nonce| nonce.try_into().ok()) else { return };
        if let Ok(reply) = IdentityReply::open(bytes, &nonce) {
            assert!(question.is_none() && IdentityRequest::parse(bytes).is_none(), "a question and an answer at once");
            assert!(reply.name.is_ascii() && reply.version.is_ascii(), "text that could do something to a terminal");
            assert!(IdentityReply::open(bytes, &[!nonce[0]; 32]).is_err(), "an answer to any question");
            let own = IdentityReply { server_key: ServerKey::from(*key.public()), ..reply };
            let again = own.encode(&key);
            assert!(again.len() <= IdentityRequest { nonce }.encode().len(), "an answer is longer than its question");
            assert_eq!(IdentityReply::open(&again, &nonce), Ok(own), "an answer changes by being written");
        }
    };
    open(bytes);
    let Some(body) = bytes.len().checked_sub(64).map(|end| &bytes[..end]) else { return };
    let mut body = body.to_vec();
    if let Some(place) = body.get_mut(40..72) {
        place.copy_from_slice(key.public().as_bytes());
        let signature = statement::sign(&key, StatementKind::UdpIdentity, &body);
        open(&[&body[..], &signature].concat());
    }
}

/// Whose answers the identity target signs.
pub const IDENTITY_SEED: [u8; 32] = [9; 32];

fn round<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(body) = serde_json::from_slice::<T>(bytes) else { return };
    let once = serde_json::to_vec(&body).expect("a body is JSON");
    let again: T = serde_json::from_slice(&once).expect("what we write, we read");
    assert_eq!(serde_json::to_vec(&again).expect("a body is JSON"), once, "a body changes by being written");
}
