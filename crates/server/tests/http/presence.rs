//! Presence: a dead process's FIN frees its seats at once; a broken network frees nothing.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use triquest_server::shares::Share;

use crate::world::{Client, World, secret};

type Connection = Client<TlsStream<TcpStream>>;

/// Opens a presence connection and says nothing more.
async fn open(world: &World, leases: &[u64], generation: u64) -> Connection {
    let client = world.connect().await;
    let socket = client.stream.get_ref().0;
    let ends = (socket.local_addr().unwrap().to_string(), socket.peer_addr().unwrap().to_string());
    open_as(client, leases, generation, (&ends.0, &ends.1)).await.0
}

/// The same with other ends than those that the client sees. Also what the server says that its end does.
async fn open_as(mut client: Connection, leases: &[u64], generation: u64, ends: (&str, &str)) -> (Connection, String) {
    let secrets = leases.iter().map(|number| json!({ "secret": secret(*number) })).collect::<Vec<_>>();
    let body = json!({ "leases": secrets, "generation": generation, "client": ends.0, "server": ends.1 });
    let answer = client.json("POST", "/v1/presence", &body).await;
    assert_eq!((answer.status, answer.json()["live"].as_u64()), (200, Some(leases.len() as u64)), "{:?}", answer.json());
    let frees = answer.json()["frees"].as_str().unwrap().to_owned();
    (client, frees)
}

/// Says on another connection that this generation stands.
async fn confirm(world: &World, leases: &[u64], generation: u64) {
    for number in leases {
        let mut body = crate::world::renewal(*number, generation);
        body["presence"] = generation.into();
        let (status, answer) = world.post(&format!("/v1/leases/{}/renew", crate::world::lease(*number)), &body).await;
        assert_eq!((status, answer["outcome"].as_str()), (200, Some("renewed")), "{answer}");
    }
}

async fn stand_for(world: &World, leases: &[u64], generation: u64) -> Connection {
    let client = open(world, leases, generation).await;
    confirm(world, leases, generation).await;
    client
}

async fn used(world: &World) -> Value {
    world.get("/v1/status?feature=sim").await.1["pools"][0]["used"].clone()
}

/// Ends as a killed process does: the kernel closes the socket, TLS says nothing.
fn die(client: Connection) {
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_dead_process_frees_its_seats_at_once() {
    let world = World::with_seats().await;
    for number in 1..=3 {
        world.take(number, "sim").await;
    }
    let client = stand_for(&world, &[1, 2], 1).await;
    assert_eq!(used(&world).await, 3);
    die(client);
    world.until("sim", "used", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_client_came_back_after_its_end_is_shown_to_viewers_until_an_administrator_allows_it() {
    let world = World::with_seats().await;
    world.take(1, "sim").await;
    die(stand_for(&world, &[1], 1).await);
    world.until("sim", "used", 0).await;
    let (status, answer) = world.post(&format!("/v1/leases/{}/renew", crate::world::lease(1)), &crate::world::renewal(1, 2)).await;
    assert_eq!((status, answer["outcome"].as_str()), (200, Some("ended")), "{answer}");
    let (_, shown) = world.admin("GET", "/v1/status", &json!(null)).await;
    assert_eq!(shown["presence_off"][0]["network"], "127.0.0.1", "{shown}");
    assert!((1..=86_400_000).contains(&shown["presence_off"][0]["remaining_ms"].as_u64().unwrap()), "{shown}");
    assert_eq!(world.get("/v1/status").await.1.get("presence_off"), None, "others see no networks");
    let allow = json!({ "network": "127.0.0.1", "reason": "it was repaired" });
    let (status, answer) = world.admin("POST", "/v1/presence/allow", &allow).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(world.admin("GET", "/v1/status", &json!(null)).await.1.get("presence_off"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_frees_nothing() {
    let world = World::with_seats().await;
    world.take(1, "sim").await;
    world.take(2, "sim").await;
    let broken = stand_for(&world, &[1], 1).await;
    let orderly = stand_for(&world, &[2], 1).await;
    // Zero linger: closing sends RST, as an injected or a middlebox's one would come.
    rustix::net::sockopt::set_socket_linger(broken.stream.get_ref().0, Some(Duration::ZERO)).unwrap();
    die(broken);
    die(orderly);
    world.until("sim", "used", 1).await;
    let (_, own) = world.post(&format!("/v1/leases/{}/inspect", crate::world::lease(1)), &json!({ "secret": secret(1) })).await;
    assert_eq!(own["leases"][0]["state"], "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_generation_frees_seats() {
    let world = World::with_seats().await;
    world.take(1, "sim").await;
    world.take(2, "sim").await;
    let old = stand_for(&world, &[1], 1).await;
    let new = stand_for(&world, &[1], 2).await;
    die(old);
    // A mark that what came before it has been handled: connections end in the order in which they are closed.
    let mark = stand_for(&world, &[2], 1).await;
    die(mark);
    world.until("sim", "used", 1).await;
    assert_eq!(used(&world).await, 1);
    die(new);
    world.until("sim", "used", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_the_client_did_not_confirm_frees_nothing() {
    let world = World::with_seats().await;
    world.take(1, "sim").await;
    world.take(2, "sim").await;
    // It gave the opening up, whatever the server answered: its end is no death.
    die(open(&world, &[1], 1).await);
    die(stand_for(&world, &[2], 1).await);
    world.until("sim", "used", 1).await;
    let (_, own) = world.post(&format!("/v1/leases/{}/inspect", crate::world::lease(1)), &json!({ "secret": secret(1) })).await;
    assert_eq!(own["leases"][0]["state"], "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_two_ends_see_other_addresses_no_end_frees_seats() {
    let world = World::with_seats().await;
    for number in 1..=3 {
        world.take(number, "sim").await;
    }
    let here = world.address().to_string();
    for (number, ends) in [(1, ("10.0.0.7:40112", here.as_str())), (2, ("", "10.0.0.1:1588"))] {
        let client = world.connect().await;
        let own = client.stream.get_ref().0.local_addr().unwrap().to_string();
        let ends = if ends.0.is_empty() { (own.as_str(), ends.1) } else { ends };
        let (client, frees) = open_as(client, &[number], 1, ends).await;
        assert_eq!(frees, "never", "{ends:?}");
        confirm(&world, &[number], 1).await;
        die(client);
    }
    die(stand_for(&world, &[3], 1).await);
    world.until("sim", "used", 2).await;
    for number in [1, 2] {
        confirm(&world, &[number], 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_one_answer_the_server_says_nothing_on_a_presence_connection() {
    let world = World::with_seats().await;
    world.take(1, "sim").await;
    let client = stand_for(&world, &[1], 1).await;
    world.post(&format!("/v1/leases/{}/release", crate::world::lease(1)), &json!({ "secret": secret(1) })).await;
    // Nothing is left to be read, of TLS neither: unread bytes would turn a dying process's end into a reset.
    let nothing = client.stream.get_ref().0.try_read(&mut [0; 1]);
    assert_eq!(nothing.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert!(client.buffer.is_empty());
    die(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_the_server_frees_nothing() {
    let mut world = World::with_seats().await;
    world.take(1, "sim").await;
    let client = stand_for(&world, &[1], 1).await;
    world.running.take().unwrap().shutdown().await.unwrap();
    die(client);
    world.running = Some(world.run(|_| {}).await.unwrap());
    assert_eq!(used(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_no_end_frees_seats() {
    let world = World::start_with(|config| config.vouch_for = vec![triquest_server::config::KeyHash([1; 32])]).await;
    world.install(&world.license("A-2", "sim", 10)).await;
    world.take(1, "sim").await;
    die(stand_for(&world, &[1], 1).await);
    world.take(2, "sim").await;
    assert_eq!(used(&world).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_needs_http_1_and_a_connection_of_its_own() {
    let world = World::with_seats().await;
    world.take(1, "sim").await;
    let body =
        json!({ "leases": [{ "secret": secret(1) }], "generation": 1, "client": "127.0.0.1:1", "server": "127.0.0.1:2" }).to_string();
    let url = format!("https://127.0.0.1:{}/v1/presence", world.address().port());
    let output = tokio::task::block_in_place(|| {
        Command::new("curl")
            .args(["-sk", "--http2", "-H", "Content-Type: application/json", "-d", &body, "-w", " %{http_code}", &url])
            .output()
            .unwrap()
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.ends_with(" 400") && text.contains("HTTP/1.1"), "{text}");
    let mut client = stand_for(&world, &[1], 1).await;
    let answer = client.send("GET", "/v1/status", &[], b"").await;
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_churn_leaves_nothing_behind() {
    let world = World::with_seats().await;
    world.take(1, "sim").await;
    let first = stand_for(&world, &[1], 1_000).await;
    for generation in 1..=100 {
        die(open(&world, &[1], generation).await);
    }
    assert_eq!(used(&world).await, 1);
    die(first);
    world.until("sim", "used", 0).await;
}

/// Opens a presence connection, and what its answer calls it.
async fn open_named(world: &World, leases: &[u64], generation: u64) -> (Connection, Value) {
    let mut client = world.connect().await;
    let socket = client.stream.get_ref().0;
    let ends = (socket.local_addr().unwrap().to_string(), socket.peer_addr().unwrap().to_string());
    let body = json!({ "leases": secrets(leases), "generation": generation, "client": ends.0, "server": ends.1 });
    let answer = client.json("POST", "/v1/presence", &body).await.json();
    let name = answer["connection"].clone();
    assert_ne!(name, Value::Null, "{answer}");
    (client, name)
}

fn opening(leases: &[u64], generation: u64) -> Value {
    json!({ "leases": secrets(leases), "generation": generation, "client": "127.0.0.1:1", "server": "127.0.0.1:2" })
}

fn secrets(leases: &[u64]) -> Vec<Value> {
    leases.iter().map(|number| json!({ "secret": secret(*number) })).collect()
}

async fn change(world: &World, name: &Value, generation: u64, add: &[u64], drop: &[u64]) -> (u16, Value) {
    let body = json!({ "connection": name, "generation": generation, "add": secrets(add), "drop": secrets(drop) });
    world.post("/v1/presence/change", &body).await
}

async fn is_live(world: &World, number: u64) -> bool {
    let path = format!("/v1/leases/{}/inspect", crate::world::lease(number));
    world.post(&path, &json!({ "secret": secret(number) })).await.1["leases"][0]["state"] == "live"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presence_connection_stands_for_what_was_added_and_not_for_what_was_dropped() {
    let world = World::with_seats().await;
    for number in 1..=4 {
        world.take(number, "sim").await;
    }
    let (client, name) = open_named(&world, &[1, 2], 1).await;
    confirm(&world, &[1, 2], 1).await;
    let (status, answer) = change(&world, &name, 1, &[3, 4, 9], &[1]).await;
    assert_eq!((status, &answer["live"]), (200, &json!(2)), "{answer}");
    // 3 says so itself; 4 never does, and 1 is dropped whatever it says.
    confirm(&world, &[3], 1).await;
    let mut late = crate::world::renewal(1, 2);
    late["presence"] = 1.into();
    world.post(&format!("/v1/leases/{}/renew", crate::world::lease(1)), &late).await;
    assert_eq!(change(&world, &name, 1, &[3, 4], &[1]).await.0, 200, "repeating it does nothing more");
    die(client);
    world.until("sim", "used", 2).await;
    assert!(is_live(&world, 1).await && is_live(&world, 4).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_connection_that_stands_is_changed_and_only_by_who_knows_its_name() {
    let world = World::with_seats().await;
    for number in 1..=2 {
        world.take(number, "sim").await;
    }
    let (client, name) = open_named(&world, &[1], 1).await;
    confirm(&world, &[1], 1).await;
    for (name, generation) in [(&json!("A".repeat(22)), 1), (&name, 2)] {
        let (status, answer) = change(&world, name, generation, &[2], &[]).await;
        assert_eq!((status, &answer["code"], &answer["retry"]), (404, &json!("unknown_connection"), &json!("new_request")), "{answer}");
    }
    assert_eq!(change(&world, &name, 1, &[2], &[2]).await.0, 400);
    let many: Vec<u64> = (1..=1_001).collect();
    assert_eq!(change(&world, &name, 1, &many, &[]).await.1["code"], "limit_reached");
    die(client);
    world.until("sim", "used", 1).await;
    assert_eq!(change(&world, &name, 1, &[2], &[]).await.1["code"], "unknown_connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_stands_for_a_thousand_leases_at_once_and_any_number_one_after_the_other() {
    let world = World::start().await;
    world.install(&world.license("A-1", "sim", 2_000)).await;
    for number in 1..=1_002 {
        world.take(number, "sim").await;
    }
    let (client, name) = open_named(&world, &(1..=1_000).collect::<Vec<_>>(), 1).await;
    assert_eq!(change(&world, &name, 1, &[1_001], &[]).await.1["code"], "limit_reached");
    assert_eq!(change(&world, &name, 1, &[1_001], &[1]).await.0, 200);
    assert_eq!(change(&world, &name, 1, &[1_002], &[]).await.1["code"], "limit_reached");
    confirm(&world, &[1_001, 2], 1).await;
    die(client);
    world.until("sim", "used", 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_named_network_an_end_frees_half_a_minute_later_unless_the_client_is_heard() {
    let mut world = World::start_with(|config| config.presence_networks = vec!["127.0.0.0/8".parse().unwrap()]).await;
    world.install(&world.license("A-2", "sim", 10)).await;
    for number in 1..=3 {
        world.take(number, "sim").await;
    }
    // Whatever the addresses say.
    let here = world.address().to_string();
    let mut client = world.connect().await;
    let body = json!({ "leases": secrets(&[1, 2]), "generation": 1, "client": "10.0.0.7:40112", "server": here });
    let answer = client.json("POST", "/v1/presence", &body).await.json();
    assert_eq!(answer["frees"], "after_wait", "{answer}");
    confirm(&world, &[1, 2], 1).await;
    die(client);
    let seen = async { while change(&world, &answer["connection"], 1, &[], &[]).await.0 == 200 {} };
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("its end is seen");
    // A pass counts two seconds at most.
    for number in 0..14 {
        world.clock.advance_ms(2_000);
        renewed(&world, 3, 10 + number).await;
    }
    assert_eq!(used(&world).await, 3);
    renewed(&world, 2, 2).await;
    let passes = async {
        let mut number = 30;
        while used(&world).await == 3 {
            world.clock.advance_ms(500);
            number += 1;
            renewed(&world, 3, number).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), passes).await.expect("it is freed");
    assert!(!is_live(&world, 1).await && is_live(&world, 2).await);
    for number in 100..130 {
        world.clock.advance_ms(2_000);
        renewed(&world, 3, number).await;
    }
    assert_eq!(used(&world).await, 2, "who was heard keeps its seat");
    let status = world.get("/v1/status").await.1;
    assert_eq!(status["freed_early"]["leases"], 1, "{status}");
    assert!(status["freed_early"]["remaining_ms"].as_u64().unwrap() > 100_000, "{status}");
    world.running.take().unwrap().shutdown().await.unwrap();
    world.running = Some(world.run(|_| {}).await.unwrap());
    let again = world.get("/v1/status").await.1;
    assert_eq!(again["freed_early"]["leases"], 1, "a start forgets nothing of it: {again}");
    // Lease time goes on from the last entry.
    let left = |status: &Value| status["freed_early"]["remaining_ms"].as_u64().unwrap();
    assert!(left(&again) >= left(&status), "{again}");
    assert_eq!(status.get("translated"), None);
}

/// A server for a named network, with ten seats of `sim`; lease 1 has a presence connection, whose end is seen before this returns. Then `meanwhile` happens, and
/// 40 s pass.
async fn after_an_end_in_a_named_network<T>(
    limit: impl FnOnce(&mut triquest_server::limits::Limits),
    meanwhile: impl AsyncFnOnce(&World) -> T,
) -> (World, T) {
    let world = World::start_as(|config| config.presence_networks = vec!["127.0.0.0/8".parse().unwrap()], limit).await;
    world.install(&world.license("A-2", "sim", 10)).await;
    for number in 1..=3 {
        world.take(number, "sim").await;
    }
    let (client, name) = open_named(&world, &[1], 1).await;
    confirm(&world, &[1], 1).await;
    die(client);
    let seen = async { while change(&world, &name, 1, &[], &[]).await.0 == 200 {} };
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("its end is seen");
    let kept = meanwhile(&world).await;
    for number in 0..20 {
        world.clock.advance_ms(2_000);
        let body = crate::world::renewal(3, 10 + number);
        let (status, answer) = world.admin("POST", &format!("/v1/leases/{}/renew", crate::world::lease(3)), &body).await;
        assert_eq!(status, 200, "{answer}");
    }
    (world, kept)
}

/// As the administrator sees it, who has places of his own.
async fn used_here(world: &World) -> Value {
    world.admin("GET", "/v1/status?feature=sim", &Value::Null).await.1["pools"][0]["used"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_named_network_an_opening_alone_keeps_the_seats_and_so_does_one_that_is_refused() {
    let (world, _) = after_an_end_in_a_named_network(|_| {}, async |_: &World| {}).await;
    // Its wait begins when its end was told.
    let freed = async {
        let mut counter = 100;
        while used_here(&world).await != 2 {
            world.clock.advance_ms(2_000);
            counter += 1;
            let body = crate::world::renewal(3, counter);
            world.admin("POST", &format!("/v1/leases/{}/renew", crate::world::lease(3)), &body).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), freed).await.expect("nobody came back");
    assert!(!is_live(&world, 1).await);
    let opened = after_an_end_in_a_named_network(|_| {}, async |world: &World| open(world, &[1], 2).await);
    assert_eq!(used_here(&opened.await.0).await, 3);
    let few = |limits: &mut triquest_server::limits::Limits| limits.presence = Share { network: 2, all: 2 };
    let refused = after_an_end_in_a_named_network(few, async |world: &World| {
        // The connection that has ended has a place until its end was told.
        let full = async {
            loop {
                let mut client = world.connect().await;
                if client.json("POST", "/v1/presence", &opening(&[2, 3], 1)).await.status == 200 {
                    return client;
                }
            }
        };
        let full = tokio::time::timeout(Duration::from_secs(60), full).await.expect("its place comes back");
        let (status, answer) = world.post("/v1/presence", &opening(&[1], 2)).await;
        assert_eq!((status, &answer["code"]), (429, &json!("rate_limited")), "{answer}");
        full
    });
    assert_eq!(used_here(&refused.await.0).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_network_that_a_reload_names_no_more_nothing_is_freed_early_whether_its_connection_ended_before_or_ends_after() {
    let (world, _) = after_an_end_in_a_named_network(
        |_| {},
        async |world: &World| {
            let (client, name) = open_named(world, &[2], 1).await;
            confirm(world, &[2], 1).await;
            std::fs::write(world.config_file(), "presence_networks = ['10.0.0.0/8']\n").unwrap();
            let (status, answer) = world.admin("POST", "/v1/reload", &json!({})).await;
            assert_eq!(status, 200, "{answer}");
            assert!(answer["changes"].to_string().contains("presence_networks changed"), "{answer}");
            die(client);
            let seen = async { while change(world, &name, 1, &[], &[]).await.0 == 200 {} };
            tokio::time::timeout(Duration::from_secs(60), seen).await.expect("its end is seen");
        },
    )
    .await;
    // A wait begins when its end was told.
    for counter in 100..120 {
        world.clock.advance_ms(2_000);
        let body = crate::world::renewal(3, counter);
        world.admin("POST", &format!("/v1/leases/{}/renew", crate::world::lease(3)), &body).await;
    }
    assert_eq!(used_here(&world).await, 3);
    assert!(is_live(&world, 1).await && is_live(&world, 2).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_connections_of_a_named_network_are_turned_away_nothing_is_freed_early_there_and_it_is_said() {
    let few = |limits: &mut triquest_server::limits::Limits| limits.connections = Share { network: 6, all: 6 };
    let (world, _kept) = after_an_end_in_a_named_network(few, async |world: &World| {
        let mut kept = Vec::new();
        for _ in 0..8 {
            let mut client = world.connect().await;
            assert_eq!(client.send("GET", "/healthz", &[], b"").await.status, 200);
            kept.push(client);
        }
        kept
    })
    .await;
    assert_eq!(used_here(&world).await, 3);
    let (_, status) = world.admin("GET", "/v1/status", &Value::Null).await;
    let limited = status["limited"].as_array().unwrap();
    assert!(limited.iter().any(|limited| limited["limit"] == "reopenings" && limited["network"] == "127.0.0.1"), "{status}");
}

/// A renewal that says nothing of presence.
async fn renewed(world: &World, number: u64, counter: u64) {
    let (status, answer) =
        world.post(&format!("/v1/leases/{}/renew", crate::world::lease(number)), &crate::world::renewal(number, counter)).await;
    assert_eq!((status, answer["outcome"].as_str()), (200, Some("renewed")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_whose_clients_come_through_a_translation_of_addresses() {
    let world = World::with_seats().await;
    world.take(1, "sim").await;
    let here = world.address().to_string();
    let (_client, frees) = open_as(world.connect().await, &[1], 1, ("10.0.0.7:40112", &here)).await;
    assert_eq!(frees, "never");
    let status = world.get("/v1/status").await.1;
    assert_eq!((&status["translated"][0]["network"], &status["translated"][0]["times"]), (&json!("127.0.0.1"), &json!(1)), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_would_stand_for_no_live_lease_is_refused_and_says_nothing_of_its_network() {
    let world = World::with_seats().await;
    world.take(1, "sim").await;
    let body = json!({ "leases": secrets(&[98, 99]), "generation": 1, "client": "10.0.0.7:40112", "server": "10.0.0.1:1588" });
    let (status, problem) = world.post("/v1/presence", &body).await;
    assert_eq!((status, &problem["code"], &problem["retry"]), (404, &json!("unknown_lease"), &json!("new_request")), "{problem}");
    assert_eq!(world.get("/v1/status").await.1.get("translated"), None);
    // Given back: it lives no more, and a connection for it would stand for nobody.
    world.post(&format!("/v1/leases/{}/release", crate::world::lease(1)), &json!({ "secret": secret(1) })).await;
    let body = json!({ "leases": secrets(&[1]), "generation": 1, "client": "10.0.0.7:40112", "server": "10.0.0.1:1588" });
    assert_eq!(world.post("/v1/presence", &body).await.1["code"], "unknown_lease");
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_connections_end_at_once_no_end_is_lost() {
    const LEASES: u64 = 200;
    let world = World::with_seats().await;
    let all: Vec<u64> = (1..=LEASES).collect();
    for number in &all {
        world.take(*number, "sim").await;
    }
    // Together far more than one network may have waiting for a decision.
    let mut connections = Vec::new();
    for generation in 1..=60 {
        connections.push(open(&world, &all, generation).await);
    }
    confirm(&world, &all, 60).await;
    connections.into_iter().for_each(die);
    world.until("sim", "used", 0).await;
}
