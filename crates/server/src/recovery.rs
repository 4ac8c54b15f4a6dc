//! The start: read what is durable, begin a new epoch, make that durable, and only then answer anybody.

use std::{sync::Arc, time::Duration};

use triquest_allocator::{Allocator, CivilClock, Command, Epoch, Index, Instance, LeaseClock, Moment, Outcome, Safeguards};
use triquest_journal::{
    Appended, Counts, Journal, JournalError, JournalErrorKind, load_counted,
    record::{Entry, encode_entry},
};

use crate::{clock::Clock, feed, view::View};

/// How often an append whose outcome is not known is tried again before the start gives up.
const APPEND_TRIES_MAX: u32 = 50;
/// Pause between them.
const APPEND_RETRY: Duration = Duration::from_millis(100);

/// A state that may serve.
pub(crate) struct Recovered {
    pub(crate) allocator: Allocator,
    pub(crate) lease_clock: LeaseClock,
    pub(crate) civil_clock: CivilClock,
    /// The journal says that the wall clock is not believed.
    pub(crate) clock_held: bool,
    pub(crate) view: View,
    pub(crate) counts: Counts,
    pub(crate) entry: Entry,
}

/// Loads, decides `Recover`, appends it.
pub(crate) fn recover(
    journal: &mut dyn Journal,
    safeguards: Safeguards,
    clock: &Arc<dyn Clock>,
    instance: Instance,
    folder_ttl_max_ms: u64,
) -> Result<Recovered, JournalError> {
    let began = std::time::Instant::now();
    let head = journal.head();
    let (mut allocator, mut counts) = load_counted(journal, safeguards)?;
    let loaded = began.elapsed();

    let reading = clock.read();
    let before = allocator.head_moment();
    let mut lease_clock = LeaseClock::resume(before.at);
    let mut civil_clock = CivilClock::resume(before.wall_ms);
    let at = lease_clock.advance(reading);
    let (wall_ms, refused) = civil_clock.advance(reading);
    if let Some(refused) = refused {
        tracing::warn!(
            believed = crate::view::rfc3339(wall_ms),
            clock = crate::view::rfc3339(refused),
            "the wall clock is far from where this server left it and the kernel does not vouch for it; licenses neither begin nor end by it until it is synchronized or accepted"
        );
    }
    let moment = Moment { at, wall_ms };
    let epoch = Epoch(head.epoch.0 + 1);
    let command = Command::Recover { epoch, instance, lineage: head.lineage, folder_ttl_max_ms };
    let batch = allocator.decide_batch(moment, vec![((), command)]);
    if let Some(((), outcome)) = batch.outcomes.first()
        && *outcome != Outcome::Recovered
    {
        return Err(JournalError::new(
            JournalErrorKind::System,
            format!("a new epoch cannot begin: {outcome:?}"),
            "this is a defect of triquest-lm, please report it with the log",
        ));
    }
    let index = Index(head.index.0 + 1);
    let entry = Entry { lineage: head.lineage, epoch, index, moment, events: batch.events };
    let bytes = encode_entry(&entry);
    append(journal, &entry, &bytes)?;
    allocator.sealed(index);
    counts.tail_entries += 1;
    counts.tail_bytes += bytes.len() as u64;

    let clock_held = allocator.clock_refused().is_some();
    let view = View::new(Arc::clone(clock), feed::position(head.lineage, epoch, index), moment, allocator.snapshot()).map_err(|error| {
        JournalError::new(
            JournalErrorKind::Corrupt,
            format!("an installed license cannot be read: {error}"),
            "run `triquest-lm journal check`",
        )
    })?;
    tracing::info!(
        epoch = epoch.0,
        index = index.0,
        leases = allocator.leases(),
        load_ms = loaded.as_millis(),
        total_ms = began.elapsed().as_millis(),
        "recovered"
    );
    Ok(Recovered { allocator, lease_clock, civil_clock, clock_held, view, counts, entry })
}

/// Nothing may be answered before this entry is durable, so a start waits for it for a while. Nobody says when a disk knows again.
#[allow(clippy::disallowed_methods)]
fn append(journal: &mut dyn Journal, entry: &Entry, bytes: &[u8]) -> Result<(), JournalError> {
    for _ in 0..APPEND_TRIES_MAX {
        match journal.append(entry.epoch, entry.index, bytes)? {
            Appended::Committed => return Ok(()),
            Appended::Fenced => {
                return Err(JournalError::new(
                    JournalErrorKind::Locked,
                    "another server has taken over this journal",
                    "make sure that only one server uses this data directory",
                ));
            }
            Appended::Full if journal.release_reserve()? => {}
            Appended::Full => {
                return Err(JournalError::new(
                    JournalErrorKind::Full,
                    "the disk is full and there is no reserve left, so no epoch can begin",
                    "make room on the disk of the data directory and start again",
                ));
            }
            Appended::Unknown => std::thread::sleep(APPEND_RETRY),
        }
    }
    Err(JournalError::new(
        JournalErrorKind::System,
        "the journal does not confirm the first entry of this start",
        "see what the system says about the disk, then start again",
    ))
}
