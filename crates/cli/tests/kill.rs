//! SIGKILL under load: what a client was told is there afterwards. `TRIQUEST_KILLS=100` is the full form.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use support::{Folder, STEP, Server, sign, triquest, vendor};
use triquest_client::{Client, ErrorKind};

const SEATS: u32 = 5;
/// Clients that come and go: more than the seats that are left to them, so that some are denied.
const WORKERS: usize = 5;
/// Clients that keep one seat through everything.
const KEEPERS: usize = 2;
/// Answers between two kills.
const ANSWERS: usize = 25;
const KILLS_DEFAULT: usize = 10;

/// What clients were told.
#[derive(Default)]
struct Told {
    granted: BTreeSet<String>,
    released: BTreeSet<String>,
    /// By the project that each asking is marked with.
    denied: BTreeSet<String>,
    /// Other outcomes, counted, for the message of a failure.
    others: BTreeMap<String, usize>,
}

#[test]
fn a_first_start_that_is_killed_at_any_moment_is_begun_again_as_a_new_server() {
    /// A file of the data directory, at whose appearance the kill comes.
    const MOMENTS: [&str; 7] = ["tls.key", "tls.crt", "server.key.new", "lock", "journal.sqlite.new", "server.key", "reserve"];
    for moment in MOMENTS {
        let folder = Folder::new();
        let data = folder.path().join("data");
        let mut first = triquest(&folder, ["serve", "--init", "--listen", "127.0.0.1:0"]).start();
        // Some are there for a moment only.
        support::until("it gets as far", || data.join(moment).exists() || data.join("server.json").exists());
        let _ = first.kill();
        let _ = first.wait();
        let server = Server::start(&folder);
        let said = server.log();
        assert!(!said.contains("Quarantine") && !said.contains("Kept"), "{moment}: {said}");
        assert_eq!(server.stop(), Some(0));
        let names: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!names.iter().any(|name| name.ends_with(".new") || name.ends_with(".part")), "{moment}: {names:?}");
    }
}

#[test]
fn whatever_a_client_was_told_is_there_after_the_server_was_killed_again_and_again() {
    let kills = std::env::var("TRIQUEST_KILLS").ok().map_or(KILLS_DEFAULT, |kills| kills.parse().expect("TRIQUEST_KILLS is a number"));
    let folder = Folder::new();
    let key = vendor(&folder);
    fs::write(folder.path().join("c.toml"), "[limits]\ndenials_burst = 1000000\ndenials_per_second = 100000\n").unwrap();
    let more = ["--config", "c.toml", "--log-level", "warn"];
    let mut server = Server::start_with(&folder, "127.0.0.1:0", &more);
    sign(&folder, "ACME-1", server.key(), &format!("[[entitlement]]\nfeature = \"cad\"\nseats = {SEATS}\nexpires = 2090-12-31\n"));
    triquest(&folder, ["license", "install", "ACME-1.lic"]).run().ok();
    let (name, listen) = (server.name(), format!("127.0.0.1:{}", server.port()));

    let connect = || {
        let builder = Client::builder().servers(name.clone()).verifier_keys(key.clone());
        builder.connect_timeout(Duration::from_secs(2)).call_timeout(Duration::from_secs(5)).build().unwrap()
    };
    let keepers: Vec<_> = (0..KEEPERS)
        .map(|number| {
            let lost = Arc::new(AtomicBool::new(false));
            let heard = Arc::clone(&lost);
            let client = connect();
            let checkout = client.checkout("cad").ttl(Duration::from_secs(10)).project(format!("keeper-{number}"));
            let seat = checkout.on_lost(move |_| heard.store(true, Ordering::Relaxed)).take().unwrap();
            let lease = seat.lease();
            (client, seat, lease, lost)
        })
        .collect();

    let (told, over) = (Arc::new(Mutex::new(Told::default())), Arc::new(AtomicBool::new(false)));
    let (answers, inbox) = mpsc::channel();
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (client, told, answers, over) = (connect(), Arc::clone(&told), answers.clone(), Arc::clone(&over));
            thread::spawn(move || {
                for turn in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    come_and_go(&client, &format!("w{worker}-{turn}"), &told, &answers);
                }
            })
        })
        .collect();

    for kill in 0..kills {
        take(&inbox, &format!("before kill {kill}"));
        server.kill();
        // What came before the kill does not count for the next.
        inbox.try_iter().for_each(drop);
        server = Server::start_with(&folder, &listen, &more);
    }
    take(&inbox, "after the last kill");
    over.store(true, Ordering::Relaxed);
    workers.into_iter().for_each(|worker| worker.join().unwrap());

    // Clients go on with the same leases: no word of loss, and a renewal is heard by the server of this last start.
    for (_, seat, lease, lost) in &keepers {
        assert!(!lost.load(Ordering::Relaxed), "a keeper lost {lease}");
        assert_eq!(seat.lease(), *lease);
        assert!(seat.may_run());
    }
    let told = Arc::into_inner(told).unwrap().into_inner().unwrap();
    assert!(!told.granted.is_empty() && !told.released.is_empty() && !told.denied.is_empty(), "{:?}", told.others);
    compare(&folder, &told, &keepers.iter().map(|(_, _, lease, _)| lease.to_string()).collect());

    for (_, seat, lease, _) in keepers {
        seat.release(Duration::from_secs(20)).unwrap_or_else(|error| panic!("{lease}: {error}"));
    }
    assert_eq!(server.stop(), Some(0));
    triquest(&folder, ["journal", "check"]).run().ok();
    println!(
        "{kills} kills: {} grants, {} releases, {} denials told; other outcomes {:?}",
        told.granted.len(),
        told.released.len(),
        told.denied.len(),
        told.others
    );
}

/// Asks once, and gives back what it got.
fn come_and_go(client: &Client, project: &str, told: &Mutex<Told>, answers: &mpsc::Sender<()>) {
    match client.checkout("cad").project(project).take() {
        Ok(seat) => {
            let lease = seat.lease().to_string();
            told.lock().unwrap().granted.insert(lease.clone());
            let _ = answers.send(());
            match seat.release(Duration::from_secs(30)) {
                Ok(()) => {
                    told.lock().unwrap().released.insert(lease);
                    let _ = answers.send(());
                }
                Err(error) => *told.lock().unwrap().others.entry(format!("release: {}", error.code())).or_default() += 1,
            }
        }
        Err(error) if error.kind() == ErrorKind::Denied => {
            told.lock().unwrap().denied.insert(project.to_owned());
            let _ = answers.send(());
        }
        Err(error) => {
            *told.lock().unwrap().others.entry(error.code().to_owned()).or_default() += 1;
        }
    }
}

/// Takes so many answers of the workers.
fn take(answers: &mpsc::Receiver<()>, what: &str) {
    for count in 0..ANSWERS {
        assert!(answers.recv_timeout(STEP).is_ok(), "only {count} answers {what}");
    }
}

/// Reads the whole history back and counts seats with a naive model.
fn compare(folder: &Folder, told: &Told, keepers: &BTreeSet<String>) {
    let history = triquest(folder, ["events", "--json"]).run().ok().stdout;
    let (mut granted, mut released, mut denied) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut held: BTreeSet<String> = BTreeSet::new();
    let mut recoveries = 0;
    for line in history.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let lease = event["lease"].as_str().unwrap_or_default().to_owned();
        match event["kind"].as_str().unwrap() {
            "granted" => {
                assert!(granted.insert(lease.clone()), "two grants for {lease}");
                assert!(!released.contains(&lease), "a grant for {lease}, which was given back");
                held.insert(lease);
                assert!(held.len() <= SEATS as usize, "{} seats of {SEATS} held at {line}", held.len());
            }
            "released" | "ended" => {
                held.remove(&lease);
                released.insert(lease);
            }
            "released_unknown" => {
                released.insert(lease);
            }
            "denied" => {
                denied.insert(event["holder"]["project"]["value"].as_str().unwrap().to_owned());
            }
            "recovered" => recoveries += 1,
            _ => {}
        }
    }
    assert!(recoveries > 1, "the history has the restarts");
    let lost = |what: &str, told: &BTreeSet<String>, there: &BTreeSet<String>| {
        let lost: Vec<_> = told.difference(there).collect();
        assert!(lost.is_empty(), "{what} that clients were told and the journal does not have: {lost:?}");
    };
    lost("grants", &told.granted, &granted);
    lost("grants of keepers", keepers, &granted);
    lost("releases", &told.released, &released);
    lost("denials", &told.denied, &denied);
    assert!(keepers.is_subset(&held), "the keepers' leases live");

    let report: Value = serde_json::from_str(&triquest(folder, ["status", "cad", "--json"]).run().ok().stdout).unwrap();
    let pool = &report["status"]["pools"][0];
    let number = |name: &str| pool[name].as_u64().unwrap();
    assert_eq!(number("free") + number("used") + number("lingering") + number("reserved_idle"), number("total") + number("over"));
    assert_eq!((number("total"), number("over"), number("used")), (u64::from(SEATS), 0, held.len() as u64));
}
