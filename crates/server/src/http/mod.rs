//! Requests: who asks, may they, what does it mean, what is the answer. The driver decides; nothing here does.

use std::{
    borrow::Cow,
    convert::Infallible,
    net::IpAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use triquest_engine::TookEffect;
use triquest_license::{ServerKey, SigningKey, Vocabulary};
use triquest_ports::registry::Current;
use triquest_wire::{Effect, ErrorCode, Position, Problem, WordList, limits::BODY_MS_MAX, status::FullDisk};

use crate::{
    accept::{Answering, Conn, Peer, UnderWay},
    clock::Clock,
    config::Config,
    driver::{Driver, DriverError},
    gate::{Gate, Rated},
    identity::Certificate,
    limits::{BODY_BYTES_FREE, DRAINED_BYTES_MAX, Limits},
    prefix::Prefix,
    shares::Holders,
    shares::Place,
};

mod admin;
mod arriving;
mod convert;
mod events;
pub mod holder;
mod leases;
pub mod openapi;
mod ports;
mod presence;
pub mod routes;
mod shown;
mod trust;

pub(crate) use admin::install_bytes;
use arriving::Arriving;
use routes::{Class, Endpoint, Found};

/// What every request may use.
pub struct App {
    pub(crate) driver: Driver,
    pub(crate) server_key: ServerKey,
    pub(crate) signing_key: Arc<SigningKey>,
    pub(crate) instance: [u8; 32],
    /// The words that this server knows, and one of grease.
    pub(crate) offers: WordList,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started_boot_ms: u64,
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) data_dir: PathBuf,
    pub(crate) live: ArcSwap<Live>,
    pub(crate) gate: Arc<Gate>,
    /// Folders beside `backups` in the data directory that backups may go to.
    pub(crate) backups: Vec<PathBuf>,
    pub(crate) shown: shown::Shown,
    pub(crate) presences: presence::Presences,
    /// Ends of presence connections that are told at once.
    pub(crate) ends: Semaphore,
    pub(crate) turned_away: presence::TurnedAway,
    /// Which connections count as those of holders of seats.
    holders: Mutex<Holders>,
    pub(crate) feedback: ports::Feedback,
    /// Decoded when it is first asked for.
    registry: OnceLock<Current>,
    /// Grows whenever the installed licenses change, so that a grant brings texts along that a connection has not seen. From 1.
    pub(crate) licenses: AtomicU64,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) reload: mpsc::Sender<Reload>,
}

/// Asks for a reload; the answer is what changed, or why not.
pub(crate) type Reload = oneshot::Sender<Result<Vec<String>, String>>;

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "App({})", self.server_key)
    }
}

/// What a reload may change.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Group of administrators.
    pub admin_group: Option<u32>,
    /// More names of this server.
    pub hosts: Vec<String>,
    /// Folder of licenses that are installed at each start and reload.
    pub licenses: std::path::PathBuf,
    /// This machine's name.
    pub machine: String,
    /// Everybody who may look sees names.
    pub names_open: bool,
    /// Networks in which the end of a presence connection frees seats after a wait.
    pub presence_networks: Vec<Prefix>,
    /// How often a reload has taken one out of them.
    pub unnamings: u64,
    /// Keys of TLS proxies.
    pub vouch_for: Vec<[u8; 32]>,
}

impl Live {
    /// What the configuration says.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            admin_group: config.admin_group.as_deref().and_then(crate::sys::group_id),
            hosts: config.hosts.iter().map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect(),
            licenses: config.licenses_dir(),
            machine: crate::sys::host_name(),
            names_open: config.names_open,
            presence_networks: config.presence_networks.clone(),
            unnamings: 0,
            vouch_for: config.vouch_for.iter().map(|hash| hash.0).collect(),
        }
    }

    /// Whether an address is of a network in `presence_networks`.
    #[must_use]
    pub fn is_named(&self, address: std::net::IpAddr) -> bool {
        self.presence_networks.iter().any(|network| network.contains(address))
    }
}

/// What the parts of an [`App`] are made from.
pub struct AppParts {
    /// Runs.
    pub driver: Driver,
    /// Signs trust statements.
    pub signing_key: Arc<SigningKey>,
    /// Random for each start.
    pub instance: [u8; 32],
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// TLS.
    pub certificate: Arc<Certificate>,
    /// Keys, journal, socket.
    pub data_dir: PathBuf,
    /// What anonymous clients can take.
    pub limits: Limits,
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

impl App {
    /// Puts it together. The receiver gets requests for a reload.
    pub(crate) fn new(parts: AppParts, config: &Config) -> (Arc<Self>, mpsc::Receiver<Reload>) {
        let (reload, reloads) = mpsc::channel(4);
        let app = Self {
            driver: parts.driver,
            server_key: ServerKey::new(*parts.signing_key.public()),
            signing_key: parts.signing_key,
            instance: parts.instance,
            offers: WordList::with_grease(&Vocabulary::OURS.all(), parts.instance[0]),
            started_boot_ms: parts.clock.boot_ms(),
            gate: Arc::new(Gate::new(parts.limits, Arc::clone(&parts.clock))),
            backups: config.backups.clone(),
            clock: parts.clock,
            certificate: parts.certificate,
            feedback: ports::Feedback::open(&parts.data_dir),
            registry: OnceLock::new(),
            data_dir: parts.data_dir,
            live: ArcSwap::from_pointee(Live::of(config)),
            shown: shown::Shown::default(),
            presences: presence::Presences::default(),
            ends: Semaphore::new(crate::limits::PRESENCE_ENDS_AT_ONCE),
            turned_away: presence::TurnedAway::default(),
            holders: Mutex::default(),
            licenses: AtomicU64::new(1),
            stopping: parts.stopping,
            reload,
        };
        (Arc::new(app), reloads)
    }

    /// Which connections count as those of holders of seats.
    #[must_use]
    pub fn holders(&self) -> &Mutex<Holders> {
        &self.holders
    }

    /// The driver.
    #[must_use]
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Every count that is kept by network.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The group of administrators now.
    #[must_use]
    pub fn admin_group(&self) -> Option<u32> {
        self.live.load().admin_group
    }

    /// Whether this caller sees the names of users, hosts and networks: administrators do, and everybody where the configuration says so.
    pub(crate) fn sees_names(&self, conn: &Conn) -> bool {
        conn.is_admin() || self.live.load().names_open
    }

    pub(crate) fn position(&self) -> Position {
        self.driver.view().position()
    }

    pub(crate) fn uptime_ms(&self) -> u64 {
        self.clock.boot_ms().saturating_sub(self.started_boot_ms)
    }

    /// Milliseconds by the boot clock, for rates.
    pub(crate) fn boot_ms(&self) -> u64 {
        self.clock.boot_ms()
    }

    /// The registry of ports.
    pub(crate) fn registry(&self) -> &Current {
        self.registry.get_or_init(ports::registry)
    }

    pub(crate) fn licenses_changed(&self) {
        self.licenses.fetch_add(1, Ordering::AcqRel);
        self.shown.licenses_changed();
    }
}

/// An answer's body: whole, or a stream of events.
pub enum Body {
    /// All of it, and it counts until the last of it went to the system.
    Counted(Option<Bytes>),
    /// All of it.
    Full(Vec<u8>),
    /// All of it, from memory that every answer shares.
    Shared(&'static [u8]),
    /// As it comes.
    Stream(mpsc::Receiver<Bytes>),
}

impl Body {
    /// Counts the bytes until the last of them went to the system, and the time that they take; `None` if too many wait already.
    fn counted(self, app: &App, conn: &Conn, under_way: UnderWay) -> Option<Self> {
        let (bytes, held) = match self {
            Self::Full(bytes) if bytes.is_empty() => return Some(Self::Counted(None)),
            Self::Full(bytes) => {
                let held = bytes.len() as u64;
                (Cow::Owned(bytes), held)
            }
            Self::Shared(bytes) => (Cow::Borrowed(bytes), 0),
            other => return Some(other),
        };
        let place = app.gate.unsent(conn.network(), held).ok()?;
        Some(Self::Counted(Some(Bytes::from_owner(Sent { bytes, _place: place, _answering: under_way.answering() }))))
    }
}

/// The bytes of an answer. Whoever sends them keeps this until they are gone.
struct Sent {
    bytes: Cow<'static, [u8]>,
    _place: Place,
    _answering: Answering,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Counted(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes.into()))))
            }
            Self::Shared(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(Bytes::from_static(bytes)))))
            }
            Self::Stream(frames) => frames.poll_recv(cx).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Counted(bytes) => bytes.is_none(),
            Self::Full(bytes) => bytes.is_empty(),
            Self::Shared(bytes) => bytes.is_empty(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Counted(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Shared(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

pub(crate) type Answer = Result<Response<Body>, Problem>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn response(status: StatusCode, kind: HeaderValue, bytes: Vec<u8>) -> Response<Body> {
    answer(status, kind, Body::Full(bytes))
}

fn answer(status: StatusCode, kind: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(8);
    headers.insert(header::CONTENT_TYPE, kind);
    response
}

/// A 200 with this body in JSON.
pub(crate) fn json(body: &impl Serialize) -> Answer {
    let mut bytes = Vec::with_capacity(1024);
    serde_json::to_writer(&mut bytes, body).map_err(|_| Problem::new(ErrorCode::Internal, "the answer could not be written"))?;
    Ok(response(StatusCode::OK, JSON, bytes))
}

/// A problem document.
#[must_use]
pub fn refuse(problem: &Problem) -> Response<Body> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let bytes = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = response(status, HeaderValue::from_static("application/problem+json"), bytes);
    if let Some(ms) = problem.retry_after_ms {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
    }
    response
}

/// The next step of whoever is refused because the disk is full.
const MAKE_ROOM: &str = "make room on the file system of the server's data directory; the server notices within seconds, then ask again";

impl App {
    /// How much room there is and how much is needed, if there is too little; where, for viewers.
    pub(crate) fn full_disk(&self, conn: &Conn) -> Option<FullDisk> {
        let disk = self.driver.full_disk()?;
        Some(FullDisk { path: self.sees_names(conn).then(|| crate::sys::visible(&self.data_dir.display().to_string())), ..disk })
    }

    /// Who is refused because the disk is full hears what the status says of it.
    fn says_room(&self, conn: &Conn, problem: Problem) -> Problem {
        match self.full_disk(conn) {
            Some(disk) if problem.code == ErrorCode::DiskFull && problem.hint == MAKE_ROOM => {
                Problem { detail: disk.to_string(), ..problem }
            }
            _ => problem,
        }
    }
}

impl From<DriverError> for Refused {
    fn from(error: DriverError) -> Self {
        let code = match error {
            DriverError::DiskFull(_) => ErrorCode::DiskFull,
            DriverError::Internal => ErrorCode::Internal,
            DriverError::OutcomeUnknown => ErrorCode::OutcomeUnknown,
            DriverError::Overloaded(_) | DriverError::Stopping(_) => ErrorCode::Overloaded,
        };
        let took_effect = match error.took_effect() {
            TookEffect::No => Effect::No,
            TookEffect::Unknown => Effect::Unknown,
        };
        let problem = Problem { took_effect, ..Problem::new(code, error.to_string()) };
        Self(match error {
            DriverError::DiskFull(_) => problem.hint(MAKE_ROOM),
            DriverError::Internal | DriverError::OutcomeUnknown => problem,
            DriverError::Overloaded(_) | DriverError::Stopping(_) => Problem { retry_after_ms: Some(1_000), ..problem },
        })
    }
}

/// A problem on its way out of a handler.
pub(crate) struct Refused(pub(crate) Problem);

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        refused.0
    }
}

pub(crate) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::BadRequest, detail)
}

/// Answers one request.
pub async fn handle(app: Arc<App>, conn: Arc<Conn>, request: Request<Incoming>) -> Response<Body> {
    let under_way = conn.asks(&app.gate, request_bytes(&request));
    let mut request = request.map(|body| Arriving::new(body, &app.gate, &conn));
    let was_presence = conn.is_presence();
    let is_head = request.method() == Method::HEAD;
    let mut allow = None;
    let answer = if was_presence {
        Err(bad("this connection stands for the presence of leases and takes no other request").hint("use another connection"))
    } else {
        match may_ask(&app, &conn, &request) {
            Ok(found) => dispatch(&app, &conn, found, &mut request).await,
            Err(problem) => {
                allow = (problem.code == ErrorCode::MethodNotAllowed).then(|| routes::allowed(request.uri().path()));
                Err(problem)
            }
        }
    };
    // A batch is refused in parts, and that takes as long as it would one by one.
    let mut refusals = request.body().refusals();
    match &answer {
        Ok(_) => request.body_mut().was_answered(),
        Err(problem) => refusals = refusals.max(u64::from(problem.code == ErrorCode::RateLimited)),
    }
    let pause_ms = app.gate.refusals_pause_ms(conn.network(), refusals);
    if pause_ms > 0 {
        let _rests = conn.at_rest();
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
    let mut response = answer.unwrap_or_else(|problem| refuse(&app.says_room(&conn, problem)));
    let headers = response.headers_mut();
    // For browsers: an answer is data, never a page, a script, or part of another site.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A page has its own, which allows its own style and its own form.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(const { HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'") });
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    if let Some(methods) = allow.and_then(|methods| HeaderValue::try_from(methods).ok()) {
        headers.insert(header::ALLOW, methods);
    }
    if is_head {
        without_body(&mut response);
    }
    let is_drained = drain(&conn, &response, request).await;
    if (was_presence || !is_drained) && conn.is_http1() {
        // What remains of the request is not waited for, and who stands for leases has nothing else to ask.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let (parts, body) = response.into_parts();
    match body.counted(&app, &conn, under_way) {
        Some(body) => Response::from_parts(parts, body),
        None => {
            // Whoever does not take its answers gets no more of them.
            conn.give_up();
            let mut closed = Response::new(Body::Full(Vec::new()));
            *closed.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            closed
        }
    }
}

/// What a request takes on the wire with its body, as it is usually written: one space before each value. None if it does not say how long its body is.
fn request_bytes<B: HttpBody>(request: &Request<B>) -> Option<usize> {
    let body = usize::try_from(request.body().size_hint().exact()?).ok()?;
    let uri = request.uri();
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let line = request.method().as_str().len() + scheme + authority + path + "  HTTP/1.1\r\n".len();
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    Some(headers.sum::<usize>() + line + "\r\n".len() + body)
}

/// What `HEAD` answers: all that `GET` would say of its body, and not the body.
fn without_body(response: &mut Response<Body>) {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::Full(Vec::new());
}

/// The one place where what was not read of a request is drained, if it is small, or given up. Closing over unread bytes would reset the
/// connection, and the peer might never see why it was refused. True if nothing is left.
async fn drain(conn: &Conn, response: &Response<Body>, mut request: Request<Arriving>) -> bool {
    if request.body().is_end_stream() {
        return true;
    }
    let given_up = matches!(response.status(), StatusCode::REQUEST_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE);
    if given_up || request.body().size_hint().lower() > DRAINED_BYTES_MAX as u64 || !request.body_mut().may_be_drained() {
        return false;
    }
    let _rests = conn.at_rest();
    // What is drained is dropped as it comes: it takes no room.
    let mut left = DRAINED_BYTES_MAX;
    let rest = async {
        while let Some(frame) = request.body_mut().frame().await {
            let Ok(frame) = frame else { return false };
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(less) if request.body_mut().may_be_drained() => left = less,
                Some(_) | None => return false,
            }
        }
        true
    };
    tokio::time::timeout(Duration::from_millis(BODY_MS_MAX), rest).await.unwrap_or(false)
}

/// What is refused before anything is read: names that are not this server's, other sites, unknown paths and methods, the wrong role.
fn may_ask(app: &App, conn: &Conn, request: &Request<Arriving>) -> Result<Found, Problem> {
    let headers = request.headers();
    if matches!(conn.peer, Peer::Tcp(_)) {
        host(app, conn, request)?;
    }
    let found = routes::find(request.method(), request.uri().path());
    if !(matches!(&found, Ok(found) if found.endpoint.is_page()) && is_link(headers, request)) {
        same_site(headers, request)?;
    }
    let found = found?;
    if found.endpoint.needs_admin() && !conn.is_admin() {
        let hint = match conn.peer {
            Peer::Tcp(_) => "administration is open on the server's own machine only: run the command there",
            Peer::Unix { .. } => "run it as root, as the server's user, or as a member of the group `admin_group` of its configuration",
        };
        return Err(Problem::new(ErrorCode::Forbidden, format!("{} needs an administrator", found.endpoint.title())).hint(hint));
    }
    if found.endpoint.needs_viewer() && !app.sees_names(conn) {
        return Err(Problem::new(ErrorCode::Forbidden, format!("{} shows names, which is for viewers", found.endpoint.title()))
            .hint("run the command on the server's own machine, or ask its administrator to set `names_open = true`"));
    }
    if found.endpoint.takes_body() {
        is_json(headers)?;
    }
    match found.endpoint.class() {
        Class::Free => {}
        Class::Read => app.gate.charge(Rated::Reads, conn.network(), 1)?,
        Class::Trust => app.gate.charge(Rated::Trust, conn.network(), 1)?,
    }
    Ok(found)
}

/// The name that was asked for must be one of this server's: a page of another site whose name was made to point here is kept out.
fn host(app: &App, conn: &Conn, request: &Request<Arriving>) -> Result<(), Problem> {
    let refused = |name: &str| {
        Problem::new(ErrorCode::ForeignOrigin, format!("this server is not known as {:?}", name.chars().take(80).collect::<String>()))
            .hint("use its address or the machine's name, or add the name to `hosts` of its configuration")
    };
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (value, more) = (hosts.next(), hosts.next().is_some());
    if more {
        return Err(bad("more than one Host header"));
    }
    if let Some(value) = value
        && conn.good_host.lock().as_ref() == Some(value)
        && request.uri().authority().is_none()
    {
        return Ok(());
    }
    let text = match (request.uri().authority(), value) {
        (Some(authority), Some(value)) if value.as_bytes() != authority.as_str().as_bytes() => {
            return Err(bad("Host and the URL name different servers"));
        }
        (Some(authority), _) => authority.as_str(),
        (None, Some(value)) => value.to_str().map_err(|_| refused("?"))?,
        (None, None) => return Err(bad("the request names no Host")),
    };
    if !is_own_name(app, text) {
        return Err(refused(text));
    }
    if let Some(value) = value {
        *conn.good_host.lock() = Some(value.clone());
    }
    Ok(())
}

/// Whether `HOST` or `HOST:PORT` is an address, `localhost`, this machine's name, a configured name or one in the certificate.
fn is_own_name(app: &App, text: &str) -> bool {
    if text.parse::<std::net::SocketAddr>().is_ok() || text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = match text.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => text,
    };
    if let Some(inner) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let live = app.live.load();
    let short = live.machine.split('.').next().unwrap_or_default();
    let own = |own: &str| !own.is_empty() && own == name;
    own("localhost") || own(&live.machine) || own(short) || live.hosts.iter().any(|host| own(host)) || app.certificate.served().names(&name)
}

/// Browsers say where a request comes from. Another origin has no business here; programs say nothing.
fn same_site(headers: &HeaderMap, request: &Request<Arriving>) -> Result<(), Problem> {
    const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let foreign = |what: &str| Err(Problem::new(ErrorCode::ForeignOrigin, format!("the request comes from another site ({what})")));
    if let Some(site) = headers.get(FETCH_SITE)
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return foreign("Sec-Fetch-Site");
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        let host = authority.or_else(|| headers.get(header::HOST).map(HeaderValue::as_bytes));
        let own = origin.as_bytes().strip_prefix(b"https://");
        if own.is_none() || own != host {
            return foreign("Origin");
        }
    }
    Ok(())
}

/// Somebody follows a link to a page from another site, in the window itself: the page holds nothing of anybody, and cannot be framed.
fn is_link(headers: &HeaderMap, request: &Request<Arriving>) -> bool {
    let says = |name: &'static str, value: &[u8]| headers.get(name).is_some_and(|said| said.as_bytes() == value);
    request.method() == Method::GET
        && !headers.contains_key(header::ORIGIN)
        && says("sec-fetch-mode", b"navigate")
        && says("sec-fetch-dest", b"document")
}

fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let one = matches!((kinds.next(), kinds.next()), (Some(kind), None) if names_json(kind.as_bytes()));
    let plain = headers.get(header::CONTENT_ENCODING).is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if one && plain {
        return Ok(());
    }
    Err(Problem::new(
        ErrorCode::ContentType,
        "a request that changes something has the header `Content-Type: application/json`, in UTF-8 if a charset is named, and no other coding",
    ))
}

/// `application/json`, alone or with the one charset that JSON has; as a token or in quotes (RFC 9110, section 5.6.6).
fn names_json(kind: &[u8]) -> bool {
    let Ok(kind) = std::str::from_utf8(kind) else { return false };
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    let charset = match (parts.next(), parts.next()) {
        (None, _) => return is_json,
        (Some(charset), None) => charset.split_once('='),
        (Some(_), Some(_)) => None,
    };
    is_json
        && charset.is_some_and(|(name, value)| {
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            name.eq_ignore_ascii_case("charset") && value.eq_ignore_ascii_case("utf-8")
        })
}

/// Reads a body in JSON of at most `bytes_max` bytes, within the time for bodies.
pub(crate) async fn body<T: DeserializeOwned>(
    app: &App,
    conn: &Conn,
    request: &mut Request<Arriving>,
    bytes_max: usize,
) -> Result<T, Problem> {
    let bytes = raw_body(app, conn, request, bytes_max).await?;
    serde_json::from_slice(&bytes).map_err(|cause| unreadable(&cause))
}

/// A body that is not of its form. A member that is not known is named, so that a newer client can ask without it.
fn unreadable(cause: &serde_json::Error) -> Problem {
    let text = cause.to_string();
    let member = text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')).map(|(member, _)| member.to_owned());
    match member {
        Some(member) => Problem { member: Some(member), ..Problem::new(ErrorCode::UnknownMember, text) }
            .hint("ask without it; a newer server may know it, and says so in the words that it offers"),
        None => bad(text),
    }
}

/// Reads a body of at most `bytes_max` bytes, within the time for bodies. Then the headers are gone: nobody asks for them while the request is
/// decided, and they would keep the buffer that they were read into.
pub(crate) async fn raw_body(app: &App, conn: &Conn, request: &mut Request<Arriving>, bytes_max: usize) -> Result<Bytes, Problem> {
    let bytes = whole_body(app, conn, request, bytes_max).await?;
    request.body_mut().was_read(&bytes);
    Ok(bytes)
}

async fn whole_body(app: &App, conn: &Conn, request: &mut Request<Arriving>, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(ErrorCode::BodyTooLarge, format!("the body may have at most {bytes_max} bytes"));
    if request.body().size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    // Whoever does not say how much comes is taken at the most.
    if request.body().size_hint().upper().is_none_or(|bytes| bytes > BODY_BYTES_FREE as u64) && !conn.may_always_send() {
        app.gate.may_send(conn.network())?;
    }
    let data = |frame: Result<Frame<Bytes>, hyper::Error>, before: usize| {
        let piece = frame.map_err(|_| bad("the body broke off"))?.into_data().unwrap_or_default();
        if before + piece.len() > bytes_max { Err(too_large()) } else { Ok(piece) }
    };
    // Most bodies are here with the head of their request, in one piece. These need no place among those that come in, and no time.
    let (mut first, mut bytes) = (Bytes::new(), Vec::new());
    let is_whole = std::future::poll_fn(|cx| {
        loop {
            match Pin::new(request.body_mut()).poll_frame(cx) {
                Poll::Pending => return Poll::Ready(Ok(false)),
                Poll::Ready(None) => return Poll::Ready(Ok(true)),
                Poll::Ready(Some(frame)) => match data(frame, first.len() + bytes.len()) {
                    Ok(piece) if first.is_empty() => first = piece,
                    Ok(piece) => bytes.extend_from_slice(&piece),
                    Err(problem) => return Poll::Ready(Err(problem)),
                },
            }
        }
    });
    let is_whole = is_whole.await?;
    drop(std::mem::take(request.headers_mut()));
    if is_whole && bytes.is_empty() {
        return Ok(first);
    }
    // The first piece keeps the buffer that it was read into.
    bytes.splice(..0, std::mem::take(&mut first));
    if is_whole {
        return Ok(bytes.into());
    }
    let _rests = conn.at_rest();
    let mut unread = app.gate.unread(conn.network());
    unread.more(bytes.len())?;
    let rest = async {
        while let Some(frame) = request.body_mut().frame().await {
            let piece = data(frame, bytes.len())?;
            bytes.extend_from_slice(&piece);
            unread.more(piece.len())?;
        }
        Ok(())
    };
    match tokio::time::timeout(Duration::from_millis(BODY_MS_MAX), rest).await {
        Err(_) => Err(Problem::new(ErrorCode::Timeout, format!("the body did not arrive within {} s", BODY_MS_MAX / 1_000))),
        Ok(read) => read.map(|()| bytes.into()),
    }
}

/// Reads the query, in which every name must be known and stand once.
pub(crate) fn query<const N: usize>(request: &Request<Arriving>, names: [&str; N]) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    for pair in request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (unescape(name)?, unescape(value)?);
        let Some(place) = names.iter().position(|known| *known == name) else {
            return Err(bad(format!("the query has an unknown parameter {name:?}; known are {}", names.join(", "))));
        };
        if values[place].replace(value).is_some() {
            return Err(bad(format!("the query has {name:?} twice")));
        }
    }
    Ok(values)
}

/// Percent-decoding (RFC 3986, section 2.1), with `+` for a space as forms write it.
fn unescape(text: &str) -> Result<String, Problem> {
    let wrong = || bad("the query has a broken % escape");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or_else(wrong);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high << 4 | low).map_err(|_| wrong())?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

async fn dispatch(app: &Arc<App>, conn: &Arc<Conn>, found: Found, request: &mut Request<Arriving>) -> Answer {
    let lease = || leases::id_of(&found);
    match found.endpoint {
        Endpoint::AcceptClock => admin::accept_clock(app, conn, request).await,
        Endpoint::AllowPresence => admin::allow_presence(app, conn, request).await,
        Endpoint::Backup => admin::backup(app, conn, request).await,
        Endpoint::Checkout => leases::checkout(app, conn, request).await,
        Endpoint::EndQuarantine => admin::end_quarantine(app, conn, request).await,
        Endpoint::Events => events::stream(app, conn, request),
        Endpoint::Feedback => ports::counts(app),
        Endpoint::Health => Ok(text("ok\n")),
        Endpoint::Inspect => leases::inspect(app, conn, lease()?, request).await,
        Endpoint::Install => admin::install(app, conn, request).await,
        Endpoint::Leases => read(app, conn, || leases::list(app, request)),
        Endpoint::Licenses => read(app, conn, || admin::licenses(app, request)),
        Endpoint::OpenApi => read(app, conn, || Ok(answer(StatusCode::OK, JSON, Body::Shared(openapi::TEXT.as_bytes())))),
        Endpoint::Port => read(app, conn, || ports::report(app, &found, request)),
        Endpoint::PortAnswer => ports::answer(app, conn, &found, request).await,
        Endpoint::PortPage => ports::page(app, conn, &found, request).await,
        Endpoint::PortSearch => ports::search(app, conn, request).await,
        Endpoint::Presence => presence::open(app, conn, request).await,
        Endpoint::PresenceChange => presence::change(app, conn, request).await,
        Endpoint::Ready => ready(app),
        Endpoint::Reclaim => admin::reclaim(app, conn, lease()?, request).await,
        Endpoint::Release => leases::release(app, conn, lease()?, request).await,
        Endpoint::Reload => admin::reload(app, conn, request).await,
        Endpoint::Remove => admin::remove(app, conn, &found, request).await,
        Endpoint::Renew => leases::renew(app, conn, lease()?, request).await,
        Endpoint::RenewMany => leases::renew_many(app, conn, request).await,
        Endpoint::ServerId => read(app, conn, || trust::server_id(app)),
        Endpoint::Status => read(app, conn, || leases::status(app, conn, request)),
        Endpoint::Trust => trust::trust(app, conn, request).await,
    }
}

/// Does the work of a read, whose time is charged. Nothing is awaited in it.
fn read<T>(app: &App, conn: &Conn, work: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    let _reading = app.gate.reading(Rated::Reads, conn.network())?;
    work()
}

fn text(text: &'static str) -> Response<Body> {
    answer(StatusCode::OK, HeaderValue::from_static("text/plain; charset=utf-8"), Body::Shared(text.as_bytes()))
}

/// Ready: the server runs, and its disk has room.
fn ready(app: &App) -> Answer {
    if *app.stopping.borrow() {
        return Err(Problem::new(ErrorCode::Overloaded, "the server is stopping"));
    }
    if app.driver.journal_state() != triquest_wire::status::JournalState::Ok {
        return Err(Problem::new(ErrorCode::DiskFull, FullDisk::FULL).hint(MAKE_ROOM));
    }
    Ok(text("ready\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn percent_escapes_are_strict() {
        assert_eq!(unescape("a%2Fb+c").unwrap(), "a/b c");
        for wrong in ["%", "%2", "%zz", "%ff"] {
            assert!(unescape(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_may_name_its_charset_and_no_other() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json ; charset=\"utf-8\"",
        ] {
            assert!(names_json(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonp",
            "application/json;",
            "application/json; charset=latin1",
            "application/json; charset",
            "application/json; version=2",
            "application/json; charset=utf-8; charset=utf-8",
            "text/plain; charset=utf-8",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!names_json(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_member_that_is_not_known_is_named() {
        let read = |text: &str| serde_json::from_str::<triquest_wire::status::ReloadRequest>(text).map_err(|cause| unreadable(&cause));
        let problem = read(r#"{"tomorrow": 1}"#).unwrap_err();
        assert_eq!((problem.code, problem.member.as_deref()), (ErrorCode::UnknownMember, Some("tomorrow")));
        let problem = read("{").unwrap_err();
        assert_eq!((problem.code, problem.member), (ErrorCode::BadRequest, None));
    }

    #[test]
    fn a_problem_says_when_to_ask_again_in_whole_seconds() {
        let problem = Problem { retry_after_ms: Some(1_001), ..Problem::new(ErrorCode::RateLimited, "x") };
        let response = refuse(&problem);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.status(), 429);
    }
}
