//! How much memory a live lease takes in everything that the server keeps: allocator, read view, indexes; and the longest time that the
//! driver, or a reader of the view, stood still while leases grew.
//!
//! `cargo run --release -p triquest-server --example memory [LEASES]` (a million if not said). The journal forgets what it is given, so that
//! it neither takes memory nor bounds the rate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use triquest_allocator::{
    Actor, CheckoutItem, Claim, Command, ContentDigest, Epoch, Holder, Index, InstallLicense, LeaseId, Lineage, Outcome, Safeguards,
};
use triquest_journal::{Appended, Head, History, Journal, JournalError, Room};
use triquest_license::{Note, ServerKey, Signer, SigningKey, VerifiedLicense};
use triquest_server::{
    clock::MachineClock,
    driver::{self, Driver, Parts},
    view::LeaseFilter,
};

/// Requests that are under way at once.
const AT_ONCE: u32 = 256;
const FEATURES: u32 = 20;
/// A site with a hundred leases for each of its users, as a batch cluster has them, is the typical way to a million.
const USERS: u32 = 10_000;
const HOSTS: u32 = 10_000;

/// Says yes and keeps nothing.
struct Forgetful(Head);

impl Journal for Forgetful {
    fn append(&mut self, fence: Epoch, expected_head: Index, _batch: &[u8]) -> Result<Appended, JournalError> {
        self.0 = Head { epoch: fence, index: Index(expected_head.0 + 1), ..self.0 };
        Ok(Appended::Committed)
    }

    fn room(&mut self) -> Result<Room, JournalError> {
        Ok(Room::UNLIMITED)
    }
}

impl History for Forgetful {
    fn head(&self) -> Head {
        self.0
    }

    fn oldest(&mut self) -> Result<Index, JournalError> {
        Ok(Index(self.0.index.0 + 1))
    }

    fn read(&mut self, _from: Index, _bytes_max: usize) -> Result<Vec<(Index, Vec<u8>)>, JournalError> {
        Ok(Vec::new())
    }

    fn snapshot(&mut self) -> Result<Option<(Index, u32)>, JournalError> {
        Ok(None)
    }

    fn snapshot_chunk(&mut self, _index: Index, _number: u32) -> Result<Vec<u8>, JournalError> {
        Ok(Vec::new())
    }

    fn write_snapshot_chunk(&mut self, _index: Index, _number: u32, _chunk: &[u8]) -> Result<(), JournalError> {
        Ok(())
    }

    fn finish_snapshot(&mut self, _index: Index, _chunks: u32) -> Result<(), JournalError> {
        Ok(())
    }

    fn drop_unfinished(&mut self) -> Result<bool, JournalError> {
        Ok(false)
    }

    fn truncate(&mut self, _through: Index) -> Result<bool, JournalError> {
        Ok(false)
    }
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4_096
}

fn license(leases: u32) -> anyhow::Result<VerifiedLicense> {
    use std::fmt::Write as _;
    let vendor = Signer::new("acme.example".parse()?, SigningKey::from_seed([7; 32]));
    let mut text = format!(
        "format = \"triquest-lm/v1/license\"\nlicense = \"A-1\"\nvendor = \"acme.example\"\nverifier = [\"{}\"]\nlicensee = \"Initech\"\nissued = 2026-01-01\nservers = \"any\"\n",
        vendor.verifier_key()
    );
    for feature in 0..FEATURES {
        write!(text, "\n[[entitlement]]\nfeature = \"feature-{feature}\"\nseats = {leases}\nexpires = 2099-12-31\n")?;
    }
    Ok(VerifiedLicense::verify_named(&Note::sign(&text, &[vendor])?)?)
}

fn lease(number: u32) -> LeaseId {
    let digest = triquest_license::sha256(&number.to_le_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    LeaseId(id)
}

fn checkout(number: u32, vendor: [u8; 32]) -> anyhow::Result<Command> {
    let claim = |value: String, proved| Some(Claim { value, proved });
    Ok(Command::Checkout {
        accepts: Default::default(),
        lease: lease(number),
        attempt: 1,
        content: ContentDigest(lease(number).0),
        holder: Holder {
            user: claim(format!("user{:05}", number % USERS), false),
            host: claim(format!("node{:05}.example.com", number % HOSTS), false),
            address: claim(format!("10.1.{}.{}", number % HOSTS / 250, number % HOSTS % 250), true),
            process: claim(format!("{}:solver", 1_000 + number), false),
            ..Holder::default()
        },
        vendor_keys: vec![vendor],
        items: vec![CheckoutItem { feature: format!("feature-{}", number % FEATURES).parse()?, version: Some("12.4".parse()?), seats: 1 }],
        ttl_ms: Some(3_600_000),
        wait_ms: None,
        regained: false,
        network: None,
    })
}

async fn checkouts(driver: &Driver, from: u32, to: u32, vendor: [u8; 32]) -> anyhow::Result<Duration> {
    let mut slowest = Duration::ZERO;
    let mut tasks = tokio::task::JoinSet::new();
    for part in 0..AT_ONCE {
        let driver = driver.clone();
        tasks.spawn(async move {
            let mut slowest = Duration::ZERO;
            for number in (from + part..to).step_by(AT_ONCE as usize) {
                let began = Instant::now();
                let answer = driver.decide(checkout(number, vendor)?, None).await?;
                anyhow::ensure!(matches!(answer.outcome, Outcome::Granted(_)), "{:?}", answer.outcome);
                slowest = slowest.max(began.elapsed());
            }
            anyhow::Ok(slowest)
        });
    }
    while let Some(task) = tasks.join_next().await {
        slowest = slowest.max(task??);
    }
    Ok(slowest)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let leases: u32 = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let key = Arc::new(SigningKey::from_seed([42; 32]));
    let server_key = ServerKey::new(*key.public());
    let journal = Forgetful(Head { lineage: Lineage([1; 16]), epoch: Epoch(0), index: Index(0) });
    let driver = driver::start(Parts {
        data_dir: std::path::PathBuf::new(),
        journal: Box::new(journal),
        signing_key: key,
        server_key,
        clock: Arc::new(MachineClock::default()),
        safeguards: Safeguards::default(),
        instance: [0; 32],
        folder_ttl_max_ms: 0,
    })?;
    let license = license(leases)?;
    let vendor = *license.vendor_keys()[0].as_bytes();
    let actor = Actor { name: "example".to_owned(), reason: String::new() };
    driver.decide(Command::Install(InstallLicense { license: Box::new(license), actor }), None).await?;

    // Warm: buffers and threads that a server has anyway.
    checkouts(&driver, 0, 1_000, vendor).await?;
    let before = resident_bytes();
    let began = Instant::now();
    let slowest = checkouts(&driver, 1_000, leases, vendor).await?;
    let took = began.elapsed();
    let after = resident_bytes();
    println!("leases             {}", driver.view().live_leases());
    println!("bytes a lease      {}", (after - before) / u64::from(leases - 1_000));
    println!("checkouts a second {:.0} (no signature, no disk)", f64::from(leases - 1_000) / took.as_secs_f64());
    println!("slowest checkout   {:.1} ms", slowest.as_secs_f64() * 1_000.0);

    // All leases in pages, while renewals go on: how long does either wait for the other?
    let stop = Arc::new(AtomicBool::new(false));
    let renewals = tokio::spawn({
        let (driver, stop) = (driver.clone(), Arc::clone(&stop));
        async move {
            let (mut slowest, mut count) = (Duration::ZERO, 0u64);
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let number = (count * 7_919) as u32 % leases;
                count += 1;
                driver
                    .decide(
                        Command::Renew {
                            lease: lease(number),
                            counter: count,
                            nonce: [1; 16],
                            idle_ms: None,
                            presence: None,
                            regained: false,
                        },
                        None,
                    )
                    .await?;
                slowest = slowest.max(began.elapsed());
            }
            anyhow::Ok((slowest, count))
        }
    });
    let began = Instant::now();
    let reader = tokio::task::spawn_blocking({
        let driver = driver.clone();
        move || {
            let (mut after, mut rows, mut slowest) = (None, 0, Duration::ZERO);
            loop {
                let began = Instant::now();
                let page = driver.view().leases(&LeaseFilter::default(), after, 1_000);
                slowest = slowest.max(began.elapsed());
                rows += page.leases.len();
                after = page.next;
                if after.is_none() {
                    return (rows, slowest);
                }
            }
        }
    });
    let (rows, page) = reader.await?;
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let (slowest, count) = renewals.await??;
    println!("read {rows} rows in {:.1} s, slowest page of 1,000 {:.2} ms", took.as_secs_f64(), page.as_secs_f64() * 1_000.0);
    println!("renewals meanwhile {count}, slowest {:.2} ms", slowest.as_secs_f64() * 1_000.0);
    Ok(())
}
