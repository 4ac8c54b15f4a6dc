//! Nothing is freed by presence while something waits that says that its client lives; and the wall clock moves only with its fact.

use triquest_allocator::{Actor, Between, ClockReading, Command, Event, NamedNetwork, Standing, limits::PRESENCE_WAIT_MS};
use triquest_engine::{Network, limits::QueueLimits};

use crate::desk::{Desk, TODAY_MS, checkout, from, home, is_renewed, lease, renew};

const HERE: Option<Network> = Some(Network::V4([10, 1, 0, 1]));

fn opens(number: u32, generation: u64, between: Between) -> Command {
    Command::PresenceOpened { lease: lease(number), connection: generation, generation, between }
}

fn closes(number: u32, generation: u64) -> Command {
    Command::PresenceClosed { lease: lease(number), generation, network: HERE, unnamings: 0 }
}

fn confirms(number: u32, counter: u64, presence: Option<u64>) -> Command {
    Command::Renew { lease: lease(number), counter, nonce: [counter as u8; 16], idle_ms: None, presence, regained: false }
}

/// One lease, whose presence connection stands and is confirmed.
fn with_presence(between: Between, limits: QueueLimits) -> Desk {
    let desk = Desk::with_seats(50);
    let mut desk = Desk { engine: desk.engine.with_limits(limits), ..desk };
    desk.now(checkout(1));
    desk.now(opens(1, 1, between));
    assert!(is_renewed(&desk.now(confirms(1, 1, Some(1)))));
    desk
}

fn lives(desk: &Desk) -> bool {
    desk.engine.allocator().standing(&lease(1)) == Standing::Live
}

/// The wait of a lease in a named network has almost run, and nothing can be written.
fn nearly_freed(limits: QueueLimits) -> Desk {
    let mut desk = with_presence(Between::Named, limits);
    desk.now(closes(1, 1));
    desk.wait_ms(PRESENCE_WAIT_MS - 1_000);
    desk.journal_held = true;
    for number in [10, 11] {
        desk.send(from(9), checkout(number), 0);
        desk.pass();
    }
    assert_eq!(desk.waiting.len(), 2, "the disk is slow");
    desk
}

fn the_disk_goes_on(desk: &mut Desk) {
    desk.wait_ms(3_000);
    assert!(lives(desk), "nothing can be written");
    desk.journal_held = false;
    desk.commit_all();
    desk.settle();
}

#[test]
fn a_reopening_that_lies_behind_a_slow_disk_keeps_its_seat() {
    let ways = [
        opens(1, 2, Between::Named),
        Command::PresenceAdded { lease: lease(1), connection: 2, generation: 2, between: Between::Named },
        Command::PresenceRefused { lease: lease(1) },
        Command::PresenceTurnedAway { named: Some(NamedNetwork::V4([10, 1, 0, 0], 16)) },
        Command::PresenceTurnedAway { named: None },
        Command::PresenceUnnamed { unnamings: 1 },
    ];
    for way in ways {
        let mut desk = nearly_freed(QueueLimits::default());
        desk.send(from(1), way.clone(), 0);
        the_disk_goes_on(&mut desk);
        assert!(lives(&desk), "{way:?}");
    }
    let mut desk = nearly_freed(QueueLimits::default());
    the_disk_goes_on(&mut desk);
    assert!(!lives(&desk), "whoever did not come back is freed");
}

#[test]
fn a_reopening_that_is_not_taken_in_the_first_pass_keeps_its_seat() {
    let few = QueueLimits { commands_per_pass_max: 1, commands_per_turn_max: 1, ..QueueLimits::default() };
    let mut desk = nearly_freed(few);
    desk.send(from(8), (20..25).map(checkout).collect::<Vec<_>>(), 0);
    desk.send(from(1), vec![checkout(30), opens(1, 2, Between::Named)], 0);
    the_disk_goes_on(&mut desk);
    assert!(lives(&desk));
    // A repeat is as good as a renewal.
    let mut desk = nearly_freed(few);
    desk.send(from(8), (20..25).map(checkout).collect::<Vec<_>>(), 0);
    desk.send(from(1), vec![checkout(30), checkout(1)], 0);
    the_disk_goes_on(&mut desk);
    assert!(lives(&desk));
}

#[test]
fn a_reopening_that_is_refused_because_too_much_waits_keeps_its_seat() {
    let few = QueueLimits { commands_per_network_max: 2, ..QueueLimits::default() };
    let mut desk = nearly_freed(few);
    desk.send(home(), vec![checkout(20), checkout(21)], 0);
    let refused = desk.send(home(), opens(1, 2, Between::Named), 0);
    assert!(desk.is_back(refused));
    the_disk_goes_on(&mut desk);
    assert!(lives(&desk));
}

#[test]
fn an_end_is_decided_after_the_renewals_of_its_lease_that_came_before_it() {
    let few = QueueLimits { lane_per_pass_max: 1, ..QueueLimits::default() };
    let mut desk = with_presence(Between::Nothing, few);
    desk.now(checkout(2));
    // It says that nothing stands for it any more, behind another that has the turn.
    let other = desk.ask(renew(2, 1));
    let stands_down = desk.ask(confirms(1, 2, None));
    desk.ask(closes(1, 1));
    desk.pass();
    assert!(desk.is_back(other) && !desk.is_back(stands_down));
    desk.settle();
    assert!(is_renewed(&desk.outcome(stands_down)));
    assert!(lives(&desk));
    assert!(!desk.events().any(|event| matches!(event, Event::Released { .. })));
    // And one that nothing speaks for frees at once.
    desk.now(opens(1, 2, Between::Nothing));
    desk.now(confirms(1, 3, Some(2)));
    desk.now(closes(1, 2));
    assert!(!lives(&desk));
}

#[test]
fn the_wall_clock_moves_only_in_the_entry_that_says_who_accepted_it() {
    let desk = Desk::with_seats(5_000);
    let many = QueueLimits { commands_per_pass_max: 10_000, ..QueueLimits::default() };
    let mut desk = Desk { engine: desk.engine.with_limits(many), ..desk };
    let back = |desk: &Desk| ClockReading { boot_ms: desk.boot_ms, wall_ms: TODAY_MS - 86_400_000, synchronized: true };
    let reading = back(&desk);
    desk.engine.pass(reading);
    desk.drain();
    let before = desk.journal.last().unwrap().moment.wall_ms;
    desk.journal_held = true;
    // More than one entry holds, and then the administrator's word.
    desk.send(home(), (10..3_500).map(checkout).collect::<Vec<_>>(), 0);
    let actor = Actor { name: "ada".to_owned(), reason: "it was wrong".to_owned() };
    let accepted = desk.ask(Command::AcceptClock { actor });
    for _ in 0..10 {
        let reading = back(&desk);
        desk.engine.pass(reading);
        desk.drain();
        desk.commit_all();
    }
    assert!(desk.is_back(accepted));
    let mut last = before;
    for entry in desk.journal.iter().skip(2) {
        let says = entry.events.iter().any(|event| matches!(event, Event::ClockAccepted { .. }));
        assert!(entry.moment.wall_ms >= last || says, "entry {} goes back from {last} to {}", entry.index.0, entry.moment.wall_ms);
        last = entry.moment.wall_ms;
    }
    assert!(last < before, "it was accepted");
}

#[test]
fn a_late_copy_of_a_renewal_does_not_take_back_what_another_copy_has_confirmed() {
    let mut desk = with_presence(Between::Nothing, QueueLimits::default());
    desk.now(opens(1, 2, Between::Nothing));
    // Sent before the connection was opened, and once more after that; the first arrives last.
    assert!(is_renewed(&desk.now(confirms(1, 2, Some(2)))));
    assert!(is_renewed(&desk.now(confirms(1, 2, None))));
    desk.now(closes(1, 2));
    assert!(!lives(&desk), "its client has confirmed it, and is dead");
    // So it is where both wait to be decided.
    let mut desk = with_presence(Between::Nothing, QueueLimits::default());
    desk.now(opens(1, 2, Between::Nothing));
    desk.ask(confirms(1, 3, Some(2)));
    desk.ask(confirms(1, 2, None));
    desk.settle();
    desk.now(closes(1, 2));
    assert!(!lives(&desk));
}

#[test]
fn a_later_renewal_takes_back_what_an_earlier_one_has_confirmed() {
    let mut desk = with_presence(Between::Nothing, QueueLimits::default());
    assert!(is_renewed(&desk.now(confirms(1, 2, None))));
    desk.now(closes(1, 1));
    assert!(lives(&desk));
}
