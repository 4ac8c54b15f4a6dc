//! The hostile side: a process of its own at the lowest priority, so that what it computes itself costs honest clients little.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use triquest_wire::Secret;

use super::{LINES, checkout_body, release, renewal, secret};
use crate::client::{Connection, connect_from};

/// Where all of them come from.
const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
/// A request of the attacks is given up after this.
const WITHIN: Duration = Duration::from_secs(20);

/// What hostile clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// Connections that send one byte of TLS.
    OneByte,
    /// HTTP/2 connections that ask for much and let nothing be sent.
    Windows,
    /// Thousands of waiters that ask again and again.
    Waiters,
    /// Checkouts and releases in a loop, with large fields.
    Churn,
    /// Checkouts that are denied, many at once.
    Denials,
    /// Event streams, and readers of history in a loop.
    Streams,
    /// Searches in the reference of ports.
    Searches,
    /// Claims to have seen more of history than there is, and renewals as of a cloned client.
    Seen,
}

impl Attack {
    /// All, in the order in which they run.
    pub(crate) const ALL: [Self; 8] =
        [Self::OneByte, Self::Windows, Self::Waiters, Self::Churn, Self::Denials, Self::Streams, Self::Searches, Self::Seen];

    /// As the command line names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneByte => "one-byte",
            Self::Windows => "windows",
            Self::Waiters => "waiters",
            Self::Churn => "churn",
            Self::Denials => "denials",
            Self::Streams => "streams",
            Self::Searches => "searches",
            Self::Seen => "seen",
        }
    }
}

/// As many open files as this process may have.
pub(crate) fn more_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Attacks the server at a loopback address until so much time has passed, and says `begun` when all of it is under way.
pub(crate) async fn run(attack: Attack, address: SocketAddr, length: Duration) -> anyhow::Result<()> {
    anyhow::ensure!(address.ip().is_loopback(), "attacks go to this machine only, and {address} is not on it");
    let _ = rustix::process::nice(19);
    more_files();
    match attack {
        Attack::OneByte => start(2_000, move |_| one_byte(address)).await,
        Attack::Windows => start(50, move |_| windows(address)).await,
        Attack::Waiters => {
            let waiters = wait_in_line(address).await?;
            start(16, move |number| ask_again(address, waiters[number].clone())).await;
        }
        Attack::Churn => start(16, move |number| churn(address, number)).await,
        Attack::Denials => {
            take_all(address).await?;
            start(256, move |_| denied(address)).await;
        }
        Attack::Streams => {
            start(250, move |_| stream(address)).await;
            start(64, move |_| read_history(address)).await;
        }
        Attack::Searches => start(64, move |number| search(address, number)).await,
        Attack::Seen => {
            let mine = secret("clone");
            let mut connection = open(address).await?;
            connection.call("POST", "/v1/leases", &checkout_body(mine, "line-0", None, "")?).await?;
            start(32, move |number| claim(address, mine, number)).await;
        }
    }
    println!("begun");
    tokio::time::sleep(length).await;
    Ok(())
}

/// Keeps so many hostile clients going: each begins again when it ends. Resolves when each had time to begin.
fn start<F, Fut>(count: usize, client: F) -> impl Future<Output = ()>
where
    F: Fn(usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
    let client = std::sync::Arc::new(client);
    for number in 0..count {
        let client = std::sync::Arc::clone(&client);
        tokio::spawn(async move {
            loop {
                let _ = client(number).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(1_500))
}

async fn open(address: SocketAddr) -> anyhow::Result<Connection> {
    tokio::time::timeout(WITHIN, Connection::open_from(&crate::client::tls()?, address, SOURCE)).await?
}

async fn one_byte(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = tokio::time::timeout(WITHIN, connect_from(address, SOURCE)).await??;
    stream.write_all(&[0x16]).await?;
    let mut answer = [0; 64];
    while stream.read(&mut answer).await? > 0 {}
    Ok(())
}

/// One frame of HTTP/2.
fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

async fn windows(address: SocketAddr) -> anyhow::Result<()> {
    const STREAMS: u32 = 63;
    let mut config = crate::client::config()?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsConnector::from(std::sync::Arc::new(config));
    let stream = connect_from(address, SOURCE).await?;
    let mut stream = tokio::time::timeout(WITHIN, tls.connect(ServerName::from(address.ip()), stream)).await??;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE is nothing.
    frame(&mut bytes, 4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let authority = address.to_string();
    let path = b"/openapi.json";
    let ask = |bytes: &mut Vec<u8>, number: u32| {
        // GET, https, then path and authority as literals that enter no table (RFC 7541).
        let mut headers = vec![0x82, 0x87, 0x04, path.len() as u8];
        headers.extend_from_slice(path);
        headers.extend_from_slice(&[0x01, authority.len() as u8]);
        headers.extend_from_slice(authority.as_bytes());
        frame(bytes, 1, 0x5, 2 * number + 1, &headers);
    };
    for number in 0..STREAMS {
        ask(&mut bytes, number);
    }
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    let mut head = [0; 9];
    loop {
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        let mut answer = Vec::new();
        match (head[3], head[4]) {
            (4, 0) => frame(&mut answer, 4, 1, 0, &[]),
            (6, 0) => frame(&mut answer, 6, 1, 0, &payload),
            // GOAWAY
            (7, _) => return Ok(()),
            _ => continue,
        }
        stream.write_all(&answer).await?;
        stream.flush().await?;
    }
}

/// Takes the only seat of each line.
async fn take_all(address: SocketAddr) -> anyhow::Result<()> {
    let mut connection = open(address).await?;
    for line in 0..LINES {
        connection.call("POST", "/v1/leases", &checkout_body(secret("held"), &format!("line-{line}"), None, "")?).await?;
    }
    Ok(())
}

/// Three hundred waiters behind each seat, as far as the server takes them, in sixteen parts.
async fn wait_in_line(address: SocketAddr) -> anyhow::Result<Vec<Vec<(Secret, String)>>> {
    take_all(address).await?;
    let tasks: Vec<_> = (0..16u32)
        .map(|number| {
            tokio::spawn(async move {
                let mut connection = open(address).await?;
                let mut waiters = Vec::new();
                for round in 0..600 {
                    let (secret, feature) = (secret("waiter"), format!("line-{}", (round * 16 + number) % LINES));
                    let body = checkout_body(secret, &feature, Some(600_000), "")?;
                    connection.call_with("POST", "/v1/leases", "\r\nprefer: wait=0", &body).await?;
                    if connection.body().starts_with(b"{\"outcome\":\"waiting\"") {
                        waiters.push((secret, feature));
                    }
                }
                Ok::<_, anyhow::Error>(waiters)
            })
        })
        .collect();
    let mut waiters = Vec::new();
    for task in tasks {
        waiters.push(task.await??);
    }
    Ok(waiters)
}

async fn ask_again(address: SocketAddr, waiters: Vec<(Secret, String)>) -> anyhow::Result<()> {
    let mut connection = open(address).await?;
    anyhow::ensure!(!waiters.is_empty(), "nobody waits");
    loop {
        for (secret, feature) in &waiters {
            let body = checkout_body(*secret, feature, Some(600_000), "")?;
            tokio::time::timeout(WITHIN, connection.call_with("POST", "/v1/leases", "\r\nprefer: wait=0", &body)).await??;
        }
    }
}

async fn churn(address: SocketAddr, number: usize) -> anyhow::Result<()> {
    let mut connection = open(address).await?;
    let (feature, filler) = (format!("line-{number}"), "x".repeat(250));
    loop {
        let secret = secret("churn");
        connection.call("POST", "/v1/leases", &checkout_body(secret, &feature, None, &filler)?).await?;
        let (path, body) = release(secret);
        connection.call("POST", &path, &body).await?;
    }
}

async fn denied(address: SocketAddr) -> anyhow::Result<()> {
    let mut connection = open(address).await?;
    loop {
        connection.call("POST", "/v1/leases", &checkout_body(secret("denied"), "line-0", None, "")?).await?;
    }
}

/// Holds an event stream open, and reads what comes.
async fn stream(address: SocketAddr) -> anyhow::Result<()> {
    read_some(address, "/v1/events", usize::MAX).await
}

/// Reads history from its beginning, a megabyte each time.
async fn read_history(address: SocketAddr) -> anyhow::Result<()> {
    let mut connection = open(address).await?;
    connection.call("GET", "/v1/status", b"").await?;
    let status: serde_json::Value = serde_json::from_slice(connection.body())?;
    let lineage = status["position"]["lineage"].as_str().context("a status has its lineage")?.to_owned();
    loop {
        read_some(address, &format!("/v1/events?after={lineage}.1.1"), 1024 * 1024).await?;
    }
}

async fn read_some(address: SocketAddr, path: &str, bytes_max: usize) -> anyhow::Result<()> {
    let stream = connect_from(address, SOURCE).await?;
    let mut stream = tokio::time::timeout(WITHIN, crate::client::tls()?.connect(ServerName::from(address.ip()), stream)).await??;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await?;
    stream.flush().await?;
    let mut buffer = vec![0; 16 * 1024];
    let mut taken = 0;
    while taken < bytes_max {
        let read = match tokio::time::timeout(
            Duration::from_secs(if bytes_max == usize::MAX { 3_600 } else { 2 }),
            stream.read(&mut buffer),
        )
        .await
        {
            Ok(read) => read?,
            Err(_) => break,
        };
        if read == 0 {
            break;
        }
        taken += read;
    }
    Ok(())
}

async fn search(address: SocketAddr, number: usize) -> anyhow::Result<()> {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    const WORDS: [&str; 8] = ["server", "protocol", "management", "data", "remote", "control", "service", "network"];
    let mut connection = open(address).await?;
    loop {
        let asked = ASKED.fetch_add(1, Ordering::Relaxed) as usize;
        let word = |place: usize| WORDS[place % WORDS.len()];
        let path = format!("/ports?q={}+{}+{}", word(asked), word(asked / 8 + number), asked % 97);
        connection.call("GET", &path, b"").await?;
    }
}

async fn claim(address: SocketAddr, mine: Secret, number: usize) -> anyhow::Result<()> {
    let mut connection = open(address).await?;
    connection.call("GET", "/v1/status", b"").await?;
    let status: serde_json::Value = serde_json::from_slice(connection.body())?;
    let mut seen = status["position"].clone();
    seen["index"] = 1_000_000_000_000u64.into();
    for turn in 0.. {
        // Counter 1 with another nonce each time.
        let (path, body) = renewal(mine, 1, turn * 64 + number as u64);
        connection.call("POST", &path, &body).await?;
        let other = secret("seen");
        let (path, body) = renewal(other, 1, turn);
        let mut body: serde_json::Value = serde_json::from_slice(&body)?;
        body["seen"] = seen.clone();
        connection.call("POST", &path, body.to_string().as_bytes()).await?;
    }
    Ok(())
}
