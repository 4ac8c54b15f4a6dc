//! The stream of events (server-sent events, as the HTML standard has them), resumable by position.
//!
//! `id` of each frame is `LINEAGE.EPOCH.INDEX.NUMBER`; a client repeats the last one it saw in `Last-Event-ID` or `?after=` and misses
//! nothing. Names are for viewers. A reader that does not read is cut off, not waited for.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, header};
use hyper::body::Bytes;
use tokio::sync::mpsc;
use triquest_allocator::{
    Actor, Claim, DequeueReason, Event, GrantedItem, Holder, InstalledLeftOut, PoolId, ReleaseCause, RightEnd, Timestamp,
};
use triquest_journal::record::Entry;
use triquest_license::{CivilMs, LicenseHash, Word};
use triquest_wire::{
    ErrorCode, LeaseId, Lineage, Position, Problem,
    event::{EventActor, EventBody, EventDenials, EventFacts, EventItem, EventLeftOut, EventPool},
    limits::{EVENT_KEEP_ALIVE_MS, EVENT_WRITE_MS_MAX},
    status::HolderStatus,
};

use super::{Answer, App, Arriving, Body, bad, convert, query};
use crate::{
    accept::Conn,
    feed::{Begin, BeginError, FeedError},
    gate::Rated,
    limits::EVENT_PIECE_BYTES,
    view::{View, wire_end_reason},
};

/// Pieces that wait for a reader.
const PIECES_MAX: usize = 4;

/// What `from` may say: the oldest event that is kept.
pub(super) const OLDEST: &str = "oldest";

/// A cursor: after this event of this entry, or after the whole entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    position: Position,
    number: Option<u32>,
}

impl Cursor {
    fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || bad("after: needs LINEAGE.EPOCH.INDEX or LINEAGE.EPOCH.INDEX.NUMBER, as the `id` of an event says");
        if let Ok(position) = text.parse() {
            return Ok(Self { position, number: None });
        }
        let (position, number) = text.rsplit_once('.').ok_or_else(wrong)?;
        Ok(Self { position: position.parse().map_err(|_| wrong())?, number: Some(number.parse().map_err(|_| wrong())?) })
    }
}

pub(super) fn stream(app: &Arc<App>, conn: &Arc<Conn>, request: &Request<Arriving>) -> Answer {
    let [after, from] = query(request, ["after", "from"])?;
    let header = request
        .headers()
        .get("last-event-id")
        .map(|value| value.to_str().map(str::to_owned))
        .transpose()
        .map_err(|_| bad("Last-Event-ID: not text"))?;
    if from.as_ref().is_some_and(|from| from != OLDEST) {
        return Err(bad(format!("from: only {OLDEST:?} is known")));
    }
    if after.is_some() && from.is_some() {
        return Err(bad("`after` and `from` cannot both say where to begin"));
    }
    // A browser that reconnects repeats the URL of its first request, so what it saw since counts more.
    let cursor = header.filter(|text| !text.is_empty()).or(after).map(|text| Cursor::parse(&text)).transpose()?;
    let lost = || {
        Problem::new(ErrorCode::CursorLost, "this history does not know the cursor: it is of another history, or ahead of this one")
            .hint("read the present state (`GET /v1/status`, `GET /v1/leases`) and go on without a cursor")
    };
    let place = app.gate.event_stream(conn.network())?;
    let reading = app.gate.reading(Rated::Reads, conn.network())?;
    let names = app.sees_names(conn);
    let begin = match (cursor, from) {
        // An entry that was seen in part is read again, and what was seen of it left out.
        (Some(Cursor { position, number: Some(_) }), _) if position.index > 0 => {
            Begin::After(Position { index: position.index - 1, ..position })
        }
        (Some(Cursor { position, .. }), _) => Begin::After(position),
        (None, Some(_)) => Begin::Oldest,
        (None, None) => Begin::Now,
    };
    let feed = app.driver.feed();
    if cursor.is_some_and(|cursor| !feed.knows(cursor.position)) {
        return Err(lost());
    }
    // The past is read from the journal, between two appends: that is for viewers.
    let reader = if names { feed.reader(begin) } else { feed.live_reader(begin) };
    let mut reader = reader.map_err(|error| match error {
        BeginError::Past => Problem::new(ErrorCode::Forbidden, "the events from there on are in the past, which is for viewers")
            .hint("go on without a place to begin, or run `triquest-lm events` on the server's own machine"),
        BeginError::CursorLost => lost(),
    })?;
    // Only who may see the names of licenses has them looked up.
    let mut licenses: Names = if names { app.driver.view().license_names().into_iter().collect() } else { Names::new() };
    drop(reading);
    let (pieces, frames) = mpsc::channel(PIECES_MAX);
    let (app, conn, under_way) = (Arc::clone(app), Arc::clone(conn), conn.under_way());
    let http1 = conn.is_http1();
    tokio::spawn(async move {
        let _held = (place, under_way);
        let mut stopping = app.stopping.clone();
        // Tells the reader at once that it is connected.
        if !sent(&pieces, &conn, ": triquest-lm events\nretry: 2000\n\n".to_owned()).await {
            return;
        }
        loop {
            let next = tokio::select! {
                next = reader.next() => Some(next),
                () = tokio::time::sleep(Duration::from_millis(EVENT_KEEP_ALIVE_MS)) => None,
                () = pieces.closed() => return,
                _ = stopping.changed() => return,
            };
            let last = match next {
                None => Some(": still here\n\n"),
                Some(Ok(entries)) => {
                    let mut text = String::new();
                    for entry in &entries {
                        for frame in frames_of(entry, app.driver.view(), names, cursor, &mut licenses) {
                            text.push_str(&frame);
                            if text.len() >= EVENT_PIECE_BYTES && !sent(&pieces, &conn, std::mem::take(&mut text)).await {
                                return;
                            }
                        }
                    }
                    if !text.is_empty() && !sent(&pieces, &conn, text).await {
                        return;
                    }
                    continue;
                }
                Some(Err(error)) => last_frame(error, names),
            };
            let Some(text) = last else { return };
            if !sent(&pieces, &conn, text.to_owned()).await || !text.starts_with(':') {
                return;
            }
        }
    });
    let mut response = Response::new(Body::Stream(frames));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    if http1 {
        // A stream that ends is resumed on another connection.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// The frame with which a stream ends, if there is something to say. Who does not see `names` has no way back into the past, so a cursor is lost to it.
fn last_frame(error: FeedError, names: bool) -> Option<&'static str> {
    match error {
        FeedError::Behind if names => Some("event: behind\ndata: {\"hint\":\"resume with the last id\"}\n\n"),
        FeedError::Behind | FeedError::CursorLost => {
            Some("event: cursor_lost\ndata: {\"hint\":\"read the present state and go on without a cursor\"}\n\n")
        }
        FeedError::Stopping => None,
    }
}

/// False if the reader is gone, or has not taken what waits for it in time.
async fn sent(pieces: &mpsc::Sender<Bytes>, conn: &Conn, piece: String) -> bool {
    match tokio::time::timeout(Duration::from_millis(EVENT_WRITE_MS_MAX), pieces.send(piece.into())).await {
        Ok(Ok(())) => true,
        Ok(Err(_)) => false,
        Err(_) => {
            // What waits for a reader that does not read would hold the connection open.
            conn.give_up();
            false
        }
    }
}

/// Id and vendor of the licenses that were installed when the stream began or are in it: what is removed is not in the view any more.
type Names = HashMap<LicenseHash, (String, String)>;

/// One frame for each event, made one after the other as they are sent. JSON has no raw line ends, so no value can end a frame or begin another
/// field.
fn frames_of<'a>(
    entry: &'a Entry,
    view: &'a View,
    names: bool,
    cursor: Option<Cursor>,
    licenses: &'a mut Names,
) -> impl Iterator<Item = String> + 'a {
    let position = Position { lineage: Lineage(entry.lineage.0), epoch: entry.epoch.0, index: entry.index.0 };
    let seen = cursor
        .filter(|cursor| cursor.position.index == position.index && cursor.position.epoch == position.epoch)
        .and_then(|cursor| cursor.number);
    let time = CivilMs(entry.moment.wall_ms).to_string();
    (0u32..).zip(&entry.events).filter_map(move |(number, event)| {
        if let Event::LicenseInstalled { license, terms, .. } = event
            && names
        {
            licenses.insert(*license, (terms.license.to_string(), terms.vendor.clone()));
        }
        if seen.is_some_and(|seen| number <= seen) {
            return None;
        }
        let facts = facts(event, entry.moment.at, view, names, licenses);
        if let Event::LicenseRemoved { license, .. } = event {
            licenses.remove(license);
        }
        let body = EventBody::new(position, number, entry.moment.at.0, time.clone(), &facts);
        let data = serde_json::to_string(&body).ok()?;
        Some(format!("id: {position}.{number}\nevent: {}\ndata: {data}\n\n", body.kind))
    })
}

/// Kind and members of an event; `docs/reference/events.md` lists them.
fn facts(event: &Event, at: Timestamp, view: &View, names: bool, licenses: &Names) -> EventFacts {
    let of = |lease: &triquest_allocator::LeaseId| LeaseId(lease.0);
    let who = |holder: &Holder| names.then(|| holder_of(holder));
    let by = |actor: &Actor| names.then(|| EventActor { name: actor.name.clone(), reason: actor.reason.clone() });
    let by_some = |actor: &Option<Actor>| actor.as_ref().and_then(by);
    let parts = |items: &[GrantedItem]| items.iter().map(|item| part(item, view)).collect::<Vec<_>>();
    let pools = |pools: &[PoolId]| {
        let named = pools.iter().filter_map(|pool| view.pool_name(*pool));
        named.map(|(vendor, feature)| EventPool { vendor, feature }).collect::<Vec<_>>()
    };
    // Which licenses there are is for viewers, as the list of them is.
    let license = |hash: &LicenseHash| licenses.get(hash).filter(|_| names).cloned().unzip();
    let hashed = |hash: &LicenseHash| names.then(|| hash.to_string());
    let seen_pools = |counted: &[PoolId]| if names { pools(counted) } else { Vec::new() };
    let outside = |left_out: &[InstalledLeftOut]| if names { outside(left_out) } else { Vec::new() };
    let until = |until: &Option<triquest_allocator::Timestamp>| until.map(|until| until.0);
    match event {
        Event::Adopted { lease, holder, items, ttl_ms, .. } => {
            EventFacts::Adopted { lease: of(lease), holder: who(holder), items: parts(items), ttl_ms: *ttl_ms }
        }
        Event::ChargeMoved { lease, item, from, to, seats } => {
            EventFacts::ChargeMoved { lease: of(lease), item: u32::from(*item), from: from.0, to: to.0, seats: *seats }
        }
        Event::ClockAccepted { wall_ms, actor } => EventFacts::ClockAccepted { clock: CivilMs(*wall_ms).to_string(), actor: by(actor) },
        Event::ClockMarked => EventFacts::ClockMarked {},
        Event::ClockStepped { from_ms, to_ms, believed } => {
            EventFacts::ClockStepped { from: CivilMs(*from_ms).to_string(), to: CivilMs(*to_ms).to_string(), believed: *believed }
        }
        Event::Denied { lease, attempt, holder, denial, .. } => {
            EventFacts::Denied { lease: of(lease), attempt: *attempt, holder: who(holder), denial: convert::denial(denial, 1) }
        }
        Event::DenialsCounted { since, pools, elsewhere } => {
            let (mut counted, mut elsewhere) = (Vec::with_capacity(pools.len()), *elsewhere);
            for (pool, denials) in pools {
                match view.pool_name(*pool) {
                    Some((vendor, feature)) => counted.push(EventDenials { vendor, feature, denials: *denials }),
                    None => elsewhere += denials,
                }
            }
            EventFacts::DenialsCounted { since_ms: since.0, pools: counted, elsewhere }
        }
        Event::Dequeued { lease, reason, denial: _ } => EventFacts::Dequeued { lease: of(lease), reason: dequeued(*reason).to_owned() },
        Event::Ending { lease, due, reason, actor } => {
            EventFacts::Ending { lease: of(lease), due_ms: due.0, reason: wire_end_reason(*reason), actor: by_some(actor) }
        }
        Event::Ended { lease, due, reason, linger_until, items, actor } => EventFacts::Ended {
            lease: of(lease),
            reason: wire_end_reason(*reason),
            items: parts(items),
            linger_until_ms: until(linger_until),
            promised_until_ms: Some(due.0).filter(|due| *due > at.0),
            actor: by_some(actor),
        },
        Event::EntitlementBegan { entitlement } => EventFacts::EntitlementBegan { entitlement: entitlement.0 },
        Event::EntitlementEnded { entitlement, reason } => {
            EventFacts::EntitlementEnded { entitlement: entitlement.0, reason: right_end(*reason).to_owned() }
        }
        Event::Forgot { until } => EventFacts::Forgot { until_ms: until.0 },
        Event::Granted { lease, attempt, holder, items, ttl_ms, claim_due, .. } => EventFacts::Granted {
            lease: of(lease),
            attempt: *attempt,
            holder: who(holder),
            items: parts(items),
            ttl_ms: *ttl_ms,
            from_queue: claim_due.is_some(),
        },
        Event::Heard { lease } => EventFacts::Heard { lease: of(lease) },
        Event::EntitlementsUnderstood { license: hash, left_out, pools: counted, .. } => {
            let (pools, left_out) = (seen_pools(counted), outside(left_out));
            EventFacts::EntitlementsUnderstood { hash: hashed(hash), license: license(hash).0, pools, left_out }
        }
        Event::FormatRaised { words, .. } => EventFacts::FormatRaised { words: words.iter().map(ToString::to_string).collect() },
        Event::LicenseChecked { license: hash, problem } => {
            let why = problem.as_ref().map(|why| if names { why.clone() } else { "its signatures are not good".to_owned() });
            EventFacts::LicenseChecked { hash: hashed(hash), license: license(hash).0, problem: why }
        }
        Event::WordsAccepted { lease, words } => {
            EventFacts::WordsAccepted { lease: of(lease), words: words.iter().map(ToString::to_string).collect() }
        }
        Event::LicenseInstalled { license: hash, terms, pools: counted, actor, .. } => {
            let (id, vendor) = license(hash);
            let (pools, left_out) = (seen_pools(counted), outside(&terms.left_out));
            EventFacts::LicenseInstalled { hash: hashed(hash), license: id, vendor, pools, left_out, actor: by(actor) }
        }
        Event::LicenseRemoved { license: hash, reason, actor } => {
            let (id, vendor) = license(hash);
            let reason = right_end(*reason).to_owned();
            EventFacts::LicenseRemoved { hash: hashed(hash), license: id, vendor, reason, actor: by(actor) }
        }
        Event::LingerEnded { lease, items } => EventFacts::LingerEnded { lease: of(lease), items: parts(items) },
        Event::PoolOpened { pool, feature, .. } => {
            EventFacts::PoolOpened { vendor: view.pool_name(*pool).map(|name| name.0), feature: feature.to_string() }
        }
        Event::LineageBegan { lineage, quarantine_until, lease, epoch, index, .. } => EventFacts::LineageBegan {
            lineage: triquest_wire::Lineage(lineage.0),
            quarantine_until_ms: quarantine_until.0,
            lease: of(lease),
            shown_epoch: epoch.0,
            shown_index: index.0,
        },
        Event::LinesResumed { claim_due } => EventFacts::LinesResumed { claim_due_ms: claim_due.0 },
        Event::PresenceAllowed { networks, actor } => {
            EventFacts::PresenceAllowed { network: names.then(|| networks.to_string()), actor: by(actor) }
        }
        Event::PresenceRegretted { lease, networks, until } => {
            let network = networks.filter(|_| names).map(|networks| networks.to_string());
            EventFacts::PresenceRegretted { lease: of(lease), network, until_ms: until.0 }
        }
        Event::Queued { lease, attempt, holder, items, gives_up, .. } => {
            EventFacts::Queued { lease: of(lease), attempt: *attempt, holder: who(holder), items: parts(items), gives_up_ms: gives_up.0 }
        }
        Event::QuarantineEnded { actor } => EventFacts::QuarantineEnded { actor: by_some(actor) },
        Event::QuarantineLengthened { until } => EventFacts::QuarantineLengthened { until_ms: until.0 },
        Event::Recovered { epoch, quarantine_until, .. } => {
            EventFacts::Recovered { epoch: epoch.0, quarantine_until_ms: until(quarantine_until) }
        }
        Event::ReplacementUndone { license: hash, entitlements, .. } => EventFacts::ReplacementUndone {
            hash: hashed(hash),
            license: license(hash).0,
            entitlements: entitlements.iter().map(|right| right.0).collect(),
        },
        Event::Released { lease, cause, linger_until, items } => EventFacts::Released {
            lease: of(lease),
            cause: release(*cause).to_owned(),
            items: parts(items),
            linger_until_ms: until(linger_until),
        },
        Event::ReleasedUnknown { lease, network: _ } => EventFacts::ReleasedUnknown { lease: of(lease) },
        Event::TtlLowered { lease, ttl_ms, not_before } => {
            EventFacts::TtlLowered { lease: of(lease), ttl_ms: *ttl_ms, not_before_ms: not_before.0 }
        }
        Event::TtlRaised { lease, ttl_ms } => EventFacts::TtlRaised { lease: of(lease), ttl_ms: *ttl_ms },
        Event::VendorKeys { name, keys, .. } => {
            // With them anybody gets the texts of this vendor's licenses.
            let keys = keys.iter().filter(|_| names).map(|key| triquest_wire::Bytes32(*key));
            EventFacts::VendorKeys { vendor: name.clone(), keys: keys.collect() }
        }
        Event::PoolsMerged { pools, .. } => EventFacts::PoolsMerged { pools: pools.len() as u64 },
        Event::VendorsMerged { .. } => EventFacts::VendorsMerged {},
        Event::WaiterHeard { lease } => EventFacts::WaiterHeard { lease: of(lease) },
    }
}

fn outside(left_out: &[InstalledLeftOut]) -> Vec<EventLeftOut> {
    let words = |out: &InstalledLeftOut| out.unknown.iter().map(Word::to_string).collect();
    left_out.iter().map(|out| EventLeftOut { entitlement: out.position, unknown_words: words(out) }).collect()
}

fn part(item: &GrantedItem, view: &View) -> EventItem {
    let (vendor, feature) = view.pool_name(item.pool).unwrap_or_default();
    EventItem { vendor, feature, version: item.version.as_ref().map(ToString::to_string), seats: item.seats }
}

fn holder_of(holder: &Holder) -> HolderStatus {
    let claim = |claim: &Option<Claim>| {
        claim.as_ref().map(|claim| triquest_wire::status::Claim { value: claim.value.clone(), proved: claim.proved })
    };
    let Holder { user, host, display, session, address, container, process, job, project } = holder;
    HolderStatus {
        user: claim(user),
        host: claim(host),
        display: claim(display),
        session: claim(session),
        address: claim(address),
        container: claim(container),
        process: claim(process),
        job: claim(job),
        project: claim(project),
    }
}

fn dequeued(reason: DequeueReason) -> &'static str {
    match reason {
        DequeueReason::Hopeless => "hopeless",
        DequeueReason::Released => "released",
        DequeueReason::Silent => "silent",
        DequeueReason::WaitOver => "wait_over",
    }
}

fn release(cause: ReleaseCause) -> &'static str {
    match cause {
        ReleaseCause::Holder => "holder",
        ReleaseCause::Presence => "presence",
    }
}

fn right_end(reason: RightEnd) -> &'static str {
    match reason {
        RightEnd::Expired => "expired",
        RightEnd::Removed => "removed",
        RightEnd::Replaced => "replaced",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cursor_names_an_entry_or_an_event_in_it() {
        let lineage = "0123456789abcdef0123456789abcdef";
        let whole = Cursor::parse(&format!("{lineage}.2.7")).unwrap();
        assert_eq!((whole.position.epoch, whole.position.index, whole.number), (2, 7, None));
        assert_eq!(Cursor::parse(&format!("{lineage}.2.7.3")).unwrap().number, Some(3));
        for wrong in [
            "",
            "7",
            "a.b.c",
            &format!("{lineage}.2"),
            &format!("{lineage}.2.7.x"),
            &format!("{lineage}.2.7.3.1"),
            &format!("{lineage}.-2.7"),
        ] {
            assert!(Cursor::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_who_may_read_the_past_is_told_to_resume_after_it_fell_behind() {
        let told = |error, names| last_frame(error, names).and_then(|frame| frame.lines().next());
        assert_eq!(told(FeedError::Behind, true), Some("event: behind"));
        assert_eq!(told(FeedError::Behind, false), Some("event: cursor_lost"));
        for names in [true, false] {
            assert_eq!(told(FeedError::CursorLost, names), Some("event: cursor_lost"));
            assert_eq!(told(FeedError::Stopping, names), None);
        }
    }
}
