//! What goes into the engine and what comes back.

use triquest_allocator::{Command, Epoch, Index, LeaseId, Lineage, Moment, Outcome, Timestamp};

use crate::Origin;

/// Who asked. The engine carries it back and knows nothing of it. Each ticket comes back exactly once: with its answers or with [`Why`].
pub trait Ticket: Sized {
    /// Nobody waits for the answer any more; what was not decided yet may be dropped.
    fn is_gone(&self) -> bool {
        false
    }
}

/// A prolongation of a lease, without the room that other commands take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Which.
    pub lease: LeaseId,
    /// Grows with each renewal of the lease by one client.
    pub counter: u64,
    /// The same counter with another nonce is a cloned client.
    pub nonce: [u8; 16],
    /// What the application says of its user's idleness, in milliseconds.
    pub idle_ms: Option<u64>,
    /// The generation of presence connection that the client confirms.
    pub presence: Option<u64>,
    /// Its client had lost the right by its own clock and is back for it.
    pub regained: bool,
}

impl From<Renewal> for Command {
    fn from(renewal: Renewal) -> Self {
        let Renewal { lease, counter, nonce, idle_ms, presence, regained } = renewal;
        Self::Renew { lease, counter, nonce, idle_ms, presence, regained }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Several commands in one request. Each is decided for itself, in one pass or several; the answers come together, in this order.
    Many(Vec<Command>),
    /// One command.
    One(Box<Command>),
    /// One renewal.
    Renew(Renewal),
}

impl From<Command> for Asked {
    fn from(command: Command) -> Self {
        match command {
            Command::Renew { lease, counter, nonce, idle_ms, presence, regained } => {
                Self::Renew(Renewal { lease, counter, nonce, idle_ms, presence, regained })
            }
            command => Self::One(Box::new(command)),
        }
    }
}

impl From<Vec<Command>> for Asked {
    fn from(commands: Vec<Command>) -> Self {
        Self::Many(commands)
    }
}

impl Asked {
    /// Its commands, but for a renewal, which is kept without the room of one.
    #[must_use]
    pub fn whole_commands(&self) -> &[Command] {
        match self {
            Self::Many(commands) => commands,
            Self::One(command) => std::slice::from_ref(&**command),
            Self::Renew(_) => &[],
        }
    }

    /// How many commands it counts as, in every queue and limit.
    #[must_use]
    pub fn commands(&self) -> usize {
        match self {
            Self::Many(commands) => commands.len(),
            Self::One(_) | Self::Renew(_) => 1,
        }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request<T> {
    /// Who asked.
    pub ticket: T,
    /// From where.
    pub origin: Origin,
    /// When it arrived, by the boot clock of [`triquest_allocator::ClockReading`], in milliseconds.
    pub arrived_ms: u64,
    /// What.
    pub asked: Asked,
    /// For a checkout that is answered `Waiting`: how long that answer may be held, in milliseconds from the arrival. It is answered sooner if the
    /// seat is granted or the waiter leaves the line. 0 answers at once.
    pub hold_ms: u64,
}

/// What a start is told.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The history that the journal says the next entry belongs to; another than the state's means restored.
    pub lineage: Lineage,
    /// Random for each start.
    pub instance: [u8; 16],
    /// The longest time to live that a license in the folder allows, in milliseconds; 0 if there is none.
    pub folder_ttl_max_ms: u64,
}

/// Counts passes, growing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PassId(pub u64);

/// A point in history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The history.
    pub lineage: Lineage,
    /// The epoch.
    pub epoch: Epoch,
    /// The entry.
    pub index: Index,
}

/// A durable answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was decided.
    pub outcome: Outcome,
    /// The last durable entry that the answer depends on.
    pub position: Position,
    /// The pass in which it was decided.
    pub pass: PassId,
    /// When it was decided.
    pub moment: Moment,
}

/// The answers of one request.
#[derive(Clone, Debug)]
pub enum Answers {
    /// Of [`Asked::Many`], in its order. A part can be without an answer, with the reason.
    Many(Vec<Result<Answer, Why>>),
    /// Of [`Asked::One`] and [`Asked::Renew`].
    One(Answer),
}

/// A soft fact for whoever shows the state: a renewal or a repeat was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which lease or waiter.
    pub lease: LeaseId,
    /// When.
    pub at: Timestamp,
    /// What remains of the promise from then on, in milliseconds; 0 for a waiter.
    pub remaining_ms: u64,
    /// What the application said of its user's idleness, in milliseconds.
    pub idle_ms: Option<u64>,
}

/// Whether *this sending* of a request may have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TookEffect {
    /// It changed nothing and never will. An earlier sending of the same id may have.
    No,
    /// Not known: repeat the id to learn it.
    Unknown,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No room: nothing that needs the disk is decided.
    DiskFull(TookEffect),
    /// Nobody waited for the answer any more, and nothing was decided.
    Gone,
    /// Too many commands wait.
    Overloaded(TookEffect),
    /// The server stops.
    Stopping(TookEffect),
    /// Decided, but whether it is durable is not known; or it waits for a disk that hangs, and does not keep those waiting that came with it; or a newer
    /// request of the same lease took its place.
    Unknown,
}

impl Why {
    /// Whether this sending may have changed something.
    #[must_use]
    pub fn took_effect(self) -> TookEffect {
        match self {
            Self::DiskFull(effect) | Self::Overloaded(effect) | Self::Stopping(effect) => effect,
            Self::Gone => TookEffect::No,
            Self::Unknown => TookEffect::Unknown,
        }
    }
}
