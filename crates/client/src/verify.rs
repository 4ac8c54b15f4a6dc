//! What a client checks before it believes a server or a grant. Pure functions over bytes: no I/O, no clock.
//!
//! The chain is: the vendor's verifier keys (embedded in the application) -> a license that they signed -> the server's key that the license
//! names -> this TLS connection ([`trust`]) and each grant ([`grant`]). Every signature is checked over the exact bytes that came, before
//! anything in them is believed; what is unknown, missing or there twice is refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use triquest_license::{
    CivilMs, LicenseHash, Note, ServerKey, VerifiedLicense, VerifierKey, Version, Vocabulary, Word, merkle,
    statement::{self, StatementKind},
};
use triquest_wire::{
    Blob, Bytes32, LeaseId, Lineage,
    lease::Item,
    text,
    trust::{GrantPayload, GrantsStatement, SignedGrant, TrustAnswer, TrustPayload},
    words::unknown_uses,
};

use crate::limits::{LICENSES_SHOWN_MAX, PATH_MAX, SAID_BYTES_MAX};

/// What a trust answer must match.
#[derive(Clone, Copy, Debug)]
pub struct TrustExpected<'a> {
    /// The keys that the application embeds.
    pub keys: &'a [VerifierKey],
    /// The nonce that was sent.
    pub nonce: [u8; 32],
    /// SHA-256 of the SubjectPublicKeyInfo that this connection's handshake proved.
    pub tls_spki: [u8; 32],
    /// The application opted in to licenses with `servers = "any"`.
    pub any_server: bool,
}

/// A server that proved that this vendor licensed it, and that this TLS connection ends at it.
#[derive(Clone, Debug)]
pub struct TrustedServer {
    server_key: ServerKey,
    licenses: Vec<VerifiedLicense>,
    left_aside: Vec<VerifiedLicense>,
    any_server: bool,
    /// The server's history.
    pub lineage: Lineage,
    /// Random for each start.
    pub instance: [u8; 32],
    /// The server's civil time, unix milliseconds; a hint about clocks, nothing more.
    pub server_time_ms: i64,
}

impl TrustedServer {
    /// The server's key.
    #[must_use]
    pub fn server_key(&self) -> &ServerKey {
        &self.server_key
    }

    /// Licenses of this vendor that name this server, verified.
    #[must_use]
    pub fn licenses(&self) -> &[VerifiedLicense] {
        &self.licenses
    }

    /// Licenses of this vendor that any server may serve, verified, where that is not accepted: nothing that is charged to them is believed.
    #[must_use]
    pub fn left_aside(&self) -> &[VerifiedLicense] {
        &self.left_aside
    }

    /// Takes licenses that came with a later answer, if they verify and name this server. Where it has too many to show all, others are forgotten for them.
    ///
    /// # Errors
    /// [`Distrust`], by reason; nothing is taken then.
    pub fn learn(&mut self, notes: &[String], keys: &[VerifierKey]) -> Result<(), Distrust> {
        if notes.len() > LICENSES_SHOWN_MAX {
            return Err(Distrust::TooMany { what: "licenses" });
        }
        let mut named: Vec<VerifiedLicense> = Vec::new();
        for note in notes {
            let license = verify_note(note, keys)?;
            if usable(&license, &self.server_key, self.any_server)? && named.iter().all(|known| known.hash() != license.hash()) {
                named.push(license);
            }
        }
        self.licenses.retain(|known| named.iter().all(|license| license.hash() != known.hash()));
        let too_many = (self.licenses.len() + named.len()).saturating_sub(LICENSES_SHOWN_MAX);
        self.licenses.drain(..too_many);
        self.licenses.append(&mut named);
        Ok(())
    }
}

/// Why a server or a grant is not believed. Kept alphabetical.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// The license may be served by anyone.
    #[error("the license {license} may be served by any server, and this application does not accept that")]
    AnyServer {
        /// Its id.
        license: String,
    },
    /// All licenses of the vendor that the server has are over.
    #[error("the license {license} of this server has ended: its last day was {on}")]
    Ended {
        /// The id of the one that ended last.
        license: String,
        /// Its last day, as it writes it.
        on: String,
    },
    /// Not the bytes of such a statement.
    #[error("the {what} cannot be read: {problem}")]
    Form {
        /// What.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A member of the grant is not what was asked, or not what the license says.
    #[error("the grant's {what}")]
    Grant {
        /// What, as the end of the sentence.
        what: String,
    },
    /// The entitlement does not run by this computer's clock.
    #[error("the grant is charged to an entitlement of {license} that {problem} by this computer's clock ({now})")]
    Day {
        /// The license's id.
        license: String,
        /// `has ended` or `has not begun`.
        problem: &'static str,
        /// This computer's time.
        now: CivilMs,
    },
    /// A note that came does not verify under the application's keys.
    #[error("the server shows a license that this vendor did not sign: {problem}")]
    License {
        /// Why.
        problem: String,
    },
    /// Genuine licenses, but of another server.
    #[error("the license {license} is for another server than {server_key}")]
    NotItsServer {
        /// Its id.
        license: String,
        /// The server that showed it.
        server_key: String,
    },
    /// No license of this vendor.
    #[error("this server ({server_key}) has no license of this vendor")]
    NoLicense {
        /// The server's key.
        server_key: String,
    },
    /// The proof is for other keys, another nonce or another connection.
    #[error("the server's proof is not for {what}")]
    OtherQuestion {
        /// What.
        what: &'static str,
    },
    /// The signature.
    #[error("the {what} is not signed by the server's key")]
    Signature {
        /// What.
        what: &'static str,
    },
    /// More than anyone has.
    #[error("too many {what}")]
    TooMany {
        /// What.
        what: &'static str,
    },
    /// A part is charged to a license that was not shown.
    #[error("the grant's seats of {feature} come from a license that was not shown")]
    UnknownLicense {
        /// The part.
        feature: String,
    },
    /// The path does not lead to the signed root.
    #[error("the grant is not among those that the server signed")]
    Unsigned,
    /// Signed for those who know more words than this version does.
    #[error("the {what} needs {words}, which this version of the software does not know")]
    Words {
        /// What.
        what: &'static str,
        /// The words.
        words: String,
    },
}

/// Checks a server's answer to the trust exchange.
///
/// # Errors
/// [`Distrust`], by reason.
pub fn trust(answer: &TrustAnswer, expected: &TrustExpected<'_>) -> Result<TrustedServer, Distrust> {
    let (server_key, payload) = identity(answer, &vendor_keys(expected.keys), expected.nonce, expected.tls_spki)?;
    let mut licenses: Vec<VerifiedLicense> = Vec::with_capacity(answer.licenses.len());
    let mut left_aside: Vec<VerifiedLicense> = Vec::new();
    let mut refused = None;
    for (note, hash) in answer.licenses.iter().zip(&payload.licenses) {
        let license = verify_note(note, expected.keys)?;
        if license.hash() != LicenseHash::from_bytes(hash.0) {
            return Err(Distrust::OtherQuestion { what: "the licenses that came with it" });
        }
        match usable(&license, &server_key, expected.any_server) {
            Ok(true) if !licenses.iter().any(|known| known.hash() == license.hash()) => licenses.push(license),
            Ok(_) => {}
            // One for anyone beside one for this server does not spoil it; alone it does not do.
            Err(reason @ Distrust::AnyServer { .. }) => {
                refused = Some(reason);
                left_aside.push(license);
            }
            Err(reason) => return Err(reason),
        }
    }
    if licenses.is_empty() {
        return Err(refused.unwrap_or(Distrust::NoLicense { server_key: server_key.to_string() }));
    }
    // A server shows those only where it has no other.
    let ends: Option<Vec<_>> = licenses.iter().map(|license| ended_at(license, CivilMs(payload.server_time_ms))).collect();
    if let Some((_, license, on)) = ends.and_then(|ends| ends.into_iter().max_by_key(|(end, ..)| *end)) {
        return Err(Distrust::Ended { license, on });
    }
    Ok(TrustedServer {
        server_key,
        licenses,
        left_aside,
        any_server: expected.any_server,
        lineage: payload.lineage,
        instance: payload.instance.0,
        server_time_ms: payload.server_time_ms,
    })
}

/// When the last right of a license ended, its id, and its last day as it writes it, if all of them have. What is left out may run.
fn ended_at(license: &VerifiedLicense, now: CivilMs) -> Option<(CivilMs, String, String)> {
    let terms = license.terms();
    let ends: Option<Vec<_>> =
        terms.entitlements.iter().map(|right| right.expires.filter(|end| *end <= now).zip(right.expires_written)).collect();
    let (end, written) = ends.filter(|_| terms.left_out.is_empty())?.into_iter().max_by_key(|(end, _)| *end)?;
    Some((end, terms.license.to_string(), written.to_string()))
}

/// Checks who answers, whatever licenses it has: that the holder of a server's key speaks over this very connection, now. The statement's licenses are as
/// many as came, and are not looked at.
///
/// # Errors
/// [`Distrust`], by reason.
pub fn identity(
    answer: &TrustAnswer,
    vendor_keys: &[Bytes32],
    nonce: [u8; 32],
    tls_spki: [u8; 32],
) -> Result<(ServerKey, TrustPayload), Distrust> {
    if answer.licenses.len() > LICENSES_SHOWN_MAX {
        return Err(Distrust::TooMany { what: "licenses" });
    }
    // Read for the key that it must be signed by; nothing else is believed before the signature is checked.
    understood(&answer.statement, "server's proof")?;
    let payload: TrustPayload = read(&answer.statement, "server's proof")?;
    let server_key = server_key(&payload.server_key, "server's proof")?;
    statement::verify(server_key.public(), StatementKind::Trust, &answer.statement.0, &answer.signature.0)
        .map_err(|_| Distrust::Signature { what: "server's proof" })?;
    if payload.nonce.0 != nonce {
        return Err(Distrust::OtherQuestion { what: "this question (another nonce): it was recorded and replayed" });
    }
    if payload.tls_spki.0 != tls_spki {
        return Err(Distrust::OtherQuestion { what: "this connection's certificate: something between relays it" });
    }
    if payload.vendor_keys != vendor_keys {
        return Err(Distrust::OtherQuestion { what: "this vendor's keys" });
    }
    if payload.licenses.len() != answer.licenses.len() {
        return Err(Distrust::OtherQuestion { what: "the licenses that came with it" });
    }
    Ok((server_key, payload))
}

/// What a grant must match.
#[derive(Clone, Copy, Debug)]
pub struct GrantExpected<'a> {
    /// The lease that was asked for.
    pub lease: LeaseId,
    /// The nonce that was sent.
    pub nonce: [u8; 32],
    /// The parts that were asked for, in order.
    pub items: &'a [Item],
    /// This computer's civil time.
    pub now: CivilMs,
}

/// A grant that verified.
#[derive(Clone, Debug)]
pub struct VerifiedGrant {
    payload: GrantPayload,
    server_key: ServerKey,
    entitled_until: Option<CivilMs>,
}

impl VerifiedGrant {
    /// What it says.
    #[must_use]
    pub fn payload(&self) -> &GrantPayload {
        &self.payload
    }

    /// Who granted it.
    #[must_use]
    pub fn server_key(&self) -> &ServerKey {
        &self.server_key
    }

    /// When the first of the entitlements that it is charged to ends.
    #[must_use]
    pub fn entitled_until(&self) -> Option<CivilMs> {
        self.entitled_until
    }
}

/// Checks a signed grant of a trusted server.
///
/// # Errors
/// [`Distrust`], by reason.
pub fn grant(signed: &SignedGrant, server: &TrustedServer, expected: &GrantExpected<'_>) -> Result<VerifiedGrant, Distrust> {
    let payload = signed_payload(signed, &server.server_key)?;
    if payload.lease != expected.lease {
        return Err(Distrust::Grant { what: "lease is not ours".into() });
    }
    if payload.nonce.0 != expected.nonce {
        return Err(Distrust::Grant { what: "nonce is not ours: an older grant was replayed".into() });
    }
    let asked = expected.items.iter().map(|item| (&item.feature, &item.version, item.seats));
    if !payload.items.iter().map(|item| (&item.feature, &item.version, item.seats)).eq(asked) {
        return Err(Distrust::Grant { what: "parts are not what was asked for".into() });
    }
    let entitled_until = check_charges(&payload, &server.licenses, Some(expected.now)).map_err(|reason| {
        // It was shown, and this application does not take it: asking again shows no other.
        let aside = |hash| server.left_aside.iter().find(|license| license.hash() == LicenseHash::from_bytes(hash));
        let charged = || payload.items.iter().flat_map(|item| &item.from).find_map(|from| aside(from.license.0));
        match (reason, charged()) {
            (Distrust::UnknownLicense { .. }, Some(license)) => Distrust::AnyServer { license: license.terms().license.to_string() },
            (reason, _) => reason,
        }
    })?;
    Ok(VerifiedGrant { payload, server_key: server.server_key, entitled_until })
}

/// A grant with its licenses, that anyone verifies later without a connection: proof that this server granted these seats.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The grant, its place in the tree and the signature over the root.
    pub signed: SignedGrant,
    /// The licenses that it is charged to, as files.
    pub licenses: Vec<String>,
}

/// Checks a bundle under a vendor's keys. At what time is the caller's question: `at`, if given, must lie in every entitlement that the grant is charged to.
///
/// # Errors
/// [`Distrust`], by reason.
pub fn bundle(bundle: &Bundle, keys: &[VerifierKey], at: Option<CivilMs>, any_server: bool) -> Result<VerifiedGrant, Distrust> {
    if bundle.licenses.len() > LICENSES_SHOWN_MAX {
        return Err(Distrust::TooMany { what: "licenses" });
    }
    let statement: GrantsStatement = read(&bundle.signed.statement, "signed statement")?;
    let server_key = server_key(&statement.server_key, "signed statement")?;
    let payload = signed_payload(&bundle.signed, &server_key)?;
    let mut licenses = Vec::with_capacity(bundle.licenses.len());
    for note in &bundle.licenses {
        let license = verify_note(note, keys)?;
        usable(&license, &server_key, any_server)?;
        licenses.push(license);
    }
    let entitled_until = check_charges(&payload, &licenses, at)?;
    Ok(VerifiedGrant { payload, server_key, entitled_until })
}

/// Signature, place in the tree, and that the grant belongs to the statement.
fn signed_payload(signed: &SignedGrant, server_key: &ServerKey) -> Result<GrantPayload, Distrust> {
    statement::verify(server_key.public(), StatementKind::Grants, &signed.statement.0, &signed.signature.0)
        .map_err(|_| Distrust::Signature { what: "grant" })?;
    let statement: GrantsStatement = read(&signed.statement, "signed statement")?;
    let name = server_key.to_string();
    if statement.server_key != name {
        return Err(Distrust::Grant { what: "statement is of another server".into() });
    }
    if signed.path.len() > PATH_MAX {
        return Err(Distrust::TooMany { what: "hashes in the grant's path" });
    }
    let path: Vec<[u8; 32]> = signed.path.iter().map(|hash| hash.0).collect();
    if !merkle::verify_path(&merkle::leaf_hash(&signed.grant.0), signed.position, statement.size, &path, &statement.root.0) {
        return Err(Distrust::Unsigned);
    }
    understood(&signed.grant, "grant")?;
    let payload: GrantPayload = read(&signed.grant, "grant")?;
    if payload.server_key != name {
        return Err(Distrust::Grant { what: "server is another one".into() });
    }
    if payload.lineage != statement.lineage || (payload.epoch, payload.index) > (statement.epoch, statement.index) {
        return Err(Distrust::Grant { what: "place in history is not that of its statement".into() });
    }
    Ok(payload)
}

/// Each part is charged to entitlements that cover it, and the seats add up.
fn check_charges(payload: &GrantPayload, licenses: &[VerifiedLicense], now: Option<CivilMs>) -> Result<Option<CivilMs>, Distrust> {
    let wrong = |what: String| Distrust::Grant { what };
    if payload.items.is_empty() {
        return Err(wrong("parts are missing".into()));
    }
    let mut until: Option<CivilMs> = None;
    // What each entitlement gives over the whole grant, which one signature covers.
    let mut given: BTreeMap<([u8; 32], u16), u64> = BTreeMap::new();
    for item in &payload.items {
        let version = item
            .version
            .as_ref()
            .map(|version| version.parse::<Version>())
            .transpose()
            .map_err(|error| wrong(format!("version is none: {error}")))?;
        let mut seats = 0u32;
        let mut named = BTreeSet::new();
        for from in &item.from {
            if !named.insert((from.license.0, from.entitlement)) {
                return Err(wrong(format!("seats of {} come from one entitlement twice", item.feature)));
            }
            let license = licenses
                .iter()
                .find(|license| license.hash() == LicenseHash::from_bytes(from.license.0))
                .ok_or_else(|| Distrust::UnknownLicense { feature: item.feature.clone() })?;
            let id = license.terms().license.as_str();
            if let Some(left_out) = license.terms().left_out(from.entitlement) {
                return Err(Distrust::Words { what: "license", words: listed(&left_out.unknown) });
            }
            let entitlement = license
                .terms()
                .entitlement(from.entitlement)
                .ok_or_else(|| wrong(format!("seats of {} come from an entitlement that {id} does not have", item.feature)))?;
            if entitlement.feature.as_str() != item.feature {
                return Err(wrong(format!("seats of {} come from an entitlement of {id} for {}", item.feature, entitlement.feature)));
            }
            if !entitlement.covers(version.as_ref()) && version.is_some() {
                return Err(wrong(format!("version of {} is newer than {id} covers", item.feature)));
            }
            let given = given.entry((from.license.0, from.entitlement)).or_default();
            *given += u64::from(from.seats);
            if from.seats == 0 || *given > u64::from(entitlement.seats) {
                return Err(wrong(format!("seats of {} are more than {id} has", item.feature)));
            }
            seats = seats.checked_add(from.seats).ok_or_else(|| wrong("seats overflow".into()))?;
            if payload.ttl_ms == 0 || payload.ttl_ms > entitlement.ttl_max.ms() {
                return Err(wrong(format!("time to live ({} ms) is longer than {id} permits ({})", payload.ttl_ms, entitlement.ttl_max)));
            }
            if payload.grace_ms > entitlement.grace.ms() {
                return Err(wrong(format!("grace ({} ms) is longer than {id} permits ({})", payload.grace_ms, entitlement.grace)));
            }
            if payload.presence && !entitlement.presence {
                return Err(wrong(format!("early freeing is not permitted by {id}")));
            }
            if let Some(now) = now
                && !entitlement.runs_at(now)
            {
                let ended = entitlement.expires.is_some_and(|expires| expires <= now);
                return Err(Distrust::Day { license: id.into(), problem: if ended { "has ended" } else { "has not begun" }, now });
            }
            until = match (until, entitlement.expires) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        if seats != item.seats {
            return Err(wrong(format!("seats of {} do not add up: {seats}, not {}", item.feature, item.seats)));
        }
    }
    Ok(until)
}

fn verify_note(note: &str, keys: &[VerifierKey]) -> Result<VerifiedLicense, Distrust> {
    let license = |problem: String| Distrust::License { problem };
    let note = Note::parse(note.as_bytes()).map_err(|error| license(error.to_string()))?;
    VerifiedLicense::verify(&note, keys).map_err(|error| license(error.to_string()))
}

/// Whether it counts here: true, or the reason why not.
fn usable(license: &VerifiedLicense, server: &ServerKey, any_server: bool) -> Result<bool, Distrust> {
    let id = || license.terms().license.as_str().to_owned();
    if license.terms().servers.is_any() && !any_server {
        return Err(Distrust::AnyServer { license: id() });
    }
    if !license.serves(server) {
        return Err(Distrust::NotItsServer { license: id(), server_key: server.to_string() });
    }
    Ok(true)
}

fn server_key(text: &str, what: &'static str) -> Result<ServerKey, Distrust> {
    text.parse().map_err(|error: triquest_license::KeyError| Distrust::Form { what, problem: error.to_string() })
}

/// Whether all words that a payload uses are known.
fn understood(bytes: &Blob, what: &'static str) -> Result<(), Distrust> {
    match unknown_uses(&bytes.0, Vocabulary::OURS).as_slice() {
        [] => Ok(()),
        unknown => Err(Distrust::Words { what, words: listed(unknown) }),
    }
}

fn listed(words: &[Word]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Strict: an unknown, missing or repeated member is an error.
fn read<T: for<'de> Deserialize<'de>>(bytes: &Blob, what: &'static str) -> Result<T, Distrust> {
    serde_json::from_slice(&bytes.0).map_err(|error| Distrust::Form { what, problem: text::tidy(&error.to_string(), SAID_BYTES_MAX) })
}

/// The public halves of verifier keys, as they travel.
#[must_use]
pub fn vendor_keys(keys: &[VerifierKey]) -> Vec<Bytes32> {
    keys.iter().map(|key| Bytes32(*key.public().as_bytes())).collect()
}
