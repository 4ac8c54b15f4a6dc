//! The start: read what is durable, begin a new epoch, make that durable, and only then answer anybody.

use std::{sync::Arc, time::Duration};

use triquest_allocator::{Instance, Safeguards};
use triquest_engine::{Effect, Engine, Input, MayWrite, Room, Start, limits::ROOM_AGAIN_BYTES};
use triquest_journal::{
    Appended, Counts, Journal, JournalError, JournalErrorKind, load_counted,
    record::{Entry, encode_entry},
};
use triquest_wire::text::size;

use crate::{clock::Clock, feed, ticket::Ticket, view::View};

/// How often an append whose outcome is not known is tried again before the start gives up.
const APPEND_TRIES_MAX: u32 = 50;
/// Pause between them.
const APPEND_RETRY: Duration = Duration::from_millis(100);

/// A state that may serve.
pub(crate) struct Recovered {
    pub(crate) engine: Engine<Ticket>,
    pub(crate) view: View,
    pub(crate) counts: Counts,
    /// The entry that began the epoch.
    pub(crate) entry: Arc<Entry>,
}

/// Loads, begins the epoch, makes that durable.
pub(crate) fn recover(
    journal: &mut dyn Journal,
    safeguards: Safeguards,
    clock: &Arc<dyn Clock>,
    instance: Instance,
    folder_ttl_max_ms: u64,
) -> Result<Recovered, JournalError> {
    let began = std::time::Instant::now();
    let head = journal.head();
    let (allocator, mut counts) = load_counted(journal, safeguards)?;
    let loaded = began.elapsed();

    let reading = clock.read();
    let start = Start { lineage: head.lineage, instance: instance.0, folder_ttl_max_ms };
    let mut engine = Engine::start(allocator, reading, start).map_err(|error| {
        JournalError::new(JournalErrorKind::System, error.message, "this is a defect of triquest-lm, please report it with the log")
    })?;
    if let Some(refused) = engine.refused_wall_ms() {
        tracing::warn!(
            believed = crate::view::rfc3339(engine.moment().wall_ms),
            clock = crate::view::rfc3339(refused),
            "the wall clock is far from where this server left it and the kernel does not vouch for it; licenses neither begin nor end by it until it is synchronized or accepted"
        );
    }
    let Some(Effect::Append { entry, .. }) = engine.poll() else {
        return Err(JournalError::new(JournalErrorKind::System, "a start has no first entry", "this is a defect of triquest-lm"));
    };
    // All that can fail comes before the entry: each start that gets as far is one more in history.
    let position = feed::position(entry.lineage, entry.epoch, entry.index);
    let view = View::new(Arc::clone(clock), position, engine.moment(), engine.allocator().snapshot()).map_err(|error| {
        JournalError::new(
            JournalErrorKind::Corrupt,
            format!("an installed license cannot be read: {error}"),
            "run `triquest-lm journal check`",
        )
    })?;
    let bytes = encode_entry(&entry);
    append(journal, &entry, &bytes)?;
    engine.handle(Input::Committed(entry.index));
    // Nobody has asked yet, so all that it says is that the entry is durable.
    while engine.poll().is_some() {}
    // The journal's thread tries again once a second, and no answer needs either.
    if let Err(error) = journal.restore_reserve() {
        tracing::warn!(hint = error.hint, "{}", error.message);
    }
    if let Ok(room) = journal.room() {
        engine.handle(Input::Room(room));
    }
    if engine.may_write() != MayWrite::All {
        tracing::warn!("{}", triquest_wire::status::FullDisk::FULL);
    }
    counts.tail_entries += 1;
    counts.tail_bytes += bytes.len() as u64;

    tracing::info!(
        epoch = entry.epoch.0,
        index = entry.index.0,
        leases = engine.allocator().leases(),
        load_ms = loaded.as_millis(),
        total_ms = began.elapsed().as_millis(),
        "recovered"
    );
    Ok(Recovered { engine, view, counts, entry })
}

/// Nothing may be answered before this entry is durable, so a start waits for it for a while. Nobody says when a disk knows again.
#[allow(clippy::disallowed_methods)]
fn append(journal: &mut dyn Journal, entry: &Entry, bytes: &[u8]) -> Result<(), JournalError> {
    let expected_head = triquest_allocator::Index(entry.index.0 - 1);
    for _ in 0..APPEND_TRIES_MAX {
        match journal.append(entry.epoch, expected_head, bytes)? {
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
                let Room { left_bytes, reserve_bytes } = journal.room()?;
                let (left, needs, reserve) = (size(left_bytes), size(reserve_bytes.saturating_add(ROOM_AGAIN_BYTES)), size(reserve_bytes));
                return Err(JournalError::new(
                    JournalErrorKind::Full,
                    format!(
                        "the disk is full and the reserve is used up, so the server cannot start: {left} left, the reserve counted; grants begin again \
                         at {needs}, {reserve} of it for the reserve"
                    ),
                    "make room on the file system of the data directory, then start again",
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
