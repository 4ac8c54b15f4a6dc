//! Presence: a dead process's FIN frees its seats at once; a broken network frees nothing.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::world::{Client, World, secret};

type Connection = Client<TlsStream<TcpStream>>;

async fn stand_for(world: &World, leases: &[u64], generation: u64) -> Connection {
    let mut client = world.connect().await;
    let body =
        json!({ "leases": leases.iter().map(|number| json!({ "secret": secret(*number) })).collect::<Vec<_>>(), "generation": generation });
    let answer = client.json("POST", "/v1/presence", &body).await;
    assert_eq!((answer.status, answer.json()["live"].as_u64()), (200, Some(leases.len() as u64)), "{:?}", answer.json());
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
    let body = json!({ "leases": [{ "secret": secret(1) }], "generation": 1 }).to_string();
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
        die(stand_for(&world, &[1], generation).await);
    }
    assert_eq!(used(&world).await, 1);
    die(first);
    world.until("sim", "used", 0).await;
}
