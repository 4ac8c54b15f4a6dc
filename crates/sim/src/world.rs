//! The world: machines, wire, faults, and the order in which things happen, all from one seed. It jumps from one event to the next.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    sync::Arc,
};

use triquest_allocator::{
    Actor, Between, ClockReading, Command, DenialCode as CoreDenial, EndReason as CoreEnd, Event, Grant, GrantedItem, Index,
    InstallLicense, LeaseId, Lineage, NamedNetwork, Outcome, Refusal, ReleaseCause, Rules, limits::STALL_MS,
};
use triquest_client::keeper::{Action, Answer as Told, Failure, Fresh, Keeper, Notice, Phase, Terms};
use triquest_engine::{
    Answer, Answers, Asked, Input, Network, Origin, Renewal, Request, Start, TookEffect, Why,
    grants::{Place as TreePlace, granted_in},
};
use triquest_journal::{
    Appended, Head, History, Journal, load,
    memory::{Fault as DiskFault, MemoryDisk, MemoryJournal},
    record::{Entry, encode_entry, encode_snapshot},
};
use triquest_license::LicenseHash;
use triquest_wire::{
    ErrorCode, Retry,
    lease::{DenialCode, EndReason},
    trust::SignedGrant,
};

use crate::{
    client::{Client, Seen, Shown, lease_id},
    clock::MachineClock,
    history::Place,
    judge::{Asks, Broken, Invariant, Judge, Scene, Sending},
    ledger::Ledger,
    mutation::{Mutation, Wrong},
    node::{Durable, Node, Out, Ticket},
    plan::{self, Act, ClientPlan, Fault, Issued, Plan, WALL_START_MS},
    random::Random,
    wire_bytes::{self, Asking, Office, Telling},
};

/// Lines of the trace that are kept.
const TRACE_LINES: usize = 4_000;
/// Each so-many-eth message goes through its bytes, and each so-many-eth entry is followed by a look at the whole state.
const EACH: u64 = 64;
/// How long a waiting request is held at most.
const HOLD_MS: u64 = 25_000;
/// A presence connection that does not open in this time is given up.
const PRESENCE_OPENING_MS: u64 = 10_000;

/// How a world is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Something to break.
    pub mutation: Option<&'static Mutation>,
    /// The one invariant that is looked at; none is all.
    pub only: Option<Invariant>,
    /// Keep the last steps for people.
    pub trace: bool,
}

/// What a run saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Steps taken.
    pub steps: u64,
    /// Requests that clients sent, each part of a batch counted.
    pub operations: u64,
    /// Committed entries.
    pub entries: u64,
    /// Grants committed.
    pub grants: u64,
    /// Starts of servers.
    pub starts: u64,
    /// Histories lost.
    pub losses: u64,
    /// Milliseconds of all passes of leading servers.
    pub passed_ms: u64,
    /// Those in a quarantine.
    pub quarantine_ms: u64,
    /// Those since the first loss of a history.
    pub after_loss_ms: u64,
    /// FNV-1a over every committed entry's checksum and every answer: the same seed gives the same.
    pub fingerprint: u64,
    /// The first broken invariant with the real time at which it broke.
    pub broken: Option<(u64, Broken)>,
    /// The last steps before the end, for people.
    pub trace: VecDeque<String>,
}

enum Step {
    Act(Act),
    /// The disk of a server takes an entry.
    Append(usize),
    Arrive(Box<Arrival>),
    /// A client is done with its seats.
    Done(u32, u32),
    Confirm(usize),
    /// Renewals of one host leave together.
    Flush(u32),
    /// A client's process begins, if none runs.
    Life(u32),
    /// A client looks at its clocks.
    Look(u32, u64),
    Pass(usize, u64),
    Reach(Box<Reach>),
    /// A client opens a presence connection again.
    Reopens(u32, u32),
    RoomAgain,
    /// A client knows that its presence connection stands.
    Stands(u32, u32, u64),
    Start,
    Tick,
    Trouble,
}

struct Planned {
    at_ms: u64,
    sequence: u64,
    step: Step,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    /// The soonest is the greatest, for the heap.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ms, other.sequence).cmp(&(self.at_ms, self.sequence))
    }
}

/// A request on its way to a server.
struct Arrival {
    sendings: Vec<Sending>,
    asked: Asked,
    hold_ms: u64,
    from: Option<u32>,
    /// Over a connection to this server, which ends with it; none goes to whoever leads.
    to: Option<usize>,
}

/// An answer on its way to a client.
struct Reach {
    client: u32,
    life: u32,
    call: u64,
    told: Told,
    /// What it is about, if it is a decision.
    about: Option<(Sending, Option<Seen>, Option<Shown>)>,
}

/// One server process.
struct Slot {
    node: Node,
    pass_at_ms: Option<u64>,
    pass_token: u64,
    append_planned: bool,
    confirm_planned: bool,
    last_pass_ms: u64,
    instance: [u8; 16],
}

/// A request that a server took and has not answered.
struct Taken {
    server: usize,
    sendings: Vec<Sending>,
    /// Until when its answer may be held, by the boot clock.
    held_until_ms: u64,
}

struct Backup {
    disk: MemoryDisk,
    ledger: Ledger,
}

/// A world.
pub struct World {
    plan: Plan,
    options: Options,
    random: Random,
    real_ms: u64,
    sequence: u64,
    heap: BinaryHeap<Planned>,
    disk: MemoryDisk,
    backup: Option<Backup>,
    /// Servers by the number of their start; at most the newest leads.
    slots: BTreeMap<usize, Slot>,
    front: usize,
    starting: bool,
    machine: MachineClock,
    stalled_until_ms: u64,
    /// Until when the disk answers nothing.
    hangs_until_ms: u64,
    full_until_ms: u64,
    kill_at_durable: Option<(u64, u32)>,
    tickets: BTreeMap<u64, Taken>,
    /// Renewals that a server has taken and not answered.
    last_ticket: u64,
    clients: Vec<Client>,
    outboxes: BTreeMap<u32, Vec<(Sending, Renewal)>>,
    issued: BTreeMap<LicenseHash, Arc<Issued>>,
    judge: Judge,
    next_look: u64,
    office: Office,
    grants_told: u64,
    presences_sent: u64,
    /// Requests that a presence connection stand for a lease no more, by their tickets: by whom, and of which generation.
    dropping: BTreeMap<u64, (u32, u64)>,
    /// Connections of which such a request was refused: their clients leave them by a reset, which says nothing.
    left_by_reset: BTreeSet<(u32, u64)>,
    /// How often a network was taken out of those that are named.
    unnamings: u64,
    /// Answers by kind.
    answers_told: [u64; 6],
    report: Report,
}

/// Runs one world to its end or to the first broken invariant.
#[must_use]
pub fn simulate(plan: Plan, options: Options) -> Report {
    let mut world = World::new(plan, options);
    world.run();
    if let Some(broken) = world.judge.found.take() {
        world.report.broken = Some((world.real_ms, broken));
    }
    world.report
}

impl World {
    fn new(plan: Plan, options: Options) -> Self {
        let mut random = Random::new(plan.seed ^ 0x7369_6d75_6c61_7465);
        let lineage = Lineage(random.bytes());
        let mut keys: BTreeMap<u8, [u8; 32]> = BTreeMap::new();
        let clients = (0u32..).zip(&plan.clients).map(|(number, client)| {
            let vendor_keys = client.keys.iter().map(|key| *keys.entry(*key).or_insert_with(|| plan::public_key(*key))).collect();
            Client::new(number, client.clone(), vendor_keys, WALL_START_MS)
        });
        let clients = clients.collect();
        let issued: BTreeMap<_, _> = plan.licenses.iter().map(|issued| (issued.license.hash(), Arc::clone(issued))).collect();
        let ledger = Ledger::new(plan.licenses.iter().cloned());
        let only = options.only;
        let office = Office::new(&issued);
        Self {
            options,
            random,
            real_ms: 0,
            sequence: 0,
            heap: BinaryHeap::new(),
            disk: new_disk(lineage, plan.reserve_bytes),
            backup: None,
            slots: BTreeMap::new(),
            front: 0,
            starting: false,
            machine: MachineClock::new(plan.drift_per_million, WALL_START_MS),
            stalled_until_ms: 0,
            hangs_until_ms: 0,
            full_until_ms: 0,
            kill_at_durable: None,
            tickets: BTreeMap::new(),
            last_ticket: 0,
            clients,
            outboxes: BTreeMap::new(),
            issued,
            judge: Judge::new(only, ledger, plan.limits.clone()),
            next_look: EACH,
            office,
            grants_told: 0,
            presences_sent: 0,
            dropping: BTreeMap::new(),
            left_by_reset: BTreeSet::new(),
            unnamings: 0,
            answers_told: [0; 6],
            report: Report { fingerprint: 0xcbf2_9ce4_8422_2325, ..Report::default() },
            plan,
        }
    }

    /// What is done wrong outside of the core.
    fn done_wrong(&self) -> Wrong {
        self.options.mutation.map_or(Wrong::Nothing, |mutation| mutation.wrong)
    }

    fn wrong(&self, wrong: Wrong) -> bool {
        self.done_wrong() == wrong
    }

    fn rules(&self) -> Rules {
        let mut rules = Rules { limits: self.plan.limits.clone(), ..Rules::default() };
        if let Some(mutation) = self.options.mutation {
            (mutation.off)(&mut rules.safeguards);
        }
        rules
    }

    fn trace(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.options.trace {
            let line = format!("{:>9} {}", self.real_ms, line(self));
            if self.report.trace.len() >= TRACE_LINES {
                self.report.trace.pop_front();
            }
            self.report.trace.push_back(line);
        }
    }

    fn fingerprint(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.report.fingerprint = (self.report.fingerprint ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn plan(&mut self, in_ms: u64, step: Step) {
        self.sequence += 1;
        self.heap.push(Planned { at_ms: self.real_ms + in_ms, sequence: self.sequence, step });
    }

    fn run(&mut self) {
        self.plan(0, Step::Start);
        for (at_ms, act) in std::mem::take(&mut self.plan.acts) {
            self.plan(at_ms, Step::Act(act));
        }
        for client in 0..self.clients.len() {
            if let Some(begins_ms) = self.clients[client].plan.begins_ms {
                self.plan(begins_ms, Step::Life(u32::try_from(client).expect("few clients")));
            }
        }
        if !self.plan.weights.is_empty() {
            let first = self.random.between(self.plan.fault_every_ms.0, self.plan.fault_every_ms.1);
            self.plan(first, Step::Trouble);
        }
        self.plan(1_000, Step::Tick);
        while let Some(Planned { at_ms, step, .. }) = self.heap.pop() {
            if at_ms > self.plan.duration_ms {
                break;
            }
            self.real_ms = at_ms;
            self.report.steps += 1;
            self.step(step);
            if self.judge.found.is_some() {
                return;
            }
        }
        self.judge.finish();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Act(act) => self.act(act),
            Step::Append(slot) => self.append(slot),
            Step::Arrive(arrival) => self.arrive(arrival),
            Step::Confirm(slot) => self.confirm(slot),
            Step::Done(client, life) => self.done(client, life),
            Step::Flush(host) => self.flush(host),
            Step::Life(client) => self.live(client),
            Step::Look(client, wake) => self.look(client, wake),
            Step::Pass(slot, token) => self.pass(slot, token),
            Step::Reach(reach) => self.reach(*reach),
            Step::Reopens(client, life) => self.reopens(client, life),
            Step::RoomAgain => self.room_again(),
            Step::Stands(client, life, generation) => self.stands(client, life, generation),
            Step::Start => self.start(),
            Step::Tick => self.tick(),
            Step::Trouble => self.trouble(),
        }
    }

    // ---- clients

    fn live(&mut self, client: u32) {
        if self.clients[client as usize].gone {
            return;
        }
        let now = self.clients[client as usize].now(self.real_ms);
        let again = self.random.between(self.plan.ttl_ms / 4, self.plan.ttl_ms);
        let this = &mut self.clients[client as usize];
        match this.keeper.as_ref().map(Keeper::phase) {
            None | Some(Phase::Released) => {}
            Some(Phase::Refused | Phase::Lost) if self.random.chance(500) => {}
            Some(Phase::Refused) => {
                self.drive(client, Keeper::ask_again);
                self.plan(again, Step::Life(client));
                return;
            }
            Some(_) => return self.plan(again, Step::Life(client)),
        }
        if let Some(keeper) = &this.keeper
            && keeper.phase() == Phase::Lost
        {
            // A process that has lost its seat ends, and says so to nobody.
            self.die(client);
        }
        let this = &mut self.clients[client as usize];
        this.begin(Keeper::new(now, this.plan.wait_ms));
        let life = this.life;
        let uses_ms = this.plan.uses_ms;
        self.drive(client, Keeper::on_time);
        if let Some((least, most)) = uses_ms {
            let use_ms = self.random.between(least, most);
            self.plan(use_ms, Step::Done(client, life));
        }
        self.plan(again, Step::Life(client));
    }

    fn done(&mut self, client: u32, life: u32) {
        if self.clients[client as usize].life == life {
            if self.real_ms < self.clients[client as usize].asleep_until_ms {
                let rest = self.clients[client as usize].asleep_until_ms - self.real_ms;
                return self.plan(rest, Step::Done(client, life));
            }
            self.drive(client, Keeper::release);
        }
    }

    fn look(&mut self, client: u32, wake: u64) {
        let this = &self.clients[client as usize];
        if this.wake != wake {
            return;
        }
        if self.real_ms < this.asleep_until_ms {
            let rest = this.asleep_until_ms - self.real_ms;
            return self.plan(rest, Step::Look(client, wake));
        }
        self.drive(client, Keeper::on_time);
    }

    fn drive(&mut self, client: u32, act: impl FnOnce(&mut Keeper, triquest_client::keeper::Now, Fresh) -> Vec<Action>) {
        let number = client as usize;
        let now = self.clients[number].now(self.real_ms);
        let fresh = Fresh { nonce: self.random.bytes(), jitter: u16::from_le_bytes(self.random.bytes()) };
        let Some(keeper) = &mut self.clients[number].keeper else { return };
        let actions = act(keeper, now, fresh);
        let wake = keeper.next_wake();
        for action in actions {
            self.does(client, action);
        }
        let this = &mut self.clients[number];
        this.wake += 1;
        let (token, machine) = (this.wake, &this.machine);
        if let Some(wake) = wake {
            // A look may be a little late, as threads are.
            let exact = machine.real_until(wake.saturating_sub(now.boot_ms));
            let late = if self.random.chance(50) { self.random.between(1, 3_000) } else { 0 };
            self.plan(exact + late, Step::Look(client, token));
        }
    }

    fn does(&mut self, client: u32, action: Action) {
        let number = client as usize;
        let random = u32::from_le_bytes(self.random.bytes());
        let make = |id: u32| move |life: u32| lease_id(client, life, id, random);
        let (life, sent_ms) = (self.clients[number].life, self.real_ms);
        let network = Some(network_of(client));
        let sending = |lease, call, asks| Sending { client, life, call, lease, asks, sent_ms, passed_at: None };
        match action {
            Action::Checkout { call, id, attempt, wait_ms, show_grant, regained, .. } => {
                let next_lineage = Lineage(self.random.bytes());
                let this = &mut self.clients[number];
                let lease = this.lease_id(id, make(id));
                let shown = this.shown.clone().filter(|shown| show_grant && shown.lease == lease);
                let (holder, content, vendor_keys) = (this.holder.clone(), this.content, this.vendor_keys.clone());
                let (items, ttl_ms) = (this.plan.items.clone(), this.plan.ttl_ms);
                let seen = this.seen;
                let (asks, command) = match &shown {
                    Some(shown) => {
                        let command = Command::Adopt {
                            lease,
                            attempt,
                            content,
                            holder,
                            vendor_keys,
                            items,
                            ttl_ms,
                            wait_ms,
                            network,
                            regained,
                            accepts: Default::default(),
                            shown: Box::new(shown.as_told()),
                            next_lineage,
                        };
                        (Asks::Adopt(attempt), command)
                    }
                    None => {
                        let command = Command::Checkout {
                            lease,
                            attempt,
                            content,
                            holder,
                            vendor_keys,
                            items,
                            ttl_ms,
                            wait_ms,
                            regained,
                            network,
                            accepts: Default::default(),
                        };
                        (Asks::Checkout(attempt), command)
                    }
                };
                let sending = sending(lease, call, asks);
                if let Some(signed) = shown.and_then(|shown| shown.signed_grant)
                    && let Err(what) = self.office.shown(&signed, &command, &Asking { sendings: &[sending], seen })
                {
                    self.judge.broken(Invariant::ToldAsDecided, || what);
                }
                let hold_ms = wait_ms.map_or(0, |_| HOLD_MS.min(self.plan.ttl_ms / 3));
                self.send(vec![sending], command.into(), hold_ms, client);
            }
            Action::Release { call, id } => {
                let lease = self.clients[number].lease_id(id, make(id));
                self.send(vec![sending(lease, call, Asks::Release)], Command::Release { lease, network }.into(), 0, client);
            }
            Action::Renew { call, id, counter, nonce, presence, regained } => {
                let lease = self.clients[number].lease_id(id, make(id));
                let sending = sending(lease, call, Asks::Renew(counter, nonce));
                // Whoever leaves the application alone is idle for ever longer.
                let idle_ms = (!counter.is_multiple_of(3)).then_some(self.real_ms % 600_000);
                let renewal = Renewal { lease, counter, nonce, idle_ms, presence, regained };
                if let Some(host) = self.clients[number].plan.batch {
                    let outbox = self.outboxes.entry(host).or_default();
                    outbox.push((sending, renewal));
                    if outbox.len() == 1 {
                        let pause = self.random.between(1, 400);
                        self.plan(pause, Step::Flush(host));
                    }
                    return;
                }
                self.send(vec![sending], Asked::Renew(renewal), 0, client);
            }
            Action::Tell(notice) => self.hears(client, &notice),
        }
    }

    fn flush(&mut self, host: u32) {
        let Some(outbox) = self.outboxes.remove(&host) else { return };
        // At most a thousand go in one request.
        for portion in outbox.chunks(1_000) {
            let commands: Vec<Command> = portion.iter().map(|(_, renewal)| Command::from(*renewal)).collect();
            let sendings: Vec<Sending> = portion.iter().map(|(sending, _)| *sending).collect();
            if let Some(client) = sendings.first().map(|sending| sending.client) {
                self.send(sendings, Asked::Many(commands), 0, client);
            }
        }
    }

    fn hears(&mut self, client: u32, notice: &Notice) {
        self.trace(|_| format!("client {client} hears {notice:?}"));
        match notice {
            Notice::Granted | Notice::Regained { .. } if self.clients[client as usize].plan.presence => self.opens_presence(client),
            Notice::Late { .. } | Notice::Grace { .. } if self.clients[client as usize].plan.presence => self.leaves_presence(client),
            Notice::Lost(Failure::NoAnswer | Failure::Halted) if self.real_ms >= self.stalled_until_ms => {
                if let Some(slot) = self.slots.get(&self.front) {
                    for lease in self.clients[client as usize].ids().filter(|lease| slot.node.owes_an_answer_about(*lease)) {
                        self.judge.is_kept_waiting(lease, slot.node.at());
                    }
                }
            }
            Notice::Lost(Failure::Refused(code)) | Notice::Failed(Failure::Refused(code)) => {
                let code = *code;
                let this = &self.clients[client as usize];
                let ledger = &self.judge.ledger;
                let wished = ledger.wished(&this.vendor_keys, &this.plan.items);
                let embeds = triquest_allocator::VerifierKeys::of(&this.vendor_keys);
                let nobody_waits = |items: &[GrantedItem]| !ledger.line.iter().any(|waiter| ledger.meet(&waiter.items, items));
                let free = wished.is_some_and(|items| ledger.fits(&items, &embeds) && nobody_waits(&items));
                if free && ledger.quarantine_until.is_none() && code.retry() == Retry::Never && !code.speaks_of_clones() {
                    self.judge
                        .broken(Invariant::NobodySentAway, || format!("client {client} is sent away with {code:?} and seats are free"));
                }
            }
            _ => {}
        }
    }

    /// A presence connection opens; one that it takes the place of is left by a reset, which says nothing.
    fn opens_presence(&mut self, client: u32) {
        let to = self.front;
        let this = &mut self.clients[client as usize];
        if self.real_ms < this.full_until_ms {
            return self.is_refused_presence(client);
        }
        this.generation += 1;
        let (generation, life, between) = (this.generation, this.life, between_now(&this.plan, self.unnamings));
        let before = std::mem::take(&mut this.standing);
        this.standing.push((generation, to));
        let unseen = std::mem::take(&mut this.opening_unseen);
        let leases: Vec<_> = this.ids().collect();
        let delay = self.latency();
        // Now and then the connection stands for other seats of the process already, and this one is added.
        let is_added = (u64::from(client) + generation).is_multiple_of(3);
        for lease in &leases {
            let (lease, connection) = (*lease, generation);
            let command = if is_added {
                Command::PresenceAdded { lease, connection, generation, between }
            } else {
                Command::PresenceOpened { lease, connection, generation, between }
            };
            self.presence(delay, to, client, command);
        }
        // What stands between may end an old connection in order, long after.
        for (generation, to) in before {
            if self.random.chance(300) {
                let later = delay + self.random.between(1, 20_000);
                self.presence_ends(later, to, client, &leases, generation);
            }
        }
        if unseen {
            // The client gives up and resets; what stands between makes an orderly end of that.
            self.presence_ends(delay + PRESENCE_OPENING_MS, to, client, &leases, generation);
        } else {
            let back = delay + self.latency();
            self.plan(back, Step::Stands(client, life, generation));
        }
    }

    /// The server has no place for a presence connection of this client, which tries again soon.
    fn is_refused_presence(&mut self, client: u32) {
        let to = self.front;
        let this = &self.clients[client as usize];
        let (life, is_known, leases) = (this.life, this.full_is_known, this.ids().collect::<Vec<_>>());
        let delay = self.latency();
        if is_known {
            for lease in leases {
                self.presence(delay, to, client, Command::PresenceRefused { lease });
            }
        } else {
            let named = Some(NamedNetwork::V4([10, 0, 0, 0], 8));
            self.presence(delay, to, client, Command::PresenceTurnedAway { named });
        }
        let again = self.random.between(4_000, 6_000);
        self.plan(again, Step::Reopens(client, life));
    }

    /// The client knows that its presence connection stands.
    fn stands(&mut self, client: u32, life: u32, generation: u64) {
        let this = &self.clients[client as usize];
        if this.life != life || this.generation != generation || !self.slots.contains_key(&self.front) {
            return;
        }
        self.drive(client, |keeper, now, fresh| {
            keeper.stands(now, Some(generation));
            keeper.on_time(now, fresh)
        });
    }

    fn reopens(&mut self, client: u32, life: u32) {
        let this = &self.clients[client as usize];
        if this.life == life && this.promised(self.real_ms).is_some() && self.slots.contains_key(&self.front) {
            self.opens_presence(client);
        }
    }

    /// A client lets its presence connection stand for its lease no more. Then the connection ends, as it does when the rest of what it stood for was
    /// given back; a copy of the request that added the lease may come yet.
    fn drops_presence(&mut self, client: u32) {
        let this = &mut self.clients[client as usize];
        let Some((generation, to)) = this.standing.pop() else { return };
        let (life, between, connection) = (this.life, between_now(&this.plan, self.unnamings), generation);
        let leases: Vec<_> = this.ids().collect();
        self.drive(client, |keeper, now, _| {
            keeper.stands(now, None);
            Vec::new()
        });
        let delay = self.latency();
        let late = self.random.chance(300).then(|| delay + self.random.between(1, 10_000));
        for lease in &leases {
            let lease = *lease;
            self.presence(delay, to, client, Command::PresenceDropped { lease, connection, generation, between });
            if let Some(late) = late {
                self.presence(late, to, client, Command::PresenceAdded { lease, connection, generation, between });
            }
        }
        let ends = delay + self.random.between(1, 20_000);
        self.presence_ends(ends, to, client, &leases, generation);
        let again = self.random.between(1_000, 20_000);
        self.plan(again, Step::Reopens(client, life));
    }

    /// A client that has lost its right leaves its presence connection, by a reset that frees nothing.
    fn leaves_presence(&mut self, client: u32) {
        let this = &mut self.clients[client as usize];
        let leases: Vec<_> = this.ids().collect();
        let standing = std::mem::take(&mut this.standing);
        if self.wrong(Wrong::PresenceClosesInOrder) {
            for (generation, to) in standing {
                self.presence_ends(1, to, client, &leases, generation);
            }
        }
    }

    fn presence(&mut self, in_ms: u64, to: usize, client: u32, command: Command) {
        let asked = Asked::from(command);
        self.presences_sent += 1;
        if self.presences_sent % EACH == 1 {
            self.goes_out(&asked, &[], client);
        }
        let arrival = Arrival { sendings: Vec::new(), asked, hold_ms: 0, from: Some(client), to: Some(to) };
        self.plan(in_ms, Step::Arrive(Box::new(arrival)));
    }

    fn presence_ends(&mut self, in_ms: u64, to: usize, client: u32, leases: &[LeaseId], generation: u64) {
        // The server looks its network up when it ends; that may be long before the end is decided.
        let named = self.clients[client as usize].plan.between() == Between::Named;
        if named && self.unnamings > 0 {
            return;
        }
        let (network, unnamings) = (Some(network_of(client)), self.unnamings);
        for lease in leases {
            self.presence(in_ms, to, client, Command::PresenceClosed { lease: *lease, generation, network, unnamings });
        }
    }

    /// A process ends without a word: the kernel closes its connections in order, if the wire lets that through.
    fn die(&mut self, client: u32) {
        let cut_off = self.real_ms < self.clients[client as usize].cut_off_until_ms;
        let this = &mut self.clients[client as usize];
        let leases: Vec<_> = this.ids().collect();
        let standing = std::mem::take(&mut this.standing);
        this.end();
        self.judge.died(leases.iter().copied());
        self.trace(|_| format!("client {client} dies"));
        if !cut_off && self.random.chance(700) {
            for (generation, to) in standing {
                // After the opening, which went the same way.
                let delay = self.latency() + self.plan.wire.slow_ms_max;
                self.presence_ends(delay, to, client, &leases, generation);
            }
        }
    }

    // ---- the wire

    fn latency(&mut self) -> u64 {
        let wire = self.plan.wire;
        if wire.slow > 0 && self.random.chance(wire.slow) { self.random.between(20, wire.slow_ms_max) } else { self.random.between(1, 15) }
    }

    /// A command that no keeper waits for.
    fn local(&mut self, in_ms: u64, command: Command, from: Option<u32>) {
        self.plan(in_ms, Step::Arrive(Box::new(Arrival { sendings: Vec::new(), asked: command.into(), hold_ms: 0, from, to: None })));
    }

    fn send(&mut self, sendings: Vec<Sending>, asked: Asked, hold_ms: u64, client: u32) {
        self.report.operations += sendings.len() as u64;
        if self.report.operations.is_multiple_of(EACH) {
            self.goes_out(&asked, &sendings, client);
        }
        let wire = self.plan.wire;
        let cut_off = self.real_ms < self.clients[client as usize].cut_off_until_ms;
        if cut_off || wire.lost > 0 && self.random.chance(wire.lost) {
            if self.random.chance(500) {
                self.unreachable(&sendings);
            }
            return;
        }
        let delay = self.latency();
        if wire.twice > 0 && self.random.chance(wire.twice) {
            // Sent before the connection broke, delivered long after.
            let late = delay + self.random.between(10, 3 * self.plan.ttl_ms);
            sendings.iter().for_each(|sending| self.judge.sent(sending));
            self.plan(
                late,
                Step::Arrive(Box::new(Arrival {
                    sendings: sendings.clone(),
                    asked: asked.clone(),
                    hold_ms: 0,
                    from: Some(client),
                    to: None,
                })),
            );
        }
        if wire.lost > 0 && self.random.chance(wire.lost) {
            // A reset: the client learns nothing, the server may have it.
            self.unreachable(&sendings);
        }
        sendings.iter().for_each(|sending| self.judge.sent(sending));
        self.plan(delay, Step::Arrive(Box::new(Arrival { sendings, asked, hold_ms, from: Some(client), to: None })));
    }

    /// A request goes through its bytes.
    fn goes_out(&mut self, asked: &Asked, sendings: &[Sending], client: u32) {
        let seen = self.clients[client as usize].seen;
        if let Err(what) = wire_bytes::request(asked, &Asking { sendings, seen }) {
            self.judge.broken(Invariant::ToldAsDecided, || what);
        }
    }

    fn unreachable(&mut self, sendings: &[Sending]) {
        for sending in sendings {
            let delay = self.latency();
            let Sending { client, life, call, .. } = *sending;
            self.plan(delay, Step::Reach(Box::new(Reach { client, life, call, told: Told::Unreachable, about: None })));
        }
    }

    fn arrive(&mut self, arrival: Box<Arrival>) {
        if self.real_ms < self.stalled_until_ms && !self.slots.is_empty() {
            let rest = self.stalled_until_ms - self.real_ms;
            return self.plan(rest, Step::Arrive(arrival));
        }
        // Some still talk to a server that another has taken over from.
        let old = self.slots.keys().next().copied().filter(|slot| *slot != self.front);
        let number = match old {
            _ if arrival.to.is_some() => arrival.to.unwrap_or_default(),
            Some(old) if self.random.chance(400) => old,
            _ => self.front,
        };
        let boot_ms = self.reading().boot_ms;
        let Some(slot) = self.slots.get_mut(&number) else {
            return self.unreachable(&arrival.sendings);
        };
        let Arrival { sendings, asked, hold_ms, from, to: _ } = *arrival;
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        if let Asked::One(command) = &asked
            && let Command::PresenceUnnamed { .. } = **command
            && number == self.front
        {
            self.judge.unnames(slot.node.at());
        }
        if let (Asked::One(command), Some(client)) = (&asked, from) {
            match **command {
                Command::PresenceClosed { generation, .. } if self.left_by_reset.contains(&(client, generation)) => return,
                Command::PresenceDropped { generation, .. } => drop(self.dropping.insert(ticket, (client, generation))),
                _ => {}
            }
        }
        let origin = match from {
            None => Origin::SERVER,
            Some(client) => Origin { network: Some(network_of(client)), connection: client.into() },
        };
        if !sendings.is_empty() {
            self.tickets.insert(ticket, Taken { server: number, sendings, held_until_ms: boot_ms + hold_ms });
        }
        if let (Asked::One(command), Some(client)) = (&asked, from) {
            self.judge.comes_to_open(client as usize, command, slot.node.at());
        }
        slot.node.submit(Request { ticket: Ticket(ticket), origin, arrived_ms: boot_ms, asked, hold_ms });
        self.settle(number);
    }

    fn reach(&mut self, reach: Reach) {
        let number = reach.client as usize;
        let this = &self.clients[number];
        if this.life != reach.life {
            return;
        }
        if self.real_ms < this.asleep_until_ms {
            let rest = this.asleep_until_ms - self.real_ms;
            return self.plan(rest, Step::Reach(Box::new(reach)));
        }
        let Reach { client, call, mut told, about, .. } = reach;
        if this.keeper.as_ref().and_then(Keeper::under_way) != Some(call) {
            return;
        }
        let mut believes = false;
        if let Some((sending, seen, shown)) = about {
            let this = &mut self.clients[number];
            this.seen = this.seen.max(seen);
            if matches!(told, Told::Granted(_) | Told::Renewed { .. }) {
                this.right_of = Some(sending.lease);
                believes = true;
            }
            if shown.is_some() {
                this.kept = shown.clone();
                this.shown = shown;
            }
            if self.wrong(Wrong::RightFromAnswer) || self.wrong(Wrong::RightWithoutDrift) {
                let took_ms = if self.wrong(Wrong::RightFromAnswer) { self.real_ms - sending.sent_ms } else { 0 };
                if let Told::Granted(Terms { remaining_ms, .. }) | Told::Renewed { remaining_ms, .. } = &mut told {
                    if self.wrong(Wrong::RightWithoutDrift) {
                        *remaining_ms += *remaining_ms / 63 + 1;
                    }
                    *remaining_ms += took_ms + took_ms / 63 + 1;
                }
            }
        }
        self.drive(client, |keeper, now, fresh| keeper.on_answer(now, call, told, fresh));
        if believes {
            self.judge.believes(Scene { clients: &self.clients, real_ms: self.real_ms }, number);
        }
    }

    // ---- servers

    fn reading(&self) -> ClockReading {
        ClockReading {
            boot_ms: self.machine.boot_ms(self.real_ms) * if self.wrong(Wrong::LeaseTimeRunsFast) { 2 } else { 1 },
            wall_ms: self.machine.wall_ms(self.real_ms),
            synchronized: self.machine.synchronized,
        }
    }

    fn start(&mut self) {
        self.starting = false;
        self.machine.reboot(self.real_ms);
        let instance = self.random.bytes();
        let start = Start { lineage: Lineage::default(), instance, folder_ttl_max_ms: self.plan.ttl_max_ms };
        let node = Node::start(&self.disk, self.rules(), self.plan.queues, self.reading(), start, self.real_ms);
        let mut node = match node {
            Ok(node) => node,
            Err(what) => return self.judge.broken(Invariant::ApplyTotal, || format!("the journal does not load: {what}")),
        };
        if self.wrong(Wrong::AnswersBeforeDurable) {
            node.be_hasty();
        }
        self.judge.server_ended();
        self.report.starts += 1;
        self.front += 1;
        let slot = Slot {
            node,
            pass_at_ms: None,
            pass_token: 0,
            append_planned: false,
            confirm_planned: false,
            last_pass_ms: self.real_ms,
            instance,
        };
        self.slots.insert(self.front, slot);
        self.trace(|world| format!("server {} starts", world.front));
        self.plan_pass(self.front, 0);
        self.settle(self.front);
    }

    fn plan_pass(&mut self, number: usize, in_ms: u64) {
        let at_ms = (self.real_ms + in_ms).max(self.stalled_until_ms);
        let Some(slot) = self.slots.get_mut(&number) else { return };
        if slot.pass_at_ms.is_some_and(|planned| planned <= at_ms) {
            return;
        }
        slot.pass_at_ms = Some(at_ms);
        slot.pass_token += 1;
        let token = slot.pass_token;
        self.plan(at_ms - self.real_ms, Step::Pass(number, token));
    }

    fn pass(&mut self, number: usize, token: u64) {
        if self.real_ms < self.stalled_until_ms {
            let rest = self.stalled_until_ms - self.real_ms;
            return self.plan(rest, Step::Pass(number, token));
        }
        let reading = self.reading();
        let stall_counts = self.wrong(Wrong::StallCounts);
        let (machine, real_ms, front) = (self.machine.clone(), self.real_ms, self.front);
        let Some(slot) = self.slots.get_mut(&number) else { return };
        if slot.pass_token != token {
            return;
        }
        slot.pass_at_ms = None;
        if stall_counts {
            while slot.last_pass_ms + STALL_MS < real_ms {
                slot.last_pass_ms += STALL_MS - 100;
                let at = slot.last_pass_ms;
                slot.node.pass(ClockReading { boot_ms: machine.boot_ms(at), ..reading }, at);
            }
        }
        let passed_ms = (real_ms - slot.last_pass_ms).min(STALL_MS);
        slot.last_pass_ms = real_ms;
        slot.node.pass(reading, real_ms);
        if number == front {
            self.judge.passed_ms += passed_ms;
            self.report.passed_ms += passed_ms;
            self.report.quarantine_ms += if self.judge.ledger.quarantine_until.is_some() { passed_ms } else { 0 };
            self.report.after_loss_ms += if self.report.losses > 0 { passed_ms } else { 0 };
            if slot.node.has_room() && real_ms >= self.hangs_until_ms {
                self.judge.up.ms += passed_ms;
            }
        }
        let at = slot.node.at();
        for Taken { server, sendings, .. } in self.tickets.values_mut().rev() {
            if *server != number {
                continue;
            }
            if sendings.iter().all(|sending| sending.passed_at.is_some()) {
                break;
            }
            for sending in sendings.iter_mut().filter(|sending| sending.passed_at.is_none()) {
                sending.passed_at = Some(at);
                // A grant of another history of ours proves nothing of this one, and neither does one that stands in it.
                let shown = self.clients[sending.client as usize].kept.as_ref();
                let lost = shown.is_some_and(|shown| shown.is_lost(sending.lease, &self.judge.ledger));
                if matches!(sending.asks, Asks::Adopt(_)) && number == front && lost {
                    self.judge.proved(at);
                }
                if matches!(sending.asks, Asks::Adopt(_) | Asks::Checkout(_)) && number == front {
                    self.judge.waits_on(sending.lease);
                }
                if !matches!(sending.asks, Asks::Release) && number == front {
                    self.judge.lies_before_the_server(sending.lease, at, sending.asks.renewal());
                }
            }
        }
        if number == front {
            self.judge.passed(at);
        }
        self.settle(number);
        self.all_come_back(number);
    }

    fn append(&mut self, number: usize) {
        let until_ms = self.stalled_until_ms.max(self.hangs_until_ms);
        if self.real_ms < until_ms {
            return self.plan(until_ms - self.real_ms, Step::Append(number));
        }
        let hasty = self.wrong(Wrong::AnswersBeforeDurable);
        let kills = self.kill_at_durable.is_some() && number == self.front;
        let Some(slot) = self.slots.get_mut(&number) else { return };
        slot.append_planned = false;
        let Some(index) = slot.node.next_write() else { return };
        let appended = slot.node.append();
        if kills && matches!(appended, Some(Appended::Committed | Appended::Unknown)) {
            // Durable, and nobody will ever be told.
            let out = slot.node.take();
            for out in out {
                if let Out::Durable(durable) = out {
                    self.durable(number, &durable);
                    self.fall_silent(&durable);
                }
            }
            if let Some((back_ms, _)) = self.kill_at_durable.take() {
                self.kill(back_ms);
            }
            return;
        }
        let mut out = slot.node.take();
        if let Some(appended) = appended
            && !hasty
        {
            // What is durable is judged before anybody hears of it.
            for done in out.drain(..) {
                self.done_by(number, done);
            }
            if let Some(slot) = self.slots.get_mut(&number) {
                slot.node.tell(appended, index);
            }
        }
        for done in out {
            self.done_by(number, done);
        }
        self.settle(number);
    }

    fn confirm(&mut self, number: usize) {
        let leads = number == self.front || self.wrong(Wrong::ConfirmsBlindly);
        let Some(slot) = self.slots.get_mut(&number) else { return };
        slot.confirm_planned = false;
        slot.node.confirm(leads);
        self.settle(number);
    }

    /// Carries out what a server has done, and plans what it waits for.
    fn settle(&mut self, number: usize) {
        loop {
            let Some(slot) = self.slots.get_mut(&number) else { return };
            let out = slot.node.take();
            if out.is_empty() {
                break;
            }
            for done in out {
                self.done_by(number, done);
            }
        }
        let (append_ms, confirm_ms, random) = (self.plan.append_ms, self.plan.confirm_ms, &mut self.random);
        let Some(slot) = self.slots.get_mut(&number) else { return };
        let wake = slot.node.wake_in_ms().map(|wake| (wake, self.real_ms.saturating_sub(slot.last_pass_ms)));
        let mut steps = [None, None];
        if slot.node.writes() && !slot.append_planned {
            slot.append_planned = true;
            steps[0] = Some((random.between(append_ms.0, append_ms.1), Step::Append(number)));
        }
        if slot.node.confirms() && !slot.confirm_planned {
            slot.confirm_planned = true;
            steps[1] = Some((random.between(confirm_ms.0, confirm_ms.1), Step::Confirm(number)));
        }
        for (in_ms, step) in steps.into_iter().flatten() {
            self.plan(in_ms, step);
        }
        if let Some((wake, since_ms)) = wake {
            let in_ms = self.machine.real_until(wake).saturating_sub(since_ms).max(1);
            self.plan_pass(number, in_ms);
        }
    }

    fn done_by(&mut self, number: usize, out: Out) {
        match out {
            Out::DoesNotFit(index) => {
                self.judge.broken(Invariant::EntryFitsTheRoom, || format!("entry {} was decided and does not fit", index.0));
            }
            Out::Broken(what) => {
                self.trace(|_| format!("server {number} breaks: {what}"));
                self.judge.broken(Invariant::ApplyTotal, || what);
                self.end_server(number);
                if number == self.front && !self.starting {
                    self.plan_start(1_000);
                }
            }
            Out::Durable(durable) => self.durable(number, &durable),
            Out::Ended => {
                self.trace(|_| format!("server {number} ends"));
                let leads = number == self.front;
                self.end_server(number);
                if leads && !self.starting {
                    let back = self.random.between(100, 5_000);
                    self.plan_start(back);
                }
            }
            Out::Fail(ticket, why) => self.fails(ticket, why),
            Out::Publish(answers) => {
                let mut signed = self.signs(number, &answers);
                for (ticket, answers) in answers {
                    let Some(Taken { sendings, .. }) = self.tickets.remove(&ticket.0) else { continue };
                    match answers {
                        Answers::One(answer) => {
                            if let Some(sending) = sendings.first() {
                                self.answer(number, sending, Ok(answer), false, signed.remove(&ticket.0));
                            }
                        }
                        Answers::Many(answers) => {
                            // Parts that had their answer when another server took over leave with those that will never have one.
                            let is_late = answers.iter().any(Result::is_err);
                            for (sending, answer) in sendings.iter().zip(answers) {
                                self.answer(number, sending, answer, is_late, None);
                            }
                        }
                    }
                }
            }
        }
    }

    fn fails(&mut self, ticket: Ticket, why: Why) {
        self.left_by_reset.extend(self.dropping.remove(&ticket.0));
        let Some(Taken { server: number, sendings, .. }) = self.tickets.remove(&ticket.0) else { return };
        for sending in &sendings {
            self.answer(number, sending, Err(why), false, None);
        }
    }

    fn durable(&mut self, number: usize, durable: &Durable) {
        let Durable { entry, bytes, checksum, decided_ms, full } = durable;
        self.report.entries += 1;
        self.report.grants += entry.events.iter().filter(|event| matches!(event, Event::Granted { .. })).count() as u64;
        self.fingerprint(checksum);
        self.trace(|_| format!("server {number}: entry {} at {}: {}", entry.index.0, entry.moment.at.0, facts(&entry.events)));
        let shown = self.shown(entry);
        let scene = Scene { clients: &self.clients, real_ms: self.real_ms };
        self.judge.entry(scene, &shown, *bytes, *decided_ms, *full);
        if self.wrong(Wrong::CommitsTwice) {
            self.judge.entry(scene, &shown, *bytes, *decided_ms, *full);
        }
        let Some(slot) = self.slots.get(&number) else { return };
        let recovered = entry.events.iter().any(|event| matches!(event, Event::Recovered { .. }));
        let moved = entry.events.iter().any(|event| {
            matches!(
                event,
                Event::ChargeMoved { .. }
                    | Event::EntitlementBegan { .. }
                    | Event::EntitlementEnded { .. }
                    | Event::LicenseInstalled { .. }
            )
        });
        if recovered {
            self.judge.deadlines(scene, slot.node.allocator(), entry.moment.at, Invariant::PromiseSurvivesRecovery);
        } else if moved {
            self.judge.deadlines(scene, slot.node.allocator(), entry.moment.at, Invariant::PromiseOnlyGrows);
        }
    }

    /// What a journal would show of an entry, if what is done wrong is in the journal.
    fn shown(&self, entry: &Arc<Entry>) -> Arc<Entry> {
        fn granted(events: &mut [Event]) -> impl Iterator<Item = &mut Vec<GrantedItem>> {
            events.iter_mut().filter_map(|event| if let Event::Granted { items, .. } = event { Some(items) } else { None })
        }
        let falsifies: fn(&mut Vec<Event>) = match self.done_wrong() {
            Wrong::ChargesLess => |events| {
                granted(events).flatten().for_each(|item| item.charges.clear());
            },
            Wrong::GivesBackForNobody => |events| {
                let released = events.iter().find_map(|event| match event {
                    Event::Granted { lease, items, .. } => {
                        Some(Event::Released { lease: *lease, cause: ReleaseCause::Holder, linger_until: None, items: items.clone() })
                    }
                    _ => None,
                });
                events.extend(released);
            },
            Wrong::GrantsInPart => |events| {
                granted(events).for_each(|items| items.truncate(1));
            },
            _ => return Arc::clone(entry),
        };
        let mut shown = Entry::clone(entry);
        falsifies(&mut shown.events);
        Arc::new(shown)
    }

    /// What is on the disk, read back.
    fn read_back(&self) -> MemoryJournal {
        let mut journal = self.disk.copy().open();
        let Head { lineage, epoch, index } = journal.head();
        let more = match self.done_wrong() {
            Wrong::ReplayFails => Event::Heard { lease: LeaseId([0; 16]) },
            Wrong::ReplayHasMore => Event::ClockMarked,
            _ => return journal,
        };
        if let Some(slot) = self.slots.get(&self.front) {
            let moment = slot.node.allocator().head_moment();
            let entry = Entry { lineage, epoch, index: Index(index.0 + 1), moment, events: vec![more] };
            let _ = journal.append(epoch, index, &encode_entry(&entry));
        }
        journal
    }

    /// Now and then the whole state is looked at.
    fn look_at_all(&mut self) {
        if self.report.entries < self.next_look {
            return;
        }
        let Some(slot) = self.slots.get(&self.front) else { return };
        if !slot.node.is_idle() {
            return;
        }
        self.next_look = self.report.entries + EACH.max(self.report.entries / 2);
        if self.judge.looks_at(Invariant::SeatsConserved) {
            self.judge.numbers(slot.node.allocator());
        }
        if !self.judge.looks_at(Invariant::HardStateEqual) && !self.judge.looks_at(Invariant::ApplyTotal) {
            return;
        }
        let live: Vec<_> = encode_snapshot(slot.node.allocator().snapshot()).collect();
        match load(&mut self.read_back(), self.rules()) {
            Err(error) => self.judge.broken(Invariant::ApplyTotal, || error.to_string()),
            Ok(replayed) => {
                if live != encode_snapshot(replayed.snapshot()).collect::<Vec<_>>() {
                    let found = triquest_allocator::invariants::hard_state_equal(slot.node.allocator(), &replayed);
                    self.judge.broken(Invariant::HardStateEqual, || found.err().unwrap_or_default());
                }
            }
        }
    }

    /// Each so-many-eth grant is signed, with all others of its tree.
    fn signs(&mut self, number: usize, answers: &[(Ticket, Answers)]) -> BTreeMap<u64, SignedGrant> {
        let mut signed = BTreeMap::new();
        let with_nonce = !self.wrong(Wrong::SignsForNobody);
        let Some(instance) = self.slots.get(&number).map(|slot| slot.instance) else { return signed };
        let mut granted: Vec<(u64, &Sending, &Grant, TreePlace)> = Vec::new();
        for (ticket, answers) in answers {
            if let (Answers::One(Answer { outcome: Outcome::Granted(grant), position, .. }), Some(Taken { sendings, .. })) =
                (answers, self.tickets.get(&ticket.0))
                && let Some(sending) = sendings.first()
            {
                let at = TreePlace { lineage: position.lineage, epoch: position.epoch, index: position.index };
                granted.push((ticket.0, sending, grant, at));
            }
        }
        for (ticket, _, grant, at) in &granted {
            self.grants_told += 1;
            if self.grants_told % EACH != 1 {
                continue;
            }
            let new = granted_in(grant, *at);
            // New ones share a tree, and so do those that are told again at one place.
            let leaves = granted.iter().filter(|(_, _, grant, there)| there == at && granted_in(grant, *at) == new);
            let which = leaves.clone().position(|(other, ..)| other == ticket).unwrap_or_default();
            let leaves: Vec<_> = leaves.map(|(_, sending, grant, _)| (*sending, *grant)).collect();
            signed.extend(self.office.sign(instance, &leaves, which, *at, with_nonce).map(|signed| (*ticket, signed)));
        }
        signed
    }

    /// Each so-many-eth answer of a kind goes through its bytes, and is what its client would have been told without them.
    fn goes_through(&mut self, telling: &Telling<'_>, outcome: &Outcome, told: &Told) {
        let kind = match outcome {
            Outcome::Granted(_) => telling.signed.map_or(1, |_| 0),
            Outcome::Denied(_) => 2,
            Outcome::Ended { .. } => 3,
            Outcome::Waiting { .. } => 4,
            _ => 5,
        };
        self.answers_told[kind] += 1;
        if kind == 1 || kind != 0 && self.answers_told[kind] % EACH != 1 {
            return;
        }
        match self.office.told(telling, outcome) {
            Err(what) => self.judge.broken(Invariant::ToldAsDecided, || format!("{}: {what}", telling.sending.lease)),
            Ok(Some(read)) => {
                let mut told = told.clone();
                if let Told::Granted(terms) = &mut told {
                    // Only the time to live is signed.
                    terms.remaining_ms = terms.remaining_ms.min(terms.ttl_ms);
                }
                if read != told {
                    self.judge
                        .broken(Invariant::ToldAsDecided, || format!("{}: {read:?} is read, {told:?} was decided", telling.sending.lease));
                }
            }
            Ok(None) => {}
        }
    }

    fn answer(&mut self, number: usize, sending: &Sending, answer: Result<Answer, Why>, is_late: bool, signed: Option<SignedGrant>) {
        if let Some(at) = sending.passed_at {
            self.judge.lies_no_more(sending.lease, at, sending.asks.renewal());
        }
        let delay = self.latency();
        let cut_off = self.real_ms < self.clients[sending.client as usize].cut_off_until_ms;
        let lost = cut_off || self.plan.wire.lost > 0 && self.random.chance(self.plan.wire.lost);
        let (told, seen, shown) = match answer {
            Err(why) => {
                // Only who leads knows what is known.
                let node = self.slots.get(&number).map(|slot| &slot.node);
                let full = matches!(why, Why::DiskFull(_)) && node.is_some_and(|node| node.owes_an_answer_about(sending.lease));
                if let Some(node) = node.filter(|_| number == self.front && matches!(why, Why::DiskFull(_) | Why::Overloaded(_))) {
                    self.judge.asks_in_vain(sending, node.at());
                }
                self.judge.refused(sending, why.took_effect() == TookEffect::No, full, number == self.front);
                self.trace(|_| format!("{} ({:?}): {why:?}", sending.lease, sending.asks));
                self.fingerprint(&[0xff]);
                (Told::Refused { code: refusal_of(why), retry_after_ms: None }, None, None)
            }
            Ok(Answer { mut outcome, position, pass, moment }) => {
                let leads = number == self.front;
                self.spoils(sending, &mut outcome);
                let ago_ms = self.slots.get(&number).map_or(0, |slot| slot.node.at().since_ms(moment.at));
                match &outcome {
                    Outcome::Renewed { remaining_ms, .. } => self.judge.hears(sending.lease, moment.at, ago_ms, *remaining_ms, leads),
                    Outcome::Granted(grant) => self.judge.hears(sending.lease, moment.at, ago_ms, grant.remaining_ms, leads),
                    _ => {}
                }
                if let Some(slot) = self.slots.get(&number).filter(|_| leads) {
                    self.judge.keeps(sending.lease, slot.node.allocator());
                }
                let seen = Seen { lineage: position.lineage, epoch: position.epoch, index: position.index };
                if leads && matches!(&outcome, Outcome::Refused(refusal) if matches!(refusal.itself(), Refusal::TooManyIds { .. })) {
                    self.judge.refuses_an_id(sending.lease, network_of(sending.client), seen);
                }
                self.trace(|_| format!("{} ({:?}) at {}, pass {}: {}", sending.lease, sending.asks, seen.index.0, pass.0, brief(&outcome)));
                self.fingerprint(&pass.0.to_le_bytes());
                self.judge.answer(Scene { clients: &self.clients, real_ms: self.real_ms }, sending, &outcome, seen, is_late);
                let client = &self.clients[sending.client as usize];
                if client.left_ms(sending.lease, self.real_ms).is_some() && !matches!(sending.asks, Asks::Release) {
                    self.judge.comes_back(sending.client as usize, sending.lease);
                }
                let place = Place { lineage: 0, epoch: seen.epoch.0, pass: pass.0, index: seen.index.0, turn: 0 };
                self.judge.reaches(sending, &outcome, place, self.real_ms);
                let Some(told) = self.told(sending, &outcome) else { return };
                let client = &self.clients[sending.client as usize];
                let (keys, items) = (client.plan.keys.clone(), client.plan.items.clone());
                let at = TreePlace { lineage: seen.lineage, epoch: seen.epoch, index: seen.index };
                let instance = self.slots.get(&number).map(|slot| slot.instance).unwrap_or_default();
                let (at_ms, wall_ms) = (moment.at.0, moment.wall_ms);
                let telling = Telling { sending, at, keys: &keys, items: &items, at_ms, wall_ms, instance, signed: signed.as_ref() };
                self.goes_through(&telling, &outcome, &told);
                let shown = match &outcome {
                    Outcome::Granted(grant) => {
                        let mut shown = Shown::of(sending.lease, grant, seen, self.slots.get(&number).map(|slot| slot.instance));
                        shown.signed_grant = signed.map(Arc::new);
                        Some(shown)
                    }
                    _ => None,
                };
                if self.wrong(Wrong::SendsAway) && shown.is_some() {
                    let told = Told::Refused { code: ErrorCode::Forbidden, retry_after_ms: None };
                    (told, Some(seen), None)
                } else {
                    (told, Some(seen), shown)
                }
            }
        };
        if !lost {
            let Sending { client, life, call, .. } = *sending;
            self.plan(delay, Step::Reach(Box::new(Reach { client, life, call, told, about: Some((*sending, seen, shown)) })));
        }
    }

    /// A repeat that is answered wrongly on purpose.
    fn spoils(&self, sending: &Sending, outcome: &mut Outcome) {
        let (Asks::Adopt(attempt) | Asks::Checkout(attempt)) = sending.asks else { return };
        match outcome {
            Outcome::Denied(denial) if self.wrong(Wrong::RepeatsAnswerAnew) && self.judge.has_answered(sending.lease, attempt) => {
                denial.pool.free += 1;
            }
            Outcome::Granted(grant) if grant.granted_in.is_some() => {
                if self.wrong(Wrong::RepeatsAnswerAnew) {
                    grant.items.iter_mut().for_each(|item| item.seats += 1);
                }
                if self.wrong(Wrong::RepeatsPromiseMore) {
                    grant.remaining_ms += grant.ttl_ms / 16;
                }
            }
            _ => {}
        }
    }

    fn told(&self, sending: &Sending, outcome: &Outcome) -> Option<Told> {
        Some(match outcome {
            Outcome::Denied(denial) => Told::Denied { code: denial_code(denial.code), over_in_ms: denial.first_due_ms },
            Outcome::Ended { reason, remaining_ms } => Told::Ended { reason: end_reason(*reason), remaining_ms: *remaining_ms },
            Outcome::Granted(grant) => {
                let rights = grant.items.iter().flat_map(|item| &item.from).filter_map(|(license, position, _)| {
                    self.issued.get(license)?.license.terms().entitlements.get(usize::from(*position))?.expires
                });
                Told::Granted(Terms {
                    remaining_ms: grant.remaining_ms,
                    ttl_ms: grant.ttl_ms,
                    grace_ms: grant.grace_ms,
                    entitled_until_ms: rights.map(|expires| expires.0).min(),
                })
            }
            Outcome::Refused(refusal) => {
                let retry_after_ms =
                    if let Refusal::TooManyIds { retry_after_ms } = refusal.itself() { Some(*retry_after_ms) } else { None };
                Told::Refused { code: error_code(refusal), retry_after_ms }
            }
            Outcome::Released { .. } => Told::Released,
            Outcome::Renewed { remaining_ms, regrant } => {
                let Asks::Renew(counter, nonce) = sending.asks else { return None };
                Told::Renewed { counter, nonce, remaining_ms: *remaining_ms, regrant: *regrant }
            }
            Outcome::Waiting { place, .. } => Told::Waiting { place: *place },
            _ => return None,
        })
    }

    // ---- what happens from outside

    fn trouble(&mut self) {
        let pause = self.random.between(self.plan.fault_every_ms.0, self.plan.fault_every_ms.1);
        self.plan(pause, Step::Trouble);
        let sum: u64 = self.plan.weights.iter().map(|(_, weight)| weight).sum();
        let mut at = self.random.below(sum);
        let fault = self.plan.weights.iter().find(|(_, weight)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        if let Some((fault, _)) = fault
            && let Some(act) = self.draw(*fault)
        {
            self.act(act);
        }
    }

    fn draw(&mut self, fault: Fault) -> Option<Act> {
        let ttl_ms = self.plan.ttl_ms;
        let random = &mut self.random;
        let client = u32::try_from(random.below(self.clients.len() as u64)).expect("few clients");
        let back = random.between(50, ttl_ms / 2);
        Some(match fault {
            Fault::EndQuarantine => Act::EndQuarantine,
            Fault::AcceptClock => Act::AcceptClock,
            Fault::Backup => Act::Backup,
            Fault::ClientClock => {
                let span = 2 * ttl_ms;
                Act::StepClient(client, i64::try_from(random.below(2 * span)).expect("short") - i64::try_from(span).expect("short"))
            }
            Fault::CutOff => Act::CutOff(client, random.between(1_000, 3 * ttl_ms)),
            Fault::Die => Act::Die(client, random.chance(700).then(|| random.between(100, 3 * ttl_ms))),
            Fault::DiskFull => Act::DiskFull(random.between(1_000, 4 * ttl_ms)),
            Fault::FalseFin => Act::FalseFin(client),
            Fault::Fenced => Act::Fault(DiskFault::Fenced),
            Fault::Install => Act::Install(usize::try_from(random.below(self.plan.licenses.len() as u64)).expect("few")),
            Fault::Kill => Act::Kill(back),
            Fault::KillDurable => Act::KillDurable(back, u32::try_from(random.below(4)).expect("few")),
            Fault::Pause => Act::Pause(client, random.between(1_000, 4 * ttl_ms)),
            Fault::PresenceUnseen if client.is_multiple_of(2) => Act::PresenceDrop(client),
            Fault::PresenceUnseen => Act::PresenceUnseen(client),
            Fault::Reclaim => Act::Reclaim(client, random.chance(300)),
            Fault::Remove => Act::Remove(usize::try_from(random.below(self.plan.licenses.len() as u64)).expect("few")),
            Fault::Restore => Act::Restore,
            Fault::Rollback => Act::Rollback,
            Fault::ServerClock => {
                let span = match random.below(3) {
                    0 => 5 * 365 * 86_400_000,
                    1 => 86_400_000,
                    _ => 600_000,
                };
                let by = i64::try_from(random.below(2 * span)).expect("short") - i64::try_from(span).expect("short");
                Act::StepServer(by, random.chance(300))
            }
            Fault::Sleep => Act::Sleep(client, random.between(1_000, 4 * ttl_ms)),
            Fault::Snapshot => Act::Snapshot,
            Fault::Stall => {
                let (ms, at_once) = (random.between(100, 3 * ttl_ms), random.chance(600));
                if self.plan.stalls_the_disk { Act::DiskHangs(ms) } else { Act::Stall(ms, at_once) }
            }
            Fault::Stop => Act::Stop,
            Fault::TakeOver => Act::TakeOver,
            Fault::UnknownCommitted => Act::Fault(DiskFault::UnknownCommitted),
            Fault::UnknownLost => Act::Fault(DiskFault::UnknownLost),
        })
    }

    fn act(&mut self, act: Act) {
        self.trace(|_| format!("--- {act:?}"));
        match act {
            Act::AcceptClock => self.local(0, Command::AcceptClock { actor: administrator() }, None),
            Act::Backup => {
                // A backup is made by a server that has begun, so there is a history to be lost.
                if self.judge.ledger.index > Index(1) {
                    self.backup = Some(Backup { disk: self.disk.copy(), ledger: self.judge.ledger.clone() });
                }
            }
            Act::Begin(client) => {
                self.clients[client as usize].gone = false;
                self.live(client);
            }
            Act::Clone(of, client) => self.clone_client(of as usize, client as usize),
            Act::CutOff(client, ms) => self.clients[client as usize].cut_off_until_ms = self.real_ms + ms,
            Act::Die(client, back_ms) => {
                self.die(client);
                self.clients[client as usize].gone = back_ms.is_none();
                if let Some(back_ms) = back_ms {
                    self.plan(back_ms, Step::Life(client));
                }
            }
            Act::DiskHangs(ms) => self.hangs_until_ms = self.hangs_until_ms.max(self.real_ms + ms),
            Act::DiskFull(ms) => {
                self.disk.leave_room_bytes(self.plan.room_bytes, self.plan.quota);
                self.full_until_ms = self.real_ms + ms;
                self.plan(ms, Step::RoomAgain);
            }
            Act::Done(client) => {
                let life = self.clients[client as usize].life;
                self.done(client, life);
            }
            Act::EndQuarantine => {
                let lineage = self.judge.ledger.lineage;
                self.judge.looks_at_quarantine(lineage);
                self.local(0, Command::EndQuarantine { lineage, actor: administrator() }, None);
            }
            Act::FalseFin(client) => {
                let this = &self.clients[client as usize];
                let leases: Vec<_> = this.ids().collect();
                let (life, between) = (this.life, between_now(&this.plan, self.unnamings));
                if let Some((generation, to)) = this.standing.last().copied() {
                    // Behind a proxy early freeing is off, so no such end may free.
                    if between != Between::Something {
                        self.judge.false_end(client as usize);
                    }
                    self.presence_ends(1, to, client, &leases, generation);
                    // It sees the end too, and comes back; or what stands between tells the server alone, and it goes on renewing.
                    if between == Between::Named && self.random.chance(700) {
                        let back = self.random.between(10, 12_000);
                        self.plan(back, Step::Reopens(client, life));
                    }
                }
            }
            Act::Fault(fault) => {
                if let Some(slot) = self.slots.get_mut(&self.front) {
                    slot.node.inject(fault);
                }
            }
            Act::Unname => {
                self.unnamings += 1;
                // Every server that runs reads it; one that starts later has never heard of that network.
                for number in self.slots.keys().copied().collect::<Vec<_>>() {
                    let asked = Command::PresenceUnnamed { unnamings: self.unnamings }.into();
                    let arrival = Arrival { sendings: Vec::new(), asked, hold_ms: 0, from: None, to: Some(number) };
                    self.plan(0, Step::Arrive(Box::new(arrival)));
                }
            }
            Act::Install(number) => {
                let license = Box::new(self.plan.licenses[number].license.clone());
                self.local(0, Command::Install(InstallLicense { license, actor: administrator() }), None);
            }
            Act::Kill(back_ms) => self.kill(back_ms),
            Act::KillDurable(back_ms, silent) => self.kill_at_durable = Some((back_ms, silent)),
            Act::Pause(client, ms) => {
                let this = &mut self.clients[client as usize];
                if this.plan.virtual_machine && self.real_ms >= this.asleep_until_ms {
                    this.asleep_until_ms = self.real_ms + ms;
                    this.machine.lose_boot(ms);
                }
            }
            Act::PresenceDrop(client) => self.drops_presence(client),
            Act::PresenceFull(client, ms, is_known) => {
                let this = &mut self.clients[client as usize];
                (this.full_until_ms, this.full_is_known) = (self.real_ms + ms, is_known);
            }
            Act::PresenceReopens(client) => {
                let life = self.clients[client as usize].life;
                self.reopens(client, life);
            }
            Act::PresenceUnseen(client) => self.clients[client as usize].opening_unseen = true,
            Act::Reclaim(client, now) => {
                let this = &self.clients[client as usize];
                if let Some(lease) = this.ids().filter(|lease| self.judge.ledger.leases.contains_key(lease)).last() {
                    self.judge.reclaims(lease, now);
                    self.local(0, Command::Reclaim { lease, now, actor: administrator() }, None);
                }
            }
            Act::Remove(number) => {
                let license = self.plan.licenses[number].license.hash();
                self.local(0, Command::Remove { license, actor: administrator() }, None);
            }
            Act::Restore => self.loses_history(true),
            Act::Rollback => self.loses_history(false),
            Act::Show(client) => {
                let next_lineage = Lineage(self.random.bytes());
                let this = &self.clients[client as usize];
                if let Some(shown) = this.kept.clone() {
                    let (life, sent_ms) = (this.life, self.real_ms);
                    let asks = Asks::Adopt(1);
                    self.judge.sent(&Sending { client, life, call: 0, lease: shown.lease, asks, sent_ms, passed_at: None });
                    let adopt = Command::Adopt {
                        lease: shown.lease,
                        attempt: 1,
                        content: this.content,
                        holder: this.holder.clone(),
                        vendor_keys: this.vendor_keys.clone(),
                        items: this.plan.items.clone(),
                        ttl_ms: this.plan.ttl_ms,
                        wait_ms: None,
                        network: None,
                        regained: false,
                        accepts: Default::default(),
                        shown: Box::new(shown.as_told()),
                        next_lineage,
                    };
                    self.local(1, adopt, Some(client));
                }
            }
            Act::Sleep(client, ms) => self.clients[client as usize].asleep_until_ms = self.real_ms + ms,
            Act::Snapshot => {
                let (rules, keep) = (self.rules(), self.random.below(20));
                if let Some(slot) = self.slots.get_mut(&self.front)
                    && let Err(what) = slot.node.snapshot(rules, keep)
                {
                    self.judge.broken(Invariant::ApplyTotal, || what);
                }
            }
            Act::Stall(ms, counts) => {
                if self.real_ms >= self.stalled_until_ms {
                    self.stalled_until_ms = self.real_ms + ms;
                    if !counts {
                        self.machine.lose_boot(ms);
                    }
                }
            }
            Act::StepClient(client, by_ms) => {
                let this = &mut self.clients[client as usize];
                if !this.plan.virtual_machine {
                    this.machine.step_wall(by_ms);
                }
            }
            Act::StepServer(by_ms, synchronized) => {
                self.machine.step_wall(by_ms);
                self.machine.synchronized = synchronized;
            }
            Act::Stop => {
                if let Some(slot) = self.slots.get_mut(&self.front) {
                    slot.node.report(Input::Stop);
                    self.plan_pass(self.front, 0);
                    self.settle(self.front);
                }
            }
            Act::TakeOver => {
                if self.slots.contains_key(&self.front) && self.slots.len() < 3 && self.real_ms >= self.stalled_until_ms {
                    self.start();
                }
            }
        }
    }

    /// A copied machine: two processes go on with one lease. Only what each is told from now on counts.
    fn clone_client(&mut self, of: usize, client: usize) {
        let original = &mut self.clients[of];
        let Some(keeper) = original.keeper.clone().filter(|keeper| keeper.under_way().is_none()) else { return };
        original.right_of = None;
        let (machine, copy) = (original.machine.clone(), original.copy_ids());
        let this = &mut self.clients[client];
        this.machine = machine;
        this.begin(keeper);
        this.take_ids(copy);
        let client = u32::try_from(client).expect("few clients");
        self.drive(client, Keeper::on_time);
    }

    fn plan_start(&mut self, in_ms: u64) {
        self.starting = true;
        self.plan(in_ms, Step::Start);
    }

    fn end_server(&mut self, number: usize) {
        if self.slots.remove(&number).is_none() {
            return;
        }
        let gone: Vec<u64> = self.tickets.iter().filter(|(_, taken)| taken.server == number).map(|(ticket, _)| *ticket).collect();
        for ticket in gone {
            if let Some(Taken { sendings, .. }) = self.tickets.remove(&ticket)
                && self.random.chance(500)
            {
                self.unreachable(&sendings);
            }
        }
        if number == self.front {
            self.judge.server_ended();
        }
    }

    fn kill(&mut self, back_ms: u64) {
        let numbers: Vec<usize> = self.slots.keys().copied().collect();
        for number in numbers {
            self.end_server(number);
        }
        self.stalled_until_ms = 0;
        self.kill_at_durable = None;
        if !self.starting {
            self.plan_start(back_ms);
        }
    }

    /// Whoever an entry speaks of is not heard for a long time.
    fn fall_silent(&mut self, durable: &Durable) {
        let Some((_, silent)) = self.kill_at_durable else { return };
        let ms = 4 * self.plan.ttl_ms;
        let of = |event: &Event| match event {
            Event::Granted { lease, .. }
            | Event::Heard { lease }
            | Event::Queued { lease, .. }
            | Event::TtlLowered { lease, .. }
            | Event::TtlRaised { lease, .. } => Some(crate::client::client_of(*lease)),
            _ => None,
        };
        let clients: Vec<usize> = durable.entry.events.iter().filter_map(of).take(silent as usize).collect();
        for client in clients {
            if let Some(client) = self.clients.get_mut(client) {
                client.cut_off_until_ms = self.real_ms + ms;
            }
        }
    }

    fn loses_history(&mut self, known: bool) {
        let Some(backup) = &self.backup else { return };
        let (disk, ledger) = (backup.disk.copy(), backup.ledger.clone());
        self.kill(1_000);
        self.report.losses += 1;
        if known {
            disk.begin_lineage(Lineage(self.random.bytes()));
        }
        self.disk = disk;
        let until_ms = self.real_ms + self.plan.ttl_max_ms + self.plan.ttl_max_ms / 32 + 1_000;
        self.judge.loses_history(ledger, until_ms, known, Scene { clients: &self.clients, real_ms: self.real_ms });
        if let Some(accepts_ms) = self.plan.accepts_after_ms {
            self.plan(accepts_ms, Step::Act(Act::EndQuarantine));
        }
    }

    fn room_again(&mut self) {
        if self.real_ms < self.full_until_ms {
            return;
        }
        self.disk.set_room_bytes(None);
        let numbers: Vec<usize> = self.slots.keys().copied().collect();
        for number in numbers {
            if let Some(slot) = self.slots.get_mut(&number) {
                slot.node.look();
            }
            self.plan_pass(number, 0);
            self.settle(number);
        }
    }

    /// A server that has nothing left to do has answered whatever it took, but for what it may still hold.
    fn all_come_back(&mut self, number: usize) {
        let Some(slot) = self.slots.get(&number).filter(|slot| !self.tickets.is_empty() && slot.node.has_done_all()) else { return };
        let passed_ms = self.machine.boot_ms(slot.last_pass_ms);
        let lost = self.tickets.iter().find(|(_, taken)| taken.server == number && taken.held_until_ms < passed_ms);
        if let Some((ticket, taken)) = lost {
            self.judge.broken(Invariant::EveryRequestComesBack, || {
                format!("server {number} has nothing left to do and has not answered {:?} of ticket {ticket}", taken.sendings)
            });
        }
    }

    fn tick(&mut self) {
        let pause = (self.plan.ttl_ms / 4).clamp(2_000, 20_000);
        self.plan(pause, Step::Tick);
        self.look_at_all();
        let up = self.slots.get(&self.front).is_some_and(|slot| slot.node.has_room());
        if up {
            self.judge.tick(Scene { clients: &self.clients, real_ms: self.real_ms });
        }
    }
}

/// What the server finds between the ends of a presence connection that a client opens now: no network is named after one was taken out.
fn between_now(client: &ClientPlan, unnamings: u64) -> Between {
    match client.between() {
        Between::Named if unnamings > 0 => Between::Something,
        between => between,
    }
}

/// Four clients share an address.
fn network_of(client: u32) -> Network {
    let [_, b, c, d] = client.to_be_bytes();
    Network::V4([10, b, c, d / 4])
}

fn new_disk(lineage: Lineage, reserve_bytes: usize) -> MemoryDisk {
    let disk = MemoryDisk::new(lineage);
    disk.set_reserve_bytes(reserve_bytes);
    disk
}

fn administrator() -> Actor {
    Actor { name: "unix:root".to_owned(), reason: "simulated".to_owned() }
}

fn facts(events: &[Event]) -> String {
    let mut text: Vec<String> = events
        .iter()
        .take(12)
        .map(|event| {
            let mut fact = format!("{event:?}");
            if let Some(cut) = fact.char_indices().nth(220).map(|(at, _)| at) {
                fact.truncate(cut);
            }
            fact
        })
        .collect();
    if events.len() > 12 {
        text.push(format!("and {} more", events.len() - 12));
    }
    text.join("; ")
}

fn brief(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Granted(grant) => format!("granted, {} of {} ms", grant.remaining_ms, grant.ttl_ms),
        Outcome::Denied(denial) => format!("denied, {:?}", denial.code),
        other => format!("{other:?}"),
    }
}

fn refusal_of(why: Why) -> ErrorCode {
    match why {
        Why::DiskFull(TookEffect::No) => ErrorCode::DiskFull,
        Why::Overloaded(TookEffect::No) | Why::Stopping(TookEffect::No) | Why::Gone => ErrorCode::Overloaded,
        Why::DiskFull(TookEffect::Unknown) | Why::Overloaded(TookEffect::Unknown) | Why::Stopping(TookEffect::Unknown) | Why::Unknown => {
            ErrorCode::OutcomeUnknown
        }
    }
}

/// Whether a refusal speaks of two programs with one lease.
trait SpeaksOfClones {
    fn speaks_of_clones(&self) -> bool;
}

impl SpeaksOfClones for ErrorCode {
    fn speaks_of_clones(&self) -> bool {
        matches!(self, Self::ClonedClient | Self::StaleCounter | Self::IdTaken)
    }
}

/// The wire's word for a code of the core, by its name: both lists are kept the same by the server's own tests.
fn by_name<T: serde_json_name::FromName>(name: impl std::fmt::Debug) -> T {
    T::from_name(&format!("{name:?}"))
}

mod serde_json_name {
    use triquest_wire::lease::{DenialCode, EndReason};

    pub(super) trait FromName {
        fn from_name(name: &str) -> Self;
    }

    fn snake(name: &str) -> String {
        let mut text = String::from("\"");
        for (at, letter) in name.char_indices() {
            if letter.is_ascii_uppercase() && at > 0 {
                text.push('_');
            }
            text.push(letter.to_ascii_lowercase());
        }
        text + "\""
    }

    impl FromName for DenialCode {
        fn from_name(name: &str) -> Self {
            serde_json::from_str(&snake(name)).expect("the wire has every code of the core")
        }
    }

    impl FromName for EndReason {
        fn from_name(name: &str) -> Self {
            serde_json::from_str(&snake(name)).expect("the wire has every reason of the core")
        }
    }
}

/// The wire's word for a denial.
pub(crate) fn denial_code(code: CoreDenial) -> DenialCode {
    by_name(code)
}

/// The wire's word for an end.
pub(crate) fn end_reason(reason: CoreEnd) -> EndReason {
    by_name(reason)
}

fn error_code(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::ClonedClient => ErrorCode::ClonedClient,
        Refusal::HadEffect(refusal) => error_code(refusal),
        Refusal::OtherHistory => ErrorCode::OtherHistory,
        Refusal::IdTaken => ErrorCode::IdTaken,
        Refusal::StaleAttempt { .. } => ErrorCode::StaleAttempt,
        Refusal::StaleCounter => ErrorCode::StaleCounter,
        Refusal::UnknownLease => ErrorCode::UnknownLease,
        Refusal::LicenseUnknown(_) => ErrorCode::LicenseUnknown,
        Refusal::NothingToDo(_) => ErrorCode::NothingToDo,
        Refusal::LimitReached(_) => ErrorCode::LimitReached,
        Refusal::TooManyIds { .. } => ErrorCode::TooManyIds,
        _ => ErrorCode::BadRequest,
    }
}
