//! A server process without sockets and threads: the driver's road (stamp, decide, persist, publish, answer) in steps that can be cut anywhere.

use std::collections::{BTreeSet, VecDeque};

use triquest_allocator::{
    Allocator, CivilClock, ClockReading, Command, Epoch, Event, Index, Instance, LeaseClock, LeaseId, Lineage, Moment, Outcome, Safeguards,
};
use triquest_journal::{
    Appended, Journal,
    record::{Entry, decode_entry, encode_entry},
};

/// What a request is known by, so that its answer finds its way back. `None` for the server's own commands.
pub type Ticket = Option<u64>;

/// An answer that may leave now.
#[derive(Debug)]
pub struct Answer {
    /// To whom.
    pub ticket: Ticket,
    /// The lease that was asked about.
    pub lease: Option<LeaseId>,
    /// What was decided.
    pub outcome: Outcome,
    /// Lease time of the decision.
    pub moment: Moment,
    /// The last durable entry.
    pub index: Index,
}

/// One batch on its way to the disk.
#[derive(Debug)]
struct Flight {
    index: Index,
    bytes: Vec<u8>,
    leases: BTreeSet<LeaseId>,
    answers: Vec<Answer>,
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    allocator: Allocator,
    lease_clock: LeaseClock,
    civil_clock: CivilClock,
    lineage: Lineage,
    epoch: Epoch,
    next_index: Index,
    moment: Moment,
    inbox: Vec<(Ticket, Command)>,
    flights: VecDeque<Flight>,
    last_boot_ms: Option<u64>,
    clock_held: bool,
}

/// A committed entry, as observers see it.
#[derive(Debug)]
pub struct Committed {
    /// Its number.
    pub index: Index,
    /// Its times.
    pub moment: Moment,
    /// Its facts.
    pub events: Vec<Event>,
    /// Answers that waited for it.
    pub answers: Vec<Answer>,
}

/// The lease that a command is about.
fn lease_of(command: &Command) -> Option<LeaseId> {
    match command {
        Command::Adopt { lease, .. }
        | Command::Checkout { lease, .. }
        | Command::PresenceClosed { lease, .. }
        | Command::PresenceOpened { lease, .. }
        | Command::Reclaim { lease, .. }
        | Command::Release { lease, .. }
        | Command::Renew { lease, .. } => Some(*lease),
        Command::AcceptBorrowLoss { .. }
        | Command::AcceptClock { .. }
        | Command::AllowPresence { .. }
        | Command::EndQuarantine { .. }
        | Command::Install(_)
        | Command::Recover { .. }
        | Command::Remove { .. }
        | Command::Reread { .. }
        | Command::StepClock { .. }
        | Command::Sweep => None,
    }
}

/// No two starts of a world have the same.
fn instance_of(epoch: Epoch) -> [u8; 16] {
    u128::from(epoch.0).to_be_bytes()
}

impl Process {
    /// Loads what is durable and puts `Recover` first in line; nothing is answered before that is durable.
    pub fn start(safeguards: Safeguards, journal: &mut dyn Journal, lineage: Lineage) -> Result<Self, String> {
        let mut moment = Moment { at: triquest_allocator::Timestamp(0), wall_ms: 0 };
        let mut allocator = Allocator::new(safeguards);
        let mut from = Index(1);
        loop {
            let entries = journal.read(from, 1 << 20).map_err(|error| error.to_string())?;
            let Some((last, _)) = entries.last() else { break };
            from = Index(last.0 + 1);
            for (index, bytes) in &entries {
                let entry = decode_entry(bytes)?;
                allocator.apply_entry(*index, entry.moment, &entry.events)?;
                moment = entry.moment;
            }
        }
        allocator.check_invariants()?;
        let epoch = Epoch(allocator.epoch().0 + 1);
        Ok(Self {
            lease_clock: LeaseClock::resume(moment.at),
            civil_clock: CivilClock::resume(moment.wall_ms),
            lineage,
            epoch,
            next_index: from,
            moment,
            inbox: vec![(None, Command::Recover { epoch, instance: Instance(instance_of(epoch)), lineage, folder_ttl_max_ms: 0 })],
            flights: VecDeque::new(),
            last_boot_ms: None,
            clock_held: false,
            allocator,
        })
    }

    /// The state.
    #[must_use]
    pub fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// The last moment that was decided at.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// True while an entry is on its way to the disk.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        !self.flights.is_empty()
    }

    /// True if requests wait for a pass.
    #[must_use]
    pub fn pending(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// A broken driver whose lease time jumps over a stall.
    pub fn skip_to(&mut self, reading: ClockReading) {
        let mut stepped = self.last_boot_ms.unwrap_or(reading.boot_ms);
        while stepped + triquest_allocator::limits::STALL_MS < reading.boot_ms {
            stepped += triquest_allocator::limits::STALL_MS;
            self.lease_clock.advance(ClockReading { boot_ms: stepped, ..reading });
        }
    }

    /// A broken driver that answers before anything is durable.
    pub fn take_waiting_answers(&mut self) -> Vec<Answer> {
        self.flights.iter_mut().flat_map(|flight| std::mem::take(&mut flight.answers)).collect()
    }

    /// A request arrives.
    pub fn receive(&mut self, ticket: Ticket, command: Command) {
        self.inbox.push((ticket, command));
    }

    /// One pass: takes all that waits, stamps it, decides it. What needs no disk is returned at once.
    pub fn pass(&mut self, reading: ClockReading) -> Vec<Answer> {
        let at = self.lease_clock.advance(reading);
        self.last_boot_ms = Some(reading.boot_ms);
        let mut taken: Vec<_> = self.inbox.drain(..).collect();
        if taken.iter().any(|(_, command)| matches!(command, Command::AcceptClock { .. })) {
            self.civil_clock.accept(reading);
        }
        let (wall_ms, refused) = self.civil_clock.advance(reading);
        if refused.is_some() != self.clock_held {
            self.clock_held = refused.is_some();
            taken.insert(0, (None, Command::StepClock { to_ms: reading.wall_ms, believed: !self.clock_held }));
        }
        self.moment = Moment { at, wall_ms };
        if taken.is_empty() {
            taken.push((None, Command::Sweep));
        }
        let leases: Vec<_> = taken.iter().map(|(_, command)| lease_of(command)).collect();
        let tagged = taken.into_iter().zip(leases).map(|((ticket, command), lease)| ((ticket, lease), command)).collect();
        let batch = self.allocator.decide_batch(self.moment, tagged);
        for ((ticket, _), command) in batch.left {
            self.inbox.push((ticket, command));
        }
        let durable = Index(self.next_index.0 - 1);
        let answers = batch.outcomes.into_iter().map(|((ticket, lease), outcome)| Answer {
            ticket,
            lease,
            outcome,
            moment: self.moment,
            index: durable,
        });
        if batch.events.is_empty() {
            let undurable =
                |lease: Option<LeaseId>| lease.is_some_and(|lease| self.flights.iter().any(|flight| flight.leases.contains(&lease)));
            let (waiting, ready): (Vec<_>, Vec<_>) = answers.partition(|answer| {
                !self.flights.is_empty() && (!matches!(answer.outcome, Outcome::Renewed { .. }) || undurable(answer.lease))
            });
            if let Some(last) = self.flights.back_mut() {
                last.answers.extend(waiting);
            }
            return ready;
        }
        let answers: Vec<_> = answers.collect();
        let index = self.next_index;
        self.next_index = Index(index.0 + 1);
        self.allocator.sealed(index);
        let entry = Entry { lineage: self.lineage, epoch: self.epoch, index, moment: self.moment, events: batch.events };
        self.flights.push_back(Flight {
            index,
            bytes: encode_entry(&entry),
            leases: answers.iter().filter_map(|answer| answer.lease).collect(),
            answers,
        });
        Vec::new()
    }

    /// The disk takes the oldest batch. `Ok(None)`: nothing was in flight, or there is no room or no word yet and the same bytes will be tried again.
    pub fn append(&mut self, journal: &mut dyn Journal) -> Result<Option<Committed>, String> {
        let Some(flight) = self.flights.front() else { return Ok(None) };
        match journal.append(self.epoch, Index(flight.index.0 - 1), &flight.bytes).map_err(|error| error.to_string())? {
            Appended::Committed => {}
            Appended::Fenced => return Err("fenced".to_owned()),
            Appended::Full | Appended::Unknown => return Ok(None),
        }
        let flight = self.flights.pop_front().ok_or("a flight that was there a moment ago is gone")?;
        let entry = decode_entry(&flight.bytes)?;
        Ok(Some(Committed { index: flight.index, moment: entry.moment, events: entry.events, answers: flight.answers }))
    }
}
