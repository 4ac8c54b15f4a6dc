//! Counts what each network takes, and refuses what is too much: with which limit, whose, and when to ask again.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use triquest_allocator::{
    Command, Network, PoolId, Timestamp,
    limits::{DENIALS_COUNTED_POOLS_MAX, REMEMBER_MS},
};
use triquest_wire::{ErrorCode, Problem, lease::PoolNumbers};

use crate::{
    clock::{Clock, work_us},
    driver::Driver,
    in_turn::{InTurn, Turn},
    limits::{
        BODIES_DRAINED_BURSTS, Limits, RATE_SLOTS, READING_FORESEEN_US, REFUSAL_PAUSE_MS_MAX, SEARCHES_WAITING_MAX,
        SEARCHES_WAITING_PER_NETWORK_MAX,
    },
    rates::{Limited, Rate, RateShare, Rates},
    seldom::{Kind, Said, Seldom},
    shares::{Over, Place, Places, Share},
};

/// Every count of the server that is kept by network.
pub struct Gate {
    limits: Limits,
    clock: Arc<dyn Clock>,
    seldom: Seldom,
    new_ids: Mutex<Rates>,
    denials: Mutex<Rates>,
    denials_all: Mutex<Rates>,
    /// Requests that were let through although their network had too many denials, because seats looked free or a grant was shown for the first time.
    /// Each is charged before anybody knows whether it is denied.
    mistaken: Mutex<Rates>,
    shown_grants: Mutex<Rates>,
    trust: Mutex<Rates>,
    reads: Mutex<Rates>,
    /// Microseconds of work.
    reading: Mutex<Rates>,
    /// What one is charged before it begins: about as much as the dearest of late cost.
    foreseen_us: Foreseen,
    searches: Mutex<Rates>,
    /// Kibibytes of bodies that led to nothing.
    bodies_for_nothing: Mutex<Rates>,
    /// Answers to what came too often.
    refusals: Mutex<Rates>,
    /// Seats of each feature that requests under way were let through for, because they are free.
    promised: Mutex<BTreeMap<String, u64>>,
    /// Attempts that were denied lately: what is asked once more is told once more.
    denied: Mutex<Lately>,
    /// What each waiter asked that had to be decided.
    waiters: Mutex<Lately>,
    /// Leases that live, and whose holders showed what this server did not sign.
    forgers: Mutex<Lately>,
    unsent: Places,
    unread: Places,
    event_streams: Places,
    event_streams_viewers: Arc<Semaphore>,
    presence: Places,
    /// One search at a time, in turn by wider network and within it by network, and so many that wait for it.
    searching: Arc<InTurn>,
    searches_waiting: Places,
    /// Denials that left no record, since the last fact that counted such.
    unrecorded: Mutex<Option<Unrecorded>>,
}

/// Denials that left no record.
#[derive(Debug)]
struct Unrecorded {
    /// Lease time of the first.
    since: Timestamp,
    /// Of so many pools at most.
    pools: BTreeMap<PoolId, u64>,
    elsewhere: u64,
}

impl Unrecorded {
    fn add(&mut self, pool: Option<PoolId>, count: u64) {
        let named = pool.filter(|pool| self.pools.contains_key(pool) || self.pools.len() < DENIALS_COUNTED_POOLS_MAX);
        let counted = named.map_or(&mut self.elsewhere, |pool| self.pools.entry(pool).or_default());
        *counted = counted.saturating_add(count);
    }

    /// What makes one fact of them.
    fn command(&self) -> Command {
        let pools = self.pools.iter().map(|(pool, count)| (*pool, *count)).collect();
        Command::CountDenials { since: self.since, pools, elsewhere: self.elsewhere }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate(..)")
    }
}

/// What is limited by rate alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rated {
    /// New or unknown lease ids.
    NewIds,
    /// Looking.
    Reads,
    /// Searches.
    Searches,
    /// Signed grants that are shown.
    ShownGrants,
    /// Trust exchanges.
    Trust,
}

impl Gate {
    /// With these limits.
    #[must_use]
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let rates = |share: RateShare| Mutex::new(Rates::new(RATE_SLOTS, share));
        let reading = limits.reading_us;
        let of_one_network = Rate::new(reading.burst - reading.burst / 4, reading.per_second);
        Self {
            clock,
            seldom: Seldom::default(),
            new_ids: rates(limits.new_ids.share()),
            denials: rates(limits.denials.share()),
            denials_all: rates(limits.denials_all.share()),
            mistaken: rates(limits.denials_all.share()),
            shown_grants: rates(limits.shown_grants.share()),
            trust: rates(limits.trust.share()),
            reads: rates(limits.reads.share()),
            reading: rates(RateShare { network: of_one_network, all: Some(reading.rate()) }),
            foreseen_us: Foreseen::default(),
            searches: rates(limits.searches.share()),
            bodies_for_nothing: rates(limits.nothing_kib.share()),
            refusals: rates(limits.refusals.share()),
            promised: Mutex::default(),
            denied: Mutex::default(),
            waiters: Mutex::default(),
            forgers: Mutex::default(),
            unsent: Places::new(limits.unsent_bytes),
            unread: Places::new(limits.unread_bytes),
            event_streams: Places::new(limits.event_streams),
            event_streams_viewers: Arc::new(Semaphore::new(limits.event_streams_viewers)),
            presence: Places::new(limits.presence),
            searching: Arc::new(InTurn::new(1)),
            searches_waiting: Places::new(Share { network: SEARCHES_WAITING_PER_NETWORK_MAX, all: SEARCHES_WAITING_MAX }),
            unrecorded: Mutex::default(),
            limits,
        }
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn now_ms(&self) -> u64 {
        self.clock.boot_ms()
    }

    /// Notes that a limit was reached, or that something strange came; says so in the log now and then.
    pub fn note(&self, kind: Kind, network: Option<Network>) {
        if let Some(said) = self.seldom.note(kind, network, self.now_ms()) {
            say(&said);
        }
    }

    /// Says what is left to say; to be called about once a minute.
    pub fn say_due(&self) {
        self.seldom.due(self.now_ms()).iter().for_each(say);
    }

    /// The networks that came up against a limit lately; or only this one, for whoever may not see others.
    #[must_use]
    pub fn limited(&self, only: Option<IpAddr>) -> Vec<triquest_wire::status::LimitedNetwork> {
        self.seldom.limited(only.map(Network::from), self.now_ms())
    }

    /// The networks whose clients came through something that translates addresses lately; or only this one.
    #[must_use]
    pub fn translated(&self, only: Option<IpAddr>) -> Vec<triquest_wire::status::TranslatedNetwork> {
        let lately = self.seldom.lately(Kind::Translated, only.map(Network::from), self.now_ms());
        let network = |(network, times, last_ms)| triquest_wire::status::TranslatedNetwork { network, times, last_ms };
        lately.into_iter().map(network).collect()
    }

    /// Charges `count` of something to a network; whoever has none is not limited.
    ///
    /// # Errors
    /// 429, with when to ask again.
    pub fn charge(&self, what: Rated, network: Option<Network>, count: u64) -> Result<(), Problem> {
        let Some(network) = network else { return Ok(()) };
        let now_ms = self.now_ms();
        if count == 0 {
            return Ok(());
        }
        if matches!(what, Rated::Reads | Rated::Trust) {
            // Nothing is charged yet: that is when the work begins, for it may be long until the rest of the request is here.
            let free = self.reading.lock().look(network, 1, now_ms);
            free.map_err(|limited| self.too_often(what.kind(), network, limited))?;
        }
        let charged = self.rates(what).lock().charge(network, count, now_ms);
        charged.map_err(|limited| self.too_often(what.kind(), network, limited))
    }

    fn rates(&self, what: Rated) -> &Mutex<Rates> {
        match what {
            Rated::NewIds => &self.new_ids,
            Rated::Reads => &self.reads,
            Rated::Searches => &self.searches,
            Rated::ShownGrants => &self.shown_grants,
            Rated::Trust => &self.trust,
        }
    }

    /// Charges as many of `count` of something as a network may have now, in the time of a few. How many were charged, and 429 if that is not all.
    pub fn charge_most(&self, what: Rated, network: Option<Network>, count: u64) -> (u64, Option<Problem>) {
        let Some(network) = network.filter(|_| count > 0) else { return (count, None) };
        let now_ms = self.now_ms();
        let (mut charged, mut step, mut limited) = (0, count, None);
        let mut rates = self.rates(what).lock();
        while charged < count && step > 0 {
            match rates.charge(network, step, now_ms) {
                Ok(()) => charged += step,
                Err(by) => {
                    limited = Some(by);
                    step /= 2;
                }
            }
            step = step.min(count - charged);
        }
        drop(rates);
        let limited = limited.filter(|_| charged < count);
        (charged, limited.map(|limited| self.too_often(what.kind(), network, limited)))
    }

    /// Whether a body that is more than small may be read: not too many of this network's led to nothing.
    ///
    /// # Errors
    /// 429.
    pub fn may_send(&self, network: Option<Network>) -> Result<(), Problem> {
        let Some(network) = network else { return Ok(()) };
        let may = self.bodies_for_nothing.lock().look(network, 1, self.now_ms());
        may.map_err(|limited| {
            let what = "a body that is taken and leads to nothing is work for nothing";
            self.too_often(Kind::RefusedBodies, network, limited).hint(what)
        })
    }

    /// So many KiB of a body were taken and led to nothing.
    pub fn read_for_nothing(&self, network: Option<Network>, kib: u64) {
        if let Some(network) = network.filter(|_| kib > 0) {
            self.bodies_for_nothing.lock().owe(network, kib, self.now_ms());
        }
    }

    /// Whether so many KiB of a body that nobody reads may be drained; then they are charged. 0 where nothing of it has come yet. Draining costs less than
    /// reading and deciding, so it goes on for a while where those do not.
    #[must_use]
    pub fn may_drain(&self, network: Option<Network>, kib: u64) -> bool {
        let Some(network) = network else { return true };
        let may = self.bodies_for_nothing.lock().owe_within(network, kib, BODIES_DRAINED_BURSTS, self.now_ms());
        if !may {
            self.note(Kind::RefusedBodies, Some(network));
        }
        may
    }

    /// For how long the answer is kept back that refuses `count` things which came too often, milliseconds: a network is refused so often and no more,
    /// however many connections ask without a pause, and however many it asks at once.
    #[must_use]
    pub fn refusals_pause_ms(&self, network: Option<Network>, count: u64) -> u64 {
        let Some(network) = network.filter(|_| count > 0) else { return 0 };
        self.refusals.lock().turn_ms(network, count, REFUSAL_PAUSE_MS_MAX, self.now_ms())
    }

    /// Work for a read or a trust exchange begins. About what it costs is charged now, and the rest is settled when the guard falls, in the same thread. So
    /// however many requests were let in before, no more work begins than there is time for.
    ///
    /// # Errors
    /// 429, with when to ask again.
    pub fn reading(&self, what: Rated, network: Option<Network>) -> Result<Reading<'_>, Problem> {
        let charged_us = self.foreseen_us.of(what).load(Ordering::Relaxed);
        if let Some(network) = network {
            let charged = self.reading.lock().charge(network, charged_us, self.now_ms());
            charged.map_err(|limited| self.too_often(what.kind(), network, limited))?;
        }
        Ok(Reading { gate: self, what, network, charged_us, began_us: work_us() })
    }

    fn too_often(&self, kind: Kind, network: Network, limited: Limited) -> Problem {
        self.note(kind, Some(network));
        let share = match kind {
            Kind::Denials => Some(self.limits.denials),
            Kind::NewIds => Some(self.limits.new_ids),
            Kind::Reads => Some(self.limits.reads),
            Kind::RefusedBodies => Some(self.limits.nothing_kib),
            Kind::Searches => Some(self.limits.searches),
            Kind::ShownGrants => Some(self.limits.shown_grants),
            Kind::Trust => Some(self.limits.trust),
            _ => None,
        };
        let of = share
            .map_or_else(String::new, |share| format!(" ({} at once, then {} a second)", share.network.burst, share.network.per_second));
        let whose = match limited.by {
            Over::Network => format!("network {network} has reached its limit of {}{of}", kind.what()),
            Over::Wider | Over::WiderEvenPart => format!("the networks around {network} have reached their limit of {}", kind.what()),
            Over::All | Over::EvenPart => format!("the server has reached its limit of {}", kind.what()),
        };
        Problem { retry_after_ms: Some(limited.wait_ms.max(1)), ..Problem::new(ErrorCode::RateLimited, whose) }
    }

    /// Charges a denial that may come, before the decision. `free` are the seats of each feature that are free now, as far as a look can tell, with
    /// how many are wanted; empty if some are not free. Whoever can be served is let through, and whoever `comes_back` with a grant that was judged
    /// in vain not yet.
    ///
    /// # Errors
    /// 429, with the numbers of the pool.
    pub fn may_be_denied<'a>(
        self: &Arc<Self>,
        network: Option<Network>,
        feature: &str,
        comes_back: bool,
        free: impl FnOnce() -> Vec<(&'a str, u64, u64)>,
        pool: impl FnOnce() -> Option<PoolNumbers>,
    ) -> Result<Denial, Problem> {
        let Some(network) = network else { return Ok(Denial::default()) };
        let now_ms = self.now_ms();
        let charged = {
            let mut denials = self.denials.lock();
            denials.charge_for(network, feature, 1, now_ms).and_then(|()| {
                let all = self.denials_all.lock().charge(network, 1, now_ms);
                if all.is_err() {
                    denials.give_back_for(network, feature, 1);
                }
                all
            })
        };
        let limited = match charged {
            Ok(()) => return Ok(Denial::new(Charged::Denial(Arc::clone(self), network, feature.to_owned()))),
            Err(limited) => limited,
        };
        let promised = if comes_back { self.let_through(network, &[], now_ms) } else { self.promise(network, &free(), now_ms) };
        if let Some(promised) = promised {
            return Ok(Denial::new(Charged::Mistake(promised)));
        }
        let problem = self.too_often(Kind::Denials, network, limited);
        Err(Problem { pool: pool(), ..problem }.hint("wait in line with `wait_ms` instead of asking again"))
    }

    /// A request was refused because too many of its network are denied: it leaves no record, but is counted.
    pub fn count_unrecorded(&self, pool: Option<PoolId>, at: Timestamp) {
        let mut unrecorded = self.unrecorded.lock();
        let there = unrecorded.get_or_insert_with(|| Unrecorded { since: at, pools: BTreeMap::new(), elsewhere: 0 });
        there.since = there.since.min(at);
        there.add(pool, 1);
    }

    /// Writes one fact for the denials that left no record since the last time, if there were any; to be called about once a minute.
    pub async fn write_unrecorded(&self, driver: &Driver) {
        let Some(unrecorded) = self.unrecorded.lock().take() else { return };
        // The disk is full, or the server stops. What may have been written is not counted twice.
        if driver.decide(unrecorded.command(), None).await.is_err_and(|error| error.took_effect() == triquest_engine::TookEffect::No) {
            self.give_back_unrecorded(unrecorded);
        }
    }

    /// The fact that counts them could not be written: they are counted with those to come.
    fn give_back_unrecorded(&self, before: Unrecorded) {
        let mut unrecorded = self.unrecorded.lock();
        let Some(there) = unrecorded.as_mut() else {
            *unrecorded = Some(before);
            return;
        };
        there.since = there.since.min(before.since);
        before.pools.into_iter().for_each(|(pool, count)| there.add(Some(pool), count));
        there.add(None, before.elsewhere);
    }

    /// Whether this attempt of this lease was denied while that is remembered: then the answer is known, and no new denial.
    #[must_use]
    pub fn was_denied(&self, lease: [u8; 16], attempt: u32) -> bool {
        self.denied.lock().has((lease, attempt), self.now_ms())
    }

    /// Whether an attempt of this lease was denied while that is remembered, whichever.
    #[must_use]
    pub fn was_ever_denied(&self, lease: [u8; 16]) -> bool {
        self.was_denied(lease, ANY_ATTEMPT)
    }

    /// This attempt of this lease, which came at `asked_ms` of the boot clock, was denied. The server remembers it at least as long after that.
    pub fn note_denied(&self, lease: [u8; 16], attempt: u32, asked_ms: u64) {
        let mut denied = self.denied.lock();
        for attempt in [attempt, ANY_ATTEMPT] {
            denied.note((lease, attempt), asked_ms.saturating_add(REMEMBER_MS));
        }
    }

    /// Charges a signed grant that is shown, before its signature is looked at. Whoever holds a lease repeats its checkout, which has no rate, unless it
    /// showed what this server did not sign.
    ///
    /// # Errors
    /// 429, with when to ask again.
    pub fn shows(&self, network: Option<Network>, lease: [u8; 16], holds: bool) -> Result<(), Problem> {
        if holds && !self.forgers.lock().has(lease, self.now_ms()) {
            return Ok(());
        }
        self.charge(Rated::ShownGrants, network, 1)
    }

    /// Charges what a waiter asks and only a decision can answer, whatever of it differs from what it asked before.
    ///
    /// # Errors
    /// 429, with when to ask again.
    pub fn waiter_asks(&self, network: Option<Network>, lease: [u8; 16]) -> Result<(), Problem> {
        if network.is_none() {
            return Ok(());
        }
        let (asks, now_ms) = (self.limits.waiter_asks, self.now_ms());
        let charged = self.waiters.lock().charge(lease, asks.rate(), now_ms);
        charged.map_err(|wait_ms| {
            self.note(Kind::WaiterAsks, network);
            let whose = format!("this waiter has reached its limit of asks ({} at once, then {} a second)", asks.burst, asks.per_second);
            Problem { retry_after_ms: Some(wait_ms.max(1)), ..Problem::new(ErrorCode::RateLimited, whose) }
                .hint("its place in line stays; a request with `wait_ms` and without `Prefer: wait=0` is answered when there is news")
        })
    }

    /// Who holds this lease, and alone knows its secret, showed what this server did not sign.
    pub fn note_forger(&self, lease: [u8; 16]) {
        let now_ms = self.now_ms();
        self.forgers.lock().note(lease, now_ms.saturating_add(REMEMBER_MS));
    }

    /// Lets a request through for seats that are free, and that no other request was let through for. What looks free and is denied all the same
    /// is bounded too.
    fn promise(self: &Arc<Self>, network: Network, free: &[(&str, u64, u64)], now_ms: u64) -> Option<Promised> {
        let mut promised = self.promised.lock();
        let fits = |(feature, wanted, free): &(&str, u64, u64)| promised.get(*feature).copied().unwrap_or(0) + wanted <= *free;
        if free.is_empty() || !free.iter().all(fits) {
            return None;
        }
        let let_through = self.let_through(network, free, now_ms)?;
        for (feature, wanted, _) in free {
            *promised.entry((*feature).to_owned()).or_default() += wanted;
        }
        drop(promised);
        Some(let_through)
    }

    /// Lets a request through although its network was denied too much. How often that turns out to be wrong is bounded as denials are.
    fn let_through(self: &Arc<Self>, network: Network, free: &[(&str, u64, u64)], now_ms: u64) -> Option<Promised> {
        self.mistaken.lock().charge(network, 1, now_ms).ok()?;
        let seats = free.iter().map(|(feature, wanted, _)| ((*feature).to_owned(), *wanted)).collect();
        Some(Promised { gate: Arc::clone(self), network, seats })
    }

    /// Room for the bytes of an answer, until it was taken.
    ///
    /// # Errors
    /// If too much is not taken yet: then the connection has to close.
    pub fn unsent(&self, network: Option<Network>, bytes: u64) -> Result<Place, Over> {
        self.unsent.take(network, bytes).inspect_err(|_| self.note(Kind::UnsentAnswers, network))
    }

    /// Bytes of all answers that were not taken yet.
    #[must_use]
    pub fn unsent_bytes(&self) -> u64 {
        self.unsent.all()
    }

    /// Room for the bytes of a body that come in; it grows as they do.
    pub fn unread(&self, network: Option<Network>) -> Unread<'_> {
        // Nothing is always there.
        Unread { gate: self, network, place: self.unread.take(network, 0).ok() }
    }

    /// Room for the head of a request that is not whole yet and already large, among the bodies that come in.
    ///
    /// # Errors
    /// If too much is being sent: then the connection has to close.
    pub fn unread_head(&self, network: Option<Network>, bytes: u64) -> Result<Place, Over> {
        self.unread.take(network, bytes)
    }

    /// A place for an event stream: for the network, or one of those for the Unix socket.
    ///
    /// # Errors
    /// 429.
    pub fn event_stream(&self, network: Option<Network>) -> Result<StreamPlace, Problem> {
        let Some(network) = network else {
            let place = Arc::clone(&self.event_streams_viewers).try_acquire_owned();
            return place.map(|permit| StreamPlace { _permit: Some(permit), _place: None }).map_err(|_| {
                self.note(Kind::EventStreams, None);
                Problem {
                    retry_after_ms: Some(5_000),
                    ..Problem::new(ErrorCode::RateLimited, "too many event streams are open on this machine")
                }
            });
        };
        let place = self.event_streams.take(Some(network), 1);
        place.map(|place| StreamPlace { _permit: None, _place: Some(place) }).map_err(|by| {
            let problem = self.too_often(Kind::EventStreams, network, Limited { wait_ms: 5_000, by });
            problem.hint("one stream tells everything; the server's own machine has places of its own")
        })
    }

    /// Room for so many leases that a presence connection stands for.
    ///
    /// # Errors
    /// Whose limit is in the way; [`Gate::too_much_presence`] says it.
    pub fn presence(&self, network: Option<Network>, leases: usize) -> Result<Place, Over> {
        self.presence.take(network, leases as u64)
    }

    /// Says that presence connections stand for too many leases.
    #[must_use]
    pub fn too_much_presence(&self, network: Option<Network>, by: Over) -> Problem {
        let hint = "without one, the seats of a program that dies are free at the end of their time to live";
        match network {
            Some(network) => self.too_often(Kind::Presence, network, Limited { wait_ms: 5_000, by }).hint(hint),
            // Nothing is limited there.
            None => Problem::new(ErrorCode::RateLimited, "presence connections stand for too many leases").hint(hint),
        }
    }

    /// Waits for the turn of a search. One is made at a time, in turn by wider network and within it by network.
    ///
    /// # Errors
    /// 429 if too many wait, of this network or of all.
    pub async fn search(&self, network: Option<Network>) -> Result<Turn, Problem> {
        let busy = || Problem { retry_after_ms: Some(1_000), ..Problem::new(ErrorCode::RateLimited, "too many searches wait") };
        let waits = self.searches_waiting.take(network, 1).map_err(|_| {
            self.note(Kind::Searches, network);
            busy()
        })?;
        let turn = self.searching.turn(network).await.ok_or_else(busy)?;
        drop(waits);
        Ok(turn)
    }
}

/// What work is charged before it begins, microseconds.
#[derive(Debug)]
struct Foreseen {
    reads: AtomicU64,
    trust: AtomicU64,
}

impl Default for Foreseen {
    fn default() -> Self {
        Self { reads: AtomicU64::new(READING_FORESEEN_US), trust: AtomicU64::new(READING_FORESEEN_US) }
    }
}

impl Foreseen {
    fn of(&self, what: Rated) -> &AtomicU64 {
        if what == Rated::Trust { &self.trust } else { &self.reads }
    }

    /// One has cost so much: the dearest counts, and less and less with each that is cheaper.
    fn learn(&self, what: Rated, us: u64) {
        let foreseen = self.of(what);
        let before = foreseen.load(Ordering::Relaxed);
        foreseen.store(us.max(before - before.div_ceil(8)).max(1), Ordering::Relaxed);
    }
}

fn say(said: &Said) {
    let network = said.network.map(|network| network.to_string());
    let (kind, times, network) = (said.kind.as_str(), said.times, network.as_deref().unwrap_or("-"));
    match said.kind {
        // Anybody can make it up.
        Kind::Seen => tracing::debug!(kind, times, network, "{said}"),
        Kind::Translated => tracing::info!(kind, times, network, "{said}"),
        _ => tracing::warn!(kind, times, network, "{said}"),
    }
}

impl Rated {
    fn kind(self) -> Kind {
        match self {
            Self::NewIds => Kind::NewIds,
            Self::Reads => Kind::Reads,
            Self::Searches => Kind::Searches,
            Self::ShownGrants => Kind::ShownGrants,
            Self::Trust => Kind::Trust,
        }
    }
}

/// A place for an event stream.
#[derive(Debug)]
pub struct StreamPlace {
    _permit: Option<tokio::sync::OwnedSemaphorePermit>,
    _place: Option<Place>,
}

/// What happened lately, as secret hashes in a table of fixed size: of what meets in a slot, the last is known.
struct Lately {
    /// With the time of the boot clock, milliseconds, until which it is known; or, for a rate, microseconds, when all of it will have been paid for.
    slots: Box<[(u64, u64)]>,
    key: RandomState,
}

impl Default for Lately {
    fn default() -> Self {
        Self { slots: vec![(0, 0); RATE_SLOTS].into_boxed_slice(), key: RandomState::new() }
    }
}

impl Lately {
    fn slot(&self, what: impl Hash) -> (u64, usize) {
        let hash = self.key.hash_one(what) | 1;
        (hash, usize::try_from((hash >> 1) % RATE_SLOTS as u64).expect("a place in a table is a number of memory"))
    }

    fn has(&self, what: impl Hash, now_ms: u64) -> bool {
        let (hash, slot) = self.slot(what);
        let (there, until_ms) = self.slots[slot];
        there == hash && now_ms < until_ms
    }

    /// Charges one to this alone. What meets in a slot has its rate anew, so nobody else's asks are in its way.
    ///
    /// # Errors
    /// After how many milliseconds the next may be.
    fn charge(&mut self, what: impl Hash, rate: Rate, now_ms: u64) -> Result<(), u64> {
        let (hash, slot) = self.slot(what);
        let paid_us = Some(self.slots[slot]).filter(|(there, _)| *there == hash).map_or(0, |(_, paid_us)| paid_us);
        rate.wait_ms(paid_us, now_ms).map_or(Ok(()), Err)?;
        self.slots[slot] = (hash, rate.charged(paid_us, now_ms));
        Ok(())
    }

    fn note(&mut self, what: impl Hash, until_ms: u64) {
        let (hash, slot) = self.slot(what);
        self.slots[slot] = (hash, until_ms);
    }
}

/// Attempts count from 1.
const ANY_ATTEMPT: u32 = 0;

/// A denial that was charged before the decision. It goes with the command, whoever still listens, and is settled by what becomes of it: a denial keeps
/// its charge, and so does what may have been one; everything else gives it back, also a command that was never decided.
#[derive(Clone, Default)]
pub struct Denial(Option<Arc<Mutex<Charge>>>);

/// What is charged until it is settled. Dropped, it is given back.
struct Charge(Option<Charged>);

enum Charged {
    /// Of this network, for this feature.
    Denial(Arc<Gate>, Network, String),
    /// If it is one, whoever let it through was mistaken.
    Mistake(Promised),
}

struct Promised {
    gate: Arc<Gate>,
    /// To whom the denial that may come was charged.
    network: Network,
    seats: Vec<(String, u64)>,
}

impl Denial {
    fn new(charged: Charged) -> Self {
        Self(Some(Arc::new(Mutex::new(Charge(Some(charged))))))
    }

    /// It was denied, or may have been.
    pub fn stays(&self) {
        if let Some(charge) = &self.0 {
            charge.lock().0 = None;
        }
    }

    /// Nothing was denied so far, and what comes is charged to nobody: it stands in line.
    pub fn was_none(&self) {
        if let Some(charge) = &self.0 {
            charge.lock().give_back();
        }
    }
}

impl fmt::Debug for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Denial").field(&self.0.is_some()).finish()
    }
}

impl Charge {
    fn give_back(&mut self) {
        match self.0.take() {
            Some(Charged::Denial(gate, network, feature)) => {
                gate.denials.lock().give_back_for(network, &feature, 1);
                gate.denials_all.lock().give_back(network, 1);
            }
            Some(Charged::Mistake(promised)) => promised.gate.mistaken.lock().give_back(promised.network, 1),
            None => {}
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Drop for Promised {
    fn drop(&mut self) {
        let mut promised = self.gate.promised.lock();
        for (feature, seats) in &self.seats {
            if let Some(count) = promised.get_mut(feature) {
                *count = count.saturating_sub(*seats);
                if *count == 0 {
                    promised.remove(feature);
                }
            }
        }
    }
}

/// A body that comes in.
#[derive(Debug)]
pub struct Unread<'a> {
    gate: &'a Gate,
    network: Option<Network>,
    place: Option<Place>,
}

impl Unread<'_> {
    /// More of it came.
    ///
    /// # Errors
    /// 503 if too much is being sent.
    pub fn more(&mut self, bytes: usize) -> Result<(), Problem> {
        let Some(place) = &mut self.place else { return Ok(()) };
        place.grow(bytes as u64).map_err(|_| {
            self.gate.note(Kind::UnreadBodies, self.network);
            Problem { retry_after_ms: Some(1_000), ..Problem::new(ErrorCode::Overloaded, "too much is being sent to this server at once") }
        })
    }
}

/// Work that is settled when it is done. It begins and ends on one thread: nothing is awaited in between.
pub struct Reading<'a> {
    gate: &'a Gate,
    what: Rated,
    network: Option<Network>,
    charged_us: u64,
    began_us: u64,
}

impl fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("what", &self.what).field("charged_us", &self.charged_us).finish_non_exhaustive()
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some(network) = self.network {
            let us = work_us().saturating_sub(self.began_us).max(1);
            self.gate.foreseen_us.learn(self.what, us);
            self.gate.reading.lock().settle(network, self.charged_us, us, self.gate.now_ms());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{clock::HandClock, limits::Frequency};

    fn network(text: &str) -> Option<Network> {
        Some(Network::from(text.parse::<IpAddr>().unwrap()))
    }

    fn gate(edit: impl FnOnce(&mut Limits)) -> (Arc<Gate>, HandClock) {
        let clock = HandClock::new(1_000_000_000_000);
        let mut limits = Limits::default();
        edit(&mut limits);
        (Arc::new(Gate::new(limits, Arc::new(clock.clone()))), clock)
    }

    /// Work of about so much.
    fn work(us: u64) {
        let began = work_us();
        while work_us() < began + us {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn requests_that_were_let_in_before_any_of_their_work_do_no_more_of_it_than_there_is_time_for() {
        let (gate, clock) = gate(|limits| limits.reading_us = Frequency { burst: 10_000, per_second: 10_000 });
        let (hostile, honest) = (network("10.0.0.1"), network("10.9.0.1"));
        // The heads of many come before the body of any.
        for _ in 0..500 {
            gate.charge(Rated::Trust, hostile, 1).unwrap();
        }
        let done = (0..500).filter(|_| gate.reading(Rated::Trust, hostile).map(|_reading| work(500)).is_ok()).count();
        assert!((5..=16).contains(&done), "{done} of them began");
        assert!(gate.reading(Rated::Reads, honest).is_ok(), "a quarter is left for others");
        // What is owed is never more than may be had at once.
        clock.advance_ms(1_000);
        assert!(gate.reading(Rated::Trust, hostile).is_ok());
    }

    /// What was written into the log.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_anybody_can_make_up_is_no_warning_in_the_log() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log =
            tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, || {
            let (gate, _) = gate(|_| {});
            gate.note(Kind::Seen, network("10.0.0.1"));
            gate.note(Kind::Denials, network("10.0.0.1"));
        });
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        assert_eq!((text.lines().count(), text.contains("WARN")), (1, true), "{text}");
        assert!(text.contains("denials") && !text.contains("seen"), "{text}");
    }

    #[test]
    fn a_denial_is_charged_and_nothing_else_is() {
        let (gate, _) = gate(|limits| {
            let few = crate::limits::FrequencyShare { network: Frequency { burst: 4, per_second: 1 }, all: None };
            (limits.denials, limits.denials_all) = (few, few);
        });
        let here = network("10.0.0.1");
        let asks = |comes_back| gate.may_be_denied(here, "cad", comes_back, Vec::new, || None);
        // What was never decided, what was granted, and what stands in line.
        for _ in 0..100 {
            drop(asks(false).unwrap());
            asks(false).unwrap().was_none();
        }
        // One who looks on changes nothing.
        let denied = asks(false).unwrap();
        drop(denied.clone());
        denied.stays();
        denied.was_none();
        for _ in 1..4 {
            asks(false).unwrap().stays();
        }
        assert!(asks(false).is_err());
        // What is let through all the same is given back too, and is wrong no more often.
        for _ in 0..100 {
            drop(asks(true).unwrap());
        }
        for _ in 0..4 {
            asks(true).unwrap().stays();
        }
        assert!(asks(true).is_err());
        let free = || vec![("cad", 1, 5)];
        assert!(gate.may_be_denied(here, "cad", false, free, || None).is_err(), "what looks free was denied too often");
    }

    #[test]
    fn an_old_denial_is_no_known_answer_any_more() {
        let (gate, clock) = gate(|_| {});
        gate.note_denied([1; 16], 1, clock.boot_ms());
        assert!(gate.was_ever_denied([1; 16]) && !gate.was_ever_denied([2; 16]));
        assert!(gate.was_denied([1; 16], 1) && !gate.was_denied([1; 16], 2) && !gate.was_denied([2; 16], 1));
        clock.advance_ms(REMEMBER_MS - 1);
        assert!(gate.was_denied([1; 16], 1));
        clock.advance_ms(1);
        assert!(!gate.was_denied([1; 16], 1), "its repeat would be a new denial");
    }

    #[tokio::test]
    async fn searches_of_one_network_leave_others_a_place_and_a_turn() {
        let (gate, _) = gate(|_| {});
        let (hostile, honest) = (network("10.0.0.1"), network("10.9.0.1"));
        let first = gate.search(hostile).await.unwrap();
        let waiting: Vec<_> = (0..20).map(|_| Box::pin(gate.search(hostile))).collect();
        let mut waiting = futures_polled(waiting).await;
        assert_eq!(waiting.len(), usize::try_from(SEARCHES_WAITING_PER_NETWORK_MAX).unwrap());
        let mut next = futures_polled(vec![Box::pin(gate.search(honest))]).await;
        drop(first);
        // The hostile network's next came before it, and then it is its turn.
        drop(waiting.remove(0).await.unwrap());
        drop(next.remove(0).await.unwrap());
        drop(waiting);
    }

    /// Those that wait, polled once.
    async fn futures_polled<F: Future + Unpin>(futures: Vec<F>) -> Vec<F> {
        let mut waiting = Vec::new();
        for mut future in futures {
            let is_pending = std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut future).poll(cx).is_pending())).await;
            if is_pending {
                waiting.push(future);
            }
        }
        waiting
    }
}
