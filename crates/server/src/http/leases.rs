//! Checkout, renewal, release, inspection, presence, and looking.

use std::sync::{Arc, atomic::Ordering};

use http::Request;
use hyper::body::Incoming;
use triquest_allocator::{Command, Outcome, ShownGrant, ShownItem};
use triquest_license::{LicenseHash, PublicKey, merkle, statement};
use triquest_wire::{
    Bytes32, ErrorCode, LeaseId, Position, Problem, Secret,
    lease::{
        CheckoutRequest, PresenceAnswer, PresenceRequest, ReleaseAnswer, ReleaseOutcome, RenewAnswer, RenewBatchAnswer, RenewBatchRequest,
        RenewRequest, RenewResult, SecretRequest,
    },
    limits::{
        ANSWER_MS_MAX, BODY_BYTES_MAX, LEASE_BODY_BYTES_MAX, LIST_ROWS_MAX, PRESENCE_LEASES_MAX, RENEWALS_PER_REQUEST_MAX, WAIT_HELD_MS_MAX,
    },
    status::{LeaseList, LeaseState, PresenceOff, Status},
    trust::{GrantPayload, GrantsStatement, SignedGrant},
};

use super::{Answer, App, Refused, bad, body, convert, holder, json, query, routes::Found, trust};
use crate::{accept::Conn, driver, view::LeaseFilter};

/// Most addresses that a status names as without presence.
const PRESENCE_OFF_SHOWN_MAX: usize = 100;

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

/// An unsigned claim to have seen more of this history than there is: anybody can make it up, so it changes nothing. A signed grant that is
/// shown proves it.
fn note_seen(app: &App, seen: Option<&Position>) {
    let here = app.position();
    if let Some(seen) = seen
        && seen.lineage == here.lineage
        && seen.index > here.index
        && app.shown.says_seen(app.boot_ms())
    {
        tracing::debug!(seen = %seen, here = %here, "a client says that it has seen more of this history than is committed");
    }
}

/// Refuses what would be denied again, before it costs a decision.
fn not_too_often(app: &App, conn: &Conn, lease: LeaseId) -> Result<(), Problem> {
    let Some(wait_ms) = conn.address().and_then(|address| app.denials.wait_ms(address, app.boot_ms())) else { return Ok(()) };
    // Who holds a seat, waits or lets one linger is not asking in a loop.
    if app.driver.view().lease_state(lease).is_some() {
        return Ok(());
    }
    let problem = Problem::new(ErrorCode::RateLimited, "too many requests from this address were denied")
        .hint("wait in line with `wait_ms` instead of asking again");
    Err(Problem { retry_after_ms: Some(wait_ms), ..problem })
}

fn charge(app: &App, conn: &Conn) {
    if let Some(address) = conn.address() {
        app.denials.charge(address, app.boot_ms());
    }
}

pub(super) async fn checkout(app: &Arc<App>, conn: &Conn, request: Request<Incoming>) -> Answer {
    let at_once = wants_answer_at_once(request.headers());
    let asked: CheckoutRequest = body(request, LEASE_BODY_BYTES_MAX).await?;
    trust::vendor_keys(&asked.vendor_keys)?;
    if asked.attempt == 0 {
        return Err(bad("attempt: counts from 1"));
    }
    let lease = asked.secret.lease_id();
    note_seen(app, asked.seen.as_ref());
    not_too_often(app, conn, lease)?;
    let items = convert::items(&asked.items)?;
    let holder = holder::of(asked.holder, conn)?;
    let content = convert::content(&holder, &items, &asked.vendor_keys);
    let vendor_keys: Vec<[u8; 32]> = asked.vendor_keys.iter().map(|key| key.0).collect();
    let id = convert::to_core(lease);
    let nonce = asked.nonce.0;
    // Read before the decision: a grant that a newer license feeds brings its text.
    let licenses_now = app.licenses.load(Ordering::Acquire);

    let network = conn.network();
    let (attempt, ttl_ms, wait_ms, regained) = (asked.attempt, asked.ttl_ms, asked.wait_ms, asked.regained);
    let command = match &asked.shown {
        Some(shown) => {
            let shown = Box::new(shown_grant(app, lease, &asked.items, shown)?);
            let [next_lineage, _] = halves(crate::identity::random());
            let (next_lineage, vendor_keys) = (triquest_allocator::Lineage(next_lineage), vendor_keys.clone());
            Command::Adopt {
                lease: id,
                attempt,
                content,
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
            Command::Checkout { lease: id, attempt, content, holder, vendor_keys, items, ttl_ms, wait_ms, regained, network }
        }
    };
    let answer = match wait_ms {
        Some(1..) if !at_once => {
            let mut stopping = app.stopping.clone();
            tokio::select! {
                answer = app.driver.decide_waiting(command, nonce, held_ms(ttl_ms)) => answer,
                // Whoever waits keeps the place and asks again.
                _ = stopping.wait_for(|stopping| *stopping) => Err(driver::DriverError::Stopping),
            }
        }
        _ => app.driver.decide(command, Some(nonce)).await,
    };
    let driver::Answer { outcome, position, signed } = answer.map_err(Refused::from)?;
    if matches!(outcome, Outcome::Denied(_)) {
        charge(app, conn);
    }
    if let Outcome::Refused(triquest_allocator::Refusal::LicenseUnknown(license)) = &outcome {
        app.shown.misses(*license);
    }
    let licenses = match &outcome {
        // A repeat may be charged elsewhere than when it was granted; a connection that has seen the present texts needs none.
        Outcome::Granted(grant) if grant.granted_in.is_some() || conn.shown_licenses.load(Ordering::Acquire) != licenses_now => {
            texts(app, grant)
        }
        _ => Vec::new(),
    };
    json(&convert::checkout_answer(outcome, position, signed, licenses, vendor_keys.len())?)
}

/// `Prefer: wait=0` (RFC 7240): whoever waits is told the place now; a client does so when it first asks, so that its user sees it.
fn wants_answer_at_once(headers: &hyper::HeaderMap) -> bool {
    headers.get_all("prefer").iter().any(|value| value.as_bytes() == b"wait=0")
}

/// How long a waiting request is held: less than a third of the time to live, so that what is granted meanwhile is worth something.
fn held_ms(ttl_ms: Option<u64>) -> u64 {
    let third = ttl_ms.unwrap_or(triquest_allocator::limits::TTL_MS_DEFAULT) / 3;
    third.saturating_sub(1).min(WAIT_HELD_MS_MAX).min(ANSWER_MS_MAX)
}

/// The texts of the licenses that a grant is charged to.
fn texts(app: &App, grant: &triquest_allocator::Grant) -> Vec<String> {
    let mut hashes: Vec<LicenseHash> = grant.items.iter().flat_map(|item| item.from.iter().map(|from| from.0)).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes.into_iter().filter_map(|hash| app.driver.view().license_file(hash)).collect()
}

/// Two halves of what is random.
fn halves(bytes: [u8; 32]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    halves[0].copy_from_slice(&bytes[..16]);
    halves[1].copy_from_slice(&bytes[16..]);
    halves
}

/// Checks the signature and form of a grant that the client shows. What it says of our history is for the allocator to judge.
fn shown_grant(app: &App, lease: LeaseId, items: &[triquest_wire::lease::Item], shown: &SignedGrant) -> Result<ShownGrant, Problem> {
    let no = |why: &str| bad(format!("shown: {why}"));
    let key: &PublicKey = app.server_key.public();
    statement::verify(key, statement::StatementKind::Grants, &shown.statement.0, &shown.signature.0)
        .map_err(|_| no("not signed by this server"))?;
    let root: GrantsStatement = serde_json::from_slice(&shown.statement.0).map_err(|_| no("no statement over grants"))?;
    let path: Vec<[u8; 32]> = shown.path.iter().map(|hash| hash.0).collect();
    if !merkle::verify_path(&merkle::leaf_hash(&shown.grant.0), shown.position, root.size, &path, &root.root.0) {
        return Err(no("the grant is not among those that were signed"));
    }
    let grant: GrantPayload = serde_json::from_slice(&shown.grant.0).map_err(|_| no("no grant"))?;
    if grant.lease != lease {
        return Err(no("it is the grant of another lease"));
    }
    let same = grant.items.len() == items.len()
        && grant
            .items
            .iter()
            .zip(items)
            .all(|(granted, item)| (&granted.feature, &granted.version, granted.seats) == (&item.feature, &item.version, item.seats));
    if !same {
        return Err(no("it grants other parts"));
    }
    if !app.driver.view().knows_lineage(root.lineage) && app.shown.is_foreign(app.boot_ms()) {
        tracing::error!(
            lineage = %root.lineage,
            "grants of a history that this server's does not come from bear its key: another server runs on a copy of its data directory"
        );
    }
    let part = |item: &triquest_wire::trust::GrantedItem| {
        let feature = triquest_license::FeatureName::new(&item.feature).map_err(|_| no("no feature"))?;
        let from = item.from.iter().map(|from| (LicenseHash::from_bytes(from.license.0), from.entitlement, from.seats));
        Ok(ShownItem { feature, from: from.collect() })
    };
    Ok(ShownGrant {
        lineage: triquest_allocator::Lineage(root.lineage.0),
        epoch: triquest_allocator::Epoch(root.epoch),
        instance: triquest_allocator::Instance(root.instance.0),
        index: triquest_allocator::Index(root.index),
        ttl_ms: grant.ttl_ms,
        items: grant.items.iter().map(part).collect::<Result<_, Problem>>()?,
    })
}

/// One renewal as a command.
fn renewal(asked: &RenewRequest) -> Command {
    Command::Renew {
        lease: convert::to_core(asked.secret.lease_id()),
        counter: asked.counter,
        nonce: asked.nonce.0,
        idle_ms: asked.idle_ms,
        presence: asked.presence,
        regained: asked.regained,
    }
}

pub(super) async fn renew(app: &Arc<App>, conn: &Conn, lease: LeaseId, request: Request<Incoming>) -> Answer {
    let asked: RenewRequest = body(request, LEASE_BODY_BYTES_MAX).await?;
    own(lease, &asked.secret)?;
    note_seen(app, asked.seen.as_ref());
    let answer = app.driver.decide(renewal(&asked), None).await.map_err(Refused::from)?;
    json(&renewed(conn, &asked, answer)?)
}

fn renewed(conn: &Conn, asked: &RenewRequest, answer: driver::Answer) -> Result<RenewAnswer, Problem> {
    let driver::Answer { outcome, position, .. } = answer;
    if let Outcome::Refused(triquest_allocator::Refusal::ClonedClient) = &outcome {
        tracing::warn!(lease = %asked.secret.lease_id(), address = ?conn.address(), "two clients use one lease: same counter, other nonce");
    }
    convert::renew_answer(outcome, position, asked.nonce, asked.counter)
}

pub(super) async fn renew_many(app: &Arc<App>, conn: &Conn, request: Request<Incoming>) -> Answer {
    let asked: RenewBatchRequest = body(request, BODY_BYTES_MAX).await?;
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
    for renewal in &renewals {
        note_seen(app, renewal.seen.as_ref());
    }
    let answers = app.driver.decide_many(renewals.iter().map(renewal).collect()).await.map_err(Refused::from)?;
    let answers = renewals
        .iter()
        .zip(answers)
        .map(|(asked, answer)| renewed(conn, asked, answer).map_or_else(RenewResult::Refused, RenewResult::from))
        .collect();
    json(&RenewBatchAnswer { answers })
}

pub(super) async fn release(app: &Arc<App>, conn: &Conn, lease: LeaseId, request: Request<Incoming>) -> Answer {
    let asked: SecretRequest = body(request, LEASE_BODY_BYTES_MAX).await?;
    own(lease, &asked.secret)?;
    // Releasing what was never known is an entry too, so it is bounded as denials are.
    let known = app.driver.view().lease_state(lease).is_some();
    if !known {
        not_too_often(app, conn, lease)?;
    }
    let command = Command::Release { lease: convert::to_core(lease), network: conn.network() };
    let answer = app.driver.decide(command, None).await.map_err(Refused::from)?;
    if !known {
        charge(app, conn);
    }
    match answer.outcome {
        Outcome::Released { linger_ms } => json(&ReleaseAnswer { outcome: ReleaseOutcome::Released, position: answer.position, linger_ms }),
        // What has ended in another way has nothing left to give back.
        Outcome::Ended { .. } => json(&ReleaseAnswer { outcome: ReleaseOutcome::Released, position: answer.position, linger_ms: 0 }),
        Outcome::Refused(refusal) => Err(convert::refused(&refusal)),
        other => Err(convert::unexpected(&other)),
    }
}

pub(super) async fn inspect(app: &Arc<App>, lease: LeaseId, request: Request<Incoming>) -> Answer {
    let asked: SecretRequest = body(request, LEASE_BODY_BYTES_MAX).await?;
    own(lease, &asked.secret)?;
    let view = app.driver.view();
    let position = view.position();
    match view.lease(lease) {
        Some(status) => json(&LeaseList { position, leases: vec![status], next: None }),
        None => Err(Problem::new(ErrorCode::UnknownLease, "there is no such lease, waiter or lingering seat now")),
    }
}

pub(super) async fn presence(app: &Arc<App>, conn: &Conn, request: Request<Incoming>) -> Answer {
    if !conn.http1 {
        return Err(
            bad("a presence connection must be HTTP/1.1: the end of the connection is what it tells").hint("offer only http/1.1 by ALPN")
        );
    }
    let asked: PresenceRequest = body(request, LEASE_BODY_BYTES_MAX.max(PRESENCE_LEASES_MAX * 80)).await?;
    if asked.leases.is_empty() {
        return Err(bad("leases: needs at least one"));
    }
    if asked.leases.len() > PRESENCE_LEASES_MAX {
        return Err(Problem::new(
            ErrorCode::LimitReached,
            format!("leases: {} of them, at most {PRESENCE_LEASES_MAX} are taken", asked.leases.len()),
        ));
    }
    let view = app.driver.view();
    let mut leases: Vec<LeaseId> = asked.leases.iter().map(|lease| lease.secret.lease_id()).collect();
    leases.sort_unstable();
    leases.dedup();
    leases.retain(|lease| matches!(view.lease_state(*lease), Some(LeaseState::Live | LeaseState::Ending)));
    let generation = asked.generation;
    let ends_agree = conn.ends_agree(asked.client, asked.server) && !app.vouches_for_proxies();
    let opened = |lease: &LeaseId| Command::PresenceOpened { lease: convert::to_core(*lease), generation, ends_agree };
    let opened = leases.iter().map(opened).collect::<Vec<_>>();
    let mut position = app.position();
    if !opened.is_empty() {
        let answers = app.driver.decide_many(opened).await.map_err(Refused::from)?;
        position = answers.last().map_or(position, |answer| answer.position);
    }
    let live = u32::try_from(leases.len()).unwrap_or(u32::MAX);
    conn.stand_for(leases.into_iter().map(|lease| (convert::to_core(lease), generation)).collect());
    json(&PresenceAnswer { position, live, ends_agree })
}

/// A page's size from the query: at least 1, at most the limit.
fn limit(text: Option<&str>) -> Result<usize, Problem> {
    match text.map(str::parse::<usize>) {
        None => Ok(LIST_ROWS_MAX),
        Some(Ok(rows @ 1..=LIST_ROWS_MAX)) => Ok(rows),
        Some(_) => Err(bad(format!("limit: needs a number from 1 to {LIST_ROWS_MAX}"))),
    }
}

pub(super) fn list(app: &App, request: &Request<Incoming>) -> Answer {
    let [feature, vendor, state, after, rows] = query(request, ["feature", "vendor", "state", "after", "limit"])?;
    let state = state
        .map(|state| serde_json::from_value::<LeaseState>(state.into()))
        .transpose()
        .map_err(|_| bad("state: needs `ending`, `lingering`, `live` or `waiting`"))?;
    let after = after.map(|after| after.parse::<LeaseId>()).transpose().map_err(|why| bad(format!("after: {why}")))?;
    json(&app.driver.view().leases(&LeaseFilter { feature, vendor, state }, after, limit(rows.as_deref())?))
}

pub(super) fn status(app: &App, conn: &Conn, request: &Request<Incoming>) -> Answer {
    let [feature, after, rows] = query(request, ["feature", "after", "limit"])?;
    let rows = limit(rows.as_deref())?;
    let view = app.driver.view();
    let page = view.pools(feature.as_deref(), after.as_deref(), rows);
    json(&Status {
        position: page.position,
        server_key: app.server_key.to_string(),
        instance: Bytes32(app.instance),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: app.uptime_ms(),
        time_at: triquest_license::CivilMs(view.now().1).to_string(),
        clock: app.driver.clock_state(),
        journal: app.driver.journal_state(),
        quarantine_ms: view.quarantine_ms(),
        clock_says: view.clock_refused_ms().map(|ms| triquest_license::CivilMs(ms).to_string()),
        presence_off: if super::sees_names(app, conn) {
            let off = view.presence_off(PRESENCE_OFF_SHOWN_MAX).into_iter();
            off.map(|(address, remaining_ms)| PresenceOff { address, remaining_ms }).collect()
        } else {
            Vec::new()
        },
        unknown_licenses: app.shown.unknown_licenses(),
        foreign_grants: app.shown.foreign(),
        leases: view.live_leases(),
        pools: page.pools,
        next: page.next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_request_is_held_less_than_a_third_of_its_time_to_live() {
        assert!(held_ms(Some(30_000)) < 10_000);
        assert_eq!(held_ms(Some(2)), 0);
        assert!(held_ms(None) <= WAIT_HELD_MS_MAX);
    }
}
