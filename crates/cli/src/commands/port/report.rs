//! One port: registered for, listening here, genuine, what to do.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;
use triquest_ports::{
    advice::{self, Action, Advice, Facts, Session},
    registry::{Assignment, Known, PortReport, Protocol as Registered, ProtocolReport, Registry},
    sockets::{self, Ask, Held, Hiding, Listening, Namespace, Owner, Package, Process, Reach, Socket, TakesIpv4},
};
use triquest_wire::limits::PORT;

use super::{
    Setting, code,
    probe::{self, Probe},
};
use crate::{
    failure::Failure,
    terminal::{Terminal, duration_short, escape},
};

/// Most addresses at the other end of connections that are shown.
const PEERS_SHOWN_MAX: usize = 4;
/// Columns of the label.
const LABEL: usize = 6;
/// The source of a statement begins in this column, where the statement leaves room.
const SOURCE: usize = 72;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    port: u16,
    registered: &'a PortReport<'a>,
    /// The kernel's word; absent for another host.
    #[serde(skip_serializing_if = "Option::is_none")]
    listening: Option<&'a Listening>,
    probes: &'a [Probe],
    /// Absent where nothing listens, or on another host.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    advice: Option<&'a Advice>,
    needs_a_look: bool,
}

pub(super) fn run(
    registry: &Registry,
    port: u16,
    host: Option<&[SocketAddr]>,
    setting: &Setting,
    answers: &mut probe::Answers,
    json: bool,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let registered = registry.report(port);
    let listening = match host {
        Some(_) => None,
        None => Some(sockets::listening(Some(port), Ask::everything()).map_err(|cause| Failure::new(escape(&cause.to_string())))?),
    };
    let probes = match (&listening, host) {
        (Some(listening), _) => probe::sockets(&listening.sockets, true, registry, setting, answers),
        (None, Some(addresses)) => probe::named(addresses, registry, setting, answers),
        (None, None) => Vec::new(),
    };
    let sockets = listening.as_ref().map_or(&[][..], |listening| &listening.sockets);
    // A key that the user named must be there: a port where nobody listens has not got it either.
    let is_nothing_kept = setting.remember && !probes.iter().any(Probe::is_ours);
    let needs_a_look = probes.iter().any(Probe::needs_a_look) || probes.is_empty() && !setting.named.is_empty() || is_nothing_kept;
    let session = std::env::var("SSH_CONNECTION").ok().and_then(|connection| Session::of_ssh(&connection));
    let facts = Facts::of_this_machine(std::env::var_os("PATH").as_deref(), session);
    let advice = advice::advise(sockets, |socket| probe::standing(socket, sockets, &probes), &facts);
    // One word and one exit code: whoever is to look is not told to leave it.
    let advice = advice.map(|advice| match advice.action {
        Action::Look if probes.iter().any(Probe::is_hung) => {
            Advice { why: "a server of this program is here and does not answer: restart it; leases outlive a restart", ..advice }
        }
        Action::Keep if probes.iter().any(Probe::is_a_stranger) => Advice {
            action: Action::Look,
            why: "only programs of this machine can reach it, but its key is not one that is known here: compare it with what `triquest-lm server id` \
                  prints on the server",
            ..advice
        },
        Action::Keep if probes.iter().any(Probe::is_unlike_named) => {
            Advice { action: Action::Look, why: "no key was proved there, and the one that you named should be", ..advice }
        }
        _ => advice,
    });
    if json {
        terminal.json(&Report {
            port,
            registered: &registered,
            listening: listening.as_ref(),
            probes: &probes,
            advice: advice.as_ref(),
            needs_a_look,
        })?;
        return Ok(code(needs_a_look));
    }
    let mut lines = Lines::default();
    registration(&mut lines, &registered);
    if let Some(listening) = &listening {
        here(&mut lines, port, listening);
    }
    proofs(&mut lines, port, &probes, listening.as_ref(), host.is_some(), setting);
    if is_nothing_kept {
        lines.add("proof", "no key was proved there, so nothing was remembered", None);
    }
    if let Some(advice) = &advice {
        what_to_do(&mut lines, advice);
    }
    if probes.iter().any(Probe::is_changed)
        && let Some(file) = triquest_client::pins::usual_file()
    {
        lines.add("do", format!("if the server was set up anew: take its line out of {}", file.display()), None);
    }
    terminal.data(lines.text.trim_end());
    Ok(code(needs_a_look))
}

/// What to do first, and the commands. They are ours to print and the user's to run.
fn what_to_do(lines: &mut Lines, advice: &Advice) {
    lines.add("do", format!("{}: {}", advice.action, advice.why), None);
    for step in &advice.steps {
        let note = step.note.as_ref().map(|note| format!("  # {note}")).unwrap_or_default();
        match &step.command {
            Some(command) => lines.add("do", format!("{:<10}{command}{note}", format!("{}:", step.action)), None),
            None => lines.add("do", format!("{:<10}{}", format!("{}:", step.action), step.note.as_deref().unwrap_or_default()), None),
        }
    }
}

/// Labelled lines, with the source of each to the right.
#[derive(Default)]
struct Lines {
    text: String,
    label: String,
}

impl Lines {
    /// `text` may hold words from outside; it is escaped here.
    fn add(&mut self, label: &str, text: impl AsRef<str>, source: Option<&str>) {
        let shown = if self.label == label { "" } else { label };
        self.label.clear();
        self.label.push_str(label);
        let text = escape(text.as_ref());
        let line = format!("{shown:<LABEL$}{text}");
        let line = line.trim_end();
        match source {
            Some(source) => {
                let _ = writeln!(self.text, "{line:<SOURCE$}  {}", escape(source));
            }
            None => {
                let _ = writeln!(self.text, "{line}");
            }
        }
    }
}

fn registration(lines: &mut Lines, report: &PortReport<'_>) {
    let label = report.port.to_string();
    let source = format!("IANA, {}", report.source.updated);
    let source = Some(source.as_str());
    // The protocols of each name, in the order of the rows.
    let mut names: Vec<(&str, Vec<&str>)> = Vec::new();
    for entry in report.entries.iter().filter(|entry| entry.name.is_some()) {
        let name = entry.name.unwrap_or_default();
        let protocols = entry.protocols.named().map(Registered::name);
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => known.extend(protocols),
            None => names.push((name, protocols.collect())),
        }
    }
    if names.is_empty() {
        let said = report.protocols.iter().map(|protocol| protocol.assignment).find(|assignment| *assignment != Assignment::NotListed);
        let words = said.unwrap_or(Assignment::NotListed).words();
        lines.add(&label, format!("no registered name: {words}"), source);
    }
    for (name, protocols) in &names {
        let over: Vec<String> = protocols.iter().map(|protocol| protocol.to_uppercase()).collect();
        let over = if over.is_empty() { "no protocol named".to_owned() } else { and(&over) };
        lines.add(&label, format!("{name}, {over}"), source);
    }
    for entry in &report.entries {
        let described = entry.name.is_some_and(|name| !name.eq_ignore_ascii_case(entry.description)) && !entry.description.is_empty();
        let who = entry.registrants.join(", ");
        let mut facts = Vec::new();
        if described {
            facts.push(entry.description.to_owned());
        }
        if !who.is_empty() {
            facts.push(format!("registrant {who}"));
        }
        if let Some(date) = entry.registered {
            facts.push(format!("registered {date}"));
        }
        if let Some(notes) = entry.notes {
            facts.push(notes.to_owned());
        }
        let name = if names.len() > 1 { entry.name.map(|name| format!("{name}: ")).unwrap_or_default() } else { String::new() };
        if !facts.is_empty() {
            lines.add(&label, format!("{name}{}", facts.join("; ")), None);
        }
        if let Some(note) = entry.unauthorized {
            lines.add(&label, format!("{name}unauthorized use is known: {note}"), source);
        }
    }
    // Of our own port everything is said by its name.
    let mut managers: Vec<(String, Vec<String>, Option<&str>)> = Vec::new();
    let usual = |protocol: &&ProtocolReport| report.port != PORT && matches!(protocol.protocol, Registered::Tcp | Registered::Udp);
    for protocol in report.protocols.iter().filter(usual) {
        let Some(manager) = &protocol.license_manager else { continue };
        let how = match manager.known {
            Known::Both => "registered and used by the license manager",
            Known::Practice => "used in practice by the license manager",
            Known::Registered => "registered for the license manager",
        };
        let role = manager.role.map(|role| format!(" ({role})")).unwrap_or_default();
        let said = format!("{how} {}{role}", manager.product);
        let over = protocol.protocol.name().to_uppercase();
        match managers.iter_mut().find(|(known, _, _)| *known == said) {
            Some((_, protocols, _)) => protocols.push(over),
            None => managers.push((said, vec![over], manager.sources.last().map(String::as_str))),
        }
    }
    for (said, over, source) in &managers {
        lines.add(&label, format!("{}: {said}", and(over)), *source);
    }
    let (first, last) = report.range.bounds();
    lines.add(&label, format!("in {}, {first}-{last}: {}", report.range.name(), report.range.meaning()), Some(report.range.source()));
    // In the user ports it is said as what the range means.
    if !names.is_empty() && !report.range.meaning().contains("does not say what runs") {
        lines.add(&label, "a registration does not say what runs", None);
    }
}

/// `TCP, UDP and SCTP`.
fn and(words: &[String]) -> String {
    match words {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        words => words.concat(),
    }
}

/// What the kernel shows: sockets of one owner together.
fn here(lines: &mut Lines, port: u16, listening: &Listening) {
    const KERNEL: Option<&str> = Some("kernel, now");
    if listening.sockets.is_empty() {
        let free = if listening.held.is_empty() { "nothing listens, TCP or UDP" } else { "nothing listens, and yet the port is HELD" };
        lines.add("here", free, KERNEL);
    }
    // Whoever was accepted by a listener has its port and no port of its own; that the port is held is no news then.
    let is_accepted = |held: &&Held| held.peer.is_some() && listening.sockets.iter().any(|socket| socket.protocol == held.protocol);
    for held in listening.held.iter().filter(|held| !is_accepted(held)) {
        let how = held.peer.map_or_else(|| "bound, does not listen".to_owned(), |peer| format!("the own end of a connection with {peer}"));
        lines.add("here", format!("{} {}, uid {}: {how}", held.protocol, SocketAddr::new(held.address, port), held.uid), KERNEL);
    }
    let mut groups: BTreeMap<String, Vec<&Socket>> = BTreeMap::new();
    for socket in &listening.sockets {
        groups.entry(owner_key(socket)).or_default().push(socket);
    }
    for sockets in groups.values() {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for socket in sockets {
            let ip = if socket.address.is_ipv6() { format!("[{}]", socket.address) } else { socket.address.to_string() };
            let on = socket.interface.as_ref().map_or_else(String::new, |interface| format!(" on {interface}"));
            let both = if socket.address.is_ipv6() && socket.takes_ipv4 == TakesIpv4::Yes { " (and IPv4)" } else { "" };
            let place = format!("{ip}{on}{both}");
            let of_protocol = places.entry(socket.protocol.to_string()).or_default();
            if !of_protocol.contains(&place) {
                of_protocol.push(place);
            }
        }
        let places = places.iter().map(|(protocol, places)| format!("{protocol} {}", places.join(", "))).collect::<Vec<_>>().join("; ");
        let first = sockets[0];
        let reach = if sockets.iter().any(|socket| socket.reach == Reach::FromOutside) {
            "reachable from outside, unless a firewall keeps it"
        } else if sockets.iter().all(|socket| socket.reach == Reach::OnlyThisMachine) {
            "only from this machine"
        } else {
            "reach unknown"
        };
        lines.add("here", format!("{places}; {reach}"), KERNEL);
        if let Namespace::Other { name, container, id, pid } = &first.namespace {
            let what = match (container, name, id) {
                (Some(container), _, _) => format!("container {} ({})", container.id.get(..12).unwrap_or(&container.id), container.runtime),
                (None, Some(name), _) => format!("network namespace {name}"),
                (None, None, Some(id)) => format!("network namespace net:[{id}], of process {pid}"),
                (None, None, None) => format!("another network namespace, of process {pid}"),
            };
            lines.add("here", format!("in {what}: other addresses than this machine's"), None);
        }
        for line in owner(first, port) {
            lines.add("here", line, None);
        }
        if let Some(queue) = first.queue.filter(|queue| queue.waiting > 0) {
            let longest = queue.longest.filter(|longest| *longest > 0).map(|longest| format!(" of {longest}")).unwrap_or_default();
            lines.add("here", format!("{}{longest} connections wait to be accepted", queue.waiting), None);
        }
    }
    for gap in &listening.gaps {
        lines.add("here", format!("not seen: {}", gap_words(gap)), None);
    }
    let mut peers: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for peer in listening.held.iter().filter(is_accepted).filter_map(|held| held.peer) {
        *peers.entry(peer.ip()).or_default() += 1;
    }
    connections(lines, &peers);
}

/// Connections that listeners have accepted, by who is at their other end.
fn connections(lines: &mut Lines, peers: &BTreeMap<IpAddr, usize>) {
    let count: usize = peers.values().sum();
    if count == 0 {
        return;
    }
    let mut named: Vec<String> = peers
        .iter()
        .take(PEERS_SHOWN_MAX)
        .map(|(peer, count)| if *count == 1 { peer.to_string() } else { format!("{peer} ({count})") })
        .collect();
    if let Some(more) = peers.len().checked_sub(PEERS_SHOWN_MAX).filter(|more| *more > 0) {
        named.push(format!("{more} more"));
    }
    let least = if count >= sockets::HELD_MAX { "at least " } else { "" };
    let what = if count == 1 { "connection" } else { "connections" };
    lines.add("conn", format!("{least}{count} open {what} with {}", and(&named)), Some("kernel, now"));
}

/// What makes two sockets one line: the same owner at the same place.
fn owner_key(socket: &Socket) -> String {
    let pids: Vec<u32> = socket.processes().iter().map(|process| process.pid).collect();
    let hidden = matches!(socket.owner, Owner::Hidden { .. });
    let unit = socket.socket_unit.as_ref().map(|unit| &unit.name);
    let uid = socket.user.as_ref().map(|user| user.uid);
    format!("{:?} {pids:?} {hidden} {unit:?} {uid:?}", socket.namespace)
}

fn owner(socket: &Socket, port: u16) -> Vec<String> {
    let mut lines = Vec::new();
    match &socket.owner {
        Owner::Hidden { user, why, unit } => {
            let user = user.as_ref().map_or_else(|| "user unknown".to_owned(), |user| format!("{user}, uid {}", user.uid));
            let why = match why {
                Hiding::NotPermitted => format!("to see it: sudo triquest-lm port {port}"),
                Hiding::OtherPidNamespace => "its process is in another PID namespace: look from the machine itself".to_owned(),
            };
            let unit = unit.as_ref().map(|unit| format!(", {}", unit.name)).unwrap_or_default();
            lines.push(format!("HELD, owner hidden ({user}{unit}); {why}"));
        }
        Owner::NoProcess => {
            lines.push("HELD by no process: the kernel itself (NFS, WireGuard and the like), or its process has just ended".to_owned())
        }
        Owner::Processes { processes, more, maybe_others } => {
            for process in processes {
                lines.extend(process_lines(process));
            }
            if *more > 0 {
                lines.push(format!("and {more} more processes"));
            }
            if *maybe_others {
                lines.push("perhaps others too: not every process can be seen by this user".to_owned());
            }
        }
    }
    if let Some(unit) = &socket.socket_unit {
        let activates = unit.activates.as_ref().map(|service| format!(", which starts {service}")).unwrap_or_default();
        lines.push(format!("socket unit {}{activates}", unit.name));
    }
    lines
}

fn process_lines(process: &Process) -> Vec<String> {
    let mut text = format!("{} pid {}", process.name, process.pid);
    if let Some(user) = &process.user {
        let _ = write!(text, ", user {user}");
    }
    if let Some(unit) = &process.unit {
        let _ = write!(text, ", {}", unit.name);
    }
    if let Some(container) = &process.container {
        let _ = write!(text, ", {} {}", container.runtime, container.id.get(..12).unwrap_or(&container.id));
    }
    if let Some(since) = process.since {
        let _ = write!(text, ", since {}", since_words(since));
    }
    let mut lines = vec![text];
    if let Some(executable) = &process.executable {
        let deleted = match (executable.deleted, executable.replaced) {
            (false, _) => "",
            (true, Some(true)) => " (deleted since: another one is at that path now)",
            (true, Some(false)) => " (deleted since: nothing is at that path now)",
            (true, None) => " (deleted since: what is at that path now cannot be seen)",
        };
        let package = match &executable.package {
            Some(Package::NoPackage { manager }) => format!(", of no package ({manager})"),
            Some(Package::Owned { manager, name }) => format!(", package {name} ({manager})"),
            Some(Package::Unknown { why }) => format!(", package unknown: {why}"),
            None => String::new(),
        };
        lines.push(format!("{}{deleted}{package}", executable.path));
    }
    lines
}

/// `41 d`.
fn since_words(since: u64) -> String {
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    duration_short(now.saturating_sub(since).saturating_mul(1_000))
}

pub(super) fn gap_words(gap: &sockets::Gap) -> String {
    use sockets::Gap;
    match gap {
        Gap::NamespaceWithoutProcess { name } => format!("the network namespace {name}, in which no process runs"),
        Gap::Namespaces { looked_into } => {
            format!("some network namespaces of other users ({looked_into} were looked into); root sees all")
        }
        Gap::Packages { why } => format!("packages: {why}"),
        Gap::Processes { hidden, unlisted } => {
            let who = match (unlisted, hidden) {
                (true, _) => "processes that are not even listed hold".to_owned(),
                (false, 1) => "1 process holds".to_owned(),
                (false, hidden) => format!("{hidden} processes hold"),
            };
            let root = if triquest_server::sys::user_id() == 0 { "not even root may look into them here" } else { "root sees more" };
            format!("which sockets {who}; {root}")
        }
        Gap::SocketUnits { why } => format!("socket units: {why}"),
        Gap::Table { path, why } => format!("{path}: {why}"),
    }
}

fn proofs(lines: &mut Lines, port: u16, probes: &[Probe], listening: Option<&Listening>, is_remote: bool, setting: &Setting) {
    if setting.no_probe {
        lines.add("proof", "unknown: nothing was asked (--no-probe)", None);
        return;
    }
    for probe in probes {
        let source = format!("our probe, {} ms", probe.took_ms);
        lines.add("proof", format!("{}: {}", probe.address, probe.words()), Some(&source));
    }
    if !probes.is_empty() {
        return;
    }
    let sockets = listening.map_or(&[][..], |listening| &listening.sockets);
    let why = if triquest_ports::banner::PAPER_PORTS.contains(&port) && (is_remote || !sockets.is_empty()) {
        "unknown: nothing is sent to ports 9100 to 9107, where printers print whatever they get"
    } else if sockets.is_empty() && setting.named.is_empty() {
        return;
    } else if sockets.is_empty() {
        "nobody listens there; the key is not proved"
    } else if sockets.iter().all(|socket| socket.namespace != Namespace::This) {
        "unknown: sockets of other network namespaces are not asked from here"
    } else {
        "unknown: UDP services are not asked, since no greeting is harmless everywhere"
    };
    let unproved = if setting.named.is_empty() || sockets.is_empty() { "" } else { "; the key that you named is not proved" };
    lines.add("proof", format!("{why}{unproved}"), None);
}
