//! The trust exchange: the server proves that its key speaks for this TLS connection and shows what it may serve. The request says nothing
//! about a user, and for unknown vendors the answer says nothing but the server's own key.

use std::sync::{Arc, atomic::Ordering};

use http::Request;
use triquest_license::statement::{self, StatementKind};
use triquest_wire::{
    Blob, Bytes32, Bytes64, ErrorCode, Problem, WordList,
    limits::{LEASE_BODY_BYTES_MAX, VENDOR_KEYS_MAX},
    status::ServerId,
    trust::{TrustAnswer, TrustPayload, TrustRequest},
};

use super::{Answer, App, Arriving, bad, body, json};
use crate::{accept::Conn, gate::Rated};

pub(super) async fn trust(app: &Arc<App>, conn: &Conn, request: &mut Request<Arriving>) -> Answer {
    let asked: TrustRequest = body(app, conn, request, LEASE_BODY_BYTES_MAX).await?;
    let _reading = app.gate.reading(Rated::Trust, conn.network())?;
    vendor_keys(&asked.vendor_keys)?;
    // Read before the licenses: a text that comes later is brought along by a grant.
    let shown = app.licenses.load(Ordering::Acquire);
    let served = app.certificate.served().spki();
    if asked.tls_spki.0 != served && !app.live.load().vouch_for.contains(&asked.tls_spki.0) {
        return Err(Problem::new(ErrorCode::Misdirected, "this server neither serves a certificate with that key nor vouches for one")
            .hint("something stands between client and server; if it is your proxy, add its key to `vouch_for`"));
    }
    let keys: Vec<[u8; 32]> = asked.vendor_keys.iter().map(|key| key.0).collect();
    let view = app.driver.view();
    let (licenses, are_all) = view.licenses_for(&keys);
    let (hashes, licenses): (Vec<_>, Vec<_>) = licenses.into_iter().map(|(hash, text)| (Bytes32(*hash.as_bytes()), text)).unzip();
    let (at_ms, server_time_ms) = view.now();
    let payload = TrustPayload {
        server_key: app.server_key.to_string(),
        vendor_keys: asked.vendor_keys,
        nonce: asked.nonce,
        tls_spki: asked.tls_spki,
        lineage: view.position().lineage,
        instance: Bytes32(app.instance),
        at_ms,
        server_time_ms,
        uses: WordList::default(),
        offers: app.offers.clone(),
        licenses: hashes,
    };
    let payload = serde_json::to_vec(&payload).map_err(|_| Problem::new(ErrorCode::Internal, "the statement could not be written"))?;
    let signature = statement::sign(&app.signing_key, StatementKind::Trust, &payload);
    // Of those that are not shown, each grant brings what it is charged to.
    conn.texts.lock().were_shown(are_all.then_some(shown));
    json(&TrustAnswer { statement: Blob(payload), signature: Bytes64(signature), licenses })
}

/// 1 to 16, none twice.
pub(super) fn vendor_keys(keys: &[Bytes32]) -> Result<(), Problem> {
    if keys.is_empty() {
        return Err(bad("vendor_keys: needs at least one key"));
    }
    if keys.len() > VENDOR_KEYS_MAX {
        return Err(Problem::new(
            ErrorCode::LimitReached,
            format!("vendor_keys: {} keys, at most {VENDOR_KEYS_MAX} are taken", keys.len()),
        ));
    }
    if keys.iter().enumerate().any(|(place, key)| keys[..place].contains(key)) {
        return Err(bad("vendor_keys: a key stands twice"));
    }
    Ok(())
}

pub(super) fn server_id(app: &App) -> Answer {
    json(&ServerId { server_key: app.server_key.to_string(), instance: Bytes32(app.instance), position: app.position() })
}
