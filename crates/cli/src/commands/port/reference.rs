//! What needs the registry alone, and what people said of its pages.

use std::{fs, io::Read as _, path::Path};

use serde::Serialize;
use triquest_ports::registry::{Change, Entry, Older, Places, Registry, Source, changes, store};
use triquest_wire::status::FeedbackList;

use crate::{
    admin::{Admin, DataDir},
    failure::{Failure, exit},
    terminal::{Align, Table, Terminal, escape},
};

/// Most rows of a search.
const HITS_MAX: usize = 50;
/// Largest file that `--update` reads; IANA's XML has about 4 MB.
const UPDATE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Changes that are listed; the rest is counted.
const CHANGES_SHOWN_MAX: usize = 20;

#[derive(Serialize)]
struct Rows<'a> {
    entries: Vec<Entry<'a>>,
    /// How many there are in all.
    total: usize,
    source: Source,
}

/// A search in names, descriptions and registrants.
pub(super) fn search(registry: &Registry, words: &str, json: bool, terminal: &Terminal) -> Result<u8, Failure> {
    let found = registry.search(words, HITS_MAX);
    if found.total == 0 {
        return Err(Failure::new(format_args!("nothing in the registry has the words `{}`", escape(words)))
            .row("registry", registry.source())
            .hint(if words.bytes().any(|byte| byte.is_ascii_digit()) {
                "a port is one number: triquest-lm port 1588"
            } else {
                "every word must begin a word of a name, a description or a registrant"
            }));
    }
    let entries: Vec<Entry<'_>> = found.hits.into_iter().map(|hit| hit.entry).collect();
    rows(registry, entries, found.total, json, terminal)
}

/// A name that stands on several ports, or on none.
pub(super) fn name(registry: &Registry, name: &str, json: bool, terminal: &Terminal) -> Result<u8, Failure> {
    let entries = registry.named(name);
    let total = entries.len();
    rows(registry, entries, total, json, terminal)
}

fn rows(registry: &Registry, entries: Vec<Entry<'_>>, total: usize, json: bool, terminal: &Terminal) -> Result<u8, Failure> {
    if json {
        terminal.json(&Rows { entries, total, source: registry.source() })?;
        return Ok(exit::OK);
    }
    let mut table = Table::new(&[("PORT", Align::Right), ("PROTOCOLS", Align::Left), ("NAME", Align::Left), ("DESCRIPTION", Align::Left)]);
    for entry in &entries {
        table.row([
            entry.ports.map_or_else(|| "none".to_owned(), |ports| ports.to_string()),
            entry.protocols.named().map(|protocol| protocol.name()).collect::<Vec<_>>().join(", "),
            entry.name.unwrap_or("-").to_owned(),
            entry.description.to_owned(),
        ]);
    }
    terminal.table(&table);
    let shown = entries.len();
    let more = if shown < total { format!("{shown} of {total} shown; ") } else { String::new() };
    terminal.note(format_args!("{more}{}", registry.source()));
    Ok(exit::OK)
}

/// `--update FILE`.
pub(super) fn update(file: &Path, places: &Places, although_older: bool, terminal: &Terminal) -> Result<u8, Failure> {
    let shown = escape(&file.to_string_lossy()).into_owned();
    let cannot = |cause: std::io::Error| Failure::new(format_args!("{shown} cannot be read: {cause}"));
    let mut bytes = Vec::new();
    fs::File::open(file).map_err(cannot)?.take(UPDATE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > UPDATE_BYTES_MAX {
        return Err(Failure::new(format_args!("{shown} has more than {UPDATE_BYTES_MAX} bytes, which is no registry of IANA's")));
    }
    let before = triquest_ports::registry::current(places).registry;
    let after = before.update(&bytes).map_err(|cause| {
        Failure::new(format_args!("{shown}: {}", escape(&cause.to_string()))).hint(
            "IANA publishes it as service-names-port-numbers.xml and .csv at https://www.iana.org/assignments/service-names-port-numbers",
        )
    })?;
    let path = if triquest_server::sys::user_id() == 0 { Some(&places.system) } else { places.user.as_ref() };
    let path = path.ok_or_else(|| Failure::new("there is no home directory to keep the registry in").hint("set HOME or XDG_DATA_HOME"))?;
    store(&after, path, if although_older { Older::Accept } else { Older::Refuse })
        .map_err(|cause| Failure::new(escape(&cause.to_string())).hint("--although-older takes an older one"))?;
    let changed = changes(&before, &after);
    terminal.verb("Kept", format_args!("{}: {} records, {}", escape(&path.to_string_lossy()), after.records(), after.source()));
    terminal.verb(
        "Changed",
        format_args!("{} added, {} removed, {} changed since {}", changed.added, changed.removed, changed.changed, before.updated()),
    );
    for change in changed.listed.iter().take(CHANGES_SHOWN_MAX) {
        let mark = match change {
            Change::Added { .. } => "+",
            Change::Changed { .. } => "~",
            Change::Removed { .. } => "-",
        };
        let row = change.row();
        let ports = row.ports.map_or_else(|| "no port".to_owned(), |ports| ports.to_string());
        let protocols = row.protocols.named().map(|protocol| protocol.name()).collect::<Vec<_>>().join(", ");
        terminal.data(format_args!("{mark} {ports} {protocols} {} {}", escape(row.name.unwrap_or("-")), escape(row.description)));
    }
    if changed.total() > CHANGES_SHOWN_MAX {
        terminal.data(format_args!("and {} more", changed.total() - CHANGES_SHOWN_MAX));
    }
    Ok(exit::OK)
}

/// `--feedback`.
pub(super) fn feedback(data: &DataDir, json: bool, terminal: &Terminal) -> Result<u8, Failure> {
    let counts: FeedbackList = Admin::connect(data)?.get("/v1/feedback")?;
    if json {
        terminal.json(&counts)?;
        return Ok(exit::OK);
    }
    if counts.ports.is_empty() {
        terminal.note("nobody has answered yet whether a page under /ports was helpful");
        return Ok(exit::OK);
    }
    let mut table = Table::new(&[("PORT", Align::Right), ("HELPFUL", Align::Right), ("PARTLY", Align::Right), ("NOT", Align::Right)]);
    for port in &counts.ports {
        table.row([u64::from(port.port), port.yes, port.partly, port.no]);
    }
    terminal.table(&table);
    Ok(exit::OK)
}
