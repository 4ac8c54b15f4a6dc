//! A journal in memory, for tests, the simulation and `--memory` demos.
//!
//! [`MemoryDisk`] is what survives a crash, [`MemoryJournal`] is one opening of it. Whatever went wrong with an opening, a new one shows what
//! is durable: just as with a real disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use triquest_allocator::{Epoch, Index, Lineage};

use crate::room::Refused;
use crate::{Appended, ENTRY_BYTES_MAX, Head, History, Journal, JournalError, JournalErrorKind, Room, SNAPSHOT_CHUNK_BYTES_MAX, record};

/// What the next append shall meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written, and the journal is dead.
    Error,
    /// Somebody else has taken over: nothing is written, and this opening can never write again.
    Fenced,
    /// No room: nothing is written.
    Full,
    /// The entry becomes durable, but the answer is not known.
    UnknownCommitted,
    /// The entry is lost, and the answer is not known.
    UnknownLost,
}

#[derive(Clone, Debug, Default)]
struct Content {
    lineage: Lineage,
    epoch: Epoch,
    /// The last index, kept apart because truncation may have dropped the entry itself.
    head: Index,
    entries: BTreeMap<u64, Arc<[u8]>>,
    snapshot: Option<(Index, Vec<Arc<[u8]>>)>,
    capacity: Capacity,
    used_bytes: usize,
    reserve: Reserve,
    /// Counts openings; only the newest may write.
    opening: u64,
}

/// How many bytes of entries the disk holds.
#[derive(Clone, Copy, Debug, Default)]
struct Capacity {
    /// None is no limit.
    bytes: Option<usize>,
    /// It is a quota, of which a file system says nothing: only a refusal shows it.
    untold: bool,
    /// How often it became less.
    shrinks: u64,
}

/// Room that nobody else takes.
#[derive(Clone, Copy, Debug, Default)]
struct Reserve {
    bytes: usize,
    held: bool,
}

/// What is durable. Clones share it; [`MemoryDisk::copy`] is a backup.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Content>>);

impl MemoryDisk {
    /// An empty disk for this history.
    #[must_use]
    pub fn new(lineage: Lineage) -> Self {
        Self(Arc::new(Mutex::new(Content { lineage, ..Content::default() })))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Opens it; every earlier opening is fenced from now on and forgets what was not durable.
    #[must_use]
    pub fn open(&self) -> MemoryJournal {
        let mut content = self.content();
        content.opening += 1;
        let opening = content.opening;
        drop(content);
        let mut journal = MemoryJournal {
            disk: self.clone(),
            opening,
            faults: Vec::new(),
            dead: false,
            chunks: BTreeMap::new(),
            refused: Refused::default(),
        };
        if !self.reserves() {
            journal.refused.lives_on_the_reserve(self.content().reserve.bytes as u64);
        }
        journal
    }

    /// A copy that lives its own life, as a backup does. Cheap: bytes are shared.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.content().clone())))
    }

    /// What `journal restore` does: from now on another history.
    pub fn begin_lineage(&self, lineage: Lineage) {
        self.content().lineage = lineage;
    }

    /// Bounds the disk to so many bytes of entries, with its reserve; none is no bound. Appends beyond are answered [`Appended::Full`].
    pub fn set_room_bytes(&self, room_bytes: Option<usize>) {
        let mut content = self.content();
        let capacity = &mut content.capacity;
        if room_bytes.is_some_and(|bytes| capacity.bytes.is_none_or(|before| bytes < before)) {
            capacity.shrinks += 1;
        }
        capacity.bytes = room_bytes;
    }

    /// Others fill the disk: so much is left, with its reserve. `untold`: by a quota, which shows only when it refuses.
    pub fn leave_room_bytes(&self, left_bytes: usize, untold: bool) {
        let used = self.content().used_bytes;
        self.set_room_bytes(Some(used.saturating_add(left_bytes)));
        self.content().capacity.untold = untold;
    }

    /// Keeps so much for what must be written on a full disk.
    pub fn set_reserve_bytes(&self, bytes: usize) {
        self.content().reserve = Reserve { bytes, held: false };
        self.reserves();
    }

    /// Whether it tells how much room there is. A quota does not: of that a journal learns by being refused, and never how much is left.
    #[must_use]
    pub fn tells_room(&self) -> bool {
        !self.content().capacity.untold
    }

    /// How often its room became less by what others did.
    #[must_use]
    pub fn shrinks(&self) -> u64 {
        self.content().capacity.shrinks
    }

    /// Takes the reserve, if there is room for it. True if it is there.
    fn reserves(&self) -> bool {
        let mut content = self.content();
        let fits = content.capacity.bytes.is_none_or(|bytes| content.used_bytes + content.reserve.bytes <= bytes);
        content.reserve.held |= fits;
        content.reserve.held
    }
}

/// One opening of a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryJournal {
    disk: MemoryDisk,
    opening: u64,
    /// In reverse: the next is the last.
    faults: Vec<Fault>,
    dead: bool,
    /// Chunks of snapshots in the making; not durable before they are complete.
    chunks: BTreeMap<(u64, u32), Arc<[u8]>>,
    refused: Refused,
}

impl MemoryJournal {
    /// A new disk for this history, opened.
    #[must_use]
    pub fn new(lineage: Lineage) -> Self {
        MemoryDisk::new(lineage).open()
    }

    /// The disk below.
    #[must_use]
    pub fn disk(&self) -> MemoryDisk {
        self.disk.clone()
    }

    /// Lets the appends to come meet these faults, one each, in order.
    pub fn inject(&mut self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.reverse();
        self.faults.extend(faults);
        self.faults.reverse();
    }

    /// The power fails and comes back: what was not durable is gone.
    #[must_use]
    pub fn crash(self) -> Self {
        self.disk.open()
    }

    fn live(&self) -> Result<MutexGuard<'_, Content>, JournalError> {
        if self.dead {
            return Err(JournalError::new(JournalErrorKind::System, "this opening of the journal failed before", "open the journal again"));
        }
        Ok(self.disk.content())
    }
}

impl Content {
    /// The oldest entry that is kept; one after the head if none is.
    fn oldest(&self) -> Index {
        Index(self.entries.keys().next().copied().unwrap_or(self.head.0 + 1))
    }
}

impl History for MemoryJournal {
    fn head(&self) -> Head {
        let content = self.disk.content();
        Head { lineage: content.lineage, epoch: content.epoch, index: content.head }
    }

    fn oldest(&mut self) -> Result<Index, JournalError> {
        Ok(self.live()?.oldest())
    }

    fn read(&mut self, from: Index, bytes_max: usize) -> Result<Vec<(Index, Vec<u8>)>, JournalError> {
        let content = self.live()?;
        let first = content.oldest();
        if from < first && from <= content.head {
            return Err(JournalError::truncated(from, first));
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (&index, entry) in content.entries.range(from.0..) {
            if bytes >= bytes_max.max(1) {
                break;
            }
            bytes += entry.len();
            entries.push((Index(index), entry.to_vec()));
        }
        Ok(entries)
    }

    fn snapshot(&mut self) -> Result<Option<(Index, u32)>, JournalError> {
        Ok(self.live()?.snapshot.as_ref().map(|(index, chunks)| (*index, chunks.len() as u32)))
    }

    fn snapshot_chunk(&mut self, index: Index, number: u32) -> Result<Vec<u8>, JournalError> {
        let content = self.live()?;
        let chunk = content.snapshot.as_ref().filter(|(there, _)| *there == index).and_then(|(_, chunks)| chunks.get(number as usize));
        chunk.map(|chunk| chunk.to_vec()).ok_or_else(|| JournalError::no_chunk(index, number))
    }

    fn write_snapshot_chunk(&mut self, index: Index, number: u32, chunk: &[u8]) -> Result<(), JournalError> {
        if chunk.len() > SNAPSHOT_CHUNK_BYTES_MAX {
            return Err(JournalError::chunk_too_large(index, number, chunk.len()));
        }
        drop(self.live()?);
        self.chunks.insert((index.0, number), chunk.into());
        Ok(())
    }

    fn finish_snapshot(&mut self, index: Index, chunks: u32) -> Result<(), JournalError> {
        let mut content = self.live()?;
        if content.opening != self.opening {
            return Err(JournalError::new(JournalErrorKind::System, "another opening of this journal has taken over", "stop"));
        }
        if content.snapshot.as_ref().is_some_and(|(there, _)| *there > index) {
            return Ok(());
        }
        let all: Option<Vec<_>> = (0..chunks).map(|number| self.chunks.get(&(index.0, number)).cloned()).collect();
        content.snapshot = Some((index, all.ok_or_else(|| JournalError::incomplete_snapshot(index, chunks))?));
        drop(content);
        self.chunks.clear();
        Ok(())
    }

    fn drop_unfinished(&mut self) -> Result<bool, JournalError> {
        drop(self.live()?);
        self.chunks.clear();
        Ok(false)
    }

    fn bytes_between(&mut self, from: Index, through: Index) -> Result<u64, JournalError> {
        if from > through {
            return Ok(0);
        }
        Ok(self.live()?.entries.range(from.0..=through.0).map(|(_, entry)| entry.len() as u64).sum())
    }

    fn truncate(&mut self, through: Index) -> Result<bool, JournalError> {
        const PORTION: usize = 64;
        let mut content = self.live()?;
        if content.snapshot.as_ref().is_none_or(|(index, _)| *index < through) {
            return Err(JournalError::needs_snapshot(through));
        }
        for _ in 0..PORTION {
            match content.entries.first_entry() {
                Some(entry) if *entry.key() <= through.0 => {
                    let gone = entry.remove();
                    content.used_bytes -= gone.len();
                }
                _ => return Ok(false),
            }
        }
        let more = content.entries.keys().next().is_some_and(|&index| index <= through.0);
        Ok(more)
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, epoch: Epoch, expected_head: Index, entry: &[u8]) -> Result<Appended, JournalError> {
        let index = Index(expected_head.0 + 1);
        let head = record::peek_entry(entry).map_err(|error| JournalError::bug(index, error))?;
        if head.index != index || head.epoch != epoch {
            return Err(JournalError::bug(index, format!("its bytes say epoch {}, index {}", head.epoch.0, head.index.0)));
        }
        if entry.len() > ENTRY_BYTES_MAX {
            return Err(JournalError::bug(index, format!("it has {} bytes, at most {ENTRY_BYTES_MAX} are allowed", entry.len())));
        }
        let content = self.live()?;
        if content.opening != self.opening {
            return Ok(Appended::Fenced);
        }
        if index <= content.head {
            let same = content.entries.get(&index.0).is_some_and(|there| **there == *entry);
            return Ok(if same { Appended::Committed } else { Appended::Fenced });
        }
        if index.0 != content.head.0 + 1 {
            return Err(JournalError::bug(index, format!("the journal ends at {}", content.head.0)));
        }
        if epoch < content.epoch {
            return Ok(Appended::Fenced);
        }
        if head.lineage != content.lineage && !crate::record::begins_lineage(entry, head.lineage) {
            return Err(JournalError::bug(index, format!("it is of history {}, the journal is of {}", head.lineage, content.lineage)));
        }
        drop(content);
        let fault = self.faults.pop();
        let mut content = self.disk.content();
        match fault {
            Some(Fault::Error) => {
                drop(content);
                self.dead = true;
                return Err(JournalError::new(JournalErrorKind::System, "the disk failed", "open the journal again"));
            }
            Some(Fault::Fenced) => {
                content.opening += 1;
                return Ok(Appended::Fenced);
            }
            Some(Fault::Full) => {
                self.refused.found_none();
                return Ok(Appended::Full);
            }
            Some(Fault::UnknownLost) => return Ok(Appended::Unknown),
            None | Some(Fault::UnknownCommitted) => {}
        }
        let Reserve { bytes: reserve, held } = content.reserve;
        let kept = if held { reserve } else { 0 };
        if content.capacity.bytes.is_some_and(|room| content.used_bytes + entry.len() + kept > room) {
            self.refused.found_none();
            return Ok(Appended::Full);
        }
        self.refused.wrote(entry.len(), reserve as u64);
        content.used_bytes += entry.len();
        content.entries.insert(index.0, entry.into());
        content.head = index;
        content.epoch = epoch;
        content.lineage = head.lineage;
        Ok(if fault.is_some() { Appended::Unknown } else { Appended::Committed })
    }

    fn room(&mut self) -> Result<Room, JournalError> {
        let content = self.live()?;
        let left = match content.capacity {
            Capacity { bytes: Some(bytes), untold: false, .. } => bytes.saturating_sub(content.used_bytes) as u64,
            _ => u64::MAX,
        };
        Ok(Room { left_bytes: self.refused.bound(left), reserve_bytes: content.reserve.bytes as u64 })
    }

    fn release_reserve(&mut self) -> Result<bool, JournalError> {
        let mut content = self.live()?;
        let Reserve { bytes, held } = content.reserve;
        content.reserve.held = false;
        drop(content);
        if held && bytes > 0 {
            self.refused.lives_on_the_reserve(bytes as u64);
        }
        Ok(held && bytes > 0)
    }

    fn restore_reserve(&mut self) -> Result<bool, JournalError> {
        drop(self.live()?);
        let has = self.disk.reserves();
        if has {
            self.refused.has_reserve();
        }
        Ok(has)
    }
}
