//! Snapshots while the server goes on.
//!
//! A snapshot is made from what is durable, not from the live state: [`make`] builds a state of its own from the last snapshot and the tail,
//! and writes it. So the driver does nothing and stops for nothing; a thread does the work, and reaches the journal through [`Remote`], which
//! hands each small access to the one thread that appends. What that thread does for a snapshot is bounded: a read of a megabyte, a write of one chunk.

use triquest_allocator::{Index, Rules};

use crate::load::{Counts, load_counted};
use crate::record::encode_snapshot;
use crate::{Head, History, JournalError, JournalErrorKind};

/// Bytes of entries after which a snapshot is worth making, however small the state is.
const TAIL_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// Whether a snapshot is due. The tail may grow to half of what the snapshot takes to write, so that snapshots cost at most a third of all
/// bytes written, and loading at most half as much again.
#[must_use]
pub fn is_due(tail_bytes: u64, snapshot_bytes: u64) -> bool {
    tail_bytes >= TAIL_BYTES_MIN.max(snapshot_bytes / 2)
}

/// A snapshot that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The last entry in it.
    pub index: Index,
    /// Its chunks.
    pub chunks: u32,
    /// Its bytes.
    pub bytes: u64,
}

/// How much of what lies before a snapshot stays, for those who read the stream of events from an earlier place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Most entries.
    pub entries: u64,
    /// Most bytes of entries, but for a portion of 100 entries: whoever makes entries large must not fill the disk by it.
    pub bytes: u64,
}

impl Keep {
    /// Nothing.
    pub const NONE: Self = Self { entries: 0, bytes: 0 };
}

/// Makes a snapshot of all that is durable now and drops entries before it, but for what is to be kept. `None` if the newest snapshot is up to
/// date.
///
/// # Errors
/// As [`crate::load`]; [`JournalErrorKind::Full`] if there is no room, with the older snapshot still in force.
pub fn make(journal: &mut dyn History, rules: impl Into<Rules>, keep: Keep) -> Result<Option<Made>, JournalError> {
    let (allocator, counts) = load_counted(journal, rules)?;
    let Counts { snapshot, tail_entries, .. } = counts;
    if tail_entries == 0 {
        return Ok(None);
    }
    let index = Index(snapshot.0 + tail_entries);
    let written = write(journal, index, encode_snapshot(allocator.snapshot()));
    drop(allocator);
    if written.is_err() {
        // What it took is for entries again. If that fails too, the next opening drops it.
        while journal.drop_unfinished()? {}
    }
    let made = written?;
    let through = goes_through(journal, index, keep)?;
    while journal.truncate(through)? {}
    Ok(Some(made))
}

fn write(journal: &mut dyn History, index: Index, chunks: impl Iterator<Item = Vec<u8>>) -> Result<Made, JournalError> {
    let mut made = Made { index, chunks: 0, bytes: 0 };
    for chunk in chunks {
        journal.write_snapshot_chunk(index, made.chunks, &chunk)?;
        made.chunks += 1;
        made.bytes += chunk.len() as u64;
    }
    journal.finish_snapshot(index, made.chunks)?;
    Ok(made)
}

/// The last entry that goes.
fn goes_through(journal: &mut dyn History, snapshot: Index, keep: Keep) -> Result<Index, JournalError> {
    /// Measured at a time, so that no append waits for long.
    const PORTION: u64 = 100;
    let oldest = snapshot.0.saturating_sub(keep.entries);
    let (mut through, mut bytes) = (snapshot.0, 0);
    while through > oldest {
        let next = through.saturating_sub(PORTION).max(oldest);
        bytes += journal.bytes_between(Index(next + 1), Index(through))?;
        if bytes > keep.bytes {
            break;
        }
        through = next;
    }
    Ok(Index(through))
}

/// What runs on the journal's own thread.
pub type Work = Box<dyn FnOnce(&mut dyn History) + Send>;

/// A journal that lives on another thread. Each call is handed to it as [`Work`] and waited for; `send` answers false if that thread has ended.
///
/// It reads as far as the head was when it was made and no further: a reader that followed the head would never end under load.
pub struct Remote<S> {
    send: S,
    head: Head,
}

impl<S> std::fmt::Debug for Remote<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("head", &self.head).finish_non_exhaustive()
    }
}

impl<S: FnMut(Work) -> bool + Send> Remote<S> {
    /// Asks where the journal ends now.
    ///
    /// # Errors
    /// If the journal's thread has ended.
    pub fn new(mut send: S) -> Result<Self, JournalError> {
        let head = on(&mut send, |journal| journal.head())?;
        Ok(Self { send, head })
    }
}

fn on<R: Send + 'static>(
    send: &mut impl FnMut(Work) -> bool,
    work: impl FnOnce(&mut dyn History) -> R + Send + 'static,
) -> Result<R, JournalError> {
    let (reply, answer) = std::sync::mpsc::sync_channel(1);
    let sent = send(Box::new(move |journal| {
        // If nobody waits any more, the answer is for nobody.
        let _ = reply.send(work(journal));
    }));
    let ended = || JournalError::new(JournalErrorKind::System, "the journal was closed", "");
    if !sent {
        return Err(ended());
    }
    answer.recv().map_err(|_| ended())
}

impl<S: FnMut(Work) -> bool + Send> History for Remote<S> {
    fn head(&self) -> Head {
        self.head
    }

    fn oldest(&mut self) -> Result<Index, JournalError> {
        let head = self.head.index;
        Ok(on(&mut self.send, |journal| journal.oldest())??.min(Index(head.0 + 1)))
    }

    fn read(&mut self, from: Index, bytes_max: usize) -> Result<Vec<(Index, Vec<u8>)>, JournalError> {
        let head = self.head.index;
        let mut entries = on(&mut self.send, move |journal| if from > head { Ok(Vec::new()) } else { journal.read(from, bytes_max) })??;
        entries.retain(|(index, _)| *index <= head);
        Ok(entries)
    }

    fn snapshot(&mut self) -> Result<Option<(Index, u32)>, JournalError> {
        on(&mut self.send, |journal| journal.snapshot())?
    }

    fn snapshot_chunk(&mut self, index: Index, number: u32) -> Result<Vec<u8>, JournalError> {
        on(&mut self.send, move |journal| journal.snapshot_chunk(index, number))?
    }

    fn write_snapshot_chunk(&mut self, index: Index, number: u32, chunk: &[u8]) -> Result<(), JournalError> {
        let chunk = chunk.to_vec();
        on(&mut self.send, move |journal| journal.write_snapshot_chunk(index, number, &chunk))?
    }

    fn finish_snapshot(&mut self, index: Index, chunks: u32) -> Result<(), JournalError> {
        on(&mut self.send, move |journal| journal.finish_snapshot(index, chunks))?
    }

    fn drop_unfinished(&mut self) -> Result<bool, JournalError> {
        on(&mut self.send, |journal| journal.drop_unfinished())?
    }

    fn bytes_between(&mut self, from: Index, through: Index) -> Result<u64, JournalError> {
        on(&mut self.send, move |journal| journal.bytes_between(from, through))?
    }

    fn truncate(&mut self, through: Index) -> Result<bool, JournalError> {
        on(&mut self.send, move |journal| journal.truncate(through))?
    }
}
