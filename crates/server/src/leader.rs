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
use triquest_wire::status::FullDisk;

use crate::{
    appender::{Appender, Job, Report},
    clock::Clock,
    config::Fault,
    driver::{State, journal_state, panic_text},
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
        self.state.left_bytes.store(self.engine.room().left_bytes, Ordering::Relaxed);
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
                    self.state.hand_out(&entry);
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
                    // They may tell of entries that the publisher has not shown yet. Whoever was told must not find less in the view, so all but
                    // renewals go behind those entries then.
                    let behind = self.view.is_behind();
                    let mut later = Vec::new();
                    for (ticket, answers) in answers {
                        if publisher::is_plain(&ticket, &answers) && (!behind || publisher::only_renews(&answers)) {
                            publisher::tell(ticket, answers);
                        } else {
                            later.push((ticket, answers));
                        }
                    }
                    if !later.is_empty() {
                        // If the publisher has gone, so has everybody who waits.
                        let _ = self.publish.send(Publish { entry: None, heard: Vec::new(), answers: later });
                    }
                }
                Effect::Publish { entry: Some(entry), heard, answers } => {
                    self.view.expect(entry.index);
                    let _ = self.publish.send(Publish { entry: Some(entry), heard, answers });
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
                tracing::warn!(left_bytes, needs_bytes, "{}; the reserve is for those who hold seats", FullDisk::FULL);
            }
            MayWrite::Nothing => {
                tracing::error!(left_bytes, needs_bytes, "{}", FullDisk::USED_UP);
            }
        }
        self.state.journal.store(journal_state(may_write), Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::sync::oneshot;
    use triquest_allocator::{
        Actor, CheckoutItem, Command, ContentDigest, Holder, InstallLicense, Instance, LeaseId, Lineage, Outcome, Safeguards,
    };
    use triquest_engine::{Origin, grants::GrantSigner};
    use triquest_journal::memory::MemoryDisk;
    use triquest_license::{Note, ServerKey, Signer, SigningKey, VerifiedLicense};
    use triquest_wire::Position;

    use super::*;
    use crate::{
        clock::HandClock,
        driver::State,
        driver::{Answer, DriverError},
        feed::{self, Begin, BeginError, Feed},
        limits::WAITER_ASKS_AGAIN_MS,
        publisher::Publisher,
        recovery::{self, Recovered},
    };

    /// 2026-11-23 00:00 UTC.
    const TODAY_MS: i64 = 1_795_392_000_000;
    const SHORT_WAIT_MS: u64 = 1_000;

    type Told = oneshot::Receiver<Result<Answer, DriverError>>;

    /// A leader and a publisher that go on only when the test says so.
    struct World {
        leader: Leader,
        publisher: Publisher,
        published: mpsc::UnboundedReceiver<Publish>,
        clock: HandClock,
        _asks: mpsc::Sender<Message>,
    }

    impl World {
        fn new() -> Self {
            let hand = HandClock::new(TODAY_MS);
            let clock: Arc<dyn Clock> = Arc::new(hand.clone());
            let mut journal = MemoryDisk::new(Lineage([1; 16])).open();
            let instance = Instance([1; 16]);
            let recovered = recovery::recover(&mut journal, Safeguards::default(), &clock, instance, 0).unwrap();
            let Recovered { engine, view, counts, entry } = recovered;
            let (asks, asked) = mpsc::channel(1);
            let (reports, reported) = mpsc::unbounded_channel();
            let (publish, published) = mpsc::unbounded_channel();
            let fault = Arc::new(watch::channel(None).0);
            let view = Arc::new(view);
            let state: Arc<State> = Arc::default();
            state.hand_out(&entry);
            let handed_out = {
                let state = Arc::clone(&state);
                move || state.handed_out()
            };
            let feed = Arc::new(Feed::new(feed::position(entry.lineage, entry.epoch, entry.index), handed_out, drop));
            let key = Arc::new(SigningKey::from_seed([42; 32]));
            let server_key = ServerKey::new(*key.public());
            let signer = GrantSigner::new(key, &server_key, instance);
            let publisher = Publisher { view: Arc::clone(&view), feed, signer, fault: Arc::clone(&fault) };
            let boot_ms = clock.boot_ms();
            let leader = Leader {
                engine,
                clock,
                asked,
                reported,
                appender: Appender::start(Box::new(journal), reports).unwrap(),
                publish,
                fault,
                state,
                view,
                snapshots: Snapshots::new(Safeguards::default(), counts),
                heard: Vec::new(),
                boot_ms,
                ended: false,
            };
            Self { leader, publisher, published, clock: hand, _asks: asks }
        }

        /// One turn of the leader with this request; the answer may come now or later.
        fn ask(&mut self, command: Command, hold_ms: u64) -> Told {
            let (reply, told) = oneshot::channel();
            let nonce = matches!(command, Command::Checkout { .. }).then_some([9; 32]);
            let ticket = Ticket::One(reply, nonce);
            let request = Request { ticket, origin: Origin::SERVER, arrived_ms: 0, asked: command.into(), hold_ms };
            self.leader.turn(&mut Vec::new(), &mut vec![Message::Request(request)], false);
            told
        }

        /// The journal takes everything that is handed to it, and the leader hears so.
        async fn commit(&mut self) {
            while self.leader.engine.committed().index < self.leader.engine.handed_out().index {
                let report = self.leader.reported.recv().await.unwrap();
                self.leader.turn(&mut vec![report], &mut Vec::new(), false);
            }
        }

        /// The publisher does all that it was given.
        fn show(&mut self) {
            let published = &mut self.published;
            self.publisher.publish(std::iter::from_fn(|| published.try_recv().ok()));
        }

        async fn decide(&mut self, command: Command) -> Outcome {
            let mut told = self.ask(command, 0);
            self.commit().await;
            self.show();
            told.try_recv().unwrap().unwrap().outcome
        }

        /// The place of a waiter as the view has it.
        fn place(&self, number: u8) -> Option<u32> {
            let keys = [*vendor().verifier_key().public().as_bytes()];
            let place = self.leader.view.asked_within(&lease(number), 1, ContentDigest([number; 16]), &keys, WAITER_ASKS_AGAIN_MS);
            place.map(|there| there.place)
        }
    }

    fn vendor() -> Signer {
        Signer::new("acme.example".parse().unwrap(), SigningKey::from_seed([7; 32]))
    }

    fn lease(number: u8) -> LeaseId {
        LeaseId([number; 16])
    }

    fn install(seats: u32) -> Command {
        let vendor = vendor();
        let text = format!(
            "format = \"triquest-lm/v1/license\"\nlicense = \"A-1\"\nvendor = \"acme.example\"\nverifier = [\"{}\"]\nlicensee = \"Initech\"\n\
             issued = 2026-01-01\nservers = \"any\"\n\n[[entitlement]]\nfeature = \"cad\"\nseats = {seats}\nexpires = 2027-12-31\n",
            vendor.verifier_key()
        );
        let license = VerifiedLicense::verify_named(&Note::sign(&text, &[vendor]).unwrap()).unwrap();
        Command::Install(InstallLicense { license: Box::new(license), actor: Actor { name: "test".to_owned(), reason: String::new() } })
    }

    fn checkout(number: u8, seats: u32, wait_ms: Option<u64>) -> Command {
        Command::Checkout {
            lease: lease(number),
            attempt: 1,
            content: ContentDigest([number; 16]),
            accepts: Default::default(),
            holder: Holder::default(),
            vendor_keys: vec![*vendor().key().public().as_bytes()],
            items: vec![CheckoutItem { feature: "cad".parse().unwrap(), version: None, seats }],
            ttl_ms: None,
            wait_ms,
            regained: false,
            network: None,
        }
    }

    fn renew(number: u8, counter: u64) -> Command {
        Command::Renew { lease: lease(number), counter, nonce: [1; 16], idle_ms: None, presence: None, regained: false }
    }

    fn release(number: u8) -> Command {
        Command::Release { lease: lease(number), network: None }
    }

    /// One of two seats is in use; lease 2 waits for both of them, and is held; lease 3 waits for one behind it. Then the wait of lease 2 is
    /// over, which gives lease 3 its seat in the same entry: that is committed, and the publisher has not come to it.
    async fn granted_and_not_shown() -> (World, Told) {
        let mut world = World::new();
        assert!(matches!(world.decide(install(2)).await, Outcome::Installed { .. }));
        assert!(matches!(world.decide(checkout(1, 1, None)).await, Outcome::Granted(_)));
        let given_up = world.ask(checkout(2, 2, Some(SHORT_WAIT_MS)), 600_000);
        world.commit().await;
        assert!(matches!(world.decide(checkout(3, 1, Some(600_000))).await, Outcome::Waiting { place: 2, .. }));
        world.clock.advance_ms(SHORT_WAIT_MS - WAITER_ASKS_AGAIN_MS / 2);
        assert!(matches!(world.decide(checkout(3, 1, Some(600_000))).await, Outcome::Waiting { place: 2, .. }));
        assert_eq!(world.place(3), Some(2));
        world.clock.advance_ms(WAITER_ASKS_AGAIN_MS / 2);
        world.leader.turn(&mut Vec::new(), &mut Vec::new(), false);
        world.commit().await;
        (world, given_up)
    }

    #[tokio::test]
    async fn what_an_answer_tells_of_the_view_shows_before_it_leaves() {
        let (mut world, mut given_up) = granted_and_not_shown().await;
        assert!(given_up.try_recv().is_err(), "told that the line has moved, while the view still shows it as it was");
        world.show();
        assert!(matches!(given_up.try_recv().unwrap().unwrap().outcome, Outcome::Denied(_)));
        assert_eq!(world.place(3), None);
        let held = world.leader.view.lease(triquest_wire::LeaseId(lease(3).0)).unwrap();
        assert_eq!(held.state, triquest_wire::status::LeaseState::Live);
    }

    #[tokio::test]
    async fn repeats_that_stand_in_the_queue_together_share_one_signature_and_none_is_made_for_whoever_has_gone() {
        let mut world = World::new();
        world.decide(install(3)).await;
        for number in 1..=3 {
            assert!(matches!(world.decide(checkout(number, 1, None)).await, Outcome::Granted(_)));
        }
        let mut told: Vec<Told> = (1..=3).map(|number| world.ask(checkout(number, 1, None), 0)).collect();
        world.commit().await;
        // The third does not wait for its answer.
        drop(told.pop());
        world.show();
        let signed: Vec<_> = told.iter_mut().map(|told| told.try_recv().unwrap().unwrap().signed.unwrap()).collect();
        assert_eq!((&signed[0].statement, &signed[0].signature), (&signed[1].statement, &signed[1].signature));
        let root: triquest_wire::trust::GrantsStatement = serde_json::from_slice(&signed[0].statement.0).unwrap();
        assert_eq!(root.size, 2);
        let granted_in = |place: usize| {
            let grant: triquest_wire::trust::GrantPayload = serde_json::from_slice(&signed[place].grant.0).unwrap();
            assert!(grant.index < root.index, "each tells the entry that granted it");
            grant.index
        };
        assert!(granted_in(0) < granted_in(1));
    }

    #[tokio::test]
    async fn a_reader_from_a_position_that_was_just_told_waits_until_events_have_come_so_far() {
        let mut world = World::new();
        world.decide(install(2)).await;
        world.decide(checkout(1, 1, None)).await;
        let _taken = world.ask(checkout(2, 1, None), 0);
        world.commit().await;
        // A renewal waits for no publisher, and its answer knows of that entry.
        let mut renewed = world.ask(renew(1, 1), 0);
        let told = renewed.try_recv().unwrap().unwrap().position;
        let feed = Arc::clone(&world.publisher.feed);
        let mut reader = feed.reader(Begin::After(told)).unwrap();
        // What nobody was told is of no history.
        let beyond = Position { index: world.leader.engine.handed_out().index.0 + 1, ..told };
        let other_start = Position { epoch: told.epoch + 1, ..told };
        for lost in [beyond, other_start] {
            assert_eq!(feed.reader(Begin::After(lost)).err(), Some(BeginError::CursorLost));
        }
        world.show();
        let _released = world.ask(release(1), 0);
        world.commit().await;
        world.show();
        let next = reader.next().await.unwrap();
        assert_eq!(next.iter().map(|entry| entry.index.0).collect::<Vec<_>>(), [told.index + 1]);
    }

    #[tokio::test]
    async fn a_place_that_was_just_asked_for_is_not_told_from_a_view_that_is_behind() {
        let (mut world, _given_up) = granted_and_not_shown().await;
        // Its client may hear of the seat by a renewal, which waits for no publisher.
        let _claims = world.ask(renew(3, 1), 0);
        world.commit().await;
        let mut renewed = world.ask(renew(3, 2), 0);
        assert!(matches!(renewed.try_recv().unwrap().unwrap().outcome, Outcome::Renewed { .. }));
        assert_eq!(world.place(3), None, "the view shows a place that it has left");
    }

    #[tokio::test]
    async fn a_repeat_of_what_is_not_shown_yet_goes_behind_it_and_a_renewal_does_not() {
        let mut world = World::new();
        world.decide(install(2)).await;
        world.decide(checkout(1, 1, None)).await;
        world.decide(checkout(2, 1, None)).await;
        let mut released = world.ask(release(1), 0);
        world.commit().await;
        let (mut repeated, mut renewed) = (world.ask(release(1), 0), world.ask(renew(2, 1), 0));
        assert!(renewed.try_recv().is_ok(), "a renewal waits for nobody");
        assert!(repeated.try_recv().is_err() && released.try_recv().is_err(), "the view shows the seat in use");
        world.show();
        assert!(repeated.try_recv().is_ok() && released.try_recv().is_ok());
        // With nothing to show the next goes out at once.
        assert!(world.ask(release(1), 0).try_recv().is_ok());
    }
}
