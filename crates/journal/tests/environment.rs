//! Disks that fill up or go read-only, processes that are killed, directories that are not what they should be.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs, unreachable_pub)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use common::entry;
use triquest_allocator::{Epoch, Event, Index, ReleaseCause};
use triquest_journal::check::check;
use triquest_journal::record::encode_entry;
use triquest_journal::{Appended, History, Journal, JournalErrorKind, OpenMode, RESERVE_BYTES, Room, SqliteJournal, upgrade};

const DIR: &str = "TRIQUEST_TEST_DIR";

/// Runs a test of this file again in a mount namespace of its own where `DIR` is a small tmpfs. False if this machine does not permit it.
fn on_tmpfs(test: &str, size: &str, before: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display();
    let me = std::env::current_exe().unwrap();
    let script = format!("mount -t tmpfs -o size={size},mode=700 tmpfs {dir} && {before} exec {} --exact {test} --nocapture", me.display());
    for unshare in [&["-m"][..], &["-rm"]] {
        let permitted = Command::new("unshare").args(unshare).args(["sh", "-c", &format!("mount -t tmpfs tmpfs {dir}")]).output();
        if permitted.is_ok_and(|output| output.status.success()) {
            let output = Command::new("unshare").args(unshare).args(["sh", "-c", &script]).env(DIR, folder.path()).output().unwrap();
            assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            return true;
        }
    }
    eprintln!("skipped: neither root nor user namespaces here");
    false
}

fn released(journal: &SqliteJournal, number: u64) -> (Index, Vec<u8>) {
    let head = journal.head();
    let index = Index(head.index.0 + 1);
    let event = Event::Released { lease: common::lease(number), cause: ReleaseCause::Holder, linger_until: None, items: Vec::new() };
    (index, common::entry_of(head.lineage, 1, index.0, vec![event]))
}

#[test]
fn a_snapshot_that_finds_no_room_gives_back_what_it_took() {
    let Some(dir) = std::env::var_os(DIR) else {
        on_tmpfs("a_snapshot_that_finds_no_room_gives_back_what_it_took", "110m", "");
        return;
    };
    let data = Path::new(&dir).join("data");
    let mut journal = SqliteJournal::open(&data, OpenMode::Init).unwrap();
    let lineage = journal.head().lineage;
    // Leases whose snapshot is larger than what will be left.
    while journal.head().index.0 < 120 {
        let index = journal.head().index.0 + 1;
        let events = (0..500).map(|number| common::granted(index * 1_000 + number)).collect();
        let bytes = common::entry_of(lineage, 1, index, events);
        assert_eq!(journal.append(Epoch(1), Index(index - 1), &bytes).unwrap(), Appended::Committed);
    }
    let fill = |name: &str, leave: u64| {
        let mut filler = fs::File::create(Path::new(&dir).join(name)).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        filler.set_len(filler.metadata().unwrap().len() - leave).unwrap();
    };
    fill("filler", 16 * 1024 * 1024);
    let before = journal.room().unwrap().left_bytes;
    let chunk = vec![7; triquest_journal::SNAPSHOT_CHUNK_BYTES_MAX];
    let full = (0..).find_map(|number| journal.write_snapshot_chunk(Index(120), number, &chunk).err());
    assert_eq!(full.unwrap().kind, JournalErrorKind::Full);
    let taken = before - journal.room().unwrap().left_bytes;
    assert!(taken > 2 * 1024 * 1024, "{taken}");
    // Whoever was killed in the middle of it gives it back when it opens the journal again.
    drop(journal);
    let mut journal = SqliteJournal::open(&data, OpenMode::Existing).unwrap();
    let lacks = before.saturating_sub(journal.room().unwrap().left_bytes);
    assert!(lacks < 512 * 1024, "{lacks} of {taken} are gone");
    // And so does whoever gives it up.
    journal.write_snapshot_chunk(Index(120), 0, &chunk).unwrap();
    while journal.drop_unfinished().unwrap() {}
    let lacks = before.saturating_sub(journal.room().unwrap().left_bytes);
    assert!(lacks < 512 * 1024, "{lacks} of {taken} are gone");
}

#[test]
fn a_full_disk_loses_nothing_and_the_reserve_makes_room_for_releases() {
    let Some(dir) = std::env::var_os(DIR) else {
        on_tmpfs("a_full_disk_loses_nothing_and_the_reserve_makes_room_for_releases", "28m", "");
        return;
    };
    let data = Path::new(&dir).join("data");
    let mut journal = SqliteJournal::open(&data, OpenMode::Init).unwrap();
    let lineage = journal.head().lineage;
    assert_eq!(fs::metadata(data.join("reserve")).unwrap().len(), triquest_journal::RESERVE_BYTES);
    let room = journal.room().unwrap();
    assert!(room.reserve_bytes == RESERVE_BYTES && (RESERVE_BYTES..28 * 1024 * 1024).contains(&room.left_bytes), "{room:?}");
    // Others fill the disk; a little is left.
    let mut filler = fs::File::create(Path::new(&dir).join("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    let filled = filler.metadata().unwrap().len();
    filler.set_len(filled - 512 * 1024).unwrap();
    drop(filler);
    let (full, bytes) = loop {
        let index = Index(journal.head().index.0 + 1);
        let events = (0..20).map(|number| common::granted(index.0 * 100 + number)).collect();
        let bytes = common::entry_of(lineage, 1, index.0, events);
        match journal.append(Epoch(1), Index(index.0 - 1), &bytes).unwrap() {
            Appended::Committed => {}
            Appended::Full => break (index, bytes),
            other => panic!("{other:?}"),
        }
    };
    assert!(full.0 > 5);
    assert_eq!(journal.append(Epoch(1), Index(full.0 - 1), &bytes).unwrap(), Appended::Full, "still full");
    assert_eq!(journal.room().unwrap().left_bytes, 0, "a refusal counts for more than what the file system says");
    let no_backup = upgrade::prepare(&mut journal, "9.9.9").unwrap_err();
    assert_eq!(no_backup.kind, JournalErrorKind::Full, "{no_backup}");
    assert!(!data.join("backups").exists() && no_backup.hint.contains("make room"), "{no_backup} {}", no_backup.hint);
    assert_eq!(journal.read(Index(1), usize::MAX).unwrap().len() as u64, full.0 - 1, "everything acknowledged is there, nothing else");
    let error = journal.write_snapshot_chunk(Index(1), 0, &[0; 200_000]).unwrap_err();
    assert_eq!(error.kind, JournalErrorKind::Full, "{error}");
    assert!(error.hint.contains("make room"), "{}", error.hint);

    // A restart on the full disk works and takes from the reserve only what it needs.
    drop(journal);
    let mut journal = SqliteJournal::open(&data, OpenMode::Existing).unwrap();
    assert_eq!(journal.head().index.0, full.0 - 1);
    let _ = journal.release_reserve().unwrap();
    assert!(!data.join("reserve").exists());
    assert_eq!(journal.append(Epoch(1), Index(full.0 - 1), &bytes).unwrap(), Appended::Committed, "the same bytes again");
    let mut releases = 0;
    while releases < 3_000 {
        let (index, bytes) = released(&journal, releases);
        let told = journal.room().unwrap().left_bytes;
        if journal.append(Epoch(1), Index(index.0 - 1), &bytes).unwrap() != Appended::Committed {
            assert!(told < Room::taken_by(bytes.len()), "{told} bytes were said to be left");
            break;
        }
        releases += 1;
    }
    println!("{releases} releases in entries of their own fit into the reserve");
    assert!(releases >= 1_000, "{releases}");
    let head = journal.head();
    let all = encode_entry(&triquest_journal::record::Entry {
        lineage,
        epoch: Epoch(1),
        index: Index(head.index.0 + 1),
        moment: triquest_allocator::Moment { at: triquest_allocator::Timestamp(u64::MAX / 2), wall_ms: 0 },
        events: (0..2_048)
            .map(|number| Event::Released {
                lease: common::lease(number),
                cause: ReleaseCause::Holder,
                linger_until: None,
                items: Vec::new(),
            })
            .collect(),
    });
    assert_eq!(journal.append(Epoch(1), head.index, &all).unwrap(), Appended::Committed, "a whole batch of releases");
    assert!(!journal.restore_reserve().unwrap() || data.join("reserve").exists());
    fs::remove_file(Path::new(&dir).join("filler")).unwrap();
    assert!(journal.restore_reserve().unwrap());
    let index = Index(journal.head().index.0 + 1);
    drop(journal);
    assert_eq!(SqliteJournal::open(&data, OpenMode::Existing).unwrap().head().index.0 + 1, index.0);
}

#[test]
fn a_read_only_disk_is_refused_with_what_to_do_and_can_be_checked() {
    if let Some(dir) = std::env::var_os(DIR) {
        let data = Path::new(&dir).join("data");
        let head = SqliteJournal::open(&data, OpenMode::Init).unwrap().head();
        assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(&dir).status().unwrap().success());
        let error = SqliteJournal::open(&data, OpenMode::Existing).unwrap_err();
        assert_eq!(error.kind, JournalErrorKind::ReadOnly, "{error}");
        assert!(error.message.contains("data") && error.hint.contains("read-only"), "{error} {}", error.hint);
        assert_eq!(check(&data).unwrap().last, head.index);
        let error = SqliteJournal::open(&Path::new(&dir).join("new"), OpenMode::Init).unwrap_err();
        assert_eq!(error.kind, JournalErrorKind::ReadOnly, "{error}");
        return;
    }
    on_tmpfs("a_read_only_disk_is_refused_with_what_to_do_and_can_be_checked", "28m", "");
}

/// Not a test of its own: what the next one kills.
#[test]
fn append_until_killed() {
    let Some(dir) = std::env::var_os("TRIQUEST_TEST_APPEND") else { return };
    let mut journal = SqliteJournal::open(Path::new(&dir), OpenMode::InitIfMissing).unwrap();
    let lineage = journal.head().lineage;
    let mut out = std::io::stdout();
    loop {
        let index = Index(journal.head().index.0 + 1);
        assert_eq!(journal.append(Epoch(1), Index(index.0 - 1), &entry(lineage, 1, index.0)).unwrap(), Appended::Committed);
        writeln!(out, "acknowledged {}", index.0).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn whatever_was_acknowledged_is_there_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let mut last = 0;
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "append_until_killed", "--nocapture"])
            .env("TRIQUEST_TEST_APPEND", &dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged =
            |line: Result<String, _>| line.ok().and_then(|line: String| line.rsplit_once("acknowledged ")?.1.parse::<u64>().ok());
        let until = last + 1 + 17 * round;
        while last < until {
            if let Some(index) = lines.next().map(acknowledged).unwrap() {
                last = index;
            }
        }
        child.kill().unwrap();
        last = lines.filter_map(acknowledged).last().unwrap_or(last);
        child.wait().unwrap();
        let mut journal = SqliteJournal::open(&dir, OpenMode::Existing).unwrap();
        let head = journal.head();
        assert!(head.index.0 == last || head.index.0 == last + 1, "acknowledged {last}, ends at {}", head.index.0);
        let entries = journal.read(Index(1), usize::MAX).unwrap();
        assert_eq!(entries.len() as u64, head.index.0);
        assert!(entries.iter().all(|(index, bytes)| *bytes == entry(head.lineage, 1, index.0)));
        last = head.index.0;
    }
}

#[test]
fn a_second_server_is_kept_out_and_told_who_has_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let first = SqliteJournal::open(&dir, OpenMode::Init).unwrap();
    let error = SqliteJournal::open(&dir, OpenMode::Existing).unwrap_err();
    assert_eq!(error.kind, JournalErrorKind::Locked);
    assert!(error.message.contains(&format!("process {}", std::process::id())), "{error}");
    drop(first);
    SqliteJournal::open(&dir, OpenMode::Existing).unwrap();
}

#[test]
fn a_directory_without_a_journal_needs_to_be_told_that_it_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let error = SqliteJournal::open(&dir, OpenMode::Existing).unwrap_err();
    assert_eq!(error.kind, JournalErrorKind::Missing);
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    let error = SqliteJournal::open(&dir, OpenMode::Existing).unwrap_err();
    assert_eq!(error.kind, JournalErrorKind::Missing);
    assert!(error.hint.contains("--init") && error.hint.contains("not mounted"), "{}", error.hint);
    let journal = SqliteJournal::open(&dir, OpenMode::InitIfMissing).unwrap();
    assert!(journal.created());
    drop(journal);
    assert!(!SqliteJournal::open(&dir, OpenMode::InitIfMissing).unwrap().created());
    assert!(SqliteJournal::open(&dir, OpenMode::Init).unwrap_err().message.contains("is there already"));
}

#[test]
fn the_journal_of_a_lost_history_begins_another_lineage_as_a_restored_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let lineage = SqliteJournal::open(&dir, OpenMode::InitIfMissing).unwrap().head().lineage;
    SqliteJournal::open(&dir, OpenMode::Existing).unwrap().append(Epoch(1), Index(0), &entry(lineage, 1, 1)).unwrap();
    for name in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"] {
        let _ = fs::remove_file(dir.join(name));
    }
    let error = SqliteJournal::open(&dir, OpenMode::InitIfMissing).unwrap_err();
    assert!(error.message.contains("is gone, although a server has run here"), "{error}");
    let mut journal = SqliteJournal::open(&dir, OpenMode::InitLost).unwrap();
    let head = journal.head();
    assert_eq!((head.epoch, head.index), (Epoch(1), Index(1)), "as after a start that nobody knows anything of");
    assert_ne!(head.lineage, lineage);
    let allocator = triquest_journal::load(&mut journal, triquest_allocator::Safeguards::default()).unwrap();
    assert_ne!(allocator.lineage(), head.lineage, "so that the next start begins a lineage");
    drop(journal);
    assert_eq!(SqliteJournal::open(&dir, OpenMode::Existing).unwrap().head(), head);
    assert!(SqliteJournal::open(&dir, OpenMode::InitLost).unwrap_err().message.contains("is there already"));
}

#[test]
fn everything_is_closed_to_others_and_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("deep/data");
    drop(SqliteJournal::open(&dir, OpenMode::Init).unwrap());
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let mut journal = SqliteJournal::open(&dir, OpenMode::Existing).unwrap();
    let lineage = journal.head().lineage;
    journal.append(Epoch(1), Index(0), &entry(lineage, 1, 1)).unwrap();
    for file in fs::read_dir(&dir).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
    drop(journal);
    fs::set_permissions(dir.join("journal.sqlite"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = SqliteJournal::open(&dir, OpenMode::Existing).unwrap_err();
    assert!(error.hint.contains("chmod 600"), "{error} {}", error.hint);
    fs::set_permissions(dir.join("journal.sqlite"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let error = SqliteJournal::open(&dir, OpenMode::Existing).unwrap_err();
    assert!(error.hint.contains("chmod 700"), "{error} {}", error.hint);
}

#[test]
fn links_and_strangers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    drop(SqliteJournal::open(&dir, OpenMode::Init).unwrap());
    symlink(&dir, folder.path().join("link")).unwrap();
    let error = SqliteJournal::open(&folder.path().join("link"), OpenMode::Existing).unwrap_err();
    assert!(error.message.contains("symbolic link"), "{error}");

    let moved = folder.path().join("elsewhere.sqlite");
    fs::rename(dir.join("journal.sqlite"), &moved).unwrap();
    symlink(&moved, dir.join("journal.sqlite")).unwrap();
    let error = SqliteJournal::open(&dir, OpenMode::Existing).unwrap_err();
    assert!(error.message.contains("not a plain file"), "{error}");
    fs::remove_file(dir.join("journal.sqlite")).unwrap();
    fs::rename(&moved, dir.join("journal.sqlite")).unwrap();

    fs::remove_file(dir.join("lock")).unwrap();
    symlink(&moved, dir.join("lock")).unwrap();
    assert!(SqliteJournal::open(&dir, OpenMode::Existing).is_err());
    assert!(!moved.exists(), "nothing was made through the link");
    fs::remove_file(dir.join("lock")).unwrap();

    // Only root can give a directory away.
    if std::os::unix::fs::chown(&dir, Some(12_345), None).is_ok() {
        let error = SqliteJournal::open(&dir, OpenMode::Existing).unwrap_err();
        assert!(error.message.contains("belongs to user 12345"), "{error}");
    }
}

/// The mark is not synced, so what is forgotten for a new journal must be forgotten durably and before that journal has its name.
#[test]
fn a_new_journal_after_a_loss_never_meets_the_mark_of_the_lost_one() {
    for appended in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("data");
        let lineage = SqliteJournal::open(&dir, OpenMode::InitIfMissing).unwrap().head().lineage;
        if appended {
            SqliteJournal::open(&dir, OpenMode::Existing).unwrap().append(Epoch(1), Index(0), &entry(lineage, 1, 1)).unwrap();
        }
        for name in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"] {
            let _ = fs::remove_file(dir.join(name));
        }
        let mark = || fs::read_to_string(dir.join("lock")).unwrap();
        assert!(mark().contains(&lineage.to_string()), "{}", mark());
        // It ends before the new journal has its name.
        fs::create_dir(dir.join("journal.sqlite.new")).unwrap();
        let mode = if appended { OpenMode::InitLost } else { OpenMode::InitIfMissing };
        SqliteJournal::open(&dir, mode).unwrap_err();
        let forgotten = mark();
        assert!(!forgotten.contains(&lineage.to_string()), "{forgotten}");
        assert_eq!(SqliteJournal::open(&dir, OpenMode::Existing).unwrap_err().kind, JournalErrorKind::Missing);
        fs::remove_dir(dir.join("journal.sqlite.new")).unwrap();
        let head = SqliteJournal::open(&dir, mode).unwrap().head();
        // It is killed, or the power goes, when the new journal has its name and before it is marked.
        fs::write(dir.join("lock"), forgotten).unwrap();
        assert_eq!(SqliteJournal::open(&dir, OpenMode::Existing).unwrap().head(), head);
        assert!(mark().contains(&head.lineage.to_string()), "{}", mark());
    }
}
