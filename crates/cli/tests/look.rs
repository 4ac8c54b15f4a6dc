//! Looking: who holds what, what happened, is everything in order. With real seats held over the network.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    time::Duration,
};

use serde_json::Value;
use support::{Folder, Server, serving, triquest, until, vendor, wait};
use triquest_client::{Client, wire::lease::HolderClaim};

fn client(server: &Server, key: &str) -> Client {
    Client::builder().servers(server.name()).verifier_keys(key).build().unwrap()
}

fn alice() -> HolderClaim {
    let some = |text: &str| Some(text.to_owned());
    HolderClaim { user: some("alice"), host: some("ws0142"), process: some("8812"), ..HolderClaim::default() }
}

#[test]
fn status_shows_who_holds_what_and_who_waits() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 2);
    let client = client(&server, &key);
    let hostile = HolderClaim {
        user: Some("eve=cmd".to_owned()),
        host: Some("h\"o,st".to_owned()),
        job: Some("=1+1".to_owned()),
        ..HolderClaim::default()
    };
    let first = client.checkout("cad").version("13.1").holder(alice()).take().unwrap();
    let second = client.checkout("cad").holder(hostile).take().unwrap();
    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || {
            client
                .checkout("cad")
                .wait(Duration::from_secs(60))
                .holder(HolderClaim { user: Some("erin".into()), ..HolderClaim::default() })
                .take()
        })
    };
    until("a place in line", || triquest(&folder, ["status"]).run().ok().stdout.contains("queue  erin"));
    let run = triquest(&folder, ["status"]).run().ok();
    let lines: Vec<_> = run.stdout.lines().collect();
    assert!(
        lines[0].contains(", up ") && lines[0].ends_with(&format!("; {}...{}", &server.key()[..9], &server.key()[67..])),
        "{}",
        lines[0]
    );
    assert!(lines[2].starts_with("cad          2     2         0       0     0      1       0  2090-12-31"), "{}", run.stdout);
    let of = |who: &str| lines.iter().find(|line| line.contains(who)).unwrap_or_else(|| panic!("{who} in\n{}", run.stdout));
    assert!(of("alice@ws0142").contains("13.1, pid 8812") && of("alice@ws0142").contains(&first.lease().to_string()[..8]));
    assert!(of("eve").contains(&second.lease().to_string()[..8]));

    let json: Value = serde_json::from_str(&triquest(&folder, ["status", "--json"]).run().ok().stdout).unwrap();
    assert_eq!((json["leases"].as_array().unwrap().len(), &json["status"]["pools"][0]["used"]), (3, &Value::from(2)));
    let csv = triquest(&folder, ["status", "--csv"]).run().ok().stdout;
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(!csv.contains(",=") && !csv.contains(",\"="), "{csv}");

    // Without administration: counts, and nobody's name.
    let far = triquest(&folder, ["status", "--server", &server.name(), "--verifier-key", &key]).run().ok().stdout;
    assert!(far.contains("cad          2     2") && !far.contains("alice"), "{far}");
    assert_eq!(triquest(&folder, ["status", "--server", &server.name()]).run().code, 2);

    // An administrator takes a seat back at once; the waiter gets it.
    let run = triquest(&folder, ["reclaim", &first.lease().to_string()[..8], "--reason", "gone home", "--now"]).run().ok();
    assert!(run.stderr.contains("from alice@ws0142: 1 seat of cad, free now"), "{}", run.stderr);
    let third = waiting.join().unwrap().unwrap();
    let run = triquest(&folder, ["reclaim", &second.lease().to_string(), "--reason", "gone home"]).run().ok();
    assert!(run.stderr.contains("free when it is given back, in "), "{}", run.stderr);
    let events = triquest(&folder, ["events"]).run().ok().stdout;
    for part in ["license_installed", "granted", "queued", "actor.reason=\"gone home\"", "holder.user=alice", "ending"] {
        assert!(events.contains(part), "{part} in\n{events}");
    }
    drop(third);
}

#[test]
fn events_are_read_to_now_resumed_by_cursor_and_followed() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let client = client(&server, &key);
    let past: Vec<Value> =
        triquest(&folder, ["events", "--json"]).run().ok().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(past.iter().any(|event| event["kind"] == "license_installed"));
    let last = past.last().unwrap()["cursor"].as_str().unwrap().to_owned();
    assert_eq!(triquest(&folder, ["events", "--json", "--after", &last]).run().ok().stdout, "", "nothing after the last");

    let mut follower = triquest(&folder, ["events", "--follow", "--after", &last]).start();
    let seat = client.checkout("cad").holder(alice()).take().unwrap();
    let lease = seat.lease().to_string();
    seat.release(Duration::from_secs(20)).unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines().map_while(Result::ok);
    let seen: Vec<String> = lines.filter(|line| line.contains(&lease)).take(2).collect();
    assert!(seen[0].contains("  granted ") && seen[0].contains("holder.user=alice"), "{seen:?}");
    assert!(seen[1].contains("  released "), "{seen:?}");
    let after = triquest(&folder, ["events", "--json", "--after", &last]).run().ok().stdout;
    assert_eq!(after.lines().filter(|line| line.contains(&lease)).count(), 2, "{after}");
    assert_eq!(server.stop(), Some(0));
    assert_eq!(wait(&mut follower), Some(75), "the stream ended");
    assert_eq!(triquest(&folder, ["events"]).run().code, 75);
    let run = triquest(&folder, ["events", "--after", "nonsense"]).run();
    assert!(run.code == 2 && run.stderr.contains("--after") && run.stderr.contains("\"cursor\""), "{}", run.stderr);
}

#[test]
fn doctor_looks_in_order_and_checks_nothing_out() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    let doctor = |arguments: &[&str]| triquest(&folder, ["doctor"].iter().chain(arguments)).run();
    let mut run = doctor(&[&server.name(), "--feature", "cad", "--verifier-key", &key]);
    // What it heard over UDP.
    let silent = format!(", UDP {} is silent\n", server.port());
    assert!(run.stdout.contains(", same key over UDP, one history\n") || run.stdout.contains(&silent), "{}", run.stdout);
    run.stdout = run.stdout.replace(", same key over UDP, one history\n", "\n").replace(&silent, "\n");
    run.expect(
        0,
        "ok    server   [PORT]@127.0.0.1, as given\n\
         ok    port     127.0.0.1:[PORT] open in [TIME]\n\
         ok    proxy    none set\n\
         ok    tls      1.3, 127.0.0.1:[PORT], the key behind it vouched for by [KEY]\n\
         ok    trust    acme.example -> ACME-1 -> [KEY]\n\
         ok    clock    as the server's\n\
         ok    license  ACME-1 of `cad` ends [DATE] ([TIME])\n\
         ok    seats    1 of 1 free for `cad`\n\
         all in order; nothing was checked out\n",
        "",
    );
    let seat = client(&server, &key).checkout("cad").take().unwrap();
    let run = doctor(&[&server.name(), "--feature", "cad", "--verifier-key", &key]);
    assert!(
        run.code == 1
            && run.stdout.ends_with(
                "\nfail  seats    0 of 1 free for `cad`; who holds them: triquest-lm status cad\n1 failure; nothing was checked out\n"
            ),
        "{}",
        run.stdout
    );
    drop(seat);
    let run = doctor(&[&server.name()]);
    assert!(run.code == 0 && run.stdout.contains("\nwarn  trust    a TriQuest LM server; whether it serves your vendor"), "{}", run.stdout);
    let stranger = vendor(&Folder::new());
    let run = doctor(&[&server.name(), "--verifier-key", &stranger]);
    assert!(run.code == 1 && run.stdout.contains("\nfail  trust    this server (tqs1:"), "{}", run.stdout);
    let run = doctor(&[&server.name(), "--feature", "cae", "--verifier-key", &key]);
    assert!(run.code == 1 && run.stdout.contains("fail  license  the server has no license of `cae` of this vendor"), "{}", run.stdout);
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let run = doctor(&[&format!("{port}@127.0.0.1"), "--verifier-key", &key]);
    assert!(run.code == 1 && run.stdout.contains("refused: nothing listens there\n1 failure"), "{}", run.stdout);
    // No label of a name is so long, so no name server is asked.
    let nowhere = format!("1588@{}.invalid", "x".repeat(64));
    let run = doctor(&[&nowhere]);
    assert!(
        run.code == 1 && run.stdout.starts_with(&format!("fail  server   {nowhere}, as given: the name is not known here")),
        "{}",
        run.stdout
    );
    assert_eq!(doctor(&["not a server@"]).code, 2);
    // What listens there is something else.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("{}@127.0.0.1", other.local_addr().unwrap().port());
    let answering = std::thread::spawn(move || {
        for connection in other.incoming().take(2) {
            use std::io::Write;
            let _ = connection.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let run = doctor(&[&name, "--verifier-key", &key]);
    assert!(run.code == 1 && run.stdout.contains("\nfail  tls      "), "{}", run.stdout);
    answering.join().unwrap();
}

#[test]
fn looking_again_without_a_pause_is_refused() {
    let run = triquest(&Folder::new(), ["status", "--watch=0"]).run();
    assert!(run.code == 2 && run.stderr.contains("--watch"), "{}", run.stderr);
}

#[test]
fn who_may_not_administer_is_told_who_may() {
    let folder = Folder::new();
    let (_server, _) = serving(&folder, 1);
    let binary = env!("CARGO_BIN_EXE_triquest-lm");
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", binary, "status", "--data"])
        .arg(folder.path().join("data"))
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: there is no `setpriv` here");
        return;
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(77) && !stderr.contains("error: ") {
        eprintln!("skipped: another user needs root: {stderr}");
        return;
    }
    assert_eq!(output.status.code(), Some(77), "{stderr}");
    assert!(
        stderr.contains("you may not administer the server on ") && stderr.contains("  may  root, the user that the server runs as"),
        "{stderr}"
    );
}
