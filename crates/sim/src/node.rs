//! A server without sockets and threads: the engine that the real one runs, a journal in memory, and the few lines of shell between them.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use triquest_allocator::{Allocator, ClockReading, Epoch, Event, Index, LeaseId, Rules, Timestamp};

use triquest_engine::{
    Answers, Effect, Engine, Input, MayWrite, PassId, Position, Request, Start, Ticket as EngineTicket, Why, limits::QueueLimits,
};
use triquest_journal::{
    Appended, History, Journal, Room, load,
    memory::{Fault, MemoryDisk, MemoryJournal},
    record::{Entry, encode_entry},
    snapshot::{self, Keep},
};

/// By which number the world knows a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

impl EngineTicket for Ticket {}

/// How often the disk is asked how much room there is, milliseconds.
const ROOM_LOOK_MS: u64 = 1_000;

/// What a node has done that the world must know.
#[derive(Debug)]
pub enum Out {
    /// An entry is on the disk, whatever its writer knows of it.
    Durable(Box<Durable>),
    /// A request has no answer.
    Fail(Ticket, Why),
    /// This entry did not fit, although nobody else has taken room since its server was told how much there is.
    DoesNotFit(Index),
    /// Answers leave.
    Publish(Vec<(Ticket, Answers)>),
    /// It has ended by itself.
    Ended,
    /// It cannot go on: what it decided contradicts its state.
    Broken(String),
}

/// An entry on the disk.
#[derive(Debug)]
pub struct Durable {
    /// The entry.
    pub entry: Arc<Entry>,
    /// Its length.
    pub bytes: usize,
    /// Its checksum.
    pub checksum: [u8; 8],
    /// Real time of the pass that decided it.
    pub decided_ms: u64,
    /// Whether the disk was full then.
    pub full: bool,
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// A server that is broken on purpose stops by a panic, which its world notes: nothing is printed of it. Call once, at the start of a program.
pub fn quiet_panics() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !GUARDED.get() {
            loud(panic);
        }
    }));
}

struct Write {
    fence: Epoch,
    index: Index,
    entry: Arc<Entry>,
    /// What its server knew of the room when it was handed out first.
    knew: Option<u64>,
}

/// A running server.
pub struct Node {
    engine: Engine<Ticket>,
    journal: MemoryJournal,
    writes: VecDeque<Write>,
    confirms: VecDeque<PassId>,
    /// Real time of the first pass at each of the last lease times, and whether the disk was full then.
    passes: BTreeMap<Timestamp, (u64, bool)>,
    /// The entry up to which the world knows that all is durable.
    durable: Index,
    /// Entries for which there was no room.
    refused: Vec<Arc<Entry>>,
    /// What it was told of the room, ...
    told: Option<Room>,
    /// ... when the room had become less so often, ...
    told_shrinks: Option<u64>,
    /// ... when, ...
    looked_ms: u64,
    /// ... and what was taken since.
    taken_bytes: u64,
    /// For each entry handed out, what was known of the room then.
    knew: BTreeMap<Index, Option<u64>>,
    /// Of the last entry that the disk took.
    last_bytes: usize,
    /// A fault to be shown: the engine is told that an entry is durable as soon as it hands it out.
    hasty: bool,
    real_ms: u64,
    out: Vec<Out>,
}

impl Node {
    /// Opens the disk, loads what is on it, and begins an epoch.
    ///
    /// # Errors
    /// What cannot be loaded.
    pub fn start(
        disk: &MemoryDisk,
        rules: Rules,
        queues: QueueLimits,
        reading: ClockReading,
        start: Start,
        real_ms: u64,
    ) -> Result<Self, String> {
        let mut journal = disk.open();
        let allocator = load(&mut journal, rules).map_err(|error| error.to_string())?;
        let durable = journal.head().index;
        let start = Start { lineage: journal.head().lineage, ..start };
        let engine = Engine::start(allocator, reading, start).map_err(|error| error.message)?.with_limits(queues);
        let mut node = Self {
            engine,
            journal,
            writes: VecDeque::new(),
            confirms: VecDeque::new(),
            passes: BTreeMap::new(),
            durable,
            refused: Vec::new(),
            told: None,
            told_shrinks: None,
            looked_ms: 0,
            taken_bytes: 0,
            knew: BTreeMap::new(),
            last_bytes: 0,
            hasty: false,
            real_ms,
            out: Vec::new(),
        };
        node.passes.insert(node.engine.moment().at, (real_ms, false));
        node.drain();
        Ok(node)
    }

    /// From now on it answers before anything is durable.
    pub fn be_hasty(&mut self) {
        self.hasty = true;
        let handed_out: Vec<Index> = self.writes.iter().map(|write| write.index).collect();
        for index in handed_out {
            self.report(Input::Committed(index));
        }
    }

    /// The state.
    #[must_use]
    pub fn allocator(&self) -> &Allocator {
        self.engine.allocator()
    }

    /// Whether everything that was decided is durable.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.writes.is_empty() && self.engine.handed_out().index == self.durable && self.engine.allocator().index() == self.durable
    }

    /// Whether the disk is full, as far as the engine was told.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.engine.may_write() != MayWrite::All
    }

    /// Everything that it decides can be written, as far as the engine was told, and nothing waits that did not fit: a quota shows only when it
    /// refuses, so a start on a full disk is told again and again that there is room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.is_full() && self.refused.is_empty()
    }

    /// The engine was told that not even the reserve is whole, or was refused since.
    fn knows_full(&self) -> bool {
        self.told.is_some_and(|told| told.left_bytes == 0 || told.left_bytes < told.reserve_bytes)
    }

    /// The disk has no room, and nothing that waits for it changes what this lease is promised: at most another time to live.
    #[must_use]
    pub fn owes_an_answer_about(&self, lease: LeaseId) -> bool {
        let writes = self.writes.iter().map(|write| &write.entry);
        let mut events = self.refused.iter().chain(writes).flat_map(|entry| &entry.events);
        self.is_full()
            && events.all(|event| match event {
                Event::ClockMarked | Event::TtlLowered { .. } | Event::TtlRaised { .. } => true,
                Event::Denied { lease: other, .. }
                | Event::Dequeued { lease: other, .. }
                | Event::Ended { lease: other, .. }
                | Event::Ending { lease: other, .. }
                | Event::Granted { lease: other, .. }
                | Event::Heard { lease: other }
                | Event::Queued { lease: other, .. }
                | Event::Released { lease: other, .. }
                | Event::ReleasedUnknown { lease: other, .. }
                | Event::WaiterHeard { lease: other } => *other != lease,
                _ => false,
            })
    }

    /// The last entry that may have been seen by anybody.
    #[must_use]
    pub fn handed_out(&self) -> Position {
        self.engine.handed_out()
    }

    /// Lease time of the last pass.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.engine.moment().at
    }

    /// When to pass again.
    #[must_use]
    pub fn wake_in_ms(&self) -> Option<u64> {
        self.engine.wake_in_ms()
    }

    /// Something waits for the disk.
    #[must_use]
    pub fn writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Nothing is left to do: nothing is being written or waits for a pass, and there is room for everything.
    #[must_use]
    pub fn has_done_all(&self) -> bool {
        let writes = self.writes() || self.engine.handed_out() != self.engine.committed();
        !writes && !self.confirms() && self.engine.wake_in_ms() != Some(0) && self.engine.may_write() == MayWrite::All
    }

    /// A pass waits to be confirmed.
    #[must_use]
    pub fn confirms(&self) -> bool {
        !self.confirms.is_empty()
    }

    /// What has happened.
    pub fn take(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// The next append meets this.
    pub fn inject(&mut self, fault: Fault) {
        self.journal.inject([fault]);
    }

    /// A request arrives.
    pub fn submit(&mut self, request: Request<Ticket>) {
        self.guard(|node| node.engine.submit(request));
    }

    /// One pass.
    pub fn pass(&mut self, reading: ClockReading, real_ms: u64) {
        self.real_ms = real_ms;
        if self.looked_ms + ROOM_LOOK_MS <= real_ms {
            self.look();
        }
        self.guard(|node| {
            let full = node.knows_full();
            node.engine.pass(reading);
            node.passes.entry(node.engine.moment().at).or_insert((real_ms, full)).1 &= full;
        });
    }

    /// A report.
    pub fn report(&mut self, input: Input) {
        self.guard(|node| node.engine.handle(input));
    }

    /// The disk takes what comes first. Says what it answered, and whether the engine may hear of it now.
    pub fn append(&mut self) -> Option<Appended> {
        let write = self.writes.pop_front()?;
        let bytes = encode_entry(&write.entry);
        let append = |journal: &mut MemoryJournal| journal.append(write.fence, Index(write.index.0 - 1), &bytes);
        let appended = append(&mut self.journal).and_then(|appended| match appended {
            Appended::Full if self.journal.release_reserve()? => append(&mut self.journal),
            appended => Ok(appended),
        });
        let appended = match appended {
            Ok(appended) => appended,
            Err(error) => {
                self.out.push(Out::Broken(error.to_string()));
                return None;
            }
        };
        if appended == Appended::Full && write.knew == Some(self.journal.disk().shrinks()) {
            self.out.push(Out::DoesNotFit(write.index));
        }
        self.last_bytes = bytes.len();
        // Whatever the answer says: what is on the disk is durable.
        if appended != Appended::Fenced && self.journal.head().index == write.index && self.durable < write.index {
            self.durable = write.index;
            let (decided_ms, full) = self.passes.get(&write.entry.moment.at).copied().unwrap_or((self.real_ms, false));
            self.passes = self.passes.split_off(&write.entry.moment.at);
            let checksum = bytes.last_chunk().copied().unwrap_or_default();
            let durable = Durable { entry: Arc::clone(&write.entry), bytes: bytes.len(), checksum, decided_ms, full };
            self.out.push(Out::Durable(Box::new(durable)));
        }
        if matches!(appended, Appended::Full | Appended::Unknown) {
            // Those behind it come again from the engine.
            let behind = std::mem::take(&mut self.writes);
            self.refused = std::iter::once(write).chain(behind).map(|write| write.entry).collect();
        } else {
            self.refused.clear();
        }
        Some(appended)
    }

    /// Tells the engine what the disk answered for its last entry.
    pub fn tell(&mut self, appended: Appended, index: Index) {
        match appended {
            Appended::Committed => {
                let refused = self.told.is_some_and(|told| told.left_bytes == 0);
                let entry_bytes = self.last_bytes;
                self.taken_bytes += Room::taken_by(entry_bytes);
                self.report(Input::Committed(index));
                self.knew.retain(|handed_out, _| *handed_out > index);
                let after_bytes = self.told.map_or(0, |told| (told.left_bytes / 16).max(64 * 1024));
                if refused || self.taken_bytes >= after_bytes {
                    self.look();
                }
            }
            Appended::Fenced => self.report(Input::Fenced),
            Appended::Unknown => self.report(Input::Unknown(index)),
            Appended::Full => {
                self.told = self.told.map(|told| Room { left_bytes: 0, ..told });
                self.report(Input::Full);
            }
        }
    }

    /// Asks the disk how much room there is, and tells the engine. Not while the outcome of an append is on its way to the engine: what was
    /// written is counted once.
    pub fn look(&mut self) {
        self.looked_ms = self.real_ms;
        let _ = self.journal.restore_reserve();
        let Ok(room) = self.journal.room() else { return };
        let shrinks = self.journal.disk().shrinks();
        self.taken_bytes = 0;
        self.told = Some(room);
        self.report(Input::Room(room));
        // A quota shows only when it refuses, and then not how much it leaves.
        self.told_shrinks = (room.left_bytes < u64::MAX && self.journal.disk().tells_room()).then_some(shrinks);
    }

    /// Which entry waits first for the disk.
    #[must_use]
    pub fn next_write(&self) -> Option<Index> {
        self.writes.front().map(|write| write.index)
    }

    /// All passes that wait are confirmed, or refused because another server leads.
    pub fn confirm(&mut self, leads: bool) {
        while let Some(pass) = self.confirms.pop_front() {
            self.report(if leads { Input::Confirmed(pass) } else { Input::Fenced });
        }
    }

    /// Makes a snapshot of what is durable and drops the entries before it.
    ///
    /// # Errors
    /// What was wrong.
    pub fn snapshot(&mut self, rules: Rules, keep: u64) -> Result<(), String> {
        snapshot::make(&mut self.journal, rules, Keep { entries: keep, bytes: u64::MAX }).map(|_| ()).map_err(|error| error.to_string())
    }

    fn guard(&mut self, act: impl FnOnce(&mut Self)) {
        GUARDED.set(true);
        let done = catch_unwind(AssertUnwindSafe(|| {
            act(self);
            self.drain();
        }));
        GUARDED.set(false);
        if let Err(panic) = done {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
            self.out.push(Out::Broken(text.unwrap_or_default()));
        }
    }

    /// The polling contract.
    fn drain(&mut self) {
        while let Some(effect) = self.engine.poll() {
            match effect {
                Effect::Append { fence, expected_head, entry } => {
                    let index = Index(expected_head.0 + 1);
                    let knew = *self.knew.entry(index).or_insert(self.told_shrinks);
                    self.writes.push_back(Write { fence, index, entry, knew });
                    if self.hasty {
                        self.engine.handle(Input::Committed(index));
                    }
                }
                Effect::Confirm(pass) => self.confirms.push_back(pass),
                Effect::Publish { entry: _, heard: _, answers } => self.out.push(Out::Publish(answers)),
                Effect::Fail(ticket, why) => self.out.push(Out::Fail(ticket, why)),
                Effect::Stopped => self.out.push(Out::Ended),
            }
        }
    }
}
