//! The journal in an administrator's hands: check, backup, restore, and what damage leads to.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use support::{Folder, Server, rest, serving, triquest, until, wait};
use triquest_client::Client;

#[test]
fn a_backup_of_a_running_server_is_whole_and_brings_it_back_with_its_key_and_seats() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 3);
    let name = server.key().to_owned();
    let client = Client::builder().servers(server.name()).verifier_keys(key.clone()).build().unwrap();
    let seat = client.checkout("cad").take().unwrap();
    let lease = seat.lease().to_string();

    let run = triquest(&folder, ["journal", "check"]).run();
    assert_eq!(run.code, 75, "{}", run.stderr);
    assert!(run.stderr.contains("in use by a running server") && run.stderr.contains("journal backup"), "{}", run.stderr);
    let file = folder.path().join("monday.sqlite");
    triquest(&folder, ["journal", "backup", "monday.sqlite"]).run().ok();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = triquest(&folder, ["journal", "backup", "monday.sqlite"]).run();
    assert!(again.code != 0 && again.stderr.contains("is there already"), "{}", again.stderr);
    assert_eq!(fs::read_dir(folder.path().join("data/backups")).unwrap().count(), 0, "what the server wrote for it was taken away again");
    let in_backups = triquest(&folder, ["journal", "backup"]).run().ok().stdout;
    assert!(in_backups.contains("backups"), "{in_backups}");
    let report: serde_json::Value =
        serde_json::from_str(&triquest(&folder, ["journal", "check", "monday.sqlite", "--json"]).run().ok().stdout).unwrap();
    assert_eq!(report["leases"], 1);

    assert!(triquest(&folder, ["journal", "check", "monday.sqlite"]).run().ok().stderr.contains(": 1 lease at entry "));

    let run = triquest(&folder, ["journal", "restore", "monday.sqlite"]).run();
    assert!(run.code != 0 && run.stderr.contains("is not empty"), "{}", run.stderr);
    let mut server = server;
    server.kill();
    triquest(&folder, ["journal", "check"]).run().ok();
    fs::rename(folder.path().join("data"), folder.path().join("lost")).unwrap();
    let run = triquest(&folder, ["journal", "restore", "monday.sqlite", "--quarantine", "25h"]).run();
    assert!(run.code != 0 && run.stderr.contains("at most 24h"), "{}", run.stderr);
    let run = triquest(&folder, ["journal", "restore", "monday.sqlite", "--quarantine", "24h"]).run().ok();
    assert!(run.stderr.contains("Restored") && run.stderr.contains("new history, and for 1 d from its first start"), "{}", run.stderr);
    let check = triquest(&folder, ["serve", "--check"]).run().ok();
    assert!(check.stderr.contains("a quarantine of at least 1 d"), "{}", check.stderr);
    let short = triquest(&folder, ["journal", "restore", "monday.sqlite", "short", "--quarantine", "30m"]).run().ok();
    assert!(short.stderr.contains("warning: --quarantine 30 min has no effect: "), "{}", short.stderr);
    let check = triquest(&folder, ["serve", "--check", "--data", "short"]).run().ok();
    assert!(check.stderr.contains("new history") && check.stderr.contains("a quarantine of at least "), "{}", check.stderr);
    let restored = Server::start_with(&folder, &format!("127.0.0.1:{}", server.port()), &[]);
    assert_eq!(restored.key(), name);
    assert!(!folder.path().join("data/quarantine").exists(), "the start has recorded it");
    let head: serde_json::Value = serde_json::from_str(&triquest(&folder, ["status", "--json"]).run().ok().stdout).unwrap();
    assert!(head["status"]["quarantine_ms"].as_u64().unwrap() > 23 * 3_600_000, "{head}");
    let status = triquest(&folder, ["status", "cad", "--json"]).run().ok().stdout;
    assert!(status.contains(&lease), "{status}");
    let denied = Client::builder().servers(restored.name()).verifier_keys(key.clone()).build().unwrap().checkout("cad").take();
    let denied = denied.err().unwrap();
    assert_eq!(denied.code(), "quarantine");
    assert!(denied.to_string().contains("no new seat for ") && !denied.to_string().contains('`'), "{denied}");
    let status = triquest(&folder, ["status"]).run().ok().stdout;
    assert!(status.contains("RESTORED OR ROLLED BACK: no new seats for ") && status.contains("triquest-lm quarantine end"), "{status}");
    let doctor = triquest(&folder, ["doctor", &restored.name(), "--verifier-key", &key]).run();
    let line =
        "fail  seats    the server's history was restored or rolled back, and seats granted before may still be in use: no new seats for ";
    assert!(doctor.code == 1 && doctor.stdout.contains(line), "{}", doctor.stdout);
    drop(seat);
}

#[test]
fn a_restore_names_the_server_that_must_be_stopped_and_whoever_waits_waits_the_quarantine_out() {
    let folder = Folder::new();
    let (old, key) = serving(&folder, 1);
    triquest(&folder, ["journal", "backup", "monday.sqlite"]).run().ok();
    let restored = triquest(&folder, ["journal", "restore", "monday.sqlite", "again"]).run().ok();
    assert!(restored.stderr.contains("warning: stop the server that this backup is of, for good"), "{}", restored.stderr);
    let named = format!("warning: a server runs on {} with this key: kill {} ", folder.path().join("data").display(), old.pid());
    assert!(restored.stderr.contains(&named), "{named}: {}", restored.stderr);
    assert_eq!(old.stop(), Some(0));
    let elsewhere = triquest(&folder, ["journal", "restore", "monday.sqlite", "third"]).run().ok();
    // Other servers of this machine, such as those of other tests, may be named.
    let ours = format!("a server runs on {}", folder.path().display());
    assert!(!elsewhere.stderr.contains(&ours), "{}", elsewhere.stderr);

    let again = folder.path().join("again").display().to_string();
    let server = Server::start_with(&folder, "127.0.0.1:0", &["--data", &again]);
    let run = |wait: &str| {
        let arguments =
            ["run", "--feature", "cad", "--verifier-key", &key, "--server", &server.name(), "--wait", wait, "--", "echo", "mine"];
        triquest(&folder, arguments)
    };
    let began = Instant::now();
    let denied = run("2s").run();
    assert_eq!(denied.code, 75, "{}", denied.stderr);
    let waits =
        "     Waiting the server's history was restored or rolled back, and seats granted before may still be in use: no new seat for ";
    assert!(denied.stderr.starts_with(waits), "{}", denied.stderr);
    assert!(
        denied.stderr.contains(", until ")
            && denied.stderr.contains("quarantine end --lineage ")
            && denied.stderr.contains("; gives up in "),
        "{}",
        denied.stderr
    );
    assert!(denied.stderr.contains("\ndenied: the server's history was restored or rolled back"), "{}", denied.stderr);
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    let mut waiting = run("5m").start();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(waiting.stderr.as_mut().unwrap()), &mut line).unwrap();
    assert!(line.starts_with(waits), "{line}");
    let end = |lineage: &str| {
        triquest(&folder, ["quarantine", "end", "--lineage", lineage, "--reason", "the old one is gone", "--data", &again]).run()
    };
    // Not another one than was looked at.
    let other = end("0123456789abcdef");
    assert_eq!(other.code, 1, "{}", other.stderr);
    assert!(other.stderr.contains("the history 0123456789abcdef has been followed by "), "{}", other.stderr);
    let status = triquest(&folder, ["status", "--data", &again]).run().ok().stdout;
    let lineage = status.split("quarantine end --lineage ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    end(lineage).ok();
    assert_eq!(wait(&mut waiting), Some(0));
    assert_eq!(rest(waiting.stdout.take()), "mine\n");
}

#[test]
fn a_damaged_journal_is_named_by_the_check_and_served_by_nobody() {
    let folder = Folder::new();
    let (server, _) = serving(&folder, 3);
    assert_eq!(server.stop(), Some(0));
    let report = triquest(&folder, ["journal", "check"]).run().ok();
    assert!(report.stderr.contains("Whole") && report.stdout.contains("entries   1 to"), "{}{}", report.stdout, report.stderr);
    let path = folder.path().join("data/journal.sqlite");
    let mut bytes = fs::read(&path).unwrap();
    // The license's own text stands in an entry.
    let places: Vec<_> = bytes.windows(9).enumerate().filter(|(_, window)| *window == b"licensee ").map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] = b'L';
    }
    fs::write(&path, bytes).unwrap();
    let run = triquest(&folder, ["journal", "check"]).run();
    assert_eq!(run.code, 74, "{}", run.stderr);
    assert!(
        run.stderr.contains("journal.sqlite") && run.stderr.contains("checksum is wrong") && run.stderr.contains("restore"),
        "{}",
        run.stderr
    );
    let refused = Server::try_start(&folder, "127.0.0.1:0", &[]).err().unwrap();
    assert!(refused.contains("checksum is wrong") && refused.contains("hint"), "{refused}");
    let run = triquest(&folder, ["journal", "backup", "bad.sqlite"]).run();
    assert!(run.code != 0 && !folder.path().join("bad.sqlite").exists(), "{}", run.stderr);
    let garbage = folder.path().join("garbage.sqlite");
    fs::write(&garbage, "seats".repeat(1000)).unwrap();
    let run = triquest(&folder, ["journal", "restore", "garbage.sqlite", "new"]).run();
    assert!(run.code == 74 && !folder.path().join("new").exists(), "{}", run.stderr);
}

#[test]
fn a_cut_backup_and_a_file_that_is_none_are_told_apart_with_advice_that_fits() {
    let folder = Folder::new();
    let (server, _) = serving(&folder, 3);
    triquest(&folder, ["journal", "backup", "monday.sqlite"]).run().ok();
    drop(server);
    let bytes = fs::read(folder.path().join("monday.sqlite")).unwrap();
    for kept in [bytes.len() / 2, bytes.len() - 1, 4096, 2000] {
        fs::write(folder.path().join("cut.sqlite"), &bytes[..kept]).unwrap();
        for command in ["check", "restore"] {
            let mut arguments = vec!["journal", command, "cut.sqlite"];
            arguments.extend((command == "restore").then_some("new"));
            let run = triquest(&folder, arguments).run();
            assert!(run.code == 74 && run.stderr.contains("cut.sqlite"), "{kept} bytes: {}{}", run.stdout, run.stderr);
            assert!(run.stderr.contains("hint: this backup cannot be restored: take another copy"), "{kept} bytes: {}", run.stderr);
        }
    }
    fs::write(folder.path().join("empty.sqlite"), "").unwrap();
    for name in ["v.key", "empty.sqlite"] {
        for arguments in [vec!["journal", "check", name], vec!["journal", "restore", name, "new"]] {
            let run = triquest(&folder, arguments).run();
            assert!(run.code == 74 && run.stderr.contains(&format!("error: {name} is no backup: ")), "{}", run.stderr);
            assert!(run.stderr.contains("hint: name a file that `triquest-lm journal backup` wrote"), "{}", run.stderr);
        }
    }
}

/// The history that a command to end its quarantine names.
fn named_lineage(said: &str) -> String {
    let rest = said.split("quarantine end --lineage ").nth(1).unwrap_or_else(|| panic!("no command that names a history: {said}"));
    rest.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_flag_that_ends_a_quarantine_names_its_history_and_ends_no_other_one_where_it_was_left() {
    let folder = Folder::new();
    let (server, key) = serving(&folder, 1);
    triquest(&folder, ["journal", "backup", "monday.sqlite"]).run().ok();
    assert_eq!(server.stop(), Some(0));
    let directory = |name: &str| folder.path().join(name).display().to_string();
    let (first, second) = (directory("first"), directory("second"));
    let restore = |name: &str| named_lineage(&triquest(&folder, ["journal", "restore", "monday.sqlite", name]).run().ok().stderr);
    let lineage = restore("first");
    let check = triquest(&folder, ["serve", "--check", "--data", &first, "--end-quarantine", &lineage]).run().ok();
    assert!(check.stderr.contains(&format!("a new history ({lineage})")), "{}", check.stderr);
    assert!(check.stderr.contains("--end-quarantine would end that quarantine at once"), "{}", check.stderr);
    let quarantine_ms = |data: &str| {
        let status = triquest(&folder, ["status", "--json", "--data", data]).run().ok().stdout;
        serde_json::from_str::<serde_json::Value>(&status).unwrap()["status"]["quarantine_ms"].as_u64()
    };
    let flag = ["--data", first.as_str(), "--end-quarantine", lineage.as_str()];
    let ended = Server::start_with(&folder, "127.0.0.1:0", &flag);
    assert_eq!(quarantine_ms(&first), None);
    assert!(ended.log().contains("--end-quarantine ended the quarantine of this history"), "{}", ended.log());
    assert_eq!(ended.stop(), Some(0));
    // It has nothing to do at the next start, and says so.
    let again = Server::start_with(&folder, "127.0.0.1:0", &flag);
    assert!(again.log().contains("--end-quarantine ended nothing: no quarantine runs"), "{}", again.log());
    assert_eq!(again.stop(), Some(0));

    let other = restore("second");
    assert_ne!(other, lineage);
    let flag = ["--data", second.as_str(), "--end-quarantine", lineage.as_str()];
    let check = triquest(&folder, ["serve", "--check"].into_iter().chain(flag)).run().ok();
    assert!(check.stderr.contains(&format!("--end-quarantine {lineage} names another history")), "{}", check.stderr);
    let server = Server::start_with(&folder, "127.0.0.1:0", &flag);
    assert!(quarantine_ms(&second).is_some(), "the quarantine of the history that is here goes on");
    assert!(server.log().contains("names another history than the one that is here, so it ended nothing"), "{}", server.log());
    // Wherever the command is named, it is with the history.
    until("it is said", || server.log().contains("  Quarantine no new seats for "));
    assert_eq!(named_lineage(&server.log()), other);
    assert_eq!(server.log().matches(&format!("quarantine end --lineage {other} --reason TEXT")).count(), 2, "{}", server.log());
    assert_eq!(named_lineage(&triquest(&folder, ["status", "--data", &second]).run().ok().stdout), other);
    let (name, key) = (server.name(), key.as_str());
    assert_eq!(named_lineage(&triquest(&folder, ["doctor", &name, "--verifier-key", key]).run().stdout), other);
    let denied = triquest(&folder, ["run", "--feature", "cad", "--server", &name, "--verifier-key", key, "--", "true"]).run();
    assert_eq!((denied.code, named_lineage(&denied.stderr)), (75, other));
    // Without a history, and with what is none, it is not taken.
    for wrong in [&["--end-quarantine"][..], &["--end-quarantine", "yes"]] {
        let run = triquest(&folder, ["serve", "--check", "--data", &second].iter().chain(wrong)).run();
        assert_eq!(run.code, 2, "{}", run.stderr);
    }
}

#[test]
fn the_first_seat_that_is_asked_about_after_a_restore_is_answered_by_the_restored_server() {
    let folder = Folder::new();
    let (mut server, key) = serving(&folder, 1);
    let for_us = std::process::id().to_string();
    let arguments = ["checkout", "-f", "cad", "--for", &for_us, "--lease-file", "seat.lease", "--verifier-key", &key];
    triquest(&folder, arguments.into_iter().chain(["--server", &server.name()])).run().ok();
    triquest(&folder, ["journal", "backup", "monday.sqlite"]).run().ok();
    let listen = format!("127.0.0.1:{}", server.port());
    server.kill();
    fs::rename(folder.path().join("data"), folder.path().join("lost")).unwrap();
    triquest(&folder, ["journal", "restore", "monday.sqlite"]).run().ok();
    // It has its key again, and another certificate.
    let _restored = Server::start_with(&folder, &listen, &[]);
    let held = triquest(&folder, ["seat", "seat.lease"]).run().ok();
    assert!(held.stderr.contains("Held cad") && !held.stderr.contains("no server answers"), "{}", held.stderr);
    triquest(&folder, ["release", "seat.lease"]).run().ok();
}
