//! `status`: who holds what, since when, how idle.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;
use triquest_client::{Client, Error};
use triquest_license::FeatureName;
use triquest_wire::status::{
    ClockState, FullDisk, HolderStatus, JournalState, LeaseState, LeaseStatus, LimitedNetwork, PoolStatus, PresenceOffExtent, Status,
};

use crate::{
    admin::{Admin, DataDir},
    commands::run::{any_text, with_places},
    failure::{Failure, code_of, exit},
    keyfile::verifier_keys,
    terminal::{Align, Table, Terminal, duration, duration_short, escape, left, moment_of},
};

/// Leases shown for each feature when no feature is named.
const LEASES_SHOWN: usize = 4;
/// Most leases read when no feature is named.
const LEASES_READ_MAX: usize = 1_000;
/// Between two looks of `--watch`, unless said otherwise.
const WATCH_SECONDS_DEFAULT: u64 = 2;
/// Digits of a lease id that are shown; commands take any beginning that is clear.
pub(crate) const LEASE_DIGITS_SHOWN: usize = 8;

/// `status [FEATURE]`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusCommand {
    /// Only this feature, with all its leases
    feature: Option<String>,
    /// As JSON: {"status": ..., "leases": [...]}
    #[arg(long)]
    json: bool,
    /// The leases as CSV, for spreadsheets
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Look again and again, every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", require_equals = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
    /// Counts from this server over the network (1588@HOST), without names; needs --verifier-key [default: the server of this machine; if none runs here
    /// and --verifier-key is given, the one that TRIQUEST_LM_SERVER, client.toml or DNS SRV names]
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// The vendor's verifier key (or a file that holds it) for --server, several with commas [env: TRIQUEST_LM_VERIFIER_KEY]
    #[arg(long, value_name = "KEY", env = super::doctor::VERIFIER_VARIABLE, hide_env = true, value_parser = any_text())]
    verifier_key: Option<String>,
    #[command(flatten)]
    data: DataDir,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    status: &'a Status,
    leases: &'a [LeaseStatus],
}

impl StatusCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let Some(seconds) = self.watch else {
            self.look(terminal)?;
            return Ok(exit::OK);
        };
        loop {
            terminal.clear();
            self.look(terminal)?;
            pause(if seconds == 0 { WATCH_SECONDS_DEFAULT } else { seconds });
            if !terminal.is_interactive() && !self.json {
                terminal.data("");
            }
        }
    }

    fn look(&self, terminal: &Terminal) -> Result<(), Failure> {
        let feature = self.feature.as_deref();
        let all = feature.is_some() || self.json || self.csv;
        let (host, status, leases) = match &self.server {
            Some(server) => {
                let (host, status) = self.counts_of(Some(server))?;
                (host, status, Vec::new())
            }
            None => {
                let admin = match Admin::connect(&self.data) {
                    Ok(admin) => admin,
                    // Not an administrator's machine: what any client sees, if a server is named for it.
                    Err(failure) if self.verifier_key.is_some() => {
                        let (host, status) = self.counts_of(None).map_err(|far| if far.code() == exit::USAGE { far } else { failure })?;
                        return self.show(terminal, feature, &host, &status, &[]);
                    }
                    Err(failure) => return Err(failure),
                };
                let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                (host, admin.status(feature)?, admin.leases(feature, if all { usize::MAX } else { LEASES_READ_MAX })?)
            }
        };
        self.show(terminal, feature, &host, &status, &leases)
    }

    fn show(&self, terminal: &Terminal, feature: Option<&str>, host: &str, status: &Status, leases: &[LeaseStatus]) -> Result<(), Failure> {
        if let (Some(feature), []) = (feature, status.pools.as_slice()) {
            return Err(Failure::new(format_args!("no license on this server has a feature `{}`", escape(feature)))
                .hint("`triquest-lm status` lists what there is"));
        }
        let now = jiff::Zoned::now();
        if self.json {
            terminal.json(&Report { status, leases })?;
        } else if self.csv {
            terminal.raw(lease_table(&leases.iter().collect::<Vec<_>>(), feature, &now, true).to_csv().as_bytes());
        } else {
            terminal.data(headline(status, &terminal.name(host), &self.data.argument()));
            notices(status).into_iter().for_each(|notice| terminal.data(notice));
            if status.pools.is_empty() {
                terminal.data("no license is installed yet");
                terminal
                    .hint("triquest-lm license request > request.txt   (mail it to your vendor), then triquest-lm license install FILE");
                return Ok(());
            }
            // What is left of licenses that are gone is not for a table, unless it is what was asked for.
            let shown: Vec<_> = status.pools.iter().filter(|pool| feature.is_some() || is_alive(pool)).cloned().collect();
            if shown.is_empty() {
                terminal.data("no license is in force, and none waits for its day");
            } else {
                terminal.table(&pool_table(&shown, unix_ms(&now)));
            }
            self.show_leases(terminal, status, leases, &now);
            limited(terminal, status);
        }
        Ok(())
    }

    /// What anyone who may check out may see of a server that proved itself.
    fn counts_of(&self, server: Option<&str>) -> Result<(String, Status), Failure> {
        let Some(keys) = &self.verifier_key else {
            return Err(Failure::usage("a server is asked over the network only after it proved that it serves a vendor")
                .hint(format_args!("name the vendor's key: --verifier-key KEY, or set {}", super::doctor::VERIFIER_VARIABLE)));
        };
        let feature = match &self.feature {
            Some(name) => {
                Some(FeatureName::new(name).map_err(|cause| Failure::usage(format_args!("`{}` is no feature: {cause}", escape(name))))?)
            }
            None => None,
        };
        let failure = |error: Error| {
            let failure = Failure::new(escape(error.explanation())).hint(escape(error.hint().unwrap_or_default()));
            with_places(failure, &error).with_code(code_of(&error))
        };
        let mut builder = Client::builder().verifier_keys(verifier_keys(keys)?.to_string());
        if let Some(server) = server {
            builder = builder.servers(server);
        }
        let client = builder.build().map_err(failure)?;
        let status = client.status(feature.as_ref()).map_err(failure)?;
        Ok((client.servers().to_string(), status))
    }

    fn show_leases(&self, terminal: &Terminal, status: &Status, leases: &[LeaseStatus], now: &jiff::Zoned) {
        for feature in status.pools.iter().map(|pool| pool.feature.as_str()).collect::<BTreeSet<_>>() {
            let of_feature = |lease: &&LeaseStatus| lease.items.iter().any(|item| item.feature == feature);
            let held: Vec<_> = leases.iter().filter(of_feature).filter(|lease| lease.state != LeaseState::Waiting).collect();
            let mut queue: Vec<_> = leases.iter().filter(of_feature).filter(|lease| lease.state == LeaseState::Waiting).collect();
            if held.is_empty() && queue.is_empty() {
                continue;
            }
            let shown = if self.feature.is_some() { held.len() } else { held.len().min(LEASES_SHOWN) };
            terminal.data("");
            if shown < held.len() {
                let (name, whole) = (terminal.name(feature), escape(feature));
                terminal.data(format_args!("{name}  ({shown} of {} leases shown; all: triquest-lm status {whole})", held.len()));
            } else {
                terminal.data(terminal.name(feature));
            }
            if shown > 0 {
                terminal.table(&lease_table(&held[..shown], Some(feature), now, false));
            }
            queue.sort_by_key(|lease| lease.place);
            let waiting = if self.feature.is_some() { queue.len() } else { queue.len().min(LEASES_SHOWN) };
            for lease in &queue[..waiting] {
                terminal.data(queue_line(&terminal.name(&holder_text(&lease.holder)), lease, feature, now));
            }
            if waiting < queue.len() {
                terminal.data(format_args!("queue  and {} more", queue.len() - waiting));
            }
        }
    }
}

/// Networks that came up against limits of the server lately.
fn limited(terminal: &Terminal, status: &Status) {
    if status.limited.is_empty() {
        return;
    }
    terminal.data("");
    terminal.table(&limited_table(&status.limited));
}

fn limited_table(limited: &[LimitedNetwork]) -> Table {
    let mut table = Table::new(&[("LIMITED", Align::Left), ("LIMIT", Align::Left), ("TIMES", Align::Right), ("LAST", Align::Left)]);
    for LimitedNetwork { limit, network, times, last_ms } in limited {
        table.row(vec![network.clone(), limit.replace('_', " "), times.to_string(), format!("{} ago", duration_short(*last_ms))]);
    }
    table
}

/// Between two looks of `--watch`.
#[expect(clippy::disallowed_methods, reason = "the period of --watch is what is waited for")]
pub(crate) fn pause(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

/// `tqs1:9f3c...e1`: enough of a key to recognize it.
pub(crate) fn short_key(key: &str) -> String {
    match key.get(..9).zip(key.len().checked_sub(2).and_then(|start| key.get(start..))) {
        Some((start, end)) if key.starts_with("tqs1:") && key.len() == 69 => format!("{start}...{end}"),
        _ => escape(key).into_owned(),
    }
}

/// `host` is fit to be shown.
/// `data`: the option that names the data directory, for commands that are to be typed.
fn headline(status: &Status, host: &str, data: &str) -> String {
    let clock = match status.clock {
        ClockState::Held => {
            let says = status.clock_says.as_deref().map_or_else(String::new, |says| format!("it says {}, ", escape(says)));
            format!(
                "clock NOT FOLLOWED: {says}licenses go by {} (if the clock is right: triquest-lm clock accept --reason TEXT{data})",
                escape(&status.time_at)
            )
        }
        ClockState::Synchronized => "clock synchronized".to_owned(),
        ClockState::Unsynchronized => "clock not synchronized".to_owned(),
    };
    let journal = match status.journal {
        JournalState::DiskFull => format!(", {}", full_disk(status).replacen("the disk is full", "DISK FULL", 1)),
        JournalState::Ok => String::new(),
    };
    let restored = status.quarantine_ms.map_or_else(String::new, |ms| {
        format!(
            ", RESTORED OR ROLLED BACK: no new seats for {}, lost grants may still be in use (to end it sooner: triquest-lm quarantine end --lineage {} --reason TEXT{data})",
            left(ms),
            status.position.lineage.short()
        )
    });
    format!(
        "{host}  {}, up {}, {clock}{journal}{restored}; {}",
        escape(&status.version),
        duration(status.uptime_ms),
        short_key(&status.server_key)
    )
}

/// What is to be said of the server's full disk, fit to be shown.
pub(crate) fn full_disk(status: &Status) -> String {
    status.disk.as_ref().map_or_else(|| FullDisk::FULL.to_owned(), |disk| escape(&disk.to_string()).into_owned())
}

/// What else an administrator should know, one line each.
pub(crate) fn notices(status: &Status) -> Vec<String> {
    let off = status.presence_off.iter().map(|off| {
        let network = escape(&off.network);
        let (place, why, named) = match off.extent() {
            PresenceOffExtent::Everywhere => ("every network".into(), "clients came back from more networks than are told apart,".to_owned(), "'*'".into()),
            PresenceOffExtent::Wide => {
                (format!("all of {network}"), "clients came back from more of its addresses than are told apart,".to_owned(), network)
            }
            PresenceOffExtent::One => (network.to_string(), "clients came back from there".to_owned(), network),
        };
        format!(
            "presence  off for {place} for {}: {why} although their connections had ended as those of dead programs do; until then a dead program's seats \
             come back there only at the end of their time to live (to end it sooner: triquest-lm presence allow {named} --reason TEXT)",
            duration(off.remaining_ms),
        )
    });
    let translated = status.translated.iter().map(|translated| {
        format!(
            "presence  not used for network {}: something translates its addresses ({} connections, {} ago), so nobody can tell that a program there has \
             died, and its seats come back only at the end of their time to live; `presence_networks` in the server's configuration can name it",
            escape(&translated.network),
            translated.times,
            duration(translated.last_ms)
        )
    });
    let early = status.freed_early.iter().map(|early| {
        let leases = if early.leases == 1 { "1 lease was".to_owned() } else { format!("{} leases were", early.leases) };
        let why = "a reclaim at once, or a network in `presence_networks`";
        format!("over-use  possible for {}: {leases} freed before its promise was over ({why})", duration(early.remaining_ms))
    });
    let unknown = status.unknown_licenses.iter().map(|license| {
        let hash: String = license.0.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("license   {hash} is not installed, but clients show grants of it: install it again")
    });
    let copies = format!("copy      {} grants of a copy of this server's data directory were shown", status.foreign_grants);
    let warnings =
        status.license_warnings.iter().map(|said| format!("license   {}", escape(said.strip_prefix("license ").unwrap_or(said))));
    off.chain(translated).chain(early).chain(unknown).chain(warnings).chain((status.foreign_grants > 0).then_some(copies)).collect()
}

/// It has seats, or somebody has or wants some, or a license waits for its day.
fn is_alive(pool: &PoolStatus) -> bool {
    let numbers = &pool.numbers;
    pool.starts.is_some() || [numbers.total, numbers.used, numbers.lingering, numbers.queued].iter().any(|number| *number > 0)
}

/// One line for each pool. The vendor is named only where there are several.
fn pool_table(pools: &[PoolStatus], now_ms: i64) -> Table {
    let several = pools.iter().map(|pool| (&pool.vendor, &pool.vendor_keys)).collect::<BTreeSet<_>>().len() > 1;
    let over = pools.iter().any(|pool| pool.numbers.over > 0);
    let mut headings = vec![("FEATURE", Align::Left), ("SEATS", Align::Right), ("USED", Align::Right)];
    if several {
        headings.insert(0, ("VENDOR", Align::Left));
    }
    if over {
        headings.push(("OVER", Align::Right));
    }
    for name in ["RESERVED", "LINGER", "FREE", "QUEUE", "DENIED"] {
        headings.push((name, Align::Right));
    }
    headings.push(("ENDS", Align::Left));
    let mut table = Table::new(&headings).of_names();
    for pool in pools {
        let numbers = &pool.numbers;
        let mut cells = vec![pool.feature.clone(), numbers.total.to_string(), numbers.used.to_string()];
        if several {
            cells.insert(0, pool.vendor.clone());
        }
        if over {
            cells.push(numbers.over.to_string());
        }
        cells.extend([numbers.reserved_idle, numbers.lingering, numbers.free, numbers.queued].map(|number| number.to_string()));
        cells.push(pool.denied.to_string());
        cells.push(match (&pool.starts, numbers.total) {
            // Nothing counts yet, so what is to come is what matters.
            (Some(starts), 0) => format!("begins {starts}"),
            _ => ends_text(pool.ends.as_deref(), pool.ends_ms, now_ms),
        });
        table.row(cells);
    }
    table
}

/// `2026-12-31 (38 d)`, or `-` for what never ends.
pub(crate) fn ends_text(ends: Option<&str>, ends_ms: Option<i64>, now_ms: i64) -> String {
    let Some(ends) = ends else { return "-".to_owned() };
    match ends_ms.map(|ends_ms| ends_ms - now_ms) {
        Some(left) if left <= 0 => format!("{ends} (over)"),
        Some(left) if left < 400 * 86_400_000 => format!("{ends} ({})", duration(u64::try_from(left).unwrap_or(0))),
        _ => ends.to_owned(),
    }
}

fn unix_ms(now: &jiff::Zoned) -> i64 {
    now.timestamp().as_millisecond()
}

/// The leases of one feature, or of all.
fn lease_table(leases: &[&LeaseStatus], feature: Option<&str>, now: &jiff::Zoned, full: bool) -> Table {
    let mut headings = vec![("SEATS", Align::Right)];
    if full {
        headings.push(("FEATURE", Align::Left));
    }
    for name in ["HOLDER", "WHERE", "SINCE", "IDLE", "LEASE"] {
        headings.push((name, Align::Left));
    }
    if full || leases.iter().any(|lease| !note(lease).is_empty()) {
        headings.push(("NOTE", Align::Left));
    }
    let mut table = Table::new(&headings).of_names();
    for lease in leases {
        for item in lease.items.iter().filter(|item| feature.is_none_or(|feature| item.feature == feature)) {
            let id = lease.lease.to_string();
            let mut cells = vec![item.seats.to_string()];
            if full {
                cells.push(item.feature.clone());
            }
            cells.push(holder_text(&lease.holder));
            cells.push(where_text(&lease.holder, item.version.as_deref()));
            // It was held before that, in a history that was lost.
            let adopted = if lease.adopted { "adopted " } else { "" };
            cells.push(format!("{adopted}{}", if full { lease.since_at.clone() } else { moment_of(&lease.since_at, now) }));
            cells.push(lease.idle_ms.map_or_else(|| "-".to_owned(), duration_short));
            cells.push(if full { id } else { id[..LEASE_DIGITS_SHOWN].to_owned() });
            cells.push(note(lease));
            cells.truncate(headings.len());
            table.row(cells);
        }
    }
    table
}

/// `user@host`, or what of it is known.
pub(crate) fn holder_text(holder: &HolderStatus) -> String {
    let value = |claim: &Option<triquest_wire::status::Claim>| claim.as_ref().map(|claim| claim.value.clone());
    match (value(&holder.user), value(&holder.host)) {
        (Some(user), Some(host)) => format!("{user}@{host}"),
        (Some(user), None) => user,
        (None, Some(host)) => format!("?@{host}"),
        (None, None) => value(&holder.address).map_or_else(|| "?".to_owned(), |address| format!("?@{address}")),
    }
}

/// `13.1, pid 8812`: version, then what tells this use from others.
fn where_text(holder: &HolderStatus, version: Option<&str>) -> String {
    let mut parts: Vec<String> = version.map(ToOwned::to_owned).into_iter().collect();
    let fields = [
        ("job ", &holder.job),
        ("container ", &holder.container),
        ("", &holder.session),
        ("", &holder.display),
        ("pid ", &holder.process),
        ("project ", &holder.project),
    ];
    for (name, claim) in fields {
        if let Some(claim) = claim
            && !(name.is_empty() && claim.value == "local")
        {
            // A container that does not tell its name is still one.
            let text = if name == "container " && claim.value == "unknown" {
                "in a container".to_owned()
            } else {
                format!("{name}{}", claim.value)
            };
            parts.push(text);
        }
    }
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

fn note(lease: &LeaseStatus) -> String {
    let left = duration_short(lease.remaining_ms);
    match (lease.state, lease.ending) {
        (LeaseState::Ending, Some(reason)) => format!("ending in {left}: {}", json_word(&reason)),
        (LeaseState::Ending, None) => format!("ending in {left}"),
        (LeaseState::Lingering, _) => format!("released, free in {left}"),
        (LeaseState::Live | LeaseState::Waiting, _) => String::new(),
    }
}

/// The word of an enum as it stands in JSON.
pub(crate) fn json_word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(|word| word.replace('_', " "))).unwrap_or_default()
}

/// `holder` is fit to be shown.
fn queue_line(holder: &str, lease: &LeaseStatus, feature: &str, now: &jiff::Zoned) -> String {
    let seats: u32 = lease.items.iter().filter(|item| item.feature == feature).map(|item| item.seats).sum();
    let place = lease.place.map_or_else(|| "?".to_owned(), |place| place.to_string());
    let gives_up = i64::try_from(lease.remaining_ms)
        .ok()
        .and_then(|ms| now.checked_add(jiff::SignedDuration::from_millis(ms)).ok())
        .map_or_else(String::new, |at| format!(", gives up {}", crate::terminal::moment(&at, now)));
    format!(
        "queue  {holder}: {seats} {}, place {place}, waiting {}{gives_up}",
        if seats == 1 { "seat" } else { "seats" },
        duration(lease.age_ms),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use triquest_wire::{
        Bytes32, LeaseId, Position,
        lease::PoolNumbers,
        status::{Claim, HeldItem, PresenceOff, TranslatedNetwork},
    };

    use super::*;

    fn claim(value: &str) -> Option<Claim> {
        Some(Claim { value: value.to_owned(), proved: false })
    }

    fn lease(user: &str, host: &str, state: LeaseState) -> LeaseStatus {
        LeaseStatus {
            lease: LeaseId([0xab; 16]),
            state,
            items: vec![HeldItem { vendor: "acme.example".into(), feature: "cad".into(), version: Some("13.1".into()), seats: 1 }],
            holder: HolderStatus { user: claim(user), host: claim(host), process: claim("8812"), ..HolderStatus::default() },
            since_at: "2026-11-23T08:02:00Z".into(),
            adopted: false,
            age_ms: 240_000,
            heard_ms: 10,
            idle_ms: Some(18_600_000),
            remaining_ms: 1_800_000,
            place: Some(1),
            ending: None,
        }
    }

    fn noon() -> jiff::Zoned {
        "2026-11-23T12:00:00Z".parse::<jiff::Timestamp>().unwrap().to_zoned(jiff::tz::TimeZone::UTC)
    }

    /// Everything that could break out of a line, a cell, a colour or a spreadsheet.
    const HOSTILE: &[&str] = &[
        "\x1b[2J\x1b]8;;http://evil\x07click\x1b]8;;\x07",
        "\x1b]52;c;ZXZpbA==\x07",
        "two\nlines\r\nthree",
        "tab\tbell\x07back\x08",
        "\u{202e}drawkcab\u{2066}",
        "c1\u{9b}31m\u{85}",
        "line\u{2028}para\u{2029}",
        "zero\u{200b}width\u{200d}\u{feff}",
        "=HYPERLINK(\"http://evil\")",
        "+1",
        "-1+2",
        "@SUM(A1)",
        "\"quoted\",comma",
        "z\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\u{307}\u{308}\u{309}algo",
        "\u{e0041}tag\u{e007f}",
        "日本語の名前がとても長い長い長い長い長い長い",
        "\u{3164}",
        "",
        "$(reboot)`id`",
    ];

    #[test]
    fn a_hostile_holder_leaves_the_columns_whole_and_no_control_byte_anywhere() {
        for user in HOSTILE {
            for columns in [None, Some(40), Some(80), Some(200)] {
                let mut wide = lease(user, user, LeaseState::Live);
                wide.holder.job = claim(user);
                wide.holder.display = claim(user);
                let plain = lease("alice", "ws1", LeaseState::Ending);
                let text = lease_table(&[&wide, &plain], Some("cad"), &noon(), false).render(columns);
                let lines: Vec<_> = text.lines().collect();
                assert_eq!(lines.len(), 3, "{text}");
                assert!(!text.contains(|c: char| c != '\n'
                    && (c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c))));
                // The lease column stands at one place in all rows, counted in columns of the terminal.
                let place = |line: &str, what: &str| line.rfind(what).map(|at| unicode_width::UnicodeWidthStr::width(&line[..at]));
                assert_eq!(place(lines[0], "LEASE"), place(lines[1], "abababab"), "{text}");
                assert_eq!(place(lines[0], "LEASE"), place(lines[2], "abababab"), "{text}");
            }
            let waiting = lease(user, "h", LeaseState::Waiting);
            let line = queue_line(&escape(&holder_text(&waiting.holder)), &waiting, "cad", &noon());
            assert!(!line.contains(|c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)), "{line:?}");
        }
    }

    #[test]
    fn names_at_their_limits_are_cut_on_a_terminal_and_whole_in_a_pipe_and_in_csv() {
        let long = "n".repeat(256);
        let mut wide = lease(&long, &long, LeaseState::Live);
        wide.holder.project = claim(&long);
        for columns in [80, 120, 400] {
            let text = lease_table(&[&wide], Some("cad"), &noon(), false).render(Some(columns));
            assert!(text.lines().all(|line| line.chars().count() <= columns.min(140)), "{text}");
            assert!(text.contains('…') && text.contains("abababab"), "{text}");
        }
        let whole = format!("{long}@{long}");
        assert!(lease_table(&[&wide], Some("cad"), &noon(), false).render(None).contains(&whole));
        assert!(lease_table(&[&wide], None, &noon(), true).to_csv().contains(&whole));
    }

    #[test]
    fn no_cell_of_the_csv_is_a_formula_or_breaks_a_row() {
        for user in HOSTILE {
            let one = lease(user, "h", LeaseState::Live);
            let mut two = lease("u", "h", LeaseState::Live);
            two.holder = HolderStatus { user: claim(user), ..HolderStatus::default() };
            let csv = lease_table(&[&one, &two], None, &noon(), true).to_csv();
            assert_eq!(csv.split("\r\n").count(), 4, "{csv}");
            for row in csv.split("\r\n").skip(1).filter(|row| !row.is_empty()) {
                let cells = cells_of(row);
                assert_eq!(cells.len(), 8, "{row}");
                assert!(cells.iter().all(|cell| cell == "-" || !cell.starts_with(['=', '+', '-', '@', '\t', '\r'])), "{row}");
            }
        }
    }

    /// A naive reader of one CSV row.
    fn cells_of(row: &str) -> Vec<String> {
        let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
        let mut characters = row.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '"' if quoted && characters.peek() == Some(&'"') => cell.push(characters.next().unwrap()),
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(std::mem::take(&mut cell)),
                other => cell.push(other),
            }
        }
        cells.push(cell);
        cells
    }

    /// Of a server of which there is nothing to say.
    fn quiet() -> Status {
        Status {
            position: Position::default(),
            server_key: format!("tqs1:9f3c{}e1", "0".repeat(58)),
            instance: Bytes32([0; 32]),
            version: "0.1.0".into(),
            uptime_ms: 41 * 86_400_000,
            time_at: String::new(),
            clock: ClockState::Synchronized,
            journal: JournalState::Ok,
            disk: None,
            quarantine_ms: None,
            clock_says: None,
            presence_off: Vec::new(),
            translated: Vec::new(),
            freed_early: None,
            unknown_licenses: Vec::new(),
            license_warnings: Vec::new(),
            foreign_grants: 0,
            leases: 0,
            pools: Vec::new(),
            limited: Vec::new(),
            next: None,
        }
    }

    #[test]
    fn where_presence_frees_nothing_early_is_said_with_its_reason_its_end_and_the_next_step() {
        let off = |network: &str| PresenceOff { network: network.into(), remaining_ms: 3 * 3_600_000 };
        let status = Status { presence_off: ["*", "10.0.1.0/24", "10.0.0.7", "fd00::/64"].map(off).into(), ..quiet() };
        let lines = notices(&status);
        let begins = [
            "presence  off for every network for 3 h: clients came back from more networks than are told apart, although ",
            "presence  off for all of 10.0.1.0/24 for 3 h: clients came back from more of its addresses than are told apart, although ",
            "presence  off for 10.0.0.7 for 3 h: clients came back from there although ",
            "presence  off for fd00::/64 for 3 h: clients came back from there although ",
        ];
        assert!(begins.len() == lines.len() && lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{lines:#?}");
        let ends = [
            "allow '*' --reason TEXT)",
            "allow 10.0.1.0/24 --reason TEXT)",
            "allow 10.0.0.7 --reason TEXT)",
            "allow fd00::/64 --reason TEXT)",
        ];
        assert!(lines.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{lines:#?}");
        let translated = TranslatedNetwork { network: "10.1.0.7".into(), times: 3, last_ms: 120_000 };
        let lines = notices(&Status { translated: vec![translated], ..quiet() });
        assert!(
            lines[0].starts_with("presence  not used for network 10.1.0.7: something translates its addresses (3 connections, 2 min ago)"),
            "{lines:?}"
        );
    }

    #[test]
    fn status_reads_as_an_administrator_would_say_it() {
        let numbers = PoolNumbers { total: 25, used: 23, lingering: 0, reserved_idle: 2, free: 0, over: 0, queued: 1 };
        let pool = PoolStatus {
            vendor: "acme.example".into(),
            vendor_keys: vec![Bytes32([1; 32])],
            feature: "cad-pro".into(),
            numbers,
            denied: 14,
            ends: Some("2026-12-31".into()),
            ends_ms: Some(unix_ms(&noon()) + 38 * 86_400_000),
            starts: None,
        };
        let endless = PoolStatus { feature: "cad-sim".into(), ends: None, ends_ms: None, ..pool.clone() };
        assert_eq!(
            pool_table(&[pool.clone(), endless], unix_ms(&noon())).render(None),
            "FEATURE  SEATS  USED  RESERVED  LINGER  FREE  QUEUE  DENIED  ENDS\n\
             cad-pro     25    23         2       0     0      1      14  2026-12-31 (38 d)\n\
             cad-sim     25    23         2       0     0      1      14  -\n"
        );
        let other = PoolStatus { vendor: "other.example".into(), vendor_keys: vec![Bytes32([2; 32])], ..pool.clone() };
        assert!(pool_table(&[pool.clone(), other], 0).render(None).starts_with("VENDOR         FEATURE"));
        let status = Status {
            leases: 3,
            pools: vec![pool],
            limited: vec![LimitedNetwork { limit: "new_ids".into(), network: "fd00:1:2:3::/64".into(), times: 118, last_ms: 240_000 }],
            ..quiet()
        };
        assert_eq!(
            limited_table(&status.limited).render(None),
            "LIMITED          LIMIT    TIMES  LAST\n\
             fd00:1:2:3::/64  new ids    118  4m ago\n"
        );
        assert_eq!(headline(&status, "tqlic01", ""), "tqlic01  0.1.0, up 41 d, clock synchronized; tqs1:9f3c...e1");
        let disk =
            FullDisk { left_bytes: 20 << 20, needs_bytes: 24 << 20, reserve_bytes: 16 << 20, used_up: false, path: Some("/data".into()) };
        let room = "20.0 MiB left in /data, the reserve counted; grants begin again at 24.0 MiB, 16.0 MiB of it for the reserve and 8.0 MiB for the \
                    journal: make room for 4.0 MiB more";
        let full = Status { journal: JournalState::DiskFull, disk: Some(disk.clone()), ..status.clone() };
        let says = format!("clock synchronized, DISK FULL: nothing is granted until there is room ({room}); tqs1:");
        assert!(headline(&full, "tqlic01", "").contains(&says), "{}", headline(&full, "tqlic01", ""));
        let used_up = Status { disk: Some(FullDisk { used_up: true, ..disk }), ..full };
        let says = "synchronized, DISK FULL and the reserve is used up: only renewals are answered until there is room (20.0 MiB left";
        assert!(headline(&used_up, "tqlic01", "").contains(says), "{}", headline(&used_up, "tqlic01", ""));
        let mut job = lease("svc-cad", "node031", LeaseState::Live);
        job.holder.process = None;
        job.holder.job = claim("slurm:48213");
        job.items[0].version = None;
        job.idle_ms = None;
        let mut bob = lease("CORP\\bob", "ctx-07", LeaseState::Live);
        bob.since_at = "2026-11-21T09:40:00Z".into();
        bob.adopted = true;
        assert_eq!(
            lease_table(&[&lease("alice", "ws0142", LeaseState::Live), &bob, &job], Some("cad"), &noon(), false).render(None),
            "SEATS  HOLDER           WHERE            SINCE              IDLE    LEASE\n    \
             1  alice@ws0142     13.1, pid 8812   08:02              5h 10m  abababab\n    \
             1  CORP\\bob@ctx-07  13.1, pid 8812   adopted Sat 09:40  5h 10m  abababab\n    \
             1  svc-cad@node031  job slurm:48213  08:02              -       abababab\n"
        );
        assert_eq!(
            queue_line("erin@ws0090", &lease("erin", "ws0090", LeaseState::Waiting), "cad", &noon()),
            "queue  erin@ws0090: 1 seat, place 1, waiting 4 min, gives up 12:30"
        );
    }
}
