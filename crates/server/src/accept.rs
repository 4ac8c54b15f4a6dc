//! From a socket to requests: listeners, TLS, HTTP/1.1 and HTTP/2, and a limit on everything that a peer can hold open.
//!
//! An own accept loop, because a presence connection needs to know how its peer ended: in order (FIN: the kernel closes a dead process's
//! socket so), or not (RST, silence, a lost network). Only the first frees seats.

use std::{
    collections::BTreeMap,
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
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use triquest_allocator::{Command, LeaseId};
use triquest_wire::limits::{
    ADMIN_CONNECTIONS_MAX, HANDSHAKE_MS_MAX, HANDSHAKES_MAX, HEADER_MS_MAX, HEADERS_BYTES_MAX, HEADERS_MAX, IDLE_HTTP2_MS_MAX, IDLE_MS_MAX,
    STREAM_RESETS_MAX, STREAMS_MAX,
};

use crate::http::App;

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

/// An IPv4 address, or the /64 of an IPv6 address: what one peer can be expected to hold.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

/// One connection, as its requests see it.
#[derive(Debug)]
pub struct Conn {
    /// Who.
    pub peer: Peer,
    /// HTTP/1.1, where the end of the connection is the end of its one user.
    pub http1: bool,
    /// Our own end; none on the Unix socket.
    local: Option<SocketAddr>,
    /// The number of the state of licenses that this connection's last trust exchange showed.
    pub shown_licenses: AtomicU64,
    /// The last `Host` that was found good, so that the next request needs one comparison.
    pub good_host: Mutex<Option<HeaderValue>>,
    /// Leases that this connection stands for, with the generation.
    presence: Mutex<Vec<(LeaseId, u64)>>,
    is_presence: AtomicBool,
    /// The peer ended in order.
    finished: AtomicBool,
    /// The connection broke.
    broken: AtomicBool,
    /// The peer takes nothing that is sent to it.
    given_up: AtomicBool,
    born: Instant,
    in_flight: AtomicU32,
    /// Since when (milliseconds after birth, plus 1) a request has begun to arrive and is not complete; 0 if none.
    partial_ms: AtomicU64,
    /// When the last request was answered, milliseconds after birth.
    idle_ms: AtomicU64,
}

impl Conn {
    /// A fresh connection.
    #[must_use]
    pub fn new(peer: Peer, http1: bool) -> Self {
        Self {
            peer,
            http1,
            local: None,
            shown_licenses: AtomicU64::new(0),
            good_host: Mutex::new(None),
            presence: Mutex::new(Vec::new()),
            is_presence: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            born: Instant::now(),
            in_flight: AtomicU32::new(0),
            // A connection that never asks is one whose first request is late.
            partial_ms: AtomicU64::new(1),
            idle_ms: AtomicU64::new(0),
        }
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

    /// The network that its requests are counted for; none for the Unix socket.
    #[must_use]
    pub fn network(&self) -> Option<triquest_allocator::Network> {
        self.address().map(triquest_allocator::Network::from)
    }

    /// From now on the connection stands for these leases until its end, and no time-out ends it.
    pub fn stand_for(&self, leases: Vec<(LeaseId, u64)>) {
        *self.presence.lock() = leases;
        self.is_presence.store(true, Ordering::Release);
    }

    /// Whether it stands for leases.
    #[must_use]
    pub fn is_presence(&self) -> bool {
        self.is_presence.load(Ordering::Acquire)
    }

    /// The connection is ended soon, whatever is under way on it.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    /// A request is under way until the guard falls.
    #[must_use]
    pub fn under_way(self: &Arc<Self>) -> UnderWay {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.partial_ms.store(0, Ordering::Release);
        UnderWay(Arc::clone(self))
    }

    /// Bytes came. While nothing is under way they begin a request.
    fn heard(&self) {
        if self.in_flight.load(Ordering::Acquire) == 0 && self.partial_ms.load(Ordering::Acquire) == 0 && self.http1 {
            self.partial_ms.store(self.age_ms() + 1, Ordering::Release);
        }
    }

    /// How long the connection may still stand as it is; `None` if its time is over.
    fn patience(&self) -> Option<Duration> {
        let header = Duration::from_millis(HEADER_MS_MAX);
        if self.given_up.load(Ordering::Acquire) {
            return None;
        }
        if self.in_flight.load(Ordering::Acquire) > 0 || self.is_presence() {
            return Some(header);
        }
        let now = self.age_ms();
        let (since, most) = match self.partial_ms.load(Ordering::Acquire) {
            0 if self.http1 => (self.idle_ms.load(Ordering::Acquire), IDLE_MS_MAX),
            0 => (self.idle_ms.load(Ordering::Acquire), IDLE_HTTP2_MS_MAX),
            since => (since - 1, HEADER_MS_MAX),
        };
        let left = most.checked_sub(now.saturating_sub(since)).filter(|left| *left > 0)?;
        // Never longer than a late header would be given, so that one which begins meanwhile is noticed.
        Some(Duration::from_millis(left).min(header))
    }
}

/// A request that is under way.
#[derive(Debug)]
pub struct UnderWay(Arc<Conn>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.idle_ms.store(self.0.age_ms(), Ordering::Release);
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A stream that notes how its peer ends. Under TLS it sees the kernel's word, above it TLS's own orderly end (`close_notify`).
struct Noting<S> {
    inner: S,
    conn: Arc<Conn>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noting<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining() > 0);
        let result = std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        match &result {
            Ok(()) if buf.filled().len() > before => self.conn.heard(),
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

/// How many connections each network has. Exact, and never larger than the number of connections.
#[derive(Debug, Default)]
struct Counts(Mutex<BTreeMap<IpAddr, usize>>);

/// One connection's place in the counts.
struct Counted {
    counts: Arc<Counts>,
    network: IpAddr,
}

impl Counts {
    fn enter(self: &Arc<Self>, network: IpAddr, most: usize) -> Option<Counted> {
        let mut counts = self.0.lock();
        let count = counts.entry(network).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Counted { counts: Arc::clone(self), network })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// What accepting may use.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// Of them, from one network.
    pub per_network: usize,
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
    pub fn start(app: &Arc<App>, tls: TlsAcceptor, tcp: Vec<TcpListener>, unix: UnixListener, bounds: Bounds) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (alive, drained) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            app: Arc::clone(app),
            tls,
            connections: Arc::new(Semaphore::new(bounds.connections)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            // The socket answers while the network is saturated: its places are its own.
            administration: Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX)),
            counts: Arc::default(),
            per_network: bounds.per_network,
        });
        let mut loops: Vec<_> = tcp
            .into_iter()
            .map(|listener| tokio::spawn(accept_tcp(Arc::clone(&shared), listener, stopping.clone(), alive.clone())))
            .collect();
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
    tls: TlsAcceptor,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    administration: Arc<Semaphore>,
    counts: Arc<Counts>,
    per_network: usize,
}

/// What a connection's task holds as long as it lives.
struct Held {
    _permit: OwnedSemaphorePermit,
    _counted: Option<Counted>,
    _alive: mpsc::Sender<()>,
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
                tracing::warn!(%cause, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Full: the newcomer is dropped, those inside go on.
        let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
            tracing::debug!(%address, "connection refused: limits.connections is reached");
            continue;
        };
        let Some(counted) = shared.counts.enter(network_of(address.ip()), shared.per_network) else {
            tracing::debug!(%address, "connection refused: limits.connections_per_address is reached");
            continue;
        };
        let held = Held { _permit: permit, _counted: Some(counted), _alive: alive.clone() };
        tokio::spawn(serve_tcp(Arc::clone(&shared), stream, address, stop.clone(), held));
    }
}

async fn serve_tcp(shared: Arc<Shared>, stream: TcpStream, address: SocketAddr, stop: watch::Receiver<bool>, held: Held) {
    let _ = stream.set_nodelay(true);
    let _ = crate::sys::keep_alive(&stream);
    let local = stream.local_addr().ok();
    let handshake = async {
        // The first byte is awaited before a place among the handshakes is taken: silent peers cost a connection, not a handshake.
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
        let _place = shared.handshakes.acquire().await.ok()?;
        let conn = Arc::new(Conn::new(Peer::Tcp(address), true).with_local(local));
        let raw = Noting { inner: stream, conn: Arc::clone(&conn) };
        let tls = shared.tls.accept(raw).await.inspect_err(|cause| tracing::debug!(%address, %cause, "TLS handshake failed")).ok()?;
        Some((tls, conn))
    };
    let Ok(Some((mut tls, conn))) = tokio::time::timeout(Duration::from_millis(HANDSHAKE_MS_MAX), handshake).await else { return };
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        let conn = Arc::new(Conn::new(Peer::Tcp(address), false));
        tls.get_mut().0.conn = Arc::clone(&conn);
        serve_http2(&shared.app, tls, &conn, stop).await;
    } else {
        let above = Noting { inner: tls, conn: Arc::clone(&conn) };
        serve_http1(&shared.app, above, &conn, stop).await;
        presence_ended(&shared.app, &conn).await;
    }
    drop(held);
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
        let held = Held { _permit: permit, _counted: None, _alive: alive.clone() };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            let Ok(credentials) = stream.peer_cred() else { return };
            let uid = credentials.uid();
            let mut groups = crate::sys::peer_groups(&stream);
            groups.push(credentials.gid());
            let group = shared.app.admin_group();
            let admin = uid == 0 || uid == crate::sys::user_id() || group.is_some_and(|group| groups.contains(&group));
            let user = tokio::task::spawn_blocking(move || crate::sys::user_name(uid)).await.unwrap_or_else(|_| format!("uid {uid}"));
            let conn = Arc::new(Conn::new(Peer::Unix { uid, user, admin }, true));
            let noting = Noting { inner: stream, conn: Arc::clone(&conn) };
            serve_http1(&shared.app, noting, &conn, stop).await;
            presence_ended(&shared.app, &conn).await;
            drop(held);
        });
    }
}

async fn serve_http1<S>(app: &Arc<App>, io: S, conn: &Arc<Conn>, mut stop: watch::Receiver<bool>)
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
    let mut connection = pin!(connection);
    let mut told = false;
    let mut timer = pin!(tokio::time::sleep(Duration::from_millis(HEADER_MS_MAX)));
    loop {
        tokio::select! {
            _ = &mut connection => return,
            () = &mut timer => match conn.patience() {
                Some(patience) => timer.as_mut().reset(Instant::now() + patience),
                None => return,
            },
            _ = stop.changed(), if !told => {
                told = true;
                if conn.is_presence() {
                    // Dropped without a word: nothing is sent on it, and nothing is freed by our own end.
                    conn.broken.store(true, Ordering::Release);
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn serve_http2<S>(app: &Arc<App>, io: S, conn: &Arc<Conn>, mut stop: watch::Receiver<bool>)
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
        .max_pending_accept_reset_streams(STREAM_RESETS_MAX)
        .max_local_error_reset_streams(STREAM_RESETS_MAX)
        .max_header_list_size(u32::try_from(HEADERS_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let mut told = false;
    let mut timer = pin!(tokio::time::sleep(Duration::from_millis(HEADER_MS_MAX)));
    loop {
        tokio::select! {
            _ = &mut connection => return,
            () = &mut timer => match conn.patience() {
                Some(patience) => timer.as_mut().reset(Instant::now() + patience),
                None => return,
            },
            _ = stop.changed(), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// A presence connection has ended. Only an orderly end by the peer may free seats; whether it does, the allocator decides.
async fn presence_ended(app: &Arc<App>, conn: &Arc<Conn>) {
    if !conn.is_presence() {
        return;
    }
    let in_order = conn.finished.load(Ordering::Acquire) && !conn.broken.load(Ordering::Acquire);
    let leases = std::mem::take(&mut *conn.presence.lock());
    if !in_order {
        return;
    }
    let closed = leases.into_iter().map(|(lease, generation)| Command::PresenceClosed { lease, generation }).collect();
    if let Err(cause) = app.driver().decide_many(closed).await {
        // Nothing is lost: the leases end at their deadlines.
        tracing::debug!(%cause, "the end of a presence connection was not recorded");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_network_is_an_ipv4_address_or_the_half_of_an_ipv6_address() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("10.1.2.3"), "10.1.2.3");
        assert_eq!(network("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(network("fd00:1:2:3:4:5:6:7"), "fd00:1:2:3::");
    }

    #[test]
    fn connections_of_a_network_are_counted_exactly() {
        let counts = Arc::new(Counts::default());
        let network = network_of("10.0.0.1".parse().unwrap());
        let held: Vec<_> = (0..3).map(|_| counts.enter(network, 3).unwrap()).collect();
        assert!(counts.enter(network, 3).is_none());
        drop(held);
        assert!(counts.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_header_an_idle_peer_and_a_presence_connection_have_their_own_patience() {
        let conn = Arc::new(Conn::new(Peer::Tcp("127.0.0.1:1".parse().unwrap()), true));
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
        conn.stand_for(Vec::new());
        assert!(conn.patience().is_some(), "presence");
    }
}
