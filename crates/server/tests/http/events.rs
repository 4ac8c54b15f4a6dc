//! The stream of events: complete, resumable, and silent about people to whom it does not concern.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
};

use triquest_server::{limits::EVENT_PIECE_BYTES, shares::Share};
use triquest_wire::{Bytes32, limits::EVENT_KEEP_ALIVE_MS};

use crate::world::{Client, World, secret};

/// Reads frames until `count` events came.
async fn events<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>, count: usize) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    while found.len() < count {
        let frame = String::from_utf8(client.read_until(b"\n\n").await.expect("the stream goes on")).unwrap();
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
            found.push((id, serde_json::from_str(&data).unwrap()));
        }
    }
    found
}

async fn open<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>, path: &str, header: &str) -> u16 {
    client.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n").as_bytes()).await.unwrap();
    client.stream.flush().await.unwrap();
    let answer = client.answer().await;
    // The body comes in chunks (RFC 9112, section 7.1), whose lines are no part of the frames looked for here.
    answer.status
}

async fn beginning(world: &World) -> String {
    let (_, id) = world.get("/v1/server/id").await;
    format!("{}.{}.0", id["position"]["lineage"].as_str().unwrap(), id["position"]["epoch"])
}

async fn unix(world: &World) -> Client<UnixStream> {
    Client { stream: UnixStream::connect(world.socket()).await.unwrap(), buffer: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_tells_history_then_the_present_and_can_be_resumed_anywhere() {
    let world = World::with_seats().await;
    let id = world.take(1, "cad").await;
    let mut client = unix(&world).await;
    assert_eq!(open(&mut client, &format!("/v1/events?after={}", beginning(&world).await), "").await, 200);
    let mut all = Vec::new();
    while all.last().is_none_or(|(_, event): &(String, Value)| event["kind"] != "granted") {
        all.extend(events(&mut client, 1).await);
    }
    world.post(&format!("/v1/leases/{id}/release"), &json!({ "secret": secret(1) })).await;
    all.extend(events(&mut client, 1).await);
    let kinds: Vec<_> = all.iter().map(|(_, event)| event["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds[0], "recovered");
    assert_eq!(kinds.last().unwrap(), "released");
    assert!(kinds.contains(&"license_installed".to_owned()), "{kinds:?}");
    // The oldest that is kept is the beginning here.
    let mut kept = unix(&world).await;
    assert_eq!(open(&mut kept, "/v1/events?from=oldest", "").await, 200);
    assert_eq!(events(&mut kept, all.len()).await, all);
    for wrong in ["from=newest", "from=oldest&after=00000000000000000000000000000000.1.0"] {
        let answer = world.connect().await.send("GET", &format!("/v1/events?{wrong}"), &[], b"").await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
    // From each event on, the rest is the same.
    for (place, (id, _)) in all.iter().enumerate().take(all.len() - 1) {
        let mut again = unix(&world).await;
        let header = format!("Last-Event-ID: {id}\r\n");
        assert_eq!(open(&mut again, "/v1/events", &header).await, 200);
        let rest = events(&mut again, all.len() - 1 - place).await;
        assert_eq!(rest, all[place + 1..], "after {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_readers_see_what_happens_but_not_to_whom() {
    let world = World::with_seats().await;
    let mut anonymous = world.connect().await;
    assert_eq!(open(&mut anonymous, "/v1/events", "").await, 200);
    let mut viewer = unix(&world).await;
    assert_eq!(open(&mut viewer, "/v1/events", "").await, 200);
    world.take(1, "cad").await;
    loop {
        let (mut theirs, mut ours) = (events(&mut anonymous, 1).await, events(&mut viewer, 1).await);
        let ((id, theirs), (same, ours)) = (theirs.remove(0), ours.remove(0));
        assert_eq!(id, same);
        let text = theirs.to_string();
        assert!(!text.contains("ana") && !text.contains("ws1") && !text.contains("unix:") && theirs.get("holder").is_none(), "{text}");
        if ours["kind"] == "granted" {
            assert_eq!(ours["holder"]["user"], json!({ "value": "ana", "proved": false }));
            assert_eq!(ours["items"][0], json!({ "vendor": "acme.example", "feature": "cad", "seats": 1 }));
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_vendor_are_told_viewers_alone() {
    let world = World::start().await;
    let mut anonymous = world.connect().await;
    assert_eq!(open(&mut anonymous, "/v1/events", "").await, 200);
    let mut viewer = unix(&world).await;
    assert_eq!(open(&mut viewer, "/v1/events", "").await, 200);
    world.install(&world.license("A-1", "cad", 2)).await;
    let key = json!([Bytes32(*world.vendor.verifier_key().public().as_bytes())]);
    loop {
        let (theirs, ours) = (events(&mut anonymous, 1).await.remove(0).1, events(&mut viewer, 1).await.remove(0).1);
        assert_eq!(theirs["kind"], ours["kind"]);
        if ours["kind"] == "vendor_keys" {
            assert_eq!((theirs.get("keys"), &ours["keys"]), (None, &key), "{theirs}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_for_viewers_and_what_a_live_reader_missed_for_a_moment_is_not_the_past() {
    let world = World::with_seats().await;
    let after = beginning(&world).await;
    let answer = world.connect().await.send("GET", &format!("/v1/events?after={after}"), &[], b"").await;
    assert_eq!((answer.status, answer.json()["code"].as_str().map(str::to_owned)), (403, Some("forbidden".into())));
    let mut viewer = unix(&world).await;
    assert_eq!(open(&mut viewer, &format!("/v1/events?after={after}"), "").await, 200);
    let mut live = world.connect().await;
    assert_eq!(open(&mut live, "/v1/events", "").await, 200);
    world.take(1, "cad").await;
    let (id, first) = events(&mut live, 1).await.remove(0);
    assert_eq!(first["kind"], "granted");
    world.take(2, "cad").await;
    let next = events(&mut live, 1).await.remove(0);
    drop(live);
    let mut again = world.connect().await;
    assert_eq!(open(&mut again, "/v1/events", &format!("Last-Event-ID: {id}\r\n")).await, 200);
    assert_eq!(events(&mut again, 1).await.remove(0), next);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_history_or_of_the_future_is_lost() {
    let world = World::with_seats().await;
    let (_, id) = world.get("/v1/server/id").await;
    let lineage = id["position"]["lineage"].as_str().unwrap();
    for after in [format!("{}.1.1", "00".repeat(16)), format!("{lineage}.1.100000"), format!("{lineage}.9.100000.3")] {
        let answer = world.connect().await.send("GET", &format!("/v1/events?after={after}"), &[], b"").await;
        assert_eq!((answer.status, answer.json()["code"].as_str().map(str::to_owned)), (410, Some("cursor_lost".into())), "{after}");
    }
    let answer = world.connect().await.send("GET", "/v1/events?after=nonsense", &[], b"").await;
    assert_eq!(answer.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_add_no_field_to_a_frame() {
    let world = World::with_seats().await;
    let mut body = world.checkout(1, "cad");
    body["holder"] = json!({ "user": "=cmd|' /C calc'!A0", "project": "</script><b>\\n\\nevent: evil", "process": "a\"b\\" });
    let (_, granted) = world.post("/v1/leases", &body).await;
    assert_eq!(granted["outcome"], "granted", "{granted}");
    let mut client = unix(&world).await;
    open(&mut client, &format!("/v1/events?after={}", beginning(&world).await), "").await;
    loop {
        let frame = String::from_utf8(client.read_until(b"\n\n").await.unwrap()).unwrap();
        assert!(!frame.lines().any(|line| line == "event: evil"));
        if frame.contains("event: granted") {
            assert_eq!(frame.lines().filter(|line| line.starts_with("data: ")).count(), 1);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_has_few_streams_and_the_administrator_has_places_of_his_own() {
    let world = World::limited(|limits| {
        limits.event_streams = Share { network: 3, all: 3 };
        limits.event_streams_viewers = 2;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = world.connect().await;
        assert_eq!(open(&mut client, "/v1/events", "").await, 200);
        held.push(client);
    }
    let mut refused = world.connect().await;
    let answer = refused.send("GET", "/v1/events", &[], b"").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("5")));
    assert!(answer.json()["detail"].as_str().unwrap().contains("network 127.0.0.1 has reached its limit of event streams"));
    let mut ours = Vec::new();
    for _ in 0..2 {
        let mut client = unix(&world).await;
        assert_eq!(open(&mut client, &format!("/v1/events?after={}", beginning(&world).await), "").await, 200);
        ours.push(client);
    }
    world.take(1, "cad").await;
    // A reader that leaves gives its place back at once.
    held.pop();
    let place = async {
        loop {
            let mut client = world.connect().await;
            if open(&mut client, "/v1/events", "").await == 200 {
                return;
            }
        }
    };
    // Sooner than what is sent now and then to a reader that is quiet would find it gone.
    tokio::time::timeout(std::time::Duration::from_millis(EVENT_KEEP_ALIVE_MS / 2), place).await.expect("the place comes back");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_from_the_beginning_in_a_loop_holds_nobody_up() {
    let world = World::with_seats().await;
    for number in 1..=50 {
        world.take(number, "sim").await;
    }
    let after = beginning(&world).await;
    for number in 51..=80 {
        let mut reader = unix(&world).await;
        assert_eq!(open(&mut reader, &format!("/v1/events?after={after}"), "").await, 200);
        assert_eq!(events(&mut reader, 50).await.len(), 50);
        world.take(number, "sim").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wide_entry_comes_in_small_pieces() {
    let world = World::start().await;
    world.install(&world.license("MANY", "many", 300)).await;
    for number in 1..=300 {
        world.take(number, "many").await;
    }
    let (_, id) = world.get("/v1/server/id").await;
    let after = format!("{}.{}.{}", id["position"]["lineage"].as_str().unwrap(), id["position"]["epoch"], id["position"]["index"]);
    // Of each of 300 leases one entry says that it ends.
    let (status, answer) = world.admin("DELETE", "/v1/licenses/MANY", &json!({ "reason": "returned" })).await;
    assert_eq!((status, answer["ending"].as_u64()), (200, Some(300)), "{answer}");
    let mut reader = unix(&world).await;
    assert_eq!(open(&mut reader, &format!("/v1/events?after={after}"), "").await, 200);
    let (mut told, mut largest, mut all) = (0, 0, 0);
    while told < 300 {
        // Chunks (RFC 9112, section 7.1) are the pieces as they were handed over.
        let line = reader.read_until(b"\r\n").await.expect("the stream goes on");
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        while reader.buffer.len() < size + 2 {
            assert!(reader.stream.read_buf(&mut reader.buffer).await.unwrap() > 0);
        }
        let piece: Vec<u8> = reader.buffer.drain(..size + 2).collect();
        told += String::from_utf8(piece).unwrap().matches("event: ending").count();
        (largest, all) = (largest.max(size), all + size);
    }
    assert!(all > EVENT_PIECE_BYTES + 8_192, "{all} bytes show nothing");
    assert!(largest <= EVENT_PIECE_BYTES + 4_096, "{largest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn which_license_an_event_is_about_is_for_viewers() {
    let world = World::with_seats().await;
    let mut anonymous = world.connect().await;
    assert_eq!(open(&mut anonymous, "/v1/events", "").await, 200);
    let mut viewer = unix(&world).await;
    assert_eq!(open(&mut viewer, "/v1/events", "").await, 200);
    let installed = world.install(&world.license("SECRET-7", "cam", 5)).await;
    let (status, answer) = world.admin("DELETE", "/v1/licenses/SECRET-7", &json!({ "reason": "returned" })).await;
    assert_eq!(status, 200, "{answer} {installed}");
    let mut kinds = Vec::new();
    while !kinds.contains(&"license_removed".to_owned()) {
        let (theirs, ours) = (events(&mut anonymous, 1).await.remove(0).1, events(&mut viewer, 1).await.remove(0).1);
        let kind = ours["kind"].as_str().unwrap().to_owned();
        assert_eq!(theirs["kind"], ours["kind"]);
        if kind.starts_with("license_") {
            assert_eq!(ours["license"], "SECRET-7", "{ours}");
            for member in ["license", "hash", "vendor", "pools", "left_out", "actor"] {
                assert_eq!(theirs.get(member), None, "{theirs}");
            }
        }
        assert!(!theirs.to_string().contains("SECRET-7"), "{theirs}");
        kinds.push(kind);
    }
}
