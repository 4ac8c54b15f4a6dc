//! From a socket to requests: listeners, TLS, HTTP/1.1 and HTTP/2, and a limit on everything that a peer can hold open.
//!
//! An own accept loop, because a presence connection needs to know how its peer ended: in order (FIN: the kernel closes a dead process's
//! socket so), or not (RST, silence, a lost network). Only the first frees seats.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::HeaderValue;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{Notify, Semaphore, mpsc, watch},
    time::Instant,
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};
use triquest_allocator::{Between, LeaseId, Network};
use triquest_license::LicenseHash;
use triquest_wire::limits::{
    ADMIN_CONNECTIONS_MAX, HANDSHAKE_MS_MAX, HEADER_MS_MAX, HEADERS_BYTES_MAX, HEADERS_MAX, IDLE_HTTP2_MS_MAX, IDLE_MS_MAX,
    PRESENCE_LEASES_MAX, STREAM_RESETS_MAX, STREAMS_MAX,
};

use crate::{
    driver::DriverError,
    gate::Gate,
    http::App,
    in_turn::InTurn,
    limits::{
        BODY_BYTES_FREE, HANDSHAKE_LATE_MS, HELLO_BYTES_MAX, HELLO_TURN_MS, HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_GOAWAY_MS_MAX,
        HTTP2_PING_MS, HTTP2_STREAM_WINDOW_BYTES, PRESENCE_END_AGAIN_MS, PRESENCE_END_LEASES, TEXTS_REMEMBERED_MAX, UNTAKEN_BYTES_MAX,
        UNTAKEN_MS_MAX,
    },
    seldom::Kind,
    shares::{Crowd, Holders, Now, Over, Place, Places, Rank, Share, Shares, Standing},
};

/// Who is at the other end.
#[derive(Clone, Debug)]
pub enum Peer {
    /// Over the network. Anonymous in this version: checkout, the own leases, counts.
    Tcp(SocketAddr),
    /// On this machine, by the kernel's word.
    Unix {
        /// The user.
        uid: u32,
        /// Its name.
        user: String,
        /// Root, the server's own user, or of the configured group.
        admin: bool,
    },
}

/// What a presence connection stands for.
#[derive(Debug)]
pub struct Stand {
    /// What its client calls it.
    pub name: [u8; 16],
    /// What the allocator calls it.
    pub number: u64,
    /// The client's counter.
    pub generation: u64,
    /// What stands between its ends.
    pub between: Between,
    /// Whose lives it tells of, at most [`PRESENCE_LEASES_MAX`].
    pub leases: BTreeSet<LeaseId>,
    /// As many as there are leases.
    pub place: Place,
}

/// Why what a connection stands for has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchanged {
    /// It has ended, or is of another generation.
    Gone,
    /// It would stand for so many, which is more than one connection may.
    TooMany(usize),
    /// Together with others it would stand for too many.
    Over(Over),
}

/// One connection, as its requests see it.
#[derive(Debug)]
pub struct Conn {
    /// Who.
    pub peer: Peer,
    /// Our own end; none on the Unix socket.
    local: Option<SocketAddr>,
    /// Which texts of licenses were sent on it.
    pub texts: Mutex<Texts>,
    /// The last `Host` that was found good, so that the next request needs one comparison.
    pub good_host: Mutex<Option<HeaderValue>>,
    is_http2: AtomicBool,
    /// What this connection stands for, if anything; nothing more once it has ended.
    stand: Mutex<Option<Stand>>,
    is_presence: AtomicBool,
    /// The number that the accept loop knows it by; 0 on the Unix socket.
    number: AtomicU64,
    /// Whether it counts as that of a holder of a seat.
    rank: Arc<Rank>,
    /// A body that is more than small came on it and led to nothing.
    sent_for_nothing: AtomicBool,
    /// The peer ended in order.
    finished: AtomicBool,
    /// The connection broke.
    broken: AtomicBool,
    /// It has to end.
    given_up: AtomicBool,
    ending: Notify,
    born: Instant,
    in_flight: AtomicU32,
    /// Of those in flight, requests for which nothing is done now.
    resting: AtomicU32,
    /// Since when (milliseconds after birth, plus 1) a request has begun to arrive and is not complete; 0 if none.
    partial_ms: AtomicU64,
    /// What came since the end of the last request.
    came: Mutex<Came>,
    /// When the last request was answered, milliseconds after birth.
    idle_ms: AtomicU64,
    /// Since when (milliseconds after birth) each answer waits to be taken, with its number; the oldest first.
    untaken: Mutex<VecDeque<(u64, u64)>>,
    answers: AtomicU64,
    /// How long an answer may wait, milliseconds.
    answer_taken_ms: u64,
}

impl Conn {
    /// A fresh connection whose answers must be taken within `answer_taken_ms`.
    #[must_use]
    pub fn new(peer: Peer, answer_taken_ms: u64) -> Self {
        Self {
            peer,
            local: None,
            texts: Mutex::default(),
            good_host: Mutex::new(None),
            is_http2: AtomicBool::new(false),
            stand: Mutex::new(None),
            is_presence: AtomicBool::new(false),
            number: AtomicU64::new(0),
            rank: Arc::default(),
            sent_for_nothing: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            ending: Notify::new(),
            born: Instant::now(),
            in_flight: AtomicU32::new(0),
            resting: AtomicU32::new(0),
            // A connection that never asks is one whose first request is late.
            partial_ms: AtomicU64::new(1),
            came: Mutex::default(),
            idle_ms: AtomicU64::new(0),
            untaken: Mutex::default(),
            answers: AtomicU64::new(0),
            answer_taken_ms,
        }
    }

    /// When it began, by a clock that began at `base`.
    fn born_ms(&self, base: Instant) -> u64 {
        u64::try_from(self.born.saturating_duration_since(base).as_millis()).unwrap_or(u64::MAX)
    }

    /// With our own end of it.
    #[must_use]
    pub fn with_local(mut self, local: Option<SocketAddr>) -> Self {
        self.local = local;
        self
    }

    /// Whether the client sees the same two ends as we do: then nothing stands between that could end the connection in its place.
    #[must_use]
    pub fn ends_agree(&self, client: SocketAddr, server: SocketAddr) -> bool {
        let same =
            |ours: SocketAddr, theirs: SocketAddr| (ours.ip().to_canonical(), ours.port()) == (theirs.ip().to_canonical(), theirs.port());
        match (&self.peer, self.local) {
            (Peer::Tcp(peer), Some(local)) => same(*peer, client) && same(local, server),
            (Peer::Tcp(_) | Peer::Unix { .. }, _) => false,
        }
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// HTTP/1.1, where the end of the connection is the end of its one user.
    #[must_use]
    pub fn is_http1(&self) -> bool {
        !self.is_http2.load(Ordering::Acquire)
    }

    /// Whether it is the kernel's word that an administrator is at the other end.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        matches!(self.peer, Peer::Unix { admin: true, .. })
    }

    /// The peer's network address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match &self.peer {
            Peer::Tcp(address) => Some(address.ip().to_canonical()),
            Peer::Unix { .. } => None,
        }
    }

    /// The peer's network, for limits. The Unix socket has none.
    #[must_use]
    pub fn network(&self) -> Option<Network> {
        self.address().map(Network::from)
    }

    /// From now on the connection stands for these leases until its end, and no time-out ends it.
    pub fn stand_for(&self, stand: Stand) {
        let mut mine = self.stand.lock();
        self.is_presence.store(true, Ordering::Release);
        *mine = Some(stand);
    }

    /// How it ranks among others: only a lease that lives makes it a holder's, whatever was asked on it before, and one lease only few connections. A
    /// presence connection stands for what it says, and for nothing that was asked on it before.
    pub fn ranks(&self, holders: &Mutex<Holders>, lives: impl Fn(&LeaseId) -> bool) {
        let stand = self.stand.lock();
        let number = self.number.load(Ordering::Acquire);
        if number == 0 || stand.is_none() && !self.rank.is_holder() {
            return;
        }
        let mut holders = holders.lock();
        let counts_for = holders.lease_of(number);
        if counts_for.is_some_and(|lease| lives(&lease) && stand.as_ref().is_none_or(|stand| stand.leases.contains(&lease))) {
            return;
        }
        holders.leave(number);
        let next = stand.as_ref().and_then(|stand| stand.leases.iter().find(|lease| holders.has_room(lease) && lives(lease)));
        if let Some(lease) = next {
            holders.join(number, &self.rank, *lease);
        }
    }

    /// It stands for some leases no more, and then for others. Its number, what stands between its ends, and which of `drop` it stood for.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub fn change_stand(&self, generation: u64, add: &[LeaseId], drop: &[LeaseId]) -> Result<(u64, Between, Vec<LeaseId>), Unchanged> {
        let mut stand = self.stand.lock();
        let stand = stand.as_mut().filter(|stand| stand.generation == generation).ok_or(Unchanged::Gone)?;
        let mut leases = stand.leases.clone();
        let dropped: Vec<LeaseId> = drop.iter().filter(|lease| leases.remove(lease)).copied().collect();
        leases.extend(add);
        if leases.len() > PRESENCE_LEASES_MAX {
            return Err(Unchanged::TooMany(leases.len()));
        }
        let (before, after) = (stand.leases.len() as u64, leases.len() as u64);
        stand.place.grow(after.saturating_sub(before)).map_err(Unchanged::Over)?;
        stand.place.shrink(before.saturating_sub(after));
        stand.leases = leases;
        Ok((stand.number, stand.between, dropped))
    }

    /// It stands for these no more, which have ended: their end is known, and holds no place.
    fn forget_ended(&self, lives: impl Fn(&LeaseId) -> bool) {
        let mut stand = self.stand.lock();
        let Some(stand) = stand.as_mut() else { return };
        let before = stand.leases.len();
        stand.leases.retain(lives);
        stand.place.shrink((before - stand.leases.len()) as u64);
    }

    /// Whether it stands for leases and has not ended.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.stand.lock().is_some()
    }

    /// Whether it stands for leases.
    #[must_use]
    pub fn is_presence(&self) -> bool {
        self.is_presence.load(Ordering::Acquire)
    }

    /// The holder of this lease is at the other end: others leave before it, and before the older ones of the same lease.
    pub fn serves_lease(&self, holders: &Mutex<Holders>, lease: impl FnOnce() -> LeaseId) {
        let number = self.number.load(Ordering::Acquire);
        if number != 0 && !self.rank.is_holder() {
            holders.lock().join(number, &self.rank, lease());
        }
    }

    /// Whether what others of its network send for nothing keeps no body from it: it is a holder's, of which a lease has few, and never sent any itself.
    #[must_use]
    pub fn may_always_send(&self) -> bool {
        self.rank.is_holder() && !self.sent_for_nothing.load(Ordering::Acquire)
    }

    /// A body that is more than small came on it and led to nothing.
    pub fn sent_for_nothing(&self) {
        self.sent_for_nothing.store(true, Ordering::Release);
    }

    /// The connection is ended now, whatever is under way on it.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
        self.ending.notify_one();
    }

    /// A request is under way until the guard falls.
    #[must_use]
    pub fn under_way(self: &Arc<Self>) -> UnderWay {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.partial_ms.store(0, Ordering::Release);
        UnderWay { conn: Some(Arc::clone(self)) }
    }

    /// A request whose head is whole is under way until the guard falls. `bytes` is what it takes with its body, none if that cannot be known; what came
    /// beyond is of the next one, which is not whole yet.
    #[must_use]
    pub fn asks(self: &Arc<Self>, gate: &Gate, bytes: Option<usize>) -> UnderWay {
        let under_way = self.under_way();
        if self.is_http1() {
            let mut came = self.came.lock();
            came.asked = Some(bytes);
            let counted = came.count(gate, self.network());
            drop(came);
            if counted.is_err() {
                self.give_up();
            }
        }
        under_way
    }

    /// So many bytes came. Those that are of no request under way are kept until the head of one is whole; they count among those of bodies that come in.
    fn head_came(&self, gate: &Gate, bytes: usize) -> Result<(), Over> {
        let mut came = self.came.lock();
        came.bytes = came.bytes.saturating_add(bytes);
        came.count(gate, self.network())
    }

    /// One request under way less. What came beyond the last one begins the next, which is late as any other.
    fn request_ended(&self) {
        let now = self.age_ms();
        self.idle_ms.store(now, Ordering::Release);
        let mut came = self.came.lock();
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        if let Some(asked) = came.asked.take() {
            let may_be_more = asked.is_none_or(|asked| came.bytes > asked);
            came.bytes = asked.map_or(0, |asked| came.bytes.saturating_sub(asked));
            if may_be_more {
                self.partial_ms.store(now + 1, Ordering::Release);
            }
        }
    }

    /// Bytes came. While nothing is under way they begin a request.
    fn heard(&self) {
        if self.in_flight.load(Ordering::Acquire) == 0 && self.partial_ms.load(Ordering::Acquire) == 0 && self.is_http1() {
            self.partial_ms.store(self.age_ms() + 1, Ordering::Release);
        }
    }

    /// How the connection stands among others, by a clock that began at `base`. It is at work while a request is, but not while the rest of one has yet
    /// to come or its answer is kept back: whoever sends half a request works no more than whoever sends none.
    fn now(&self, base: Instant) -> Now {
        let (under_way, resting) = (self.in_flight.load(Ordering::Acquire), self.resting.load(Ordering::Acquire));
        Now {
            standing: Standing { leased: self.rank.is_holder(), since_ms: self.since_ms(base) },
            at_work: under_way > resting && !self.is_presence(),
        }
    }

    /// Nothing is done for a request under way until the guard falls: more of it is waited for, or its answer is kept back.
    #[must_use]
    pub fn at_rest(&self) -> AtRest<'_> {
        self.resting.fetch_add(1, Ordering::AcqRel);
        AtRest(&self.resting)
    }

    /// Since when it has done nothing, by a clock that began at `base`.
    fn since_ms(&self, base: Instant) -> u64 {
        self.born_ms(base).saturating_add(self.idle_ms.load(Ordering::Acquire))
    }

    /// How long the connection may still stand as it is; `None` if its time is over.
    fn patience(&self) -> Option<Duration> {
        let header = Duration::from_millis(HEADER_MS_MAX);
        if self.given_up.load(Ordering::Acquire) {
            return None;
        }
        let now = self.age_ms();
        // An answer that is not taken is no idleness, and no work either: whoever takes nothing is not waited for.
        let untaken = self.untaken.lock().front().map(|(_, since)| *since);
        let taken = match untaken {
            Some(since) => {
                let left = self.answer_taken_ms.checked_sub(now.saturating_sub(since)).filter(|left| *left > 0)?;
                Duration::from_millis(left).min(header)
            }
            None => header,
        };
        if untaken.is_some() || self.in_flight.load(Ordering::Acquire) > 0 || self.is_presence() {
            return Some(taken);
        }
        let (since, most) = match self.partial_ms.load(Ordering::Acquire) {
            0 if self.is_http1() => (self.idle_ms.load(Ordering::Acquire), IDLE_MS_MAX),
            0 => (self.idle_ms.load(Ordering::Acquire), IDLE_HTTP2_MS_MAX),
            since => (since - 1, HEADER_MS_MAX),
        };
        let left = most.checked_sub(now.saturating_sub(since)).filter(|left| *left > 0)?;
        // Never longer than a late header or an answer would be given, so that one which begins meanwhile is noticed.
        Some(Duration::from_millis(left).min(header))
    }
}

/// Which texts of licenses were sent on a connection: each is sent once, so that a small request draws no large answer again and again.
#[derive(Debug, Default)]
pub struct Texts {
    /// The number of the state of licenses of which the last trust exchange showed all texts.
    all_of: Option<u64>,
    /// Those that grants brought since, the oldest first, by the first bytes of their hashes.
    brought: VecDeque<[u8; 8]>,
}

impl Texts {
    /// A trust exchange showed all that there are, at this number of their state; or not all.
    pub fn were_shown(&mut self, all_of: Option<u64>) {
        self.all_of = all_of;
        // Whoever asks for trust once more may lack them.
        self.brought.clear();
    }

    /// Keeps those that were not sent yet, as the licenses are now.
    pub fn keep_lacking(&self, licenses_now: u64, hashes: &mut Vec<LicenseHash>) {
        if self.all_of == Some(licenses_now) {
            return hashes.clear();
        }
        hashes.retain(|hash| !self.brought.contains(&first_bytes(hash)));
    }

    /// A grant brings these.
    pub fn were_sent(&mut self, hashes: impl Iterator<Item = LicenseHash>) {
        self.brought.extend(hashes.map(|hash| first_bytes(&hash)));
        let too_many = self.brought.len().saturating_sub(TEXTS_REMEMBERED_MAX);
        self.brought.drain(..too_many);
    }
}

fn first_bytes(hash: &LicenseHash) -> [u8; 8] {
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// What came since the end of the last request.
#[derive(Debug, Default)]
struct Came {
    bytes: usize,
    /// What the request under way takes of them, if one is: none of it if that cannot be known.
    asked: Option<Option<usize>>,
    /// The place of what is of no request under way, among what comes in, if it is large.
    place: Option<Place>,
    placed: usize,
}

impl Came {
    /// Counts what is of no request under way. A head of usual size costs about what its connection does, and needs no place.
    fn count(&mut self, gate: &Gate, network: Option<Network>) -> Result<(), Over> {
        let beyond = match self.asked {
            None => self.bytes,
            Some(None) => 0,
            Some(Some(asked)) => self.bytes.saturating_sub(asked),
        };
        if beyond <= BODY_BYTES_FREE {
            self.place = None;
            self.placed = 0;
            return Ok(());
        }
        let place = match self.place.take() {
            Some(mut place) if beyond >= self.placed => place.grow((beyond - self.placed) as u64).map(|()| place),
            Some(mut place) => {
                place.shrink((self.placed - beyond) as u64);
                Ok(place)
            }
            None => gate.unread_head(network, beyond as u64),
        };
        self.placed = 0;
        self.place = Some(place.inspect_err(|_| gate.note(Kind::UnreadBodies, network))?);
        self.placed = beyond;
        Ok(())
    }
}

/// Nothing is done for a request that is under way.
#[derive(Debug)]
pub struct AtRest<'a>(&'a AtomicU32);

impl Drop for AtRest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer that was not taken yet.
#[derive(Debug)]
pub struct Answering {
    conn: Arc<Conn>,
    number: u64,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut untaken = self.conn.untaken.lock();
        if let Some(place) = untaken.iter().position(|(number, _)| *number == self.number) {
            untaken.remove(place);
        }
        drop(untaken);
        self.conn.idle_ms.store(self.conn.age_ms(), Ordering::Release);
    }
}

/// A request that is under way.
#[derive(Debug)]
pub struct UnderWay {
    /// None if it is answered.
    conn: Option<Arc<Conn>>,
}

impl UnderWay {
    /// The request is decided, and its answer is on its way until the guard falls, which is when the last of its bytes went to the system.
    #[must_use]
    pub fn answering(mut self) -> Answering {
        let conn = self.conn.take().expect("only an answer takes the connection");
        let mut untaken = conn.untaken.lock();
        let number = conn.answers.fetch_add(1, Ordering::AcqRel);
        let now = conn.age_ms();
        untaken.push_back((number, now));
        drop(untaken);
        conn.request_ended();
        Answering { conn, number }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(conn) = &self.conn {
            conn.request_ended();
        }
    }
}

/// A stream that notes how its peer ends. Under TLS it sees the kernel's word, above it TLS's own orderly end (`close_notify`).
struct Noting<S> {
    inner: S,
    conn: Arc<Conn>,
    /// How many bytes may still come before a whole ClientHello; `None` after it.
    allowance: Option<usize>,
    /// Above TLS: who counts the heads of requests that are not whole yet.
    heads: Option<Arc<Gate>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noting<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining() > 0);
        if self.allowance == Some(0) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too many bytes for a ClientHello")));
        }
        let result = std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if let Some(left) = &mut self.allowance {
            *left = left.saturating_sub(buf.filled().len() - before);
        }
        match &result {
            Ok(()) if buf.filled().len() > before => {
                self.conn.heard();
                if let Some(gate) = &self.heads {
                    let came = self.conn.head_came(gate, buf.filled().len() - before);
                    came.map_err(|_| io::Error::new(io::ErrorKind::OutOfMemory, "too many heads of requests are not whole"))?;
                }
            }
            Ok(()) if room => self.conn.finished.store(true, Ordering::Release),
            Ok(()) => {}
            // An end without close_notify is what a dead process leaves; whether it was in order is seen below TLS.
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(_) => self.conn.broken.store(true, Ordering::Release),
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// Who is inside, and who has to leave when others come.
struct Inside {
    connections: Crowd,
    /// Those that have not sent a whole ClientHello, the oldest first.
    hellos: Crowd,
    /// Those that have no place among [`Self::hellos`] yet.
    waiting: Waiting,
    conns: BTreeMap<u64, Arc<Conn>>,
    next: u64,
}

/// A connection that was accepted, and for which nothing was done yet.
struct Arrived {
    stream: TcpStream,
    conn: Arc<Conn>,
    network: Network,
    stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
}

/// Who waits for a place among those without a whole ClientHello: one socket each, no task and nothing that is read. Within a network the first
/// that came is the next.
struct Waiting {
    shares: Shares,
    networks: BTreeMap<Network, BTreeMap<u64, Arrived>>,
    /// The network that was asked first the last time: the one behind it is asked first now.
    last: Option<Network>,
    /// The server stops.
    closed: bool,
}

impl Waiting {
    fn new(share: Share) -> Self {
        Self { shares: Shares::new(share), networks: BTreeMap::new(), last: None, closed: false }
    }

    /// Keeps room for one; false if there is none.
    fn reserve(&mut self, network: Network) -> bool {
        !self.closed && self.shares.take(network, 1).is_ok()
    }

    /// The networks that wait, each first in turn.
    fn in_turn(&mut self) -> Vec<Network> {
        let mut networks: Vec<Network> = self.networks.keys().copied().collect();
        let first = networks.partition_point(|network| self.last.is_some_and(|last| *network <= last));
        let behind = if first < networks.len() { first } else { 0 };
        networks.rotate_left(behind);
        self.last = networks.first().copied();
        networks
    }

    fn first(&self, network: Network) -> Option<u64> {
        self.networks.get(&network)?.first_key_value().map(|(id, _)| *id)
    }

    fn remove(&mut self, network: Network, id: u64) -> Option<Arrived> {
        let waiting = self.networks.get_mut(&network)?;
        let arrived = waiting.remove(&id)?;
        if waiting.is_empty() {
            self.networks.remove(&network);
        }
        self.shares.give_back(network, 1);
        Some(arrived)
    }
}

impl Inside {
    /// If anybody waits, there may be a place now.
    fn tell_of_room(&self, room: &Notify) {
        if !self.waiting.networks.is_empty() {
            room.notify_one();
        }
    }
}

/// One connection's places.
struct Inhabitant {
    shared: Arc<Shared>,
    id: u64,
    rank: Arc<Rank>,
}

impl Inhabitant {
    /// The whole ClientHello is here.
    fn said_hello(&self) {
        let mut inside = self.shared.inside.lock();
        inside.hellos.leave(self.id);
        inside.tell_of_room(&self.shared.room);
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        let mut inside = self.shared.inside.lock();
        inside.hellos.leave(self.id);
        inside.connections.leave(self.id);
        inside.conns.remove(&self.id);
        inside.tell_of_room(&self.shared.room);
        drop(inside);
        self.shared.app.holders().lock().gone(self.id, &self.rank);
    }
}

/// The accept loops and their connections.
pub struct Accepting {
    stop: watch::Sender<bool>,
    /// Every connection holds a sender; when the last one is gone, this ends.
    drained: mpsc::Receiver<()>,
    loops: Vec<tokio::task::JoinHandle<()>>,
}

impl Accepting {
    /// Starts to accept on these listeners.
    #[must_use]
    pub fn start(app: &Arc<App>, tls: Arc<rustls::ServerConfig>, tcp: Vec<TcpListener>, unix: UnixListener) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (alive, drained) = mpsc::channel(1);
        let limits = app.gate().limits();
        let inside = Inside {
            connections: Crowd::new(limits.connections, 0),
            hellos: Crowd::new(limits.hellos, limits.hello_settled_ms),
            waiting: Waiting::new(limits.hellos_waiting),
            conns: BTreeMap::new(),
            next: 1,
        };
        let shared = Arc::new(Shared {
            app: Arc::clone(app),
            tls,
            base: Instant::now(),
            inside: Mutex::new(inside),
            room: Notify::new(),
            handshakes: Arc::new(InTurn::new(limits.handshakes)),
            http2: Places::new(limits.http2),
            // The socket answers while the network is saturated: its places are its own.
            administration: Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX)),
        });
        let mut loops: Vec<_> = tcp
            .into_iter()
            .map(|listener| tokio::spawn(accept_tcp(Arc::clone(&shared), listener, stopping.clone(), alive.clone())))
            .collect();
        loops.push(tokio::spawn(let_in(Arc::clone(&shared), stopping.clone())));
        loops.push(tokio::spawn(tell_turned_away(Arc::clone(app), stopping.clone())));
        loops.push(tokio::spawn(accept_unix(shared, unix, stopping, alive)));
        Self { stop, drained, loops }
    }

    /// Takes no new connection, lets answers under way leave, and waits for at most `grace`.
    pub async fn drain(mut self, grace: Duration) {
        let _ = self.stop.send(true);
        for task in self.loops {
            let _ = task.await;
        }
        let _ = tokio::time::timeout(grace, self.drained.recv()).await;
    }
}

struct Shared {
    app: Arc<App>,
    tls: Arc<rustls::ServerConfig>,
    /// When accepting began: standings are told by it.
    base: Instant,
    inside: Mutex<Inside>,
    /// A place among those without a whole ClientHello is free, or somebody waits for one.
    room: Notify,
    /// Handshakes that are computed at once, in turn by wider network and within it by network. Waiting for the peer is not counted, or whoever never
    /// answers would hold a turn.
    handshakes: Arc<InTurn>,
    http2: Places,
    administration: Arc<Semaphore>,
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets a connection in, in the place of others if need be, or lets it wait; closes it if there is no room for that either.
    fn arrive(self: &Arc<Self>, arrived: Arrived) {
        let (network, address) = (arrived.network, arrived.conn.address());
        let standing = Standing { leased: false, since_ms: self.now_ms() };
        let mut inside = self.inside.lock();
        let Inside { connections, hellos, waiting, conns, next } = &mut *inside;
        let id = *next;
        *next += 1;
        arrived.conn.number.store(id, Ordering::Release);
        for sunk in self.app.holders().lock().take_sunk() {
            if let Some(conn) = conns.get(&sunk) {
                connections.sink(sunk, Standing { leased: false, since_ms: conn.since_ms(self.base) });
            }
        }
        let (mut leaving, mut reached, mut has_place) = (Vec::new(), None, false);
        // Nobody overtakes those of its network who wait.
        if waiting.first(network).is_none() {
            let entered = hellos.enter(id, network, standing, as_it_entered);
            has_place = entered.entered.is_ok();
            reached = entered.reached.filter(|_| !entered.leaving.is_empty());
            leaving = entered.leaving;
            leaving.iter().for_each(|gone| connections.leave(*gone));
        }
        // Served or closed without the lock: an end of a connection takes it.
        let (mut served, mut refused, mut too_many) = (None, None, None);
        if !has_place && !waiting.reserve(network) {
            reached.get_or_insert(Over::Network);
            refused = Some(arrived);
        } else {
            let idlest = |id| conns.get(&id).map(|conn: &Arc<Conn>| conn.now(self.base));
            let entered = connections.enter(id, network, standing, idlest);
            too_many = entered.reached;
            entered.leaving.iter().for_each(|gone| hellos.leave(*gone));
            leaving.extend(entered.leaving);
            match (entered.entered.is_ok(), has_place) {
                (true, true) => {
                    conns.insert(id, Arc::clone(&arrived.conn));
                    served = Some(arrived);
                }
                (true, false) => {
                    conns.insert(id, Arc::clone(&arrived.conn));
                    waiting.networks.entry(network).or_default().insert(id, arrived);
                }
                (false, true) => {
                    hellos.leave(id);
                    refused = Some(arrived);
                }
                (false, false) => {
                    waiting.shares.give_back(network, 1);
                    refused = Some(arrived);
                }
            }
        }
        let gone = Gone::of(leaving, conns, waiting);
        inside.tell_of_room(&self.room);
        drop(inside);
        if refused.is_some() || !has_place {
            self.app.turned_away(address);
        }
        drop(refused);
        if let Some(arrived) = served {
            self.serve(id, arrived);
        }
        self.note(Kind::Hellos, reached, network, &gone);
        self.note(Kind::Connections, too_many, network, &gone);
        gone.leave(&self.app);
    }

    /// Gives places to those who wait for one, in turn by network. Whether anybody still waits.
    fn let_in(self: &Arc<Self>) -> bool {
        let standing = Standing { leased: false, since_ms: self.now_ms() };
        let mut inside = self.inside.lock();
        let Inside { connections, hellos, waiting, conns, .. } = &mut *inside;
        let (mut all, mut served) = (Vec::new(), Vec::new());
        for network in waiting.in_turn() {
            while let Some(id) = waiting.first(network) {
                let entered = hellos.enter(id, network, standing, as_it_entered);
                let reached = entered.reached.filter(|_| !entered.leaving.is_empty());
                entered.leaving.iter().for_each(|gone| connections.leave(*gone));
                all.push((network, reached, Gone::of(entered.leaving, conns, waiting)));
                if entered.entered.is_err() {
                    break;
                }
                served.extend(waiting.remove(network, id).map(|arrived| (id, arrived)));
            }
        }
        let waits = !waiting.networks.is_empty();
        drop(inside);
        for (id, arrived) in served {
            self.serve(id, arrived);
        }
        for (network, reached, gone) in all {
            self.note(Kind::Hellos, reached, network, &gone);
            gone.leave(&self.app);
        }
        waits
    }

    /// A connection that has its places is served by a task of its own.
    fn serve(self: &Arc<Self>, id: u64, arrived: Arrived) {
        let inhabitant = Inhabitant { shared: Arc::clone(self), id, rank: Arc::clone(&arrived.conn.rank) };
        tokio::spawn(serve_tcp(Arc::clone(self), arrived, inhabitant));
    }

    fn note(&self, kind: Kind, reached: Option<Over>, network: Network, gone: &Gone) {
        match reached {
            // If all together are too many, it is the largest network that is said.
            Some(Over::All) => self.app.gate().note(kind, gone.conns.first().map_or(Some(network), |gone| gone.network())),
            Some(_) => self.app.gate().note(kind, Some(network)),
            None => {}
        }
    }
}

/// Until its ClientHello, a connection stands as it entered: nothing that it does makes it younger.
fn as_it_entered(_: u64) -> Option<Now> {
    None
}

/// Those who have to leave, taken out under the lock and closed without it.
struct Gone {
    conns: Vec<Arc<Conn>>,
    waited: Vec<Arrived>,
}

impl Gone {
    fn of(ids: Vec<u64>, conns: &mut BTreeMap<u64, Arc<Conn>>, waiting: &mut Waiting) -> Self {
        let (mut left, mut waited) = (Vec::new(), Vec::new());
        for id in ids {
            let Some(conn) = conns.remove(&id) else { continue };
            waited.extend(conn.network().and_then(|network| waiting.remove(network, id)));
            left.push(conn);
        }
        Self { conns: left, waited }
    }

    fn leave(self, app: &App) {
        for gone in &self.conns {
            gone.give_up();
            app.turned_away(gone.address());
        }
        drop(self.waited);
    }
}

/// Lets those in who wait for a place without a whole ClientHello, as places become free and as those inside have had their time.
async fn let_in(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    loop {
        let waits = shared.let_in();
        tokio::select! {
            // Not once for each that comes while others wait: all who came meanwhile have their turn together.
            () = tokio::time::sleep(Duration::from_millis(HELLO_TURN_MS)), if waits => {}
            () = shared.room.notified(), if !waits => {}
            _ = stop.changed() => {
                let mut inside = shared.inside.lock();
                inside.waiting.closed = true;
                let networks = std::mem::take(&mut inside.waiting.networks);
                drop(inside);
                drop(networks);
                return;
            }
        }
    }
}

async fn tell_turned_away(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = app.tell_turned_away() => {}
        _ = stop.changed() => {}
    }
}

async fn accept_tcp(shared: Arc<Shared>, listener: TcpListener, mut stop: watch::Receiver<bool>, alive: mpsc::Sender<()>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(cause) => {
                // Out of files or memory: the pending connection stays in the kernel's queue, so trying at once would spin.
                shared.app.gate().note(Kind::Connections, None);
                shared.app.turned_away(None);
                tracing::debug!(%cause, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let conn = Conn::new(Peer::Tcp(address), shared.app.gate().limits().answer_taken_ms).with_local(stream.local_addr().ok());
        let (conn, network) = (Arc::new(conn), Network::from(address.ip()));
        shared.arrive(Arrived { stream, conn, network, stop: stop.clone(), alive: alive.clone() });
    }
}

async fn serve_tcp(shared: Arc<Shared>, arrived: Arrived, inhabitant: Inhabitant) {
    let Arrived { stream, conn, network, mut stop, alive } = arrived;
    let hello_within = Duration::from_millis(shared.app.gate().limits().hello_ms);
    let hello = tokio::select! {
        hello = tokio::time::timeout(hello_within, client_hello(stream, &conn)) => hello.ok().flatten(),
        () = conn.ending.notified() => None,
        // It has asked nothing yet, so a stop does not wait for it.
        () = stopped(&mut stop) => None,
    };
    let Some(hello) = hello else { return };
    inhabitant.said_hello();
    // What follows is large, and only those who have said who they want to talk to have it.
    Box::pin(serve_tls(&shared, hello, &conn, network, stop)).await;
    drop((inhabitant, alive));
}

async fn serve_tls(
    shared: &Shared,
    hello: StartHandshake<Noting<TcpStream>>,
    conn: &Arc<Conn>,
    network: Network,
    mut stop: watch::Receiver<bool>,
) {
    let _ = hello.io.inner.set_nodelay(true);
    let _ = crate::sys::keep_alive(&hello.io.inner);
    let _ = crate::sys::bound_untaken(&hello.io.inner, UNTAKEN_BYTES_MAX, UNTAKEN_MS_MAX);
    let tls = tokio::select! {
        tls = tokio::time::timeout(Duration::from_millis(HANDSHAKE_MS_MAX), handshake(shared, hello, network)) => tls.ok().flatten(),
        () = conn.ending.notified() => None,
        () = stopped(&mut stop) => None,
    };
    let Some(tls) = tls else { return };
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        conn.is_http2.store(true, Ordering::Release);
        let place = shared.http2.take(Some(network), 1).inspect_err(|_| shared.app.gate().note(Kind::Http2, Some(network)));
        serve_http2(&shared.app, tls, conn, stop, place.is_ok()).await;
    } else {
        let heads = Some(Arc::clone(shared.app.gate()));
        let above = Noting { inner: tls, conn: Arc::clone(conn), allowance: None, heads };
        serve_http1(&shared.app, above, conn, stop).await;
        presence_ended(&shared.app, conn).await;
    }
}

/// Waits until the server stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could say so is gone only at the end.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Waits for a whole ClientHello, so that nothing is computed and no turn is taken for anybody who sends less.
async fn client_hello(stream: TcpStream, conn: &Arc<Conn>) -> Option<StartHandshake<Noting<TcpStream>>> {
    let mut first = [0u8; 1];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    /// A TLS record of type handshake (RFC 8446, section 5.1).
    const HANDSHAKE: u8 = 22;
    if first[0] != HANDSHAKE {
        refuse_plaintext(stream, first[0]).await;
        return None;
    }
    let raw = Noting { inner: stream, conn: Arc::clone(conn), allowance: Some(HELLO_BYTES_MAX), heads: None };
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), raw).await;
    let mut hello = hello.inspect_err(|cause| tracing::debug!(address = ?conn.address(), %cause, "no ClientHello")).ok()?;
    // What follows is a few bytes for the handshake, and then requests, which have limits of their own.
    hello.io.allowance = None;
    Some(hello)
}

async fn handshake(shared: &Shared, hello: StartHandshake<Noting<TcpStream>>, network: Network) -> Option<TlsStream<Noting<TcpStream>>> {
    let mut turn = std::pin::pin!(shared.handshakes.turn(Some(network)));
    let turn = match tokio::time::timeout(Duration::from_millis(HANDSHAKE_LATE_MS), turn.as_mut()).await {
        Ok(turn) => turn?,
        Err(_) => {
            shared.app.turned_away(hello.io.conn.address());
            turn.await?
        }
    };
    let handshake = std::pin::pin!(hello.into_stream(Arc::clone(&shared.tls)));
    // The keys are agreed upon and the signature is made in the first step; or, of whoever has to say its hello again, in a later one.
    let done = turn.steps(Some(network), handshake).await?;
    done.inspect_err(|cause| tracing::debug!(%network, %cause, "TLS handshake failed")).ok()
}

/// Somebody speaks plaintext to the TLS port. One short answer, so that a person sees what is wrong and a scan (`contrib/nmap`) what this is; the text
/// is stable. Binary that is no TLS gets nothing. The caller bounds the time.
async fn refuse_plaintext(mut stream: TcpStream, first: u8) {
    const TEXT: &str = "this is TriQuest LM (triquest-lm), use https\n";
    let http = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{TEXT}",
        TEXT.len()
    );
    let answer = match first {
        // Every method of HTTP begins with a letter.
        b'A'..=b'Z' | b'a'..=b'z' => http.as_str(),
        b' '..=b'~' | b'\t' | b'\n' | b'\r' => TEXT,
        _ => return,
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    // What the peer has sent is taken off, or closing would reset the connection and the answer be lost.
    let mut sink = [0u8; 4096];
    let mut left = 16;
    while left > 0 && matches!(tokio::io::AsyncReadExt::read(&mut stream, &mut sink).await, Ok(1..)) {
        left -= 1;
    }
}

async fn accept_unix(shared: Arc<Shared>, listener: UnixListener, mut stop: watch::Receiver<bool>, alive: mpsc::Sender<()>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&shared.administration).try_acquire_owned() else { continue };
        let held = (permit, alive.clone());
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            let Ok(credentials) = stream.peer_cred() else { return };
            let uid = credentials.uid();
            let mut groups = crate::sys::peer_groups(&stream);
            groups.push(credentials.gid());
            let group = shared.app.admin_group();
            let admin = uid == 0 || uid == crate::sys::user_id() || group.is_some_and(|group| groups.contains(&group));
            let user = tokio::task::spawn_blocking(move || crate::sys::user_name(uid)).await.unwrap_or_else(|_| format!("uid {uid}"));
            let conn = Arc::new(Conn::new(Peer::Unix { uid, user, admin }, shared.app.gate().limits().answer_taken_ms));
            let heads = Some(Arc::clone(shared.app.gate()));
            let noting = Noting { inner: stream, conn: Arc::clone(&conn), allowance: None, heads };
            serve_http1(&shared.app, noting, &conn, stop).await;
            presence_ended(&shared.app, &conn).await;
            drop(held);
        });
    }
}

async fn serve_http1<S>(app: &Arc<App>, io: S, conn: &Arc<Conn>, stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(|request| {
        let (app, conn) = (Arc::clone(app), Arc::clone(conn));
        async move { Ok::<_, std::convert::Infallible>(crate::http::handle(app, conn, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // hyper's own timer would end idle connections too; `Conn::patience` tells a late header from an idle peer.
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADERS_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
    tend(pin!(connection), |connection| connection.graceful_shutdown(), app, conn, stop).await;
}

/// Serves HTTP/2. Where there is no `place` for it, the peer is told to go away and use what connections it has.
async fn serve_http2<S>(app: &Arc<App>, io: S, conn: &Arc<Conn>, stop: watch::Receiver<bool>, place: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = {
        let (app, conn) = (Arc::clone(app), Arc::clone(conn));
        hyper::service::service_fn(move |request| {
            let (app, conn) = (Arc::clone(&app), Arc::clone(&conn));
            async move { Ok::<_, std::convert::Infallible>(crate::http::handle(app, conn, request).await) }
        })
    };
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_pending_accept_reset_streams(STREAM_RESETS_MAX)
        .max_local_error_reset_streams(STREAM_RESETS_MAX)
        .max_header_list_size(u32::try_from(HEADERS_BYTES_MAX).unwrap_or(u32::MAX))
        // A header block that has begun takes no other frame until its end (RFC 9113, section 6.10), so whoever does not end it cannot answer either.
        .keep_alive_interval(Duration::from_millis(HTTP2_PING_MS))
        .keep_alive_timeout(Duration::from_millis(HTTP2_PING_MS))
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    if place {
        tend(connection, |connection| connection.graceful_shutdown(), app, conn, stop).await;
    } else {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(Duration::from_millis(HTTP2_GOAWAY_MS_MAX), connection).await;
    }
}

/// Drives a connection until it ends, its time is over, others need its place, or the server stops.
async fn tend<C: Future>(
    mut connection: Pin<&mut C>,
    shut_down: impl Fn(Pin<&mut C>),
    app: &App,
    conn: &Arc<Conn>,
    mut stop: watch::Receiver<bool>,
) {
    let mut told = false;
    let first = conn.patience().unwrap_or_default();
    let mut timer = pin!(tokio::time::sleep(first));
    loop {
        tokio::select! {
            _ = &mut connection => return,
            () = conn.ending.notified() => return,
            () = &mut timer => match conn.patience() {
                Some(patience) => {
                    let lives = |lease: &LeaseId| app.is_live(triquest_wire::LeaseId(lease.0));
                    conn.forget_ended(lives);
                    conn.ranks(app.holders(), lives);
                    timer.as_mut().reset(Instant::now() + patience);
                }
                None => return,
            },
            _ = stop.changed(), if !told => {
                told = true;
                if conn.is_presence() {
                    // Dropped without a word: nothing is sent on it, and nothing is freed by our own end.
                    conn.broken.store(true, Ordering::Release);
                    return;
                }
                shut_down(connection.as_mut());
            }
        }
    }
}

/// A presence connection has ended. Only an orderly end by the peer may free seats; whether it does, the allocator decides.
async fn presence_ended(app: &Arc<App>, conn: &Arc<Conn>) {
    if !conn.is_presence() {
        return;
    }
    // What we end ourselves is no word of the peer's.
    let ended_here = conn.broken.load(Ordering::Acquire) || conn.given_up.load(Ordering::Acquire);
    let in_order = conn.finished.load(Ordering::Acquire) && !ended_here;
    let Some(stand) = conn.stand.lock().take() else { return };
    app.presence_ended(stand.name);
    if !in_order || stand.leases.is_empty() {
        return;
    }
    // Where many end at once, each tells a little and then the next one does. It is the server that closes, so no network's limit is in the way; the
    // leases keep their place until all is told.
    let Stand { generation, between, leases, place, .. } = stand;
    let leases: Vec<LeaseId> = leases.into_iter().collect();
    for portion in leases.chunks(PRESENCE_END_LEASES) {
        while let Err(cause) = app.tell_ends(conn, portion, generation, between).await {
            match cause {
                // Nothing of this telling was taken, whatever is known of its leases.
                DriverError::Overloaded(_) => tokio::time::sleep(Duration::from_millis(PRESENCE_END_AGAIN_MS)).await,
                // Nothing is lost: the leases end at their deadlines.
                cause => {
                    tracing::debug!(%cause, "the end of a presence connection was not recorded");
                    break;
                }
            }
        }
    }
    drop(place);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::shares::Share;

    #[tokio::test(start_paused = true)]
    async fn a_late_header_an_idle_peer_and_a_presence_connection_have_their_own_patience() {
        let conn = Arc::new(Conn::new(Peer::Tcp("127.0.0.1:1".parse().unwrap()), 30_000));
        let pass = |ms| tokio::time::advance(Duration::from_millis(ms));
        assert!(conn.patience().is_some());
        pass(HEADER_MS_MAX).await;
        assert!(conn.patience().is_none(), "a connection that never asked");
        drop(conn.under_way());
        pass(HEADER_MS_MAX + 1).await;
        assert!(conn.patience().is_some(), "idle after an answer");
        conn.heard();
        pass(HEADER_MS_MAX).await;
        assert!(conn.patience().is_none(), "half a header");
        let under_way = conn.under_way();
        pass(10 * IDLE_MS_MAX).await;
        assert!(conn.patience().is_some(), "a request under way");
        drop(under_way);
        pass(IDLE_MS_MAX).await;
        assert!(conn.patience().is_none(), "idle too long");
        let place = Places::new(Share { network: 1, all: 1 }).take(None, 0).unwrap();
        let leases = BTreeSet::from([LeaseId([1; 16])]);
        conn.stand_for(Stand { name: [1; 16], number: 1, generation: 1, between: Between::Nothing, leases, place });
        assert!(conn.patience().is_some(), "presence");
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_beyond_a_request_begins_the_next_which_is_late_as_any_other_and_counts_as_its_head() {
        let limits = crate::limits::Limits { unread_bytes: Share { network: 60_000, all: 60_000 }, ..Default::default() };
        let gate = Gate::new(limits, Arc::new(crate::clock::HandClock::new(1_000_000_000_000)));
        let conn = Arc::new(Conn::new(Peer::Tcp("127.0.0.1:1".parse().unwrap()), 30_000));
        let pass = |ms| tokio::time::advance(Duration::from_millis(ms));
        for beyond in [1, 40_000] {
            conn.head_came(&gate, 100 + beyond).unwrap();
            let under_way = conn.asks(&gate, Some(100));
            drop(under_way);
            assert_eq!(gate.unread_head(conn.network(), 30_000).is_ok(), beyond == 1);
            pass(HEADER_MS_MAX - 1).await;
            assert!(conn.patience().is_some());
            // Its rest comes.
            conn.head_came(&gate, 100 - beyond.min(1)).unwrap();
            drop(conn.asks(&gate, Some(99 + beyond)));
            pass(HEADER_MS_MAX).await;
            assert!(conn.patience().is_some(), "nothing came beyond it");
        }
        // The beginning of the next may come while a request is under way, with its body or after it.
        let under_way = conn.asks(&gate, Some(200));
        conn.head_came(&gate, 100).unwrap();
        conn.head_came(&gate, 101).unwrap();
        drop(under_way.answering());
        pass(HEADER_MS_MAX).await;
        assert!(conn.patience().is_none());
        // Of whoever does not say how much comes, nobody knows what came beyond it.
        drop(conn.asks(&gate, None));
        pass(HEADER_MS_MAX).await;
        assert!(conn.patience().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_is_neither_idle_nor_work() {
        let conn = Arc::new(Conn::new(Peer::Tcp("127.0.0.1:1".parse().unwrap()), 30_000));
        let pass = |ms| tokio::time::advance(Duration::from_millis(ms));
        let (first, under_way) = (conn.under_way().answering(), conn.under_way());
        pass(29_000).await;
        let second = conn.under_way().answering();
        assert_eq!(conn.patience(), Some(Duration::from_millis(1_000)));
        pass(1_000).await;
        assert!(conn.patience().is_none(), "however much else is under way");
        drop((first, under_way));
        assert!(conn.patience().is_some());
        pass(29_000).await;
        assert!(conn.patience().is_none());
        drop(second);
        assert!(conn.patience().is_some(), "and then it is idle since it took the last one");
    }
}
