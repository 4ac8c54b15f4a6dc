//! One task decides everything, in one order.
//!
//! A pass takes the commands that wait, reads the clocks, decides, hands the entry to the thread that writes the journal, and goes on. While
//! entries are being written, renewals that need no entry are answered and everything else gathers for the next entry: that is what makes one
//! append serve many requests. The publisher, a task of its own, shows and answers what has become durable, in the order of the journal.
//!
//! ```text
//! requests ─▶ driver ─▶ journal thread ─▶ publisher: view, feed, signatures, answers
//!                ▲ └──── no entry, nothing under way ────▲
//!                └── committed, full, room, fault ─┘
//! ```

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use triquest_allocator::{
    Allocator, CivilClock, Command, Event, Index, Instance, LeaseClock, LeaseId, Lineage, Moment, Outcome, Safeguards, limits::BATCH_MAX,
};
use triquest_journal::{
    Journal, JournalError, JournalErrorKind,
    record::Entry,
    snapshot::{Remote, Work},
};
use triquest_license::{ServerKey, SigningKey};
use triquest_wire::{
    Position,
    limits::{ANSWER_MS_MAX, COMMANDS_WAITING_MAX},
    status::{ClockState, JournalState},
    trust::SignedGrant,
};

use crate::{
    appender::{Appender, Job, Report},
    clock::Clock,
    feed::{self, Feed},
    grants::{GrantSigner, Place},
    recovery::{self, Recovered},
    snapshots::Snapshots,
    view::{Heard, View},
};

/// Entries that are being written at once: one on the disk and one that waits for it, so that the disk need not wait for the driver.
const ENTRIES_UNDER_WAY_MAX: usize = 2;
/// Most messages that one pass takes from the channel.
const MESSAGES_PER_PASS_MAX: usize = 512;
/// The clocks are read at least so often: lease time counts no more than STALL_MS between two readings.
const TICK_MS_MAX: u64 = 500;
/// A tick for something that is due comes no sooner than this after the last pass.
const TICK_MS_MIN: u64 = 5;

const _: () = assert!(TICK_MS_MAX * 2 <= triquest_allocator::limits::STALL_MS);

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
    /// No room: nothing that needs the disk is decided. The request changed nothing.
    #[error("the disk is full, so nothing is granted")]
    DiskFull,
    /// An inner fault.
    #[error("the server failed; its log says why")]
    Internal,
    /// Taken, but whether it is durable is not known.
    #[error("the outcome is not known yet; repeat the same request")]
    OutcomeUnknown,
    /// Too many commands wait. The request changed nothing.
    #[error("too many requests wait")]
    Overloaded,
    /// The server stops. The request changed nothing.
    #[error("the server is stopping")]
    Stopping,
}

/// Why the server had to stop by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong and where.
    pub message: String,
    /// What to do next.
    pub hint: String,
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
    asks: mpsc::Sender<Ask>,
    view: Arc<View>,
    feed: Arc<Feed>,
    appender: Appender<Publish>,
    fault: watch::Receiver<Option<Fault>>,
    state: Arc<State>,
    ended: Mutex<Option<Ended>>,
    data_dir: PathBuf,
}

/// What must have ended before the journal may be opened again.
struct Ended {
    driver: tokio::task::JoinHandle<()>,
    publisher: tokio::task::JoinHandle<()>,
    journal: Option<std::thread::JoinHandle<()>>,
}

/// What the driver says of itself beside answers.
#[derive(Default)]
struct State {
    journal: AtomicU8,
    clock: AtomicU8,
}

type Reply<T> = oneshot::Sender<Result<T, DriverError>>;

/// Kept small, for it is moved from queue to queue.
enum Ask {
    Many { commands: Vec<Command>, reply: Reply<Vec<Answer>> },
    One { command: Box<Command>, nonce: Option<[u8; 32]>, waits: bool, reply: Reply<Answer> },
    Renew { renewal: Renewal, reply: Reply<Answer> },
    Stop,
}

/// [`Command::Renew`] without the room that a checkout takes.
#[derive(Clone, Copy)]
struct Renewal {
    lease: LeaseId,
    counter: u64,
    nonce: [u8; 16],
    idle_ms: Option<u64>,
    presence: Option<u64>,
    regained: bool,
}

impl From<Renewal> for Command {
    fn from(renewal: Renewal) -> Self {
        let Renewal { lease, counter, nonce, idle_ms, presence, regained } = renewal;
        Self::Renew { lease, counter, nonce, idle_ms, presence, regained }
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
    let recovered = recovery::recover(&mut *journal, safeguards.clone(), &clock, instance, folder_ttl_max_ms)?;
    let Recovered { allocator, lease_clock, civil_clock, clock_held, view, counts, entry } = recovered;
    let lineage = entry.lineage;

    let (asks, asked) = mpsc::channel(COMMANDS_WAITING_MAX);
    let (reports, reported) = mpsc::unbounded_channel();
    let (publish, published) = mpsc::unbounded_channel();
    let (fault, faults) = watch::channel(None);
    let fault = Arc::new(fault);
    let state = Arc::new(State::default());
    let mut appender = Appender::start(journal, reports, publish.clone())?;
    let thread = appender.take_thread();
    let view = Arc::new(view);
    let position = feed::position(lineage, entry.epoch, entry.index);
    let feed = Arc::new(Feed::new(position, {
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
    let task = Task {
        allocator,
        lease_clock,
        civil_clock,
        clock,
        clock_held,
        asked,
        reported,
        appender: appender.clone(),
        publish,
        fault,
        state: Arc::clone(&state),
        view: Arc::clone(&view),
        snapshots: Snapshots::new(safeguards, counts),
        lineage,
        committed: entry.index,
        waiting: VecDeque::new(),
        renewals: Vec::new(),
        under_way: VecDeque::new(),
        fresh: HashMap::new(),
        parked: HashMap::new(),
        heard: Vec::new(),
        room: Room::Enough,
        stopping: false,
        next_tick: Instant::now(),
    };
    let driver = tokio::spawn(task.run());
    let ended = Mutex::new(Some(Ended { driver, publisher, journal: thread }));
    Ok(Driver { shared: Arc::new(Shared { asks, view, feed, appender, fault: faults, state, ended, data_dir }) })
}

impl Driver {
    /// Decides one command. `nonce` is for the signed grant of a checkout or adoption.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn decide(&self, command: Command, nonce: Option<[u8; 32]>) -> Result<Answer, DriverError> {
        let (reply, answer) = oneshot::channel();
        self.send(match command {
            Command::Renew { lease, counter, nonce, idle_ms, presence, regained } => {
                Ask::Renew { renewal: Renewal { lease, counter, nonce, idle_ms, presence, regained }, reply }
            }
            command => Ask::One { command: Box::new(command), nonce, waits: false, reply },
        })?;
        self.answer(answer).await
    }

    /// Many renewals in one pass; answers in the order asked.
    ///
    /// # Errors
    /// [`DriverError`], for all of them.
    pub async fn decide_many(&self, commands: Vec<Command>) -> Result<Vec<Answer>, DriverError> {
        let (reply, answer) = oneshot::channel();
        self.send(Ask::Many { commands, reply })?;
        self.answer(answer).await
    }

    /// A checkout that waits: held at most `held_ms`, answered early as soon as the seat is granted or the waiter leaves the line.
    ///
    /// If the caller goes away, the place in line stays until the waiter has not asked for a while, and a seat that was granted meanwhile
    /// waits to be claimed: nothing is lost.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn decide_waiting(&self, command: Command, nonce: [u8; 32], held_ms: u64) -> Result<Answer, DriverError> {
        let again = command.clone();
        let (reply, answer) = oneshot::channel();
        self.send(Ask::One { command: Box::new(command), nonce: Some(nonce), waits: true, reply })?;
        match tokio::time::timeout(Duration::from_millis(held_ms), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.lost()),
            // Asked again by whoever is still there: the answer has the place and the numbers of now.
            Err(_) => self.decide(again, Some(nonce)).await,
        }
    }

    fn send(&self, ask: Ask) -> Result<(), DriverError> {
        self.shared.asks.try_send(ask).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => DriverError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => DriverError::Stopping,
        })
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, DriverError>>) -> Result<T, DriverError> {
        match tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.lost()),
            Err(_) => Err(DriverError::OutcomeUnknown),
        }
    }

    /// Nobody will answer any more, but the command was taken.
    fn lost(&self) -> DriverError {
        DriverError::OutcomeUnknown
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
        work: impl FnOnce(&mut dyn Journal) -> R + Send + 'static,
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
        let _ = self.shared.asks.send(Ask::Stop).await;
        let ended = self.shared.ended.lock().take();
        let Some(Ended { driver, publisher, journal }) = ended else { return };
        let _ = driver.await;
        if let Some(journal) = journal {
            let _ = tokio::task::spawn_blocking(move || journal.join()).await;
        }
        let _ = publisher.await;
    }
}

/// Who asked, and how to tell.
struct Asker {
    reply: To,
    nonce: Option<[u8; 32]>,
    /// The command once more, if the answer is to be held while it is `Waiting`.
    again: Option<Box<Command>>,
    /// The lease and idleness of a renewal or checkout, for the view.
    lease: Option<LeaseId>,
    idle_ms: Option<u64>,
}

enum To {
    Caller(Reply<Answer>),
    /// Nobody: the driver itself.
    Nobody,
    Part {
        group: Arc<Group>,
        number: usize,
    },
}

/// Answers of one request with many commands.
struct Group {
    gathered: Mutex<Gathered>,
}

struct Gathered {
    answers: Vec<Option<Answer>>,
    missing: usize,
    reply: Option<Reply<Vec<Answer>>>,
}

impl Asker {
    fn nobody() -> Self {
        Self { reply: To::Nobody, nonce: None, again: None, lease: None, idle_ms: None }
    }

    fn renews(reply: To, renewal: &Renewal) -> Self {
        Self { reply, nonce: None, again: None, lease: Some(renewal.lease), idle_ms: renewal.idle_ms }
    }

    fn gone(&self) -> bool {
        match &self.reply {
            To::Caller(reply) => reply.is_closed(),
            To::Nobody => false,
            To::Part { group, .. } => group.gathered.lock().reply.as_ref().is_none_or(oneshot::Sender::is_closed),
        }
    }

    fn tell(self, answer: Result<Answer, DriverError>) {
        match self.reply {
            // Whoever has gone asks again with the same id.
            To::Caller(reply) => {
                let _ = reply.send(answer);
            }
            To::Nobody => {}
            To::Part { group, number } => {
                let mut gathered = group.gathered.lock();
                match answer {
                    Err(error) => {
                        if let Some(reply) = gathered.reply.take() {
                            let _ = reply.send(Err(error));
                        }
                    }
                    Ok(answer) => {
                        if let Some(place) = gathered.answers.get_mut(number) {
                            *place = Some(answer);
                            gathered.missing -= 1;
                        }
                        if gathered.missing == 0
                            && let Some(reply) = gathered.reply.take()
                        {
                            let _ = reply.send(Ok(std::mem::take(&mut gathered.answers).into_iter().flatten().collect()));
                        }
                    }
                }
            }
        }
    }
}

/// What the publisher does when an entry is durable, or at once if there is none.
struct Publish {
    entry: Option<Arc<Entry>>,
    /// The last entry that the answers depend on.
    position: Position,
    answers: Vec<(Asker, Outcome)>,
}

struct Publisher {
    view: Arc<View>,
    feed: Arc<Feed>,
    signer: GrantSigner,
    fault: Arc<watch::Sender<Option<Fault>>>,
}

impl Publisher {
    async fn run(self, mut published: mpsc::UnboundedReceiver<Publish>) {
        while let Some(publish) = published.recv().await {
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| self.publish(publish))) {
                let message = format!("what is durable cannot be shown: {}", panic_text(&*panic));
                tracing::error!(message, "the server must stop");
                let hint = "start the server again, and report this with the log".to_owned();
                self.fault.send_replace(Some(Fault { message, hint }));
                return;
            }
        }
    }

    fn publish(&self, publish: Publish) {
        let Publish { entry, position, answers } = publish;
        if let Some(entry) = &entry {
            self.view.publish(entry);
            self.feed.publish(entry);
        }
        let place =
            Place { lineage: Lineage(position.lineage.0), epoch: triquest_allocator::Epoch(position.epoch), index: Index(position.index) };
        // Grants of this entry share one signature; a grant of an older entry that is told again is a tree of its own.
        let mut leaves = Vec::new();
        for (asker, outcome) in &answers {
            if let (Some(nonce), Outcome::Granted(grant)) = (asker.nonce, outcome)
                && let Some(granted) = granted_here(grant, place, entry.is_some())
            {
                leaves.push(self.signer.payload(grant, nonce, granted));
            }
        }
        let mut signed = self.signer.sign(leaves, place).into_iter();
        for (asker, outcome) in answers {
            let signed = match (&outcome, asker.nonce) {
                (Outcome::Granted(grant), Some(nonce)) => {
                    if granted_here(grant, place, entry.is_some()).is_some() {
                        signed.next()
                    } else {
                        let granted = grant.granted_in.map_or(place, |(epoch, index)| Place { lineage: place.lineage, epoch, index });
                        self.signer.sign(vec![self.signer.payload(grant, nonce, granted)], place).pop()
                    }
                }
                _ => None,
            };
            asker.tell(Ok(Answer { outcome, position, signed }));
        }
    }
}

/// The place of a grant that this very entry made; none for one of an older entry.
fn granted_here(grant: &triquest_allocator::Grant, place: Place, entry: bool) -> Option<Place> {
    let here = match grant.granted_in {
        None => true,
        Some((epoch, index)) => entry && (epoch, index) == (place.epoch, place.index),
    };
    here.then_some(place)
}

/// How much room the disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Enough,
    /// Not even for releases.
    None,
    /// For releases, administration and what is due, but grants nothing new.
    Reserve,
}

/// An entry that is being written.
struct UnderWay {
    index: Index,
    /// Leases whose grant or first renewal stands in it.
    fresh: Vec<LeaseId>,
    /// Waiters that it gives a seat or takes out of the line.
    resolved: Vec<LeaseId>,
}

/// A waiter whose request is held.
struct Parked {
    asker: Asker,
    outcome: Outcome,
}

struct Task {
    allocator: Allocator,
    lease_clock: LeaseClock,
    civil_clock: CivilClock,
    clock: Arc<dyn Clock>,
    clock_held: bool,
    asked: mpsc::Receiver<Ask>,
    reported: mpsc::UnboundedReceiver<Report>,
    appender: Appender<Publish>,
    publish: mpsc::UnboundedSender<Publish>,
    fault: Arc<watch::Sender<Option<Fault>>>,
    state: Arc<State>,
    view: Arc<View>,
    snapshots: Snapshots,
    lineage: Lineage,
    committed: Index,
    /// Commands for the next entry.
    waiting: VecDeque<(Asker, Box<Command>)>,
    /// Empty between passes; kept for its room.
    renewals: Vec<(Asker, Renewal)>,
    under_way: VecDeque<UnderWay>,
    /// Leases with a grant or first renewal under way, and the last entry that has one: their renewals wait for it.
    fresh: HashMap<LeaseId, Index>,
    parked: HashMap<LeaseId, Parked>,
    /// Soft facts that the view has not taken yet.
    heard: Vec<Heard>,
    room: Room,
    stopping: bool,
    next_tick: Instant,
}

impl Task {
    async fn run(mut self) {
        let mut messages = Vec::with_capacity(MESSAGES_PER_PASS_MAX);
        let sleep = tokio::time::sleep_until(self.next_tick);
        tokio::pin!(sleep);
        loop {
            if sleep.deadline() > self.next_tick || sleep.is_elapsed() {
                sleep.as_mut().reset(self.next_tick);
            }
            let takes = !self.stopping && self.waiting.len() < COMMANDS_WAITING_MAX;
            tokio::select! {
                biased;
                report = self.reported.recv() => {
                    let lost = Report::Fault(Fault {
                        message: "the thread that writes the journal ended".to_owned(),
                        hint: "start the server again, and report this with the log".to_owned(),
                    });
                    if let Err(fault) = self.report(report.unwrap_or(lost)) {
                        return self.die(fault);
                    }
                    while let Ok(report) = self.reported.try_recv() {
                        if let Err(fault) = self.report(report) {
                            return self.die(fault);
                        }
                    }
                }
                taken = self.asked.recv_many(&mut messages, MESSAGES_PER_PASS_MAX), if takes => {
                    if taken == 0 {
                        self.stopping = true;
                    }
                }
                () = &mut sleep => {}
            }
            let pass = std::panic::catch_unwind(AssertUnwindSafe(|| self.pass(&mut messages)));
            if let Err(panic) = pass {
                return self.die(Fault {
                    message: format!("a decision contradicts the state, so nothing more is decided: {}", panic_text(&*panic)),
                    hint: "nothing of it was written; start the server again, and report this with the log".to_owned(),
                });
            }
            if self.stopping && (self.room == Room::None || self.waiting.is_empty() && self.under_way.is_empty()) {
                for (asker, _) in self.waiting.drain(..) {
                    asker.tell(Err(DriverError::Stopping));
                }
                for (_, Parked { asker, outcome }) in self.parked.drain() {
                    let position = feed::position(self.lineage, self.allocator.epoch(), self.committed);
                    asker.tell(Ok(Answer { outcome, position, signed: None }));
                }
                self.view.hear(&mut self.heard);
                self.appender.send(Job::Stop);
                return;
            }
        }
    }

    /// Something is wrong beyond repair. Whatever was not written is forgotten, and nobody is told a thing that may not be so.
    fn die(mut self, fault: Fault) {
        tracing::error!(message = fault.message, hint = fault.hint, "the server must stop");
        // Not decided yet: these certainly changed nothing.
        for (asker, _) in self.waiting.drain(..) {
            asker.tell(Err(DriverError::Stopping));
        }
        self.asked.close();
        while let Ok(ask) = self.asked.try_recv() {
            match ask {
                Ask::Many { reply, .. } => drop(reply.send(Err(DriverError::Stopping))),
                Ask::One { reply, .. } | Ask::Renew { reply, .. } => drop(reply.send(Err(DriverError::Stopping))),
                Ask::Stop => {}
            }
        }
        self.fault.send_replace(Some(fault));
        self.appender.send(Job::Stop);
    }

    fn report(&mut self, report: Report) -> Result<(), Fault> {
        match report {
            Report::Committed { index, bytes } => {
                self.committed = index;
                while self.under_way.front().is_some_and(|first| first.index <= index)
                    && let Some(done) = self.under_way.pop_front()
                {
                    for lease in done.fresh {
                        if self.fresh.get(&lease) == Some(&done.index) {
                            self.fresh.remove(&lease);
                        }
                    }
                    for lease in done.resolved {
                        self.ask_again(&lease);
                    }
                }
                let appender = &self.appender;
                self.snapshots.appended(bytes, || {
                    let appender = appender.clone();
                    Box::new(move |work: Work| appender.work(work))
                });
            }
            Report::Full => self.set_room(Room::None),
            Report::Reserve => self.set_room(Room::Reserve),
            Report::Room => self.set_room(Room::Enough),
            Report::Fault(fault) => return Err(fault),
        }
        Ok(())
    }

    fn set_room(&mut self, room: Room) {
        self.room = room;
        self.allocator.set_room(match room {
            Room::Enough => triquest_allocator::Room::Enough,
            Room::Reserve => triquest_allocator::Room::Reserve,
            Room::None => triquest_allocator::Room::None,
        });
        self.state.journal.store(u8::from(room != Room::Enough), Ordering::Relaxed);
        let waiting = std::mem::take(&mut self.waiting);
        for (asker, command) in waiting {
            if room_for(room, &command) {
                self.waiting.push_back((asker, command));
            } else {
                asker.tell(Err(DriverError::DiskFull));
            }
        }
    }

    /// A waiter's place has changed for good: its held request is decided again, as a repeat.
    fn ask_again(&mut self, lease: &LeaseId) {
        if let Some(Parked { mut asker, .. }) = self.parked.remove(lease)
            && let Some(command) = asker.again.take()
            && !asker.gone()
        {
            self.waiting.push_front((asker, command));
        }
    }

    /// One pass: stamp, answer renewals, decide the next entry if there is a place for one.
    fn pass(&mut self, messages: &mut Vec<Ask>) {
        let mut renewals = std::mem::take(&mut self.renewals);
        for ask in messages.drain(..) {
            match ask {
                Ask::Renew { renewal, reply } => {
                    if !reply.is_closed() {
                        renewals.push((Asker::renews(To::Caller(reply), &renewal), renewal));
                    }
                }
                Ask::One { command, nonce, waits, reply } => {
                    if reply.is_closed() && matches!(*command, Command::Checkout { .. }) {
                        // Whoever asked has gone before anything was decided, and will ask again if it lives.
                        continue;
                    }
                    let again = waits.then(|| command.clone());
                    self.sort(Asker { reply: To::Caller(reply), nonce, again, lease: None, idle_ms: None }, command);
                }
                Ask::Many { commands, reply } => {
                    let count = commands.len();
                    if count == 0 {
                        let _ = reply.send(Ok(Vec::new()));
                        continue;
                    }
                    let gathered = Gathered { answers: vec![None; count], missing: count, reply: Some(reply) };
                    let group = Arc::new(Group { gathered: Mutex::new(gathered) });
                    for (number, command) in commands.into_iter().enumerate() {
                        let reply = To::Part { group: Arc::clone(&group), number };
                        match command {
                            Command::Renew { lease, counter, nonce, idle_ms, presence, regained } => {
                                let renewal = Renewal { lease, counter, nonce, idle_ms, presence, regained };
                                renewals.push((Asker::renews(reply, &renewal), renewal));
                            }
                            command => {
                                self.sort(Asker { reply, nonce: None, again: None, lease: None, idle_ms: None }, Box::new(command));
                            }
                        }
                    }
                }
                Ask::Stop => {
                    self.stopping = true;
                    self.asked.close();
                }
            }
        }
        // Stamped after draining: a lease may only seem younger than it is.
        let accepts = self.under_way.len() < depth()
            && self.waiting.iter().take(BATCH_MAX).any(|(_, command)| matches!(**command, Command::AcceptClock { .. }));
        let moment = self.stamp(accepts);
        self.renew(moment, &mut renewals);
        self.renewals = renewals;
        self.decide(moment);
        self.view.hear(&mut self.heard);
        self.plan_tick(moment);
    }

    fn sort(&mut self, mut asker: Asker, command: Box<Command>) {
        if !room_for(self.room, &command) {
            if let Command::Adopt { lease, shown, next_lineage, .. } = &*command {
                self.allocator.note_proof(*lease, shown, *next_lineage);
            }
            return asker.tell(Err(DriverError::DiskFull));
        }
        if let Command::Checkout { lease, .. } = &*command {
            asker.lease = Some(*lease);
        }
        self.waiting.push_back((asker, command));
    }

    fn stamp(&mut self, accepts: bool) -> Moment {
        let reading = self.clock.read();
        let at = self.lease_clock.advance(reading);
        let (wall_ms, refused) = if accepts { (self.civil_clock.accept(reading), None) } else { self.civil_clock.advance(reading) };
        let held = refused.is_some();
        if held != self.clock_held && !accepts {
            let (to_ms, believed) = (refused.unwrap_or(wall_ms), !held);
            tracing::warn!(
                believed = crate::view::rfc3339(wall_ms),
                clock = crate::view::rfc3339(to_ms),
                followed = believed,
                "the wall clock made a step; `triquest-lm clock accept` confirms it if it is right"
            );
            self.waiting.push_front((Asker::nobody(), Box::new(Command::StepClock { to_ms, believed })));
        }
        self.clock_held = held;
        let clock = if held { 2 } else { u8::from(reading.synchronized) };
        self.state.clock.store(clock, Ordering::Relaxed);
        let moment = Moment { at, wall_ms };
        self.view.stamp(moment, reading);
        moment
    }

    /// Renewals are answered at once, unless they need an entry or depend on one that is under way.
    fn renew(&mut self, moment: Moment, renewals: &mut Vec<(Asker, Renewal)>) {
        if renewals.is_empty() {
            return;
        }
        let mut events = Vec::new();
        let mut later = Vec::new();
        let next = self.next_index();
        let position = feed::position(self.lineage, self.allocator.epoch(), self.committed);
        for (asker, renewal) in renewals.drain(..) {
            let before = events.len();
            let outcome = self.allocator.decide(moment, renewal.into(), &mut events);
            self.hear(&asker, &outcome, moment);
            if events.len() > before
                && let Some(lease) = asker.lease
            {
                // Whoever repeats it in this very pass waits for the same entry.
                self.fresh.insert(lease, next);
            }
            let free = events.len() == before
                && match (&outcome, &asker.lease) {
                    (Outcome::Renewed { .. }, Some(lease)) => self.fresh.is_empty() || !self.fresh.contains_key(lease),
                    // What it says may be in an entry that is under way.
                    _ => self.under_way.is_empty() && events.is_empty(),
                };
            if free {
                asker.tell(Ok(Answer { outcome, position, signed: None }));
            } else {
                later.push((asker, outcome));
            }
        }
        self.hand_on(moment, events, later);
    }

    /// Decides what waits, as one entry, if there is a place for it.
    fn decide(&mut self, moment: Moment) {
        if self.under_way.len() >= depth() || self.room == Room::None {
            return;
        }
        let due = self.allocator.next_deadline().is_some_and(|due| due <= moment.at)
            || self.allocator.next_civil_deadline_ms().is_some_and(|due| due <= moment.wall_ms);
        if self.waiting.is_empty() && !due {
            return;
        }
        let count = self.waiting.len().min(BATCH_MAX);
        let mut commands: Vec<_> = self.waiting.drain(..count).collect();
        if commands.is_empty() {
            commands.push((Asker::nobody(), Box::new(Command::Sweep)));
        }
        let batch = self.allocator.decide_batch(moment, commands);
        for left in batch.left.into_iter().rev() {
            self.waiting.push_front(left);
        }
        let mut answers = Vec::with_capacity(batch.outcomes.len());
        for (asker, outcome) in batch.outcomes {
            self.hear(&asker, &outcome, moment);
            match (&outcome, asker.lease) {
                (Outcome::Waiting { .. }, Some(lease)) if asker.again.is_some() => {
                    if let Some(before) = self.parked.insert(lease, Parked { asker, outcome: outcome.clone() }) {
                        // It asked once more on another connection; both hear the same.
                        answers.push((before.asker, outcome));
                    }
                }
                _ => answers.push((asker, outcome)),
            }
        }
        self.hand_on(moment, batch.events, answers);
    }

    /// The number of the next entry.
    fn next_index(&self) -> Index {
        Index(self.under_way.back().map_or(self.committed, |last| last.index).0 + 1)
    }

    fn hear(&mut self, asker: &Asker, outcome: &Outcome, moment: Moment) {
        let remaining_ms = match outcome {
            Outcome::Renewed { remaining_ms, .. } => *remaining_ms,
            Outcome::Granted(grant) if grant.granted_in.is_some() => grant.remaining_ms,
            Outcome::Waiting { .. } => 0,
            _ => return,
        };
        if let Some(lease) = asker.lease {
            self.heard.push(Heard { lease, at: moment.at, remaining_ms, idle_ms: asker.idle_ms });
        }
    }

    /// Events become an entry on its way to the disk; answers follow the last entry that is under way.
    fn hand_on(&mut self, moment: Moment, events: Vec<Event>, answers: Vec<(Asker, Outcome)>) {
        if events.is_empty() {
            if answers.is_empty() {
                return;
            }
            let last = self.under_way.back().map_or(self.committed, |last| last.index);
            let publish = Publish { entry: None, position: feed::position(self.lineage, self.allocator.epoch(), last), answers };
            if self.under_way.is_empty() {
                // If the publisher has gone, so has everybody who waits.
                let _ = self.publish.send(publish);
            } else {
                self.appender.send(Job::Pass(publish));
            }
            return;
        }
        let index = self.next_index();
        let mut under_way = UnderWay { index, fresh: Vec::new(), resolved: Vec::new() };
        for event in &events {
            match event {
                Event::Granted { lease, .. } | Event::Adopted { lease, .. } | Event::Heard { lease } => {
                    under_way.fresh.push(*lease);
                    self.fresh.insert(*lease, index);
                }
                _ => {}
            }
            if let Event::Granted { lease, .. } | Event::Dequeued { lease, .. } | Event::Released { lease, .. } = event
                && !self.parked.is_empty()
                && self.parked.contains_key(lease)
            {
                under_way.resolved.push(*lease);
            }
        }
        self.allocator.sealed(index);
        self.lineage = self.allocator.lineage();
        let epoch = self.allocator.epoch();
        let entry = Arc::new(Entry { lineage: self.lineage, epoch, index, moment, events });
        let publish = Publish { entry: Some(Arc::clone(&entry)), position: feed::position(self.lineage, epoch, index), answers };
        self.under_way.push_back(under_way);
        self.appender.send(Job::Append { entry, carry: publish });
    }

    /// When to look again without being asked.
    fn plan_tick(&mut self, now: Moment) {
        let latest = Instant::now() + Duration::from_millis(TICK_MS_MAX);
        self.next_tick = latest;
        if self.under_way.len() >= depth() || self.room == Room::None {
            // The next report comes first.
            return;
        }
        if !self.waiting.is_empty() {
            self.next_tick = Instant::now();
            return;
        }
        let lease = self.allocator.next_deadline().map(|due| due.since_ms(now.at));
        let civil = self.allocator.next_civil_deadline_ms().map(|due| due.saturating_sub(now.wall_ms).max(0).unsigned_abs());
        if let Some(wait) = lease.into_iter().chain(civil).min() {
            let due = Instant::now() + Duration::from_millis(wait.max(TICK_MS_MIN));
            self.next_tick = latest.min(due);
        }
    }
}

/// What may be decided with so much room. Renewals are not asked.
fn room_for(room: Room, command: &Command) -> bool {
    match (room, command) {
        (Room::Enough, _) | (Room::Reserve | Room::None, Command::Renew { .. }) => true,
        (Room::None, _) | (Room::Reserve, Command::Adopt { .. } | Command::Checkout { .. } | Command::Install(_)) => false,
        (Room::Reserve, _) => true,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn depth() -> usize {
    static DEPTH: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *DEPTH.get_or_init(|| std::env::var("TQ_DEPTH").ok().and_then(|text| text.parse().ok()).unwrap_or(ENTRIES_UNDER_WAY_MAX))
}
