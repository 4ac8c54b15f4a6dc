//! Every listener of this machine, against the registry and the probes.

use std::collections::BTreeMap;

use serde::Serialize;
use triquest_ports::{
    registry::{Protocol as Registered, Registry},
    sockets::{self, Ask, Listening, Namespace, Owner, Protocol, Reach, Socket},
};

use super::{
    Setting, code,
    probe::{self, Probe},
    report::gap_words,
};
use crate::{
    failure::Failure,
    terminal::{Align, Table, Terminal, escape},
};

/// What is found of a listener. In the order in which somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
enum Finding {
    /// On our port, or as our program, and not genuine, or changed, or a clone.
    NotGenuine,
    /// A TriQuest LM server whose key nobody knows.
    UnknownKey,
    /// It says over UDP that it is one of ours, and takes nobody who would let it prove that.
    Unproved,
    /// Registered for one thing, and something else answers.
    SomethingElse,
    /// No service is registered on it.
    Unregistered,
    /// Registered, and what answers does not say what it is.
    Registered,
    /// Registered, and what answers fits.
    Matches,
    /// A TriQuest LM server that proved a key which is named, licensed, or was seen here before.
    Ours,
}

impl Finding {
    fn words(self) -> &'static str {
        match self {
            Self::Matches => "matches",
            Self::NotGenuine => "NOT GENUINE",
            Self::Ours => "ours",
            Self::Registered => "registered, unproved",
            Self::SomethingElse => "SOMETHING ELSE",
            Self::UnknownKey => "UNKNOWN KEY",
            Self::Unproved => "UNPROVED NOW",
            Self::Unregistered => "unregistered",
        }
    }
}

#[derive(Serialize)]
struct Row<'a> {
    port: u16,
    protocol: Protocol,
    finding: Finding,
    /// Whether the exit code says so.
    needs_a_look: bool,
    registered: Vec<&'a str>,
    /// A license manager that is known for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    license_manager: Option<String>,
    reach: Reach,
    sockets: Vec<&'a Socket>,
    probes: Vec<&'a Probe>,
}

#[derive(Serialize)]
struct Report<'a> {
    rows: &'a [Row<'a>],
    gaps: &'a [sockets::Gap],
    source: triquest_ports::registry::Source,
    needs_a_look: bool,
}

pub(super) fn run(
    registry: &Registry,
    setting: &Setting,
    answers: &mut probe::Answers,
    json: bool,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let listening = sockets::listening(None, Ask::default()).map_err(|cause| Failure::new(escape(&cause.to_string())))?;
    let probes = probe::sockets(&listening.sockets, false, registry, setting, answers);
    let rows = rows(registry, &listening, &probes);
    let needs_a_look = rows.iter().any(|row| row.needs_a_look);
    if json {
        terminal.json(&Report { rows: &rows, gaps: &listening.gaps, source: registry.source(), needs_a_look })?;
        return Ok(code(needs_a_look));
    }
    let mut table = Table::new(&[
        ("PORT", Align::Right),
        ("OVER", Align::Left),
        ("OPEN TO", Align::Left),
        ("OWNER", Align::Left),
        ("REGISTERED FOR", Align::Left),
        ("FINDING", Align::Left),
        ("OUR PROBE", Align::Left),
    ]);
    for row in &rows {
        table.row(cells(row));
    }
    terminal.table(&table);
    for gap in &listening.gaps {
        terminal.note(format_args!("not seen: {}", escape(&gap_words(gap))));
    }
    let looked = rows.iter().filter(|row| row.needs_a_look).count();
    let verdict = if looked == 0 { "none needs a look".to_owned() } else { format!("{looked} to look at: triquest-lm port NUMBER") };
    terminal.note(format_args!("{} found; {verdict}; registry: {}", rows.len(), registry.source()));
    Ok(code(needs_a_look))
}

/// One row for each port, protocol and place.
fn rows<'a>(registry: &'a Registry, listening: &'a Listening, probes: &'a [Probe]) -> Vec<Row<'a>> {
    let mut groups: BTreeMap<(u16, Protocol, bool), Vec<&Socket>> = BTreeMap::new();
    for socket in &listening.sockets {
        groups.entry((socket.port, socket.protocol, socket.namespace != Namespace::This)).or_default().push(socket);
    }
    groups
        .into_iter()
        .map(|((port, protocol, is_elsewhere), sockets)| {
            let over = if protocol == Protocol::Tcp { Registered::Tcp } else { Registered::Udp };
            let mut registered: Vec<&str> = registry.on(port, over).iter().filter_map(|entry| entry.name).collect();
            registered.dedup();
            // A socket of another namespace was not asked; what answered on its number here is somebody else.
            let asked: Vec<&Probe> = probes.iter().filter(|probe| probe.address.port() == port && !is_elsewhere).collect();
            let of_protocol: Vec<&Probe> = if protocol == Protocol::Tcp {
                asked
            } else {
                asked.into_iter().filter(|probe| probe.identity.as_ref().is_some_and(|identity| identity.udp != "silent")).collect()
            };
            let finding = finding(&registered, &of_protocol);
            let reach = sockets.iter().map(|socket| socket.reach).find(|reach| *reach == Reach::FromOutside).unwrap_or(sockets[0].reach);
            let needs_a_look = match finding {
                Finding::NotGenuine | Finding::SomethingElse | Finding::UnknownKey | Finding::Unproved => true,
                Finding::Unregistered => reach == Reach::FromOutside,
                Finding::Matches | Finding::Ours | Finding::Registered => false,
            };
            let license_manager = registry.license_manager(port, over).map(|manager| manager.product);
            Row { port, protocol, finding, needs_a_look, registered, license_manager, reach, sockets, probes: of_protocol }
        })
        .collect()
}

fn finding(registered: &[&str], probes: &[&Probe]) -> Finding {
    if probes.iter().any(|probe| probe.is_not_genuine()) {
        return Finding::NotGenuine;
    }
    if probes.iter().any(|probe| probe.is_unproved()) {
        return Finding::Unproved;
    }
    if probes.iter().any(|probe| probe.needs_a_look()) {
        return Finding::UnknownKey;
    }
    if probes.iter().any(|probe| probe.is_ours()) {
        return Finding::Ours;
    }
    if registered.is_empty() {
        return Finding::Unregistered;
    }
    let said: Vec<bool> = probes.iter().filter_map(|probe| probe::fits(registered, probe.says.as_ref()?)).collect();
    match said.as_slice() {
        [] => Finding::Registered,
        said if said.contains(&false) => Finding::SomethingElse,
        _ => Finding::Matches,
    }
}

fn cells(row: &Row<'_>) -> [String; 7] {
    let mut owners: Vec<String> = Vec::new();
    for socket in &row.sockets {
        let owner = match &socket.owner {
            Owner::Hidden { user, .. } => {
                format!("HELD, owner hidden ({})", user.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string))
            }
            Owner::NoProcess => "HELD by no process".to_owned(),
            Owner::Processes { processes, more, .. } => {
                let mut names: Vec<String> = processes.iter().map(|process| format!("{} {}", process.name, process.pid)).collect();
                if *more > 0 {
                    names.push(format!("{more} more"));
                }
                names.join(", ")
            }
        };
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }
    if row.sockets.iter().any(|socket| socket.namespace != Namespace::This) {
        owners.push("in another network namespace".to_owned());
    }
    let reach = match row.reach {
        Reach::FromOutside => "network",
        Reach::OnlyThisMachine => "this machine",
        Reach::Unknown => "unknown",
    };
    let mut registered = if row.registered.is_empty() { "-".to_owned() } else { row.registered.join(", ") };
    if let Some(product) = row.license_manager.as_ref().filter(|_| row.port != triquest_wire::limits::PORT) {
        registered.push_str(&format!(" (license manager: {product})"));
    }
    let mut said: Vec<String> = Vec::new();
    for probe in &row.probes {
        let words = probe.words();
        if !said.contains(&words) {
            said.push(words);
        }
    }
    let said = if said.is_empty() { "not asked".to_owned() } else { said.join("; ") };
    [row.port.to_string(), row.protocol.to_string(), reach.to_owned(), owners.join("; "), registered, row.finding.words().to_owned(), said]
}
