//! A desk with one engine on it. The journal and the confirmation answer by themselves unless they are held.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use triquest_allocator::{
    Actor, Allocator, CheckoutItem, Claim, ClockReading, Command, ContentDigest, Epoch, Event, Holder, InstallLicense, LeaseId, Lineage,
    Outcome, Safeguards,
};
use triquest_engine::{Answer, Answers, Asked, Effect, Engine, Heard, Input, Network, Origin, PassId, Request, Room, Start, Ticket, Why};
use triquest_journal::record::{Entry, encode_entry};
use triquest_license::{Note, Signer, SigningKey, VerifiedLicense};

/// 2026-06-15, unix milliseconds.
pub(crate) const TODAY_MS: i64 = 1_781_524_800_000;

const RESERVE_BYTES: u64 = 16 * 1024 * 1024;
/// Room for everything.
pub(crate) const ENOUGH: Room = Room { left_bytes: 4 * RESERVE_BYTES, reserve_bytes: RESERVE_BYTES };
/// Room in the reserve only.
pub(crate) const RESERVE: Room = Room { left_bytes: RESERVE_BYTES, reserve_bytes: RESERVE_BYTES };
/// No room.
pub(crate) const NONE: Room = Room { left_bytes: 0, reserve_bytes: RESERVE_BYTES };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) u64);

impl Ticket for Name {
    fn is_gone(&self) -> bool {
        GONE.with_borrow(|gone| gone.contains(&self.0))
    }
}

thread_local! {
    static GONE: RefCell<BTreeSet<u64>> = const { RefCell::new(BTreeSet::new()) };
}

/// What came back for a ticket.
pub(crate) type Back = Result<Answers, Why>;

pub(crate) struct Desk {
    pub(crate) engine: Engine<Name>,
    pub(crate) boot_ms: u64,
    /// Entries that the journal holds.
    pub(crate) journal: Vec<Arc<Entry>>,
    /// Appends that the journal has not answered.
    pub(crate) waiting: VecDeque<Arc<Entry>>,
    pub(crate) journal_held: bool,
    pub(crate) confirm_held: bool,
    pub(crate) confirming: Vec<PassId>,
    pub(crate) back: BTreeMap<u64, Back>,
    /// Soft facts that were shown.
    pub(crate) heard: Vec<Heard>,
    pub(crate) stopped: bool,
    pub(crate) next: u64,
    /// Every append, tried or not.
    pub(crate) appends: usize,
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
}

impl Desk {
    /// A new server with so many seats of `cad`.
    pub(crate) fn with_seats(seats: u32) -> Self {
        let mut desk = Self::on(Vec::new(), Safeguards::default());
        let installed = desk.now(install("A-1", &[("cad", seats)]));
        assert!(matches!(installed, Outcome::Installed { .. }), "{installed:?}");
        desk
    }

    /// A start on what a journal holds, which takes the first entry at once.
    pub(crate) fn on(journal: Vec<Arc<Entry>>, safeguards: Safeguards) -> Self {
        let mut desk = Self::starting_on(journal, safeguards);
        desk.journal_held = false;
        desk.commit_all();
        desk
    }

    /// A start on what a journal holds, which takes nothing yet: the first entry waits.
    pub(crate) fn starting_on(journal: Vec<Arc<Entry>>, safeguards: Safeguards) -> Self {
        let mut allocator = Allocator::new(safeguards);
        for entry in &journal {
            allocator.apply_entry(entry.index, entry.moment, &entry.events).unwrap();
        }
        let boot_ms = 1_000_000;
        let start = Start { lineage: Lineage([1; 16]), instance: [1; 16], folder_ttl_max_ms: 0 };
        let engine = Engine::start(allocator, reading(boot_ms), start).unwrap();
        GONE.with_borrow_mut(BTreeSet::clear);
        let mut desk = Self {
            engine,
            boot_ms,
            journal,
            waiting: VecDeque::new(),
            journal_held: true,
            confirm_held: false,
            confirming: Vec::new(),
            back: BTreeMap::new(),
            heard: Vec::new(),
            stopped: false,
            next: 0,
            appends: 0,
            events_max: 0,
            bytes_max: 0,
        };
        desk.drain();
        desk
    }

    /// The power fails; another start on what is durable.
    pub(crate) fn crash(self) -> Self {
        Self::on(self.journal, Safeguards::default())
    }

    /// A start on this journal after a restore, in a lineage of its own.
    pub(crate) fn restored(self) -> Self {
        let mut allocator = Allocator::new(Safeguards::default());
        for entry in &self.journal {
            allocator.apply_entry(entry.index, entry.moment, &entry.events).unwrap();
        }
        let start = Start { lineage: Lineage([2; 16]), instance: [2; 16], folder_ttl_max_ms: 0 };
        let engine = Engine::start(allocator, reading(self.boot_ms), start).unwrap();
        let mut desk = Self { engine, waiting: VecDeque::new(), confirming: Vec::new(), back: BTreeMap::new(), ..self };
        desk.drain();
        desk
    }

    pub(crate) fn drain(&mut self) {
        while let Some(effect) = self.engine.poll() {
            match effect {
                Effect::Append { fence, expected_head, entry } => {
                    assert_eq!(fence, entry.epoch);
                    assert_eq!(expected_head.0 + 1, entry.index.0);
                    self.appends += 1;
                    self.events_max = self.events_max.max(entry.events.len());
                    self.bytes_max = self.bytes_max.max(encode_entry(&entry).len());
                    self.waiting.push_back(entry);
                    if !self.journal_held {
                        self.commit();
                    }
                }
                Effect::Confirm(pass) => {
                    if self.confirm_held {
                        self.confirming.push(pass);
                    } else {
                        self.engine.handle(Input::Confirmed(pass));
                    }
                }
                Effect::Fail(Name(name), why) => self.came_back(name, Err(why)),
                Effect::Publish { entry, heard, answers } => {
                    self.heard.extend(heard);
                    if let Some(entry) = entry {
                        assert!(self.journal.iter().any(|there| there.index == entry.index), "shown before it is durable");
                    }
                    for (Name(name), answers) in answers {
                        self.came_back(name, Ok(answers));
                    }
                }
                Effect::Stopped => self.stopped = true,
            }
        }
    }

    fn came_back(&mut self, name: u64, back: Back) {
        assert!(self.back.insert(name, back).is_none(), "ticket {name} came back twice");
    }

    /// The journal takes the first append that waits.
    pub(crate) fn commit(&mut self) {
        let entry = self.waiting.pop_front().unwrap();
        assert_eq!(entry.index.0, self.journal.last().map_or(0, |last| last.index.0) + 1);
        let index = entry.index;
        self.journal.push(entry);
        self.engine.handle(Input::Committed(index));
    }

    pub(crate) fn commit_all(&mut self) {
        while !self.waiting.is_empty() {
            self.commit();
            self.drain();
        }
    }

    /// The journal says this of the first append that waits, and drops those behind it.
    pub(crate) fn say(&mut self, input: Input) {
        self.waiting.clear();
        self.engine.handle(input);
        self.drain();
    }

    pub(crate) fn pass(&mut self) {
        self.engine.pass(reading(self.boot_ms));
        self.drain();
    }

    /// Time passes, with a pass at least every half second.
    pub(crate) fn wait_ms(&mut self, mut ms: u64) {
        while ms > 0 {
            let step = ms.min(500);
            self.boot_ms += step;
            ms -= step;
            self.pass();
        }
    }

    /// Passes until none is wanted at once.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            self.pass();
            if self.engine.wake_in_ms() != Some(0) {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    pub(crate) fn send(&mut self, origin: Origin, asked: impl Into<Asked>, hold_ms: u64) -> u64 {
        let name = self.next;
        self.next += 1;
        let request = Request { ticket: Name(name), origin, arrived_ms: self.boot_ms, asked: asked.into(), hold_ms };
        self.engine.submit(request);
        self.drain();
        name
    }

    /// Nobody waits for this answer any more.
    pub(crate) fn leaves(&mut self, name: u64) {
        GONE.with_borrow_mut(|gone| gone.insert(name));
    }

    pub(crate) fn ask(&mut self, command: Command) -> u64 {
        self.send(home(), command, 0)
    }

    /// Asks and decides.
    pub(crate) fn now(&mut self, command: Command) -> Outcome {
        let name = self.ask(command);
        self.settle();
        self.outcome(name)
    }

    pub(crate) fn outcome(&self, name: u64) -> Outcome {
        one(self.back.get(&name).unwrap_or_else(|| panic!("ticket {name} has not come back"))).outcome
    }

    pub(crate) fn is_back(&self, name: u64) -> bool {
        self.back.contains_key(&name)
    }

    pub(crate) fn why(&self, name: u64) -> Why {
        self.back[&name].clone().unwrap_err()
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.journal.iter().flat_map(|entry| &entry.events)
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.engine.allocator().epoch()
    }
}

pub(crate) fn one(back: &Back) -> Answer {
    match back {
        Ok(Answers::One(answer)) => answer.clone(),
        other => panic!("not one answer: {other:?}"),
    }
}

pub(crate) fn reading(boot_ms: u64) -> ClockReading {
    ClockReading { boot_ms, wall_ms: TODAY_MS + boot_ms as i64, synchronized: true }
}

pub(crate) fn home() -> Origin {
    from(1)
}

/// One network, one connection.
pub(crate) fn from(number: u8) -> Origin {
    Origin { network: Some(Network::V4([10, number, 0, 1])), connection: 1 }
}

pub(crate) fn license(id: &str, entitlements: &[(&str, u32)]) -> VerifiedLicense {
    license_with(id, "", entitlements, "")
}

/// With more lines at its top and in each entitlement.
fn license_with(id: &str, top: &str, entitlements: &[(&str, u32)], each: &str) -> VerifiedLicense {
    use std::fmt::Write as _;
    let vendor = Signer::new("acme.example".parse().unwrap(), SigningKey::from_seed([7; 32]));
    let mut text = format!(
        "format = \"triquest-lm/v1/license\"\nlicense = \"{id}\"\nvendor = \"acme.example\"\nverifier = [\"{}\"]\nlicensee = \"Initech\"\nissued = 2026-01-01\nservers = \"any\"\n{top}",
        vendor.verifier_key()
    );
    for (feature, seats) in entitlements {
        write!(text, "\n[[entitlement]]\nfeature = \"{feature}\"\nseats = {seats}\nexpires = 2027-12-31\n{each}").unwrap();
    }
    VerifiedLicense::verify_named(&Note::sign(&text, &[vendor]).unwrap()).unwrap()
}

pub(crate) fn install(id: &str, entitlements: &[(&str, u32)]) -> Command {
    let actor = Actor { name: "test".to_owned(), reason: String::new() };
    Command::Install(InstallLicense { license: Box::new(license(id, entitlements)), actor })
}

/// `cad` in place of another license, for at most so many seconds at a time.
pub(crate) fn install_shorter(id: &str, replaces: &str, seats: u32, ttl_s: u64) -> Command {
    let actor = Actor { name: "test".to_owned(), reason: String::new() };
    let top = format!("replaces = [\"{replaces}\"]\n");
    let each = format!("ttl = \"{ttl_s}s\"\nttl_max = \"{ttl_s}s\"\n");
    Command::Install(InstallLicense { license: Box::new(license_with(id, &top, &[("cad", seats)], &each)), actor })
}

pub(crate) fn lease(number: u32) -> LeaseId {
    let digest = triquest_license::sha256(&number.to_le_bytes());
    LeaseId(digest[..16].try_into().unwrap())
}

pub(crate) fn checkout(number: u32) -> Command {
    checkout_of(number, 1, None)
}

pub(crate) fn waits(number: u32) -> Command {
    checkout_of(number, 1, Some(86_400_000))
}

pub(crate) fn checkout_of(number: u32, attempt: u32, wait_ms: Option<u64>) -> Command {
    let claim = |value: String| Some(Claim { value, proved: false });
    Command::Checkout {
        lease: lease(number),
        attempt,
        accepts: Default::default(),
        content: ContentDigest([number as u8; 16]),
        holder: Holder { user: claim(format!("user{}", number % 7)), host: claim(format!("host{}", number % 5)), ..Holder::default() },
        vendor_keys: vec![*SigningKey::from_seed([7; 32]).public().as_bytes()],
        items: vec![CheckoutItem { feature: "cad".parse().unwrap(), version: None, seats: 1 }],
        ttl_ms: None,
        wait_ms,
        network: Some(Network::V4([10, 1, 0, 1])),
        regained: false,
    }
}

/// A checkout that shows a grant of this lineage, signed in such an epoch and entry.
pub(crate) fn adopt(number: u32, epoch: u64, index: u64) -> Command {
    let Command::Checkout { lease, attempt, accepts, content, holder, vendor_keys, items, ttl_ms, wait_ms, network, regained } =
        checkout(number)
    else {
        unreachable!("a checkout is one")
    };
    let shown = Box::new(triquest_allocator::ShownGrant {
        lineage: Lineage([1; 16]),
        epoch: Epoch(epoch),
        instance: triquest_allocator::Instance([1; 16]),
        index: triquest_allocator::Index(index),
        ttl_ms: 300_000,
        items: items.iter().map(|item| triquest_allocator::ShownItem { feature: item.feature.clone(), from: Vec::new() }).collect(),
    });
    let next_lineage = Lineage([9; 16]);
    Command::Adopt { lease, attempt, accepts, content, holder, vendor_keys, items, ttl_ms, wait_ms, network, regained, shown, next_lineage }
}

pub(crate) fn renew(number: u32, counter: u64) -> Command {
    Command::Renew { lease: lease(number), counter, nonce: [counter as u8; 16], idle_ms: None, presence: None, regained: false }
}

pub(crate) fn release(number: u32) -> Command {
    Command::Release { lease: lease(number), network: Some(Network::V4([10, 1, 0, 1])) }
}

pub(crate) fn is_granted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Granted(_))
}

pub(crate) fn is_renewed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Renewed { .. })
}
