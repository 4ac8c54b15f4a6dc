//! The load: many connections that are kept alive, each with leases of its own, in a closed loop (the next request after the answer)
//! or an open one (requests at set times, latency counted from the set time, so that a stalled server is not asked less).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use triquest_license::sha256;
use triquest_wire::lease::{
    CheckoutRequest, HolderClaim, Item, RenewBatchAnswer, RenewBatchRequest, RenewRequest, RenewResult, SecretRequest,
};
use triquest_wire::limits::RENEWALS_PER_REQUEST_MAX;
use triquest_wire::{Bytes16, Bytes32, LeaseId, Secret};

use crate::client::Connection;
use crate::server::Process;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Operation {
    /// A new lease each time.
    Checkout,
    /// `GET /`, which the floor answers with an empty 200.
    Empty,
    /// One checkout, three renewals, one release.
    Mix,
    /// A release of each lease that is held; ends early when none is left.
    Release,
    /// Renewals of the leases held, in turn.
    Renew,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Empty => "empty",
            Self::Mix => "mix",
            Self::Release => "release",
            Self::Renew => "renew",
        }
    }
}

/// How much is asked. Bounded in time, and in leases where a million is enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) operation: Operation,
    pub(crate) warm_up: Duration,
    pub(crate) length: Duration,
    /// Requests a second over all connections; none is a closed loop.
    pub(crate) rate: Option<u32>,
    /// Stop after so many requests in all.
    pub(crate) requests_max: u64,
}

impl Plan {
    /// A closed loop.
    pub(crate) fn closed(operation: Operation, warm_up: Duration, length: Duration) -> Self {
        Self { operation, warm_up, length, rate: None, requests_max: u64::MAX }
    }
}

/// What was seen after the warm-up.
pub(crate) struct Measured {
    pub(crate) operation: Operation,
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    pub(crate) server_cpu: Duration,
    /// Nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Measured {
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub(crate) fn cpu_us(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.requests.max(1) as f64
    }

    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    /// Two runs of the same as one.
    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.requests += other.requests;
        self.elapsed += other.elapsed;
        self.server_cpu += other.server_cpu;
        self.latency.add(&other.latency)?;
        Ok(())
    }
}

struct Held {
    secret: Secret,
    lease: LeaseId,
    counter: u64,
}

/// One connection with its leases.
pub(crate) struct Worker {
    connection: Connection,
    vendor_key: Bytes32,
    features: Arc<Vec<String>>,
    ttl_ms: u64,
    number: u64,
    made: u64,
    held: VecDeque<Held>,
    step: u8,
}

impl Worker {
    /// How many leases it holds.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    fn fresh(&mut self, what: &str) -> [u8; 32] {
        self.made += 1;
        sha256(format!("{what} {} {} {}", self.number, self.made, std::process::id()).as_bytes())
    }

    async fn ask(&mut self, operation: Operation) -> anyhow::Result<bool> {
        match operation {
            Operation::Checkout => self.checkout().await.map(|()| true),
            Operation::Empty => match self.connection.call("GET", "/", b"").await? {
                200 => Ok(true),
                status => bail!("the floor answered {status}"),
            },
            Operation::Mix => {
                self.step = (self.step + 1) % 5;
                match self.step {
                    1 => self.checkout().await.map(|()| true),
                    0 => self.release().await,
                    _ => self.renew().await,
                }
            }
            Operation::Release => self.release().await,
            Operation::Renew => self.renew().await,
        }
    }

    pub(crate) async fn checkout(&mut self) -> anyhow::Result<()> {
        let secret = Secret(Bytes32(self.fresh("secret")));
        let nonce = Bytes32(self.fresh("nonce"));
        let spread = self.made as usize / 2 + self.number as usize;
        let request = CheckoutRequest {
            accepts: triquest_wire::WordList::default(),
            secret,
            attempt: 1,
            nonce,
            vendor_keys: vec![self.vendor_key],
            items: vec![Item { feature: self.features[spread % self.features.len()].clone(), version: Some("12.4".into()), seats: 1 }],
            holder: HolderClaim {
                user: Some(format!("user{}", spread % 1000)),
                host: Some(format!("ws{}", spread % 4000)),
                process: Some("8812:cad".into()),
                ..HolderClaim::default()
            },
            ttl_ms: Some(self.ttl_ms),
            wait_ms: None,
            seen: None,
            shown: None,
            regained: false,
        };
        let body = serde_json::to_vec(&request)?;
        let status = self.connection.call("POST", "/v1/leases", &body).await?;
        // Parsed in full only by those who need what it says: the load is not to cost more than the server.
        let granted = self.connection.body().starts_with(b"{\"outcome\":\"granted\"");
        if !matches!(status, 200 | 201) || !granted {
            bail!("a checkout was answered {status}: {}", String::from_utf8_lossy(self.connection.body()));
        }
        self.held.push_back(Held { secret, lease: secret.lease_id(), counter: 0 });
        Ok(())
    }

    async fn renew(&mut self) -> anyhow::Result<bool> {
        let nonce = self.fresh("renewal");
        let Some(mut held) = self.held.pop_front() else { return Ok(false) };
        held.counter += 1;
        let request = renewal(&held, &nonce);
        let path = format!("/v1/leases/{}/renew", held.lease);
        let status = self.connection.call("POST", &path, &serde_json::to_vec(&request)?).await?;
        if status != 200 || !self.connection.body().starts_with(b"{\"outcome\":\"renewed\"") {
            bail!("a renewal was answered {status}: {}", String::from_utf8_lossy(self.connection.body()));
        }
        self.held.push_back(held);
        Ok(true)
    }

    async fn release(&mut self) -> anyhow::Result<bool> {
        let Some(held) = self.held.pop_front() else { return Ok(false) };
        let path = format!("/v1/leases/{}/release", held.lease);
        let status = self.connection.call("POST", &path, &serde_json::to_vec(&SecretRequest { secret: held.secret })?).await?;
        if status != 200 {
            bail!("a release was answered {status}: {}", String::from_utf8_lossy(self.connection.body()));
        }
        Ok(true)
    }

    /// Renews all that it holds, many in one request.
    pub(crate) async fn renew_all(&mut self) -> anyhow::Result<()> {
        let nonce = self.fresh("batch");
        self.held.make_contiguous();
        let (held, _) = self.held.as_mut_slices();
        for held in held.chunks_mut(RENEWALS_PER_REQUEST_MAX) {
            for held in held.iter_mut() {
                held.counter += 1;
            }
            let request = RenewBatchRequest { renewals: held.iter().map(|held| renewal(held, &nonce)).collect() };
            let answer: RenewBatchAnswer = self.connection.json("POST", "/v1/renewals", &request).await?;
            if let Some(other) = answer.answers.iter().find(|answer| !matches!(answer, RenewResult::Renewed { .. })) {
                bail!("a renewal in a batch was answered {other:?}");
            }
        }
        Ok(())
    }

    /// The connection, for what is no load.
    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Goes on with the same leases on a new connection, as after a restart of the server.
    pub(crate) async fn reconnect(&mut self, tls: &TlsConnector, address: SocketAddr) -> anyhow::Result<()> {
        self.connection = Connection::open(tls, address).await?;
        Ok(())
    }
}

fn renewal(held: &Held, nonce: &[u8; 32]) -> RenewRequest {
    let mut short = [0; 16];
    short.copy_from_slice(&nonce[..16]);
    RenewRequest {
        secret: held.secret,
        nonce: Bytes16(short),
        counter: held.counter,
        idle_ms: None,
        seen: None,
        presence: None,
        regained: false,
    }
}

/// Opens so many connections, each a worker without leases.
pub(crate) async fn workers(
    address: SocketAddr,
    connections: usize,
    features: &Arc<Vec<String>>,
    ttl_ms: u64,
) -> anyhow::Result<Vec<Worker>> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let tls = crate::client::tls()?;
    let vendor_key = crate::demo::vendor_key()?;
    let mut workers = Vec::with_capacity(connections);
    for _ in 0..connections {
        workers.push(Worker {
            connection: Connection::open(&tls, address).await?,
            vendor_key,
            features: Arc::clone(features),
            ttl_ms,
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            made: 0,
            held: VecDeque::new(),
            step: 0,
        });
    }
    Ok(workers)
}

const WARM_UP: u8 = 0;
const RECORD: u8 = 1;
const STOP: u8 = 2;

/// Runs the plan on these workers and returns them with what was seen.
pub(crate) async fn run(workers: Vec<Worker>, plan: &Plan, server: &Process) -> anyhow::Result<(Vec<Worker>, Measured)> {
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let asked = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    let mut schedules = Vec::new();
    for worker in workers {
        let (schedule, slots) = mpsc::unbounded_channel();
        schedules.push(schedule);
        let slots = plan.rate.map(|_| slots);
        tasks.push(tokio::spawn(worker_loop(worker, *plan, Arc::clone(&phase), Arc::clone(&asked), slots)));
    }
    if let Some(rate) = plan.rate {
        let phase = Arc::clone(&phase);
        std::thread::spawn(move || pace(rate, &schedules, &phase));
    }
    tokio::time::sleep(plan.warm_up).await;
    let (began, cpu) = (Instant::now(), server.cpu());
    // Only whoever still warms up starts to record: a plan that has ended stays ended.
    let _ = phase.compare_exchange(WARM_UP, RECORD, Ordering::SeqCst, Ordering::SeqCst);
    let over = began + plan.length;
    while Instant::now() < over && tasks.iter().any(|task| !task.is_finished()) {
        tokio::time::sleep((over - Instant::now()).min(Duration::from_millis(10))).await;
    }
    let (elapsed, server_cpu) = (began.elapsed(), server.cpu().saturating_sub(cpu));
    phase.store(STOP, Ordering::SeqCst);
    let mut workers = Vec::with_capacity(tasks.len());
    let mut measured = Measured { operation: plan.operation, requests: 0, elapsed, server_cpu, latency: crate::report::histogram()? };
    for task in tasks {
        let (worker, latency) = task.await??;
        measured.requests += latency.len();
        measured.latency.add(&latency)?;
        workers.push(worker);
    }
    Ok((workers, measured))
}

async fn worker_loop(
    mut worker: Worker,
    plan: Plan,
    phase: Arc<AtomicU8>,
    asked: Arc<AtomicU64>,
    mut slots: Option<mpsc::UnboundedReceiver<Instant>>,
) -> anyhow::Result<(Worker, Histogram<u64>)> {
    let mut latency = crate::report::histogram()?;
    loop {
        let start = match &mut slots {
            None => Instant::now(),
            Some(slots) => match slots.recv().await {
                Some(at) => at,
                None => break,
            },
        };
        if phase.load(Ordering::Relaxed) == STOP || asked.fetch_add(1, Ordering::Relaxed) >= plan.requests_max {
            break;
        }
        if !worker.ask(plan.operation).await? {
            break;
        }
        if phase.load(Ordering::Relaxed) == RECORD {
            latency.saturating_record(u64::try_from(start.elapsed().as_nanos())?);
        }
    }
    Ok((worker, latency))
}

/// Tells each connection in turn when to ask. A thread of its own, because an async runtime's timers are a millisecond apart.
fn pace(rate: u32, schedules: &[mpsc::UnboundedSender<Instant>], phase: &AtomicU8) {
    let step = Duration::from_secs(1) / rate.max(1);
    let mut at = Instant::now();
    for schedule in schedules.iter().cycle() {
        if phase.load(Ordering::Relaxed) == STOP || schedule.send(at).is_err() {
            return;
        }
        at += step;
        while let Some(left) = at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
    }
}
