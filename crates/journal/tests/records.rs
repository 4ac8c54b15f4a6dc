//! Bytes of entries and chunks: what goes in comes out, nothing hostile gets through, and what was ever written is read for ever.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "common/arbitrary.rs"]
mod arbitrary;
mod common;

use std::path::Path;

use arbitrary::{EVENT_KINDS, STATE_KINDS, event_kind, event_kinds, events, state_kind, state_kinds, states};
use common::LINEAGE;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use triquest_allocator::{Epoch, Event, Index, Moment, Network, Networks, StateRecord, Timestamp};
use triquest_journal::record::{
    Entry, decode_chunk, decode_entry, decode_snapshot_chunk, encode_entry, encode_snapshot, event_bytes, peek_entry,
};
use triquest_journal::{ENTRY_BYTES_MAX, SNAPSHOT_CHUNK_BYTES_MAX};

fn entry(events: Vec<Event>) -> Entry {
    Entry {
        lineage: LINEAGE,
        epoch: Epoch(3),
        index: Index(812),
        moment: Moment { at: Timestamp(4_711), wall_ms: 1_795_000_000_000 },
        events,
    }
}

proptest! {
    #![proptest_config(Config { cases: 256, failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_entry_reads_back_as_it_was(events in proptest::collection::vec(events(), 0..6), epoch: u64, index: u64, at: u64, wall_ms: i64) {
        let entry = Entry { lineage: LINEAGE, epoch: Epoch(epoch), index: Index(index), moment: Moment { at: Timestamp(at), wall_ms }, events };
        let bytes = encode_entry(&entry);
        let head = peek_entry(&bytes).unwrap();
        prop_assert_eq!((head.epoch, head.index), (entry.epoch, entry.index));
        let sum: usize = entry.events.iter().map(event_bytes).sum();
        prop_assert!(bytes.len() >= sum && bytes.len() <= sum + 64, "{} bytes for events of {}", bytes.len(), sum);
        prop_assert_eq!(decode_entry(&bytes).unwrap(), entry);
    }

    #[test]
    fn an_event_never_takes_more_than_the_allocator_reckons(event in events()) {
        prop_assert!(event_bytes(&event) <= event.weight(), "{} bytes, reckoned {}: {event:?}", event_bytes(&event), event.weight());
    }

    #[test]
    fn any_records_read_back_as_they_were(records in proptest::collection::vec(states(), 1..8)) {
        let chunks: Vec<_> = encode_snapshot(records.clone().into_iter()).collect();
        let read: Vec<_> = chunks.iter().flat_map(|chunk| decode_snapshot_chunk(chunk).unwrap()).collect();
        prop_assert_eq!(read, records);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found(events in proptest::collection::vec(events(), 1..4), at: prop::sample::Index, bit in 0..8u8) {
        let mut bytes = encode_entry(&entry(events));
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(decode_entry(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_safe_to_read_even_with_a_good_checksum(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), version in prop_oneof![Just(0x01u8), Just(0x81)]) {
        let _ = decode_entry(&bytes);
        bytes.insert(0, version);
        bytes.extend_from_slice(&triquest_license::sha256(&bytes)[..8]);
        let _ = (decode_entry(&bytes), decode_chunk(&bytes), peek_entry(&bytes));
    }
}

/// The same values on every run: golden bytes are made of them.
fn sample<T: std::fmt::Debug>(strategy: &BoxedStrategy<T>, seed: u8) -> T {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    strategy.new_tree(&mut TestRunner::new_with_rng(Config::default(), rng)).unwrap().current()
}

#[test]
fn every_kind_of_event_and_record_is_tried() {
    let kinds: Vec<_> = event_kinds().iter().map(|strategy| event_kind(&sample(strategy, 0))).collect();
    assert_eq!(kinds, (0..EVENT_KINDS).collect::<Vec<_>>());
    let kinds: Vec<_> = state_kinds().iter().map(|strategy| state_kind(&sample(strategy, 0))).collect();
    assert_eq!(kinds, (0..STATE_KINDS).collect::<Vec<_>>());
}

#[test]
fn a_checkout_takes_no_more_than_200_bytes() {
    let bytes = common::entry(LINEAGE, 12, 1_000_000);
    assert!(bytes.len() <= 200, "{} bytes", bytes.len());
}

#[test]
fn a_cut_entry_and_bytes_after_the_end_are_refused() {
    let bytes = encode_entry(&entry(vec![Event::ClockMarked]));
    for end in 0..bytes.len() {
        assert!(decode_entry(&bytes[..end]).is_err(), "cut at {end}");
    }
    let mut longer = bytes[..bytes.len() - 8].to_vec();
    longer.push(0);
    longer.extend_from_slice(&triquest_license::sha256(&longer)[..8]);
    assert!(decode_entry(&longer).unwrap_err().contains("1 bytes after the end"));
}

#[test]
fn an_unknown_kind_of_event_is_refused_with_its_place() {
    // Kind 4000 with no fields, as a later version might write it.
    let mut bytes = encode_entry(&entry(vec![]));
    bytes.truncate(bytes.len() - 8);
    *bytes.last_mut().unwrap() = 0x81;
    bytes.extend_from_slice(&[0x82, 0x19, 0x0f, 0xa0, 0x80]);
    bytes.extend_from_slice(&triquest_license::sha256(&bytes)[..8]);
    let error = decode_entry(&bytes).unwrap_err();
    assert!(error.contains("event 0") && error.contains("4000"), "{error}");
}

#[test]
fn a_list_that_claims_to_be_endless_takes_no_memory() {
    let mut bytes = encode_entry(&entry(vec![]));
    bytes.truncate(bytes.len() - 9);
    bytes.extend_from_slice(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    bytes.extend_from_slice(&triquest_license::sha256(&bytes)[..8]);
    assert!(decode_entry(&bytes).is_err());
}

#[test]
fn a_full_entry_of_checkouts_fits() {
    let events = (0..triquest_allocator::limits::EVENTS_MAX as u64).map(common::granted).collect();
    let bytes = encode_entry(&entry(events));
    assert!(bytes.len() <= ENTRY_BYTES_MAX, "{} bytes", bytes.len());
}

#[test]
fn chunks_know_their_place_and_their_limit() {
    let head = sample(&state_kinds()[0], 0);
    let StateRecord::Head { index, .. } = head else { panic!("the first kind is the head") };
    let leases = (0..100_000u64)
        .map(|number| StateRecord::PresenceOff { networks: Networks::One(Network::V6(number.to_be_bytes())), until: Timestamp(number) });
    let chunks: Vec<_> = encode_snapshot(std::iter::once(head).chain(leases)).collect();
    assert!(chunks.len() > 2);
    let mut records = 0;
    for (number, chunk) in chunks.iter().enumerate() {
        assert!(chunk.len() <= SNAPSHOT_CHUNK_BYTES_MAX);
        let chunk = decode_chunk(chunk).unwrap();
        assert_eq!((chunk.index, chunk.number as usize), (index, number));
        records += chunk.records.len();
    }
    assert_eq!(records, 100_001);
}

fn golden(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("TRIQUEST_WRITE_GOLDEN").is_some() && !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, make()).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An entry with every kind of event, as version 1 wrote it. A difference in the bytes means that servers can no longer read their own
/// journals: these files are never written again. A new kind or field gets files of its own beside them (TRIQUEST_WRITE_GOLDEN=1 makes those that are missing).
#[test]
fn entries_of_version_1_are_read_and_written_the_same() {
    let bytes = golden("entry.1.cbor", || encode_entry(&entry(event_kinds().iter().map(|strategy| sample(strategy, 1)).collect())));
    let read = decode_entry(&bytes).unwrap();
    let kinds: Vec<_> = read.events.iter().map(event_kind).collect();
    assert_eq!(kinds, (0..EVENT_KINDS).collect::<Vec<_>>(), "it holds each kind of version 1");
    let text = golden("entry.1.txt", || format!("{read:#?}\n").into_bytes());
    assert_eq!(format!("{read:#?}\n"), String::from_utf8(text).unwrap());
    assert_eq!(encode_entry(&read), bytes);
}

#[test]
fn snapshots_of_version_1_are_read_and_written_the_same() {
    let bytes = golden("snapshot.1.cbor", || {
        let records: Vec<_> = state_kinds().iter().map(|strategy| sample(strategy, 1)).collect();
        encode_snapshot(records.into_iter()).next().unwrap()
    });
    let read = decode_snapshot_chunk(&bytes).unwrap();
    let kinds: Vec<_> = read.iter().map(state_kind).collect();
    assert_eq!(kinds, (0..STATE_KINDS).collect::<Vec<_>>(), "it holds each kind of version 1");
    let text = golden("snapshot.1.txt", || format!("{read:#?}\n").into_bytes());
    assert_eq!(format!("{read:#?}\n"), String::from_utf8(text).unwrap());
    assert_eq!(encode_snapshot(read.into_iter()).collect::<Vec<_>>(), [bytes]);
}
