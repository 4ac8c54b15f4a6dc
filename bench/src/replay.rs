//! Real FlexNet usage, event by event, through the HTTP API of a real server process, as fast as it goes. A naive model, a list of who
//! holds what, says what must come out: every decision and the pool's numbers after every event are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use triquest_wire::lease::{CheckoutAnswer, CheckoutRequest, DenialCode, HolderClaim, Item, ReleaseAnswer, SecretRequest};
use triquest_wire::status::Status;
use triquest_wire::trust::GrantPayload;
use triquest_wire::{Bytes32, Secret};

use crate::client::Connection;
use crate::demo;
use crate::experiments::Setting;

/// What an event did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Out,
    In,
}

/// One line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    line: usize,
    kind: Kind,
    feature: String,
    user: String,
    host: String,
    seats: u32,
}

fn read(path: &Path) -> anyhow::Result<Vec<Event>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [_, _, op, feature, user, host, seats, ..] = fields[..] else { bail!("line {}: too few fields", number + 1) };
        let kind = match op {
            "OUT" => Kind::Out,
            "IN" => Kind::In,
            "START" => continue,
            other => bail!("line {}: an unknown event {other}", number + 1),
        };
        events.push(Event {
            line: number + 1,
            kind,
            feature: feature.to_owned(),
            user: user.to_owned(),
            host: host.to_owned(),
            seats: seats.parse().with_context(|| format!("line {}: {seats} seats", number + 1))?,
        });
    }
    Ok(events)
}

/// What the model says of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Granted,
    Denied(DenialCode),
    /// The lease of this checkout, by the line that took it, is given back.
    Released(usize),
    /// What is returned was never granted: nothing to do.
    Nothing,
}

/// A list of who holds what, searched from its beginning each time.
struct Model {
    seats: BTreeMap<String, u32>,
    held: Vec<Event>,
}

impl Model {
    fn new(seats: BTreeMap<String, u32>) -> Self {
        Self { seats, held: Vec::new() }
    }

    fn used(&self, feature: &str) -> u32 {
        self.held.iter().filter(|held| held.feature == feature).map(|held| held.seats).sum()
    }

    fn decide(&mut self, event: &Event) -> Expected {
        let total = self.seats[&event.feature];
        match event.kind {
            Kind::Out if event.seats > total => Expected::Denied(DenialCode::MoreThanPool),
            Kind::Out if self.used(&event.feature) + event.seats > total => Expected::Denied(DenialCode::NoSeatFree),
            Kind::Out => {
                self.held.push(event.clone());
                Expected::Granted
            }
            Kind::In => {
                let same = |held: &Event| {
                    (&held.feature, &held.user, &held.host, held.seats) == (&event.feature, &event.user, &event.host, event.seats)
                };
                match self.held.iter().position(same) {
                    Some(at) => Expected::Released(self.held.remove(at).line),
                    None => Expected::Nothing,
                }
            }
        }
    }
}

/// The most seats of each feature that were ever out at once.
fn peaks(events: &[Event]) -> BTreeMap<String, u32> {
    let features: BTreeSet<&String> = events.iter().map(|event| &event.feature).collect();
    let mut peaks: BTreeMap<String, u32> = features.iter().map(|feature| ((*feature).clone(), 0)).collect();
    let mut model = Model::new(features.into_iter().map(|feature| (feature.clone(), u32::MAX)).collect());
    for event in events {
        model.decide(event);
        let used = model.used(&event.feature);
        if let Some(peak) = peaks.get_mut(&event.feature) {
            *peak = used.max(*peak);
        }
    }
    peaks
}

/// What a replay counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    granted: u32,
    denied: u32,
    released: u32,
    returned_ungranted: u32,
    differences: u32,
}

struct Replay {
    connection: Connection,
    vendor_key: Bytes32,
    file: String,
    secrets: BTreeMap<usize, Secret>,
    counted: Counted,
}

impl Replay {
    fn differs(&mut self, event: &Event, what: &str) {
        self.counted.differences += 1;
        if self.counted.differences <= 10 {
            eprintln!("difference at {}:{}: {what}", self.file, event.line);
        }
    }

    async fn checkout(&mut self, event: &Event) -> anyhow::Result<CheckoutAnswer> {
        let bytes = |what: &str| Bytes32(triquest_license::sha256(format!("{what} {} {}", self.file, event.line).as_bytes()));
        let secret = Secret(bytes("secret"));
        self.secrets.insert(event.line, secret);
        let request = CheckoutRequest {
            accepts: triquest_wire::WordList::default(),
            secret,
            attempt: 1,
            nonce: bytes("nonce"),
            vendor_keys: vec![self.vendor_key],
            items: vec![Item { feature: event.feature.clone(), version: None, seats: event.seats }],
            holder: HolderClaim { user: Some(event.user.clone()), host: Some(event.host.clone()), ..HolderClaim::default() },
            ttl_ms: Some(3_600_000),
            wait_ms: None,
            seen: None,
            shown: None,
            regained: false,
        };
        self.connection.json("POST", "/v1/leases", &request).await
    }

    async fn event(&mut self, event: &Event, model: &mut Model) -> anyhow::Result<()> {
        let expected = model.decide(event);
        match expected {
            Expected::Granted | Expected::Denied(_) => {
                let answer = self.checkout(event).await?;
                match (&answer, expected) {
                    (CheckoutAnswer::Granted { grant, .. }, Expected::Granted) => {
                        self.counted.granted += 1;
                        let payload: GrantPayload = serde_json::from_slice(&grant.grant.0).context("the grant's payload")?;
                        let charged: u32 = payload.items.iter().flat_map(|item| &item.from).map(|from| from.seats).sum();
                        if charged != event.seats || payload.items.len() != 1 || payload.items[0].feature != event.feature {
                            self.differs(event, &format!("asked for {} of {}, granted {:?}", event.seats, event.feature, payload.items));
                        }
                    }
                    (CheckoutAnswer::Denied { denial, .. }, Expected::Denied(code)) => {
                        self.counted.denied += 1;
                        if denial.code != code || denial.pool.used != u64::from(model.used(&event.feature)) {
                            self.differs(event, &format!("the model denies with {code:?}, the server with {denial:?}"));
                        }
                    }
                    _ => self.differs(event, &format!("the model says {expected:?}, the server {answer:?}")),
                }
            }
            Expected::Released(line) => {
                let secret = self.secrets.remove(&line).context("what is released was checked out")?;
                let path = format!("/v1/leases/{}/release", secret.lease_id());
                let _: ReleaseAnswer = self.connection.json("POST", &path, &SecretRequest { secret }).await?;
                self.counted.released += 1;
            }
            Expected::Nothing => self.counted.returned_ungranted += 1,
        }
        self.compare(event, model).await
    }

    /// The numbers of the event's pool against the model's.
    async fn compare(&mut self, event: &Event, model: &Model) -> anyhow::Result<()> {
        let status: Status = self.connection.json("GET", &format!("/v1/status?feature={}", event.feature), &()).await?;
        let (total, used) = (u64::from(model.seats[&event.feature]), u64::from(model.used(&event.feature)));
        let seen: Vec<(u64, u64, u64, u64)> =
            status.pools.iter().map(|pool| (pool.numbers.total, pool.numbers.used, pool.numbers.free, pool.numbers.over)).collect();
        if seen != [(total, used, total - used, 0)] || status.leases != model.held.len() as u64 {
            let held = model.held.len();
            self.differs(
                event,
                &format!("{used} of {total} and {held} leases expected, (total, used, free, over) = {seen:?} and {} found", status.leases),
            );
        }
        Ok(())
    }
}

/// One file at these seats.
async fn replay(setting: &Setting, file: &str, events: &[Event], seats: BTreeMap<String, u32>) -> anyhow::Result<Counted> {
    let place = setting.place()?;
    let (server, _) = place.start().await?;
    let features: Vec<(String, u32)> = seats.iter().map(|(feature, seats)| (feature.clone(), *seats)).collect();
    for note in demo::licenses(&place.server_key()?, &features)? {
        place.install(&note)?;
    }
    let connection = Connection::open(&crate::client::tls()?, server.address()).await?;
    let mut replay = Replay {
        connection,
        vendor_key: demo::vendor_key()?,
        file: file.to_owned(),
        secrets: BTreeMap::new(),
        counted: Counted::default(),
    };
    let mut model = Model::new(seats);
    for event in events {
        replay.event(event, &mut model).await.with_context(|| format!("{file}:{}", event.line))?;
    }
    // What real users still held when the log ended is given back, and nothing is left.
    while let Some(held) = model.held.first().cloned() {
        replay.event(&Event { kind: Kind::In, ..held }, &mut model).await?;
    }
    server.stop()?;
    Ok(replay.counted)
}

/// Replays the files, at the real peaks and at half of them. Fails on the first difference from the model.
pub(crate) async fn run(setting: &Setting, mut files: Vec<PathBuf>) -> anyhow::Result<()> {
    if files.is_empty() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        files = ["ansys-2017-01-08.events.csv", "ansys-2017-02-18.events.csv"].iter().map(|name| data.join(name)).collect();
    }
    let mut differences = 0;
    for path in files {
        let events = read(&path)?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let peaks = peaks(&events);
        let half: BTreeMap<String, u32> = peaks.iter().map(|(feature, peak)| (feature.clone(), (peak / 2).max(1))).collect();
        for (name, seats) in [("real peaks", peaks), ("half of them", half)] {
            let began = Instant::now();
            let counted = replay(setting, &file, &events, seats).await?;
            println!(
                "{file}, {name}: {} events in {:.1} s; {} granted, {} denied, {} released, {} returns of what was denied; {} differences",
                events.len(),
                began.elapsed().as_secs_f64(),
                counted.granted,
                counted.denied,
                counted.released,
                counted.returned_ungranted,
                counted.differences
            );
            if name == "real peaks" && counted.denied > 0 {
                bail!("{file}: seats are the real peaks, so nothing is denied");
            }
            differences += counted.differences;
        }
    }
    if differences > 0 {
        bail!("{differences} differences from the model");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_model_denies_what_does_not_fit_and_returns_what_it_granted() {
        let events = parse(
            "t_seconds,iso,op,feature,user,host,count,reason\n0,x,START,,,,0,\n1,x,OUT,cad,u1,h1,2,\n2,x,OUT,cad,u2,h1,1,\n3,x,OUT,cad,u3,h1,4,\n4,x,IN,cad,u2,h1,1,\n5,x,IN,cad,u1,h1,2,\n",
        )
        .unwrap();
        assert_eq!(peaks(&events)["cad"], 7);
        let mut model = Model::new(BTreeMap::from([("cad".to_owned(), 2)]));
        let decided: Vec<Expected> = events.iter().map(|event| model.decide(event)).collect();
        assert_eq!(
            decided,
            [
                Expected::Granted,
                Expected::Denied(DenialCode::NoSeatFree),
                Expected::Denied(DenialCode::MoreThanPool),
                Expected::Nothing,
                Expected::Released(3),
            ]
        );
    }

    #[test]
    fn the_real_files_are_whole() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        let count = |name: &str, kind| read(&data.join(name)).unwrap().iter().filter(|event| event.kind == kind).count();
        assert_eq!((count("ansys-2017-01-08.events.csv", Kind::Out), count("ansys-2017-01-08.events.csv", Kind::In)), (598, 598));
        assert_eq!((count("ansys-2017-02-18.events.csv", Kind::Out), count("ansys-2017-02-18.events.csv", Kind::In)), (9038, 9013));
    }
}
