//! What must hold, judged from outside: by committed facts and by what clients believe, never by the allocator's own counters.
//!
//! The list below is where the names of these invariants come from. A world may run with one of them alone, so that what a mutation breaks is found by the
//! invariant that is meant to find it.

use std::collections::{BTreeMap, BTreeSet};

use triquest_allocator::{
    Allocator, Between, CheckoutItem, Command, DenialCode, DequeueReason, EndReason, Event, GrantItem, GrantedItem, Index, LeaseId, Limits,
    Lineage, Network, Networks, Outcome, PoolId, ReleaseCause, RightEnd, Timestamp, VerifierKeys, WideNetwork, limits::PRESENCE_WAIT_MS,
    share::Share,
};
use triquest_engine::limits::ENTRY_HEAD_BYTES_MAX;
use triquest_journal::record::Entry;

use crate::{
    client::{Client, Seen, client_of},
    history::{History, Place, Said},
    ledger::Ledger,
};

macro_rules! invariants {
    ($($(#[$doc:meta])* $name:ident, $text:literal;)*) => {
        /// What must hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Invariant { $($(#[$doc])* $name,)* }

        impl Invariant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(Self::$name => $text,)* } }
        }
    };
}

invariants! {
    /// Grant, denial, release, place and end can be derived from the journal when they are told.
    AnsweredImpliesDurable, "answered_implies_durable";
    /// Whatever is decided applies, loads and fits an entry.
    ApplyTotal, "apply_total";
    /// All parts or none.
    AtomicCheckout, "atomic_checkout";
    /// Where rights end and others begin at one instant, nobody loses what still fits.
    BeginBeforeEnd, "begin_before_end";
    /// Every entry keeps its limits.
    BoundedEntry, "bounded_entry";
    /// A client can verify the license of every seat that it has: no grant is one that nobody can use.
    ClientCanVerify, "client_can_verify";
    /// A lease that nobody hears is free within twice its promised time of up-time.
    DeadSeatReturns, "dead_seat_returns";
    /// A server that has nothing left to do has answered every request that it took.
    EveryRequestComesBack, "every_request_comes_back";
    /// No network has more than its share of a line, of all lines, or of the ids that are remembered, and nobody is refused below it.
    FairShares, "fair_shares";
    /// What was decided fits what the journal had left, unless others took of it meanwhile.
    EntryFitsTheRoom, "entry_fits_the_room";
    /// While the disk is full, nobody is granted, dequeued or freed by time, and no time to live is lowered.
    FullDiskStandsStill, "full_disk_stands_still";
    /// Replay, snapshot with tail, and the live state are the same bytes.
    HardStateEqual, "hard_state_equal";
    /// A client's right ends before the end of its lease is durable.
    KeeperStopsBeforeServerFrees, "keeper_stops_before_server_frees";
    /// The answers of each lease fit one order.
    LeaseHistoryLinearizable, "lease_history_linearizable";
    /// Lease time does not go back and is never faster than real time.
    LeaseTimeNeverFast, "lease_time_never_fast";
    /// What is told to have had no effect has none.
    NoFalseNo, "no_false_no";
    /// A grant never takes seats that are not there.
    NoGrantPastEntitlement, "no_grant_past_entitlement";
    /// A client that could have a seat is not sent away for good.
    NobodySentAway, "nobody_sent_away";
    /// At most one grant for an id; all answers to an attempt agree.
    OneGrantPerId, "one_grant_per_id";
    /// Clients in a promised right never have more seats than are recorded.
    OneHolderPerSeat, "one_holder_per_seat";
    /// An index has one content, and an epoch ends where the next begins.
    OneWriter, "one_writer";
    /// Early freeing happens only to dead processes.
    OnlyDeathFrees, "only_death_frees";
    /// Nothing is given back but by its owner, nor taken back but by an administrator.
    OnlyTheOwnerOrAnAdministrator, "only_the_owner_or_an_administrator";
    /// No move, replacement or removal makes a deadline earlier than a promise.
    PromiseOnlyGrows, "promise_only_grows";
    /// After a start no deadline is earlier than a promise that was answered.
    PromiseSurvivesRecovery, "promise_survives_recovery";
    /// A head that can be served is served, and nobody waits for what can never come.
    QueueMoves, "queue_moves";
    /// Nobody passes an earlier waiter who shares a pool.
    QueueOrder, "queue_order";
    /// A license replaces only what was installed before it.
    ReissueOrder, "reissue_order";
    /// A client that is heard once in each time to live loses nothing.
    RenewingNeverExpires, "renewing_never_expires";
    /// In a new history nothing is granted that lost history may have given away.
    RestoredWaits, "restored_waits";
    /// Charges and counts add up.
    SeatsConserved, "seats_conserved";
    /// A client reads what was decided: through bytes, signatures and its own verification.
    ToldAsDecided, "told_as_decided";
    /// When the clock is taken back, what was replaced by a license that has not begun after all counts again.
    WrongFutureIsTakenBack, "wrong_future_is_taken_back";
}

/// A broken invariant and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub detail: String,
}

/// How long servers have run, and how often they were started: what a dead client's seat costs is counted in this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpTime {
    /// Milliseconds in which a server made passes with room on its disk and no quarantine.
    pub ms: u64,
    /// Starts.
    pub starts: u64,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// For seats, with this attempt.
    Checkout(u32),
    /// The same, showing a grant.
    Adopt(u32),
    /// To give back.
    Release,
    /// To prolong, with counter and nonce.
    Renew(u64, [u8; 16]),
}

impl Asks {
    /// The counter of a renewal.
    #[must_use]
    pub const fn renewal(self) -> Option<u64> {
        match self {
            Self::Renew(counter, _) => Some(counter),
            Self::Adopt(_) | Self::Checkout(_) | Self::Release => None,
        }
    }
}

/// One part of one request as it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// By whom.
    pub client: u32,
    /// In which life.
    pub life: u32,
    /// Which call of its keeper.
    pub call: u64,
    /// About which lease.
    pub lease: LeaseId,
    /// What.
    pub asks: Asks,
    /// When, in real time.
    pub sent_ms: u64,
    /// The lease time of the first pass after it arrived, if it is a renewal.
    pub passed_at: Option<Timestamp>,
}

/// How long a renewal that needs no entry may take from its arrival to its answer, in lease time: a few passes, and their confirmation.
const ON_ITS_WAY_MS: u64 = 3_000;

/// A part of history was lost: by a restore that the server knows of, or by an old copy that it does not.
#[derive(Clone, Copy, Debug)]
struct Lost {
    /// All that was promised in it has ended by then.
    until_ms: u64,
    /// The server knows, from this lease time on.
    known_at: Option<Timestamp>,
    /// That it knows is durable: it knows after a crash too.
    known_for_good: bool,
}

/// What the server knows of a presence connection that something between ended in order.
#[derive(Clone, Copy, Debug, Default)]
struct FalseEnd {
    /// It may free a seat yet.
    open: bool,
    /// The lease that it freed in this start.
    freed: Option<LeaseId>,
    /// The client came back with its right running: from now on no end of its presence frees anything.
    known: bool,
}

/// Where things stand when something is judged.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// Everybody.
    pub clients: &'a [Client],
    /// Real time.
    pub real_ms: u64,
}

/// The judge.
#[derive(Debug)]
pub struct Judge {
    only: Option<Invariant>,
    limits: Limits,
    /// The first invariant found broken.
    pub found: Option<Broken>,
    /// The books.
    pub ledger: Ledger,
    /// The answers.
    pub history: History,
    /// How long servers have run.
    pub up: UpTime,
    histories: u32,
    turns: u64,
    lost: Option<Lost>,
    /// Histories whose quarantine an administrator wished to end.
    looked_at: BTreeSet<Lineage>,
    /// Clients that may be in a right, by pool.
    holders: BTreeMap<PoolId, BTreeSet<usize>>,
    /// The most seats that they can have together, by pool: while that is not more than there are, nobody needs to be counted.
    held_at_most: BTreeMap<PoolId, u64>,
    /// Leases whose seats are over-used with a record of it, or by an accepted loss.
    excused: BTreeSet<LeaseId>,
    /// Lease time at which each lease was last heard, and what it was promised then.
    heard: BTreeMap<LeaseId, (Timestamp, u64)>,
    /// Lease time of the answer that promised the latest end to each lease, and how long it promised.
    promises: BTreeMap<LeaseId, (Timestamp, u64)>,
    /// Leases of dead processes, and the up-time since which nobody can have renewed them.
    dead: BTreeMap<LeaseId, UpTime>,
    /// Waiters that could be served or never can, and the up-time since which it is so.
    ripe: BTreeMap<LeaseId, (bool, u64)>,
    /// How many sendings of each attempt were not told that they changed nothing. One that is under way may arrive after anything: whatever
    /// becomes of the history or of what is remembered, it still counts.
    open: BTreeMap<(LeaseId, u32), u32>,
    finals: BTreeMap<(LeaseId, u32), bool>,
    released: BTreeSet<LeaseId>,
    reclaimed: BTreeSet<LeaseId>,
    /// Clients whose presence was ended in order by something between.
    false_ends: BTreeMap<usize, FalseEnd>,
    /// Wider networks with clients that came back from an early freeing.
    regretted: BTreeSet<WideNetwork>,
    /// Lease time at which each client last tried to open a presence connection.
    opened: BTreeMap<usize, Timestamp>,
    /// When the server was told that networks are named no more.
    unnamed: Option<Timestamp>,
    /// Lease time at which each waiter was last heard, as entries say, and whether that was in this epoch.
    in_line: BTreeMap<LeaseId, (Timestamp, bool)>,
    /// Up-time and starts when each waiter was last told its place.
    asked: BTreeMap<LeaseId, UpTime>,
    /// Lease time and entry of the last denial for want of a seat, by pool.
    denied_at: BTreeMap<PoolId, (Timestamp, Index)>,
    /// Milliseconds of all passes of leading servers, each counted with at most the stall limit.
    pub passed_ms: u64,
    /// The same when each lease was last heard.
    heard_after: BTreeMap<LeaseId, u64>,
    /// What has arrived and is not answered: since when by lease time, and the counter of a renewal.
    waiting: BTreeMap<LeaseId, Vec<(Timestamp, Option<u64>)>>,
    /// Passes, by lease time, behind which renewals went on waiting that lay there before: what was due since then may have waited with them.
    held_up: BTreeSet<Timestamp>,
    /// Lease time of the last pass when a client asked for what is its own and was refused, for want of room or because too much waited.
    asked_in_vain: BTreeMap<LeaseId, Timestamp>,
    /// The highest counter of a renewal of each lease that was answered: a late copy of an older one renews nothing.
    renewed: BTreeMap<LeaseId, u64>,
    /// The last entry: real time of its decision and its lease time.
    decided: Option<(u64, Timestamp)>,
}

/// Lease time that a client's own milliseconds may take at most, as its allowance for drift says.
fn at_least(left_ms: u64) -> u64 {
    left_ms + left_ms / 64
}

impl Judge {
    /// A judge who looks at everything, or at one invariant.
    #[must_use]
    pub fn new(only: Option<Invariant>, ledger: Ledger, limits: Limits) -> Self {
        Self {
            only,
            limits,
            found: None,
            ledger,
            history: History::default(),
            up: UpTime::default(),
            histories: 0,
            turns: 0,
            lost: None,
            looked_at: BTreeSet::new(),
            holders: BTreeMap::new(),
            held_at_most: BTreeMap::new(),
            excused: BTreeSet::new(),
            heard: BTreeMap::new(),
            promises: BTreeMap::new(),
            dead: BTreeMap::new(),
            ripe: BTreeMap::new(),
            open: BTreeMap::new(),
            finals: BTreeMap::new(),
            released: BTreeSet::new(),
            reclaimed: BTreeSet::new(),
            false_ends: BTreeMap::new(),
            regretted: BTreeSet::new(),
            opened: BTreeMap::new(),
            unnamed: None,
            in_line: BTreeMap::new(),
            asked: BTreeMap::new(),
            denied_at: BTreeMap::new(),
            passed_ms: 0,
            heard_after: BTreeMap::new(),
            waiting: BTreeMap::new(),
            held_up: BTreeSet::new(),
            asked_in_vain: BTreeMap::new(),
            renewed: BTreeMap::new(),
            decided: None,
        }
    }

    /// Notes a broken invariant, if it is among those that are looked at.
    pub fn broken(&mut self, invariant: Invariant, detail: impl FnOnce() -> String) {
        if self.found.is_none() && self.only.is_none_or(|only| only == invariant) {
            self.found = Some(Broken { invariant, detail: detail() });
        }
    }

    /// Whether an invariant is looked at: what costs much is not done in vain.
    #[must_use]
    pub fn looks_at(&self, invariant: Invariant) -> bool {
        self.only.is_none_or(|only| only == invariant)
    }

    // ---- what the world tells

    /// A request leaves a client.
    pub fn sent(&mut self, sending: &Sending) {
        match sending.asks {
            Asks::Adopt(attempt) | Asks::Checkout(attempt) => {
                *self.open.entry((sending.lease, attempt)).or_default() += 1;
            }
            Asks::Release => {
                self.released.insert(sending.lease);
            }
            Asks::Renew(..) => {}
        }
    }

    /// An administrator takes a lease back; at once is recorded as possible over-use.
    pub fn reclaims(&mut self, lease: LeaseId, now: bool) {
        self.reclaimed.insert(lease);
        if now {
            self.excused.insert(lease);
        }
    }

    /// An administrator wishes to end the quarantine of this history.
    pub fn looks_at_quarantine(&mut self, lineage: Lineage) {
        self.looked_at.insert(lineage);
    }

    /// What stands between ended a living client's presence connection: its seat may be freed so, once.
    pub fn false_end(&mut self, client: usize) {
        self.false_ends.entry(client).or_default().open = true;
    }

    /// A client whose right runs was answered about this lease.
    pub fn comes_back(&mut self, client: usize, lease: LeaseId) {
        if let Some(end) = self.false_ends.get_mut(&client) {
            end.known |= end.freed == Some(lease);
        }
    }

    /// The server is told that the network of clients behind proxies is named no more.
    pub fn unnames(&mut self, at: Timestamp) {
        self.unnamed.get_or_insert(at);
    }

    /// A client opens a presence connection, or its opening is refused or turned away: its process lives, as the server can know.
    pub fn comes_to_open(&mut self, client: usize, command: &Command, at: Timestamp) {
        if matches!(
            command,
            Command::PresenceAdded { .. }
                | Command::PresenceOpened { .. }
                | Command::PresenceRefused { .. }
                | Command::PresenceTurnedAway { .. }
        ) {
            self.opened.insert(client, at);
        }
    }

    /// A waiter's request lay before the server, which may hold its answer.
    pub fn waits_on(&mut self, lease: LeaseId) {
        if let Some(asked) = self.asked.get_mut(&lease) {
            *asked = self.up;
        }
    }

    /// A renewal, or a checkout, lay before the server at a pass at this lease time.
    pub fn lies_before_the_server(&mut self, lease: LeaseId, at: Timestamp, renewal: Option<u64>) {
        self.waiting.entry(lease).or_default().push((at, renewal));
    }

    /// A pass at this lease time has ended.
    pub fn passed(&mut self, at: Timestamp) {
        let says_who_lives = |lease| self.ledger.leases.contains_key(lease) || self.in_line.contains_key(lease);
        let mut waiting = self.waiting.iter().flat_map(|(lease, asked)| asked.iter().map(move |asked| (lease, asked)));
        if waiting.any(|(lease, (since, renewal))| *since < at && (renewal.is_some() || says_who_lives(lease))) {
            self.held_up.insert(at);
        }
    }

    /// A client gives its lease up for want of an answer, while the disk has no room and nothing that waits for it is about this lease.
    pub fn is_kept_waiting(&mut self, lease: LeaseId, at: Timestamp) {
        // What came just now is on its way: to be decided, to be confirmed, or back.
        let long = |(since, renewal): &(Timestamp, Option<u64>)| renewal.is_some() && since.after_ms(ON_ITS_WAY_MS) <= at;
        if self.is_renewed(lease) && self.waiting.get(&lease).into_iter().flatten().any(long) {
            self.broken(Invariant::RenewingNeverExpires, || {
                format!("{lease} is lost: its renewals wait for a full disk, and for nothing that is about it")
            });
        }
    }

    /// A renewal of this lease needs no entry: its promise is heard in this epoch, and nothing ends it.
    fn is_renewed(&self, lease: LeaseId) -> bool {
        let Some(held) = self.ledger.leases.get(&lease) else { return false };
        let mut charges = held.items.iter().flat_map(|item| &item.charges);
        let stands = charges.all(|charge| self.ledger.rights.get(&charge.entitlement).is_some_and(crate::ledger::Right::in_force));
        held.heard == self.ledger.epoch && held.claim_due.is_none() && held.ending.is_none() && stands
    }

    /// It was answered, or will never be.
    pub fn lies_no_more(&mut self, lease: LeaseId, at: Timestamp, renewal: Option<u64>) {
        if let Some(waiting) = self.waiting.get_mut(&lease) {
            if let Some(place) = waiting.iter().position(|there| *there == (at, renewal)) {
                waiting.swap_remove(place);
            }
            if waiting.is_empty() {
                self.waiting.remove(&lease);
            }
        }
    }

    /// A process ended without a word.
    pub fn died(&mut self, leases: impl Iterator<Item = LeaseId>) {
        for lease in leases {
            self.dead.insert(lease, self.up);
        }
    }

    /// A server ended: what was noted of lease time in vain goes on from the last entry.
    pub fn server_ended(&mut self) {
        self.waiting.clear();
        self.held_up.clear();
        self.asked_in_vain.clear();
        // What a proof would have begun is not durable: whoever showed it shows it again.
        self.lost.iter_mut().filter(|lost| !lost.known_for_good).for_each(|lost| lost.known_at = None);
        let at = self.ledger.moment.map_or(Timestamp(0), |moment| moment.at);
        for (heard, _) in self.heard.values_mut().chain(self.promises.values_mut()) {
            *heard = (*heard).min(at);
        }
        for opened in self.opened.values_mut() {
            *opened = (*opened).min(at);
        }
    }

    /// The disk is another one now: a backup restored as another history, or an old copy that passes for the present one.
    pub fn loses_history(&mut self, ledger: Ledger, until_ms: u64, known: bool, scene: Scene<'_>) {
        self.ledger = ledger;
        self.history.forget();
        self.histories += 1;
        self.lost = Some(Lost { until_ms, known_at: known.then_some(Timestamp(0)), known_for_good: known });
        self.heard.clear();
        self.promises.clear();
        self.opened.clear();
        self.heard_after.clear();
        self.denied_at.clear();
        self.asked.clear();
        self.in_line.clear();
        self.dead.clear();
        self.ripe.clear();
        self.finals.clear();
        self.waiting.clear();
        self.held_up.clear();
        self.asked_in_vain.clear();
        self.false_ends.values_mut().for_each(|end| (end.freed, end.known) = (None, false));
        self.decided = None;
        if !known {
            // What an unsuspecting server does to promises that it has never heard of nobody can prevent, until a client shows one.
            self.excused.extend(scene.clients.iter().filter_map(|client| client.promised(scene.real_ms)));
        }
    }

    /// What proves that history was lost lay before a pass at this lease time.
    pub fn proved(&mut self, at: Timestamp) {
        if let Some(lost) = &mut self.lost
            && lost.known_at.is_none()
        {
            lost.known_at = Some(at);
        }
    }

    // ---- entries

    /// An entry has become durable. `decided_ms` is the real time of the pass that decided it, `full` whether the disk was full then.
    pub fn entry(&mut self, scene: Scene<'_>, entry: &Entry, bytes: usize, decided_ms: u64, full: bool) {
        self.order(entry, decided_ms);
        if entry.events.len() > self.limits.events_max || bytes > self.limits.entry_bytes_max + ENTRY_HEAD_BYTES_MAX {
            self.broken(Invariant::BoundedEntry, || format!("entry {} has {} facts, {bytes} bytes", entry.index.0, entry.events.len()));
        }
        let proof = entry.events.iter().position(|event| matches!(event, Event::LineageBegan { .. })).unwrap_or_default();
        if let Some(Event::Granted { lease, .. }) = entry.events[..proof].iter().find(|event| matches!(event, Event::Granted { .. })) {
            self.broken(Invariant::RestoredWaits, || format!("{lease} was granted in the pass that found a rollback"));
        }
        self.ledger.enter(entry.lineage, entry.epoch, entry.index, entry.moment);
        for (at, event) in entry.events.iter().enumerate() {
            if full {
                self.stands_still(entry, at);
            }
            self.before(scene, entry, event);
            self.ledger.fold(entry.moment.at, event);
            self.after(scene, entry, event);
        }
    }

    fn order(&mut self, entry: &Entry, decided_ms: u64) {
        let (lineage, epoch, index) = (self.ledger.lineage, self.ledger.epoch, self.ledger.index);
        let begins = entry.events.iter().any(|event| matches!(event, Event::Recovered { .. }));
        let follows = entry.index.0 == index.0 + 1;
        let epoch_follows = if begins { entry.epoch.0 == epoch.0 + 1 } else { (entry.lineage, entry.epoch) == (lineage, epoch) };
        if !follows || !(epoch_follows || self.starts_history(entry)) {
            self.broken(Invariant::OneWriter, || {
                format!("entry {} of epoch {} follows entry {} of epoch {}", entry.index.0, entry.epoch.0, index.0, epoch.0)
            });
        }
        if let Some(before) = self.ledger.moment
            && entry.moment.at < before.at
        {
            self.broken(Invariant::LeaseTimeNeverFast, || format!("lease time went back from {} to {}", before.at.0, entry.moment.at.0));
        }
        if let Some((before_ms, at)) = self.decided {
            let (real, lease) = (decided_ms.saturating_sub(before_ms), entry.moment.at.since_ms(at));
            if lease > real + real / 127 + 2 {
                self.broken(Invariant::LeaseTimeNeverFast, || format!("{lease} ms of lease time passed in {real} ms"));
            }
        }
        self.decided = Some((decided_ms, entry.moment.at));
        self.held_up = self.held_up.split_off(&entry.moment.at);
    }

    /// A new history may begin within an epoch, when a proof of a rollback is shown.
    fn starts_history(&self, entry: &Entry) -> bool {
        entry.lineage != self.ledger.lineage
    }

    fn stands_still(&mut self, entry: &Entry, at: usize) {
        // What an administrator does has room in the reserve, and what follows from it.
        if entry.events.iter().any(|event| matches!(event, Event::LicenseRemoved { .. })) {
            return;
        }
        let event = &entry.events[at];
        let next = entry.events[at..].iter().find(|event| !matches!(event, Event::LingerEnded { .. }));
        let makes_room = matches!(next, Some(Event::ChargeMoved { .. }));
        let moves = match event {
            Event::Granted { lease, .. } | Event::Queued { lease, .. } => Some(*lease),
            // Taking back what lingers ends it, and so does a live lease that needs it because an administrator's word has ended its right.
            Event::LingerEnded { lease, .. } if !self.reclaimed.contains(lease) && !makes_room => Some(*lease),
            Event::Dequeued { lease, reason, .. } if *reason != DequeueReason::Released => Some(*lease),
            Event::Ended { lease, reason, .. } if *reason != EndReason::Reclaimed => Some(*lease),
            Event::TtlLowered { lease, .. } => Some(*lease),
            _ => None,
        };
        if let Some(lease) = moves {
            self.broken(Invariant::FullDiskStandsStill, || format!("{lease}: {event:?}"));
        }
    }

    fn before(&mut self, scene: Scene<'_>, entry: &Entry, event: &Event) {
        let at = entry.moment.at;
        match event {
            Event::Ended { lease, due, reason, .. } => {
                if *reason == EndReason::Presence {
                    self.frees_after_a_wait(scene, *lease, at);
                }
                self.was_promised_until(*lease, *due, Invariant::PromiseOnlyGrows);
                self.promises.remove(lease);
                self.frees(scene, *lease, *reason);
                if matches!(reason, EndReason::Expired | EndReason::Unclaimed) {
                    self.had_not_asked(*lease, at);
                }
                if *reason == EndReason::Expired {
                    self.expires(*lease, *due);
                    self.was_denied(entry, *lease, *due);
                }
                if *reason == EndReason::Reclaimed && !self.reclaimed.contains(lease) {
                    self.broken(Invariant::OnlyTheOwnerOrAnAdministrator, || format!("{lease} was taken back by nobody"));
                }
            }
            Event::Ending { lease, due, reason, .. } => {
                if *reason == EndReason::Reclaimed && !self.reclaimed.contains(lease) {
                    self.broken(Invariant::OnlyTheOwnerOrAnAdministrator, || format!("{lease} is taken back by nobody"));
                }
                let until = (*due).max(self.ledger.quarantine_until.unwrap_or_default());
                self.runs_until(scene, *lease, until.since_ms(at), Invariant::PromiseOnlyGrows);
                self.was_promised_until(*lease, until, Invariant::PromiseOnlyGrows);
                if matches!(reason, EndReason::LicenseEnded | EndReason::LicenseRemoved | EndReason::LicenseReplaced) {
                    self.fits_nowhere(*lease, entry.moment.wall_ms);
                }
            }
            Event::EntitlementEnded { entitlement, reason: RightEnd::Replaced, .. } => {
                let license =
                    self.ledger.rights.get(entitlement).and_then(|right| self.ledger.installed.get(usize::try_from(right.installed).ok()?));
                if let Some(license) = license
                    && self.ledger.later_successors(license).next().is_none()
                {
                    let id = license.issued.id.clone();
                    self.broken(Invariant::ReissueOrder, || format!("{id} was replaced by a license that was installed before it"));
                }
            }
            Event::Granted { lease, items, network, embeds, .. } => {
                if self.ledger.over.get(lease).is_some_and(|until| at < *until) {
                    self.broken(Invariant::OneGrantPerId, || format!("{lease} had ended and was granted again"));
                }
                self.is_a_share_of_memory(*lease, *network);
                self.passes_nobody(*lease, items, embeds);
                self.was_waited_for(scene, *lease, items, at);
            }
            Event::Denied { lease, denial, network, .. } => {
                self.is_a_share_of_memory(*lease, *network);
                if denial.code == DenialCode::NoSeatFree {
                    self.had_to_be_denied(scene, *lease);
                }
            }
            Event::Dequeued { lease, reason: DequeueReason::Silent, .. } => self.was_silent(*lease, at),
            Event::Queued { lease, network, .. } => self.is_a_share_of_memory(*lease, *network),
            Event::Released { lease, cause, .. } => match cause {
                ReleaseCause::Holder => {
                    if !self.released.contains(lease) {
                        self.broken(Invariant::OnlyTheOwnerOrAnAdministrator, || format!("{lease} was given back by nobody"));
                    }
                }
                ReleaseCause::Presence => {
                    let client = client_of(*lease);
                    let waits = scene.clients.get(client).is_some_and(|client| client.plan.between() == Between::Named);
                    if let Some(end) = self.false_ends.get_mut(&client).filter(|end| end.open && !end.known && !waits) {
                        // The server could not know, and must learn it from the client's coming back with its right running.
                        (end.open, end.freed) = (false, Some(*lease));
                        self.excused.insert(*lease);
                    } else if scene.clients.get(client).is_some_and(|client| client.lives(*lease)) {
                        self.broken(Invariant::OnlyDeathFrees, || format!("{lease} was freed by presence and its process lives"));
                    }
                    self.frees(scene, *lease, EndReason::Presence);
                }
            },
            Event::ReleasedUnknown { lease, network } => {
                if !self.released.contains(lease) {
                    self.broken(Invariant::OnlyTheOwnerOrAnAdministrator, || format!("{lease} was given back by nobody"));
                }
                self.is_a_share_of_memory(*lease, *network);
            }
            _ => {}
        }
    }

    fn after(&mut self, scene: Scene<'_>, entry: &Entry, event: &Event) {
        match event {
            Event::Granted { lease, attempt, items, .. } => {
                if self.ledger.grants.get(lease).copied().unwrap_or(0) > 1 {
                    self.broken(Invariant::OneGrantPerId, || format!("{lease} was granted twice"));
                }
                self.has_effect(*lease, *attempt);
                self.is_whole(scene, *lease, items);
                self.is_covered(*lease, items);
                self.can_be_verified(scene, *lease, items.iter().flat_map(|item| &item.charges).map(|charge| charge.entitlement));
            }
            Event::ChargeMoved { lease, to, .. } => self.can_be_verified(scene, *lease, [*to]),
            Event::Adopted { lease, items, .. } => {
                self.can_be_verified(scene, *lease, items.iter().flat_map(|item| &item.charges).map(|charge| charge.entitlement));
                self.history.adopted(*lease);
                // A late copy of its checkout may have been denied before its grant of lost history was shown.
                self.finals.retain(|(other, _), _| other != lease);
                self.excused.insert(*lease);
                self.adopts(*lease);
            }
            Event::WaiterHeard { lease } => drop(self.in_line.insert(*lease, (entry.moment.at, true))),
            Event::Dequeued { lease, .. } => drop(self.in_line.remove(lease)),
            Event::Queued { lease, attempt, items, network, .. } => {
                self.asked.insert(*lease, self.up);
                self.in_line.insert(*lease, (entry.moment.at, true));
                self.is_a_share(*lease, items, *network);
                self.has_effect(*lease, *attempt);
            }
            Event::Denied { lease, attempt, denial, .. } => {
                self.has_effect(*lease, *attempt);
                self.is_not_denied_over_a_wrong_future(scene, *lease, denial.code, entry.moment.wall_ms);
                if denial.code == DenialCode::NoSeatFree
                    && let Some(client) = scene.clients.get(client_of(*lease))
                    && let [only] = client.plan.items.as_slice()
                    && only.version.is_none()
                    && let Some(wished) = self.ledger.wished(&client.vendor_keys, &client.plan.items)
                    && client.vendor_keys.len() == 1
                    && only.seats == 1
                    && !self.held_up.contains(&entry.moment.at)
                {
                    self.denied_at.insert(wished[0].pool, (entry.moment.at, entry.index));
                }
            }
            Event::Forgot { .. } => {
                let ledger = &self.ledger;
                let known = |lease: LeaseId| ledger.is_known(lease);
                self.history.retain(known);
                self.finals.retain(|(lease, _), _| known(*lease));
            }
            Event::LineageBegan { .. } => {
                self.proved(entry.moment.at);
                self.lost.iter_mut().for_each(|lost| lost.known_for_good = true);
            }
            Event::PresenceRegretted { lease, networks: Some(networks), .. } => self.is_a_share_of_regrets(*lease, *networks),
            Event::LinesResumed { .. } => {
                let up = self.up;
                self.asked.values_mut().for_each(|asked| *asked = up);
                self.in_line.values_mut().for_each(|(heard, _)| *heard = entry.moment.at);
                self.ripe.clear();
                // What was granted in line and not come for has its full time again.
                let leases = &self.ledger.leases;
                let unclaimed = |lease: &LeaseId| leases.get(lease).is_some_and(|held| held.claim_due.is_some());
                self.dead.iter_mut().filter(|(lease, _)| unclaimed(lease)).for_each(|(_, since)| *since = up);
            }
            Event::Recovered { .. } => {
                self.up.starts += 1;
                // Whoever was heard in the epoch before has its full time; nobody is heard in this one yet.
                for (heard, is_new) in self.in_line.values_mut() {
                    *heard = if *is_new { entry.moment.at } else { *heard };
                    *is_new = false;
                }
                // Presence is soft: a start does not know whom it freed before.
                self.false_ends.values_mut().for_each(|end| end.freed = None);
            }
            Event::QuarantineEnded { actor: Some(_) } => {
                if !self.looked_at.contains(&self.ledger.lineage) {
                    self.broken(Invariant::RestoredWaits, || "a quarantine was ended by somebody who had seen an earlier one".to_owned());
                }
                // Promises of lost history may be broken from now on, which is recorded.
                let promised = scene.clients.iter().filter_map(|client| client.promised(scene.real_ms));
                self.excused.extend(promised.filter(|lease| !self.heard.contains_key(lease)));
            }
            _ => {}
        }
    }

    /// wrong_future_is_taken_back: nobody is denied a seat of what had to come back.
    fn is_not_denied_over_a_wrong_future(&mut self, scene: Scene<'_>, lease: LeaseId, code: DenialCode, wall_ms: i64) {
        let Some(client) = scene.clients.get(client_of(lease)) else { return };
        if code == DenialCode::Quarantine || !self.looks_at(Invariant::WrongFutureIsTakenBack) {
            return;
        }
        let wished = self.ledger.wished(&client.vendor_keys, &client.plan.items).unwrap_or_default();
        let pools: Vec<_> = wished.iter().map(|item| item.pool).collect();
        let lost = self.ledger.lost_to_a_wrong_future(&pools, wall_ms).map(|lost| lost.issued.id.clone());
        if let Some(id) = lost {
            self.broken(Invariant::WrongFutureIsTakenBack, || {
                format!("{lease} was denied over {id}, which counts by the time that is accepted")
            });
        }
    }

    /// no_grant_past_entitlement: what is taken over from lost history shows no more seats of an entitlement than it has.
    fn adopts(&mut self, lease: LeaseId) {
        let mut shown: BTreeMap<triquest_allocator::EntitlementId, u64> = BTreeMap::new();
        for charge in self.ledger.leases.values().flat_map(|held| &held.shown) {
            *shown.entry(charge.entitlement).or_default() += u64::from(charge.seats);
        }
        for (entitlement, seats) in shown {
            let has = self.ledger.rights.get(&entitlement).map_or(u64::MAX, |right| right.seats);
            if seats > has {
                self.broken(Invariant::NoGrantPastEntitlement, || format!("{lease}: {seats} seats were taken over, {has} were signed"));
            }
        }
    }

    /// fair_shares
    fn is_a_share(&mut self, lease: LeaseId, items: &[GrantedItem], network: Option<Network>) {
        let Some(network) = network else { return };
        let of = || self.ledger.line.iter().filter(|waiter| waiter.network == Some(network));
        let in_line =
            items.iter().map(|item| of().filter(|waiter| self.ledger.meet(&waiter.items, std::slice::from_ref(item))).count() as u64);
        let (all, in_line) = (of().count() as u64, in_line.max().unwrap_or(0));
        if all > self.limits.waiters_per_network_max || in_line > self.limits.waiters_per_pool_max / 2 {
            self.broken(Invariant::FairShares, || format!("{lease}: {network:?} has {all} places, {in_line} of them in one line"));
        }
        let around = || self.ledger.line.iter().filter(|waiter| waiter.network.is_some_and(|other| other.wide() == network.wide()));
        let in_line =
            items.iter().map(|item| around().filter(|waiter| self.ledger.meet(&waiter.items, std::slice::from_ref(item))).count() as u64);
        let line = Share { network: self.limits.waiters_per_pool_max / 2, all: self.limits.waiters_per_pool_max };
        let in_line = in_line.max().unwrap_or(0);
        if in_line > line.wider() {
            self.broken(Invariant::FairShares, || format!("{lease}: the networks around {network:?} have {in_line} places in one line"));
        }
    }

    /// fair_shares: nobody makes the server remember more ids than a share.
    fn is_a_share_of_memory(&mut self, lease: LeaseId, network: Option<Network>) {
        let ledger = &self.ledger;
        let Some(network) = network.filter(|_| !ledger.is_known(lease)) else { return };
        let has = ledger.remembered_of(network, None);
        if self.memory().admits(has, 1).is_err() {
            self.broken(Invariant::FairShares, || format!("{lease} is one more of {network:?}, of which {has:?} are remembered"));
        }
    }

    /// fair_shares: an id is refused only where its network or all have no more to be remembered.
    pub fn refuses_an_id(&mut self, lease: LeaseId, network: Network, seen: Seen) {
        if (seen.lineage, seen.epoch) != (self.ledger.lineage, self.ledger.epoch) {
            return;
        }
        let has = self.ledger.remembered_of(network, Some(seen.index));
        let was_known = self.ledger.remembered.get(&lease).is_some_and(|known| known.since < seen.index);
        if was_known || self.memory().admits(has, 1).is_ok() {
            self.broken(Invariant::FairShares, || {
                let which = if was_known { "is remembered" } else { "is new" };
                format!("{lease} {which} and was refused as one too many of {network:?}, of which {has:?} are remembered")
            });
        }
    }

    /// fair_shares: early freeing is off for everybody only if clients of as many wider networks came back as can be remembered.
    fn is_a_share_of_regrets(&mut self, lease: LeaseId, networks: Networks) {
        match networks {
            Networks::One(network) => drop(self.regretted.insert(network.wide())),
            Networks::Wide(wide) => drop(self.regretted.insert(wide)),
            Networks::All => {
                let (there, most) = (self.regretted.len(), self.limits.presence_off_max);
                if there < most {
                    self.broken(Invariant::FairShares, || {
                        format!("{lease} turned early freeing off everywhere, and {there} wider networks of {most} are remembered")
                    });
                }
            }
        }
    }

    /// How many ids may be remembered.
    fn memory(&self) -> Share {
        Share { network: self.limits.remembered_per_network_max, all: self.limits.remembered_max }
    }

    fn has_effect(&mut self, lease: LeaseId, attempt: u32) {
        if self.open.get(&(lease, attempt)) == Some(&0) {
            self.broken(Invariant::NoFalseNo, || format!("attempt {attempt} of {lease} was told that it changed nothing, and did"));
        }
    }

    /// keeper_stops_before_server_frees
    fn frees(&mut self, scene: Scene<'_>, lease: LeaseId, reason: EndReason) {
        if self.excused.contains(&lease) {
            return;
        }
        let left_ms = scene.clients.get(client_of(lease)).and_then(|client| client.left_ms(lease, scene.real_ms));
        if let Some(left_ms) = left_ms {
            self.broken(Invariant::KeeperStopsBeforeServerFrees, || {
                format!("{lease} was freed as {reason:?} with {left_ms} ms of its right left")
            });
        }
    }

    /// only_death_frees: in a named network a living client may be freed, which is recorded, if its presence connection had ended and nothing was heard of
    /// it for the whole wait.
    fn frees_after_a_wait(&mut self, scene: Scene<'_>, lease: LeaseId, at: Timestamp) {
        let number = client_of(lease);
        let Some(client) = scene.clients.get(number).filter(|client| client.lives(lease)) else { return };
        // What came after the pass that freed it is too late, here too.
        let named = client.plan.between() == Between::Named && self.unnamed.is_none_or(|unnamed| unnamed >= at);
        let heard = self.heard.get(&lease).is_some_and(|(heard, _)| heard.after_ms(PRESENCE_WAIT_MS) > at);
        // What came after the pass that freed it is too late.
        let opened = self.opened.get(&number).is_some_and(|opened| *opened < at && opened.after_ms(PRESENCE_WAIT_MS) > at);
        let end = self.false_ends.entry(number).or_default();
        if !named || heard || opened || !end.open || end.known {
            let why = match (heard, opened) {
                (true, _) => "was just heard",
                (false, true) => "just came to open another one",
                (false, false) => "lives",
            };
            self.broken(Invariant::OnlyDeathFrees, || format!("{lease} was freed after the end of its presence and its process {why}"));
            return;
        }
        (end.open, end.freed) = (false, Some(lease));
        self.excused.insert(lease);
    }

    /// renewing_never_expires
    fn expires(&mut self, lease: LeaseId, due: Timestamp) {
        let Some(held) = self.ledger.leases.get(&lease) else { return };
        let claimed = held.claim_due.is_none();
        if let Some((heard, ttl_ms)) = self.heard.get(&lease).copied()
            && due.0 < heard.0 + ttl_ms
            && claimed
        {
            self.broken(Invariant::RenewingNeverExpires, || {
                format!("{lease} was heard at {} and expired at {}, ttl {ttl_ms}", heard.0, due.0)
            });
        }
        if let (Some((_, ttl_ms)), Some(after)) = (self.heard.get(&lease).copied(), self.heard_after.get(&lease).copied()) {
            let passed = self.passed_ms.saturating_sub(after);
            if passed + passed / 64 + 3_000 < ttl_ms && claimed {
                self.broken(Invariant::RenewingNeverExpires, || {
                    format!("{lease} expired after {passed} ms of passes, promised were {ttl_ms}")
                });
            }
        }
        let renewed = self.renewed.get(&lease).copied().unwrap_or_default();
        let renews = |renewal: Option<u64>| renewal.is_some_and(|counter| counter >= renewed);
        let waiting = self.waiting.get(&lease).into_iter().flatten();
        if let Some(at) = waiting.filter(|(_, renewal)| renews(*renewal)).map(|(at, _)| *at).min()
            && at <= due
            // One that was decided has moved the deadline, although its answer waits yet for an entry that meets a full disk.
            && due.0 < at.0 + self.ledger.leases.get(&lease).map_or(0, |held| held.ttl_ms)
        {
            self.broken(Invariant::RenewingNeverExpires, || {
                format!("{lease} expired at {} although its renewal lay there at {}", due.0, at.0)
            });
        }
    }

    /// renewing_never_expires: nobody loses a lease, or a seat that was granted in line, whose asking was refused for want of room or because too much
    /// waited, and who had no more time to ask again than that.
    fn had_not_asked(&mut self, lease: LeaseId, at: Timestamp) {
        let (Some(held), Some(asked)) = (self.ledger.leases.get(&lease), self.asked_in_vain.get(&lease).copied()) else { return };
        let time_ms = held.claim_due.map_or(held.ttl_ms, |_| self.limits.claim_ms);
        // What came after the pass that ended it was too late.
        if asked < at && at < asked.after_ms(time_ms) {
            self.broken(Invariant::RenewingNeverExpires, || {
                format!("{lease} ended at {} although its client asked for it at {} and was refused", at.0, asked.0)
            });
        }
    }

    /// queue_moves: nobody leaves a line as silent whose question came in time and waits to be decided.
    fn was_silent(&mut self, lease: LeaseId, at: Timestamp) {
        let Some((heard, _)) = self.in_line.get(&lease).copied() else { return };
        let ttl_ms = self.limits.wait_ttl_ms;
        if let Some(asked) = self.asked_in_vain.get(&lease).copied()
            && asked < at
            && at < asked.after_ms(ttl_ms)
        {
            self.broken(Invariant::QueueMoves, || {
                format!("{lease} left the line as silent at {} although it asked at {} and was refused", at.0, asked.0)
            });
        }
        // One that was decided, and is not answered yet, gave it its full time.
        let asks = |(since, renewal): &&(Timestamp, Option<u64>)| {
            renewal.is_none() && *since < heard.after_ms(ttl_ms) && at < since.after_ms(ttl_ms)
        };
        if let Some((since, _)) = self.waiting.get(&lease).into_iter().flatten().find(asks).copied() {
            self.broken(Invariant::QueueMoves, || {
                format!("{lease} left the line as silent at {} although its question lay there at {}, heard at {}", at.0, since.0, heard.0)
            });
        }
    }

    /// queue_moves: nobody was turned away over a seat whose time was up already.
    fn was_denied(&mut self, entry: &Entry, lease: LeaseId, due: Timestamp) {
        let Some(held) = self.ledger.leases.get(&lease) else { return };
        let late = held.items.iter().find_map(|item| {
            let (at, index) = *self.denied_at.get(&self.ledger.resolve(item.pool))?;
            (due < at && index < entry.index).then_some((at, index))
        });
        if let Some((at, index)) = late
            && self.ledger.quarantine_until.is_none()
        {
            self.broken(Invariant::QueueMoves, || {
                format!("{lease} was due at {}, and entry {} denied its seat at {}", due.0, index.0, at.0)
            });
        }
    }

    /// A lease whose client believes in its right for so long must have so much lease time.
    fn runs_until(&mut self, scene: Scene<'_>, lease: LeaseId, server_ms: u64, invariant: Invariant) {
        if self.excused.contains(&lease) {
            return;
        }
        let client = scene.clients.get(client_of(lease));
        // A right that lost history gave: nobody knows of it before its grant is shown, also if a late copy of the question was granted anew.
        if client.and_then(|client| client.kept.as_ref()).is_some_and(|shown| shown.is_lost(lease, &self.ledger)) {
            return;
        }
        let left_ms = client.and_then(|client| client.left_ms(lease, scene.real_ms));
        if let Some(left_ms) = left_ms
            && server_ms + 5 < at_least(left_ms)
        {
            self.broken(invariant, || format!("{lease} has {server_ms} ms and its client believes in {left_ms} ms"));
        }
    }

    /// promise_survives_recovery and promise_only_grows: the server's deadlines against what clients believe.
    pub fn deadlines(&mut self, scene: Scene<'_>, allocator: &Allocator, at: Timestamp, invariant: Invariant) {
        if !self.looks_at(invariant) {
            return;
        }
        for client in scene.clients {
            if let Some(lease) = client.promised(scene.real_ms)
                && self.ledger.leases.contains_key(&lease)
                && let Some(view) = allocator.lease_view(&lease)
                && !view.lingering
            {
                // In the quarantine of a new history nothing ends, whatever an old deadline says.
                let until = view.deadline.max(self.ledger.quarantine_until.unwrap_or_default());
                self.runs_until(scene, lease, until.since_ms(at), invariant);
            }
        }
        let promised: Vec<LeaseId> = self.promises.keys().copied().filter(|lease| self.ledger.leases.contains_key(lease)).collect();
        for lease in promised {
            if let Some(view) = allocator.lease_view(&lease).filter(|view| !view.lingering) {
                let until = view.deadline.max(self.ledger.quarantine_until.unwrap_or_default());
                self.was_promised_until(lease, until, invariant);
            }
        }
    }

    /// What was answered about a lease, whoever heard it, promised no more than it has.
    fn was_promised_until(&mut self, lease: LeaseId, until: Timestamp, invariant: Invariant) {
        let Some((at, remaining_ms)) = self.promises.get(&lease).copied() else { return };
        if until < at.after_ms(remaining_ms) && !self.excused.contains(&lease) {
            self.broken(invariant, || format!("{lease} has until {}, and {remaining_ms} ms were promised at {}", until.0, at.0));
        }
    }

    /// begin_before_end: a lease is marked as ending although its seats fit into what counts, or must count, at this time.
    fn fits_nowhere(&mut self, lease: LeaseId, wall_ms: i64) {
        let Some(held) = self.ledger.leases.get(&lease) else { return };
        if self.ledger.clock_held || held.ending.is_some() {
            return;
        }
        let fits = held.items.iter().all(|item| {
            let stranded =
                |charge: &&triquest_allocator::Charge| self.ledger.rights.get(&charge.entitlement).is_some_and(|right| !right.in_force());
            let seats: u64 = item.charges.iter().filter(stranded).map(|charge| u64::from(charge.seats)).sum();
            let pool = self.ledger.resolve(item.pool);
            let counts_now = |right: &crate::ledger::Right| {
                let runs = right.starts.is_none_or(|starts| starts <= wall_ms) && right.expires.is_none_or(|expires| wall_ms < expires);
                let covers = right.covers(item.version.as_ref()) && right.signers.shares(&held.embeds);
                right.ended.is_none() && runs && self.ledger.resolve(right.pool) == pool && covers
            };
            // What lingers gives way to what lives.
            let free = |(id, right): (&triquest_allocator::EntitlementId, &crate::ledger::Right)| {
                let lingering = self.ledger.lingering.values().flatten().flat_map(|item| &item.charges);
                let lingering: u64 = lingering.filter(|charge| charge.entitlement == *id).map(|charge| u64::from(charge.seats)).sum();
                (right.seats + lingering).saturating_sub(right.charged)
            };
            let free: u64 = self.ledger.rights.iter().filter(|(_, right)| counts_now(right)).map(free).sum();
            seats <= free
        });
        if fits {
            self.broken(Invariant::BeginBeforeEnd, || format!("{lease} is marked as ending although it fits"));
        }
    }

    /// queue_order
    fn passes_nobody(&mut self, lease: LeaseId, items: &[GrantedItem], embeds: &VerifierKeys) {
        let ledger = &self.ledger;
        let passed = ledger
            .line
            .iter()
            .take_while(|waiter| waiter.lease != lease)
            .find(|waiter| ledger.compete(waiter, items, embeds) && ledger.satisfiable(&waiter.items, &waiter.embeds))
            .map(|waiter| waiter.lease);
        if let Some(passed) = passed {
            self.broken(Invariant::QueueOrder, || format!("{lease} passed {passed}"));
        }
    }

    /// restored_waits
    fn was_waited_for(&mut self, scene: Scene<'_>, lease: LeaseId, items: &[GrantedItem], at: Timestamp) {
        if self.ledger.quarantine_until.is_some_and(|until| at < until) {
            self.broken(Invariant::RestoredWaits, || format!("{lease} was granted in quarantine"));
        }
        let waits = self.lost.is_some_and(|lost| lost.known_at.is_some_and(|known| known <= at) && scene.real_ms < lost.until_ms);
        if !waits || self.ledger.loss_accepted || !self.looks_at(Invariant::RestoredWaits) {
            return;
        }
        // What clients of lost history still believe in, where the present one knows nothing of it. What an administrator took back at once is known,
        // and so is that it may still be in use.
        let is_known = |theirs: &LeaseId| {
            self.ledger.leases.contains_key(theirs) || self.ledger.ended.get(theirs).is_some_and(|reason| *reason == EndReason::Reclaimed)
        };
        for client in scene.clients {
            let Some(theirs) = client.promised(scene.real_ms).filter(|theirs| *theirs != lease && !is_known(theirs)) else { continue };
            let Some(held) = self.ledger.wished(&client.vendor_keys, &client.plan.items) else { continue };
            let over = held.iter().any(|item| {
                let counts = self.ledger.counts(item.pool);
                let wanted: u64 =
                    items.iter().filter(|other| self.ledger.resolve(other.pool) == item.pool).map(|other| u64::from(other.seats)).sum();
                wanted > 0 && counts.taken() + wanted + u64::from(item.seats) > counts.total
            });
            if over {
                self.broken(Invariant::RestoredWaits, || format!("{lease} was granted while {theirs} of lost history runs"));
                return;
            }
        }
    }

    /// queue_moves: seats that are free, and for which nobody waits who could ever have them, are not denied.
    fn had_to_be_denied(&mut self, scene: Scene<'_>, lease: LeaseId) {
        let Some(client) = scene.clients.get(client_of(lease)) else { return };
        if !self.looks_at(Invariant::QueueMoves) || self.ledger.quarantine_until.is_some() {
            return;
        }
        let Some(wished) = self.ledger.wished(&client.vendor_keys, &client.plan.items) else { return };
        let ledger = &self.ledger;
        let waits = |waiter: &crate::ledger::Waiter| ledger.satisfiable(&waiter.items, &waiter.embeds);
        let behind = ledger.line.iter().any(|waiter| ledger.meet(&waiter.items, &wished) && waits(waiter));
        if !behind && ledger.fits(&wished, &VerifierKeys::of(&client.vendor_keys)) {
            self.broken(Invariant::QueueMoves, || format!("{lease} was denied seats that are free"));
        }
    }

    /// client_can_verify: what a lease is charged to is signed by a key that its client's application embeds.
    fn can_be_verified(
        &mut self,
        scene: Scene<'_>,
        lease: LeaseId,
        charged_to: impl IntoIterator<Item = triquest_allocator::EntitlementId>,
    ) {
        let Some(client) = scene.clients.get(client_of(lease)) else { return };
        for entitlement in charged_to {
            let Some(right) = self.ledger.rights.get(&entitlement) else { continue };
            if !right.signers.as_slice().iter().any(|key| client.vendor_keys.contains(key)) {
                let license = right.license;
                self.broken(Invariant::ClientCanVerify, || {
                    format!("{lease} is charged to {license}, which none of its client's keys has signed")
                });
            }
        }
    }

    /// atomic_checkout
    fn is_whole(&mut self, scene: Scene<'_>, lease: LeaseId, items: &[GrantedItem]) {
        let Some(client) = scene.clients.get(client_of(lease)) else { return };
        let asked: &[CheckoutItem] = &client.plan.items;
        let whole = items.len() == asked.len()
            && items.iter().zip(asked).all(|(item, wish)| (item.seats, item.version) == (wish.seats, wish.version));
        if !whole {
            self.broken(Invariant::AtomicCheckout, || format!("{lease} was granted {items:?} and asked for {asked:?}"));
        }
    }

    /// no_grant_past_entitlement, and charges that add up.
    fn is_covered(&mut self, lease: LeaseId, items: &[GrantedItem]) {
        for item in items {
            let counts = self.ledger.counts(item.pool);
            if counts.taken() > counts.total {
                self.broken(Invariant::NoGrantPastEntitlement, || {
                    format!("{lease} raised pool {} to {} of {}", item.pool.0, counts.taken(), counts.total)
                });
            }
            if let Some((version, taken, seats)) = self.ledger.lacks_for(item.pool, item.version, 0) {
                let version = version.map_or_else(|| "any version".to_owned(), |version| version.to_string());
                self.broken(Invariant::NoGrantPastEntitlement, || {
                    format!("{lease} raised what is taken for {version} and newer to {taken} of {seats} in pool {}", item.pool.0)
                });
            }
            let charged: u32 = item.charges.iter().map(|charge| charge.seats).sum();
            let mut wrong = charged != item.seats;
            for charge in &item.charges {
                let Some(right) = self.ledger.rights.get(&charge.entitlement) else {
                    wrong = true;
                    continue;
                };
                wrong |= !right.in_force() || self.ledger.resolve(right.pool) != self.ledger.resolve(item.pool);
                wrong |= !right.covers(item.version.as_ref());
                if right.charged > right.seats {
                    let (charged, seats) = (right.charged, right.seats);
                    self.broken(Invariant::NoGrantPastEntitlement, || format!("{lease}: {charged} seats are charged to {seats}"));
                }
            }
            if wrong {
                self.broken(Invariant::SeatsConserved, || format!("{lease} is charged {:?} for {} seats", item.charges, item.seats));
            }
        }
    }

    // ---- answers

    /// A lease was heard at this lease time, so long ago, and promised so much. The lease time of a server that was taken over from has run past that
    /// of its successor: what it said in time counts from the last entry.
    pub fn hears(&mut self, lease: LeaseId, at: Timestamp, ago_ms: u64, remaining_ms: u64, leads: bool) {
        let last = self.ledger.moment.map_or(at, |moment| moment.at);
        let at = if leads { at } else { at.min(last) };
        self.heard.insert(lease, (at, remaining_ms));
        // What a server said that was taken over from counts from an entry of its own, which nobody here knows.
        if leads && self.promises.get(&lease).is_none_or(|(at_most, most_ms)| at_most.after_ms(*most_ms) < at.after_ms(remaining_ms)) {
            self.promises.insert(lease, (at, remaining_ms));
        }
        self.heard_after.insert(lease, self.passed_ms.saturating_sub(ago_ms));
        if let Some(since) = self.dead.get_mut(&lease) {
            *since = self.up;
        }
    }

    /// promise_only_grows: the answer that was just heard promised no more than its server keeps.
    pub fn keeps(&mut self, lease: LeaseId, allocator: &Allocator) {
        if self.ledger.leases.contains_key(&lease)
            && let Some(view) = allocator.lease_view(&lease).filter(|view| !view.lingering)
        {
            let until = view.deadline.max(self.ledger.quarantine_until.unwrap_or_default());
            self.was_promised_until(lease, until, Invariant::PromiseOnlyGrows);
        }
    }

    /// Whether this attempt was answered for good before.
    #[must_use]
    pub fn has_answered(&self, lease: LeaseId, attempt: u32) -> bool {
        self.finals.contains_key(&(lease, attempt))
    }

    /// one_grant_per_id: every answer to an attempt says what its fact says, the first and each repeat, and what its client asked for.
    fn says_the_same(&mut self, scene: Scene<'_>, sending: &Sending, outcome: &Outcome) {
        let (lease, Asks::Adopt(attempt) | Asks::Checkout(attempt)) = (sending.lease, sending.asks) else { return };
        let fits = match outcome {
            Outcome::Denied(denial) if denial.code != DenialCode::LeaseEnded => {
                let fact = self.ledger.denied.get(&(lease, attempt)).and_then(Option::as_ref);
                fact.is_none_or(|fact| fact == denial)
            }
            Outcome::Granted(grant) => {
                let asked = scene.clients.get(client_of(lease)).map(|client| client.plan.items.as_slice()).unwrap_or_default();
                let part = |item: &CheckoutItem, told: &GrantItem| {
                    let from: u64 = told.from.iter().map(|(_, _, seats)| u64::from(*seats)).sum();
                    (&told.feature, told.version, told.seats) == (&item.feature, item.version, item.seats) && from == u64::from(item.seats)
                };
                grant.lease == lease
                    && grant.items.len() == asked.len()
                    && asked.iter().zip(&grant.items).all(|(item, told)| part(item, told))
            }
            _ => true,
        };
        if !fits {
            self.broken(Invariant::OneGrantPerId, || format!("attempt {attempt} of {lease} is told {outcome:?}, which is not its fact"));
        }
    }

    /// answered_implies_durable: whoever is told that its lease lives was heard in this epoch, by a fact, and has claimed it.
    fn is_heard_for_good(&mut self, lease: LeaseId, seen: Seen) {
        let unheard = |held: &&crate::ledger::Held| held.heard != seen.epoch || held.claim_due.is_some();
        if seen.epoch == self.ledger.epoch && self.ledger.leases.get(&lease).filter(unheard).is_some() {
            self.broken(Invariant::AnsweredImpliesDurable, || format!("{lease} is told that it lives, and no fact says that it was heard"));
        }
    }

    /// An answer leaves the server. `is_late`: it may have been ready before another server took over.
    pub fn answer(&mut self, scene: Scene<'_>, sending: &Sending, outcome: &Outcome, seen: Seen, is_late: bool) {
        let lease = sending.lease;
        // What was decided before a history began within this start may leave after that.
        let leads = seen.epoch == self.ledger.epoch || is_late && seen.epoch < self.ledger.epoch;
        if !leads || !self.ledger.holds(seen.lineage, seen.epoch, None, seen.index) {
            let durable = self.ledger.index;
            self.broken(Invariant::AnsweredImpliesDurable, || format!("an answer names entry {}, durable is {}", seen.index.0, durable.0));
        }
        let ledger = &self.ledger;
        let held = ledger.leases.contains_key(&lease);
        let ended = ledger.ended.contains_key(&lease) || ledger.lingering.contains_key(&lease);
        let derived = match (outcome, sending.asks) {
            (Outcome::Granted(_) | Outcome::Renewed { .. }, _) => held || ended,
            (Outcome::Denied(denial), Asks::Adopt(attempt) | Asks::Checkout(attempt)) => {
                denial.code == DenialCode::LeaseEnded || ledger.denied.contains_key(&(lease, attempt))
            }
            (Outcome::Waiting { .. }, _) => {
                held || ended || ledger.dequeued.contains_key(&lease) || ledger.line.iter().any(|waiter| waiter.lease == lease)
            }
            (Outcome::Released { .. }, _) => ended || ledger.dequeued.contains_key(&lease),
            (Outcome::Ended { .. }, _) => ended || ledger.leases.get(&lease).is_some_and(|held| held.ending.is_some()),
            _ => true,
        };
        if !derived {
            self.broken(Invariant::AnsweredImpliesDurable, || format!("{lease}: {outcome:?} is in no entry"));
        }
        self.says_the_same(scene, sending, outcome);
        if matches!(outcome, Outcome::Granted(_) | Outcome::Renewed { .. }) {
            self.is_heard_for_good(lease, seen);
        }
        if matches!(outcome, Outcome::Waiting { .. }) {
            self.asked.insert(lease, self.up);
        }
        if let (Outcome::Renewed { .. }, Asks::Renew(counter, _)) = (outcome, sending.asks) {
            let renewed = self.renewed.entry(lease).or_default();
            *renewed = counter.max(*renewed);
        }
        if let Outcome::Renewed { .. } = outcome
            && !self.ledger.clock_held
            && let Some(held) = self.ledger.leases.get(&lease)
        {
            let mut charges = held.items.iter().flat_map(|item| &item.charges);
            let over = |right: &crate::ledger::Right| right.ended.is_some() && right.ended_by < seen.index;
            if charges.any(|charge| self.ledger.rights.get(&charge.entitlement).is_some_and(over)) {
                self.broken(Invariant::NoGrantPastEntitlement, || format!("{lease} was renewed although its entitlement has ended"));
            }
        }
        let decided = match (outcome, sending.asks) {
            (Outcome::Granted(_), Asks::Adopt(attempt) | Asks::Checkout(attempt)) => Some((attempt, true)),
            (Outcome::Denied(denial), Asks::Adopt(attempt) | Asks::Checkout(attempt)) if denial.code != DenialCode::LeaseEnded => {
                Some((attempt, false))
            }
            _ => None,
        };
        if let Some((attempt, granted)) = decided
            && self.finals.insert((lease, attempt), granted).is_some_and(|before| before != granted)
            && self.ledger.grants.get(&lease).is_none_or(|grants| *grants < 2)
            // One that was taken over lives whatever was denied before, also in the same pass.
            && self.ledger.leases.get(&lease).is_none_or(|held| held.attempt.is_some())
        {
            self.broken(Invariant::OneGrantPerId, || format!("attempt {attempt} of {lease} was answered both ways"));
        }
    }

    /// An answer reaches its client: it may believe now. `place` says where in history it was given.
    pub fn reaches(&mut self, sending: &Sending, outcome: &Outcome, place: Place, answered_ms: u64) {
        let said = match outcome {
            Outcome::Granted(_) | Outcome::Renewed { .. } => Said::Live,
            Outcome::Waiting { .. } => Said::Waiting,
            Outcome::Denied(denial) if denial.code == DenialCode::LeaseEnded => Said::Over,
            Outcome::Denied(_) => Said::Denied,
            Outcome::Released { .. } => Said::Over,
            Outcome::Ended { remaining_ms: 0, .. } => Said::Over,
            Outcome::Refused(triquest_allocator::Refusal::UnknownLease) => Said::Unknown,
            _ => return,
        };
        let attempt = match sending.asks {
            Asks::Adopt(attempt) | Asks::Checkout(attempt) => Some(attempt),
            Asks::Release | Asks::Renew(..) => None,
        };
        // What was denied in the pass that took it over from lost history came before that, and says nothing of the lease since.
        if said == Said::Denied && self.ledger.leases.get(&sending.lease).is_some_and(|held| held.attempt.is_none()) {
            return;
        }
        self.turns += 1;
        let place = Place { lineage: self.histories, turn: self.turns, ..place };
        if let Err(what) = self.history.answered(sending.lease, place, sending.sent_ms, answered_ms, attempt, said) {
            self.broken(Invariant::LeaseHistoryLinearizable, || what);
        }
    }

    /// A request was refused undecided. `no`: it is told that it changed nothing; `full`: for want of room, although nothing that waits for room is
    /// about its lease; `leads`: by the server that knows what is known.
    pub fn refused(&mut self, sending: &Sending, no: bool, full: bool, leads: bool) {
        // Freed by an end of presence that cannot be written yet, it is no lease any more.
        let frees = self.false_ends.get(&client_of(sending.lease)).is_some_and(|end| end.open) || self.dead.contains_key(&sending.lease);
        if full && leads && !frees && !matches!(sending.asks, Asks::Release) && self.is_renewed(sending.lease) {
            self.broken(Invariant::RenewingNeverExpires, || {
                format!("{} was heard in this epoch, and is not renewed while the disk is full", sending.lease)
            });
        }
        if !no {
            return;
        }
        let lease = sending.lease;
        let known = self.ledger.leases.contains_key(&lease) || self.ledger.line.iter().any(|waiter| waiter.lease == lease);
        if known && leads {
            self.broken(Invariant::NoFalseNo, || format!("{lease} is known and {:?} is told that it changed nothing", sending.asks));
        }
        if let Asks::Adopt(attempt) | Asks::Checkout(attempt) = sending.asks {
            let open = self.open.entry((lease, attempt)).or_default();
            *open = open.saturating_sub(1);
        }
    }

    /// A request was refused for want of room, or because too much waits, by the server that leads, at this lease time.
    pub fn asks_in_vain(&mut self, sending: &Sending, at: Timestamp) {
        let (Asks::Adopt(attempt) | Asks::Checkout(attempt)) = sending.asks else { return };
        let lease = sending.lease;
        let held = self.ledger.leases.get(&lease).and_then(|held| held.attempt);
        let waits = || self.ledger.line.iter().find(|waiter| waiter.lease == lease).map(|waiter| waiter.attempt);
        if held.or_else(waits).is_some_and(|last| last <= attempt) {
            self.asked_in_vain.insert(lease, at);
            // A late copy of a dead client's request asks too, as far as the server can know.
            if let Some(since) = self.dead.get_mut(&lease) {
                *since = self.up;
            }
        }
    }

    /// one_holder_per_seat: a client has come into a right.
    pub fn believes(&mut self, scene: Scene<'_>, client: usize) {
        let Some(lease) = scene.clients[client].promised(scene.real_ms) else { return };
        if !self.looks_at(Invariant::OneHolderPerSeat) {
            return;
        }
        let Some(held) = self.ledger.leases.get(&lease) else { return };
        let items: Vec<(PoolId, u64)> = held.items.iter().map(|item| (self.ledger.resolve(item.pool), item.seats.into())).collect();
        for (pool, seats) in items {
            // A renewal adds nobody.
            if self.holders.entry(pool).or_default().insert(client) {
                let most = self.held_at_most.entry(pool).or_default();
                *most += seats;
                if *most > self.ledger.counts(pool).total {
                    self.count_holders(scene, pool);
                }
            }
        }
    }

    fn count_holders(&mut self, scene: Scene<'_>, pool: PoolId) {
        let Some(mut holders) = self.holders.remove(&pool) else { return };
        let (mut seats, mut most) = (0, 0);
        let lost = self.lost.is_some_and(|lost| scene.real_ms < lost.until_ms);
        holders.retain(|client| {
            let Some(lease) = scene.clients[*client].promised(scene.real_ms) else { return false };
            let Some(held) = self.ledger.leases.get(&lease) else { return !self.excused.contains(&lease) };
            let here =
                held.items.iter().filter(|item| self.ledger.resolve(item.pool) == pool).map(|item| u64::from(item.seats)).sum::<u64>();
            most += here;
            if !self.excused.contains(&lease) {
                seats += here;
            }
            here > 0
        });
        self.holders.insert(pool, holders);
        self.held_at_most.insert(pool, most);
        let counts = self.ledger.counts(pool);
        let recorded = counts.total.max(counts.taken());
        if seats > recorded && !lost {
            self.broken(Invariant::OneHolderPerSeat, || format!("pool {}: {seats} seats run, {recorded} are recorded", pool.0));
        }
    }

    // ---- what takes time

    /// Looks at what must have happened by now. Called when a server runs with room on its disk.
    pub fn tick(&mut self, scene: Scene<'_>) {
        let pools: Vec<PoolId> = self.holders.keys().copied().collect();
        for pool in pools {
            self.count_holders(scene, pool);
        }
        if self.ledger.quarantine_until.is_some() {
            let up = self.up;
            self.dead.values_mut().for_each(|since| *since = up);
            self.ripe.clear();
            return;
        }
        self.dead_return();
        self.line_moves();
    }

    fn dead_return(&mut self) {
        let mut late = None;
        let (up, ledger) = (self.up, &self.ledger);
        self.dead.retain(|lease, since| {
            let Some(held) = ledger.leases.get(lease) else {
                // Whoever dies in line may be granted what it never comes for: its time counts from that grant.
                *since = up;
                return ledger.line.iter().any(|waiter| waiter.lease == *lease);
            };
            // Lease time since the last entry is lost with a crash: at most the interval of clock entries, and a batch, for each start.
            let starts = up.starts - since.starts;
            let claim_ms = held.claim_due.map_or(0, |_| self.limits.claim_ms);
            let limit = 2 * held.longest_ttl_ms.max(claim_ms) + held.linger_ms + 15_000 + 13_000 * starts;
            let past = up.ms.saturating_sub(since.ms);
            // The slowest clock that is allowed takes a 64th longer.
            if past > limit + limit / 32 && held.ending.is_none() {
                late = Some(format!("{lease} is held after {past} ms of up-time and {starts} starts, ttl {}", held.ttl_ms));
            }
            true
        });
        if let Some(late) = late {
            self.broken(Invariant::DeadSeatReturns, || late);
        }
    }

    fn line_moves(&mut self) {
        if !self.looks_at(Invariant::QueueMoves) {
            return;
        }
        let mut ripe = BTreeMap::new();
        let mut late = None;
        let mut ahead: Vec<&[GrantedItem]> = Vec::new();
        for waiter in &self.ledger.line {
            let satisfiable = self.ledger.satisfiable(&waiter.items, &waiter.embeds);
            let blocked = ahead.iter().any(|items| self.ledger.meet(items, &waiter.items));
            let state = if !satisfiable {
                Some(false)
            } else if !blocked && self.ledger.fits(&waiter.items, &waiter.embeds) {
                Some(true)
            } else {
                None
            };
            if satisfiable {
                ahead.push(&waiter.items);
            }
            // Whoever does not ask leaves the line.
            let asked = self.asked.get(&waiter.lease).copied().unwrap_or_default();
            // A start gives those their full time who were heard before it, and loses the lease time since its last entry.
            let limit = 2 * self.limits.wait_ttl_ms + 15_000 + 13_000 * (self.up.starts - asked.starts);
            if asked.ms > 0 && self.up.ms.saturating_sub(asked.ms) > limit + limit / 32 {
                late = Some(format!("{} has not asked for {} ms and stands in line", waiter.lease, self.up.ms - asked.ms));
            }
            let Some(state) = state else { continue };
            let since = self.ripe.get(&waiter.lease).filter(|(before, _)| *before == state).map_or(self.up.ms, |(_, since)| *since);
            let limit = self.limits.wait_ttl_ms + 10_000;
            if self.up.ms.saturating_sub(since) > limit + limit / 32 {
                let what = if state { "stands with seats free" } else { "waits for what cannot come" };
                late = Some(format!("{} {what} for {} ms", waiter.lease, self.up.ms - since));
            }
            ripe.insert(waiter.lease, (state, since));
        }
        self.ripe = ripe;
        if let Some(late) = late {
            self.broken(Invariant::QueueMoves, || late);
        }
    }

    /// seats_conserved: the allocator's own numbers, and ours.
    pub fn numbers(&mut self, allocator: &Allocator) {
        if let Err(what) = allocator.check_invariants() {
            self.broken(Invariant::SeatsConserved, || what);
        }
        for pool in allocator.pools() {
            let counts = self.ledger.counts(pool.pool);
            let theirs = (pool.numbers.total, pool.numbers.used, pool.numbers.lingering);
            let ours = (counts.total, counts.used, counts.lingering);
            if theirs != ours && counts.total < u64::from(u32::MAX) {
                let (feature, id) = (pool.feature.clone(), pool.pool);
                self.broken(Invariant::SeatsConserved, || {
                    format!("{feature} (pool {}) has total, used, lingering {theirs:?}, the facts say {ours:?}", id.0)
                });
            }
        }
    }

    /// The end of a world.
    pub fn finish(&mut self) {
        if let Err(what) = self.history.finish() {
            self.broken(Invariant::LeaseHistoryLinearizable, || what);
        }
    }
}

#[cfg(test)]
mod tests {
    use triquest_allocator::{LeaseId, Timestamp};

    use super::{Asks, Invariant, Judge, Scene, Sending};
    use crate::ledger::Ledger;

    #[test]
    fn a_no_speaks_of_one_sending_whatever_becomes_of_the_history_in_between() {
        let lease = LeaseId([1; 16]);
        let sending = Sending { client: 0, life: 1, call: 1, lease, asks: Asks::Checkout(1), sent_ms: 0, passed_at: None::<Timestamp> };
        let mut judge = Judge::new(None, Ledger::new([]), triquest_allocator::Limits::default());
        judge.sent(&sending);
        judge.sent(&sending);
        judge.loses_history(Ledger::new([]), 0, true, Scene { clients: &[], real_ms: 0 });
        judge.refused(&sending, true, true, true);
        judge.has_effect(lease, 1);
        assert_eq!(judge.found, None, "the other sending was under way");
        judge.refused(&sending, true, true, true);
        judge.has_effect(lease, 1);
        assert!(judge.found.is_some_and(|broken| broken.invariant == Invariant::NoFalseNo));
    }
}
