//! The select loop around the engine: requests, reports and ticks go in, effects are carried out.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use triquest_engine::{Effect, Engine, Heard, Input, MayWrite, Request, Room, limits::ROOM_AGAIN_BYTES};
use triquest_journal::snapshot::Work;

use crate::{
    appender::{Appender, Job, Report},
    clock::Clock,
    config::Fault,
    driver::{State, panic_text},
    publisher::{self, Publish},
    snapshots::Snapshots,
    ticket::Ticket,
    view::View,
};

/// Messages that one look at the channel takes.
const MESSAGES_PER_LOOK_MAX: usize = 256;
/// Looks at the channel before a pass: what had arrived by then is in the engine before the clock is read.
const LOOKS_PER_PASS_MAX: usize = 64;

/// What comes over the channel.
pub(crate) enum Message {
    Request(Request<Ticket>),
    Stop,
    StopHolding,
}

/// The engine's shell.
pub(crate) struct Leader {
    pub(crate) engine: Engine<Ticket>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) asked: mpsc::Receiver<Message>,
    pub(crate) reported: mpsc::UnboundedReceiver<Report>,
    pub(crate) appender: Appender,
    pub(crate) publish: mpsc::UnboundedSender<Publish>,
    pub(crate) fault: Arc<watch::Sender<Option<Fault>>>,
    pub(crate) state: Arc<State>,
    pub(crate) view: Arc<View>,
    pub(crate) snapshots: Snapshots,
    /// Soft facts that the view has not taken yet.
    pub(crate) heard: Vec<Heard>,
    /// The clock at the last pass: whatever arrives before the next has arrived later.
    pub(crate) boot_ms: u64,
    pub(crate) ended: bool,
}

impl Leader {
    pub(crate) async fn run(mut self) {
        let mut messages = Vec::with_capacity(MESSAGES_PER_LOOK_MAX);
        let mut reports = Vec::new();
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        while !self.ended {
            let wake = Instant::now() + Duration::from_millis(self.engine.wake_in_ms().unwrap_or(u64::from(u32::MAX)));
            if sleep.deadline() > wake || sleep.is_elapsed() {
                sleep.as_mut().reset(wake);
            }
            let mut waited = false;
            tokio::select! {
                biased;
                report = self.reported.recv() => reports.push(report.unwrap_or_else(|| Report::Fault(Fault {
                    message: "the thread that writes the journal ended".to_owned(),
                    hint: "start the server again, and report this with the log".to_owned(),
                }))),
                taken = self.asked.recv_many(&mut messages, MESSAGES_PER_LOOK_MAX) => {
                    if taken == 0 {
                        messages.push(Message::Stop);
                    }
                }
                () = &mut sleep => waited = true,
            }
            while let Ok(report) = self.reported.try_recv() {
                reports.push(report);
            }
            for _ in 0..LOOKS_PER_PASS_MAX * MESSAGES_PER_LOOK_MAX {
                let Ok(message) = self.asked.try_recv() else { break };
                messages.push(message);
            }
            let turn = std::panic::catch_unwind(AssertUnwindSafe(|| self.turn(&mut reports, &mut messages, waited)));
            if let Err(panic) = turn {
                self.fail(Fault {
                    message: format!("a decision contradicts the state, so nothing more is decided: {}", panic_text(&*panic)),
                    hint: "nothing of it was written; start the server again, and report this with the log".to_owned(),
                });
                break;
            }
        }
        self.end();
    }

    fn turn(&mut self, reports: &mut Vec<Report>, messages: &mut Vec<Message>, waited: bool) {
        for report in reports.drain(..) {
            self.report(report);
            self.carry_out();
        }
        if waited {
            self.engine.waited();
        }
        for message in messages.drain(..) {
            match message {
                Message::Request(request) => self.engine.submit(Request { arrived_ms: self.boot_ms, ..request }),
                Message::Stop => {
                    self.asked.close();
                    self.engine.handle(Input::Stop);
                }
                Message::StopHolding => self.engine.stop_holding(),
            }
        }
        self.carry_out();
        // Read after all that has arrived: a lease may only seem younger than it is.
        let reading = self.clock.read();
        self.boot_ms = reading.boot_ms;
        let refused = self.engine.refused_wall_ms();
        self.engine.pass(reading);
        self.view.stamp(self.engine.moment(), reading);
        self.tell_clock(refused, reading.wall_ms, reading.synchronized);
        self.carry_out();
        self.view.hear(&mut self.heard);
    }

    fn report(&mut self, report: Report) {
        let before = self.engine.may_write();
        match report {
            Report::Committed { index, bytes } => {
                self.engine.handle(Input::Committed(index));
                let appender = &self.appender;
                self.snapshots.appended(bytes, || {
                    let appender = appender.clone();
                    Box::new(move |work: Work| appender.work(work))
                });
            }
            Report::Confirmed(pass) => self.engine.handle(Input::Confirmed(pass)),
            Report::Full => self.engine.handle(Input::Full),
            Report::Room(room) => self.engine.handle(Input::Room(room)),
            Report::Unknown(index) => self.engine.handle(Input::Unknown(index)),
            Report::Fault(fault) => self.fail(fault),
        }
        self.tell_room(before);
    }

    /// Something is wrong beyond repair. Whatever was not written is forgotten, and nobody is told a thing that may not be so.
    fn fail(&mut self, fault: Fault) {
        tracing::error!(message = fault.message, hint = fault.hint, "the server must stop");
        self.fault.send_replace(Some(fault));
        self.engine.handle(Input::Fenced);
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.engine.poll() {
            match effect {
                Effect::Append { fence, expected_head, entry } => {
                    self.state.handed_out.store(entry.index.0, Ordering::Release);
                    self.appender.send(Job::Append { fence, expected_head, entry });
                }
                Effect::Confirm(pass) => {
                    if self.appender.leads_by_lock() {
                        self.engine.handle(Input::Confirmed(pass));
                    } else {
                        self.appender.send(Job::Confirm(pass));
                    }
                }
                Effect::Fail(ticket, why) => ticket.fail(why),
                Effect::Publish { entry: None, mut heard, answers } => {
                    self.heard.append(&mut heard);
                    let mut signed = Vec::new();
                    for (ticket, answers) in answers {
                        if publisher::is_plain(&ticket, &answers) {
                            publisher::tell(ticket, answers);
                        } else {
                            signed.push((ticket, answers));
                        }
                    }
                    if !signed.is_empty() {
                        // If the publisher has gone, so has everybody who waits.
                        let _ = self.publish.send(Publish { entry: None, heard: Vec::new(), answers: signed });
                    }
                }
                Effect::Publish { entry, heard, answers } => {
                    let _ = self.publish.send(Publish { entry, heard, answers });
                }
                Effect::Stopped => self.ended = true,
            }
        }
    }

    fn tell_room(&mut self, before: MayWrite) {
        let may_write = self.engine.may_write();
        if may_write == before {
            return;
        }
        let Room { left_bytes, reserve_bytes } = self.engine.room();
        let needs_bytes = reserve_bytes.saturating_add(ROOM_AGAIN_BYTES);
        match may_write {
            MayWrite::All => tracing::info!("there is room on the disk again; seats are granted again"),
            MayWrite::Reserved => {
                tracing::warn!(
                    left_bytes,
                    needs_bytes,
                    "the disk is full: nothing is granted until there is room; the reserve is for those who hold seats"
                );
            }
            MayWrite::Nothing => {
                tracing::error!(
                    left_bytes,
                    needs_bytes,
                    "the disk is full and the reserve is used up; only renewals are answered until there is room"
                );
            }
        }
        self.state.journal.store(u8::from(may_write != MayWrite::All), Ordering::Relaxed);
    }

    fn tell_clock(&mut self, before: Option<i64>, wall_ms: i64, synchronized: bool) {
        let refused = self.engine.refused_wall_ms();
        if refused.is_some() != before.is_some() {
            tracing::warn!(
                believed = crate::view::rfc3339(self.engine.moment().wall_ms),
                clock = crate::view::rfc3339(wall_ms),
                followed = refused.is_none(),
                "the wall clock made a step; `triquest-lm clock accept` confirms it if it is right"
            );
        }
        let clock = if refused.is_some() { 2 } else { u8::from(synchronized) };
        self.state.clock.store(clock, Ordering::Relaxed);
    }

    fn end(mut self) {
        self.carry_out();
        self.asked.close();
        while let Ok(message) = self.asked.try_recv() {
            if let Message::Request(request) = message {
                self.engine.submit(request);
            }
        }
        self.carry_out();
        self.view.hear(&mut self.heard);
        self.appender.send(Job::Stop);
    }
}
