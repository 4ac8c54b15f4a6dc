//! The journal: the durable order of facts, and how they stand on disk.
//!
//! [`Journal`] is a fenced log of opaque entries, and [`History`] reads it back and keeps snapshots, small enough that SQLite, memory and (later) etcd or PostgreSQL carry it alike.
//! [`record`] is the one place that knows the bytes of entries and snapshots.

pub mod backup;
pub mod check;
mod load;
pub mod memory;
pub mod record;
mod room;
pub mod snapshot;
pub mod sqlite;
mod sys;
pub mod upgrade;

pub use load::{Counts, load, load_counted};
pub use room::Room;
pub use sqlite::{OpenMode, SqliteJournal};
pub use sys::{LOCK_FILE, RESERVE_BYTES, RESERVE_FILE};
use triquest_allocator::{Epoch, Index, Lineage};

/// What became of an append. Nothing else is possible; an error that is none of these is [`JournalError`], after which only a new open helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Durable at the expected index.
    Committed,
    /// Somebody else has written this index or this epoch is over: stop.
    Fenced,
    /// Certainly not written, and there is no room: the same bytes may be appended again later.
    Full,
    /// Not known: append the same bytes at the same index until it is occupied.
    Unknown,
}

/// A fault of the journal, in words for the administrator, with a next step.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct JournalError {
    /// What is wrong and where.
    pub message: String,
    /// What to do next, empty if nothing is known to help.
    pub hint: String,
    /// The kind, for exit codes and tests.
    pub kind: JournalErrorKind,
}

impl JournalError {
    /// A fault with its next step.
    #[must_use]
    pub fn new(kind: JournalErrorKind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), kind }
    }

    pub(crate) fn bug(index: Index, what: impl std::fmt::Display) -> Self {
        Self::new(
            JournalErrorKind::System,
            format!("entry {} cannot be appended: {what}", index.0),
            "nothing was written; this is a defect of triquest-lm, please report it",
        )
    }

    pub(crate) fn truncated(from: Index, first: Index) -> Self {
        Self::new(
            JournalErrorKind::Missing,
            format!("entry {} is not kept any more; the first that is kept is {}", from.0, first.0),
            "begin with the snapshot",
        )
    }

    pub(crate) fn no_chunk(index: Index, number: u32) -> Self {
        Self::new(
            JournalErrorKind::Missing,
            format!("chunk {number} of the snapshot at entry {} is not there", index.0),
            "ask for the newest snapshot",
        )
    }

    pub(crate) fn chunk_too_large(index: Index, number: u32, bytes: usize) -> Self {
        Self::new(
            JournalErrorKind::System,
            format!(
                "chunk {number} of the snapshot at entry {} has {bytes} bytes, at most {SNAPSHOT_CHUNK_BYTES_MAX} are allowed",
                index.0
            ),
            "nothing was written; this is a defect of triquest-lm, please report it",
        )
    }

    pub(crate) fn incomplete_snapshot(index: Index, chunks: u32) -> Self {
        Self::new(
            JournalErrorKind::System,
            format!("the snapshot at entry {} does not have its {chunks} chunks", index.0),
            "the older snapshot stays in force; make a new one",
        )
    }

    pub(crate) fn needs_snapshot(through: Index) -> Self {
        Self::new(
            JournalErrorKind::Missing,
            format!("entries up to {} cannot be dropped: no complete snapshot holds them", through.0),
            "make a snapshot first",
        )
    }
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalErrorKind {
    /// Bytes that are not what was written: checksum, order, an unknown record.
    Corrupt,
    /// No room.
    Full,
    /// Another process has the directory.
    Locked,
    /// Nothing there where something should be.
    Missing,
    /// Made by a newer version.
    Newer,
    /// The disk or directory is read-only, or permissions forbid it.
    ReadOnly,
    /// Any other fault of the system.
    System,
}

/// What the journal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The history to which the next entry belongs: what the next `Recover` must name. After a restore it differs from the last entry's.
    pub lineage: Lineage,
    /// The epoch of the last entry (0 if none).
    pub epoch: Epoch,
    /// The last entry (0 if none).
    pub index: Index,
}

/// What is durable, read back, and the snapshots of it. Each call is one small piece, so that whoever reads stands in no append's way for longer.
pub trait History: Send {
    /// Where the log ends.
    fn head(&self) -> Head;

    /// The oldest entry that is kept; one after the head if none is.
    fn oldest(&mut self) -> Result<Index, JournalError>;

    /// Reads entries from `from` on, in order, until about `bytes_max` bytes are read. Empty at the end. Fails with [`JournalErrorKind::Missing`] if `from` was truncated.
    fn read(&mut self, from: Index, bytes_max: usize) -> Result<Vec<(Index, Vec<u8>)>, JournalError>;

    /// The newest complete snapshot's index and number of chunks.
    fn snapshot(&mut self) -> Result<Option<(Index, u32)>, JournalError>;

    /// One chunk of a snapshot.
    fn snapshot_chunk(&mut self, index: Index, number: u32) -> Result<Vec<u8>, JournalError>;

    /// Writes one chunk (at most [`SNAPSHOT_CHUNK_BYTES_MAX`]) of a snapshot that is being made.
    fn write_snapshot_chunk(&mut self, index: Index, number: u32, chunk: &[u8]) -> Result<(), JournalError>;

    /// Declares the snapshot complete with so many chunks; older snapshots go.
    fn finish_snapshot(&mut self, index: Index, chunks: u32) -> Result<(), JournalError>;

    /// Drops chunks of snapshots that were begun and not finished, in bounded portions; true if there is more to drop. Without this, what found no room
    /// would keep what it took.
    fn drop_unfinished(&mut self) -> Result<bool, JournalError>;

    /// Bytes of the entries from `from` to `through`, all of which are kept.
    fn bytes_between(&mut self, mut from: Index, through: Index) -> Result<u64, JournalError> {
        const PORTION_BYTES: usize = 1024 * 1024;
        let mut bytes = 0;
        while from <= through {
            let entries = match self.read(from, PORTION_BYTES) {
                Err(error) if error.kind == JournalErrorKind::Missing => break,
                entries => entries?,
            };
            let Some((last, _)) = entries.last() else { break };
            from = Index(last.0 + 1);
            bytes += entries.iter().filter(|(index, _)| *index <= through).map(|(_, entry)| entry.len() as u64).sum::<u64>();
        }
        Ok(bytes)
    }

    /// Drops entries up to and with `through`, in bounded portions; true if there is more to drop. A complete snapshot at or after it must exist.
    fn truncate(&mut self, through: Index) -> Result<bool, JournalError>;
}

/// The durable order of entries. One writer; the bytes of an entry are opaque here and made by [`record`].
pub trait Journal: History {
    /// Makes one entry durable right behind `expected_head`, in the name of epoch `fence`. Returns only when it is on disk, or why not. The same
    /// bytes at a place that is occupied: committed if they are what is there, fenced if not.
    fn append(&mut self, fence: Epoch, expected_head: Index, batch: &[u8]) -> Result<Appended, JournalError>;

    /// Whether whoever holds this journal open leads for as long as that is so: a lock for life. Then nobody need be asked, and
    /// [`Journal::confirm`] is true at once.
    fn leads_by_lock(&self) -> bool {
        true
    }

    /// Makes sure, by a read that begins now and sees every write before it, that no other server has taken over. False: it has.
    fn confirm(&mut self) -> Result<bool, JournalError> {
        Ok(true)
    }

    /// How much can still be appended. Asks the file system, so it is no part of an append; whoever counts what is appended since knows enough.
    fn room(&mut self) -> Result<Room, JournalError>;

    /// Gives up the room kept in reserve so that releases can be written on a full disk; false if there was none. A journal without one has none.
    fn release_reserve(&mut self) -> Result<bool, JournalError> {
        Ok(false)
    }

    /// Keeps room in reserve again; false if there is not enough yet.
    fn restore_reserve(&mut self) -> Result<bool, JournalError> {
        Ok(true)
    }
}

/// Largest chunk of a snapshot (an etcd request carries 1.5 MiB).
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Largest entry. The allocator closes an entry earlier, by an estimate from above of what its events take.
pub const ENTRY_BYTES_MAX: usize = 1_400_000;

const _: () = assert!(triquest_allocator::limits::ENTRY_BYTES_MAX + 1024 <= ENTRY_BYTES_MAX, "whatever decide emits fits an entry");
