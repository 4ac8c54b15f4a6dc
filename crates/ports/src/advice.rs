//! What to do about a port: keep it, restrict it or close it, with the exact command for this system. Nothing is ever run here.
//!
//! Every word of a command is quoted for the shell that it is meant for, so that a name which holds `$(...)`, a line's end or an escape sequence is
//! that name and nothing else, and prints harmlessly.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::sockets::{Manager, Namespace, Owner, Process, Protocol, Reach, Runtime, Socket, Unit};

/// Bytes of a unit's name; systemd's own limit.
const UNIT_BYTES_MAX: usize = 255;
/// Processes of one port for which a command is given.
const PROCESSES_MAX: usize = 8;

/// What is known of whatever listens, beyond the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is what the port is for, or what the user wants there.
    Expected,
    /// It answers like something that it is not.
    NotGenuine,
    /// Nobody said.
    Unknown,
    /// It says what it is and cannot prove it just now.
    Unproved,
}

/// What to do first, and everything that can be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What to do first.
    pub action: Action,
    /// Why, as a clause without a full stop.
    pub why: &'static str,
    /// The ways to do it, and the others.
    pub steps: Vec<Step>,
}

/// What can be done about a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Stop whatever listens, and keep it stopped.
    Close,
    /// Leave it.
    Keep,
    /// Look who it is, with the rights that it takes.
    Look,
    /// Let only the own network in.
    Restrict,
    /// Take a restriction back.
    Undo,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Close => "close",
            Self::Keep => "keep",
            Self::Look => "look",
            Self::Restrict => "restrict",
            Self::Undo => "undo",
        })
    }
}

/// One way to do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it does.
    pub action: Action,
    /// How. None where no command does it.
    pub command: Option<Suggestion>,
    /// What to know before, as a clause without a full stop. It may hold names from outside.
    pub note: Option<String>,
}

/// A line for the user's shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// Ready to be pasted. Only printable characters, but for line ends at the very end of a name.
    pub text: String,
    /// The commands and their words, each run only if the one before went well.
    pub commands: Vec<Vec<String>>,
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the commands depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which system.
    pub system: System,
    /// Its firewall.
    pub firewall: Firewall,
    /// The user has all rights already.
    pub is_root: bool,
    /// The user.
    pub uid: u32,
    /// The network to let in. None: only this machine.
    pub network: Option<Network>,
    /// The remote session in which the user works, if it is one.
    pub session: Option<Session>,
}

/// The connection through which the user is logged in from another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Where the user sits.
    pub from: IpAddr,
    /// The port of this machine that it goes through.
    pub port: u16,
}

impl Session {
    /// Reads what sshd puts into `SSH_CONNECTION`: the client's address and port, the server's address and port (ssh(1), *ENVIRONMENT*).
    #[must_use]
    pub fn of_ssh(connection: &str) -> Option<Self> {
        let words: Vec<&str> = connection.split_ascii_whitespace().collect();
        let [from, _, _, port] = words.as_slice() else { return None };
        // A link-local address says its interface after a percent sign.
        let from = from.split('%').next()?.parse::<IpAddr>().ok()?.to_canonical();
        Some(Self { from, port: port.parse().ok()? })
    }
}

/// Whose commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Linux.
    Linux,
    /// macOS and the BSDs.
    MacOs,
    /// Windows.
    Windows,
}

/// What filters packets on a Linux system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// firewalld runs.
    Firewalld,
    /// iptables can be used.
    Iptables,
    /// nftables can be used.
    Nftables,
    /// No firewall was found.
    NoneFound,
    /// ufw is active.
    Ufw,
}

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    pub address: Ipv4Addr,
    /// How many bits of it count.
    pub prefix: u8,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Facts {
    /// Looks at this machine. Reads files only, asks no service. `path` is where programs are looked for beside the usual folders, as `PATH` has it;
    /// `session` the remote session of the user.
    #[must_use]
    pub fn of_this_machine(path: Option<&OsStr>, session: Option<Session>) -> Self {
        let mut programs: Vec<PathBuf> = path.map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
        programs.extend(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
        let uid = user();
        Self {
            system: if cfg!(target_os = "linux") {
                System::Linux
            } else if cfg!(windows) {
                System::Windows
            } else {
                System::MacOs
            },
            firewall: Firewall::detect(Path::new("/"), &programs),
            is_root: uid == 0,
            uid,
            network: std::fs::read_to_string("/proc/net/route").ok().and_then(|routes| Network::of_routes(&routes)),
            session,
        }
    }

    /// Who is let in by a rule about this port: the own network, and the user where the session goes through the port and comes from elsewhere.
    fn sources(&self, port: u16) -> Vec<Source> {
        let mut sources: Vec<Source> = self.network.map(Source::Network).into_iter().collect();
        if let Some(from) = self.session.filter(|session| session.port == port).map(|session| session.from)
            && !from.is_loopback()
            && !self.network.is_some_and(|network| network.has(from))
        {
            sources.push(Source::Address(from));
        }
        sources
    }
}

/// Somebody who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Address(IpAddr),
    Network(Network),
}

impl Source {
    fn is_ipv6(self) -> bool {
        matches!(self, Self::Address(IpAddr::V6(_)))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Network(network) => network.fmt(f),
        }
    }
}

#[cfg(unix)]
fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Windows has no such number; 1 is nobody's there and never root's.
#[cfg(not(unix))]
fn user() -> u32 {
    1
}

impl Firewall {
    /// Looks at files below `root` and for programs in these folders.
    #[must_use]
    pub fn detect(root: &Path, programs: &[PathBuf]) -> Self {
        let has = |program: &str| programs.iter().any(|folder| folder.join(program).is_file());
        let ufw = std::fs::read_to_string(root.join("etc/ufw/ufw.conf")).unwrap_or_default();
        if ufw.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes")) {
            Self::Ufw
        } else if ["run/firewalld", "var/run/firewalld.pid"].iter().any(|path| root.join(path).exists()) {
            Self::Firewalld
        } else if has("nft") {
            Self::Nftables
        } else if has("iptables") {
            Self::Iptables
        } else {
            Self::NoneFound
        }
    }
}

impl Network {
    fn has(self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address.to_canonical() else { return false };
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        u32::from(address) & mask == u32::from(self.address) & mask
    }

    /// The network of the interface that has the default route, in the text of `/proc/net/route`.
    #[must_use]
    pub fn of_routes(routes: &str) -> Option<Self> {
        let rows: Vec<(&str, u32, u32, u32)> = routes.lines().skip(1).filter_map(route).collect();
        let (interface, ..) = rows.iter().find(|(_, destination, _, mask)| *destination == 0 && *mask == 0)?;
        let direct = |row: &&(&str, u32, u32, u32)| row.0 == *interface && row.1 != 0 && row.2 == 0 && row.3 != u32::MAX && row.3 != 0;
        let (_, destination, _, mask) = rows.iter().find(direct)?;
        let prefix = u8::try_from(u32::from_be_bytes(mask.to_ne_bytes()).leading_ones()).ok()?;
        Some(Self { address: Ipv4Addr::from(destination.to_ne_bytes()), prefix })
    }
}

/// Interface, destination, gateway, mask.
fn route(line: &str) -> Option<(&str, u32, u32, u32)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let number = |place: usize| u32::from_str_radix(fields.get(place)?, 16).ok();
    Some((fields.first()?, number(1)?, number(2)?, number(7)?))
}

/// What to do about the sockets of one port, each with its own standing. None if there are none: a free port needs nothing.
///
/// Where one of them is not genuine, only that one is to be closed: the others are somebody else's, perhaps the very server that it imitates.
/// Where one cannot prove itself now, nothing is to be closed before it was looked at, whoever else holds the port.
#[must_use]
pub fn advise(sockets: &[Socket], standing_of: impl Fn(&Socket) -> Standing, facts: &Facts) -> Option<Advice> {
    let port = sockets.first()?.port;
    let standings: Vec<Standing> = sockets.iter().map(standing_of).collect();
    let all = |standing| standings.iter().all(|one| *one == standing);
    let is_false = standings.contains(&Standing::NotGenuine);
    let is_unproved = standings.contains(&Standing::Unproved);
    let hidden = sockets.iter().any(|socket| matches!(socket.owner, Owner::Hidden { .. }));
    let outside = sockets.iter().any(|socket| socket.reach == Reach::FromOutside);
    let perhaps = sockets.iter().any(|socket| socket.reach == Reach::Unknown);
    let (action, why) = match () {
        () if is_false => (Action::Close, "what answers there is not what belongs there"),
        () if all(Standing::Expected) => (Action::Keep, "it is what belongs there"),
        () if is_unproved => (
            Action::Look,
            "it cannot prove itself now, as a server that takes no connection: look at it, and at its log, before anything else",
        ),
        () if hidden => (Action::Look, "its owner is hidden from this user"),
        () if facts.session.is_some_and(|session| session.port == port) => {
            (Action::Look, "you are logged in through it: a rule that leaves you out shuts you out")
        }
        () if outside => (Action::Restrict, "it can be reached from outside and nobody vouches for it"),
        () if perhaps => (Action::Restrict, "whether it can be reached from outside is not known, and nobody vouches for it"),
        () => (Action::Keep, "only programs of this machine can reach it"),
    };
    let mut steps = Vec::new();
    if hidden {
        steps.push(Step { action: Action::Look, command: None, note: Some("this program with all rights shows the owner too".to_owned()) });
    }
    let mut namespaces: Vec<&Namespace> = Vec::new();
    for socket in sockets.iter().filter(|socket| !matches!(socket.owner, Owner::Processes { .. })) {
        if !namespaces.contains(&&socket.namespace) {
            namespaces.push(&socket.namespace);
        }
    }
    steps.extend(namespaces.into_iter().map(|namespace| look(sockets, namespace, port, facts)));
    if outside || perhaps {
        steps.extend(restrict(sockets, port, facts));
    }
    for (socket, standing) in sockets.iter().zip(&standings) {
        let is_meant = match standing {
            Standing::NotGenuine => true,
            Standing::Unproved => false,
            Standing::Expected | Standing::Unknown => !is_false && !is_unproved,
        };
        if is_meant {
            steps.extend(close(socket, facts).into_iter().map(|step| if is_false { naming(socket, step) } else { step }));
        }
    }
    let mut unique: Vec<Step> = Vec::new();
    for step in steps {
        if !unique.contains(&step) {
            unique.push(step);
        }
    }
    // What to do first comes first; the order is otherwise kept.
    unique.sort_by_key(|step| step.action != action);
    Some(Advice { action, why, steps: unique })
}

/// The same step, which says first whose socket it is about.
fn naming(socket: &Socket, step: Step) -> Step {
    let whose = match socket.processes() {
        [] => String::new(),
        [process, ..] => format!("{} pid {}, ", process.name, process.pid),
    };
    let place = match &socket.namespace {
        Namespace::This => String::new(),
        Namespace::Other { name: Some(name), .. } => format!(" in the network namespace {name}"),
        Namespace::Other { name: None, pid, .. } => format!(" in the network namespace of process {pid}"),
    };
    let about = format!("{whose}{socket}{place}");
    let note = step.note.map_or_else(|| about.clone(), |note| format!("{about}; {note}"));
    Step { note: Some(note), ..step }
}

fn protocols(sockets: &[Socket]) -> BTreeSet<Protocol> {
    sockets.iter().map(|socket| socket.protocol).collect()
}

/// The command that names a hidden owner.
fn look(sockets: &[Socket], namespace: &Namespace, port: u16, facts: &Facts) -> Step {
    let kinds = protocols(sockets);
    let (tcp, udp) = (kinds.contains(&Protocol::Tcp), kinds.iter().any(|kind| *kind != Protocol::Tcp));
    let step = |words: Vec<String>| Step { action: Action::Look, command: Some(suggestion(vec![words])), note: None };
    match facts.system {
        System::Windows => step(words(&["netstat", "-ano"])),
        System::MacOs => step(with_rights(facts, words(&["lsof", "-nP", &format!("-i:{port}")]))),
        System::Linux => {
            let flags = format!("-{}{}lpn", if tcp { "t" } else { "" }, if udp { "u" } else { "" });
            let ss = words(&["ss", &flags, &format!("sport = :{port}")]);
            let inside = match namespace {
                Namespace::This => Vec::new(),
                Namespace::Other { name: Some(name), .. } if !name.starts_with('-') => words(&["ip", "netns", "exec", name]),
                Namespace::Other { pid, .. } => words(&["nsenter", &format!("--net=/proc/{pid}/ns/net")]),
            };
            step(with_rights(facts, [inside, ss].concat()))
        }
    }
}

/// Only the own network may come in; loopback always may.
fn restrict(sockets: &[Socket], port: u16, facts: &Facts) -> Vec<Step> {
    let reachable: Vec<Socket> = sockets.iter().filter(|socket| socket.reach != Reach::OnlyThisMachine).cloned().collect();
    let (here, elsewhere): (Vec<Socket>, Vec<Socket>) = reachable.into_iter().partition(|socket| socket.namespace == Namespace::This);
    let mut steps = Vec::new();
    if !here.is_empty() {
        steps.extend(restrict_here(&here, port, facts));
    }
    if !elsewhere.is_empty() {
        let note = "it is in another network namespace, which has a firewall of its own; publish its port on 127.0.0.1 or on one address";
        steps.push(Step { action: Action::Restrict, command: None, note: Some(note.to_owned()) });
    }
    steps
}

/// The rule, and what takes it back.
fn restrict_here(sockets: &[Socket], port: u16, facts: &Facts) -> Vec<Step> {
    let no_command = |note: &str| vec![Step { action: Action::Restrict, command: None, note: Some(note.to_owned()) }];
    let mut kinds = protocols(sockets);
    if kinds.remove(&Protocol::UdpLite) && kinds.is_empty() {
        return no_command("have it listen on 127.0.0.1 or one address in its own configuration; not every firewall knows UDP-Lite");
    }
    let kinds: Vec<String> = kinds.iter().map(Protocol::to_string).collect();
    let sources = facts.sources(port);
    if facts.system == System::Windows {
        return restrict_on_windows(&kinds, port, &sources);
    }
    if facts.system == System::MacOs {
        return no_command("have it listen on 127.0.0.1 or one address in its own configuration, or write a rule for pf");
    }
    let rule = match facts.firewall {
        Firewall::Ufw => ufw(&kinds, port, &sources),
        Firewall::Firewalld => firewalld(&kinds, port, &sources),
        Firewall::Nftables => nftables(&kinds, port, &sources),
        Firewall::Iptables => iptables(&kinds, port, &sources),
        Firewall::NoneFound => match by_unit(sockets, &sources) {
            Some(rule) => rule,
            None => return no_command("no firewall was found: have it listen on 127.0.0.1 or one address in its own configuration"),
        },
    };
    let mut notes = Vec::new();
    if let Some(session) = facts.session.filter(|session| session.port == port) {
        notes
            .push(format!("you are logged in through it from {}, which is let in; whoever comes from elsewhere is shut out", session.from));
    }
    if sockets.iter().flat_map(Socket::processes).any(|process| is_docker_proxy(process)) {
        notes.push("Docker lets its published ports past the firewall: publish it as 127.0.0.1:PORT:PORT instead".to_owned());
    }
    notes.extend(rule.note.map(str::to_owned));
    let with_rights = |commands: Vec<Vec<String>>| suggestion(commands.into_iter().map(|words| with_rights(facts, words)).collect());
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    vec![
        Step { action: Action::Restrict, command: Some(with_rights(rule.set)), note },
        Step { action: Action::Undo, command: Some(with_rights(rule.undo)), note: Some("takes that back".to_owned()) },
    ]
}

/// Commands that limit a port, those that take it back, and what to know before.
struct Rule {
    set: Vec<Vec<String>>,
    undo: Vec<Vec<String>>,
    note: Option<&'static str>,
}

fn restrict_on_windows(kinds: &[String], port: u16, sources: &[Source]) -> Vec<Step> {
    let from: Vec<String> = sources.iter().map(Source::to_string).collect();
    let from = if from.is_empty() { "localsubnet".to_owned() } else { from.join(",") };
    let name = |kind: &str| format!("name={kind}-{port}-from-own-network");
    let firewall = |verb: &str, kind: &str| words(&["netsh", "advfirewall", "firewall", verb, "rule", &name(kind)]);
    let set = |kind: &String| {
        let more = ["dir=in", "action=allow", &format!("protocol={kind}"), &format!("localport={port}"), &format!("remoteip={from}")];
        [firewall("add", kind), words(&more)].concat()
    };
    let set = suggestion_for(kinds.iter().map(set).collect(), " && ");
    let undo = suggestion_for(kinds.iter().map(|kind| firewall("delete", kind)).collect(), " && ");
    let note = "Windows lets nobody else in unless another rule does: look for one with `Get-NetFirewallPortFilter`, and run this as administrator";
    vec![
        Step { action: Action::Restrict, command: Some(set), note: Some(note.to_owned()) },
        Step { action: Action::Undo, command: Some(undo), note: Some("takes that back".to_owned()) },
    ]
}

/// Before all other rules: ufw takes the first that fits.
fn ufw(kinds: &[String], port: u16, sources: &[Source]) -> Rule {
    let port = port.to_string();
    let mut rules = Vec::new();
    for kind in kinds {
        rules.push(["deny", "proto", kind, "to", "any", "port", &port].map(str::to_owned).to_vec());
        for source in sources {
            rules.push(["allow", "proto", kind, "from", &source.to_string(), "to", "any", "port", &port].map(str::to_owned).to_vec());
        }
    }
    let with = |verb: &str| rules.iter().map(|rule| [words(&["ufw", verb]), rule.clone()].concat()).collect();
    Rule { set: with("prepend"), undo: with("delete"), note: None }
}

/// Rich rules with a priority: who is let in comes before who is not.
fn firewalld(kinds: &[String], port: u16, sources: &[Source]) -> Rule {
    let mut rules = Vec::new();
    for kind in kinds {
        let port = format!("port port=\"{port}\" protocol=\"{kind}\"");
        for source in sources {
            let family = if source.is_ipv6() { "ipv6" } else { "ipv4" };
            rules.push(format!("rule priority=\"-20\" family=\"{family}\" source address=\"{source}\" {port} accept"));
        }
        for family in ["ipv4", "ipv6"] {
            rules.push(format!("rule priority=\"-10\" family=\"{family}\" {port} reject"));
        }
    }
    let with = |option: &str| {
        let one = |rule: &String| words(&["firewall-cmd", "--permanent", &format!("--{option}={rule}")]);
        rules.iter().map(one).chain([words(&["firewall-cmd", "--reload"])]).collect()
    };
    Rule { set: with("add-rich-rule"), undo: with("remove-rich-rule"), note: None }
}

const UNTIL_THE_NEXT_START: Option<&str> = Some("until the next start; write it into the firewall's configuration to keep it");

/// A table of its own, which drops before the others are asked: what they accept stays dropped, what they drop too.
fn nftables(kinds: &[String], port: u16, sources: &[Source]) -> Rule {
    let table = format!("port_{port}");
    let mut text = format!(
        "add table inet {table}; add chain inet {table} input {{ type filter hook input priority -10; policy accept; }}; flush chain inet {table} input"
    );
    for kind in kinds {
        for source in sources {
            let family = if source.is_ipv6() { "ip6" } else { "ip" };
            text.push_str(&format!("; add rule inet {table} input {family} saddr {source} {kind} dport {port} accept"));
        }
        text.push_str(&format!("; add rule inet {table} input iifname != \"lo\" {kind} dport {port} drop"));
    }
    let undo = words(&["nft", "delete", "table", "inet", &table]);
    Rule { set: vec![words(&["nft", &text])], undo: vec![undo], note: UNTIL_THE_NEXT_START }
}

/// A chain of its own: who returns from it meets the other rules.
fn iptables(kinds: &[String], port: u16, sources: &[Source]) -> Rule {
    let (mut set, mut undo) = (Vec::new(), Vec::new());
    for kind in kinds {
        let chain = format!("{kind}-{port}");
        let port = port.to_string();
        for (tool, is_ipv6) in [("iptables", false), ("ip6tables", true)] {
            let jump = |verb: &str| words(&[tool, verb, "INPUT", "!", "-i", "lo", "-p", kind, "--dport", &port, "-j", &chain]);
            set.push(words(&[tool, "-N", &chain]));
            for source in sources.iter().filter(|source| source.is_ipv6() == is_ipv6) {
                set.push(words(&[tool, "-A", &chain, "-s", &source.to_string(), "-j", "RETURN"]));
            }
            set.push(words(&[tool, "-A", &chain, "-j", "DROP"]));
            set.push(jump("-I"));
            undo.extend([jump("-D"), words(&[tool, "-F", &chain]), words(&[tool, "-X", &chain])]);
        }
    }
    Rule { set, undo, note: UNTIL_THE_NEXT_START }
}

/// Without a firewall, systemd can filter what a service gets.
fn by_unit(sockets: &[Socket], sources: &[Source]) -> Option<Rule> {
    let unit = sockets
        .iter()
        .find_map(Socket::unit)
        .filter(|unit| unit.manager == Manager::System && unit.name.ends_with(".service") && is_legal_unit(&unit.name))?;
    let mut set = words(&["systemctl", "set-property"]);
    set.extend(unit_words(&unit.name));
    let mut undo = set.clone();
    undo.extend(words(&["IPAddressDeny=", "IPAddressAllow="]));
    set.extend(words(&["IPAddressDeny=any", "IPAddressAllow=localhost"]));
    set.extend(sources.iter().map(|source| format!("IPAddressAllow={source}")));
    let note = Some("no firewall was found; this limits every port of the service, and whom it may send to");
    Some(Rule { set: vec![set], undo: vec![undo], note })
}

fn close(socket: &Socket, facts: &Facts) -> Vec<Step> {
    let step = |command: Option<Vec<String>>, note: Option<&str>| Step {
        action: Action::Close,
        command: command.map(|words| suggestion(vec![words])),
        note: note.map(str::to_owned),
    };
    if let Some(unit) = socket.socket_unit.as_ref().filter(|unit| is_legal_unit(&unit.name)) {
        let mut units = vec![unit.name.clone()];
        units.extend(unit.activates.clone().filter(|name| is_legal_unit(name) && !name.contains("@.")));
        return vec![step(Some(with_rights(facts, systemctl(&["disable", "--now"], &units))), warning(&unit.name))];
    }
    match &socket.owner {
        Owner::Hidden { unit: Some(unit), .. } => close_unit(unit, None, facts).into_iter().collect(),
        Owner::Hidden { unit: None, .. } => Vec::new(),
        Owner::NoProcess => {
            vec![step(
                None,
                Some("no process has it: stop what the kernel serves there, such as nfs-server.service or a WireGuard interface"),
            )]
        }
        Owner::Processes { processes, .. } => {
            processes.iter().take(PROCESSES_MAX).flat_map(|process| close_process(process, socket, facts)).collect()
        }
    }
}

fn close_process(process: &Process, socket: &Socket, facts: &Facts) -> Vec<Step> {
    let close = |words: Vec<String>, note: Option<&str>| Step {
        action: Action::Close,
        command: Some(suggestion(vec![words])),
        note: note.map(str::to_owned),
    };
    if facts.system == System::Windows {
        let service = ["powershell", "-NoProfile", "-Command", &format!("Get-CimInstance Win32_Service -Filter ProcessId={}", process.pid)]
            .map(str::to_owned);
        let look = Step { action: Action::Look, command: Some(windows(service.to_vec())), note: None };
        let kill = words(&["taskkill", "/PID", &process.pid.to_string()]);
        return vec![look, close(kill, Some("if it is a service, `Stop-Service` and `Set-Service -StartupType Disabled` keep it stopped"))];
    }
    if is_docker_proxy(process) {
        let list = words(&["docker", "ps", "--filter", &format!("publish={}", socket.port)]);
        return vec![close(
            with_rights(facts, list),
            Some("Docker publishes a container's port there: this names the container, `docker stop` stops it"),
        )];
    }
    if let Some(container) = &process.container {
        let id = container.id.as_str();
        let is_option = id.starts_with('-');
        let stop = match container.runtime {
            _ if is_option => None,
            Runtime::Docker => Some(words(&["docker", "stop", id])),
            Runtime::Podman => Some(words(&["podman", "stop", id])),
            Runtime::Containerd if !container.kubernetes => Some(words(&["nerdctl", "stop", id])),
            Runtime::Containerd | Runtime::CriO => Some(words(&["crictl", "stop", id])),
            Runtime::Lxc => Some(words(&["lxc-stop", "-n", id])),
            Runtime::Nspawn => Some(words(&["machinectl", "poweroff", id])),
            Runtime::Unknown => None,
        };
        if let Some(stop) = stop {
            let note = container.kubernetes.then_some("Kubernetes starts it again unless its pod is deleted");
            return vec![close(with_rights(facts, stop), note)];
        }
    }
    if let Some(step) = process.unit.as_ref().and_then(|unit| close_unit(unit, Some(process), facts)) {
        return vec![step];
    }
    if process.pid <= 1 {
        let note = "the first process of the system has it, probably for a socket unit: this lists them";
        return vec![Step { action: Action::Look, ..close(words(&["systemctl", "list-sockets", "--all"]), Some(note)) }];
    }
    let kill = words(&["kill", &process.pid.to_string()]);
    let own = process.user.as_ref().is_some_and(|user| user.uid == facts.uid);
    let note = warning(&process.name).unwrap_or("the last resort: nothing is known that would keep it stopped");
    vec![close(if own { kill } else { with_rights(facts, kill) }, Some(note))]
}

/// None where stopping the unit would stop more than the one thing, or it has no name that systemd permits.
fn close_unit(unit: &Unit, process: Option<&Process>, facts: &Facts) -> Option<Step> {
    let manages_others = ["user@", "session-", "docker.service", "containerd.service", "crio.service", "kubelet.service", "podman.service"];
    let whole_system = unit.name == "init.scope";
    let in_container = process.is_some_and(|process| process.container.is_some());
    if !is_legal_unit(&unit.name)
        || whole_system
        || in_container
        || unit.manager == Manager::System && manages_others[..2].iter().any(|start| unit.name.starts_with(start))
    {
        return None;
    }
    let verb: &[&str] = if unit.name.ends_with(".scope") { &["stop"] } else { &["disable", "--now"] };
    let (words, note) = match unit.manager {
        Manager::System => (with_rights(facts, systemctl(verb, std::slice::from_ref(&unit.name))), None),
        Manager::User { uid } if uid == facts.uid => {
            (systemctl(&[&["--user"], verb].concat(), std::slice::from_ref(&unit.name)), Some("a unit of the user's own"))
        }
        Manager::User { uid } => {
            let machine = format!("--machine={uid}@.host");
            (
                with_rights(facts, systemctl(&[&["--user", machine.as_str()], verb].concat(), std::slice::from_ref(&unit.name))),
                Some("a unit of that user's own"),
            )
        }
    };
    let note =
        if manages_others.contains(&unit.name.as_str()) { Some("it runs all containers of this machine: they stop too") } else { note };
    let note = warning(&unit.name).or(note).map(str::to_owned);
    Some(Step { action: Action::Close, command: Some(suggestion(vec![words])), note })
}

fn warning(name: &str) -> Option<&'static str> {
    (name.starts_with("ssh.") || name.starts_with("sshd")).then_some("whoever is logged in through it is shut out, perhaps you")
}

fn is_docker_proxy(process: &Process) -> bool {
    process.name == "docker-proxy"
}

/// The characters that systemd permits (systemd.unit(5)). `systemctl` takes others for patterns.
fn is_legal_unit(name: &str) -> bool {
    name.len() <= UNIT_BYTES_MAX
        && name.contains('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
}

fn systemctl(verb: &[&str], units: &[String]) -> Vec<String> {
    let mut command = words(&["systemctl"]);
    command.extend(words(verb));
    if units.iter().any(|unit| unit.starts_with('-')) {
        command.push("--".to_owned());
    }
    command.extend(units.iter().cloned());
    command
}

fn unit_words(unit: &str) -> Vec<String> {
    if unit.starts_with('-') { words(&["--", unit]) } else { words(&[unit]) }
}

fn with_rights(facts: &Facts, mut command: Vec<String>) -> Vec<String> {
    if !facts.is_root && facts.system != System::Windows {
        command.insert(0, "sudo".to_owned());
    }
    command
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn suggestion(commands: Vec<Vec<String>>) -> Suggestion {
    suggestion_for(commands, " && ")
}

fn suggestion_for(commands: Vec<Vec<String>>, between: &str) -> Suggestion {
    let line = |command: &Vec<String>| command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    Suggestion { text: commands.iter().map(line).collect::<Vec<_>>().join(between), commands }
}

/// For `cmd` and PowerShell alike: double quotes around a word with spaces. Every word of these is ours, or a number.
fn windows(command: Vec<String>) -> Suggestion {
    let text =
        command.iter().map(|word| if word.contains(' ') { format!("\"{word}\"") } else { word.clone() }).collect::<Vec<_>>().join(" ");
    Suggestion { text, commands: vec![command] }
}

/// A word for a POSIX shell. What cannot be seen or turns the text around is written as `printf` writes it, so that the line can be read and pasted.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('=') {
        return word.to_owned();
    }
    // A command's output loses the line ends at its end: those follow in quotes.
    let body = word.trim_end_matches('\n');
    let ends = &word[body.len()..];
    let mut text = if body.chars().any(is_unseen) { format!("\"$(printf {})\"", single(&as_printf(body))) } else { single(body) };
    if !ends.is_empty() {
        text.push_str(&single(ends));
    }
    text
}

fn single(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The format of `printf` that writes this. A NUL cannot be in a word of a command.
fn as_printf(text: &str) -> String {
    let mut format = String::new();
    for c in text.chars().filter(|c| *c != '\0') {
        match c {
            '%' => format.push_str("%%"),
            '\\' => format.push_str("\\\\"),
            // printf takes a format that begins with a dash for an option.
            unseen if is_unseen(unseen) || (unseen == '-' && format.is_empty()) => {
                let mut bytes = [0; 4];
                for byte in unseen.encode_utf8(&mut bytes).bytes() {
                    format.push_str(&format!("\\{byte:03o}"));
                }
            }
            seen => format.push(seen),
        }
    }
    format
}

/// Control characters, and what hides text or turns it around.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
