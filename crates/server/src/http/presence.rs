//! Presence connections: opened here, changed from other connections, and found again by the name that their opening was told.
//!
//! Who knows that name may change what the connection stands for, and needs the secret of each lease that it adds or drops.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Request;
use parking_lot::Mutex;
use tokio::sync::Notify;
use triquest_allocator::{Between, Command, NamedNetwork, Network};
use triquest_engine::TookEffect;
use triquest_wire::{
    Bytes16, Effect, ErrorCode, LeaseId, Position, Problem,
    lease::{Freeing, PresenceAnswer, PresenceChangeAnswer, PresenceChangeRequest, PresenceRequest, SecretRequest},
    limits::{PRESENCE_BODY_BYTES_MAX, PRESENCE_LEASES_MAX},
    status::LeaseState,
};

use super::{Answer, App, Arriving, Refused, bad, body, convert, json};
use crate::{
    accept::{Conn, Stand, Unchanged},
    driver::DriverError,
    gate::Rated,
    limits::{PRESENCE_END_AGAIN_MS, TURNED_AWAY_AGAIN_MS},
    prefix::Prefix,
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

/// Ranges in `presence_networks` whose connections were turned away before anybody knew whose they were, until the leader was told.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    named: BTreeSet<NamedNetwork>,
    /// And some of which nobody knows where they came from.
    elsewhere: bool,
}

impl Pending {
    fn commands(self) -> Vec<Command> {
        let ranges = self.named.into_iter().map(Some).chain(self.elsewhere.then_some(None));
        ranges.map(|named| Command::PresenceTurnedAway { named }).collect()
    }
}

/// The widest of the named ranges that an address lies in: a client that comes back may come from any address of it, whatever narrower ones are named too.
fn widest(named: &[Prefix], address: IpAddr) -> Option<NamedNetwork> {
    named.iter().filter(|named| named.contains(address)).min_by_key(|named| named.bits()).map(|named| named.named())
}

impl App {
    /// A connection from this address had to wait or was turned away before anybody knew whose it was; none if the address is not known either. In a
    /// range that the administrator named it may be that of a client that comes back: nothing of that range is freed early for a while.
    pub fn turned_away(&self, address: Option<IpAddr>) {
        let live = self.live.load();
        let Some(address) = address else {
            if !live.presence_networks.is_empty() {
                self.gate.note(Kind::ReopeningsAnywhere, None);
                self.turned_away.pending.lock().elsewhere = true;
                self.turned_away.wake.notify_one();
            }
            return;
        };
        let Some(named) = widest(&live.presence_networks, address) else { return };
        self.gate.note(Kind::Reopenings, Some(Network::from(address)));
        self.turned_away.pending.lock().named.insert(named);
        self.turned_away.wake.notify_one();
    }

    /// Tells the leader of networks whose connections are turned away, for ever.
    pub(crate) async fn tell_turned_away(&self) {
        loop {
            self.turned_away.wake.notified().await;
            let commands = std::mem::take(&mut *self.turned_away.pending.lock()).commands();
            while let Err(DriverError::Overloaded(TookEffect::No)) = self.driver.local().decide_many(commands.clone()).await {
                tokio::time::sleep(Duration::from_millis(PRESENCE_END_AGAIN_MS)).await;
            }
            tokio::time::sleep(Duration::from_millis(TURNED_AWAY_AGAIN_MS)).await;
        }
    }

    /// An opening or a change that adds these leases was refused: their client lives, whatever ended its connection in a named network.
    async fn refuses_presence(&self, conn: &Conn, leases: &[LeaseId]) {
        if self.live.load().presence_networks.is_empty() {
            return;
        }
        let live = leases.iter().filter(|lease| self.is_live(**lease));
        let refused = live.map(|lease| Command::PresenceRefused { lease: convert::to_core(*lease) });
        if self.decide_for(conn, refused.collect()).await.is_err() {
            self.turned_away(conn.address());
        }
    }

    /// Reads a body that may tell of a client that comes back.
    async fn presence_body<T: serde::de::DeserializeOwned>(
        &self,
        conn: &Conn,
        request: &mut Request<Arriving>,
        bytes_max: usize,
    ) -> Result<T, Problem> {
        body(self, conn, request, bytes_max).await.inspect_err(|problem| {
            if matches!(problem.code, ErrorCode::Overloaded | ErrorCode::RateLimited) {
                self.turned_away(conn.address());
            }
        })
    }

    /// A presence connection has ended, and is not to be found any more.
    pub fn presence_ended(&self, name: [u8; 16]) {
        self.presences.forget(name);
    }

    /// Takes these networks for the named ones from now on, as soon as the leader knows if some address was of them that is not any more.
    /// Returns how many unnamings there have been with this one.
    ///
    /// # Errors
    /// The leader could not be told; then nothing has changed.
    pub(crate) async fn tell_unnamed(&self, fresh: &[Prefix]) -> Result<u64, DriverError> {
        let before = self.live.load_full();
        if before.presence_networks.iter().all(|named| fresh.iter().any(|fresh| named.is_within(fresh))) {
            return Ok(before.unnamings);
        }
        // Told before the new ones are in force: an end that is looked up meanwhile by the old ones is known by how many unnamings it knew, and whoever comes back to them
        // still keeps its seats.
        let unnamings = before.unnamings + 1;
        while let Err(cause) = self.driver.local().decide_many(vec![Command::PresenceUnnamed { unnamings }]).await {
            match cause {
                DriverError::Overloaded(_) => tokio::time::sleep(Duration::from_millis(PRESENCE_END_AGAIN_MS)).await,
                cause => return Err(cause),
            }
        }
        Ok(unnamings)
    }

    /// What stands between the two ends of a presence connection, which its client sees so.
    fn between(&self, conn: &Conn, client: SocketAddr, server: SocketAddr) -> Between {
        let live = self.live.load();
        if conn.address().is_some_and(|address| live.is_named(address)) {
            return Between::Named;
        }
        if !conn.ends_agree(client, server) {
            return Between::Something;
        }
        // The connection that ends here may be a proxy's.
        if live.vouch_for.is_empty() { Between::Nothing } else { Between::Something }
    }

    /// Whether a lease is live now, as far as this server shows it.
    #[must_use]
    pub fn is_live(&self, lease: LeaseId) -> bool {
        matches!(self.driver.view().lease_state(lease), Some(LeaseState::Live | LeaseState::Ending))
    }

    /// Which of these leases are live now. What was never known here is charged, as new ids are.
    fn live_among(&self, conn: &Conn, mut leases: Vec<LeaseId>) -> Result<Vec<LeaseId>, Problem> {
        let unknown = leases.iter().filter(|lease| self.driver.view().lease_state(**lease).is_none()).count();
        self.gate.charge(Rated::NewIds, conn.network(), unknown as u64)?;
        leases.retain(|lease| self.is_live(*lease));
        Ok(leases)
    }

    /// Tells that a connection of this generation has ended which stood for these leases, when it is its turn; not if only its network's name made its end
    /// count, and that is named no more.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn tell_ends(
        &self,
        conn: &Conn,
        leases: &[triquest_allocator::LeaseId],
        generation: u64,
        between: Between,
    ) -> Result<(), DriverError> {
        let _turn = self.ends.acquire().await.map_err(|_| DriverError::Stopping(TookEffect::No))?;
        let live = self.live.load_full();
        if between == Between::Named && !conn.address().is_some_and(|address| live.is_named(address)) {
            return Ok(());
        }
        let (network, unnamings) = (conn.network(), live.unnamings);
        let closed = leases.iter().map(|lease| Command::PresenceClosed { lease: *lease, generation, network, unnamings });
        self.driver.local().decide_many(closed.collect()).await.map(drop)
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

pub(super) async fn open(app: &Arc<App>, conn: &Arc<Conn>, request: &mut Request<Arriving>) -> Answer {
    if !conn.is_http1() {
        return Err(
            bad("a presence connection must be HTTP/1.1: the end of the connection is what it tells").hint("offer only http/1.1 by ALPN")
        );
    }
    let asked: PresenceRequest = app.presence_body(conn, request, PRESENCE_BODY_BYTES_MAX).await?;
    if asked.leases.is_empty() {
        return Err(bad("leases: needs at least one"));
    }
    if asked.leases.len() > PRESENCE_LEASES_MAX {
        return Err(too_many("leases", asked.leases.len()));
    }
    let leases = ids(&asked.leases);
    match open_for(app, conn, &asked, &leases).await {
        Ok(answer) => json(&answer),
        Err(problem) => {
            app.refuses_presence(conn, &leases).await;
            Err(problem)
        }
    }
}

/// Lets the connection stand for those of these leases that are live.
async fn open_for(app: &App, conn: &Arc<Conn>, asked: &PresenceRequest, leases: &[LeaseId]) -> Result<PresenceAnswer, Problem> {
    let leases: Vec<_> = app.live_among(conn, leases.to_vec())?.into_iter().map(convert::to_core).collect();
    if leases.is_empty() {
        return Err(Problem::new(ErrorCode::UnknownLease, "leases: none of them is live here, so the connection would stand for nobody")
            .hint("open it again when one of them was granted or renewed here"));
    }
    let place = app.gate.presence(conn.network(), leases.len()).map_err(|by| app.gate.too_much_presence(conn.network(), by))?;
    let (connection, generation, between) = (app.presences.number(), asked.generation, app.between(conn, asked.client, asked.server));
    if between == Between::Something && !conn.ends_agree(asked.client, asked.server) {
        // Only where it changes something for somebody: over the Unix socket there is no network that could be named.
        app.gate.note(Kind::Translated, conn.network());
    }
    let opened = leases.iter().map(|lease| Command::PresenceOpened { lease: *lease, connection, generation, between });
    let position = app.decide_for(conn, opened.collect()).await?;
    let live = u32::try_from(leases.len()).unwrap_or(u32::MAX);
    let name = crate::identity::random();
    app.presences.open.lock().insert(name, Arc::downgrade(conn));
    conn.stand_for(Stand { name, number: connection, generation, between, leases: leases.into_iter().collect(), place });
    conn.ranks(app.holders(), |lease| app.is_live(LeaseId(lease.0)));
    let frees = match between {
        Between::Named => Freeing::AfterWait,
        Between::Nothing => Freeing::AtOnce,
        Between::Something => Freeing::Never,
    };
    Ok(PresenceAnswer { position, connection: Bytes16(name), live, frees })
}

pub(super) async fn change(app: &Arc<App>, conn: &Conn, request: &mut Request<Arriving>) -> Answer {
    let asked: PresenceChangeRequest = app.presence_body(conn, request, 2 * PRESENCE_BODY_BYTES_MAX).await?;
    for (member, leases) in [("add", &asked.add), ("drop", &asked.drop)] {
        if leases.len() > PRESENCE_LEASES_MAX {
            return Err(too_many(member, leases.len()));
        }
    }
    // Nothing is computed for whoever does not know the name of a connection.
    let stands = app.presences.find(asked.connection.0).ok_or_else(unknown)?;
    let (add, drop) = (ids(&asked.add), ids(&asked.drop));
    if add.iter().any(|lease| drop.binary_search(lease).is_ok()) {
        return Err(bad("add and drop: a lease stands in both"));
    }
    match change_to(app, conn, &stands, asked.generation, &add, drop).await {
        Ok(answer) => json(&answer),
        Err(problem) => {
            app.refuses_presence(conn, &add).await;
            Err(problem)
        }
    }
}

/// Lets the connection stand for those of `add` that are live as well, and for `drop` no more.
async fn change_to(
    app: &App,
    conn: &Conn,
    stands: &Conn,
    generation: u64,
    add: &[LeaseId],
    drop: Vec<LeaseId>,
) -> Result<PresenceChangeAnswer, Problem> {
    let add: Vec<_> = app.live_among(conn, add.to_vec())?.into_iter().map(convert::to_core).collect();
    let drop: Vec<_> = drop.into_iter().map(convert::to_core).collect();
    let (connection, between, drop) = stands.change_stand(generation, &add, &drop).map_err(|unchanged| match unchanged {
        Unchanged::Gone => unknown(),
        Unchanged::TooMany(count) => too_many("add", count),
        Unchanged::Over(by) => app.gate.too_much_presence(stands.network(), by),
    })?;
    stands.ranks(app.holders(), |lease| app.is_live(LeaseId(lease.0)));
    let live = u32::try_from(add.len()).unwrap_or(u32::MAX);
    let dropped = drop.into_iter().map(|lease| Command::PresenceDropped { lease, connection, generation, between });
    let added = add.into_iter().map(|lease| Command::PresenceAdded { lease, connection, generation, between });
    // Whatever becomes of the commands, what the connection stands for has changed by now.
    let unsure = |problem| Problem { took_effect: Effect::Unknown, ..problem };
    let position = app.decide_for(conn, dropped.chain(added).collect()).await.map_err(unsure)?;
    if !stands.is_standing() {
        // It ended meanwhile, and its end says nothing of what was added: the client opens another one.
        return Err(unsure(unknown()));
    }
    Ok(PresenceChangeAnswer { position, live })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn where_named_ranges_lie_within_one_another_the_widest_is_spared() {
        let named: Vec<Prefix> = ["10.1.0.0/16", "10.0.0.0/8", "192.0.2.0/24"].map(|text| text.parse().unwrap()).into();
        let of = |text: &str| widest(&named, text.parse().unwrap());
        assert_eq!(of("10.1.0.7"), Some(named[1].named()));
        assert_eq!(of("192.0.2.7"), Some(named[2].named()));
        assert_eq!(of("198.51.100.7"), None);
        let mut pending = Pending::default();
        pending.named.extend(["10.1.0.7", "10.2.0.7", "192.0.2.7"].map(|text| of(text).unwrap()));
        assert_eq!(pending.commands().len(), 2);
        let anywhere = Pending { elsewhere: true, ..Pending::default() };
        assert!(matches!(anywhere.commands()[..], [Command::PresenceTurnedAway { named: None }]));
    }
}
