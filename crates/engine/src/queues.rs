//! What waits to be decided and is not in the lane: turns by network, within it by connection, and how much of it there may be.

use std::collections::BTreeMap;

use triquest_allocator::{
    Command,
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
    /// When it arrived, by the boot clock, if it says that some client lives.
    pub(crate) lives_since_ms: Option<u64>,
}

/// What waits of a wider network.
#[derive(Clone, Copy, Debug, Default)]
struct Around {
    commands: usize,
    /// Of so many networks.
    networks: usize,
}

#[derive(Debug)]
pub(crate) struct Queues<T> {
    turns: Turns<Option<Network>, u64, Queued<T>>,
    wider: BTreeMap<WideNetwork, Around>,
    /// When those arrived that say that some client lives, and how many of each time wait.
    lives_since: BTreeMap<u64, usize>,
    limits: QueueLimits,
}

impl<T> Queues<T> {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self { turns: Turns::new(limits.commands_per_turn_max), wider: BTreeMap::new(), lives_since: BTreeMap::new(), limits }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Whether so many more commands of this origin may wait. What does not exceed a limit by itself always fits an empty queue.
    pub(crate) fn admits(&self, origin: &Origin, count: usize) -> bool {
        let local = self.turns.len_of(&None);
        let Some(network) = origin.network else { return local == 0 || local + count <= self.limits.commands_local_max };
        let around = self.wider.get(&network.wide()).copied().unwrap_or_default();
        let has = Has {
            own: self.turns.len_of(&origin.network) as u64,
            wider: around.commands as u64,
            all: (self.turns.len() - local) as u64,
            within: around.networks as u64,
            present: self.wider.len() as u64,
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
        self.counts(&queued);
        self.turns.push(queued.origin.network, queued.origin.connection, queued);
    }

    pub(crate) fn pop(&mut self) -> Option<Queued<T>> {
        let (network, _, queued) = self.turns.pop()?;
        if let Some(wider) = network.map(Network::wide)
            && let Some(around) = self.wider.get_mut(&wider)
        {
            around.commands -= 1;
            around.networks -= usize::from(self.turns.len_of(&network) == 0);
            if around.commands == 0 {
                self.wider.remove(&wider);
            }
        }
        if let Some(since_ms) = queued.lives_since_ms
            && let Some(count) = self.lives_since.get_mut(&since_ms)
        {
            *count -= 1;
            if *count == 0 {
                self.lives_since.remove(&since_ms);
            }
        }
        Some(queued)
    }

    /// Counts one that is not among them yet.
    fn counts(&mut self, queued: &Queued<T>) {
        if let Some(network) = queued.origin.network {
            let is_first = self.turns.len_of(&queued.origin.network) == 0;
            let around = self.wider.entry(network.wide()).or_default();
            around.commands += 1;
            around.networks += usize::from(is_first);
        }
        if let Some(since_ms) = queued.lives_since_ms {
            *self.lives_since.entry(since_ms).or_default() += 1;
        }
    }

    /// When the oldest of those arrived that say that some client lives.
    pub(crate) fn lives_since_ms(&self) -> Option<u64> {
        self.lives_since.first_key_value().map(|(since_ms, _)| *since_ms)
    }

    /// Gives one back that was just taken; several in the reverse order.
    pub(crate) fn give_back(&mut self, queued: Queued<T>) {
        self.counts(&queued);
        self.turns.give_back(queued.origin.network, queued.origin.connection, queued);
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
