//! A disk that is full or read-only: a clear message, nothing granted that could be lost. Needs root for a small disk of its own.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::{Folder, Server, serving, sign, triquest, until, wait};
use triquest_client::Client;

#[test]
fn on_a_full_disk_nothing_is_granted_seats_come_back_and_it_heals_by_itself() {
    let Some(folder) = Folder::with_disk(40) else { return };
    let (mut server, key) = serving(&folder, 3);
    let client =
        || Client::builder().servers(server.name()).verifier_keys(key.clone()).call_timeout(Duration::from_secs(5)).build().unwrap();
    let (holding, asking) = (client(), client());
    let kept = holding.checkout("cad").ttl(Duration::from_secs(10)).take().unwrap();
    let given_back = holding.checkout("cad").take().unwrap();
    assert!(!folder.shell("cat /dev/zero > data/filler"), "the disk is full now");

    // Whatever room the file system had left is used up, then the answer is a clear no.
    let mut granted = Vec::new();
    let refused = loop {
        match asking.checkout("cad").take() {
            Ok(seat) => {
                granted.push(seat.lease());
                assert!(granted.len() < 1_000, "the full disk is never noticed");
                let _ = seat.release(Duration::from_secs(5));
            }
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code(), "disk_full", "{refused}");
    assert!(refused.may_help_later());
    let status = triquest(&folder, ["status"]).run().ok().stdout;
    assert!(status.contains("DISK FULL: nothing is granted"), "{status}");
    assert!(kept.may_run(), "who holds a seat goes on");
    given_back.release(Duration::from_secs(20)).expect("the reserve has room for releases");

    assert!(folder.shell("rm data/filler"));
    until("a grant after there was room again", || asking.checkout("cad").take().is_ok());
    let lease = kept.lease();
    server.kill();
    let server = Server::start_with(&folder, &format!("127.0.0.1:{}", server.port()), &[]);
    let leases = triquest(&folder, ["status", "cad", "--json"]).run().ok().stdout;
    assert!(leases.contains(&lease.to_string()), "{leases}");
    drop(server);
}

#[test]
fn a_full_disk_is_said_at_once_or_when_the_wait_is_over_with_its_numbers_and_every_command_ends_alike() {
    let Some(folder) = Folder::with_disk(40) else { return };
    let (server, key) = serving(&folder, 3);
    sign(&folder, "ACME-2", server.key(), "[[entitlement]]\nfeature = \"cam\"\nseats = 1\nexpires = 2090-12-31\n");
    let run = |more: &[&str]| {
        let arguments = ["run", "--feature", "cad", "--verifier-key", &key, "--server", &server.name()];
        triquest(&folder, arguments.iter().chain(more))
    };
    assert!(!folder.shell("cat /dev/zero > data/filler"), "the disk is full now");
    until("a checkout is refused", || run(&["--", "true"]).run().code == 75);

    let began = Instant::now();
    let refused = run(&["--", "true"]).run();
    assert!(refused.code == 75 && refused.stderr.starts_with("error: the disk is full"), "{}", refused.stderr);
    assert!(began.elapsed() < Duration::from_secs(10), "it takes {:?}", began.elapsed());
    let began = Instant::now();
    let refused = run(&["--wait", "3s", "--", "true"]).run();
    assert!(refused.code == 75 && refused.stderr.starts_with("     Waiting the disk is full"), "{}", refused.stderr);
    assert!(refused.stderr.contains("error: the disk is full"), "{}", refused.stderr);
    assert!(began.elapsed() >= Duration::from_secs(3) && began.elapsed() < Duration::from_secs(13), "it takes {:?}", began.elapsed());

    let status = triquest(&folder, ["status"]).run().ok().stdout;
    let data = folder.path().join("data").display().to_string();
    let left = format!(" left in {data}, the reserve counted; grants begin again at ");
    for part in [left.as_str(), " MiB, 16.0 MiB of it for the reserve and ", " MiB for the journal: make room for ", " MiB more"] {
        assert!(status.contains(part), "{part}: {status}");
    }
    let with_key = triquest(&folder, ["doctor", &server.name(), "--verifier-key", &key]).run();
    assert!(with_key.code == 1 && with_key.stdout.contains(&format!("MiB left in {data}, ")), "{}", with_key.stdout);
    let local = triquest(&folder, ["doctor"]).run();
    assert!(
        local.code == 1 && local.stdout.contains("fail  disk ") && local.stdout.contains("16.0 MiB of it for the reserve"),
        "{}",
        local.stdout
    );

    let known = triquest(&folder, ["license", "install", "ACME-1.lic"]).run().ok();
    assert!(known.stderr.contains("Unchanged ACME-1: already installed"), "there is nothing to do: {}", known.stderr);
    // The reserve was given up, and its room is for those who hold seats.
    for arguments in [["journal", "backup"].as_slice(), &["journal", "backup", "elsewhere.sqlite"]] {
        let backup = triquest(&folder, arguments).run();
        assert_eq!(backup.code, 75, "{}", backup.stderr);
        assert!(backup.stderr.contains("there is no room for a backup in ") && backup.stderr.contains("MiB is free"), "{}", backup.stderr);
        assert!(backup.stderr.contains("hint: make room, or name a file on another file system"), "{}", backup.stderr);
    }
    assert!(folder.shell("test -z \"$(ls -A data/backups)\""), "nothing is left of it");

    let mut waiting = run(&["--wait", "5m", "--", "echo", "mine"]).start();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(waiting.stderr.as_mut().unwrap()), &mut line).unwrap();
    assert!(line.contains("Waiting the disk is full"), "{line}");
    until("the reserve is used up too, so that nothing at all is written", || {
        folder.shell("cat /dev/zero >> data/filler");
        triquest(&folder, ["clock", "accept", "--reason", "x"]).run().code == 75
    });
    for command in [
        ["license", "remove", "ACME-1", "--reason", "x"].as_slice(),
        &["license", "install", "ACME-2.lic"],
        &["quarantine", "end", "--reason", "x"],
        &["presence", "allow", "10.0.0.1", "--reason", "x"],
        &["journal", "backup"],
    ] {
        let refused = triquest(&folder, command).run();
        assert_eq!(refused.code, 75, "{command:?}: {}", refused.stderr);
        if command[0] == "journal" {
            continue;
        }
        let used_up = "error: the disk is full and the reserve is used up: only renewals are answered until there is room (";
        let numbers =
            [format!(" left in {data}, the reserve counted; grants begin again at "), " MiB for the journal: make room for ".into()];
        assert!(refused.stderr.starts_with(used_up) && numbers.iter().all(|part| refused.stderr.contains(part)), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: make room on the file system of the server's data directory; "), "{}", refused.stderr);
    }
    let status = triquest(&folder, ["status"]).run().ok().stdout;
    assert!(status.contains(", DISK FULL and the reserve is used up: only renewals are answered until there is room ("), "{status}");
    assert!(folder.shell("rm data/filler"));
    assert_eq!(wait(&mut waiting), Some(0), "with room again the wait ends with a seat");
    triquest(&folder, ["journal", "backup"]).run().ok();
    assert_eq!(server.stop(), Some(0));
    assert!(!folder.shell("cat /dev/zero > data/filler"));
    let offline = triquest(&folder, ["journal", "backup"]).run();
    assert!(offline.code == 75 && offline.stderr.contains("there is no room for a backup in "), "{}", offline.stderr);
    triquest(&folder, ["journal", "backup", "elsewhere.sqlite"]).run().ok();
}

#[test]
fn a_server_that_has_its_reserve_starts_on_a_full_disk_and_after_a_kill_on_one_without_an_inode() {
    let Some(folder) = Folder::with_disk(40) else { return };
    let (mut server, key) = serving(&folder, 3);
    let client = Client::builder().servers(server.name()).verifier_keys(key).call_timeout(Duration::from_secs(5)).build().unwrap();
    let held = client.checkout("cad").ttl(Duration::from_secs(3_600)).take().unwrap();
    let listen = format!("127.0.0.1:{}", server.port());
    let holds = |when: &str| {
        let leases = triquest(&folder, ["status", "cad", "--json"]).run().ok().stdout;
        assert!(leases.contains(&held.lease().to_string()), "{when}: {leases}");
    };
    let fill_bytes = "! cat /dev/zero > data/filler";
    let fill_inodes =
        "mount -o remount,nr_inodes=100 data && for i in $(seq 100); do touch data/filler$i || break; done; ! touch data/more";
    for (fill, orderly) in [(fill_bytes, true), (fill_bytes, false), (fill_inodes, false)] {
        let end = |mut server: Server| if orderly { assert_eq!(server.stop(), Some(0)) } else { server.kill() };
        assert!(folder.shell("test -s data/reserve"));
        end(server);
        assert!(folder.shell(fill));
        let full = Server::start_with(&folder, &listen, &[]);
        holds(fill);
        if fill == fill_inodes && !orderly {
            assert!(full.log().contains("may not find on which addresses this server serves"), "{}", full.log());
            assert!(!folder.shell("test -e data/server.json"), "that of the killed server would send commands elsewhere");
        }
        end(full);
        assert!(folder.shell("rm data/filler*"));
        server = Server::start_with(&folder, &listen, &[]);
        holds("with room again");
    }
}

#[test]
fn a_first_start_that_found_no_room_leaves_nothing_that_a_later_one_stumbles_over() {
    let Some(folder) = Folder::with_disk(40) else { return };
    let mut failed = 0;
    for kilobytes in [0, 4, 8, 12, 16, 24, 40, 80, 160] {
        assert!(folder.shell(&format!("head -c {kilobytes}K /dev/zero > data/room; ! cat /dev/zero > data/filler; rm data/room")));
        match Server::try_start(&folder, "127.0.0.1:0", &[]) {
            Ok(server) => drop(server),
            Err(log) => {
                failed += 1;
                assert!(log.contains("error: ") && log.contains("hint: make room"), "{kilobytes}: {log}");
            }
        }
        assert!(folder.shell("rm data/filler"));
        let server = Server::start(&folder);
        let said = server.log();
        assert!(!said.contains("Quarantine") && !said.contains("Kept"), "{kilobytes}: {said}");
        assert_eq!(server.stop(), Some(0));
        assert!(folder.shell("! ls data | grep -E 'part|new$' && rm -r data/*"));
    }
    assert!(failed >= 4, "{failed}");
}

#[test]
fn flags_for_the_first_start_keep_no_later_one_down_when_the_reserve_is_used_up() {
    let Some(folder) = Folder::with_disk(40) else { return };
    let (mut server, _) = serving(&folder, 1);
    let status: serde_json::Value = serde_json::from_str(&triquest(&folder, ["server", "id", "--json"]).run().ok().stdout).unwrap();
    let lineage = status["position"]["lineage"].as_str().unwrap_or_else(|| panic!("{status}")).to_owned();
    until("the reserve is used up", || {
        folder.shell("cat /dev/zero >> data/filler");
        triquest(&folder, ["clock", "accept", "--reason", "x"]).run().code == 75
    });
    server.kill();
    let listen = format!("127.0.0.1:{}", server.port());
    // Room for the first entry, and for nothing more.
    assert!(folder.shell("truncate -s -256K data/filler"));
    let server = Server::start_with(&folder, &listen, &["--end-quarantine", &lineage, "--accept-clock"]);
    let said = server.log();
    assert!(said.contains("--end-quarantine ended nothing: no quarantine runs"), "{said}");
    assert!(said.contains("--accept-clock accepted nothing: ") && said.contains("clock accept --reason TEXT"), "{said}");
}

#[test]
fn a_read_only_disk_is_said_at_start() {
    let Some(folder) = Folder::with_disk(40) else { return };
    let (server, _) = serving(&folder, 1);
    assert_eq!(server.stop(), Some(0));
    assert!(folder.shell("mount -o remount,ro data"));
    let log = Server::try_start(&folder, "127.0.0.1:0", &[]).err().unwrap();
    assert!(log.contains("error: ") && log.to_lowercase().contains("read-only"), "{log}");
    assert!(log.contains("hint: "), "{log}");
}
