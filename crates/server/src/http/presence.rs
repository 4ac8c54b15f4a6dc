//! Presence connections: opened here, changed from other connections, and found again by the name that their opening was told.
//!
//! Who knows that name may change what the connection stands for, and needs the secret of each lease that it adds or drops.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use http::Request;
use hyper::body::Incoming;
use parking_lot::Mutex;
use triquest_allocator::{Between, Command};
use triquest_wire::{
    Bytes16, ErrorCode, LeaseId, Position, Problem,
    lease::{Freeing, PresenceAnswer, PresenceChangeAnswer, PresenceChangeRequest, PresenceRequest, SecretRequest},
    limits::{PRESENCE_BODY_BYTES_MAX, PRESENCE_LEASES_MAX},
    status::LeaseState,
};

use super::{Answer, App, Refused, bad, body, convert, json};
use crate::{
    accept::{Conn, Stand},
    seldom::Kind,
    ticket::origin,
};

/// The presence connections that stand, by the name that only their clients were told.
#[derive(Debug, Default)]
pub(crate) struct Presences {
    open: Mutex<BTreeMap<[u8; 16], Weak<Conn>>>,
    /// Numbers them within this start.
    last: AtomicU64,
}

impl Presences {
    fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn find(&self, name: [u8; 16]) -> Option<Arc<Conn>> {
        self.open.lock().get(&name).and_then(Weak::upgrade)
    }

    /// It has ended.
    pub(crate) fn forget(&self, name: [u8; 16]) {
        self.open.lock().remove(&name);
    }
}

impl App {
    /// A presence connection has ended, and is not to be found any more.
    pub fn presence_ended(&self, name: [u8; 16]) {
        self.presences.forget(name);
    }

    /// What stands between the two ends of a presence connection, which its client sees so.
    fn between(&self, conn: &Conn, client: SocketAddr, server: SocketAddr) -> Between {
        let live = self.live.load();
        let named = |address| live.presence_networks.iter().any(|network| network.contains(address));
        if conn.address().is_some_and(named) {
            return Between::Named;
        }
        if !conn.ends_agree(client, server) {
            // Only where it changes something for somebody: over the Unix socket there is no network that could be named.
            self.gate.note(Kind::Translated, conn.network());
            return Between::Something;
        }
        // The connection that ends here may be a proxy's.
        if live.vouch_for.is_empty() { Between::Nothing } else { Between::Something }
    }

    /// Which of these leases are live now, each once.
    fn live_among(&self, asked: &[SecretRequest]) -> Vec<LeaseId> {
        let view = self.driver.view();
        let mut leases = ids(asked);
        leases.retain(|lease| matches!(view.lease_state(*lease), Some(LeaseState::Live | LeaseState::Ending)));
        leases
    }

    async fn decide_for(&self, conn: &Conn, commands: Vec<Command>) -> Result<Position, Problem> {
        if commands.is_empty() {
            return Ok(self.position());
        }
        let answers = self.driver.from(origin(conn)).decide_many(commands).await.map_err(Refused::from)?;
        let mut position = self.position();
        for answer in answers {
            position = answer.map_err(Refused::from)?.position;
        }
        Ok(position)
    }
}

fn ids(asked: &[SecretRequest]) -> Vec<LeaseId> {
    let mut leases: Vec<LeaseId> = asked.iter().map(|lease| lease.secret.lease_id()).collect();
    leases.sort_unstable();
    leases.dedup();
    leases
}

fn too_many(member: &str, count: usize) -> Problem {
    Problem::new(ErrorCode::LimitReached, format!("{member}: {count} leases, one connection stands for at most {PRESENCE_LEASES_MAX}"))
        .hint("open another connection, with a generation of its own")
}

fn unknown() -> Problem {
    Problem::new(ErrorCode::UnknownConnection, "there is no such presence connection, or it has ended")
        .hint("open a new one, with a higher generation")
}

pub(super) async fn open(app: &Arc<App>, conn: &Arc<Conn>, request: &mut Request<Incoming>) -> Answer {
    if !conn.is_http1() {
        return Err(
            bad("a presence connection must be HTTP/1.1: the end of the connection is what it tells").hint("offer only http/1.1 by ALPN")
        );
    }
    let asked: PresenceRequest = body(app, conn, request, PRESENCE_BODY_BYTES_MAX).await?;
    if asked.leases.is_empty() {
        return Err(bad("leases: needs at least one"));
    }
    if asked.leases.len() > PRESENCE_LEASES_MAX {
        return Err(too_many("leases", asked.leases.len()));
    }
    let leases: Vec<_> = app.live_among(&asked.leases).into_iter().map(convert::to_core).collect();
    let (connection, generation, between) = (app.presences.number(), asked.generation, app.between(conn, asked.client, asked.server));
    let opened = leases.iter().map(|lease| Command::PresenceOpened { lease: *lease, connection, generation, between });
    let position = app.decide_for(conn, opened.collect()).await?;
    let live = u32::try_from(leases.len()).unwrap_or(u32::MAX);
    let name = crate::identity::random();
    app.presences.open.lock().insert(name, Arc::downgrade(conn));
    conn.stand_for(Stand { name, number: connection, generation, between, leases: leases.into_iter().collect() });
    let frees = match between {
        Between::Named => Freeing::AfterWait,
        Between::Nothing => Freeing::AtOnce,
        Between::Something => Freeing::Never,
    };
    json(&PresenceAnswer { position, connection: Bytes16(name), live, frees })
}

pub(super) async fn change(app: &Arc<App>, conn: &Conn, request: &mut Request<Incoming>) -> Answer {
    let asked: PresenceChangeRequest = body(app, conn, request, 2 * PRESENCE_BODY_BYTES_MAX).await?;
    for (member, leases) in [("add", &asked.add), ("drop", &asked.drop)] {
        if leases.len() > PRESENCE_LEASES_MAX {
            return Err(too_many(member, leases.len()));
        }
    }
    let (add, drop) = (app.live_among(&asked.add), ids(&asked.drop));
    if ids(&asked.add).iter().any(|lease| drop.binary_search(lease).is_ok()) {
        return Err(bad("add and drop: a lease stands in both"));
    }
    let (add, drop): (Vec<_>, Vec<_>) = (add.into_iter().map(convert::to_core).collect(), drop.into_iter().map(convert::to_core).collect());
    let generation = asked.generation;
    let stands = app.presences.find(asked.connection.0).ok_or_else(unknown)?;
    let (connection, between) =
        stands.change_stand(generation, &add, &drop).ok_or_else(unknown)?.map_err(|count| too_many("add", count))?;
    let live = u32::try_from(add.len()).unwrap_or(u32::MAX);
    let dropped = drop.into_iter().map(|lease| Command::PresenceDropped { lease, connection, generation, between });
    let added = add.into_iter().map(|lease| Command::PresenceAdded { lease, connection, generation, between });
    let position = app.decide_for(conn, dropped.chain(added).collect()).await?;
    if !stands.is_standing() {
        // It ended meanwhile, and its end says nothing of what was added: the client opens another one.
        return Err(unknown());
    }
    json(&PresenceChangeAnswer { position, live })
}
