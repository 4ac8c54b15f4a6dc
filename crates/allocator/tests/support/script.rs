//! Scripts: one line for each command, with the time, and what must come of it.
//!
//! ```text
//! mm:ss VERB ARGUMENTS => EXPECTED
//! ```
//! Expected is a first word (or two for refusals and denials) and `key=value` words, each of which the answer or the facts must show;
//! `!word` must not be shown.

use std::collections::BTreeMap;

use triquest_allocator::{
    Between, CheckoutItem, Command, Denial, DequeueReason, EndReason, Epoch, Event, Index, Instance, LeaseId, Lineage, Moment,
    NamedNetwork, Network, Outcome, Overlap, PoolNumbers, Refusal, Safeguards, ShownGrant, ShownItem, Timestamp, invariants,
};
use triquest_license::LicenseHash;

use super::{CIVIL_START_MS, Right, Server, actor, civil, content, holder, install, item, key, lease};

/// Runs a script with all safeguards on.
#[track_caller]
pub fn check(script: &str) {
    if let Err(why) = run(&Safeguards::default(), script) {
        panic!("{why}");
    }
}

/// The script holds with all safeguards on, and breaks without this one.
#[track_caller]
pub fn needs(rule: impl FnOnce(&mut Safeguards), script: &str) {
    check(script);
    let mut safeguards = Safeguards::default();
    rule(&mut safeguards);
    let broken = std::panic::catch_unwind(|| run(&safeguards, script));
    assert!(!matches!(broken, Ok(Ok(()))), "the script holds without the rule too:\n{script}");
}

struct World {
    server: Server,
    names: BTreeMap<LeaseId, String>,
    licenses: BTreeMap<LicenseHash, String>,
    rights: BTreeMap<triquest_allocator::EntitlementId, String>,
    /// What `date` set, beyond lease time.
    civil_offset_ms: i64,
    /// How long the journal was, and of which lineage.
    backup: (usize, u8),
    /// What each lease was last granted, as it was signed.
    signed_grants: BTreeMap<String, ShownGrant>,
    counters: BTreeMap<String, u64>,
}

pub fn run(safeguards: &Safeguards, script: &str) -> Result<(), String> {
    let mut world = World {
        server: Server::new(safeguards.clone()),
        names: BTreeMap::new(),
        licenses: BTreeMap::new(),
        rights: BTreeMap::new(),
        civil_offset_ms: 0,
        backup: (0, 1),
        signed_grants: BTreeMap::new(),
        counters: BTreeMap::new(),
    };
    world.server.restart(world.moment(0)).map(|_| ())?;
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        world.line(line).map_err(|why| format!("{line}\n    {why}"))?;
    }
    Ok(())
}

fn span(text: &str) -> u64 {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().unwrap_or_else(|_| panic!("no span: {text}"));
    match &text[digits.len()..] {
        "ms" => number,
        "s" => number * 1_000,
        "min" => number * 60_000,
        "h" => number * 3_600_000,
        "d" => number * 86_400_000,
        unit => panic!("no unit: {unit}"),
    }
}

fn shown(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }
}

/// `from=10.0.0.1` says where a request comes from; none is this machine's own socket.
fn network(options: &BTreeMap<&str, &str>) -> Option<Network> {
    options.get("from").map(|address| address.parse::<std::net::IpAddr>().unwrap().into())
}

/// The name of an enum's variant, as scripts write it.
fn word(debug: &impl std::fmt::Debug) -> String {
    let text = format!("{debug:?}");
    let name: String = text.chars().take_while(char::is_ascii_alphanumeric).collect();
    let mut word = String::new();
    for (position, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && position > 0 {
            word.push('_');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}

impl World {
    fn moment(&self, at_ms: u64) -> Moment {
        Moment { at: Timestamp(at_ms), wall_ms: CIVIL_START_MS + self.civil_offset_ms + at_ms as i64 }
    }

    fn name(&self, id: &LeaseId) -> String {
        self.names.get(id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn right_name(&self, entitlement: triquest_allocator::EntitlementId) -> String {
        self.rights.get(&entitlement).cloned().unwrap_or_default()
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (act, expected) = line.split_once("=>").ok_or("a line has `=>`")?;
        let mut words = act.split_whitespace();
        let time = words.next().ok_or("no time")?;
        let (minutes, seconds) = time.split_once(':').ok_or("no time")?;
        let at_ms = minutes.parse::<u64>().unwrap() * 60_000 + (seconds.parse::<f64>().unwrap() * 1_000.0) as u64;
        let verb = words.next().ok_or("no verb")?;
        let rest: Vec<&str> = words.collect();
        let options: BTreeMap<&str, &str> = rest.iter().filter_map(|word| word.split_once('=')).collect();
        let mut plain = rest.iter().filter(|word| !word.contains('=')).copied();

        let mut pool_of = None;
        let outcome = match verb {
            "accept-clock" => {
                self.civil_offset_ms = civil(plain.next().unwrap()) - CIVIL_START_MS - at_ms as i64;
                self.server.decide(self.moment(at_ms), Command::AcceptClock { actor: actor() })?
            }
            "adopt" | "checkout" => {
                let name = plain.next().unwrap();
                self.names.insert(lease(name), name.into());
                let wish = plain.next().unwrap();
                let items: Vec<_> = wish
                    .split(',')
                    .map(|part| {
                        let (part, version) = part.split_once('@').map_or((part, None), |(part, version)| (part, Some(version)));
                        let (feature, seats) = part.split_once(':').unwrap_or((part, "1"));
                        item(feature, seats.parse().unwrap(), version)
                    })
                    .collect();
                let who = plain.next().unwrap();
                let (user, host) = who.split_once('@').unwrap();
                let vendors = options.get("vendor").copied().unwrap_or("acme");
                pool_of = Some((key(vendors.split(',').next().unwrap()), items[0].feature.clone()));
                let vendor_keys = vendors.split(',').map(key).collect();
                let content = content(&format!("{wish} {who} {}", options.get("content").unwrap_or(&"")));
                let ttl_ms = options.get("ttl").map(|ttl| span(ttl));
                let attempt = options.get("attempt").map_or(1, |attempt| attempt.parse().unwrap());
                let wait_ms = options.get("wait").map(|wait| span(wait));
                let regained = plain.any(|word| word == "regained");
                let command = if verb == "adopt" {
                    Command::Adopt {
                        accepts: Default::default(),
                        lease: lease(name),
                        attempt,
                        holder: holder(user, host),
                        content,
                        vendor_keys,
                        shown: Box::new(self.shown(name, &items, &options)),
                        items,
                        ttl_ms,
                        wait_ms,
                        network: network(&options),
                        next_lineage: self.server.next_lineage(),
                        regained,
                    }
                } else {
                    Command::Checkout {
                        accepts: Default::default(),
                        lease: lease(name),
                        attempt,
                        content,
                        holder: holder(user, host),
                        vendor_keys,
                        items,
                        ttl_ms,
                        wait_ms,
                        regained,
                        network: network(&options),
                    }
                };
                self.server.decide(self.moment(at_ms), command)?
            }
            "allow-presence" => {
                let networks = plain.next().unwrap().parse().unwrap();
                self.server.decide(self.moment(at_ms), Command::AllowPresence { networks, actor: actor() })?
            }
            "backup" => {
                self.backup = (self.server.journal.len(), self.server.lineage);
                (Outcome::Done, Vec::new())
            }
            "date" => {
                self.civil_offset_ms = civil(plain.next().unwrap()) - CIVIL_START_MS - at_ms as i64;
                let events = self.server.settle(self.moment(at_ms))?;
                (Outcome::Done, events)
            }
            "disk" => {
                let enough = plain.next() != Some("full");
                self.server.live.set_room(enough);
                (Outcome::Done, if enough { self.server.settle(self.moment(at_ms))? } else { Vec::new() })
            }
            "end-quarantine" => {
                let lineage = self.server.live.lineage();
                self.server.decide(self.moment(at_ms), Command::EndQuarantine { lineage, actor: actor() })?
            }
            "folder" => {
                self.server.folder_ttl_max_ms = span(options["ttl_max"]);
                (Outcome::Done, Vec::new())
            }
            "install" => {
                let license = self.signed(&rest, &options);
                self.licenses.insert(license.hash(), rest[0].split(['/', '*']).next().unwrap().into());
                self.server.decide(self.moment(at_ms), install(license))?
            }
            "presence" => {
                let who = plain.next().unwrap();
                let network = options.get("from").map(|address| Network::from(address.parse::<std::net::IpAddr>().unwrap()));
                let named = options.get("named").map(|range| {
                    let (first, bits) = range.split_once('/').unwrap();
                    NamedNetwork::new(first.parse().unwrap(), bits.parse().unwrap())
                });
                let (lease, act) = match who {
                    "full" | "unnamed" => (LeaseId([0; 16]), who),
                    who => (lease(who), plain.next().unwrap()),
                };
                let generation = plain.next().map_or(0, |number| number.parse().unwrap());
                let connection = options.get("connection").map_or(generation, |number| number.parse().unwrap());
                let unnamings = options.get("unnamings").map_or(0, |number| number.parse().unwrap());
                let between = match options.get("ends").copied() {
                    None => Between::Nothing,
                    Some("differ") => Between::Something,
                    Some("named") => Between::Named,
                    Some(other) => panic!("ends={other}"),
                };
                let command = match act {
                    "add" => Command::PresenceAdded { lease, connection, generation, between },
                    "close" => Command::PresenceClosed { lease, generation, network, unnamings },
                    "full" => Command::PresenceTurnedAway { named },
                    "drop" => Command::PresenceDropped { lease, connection, generation, between },
                    "open" => Command::PresenceOpened { lease, connection, generation, between },
                    "unnamed" => Command::PresenceUnnamed { unnamings },
                    "refused" => Command::PresenceRefused { lease },
                    other => panic!("presence {other}"),
                };
                self.server.decide(self.moment(at_ms), command)?
            }
            "reclaim" => {
                let name = plain.next().unwrap();
                let now = plain.next() == Some("now");
                self.server.decide(self.moment(at_ms), Command::Reclaim { lease: lease(name), now, actor: actor() })?
            }
            "release" => {
                let name = plain.next().unwrap();
                self.names.insert(lease(name), name.into());
                self.server.decide(self.moment(at_ms), Command::Release { lease: lease(name), network: network(&options) })?
            }
            "remove" => {
                let name = plain.next().unwrap();
                let hash = self.licenses.iter().find(|(_, known)| *known == name).map(|(hash, _)| *hash);
                let license = hash.unwrap_or_else(|| LicenseHash::from_bytes([9; 32]));
                self.server.decide(self.moment(at_ms), Command::Remove { license, actor: actor() })?
            }
            "renew" => {
                let name = plain.next().unwrap();
                let next = self.counters.entry(name.into()).or_default();
                let counter = options.get("counter").map_or(*next + 1, |counter| counter.parse().unwrap());
                *next = counter.max(*next);
                let nonce = lease(options.get("nonce").unwrap_or(&"nonce")).0;
                let presence = options.get("presence").map(|generation| generation.parse().unwrap());
                let regained = plain.any(|word| word == "regained");
                let renew = Command::Renew { lease: lease(name), counter, nonce, idle_ms: None, presence, regained };
                self.server.decide(self.moment(at_ms), renew)?
            }
            "restart" => self.server.restart(self.moment(at_ms))?,
            "restore" => self.server.restore(self.backup.0, self.moment(at_ms))?,
            "rollback" => self.server.roll_back(self.backup.0, self.backup.1, self.moment(at_ms))?,
            "state" => {
                let vendor = options.get("vendor").copied().unwrap_or("acme");
                pool_of = Some((key(vendor), plain.next().unwrap().parse().unwrap()));
                (Outcome::Done, Vec::new())
            }
            "step-clock" => {
                let to_ms = civil(plain.next().unwrap());
                let believed = plain.next() == Some("believed");
                self.server.decide(self.moment(at_ms), Command::StepClock { to_ms, believed })?
            }
            "sweep" => (Outcome::Done, self.server.settle(self.moment(at_ms))?),
            "wake" => {
                let due = self.server.live.next_deadline();
                let shown = due.map_or("never".into(), |due| format!("{:02}:{:02}", due.0 / 60_000, due.0 / 1_000 % 60));
                return if shown == expected.trim() { Ok(()) } else { Err(format!("wakes at {shown}")) };
            }
            verb => return Err(format!("no verb {verb}")),
        };
        let (outcome, events) = outcome;
        if let Outcome::Granted(grant) = &outcome {
            let items = grant.items.iter().map(|item| ShownItem { feature: item.feature.clone(), from: item.from.clone() });
            let shown = ShownGrant {
                lineage: self.server.live.lineage(),
                epoch: self.server.live.epoch(),
                instance: self.server.live.instance(),
                index: self.server.index(),
                ttl_ms: grant.ttl_ms,
                items: items.collect(),
            };
            self.signed_grants.insert(rest[0].into(), shown);
        }
        for event in &events {
            if let Event::LicenseInstalled { license, first_entitlement, pools, .. } = event {
                for position in 0..pools.len() as u32 {
                    let right = triquest_allocator::EntitlementId(first_entitlement.0 + position);
                    self.rights.insert(right, self.licenses.get(license).cloned().unwrap_or_default());
                }
            }
        }
        let mut words = self.answer(at_ms, &outcome);
        words.extend(self.facts(&events));
        if let Some((key, feature)) = pool_of
            && let Some(view) = self.server.live.pool_of(&key, &feature)
        {
            words.extend(numbers(&view.numbers));
        }
        invariants::seats_conserved(&self.server.live)?;
        for (position, expected) in expected.split_whitespace().enumerate() {
            let absent = expected.strip_prefix('!');
            let found = words.iter().any(|word| word == absent.unwrap_or(expected));
            let first = position > 0 || words.first().is_some_and(|word| word == expected);
            if found == absent.is_some() || !first {
                return Err(format!("expected {expected}, got {}", words.join(" ")));
            }
        }
        Ok(())
    }

    /// The signed grant that a client shows: its own last one, or, if it never had one here, a grant of the lineage before, charged to
    /// `license=` or to the first license here. `license=`, `lineage=`, `epoch=`, `instance=`, `index=` and `promised=` say otherwise.
    fn shown(&self, name: &str, items: &[CheckoutItem], options: &BTreeMap<&str, &str>) -> ShownGrant {
        let live = &self.server.live;
        let number = |key: &str| options.get(key).map(|text| text.parse::<u64>().unwrap());
        let license =
            |name: &str| self.licenses.iter().find(|(_, known)| *known == name).map_or(LicenseHash::from_bytes([9; 32]), |(hash, _)| *hash);
        let first = || live.licenses().next().map_or(LicenseHash::from_bytes([9; 32]), |license| license.license);
        let charged = options.get("license").map(|name| license(name));
        let mut shown = self.signed_grants.get(name).cloned().unwrap_or_else(|| ShownGrant {
            lineage: Lineage([self.server.lineage.saturating_sub(1); 16]),
            epoch: live.epoch(),
            instance: Instance([99; 16]),
            index: Index(1_000_000),
            ttl_ms: 300_000,
            items: items
                .iter()
                .map(|item| ShownItem { feature: item.feature.clone(), from: vec![(charged.unwrap_or_else(first), 0, item.seats)] })
                .collect(),
        });
        if let Some(lineage) = number("lineage") {
            shown.lineage = Lineage([u8::try_from(lineage).unwrap(); 16]);
        }
        if let Some(instance) = number("instance") {
            shown.instance = Instance([u8::try_from(instance).unwrap(); 16]);
        }
        shown.epoch = number("epoch").map_or(shown.epoch, Epoch);
        shown.index = number("index").map_or(shown.index, Index);
        shown.ttl_ms = options.get("promised").map_or(shown.ttl_ms, |ttl| span(ttl));
        shown
    }

    /// `install ID[/SIGNER+SIGNER] feature=seats[@version] ... option=value`; options hold for all its entitlements.
    fn signed(&self, rest: &[&str], options: &BTreeMap<&str, &str>) -> triquest_license::VerifiedLicense {
        let (id, signers) = rest[0].split_once('/').unwrap_or((rest[0], "acme"));
        let signers: Vec<&str> = signers.split('&').collect();
        let replaces: Vec<&str> = options.get("replaces").map_or(Vec::new(), |ids| ids.split(',').collect());
        let keys = ["starts", "expires", "linger", "ttl", "ttl_max", "presence", "grace"];
        let mut rights = Vec::new();
        for word in &rest[1..] {
            let Some((feature, seats)) = word.split_once('=') else { continue };
            if keys.contains(&feature) || ["replaces", "text", "issued"].contains(&feature) {
                continue;
            }
            let (seats, version) = seats.split_once('@').map_or((seats, None), |(seats, version)| (seats, Some(version)));
            let mut right = Right::new(feature, seats.parse().unwrap());
            if let Some(version) = version {
                right = right.with("version", version);
            }
            for key in keys {
                if let Some(value) = options.get(key) {
                    right = right.with(key, value);
                }
            }
            if let Some(text) = options.get("text") {
                right = right.with("vendor_data", text);
            }
            rights.push(right);
        }
        // `A2*A` is another text under the id A.
        let id = id.split_once('*').map_or(id, |(_, id)| id);
        let issued = options.get("issued").copied().unwrap_or("2026-01-01");
        super::license_issued(&signers, id, issued, &replaces, &rights)
    }

    fn answer(&self, at_ms: u64, outcome: &Outcome) -> Vec<String> {
        let mut words = Vec::new();
        let deny = |words: &mut Vec<String>, denial: &Denial| {
            words.push(word(&denial.code));
            words.push(format!("seats={}", denial.seats));
            words.extend(numbers(&denial.pool));
            if let Some(due) = denial.first_due_ms {
                let due = at_ms + due;
                words.push(format!("first_due={:02}:{:02}", due / 60_000, due / 1_000 % 60));
            }
            if let Some(version) = denial.newest_version {
                words.push(format!("newest={version}"));
            }
            if let Some(feature) = &denial.feature {
                words.push(format!("feature={feature}"));
            }
            if let Some(clock) = denial.clock_ms {
                words.push(format!("clock={}", triquest_license::CivilDate::of(triquest_license::CivilMs(clock))));
            }
            if let Some(at) = denial.at_civil_ms {
                words.push(format!("at={}", triquest_license::CivilDate::of(triquest_license::CivilMs(at))));
            }
        };
        match outcome {
            Outcome::Denied(denial) => {
                words.push("deny".into());
                deny(&mut words, denial);
            }
            Outcome::Done => words.push("done".into()),
            Outcome::Ended { reason, remaining_ms } => {
                words.extend(["ended".into(), word(reason), format!("left={}", shown(*remaining_ms))]);
            }
            Outcome::Granted(grant) => {
                words.extend(["grant".into(), format!("left={}", shown(grant.remaining_ms)), format!("ttl={}", shown(grant.ttl_ms))]);
                words.push(format!("presence={}", grant.presence));
                words.push(format!("grace={}", shown(grant.grace_ms)));
                for item in &grant.items {
                    for (license, _, seats) in &item.from {
                        let license = self.licenses.get(license).cloned().unwrap_or_default();
                        words.push(format!("{}={license}:{seats}", item.feature));
                    }
                }
            }
            Outcome::Installed { waiting, replaced, ending, overlaps, .. } => {
                words.push("installed".into());
                if *waiting {
                    words.push("waiting".into());
                }
                words.extend(replaced.iter().map(|hash| format!("replaced={}", self.licenses[hash])));
                words.extend((*ending > 0).then(|| format!("ending={ending}")));
                for Overlap { feature, before, with, until_ms, others } in overlaps {
                    words.push(format!("overlap={feature}:{before}->{with}"));
                    words.extend(others.iter().map(|hash| format!("beside={}", self.licenses[hash])));
                    if let Some(until) = until_ms {
                        words.push(format!("until={}", triquest_license::CivilDate::of(triquest_license::CivilMs(*until))));
                    }
                }
            }
            Outcome::Reclaimed { remaining_ms } => words.extend(["reclaimed".into(), format!("left={}", shown(*remaining_ms))]),
            Outcome::Recovered => words.push("recovered".into()),
            Outcome::Refused(refusal) => {
                words.extend(["refused".into(), word(refusal)]);
                match refusal {
                    Refusal::StaleAttempt { last } => words.push(format!("last={last}")),
                    Refusal::Replaced { by, since_ms, .. } => {
                        words.push(format!("by={by}"));
                        words.push(format!("since={}", triquest_license::CivilDate::of(triquest_license::CivilMs(*since_ms))));
                    }
                    _ => {}
                }
            }
            Outcome::Released { linger_ms, ended } => {
                words.extend(["released".into(), format!("linger={}", shown(*linger_ms))]);
                words.extend(ended.map(|reason| format!("ended={reason:?}").to_lowercase()));
            }
            Outcome::Removed { ending } => words.extend(["removed".into(), format!("ending={ending}")]),
            Outcome::Renewed { remaining_ms, regrant } => {
                words.extend(["renewed".into(), format!("left={}", shown(*remaining_ms))]);
                if *regrant {
                    words.push("regrant".into());
                }
            }
            Outcome::Waiting { place, gives_up_in_ms, pool, .. } => {
                words.extend(["wait".into(), format!("place={place}"), format!("for={}", shown(*gives_up_in_ms))]);
                words.push(format!("queued={}", pool.queued));
            }
        }
        words
    }

    fn facts(&self, events: &[Event]) -> Vec<String> {
        let mut words = vec![format!("facts={}", events.len())];
        for event in events {
            if let Event::Ended { lease, items, .. } | Event::LingerEnded { lease, items } | Event::Released { lease, items, .. } = event {
                let seats: u32 = items.iter().map(|item| item.seats).sum();
                words.push(format!("gave={}:{seats}", self.name(lease)));
            }
            let fact = match event {
                Event::Adopted { lease, .. } => format!("adopted={}", self.name(lease)),
                Event::ChargeMoved { lease, from, to, seats, .. } => {
                    format!("moved={}:{}>{}:{seats}", self.name(lease), self.right_name(*from), self.right_name(*to))
                }
                Event::Dequeued { lease, reason, denial } => {
                    let reason: &DequeueReason = reason;
                    if let Some(denial) = denial {
                        words.push(format!("told={}:{}", self.name(lease), word(&denial.code)));
                    }
                    format!("dequeued={}:{}", self.name(lease), word(reason))
                }
                Event::Ending { lease, reason, .. } => {
                    let reason: &EndReason = reason;
                    format!("ending={}:{}", self.name(lease), word(reason))
                }
                Event::Ended { lease, reason, linger_until, .. } => {
                    if linger_until.is_some() {
                        words.push(format!("lingers={}", self.name(lease)));
                    }
                    format!("ended={}:{}", self.name(lease), word(reason))
                }
                Event::EntitlementBegan { entitlement } => format!("began={}", self.right_name(*entitlement)),
                Event::EntitlementEnded { entitlement, reason } => format!("over={}:{}", self.right_name(*entitlement), word(reason)),
                Event::Granted { lease, .. } => format!("granted={}", self.name(lease)),
                Event::Heard { lease } => format!("heard={}", self.name(lease)),
                Event::LineageBegan { lease, .. } => format!("lineage_began={}", self.name(lease)),
                Event::QuarantineLengthened { until } => {
                    format!("quarantine_until={:02}:{:02}", until.0 / 60_000, until.0 / 1_000 % 60)
                }
                Event::TtlLowered { lease, ttl_ms, .. } => format!("lowered={}:{}", self.name(lease), shown(*ttl_ms)),
                Event::TtlRaised { lease, ttl_ms } => format!("longer={}:{}", self.name(lease), shown(*ttl_ms)),
                Event::ReplacementUndone { license, .. } => format!("back={}", self.licenses.get(license).cloned().unwrap_or_default()),
                Event::EntitlementsUnderstood { entitlements, .. } => format!("understood={}", entitlements.len()),
                Event::FormatRaised { words } => format!("raised={words}"),
                Event::LicenseChecked { problem, .. } => format!("checked={}", problem.as_deref().unwrap_or("good")),
                Event::WordsAccepted { lease, words } => format!("accepts={}:{words}", self.name(lease)),
                Event::WaiterHeard { lease } => format!("asked={}", self.name(lease)),
                Event::LingerEnded { lease, .. } => format!("freed={}", self.name(lease)),
                Event::PresenceRegretted { lease, .. } => format!("regretted={}", self.name(lease)),
                Event::Queued { lease, .. } => format!("queued={}", self.name(lease)),
                Event::Released { lease, cause, .. } => format!("released={}:{}", self.name(lease), word(cause)),
                Event::LicenseRemoved { license, .. } => format!("gone={}", self.licenses.get(license).cloned().unwrap_or_default()),
                other => word(other),
            };
            words.push(fact);
        }
        words
    }
}

fn numbers(pool: &PoolNumbers) -> Vec<String> {
    vec![
        format!("total={}", pool.total),
        format!("used={}", pool.used),
        format!("lingering={}", pool.lingering),
        format!("free={}", pool.free),
        format!("over={}", pool.over),
        format!("queued={}", pool.queued),
    ]
}
