//! Turns and limits against a naive model, and every ticket back exactly once whatever happens.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use triquest_allocator::{
    Index,
    limits::{ENTRY_BYTES_MAX, EVENTS_MAX},
};
use triquest_engine::{Input, Origin, TookEffect, Why, fair::Turns, limits::COMMANDS_PER_TURN_MAX};

use crate::desk::{Desk, ENOUGH, NONE, RESERVE, checkout, checkout_of, from, is_granted, release, renew, waits};

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nobody waits longer than one turn of each other group, and a member's own keep their order.
    #[test]
    fn nobody_waits_longer_than_one_turn_of_each_other_group(
        pushes in prop::collection::vec((0..5u8, 0..3u8), 1..400),
        per_turn in 1..9usize,
    ) {
        let mut turns = Turns::new(per_turn);
        let mut model: BTreeMap<(u8, u8), VecDeque<usize>> = BTreeMap::new();
        for (value, (group, member)) in pushes.iter().enumerate() {
            turns.push(*group, *member, value);
            model.entry((*group, *member)).or_default().push_back(value);
        }
        let mut since: BTreeMap<u8, usize> = BTreeMap::new();
        let mut run: Option<(u8, usize)> = None;
        for _ in 0..pushes.len() {
            let present: Vec<u8> = (0..5).filter(|group| turns.len_of(group) > 0).collect();
            let (group, member, value) = turns.pop().unwrap();
            prop_assert_eq!(model.get_mut(&(group, member)).unwrap().pop_front(), Some(value));
            run = Some(match run { Some((last, count)) if last == group => (group, count + 1), _ => (group, 1) });
            let alone = present.len() == 1;
            prop_assert!(alone || run.unwrap().1 <= per_turn || since.values().all(|waited| *waited == 0) , "a turn is over after so many");
            for other in present.iter().filter(|other| **other != group) {
                let waited = since.entry(*other).or_default();
                *waited += 1;
                prop_assert!(*waited <= per_turn * (present.len().max(5) - 1), "group {other} waited {waited}");
            }
            since.insert(group, 0);
        }
        prop_assert!(turns.pop().is_none() && turns.is_empty());
    }

    /// What is given back in the reverse order is taken again in the same order.
    #[test]
    fn what_is_given_back_is_taken_again_first(pushes in prop::collection::vec((0..4u8, 0..3u8), 1..100), count in 1..40usize) {
        let mut turns = Turns::new(4);
        for (value, (group, member)) in pushes.iter().enumerate() {
            turns.push(*group, *member, value);
        }
        let first = turns.pop().unwrap();
        turns.give_back(first.0, first.1, first.2);
        prop_assert_eq!(turns.pop().unwrap(), first);
        let taken: Vec<_> = (0..count).map_while(|_| turns.pop()).collect();
        for (group, member, value) in taken.iter().rev() {
            turns.give_back(*group, *member, *value);
        }
        prop_assert_eq!(turns.len(), pushes.len() - 1);
        let mut rest: Vec<usize> = std::iter::from_fn(|| turns.pop()).map(|(_, _, value)| value).collect();
        rest.push(first.2);
        rest.sort_unstable();
        prop_assert_eq!(rest, (0..pushes.len()).collect::<Vec<_>>());
    }

    /// Every ticket comes back exactly once, entries keep their bounds and follow each other, whatever the journal answers.
    #[test]
    fn every_ticket_comes_back_exactly_once(steps in prop::collection::vec((0..14u8, 0..12u32, 0..4u8), 1..120), stops in any::<bool>()) {
        tickets_come_back(&steps, stops)?;
    }
}

/// Carries out random steps (kind, number, network) with a journal and a confirmation that answer only when a step says so.
fn tickets_come_back(steps: &[(u8, u32, u8)], stops: bool) -> Result<(), TestCaseError> {
    let mut desk = Desk::with_seats(4);
    desk.journal_held = true;
    desk.confirm_held = true;
    let mut counter = 0;
    for (step, number, network) in steps.iter().copied() {
        counter += 1;
        let origin = from(network);
        match step {
            0 | 1 => {
                desk.send(origin, checkout(number), 0);
            }
            2 => {
                desk.send(origin, waits(number), 5_000);
            }
            3 => {
                desk.send(origin, renew(number, counter), 0);
            }
            4 => {
                desk.send(origin, release(number), 0);
            }
            5 => {
                desk.send(origin, vec![renew(number, counter), renew(number + 1, counter), checkout_of(number, 2, None)], 0);
            }
            6 | 7 => desk.pass(),
            8 => desk.wait_ms(u64::from(number) * 700),
            9 if !desk.waiting.is_empty() => {
                desk.commit();
                desk.drain();
            }
            10 if !desk.waiting.is_empty() => desk.say(Input::Full),
            11 if !desk.waiting.is_empty() => {
                let index = desk.waiting[0].index;
                desk.say(Input::Unknown(Index(index.0)));
            }
            12 => {
                if let Some(pass) = desk.confirming.pop() {
                    desk.engine.handle(Input::Confirmed(pass));
                    desk.drain();
                }
            }
            13 => {
                let room = [ENOUGH, RESERVE, NONE, ENOUGH][network as usize];
                desk.engine.handle(Input::Room(room));
                desk.drain();
            }
            _ => {}
        }
        prop_assert!(desk.waiting.len() <= 2);
    }
    if stops {
        desk.engine.handle(Input::Room(ENOUGH));
        desk.engine.handle(Input::Stop);
        desk.drain();
        for _ in 0..200 {
            if let Some(pass) = desk.confirming.pop() {
                desk.engine.handle(Input::Confirmed(pass));
            }
            desk.drain();
            desk.commit_all();
            desk.wait_ms(200);
        }
    } else {
        desk.engine.handle(Input::Fenced);
        desk.drain();
    }
    prop_assert!(desk.stopped);
    prop_assert_eq!(desk.back.len() as u64, desk.next);
    prop_assert!(desk.events_max <= EVENTS_MAX && desk.bytes_max <= ENTRY_BYTES_MAX);
    desk.crash();
    Ok(())
}

/// Found by the test above.
#[test]
fn an_answer_that_waited_for_its_entry_takes_no_confirmation_away_from_a_later_pass() {
    let steps = [
        (0, 4, 0),
        (0, 6, 0),
        (6, 0, 0),
        (0, 6, 0),
        (6, 0, 0),
        (0, 6, 0),
        (0, 9, 0),
        (9, 0, 0),
        (6, 0, 0),
        (0, 0, 0),
        (6, 0, 0),
        (10, 0, 0),
        (3, 0, 0),
        (6, 0, 0),
        (0, 9, 0),
        (6, 0, 0),
    ];
    tickets_come_back(&steps, true).unwrap();
}

#[test]
fn a_network_that_floods_delays_another_by_one_turn_at_most() {
    let mut desk = Desk::with_seats(5_000);
    desk.journal_held = true;
    for first in (0..4_000u32).step_by(1_000) {
        desk.send(from(1), (first..first + 1_000).map(checkout).collect::<Vec<_>>(), 0);
    }
    let honest = desk.send(from(2), checkout(9_000), 0);
    desk.pass();
    desk.commit_all();
    assert!(is_granted(&desk.outcome(honest)));
    let before = desk
        .journal
        .last()
        .unwrap()
        .events
        .iter()
        .position(|event| matches!(event, triquest_allocator::Event::Granted { lease, .. } if *lease == crate::desk::lease(9_000)));
    assert!(before.unwrap() <= COMMANDS_PER_TURN_MAX);
}

#[test]
fn connections_of_one_network_alternate() {
    let mut desk = Desk::with_seats(5_000);
    let from = |connection| Origin { connection, ..from(1) };
    desk.send(from(1), (0..1_000).map(checkout).collect::<Vec<_>>(), 0);
    let other = desk.send(from(2), checkout(9_000), 0);
    desk.pass();
    assert!(is_granted(&desk.outcome(other)));
}

#[test]
fn above_three_quarters_networks_over_their_even_share_are_refused_first() {
    let mut desk = Desk::with_seats(1);
    let batch = |first: u32| (first..first + 1_000).map(checkout).collect::<Vec<_>>();
    let far = |number: u8| Origin { network: Some(triquest_engine::Network::V4([number, 1, 1, 1])), connection: 1 };
    for network in 0..8u8 {
        for part in 0..4 {
            let name = desk.send(far(network), batch(u32::from(network) * 4_000 + part * 1_000), 0);
            assert!(!desk.is_back(name) || desk.why(name) == Why::Overloaded(TookEffect::No));
        }
    }
    let newcomer = desk.send(far(99), checkout(90_000), 0);
    assert!(!desk.is_back(newcomer), "whoever has nothing here is not over its share");
    let more = desk.send(far(0), batch(91_000), 0);
    assert_eq!(desk.why(more), Why::Overloaded(TookEffect::No));
    let local = desk.send(Origin::SERVER, checkout(92_000), 0);
    assert!(!desk.is_back(local), "the Unix socket has its own place");
}

#[test]
fn a_batch_counts_as_what_it_holds() {
    let mut desk = Desk::with_seats(1);
    for part in 0..4 {
        let name = desk.send(from(1), (part * 1_000..part * 1_000 + 1_000).map(checkout).collect::<Vec<_>>(), 0);
        assert!(!desk.is_back(name));
    }
    let fifth = desk.send(from(1), (4_000..5_000).map(checkout).collect::<Vec<_>>(), 0);
    assert_eq!(desk.why(fifth), Why::Overloaded(TookEffect::No));
    desk.settle();
    let again = desk.send(from(1), (4_000..5_000).map(checkout).collect::<Vec<_>>(), 0);
    assert!(!desk.is_back(again), "one always fits an empty queue");
}
