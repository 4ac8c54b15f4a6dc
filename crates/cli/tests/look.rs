//! Looking: who holds what, what happened, is everything in order. With real seats held over the network.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    time::Duration,
};

use serde_json::Value;
use support::{Folder, Server, serving, sign, triquest, until, vendor, wait};
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
fn events_say_which_license_was_installed_and_removed() {
    let folder = Folder::new();
    let (_server, _) = serving(&folder, 1);
    let list: Value = serde_json::from_str(&triquest(&folder, ["license", "list", "--json"]).run().ok().stdout).unwrap();
    let hash = list["licenses"][0]["hash"].as_str().unwrap().to_owned();
    let shown: Value = serde_json::from_str(&triquest(&folder, ["license", "show", "ACME-1.lic", "--json"]).run().ok().stdout).unwrap();
    assert_eq!(shown["hash"], hash.as_str(), "one spelling everywhere");
    // What begins with a hyphen is an id like any other, not an option.
    let run = triquest(&folder, ["license", "remove", "-Zm9vYmFy", "--reason", "a trial"]).run();
    assert!(run.code == 1 && run.stderr.contains("no license `-Zm9vYmFy` is installed"), "{}", run.stderr);
    triquest(&folder, ["license", "remove", &hash[..10], "--reason", "a trial"]).run().ok();
    let events = triquest(&folder, ["events"]).run().ok().stdout;
    for kind in ["license_installed", "license_removed"] {
        let line = events.lines().find(|line| line.contains(kind)).unwrap_or_else(|| panic!("{kind} in\n{events}"));
        assert!(line.contains("license=ACME-1") && line.contains("vendor=acme.example") && line.contains(" UTC  "), "{line}");
    }
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
    let why = "\nfail  trust    the server has licenses of acme.example, but none that your key +";
    assert!(run.code == 1 && run.stdout.contains(why), "{}", run.stdout);
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
fn a_license_that_waits_for_its_day_is_seen_in_status_and_in_the_denial() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    sign(&folder, "ACME-2", server.key(), "[[entitlement]]\nfeature = \"fut\"\nseats = 1\nstarts = 2080-01-01\n");
    triquest(&folder, ["license", "install", "ACME-2.lic"]).run().ok();
    let status = triquest(&folder, ["status"]).run().ok().stdout;
    assert!(status.lines().any(|line| line.starts_with("fut ") && line.ends_with("  begins 2080-01-01")), "{status}");
    let denied = client(&server, &key).checkout("fut").take().err().unwrap();
    assert!(denied.to_string().contains("the license for `fut` begins on 2080-01-01"), "{denied}");
}

#[test]
fn of_several_licenses_each_is_tried_and_told() {
    let folder = Folder::new();
    let (server, _) = serving(&folder, 1);
    sign(&folder, "ACME-2", server.key(), "[[entitlement]]\nfeature = \"sim\"\nseats = 1\n");
    sign(&folder, "ACME-3", server.key(), "[[entitlement]]\nfeature = \"cae\"\nseats = 1\n");
    sign(&folder, "ACME-4", &format!("tqs1:{}", "7".repeat(64)), "[[entitlement]]\nfeature = \"cae\"\nseats = 1\n");
    std::fs::write(folder.path().join("bad.lic"), "nonsense").unwrap();
    let run = triquest(&folder, ["license", "install", "ACME-2.lic", "bad.lic", "ACME-4.lic", "nowhere.lic", "ACME-3.lic"]).run();
    assert_eq!(run.code, 1, "{}", run.stderr);
    for part in [
        "Installed ACME-2",
        "  in  bad.lic",
        "license ACME-4 is for another server",
        "  in  ACME-4.lic",
        "cannot read nowhere.lic",
        "Installed ACME-3",
        "3 of 5 licenses were not installed",
    ] {
        assert!(run.stderr.contains(part), "{part} in\n{}", run.stderr);
    }
}

#[test]
fn status_leaves_out_what_is_left_of_licenses_that_are_gone() {
    let folder = Folder::new();
    let (_server, _) = serving(&folder, 1);
    triquest(&folder, ["license", "remove", "ACME-1", "--reason", "a trial"]).run().ok();
    let table = triquest(&folder, ["status"]).run().ok().stdout;
    assert!(!table.contains("cad") && table.contains("no license is in force"), "{table}");
    assert!(triquest(&folder, ["status", "cad"]).run().ok().stdout.contains("cad "), "what is asked for is shown");
    let json: Value = serde_json::from_str(&triquest(&folder, ["status", "--json"]).run().ok().stdout).unwrap();
    assert_eq!(json["status"]["pools"][0]["feature"], "cad");
}

#[test]
fn watching_clears_the_screen_and_leaves_what_was_scrolled_away() {
    use std::io::Read;
    let folder = Folder::new();
    let (_server, _) = serving(&folder, 1);
    let command = format!("'{}' status --watch=1", env!("CARGO_BIN_EXE_triquest-lm"));
    let data = folder.path().join("data");
    let environment = [("TRIQUEST_LM_DATA", data.to_str().unwrap()), ("TERM", "xterm")];
    let Ok(mut terminal) = folder.start("script", &["-qec", &command, "/dev/null"], &environment) else {
        eprintln!("skipped: there is no `script` here");
        return;
    };
    let (mut seen, mut stdout, mut piece) = (Vec::new(), terminal.stdout.take().unwrap(), [0; 4096]);
    let text = loop {
        let read = stdout.read(&mut piece).unwrap();
        seen.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&seen).into_owned();
        assert!(read > 0, "it ended: {text:?}");
        if text.matches("\x1b[H").count() == 2 {
            break text;
        }
    };
    assert!(text.contains("\x1b[2J") && text.contains("cad ") && !text.contains("\x1b[3J"), "{text:?}");
}

/// Passes the first connection that says something on to one server, every later one to another.
fn between(first: u16, later: u16) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut to = first;
        for near in listener.incoming().flatten() {
            if !matches!(near.peek(&mut [0]), Ok(1..)) {
                continue;
            }
            let Ok(far) = std::net::TcpStream::connect(("127.0.0.1", std::mem::replace(&mut to, later))) else { return };
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    port
}

#[test]
fn doctor_notices_who_passes_one_connection_on_and_answers_the_next_himself() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 2);
    let stranger = Folder::new();
    let other = Server::start(&stranger);
    let name = format!("{}@127.0.0.1", between(server.port(), other.port()));
    let run = triquest(&folder, ["doctor", &name, "--verifier-key", &key]).run();
    let trust = run.stdout.lines().find(|line| line.contains(" trust ")).unwrap_or_default();
    assert!(run.code == 1 && trust.starts_with("fail") && trust.contains("a second connection"), "{}", run.stdout);
    assert!(!folder.path().join(".local/share/triquest-lm/known_servers").exists(), "nothing is pinned");
}

#[test]
fn doctor_judges_only_seats_of_the_vendor_whose_keys_were_given() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 2);
    // Another vendor's license for the same feature, and one for a feature that ours never had, both removed again.
    let other = Folder::new();
    triquest(&other, ["vendor", "init", "other.example", "--key", "v.key"]).run().ok();
    let text = "[[entitlement]]\nfeature = \"cad\"\nseats = 5\n[[entitlement]]\nfeature = \"cae\"\nseats = 5\n";
    sign(&other, "OTHER-1", server.key(), text);
    let license = other.path().join("OTHER-1.lic");
    triquest(&folder, ["license", "install", license.to_str().unwrap()]).run().ok();
    let seats = |arguments: &[&str]| {
        let name = server.name();
        let run = triquest(&folder, ["doctor", &name, "--verifier-key", &key].iter().chain(arguments)).run();
        let lines: Vec<_> = run.stdout.lines().filter(|line| line.contains(" seats  ")).map(str::to_owned).collect();
        (run.code, lines)
    };
    let ours = (0, vec!["ok    seats    2 of 2 free for `cad`".to_owned()]);
    assert_eq!(seats(&["-f", "cad"]), ours, "while the other's license is in force");
    triquest(&folder, ["license", "remove", "OTHER-1", "--reason", "a trial"]).run().ok();
    assert_eq!(seats(&["-f", "cad"]), ours);
    assert_eq!(seats(&[]), ours);

    // Our own license that is gone leaves no pool to warn of, unless it is the one that is asked for.
    sign(&folder, "ACME-2", server.key(), "[[entitlement]]\nfeature = \"sim\"\nseats = 1\n");
    triquest(&folder, ["license", "install", "ACME-2.lic"]).run().ok();
    triquest(&folder, ["license", "remove", "ACME-2", "--reason", "a trial"]).run().ok();
    assert_eq!(seats(&[]), ours);
    assert_eq!(seats(&["-f", "sim"]), (1, vec!["fail  seats    no license for `sim` of this vendor is in force".to_owned()]));
}

#[test]
fn doctor_warns_of_every_right_that_ends_soon_and_not_of_the_last_one() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 2);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 20);
    let soon = soon.strftime("%Y-%m-%d").to_string();
    let entitlement = |feature: &str, expires: &str| format!("[[entitlement]]\nfeature = \"{feature}\"\nseats = 1\nexpires = {expires}\n");
    let text = entitlement("cad", &soon) + &entitlement("cae", &soon) + &entitlement("sim", "2090-12-31");
    sign(&folder, "ACME-2", server.key(), &text);
    triquest(&folder, ["license", "install", "ACME-2.lic"]).run().ok();
    let licenses = |arguments: &[&str]| {
        let name = server.name();
        let run = triquest(&folder, ["doctor", &name, "--verifier-key", &key].iter().chain(arguments)).run().ok();
        let of = |line: &str| line.contains(" license  ").then(|| line.split(" (").next().unwrap().to_owned());
        run.stdout.lines().filter_map(of).collect::<Vec<_>>()
    };
    let warning = |feature: &str| format!("warn  license  ACME-2 of `{feature}` ends {soon}");
    assert_eq!(licenses(&["-f", "cad"]), [warning("cad")]);
    assert_eq!(licenses(&[]), [warning("cad"), warning("cae")]);
    assert_eq!(licenses(&["-f", "sim"]), ["ok    license  ACME-2 of `sim` ends 2090-12-31"]);
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

#[test]
fn whoever_asks_for_a_feature_that_needs_unknown_words_hears_which() {
    use triquest_license::{Note, NoteSignature, Signer, SigningKey, VendorName};
    let folder = Folder::new();
    let server = Server::start(&folder);
    let vendor = Signer::new(VendorName::new("acme.example").unwrap(), SigningKey::from_seed([5; 32]));
    let key = vendor.verifier_key().to_string();
    let text = format!(
        "format = \"triquest-lm/v1/license\"\nlicense = \"ACME-1\"\nvendor = \"acme.example\"\nverifier = [\"{key}\"]\nlicensee = \"Initech\"\n\
         issued = 2026-11-20\nservers = [\"{}\"]\n\n[[entitlement]]\nfeature = \"cad\"\nseats = 2\ntoken_rate = 3\nneeds = [\"token-rate\"]\n\n\
         [[entitlement]]\nfeature = \"sim\"\nseats = 2\nneeds = [\"server.token-shares\"]\n",
        server.key()
    );
    let signature = NoteSignature::ed25519(vendor.verifier_key(), vendor.key().sign(text.as_bytes()));
    std::fs::write(folder.path().join("a.lic"), Note::assemble(&text, vec![signature]).unwrap().to_file_bytes()).unwrap();
    triquest(&folder, ["license", "install", "a.lic"]).run().ok();
    let run =
        |feature: &str| triquest(&folder, ["run", "-f", feature, "--server", &server.name(), "--verifier-key", &key, "--", "true"]).run();
    for (feature, said) in [
        ("cad", "the license ACME-1 has `cad` for those who know `token-rate`: neither the server nor this program does"),
        ("sim", "the license ACME-1 has `sim` for those who know `token-shares`: the server does not"),
    ] {
        let denied = run(feature);
        assert!(denied.code == 77 && denied.stderr.contains(said), "{}", denied.stderr);
    }
    assert!(
        run("cam").stderr.contains("has the feature `cam`") || run("cam").stderr.contains("by this vendor's key"),
        "{}",
        run("cam").stderr
    );
}
