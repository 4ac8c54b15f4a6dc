//! Readers of committed entries.

use triquest_server::feed::{Begin, BeginError, FeedError};
use triquest_wire::Position;

use crate::world::{World, checkout, is_granted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_gets_every_entry_once_in_order_from_its_cursor_on() {
    let world = World::with_seats(30).await;
    let start = Position { index: 1, ..world.driver.view().position() };
    for number in 0..10 {
        assert!(is_granted(&world.decide(checkout(number)).await));
    }
    let mut old = world.driver.feed().reader(Begin::After(start)).unwrap();
    let mut live = world.driver.feed().reader(Begin::Now).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 11 {
        seen.extend(old.next().await.unwrap().iter().map(|entry| entry.index.0));
    }
    assert_eq!(seen, (2..=12).collect::<Vec<_>>(), "history comes from the journal");
    for number in 10..20 {
        assert!(is_granted(&world.decide(checkout(number)).await));
    }
    while seen.len() < 21 {
        seen.extend(old.next().await.unwrap().iter().map(|entry| entry.index.0));
    }
    assert_eq!(seen, (2..=22).collect::<Vec<_>>());
    let mut fresh = Vec::new();
    while fresh.len() < 10 {
        fresh.extend(live.next().await.unwrap().iter().map(|entry| entry.index.0));
    }
    assert_eq!(fresh, (13..=22).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_another_history_or_ahead_of_this_one_is_lost() {
    let world = World::with_seats(1).await;
    let now = world.driver.view().position();
    let ahead = Position { index: now.index + 1, ..now };
    let foreign = Position { lineage: triquest_wire::Lineage([9; 16]), ..now };
    let later = Position { epoch: now.epoch + 1, ..now };
    for cursor in [ahead, foreign, later] {
        assert_eq!(world.driver.feed().reader(Begin::After(cursor)).err(), Some(BeginError::CursorLost));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_whose_entries_were_truncated_is_lost() {
    let world = World::with_seats(30).await;
    let start = Position { index: 1, ..world.driver.view().position() };
    for number in 0..10 {
        assert!(is_granted(&world.decide(checkout(number)).await));
    }
    let made = world
        .driver
        .with_journal(|journal| {
            triquest_journal::snapshot::make(journal, triquest_allocator::Safeguards::default(), triquest_journal::snapshot::Keep::NONE)
        })
        .await;
    assert!(made.unwrap().unwrap().is_some());
    let mut reader = world.driver.feed().reader(Begin::After(start)).unwrap();
    assert_eq!(reader.next().await.err(), Some(FeedError::CursorLost));
    // Who asks for all that is kept gets what there is, and goes on.
    let mut kept = world.driver.feed().reader(Begin::Oldest).unwrap();
    for number in 10..13 {
        assert!(is_granted(&world.decide(checkout(number)).await));
    }
    let oldest = world.driver.with_journal(|journal| journal.oldest()).await.unwrap().unwrap();
    let head = world.driver.view().position().index;
    assert!(oldest.0 > start.index + 1 && oldest.0 <= head, "{oldest:?} of {head}");
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| *last < head) {
        seen.extend(kept.next().await.unwrap().iter().map(|entry| entry.index.0));
    }
    assert_eq!(seen, (oldest.0..=head).collect::<Vec<_>>());
}
