//! `journal`: look at what the server keeps, save it, bring it back.

use std::{
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::Serialize;
use triquest_journal::{
    backup::{backup_offline, restore},
    check::{Report, check},
};
use triquest_license::limits::TTL_MS_MAX;
use triquest_server::identity::public_server_key;
use triquest_wire::status::{BackupAnswer, BackupRequest};

use crate::{
    admin::{Admin, DataDir, data_argument},
    failure::{Failure, exit},
    terminal::{Terminal, duration, escape, left, size},
};

/// `journal`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum JournalCommand {
    /// Save the journal and the server's key into one file, while the server runs or not
    Backup(BackupCommand),
    /// Read a journal or a backup from end to end and say whether it is whole; nothing is changed
    Check(CheckCommand),
    /// Bring a backup back into a new data directory
    Restore(RestoreCommand),
}

impl JournalCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        match self {
            Self::Backup(command) => command.run(terminal),
            Self::Check(command) => command.run(terminal),
            Self::Restore(command) => command.run(terminal),
        }
    }
}

/// `journal check [PATH]`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckCommand {
    /// A backup file, or the data directory of a server that does not run [default: the data directory]
    #[arg(value_name = "FILE|DIR")]
    path: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: DataDir,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct ReportJson<'a> {
    path: &'a str,
    lineage: String,
    epoch: u64,
    first_entry: u64,
    last_entry: u64,
    events: u64,
    leases: usize,
    bytes: u64,
    snapshot: Option<SnapshotJson>,
}

#[derive(Debug, Serialize)]
struct SnapshotJson {
    entry: u64,
    records: u64,
    bytes: u64,
    equals_replay: bool,
}

impl CheckCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let path = self.path.unwrap_or_else(|| self.data.path());
        let report = check(&path).map_err(|error| Failure::from(&error))?;
        if self.json {
            terminal.json(&ReportJson {
                path: &report.path.to_string_lossy(),
                lineage: report.lineage.to_string(),
                epoch: report.epoch.0,
                first_entry: report.first.0,
                last_entry: report.last.0,
                events: report.events,
                leases: report.leases,
                bytes: report.bytes,
                snapshot: report.snapshot.map(|snapshot| SnapshotJson {
                    entry: snapshot.index.0,
                    records: snapshot.records,
                    bytes: snapshot.bytes,
                    equals_replay: snapshot.equals_replay,
                }),
            })?;
            return Ok(exit::OK);
        }
        terminal.verb("Whole", format_args!("{}: {}", shown(&report.path), contents(&report)));
        terminal.data(format_args!("history   {}, epoch {}", report.lineage, report.epoch.0));
        let kept = (report.last.0 + 1).saturating_sub(report.first.0);
        terminal.data(match kept {
            0 => "entries   none kept beside the snapshot".to_owned(),
            _ => format!("entries   {} to {} ({kept}), {} events", report.first.0, report.last.0, report.events),
        });
        terminal.data(match report.snapshot {
            None => "snapshot  none yet".to_owned(),
            Some(snapshot) => format!(
                "snapshot  at entry {}: {} records, {}{}",
                snapshot.index.0,
                snapshot.records,
                size(snapshot.bytes),
                if snapshot.equals_replay { ", the same as a replay of all entries" } else { "" }
            ),
        });
        terminal.data(format_args!("leases    {}", report.leases));
        terminal.data(format_args!("size      {}", size(report.bytes)));
        Ok(exit::OK)
    }
}

/// `journal backup [FILE]`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupCommand {
    /// A file that is not there yet [default: a new one in `backups` in the data directory]
    file: Option<PathBuf>,
    #[command(flatten)]
    data: DataDir,
}

impl BackupCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let data = self.data.path();
        if let Some(failure) = crate::admin::unusable(&data) {
            return Err(failure);
        }
        let report = match Admin::connect(&self.data) {
            Ok(admin) => {
                let answer = match self.file.as_deref().map(absolute).transpose()? {
                    None => admin.post("/v1/backup", &BackupRequest { path: None })?,
                    Some(path) => backup_to(&admin, &data, &path)?,
                };
                terminal.verb(
                    "Saved",
                    format_args!("{}: {}, at least to entry {}", escape(&answer.path), size(answer.bytes), answer.position.index),
                );
                answer.path
            }
            // No server runs: the file is read as it is. If one runs after all, its lock is in the way.
            Err(_) => {
                let file = match self.file {
                    Some(file) => file,
                    None => default_file(&data)?,
                };
                let report = backup_offline(&data, &file).map_err(|error| Failure::from(&error))?;
                terminal.verb("Saved", format_args!("{}: {}, {}", shown(&report.path), size(report.bytes), contents(&report)));
                report.path.to_string_lossy().into_owned()
            }
        };
        terminal.note("it was checked and is whole; it holds the server's private key, so keep it as you keep that");
        terminal.data(escape(&report));
        Ok(exit::OK)
    }
}

/// The server writes only where backups belong. Anywhere else the caller writes, with the caller's own rights: from a backup that the server makes
/// in its own folder, and that is taken away again.
fn backup_to(admin: &Admin, data: &Path, path: &Path) -> Result<BackupAnswer, Failure> {
    if path.symlink_metadata().is_ok() {
        return Err(Failure::new(format_args!("{} is there already", shown(path)))
            .hint("a backup replaces nothing: choose another name, or remove that file"));
    }
    let own = data.join("backups");
    let request = BackupRequest { path: Some(path.to_string_lossy().into_owned()) };
    let refused = match admin.post::<BackupAnswer>("/v1/backup", &request) {
        Err(refused) if path.parent() != Some(&own) => refused,
        answered => return answered,
    };
    let answer: BackupAnswer = admin.post("/v1/backup", &BackupRequest { path: None })?;
    let made = PathBuf::from(&answer.path);
    let Ok(mut from) = std::fs::File::open(&made) else {
        let _ = std::fs::remove_file(&made);
        return Err(refused);
    };
    let cannot = |cause: std::io::Error| Failure::new(format_args!("cannot write {}: {cause}", shown(path)));
    let copied = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(|mut to| {
        let copied = std::io::copy(&mut from, &mut to).and_then(|_| to.sync_all());
        copied.inspect_err(|_| drop(std::fs::remove_file(path)))
    });
    let removed = std::fs::remove_file(&made);
    copied.map_err(cannot)?;
    removed.map_err(|cause| Failure::new(format_args!("the backup is in {}, but {} stays: {cause}", shown(path), shown(&made))))?;
    Ok(BackupAnswer { path: path.to_string_lossy().into_owned(), ..answer })
}

/// `journal restore FILE [DIRECTORY]`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreCommand {
    /// A backup
    file: PathBuf,
    /// A directory that is empty or not there yet [default: the data directory]
    directory: Option<PathBuf>,
    /// Grant nothing new for so long, at most 24h, if that is longer than what the licenses known here may have promised; 24h is certain
    #[arg(long, value_name = "SPAN", value_parser = quarantine)]
    quarantine: Option<std::time::Duration>,
    #[command(flatten)]
    data: DataDir,
}

impl RestoreCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let directory = self.directory.unwrap_or_else(|| self.data.path());
        let quarantine_ms = self.quarantine.map(|span| u64::try_from(span.as_millis()).unwrap_or(TTL_MS_MAX));
        let report = restore(&self.file, &directory, quarantine_ms).map_err(|error| Failure::from(&error))?;
        terminal.verb("Restored", format_args!("{}: {}", shown(&directory), contents(&report)));
        let least_ms = report.quarantine_ms;
        let ms = least_ms.max(quarantine_ms.unwrap_or(0)).min(TTL_MS_MAX);
        let longer = if ms < TTL_MS_MAX { ", or longer if a license in its folder may have promised more" } else { "" };
        terminal.note(format_args!(
            "what was granted after the backup is not known here: the server begins a new history, and for {} from its first start{longer} gives seats only to those who show that they had them; `triquest-lm quarantine end --lineage {} --reason TEXT{}` ends that sooner",
            left(ms),
            triquest_wire::Lineage(report.lineage.0).short(),
            data_argument(&directory)
        ));
        if let Some(asked) = quarantine_ms.filter(|asked| *asked < least_ms) {
            terminal.warning(format_args!(
                "--quarantine {} has no effect: {} is the least, as long as licenses in this backup may have promised, and never under 1 h",
                duration(asked),
                left(least_ms)
            ));
        }
        if !directory.join("server.key").exists() {
            terminal.warning(format_args!(
                "the backup holds no server key: put the old {} back before the start, licenses name it",
                shown(&directory.join("server.key"))
            ));
        }
        others_with_its_key(terminal, &directory);
        if rustix::process::geteuid().is_root() {
            terminal.note(format_args!("if the server runs as another user: chown -R USER {}", shown(&directory)));
        }
        terminal.hint(format_args!("triquest-lm serve --data {}", shown(&directory)));
        Ok(exit::OK)
    }
}

/// Two servers with one key give every seat twice: says what must be stopped, by its place if it runs here.
fn others_with_its_key(terminal: &Terminal, directory: &Path) {
    terminal.warning(
        "stop the server that this backup is of, for good, before this one starts: two servers with one key give every seat twice",
    );
    let key = public_server_key(directory).ok().map(|key| key.to_string());
    for (data, runtime) in crate::admin::running_servers() {
        let data = shown(&data);
        match runtime {
            Some(runtime) if key.as_ref().is_none_or(|key| *key == runtime.server_key) => {
                let whose = if key.is_some() { "with this key" } else { "and may have its key" };
                terminal.warning(format_args!(
                    "a server runs on {data} {whose}: kill {} (as a service: systemctl disable --now triquest-lm)",
                    runtime.pid
                ));
            }
            Some(_) => {}
            None => terminal.warning(format_args!("a server runs on {data}, and with which key is not to be seen")),
        }
    }
}

/// How long nothing new is granted: at most a day, which is the longest time to live that any license can permit.
fn quarantine(text: &str) -> Result<std::time::Duration, String> {
    let span = super::run::span(text)?;
    if span > std::time::Duration::from_millis(TTL_MS_MAX) {
        return Err("at most 24h: no license can promise a seat for longer".to_owned());
    }
    Ok(span)
}

fn contents(report: &Report) -> String {
    format!("{} {} at entry {}", report.leases, if report.leases == 1 { "lease" } else { "leases" }, report.last.0)
}

fn shown(path: &Path) -> String {
    escape(&path.to_string_lossy()).into_owned()
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|cause| Failure::new(format_args!("cannot find the place of {}: {cause}", shown(path))))
}

fn default_file(data: &Path) -> Result<PathBuf, Failure> {
    let dir = data.join("backups");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|cause| {
        Failure::new(format_args!("cannot make {}: {cause}", shown(&dir))).hint("name a file: triquest-lm journal backup FILE")
    })?;
    let day = jiff::Zoned::now().date();
    (1..1_000u32).map(|number| dir.join(format!("{day}-{number}.sqlite"))).find(|path| path.symlink_metadata().is_err()).ok_or_else(|| {
        Failure::new(format_args!("{} is full of backups", shown(&dir))).hint("name a file: triquest-lm journal backup FILE")
    })
}
