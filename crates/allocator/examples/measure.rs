//! What a lease costs in memory and each operation in processor time, with few and many leases and pools.
//!
//! `cargo run --release -p triquest-allocator --example measure [LEASES] [POOLS]`
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use triquest_allocator::{
    Actor, Allocator, CheckoutItem, Claim, Command, ContentDigest, Epoch, Holder, Index, InstallLicense, Instance, LeaseId, Lineage,
    Moment, Outcome, Safeguards, Timestamp,
};
use triquest_license::{Note, Signer, SigningKey, VendorName, VerifiedLicense, sha256};

struct World {
    state: Allocator,
    index: u64,
    at: u64,
    key: [u8; 32],
    signer: Signer,
    worst_us: u128,
}

/// Memory in use, pages that were swapped out included.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| line.starts_with("VmRSS:") || line.starts_with("VmSwap:"));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>() * 1_024
}

/// Processor time of this thread: other programs on a busy machine do not count.
struct Instant(Duration);

impl Instant {
    fn now() -> Self {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Self(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    fn elapsed(&self) -> Duration {
        Self::now().0 - self.0
    }
}

fn claim(value: String) -> Option<Claim> {
    Some(Claim { value, proved: false })
}

impl World {
    fn new() -> Self {
        let signer = Signer::new(VendorName::new("acme.example").unwrap(), SigningKey::from_seed([7; 32]));
        let key = *signer.verifier_key().public().as_bytes();
        let mut world = Self { state: Allocator::new(Safeguards::default()), index: 0, at: 0, key, signer, worst_us: 0 };
        world.batch(vec![Command::Recover {
            epoch: Epoch(1),
            instance: Instance([1; 16]),
            lineage: Lineage([1; 16]),
            folder_ttl_max_ms: 0,
        }]);
        world
    }

    /// One batch through the allocator, as a driver does; the longest is remembered.
    fn batch(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        let mut commands: Vec<_> = commands.into_iter().map(|command| ((), command)).collect();
        let mut outcomes = Vec::new();
        while !commands.is_empty() {
            let moment = Moment { at: Timestamp(self.at), wall_ms: 1_800_000_000_000 + self.at as i64 };
            let start = Instant::now();
            let batch = self.state.decide_batch(moment, commands);
            if !batch.events.is_empty() {
                self.index += 1;
                self.state.sealed(Index(self.index));
                self.state.committed(Index(self.index));
            }
            self.worst_us = self.worst_us.max(start.elapsed().as_micros());
            outcomes.extend(batch.outcomes.into_iter().map(|(_, outcome)| outcome));
            commands = batch.left;
        }
        outcomes
    }

    fn install_pools(&mut self, pools: usize, seats: u32) {
        for first in (0..pools).step_by(100) {
            let mut text = format!(
                "format = \"triquest-lm/v1/license\"\nlicense = \"L{first}\"\nvendor = \"acme.example\"\nverifier = [\"{}\"]\nlicensee = \"Initech\"\nissued = 2026-01-01\nservers = \"any\"\n",
                self.signer.verifier_key()
            );
            for pool in first..(first + 100).min(pools) {
                text.push_str(&format!("\n[[entitlement]]\nfeature = \"f{pool}\"\nseats = {seats}\n"));
            }
            let note = Note::sign(&text, std::slice::from_ref(&self.signer)).unwrap();
            let license = Box::new(VerifiedLicense::verify_named(&note).unwrap());
            let actor = Actor { name: "measure".into(), reason: String::new() };
            let outcomes = self.batch(vec![Command::Install(InstallLicense { license, actor })]);
            assert!(matches!(outcomes[0], Outcome::Installed { .. }), "{outcomes:?}");
        }
    }

    fn checkout(&self, number: usize, pools: usize) -> Command {
        let user = number % 20_000;
        let digest = sha256(&number.to_le_bytes());
        let (mut lease, mut content) = ([0; 16], [0; 16]);
        lease.copy_from_slice(&digest[..16]);
        content.copy_from_slice(&digest[16..]);
        Command::Checkout {
            accepts: Default::default(),
            lease: LeaseId(lease),
            attempt: 1,
            content: ContentDigest(content),
            holder: Holder {
                user: claim(format!("user{user}@corp.example")),
                host: claim(format!("ws{user}.corp.example")),
                display: claim(":0".into()),
                session: claim("local".into()),
                address: Some(Claim { value: format!("10.1.{}.{}", user / 256, user % 256), proved: true }),
                process: claim(format!("{}:cad", 1_000 + number)),
                ..Holder::default()
            },
            vendor_keys: vec![self.key],
            items: vec![CheckoutItem {
                feature: format!("f{}", number.wrapping_mul(7_919) % pools).parse().unwrap(),
                version: None,
                seats: 1,
            }],
            ttl_ms: None,
            wait_ms: None,
            regained: false,
            network: None,
        }
    }

    fn id(number: usize) -> LeaseId {
        let mut lease = [0; 16];
        lease.copy_from_slice(&sha256(&number.to_le_bytes())[..16]);
        LeaseId(lease)
    }

    /// Nanoseconds for each of these commands, in batches of 32.
    fn time(&mut self, what: &str, commands: Vec<Command>) {
        let count = commands.len();
        let mut batches = Vec::new();
        let mut commands = commands.into_iter();
        loop {
            let batch: Vec<_> = commands.by_ref().take(32).collect();
            if batch.is_empty() {
                break;
            }
            batches.push(batch);
        }
        self.worst_us = 0;
        let start = Instant::now();
        for batch in batches {
            self.batch(batch);
        }
        let each = start.elapsed().as_nanos() / count as u128;
        println!("  {what:<10} {each:>6} ns each, worst batch of 32 {} us", self.worst_us);
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let most_leases = arguments.next().unwrap_or(1_000_000);
    let most_pools = arguments.next().unwrap_or(100_000);
    let start = Instant::now();
    let sum = (0..100_000_u64).fold(0_u64, |sum, number| sum + u64::from(sha256(&number.to_le_bytes())[0]));
    println!("for comparison: a SHA-256 of 8 bytes takes {} ns here and now (sum {sum})", start.elapsed().as_nanos() / 100_000);
    for (leases, pools) in [(1_000, 10), (most_leases, 10), (1_000, most_pools), (most_leases, most_pools)] {
        println!("{leases} leases, {pools} pools");
        let mut world = World::new();
        world.install_pools(pools, 4_000_000 / pools as u32);
        let before = resident();
        let start = Instant::now();
        let mut number = 0;
        let mut making = 0;
        while number < leases {
            let commands: Vec<_> = (number..(number + 256).min(leases)).map(|number| world.checkout(number, pools)).collect();
            number += commands.len();
            let each = Instant::now();
            let outcomes = world.batch(commands);
            making += each.elapsed().as_nanos();
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Granted(_))));
            world.at += 1;
        }
        println!(
            "  growth     {:>6} ns each, worst batch of 256 {} us, {} ms in all with making requests, {} bytes resident a lease",
            making / leases as u128,
            world.worst_us,
            start.elapsed().as_millis(),
            (resident().saturating_sub(before)) / leases as u64
        );
        let some = 20_000;
        let fresh: Vec<_> = (leases..leases + some).map(|number| world.checkout(number, pools)).collect();
        world.time("checkout", fresh);
        let renew = |number: usize| Command::Renew {
            lease: World::id(number.wrapping_mul(104_729) % leases),
            counter: number as u64 + 1,
            nonce: [1; 16],
            idle_ms: None,
            presence: None,
            regained: false,
        };
        world.time("renew", (0..some).map(renew).collect());
        world.time("release", (leases..leases + some).map(|number| Command::Release { lease: World::id(number), network: None }).collect());
        world.time(
            "denial",
            (0..some)
                .map(|number| {
                    let mut command = world.checkout(2 * most_leases + number, pools);
                    let taken = (number % leases).wrapping_mul(7_919) % pools;
                    if let Command::Checkout { items, .. } = &mut command {
                        items[0].feature = format!("f{taken}").parse().unwrap();
                        items[0].seats = 4_000_000 / pools as u32;
                    }
                    command
                })
                .collect(),
        );
        if leases == most_leases {
            let start = Instant::now();
            let records: Vec<_> = world.state.snapshot().collect();
            println!("  snapshot   {} ms for {} records", start.elapsed().as_millis(), records.len());
            let start = Instant::now();
            let mut loaded = Allocator::load(Safeguards::default(), records).unwrap();
            println!("  load       {} ms with a recount of everything", start.elapsed().as_millis());
            let start = Instant::now();
            let moment = Moment { at: Timestamp(world.at), wall_ms: 1_800_000_000_000 };
            loaded.decide(
                moment,
                Command::Recover { epoch: Epoch(2), instance: Instance([2; 16]), lineage: Lineage([1; 16]), folder_ttl_max_ms: 0 },
                &mut Vec::new(),
            );
            println!("  recover    {} ms", start.elapsed().as_millis());
            drop(loaded);
            world.at += 400_000;
            world.worst_us = 0;
            let start = Instant::now();
            let mut batches = 0;
            while world.state.leases() > 0 {
                world.batch(vec![Command::Sweep]);
                batches += 1;
            }
            println!("  expire all {} ms in {batches} batches, worst {} us", start.elapsed().as_millis(), world.worst_us);
        }
        world.state.check_invariants().unwrap();
    }
}
