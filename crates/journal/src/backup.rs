//! Backups: one file with everything that a server needs to go on elsewhere, made while it runs or while it does not, and brought back under
//! a new history.
//!
//! A backup is a journal file of its own with one more table, `kept`, for the server's key. It is written through the [`History`] trait, entry by entry and chunk by
//! chunk, so every byte is verified on the way, appends go on in between, and any journal can be backed up.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use triquest_allocator::{Index, limits::TTL_MS_MAX};

use crate::check::{Reader, Report, check};
use crate::load::PORTION_BYTES;
use crate::room::LEFT_FOR_ENTRIES_BYTES;
use crate::sqlite::{JOURNAL_FILE, fault, lay_out};
use crate::sys::{self, DataDir, RESERVE_BYTES, RESERVE_FILE, random_lineage};
use crate::{History, JournalError, JournalErrorKind};

/// Files of the data directory that go into a backup. Without its key a restored server could not serve the licenses that name it.
const KEPT_FILES: [&str; 1] = ["server.key"];
/// Largest of them.
const KEPT_BYTES_MAX: u64 = 64 * 1024;
/// How often a backup begins again when a snapshot replaced the one that it was reading.
const ATTEMPTS_MAX: u32 = 3;

/// Writes a backup of a journal to a file that must not exist. `data` is the server's data directory, whose key goes into the backup; none leaves it out.
///
/// While a server runs, `journal` is a [`crate::snapshot::Remote`], so that appends go on between the small reads. The file is 0600, appears under
/// its name only when it is whole, synced and checked, and holds the server's private key: keep it as you keep that.
///
/// # Errors
/// The fault, with its next step; then no file is left.
pub fn backup(journal: &mut dyn History, data: Option<&Path>, to: &Path) -> Result<Report, JournalError> {
    if let Some(data) = data {
        fits(data, to)?;
    }
    back_up(journal, data, to).map_err(|error| if_full(error, "make the backup again"))
}

/// Looks before anything is written whether a backup as large as the journal fits where it is to be. On the data directory's own file system it may take
/// neither the server's reserve, which may be given up at the moment, nor what entries need.
fn fits(data: &Path, to: &Path) -> Result<(), JournalError> {
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let size = |name: &str| std::fs::metadata(data.join(name)).map_or(0, |meta| meta.len());
    let takes = size(JOURNAL_FILE) + size(&format!("{JOURNAL_FILE}-wal")) + KEPT_BYTES_MAX;
    let (Ok(here), Ok(there)) = (std::fs::metadata(data), std::fs::metadata(folder)) else { return Ok(()) };
    let is_beside = here.dev() == there.dev();
    let kept = if is_beside { LEFT_FOR_ENTRIES_BYTES + RESERVE_BYTES.saturating_sub(size(RESERVE_FILE)) } else { 0 };
    let said = rustix::fs::statvfs(folder).map_err(|errno| sys::fault(folder, "ask how much room there is in", errno))?;
    let free = said.f_bavail.saturating_mul(said.f_frsize);
    if free >= takes.saturating_add(kept) {
        return Ok(());
    }
    let mib = |bytes: u64| format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20);
    let more = if is_beside { format!(" and {} must stay for the journal and its reserve", mib(kept)) } else { String::new() };
    Err(JournalError::new(
        JournalErrorKind::Full,
        format!("there is no room for a backup in {}: it takes up to {}{more}, but {} is free", folder.display(), mib(takes), mib(free)),
        "make room, or name a file on another file system: `triquest-lm journal backup FILE`, in a folder that `backups` in the server's configuration lists; \
         while the server does not run, any folder does",
    ))
}

/// What to do on a full disk, where nothing has to be started.
fn if_full(error: JournalError, then: &str) -> JournalError {
    match error.kind {
        JournalErrorKind::Full => {
            JournalError { hint: format!("make room on that file system (or raise the quota), then {then}"), ..error }
        }
        _ => error,
    }
}

fn back_up(journal: &mut dyn History, data: Option<&Path>, to: &Path) -> Result<Report, JournalError> {
    let target = Target::new(to)?;
    let kept = data.map(read_kept).transpose()?.unwrap_or_default();
    let mut attempt = 1;
    loop {
        target.begin()?;
        let written = write(journal, &kept, &target.partial);
        match written {
            // A snapshot was finished meanwhile and the old one went: begin again with the new one.
            Err(error) if error.kind == JournalErrorKind::Missing && attempt < ATTEMPTS_MAX => attempt += 1,
            written => {
                let report = written.and_then(|()| target.finish());
                if report.is_err() {
                    target.discard();
                }
                return report;
            }
        }
        target.discard();
    }
}

/// The same for a server that does not run.
///
/// # Errors
/// As [`backup`]; [`JournalErrorKind::Locked`] while a server runs.
pub fn backup_offline(data: &Path, to: &Path) -> Result<Report, JournalError> {
    let (mut journal, _) = Reader::open_any(data)?;
    backup(&mut journal, Some(data), to)
}

/// How long a restored server is to grant nothing new, as whoever restored it asked, milliseconds in decimal digits.
const QUARANTINE_FILE: &str = "quarantine";

/// What [`restore`] was asked for the first start in this directory: nothing new is granted for so many milliseconds at least, at most
/// [`TTL_MS_MAX`]. None if nothing was asked, or [`forget_asked_quarantine`] was called since.
///
/// # Errors
/// A file that is not ours, or cannot be read.
pub fn asked_quarantine_ms(data: &Path) -> Result<Option<u64>, JournalError> {
    let path = data.join(QUARANTINE_FILE);
    if DataDir::open(data, false)?.file(QUARANTINE_FILE)?.is_none() {
        return Ok(None);
    }
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(32).read_to_string(&mut text));
    read.map_err(|error| io(&path, "read it", &error))?;
    match text.trim().parse::<u64>() {
        Ok(ms) => Ok(Some(ms.min(TTL_MS_MAX))),
        Err(_) => Err(JournalError::new(
            JournalErrorKind::System,
            format!("{} is no number of milliseconds", path.display()),
            format!("write how long the restored server is to grant nothing new, such as {TTL_MS_MAX}, or remove it"),
        )),
    }
}

/// The start that was asked for it has recorded it.
///
/// # Errors
/// It stays.
pub fn forget_asked_quarantine(data: &Path) -> Result<(), JournalError> {
    let path = data.join(QUARANTINE_FILE);
    std::fs::remove_file(&path).map_err(|error| io(&path, "remove it", &error))
}

/// Brings a backup back into an empty or new directory, as a new history: the next start recovers with it, and for the longest time to live,
/// or for `quarantine_ms` if that is longer, grants only to those who show their grant, because what was granted after the backup is not known.
///
/// # Errors
/// The fault, with its next step; a directory with anything in it is refused.
pub fn restore(file: &Path, directory: &Path, quarantine_ms: Option<u64>) -> Result<Report, JournalError> {
    bring_back(file, directory, quarantine_ms)
        .map_err(|error| if_full(error, "restore again, into a directory that is empty or not there yet"))
}

fn bring_back(file: &Path, directory: &Path, quarantine_ms: Option<u64>) -> Result<Report, JournalError> {
    const NEW: &str = "journal.sqlite.new";
    if file.is_dir() {
        return Err(JournalError::new(JournalErrorKind::System, format!("{} is a directory", file.display()), "name a backup file"));
    }
    let report = check(file)?;
    let (reader, _) = Reader::open_any(file)?;
    let kept = reader.kept_files()?;
    drop(reader);
    let dir = DataDir::open(directory, true)?;
    if let Some(name) = sys::first_name(directory)? {
        return Err(JournalError::new(
            JournalErrorKind::System,
            format!("{} is not empty: it has `{name}`", directory.display()),
            "restore into a new directory, so that nothing is lost, and start the server there with `--data`",
        ));
    }
    let lineage = random_lineage()?;
    let path = dir.path.join(NEW);
    let mut to = dir.create(NEW)?;
    let mut from = File::open(file).map_err(|error| io(file, "read the backup", &error))?;
    std::io::copy(&mut from, &mut to).map_err(|error| io(&path, "copy the backup", &error))?;
    let connection = Connection::open_with_flags(
        dir.canonical.join(NEW),
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )
    .map_err(|error| fault(&path, "open the copy", &error))?;
    connection
        .execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA secure_delete = ON; BEGIN; DROP TABLE IF EXISTS kept;")
        .and_then(|()| connection.execute("UPDATE meta SET value = ? WHERE key = 'lineage'", params![lineage.0.as_slice()]))
        // Whoever restores has the backup, so its first start makes no other.
        .and_then(|_| {
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", params![env!("CARGO_PKG_VERSION").as_bytes()])
        })
        .and_then(|_| connection.execute_batch("COMMIT"))
        .map_err(|error| fault(&path, "begin a new history", &error))?;
    connection.close().map_err(|(_, error)| fault(&path, "close the copy", &error))?;
    for (name, bytes) in kept.iter().filter(|(name, _)| KEPT_FILES.contains(&name.as_str())) {
        let mut file = dir.create(name)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| io(&dir.path.join(name), "write it", &error))?;
    }
    if let Some(ms) = quarantine_ms {
        let mut file = dir.create(QUARANTINE_FILE)?;
        let written = writeln!(file, "{ms}").and_then(|()| file.sync_all());
        written.map_err(|error| io(&dir.path.join(QUARANTINE_FILE), "write it", &error))?;
    }
    to.sync_all().map_err(|error| io(&path, "sync", &error))?;
    dir.rename(NEW, JOURNAL_FILE)?;
    Ok(Report { path: dir.path.join(JOURNAL_FILE), lineage, ..report })
}

fn io(path: &Path, doing: &str, error: &std::io::Error) -> JournalError {
    sys::fault(path, doing, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

fn read_kept(data: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, JournalError> {
    let mut kept = Vec::new();
    for name in KEPT_FILES {
        let path = data.join(name);
        match rustix::fs::open(&path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(sys::fault(&path, "read it for the backup", errno)),
            Ok(file) => {
                let mut bytes = Vec::new();
                File::from(file)
                    .take(KEPT_BYTES_MAX)
                    .read_to_end(&mut bytes)
                    .map_err(|error| io(&path, "read it for the backup", &error))?;
                kept.push((name, bytes));
            }
        }
    }
    Ok(kept)
}

/// The file to be, and the name that it has until it is whole. The directory is opened once, and everything happens in that one: whoever can
/// exchange a directory for another, or for a link, leads nothing anywhere else.
struct Target {
    /// For messages.
    path: PathBuf,
    dir: File,
    name: OsString,
    partial_name: OsString,
    /// The partial file by the open directory, for SQLite.
    partial: PathBuf,
}

impl Target {
    fn new(path: &Path) -> Result<Self, JournalError> {
        let name = path.file_name().ok_or_else(|| {
            JournalError::new(
                JournalErrorKind::System,
                format!("{} is no name of a file", path.display()),
                "name a file that is to be made",
            )
        })?;
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        // SQLite follows no link here, so the directory's real path is needed.
        let dir = std::fs::canonicalize(&dir).map_err(|error| io(&dir, "open the directory", &error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&dir, flags, Mode::empty()).map_err(|errno| sys::fault(&dir, "open the directory", errno))?;
        if rustix::fs::statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(exists(path));
        }
        let mut partial_name = OsString::from(".");
        partial_name.push(name);
        partial_name.push(format!(".{}.partial", std::process::id()));
        let partial = dir.join(&partial_name);
        Ok(Self { path: dir.join(name), dir: handle.into(), name: name.to_owned(), partial_name, partial })
    }

    fn begin(&self) -> Result<(), JournalError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, &self.partial_name, flags, Mode::RUSR | Mode::WUSR)
            .map(|_| ())
            .map_err(|errno| sys::fault(&self.partial, "make the backup", errno))
    }

    /// Whether the file that SQLite opens by its path is the one in the open directory.
    fn is_same(&self) -> Result<(), JournalError> {
        let moved = |errno| sys::fault(&self.partial, "find the backup again", errno);
        let here = rustix::fs::statat(&self.dir, &self.partial_name, AtFlags::SYMLINK_NOFOLLOW).map_err(moved)?;
        let there = rustix::fs::lstat(&self.partial).map_err(moved)?;
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) {
            return Ok(());
        }
        Err(JournalError::new(
            JournalErrorKind::System,
            format!("{} was exchanged while the backup was written", self.partial.display()),
            "write backups where nobody else can write",
        ))
    }

    fn discard(&self) {
        let _ = rustix::fs::unlinkat(&self.dir, &self.partial_name, AtFlags::empty());
    }

    fn finish(&self) -> Result<Report, JournalError> {
        self.is_same()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, &self.partial_name, flags, Mode::empty())
            .map_err(|errno| sys::fault(&self.partial, "open the backup", errno))?;
        File::from(file).sync_all().map_err(|error| io(&self.partial, "sync the backup", &error))?;
        let report = check(&self.partial)?;
        self.is_same()?;
        rustix::fs::renameat_with(&self.dir, &self.partial_name, &self.dir, &self.name, RenameFlags::NOREPLACE).map_err(
            |errno| match errno {
                Errno::EXIST => exists(&self.path),
                errno => sys::fault(&self.path, "name the backup", errno),
            },
        )?;
        self.dir.sync_all().map_err(|error| io(&self.path, "sync the directory", &error))?;
        Ok(Report { path: self.path.clone(), ..report })
    }
}

fn exists(path: &Path) -> JournalError {
    JournalError::new(
        JournalErrorKind::System,
        format!("{} is there already", path.display()),
        "a backup replaces nothing: choose another name, or remove that file",
    )
}

fn write(journal: &mut dyn History, kept: &[(&str, Vec<u8>)], path: &Path) -> Result<(), JournalError> {
    let writing = |error: rusqlite::Error| fault(path, "write the backup", &error);
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )
    .map_err(writing)?;
    // A half-written backup is thrown away, so nothing protects it; the whole file is synced at the end.
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;").map_err(writing)?;
    let head = journal.head();
    lay_out(&connection, head.lineage).map_err(writing)?;
    connection.execute_batch("BEGIN; CREATE TABLE kept (name TEXT PRIMARY KEY, bytes BLOB NOT NULL)").map_err(writing)?;
    for (name, bytes) in kept {
        connection.execute("INSERT INTO kept VALUES (?, ?)", params![name, bytes]).map_err(writing)?;
    }
    let snapshot = journal.snapshot()?;
    if let Some((index, chunks)) = snapshot {
        let mut insert = connection.prepare("INSERT INTO chunk (snapshot, number, bytes) VALUES (?, ?, ?)").map_err(writing)?;
        for number in 0..chunks {
            let chunk = journal.snapshot_chunk(index, number)?;
            insert.execute(params![index.0.cast_signed(), number, chunk]).map_err(writing)?;
        }
        connection.execute("INSERT INTO snapshot VALUES (?, ?)", params![index.0.cast_signed(), chunks]).map_err(writing)?;
    }
    let mut insert = connection.prepare("INSERT INTO entry (number, bytes) VALUES (?, ?)").map_err(writing)?;
    // Everything from the beginning, if it is still kept: it is the history of use.
    let mut next = match (journal.read(Index(1), 1), snapshot) {
        (Err(error), Some((index, _))) if error.kind == JournalErrorKind::Missing => Index(index.0 + 1),
        (Err(error), _) => return Err(error),
        (Ok(_), _) => Index(1),
    };
    while next <= head.index {
        let portion = journal.read(next, PORTION_BYTES)?;
        if portion.is_empty() {
            break;
        }
        for (index, bytes) in portion.into_iter().take_while(|(index, _)| *index <= head.index) {
            crate::load::decode(index, &bytes)?;
            insert.execute(params![index.0.cast_signed(), bytes]).map_err(writing)?;
            next = Index(index.0 + 1);
        }
    }
    drop(insert);
    connection.execute_batch("COMMIT").map_err(writing)?;
    connection.close().map_err(|(_, error)| writing(error))
}
