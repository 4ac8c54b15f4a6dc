//! A seat in the program's hands, and what drives its keeper over the network.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use triquest_license::{CivilMs, FeatureName, ServerKey, VerifiedLicense, Vocabulary};
use triquest_wire::{
    Bytes16, Bytes32, Effect, LeaseId, Problem, Secret, WordList,
    lease::{
        CheckoutAnswer, CheckoutRequest, Denial, DenialCode, EndReason, HolderClaim, Item, PoolNumbers, ReleaseAnswer, RenewAnswer,
        RenewRequest, SecretRequest,
    },
    trust::{GrantPayload, SignedGrant},
};

use crate::{
    address::ServerAddress,
    client::{Bounds, Shared, whole_ms, within},
    clock,
    error::{Error, ErrorKind},
    keeper::{Action, Answer, Failure, Keeper, Notice, Now, Phase, Terms},
    limits::RELEASE_CALL_MS_MAX,
    transport::{CallError, Rejected, Session},
    verify::{self, Bundle, Distrust, GrantExpected, VerifiedGrant},
};

/// A warning while the program may still run. Kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The seat will not be renewed (reclaimed, license ended); the program may run on for so long.
    Ending {
        /// Why.
        reason: triquest_wire::lease::EndReason,
        /// Until the right ends.
        ends_in: Duration,
    },
    /// The promise is over, no server answers, and the vendor permits running on for so long.
    Grace {
        /// Until the grace ends.
        ends_in: Duration,
    },
    /// Half of the right has passed and no renewal came through.
    Late {
        /// Until the promise ends; grace may follow.
        ends_in: Duration,
    },
    /// The promise ended during a suspend, or the server lost the lease; a seat is asked for, for so long, before it is lost.
    Regaining {
        /// Until it is given up.
        gives_up_in: Duration,
    },
}

/// The place in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InLine {
    /// From 1.
    pub place: u32,
    /// The pool's numbers.
    pub pool: PoolNumbers,
    /// The wait ends in so long.
    pub gives_up_in: Duration,
    /// A seat may come back in so long at the earliest.
    pub first_due_in: Option<Duration>,
}

/// Why a checkout waits without a place in line: the server grants nothing to anybody for a while.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeldUp {
    /// The server's reason: a full disk, or the quarantine after a restore, with its end and what an administrator can do.
    pub why: Error,
    /// The wait ends in so long.
    pub gives_up_in: Duration,
}

type Callback<T> = Arc<dyn Fn(T) + Send + Sync>;

/// What the application wants to hear. Callbacks run on the client's thread and must return soon: renewals wait for them.
#[derive(Clone, Default)]
pub(crate) struct Callbacks {
    pub(crate) on_held_up: Option<Callback<HeldUp>>,
    pub(crate) on_late: Option<Callback<Warning>>,
    pub(crate) on_lost: Option<Callback<Error>>,
    pub(crate) on_regained: Option<Callback<()>>,
    pub(crate) on_waiting: Option<Callback<InLine>>,
}

/// What was asked for.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) items: Vec<Item>,
    pub(crate) holder: HolderClaim,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) callbacks: Callbacks,
}

/// The moving parts, under one lock that is held during calls.
pub(crate) struct Held {
    pub(crate) keeper: Keeper,
    /// The number of the present secret.
    id: u32,
    secret: Secret,
    /// Who granted, or was asked for, the present lease.
    server: Option<ServerKey>,
    signed: Option<SignedGrant>,
    pub(crate) denial: Option<Denial>,
    pub(crate) problem: Option<Problem>,
    pub(crate) distrust: Option<Distrust>,
    in_line: Option<InLine>,
    /// How long it waits in line.
    wait_ms: Option<u64>,
    /// Boot time of the last answer, or of the beginning.
    heard_at: u64,
    /// Why no server has answered since, as far as any was tried.
    unheard: Vec<(ServerAddress, Rejected)>,
    /// A request under the present id may have taken effect, as far as is known here.
    pub(crate) may_be_known: bool,
    /// Told of a release that ended the keeper.
    pub(crate) release_confirmed: bool,
}

/// What may be read at any time without waiting for a call.
#[derive(Clone)]
struct View {
    keeper: Keeper,
    secret: Secret,
    server: Option<ServerKey>,
    server_name: String,
    grant: Option<GrantPayload>,
    bundle: Option<Bundle>,
}

pub(crate) struct SeatCore {
    pub(crate) wish: Wish,
    held: Mutex<Held>,
    view: Mutex<View>,
    pub(crate) release_wanted: AtomicBool,
    /// Somebody waits for the release.
    release_awaited: AtomicBool,
    /// Somebody has waited for the release in vain.
    waited_out: AtomicBool,
    /// No server could be reached for the last call.
    cut_off: AtomicBool,
    /// The application wants to hear from the server ahead of time.
    word_wanted: AtomicBool,
    /// Boot time since which the user is idle, plus one; 0 if not told.
    idle_since: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stands in the way where the server says that it has no license of a feature, and one that it has shown has it for whoever knows the words that it
/// needs: in a sentence, and the next step.
fn words_in_the_way(denial: &Denial, items: &[Item], licenses: &[VerifiedLicense]) -> Option<(String, &'static str)> {
    if !matches!(denial.code, DenialCode::UnknownFeature | DenialCode::UnknownVendor) {
        return None;
    }
    let is_asked = |feature: &FeatureName| match &denial.feature {
        Some(named) => feature.as_str() == named,
        None => items.iter().any(|item| item.feature == feature.as_str()),
    };
    let says = |license: &VerifiedLicense, feature: &FeatureName, words: Vec<String>, who: &str| {
        format!("the license {} has `{feature}` for those who know {}: {who}", license.terms().license, words.join(" and "))
    };
    licenses.iter().find_map(|license| {
        let terms = license.terms();
        let left_out = terms.left_out.iter().find_map(|left| {
            let feature = left.feature.as_ref().filter(|feature| is_asked(feature))?;
            let words = left.unknown.iter().map(|word| format!("`{word}`")).collect();
            Some((says(license, feature, words, "neither the server nor this program does"), "update the server and the program"))
        });
        left_out.or_else(|| {
            let right = terms.entitlements.iter().find(|right| is_asked(&right.feature))?;
            let words: Vec<String> = terms.needs.iter().chain(&right.needs).map(|need| format!("`{}`", need.word)).collect();
            (!words.is_empty()).then(|| (says(license, &right.feature, words, "the server does not"), "update the server"))
        })
    })
}

impl SeatCore {
    pub(crate) fn new(wish: Wish, now: Now, wait_ms: Option<u64>, server: ServerKey) -> Self {
        let secret = Secret(Bytes32(clock::random()));
        let keeper = Keeper::new(now, wait_ms);
        Self {
            wish,
            view: Mutex::new(View {
                keeper: keeper.clone(),
                secret,
                server: Some(server),
                server_name: String::new(),
                grant: None,
                bundle: None,
            }),
            held: Mutex::new(Held {
                keeper,
                id: 0,
                secret,
                server: Some(server),
                signed: None,
                denial: None,
                problem: None,
                distrust: None,
                in_line: None,
                wait_ms,
                heard_at: now.boot_ms,
                unheard: Vec::new(),
                may_be_known: false,
                release_confirmed: false,
            }),
            release_wanted: AtomicBool::new(false),
            release_awaited: AtomicBool::new(false),
            waited_out: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            word_wanted: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
        }
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }

    /// Does what is due, calls and callbacks included, within these bounds, so that no seat's end is overslept.
    pub(crate) fn step(&self, shared: &Shared, bounds: Bounds) {
        let mut held = lock(&self.held);
        let now = clock::now();
        // Somebody waits for the answer: what was dead a moment ago is tried all the same, and what fails on an old connection once more on a new one. A
        // server that has come back with another certificate takes none of the old.
        let mut word_wanted = self.word_wanted.swap(false, Ordering::AcqRel);
        if word_wanted {
            held.keeper.asks_at_once(now);
        }
        let bounds = Bounds { anyway: word_wanted, ..bounds };
        let first = if self.release_wanted.load(Ordering::Acquire) && !matches!(held.keeper.phase(), Phase::Releasing | Phase::Released) {
            // What was known of the server before does not count.
            self.cut_off.store(false, Ordering::Release);
            held.problem = None;
            held.keeper.release(now, clock::fresh())
        } else if held.keeper.next_wake().is_some_and(|at| at <= now.boot_ms) {
            held.keeper.on_time(now, clock::fresh())
        } else {
            return;
        };
        let mut actions = VecDeque::from(first);
        self.show(&held);
        while let Some(action) = actions.pop_front() {
            let (call, answer) = match action {
                Action::Tell(notice) => {
                    self.tell(&mut held, &notice);
                    continue;
                }
                Action::Checkout { call, id, attempt, nonce, wait_ms, show_grant, regained } => {
                    if id != held.id {
                        held.id = id;
                        held.secret = Secret(Bytes32(clock::random()));
                        held.server = None;
                        held.signed = None;
                        held.may_be_known = false;
                    }
                    let asked = CheckoutRequest {
                        secret: held.secret,
                        attempt,
                        nonce: Bytes32(nonce),
                        vendor_keys: verify::vendor_keys(shared.keys()),
                        items: self.wish.items.clone(),
                        accepts: WordList::with_grease(&Vocabulary::OURS.all(), clock::grease()),
                        holder: self.wish.holder.clone(),
                        ttl_ms: self.wish.ttl_ms,
                        wait_ms,
                        seen: None,
                        shown: if show_grant { held.signed.clone() } else { None },
                        regained,
                    };
                    (call, self.check_out(&mut held, shared, asked, bounds))
                }
                Action::Renew { call, nonce, counter, presence, regained, .. } => {
                    let request = RenewRequest {
                        secret: held.secret,
                        nonce: Bytes16(nonce),
                        counter,
                        idle_ms: self.idle_ms(),
                        presence,
                        regained,
                        seen: None,
                    };
                    (call, self.renew(&mut held, shared, request, bounds))
                }
                Action::Release { call, .. } => (call, self.give_back(&mut held, shared, bounds)),
            };
            let had_session = matches!(answer, Answer::Unreachable) && !self.cut_off.load(Ordering::Acquire);
            actions.extend(held.keeper.on_answer(clock::now(), call, answer, clock::fresh()));
            let now = clock::now();
            if std::mem::take(&mut word_wanted) && had_session && bounds.until.is_none_or(|until| now.boot_ms < until) {
                held.keeper.asks_at_once(now);
                if held.keeper.next_wake().is_some_and(|at| at <= now.boot_ms) {
                    actions.extend(held.keeper.on_time(now, clock::fresh()));
                }
            }
            self.show(&held);
            // A release that was asked for meanwhile goes first.
            if self.release_wanted.load(Ordering::Acquire) && !matches!(held.keeper.phase(), Phase::Releasing | Phase::Released) {
                break;
            }
        }
    }

    /// The thread was awake until now, though busy with other seats.
    pub(crate) fn was_awake(&self, now: Now) {
        lock(&self.held).keeper.was_awake(now);
    }

    /// Which presence connection stands for which leases, so that the next renewal says it.
    pub(crate) fn stands(&self, now: Now, generation_of: impl Fn(&ServerKey, LeaseId) -> Option<u64>) {
        let mut held = lock(&self.held);
        let generation = held.server.and_then(|server| generation_of(&server, held.secret.lease_id()));
        if held.keeper.stands(now, generation) {
            self.show(&held);
        }
    }

    /// Its presence connection ended where that frees the seat if nothing is heard for a while.
    pub(crate) fn shows_life(&self, now: Now) {
        let mut held = lock(&self.held);
        held.keeper.shows_life(now);
        self.show(&held);
    }

    /// Somebody waits for its release.
    pub(crate) fn awaits_release(&self) {
        self.release_awaited.store(true, Ordering::Release);
    }

    /// The server is to be asked at the next look.
    pub(crate) fn wants_word(&self) {
        self.word_wanted.store(true, Ordering::Release);
    }

    /// What the server said that has refused the release last, if it is known without waiting for a call.
    fn release_refused(&self) -> Option<Problem> {
        self.held.try_lock().ok()?.problem.clone()
    }

    /// It waits for the end of a quarantine.
    pub(crate) fn waits_out_a_quarantine(&self) -> bool {
        lock(&self.view).keeper.waits_out_a_quarantine()
    }

    /// The quarantine was ended sooner than was said.
    pub(crate) fn asks_soon(&self) {
        let mut held = lock(&self.held);
        held.keeper.asks_soon(clock::now());
        self.show(&held);
    }

    /// The present lease.
    pub(crate) fn lease(&self) -> LeaseId {
        lock(&self.view).secret.lease_id()
    }

    /// What a caller's thread may see from now on.
    fn show(&self, held: &Held) {
        let mut view = lock(&self.view);
        view.keeper = held.keeper.clone();
        view.secret = held.secret;
        view.server = held.server;
    }

    /// Who granted, or was asked for, the present lease.
    pub(crate) fn server(&self) -> Option<ServerKey> {
        lock(&self.view).server
    }

    /// One call within these bounds and `whole`. A server that lets it run out is not asked again for other seats for a while.
    fn ask<T>(
        shared: &Shared,
        session: &Session,
        (whole, bounds): (Duration, Bounds),
        call: impl FnOnce(Duration) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let limit = within(whole, bounds.until);
        let began = clock::now().boot_ms;
        let answer = call(limit);
        let took_ms = clock::now().boot_ms.saturating_sub(began);
        if bounds.in_background && matches!(answer, Err(CallError::Unreachable(_))) && took_ms >= whole_ms(limit) {
            shared.hangs(session.server_key());
        }
        answer
    }

    /// A connection to the server of the lease.
    fn session(&self, held: &mut Held, shared: &Shared, bounds: Bounds) -> Result<Arc<Session>, Answer> {
        let began = clock::now().boot_ms;
        let session = shared.session(held.server.as_ref(), bounds);
        // One that takes connections and says nothing may be back any moment.
        let ran_out = bounds.until.is_some_and(|until| began < until && until <= clock::now().boot_ms);
        self.cut_off.store(session.is_err() && !ran_out, Ordering::Release);
        session.map_err(|rejected| {
            // Nothing is said by one that was not tried because it was dead a moment ago.
            if !rejected.is_empty() {
                held.unheard = rejected;
            }
            Answer::Unreachable
        })
    }

    /// Its release was tried since it was wanted, and the server could not be reached; or it was waited for already.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.phase() == Phase::Releasing && (self.cut_off.load(Ordering::Acquire) || self.waited_out.load(Ordering::Acquire))
    }

    fn check_out(&self, held: &mut Held, shared: &Shared, mut asked: CheckoutRequest, bounds: Bounds) -> Answer {
        let session = match self.session(held, shared, bounds) {
            Ok(session) => session,
            Err(unreachable) => return unreachable,
        };
        held.server = Some(session.server_key());
        // What was shown by a grant is not claimed by a position too: the server has said that its history is behind.
        asked.seen = if asked.shown.is_some() { None } else { session.seen() };
        let whole = if asked.wait_ms.is_some() { session.deadlines().waiting } else { session.deadlines().call };
        let asked_now = if asked.wait_ms.is_some() && held.in_line.is_none() {
            // Only the asking after the first is held: whoever begins to wait wants to see the place.
            let whole = session.deadlines().call;
            Self::ask(shared, &session, (whole, bounds), |limit| session.post_at_once("/v1/leases", &asked, limit))
        } else {
            Self::ask(shared, &session, (whole, bounds), |limit| session.post("/v1/leases", &asked, limit))
        };
        let answer: CheckoutAnswer = match asked_now {
            Ok(answer) => answer,
            Err(error) => {
                held.may_be_known |= !matches!(&error, CallError::Problem(problem) if problem.took_effect == Effect::No);
                return self.failed(held, shared, &session, error);
            }
        };
        held.hears(clock::now());
        held.may_be_known |= matches!(answer, CheckoutAnswer::Granted { .. } | CheckoutAnswer::Waiting { .. });
        match answer {
            CheckoutAnswer::Denied { position, mut denial } => {
                session.saw(position);
                if let Some((message, hint)) = words_in_the_way(&denial, &asked.items, session.trusted().licenses()) {
                    (denial.message, denial.hint) = (message, hint.to_owned());
                }
                let (code, over_in_ms) = (denial.code.beside(denial.retry), denial.first_due_ms);
                held.denial = Some(denial);
                Answer::Denied { code, over_in_ms }
            }
            CheckoutAnswer::Ended { position, reason, retry, remaining_ms } => {
                session.saw(position);
                Answer::Ended { reason: reason.beside(retry), remaining_ms }
            }
            CheckoutAnswer::Waiting { position, place, pool, gives_up_in_ms, first_due_ms } => {
                session.saw(position);
                held.in_line = Some(InLine {
                    place,
                    pool,
                    // A server that was away counts it from when it is there again.
                    gives_up_in: Duration::from_millis(gives_up_in_ms.min(held.keeper.wait_left_ms(clock::now()))),
                    first_due_in: first_due_ms.map(Duration::from_millis),
                });
                Answer::Waiting { place }
            }
            CheckoutAnswer::Granted { position, grant, remaining_ms, licenses } => {
                match self.believe(shared, &session, &asked, &grant, &licenses, bounds) {
                    Ok(verified) => {
                        session.saw(position);
                        let payload = verified.payload();
                        let terms = Terms {
                            // Only the time to live is signed and bounded by the license.
                            remaining_ms: remaining_ms.min(payload.ttl_ms),
                            ttl_ms: payload.ttl_ms,
                            grace_ms: payload.grace_ms,
                            entitled_until_ms: verified.entitled_until().map(|until| until.0),
                        };
                        let mut view = lock(&self.view);
                        view.server_name = session.address().to_string();
                        view.bundle = Some(bundle_of(&session, &grant, payload));
                        view.grant = Some(payload.clone());
                        drop(view);
                        held.signed = Some(grant);
                        Answer::Granted(terms)
                    }
                    Err(reason) => {
                        held.distrust = Some(reason);
                        Answer::Untrusted
                    }
                }
            }
        }
    }

    /// Verifies a grant. If it names a license that was installed since the trust exchange, once more from there.
    fn believe(
        &self,
        shared: &Shared,
        session: &Arc<Session>,
        asked: &CheckoutRequest,
        grant: &SignedGrant,
        licenses: &[String],
        bounds: Bounds,
    ) -> Result<VerifiedGrant, Distrust> {
        let expected =
            GrantExpected { lease: asked.secret.lease_id(), nonce: asked.nonce.0, items: &asked.items, now: CivilMs(clock::now().wall_ms) };
        let first = {
            let mut trusted = session.trusted();
            trusted.learn(licenses, shared.keys())?;
            verify::grant(grant, &trusted, &expected)
        };
        if !matches!(first, Err(Distrust::UnknownLicense { .. })) {
            return first;
        }
        shared.forget(session);
        match shared.session(Some(&session.server_key()), bounds) {
            Ok(fresh) => verify::grant(grant, &fresh.trusted(), &expected),
            Err(_) => first,
        }
    }

    fn renew(&self, held: &mut Held, shared: &Shared, mut request: RenewRequest, bounds: Bounds) -> Answer {
        let session = match self.session(held, shared, bounds) {
            Ok(session) => session,
            Err(unreachable) => return unreachable,
        };
        request.seen = session.seen();
        let path = format!("/v1/leases/{}/renew", held.secret.lease_id());
        match Self::ask(shared, &session, (session.deadlines().call, bounds), |limit| session.post(&path, &request, limit)) {
            Ok(RenewAnswer::Renewed { position, nonce, counter, remaining_ms, regrant }) => {
                session.saw(position);
                let ttl = lock(&self.view).grant.as_ref().map_or(0, |grant| grant.ttl_ms);
                Answer::Renewed { counter, nonce: nonce.0, remaining_ms: remaining_ms.min(ttl), regrant }
            }
            Ok(RenewAnswer::Ended { position, reason, retry, remaining_ms }) => {
                session.saw(position);
                Answer::Ended { reason: reason.beside(retry), remaining_ms }
            }
            Err(error) => self.failed(held, shared, &session, error),
        }
    }

    fn give_back(&self, held: &mut Held, shared: &Shared, bounds: Bounds) -> Answer {
        // A server that was dead a moment ago is tried all the same for whoever waits for it.
        let in_background = bounds.in_background && !self.release_awaited.load(Ordering::Acquire);
        let soon = clock::now().boot_ms.saturating_add(RELEASE_CALL_MS_MAX);
        let bounds = Bounds { in_background, anyway: bounds.anyway, until: Some(bounds.until.map_or(soon, |until| until.min(soon))) };
        let session = match self.session(held, shared, bounds) {
            Ok(session) => session,
            Err(unreachable) => return unreachable,
        };
        let path = format!("/v1/leases/{}/release", held.secret.lease_id());
        let request = SecretRequest { secret: held.secret };
        held.problem = None;
        match Self::ask(shared, &session, (session.deadlines().call, bounds), |limit| session.post::<ReleaseAnswer>(&path, &request, limit))
        {
            Ok(answer) => {
                session.saw(answer.position);
                Answer::Released
            }
            Err(error) => self.failed(held, shared, &session, error),
        }
    }

    fn failed(&self, held: &mut Held, shared: &Shared, session: &Arc<Session>, error: CallError) -> Answer {
        match error {
            CallError::Problem(problem) => {
                held.hears(clock::now());
                let (code, retry_after_ms) = (problem.code, problem.retry_after_ms);
                held.problem = Some(*problem);
                Answer::Refused { code, retry_after_ms }
            }
            CallError::BadAnswer(reason) | CallError::Unreachable(reason) => {
                held.unheard = vec![(session.address().clone(), Rejected::Unreachable(reason))];
                // A new connection begins with the whole proof again, and may find the server elsewhere.
                shared.forget(session);
                Answer::Unreachable
            }
        }
    }

    fn tell(&self, held: &mut Held, notice: &Notice) {
        let callbacks = &self.wish.callbacks;
        let ms = |ms: &u64| Duration::from_millis(*ms);
        match notice {
            Notice::Ending { reason, ends_in_ms } => {
                call(&callbacks.on_late, || Warning::Ending { reason: *reason, ends_in: ms(ends_in_ms) });
            }
            Notice::Grace { ends_in_ms } => call(&callbacks.on_late, || Warning::Grace { ends_in: ms(ends_in_ms) }),
            Notice::Late { ends_in_ms } => call(&callbacks.on_late, || Warning::Late { ends_in: ms(ends_in_ms) }),
            Notice::Regaining { gives_up_in_ms } => {
                call(&callbacks.on_late, || Warning::Regaining { gives_up_in: ms(gives_up_in_ms) });
            }
            Notice::HeldUp(cause) => {
                let gives_up_in = ms(&held.keeper.wait_left_ms(clock::now()));
                call(&callbacks.on_held_up, || HeldUp { why: held.error(*cause), gives_up_in });
            }
            Notice::Lost(cause) => {
                let error = held.error(*cause).coming_back(held.keeper.asks_on());
                call(&callbacks.on_lost, || error);
            }
            Notice::Regained { .. } => call(&callbacks.on_regained, || ()),
            Notice::Waiting { .. } => {
                if let Some(in_line) = held.in_line {
                    call(&callbacks.on_waiting, || in_line);
                }
            }
            Notice::Released { confirmed } => held.release_confirmed = *confirmed,
            Notice::Denied { .. } | Notice::Failed(_) | Notice::Granted => {}
        }
    }

    fn idle_ms(&self) -> Option<u64> {
        match self.idle_since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(clock::now().boot_ms.saturating_sub(since - 1)),
        }
    }

    /// Lease ids that a presence connection may stand for: granted with the vendor's permission and held now.
    pub(crate) fn present(&self, now: Now) -> Option<(ServerKey, Secret)> {
        let view = lock(&self.view);
        let wanted =
            view.keeper.promised(now) && view.grant.as_ref().is_some_and(|grant| grant.presence && grant.lease == view.secret.lease_id());
        wanted.then_some(())?;
        Some((view.server?, view.secret))
    }

    pub(crate) fn next_wake(&self) -> Option<u64> {
        if self.release_wanted.load(Ordering::Acquire) && !matches!(lock(&self.view).keeper.phase(), Phase::Releasing | Phase::Released) {
            return Some(0);
        }
        if self.word_wanted.load(Ordering::Acquire) {
            return Some(0);
        }
        lock(&self.view).keeper.next_wake()
    }

    pub(crate) fn phase(&self) -> Phase {
        lock(&self.view).keeper.phase()
    }

    /// Milliseconds until the application must be told something, whatever happens.
    pub(crate) fn must_look_in_ms(&self, now: Now) -> Option<u64> {
        let view = lock(&self.view);
        matches!(view.keeper.phase(), Phase::Held | Phase::Late | Phase::Grace | Phase::Regaining).then(|| view.keeper.promise_left_ms(now))
    }
}

impl Held {
    /// The server has answered.
    fn hears(&mut self, now: Now) {
        self.heard_at = now.boot_ms;
        self.unheard.clear();
    }

    /// The failure with the server's own words, where they belong to it.
    pub(crate) fn error(&self, cause: Failure) -> Error {
        match (cause, &self.denial, &self.problem, &self.distrust) {
            (Failure::Denied(code), Some(denial), _, _) if denial.code == code => Error::denied(denial.clone()),
            (Failure::Refused(code), _, Some(problem), _) if problem.code == code => Error::problem(problem),
            (Failure::Untrusted, _, _, Some(reason)) => Error::distrust(reason),
            (Failure::NoAnswer, ..) if !self.unheard.is_empty() && self.wait_ms.is_some() => {
                let unheard_ms = clock::now().boot_ms.saturating_sub(self.heard_at);
                Error::unheard(self.unheard.clone(), unheard_ms, self.wait_ms.unwrap_or(0))
            }
            (Failure::WaitOver, ..) => {
                let ago_ms = clock::now().boot_ms.saturating_sub(self.heard_at);
                Error::wait_over(self.wait_ms.unwrap_or(0), self.in_line.as_ref().map(|line| (line, ago_ms)))
            }
            _ => Error::failure(cause),
        }
    }
}

/// A panic of the application's callback must not end the renewals.
fn call<T>(callback: &Option<Callback<T>>, value: impl FnOnce() -> T) {
    if let Some(callback) = callback {
        let value = value();
        let _ = catch_unwind(AssertUnwindSafe(|| callback(value)));
    }
}

fn bundle_of(session: &Session, signed: &SignedGrant, payload: &GrantPayload) -> Bundle {
    let used = |hash: &[u8; 32]| payload.items.iter().flat_map(|item| &item.from).any(|from| from.license.0 == *hash);
    let licenses = session
        .trusted()
        .licenses()
        .iter()
        .filter(|license| used(license.hash().as_bytes()))
        .map(|license| String::from_utf8_lossy(&license.note().to_file_bytes()).into_owned())
        .collect();
    Bundle { signed: signed.clone(), licenses }
}

/// Seats that this program holds. Renewed in the background; given back when this is dropped.
pub struct Seat {
    pub(crate) core: Arc<SeatCore>,
    pub(crate) shared: Arc<Shared>,
    /// Keeps the client alive, whose end waits for releases.
    pub(crate) _client: crate::client::Client,
}

impl Seat {
    /// Whether the program may use the feature at this moment: in a promised right, in grace, or within the seconds after a wake in which the
    /// seat is regained. Costs no call.
    #[must_use]
    pub fn may_run(&self) -> bool {
        lock(&self.core.view).keeper.may_run(clock::now())
    }

    /// Whether the server promises the seat at this moment.
    #[must_use]
    pub fn is_promised(&self) -> bool {
        lock(&self.core.view).keeper.promised(clock::now())
    }

    /// For how long the program may run without another answer of the server, grace included.
    #[must_use]
    pub fn left(&self) -> Duration {
        Duration::from_millis(lock(&self.core.view).keeper.left_ms(clock::now()))
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.core.phase()
    }

    /// Whether the server frees the seat by itself when this process ends, however it ends: a presence connection stands for it, and the server knows.
    /// (In a network that the server's administrator has named, half a minute later.) Comes a moment after the grant; until then, and where the license
    /// or the network does not permit it, the seat of a process that dies is free at the end of its time to live.
    #[must_use]
    pub fn freed_at_death(&self) -> bool {
        let view = lock(&self.core.view);
        view.keeper.is_present() && view.keeper.promised(clock::now())
    }

    /// How long ago the server was asked whose answer is the last that promised the seat. None if there is no promise.
    #[must_use]
    pub fn heard_ago(&self) -> Option<Duration> {
        let heard_at = lock(&self.core.view).keeper.heard_at()?;
        Some(Duration::from_millis(clock::now().boot_ms.saturating_sub(heard_at)))
    }

    /// Asks the server now, ahead of the next renewal, whether the seat still holds, and waits for its answer for at most `within`. True: it has answered,
    /// and callbacks have heard what is new. False: no answer yet, so all that is known is [`Seat::heard_ago`] old.
    #[must_use]
    pub fn confirm(&self, within: Duration) -> bool {
        let before = lock(&self.core.view).keeper.heard_at();
        self.core.wants_word();
        self.shared.wait_while(within, || {
            let view = lock(&self.core.view);
            view.keeper.promised(clock::now()) && view.keeper.heard_at() == before
        })
    }

    /// Why the seat will not be renewed, while it still runs: until [`Seat::left`] is over.
    #[must_use]
    pub fn ending(&self) -> Option<EndReason> {
        lock(&self.core.view).keeper.ending()
    }

    /// A handle by which another thread begins to give the seat back.
    #[must_use]
    pub fn releaser(&self) -> Releaser {
        Releaser { core: self.core.clone(), shared: self.shared.clone() }
    }

    /// The lease's public name, for support and logs. Knowing it lets nobody act.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        lock(&self.core.view).secret.lease_id()
    }

    /// The lease's secret: whoever knows it can renew and release. For a lease file that only its owner may read.
    #[must_use]
    pub fn secret(&self) -> Secret {
        lock(&self.core.view).secret
    }

    /// The verified grant.
    #[must_use]
    pub fn grant(&self) -> Option<GrantPayload> {
        lock(&self.core.view).grant.clone()
    }

    /// The server's key.
    #[must_use]
    pub fn server_key(&self) -> Option<ServerKey> {
        lock(&self.core.view).server
    }

    /// The server as it was named.
    #[must_use]
    pub fn server_name(&self) -> String {
        lock(&self.core.view).server_name.clone()
    }

    /// Proof of the grant that anyone with the vendor's keys can verify later ([`verify::bundle`]).
    #[must_use]
    pub fn proof(&self) -> Option<Bundle> {
        lock(&self.core.view).bundle.clone()
    }

    /// The vendor's own data from the entitlements that the seat is charged to.
    #[must_use]
    pub fn vendor_data(&self) -> Vec<String> {
        lock(&self.core.view).grant.as_ref().map(|grant| grant.vendor_data.clone()).unwrap_or_default()
    }

    /// Says since when the program's user has been idle, or with `None` that idleness is unknown. Shown to administrators.
    pub fn set_idle_for(&self, idle: Option<Duration>) {
        let since = idle.map_or(0, |idle| {
            let idle = whole_ms(idle);
            clock::now().boot_ms.saturating_sub(idle) + 1
        });
        self.core.idle_since.store(since, Ordering::Relaxed);
    }

    /// Gives the seat back and waits for the server's word, at most `within`. Dropping the seat does the same without waiting. While no server answers, or it
    /// refuses for now, this is tried again: not before the pause is over that the server asks for, and once more at the end whatever pause that is.
    ///
    /// # Errors
    /// [`ErrorKind::OutcomeUnknown`] if no server confirmed it in time, with the server's reason if it refused. It is tried on in the background; at the
    /// latest the server frees the seat at the end of its time to live.
    pub fn release(self, within: Duration) -> Result<(), Error> {
        self.core.awaits_release();
        self.core.release_wanted.store(true, Ordering::Release);
        if self.shared.wait_released(&self.core, within) {
            return Ok(());
        }
        self.core.waited_out.store(true, Ordering::Release);
        let (said, hint) = match self.core.release_refused() {
            Some(problem) => (format!(": {}", problem.detail), problem.hint),
            None => (String::new(), String::new()),
        };
        let by_itself = "the server frees the seat by itself when its time to live is over";
        let hint = if hint.is_empty() { by_itself.to_owned() } else { format!("{hint}; {by_itself}") };
        Err(Error::new(ErrorKind::OutcomeUnknown, "release_unconfirmed", format!("no server confirmed the release{said}"), true)
            .with_hint(hint))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.core.release_wanted.store(true, Ordering::Release);
        self.shared.wake();
    }
}

/// Begins to give a seat back, from any thread, and waits for nothing: from then on no other seat is asked for in its place. [`Seat::release`] waits for
/// the server's word.
#[derive(Clone)]
pub struct Releaser {
    core: Arc<SeatCore>,
    shared: Arc<Shared>,
}

impl Releaser {
    /// Begins to.
    pub fn release(&self) {
        self.core.awaits_release();
        self.core.release_wanted.store(true, Ordering::Release);
        self.shared.wake();
    }
}

impl fmt::Debug for Releaser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Releaser").finish_non_exhaustive()
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("lease", &self.lease()).field("phase", &self.phase()).finish_non_exhaustive()
    }
}
