//! Random clients against a real server process while it is killed, stopped, paused, robbed of its disk and given other licenses, in some worlds also by a
//! vendor with two keys, for clients that embed the one, the other, or both. Everything that
//! is asked and answered is recorded with times, and a checker that shares no code with the server judges it from the outside.

mod check;
mod clients;
mod json;
mod lineage;
mod record;
mod restore;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use serde_json::{Value, json};
use triquest_license::{CivilMs, Note, ServerKey, Signer, SigningKey, VendorName, VerifiedLicense};
use triquest_wire::Bytes32;

use crate::client::Connection;
use crate::experiments::Setting;
use crate::server::{MEASURING, Place, Process};
use check::{Counts, Violation};
use clients::{Client, Random, Recorder, Shared};
use record::{Asked, Fault, Heard, LicenseTerms, Micros, Reading, Recording, Sending, Spell, Terms};

/// What each run of `./test` tries.
pub(crate) const SEEDS: [u64; 2] = [1588, 32];
/// Clients of one world.
const CLIENTS: u32 = 10;
/// The disk of the data directory.
const DISK_MEBIBYTES: u32 = 96;
/// The end of a world, in which everything is given back and the dead expire, takes about so long.
const END: Duration = Duration::from_secs(16);
/// What is dead must be free within the bound that the checker knows; this is only how long is waited for it.
const DRAIN_MAX: Duration = Duration::from_secs(150);
/// Violations that are shown.
const SHOWN_MAX: usize = 5;

/// Worlds at once: they mostly wait, for answers and for what was promised.
const WORLDS_AT_ONCE: usize = 2;

/// Runs a world for each seed.
pub(crate) async fn run(setting: Setting, seconds: u64, seeds: &[u64], own_mounts: bool) -> anyhow::Result<()> {
    let turns = seeds.chunks(WORLDS_AT_ONCE).len().max(1);
    let length = Duration::from_secs(seconds / turns as u64);
    let setting = Arc::new(setting);
    let mut violated = 0;
    for seeds in seeds.chunks(WORLDS_AT_ONCE) {
        let worlds: Vec<_> = seeds
            .iter()
            .map(|seed| {
                let (setting, seed) = (Arc::clone(&setting), *seed);
                (seed, tokio::spawn(async move { world(&setting, seed, length, own_mounts).await }))
            })
            .collect();
        for (seed, world) in worlds {
            let judged = world.await?.with_context(|| format!("seed {seed}"))?;
            violated += report(seed, length, &judged)?;
        }
    }
    if violated > 0 {
        bail!("{violated} violations");
    }
    Ok(())
}

/// A world that is over.
struct Judged {
    recording: Recording,
    done: Done,
    found: Vec<Violation>,
    counts: Counts,
}

/// Says what a world was like, and what must not have been; how much of that there is.
fn report(seed: u64, length: Duration, judged: &Judged) -> anyhow::Result<usize> {
    let Judged { recording, done, found, counts } = judged;
    println!("{}", summary(seed, done, *counts, recording));
    if found.is_empty() {
        return Ok(0);
    }
    for violation in found.iter().take(SHOWN_MAX) {
        println!("\nviolated: {}\n  {}", violation.rule, violation.says);
        for line in &violation.excerpt {
            println!("    {line}");
        }
    }
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for violation in found {
        *rules.entry(violation.rule).or_default() += 1;
    }
    let rules: Vec<String> = rules.into_iter().map(|(rule, count)| format!("{rule} {count}")).collect();
    println!("\nviolated in all: {}", rules.join(", "));
    let file = std::env::temp_dir().join(format!("triquest-history-{seed}-{}.txt", std::process::id()));
    let mut text = format!("seed {seed}, {} s\n", length.as_secs());
    for violation in found {
        let _ = writeln!(text, "violated: {}: {}", violation.rule, violation.says);
    }
    text.push_str(&recording.text());
    text.push_str(&done.log);
    std::fs::write(&file, text)?;
    println!("the recording is in {}", file.display());
    println!("once more, as far as timing allows: triquest-bench history --seconds {} --seed {seed}", length.as_secs());
    Ok(found.len())
}

/// The same in a process that may mount a small disk, where this system lets it.
///
/// # Errors
/// If what ran there failed.
pub(crate) fn run_with_mounts(setting: &Setting, seconds: u64, seeds: &[u64]) -> anyhow::Result<bool> {
    let root = rustix::process::geteuid().is_root();
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(if root { &["-m"][..] } else { &["-r", "-m"] });
        command
    };
    let probe = "mount -t tmpfs -o size=1m tmpfs /tmp";
    let may = unshare().args(["sh", "-c", probe]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        println!("no small disk can be mounted here, so the disk never becomes full in this run");
        return Ok(false);
    }
    // Made here, because the directory outlives what is mounted in it.
    let mut folder = tempfile::Builder::new();
    let folder = folder.prefix("triquest-history-");
    let folder = match &setting.folder {
        Some(parent) => folder.tempdir_in(parent),
        None => folder.tempdir(),
    }?;
    let mut command = unshare();
    command.arg(std::env::current_exe()?).arg("--folder").arg(folder.path());
    if let Some(program) = &setting.program {
        command.arg("--program").arg(std::path::absolute(program)?);
    }
    command.args(["history", "--own-mounts", "--seconds", &seconds.to_string()]);
    for seed in seeds {
        command.args(["--seed", &seed.to_string()]);
    }
    let status = command.status().context("`unshare` did not start")?;
    if !status.success() {
        bail!("the history test failed: {status}");
    }
    Ok(true)
}

/// What was done in a world.
#[derive(Debug, Default)]
struct Done {
    kills: u32,
    stops: u32,
    pauses: u32,
    full: u32,
    /// Starts that needed room first.
    starts_without_room: u32,
    installs: u32,
    removals: u32,
    backups: u32,
    reclaims: u32,
    rollbacks: u32,
    restores: u32,
    log: String,
}

fn summary(seed: u64, done: &Done, counts: Counts, recording: &Recording) -> String {
    format!(
        "seed {seed}: {} requests ({} without an answer), {} grants, {} denials, {} waits, {} renewals, {} refusals; {} vendors became one, {} denials although seats of other keys were free, {} grants past waiters for such; {} facts in {} kills, {} stops, {} pauses, {} spells of a full disk, {} installations, {} removals, {} reclaims, {} backups, {} rollbacks, {} restores; {} presence connections left and {} died with, which freed {} leases; {} s",
        recording.sendings.len(),
        counts.unanswered,
        counts.granted,
        counts.denied,
        counts.waiting,
        counts.renewed,
        counts.problems,
        counts.merged,
        counts.denied_by_keys,
        counts.passed_by_keys,
        counts.facts,
        done.kills,
        done.stops,
        done.pauses,
        done.full,
        done.installs,
        done.removals,
        done.reclaims,
        done.backups,
        done.rollbacks,
        done.restores,
        recording.partings.iter().filter(|parting| !parting.died).count(),
        recording.partings.iter().filter(|parting| parting.died).count(),
        counts.freed_early,
        recording.end / 1_000_000
    )
}

/// Vendors that exist only here: two with one key each, and in some worlds one that goes from one key to another.
fn signers(two_keys: bool) -> anyhow::Result<Vec<Signer>> {
    let signer = |name: &str, seed| Ok::<_, anyhow::Error>(Signer::new(VendorName::new(name)?, SigningKey::from_seed([seed; 32])));
    let mut signers = vec![signer("history-one.example", 0x51)?, signer("history-two.example", 0x52)?];
    if two_keys {
        signers.extend([signer("history-keys.example", 0x53)?, signer("history-keys.example", 0x54)?]);
    }
    Ok(signers)
}

/// In two worlds of three.
fn has_two_keys(seed: u64) -> bool {
    !Random::new(seed ^ 0x6b65_7973).next().is_multiple_of(3)
}

fn key(signer: &Signer) -> Bytes32 {
    Bytes32(*signer.verifier_key().public().as_bytes())
}

/// One entitlement to be signed.
struct Draft {
    terms: Terms,
    ttl_max_ms: u64,
}

fn draft(feature: &str, seats: u64, ttl_max_ms: u64) -> Draft {
    Draft { terms: Terms { feature: feature.to_owned(), seats, ..Terms::default() }, ttl_max_ms }
}

/// Seconds since 1970, now.
fn this_second() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

/// A second as a license states it, as clocks show it so many minutes ahead of UTC.
fn written(second: i64, ahead_minutes: i64) -> String {
    let there = CivilMs((second + ahead_minutes * 60) * 1_000).to_string();
    if ahead_minutes == 0 {
        return there;
    }
    let (sign, minutes) = if ahead_minutes < 0 { ('-', -ahead_minutes) } else { ('+', ahead_minutes) };
    format!("{}{sign}{:02}:{:02}", there.trim_end_matches('Z'), minutes / 60, minutes % 60)
}

/// The licenses that were signed, and those that may be installed now.
struct Licenses {
    signers: Vec<Signer>,
    server_key: ServerKey,
    all: Vec<LicenseTerms>,
    notes: Vec<Note>,
    /// The main license of the first vendor: its number in its line of successors.
    main: u32,
    extras: u32,
    /// Extra licenses that may be there.
    there: Vec<usize>,
    /// Both keys of the third vendor have signed a text that was to be installed.
    linked: bool,
}

impl Licenses {
    /// Signs a license with these of the keys, which are one vendor's by name.
    fn sign(&mut self, keys: &[usize], id: &str, replaces: &[String], drafts: &[Draft]) -> anyhow::Result<usize> {
        let signers: Vec<Signer> = keys.iter().filter_map(|key| self.signers.get(*key)).cloned().collect();
        let name = signers.first().context("nobody signs")?.name();
        let verifiers: Vec<String> = signers.iter().map(|signer| format!("\"{}\"", signer.verifier_key())).collect();
        let quoted: Vec<String> = replaces.iter().map(|old| format!("\"{old}\"")).collect();
        let old = replaces;
        let replaces = if old.is_empty() { String::new() } else { format!("replaces = [{}]\n", quoted.join(", ")) };
        let mut text = format!(
            "format = \"triquest-lm/v1/license\"\nlicense = \"{id}\"\nvendor = \"{name}\"\nverifier = [{}]\nlicensee = \"History\"\nissued = 2026-01-01\nservers = [\"{}\"]\n{replaces}",
            verifiers.join(", "),
            self.server_key,
        );
        for Draft { terms, ttl_max_ms } in drafts {
            write!(text, "\n[[entitlement]]\nfeature = \"{}\"\n", terms.feature)?;
            if let Some(version) = &terms.version {
                writeln!(text, "version = \"{version}\"")?;
            }
            writeln!(text, "seats = {}\nttl = \"10s\"\nttl_max = \"{}s\"", terms.seats, ttl_max_ms / 1_000)?;
            if terms.linger_ms > 0 {
                writeln!(text, "linger = \"{}s\"", terms.linger_ms / 1_000)?;
            }
            for (name, second) in [("starts", terms.starts), ("expires", terms.expires)] {
                if let Some(second) = second {
                    // One license is written in Kathmandu, the next one in Honolulu.
                    let ahead = [0, 345, -600, 840, -150][self.all.len() % 5];
                    writeln!(text, "{name} = {}", written(second, ahead))?;
                }
            }
        }
        let note = Note::sign(&text, &signers)?;
        let hash = VerifiedLicense::verify_named(&note).map_err(|error| anyhow::anyhow!("{error}")).context("a license made here")?.hash();
        let entitlements = drafts.iter().map(|draft| draft.terms.clone()).collect();
        self.all.push(LicenseTerms {
            id: id.to_owned(),
            hash: hash.to_string(),
            vendor: name.to_string(),
            keys: signers.iter().map(|signer| clients::text(&key(signer))).collect(),
            replaces: old.to_vec(),
            entitlements,
        });
        self.notes.push(note);
        Ok(self.all.len() - 1)
    }

    fn main_drafts(random: &mut Random) -> Vec<Draft> {
        let ttl_max_ms = [10_000, 20_000, 30_000, 600_000][random.weighted(&[2, 2, 2, 1])];
        let mut sim = draft("sim", 3 + random.below(3), ttl_max_ms);
        sim.terms.linger_ms = 2_000;
        let mut versions: Vec<Draft> = Vec::new();
        for (version, seats, likely) in [(Some("1.0"), 2, 100), (Some("1.5"), 1, 40), (Some("2.0"), 3, 100), (None, 1, 25)] {
            if random.percent(likely) {
                let mut own = draft("ver", 1 + random.below(seats), ttl_max_ms);
                own.terms.version = version.map(str::to_owned);
                versions.push(own);
            }
        }
        let mut drafts = vec![draft("cad", 6 + random.below(5), ttl_max_ms), draft("cam", 4 + random.below(4), ttl_max_ms)];
        if random.percent(85) {
            drafts.push(sim);
            drafts.extend(versions);
        }
        // Some seats more, for a while.
        if random.percent(30) {
            let mut more = draft("cam", 1 + random.below(2), ttl_max_ms);
            more.terms.expires = Some(this_second() + 3 + random.below(6).cast_signed());
            drafts.push(more);
        }
        drafts
    }
}

/// A world: a server with its place, clients, and what goes wrong.
struct World {
    place: Arc<Place>,
    server: Option<Process>,
    shared: Arc<Shared>,
    licenses: Licenses,
    random: Random,
    recording: Recording,
    done: Done,
    /// The data directory is a small disk.
    small_disk: bool,
    cursor: Option<String>,
    /// What must not be and no checker of recordings sees.
    found: Vec<Violation>,
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> anyhow::Result<R> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

async fn world(setting: &Setting, seed: u64, length: Duration, own_mounts: bool) -> anyhow::Result<Judged> {
    let place = Arc::new(setting.place()?);
    // The observer tells vendors of one name apart by their keys, which are for viewers.
    place.configure(&format!("names_open = true\n{MEASURING}"))?;
    let disk = own_mounts.then(|| Disk::mount(&place.data())).transpose()?;
    let (server, _) = place.start().await?;
    let signers = signers(has_two_keys(seed))?;
    let shared = Arc::new(Shared {
        recorder: Recorder::new(),
        tls: crate::client::tls()?,
        port: AtomicU16::new(server.address().port()),
        ends: AtomicBool::new(false),
        early: AtomicBool::new(true),
        keys: signers.iter().map(key).collect(),
        granted: parking_lot::Mutex::new(VecDeque::new()),
    });
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros() as i64;
    let began = since_1970 - shared.recorder.now().cast_signed();
    let server_key = place.server_key()?;
    let licenses =
        Licenses { signers, server_key, all: Vec::new(), notes: Vec::new(), main: 0, extras: 0, there: Vec::new(), linked: false };
    let mut world = World {
        place,
        server: Some(server),
        shared: Arc::clone(&shared),
        licenses,
        random: Random::new(seed),
        recording: Recording { began, ..Recording::default() },
        done: Done::default(),
        small_disk: disk.is_some(),
        cursor: None,
        found: Vec::new(),
    };
    world.first_licenses().await?;
    let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(Client::new(number, seed, Arc::clone(&shared)).run())).collect();
    let observer = tokio::spawn(observe(Arc::clone(&shared)));
    world.storm(Instant::now() + length.saturating_sub(END).max(Duration::from_secs(5))).await?;
    shared.ends.store(true, Ordering::Relaxed);
    let mut living = Vec::new();
    for client in clients {
        living.push(client.await?);
    }
    let back: Vec<_> = living.into_iter().map(|client| tokio::spawn(client.give_back())).collect();
    for back in back {
        if !back.await? {
            world.violation("renewing_and_releasing_work", "seats could not be given back in 90 s although the server runs");
        }
    }
    world.drain().await?;
    world.read_facts().await?;
    world.read_again().await?;
    observer.await?;
    let end = world.now();
    world.roll_back().await?;
    world.restore().await?;
    world.stop_for_good().await?;
    let World { mut recording, mut done, mut found, licenses, place, .. } = world;
    recording.licenses = licenses.all;
    recording.sendings = shared.recorder.take();
    recording.sendings.sort_by_key(|sending| sending.sent);
    recording.partings = shared.recorder.take_partings();
    recording.end = end;
    done.log = place.log();
    drop(disk);
    let (more, counts, recording) = blocking(move || {
        let (more, counts) = check::check(&recording);
        (more, counts, recording)
    })
    .await?;
    found.extend(more);
    Ok(Judged { recording, done, found, counts })
}

/// Looks at the status all the time.
async fn observe(shared: Arc<Shared>) {
    let mut connection = None;
    while !shared.ends.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(60)).await;
        look(&shared, &mut connection).await;
    }
}

/// One look at the status, recorded.
async fn look(shared: &Shared, connection: &mut Option<Connection>) -> Option<Value> {
    let within = Duration::from_secs(5);
    if connection.is_none() {
        let address = ([127, 0, 0, 1], shared.port.load(Ordering::Relaxed)).into();
        *connection = tokio::time::timeout(within, Connection::open(&shared.tls, address)).await.ok()?.ok();
    }
    let open = connection.as_mut()?;
    let sent = shared.recorder.now();
    let Ok(Ok(status)) = tokio::time::timeout(within, open.call("GET", "/v1/status", b"")).await else {
        *connection = None;
        return None;
    };
    let body = String::from_utf8_lossy(open.body()).into_owned();
    let seen = serde_json::from_str(&body).ok();
    let heard = Some(Heard { received: shared.recorder.now(), status, body });
    shared.recorder.add(Sending { client: u32::MAX, asked: Asked::Status, sent, heard });
    seen
}

impl World {
    fn now(&self) -> Micros {
        self.shared.recorder.now()
    }

    fn violation(&mut self, rule: &'static str, says: impl Into<String>) {
        let log = self.place.log();
        let lines: Vec<String> = log.lines().rev().take(12).map(str::to_owned).collect();
        self.found.push(Violation { rule, says: says.into(), excerpt: lines.into_iter().rev().collect() });
    }

    async fn pause_ms(&mut self, from: u64, to: u64) {
        let ms = from + self.random.below(to - from);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    // Licenses.

    async fn first_licenses(&mut self) -> anyhow::Result<()> {
        let main = Licenses::main_drafts(&mut self.random);
        let main = self.licenses.sign(&[0], "MAIN-0000", &[], &main)?;
        let other = self.licenses.sign(&[1], "OTHER", &[], &[draft("cad", 3, 30_000), draft("net", 2, 600_000)])?;
        let mut first = vec![main, other];
        if self.licenses.signers.len() > 3 {
            // One of the keys has signed for few seats, and seats of the other are free while those are asked for.
            let (few, many) = (1 + self.random.below(2), 5 + self.random.below(3));
            let (old, new) = if self.random.percent(50) { (few, many) } else { (many, few) };
            let old = [draft("cad", old, 20_000), draft("cam", 2, 30_000)];
            let new = [draft("cad", new, 30_000)];
            first.push(self.licenses.sign(&[2], "OLD", &[], &old)?);
            first.push(self.licenses.sign(&[3], "NEW", &[], &new)?);
        }
        for license in first {
            if !self.install(license).await? {
                bail!("the first licenses are not installed: {}", self.place.log());
            }
        }
        Ok(())
    }

    /// One act of an administrator, recorded. Nothing if no answer came.
    async fn administer(&mut self, asked: Asked, method: &'static str, path: String, body: Value) -> anyhow::Result<Option<u16>> {
        let (place, sent) = (Arc::clone(&self.place), self.now());
        let answer = blocking(move || place.administer(method, &path, body.to_string().as_bytes())).await?;
        let heard = answer.ok().map(|(status, body)| Heard { received: self.now(), status, body });
        let status = heard.as_ref().map(|heard| heard.status);
        self.shared.recorder.add(Sending { client: u32::MAX, asked, sent, heard });
        Ok(status)
    }

    async fn install(&mut self, license: usize) -> anyhow::Result<bool> {
        self.done.installs += 1;
        let text = String::from_utf8(self.licenses.notes[license].to_file_bytes())?;
        let asked = Asked::Install { license: self.licenses.all[license].hash.clone() };
        let status = self.administer(asked, "POST", "/v1/licenses".to_owned(), json!({ "license": text, "reason": "history" })).await?;
        Ok(matches!(status, Some(200 | 201)))
    }

    /// Whether it took effect is not known where no answer came: asked again until it is.
    async fn install_for_sure(&mut self, license: usize) -> anyhow::Result<()> {
        for _ in 0..4 {
            if self.install(license).await? {
                break;
            }
            self.ensure_running().await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// An administrator installs a license that both keys of the third vendor have signed: from then on they are one. It may have seats of its own, or
    /// take the place of what the old key had signed.
    async fn link_keys(&mut self) -> anyhow::Result<()> {
        self.licenses.linked = true;
        let feature = ["cad", "cam", "net"][self.random.weighted(&[3, 1, 6])];
        let mut drafts = vec![draft(feature, 1 + self.random.below(2), 20_000)];
        let old: Vec<String> = if self.random.percent(25) { vec!["OLD".to_owned()] } else { Vec::new() };
        if !old.is_empty() {
            drafts.push(draft(if feature == "cad" { "cam" } else { "cad" }, 1 + self.random.below(3), 20_000));
        }
        let license = self.licenses.sign(&[2, 3], "BOTH", &old, &drafts)?;
        self.install_for_sure(license).await
    }

    async fn remove(&mut self, license: usize) -> anyhow::Result<bool> {
        self.done.removals += 1;
        let hash = self.licenses.all[license].hash.clone();
        let path = format!("/v1/licenses/{hash}");
        let status = self.administer(Asked::Remove { license: hash }, "DELETE", path, json!({ "reason": "history" })).await?;
        Ok(matches!(status, Some(200 | 404)))
    }

    async fn change_licenses(&mut self) -> anyhow::Result<()> {
        let there = self.licenses.there.len() as u64;
        if there > 0 && self.random.percent(if there > 2 { 70 } else { 35 }) {
            let which = self.random.below(there) as usize;
            let license = self.licenses.there[which];
            if self.remove(license).await? {
                self.licenses.there.remove(which);
            }
        } else if self.random.percent(45) {
            // The main license is replaced, by a new id or under its own.
            // One of the last may still wait for its day, and then those before it count on.
            let old: Vec<String> =
                (0..=3).filter_map(|back| self.licenses.main.checked_sub(back)).map(|old| format!("MAIN-{old:04}")).collect();
            if self.random.percent(70) {
                self.licenses.main += 1;
            }
            let id = format!("MAIN-{:04}", self.licenses.main);
            let mut drafts = Licenses::main_drafts(&mut self.random);
            if self.random.percent(40) {
                // The old rights end at the instant at which the new ones begin.
                let begins = this_second() + 1 + self.random.below(3).cast_signed();
                for draft in &mut drafts {
                    draft.terms.starts = Some(begins);
                    draft.terms.expires = draft.terms.expires.map(|expires| expires.max(begins + 2));
                }
            }
            let license = self.licenses.sign(&[0], &id, &old, &drafts)?;
            // So that there is one main license.
            self.install_for_sure(license).await?;
        } else {
            self.licenses.extras += 1;
            let id = format!("EXTRA-{:04}", self.licenses.extras);
            let third = if self.licenses.signers.len() > 3 { 2 } else { 0 };
            let both = if self.licenses.linked { 1 } else { 0 };
            let keys: &[usize] = [&[0][..], &[1], &[2], &[3], &[2, 3]][self.random.weighted(&[3, 1, third, third, both])];
            let ttl_max_ms = [10_000, 15_000, 60_000][self.random.below(3) as usize];
            let mut drafts = vec![draft("cad", 1 + self.random.below(3), ttl_max_ms)];
            if keys != [1] && self.random.percent(50) {
                drafts.push(draft("cam", 1 + self.random.below(2), ttl_max_ms));
            }
            if self.random.percent(55) {
                let now = this_second();
                for draft in &mut drafts {
                    draft.terms.starts = self.random.percent(60).then(|| now + self.random.below(4).cast_signed());
                    let from = draft.terms.starts.unwrap_or(now);
                    draft.terms.expires = self.random.percent(80).then(|| from + 2 + self.random.below(7).cast_signed());
                }
            }
            let license = self.licenses.sign(keys, &id, &[], &drafts)?;
            self.install(license).await?;
            self.licenses.there.push(license);
        }
        Ok(())
    }

    /// Takes a seat back from somebody who got one lately, at the end of its promise or at once.
    async fn reclaim(&mut self) -> anyhow::Result<()> {
        let lately: Vec<String> = self.shared.granted.lock().iter().cloned().collect();
        let which = self.random.below(lately.len() as u64) as usize;
        let Some(lease) = lately.get(which) else { return Ok(()) };
        let now = self.random.percent(35);
        self.done.reclaims += 1;
        let path = format!("/v1/leases/{lease}/reclaim");
        let asked = Asked::Reclaim { lease: lease.clone(), now };
        self.administer(asked, "POST", path, json!({ "reason": "history", "now": now })).await?;
        Ok(())
    }

    // The server.

    /// Ends the present process, if it still runs: at once, or as asked.
    async fn end(&mut self, gently: bool) -> anyhow::Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        if let Some(status) = server.ended() {
            self.violation("the_server_runs", format!("it ended by itself with {status}"));
            return Ok(());
        }
        if gently {
            if let Err(error) = blocking(move || server.stop()).await? {
                self.violation("the_server_runs", format!("asked to stop: {error:#}"));
            }
        } else {
            blocking(move || server.crash()).await??;
        }
        Ok(())
    }

    async fn begin(&mut self, filler: Option<&Path>) -> anyhow::Result<()> {
        let server = match self.place.start().await {
            Ok((server, _)) => server,
            Err(error) => {
                let Some(filler) = filler else { return Err(error) };
                // A start that finds no room at all says so and ends; with room it must go on.
                self.done.starts_without_room += 1;
                let _ = std::fs::remove_file(filler);
                self.place.start().await?.0
            }
        };
        self.shared.port.store(server.address().port(), Ordering::Relaxed);
        self.server = Some(server);
        Ok(())
    }

    async fn restart(&mut self, gently: bool, filler: Option<&Path>) -> anyhow::Result<()> {
        let from = self.now();
        self.end(gently).await?;
        if gently {
            self.done.stops += 1;
        } else {
            self.done.kills += 1;
        }
        self.begin(filler).await?;
        self.recording.spells.push(Spell { fault: Fault::Down, from, to: self.now() });
        Ok(())
    }

    async fn ensure_running(&mut self) -> anyhow::Result<()> {
        if self.server.as_mut().is_some_and(|server| server.ended().is_some()) {
            self.restart(false, None).await?;
        }
        Ok(())
    }

    async fn stall(&mut self) -> anyhow::Result<()> {
        let from = self.now();
        let Some(server) = &self.server else { return Ok(()) };
        server.signal(Signal::STOP)?;
        let ms = 200 + self.random.below(3_500);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        if let Some(server) = &self.server {
            server.signal(Signal::CONT)?;
        }
        self.done.pauses += 1;
        self.recording.spells.push(Spell { fault: Fault::Paused, from, to: self.now() });
        Ok(())
    }

    /// Takes all room of the disk for a while, sometimes with a kill in between.
    async fn fill(&mut self) -> anyhow::Result<()> {
        let filler = self.place.data().join("filler");
        let from = self.now();
        let path = filler.clone();
        blocking(move || fill_up(&path)).await??;
        self.done.full += 1;
        self.pause_ms(700, 2_500).await;
        if self.random.percent(40) {
            let gently = self.random.percent(30);
            self.restart(gently, Some(&filler)).await?;
            self.pause_ms(200, 1_200).await;
        }
        let _ = std::fs::remove_file(&filler);
        // With room again it grants again, by itself.
        let until = Instant::now() + Duration::from_secs(60);
        let mut connection = None;
        loop {
            if look(&self.shared, &mut connection).await.is_some_and(|status| status["journal"] == "ok") {
                break;
            }
            if Instant::now() > until {
                self.violation("a_full_disk_heals", "the disk has had room for 60 s, and `status` still says that it is full");
                break;
            }
            self.ensure_running().await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.recording.spells.push(Spell { fault: Fault::DiskFull, from, to: self.now() });
        Ok(())
    }

    async fn backup(&mut self) -> anyhow::Result<()> {
        let place = Arc::clone(&self.place);
        let backups = place.data().join("backups");
        let (saved, checked) = blocking(move || {
            let saved = place.command().args(["journal", "backup"]).output()?;
            let newest = std::fs::read_dir(&backups).into_iter().flatten().flatten().map(|file| file.path()).max();
            let checked = newest.filter(|_| saved.status.success()).map(|file| {
                let checked = place.command().args(["journal", "check"]).arg(&file).output();
                let _ = std::fs::remove_file(&file);
                checked
            });
            Ok::<_, std::io::Error>((saved, checked.transpose()?))
        })
        .await??;
        self.done.backups += 1;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match checked {
            None => self.violation("backups_are_whole", format!("`journal backup` of a running server failed: {}", text(&saved.stderr))),
            Some(checked) if !checked.status.success() => {
                self.violation("backups_are_whole", format!("`journal check` of a backup failed: {}", text(&checked.stderr)));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Everything that goes wrong, one after the other.
    async fn storm(&mut self, until: Instant) -> anyhow::Result<()> {
        let half = Instant::now() + (until.saturating_duration_since(Instant::now())) / 2;
        // When the two keys of one vendor become one: in the middle, somewhere.
        let whole = until.saturating_duration_since(Instant::now());
        let mut link =
            (self.licenses.signers.len() > 3).then(|| Instant::now() + whole.mul_f64(0.15 + self.random.below(35) as f64 / 100.0));
        self.pause_ms(1_000, 1_500).await;
        while Instant::now() < until {
            if Instant::now() > half {
                self.shared.early.store(false, Ordering::Relaxed);
            }
            self.ensure_running().await?;
            if link.take_if(|link| Instant::now() > *link).is_some() {
                self.link_keys().await?;
            }
            let full = if self.small_disk { 10 } else { 0 };
            match self.random.weighted(&[20, 10, 10, full, 40, 6, 9, 4]) {
                0 => self.restart(false, None).await?,
                1 => self.restart(true, None).await?,
                2 => self.stall().await?,
                3 => self.fill().await?,
                4 => {
                    self.change_licenses().await?;
                    if self.random.percent(35) {
                        let ms = self.random.below(30);
                        tokio::time::sleep(Duration::from_millis(ms)).await;
                        let gently = self.random.percent(30);
                        self.restart(gently, None).await?;
                    }
                }
                5 => self.backup().await?,
                6 => self.reclaim().await?,
                _ => self.read_facts().await?,
            }
            self.pause_ms(100, 900).await;
        }
        self.ensure_running().await
    }

    /// Waits until every seat is free: what died must expire. Whether it came in time is the checker's to say.
    async fn drain(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + DRAIN_MAX;
        let mut connection = None;
        while Instant::now() < until {
            if let Some(status) = look(&self.shared, &mut connection).await {
                let pools = status["pools"].as_array().cloned().unwrap_or_default();
                let taken = |pool: &Value| ["used", "lingering", "queued"].iter().any(|name| pool[*name].as_u64() != Some(0));
                if !pools.iter().any(taken) {
                    return Ok(());
                }
            }
            self.ensure_running().await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.violation(
            "dead_seat_returns",
            format!("not every seat was free again {} s after the last client had gone", DRAIN_MAX.as_secs()),
        );
        Ok(())
    }

    // The journal.

    /// Reads the facts that came since the last reading, as `triquest-lm events` tells them.
    async fn read_facts(&mut self) -> anyhow::Result<()> {
        let lines = self.events(self.cursor.clone()).await?;
        if let Some(last) = lines.last() {
            let last: Value = serde_json::from_str(last).context("a line of `events --json`")?;
            self.cursor = last["cursor"].as_str().map(str::to_owned);
        }
        self.recording.pieces.push(Reading { done: self.now(), lines });
        Ok(())
    }

    async fn read_again(&mut self) -> anyhow::Result<()> {
        let lines = self.events(None).await?;
        self.recording.again = Some(Reading { done: self.now(), lines });
        Ok(())
    }

    async fn events(&mut self, after: Option<String>) -> anyhow::Result<Vec<String>> {
        let mut said = String::new();
        let (mut lines, mut after): (Vec<String>, _) = (Vec::new(), after);
        // The command gives up where a busy machine makes it wait too long, and where it falls behind: then it goes on where it was.
        let mut tries = 0;
        while tries < 10 {
            self.ensure_running().await?;
            let (place, from) = (Arc::clone(&self.place), after.clone());
            let output = blocking(move || {
                let mut command = place.command();
                command.args(["events", "--json"]);
                if let Some(from) = &from {
                    command.args(["--after", from]);
                }
                command.output()
            })
            .await??;
            let before = lines.len();
            lines.extend(String::from_utf8(output.stdout)?.lines().map(str::to_owned));
            if output.status.success() {
                return Ok(lines);
            }
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            tries = if lines.len() > before { 0 } else { tries + 1 };
            if let Some(last) = lines[before..].last() {
                let last: Value = serde_json::from_str(last).context("a line of `events --json`")?;
                after = last["cursor"].as_str().map(str::to_owned);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        bail!("`triquest-lm events --json` fails again and again: {said}");
    }

    /// A clean end, and a journal that is whole.
    async fn stop_for_good(&mut self) -> anyhow::Result<()> {
        self.end(true).await?;
        let place = Arc::clone(&self.place);
        let checked = blocking(move || place.command().args(["journal", "check"]).output()).await??;
        if !checked.status.success() {
            self.violation("journal_is_whole", format!("`journal check`: {}", String::from_utf8_lossy(&checked.stderr)));
        }
        Ok(())
    }
}

/// Writes zeros until there is no room.
fn fill_up(path: &Path) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path)?;
    for piece in [1024 * 1024, 4096] {
        let zeros = vec![0; piece];
        for _ in 0..4096 {
            match file.write_all(&zeros) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// A small disk of its own for a directory, in this process's mounts only.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().mode(0o700).create(path)?;
        let options = format!("mode=0700,size={DISK_MEBIBYTES}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).status()?;
        if !mounted.success() {
            bail!("a small disk could not be mounted: {mounted}");
        }
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It goes with this process's mounts in any case.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
