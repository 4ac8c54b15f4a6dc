//! The driver's face: commands go in, durable answers come out.
//!
//! The engine decides, in one order; this is what stands around it. The leader's loop gives it what has arrived, reads the clocks, and carries out
//! what comes of a pass. While entries are being written, renewals that need no entry are answered and everything else gathers for the next entry:
//! that is what makes one append serve many requests. The publisher, a task of its own, shows and answers what has become durable.
//!
//! ```text
//! requests ─▶ leader: engine ─▶ journal thread
//!                ▲   │ └─ no entry, confirmed: answers ─▶
//!                │   └─ committed: publisher: view, feed, signatures, answers ─▶
//!                └── committed, full, room, unknown, fault ─┘
//! ```
//!
//! An answer never tells more than the view shows: while the publisher is behind, what needs no entry goes through it too. Renewals alone wait for
//! nobody; what is answered from the view is therefore answered only while the view holds all that is committed, and else decided by the engine.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use triquest_allocator::{Command, Epoch, Index, Instance, Lineage, Outcome, Safeguards};
use triquest_engine::{Asked, MayWrite, Origin, Request, TookEffect, Why, grants::GrantSigner, limits::ROOM_AGAIN_BYTES};
use triquest_journal::{History, Journal, JournalError, JournalErrorKind, RESERVE_BYTES, record::Entry, snapshot::Remote};
use triquest_license::{ServerKey, SigningKey};
use triquest_wire::{
    Position,
    limits::ANSWER_MS_MAX,
    status::{ClockState, FullDisk, JournalState},
    trust::SignedGrant,
};

use crate::{
    appender::Appender,
    clock::Clock,
    config::Fault,
    feed::{self, Feed},
    gate::Denial,
    leader::{Leader, Message},
    limits::MESSAGES_MAX,
    publisher::Publisher,
    recovery::{self, Recovered},
    snapshots::Snapshots,
    ticket::Ticket,
    view::View,
};

/// A durable answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was decided.
    pub outcome: Outcome,
    /// The last durable entry that the answer depends on.
    pub position: Position,
    /// For a granted lease that was asked for with a nonce.
    pub signed: Option<SignedGrant>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// No room: nothing that needs the disk is decided.
    #[error("{}", FullDisk::FULL)]
    DiskFull(TookEffect),
    /// An inner fault.
    #[error("the server failed; its log says why")]
    Internal,
    /// Taken, but whether it is durable is not known.
    #[error("the outcome is not known yet; repeat the same request")]
    OutcomeUnknown,
    /// Too many commands wait.
    #[error("too many requests wait")]
    Overloaded(TookEffect),
    /// The server stops.
    #[error("the server is stopping")]
    Stopping(TookEffect),
}

impl From<Why> for DriverError {
    fn from(why: Why) -> Self {
        match why {
            Why::DiskFull(effect) => Self::DiskFull(effect),
            Why::Gone | Why::Unknown => Self::OutcomeUnknown,
            Why::Overloaded(effect) => Self::Overloaded(effect),
            Why::Stopping(effect) => Self::Stopping(effect),
        }
    }
}

impl DriverError {
    /// Whether this sending of the request may have changed something.
    #[must_use]
    pub fn took_effect(self) -> TookEffect {
        match self {
            Self::DiskFull(effect) | Self::Overloaded(effect) | Self::Stopping(effect) => effect,
            Self::Internal | Self::OutcomeUnknown => TookEffect::Unknown,
        }
    }
}

/// What a driver is made of.
pub struct Parts {
    /// The data directory, whose key goes into backups. Empty if there is none.
    pub data_dir: PathBuf,
    /// Opened and locked.
    pub journal: Box<dyn Journal>,
    /// Signs grants.
    pub signing_key: Arc<SigningKey>,
    /// The same key's public half.
    pub server_key: ServerKey,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// All on, in a server.
    pub safeguards: Safeguards,
    /// Random for each start.
    pub instance: [u8; 32],
    /// The longest `ttl_max` among the licenses of the license folder, milliseconds: lost history may have granted by them.
    pub folder_ttl_max_ms: u64,
}

/// Sends commands to the driver and waits for durable answers. Clones are the same driver.
#[derive(Clone)]
pub struct Driver {
    shared: Arc<Shared>,
}

struct Shared {
    asks: mpsc::Sender<Message>,
    view: Arc<View>,
    feed: Arc<Feed>,
    appender: Appender,
    fault: watch::Receiver<Option<Fault>>,
    state: Arc<State>,
    tasks: Mutex<Option<Tasks>>,
    data_dir: PathBuf,
}

/// What must have ended before the journal may be opened again.
struct Tasks {
    leader: tokio::task::JoinHandle<()>,
    publisher: tokio::task::JoinHandle<()>,
    journal: Option<std::thread::JoinHandle<()>>,
}

/// What [`State::journal`] holds while the reserve is used up.
const JOURNAL_USED_UP: u8 = 2;

/// What [`State::journal`] holds: 0 while there is room.
pub(crate) fn journal_state(may_write: MayWrite) -> u8 {
    match may_write {
        MayWrite::All => 0,
        MayWrite::Reserved => 1,
        MayWrite::Nothing => JOURNAL_USED_UP,
    }
}

/// What the leader says of itself beside answers.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) journal: AtomicU8,
    pub(crate) clock: AtomicU8,
    /// What can still be written, in bytes, the reserve included.
    pub(crate) left_bytes: AtomicU64,
    /// The last entry that was handed to the journal.
    handed_out: AtomicU64,
    /// Its start, in its history.
    start: Mutex<(Lineage, Epoch)>,
}

impl State {
    /// An entry is handed to the journal.
    pub(crate) fn hand_out(&self, entry: &Entry) {
        let mut start = self.start.lock();
        *start = (entry.lineage, entry.epoch);
        self.handed_out.store(entry.index.0, Ordering::Release);
    }

    /// The last entry that was handed to the journal.
    pub(crate) fn handed_out(&self) -> Position {
        let start = self.start.lock();
        feed::position(start.0, start.1, Index(self.handed_out.load(Ordering::Acquire)))
    }
}

/// Loads the journal's state, makes the new epoch durable, and starts the driver in the present tokio runtime. Blocks while it reads.
///
/// # Errors
/// A [`JournalError`]: what is wrong with the journal, with a next step.
pub fn start(parts: Parts) -> anyhow::Result<Driver> {
    let Parts { data_dir, mut journal, signing_key, server_key, clock, safeguards, instance, folder_ttl_max_ms } = parts;
    let mut short = [0; 16];
    short.copy_from_slice(&instance[..16]);
    let instance = Instance(short);
    let (reports, reported) = mpsc::unbounded_channel();
    let (mut appender, hand_over) = Appender::start(journal.leads_by_lock(), reports)?;
    let recovered = recovery::recover(&mut *journal, safeguards.clone(), &clock, instance, folder_ttl_max_ms)?;
    let Recovered { engine, view, counts, entry } = recovered;
    let lineage = entry.lineage;

    let (asks, asked) = mpsc::channel(MESSAGES_MAX);
    let (publish, published) = mpsc::unbounded_channel();
    let (fault, faults) = watch::channel(None);
    let fault = Arc::new(fault);
    let state = Arc::new(State::default());
    state.hand_out(&entry);
    state.journal.store(journal_state(engine.may_write()), Ordering::Relaxed);
    state.left_bytes.store(engine.room().left_bytes, Ordering::Relaxed);
    hand_over.send(journal).map_err(|_| anyhow::anyhow!("the journal's thread has ended"))?;
    let thread = appender.take_thread();
    let view = Arc::new(view);
    let position = feed::position(lineage, entry.epoch, entry.index);
    let handed_out = {
        let state = Arc::clone(&state);
        move || state.handed_out()
    };
    let feed = Arc::new(Feed::new(position, handed_out, {
        let appender = appender.clone();
        move |work| {
            appender.work(work);
        }
    }));

    let publisher = Publisher {
        view: Arc::clone(&view),
        feed: Arc::clone(&feed),
        signer: GrantSigner::new(signing_key, &server_key, instance),
        fault: Arc::clone(&fault),
    };
    let publisher = tokio::spawn(publisher.run(published));
    let boot_ms = clock.boot_ms();
    let leader = Leader {
        engine,
        clock,
        asked,
        reported,
        appender: appender.clone(),
        publish,
        fault,
        state: Arc::clone(&state),
        view: Arc::clone(&view),
        snapshots: Snapshots::new(safeguards, counts),
        heard: Vec::new(),
        boot_ms,
        ended: false,
    };
    let leader = tokio::spawn(leader.run());
    let tasks = Mutex::new(Some(Tasks { leader, publisher, journal: thread }));
    Ok(Driver { shared: Arc::new(Shared { asks, view, feed, appender, fault: faults, state, tasks, data_dir }) })
}

/// The driver as somebody asks it.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    driver: &'a Driver,
    origin: Origin,
}

impl Asking<'_> {
    /// Decides one command. `nonce` is for the signed grant of a checkout or adoption.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn decide(self, command: Command, nonce: Option<[u8; 32]>) -> Result<Answer, DriverError> {
        self.decide_charged(command, nonce, Denial::default(), 0).await
    }

    /// Many commands; answers in the order asked, each for itself.
    ///
    /// # Errors
    /// [`DriverError`], for all of them.
    pub async fn decide_many(self, commands: Vec<Command>) -> Result<Vec<Result<Answer, DriverError>>, DriverError> {
        self.ask(commands.into(), 0, Ticket::Many).await
    }

    /// A checkout that waits: held at most `held_ms`, answered early as soon as the seat is granted or the waiter leaves the line.
    ///
    /// If the caller goes away, the place in line stays until the waiter has not asked for a while, and a seat that was granted meanwhile
    /// waits to be claimed: nothing is lost.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn decide_waiting(self, command: Command, nonce: [u8; 32], held_ms: u64) -> Result<Answer, DriverError> {
        self.decide_charged(command, Some(nonce), Denial::default(), held_ms).await
    }

    /// The same for what is charged in case it is denied: that is settled by the decision, also where the caller has gone away by then. Held at most
    /// `hold_ms`.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn decide_charged(
        self,
        command: Command,
        nonce: Option<[u8; 32]>,
        denial: Denial,
        hold_ms: u64,
    ) -> Result<Answer, DriverError> {
        self.ask(command.into(), hold_ms, |reply| Ticket::One(reply, nonce, denial)).await
    }

    async fn ask<R>(
        self,
        asked: Asked,
        hold_ms: u64,
        ticket: impl FnOnce(oneshot::Sender<Result<R, DriverError>>) -> Ticket,
    ) -> Result<R, DriverError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { ticket: ticket(reply), origin: self.origin, arrived_ms: 0, asked, hold_ms };
        let asks = &self.driver.shared.asks;
        // There is nearly always room, and then nothing need wait for it.
        let mut waits = match asks.try_send(Message::Request(request)) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(message)) => Some(message),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(DriverError::Stopping(TookEffect::No)),
        };
        let answered = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX.saturating_add(hold_ms)), async {
            if waits.is_some() {
                // Nothing of it was taken while it waits to be sent, and nothing will be.
                let room = asks.reserve().await.map_err(|_| DriverError::Stopping(TookEffect::No))?;
                if let Some(message) = waits.take() {
                    room.send(message);
                }
            }
            // Nobody will answer any more, but the command was taken.
            answer.await.unwrap_or(Err(DriverError::OutcomeUnknown))
        });
        match answered.await {
            Ok(answer) => answer,
            Err(_) if waits.is_none() => Err(DriverError::OutcomeUnknown),
            Err(_) => Err(DriverError::Overloaded(TookEffect::No)),
        }
    }
}

impl Driver {
    /// The driver as the server itself or somebody at the Unix socket asks it.
    #[must_use]
    pub fn local(&self) -> Asking<'_> {
        self.from(Origin::SERVER)
    }

    /// The driver as somebody asks it.
    #[must_use]
    pub fn from(&self, origin: Origin) -> Asking<'_> {
        Asking { driver: self, origin }
    }

    /// Decides one command of the server's own. `nonce` is for the signed grant of a checkout or adoption.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn decide(&self, command: Command, nonce: Option<[u8; 32]>) -> Result<Answer, DriverError> {
        self.local().decide(command, nonce).await
    }

    /// From now on nobody's answer is held; those that wait hear their place in line.
    pub async fn stop_holding(&self) {
        let _ = self.shared.asks.send(Message::StopHolding).await;
    }

    /// The number of the last entry that was handed to the journal: more of this history nobody can have seen.
    #[must_use]
    pub fn handed_out(&self) -> u64 {
        self.shared.state.handed_out.load(Ordering::Acquire)
    }

    /// The last committed state. Reads never enter the driver.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.shared.view
    }

    /// Committed entries, for event streams.
    #[must_use]
    pub fn feed(&self) -> &Arc<Feed> {
        &self.shared.feed
    }

    /// Whether the journal has room.
    #[must_use]
    pub fn journal_state(&self) -> JournalState {
        match self.shared.state.journal.load(Ordering::Relaxed) {
            0 => JournalState::Ok,
            _ => JournalState::DiskFull,
        }
    }

    /// How much room there is and how much is needed, if there is too little.
    #[must_use]
    pub fn full_disk(&self) -> Option<FullDisk> {
        (self.journal_state() == JournalState::DiskFull).then(|| FullDisk {
            left_bytes: self.shared.state.left_bytes.load(Ordering::Relaxed),
            needs_bytes: RESERVE_BYTES + ROOM_AGAIN_BYTES,
            reserve_bytes: RESERVE_BYTES,
            used_up: self.shared.state.journal.load(Ordering::Relaxed) == JOURNAL_USED_UP,
            path: None,
        })
    }

    /// Whether the wall clock is believed.
    #[must_use]
    pub fn clock_state(&self) -> ClockState {
        match self.shared.state.clock.load(Ordering::Relaxed) {
            0 => ClockState::Unsynchronized,
            1 => ClockState::Synchronized,
            _ => ClockState::Held,
        }
    }

    /// Runs `work` on the journal between appends; it must be short.
    ///
    /// # Errors
    /// If the journal was closed.
    pub async fn with_journal<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn History) -> R + Send + 'static,
    ) -> Result<R, JournalError> {
        let closed = || JournalError::new(JournalErrorKind::System, "the journal was closed", "");
        self.shared.appender.with_journal(work).await.ok_or_else(closed)
    }

    /// Writes a backup to a file that must not exist, while everything goes on: the journal is read in portions between appends.
    ///
    /// # Errors
    /// [`JournalError`], by reason.
    pub async fn backup(&self, path: PathBuf) -> Result<(), JournalError> {
        let appender = self.shared.appender.clone();
        let data_dir = self.shared.data_dir.clone();
        let copied = tokio::task::spawn_blocking(move || {
            let mut journal = Remote::new(move |work| appender.work(work))?;
            let data_dir = (!data_dir.as_os_str().is_empty()).then_some(&*data_dir);
            triquest_journal::backup::backup(&mut journal, data_dir, &path).map(|_| ())
        });
        copied.await.unwrap_or_else(|error| Err(JournalError::new(JournalErrorKind::System, format!("the backup failed: {error}"), "")))
    }

    /// Resolves when the server must stop because of a fault: a fenced or broken journal, an inner contradiction. Never, otherwise.
    pub async fn faulted(&self) -> Fault {
        let mut fault = self.shared.fault.clone();
        if let Ok(fault) = fault.wait_for(Option::is_some).await
            && let Some(fault) = fault.clone()
        {
            return fault;
        }
        std::future::pending().await
    }

    /// Answers what was taken, refuses what comes after, closes the journal.
    pub async fn stop(self) {
        let _ = self.shared.asks.send(Message::Stop).await;
        let tasks = self.shared.tasks.lock().take();
        let Some(Tasks { leader, publisher, journal }) = tasks else { return };
        let _ = leader.await;
        if let Some(journal) = journal {
            let _ = tokio::task::spawn_blocking(move || journal.join()).await;
        }
        let _ = publisher.await;
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
