//! Checkout, renewal, release, inspection, and looking.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::Request;
use triquest_allocator::{
    Command, Outcome, ShownGrant,
    limits::{TTL_MS_DEFAULT, TTL_MS_MIN},
};
use triquest_engine::grants;
use triquest_license::{LicenseHash, Vocabulary};
use triquest_wire::{
    Bytes32, ErrorCode, LeaseId, Position, Problem, Secret,
    lease::{
        CheckoutAnswer, CheckoutRequest, ReleaseAnswer, ReleaseOutcome, RenewAnswer, RenewBatchAnswer, RenewBatchRequest, RenewRequest,
        RenewResult, SecretRequest,
    },
    limits::{
        ANSWER_MS_MAX, BODY_BYTES_MAX, LEASE_BODY_BYTES_MAX, LIST_ROWS_MAX, RENEWALS_PER_REQUEST_MAX, VENDOR_KEYS_MAX, WAIT_HELD_MS_MAX,
    },
    status::{LeaseList, LeaseState, PresenceOff, Status},
    trust::SignedGrant,
};

use super::{Answer, App, Arriving, Refused, bad, body, convert, holder, json, query, read, routes::Found, trust};
use crate::{
    accept::Conn,
    driver,
    gate::{Denial, Rated},
    limits::{PRESENCE_OFF_SHOWN_MAX, WAITER_ASKS_AGAIN_MS},
    seldom::Kind,
    ticket::origin,
    view::{Known, LeaseFilter, PoolFilter, WaiterPlace, wire_end_reason},
};

/// The lease that the path names.
pub(super) fn id_of(found: &Found) -> Result<LeaseId, Problem> {
    found.segment.parse().map_err(|why| bad(format!("the lease in the path {why}")))
}

/// The path and the secret must name one lease.
fn own(lease: LeaseId, secret: &Secret) -> Result<(), Problem> {
    if secret.lease_id() == lease {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::WrongSecret, "the secret in the body does not belong to the lease in the path"))
}

/// A client may say that it saw more of this history than there is. Anybody can make that up, so it changes nothing: only a signed grant proves it.
fn note_seen(app: &App, conn: &Conn, seen: Option<&Position>) {
    let Some(seen) = seen else { return };
    let here = app.position();
    if seen.lineage == here.lineage && seen.index > app.driver.handed_out() {
        app.gate.note(Kind::Seen, conn.network());
    }
}

/// What is shown of an id; one that is neither held nor waiting nor lingering here is charged.
async fn known_or_charged(app: &App, conn: &Conn, lease: LeaseId) -> Result<Option<Known>, Problem> {
    let view = app.driver.view();
    view.after_a_fold().await;
    let known = view.known(lease);
    if known.is_none() {
        app.gate.charge(Rated::NewIds, conn.network(), 1)?;
    }
    Ok(known)
}

pub(super) async fn checkout(app: &Arc<App>, conn: &Conn, request: &mut Request<Arriving>) -> Answer {
    let at_once = wants_answer_at_once(request.headers());
    let asked: CheckoutRequest = body(app, conn, request, LEASE_BODY_BYTES_MAX).await?;
    let asked_ms = app.boot_ms();
    trust::vendor_keys(&asked.vendor_keys)?;
    if asked.attempt == 0 {
        return Err(bad("attempt: counts from 1"));
    }
    let lease = asked.secret.lease_id();
    note_seen(app, conn, asked.seen.as_ref());
    let items = convert::items(&asked.items)?;
    let holder = holder::of(asked.holder, conn);
    let content = convert::content(&holder, &items);
    let vendor_keys: Vec<[u8; 32]> = asked.vendor_keys.iter().map(|key| key.0).collect();
    let id = convert::to_core(lease);
    let nonce = asked.nonce.0;
    // Read before the decision: a grant that a newer license feeds brings its text.
    let licenses_now = app.licenses.load(Ordering::Acquire);

    // What no license can need is not kept: a list of made-up words is none.
    let accepts = Vocabulary::OURS.needable(&asked.accepts.0);
    let network = conn.network();
    let known = known_or_charged(app, conn, lease).await?;
    let waits = asked.wait_ms.is_some_and(|wait_ms| wait_ms > 0);
    if waits
        && asked.shown.is_none()
        && let Some(answer) = asked_just_now(app, id, asked.attempt, content, &vendor_keys)
    {
        return json(&answer);
    }
    if known.is_some_and(|known| known.waits.is_some()) {
        app.gate.waiter_asks(network, lease.0)?;
    }
    let shown = match &asked.shown {
        None => None,
        Some(shown) => {
            // What a holder shows is looked at each time all the same: it may prove that history was lost.
            let holds = known.is_some_and(Known::holds);
            app.gate.shows(network, lease.0, holds)?;
            let forged = |_: &Problem| {
                if holds {
                    app.gate.note_forger(lease.0)
                }
            };
            Some(Box::new(shown_grant(app, lease, &asked.items, shown).inspect_err(forged)?))
        }
    };
    // What was decided is no new denial, for whoever holds, waits, or asks once more what was denied. Anything else may be, however it looks from here:
    // what is shown is behind what is decided.
    let is_decided = known.is_some_and(|known| known.is_decided(asked.attempt)) || app.gate.was_denied(lease.0, asked.attempt);
    let denial = if is_decided {
        Denial::default()
    } else {
        let view = app.driver.view();
        let first = items.first().map_or("", |item| item.feature.as_str());
        let free = || view.free_seats(&vendor_keys, &items);
        let comes_back = shown.is_some() && !app.gate.was_ever_denied(lease.0);
        let may = app.gate.may_be_denied(network, first, comes_back, free, || view.numbers(&vendor_keys, first));
        let counted = may.inspect_err(|_| {
            let at = triquest_allocator::Timestamp(view.now().0);
            app.gate.count_unrecorded(view.pool_asked(&vendor_keys, first), at);
        });
        counted?
    };
    let (attempt, ttl_ms, wait_ms, regained) = (asked.attempt, asked.ttl_ms, asked.wait_ms, asked.regained);
    let command = match shown {
        Some(shown) => {
            let [next_lineage, _] = halves(crate::identity::random());
            let (next_lineage, vendor_keys) = (triquest_allocator::Lineage(next_lineage), vendor_keys.clone());
            Command::Adopt {
                lease: id,
                attempt,
                content,
                accepts,
                holder,
                vendor_keys,
                items,
                ttl_ms,
                wait_ms,
                regained,
                network,
                shown,
                next_lineage,
            }
        }
        None => {
            let vendor_keys = vendor_keys.clone();
            Command::Checkout { lease: id, attempt, content, accepts, holder, vendor_keys, items, ttl_ms, wait_ms, regained, network }
        }
    };
    let asking = app.driver.from(origin(conn));
    let answer = match wait_ms {
        Some(1..) if !at_once => {
            // A stop answers it with its place.
            let mut held = std::pin::pin!(asking.decide_charged(command, Some(nonce), denial.clone(), held_ms(ttl_ms)));
            let mut looks = true;
            loop {
                tokio::select! {
                    answer = &mut held => break answer,
                    () = tokio::time::sleep(Duration::from_millis(HELD_LOOK_MS)), if looks => {
                        // It stands in line, so it was not denied: what was charged for that is given back while it waits.
                        if app.driver.view().known(lease).is_some_and(|known| known.waits == Some(attempt)) {
                            denial.was_none();
                            looks = false;
                        }
                    }
                }
            }
        }
        _ => asking.decide_charged(command, Some(nonce), denial, 0).await,
    };
    let driver::Answer { outcome, position, signed } = answer.map_err(Refused::from)?;
    match &outcome {
        Outcome::Denied(_) => {
            request.body_mut().led_to_nothing();
            app.gate.note_denied(lease.0, asked.attempt, asked_ms);
        }
        Outcome::Granted(_) => conn.serves_lease(app.holders(), || id),
        _ => {}
    }
    if let Outcome::Refused(refusal) = &outcome
        && let triquest_allocator::Refusal::LicenseUnknown(license) = refusal.itself()
    {
        app.shown.misses(*license);
    }
    let licenses = match &outcome {
        Outcome::Granted(grant) => texts(app, conn, grant, licenses_now),
        _ => Vec::new(),
    };
    json(&convert::checkout_answer(outcome, position, signed, licenses, vendor_keys.len())?)
}

/// How often it is looked whether a request that is held stands in line by now.
const HELD_LOOK_MS: u64 = 250;

/// The place of a waiter that asked within the last second, and still waits: nothing has to be decided for that.
fn asked_just_now(
    app: &App,
    lease: triquest_allocator::LeaseId,
    attempt: u32,
    content: triquest_allocator::ContentDigest,
    vendor_keys: &[[u8; 32]],
) -> Option<CheckoutAnswer> {
    let view = app.driver.view();
    let place = view.asked_within(&lease, attempt, content, vendor_keys, WAITER_ASKS_AGAIN_MS)?;
    let WaiterPlace { position, place, pool, gives_up_in_ms } = place;
    Some(CheckoutAnswer::Waiting { position, place, pool, gives_up_in_ms, first_due_ms: None })
}

/// `Prefer: wait=0` (RFC 7240): whoever waits is told the place now; a client does so when it first asks, so that its user sees it.
fn wants_answer_at_once(headers: &hyper::HeaderMap) -> bool {
    headers.get_all("prefer").iter().any(|value| value.as_bytes() == b"wait=0")
}

/// How long a waiting request is held: less than a third of the time to live, so that what is granted meanwhile is worth something.
fn held_ms(ttl_ms: Option<u64>) -> u64 {
    // No lease lives shorter than the least, whatever is asked for.
    let third = ttl_ms.unwrap_or(TTL_MS_DEFAULT).max(TTL_MS_MIN) / 3;
    third.saturating_sub(1).min(WAIT_HELD_MS_MAX).min(ANSWER_MS_MAX)
}

/// The texts of the licenses that a grant is charged to and that were not sent on this connection yet. They are as much work and as large an answer as
/// those of a trust exchange, and count as one: where that is too often, or they are too large, the grant comes without, and the client asks for trust.
fn texts(app: &App, conn: &Conn, grant: &triquest_allocator::Grant, licenses_now: u64) -> Vec<String> {
    let mut hashes: Vec<LicenseHash> = grant.items.iter().flat_map(|item| item.from.iter().map(|from| from.0)).collect();
    hashes.sort_unstable();
    hashes.dedup();
    conn.texts.lock().keep_lacking(licenses_now, &mut hashes);
    if hashes.is_empty() || app.gate.charge(Rated::Trust, conn.network(), 1).is_err() {
        return Vec::new();
    }
    let Ok(_reading) = app.gate.reading(Rated::Trust, conn.network()) else { return Vec::new() };
    let texts = app.driver.view().license_files(&hashes);
    conn.texts.lock().were_sent(texts.iter().map(|(hash, _)| *hash));
    texts.into_iter().map(|(_, text)| text).collect()
}

/// Two halves of what is random.
fn halves(bytes: [u8; 32]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    halves[0].copy_from_slice(&bytes[..16]);
    halves[1].copy_from_slice(&bytes[16..]);
    halves
}

/// What the client shows, if this server signed it for this lease and these parts.
fn shown_grant(app: &App, lease: LeaseId, items: &[triquest_wire::lease::Item], shown: &SignedGrant) -> Result<ShownGrant, Problem> {
    let grant = grants::shown(shown, app.server_key.public(), lease, items).map_err(|why| bad(format!("shown: {why}")))?;
    let lineage = triquest_wire::Lineage(grant.lineage.0);
    // While a quarantine runs, it may be of the history that was lost.
    let view = app.driver.view();
    if view.quarantine_ms().is_none() && !view.knows_lineage(lineage) && app.shown.is_foreign(app.boot_ms()) {
        tracing::error!(
            %lineage,
            "grants of a history that this server's does not come from bear its key: another server runs on a copy of its data directory"
        );
    }
    Ok(grant)
}

/// One renewal as a command.
fn renewal(lease: LeaseId, asked: &RenewRequest) -> Command {
    Command::Renew {
        lease: convert::to_core(lease),
        counter: asked.counter,
        nonce: asked.nonce.0,
        idle_ms: asked.idle_ms,
        presence: asked.presence,
        regained: asked.regained,
    }
}

pub(super) async fn renew(app: &Arc<App>, conn: &Conn, lease: LeaseId, request: &mut Request<Arriving>) -> Answer {
    let asked: RenewRequest = body(app, conn, request, LEASE_BODY_BYTES_MAX).await?;
    own(lease, &asked.secret)?;
    note_seen(app, conn, asked.seen.as_ref());
    known_or_charged(app, conn, lease).await?;
    let answer = app.driver.from(origin(conn)).decide(renewal(lease, &asked), None).await.map_err(Refused::from)?;
    json(&renewed(app, conn, &asked, answer)?)
}

fn renewed(app: &App, conn: &Conn, asked: &RenewRequest, answer: driver::Answer) -> Result<RenewAnswer, Problem> {
    let driver::Answer { outcome, position, .. } = answer;
    match &outcome {
        Outcome::Refused(refusal) if *refusal.itself() == triquest_allocator::Refusal::ClonedClient => {
            app.gate.note(Kind::Cloned, conn.network())
        }
        Outcome::Renewed { .. } => conn.serves_lease(app.holders(), || convert::to_core(asked.secret.lease_id())),
        _ => {}
    }
    convert::renew_answer(outcome, position, asked.nonce, asked.counter)
}

pub(super) async fn renew_many(app: &Arc<App>, conn: &Conn, request: &mut Request<Arriving>) -> Answer {
    let asked: RenewBatchRequest = body(app, conn, request, BODY_BYTES_MAX).await?;
    let renewals = asked.renewals;
    if renewals.is_empty() {
        return Err(bad("renewals: needs at least one"));
    }
    if renewals.len() > RENEWALS_PER_REQUEST_MAX {
        return Err(Problem::new(
            ErrorCode::LimitReached,
            format!("renewals: {} of them, at most {RENEWALS_PER_REQUEST_MAX} are taken", renewals.len()),
        ));
    }
    let leases: Vec<LeaseId> = renewals.iter().map(|renewal| renewal.secret.lease_id()).collect();
    let mut once = BTreeSet::new();
    if let Some(twice) = leases.iter().find(|lease| !once.insert(**lease)) {
        return Err(bad(format!("renewals: lease {twice} stands in it twice")));
    }
    // Leases that are live here are never limited; what is unknown is. The first of them are taken, as far as the network's rate goes.
    let view = app.driver.view();
    view.after_a_fold().await;
    let unknown: Vec<bool> = leases.iter().map(|lease| view.lease_state(*lease).is_none()).collect();
    let count = unknown.iter().filter(|unknown| **unknown).count() as u64;
    let (mut taken, mut limited) = app.gate.charge_most(Rated::NewIds, conn.network(), count);
    request.body_mut().refused_by_rate(count - taken);
    // Where none of them is taken, one answer says it for all.
    if let Some(problem) = limited.take_if(|_| taken == 0 && count == leases.len() as u64) {
        return Err(problem);
    }
    let is_taken: Vec<bool> = unknown
        .iter()
        .map(|unknown| {
            let is_taken = !unknown || taken > 0;
            taken -= u64::from(*unknown && is_taken);
            is_taken
        })
        .collect();
    for renewal in &renewals {
        note_seen(app, conn, renewal.seen.as_ref());
    }
    let asked = renewals.iter().zip(&leases).zip(&is_taken).filter(|(_, is_taken)| **is_taken);
    let commands: Vec<Command> = asked.map(|((asked, lease), _)| renewal(*lease, asked)).collect();
    let mut decided = app.driver.from(origin(conn)).decide_many(commands).await.map_err(Refused::from)?.into_iter();
    let unanswered = || Problem::new(ErrorCode::Internal, "a renewal was not answered");
    let mut answer = RenewBatchAnswer { answers: Vec::with_capacity(renewals.len()), problems: Vec::new() };
    let mut refused = 0;
    for (asked, is_taken) in renewals.iter().zip(is_taken) {
        let decided = if is_taken { decided.next() } else { None };
        let result = match decided {
            Some(decided) => {
                let decided = decided.map_err(|error| Problem::from(Refused::from(error)));
                decided.and_then(|decided| renewed(app, conn, asked, decided))
            }
            None => Err(limited.clone().unwrap_or_else(unanswered)),
        };
        match result {
            Ok(renewed) => answer.answers.push(RenewResult::from(renewed)),
            Err(problem) => {
                refused += 1;
                answer.refuse(problem);
            }
        }
    }
    // They were read, hashed and answered for nothing.
    request.body_mut().refused_parts(refused, renewals.len());
    json(&answer)
}

pub(super) async fn release(app: &Arc<App>, conn: &Conn, lease: LeaseId, request: &mut Request<Arriving>) -> Answer {
    let asked: SecretRequest = body(app, conn, request, LEASE_BODY_BYTES_MAX).await?;
    own(lease, &asked.secret)?;
    // Releasing what was never known is an entry too, so it is bounded as new ids are.
    known_or_charged(app, conn, lease).await?;
    let command = Command::Release { lease: convert::to_core(lease), network: conn.network() };
    let answer = app.driver.from(origin(conn)).decide(command, None).await.map_err(Refused::from)?;
    app.holders().lock().ended(&convert::to_core(lease));
    match answer.outcome {
        Outcome::Released { linger_ms, ended } => {
            let ended = ended.map(wire_end_reason);
            json(&ReleaseAnswer { outcome: ReleaseOutcome::Released, position: answer.position, linger_ms, ended })
        }
        Outcome::Refused(refusal) => Err(convert::refused(&refusal)),
        other => Err(convert::unexpected(&other)),
    }
}

pub(super) async fn inspect(app: &Arc<App>, conn: &Conn, lease: LeaseId, request: &mut Request<Arriving>) -> Answer {
    let asked: SecretRequest = body(app, conn, request, LEASE_BODY_BYTES_MAX).await?;
    own(lease, &asked.secret)?;
    read(app, conn, || {
        let view = app.driver.view();
        let position = view.position();
        match view.lease(lease) {
            Some(status) => json(&LeaseList { position, leases: vec![status], next: None }),
            None => Err(Problem::new(ErrorCode::UnknownLease, "there is no such lease, waiter or lingering seat now")),
        }
    })
}

/// A page's size from the query: at least 1, at most the limit.
pub(super) fn limit(text: Option<&str>) -> Result<usize, Problem> {
    match text.map(str::parse::<usize>) {
        None => Ok(LIST_ROWS_MAX),
        Some(Ok(rows @ 1..=LIST_ROWS_MAX)) => Ok(rows),
        Some(_) => Err(bad(format!("limit: needs a number from 1 to {LIST_ROWS_MAX}"))),
    }
}

/// Vendors' keys from the query, with commas between them.
fn keys_of(text: &str) -> Result<Vec<[u8; 32]>, Problem> {
    if text.split(',').nth(VENDOR_KEYS_MAX).is_some() {
        return Err(bad(format!("vendor_keys: more than {VENDOR_KEYS_MAX} keys")));
    }
    let keys = text.split(',').map(|key| serde_json::from_value::<Bytes32>(key.into()));
    let keys = keys.collect::<Result<Vec<_>, _>>().map_err(|why| bad(format!("vendor_keys: {why}")))?;
    trust::vendor_keys(&keys)?;
    Ok(keys.into_iter().map(|key| key.0).collect())
}

pub(super) fn list(app: &App, request: &Request<Arriving>) -> Answer {
    let [feature, vendor, state, after, rows] = query(request, ["feature", "vendor", "state", "after", "limit"])?;
    let state = state
        .map(|state| serde_json::from_value::<LeaseState>(state.into()))
        .transpose()
        .map_err(|_| bad("state: needs `ending`, `lingering`, `live` or `waiting`"))?;
    let after = after.map(|after| after.parse::<LeaseId>()).transpose().map_err(|why| bad(format!("after: {why}")))?;
    json(&app.driver.view().leases(&LeaseFilter { feature, vendor, state }, after, limit(rows.as_deref())?))
}

pub(super) fn status(app: &App, conn: &Conn, request: &Request<Arriving>) -> Answer {
    let [feature, keys, after, rows] = query(request, ["feature", "vendor_keys", "after", "limit"])?;
    let (vendor_keys, rows) = (keys.as_deref().map(keys_of).transpose()?.unwrap_or_default(), limit(rows.as_deref())?);
    let view = app.driver.view();
    let mut page = view.pools(&PoolFilter { feature, vendor_keys }, after.as_deref(), rows);
    if !app.sees_names(conn) {
        // With a vendor's key anybody gets the texts of its licenses. Whoever has one may ask which pools are that vendor's.
        page.pools.iter_mut().for_each(|pool| pool.vendor_keys.clear());
    }
    json(&Status {
        position: page.position,
        server_key: app.server_key.to_string(),
        instance: Bytes32(app.instance),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: app.uptime_ms(),
        time_at: triquest_license::CivilMs(view.now().1).to_string(),
        clock: app.driver.clock_state(),
        journal: app.driver.journal_state(),
        disk: app.full_disk(conn),
        quarantine_ms: view.quarantine_ms(),
        clock_says: view.clock_refused_ms().map(|ms| triquest_license::CivilMs(ms).to_string()),
        presence_off: if app.sees_names(conn) {
            let off = view.presence_off(PRESENCE_OFF_SHOWN_MAX).into_iter();
            off.map(|(network, remaining_ms)| PresenceOff { network, remaining_ms }).collect()
        } else {
            Vec::new()
        },
        translated: app.gate.translated(conn.address().filter(|_| !app.sees_names(conn))),
        freed_early: view.freed_early(),
        // Which licenses there are is for viewers, as the list of them is.
        unknown_licenses: if app.sees_names(conn) { app.shown.unknown_licenses() } else { Vec::new() },
        foreign_grants: app.shown.foreign(),
        license_warnings: if app.sees_names(conn) { view.license_warnings() } else { Vec::new() },
        leases: view.live_leases(),
        pools: page.pools,
        next: page.next,
        // Everybody is told of the own network; others' are names.
        limited: app.gate.limited(conn.address().filter(|_| !app.sees_names(conn))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_request_is_held_less_than_a_third_of_its_time_to_live() {
        assert!(held_ms(Some(30_000)) < 10_000);
        assert_eq!(held_ms(Some(0)), held_ms(Some(TTL_MS_MIN)), "whoever asks for a tiny one does not come back at once");
        assert!(held_ms(Some(2)) > 1_000);
        assert!(held_ms(None) <= WAIT_HELD_MS_MAX);
    }
}
