//! Looking at a journal without changing it: for `journal check`, and for backups before they count as such.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, Mode, OFlags};
use triquest_allocator::limits::QUARANTINE_MS_MIN;
use triquest_allocator::{Allocator, Epoch, Index, Lineage, Safeguards, StateRecord};

use crate::load::{Order, PORTION_BYTES, SnapshotRecords, damaged};
use crate::sqlite::{
    JOURNAL_FILE, after_damage, careful, corrupt, fault, find_head, find_snapshot, identify, oldest_entry, read_chunk, read_entries,
};
use crate::{Head, History, JournalError, JournalErrorKind, LOCK_FILE, record, sys};

/// What a check found. Everything in it is whole: the first fault of a journal is an error instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Its history. After a restore this is the one that the next start begins.
    pub lineage: Lineage,
    /// The last epoch.
    pub epoch: Epoch,
    /// The first entry that is kept; one after the last if none is.
    pub first: Index,
    /// The last entry.
    pub last: Index,
    /// Events in the entries that are kept.
    pub events: u64,
    /// The newest snapshot.
    pub snapshot: Option<SnapshotReport>,
    /// Live leases at the end.
    pub leases: usize,
    /// A new history that begins after this one grants nothing new for at least so long: as long as any license known in it may have promised.
    pub quarantine_ms: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A snapshot that was found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotReport {
    /// The last entry in it.
    pub index: Index,
    /// Its chunks.
    pub chunks: u32,
    /// Its records.
    pub records: u64,
    /// Its bytes.
    pub bytes: u64,
    /// The entries from the first on are all kept, and replaying them gave the same bytes.
    pub equals_replay: bool,
}

/// Checks a data directory or a backup: the file's own structure, the checksum and order of every entry, that all of them can be applied, that
/// seats are conserved, and that the snapshot is what the entries say. Nothing is changed.
///
/// # Errors
/// The first fault, with its place and the next step.
pub fn check(path: &Path) -> Result<Report, JournalError> {
    let (mut journal, mark) = Reader::open_any(path)?;
    let file = journal.path.clone();
    journal.check_structure()?;
    let report = verify(&mut journal)?;
    let head = Head { lineage: report.lineage, epoch: journal.head.epoch, index: report.last };
    if let Some(mark) = mark.filter(|mark| !crate::sqlite::is_of(&journal.connection, &file, head, *mark)) {
        return Err(crate::sqlite::lost(&file, report.last, mark, report.lineage));
    }
    Ok(report)
}

/// The quarantine that the next start begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineToCome {
    /// The history that begins with it.
    pub lineage: Lineage,
    /// For so long at least nothing new is granted, milliseconds.
    pub ms: u64,
}

/// Whether the next start in this data directory begins a new history, and with it a quarantine: after a restore, until that start. Nothing is changed.
///
/// # Errors
/// A journal that cannot be read, or is in use.
pub fn quarantine_to_come(data: &Path) -> Result<Option<QuarantineToCome>, JournalError> {
    let asked = crate::backup::asked_quarantine_ms(data)?.unwrap_or(0);
    Ok(begins_anew(data)?.map(|lineage| QuarantineToCome { lineage, ms: asked.max(QUARANTINE_MS_MIN) }))
}

/// The history that the next start begins, if it begins one.
fn begins_anew(data: &Path) -> Result<Option<Lineage>, JournalError> {
    let (mut journal, _) = Reader::open_any(data)?;
    let head = journal.head;
    if head.epoch.0 == 0 {
        return Ok(None);
    }
    let begins = |of_last: Lineage| (of_last != head.lineage).then_some(head.lineage);
    let of_last = |path: &Path, read: Result<Lineage, String>| read.map_err(|error| corrupt(path, error));
    let path = journal.path.clone();
    if journal.oldest()? <= head.index
        && let Some((_, bytes)) = journal.read(head.index, 1)?.first()
    {
        return of_last(&path, record::peek_entry(bytes).map(|entry| entry.lineage)).map(begins);
    }
    let chunk = journal.snapshot_chunk(head.index, 0)?;
    let read = record::decode_snapshot_chunk(&chunk).map_err(|error| error.to_string()).and_then(|records| match records.first() {
        Some(StateRecord::Head { lineage, .. }) => Ok(*lineage),
        _ => Err("the snapshot does not begin with its own place".to_owned()),
    });
    of_last(&path, read).map(begins)
}

/// A journal file that is only read.
#[derive(Debug)]
pub(crate) struct Reader {
    connection: Connection,
    path: PathBuf,
    head: Head,
    /// Keeps servers out while it is read.
    _lock: Option<File>,
}

impl Reader {
    /// Opens the journal of a directory, or a file; with the mark that the last server left.
    pub(crate) fn open_any(path: &Path) -> Result<(Self, Option<sys::Mark>), JournalError> {
        let metadata = std::fs::metadata(path)
            .map_err(|error| sys::fault(path, "look at it", rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)))?;
        if metadata.is_dir() {
            let lock = shut(path)?;
            let file = path.join(JOURNAL_FILE);
            if !file.exists() {
                return Err(JournalError::new(
                    JournalErrorKind::Missing,
                    format!("{} has no journal", path.display()),
                    "name the data directory of a server, or a backup file",
                ));
            }
            return Ok((Self::open(&file, lock)?, sys::read_mark(path)));
        }
        let lock = match path.parent() {
            Some(dir) if path.file_name().is_some_and(|name| name == JOURNAL_FILE) => {
                shut(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?
            }
            _ => None,
        };
        Ok((Self::open(path, lock)?, None))
    }

    fn open(path: &Path, lock: Option<File>) -> Result<Self, JournalError> {
        let opening = |error: rusqlite::Error| fault(path, "open the journal", &error);
        let real = std::fs::canonicalize(path)
            .map_err(|error| sys::fault(path, "open it", rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)))?;
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        let pending = std::fs::metadata(&wal).is_ok_and(|metadata| metadata.len() > 0);
        let connection = if pending {
            // The log can only be read by one who could write; it is left as it is.
            let connection =
                Connection::open_with_flags(&real, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(opening)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(opening)?;
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(opening)?;
            connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(opening)?;
            connection.pragma_update(None, "query_only", true).map_err(opening)?;
            connection
        } else {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(immutable(&real), flags).map_err(opening)?
        };
        careful(&connection).map_err(opening)?;
        let lineage = identify(&connection, path)?;
        let head = find_head(&connection, path, lineage)?;
        Ok(Self { connection, path: path.to_owned(), head, _lock: lock })
    }

    /// SQLite's own look at every page.
    fn check_structure(&self) -> Result<(), JournalError> {
        let reading = |error: rusqlite::Error| fault(&self.path, "check its pages", &error);
        let mut statement = self.connection.prepare("PRAGMA integrity_check(1)").map_err(reading)?;
        let found: String = statement.query_row([], |row| row.get(0)).map_err(reading)?;
        if found == "ok" { Ok(()) } else { Err(corrupt(&self.path, found.replace('\n', " "))) }
    }

    /// A file that was put into a backup beside the journal.
    pub(crate) fn kept_files(&self) -> Result<Vec<(String, Vec<u8>)>, JournalError> {
        let reading = |error: rusqlite::Error| fault(&self.path, "read the kept files", &error);
        let there: bool = self
            .connection
            .query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'kept')", [], |row| row.get(0))
            .map_err(reading)?;
        if !there {
            return Ok(Vec::new());
        }
        let mut statement = self.connection.prepare("SELECT name, bytes FROM kept ORDER BY name").map_err(reading)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(reading)?;
        rows.collect::<rusqlite::Result<_>>().map_err(reading)
    }
}

/// Takes the lock of a directory if there is one, to read while no server runs.
fn shut(dir: &Path) -> Result<Option<File>, JournalError> {
    let path = dir.join(LOCK_FILE);
    let file = match rustix::fs::open(&path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(sys::fault(&path, "open the lock", errno)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::new(
            JournalErrorKind::Locked,
            format!("{} is in use by a running server", dir.display()),
            "make a backup, which works while it runs and is checked: `triquest-lm journal backup FILE`",
        )),
        Err(errno) => Err(sys::fault(&path, "lock", errno)),
    }
}

/// The URI of a file that nobody changes while it is read.
fn immutable(path: &Path) -> OsString {
    let mut uri = b"file:".to_vec();
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'?' | b'#' | b'%') {
            uri.extend_from_slice(format!("%{byte:02x}").as_bytes());
        } else {
            uri.push(byte);
        }
    }
    uri.extend_from_slice(b"?immutable=1");
    OsString::from_vec(uri)
}

fn verify(journal: &mut Reader) -> Result<Report, JournalError> {
    let path = journal.path.clone();
    // A fault names the file that it was found in.
    verify_all(journal).map_err(|error| match error.kind {
        JournalErrorKind::Corrupt if !error.message.contains(&*path.to_string_lossy()) => {
            JournalError { message: format!("{}: {}", path.display(), error.message), hint: after_damage(&path), ..error }
        }
        _ => error,
    })
}

fn verify_all(journal: &mut Reader) -> Result<Report, JournalError> {
    let safeguards = Safeguards::default();
    let path = journal.path.clone();
    let first = journal.oldest()?;
    let head = journal.head();
    let snapshot = journal.snapshot()?;
    let mut order = Order::default();
    let mut events = 0;
    let mut replay = (first.0 == 1).then(|| Allocator::new(safeguards.clone()));
    let mut found = None;
    let mut next = first;
    // Whole history: replay it, and compare on the way. Cut history: the entries before the snapshot can only be read.
    let mut state = None;
    if let Some((index, chunks)) = snapshot {
        let mut records = SnapshotRecords::new(journal, index, chunks);
        let loaded = Allocator::load(safeguards, &mut records);
        if let Some(error) = records.error {
            return Err(error);
        }
        let loaded = loaded.map_err(|error| damaged(format!("the snapshot at entry {}: {error}", index.0)))?;
        found = Some(SnapshotReport { index, chunks, records: records.count, bytes: records.bytes, equals_replay: false });
        order = records.order;
        conserves(&loaded, index)?;
        if first.0 > index.0 + 1 {
            return Err(damaged(format!("the entries from {} to {} are missing", index.0 + 1, first.0 - 1)));
        }
        state = Some(loaded);
    } else if first.0 > 1 && head.index.0 > 0 {
        return Err(damaged(format!("the entries before {} are gone and no snapshot holds them", first.0)));
    }
    // Entries before the snapshot have an order of their own.
    let tail_order = order;
    order = Order::anywhere();
    while next <= head.index {
        let portion = journal.read(next, PORTION_BYTES)?;
        let Some((last, _)) = portion.last() else { break };
        next = Index(last.0 + 1);
        for (index, bytes) in &portion {
            if found.is_some_and(|snapshot| index.0 == snapshot.index.0 + 1) && !order.agrees(&tail_order) {
                return Err(damaged(format!("the snapshot at entry {} is not of the entries before it", index.0 - 1)));
            }
            let entry = order.admit(*index, bytes)?;
            events += entry.events.len() as u64;
            let after_snapshot = found.is_none_or(|snapshot| *index > snapshot.index);
            for state in replay.iter_mut().chain(state.iter_mut().filter(|_| after_snapshot)) {
                state
                    .apply_entry(*index, entry.moment, &entry.events)
                    .map_err(|error| damaged(format!("entry {} does not fit: {error}", index.0)))?;
            }
            if let (Some(replay), Some(snapshot)) = (&replay, &mut found)
                && snapshot.index == *index
            {
                equal(journal, replay, snapshot)?;
                snapshot.equals_replay = true;
            }
        }
    }
    let state = state.or(replay);
    if let Some(state) = &state {
        conserves(state, head.index)?;
    }
    let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    let (leases, quarantine_ms) = state.map_or((0, QUARANTINE_MS_MIN), |state| (state.leases(), state.quarantine_ms()));
    Ok(Report {
        path,
        lineage: head.lineage,
        epoch: head.epoch,
        first,
        last: head.index,
        events,
        snapshot: found,
        leases,
        quarantine_ms,
        bytes,
    })
}

fn conserves(state: &Allocator, index: Index) -> Result<(), JournalError> {
    state.check_invariants().map_err(|error| damaged(format!("at entry {} an invariant is broken: {error}", index.0)))
}

/// Compares the state after replay with the snapshot, chunk by chunk. The bytes may have been written by an older version with other chunk
/// sizes, so records are compared.
fn equal(journal: &mut Reader, replay: &Allocator, snapshot: &SnapshotReport) -> Result<(), JournalError> {
    let mut kept = SnapshotRecords::new(journal, snapshot.index, snapshot.chunks);
    for (number, record) in replay.snapshot().enumerate() {
        let there: Option<StateRecord> = kept.next();
        if there.as_ref() != Some(&record) {
            return Err(damaged(format!(
                "record {number} of the snapshot at entry {} is not what the entries up to there give",
                snapshot.index.0
            )));
        }
    }
    match kept.next() {
        None => Ok(()),
        Some(_) => Err(damaged(format!("the snapshot at entry {} holds more than the entries up to there give", snapshot.index.0))),
    }
}

impl History for Reader {
    fn head(&self) -> Head {
        self.head
    }

    fn oldest(&mut self) -> Result<Index, JournalError> {
        Ok(oldest_entry(&self.connection, &self.path)?.unwrap_or(Index(self.head.index.0 + 1)))
    }

    fn read(&mut self, from: Index, bytes_max: usize) -> Result<Vec<(Index, Vec<u8>)>, JournalError> {
        read_entries(&self.connection, &self.path, self.head.index, from, bytes_max)
    }

    fn snapshot(&mut self) -> Result<Option<(Index, u32)>, JournalError> {
        find_snapshot(&self.connection, &self.path)
    }

    fn snapshot_chunk(&mut self, index: Index, number: u32) -> Result<Vec<u8>, JournalError> {
        read_chunk(&self.connection, &self.path, index, number)
    }

    fn write_snapshot_chunk(&mut self, index: Index, _: u32, _: &[u8]) -> Result<(), JournalError> {
        Err(JournalError::bug(index, "this journal was opened to be read"))
    }

    fn finish_snapshot(&mut self, index: Index, _: u32) -> Result<(), JournalError> {
        Err(JournalError::bug(index, "this journal was opened to be read"))
    }

    fn drop_unfinished(&mut self) -> Result<bool, JournalError> {
        Ok(false)
    }

    fn truncate(&mut self, through: Index) -> Result<bool, JournalError> {
        Err(JournalError::bug(through, "this journal was opened to be read"))
    }
}
