//! What the tests of the allocator share: a vendor that signs, and a server that is nothing but its journal.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod script;

use std::collections::BTreeMap;

use triquest_allocator::{
    Actor, Allocator, CheckoutItem, Command, ContentDigest, Epoch, Event, Holder, Index, InstallLicense, Instance, LeaseId, Lineage,
    Moment, Outcome, Safeguards, Timestamp, invariants,
};
use triquest_license::{CivilDate, Note, Signer, SigningKey, VendorName, VerifiedLicense, sha256};

/// 2026-07-01T00:00:00Z, where civil time begins in tests.
pub const CIVIL_START_MS: i64 = 1_782_864_000_000;

/// One `[[entitlement]]`, as text.
#[derive(Clone, Debug, Default)]
pub struct Right {
    pub feature: String,
    pub seats: u32,
    /// Lines like `version = "12"`.
    pub lines: Vec<String>,
}

impl Right {
    pub fn new(feature: &str, seats: u32) -> Self {
        Self { feature: feature.into(), seats, lines: Vec::new() }
    }

    pub fn with(mut self, key: &str, value: &str) -> Self {
        let date = matches!(key, "starts" | "expires");
        self.lines.push(if date || matches!(value, "true" | "false") {
            format!("{key} = {value}")
        } else {
            format!("{key} = \"{value}\"")
        });
        self
    }
}

/// The signer of a name: the same name gives the same key.
pub fn signer(name: &str) -> Signer {
    // `acme+2` is the second key of acme.
    let vendor = name.split('+').next().unwrap();
    Signer::new(VendorName::new(&format!("{vendor}.example")).unwrap(), SigningKey::from_seed(sha256(name.as_bytes())))
}

pub fn key(name: &str) -> [u8; 32] {
    *signer(name).verifier_key().public().as_bytes()
}

/// Signs a license with the keys of these signers.
pub fn license(signers: &[&str], id: &str, replaces: &[&str], rights: &[Right]) -> VerifiedLicense {
    license_issued(signers, id, "2026-01-01", replaces, rights)
}

/// The same, issued on a day.
pub fn license_issued(signers: &[&str], id: &str, issued: &str, replaces: &[&str], rights: &[Right]) -> VerifiedLicense {
    let signers: Vec<_> = signers.iter().map(|name| signer(name)).collect();
    let verifier: Vec<_> = signers.iter().map(|signer| format!("\"{}\"", signer.verifier_key())).collect();
    let mut text = format!(
        "format = \"triquest-lm/v1/license\"\nlicense = \"{id}\"\nvendor = \"{}\"\nverifier = [{}]\nlicensee = \"Initech\"\nissued = {issued}\nservers = \"any\"\n",
        signers[0].name(),
        verifier.join(", "),
    );
    if !replaces.is_empty() {
        let ids: Vec<_> = replaces.iter().map(|id| format!("\"{id}\"")).collect();
        text.push_str(&format!("replaces = [{}]\n", ids.join(", ")));
    }
    for right in rights {
        text.push_str(&format!("\n[[entitlement]]\nfeature = \"{}\"\nseats = {}\n", right.feature, right.seats));
        for line in &right.lines {
            text.push_str(line);
            text.push('\n');
        }
    }
    let note = Note::sign(&text, &signers).unwrap_or_else(|error| panic!("{error}\n{text}"));
    VerifiedLicense::verify_named(&note).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub fn actor() -> Actor {
    Actor { name: "unix:root".into(), reason: "test".into() }
}

pub fn install(license: VerifiedLicense) -> Command {
    Command::Install(InstallLicense { license: Box::new(license), actor: actor() })
}

/// The id that a name in a test stands for.
pub fn lease(name: &str) -> LeaseId {
    let mut id = [0; 16];
    id.copy_from_slice(&sha256(name.as_bytes())[..16]);
    LeaseId(id)
}

pub fn content(text: &str) -> ContentDigest {
    ContentDigest(lease(text).0)
}

pub fn item(feature: &str, seats: u32, version: Option<&str>) -> CheckoutItem {
    CheckoutItem { feature: feature.parse().unwrap(), version: version.map(|version| version.parse().unwrap()), seats }
}

/// A date as civil milliseconds.
pub fn civil(date: &str) -> i64 {
    let mut parts = date.split('-').map(|part| part.parse::<u16>().unwrap());
    let (year, month, day) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    CivilDate::new(year, month as u8, day as u8).unwrap().midnight_utc().0
}

/// A server that is its journal: each command is decided, becomes an entry, and is folded in by a standby that must stay equal.
pub struct Server {
    pub safeguards: Safeguards,
    pub live: Allocator,
    standby: Allocator,
    pub journal: Vec<(Moment, Vec<Event>)>,
    order: invariants::QueueOrder,
    /// Every so many entries a snapshot is loaded too.
    pub load_every: usize,
    granted: std::collections::BTreeSet<LeaseId>,
    pub lineage: u8,
    /// The highest lineage that was ever begun: after a journal goes back, the next one is new all the same.
    pub lineages: u8,
    /// Counts the starts: the random instance of each.
    pub starts: u8,
    /// What the license folder would say at the next start.
    pub folder_ttl_max_ms: u64,
    pub checked: bool,
}

impl Server {
    pub fn new(safeguards: Safeguards) -> Self {
        let (live, standby) = (Allocator::new(safeguards.clone()), Allocator::new(safeguards.clone()));
        Self {
            safeguards,
            live,
            standby,
            journal: Vec::new(),
            order: invariants::QueueOrder::default(),
            load_every: 1,
            granted: std::collections::BTreeSet::new(),
            lineage: 1,
            lineages: 1,
            starts: 0,
            folder_ttl_max_ms: 0,
            checked: true,
        }
    }

    pub fn index(&self) -> Index {
        Index(self.journal.len() as u64)
    }

    /// Decides a command, over as many entries as it takes; what each wrote, and the answer.
    pub fn decide(&mut self, moment: Moment, command: Command) -> Result<(Outcome, Vec<Event>), String> {
        let mut commands = vec![((), command)];
        let mut all = Vec::new();
        for _ in 0..10_000 {
            let over = invariants::over(&self.live);
            let asked: Vec<_> = commands.iter().map(|(_, command)| command.clone()).collect();
            let batch = self.live.decide_batch(moment, commands);
            self.append(moment, &batch.events, &over)?;
            for command in asked {
                invariants::atomic_checkout(&command, &batch.events)?;
            }
            all.extend(batch.events);
            if let Some((_, outcome)) = batch.outcomes.into_iter().next() {
                return Ok((outcome, all));
            }
            commands = batch.left;
        }
        Err("a command is never decided".into())
    }

    /// Sweeps until nothing is due.
    pub fn settle(&mut self, moment: Moment) -> Result<Vec<Event>, String> {
        let mut all = Vec::new();
        for _ in 0..10_000 {
            let (_, events) = self.decide(moment, Command::Sweep)?;
            let quiet = events.is_empty();
            all.extend(events);
            if quiet && self.live.next_deadline().is_none_or(|due| due > moment.at) {
                return Ok(all);
            }
        }
        Err("the backlog never ends".into())
    }

    fn append(&mut self, moment: Moment, events: &[Event], over: &BTreeMap<triquest_allocator::PoolId, u64>) -> Result<(), String> {
        if events.is_empty() {
            return Ok(());
        }
        let index = Index(self.index().0 + 1);
        self.live.sealed(index);
        self.live.committed(index);
        self.journal.push((moment, events.to_vec()));
        if !self.checked {
            return Ok(());
        }
        self.standby.apply_entry(index, moment, events)?;
        invariants::hard_state_equal(&self.live, &self.standby)?;
        invariants::seats_conserved(&self.live)?;
        invariants::client_can_verify(&self.live)?;
        invariants::no_grant_past_entitlement(over, events, &self.live)?;
        for event in events {
            self.order.watch(event)?;
        }
        // The whole journal would be read for each entry; what was granted before is kept instead.
        invariants::one_grant_per_id(events)?;
        for event in events {
            if let Event::LineageBegan { lineage, .. } = event {
                (self.lineage, self.lineages) = (lineage.0[0], lineage.0[0]);
                self.granted.clear();
            }
            if let Event::Granted { lease, .. } | Event::Adopted { lease, .. } = event
                && !self.granted.insert(*lease)
            {
                return Err(format!("one_grant_per_id: {lease} was granted twice"));
            }
        }
        if !self.journal.len().is_multiple_of(self.load_every) {
            return Ok(());
        }
        let loaded = Allocator::load(self.safeguards.clone(), self.live.snapshot())?;
        invariants::hard_state_equal(&self.live, &loaded)
    }

    /// Replay and a snapshot give the same hard state as living through it.
    pub fn replayed(&self) -> Result<(), String> {
        let mut state = Allocator::new(self.safeguards.clone());
        for (position, (moment, events)) in self.journal.iter().enumerate() {
            state.apply_entry(Index(position as u64 + 1), *moment, events)?;
        }
        invariants::hard_state_equal(&self.live, &state)?;
        if !self.checked {
            return Ok(());
        }
        let loaded = Allocator::load(self.safeguards.clone(), state.snapshot())?;
        invariants::hard_state_equal(&state, &loaded)
    }

    /// A crash: everything soft is lost. Replays the journal, in the second half from a snapshot, and recovers.
    pub fn restart(&mut self, moment: Moment) -> Result<(Outcome, Vec<Event>), String> {
        let middle = self.journal.len() / 2;
        let mut state = Allocator::new(self.safeguards.clone());
        for (position, (moment, events)) in self.journal.iter().enumerate() {
            state.apply_entry(Index(position as u64 + 1), *moment, events)?;
            if position == middle && self.checked {
                state = Allocator::load(self.safeguards.clone(), state.snapshot())?;
            }
        }
        if self.checked {
            invariants::hard_state_equal(&self.live, &state)?;
        }
        self.live = state;
        self.recover(moment)
    }

    fn recover(&mut self, moment: Moment) -> Result<(Outcome, Vec<Event>), String> {
        self.starts += 1;
        let epoch = Epoch(self.live.epoch().0 + 1);
        let (instance, lineage) = (Instance([self.starts; 16]), Lineage([self.lineage; 16]));
        self.decide(moment, Command::Recover { epoch, instance, lineage, folder_ttl_max_ms: self.folder_ttl_max_ms })
    }

    /// The lineage that a proof begins, or a restore.
    pub fn next_lineage(&self) -> Lineage {
        Lineage([self.lineages + 1; 16])
    }

    /// The journal goes back to an earlier length, as a backup has it, in a new lineage.
    pub fn restore(&mut self, length: usize, moment: Moment) -> Result<(Outcome, Vec<Event>), String> {
        self.lineages += 1;
        self.lineage = self.lineages;
        self.put_back(length, moment)
    }

    /// An old copy of the data directory is put back and started, without a word to anybody. A start goes on with the lineage that the
    /// copy has.
    pub fn roll_back(&mut self, length: usize, lineage: u8, moment: Moment) -> Result<(Outcome, Vec<Event>), String> {
        self.lineage = lineage;
        self.put_back(length, moment)
    }

    fn put_back(&mut self, length: usize, moment: Moment) -> Result<(Outcome, Vec<Event>), String> {
        self.journal.truncate(length);
        self.order = invariants::QueueOrder::default();
        self.granted.clear();
        self.standby = Allocator::new(self.safeguards.clone());
        for (position, (moment, events)) in self.journal.iter().enumerate() {
            self.standby.apply_entry(Index(position as u64 + 1), *moment, events)?;
            for event in events {
                self.order.watch(event)?;
            }
        }
        let checked = std::mem::replace(&mut self.checked, false);
        let state = Allocator::load(self.safeguards.clone(), self.standby.snapshot())?;
        self.live = state;
        self.checked = checked;
        self.recover(moment)
    }
}

pub fn moment(at_ms: u64) -> Moment {
    Moment { at: Timestamp(at_ms), wall_ms: CIVIL_START_MS + at_ms as i64 }
}

pub fn holder(user: &str, host: &str) -> Holder {
    Holder {
        user: Some((user, false).into()),
        host: Some((host, false).into()),
        address: Some((format!("ip-of-{host}").as_str(), true).into()),
        process: Some(("4711:cad", false).into()),
        ..Holder::default()
    }
}
