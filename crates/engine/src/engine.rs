//! The engine's face.
//!
//! # The drain contract
//!
//! After **every** call of [`Engine::start`], [`Engine::submit`], [`Engine::handle`], [`Engine::pass`] and [`Engine::stop_holding`] the shell calls
//! [`Engine::poll`] until it says `None`, and carries out each effect in the order in which it came:
//!
//! | effect | the shell |
//! |---|---|
//! | [`Effect::Append`] | hands it to the journal, and reports [`Input::Committed`], [`Input::Full`], [`Input::Unknown`] or [`Input::Fenced`] |
//! | [`Effect::Confirm`] | makes sure that this server still leads, by something that began after the effect, and reports [`Input::Confirmed`] |
//! | [`Effect::Publish`] | shows the entry (if any), then the soft facts, then sends the answers |
//! | [`Effect::Fail`] | tells why there is no answer |
//! | [`Effect::Stopped`] | ends; nothing comes after it |
//!
//! Up to [`crate::limits::ENTRIES_IN_FLIGHT_MAX`] appends may be out at once, of consecutive entries. After `Full` or `Unknown` of one of them the shell drops those behind it
//! that it has not tried: the engine hands all of them out again, the same bytes in the same order, when their time has come.
//!
//! Before a pass the shell submits everything that has arrived, and reads the clocks after that: a lease may then only seem younger than it
//! is. [`Engine::wake_in_ms`] says when the next pass is wanted; a submit or a report wants one at once.

use std::sync::Arc;

use triquest_allocator::{Allocator, ClockReading, Epoch, Index, Moment, Room};
use triquest_journal::record::Entry;

use crate::{Answers, Heard, PassId, Position, Request, Start, Ticket, Why};

/// What the engine is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The journal holds this entry, and all before it.
    Committed(Index),
    /// This server led when the effect of this pass was carried out. Counts for all earlier passes too.
    Confirmed(PassId),
    /// Another server has taken over, or the journal cannot be used any more: nothing more is decided, and everybody who waits hears *unknown*.
    Fenced,
    /// There was no room for the first entry in flight: certainly nothing was written.
    Full,
    /// How much room there is.
    Room(Room),
    /// The server shall stop: what waits is decided, what comes is refused.
    Stop,
    /// Whether this entry is durable is not known.
    Unknown(Index),
}

/// What the shell shall do.
#[derive(Debug)]
pub enum Effect<T> {
    /// Make this entry durable at `expected_head` + 1.
    Append {
        /// Who writes: nothing of an earlier epoch may follow.
        fence: Epoch,
        /// Where the journal must end for this entry to follow.
        expected_head: Index,
        /// The entry.
        entry: Arc<Entry>,
    },
    /// Make sure that this server still leads.
    Confirm(PassId),
    /// There is no answer for this ticket.
    Fail(T, Why),
    /// Show what is durable, and answer.
    Publish {
        /// An entry that was committed, in order, each once.
        entry: Option<Arc<Entry>>,
        /// Soft facts.
        heard: Vec<Heard>,
        /// Who hears what.
        answers: Vec<(T, Answers)>,
    },
    /// All is answered that ever will be.
    Stopped,
}

/// Why the first entry of a start could not be decided: a contradiction between state and journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// What is wrong.
    pub message: String,
}

/// The driver without I/O.
#[derive(Debug)]
pub struct Engine<T> {
    allocator: Allocator,
    effects: std::collections::VecDeque<Effect<T>>,
    moment: Moment,
    room: Room,
}

impl<T: Ticket> Engine<T> {
    /// Begins an epoch on a state that was loaded from the journal. The first effect appends it; nothing is decided or answered before that is
    /// committed.
    ///
    /// # Errors
    /// [`StartError`]: the state refuses the new epoch.
    pub fn start(allocator: Allocator, reading: ClockReading, start: Start) -> Result<Self, StartError> {
        let _ = (reading, start);
        let moment = allocator.head_moment();
        Ok(Self { allocator, effects: std::collections::VecDeque::new(), moment, room: Room::Enough })
    }

    /// Takes a request, or refuses it: then its ticket comes back as [`Effect::Fail`].
    pub fn submit(&mut self, request: Request<T>) {
        self.effects.push_back(Effect::Fail(request.ticket, Why::Unknown));
    }

    /// Takes a report.
    pub fn handle(&mut self, input: Input) {
        let _ = input;
    }

    /// One pass: stamps it, answers the lane, handles what is due, decides the rest; at most one entry comes of it.
    pub fn pass(&mut self, reading: ClockReading) {
        let _ = reading;
    }

    /// The next effect.
    pub fn poll(&mut self) -> Option<Effect<T>> {
        self.effects.pop_front()
    }

    /// In how many milliseconds after the last pass the next is wanted, if nothing comes before. None: only a report helps.
    #[must_use]
    pub fn wake_in_ms(&self) -> Option<u64> {
        None
    }

    /// From now on no waiter's answer is held; those that are held are answered with their place.
    pub fn stop_holding(&mut self) {}

    /// The state, with everything that was decided, durable or not.
    #[must_use]
    pub fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// The time of the last pass.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// How much room there is.
    #[must_use]
    pub fn room(&self) -> Room {
        self.room
    }

    /// The last entry that was committed.
    #[must_use]
    pub fn committed(&self) -> Position {
        Position { lineage: self.allocator.lineage(), epoch: self.allocator.epoch(), index: self.allocator.index() }
    }

    /// The last entry that was handed out to be written: what a client can have seen at most, however late the reports are.
    #[must_use]
    pub fn handed_out(&self) -> Position {
        self.committed()
    }

    /// The reading of the wall clock that is not believed, unix milliseconds, while it is not.
    #[must_use]
    pub fn refused_wall_ms(&self) -> Option<i64> {
        None
    }
}
