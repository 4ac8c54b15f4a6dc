//! `quickstart`: the whole job on this machine in seconds. A demo vendor signs a license for the server that starts here, three real client
//! processes ask for two seats, one is refused and gets in as another leaves; then it goes on serving.

use std::{
    fmt::Display,
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use triquest_client::Client;
use triquest_license::{
    CivilDate, CivilMs, LicenseTerms, Note, ServerKey, Signer, SigningKey, VendorName, VerifierKeys, Written, draft, read_any,
};
use triquest_ports::advice::quoted;
use triquest_server::{
    Running, Server,
    config::{Config, Settings},
    identity::{random, write_new_secret},
    sys::{PortHolder, port_holder},
};
use triquest_wire::{
    lease::{DenialCode, PoolNumbers},
    license::{InstallAnswer, InstallRequest},
    limits::PORT,
    status::{LeaseState, ReclaimAnswer, ReclaimRequest},
};

use crate::{
    admin::{Admin, DataDir, QUICKSTART_DATA},
    commands::status::short_key,
    failure::{Failure, exit},
    terminal::{Terminal, duration, escape},
};

const VENDOR: &str = "demo.example";
const FEATURE: &str = "demo-app";
const SEATS: u32 = 2;
const CLIENTS: usize = 3;
/// The license runs for so many days.
const LICENSE_DAYS: u32 = 30;
/// A step that takes longer has failed.
const STEP_MS_MAX: u64 = 30_000;
/// How long the third client is left in line, so that people see it wait.
const QUEUE_PAUSE_MS: u64 = 1_000;
/// Between two looks at what an interrupted run left.
const LOOK_AGAIN_MS: u64 = 50;
/// A client process that was told to end does so within this.
const CLIENT_END_MS_MAX: u64 = 5_000;
/// The third client waits at most so long.
const WAIT_MS: u64 = 60_000;
/// Most licenses that earlier runs may have left.
const LICENSES_LEFT_MAX: u32 = 9_999;
/// The first line of the file by which a folder is known as ours.
const MARK: &str = "Made by `triquest-lm quickstart`. Delete this folder when you like.";
const README: &str = "README.txt";
const VENDOR_KEY: &str = "vendor.key";

/// `quickstart`.
#[derive(Debug, clap::Args)]
pub(crate) struct QuickstartCommand {
    /// End after the demonstration; exit code 0 only if all of it happened
    #[arg(long)]
    once: bool,
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = SocketAddr::from(([127, 0, 0, 1], PORT)))]
    listen: SocketAddr,
    /// The folder for everything it makes
    #[arg(long, value_name = "DIR", default_value = "triquest-lm-quickstart")]
    dir: PathBuf,
}

/// `quickstart-client`: one of the three programs that want a seat. Obeys lines on its standard input, reports in JSON on its standard output.
#[derive(Debug, clap::Args)]
pub(crate) struct QuickstartClientCommand {
    #[arg(long)]
    server: String,
    #[arg(long)]
    verifier_key: String,
}

/// What a client process reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "snake_case")]
enum Report {
    Denied { code: DenialCode, pool: PoolNumbers },
    Failed { why: String },
    Granted { ms: u64, licenses: Vec<String>, server_key: String },
    Released,
    Waiting { place: u32 },
}

/// What a client process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Release,
    Take,
    Wait,
}

impl Order {
    fn word(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Take => "take",
            Self::Wait => "wait",
        }
    }
}

impl QuickstartCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let began = Instant::now();
        let folder = Folder::look(&self.dir)?;
        port_is_free(self.listen, &folder)?;
        let vendor = folder.open(terminal)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let config = Config { data: Some(folder.data()), listen: vec![self.listen.to_string()], ..Config::default() };
        let settings = Settings { init: true, ..Settings::of(config) };
        let running = runtime.block_on(Server::start(settings)).map_err(|error| self.not_started(error, &folder))?;
        let shown = self.show(terminal, &folder, &vendor, &running);
        let outcome = shown.and_then(|()| {
            let files = format!("all files are in {}, delete it when you like", folder.shown());
            terminal.verb("Finished", format_args!("in {}; {files}", duration(elapsed_ms(began))));
            if self.once {
                return Ok(());
            }
            self.next_steps(terminal, &folder, &vendor, &running);
            runtime.block_on(async {
                tokio::select! {
                    ended = running.wait() => ended.map_err(Failure::from),
                    _ = tokio::signal::ctrl_c() => Ok(()),
                    () = terminated() => Ok(()),
                }
            })
        });
        let stopped = runtime.block_on(running.shutdown());
        outcome?;
        stopped?;
        if !self.once {
            terminal.verb("Stopped", format_args!("the server; start it again with the same command, or delete {}", folder.shown()));
        }
        Ok(exit::OK)
    }

    /// Between the look at the port and the start somebody else may have taken it, or the folder.
    fn not_started(&self, error: anyhow::Error, folder: &Folder) -> Failure {
        port_is_free(self.listen, folder).err().unwrap_or_else(|| Failure::from(error))
    }

    /// License, three clients, two seats.
    fn show(&self, terminal: &Terminal, folder: &Folder, vendor: &Signer, running: &Running) -> Result<(), Failure> {
        let address = *running.addresses().first().ok_or_else(|| Failure::new("the server listens nowhere"))?;
        let server_key = running.server_key();
        let short = short_key(&server_key.to_string());
        terminal.verb("Serving", format_args!("{address}, server key {short}"));
        let admin = Admin::connect(&DataDir::named(&folder.data()))?;
        clear_leases(terminal, &admin)?;
        install(terminal, folder, vendor, &server_key, &admin)?;

        let (reports, inbox) = mpsc::channel();
        let key = vendor.verifier_key().to_string();
        let mut clients = Vec::new();
        for number in 1..=CLIENTS {
            clients.push(ClientProcess::start(number, &server_name(address), &key, reports.clone())?);
        }
        drop(reports);
        let mut stage = Stage {
            terminal,
            clients,
            inbox,
            admin: &admin,
            server_key: server_key.to_string(),
            licenses: Vec::new(),
            grants: 0,
            early: None,
        };
        stage.granted(1)?;
        stage.granted(2)?;
        stage.refused_then_waits(3)?;
        let waits_since = Instant::now();
        pause(QUEUE_PAUSE_MS);
        stage.released(1)?;
        stage.comes_in(3, waits_since)?;
        let licenses = stage.licenses.join(", ");
        terminal.verb("Verified", format_args!("{} grants: {VENDOR} -> {} -> {short}", stage.grants, escape(&licenses)));
        stage.released(2)?;
        stage.released(3)?;
        stage.all_back()
    }

    fn next_steps(&self, terminal: &Terminal, folder: &Folder, vendor: &Signer, running: &Running) {
        let Some(address) = running.addresses().first() else { return };
        let program = quoted(&std::env::args().next().unwrap_or_else(|| "triquest-lm".to_owned()));
        let data = folder.data();
        let data = quoted(&std::path::absolute(&data).unwrap_or(data).to_string_lossy());
        let server = server_name(*address);
        let key = vendor.verifier_key();
        terminal.verb("Serving", "until Ctrl-C. To try in another terminal:");
        terminal.note(format_args!("\n  export TRIQUEST_LM_DATA={data} TRIQUEST_LM_SERVER={server} TRIQUEST_LM_VERIFIER_KEY={key}"));
        for (arguments, what) in [
            (format!("run --feature {FEATURE} -- sleep 60"), "holds a seat while the program runs"),
            ("status --watch".to_owned(), "who holds what"),
            ("events --follow".to_owned(), "what happens"),
            (format!("doctor --feature {FEATURE}"), "is everything in order?"),
        ] {
            terminal.note(format_args!("  {:<width$}  # {what}", format!("{program} {arguments}"), width = program.len() + 34));
        }
        terminal.note("");
    }
}

/// Ends when the process is asked to terminate.
async fn terminated() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Without the handler the signal ends the process by itself.
        Err(_) => std::future::pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the pause itself is what is wanted: people watch, or another process ends")]
fn pause(ms: u64) {
    thread::sleep(Duration::from_millis(ms));
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// `1588@127.0.0.1`; a server that listens on all addresses is asked for on this machine.
fn server_name(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    format!("{}@{ip}", address.port())
}

// ---- the folder ----

/// The one folder that everything is in.
struct Folder {
    path: PathBuf,
    is_old: bool,
}

impl Folder {
    /// Looks whether the folder may be used: new, empty, or ours and idle.
    fn look(path: &Path) -> Result<Self, Failure> {
        let folder = Self { path: path.to_owned(), is_old: false };
        let shown = folder.shown();
        let cannot = |cause: io::Error| {
            Failure::new(format_args!("cannot use the folder {shown}: {cause}")).hint("name another one with `--dir DIR`")
        };
        match fs::symlink_metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(folder),
            Err(cause) => return Err(cannot(cause)),
            Ok(meta) if !meta.is_dir() => {
                return Err(
                    Failure::new(format_args!("{shown} is there already and is no folder")).hint("name another one with `--dir DIR`")
                );
            }
            Ok(_) => {}
        }
        if fs::read_dir(path).map_err(cannot)?.next().is_none() {
            return Ok(folder);
        }
        if !fs::read_to_string(path.join(README)).is_ok_and(|text| text.starts_with(MARK)) {
            return Err(Failure::new(format_args!("{shown} is there already, and no quickstart made it: it is left alone"))
                .hint("name another folder with `--dir DIR`"));
        }
        Ok(Self { is_old: true, ..folder })
    }

    /// Whether a server runs on it now.
    fn is_in_use(&self) -> bool {
        self.is_old && Admin::connect(&DataDir::named(&self.data())).is_ok()
    }

    /// Makes the folder and the vendor's key, or opens those of an earlier run.
    fn open(&self, terminal: &Terminal) -> Result<Signer, Failure> {
        let shown = self.shown();
        if self.is_in_use() {
            return Err(Failure::new(format_args!("another quickstart runs in {shown}")).hint(
                "stop that one with Ctrl-C, or run beside it: triquest-lm quickstart --listen 127.0.0.1:0 --dir triquest-lm-quickstart-2",
            ));
        }
        let key_file = self.path.join(VENDOR_KEY);
        if self.is_old && key_file.exists() {
            let text = fs::read_to_string(&key_file)?;
            let vendor = Signer::from_private_text(text.trim_end()).map_err(|cause| {
                Failure::new(format_args!("{shown}/{VENDOR_KEY} of an earlier run cannot be read: {cause}"))
                    .hint(format_args!("delete the folder and start again: rm -r {}", quoted(&self.path.to_string_lossy())))
            })?;
            terminal.verb("Reused", format_args!("{shown} with vendor {VENDOR} from an earlier run"));
            return Ok(vendor);
        }
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.path)?;
        let mut readme = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.path.join(README))?;
        write!(
            readme,
            "{MARK}\n\n{VENDOR_KEY}    the demo vendor's private key: never sign real licenses with it\nDEMO-*.lic    the licenses that it signed\ndata/         the demo server's keys and journal\n"
        )?;
        let name = VendorName::new(VENDOR).expect("the demo vendor's name is valid");
        let vendor = Signer::new(name, SigningKey::from_seed(random()));
        write_new_secret(&key_file, format!("{}\n", vendor.to_private_text()).as_bytes())?;
        terminal.verb("Created", format_args!("vendor {VENDOR} (demo key: never sign real licenses with it)"));
        Ok(vendor)
    }

    fn data(&self) -> PathBuf {
        let last = Path::new(QUICKSTART_DATA).file_name().unwrap_or_default();
        self.path.join(last)
    }

    fn shown(&self) -> String {
        let text = escape(&self.path.to_string_lossy()).into_owned();
        if self.path.is_absolute() || text.starts_with('.') { text } else { format!("./{text}") }
    }
}

// ---- the port ----

/// Says who holds the port, and how to go on.
fn port_is_free(listen: SocketAddr, folder: &Folder) -> Result<(), Failure> {
    if listen.port() == 0 {
        return Ok(());
    }
    let Err(cause) = TcpListener::bind(listen) else { return Ok(()) };
    match cause.kind() {
        io::ErrorKind::AddrInUse => Err(port_taken(listen.port(), port_holder(listen.port()).as_ref(), folder.is_in_use())),
        io::ErrorKind::AddrNotAvailable => Err(Failure::new(format_args!("{} is no address of this machine", listen.ip()))
            .hint("triquest-lm quickstart --listen 127.0.0.1:1588")),
        io::ErrorKind::PermissionDenied => {
            Err(Failure::new(format_args!("this user may not listen on {listen}")).hint("triquest-lm quickstart --listen 127.0.0.1:1588"))
        }
        _ => Err(Failure::new(format_args!("cannot listen on {listen}: {cause}"))),
    }
}

fn port_taken(port: u16, holder: Option<&PortHolder>, folder_too: bool) -> Failure {
    let beside = format!("triquest-lm quickstart --listen 127.0.0.1:0{}", if folder_too { " --dir triquest-lm-quickstart-2" } else { "" });
    let Some(holder) = holder else {
        return Failure::new(format_args!("TCP {port} is taken, and the system does not say by whom"))
            .hint(format_args!("run beside it: {beside}"));
    };
    let command = escape(&holder.command).into_owned();
    let user = escape(&holder.user).into_owned();
    let Some(pid) = holder.pid else {
        return Failure::new(format_args!("TCP {port} is held by a process of user {user} that only root may see"))
            .hint(format_args!("run beside it: {beside}"));
    };
    let since =
        crate::sys::started_at(pid).map_or_else(String::new, |at| format!(", since {}", crate::terminal::moment(&at, &jiff::Zoned::now())));
    let failure = Failure::new(format_args!("TCP {port} is held by `{command}` (pid {pid}, user {user}{since})"));
    let words: Vec<_> = command.split(' ').collect();
    match words.as_slice() {
        ["triquest-lm", "quickstart", ..] => failure.hint(format_args!("stop that one with Ctrl-C, or run beside it: {beside}")),
        ["triquest-lm", "serve", ..] => failure.hint(format_args!("a real server runs here; leave it, and run beside it: {beside}")),
        _ => failure.hint(format_args!("that is no TriQuest LM; run beside it: {beside}")),
    }
}

// ---- the license ----

/// Signs a license for this server, or takes the one of an earlier run if it still runs, and installs it.
fn install(terminal: &Terminal, folder: &Folder, vendor: &Signer, server: &ServerKey, admin: &Admin) -> Result<(), Failure> {
    let now = CivilMs(jiff::Timestamp::now().as_millisecond());
    let tomorrow = CivilMs(now.0.saturating_add(86_400_000));
    let mut replaces = None;
    for number in 1..=LICENSES_LEFT_MAX {
        let id = format!("DEMO-{number:04}");
        let file = folder.path.join(format!("{id}.lic"));
        if let Ok(bytes) = fs::read(&file) {
            let runs = read_any(&bytes).ok().and_then(|note| LicenseTerms::parse(note.text()).ok()).is_some_and(|terms| {
                terms.servers.include(server) && terms.entitlements.iter().all(|right| right.runs_at(now) && right.runs_at(tomorrow))
            });
            if runs {
                let license = String::from_utf8(bytes).map_err(|_| Failure::new(format_args!("{id}.lic is no text")))?;
                let _: InstallAnswer = admin.post("/v1/licenses", &InstallRequest { license, reason: "quickstart".to_owned() })?;
                terminal.verb("Installed", format_args!("{id} of an earlier run"));
                return Ok(());
            }
            replaces = Some(id);
            continue;
        }
        let until = CivilDate::of(now).plus_days(LICENSE_DAYS);
        let note = sign(vendor, server, &id, replaces.as_deref(), until, now)?;
        let mut lic = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?;
        lic.write_all(&note.to_file_bytes())?;
        terminal.verb("Signed", format_args!("{id}: {FEATURE}, {SEATS} seats, until {until}"));
        let license = String::from_utf8(note.to_file_bytes()).map_err(|_| Failure::new("the signed license is no text"))?;
        let _: InstallAnswer = admin.post("/v1/licenses", &InstallRequest { license, reason: "quickstart".to_owned() })?;
        return Ok(());
    }
    Err(Failure::new(format_args!("{} holds {LICENSES_LEFT_MAX} licenses already", folder.shown())).hint("delete it and start again"))
}

fn sign(vendor: &Signer, server: &ServerKey, id: &str, replaces: Option<&str>, until: CivilDate, now: CivilMs) -> Result<Note, Failure> {
    let replaces = replaces.map_or_else(String::new, |old| format!("replaces = [\"{old}\"]\n"));
    let text = format!(
        "{}\nlicense = \"{id}\"\nlicensee = \"whoever tries TriQuest LM\"\nservers = [\"{server}\"]\n{replaces}\n[[entitlement]]\nfeature = \"{FEATURE}\"\nseats = {SEATS}\nexpires = {until}\n",
        LicenseTerms::FIRST_LINE
    );
    let verifier = VerifierKeys::new(vec![vendor.verifier_key().clone()]).map_err(bug)?;
    let with = draft::Prepare {
        verifier: &verifier,
        issued: Written::Date(CivilDate::of(now)),
        now,
        any_server: false,
        each_server_counts: false,
        words: triquest_license::Vocabulary::OURS,
    };
    let text = draft::prepare(&text, &with).map_err(bug)?;
    Note::sign(&text, std::slice::from_ref(vendor)).map_err(bug)
}

fn bug(cause: impl Display) -> Failure {
    Failure::new(format_args!("the demo license cannot be signed: {cause}"))
}

/// Seats that an interrupted run left taken would be refused to this one.
fn clear_leases(terminal: &Terminal, admin: &Admin) -> Result<(), Failure> {
    let began = Instant::now();
    let mut cleared = 0;
    loop {
        let mut left = admin.leases(None, usize::MAX)?;
        if left.is_empty() {
            break;
        }
        if elapsed_ms(began) > STEP_MS_MAX {
            return Err(Failure::new(format_args!("{} leases of an interrupted run do not end", left.len()))
                .hint("delete the folder and start again"));
        }
        // Whoever waits goes first, or the seats of the others would go to them.
        left.sort_by_key(|lease| lease.state != LeaseState::Waiting);
        for lease in &left {
            let why = ReclaimRequest { reason: "left by an interrupted quickstart".to_owned(), now: true };
            // It may end by itself in this moment; the next look tells.
            let reclaimed: Result<ReclaimAnswer, Failure> = admin.post(&format!("/v1/leases/{}/reclaim", lease.lease), &why);
            cleared += usize::from(reclaimed.is_ok());
        }
        pause(LOOK_AGAIN_MS);
    }
    if cleared > 0 {
        terminal.verb(
            "Reclaimed",
            format_args!("{} left by an interrupted run", if cleared == 1 { "1 lease".to_owned() } else { format!("{cleared} leases") }),
        );
    }
    Ok(())
}

// ---- the clients ----

/// A client process and the way to tell it what to do.
struct ClientProcess {
    child: Child,
    orders: Option<ChildStdin>,
}

impl ClientProcess {
    fn start(number: usize, server: &str, key: &str, reports: mpsc::Sender<(usize, Report)>) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["quickstart-client", "--server", server, "--verifier-key", key])
            .env_remove("TRIQUEST_LM_SERVER")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let output = child.stdout.take().expect("the output was asked for as a pipe");
        thread::Builder::new().name(format!("client-{number}")).spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let report = serde_json::from_str(&line).unwrap_or(Report::Failed { why: line });
                if reports.send((number, report)).is_err() {
                    return;
                }
            }
            let _ = reports.send((number, Report::Failed { why: "the process ended".to_owned() }));
        })?;
        Ok(Self { child, orders })
    }

    fn order(&mut self, order: Order) -> Result<(), Failure> {
        let orders = self.orders.as_mut().ok_or_else(|| Failure::new("a client process has no input"))?;
        Ok(writeln!(orders, "{}", order.word())?)
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        // The end of its input lets it give back its seat and end; if it does not, it is ended.
        self.orders = None;
        if !crate::sys::ends_within(&self.child, CLIENT_END_MS_MAX) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The three clients, and what is shown of them.
struct Stage<'a> {
    terminal: &'a Terminal,
    clients: Vec<ClientProcess>,
    inbox: mpsc::Receiver<(usize, Report)>,
    admin: &'a Admin,
    server_key: String,
    /// Licenses that verified grants were charged to.
    licenses: Vec<String>,
    /// Verified grants.
    grants: usize,
    /// A client that had its seat before the word came that the last holder gave it back.
    early: Option<usize>,
}

impl Stage<'_> {
    fn order(&mut self, number: usize, order: Order) -> Result<(), Failure> {
        self.clients.get_mut(number - 1).ok_or_else(|| Failure::new("there is no such client"))?.order(order)
    }

    /// The next report, which must be of this client.
    fn report(&self, number: usize, what: &str) -> Result<Report, Failure> {
        let late = |_| Failure::new(format_args!("client {number} did not {what} within {}", duration(STEP_MS_MAX)));
        match self.inbox.recv_timeout(Duration::from_millis(STEP_MS_MAX)).map_err(late)? {
            (other, Report::Failed { why }) => Err(Failure::new(format_args!("client {other} failed: {}", escape(&why)))),
            (other, report) if other == number => Ok(report),
            (other, report) => Err(Failure::new(format_args!("client {other} reported {report:?} when client {number} should {what}"))),
        }
    }

    fn pool(&self) -> Result<PoolNumbers, Failure> {
        let status = self.admin.status(Some(FEATURE))?;
        status.pools.first().map(|pool| pool.numbers).ok_or_else(|| Failure::new(format_args!("the server has no seats of {FEATURE}")))
    }

    /// Notes a grant, which the client's SDK has verified down to the vendor's key.
    fn verified(&mut self, number: usize, licenses: Vec<String>, server_key: &str) -> Result<(), Failure> {
        if server_key != self.server_key {
            return Err(Failure::new(format_args!("client {number} was granted its seat by another server, {}", escape(server_key))));
        }
        self.grants += 1;
        for license in licenses {
            if !self.licenses.contains(&license) {
                self.licenses.push(license);
            }
        }
        Ok(())
    }

    fn granted(&mut self, number: usize) -> Result<(), Failure> {
        self.order(number, Order::Take)?;
        match self.report(number, "get a seat")? {
            Report::Granted { ms, licenses, server_key } => {
                self.verified(number, licenses, &server_key)?;
                let pool = self.pool()?;
                self.terminal.verb("Granted", format_args!("client {number}: {FEATURE}, {} of {} in use ({ms} ms)", pool.used, pool.total));
                Ok(())
            }
            other => Err(unexpected(number, "a grant", &other)),
        }
    }

    fn refused_then_waits(&mut self, number: usize) -> Result<(), Failure> {
        self.order(number, Order::Take)?;
        let pool = match self.report(number, "be refused")? {
            Report::Denied { code: DenialCode::NoSeatFree, pool } => pool,
            other => return Err(unexpected(number, "a denial", &other)),
        };
        self.order(number, Order::Wait)?;
        let place = match self.report(number, "get a place in line")? {
            Report::Waiting { place } => place,
            other => return Err(unexpected(number, "a place in line", &other)),
        };
        self.terminal.verb_denied(
            "Denied",
            format_args!("client {number}: no seat free, {} of {} in use; waits, place {place}", pool.used, pool.total),
        );
        Ok(())
    }

    fn released(&mut self, number: usize) -> Result<(), Failure> {
        self.order(number, Order::Release)?;
        loop {
            let report = self.inbox.recv_timeout(Duration::from_millis(STEP_MS_MAX));
            match report.map_err(|_| Failure::new(format_args!("client {number} did not give its seat back")))? {
                (from, Report::Released) if from == number => break,
                (from, Report::Failed { why }) => return Err(Failure::new(format_args!("client {from} failed: {}", escape(&why)))),
                (from, Report::Waiting { .. }) if from != number => {}
                // The next holder's grant may be here before the last one's word.
                (from, Report::Granted { licenses, server_key, .. }) if from != number && self.early.is_none() => {
                    self.verified(from, licenses, &server_key)?;
                    self.early = Some(from);
                }
                (from, other) => return Err(unexpected(from, "nothing", &other)),
            }
        }
        self.terminal.verb("Released", format_args!("client {number}"));
        Ok(())
    }

    fn comes_in(&mut self, number: usize, since: Instant) -> Result<(), Failure> {
        while self.early != Some(number) {
            match self.report(number, "get the free seat")? {
                Report::Granted { licenses, server_key, .. } => {
                    self.verified(number, licenses, &server_key)?;
                    self.early = Some(number);
                }
                Report::Waiting { .. } => {}
                other => return Err(unexpected(number, "a grant", &other)),
            }
        }
        self.terminal.verb("Granted", format_args!("client {number} after {} in the queue", duration(elapsed_ms(since))));
        Ok(())
    }

    /// At the end every seat must be back.
    fn all_back(&self) -> Result<(), Failure> {
        let pool = self.pool()?;
        if pool.free == pool.total && pool.used == 0 {
            return Ok(());
        }
        Err(Failure::new(format_args!("{} of {} seats are still in use after all clients gave theirs back", pool.used, pool.total)))
    }
}

fn unexpected(number: usize, wanted: &str, got: &Report) -> Failure {
    Failure::new(format_args!("client {number} should have had {wanted}, and reported {}", escape(&format!("{got:?}"))))
}

// ---- the client process ----

impl QuickstartClientCommand {
    pub(crate) fn run(self, _: &Terminal) -> Result<u8, Failure> {
        crate::sys::end_with_parent();
        let client = match Client::builder()
            .servers(self.server)
            .verifier_keys(self.verifier_key)
            .on_waiting(|line| say(&Report::Waiting { place: line.place }))
            .connect()
        {
            Ok(client) => client,
            Err(error) => {
                say(&Report::Failed { why: error.explanation().to_owned() });
                return Ok(exit::FAILURE);
            }
        };
        let mut seat = None;
        for order in io::stdin().lines().map_while(Result::ok) {
            let wait = match order.as_str() {
                "release" => {
                    let released = seat.take().map(|seat: triquest_client::Seat| seat.release(Duration::from_millis(STEP_MS_MAX)));
                    match released {
                        Some(Ok(())) => say(&Report::Released),
                        Some(Err(error)) => say(&Report::Failed { why: error.explanation().to_owned() }),
                        None => say(&Report::Failed { why: "there is no seat to give back".to_owned() }),
                    }
                    continue;
                }
                "take" => false,
                "wait" => true,
                other => {
                    say(&Report::Failed { why: format!("no such order: {other}") });
                    continue;
                }
            };
            let began = Instant::now();
            let checkout = client.checkout(FEATURE).version("1.0");
            let checkout = if wait { checkout.wait(Duration::from_millis(WAIT_MS)) } else { checkout };
            match checkout.take() {
                Ok(taken) => {
                    say(&granted(&taken, elapsed_ms(began)));
                    seat = Some(taken);
                }
                Err(error) => match error.denial() {
                    Some(denial) => say(&Report::Denied { code: denial.code, pool: denial.pool }),
                    None => say(&Report::Failed { why: error.explanation().to_owned() }),
                },
            }
        }
        drop(seat);
        Ok(exit::OK)
    }
}

/// What the verified grant says: the SDK gives out no other.
fn granted(seat: &triquest_client::Seat, ms: u64) -> Report {
    let mut licenses = Vec::new();
    if let Some(proof) = seat.proof() {
        for note in &proof.licenses {
            if let Some(terms) = read_any(note.as_bytes()).ok().and_then(|note| LicenseTerms::parse(note.text()).ok()) {
                licenses.push(terms.license.to_string());
            }
        }
    }
    Report::Granted { ms, licenses, server_key: seat.server_key().map(|key| key.to_string()).unwrap_or_default() }
}

fn say(report: &Report) {
    let mut stdout = io::stdout().lock();
    // If nobody listens any more, the end of the orders ends this process.
    let _ =
        serde_json::to_writer(&mut stdout, report).map_err(io::Error::from).and_then(|()| writeln!(stdout)).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told_apart_by_its_holder() {
        let holder = |command: &str, pid| PortHolder { pid, command: command.to_owned(), user: "alice".to_owned() };
        let own = std::process::id();
        let second = port_taken(1588, Some(&holder("triquest-lm quickstart", Some(own))), true);
        assert!(
            second.message().starts_with(&format!("TCP 1588 is held by `triquest-lm quickstart` (pid {own}, user alice, since ")),
            "{}",
            second.message()
        );
        assert_eq!(
            second.next_step(),
            Some("stop that one with Ctrl-C, or run beside it: triquest-lm quickstart --listen 127.0.0.1:0 --dir triquest-lm-quickstart-2")
        );
        let server = port_taken(1588, Some(&holder("triquest-lm serve --data", Some(own))), false);
        assert_eq!(
            server.next_step(),
            Some("a real server runs here; leave it, and run beside it: triquest-lm quickstart --listen 127.0.0.1:0")
        );
        let other = port_taken(1588, Some(&holder("nc -l\x1b[2J", Some(own))), false);
        assert!(other.message().contains("`nc -l\\u{1b}[2J`"), "{}", other.message());
        assert!(other.next_step().is_some_and(|hint| hint.starts_with("that is no TriQuest LM")));
        assert!(port_taken(1588, Some(&holder("", None)), false).message().contains("only root may see"));
        assert!(port_taken(1588, None, false).message().contains("does not say"));
    }

    #[test]
    fn a_printed_command_survives_the_shell() {
        assert_eq!(quoted("./target/debug/triquest-lm"), "./target/debug/triquest-lm");
        assert_eq!(quoted("my folder/it's"), r"'my folder/it'\''s'");
        assert_eq!(quoted("$(reboot)"), "'$(reboot)'");
    }

    #[test]
    fn a_server_on_all_addresses_is_asked_for_on_this_machine() {
        assert_eq!(server_name(SocketAddr::from(([0, 0, 0, 0], 7))), "7@127.0.0.1");
        assert_eq!(server_name(SocketAddr::from(([10, 0, 0, 1], 1588))), "1588@10.0.0.1");
    }
}
