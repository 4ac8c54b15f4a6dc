//! What an append costs against the bare disk, and how long a restart takes.
//!
//! ```console
//! $ cargo run --release -p triquest-journal --example append -- [DIRECTORY] [LEASES]
//! ```
//!
//! In one run and in turns, the same bytes are written to a preallocated file with `pwrite` + `fdatasync` (the floor) and appended to a
//! [`SqliteJournal`], in entries of 1, 16 and 256 checkouts. Then so many leases (a million) are granted, snapshots are made while
//! appends go on, and the journal is opened and loaded again.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use triquest_allocator::{
    Actor, Allocator, CheckoutItem, Claim, Command, ContentDigest, Epoch, Event, Holder, Index, InstallLicense, Instance, LeaseId, Moment,
    Safeguards, Timestamp,
};
use triquest_journal::record::{Entry, decode_chunk, decode_entry, encode_entry};
use triquest_journal::snapshot::{Remote, Work, make};
use triquest_journal::{Appended, History, Journal, OpenMode, SqliteJournal, load_counted};
use triquest_license::{FeatureName, Note, ServerKey, Signer, SigningKey, VendorName, VerifiedLicense};

const ROUNDS: usize = 10;
const WALL_MS: i64 = 1_795_392_000_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let leases: u64 = arguments.next().map_or(1_000_000, |count| count.parse().unwrap());
    let dir = base.join(format!("triquest-append-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    appends(&dir);
    restart(&dir, leases);
    std::fs::remove_dir_all(&dir).unwrap();
}

fn appends(dir: &Path) {
    let data = dir.join("appends");
    let mut journal = SqliteJournal::open(&data, OpenMode::Init).unwrap();
    let mut core = Core::new(&mut journal, 1_000_000);
    let floor = preallocated(&dir.join("floor"));
    let mut floor_at = 0;
    println!(
        "{:>9} {:>7} | {:>9} {:>9} | {:>9} {:>9} | {:>6} {:>9} {:>9}",
        "checkouts", "bytes", "floor p50", "p99", "append p50", "p99", "p50 x", "encode us", "decode us"
    );
    for (batch, count) in [(1usize, 300usize), (16, 200), (256, 60)] {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        let (mut encoding, mut decoding, mut events, mut bytes_in_all) = (Duration::ZERO, Duration::ZERO, 0, 0);
        for _ in 0..ROUNDS {
            let mut entries = Vec::new();
            for _ in 0..count {
                let entry = core.checkouts(batch);
                let began = Instant::now();
                let bytes = encode_entry(&entry);
                encoding += began.elapsed();
                let began = Instant::now();
                std::hint::black_box(decode_entry(&bytes).unwrap());
                decoding += began.elapsed();
                events += entry.events.len();
                bytes_in_all += bytes.len();
                entries.push((entry.index, bytes));
            }
            for (_, bytes) in &entries {
                let began = Instant::now();
                floor.write_all_at(bytes, floor_at).unwrap();
                floor.sync_data().unwrap();
                bare.push(began.elapsed());
                floor_at += bytes.len() as u64;
            }
            for (index, bytes) in &entries {
                let began = Instant::now();
                assert_eq!(journal.append(Epoch(1), Index(index.0 - 1), bytes).unwrap(), Appended::Committed);
                ours.push(began.elapsed());
            }
        }
        let (bare, ours) = (percentiles(bare), percentiles(ours));
        println!(
            "{batch:>9} {:>7} | {:>9} {:>9} | {:>10} {:>9} | {:>6.2} {:>9.2} {:>9.2}",
            bytes_in_all / (ROUNDS * count),
            us(bare.0),
            us(bare.1),
            us(ours.0),
            us(ours.1),
            ours.0.as_secs_f64() / bare.0.as_secs_f64(),
            encoding.as_secs_f64() * 1e6 / events as f64,
            decoding.as_secs_f64() * 1e6 / events as f64,
        );
    }
}

fn restart(dir: &Path, leases: u64) {
    let data = dir.join("restart");
    let mut journal = SqliteJournal::open(&data, OpenMode::Init).unwrap();
    let began = Instant::now();
    let mut core = Core::new(&mut journal, leases);
    let mut left = leases;
    while left > 0 {
        let entry = core.checkouts(left.min(2_000) as usize);
        left -= entry.events.len() as u64;
        assert_eq!(journal.append(Epoch(1), Index(entry.index.0 - 1), &encode_entry(&entry)).unwrap(), Appended::Committed);
    }
    println!("\n{leases} checkouts decided and journalled in {:.2?}, {} MiB resident", began.elapsed(), resident_mib());
    let tail = time("load from entries alone", || load_counted(&mut journal, Safeguards::default()).unwrap());
    println!("  {:?}", tail.1);
    drop(tail);

    // A snapshot on another thread, appends in between: what an append waits.
    let (send, works) = mpsc::channel::<Work>();
    let began = Instant::now();
    let maker = std::thread::spawn(move || {
        let mut remote = Remote::new(move |work| send.send(work).is_ok()).unwrap();
        make(&mut remote, Safeguards::default(), triquest_journal::snapshot::Keep::NONE).unwrap().unwrap()
    });
    let (mut works_took, mut appends_took) = (Vec::new(), Vec::new());
    let lease = core.next;
    for work in works {
        let began = Instant::now();
        work(&mut journal);
        works_took.push(began.elapsed());
        let entry = core.released(lease);
        let bytes = encode_entry(&entry);
        let began = Instant::now();
        assert_eq!(journal.append(Epoch(1), Index(entry.index.0 - 1), &bytes).unwrap(), Appended::Committed);
        appends_took.push(began.elapsed());
    }
    let made = maker.join().unwrap();
    let (works_took, appends_took) = (percentiles(works_took), percentiles(appends_took));
    println!("snapshot in {:.2?}: {} chunks, {} MiB", began.elapsed(), made.chunks, made.bytes >> 20);
    println!("  small works on the journal's thread: p50 {} p99 {} max {} us", us(works_took.0), us(works_took.1), us(works_took.2));
    println!("  appends meanwhile:                   p50 {} p99 {} max {} us", us(appends_took.0), us(appends_took.1), us(appends_took.2));
    drop(journal);
    drop(core);

    let began = Instant::now();
    let mut journal = time("open", || SqliteJournal::open(&data, OpenMode::Existing).unwrap());
    time("  of which reading and decoding", || {
        let (index, chunks) = journal.snapshot().unwrap().unwrap();
        (0..chunks).map(|number| decode_chunk(&journal.snapshot_chunk(index, number).unwrap()).unwrap().records.len()).sum::<usize>()
    });
    let (allocator, counts) = time("load from the snapshot", || load_counted(&mut journal, Safeguards::default()).unwrap());
    println!("restart with {} leases in {:.2?}, {} MiB resident\n  {counts:?}", allocator.leases(), began.elapsed(), resident_mib());
}

fn time<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (began, cpu) = (Instant::now(), cpu_time());
    let result = work();
    println!("{what}: {:.2?}, of which {:.2?} on a processor", began.elapsed(), cpu_time() - cpu);
    result
}

/// Of this process; on a busy machine it says more than the clock on the wall.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

fn us(duration: Duration) -> String {
    format!("{:.0}", duration.as_secs_f64() * 1e6)
}

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1])
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// A file of zeros, written: growing a file costs more than writing into one.
fn preallocated(path: &Path) -> File {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
    let zeros = vec![0; 1 << 20];
    for mib in 0..160 {
        file.write_all_at(&zeros, mib << 20).unwrap();
    }
    file.sync_all().unwrap();
    file
}

/// An allocator that grants seats of one license.
struct Core {
    allocator: Allocator,
    head: Index,
    lineage: triquest_allocator::Lineage,
    next: u64,
    key: [u8; 32],
}

impl Core {
    fn new(journal: &mut SqliteJournal, seats: u64) -> Self {
        let mut core = Self {
            allocator: Allocator::new(Safeguards::default()),
            head: Index(0),
            lineage: journal.head().lineage,
            next: 0,
            key: *SigningKey::from_seed([7; 32]).public().as_bytes(),
        };
        let actor = Actor { name: "bench".to_owned(), reason: String::new() };
        for command in [
            Command::Recover { epoch: Epoch(1), instance: Instance([1; 16]), lineage: core.lineage, folder_ttl_max_ms: 0 },
            Command::Install(InstallLicense { license: Box::new(license(seats)), actor }),
        ] {
            let entry = core.decide(vec![command]);
            assert_eq!(journal.append(Epoch(1), Index(entry.index.0 - 1), &encode_entry(&entry)).unwrap(), Appended::Committed);
        }
        core
    }

    fn decide(&mut self, commands: Vec<Command>) -> Entry {
        let moment = Moment { at: Timestamp(self.head.0), wall_ms: WALL_MS + self.head.0.cast_signed() };
        let batch = self.allocator.decide_batch(moment, commands.into_iter().map(|command| ((), command)).collect());
        self.head.0 += 1;
        self.allocator.sealed(self.head);
        self.allocator.committed(self.head);
        Entry { lineage: self.lineage, epoch: Epoch(1), index: self.head, moment, events: batch.events }
    }

    fn checkouts(&mut self, count: usize) -> Entry {
        let commands = (0..count).map(|_| self.checkout()).collect();
        let entry = self.decide(commands);
        assert!(
            !entry.events.is_empty() && entry.events.iter().all(|event| matches!(event, Event::Granted { .. })),
            "{:?}",
            entry.events.first()
        );
        entry
    }

    fn released(&mut self, lease: u64) -> Entry {
        self.decide(vec![Command::Release { lease: id(lease + self.head.0), network: None }])
    }

    fn checkout(&mut self) -> Command {
        self.next += 1;
        let number = self.next;
        let claim = |value: String, proved| Some(Claim { value, proved });
        Command::Checkout {
            accepts: Default::default(),
            lease: id(number),
            attempt: 1,
            content: ContentDigest(id(number).0),
            holder: Holder {
                user: claim(format!("user{:04}", number % 5_000), false),
                host: claim(format!("ws{:05}", number % 20_000), false),
                display: claim(":0".to_owned(), false),
                session: claim("x11".to_owned(), false),
                address: claim(format!("10.1.{}.{}", number / 256 % 256, number % 256), true),
                process: claim(format!("{}:cad", 1_000 + number % 60_000), false),
                ..Holder::default()
            },
            vendor_keys: vec![self.key],
            items: vec![CheckoutItem { feature: FeatureName::new("cad").unwrap(), version: "12.1".parse().ok(), seats: 1 }],
            ttl_ms: None,
            wait_ms: None,
            regained: false,
            network: None,
        }
    }
}

fn id(number: u64) -> LeaseId {
    LeaseId(triquest_license::sha256(&number.to_be_bytes())[..16].try_into().unwrap())
}

fn license(seats: u64) -> VerifiedLicense {
    let signer = Signer::new(VendorName::new("acme.example").unwrap(), SigningKey::from_seed([7; 32]));
    let server = ServerKey::from(*SigningKey::from_seed([9; 32]).public());
    let text = format!(
        "format = \"triquest-lm/v1/license\"\nlicense = \"BENCH\"\nvendor = \"acme.example\"\nverifier = [\"{}\"]\nlicensee = \"Initech\"\nissued = 2026-11-23\nservers = [\"{server}\"]\n\n[[entitlement]]\nfeature = \"cad\"\nversion = \"12.4\"\nseats = {seats}\nexpires = 2027-12-31\n",
        signer.verifier_key()
    );
    VerifiedLicense::verify_named(&Note::sign(&text, &[signer]).unwrap()).unwrap()
}
