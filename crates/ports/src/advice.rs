//! What to do about a port: keep it, restrict it or close it, with the exact command for this system. Nothing is ever run here.
//!
//! Every word of a command is quoted for the shell that it is meant for, so that a name which holds `$(...)`, a line's end or an escape sequence is
//! that name and nothing else, and prints harmlessly.

use std::{
    collections::BTreeSet,
    fmt,
    net::Ipv4Addr,
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
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Close => "close",
            Self::Keep => "keep",
            Self::Look => "look",
            Self::Restrict => "restrict",
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
    /// Looks at this machine. Reads files only, asks no service.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let mut programs: Vec<PathBuf> = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
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

/// What to do about the sockets of one port. None if there are none: a free port needs nothing.
#[must_use]
pub fn advise(sockets: &[Socket], standing: Standing, facts: &Facts) -> Option<Advice> {
    let port = sockets.first()?.port;
    let hidden = sockets.iter().any(|socket| matches!(socket.owner, Owner::Hidden { .. }));
    let outside = sockets.iter().any(|socket| socket.reach == Reach::FromOutside);
    let perhaps = sockets.iter().any(|socket| socket.reach == Reach::Unknown);
    let (action, why) = match standing {
        Standing::NotGenuine => (Action::Close, "what answers there is not what belongs there"),
        Standing::Expected => (Action::Keep, "it is what belongs there"),
        Standing::Unknown if hidden => (Action::Look, "its owner is hidden from this user"),
        Standing::Unknown if outside => (Action::Restrict, "it can be reached from outside and nobody vouches for it"),
        Standing::Unknown if perhaps => {
            (Action::Restrict, "whether it can be reached from outside is not known, and nobody vouches for it")
        }
        Standing::Unknown => (Action::Keep, "only programs of this machine can reach it"),
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
    for socket in sockets {
        steps.extend(close(socket, facts));
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
        steps.push(restrict_here(&here, port, facts));
    }
    if !elsewhere.is_empty() {
        let note = "it is in another network namespace, which has a firewall of its own; publish its port on 127.0.0.1 or on one address";
        steps.push(Step { action: Action::Restrict, command: None, note: Some(note.to_owned()) });
    }
    steps
}

fn restrict_here(sockets: &[Socket], port: u16, facts: &Facts) -> Step {
    let mut kinds = protocols(sockets);
    if kinds.remove(&Protocol::UdpLite) && kinds.is_empty() {
        let note = "have it listen on 127.0.0.1 or one address in its own configuration; not every firewall knows UDP-Lite";
        return Step { action: Action::Restrict, command: None, note: Some(note.to_owned()) };
    }
    let name_of = |kind: &Protocol| kind.to_string();
    let network = facts.network.map(|network| network.to_string());
    let commands: Vec<Vec<String>> = match (facts.system, facts.firewall) {
        (System::Windows, _) => {
            let from = network.as_deref().unwrap_or("localsubnet");
            let rule = |kind: &Protocol| {
                let kind = name_of(kind);
                words(&[
                    "netsh",
                    "advfirewall",
                    "firewall",
                    "add",
                    "rule",
                    &format!("name={kind}-{port}-from-own-network"),
                    "dir=in",
                    "action=allow",
                    &format!("protocol={kind}"),
                    &format!("localport={port}"),
                    &format!("remoteip={from}"),
                ])
            };
            let note = "Windows lets nobody else in unless another rule does: look for one with `Get-NetFirewallPortFilter`, and run this as administrator";
            let command = suggestion_for(kinds.iter().map(rule).collect(), " && ");
            return Step { action: Action::Restrict, command: Some(command), note: Some(note.to_owned()) };
        }
        (System::MacOs, _) => {
            let note = "have it listen on 127.0.0.1 or one address in its own configuration, or write a rule for pf";
            return Step { action: Action::Restrict, command: None, note: Some(note.to_owned()) };
        }
        (System::Linux, Firewall::Ufw) => kinds.iter().flat_map(|kind| ufw(&name_of(kind), port, network.as_deref())).collect(),
        (System::Linux, Firewall::Firewalld) => {
            let mut commands: Vec<_> = kinds.iter().flat_map(|kind| firewalld(&name_of(kind), port, network.as_deref())).collect();
            commands.push(words(&["firewall-cmd", "--reload"]));
            commands
        }
        (System::Linux, Firewall::Nftables) => vec![words(&["nft", &nftables(&kinds, port, network.as_deref())])],
        (System::Linux, Firewall::Iptables) => kinds.iter().flat_map(|kind| iptables(&name_of(kind), port, network.as_deref())).collect(),
        (System::Linux, Firewall::NoneFound) => return restrict_by_unit(sockets, facts),
    };
    let commands = commands.into_iter().map(|words| with_rights(facts, words)).collect();
    let published = sockets.iter().flat_map(Socket::processes).any(|process| is_docker_proxy(process));
    let note = if published {
        Some("Docker lets its published ports past the firewall: publish it as 127.0.0.1:PORT:PORT instead".to_owned())
    } else if matches!(facts.firewall, Firewall::Nftables | Firewall::Iptables) {
        Some("until the next start; write it into the firewall's configuration to keep it".to_owned())
    } else {
        None
    };
    Step { action: Action::Restrict, command: Some(suggestion(commands)), note }
}

/// Before all other rules: ufw takes the first that fits.
fn ufw(kind: &str, port: u16, network: Option<&str>) -> Vec<Vec<String>> {
    let port = port.to_string();
    let mut commands = vec![words(&["ufw", "prepend", "deny", "proto", kind, "to", "any", "port", &port])];
    if let Some(network) = network {
        commands.push(words(&["ufw", "prepend", "allow", "proto", kind, "from", network, "to", "any", "port", &port]));
    }
    commands
}

/// firewalld takes what rejects before what accepts.
fn firewalld(kind: &str, port: u16, network: Option<&str>) -> Vec<Vec<String>> {
    let rule = |family: &str, source: &str| format!("rule family=\"{family}\"{source} port port=\"{port}\" protocol=\"{kind}\" reject");
    let source = network.map(|network| format!(" source NOT address=\"{network}\"")).unwrap_or_default();
    [rule("ipv4", &source), rule("ipv6", "")]
        .iter()
        .map(|rule| words(&["firewall-cmd", "--permanent", &format!("--add-rich-rule={rule}")]))
        .collect()
}

/// A table of its own, which drops before the others are asked: what they accept stays dropped, what they drop too.
fn nftables(kinds: &BTreeSet<Protocol>, port: u16, network: Option<&str>) -> String {
    let table = format!("port_{port}");
    let mut text = format!(
        "add table inet {table}; add chain inet {table} input {{ type filter hook input priority -10; policy accept; }}; flush chain inet {table} input"
    );
    for kind in kinds {
        let source = network.map(|network| format!(" ip saddr != {network}")).unwrap_or_default();
        text.push_str(&format!("; add rule inet {table} input iifname != \"lo\" meta nfproto ipv4 {kind} dport {port}{source} drop"));
        text.push_str(&format!("; add rule inet {table} input iifname != \"lo\" meta nfproto ipv6 {kind} dport {port} drop"));
    }
    text
}

fn iptables(kind: &str, port: u16, network: Option<&str>) -> Vec<Vec<String>> {
    let port = port.to_string();
    let mut v4 = words(&["iptables", "-I", "INPUT", "!", "-i", "lo", "-p", kind, "--dport", &port]);
    if let Some(network) = network {
        v4.extend(words(&["!", "-s", network]));
    }
    v4.extend(words(&["-j", "DROP"]));
    let v6 = words(&["ip6tables", "-I", "INPUT", "!", "-i", "lo", "-p", kind, "--dport", &port, "-j", "DROP"]);
    vec![v4, v6]
}

/// Without a firewall, systemd can filter what a service gets.
fn restrict_by_unit(sockets: &[Socket], facts: &Facts) -> Step {
    let service = sockets
        .iter()
        .find_map(Socket::unit)
        .filter(|unit| unit.manager == Manager::System && unit.name.ends_with(".service") && is_legal_unit(&unit.name));
    let Some(unit) = service else {
        let note = "no firewall was found: have it listen on 127.0.0.1 or one address in its own configuration";
        return Step { action: Action::Restrict, command: None, note: Some(note.to_owned()) };
    };
    let mut command = words(&["systemctl", "set-property"]);
    command.extend(unit_words(&unit.name));
    command.extend(words(&["IPAddressDeny=any", "IPAddressAllow=localhost"]));
    if let Some(network) = facts.network {
        command.push(format!("IPAddressAllow={network}"));
    }
    let note = "no firewall was found; this limits every port of the service, and whom it may send to";
    Step { action: Action::Restrict, command: Some(suggestion(vec![with_rights(facts, command)])), note: Some(note.to_owned()) }
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
