//! The world: machines, wire, faults, and the order in which things happen, all from one seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use triquest_allocator::{
    Actor, CheckoutItem, ClockReading, Command, ContentDigest, EndReason, Event, Holder, InstallLicense, LeaseId, Lineage, Outcome, PoolId,
    Refusal, Safeguards,
};
use triquest_client::keeper::{Action, Answer as Told, Fresh, Keeper, Notice, Now, Terms};
use triquest_journal::{
    History,
    memory::{Fault, MemoryDisk, MemoryJournal},
    record::{decode_entry, encode_snapshot},
};
use triquest_license::{Note, Signer, SigningKey, VerifiedLicense};
use triquest_wire::{ErrorCode, lease::DenialCode};

use crate::{
    checks::{Answers, Broken, Ledger, broken},
    clock::{DRIFT_MAX_PER_MILLION, MachineClock},
    random::Random,
    server::{Answer, Committed, Process},
};

/// Civil time at the simulation's start: 2026-11-23 00:00 UTC.
const WALL_START_MS: i64 = 1_795_392_000_000;
/// Time to live in the simulated licenses.
const TTL_MS: u64 = 30_000;
/// A restored server must wait for the longest time to live that was granted.
const RESTORE_AT_LEAST_MS: u64 = 120_000;

/// A rule switched off or broken, to show that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// The server answers before the entry is durable.
    AnswerBeforeDurable,
    /// Charges stay where they are when their entitlement ends.
    ChargesStay,
    /// A restarted server does not know how far lease time had come.
    ClockUnmarked,
    /// Deadlines are not extended when a server recovers.
    NoExtensionAtRecovery,
    /// The client makes no allowance for drift.
    NoDriftAllowance,
    /// A grant may exceed the pool.
    GrantPastTotal,
    /// First renewals in an epoch stay soft.
    HeardIsSoft,
    /// An ending lease's seats are free at once.
    EndingFreesAtOnce,
    /// The client counts its right from the answer, not from the request.
    RightFromAnswer,
    /// Lease time jumps over a stall.
    StallCounts,
    /// After a restore the server grants at once.
    NoQuarantine,
    /// A newcomer may pass the line.
    QueuePassed,
    /// An id released before it was known may still grant.
    LateCheckoutGrants,
    /// An id that ended may grant again.
    EndedIdGrants,
    /// A lower attempt is decided.
    AttemptsUnordered,
    /// Any presence connection's end frees seats.
    OldPresenceCounts,
}

/// All mutations, for the meta test.
pub const ALL_MUTATIONS: &[Mutation] = &[
    Mutation::AnswerBeforeDurable,
    Mutation::ClockUnmarked,
    Mutation::NoExtensionAtRecovery,
    Mutation::NoDriftAllowance,
    Mutation::GrantPastTotal,
    Mutation::HeardIsSoft,
    Mutation::EndingFreesAtOnce,
    Mutation::RightFromAnswer,
    Mutation::StallCounts,
    Mutation::NoQuarantine,
    Mutation::QueuePassed,
    Mutation::LateCheckoutGrants,
    Mutation::EndedIdGrants,
    Mutation::OldPresenceCounts,
];

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Everything follows from it.
    pub seed: u64,
    /// Simulated real time, milliseconds.
    pub duration_ms: u64,
    /// At most so many steps.
    pub steps_max: u64,
    /// A rule to break.
    pub mutation: Option<Mutation>,
}

/// What a run saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Steps taken.
    pub steps: u64,
    /// Committed entries.
    pub entries: u64,
    /// Grants committed.
    pub grants: u64,
    /// Denials committed.
    pub denials: u64,
    /// Crashes of the server.
    pub crashes: u64,
    /// Restores of an old backup.
    pub restores: u64,
    /// FNV-1a over every committed byte and every answer: the same seed gives the same.
    pub fingerprint: u64,
    /// The first broken invariant with the step at which it broke.
    pub broken: Option<(u64, Broken)>,
    /// The last steps before the end, for people.
    pub trace: Vec<String>,
}

#[derive(Debug)]
enum Step {
    /// A client looks at its clock.
    Look(usize, u64),
    /// A request reaches the server.
    Arrive(u64, Box<Command>),
    /// An answer reaches a client's present process.
    Reach { client: usize, life: u64, call: u64, told: Told },
    /// The driver makes a pass.
    Pass,
    /// The disk takes an entry.
    Append,
    /// A fault, drawn when it happens.
    Trouble,
    /// The server starts.
    Start,
    /// A client's process ends, or one begins.
    Life(usize),
    /// The user of a client is done.
    Done(usize, u64),
}

#[derive(Debug)]
struct Ticket {
    client: usize,
    life: u64,
    call: u64,
    lease: LeaseId,
    attempt: Option<u32>,
    /// A renewal's counter and nonce, which its answer repeats.
    renewal: Option<(u64, [u8; 16])>,
}

#[derive(Debug)]
struct Client {
    clock: MachineClock,
    keeper: Option<Keeper>,
    /// Counts its processes; answers to an earlier one go nowhere.
    life: u64,
    /// Lease ids by the keeper's number.
    ids: BTreeMap<u32, LeaseId>,
    items: Vec<CheckoutItem>,
    cut_off_until: u64,
    /// Looks at its clock are late until then (a suspended laptop).
    asleep_until: u64,
    presence: bool,
    generation: u64,
}

struct World {
    random: Random,
    scenario: Scenario,
    real_ms: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    steps: Vec<Option<Step>>,
    free_slots: Vec<usize>,
    disk: MemoryDisk,
    lineage: Lineage,
    backup: Option<(u64, MemoryDisk)>,
    journal: Option<MemoryJournal>,
    server: Option<Process>,
    server_clock: MachineClock,
    /// A stalled server makes no pass before then.
    stalled_until: u64,
    pass_planned: bool,
    last_pass_ms: Option<u64>,
    append_planned: bool,
    tickets: BTreeMap<u64, Ticket>,
    crash_loop: bool,
    clients: Vec<Client>,
    ledger: Ledger,
    answers: Answers,
    /// What a restored server's lost history had recorded, by pool: its promises run on until they end.
    lost: BTreeMap<PoolId, u32>,
    /// Leases that an old backup brought back.
    restored: BTreeSet<LeaseId>,
    restoring: bool,
    /// The head of the line for whom there are seats, and the up-time since which it is so.
    head: Option<(LeaseId, u64)>,
    licenses: Vec<VerifiedLicense>,
    installed: usize,
    report: Report,
}

/// Runs one scenario to its end or to the first broken invariant.
#[must_use]
pub fn simulate(scenario: Scenario) -> Report {
    let mut world = World::new(scenario);
    let outcome = world.run();
    if let Err(what) = outcome {
        world.report.broken = Some((world.report.steps, what));
    }
    world.report
}

fn license(number: u32, seed: u64, entitlements: &str, replaces: &str) -> VerifiedLicense {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let signer = Signer::new("sim.example".parse().expect("a good name"), SigningKey::from_seed(key));
    let text = format!(
        "format = \"triquest-lm/v1/license\"\nlicense = \"SIM-{number}\"\nvendor = \"sim.example\"\nverifier = [\"{}\"]\n\
         licensee = \"Simulated\"\nissued = 2026-11-01\nservers = \"any\"\n{replaces}{entitlements}",
        signer.verifier_key()
    );
    let note = Note::sign(&text, &[signer]).expect("the simulation's license text is well formed");
    VerifiedLicense::verify_named(&note).expect("the simulation signs its own licenses")
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let lineage = Lineage(random.bytes());
        let drift = |random: &mut Random| {
            let span = u64::try_from(2 * DRIFT_MAX_PER_MILLION).expect("positive");
            // Extremes break rules that the middle hides.
            match random.below(3) {
                0 => -DRIFT_MAX_PER_MILLION,
                1 => DRIFT_MAX_PER_MILLION,
                _ => i64::try_from(random.below(span)).expect("small") - DRIFT_MAX_PER_MILLION,
            }
        };
        let seats = random.between(1, 3);
        let linger = if random.chance(300) { "linger = \"20s\"\n" } else { "" };
        let terms = format!("ttl = \"30s\"\nttl_max = \"2min\"\n{linger}");
        let seed = scenario.seed;
        let licenses = vec![
            license(
                1,
                seed,
                &format!(
                    "[[entitlement]]\nfeature = \"cad\"\nseats = {seats}\nexpires = 2027-12-31\n{terms}\
                     [[entitlement]]\nfeature = \"sim\"\nseats = {}\n{terms}",
                    random.between(1, 2)
                ),
                "",
            ),
            license(2, seed, &format!("[[entitlement]]\nfeature = \"cad\"\nseats = {}\n{terms}", random.between(1, 2)), ""),
            license(
                3,
                seed,
                &format!("[[entitlement]]\nfeature = \"cad\"\nseats = {}\n{terms}", random.between(1, 4)),
                "replaces = [\"SIM-2\"]\n",
            ),
        ];
        let crash_loop = random.chance(150);
        let count = if crash_loop { random.between(1, 3) } else { random.between(2, 7) };
        let clients = (0..count)
            .map(|_| {
                let feature = |name: &str, seats| CheckoutItem { feature: name.parse().expect("a good name"), version: None, seats };
                let items = match random.below(6) {
                    0 => vec![feature("cad", 1), feature("sim", 1)],
                    1 => vec![feature("sim", 1)],
                    2 => vec![feature("cad", u32::try_from(random.between(1, 3)).expect("small"))],
                    _ => vec![feature("cad", 1)],
                };
                Client {
                    clock: MachineClock::new(drift(&mut random), WALL_START_MS),
                    keeper: None,
                    life: 0,
                    ids: BTreeMap::new(),
                    items,
                    cut_off_until: 0,
                    asleep_until: 0,
                    presence: random.chance(500),
                    generation: 0,
                }
            })
            .collect();
        let server_clock = MachineClock::new(drift(&mut random), WALL_START_MS);
        Self {
            random,
            scenario,
            real_ms: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            steps: Vec::new(),
            free_slots: Vec::new(),
            disk: MemoryDisk::new(lineage),
            lineage,
            backup: None,
            journal: None,
            server: None,
            server_clock,
            stalled_until: 0,
            pass_planned: false,
            last_pass_ms: None,
            append_planned: false,
            tickets: BTreeMap::new(),
            crash_loop,
            clients,
            ledger: Ledger::default(),
            answers: Answers::default(),
            lost: BTreeMap::new(),
            restored: BTreeSet::new(),
            restoring: false,
            head: None,
            licenses,
            installed: 0,
            report: Report { fingerprint: 0xcbf2_9ce4_8422_2325, ..Report::default() },
        }
    }

    fn safeguards(&self) -> Safeguards {
        let mut safeguards = Safeguards::default();
        match self.scenario.mutation {
            Some(Mutation::AttemptsUnordered) => safeguards.attempts_ordered = false,
            Some(Mutation::ChargesStay) => safeguards.charges_move = false,
            Some(Mutation::ClockUnmarked) => safeguards.clock_is_marked = false,
            Some(Mutation::NoExtensionAtRecovery) => safeguards.extend_on_recovery = false,
            Some(Mutation::GrantPastTotal) => safeguards.grant_within_total = false,
            Some(Mutation::HeardIsSoft) => safeguards.heard_is_durable = false,
            Some(Mutation::EndingFreesAtOnce) => safeguards.ending_keeps_deadline = false,
            Some(Mutation::NoQuarantine) => safeguards.quarantine_after_restore = false,
            Some(Mutation::QueuePassed) => safeguards.queue_strict = false,
            Some(Mutation::LateCheckoutGrants) => safeguards.release_before_known = false,
            Some(Mutation::EndedIdGrants) => safeguards.remember_ended = false,
            Some(Mutation::OldPresenceCounts) => safeguards.presence_generation = false,
            Some(Mutation::AnswerBeforeDurable | Mutation::NoDriftAllowance | Mutation::RightFromAnswer | Mutation::StallCounts) | None => {
            }
        }
        safeguards
    }

    fn mutated(&self, mutation: Mutation) -> bool {
        self.scenario.mutation == Some(mutation)
    }

    fn trace(&mut self, line: String) {
        const LINES: usize = 400;
        if self.report.trace.len() >= LINES {
            self.report.trace.remove(0);
        }
        self.report.trace.push(format!("{:>9} {line}", self.real_ms));
    }

    fn fingerprint(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.report.fingerprint = (self.report.fingerprint ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn plan(&mut self, in_ms: u64, step: Step) {
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.steps.push(None);
            self.steps.len() - 1
        });
        self.steps[slot] = Some(step);
        self.sequence += 1;
        self.queue.push(Reverse((self.real_ms + in_ms, self.sequence, slot)));
    }

    fn run(&mut self) -> Result<(), Broken> {
        self.plan(0, Step::Start);
        self.plan(1, Step::Trouble);
        for client in 0..self.clients.len() {
            let start = self.random.between(10, 20_000);
            self.plan(start, Step::Life(client));
        }
        while let Some(Reverse((time, _, slot))) = self.queue.pop() {
            if time > self.scenario.duration_ms || self.report.steps >= self.scenario.steps_max {
                break;
            }
            self.real_ms = time;
            self.report.steps += 1;
            let Some(step) = self.steps[slot].take() else { continue };
            self.free_slots.push(slot);
            self.step(step)?;
            self.promised_seats()?;
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), Broken> {
        match step {
            Step::Append => self.append(),
            Step::Arrive(ticket, command) => {
                if let Some(server) = &mut self.server {
                    server.receive(Some(ticket), *command);
                    self.plan_pass(0);
                }
                Ok(())
            }
            Step::Done(client, life) => {
                if self.clients[client].life == life {
                    self.drive(client, Keeper::release);
                    // It comes back after a while with a new lease.
                    let pause = self.random.between(1_000, 60_000);
                    self.plan(pause, Step::Life(client));
                }
                Ok(())
            }
            Step::Life(client) => {
                self.live(client);
                Ok(())
            }
            Step::Look(client, life) => {
                if self.clients[client].life == life {
                    if self.real_ms < self.clients[client].asleep_until {
                        let rest = self.clients[client].asleep_until - self.real_ms;
                        self.plan(rest, Step::Look(client, life));
                    } else {
                        self.drive(client, Keeper::on_time);
                    }
                }
                Ok(())
            }
            Step::Pass => self.pass(),
            Step::Reach { client, life, call, told } => {
                if self.clients[client].life == life {
                    if self.real_ms < self.clients[client].asleep_until {
                        let rest = self.clients[client].asleep_until - self.real_ms;
                        self.plan(rest, Step::Reach { client, life, call, told });
                    } else {
                        self.drive(client, |keeper, now, fresh| keeper.on_answer(now, call, told, fresh));
                    }
                }
                Ok(())
            }
            Step::Start => self.start(),
            Step::Trouble => self.trouble(),
        }
    }

    // ---- clients

    fn now(&self, client: usize) -> Now {
        let clock = &self.clients[client].clock;
        Now { boot_ms: clock.boot_ms(self.real_ms), wall_ms: clock.wall_ms(self.real_ms) }
    }

    fn live(&mut self, client: usize) {
        let now = self.now(client);
        if self.clients[client].keeper.as_ref().is_some_and(|keeper| keeper.promised(now)) {
            return;
        }
        let wait = if self.random.chance(500) { Some(self.random.between(5_000, 120_000)) } else { None };
        let this = &mut self.clients[client];
        this.life += 1;
        this.ids.clear();
        this.keeper = Some(Keeper::new(now, wait));
        let life = this.life;
        self.plan(0, Step::Look(client, life));
        let use_ms = self.random.between(2_000, 240_000);
        self.plan(use_ms, Step::Done(client, life));
    }

    fn die(&mut self, client: usize) {
        let leases: Vec<LeaseId> = self.clients[client].ids.values().copied().collect();
        let this = &mut self.clients[client];
        this.life += 1;
        this.keeper = None;
        let (fin, generation, cut_off) = (this.presence, this.generation, self.real_ms < this.cut_off_until);
        for lease in &leases {
            self.ledger.die(*lease);
        }
        // The kernel closes a dead process's socket in order, if the wire lets it through.
        if fin && generation > 0 && !cut_off && self.random.chance(700) {
            for lease in leases {
                let delay = self.latency();
                self.plan(delay, Step::Arrive(0, Box::new(Command::PresenceClosed { lease, generation })));
            }
        }
        let back = self.random.between(500, 90_000);
        self.plan(back, Step::Life(client));
        self.trace(format!("client {client} dies"));
    }

    fn drive(&mut self, client: usize, act: impl FnOnce(&mut Keeper, Now, Fresh) -> Vec<Action>) {
        let now = self.now(client);
        let fresh = Fresh { nonce: self.random.bytes(), jitter: u16::from_le_bytes(self.random.bytes()) };
        let Some(keeper) = &mut self.clients[client].keeper else { return };
        for action in act(keeper, now, fresh) {
            self.act(client, action);
        }
        if let Some(wake) = self.clients[client].keeper.as_ref().and_then(Keeper::next_wake) {
            let boot = self.clients[client].clock.boot_ms(self.real_ms);
            // A look may be a little late, as threads are.
            let late = if self.random.chance(100) { self.random.between(1, 3_000) } else { 1 };
            let life = self.clients[client].life;
            self.plan(wake.saturating_sub(boot) + late, Step::Look(client, life));
        }
    }

    fn lease_id(&mut self, client: usize, id: u32) -> LeaseId {
        if let Some(lease) = self.clients[client].ids.get(&id) {
            return *lease;
        }
        let lease = LeaseId(self.random.bytes());
        self.clients[client].ids.insert(id, lease);
        lease
    }

    fn act(&mut self, client: usize, action: Action) {
        match action {
            Action::Checkout { call, id, attempt, wait_ms, regained, .. } => {
                let lease = self.lease_id(client, id);
                let items = self.clients[client].items.clone();
                let vendor_keys = self.vendor_keys();
                let content = ContentDigest([u8::try_from(client).expect("few clients"); 16]);
                let holder = Holder {
                    user: Some(triquest_allocator::Claim { value: format!("user{client}"), proved: false }),
                    address: Some(triquest_allocator::Claim { value: format!("10.0.0.{client}"), proved: true }),
                    ..Holder::default()
                };
                let command = Command::Checkout {
                    accepts: Default::default(),
                    lease,
                    attempt,
                    content,
                    holder,
                    vendor_keys,
                    items,
                    ttl_ms: Some(TTL_MS),
                    wait_ms,
                    regained,
                    network: None,
                };
                self.send(client, Ticket { client, life: 0, call, lease, attempt: Some(attempt), renewal: None }, command);
            }
            Action::Release { call, id } => {
                let lease = self.lease_id(client, id);
                self.send(
                    client,
                    Ticket { client, life: 0, call, lease, attempt: None, renewal: None },
                    Command::Release { lease, network: None },
                );
            }
            Action::Renew { call, id, counter, nonce, presence, regained } => {
                let lease = self.lease_id(client, id);
                let ticket = Ticket { client, life: 0, call, lease, attempt: None, renewal: Some((counter, nonce)) };
                self.send(client, ticket, Command::Renew { lease, counter, nonce, idle_ms: None, presence, regained });
            }
            Action::Tell(Notice::Granted | Notice::Regained { .. }) if self.clients[client].presence => {
                let this = &mut self.clients[client];
                this.generation += 1;
                let (generation, leases) = (this.generation, this.ids.values().copied().collect::<Vec<_>>());
                for lease in leases {
                    let delay = self.latency();
                    self.plan(delay, Step::Arrive(0, Box::new(Command::PresenceOpened { lease, generation, ends_agree: true })));
                    // A connection that was replaced ends after the new one stands; or its end comes late.
                    if generation > 1 {
                        let later = self.random.between(1, 20_000);
                        self.plan(delay + later, Step::Arrive(0, Box::new(Command::PresenceClosed { lease, generation: generation - 1 })));
                    }
                }
                let now = self.now(client);
                // Its next renewal says that the connection stands.
                if let Some(keeper) = &mut self.clients[client].keeper {
                    keeper.stands(now, Some(generation));
                }
            }
            Action::Tell(notice) => self.trace(format!("client {client} hears {notice:?}")),
        }
    }

    fn vendor_keys(&self) -> Vec<[u8; 32]> {
        self.licenses[0].vendor_keys().iter().map(|key| *key.as_bytes()).collect()
    }

    fn latency(&mut self) -> u64 {
        match self.random.below(20) {
            0 => self.random.between(500, 9_000),
            1..4 => self.random.between(20, 500),
            _ => self.random.between(1, 20),
        }
    }

    fn send(&mut self, client: usize, ticket: Ticket, command: Command) {
        let (life, call) = (self.clients[client].life, ticket.call);
        self.sequence += 1;
        let number = self.sequence;
        self.tickets.insert(number, Ticket { life, ..ticket });
        if self.real_ms < self.clients[client].cut_off_until || self.random.chance(40) {
            if self.random.chance(500) {
                let delay = self.latency();
                self.plan(delay, Step::Reach { client, life, call, told: Told::Unreachable });
            }
            return;
        }
        if self.random.chance(60) {
            // Repeated by the wire (a retry below us), long after.
            let delay = self.random.between(10, 90_000);
            self.plan(delay, Step::Arrive(number, Box::new(command.clone())));
        }
        let delay = self.latency();
        self.plan(delay, Step::Arrive(number, Box::new(command)));
        if self.random.chance(30) {
            // A reset: the client learns nothing, the server may have it.
            let delay = self.latency();
            self.plan(delay, Step::Reach { client, life, call, told: Told::Unreachable });
        }
    }

    // ---- server

    fn reading(&self) -> ClockReading {
        ClockReading {
            boot_ms: self.server_clock.boot_ms(self.real_ms),
            wall_ms: self.server_clock.wall_ms(self.real_ms),
            synchronized: self.server_clock.synchronized,
        }
    }

    fn plan_pass(&mut self, in_ms: u64) {
        if !self.pass_planned || in_ms == 0 {
            self.pass_planned = true;
            let wait = in_ms.max(self.stalled_until.saturating_sub(self.real_ms));
            self.plan(wait, Step::Pass);
        }
    }

    fn plan_append(&mut self) {
        if !self.append_planned && self.server.as_ref().is_some_and(Process::in_flight) {
            self.append_planned = true;
            let takes = self.random.between(1, 30);
            self.plan(takes, Step::Append);
        }
    }

    fn start(&mut self) -> Result<(), Broken> {
        if self.server.is_some() {
            return Ok(());
        }
        let mut journal = self.disk.open();
        let mut ledger = self.ledger.reread();
        let mut from = triquest_allocator::Index(1);
        loop {
            let entries = journal.read(from, 1 << 20).map_err(|error| broken("apply_total", error.to_string()))?;
            let Some((last, _)) = entries.last() else { break };
            from = triquest_allocator::Index(last.0 + 1);
            for (index, bytes) in &entries {
                let entry = decode_entry(bytes).map_err(|error| broken("apply_total", error))?;
                ledger.fold(*index, entry.moment, &entry.events, false)?;
            }
        }
        ledger.resume();
        self.answers.durable_in(&ledger)?;
        self.ledger = ledger;
        if std::mem::take(&mut self.restoring) {
            self.restored = self.ledger.live().collect();
        }
        let process = Process::start(self.safeguards(), &mut journal, self.lineage).map_err(|error| broken("apply_total", error))?;
        if self.installed == 0 {
            self.installed = 1;
        }
        self.journal = Some(journal);
        self.server = Some(process);
        self.ledger.up.starts += 1;
        self.last_pass_ms = None;
        self.pass_planned = false;
        self.append_planned = false;
        for number in 0..self.installed {
            // Again at each start, as a license folder does.
            self.install(number);
        }
        self.trace("server starts".to_owned());
        self.plan_pass(0);
        Ok(())
    }

    fn install(&mut self, number: usize) {
        let install = InstallLicense { license: Box::new(self.licenses[number].clone()), actor: actor("folder") };
        if let Some(server) = &mut self.server {
            server.receive(None, Command::Install(install));
        }
    }

    fn crash(&mut self) {
        if self.server.take().is_some() {
            self.report.crashes += 1;
            self.journal = None;
            let down = match self.random.below(4) {
                0 => self.random.between(30_000, 200_000),
                _ => self.random.between(10, 5_000),
            };
            self.trace(format!("server crashes for {down} ms"));
            self.plan(down, Step::Start);
        }
    }

    fn pass(&mut self) -> Result<(), Broken> {
        self.pass_planned = false;
        if self.real_ms < self.stalled_until {
            self.plan_pass(1);
            return Ok(());
        }
        let reading = self.reading();
        let (stall_counts, too_early) = (self.mutated(Mutation::StallCounts), self.mutated(Mutation::AnswerBeforeDurable));
        let Some(server) = &mut self.server else { return Ok(()) };
        if stall_counts {
            server.skip_to(reading);
        }
        let since = self.real_ms - self.last_pass_ms.unwrap_or(self.real_ms);
        self.last_pass_ms = Some(self.real_ms);
        self.ledger.up.ms += since.min(triquest_allocator::limits::STALL_MS);
        self.line_moves()?;
        let Some(server) = &mut self.server else { return Ok(()) };
        let ready = server.pass(reading);
        let before_durable = if too_early { server.take_waiting_answers() } else { Vec::new() };
        let next = server.pending();
        self.answer(ready)?;
        self.answer(before_durable)?;
        self.plan_append();
        let tick = if next { 1 } else { self.random.between(200, 1_000) };
        self.plan_pass(tick);
        Ok(())
    }

    fn append(&mut self) -> Result<(), Broken> {
        self.append_planned = false;
        // A crash before, between or after: the entry is lost, or durable and not acknowledged.
        let crash = self.random.below(400);
        if crash == 0 {
            self.crash();
            return Ok(());
        }
        let fault = match self.random.below(300) {
            0 => Some(Fault::UnknownLost),
            1 => Some(Fault::UnknownCommitted),
            2 => Some(Fault::Full),
            3 => Some(Fault::Error),
            _ => None,
        };
        let (Some(server), Some(journal)) = (&mut self.server, &mut self.journal) else { return Ok(()) };
        journal.inject(fault);
        match server.append(journal) {
            Err(_) => self.crash(),
            Ok(None) => {}
            Ok(Some(_)) if crash == 1 => self.crash(),
            Ok(Some(committed)) => self.committed(committed)?,
        }
        self.plan_append();
        Ok(())
    }

    fn committed(&mut self, committed: Committed) -> Result<(), Broken> {
        self.report.entries += 1;
        self.fingerprint(format!("{:?}", committed.events).as_bytes());
        for event in &committed.events {
            self.trace(format!("entry {}: {event:?}", committed.index.0).chars().take(300).collect());
            match event {
                Event::Granted { .. } => self.report.grants += 1,
                Event::Denied { .. } => self.report.denials += 1,
                Event::Ended { lease, reason, .. } => self.nobody_runs_on(*lease, *reason)?,
                Event::Released { lease, .. } => self.nobody_runs_on(*lease, EndReason::Released)?,
                _ => {}
            }
        }
        self.ledger.fold(committed.index, committed.moment, &committed.events, true)?;
        self.answer(committed.answers)
    }

    fn client_of(&self, lease: LeaseId) -> Option<usize> {
        self.clients.iter().position(|client| client.ids.values().any(|id| *id == lease))
    }

    fn promised(&self, client: usize) -> bool {
        let now = self.now(client);
        self.clients[client].keeper.as_ref().is_some_and(|keeper| keeper.promised(now))
    }

    fn nobody_runs_on(&mut self, lease: LeaseId, reason: EndReason) -> Result<(), Broken> {
        let Some(client) = self.client_of(lease) else { return Ok(()) };
        let current = self.clients[client].ids.values().next_back() == Some(&lease);
        if current && self.promised(client) && !self.ledger.excused.contains(&lease) {
            return Err(broken("keeper_stops_before_server_frees", format!("client {client} runs on {lease}, freed as {reason:?}")));
        }
        Ok(())
    }

    fn answer(&mut self, answers: Vec<Answer>) -> Result<(), Broken> {
        for answer in answers {
            if let (Outcome::Renewed { .. } | Outcome::Granted(_), Some(lease)) = (&answer.outcome, answer.lease) {
                self.ledger.hear(lease, answer.moment.at);
            }
            let Some(ticket) = answer.ticket.and_then(|number| self.tickets.get(&number)) else { continue };
            let (client, life, call) = (ticket.client, ticket.life, ticket.call);
            let (lease, attempt, renewal) = (ticket.lease, ticket.attempt, ticket.renewal);
            if !self.ledger.adopted(lease) {
                self.answers.note(lease, attempt, &answer.outcome)?;
            }
            self.fingerprint(format!("{:?}", answer.outcome).as_bytes());
            let delay = self.latency();
            let Some(told) = self.told(answer.outcome, renewal, delay) else { continue };
            if self.real_ms < self.clients[client].cut_off_until || self.random.chance(40) {
                continue;
            }
            self.plan(delay, Step::Reach { client, life, call, told });
        }
        Ok(())
    }

    fn told(&self, outcome: Outcome, renewal: Option<(u64, [u8; 16])>, delay_ms: u64) -> Option<Told> {
        let inflate = |remaining_ms: u64| {
            let mut remaining_ms = remaining_ms;
            if self.mutated(Mutation::NoDriftAllowance) {
                remaining_ms += remaining_ms / 63 + 1;
            }
            if self.mutated(Mutation::RightFromAnswer) {
                remaining_ms += delay_ms + delay_ms / 63 + 1;
            }
            remaining_ms
        };
        Some(match outcome {
            Outcome::Denied(denial) => Told::Denied { code: denial_code(denial.code) },
            Outcome::Ended { reason, remaining_ms } => Told::Ended { reason: end_reason(reason), remaining_ms },
            Outcome::Granted(grant) => Told::Granted(Terms {
                remaining_ms: inflate(grant.remaining_ms),
                ttl_ms: grant.ttl_ms,
                grace_ms: grant.grace_ms,
                entitled_until_ms: None,
            }),
            Outcome::Refused(refusal) => Told::Refused { code: error_code(&refusal), retry_after_ms: None },
            Outcome::Released { .. } => Told::Released,
            Outcome::Renewed { remaining_ms, regrant } => {
                let (counter, nonce) = renewal?;
                Told::Renewed { counter, nonce, remaining_ms: inflate(remaining_ms), regrant }
            }
            Outcome::Waiting { place, .. } => Told::Waiting { place },
            Outcome::Done | Outcome::Installed { .. } | Outcome::Reclaimed { .. } | Outcome::Recovered | Outcome::Removed { .. } => {
                return None;
            }
        })
    }

    // ---- faults

    fn trouble(&mut self) -> Result<(), Broken> {
        // Some servers are started again and again.
        if self.crash_loop {
            let again = self.random.between(15_000, 45_000);
            self.plan(again, Step::Trouble);
            if self.random.chance(800) {
                self.crash();
                return Ok(());
            }
        } else {
            let again = self.random.between(500, 20_000);
            self.plan(again, Step::Trouble);
        }
        let client = usize::try_from(self.random.below(self.clients.len() as u64)).expect("few clients");
        match self.random.below(26) {
            0..3 => self.crash(),
            3..6 => self.die(client),
            6..9 => {
                let cut = self.random.between(1_000, 120_000);
                self.clients[client].cut_off_until = self.real_ms + cut;
                self.trace(format!("client {client} is cut off for {cut} ms"));
            }
            9 | 10 => {
                let sleep = self.random.between(1_000, 200_000);
                self.clients[client].asleep_until = self.real_ms + sleep;
                self.trace(format!("client {client} sleeps for {sleep} ms"));
            }
            11..13 => {
                let stall = self.random.between(100, 90_000);
                self.stalled_until = self.real_ms + stall;
                self.trace(format!("server stalls for {stall} ms"));
            }
            13 => {
                let by = i64::try_from(self.random.below(4 * 3_600_000)).expect("small") - 2 * 3_600_000;
                self.server_clock.step_wall(by);
                self.server_clock.synchronized = self.random.chance(500);
                self.trace(format!("server's wall clock steps by {by} ms"));
            }
            14 => {
                let by = i64::try_from(self.random.below(2 * 3_600_000)).expect("small") - 3_600_000;
                self.clients[client].clock.step_wall(by);
            }
            15 | 16 => {
                if self.installed < self.licenses.len() && self.installed > 0 && self.server.is_some() {
                    let number = self.installed;
                    self.installed += 1;
                    self.install(number);
                    self.trace(format!("license {} is installed", number + 1));
                }
            }
            17 => {
                if let (Some(server), true) = (&mut self.server, self.installed > 1) {
                    let license = self.licenses[1].hash();
                    server.receive(None, Command::Remove { license, actor: actor("unix:root") });
                    self.trace("license 2 is removed".to_owned());
                }
            }
            18..20 => {
                let live: Vec<_> = self.ledger.live().collect();
                if let (Some(server), false) = (&mut self.server, live.is_empty()) {
                    let lease = live[usize::try_from(self.random.below(live.len() as u64)).expect("few")];
                    let now = self.random.chance(300);
                    if now {
                        self.ledger.excused.insert(lease);
                    }
                    server.receive(None, Command::Reclaim { lease, now, actor: actor("unix:root") });
                    self.trace(format!("{lease} is reclaimed, now: {now}"));
                }
            }
            20 | 21 => {
                // A backup is made by a server that has begun, so there is a history to be lost.
                if self.server.is_some() && self.journal.as_ref().is_some_and(|journal| journal.head().index.0 > 0) {
                    self.backup = Some((self.real_ms, self.disk.copy()));
                }
            }
            22 => self.restore(),
            _ => self.replay_is_equal()?,
        }
        Ok(())
    }

    fn restore(&mut self) {
        let old_enough = self.scenario.duration_ms > self.real_ms + RESTORE_AT_LEAST_MS;
        if self.random.chance(700) || !old_enough {
            return;
        }
        let Some((_, disk)) = self.backup.take() else { return };
        self.crash();
        self.report.restores += 1;
        self.restoring = true;
        self.lost = [PoolId(0), PoolId(1)].into_iter().map(|pool| (pool, self.recorded(pool))).collect();
        self.lineage = Lineage(self.random.bytes());
        disk.begin_lineage(self.lineage);
        self.disk = disk;
        self.answers.forget();
        self.ledger.heard.clear();
        self.ledger.died.clear();
        self.trace("an old backup is restored".to_owned());
    }

    /// hard_state_equal: live state and a replay of the journal give the same bytes.
    fn replay_is_equal(&mut self) -> Result<(), Broken> {
        let (Some(server), Some(journal)) = (&self.server, &mut self.journal) else { return Ok(()) };
        if server.in_flight() {
            return Ok(());
        }
        server.allocator().check_invariants().map_err(|error| broken("seats_conserved", error))?;
        let replayed = Process::start(Safeguards::default(), journal, self.lineage).map_err(|error| broken("apply_total", error))?;
        let live: Vec<_> = encode_snapshot(server.allocator().snapshot()).collect();
        let replay: Vec<_> = encode_snapshot(replayed.allocator().snapshot()).collect();
        if live != replay {
            return Err(broken("hard_state_equal", "live state and replay differ"));
        }
        Ok(())
    }

    /// queue_moves: a head that could be served is served or leaves, in the time that a waiter may be silent.
    fn line_moves(&mut self) -> Result<(), Broken> {
        // A restored server grants nothing for a while, whoever waits.
        let head = self.ledger.head_that_fits().filter(|_| self.report.restores == 0);
        let up_ms = self.ledger.up.ms;
        match (head, self.head) {
            (Some(lease), Some((before, since_ms))) if lease == before => {
                if up_ms.saturating_sub(since_ms) > triquest_allocator::limits::WAIT_TTL_MS + 10_000 {
                    return Err(broken(
                        "queue_moves",
                        format!("{lease} stands at the head of a line with seats free for {} ms", up_ms - since_ms),
                    ));
                }
            }
            (head, _) => self.head = head.map(|lease| (lease, up_ms)),
        }
        Ok(())
    }

    /// Seats that may run in a pool: the total, or what is recorded beyond it.
    fn recorded(&self, pool: PoolId) -> u32 {
        self.ledger.total(pool).max(self.ledger.taken(pool))
    }

    /// one_holder_per_seat: clients in a promised right, summed by pool, against what is recorded.
    fn promised_seats(&self) -> Result<(), Broken> {
        let mut promised: BTreeMap<PoolId, u32> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut from_lost_history = false;
        let mut promised_again: BTreeMap<PoolId, u32> = BTreeMap::new();
        for client in 0..self.clients.len() {
            if !self.promised(client) {
                continue;
            }
            let Some(lease) = self.clients[client].ids.values().next_back().copied() else { continue };
            if self.ledger.excused.contains(&lease) || !seen.insert(lease) {
                continue;
            }
            match self.ledger.items(lease) {
                Some(items) => {
                    for item in items {
                        *promised.entry(item.pool).or_default() += item.seats;
                        if self.restored.contains(&lease) || self.ledger.adopted(lease) {
                            *promised_again.entry(item.pool).or_default() += item.seats;
                        }
                    }
                }
                // Freed while its client runs on (or lost with history): it still occupies seats in the world.
                None => {
                    from_lost_history = true;
                    for item in &self.clients[client].items {
                        let pool = PoolId(u32::from(item.feature.as_str() == "sim"));
                        *promised.entry(pool).or_default() += item.seats;
                    }
                }
            }
        }
        for (pool, seats) in promised {
            let mut seats = seats;
            let mut bound = self.recorded(pool);
            if from_lost_history {
                // A lease of the backup may have ended in lost history and its seat gone to somebody who has not shown the grant yet: over-use that
                // ends with that promise. What is granted anew must not add to it.
                bound = bound.max(self.lost.get(&pool).copied().unwrap_or(0));
                seats -= promised_again.get(&pool).copied().unwrap_or(0);
            }
            if seats > bound && bound > 0 {
                return Err(broken("one_holder_per_seat", format!("pool {}: {seats} seats run, {bound} are recorded", pool.0)));
            }
        }
        Ok(())
    }
}

fn actor(name: &str) -> Actor {
    Actor { name: name.to_owned(), reason: "simulated".to_owned() }
}

fn denial_code(code: triquest_allocator::DenialCode) -> DenialCode {
    use triquest_allocator::DenialCode as Core;
    match code {
        Core::Expired => DenialCode::Expired,
        Core::LeaseEnded => DenialCode::LeaseEnded,
        Core::MoreThanPool => DenialCode::MoreThanPool,
        Core::NoSeatFree => DenialCode::NoSeatFree,
        Core::NotYetValid => DenialCode::NotYetValid,
        Core::QueueFull => DenialCode::QueueFull,
        Core::Quarantine => DenialCode::Quarantine,
        Core::ServerFull => DenialCode::ServerFull,
        Core::UnknownFeature => DenialCode::UnknownFeature,
        Core::UnknownVendor => DenialCode::UnknownVendor,
        Core::VersionNotCovered => DenialCode::VersionNotCovered,
        Core::WaitOver => DenialCode::WaitOver,
        Core::WordsNotAccepted => DenialCode::WordsNotAccepted,
    }
}

fn end_reason(reason: EndReason) -> triquest_wire::lease::EndReason {
    use triquest_wire::lease::EndReason as Wire;
    match reason {
        EndReason::Excluded => Wire::Excluded,
        EndReason::Expired => Wire::Expired,
        EndReason::LicenseEnded => Wire::LicenseEnded,
        EndReason::LicenseRemoved => Wire::LicenseRemoved,
        EndReason::LicenseReplaced => Wire::LicenseReplaced,
        EndReason::Presence => Wire::Presence,
        EndReason::Reclaimed => Wire::Reclaimed,
        EndReason::Released => Wire::Released,
        EndReason::Unclaimed => Wire::Unclaimed,
    }
}

fn error_code(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::ClonedClient => ErrorCode::ClonedClient,
        Refusal::IdTaken => ErrorCode::IdTaken,
        Refusal::StaleAttempt { .. } => ErrorCode::StaleAttempt,
        Refusal::StaleCounter => ErrorCode::StaleCounter,
        Refusal::TooManyIds { .. } => ErrorCode::TooManyIds,
        Refusal::UnknownLease => ErrorCode::UnknownLease,
        Refusal::AlreadyInstalled(_)
        | Refusal::Expired(_)
        | Refusal::LicenseIdTaken { .. }
        | Refusal::LicenseUnknown(_)
        | Refusal::LimitReached(_)
        | Refusal::Malformed(_)
        | Refusal::NothingToDo(_)
        | Refusal::Replaced { .. }
        | Refusal::UnknownLicense
        | Refusal::WallClockHeld => ErrorCode::BadRequest,
    }
}
