//! Judges a recording from the outside: what clients were told, against the facts of the journal and against each other.
//!
//! It shares no code with the server. Times are judged as intervals: an answer was decided between its sending and its receipt, and a fact
//! became durable after the first request that can have caused it was sent, and before the first answer was received that has seen it. Only
//! what cannot be right under any order within these intervals is a violation.

use std::collections::BTreeMap;
use std::rc::Rc;

mod book;
mod keys;
mod presence;

use super::json::{Json, base64url};
use super::record::{Asked, Fault, LicenseTerms, Micros, Part, Recording, seconds, short};
use book::{Book, Version, asked_version, civil};
use keys::{Keys, Vendors};

/// A waiter that has not asked for so long may be sent away, and a seat that was granted to it goes on.
const WAIT_TTL_MS: u64 = 120_000;
/// A head of the line that could be served is served within this, in lease time.
const LINE_MOVES_MS: u64 = 8_000;
/// What a machine under load may add to a bound of leases.
const SLACK: Micros = 10_000_000;
/// Two readings of one clock, by which the beginning of the recording is known.
const CLOCKS: i64 = 50_000;
/// Lease time is whole milliseconds.
const ROUNDING: i64 = 5_000;
/// Lines of one excerpt.
const EXCERPT_LINES_MAX: usize = 40;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The invariant.
    pub(crate) rule: &'static str,
    /// What happened.
    pub(crate) says: String,
    /// What was asked, answered and written about it, in order.
    pub(crate) excerpt: Vec<String>,
}

/// What a recording holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) answers: u64,
    pub(crate) unanswered: u64,
    pub(crate) granted: u64,
    pub(crate) denied: u64,
    pub(crate) waiting: u64,
    pub(crate) renewed: u64,
    pub(crate) problems: u64,
    /// Leases that presence freed.
    pub(crate) freed_early: u64,
    /// Vendors that became one, because both had signed a text.
    pub(crate) merged: u64,
    /// Denials although there were seats, of licenses that no key of the client has signed.
    pub(crate) denied_by_keys: u64,
    /// Grants before somebody who waits for seats that this client's keys have not signed.
    pub(crate) passed_by_keys: u64,
    pub(crate) facts: u64,
}

/// Judges all of it.
pub(crate) fn check(recording: &Recording) -> (Vec<Violation>, Counts) {
    let mut checker = Checker::new(recording);
    checker.read_facts();
    checker.read_answers();
    checker.bound();
    checker.causes();
    checker.fold();
    checker.answers();
    checker.agreement();
    checker.rights();
    checker.presence();
    checker.seats();
    checker.dead();
    checker.shown();
    checker.clock();
    (checker.violations, checker.counts)
}

/// One event of the journal.
struct Fact {
    /// Which entry, counted here from 0.
    entry: usize,
    kind: String,
    lease: String,
    attempt: u64,
    json: Json,
    line: String,
}

/// One entry of the journal.
struct Entry {
    index: u64,
    epoch: u64,
    at_ms: u64,
    /// Seconds since 1970 as the server's clock told them.
    civil: i64,
    facts: std::ops::Range<usize>,
}

/// What one sending asked of one lease, and heard of it.
struct Deed {
    sending: usize,
    what: What,
    sent: Micros,
    answer: Option<Answer>,
}

enum What {
    Checkout { attempt: u64 },
    Renew { counter: u64, nonce: String, presence: Option<u64> },
    Release,
    Reclaim { now: bool },
}

struct Answer {
    received: Micros,
    /// `granted`, `denied`, ..., or `problem`.
    outcome: String,
    /// A code of a denial, an end or a problem.
    code: String,
    /// The server says that this sending changed nothing and never will.
    no_effect: bool,
    epoch: u64,
    index: u64,
    json: Json,
}

/// The number of a key, and a feature: what the vendor of that key counts of it. A pool that became part of another goes by the name of that one.
type PoolName = (usize, String);

/// Seats of a pool, in a naive count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Numbers {
    total: u64,
    used: u64,
    lingering: u64,
}

impl Numbers {
    fn taken(self) -> u64 {
        self.used + self.lingering
    }

    fn free(self) -> u64 {
        self.total.saturating_sub(self.taken())
    }

    fn over(self) -> u64 {
        self.taken().saturating_sub(self.total)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Live,
    Lingering,
    Gone,
}

/// A lease as the journal tells it.
struct Lease {
    /// The pools as they were when it was granted.
    parts: Vec<(usize, u64)>,
    /// Of each part.
    versions: Vec<Version>,
    /// The keys that its client embeds.
    embeds: Keys,
    /// Of each part the entitlements that it is charged to now, with seats, where that is known: a signed grant says it, and facts say what has moved.
    charges: Vec<Option<Vec<(usize, u64)>>>,
    granted: usize,
    ttl_ms: u64,
    linger_ms: u64,
    phase: Phase,
    ending: Option<(usize, String)>,
    /// The entry that ended it, with the reason; `released` if its holder gave it back.
    end: Option<(usize, String)>,
    /// The entry with which its seats were free.
    free: Option<usize>,
    from_queue: bool,
}

/// A place in line as the journal tells it.
#[derive(Clone)]
struct Waiter {
    lease: String,
    attempt: u64,
    parts: Vec<(usize, u64)>,
    /// The keys that its client embeds.
    embeds: Keys,
    gives_up_ms: u64,
    queued: usize,
    place: u64,
}

/// How things stood after an entry.
struct After {
    numbers: Rc<Vec<Numbers>>,
    line: Rc<Vec<Waiter>>,
    /// Whether each entitlement counts, by its number.
    counting: Rc<Vec<bool>>,
    vendors: Rc<Vendors>,
}

struct Checker<'a> {
    recording: &'a Recording,
    facts: Vec<Fact>,
    entries: Vec<Entry>,
    lineage: String,
    by_index: BTreeMap<u64, usize>,
    deeds: BTreeMap<String, Vec<Deed>>,
    /// The earliest time at which each entry can have been decided.
    lower: Vec<Micros>,
    /// The latest at which it was durable.
    upper: Vec<Micros>,
    /// Which keys are one vendor by now.
    vendors: Rc<Vendors>,
    features: Vec<String>,
    /// Each key's vendor could count each feature.
    pools: Vec<PoolName>,
    versioned: Vec<bool>,
    /// What the clients of leases embed and asked for.
    requests: BTreeMap<&'a str, (&'a [String], &'a [Part])>,
    /// The entries in which charges of a lease moved.
    moves: BTreeMap<String, Vec<usize>>,
    leases: BTreeMap<String, Lease>,
    /// Released before they were known, or left the line: no grant any more, with the entry.
    barred: BTreeMap<String, usize>,
    dequeued: BTreeMap<String, Vec<(usize, String, Waiter)>>,
    denied: BTreeMap<(String, u64), (usize, String)>,
    queued: BTreeMap<String, Vec<Waiter>>,
    heard: BTreeMap<(String, u64), usize>,
    book: Book<'a>,
    after: Vec<After>,
    violations: Vec<Violation>,
    counts: Counts,
}

impl<'a> Checker<'a> {
    fn new(recording: &'a Recording) -> Self {
        Self {
            recording,
            facts: Vec::new(),
            entries: Vec::new(),
            lineage: String::new(),
            by_index: BTreeMap::new(),
            deeds: BTreeMap::new(),
            lower: Vec::new(),
            upper: Vec::new(),
            vendors: Rc::new(Vendors::of(&recording.licenses)),
            features: Vec::new(),
            pools: Vec::new(),
            versioned: Vec::new(),
            requests: BTreeMap::new(),
            moves: BTreeMap::new(),
            leases: BTreeMap::new(),
            barred: BTreeMap::new(),
            dequeued: BTreeMap::new(),
            denied: BTreeMap::new(),
            queued: BTreeMap::new(),
            heard: BTreeMap::new(),
            book: Book::default(),
            after: Vec::new(),
            violations: Vec::new(),
            counts: Counts::default(),
        }
    }

    fn violation(&mut self, rule: &'static str, says: String, leases: &[&str]) {
        let excerpt = self.excerpt(leases);
        self.violations.push(Violation { rule, says, excerpt });
    }

    /// All about these leases, and what was done to the server meanwhile.
    fn excerpt(&self, leases: &[&str]) -> Vec<String> {
        let mut lines: Vec<(Micros, String)> = Vec::new();
        let mut sendings: Vec<usize> = Vec::new();
        for lease in leases {
            sendings.extend(self.deeds.get(*lease).into_iter().flatten().map(|deed| deed.sending));
        }
        let stands_for = |asked: &Asked| matches!(asked, Asked::Presence { leases: own, dropped, .. } if own.iter().chain(dropped).any(|own| leases.contains(&own.as_str())));
        sendings.extend((0..self.recording.sendings.len()).filter(|number| stands_for(&self.recording.sendings[*number].asked)));
        sendings.sort_unstable();
        sendings.dedup();
        for sending in sendings {
            let sending = &self.recording.sendings[sending];
            lines.push((sending.sent, sending.line()));
        }
        let partings =
            self.recording.partings.iter().filter(|parting| leases.iter().any(|lease| parting.leases.iter().any(|own| own == lease)));
        lines.extend(partings.map(|parting| (parting.at, parting.line())));
        for fact in self.facts.iter().filter(|fact| leases.contains(&fact.lease.as_str())) {
            let (lower, upper) = (self.lower.get(fact.entry).copied().unwrap_or(0), self.upper.get(fact.entry).copied().unwrap_or(0));
            lines.push((lower, format!("{} to {}  fact {}", seconds(lower), seconds(upper), fact.line)));
        }
        if let (Some(first), Some(last)) = (lines.iter().map(|line| line.0).min(), lines.iter().map(|line| line.0).max()) {
            let during = self.recording.spells.iter().filter(|spell| spell.to >= first && spell.from <= last + 30_000_000);
            lines.extend(during.map(|spell| (spell.from, spell.line())).collect::<Vec<_>>());
        }
        lines.sort();
        let mut lines: Vec<String> = lines.into_iter().map(|line| line.1).collect();
        if lines.len() > EXCERPT_LINES_MAX {
            let left_out = lines.len() - EXCERPT_LINES_MAX;
            lines.splice(EXCERPT_LINES_MAX / 2..lines.len() - EXCERPT_LINES_MAX / 2, [format!("({left_out} lines left out)")]);
        }
        lines
    }

    // What there is.

    /// The journal has one content for each place, without gaps, and reading it twice shows the same.
    fn read_facts(&mut self) {
        let recording = self.recording;
        let mut last: Option<(u64, u64, u64)> = None;
        let mut keys = Vec::new();
        for line in recording.pieces.iter().flat_map(|piece| &piece.lines) {
            let Some(json) = Json::read(line) else {
                self.violation("facts_can_be_read", format!("no JSON: {line}"), &[]);
                continue;
            };
            let number = |path: &str| json.at(path).number().unwrap_or(0);
            let (index, epoch, place, at_ms) = (number("position.index"), number("position.epoch"), number("number"), number("at_ms"));
            let lineage = json.at("position.lineage").text();
            if self.lineage.is_empty() {
                lineage.clone_into(&mut self.lineage);
            }
            let kind = json.at("kind").text().to_owned();
            let follows = match last {
                None => index == 1 && place == 0,
                Some((index_before, epoch_before, place_before)) => {
                    (index == index_before && epoch == epoch_before && place == place_before + 1)
                        || (index == index_before + 1 && place == 0 && epoch >= epoch_before)
                }
            };
            if !follows || lineage != self.lineage {
                self.violation("one_writer", format!("after {last:?} (entry, epoch, number) comes {line}"), &[]);
            }
            if let Some((_, before, _)) = last
                && (epoch != before) != (kind == "recovered")
            {
                self.violation("one_writer", format!("an epoch begins with its recovery and only so: {line}"), &[]);
            }
            last = Some((index, epoch, place));
            if self.entries.last().is_none_or(|entry| entry.index != index) {
                if let Some(before) = self.entries.last()
                    && before.at_ms > at_ms
                {
                    self.violation("lease_time_never_fast", format!("lease time goes back from {} ms: {line}", before.at_ms), &[]);
                }
                self.by_index.insert(index, self.entries.len());
                let civil = civil(json.at("time").text()).unwrap_or(0);
                self.entries.push(Entry { index, epoch, at_ms, civil, facts: self.facts.len()..self.facts.len() });
            }
            let entry = self.entries.len() - 1;
            let (lease, attempt) = (json.at("lease").text().to_owned(), number("attempt"));
            keys.push((index, place, kind.clone(), lease.clone(), attempt, at_ms));
            self.facts.push(Fact { entry, kind, lease, attempt, json, line: line.clone() });
            let end = self.facts.len();
            if let Some(entry) = self.entries.last_mut() {
                entry.facts.end = end;
            }
        }
        self.counts.facts = self.facts.len() as u64;
        let by_presence = |fact: &&Fact| fact.kind == "released" && fact.json.at("cause").text() == "presence";
        self.counts.freed_early = self.facts.iter().filter(by_presence).count() as u64;
        let Some(again) = &recording.again else { return };
        let read = |json: &Json| {
            let number = |path: &str| json.at(path).number().unwrap_or(0);
            let text = |path: &str| json.at(path).text().to_owned();
            (number("position.index"), number("number"), text("kind"), text("lease"), number("attempt"), number("at_ms"))
        };
        let again: Vec<_> = again.lines.iter().filter_map(|line| Json::read(line)).map(|json| read(&json)).collect();
        let kept = &keys[keys.len().saturating_sub(again.len())..];
        if kept != again.as_slice() {
            let differs = kept.iter().zip(&again).find(|(one, other)| one != other);
            let says = format!("read again, the journal says something else: {differs:?}, {} facts and then {}", keys.len(), again.len());
            self.violation("one_writer", says, &[]);
        }
    }

    fn read_answers(&mut self) {
        let recording = self.recording;
        for (number, sending) in recording.sendings.iter().enumerate() {
            let json = sending.heard.as_ref().map(|heard| (heard, Json::read(&heard.body)));
            if let Some((heard, json)) = &json {
                self.counts.answers += 1;
                let good = matches!(heard.status, 200 | 201);
                let whole =
                    json.as_ref().is_some_and(|json| good || (!json.at("code").text().is_empty() && !json.at("retry").text().is_empty()));
                if !whole || heard.status == 500 {
                    self.violations.push(Violation {
                        rule: "answers_can_be_read",
                        says: "an answer is neither a result nor a problem with its code, or an inner fault".to_owned(),
                        excerpt: vec![sending.line()],
                    });
                }
            } else {
                self.counts.unanswered += 1;
            }
            let answer = |part: Option<&Json>| -> Option<Answer> {
                let (heard, json) = json.as_ref()?;
                let json = part.or(json.as_ref()).cloned().unwrap_or(Json::Null);
                let outcome = match json.at("outcome").text() {
                    "" if matches!(sending.asked, Asked::Reclaim { .. }) && heard.status == 200 => "reclaimed",
                    "" => "problem",
                    outcome => outcome,
                };
                let code = [json.at("denial.code").text(), json.at("reason").text(), json.at("code").text()].concat();
                Some(Answer {
                    received: heard.received,
                    outcome: outcome.to_owned(),
                    code,
                    no_effect: outcome == "problem" && json.at("took_effect").text() == "no",
                    epoch: json.at("position.epoch").number().unwrap_or(0),
                    index: json.at("position.index").number().unwrap_or(0),
                    json,
                })
            };
            let mut deeds = Vec::new();
            let deed = |what, answer| Deed { sending: number, what, sent: sending.sent, answer };
            match &sending.asked {
                Asked::Checkout { lease, attempt, .. } => deeds.push((lease, deed(What::Checkout { attempt: *attempt }, answer(None)))),
                Asked::Renew(renewal) => {
                    let what = What::Renew { counter: renewal.counter, nonce: renewal.nonce.clone(), presence: renewal.presence };
                    deeds.push((&renewal.lease, deed(what, answer(None))));
                }
                Asked::Renewals(renewals) => {
                    let answers =
                        json.as_ref().and_then(|(_, json)| json.as_ref()).map(|json| json.at("answers").list()).unwrap_or_default();
                    for (place, renewal) in renewals.iter().enumerate() {
                        let what = What::Renew { counter: renewal.counter, nonce: renewal.nonce.clone(), presence: renewal.presence };
                        deeds.push((&renewal.lease, deed(what, answer(answers.get(place)))));
                    }
                }
                Asked::Release { lease } => deeds.push((lease, deed(What::Release, answer(None)))),
                Asked::Reclaim { lease, now } => deeds.push((lease, deed(What::Reclaim { now: *now }, answer(None)))),
                Asked::Status | Asked::Install { .. } | Asked::Remove { .. } | Asked::Presence { .. } => {}
            }
            for (lease, deed) in deeds {
                let outcome = deed.answer.as_ref().map(|answer| answer.outcome.as_str()).unwrap_or_default();
                match outcome {
                    "granted" => self.counts.granted += 1,
                    "denied" => self.counts.denied += 1,
                    "waiting" => self.counts.waiting += 1,
                    "renewed" => self.counts.renewed += 1,
                    "problem" => self.counts.problems += 1,
                    _ => {}
                }
                self.deeds.entry(lease.clone()).or_default().push(deed);
            }
        }
        for deeds in self.deeds.values_mut() {
            deeds.sort_by_key(|deed| deed.sent);
        }
    }

    /// When each entry was durable at the latest: before the first answer or reading that has seen it.
    fn bound(&mut self) {
        self.upper = vec![Micros::MAX; self.entries.len()];
        let mut seen = |lineage: &str, index: u64, received: Micros| {
            if lineage == self.lineage
                && let Some(entry) = self.by_index.get(&index)
            {
                self.upper[*entry] = self.upper[*entry].min(received);
            }
        };
        for sending in &self.recording.sendings {
            let Some(heard) = &sending.heard else { continue };
            let Some(json) = Json::read(&heard.body) else { continue };
            for json in std::iter::once(&json).chain(json.at("answers").list()) {
                if let Some(index) = json.at("position.index").number() {
                    seen(json.at("position.lineage").text(), index, heard.received);
                }
            }
        }
        let mut from = 0;
        for piece in &self.recording.pieces {
            let facts = from..from + piece.lines.len();
            from = facts.end;
            if let Some(fact) = self.facts.get(facts.end.saturating_sub(1)).filter(|_| !piece.lines.is_empty()) {
                self.upper[fact.entry] = self.upper[fact.entry].min(piece.done);
            }
        }
        let mut least = Micros::MAX;
        for upper in self.upper.iter_mut().rev() {
            least = least.min(*upper);
            *upper = least;
        }
    }

    /// Each fact about a lease was asked for by somebody who was not told that nothing happened; that bounds its time from below.
    fn causes(&mut self) {
        self.lower = vec![0; self.entries.len()];
        let mut wrong: Vec<(&'static str, String, String)> = Vec::new();
        for fact in &self.facts {
            let fits: &dyn Fn(&Deed) -> bool = match (fact.kind.as_str(), fact.json.at("reason").text(), fact.json.at("cause").text()) {
                ("granted" | "queued" | "denied", _, _) => {
                    &|deed| matches!(deed.what, What::Checkout { attempt } if attempt == fact.attempt)
                }
                ("adopted", _, _) => &|deed| matches!(deed.what, What::Checkout { .. }),
                ("heard", _, _) => &|deed| matches!(deed.what, What::Checkout { .. } | What::Renew { .. }),
                ("ending", "reclaimed", _) => &|deed| matches!(deed.what, What::Reclaim { now: false }),
                ("ended", "reclaimed", _) => &|deed| matches!(deed.what, What::Reclaim { .. }),
                ("released", _, "holder") | ("released_unknown", _, _) | ("dequeued", "released", _) => {
                    &|deed| matches!(deed.what, What::Release)
                }
                _ => continue,
            };
            if fact.kind == "ended"
                && let Some(ending) = self.facts.iter().find(|other| other.kind == "ending" && other.lease == fact.lease)
                && ending.entry <= fact.entry
            {
                // It was asked for when it began to end.
                continue;
            }
            let upper = self.upper[fact.entry];
            let asked: Vec<&Deed> = self.deeds.get(&fact.lease).into_iter().flatten().filter(|deed| fits(deed)).collect();
            let told_no = |deed: &Deed| deed.answer.as_ref().is_some_and(|answer| answer.no_effect);
            let first = asked.iter().filter(|deed| !told_no(deed) && deed.sent <= upper).map(|deed| deed.sent).min();
            match first {
                Some(first) => self.lower[fact.entry] = self.lower[fact.entry].max(first),
                None if asked.iter().any(|deed| told_no(deed) && deed.sent <= upper) => {
                    let says = format!(
                        "`{}` of {} is a fact, and all who asked for it before it was durable were told that they took no effect",
                        fact.kind, fact.lease
                    );
                    wrong.push(("no_false_no", says, fact.lease.clone()));
                }
                None => wrong.push((
                    "asked_before_decided",
                    format!("nobody had asked for `{}` of {}", fact.kind, fact.lease),
                    fact.lease.clone(),
                )),
            }
        }
        for fact in self.facts.iter().filter(|fact| fact.kind == "released" && fact.json.at("cause").text() == "presence") {
            let died = self.recording.partings.iter().filter(|parting| parting.died && parting.leases.contains(&fact.lease));
            if let Some(died) = died.map(|parting| parting.at).min() {
                self.lower[fact.entry] = self.lower[fact.entry].max(died);
            }
        }
        let mut most = 0;
        for lower in &mut self.lower {
            most = most.max(*lower);
            *lower = most;
        }
        for (rule, says, lease) in wrong {
            self.violation(rule, says, &[&lease]);
        }
    }

    /// The last entry that was certainly durable at this time, and the last that can have been decided.
    fn window(&self, from: Micros, to: Micros) -> (Option<usize>, Option<usize>) {
        let certain = self.upper.partition_point(|upper| *upper <= from);
        let possible = self.lower.partition_point(|lower| *lower <= to);
        (certain.checked_sub(1), possible.checked_sub(1))
    }

    // What the journal says, counted naively.

    /// The pool in which this vendor counts a feature.
    fn pool(&self, vendor: usize, feature: &str) -> Option<usize> {
        Some(vendor * self.features.len() + self.features.iter().position(|own| own == feature)?)
    }

    /// The pool that this one is part of, as vendors are then.
    fn home_among(&self, vendors: &Vendors, pool: usize) -> usize {
        let features = self.features.len();
        vendors.of_key(pool / features) * features + pool % features
    }

    /// The pool that this one is part of by now.
    fn home(&self, pool: usize) -> usize {
        self.home_among(&self.vendors, pool)
    }

    /// All pools that there can be, and who asked for what.
    fn open_pools(&mut self) {
        let recording = self.recording;
        for terms in recording.licenses.iter().flat_map(|license| &license.entitlements) {
            if !self.features.contains(&terms.feature) {
                self.features.push(terms.feature.clone());
            }
        }
        let pools = (0..self.vendors.count()).flat_map(|key| self.features.iter().map(move |feature| (key, feature.clone())));
        self.pools = pools.collect();
        self.versioned = vec![false; self.pools.len()];
        for sending in &recording.sendings {
            if let Asked::Checkout { lease, keys, parts, .. } = &sending.asked {
                self.requests.entry(lease).or_insert((keys, parts));
            }
        }
        for fact in self.facts.iter().filter(|fact| fact.kind == "charge_moved") {
            self.moves.entry(fact.lease.clone()).or_default().push(fact.entry);
        }
    }

    fn fold(&mut self) {
        let recording = self.recording;
        let licenses: BTreeMap<&str, &LicenseTerms> = recording.licenses.iter().map(|license| (license.hash.as_str(), license)).collect();
        // All pools first, so that the numbers after each entry have one length.
        self.open_pools();
        let mut lingers: BTreeMap<usize, u64> = BTreeMap::new();
        for license in &recording.licenses {
            for vendor in self.vendors.named(&license.keys) {
                for terms in &license.entitlements {
                    let Some(pool) = self.pool(vendor, &terms.feature) else { continue };
                    self.versioned[pool] |= terms.version.is_some();
                    let linger = lingers.entry(pool).or_default();
                    *linger = (*linger).max(terms.linger_ms);
                }
            }
        }
        let mut numbers: Rc<Vec<Numbers>> = Rc::new(vec![Numbers::default(); self.pools.len()]);
        let mut line: Rc<Vec<Waiter>> = Rc::new(Vec::new());
        let mut book: Book<'a> = Book::default();
        let mut counting: Rc<Vec<bool>> = Rc::new(Vec::new());
        // Who could be served since when.
        let mut stands: Option<(String, usize)> = None;
        let facts = std::mem::take(&mut self.facts);
        let entries = std::mem::take(&mut self.entries);
        let mut wrong: Vec<(&'static str, String, Vec<String>)> = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            // Vendors of which the server says in this entry that they became part of another.
            let mut merged = 0;
            for fact in &facts[entry.facts.clone()] {
                let json = &fact.json;
                let lease = fact.lease.clone();
                match fact.kind.as_str() {
                    "license_installed" => {
                        let Some(license) = licenses.get(json.at("hash").text()) else {
                            wrong.push(("asked_before_decided", format!("nobody installed this license: {}", fact.line), vec![]));
                            continue;
                        };
                        let signers = self.vendors.set(&license.keys);
                        let united = Rc::make_mut(&mut self.vendors).unite(signers);
                        if united != std::mem::take(&mut merged) {
                            let says = format!("{united} vendors become part of another by the keys of {}: {}", license.id, fact.line);
                            wrong.push(("who_signs_together_is_one_vendor", says, vec![]));
                        }
                        self.counts.merged += united as u64;
                        self.come_home(&mut Rc::make_mut(&mut numbers)[..], &mut line);
                        book.unite(&self.vendors, |pool| self.home(pool));
                        let vendor = self.vendors.named(&license.keys).first().copied().unwrap_or_default();
                        let pools = license.entitlements.iter().filter_map(|terms| self.pool(vendor, &terms.feature));
                        book.install(license, signers, &pools.collect::<Vec<_>>());
                        Rc::make_mut(&mut counting).resize(book.rights.len(), false);
                    }
                    "vendors_merged" => merged += 1,
                    "charge_moved" => {
                        if let Some(says) = self.charge_moves(fact, &book) {
                            wrong.push(("client_can_verify", says, vec![lease]));
                        }
                    }
                    "license_removed" => book.remove(json.at("hash").text()),
                    "entitlement_began" | "entitlement_ended" => {
                        let begins = fact.kind == "entitlement_began";
                        let number = json.at("entitlement").number().and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX);
                        let Some((pool, seats, counts)) =
                            book.rights.get(number).map(|right| (right.pool, right.terms.seats, right.counts))
                        else {
                            wrong.push(("seats_conserved", format!("there is no such entitlement: {}", fact.line), vec![]));
                            continue;
                        };
                        let broken =
                            if begins { book.begin(number, entry.civil) } else { book.end(number, json.at("reason").text(), entry.civil) };
                        if let Some((rule, says)) = broken {
                            wrong.push((rule, format!("{says}: {}", fact.line), vec![]));
                        }
                        let total = &mut Rc::make_mut(&mut numbers)[pool].total;
                        if begins && !counts {
                            *total += seats;
                        } else if !begins && counts {
                            *total = total.saturating_sub(seats);
                        }
                        Rc::make_mut(&mut counting)[number] = begins;
                    }
                    "granted" | "adopted" => {
                        let (parts, misnamed) = self.parts(fact, place, &book, &numbers, &line);
                        wrong.extend(misnamed.map(|(rule, says)| (rule, says, vec![lease.clone()])));
                        let embeds = self.embeds(&lease);
                        let versions: Vec<Version> =
                            json.at("items").list().iter().map(|part| asked_version(part.at("version").text())).collect();
                        let mut pools: Vec<usize> = parts.iter().map(|part| part.0).collect();
                        pools.sort_unstable();
                        if pools.windows(2).any(|pair| pair[0] == pair[1]) || parts.is_empty() {
                            wrong.push(("atomic_checkout", format!("parts of a grant: {}", fact.line), vec![lease.clone()]));
                        }
                        let from_queue = line.iter().position(|waiter| waiter.lease == lease);
                        if let Some(known) = self.leases.get(&lease) {
                            let says = format!("{lease} was granted with entry {}, and again: {}", entries[known.granted].index, fact.line);
                            wrong.push(("one_grant_per_id", says, vec![lease.clone()]));
                        }
                        if let Some(barred) = self.barred.get(&lease) {
                            let says = format!("{lease} was given back with entry {}, and granted after that", entries[*barred].index);
                            wrong.push(("released_never_grants", says, vec![lease.clone()]));
                        }
                        if fact.kind == "granted" {
                            for ((pool, seats), version) in parts.iter().zip(&versions) {
                                if let Some((rule, says)) = book.due(*pool, entry.civil) {
                                    wrong.push((rule, format!("{says}: {}", fact.line), vec![lease.clone()]));
                                }
                                if self.versioned[*pool] && self.lacks_more(&book, (*pool, version, *seats)) {
                                    let says = format!("of {} there are too few for this version: {}", self.pools[*pool].1, fact.line);
                                    wrong.push(("no_grant_past_entitlement", says, vec![lease.clone()]));
                                }
                                let lack = self.seats_by_keys(&book, *pool, false, true).with(embeds, *seats).lack();
                                if book.is_mixed(*pool) && lack > 0 {
                                    let says = format!(
                                        "of {} those who are not to go hold {lack} seats more than the keys that they embed have signed: {}",
                                        self.pools[*pool].1, fact.line
                                    );
                                    wrong.push(("no_grant_past_entitlement", says, vec![lease.clone()]));
                                }
                            }
                            for (number, waiter) in line.iter().enumerate() {
                                if from_queue.is_some_and(|own| number >= own) {
                                    break;
                                }
                                let shares = waiter.parts.iter().any(|part| parts.iter().any(|own| own.0 == part.0));
                                self.counts.passed_by_keys += u64::from(shares && waiter.embeds != embeds && !self.hopeless(&book, waiter));
                                if let Some(pool) = self.passed(&book, waiter, &parts, embeds, &numbers) {
                                    let says = format!(
                                        "{lease} takes seats of {} that {}, earlier in line, could have had, with entry {}",
                                        self.pools[pool].1, waiter.lease, entry.index
                                    );
                                    wrong.push(("queue_order", says, vec![lease.clone(), waiter.lease.clone()]));
                                }
                            }
                        }
                        let counted = Rc::make_mut(&mut numbers);
                        for (pool, seats) in &parts {
                            counted[*pool].used += seats;
                            if counted[*pool].over() > 0 && fact.kind == "granted" {
                                let says = format!("{:?} of {}: {}", counted[*pool], self.pools[*pool].1, fact.line);
                                wrong.push(("no_grant_past_entitlement", says, vec![lease.clone()]));
                            }
                        }
                        let charges = self.charges(&book, &lease, place, parts.len());
                        let was_queued = from_queue.is_some();
                        if let Some(own) = from_queue {
                            Rc::make_mut(&mut line).remove(own);
                        }
                        let linger_ms = parts.iter().filter_map(|part| lingers.get(&part.0)).copied().max().unwrap_or(0);
                        let granted = Lease {
                            parts,
                            versions,
                            embeds,
                            charges,
                            granted: place,
                            ttl_ms: json.at("ttl_ms").number().unwrap_or(0),
                            linger_ms,
                            phase: Phase::Live,
                            ending: None,
                            end: None,
                            free: None,
                            from_queue: was_queued,
                        };
                        self.leases.entry(lease).or_insert(granted);
                    }
                    "heard" => {
                        self.heard.entry((lease.clone(), entry.epoch)).or_insert(place);
                        if self.leases.get(&lease).is_none_or(|lease| lease.phase != Phase::Live) {
                            wrong.push(("lease_history", format!("heard, but it is not live: {}", fact.line), vec![lease]));
                        }
                    }
                    "ending" => match self.leases.get(&lease) {
                        Some(known) if known.phase == Phase::Live => {
                            let reason = json.at("reason").text().to_owned();
                            let mut pools = known.parts.iter().map(|part| self.home(part.0));
                            let fits = pools.all(|pool| self.fits_without_linger(&book, pool, &numbers));
                            if let Some(known) = self.leases.get_mut(&lease) {
                                known.ending.get_or_insert((place, reason.clone()));
                            }
                            if reason.starts_with("license_") && fits {
                                let says = format!("all who hold seats beside it fit into the licenses: {}", fact.line);
                                wrong.push(("ending_for_a_reason", says, vec![lease]));
                            }
                        }
                        _ => wrong.push(("lease_history", format!("it is not live: {}", fact.line), vec![lease])),
                    },
                    "ended" | "released" => {
                        let lingers = json.at("linger_until_ms").number().is_some();
                        let reason = if fact.kind == "ended" {
                            json.at("reason").text()
                        } else if json.at("cause").text() == "presence" {
                            "presence"
                        } else {
                            "released"
                        };
                        let homes = self.homes(&lease);
                        match self.leases.get_mut(&lease) {
                            Some(known) if known.phase == Phase::Live => {
                                known.phase = if lingers { Phase::Lingering } else { Phase::Gone };
                                known.end = Some((place, reason.to_owned()));
                                if !lingers {
                                    known.free = Some(place);
                                }
                                let counted = Rc::make_mut(&mut numbers);
                                for (pool, seats) in &homes {
                                    counted[*pool].used = counted[*pool].used.saturating_sub(*seats);
                                    if lingers {
                                        counted[*pool].lingering += seats;
                                    }
                                }
                            }
                            _ => wrong.push(("lease_history", format!("it is not live: {}", fact.line), vec![lease.clone()])),
                        }
                        self.barred.entry(lease).or_insert(place);
                    }
                    "linger_ended" => {
                        let homes = self.homes(&lease);
                        match self.leases.get_mut(&lease) {
                            Some(known) if known.phase == Phase::Lingering => {
                                known.phase = Phase::Gone;
                                known.free = Some(place);
                                let counted = Rc::make_mut(&mut numbers);
                                for (pool, seats) in &homes {
                                    counted[*pool].lingering = counted[*pool].lingering.saturating_sub(*seats);
                                }
                            }
                            _ => wrong.push(("lease_history", format!("it does not linger: {}", fact.line), vec![lease])),
                        }
                    }
                    "released_unknown" => {
                        self.barred.entry(lease).or_insert(place);
                    }
                    "queued" => {
                        let (parts, misnamed) = self.parts(fact, place, &book, &numbers, &line);
                        wrong.extend(misnamed.map(|(rule, says)| (rule, says, vec![lease.clone()])));
                        let ahead = parts.iter().map(|(pool, _)| in_line(&line, *pool)).max().unwrap_or(0) as u64;
                        let waiter = Waiter {
                            lease: lease.clone(),
                            attempt: fact.attempt,
                            parts,
                            embeds: self.embeds(&lease),
                            gives_up_ms: json.at("gives_up_ms").number().unwrap_or(0),
                            queued: place,
                            place: ahead + 1,
                        };
                        self.queued.entry(lease).or_default().push(waiter.clone());
                        Rc::make_mut(&mut line).push(waiter);
                    }
                    "dequeued" => {
                        let Some(own) = line.iter().position(|waiter| waiter.lease == lease) else {
                            wrong.push(("lease_history", format!("it does not wait: {}", fact.line), vec![lease]));
                            continue;
                        };
                        let waiter = Rc::make_mut(&mut line).remove(own);
                        let reason = json.at("reason").text().to_owned();
                        if let Some(says) = self.sent_away_wrongly(&book, &reason, &waiter, entry.at_ms, place) {
                            wrong.push(("waiters_leave_for_a_reason", format!("{says}: {}", fact.line), vec![lease.clone()]));
                        }
                        if reason == "released" {
                            self.barred.insert(lease.clone(), place);
                        }
                        self.dequeued.entry(lease).or_default().push((place, reason, waiter));
                    }
                    "denied" => {
                        let code = json.at("denial.code").text().to_owned();
                        if let Some(says) = self.denied_wrongly(fact, &code, &numbers, &line, &book, entry.civil) {
                            wrong.push(("denials_are_right", says, vec![lease.clone()]));
                        }
                        self.denied.insert((lease, fact.attempt), (place, code));
                    }
                    _ => {}
                }
            }
            if merged > 0 {
                let says = format!(
                    "with entry {} {merged} vendors become part of another, and nothing is installed that both have signed",
                    entry.index
                );
                wrong.push(("who_signs_together_is_one_vendor", says, vec![]));
            }
            // Whoever has nobody before it in all its lines, and fits, is served.
            let head = line.iter().enumerate().find(|(own, waiter)| {
                let fits = |(pool, seats): &(usize, u64)| numbers[*pool].free() >= *seats && !self.versioned[*pool];
                waiter.parts.iter().all(fits) && self.has_seats(&book, &waiter.parts, waiter.embeds, line[..*own].iter())
            });
            let head = head.map(|(_, waiter)| waiter);
            stands = match (head, stands) {
                (None, _) => None,
                (Some(head), Some((lease, since))) if head.lease == lease => {
                    let full = recording.spells.iter().any(|spell| {
                        spell.fault == Fault::DiskFull
                            && spell.to + SLACK >= self.lower[since]
                            && spell.from <= self.upper[place].max(self.lower[place])
                    });
                    if entry.at_ms - entries[since].at_ms > LINE_MOVES_MS && !full {
                        let says = format!(
                            "{lease} could have been served since entry {}, and still waits after entry {}, {} ms of lease time later",
                            entries[since].index,
                            entry.index,
                            entry.at_ms - entries[since].at_ms
                        );
                        wrong.push(("queue_moves", says, vec![lease.clone()]));
                        None
                    } else {
                        Some((lease, if full { place } else { since }))
                    }
                }
                (Some(head), _) => Some((head.lease.clone(), place)),
            };
            self.after.push(After {
                numbers: Rc::clone(&numbers),
                line: Rc::clone(&line),
                counting: Rc::clone(&counting),
                vendors: Rc::clone(&self.vendors),
            });
        }
        self.book = book;
        self.facts = facts;
        self.entries = entries;
        for (rule, says, leases) in wrong {
            let leases: Vec<&str> = leases.iter().map(String::as_str).collect();
            self.violation(rule, says, &leases);
        }
    }

    /// The pool in which these parts take from this waiter what it could have had; a waiter that can never be served is nobody's obstacle.
    fn passed(&self, book: &Book<'_>, waiter: &Waiter, parts: &[(usize, u64)], embeds: Keys, numbers: &[Numbers]) -> Option<usize> {
        if self.hopeless(book, waiter) || waiter.parts.iter().any(|part| self.versioned[part.0]) {
            return None;
        }
        waiter.parts.iter().find_map(|(pool, wanted)| {
            let taken = parts.iter().find(|part| part.0 == *pool)?.1;
            let (mut before, mut after) = (numbers[*pool].free(), numbers[*pool].free().saturating_sub(taken));
            if book.is_mixed(*pool) {
                // Where it is not known which seats somebody holds who is not moved, it could have had the fewer before, and the more after that.
                before = before.min(self.seats_by_keys(book, *pool, true, true).room(waiter.embeds));
                after = after.min(self.seats_by_keys(book, *pool, false, true).with(embeds, taken).room(waiter.embeds));
            }
            (before.min(*wanted) > after.min(*wanted)).then_some(*pool)
        })
    }

    /// There are not as many seats in all as it waits for, of licenses that it can verify.
    fn hopeless(&self, book: &Book<'_>, waiter: &Waiter) -> bool {
        waiter.parts.iter().any(|(pool, seats)| *seats > book.seats_for(*pool, &Version::new(), waiter.embeds))
    }

    fn sent_away_wrongly(&self, book: &Book<'_>, reason: &str, waiter: &Waiter, at_ms: u64, entry: usize) -> Option<String> {
        match reason {
            "silent" => {
                let asks = self.deeds.get(&waiter.lease).into_iter().flatten();
                let last =
                    asks.filter(|deed| deed.answer.as_ref().is_some_and(|answer| answer.outcome == "waiting")).map(|deed| deed.sent).max();
                let last = last.unwrap_or(0).max(self.lower[waiter.queued]);
                let by = self.upper[entry];
                (by != Micros::MAX && by < last + (WAIT_TTL_MS - 1_000) * 1_000).then(|| "it asked less than two minutes ago".to_owned())
            }
            "wait_over" => {
                (waiter.gives_up_ms > at_ms).then(|| format!("it waits until {} ms, and that is at {at_ms} ms", waiter.gives_up_ms))
            }
            "hopeless" => {
                let possible = !self.hopeless(book, waiter) && !waiter.parts.iter().any(|part| self.versioned[part.0]);
                possible.then(|| "it could be served once seats come back".to_owned())
            }
            _ => None,
        }
    }

    /// Those who hold seats of this pool, with the version and the seats of each.
    fn holders(&self, pool: usize, counts: impl Fn(&Lease) -> bool) -> Vec<(&Version, u64)> {
        let there = self.leases.values().filter(|lease| lease.phase != Phase::Gone && counts(lease));
        let parts = there.flat_map(|lease| lease.parts.iter().zip(&lease.versions));
        parts.filter(|((own, _), _)| self.home(*own) == pool).map(|((_, seats), version)| (version, *seats)).collect()
    }

    /// With these seats more, seats for some version and newer ones are more too few than before.
    fn lacks_more(&self, book: &Book<'_>, wanted: (usize, &Version, u64)) -> bool {
        let (pool, version, seats) = wanted;
        let mut holders = self.holders(pool, |_| true);
        let before = book.lack(pool, &holders);
        holders.push((version, seats));
        book.lack(pool, &holders) > before
    }

    /// All who hold seats of this pool have one, once nothing lingers any more.
    fn fits_without_linger(&self, book: &Book<'_>, pool: usize, numbers: &[Numbers]) -> bool {
        numbers[pool].used <= numbers[pool].total
            && book.lack(pool, &self.holders(pool, |lease| lease.phase == Phase::Live)) == 0
            && (!book.is_mixed(pool) || self.seats_by_keys(book, pool, true, false).lack() == 0)
    }

    fn denied_wrongly(
        &mut self,
        fact: &Fact,
        code: &str,
        numbers: &[Numbers],
        line: &[Waiter],
        book: &Book<'_>,
        now: i64,
    ) -> Option<String> {
        let (keys, parts) = self.recording.sendings.iter().find_map(|sending| match &sending.asked {
            Asked::Checkout { lease, attempt, keys, parts, .. } if *lease == fact.lease && *attempt == fact.attempt => Some((keys, parts)),
            _ => None,
        })?;
        // Whoever embeds keys of several vendors asks each of them, and is denied by all.
        let (embeds, vendors) = (self.vendors.set(keys), self.vendors.named(keys));
        let denial = fact.json.at("denial");
        if matches!(code, "no_seat_free" | "more_than_pool" | "queue_full") {
            let feature = denial.at("feature").text();
            let told = |name: &str| denial.at("pool").at(name).number().unwrap_or(0);
            let found = [told("total"), told("used"), told("lingering"), told("free"), told("over")];
            let pools = || vendors.iter().filter_map(|vendor| self.pool(*vendor, feature));
            if pools().next().is_some() && !pools().any(|pool| self.may_be_told(book, pool, embeds, numbers, found)) {
                let seen: Vec<String> = pools().map(|pool| self.seen(book, pool, embeds, numbers)).collect();
                return Some(format!(
                    "total, used, lingering, free and over are {}, and were told as {found:?}: {}",
                    seen.join(" or "),
                    fact.line
                ));
            }
        }
        let versions: Vec<Version> = parts.iter().map(|part| asked_version(part.version.as_deref().unwrap_or_default())).collect();
        let mut by_keys = false;
        for vendor in vendors {
            let wanted: Vec<(usize, u64)> = parts.iter().filter_map(|part| Some((self.pool(vendor, &part.feature)?, part.seats))).collect();
            if wanted.len() < parts.len() {
                continue;
            }
            if let Some((_, says)) = wanted.iter().find_map(|(pool, _)| book.due(*pool, now)) {
                return Some(format!("{says}: {}", fact.line));
            }
            let there = wanted.iter().zip(&versions).all(|((pool, seats), version)| {
                numbers[*pool].free() >= *seats && !(self.versioned[*pool] && self.lacks_more(book, (*pool, version, *seats)))
            });
            let ahead = line.iter().filter(|waiter| !self.hopeless(book, waiter) || waiter.parts.iter().any(|part| self.versioned[part.0]));
            let fits = there && self.has_seats(book, &wanted, embeds, ahead);
            let possible = wanted.iter().zip(&versions).all(|((pool, seats), version)| book.seats_for(*pool, version, embeds) >= *seats);
            let short =
                |(pool, seats): &(usize, u64)| book.is_mixed(*pool) && self.seats_by_keys(book, *pool, true, true).room(embeds) < *seats;
            by_keys |= code == "no_seat_free" && there && wanted.iter().any(short);
            match code {
                "no_seat_free" if fits => {
                    return Some(format!("the seats are free, and nobody who can be served waits for them: {}", fact.line));
                }
                "more_than_pool" | "version_not_covered" | "expired" | "not_yet_valid" | "unknown_feature" | "unknown_vendor"
                    if possible =>
                {
                    return Some(format!("there are as many seats, and they count now: {}", fact.line));
                }
                _ => {}
            }
        }
        self.counts.denied_by_keys += u64::from(by_keys);
        None
    }

    // What clients were told.

    /// The lease can have been live in some state between these times.
    fn possibly_live(&self, lease: &str, from: Micros, to: Micros) -> bool {
        let Some(lease) = self.leases.get(lease) else { return false };
        let (certain, possible) = self.window(from, to);
        let first = certain.unwrap_or(0).max(lease.granted);
        possible.is_some_and(|possible| first <= possible) && lease.end.as_ref().is_none_or(|(end, _)| first < *end)
    }

    /// The lease was live, and not ending, in every state between these times.
    fn surely_live(&self, lease: &str, from: Micros, to: Micros) -> bool {
        let Some(lease) = self.leases.get(lease) else { return false };
        let (certain, possible) = self.window(from, to);
        let over = |entry: usize| possible.is_some_and(|possible| entry <= possible);
        certain.is_some_and(|certain| lease.granted <= certain)
            && lease.end.as_ref().is_none_or(|(end, _)| !over(*end))
            && lease.ending.as_ref().is_none_or(|(ending, _)| !over(*ending))
    }

    /// Whether this entry can have been decided by then.
    fn by(&self, entry: usize, received: Micros) -> bool {
        self.lower[entry] <= received
    }

    /// Every answer follows from the journal.
    fn answers(&mut self) {
        let deeds = std::mem::take(&mut self.deeds);
        let mut wrong: Vec<(&'static str, String, String)> = Vec::new();
        for (lease, deeds) in &deeds {
            for deed in deeds {
                let Some(answer) = &deed.answer else { continue };
                if let Some((rule, says)) = self.judge(lease, deed, answer) {
                    wrong.push((
                        rule,
                        format!("{says} (lease {lease}, {} to {})", seconds(deed.sent), seconds(answer.received)),
                        lease.clone(),
                    ));
                }
            }
        }
        self.deeds = deeds;
        for (rule, says, lease) in wrong {
            self.violation(rule, says, &[&lease]);
        }
    }

    fn judge(&self, lease: &str, deed: &Deed, answer: &Answer) -> Option<(&'static str, String)> {
        let known = self.leases.get(lease);
        let index_of = |entry: usize| self.entries[entry].index;
        match answer.outcome.as_str() {
            "granted" => {
                let Some(known) = known else {
                    return Some(("answered_implies_durable", "a grant was answered that the journal does not have".to_owned()));
                };
                if index_of(known.granted) > answer.index {
                    return Some(("answered_implies_durable", "the answer's position lies before the grant".to_owned()));
                }
                if !self.possibly_live(lease, deed.sent, answer.received) {
                    return Some((
                        "lease_history_linearizable",
                        "a grant was answered at a time at which the lease was not live".to_owned(),
                    ));
                }
                self.granted_wrongly(lease, deed, answer, known)
            }
            "renewed" => {
                if let What::Renew { counter, nonce, .. } = &deed.what
                    && (answer.json.at("counter").number() != Some(*counter) || answer.json.at("nonce").text() != nonce)
                {
                    return Some(("answers_are_for_their_request", "another counter or nonce than asked".to_owned()));
                }
                let Some(known) = known else {
                    return Some((
                        "answered_implies_durable",
                        "a renewal was answered of a lease that the journal does not have".to_owned(),
                    ));
                };
                if !self.possibly_live(lease, deed.sent, answer.received) {
                    return Some((
                        "lease_history_linearizable",
                        "a renewal was answered at a time at which the lease was not live".to_owned(),
                    ));
                }
                let granted = (self.entries[known.granted].epoch == answer.epoch).then_some(known.granted);
                let heard = self.heard.get(&(lease.to_owned(), answer.epoch)).copied();
                let durable = granted.or(heard).is_some_and(|entry| index_of(entry) <= answer.index);
                (!durable).then(|| ("answered_implies_durable", "the first renewal in an epoch is a fact before its answer".to_owned()))
            }
            "denied" => {
                let What::Checkout { attempt } = deed.what else { return None };
                if self.surely_live(lease, deed.sent, answer.received) {
                    return Some(("lease_history_linearizable", "denied at a time at which the lease was live".to_owned()));
                }
                if answer.code == "lease_ended" {
                    let barred = self.barred.get(lease).is_some_and(|entry| self.by(*entry, answer.received));
                    return (!barred).then(|| ("answered_implies_durable", "it was told that it had ended, and had not".to_owned()));
                }
                let fact = self.denied.get(&(lease.to_owned(), attempt));
                let left = self.dequeued.get(lease).into_iter().flatten().find(|(_, _, waiter)| waiter.attempt == attempt);
                match (fact, left) {
                    (None, None) => Some(("answered_implies_durable", "a denial was answered that the journal does not have".to_owned())),
                    (Some((entry, _)), _) if index_of(*entry) > answer.index => {
                        Some(("answered_implies_durable", "the answer's position lies before the denial".to_owned()))
                    }
                    (Some((_, code)), None) if *code != answer.code => {
                        Some(("answers_agree", format!("denied as `{}`, and the journal says `{code}`", answer.code)))
                    }
                    _ => None,
                }
            }
            "waiting" => {
                let (certain, possible) = self.window(deed.sent, answer.received);
                let places: Vec<&Waiter> =
                    self.queued.get(lease).into_iter().flatten().filter(|waiter| index_of(waiter.queued) <= answer.index).collect();
                if places.is_empty() {
                    return Some(("answered_implies_durable", "a place in line was answered that the journal does not have".to_owned()));
                }
                let place = answer.json.at("place").number().unwrap_or(0);
                let mut seen: Vec<u64> = places
                    .iter()
                    .filter(|waiter| certain.is_none_or(|certain| certain < waiter.queued))
                    .map(|waiter| waiter.place)
                    .collect();
                if let Some(possible) = possible {
                    // Before the first entry of the window is a state too.
                    for after in &self.after[certain.unwrap_or(0)..=possible] {
                        if let Some(own) = after.line.iter().position(|waiter| waiter.lease == lease) {
                            let ahead = after.line[own].parts.iter().map(|(pool, _)| in_line(&after.line[..own], *pool)).max().unwrap_or(0);
                            seen.push(ahead as u64 + 1);
                        }
                    }
                }
                let (Some(least), Some(most)) = (seen.iter().min(), seen.iter().max()) else {
                    return Some(("lease_history_linearizable", "a place in line was answered at a time at which it had none".to_owned()));
                };
                (place < *least || place > *most)
                    .then(|| ("queue_order", format!("place {place} was answered, and it was between {least} and {most}")))
            }
            "ended" => {
                let reasons = known.into_iter().flat_map(|known| [&known.ending, &known.end]).flatten();
                let explained = reasons.clone().any(|(entry, reason)| self.by(*entry, answer.received) && *reason == answer.code);
                let unclaimed = self.dequeued.contains_key(lease) || (known.is_none() && self.barred.contains_key(lease));
                (!explained && !unclaimed).then(|| {
                    ("answered_implies_durable", format!("it was told that it ended (`{}`), and the journal does not say so", answer.code))
                })
            }
            "released" => {
                let barred = self.barred.get(lease).is_some_and(|entry| index_of(*entry) <= answer.index);
                (!barred).then(|| ("answered_implies_durable", "a release was answered that the journal does not have".to_owned()))
            }
            "reclaimed" => {
                let over = known.into_iter().flat_map(|known| [known.ending.as_ref(), known.end.as_ref()]).flatten();
                let taken = over.map(|(entry, _)| index_of(*entry)).any(|index| index <= answer.index);
                let barred = self.barred.get(lease).is_some_and(|entry| index_of(*entry) <= answer.index);
                (!taken && !barred).then(|| ("answered_implies_durable", "it was reclaimed, and the journal does not say so".to_owned()))
            }
            "problem" => (answer.code == "unknown_lease" && self.surely_live(lease, deed.sent, answer.received))
                .then(|| ("lease_history_linearizable", "a live lease was answered as unknown".to_owned())),
            _ => None,
        }
    }

    /// The signed grant is for what was asked, and of the entry that the journal names.
    fn granted_wrongly(&self, _: &str, deed: &Deed, answer: &Answer, known: &Lease) -> Option<(&'static str, String)> {
        let Asked::Checkout { nonce, parts, lease, keys, .. } = &self.recording.sendings[deed.sending].asked else { return None };
        let Some(grant) = answer.grant() else {
            return Some(("answers_can_be_read", "the grant cannot be read".to_owned()));
        };
        if grant.at("nonce").text() != nonce || grant.at("lease").text() != lease {
            return Some(("answers_are_for_their_request", "the grant is for another request".to_owned()));
        }
        let granted: Vec<Part> = grant
            .at("items")
            .list()
            .iter()
            .map(|item| Part {
                feature: item.at("feature").text().to_owned(),
                version: Some(item.at("version").text().to_owned()).filter(|version| !version.is_empty()),
                seats: item.at("seats").number().unwrap_or(0),
            })
            .collect();
        if granted != *parts {
            return Some(("atomic_checkout", format!("asked for {parts:?}, granted {granted:?}")));
        }
        for item in grant.at("items").list() {
            let from: u64 = item.at("from").list().iter().filter_map(|from| from.at("seats").number()).sum();
            if Some(from) != item.at("seats").number() {
                return Some(("atomic_checkout", "where the seats of a grant come from does not add up to them".to_owned()));
            }
            let (feature, version) = (item.at("feature").text(), asked_version(item.at("version").text()));
            for (hash, place, seats) in charged_to(item) {
                let license = self.recording.licenses.iter().find(|license| license.hash == hash);
                if let Some(license) = license.filter(|license| !license.keys.iter().any(|key| keys.contains(key))) {
                    let says = format!(
                        "seats of {feature} come from {}, which {} has signed, and the client embeds {}: it cannot verify them",
                        license.id,
                        short(&license.keys),
                        short(keys)
                    );
                    return Some(("client_can_verify", says));
                }
                let numbers = self.book.numbers(&hash, place, feature, &version, seats);
                let last = self.window(deed.sent, answer.received).1.unwrap_or(0).max(known.granted);
                let states = &self.after[known.granted.saturating_sub(1)..=last];
                let counts = |number: &usize| states.iter().any(|after| after.counting.get(*number) == Some(&true));
                if !numbers.iter().any(counts) {
                    let says = format!("seats of {feature} come from entitlement {place} of {hash}, which does not give them then");
                    return Some(("grants_name_rights_in_force", says));
                }
            }
        }
        let mut asked: Vec<(String, u64)> = parts.iter().map(|part| (part.feature.clone(), part.seats)).collect();
        let mut written: Vec<(String, u64)> = known.parts.iter().map(|(pool, seats)| (self.pools[*pool].1.clone(), *seats)).collect();
        asked.sort();
        written.sort();
        if asked != written {
            return Some(("atomic_checkout", format!("asked for {asked:?}, and the journal grants {written:?}")));
        }
        let entry = &self.entries[known.granted];
        let place = (grant.at("epoch").number(), grant.at("index").number(), grant.at("granted_at_ms").number());
        if place != (Some(entry.epoch), Some(entry.index), Some(entry.at_ms)) {
            let says = format!(
                "the grant names {place:?} as its epoch, entry and time, and the journal {:?}",
                (entry.epoch, entry.index, entry.at_ms)
            );
            return Some(("answers_agree", says));
        }
        None
    }

    /// All answers to one id and attempt agree, and what was given back stays given back.
    fn agreement(&mut self) {
        let deeds = std::mem::take(&mut self.deeds);
        let mut wrong: Vec<(&'static str, String, String)> = Vec::new();
        for (lease, deeds) in &deeds {
            let answered = |deed: &Deed| -> Option<(u64, String, String, Micros)> {
                let (What::Checkout { attempt }, Some(answer)) = (&deed.what, &deed.answer) else { return None };
                Some((*attempt, answer.outcome.clone(), answer.code.clone(), answer.received))
            };
            let mut finals: BTreeMap<u64, (String, String)> = BTreeMap::new();
            let mut denied: Vec<(u64, Micros)> = Vec::new();
            for deed in deeds {
                let Some((attempt, outcome, code, received)) = answered(deed) else { continue };
                let decides = outcome == "granted" || outcome == "denied" && code != "lease_ended";
                if decides
                    && let Some(other) = finals.insert(attempt, (outcome.clone(), code.clone()))
                    && other != (outcome.clone(), code.clone())
                {
                    let says = format!("attempt {attempt} of {lease} was answered {other:?} and {:?}", (&outcome, &code));
                    wrong.push(("answers_agree", says, lease.clone()));
                }
                if decides && outcome == "denied" {
                    if denied.iter().any(|(later, heard)| *later > attempt && *heard < deed.sent) {
                        let says = format!("attempt {attempt} of {lease} was decided although a later one had been answered");
                        wrong.push(("answers_agree", says, lease.clone()));
                    }
                    denied.push((attempt, received));
                }
            }
            let released = deeds
                .iter()
                .filter_map(|deed| deed.answer.as_ref())
                .filter(|answer| answer.outcome == "released")
                .map(|answer| answer.received)
                .min();
            if let Some(released) = released {
                let after = deeds.iter().find(|deed| {
                    deed.sent > released
                        && deed.answer.as_ref().is_some_and(|answer| matches!(answer.outcome.as_str(), "granted" | "renewed" | "waiting"))
                });
                if after.is_some() {
                    wrong.push((
                        "released_never_grants",
                        format!("{lease} was given back, asked for after that, and given"),
                        lease.clone(),
                    ));
                }
            }
            let reclaimed = deeds.iter().filter_map(|deed| deed.answer.as_ref()).find(|answer| answer.outcome == "reclaimed");
            if let Some(reclaimed) = reclaimed.map(|answer| answer.received)
                && let Some(after) = deeds.iter().find(|deed| {
                    deed.sent > reclaimed
                        && deed.answer.as_ref().is_some_and(|answer| matches!(answer.outcome.as_str(), "granted" | "renewed"))
                })
            {
                let says = format!("{lease} was reclaimed at {}, and renewed at {}", seconds(reclaimed), seconds(after.sent));
                wrong.push(("reclaimed_is_over", says, lease.clone()));
            }
        }
        self.deeds = deeds;
        for (rule, says, lease) in wrong {
            self.violation(rule, says, &[&lease]);
        }
    }

    // Promises.

    /// When this lease's client may run: from each answer that carries a promise, until its end by the client's own clock or its release.
    fn promised(&self, name: &str, deeds: &[Deed]) -> Vec<(Micros, Micros)> {
        let over = deeds.iter().filter(|deed| matches!(deed.what, What::Release)).map(|deed| deed.sent).min().unwrap_or(Micros::MAX);
        // Whose process has ended runs no more.
        let over = over.min(self.died(name).map_or(Micros::MAX, |parting| parting.at));
        let mut spans: Vec<(Micros, Micros)> = deeds
            .iter()
            .filter_map(|deed| {
                let answer = deed.answer.as_ref().filter(|answer| matches!(answer.outcome.as_str(), "granted" | "renewed"))?;
                let remaining = answer.json.at("remaining_ms").number()? * 1_000;
                let until = (deed.sent + remaining - remaining / 64).min(over);
                (answer.received < until).then_some((answer.received, until))
            })
            .collect();
        spans.sort_unstable();
        let mut joined: Vec<(Micros, Micros)> = Vec::new();
        for (from, to) in spans {
            match joined.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        joined
    }

    /// No lease ends, other than by its holder, while its client is promised the seat.
    fn rights(&mut self) {
        let mut wrong = Vec::new();
        for (name, lease) in &self.leases {
            let Some((end, reason)) = &lease.end else { continue };
            let upper = self.upper[*end];
            if reason == "unclaimed" && upper != Micros::MAX && upper < self.lower[lease.granted] + (WAIT_TTL_MS - 1_000) * 1_000 {
                wrong.push(("waiters_leave_for_a_reason", format!("{name} was given no two minutes to come for its seat"), name.clone()));
            }
            if reason == "released" || reason == "reclaimed" && self.reclaimed_now(name, *end) {
                continue;
            }
            let until = self.deeds.get(name).map(|deeds| self.promised(name, deeds)).unwrap_or_default().last().map_or(0, |span| span.1);
            if upper < until {
                let says = format!(
                    "{name} was promised its seats until {}, and they were free (`{reason}`, entry {}) at {} at the latest",
                    seconds(until),
                    self.entries[*end].index,
                    seconds(upper)
                );
                wrong.push(("promise_survives", says, name.clone()));
            }
        }
        for (rule, says, lease) in wrong {
            self.violation(rule, says, &[&lease]);
        }
    }

    /// An administrator had asked for this end at once, which is recorded as possible over-use.
    fn reclaimed_now(&self, lease: &str, end: usize) -> bool {
        let deeds = self.deeds.get(lease).into_iter().flatten();
        deeds.filter(|deed| matches!(deed.what, What::Reclaim { now: true })).any(|deed| deed.sent <= self.upper[end])
    }

    /// At each time, seats of clients that may run are no more than licenses give, or than the journal says are held beyond that.
    fn seats(&mut self) {
        // (time, 0 ends before 1 begins, lease)
        let mut changes: Vec<(Micros, u8, &str)> = Vec::new();
        for (name, deeds) in &self.deeds {
            if self.leases.contains_key(name) {
                for (from, to) in self.promised(name, deeds) {
                    changes.push((from, 1, name));
                    changes.push((to, 0, name));
                }
            }
        }
        changes.sort_unstable();
        let mut running: BTreeMap<&str, &Lease> = BTreeMap::new();
        let mut wrong: Vec<(String, Vec<String>)> = Vec::new();
        for (time, begins, name) in changes {
            if begins == 0 {
                running.remove(name);
                continue;
            }
            let Some(lease) = self.leases.get(name) else { continue };
            running.insert(name, lease);
            let (certain, possible) = self.window(time, time);
            let Some(possible) = possible else { continue };
            for (pool, _) in &lease.parts {
                // Taken back at once, which is recorded as over-use of this lease.
                let overused = |name: &str, lease: &Lease| {
                    lease
                        .end
                        .as_ref()
                        .is_some_and(|(end, reason)| *end <= possible && reason == "reclaimed" && self.reclaimed_now(name, *end))
                };
                // In a pool as vendors were in some state: what was two before they became one was counted apart.
                let held = |lease: &Lease, after: &After| {
                    let home = |pool: usize| self.home_among(&after.vendors, pool);
                    lease.parts.iter().filter(|part| home(part.0) == home(*pool)).map(|part| part.1).sum::<u64>()
                };
                let states = &self.after[certain.unwrap_or(0).min(possible)..=possible];
                let counted = states.iter().map(|after| {
                    let sum: u64 = running.iter().filter(|(name, lease)| !overused(name, lease)).map(|(_, lease)| held(lease, after)).sum();
                    let numbers = after.numbers[self.home_among(&after.vendors, *pool)];
                    (sum, numbers.total.max(numbers.taken()), after)
                });
                let Some((sum, allowed, after)) = counted.min_by_key(|(sum, allowed, _)| sum.saturating_sub(*allowed)) else { continue };
                if sum > allowed {
                    let holders: Vec<String> =
                        running.iter().filter(|(_, lease)| held(lease, after) > 0).map(|(name, _)| (*name).to_owned()).collect();
                    let says = format!(
                        "at {} clients may run with {sum} seats of {}, and there are {allowed}",
                        seconds(time),
                        self.pools[*pool].1
                    );
                    wrong.push((says, holders));
                }
            }
        }
        wrong.truncate(5);
        for (says, leases) in wrong {
            let leases: Vec<&str> = leases.iter().map(String::as_str).collect();
            self.violation("one_holder_per_seat", says, &leases);
        }
    }

    /// Time between these two in which the server ran and its disk had room.
    fn up(&self, from: Micros, to: Micros) -> Micros {
        let away: Micros = self.recording.spells.iter().map(|spell| spell.to.min(to).saturating_sub(spell.from.max(from))).sum();
        to.saturating_sub(from).saturating_sub(away)
    }

    /// What nobody renews comes back within the bound.
    fn dead(&mut self) {
        let mut wrong = Vec::new();
        for (name, lease) in &self.leases {
            let last = self
                .deeds
                .get(name)
                .into_iter()
                .flatten()
                .map(|deed| deed.answer.as_ref().map_or(deed.sent, |answer| answer.received))
                .max()
                .unwrap_or(0);
            let claimed = self.heard.keys().any(|(heard, _)| heard == name);
            let claim = if lease.from_queue && !claimed { WAIT_TTL_MS } else { 0 };
            let bound = (2 * lease.ttl_ms + lease.linger_ms + claim) * 1_000;
            let until = lease.free.map_or(self.recording.end, |free| self.lower[free]);
            let up = self.up(last.max(self.lower[lease.granted]), until);
            if up > bound + bound / 4 + SLACK {
                let says = format!(
                    "{name} was last heard of at {} and {} {}: {} s of the server's time, twice its time to live is {} s",
                    seconds(last),
                    if lease.free.is_some() { "free at" } else { "still taken at" },
                    seconds(until),
                    up / 1_000_000,
                    2 * lease.ttl_ms / 1_000
                );
                wrong.push((says, name.clone()));
            }
        }
        for (says, lease) in wrong {
            self.violation("dead_seat_returns", says, &[&lease]);
        }
    }

    /// The numbers that `status` shows are those of the journal at its position.
    fn shown(&mut self) {
        let mut wrong = Vec::new();
        for sending in &self.recording.sendings {
            let (Asked::Status, Some(heard)) = (&sending.asked, &sending.heard) else { continue };
            let Some(json) = Json::read(&heard.body).filter(|_| heard.status == 200) else { continue };
            let Some(entry) = json.at("position.index").number().and_then(|index| self.by_index.get(&index)) else { continue };
            if json.at("position.lineage").text() != self.lineage {
                continue;
            }
            for row in json.at("pools").list() {
                let feature = row.at("feature").text();
                // Two vendors of one name are told apart by their keys.
                let keys: Vec<String> = row.at("vendor_keys").list().iter().map(|key| key.text().to_owned()).collect();
                let vendors = self.after[*entry].vendors.named(&keys);
                if vendors.len() > 1 {
                    let says = format!("the keys {} are shown as one vendor's, and no text of all of them is installed", short(&keys));
                    wrong.push(Violation { rule: "who_signs_together_is_one_vendor", says, excerpt: vec![sending.line()] });
                }
                let Some(pool) = vendors.first().and_then(|vendor| self.pool(*vendor, feature)) else { continue };
                let counted = self.after[*entry].numbers[pool];
                let queued = in_line(&self.after[*entry].line, pool) as u64;
                let told = |name: &str| row.at(name).number().unwrap_or(0);
                let found = [told("total"), told("used"), told("lingering"), told("free"), told("over"), told("queued")];
                let expected = [counted.total, counted.used, counted.lingering, counted.free(), counted.over(), queued];
                if found != expected {
                    let says = format!(
                        "of {feature} after entry {}: total, used, lingering, free, over and queued are {expected:?}, and were shown as {found:?}",
                        self.entries[*entry].index
                    );
                    wrong.push(Violation { rule: "seats_conserved", says, excerpt: vec![sending.line()] });
                }
            }
        }
        self.violations.append(&mut wrong);
    }

    /// Between two entries no more lease time passes than real time can have.
    fn clock(&mut self) {
        // The most lease time over the earliest real time so far.
        let mut base: Option<(i64, usize)> = None;
        let mut wrong = None;
        for (place, entry) in self.entries.iter().enumerate() {
            let at = (entry.at_ms * 1_000).cast_signed();
            if let Some((base, since)) = base
                && self.upper[place] != Micros::MAX
            {
                let passed = at - self.upper[place].cast_signed() - base;
                let drift = (self.upper[place] / 64).cast_signed();
                if passed > ROUNDING + drift && wrong.is_none() {
                    wrong = Some(format!(
                        "from entry {} to entry {} lease time is ahead of real time by at least {} ms",
                        self.entries[since].index,
                        entry.index,
                        passed / 1_000
                    ));
                }
            }
            if self.lower[place] > 0 {
                let offset = at - self.lower[place].cast_signed();
                if base.is_none_or(|(least, _)| offset < least) {
                    base = Some((offset, place));
                }
            }
        }
        if let Some(says) = wrong {
            self.violation("lease_time_never_fast", says, &[]);
        }
        let began = self.recording.began;
        let off = (0..self.entries.len()).find(|place| {
            let second = self.entries[*place].civil;
            let (from, to) = (began + self.lower[*place].cast_signed(), began.saturating_add_unsigned(self.upper[*place]));
            // What nobody asked for may be older than the recording.
            self.lower[*place] > 0 && (second + 1) * 1_000_000 < from - CLOCKS || second * 1_000_000 > to.saturating_add(CLOCKS)
        });
        if let Some(place) = off.filter(|_| began > 0) {
            let says = format!(
                "entry {} bears the civil time {}, and was made between {} and {} after {} microseconds",
                self.entries[place].index,
                self.entries[place].civil,
                seconds(self.lower[place]),
                seconds(self.upper[place]),
                began
            );
            self.violation("civil_time_is_read_again", says, &[]);
        }
    }
}

impl Answer {
    /// The signed grant that it carries.
    fn grant(&self) -> Option<Json> {
        Json::read(&String::from_utf8(base64url(self.json.at("grant").text())?).ok()?)
    }
}

/// Where the seats of one item of a grant come from: the hash of a license, the place of the entitlement in it, seats.
fn charged_to(item: &Json) -> impl Iterator<Item = (String, u64, u64)> {
    item.at("from").list().iter().map(|from| {
        let hash = base64url(from.at("license").text()).unwrap_or_default();
        let number = |name: &str| from.at(name).number().unwrap_or(u64::MAX);
        (hash.iter().map(|byte| format!("{byte:02x}")).collect(), number("entitlement"), number("seats"))
    })
}

/// Waiters of this pool.
fn in_line(line: &[Waiter], pool: usize) -> usize {
    line.iter().filter(|waiter| waiter.parts.iter().any(|part| part.0 == pool)).count()
}

#[cfg(test)]
mod tests;
