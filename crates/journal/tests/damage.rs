//! Snapshots, checks, backups, restores, and every way in which a journal can be damaged: a clear message, and nothing served.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;
#[path = "common/server.rs"]
mod server;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use server::Server;
use triquest_allocator::{Allocator, Command, Index, Outcome, Safeguards};
use triquest_journal::backup::{backup, backup_offline, restore};
use triquest_journal::check::check;
use triquest_journal::memory::MemoryJournal;
use triquest_journal::record::encode_snapshot;
use triquest_journal::snapshot::{Keep, Remote, Work, make};
use triquest_journal::{Appended, History, Journal, JournalError, JournalErrorKind, OpenMode, SqliteJournal, load};

pub use common::{holder, lease};

fn state(allocator: &Allocator) -> Vec<Vec<u8>> {
    encode_snapshot(allocator.snapshot()).collect()
}

fn open(dir: &Path) -> SqliteJournal {
    SqliteJournal::open(dir, OpenMode::InitIfMissing).unwrap()
}

/// A directory where a server has run: 40 seats granted, in single entries.
fn used(folder: &Path) -> PathBuf {
    let dir = folder.join("data");
    let mut server = Server::start(Box::new(open(&dir)));
    server.install(100);
    server.grant(0..40, 1);
    dir
}

fn refused(dir: &Path) -> JournalError {
    let error = SqliteJournal::open(dir, OpenMode::Existing)
        .and_then(|mut journal| load(&mut journal, Safeguards::default()))
        .map(|_| ())
        .unwrap_err();
    assert!(!error.hint.is_empty(), "{error}");
    error
}

#[test]
fn a_state_loads_the_same_from_entries_from_a_snapshot_and_from_both() {
    let folder = tempfile::tempdir().unwrap();
    for mut journal in [Box::new(MemoryJournal::new(common::LINEAGE)) as Box<dyn Journal>, Box::new(open(&folder.path().join("data")))] {
        assert_eq!(load(&mut *journal, Safeguards::default()).unwrap().leases(), 0, "an empty journal is an empty state");
        let mut server = Server::start(journal);
        server.install(500);
        server.grant(0..100, 7);
        let replayed = load(&mut *server.journal, Safeguards::default()).unwrap();
        assert_eq!(state(&replayed), state(&server.allocator));
        let made = make(&mut *server.journal, Safeguards::default(), Keep::NONE).unwrap().unwrap();
        assert_eq!(made.index, server.journal.head().index);
        assert_eq!(make(&mut *server.journal, Safeguards::default(), Keep::NONE).unwrap(), None, "nothing has happened since");
        assert_eq!(state(&load(&mut *server.journal, Safeguards::default()).unwrap()), state(&server.allocator));
        server.at += 1000;
        server.grant(100..130, 3);
        server.decide(vec![Command::Release { lease: lease(5), network: None }]);
        assert_eq!(state(&load(&mut *server.journal, Safeguards::default()).unwrap()), state(&server.allocator));
        assert_eq!(server.allocator.leases(), 129);
    }
}

#[test]
fn a_journal_goes_on_after_a_snapshot_that_dropped_every_entry() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let mut journal = open(&dir);
    let made = make(&mut journal, Safeguards::default(), Keep::NONE).unwrap().unwrap();
    drop(journal);
    let journal = open(&dir);
    assert_eq!(journal.head().index, made.index);
    let mut server = Server::start(Box::new(journal));
    server.grant(40..41, 1);
    assert_eq!(server.allocator.leases(), 41);
}

#[test]
fn what_is_kept_before_a_snapshot_has_a_limit_in_bytes_too() {
    let folder = tempfile::tempdir().unwrap();
    for mut journal in [Box::new(MemoryJournal::new(common::LINEAGE)) as Box<dyn Journal>, Box::new(open(&folder.path().join("data")))] {
        let lineage = journal.head().lineage;
        let mut server = Server::start(std::mem::replace(&mut journal, Box::new(MemoryJournal::new(lineage))));
        server.install(500);
        for number in 0..300 {
            server.grant(number..number + 1, 1);
        }
        let head = server.journal.head().index;
        let all = server.journal.bytes_between(Index(1), head).unwrap();
        make(&mut *server.journal, Safeguards::default(), Keep { entries: 1_000, bytes: all / 2 }).unwrap().unwrap();
        let first = (1..=head.0).find(|index| server.journal.read(Index(*index), 1).is_ok()).unwrap();
        let kept = server.journal.bytes_between(Index(first), head).unwrap();
        assert!(kept <= all / 2 && kept > 0 && head.0 - first >= 99, "{kept} of {all} bytes are kept, from entry {first} of {}", head.0);
        assert_eq!(server.journal.bytes_between(Index(1), head).unwrap(), kept, "what is gone has no bytes");
    }
}

#[test]
fn a_snapshot_is_made_on_another_thread_while_entries_are_appended() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let mut server = Server::start(Box::new(open(&dir)));
    let (send, works) = std::sync::mpsc::channel::<Work>();
    let maker = std::thread::spawn(move || {
        let mut remote = Remote::new(|work| send.send(work).is_ok()).unwrap();
        make(&mut remote, Safeguards::default(), Keep { entries: 10, bytes: u64::MAX }).unwrap().unwrap()
    });
    let mut next = 40;
    for work in works {
        work(&mut *server.journal);
        if next < 60 {
            server.grant(next..next + 1, 1);
            next += 1;
        }
    }
    let made = maker.join().unwrap();
    assert!(made.index < server.journal.head().index, "entries went on");
    assert_eq!(state(&load(&mut *server.journal, Safeguards::default()).unwrap()), state(&server.allocator));
    assert!(server.journal.read(Index(made.index.0 - 9), 1).is_ok(), "the last ten are kept");
    drop(server);
    let report = check(&dir).unwrap();
    assert_eq!(report.snapshot.map(|snapshot| (snapshot.index, snapshot.equals_replay)), Some((made.index, false)));
}

#[test]
fn a_check_reads_everything_changes_nothing_and_says_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let mut journal = open(&dir);
    make(&mut journal, Safeguards::default(), Keep { entries: u64::MAX, bytes: u64::MAX }).unwrap().unwrap();
    Server::start(Box::new(journal)).grant(40..45, 1);
    let before = fs::read(dir.join("journal.sqlite")).unwrap();
    let report = check(&dir).unwrap();
    assert_eq!(fs::read(dir.join("journal.sqlite")).unwrap(), before);
    assert_eq!((report.first, report.last, report.leases), (Index(1), Index(48), 45));
    let snapshot = report.snapshot.unwrap();
    assert_eq!((snapshot.index, snapshot.equals_replay), (Index(42), true));
    assert_eq!(check(&dir.join("journal.sqlite")).unwrap().last, Index(48));
}

#[test]
fn a_check_reads_a_write_ahead_log_that_a_crash_left_and_leaves_it_there() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let server = Server::start(Box::new(open(&dir)));
    let copy = crash_copy(&dir, &folder.path().join("crashed"));
    let wal = fs::read(copy.join("journal.sqlite-wal")).unwrap();
    assert!(!wal.is_empty());
    let report = check(&copy).unwrap();
    assert_eq!(report.last, server.journal.head().index);
    assert_eq!(fs::read(copy.join("journal.sqlite-wal")).unwrap(), wal);
}

/// What a power cut would leave: the files as they are now.
fn crash_copy(dir: &Path, to: &Path) -> PathBuf {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["journal.sqlite", "journal.sqlite-wal", "lock"] {
        if dir.join(name).exists() {
            fs::copy(dir.join(name), to.join(name)).unwrap();
        }
    }
    to.to_owned()
}

#[test]
fn a_running_server_cannot_be_checked_but_backed_up_and_that_file_checked() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let mut server = Server::start(Box::new(open(&dir)));
    assert_eq!(check(&dir).unwrap_err().kind, JournalErrorKind::Locked);
    assert_eq!(check(&dir.join("journal.sqlite")).unwrap_err().kind, JournalErrorKind::Locked);
    assert_eq!(backup_offline(&dir, &folder.path().join("b")).unwrap_err().kind, JournalErrorKind::Locked);
    let file = folder.path().join("monday.backup");
    let report = backup(&mut *server.journal, Some(&dir), &file).unwrap();
    assert_eq!((report.last, report.leases), (server.journal.head().index, 40));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(check(&file).unwrap(), report);
    let error = backup(&mut *server.journal, Some(&dir), &file).unwrap_err();
    assert!(error.message.contains("is there already"), "{error}");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|name| name.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing half-made is left: {names:?}");
}

#[test]
fn a_backup_goes_on_while_entries_are_appended_and_holds_what_was_there_when_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let mut server = Server::start(Box::new(open(&dir)));
    make(&mut *server.journal, Safeguards::default(), Keep { entries: 5, bytes: u64::MAX }).unwrap();
    let began = server.journal.head().index;
    let (send, works) = std::sync::mpsc::channel::<Work>();
    let file = folder.path().join("online.backup");
    let to = file.clone();
    let maker = std::thread::spawn(move || {
        let mut remote = Remote::new(|work| send.send(work).is_ok()).unwrap();
        backup(&mut remote, None, &to).unwrap()
    });
    for (next, work) in (40..).zip(works) {
        work(&mut *server.journal);
        server.grant(next..next + 1, 1);
    }
    let report = maker.join().unwrap();
    assert_eq!((report.last, report.leases), (began, 40));
    assert!(server.journal.head().index > began);
}

#[test]
fn a_restored_server_has_a_new_history_the_old_key_and_waits_before_it_grants() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    fs::write(dir.join("server.key"), "tqs-private:00").unwrap();
    let old = open(&dir).head();
    let file = folder.path().join("backup");
    backup_offline(&dir, &file).unwrap();
    let new = folder.path().join("new");
    let report = restore(&file, &new, None).unwrap();
    assert_ne!(report.lineage, old.lineage);
    assert_eq!(fs::read_to_string(new.join("server.key")).unwrap(), "tqs-private:00");
    assert_eq!(fs::metadata(new.join("server.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o700);
    let journal = SqliteJournal::open(&new, OpenMode::Existing).unwrap();
    assert_eq!((journal.head().lineage, journal.head().index), (report.lineage, old.index));
    let mut server = Server::start(Box::new(journal));
    let (_, outcomes) = server.decide(vec![server.checkout(99)]);
    assert!(
        matches!(&outcomes[..], [Outcome::Denied(denial)] if denial.code == triquest_allocator::DenialCode::Quarantine),
        "{outcomes:?}"
    );
    drop(server);
    assert_eq!(check(&new).unwrap().lineage, report.lineage);
    assert!(restore(&file, &new, None).unwrap_err().message.contains("is not empty"));
    assert!(restore(&dir, &folder.path().join("other"), None).unwrap_err().message.contains("is a directory"));
}

#[test]
fn the_key_in_a_backup_is_not_left_in_the_restored_journal() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let secret = "tqs-private:5ec7e75ec7e75ec7e7";
    fs::write(dir.join("server.key"), secret).unwrap();
    let file = folder.path().join("backup");
    backup_offline(&dir, &file).unwrap();
    restore(&file, &folder.path().join("new"), None).unwrap();
    let journal = fs::read(folder.path().join("new/journal.sqlite")).unwrap();
    assert!(!journal.windows(secret.len()).any(|window| window == secret.as_bytes()));
}

#[test]
fn a_flipped_byte_in_any_entry_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let path = dir.join("journal.sqlite");
    let whole = fs::read(&path).unwrap();
    let needle = triquest_journal::record::encode_entry(
        &triquest_journal::record::decode_entry(&open(&dir).read(Index(20), 1).unwrap()[0].1).unwrap(),
    );
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Pages that were split may hold older copies of it.
    for at in whole.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle).map(|(at, _)| at + 60) {
        file.write_all_at(&[whole[at] ^ 1], at as u64).unwrap();
    }
    for error in [refused(&dir), check(&dir).unwrap_err()] {
        assert_eq!(error.kind, JournalErrorKind::Corrupt, "{error}");
        assert!(error.message.contains("entry 20: the checksum is wrong"), "{error}");
        assert!(error.hint.contains("restore"), "{}", error.hint);
    }
    assert!(check(&dir).unwrap_err().message.contains("journal.sqlite"));
}

#[test]
fn damage_anywhere_in_the_file_never_gives_another_state() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let path = dir.join("journal.sqlite");
    let whole = fs::read(&path).unwrap();
    let good = state(&load(&mut open(&dir), Safeguards::default()).unwrap());
    let whole = if whole == fs::read(&path).unwrap() { whole } else { fs::read(&path).unwrap() };
    let (mut found, mut harmless) = (0, 0);
    for at in (0..whole.len()).step_by(509) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, bytes).unwrap();
        match SqliteJournal::open(&dir, OpenMode::Existing).and_then(|mut journal| load(&mut journal, Safeguards::default())) {
            Ok(loaded) => {
                assert_eq!(state(&loaded), good, "byte {at}");
                harmless += 1;
            }
            Err(error) => {
                assert!(!error.hint.is_empty() && error.message.contains("journal"), "{error}");
                found += 1;
            }
        }
    }
    assert!(found > harmless / 4, "{found} found, {harmless} in unused places");
}

#[test]
fn a_cut_file_an_empty_file_and_garbage_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let path = dir.join("journal.sqlite");
    let whole = fs::read(&path).unwrap();
    for (bytes, what) in [
        (whole[..whole.len() / 2].to_vec(), "cut"),
        (whole[..100].to_vec(), "cut to its header"),
        (Vec::new(), "emptied"),
        (b"seats".repeat(3000), "garbage"),
        ([&b"SQLite format 4\0"[..], &whole[16..]].concat(), "another header"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = refused(&dir);
        assert!(matches!(error.kind, JournalErrorKind::Corrupt), "{what}: {error} {:?}", error.kind);
        assert!(error.message.contains("journal.sqlite"), "{what}: {error}");
        assert!(check(&dir).is_err(), "{what}");
    }
}

#[test]
fn a_removed_or_damaged_write_ahead_log_is_noticed_although_sqlite_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let mut server = Server::start(Box::new(open(&dir)));
    server.grant(40..60, 1);
    let last = server.journal.head().index.0;

    let removed = crash_copy(&dir, &folder.path().join("removed"));
    fs::remove_file(removed.join("journal.sqlite-wal")).unwrap();
    let torn = crash_copy(&dir, &folder.path().join("torn"));
    let wal = fs::read(torn.join("journal.sqlite-wal")).unwrap();
    fs::write(torn.join("journal.sqlite-wal"), &wal[..wal.len() * 2 / 3]).unwrap();
    let flipped = crash_copy(&dir, &folder.path().join("flipped"));
    let mut bytes = wal.clone();
    bytes[wal.len() / 2] ^= 1;
    fs::write(flipped.join("journal.sqlite-wal"), bytes).unwrap();
    for dir in [removed, torn, flipped] {
        for error in [check(&dir).unwrap_err(), refused(&dir)] {
            assert_eq!(error.kind, JournalErrorKind::Corrupt, "{error}");
            assert!(error.message.contains(&format!("had answered for entries up to {last}")), "{error}");
            assert!(error.hint.contains("journal backup"), "{}", error.hint);
        }
        // The next step that the hint names works.
        let file = dir.join("../saved");
        backup_offline(&dir, &file).unwrap();
        restore(&file, &dir.join("../again"), None).unwrap();
        fs::remove_file(file).unwrap();
        fs::remove_dir_all(dir.join("../again")).unwrap();
    }
    // A crash that loses nothing is no damage.
    let whole = crash_copy(&dir, &folder.path().join("whole"));
    assert_eq!(SqliteJournal::open(&whole, OpenMode::Existing).unwrap().head().index.0, last);
}

#[test]
fn an_old_copy_put_in_place_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let old = fs::read(dir.join("journal.sqlite")).unwrap();
    Server::start(Box::new(open(&dir))).grant(40..50, 1);
    fs::write(dir.join("journal.sqlite"), old).unwrap();
    let error = refused(&dir);
    assert_eq!(error.kind, JournalErrorKind::Corrupt);
    assert!(error.message.contains("an old copy was put here"), "{error}");
}

#[test]
fn a_journal_that_vanished_is_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    fs::remove_file(dir.join("journal.sqlite")).unwrap();
    for mode in [OpenMode::InitIfMissing, OpenMode::Init, OpenMode::Existing] {
        let error = SqliteJournal::open(&dir, mode).unwrap_err();
        assert_eq!(error.kind, JournalErrorKind::Missing);
        assert!(error.message.contains("is gone"), "{error}");
    }
}

#[test]
fn an_entry_of_a_newer_version_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let mut journal = open(&dir);
    let head = journal.head();
    let mut bytes = common::entry_of(head.lineage, head.epoch.0, head.index.0 + 1, vec![]);
    bytes.truncate(bytes.len() - 8);
    *bytes.last_mut().unwrap() = 0x81;
    bytes.extend_from_slice(&[0x82, 0x19, 0x0f, 0xa0, 0x80]);
    bytes.extend_from_slice(&triquest_license::sha256(&bytes)[..8]);
    assert_eq!(journal.append(head.epoch, head.index, &bytes).unwrap(), Appended::Committed);
    drop(journal);
    let error = refused(&dir);
    assert!(error.message.contains("event 0") && error.message.contains(&format!("entry {}", head.index.0 + 1)), "{error}");
}

#[test]
fn a_newer_layout_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let dir = used(folder.path());
    let file = fs::OpenOptions::new().write(true).open(dir.join("journal.sqlite")).unwrap();
    // SQLite's file format: user_version is at byte 60.
    file.write_all_at(&2u32.to_be_bytes(), 60).unwrap();
    let error = refused(&dir);
    assert_eq!(error.kind, JournalErrorKind::Newer);
    assert!(error.hint.contains("newer"), "{}", error.hint);
}
