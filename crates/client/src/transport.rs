//! From a list of servers to one that proved itself, and calls to it. Blocking; ureq carries HTTP/1.1 over our own sockets and TLS.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use triquest_license::{ServerKey, VerifierKeys, Vocabulary};
use triquest_wire::{
    Bytes32, Effect, ErrorCode, Position, Problem, Retry, WordList,
    limits::ANSWER_BYTES_MAX,
    text,
    trust::{TrustAnswer, TrustRequest},
};
use ureq::{
    Agent, Body,
    http::{self, Response},
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport},
    },
};

use crate::{
    address::ServerAddress,
    clock, dial,
    error::says,
    keeper::Now,
    limits::{ANSWER_HEADER_BYTES_MAX, CALL_MS_MAX, CONNECT_MS_MAX, DEAD_SERVER_MS, NEXT_SERVER_MS, SAID_BYTES_MAX, WAITING_CALL_MS_MAX},
    lookup::Found,
    remember::Remembered,
    tls::{self, Pin, TlsStream},
    verify::{self, Distrust, TrustExpected, TrustedServer},
};

/// How long things may take. Tests make them short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// Name, connection, handshake and trust exchange with one server.
    pub(crate) connect: Duration,
    /// A connection that does not stand after so long is none, and all servers are tried within it.
    pub(crate) dead: Duration,
    /// One call.
    pub(crate) call: Duration,
    /// One call of a checkout that waits in line.
    pub(crate) waiting: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(CONNECT_MS_MAX),
            dead: Duration::from_millis(DEAD_SERVER_MS),
            call: Duration::from_millis(CALL_MS_MAX),
            waiting: Duration::from_millis(WAITING_CALL_MS_MAX),
        }
    }
}

/// Why one server could not be used. Kept alphabetical.
#[derive(Clone, Debug)]
pub(crate) enum Rejected {
    /// It answered, but not as a TriQuest LM server that serves this vendor.
    NotTrusted(Distrust),
    /// It refused the trust exchange.
    Refused(Box<Problem>),
    /// No connection or no answer.
    Unreachable(String),
}

impl Rejected {
    /// In words for people, about this server.
    pub(crate) fn told_by(&self, server: &ServerAddress) -> String {
        match self {
            Self::NotTrusted(reason) => reason.to_string(),
            Self::Refused(problem) => says(server, &problem.detail),
            Self::Unreachable(reason) => reason.clone(),
        }
    }
}

/// Why a call gave no outcome. Kept alphabetical.
#[derive(Debug)]
pub(crate) enum CallError {
    /// An answer that is none of this protocol.
    BadAnswer(String),
    /// The server refused.
    Problem(Box<Problem>),
    /// No connection, no answer, or half an answer.
    Unreachable(String),
}

/// A server that proved itself, over connections that end at it.
pub(crate) struct Session {
    agent: Agent,
    address: ServerAddress,
    authority: String,
    peer: SocketAddr,
    pin: Arc<Pin>,
    trusted: Mutex<TrustedServer>,
    seen: Arc<Seen>,
    deadlines: Deadlines,
    keys: VerifierKeys,
    any_server: bool,
    asked: (Now, Now),
    /// Boot time of its last answer.
    answered_at: AtomicU64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("address", &self.address).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The highest position that each server has shown, over all connections to it.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<BTreeMap<ServerKey, Position>>);

impl Seen {
    fn positions(&self) -> MutexGuard<'_, BTreeMap<ServerKey, Position>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, server: &ServerKey) -> Option<Position> {
        self.positions().get(server).copied()
    }

    fn note(&self, server: ServerKey, position: Position) {
        let mut positions = self.positions();
        let old = positions.entry(server).or_insert(position);
        // Another history begins anew; within one, only forward.
        if old.lineage != position.lineage || (old.epoch, old.index) < (position.epoch, position.index) {
            *old = position;
        }
    }
}

/// Whom to ask, and what they must prove.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) seen: Arc<Seen>,
    pub(crate) found: Arc<Found>,
    pub(crate) remembered: Arc<Remembered>,
    pub(crate) keys: VerifierKeys,
    pub(crate) any_server: bool,
    pub(crate) deadlines: Deadlines,
}

/// What the threads of one race share. Whoever loses is cut off, so that nothing of it stays.
#[derive(Debug, Default)]
struct Race {
    over: AtomicBool,
    running: Mutex<Vec<(ServerAddress, TcpStream)>>,
}

impl Race {
    /// A connection takes part, unless the race is over.
    fn enter(&self, server: &ServerAddress, socket: &TcpStream) -> io::Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if self.over.load(Ordering::Acquire) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        running.push((server.clone(), socket.try_clone()?));
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Cuts off all but the winner.
    fn end(&self, winner: Option<&ServerAddress>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        self.over.store(true, Ordering::Release);
        for (server, socket) in running.drain(..) {
            if Some(&server) != winner {
                // It fails only if it is closed already.
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Directory {
    /// The servers in the order in which they are tried: the one that answered last before its equals, else as they are named.
    fn in_order(&self, skip: &[ServerAddress]) -> Vec<ServerAddress> {
        let remembered = self.remembered.server();
        let mut servers: Vec<_> = self.found.servers.as_slice().iter().zip(&self.found.ranks).collect();
        servers.sort_by_key(|(server, rank)| (**rank, Some(*server) != remembered.as_ref()));
        servers.into_iter().map(|(server, _)| server).filter(|server| !skip.contains(server)).cloned().collect()
    }

    /// The first server that proves itself and that `wanted` accepts. They are raced: each next one begins after a short while, or at once if one before it has
    /// failed, so that dead ones cost little however many they are. On failure, why each one is no use.
    #[expect(clippy::disallowed_methods, reason = "a connection's deadline, no right of a lease")]
    pub(crate) fn open(&self, skip: &[ServerAddress], wanted: Option<&ServerKey>) -> Result<Arc<Session>, Vec<(ServerAddress, Rejected)>> {
        let servers = self.in_order(skip);
        if let [server] = servers.as_slice() {
            return self.open_one(server, wanted, &Race::default()).map(Arc::new).map_err(|reason| vec![(server.clone(), reason)]);
        }
        let stagger = Duration::from_millis(NEXT_SERVER_MS).min(self.deadlines.dead / u32::try_from(servers.len()).unwrap_or(1).max(1));
        // All have begun before they would count as dead, and each has its time.
        let deadline = Instant::now() + self.deadlines.dead + self.deadlines.connect;
        let race = Arc::new(Race::default());
        let (sender, receiver) = mpsc::channel();
        let mut rejected: Vec<(ServerAddress, Rejected)> = Vec::new();
        let mut started = 0;
        while rejected.len() < servers.len() {
            if let Some(server) = servers.get(started) {
                let (sender, server, directory, wanted, race) =
                    (sender.clone(), server.clone(), self.clone(), wanted.copied(), race.clone());
                started += 1;
                let spawned = thread::Builder::new().name("triquest-lm connect".into()).spawn(move || {
                    let outcome = directory.open_one(&server, wanted.as_ref(), &race);
                    // Nobody listens any more if another one was faster.
                    let _ = sender.send((server, outcome));
                });
                if let Err(error) = spawned {
                    rejected.push((servers[started - 1].clone(), Rejected::Unreachable(error.to_string())));
                    continue;
                }
            }
            let patience = if started < servers.len() { stagger } else { deadline.saturating_duration_since(Instant::now()) };
            match receiver.recv_timeout(patience) {
                Ok((server, Ok(session))) => {
                    race.end(Some(&server));
                    self.remembered.note(&server);
                    return Ok(Arc::new(session));
                }
                Ok((server, Err(reason))) => rejected.push((server, reason)),
                Err(_) if started < servers.len() => {}
                Err(_) => break,
            }
        }
        race.end(None);
        let unheard = |server: &ServerAddress| (server.clone(), Rejected::Unreachable(explain(&io::ErrorKind::TimedOut.into())));
        let missing: Vec<_> = servers.iter().filter(|server| rejected.iter().all(|(listed, _)| listed != *server)).map(unheard).collect();
        rejected.extend(missing);
        // As they were named, not as they were tried.
        rejected.sort_by_key(|(server, _)| self.found.servers.as_slice().iter().position(|listed| listed == server));
        Err(rejected)
    }

    #[expect(clippy::disallowed_methods, reason = "a connection's deadline, no right of a lease")]
    fn open_one(&self, server: &ServerAddress, wanted: Option<&ServerKey>, race: &Race) -> Result<Session, Rejected> {
        let deadline = Instant::now() + self.deadlines.connect;
        let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let unreachable = |error: io::Error| Rejected::Unreachable(explain(&error));
        let addresses = dial::resolve(server, left()).map_err(unreachable)?;
        if race.is_over() {
            return Err(unreachable(io::ErrorKind::Interrupted.into()));
        }
        let socket = dial::connect(&addresses, left().min(self.deadlines.dead)).map_err(unreachable)?;
        race.enter(server, &socket).map_err(unreachable)?;
        let peer = socket.peer_addr().map_err(unreachable)?;
        let spoken = speak(server, socket, verify::vendor_keys(&self.keys), deadline).map_err(|error| match error {
            Unspoken::Http(CallError::Problem(problem)) => Rejected::Refused(problem),
            Unspoken::Http(CallError::BadAnswer(reason)) => {
                Rejected::Unreachable(format!("what answers on {peer} is no TriQuest LM server: {}", text::tidy(&reason, SAID_BYTES_MAX)))
            }
            Unspoken::Http(CallError::Unreachable(reason)) => Rejected::Unreachable(reason),
            Unspoken::Tls(error) if error.kind() == io::ErrorKind::TimedOut => {
                Rejected::Unreachable(format!("{peer} takes connections and says nothing: no TLS 1.3 server answers there"))
            }
            Unspoken::Tls(error) => Rejected::Unreachable(format!("{peer} is open, but no TLS 1.3 server answers: {}", explain(&error))),
        })?;
        let expected = TrustExpected { keys: &self.keys, nonce: spoken.nonce, tls_spki: spoken.tls_spki, any_server: self.any_server };
        let trusted = verify::trust(&spoken.answer, &expected).map_err(Rejected::NotTrusted)?;
        if let Some(wanted) = wanted
            && trusted.server_key() != wanted
        {
            return Err(Rejected::Unreachable(format!("{} is another server than the one that holds the seat", trusted.server_key())));
        }
        Ok(Session {
            agent: spoken.agent,
            address: server.clone(),
            authority: spoken.authority,
            peer,
            pin: spoken.pin,
            trusted: Mutex::new(trusted),
            seen: self.seen.clone(),
            deadlines: self.deadlines,
            keys: self.keys.clone(),
            any_server: self.any_server,
            answered_at: AtomicU64::new(spoken.asked.1.boot_ms),
            asked: spoken.asked,
        })
    }
}

/// A handshake and a trust exchange whose answer nobody has checked yet.
pub(crate) struct Spoken {
    agent: Agent,
    authority: String,
    pin: Arc<Pin>,
    pub(crate) nonce: [u8; 32],
    pub(crate) tls_spki: [u8; 32],
    pub(crate) answer: TrustAnswer,
    /// When the trust exchange was sent and answered.
    asked: (Now, Now),
}

/// How far it came. Kept alphabetical.
pub(crate) enum Unspoken {
    /// No answer to the trust exchange.
    Http(CallError),
    /// No handshake.
    Tls(io::Error),
}

/// TLS and the trust exchange over a fresh connection, until the deadline.
#[expect(clippy::disallowed_methods, reason = "a connection's deadline, no right of a lease")]
pub(crate) fn speak(server: &ServerAddress, socket: TcpStream, vendor_keys: Vec<Bytes32>, deadline: Instant) -> Result<Spoken, Unspoken> {
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let peer = socket.peer_addr().map_err(Unspoken::Tls)?;
    let pin = Arc::new(Pin::default());
    let stream = TlsStream::handshake(tls::config(pin.clone()), &pin, server.host(), socket, left()).map_err(Unspoken::Tls)?;
    let tls_spki = stream.spki;
    let agent = agent(server, peer, pin.clone(), stream, left());
    let nonce = clock::random();
    let request = trust_request(vendor_keys, nonce, tls_spki);
    let ask = |authority: &str| -> Result<TrustAnswer, CallError> {
        call_json(&agent, "POST", &format!("https://{authority}/v1/trust"), &request, left())
    };
    let mut authority = server.authority();
    let mut sent = clock::now();
    let mut answer = ask(&authority);
    // A server takes only names that it knows as its own, which keeps foreign web pages out. An alias in DNS is none: then it is asked by its address, which it
    // takes always. The name goes first, since a proxy may choose by it.
    if matches!(&answer, Err(CallError::Problem(problem)) if problem.code == ErrorCode::ForeignOrigin) {
        authority = by_address(peer);
        sent = clock::now();
        answer = ask(&authority);
    }
    let asked = (sent, clock::now());
    Ok(Spoken { agent, authority, pin, nonce, tls_spki, asked, answer: answer.map_err(Unspoken::Http)? })
}

/// Asks for the proof. Of the words that the program knows, only those of the statement itself are told to who has proved nothing.
fn trust_request(vendor_keys: Vec<Bytes32>, nonce: [u8; 32], tls_spki: [u8; 32]) -> TrustRequest {
    let accepts = WordList::with_grease(&Vocabulary::OURS.before_proof(), clock::grease());
    TrustRequest { vendor_keys, nonce: Bytes32(nonce), tls_spki: Bytes32(tls_spki), accepts }
}

/// An address as it stands in a URL, where an IPv6 zone has no place.
fn by_address(peer: SocketAddr) -> String {
    SocketAddr::new(peer.ip(), peer.port()).to_string()
}

impl Session {
    /// The server's name as it was given.
    pub(crate) fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// What it is called in URLs: its name, or its address if it does not know the name.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The address that answered.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The key that the TLS connections are pinned to.
    pub(crate) fn pin(&self) -> &Arc<Pin> {
        &self.pin
    }

    /// SHA-256 of the SubjectPublicKeyInfo that the first handshake proved.
    pub(crate) fn tls_spki(&self) -> [u8; 32] {
        self.pin.held().expect("a session begins with a handshake, which fixes the pin")
    }

    /// When the trust exchange was sent, and when its answer was there.
    pub(crate) fn asked(&self) -> (Now, Now) {
        self.asked
    }

    /// Boot time at which it answered last.
    pub(crate) fn answered_at(&self) -> u64 {
        self.answered_at.load(Ordering::Relaxed)
    }

    /// It has answered now, whatever it said.
    pub(crate) fn answers(&self) {
        self.answered_at.store(clock::now().boot_ms, Ordering::Relaxed);
    }

    pub(crate) fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    /// What the server proved.
    pub(crate) fn trusted(&self) -> MutexGuard<'_, TrustedServer> {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn server_key(&self) -> ServerKey {
        *self.trusted().server_key()
    }

    /// The highest position that this server has shown.
    pub(crate) fn seen(&self) -> Option<Position> {
        self.seen.of(&self.server_key())
    }

    /// Remembers a position if it is the highest.
    pub(crate) fn saw(&self, position: Position) {
        self.seen.note(self.server_key(), position);
    }

    /// `POST` of JSON within `limit`.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize, limit: Duration) -> Result<T, CallError> {
        self.ask(path, body, limit, None)
    }

    /// A checkout whose place in line is told at once rather than held until it changes.
    pub(crate) fn post_at_once<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize, limit: Duration) -> Result<T, CallError> {
        self.ask(path, body, limit, Some("wait=0"))
    }

    /// Asks within `limit`, all together; if the server does not know a member of the request, it proves itself anew, for it may be an older one by now,
    /// and is asked once more without that member.
    #[expect(clippy::disallowed_methods, reason = "a connection's deadline, no right of a lease")]
    fn ask<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize, limit: Duration, prefer: Option<&str>) -> Result<T, CallError> {
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let url = format!("https://{}{path}", self.authority);
        let bytes = serde_json::to_vec(body).map_err(|error| CallError::BadAnswer(error.to_string()))?;
        let call =
            |bytes: &[u8]| read_answer(run_preferring(&self.agent, "POST", &url, Some(bytes), Some(left()), prefer).map_err(unreachable)?);
        let answer = call(&bytes);
        if matches!(&answer, Ok(_) | Err(CallError::Problem(_))) {
            self.answers();
        }
        let Err(CallError::Problem(problem)) = &answer else { return answer };
        let Some(without) = problem.member.as_ref().filter(|_| problem.code == ErrorCode::UnknownMember).and_then(|member| {
            let mut body: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes).ok()?;
            body.remove(member)?;
            serde_json::to_vec(&body).ok()
        }) else {
            return answer;
        };
        self.prove_again(left())?;
        call(&without)
    }

    /// The trust exchange once more, over the pinned connection.
    fn prove_again(&self, limit: Duration) -> Result<(), CallError> {
        let (nonce, tls_spki) = (clock::random(), self.tls_spki());
        let request = trust_request(verify::vendor_keys(&self.keys), nonce, tls_spki);
        let answer: TrustAnswer = call_json(&self.agent, "POST", &format!("https://{}/v1/trust", self.authority), &request, limit)?;
        let expected = TrustExpected { keys: &self.keys, nonce, tls_spki, any_server: self.any_server };
        let fresh = verify::trust(&answer, &expected).map_err(|reason| CallError::BadAnswer(reason.to_string()))?;
        let mut trusted = self.trusted();
        if fresh.server_key() != trusted.server_key() {
            return Err(CallError::BadAnswer(format!("{} answers in the place of {}", fresh.server_key(), trusted.server_key())));
        }
        *trusted = fresh;
        Ok(())
    }

    /// `GET` of JSON within `limit`.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str, limit: Duration) -> Result<T, CallError> {
        let url = format!("https://{}{path}", self.authority);
        let response = run_json(&self.agent, "GET", &url, None, Some(limit)).map_err(unreachable)?;
        read_answer(response)
    }

    /// Interrupts every call under way; the session is of no use afterwards.
    pub(crate) fn shut_down(&self) {
        self.agent.clone().shutdown();
    }
}

fn call_json<T: DeserializeOwned>(agent: &Agent, method: &str, url: &str, body: &impl Serialize, limit: Duration) -> Result<T, CallError> {
    let body = serde_json::to_vec(body).map_err(|error| CallError::BadAnswer(error.to_string()))?;
    read_answer(run_json(agent, method, url, Some(&body), Some(limit)).map_err(unreachable)?)
}

fn read_answer<T: DeserializeOwned>(mut response: Response<Body>) -> Result<T, CallError> {
    let status = response.status().as_u16();
    let body = read_body(&mut response, ANSWER_BYTES_MAX).map_err(unreachable)?;
    if status == 200 {
        return serde_json::from_slice(&body).map_err(|error| CallError::BadAnswer(error.to_string()));
    }
    match problem(&body) {
        Some(problem) => Err(CallError::Problem(Box::new(problem))),
        None => Err(CallError::BadAnswer(format!("status {status}"))),
    }
}

/// Reads a problem document. A code of a newer server counts as what it says about a retry.
fn problem(body: &[u8]) -> Option<Problem> {
    #[derive(Deserialize)]
    struct Loose {
        code: ErrorCode,
        #[serde(default)]
        title: String,
        #[serde(default)]
        detail: String,
        #[serde(default = "Retry::later")]
        retry: Retry,
        #[serde(default = "Effect::unknown")]
        took_effect: Effect,
        member: Option<String>,
        #[serde(default)]
        hint: String,
        retry_after_ms: Option<u64>,
    }
    let loose: Loose = serde_json::from_slice(body).ok()?;
    let problem = Problem::new(loose.code.beside(loose.retry), if loose.detail.is_empty() { loose.title } else { loose.detail });
    Some(Problem { took_effect: loose.took_effect, member: loose.member, retry_after_ms: loose.retry_after_ms, ..problem.hint(loose.hint) })
}

fn unreachable(error: ureq::Error) -> CallError {
    match error {
        ureq::Error::BodyExceedsLimit(limit) => CallError::BadAnswer(format!("an answer of more than {limit} bytes")),
        ureq::Error::LargeResponseHeader(..) => CallError::BadAnswer("endless headers".into()),
        other => CallError::Unreachable(explain(&io_error(other))),
    }
}

/// One request with a JSON body, or without any.
pub(crate) fn run_json(
    agent: &Agent,
    method: &str,
    url: &str,
    body: Option<&[u8]>,
    limit: Option<Duration>,
) -> Result<Response<Body>, ureq::Error> {
    run_preferring(agent, method, url, body, limit, None)
}

/// The same with a header `Prefer`.
fn run_preferring(
    agent: &Agent,
    method: &str,
    url: &str,
    body: Option<&[u8]>,
    limit: Option<Duration>,
    prefer: Option<&str>,
) -> Result<Response<Body>, ureq::Error> {
    let mut builder = http::Request::builder().method(method).uri(url).header("accept", "application/json");
    if let Some(prefer) = prefer {
        builder = builder.header("prefer", prefer);
    }
    match body {
        Some(body) => {
            let request = builder.header("content-type", "application/json").body(body)?;
            agent.run(agent.configure_request(request).timeout_global(limit).build())
        }
        None => agent.run(agent.configure_request(builder.body(())?).timeout_global(limit).build()),
    }
}

/// The body, if it is not larger than `limit`.
pub(crate) fn read_body(response: &mut Response<Body>, limit: usize) -> Result<Vec<u8>, ureq::Error> {
    response.body_mut().with_config().limit(limit as u64).read_to_vec()
}

/// As an I/O error, with its kind where there is one.
pub(crate) fn io_error(error: ureq::Error) -> io::Error {
    match error {
        ureq::Error::Io(error) => error,
        ureq::Error::Timeout(_) => io::ErrorKind::TimedOut.into(),
        other => io::Error::other(other),
    }
}

/// In words for people.
pub(crate) fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer in time; a firewall may drop the packets".into(),
        io::ErrorKind::ConnectionRefused => "connection refused; nothing listens there".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => "the connection was closed".into(),
        _ => error.to_string(),
    }
}

fn agent(server: &ServerAddress, peer: SocketAddr, pin: Arc<Pin>, first: TlsStream, connect: Duration) -> Agent {
    let config = Agent::config_builder()
        .https_only(true)
        // HTTPS_PROXY and its like would hand the connection to whoever set the environment.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_response_header_size(ANSWER_HEADER_BYTES_MAX)
        .input_buffer_size(ANSWER_HEADER_BYTES_MAX * 2)
        .output_buffer_size(ANSWER_HEADER_BYTES_MAX)
        .max_idle_connections(2)
        .max_idle_connections_per_host(2)
        .max_idle_age(Duration::from_millis(triquest_wire::limits::IDLE_MS_MAX / 2))
        .user_agent(concat!("triquest-client/", env!("CARGO_PKG_VERSION")))
        .build();
    let connector = PinnedConnector { host: server.host().to_owned(), pin, first: Mutex::new(Some(first)), connect };
    Agent::with_parts(config, connector, Fixed(peer))
}

/// The address was found by our own race; the agent stays with it.
#[derive(Debug)]
struct Fixed(SocketAddr);

impl Resolver for Fixed {
    fn resolve(&self, _: &http::Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

/// Opens connections that the pin accepts; the first is the one that the handshake of the trust exchange made.
#[derive(Debug)]
struct PinnedConnector {
    host: String,
    pin: Arc<Pin>,
    first: Mutex<Option<TlsStream>>,
    connect: Duration,
}

impl<In: Transport> Connector<In> for PinnedConnector {
    type Out = PinnedTransport;

    #[expect(clippy::disallowed_methods, reason = "a connection's deadline, no right of a lease")]
    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let limit = if details.timeout.after.is_not_happening() { self.connect } else { (*details.timeout.after).min(self.connect) };
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = match first {
            Some(stream) => stream,
            None => {
                let deadline = Instant::now() + limit;
                let socket = dial::connect(&details.addrs, limit)?;
                let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                TlsStream::handshake(tls::config(self.pin.clone()), &self.pin, &self.host, socket, left)?
            }
        };
        let mut transport =
            PinnedTransport { stream, buffers: LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size()) };
        let socket = Arc::downgrade(transport.stream.timed().socket());
        (details.register_shutdown)(socket)?;
        Ok(Some(transport))
    }
}

#[derive(Debug)]
struct PinnedTransport {
    stream: TlsStream,
    buffers: LazyBuffers,
}

fn limit(timeout: &NextTimeout) -> Option<Duration> {
    (!timeout.after.is_not_happening()).then(|| *timeout.after)
}

impl Transport for PinnedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.timed().set_deadline(limit(&timeout));
        let sent =
            io::Write::write_all(&mut self.stream, &self.buffers.output()[..amount]).and_then(|()| io::Write::flush(&mut self.stream));
        sent.map_err(|error| reason(error, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.timed().set_deadline(limit(&timeout));
        let amount = match io::Read::read(&mut self.stream, self.buffers.input_append_buf()) {
            Ok(amount) => amount,
            Err(error) => return Err(reason(error, &timeout)),
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        is_idle(&**self.stream.timed().socket())
    }

    fn is_tls(&self) -> bool {
        true
    }
}

fn reason(error: io::Error, timeout: &NextTimeout) -> ureq::Error {
    if error.kind() == io::ErrorKind::TimedOut { ureq::Error::Timeout(timeout.reason) } else { ureq::Error::Io(error) }
}

/// Whether a connection that waits for its next request is still good: no end and no byte has come.
pub(crate) fn is_idle(socket: impl AsFd) -> bool {
    let mut byte = [0u8; 1];
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    matches!(rustix::net::recv(socket, &mut byte, flags), Err(rustix::io::Errno::AGAIN))
}
