//! A server without a network: a driver, a journal that obeys the test, and a clock that the test moves.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex},
};

use tokio::sync::watch;
use triquest_allocator::{
    Actor, CheckoutItem, Claim, Command, ContentDigest, Epoch, Holder, Index, InstallLicense, LeaseId, Lineage, Outcome, Safeguards,
};
use triquest_journal::{
    Appended, Head, History, Journal, JournalError, Room,
    memory::{Fault, MemoryDisk, MemoryJournal},
};
use triquest_license::{Note, ServerKey, Signer, SigningKey, VerifiedLicense};
use triquest_server::{
    clock::HandClock,
    driver::{self, Answer, Driver, DriverError, Parts},
};

/// 2026-11-23 00:00 UTC.
pub(crate) const TODAY_MS: i64 = 1_795_392_000_000;

/// What the next appends meet. Clones are the same.
#[derive(Clone)]
pub(crate) struct Gate {
    inner: Arc<(Mutex<GateState>, Condvar)>,
    arrived: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct GateState {
    held: bool,
    faults: VecDeque<Fault>,
}

impl Gate {
    pub(crate) fn hold(&self) {
        self.inner.0.lock().unwrap().held = true;
    }

    pub(crate) fn open(&self) {
        self.inner.0.lock().unwrap().held = false;
        self.inner.1.notify_all();
    }

    pub(crate) fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.inner.0.lock().unwrap().faults.extend(faults);
    }

    /// How many appends have come to the journal so far, answered or not.
    pub(crate) fn arrivals(&self) -> u64 {
        *self.arrived.borrow()
    }

    pub(crate) async fn wait_for_arrivals(&self, count: u64) {
        self.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.unwrap();
    }
}

struct GatedJournal {
    journal: MemoryJournal,
    gate: Gate,
}

impl Journal for GatedJournal {
    fn append(&mut self, fence: Epoch, expected_head: Index, entry: &[u8]) -> Result<Appended, JournalError> {
        self.gate.arrived.send_modify(|arrived| *arrived += 1);
        let (state, changed) = &*self.gate.inner;
        let mut state = state.lock().unwrap();
        while state.held {
            state = changed.wait(state).unwrap();
        }
        if let Some(fault) = state.faults.pop_front() {
            self.journal.inject([fault]);
        }
        drop(state);
        self.journal.append(fence, expected_head, entry)
    }

    fn room(&mut self) -> Result<Room, JournalError> {
        self.journal.room()
    }

    fn release_reserve(&mut self) -> Result<bool, JournalError> {
        self.journal.release_reserve()
    }

    fn restore_reserve(&mut self) -> Result<bool, JournalError> {
        self.journal.restore_reserve()
    }
}

impl History for GatedJournal {
    fn head(&self) -> Head {
        self.journal.head()
    }

    fn oldest(&mut self) -> Result<Index, JournalError> {
        self.journal.oldest()
    }

    fn read(&mut self, from: Index, bytes_max: usize) -> Result<Vec<(Index, Vec<u8>)>, JournalError> {
        self.journal.read(from, bytes_max)
    }

    fn snapshot(&mut self) -> Result<Option<(Index, u32)>, JournalError> {
        self.journal.snapshot()
    }

    fn snapshot_chunk(&mut self, index: Index, number: u32) -> Result<Vec<u8>, JournalError> {
        self.journal.snapshot_chunk(index, number)
    }

    fn write_snapshot_chunk(&mut self, index: Index, number: u32, chunk: &[u8]) -> Result<(), JournalError> {
        self.journal.write_snapshot_chunk(index, number, chunk)
    }

    fn finish_snapshot(&mut self, index: Index, chunks: u32) -> Result<(), JournalError> {
        self.journal.finish_snapshot(index, chunks)
    }

    fn drop_unfinished(&mut self) -> Result<bool, JournalError> {
        self.journal.drop_unfinished()
    }

    fn truncate(&mut self, through: Index) -> Result<bool, JournalError> {
        self.journal.truncate(through)
    }
}

pub(crate) struct World {
    pub(crate) disk: MemoryDisk,
    pub(crate) gate: Gate,
    pub(crate) clock: HandClock,
    pub(crate) driver: Driver,
    pub(crate) server_key: ServerKey,
}

impl World {
    /// A new server without licenses.
    pub(crate) fn new() -> Self {
        Self::start(MemoryDisk::new(Lineage([1; 16])), HandClock::new(TODAY_MS))
    }

    pub(crate) fn start(disk: MemoryDisk, clock: HandClock) -> Self {
        let gate = Gate { inner: Arc::default(), arrived: Arc::new(watch::Sender::new(0)) };
        let key = Arc::new(SigningKey::from_seed([42; 32]));
        let server_key = ServerKey::new(*key.public());
        let driver = driver::start(Parts {
            data_dir: std::path::PathBuf::new(),
            journal: Box::new(GatedJournal { journal: disk.open(), gate: gate.clone() }),
            signing_key: key,
            server_key,
            clock: Arc::new(clock.clone()),
            safeguards: Safeguards::default(),
            instance: next_instance(),
            folder_ttl_max_ms: 0,
        })
        .unwrap();
        Self { disk, gate, clock, driver, server_key }
    }

    /// A new server with so many seats of `cad`.
    pub(crate) async fn with_seats(seats: u32) -> Self {
        let world = Self::new();
        world.install("A-1", &[("cad", seats)]).await;
        world
    }

    pub(crate) async fn install(&self, id: &str, rights: &[(&str, u32)]) -> Outcome {
        self.decide(install(id, rights)).await.unwrap().outcome
    }

    pub(crate) async fn decide(&self, command: Command) -> Result<Answer, DriverError> {
        self.driver.decide(command, Some([9; 32])).await
    }

    /// Decides in a task of its own.
    pub(crate) fn spawn(&self, command: Command) -> tokio::task::JoinHandle<Result<Answer, DriverError>> {
        let driver = self.driver.clone();
        tokio::spawn(async move { driver.decide(command, Some([9; 32])).await })
    }

    /// The power fails; another server starts on what is durable.
    pub(crate) fn crash(self) -> Self {
        Self::start(self.disk.clone(), self.clock.clone())
    }

    /// Stops in order and starts again.
    pub(crate) async fn restart(self) -> Self {
        self.driver.stop().await;
        Self::start(self.disk, self.clock)
    }

    pub(crate) async fn tick(&self) {
        self.decide(Command::Sweep).await.unwrap();
    }
}

/// No two starts have the same.
fn next_instance() -> [u8; 32] {
    static STARTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let mut instance = [0; 32];
    instance[..8].copy_from_slice(&STARTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_be_bytes());
    instance
}

pub(crate) fn vendor() -> Signer {
    vendor_of(7)
}

/// The vendor's name with another key.
pub(crate) fn vendor_of(seed: u8) -> Signer {
    Signer::new("acme.example".parse().unwrap(), SigningKey::from_seed([seed; 32]))
}

pub(crate) fn license(id: &str, rights: &[(&str, u32)]) -> VerifiedLicense {
    license_with(id, "", rights)
}

/// The same with more lines at the top.
pub(crate) fn license_with(id: &str, top: &str, rights: &[(&str, u32)]) -> VerifiedLicense {
    signed_by(&[vendor()], id, top, rights)
}

/// The same, signed by these.
pub(crate) fn signed_by(signers: &[Signer], id: &str, top: &str, rights: &[(&str, u32)]) -> VerifiedLicense {
    use std::fmt::Write as _;
    let keys: Vec<String> = signers.iter().map(|signer| format!("\"{}\"", signer.verifier_key())).collect();
    let mut text = format!(
        "format = \"triquest-lm/v1/license\"\nlicense = \"{id}\"\nvendor = \"acme.example\"\nverifier = [{}]\nlicensee = \"Initech\"\nissued = 2026-01-01\nservers = \"any\"\n{top}",
        keys.join(", ")
    );
    for (feature, seats) in rights {
        write!(text, "\n[[entitlement]]\nfeature = \"{feature}\"\nseats = {seats}\nexpires = 2027-12-31\n").unwrap();
    }
    VerifiedLicense::verify_named(&Note::sign(&text, signers).unwrap()).unwrap()
}

pub(crate) fn actor() -> Actor {
    Actor { name: "test".to_owned(), reason: String::new() }
}

pub(crate) fn install(id: &str, rights: &[(&str, u32)]) -> Command {
    install_with(id, "", rights)
}

pub(crate) fn install_with(id: &str, top: &str, rights: &[(&str, u32)]) -> Command {
    Command::Install(InstallLicense { license: Box::new(license_with(id, top, rights)), actor: actor() })
}

pub(crate) fn lease(number: u32) -> LeaseId {
    let digest = triquest_license::sha256(&number.to_le_bytes());
    LeaseId(digest[..16].try_into().unwrap())
}

pub(crate) fn checkout(number: u32) -> Command {
    checkout_of(number, 1, &[("cad", 1)], None)
}

pub(crate) fn checkout_of(number: u32, attempt: u32, items: &[(&str, u32)], wait_ms: Option<u64>) -> Command {
    let claim = |value: String| Some(Claim { value, proved: false });
    Command::Checkout {
        accepts: Default::default(),
        lease: lease(number),
        attempt,
        content: ContentDigest([number as u8; 16]),
        holder: Holder {
            user: claim(format!("user{}", number % 7)),
            host: claim(format!("host{}", number % 5)),
            process: claim(format!("{}:cad", 1_000 + number)),
            ..Holder::default()
        },
        vendor_keys: vec![*vendor().key().public().as_bytes()],
        items: items
            .iter()
            .map(|(feature, seats)| CheckoutItem { feature: feature.parse().unwrap(), version: None, seats: *seats })
            .collect(),
        ttl_ms: None,
        wait_ms,
        regained: false,
        network: None,
    }
}

pub(crate) fn renew(number: u32, counter: u64) -> Command {
    Command::Renew { lease: lease(number), counter, nonce: [counter as u8; 16], idle_ms: Some(500), presence: None, regained: false }
}

pub(crate) fn release(number: u32) -> Command {
    Command::Release { lease: lease(number), network: None }
}

pub(crate) fn is_granted(answer: &Result<Answer, DriverError>) -> bool {
    matches!(answer, Ok(Answer { outcome: Outcome::Granted(_), .. }))
}
