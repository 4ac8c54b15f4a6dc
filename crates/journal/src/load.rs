//! From what is durable back to the state: the newest snapshot and the entries after it, all of it verified on the way.

use triquest_allocator::{Allocator, Epoch, Event, Index, Lineage, Rules, StateRecord, Timestamp};

use crate::record::{self, Entry};
use crate::{History, JournalError, JournalErrorKind};

/// Entries are read in portions of about so many bytes, so that whoever else waits for the journal waits a millisecond.
pub(crate) const PORTION_BYTES: usize = 1024 * 1024;

/// How much was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The entry that the snapshot ends with, 0 if there is none.
    pub snapshot: Index,
    /// Records of the snapshot.
    pub snapshot_records: u64,
    /// Bytes of the snapshot.
    pub snapshot_bytes: u64,
    /// Entries after the snapshot.
    pub tail_entries: u64,
    /// Their events.
    pub tail_events: u64,
    /// Their bytes.
    pub tail_bytes: u64,
}

/// Rebuilds the state from the newest snapshot and the entries after it.
///
/// # Errors
/// [`JournalErrorKind::Corrupt`] and the place if anything is not what was written, is out of order or does not fit; nothing may be served then.
pub fn load(journal: &mut dyn History, rules: impl Into<Rules>) -> Result<Allocator, JournalError> {
    load_counted(journal, rules).map(|(allocator, _)| allocator)
}

/// The same, and how much was read: the tail's bytes say when the next snapshot is due.
///
/// # Errors
/// As [`load`].
pub fn load_counted(journal: &mut dyn History, rules: impl Into<Rules>) -> Result<(Allocator, Counts), JournalError> {
    let rules = rules.into();
    let mut counts = Counts::default();
    let mut order = Order::default();
    let mut allocator = match journal.snapshot()? {
        None => Allocator::new(rules),
        Some((index, chunks)) => {
            let mut records = SnapshotRecords::new(journal, index, chunks);
            let loaded = ahead(|give| records.give_all(give), |records| Allocator::load(rules, records.flatten()))?;
            if let Some(error) = records.error {
                return Err(error);
            }
            counts = Counts { snapshot: index, snapshot_records: records.count, snapshot_bytes: records.bytes, ..counts };
            order = records.order;
            loaded.map_err(|error| damaged(format!("the snapshot at entry {}: {error}", index.0)))?
        }
    };
    let mut next = Index(counts.snapshot.0 + 1);
    let mut error = None;
    let applied = ahead(
        |give| {
            let mut read = || -> Result<(), JournalError> {
                loop {
                    let portion = journal.read(next, PORTION_BYTES)?;
                    let Some((last, _)) = portion.last() else { return Ok(()) };
                    next = Index(last.0 + 1);
                    let entries: Result<Vec<_>, _> =
                        portion.iter().map(|(index, bytes)| Ok((order.admit(*index, bytes)?, bytes.len() as u64))).collect();
                    if !give(entries?) {
                        return Ok(());
                    }
                }
            };
            error = read().err();
        },
        |portions| {
            for (entry, bytes) in portions.flatten() {
                allocator.apply_entry(entry.index, entry.moment, &entry.events).map_err(|error| (entry.index, error))?;
                counts.tail_entries += 1;
                counts.tail_events += entry.events.len() as u64;
                counts.tail_bytes += bytes;
            }
            Ok(())
        },
    )?;
    applied.map_err(|(index, error): (Index, String)| damaged(format!("entry {} does not fit: {error}", index.0)))?;
    if let Some(error) = error {
        return Err(error);
    }
    let head = journal.head().index;
    if next.0 != head.0 + 1 {
        return Err(damaged(format!("it ends at entry {} but {} can be read", head.0, next.0 - 1)));
    }
    Ok((allocator, counts))
}

/// Reads and decodes on a thread of its own while the caller's folds: with a million leases a restart is that much sooner. A few portions at
/// most lie between them. `read` is told by `false` that nobody takes any more.
fn ahead<T: Send, R>(
    read: impl FnOnce(&mut dyn FnMut(T) -> bool) + Send,
    fold: impl FnOnce(std::sync::mpsc::IntoIter<T>) -> R,
) -> Result<R, JournalError> {
    let (send, receive) = std::sync::mpsc::sync_channel(2);
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("journal-read".to_owned())
            .spawn_scoped(scope, move || read(&mut |item| send.send(item).is_ok()))
            .map_err(|error| {
                JournalError::new(JournalErrorKind::System, format!("cannot start a thread: {error}"), "raise the limit of processes")
            })?;
        Ok(fold(receive.into_iter()))
    })
}

/// Decodes an entry, and tells one of a newer version from damage.
pub(crate) fn decode(index: Index, bytes: &[u8]) -> Result<Entry, JournalError> {
    let decoded = record::decode_entry(bytes);
    let raises = |entry: &Entry| entry.events.iter().any(|event| matches!(event, Event::FormatRaised { .. }));
    if decoded.as_ref().map_or(true, raises)
        && let Some(error) = newer(bytes)
    {
        return Err(error);
    }
    decoded.map_err(|error| damaged(format!("entry {}: {error}", index.0)))
}

/// The refusal of bytes that only a newer version can read; none if these are not such.
pub(crate) fn newer(bytes: &[u8]) -> Option<JournalError> {
    let missing = record::missing_words(bytes);
    (!missing.is_empty()).then(|| {
        JournalError::new(
            JournalErrorKind::Newer,
            format!("the journal was written by a newer version of triquest-lm: this one does not know the words {}", missing.join(", ")),
            crate::upgrade::HOW_BACK,
        )
    })
}

pub(crate) fn damaged(what: String) -> JournalError {
    JournalError::new(
        JournalErrorKind::Corrupt,
        format!("the journal is damaged: {what}"),
        "nothing is served from it. Keep a copy of the data directory, see `triquest-lm journal check`, and restore the last backup into a new directory with `triquest-lm journal restore`",
    )
}

/// What must follow what: one content for each index, epochs only forward and each begun by its own `Recovered`, lease time never back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Order {
    /// The last entry: history, epoch, index, time.
    last: Option<(Lineage, Epoch, Index, Timestamp)>,
    /// The first entry that is met may stand in the middle of an epoch: what came before was dropped.
    anywhere: bool,
}

impl Order {
    /// For a log whose beginning was dropped.
    pub(crate) fn anywhere() -> Self {
        Self { last: None, anywhere: true }
    }

    /// Whether both have come to the same place. One that has seen nothing agrees with any.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        self.last.is_none() || self.last == other.last
    }

    /// Decodes the next entry and checks that it may follow.
    pub(crate) fn admit(&mut self, index: Index, bytes: &[u8]) -> Result<Entry, JournalError> {
        let entry = decode(index, bytes)?;
        if entry.index != index {
            return Err(damaged(format!("entry {} says of itself that it is entry {}", index.0, entry.index.0)));
        }
        let begins = entry
            .events
            .iter()
            .any(|event| matches!(event, Event::Recovered { epoch, lineage, .. } if (*epoch, *lineage) == (entry.epoch, entry.lineage)));
        let begins_lineage =
            || entry.events.iter().any(|event| matches!(event, Event::LineageBegan { lineage, .. } if *lineage == entry.lineage));
        if let Some((lineage, epoch, last, at)) = self.last {
            let wrong = if index.0 != last.0 + 1 {
                Some(format!("it follows entry {}", last.0))
            } else if entry.moment.at < at {
                Some(format!("its lease time {} lies before {} of the entry before", entry.moment.at.0, at.0))
            } else if begins && entry.epoch <= epoch {
                Some(format!("it begins epoch {} after epoch {}", entry.epoch.0, epoch.0))
            } else if !begins && (entry.epoch != epoch || entry.lineage != lineage && !begins_lineage()) {
                Some(format!(
                    "it is of epoch {} of history {}, after epoch {} of history {lineage}, and begins none",
                    entry.epoch.0, entry.lineage, epoch.0
                ))
            } else {
                None
            };
            if let Some(wrong) = wrong {
                return Err(damaged(format!("entry {}: {wrong}", index.0)));
            }
        } else if !begins && (!self.anywhere || index.0 == 1) {
            // Otherwise the snapshot has said what came before.
            return Err(damaged(format!("entry {} begins no epoch", index.0)));
        }
        self.last = Some((entry.lineage, entry.epoch, index, entry.moment.at));
        Ok(entry)
    }

    /// Goes on after a snapshot.
    pub(crate) fn after(head: &StateRecord) -> Option<Self> {
        match head {
            StateRecord::Head { lineage, epoch, index, at, .. } => {
                Some(Self { last: Some((*lineage, *epoch, *index, *at)), anywhere: false })
            }
            _ => None,
        }
    }
}

/// The records of a snapshot, one chunk in memory at a time. An error ends the iteration and stays in `error`.
pub(crate) struct SnapshotRecords<'a> {
    journal: &'a mut dyn History,
    index: Index,
    chunks: u32,
    next: u32,
    ready: std::vec::IntoIter<StateRecord>,
    pub(crate) order: Order,
    pub(crate) error: Option<JournalError>,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

impl<'a> SnapshotRecords<'a> {
    pub(crate) fn new(journal: &'a mut dyn History, index: Index, chunks: u32) -> Self {
        Self { journal, index, chunks, next: 0, ready: Vec::new().into_iter(), order: Order::default(), error: None, count: 0, bytes: 0 }
    }

    /// Reads all chunks and gives each away, until it is not taken.
    fn give_all(&mut self, give: &mut dyn FnMut(Vec<StateRecord>) -> bool) {
        while self.next < self.chunks {
            match self.read() {
                Ok(records) => {
                    self.count += records.len() as u64;
                    if !give(records) {
                        return;
                    }
                }
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
    }

    fn read(&mut self) -> Result<Vec<StateRecord>, JournalError> {
        let number = self.next;
        let place = |error: String| damaged(format!("chunk {number} of the snapshot at entry {}: {error}", self.index.0));
        let bytes = self.journal.snapshot_chunk(self.index, number)?;
        if let Some(error) = newer(&bytes) {
            return Err(error);
        }
        let chunk = record::decode_chunk(&bytes).map_err(place)?;
        if (chunk.index, chunk.number) != (self.index, number) {
            return Err(place(format!("it says of itself that it is chunk {} of the snapshot at entry {}", chunk.number, chunk.index.0)));
        }
        if number == 0 {
            let order =
                chunk.records.first().and_then(Order::after).filter(|order| order.last.is_some_and(|(_, _, index, _)| index == self.index));
            self.order = order.ok_or_else(|| place("it does not begin with the place of the snapshot".to_owned()))?;
        }
        self.bytes += bytes.len() as u64;
        self.next += 1;
        Ok(chunk.records)
    }
}

impl Iterator for SnapshotRecords<'_> {
    type Item = StateRecord;

    fn next(&mut self) -> Option<StateRecord> {
        loop {
            if let Some(record) = self.ready.next() {
                self.count += 1;
                return Some(record);
            }
            if self.error.is_some() || self.next == self.chunks {
                return None;
            }
            match self.read() {
                Ok(records) => self.ready = records.into_iter(),
                Err(error) => self.error = Some(error),
            }
        }
    }
}
