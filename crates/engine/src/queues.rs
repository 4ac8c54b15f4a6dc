//! What waits to be decided and is not in the lane: turns by network, within it by connection, and how much of it there may be. Repeats of leases and
//! places that live stand apart from the rest: they are decided while nothing can be written, if they need no entry.

use std::collections::BTreeMap;

use triquest_allocator::{
    Command, Sign,
    share::{Has, Over, Share},
};

use crate::{Answer, Answers, Network, Origin, Ticket, Why, WideNetwork, fair::Turns, limits::QueueLimits};

/// Who waits for the outcome of one command.
#[derive(Debug)]
pub(crate) enum Asker<T> {
    /// The engine itself.
    Nobody,
    One(T),
    /// A part of a request with several.
    Part {
        batch: u64,
        number: usize,
    },
}

/// A command that waits.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    pub(crate) asker: Asker<T>,
    pub(crate) command: Box<Command>,
    pub(crate) origin: Origin,
    /// Until when, by the boot clock, an answer `Waiting` may be held.
    pub(crate) hold_until_ms: u64,
    /// What it says of some client's life, and when it said so, by the boot clock.
    pub(crate) sign: Option<(Sign, u64)>,
    /// It was decided before, and its answer was held: it is no news if nobody waits for it any more.
    pub(crate) again: bool,
}

impl<T> Queued<T> {
    fn kind(&self) -> Kind {
        if matches!(self.sign, Some((Sign::Repeat, _))) { Kind::Repeat } else { Kind::Other }
    }
}

/// Which line a command waits in. Each has limits of its own, so that no made-up command takes the place of one that names what lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Other,
    /// Of a lease or a place that lived when it came.
    Repeat,
}

type Line<T> = Turns<Option<Network>, u64, Queued<T>>;

#[derive(Debug)]
pub(crate) struct Queues<T> {
    others: Line<T>,
    repeats: Line<T>,
    /// Repeats that need an entry and were tried while there could be none. They are older than all that were not tried.
    tried: Line<T>,
    /// Whose turn it is while both kinds wait.
    turn: Kind,
    counts: [Counts; 2],
    /// When those arrived that say that some client lives, and how many of each time wait.
    signs: BTreeMap<(Sign, u64), usize>,
    limits: QueueLimits,
}

/// How many of one kind wait.
#[derive(Debug, Default)]
struct Counts {
    networks: BTreeMap<Option<Network>, usize>,
    wider: BTreeMap<WideNetwork, Around>,
    all: usize,
}

/// What waits of a wider network.
#[derive(Clone, Copy, Debug, Default)]
struct Around {
    commands: usize,
    /// Of so many networks.
    networks: usize,
}

impl Counts {
    fn add(&mut self, network: Option<Network>) {
        self.all += 1;
        let own = self.networks.entry(network).or_default();
        *own += 1;
        if let Some(network) = network {
            let around = self.wider.entry(network.wide()).or_default();
            around.commands += 1;
            around.networks += usize::from(*own == 1);
        }
    }

    fn remove(&mut self, network: Option<Network>) {
        self.all = self.all.saturating_sub(1);
        one_less(&mut self.networks, &network);
        if let Some(wider) = network.map(Network::wide)
            && let Some(around) = self.wider.get_mut(&wider)
        {
            around.commands -= 1;
            around.networks -= usize::from(!self.networks.contains_key(&network));
            if around.commands == 0 {
                self.wider.remove(&wider);
            }
        }
    }

    fn of(&self, network: Option<Network>) -> usize {
        self.networks.get(&network).copied().unwrap_or_default()
    }
}

fn one_less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl<T> Queues<T> {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        let line = || Turns::new(limits.commands_per_turn_max);
        let counts = [Counts::default(), Counts::default()];
        Self { others: line(), repeats: line(), tried: line(), turn: Kind::Repeat, counts, signs: BTreeMap::new(), limits }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.others.is_empty() && self.repeats.is_empty() && self.tried.is_empty()
    }

    /// Whether repeats wait that were not tried in vain.
    pub(crate) fn has_untried_repeats(&self) -> bool {
        !self.repeats.is_empty()
    }

    /// Whether so many more commands of this kind and origin may wait. What does not exceed a limit by itself always fits an empty queue.
    pub(crate) fn admits(&self, origin: &Origin, kind: Kind, count: usize) -> bool {
        if count == 0 {
            return true;
        }
        let counts = &self.counts[kind as usize];
        let local = counts.of(None);
        let Some(network) = origin.network else { return local == 0 || local + count <= self.limits.commands_local_max };
        let around = counts.wider.get(&network.wide()).copied().unwrap_or_default();
        let has = Has {
            own: counts.of(origin.network) as u64,
            wider: around.commands as u64,
            all: (counts.all - local) as u64,
            within: around.networks as u64,
            present: counts.wider.len() as u64,
        };
        let share = Share { network: self.limits.commands_per_network_max as u64, all: self.limits.commands_max as u64 };
        let is_room = has.all == 0 || has.all + count as u64 <= share.all;
        match share.admits(has, count as u64) {
            Ok(()) => true,
            // One request with more commands than a part has room for is not refused for ever; but nobody has more than there is for all.
            Err(Over::Network | Over::EvenPart) => has.own == 0 && is_room,
            Err(Over::Wider | Over::WiderEvenPart) => has.wider == 0 && is_room,
            Err(Over::All) => has.all == 0,
        }
    }

    pub(crate) fn push(&mut self, queued: Queued<T>) {
        self.comes(&queued);
        let line = match queued.kind() {
            Kind::Repeat => &mut self.repeats,
            Kind::Other => &mut self.others,
        };
        line.push(queued.origin.network, queued.origin.connection, queued);
    }

    /// The next. While both kinds wait, they alternate.
    pub(crate) fn pop(&mut self) -> Option<Queued<T>> {
        let turn = self.turn;
        let other = if turn == Kind::Repeat { Kind::Other } else { Kind::Repeat };
        self.turn = other;
        let (_, _, queued) = self.pop_of(turn).or_else(|| self.pop_of(other))?;
        self.goes(&queued);
        Some(queued)
    }

    fn pop_of(&mut self, kind: Kind) -> Option<(Option<Network>, u64, Queued<T>)> {
        match kind {
            Kind::Repeat => self.tried.pop().or_else(|| self.repeats.pop()),
            Kind::Other => self.others.pop(),
        }
    }

    /// The next repeat that was not tried in vain.
    pub(crate) fn pop_untried_repeat(&mut self) -> Option<Queued<T>> {
        let (_, _, queued) = self.repeats.pop()?;
        self.goes(&queued);
        Some(queued)
    }

    fn comes(&mut self, queued: &Queued<T>) {
        self.counts[queued.kind() as usize].add(queued.origin.network);
        if let Some(sign) = queued.sign {
            *self.signs.entry(sign).or_default() += 1;
        }
    }

    fn goes(&mut self, queued: &Queued<T>) {
        self.counts[queued.kind() as usize].remove(queued.origin.network);
        if let Some(sign) = queued.sign {
            one_less(&mut self.signs, &sign);
        }
    }

    /// When the oldest of those arrived that say this.
    pub(crate) fn oldest_ms(&self, sign: Sign) -> Option<u64> {
        self.signs.range((sign, 0)..=(sign, u64::MAX)).next().map(|((_, since_ms), _)| *since_ms)
    }

    /// Gives those back that were just taken, in their order. `first`: they are the next to be taken; else those repeats are that were tried before.
    pub(crate) fn give_back(&mut self, taken: Vec<Queued<T>>, first: bool) {
        let (repeats, others): (Vec<_>, Vec<_>) = taken.into_iter().partition(|queued| queued.kind() == Kind::Repeat);
        for queued in others.into_iter().rev() {
            self.comes(&queued);
            self.others.give_back(queued.origin.network, queued.origin.connection, queued);
        }
        if !first {
            for queued in repeats {
                self.comes(&queued);
                self.tried.push(queued.origin.network, queued.origin.connection, queued);
            }
            return;
        }
        for queued in repeats.into_iter().rev() {
            self.comes(&queued);
            self.tried.give_back(queued.origin.network, queued.origin.connection, queued);
        }
    }
}

/// Requests with several commands, until each of them has its answer.
#[derive(Debug)]
pub(crate) struct Batches<T> {
    open: BTreeMap<u64, Open<T>>,
    next: u64,
}

#[derive(Debug)]
struct Open<T> {
    ticket: T,
    answers: Vec<Option<Result<Answer, Why>>>,
    missing: usize,
}

impl<T: Ticket> Batches<T> {
    pub(crate) fn new() -> Self {
        Self { open: BTreeMap::new(), next: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Opens one of so many parts, at least one.
    pub(crate) fn open(&mut self, ticket: T, parts: usize) -> u64 {
        let batch = self.next;
        self.next += 1;
        self.open.insert(batch, Open { ticket, answers: vec![None; parts], missing: parts });
        batch
    }

    /// Nobody waits for what this asker asked.
    pub(crate) fn is_gone(&self, asker: &Asker<T>) -> bool {
        match asker {
            Asker::Nobody => false,
            Asker::One(ticket) => ticket.is_gone(),
            Asker::Part { batch, .. } => self.open.get(batch).is_some_and(|open| open.ticket.is_gone()),
        }
    }

    /// Notes the answer to one command; what can be told then.
    pub(crate) fn answer(&mut self, asker: Asker<T>, answer: Result<Answer, Why>) -> Option<(T, Result<Answers, Why>)> {
        match asker {
            Asker::Nobody => None,
            Asker::One(ticket) => Some((ticket, answer.map(Answers::One))),
            Asker::Part { batch, number } => {
                let open = self.open.get_mut(&batch)?;
                let place = open.answers.get_mut(number)?;
                if place.replace(answer).is_none() {
                    open.missing -= 1;
                }
                if open.missing > 0 {
                    return None;
                }
                let Open { ticket, answers, .. } = self.open.remove(&batch)?;
                Some((ticket, Ok(Answers::Many(answers.into_iter().flatten().collect()))))
            }
        }
    }
}
