//! Committed entries, for event streams: history from the journal by cursor, then live.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::watch;
use triquest_allocator::{Epoch, Index};
use triquest_journal::{
    History, JournalError, JournalErrorKind,
    record::{Entry, decode_entry},
    snapshot::Work,
};
use triquest_wire::{Lineage, Position, limits::EVENT_STREAM_BEHIND_MAX};

use crate::limits::{EVENT_PIECE_BYTES, RECENT_EVENTS_MAX};

/// Events after which one call hands out no further entry.
const EVENTS_PER_READ: usize = 256;

/// Fans committed entries out to any number of readers.
pub struct Feed {
    recent: Mutex<Recent>,
    head: watch::Sender<Position>,
    readers: Arc<AtomicUsize>,
    /// The last entry that was handed to the journal: an answer may name a point up to there before its entry comes here.
    handed_out: Box<dyn Fn() -> Position + Send + Sync>,
    journal: Box<dyn Fn(Work) + Send + Sync>,
}

#[derive(Default)]
struct Recent {
    entries: VecDeque<Arc<Entry>>,
    events: usize,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With what is committed from now on.
    Now,
    /// With the oldest entry that the journal keeps.
    Oldest,
    /// With what follows this entry. If it was just told and has not come here yet, the reader waits for it.
    After(Position),
}

/// Why nobody can read from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// What it asks for lies in the past, which is in the journal only.
    #[error("the entries after this cursor are in the journal only")]
    Past,
    /// The cursor is of another history, or ahead of this one.
    #[error("this history does not know the cursor")]
    CursorLost,
}

/// Why a reader gets no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// It fell behind the live stream. If it may read the journal, it may resume by cursor.
    #[error("the reader fell behind")]
    Behind,
    /// The entries after the cursor were truncated.
    #[error("the entries after this cursor are no longer kept")]
    CursorLost,
    /// The server stops.
    #[error("the server is stopping")]
    Stopping,
}

impl Feed {
    pub(crate) fn new(
        head: Position,
        handed_out: impl Fn() -> Position + Send + Sync + 'static,
        journal: impl Fn(Work) + Send + Sync + 'static,
    ) -> Self {
        Self {
            recent: Mutex::default(),
            head: watch::Sender::new(head),
            readers: Arc::default(),
            handed_out: Box::new(handed_out),
            journal: Box::new(journal),
        }
    }

    /// Whether this history knows this point, or is about to: up to the last entry that was handed to the journal somebody may have been told of it.
    #[must_use]
    pub fn knows(&self, position: Position) -> bool {
        let now = *self.head.borrow();
        if position.index <= now.index {
            let ahead = (position.epoch, position.index) > (now.epoch, now.index);
            return position.lineage == now.lineage && !ahead && (position.index < now.index || position.epoch == now.epoch);
        }
        let last = (self.handed_out)();
        (position.lineage, position.epoch) == (last.lineage, last.epoch) && position.index <= last.index
    }

    /// Hands out a committed entry.
    pub(crate) fn publish(&self, entry: &Arc<Entry>) {
        {
            let mut recent = self.recent.lock();
            if self.readers.load(Ordering::Relaxed) == 0 {
                recent.entries = VecDeque::new();
                recent.events = 0;
            } else {
                recent.events += entry.events.len();
                recent.entries.push_back(Arc::clone(entry));
                while recent.events > RECENT_EVENTS_MAX
                    && recent.entries.len() > 1
                    && let Some(oldest) = recent.entries.pop_front()
                {
                    recent.events -= oldest.events.len();
                }
            }
        }
        let position = Position { lineage: Lineage(entry.lineage.0), epoch: entry.epoch.0, index: entry.index.0 };
        self.head.send_replace(position);
    }

    /// A reader of all entries from there on. Whether they are still kept turns out when they are read.
    ///
    /// # Errors
    /// [`BeginError::CursorLost`].
    pub fn reader(self: &Arc<Self>, begin: Begin) -> Result<FeedReader, BeginError> {
        self.reader_of(begin, true)
    }

    /// The same for a reader that may not make the journal be read: it goes on from what is still in memory.
    ///
    /// # Errors
    /// [`BeginError`].
    pub fn live_reader(self: &Arc<Self>, begin: Begin) -> Result<FeedReader, BeginError> {
        self.reader_of(begin, false)
    }

    fn reader_of(self: &Arc<Self>, begin: Begin, history: bool) -> Result<FeedReader, BeginError> {
        let head = self.head.subscribe();
        let now = *head.borrow();
        let next = match begin {
            Begin::Now => now.index + 1,
            Begin::Oldest => OLDEST,
            Begin::After(after) if self.knows(after) => after.index + 1,
            Begin::After(_) => return Err(BeginError::CursorLost),
        };
        self.readers.fetch_add(1, Ordering::Relaxed);
        let reader = FeedReader { feed: Arc::clone(self), head, next, live: false, history };
        if !history && next <= now.index && reader.recent().is_none() {
            return Err(BeginError::Past);
        }
        Ok(reader)
    }
}

/// Stands for the oldest entry that is kept until the journal has said which that is: the first entry of all is 1.
const OLDEST: u64 = 0;

/// One reader.
pub struct FeedReader {
    feed: Arc<Feed>,
    head: watch::Receiver<Position>,
    /// The next entry to hand out, or [`OLDEST`].
    next: u64,
    /// It has been at the end.
    live: bool,
    /// It may read the journal.
    history: bool,
}

impl Drop for FeedReader {
    fn drop(&mut self) {
        self.feed.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FeedReader {
    /// The next entries in order, at least one; waits for the next commit at the end. Safe to cancel.
    ///
    /// # Errors
    /// [`FeedError`].
    pub async fn next(&mut self) -> Result<Vec<Arc<Entry>>, FeedError> {
        loop {
            let head = self.head.borrow_and_update().index;
            if self.next > head || head == 0 {
                self.live = true;
                self.head.changed().await.map_err(|_| FeedError::Stopping)?;
                continue;
            }
            if self.live && head - self.next >= EVENT_STREAM_BEHIND_MAX as u64 {
                return Err(FeedError::Behind);
            }
            let entries = match self.recent() {
                Some(entries) => entries,
                None if self.history => self.history(Index(head)).await?,
                // Those that it did not take in time are not kept for it.
                None => return Err(FeedError::Behind),
            };
            let Some(last) = entries.last() else { return Err(FeedError::CursorLost) };
            self.next = last.index.0 + 1;
            return Ok(entries);
        }
    }

    fn recent(&self) -> Option<Vec<Arc<Entry>>> {
        let recent = self.feed.recent.lock();
        let first = recent.entries.front()?.index.0;
        let skip = usize::try_from(self.next.checked_sub(first)?).ok()?;
        let mut events = 0;
        let mut few = |entry: &&Arc<Entry>| {
            let takes = events < EVENTS_PER_READ;
            events += entry.events.len();
            takes
        };
        let entries: Vec<_> = recent.entries.iter().skip(skip).take_while(|entry| few(entry)).cloned().collect();
        (!entries.is_empty()).then_some(entries)
    }

    /// Reads from the journal, but nothing that was not published yet.
    async fn history(&self, head: Index) -> Result<Vec<Arc<Entry>>, FeedError> {
        let from = Index(self.next);
        let (reply, answer) = tokio::sync::oneshot::channel();
        (self.feed.journal)(Box::new(move |journal: &mut dyn History| {
            // A reader that has left meanwhile is not read for.
            if !reply.is_closed() {
                let _ = reply.send(read(journal, from, head));
            }
        }));
        match answer.await.map_err(|_| FeedError::Stopping)? {
            Ok(entries) => Ok(entries),
            Err(error) if error.kind == JournalErrorKind::Missing => Err(FeedError::CursorLost),
            Err(error) => {
                tracing::error!(error = error.message, "events cannot be read back");
                Err(FeedError::Stopping)
            }
        }
    }
}

fn read(journal: &mut dyn History, from: Index, head: Index) -> Result<Vec<Arc<Entry>>, JournalError> {
    let mut entries = Vec::new();
    let from = if from.0 == OLDEST { journal.oldest()? } else { from };
    for (index, bytes) in journal.read(from, EVENT_PIECE_BYTES)? {
        if index > head {
            break;
        }
        let entry = decode_entry(&bytes).map_err(|error| {
            JournalError::new(JournalErrorKind::Corrupt, format!("entry {}: {error}", index.0), "run `triquest-lm journal check`")
        })?;
        entries.push(Arc::new(entry));
    }
    Ok(entries)
}

/// The position of an entry on the wire.
#[must_use]
pub fn position(lineage: triquest_allocator::Lineage, epoch: Epoch, index: Index) -> Position {
    Position { lineage: Lineage(lineage.0), epoch: epoch.0, index: index.0 }
}
