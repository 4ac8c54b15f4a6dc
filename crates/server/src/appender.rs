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
use triquest_allocator::Index;
use triquest_journal::{
    Appended, Journal, JournalError,
    record::{Entry, encode_entry},
    snapshot::Work,
};

use crate::driver::Fault;

/// How long after a full disk or an unknown outcome the same bytes are appended again.
const APPEND_RETRY_MS: u64 = 100;
/// How often a server that lives on its reserve looks whether there is room to make a new one.
const RESERVE_RETRY_MS: u64 = 2_000;

/// Something for the thread to do.
pub(crate) enum Job<C> {
    /// Make an entry durable, then hand `carry` on.
    Append {
        /// The entry; its number follows the one before.
        entry: Arc<Entry>,
        /// For the publisher.
        carry: C,
    },
    /// Hand `carry` on when all entries before are durable.
    Pass(C),
    /// Anything else that needs the journal; must be short.
    Work(Work),
    /// Finish what is there, and end.
    Stop,
}

/// What the thread tells the driver.
#[derive(Debug)]
pub(crate) enum Report {
    /// Durable.
    Committed {
        /// Which entry.
        index: Index,
        /// Its size.
        bytes: u64,
    },
    /// There is no room; nothing can be written.
    Full,
    /// The reserve was given up to make room: releases and recovery go on, grants do not.
    Reserve,
    /// There is room, and a reserve again.
    Room,
    /// The journal cannot be used any more.
    Fault(Fault),
}

/// The handle to the thread.
pub(crate) struct Appender<C> {
    jobs: Sender<Job<C>>,
    thread: Option<JoinHandle<()>>,
}

impl<C> Clone for Appender<C> {
    /// Without the thread's handle: only the first may wait for its end.
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), thread: None }
    }
}

impl<C: Send + 'static> Appender<C> {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start(
        journal: Box<dyn Journal>,
        reports: UnboundedSender<Report>,
        publisher: UnboundedSender<C>,
    ) -> std::io::Result<Self> {
        let (jobs, receiver) = std::sync::mpsc::channel();
        let worker = Worker {
            journal,
            reports,
            publisher,
            appends: VecDeque::new(),
            works: VecDeque::new(),
            room: Room::Enough,
            retry: None,
            stopping: false,
        };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || worker.run(&receiver))?;
        Ok(Self { jobs, thread: Some(thread) })
    }

    /// Sends a job. If the thread has ended, the job is dropped: whoever waits for it sees that.
    pub(crate) fn send(&self, job: Job<C>) {
        let _ = self.jobs.send(job);
    }

    /// Runs `work` on the journal between appends; none if the thread has ended.
    pub(crate) async fn with_journal<R: Send + 'static>(&self, work: impl FnOnce(&mut dyn Journal) -> R + Send + 'static) -> Option<R> {
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

/// How much room the disk has, as far as the last append knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Enough,
    /// None, even without the reserve.
    None,
    /// The reserve was given up, and appends succeed.
    Reserve,
}

struct Worker<C> {
    journal: Box<dyn Journal>,
    reports: UnboundedSender<Report>,
    publisher: UnboundedSender<C>,
    /// In order; the first may have been tried.
    appends: VecDeque<Append<C>>,
    works: VecDeque<Work>,
    room: Room,
    /// When to try the first append (or the reserve) again.
    retry: Option<Instant>,
    stopping: bool,
}

enum Append<C> {
    Entry { entry: Arc<Entry>, bytes: Option<Vec<u8>>, carry: C },
    Pass(C),
}

impl<C> Worker<C> {
    fn run(mut self, jobs: &Receiver<Job<C>>) {
        loop {
            let due = self.retry.is_none_or(|retry| retry <= Instant::now());
            let ready = !self.works.is_empty() || due && !self.appends.is_empty() || self.stopping;
            if !ready {
                let job = match self.retry {
                    None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    Some(retry) => jobs.recv_timeout(retry.saturating_duration_since(Instant::now())),
                };
                match job {
                    Ok(job) => self.take(job),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => self.stopping = true,
                }
            }
            while let Ok(job) = jobs.try_recv() {
                self.take(job);
            }
            if self.retry.is_some_and(|retry| retry <= Instant::now()) {
                self.retry = None;
                self.renew_reserve();
            }
            if self.retry.is_none() || self.room == Room::Reserve {
                match self.append_all() {
                    Ok(()) => {}
                    Err(fault) => {
                        let _ = self.reports.send(Report::Fault(fault));
                        return;
                    }
                }
            }
            if let Some(work) = self.works.pop_front()
                && std::panic::catch_unwind(AssertUnwindSafe(|| work(&mut *self.journal))).is_err()
            {
                let _ = self.reports.send(Report::Fault(Fault {
                    message: "a reader of the journal panicked".to_owned(),
                    hint: "this is a defect of triquest-lm, please report it with the log".to_owned(),
                }));
                return;
            }
            // What cannot be written although the server stops was never answered.
            if self.stopping && self.works.is_empty() && (self.appends.is_empty() || self.room == Room::None || self.retry.is_some()) {
                return;
            }
        }
    }

    fn take(&mut self, job: Job<C>) {
        match job {
            Job::Append { entry, carry } => self.appends.push_back(Append::Entry { entry, bytes: None, carry }),
            Job::Pass(carry) => self.appends.push_back(Append::Pass(carry)),
            Job::Work(work) => self.works.push_back(work),
            Job::Stop => self.stopping = true,
        }
    }

    /// Appends what waits, in order, until nothing does or the disk refuses.
    fn append_all(&mut self) -> Result<(), Fault> {
        while let Some(append) = self.appends.front_mut() {
            let Append::Entry { entry, bytes, .. } = append else {
                self.hand_on();
                continue;
            };
            let bytes = bytes.get_or_insert_with(|| encode_entry(entry));
            let (epoch, index, size) = (entry.epoch, entry.index, bytes.len() as u64);
            match self.journal.append(epoch, index, bytes) {
                Ok(Appended::Committed) => {
                    if self.room == Room::None {
                        self.room = Room::Reserve;
                        let _ = self.reports.send(Report::Reserve);
                        self.renew_reserve();
                    }
                    // The answers first: they are what somebody waits for.
                    self.hand_on();
                    let _ = self.reports.send(Report::Committed { index, bytes: size });
                }
                Ok(Appended::Fenced) => {
                    return Err(Fault {
                        message: format!("another server has taken over this journal (entry {})", index.0),
                        hint: "make sure that only one server uses this data directory, and start again".to_owned(),
                    });
                }
                Ok(Appended::Full) => {
                    if self.journal.release_reserve()? {
                        tracing::warn!("the disk is full; the reserve was given up, and nothing more is granted until there is room");
                        self.room = Room::Reserve;
                        self.retry = Some(Instant::now() + Duration::from_millis(RESERVE_RETRY_MS));
                        let _ = self.reports.send(Report::Reserve);
                        continue;
                    }
                    if self.room != Room::None {
                        tracing::error!("the disk is full and there is no reserve left; only renewals are answered until there is room");
                        self.room = Room::None;
                        let _ = self.reports.send(Report::Full);
                    }
                    self.retry = Some(Instant::now() + Duration::from_millis(APPEND_RETRY_MS));
                    return Ok(());
                }
                Ok(Appended::Unknown) => {
                    tracing::warn!(index = index.0, "the journal does not know whether an entry is durable; the same bytes follow again");
                    self.retry = Some(Instant::now() + Duration::from_millis(APPEND_RETRY_MS));
                    if self.room == Room::Reserve {
                        self.room = Room::None;
                        let _ = self.reports.send(Report::Full);
                    }
                    return Ok(());
                }
                Err(error) => return Err(Fault::from(error)),
            }
        }
        Ok(())
    }

    fn hand_on(&mut self) {
        if let Some(Append::Entry { carry, .. } | Append::Pass(carry)) = self.appends.pop_front() {
            let _ = self.publisher.send(carry);
        }
    }

    fn renew_reserve(&mut self) {
        if self.room == Room::Reserve {
            if matches!(self.journal.restore_reserve(), Ok(true)) {
                tracing::info!("there is room on the disk again; seats are granted again");
                self.room = Room::Enough;
                let _ = self.reports.send(Report::Room);
            } else {
                self.retry = Some(Instant::now() + Duration::from_millis(RESERVE_RETRY_MS));
            }
        }
    }
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        Self { message: error.message, hint: error.hint }
    }
}
