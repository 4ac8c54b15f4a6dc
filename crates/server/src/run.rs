//! Start, signals, systemd, reload, stop.

use std::{
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use sd_notify::NotifyState;
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
};
use triquest_allocator::{Actor, Command, Outcome, Refusal, Safeguards};
use triquest_journal::{History, Journal, JournalError, JournalErrorKind, OpenMode, SqliteJournal, backup, upgrade};
use triquest_license::{LicenseError, Note, ServerKey, SigningKey, VerifiedLicense};
use triquest_wire::limits::DRAIN_MS_MAX;

use crate::{
    accept::Accepting,
    clock::{Clock, MachineClock},
    config::{self, Config, Fault, Log, LogFormat, Settings},
    discovery::{Discovery, Found, UdpSockets},
    driver::{self, Driver},
    gate::Gate,
    http::{App, AppParts, Live, Reload},
    identity::{self, Beginning, Certificate, Runtime},
    licenses_folder,
    limits::SAID_AGAIN_MS,
    sys,
};

/// Files that are not connections: journal, log, sockets, threads' own.
const OTHER_FILES: usize = 128;

/// The server as a library.
pub struct Server;

/// A server that runs.
pub struct Running {
    app: Arc<App>,
    accepting: Accepting,
    discovery: Discovery,
    stop: watch::Sender<bool>,
    addresses: Vec<SocketAddr>,
    data_dir: PathBuf,
    beginning: Beginning,
}

/// What a running server needs to read its configuration again.
struct Reloader {
    settings: Settings,
    certificate: Arc<Certificate>,
    /// The configuration that counts, for telling what changed.
    config: ArcSwap<Config>,
    /// The file that was read last, if any.
    file: ArcSwap<Option<PathBuf>>,
}

impl Server {
    /// Starts everything: data directory, keys, journal, driver, listeners. Returns once it answers.
    ///
    /// # Errors
    /// In words for the administrator; downcast to [`Fault`] for the next step.
    pub async fn start(settings: Settings) -> anyhow::Result<Running> {
        Self::start_with(settings, Arc::new(MachineClock::default()), None).await
    }

    /// The same with another clock, and with another journal than the data directory's, for tests.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with(settings: Settings, clock: Arc<dyn Clock>, journal: Option<Box<dyn Journal>>) -> anyhow::Result<Running> {
        let config = settings.config.clone();
        config.check()?;
        config.warnings().iter().for_each(|said| tracing::warn!("{said}"));
        let data_dir = config.data_dir();
        // What can fail for a reason that the administrator must see comes before anything that changes the disk.
        let Bound { tcp, udp } = bind(&config)?;
        identity::look_at_data_dir(&settings)?;
        check_admin_socket(&data_dir, &config)?;
        licenses_folder::files(&config.licenses_dir(), config.licenses.is_some())?;
        let named = if config.tls.certificate.is_some() { Some(Certificate::load(&config)?) } else { None };
        let beginning = identity::prepare_data_dir(&settings)?;
        let certificate = Arc::new(named.map_or_else(|| Certificate::load(&config), Ok)?);
        identity::make_key(&data_dir)?;
        let files = sys::raise_open_files().saturating_sub(OTHER_FILES).max(16);
        let limits = settings.limits.clone().with(&config.limits, files);
        let (stop, stopping) = watch::channel(false);
        let version = settings.version.clone().unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        let mut journal = open_journal(&data_dir, beginning, journal, version.clone()).await?;
        // The journal's lock is ours; now all else that can fail, and only then the first entry: a start that fails leaves no trace in history.
        identity::remove_parts(&data_dir);
        // Whatever came before, a server whose journal has no entry has never answered anybody.
        let is_empty = journal.head().index.0 == 0;
        let key = Arc::new(identity::keep_key(&data_dir, is_empty)?);
        let beginning = if beginning == Beginning::GoesOn && is_empty { Beginning::New } else { beginning };
        let unix = match bind_admin(&data_dir, &config) {
            // A full disk, or one without an inode: this is what the reserve is for.
            Err(cause) if is_full(&cause) && journal.release_reserve().unwrap_or(false) => bind_admin(&data_dir, &config),
            bound => bound,
        }
        .map_err(|cause| cannot_bind_admin(&data_dir, &cause))?;
        let tcp = tcp.into_iter().map(TcpListener::from_std).collect::<Result<Vec<_>, _>>()?;
        let addresses = tcp.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let tls = Arc::new(identity::tls_config(Arc::clone(&certificate)));
        match beginning {
            Beginning::New => tracing::info!(
                data = %data_dir.display(), server_key = %ServerKey::new(*key.public()),
                "a new server was made here: licenses must name this key"
            ),
            Beginning::AfterLoss => tracing::warn!(
                data = %data_dir.display(), server_key = %ServerKey::new(*key.public()),
                "the server's key was kept and its journal is gone: a new history begins here"
            ),
            Beginning::GoesOn => {}
        }
        let instance = identity::random();
        // A restored server waits as long as any license may have promised, also one that only lost history had installed.
        let folder_ttl_max_ms = licenses_folder::longest_ttl_max_ms(&config.licenses_dir()).await;
        // And as long as whoever restored it asked.
        let asked_ms = backup::asked_quarantine_ms(&data_dir).map_err(|error| journal_fault(error, &data_dir, &version))?;
        let folder_ttl_max_ms = folder_ttl_max_ms.max(asked_ms.unwrap_or(0));
        let starting = Starting { key: Arc::clone(&key), clock: Arc::clone(&clock), instance, folder_ttl_max_ms, version };
        let driver = start_driver(&data_dir, starting, journal).await?;
        if asked_ms.is_some()
            && let Err(error) = backup::forget_asked_quarantine(&data_dir)
        {
            tracing::warn!("{}; {}", error.message, error.hint);
        }
        let parts = AppParts {
            driver,
            signing_key: key,
            instance,
            clock,
            certificate: Arc::clone(&certificate),
            data_dir: data_dir.clone(),
            limits,
            stopping,
        };
        let (app, reloads) = App::new(parts, &config);
        // From the first entry on nothing keeps this server from serving: each failed start would be one more in its history.
        accept_at_start(&app, &settings).await;
        // Only now: `--end-quarantine` may have ended it.
        say_quarantine(&app, &config.data_dir());
        reread_licenses(&app).await;
        match licenses_folder::install(&app, &config.licenses_dir(), config.licenses.is_some()).await {
            Ok(report) => log_folder(&report),
            Err(fault) => tracing::error!(hint = fault.hint, "the folder of licenses was not read: {}", fault.message),
        }
        let discovery = Discovery::start(&app, udp, &addresses, &config);
        let runtime = Runtime {
            pid: std::process::id(),
            addresses: addresses.clone(),
            udp: discovery.found().udp.clone(),
            server_key: app.server_key.to_string(),
            admin_socket: data_dir.join(identity::ADMIN_SOCKET_FILE),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        // Before anybody is accepted: whoever sees the file can connect, and whoever connects can see it.
        if let Err(fault) = runtime.write(&data_dir) {
            // That of an earlier run would send commands elsewhere.
            Runtime::remove(&data_dir);
            tracing::warn!(
                hint = fault.hint,
                "commands on this machine may not find on which addresses this server serves, until there is room: {}",
                fault.message
            );
            tokio::spawn(write_later(runtime, data_dir.clone(), app.stopping.clone()));
        }
        let accepting = Accepting::start(&app, tls, tcp, unix);
        let file = ArcSwap::from_pointee(settings.file.clone());
        let reloader = Reloader { settings, certificate, config: ArcSwap::from_pointee(config), file };
        tokio::spawn(serve_reloads(Arc::clone(&app), reloader, reloads));
        tokio::spawn(say_limits(Arc::clone(&app)));
        Ok(Running { app, accepting, discovery, stop, addresses, data_dir, beginning })
    }
}

/// Tries again, once a minute, what had no room at the start.
async fn write_later(runtime: Runtime, data_dir: PathBuf, mut stopping: watch::Receiver<bool>) {
    let runtime = Arc::new(runtime);
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(SAID_AGAIN_MS)) => {}
            _ = stopping.changed() => return,
        }
        let (runtime, data_dir) = (Arc::clone(&runtime), data_dir.clone());
        if tokio::task::spawn_blocking(move || runtime.write(&data_dir)).await.is_ok_and(|written| written.is_ok()) {
            return;
        }
    }
}

/// Opens the journal, which locks the data directory for this server's life. Blocks no other task.
async fn open_journal(
    data_dir: &Path,
    beginning: Beginning,
    journal: Option<Box<dyn Journal>>,
    version: String,
) -> anyhow::Result<Box<dyn Journal>> {
    if let Some(journal) = journal {
        return Ok(journal);
    }
    let dir = data_dir.to_owned();
    tokio::task::spawn_blocking(move || {
        let mode = match beginning {
            Beginning::AfterLoss => OpenMode::InitLost,
            Beginning::GoesOn => OpenMode::Existing,
            Beginning::New => OpenMode::InitIfMissing,
        };
        let mut journal = SqliteJournal::open(&dir, mode).map_err(|error| journal_fault(error, &dir, &version))?;
        if beginning == Beginning::New && journal.head().index.0 > 0 {
            return Err(identity::no_key(&dir).into());
        }
        match upgrade::prepare(&mut journal, &version) {
            Ok(None) => {}
            Ok(Some(backup)) => {
                tracing::info!(version, backup = %backup.display(), "the first start of this version here: a backup of what was before was made");
            }
            Err(error) if error.kind == JournalErrorKind::Newer => return Err(journal_fault(error, &dir, &version).into()),
            // Seats are worth more than the way back, and until a record of a new kind is written there is one without it.
            Err(error) => tracing::error!(
                version,
                error = error.message,
                hint = error.hint,
                "the first start of this version here, and no backup of what was before could be made; the next start tries again"
            ),
        }
        Ok(Box::new(journal) as Box<dyn Journal>)
    })
    .await?
}

/// What a driver starts with beside its journal.
struct Starting {
    key: Arc<SigningKey>,
    clock: Arc<dyn Clock>,
    instance: [u8; 32],
    folder_ttl_max_ms: u64,
    version: String,
}

async fn start_driver(data_dir: &Path, starting: Starting, journal: Box<dyn Journal>) -> anyhow::Result<Driver> {
    let Starting { key, clock, instance, folder_ttl_max_ms, version } = starting;
    let (data_dir, runtime) = (data_dir.to_owned(), tokio::runtime::Handle::current());
    // Reading a journal back takes seconds at a million leases.
    tokio::task::spawn_blocking(move || {
        let _entered = runtime.enter();
        let server_key = ServerKey::new(*key.public());
        let dir = data_dir.clone();
        let parts = driver::Parts {
            data_dir,
            journal,
            signing_key: key,
            server_key,
            clock,
            safeguards: Safeguards::default(),
            instance,
            folder_ttl_max_ms,
        };
        driver::start(parts).map_err(|cause| match cause.downcast::<JournalError>() {
            Ok(error) => journal_fault(error, &dir, &version).into(),
            Err(cause) => cause,
        })
    })
    .await?
}

fn journal_fault(error: JournalError, data_dir: &Path, version: &str) -> Fault {
    let hint = if error.kind == JournalErrorKind::Newer { upgrade::how_back(data_dir, version) } else { error.hint };
    Fault::new(error.message, hint)
}

/// `--accept-clock` and `--end-quarantine`, as the audited acts that they are. Flags stay in unit files, so what cannot be done is said and keeps
/// nobody from serving.
async fn accept_at_start(app: &App, settings: &Settings) {
    let actor = |flag: &str| Actor { name: format!("unix:{}", sys::user_name(sys::user_id())), reason: format!("{flag} at start") };
    if settings.accept_clock {
        match app.driver().decide(Command::AcceptClock { actor: actor("--accept-clock") }, None).await.map(|answer| answer.outcome) {
            Ok(Outcome::Done | Outcome::Refused(Refusal::NothingToDo(_))) => {}
            Ok(other) => tracing::error!("--accept-clock accepted nothing: {other:?}"),
            Err(cause) => tracing::warn!(
                hint = "if `triquest-lm status` says that the clock is not believed: triquest-lm clock accept --reason TEXT",
                "--accept-clock accepted nothing: {cause}"
            ),
        }
    }
    let Some(named) = &settings.end_quarantine else { return };
    let view = app.driver().view();
    let lineage = view.position().lineage;
    if !named.names(&lineage) {
        return say_other_history(app, named);
    }
    let nothing = || tracing::info!(lineage = %named, "--end-quarantine ended nothing: no quarantine runs, so the flag can be taken out");
    if view.quarantine_ms().is_none() {
        return nothing();
    }
    let command = Command::EndQuarantine { lineage: triquest_allocator::Lineage(lineage.0), actor: actor("--end-quarantine") };
    match app.driver().decide(command, None).await.map(|answer| answer.outcome) {
        Ok(Outcome::Done) => tracing::warn!(
            lineage = %named,
            "--end-quarantine ended the quarantine of this history: seats are granted again, and the flag has nothing more to do"
        ),
        Ok(Outcome::Refused(Refusal::NothingToDo(_))) => nothing(),
        // A quarantine that has just begun is another one.
        Ok(Outcome::Refused(Refusal::OtherHistory)) => say_other_history(app, named),
        Ok(other) => tracing::error!(lineage = %named, "--end-quarantine ended nothing: {other:?}"),
        Err(cause) => tracing::warn!(
            lineage = %named,
            hint = format!("later: triquest-lm quarantine end --lineage {} --reason TEXT", lineage.short()),
            "--end-quarantine ended nothing: {cause}"
        ),
    }
}

fn say_other_history(app: &App, named: &triquest_wire::NamedLineage) {
    let here = app.driver().view().position().lineage.short();
    tracing::warn!(
        lineage = %named,
        here,
        "--end-quarantine names another history than the one that is here, so it ended nothing: take the flag out"
    );
}

fn say_quarantine(app: &App, data: &Path) {
    let view = app.driver().view();
    if let Some(ms) = view.quarantine_ms() {
        tracing::warn!(
            ms,
            "this history was restored, rolled back or begun after a loss: for so long nothing new is granted, because seats granted in lost history may \
             still be in use; `triquest-lm quarantine end --lineage {} --reason TEXT --data {}` ends it sooner",
            view.position().lineage.short(),
            data.display()
        );
    }
}

/// The sockets of the network.
struct Bound {
    tcp: Vec<std::net::TcpListener>,
    udp: UdpSockets,
}

/// Binds every address, or says who has it.
fn bind(config: &Config) -> Result<Bound, Fault> {
    let mut bound = Bound { tcp: Vec::new(), udp: UdpSockets::default() };
    let udp = config.discovery.udp.0;
    let wanted = config.listen_addresses()?;
    for address in &wanted {
        bound.add(*address, address.ip().is_unspecified(), udp).map_err(|cause| cannot_listen(*address, &cause, config))?;
    }
    if !wanted.is_empty() {
        return Ok(bound);
    }
    let all = Config::DEFAULT_LISTEN;
    let ipv4 = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, all.port()));
    match bound.add(all, true, udp) {
        Ok(()) => {}
        // A kernel without IPv6.
        Err(cause) if matches!(cause.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
            bound.add(ipv4, false, udp).map_err(|cause| cannot_listen(ipv4, &cause, config))?;
        }
        Err(cause) => return Err(cannot_listen(all, &cause, config)),
    }
    Ok(bound)
}

impl Bound {
    /// Binds TCP, and UDP on the port that TCP got. Only TCP must work.
    fn add(&mut self, address: SocketAddr, dual: bool, udp: bool) -> std::io::Result<()> {
        /// Where any port will do, so many are tried until one is free over both.
        const PORTS_TRIED_MAX: u32 = 16;
        let mut tries = if address.port() == 0 { PORTS_TRIED_MAX } else { 1 };
        loop {
            let listener = sys::listen(address, dual)?;
            let local = listener.local_addr()?;
            tries -= 1;
            match udp.then(|| sys::bind_udp(local, dual)) {
                Some(Err(cause)) if cause.kind() == std::io::ErrorKind::AddrInUse && tries > 0 => continue,
                Some(Err(cause)) => self.udp.faults.push(no_udp(local, &cause)),
                Some(Ok(socket)) => self.udp.bound.push(socket),
                None => {}
            }
            self.tcp.push(listener);
            return Ok(());
        }
    }
}

fn no_udp(address: SocketAddr, cause: &std::io::Error) -> String {
    match cause.kind() {
        std::io::ErrorKind::AddrInUse => format!("UDP {} is held by {}", address.port(), holder_text(sys::udp_port_holder(address.port()))),
        _ => format!("cannot use UDP {address}: {cause}"),
    }
}

fn holder_text(holder: Option<sys::PortHolder>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |holder| holder.to_string())
}

fn cannot_listen(address: SocketAddr, cause: &std::io::Error, config: &Config) -> Fault {
    let port = address.port();
    match cause.kind() {
        std::io::ErrorKind::AddrInUse => {
            let holder = holder_text(sys::port_holder(port));
            let data = config.data_dir();
            if std::os::unix::net::UnixStream::connect(data.join("admin.sock")).is_ok() {
                return Fault::new(
                    format!("TCP {port} is held by {holder}, and a server runs on {} already", data.display()),
                    format!(
                        "`triquest-lm status` shows it; for another one beside it: triquest-lm serve --listen {}:0 --data DIR --init",
                        address_text(address)
                    ),
                );
            }
            Fault::new(
                format!("TCP {port} is held by {holder}"),
                format!("stop that one, or listen elsewhere: triquest-lm serve --listen {}:0", address_text(address)),
            )
        }
        std::io::ErrorKind::PermissionDenied => {
            Fault::new(format!("this user may not listen on TCP {port}"), "use a port from 1024 on, or run as a user who may")
        }
        std::io::ErrorKind::AddrNotAvailable => {
            Fault::new(format!("{} is no address of this machine", address.ip()), "`ip address` lists them; `[::]:1588` listens on all")
        }
        _ => Fault::new(format!("cannot listen on {address}: {cause}"), ""),
    }
}

fn address_text(address: SocketAddr) -> String {
    if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() }
}

/// Whether the Unix socket can be made, as far as can be told while another server may still run here.
fn check_admin_socket(data_dir: &Path, config: &Config) -> Result<Option<u32>, Fault> {
    let path = data_dir.join(identity::ADMIN_SOCKET_FILE);
    if let Ok(meta) = std::fs::symlink_metadata(&path)
        && !meta.file_type().is_socket()
    {
        return Err(Fault::new(format!("{} is no socket", path.display()), "move it away; nothing but a server's socket belongs there"));
    }
    /// Longest path that fits a Unix socket's address, with its final zero (unix(7)).
    const PATH_BYTES_MAX: usize = 107;
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(Fault::new(
            format!("the path {} is too long for a Unix socket (at most {PATH_BYTES_MAX} bytes)", path.display()),
            "use a data directory with a shorter path",
        ));
    }
    match config.admin_group.as_deref().map(|name| (name, sys::group_id(name))) {
        Some((name, None)) => {
            Err(Fault::new(format!("admin_group = {name:?}: there is no such group"), "`groupadd --system NAME` makes one"))
        }
        Some((_, group)) => Ok(group),
        None => Ok(None),
    }
}

/// The Unix socket. The journal's lock is ours by now, so a socket that is there is a dead server's.
fn bind_admin(data_dir: &Path, config: &Config) -> std::io::Result<UnixListener> {
    let path = data_dir.join(identity::ADMIN_SOCKET_FILE);
    let group = check_admin_socket(data_dir, config).map_err(std::io::Error::other)?;
    if std::fs::symlink_metadata(&path).is_ok() {
        std::fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path)?;
    let mode = match group {
        Some(group) => {
            std::os::unix::fs::chown(&path, None, Some(group))?;
            0o660
        }
        None => 0o600,
    };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

fn is_full(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

fn cannot_bind_admin(data_dir: &Path, cause: &std::io::Error) -> Fault {
    let hint = match cause.get_ref().and_then(|inner| inner.downcast_ref::<Fault>()) {
        Some(fault) => return fault.clone(),
        None if is_full(cause) => format!("make room (or inodes) on the file system of {}, then start again", data_dir.display()),
        None => format!("the server's user must be able to write in {}", data_dir.display()),
    };
    Fault::new(format!("cannot make the socket {}: {cause}", data_dir.join(identity::ADMIN_SOCKET_FILE).display()), hint)
}

/// Checks the signatures of every installed license by this version's rules, and takes in what it understands that an older one left out.
/// Neither is a reason not to serve: what is wrong is a fact, a line in the log and a word in `status`.
async fn reread_licenses(app: &App) {
    for (license, note) in app.driver().view().license_notes() {
        let read = Note::parse(note.as_bytes()).map_err(LicenseError::from).and_then(|note| VerifiedLicense::verify_named(&note));
        let read = match read {
            Ok(read) if read.hash() == license => Ok(Box::new(read)),
            Ok(read) => Err(format!("its text is that of another license, {}", read.hash())),
            Err(cause) => Err(cause.to_string()),
        };
        if let Err(cause) = app.driver().decide(Command::Reread { license, read }, None).await {
            tracing::warn!(%license, %cause, "what this version reads in an installed license could not be recorded");
        }
    }
    app.licenses_changed();
    for said in app.driver().view().license_warnings() {
        tracing::warn!("{said}");
    }
}

fn log_folder(report: &licenses_folder::Report) {
    report.installed.iter().for_each(|line| tracing::info!("{line}"));
    report.warnings.iter().chain(&report.refused).for_each(|line| tracing::warn!("{line}"));
}

/// Says once a minute what came up against limits and was not said yet, and counts the denials that left no record.
async fn say_limits(app: Arc<App>) {
    let mut stopping = app.stopping.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(SAID_AGAIN_MS)) => {
                app.gate().say_due();
                app.gate().write_unrecorded(app.driver()).await;
            }
            // What is denied until the last answer has left is counted when that has.
            _ = stopping.changed() => return,
        }
    }
}

async fn serve_reloads(app: Arc<App>, reloader: Reloader, mut reloads: mpsc::Receiver<Reload>) {
    let mut stopping = app.stopping.clone();
    loop {
        let reply = tokio::select! {
            reply = reloads.recv() => reply,
            _ = stopping.changed() => return,
        };
        let Some(reply) = reply else { return };
        let result = reloader.reload(&app).await;
        match &result {
            Ok(changes) => tracing::info!(changes = changes.join("; "), "reloaded"),
            Err(fault) => tracing::error!(hint = fault.hint, "not reloaded: {}", fault.message),
        }
        let _ = reply.send(result.map_err(|fault| fault.message));
    }
}

/// A file that was read before and is not there any more: nothing of what it said is forgotten without a word.
fn gone(file: &Path, fault: Fault) -> Fault {
    match std::fs::symlink_metadata(file) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Fault::new(
            format!("the configuration {} was read before and is gone; what it said stays in force until the next start", file.display()),
            "put it back, if only as an empty file, and reload again",
        ),
        _ => fault,
    }
}

impl Reloader {
    async fn reload(&self, app: &App) -> Result<Vec<String>, Fault> {
        let read_before = self.file.load_full();
        let file = read_before.as_ref().clone().or_else(|| self.settings.file_now());
        let fresh = match &file {
            Some(file) => {
                Settings::load(Some(file), self.settings.overrides.clone(), &config::environment).map_err(|fault| gone(file, fault))?.config
            }
            None => self.settings.config.clone(),
        };
        fresh.check()?;
        fresh.warnings().iter().for_each(|said| tracing::warn!("{said}"));
        let before = self.config.load_full();
        let mut changes = Vec::new();
        if let (None, Some(file)) = (read_before.as_ref(), &file) {
            changes.push(format!("{} is there now and was read", file.display()));
        }
        let restart = [
            ("data", fresh.data_dir() != before.data_dir()),
            ("listen", fresh.listen != before.listen),
            ("limits", fresh.limits != before.limits),
            ("log", fresh.log != before.log),
            ("admin_group", fresh.admin_group != before.admin_group),
            ("discovery", fresh.discovery != before.discovery),
        ];
        changes.extend(
            restart.iter().filter(|(_, changed)| *changed).map(|(key, _)| format!("{key} changed and takes effect after a restart")),
        );
        // The certificate first: it is what most likely fails, and nothing has changed yet.
        let kept = Config { data: before.data.clone(), ..fresh.clone() };
        if self.certificate.reload(&kept)? {
            changes.push("another certificate is served".to_owned());
        }
        let unnamings = app.tell_unnamed(&fresh.presence_networks).await.map_err(|cause| {
            Fault::new(format!("networks are taken out of presence_networks, and that was not taken: {cause}"), "reload again")
        })?;
        let live = Live { admin_group: app.admin_group(), unnamings, ..Live::of(&kept) };
        for (key, changed) in [
            ("hosts", fresh.hosts != before.hosts),
            ("names_open", fresh.names_open != before.names_open),
            ("presence_networks", fresh.presence_networks != before.presence_networks),
            ("vouch_for", fresh.vouch_for != before.vouch_for),
        ] {
            if changed {
                changes.push(format!("{key} changed"));
            }
        }
        app.live.store(Arc::new(live));
        let report = licenses_folder::install(app, &kept.licenses_dir(), kept.licenses.is_some()).await?;
        log_folder(&report);
        changes.extend(report.installed);
        changes.extend(report.warnings.into_iter().map(|line| format!("warning: {line}")));
        changes.extend(report.refused.into_iter().map(|line| format!("refused: {line}")));
        self.config.store(Arc::new(fresh));
        self.file.store(Arc::new(file));
        Ok(changes)
    }
}

impl Running {
    /// Where it listens, with the real ports.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How it is found.
    #[must_use]
    pub fn discovery(&self) -> &Found {
        self.discovery.found()
    }

    /// Its key.
    #[must_use]
    pub fn server_key(&self) -> ServerKey {
        self.app.server_key
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its socket for administration.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.data_dir.join(identity::ADMIN_SOCKET_FILE)
    }

    /// What this start found in the data directory, and so what it began.
    #[must_use]
    pub fn beginning(&self) -> Beginning {
        self.beginning
    }

    /// For how long nothing new is granted, because seats of lost history may still be in use; milliseconds.
    #[must_use]
    pub fn quarantine_ms(&self) -> Option<u64> {
        self.app.driver().view().quarantine_ms()
    }

    /// The history that is here.
    #[must_use]
    pub fn lineage(&self) -> triquest_wire::Lineage {
        self.app.driver().view().position().lineage
    }

    /// What is counted by network.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        self.app.gate()
    }

    /// The driver, for programs that embed the server.
    #[must_use]
    pub fn driver(&self) -> &Driver {
        self.app.driver()
    }

    /// What to tell the administrator, as verb and rest of the sentence: where it serves; at a first start also its key, the data directory
    /// and the line that opens this system's firewall.
    #[must_use]
    pub fn announcement(&self) -> Vec<(&'static str, String)> {
        let addresses = self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut lines =
            vec![("Serving", format!("{addresses}, server key {}", self.server_key())), ("Discovery", self.discovery().to_string())];
        if self.beginning == Beginning::New {
            lines.push(("Created", format!("server key and journal in {}", self.data_dir.display())));
            if let Some(address) = self.addresses.iter().find(|address| !address.ip().is_loopback()) {
                lines.push(("Firewall", self.firewall(address.port())));
            }
            lines.push(("Next", "triquest-lm license request, and mail what it prints to your vendor".to_owned()));
        }
        lines
    }

    /// The line that opens this port in this machine's firewall, or what must be open where none was found. UDP is opened if it is answered.
    #[must_use]
    pub fn firewall(&self, port: u16) -> String {
        let udp = self.discovery().udp.iter().any(|address| address.port() == port);
        let both = if udp { " and UDP" } else { "" };
        sys::Firewall::detect()
            .command(port, udp)
            .unwrap_or_else(|| format!("none found on this machine; between networks, TCP{both} {port} must be open"))
    }

    /// Reads configuration, certificate and the folder of licenses again. Says what changed, for people.
    ///
    /// # Errors
    /// What was refused; everything stays as it was.
    pub async fn reload(&self) -> anyhow::Result<Vec<String>> {
        let (reply, answer) = oneshot::channel();
        self.app.reload.send(reply).await.map_err(|_| anyhow::anyhow!("the server is stopping"))?;
        answer.await?.map_err(|why| Fault::new(why, "").into())
    }

    /// Waits until the server must end by itself (a fault of the journal), and says why.
    ///
    /// # Errors
    /// Always: why.
    pub async fn wait(&self) -> anyhow::Result<()> {
        Err(self.app.driver().faulted().await.into())
    }

    /// Stops in order: nobody finds it any more, no new connection, answers under way, the driver, the journal.
    ///
    /// # Errors
    /// None at present.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        let _ = self.stop.send(true);
        self.app.driver().stop_holding().await;
        self.discovery.stop().await;
        self.accepting.drain(Duration::from_millis(DRAIN_MS_MAX)).await;
        // A disk that does not answer does not hold up the stop.
        let counted = self.app.gate().write_unrecorded(self.app.driver());
        let _ = tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), counted).await;
        self.app.driver().clone().stop().await;
        let _ = std::fs::remove_file(self.data_dir.join(identity::ADMIN_SOCKET_FILE));
        Runtime::remove(&self.data_dir);
        Ok(())
    }
}

/// Starts the log of the process, once; later calls change nothing. The log goes to standard error.
pub fn start_log(log: &Log) {
    use tracing_subscriber::{EnvFilter, fmt};
    // Libraries below `error` talk of every handshake that a port scan breaks off and of every stream that is reset: any peer fills a log so.
    let directives = format!("error,triquest_server={level},triquest_journal={level},triquest_lm={level}", level = log.level.as_str());
    let filter = EnvFilter::try_new(directives).unwrap_or_default();
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let _ = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init().is_ok(),
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()) && config::environment("NO_COLOR").is_none())
            .try_init()
            .is_ok(),
    };
}

/// Validates what `serve` would use without starting: configuration, keys, certificate, folder of licenses. Says what was found.
///
/// # Errors
/// The first fault.
pub fn check(settings: &Settings) -> Result<Vec<String>, Fault> {
    settings.config.check()?;
    let dir = settings.config.data_dir();
    let mut found = vec![match &settings.file {
        Some(file) => format!("configuration {}", file.display()),
        None => "no configuration file, built-in values".to_owned(),
    }];
    if dir.join(identity::SERVER_KEY_FILE).exists() {
        found.push(format!("data directory {}, server key {}", dir.display(), identity::public_server_key(&dir)?));
    } else {
        found.push(format!("data directory {}: a first start would make it", dir.display()));
    }
    if settings.config.tls.certificate.is_some() {
        Certificate::load(&settings.config)?;
        found.push("certificate and key fit each other".to_owned());
    }
    let files = licenses_folder::files(&settings.config.licenses_dir(), settings.config.licenses.is_some())?;
    found.push(format!("{} license files in {}", files.len(), settings.config.licenses_dir().display()));
    if let Some(name) = &settings.config.admin_group {
        sys::group_id(name)
            .ok_or_else(|| Fault::new(format!("admin_group = {name:?}: there is no such group"), "`groupadd --system NAME` makes one"))?;
    }
    Ok(found)
}

/// What `triquest-lm serve` does: starts, calls `ready`, tells systemd, obeys SIGTERM, SIGINT and SIGHUP, and returns after an orderly stop.
///
/// # Errors
/// In words for the administrator; downcast to [`Fault`] for the next step.
pub async fn run(settings: Settings, ready: impl FnOnce(&Running) + Send) -> anyhow::Result<()> {
    start_log(&settings.config.log);
    let for_collectors = settings.config.log.format == LogFormat::Json;
    // Asked for before the start, so that a signal during it is not lost.
    let (mut terminate, mut interrupt, mut hangup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let running = tokio::select! {
        started = Server::start(settings) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    // People hear it from `ready`, in the manner of the terminal.
    if for_collectors {
        for (verb, rest) in running.announcement() {
            tracing::info!("{verb} {rest}");
        }
    }
    ready(&running);
    notify(&[NotifyState::Ready]);
    let mut watchdog = watchdog();
    let fault = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            fault = running.wait() => break fault.err(),
            () = next(&mut watchdog) => notify(&[NotifyState::Watchdog]),
            _ = hangup.recv() => {
                let since = NotifyState::monotonic_usec_now();
                match since {
                    Ok(since) => notify(&[NotifyState::Reloading, since]),
                    Err(_) => notify(&[NotifyState::Reloading]),
                }
                let _ = running.reload().await;
                notify(&[NotifyState::Ready]);
            }
        }
    };
    notify(&[NotifyState::Stopping]);
    if fault.is_none() {
        tracing::info!("stopping");
    }
    tokio::select! {
        stopped = running.shutdown() => stopped?,
        // Asked twice is meant.
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    fault.map_or(Ok(()), Err)
}

fn notify(state: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(state);
}

/// Ticks at half the time after which systemd would take the server for dead.
fn watchdog() -> Option<tokio::time::Interval> {
    sd_notify::watchdog_enabled().map(|time| tokio::time::interval(time / 2))
}

async fn next(watchdog: &mut Option<tokio::time::Interval>) {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
