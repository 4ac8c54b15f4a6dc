//! The engine's face.
//!
//! # The polling contract
//!
//! Effects wait in their order until the shell takes them. It calls [`Engine::poll`] until that says `None`, and carries out each effect in the order in
//! which it came: after [`Engine::start`], after each report of what became of an effect ([`Engine::handle`]), and before and after each [`Engine::pass`].
//! Any number of [`Engine::submit`], [`Engine::waited`], [`Engine::stop_holding`] and [`Input::Stop`] may come before the next of these.
//!
//! | effect | the shell |
//! |---|---|
//! | [`Effect::Append`] | hands it to the journal, and reports [`Input::Committed`], [`Input::Full`], [`Input::Unknown`] or [`Input::Fenced`] |
//! | [`Effect::Confirm`] | makes sure that this server still leads, by something that began after the effect, and reports [`Input::Confirmed`] |
//! | [`Effect::Publish`] | shows the entry (if any), then sends the answers; shows the soft facts, which may follow the answers |
//! | [`Effect::Fail`] | tells why there is no answer |
//! | [`Effect::Stopped`] | ends; nothing comes after it |
//!
//! Up to [`crate::limits::ENTRIES_IN_FLIGHT_MAX`] appends may be out at once, of consecutive entries. After `Full` or `Unknown` of one of them the shell drops those behind it
//! that it has not tried: the engine hands all of them out again, the same bytes in the same order, when their time has come.
//!
//! Before a pass the shell submits everything that has arrived, and reads the clocks after that: a lease may then only seem younger than it
//! is. [`Engine::wake_in_ms`] says when the next pass is wanted; a submit or a report wants one at once.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use triquest_allocator::{
    Allocator, CivilClock, ClockReading, Command, Epoch, Event, Index, LeaseClock, LeaseId, Moment, Outcome, PassPlan, Sign, Standing,
    Timestamp, Tried, Waits,
    limits::{ENTRY_BYTES_MAX, ENTRY_BYTES_MIN},
};
use triquest_journal::{Room, record::Entry};

use crate::{
    Answer, Answers, Asked, Heard, Origin, PassId, Position, Request, Start, Ticket, TookEffect, Why,
    lane::{InLane, Lane, LaneAsk, Part},
    limits::{
        APPEND_RETRY_MS, DISK_HANGS_MS, ENTRIES_IN_FLIGHT_MAX, ENTRY_HEAD_BYTES_MAX, QueueLimits, ROOM_AGAIN_BYTES, ROOM_FOR_ALL_BYTES,
        ROOM_FOR_ANY_BYTES, TICK_MS_MAX, TICK_MS_MIN,
    },
    queues::{Asker, Batches, Kind, Queued, Queues},
    writing::{Leaving, Ready, Writing},
};

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
    /// How much can still be appended, behind the last entry of which the journal has said what became of it. The engine counts from there.
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

/// What there is room to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayWrite {
    /// Everything.
    All,
    /// What the reserve is kept for: renewals and repeats of leases and waiters, releases of ids that are known, ends of presence connections,
    /// administration but for installing licenses. Nothing is granted, nothing that is due ends, and lines stand still.
    Reserved,
    /// Nothing at all. What needs no entry goes on.
    Nothing,
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
    lease_clock: LeaseClock,
    civil_clock: CivilClock,
    /// The last reading.
    reading: ClockReading,
    moment: Moment,
    refused_wall_ms: Option<i64>,
    pass: PassId,

    lane: Lane<T>,
    queues: Queues<T>,
    limits: QueueLimits,
    batches: Batches<T>,
    /// Waiters whose place has changed or whose hold time is over: decided again before anything newer.
    again: VecDeque<Queued<T>>,
    held: BTreeMap<LeaseId, Held<T>>,
    /// When each of them is answered at the latest.
    holds: BTreeSet<(u64, LeaseId)>,
    /// The wall clock made a step that is to be written down.
    stepped: Option<Command>,

    writing: Writing<T>,
    effects: VecDeque<Effect<T>>,
    /// When the entries in flight are handed out again, by the boot clock.
    retry_at_ms: Option<u64>,
    /// What the shell said of the room, less what was committed since.
    room: Room,
    may_write: MayWrite,
    /// The journal refused an entry for want of room, and has not taken it since.
    full: bool,

    started: bool,
    holding: bool,
    stopping: bool,
    stopped: bool,
    /// Empty between passes; kept for its memory.
    decided: Vec<Decided<T>>,
}

/// A waiter whose answer is held.
#[derive(Debug)]
struct Held<T> {
    waiting: Queued<T>,
    outcome: Outcome,
    /// When its place was found.
    pass: PassId,
    moment: Moment,
    /// The entry that its place depends on.
    after: Option<Index>,
}

/// A command that this pass decided.
#[derive(Debug)]
struct Decided<T> {
    asker: Asker<T>,
    outcome: Outcome,
    lease: Option<LeaseId>,
    idle_ms: Option<u64>,
    /// What to hold and decide again, if the answer is to be held.
    holds: Option<(Box<Command>, Origin, u64)>,
}

impl<T: Ticket> Engine<T> {
    /// Begins an epoch on a state that was loaded from the journal. The first effect appends it; nothing is decided or answered before that is
    /// committed.
    ///
    /// # Errors
    /// [`StartError`]: the state refuses the new epoch.
    pub fn start(mut allocator: Allocator, reading: ClockReading, start: Start) -> Result<Self, StartError> {
        let before = allocator.head_moment();
        let mut lease_clock = LeaseClock::resume(before.at);
        let mut civil_clock = CivilClock::resume(before.wall_ms);
        let at = lease_clock.advance(reading);
        let (wall_ms, refused_wall_ms) = civil_clock.advance(reading);
        let moment = Moment { at, wall_ms };
        let committed = allocator.index();
        let held = allocator.clock_refused().is_some();
        let command = Command::Recover {
            epoch: Epoch(allocator.epoch().0 + 1),
            instance: triquest_allocator::Instance(start.instance),
            lineage: start.lineage,
            folder_ttl_max_ms: start.folder_ttl_max_ms,
        };
        let batch = allocator.decide_batch(moment, vec![((), command)]);
        match batch.outcomes.first() {
            Some(((), Outcome::Recovered)) => {}
            other => return Err(StartError { message: format!("a new epoch cannot begin: {other:?}") }),
        }
        let limits = QueueLimits::default();
        let mut engine = Self {
            allocator,
            lease_clock,
            civil_clock,
            reading,
            moment,
            refused_wall_ms,
            pass: PassId(0),
            lane: Lane::new(),
            queues: Queues::new(limits),
            limits,
            batches: Batches::new(),
            again: VecDeque::new(),
            held: BTreeMap::new(),
            holds: BTreeSet::new(),
            stepped: (refused_wall_ms.is_some() != held)
                .then_some(Command::StepClock { to_ms: refused_wall_ms.unwrap_or(wall_ms), believed: refused_wall_ms.is_none() }),
            writing: Writing::new(committed, start.lineage),
            effects: VecDeque::new(),
            retry_at_ms: None,
            room: Room::UNLIMITED,
            may_write: MayWrite::All,
            full: false,
            started: false,
            holding: true,
            stopping: false,
            stopped: false,
            decided: Vec::new(),
        };
        let lineage = engine.allocator.lineage();
        engine.write(lineage, batch.events, Vec::new());
        Ok(engine)
    }

    /// The same with other limits, before anything came in.
    #[must_use]
    pub fn with_limits(mut self, limits: QueueLimits) -> Self {
        self.limits = limits;
        self.queues = Queues::new(limits);
        self
    }

    // In.

    /// Takes a request, or refuses it: then its ticket comes back as [`Effect::Fail`].
    pub fn submit(&mut self, request: Request<T>) {
        let Request { ticket, origin, arrived_ms, asked, hold_ms } = request;
        asked.whole_commands().iter().for_each(|command| self.note_proof(command));
        if self.stopping || self.stopped {
            let effect = self.effect_of(&asked);
            return self.effects.push_back(Effect::Fail(ticket, Why::Stopping(effect)));
        }
        // What of it goes to the lane; the rest must be admitted to the ordinary queue.
        let mut lane: Vec<Option<LaneAsk>> = Vec::new();
        let first = match &asked {
            Asked::Renew(renewal) => self.for_the_lane(LaneAsk::Renew(*renewal)),
            Asked::One(command) => LaneAsk::of(command).and_then(|ask| self.for_the_lane(ask)),
            Asked::Many(commands) => {
                lane.extend(commands.iter().map(|command| LaneAsk::of(command).and_then(|ask| self.for_the_lane(ask))));
                None
            }
        };
        let (repeats, others) = match &asked {
            Asked::Many(commands) => {
                let ordinary = commands.iter().zip(&lane).filter(|(_, ask)| ask.is_none());
                let (repeats, others): (Vec<_>, Vec<_>) = ordinary.partition(|(command, _)| self.is_repeat(command));
                (repeats.len(), others.len())
            }
            Asked::One(command) if first.is_none() && self.is_repeat(command) => (1, 0),
            Asked::One(_) | Asked::Renew(_) => (0, usize::from(first.is_none())),
        };
        if !self.queues.admits(&origin, Kind::Repeat, repeats) || !self.queues.admits(&origin, Kind::Other, others) {
            for command in asked.whole_commands() {
                self.allocator.comes_in_vain(command);
                self.allocator.owes_a_hearing(command);
            }
            let effect = self.effect_of(&asked);
            return self.effects.push_back(Effect::Fail(ticket, Why::Overloaded(effect)));
        }
        if let Some(ask) = first {
            return self.push_lane(Asker::One(ticket), ask, arrived_ms);
        }
        match asked {
            Asked::Renew(renewal) => {
                self.push(Asker::One(ticket), Box::new(renewal.into()), origin, arrived_ms, 0);
            }
            Asked::One(command) => {
                let hold_until_ms = if hold_ms > 0 && self.holding { arrived_ms.saturating_add(hold_ms) } else { 0 };
                self.push(Asker::One(ticket), command, origin, arrived_ms, hold_until_ms);
            }
            Asked::Many(commands) if commands.is_empty() => {
                let answers = vec![(ticket, Answers::Many(Vec::new()))];
                self.effects.push_back(Effect::Publish { entry: None, heard: Vec::new(), answers });
            }
            Asked::Many(commands) => {
                let batch = self.batches.open(ticket, commands.len());
                for (number, (command, ask)) in commands.into_iter().zip(lane).enumerate() {
                    let asker = Asker::Part { batch, number };
                    match ask {
                        Some(ask) => self.push_lane(asker, ask, arrived_ms),
                        None => self.push(asker, Box::new(command), origin, arrived_ms, 0),
                    }
                }
            }
        }
    }

    /// What proves that history was lost counts from its arrival, whatever comes before its turn and whether it can be written: nothing is granted from
    /// then on.
    fn note_proof(&mut self, command: &Command) {
        if let Command::Adopt { lease, shown, next_lineage, .. } = command
            && self.allocator.safeguards().proof_counts_from_its_arrival
        {
            self.allocator.note_proof(*lease, shown, *next_lineage);
        }
    }

    /// It goes to the lane if it names a lease that lives; else it goes to the ordinary queue.
    fn for_the_lane(&self, ask: LaneAsk) -> Option<LaneAsk> {
        (self.allocator.standing(&ask.lease()) == Standing::Live).then_some(ask)
    }

    /// Asked again for what is its own, so it is admitted beside what is new, and heard though nobody waits for the answer: a checkout of an id that holds
    /// a seat or waits. Not for a seat that lingers: that keeps nobody alive.
    fn is_repeat(&self, command: &Command) -> bool {
        self.allocator.says_who_lives(command) == Some(Sign::Repeat)
    }

    fn push(&mut self, asker: Asker<T>, command: Box<Command>, origin: Origin, arrived_ms: u64, hold_until_ms: u64) {
        let sign = self.allocator.says_who_lives(&command).map(|sign| (sign, arrived_ms));
        self.queues.push(Queued { asker, command, origin, hold_until_ms, sign, again: false });
    }

    fn push_lane(&mut self, asker: Asker<T>, ask: LaneAsk, arrived_ms: u64) {
        if let Some(put_out) = self.lane.push(InLane { asker, ask, arrived_ms }) {
            self.fail(put_out, Why::Unknown);
        }
    }

    /// What a refusal of this may say: of an id that is known, nobody can say that nothing happened.
    fn effect_of(&self, asked: &Asked) -> TookEffect {
        match asked {
            Asked::Renew(renewal) => self.effect_on([renewal.lease]),
            Asked::One(_) | Asked::Many(_) => self.effect_on(asked.whole_commands().iter().filter_map(Command::lease)),
        }
    }

    fn effect_on(&self, leases: impl IntoIterator<Item = LeaseId>) -> TookEffect {
        let is_known = |lease: LeaseId| {
            // The fact that begins a new lineage names whose grant proves it.
            let proves = self.allocator.proved_by() == Some(lease);
            proves || self.held.contains_key(&lease) || self.allocator.standing(&lease) != Standing::Unknown
        };
        let known = leases.into_iter().any(is_known);
        if known && self.allocator.safeguards().refusals_know_their_id { TookEffect::Unknown } else { TookEffect::No }
    }

    /// Takes a report.
    pub fn handle(&mut self, input: Input) {
        if self.stopped {
            return;
        }
        match input {
            Input::Committed(index) => self.committed_through(index),
            Input::Confirmed(pass) => {
                let next = self.writing.confirm(pass);
                if let Some(next) = next {
                    self.effects.push_back(Effect::Confirm(next));
                }
                self.publish_confirmed();
            }
            Input::Fenced => self.give_up(),
            Input::Full => {
                self.full = true;
                // A refusal counts for more than what was said before it.
                self.room.left_bytes = 0;
                self.room_changed();
                self.again_later();
            }
            Input::Room(room) => {
                self.room = room;
                self.room_changed();
                self.full &= self.may_write == MayWrite::Nothing;
                if self.may_write != MayWrite::Nothing && self.retry_at_ms.is_some() {
                    self.append_again();
                }
            }
            Input::Stop => {
                self.stopping = true;
                self.stop_holding();
            }
            Input::Unknown(_) => self.again_later(),
        }
        self.end_input();
    }

    /// After everything that came in.
    fn end_input(&mut self) {
        self.let_parts_go();
        self.end_if_done();
    }

    /// Weighs anew what there is room for. Entries in flight do not count here: all that may be have room beside what is left for everything, and
    /// what is refused for want of room must not hang on the moment.
    fn room_changed(&mut self) {
        let Room { left_bytes, reserve_bytes } = self.room;
        let counts = self.allocator.safeguards().entry_fits_the_room;
        let for_all = match self.may_write {
            _ if !counts => 1,
            MayWrite::All => ROOM_FOR_ALL_BYTES,
            MayWrite::Reserved | MayWrite::Nothing => ROOM_AGAIN_BYTES,
        };
        let for_any = if counts { ROOM_FOR_ANY_BYTES } else { 1 };
        self.may_write = if left_bytes >= reserve_bytes.saturating_add(for_all) {
            MayWrite::All
        } else if left_bytes >= for_any {
            MayWrite::Reserved
        } else {
            MayWrite::Nothing
        };
        let enough = self.may_write == MayWrite::All;
        if self.allocator.has_room() != enough {
            self.allocator.set_room(enough);
        }
    }

    /// The most bytes that the next entry may have, so that it and all in flight fit what is left; 0 if there can be none now.
    fn entry_bytes_max(&self) -> usize {
        if self.may_write == MayWrite::Nothing || self.writing.in_flight.len() >= ENTRIES_IN_FLIGHT_MAX {
            return 0;
        }
        if !self.allocator.safeguards().entry_fits_the_room {
            return ENTRY_BYTES_MAX;
        }
        let kept = if self.may_write == MayWrite::All { self.room.reserve_bytes } else { 0 };
        let left = self.room.left_bytes.saturating_sub(kept).saturating_sub(self.writing.takes_bytes());
        match Room::entry_that_fits(left).saturating_sub(ENTRY_HEAD_BYTES_MAX) {
            bytes if bytes < ENTRY_BYTES_MIN => 0,
            bytes => bytes.min(ENTRY_BYTES_MAX),
        }
    }

    /// What somebody hears who waits for an entry that nobody knows when there can be.
    fn why_stuck(&self) -> Option<Why> {
        match self.may_write {
            MayWrite::Nothing => Some(Why::DiskFull(TookEffect::Unknown)),
            MayWrite::All | MayWrite::Reserved => {
                (self.writing.under_way_ms(self.reading.boot_ms) >= DISK_HANGS_MS).then_some(Why::Unknown)
            }
        }
    }

    /// What came in one request with others does not keep them waiting for room, or for a disk that hangs. It is written when it can be, and then nobody
    /// hears of it.
    fn let_parts_go(&mut self) {
        let Some(why) = self.why_stuck() else { return };
        for ready in self.writing.in_flight.iter_mut().flat_map(|in_flight| &mut in_flight.answers) {
            if matches!(ready.asker, Asker::Part { .. }) {
                let asker = std::mem::replace(&mut ready.asker, Asker::Nobody);
                fail_into(&mut self.batches, &mut self.effects, asker, why);
            }
        }
    }

    /// The same bytes again, after a while.
    fn again_later(&mut self) {
        self.effects.retain(|effect| !matches!(effect, Effect::Append { .. }));
        self.retry_at_ms = Some(self.reading.boot_ms.saturating_add(APPEND_RETRY_MS));
    }

    fn append_again(&mut self) {
        self.retry_at_ms = None;
        for in_flight in &self.writing.in_flight {
            self.effects.push_back(append(&in_flight.entry));
        }
    }

    fn committed_through(&mut self, index: Index) {
        while let Some(done) = self.writing.commit(index) {
            self.allocator.committed(done.entry.index);
            self.started = true;
            self.full = false;
            self.room.left_bytes = self.room.left_bytes.saturating_sub(done.takes_bytes);
            let mut answers = Vec::with_capacity(done.answers.len());
            let mut heard = done.heard;
            let mut unconfirmed = Leaving { pass: PassId(0), answers: Vec::new(), heard: Vec::new() };
            for ready in done.answers {
                if self.is_confirmed(ready.answer.pass) {
                    heard.extend(ready.heard);
                    answers.extend(self.told(ready));
                } else {
                    unconfirmed.pass = unconfirmed.pass.max(ready.answer.pass);
                    unconfirmed.answers.push(ready);
                }
            }
            self.effects.push_back(Effect::Publish { entry: Some(done.entry), heard, answers });
            if !unconfirmed.answers.is_empty() {
                self.want(unconfirmed);
            }
            for lease in done.resolved {
                self.ask_again(&lease);
            }
        }
        // A retry that is still wanted is for what has not been written.
        if self.writing.in_flight.is_empty() {
            self.retry_at_ms = None;
        }
        self.room_changed();
        self.publish_confirmed();
    }

    fn is_confirmed(&self, pass: PassId) -> bool {
        pass <= self.writing.confirmed || !self.allocator.safeguards().answers_wait_for_confirm
    }

    fn want(&mut self, leaving: Leaving<T>) {
        if let Some(pass) = self.writing.want(leaving, self.allocator.safeguards().later_confirmation_is_kept) {
            self.effects.push_back(Effect::Confirm(pass));
        }
    }

    fn publish_confirmed(&mut self) {
        while self.writing.unconfirmed.front().is_some_and(|leaving| self.is_confirmed(leaving.pass)) {
            let Some(leaving) = self.writing.unconfirmed.pop_front() else { return };
            self.publish(leaving);
        }
    }

    fn publish(&mut self, leaving: Leaving<T>) {
        let mut answers = Vec::with_capacity(leaving.answers.len());
        let mut heard = leaving.heard;
        for ready in leaving.answers {
            heard.extend(ready.heard);
            answers.extend(self.told(ready));
        }
        if !answers.is_empty() || !heard.is_empty() {
            self.effects.push_back(Effect::Publish { entry: None, heard, answers });
        }
    }

    /// What can be told when this answer may leave.
    fn told(&mut self, ready: Ready<T>) -> Option<(T, Answers)> {
        // A request with several always comes back with answers, of which some may be reasons.
        self.batches.answer(ready.asker, Ok(ready.answer)).and_then(|(ticket, answers)| Some((ticket, answers.ok()?)))
    }

    fn fail(&mut self, asker: Asker<T>, why: Why) {
        fail_into(&mut self.batches, &mut self.effects, asker, why);
    }

    /// A waiter's place has changed for good: its held request is decided again, as a repeat.
    fn ask_again(&mut self, lease: &LeaseId) {
        if let Some(held) = self.held.remove(lease) {
            self.holds.remove(&(held.waiting.hold_until_ms, *lease));
            self.decide_again(held.waiting);
        }
    }

    fn decide_again(&mut self, waiting: Queued<T>) {
        // Its client has waited until now: what was granted to it does not end before it is told so.
        let sign = Some((Sign::Repeat, self.reading.boot_ms));
        self.again.push_back(Queued { hold_until_ms: 0, sign, again: true, ..waiting });
    }

    /// From now on no waiter's answer is held; those that are held are answered with their place.
    pub fn stop_holding(&mut self) {
        self.holding = false;
        let tells = self.allocator.safeguards().held_waiters_are_told_at_stop;
        self.holds.clear();
        for (_, held) in std::mem::take(&mut self.held) {
            if !tells {
                self.fail(held.waiting.asker, Why::Stopping(TookEffect::No));
                continue;
            }
            let after = held.after.filter(|after| *after > self.writing.committed);
            // Since then it may have left the line, by an entry that is not durable yet.
            let answer = Answer { pass: held.pass, moment: held.moment, ..self.answer(held.outcome, after) };
            self.leave(after, Ready { asker: held.waiting.asker, answer, heard: None });
        }
        self.end_if_done();
    }

    fn leave(&mut self, after: Option<Index>, ready: Ready<T>) {
        let mut free = Leaving { pass: self.pass, answers: Vec::new(), heard: Vec::new() };
        self.leave_after(after, ready, &mut free);
        match free.answers.is_empty() {
            true => {}
            false if self.is_confirmed(free.pass) => self.publish(free),
            false => self.want(free),
        }
    }

    // The pass.

    /// One pass: stamps it, answers the lane, handles what is due, decides the rest; at most one entry comes of it.
    pub fn pass(&mut self, reading: ClockReading) {
        if self.stopped {
            return;
        }
        self.reading = reading;
        if self.retry_at_ms.is_some_and(|retry| retry <= reading.boot_ms) {
            self.append_again();
        }
        if !self.started {
            return;
        }
        self.pass = PassId(self.pass.0 + 1);
        let bytes_max = self.entry_bytes_max();
        let writes = bytes_max > 0;
        self.end_holds();
        let mut taken = self.take(writes);
        let accepts = writes && taken.iter().any(|queued| matches!(*queued.command, Command::AcceptClock { .. }));
        self.stamp(accepts);

        let mut decided = std::mem::take(&mut self.decided);
        let events = self.decide(bytes_max, &mut taken, &mut decided);
        // After the decision: an entry that begins a lineage is its first.
        let lineage = self.allocator.lineage();
        self.queues.give_back(taken, writes || self.may_write == MayWrite::Nothing);
        self.settle(lineage, events, &mut decided);
        self.decided = decided;
        self.end_input();
    }

    /// Waiters whose hold time is over are decided once more: the answer has the place and the numbers of now.
    fn end_holds(&mut self) {
        while let Some((until_ms, lease)) = self.holds.first().copied()
            && until_ms <= self.reading.boot_ms
        {
            self.holds.pop_first();
            self.ask_again(&lease);
        }
    }

    /// The commands of this pass: what is decided again, then those whose turn it is. What cannot be decided with so little room is refused here. While
    /// entries in flight take all the room, how long that may be nobody knows: repeats that need no entry are answered still, and the rest waits.
    fn take(&mut self, writes: bool) -> Vec<Queued<T>> {
        let all = writes || self.may_write == MayWrite::Nothing;
        let mut taken = Vec::new();
        while taken.len() < self.limits.commands_per_pass_max
            && let Some(mut queued) =
                self.again.pop_front().or_else(|| if all { self.queues.pop() } else { self.queues.pop_untried_repeat() })
        {
            let asks = matches!(*queued.command, Command::Adopt { .. } | Command::Checkout { .. } | Command::Renew { .. });
            let gone = asks && self.batches.is_gone(&queued.asker);
            // Whoever asked for what is its own lives, or did when it asked, whether or not it waits for the answer.
            if gone && (queued.again || !self.is_repeat(&queued.command)) {
                self.allocator.comes_in_vain(&queued.command);
                self.fail(queued.asker, Why::Gone);
            } else if self.lacks_room(&queued.command) {
                self.allocator.comes_in_vain(&queued.command);
                self.allocator.owes_a_hearing(&queued.command);
                let effect = self.effect_on(queued.command.lease());
                self.fail(queued.asker, Why::DiskFull(effect));
            } else {
                if gone {
                    queued.hold_until_ms = 0;
                }
                taken.push(queued);
            }
        }
        taken
    }

    /// Whether this cannot be decided with so little room.
    fn lacks_room(&self, command: &Command) -> bool {
        if self.may_write == MayWrite::All || self.allocator.is_soft(command) {
            return false;
        }
        if self.may_write == MayWrite::Nothing {
            return true;
        }
        let standing = |lease: &LeaseId| self.allocator.standing(lease);
        // What the reserve is kept for; whatever is not named here waits for room.
        let has_room = match command {
            Command::Adopt { lease, .. } => standing(lease) == Standing::Live,
            // Whoever waits and asks again is heard, or a start with little room would cost the place; nobody is granted a seat meanwhile.
            Command::Checkout { lease, .. } => matches!(standing(lease), Standing::Live | Standing::Waiting),
            // An id that nobody knows could be made up, and the reserve is for those who hold.
            Command::Release { lease, .. } => standing(lease) != Standing::Unknown,
            Command::PresenceClosed { .. } | Command::Renew { .. } => true,
            // Administration.
            Command::AcceptClock { .. }
            | Command::AllowPresence { .. }
            | Command::EndQuarantine { .. }
            | Command::Reclaim { .. }
            | Command::Remove { .. }
            | Command::StepClock { .. } => true,
            _ => false,
        };
        !has_room
    }

    fn stamp(&mut self, accepts: bool) {
        let reading = self.reading;
        let at = self.lease_clock.advance(reading);
        let (wall_ms, refused) = if accepts { (self.civil_clock.accept(reading), None) } else { self.civil_clock.advance(reading) };
        if refused.is_some() != self.refused_wall_ms.is_some() && !accepts {
            self.stepped = Some(Command::StepClock { to_ms: refused.unwrap_or(wall_ms), believed: refused.is_none() });
        }
        if accepts {
            self.stepped = None;
        }
        self.refused_wall_ms = refused;
        self.moment = Moment { at, wall_ms };
    }

    /// Decides in the order of the rules. What was decided is moved from `taken` to `decided`; what is left in `taken` waits.
    fn decide(&mut self, bytes_max: usize, taken: &mut Vec<Queued<T>>, decided: &mut Vec<Decided<T>>) -> Vec<Event> {
        let stuck = self.why_stuck();
        let Self { allocator, lane, queues, limits, batches, effects, stepped, moment, reading, holding, again: decided_again, .. } = self;
        let hears_first = allocator.safeguards().presence_hears_first;
        let is_first = |allocator: &Allocator, command: &Command| command.tells_presence() || allocator.comes_before_due(command);
        let rest = taken.iter().map(|queued| &*queued.command).find(|command| !is_first(allocator, command));
        let mut pass = allocator.pass(*moment, PassPlan { bytes_max, rest });
        let writes = bytes_max > 0;

        // The wall clock has just moved by an administrator's word, so the fact that says so is the first of this entry: the first always fits.
        let mut unaccepted = Vec::new();
        for queued in taken.extract_if(.., |queued| writes && matches!(*queued.command, Command::AcceptClock { .. })) {
            match pass.rest(&queued.command).decided() {
                Some(outcome) => decided.push(Decided::of(queued, outcome, *holding)),
                None => unaccepted.push(queued),
            }
        }
        taken.splice(0..0, unaccepted);
        if writes && let Some(command) = stepped.take() {
            match pass.rest(&command) {
                Tried::Decided(_) => {}
                Tried::Full | Tried::Later => *stepped = Some(command),
            }
        }
        let mut left = std::mem::take(taken);
        let mut back = Vec::new();
        // What waits for an entry is not tried again before there can be one, or hears that there can be none; then whatever may need none comes first,
        // however much waits for room.
        let again = writes || stuck.is_some();
        let most = limits.lane_per_pass_max;
        let kept = if stuck.is_some() { lane.len(Part::Untried).min(most) } else { 0 };
        let tried = if again { lane.len(Part::Tried).min(most - kept) } else { 0 };
        let untried = lane.len(Part::Untried).min(most - tried);
        for part in std::iter::repeat_n(Part::Tried, tried).chain(std::iter::repeat_n(Part::Untried, untried)) {
            // Whether or not somebody waits for the answer: whoever asked lives, or did when it asked.
            let Some(mut waiting) = lane.pop(part) else { break };
            let command = waiting.ask.command();
            match pass.lane(&command) {
                Some(outcome) => decided.push(Decided {
                    asker: waiting.asker,
                    outcome,
                    lease: Some(waiting.ask.lease()),
                    idle_ms: if let LaneAsk::Renew(renewal) = waiting.ask { renewal.idle_ms } else { None },
                    holds: None,
                }),
                None => {
                    // It goes on waiting, and those that came in one request with it do not wait for it.
                    if let Some(why) = stuck
                        && matches!(waiting.asker, Asker::Part { .. })
                    {
                        let asker = std::mem::replace(&mut waiting.asker, Asker::Nobody);
                        fail_into(batches, effects, asker, why);
                    }
                    back.push(waiting);
                }
            }
        }
        // While nothing can be written each has its turn: one of them may need no entry by now.
        lane.give_back(back, again && stuck.is_none());
        // Repeats are renewals too. And whatever can only keep a lease from being freed comes before what is due.
        let held = decided_again.front().and_then(|queued| queued.sign).map(|(_, since_ms)| since_ms);
        let mut repeat_ms = queues.oldest_ms(Sign::Repeat).into_iter().chain(held).min();
        let mut presence_ms = queues.oldest_ms(Sign::Presence);
        for queued in std::mem::take(&mut left) {
            let outcome = if pass.allocator().comes_before_due(&queued.command) {
                pass.lane(&queued.command)
            } else if hears_first && queued.command.tells_presence() {
                pass.rest(&queued.command).decided()
            } else {
                None
            };
            match outcome {
                Some(outcome) => decided.push(Decided::of(queued, outcome, *holding)),
                None => {
                    match queued.sign {
                        Some((Sign::Repeat, since_ms)) => repeat_ms = repeat_ms.into_iter().chain([since_ms]).min(),
                        Some((Sign::Presence, since_ms)) => presence_ms = presence_ms.into_iter().chain([since_ms]).min(),
                        None => {}
                    }
                    left.push(queued);
                }
            }
        }
        // What arrived at this boot time arrived at this lease time or later: lease time is never faster.
        let arrived = |oldest_ms: Option<u64>| {
            let waited_ms = oldest_ms.map_or(0, |oldest| reading.boot_ms.saturating_sub(oldest));
            Timestamp(moment.at.0.saturating_sub(waited_ms))
        };
        pass.due(Waits { renewal: arrived(lane.oldest_renewal_ms()), repeat: arrived(repeat_ms), presence: arrived(presence_ms) });
        let mut full = false;
        for queued in left {
            // An end is decided after the renewals that lie before it: one of them may say that nothing stands for the lease any more.
            let is_early = hears_first && matches!(&*queued.command, Command::PresenceClosed { lease, .. } if lane.has(lease));
            if full || is_early {
                taken.push(queued);
                continue;
            }
            match pass.rest(&queued.command) {
                Tried::Decided(outcome) => decided.push(Decided::of(queued, *outcome, *holding)),
                Tried::Later => taken.push(queued),
                Tried::Full => {
                    // What needs no entry goes on while there can be none.
                    full = writes;
                    taken.push(queued);
                }
            }
        }
        pass.finish()
    }

    /// Sends the entry of this pass out, and finds for each answer what it waits for.
    fn settle(&mut self, lineage: triquest_allocator::Lineage, events: Vec<Event>, decided: &mut Vec<Decided<T>>) {
        let wrote = !events.is_empty();
        if wrote {
            self.write(lineage, events, Vec::with_capacity(decided.len()));
        }
        let last = self.writing.last();
        let waits = self.allocator.safeguards().answers_wait_for_entries;
        let mut free = Leaving { pass: self.pass, answers: Vec::new(), heard: Vec::new() };
        for one in decided.drain(..) {
            let after = match (&one.outcome, &one.lease) {
                _ if !waits => None,
                (Outcome::Renewed { .. }, Some(lease)) => self.writing.touching(lease),
                // What is said of a lease that lives (a repeat is a renewal as well) stands in facts about it, or in none.
                (_, Some(lease)) if self.allocator.standing(lease) == Standing::Live => self.writing.touching(lease),
                // What it says may stand in any entry in flight.
                _ => last,
            };
            let heard = one.heard(self.moment);
            if let (Outcome::Waiting { .. }, Some(lease), Some((command, origin, hold_until_ms))) = (&one.outcome, one.lease, one.holds) {
                let waiting = Queued { asker: one.asker, command, origin, hold_until_ms, sign: None, again: false };
                if self.allocator.standing(&lease) != Standing::Waiting {
                    // Its place has changed for good in this very pass: it is decided again, as a repeat.
                    self.decide_again(waiting);
                    continue;
                }
                match after.and_then(|after| self.writing.entry(after)) {
                    Some(in_flight) => in_flight.heard.extend(heard),
                    None => free.heard.extend(heard),
                }
                self.holds.insert((hold_until_ms, lease));
                let before =
                    self.held.insert(lease, Held { waiting, outcome: one.outcome.clone(), pass: self.pass, moment: self.moment, after });
                // It asked once more on another connection; the older request hears its place.
                if let Some(before) = before {
                    if before.waiting.hold_until_ms != hold_until_ms {
                        self.holds.remove(&(before.waiting.hold_until_ms, lease));
                    }
                    let answer = self.answer(one.outcome, after);
                    self.leave_after(after, Ready { asker: before.waiting.asker, answer, heard: None }, &mut free);
                }
                continue;
            }
            let answer = self.answer(one.outcome, after);
            self.leave_after(after, Ready { asker: one.asker, answer, heard }, &mut free);
        }
        if free.answers.is_empty() {
            match self.writing.in_flight.back_mut() {
                Some(in_flight) => in_flight.heard.append(&mut free.heard),
                None if free.heard.is_empty() => {}
                None => self.want(free),
            }
        } else if self.is_confirmed(free.pass) {
            self.publish(free);
        } else {
            self.want(free);
        }
    }

    /// An answer leaves with the entry that it waits for, or with those that wait for none.
    fn leave_after(&mut self, after: Option<Index>, ready: Ready<T>, free: &mut Leaving<T>) {
        match after.and_then(|after| self.writing.entry(after)) {
            Some(in_flight) => in_flight.answers.push(ready),
            None => free.answers.push(ready),
        }
    }

    fn answer(&self, outcome: Outcome, after: Option<Index>) -> Answer {
        Answer { outcome, position: self.position(after.unwrap_or(self.writing.committed)), pass: self.pass, moment: self.moment }
    }

    fn position(&self, index: Index) -> Position {
        Position { lineage: self.writing.lineage_at(index), epoch: self.allocator.epoch(), index }
    }

    /// Events become an entry on its way to the disk.
    fn write(&mut self, lineage: triquest_allocator::Lineage, events: Vec<Event>, answers: Vec<Ready<T>>) {
        let index = Index(self.writing.last().unwrap_or(self.writing.committed).0 + 1);
        self.allocator.sealed(index);
        let entry = Arc::new(Entry { lineage, epoch: self.allocator.epoch(), index, moment: self.moment, events });
        if self.retry_at_ms.is_none() {
            self.effects.push_back(append(&entry));
        }
        self.writing.begin(entry, self.reading.boot_ms, self.pass, answers, self.allocator.safeguards().lowering_keeps_nobody_waiting);
    }

    // The end.

    /// Nothing more can be written. Whatever was decided and not told is *unknown*; what was not decided changed nothing.
    fn give_up(&mut self) {
        self.effects.retain(|effect| !matches!(effect, Effect::Append { .. } | Effect::Confirm(_)));
        self.refuse_waiting();
        for in_flight in std::mem::take(&mut self.writing.in_flight) {
            for ready in in_flight.answers {
                self.fail(ready.asker, Why::Unknown);
            }
        }
        for leaving in std::mem::take(&mut self.writing.unconfirmed) {
            for ready in leaving.answers {
                self.fail(ready.asker, Why::Unknown);
            }
        }
        self.holds.clear();
        for (_, held) in std::mem::take(&mut self.held) {
            self.fail(held.waiting.asker, Why::Unknown);
        }
        self.stopped = true;
        self.effects.push_back(Effect::Stopped);
    }

    /// Refuses what was not decided.
    fn refuse_waiting(&mut self) {
        while let Some(waiting) = self.lane.pop(Part::Tried).or_else(|| self.lane.pop(Part::Untried)) {
            let known = self.allocator.safeguards().refusals_know_their_id;
            self.fail(waiting.asker, Why::Stopping(if known { TookEffect::Unknown } else { TookEffect::No }));
        }
        while let Some(queued) = self.again.pop_front().or_else(|| self.queues.pop()) {
            let effect = self.effect_on(queued.command.lease());
            self.fail(queued.asker, Why::Stopping(effect));
        }
    }

    fn end_if_done(&mut self) {
        if !self.stopping || self.stopped {
            return;
        }
        if self.full && !self.writing.in_flight.is_empty() || !self.started {
            // What cannot be written now was never told.
            return self.give_up();
        }
        if self.may_write == MayWrite::Nothing {
            self.refuse_waiting();
        }
        // A start would not know what was shown of lost history.
        let owes = self.allocator.owes_lineage() && self.may_write != MayWrite::Nothing;
        let idle = !owes && self.lane.is_empty() && self.queues.is_empty() && self.again.is_empty() && self.held.is_empty();
        if idle && self.writing.in_flight.is_empty() && self.writing.unconfirmed.is_empty() && self.batches.is_empty() {
            self.stopped = true;
            self.effects.push_back(Effect::Stopped);
        }
    }

    /// The shell has waited for as long as [`Engine::wake_in_ms`] said, by a clock of its own: what is to be handed out again goes out now, whatever
    /// the boot clock says, which may stand still.
    pub fn waited(&mut self) {
        if self.retry_at_ms.is_some() {
            self.append_again();
        }
    }

    // Out.

    /// The next effect.
    pub fn poll(&mut self) -> Option<Effect<T>> {
        self.effects.pop_front()
    }

    /// In how many milliseconds after the last pass the next is wanted, if nothing comes before. None: only a report helps.
    #[must_use]
    pub fn wake_in_ms(&self) -> Option<u64> {
        if self.stopped {
            return None;
        }
        let now_ms = self.reading.boot_ms;
        let retry = self.retry_at_ms.map(|retry| retry.saturating_sub(now_ms));
        if !self.started {
            return retry;
        }
        let writes = self.entry_bytes_max() > 0;
        let waits = !self.queues.is_empty() || !self.again.is_empty();
        let waits_not_for_the_disk = !self.again.is_empty() || self.queues.has_untried_repeats();
        let lane = !self.lane.is_empty() || self.stepped.is_some();
        if waits && (writes || self.may_write == MayWrite::Nothing) || waits_not_for_the_disk || writes && lane {
            return Some(0);
        }
        let hold = self.holds.first().map(|(until_ms, _)| until_ms.saturating_sub(now_ms));
        let due = if writes {
            let all = self.may_write == MayWrite::All;
            let lease = self.allocator.next_deadline().map(|due| due.since_ms(self.moment.at));
            let civil = self.allocator.next_civil_deadline_ms().filter(|_| all);
            let civil = civil.map(|due| due.saturating_sub(self.moment.wall_ms).max(0).unsigned_abs());
            lease.into_iter().chain(civil).min().map(|due| due.max(TICK_MS_MIN))
        } else {
            None
        };
        [retry, hold, due, Some(TICK_MS_MAX)].into_iter().flatten().min()
    }

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

    /// How much room there was when it was last told, in bytes.
    #[must_use]
    pub fn room(&self) -> Room {
        self.room
    }

    /// What there is room to write.
    #[must_use]
    pub fn may_write(&self) -> MayWrite {
        self.may_write
    }

    /// The last entry that was committed.
    #[must_use]
    pub fn committed(&self) -> Position {
        self.position(self.writing.committed)
    }

    /// The last entry that was handed out to be written: what a client can have seen at most, however late the reports are.
    #[must_use]
    pub fn handed_out(&self) -> Position {
        self.position(self.writing.last().unwrap_or(self.writing.committed))
    }

    /// The reading of the wall clock that is not believed, unix milliseconds, while it is not.
    #[must_use]
    pub fn refused_wall_ms(&self) -> Option<i64> {
        self.refused_wall_ms
    }
}

impl<T> Decided<T> {
    fn of(queued: Queued<T>, outcome: Outcome, holding: bool) -> Self {
        let Queued { asker, command, origin, hold_until_ms, sign: _, again: _ } = queued;
        let (lease, idle_ms) = match &*command {
            Command::Adopt { lease, .. } | Command::Checkout { lease, .. } => (Some(*lease), None),
            Command::Renew { lease, idle_ms, .. } => (Some(*lease), *idle_ms),
            _ => (None, None),
        };
        let holds = holding && hold_until_ms > 0 && matches!(outcome, Outcome::Waiting { .. });
        Self { asker, outcome, lease, idle_ms, holds: holds.then_some((command, origin, hold_until_ms)) }
    }

    fn heard(&self, moment: Moment) -> Option<Heard> {
        let remaining_ms = match &self.outcome {
            Outcome::Renewed { remaining_ms, .. } => *remaining_ms,
            Outcome::Granted(grant) if grant.granted_in.is_some() => grant.remaining_ms,
            Outcome::Waiting { .. } => 0,
            _ => return None,
        };
        Some(Heard { lease: self.lease?, at: moment.at, remaining_ms, idle_ms: self.idle_ms })
    }
}

fn append<T>(entry: &Arc<Entry>) -> Effect<T> {
    Effect::Append { fence: entry.epoch, expected_head: Index(entry.index.0 - 1), entry: Arc::clone(entry) }
}

fn fail_into<T: Ticket>(batches: &mut Batches<T>, effects: &mut VecDeque<Effect<T>>, asker: Asker<T>, why: Why) {
    match batches.answer(asker, Err(why)) {
        None => {}
        Some((ticket, Ok(answers))) => {
            effects.push_back(Effect::Publish { entry: None, heard: Vec::new(), answers: vec![(ticket, answers)] });
        }
        Some((ticket, Err(why))) => effects.push_back(Effect::Fail(ticket, why)),
    }
}
