//! Random clients: they check out, wait, renew, repeat, come late, ask for what is not theirs, give back, stand for their leases with presence
//! connections, and die, silently or seen by the kernel.
//!
//! Each keeps to what a client owes: it runs only inside its promise, and gives back what it has done with. Everything that it sends and hears
//! is recorded with times.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;
use triquest_wire::{Bytes16, Bytes32, Secret};

use super::record::{Asked, Heard, Micros, Part, Parting, Renewal, Sending};
use crate::client::Connection;

/// As many of the ids granted last are kept for the administrator to choose from.
const GRANTED_MAX: usize = 24;

/// A sequence of numbers that a seed decides.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number of the sequence (SplitMix64).
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
        bytes
    }

    /// The place of one of these weights.
    pub(super) fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (place, weight) in weights.iter().enumerate() {
            if left < *weight {
                return place;
            }
            left -= weight;
        }
        0
    }
}

/// What all clients and faults write into.
pub(super) struct Recorder {
    began: Instant,
    sendings: Mutex<Vec<Sending>>,
    partings: Mutex<Vec<Parting>>,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), sendings: Mutex::new(Vec::new()), partings: Mutex::new(Vec::new()) }
    }

    pub(super) fn now(&self) -> Micros {
        self.began.elapsed().as_micros() as Micros
    }

    pub(super) fn add(&self, sending: Sending) {
        self.sendings.lock().push(sending);
    }

    pub(super) fn take(&self) -> Vec<Sending> {
        std::mem::take(&mut self.sendings.lock())
    }

    pub(super) fn take_partings(&self) -> Vec<Parting> {
        std::mem::take(&mut self.partings.lock())
    }
}

/// What clients know of the world.
pub(super) struct Shared {
    pub(super) recorder: Recorder,
    pub(super) tls: TlsConnector,
    /// Where the server listens now.
    pub(super) port: AtomicU16,
    /// No new work: end what is under way.
    pub(super) ends: AtomicBool,
    /// Longer times to live may still be asked for: their end comes before the end of all.
    pub(super) early: AtomicBool,
    /// The keys that applications embed: of the first vendor, of the second one, and the two of the third one, where that is there.
    pub(super) keys: Vec<Bytes32>,
    /// The ids that were granted last.
    pub(super) granted: Mutex<VecDeque<String>>,
}

impl Shared {
    fn note_granted(&self, lease: &str) {
        let mut granted = self.granted.lock();
        if granted.len() >= GRANTED_MAX {
            granted.pop_front();
        }
        granted.push_back(lease.to_owned());
    }
}

/// What a client knows of one of its leases.
struct Slot {
    secret: Secret,
    lease: String,
    /// What its application embeds.
    keys: Vec<Bytes32>,
    parts: Vec<Part>,
    ttl_ms: Option<u64>,
    wait_ms: Option<u64>,
    attempt: u64,
    counter: u64,
    nonce: Bytes16,
    /// End of the promise by this client's clock.
    until: Micros,
    state: State,
    /// When it was last checked out or asked about.
    asked: Micros,
    /// Something was sent whose answer never came, or a place or seat may be left: to be given back at the end.
    doubt: bool,
    /// Nothing is sent any more, as if its process had died.
    dead: bool,
    /// The presence connection that stands for it.
    presence: Option<u64>,
}

/// A process with leases of its own, whose presence connection the kernel ends in order when it dies.
///
/// A process that really died would do no more to the server than closing this socket does, so it need not be a process of its own.
struct Process {
    generation: u64,
    /// The server's name for its connection.
    name: Value,
    places: Vec<usize>,
    connection: Connection,
}

impl Process {
    /// A living process leaves by a reset.
    fn leave(self) {
        // It can fail only on a socket that is closed.
        let _ = rustix::net::sockopt::set_socket_linger(self.connection.socket(), Some(Duration::ZERO));
    }

    /// Whether the server's end is closed, as after its restart.
    fn is_closed(&self) -> bool {
        !matches!(self.connection.socket().try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asked,
    Denied,
    Held,
    Over,
    Waiting,
}

/// One client.
pub(super) struct Client {
    number: u32,
    source: IpAddr,
    random: Random,
    shared: Arc<Shared>,
    connection: Option<Connection>,
    other: Option<Connection>,
    slots: Vec<Slot>,
    processes: Vec<Process>,
    generation: u64,
}

/// A request that is ready to be sent.
struct Call {
    asked: Asked,
    path: String,
    headers: &'static str,
    body: Vec<u8>,
    within: Duration,
}

const WITHIN: Duration = Duration::from_secs(6);

impl Client {
    pub(super) fn new(number: u32, seed: u64, shared: Arc<Shared>) -> Self {
        let source = IpAddr::from([127, 0, 0, 10 + (number % 200) as u8]);
        let random = Random::new(seed ^ (u64::from(number) + 1).wrapping_mul(0xd6e8_feb8_6659_fd93));
        Self { number, source, random, shared, connection: None, other: None, slots: Vec::new(), processes: Vec::new(), generation: 0 }
    }

    /// Asks at random until it is told to end; then gives back what it may hold.
    pub(super) async fn run(mut self) -> Self {
        while !self.shared.ends.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(self.random.below(30))).await;
            self.step().await;
        }
        for process in std::mem::take(&mut self.processes) {
            self.part(process, false);
        }
        self
    }

    /// Gives back all that may be held or waited for, but what died. False if that could not be done in time.
    pub(super) async fn give_back(mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(90);
        for place in 0..self.slots.len() {
            while !self.slots[place].dead && self.slots[place].doubt {
                if Instant::now() > until {
                    return false;
                }
                if self.release(place, WITHIN).await.is_none() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        true
    }

    async fn step(&mut self) {
        let now = self.shared.recorder.now();
        for slot in &mut self.slots {
            if slot.state == State::Held && slot.until <= now {
                slot.state = State::Over;
            }
        }
        let held = self.places(|slot| slot.state == State::Held && !slot.dead);
        let urgent = held.iter().copied().find(|place| self.slots[*place].until < now + 4_000_000);
        if let Some(place) = urgent
            && self.random.percent(80)
        {
            self.renew(place, false, WITHIN).await;
            return;
        }
        // Who waits asks again and again, and who lost an answer repeats the question.
        let pending = self.places(|slot| !slot.dead && matches!(slot.state, State::Waiting | State::Asked) && slot.asked > 0);
        let pending = pending.into_iter().find(|place| self.slots[*place].asked + 600_000 < now);
        if let Some(place) = pending
            && self.random.percent(60)
        {
            self.checkout(place, WITHIN).await;
            return;
        }
        let within = if self.random.percent(6) { Duration::from_millis(self.random.below(25)) } else { WITHIN };
        match self.random.weighted(&[30, 18, 8, 6, 16, 6, 8, 6, 3, 2, 2, 1, 6, 3, 9, 2, 5]) {
            0 if held.len() < 3 => {
                let place = self.fresh();
                self.checkout(place, within).await;
            }
            1 => {
                if let Some(place) = self.one_of(&held) {
                    self.renew(place, false, within).await;
                }
            }
            2 => {
                if let Some(place) = self.one_of(&held) {
                    self.renew(place, true, within).await;
                }
            }
            3 => self.renew_many(within).await,
            4 => {
                if let Some(place) = self.one_of(&held) {
                    self.release(place, within).await;
                }
            }
            5 => {
                // Those that are promised for long first: they are promised over restarts and changes of licenses.
                let long: Vec<usize> = held.iter().copied().filter(|place| self.slots[*place].ttl_ms > Some(14_000)).collect();
                let held = if long.is_empty() { held } else { long };
                let dead = self.slots.iter().filter(|slot| slot.dead && slot.presence.is_none() && slot.until > now).count();
                let held: Vec<usize> = held.into_iter().filter(|place| self.slots[*place].presence.is_none()).collect();
                if dead < 1
                    && self.random.percent(60)
                    && let Some(place) = self.one_of(&held)
                    && !self.slots[place].doubt_beyond_its_seat()
                {
                    self.slots[place].dead = true;
                }
            }
            6 => {
                let living = self.places(|slot| !slot.dead);
                if let Some(place) = self.late_one_of(&living) {
                    self.checkout(place, within).await;
                }
            }
            7 => {
                let denied = self.places(|slot| !slot.dead && slot.state == State::Denied);
                if let Some(place) = self.late_one_of(&denied) {
                    self.slots[place].attempt += 1;
                    self.checkout(place, within).await;
                }
            }
            8 => {
                let later = self.places(|slot| !slot.dead && slot.attempt > 1);
                if let Some(place) = self.one_of(&later) {
                    let attempt = self.slots[place].attempt;
                    self.slots[place].attempt = 1 + self.random.below(attempt);
                    self.checkout(place, within).await;
                    self.slots[place].attempt = attempt;
                }
            }
            9 => {
                // Given back before it was known.
                let place = self.fresh();
                self.release(place, within).await;
                self.checkout(place, within).await;
            }
            10 => {
                // An id that nobody ever asked for.
                let place = self.fresh();
                self.renew(place, false, within).await;
                self.slots[place].state = State::Over;
            }
            11 => self.take_an_id(within).await,
            12 => {
                let waiting = self.places(|slot| slot.state == State::Waiting && !slot.dead);
                if let Some(place) = self.one_of(&waiting) {
                    if self.random.percent(30) {
                        self.release(place, within).await;
                    } else {
                        self.checkout(place, within).await;
                    }
                }
            }
            13 => self.ask_twice_at_once(within).await,
            14 => self.stand(&held).await,
            15 => {
                if let Some(process) = self.one_process() {
                    self.part(process, false);
                }
            }
            16 => {
                // Often right after a renewal, which is what makes the death count.
                if let Some(process) = self.one_process() {
                    let living: Vec<usize> = process.places.iter().copied().filter(|place| held.contains(place)).collect();
                    if self.random.percent(60)
                        && let Some(place) = self.one_of(&living)
                    {
                        self.renew(place, false, WITHIN).await;
                    }
                    self.part(process, true);
                }
            }
            _ => {}
        }
    }

    // Processes with a presence connection.

    fn one_process(&mut self) -> Option<Process> {
        let count = self.processes.len() as u64;
        (count > 0).then(|| self.processes.swap_remove(self.random.below(count) as usize))
    }

    /// The process ends, or goes on and leaves its presence connection.
    fn part(&mut self, process: Process, dies: bool) {
        for place in &process.places {
            let slot = &mut self.slots[*place];
            if dies {
                // What stands for it is kept: it is dead otherwise than one that only falls silent.
                slot.dead = true;
            } else if slot.presence == Some(process.generation) {
                slot.presence = None;
            }
        }
        let leases = process.places.iter().map(|place| self.slots[*place].lease.clone()).collect();
        let at = self.shared.recorder.now();
        let parting = Parting { client: self.number, generation: process.generation, leases, at, died: dies };
        self.shared.recorder.partings.lock().push(parting);
        if !dies {
            process.leave();
        }
    }

    /// A new process takes some of the leases, or one that is there opens a new connection, for its leases and perhaps more.
    async fn stand(&mut self, held: &[usize]) {
        for place in (0..self.processes.len()).rev() {
            if self.processes[place].is_closed() && self.random.percent(70) {
                let process = self.processes.swap_remove(place);
                self.part(process, false);
            }
        }
        if self.random.percent(40)
            && let Some(process) = self.one_process()
        {
            let process = self.change(process, held).await;
            self.processes.push(process);
            return;
        }
        let before = if self.processes.len() >= 3 || self.random.percent(30) { self.one_process() } else { None };
        let mut places: Vec<usize> =
            before.iter().flat_map(|process| process.places.clone()).filter(|place| held.contains(place)).collect();
        // Whoever waits may have an answer on its way that a dead process never reads.
        let others = held.iter().copied().filter(|place| self.slots[*place].presence.is_none() && self.slots[*place].wait_ms.is_none());
        let others: Vec<usize> = others.collect();
        for place in others {
            if places.is_empty() || self.random.percent(50) {
                places.push(place);
            }
        }
        let opened = if places.is_empty() { None } else { self.open(places).await };
        if let Some(before) = before {
            self.part(before, false);
        }
        if let Some(process) = opened {
            for place in &process.places {
                self.slots[*place].presence = Some(process.generation);
            }
            self.processes.push(process);
        }
    }

    /// Lets leases enter a connection, and leave it. What is not answered may have happened: then nobody names it for what was added, and what
    /// was to be dropped still dies with it.
    async fn change(&mut self, mut process: Process, held: &[usize]) -> Process {
        let outside = held.iter().copied().filter(|place| self.slots[*place].presence.is_none() && self.slots[*place].wait_ms.is_none());
        let add: Vec<usize> = outside.take(2).collect();
        let drops = self.random.percent(30);
        let drop: Vec<usize> = process.places.iter().copied().filter(|_| drops).take(1).collect();
        if add.is_empty() && drop.is_empty() {
            return process;
        }
        let secrets =
            |places: &[usize]| -> Vec<Value> { places.iter().map(|place| json!({ "secret": self.slots[*place].secret })).collect() };
        let leases = |places: &[usize]| -> Vec<String> { places.iter().map(|place| self.slots[*place].lease.clone()).collect() };
        let generation = process.generation;
        let body = json!({ "connection": process.name, "generation": generation, "add": secrets(&add), "drop": secrets(&drop) });
        let call = Call {
            asked: Asked::Presence { generation, leases: leases(&add), dropped: leases(&drop) },
            path: "/v1/presence/change".to_owned(),
            headers: "",
            body: body.to_string().into_bytes(),
            within: WITHIN,
        };
        let Some(answer) = self.send(call).await else { return process };
        if answer["live"].is_u64() {
            process.places.retain(|place| !drop.contains(place));
            for place in drop {
                self.slots[place].presence = None;
            }
            for place in add {
                self.slots[place].presence = Some(generation);
                process.places.push(place);
            }
        }
        process
    }

    async fn open(&mut self, places: Vec<usize>) -> Option<Process> {
        self.generation += 1;
        let generation = self.generation;
        let address = SocketAddr::from(([127, 0, 0, 1], self.shared.port.load(Ordering::Relaxed)));
        let opened = tokio::time::timeout(WITHIN, Connection::open_from(&self.shared.tls, address, self.source)).await;
        let mut process = Process { generation, name: Value::Null, places, connection: opened.ok()?.ok()? };
        let socket = process.connection.socket();
        let (client, server) = (socket.local_addr().ok()?, socket.peer_addr().ok()?);
        let secrets: Vec<Value> = process.places.iter().map(|place| json!({ "secret": self.slots[*place].secret })).collect();
        let body = json!({ "leases": secrets, "generation": generation, "client": client, "server": server }).to_string();
        let leases = process.places.iter().map(|place| self.slots[*place].lease.clone()).collect();
        let sent = self.shared.recorder.now();
        let answered = tokio::time::timeout(WITHIN, process.connection.call("POST", "/v1/presence", body.as_bytes())).await;
        let heard = answered.ok().and_then(Result::ok).map(|status| {
            let body = String::from_utf8_lossy(process.connection.body()).into_owned();
            Heard { received: self.shared.recorder.now(), status, body }
        });
        let answer: Option<Value> = heard.as_ref().and_then(|heard| serde_json::from_str(&heard.body).ok());
        let stands = heard.as_ref().is_some_and(|heard| heard.status == 200);
        let asked = Asked::Presence { generation, leases, dropped: Vec::new() };
        self.shared.recorder.add(Sending { client: self.number, asked, sent, heard });
        process.name = answer.map_or(Value::Null, |answer| answer["connection"].clone());
        if !stands {
            process.leave();
            return None;
        }
        Some(process)
    }

    fn places(&self, fits: impl Fn(&Slot) -> bool) -> Vec<usize> {
        (0..self.slots.len()).filter(|place| fits(&self.slots[*place])).collect()
    }

    fn one_of(&mut self, places: &[usize]) -> Option<usize> {
        places.get(self.random.below(places.len() as u64) as usize).copied()
    }

    /// Mostly one of the latest.
    fn late_one_of(&mut self, places: &[usize]) -> Option<usize> {
        let from = if self.random.percent(80) { places.len().saturating_sub(6) } else { 0 };
        self.one_of(&places[from..])
    }

    /// A lease that nothing was asked of yet.
    fn fresh(&mut self) -> usize {
        let secret = Secret(Bytes32(self.random.bytes()));
        let embeds: &[usize] = match self.random.below(10) {
            0 => &[0, 1],
            1..=2 => &[1],
            // Applications of a vendor that goes from one key to another: those from before, those from after, and those in between.
            3..=7 if self.shared.keys.len() > 3 => [&[2][..], &[3], &[2, 3], &[3, 2]][self.random.weighted(&[5, 5, 1, 1])],
            _ => &[0],
        };
        let features: &[&str] = match embeds[0] {
            0 => &["cad", "cad", "cam", "sim", "ver"],
            1 => &["cad", "net"],
            _ => &["cad", "cad", "cad", "cam"],
        };
        let keys = embeds.iter().map(|key| self.shared.keys[*key]).collect();
        let mut parts: Vec<Part> = Vec::new();
        for _ in 0..1 + self.random.weighted(&[60, 25, 15]) {
            let feature = features[self.random.below(features.len() as u64) as usize];
            if parts.iter().any(|part| part.feature == feature) {
                continue;
            }
            let version = [Some("1.0"), Some("1.5"), Some("2.0"), Some("2.5"), None][self.random.weighted(&[5, 3, 5, 1, 2])];
            let version = version.filter(|_| feature == "ver").map(str::to_owned);
            let seats = [1, 2, 7][self.random.weighted(&[78, 20, if feature == "cad" { 3 } else { 0 }])];
            parts.push(Part { feature: feature.to_owned(), version, seats });
        }
        let long = if self.shared.early.load(Ordering::Relaxed) { 20 } else { 0 };
        let ttl_ms = [Some(10_000), None, Some(14_000), Some(25_000)][self.random.weighted(&[60, 14, 14, long])];
        let often = if embeds[0] > 1 { 35 } else { 18 };
        let wait_ms = self.random.percent(if parts.len() > 1 { 7 } else { often }).then(|| 800 + self.random.below(3_500));
        let slot = Slot {
            lease: secret.lease_id().to_string(),
            secret,
            keys,
            parts,
            ttl_ms,
            wait_ms,
            attempt: 1,
            counter: 0,
            nonce: Bytes16([0; 16]),
            until: 0,
            state: State::Asked,
            asked: 0,
            doubt: false,
            dead: false,
            presence: None,
        };
        self.slots.push(slot);
        self.slots.len() - 1
    }

    // What is asked.

    fn checkout_call(&mut self, place: usize, within: Duration) -> Call {
        let nonce = Bytes32(self.random.bytes());
        let at_once = self.random.percent(60);
        let slot = &self.slots[place];
        let items: Vec<Value> = slot
            .parts
            .iter()
            .map(|part| match &part.version {
                Some(version) => json!({ "feature": part.feature, "version": version, "seats": part.seats }),
                None => json!({ "feature": part.feature, "seats": part.seats }),
            })
            .collect();
        let mut body = json!({
            "secret": slot.secret, "attempt": slot.attempt, "nonce": nonce, "vendor_keys": slot.keys, "items": items,
            "holder": { "user": format!("user{}", self.number), "host": "history" },
        });
        for (name, value) in [("ttl_ms", slot.ttl_ms), ("wait_ms", slot.wait_ms)] {
            if let (Some(value), Some(members)) = (value, body.as_object_mut()) {
                members.insert(name.to_owned(), value.into());
            }
        }
        Call {
            asked: Asked::Checkout {
                lease: slot.lease.clone(),
                attempt: slot.attempt,
                nonce: text(&nonce),
                keys: slot.keys.iter().map(text).collect(),
                parts: slot.parts.clone(),
                wait_ms: slot.wait_ms,
            },
            path: "/v1/leases".to_owned(),
            headers: if at_once { "\r\nprefer: wait=0" } else { "" },
            body: body.to_string().into_bytes(),
            within,
        }
    }

    async fn checkout(&mut self, place: usize, within: Duration) {
        let call = self.checkout_call(place, within);
        let sent = self.shared.recorder.now();
        self.slots[place].doubt = true;
        self.slots[place].asked = sent;
        let answer = self.send(call).await;
        self.slots[place].heard(sent, answer.as_ref());
        if self.slots[place].state == State::Held {
            self.shared.note_granted(&self.slots[place].lease);
        }
    }

    fn renewal(&mut self, place: usize, again: bool) -> (Renewal, Value) {
        let nonce = self.random.bytes();
        let names = self.random.percent(90);
        let slot = &mut self.slots[place];
        if !again || slot.counter == 0 {
            slot.counter += 1;
            slot.nonce.0.copy_from_slice(&nonce[..16]);
        }
        let presence = slot.presence.filter(|_| names);
        let renewal = Renewal { lease: slot.lease.clone(), counter: slot.counter, nonce: text(&slot.nonce), presence };
        let mut body = json!({ "secret": slot.secret, "nonce": slot.nonce, "counter": slot.counter });
        if let (Some(presence), Some(members)) = (presence, body.as_object_mut()) {
            members.insert("presence".to_owned(), presence.into());
        }
        (renewal, body)
    }

    async fn renew(&mut self, place: usize, again: bool, within: Duration) {
        let (renewal, body) = self.renewal(place, again);
        let path = format!("/v1/leases/{}/renew", renewal.lease);
        let call = Call { asked: Asked::Renew(renewal), path, headers: "", body: body.to_string().into_bytes(), within };
        let sent = self.shared.recorder.now();
        let answer = self.send(call).await;
        self.slots[place].heard(sent, answer.as_ref());
    }

    async fn renew_many(&mut self, within: Duration) {
        let mut places = self.places(|slot| slot.state == State::Held && !slot.dead);
        let over = self.places(|slot| matches!(slot.state, State::Over | State::Denied) && !slot.dead);
        places.extend(self.one_of(&over));
        if places.is_empty() {
            return;
        }
        let (renewals, bodies): (Vec<Renewal>, Vec<Value>) = places.iter().map(|place| self.renewal(*place, false)).unzip();
        let body = json!({ "renewals": bodies }).to_string().into_bytes();
        let call = Call { asked: Asked::Renewals(renewals), path: "/v1/renewals".to_owned(), headers: "", body, within };
        let sent = self.shared.recorder.now();
        let Some(answer) = self.send(call).await else { return };
        for (place, answer) in places.iter().zip(answer["answers"].as_array().into_iter().flatten()) {
            // A refusal changes nothing here, whatever its reason.
            self.slots[*place].heard(sent, Some(answer));
        }
    }

    /// Some when the server has answered that it is given back.
    async fn release(&mut self, place: usize, within: Duration) -> Option<()> {
        let slot = &mut self.slots[place];
        slot.doubt = true;
        // From here on the client does not run with it any more, whatever comes.
        slot.state = State::Over;
        let (path, body) = (format!("/v1/leases/{}/release", slot.lease), json!({ "secret": slot.secret }).to_string().into_bytes());
        let call = Call { asked: Asked::Release { lease: slot.lease.clone() }, path, headers: "", body, within };
        let sent = self.shared.recorder.now();
        let answer = self.send(call).await;
        self.slots[place].heard(sent, answer.as_ref());
        (answer?["outcome"] == "released").then_some(())
    }

    /// Asks for something else with a secret that is in use.
    async fn take_an_id(&mut self, within: Duration) {
        let held = self.places(|slot| slot.state == State::Held && !slot.dead);
        let Some(place) = self.one_of(&held) else { return };
        let mut call = self.checkout_call(place, within);
        let Ok(mut body) = serde_json::from_slice::<Value>(&call.body) else { return };
        body["holder"]["user"] = "somebody-else".into();
        call.body = body.to_string().into_bytes();
        self.send(call).await;
    }

    /// The same checkout on two connections at once, as after an impatient retry.
    async fn ask_twice_at_once(&mut self, within: Duration) {
        let place = self.fresh();
        let (first, second) = (self.checkout_call(place, within), self.checkout_call(place, within));
        self.slots[place].doubt = true;
        let sent = self.shared.recorder.now();
        let (mut one, mut other) = (self.connection.take(), self.other.take());
        let (shared, number, source) = (&self.shared, self.number, self.source);
        let (heard, also) =
            tokio::join!(exchange(shared, number, source, &mut one, first), exchange(shared, number, source, &mut other, second));
        (self.connection, self.other) = (one, other);
        for answer in [heard, also] {
            self.slots[place].heard(sent, answer.as_ref());
        }
    }

    async fn send(&mut self, call: Call) -> Option<Value> {
        let mut connection = self.connection.take();
        let answer = exchange(&self.shared, self.number, self.source, &mut connection, call).await;
        self.connection = connection;
        answer
    }
}

impl Slot {
    /// A sending may still be on its way that would make it more than a seat that expires.
    fn doubt_beyond_its_seat(&self) -> bool {
        self.wait_ms.is_some()
    }

    fn heard(&mut self, sent: Micros, answer: Option<&Value>) {
        let Some(answer) = answer else {
            self.doubt = true;
            return;
        };
        let promised = || {
            let remaining = answer["remaining_ms"].as_u64().unwrap_or(0) * 1_000;
            sent + remaining - remaining / 64
        };
        match answer["outcome"].as_str().unwrap_or_default() {
            "granted" | "renewed" if self.state != State::Over || self.until > 0 => {
                self.until = self.until.max(promised());
                self.doubt = true;
                if self.state != State::Over {
                    self.state = State::Held;
                }
            }
            "waiting" if self.state != State::Over => {
                self.state = State::Waiting;
                self.doubt = true;
            }
            "denied" if self.state != State::Over => {
                // An earlier sending of a higher attempt may still take effect, so the doubt stays with whoever lost an answer.
                self.state = State::Denied;
            }
            "released" => {
                self.state = State::Over;
                self.doubt = false;
            }
            "ended" => self.state = State::Over,
            _ => {}
        }
    }
}

/// As it stands in JSON, without the quotes.
pub(super) fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Sends one request and hears its answer, both recorded. Nothing if no answer came; then the connection is given up, and the server may or may not have
/// taken the request.
async fn exchange(shared: &Shared, client: u32, source: IpAddr, connection: &mut Option<Connection>, call: Call) -> Option<Value> {
    if connection.is_none() {
        let address = SocketAddr::from(([127, 0, 0, 1], shared.port.load(Ordering::Relaxed)));
        let opened = tokio::time::timeout(WITHIN, Connection::open_from(&shared.tls, address, source)).await;
        let Ok(Ok(opened)) = opened else {
            tokio::time::sleep(Duration::from_millis(30)).await;
            return None;
        };
        *connection = Some(opened);
    }
    let open = connection.as_mut()?;
    let sent = shared.recorder.now();
    let answered = tokio::time::timeout(call.within, open.call_with("POST", &call.path, call.headers, &call.body)).await;
    let heard = match answered {
        Ok(Ok(status)) => {
            let received = shared.recorder.now();
            Some(Heard { received, status, body: String::from_utf8_lossy(open.body()).into_owned() })
        }
        _ => None,
    };
    if heard.is_none() {
        *connection = None;
    }
    let answer = heard.as_ref().map(|heard| serde_json::from_str(&heard.body).unwrap_or(Value::Null));
    let later = heard.as_ref().is_some_and(|heard| matches!(heard.status, 429 | 503 | 507));
    shared.recorder.add(Sending { client, asked: call.asked, sent, heard });
    if later {
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    answer
}
