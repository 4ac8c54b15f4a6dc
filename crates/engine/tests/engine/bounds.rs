//! Every road to an entry keeps its bounds, and nothing ends past a renewal that waits.

use triquest_allocator::{
    Event,
    limits::{ENTRY_BYTES_MAX, EVENTS_MAX},
};
use triquest_engine::Answers;

use crate::desk::{Desk, checkout, from, home, is_granted, is_renewed, release, renew};

fn with_leases(count: u32) -> Desk {
    let mut desk = Desk::with_seats(count);
    for first in (0..count).step_by(1_000) {
        let name = desk.send(home(), (first..count.min(first + 1_000)).map(checkout).collect::<Vec<_>>(), 0);
        desk.settle();
        let Ok(Answers::Many(answers)) = &desk.back[&name] else { panic!("no answers") };
        assert!(answers.iter().all(|answer| is_granted(&answer.as_ref().unwrap().outcome)));
    }
    desk
}

#[test]
fn twelve_batches_of_a_thousand_first_renewals_become_entries_within_their_bounds() {
    let mut desk = with_leases(12_000).crash();
    desk.events_max = 0;
    let names: Vec<_> =
        (0..12).map(|batch| desk.send(home(), (0..1_000).map(|n| renew(batch * 1_000 + n, 1)).collect::<Vec<_>>(), 0)).collect();
    desk.settle();
    for name in names {
        let Ok(Answers::Many(answers)) = &desk.back[&name] else { panic!("no answers") };
        assert!(answers.iter().all(|answer| is_renewed(&answer.as_ref().unwrap().outcome)));
    }
    assert!(desk.events_max > 1_000 && desk.events_max <= EVENTS_MAX, "{}", desk.events_max);
    assert!(desk.bytes_max <= ENTRY_BYTES_MAX);
    assert_eq!(desk.events().filter(|event| matches!(event, Event::Heard { .. })).count(), 12_000);
}

#[test]
fn while_all_wait_an_entry_is_half_the_lane_s_a_quarter_what_is_due_and_a_quarter_the_rest() {
    let mut desk = with_leases(6_000).crash();
    desk.wait_ms(200_000);
    desk.send(home(), (0..3_000).map(|n| renew(n, 1)).collect::<Vec<_>>(), 0);
    desk.settle();
    // The time of those who did not renew is over, those who did release now, and newcomers ask.
    desk.wait_ms(99_900);
    desk.boot_ms += 2_000;
    desk.journal_held = true;
    desk.send(home(), (0..3_000).map(release).collect::<Vec<_>>(), 0);
    desk.send(from(2), (10_000..10_200).map(checkout).collect::<Vec<_>>(), 0);
    desk.pass();
    let entry = desk.waiting.back().unwrap().clone();
    let count = |is: fn(&Event) -> bool| entry.events.iter().filter(|event| is(event)).count();
    let released = count(|event| matches!(event, Event::Released { .. }));
    let ended = count(|event| matches!(event, Event::Ended { .. }));
    let granted = count(|event| matches!(event, Event::Granted { .. }));
    assert!((EVENTS_MAX / 2 - 128..=EVENTS_MAX / 2).contains(&released), "{released}");
    assert!((EVENTS_MAX / 4 - 128..=EVENTS_MAX / 4).contains(&ended), "{ended}");
    assert_eq!(granted, 200);
    assert!(entry.events.len() <= EVENTS_MAX);
    desk.journal_held = false;
    desk.commit_all();
    desk.settle();
    assert!(desk.events_max <= EVENTS_MAX);
}

#[test]
fn nothing_is_due_past_the_arrival_of_the_oldest_renewal_that_waits() {
    let mut desk = with_leases(3_000).crash();
    desk.wait_ms(299_000);
    let renewals = desk.send(home(), (0..3_000).map(|n| renew(n, 1)).collect::<Vec<_>>(), 0);
    // They arrived in time, and the server needs more than the rest of their time for them.
    desk.journal_held = true;
    desk.pass();
    desk.boot_ms += 1_990;
    desk.journal_held = false;
    desk.commit_all();
    desk.settle();
    let Ok(Answers::Many(answers)) = &desk.back[&renewals] else { panic!("no answers") };
    assert!(answers.iter().all(|answer| is_renewed(&answer.as_ref().unwrap().outcome)));
    assert!(!desk.events().any(|event| matches!(event, Event::Ended { .. })));
}

#[test]
fn releases_that_wait_hold_up_nothing_that_is_due() {
    let mut desk = with_leases(6_001).crash();
    desk.wait_ms(299_000);
    desk.send(home(), (0..6_000).map(release).collect::<Vec<_>>(), 0);
    desk.journal_held = true;
    desk.pass();
    // The time of the one that nobody releases is over, and most releases lie there since before.
    desk.boot_ms += 1_990;
    desk.pass();
    let entry = desk.waiting.back().unwrap();
    assert!(entry.events.iter().any(|event| matches!(event, Event::Released { .. })));
    assert!(entry.events.iter().any(|event| matches!(event, Event::Ended { .. })), "its seat is free for who asks now");
    desk.journal_held = false;
    desk.commit_all();
    desk.settle();
}

#[test]
fn a_release_that_serves_a_long_line_keeps_the_bounds() {
    let mut desk = with_leases(2_000);
    let name = desk.send(home(), (20_000..23_000).map(crate::desk::waits).collect::<Vec<_>>(), 0);
    desk.settle();
    assert!(desk.is_back(name));
    desk.events_max = 0;
    desk.send(home(), (0..2_000).map(release).collect::<Vec<_>>(), 0);
    desk.settle();
    assert!(desk.events_max <= EVENTS_MAX, "{}", desk.events_max);
    let served = desk.events().filter(|event| matches!(event, Event::Granted { claim_due: Some(_), .. })).count();
    assert_eq!(served, 2_000);
}

#[test]
fn a_large_license_has_its_turn_although_the_lane_is_never_empty() {
    let mut desk = with_leases(4_000).crash();
    let features: Vec<String> = (0..200).map(|n| format!("f{n}")).collect();
    let entitlements: Vec<_> = features.iter().map(|feature| (feature.as_str(), 1)).collect();
    desk.send(home(), (0..4_000).map(|n| renew(n, 1)).collect::<Vec<_>>(), 0);
    let name = desk.send(triquest_engine::Origin::SERVER, crate::desk::install("W-1", &entitlements), 0);
    desk.pass();
    desk.pass();
    assert!(desk.is_back(name), "no later than the second pass");
    assert!(desk.events_max <= EVENTS_MAX);
}
