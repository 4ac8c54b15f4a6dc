//! Hostile clients beside honest ones: what they cost everybody else. Each attack runs in a process of its own, from 127.0.0.2, bounded in
//! number and time; the honest clients ask from 127.0.0.1 before, during and after it.

pub(crate) mod hostile;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde_json::json;
use triquest_license::sha256;
use triquest_wire::{Bytes16, Bytes32, Secret};

use crate::client::Connection;
use crate::experiments::Setting;
use crate::server::{Place, Process};
use crate::{demo, report};
use hostile::Attack;

/// The honest checkout's p99 may grow by this factor.
const RATIO_MAX: f64 = 5.0;
/// Seats that only honest clients take.
pub(crate) const HONEST: &str = "honest";
/// Features with one seat each, for the attacks.
pub(crate) const LINES: u32 = 32;
/// An honest checkout follows so long after the one before.
const EVERY: Duration = Duration::from_millis(20);
/// An honest renewal that was not answered within this is not answered.
const RENEWED_WITHIN: Duration = Duration::from_secs(10);
/// So many bytes more than before an attack may be resident once the ids that it made are forgotten.
const LEFT_BYTES_MAX: u64 = 50 * 1024 * 1024;
/// An attack must have begun within this.
const BEGUN_WITHIN: Duration = Duration::from_secs(60);

/// What the honest clients saw in one part.
struct Seen {
    checkout: Histogram<u64>,
    connect: Histogram<u64>,
    renewals: u64,
    unanswered: u64,
    refused: u64,
    resident_bytes: u64,
}

/// The honest clients' measurements of the present part.
struct Measure {
    checkout: Mutex<Histogram<u64>>,
    connect: Mutex<Histogram<u64>>,
    renewals: AtomicU64,
    unanswered: AtomicU64,
    refused: AtomicU64,
    ends: AtomicBool,
}

fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e6
}

/// Runs the attacks, one after the other, each against a new server. Fails if one of them harms honest clients, unless it shall only report.
pub(crate) async fn run(setting: &Setting, only: Option<Attack>, length: Duration, only_report: bool) -> anyhow::Result<()> {
    hostile::more_files();
    let attacks = only.map_or_else(|| Attack::ALL.to_vec(), |attack| vec![attack]);
    println!(
        "| attack | checkout p99 before, ms | during, ms | after, ms | during / before | new connection p99 before, ms | during, ms | renewals | unanswered | refused | server memory before, MiB | most during, MiB | after, MiB |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut harmful = Vec::new();
    for attack in attacks {
        let [before, during, after] = measure(setting, attack, length).await.with_context(|| attack.name().to_owned())?;
        let ratio = ms(&during.checkout, 0.99) / ms(&before.checkout, 0.99).max(1e-3);
        let unanswered = before.unanswered + during.unanswered + after.unanswered;
        let mebibytes = |seen: &Seen| seen.resident_bytes / (1024 * 1024);
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {ratio:.1} | {:.1} | {:.1} | {} | {unanswered} | {} | {} | {} | {} |",
            attack.name(),
            ms(&before.checkout, 0.99),
            ms(&during.checkout, 0.99),
            ms(&after.checkout, 0.99),
            ms(&before.connect, 0.99),
            ms(&during.connect, 0.99),
            before.renewals + during.renewals + after.renewals,
            before.refused + during.refused + after.refused,
            mebibytes(&before),
            mebibytes(&during),
            mebibytes(&after),
        );
        if ratio > RATIO_MAX || unanswered > 0 || during.checkout.is_empty() {
            harmful.push(attack.name());
        }
    }
    if !harmful.is_empty() && !only_report {
        bail!("honest clients were harmed by: {}", harmful.join(", "));
    }
    Ok(())
}

/// Memory before and while an attack goes on, right after it, and once what the server remembers of it is forgotten, which takes so long. Fails if
/// much more is left than there was before, unless it shall only report.
pub(crate) async fn forget(
    setting: &Setting,
    only: Option<Attack>,
    length: Duration,
    forgotten: Duration,
    only_report: bool,
) -> anyhow::Result<()> {
    hostile::more_files();
    let attacks = only.map_or_else(|| Attack::ALL.to_vec(), |attack| vec![attack]);
    println!("| attack | seconds | memory before, MiB | most during, MiB | right after, MiB | {} s later, MiB |", forgotten.as_secs());
    println!("|---|---:|---:|---:|---:|---:|");
    let mut tasks = Vec::new();
    // All wait at the same time, each for its own server.
    for attack in attacks {
        let (place, server) = begin(setting).await?;
        let before = part(server.address(), Duration::from_secs(3), &server).await?.resident_bytes;
        let mut child = Hostile::start(attack, server.address(), length + BEGUN_WITHIN)?;
        child.begun().await?;
        let (until, mut most) = (Instant::now() + length, 0);
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(100)).await;
            most = server.resident_bytes().max(most);
        }
        child.end();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = server.resident_bytes();
        tasks.push(tokio::spawn(async move {
            tokio::time::sleep(forgotten).await;
            // As one client asks now and then.
            let seen = part(server.address(), Duration::from_secs(3), &server).await?;
            let left = server.resident_bytes();
            server.stop()?;
            drop((place, seen));
            Ok::<_, anyhow::Error>((attack, [before, most, after, left]))
        }));
    }
    let mut too_much = Vec::new();
    for task in tasks {
        let (attack, bytes) = task.await??;
        let [before, most, after, left] = bytes.map(|bytes| bytes / (1024 * 1024));
        println!("| {} | {} | {before} | {most} | {after} | {left} |", attack.name(), length.as_secs());
        if bytes[3] > bytes[0] + LEFT_BYTES_MAX {
            too_much.push(attack.name());
        }
    }
    if !too_much.is_empty() && !only_report {
        bail!("memory did not come back after: {}", too_much.join(", "));
    }
    Ok(())
}

/// A server with the limits as everybody has them, seats for the honest, and lines for the attacks.
async fn begin(setting: &Setting) -> anyhow::Result<(Place, Process)> {
    let place = setting.place()?;
    place.configure("[log]\nlevel = \"warn\"\n")?;
    let (server, _) = place.start().await?;
    let mut features = vec![(HONEST.to_owned(), 100_000)];
    features.extend((0..LINES).map(|line| (format!("line-{line}"), 1)));
    for note in demo::licenses(&place.server_key()?, &features)? {
        place.install(&note)?;
    }
    Ok((place, server))
}

async fn measure(setting: &Setting, attack: Attack, length: Duration) -> anyhow::Result<[Seen; 3]> {
    let (_place, server) = begin(setting).await?;
    let address = server.address();
    let before = part(address, length, &server).await?;
    let mut child = Hostile::start(attack, address, length + BEGUN_WITHIN)?;
    child.begun().await?;
    let during = part(address, length, &server).await?;
    child.end();
    // What the attack left may need a moment.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = part(address, length, &server).await?;
    server.stop()?;
    Ok([before, during, after])
}

/// The process of one attack, ended when it is dropped.
struct Hostile(Child);

impl Hostile {
    fn start(attack: Attack, address: SocketAddr, within: Duration) -> anyhow::Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(["hostile", attack.name(), "--address", &address.to_string(), "--seconds", &within.as_secs().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the attack did not start")?;
        Ok(Self(child))
    }

    /// Waits until it says that all of it is under way.
    async fn begun(&mut self) -> anyhow::Result<()> {
        let output = self.0.stdout.take().context("the attack has no output")?;
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(BEGUN_WITHIN, line).await.context("the attack has not begun in time")???;
        if line.trim() != "begun" {
            bail!("the attack said {line:?}");
        }
        Ok(())
    }

    fn end(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Honest clients for so long: one that checks out and gives back, one that renews, one that connects anew.
async fn part(address: SocketAddr, length: Duration, server: &Process) -> anyhow::Result<Seen> {
    let measure = Arc::new(Measure {
        checkout: Mutex::new(report::histogram()?),
        connect: Mutex::new(report::histogram()?),
        renewals: AtomicU64::new(0),
        unanswered: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        ends: AtomicBool::new(false),
    });
    let tasks = [
        tokio::spawn(check_out(address, Arc::clone(&measure))),
        tokio::spawn(renew(address, Arc::clone(&measure))),
        tokio::spawn(connect(address, Arc::clone(&measure))),
    ];
    let until = Instant::now() + length;
    let mut resident_bytes = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
        resident_bytes = server.resident_bytes().max(resident_bytes);
    }
    measure.ends.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    let measure = Arc::into_inner(measure).context("all clients have ended")?;
    Ok(Seen {
        checkout: measure.checkout.into_inner(),
        connect: measure.connect.into_inner(),
        renewals: measure.renewals.into_inner(),
        unanswered: measure.unanswered.into_inner(),
        refused: measure.refused.into_inner(),
        resident_bytes,
    })
}

/// A fresh secret.
pub(crate) fn secret(of: &str) -> Secret {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    Secret(Bytes32(sha256(format!("{of} {number} {} {:?}", std::process::id(), Instant::now()).as_bytes())))
}

/// A checkout's body.
pub(crate) fn checkout_body(secret: Secret, feature: &str, wait_ms: Option<u64>, filler: &str) -> anyhow::Result<Vec<u8>> {
    let field = |name: &str| format!("{name}{filler}");
    let mut body = json!({
        "secret": secret, "attempt": 1, "nonce": secret.0, "vendor_keys": [demo::vendor_key()?],
        "items": [{ "feature": feature, "seats": 1 }], "holder": { "user": field("u"), "host": field("h"), "project": field("p"), "job": field("j") },
    });
    if let (Some(wait_ms), Some(members)) = (wait_ms, body.as_object_mut()) {
        members.insert("wait_ms".to_owned(), wait_ms.into());
    }
    Ok(serde_json::to_vec(&body)?)
}

/// A release's path and body.
pub(crate) fn release(secret: Secret) -> (String, Vec<u8>) {
    (format!("/v1/leases/{}/release", secret.lease_id()), json!({ "secret": secret }).to_string().into_bytes())
}

/// A renewal's path and body.
pub(crate) fn renewal(secret: Secret, counter: u64, nonce: u64) -> (String, Vec<u8>) {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&nonce.to_le_bytes());
    let body = json!({ "secret": secret, "nonce": Bytes16(bytes), "counter": counter });
    (format!("/v1/leases/{}/renew", secret.lease_id()), body.to_string().into_bytes())
}

/// Checks out at set times and gives back; latency counts from the set time, so that a server that stands still is not asked less.
async fn check_out(address: SocketAddr, measure: Arc<Measure>) -> anyhow::Result<()> {
    let tls = crate::client::tls()?;
    let mut connection = None;
    let mut at = Instant::now();
    while !measure.ends.load(Ordering::Relaxed) {
        at += EVERY;
        tokio::time::sleep(at.saturating_duration_since(Instant::now())).await;
        let secret = secret("honest");
        let (body, (path, release)) = (checkout_body(secret, HONEST, None, "")?, release(secret));
        let asked = async {
            if connection.is_none() {
                connection = Some(Connection::open(&tls, address).await?);
            }
            let open = connection.as_mut().context("just opened")?;
            let status = open.call("POST", "/v1/leases", &body).await?;
            let granted = status < 300 && open.body().starts_with(b"{\"outcome\":\"granted\"");
            let elapsed = at.elapsed();
            open.call("POST", &path, &release).await?;
            Ok::<_, anyhow::Error>((granted, elapsed))
        };
        let elapsed = match tokio::time::timeout(Duration::from_secs(20), asked).await {
            Ok(Ok((true, elapsed))) => elapsed,
            Ok(Ok((false, elapsed))) => {
                measure.refused.fetch_add(1, Ordering::Relaxed);
                elapsed
            }
            _ => {
                connection = None;
                measure.refused.fetch_add(1, Ordering::Relaxed);
                at.elapsed()
            }
        };
        measure.checkout.lock().saturating_record(elapsed.as_nanos() as u64);
        // After a long stall it goes on from now: the stall was counted once.
        if at.elapsed() > Duration::from_millis(200) {
            at = Instant::now();
        }
    }
    Ok(())
}

/// Keeps one seat and counts renewals that get no answer. The seat is taken before anything is counted.
async fn renew(address: SocketAddr, measure: Arc<Measure>) -> anyhow::Result<()> {
    let tls = crate::client::tls()?;
    let secret = secret("kept");
    let mut connection = Connection::open(&tls, address).await?;
    connection.call("POST", "/v1/leases", &checkout_body(secret, HONEST, None, "")?).await?;
    let mut counter = 0;
    while !measure.ends.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(15)).await;
        counter += 1;
        let (path, body) = renewal(secret, counter, counter);
        let answered = tokio::time::timeout(RENEWED_WITHIN, connection.call("POST", &path, &body)).await;
        if matches!(answered, Ok(Ok(200))) {
            measure.renewals.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        measure.unanswered.fetch_add(1, Ordering::Relaxed);
        if let Ok(Ok(open)) = tokio::time::timeout(RENEWED_WITHIN, Connection::open(&tls, address)).await {
            connection = open;
        }
    }
    let (path, body) = release(secret);
    connection.call("POST", &path, &body).await?;
    Ok(())
}

/// Connects anew several times a second.
async fn connect(address: SocketAddr, measure: Arc<Measure>) -> anyhow::Result<()> {
    let tls = crate::client::tls()?;
    while !measure.ends.load(Ordering::Relaxed) {
        let began = Instant::now();
        let opened = tokio::time::timeout(Duration::from_secs(20), Connection::open(&tls, address)).await;
        if !matches!(opened, Ok(Ok(_))) {
            measure.refused.fetch_add(1, Ordering::Relaxed);
        }
        measure.connect.lock().saturating_record(began.elapsed().as_nanos() as u64);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
