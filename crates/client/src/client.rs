//! A client of one vendor's program: finds the servers, checks seats out, keeps them on one background thread.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use triquest_license::{FeatureName, ServerKey, VerifierKey, VerifierKeys, Version};
use triquest_wire::{
    ErrorCode, LeaseId, Problem, Retry, Secret,
    lease::{DenialCode, EndReason, HolderClaim, Item, ReleaseAnswer, SecretRequest},
    limits::ITEMS_PER_CHECKOUT_MAX,
    status::{LeaseList, LeaseState, Status},
};

use crate::{
    address::{ServerAddress, ServerList},
    clock,
    error::{Error, ErrorKind, Tried},
    holder,
    keeper::{Failure, Now, Phase, REOPEN_MS_MAX, spread},
    limits::{
        CALL_MS_MIN, CHECKOUT_MS_MAX, DROP_MS_MAX, LAST_WORD_MS, LOOK_MS_MAX, PRESENCE_MS_MAX, PRESENCE_RETRY_MS,
        PRESENCE_USELESS_RETRY_MS, QUARANTINE_LOOK_MS, RELEASE_AGAIN_MS, RELEASE_CALL_MS_MAX, RELEASE_LAST_MS, STEP_MS_MAX, UNREACHABLE_MS,
        WATCH_MS_MAX,
    },
    lookup::{self, Looked, Lookup, Place},
    presence::{Opened, Presence},
    remember::Remembered,
    seat::{Callbacks, HeldUp, InLine, Seat, SeatCore, Warning, Wish},
    standing::{Leases, Standing, Step},
    transport::{CallError, Deadlines, Directory, Rejected, Seen, Session},
};

/// A client of one vendor. Cheap to clone; all clones share their connections and the background thread.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    holder: HolderClaim,
    callbacks: Callbacks,
}

/// How a client is set up. Only [`ClientBuilder::verifier_keys`] is required.
#[derive(Clone, Default)]
pub struct ClientBuilder {
    servers: Option<String>,
    lookup: Option<Lookup>,
    cache: Cache,
    keys: Vec<String>,
    any_server: bool,
    deadlines: Deadlines,
    callbacks: Callbacks,
    project: Option<String>,
}

/// Where the last good server is remembered.
#[derive(Clone, Default)]
enum Cache {
    /// In this folder, or in this process only.
    In(Option<PathBuf>),
    /// `$XDG_CACHE_HOME/triquest-lm`, or `~/.cache/triquest-lm`.
    #[default]
    Usual,
}

/// A checkout that is being put together.
#[must_use = "nothing is asked for until `take`"]
pub struct Checkout {
    client: Client,
    items: Vec<Item>,
    holder: HolderClaim,
    ttl: Option<Duration>,
    wait: Option<Duration>,
    callbacks: Callbacks,
    cancel: Option<Cancel>,
}

/// Ends a checkout that waits, from another thread.
#[derive(Clone, Default)]
pub struct Cancel {
    state: Arc<CancelState>,
}

#[derive(Default)]
struct CancelState {
    cancelled: AtomicBool,
    waiting: Mutex<Option<(Arc<Shared>, Arc<Session>)>>,
}

/// How far a step may go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    /// Boot time by which calls are back.
    pub(crate) until: Option<u64>,
    /// On the background thread, which has other seats too: a server that was dead a moment ago is not tried again.
    pub(crate) in_background: bool,
    /// Somebody waits for the answer: such a server is tried all the same.
    pub(crate) anyway: bool,
}

/// A server that proved itself, for people and for `doctor`.
#[derive(Clone, Debug)]
pub struct ServerProof {
    /// As it was named.
    pub server: ServerAddress,
    /// The address that answered.
    pub address: std::net::SocketAddr,
    /// Its key.
    pub server_key: ServerKey,
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS certificate.
    pub tls_spki: [u8; 32],
    /// Random for each start: one key with two instances is a clone.
    pub instance: [u8; 32],
    /// Its civil time when it answered less this computer's at half of the round trip, milliseconds.
    pub clock_ahead_ms: i64,
    /// How long its answer took, milliseconds: clocks that differ by no more than this may be the same.
    pub round_trip_ms: u64,
    /// Licenses of this vendor that name it.
    pub licenses: Vec<triquest_license::VerifiedLicense>,
    /// Licenses of this vendor that any server may serve, where that is not accepted.
    pub left_aside: Vec<triquest_license::VerifiedLicense>,
}

/// Why an attempt to release did not.
struct Unreleased {
    error: Error,
    /// It may be tried again in so long.
    again_in_ms: Option<u64>,
}

/// In how long a refused release may be sent again, if that is of any use.
fn release_again_in_ms(problem: &Problem) -> Option<u64> {
    let is_for_now = matches!(problem.code.retry(), Retry::SameId | Retry::Later);
    is_for_now.then(|| problem.retry_after_ms.unwrap_or(0).max(RELEASE_AGAIN_MS))
}

/// What all handles and the background thread share.
pub(crate) struct Shared {
    directory: Directory,
    sessions: Mutex<BTreeMap<ServerKey, Arc<Session>>>,
    /// Until when (boot time) servers count as unreachable for the thread; none stands for all of them.
    unreachable: Mutex<BTreeMap<Option<ServerKey>, u64>>,
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    seats: Vec<Arc<SeatCore>>,
    running: bool,
    /// Grows when something must be looked at again.
    version: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Begins to set up a client.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client with the vendor's verifier keys (one or more, with commas), and the servers that are named outside the program ([`lookup`]), connected.
    ///
    /// # Errors
    /// As for [`ClientBuilder::connect`].
    pub fn connect(verifier_keys: &str) -> Result<Self, Error> {
        Self::builder().verifier_keys(verifier_keys).connect()
    }

    /// Begins a checkout of one seat of a feature.
    pub fn checkout(&self, feature: &str) -> Checkout {
        Checkout {
            client: self.clone(),
            items: vec![Item { feature: feature.to_owned(), version: None, seats: 1 }],
            holder: self.inner.holder.clone(),
            ttl: None,
            wait: None,
            callbacks: self.inner.callbacks.clone(),
            cancel: None,
        }
    }

    /// The servers in the order in which they are named.
    #[must_use]
    pub fn servers(&self) -> &ServerList {
        &self.inner.shared.directory.found.servers
    }

    /// Where the servers are named.
    #[must_use]
    pub fn servers_from(&self) -> &Place {
        &self.inner.shared.directory.found.from
    }

    /// Every place that was looked at for servers, in order; the last one named them.
    #[must_use]
    pub fn looked(&self) -> &[Looked] {
        &self.inner.shared.directory.found.looked
    }

    /// The verifier keys that it trusts.
    #[must_use]
    pub fn verifier_keys(&self) -> &VerifierKeys {
        self.inner.shared.keys()
    }

    /// Reaches a server and lets it prove itself.
    ///
    /// # Errors
    /// [`ErrorKind::NoServer`] and [`ErrorKind::NotTrusted`].
    pub fn prove(&self) -> Result<ServerProof, Error> {
        let shared = &self.inner.shared;
        let session = shared.directory.open(&[], None).map_err(|tried| shared.no_server(tried))?;
        let trusted = session.trusted();
        let (sent, answered) = session.asked();
        let proof = ServerProof {
            server: session.address().clone(),
            address: session.peer(),
            server_key: *trusted.server_key(),
            tls_spki: session.tls_spki(),
            instance: trusted.instance,
            clock_ahead_ms: trusted.server_time_ms.saturating_sub(sent.wall_ms.midpoint(answered.wall_ms)),
            round_trip_ms: answered.boot_ms.saturating_sub(sent.boot_ms),
            licenses: trusted.licenses().to_vec(),
            left_aside: trusted.left_aside().to_vec(),
        };
        drop(trusted);
        shared.remember(&session);
        Ok(proof)
    }

    /// The counts of a feature, or of all features, from a server that proved itself.
    ///
    /// # Errors
    /// [`ErrorKind::NoServer`], [`ErrorKind::NotTrusted`], [`ErrorKind::Refused`].
    pub fn status(&self, feature: Option<&FeatureName>) -> Result<Status, Error> {
        self.status_where(feature.map(|feature| format!("feature={feature}")))
    }

    /// The same of those pools only that are of the vendor whose keys this client has: which vendor has which keys, servers tell only those who know one.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn status_of_vendor(&self, feature: Option<&FeatureName>) -> Result<Status, Error> {
        let keys: Vec<String> = crate::verify::vendor_keys(self.inner.shared.keys()).iter().map(ToString::to_string).collect();
        let feature = feature.map_or_else(String::new, |feature| format!("&feature={feature}"));
        self.status_where(Some(format!("vendor_keys={}{feature}", keys.join(","))))
    }

    fn status_where(&self, query: Option<String>) -> Result<Status, Error> {
        let shared = &self.inner.shared;
        let session = shared.any_session(&[], None)?;
        let path = query.map_or_else(|| "/v1/status".to_owned(), |query| format!("/v1/status?{query}"));
        session.get(&path, session.deadlines().call).map_err(|error| shared.call_failed(&session, error))
    }

    /// Whether the server still has this lease, whose secret is known. Asking is no renewal. `server`: who granted it.
    ///
    /// # Errors
    /// [`ErrorKind::NoServer`], [`ErrorKind::NotTrusted`], [`ErrorKind::Refused`].
    pub fn holds(&self, secret: Secret, server: &ServerKey) -> Result<bool, Error> {
        let shared = &self.inner.shared;
        let session = shared.session(Some(server), Bounds::default()).map_err(|tried| shared.no_server(tried))?;
        let path = format!("/v1/leases/{}/inspect", secret.lease_id());
        match session.post::<LeaseList>(&path, &SecretRequest { secret }, session.deadlines().call) {
            Ok(list) => Ok(list.leases.iter().any(|lease| matches!(lease.state, LeaseState::Live | LeaseState::Ending))),
            Err(CallError::Problem(problem)) if problem.code == ErrorCode::UnknownLease => Ok(false),
            Err(error) => Err(shared.call_failed(&session, error)),
        }
    }

    /// Gives back a lease whose secret is known, of a lease file for example. Says why it had ended before, if not by a release. `server`: who granted it. While no server answers, or it refuses for now, this is
    /// tried again for `within`, not before the pause is over that the server asks for, and once more at the end whatever pause that is; an attempt that has
    /// begun by then takes two seconds at most.
    ///
    /// # Errors
    /// [`ErrorKind::NoServer`], [`ErrorKind::NotTrusted`], [`ErrorKind::Refused`].
    pub fn release(&self, secret: Secret, server: &ServerKey, within: Duration) -> Result<Option<EndReason>, Error> {
        let shared = &self.inner.shared;
        let gives_up = clock::now().boot_ms.saturating_add(whole_ms(within));
        let last_at = gives_up.saturating_sub(RELEASE_LAST_MS);
        loop {
            let unreleased = match shared.release(secret, server) {
                Ok(ended) => return Ok(ended),
                Err(unreleased) => unreleased,
            };
            let now = clock::now().boot_ms;
            let Some(pause_ms) = unreleased.again_in_ms.filter(|_| now < last_at) else { return Err(unreleased.error) };
            shared.pause_until(now.saturating_add(pause_ms).min(last_at));
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("servers", self.servers()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Seats that were dropped are given back before the program goes on, if the server answers soon; else presence or time frees them.
        lock(&self.shared.work).seats.iter().for_each(|seat| seat.awaits_release());
        self.shared.wait_idle(Duration::from_millis(DROP_MS_MAX));
    }
}

impl ClientBuilder {
    /// The servers, as `1588@host`, `host:port` or `[v6]:port`, several with commas. Without it they are named outside the program ([`lookup`]).
    #[must_use]
    pub fn servers(mut self, servers: impl Into<String>) -> Self {
        self.servers = Some(servers.into());
        self
    }

    /// Other places for servers than the usual ones.
    #[must_use]
    pub fn lookup(mut self, lookup: Lookup) -> Self {
        self.lookup = Some(lookup);
        self
    }

    /// The folder that remembers which of several servers answered last, so that it is tried first; `None` remembers it in this process only. Usually
    /// `$XDG_CACHE_HOME/triquest-lm` or `~/.cache/triquest-lm`.
    #[must_use]
    pub fn remember_in(mut self, folder: Option<PathBuf>) -> Self {
        self.cache = Cache::In(folder);
        self
    }

    /// The vendor's verifier keys (`name+id+key`), several with commas. Embed them in the program: nothing in the environment changes them.
    #[must_use]
    pub fn verifier_keys(mut self, keys: impl Into<String>) -> Self {
        self.keys.push(keys.into());
        self
    }

    /// Accepts licenses with `servers = "any"`, which anyone who has the file can serve. For demonstrations only.
    #[must_use]
    pub fn accept_any_server(mut self) -> Self {
        self.any_server = true;
        self
    }

    /// The project that the use is booked to.
    #[must_use]
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Name, connection, handshake and trust exchange with one server take no longer (10 s).
    #[must_use]
    pub fn connect_timeout(mut self, after: Duration) -> Self {
        self.deadlines.connect = after;
        self
    }

    /// One call takes no longer (10 s).
    #[must_use]
    pub fn call_timeout(mut self, after: Duration) -> Self {
        self.deadlines.call = after;
        self
    }

    /// Hears warnings of all seats: a late renewal, grace, a seat that ends or is being regained.
    #[must_use]
    pub fn on_late(mut self, callback: impl Fn(Warning) + Send + Sync + 'static) -> Self {
        self.callbacks.on_late = Some(Arc::new(callback));
        self
    }

    /// Hears that a seat is lost: the program must stop using the feature. [`Error::may_come_back`] says whether it is still asked for; it hears once more if
    /// that ends later.
    #[must_use]
    pub fn on_lost(mut self, callback: impl Fn(Error) + Send + Sync + 'static) -> Self {
        self.callbacks.on_lost = Some(Arc::new(callback));
        self
    }

    /// Hears that all is well again after a warning or a loss.
    #[must_use]
    pub fn on_regained(mut self, callback: impl Fn() + Send + Sync + 'static) -> Self {
        self.callbacks.on_regained = Some(Arc::new(move |()| callback()));
        self
    }

    /// Hears why a checkout waits without a place in line: the server grants nothing to anybody for a while.
    #[must_use]
    pub fn on_held_up(mut self, callback: impl Fn(HeldUp) + Send + Sync + 'static) -> Self {
        self.callbacks.on_held_up = Some(Arc::new(callback));
        self
    }

    /// Hears the place in line.
    #[must_use]
    pub fn on_waiting(mut self, callback: impl Fn(InLine) + Send + Sync + 'static) -> Self {
        self.callbacks.on_waiting = Some(Arc::new(callback));
        self
    }

    /// Makes the client. No license server is asked yet; DNS is, for at most two seconds, if nothing before it names a server.
    ///
    /// # Errors
    /// [`ErrorKind::VerifierKey`], [`ErrorKind::NoServerNamed`] and [`ErrorKind::Invalid`].
    pub fn build(self) -> Result<Client, Error> {
        let mut keys: Vec<VerifierKey> = Vec::new();
        for text in &self.keys {
            keys.extend(text.parse::<VerifierKeys>()?.iter().cloned());
        }
        let keys = VerifierKeys::new(keys)?;
        let mut lookup = self.lookup.unwrap_or_else(Lookup::usual);
        if self.servers.is_some() {
            lookup.argument = self.servers;
        }
        let found = Arc::new(lookup.find()?);
        let folder = match self.cache {
            Cache::In(folder) => folder,
            Cache::Usual => lookup::base_folder("XDG_CACHE_HOME", ".cache").map(|folder| folder.join("triquest-lm")),
        };
        let remembered = Arc::new(Remembered::new(folder.as_deref(), &keys));
        let mut holder = holder::detect();
        if let Some(project) = self.project {
            holder.project = holder::tidy(project);
        }
        let directory =
            Directory { found, remembered, keys, any_server: self.any_server, deadlines: self.deadlines, seen: Arc::new(Seen::default()) };
        let shared = Shared {
            directory,
            sessions: Mutex::default(),
            unreachable: Mutex::default(),
            work: Mutex::new(Work::default()),
            changed: Condvar::new(),
        };
        Ok(Client { inner: Arc::new(Inner { shared: Arc::new(shared), holder, callbacks: self.callbacks }) })
    }

    /// Makes the client, reaches a server and lets it prove itself.
    ///
    /// # Errors
    /// As for [`ClientBuilder::build`], and [`ErrorKind::NoServer`], [`ErrorKind::NotTrusted`].
    pub fn connect(self) -> Result<Client, Error> {
        let client = self.build()?;
        client.inner.shared.any_session(&[], None)?;
        Ok(client)
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Checkout {
    /// Seats of the feature named last (1).
    pub fn seats(mut self, seats: u32) -> Self {
        self.last().seats = seats;
        self
    }

    /// The program's version, such as `12.4`, for the feature named last. Without it any entitlement covers it.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.last().version = Some(version.into());
        self
    }

    /// One more feature: all are granted, or none.
    pub fn and(mut self, feature: &str) -> Self {
        self.items.push(Item { feature: feature.to_owned(), version: None, seats: 1 });
        self
    }

    /// Waits for at most so long if no seat is free, in line; also for a server that grants nothing to anybody for a while, because its disk is full or it was
    /// restored. Without it these are told at once.
    pub fn wait(mut self, at_most: Duration) -> Self {
        self.wait = Some(at_most);
        self
    }

    /// A wished time to live; the license and the server bound it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The project that this use is booked to.
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.holder.project = holder::tidy(project.into());
        self
    }

    /// The batch job, if its system is not one that is known.
    pub fn job(mut self, job: impl Into<String>) -> Self {
        self.holder.job = holder::tidy(job.into());
        self
    }

    /// The process that uses the seat, as `pid` or `pid:name`, if it is not this one.
    pub fn process(mut self, process: impl Into<String>) -> Self {
        self.holder.process = holder::tidy(process.into());
        self
    }

    /// The whole holder, instead of what was detected.
    pub fn holder(mut self, holder: HolderClaim) -> Self {
        self.holder = holder;
        self
    }

    /// Hears warnings: a late renewal, grace, a seat that ends or is being regained.
    pub fn on_late(mut self, callback: impl Fn(Warning) + Send + Sync + 'static) -> Self {
        self.callbacks.on_late = Some(Arc::new(callback));
        self
    }

    /// Hears that the seat is lost: the program must stop using the feature. [`Error::may_come_back`] says whether it is still asked for; it hears once more if
    /// that ends later.
    pub fn on_lost(mut self, callback: impl Fn(Error) + Send + Sync + 'static) -> Self {
        self.callbacks.on_lost = Some(Arc::new(callback));
        self
    }

    /// Hears that all is well again after a warning or a loss.
    pub fn on_regained(mut self, callback: impl Fn() + Send + Sync + 'static) -> Self {
        self.callbacks.on_regained = Some(Arc::new(move |()| callback()));
        self
    }

    /// Hears why it waits without a place in line: the server grants nothing to anybody for a while.
    pub fn on_held_up(mut self, callback: impl Fn(HeldUp) + Send + Sync + 'static) -> Self {
        self.callbacks.on_held_up = Some(Arc::new(callback));
        self
    }

    /// Hears the place in line.
    pub fn on_waiting(mut self, callback: impl Fn(InLine) + Send + Sync + 'static) -> Self {
        self.callbacks.on_waiting = Some(Arc::new(callback));
        self
    }

    /// Lets another thread end the wait.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Takes the seats. Blocks until they are granted, denied, or the wait is over. Every server that is known is asked before it gives up, one after the other;
    /// only if none grants is the one waited for whose denial time may heal.
    ///
    /// # Errors
    /// [`Error`], with a code and whether later may help; [`Error::tried`] has each server with its answer if there are several.
    pub fn take(self) -> Result<Seat, Error> {
        self.check()?;
        // The wait is one span, whatever becomes of servers meanwhile.
        let began = clock::now();
        let ends = self.wait.map(|wait| began.boot_ms.saturating_add(whole_ms(wait)));
        let last_word = ends.map(|ends| ends.saturating_add(LAST_WORD_MS));
        let shared = self.client.inner.shared.clone();
        let listed = shared.directory.found.servers.as_slice().len();
        if listed == 1 {
            let session = shared.any_session(&[], last_word)?;
            return self.ask(&shared, &session, ends);
        }
        let mut asked: Vec<ServerAddress> = Vec::new();
        let mut keys: Vec<(ServerKey, ServerAddress)> = Vec::new();
        let mut tried: Vec<Tried> = Vec::new();
        // Where to wait, and whether there is a line.
        let mut waiting_room: Option<(Arc<Session>, bool)> = None;
        let mut best: Option<Error> = None;
        while asked.len() < listed {
            let session = match shared.any_session(&asked, last_word) {
                Ok(session) => session,
                // No other one answers.
                Err(error) if best.is_none() => return Err(error),
                Err(error) => {
                    tried.extend_from_slice(error.tried());
                    break;
                }
            };
            let (server, key) = (session.address().clone(), session.server_key());
            asked.push(server.clone());
            if let Some((_, first)) = keys.iter().find(|(known, _)| *known == key) {
                tried.push(Tried { server, reason: format!("the same server as {first}"), answered: true });
                continue;
            }
            keys.push((key, server.clone()));
            match self.ask_once(&shared, &session, last_word) {
                Err(error) if is_one_servers_word(error.kind()) => {
                    tried.push(Tried { server, reason: error.explanation().to_owned(), answered: true });
                    if let Some(has_line) = may_be_waited_for(&error)
                        && waiting_room.as_ref().is_none_or(|(_, known)| has_line && !known)
                    {
                        waiting_room = Some((session, has_line));
                    }
                    // The one that gives hope is told, and a denial before a failure, else the first.
                    let worth = |error: &Error| (error.may_help_later(), error.kind() == ErrorKind::Denied);
                    if best.as_ref().is_none_or(|known| worth(&error) > worth(known)) {
                        best = Some(error);
                    }
                }
                outcome => return outcome,
            }
        }
        let outcome = match (waiting_room, self.wait) {
            (Some((session, _)), Some(_)) => self.ask(&shared, &session, ends),
            _ => Err(best.unwrap_or_else(|| Error::failure(Failure::NoAnswer))),
        };
        let order = |tried: &Tried| shared.directory.found.servers.as_slice().iter().position(|server| *server == tried.server);
        tried.sort_by_key(order);
        outcome.map_err(|error| error.with_tried(tried))
    }

    fn last(&mut self) -> &mut Item {
        self.items.last_mut().expect("a checkout begins with one feature and none is ever taken out")
    }

    /// What the server would refuse anyway is told without asking.
    fn check(&self) -> Result<(), Error> {
        let invalid = |code, text: String| Err(Error::new(ErrorKind::Invalid, code, text, false));
        if self.items.len() > ITEMS_PER_CHECKOUT_MAX {
            return invalid(
                "limit_reached",
                format!("{} features in one checkout, at most {ITEMS_PER_CHECKOUT_MAX} are possible", self.items.len()),
            );
        }
        for (i, item) in self.items.iter().enumerate() {
            if let Err(error) = FeatureName::new(&item.feature) {
                return invalid("bad_feature", error.to_string());
            }
            if let Some(Err(error)) = item.version.as_ref().map(|version| version.parse::<Version>()) {
                return invalid("bad_version", error.to_string());
            }
            if item.seats == 0 {
                return invalid("bad_seats", format!("no seat of {} is asked for", item.feature));
            }
            if self.items[..i].iter().any(|other| other.feature == item.feature) {
                return invalid("bad_feature", format!("{} is named twice", item.feature));
            }
        }
        Ok(())
    }

    /// Asks one server until it grants or denies, or until the wait is over that `ends` at this boot time.
    fn ask(&self, shared: &Arc<Shared>, session: &Arc<Session>, ends: Option<u64>) -> Result<Seat, Error> {
        let began = clock::now();
        let Some(ends) = ends else { return self.ask_once(shared, session, None) };
        // The keeper gives up before this.
        let gives_up = ends.max(began.boot_ms).saturating_add(2 * LAST_WORD_MS);
        let until = ends.max(began.boot_ms).saturating_add(LAST_WORD_MS);
        self.ask_until(shared, session, Some(ends.saturating_sub(began.boot_ms)), Some(until), gives_up)
    }

    /// Asks one server without waiting in line, until this boot time at most.
    fn ask_once(&self, shared: &Arc<Shared>, session: &Arc<Session>, until: Option<u64>) -> Result<Seat, Error> {
        let now = clock::now().boot_ms;
        let until = until.map(|until| until.max(now.saturating_add(LAST_WORD_MS)));
        let gives_up = now.saturating_add(CHECKOUT_MS_MAX).min(until.unwrap_or(u64::MAX));
        self.ask_until(shared, session, None, until, gives_up)
    }

    fn ask_until(
        &self,
        shared: &Arc<Shared>,
        session: &Arc<Session>,
        wait_ms: Option<u64>,
        until: Option<u64>,
        gives_up: u64,
    ) -> Result<Seat, Error> {
        let began = clock::now();
        let ttl_ms = self.ttl.map(whole_ms);
        let wish = Wish { items: self.items.clone(), holder: self.holder.clone(), ttl_ms, callbacks: self.callbacks.clone() };
        let core = Arc::new(SeatCore::new(wish, began, wait_ms, session.server_key()));
        if let Some(cancel) = &self.cancel {
            *lock(&cancel.state.waiting) = Some((shared.clone(), session.clone()));
        }
        let outcome = loop {
            if self.cancelled() {
                break Err(Error::new(ErrorKind::Cancelled, "cancelled", "the checkout was cancelled", true));
            }
            core.step(shared, Bounds { until, ..Bounds::default() });
            let now = clock::now();
            match core.phase() {
                Phase::Asking | Phase::Waiting if now.boot_ms >= gives_up => {
                    let held = core.held();
                    break Err(held.problem.as_ref().map_or_else(|| held.error(Failure::NoAnswer), Error::problem));
                }
                Phase::Asking | Phase::Waiting => {
                    let wake = core.next_wake().unwrap_or(gives_up).min(gives_up);
                    let looks = core.waits_out_a_quarantine();
                    let pause = wake.saturating_sub(now.boot_ms).min(if looks { QUARANTINE_LOOK_MS } else { u64::MAX });
                    shared.pause(Duration::from_millis(pause));
                    if looks && clock::now().boot_ms < wake && !self.cancelled() && shared.has_no_quarantine(&session.server_key(), until) {
                        core.asks_soon();
                    }
                }
                Phase::Refused => {
                    let held = core.held();
                    break Err(held.error(held.keeper.cause().unwrap_or(Failure::NoAnswer)));
                }
                _ => break Ok(()),
            }
        };
        if let Some(cancel) = &self.cancel {
            *lock(&cancel.state.waiting) = None;
        }
        match outcome {
            Ok(()) if self.cancelled() => {
                core.release_wanted.store(true, Ordering::Release);
                shared.keep(&core)?;
                Err(Error::new(ErrorKind::Cancelled, "cancelled", "the checkout was cancelled", true))
            }
            Ok(()) => {
                shared.keep(&core)?;
                Ok(Seat { core, shared: shared.clone(), _client: self.client.clone() })
            }
            Err(error) => {
                // What may have been granted meanwhile is given back; what was denied needs no word, nor what certainly took no effect.
                let held = core.held();
                let may_be_held = held.may_be_known && held.keeper.may_be_held();
                drop(held);
                if may_be_held {
                    core.release_wanted.store(true, Ordering::Release);
                    shared.keep(&core)?;
                }
                Err(error)
            }
        }
    }

    fn cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.state.cancelled.load(Ordering::Acquire))
    }
}

/// Whether the time may be waited for at which this server grants, and if so, whether in a line.
fn may_be_waited_for(error: &Error) -> Option<bool> {
    match error.denial() {
        Some(denial) => error.may_help_later().then_some(denial.code != DenialCode::Quarantine),
        None => (error.code() == ErrorCode::DiskFull.as_str()).then_some(false),
    }
}

/// Whether another server may say otherwise.
fn is_one_servers_word(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Denied
        | ErrorKind::Ended
        | ErrorKind::NoServer
        | ErrorKind::NotTrusted
        | ErrorKind::OutcomeUnknown
        | ErrorKind::Refused => true,
        ErrorKind::Cancelled | ErrorKind::Invalid | ErrorKind::NoServerNamed | ErrorKind::System | ErrorKind::VerifierKey => false,
    }
}

impl fmt::Debug for Checkout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout").field("items", &self.items).finish_non_exhaustive()
    }
}

impl Cancel {
    /// A handle that nobody has used.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the checkouts that were given this handle, also one that waits for an answer now. A place in line is given back.
    pub fn cancel(&self) {
        self.state.cancelled.store(true, Ordering::Release);
        if let Some((shared, session)) = lock(&self.state.waiting).take() {
            shared.forget(&session);
            session.shut_down();
            shared.wake();
        }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("cancelled", &self.state.cancelled).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn keys(&self) -> &VerifierKeys {
        &self.directory.keys
    }

    /// A session with this server, or with any.
    pub(crate) fn session(&self, server: Option<&ServerKey>, bounds: Bounds) -> Result<Arc<Session>, Vec<(ServerAddress, Rejected)>> {
        let known = match server {
            Some(key) => lock(&self.sessions).get(key).cloned(),
            None => lock(&self.sessions).values().next().cloned(),
        };
        if let Some(session) = known {
            return Ok(session);
        }
        // On a caller's thread it is tried each time.
        let is_known_dead = lock(&self.unreachable).get(&server.copied()).is_some_and(|at| clock::now().boot_ms < *at);
        if bounds.in_background && !bounds.anyway && is_known_dead {
            return Err(Vec::new());
        }
        match self.directory_within(bounds.until).open(&[], server) {
            Ok(session) => {
                lock(&self.unreachable).remove(&server.copied());
                self.remember(&session);
                Ok(session)
            }
            Err(rejected) => {
                lock(&self.unreachable).insert(server.copied(), clock::now().boot_ms.saturating_add(UNREACHABLE_MS));
                Err(rejected)
            }
        }
    }

    /// A session with a server whose name is not among these.
    fn any_session(&self, skip: &[ServerAddress], until: Option<u64>) -> Result<Arc<Session>, Error> {
        let listed = self.directory.found.servers.as_slice();
        let known = {
            let sessions = lock(&self.sessions);
            // In the order of the list.
            listed
                .iter()
                .filter(|server| !skip.contains(server))
                .find_map(|server| sessions.values().find(|session| session.address() == server).cloned())
        };
        if let Some(session) = known {
            return Ok(session);
        }
        let directory = if until.is_some() { self.directory_within(until) } else { self.directory.clone() };
        let session = directory.open(skip, None).map_err(|tried| self.no_server(tried))?;
        self.remember(&session);
        Ok(session)
    }

    /// The directory whose connections stand by this boot time or not at all.
    fn directory_within(&self, until: Option<u64>) -> Directory {
        let mut directory = self.directory.clone();
        let whole = within(directory.deadlines.connect, until);
        directory.deadlines.dead = directory.deadlines.dead.min(whole / 3);
        directory.deadlines.connect = whole - directory.deadlines.dead;
        directory
    }

    /// Whether a server says that its quarantine is over.
    fn has_no_quarantine(&self, server: &ServerKey, until: Option<u64>) -> bool {
        let Ok(session) = self.session(Some(server), Bounds { until, ..Bounds::default() }) else { return false };
        let status: Result<Status, _> = session.get("/v1/status", within(session.deadlines().call, until));
        match status {
            Ok(status) => status.quarantine_ms.is_none(),
            Err(error) => {
                if !matches!(error, CallError::Problem(_)) {
                    self.forget(&session);
                }
                false
            }
        }
    }

    /// One attempt.
    fn release(&self, secret: Secret, server: &ServerKey) -> Result<Option<EndReason>, Unreleased> {
        let until = clock::now().boot_ms.saturating_add(RELEASE_CALL_MS_MAX);
        let again = |error: Error| Unreleased { again_in_ms: (error.kind() == ErrorKind::NoServer).then_some(RELEASE_AGAIN_MS), error };
        let bounds = Bounds { until: Some(until), ..Bounds::default() };
        let session = self.session(Some(server), bounds).map_err(|tried| again(self.no_server(tried)))?;
        let path = format!("/v1/leases/{}/release", secret.lease_id());
        let answer = session.post::<ReleaseAnswer>(&path, &SecretRequest { secret }, within(session.deadlines().call, bounds.until));
        answer.map(|answer| answer.ended).map_err(|error| match error {
            CallError::Problem(problem) => Unreleased { again_in_ms: release_again_in_ms(&problem), error: Error::problem(&problem) },
            error => again(self.call_failed(&session, error)),
        })
    }

    /// Why none of them is any use, and where they are named.
    fn no_server(&self, tried: Vec<(ServerAddress, Rejected)>) -> Error {
        Error::no_server(tried).with_places(self.directory.found.looked.clone())
    }

    fn remember(&self, session: &Arc<Session>) {
        lock(&self.sessions).insert(session.server_key(), session.clone());
    }

    /// Drops a session after a failure; the next call begins with the whole proof.
    pub(crate) fn forget(&self, session: &Arc<Session>) {
        let mut sessions = lock(&self.sessions);
        let key = session.server_key();
        if sessions.get(&key).is_some_and(|known| Arc::ptr_eq(known, session)) {
            sessions.remove(&key);
        }
    }

    /// A server that let a call run out hangs: it is not asked for the thread's other seats for a while.
    pub(crate) fn hangs(&self, server: ServerKey) {
        lock(&self.unreachable).insert(Some(server), clock::now().boot_ms.saturating_add(UNREACHABLE_MS));
    }

    /// Boot time at which this server answered last; 0 if no connection to it is known to be good.
    fn answered_at(&self, server: Option<&ServerKey>) -> u64 {
        server.and_then(|server| lock(&self.sessions).get(server).map(|session| session.answered_at())).unwrap_or(0)
    }

    fn call_failed(&self, session: &Arc<Session>, error: CallError) -> Error {
        match error {
            CallError::Problem(problem) => Error::problem(&problem),
            CallError::BadAnswer(reason) | CallError::Unreachable(reason) => {
                self.forget(session);
                self.no_server(vec![(session.address().clone(), Rejected::Unreachable(reason))])
            }
        }
    }

    /// Hands a seat to the background thread, which is started if it does not run.
    fn keep(self: &Arc<Self>, core: &Arc<SeatCore>) -> Result<(), Error> {
        let mut work = lock(&self.work);
        work.seats.push(core.clone());
        work.version += 1;
        if !work.running {
            let shared = self.clone();
            thread::Builder::new().name("triquest-lm".into()).spawn(move || shared.work()).map_err(|error| {
                work.seats.pop();
                Error::new(ErrorKind::System, "no_thread", format!("the thread that renews seats could not be started: {error}"), true)
            })?;
            work.running = true;
        }
        self.changed.notify_all();
        Ok(())
    }

    pub(crate) fn wake(&self) {
        lock(&self.work).version += 1;
        self.changed.notify_all();
    }

    /// Waits for so long, or until something changes.
    fn pause(&self, at_most: Duration) {
        let work = lock(&self.work);
        let version = work.version;
        drop(self.changed.wait_timeout_while(work, at_most, |work| work.version == version).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until this boot time.
    fn pause_until(&self, boot_ms: u64) {
        while let left_ms @ 1.. = boot_ms.saturating_sub(clock::now().boot_ms) {
            self.pause(Duration::from_millis(left_ms.min(LOOK_MS_MAX)));
        }
    }

    /// Waits until nothing is kept any more, or what is kept is only what no server can be told of.
    fn wait_idle(&self, at_most: Duration) {
        let work = lock(&self.work);
        let hopeful = |work: &mut Work| work.running && work.seats.iter().any(|seat| !seat.is_cut_off());
        drop(self.changed.wait_timeout_while(work, at_most, hopeful).unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets the background thread look, and waits until something is so no more; false if that takes longer. Callbacks that belong to it have run.
    pub(crate) fn wait_while(&self, at_most: Duration, mut is_so: impl FnMut() -> bool) -> bool {
        self.wake();
        let work = lock(&self.work);
        let (work, timeout) = self.changed.wait_timeout_while(work, at_most, |_| is_so()).unwrap_or_else(PoisonError::into_inner);
        drop(work);
        !timeout.timed_out()
    }

    /// Whether the release was confirmed in time. It is tried once more shortly before the end, whatever pause the server has asked for.
    pub(crate) fn wait_released(&self, core: &Arc<SeatCore>, at_most: Duration) -> bool {
        let last = Duration::from_millis(RELEASE_LAST_MS).min(at_most / 2);
        let is_kept = || lock(&self.work).seats.iter().any(|seat| Arc::ptr_eq(seat, core));
        let waits = |at_most| {
            self.wake();
            let work = lock(&self.work);
            let kept = |work: &mut Work| work.seats.iter().any(|seat| Arc::ptr_eq(seat, core));
            drop(self.changed.wait_timeout_while(work, at_most, kept).unwrap_or_else(PoisonError::into_inner));
        };
        waits(at_most - last);
        if is_kept() {
            core.wants_word();
            waits(last);
        }
        !is_kept() && core.held().release_confirmed
    }

    /// The background thread: keeps every seat until none is left.
    fn work(self: Arc<Self>) {
        let mut presence: BTreeMap<ServerKey, Presences> = BTreeMap::new();
        let generation = AtomicU64::new(0);
        loop {
            let (seats, version) = {
                let mut work = lock(&self.work);
                work.seats.retain(|seat| !is_over(seat));
                if work.seats.is_empty() {
                    work.running = false;
                    self.changed.notify_all();
                    return;
                }
                self.changed.notify_all();
                (work.seats.clone(), work.version)
            };
            // Some connections end where that frees seats after a wait: the thread is never away from them for long.
            let watches = presence.values().any(|place| place.waits);
            // The thread was awake until then, though busy with other seats: none if it may have slept on the way.
            let mut awake = None;
            let mut slept = false;
            for (step, seat) in self.in_turn(&seats).into_iter().enumerate() {
                let before = clock::now();
                if presence.values().any(Presences::has_ended) || (step > 0 && presence.values().any(|place| place.is_due(before.boot_ms)))
                {
                    // The seats after this one have their turn after the openings.
                    break;
                }
                if seat.next_wake().is_none_or(|at| before.boot_ms < at) {
                    continue;
                }
                awake.into_iter().for_each(|until| seat.was_awake(until));
                let soon = watches.then(|| before.boot_ms.saturating_add(WATCH_MS_MAX));
                let until = must_be_back(&seats).into_iter().chain(soon).min();
                seat.step(&self, Bounds { until, in_background: true, anyway: false });
                let after = clock::now();
                slept |= after.boot_ms.saturating_sub(before.boot_ms) >= STEP_MS_MAX;
                awake = Some(after).filter(|_| !slept);
            }
            if let Some(until) = awake {
                seats.iter().for_each(|seat| seat.was_awake(until));
            }
            self.stand_for(&seats, &mut presence, &generation);
            let now = clock::now();
            let reopens = presence.values().filter(|place| place.is_wanting).map(|place| place.retry_at);
            let next = seats.iter().filter_map(|seat| seat.next_wake()).chain(reopens).min().unwrap_or(u64::MAX);
            // Looks now and then: the condition variable's clock stands still while the machine sleeps, and a connection that has ended wakes nobody.
            let look_ms = if presence.values().any(|place| place.waits) { WATCH_MS_MAX } else { LOOK_MS_MAX };
            let pause = Duration::from_millis(next.saturating_sub(now.boot_ms).min(look_ms));
            let work = lock(&self.work);
            let finished = work.seats.iter().any(is_over) || presence.values().any(Presences::has_ended);
            if !finished && !pause.is_zero() {
                drop(self.changed.wait_timeout_while(work, pause, |work| work.version == version).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// The seats whose turn it is, in order: whose right ends now, then those of the servers that answered last, so that no server that hangs keeps others
    /// from being heard.
    fn in_turn<'a>(&self, seats: &'a [Arc<SeatCore>]) -> Vec<&'a Arc<SeatCore>> {
        let now = clock::now();
        let due = seats.iter().filter(|seat| seat.next_wake().is_some_and(|at| at <= now.boot_ms));
        let mut due: Vec<_> = due
            .map(|seat| {
                let ends = seat.must_look_in_ms(now).is_some_and(|left_ms| left_ms == 0);
                ((!ends, Reverse(self.answered_at(seat.server().as_ref()))), seat)
            })
            .collect();
        due.sort_by_key(|(turn, _)| *turn);
        due.into_iter().map(|(_, seat)| seat).collect()
    }

    /// Keeps presence connections to each server whose grants permit it, standing for all seats held there, and lets renewals say which it is.
    fn stand_for(&self, seats: &[Arc<SeatCore>], places: &mut BTreeMap<ServerKey, Presences>, generation: &AtomicU64) {
        let now = clock::now();
        let mut wanted: BTreeMap<ServerKey, Leases> = BTreeMap::new();
        for (server, secret) in seats.iter().filter_map(|seat| seat.present(now)) {
            wanted.entry(server).or_default().insert(secret.lease_id(), secret);
        }
        places.retain(|server, _| wanted.contains_key(server));
        if wanted.is_empty() && places.is_empty() {
            seats.iter().for_each(|seat| seat.stands(now, |_, _| None));
            return;
        }
        let lives: BTreeSet<LeaseId> = seats.iter().filter(|seat| !is_over(seat)).map(|seat| seat.lease()).collect();
        // Whose connection ended where that frees seats after a while, and who could not open another one, or will not try soon.
        let mut unheard: BTreeSet<LeaseId> = BTreeSet::new();
        for server in wanted.keys() {
            places.entry(*server).or_default();
        }
        let mut openings = Vec::new();
        for (server, place) in places.iter_mut() {
            let Some(wanted) = wanted.get(server) else { continue };
            for (connection, leases) in place.standing.take_ended(wanted, |connection| !connection.is_open()) {
                if !connection.is_open() {
                    // Everybody has lost theirs at the same moment, if the server was started again.
                    place.retry_at = place.retry_at.max(now.boot_ms + reopen_ms());
                    place.lost.extend(leases.into_keys().filter(|_| connection.waits()));
                }
            }
            place.standing.forget(&lives);
            place.is_wanting = place.standing.next(wanted, &lives).is_some();
            if !place.is_wanting {
                place.lost.clear();
            }
            if now.boot_ms < place.retry_at {
                unheard.append(&mut place.lost_for_long(now.boot_ms));
            } else if place.is_wanting {
                match lock(&self.sessions).get(server).cloned() {
                    Some(session) => openings.push((place, session, wanted)),
                    None => {
                        unheard.append(&mut place.lost);
                        // A renewal that reaches the server wakes the thread for it.
                        place.is_wanting = false;
                    }
                }
            }
        }
        // All that is opened and changed in one round ends by one deadline, at each server with the first that fails. What is left is for the next round:
        // those who lost their connection are heard first.
        let until = now.boot_ms.saturating_add(PRESENCE_MS_MAX);
        let failed = Mutex::new(BTreeSet::new());
        at_once(openings, |(place, session, wanted)| {
            while let Some(step) = place.standing.next(wanted, &lives) {
                let at_most = within(session.deadlines().call, must_be_back(seats).into_iter().chain([until]).min());
                let gone = place.go(step, &session, generation, at_most);
                let after = clock::now().boot_ms;
                if let Err(pause_ms) = gone {
                    place.retry_at = after + pause_ms;
                }
                if gone.is_err() || after >= until {
                    lock(&failed).append(&mut place.lost);
                    break;
                }
            }
            place.is_wanting = place.standing.next(wanted, &lives).is_some();
        });
        unheard.append(&mut lock(&failed));
        let now = clock::now();
        for seat in seats {
            seat.stands(now, |server, lease| {
                wanted.get(server).filter(|wanted| wanted.contains_key(&lease))?;
                places.get(server)?.standing.generation_of(&lease)
            });
            if !unheard.is_empty() && unheard.contains(&seat.lease()) {
                seat.shows_life(now);
            }
        }
    }
}

/// Does all of these at once, each on a thread if there is one for it, so that one that takes its whole time keeps no other from its own.
fn at_once<T: Send>(all: Vec<T>, act: impl Fn(T) + Sync) {
    let threads = all.len();
    let all = Mutex::new(all.into_iter());
    let next = || lock(&all).next();
    let work = || {
        while let Some(one) = next() {
            act(one);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Without a thread its work is done by the others.
            if thread::Builder::new().name("triquest-lm presence".into()).spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}

/// The presence connections to one server.
#[derive(Default)]
struct Presences {
    standing: Standing<Presence>,
    /// Nothing is opened or changed before this boot time.
    retry_at: u64,
    /// Something is to be opened or changed.
    is_wanting: bool,
    /// Leases whose connection ended where the server frees their seats if it hears nothing for a while.
    lost: BTreeSet<LeaseId>,
    /// The server frees seats a while after their connection ended, so its end must be noticed soon.
    waits: bool,
}

impl Presences {
    /// Some connection is no more, and nobody has looked yet.
    fn has_ended(&self) -> bool {
        self.standing.connections().any(|connection| !connection.is_open())
    }

    /// Something is to be opened or changed now.
    fn is_due(&self, boot_ms: u64) -> bool {
        self.is_wanting && self.retry_at <= boot_ms
    }

    /// Leases that lost their connection and will have no other in time: the next attempt is further away than a reopening ever is, since an earlier one
    /// failed or was of no use. Only a renewal keeps the server from freeing their seats.
    fn lost_for_long(&mut self, boot_ms: u64) -> BTreeSet<LeaseId> {
        let is_soon = self.retry_at <= boot_ms.saturating_add(REOPEN_MS_MAX);
        if is_soon { BTreeSet::new() } else { std::mem::take(&mut self.lost) }
    }

    /// Opens or changes a connection. If that fails, for how long to leave it.
    fn go(&mut self, step: Step, session: &Session, generation: &AtomicU64, at_most: Duration) -> Result<(), u64> {
        match step {
            Step::Open(leases) => {
                let generation = generation.fetch_add(1, Ordering::Relaxed) + 1;
                match Presence::open(session, leases.values(), generation, at_most) {
                    // The server counts the newest generation only, and renewals will name it.
                    Ok(Opened::Stands(connection)) => {
                        self.waits = connection.waits();
                        self.standing.opened(connection, generation, leases);
                        Ok(())
                    }
                    Ok(Opened::Useless) => {
                        self.waits = false;
                        Err(PRESENCE_USELESS_RETRY_MS)
                    }
                    // Without presence a dead program's seat comes back at the end of its time to live.
                    Err(_) => Err(PRESENCE_RETRY_MS),
                }
            }
            Step::Change { generation, add, drop } => {
                let Some(connection) = self.standing.connection(generation) else { return Err(PRESENCE_RETRY_MS) };
                match connection.change(session, add.values(), drop.values(), at_most) {
                    Ok(()) => {
                        self.standing.changed(generation, add, &drop);
                        Ok(())
                    }
                    // What only drops is refused by no such limit, and the next step is another one.
                    Err(CallError::Problem(problem)) if problem.code == ErrorCode::LimitReached && !add.is_empty() => {
                        self.standing.is_full(generation);
                        Ok(())
                    }
                    Err(CallError::Problem(problem)) if problem.code == ErrorCode::UnknownConnection => {
                        let ended = self.standing.ended(generation);
                        self.lost.extend(
                            ended.filter(|(connection, _)| connection.waits()).into_iter().flat_map(|(_, leases)| leases.into_keys()),
                        );
                        Err(reopen_ms())
                    }
                    Err(_) => Err(PRESENCE_RETRY_MS),
                }
            }
        }
    }
}

/// A span in whole milliseconds, at most all of them.
pub(crate) fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A random part of the time over which clients come back after a lost connection.
fn reopen_ms() -> u64 {
    spread(REOPEN_MS_MAX, clock::fresh().jitter)
}

/// The keeper has nothing more to do.
fn is_over(seat: &Arc<SeatCore>) -> bool {
    seat.phase() == Phase::Released
}

/// Boot time at which some seat's right ends: no call may take longer, since its application must be told in time.
fn must_be_back(seats: &[Arc<SeatCore>]) -> Option<u64> {
    let now: Now = clock::now();
    let soonest = seats.iter().filter_map(|seat| seat.must_look_in_ms(now)).min()?;
    Some(now.boot_ms.saturating_add(soonest))
}

/// At most `whole`, and no longer than until this boot time.
pub(crate) fn within(whole: Duration, until: Option<u64>) -> Duration {
    until.map_or(whole, |until| whole.min(Duration::from_millis(until.saturating_sub(clock::now().boot_ms).max(CALL_MS_MIN))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use triquest_wire::{Bytes32, Secret};

    use super::*;

    #[test]
    fn who_lost_a_connection_and_will_not_open_another_soon_shows_life_at_once() {
        let lost = BTreeSet::from([Secret(Bytes32([1; 32])).lease_id(), Secret(Bytes32([2; 32])).lease_id()]);
        let ended_at = 1_000_000;
        // Another connection was of no use, or could not be opened.
        for pause_ms in [PRESENCE_USELESS_RETRY_MS, PRESENCE_RETRY_MS] {
            let mut place = Presences { retry_at: ended_at + pause_ms, lost: lost.clone(), ..Presences::default() };
            assert_eq!(place.lost_for_long(ended_at), lost, "{pause_ms}");
            assert_eq!(place.lost_for_long(ended_at), BTreeSet::new(), "each shows it once");
        }
        // It opens another one in a moment, which says it for all of them.
        let mut place = Presences { retry_at: ended_at + REOPEN_MS_MAX, lost: lost.clone(), ..Presences::default() };
        assert_eq!(place.lost_for_long(ended_at), BTreeSet::new());
        assert_eq!(place.lost, lost);
    }
}
