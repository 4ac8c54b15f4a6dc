//! The embedded default: SQLite, one row per entry.
//!
//! `journal.sqlite` in write-ahead-log mode with `synchronous=FULL` and exclusive locking: an append returns after its fsync. One process, one
//! connection; the lock file beside it keeps every other server out for life. Tables: `meta` (one row for each fact about the file), `entry`
//! (index and bytes), `chunk` and `snapshot` (a row of `snapshot` makes its chunks valid).

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use triquest_allocator::{
    Epoch, Event, Index, Instance, Lineage, Moment, StateRecord, Timestamp,
    limits::{REMEMBER_MS, WAIT_TTL_MS},
};

use crate::record::Entry;
use crate::room::{LEFT_FOR_ENTRIES_BYTES, Refused};
use crate::sys::{DataDir, Lock, Mark, RESERVE_BYTES, RESERVE_FILE, random_lineage};
use crate::{Appended, ENTRY_BYTES_MAX, Head, History, Journal, JournalError, JournalErrorKind, Room, SNAPSHOT_CHUNK_BYTES_MAX, record};

/// Name of the journal in its directory.
pub const JOURNAL_FILE: &str = "journal.sqlite";
/// SQLite's `application_id`: "TQLM".
pub const APPLICATION_ID: i32 = 0x5451_4c4d;
/// SQLite's `user_version`: the layout of tables.
pub const FORMAT_VERSION: i32 = 1;
/// Pages in the write-ahead log after which SQLite moves them into the file.
const WAL_AUTOCHECKPOINT_PAGES: u32 = 1000;
/// A page of the file, and one in the write-ahead log with its header.
const PAGE_BYTES: u64 = 4096;
const WAL_FRAME_BYTES: u64 = PAGE_BYTES + 24;
/// To what the write-ahead log grows: SQLite moves its pages home after the append that made it too long.
const WAL_BYTES_MAX: u64 = (WAL_AUTOCHECKPOINT_PAGES as u64 + Room::taken_by(ENTRY_BYTES_MAX) / PAGE_BYTES) * WAL_FRAME_BYTES;
/// Chunks of old snapshots that one call of `truncate` drops.
const CHUNKS_PER_TRUNCATE_MAX: u32 = 4;
/// Entries that one call of `truncate` drops.
const ENTRIES_PER_TRUNCATE_MAX: u32 = 256;
/// Bytes of entries that one call of `truncate` drops.
const BYTES_PER_TRUNCATE_MAX: i64 = 1024 * 1024;

const SCHEMA: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE entry (number INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE snapshot (number INTEGER PRIMARY KEY, chunks INTEGER NOT NULL);
CREATE TABLE chunk (snapshot INTEGER NOT NULL, number INTEGER NOT NULL, bytes BLOB NOT NULL, UNIQUE (snapshot, number));
";

/// Whether an opening may begin a new journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// There must be one: for a directory that the administrator named, which may be a volume that is not mounted.
    Existing,
    /// There must be none; a new one is made.
    Init,
    /// Opens what is there, or makes a new one.
    InitIfMissing,
    /// There must be none; a new one is made for a server whose history is lost, as a restore of nothing: its first start begins a new lineage, with
    /// the quarantine of one.
    InitLost,
}

/// A journal in a data directory.
pub struct SqliteJournal {
    connection: Connection,
    dir: DataDir,
    lock: Lock,
    head: Head,
    created: bool,
    refused: Refused,
    /// Set by a fault after which nothing that this connection says can be believed (a failed fsync).
    dead: bool,
}

impl fmt::Debug for SqliteJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteJournal")
            .field("path", &self.path())
            .field("head", &self.head)
            .field("dead", &self.dead)
            .finish_non_exhaustive()
    }
}

/// A fault of SQLite, for the administrator.
pub(crate) fn fault(path: &Path, doing: &str, error: &rusqlite::Error) -> JournalError {
    let message = format!("{}: cannot {doing}: {error}", path.display());
    let dir = dir_of(path).display();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => foreign(path, "it is no SQLite file"),
        Some(ErrorCode::DatabaseCorrupt) => corrupt(path, format!("cannot {doing}: {error}")),
        Some(ErrorCode::DiskFull) => {
            JournalError::new(JournalErrorKind::Full, message, format!("make room on the file system of {dir}, then start again"))
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            JournalError::new(JournalErrorKind::Locked, message, "another process has the journal open: end it, then start again")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => JournalError::new(
            JournalErrorKind::ReadOnly,
            message,
            format!("check that {dir} is writable by this user and its file system is not mounted read-only"),
        ),
        _ => JournalError::new(
            JournalErrorKind::System,
            message,
            "look at `dmesg` for disk errors; only a new start reads again what is really on disk",
        ),
    }
}

/// Bytes that are not what was written.
pub(crate) fn corrupt(path: &Path, what: impl fmt::Display) -> JournalError {
    JournalError::new(JournalErrorKind::Corrupt, format!("{} is damaged: {what}", path.display()), after_damage(path))
}

/// What to do about a damaged file: a journal in its data directory, or a backup, which has any other name.
pub(crate) fn after_damage(path: &Path) -> String {
    if path.file_name().is_some_and(|name| name == JOURNAL_FILE) {
        let dir = dir_of(path).display();
        format!(
            "nothing is served from it. Keep a copy of {dir}, see `triquest-lm journal check {dir}`, and restore the last backup into a new directory with `triquest-lm journal restore`"
        )
    } else {
        "this backup cannot be restored: take another copy of it or an older one, and if the server still runs, make a new one with `triquest-lm journal backup`".to_owned()
    }
}

/// A file that triquest-lm never wrote.
fn foreign(path: &Path, what: impl fmt::Display) -> JournalError {
    if path.file_name().is_some_and(|name| name == JOURNAL_FILE) {
        return corrupt(path, what);
    }
    JournalError::new(
        JournalErrorKind::Corrupt,
        format!("{} is no backup: {what}", path.display()),
        "name a file that `triquest-lm journal backup` wrote, or the data directory of a server",
    )
}

/// The directory of a file, also of one that is named without any.
fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
        Some(dir) => dir,
        None => path,
    }
}

/// Settings of every connection that reads a journal.
pub(crate) fn careful(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

/// Looks whether this is a journal of a version that can be read, and which history it belongs to.
pub(crate) fn identify(connection: &Connection, path: &Path) -> Result<Lineage, JournalError> {
    let pragma = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
            .map_err(|error| fault(path, "read the journal's header", &error))
    };
    let application = pragma("application_id")?;
    if application != APPLICATION_ID {
        return Err(foreign(
            path,
            format!("it is no journal of triquest-lm (application id {application:#x} instead of {APPLICATION_ID:#x})"),
        ));
    }
    let version = pragma("user_version")?;
    if version > FORMAT_VERSION {
        return Err(JournalError::new(
            JournalErrorKind::Newer,
            format!("{} has format {version}; this version of triquest-lm knows formats up to {FORMAT_VERSION}", path.display()),
            crate::upgrade::HOW_BACK,
        ));
    }
    if version < 1 {
        return Err(corrupt(path, format!("it claims format {version}, which never was")));
    }
    let lineage: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM meta WHERE key = 'lineage'", [], |row| row.get(0))
        .optional()
        .map_err(|error| fault(path, "read the journal's history", &error))?;
    lineage.and_then(|bytes| bytes.try_into().ok()).map(Lineage).ok_or_else(|| corrupt(path, "it does not say which history it is"))
}

/// Lays out an empty journal in an empty database file. This version has written it: no earlier one left anything to go back to.
pub(crate) fn lay_out(connection: &Connection, lineage: Lineage) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.execute_batch(SCHEMA)?;
    connection.execute("INSERT INTO meta VALUES ('lineage', ?)", params![lineage.0.as_slice()])?;
    connection.execute("INSERT INTO meta VALUES ('version', ?)", params![env!("CARGO_PKG_VERSION").as_bytes()])?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT_VERSION)?;
    connection.execute_batch("COMMIT")
}

/// Lays out the journal of a server whose history is lost: one epoch of which nothing is known, and after it the beginning of another lineage, as a
/// restore leaves it. It is there from the first moment, so that no crash makes a new server of it.
fn lay_out_lost(connection: &Connection, lineage: Lineage) -> rusqlite::Result<()> {
    let lost = Lineage(lineage.0.map(|byte| !byte));
    lay_out(connection, lost)?;
    let entry = Entry {
        lineage: lost,
        epoch: Epoch(1),
        index: Index(1),
        // As before any entry: the first start believes its first reading of the clock.
        moment: Moment { at: Timestamp(0), wall_ms: 0 },
        events: vec![Event::Recovered {
            epoch: Epoch(1),
            instance: Instance([0; 16]),
            lineage: lost,
            quarantine_until: None,
            remember_ms: REMEMBER_MS,
            wait_ttl_ms: WAIT_TTL_MS,
        }],
    };
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.execute("INSERT INTO entry (number, bytes) VALUES (1, ?)", params![record::encode_entry(&entry)])?;
    connection.execute("UPDATE meta SET value = ? WHERE key = 'lineage'", params![lineage.0.as_slice()])?;
    connection.execute_batch("COMMIT")
}

/// The end of what a file holds: the last entry, or the snapshot if no entry is kept.
pub(crate) fn find_head(connection: &Connection, path: &Path, lineage: Lineage) -> Result<Head, JournalError> {
    let reading = |error: rusqlite::Error| fault(path, "read the last entry", &error);
    let last: Option<(i64, Vec<u8>)> = connection
        .query_row("SELECT number, bytes FROM entry ORDER BY number DESC LIMIT 1", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(reading)?;
    let snapshot = find_snapshot(connection, path)?;
    if let Some((number, bytes)) = last {
        let index = Index(number.cast_unsigned());
        let entry = record::decode_entry(&bytes)
            .map_err(|error| crate::load::newer(&bytes).unwrap_or_else(|| corrupt(path, format!("entry {number}: {error}"))))?;
        if entry.index != index {
            return Err(corrupt(path, format!("entry {number} says of itself that it is entry {}", entry.index.0)));
        }
        if snapshot.is_some_and(|(snapshot, _)| snapshot > index) {
            return Err(corrupt(path, format!("it ends at entry {number}, before its own snapshot")));
        }
        return Ok(Head { lineage, epoch: entry.epoch, index });
    }
    let Some((index, _)) = snapshot else { return Ok(Head { lineage, epoch: Epoch(0), index: Index(0) }) };
    let chunk = read_chunk(connection, path, index, 0)?;
    match record::decode_snapshot_chunk(&chunk).map(|records| records.into_iter().next()) {
        Ok(Some(StateRecord::Head { epoch, index: head, .. })) if head == index => Ok(Head { lineage, epoch, index }),
        Ok(_) => Err(corrupt(path, format!("the snapshot at entry {} does not begin with its own place", index.0))),
        Err(error) => {
            Err(crate::load::newer(&chunk)
                .unwrap_or_else(|| corrupt(path, format!("chunk 0 of the snapshot at entry {}: {error}", index.0))))
        }
    }
}

pub(crate) fn find_snapshot(connection: &Connection, path: &Path) -> Result<Option<(Index, u32)>, JournalError> {
    connection
        .query_row("SELECT number, chunks FROM snapshot ORDER BY number DESC LIMIT 1", [], |row| {
            Ok((Index(row.get::<_, i64>(0)?.cast_unsigned()), row.get(1)?))
        })
        .optional()
        .map_err(|error| fault(path, "find the snapshot", &error))
}

pub(crate) fn read_chunk(connection: &Connection, path: &Path, index: Index, number: u32) -> Result<Vec<u8>, JournalError> {
    connection
        .prepare_cached("SELECT bytes FROM chunk WHERE snapshot = ? AND number = ?")
        .and_then(|mut statement| statement.query_row(params![index.0.cast_signed(), number], |row| row.get(0)).optional())
        .map_err(|error| fault(path, &format!("read chunk {number} of the snapshot at entry {}", index.0), &error))?
        .ok_or_else(|| JournalError::no_chunk(index, number))
}

/// The oldest entry that is kept, if there is one.
pub(crate) fn oldest_entry(connection: &Connection, path: &Path) -> Result<Option<Index>, JournalError> {
    let oldest: Option<i64> = connection
        .query_row("SELECT min(number) FROM entry", [], |row| row.get(0))
        .map_err(|error| fault(path, "look for the oldest entry", &error))?;
    Ok(oldest.map(|oldest| Index(oldest.cast_unsigned())))
}

pub(crate) fn read_entries(
    connection: &Connection,
    path: &Path,
    head: Index,
    from: Index,
    bytes_max: usize,
) -> Result<Vec<(Index, Vec<u8>)>, JournalError> {
    let reading = |error: rusqlite::Error| fault(path, &format!("read entries from {}", from.0), &error);
    let mut statement = connection.prepare_cached("SELECT number, bytes FROM entry WHERE number >= ? ORDER BY number").map_err(reading)?;
    let mut rows = statement.query(params![from.0.cast_signed()]).map_err(reading)?;
    let mut entries: Vec<(Index, Vec<u8>)> = Vec::new();
    let mut bytes = 0;
    while bytes < bytes_max.max(1) {
        let expected = Index(from.0 + entries.len() as u64);
        let Some(row) = rows.next().map_err(reading)? else {
            if expected <= head {
                return Err(corrupt(path, format!("entry {} is missing", expected.0)));
            }
            break;
        };
        let index = Index(row.get::<_, i64>(0).map_err(reading)?.cast_unsigned());
        if index != expected {
            // The first that is there begins a log that was truncated; a hole further on is damage.
            return Err(if entries.is_empty() && oldest_entry(connection, path)? == Some(index) {
                JournalError::truncated(from, index)
            } else {
                corrupt(path, format!("entry {} is missing", expected.0))
            });
        }
        let entry: Vec<u8> = row.get(1).map_err(reading)?;
        bytes += entry.len();
        entries.push((index, entry));
    }
    Ok(entries)
}

impl SqliteJournal {
    /// Opens the journal of a data directory and holds it until dropped.
    ///
    /// Before this returns, everything that the write-ahead log held is in the file and synced, so that nothing is served that only the page
    /// cache of a failed disk remembers. Entries and snapshots are verified when they are read ([`crate::load`] reads them all).
    ///
    /// # Errors
    /// By [`JournalErrorKind`], each with the next step.
    pub fn open(directory: &Path, mode: OpenMode) -> Result<Self, JournalError> {
        let dir = DataDir::open(directory, mode != OpenMode::Existing)?;
        let lock = Lock::take(&dir)?;
        let path = dir.path.join(JOURNAL_FILE);
        let mark = lock.mark();
        let there = dir.file(JOURNAL_FILE)?.is_some();
        let wal = dir.file(&format!("{JOURNAL_FILE}-wal"))?.is_some();
        // What a server left here says that its history is lost. Whoever knows that already has said so.
        let left = wal || mode != OpenMode::InitLost && mark.is_some_and(|mark| mark.index.0 > 0);
        if !there && left {
            return Err(JournalError::new(
                JournalErrorKind::Missing,
                format!("{} is gone, although a server has run here", path.display()),
                if wal {
                    format!(
                        "put it back beside {JOURNAL_FILE}-wal, or restore the last backup into a new directory with `triquest-lm journal restore`; if \
                         both are lost, move {JOURNAL_FILE}-wal away and start once with `--init`"
                    )
                } else {
                    "put it back, or restore the last backup into a new directory with `triquest-lm journal restore`".to_owned()
                },
            ));
        }
        match (there, mode) {
            (true, OpenMode::Init | OpenMode::InitLost) => {
                return Err(JournalError::new(
                    JournalErrorKind::System,
                    format!("{} is there already", path.display()),
                    "start without `--init` to go on with it",
                ));
            }
            (false, OpenMode::Existing) => {
                return Err(JournalError::new(
                    JournalErrorKind::Missing,
                    format!("{} has no journal", dir.path.display()),
                    "if this is a new server, start it once with `--init`; if not, its volume is perhaps not mounted",
                ));
            }
            (false, OpenMode::Init | OpenMode::InitIfMissing) => create(&dir, &lock, lay_out)?,
            (false, OpenMode::InitLost) => create(&dir, &lock, lay_out_lost)?,
            (true, OpenMode::Existing | OpenMode::InitIfMissing) => {}
        }
        let connection = connect(&dir, &path)?;
        let lineage = identify(&connection, &path)?;
        let head = find_head(&connection, &path, lineage)?;
        // A journal that was just made owes nothing to what ran here before.
        let mark = mark.filter(|_| there);
        if let Some(mark) = mark.filter(|mark| !is_of(&connection, &path, head, *mark)) {
            return Err(lost(&path, head.index, mark, lineage));
        }
        lock.set_mark(Mark { lineage, index: head.index })?;
        let mut refused = Refused::default();
        if !dir.reserve()? {
            refused.lives_on_the_reserve(RESERVE_BYTES);
        }
        let mut journal = Self { connection, dir, lock, head, created: !there, refused, dead: false };
        // Whoever was killed while it made a snapshot left chunks of it. They can wait where the disk has no room to drop them.
        loop {
            match journal.drop_unfinished() {
                Ok(true) => {}
                Ok(false) => return Ok(journal),
                Err(error) if error.kind == JournalErrorKind::Full => return Ok(journal),
                Err(error) => return Err(error),
            }
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path.join(JOURNAL_FILE)
    }

    /// True if this opening made the journal.
    #[must_use]
    pub fn created(&self) -> bool {
        self.created
    }

    /// The data directory, as it was named.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.dir.path
    }

    /// The version that has written last, as [`SqliteJournal::set_version`] noted it.
    pub(crate) fn version(&self) -> Result<Option<String>, JournalError> {
        let bytes: Option<Vec<u8>> = self
            .connection
            .query_row("SELECT value FROM meta WHERE key = 'version'", [], |row| row.get(0))
            .optional()
            .map_err(|error| fault(&self.path(), "read which version has written it", &error))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// From now on this version writes.
    pub(crate) fn set_version(&mut self, version: &str) -> Result<(), JournalError> {
        self.write("note which version writes it", |connection| {
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", params![version.as_bytes()]).map(|_| ())
        })
    }

    /// Whether a copy of the whole journal can be made beside it and leaves what entries need.
    pub(crate) fn has_room_for_a_copy(&mut self) -> Result<bool, JournalError> {
        let Room { left_bytes, reserve_bytes } = self.room()?;
        let copy = self.dir.size_of(JOURNAL_FILE)?.saturating_add(self.dir.size_of(&format!("{JOURNAL_FILE}-wal"))?);
        Ok(left_bytes >= reserve_bytes.saturating_add(LEFT_FOR_ENTRIES_BYTES).saturating_add(copy))
    }

    fn alive(&self) -> Result<(), JournalError> {
        if self.dead {
            return Err(JournalError::new(
                JournalErrorKind::System,
                format!("{} failed before; what it would say now cannot be believed", self.path().display()),
                "start again: only a new opening reads what is really on disk",
            ));
        }
        Ok(())
    }

    /// What a failed write means: `Ok` if there was no room and nothing was written, so that it may be tried again.
    fn failed(&mut self, doing: &str, error: &rusqlite::Error) -> Result<(), JournalError> {
        let path = self.path();
        let full = match error.sqlite_error() {
            Some(inner) if inner.code == ErrorCode::DiskFull => true,
            // A quota or a limit on the size of files shows as a failed write.
            Some(inner) if inner.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE => self.dir.is_full(),
            _ => false,
        };
        if !full {
            self.dead = true;
            return Err(fault(&path, doing, error));
        }
        // SQLite has rolled back; if it could not, nothing is known.
        if !self.connection.is_autocommit() && self.connection.execute_batch("ROLLBACK").is_err() {
            self.dead = true;
            return Err(fault(&path, doing, error));
        }
        Ok(())
    }

    fn no_room(&self, doing: &str) -> JournalError {
        JournalError::new(
            JournalErrorKind::Full,
            format!("{}: cannot {doing}: the disk is full", self.path().display()),
            format!("make room on the file system of {}", self.dir.path.display()),
        )
    }

    /// Runs a write that is not an append: a full disk is an error, but not the end.
    fn write<T>(&mut self, doing: &str, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, JournalError> {
        self.alive()?;
        work(&mut self.connection).or_else(|error| {
            self.failed(doing, &error)?;
            Err(self.no_room(doing))
        })
    }
}

/// Whether a journal with this head goes on from where a mark was set: it reaches so far, and is of the mark's history there. A mark is not synced, so
/// after a loss of power it may be older than the entry that began the present lineage.
pub(crate) fn is_of(connection: &Connection, path: &Path, head: Head, mark: Mark) -> bool {
    if mark.index > head.index {
        return false;
    }
    // Before the first entry a mark names the lineage that the first entry has.
    let at = Index(mark.index.0.max(1));
    mark.lineage == head.lineage
        || read_entries(connection, path, head.index, at, 1).is_ok_and(|entries| {
            entries.first().is_some_and(|(_, bytes)| record::peek_entry(bytes).is_ok_and(|entry| entry.lineage == mark.lineage))
        })
}

pub(crate) fn lost(path: &Path, head: Index, mark: Mark, lineage: Lineage) -> JournalError {
    let what = if mark.lineage == lineage {
        format!("it ends at entry {}, but a server here had answered for entries up to {}", head.0, mark.index.0)
    } else {
        format!("it is of history {lineage}, but a server here ran history {}", mark.lineage)
    };
    let dir = path.parent().unwrap_or(path).display();
    JournalError::new(
        JournalErrorKind::Corrupt,
        format!("{} is not as it was left: {what}; {JOURNAL_FILE}-wal was removed or damaged, or an old copy was put here", path.display()),
        format!(
            "nothing is served from it. Put the missing file back; or save what is there with `triquest-lm journal backup --data {dir} FILE` and go on with `triquest-lm journal restore FILE NEW-DIRECTORY`, which waits until seats of the lost entries must have ended"
        ),
    )
}

/// Makes a journal under another name and gives it its own when it is whole, so that a crash leaves either none or a whole one, and none of them with
/// the mark of another journal.
fn create(dir: &DataDir, lock: &Lock, lay_out: fn(&Connection, Lineage) -> rusqlite::Result<()>) -> Result<(), JournalError> {
    const NEW: &str = "journal.sqlite.new";
    let lineage = random_lineage()?;
    lock.forget_mark()?;
    for name in [NEW, "journal.sqlite.new-journal"] {
        dir.remove(name)?;
    }
    let file = dir.create(NEW)?;
    let path = dir.path.join(NEW);
    let making = |error: rusqlite::Error| fault(&path, "make the journal", &error);
    let connection = Connection::open_with_flags(
        dir.canonical.join(NEW),
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )
    .map_err(making)?;
    connection.pragma_update(None, "synchronous", "EXTRA").map_err(making)?;
    lay_out(&connection, lineage).map_err(making)?;
    connection.close().map_err(|(_, error)| making(error))?;
    file.sync_all()
        .map_err(|error| crate::sys::fault(&path, "sync", rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)))?;
    dir.rename(NEW, JOURNAL_FILE)
}

fn connect(dir: &DataDir, path: &Path) -> Result<Connection, JournalError> {
    let opening = |error: rusqlite::Error| fault(path, "open the journal", &error);
    let connection = Connection::open_with_flags(
        dir.canonical.join(JOURNAL_FILE),
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )
    .map_err(opening)?;
    careful(&connection).map_err(opening)?;
    connection.set_prepared_statement_cache_capacity(32);
    // In this order: exclusive locking first, so that the write-ahead log needs no shared memory.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(opening)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(opening)?;
    if mode != "wal" {
        return Err(JournalError::new(
            JournalErrorKind::ReadOnly,
            format!("{} cannot keep a write-ahead log (it stays in mode {mode})", path.display()),
            "check that the file and its directory are writable",
        ));
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(opening)?;
    connection.pragma_update(None, "fullfsync", true).map_err(opening)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true).map_err(opening)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES).map_err(opening)?;
    let checkpoint = || {
        let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy == 0 { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
    };
    match checkpoint() {
        // The disk is full: this is what the reserve is for.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) && dir.remove(RESERVE_FILE)? => checkpoint(),
        done => done,
    }
    .map_err(|error| fault(path, "bring the journal's write-ahead log home", &error))?;
    Ok(connection)
}

impl History for SqliteJournal {
    fn head(&self) -> Head {
        self.head
    }

    fn oldest(&mut self) -> Result<Index, JournalError> {
        self.alive()?;
        Ok(oldest_entry(&self.connection, &self.path())?.unwrap_or(Index(self.head.index.0 + 1)))
    }

    fn read(&mut self, from: Index, bytes_max: usize) -> Result<Vec<(Index, Vec<u8>)>, JournalError> {
        self.alive()?;
        read_entries(&self.connection, &self.path(), self.head.index, from, bytes_max)
    }

    fn snapshot(&mut self) -> Result<Option<(Index, u32)>, JournalError> {
        self.alive()?;
        find_snapshot(&self.connection, &self.path())
    }

    fn snapshot_chunk(&mut self, index: Index, number: u32) -> Result<Vec<u8>, JournalError> {
        self.alive()?;
        read_chunk(&self.connection, &self.path(), index, number)
    }

    fn write_snapshot_chunk(&mut self, index: Index, number: u32, chunk: &[u8]) -> Result<(), JournalError> {
        if chunk.len() > SNAPSHOT_CHUNK_BYTES_MAX {
            return Err(JournalError::chunk_too_large(index, number, chunk.len()));
        }
        let doing = format!("write chunk {number} of the snapshot at entry {}", index.0);
        // A snapshot can wait, and what entries need is not for it.
        let Room { left_bytes, reserve_bytes } = self.room()?;
        if left_bytes < reserve_bytes + LEFT_FOR_ENTRIES_BYTES + Room::taken_by(chunk.len()) {
            return Err(self.no_room(&doing));
        }
        self.write(&doing, |connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO chunk (snapshot, number, bytes) VALUES (?, ?, ?)")?
                .execute(params![index.0.cast_signed(), number, chunk])
                .map(|_| ())
        })
    }

    fn finish_snapshot(&mut self, index: Index, chunks: u32) -> Result<(), JournalError> {
        let there: u32 = self
            .connection
            .query_row("SELECT count(*) FROM chunk WHERE snapshot = ? AND number < ?", params![index.0.cast_signed(), chunks], |row| {
                row.get(0)
            })
            .map_err(|error| fault(&self.path(), "count the chunks of a snapshot", &error))?;
        if there != chunks || chunks == 0 || index > self.head.index {
            return Err(JournalError::incomplete_snapshot(index, chunks));
        }
        if self.snapshot()?.is_some_and(|(newest, _)| newest > index) {
            return Ok(());
        }
        // Chunks of older snapshots go portion by portion in `truncate`.
        self.write(&format!("finish the snapshot at entry {}", index.0), |connection| {
            let transaction = connection.transaction()?;
            transaction
                .execute("INSERT OR REPLACE INTO snapshot (number, chunks) VALUES (?, ?)", params![index.0.cast_signed(), chunks])?;
            transaction.execute("DELETE FROM snapshot WHERE number < ?", params![index.0.cast_signed()])?;
            transaction.commit()
        })
    }

    fn drop_unfinished(&mut self) -> Result<bool, JournalError> {
        let dropped = self.write("drop what was written of a snapshot", |connection| {
            connection
                .prepare_cached(
                    "DELETE FROM chunk WHERE rowid IN (SELECT rowid FROM chunk WHERE snapshot NOT IN (SELECT number FROM snapshot) LIMIT ?)",
                )?
                .execute(params![CHUNKS_PER_TRUNCATE_MAX])
        })?;
        Ok(dropped > 0)
    }

    fn bytes_between(&mut self, from: Index, through: Index) -> Result<u64, JournalError> {
        self.alive()?;
        let range = params![from.0.cast_signed(), through.0.cast_signed()];
        let sum = self
            .connection
            .prepare_cached("SELECT coalesce(sum(length(bytes)), 0) FROM entry WHERE number BETWEEN ? AND ?")
            .and_then(|mut statement| statement.query_row(range, |row| row.get::<_, i64>(0)))
            .map_err(|error| fault(&self.path(), "measure old entries", &error))?;
        Ok(sum.unsigned_abs())
    }

    fn truncate(&mut self, through: Index) -> Result<bool, JournalError> {
        let Some((newest, chunks)) = self.snapshot()?.filter(|(newest, _)| *newest >= through) else {
            return Err(JournalError::needs_snapshot(through));
        };
        let newest = newest.0.cast_signed();
        let dropped = self.write("drop an old snapshot", |connection| {
            connection
                .prepare_cached(
                    "DELETE FROM chunk WHERE rowid IN (SELECT rowid FROM chunk WHERE snapshot < ?1 OR (snapshot = ?1 AND number >= ?2) ORDER BY snapshot, number LIMIT ?3)",
                )?
                .execute(params![newest, chunks, CHUNKS_PER_TRUNCATE_MAX])
        })?;
        if dropped > 0 {
            return Ok(true);
        }
        let through = through.0.cast_signed();
        self.write("drop old entries", |connection| {
            let mut last = None;
            let mut bytes = 0;
            {
                let mut statement =
                    connection.prepare_cached("SELECT number, length(bytes) FROM entry WHERE number <= ? ORDER BY number LIMIT ?")?;
                let mut rows = statement.query(params![through, ENTRIES_PER_TRUNCATE_MAX])?;
                while bytes < BYTES_PER_TRUNCATE_MAX
                    && let Some(row) = rows.next()?
                {
                    last = Some(row.get::<_, i64>(0)?);
                    bytes += row.get::<_, i64>(1)?;
                }
            }
            let Some(last) = last else { return Ok(false) };
            connection.prepare_cached("DELETE FROM entry WHERE number <= ?")?.execute(params![last])?;
            connection.query_row("SELECT EXISTS (SELECT 1 FROM entry WHERE number <= ?)", params![through], |row| row.get(0))
        })
    }
}

impl Journal for SqliteJournal {
    fn append(&mut self, epoch: Epoch, expected_head: Index, entry: &[u8]) -> Result<Appended, JournalError> {
        let index = Index(expected_head.0 + 1);
        self.alive()?;
        let named = record::peek_entry(entry).map_err(|error| JournalError::bug(index, error))?;
        if named.index != index || named.epoch != epoch {
            return Err(JournalError::bug(index, format!("its bytes say epoch {}, entry {}", named.epoch.0, named.index.0)));
        }
        if entry.len() > ENTRY_BYTES_MAX {
            return Err(JournalError::bug(index, format!("it has {} bytes, at most {ENTRY_BYTES_MAX} are allowed", entry.len())));
        }
        if index <= self.head.index {
            let there: Option<Vec<u8>> = self
                .connection
                .prepare_cached("SELECT bytes FROM entry WHERE number = ?")
                .and_then(|mut statement| statement.query_row(params![index.0.cast_signed()], |row| row.get(0)).optional())
                .map_err(|error| fault(&self.path(), &format!("read entry {}", index.0), &error))?;
            return Ok(if there.as_deref() == Some(entry) { Appended::Committed } else { Appended::Fenced });
        }
        if index.0 != self.head.index.0 + 1 {
            return Err(JournalError::bug(index, format!("the journal ends at {}", self.head.index.0)));
        }
        if epoch < self.head.epoch {
            return Ok(Appended::Fenced);
        }
        let begins = named.lineage != self.head.lineage;
        if begins && !crate::record::begins_lineage(entry, named.lineage) {
            return Err(JournalError::bug(index, format!("it is of history {}, the journal is of {}", named.lineage, self.head.lineage)));
        }
        let number = index.0.cast_signed();
        let insert = |connection: &Connection| {
            let mut statement = connection.prepare_cached("INSERT INTO entry (number, bytes) VALUES (?, ?)")?;
            statement.execute(params![number, entry]).map(|_| ())
        };
        let written = if begins {
            // The journal is of the new history if and only if it has the entry that begins it.
            self.connection.transaction().and_then(|both| {
                insert(&both)?;
                both.execute("UPDATE meta SET value = ? WHERE key = 'lineage'", params![named.lineage.0.as_slice()])?;
                both.commit()
            })
        } else {
            insert(&self.connection)
        };
        if let Err(error) = written {
            self.failed(&format!("append entry {}", index.0), &error)?;
            // Certainly not written, or nothing is certain.
            let there: Option<i64> = self
                .connection
                .query_row("SELECT max(number) FROM entry", [], |row| row.get(0))
                .map_err(|error| fault(&self.path(), "look at the journal's end", &error))
                .inspect_err(|_| self.dead = true)?;
            if there.is_some_and(|there| there.cast_unsigned() > self.head.index.0) {
                self.dead = true;
                return Err(fault(&self.path(), &format!("take entry {} back", index.0), &error));
            }
            self.refused.found_none();
            return Ok(Appended::Full);
        }
        self.refused.wrote(entry.len(), RESERVE_BYTES);
        self.head = Head { lineage: named.lineage, epoch, index };
        // A mark that lags behind only makes a later check weaker: it is of this history all the same ([`is_of`]).
        let _ = self.lock.set_mark(Mark { lineage: self.head.lineage, index });
        Ok(Appended::Committed)
    }

    fn room(&mut self) -> Result<Room, JournalError> {
        self.alive()?;
        let count = |pragma: &str| self.connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let counts = count("page_count").and_then(|pages| Ok((pages.unsigned_abs(), count("freelist_count")?.unsigned_abs())));
        let (pages, unused) = counts.map_err(|error| fault(&self.path(), "count the pages of the journal", &error))?;
        // Pages that are only in the write-ahead log so far have no place in the file yet.
        let grows = (pages * PAGE_BYTES).saturating_sub(self.dir.size_of(JOURNAL_FILE)?);
        let log_grows = WAL_BYTES_MAX.saturating_sub(self.dir.size_of(&format!("{JOURNAL_FILE}-wal"))?);
        let has = self.dir.available_bytes()?.saturating_add(self.dir.size_of(RESERVE_FILE)?).saturating_add(unused * PAGE_BYTES);
        Ok(Room { left_bytes: self.refused.bound(has.saturating_sub(grows + log_grows)), reserve_bytes: RESERVE_BYTES })
    }

    fn release_reserve(&mut self) -> Result<bool, JournalError> {
        let had = self.dir.remove(RESERVE_FILE)?;
        if had {
            self.refused.lives_on_the_reserve(RESERVE_BYTES);
        }
        Ok(had)
    }

    fn restore_reserve(&mut self) -> Result<bool, JournalError> {
        let has = self.dir.reserve()?;
        if has {
            self.refused.has_reserve();
        }
        Ok(has)
    }
}
