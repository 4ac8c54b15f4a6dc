//! `port`: what a port is registered for, what really listens on it here, whether that is genuine, and what to do about it.
//!
//! Each statement names its source: the registry's row, this machine's kernel, or our own probe. What is not known is said to be unknown.

mod audit;
mod probe;
mod reference;
mod report;

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use triquest_client::{
    identity::Known,
    pins::{self, Pins},
};
use triquest_license::{ServerKey, VerifierKeys};
use triquest_ports::registry::{Places, Registry};
use triquest_server::identity::Runtime;

use crate::{
    admin::DataDir,
    commands::{doctor::VERIFIER_VARIABLE, run::any_text, status::pause},
    failure::{Failure, exit},
    keyfile::verifier_keys,
    terminal::{Terminal, escape},
};

/// A name that is not resolved within this is not known.
const RESOLVE_MS_MAX: u64 = 2_000;
/// Most addresses of a named host that are asked.
const HOST_ADDRESSES_MAX: usize = 8;

/// `port 1588`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  triquest-lm port 1588             what it is registered for, what listens here, is it genuine
  triquest-lm port ssh              the same for a registered name
  triquest-lm port license manager  search in names, descriptions and registrants
  triquest-lm port --all            every listener of this machine, against registry and probes

Nothing on the machine is changed, and no suggested command is run. A key that --remember keeps in \
~/.local/share/triquest-lm/known_servers is known from then on, and another one at its address is called out; loopback and link-local \
addresses are never kept. Probes go to addresses of this machine only, unless --host names another, and never to ports 9100 to 9107, \
where printers print whatever they get. Run it as root to see the owners of all sockets: without, a hidden owner is said to be hidden.

Exit codes: 0 nothing needs a look; 1 something does (a server that is not genuine or whose key nobody knows, one that does not answer, one that cannot prove \
itself now, none that has the key of --server-key, a changed key, a clone, a key that --remember could not keep, or none that it could; with --all also what \
answers unlike its registered name, or is not registered and open to the network), or the look failed; 2 wrong usage.")]
pub(crate) struct PortCommand {
    /// A port from 0 to 65535, a service name, or words to search for
    #[arg(value_name = "PORT|NAME|WORDS", required_unless_present_any = ["all", "update", "feedback"])]
    what: Vec<String>,
    /// Every listener of this machine
    #[arg(long, conflicts_with_all = ["what", "host"])]
    all: bool,
    /// Ask this host instead of this machine; its sockets cannot be seen from here
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Look only: ask nothing of what listens
    #[arg(long)]
    no_probe: bool,
    /// The vendor's verifier key (or a file that holds it), several with commas: a server that their licenses list is known [env: TRIQUEST_LM_VERIFIER_KEY]
    #[arg(long, value_name = "KEY", env = VERIFIER_VARIABLE, hide_env = true, value_parser = any_text())]
    verifier_key: Option<String>,
    /// The server key that must answer there, as `server id` prints it: whatever listens is asked to prove it, on every port; may be repeated
    #[arg(long, value_name = "KEY", conflicts_with = "no_probe")]
    server_key: Vec<ServerKey>,
    /// Keep the keys that are proved now: from then on they are known at their addresses
    #[arg(long, conflicts_with = "no_probe")]
    remember: bool,
    /// As JSON, for monitoring
    #[arg(long)]
    json: bool,
    /// Look again and again, every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", require_equals = true, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
    /// Take IANA's current registry (XML or CSV, as published) and say what changed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["what", "all", "host", "watch", "feedback"])]
    update: Option<PathBuf>,
    /// With --update: take it although it is older than the one that is built in
    #[arg(long, requires = "update")]
    although_older: bool,
    /// How often the pages of this machine's server were found helpful
    #[arg(long, conflicts_with_all = ["what", "all", "host", "watch"])]
    feedback: bool,
    #[command(flatten)]
    data: DataDir,
}

/// What is asked about.
enum Subject {
    Port(u16),
    /// A registered name on several ports, or on none.
    Name(String),
    Words(String),
}

/// What is known before anything is looked at.
struct Setting {
    no_probe: bool,
    vendors: Option<VerifierKeys>,
    /// Keys that are known to be good.
    servers: Vec<ServerKey>,
    /// Of them, those that the user named for this look.
    named: Vec<ServerKey>,
    pins: Pins,
    remember: bool,
}

impl Setting {
    fn known(&self) -> Known<'_> {
        Known { servers: &self.servers, vendors: self.vendors.as_ref(), pins: Some(&self.pins) }
    }
}

impl PortCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        if self.feedback {
            return reference::feedback(&self.data, self.json, terminal);
        }
        let places = places();
        if let Some(file) = &self.update {
            return reference::update(file, &places, self.although_older, terminal);
        }
        let current = triquest_ports::registry::current(&places);
        for unusable in &current.unusable {
            let path = unusable.path.to_string_lossy();
            terminal.warning(format_args!("{} is not used: {}", escape(&path), escape(&unusable.reason)));
        }
        let mut answers = probe::Answers::default();
        let Some(seconds) = self.watch else { return self.look(&current.registry, &mut answers, terminal) };
        loop {
            terminal.clear();
            self.look(&current.registry, &mut answers, terminal)?;
            pause(seconds);
            if !terminal.is_interactive() && !self.json {
                terminal.data("");
            }
        }
    }

    fn look(&self, registry: &Registry, answers: &mut probe::Answers, terminal: &Terminal) -> Result<u8, Failure> {
        if self.all {
            return audit::run(registry, &self.setting(terminal)?, answers, self.json, terminal);
        }
        match subject(&self.what, registry)? {
            Subject::Words(words) => reference::search(registry, &words, self.json, terminal),
            Subject::Name(name) => reference::name(registry, &name, self.json, terminal),
            Subject::Port(port) => {
                let host = self.host.as_deref().map(|host| resolve(host, port)).transpose()?;
                report::run(registry, port, host.as_deref(), &self.setting(terminal)?, answers, self.json, terminal)
            }
        }
    }

    fn setting(&self, terminal: &Terminal) -> Result<Setting, Failure> {
        let vendors = self.verifier_key.as_deref().map(verifier_keys).transpose()?;
        let mut servers = self.server_key.clone();
        // The server of this machine, if its data directory can be read: the directory's owner knows its key.
        servers.extend(Runtime::read(&self.data.path()).and_then(|runtime| runtime.server_key.parse::<ServerKey>().ok()));
        let pins = pins::usual_file().map_or_else(Pins::default, |file| {
            Pins::read(&file).unwrap_or_else(|cause| {
                terminal.warning(format_args!("the keys that were seen before cannot be read: {}", escape(&cause.to_string())));
                Pins::default()
            })
        });
        if let [first, ..] = pins.damaged() {
            terminal.warning(format_args!("line {first} of the keys that were seen before cannot be read and is left out"));
        }
        Ok(Setting { no_probe: self.no_probe, vendors, servers, named: self.server_key.clone(), pins, remember: self.remember })
    }
}

/// Where updated tables are kept.
fn places() -> Places {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    Places::usual(variable("HOME").as_deref().map(Path::new), variable("XDG_DATA_HOME").as_deref())
}

/// A number is a port, a registered name its port, anything else is searched for.
fn subject(what: &[String], registry: &Registry) -> Result<Subject, Failure> {
    let words = what.join(" ");
    let words = words.trim();
    if words.is_empty() {
        return Err(Failure::usage("nothing is asked for").hint("triquest-lm port 1588"));
    }
    if words.bytes().all(|byte| byte.is_ascii_digit()) {
        return words
            .parse()
            .map(Subject::Port)
            .map_err(|_| Failure::usage(format_args!("{} is no port: ports are 0 to 65535", escape(words))).hint("triquest-lm port 1588"));
    }
    let entries = registry.named(words);
    // A row without a port beside one that has one is the same service, found by its name in DNS too.
    let mut ports: Vec<_> = entries.iter().filter_map(|entry| entry.ports).collect();
    ports.sort_unstable_by_key(|ports| (ports.first, ports.last));
    ports.dedup();
    Ok(match (entries.first().and_then(|entry| entry.name), ports.as_slice()) {
        (None, _) => Subject::Words(words.to_owned()),
        (Some(_), [ports]) if ports.first == ports.last => Subject::Port(ports.first),
        (Some(name), _) => Subject::Name(name.to_owned()),
    })
}

/// The addresses of a host that the user named.
fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
    let (sender, receiver) = mpsc::sync_channel(1);
    let asked = bare.clone();
    thread::Builder::new().name("resolve".into()).spawn(move || {
        let found = (asked.as_str(), port).to_socket_addrs().map(|found| found.take(HOST_ADDRESSES_MAX).collect::<Vec<_>>());
        // Nobody listens any more if it took too long.
        let _ = sender.send(found);
    })?;
    let unknown = |why: &str| Failure::new(format_args!("{} has no address: {}", escape(&bare), escape(why)));
    match receiver.recv_timeout(Duration::from_millis(RESOLVE_MS_MAX)) {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        Ok(Ok(_)) => Err(unknown("the name is known without one")),
        Ok(Err(cause)) => Err(unknown(&cause.to_string())),
        Err(_) => Err(unknown("the name was not resolved in time")),
    }
}

/// The exit code: whether somebody should look.
fn code(needs_a_look: bool) -> u8 {
    if needs_a_look { exit::FAILURE } else { exit::OK }
}
