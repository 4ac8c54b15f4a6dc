//! The experiments: each starts what it measures, measures it, prints, and leaves nothing behind.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use triquest_wire::status::Status;

use crate::load::{Measured, Operation, Plan, Worker};
use crate::server::{Place, Process, start_floor};
use crate::{demo, floors, load, report};

/// Pools of a server whose pools are not what is measured, and their seats.
const POOLS: u32 = 10;
const SEATS: u32 = 1_000_000;
/// Leases that live as long as their license lets them: no measurement waits for their end.
const TTL_MS: u64 = 3_600_000;
const WARM_UP: Duration = Duration::from_millis(500);
/// No step of an experiment takes longer.
const STEP_MAX: Duration = Duration::from_secs(900);
/// Bytes of one append of the floor: an entry of one checkout with its row.
const APPEND_BYTES: usize = 512;

/// Which program, on which disk.
pub(crate) struct Setting {
    pub(crate) program: Option<PathBuf>,
    pub(crate) folder: Option<PathBuf>,
}

impl Setting {
    pub(crate) fn place(&self) -> anyhow::Result<Place> {
        Place::new(self.program.as_deref(), self.folder.as_deref())
    }

    async fn server(&self, pools: u32, seats: u32) -> anyhow::Result<(Place, Process, Arc<Vec<String>>)> {
        let place = self.place()?;
        let (server, _) = place.start().await?;
        let features: Vec<(String, u32)> = (0..pools).map(|number| (format!("bench-{number}"), seats)).collect();
        for note in demo::licenses(&place.server_key()?, &features)? {
            place.install(&note)?;
        }
        let names = features.into_iter().map(|(name, _)| name).collect();
        Ok((place, server, Arc::new(names)))
    }
}

/// Checks out so many leases as fast as it goes.
async fn populate(workers: Vec<Worker>, leases: u64, server: &Process) -> anyhow::Result<(Vec<Worker>, Measured)> {
    let plan = Plan { requests_max: leases, ..Plan::closed(Operation::Checkout, Duration::ZERO, STEP_MAX) };
    let (workers, measured) = load::run(workers, &plan, server).await?;
    let held: usize = workers.iter().map(Worker::held).sum();
    if (held as u64) < leases {
        bail!("only {held} of {leases} leases were granted within {STEP_MAX:?}");
    }
    Ok((workers, measured))
}

async fn drain(workers: Vec<Worker>, server: &Process) -> anyhow::Result<Vec<Worker>> {
    let (workers, _) = load::run(workers, &Plan::closed(Operation::Release, Duration::ZERO, STEP_MAX), server).await?;
    Ok(workers)
}

pub(crate) async fn load(
    setting: &Setting,
    operation: Operation,
    connections: usize,
    rate: Option<u32>,
    length: Duration,
    population: u64,
) -> anyhow::Result<()> {
    let plan = Plan { rate, ..Plan::closed(operation, WARM_UP, length) };
    if operation == Operation::Empty {
        let floor = start_floor()?;
        let workers = load::workers(floor.address(), connections, &Arc::default(), TTL_MS).await?;
        let (_, measured) = load::run(workers, &plan, &floor).await?;
        println!("{}", report::line(&measured));
        return Ok(());
    }
    let (_place, server, features) = setting.server(POOLS, SEATS).await?;
    let workers = load::workers(server.address(), connections, &features, TTL_MS).await?;
    // Renewals and releases need something to renew and release.
    let needed =
        if matches!(operation, Operation::Renew | Operation::Release) { population.max(connections as u64 * 64) } else { population };
    let (mut workers, _) = populate(workers, needed, &server).await?;
    if operation == Operation::Renew {
        // A connection that came too late for a lease gets one.
        for worker in workers.iter_mut().filter(|worker| worker.held() == 0) {
            worker.checkout().await?;
        }
    }
    let (_, measured) = load::run(workers, &plan, &server).await?;
    println!("{}", report::line(&measured));
    server.stop()
}

pub(crate) fn append(setting: &Setting, bytes: usize, length: Duration) -> anyhow::Result<()> {
    let folder = setting.folder.clone().unwrap_or_else(std::env::temp_dir);
    let histogram = floors::append(&folder, bytes, length)?;
    println!(
        "append and fdatasync of {bytes} bytes: {} in {:.1} s; p50 {:.0} us, p99 {:.0} us, max {:.0} us",
        histogram.len(),
        length.as_secs_f64(),
        histogram.value_at_quantile(0.5) as f64 / 1e3,
        histogram.value_at_quantile(0.99) as f64 / 1e3,
        histogram.max() as f64 / 1e3
    );
    Ok(())
}

/// Adds up the turns of one kind of run.
#[derive(Default)]
struct Total(Option<Measured>);

impl Total {
    fn add(&mut self, measured: Measured) -> anyhow::Result<()> {
        match &mut self.0 {
            Some(total) => total.add(&measured),
            none => {
                *none = Some(measured);
                Ok(())
            }
        }
    }

    fn get(&self) -> anyhow::Result<&Measured> {
        self.0.as_ref().context("nothing was measured")
    }
}

/// Ours and the floors in turns, so that what else this machine does hits both alike.
pub(crate) async fn suite(setting: &Setting, length: Duration, turns: u16) -> anyhow::Result<()> {
    let floor = start_floor()?;
    let (_place, server, features) = setting.server(POOLS, SEATS).await?;
    let folder = setting.folder.clone().unwrap_or_else(std::env::temp_dir);
    let mut append = crate::report::histogram()?;
    println!("{}", report::HEAD);
    let mut checkouts = Vec::new();
    for connections in [1, 16, 256] {
        let mut on_floor = load::workers(floor.address(), connections, &Arc::default(), TTL_MS).await?;
        let mut ours = load::workers(server.address(), connections, &features, TTL_MS).await?;
        let [mut empty, mut checkout, mut renew, mut release, mut mix] = std::array::from_fn(|_| Total::default());
        for _ in 0..turns {
            // Checkouts leave enough leases for the releases to last: they are slower, and run longer.
            for (operation, length, total) in [
                (Operation::Checkout, length, &mut checkout),
                (Operation::Renew, length, &mut renew),
                (Operation::Release, length / 2, &mut release),
                (Operation::Mix, length, &mut mix),
            ] {
                let (workers, measured) = load::run(on_floor, &Plan::closed(Operation::Empty, WARM_UP, length / 2), &floor).await?;
                on_floor = workers;
                empty.add(measured)?;
                let warm_up = if operation == Operation::Release { WARM_UP / 2 } else { WARM_UP };
                let (workers, measured) = load::run(ours, &Plan::closed(operation, warm_up, length), &server).await?;
                ours = workers;
                total.add(measured)?;
                if operation == Operation::Release {
                    ours = drain(ours, &server).await?;
                }
            }
            ours = drain(ours, &server).await?;
            append.add(&floors::append(&folder, APPEND_BYTES, length / 4)?)?;
        }
        let empty = empty.get()?;
        println!("{}", report::row(connections, empty, empty));
        for total in [&checkout, &renew, &release, &mix] {
            println!("{}", report::row(connections, total.get()?, empty));
        }
        checkouts.push((connections, checkout.get()?.quantile_us(0.99)));
    }
    let disk_us = append.value_at_quantile(0.99) as f64 / 1e3;
    println!(
        "\n| append + fdatasync of {APPEND_BYTES} bytes | p50 {:.0} us | p99 {disk_us:.0} us |",
        append.value_at_quantile(0.5) as f64 / 1e3
    );
    println!("|---|---:|---:|");
    for (connections, p99) in checkouts.iter().filter(|(connections, _)| *connections <= 16) {
        println!("| checkout p99 at {connections} connections | {p99:.0} us | {:.1} times |", p99 / disk_us);
    }

    let (connections, rate) = (64, 20_000);
    let at_rate = |operation| Plan { rate: Some(rate), ..Plan::closed(operation, WARM_UP, length) };
    let mut on_floor = load::workers(floor.address(), connections, &Arc::default(), TTL_MS).await?;
    let ours = load::workers(server.address(), connections, &features, TTL_MS).await?;
    let (mut ours, _) = populate(ours, connections as u64 * 100, &server).await?;
    for worker in ours.iter_mut().filter(|worker| worker.held() == 0) {
        worker.checkout().await?;
    }
    let [mut empty, mut renew] = std::array::from_fn(|_| Total::default());
    for _ in 0..turns {
        let (workers, measured) = load::run(on_floor, &at_rate(Operation::Empty), &floor).await?;
        on_floor = workers;
        empty.add(measured)?;
        let (workers, measured) = load::run(ours, &at_rate(Operation::Renew), &server).await?;
        ours = workers;
        renew.add(measured)?;
    }
    println!("\nOpen loop at {rate} a second over {connections} connections, latency from the set time:\n");
    println!("| operation | a second | server CPU, us | p50, us | p99, us | p99 / empty |\n|---|---:|---:|---:|---:|---:|");
    let floor_p99 = empty.get()?.quantile_us(0.99);
    for total in [&empty, &renew] {
        let measured = total.get()?;
        println!(
            "| {} | {:.0} | {:.1} | {:.0} | {:.0} | {:.2} |",
            measured.operation.name(),
            measured.rate(),
            measured.cpu_us(),
            measured.quantile_us(0.5),
            measured.quantile_us(0.99),
            measured.quantile_us(0.99) / floor_p99,
        );
    }
    server.stop()
}

pub(crate) async fn memory(setting: &Setting, leases: u64) -> anyhow::Result<()> {
    let (_place, server, features) = setting.server(POOLS, SEATS).await?;
    let workers = load::workers(server.address(), 64, &features, TTL_MS).await?;
    // What the first requests allocate is no lease's.
    let (workers, _) = populate(workers, 1_000, &server).await?;
    let before = server.resident_bytes();
    let (_workers, measured) = populate(workers, leases, &server).await?;
    let after = server.resident_bytes();
    println!("{}", report::line(&measured));
    println!(
        "{} leases: {:.0} MiB resident, {:.0} MiB before; {:.0} bytes a lease",
        leases,
        after as f64 / 1_048_576.0,
        before as f64 / 1_048_576.0,
        after.saturating_sub(before) as f64 / leases as f64
    );
    server.stop()
}

pub(crate) async fn restart(setting: &Setting, leases: u64) -> anyhow::Result<()> {
    let (place, server, features) = setting.server(POOLS, SEATS).await?;
    let workers = load::workers(server.address(), 64, &features, TTL_MS).await?;
    let (mut workers, _) = populate(workers, leases, &server).await?;
    println!("{leases} leases; journal of {:.0} MiB", place.journal_bytes() as f64 / 1_048_576.0);
    let mut server = server;
    for turn in ["killed", "killed", "stopped"] {
        if turn == "killed" {
            server.crash()?
        } else {
            server.stop()?
        }
        let (next, ready) = place.start().await?;
        server = next;
        let tls = crate::client::tls()?;
        let worker = workers.first_mut().context("there are workers")?;
        worker.reconnect(&tls, server.address()).await?;
        let status: Status = worker.connection().json("GET", "/v1/status?limit=1", &()).await?;
        println!(
            "{turn}, started: ready after {:.2} s with {} leases, {:.0} MiB resident",
            ready.as_secs_f64(),
            status.leases,
            server.resident_bytes() as f64 / 1_048_576.0
        );
        if status.leases < leases {
            bail!("{} of {leases} leases are left", status.leases);
        }
        // The same leases go on.
        worker.renew_all().await?;
    }
    server.stop()
}

pub(crate) async fn scale(setting: &Setting, pools: u32, leases: u64) -> anyhow::Result<()> {
    const CONNECTIONS: usize = 16;
    println!("| pools | leases | checkout, us | renew, us | release, us |\n|---:|---:|---:|---:|---:|");
    for (pools, leases) in [(POOLS, 1_000), (pools, 1_000), (POOLS, leases), (pools, leases)] {
        let (_place, server, features) = setting.server(pools, SEATS).await?;
        let population = load::workers(server.address(), 64, &features, TTL_MS).await?;
        let _population = populate(population, leases, &server).await?;
        settle(&server).await;
        let mut workers = load::workers(server.address(), CONNECTIONS, &features, TTL_MS).await?;
        let mut costs = Vec::new();
        for operation in [Operation::Checkout, Operation::Renew, Operation::Release] {
            let length = if operation == Operation::Release { Duration::from_millis(1_500) } else { Duration::from_secs(3) };
            let (back, measured) = load::run(workers, &Plan::closed(operation, WARM_UP, length), &server).await?;
            workers = back;
            costs.push(measured.cpu_us());
        }
        println!("| {pools} | {leases} | {:.1} | {:.1} | {:.1} |", costs[0], costs[1], costs[2]);
        server.stop()?;
    }
    Ok(())
}

/// Waits until the server has done what the population left it to do (a snapshot, above all), so that no request is charged with it.
async fn settle(server: &Process) {
    const LOOK: Duration = Duration::from_millis(500);
    const LOOKS_MAX: usize = 120;
    for _ in 0..LOOKS_MAX {
        let before = server.cpu();
        tokio::time::sleep(LOOK).await;
        if server.cpu().saturating_sub(before) < LOOK / 20 {
            return;
        }
    }
}

/// Renews one lease about every millisecond until told to stop, and keeps how long each answer took.
async fn probe(mut worker: Worker, mut stop: tokio::sync::oneshot::Receiver<()>) -> anyhow::Result<(Worker, Histogram<u64>)> {
    let mut latency = crate::report::histogram()?;
    worker.checkout().await?;
    while stop.try_recv().is_err() {
        let began = Instant::now();
        worker.renew_all().await?;
        latency.saturating_record(u64::try_from(began.elapsed().as_nanos())?);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok((worker, latency))
}

fn print_waits(what: &str, waits: &Histogram<u64>) {
    println!(
        "{what}: {} answers, p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, longest {:.1} ms",
        waits.len(),
        waits.value_at_quantile(0.5) as f64 / 1e6,
        waits.value_at_quantile(0.99) as f64 / 1e6,
        waits.value_at_quantile(0.999) as f64 / 1e6,
        waits.max() as f64 / 1e6
    );
}

pub(crate) async fn stall(setting: &Setting, leases: u64) -> anyhow::Result<()> {
    // Long enough to be granted in, short enough to wait for.
    const SHORT_TTL_MS: u64 = 120_000;
    const GROWING_CONNECTIONS: usize = 16;
    let (place, server, features) = setting.server(POOLS, SEATS).await?;
    let watcher = load::workers(server.address(), 1, &features, TTL_MS).await?.pop().context("one worker was asked for")?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let watching = tokio::spawn(probe(watcher, stopped));
    let growing = load::workers(server.address(), GROWING_CONNECTIONS, &features, SHORT_TTL_MS).await?;
    let (_growing, measured) = populate(growing, leases, &server).await?;
    let _ = stop.send(());
    let (mut watcher, waits) = watching.await??;
    println!("{}", report::line(&measured));
    print_waits("while leases grow", &waits);

    // After a crash all leases get their full time again, to the same millisecond: all expire at once.
    server.crash()?;
    let (server, ready) = place.start().await?;
    println!("crashed and ready again after {:.2} s", ready.as_secs_f64());
    watcher.reconnect(&crate::client::tls()?, server.address()).await?;
    let status: Status = watcher.connection().json("GET", "/v1/status?limit=1", &()).await?;
    println!("{} leases, due at the same moment", status.leases);
    tokio::time::sleep(Duration::from_millis(SHORT_TTL_MS - 10_000)).await;
    // Only now: a connection that does not ask for long is closed.
    let mut counter = load::workers(server.address(), 1, &features, TTL_MS).await?.pop().context("one worker was asked for")?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let watching = tokio::spawn(probe(watcher, stopped));
    let began = Instant::now();
    let mut expiring: Option<Instant> = None;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now: Status = counter.connection().json("GET", "/v1/status?limit=1", &()).await?;
        if now.leases < status.leases && expiring.is_none() {
            expiring = Some(Instant::now());
        }
        if now.leases < 100 {
            break;
        }
        if began.elapsed() > STEP_MAX {
            bail!("{} leases have not expired within {STEP_MAX:?}", now.leases);
        }
    }
    let _ = stop.send(());
    let (_, waits) = watching.await??;
    println!("expired within {:.1} s", expiring.map_or(Duration::ZERO, |began| began.elapsed()).as_secs_f64());
    print_waits("while all expire", &waits);
    server.stop()
}
