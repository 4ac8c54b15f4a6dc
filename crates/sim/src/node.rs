//! A server without sockets and threads: the engine that the real one runs, a journal in memory, and the few lines of shell between them.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use triquest_allocator::{Allocator, ClockReading, Epoch, Event, Index, Safeguards, Timestamp};

use triquest_engine::{Answers, Effect, Engine, Input, PassId, Position, Request, Room, Start, Ticket as EngineTicket, Why};
use triquest_journal::{
    Appended, History, Journal, load,
    memory::{Fault, MemoryDisk, MemoryJournal},
    record::{Entry, encode_entry},
    snapshot::{self, Keep},
};

/// By which number the world knows a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

impl EngineTicket for Ticket {}

/// Entries that a reserve has room for.
const RESERVE_ENTRIES: u32 = 40;

/// What a node has done that the world must know.
#[derive(Debug)]
pub enum Out {
    /// An entry is on the disk, whatever its writer knows of it.
    Durable(Box<Durable>),
    /// A request has no answer.
    Fail(Ticket, Why),
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
    full: bool,
    /// Entries for which there was no room.
    refused: Vec<Arc<Entry>>,
    reserve: Option<u32>,
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
        safeguards: Safeguards,
        reading: ClockReading,
        start: Start,
        reserve: bool,
        real_ms: u64,
    ) -> Result<Self, String> {
        let mut journal = disk.open();
        let allocator = load(&mut journal, safeguards).map_err(|error| error.to_string())?;
        let durable = journal.head().index;
        let start = Start { lineage: journal.head().lineage, ..start };
        let engine = Engine::start(allocator, reading, start).map_err(|error| error.message)?;
        let mut node = Self {
            engine,
            journal,
            writes: VecDeque::new(),
            confirms: VecDeque::new(),
            passes: BTreeMap::new(),
            durable,
            full: false,
            refused: Vec::new(),
            reserve: reserve.then_some(RESERVE_ENTRIES),
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
        self.full || self.engine.room() != Room::Enough
    }

    /// The disk has no room, and what waits for it only changes times to live.
    #[must_use]
    pub fn only_changes_ttls(&self) -> bool {
        let mut events = self.refused.iter().flat_map(|entry| &entry.events);
        let changes = |event: &Event| matches!(event, Event::ClockMarked | Event::TtlLowered { .. } | Event::TtlRaised { .. });
        self.is_full() && !self.refused.is_empty() && events.all(changes)
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
        self.guard(|node| {
            node.engine.pass(reading);
            let full = node.full;
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
        let appended = match self.journal.append(write.fence, Index(write.index.0 - 1), &bytes) {
            Ok(appended) => appended,
            Err(error) => {
                self.out.push(Out::Broken(error.to_string()));
                return None;
            }
        };
        // Whatever the answer says: what is on the disk is durable.
        if appended != Appended::Fenced && self.journal.head().index == write.index && self.durable < write.index {
            self.durable = write.index;
            let (decided_ms, full) = self.passes.get(&write.entry.moment.at).copied().unwrap_or((self.real_ms, false));
            self.passes = self.passes.split_off(&write.entry.moment.at);
            let checksum = bytes.last_chunk().copied().unwrap_or_default();
            let durable = Durable { entry: Arc::clone(&write.entry), bytes: bytes.len(), checksum, decided_ms, full };
            self.out.push(Out::Durable(Box::new(durable)));
            if self.full
                && let Some(left) = &mut self.reserve
            {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.journal.disk().set_room_bytes(Some(0));
                }
            }
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
            Appended::Committed => self.report(Input::Committed(index)),
            Appended::Fenced => self.report(Input::Fenced),
            Appended::Unknown => self.report(Input::Unknown(index)),
            Appended::Full => {
                let room = match self.reserve {
                    Some(1..) if !self.full => {
                        self.journal.disk().set_room_bytes(None);
                        Room::Reserve
                    }
                    _ => Room::None,
                };
                self.full = true;
                self.report(Input::Full);
                self.report(Input::Room(room));
            }
        }
    }

    /// There is room again.
    pub fn room_again(&mut self) {
        self.journal.disk().set_room_bytes(None);
        if std::mem::take(&mut self.full) {
            self.reserve = self.reserve.map(|_| RESERVE_ENTRIES);
            self.report(Input::Room(Room::Enough));
        }
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
    pub fn snapshot(&mut self, safeguards: Safeguards, keep: u64) -> Result<(), String> {
        snapshot::make(&mut self.journal, safeguards, Keep { entries: keep, bytes: u64::MAX })
            .map(|_| ())
            .map_err(|error| error.to_string())
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

    /// The drain contract.
    fn drain(&mut self) {
        while let Some(effect) = self.engine.poll() {
            match effect {
                Effect::Append { fence, expected_head, entry } => {
                    let index = Index(expected_head.0 + 1);
                    self.writes.push_back(Write { fence, index, entry });
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
