//! *Overload*: every way to hold something open or to make the server work has a bound, and others go on meanwhile.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;
use triquest_server::{
    limits::{BODY_BYTES_FREE, DENIALS_BURST, DENIALS_PER_SECOND, Frequency, FrequencyShare, HTTP2_PING_MS, WAITER_ASKS_BURST},
    shares::Share,
};
use triquest_wire::{
    Bytes32, Bytes64,
    limits::{BODY_BYTES_MAX, HEADER_MS_MAX, IDLE_MS_MAX, RENEWALS_PER_REQUEST_MAX},
};

use crate::world::{Client, World, lease, renewal, secret, tls, tls_over};

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
    // In one record with a whole request before it.
    let mut beyond = world.connect().await;
    beyond.stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HT").await.unwrap();
    assert_eq!(beyond.answer().await.status, 200);
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    for client in [&mut never, &mut slow, &mut later, &mut beyond] {
        assert_eq!(ended(&mut client.stream).await, 0);
        assert!(began.elapsed() < Duration::from_millis(IDLE_MS_MAX / 2));
    }
    assert_eq!(ended(&mut idle.stream).await, 0);
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
    // Others are served meanwhile.
    assert_eq!(client.send("GET", "/healthz", &[], b"").await.status, 200);
    // Time jumps on whenever all wait, until the server has ended each of them. However late a stream comes to where it can write no more, the end follows.
    tokio::time::pause();
    for reader in &readers {
        let has_ended = || {
            let mut ends = [rustix::event::PollFd::new(reader, rustix::event::PollFlags::empty())];
            rustix::event::poll(&mut ends, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
            ends[0].revents().contains(rustix::event::PollFlags::HUP)
        };
        let mut seconds = 0;
        while !has_ended() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            seconds += 1;
            assert!(seconds < 1_000_000, "it is not cut off");
        }
    }
    tokio::time::resume();
    for reader in &mut readers {
        // What was on its way still comes; then the end, not the live stream.
        assert!(tokio::time::timeout(Duration::from_secs(30), ended(reader)).await.is_ok());
    }
}

fn few(burst: u32, per_second: u32) -> FrequencyShare {
    FrequencyShare { network: Frequency { burst, per_second }, all: None }
}

/// How often this network came up against a limit, by the server's own word.
async fn limited(world: &World, limit: &str) -> u64 {
    let (_, status) = world.admin("GET", "/v1/status", &json!(null)).await;
    let rows = status["limited"].as_array().cloned().unwrap_or_default();
    let row = rows.iter().find(|row| row["limit"] == limit && row["network"] == "127.0.0.1");
    row.map_or(0, |row| row["times"].as_u64().unwrap())
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
    let (status, body) = world.admin("POST", "/v1/licenses", &json!({ "license": world.license("A-1", "cad", 1) })).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_the_place_of_the_idlest_that_holds_no_seat_and_it_is_said() {
    let world = World::limited(|limits| limits.connections = Share { network: 4, all: 4 }).await;
    let mut holder = world.connect().await;
    assert_eq!(holder.json("POST", "/v1/leases", &world.checkout(1, "sim")).await.json()["outcome"], "granted");
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut client = world.connect().await;
        assert_eq!(client.send("GET", "/healthz", &[], b"").await.status, 200);
        idle.push(client);
    }
    assert_eq!(limited(&world, "connections").await, 0);
    let mut newcomer = world.connect().await;
    assert_eq!(newcomer.send("GET", "/healthz", &[], b"").await.status, 200);
    assert_eq!(ended(&mut idle[0].stream).await, 0, "the idlest has left");
    assert_eq!(idle[2].send("GET", "/healthz", &[], b"").await.status, 200);
    let renewed = holder.json("POST", &format!("/v1/leases/{}/renew", lease(1)), &renewal(1, 1)).await;
    assert_eq!(renewed.json()["outcome"], "renewed", "whoever holds a seat stays");
    assert_eq!(limited(&world, "connections").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_seat_makes_few_connections_those_of_a_holder_and_newcomers_get_the_places_of_the_others() {
    let world = World::limited(|limits| limits.connections = Share { network: 8, all: 16 }).await;
    for number in 1..=2 {
        world.take(number, "sim").await;
    }
    let mut many = Vec::new();
    for counter in 1..=8 {
        let mut client = world.connect().await;
        // Six renew one lease; two stand for another one, which was renewed on one of them before.
        let answer = if counter <= 6 {
            client.json("POST", &format!("/v1/leases/{}/renew", lease(1)), &renewal(1, counter)).await
        } else {
            let body =
                json!({ "leases": [{ "secret": secret(2) }], "generation": counter, "client": "127.0.0.1:1", "server": "127.0.0.1:2" });
            client.json("POST", "/v1/presence", &body).await
        };
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        many.push(client);
    }
    let mut newcomers = Vec::new();
    for oldest in &mut many[..2] {
        let mut newcomer = world.connect().await;
        assert_eq!(newcomer.send("GET", "/healthz", &[], b"").await.status, 200);
        assert_eq!(ended(&mut oldest.stream).await, 0, "the oldest of one lease has left");
        newcomers.push(newcomer);
    }
    // A seat that is given back makes nobody a holder.
    let body = json!({ "secret": secret(1) });
    assert_eq!(many[5].json("POST", &format!("/v1/leases/{}/release", lease(1)), &body).await.status, 200);
    for _ in 0..4 {
        newcomers.push(world.connect().await);
        assert_eq!(newcomers.last_mut().unwrap().send("GET", "/healthz", &[], b"").await.status, 200);
    }
    let stays = tokio::time::timeout(Duration::from_millis(10), many[7].stream.read_u8()).await;
    assert!(stays.is_err(), "whoever holds a seat stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_holders_of_seats_are_inside_a_newcomer_of_their_network_stays_outside() {
    let world = World::limited(|limits| limits.connections = Share { network: 2, all: 4 }).await;
    let mut holders = Vec::new();
    for number in 1..=2 {
        let mut client = world.connect().await;
        client.json("POST", "/v1/leases", &world.checkout(number, "sim")).await;
        holders.push(client);
    }
    assert!(tls(world.address(), &[b"http/1.1"]).await.is_err());
    for holder in &mut holders {
        assert_eq!(holder.send("GET", "/healthz", &[], b"").await.status, 200);
    }
    drop(holders);
    let wait = async { while tls(world.address(), &[b"http/1.1"]).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("places come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_whole_client_hello_cost_nobody_else_a_handshake() {
    let world = World::limited(|limits| limits.hellos = Share { network: 8, all: 8 }).await;
    let mut silent = Vec::new();
    for _ in 0..24 {
        let mut stream = TcpStream::connect(world.address()).await.unwrap();
        // The first byte of a handshake, and no more.
        stream.write_all(&[22]).await.unwrap();
        silent.push(stream);
        // Each stands in line behind the one before.
        world.take(silent.len() as u64, "sim").await;
    }
    for old in &mut silent[..12] {
        assert_eq!(ended(old).await, 0, "the oldest have left");
    }
    assert!(limited(&world, "hellos").await >= 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_places_without_a_client_hello_are_young_newcomers_of_the_network_wait_and_others_do_not() {
    let world = World::limited(|limits| {
        limits.hellos = Share { network: 4, all: 64 };
        limits.hello_settled_ms = 3_600_000;
        limits.hellos_waiting = Share { network: 2, all: 64 };
        limits.hello_ms = 3_600_000;
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..6 {
        let mut stream = TcpStream::connect(world.address()).await.unwrap();
        stream.write_all(&[22]).await.unwrap();
        silent.push(stream);
    }
    let mut too_many = TcpStream::connect(world.address()).await.unwrap();
    assert_eq!(ended(&mut too_many).await, 0, "four have places, two wait, and there is no room for more");
    assert_eq!(limited(&world, "hellos").await, 1);
    // Another network is not concerned.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = tls_over(socket.connect(world.address()).await.unwrap(), &[b"http/1.1"]).await.unwrap();
    assert_eq!(Client { stream: &mut other, buffer: Vec::new() }.send("GET", "/healthz", &[], b"").await.status, 200);
    // When those with places go, those who wait have their turn, and then whoever comes.
    drop(silent);
    let wait = async { while tls(world.address(), &[b"http/1.1"]).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("places come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hello_that_does_not_end_ends() {
    let world = World::start().await;
    let mut endless = TcpStream::connect(world.address()).await.unwrap();
    // Records of handshake bytes: a ClientHello that says it is 65,535 bytes long.
    let mut record = vec![22, 3, 1, 4, 0];
    record.extend([1, 0, 255, 255]);
    record.extend([0; 1_020]);
    let mut sent = 0;
    while sent < 1_000_000 && endless.write_all(&record).await.is_ok() {
        sent += record.len();
        record.truncate(5);
        record.extend([0; 1_024]);
    }
    ended(&mut endless).await;
    assert_eq!(world.connect().await.send("GET", "/healthz", &[], b"").await.status, 200);
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
    let (status, problem) =
        world.post("/v1/presence", &json!({ "leases": many, "generation": 1, "client": "127.0.0.1:1", "server": "127.0.0.1:2" })).await;
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

#[tokio::test]
async fn a_header_block_that_is_not_ended_ends_the_connection_in_time_whatever_else_is_open_on_it() {
    let world = World::with_seats().await;
    let mut never_asked = http2(&world).await;
    let mut asked = http2(&world).await;
    let mut streams = http2(&world).await;
    // HEADERS with END_STREAM and without END_HEADERS, and no CONTINUATION.
    never_asked.write_all(&frame(1, 1, 1, REQUEST)).await.unwrap();
    asked.write_all(&frame(1, 5, 1, REQUEST)).await.unwrap();
    // `GET /v1/events`, whose answer never ends.
    let events = b"\x82\x04\x0a/v1/events\x87\x41\x09localhost";
    streams.write_all(&frame(1, 5, 1, events)).await.unwrap();
    let mut answered = [0; 9];
    for stream in [&mut asked, &mut streams] {
        // HEADERS is frame type 1, after SETTINGS and its acknowledgment.
        while stream.read_exact(&mut answered).await.is_ok() && answered[3] != 1 {
            let length = usize::from(answered[1]) << 8 | usize::from(answered[2]);
            stream.read_exact(&mut vec![0; length]).await.unwrap();
        }
        stream.write_all(&frame(1, 1, 3, REQUEST)).await.unwrap();
    }
    // Half a frame is as good: CONTINUATION that says it has 100 bytes.
    let half = &frame(9, 0, 3, &[0; 100])[..20];
    streams.write_all(half).await.unwrap();
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    ended(&mut never_asked).await;
    assert!(began.elapsed() <= Duration::from_millis(HEADER_MS_MAX + 1_000), "{:?}", began.elapsed());
    for stream in [&mut asked, &mut streams] {
        ended(stream).await;
        assert!(began.elapsed() <= Duration::from_millis(2 * HTTP2_PING_MS + 1_000), "{:?}", began.elapsed());
    }
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
    // Those that left no record are one fact, and counted in the status.
    let running = world.running();
    let index = |running: &triquest_server::Running| running.driver().view().position().index;
    let before = index(running);
    for _ in 0..3 {
        running.gate().write_unrecorded(running.driver()).await;
    }
    assert_eq!(index(running), before + 1, "afterwards there was nothing to count");
    let status = client.send("GET", "/v1/status?feature=cad", &[], b"").await.json();
    assert_eq!(status["pools"][0]["denied"], denied + slowed);
    // Who holds a seat is served all the time.
    let (status, _) = world.post("/v1/leases", &world.checkout(1, "cad")).await;
    assert_eq!(status, 200);
    let (status, _) = world.post(&format!("/v1/leases/{}/release", crate::world::lease(1)), &json!({ "secret": secret(1) })).await;
    assert_eq!(status, 200);
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

/// Settings of HTTP/2 with a window of nothing: no byte of any answer is taken.
async fn http2_that_takes_nothing(world: &World) -> TlsStream<TcpStream> {
    let mut stream = tls(world.address(), &[b"h2"]).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.5.2).
    stream.write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
    stream
}

/// `GET PATH https localhost`, in a frame that is all of the request.
fn get(stream: u32, path: &str) -> Vec<u8> {
    let mut headers = b"\x82\x87\x41\x09localhost\x04".to_vec();
    headers.push(u8::try_from(path.len()).unwrap());
    headers.extend(path.as_bytes());
    frame(1, 5, stream, &headers)
}

#[tokio::test]
async fn whoever_takes_no_answer_over_http2_is_closed_in_time_and_the_memory_comes_back() {
    // Sooner than HTTP/2's own sign of life, which would end such a connection too, but not one whose peer answers it.
    let world = World::limited(|limits| limits.answer_taken_ms = 5_000).await;
    let mut stream = http2_that_takes_nothing(&world).await;
    for number in 0..8 {
        stream.write_all(&get(2 * number + 1, "/v1/status")).await.unwrap();
    }
    stream.flush().await.unwrap();
    let waits = async {
        while world.running().gate().unsent_bytes() == 0 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waits).await.expect("answers wait");
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    // A request now and then keeps it no longer.
    for number in 8..12 {
        tokio::time::advance(Duration::from_secs(2)).await;
        let _ = stream.write_all(&get(2 * number + 1, "/healthz")).await;
        let _ = stream.flush().await;
        tokio::task::yield_now().await;
    }
    ended(&mut stream).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let freed = async {
        while world.running().gate().unsent_bytes() > 0 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(30), freed).await.expect("nothing is kept for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_are_bounded_for_each_network() {
    let world = World::limited(|limits| limits.unsent_bytes = Share { network: 20_000, all: 40_000 }).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = http2_that_takes_nothing(&world).await;
        for number in 0..16 {
            if stream.write_all(&get(2 * number + 1, "/v1/status")).await.is_err() {
                break;
            }
        }
        let _ = stream.flush().await;
        held.push(stream);
    }
    for stream in &mut held[1..] {
        // What came before the end is settings and headers. Whoever is let in and takes nothing is closed after 30 s.
        assert!(tokio::time::timeout(Duration::from_secs(60), ended(stream)).await.is_ok(), "no room for its answers");
    }
    assert!(world.running().gate().unsent_bytes() <= 20_000);
    assert!(limited(&world, "unsent_answers").await >= 7);
    drop(held);
    let freed = async {
        while world.running().gate().unsent_bytes() > 0 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(60), freed).await.expect("the memory comes back");
    world.take(1, "sim").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_of_the_api_is_shared_by_all_answers() {
    let world = World::limited(|limits| limits.unsent_bytes = Share { network: 10_000, all: 10_000 }).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = http2_that_takes_nothing(&world).await;
        for number in 0..16 {
            stream.write_all(&get(2 * number + 1, "/openapi.json")).await.unwrap();
        }
        stream.flush().await.unwrap();
        held.push(stream);
    }
    for _ in 0..50 {
        assert_eq!(world.connect().await.send("GET", "/healthz", &[], b"").await.status, 200);
    }
    assert_eq!(limited(&world, "unsent_answers").await, 0, "it is larger than all room for answers and takes none of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_connections_of_a_network_are_few_and_more_are_told_to_go_away() {
    let world = World::limited(|limits| limits.http2 = Share { network: 2, all: 2 }).await;
    let mut held = vec![http2(&world).await, http2(&world).await];
    let mut settled = [0; 9];
    for stream in &mut held {
        stream.read_exact(&mut settled).await.unwrap();
        let mut settings = vec![0; usize::from(settled[2])];
        stream.read_exact(&mut settings).await.unwrap();
        // SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, section 6.5.2): each holds an answer.
        assert!(settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 16]), "{settings:?}");
    }
    let mut refused = http2(&world).await;
    let mut bytes = Vec::new();
    let _ = refused.read_to_end(&mut bytes).await;
    // GOAWAY is frame type 7 (RFC 9113, section 6.8).
    let mut rest = bytes.as_slice();
    let mut kinds = Vec::new();
    while rest.len() >= 9 {
        let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
        kinds.push(rest[3]);
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    assert!(kinds.contains(&7), "{kinds:?}");
    assert_eq!(limited(&world, "http2").await, 1);
    // HTTP/1.1 has its own places.
    world.take(1, "sim").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_under_way_are_bounded_for_each_network() {
    let world = World::limited(|limits| limits.unread_bytes = Share { network: 100_000, all: 200_000 }).await;
    let head = "POST /v1/trust HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n";
    let mut first = world.connect().await;
    first.stream.write_all(head.as_bytes()).await.unwrap();
    first.stream.write_all(&[b' '; 59_000]).await.unwrap();
    first.stream.flush().await.unwrap();
    let refused = async {
        loop {
            let mut client = world.connect().await;
            let answer = client.send("POST", "/v1/trust", &["Content-Type: application/json"], &[b' '; 60_000]).await;
            if answer.status == 503 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(60), refused).await.unwrap();
    assert_eq!((answer.json()["code"].as_str().unwrap(), answer.header("connection")), ("overloaded", Some("close")));
    assert!(limited(&world, "unread_bodies").await >= 1);
    drop(first);
    let served = async {
        loop {
            let mut client = world.connect().await;
            if client.send("POST", "/v1/trust", &["Content-Type: application/json"], &[b' '; 60_000]).await.status == 400 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), served).await.expect("room comes back");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_requests_that_are_not_whole_count_among_what_comes_in() {
    let world = World::limited(|limits| limits.unread_bytes = Share { network: 60_000, all: 200_000 }).await;
    let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Filler: {}", "a".repeat(12_000));
    let mut held = Vec::new();
    for _ in 0..12 {
        let mut client = world.connect().await;
        client.stream.write_all(head.as_bytes()).await.unwrap();
        client.stream.flush().await.unwrap();
        held.push(client);
    }
    let refused = async {
        while limited(&world, "unread_bodies").await < 8 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), refused).await.expect("four of them have room");
    // A head of usual size needs none of it.
    assert_eq!(world.get("/healthz").await.0, 200);
    let mut whole = 0;
    for client in &mut held {
        if client.stream.write_all(b"\r\n\r\n").await.is_ok() && client.read_until(b"\r\n\r\n").await.is_some() {
            whole += 1;
        }
    }
    assert_eq!(whole, 4);
    drop(held);
    // Those that are whole, and those that have gone, gave their room back.
    let mut client = world.connect().await;
    assert_eq!(client.send("GET", "/healthz", &[&format!("X-Filler: {}", "a".repeat(12_000))], b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_half_a_request_keeps_no_place_as_if_it_were_served() {
    let world = World::limited(|limits| limits.connections = Share { network: 4, all: 8 }).await;
    let head = "POST /v1/trust HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n";
    let mut half = Vec::new();
    for _ in 0..4 {
        let mut client = world.connect().await;
        assert_eq!(client.send("GET", "/healthz", &[], b"").await.status, 200);
        client.stream.write_all(head.as_bytes()).await.unwrap();
        client.stream.flush().await.unwrap();
        half.push(client);
    }
    let served = async {
        loop {
            // Whoever is refused is closed before it says hello.
            if let Ok(stream) = tls(world.address(), &[b"http/1.1"]).await {
                let mut client = Client { stream, buffer: Vec::new() };
                if client.send("GET", "/healthz", &[], b"").await.status == 200 {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served).await.expect("a newcomer has the place of one of them");
    ended(&mut half[0].stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_at_the_same_time_are_no_more_than_the_limit_and_hurt_nobody_who_can_be_served() {
    let world = Arc::new(World::limited(|limits| limits.denials = few(10, 1)).await);
    world.take(1, "cad").await;
    world.take(2, "cad").await;
    let tasks: Vec<_> = (0..128u64)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.post("/v1/leases", &world.checkout(100 + number, "cad")).await })
        })
        .collect();
    let mut denied = 0;
    for task in tasks {
        match task.await.unwrap() {
            (200, body) => {
                assert_eq!(body["outcome"], "denied", "{body}");
                denied += 1;
            }
            (429, problem) => {
                assert_eq!((problem["code"].as_str(), problem["pool"]["total"].as_u64()), (Some("rate_limited"), Some(2)), "{problem}");
                assert!(
                    problem["detail"].as_str().unwrap().contains("network 127.0.0.1 has reached its limit of denials (10 at once"),
                    "{problem}"
                );
                // The debt is never more than may be had at once, so nobody waits longer than for one.
                assert!((1..=1_000).contains(&problem["retry_after_ms"].as_u64().unwrap()), "{problem}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(denied, 10);
    assert_eq!(limited(&world, "denials").await, 118);
    // Whoever holds a seat and asks once more is no denial.
    world.take(2, "cad").await;
    // The same network: another feature, a place in line, and a seat that is free are no denials.
    world.take(300, "sim").await;
    let mut waits = world.checkout(301, "cad");
    waits["wait_ms"] = json!(60_000);
    let mut client = world.connect().await;
    world.clock.advance_ms(1_000);
    let answer =
        client.send("POST", "/v1/leases", &["Content-Type: application/json", "Prefer: wait=0"], waits.to_string().as_bytes()).await;
    assert_eq!(answer.json()["outcome"], "waiting", "{}", answer.json());
    let answer =
        client.send("POST", "/v1/leases", &["Content-Type: application/json", "Prefer: wait=0"], waits.to_string().as_bytes()).await;
    assert_eq!(answer.json()["outcome"], "waiting");
    world.post(&format!("/v1/leases/{}/release", lease(301)), &json!({ "secret": secret(301) })).await;
    let (status, _) = world.post("/v1/leases", &world.checkout(302, "cad")).await;
    assert_eq!(status, 200, "one more may be denied by now");
    let (status, _) = world.post("/v1/leases", &world.checkout(303, "cad")).await;
    assert_eq!(status, 429);
    world.post(&format!("/v1/leases/{}/release", lease(1)), &json!({ "secret": secret(1) })).await;
    world.take(304, "cad").await;
    // Whoever repeats hears the same once more.
    assert_eq!(world.post("/v1/leases", &world.checkout(302, "cad")).await.1["outcome"], "denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_ids_are_bounded_and_those_that_are_known_are_not() {
    let world = World::limited(|limits| limits.new_ids = few(3, 1)).await;
    for number in 1..=3 {
        world.take(number, "sim").await;
    }
    let (status, problem) = world.post("/v1/leases", &world.checkout(4, "sim")).await;
    assert_eq!((status, problem["code"].as_str()), (429, Some("rate_limited")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("new lease ids"), "{problem}");
    let (status, _) = world.post(&format!("/v1/leases/{}/release", lease(9)), &json!({ "secret": secret(9) })).await;
    assert_eq!(status, 429, "a release of what was never known");
    for counter in 1..=10 {
        let (_, renewed) = world.post(&format!("/v1/leases/{}/renew", lease(1)), &renewal(1, counter)).await;
        assert_eq!(renewed["outcome"], "renewed", "{renewed}");
    }
    assert_eq!(world.post("/v1/leases", &world.checkout(2, "sim")).await.0, 200, "a repeat");
    let batch = json!({ "renewals": [renewal(2, 1), renewal(8, 1), renewal(3, 1)] });
    let (_, answers) = world.post("/v1/renewals", &batch).await;
    let results = answers["answers"].as_array().unwrap();
    assert_eq!((results[0]["outcome"].as_str(), results[2]["outcome"].as_str()), (Some("renewed"), Some("renewed")), "{answers}");
    assert_eq!(answers["problems"][results[1]["problem"].as_u64().unwrap() as usize]["code"], "rate_limited", "{answers}");
    let (status, _) = world.post(&format!("/v1/leases/{}/release", lease(3)), &json!({ "secret": secret(3) })).await;
    assert_eq!(status, 200);
    let (_, granted) = world.admin("POST", "/v1/leases", &world.checkout(4, "sim")).await;
    assert_eq!(granted["outcome"], "granted", "the socket has no such limit: {granted}");
    world.clock.advance_ms(1_000);
    world.take(5, "sim").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_that_are_refused_are_answered_in_fewer_bytes_than_they_took_and_have_a_rate_also_beside_a_live_one() {
    let world = World::limited(|limits| {
        limits.new_ids = few(1_500, 1);
        limits.nothing_kib = few(600, 1);
    })
    .await;
    world.take(1, "sim").await;
    let batch = |from: u64, counter: u64| {
        let unknown = (from..from + 999).map(|number| renewal(number, 1));
        json!({ "renewals": unknown.chain([renewal(1, counter)]).collect::<Vec<_>>() })
    };
    let mut codes = Vec::new();
    for counter in 1..=3 {
        let body = batch(1_000 * counter, counter);
        let (status, answer) = world.post("/v1/renewals", &body).await;
        assert_eq!((status, &answer["answers"][999]["outcome"]), (200, &json!("renewed")), "{answer}");
        assert!(2 * answer.to_string().len() < body.to_string().len(), "{answer}");
        codes.push(
            answer["problems"].as_array().unwrap().iter().map(|problem| problem["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        );
    }
    assert_eq!(codes, [vec!["unknown_lease"], vec!["unknown_lease", "rate_limited"], vec!["rate_limited"]]);
    let (status, problem) = world.post("/v1/renewals", &batch(9_000, 4)).await;
    assert_eq!((status, &problem["code"]), (429, &json!("rate_limited")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("bodies that led to nothing"), "{problem}");
    for counter in 5..=9 {
        let (_, renewed) = world.post(&format!("/v1/leases/{}/renew", lease(1)), &renewal(1, counter)).await;
        assert_eq!(renewed["outcome"], "renewed", "one by one they have no rate: {renewed}");
    }
    let (_, renewed) = world.admin("POST", "/v1/renewals", &batch(9_000, 10)).await;
    assert_eq!(renewed["answers"][999]["outcome"], "renewed", "and neither on the socket: {renewed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_that_are_refused_have_a_rate_and_small_ones_and_those_of_others_have_none() {
    let world = World::limited(|limits| limits.nothing_kib = few(150, 1)).await;
    world.take(1, "sim").await;
    let mut broken = json!({ "renewals": (0..500).map(|number| renewal(number, 1)).collect::<Vec<_>>() }).to_string();
    broken.pop();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let mut client = world.connect().await;
        let answer = client.send("POST", "/v1/renewals", &["Content-Type: application/json"], broken.as_bytes()).await;
        statuses.push(answer.status);
    }
    assert_eq!(statuses[0], 400);
    assert_eq!(statuses[3], 429, "{statuses:?}");
    assert!(limited(&world, "refused_bodies").await > 0);
    let (_, renewed) = world.post(&format!("/v1/leases/{}/renew", lease(1)), &renewal(1, 1)).await;
    assert_eq!(renewed["outcome"], "renewed", "{renewed}");
    let (status, _) = world.post("/v1/leases", &json!({ "secret": 1 })).await;
    assert_eq!(status, 400, "a small one costs no more than its request");
    world.clock.advance_ms(600_000);
    let (status, answer) =
        world.post("/v1/renewals", &json!({ "renewals": (0..100).map(|number| renewal(number, 2)).collect::<Vec<_>>() })).await;
    assert_eq!((status, &answer["answers"][1]["outcome"]), (200, &json!("renewed")), "{answer}");
}

/// A checkout of a seat of a feature, with so many bytes of white space.
fn padded(body: &Value, bytes: usize) -> Vec<u8> {
    format!("{}{body}", " ".repeat(bytes)).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_taken_of_a_body_and_leads_to_nothing_is_charged() {
    const BYTES: usize = 60_000;
    const ROADS: [&str; 10] = [
        "an unknown path",
        "a wrong method",
        "a body that nothing asked for",
        "another server's name",
        "a body that is too large, in pieces",
        "a body that breaks off",
        "white space before a denial",
        "white space before a renewal",
        "white space in a batch",
        "an unknown path over HTTP/2",
    ];
    const JSON: &str = "Content-Type: application/json";
    for (number, road) in ROADS.into_iter().enumerate() {
        let world = World::limited(|limits| limits.nothing_kib = few(200, 1)).await;
        world.take(1, "sim").await;
        world.take(2, "cad").await;
        world.take(3, "cad").await;
        let network = Some(triquest_allocator::Network::from(std::net::IpAddr::from([127, 0, 0, 1])));
        let may_send = || world.running().gate().may_send(network).is_ok();
        let mut times = 0u64;
        // What breaks off is charged once the server sees it.
        let charged = async {
            while may_send() {
                times += 1;
                let mut client = world.connect().await;
                let spaces = vec![b' '; BYTES];
                let status = match number {
                    0 => client.send("POST", "/v2/leases", &[JSON], &spaces).await.status,
                    1 => client.send("PUT", "/v1/leases", &[JSON], &spaces).await.status,
                    2 => client.send("GET", "/healthz", &[], &spaces).await.status,
                    3 => client.send("POST", "/v1/leases", &["Host: other.example", JSON], &spaces).await.status,
                    4 => {
                        let head = format!("POST /v1/leases HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n");
                        client.stream.write_all(head.as_bytes()).await.unwrap();
                        let chunk = format!("{BYTES:x}\r\n{}\r\n", " ".repeat(BYTES));
                        client.stream.write_all(format!("{chunk}{chunk}0\r\n\r\n").as_bytes()).await.unwrap();
                        client.stream.flush().await.unwrap();
                        client.answer().await.status
                    }
                    5 => {
                        let head = format!("POST /v1/leases HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: 65000\r\n\r\n");
                        client.stream.write_all(head.as_bytes()).await.unwrap();
                        client.stream.write_all(&spaces).await.unwrap();
                        client.stream.shutdown().await.unwrap();
                        ended(&mut client.stream).await;
                        0
                    }
                    6 => client.send("POST", "/v1/leases", &[JSON], &padded(&world.checkout(100 + times, "cad"), BYTES)).await.status,
                    7 => {
                        let path = format!("/v1/leases/{}/renew", lease(1));
                        client.send("POST", &path, &[JSON], &padded(&renewal(1, times), BYTES)).await.status
                    }
                    8 => {
                        let batch = json!({ "renewals": [renewal(1, times), renewal(2, times)] });
                        client.send("POST", "/v1/renewals", &[JSON], &padded(&batch, BYTES)).await.status
                    }
                    _ => {
                        let mut stream = http2(&world).await;
                        // `POST /`, in a frame that is not all of the request, and then half a window of nothing in particular.
                        stream.write_all(&frame(1, 4, 1, b"\x83\x84\x87\x41\x09localhost")).await.unwrap();
                        for _ in 0..3 {
                            stream.write_all(&frame(0, 0, 1, &[b' '; 10_000])).await.unwrap();
                        }
                        stream.flush().await.unwrap();
                        stream.shutdown().await.unwrap();
                        ended(&mut stream).await;
                        0
                    }
                };
                let expected = [404, 405, 200, 403, 413, 0, 200, 200, 200, 0][number];
                assert_eq!(status, expected, "{road}");
                assert!(number == 5 || number == 9 || times <= 4, "{road}");
            }
        };
        tokio::time::timeout(Duration::from_secs(60), charged).await.unwrap_or_else(|_| panic!("{road} is free"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_led_to_something_are_free_however_large_and_many() {
    let world = World::limited(|limits| limits.nothing_kib = few(16, 1)).await;
    for number in 1..=80 {
        world.take(number, "sim").await;
    }
    for counter in 1..=20 {
        let batch = json!({ "renewals": (1..=80).map(|number| renewal(number, counter)).collect::<Vec<_>>() });
        assert!(batch.to_string().len() > BODY_BYTES_FREE);
        let (status, answer) = world.post("/v1/renewals", &batch).await;
        assert_eq!((status, &answer["answers"][79]["outcome"]), (200, &json!("renewed")), "{answer}");
    }
    assert_eq!(limited(&world, "refused_bodies").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_neighbors_send_for_nothing_keeps_no_batch_from_a_holder_that_never_did() {
    let world = World::limited(|limits| limits.nothing_kib = few(100, 1)).await;
    let mut holder = world.connect().await;
    for number in 1..=80 {
        world.take(number, "sim").await;
    }
    let batch = |counter: u64| json!({ "renewals": (1..=80).map(|number| renewal(number, counter)).collect::<Vec<_>>() });
    let renewed = holder.json("POST", "/v1/renewals", &json!({ "renewals": [renewal(1, 1)] })).await;
    assert_eq!(renewed.status, 200, "{:?}", renewed.json());
    let network = Some(triquest_allocator::Network::from(std::net::IpAddr::from([127, 0, 0, 1])));
    while world.running().gate().may_send(network).is_ok() {
        let mut neighbor = world.connect().await;
        neighbor.send("POST", "/v2/leases", &["Content-Type: application/json"], &[b' '; 60_000]).await;
    }
    assert_eq!(world.post("/v1/renewals", &batch(2)).await.0, 429);
    assert_eq!(holder.json("POST", "/v1/renewals", &batch(3)).await.status, 200);
    // Until something of that size leads to nothing on its own connection.
    let nothing = holder.send("POST", "/v1/renewals", &["Content-Type: application/json"], &[b' '; 60_000]).await;
    assert_eq!(nothing.status, 400);
    assert_eq!(holder.json("POST", "/v1/renewals", &batch(4)).await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_drained_has_an_end_too() {
    let world = World::limited(|limits| limits.nothing_kib = few(100, 1)).await;
    for _ in 0..10 {
        let mut client = world.connect().await;
        let head = "POST /v2/leases HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n";
        client.stream.write_all(head.as_bytes()).await.unwrap();
        // Whoever is not waited for may be gone by then.
        let _ = client.stream.write_all(&[b' '; 60_000]).await;
        let _ = client.stream.flush().await;
        ended(&mut client.stream).await;
    }
    let network = Some(triquest_allocator::Network::from(std::net::IpAddr::from([127, 0, 0, 1])));
    world.clock.advance_ms(50_000);
    assert!(world.running().gate().may_send(network).is_err(), "more than once the limit is owed");
    world.clock.advance_ms(80_000);
    assert!(world.running().gate().may_send(network).is_ok(), "and no more than twice, and a piece");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_parts_a_rate_refuses_is_paced_as_if_each_were_asked_alone() {
    let world = World::limited(|limits| {
        limits.new_ids = few(1, 1);
        limits.refusals = few(10, 200);
    })
    .await;
    world.take(1, "sim").await;
    let mut client = world.connect().await;
    let mut owed = 0;
    for (counter, unknown, beside) in [(1, 5, true), (2, 30, true), (3, 20, true), (4, 40, false)] {
        let renewals = (0..unknown).map(|number| renewal(100 * counter + number, 1)).chain(beside.then(|| renewal(1, counter)));
        let body = json!({ "renewals": renewals.collect::<Vec<_>>() });
        let began = tokio::time::Instant::now();
        let answer = client.json("POST", "/v1/renewals", &body).await;
        assert_eq!(answer.status, if beside { 200 } else { 429 }, "{:?}", answer.json());
        owed += unknown;
        // The clock of the limits stands still, so each waits for one more turn of five milliseconds.
        let least = Duration::from_millis(5 * owed.saturating_sub(10));
        assert!(began.elapsed() >= least, "{counter}: at least {least:?}");
    }
}

#[tokio::test]
async fn what_comes_too_often_is_refused_at_a_rate_however_many_ask_without_a_pause() {
    let world = World::limited(|limits| {
        limits.reads = few(1, 1);
        limits.refusals = few(10, 100);
    })
    .await;
    let mut client = world.connect().await;
    let mut ask = async || {
        let began = tokio::time::Instant::now();
        let answer = client.send("GET", "/v1/status", &[], b"").await;
        (answer.status, began.elapsed())
    };
    assert_eq!(ask().await.0, 200);
    tokio::time::pause();
    for number in 0..40 {
        let (status, took) = ask().await;
        assert_eq!(status, 429);
        // The clock of the limits stands still, so each waits for one more turn of ten milliseconds.
        let owed = Duration::from_millis(10 * (number as u64).saturating_sub(9));
        assert!(took >= owed && took < owed + Duration::from_millis(50), "{number}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_trust_and_searches_have_rates_and_health_has_none() {
    let world = World::limited(|limits| {
        limits.reads = few(3, 1);
        limits.trust = few(2, 1);
        limits.searches = few(2, 1);
    })
    .await;
    let mut client = world.connect().await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(client.send("GET", "/v1/server/id", &[], b"").await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    let answer = client.send("GET", "/v1/status", &[], b"").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    // A stream of events begins as a read does.
    assert_eq!(client.send("GET", "/v1/events", &[], b"").await.status, 429);
    let head = b"HEAD /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut other = world.connect().await;
    other.stream.write_all(head).await.unwrap();
    other.stream.flush().await.unwrap();
    assert!(other.read_until(b"\r\n\r\n").await.unwrap().starts_with(b"HTTP/1.1 429"));
    for _ in 0..50 {
        assert_eq!(client.send("GET", "/healthz", &[], b"").await.status, 200);
        assert_eq!(world.admin("GET", "/v1/status", &json!(null)).await.0, 200);
    }
    let statuses = [(); 3].map(|()| ());
    let mut searched = Vec::new();
    for () in statuses {
        searched.push(client.send("GET", "/ports?q=license", &[], b"").await.status);
    }
    assert_eq!(searched, [200, 200, 429]);
    let mut trusted = Vec::new();
    for _ in 0..3 {
        trusted.push(client.json("POST", "/v1/trust", &json!({})).await.status);
    }
    assert_eq!(trusted, [400, 400, 429]);
    for limit in ["reads", "searches", "trust"] {
        assert!(limited(&world, limit).await >= 1, "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_wait_for_their_turn_and_too_many_of_one_network_are_refused() {
    let world = World::limited(|_| {}).await;
    let turn = world.running().gate().search(None).await.unwrap();
    let mut searches = tokio::task::JoinSet::new();
    for _ in 0..9 {
        let mut client = world.connect().await;
        searches.spawn(async move { client.send("GET", "/ports?q=license", &[], b"").await.status });
    }
    // Eight may wait; nobody is answered while another searches, but who came beyond that.
    assert_eq!(searches.join_next().await.unwrap().unwrap(), 429);
    drop(turn);
    assert_eq!(searches.join_all().await, [200; 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_is_charged_for_the_work_that_it_makes() {
    for path in ["/ports/1588", "/ports/no-such-name", "/v1/ports/1588", "/openapi.json", "/v1/server/id", "/v1/status", "/v1/events"] {
        let world = World::start_as(
            |_| {},
            |limits| {
                // The clock stands still: what was spent once is gone.
                limits.reading_us = Frequency { burst: 2_000, per_second: 2_000 };
                limits.searches = few(1, 1);
            },
        )
        .await;
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut client = world.connect().await;
        let mut refused = false;
        for _ in 0..1_900 {
            client.stream.write_all(head.as_bytes()).await.unwrap();
            client.stream.flush().await.unwrap();
            let Some(answer) = client.read_until(b"\r\n\r\n").await else {
                client = world.connect().await;
                continue;
            };
            refused = answer.starts_with(b"HTTP/1.1 429");
            if refused {
                break;
            }
        }
        assert!(refused, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_an_unknown_name_shows_what_comes_near_only_to_those_who_may_search() {
    let world = World::limited(|limits| limits.searches = few(2, 1)).await;
    let mut client = world.connect().await;
    let mut near = Vec::new();
    for _ in 0..3 {
        let answer = client.send("GET", "/ports/licens", &[], b"").await;
        let page = String::from_utf8(answer.body).unwrap();
        assert!(answer.status == 404 && page.contains("No such name"), "{page}");
        near.push(page.contains("Near it"));
    }
    assert_eq!(near, [true, true, false]);
    assert_eq!(client.send("GET", "/ports?q=license", &[], b"").await.status, 429, "it is the same rate");
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_grants_that_are_shown_have_a_rate_unless_their_leases_live_here() {
    let world = World::limited(|limits| limits.shown_grants = few(2, 1)).await;
    let mut shows = Vec::new();
    for number in 1..=3 {
        let mut again = world.checkout(number, "sim");
        again["shown"] = shown(&world.post("/v1/leases", &again).await.1);
        shows.push(again);
    }
    let [holder, ended, forger] = shows.try_into().unwrap();
    world.post(&format!("/v1/leases/{}/release", lease(2)), &json!({ "secret": secret(2) })).await;
    let mut asks = Vec::new();
    for _ in 0..3 {
        asks.push(world.post("/v1/leases", &ended).await.0);
    }
    assert_eq!(asks, [200, 200, 429]);
    assert!(limited(&world, "shown_grants").await >= 1);
    // What others of its network show in vain keeps no holder from repeating its checkout, whether it shows its grant or not.
    for _ in 0..3 {
        let (status, granted) = world.post("/v1/leases", &holder).await;
        assert_eq!((status, granted["outcome"].as_str()), (200, Some("granted")), "{granted}");
    }
    assert_eq!(world.post("/v1/leases", &world.checkout(1, "sim")).await.0, 200, "a repeat that shows nothing");
    let (_, renewed) = world.post(&format!("/v1/leases/{}/renew", lease(1)), &renewal(1, 1)).await;
    assert_eq!(renewed["outcome"], "renewed", "{renewed}");
    // Who holds a lease and shows what was never signed has the rate from then on.
    let mut forged = forger.clone();
    forged["shown"]["signature"] = json!(Bytes64([7; 64]));
    let (status, problem) = world.post("/v1/leases", &forged).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("bad_request")), "{problem}");
    assert_eq!(world.post("/v1/leases", &forged).await.0, 429);
    assert_eq!(world.post("/v1/leases", &forger).await.0, 429);
    assert_eq!(world.post("/v1/leases", &world.checkout(3, "sim")).await.0, 200, "it repeats without");
    assert_eq!(world.post("/v1/leases", &holder).await.0, 200);
}

/// What a client shows of a grant.
fn shown(granted: &Value) -> Value {
    let shown = ["grant", "leaf", "path", "statement", "signature"].map(|member| (member.to_owned(), granted[member].clone()));
    serde_json::Map::from_iter(shown).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_may_be_denied_anew_is_charged_before_it_is_decided_whoever_asks() {
    let world = World::limited(|limits| {
        limits.denials = few(2, 1);
        limits.denials_all = few(2, 1);
    })
    .await;
    world.take(1, "cad").await;
    let mut comes_back = world.checkout(2, "cad");
    comes_back["shown"] = shown(&world.post("/v1/leases", &comes_back).await.1);
    let mut client = world.connect().await;
    let mut waits = world.checkout(3, "cad");
    waits["wait_ms"] = json!(60_000);
    let mut ask = async |body: &Value| {
        client.send("POST", "/v1/leases", &["Content-Type: application/json", "Prefer: wait=0"], body.to_string().as_bytes()).await
    };
    assert_eq!(ask(&waits).await.json()["outcome"], "waiting");
    for number in 10..12 {
        assert_eq!(world.post("/v1/leases", &world.checkout(number, "cad")).await.1["outcome"], "denied");
    }
    // The same attempt keeps its place. A later one is decided anew if that place is gone, and here nobody can know.
    assert_eq!(ask(&waits).await.json()["outcome"], "waiting");
    waits["attempt"] = json!(2);
    assert_eq!(ask(&waits).await.status, 429);
    // A lease that lives is held whatever attempt asks.
    for attempt in 1..4 {
        let mut again = world.checkout(1, "cad");
        again["attempt"] = json!(attempt);
        assert_eq!(world.post("/v1/leases", &again).await.1["outcome"], "granted");
    }
    // Who comes back with a grant is heard, once.
    world.post(&format!("/v1/leases/{}/release", lease(2)), &json!({ "secret": secret(2) })).await;
    assert_eq!(world.post("/v1/leases", &comes_back).await.1["denial"]["code"], "lease_ended");
    comes_back["attempt"] = json!(2);
    assert_eq!(world.post("/v1/leases", &comes_back).await.0, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_network_is_told_of_itself_and_not_of_others() {
    let world = World::limited(|limits| limits.searches = few(1, 1)).await;
    for _ in 0..3 {
        world.get("/ports?q=ssh").await;
    }
    let (_, status) = world.get("/v1/status").await;
    assert_eq!((status["limited"][0]["limit"].as_str(), status["limited"][0]["times"].as_u64()), (Some("searches"), Some(2)), "{status}");
    let world = World::with_seats().await;
    assert!(world.get("/v1/status").await.1.get("limited").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_that_asks_again_at_once_is_told_its_place_and_nothing_is_decided() {
    let world = World::with_seats().await;
    world.take(1, "cad").await;
    world.take(2, "cad").await;
    let mut client = world.connect().await;
    let mut asks = Vec::new();
    for number in 10..13 {
        let mut body = world.checkout(number, "cad");
        body["wait_ms"] = json!(60_000);
        let first =
            client.send("POST", "/v1/leases", &["Content-Type: application/json", "Prefer: wait=0"], body.to_string().as_bytes()).await;
        assert_eq!(first.json()["place"], number - 9, "{}", first.json());
        asks.push(body);
    }
    for (place, body) in (1..).zip(&asks) {
        // Without `Prefer`, a decision would be held.
        let again = client.json("POST", "/v1/leases", body).await.json();
        assert_eq!(
            (again["outcome"].as_str(), again["place"].as_u64(), again["pool"]["queued"].as_u64()),
            (Some("waiting"), Some(place), Some(3))
        );
    }
    // Another attempt or other content is decided.
    let mut other = asks[0].clone();
    other["holder"]["user"] = json!("eve");
    let answer = client.json("POST", "/v1/leases", &other).await;
    assert_eq!((answer.status, answer.json()["code"].as_str().map(str::to_owned)), (409, Some("id_taken".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_has_few_decisions_whatever_of_its_asks_differs_and_keeps_its_place() {
    let world = World::with_seats().await;
    world.take(1, "cad").await;
    world.take(2, "cad").await;
    let mut client = world.connect().await;
    let mut ask = async |body: &Value| {
        let headers = ["Content-Type: application/json", "Prefer: wait=0"];
        client.send("POST", "/v1/leases", &headers, body.to_string().as_bytes()).await
    };
    let mut waits = world.checkout(10, "cad");
    waits["wait_ms"] = json!(60_000);
    assert_eq!(ask(&waits).await.json()["outcome"], "waiting");
    let mut other_keys = waits.clone();
    other_keys["vendor_keys"] = json!([Bytes32([7; 32])]);
    let mut later = waits.clone();
    later["attempt"] = json!(2);
    let mut only_now = waits.clone();
    only_now.as_object_mut().unwrap().remove("wait_ms");
    // An honest client may ask with a new attempt and withdraw.
    let mut decided = 0;
    for _ in 0..20 {
        let answer = ask(&other_keys).await;
        match answer.status {
            429 => assert!(answer.json()["retry_after_ms"].as_u64().unwrap() > 0),
            _ => decided += 1,
        }
    }
    assert_eq!(decided, WAITER_ASKS_BURST);
    for body in [&later, &only_now] {
        assert_eq!(ask(body).await.status, 429, "{body}");
    }
    assert_eq!(ask(&waits).await.json()["place"], 1, "what it asked before is told without a decision");
    assert!(limited(&world, "waiter_asks").await >= 17);
    // Another waiter is not concerned.
    let mut neighbor = world.checkout(11, "cad");
    neighbor["wait_ms"] = json!(60_000);
    assert_eq!(ask(&neighbor).await.json()["place"], 2);
    neighbor["attempt"] = json!(2);
    assert_eq!(ask(&neighbor).await.json()["place"], 2);
    world.clock.advance_ms(1_000);
    assert_eq!(ask(&later).await.json()["outcome"], "waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_resets_its_requests_for_free_seats_takes_no_denials_from_others() {
    let world = World::limited(|limits| {
        limits.denials = few(2, 1);
        limits.denials_all = few(2, 1);
    })
    .await;
    let mut stream = http2(&world).await;
    for number in 0..40u64 {
        let body = world.checkout(100 + number, "sim").to_string();
        let id = u32::try_from(2 * number + 1).unwrap();
        let mut headers = b"\x83\x87\x41\x09localhost\x04\x0a/v1/leases\x0f\x10\x10application/json".to_vec();
        headers.extend([0x0f, 0x0d, u8::try_from(body.len().to_string().len()).unwrap()]);
        headers.extend(body.len().to_string().as_bytes());
        let asks = [frame(1, 4, id, &headers), frame(0, 1, id, body.as_bytes())].concat();
        if stream.write_all(&asks).await.is_err() {
            break;
        }
        stream.flush().await.unwrap();
        // Some are reset before they are decided, some while they are, and some as soon as they are.
        if number % 4 == 0 {
            let decided = async {
                while world.running().driver().view().known(lease(100 + number)).is_none() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), decided).await.expect("a free seat is granted");
        }
        if stream.write_all(&frame(3, 0, id, &8u32.to_be_bytes())).await.is_err() {
            break;
        }
        let _ = stream.flush().await;
    }
    // Whatever is decided later than this was asked later.
    assert_eq!(world.take(1, "sim").await, lease(1));
    let used = world.get("/v1/status?feature=sim").await.1["pools"][0]["used"].as_u64().unwrap();
    assert!(used > 1, "none of them was decided");
    for number in 10..12 {
        let mut many = world.checkout(number, "cad");
        many["items"][0]["seats"] = json!(5_000);
        assert_eq!(world.post("/v1/leases", &many).await.1["outcome"], "denied");
    }
    assert_eq!(limited(&world, "denials").await, 0);
}

/// Asks for a presence connection for these leases.
async fn presence(world: &World, leases: &[u64], generation: u64) -> (Client<TlsStream<TcpStream>>, u16, Value) {
    let mut client = world.connect().await;
    let socket = client.stream.get_ref().0;
    let ends = (socket.local_addr().unwrap().to_string(), socket.peer_addr().unwrap().to_string());
    let body = json!({ "leases": secrets(leases), "generation": generation, "client": ends.0, "server": ends.1 });
    let answer = client.json("POST", "/v1/presence", &body).await;
    (client, answer.status, answer.json())
}

fn secrets(leases: &[u64]) -> Vec<Value> {
    leases.iter().map(|number| json!({ "secret": secret(*number) })).collect()
}

async fn change(world: &World, name: &Value, generation: u64, add: &[u64], drop: &[u64]) -> (u16, Value) {
    let body = json!({ "connection": name, "generation": generation, "add": secrets(add), "drop": secrets(drop) });
    world.post("/v1/presence/change", &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_leases_of_presence_connections_are_charged_as_new_ids() {
    let world = World::limited(|limits| limits.new_ids = few(4, 1)).await;
    world.take(1, "sim").await;
    let (_client, status, answer) = presence(&world, &[1, 90], 1).await;
    assert_eq!((status, &answer["live"]), (200, &json!(1)), "{answer}");
    let name = &answer["connection"];
    let (status, problem) = change(&world, &json!("A".repeat(22)), 1, &[91, 92, 93], &[94]).await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown_connection")), "nothing is looked at for whoever knows no connection");
    assert_eq!(change(&world, name, 1, &[], &[95, 96, 97]).await.0, 200, "it does not stand for them anyway");
    assert_eq!(change(&world, name, 1, &[91, 92], &[]).await.0, 200);
    let (status, problem) = change(&world, name, 1, &[93], &[]).await;
    assert_eq!((status, &problem["code"]), (429, &json!("rate_limited")), "{problem}");
    let (_, status, problem) = presence(&world, &[98], 1).await;
    assert_eq!((status, &problem["code"]), (429, &json!("rate_limited")), "{problem}");
    assert_eq!(change(&world, name, 1, &[1], &[]).await.0, 200, "what is known is not limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_that_presence_connections_stand_for_are_bounded_for_each_network() {
    let world = World::limited(|limits| limits.presence = Share { network: 3, all: 6 }).await;
    for number in 1..=4 {
        world.take(number, "sim").await;
    }
    let (client, status, answer) = presence(&world, &[1, 2], 1).await;
    assert_eq!(status, 200, "{answer}");
    let (_, status, problem) = presence(&world, &[1, 2], 2).await;
    assert_eq!((status, &problem["code"]), (429, &json!("rate_limited")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("leases that presence connections stand for"), "{problem}");
    assert_eq!(limited(&world, "presence").await, 1);
    let name = &answer["connection"];
    assert_eq!(change(&world, name, 1, &[3, 4], &[]).await.0, 429);
    assert_eq!(change(&world, name, 1, &[3, 4], &[1]).await.0, 200);
    assert_eq!(change(&world, name, 1, &[1], &[]).await.0, 429);
    assert_eq!(change(&world, name, 1, &[], &[3, 4]).await.0, 200);
    let (_second, status, answer) = presence(&world, &[1, 4], 2).await;
    assert_eq!(status, 200, "{answer}");
    drop(client);
    let wait = async { while presence(&world, &[2], 3).await.1 != 200 {} };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("places come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presence_connection_that_stands_for_nobody_any_more_leaves_before_holders() {
    let world = World::limited(|limits| limits.connections = Share { network: 2, all: 4 }).await;
    world.take(1, "sim").await;
    let (mut empty, status, answer) = presence(&world, &[1], 1).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(change(&world, &answer["connection"], 1, &[], &[1]).await.0, 200);
    let mut holder = world.connect().await;
    holder.json("POST", "/v1/leases", &world.checkout(2, "sim")).await;
    assert_eq!(world.get("/healthz").await.0, 200, "the newcomer is let in");
    assert_eq!(holder.send("GET", "/healthz", &[], b"").await.status, 200);
    assert!(tokio::time::timeout(Duration::from_secs(30), ended(&mut empty.stream)).await.is_ok());
}

/// Until nobody listens there any more.
async fn is_stopping(address: std::net::SocketAddr) {
    let gone = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("it stops to listen");
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_without_a_record_are_counted_up_to_the_last_answer_of_a_stop() {
    use triquest_journal::History as _;
    let mut world = World::with_seats().await;
    world.take(1, "cad").await;
    world.take(2, "cad").await;
    let mut client = world.connect().await;
    let mut number = 1_000;
    while client.json("POST", "/v1/leases", &world.checkout(number, "cad")).await.status == 200 {
        number += 1;
        assert!(number < 10_000, "it is never limited");
    }
    // One more that the server has begun to read when it stops.
    let body = world.checkout(20_000, "cad").to_string();
    let mut late = world.connect().await;
    let head = format!(
        "POST /v1/leases HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    late.stream.write_all(head.as_bytes()).await.unwrap();
    late.stream.flush().await.unwrap();
    late.read_until(b"100 Continue\r\n\r\n").await.expect("it reads the body");
    let address = world.address();
    let stop = tokio::spawn(world.running.take().unwrap().shutdown());
    is_stopping(address).await;
    late.stream.write_all(body.as_bytes()).await.unwrap();
    late.stream.flush().await.unwrap();
    assert_eq!(late.answer().await.status, 429);
    drop((client, late));
    stop.await.unwrap().unwrap();
    let entries = world.disk.open().read(triquest_allocator::Index(1), usize::MAX).unwrap();
    let events = entries.iter().flat_map(|(_, bytes)| triquest_journal::record::decode_entry(bytes).unwrap().events);
    let counted = events.map(|event| match event {
        triquest_allocator::Event::DenialsCounted { pools, .. } => pools.iter().map(|(_, count)| count).sum(),
        _ => 0u64,
    });
    assert_eq!(counted.sum::<u64>(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_newcomer_without_a_client_hello_and_tells_nobody_a_false_no() {
    let mut world = World::limited(|limits| {
        limits.hellos = Share { network: 4, all: 64 };
        limits.hello_settled_ms = 3_600_000;
        limits.hellos_waiting = Share { network: 3, all: 64 };
        limits.hello_ms = 3_600_000;
    })
    .await;
    world.take(1, "cad").await;
    world.take(2, "cad").await;
    let mut body = world.checkout(3, "cad");
    body["wait_ms"] = json!(600_000);
    let mut client = world.connect().await;
    let held = tokio::spawn(async move { client.json("POST", "/v1/leases", &body).await });
    world.until("cad", "queued", 1).await;
    let mut newcomers = Vec::new();
    for number in 0..7 {
        let mut stream = TcpStream::connect(world.address()).await.unwrap();
        // Some say nothing at all.
        if number % 2 == 0 {
            stream.write_all(&[22]).await.unwrap();
        }
        newcomers.push(stream);
    }
    let mut too_many = TcpStream::connect(world.address()).await.unwrap();
    assert_eq!(ended(&mut too_many).await, 0, "four have places and three wait");
    let stop = world.running.take().unwrap().shutdown();
    tokio::time::timeout(Duration::from_secs(60), stop).await.expect("it ends in time").unwrap();
    for newcomer in &mut newcomers {
        let told = tokio::time::timeout(Duration::from_secs(30), ended(newcomer)).await.expect("its connection ends");
        assert_eq!(told, 0, "nothing was said, so nothing false");
    }
    let answer = held.await.unwrap();
    assert_eq!((answer.status, answer.json()["outcome"].as_str()), (200, Some("waiting")), "{}", answer.json());
}
