//! The order within a pass, the bounds of its entry, and what stands still on a full disk.
//!
//! A [`Pass`] becomes at most one entry. Whoever drives it decides first what comes through the lane (renewals, also of ids that nobody knows, releases of
//! leases that live, and repeats of ids that are known) and what is said of presence but for its ends, then lets what is due end, then decides the rest.
//! While all three wait, half of an entry is the lane's, a quarter is for what is due and a quarter for the rest; what somebody does not use is there for those who come after. What does not fit waits for the next pass.

use std::{borrow::Borrow, collections::BTreeSet};

use crate::{
    Allocator, Command, Event, Judgement, LeaseId, Moment, Outcome, ShownGrant, Timestamp,
    allocator::Sink,
    limits::{
        CHARGES_PER_PART_MAX, DUE_PER_BATCH_MAX, ENTITLEMENTS_PER_LICENSE_MAX, ENTRY_BYTES_MAX, ENTRY_BYTES_MIN, EVENTS_MAX_MIN,
        MOVES_PER_CHECKOUT_MAX, PARTS_BYTES_MAX,
    },
    store::{Phase, Slot},
};

/// A quarter of the smallest entry.
const SMALLEST_QUARTER: Weight = Weight { events: EVENTS_MAX_MIN / 4, bytes: ENTRY_BYTES_MIN / 4 };

/// The most that a checkout may add to an entry, and the most that becomes of one charge whose entitlement has ended: moves that make room, the
/// charges of one part, and a few facts about the lease itself. In bytes, all parts with all their charges, shown by a grant as well.
const CHECKOUT: Weight = Weight { events: MOVES_PER_CHECKOUT_MAX + CHARGES_PER_PART_MAX + 16, bytes: 65_536 };

const _: () = assert!(CHECKOUT.events < SMALLEST_QUARTER.events && CHECKOUT.bytes <= SMALLEST_QUARTER.bytes);
// The rest is for the holder, for words, and for the facts of a new lineage.
const _: () = assert!(PARTS_BYTES_MAX + 16_384 <= CHECKOUT.bytes);

/// What is known of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds seats in a promise.
    Live,
    /// It ended, was denied or was released, and is not forgotten; its seats may linger.
    Remembered,
    /// Nothing.
    Unknown,
    /// It stands in a line.
    Waiting,
}

/// What a batch became: events for one entry, an outcome for each command taken, and the commands that did not fit.
#[derive(Debug)]
pub struct Batch<T, C = Command> {
    /// In order; empty if nothing hard happened, then nothing is appended.
    pub events: Vec<Event>,
    /// Each command's tag with its outcome.
    pub outcomes: Vec<(T, Outcome)>,
    /// Commands for the next batch: the entry closed at [`EVENTS_MAX`](crate::limits::EVENTS_MAX) or [`ENTRY_BYTES_MAX`](crate::limits::ENTRY_BYTES_MAX), or they must wait until all that is due was
    /// handled.
    pub left: Vec<(T, C)>,
}

/// How a pass is to go.
#[derive(Clone, Copy, Debug)]
pub struct PassPlan<'a> {
    /// The most bytes that its entry may have, by the estimate that [`Event::weight`] makes: [`ENTRY_BYTES_MAX`], or less where there is little
    /// room, but no less than [`ENTRY_BYTES_MIN`]. 0: no entry may come of it, and only that is decided which needs none.
    pub bytes_max: usize,
    /// The first command of the rest, if any waits: what it may take is kept for it.
    pub rest: Option<&'a Command>,
}

/// What a command says of the life of some client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// What is said of presence, but for its end: some client lives, or may live.
    Presence,
    /// A checkout of a lease or a place that lives. Only its owner can make it up, and it is a renewal of it.
    Repeat,
}

/// When the oldest arrived of what waits for a later pass and says that some client lives; the time of the pass where nothing waits.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// Of the renewals: nobody loses a lease whose renewal is here.
    pub renewal: Timestamp,
    /// Of [`Sign::Repeat`]: nobody loses a lease or a place whose repeat is here.
    pub repeat: Timestamp,
    /// Of [`Sign::Presence`]: nobody is freed as one who did not come back.
    pub presence: Timestamp,
}

/// What became of a command.
#[derive(Clone, Debug)]
pub enum Tried {
    /// Decided.
    Decided(Box<Outcome>),
    /// It does not fit this entry any more; nothing behind it should overtake it.
    Full,
    /// It waits until more of what is due was handled; others may be decided.
    Later,
}

impl Tried {
    /// The outcome, if it was decided.
    #[must_use]
    pub fn decided(self) -> Option<Outcome> {
        match self {
            Self::Decided(outcome) => Some(*outcome),
            Self::Full | Self::Later => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    events: usize,
    bytes: usize,
}

/// One pass, that is, one moment and at most one entry.
#[derive(Debug)]
pub struct Pass<'a> {
    allocator: &'a mut Allocator,
    events: Vec<Event>,
    bytes: usize,
    bytes_max: usize,
    /// The lane ends here.
    lane: Weight,
    /// What is due ends here.
    due: Weight,
}

impl Pass<'_> {
    /// Decides a renewal, a release, or a repeat of an id that is known, wherever it waited, before anything that is due ends. `None`: it waits for the
    /// next pass.
    pub fn lane(&mut self, command: &Command) -> Option<Outcome> {
        if !self.allocator.is_soft(command) {
            let most = self.allocator.most_that_may_come_of(command);
            let fits = self.events.len() + most.events <= self.lane.events && self.bytes + most.bytes <= self.lane.bytes;
            if self.bytes_max == 0 || !fits && self.allocator.safeguards.entries_are_bounded {
                return None;
            }
        }
        self.decide(command, self.lane)
    }

    /// Lets end what is due, as much as its share of the entry holds, and up to what still waits.
    pub fn due(&mut self, waits: Waits) {
        let allocator = &mut *self.allocator;
        let keeps = &allocator.safeguards;
        let mut due_until = allocator.now.at;
        if keeps.due_not_past_the_lane {
            due_until = due_until.min(waits.renewal);
        }
        if keeps.due_not_past_repeats {
            due_until = due_until.min(waits.repeat);
        }
        let presence = if keeps.presence_hears_first { waits.presence.min(waits.repeat) } else { due_until };
        (allocator.due_until, allocator.silent_until) = (due_until, due_until.min(presence));
        if self.bytes_max == 0 {
            return;
        }
        let until = Weight { events: self.due.events.min(self.events.len() + DUE_PER_BATCH_MAX), bytes: self.due.bytes };
        let mut sink = sink(&mut self.events, self.bytes, until);
        self.allocator.work(&mut sink);
        self.bytes = sink.bytes;
    }

    /// Decides anything else.
    pub fn rest(&mut self, command: &Command) -> Tried {
        let whole = self.allocator.entry(self.bytes_max);
        if !self.allocator.is_soft(command) {
            let most = self.allocator.most_that_may_come_of(command);
            let fits = self.events.is_empty() || self.events.len() + most.events <= whole.events && self.bytes + most.bytes <= whole.bytes;
            if self.bytes_max == 0 || !fits {
                return Tried::Full;
            }
        }
        let until = Weight { events: whole.events.min(self.events.len() + DUE_PER_BATCH_MAX), bytes: whole.bytes };
        match self.decide(command, until) {
            Some(outcome) => Tried::Decided(Box::new(outcome)),
            None => Tried::Later,
        }
    }

    fn decide(&mut self, command: &Command, until: Weight) -> Option<Outcome> {
        let mut sink = sink(&mut self.events, self.bytes, until);
        let outcome = self.allocator.try_decide(command, &mut sink);
        self.bytes = sink.bytes;
        outcome
    }

    /// The state, with what this pass decided so far.
    #[must_use]
    pub fn allocator(&self) -> &Allocator {
        self.allocator
    }

    /// The events of the entry; none if nothing hard happened.
    #[must_use]
    pub fn finish(mut self) -> Vec<Event> {
        if self.bytes_max > 0 && !self.allocator.lines_stand() {
            let mut sink = sink(&mut self.events, self.bytes, Weight::default());
            self.allocator.mark_clock(&mut sink);
        }
        self.events
    }
}

/// Where follow-ups are written; the last of them may take as much as a checkout and still fits.
fn sink(events: &mut Vec<Event>, bytes: usize, until: Weight) -> Sink<'_> {
    Sink {
        events,
        bytes,
        follow_ups_until: until.events.saturating_sub(CHECKOUT.events),
        follow_up_bytes_until: until.bytes.saturating_sub(CHECKOUT.bytes),
    }
}

impl Weight {
    fn part(self, of: usize, all: usize) -> Self {
        Self { events: self.events / all * of, bytes: self.bytes / all * of }
    }
}

impl Allocator {
    /// A whole entry of at most so many bytes.
    fn entry(&self, bytes_max: usize) -> Weight {
        Weight { events: self.limits.events_max, bytes: self.limits.entry_bytes_max.min(bytes_max) }
    }

    /// Begins a pass.
    pub fn pass(&mut self, moment: Moment, plan: PassPlan<'_>) -> Pass<'_> {
        self.step_to(moment);
        self.pass_writes = plan.bytes_max > 0;
        let whole = self.entry(plan.bytes_max);
        let quarter = whole.part(1, 4);
        let most = plan.rest.map(|command| self.most_that_may_come_of(command));
        let wide = most.is_some_and(|most| most.events > quarter.events || most.bytes > quarter.bytes);
        let rest = match most {
            None => Weight::default(),
            // One that is larger than its share takes the share of what is due as well, in its own turn, and as much of the lane's as it needs.
            Some(most) => Weight { events: most.events.max(quarter.events), bytes: most.bytes.max(quarter.bytes) },
        };
        let left = Weight { events: whole.events.saturating_sub(rest.events), bytes: whole.bytes.saturating_sub(rest.bytes) };
        let due = if wide || !self.is_due() { Weight::default() } else { quarter };
        let lane = Weight { events: left.events - due.events.min(left.events), bytes: left.bytes - due.bytes.min(left.bytes) };
        let due = if wide { Weight::default() } else { left };
        Pass { allocator: self, events: Vec::new(), bytes: 0, bytes_max: plan.bytes_max, lane, due }
    }

    /// Decides one batch: renewals and repeats first, and what is said of presence, then what is due, then the rest in their order, each within its share
    /// of the entry as in any [`Pass`]. It takes several batches when what is due or what is asked is more than that.
    ///
    /// Whoever calls it appends `events` as one entry, calls [`Allocator::sealed`], and gives `left` to the next batch before anything newer.
    pub fn decide_batch<T, C: Borrow<Command>>(&mut self, moment: Moment, commands: Vec<(T, C)>) -> Batch<T, C> {
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut left = Vec::new();
        let mut rest = Vec::with_capacity(commands.len());
        // A start comes before everything, and is alone in its entry.
        let recovering = commands.iter().any(|(_, command)| matches!(command.borrow(), Command::Recover { .. }));
        let works = self.safeguards.due_before_decide;
        let first = |allocator: &Self, command: &Command| {
            if recovering { matches!(command, Command::Recover { .. }) } else { allocator.comes_before_due(command) }
        };
        let mut waiting = commands.iter().map(|(_, command)| command.borrow());
        let waits = waiting.find(|command| !recovering && !first(self, command) && !command.tells_presence());
        let mut pass = self.pass(moment, PassPlan { bytes_max: ENTRY_BYTES_MAX, rest: waits });
        for (tag, command) in commands {
            if !first(pass.allocator, command.borrow()) {
                rest.push((tag, command));
                continue;
            }
            match pass.lane(command.borrow()) {
                Some(outcome) => outcomes.push((tag, outcome)),
                // What does not fit its share does not take another's.
                None => left.push((tag, command)),
            }
        }
        if recovering {
            left.append(&mut rest);
            return Batch { events: pass.events, outcomes, left };
        }
        let hears_first = pass.allocator.safeguards.presence_hears_first;
        let unheard: BTreeSet<LeaseId> = left.iter().filter_map(|(_, command)| command.borrow().lease()).collect();
        let mut later = Vec::with_capacity(rest.len());
        for (tag, command) in rest {
            if hears_first && command.borrow().tells_presence() {
                match pass.rest(command.borrow()) {
                    Tried::Decided(outcome) => outcomes.push((tag, *outcome)),
                    Tried::Full | Tried::Later => left.push((tag, command)),
                }
            } else {
                later.push((tag, command));
            }
        }
        if works || later.iter().any(|(_, command)| matches!(command.borrow(), Command::Sweep)) {
            pass.due(Waits { renewal: moment.at, repeat: moment.at, presence: moment.at });
        }
        let mut rest = later.into_iter();
        for (tag, command) in rest.by_ref() {
            if hears_first && matches!(command.borrow(), Command::PresenceClosed { lease, .. } if unheard.contains(lease)) {
                left.push((tag, command));
                continue;
            }
            match pass.rest(command.borrow()) {
                Tried::Decided(outcome) => outcomes.push((tag, *outcome)),
                Tried::Later => left.push((tag, command)),
                Tried::Full => {
                    left.push((tag, command));
                    break;
                }
            }
        }
        left.extend(rest);
        Batch { events: pass.finish(), outcomes, left }
    }

    /// What is decided before what is due, in the share of the lane: renewals, and checkouts of ids that hold a seat, wait, or have a seat that lingers.
    ///
    /// More than what [`Allocator::says_who_lives`]: an unknown id may be renewed in vain, and whoever asks for a seat that lingers hears that it has
    /// ended, whatever is due.
    #[must_use]
    pub fn comes_before_due(&self, command: &Command) -> bool {
        match command {
            Command::Renew { .. } => true,
            Command::Adopt { lease, .. } | Command::Checkout { lease, .. } => {
                self.leases.find(lease).is_some() || self.waiting_ids.contains_key(lease)
            }
            _ => false,
        }
    }

    /// What a command says of the life of some client, if anything: a checkout of an id that holds a seat or waits, which is a repeat, and what tells of
    /// presence. Renewals of live leases never come here: they wait in a lane of their own.
    #[must_use]
    pub fn says_who_lives(&self, command: &Command) -> Option<Sign> {
        match command {
            Command::Adopt { lease, .. } | Command::Checkout { lease, .. } => {
                matches!(self.standing(lease), Standing::Live | Standing::Waiting).then_some(Sign::Repeat)
            }
            command => command.tells_presence().then_some(Sign::Presence),
        }
    }

    /// Notes of a command that is refused undecided (too much waits, the disk has no room for it, or whoever asked has gone) that some client lives: an
    /// opening counts as one that was refused otherwise, and a repeat as far as that needs no entry.
    pub fn comes_in_vain(&mut self, command: &Command) {
        match command {
            Command::Adopt { lease, .. } | Command::Checkout { lease, .. } if self.says_who_lives(command).is_some() => {
                if self.safeguards.presence_hears_first {
                    self.refuses_presence(lease);
                }
                if self.safeguards.due_not_past_repeats {
                    self.hear_in_vain(lease);
                }
            }
            _ if !self.safeguards.presence_hears_first => {}
            Command::PresenceAdded { lease, .. } | Command::PresenceOpened { lease, .. } | Command::PresenceRefused { lease } => {
                self.refuses_presence(lease);
            }
            Command::PresenceTurnedAway { named } => self.turned_away.note(*named, self.now.at),
            Command::PresenceUnnamed { unnamings } => self.unnames(*unnamings),
            _ => {}
        }
    }

    /// Notes that a command was refused, for want of room or because too much waits, whose client asks for a lease or a place of its own that was not heard
    /// in this epoch: that it is heard is written as soon as that is possible, and nothing that is due ends before. What was asked with an older attempt
    /// or other content says nothing, as it would if it were decided.
    pub fn owes_a_hearing(&mut self, command: &Command) {
        let (Command::Adopt { lease, attempt, content, .. } | Command::Checkout { lease, attempt, content, .. }) = command else { return };
        let is_newest = match self.leases.find(lease) {
            Some(slot) => self.leases.at(slot).content == *content && self.leases.at(slot).attempt <= *attempt,
            None => {
                let waiter = self.waiting_ids.get(lease).and_then(|order| self.line.get(order));
                waiter.is_some_and(|waiter| waiter.content == *content && waiter.attempt <= *attempt)
            }
        };
        if is_newest && self.safeguards.asked_in_vain_is_heard && self.unheard(lease).is_some() {
            self.asked_in_vain.insert(*lease);
        }
    }

    /// How a lease or a place stands whose next asking is a fact; `None` if nothing lives under this id, or nothing needs to be written of it.
    pub(crate) fn unheard(&self, lease: &LeaseId) -> Option<Standing> {
        let epoch = self.epoch_narrow();
        if let Some(slot) = self.leases.find(lease) {
            let lease = self.leases.at(slot);
            let needs_a_fact = lease.phase == Phase::Claimable || lease.phase == Phase::Live && lease.heard != epoch;
            return (needs_a_fact && lease.ending.is_none() && self.safeguards.heard_is_durable).then_some(Standing::Live);
        }
        let waiter = self.waiting_ids.get(lease).and_then(|order| self.line.get(order))?;
        (waiter.heard != epoch && self.safeguards.waiter_heard).then_some(Standing::Waiting)
    }

    /// What is known of an id.
    #[must_use]
    pub fn standing(&self, lease: &LeaseId) -> Standing {
        match self.leases.find(lease) {
            Some(slot) if self.leases.at(slot).phase != Phase::Lingering => Standing::Live,
            Some(_) => Standing::Remembered,
            None if self.waiting_ids.contains_key(lease) => Standing::Waiting,
            None if self.remembered.contains(lease) => Standing::Remembered,
            None => Standing::Unknown,
        }
    }

    /// Whether this command is certainly decided without an entry: it is a repeat, or says nothing that a crash may not forget.
    #[must_use]
    pub fn is_soft(&self, command: &Command) -> bool {
        match command {
            Command::PresenceAdded { .. }
            | Command::PresenceDropped { .. }
            | Command::PresenceOpened { .. }
            | Command::PresenceRefused { .. }
            | Command::PresenceTurnedAway { .. }
            | Command::PresenceUnnamed { .. }
            | Command::Sweep => true,
            Command::Renew { lease, .. } => match self.leases.find(lease) {
                Some(slot) if self.leases.at(slot).phase != Phase::Lingering => self.is_heard(slot),
                _ => !self.freed_by_presence.contains_key(lease),
            },
            Command::Install(install) => self.is_nothing_to_install(install),
            Command::Adopt { lease, attempt, shown, .. } => self.shows_nothing_new(lease, shown) && self.is_soft_checkout(lease, *attempt),
            Command::Checkout { lease, attempt, .. } => self.is_soft_checkout(lease, *attempt),
            Command::Release { lease, .. } => match self.standing(lease) {
                Standing::Live | Standing::Waiting | Standing::Unknown => false,
                Standing::Remembered => {
                    self.leases.find(lease).is_some() || self.remembered.get(lease).is_some_and(|known| known.ended.is_some())
                }
            },
            _ => false,
        }
    }

    /// A shown grant of which no fact comes. Where there is no room, that is so of whoever lives: its grant is noted, and it is renewed.
    fn shows_nothing_new(&self, lease: &LeaseId, shown: &ShownGrant) -> bool {
        if !self.has_room() {
            return self.standing(lease) == Standing::Live;
        }
        let proves = self.judge(shown) == Judgement::Proof && self.safeguards.rollback_is_proved;
        self.quarantine_until.is_none() && !proves
    }

    fn is_soft_checkout(&self, lease: &LeaseId, attempt: u32) -> bool {
        match self.leases.find(lease) {
            Some(slot) if self.leases.at(slot).phase != Phase::Lingering => self.is_heard(slot),
            Some(_) => !self.freed_by_presence.contains_key(lease),
            None if self.waiting_ids.contains_key(lease) => {
                let heard = |order| self.line.get(order).is_none_or(|waiter| waiter.heard == self.epoch_narrow());
                self.waiting_ids.get(lease).is_none_or(heard) || !self.safeguards.waiter_heard
            }
            None => self.remembered.get(lease).is_some_and(|known| match known.ended {
                Some(_) => !self.freed_by_presence.contains_key(lease),
                None => known.denial.is_some() && known.attempt == attempt && self.safeguards.attempts_ordered,
            }),
        }
    }

    /// A renewal of this lease moves its deadline and nothing else.
    fn is_heard(&self, slot: Slot) -> bool {
        let lease = self.leases.at(slot);
        let settled = lease.ending.is_some() || !self.safeguards.stranded_checked_at_renewal || !self.is_stranded(slot);
        settled
            && (lease.ending.is_some()
                || lease.heard == self.epoch_narrow() && lease.phase == Phase::Live && self.changed_ttl(slot).is_none())
    }

    /// Something is due now.
    fn is_due(&self) -> bool {
        !self.asked_in_vain.is_empty()
            || self.next_deadline().is_some_and(|due| due <= self.due_until)
            || self.next_civil_deadline_ms().is_some_and(|due| due <= self.now.wall_ms)
    }

    /// Says whether there is room for everything. While there is not, lines stand still and nothing that is due ends; when there is again, every
    /// waiter has its full time to ask, and every seat that waits to be claimed its full time to be claimed. Soft: a start begins with room.
    pub fn set_room(&mut self, enough: bool) {
        let stood = self.lines_stand();
        self.has_room = enough;
        if !stood || self.lines_stand() {
            return;
        }
        self.resumes_lines = true;
    }

    /// There is room for everything, as was said last.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.has_room
    }

    /// The disk is full, so nobody is granted a seat, loses one or leaves a line.
    pub(crate) fn lines_stand(&self) -> bool {
        !self.has_room && self.safeguards.lines_stand_while_full
    }

    /// The most that a command may add to an entry.
    fn most_that_may_come_of(&self, command: &Command) -> Weight {
        match command {
            Command::Install(install) => {
                Weight { events: ENTITLEMENTS_PER_LICENSE_MAX + 64, bytes: 2 * install.license.note().text().len() + 65_536 }
            }
            Command::Reread { read: Ok(license), .. } => {
                Weight { events: ENTITLEMENTS_PER_LICENSE_MAX + 64, bytes: 2 * license.note().text().len() + 65_536 }
            }
            Command::Remove { .. } => Weight { events: ENTITLEMENTS_PER_LICENSE_MAX + 1, bytes: 65_536 },
            // Its charges may have to move first.
            Command::Renew { .. } if self.stranded.is_empty() => Weight { events: MOVES_PER_CHECKOUT_MAX, bytes: 8_192 },
            _ => CHECKOUT,
        }
    }
}
