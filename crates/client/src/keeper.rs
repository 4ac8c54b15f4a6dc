//! The keeper: when to ask, renew, warn, stop. A pure state machine of one seat.
//!
//! No I/O, no clock, no randomness: the times of both clocks, nonces and jitter are arguments, answers are told, and what is to be done comes
//! back as [`Action`]s. It is driven step by step, by a thread of the SDK or by a simulation:
//!
//! 1. call [`Keeper::on_time`] whenever [`Keeper::next_wake`] has come (or earlier: it does no harm), and do what it returns;
//! 2. for every [`Action`] that sends, call [`Keeper::on_answer`] with what came back, [`Answer::Unreachable`] if nothing did;
//! 3. tell the application the [`Notice`]s.
//!
//! # What it guarantees
//! A right ends at the *send time* of the answered attempt + remaining - remaining/64, by the earlier of boot and wall clock: the boot clock counts
//! suspend, the wall clock counts what a paused virtual machine's boot clock does not, and the 64th covers the drift of both machines' clocks. One
//! request is under way at a time, so rights are counted from send times in order. An outcome that is not known is learnt by repeating
//! the same id and attempt (a checkout) or the same counter and nonce (a renewal), never by a new one, unless another presence connection stands meanwhile.

use triquest_wire::{
    ErrorCode, Retry,
    lease::{DenialCode, EndReason},
};

/// A renewal or a first checkout counts as unanswered after so long.
pub const CALL_MS_MAX: u64 = 10_000;
/// A checkout that waits in line counts as unanswered after so long (the server holds it for at most 25 s).
pub const WAITING_CALL_MS_MAX: u64 = 35_000;
/// A waiter does not ask more often than this.
pub const WAITING_ASK_MS_MIN: u64 = 1_000;
/// After a lost connection clients come back spread over so long, unless their right ends soon, so that a server's start is no stampede.
pub const REOPEN_MS_MAX: u64 = 5_000;
/// Whose right ends within so long does not wait before it comes back.
pub const REOPEN_AT_ONCE_MS: u64 = 15_000;
/// First pause after a failure; doubles up to a limit.
pub const BACKOFF_MS_MIN: u64 = 500;
/// Longest pause between attempts while the seat is held.
pub const BACKOFF_MS_MAX: u64 = 30_000;
/// Longest pause between attempts of whoever waits for a server that takes no place in line and does not say when it will grant again.
pub const HELD_UP_BACKOFF_MS_MAX: u64 = 10_000;
/// So many requests in a row may follow the answer before them at once; each one after that waits longer than the one before it, until a right begins that
/// is worth a pause. An honest server needs three: it does not know the lease, does not take over what is shown, and is asked for another one.
pub const AT_ONCE_MAX: u32 = 4;
/// A renewal is sent so long after the one before it at the earliest, however short the right is.
pub const RENEW_MS_MIN: u64 = 100;
/// When a wait is over, the answer to the request that is under way is waited for at most so long.
pub const LAST_WORD_MS: u64 = 2_000;
/// Longest pause between attempts to get a lost seat back.
pub const LOST_BACKOFF_MS_MAX: u64 = 60_000;
/// A look that comes later than planned by this was preceded by a suspend or a stall; so was a wall clock that gained so much on the boot clock.
pub const SLEEP_MS_MIN: u64 = 15_000;
/// A look that comes later than planned by this was preceded by a halt, which counts as the reason if a right ended in it.
pub const HALT_MS_MIN: u64 = 2_000;
/// After a wake, and after an answer that the lease has ended, the keeper tries so long to regain the seat before it says *lost*.
pub const REGAIN_MS: u64 = 30_000;
/// A release is repeated for at most so long; the server remembers ended ids for an hour.
pub const RELEASE_MS_MAX: u64 = 600_000;
/// Part of a right that is given up for the drift of clocks: one in so many.
pub const DRIFT_PART: u64 = 64;

const _: () = assert!(RELEASE_MS_MAX < 3_600_000, "a repeat of a release must come while the server remembers the id");

/// One look at both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of the boot clock, which counts suspend and never steps (`CLOCK_BOOTTIME`).
    pub boot_ms: u64,
    /// Civil time, unix milliseconds (`CLOCK_REALTIME`).
    pub wall_ms: i64,
}

/// Randomness for one call, used at most once.
#[derive(Clone, Copy)]
pub struct Fresh {
    /// For the request that this call may send.
    pub nonce: [u8; 32],
    /// Spreads renewals and retries of many clients.
    pub jitter: u16,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `POST /v1/leases`.
    Checkout {
        /// Pass it to [`Keeper::on_answer`].
        call: u64,
        /// Which secret: each new number needs a fresh one, the same number the same.
        id: u32,
        /// The attempt with this secret, from 1.
        attempt: u32,
        /// Fresh; the signed grant repeats it.
        nonce: [u8; 32],
        /// How long to wait in line.
        wait_ms: Option<u64>,
        /// Show the last signed grant, so that a restored server can adopt the lease.
        show_grant: bool,
        /// The right of this id had ended by our own clock.
        regained: bool,
    },
    /// `POST /v1/leases/{lease}/release`.
    Release {
        /// Pass it to [`Keeper::on_answer`].
        call: u64,
        /// Which secret.
        id: u32,
    },
    /// `POST /v1/leases/{lease}/renew`.
    Renew {
        /// Pass it to [`Keeper::on_answer`].
        call: u64,
        /// Which secret.
        id: u32,
        /// Grows with each renewal; a retry that says the same of presence repeats it.
        counter: u64,
        /// Belongs to the counter; a retry repeats it.
        nonce: [u8; 16],
        /// The generation of the presence connection that stands for the lease now: from the sending of this its end counts.
        presence: Option<u64>,
        /// The right had ended by our own clock.
        regained: bool,
    },
    /// Tell the application.
    Tell(Notice),
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The checkout was denied. Nothing is held; [`Keeper::ask_again`] tries anew.
    Denied {
        /// Why.
        code: DenialCode,
    },
    /// The lease will not be renewed; the right runs for so long still.
    Ending {
        /// Why.
        reason: EndReason,
        /// Milliseconds.
        ends_in_ms: u64,
    },
    /// The checkout failed for good.
    Failed(Failure),
    /// The promise has ended, no server answers, and the vendor permits running on for so long.
    Grace {
        /// Milliseconds.
        ends_in_ms: u64,
    },
    /// Seats granted.
    Granted,
    /// The server grants nothing to anybody for a while: its disk is full, or it was restored. It is asked again until the wait is over. Told once for each
    /// reason.
    HeldUp(Failure),
    /// Half of the right has passed and no renewal came through.
    Late {
        /// Milliseconds until the right ends.
        ends_in_ms: u64,
    },
    /// The right has ended. The application must stop using the feature. [`Keeper::asks_on`] says whether a seat may come back; told once more if that
    /// ends later.
    Lost(Failure),
    /// All is well again after `Late`, `Grace`, `Regaining` or `Lost`.
    Regained {
        /// True if it is another lease than before: seats were free in between.
        new_lease: bool,
    },
    /// The right ended while the machine slept, or the server no longer knows the lease; the keeper tries for so long to get a seat back.
    Regaining {
        /// Milliseconds.
        gives_up_in_ms: u64,
    },
    /// Given back (or given up: the server frees it by itself at the end of its time to live).
    Released {
        /// False if no server confirmed it.
        confirmed: bool,
    },
    /// In line.
    Waiting {
        /// From 1.
        place: u32,
    },
}

/// Why a seat was not got or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another program uses a copy of this lease (a cloned virtual machine or a copied lease file).
    Cloned,
    /// The server denied a new lease.
    Denied(DenialCode),
    /// The server ended it.
    Ended(EndReason),
    /// The program or its machine stood still until the right was over, so that nobody was asked in time.
    Halted,
    /// No server answered in time.
    NoAnswer,
    /// The server refused the request itself.
    Refused(ErrorCode),
    /// What answered could not prove the grant.
    Untrusted,
    /// The wait in line was over by our own clock.
    WaitOver,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Denied.
    Denied {
        /// Why.
        code: DenialCode,
        /// In so long the reason may be gone, if the server says so.
        over_in_ms: Option<u64>,
    },
    /// The lease has ended or is ending.
    Ended {
        /// Why.
        reason: EndReason,
        /// The rest of the promise, milliseconds.
        remaining_ms: u64,
    },
    /// A verified grant.
    Granted(Terms),
    /// The server refused the request (a problem document).
    Refused {
        /// Why.
        code: ErrorCode,
        /// Not before.
        retry_after_ms: Option<u64>,
    },
    /// Given back.
    Released,
    /// The deadline moved.
    Renewed {
        /// As answered.
        counter: u64,
        /// As answered.
        nonce: [u8; 16],
        /// What remains, milliseconds from when the request was sent.
        remaining_ms: u64,
        /// The charges changed.
        regrant: bool,
    },
    /// No connection, no answer, or half an answer: it may or may not have taken effect.
    Unreachable,
    /// An answer that did not verify.
    Untrusted,
    /// In line.
    Waiting {
        /// From 1.
        place: u32,
    },
}

/// What a verified grant promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// What remains, milliseconds from when the request was sent.
    pub remaining_ms: u64,
    /// Time to live, milliseconds.
    pub ttl_ms: u64,
    /// Grace from the last verified answer, milliseconds.
    pub grace_ms: u64,
    /// When the first of the entitlements that it is charged to ends, unix milliseconds.
    pub entitled_until_ms: Option<i64>,
}

/// Where the seat stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Asked for, not answered yet.
    Asking,
    /// In line.
    Waiting,
    /// In a promised right.
    Held,
    /// In a promised right, of which half has passed without a renewal.
    Late,
    /// Running on without a promise, with the vendor's permission.
    Grace,
    /// No promise; trying to get a seat back before saying lost.
    Regaining,
    /// Lost; a seat is asked for now and then if that can help.
    Lost,
    /// Denied or failed before it was ever held.
    Refused,
    /// Being given back.
    Releasing,
    /// Given back.
    Released,
}

/// When a right ends, by both clocks: over at the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Until {
    boot_ms: u64,
    wall_ms: i64,
}

impl Until {
    fn after(from: Now, ms: u64) -> Self {
        Self { boot_ms: from.boot_ms.saturating_add(ms), wall_ms: from.wall_ms.saturating_add_unsigned(ms) }
    }

    /// Counted from the send time, less the allowance for drift.
    fn promise(sent: Now, remaining_ms: u64) -> Self {
        Self::after(sent, remaining_ms - remaining_ms / DRIFT_PART)
    }

    fn over(self, now: Now) -> bool {
        now.boot_ms >= self.boot_ms || now.wall_ms >= self.wall_ms
    }

    fn left_ms(self, now: Now) -> u64 {
        let wall = u64::try_from(self.wall_ms.saturating_sub(now.wall_ms)).unwrap_or(0);
        self.boot_ms.saturating_sub(now.boot_ms).min(wall)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Checkout,
    Release,
    Renew,
}

/// A renewal whose outcome is not known.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    nonce: [u8; 16],
    presence: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    number: u64,
    kind: Kind,
    id: u32,
    sent: Now,
    limit_ms: u64,
    /// It shows the signed grant.
    shows: bool,
    /// The generation that it names.
    presence: Option<u64>,
}

/// The keeper of one seat (or of several features checked out together).
#[derive(Clone, Debug)]
pub struct Keeper {
    wait_ms: Option<u64>,
    /// Boot time at which the wait is over.
    wait_until: Option<u64>,
    /// Why the server grants nothing to anybody, while whoever waits asks again.
    held_up: Option<Failure>,
    phase: Phase,
    id: u32,
    attempt: u32,
    /// The server may hold something under the present id.
    live: bool,
    /// The counter of the last renewal, and its nonce while it is unanswered.
    counter: u64,
    unanswered: Option<Unanswered>,
    calls: u64,
    call: Option<Call>,
    /// Boot time of the next request, unless one is under way.
    next_send: Option<u64>,
    failures: u32,
    /// Requests in a row that followed the answer before them at once.
    at_once: u32,
    terms: Terms,
    /// The right, with the send time that it is counted from.
    right: Option<(Now, Until)>,
    ending: Option<EndReason>,
    regrant: bool,
    show_grant: bool,
    /// The grant was shown and refused already.
    shown: bool,
    /// The generation of the presence connection that stands for the present id.
    presence: Option<u64>,
    /// What the last renewal that was answered said of it.
    confirmed: Option<u64>,
    /// The last promise ended by our own clock, and none has begun since.
    out_of_promise: bool,
    regain_until: Option<u64>,
    /// The time to regain has begun since the last promise: it begins once.
    regain_begun: bool,
    release_until: u64,
    /// Why the seat is in trouble, for what is told at its loss.
    cause: Failure,
    ever_held: bool,
    /// The id of the grant that the application was told about last.
    told_id: u32,
    last_look: Now,
    planned: Option<u64>,
    /// Boot time by which the driver was to look; later looks mean that the machine slept.
    expected: Option<u64>,
    /// The last look came later than planned.
    halted: bool,
}

/// A random part of so many milliseconds: `jitter` is 0 for none of it and `u16::MAX` for all.
pub(crate) fn spread(ms: u64, jitter: u16) -> u64 {
    ms * u64::from(jitter) / u64::from(u16::MAX)
}

impl Keeper {
    /// A keeper that asks at its first look. `wait_ms`: wait in line for at most so long from now, whatever becomes of servers meanwhile.
    #[must_use]
    pub fn new(now: Now, wait_ms: Option<u64>) -> Self {
        Self {
            wait_ms,
            wait_until: wait_ms.map(|wait_ms| now.boot_ms.saturating_add(wait_ms)),
            held_up: None,
            phase: Phase::Asking,
            id: 0,
            attempt: 1,
            live: false,
            counter: 0,
            unanswered: None,
            calls: 0,
            call: None,
            next_send: Some(now.boot_ms),
            failures: 0,
            at_once: 0,
            terms: Terms::default(),
            right: None,
            ending: None,
            regrant: false,
            show_grant: false,
            shown: false,
            presence: None,
            confirmed: None,
            out_of_promise: false,
            regain_until: None,
            regain_begun: false,
            release_until: 0,
            cause: Failure::NoAnswer,
            ever_held: false,
            told_id: 0,
            last_look: now,
            planned: Some(now.boot_ms),
            expected: Some(now.boot_ms),
            halted: false,
        }
    }

    /// Where it stands, as of the last look.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the server has promised the seat for this instant.
    #[must_use]
    pub fn promised(&self, now: Now) -> bool {
        matches!(self.phase, Phase::Held | Phase::Late) && self.right.is_some_and(|(_, until)| !until.over(now))
    }

    /// Whether the application may use the feature now: promised, or in grace, or within the time to regain it.
    #[must_use]
    pub fn may_run(&self, now: Now) -> bool {
        match self.phase {
            Phase::Held | Phase::Late => self.promised(now),
            Phase::Grace => self.grace().is_some_and(|until| !until.over(now)),
            Phase::Regaining => self.regain_until.is_some_and(|until| now.boot_ms < until),
            Phase::Asking | Phase::Waiting | Phase::Lost | Phase::Refused | Phase::Releasing | Phase::Released => false,
        }
    }

    /// Milliseconds for which the application may run without another answer: the promise and the grace after it.
    #[must_use]
    pub fn left_ms(&self, now: Now) -> u64 {
        let promise = self.right.map_or(0, |(_, until)| until.left_ms(now));
        match self.phase {
            Phase::Held | Phase::Late if self.ending.is_some() => promise,
            Phase::Held | Phase::Late | Phase::Grace => promise.max(self.grace().map_or(0, |until| until.left_ms(now))),
            Phase::Regaining => self.regain_until.map_or(0, |until| until.saturating_sub(now.boot_ms)),
            Phase::Asking | Phase::Waiting | Phase::Lost | Phase::Refused | Phase::Releasing | Phase::Released => 0,
        }
    }

    /// Milliseconds until the promise, the grace or the time to regain ends: by then the application must have been told.
    #[must_use]
    pub fn promise_left_ms(&self, now: Now) -> u64 {
        match self.phase {
            Phase::Held | Phase::Late => self.right.map_or(0, |(_, until)| until.left_ms(now)),
            _ => self.left_ms(now),
        }
    }

    /// Boot time at which the request was sent whose answer the right counts from; none without a right.
    #[must_use]
    pub fn heard_at(&self) -> Option<u64> {
        self.right.map(|(sent, _)| sent.boot_ms)
    }

    /// Why the seat was refused or lost, if it was.
    #[must_use]
    pub fn cause(&self) -> Option<Failure> {
        matches!(self.phase, Phase::Lost | Phase::Refused).then_some(self.cause)
    }

    /// Whether the server may hold something under the present id: a seat, or a place in line.
    #[must_use]
    pub fn may_be_held(&self) -> bool {
        self.live
    }

    /// Milliseconds until the wait is over; 0 if there is none.
    #[must_use]
    pub fn wait_left_ms(&self, now: Now) -> u64 {
        self.wait_until.map_or(0, |until| until.saturating_sub(now.boot_ms))
    }

    /// Whether a lost seat is still asked for.
    #[must_use]
    pub fn asks_on(&self) -> bool {
        self.phase == Phase::Lost && (self.next_send.is_some() || self.call.is_some())
    }

    /// Boot time, milliseconds, of the next look that is needed; none if nothing will ever be due.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        self.planned
    }

    /// The number of the request that is under way. The answer to any other is late and ignored.
    #[must_use]
    pub fn under_way(&self) -> Option<u64> {
        self.call.map(|call| call.number)
    }

    /// The driver says which presence connection stands for the lease, if any. A new one is confirmed by a renewal at once: before that its end
    /// frees nothing. Whether anything is new.
    pub fn stands(&mut self, now: Now, generation: Option<u64>) -> bool {
        if self.presence == generation {
            return false;
        }
        self.presence = generation;
        if generation.is_some() {
            self.shows_life(now);
        }
        true
    }

    /// Somebody waits for the server's word on the lease, or on its release: asks at the next look.
    pub fn asks_at_once(&mut self, now: Now) {
        match self.phase {
            Phase::Releasing => self.asks_soon(now),
            // An ending lease too: by now it may have ended before its deadline.
            _ => self.asks_within_promise(now),
        }
    }

    /// The driver wants the server to hear the lease soon: a presence connection ended, whose end frees the seat if nothing is heard for a while.
    pub fn shows_life(&mut self, now: Now) {
        if self.ending.is_none() {
            self.asks_within_promise(now);
        }
    }

    fn asks_within_promise(&mut self, now: Now) {
        if self.call.is_none() && self.promised(now) {
            self.next_send = Some(now.boot_ms);
            self.plan(now);
        }
    }

    /// Why the lease will not be renewed, while its right still runs.
    #[must_use]
    pub fn ending(&self) -> Option<EndReason> {
        self.ending
    }

    /// Whether the server knows that a presence connection stands for the lease: a renewal that named it was answered.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.presence.is_some() && self.presence == self.confirmed
    }

    /// The driver vouches that it was awake until now (busy with another seat, say): a look that is late for that reason is no wake from sleep.
    pub fn was_awake(&mut self, now: Now) {
        self.expected = self.expected.map(|expected| expected.max(now.boot_ms));
    }

    /// Looks at the clock: tells what time has brought and sends what is due.
    pub fn on_time(&mut self, now: Now, fresh: Fresh) -> Vec<Action> {
        let mut actions = Vec::new();
        self.look(now);
        if let Some(call) = self.call
            && now.boot_ms.saturating_sub(call.sent.boot_ms) >= call.limit_ms
        {
            self.call = None;
            self.answered(now, call, Answer::Unreachable, fresh.jitter, &mut actions);
        }
        self.settle(now, &mut actions);
        self.send_if_due(now, fresh, &mut actions);
        self.plan(now);
        actions
    }

    /// Takes the answer to the request with this `call` number. An answer to another than the one under way is late and ignored.
    pub fn on_answer(&mut self, now: Now, call: u64, answer: Answer, fresh: Fresh) -> Vec<Action> {
        let mut actions = Vec::new();
        // A driver that was blocked in the call did not sleep, unless it took longer than any call may.
        self.expected = self.call.map(|call| call.sent.boot_ms.saturating_add(call.limit_ms));
        self.look(now);
        if let Some(sent) = self.call.take_if(|sent| sent.number == call) {
            self.answered(now, sent, answer, fresh.jitter, &mut actions);
            self.paces(now, fresh.jitter);
        }
        self.settle(now, &mut actions);
        self.send_if_due(now, fresh, &mut actions);
        self.plan(now);
        actions
    }

    /// Gives the seats back, or stops asking for them. Valid in every phase, before any answer was seen too.
    pub fn release(&mut self, now: Now, fresh: Fresh) -> Vec<Action> {
        let mut actions = Vec::new();
        self.look(now);
        match self.phase {
            Phase::Releasing | Phase::Released => {}
            _ if !self.live => self.released(true, &mut actions),
            _ => {
                self.phase = Phase::Releasing;
                self.call = None;
                self.failures = 0;
                self.next_send = Some(now.boot_ms);
                // By then the lease has ended by itself, if the server was up all the time.
                let ttl = if self.terms.ttl_ms == 0 { RELEASE_MS_MAX } else { self.terms.ttl_ms + self.terms.ttl_ms / DRIFT_PART };
                self.release_until = now.boot_ms.saturating_add(ttl.min(RELEASE_MS_MAX));
            }
        }
        self.send_if_due(now, fresh, &mut actions);
        self.plan(now);
        actions
    }

    /// Whether it waits for the end of a quarantine.
    #[must_use]
    pub fn waits_out_a_quarantine(&self) -> bool {
        self.phase == Phase::Asking && self.held_up == Some(Failure::Denied(DenialCode::Quarantine))
    }

    /// The driver has seen that what is waited for is over sooner than was said, or somebody waits for a release no longer: asks at the next look.
    pub fn asks_soon(&mut self, now: Now) {
        if self.call.is_none() && matches!(self.phase, Phase::Asking | Phase::Waiting | Phase::Releasing) {
            self.next_send = self.next_send.map(|at| at.min(now.boot_ms));
            self.plan(now);
        }
    }

    /// After a denial or a refusal: asks anew, with a higher attempt of the same id where that is how it may be answered otherwise.
    pub fn ask_again(&mut self, now: Now, fresh: Fresh) -> Vec<Action> {
        let mut actions = Vec::new();
        self.look(now);
        if self.phase == Phase::Refused {
            match self.cause {
                Failure::Denied(code) if code.retry() != Retry::NewRequest => self.attempt += 1,
                Failure::Refused(code) if code.retry() == Retry::SameId => {}
                // There may be a place, or a grant, under this id.
                Failure::NoAnswer | Failure::WaitOver => {}
                _ => self.take_new_id(),
            }
            self.wait_until = self.wait_ms.map(|wait_ms| now.boot_ms.saturating_add(wait_ms));
            self.held_up = None;
            self.phase = Phase::Asking;
            self.next_send = Some(now.boot_ms);
            self.failures = 0;
        }
        self.send_if_due(now, fresh, &mut actions);
        self.plan(now);
        actions
    }

    /// No server can make it ask in a loop by answers that want another request at once.
    fn paces(&mut self, now: Now, jitter: u16) {
        if self.next_send.is_none_or(|at| now.boot_ms < at) {
            return;
        }
        self.at_once = self.at_once.saturating_add(1);
        if let Some(over) = self.at_once.checked_sub(AT_ONCE_MAX + 1) {
            let pause = backoff(over, BACKOFF_MS_MAX).min(self.may_run_ms(now).map_or(u64::MAX, |left| left / 2)).max(RENEW_MS_MIN);
            let at = now.boot_ms.saturating_add(around(pause, jitter));
            self.next_send = Some(if matches!(self.phase, Phase::Asking | Phase::Waiting) { self.within_wait(now, at) } else { at });
        }
    }

    /// Milliseconds for which the application may run without another answer, if it may run now.
    fn may_run_ms(&self, now: Now) -> Option<u64> {
        self.may_run(now).then(|| self.left_ms(now))
    }

    /// Sees whether the machine slept since the last look.
    fn look(&mut self, now: Now) {
        let boot = now.boot_ms.saturating_sub(self.last_look.boot_ms);
        let wall = now.wall_ms.saturating_sub(self.last_look.wall_ms);
        let overslept = self.expected.is_some_and(|planned| now.boot_ms >= planned.saturating_add(SLEEP_MS_MIN));
        let paused = wall >= 0 && wall.unsigned_abs() >= boot.saturating_add(SLEEP_MS_MIN);
        self.last_look = now;
        self.halted = self.expected.is_some_and(|planned| now.boot_ms >= planned.saturating_add(HALT_MS_MIN)) || paused;
        if (overslept || paused) && matches!(self.phase, Phase::Held | Phase::Late | Phase::Grace | Phase::Regaining) {
            self.begin_regaining(now);
            if self.ending.is_none() {
                // Connections are dead and the right may be over: ask at once.
                self.call = None;
                self.failures = 0;
                self.next_send = Some(now.boot_ms);
            }
        }
    }

    /// The time to regain begins once after each promise, whatever the clocks do then.
    fn begin_regaining(&mut self, now: Now) {
        if !self.regain_begun {
            self.regain_begun = true;
            self.regain_until = Some(now.boot_ms.saturating_add(REGAIN_MS));
        }
    }

    /// What has come to its end.
    fn settle(&mut self, now: Now, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Held | Phase::Late)
            && let Some((sent, until)) = self.right
        {
            if until.over(now) {
                self.out_of_promise = true;
                if self.halted && self.call.is_none() && self.failures == 0 && self.cause == Failure::NoAnswer {
                    // No request had failed: the next one was due while nothing here ran.
                    self.cause = Failure::Halted;
                }
                if let Some(reason) = self.ending {
                    self.lose(now, Failure::Ended(reason), actions);
                } else {
                    self.leave_promise(now, actions);
                }
            } else if self.phase == Phase::Held && self.ending.is_none() {
                let whole = until.boot_ms.saturating_sub(sent.boot_ms);
                if until.left_ms(now) <= whole / 2 {
                    self.phase = Phase::Late;
                    actions.push(Action::Tell(Notice::Late { ends_in_ms: until.left_ms(now) }));
                }
            }
            // Its entitlement has ended by this clock: only a fresh grant shows that another covers it.
            if self.entitlement_over(now) && !self.regrant && self.ending.is_none() {
                self.regrant = true;
                self.unanswered = None;
                self.next_send = Some(now.boot_ms);
            }
        }
        // The wait is one span by our own clock. It was asked once more at the end.
        if let (Some(_), None, Phase::Asking | Phase::Waiting) = (self.wait_until, self.call, self.phase)
            && self.wait_is_over(now)
            && self.next_send > self.wait_until
        {
            // What was waited for last: a server that does not answer, one that grants nothing, or a seat.
            let cause = if self.cause == Failure::NoAnswer { Failure::NoAnswer } else { self.held_up.unwrap_or(self.cause) };
            // The last asking may have been cut off: then its seat may be there, whatever the answers before it said.
            let live = self.live;
            self.refuse(cause, actions);
            self.live |= live;
        }
        if self.phase == Phase::Grace && self.grace().is_none_or(|until| until.over(now)) {
            self.leave_grace(now, actions);
        }
        if self.phase == Phase::Regaining && self.regain_until.is_none_or(|until| now.boot_ms >= until) {
            self.lose(now, self.cause, actions);
        }
        if self.phase == Phase::Releasing && now.boot_ms >= self.release_until {
            self.released(false, actions);
        }
    }

    fn leave_promise(&mut self, now: Now, actions: &mut Vec<Action>) {
        match self.grace() {
            Some(until) if !until.over(now) => {
                self.phase = Phase::Grace;
                actions.push(Action::Tell(Notice::Grace { ends_in_ms: until.left_ms(now) }));
            }
            _ => self.leave_grace(now, actions),
        }
    }

    fn leave_grace(&mut self, now: Now, actions: &mut Vec<Action>) {
        match self.regain_until {
            Some(until) if now.boot_ms < until => {
                self.phase = Phase::Regaining;
                actions.push(Action::Tell(Notice::Regaining { gives_up_in_ms: until - now.boot_ms }));
            }
            _ => self.lose(now, self.cause, actions),
        }
    }

    /// The end of grace, counted from the last verified answer. None if the vendor permits none, or the server itself ended the lease.
    fn grace(&self) -> Option<Until> {
        let (sent, _) = self.right?;
        let refused = matches!(self.cause, Failure::Denied(_) | Failure::Ended(_));
        (self.terms.grace_ms > 0 && self.ending.is_none() && self.live && !refused).then(|| Until::after(sent, self.terms.grace_ms))
    }

    fn entitlement_over(&self, now: Now) -> bool {
        self.terms.entitled_until_ms.is_some_and(|end| now.wall_ms >= end)
    }

    fn lose(&mut self, now: Now, cause: Failure, actions: &mut Vec<Action>) {
        self.cause = cause;
        self.phase = Phase::Lost;
        // What failed while the right ran says little of how long it will take: the pauses begin anew, and grow further than before.
        self.failures = 0;
        self.regain_until = None;
        self.right = None;
        let hopeless = match cause {
            // An administrator or a license said no; asking again would defeat it.
            Failure::Ended(reason) => !comes_back(reason),
            Failure::Denied(code) => !code.may_help_later(),
            Failure::Refused(code) => code.retry() == Retry::Never,
            Failure::Cloned | Failure::Halted | Failure::NoAnswer | Failure::Untrusted | Failure::WaitOver => false,
        };
        if self.ending.take().is_some() {
            self.live = false;
        }
        if hopeless {
            self.next_send = None;
            self.call = None;
        } else if self.next_send.is_none() && self.call.is_none() {
            self.next_send = Some(now.boot_ms.saturating_add(BACKOFF_MS_MIN));
        }
        actions.push(Action::Tell(Notice::Lost(cause)));
    }

    fn refuse(&mut self, cause: Failure, actions: &mut Vec<Action>) {
        self.cause = cause;
        self.phase = Phase::Refused;
        self.next_send = None;
        self.live = match cause {
            Failure::Denied(_) | Failure::Ended(_) => false,
            // The same request may be answered otherwise, so the server may know of it.
            Failure::Refused(code) => code.retry() == Retry::SameId,
            Failure::Cloned | Failure::Halted | Failure::NoAnswer | Failure::Untrusted | Failure::WaitOver => true,
        };
        actions.push(Action::Tell(match cause {
            Failure::Denied(code) => Notice::Denied { code },
            other => Notice::Failed(other),
        }));
    }

    fn released(&mut self, confirmed: bool, actions: &mut Vec<Action>) {
        self.phase = Phase::Released;
        self.live = false;
        self.call = None;
        self.next_send = None;
        self.right = None;
        actions.push(Action::Tell(Notice::Released { confirmed }));
    }

    fn take_new_id(&mut self) {
        self.id += 1;
        self.attempt = 1;
        self.counter = 0;
        self.unanswered = None;
        self.live = false;
        self.ending = None;
        self.regrant = false;
        self.show_grant = false;
        self.shown = false;
        self.presence = None;
        self.confirmed = None;
    }

    fn send_if_due(&mut self, now: Now, fresh: Fresh, actions: &mut Vec<Action>) {
        if self.call.is_some() || self.next_send.is_none_or(|at| now.boot_ms < at) {
            return;
        }
        let kind =
            match self.phase {
                Phase::Released | Phase::Refused => return,
                Phase::Releasing => Kind::Release,
                Phase::Asking | Phase::Waiting => Kind::Checkout,
                Phase::Held | Phase::Late | Phase::Grace | Phase::Regaining | Phase::Lost => {
                    if !self.live || self.regrant || self.show_grant { Kind::Checkout } else { Kind::Renew }
                }
            };
        self.calls += 1;
        let call = self.calls;
        self.next_send = None;
        let waits = kind == Kind::Checkout && !self.ever_held && self.wait_ms.is_some();
        let limit_ms = match self.wait_until {
            Some(until) if waits => WAITING_CALL_MS_MAX.min(until.saturating_sub(now.boot_ms).saturating_add(LAST_WORD_MS)),
            _ => CALL_MS_MAX,
        };
        // Within a promise every checkout shows it: a server that lost its history can then keep it.
        let ours = self.ever_held && self.id == self.told_id && self.promised(now);
        let shows = kind == Kind::Checkout && (self.show_grant || ours);
        self.call = Some(Call { number: call, kind, id: self.id, sent: now, limit_ms, shows, presence: self.presence });
        let id = self.id;
        actions.push(match kind {
            Kind::Checkout => {
                self.live = true;
                Action::Checkout {
                    call,
                    id,
                    attempt: self.attempt,
                    nonce: fresh.nonce,
                    // What is left of it: the server counts from when it takes the place.
                    wait_ms: if waits { self.wait_until.map(|until| until.saturating_sub(now.boot_ms).max(1)) } else { None },
                    show_grant: shows,
                    regained: self.out_of_promise,
                }
            }
            Kind::Release => Action::Release { call, id },
            Kind::Renew => {
                let presence = self.presence;
                let nonce = match self.unanswered {
                    // What it says of presence is the same, or the server could not tell which was said last.
                    Some(unanswered) if unanswered.presence == presence => unanswered.nonce,
                    _ => {
                        let mut nonce = [0; 16];
                        nonce.copy_from_slice(&fresh.nonce[..16]);
                        self.counter += 1;
                        self.unanswered = Some(Unanswered { nonce, presence });
                        nonce
                    }
                };
                Action::Renew { call, id, counter: self.counter, nonce, presence: self.presence, regained: self.out_of_promise }
            }
        });
    }

    fn answered(&mut self, now: Now, call: Call, answer: Answer, jitter: u16, actions: &mut Vec<Action>) {
        if call.id != self.id {
            return;
        }
        match (call.kind, answer) {
            // Somebody wanted to know how it stands. What no word of the server says runs to its deadline, and nothing new is asked for.
            (Kind::Renew, Answer::Unreachable | Answer::Refused { .. } | Answer::Untrusted) if self.ending.is_some() => {}
            // Cut off by the end of the wait, it says nothing of the server.
            (Kind::Checkout, Answer::Unreachable) if !self.ever_held && self.wait_until.is_some() && self.wait_is_over(now) => {
                self.retry(now, jitter, None, self.cause);
            }
            (_, Answer::Unreachable) => self.retry(now, jitter, None, Failure::NoAnswer),
            (Kind::Release, Answer::Released | Answer::Ended { .. } | Answer::Denied { .. }) => self.released(true, actions),
            (Kind::Release, Answer::Refused { code, retry_after_ms }) => match code.retry() {
                // Nothing is held under this id, or nothing that we could give back.
                Retry::Never | Retry::NewRequest => self.released(code == ErrorCode::UnknownLease, actions),
                _ => self.retry(now, jitter, retry_after_ms, Failure::Refused(code)),
            },
            (Kind::Checkout, Answer::Granted(terms)) => {
                self.terms = terms;
                // Over by our clock and not by the server's: the next one is asked for when the next renewal is due, not at once and again and again.
                self.regrant = self.entitlement_over(now);
                self.show_grant = false;
                self.shown = false;
                self.hold(now, call.sent, terms.remaining_ms, jitter, actions);
            }
            (Kind::Checkout, Answer::Waiting { place }) => {
                if !self.ever_held {
                    self.phase = Phase::Waiting;
                    self.held_up = None;
                    actions.push(Action::Tell(Notice::Waiting { place }));
                }
                self.failures = 0;
                let at = now.boot_ms.max(call.sent.boot_ms.saturating_add(WAITING_ASK_MS_MIN));
                self.next_send = Some(at);
                if !self.ever_held {
                    self.cause = Failure::WaitOver;
                    self.next_send = Some(self.within_wait(now, at));
                }
            }
            (Kind::Checkout, Answer::Denied { code, over_in_ms }) => {
                self.live = false;
                if !self.ever_held {
                    if code == DenialCode::Quarantine {
                        self.held_up(now, Failure::Denied(code), None, jitter, actions);
                        if let (Phase::Asking, Some(over_in_ms)) = (self.phase, over_in_ms) {
                            // Everybody hears of the same moment.
                            let spread = spread(REOPEN_MS_MAX, jitter);
                            let at = now.boot_ms.saturating_add(over_in_ms.max(BACKOFF_MS_MIN));
                            self.next_send = Some(self.within_wait(now, at.saturating_add(spread)));
                        }
                    } else {
                        self.refuse(Failure::Denied(code), actions);
                    }
                    return;
                }
                if code.retry() == Retry::NewRequest || (call.shows && code != DenialCode::Quarantine) {
                    // What was shown is not taken over here: ask as a new client.
                    self.take_new_id();
                } else {
                    self.attempt += 1;
                }
                self.retry(now, jitter, None, Failure::Denied(code));
                if self.phase == Phase::Lost {
                    self.cause = Failure::Denied(code);
                    if !code.may_help_later() {
                        self.give_up(Failure::Denied(code), actions);
                    }
                } else if !self.promised(now) {
                    // A promise that still runs outlives the denial of another one.
                    self.lose(now, Failure::Denied(code), actions);
                }
            }
            (Kind::Renew, Answer::Renewed { counter, nonce, remaining_ms, regrant })
                if counter == self.counter && self.unanswered.is_some_and(|unanswered| unanswered.nonce == nonce) =>
            {
                self.unanswered = None;
                self.confirmed = call.presence;
                self.hold(now, call.sent, remaining_ms, jitter, actions);
                if regrant {
                    self.regrant = true;
                    self.next_send = Some(now.boot_ms);
                }
            }
            (_, Answer::Ended { reason, remaining_ms }) => self.ended(now, call, reason, remaining_ms, actions),
            (_, Answer::Refused { code, retry_after_ms }) => self.refused(now, call, code, retry_after_ms, jitter, actions),
            // An answer to another question: an old one replayed, or not by our server.
            (_, _) if self.ever_held => self.retry(now, jitter, None, Failure::Untrusted),
            (_, _) => {
                self.refuse(Failure::Untrusted, actions);
                self.live = true;
            }
        }
    }

    /// An answer that carries a live lease.
    fn hold(&mut self, now: Now, sent: Now, remaining_ms: u64, jitter: u16, actions: &mut Vec<Action>) {
        let until = Until::promise(sent, remaining_ms);
        self.live = true;
        self.failures = 0;
        let was_ending = self.ending.take().is_some();
        self.cause = Failure::NoAnswer;
        self.right = Some((sent, until));
        if !until.over(now) {
            self.out_of_promise = false;
            self.regain_begun = false;
        }
        let third = (remaining_ms.min(self.terms.ttl_ms.max(1)) / 3).max(RENEW_MS_MIN);
        if third >= BACKOFF_MS_MIN {
            self.at_once = 0;
        }
        // Between a quarter and a third, so that clients that started together do not stay together.
        let spread = spread(third / 4, jitter);
        self.next_send = Some(sent.boot_ms.saturating_add(third - spread));
        if until.over(now) {
            // The answer took longer than the right: it promises nothing, and the next one is due.
            self.next_send = Some(now.boot_ms);
            if !self.ever_held {
                self.phase = Phase::Asking;
                self.right = None;
                return;
            }
            if matches!(self.phase, Phase::Lost | Phase::Regaining) {
                return;
            }
        }
        let before = self.phase;
        self.phase = Phase::Held;
        if self.regain_until.take().is_some() || was_ending || matches!(before, Phase::Late | Phase::Grace | Phase::Regaining | Phase::Lost)
        {
            if before != Phase::Held || was_ending {
                actions.push(Action::Tell(Notice::Regained { new_lease: self.id != self.told_id }));
            }
        } else if !self.ever_held {
            actions.push(Action::Tell(Notice::Granted));
        }
        self.ever_held = true;
        self.told_id = self.id;
    }

    fn ended(&mut self, now: Now, call: Call, reason: EndReason, remaining_ms: u64, actions: &mut Vec<Action>) {
        self.unanswered = None;
        self.show_grant = false;
        self.regrant = false;
        // It ends when what was promised does, so nobody says more of it than was promised.
        let promised = self.right.map_or(0, |(_, until)| until.left_ms(call.sent)).max(self.terms.ttl_ms);
        let until = Until::promise(call.sent, remaining_ms.min(promised));
        if self.ever_held && remaining_ms > 0 && !until.over(now) && !matches!(self.phase, Phase::Lost) {
            let known = self.ending.replace(reason).is_some();
            self.right = Some((call.sent, until));
            self.phase = Phase::Held;
            self.next_send = None;
            if !known {
                actions.push(Action::Tell(Notice::Ending { reason, ends_in_ms: until.left_ms(now) }));
            }
            return;
        }
        let by_time = remaining_ms == 0 && matches!(reason, EndReason::Expired | EndReason::Unclaimed);
        if by_time && !call.shows && !self.shown && self.promised(now) {
            // By our clock the promise still runs, so the server has lost it: show it.
            self.show();
            self.next_send = Some(now.boot_ms);
            return;
        }
        self.live = false;
        if !self.ever_held {
            if comes_back(reason) {
                // Granted to a question whose answer was lost, and over since: ask under a new id.
                self.take_new_id();
                self.next_send = Some(now.boot_ms);
            } else {
                self.refuse(Failure::Ended(reason), actions);
            }
        } else if by_time {
            self.ask_anew(now, Failure::Ended(reason), actions);
        } else if comes_back(reason) {
            self.regain(now, Failure::Ended(reason), actions);
        } else if self.phase == Phase::Lost {
            self.give_up(Failure::Ended(reason), actions);
        } else {
            self.lose(now, Failure::Ended(reason), actions);
        }
    }

    /// A lost seat will not come back: who waits for it must hear that.
    fn give_up(&mut self, cause: Failure, actions: &mut Vec<Action>) {
        self.cause = cause;
        self.next_send = None;
        actions.push(Action::Tell(Notice::Lost(cause)));
    }

    /// The next request is a checkout that shows the signed grant.
    fn show(&mut self) {
        self.show_grant = true;
        self.shown = true;
        self.unanswered = None;
    }

    /// The server does not take the lease over: asks as a new client, within what is left of the promise if any is left.
    fn ask_anew(&mut self, now: Now, cause: Failure, actions: &mut Vec<Action>) {
        if !self.promised(now) {
            self.regain(now, cause, actions);
            return;
        }
        self.take_new_id();
        self.cause = cause;
        self.failures = 0;
        self.next_send = Some(now.boot_ms);
    }

    /// The lease is gone; tries to get a new one before saying lost.
    fn regain(&mut self, now: Now, cause: Failure, actions: &mut Vec<Action>) {
        self.take_new_id();
        self.cause = cause;
        self.failures = 0;
        self.right = None;
        self.next_send = Some(now.boot_ms);
        if self.phase != Phase::Lost {
            self.begin_regaining(now);
            let until = self.regain_until.unwrap_or(now.boot_ms);
            if self.phase != Phase::Regaining {
                self.phase = Phase::Regaining;
                actions.push(Action::Tell(Notice::Regaining { gives_up_in_ms: until.saturating_sub(now.boot_ms) }));
            }
        }
    }

    fn refused(&mut self, now: Now, call: Call, code: ErrorCode, retry_after_ms: Option<u64>, jitter: u16, actions: &mut Vec<Action>) {
        // Later it may be taken over, for as long as it is worth it: a license that it needs may be installed meanwhile.
        let waits_with_its_grant = code.retry() == Retry::SameId || code.retry() == Retry::Later && self.promised(now);
        match code {
            // Two programs use one lease: this one takes a seat of its own or stops.
            ErrorCode::ClonedClient | ErrorCode::StaleCounter if self.ever_held => self.regain(now, Failure::Cloned, actions),
            // A server that was restored or rolled back: show what it signed.
            ErrorCode::UnknownLease if self.ever_held && self.right.is_some() && !self.shown && !call.shows => {
                self.show();
                self.next_send = Some(now.boot_ms);
            }
            _ if call.shows && !waits_with_its_grant => self.ask_anew(now, Failure::Refused(code), actions),
            ErrorCode::UnknownLease if self.ever_held => self.regain(now, Failure::Refused(code), actions),
            ErrorCode::IdTaken => {
                if self.ever_held {
                    self.regain(now, Failure::Refused(code), actions);
                } else {
                    self.take_new_id();
                    self.retry(now, jitter, None, Failure::Refused(code));
                }
            }
            ErrorCode::StaleAttempt => {
                self.attempt += 1;
                self.retry(now, jitter, None, Failure::Refused(code));
            }
            ErrorCode::DiskFull if !self.ever_held => self.held_up(now, Failure::Refused(code), retry_after_ms, jitter, actions),
            _ if code.retry() == Retry::SameId || call.shows => {
                // The server has seen the shown grant and is not ready: what it must see again it will say again.
                self.show_grant = false;
                self.shown = false;
                self.retry(now, jitter, retry_after_ms, Failure::Refused(code));
            }
            _ if !self.ever_held => self.refuse(Failure::Refused(code), actions),
            // Some time later: the seat runs on as long as it may meanwhile.
            _ if code.retry() == Retry::Later => self.retry(now, jitter, retry_after_ms, Failure::Refused(code)),
            _ if self.phase == Phase::Lost || self.promised(now) => self.retry(now, jitter, retry_after_ms, Failure::Refused(code)),
            _ => self.lose(now, Failure::Refused(code), actions),
        }
    }

    /// The server grants nothing to anybody for a while. Whoever waits asks again until the wait is over; whoever does not is told at once.
    fn held_up(&mut self, now: Now, cause: Failure, retry_after_ms: Option<u64>, jitter: u16, actions: &mut Vec<Action>) {
        if self.wait_is_over(now) {
            self.refuse(cause, actions);
            return;
        }
        if matches!(cause, Failure::Denied(_)) {
            // A place in line, if there was one, was in lost history.
            self.attempt += 1;
            self.phase = Phase::Asking;
        }
        if self.held_up.replace(cause) != Some(cause) {
            self.failures = 0;
            actions.push(Action::Tell(Notice::HeldUp(cause)));
        }
        self.retry(now, jitter, retry_after_ms, cause);
    }

    /// This boot time, or the end of the wait if that comes first: then it is asked for the last time.
    fn within_wait(&self, now: Now, at: u64) -> u64 {
        self.wait_until.filter(|until| now.boot_ms < *until).map_or(at, |until| at.min(until))
    }

    /// There is no more waiting, or never was any.
    fn wait_is_over(&self, now: Now) -> bool {
        self.wait_until.is_none_or(|until| now.boot_ms >= until)
    }

    fn retry(&mut self, now: Now, jitter: u16, retry_after_ms: Option<u64>, cause: Failure) {
        let spread = |ms| spread(ms, jitter);
        let promise = self.right.filter(|_| self.promised(now)).map(|(_, until)| until.left_ms(now));
        let may_run = self.may_run_ms(now);
        let pause = match retry_after_ms {
            // The server's word is followed: its own pause is the least, so that nobody asks in a loop. Nor may it silence a client for longer than
            // our own longest pause, or for all that is left of its right, of its grace, or of its time to regain.
            Some(asked) => {
                let most = promise.or(may_run).map_or(LOST_BACKOFF_MS_MAX, |left| (left / 2).min(LOST_BACKOFF_MS_MAX));
                asked.min(most).max(BACKOFF_MS_MIN - BACKOFF_MS_MIN / 4) + spread(BACKOFF_MS_MIN / 2)
            }
            None => {
                let max = match self.phase {
                    Phase::Lost => LOST_BACKOFF_MS_MAX,
                    // Each of these is decided and written down as a denial.
                    Phase::Asking if matches!(cause, Failure::Denied(_)) => HELD_UP_BACKOFF_MS_MAX,
                    Phase::Asking | Phase::Waiting => 2_000,
                    _ => (self.terms.ttl_ms / 12).clamp(BACKOFF_MS_MIN, BACKOFF_MS_MAX),
                };
                let pause = around(backoff(self.failures, max), jitter);
                // A connection that was lost was lost by everybody at once.
                let lost_it = self.failures == 0 && cause == Failure::NoAnswer;
                let patient = self.phase == Phase::Waiting || promise.is_some_and(|left| left > REOPEN_AT_ONCE_MS);
                if lost_it && patient { pause.max(spread(REOPEN_MS_MAX)) } else { pause }
            }
        };
        self.failures = self.failures.saturating_add(1);
        let at = now.boot_ms.saturating_add(pause);
        self.next_send = Some(if matches!(self.phase, Phase::Asking | Phase::Waiting) { self.within_wait(now, at) } else { at });
        if !matches!(self.phase, Phase::Lost) {
            self.cause = cause;
        }
    }

    fn plan(&mut self, now: Now) {
        let wall = |end: i64| now.boot_ms.saturating_add(u64::try_from(end.saturating_sub(now.wall_ms)).unwrap_or(0));
        let until = |until: Until| until.boot_ms.min(wall(until.wall_ms));
        let mut wakes = [None; 5];
        wakes[0] = match self.call {
            Some(call) => Some(call.sent.boot_ms.saturating_add(call.limit_ms)),
            None => self.next_send,
        };
        match self.phase {
            Phase::Held | Phase::Late => {
                if let Some((sent, end)) = self.right {
                    wakes[1] = Some(until(end));
                    if self.phase == Phase::Held && self.ending.is_none() {
                        let whole = end.boot_ms.saturating_sub(sent.boot_ms);
                        wakes[2] = Some(until(end).saturating_sub(whole / 2).max(now.boot_ms));
                    }
                    if !self.regrant && self.ending.is_none() {
                        wakes[3] = self.terms.entitled_until_ms.map(wall);
                    }
                }
            }
            Phase::Grace => wakes[1] = self.grace().map(until),
            Phase::Regaining => wakes[1] = self.regain_until,
            Phase::Releasing => wakes[1] = Some(self.release_until),
            Phase::Asking | Phase::Waiting | Phase::Lost | Phase::Refused | Phase::Released => {}
        }
        self.planned = wakes.into_iter().flatten().min();
        self.expected = self.planned;
    }
}

/// A pause that doubles with each one before it, up to `max`.
fn backoff(before: u32, max: u64) -> u64 {
    BACKOFF_MS_MIN.checked_shl(before.min(16)).unwrap_or(max).min(max)
}

/// Three quarters to five quarters of a pause.
fn around(pause: u64, jitter: u16) -> u64 {
    pause - pause / 4 + spread(pause / 2, jitter)
}

/// Whether a new lease may be asked for after such an end: nobody took it away on purpose.
fn comes_back(reason: EndReason) -> bool {
    reason.retry() == Retry::NewRequest
}
