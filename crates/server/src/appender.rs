//! The one thread that writes the journal. It takes everything that waits; whoever asks it for something else is served between appends.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;
use triquest_allocator::{Epoch, Index};
use triquest_engine::PassId;
use triquest_journal::{
    Appended, History, Journal, JournalError, Room, SNAPSHOT_CHUNK_BYTES_MAX,
    record::{Entry, encode_entry},
    snapshot::Work,
};

use crate::config::Fault;

/// How often the file system is asked how much room there is, also while nothing is written: others may fill the disk.
const ROOM_LOOK_MS: u64 = 1_000;
/// After so much of what was left was taken it is asked sooner, ...
const ROOM_LOOK_PARTS: u64 = 16;
/// ... but not for less than this.
const ROOM_LOOK_BYTES_MIN: u64 = 64 * 1024;

/// Something for the thread to do.
pub(crate) enum Job {
    /// Make an entry durable.
    Append {
        /// Who writes.
        fence: Epoch,
        /// Where the journal must end.
        expected_head: Index,
        /// The entry.
        entry: Arc<Entry>,
    },
    /// Make sure that this server leads.
    Confirm(PassId),
    /// Anything else that needs the journal; must be short.
    Work(Work),
    /// Finish what is there, and end.
    Stop,
}

/// What the thread tells the leader.
#[derive(Debug)]
pub(crate) enum Report {
    /// Durable.
    Committed {
        /// Which entry.
        index: Index,
        /// Its size.
        bytes: u64,
    },
    /// This server led in this pass.
    Confirmed(PassId),
    /// The journal cannot be used any more.
    Fault(Fault),
    /// There is no room; nothing was written.
    Full,
    /// How much room there is now.
    Room(Room),
    /// Whether it is durable is not known.
    Unknown(Index),
}

/// The handle to the thread.
pub(crate) struct Appender {
    jobs: Sender<Job>,
    leads_by_lock: bool,
    thread: Option<JoinHandle<()>>,
}

impl Clone for Appender {
    /// Without the thread's handle: only the first may wait for its end.
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), leads_by_lock: self.leads_by_lock, thread: None }
    }
}

impl Appender {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start(journal: Box<dyn Journal>, reports: UnboundedSender<Report>) -> std::io::Result<Self> {
        let (jobs, receiver) = std::sync::mpsc::channel();
        let leads_by_lock = journal.leads_by_lock();
        let worker = Worker {
            journal,
            reports,
            appends: VecDeque::new(),
            works: VecDeque::new(),
            awaits: None,
            told: None,
            taken_bytes: 0,
            look_at: Instant::now(),
            reserve_is_whole: false,
            is_blind: false,
            stopping: false,
        };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || worker.run(&receiver))?;
        Ok(Self { jobs, leads_by_lock, thread: Some(thread) })
    }

    /// This server leads as long as it has the journal's lock, so nobody need be asked.
    pub(crate) fn leads_by_lock(&self) -> bool {
        self.leads_by_lock
    }

    /// Sends a job. If the thread has ended, the job is dropped: whoever waits for it sees that.
    pub(crate) fn send(&self, job: Job) {
        let _ = self.jobs.send(job);
    }

    /// Runs `work` on the journal between appends; none if the thread has ended.
    pub(crate) async fn with_journal<R: Send + 'static>(&self, work: impl FnOnce(&mut dyn History) -> R + Send + 'static) -> Option<R> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.send(Job::Work(Box::new(move |journal| {
            let _ = reply.send(work(journal));
        })));
        answer.await.ok()
    }

    /// Hands `work` over; false if the thread has ended.
    pub(crate) fn work(&self, work: Work) -> bool {
        self.jobs.send(Job::Work(work)).is_ok()
    }

    /// The thread, to be waited for after [`Job::Stop`].
    pub(crate) fn take_thread(&mut self) -> Option<JoinHandle<()>> {
        self.thread.take()
    }
}

struct Worker {
    journal: Box<dyn Journal>,
    reports: UnboundedSender<Report>,
    /// In order.
    appends: VecDeque<Append>,
    works: VecDeque<Work>,
    /// The append behind this entry was not written: those behind it are dropped until the leader hands it out again, the first of all.
    awaits: Option<Index>,
    /// What the leader was told of the room, ...
    told: Option<Room>,
    /// ... and what entries and snapshots have taken since.
    taken_bytes: u64,
    /// When to ask the file system again.
    look_at: Instant,
    reserve_is_whole: bool,
    /// The last look failed.
    is_blind: bool,
    stopping: bool,
}

struct Append {
    fence: Epoch,
    expected_head: Index,
    entry: Arc<Entry>,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let ready = !self.works.is_empty() || !self.appends.is_empty() || self.stopping;
            if !ready {
                match jobs.recv_timeout(self.look_at.saturating_duration_since(Instant::now())) {
                    Ok(job) => self.take(job),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => self.stopping = true,
                }
            }
            while let Ok(job) = jobs.try_recv() {
                self.take(job);
            }
            // Entries first: whoever waits for one waits for no look at the file system.
            if let Err(fault) = self.append_all() {
                let _ = self.reports.send(Report::Fault(fault));
                return;
            }
            self.look_at_room();
            // It may write a chunk of a snapshot.
            self.taken_bytes += if self.works.is_empty() { 0 } else { Room::taken_by(SNAPSHOT_CHUNK_BYTES_MAX) };
            if let Some(work) = self.works.pop_front()
                && std::panic::catch_unwind(AssertUnwindSafe(|| work(&mut *self.journal))).is_err()
            {
                let _ = self.reports.send(Report::Fault(Fault {
                    message: "a reader of the journal panicked".to_owned(),
                    hint: "this is a defect of triquest-lm, please report it with the log".to_owned(),
                }));
                return;
            }
            if self.stopping && self.works.is_empty() && self.appends.is_empty() {
                return;
            }
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Append { fence, expected_head, entry } => self.appends.push_back(Append { fence, expected_head, entry }),
            Job::Confirm(pass) => match self.journal.confirm() {
                Ok(true) => drop(self.reports.send(Report::Confirmed(pass))),
                Ok(false) => drop(self.reports.send(Report::Fault(taken_over("its leadership was not confirmed")))),
                Err(error) => drop(self.reports.send(Report::Fault(error.into()))),
            },
            Job::Work(work) => self.works.push_back(work),
            Job::Stop => self.stopping = true,
        }
    }

    /// Appends what waits, in order, until nothing does or the journal refuses.
    fn append_all(&mut self) -> Result<(), Fault> {
        while let Some(Append { fence, expected_head, entry }) = self.appends.pop_front() {
            if self.awaits.is_some_and(|awaited| awaited != expected_head) {
                continue;
            }
            self.awaits = None;
            let bytes = encode_entry(&entry);
            let mut appended = self.journal.append(fence, expected_head, &bytes)?;
            let refused = appended == Appended::Full;
            // Only that a whole reserve can be made says that there is room again.
            self.reserve_is_whole &= !refused;
            if refused && self.journal.release_reserve()? {
                tracing::warn!("the disk is full; the reserve was given up");
                appended = self.journal.append(fence, expected_head, &bytes)?;
            }
            match appended {
                Appended::Committed => {
                    // After an append that found no room there is some again, and perhaps enough.
                    let looks = refused || self.told.is_some_and(|told| told.left_bytes == 0);
                    self.taken_bytes += Room::taken_by(bytes.len());
                    let _ = self.reports.send(Report::Committed { index: entry.index, bytes: bytes.len() as u64 });
                    if looks {
                        self.look_now();
                    }
                }
                Appended::Fenced => return Err(taken_over(&format!("entry {}", entry.index.0))),
                Appended::Full => {
                    self.told = self.told.map(|told| Room { left_bytes: 0, ..told });
                    self.give_back(expected_head);
                    let _ = self.reports.send(Report::Full);
                }
                Appended::Unknown => {
                    tracing::warn!(
                        index = entry.index.0,
                        "the journal does not know whether an entry is durable; the same bytes follow again"
                    );
                    self.give_back(expected_head);
                    let _ = self.reports.send(Report::Unknown(entry.index));
                }
            }
        }
        Ok(())
    }

    /// What lies behind an append that was not written comes again, after it.
    fn give_back(&mut self, expected_head: Index) {
        self.appends.clear();
        self.awaits = Some(expected_head);
    }

    /// Asks the file system how much room there is, if it was not asked for a while or much was written since.
    fn look_at_room(&mut self) {
        let after_bytes = self.told.map_or(0, |told| (told.left_bytes / ROOM_LOOK_PARTS).max(ROOM_LOOK_BYTES_MIN));
        if self.taken_bytes >= after_bytes || self.look_at <= Instant::now() {
            self.look_now();
        }
    }

    /// A file system that does not say is no reason to stop: the next append shows whether it takes anything.
    fn look_now(&mut self) {
        self.look_at = Instant::now() + Duration::from_millis(ROOM_LOOK_MS);
        if !self.reserve_is_whole {
            self.reserve_is_whole = self.journal.restore_reserve().unwrap_or(false);
        }
        match self.journal.room() {
            Ok(room) => {
                self.is_blind = false;
                if std::mem::take(&mut self.taken_bytes) > 0 || self.told != Some(room) {
                    self.told = Some(room);
                    let _ = self.reports.send(Report::Room(room));
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_blind, true) {
                    tracing::warn!(error = error.message, hint = error.hint, "how much room there is on the disk is not known");
                }
            }
        }
    }
}

fn taken_over(what: &str) -> Fault {
    Fault {
        message: format!("another server has taken over this journal ({what})"),
        hint: "make sure that only one server uses this data directory, and start again".to_owned(),
    }
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        Self { message: error.message, hint: error.hint }
    }
}
