//! What every journal must do, shown for both that are here.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{LINEAGE, entry};
use triquest_allocator::{Epoch, Event, Index, Instance, Lineage, Timestamp};
use triquest_journal::memory::{Fault, MemoryJournal};
use triquest_journal::{Appended, History, Journal, JournalErrorKind, OpenMode, SqliteJournal};

fn each(check: impl Fn(&mut dyn Journal, Lineage)) {
    check(&mut MemoryJournal::new(LINEAGE), LINEAGE);
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::open(&dir.path().join("data"), OpenMode::Init).unwrap();
    let lineage = journal.head().lineage;
    check(&mut journal, lineage);
}

fn append(journal: &mut dyn Journal, lineage: Lineage, index: u64) {
    assert_eq!(journal.append(Epoch(1), Index(index - 1), &entry(lineage, 1, index)).unwrap(), Appended::Committed);
}

#[test]
fn entries_are_read_back_in_order_and_in_portions() {
    each(|journal, lineage| {
        (1..=20).for_each(|index| append(journal, lineage, index));
        assert_eq!(journal.head().index, Index(20));
        assert_eq!(journal.head().epoch, Epoch(1));
        let all = journal.read(Index(1), usize::MAX).unwrap();
        assert!(all.iter().enumerate().all(|(at, (index, bytes))| index.0 == at as u64 + 1 && *bytes == entry(lineage, 1, index.0)));
        let portion = journal.read(Index(5), 500).unwrap();
        assert!(portion.len() > 1 && portion.len() < 6, "{}", portion.len());
        assert_eq!(portion[0].0, Index(5));
        assert!(journal.read(Index(21), 1000).unwrap().is_empty());
    });
}

#[test]
fn the_same_bytes_again_are_committed_and_others_are_fenced() {
    each(|journal, lineage| {
        (1..=3).for_each(|index| append(journal, lineage, index));
        append(journal, lineage, 2);
        let other = common::entry_of(lineage, 1, 2, vec![common::granted(77)]);
        assert_eq!(journal.append(Epoch(1), Index(1), &other).unwrap(), Appended::Fenced);
    });
}

#[test]
fn an_epoch_that_is_over_is_fenced() {
    each(|journal, lineage| {
        append(journal, lineage, 1);
        assert_eq!(journal.append(Epoch(2), Index(1), &entry(lineage, 2, 2)).unwrap(), Appended::Committed);
        assert_eq!(journal.append(Epoch(1), Index(2), &entry(lineage, 1, 3)).unwrap(), Appended::Fenced);
    });
}

#[test]
fn a_gap_another_history_and_foreign_bytes_are_never_written() {
    each(|journal, lineage| {
        append(journal, lineage, 1);
        assert!(journal.append(Epoch(1), Index(2), &entry(lineage, 1, 3)).is_err());
        assert!(journal.append(Epoch(1), Index(1), &entry(lineage, 1, 3)).is_err());
        assert!(journal.append(Epoch(1), Index(1), &entry(Lineage([9; 16]), 1, 2)).is_err());
        assert!(journal.append(Epoch(1), Index(1), b"seats").is_err());
        append(journal, lineage, 2);
    });
}

#[test]
fn an_entry_that_begins_a_lineage_makes_the_journal_one_of_it_and_no_other_entry_does() {
    let begins = |named: Lineage, began: Lineage, index: u64| {
        let event = Event::LineageBegan {
            lineage: began,
            quarantine_until: Timestamp(3_600_000),
            lease: common::lease(1),
            epoch: Epoch(1),
            instance: Instance([2; 16]),
            index: Index(9),
        };
        common::entry_of(named, 1, index, vec![event])
    };
    let next = Lineage([9; 16]);
    let check = |journal: &mut dyn Journal, lineage: Lineage| {
        append(journal, lineage, 1);
        assert!(journal.append(Epoch(1), Index(1), &begins(next, lineage, 2)).is_err());
        assert_eq!(journal.append(Epoch(1), Index(1), &begins(next, next, 2)).unwrap(), Appended::Committed);
        assert_eq!((journal.head().lineage, journal.head().index), (next, Index(2)));
        assert!(journal.append(Epoch(1), Index(2), &entry(lineage, 1, 3)).is_err());
        append(journal, next, 3);
    };
    check(&mut MemoryJournal::new(LINEAGE), LINEAGE);
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::open(&dir.path().join("data"), OpenMode::Init).unwrap();
    let lineage = journal.head().lineage;
    check(&mut journal, lineage);
    drop(journal);
    let data = dir.path().join("data");
    let journal = SqliteJournal::open(&data, OpenMode::Existing).unwrap();
    assert_eq!((journal.head().lineage, journal.head().index), (next, Index(3)));
    drop(journal);
    // The mark beside it is not synced: after a loss of power it may be of the lineage before.
    let lock = data.join(triquest_journal::LOCK_FILE);
    let mark = |index: u64, lineage: Lineage| std::fs::write(&lock, format!("head {index:020} lineage {lineage} pid {:010}\n", 7)).unwrap();
    for older in [0, 1] {
        mark(older, lineage);
        drop(SqliteJournal::open(&data, OpenMode::Existing).unwrap());
    }
    for (index, of) in [(2, lineage), (1, Lineage([5; 16])), (4, next)] {
        mark(index, of);
        assert!(SqliteJournal::open(&data, OpenMode::Existing).is_err(), "a mark of another history, or beyond the end");
    }
}

#[test]
fn entries_go_only_when_a_complete_snapshot_holds_them() {
    each(|journal, lineage| {
        assert_eq!(journal.oldest().unwrap(), Index(1), "none is kept, so it is the next");
        (1..=200).for_each(|index| append(journal, lineage, index));
        assert_eq!(journal.truncate(Index(10)).unwrap_err().kind, JournalErrorKind::Missing);
        journal.write_snapshot_chunk(Index(150), 0, b"first").unwrap();
        assert_eq!(journal.snapshot().unwrap(), None, "a snapshot in the making is none");
        assert!(journal.finish_snapshot(Index(150), 2).is_err(), "a chunk is missing");
        journal.write_snapshot_chunk(Index(150), 1, b"second").unwrap();
        journal.finish_snapshot(Index(150), 2).unwrap();
        assert_eq!(journal.snapshot().unwrap(), Some((Index(150), 2)));
        assert_eq!(journal.snapshot_chunk(Index(150), 1).unwrap(), b"second");
        assert!(journal.truncate(Index(151)).is_err(), "beyond the snapshot");
        while journal.truncate(Index(150)).unwrap() {}
        assert_eq!(journal.read(Index(1), 1000).unwrap_err().kind, JournalErrorKind::Missing);
        assert_eq!(journal.oldest().unwrap(), Index(151));
        assert_eq!(journal.read(Index(151), 1).unwrap()[0].0, Index(151));
        assert_eq!(journal.head().index, Index(200));
    });
}

#[test]
fn a_newer_snapshot_takes_the_place_of_the_older() {
    each(|journal, lineage| {
        (1..=9).for_each(|index| append(journal, lineage, index));
        for index in [3, 7] {
            (0..9).for_each(|number| journal.write_snapshot_chunk(Index(index), number, &[number as u8; 100]).unwrap());
            journal.finish_snapshot(Index(index), 9).unwrap();
        }
        assert_eq!(journal.snapshot().unwrap(), Some((Index(7), 9)));
        while journal.truncate(Index(3)).unwrap() {}
        assert_eq!(journal.snapshot_chunk(Index(3), 0).unwrap_err().kind, JournalErrorKind::Missing);
        assert_eq!(journal.snapshot_chunk(Index(7), 8).unwrap(), [8; 100]);
    });
}

#[test]
fn what_is_unknown_is_found_out_by_appending_the_same_bytes() {
    let mut journal = MemoryJournal::new(LINEAGE);
    journal.inject([Fault::UnknownLost, Fault::UnknownCommitted, Fault::Full]);
    let first = entry(LINEAGE, 1, 1);
    assert_eq!(journal.append(Epoch(1), Index(0), &first).unwrap(), Appended::Unknown);
    assert_eq!(journal.append(Epoch(1), Index(0), &first).unwrap(), Appended::Unknown);
    assert_eq!(journal.append(Epoch(1), Index(0), &first).unwrap(), Appended::Committed);
    let second = entry(LINEAGE, 1, 2);
    assert_eq!(journal.append(Epoch(1), Index(1), &second).unwrap(), Appended::Full);
    assert_eq!(journal.append(Epoch(1), Index(1), &second).unwrap(), Appended::Committed);
    assert_eq!(journal.crash().head().index, Index(2));
}

#[test]
fn a_second_opening_fences_the_first_and_an_error_ends_an_opening() {
    let mut first = MemoryJournal::new(LINEAGE);
    append(&mut first, LINEAGE, 1);
    let mut second = first.disk().open();
    assert_eq!(first.append(Epoch(1), Index(1), &entry(LINEAGE, 1, 2)).unwrap(), Appended::Fenced);
    second.inject([Fault::Error]);
    assert!(second.append(Epoch(2), Index(1), &entry(LINEAGE, 2, 2)).is_err());
    assert!(second.append(Epoch(2), Index(1), &entry(LINEAGE, 2, 2)).is_err(), "it stays dead");
    assert_eq!(second.crash().head().index, Index(1));
}

#[test]
fn a_memory_disk_has_the_room_that_it_is_given() {
    let mut journal = MemoryJournal::new(LINEAGE);
    append(&mut journal, LINEAGE, 1);
    journal.disk().set_room_bytes(Some(entry(LINEAGE, 1, 1).len() + 10));
    assert_eq!(journal.append(Epoch(1), Index(1), &entry(LINEAGE, 1, 2)).unwrap(), Appended::Full);
    journal.disk().set_room_bytes(None);
    append(&mut journal, LINEAGE, 2);
}
