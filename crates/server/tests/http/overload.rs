//! *Overload*: every way to hold something open or to make the server work has a bound, and others go on meanwhile.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;
use triquest_wire::limits::{BODY_BYTES_MAX, DENIALS_BURST, DENIALS_PER_SECOND, IDLE_MS_MAX, RENEWALS_PER_REQUEST_MAX};

use crate::world::{Client, World, renewal, secret, tls};

/// Reads until the server ends the connection; how many bytes came.
async fn ended(stream: &mut (impl AsyncReadExt + Unpin)) -> usize {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes.len()
}

// Time stands still in these and jumps to the next timer whenever all wait: what ends, ends at once.

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends() {
    let world = World::start().await;
    let mut silent = TcpStream::connect(world.address()).await.unwrap();
    let mut half = TcpStream::connect(world.address()).await.unwrap();
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    tokio::time::pause();
    assert_eq!(ended(&mut silent).await, 0);
    assert_eq!(ended(&mut half).await, 0);
}

#[tokio::test]
async fn a_slow_header_and_an_idle_connection_end() {
    let world = World::start().await;
    let mut never = world.connect().await;
    let mut slow = world.connect().await;
    slow.stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").await.unwrap();
    let mut idle = world.connect().await;
    assert_eq!(idle.send("GET", "/healthz", &[], b"").await.status, 200);
    let mut later = world.connect().await;
    assert_eq!(later.send("GET", "/healthz", &[], b"").await.status, 200);
    later.stream.write_all(b"GET /healthz HT").await.unwrap();
    tokio::time::pause();
    for client in [&mut never, &mut slow, &mut idle, &mut later] {
        assert_eq!(ended(&mut client.stream).await, 0);
    }
}

#[tokio::test]
async fn a_slow_body_is_answered_408_and_ends() {
    let world = World::start().await;
    let mut client = world.connect().await;
    client
        .stream
        .write_all(
            b"POST /v1/trust HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"nonce\":",
        )
        .await
        .unwrap();
    client.stream.flush().await.unwrap();
    // A request on another connection shows that the first has reached its handler.
    assert_eq!(world.connect().await.send("GET", "/healthz", &[], b"").await.status, 200);
    tokio::time::pause();
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    assert_eq!(answer.json()["code"], "timeout");
    assert_eq!(ended(&mut client.stream).await, 0);
}

#[tokio::test]
async fn a_presence_connection_may_be_silent_for_ever() {
    let world = World::with_seats().await;
    world.take(1, "sim").await;
    let mut client = world.connect().await;
    let body = json!({ "leases": [{ "secret": secret(1) }], "generation": 1, "client": "127.0.0.1:1", "server": "127.0.0.1:2" });
    let answer = client.json("POST", "/v1/presence", &body).await;
    assert_eq!(answer.status, 200);
    tokio::time::pause();
    let silence = tokio::time::timeout(Duration::from_millis(10 * IDLE_MS_MAX), client.stream.read_u8()).await;
    assert!(silence.is_err(), "the server sends nothing and does not end it");
}

#[tokio::test]
async fn a_reader_of_events_that_does_not_read_is_cut_off() {
    let world = World::with_seats().await;
    // More events than all socket buffers hold.
    let mut body = world.checkout(1, "sim");
    body["holder"] = json!({ "user": "u".repeat(250), "host": "h".repeat(250), "project": "p".repeat(250), "display": "d".repeat(250) });
    let mut client = world.connect().await;
    for number in 1..=1_000u64 {
        body["secret"] = json!(secret(number));
        assert_eq!(client.json("POST", "/v1/leases", &body).await.json()["outcome"], "granted");
    }
    let (_, id) = world.get("/v1/server/id").await;
    let after = format!("{}.{}.0", id["position"]["lineage"].as_str().unwrap(), id["position"]["epoch"]);
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut reader = tokio::net::UnixStream::connect(world.socket()).await.unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&reader, 4096).unwrap();
        reader.write_all(format!("GET /v1/events?after={after} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut first = [0u8; 64];
        reader.read_exact(&mut first).await.unwrap();
        readers.push(reader);
    }
    // Others are served meanwhile, and the streams come to where they can write no more.
    for _ in 0..100 {
        assert_eq!(client.send("GET", "/healthz", &[], b"").await.status, 200);
    }
    tokio::time::pause();
    let _ = tokio::time::timeout(Duration::from_secs(60), std::future::pending::<()>()).await;
    tokio::time::resume();
    for reader in &mut readers {
        // What was on its way still comes; then the end, not the live stream.
        assert!(tokio::time::timeout(Duration::from_secs(30), ended(reader)).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_for_administration_answers_while_the_network_is_full() {
    let world = World::start_with(|config| {
        config.limits.connections = Some(20);
        config.limits.connections_per_address = Some(20);
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(TcpStream::connect(world.address()).await.unwrap());
    }
    let mut refused = TcpStream::connect(world.address()).await.unwrap();
    assert_eq!(ended(&mut refused).await, 0);
    let (status, body) = world.admin("POST", "/v1/licenses", &json!({ "license": world.license("A-1", "cad", 1) })).await;
    assert_eq!(status, 200, "{body}");
    held.clear();
    let wait = async { while tls(world.address(), &[b"http/1.1"]).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("places come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_all_places() {
    let world = World::start_with(|config| config.limits.connections_per_address = Some(5)).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(world.connect().await);
    }
    assert!(tls(world.address(), &[b"http/1.1"]).await.is_err());
    assert_eq!(held[0].send("GET", "/healthz", &[], b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_connections_leave_room_for_work() {
    let world = World::with_seats().await;
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(TcpStream::connect(world.address()).await.unwrap());
    }
    for number in 1..=20 {
        world.take(number, "sim").await;
    }
    assert_eq!(idle.len(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_and_large_batches_are_refused_before_they_cost_anything() {
    let world = World::with_seats().await;
    let mut client = world.connect().await;
    let head = format!(
        "POST /v1/renewals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        200_000_000
    );
    client.stream.write_all(head.as_bytes()).await.unwrap();
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.json()["code"].as_str().map(str::to_owned)), (413, Some("body_too_large".into())));
    // The same without saying how long it will be.
    let mut client = world.connect().await;
    client
        .stream
        .write_all(b"POST /v1/renewals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let (mut read, mut write) = tokio::io::split(client.stream);
    let writer = tokio::spawn(async move {
        for _ in 0..4 * BODY_BYTES_MAX / 0x10000 {
            if write.write_all(chunk.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let mut start = [0u8; 12];
    read.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    drop(read);
    writer.abort();
    let many: Vec<_> = (0..=RENEWALS_PER_REQUEST_MAX as u64).map(|number| renewal(number, 1)).collect();
    let (status, problem) = world.post("/v1/renewals", &json!({ "renewals": many })).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("limit_reached")), "{problem}");
    let many: Vec<_> = (0..=1_000u64).map(|number| json!({ "secret": secret(number) })).collect();
    let (status, problem) = world.post("/v1/presence", &json!({ "leases": many, "generation": 1 })).await;
    assert!(matches!(status, 413 | 422), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_headers_end() {
    let world = World::start().await;
    let mut client = world.connect().await;
    client.stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n").await.unwrap();
    let line = format!("X: {}\r\n", "y".repeat(1_000));
    let mut sent = 0;
    while sent < 1_000_000 && client.stream.write_all(line.as_bytes()).await.is_ok() {
        sent += line.len();
    }
    let mut bytes = Vec::new();
    let _ = client.stream.read_to_end(&mut bytes).await;
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&bytes));
    let mut many = world.connect().await;
    let headers: Vec<String> = (0..100).map(|number| format!("X-{number}: y")).collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    assert_eq!(many.send("GET", "/healthz", &headers, b"").await.status, 431);
}

/// An HTTP/2 frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `GET / https localhost` in HPACK's static table.
const REQUEST: &[u8] = b"\x82\x84\x87\x41\x09localhost";

async fn http2(world: &World) -> TlsStream<TcpStream> {
    let mut stream = tls(world.address(), &[b"h2"]).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    stream
}

/// Writes pieces until the server ends the connection, reading what it says; true if it did.
async fn flood(stream: TlsStream<TcpStream>, mut pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> bool {
    let (mut read, mut write) = tokio::io::split(stream);
    let writer = tokio::spawn(async move {
        while let Some(piece) = pieces.next()
            && write.write_all(&piece).await.is_ok()
        {}
    });
    let over = tokio::time::timeout(Duration::from_secs(60), ended(&mut read)).await.is_ok();
    writer.abort();
    over
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_end_the_connection() {
    let world = World::with_seats().await;
    let resets = (0..1_000_000u32).map(|number| {
        let stream = 2 * number + 1;
        // HEADERS with END_HEADERS and END_STREAM, then RST_STREAM with CANCEL.
        [frame(1, 5, stream, REQUEST), frame(3, 0, stream, &8u32.to_be_bytes())].concat()
    });
    assert!(flood(http2(&world).await, resets).await);
    world.take(1, "sim").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_continuations_ends_the_connection() {
    let world = World::with_seats().await;
    let headers = std::iter::once(frame(1, 0, 1, REQUEST));
    // Literal fields of 100 bytes that never end.
    let field = [b"\x00\x01x\x64".to_vec(), vec![b'y'; 100]].concat();
    let endless = std::iter::repeat_with(move || frame(9, 0, 1, &field.repeat(100)));
    assert!(flood(http2(&world).await, headers.chain(endless)).await);
    world.take(1, "sim").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_denials_grows_the_journal_by_no_more_than_the_limit() {
    let world = World::with_seats().await;
    world.take(1, "cad").await;
    world.take(2, "cad").await;
    let mut client = world.connect().await;
    let (mut denied, mut slowed) = (0u64, 0u64);
    for second in 0..60 {
        for number in 0..20 {
            let answer = client.json("POST", "/v1/leases", &world.checkout(1_000 + second * 100 + number, "cad")).await;
            match answer.status {
                200 => denied += 1,
                429 => {
                    assert!(answer.json()["retry_after_ms"].as_u64().unwrap() > 0 && answer.header("retry-after").is_some());
                    slowed += 1;
                }
                other => panic!("{other}: {}", answer.json()),
            }
        }
        world.clock.advance_ms(1_000);
    }
    let most = u64::from(DENIALS_BURST) + 61 * u64::from(DENIALS_PER_SECOND);
    assert!(denied <= most && slowed > 0, "{denied} denied, {slowed} slowed down, at most {most}");
    // Who holds a seat is served all the time.
    let (status, _) = world.post("/v1/leases", &world.checkout(1, "cad")).await;
    assert_eq!(status, 200);
    let (status, _) = world.post(&format!("/v1/leases/{}/release", crate::world::lease(1)), &json!({ "secret": secret(1) })).await;
    assert_eq!(status, 200);
    let mut statuses = Vec::new();
    for number in 900_000..900_020 {
        let path = format!("/v1/leases/{}/release", crate::world::lease(number));
        statuses.push(client.json("POST", &path, &json!({ "secret": secret(number) })).await.status);
    }
    assert!(statuses.contains(&429), "releases of what was never known are bounded too: {statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_are_all_served() {
    let world = Arc::new(World::with_seats().await);
    let tasks: Vec<_> = (1..=64u64)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                world.take(number, "sim").await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut client: Client<_> = world.connect().await;
    assert_eq!(client.send("GET", "/v1/status?feature=sim", &[], b"").await.json()["pools"][0]["used"], 64);
}
