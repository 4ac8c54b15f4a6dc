//! What a world is made of, drawn from its seed before anything happens: licenses, clients, faults with their weights, limits.

use std::{fmt::Write as _, sync::Arc};

use triquest_allocator::{
    Between, CheckoutItem, Limits,
    limits::{CLAIM_MS, ENTRY_BYTES_MAX, ENTRY_BYTES_MIN, EVENTS_MAX, EVENTS_MAX_MIN, QUARANTINE_MS_MIN, TTL_MS_MAX, WAIT_TTL_MS},
};
use triquest_engine::limits::{COMMANDS_LOCAL_MAX, QueueLimits};
use triquest_license::{CivilDateTime, CivilMs, Note, Signer, SigningKey, VerifiedLicense, VerifierKey, sha256};

use crate::{clock::DRIFT_MAX_PER_MILLION, random::Random};

/// Civil time at the beginning of every world: 2026-11-23 00:00 UTC.
pub const WALL_START_MS: i64 = 1_795_392_000_000;

/// One `[[entitlement]]` to be signed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The feature.
    pub feature: &'static str,
    /// Seats.
    pub seats: u32,
    /// The newest version covered.
    pub version: Option<&'static str>,
    /// Begins, milliseconds after the world.
    pub starts_ms: Option<u64>,
    /// Ends, milliseconds after the world began.
    pub expires_ms: Option<u64>,
    /// Seconds.
    pub ttl_s: u64,
    /// Seconds.
    pub ttl_max_s: u64,
    /// Seconds.
    pub linger_s: u64,
    /// Seconds.
    pub grace_s: u64,
    /// Whether the end of a process may free its seats early.
    pub presence: bool,
}

impl Draft {
    /// An entitlement without dates.
    #[must_use]
    pub fn new(feature: &'static str, seats: u32, ttl_s: u64, ttl_max_s: u64) -> Self {
        Self { feature, seats, version: None, starts_ms: None, expires_ms: None, ttl_s, ttl_max_s, linger_s: 0, grace_s: 0, presence: true }
    }

    /// The same, of a version.
    #[must_use]
    pub fn version(self, version: &'static str) -> Self {
        Self { version: Some(version), ..self }
    }

    /// The same, with dates in milliseconds after the world began.
    #[must_use]
    pub fn dates(self, starts_ms: Option<u64>, expires_ms: Option<u64>) -> Self {
        Self { starts_ms, expires_ms, ..self }
    }

    /// The same, with seats that stay taken.
    #[must_use]
    pub fn linger(self, linger_s: u64) -> Self {
        Self { linger_s, ..self }
    }
}

/// A license that a world has at hand.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Its id.
    pub id: String,
    /// The ids that it takes the place of.
    pub replaces: Vec<String>,
    /// The keys that signed it, by number.
    pub keys: Vec<u8>,
    /// The signed text.
    pub license: VerifiedLicense,
}

fn written(after_ms: u64) -> CivilDateTime {
    CivilDateTime::of(CivilMs(WALL_START_MS + i64::try_from(after_ms / 1_000 * 1_000).expect("simulated time is short")))
}

/// A vendor's key, the same in all worlds.
#[must_use]
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(sha256(&[b"simulated vendor ".as_slice(), &[number]].concat()))
}

/// A vendor's key as its applications embed it.
///
/// # Panics
/// Never: the name is a good one.
#[must_use]
pub fn verifier_key(number: u8) -> VerifierKey {
    Signer::new("vendor.example".parse().expect("a good name"), key(number)).verifier_key().clone()
}

/// A vendor's public key.
#[must_use]
pub fn public_key(number: u8) -> [u8; 32] {
    *key(number).public().as_bytes()
}

/// Signs a license.
///
/// # Panics
/// If the text is not well formed: a fault of the simulation.
#[must_use]
pub fn issue(keys: &[u8], id: &str, replaces: &[&str], rights: &[Draft]) -> Arc<Issued> {
    let signers: Vec<Signer> =
        keys.iter().map(|number| Signer::new("vendor.example".parse().expect("a good name"), key(*number))).collect();
    let verifier: Vec<String> = signers.iter().map(|signer| format!("\"{}\"", signer.verifier_key())).collect();
    let mut text = format!(
        "format = \"triquest-lm/v1/license\"\nlicense = \"{id}\"\nvendor = \"vendor.example\"\nverifier = [{}]\n\
         licensee = \"Simulated\"\nissued = 2026-11-01\nservers = \"any\"\n",
        verifier.join(", ")
    );
    if !replaces.is_empty() {
        let ids: Vec<String> = replaces.iter().map(|id| format!("\"{id}\"")).collect();
        let _ = writeln!(text, "replaces = [{}]", ids.join(", "));
    }
    for right in rights {
        let _ = write!(text, "\n[[entitlement]]\nfeature = \"{}\"\nseats = {}\n", right.feature, right.seats);
        if let Some(version) = right.version {
            let _ = writeln!(text, "version = \"{version}\"");
        }
        if let Some(starts) = right.starts_ms {
            let _ = writeln!(text, "starts = {}", written(starts));
        }
        if let Some(expires) = right.expires_ms {
            let _ = writeln!(text, "expires = {}", written(expires));
        }
        let _ = writeln!(text, "ttl = \"{}s\"\nttl_max = \"{}s\"", right.ttl_s, right.ttl_max_s);
        if right.linger_s > 0 {
            let _ = writeln!(text, "linger = \"{}s\"", right.linger_s);
        }
        if right.grace_s > 0 {
            let _ = writeln!(text, "grace = \"{}s\"", right.grace_s);
        }
        if !right.presence {
            text.push_str("presence = false\n");
        }
    }
    let note = Note::sign(&text, &signers).unwrap_or_else(|error| panic!("the simulation's license is not well formed: {error}\n{text}"));
    let license =
        VerifiedLicense::verify_named(&note).unwrap_or_else(|error| panic!("the simulation's license does not verify: {error}\n{text}"));
    Arc::new(Issued { id: id.to_owned(), replaces: replaces.iter().map(|id| (*id).to_owned()).collect(), keys: keys.to_vec(), license })
}

/// A part of a checkout.
#[must_use]
pub fn item(feature: &str, version: Option<&str>, seats: u32) -> CheckoutItem {
    CheckoutItem {
        feature: feature.parse().expect("a good name"),
        version: version.map(|version| version.parse().expect("a good version")),
        seats,
    }
}

/// Something that happens from outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// An administrator believes the wall clock.
    AcceptClock,
    /// A copy of the disk is put aside.
    Backup,
    /// The second client goes on with a copy of the first one's process.
    Clone(u32, u32),
    /// Nothing reaches a client, nor leaves it, for so long.
    CutOff(u32, u64),
    /// A client's process dies; it comes back after so long.
    Die(u32, Option<u64>),
    /// The disk has no more room than [`Plan::room_bytes`] for so long.
    DiskFull(u64),
    /// The disk answers nothing for so long.
    DiskHangs(u64),
    /// A client begins to use what it uses.
    Begin(u32),
    /// A client gives back what it holds.
    Done(u32),
    /// An administrator ends the quarantine of a new history, accepting that what was granted in a lost one may be over-used.
    EndQuarantine,
    /// What stands between ends a living client's presence connection in order.
    FalseFin(u32),
    /// The next append meets this.
    Fault(triquest_journal::memory::Fault),
    /// The license with this number is installed.
    Install(usize),
    /// The power of the server fails; it starts again after so long.
    Kill(u64),
    /// The same, between an entry's becoming durable and its answers; then these many clients fall silent.
    KillDurable(u64, u32),
    /// A virtual machine with a client is paused for so long: its boot clock stands still.
    Pause(u32, u64),
    /// A client lets its presence connection stand for its lease no more, and then leaves it, which looks like an orderly end.
    PresenceDrop(u32),
    /// A client's openings of presence connections are refused for so long: as those of its leases, or before anybody knows whose they are.
    PresenceFull(u32, u64, bool),
    /// A client's presence connection opens late: the server sees it, the client does not.
    PresenceUnseen(u32),
    /// A client opens a presence connection again.
    PresenceReopens(u32),
    /// An administrator takes a client's seat back, at once or at the end of its promise.
    Reclaim(u32, bool),
    /// The license with this number is removed.
    Remove(usize),
    /// The backup is restored as another history.
    Restore,
    /// The backup is put back as if nothing had happened.
    Rollback,
    /// A client shows the last grant that it ever had, whatever became of it.
    Show(u32),
    /// A reload takes the network of the clients behind proxies out of those that are named.
    Unname,
    /// A client's machine sleeps for so long.
    Sleep(u32, u64),
    /// A snapshot is made, and entries before it are dropped.
    Snapshot,
    /// The server's machine sleeps, stalls or is paused: no pass for so long; its boot clock counts it or not.
    Stall(u64, bool),
    /// The server's wall clock is set by so much.
    StepServer(i64, bool),
    /// A client's wall clock is set by so much.
    StepClient(u32, i64),
    /// The server stops in order, and is started again.
    Stop,
    /// Another server takes over the journal; the old one does not know it yet.
    TakeOver,
}

/// A kind of fault that random worlds draw from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named after the act that it draws")]
pub enum Fault {
    EndQuarantine,
    AcceptClock,
    Backup,
    ClientClock,
    CutOff,
    Die,
    DiskFull,
    FalseFin,
    Fenced,
    Install,
    Kill,
    KillDurable,
    Pause,
    PresenceUnseen,
    Reclaim,
    Remove,
    Restore,
    Rollback,
    ServerClock,
    Sleep,
    Snapshot,
    Stall,
    Stop,
    TakeOver,
    UnknownCommitted,
    UnknownLost,
}

const FAULTS: [Fault; 26] = [
    Fault::EndQuarantine,
    Fault::AcceptClock,
    Fault::Backup,
    Fault::ClientClock,
    Fault::CutOff,
    Fault::Die,
    Fault::DiskFull,
    Fault::FalseFin,
    Fault::Fenced,
    Fault::Install,
    Fault::Kill,
    Fault::KillDurable,
    Fault::Pause,
    Fault::PresenceUnseen,
    Fault::Reclaim,
    Fault::Remove,
    Fault::Restore,
    Fault::Rollback,
    Fault::ServerClock,
    Fault::Sleep,
    Fault::Snapshot,
    Fault::Stall,
    Fault::Stop,
    Fault::TakeOver,
    Fault::UnknownCommitted,
    Fault::UnknownLost,
];

/// One client of a world.
#[derive(Clone, Debug)]
pub struct ClientPlan {
    /// What it wants.
    pub items: Vec<CheckoutItem>,
    /// The vendor keys that its application embeds, by number.
    pub keys: Vec<u8>,
    /// It would like to be renewed within.
    pub ttl_ms: Option<u64>,
    /// It waits in line for so long.
    pub wait_ms: Option<u64>,
    /// It has a presence connection.
    pub presence: bool,
    /// Something between it and the server ends connections in its place; both ends see other addresses then.
    pub behind_proxy: bool,
    /// The administrator named the network of that: an end frees its seats after a wait.
    pub named_network: bool,
    /// It begins by itself at this time.
    pub begins_ms: Option<u64>,
    /// It uses its seats for between so long, and rests as long; none is for ever.
    pub uses_ms: Option<(u64, u64)>,
    /// Its clocks are fast by so many millionths.
    pub drift_per_million: i64,
    /// Its machine may be paused; if not, its wall clock may be set.
    pub virtual_machine: bool,
    /// Clients with the same number renew in one request.
    pub batch: Option<u32>,
}

impl ClientPlan {
    /// What stands between the ends of its presence connections.
    #[must_use]
    pub fn between(&self) -> Between {
        match (self.behind_proxy, self.named_network) {
            (false, _) => Between::Nothing,
            (true, false) => Between::Something,
            (true, true) => Between::Named,
        }
    }
}

/// How bad the wire is.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// Requests and answers lost, of a thousand.
    pub lost: u64,
    /// Slow ones, of a thousand.
    pub slow: u64,
    /// Requests of which a second copy arrives late, of a thousand.
    pub twice: u64,
    /// Milliseconds of a slow one at most.
    pub slow_ms_max: u64,
}

/// Everything that a world follows from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// What it is about.
    pub name: &'static str,
    /// Ends after so long, milliseconds of real time.
    pub duration_ms: u64,
    /// All that are ever installed.
    pub licenses: Vec<Arc<Issued>>,
    /// Everybody.
    pub clients: Vec<ClientPlan>,
    /// What happens when.
    pub acts: Vec<(u64, Act)>,
    /// What else happens, with its weight.
    pub weights: Vec<(Fault, u64)>,
    /// Pauses between faults, milliseconds.
    pub fault_every_ms: (u64, u64),
    /// The wire.
    pub wire: Wire,
    /// The server's clocks are fast by so many millionths.
    pub drift_per_million: i64,
    /// The disk takes so long for an entry, milliseconds.
    pub append_ms: (u64, u64),
    /// What would stall the whole server stalls its disk alone.
    pub stalls_the_disk: bool,
    /// How long it takes to make sure that a server still leads, milliseconds: the least and the most.
    pub confirm_ms: (u64, u64),
    /// What the disk keeps in reserve, bytes.
    pub reserve_bytes: usize,
    /// What is left, with the reserve, when the disk is full, bytes.
    pub room_bytes: usize,
    /// The disk is full by a quota, of which it says nothing before it refuses.
    pub quota: bool,
    /// A scale for times: the usual time to live, milliseconds.
    pub ttl_ms: u64,
    /// The longest time to live that any license permits, milliseconds.
    pub ttl_max_ms: u64,
    /// Quarantines are ended by acceptance so long after a restore; none lets them run.
    pub accepts_after_ms: Option<u64>,
    /// What the servers of this world have as limits.
    pub limits: Limits,
    /// How much may wait before them.
    pub queues: QueueLimits,
}

impl Plan {
    /// A quiet world without anything in it.
    #[must_use]
    pub fn quiet(seed: u64, name: &'static str, random: &mut Random) -> Self {
        Self {
            seed,
            name,
            duration_ms: 300_000,
            licenses: Vec::new(),
            clients: Vec::new(),
            acts: Vec::new(),
            weights: Vec::new(),
            fault_every_ms: (0, 0),
            wire: Wire { lost: 0, slow: 0, twice: 0, slow_ms_max: 1_000 },
            drift_per_million: drift(random),
            append_ms: (1, 5),
            confirm_ms: draw_confirm(seed),
            stalls_the_disk: Random::new(seed ^ 0x6861_6e67_7368_616e).chance(300),
            reserve_bytes: RESERVE_BYTES,
            room_bytes: RESERVE_BYTES,
            quota: false,
            ttl_ms: 30_000,
            ttl_max_ms: 120_000,
            accepts_after_ms: None,
            limits: Limits { quarantine_ms_min: Random::new(seed ^ 0x006c_696d_6974).between(1_000, 60_000), ..Limits::default() },
            queues: QueueLimits::default(),
        }
    }
}

impl Plan {
    /// How full a full disk is, and whether it has a reserve. Drawn apart, so that nothing else of the world depends on it.
    pub fn draw_room(&mut self, reserves: bool) {
        let mut random = Random::new(self.seed ^ 0x726f_6f6d_726f_6f6d);
        let reserve_bytes = usize::try_from(random.between(300_000, 2 * RESERVE_BYTES as u64)).expect("small");
        self.reserve_bytes = if reserves { reserve_bytes } else { 0 };
        self.quota = random.chance(300);
        self.room_bytes = match random.below(5) {
            0 => 0,
            1 => usize::try_from(random.below(20_000)).expect("small"),
            2 => self.reserve_bytes,
            3 => self.reserve_bytes / 2 + usize::try_from(random.below(300_000)).expect("small"),
            _ => self.reserve_bytes + usize::try_from(random.below(5_000_000)).expect("small"),
        };
    }
}

/// A drift, extremes more often than their share: they break rules that the middle hides.
pub fn drift(random: &mut Random) -> i64 {
    match random.below(3) {
        0 => -DRIFT_MAX_PER_MILLION,
        1 => DRIFT_MAX_PER_MILLION,
        _ => i64::try_from(random.below(2 * DRIFT_MAX_PER_MILLION.unsigned_abs())).expect("small") - DRIFT_MAX_PER_MILLION,
    }
}

/// The usual reserve, bytes: less than a real one, so that worlds use it up.
pub const RESERVE_BYTES: usize = 1_000_000;

const FEATURES: [&str; 4] = ["cad", "cam", "mesh", "sim"];
const VERSIONS: [&str; 3] = ["5", "7", "9"];

/// A random world: half of its faults have no weight.
#[must_use]
pub fn random_world(seed: u64) -> Plan {
    let mut random = Random::new(seed);
    let random = &mut random;
    let mut plan = Plan::quiet(seed, "random", random);
    let ttl_s = match random.below(10) {
        0 => random.between(120, 600),
        1 => random.between(600, 3_600),
        _ => random.between(10, 60),
    };
    let ttl_max_s = match random.below(6) {
        0 => random.between(3_600, 86_400),
        1 => random.between(600, 3_600),
        _ => ttl_s + random.between(0, 120),
    }
    .max(30)
    .max(ttl_s);
    plan.ttl_ms = ttl_s * 1_000;
    plan.ttl_max_ms = ttl_max_s * 1_000;
    plan.duration_ms = (plan.ttl_ms * random.between(12, 40)).clamp(5 * 60_000, 4 * 3_600_000);
    let reserves = random.chance(600);
    plan.draw_room(reserves);
    plan.append_ms = if random.chance(200) { (50, 2_000) } else { (1, 10) };
    plan.wire = match random.below(4) {
        0 => Wire { lost: 0, slow: 0, twice: 0, slow_ms_max: 1_000 },
        1 => Wire { lost: 120, slow: 300, twice: 60, slow_ms_max: 9_000 },
        _ => Wire { lost: 20, slow: 100, twice: 10, slow_ms_max: 4_000 },
    };
    plan.accepts_after_ms = if random.chance(800) { Some(random.between(5_000, 2 * plan.ttl_max_ms.min(300_000))) } else { None };

    let vendors = u8::try_from(random.between(1, 3)).expect("few");
    let crowd = random.chance(100);
    let clients = if crowd { random.between(40, 200) } else { random.between(2, 12) };
    draw_licenses(&mut plan, vendors, clients, ttl_s, ttl_max_s, random);
    let batch = random.chance(300);
    let uses = (plan.ttl_ms / 4, plan.ttl_ms * 8);
    for number in 0..clients {
        let vendor = u8::try_from(random.below(vendors.into())).expect("few");
        let first = random.below(FEATURES.len() as u64);
        let features = if random.chance(250) { random.between(2, 3) } else { 1 };
        let items = (0..features)
            .map(|next| {
                let feature = FEATURES[usize::try_from((first + next) % FEATURES.len() as u64).expect("few")];
                let version = random.chance(300).then(|| VERSIONS[usize::try_from(random.below(3)).expect("few")]);
                let seats = if random.chance(200) { random.between(2, 4) } else { 1 };
                item(feature, version, u32::try_from(seats).expect("few"))
            })
            .collect();
        let mut keys = vec![vendor];
        if random.chance(150) && vendors > 1 {
            keys.push((vendor + 1) % vendors);
        }
        plan.clients.push(ClientPlan {
            items,
            keys,
            ttl_ms: match random.below(3) {
                0 => None,
                1 => Some(plan.ttl_ms),
                _ => Some(random.between(10_000, plan.ttl_max_ms)),
            },
            wait_ms: random.chance(500).then(|| random.between(5_000, 4 * plan.ttl_ms)),
            presence: random.chance(500),
            behind_proxy: random.chance(200),
            // Every other one of them.
            named_network: number % 2 == 0,
            begins_ms: Some(random.between(10, plan.ttl_ms)),
            uses_ms: random.chance(900).then_some(uses),
            drift_per_million: drift(random),
            virtual_machine: random.chance(300),
            batch: (batch && random.chance(700)).then(|| u32::try_from(number % 3).expect("few")),
        });
    }
    for fault in FAULTS {
        if random.chance(500) {
            plan.weights.push((fault, random.between(1, 20)));
        }
    }
    let busy = random.between(1, 6);
    plan.fault_every_ms = (plan.ttl_ms / 20, plan.ttl_ms * busy / 2);
    draw_limits(&mut plan, random);
    draw_reload(&mut plan);
    plan
}

/// In some worlds a reload takes the network of clients behind proxies out of those that are named. Drawn apart, so that nothing else of the world depends
/// on it.
fn draw_reload(plan: &mut Plan) {
    let mut random = Random::new(plan.seed ^ 0x7265_6c6f_6164_7300);
    if random.chance(200) {
        let at = random.between(plan.duration_ms / 16, plan.duration_ms);
        plan.acts.push((at, Act::Unname));
    }
}

/// Limits of a random world: what takes a real server an hour or a day mostly passes within it, so that there is life afterwards.
fn draw_limits(plan: &mut Plan, random: &mut Random) {
    let ttl_ms_max = match random.below(4) {
        0 => TTL_MS_MAX,
        1 => random.between(30_000, 3_600_000),
        // Half of what is left when history is lost in the middle.
        _ => random.between(30_000, (plan.duration_ms / 8).max(30_001)),
    };
    // A license may permit more than any server does.
    plan.ttl_max_ms = plan.ttl_max_ms.min(ttl_ms_max);
    plan.limits = Limits {
        claim_ms: random.between(30_000, CLAIM_MS),
        entry_bytes_max: usize::try_from(random.between(ENTRY_BYTES_MIN as u64, ENTRY_BYTES_MAX as u64)).expect("small"),
        events_max: usize::try_from(random.between(EVENTS_MAX_MIN as u64, EVENTS_MAX as u64)).expect("small"),
        quarantine_ms_min: if random.chance(120) { QUARANTINE_MS_MIN } else { random.between(1_000, 60_000) }.min(ttl_ms_max),
        // Far above what a late copy of a request takes.
        remember_ms: random.between(8, 16) * plan.ttl_ms + 60_000,
        ttl_ms_max,
        wait_ttl_ms: random.between(90_000, WAIT_TTL_MS),
        ..Limits::default()
    };
    // In half of all worlds nobody comes near what one network may have.
    let limits = &mut plan.limits;
    if random.chance(250) {
        limits.remembered_max = random.between(8, 200);
        limits.remembered_per_network_max = random.between(2, 60);
    }
    if random.chance(250) {
        limits.waiters_per_pool_max = random.between(2, 40);
        limits.waiters_per_network_max = random.between(1, 20);
    }
    let queues = &mut plan.queues;
    queues.commands_local_max = draw_local(plan.seed);
    if random.chance(250) {
        let drawn = |random: &mut Random, least, most| usize::try_from(random.between(least, most)).expect("small");
        queues.commands_max = drawn(random, 16, 256);
        queues.commands_per_network_max = drawn(random, 4, 64);
        queues.commands_per_turn_max = drawn(random, 1, 8);
        queues.commands_per_pass_max = drawn(random, 1, 32);
        // Passes are seldom on a slow disk, and then these are all the renewals that are answered.
        queues.lane_per_pass_max = drawn(random, 16, 64);
    }
}

/// How many acts of administrators may wait. Drawn apart, so that nothing else of the world depends on it.
fn draw_local(seed: u64) -> usize {
    let mut random = Random::new(seed ^ 0x6c6f_6361_6c6c_6f63);
    if random.chance(250) { usize::try_from(random.between(1, 8)).expect("small") } else { COMMANDS_LOCAL_MAX }
}

/// At once with one machine; a read of what others know takes its time.
fn draw_confirm(seed: u64) -> (u64, u64) {
    let mut random = Random::new(seed ^ 0x636f_6e66_6972_6d73);
    if random.chance(200) { (0, random.between(5, 400)) } else { (0, 1) }
}

/// Licenses of a random world: replaced, re-issued under their own id, co-signed, with dates at one instant, in every order.
fn draw_licenses(plan: &mut Plan, vendors: u8, clients: u64, ttl_s: u64, ttl_max_s: u64, random: &mut Random) {
    // A few instants at which rights end and others begin.
    let instants: Vec<u64> = (0..3).map(|_| random.between(plan.duration_ms / 8, plan.duration_ms)).collect();
    let dated = random.chance(500);
    let count = random.between(u64::from(vendors), u64::from(vendors) + 5);
    for number in 0..count {
        let vendor = if number < u64::from(vendors) {
            u8::try_from(number).expect("few")
        } else {
            u8::try_from(random.below(vendors.into())).expect("few")
        };
        let mut keys = vec![vendor];
        if number > 1 && random.chance(120) && vendors > 1 {
            keys.push((vendor + 1) % vendors);
        }
        // Often another's id, which a license may carry only if it names it.
        let id = format!("L{}", if random.chance(350) { random.below(number + 1) } else { number });
        let mut replaces: Vec<String> = Vec::new();
        if number > 0 && random.chance(600) {
            replaces.push(format!("L{}", random.below(number)));
        }
        if random.chance(500) && !replaces.contains(&id) {
            replaces.push(id.clone());
        }
        let rights = random.between(1, 4);
        let drafts: Vec<Draft> = (0..rights)
            .map(|right| {
                let feature = FEATURES[usize::try_from((right + random.below(2)) % FEATURES.len() as u64).expect("few")];
                let (ttl_s, ttl_max_s) = if random.chance(300) {
                    let ttl_max_s = random.between(30, ttl_max_s.max(31));
                    (random.between(10, ttl_max_s), ttl_max_s)
                } else {
                    (ttl_s, ttl_max_s)
                };
                let seats = random.between(1, (clients / 3).max(3));
                let mut draft = Draft::new(feature, u32::try_from(seats).expect("few"), ttl_s, ttl_max_s);
                if random.chance(250) {
                    draft.version = Some(VERSIONS[usize::try_from(random.below(3)).expect("few")]);
                }
                if dated {
                    let instant = |random: &mut Random| instants[usize::try_from(random.below(3)).expect("few")];
                    match random.below(4) {
                        0 => draft.starts_ms = Some(instant(random)),
                        1 => draft.expires_ms = Some(instant(random)),
                        _ => {}
                    }
                }
                if random.chance(250) {
                    draft.linger_s = random.between(1, ttl_s * 2);
                }
                if random.chance(250) {
                    draft.grace_s = random.between(1, ttl_s * 4);
                }
                draft.presence = random.chance(800);
                draft
            })
            .collect();
        let replaces: Vec<&str> = replaces.iter().map(String::as_str).collect();
        plan.licenses.push(issue(&keys, &id, &replaces, &drafts));
    }
    // The first of each vendor from the beginning, others when they are drawn.
    for number in 0..usize::from(vendors) {
        plan.acts.push((5 + number as u64, Act::Install(number)));
    }
    for number in usize::from(vendors)..plan.licenses.len() {
        let at = random.between(10, plan.duration_ms);
        plan.acts.push((at, Act::Install(number)));
        if random.chance(250) {
            let at = random.between(at, plan.duration_ms);
            plan.acts.push((at, Act::Remove(number)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Act, random_world};

    #[test]
    fn random_worlds_have_merged_vendors_whose_applications_embed_one_key_and_reloads_that_unname_networks() {
        let (mut merged, mut apart, mut reloads) = (0, 0, 0);
        for seed in (0..1_200).step_by(2) {
            let plan = random_world(seed);
            let signed: Vec<_> = plan.licenses.iter().map(|issued| &issued.keys).filter(|keys| keys.len() > 1).collect();
            merged += usize::from(!signed.is_empty());
            // Two applications of one vendor that have no key in common.
            let only = |key: u8| plan.clients.iter().any(|client| client.keys == [key]);
            apart += usize::from(signed.iter().any(|keys| keys.iter().filter(|key| only(**key)).count() > 1));
            reloads += usize::from(plan.acts.iter().any(|(_, act)| *act == Act::Unname));
        }
        assert!(merged > 100 && apart > 60 && reloads > 60, "{merged} worlds, {apart} of them, and {reloads} with a reload");
    }
}
