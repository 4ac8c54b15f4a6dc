//! Another version writes: a backup before it, and the way back.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use triquest_allocator::{Epoch, Event, Index, Instance};
use triquest_journal::{Appended, History, Journal, JournalErrorKind, OpenMode, SqliteJournal, backup, check, load, upgrade};
use triquest_license::{Word, Words};

fn journal_of(dir: &Path, version: &str, entries: u64) -> SqliteJournal {
    let mut journal = SqliteJournal::open(dir, OpenMode::Init).unwrap();
    assert_eq!(upgrade::prepare(&mut journal, version).unwrap(), None, "a new journal has nothing to go back to");
    append(&mut journal, entries);
    journal
}

fn append(journal: &mut SqliteJournal, entries: u64) {
    let lineage = journal.head().lineage;
    for _ in 0..entries {
        let index = journal.head().index.0 + 1;
        let recovered = Event::Recovered {
            epoch: Epoch(1),
            instance: Instance([1; 16]),
            lineage,
            quarantine_until: None,
            remember_ms: triquest_allocator::limits::REMEMBER_MS,
            wait_ttl_ms: triquest_allocator::limits::WAIT_TTL_MS,
        };
        let event = if index == 1 { recovered } else { Event::ClockMarked };
        let bytes = common::entry_of(lineage, 1, index, vec![event]);
        assert_eq!(journal.append(Epoch(1), Index(index - 1), &bytes).unwrap(), Appended::Committed);
    }
}

/// An entry as a later version writes it: the first record of a new kind after the words that it takes to read it.
fn newer_entry(journal: &SqliteJournal) -> Vec<u8> {
    const CLOCK_MARKED: [u8; 3] = [0x82, 0x02, 0x80];
    let words = Words::new([Word::new("share").unwrap()]).unwrap();
    let head = journal.head();
    let mut bytes = common::entry_of(head.lineage, 1, head.index.0 + 1, vec![Event::FormatRaised { words }, Event::ClockMarked]);
    bytes.truncate(bytes.len() - 8);
    assert!(bytes.ends_with(&CLOCK_MARKED), "{bytes:x?}");
    bytes.truncate(bytes.len() - CLOCK_MARKED.len());
    // Kind 9999 has not been invented.
    bytes.extend([0x82, 0x19, 0x27, 0x0f, 0x80]);
    let checksum = triquest_license::sha256(&bytes);
    bytes.extend_from_slice(&checksum[..8]);
    bytes
}

#[test]
fn a_version_that_follows_another_makes_a_backup_before_its_first_entry() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let mut journal = journal_of(&dir, "0.1.0", 3);
    assert_eq!(upgrade::prepare(&mut journal, "0.1.0").unwrap(), None, "the same version again");
    let made = upgrade::prepare(&mut journal, "9.0.0").unwrap().unwrap();
    assert_eq!(made.file_name().unwrap().to_str().unwrap(), "upgrade-from-0.1.0-at-3-1.sqlite");
    assert_eq!(check::check(&made).unwrap().last, Index(3));
    append(&mut journal, 1);
    assert_eq!(upgrade::prepare(&mut journal, "9.0.0").unwrap(), None, "once for each version");
    // Until a record of a new kind is written, going back needs nothing but the older program.
    drop(journal);
    let mut journal = SqliteJournal::open(&dir, OpenMode::Existing).unwrap();
    assert!(upgrade::prepare(&mut journal, "0.1.0").unwrap().is_some(), "a version that goes back is another version too");
    append(&mut journal, 1);
    assert_eq!(journal.head().index, Index(5));
}

#[test]
fn an_older_version_names_the_backup_that_was_made_when_it_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let mut journal = journal_of(&dir, "0.1.0", 3);
    let made = upgrade::prepare(&mut journal, "9.0.0").unwrap().unwrap();
    append(&mut journal, 1);
    let later = upgrade::prepare(&mut journal, "9.1.0").unwrap().unwrap();
    let newer = newer_entry(&journal);
    let head = journal.head().index;
    assert_eq!(journal.append(Epoch(1), head, &newer).unwrap(), Appended::Committed);
    let refused = load(&mut journal, triquest_allocator::Safeguards::default()).unwrap_err();
    assert_eq!(refused.kind, JournalErrorKind::Newer, "{refused}");
    assert!(refused.message.contains("does not know the words share"), "{refused}");
    assert!(refused.hint.contains("journal restore"), "{}", refused.hint);
    let prepared = upgrade::prepare(&mut journal, "0.1.0").unwrap_err();
    assert_eq!(prepared.kind, JournalErrorKind::Newer, "no backup of what it cannot read");
    drop(journal);
    let opened = SqliteJournal::open(&dir, OpenMode::Existing).unwrap_err();
    assert_eq!(opened.kind, JournalErrorKind::Newer, "its last entry is what this version cannot read: {opened}");

    let how = upgrade::how_back(&dir, "0.1.0");
    assert!(how.contains(&format!("triquest-lm journal restore {} NEW-DIRECTORY", made.display())), "{how}");
    assert!(upgrade::how_back(&dir, "9.0.0").contains(later.to_str().unwrap()));
    assert!(upgrade::how_back(&dir, "0.0.9").contains(later.to_str().unwrap()), "else the newest");
    let restored = folder.path().join("restored");
    backup::restore(&made, &restored, None).unwrap();
    let mut journal = SqliteJournal::open(&restored, OpenMode::Existing).unwrap();
    assert_eq!(journal.head().index, Index(3));
    assert_eq!(upgrade::prepare(&mut journal, env!("CARGO_PKG_VERSION")).unwrap(), None, "the backup is there already");
}

#[test]
fn few_backups_of_this_kind_are_kept_and_no_other_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let mut journal = journal_of(&dir, "1", 1);
    let made: Vec<PathBuf> = (2..8)
        .map(|version| {
            append(&mut journal, 1);
            let made = upgrade::prepare(&mut journal, &version.to_string()).unwrap().unwrap();
            // Each is a second younger than the one before, whatever the clock says.
            let file = fs::File::options().write(true).open(&made).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000 + version)).unwrap();
            if version == 2 {
                fs::write(dir.join("backups/2026-11-28-1-1-1.sqlite"), "an administrator's").unwrap();
            }
            made
        })
        .collect();
    let there: Vec<bool> = made.iter().map(|path| path.exists()).collect();
    assert_eq!(there, [false, false, false, true, true, true]);
    assert!(dir.join("backups/2026-11-28-1-1-1.sqlite").exists());
}

#[test]
fn a_journal_that_this_version_made_has_nothing_before_it_to_back_up() {
    for mode in [OpenMode::Init, OpenMode::InitLost] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("data");
        let mut journal = SqliteJournal::open(&dir, mode).unwrap();
        assert_eq!(upgrade::prepare(&mut journal, env!("CARGO_PKG_VERSION")).unwrap(), None, "{mode:?}");
        drop(journal);
        let mut journal = SqliteJournal::open(&dir, OpenMode::Existing).unwrap();
        assert_eq!(upgrade::prepare(&mut journal, env!("CARGO_PKG_VERSION")).unwrap(), None, "{mode:?}");
        assert!(!dir.join("backups").exists());
    }
}

#[test]
fn what_a_killed_start_left_of_a_backup_is_removed_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let mut journal = journal_of(&dir, "0.1.0", 1);
    let made = upgrade::prepare(&mut journal, "9.0.0").unwrap().unwrap();
    let backups = dir.join("backups");
    // In a container every start has the same process id.
    let left = [
        ".upgrade-from-9.0.0-at-1-1.sqlite.1.partial".to_owned(),
        format!(".upgrade-from-9.0.0-at-1-1.sqlite.{}.partial", std::process::id()),
    ];
    let others = [".2026-11-28-1-1-1.sqlite.1.partial", "upgrade-notes.partial"];
    left.iter().map(String::as_str).chain(others).for_each(|name| fs::write(backups.join(name), "half").unwrap());
    assert_eq!(upgrade::prepare(&mut journal, "9.0.0").unwrap(), None);
    assert!(left.iter().all(|name| !backups.join(name).exists()));
    fs::write(backups.join(&left[1]), "half").unwrap();
    assert!(upgrade::prepare(&mut journal, "9.1.0").unwrap().is_some(), "nor does it stand in the way");
    assert!(made.exists() && others.iter().all(|name| backups.join(name).exists()));
}

#[test]
fn a_place_for_backups_that_is_a_link_is_refused_with_what_can_be_done() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let mut journal = journal_of(&dir, "0.1.0", 1);
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join(".upgrade-from-0.1.0-at-1-1.sqlite.1.partial"), "half").unwrap();
    std::os::unix::fs::symlink(&elsewhere, dir.join("backups")).unwrap();
    let refused = upgrade::prepare(&mut journal, "9.0.0").unwrap_err();
    assert!(refused.message.contains("symbolic link") && refused.hint.contains("remove the link"), "{refused} {}", refused.hint);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1, "nothing is removed through it");
    fs::remove_file(dir.join("backups")).unwrap();
    assert!(upgrade::prepare(&mut journal, "9.0.0").unwrap().is_some());
}
