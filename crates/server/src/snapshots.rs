//! When a snapshot is due, and the thread that makes one while everything goes on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use triquest_allocator::Safeguards;
use triquest_journal::{
    Counts, JournalErrorKind,
    snapshot::{self, Keep, Remote, Work},
};
use triquest_wire::limits::{JOURNAL_KEPT_BYTES_MAX, SNAPSHOT_ENTRIES};

/// What stays in the journal behind a snapshot, for readers of events who come back.
const KEEP: Keep = Keep { entries: SNAPSHOT_ENTRIES, bytes: JOURNAL_KEPT_BYTES_MAX };

/// Counts what was appended since the last snapshot and starts the next.
pub(crate) struct Snapshots {
    safeguards: Safeguards,
    tail: Arc<Tail>,
}

struct Tail {
    entries: AtomicU64,
    bytes: AtomicU64,
    snapshot_bytes: AtomicU64,
    running: AtomicBool,
}

impl Snapshots {
    pub(crate) fn new(safeguards: Safeguards, counts: Counts) -> Self {
        let tail = Tail {
            entries: AtomicU64::new(counts.tail_entries),
            bytes: AtomicU64::new(counts.tail_bytes),
            snapshot_bytes: AtomicU64::new(counts.snapshot_bytes),
            running: AtomicBool::new(false),
        };
        Self { safeguards, tail: Arc::new(tail) }
    }

    /// Notes an appended entry of so many bytes; starts a thread if a snapshot is due and none is being made.
    pub(crate) fn appended(&self, bytes: u64, send: impl FnOnce() -> Box<dyn FnMut(Work) -> bool + Send>) {
        let entries = self.tail.entries.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.tail.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let snapshot_bytes = self.tail.snapshot_bytes.load(Ordering::Relaxed);
        // Many small entries load quickly, but each costs a row.
        let due = snapshot::is_due(bytes, snapshot_bytes) || entries >= SNAPSHOT_ENTRIES && bytes >= snapshot_bytes / 4;
        if due && !self.tail.running.swap(true, Ordering::AcqRel) {
            self.make(send());
        }
    }

    fn make(&self, send: Box<dyn FnMut(Work) -> bool + Send>) {
        let (tail, safeguards) = (Arc::clone(&self.tail), self.safeguards.clone());
        let (entries, bytes) = (tail.entries.load(Ordering::Relaxed), tail.bytes.load(Ordering::Relaxed));
        let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let began = std::time::Instant::now();
            let made = Remote::new(send).and_then(|mut journal| snapshot::make(&mut journal, safeguards, KEEP));
            match made {
                Ok(Some(made)) => {
                    tracing::info!(index = made.index.0, bytes = made.bytes, ms = began.elapsed().as_millis(), "made a snapshot");
                    tail.snapshot_bytes.store(made.bytes, Ordering::Relaxed);
                }
                Ok(None) => {}
                Err(error) if error.kind == JournalErrorKind::Full => {
                    tracing::warn!("no room for a snapshot; the last one stays in force");
                }
                Err(error) => tracing::error!(error = error.message, hint = error.hint, "no snapshot could be made"),
            }
            // Whether it worked or not, the next is due after as much again.
            tail.entries.fetch_sub(entries, Ordering::Relaxed);
            tail.bytes.fetch_sub(bytes, Ordering::Relaxed);
            tail.running.store(false, Ordering::Release);
        });
        if let Err(error) = thread {
            tracing::error!(%error, "no thread for a snapshot");
            self.tail.running.store(false, Ordering::Release);
        }
    }
}
