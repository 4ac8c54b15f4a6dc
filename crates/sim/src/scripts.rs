//! Directed worlds: a short script for each safeguard, with random times. Chance alone meets some of what they show once in a thousand worlds.

use triquest_allocator::limits::{EVENTS_MAX_MIN, PRESENCE_WAIT_MS};

use crate::{
    plan::{Act, ClientPlan, Draft, Plan, Wire, drift, issue, item},
    random::Random,
};

/// A script: fills a quiet world.
pub struct Script {
    /// What it is about.
    pub name: &'static str,
    write: fn(&mut Plan, &mut Random),
}

/// The world of a script.
#[must_use]
pub fn directed_world(seed: u64, script: &Script) -> Plan {
    let mut random = Random::new(seed);
    let mut plan = Plan::quiet(seed, script.name, &mut random);
    (script.write)(&mut plan, &mut random);
    plan
}

/// A client that begins when it is told to, asks for one seat and keeps it.
fn user(random: &mut Random, feature: &str) -> ClientPlan {
    ClientPlan {
        items: vec![item(feature, None, 1)],
        keys: vec![0],
        ttl_ms: None,
        wait_ms: None,
        presence: false,
        behind_proxy: false,
        named_network: false,
        begins_ms: None,
        uses_ms: None,
        drift_per_million: drift(random),
        virtual_machine: false,
        batch: None,
    }
}

fn waits(client: ClientPlan, wait_ms: u64) -> ClientPlan {
    ClientPlan { wait_ms: Some(wait_ms), ..client }
}

fn at(plan: &mut Plan, at_ms: u64, act: Act) {
    plan.acts.push((at_ms, act));
}

/// One license of one feature from the beginning.
fn cad(plan: &mut Plan, seats: u32) {
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", seats, plan.ttl_ms / 1_000, plan.ttl_max_ms / 1_000)]));
    at(plan, 5, Act::Install(0));
}

macro_rules! scripts {
    ($($name:ident,)*) => {
        /// All scripts.
        pub const SCRIPTS: &[Script] = &[$(Script { name: stringify!($name), write: $name },)*];
    };
}

scripts! {
    a_longer_ttl_and_a_crash_before_it_is_durable,
    a_lower_ttl_after_a_replacement,
    a_lowered_ttl_and_a_crash_before_its_answer,
    a_clone_renews,
    a_client_is_sent_home_after_a_restore,
    a_crowd_behind_one_address,
    a_dead_client_and_many_restarts,
    a_dead_waiter_is_granted,
    a_false_end_of_presence,
    a_heard_lease_and_two_restarts,
    a_hopeless_waiter_behind_another,
    a_late_checkout_after_a_release,
    a_line_behind_a_disk_that_hangs,
    a_lost_history_with_a_longer_ttl,
    a_move_makes_room,
    a_newcomer_after_a_restore,
    a_named_network,
    a_named_network_that_is_full,
    a_network_that_regrets,
    an_addition_that_is_not_answered,
    a_presence_that_does_not_open,
    a_presence_that_stands_for_a_lease_no_more,
    a_reopening_behind_a_slow_disk,
    a_reissue_before_its_day,
    a_repeat_on_a_disk_with_nothing_left,
    a_release_and_a_late_copy,
    a_rollback_and_its_proof,
    a_rollback_passed_by_a_busy_server,
    a_rollback_shown_before_a_quarantine_is_ended,
    a_rollback_shown_with_a_newcomer,
    a_seat_is_taken_back,
    a_seat_that_is_due_behind_many,
    a_silent_waiter,
    a_stale_backup_frees_nothing,
    a_stalled_server,
    a_stop_while_somebody_waits,
    a_takeover,
    a_takeover_that_some_do_not_see,
    a_wide_recovery,
    a_wide_removal,
    a_wrong_future_with_a_removal,
    answers_that_take_long,
    attempts_in_the_wrong_order,
    clocks_that_part,
    confirmations_that_take_long,
    entries_on_a_small_disk,
    features_that_change_at_one_instant,
    lingering_seats_give_way,
    lines_on_a_full_disk,
    keys_of_one_vendor_that_change,
    late_renewals_of_many,
    lowered_on_a_full_disk,
    many_ask_for_one_seat,
    many_ids_behind_one_address,
    many_requests_at_once,
    many_old_grants_are_shown,
    merged_vendors_with_many_seats,
    seats_for_large_and_small,
    who_must_go_holds_a_seat_of_its_version,
    a_named_network_that_is_named_no_more,
}

fn a_longer_ttl_and_a_crash_before_it_is_durable(plan: &mut Plan, random: &mut Random) {
    let longer_s = random.between(60, 240);
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 1, 10, 10)]));
    plan.licenses.push(issue(&[0], "B", &["A"], &[Draft::new("cad", 1, longer_s, longer_s)]));
    plan.ttl_ms = longer_s * 1_000;
    plan.ttl_max_ms = plan.ttl_ms;
    plan.duration_ms = 4 * plan.ttl_ms;
    plan.clients = vec![ClientPlan { ttl_ms: Some(plan.ttl_ms), ..user(random, "cad") }, user(random, "cad")];
    at(plan, 5, Act::Install(0));
    at(plan, 50, Act::Begin(0));
    let replaced = random.between(9_000, 13_000);
    at(plan, replaced, Act::Install(1));
    // The power fails while the disk writes the fact that comes with its next renewal; the client hears nothing more for a while.
    plan.append_ms = (1_500, 3_000);
    let killed = replaced + random.between(2_500, 5_000);
    at(plan, killed, Act::Kill(random.between(100, 1_000)));
    at(plan, killed, Act::CutOff(0, plan.ttl_ms));
    for ask in 0..40 {
        at(plan, killed + 1_000 + ask * 1_000, Act::Begin(1));
    }
}

fn a_lower_ttl_after_a_replacement(plan: &mut Plan, random: &mut Random) {
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 1, 600, 7_200)]));
    plan.licenses.push(issue(&[0], "B", &["A"], &[Draft::new("cad", 1, 10, 10)]));
    plan.ttl_ms = 30_000;
    plan.ttl_max_ms = 7_200_000;
    plan.clients = vec![ClientPlan { ttl_ms: Some(random.between(60_000, 3_600_000)), ..user(random, "cad") }, user(random, "cad")];
    at(plan, 5, Act::Install(0));
    at(plan, 50, Act::Begin(0));
    let replaced = random.between(500, 20_000);
    at(plan, replaced, Act::Install(1));
    let killed = replaced + random.between(1, 5_000);
    at(plan, killed, if random.chance(500) { Act::Kill(500) } else { Act::Stop });
    for ask in 0..20 {
        at(plan, killed + 2_000 + ask * 1_000, Act::Begin(1));
    }
}

fn a_lowered_ttl_and_a_crash_before_its_answer(plan: &mut Plan, random: &mut Random) {
    let ttl_s = random.between(60, 120);
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 1, ttl_s, ttl_s)]));
    plan.licenses.push(issue(&[0], "B", &["A"], &[Draft::new("cad", 1, 10, 10)]));
    plan.ttl_ms = ttl_s * 1_000;
    plan.ttl_max_ms = plan.ttl_ms;
    plan.duration_ms = 4 * plan.ttl_ms;
    plan.clients = vec![user(random, "cad"), user(random, "cad")];
    at(plan, 5, Act::Install(0));
    at(plan, 50, Act::Begin(0));
    let replaced = random.between(500, 5_000);
    at(plan, replaced, Act::Install(1));
    // Some answers are lost. The next entry after its renewal is durable, and then nobody is there; then it is silent.
    plan.wire.lost = 100;
    at(plan, 50 + plan.ttl_ms / 4 - 500, Act::KillDurable(500, 1));
    for ask in 0..40 {
        let later = plan.ttl_ms / 3 + 3_000 + ask * plan.ttl_ms / 40;
        at(plan, later, Act::Begin(1));
    }
}

fn a_clone_renews(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.clients = vec![user(random, "cad"), user(random, "cad")];
    at(plan, 50, Act::Begin(0));
    at(plan, random.between(1_000, 30_000), Act::Clone(0, 1));
}

fn a_client_is_sent_home_after_a_restore(plan: &mut Plan, random: &mut Random) {
    cad(plan, 5);
    plan.clients = vec![user(random, "cad")];
    at(plan, 100, Act::Backup);
    at(plan, 500, Act::Begin(0));
    let restored = random.between(2_000, 60_000);
    at(plan, restored, Act::Restore);
    plan.accepts_after_ms = Some(1_500);
}

fn a_crowd_behind_one_address(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    // Four clients share an address; more than two of them in a line are too many.
    plan.limits.waiters_per_pool_max = 8;
    plan.limits.waiters_per_network_max = random.between(2, 3);
    plan.clients = (0..8).map(|_| waits(user(random, "cad"), 300_000)).collect();
    for client in 0..8 {
        at(plan, random.between(50, 20_000), Act::Begin(client));
    }
    at(plan, random.between(25_000, 60_000), Act::Kill(500));
}

fn a_dead_client_and_many_restarts(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.clients = vec![user(random, "cad")];
    plan.duration_ms = 20 * plan.ttl_ms;
    at(plan, 50, Act::Begin(0));
    at(plan, random.between(1_000, 40_000), Act::Die(0, None));
    let mut next = 0;
    while next < plan.duration_ms {
        next += random.between(12_000, 28_000);
        at(plan, next, Act::Kill(random.between(100, 1_000)));
    }
}

fn a_dead_waiter_is_granted(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.duration_ms = 1_200_000;
    let waiter = waits(user(random, "cad"), 600_000);
    plan.clients = vec![user(random, "cad"), waiter.clone(), waiter];
    at(plan, 50, Act::Begin(0));
    at(plan, 1_000, Act::Begin(1));
    at(plan, 2_000, Act::Begin(2));
    let dies = random.between(5_000, 60_000);
    at(plan, dies, Act::Die(1, None));
    at(plan, dies + random.between(10, 30_000), Act::Done(0));
    if random.chance(500) {
        at(plan, dies + random.between(10, 200_000), Act::Kill(1_000));
    }
}

fn a_false_end_of_presence(plan: &mut Plan, random: &mut Random) {
    cad(plan, 3);
    plan.clients = vec![ClientPlan { presence: true, behind_proxy: random.chance(400), ..user(random, "cad") }];
    at(plan, 50, Act::Begin(0));
    for number in 1..5 {
        at(plan, number * random.between(30_000, 50_000), Act::FalseFin(0));
    }
}

fn a_heard_lease_and_two_restarts(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.clients = vec![user(random, "cad"), waits(user(random, "cad"), 600_000)];
    at(plan, 50, Act::Begin(0));
    at(plan, 1_000, Act::Begin(1));
    let first = random.between(5_000, 20_000);
    at(plan, first, Act::Kill(200));
    let second = first + random.between(8_000, 40_000);
    at(plan, second, if random.chance(300) { Act::KillDurable(200, 1) } else { Act::Kill(200) });
    at(plan, second - 1, Act::CutOff(0, random.between(1_000, 40_000)));
}

fn a_hopeless_waiter_behind_another(plan: &mut Plan, random: &mut Random) {
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 3, 30, 120), Draft::new("cam", 1, 30, 120)]));
    plan.licenses.push(issue(&[0], "C", &[], &[Draft::new("cad", 2, 30, 120)]));
    let hopeless = ClientPlan { items: vec![item("cad", None, 5), item("cam", None, 1)], ..waits(user(random, "cad"), 600_000) };
    plan.clients = vec![user(random, "cam"), waits(user(random, "cam"), 600_000), hopeless, user(random, "cad")];
    plan.duration_ms = 600_000;
    at(plan, 5, Act::Install(0));
    at(plan, 6, Act::Install(1));
    for client in 0..3 {
        at(plan, 100 + 500 * u64::from(client), Act::Begin(client));
    }
    let removed = random.between(3_000, 30_000);
    at(plan, removed, Act::Remove(1));
    at(plan, removed + random.between(100, 60_000), Act::Begin(3));
}

fn a_late_checkout_after_a_release(plan: &mut Plan, random: &mut Random) {
    cad(plan, 2);
    plan.wire = Wire { lost: 200, slow: 300, twice: 500, slow_ms_max: 5_000 };
    plan.clients = (0..3).map(|_| ClientPlan { uses_ms: Some((10, 3_000)), begins_ms: Some(100), ..user(random, "cad") }).collect();
}

/// Whoever waits asks once more after a start, which is a fact, and the disk takes none for about as long as a waiter may be silent.
fn a_line_behind_a_disk_that_hangs(plan: &mut Plan, random: &mut Random) {
    (plan.ttl_ms, plan.ttl_max_ms) = (600_000, 600_000);
    cad(plan, 1);
    plan.duration_ms = 500_000;
    plan.queues.commands_per_pass_max = usize::try_from(random.between(1, 3)).expect("small");
    plan.clients = vec![user(random, "cad")];
    at(plan, 50, Act::Begin(0));
    for number in 1..=12 {
        plan.clients.push(waits(user(random, "cad"), 3_600_000));
        at(plan, 500 + 100 * u64::from(number), Act::Begin(number));
    }
    let killed = random.between(20_000, 60_000);
    at(plan, killed, Act::Kill(300));
    let hangs = killed + random.between(320, 600);
    at(plan, hangs, Act::DiskHangs(killed + 300 + plan.limits.wait_ttl_ms + random.between(100, 5_000) - hangs));
}

fn a_lost_history_with_a_longer_ttl(plan: &mut Plan, random: &mut Random) {
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("mesh", 1, 30, 120)]));
    plan.licenses.push(issue(&[0], "B", &[], &[Draft::new("cad", 1, 3_600, 43_200)]));
    plan.ttl_max_ms = 43_200_000;
    plan.ttl_ms = 600_000;
    plan.duration_ms = 5 * 3_600_000;
    plan.clients = vec![ClientPlan { ttl_ms: Some(43_200_000), ..user(random, "cad") }, user(random, "cad")];
    at(plan, 5, Act::Install(0));
    at(plan, 500, Act::Backup);
    at(plan, 1_000, Act::Install(1));
    at(plan, 2_000, Act::Begin(0));
    let restored = random.between(10_000, 100_000);
    // It is silent until its promise ends, and need not be heard before.
    at(plan, restored - 1, Act::CutOff(0, 43_200_000));
    at(plan, restored, Act::Restore);
    at(plan, restored + random.between(2_000, 60_000), Act::Install(1));
    for ask in 0..30 {
        at(plan, restored + 1_800_000 + ask * 400_000, Act::Begin(1));
    }
}

fn a_move_makes_room(plan: &mut Plan, random: &mut Random) {
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 2, 30, 120)]));
    plan.licenses.push(issue(&[0], "B", &[], &[Draft::new("cad", 2, 30, 120).version("7")]));
    plan.clients = (0..2).map(|_| ClientPlan { begins_ms: Some(200), ..user(random, "cad") }).collect();
    at(plan, 5, Act::Install(0));
    at(plan, 6, Act::Install(1));
    let first = usize::from(random.chance(500));
    at(plan, random.between(1_000, 60_000), Act::Remove(first));
}

fn a_newcomer_after_a_restore(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.clients = vec![user(random, "cad"), waits(user(random, "cad"), 300_000), user(random, "cad")];
    at(plan, 100, Act::Backup);
    at(plan, 500, Act::Begin(0));
    let restored = random.between(2_000, 30_000);
    at(plan, restored, Act::Restore);
    if random.chance(500) {
        at(plan, restored - 1, Act::CutOff(0, random.between(5_000, 30_000)));
    }
    at(plan, restored + random.between(1_000, 20_000), Act::Begin(1));
    at(plan, restored + random.between(1_000, 20_000), Act::Begin(2));
    if random.chance(300) {
        plan.accepts_after_ms = Some(random.between(60_000, 200_000));
    }
}

fn a_named_network(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    let named = ClientPlan { presence: true, behind_proxy: true, named_network: true, ..user(random, "cad") };
    plan.clients = vec![named, waits(user(random, "cad"), 600_000)];
    at(plan, 50, Act::Begin(0));
    at(plan, 5_000, Act::Begin(1));
    let mut when = random.between(10_000, 40_000);
    for _ in 0..4 {
        at(plan, when, Act::FalseFin(0));
        if random.chance(300) {
            at(plan, when, Act::CutOff(0, random.between(1_000, 60_000)));
        }
        when += random.between(35_000, 90_000);
    }
    if random.chance(500) {
        at(plan, when, Act::Die(0, None));
    }
}

/// A client whose presence connection is ended in its place comes back in vain: its opening is not answered, refused, or turned away unread. It is far from
/// its next renewal.
fn a_named_network_that_is_full(plan: &mut Plan, random: &mut Random) {
    (plan.ttl_ms, plan.ttl_max_ms, plan.duration_ms) = (600_000, 600_000, 1_200_000);
    cad(plan, 1);
    let named = ClientPlan { presence: true, behind_proxy: true, named_network: true, ..user(random, "cad") };
    plan.clients = vec![named, waits(user(random, "cad"), 600_000)];
    at(plan, 50, Act::Begin(0));
    at(plan, 5_000, Act::Begin(1));
    let ends = random.between(20_000, 60_000);
    match random.below(3) {
        0 => at(plan, ends, Act::PresenceUnseen(0)),
        way => at(plan, ends, Act::PresenceFull(0, random.between(20_000, 90_000), way == 1)),
    }
    at(plan, ends + 1, Act::FalseFin(0));
    if random.chance(300) {
        at(plan, random.between(200_000, 400_000), Act::Die(0, None));
    }
}

/// A client's presence connection is ended in its place, which it does not see, shortly before or after its network is named no more. It is far from its next
/// renewal.
fn a_named_network_that_is_named_no_more(plan: &mut Plan, random: &mut Random) {
    (plan.ttl_ms, plan.ttl_max_ms, plan.duration_ms) = (600_000, 600_000, 1_200_000);
    cad(plan, 2);
    let named = ClientPlan { presence: true, behind_proxy: true, named_network: true, ..user(random, "cad") };
    plan.clients = vec![named.clone(), named, waits(user(random, "cad"), 600_000)];
    at(plan, 50, Act::Begin(0));
    at(plan, 50, Act::Begin(1));
    at(plan, 5_000, Act::Begin(2));
    let reload = random.between(40_000, 80_000);
    at(plan, reload, Act::Unname);
    at(plan, reload - random.between(1, 25_000), Act::FalseFin(0));
    at(plan, reload + random.between(1, 25_000), Act::FalseFin(1));
    if random.chance(300) {
        at(plan, random.between(200_000, 400_000), Act::Die(0, None));
    }
}

/// Clients of several networks of one wider network come back after false ends, more than can be remembered.
fn a_network_that_regrets(plan: &mut Plan, random: &mut Random) {
    cad(plan, 12);
    plan.limits.presence_off_max = 2;
    plan.clients = (0..12).map(|_| ClientPlan { presence: true, begins_ms: Some(50), ..user(random, "cad") }).collect();
    let mut when = random.between(5_000, 20_000);
    // Four share an address.
    for client in [0, 4, 8] {
        at(plan, when, Act::FalseFin(client));
        when += random.between(20_000, 60_000);
    }
}

fn an_addition_that_is_not_answered(plan: &mut Plan, random: &mut Random) {
    // No renewal is due, which would stand down, before the connection is left.
    (plan.ttl_ms, plan.ttl_max_ms) = (120_000, 600_000);
    cad(plan, 1);
    let newcomer = || waits(user(&mut Random::new(7), "cad"), 300_000);
    // The first connection of every third client stands for others of its process before it stands for its seat.
    plan.clients = vec![newcomer(), newcomer(), ClientPlan { presence: true, ..user(random, "cad") }];
    at(plan, 20, Act::PresenceUnseen(2));
    at(plan, random.between(50, 5_000), Act::Begin(2));
    at(plan, 6_000, Act::Begin(0));
}

fn a_presence_that_stands_for_a_lease_no_more(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.clients = vec![ClientPlan { presence: true, ..user(random, "cad") }, waits(user(random, "cad"), 600_000)];
    at(plan, 50, Act::Begin(0));
    at(plan, 3_000, Act::Begin(1));
    let mut when = random.between(3_000, 20_000);
    for _ in 0..6 {
        at(plan, when, Act::PresenceDrop(0));
        when += random.between(5_000, 60_000);
    }
}

fn a_presence_that_does_not_open(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.clients = vec![ClientPlan { presence: true, ..user(random, "cad") }, waits(user(random, "cad"), 300_000)];
    at(plan, 20, Act::PresenceUnseen(0));
    at(plan, random.between(50, 5_000), Act::Begin(0));
    at(plan, 6_000, Act::Begin(1));
}

/// A client of a named network comes back just before its wait is over, and a slow disk keeps that from being decided until it is: its opening, which is not
/// answered, or is refused or turned away. It is far from its next renewal.
fn a_reopening_behind_a_slow_disk(plan: &mut Plan, random: &mut Random) {
    (plan.ttl_ms, plan.ttl_max_ms, plan.duration_ms) = (900_000, 900_000, 300_000);
    cad(plan, 40);
    plan.append_ms = (600, 1_500);
    let named = ClientPlan { presence: true, behind_proxy: true, named_network: true, ..user(random, "cad") };
    plan.clients = std::iter::once(named).chain((0..30).map(|_| user(random, "cad"))).collect();
    at(plan, 50, Act::Begin(0));
    let mut newcomers = 1..31;
    for round in 0..3 {
        let ends = round * 80_000 + random.between(10_000, 40_000);
        at(plan, ends, Act::FalseFin(0));
        let over = ends + PRESENCE_WAIT_MS;
        for (number, newcomer) in (0..).zip(newcomers.by_ref().take(10)) {
            at(plan, over - 2_000 + number * 300, Act::Begin(newcomer));
        }
        let back = over - random.between(1, 500);
        match random.below(3) {
            0 => at(plan, back - 1, Act::PresenceUnseen(0)),
            way => at(plan, back - 1, Act::PresenceFull(0, 1_000, way == 1)),
        }
        at(plan, back, Act::PresenceReopens(0));
    }
}

/// A grant becomes durable and the power fails before its answer leaves. After the start the disk has nothing left, for longer than a time to live, and the
/// client, which knows of no grant, repeats what it asked.
fn a_repeat_on_a_disk_with_nothing_left(plan: &mut Plan, random: &mut Random) {
    cad(plan, 2);
    (plan.reserve_bytes, plan.room_bytes, plan.quota) = (0, 0, random.chance(300));
    plan.duration_ms = 500_000;
    plan.clients = vec![waits(user(random, "cad"), 3_600_000), user(random, "cad")];
    at(plan, 45, Act::KillDurable(200, 0));
    at(plan, 50, Act::Begin(0));
    let full = random.between(1_000, 3_000);
    // The server looks at its room now and then.
    at(plan, 100, Act::CutOff(0, full + random.between(2_000, 6_000) - 100));
    at(plan, full, Act::DiskFull(random.between(plan.ttl_ms + 5_000, 5 * plan.ttl_ms)));
    if random.chance(500) {
        at(plan, full + random.between(10_000, 200_000), Act::Die(0, None));
    }
}

fn a_reissue_before_its_day(plan: &mut Plan, random: &mut Random) {
    let first = random.between(60, 120) * 1_000;
    let second = first + random.between(1, 100) * 1_000;
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 1, 30, 120)]));
    plan.licenses.push(issue(&[0], "A", &["A"], &[Draft::new("cad", 2, 30, 120).dates(Some(first), None)]));
    plan.licenses.push(issue(&[0], "A", &["A"], &[Draft::new("cad", 3, 30, 120).dates(Some(second), None)]));
    plan.clients = (0..2).map(|_| ClientPlan { begins_ms: Some(500), ..user(random, "cad") }).collect();
    for number in 0..3 {
        at(plan, 5 + 100 * number, Act::Install(usize::try_from(number).expect("few")));
    }
}

fn a_release_and_a_late_copy(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.wire = Wire { lost: 100, slow: 200, twice: 600, slow_ms_max: 2_000 };
    plan.clients = (0..2).map(|_| ClientPlan { uses_ms: Some((1_000, 20_000)), begins_ms: Some(100), ..user(random, "cad") }).collect();
}

fn a_rollback_and_its_proof(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.clients = vec![user(random, "cad"), waits(user(random, "cad"), 300_000), user(random, "cad")];
    at(plan, 200, Act::Backup);
    at(plan, 500, Act::Begin(0));
    let on_full_disk = random.chance(500);
    let back = random.between(2_000, if on_full_disk { 4_500 } else { 20_000 });
    at(plan, back, Act::Rollback);
    let asks = back + plan.ttl_ms / 3 + random.between(2_000, 20_000);
    if on_full_disk {
        // The server has met the full disk when the proof comes; there is room again just before somebody else asks.
        plan.clients.push(user(random, "cam"));
        let (full, room) = (back + 1_200, random.between(15_000, 22_000));
        at(plan, full, Act::DiskFull(room - full));
        at(plan, full + 50, Act::Begin(3));
        for ask in 0..4 {
            at(plan, room + 5 + 400 * ask, Act::Begin(2));
        }
    }
    at(plan, asks, Act::Begin(1));
    at(plan, asks + random.between(1, 20_000), Act::Begin(2));
}

fn a_seat_is_taken_back(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.clients = vec![user(random, "cad"), waits(user(random, "cad"), 300_000)];
    at(plan, 50, Act::Begin(0));
    at(plan, 500, Act::Begin(1));
    at(plan, random.between(1_000, 60_000), Act::Reclaim(0, random.chance(100)));
}

fn a_seat_that_is_due_behind_many(plan: &mut Plan, random: &mut Random) {
    // More than a few entries let end, and after them, at the same time, the one seat that others ask for.
    let many = 1_800;
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cam", 4_000, 30, 120), Draft::new("cad", 1, 30, 120)]));
    at(plan, 5, Act::Install(0));
    plan.drift_per_million = 0;
    plan.append_ms = (100, 400);
    plan.duration_ms = 50_000;
    plan.clients = (0..many).map(|_| ClientPlan { begins_ms: Some(random.between(100, 2_000)), ..user(random, "cam") }).collect();
    plan.clients.push(user(random, "cad"));
    at(plan, 6_000, Act::Begin(many));
    let killed = random.between(8_000, 10_000);
    at(plan, killed, Act::Kill(300));
    for client in 0..=many {
        at(plan, killed - 1, Act::CutOff(client, 60_000));
    }
    let due = killed + 300 + 30_000;
    for number in 1..=30 {
        plan.clients.push(user(random, "cad"));
        at(plan, due - 50 + random.between(0, 1_000), Act::Begin(many + number));
    }
}

fn a_silent_waiter(plan: &mut Plan, random: &mut Random) {
    cad(plan, 2);
    plan.duration_ms = 900_000;
    let large = ClientPlan { items: vec![item("cad", None, 2)], ..waits(user(random, "cad"), 3_600_000) };
    plan.clients = vec![user(random, "cad"), large, waits(user(random, "cad"), 600_000)];
    at(plan, 50, Act::Begin(0));
    at(plan, 1_000, Act::Begin(1));
    at(plan, 2_000, Act::Begin(2));
    at(plan, random.between(5_000, 60_000), Act::Die(1, None));
    if random.chance(400) {
        let mut next = 60_000;
        while next < plan.duration_ms {
            next += random.between(60_000, 110_000);
            at(plan, next, Act::Kill(500));
        }
    }
}

fn a_stalled_server(plan: &mut Plan, random: &mut Random) {
    cad(plan, 2);
    plan.clients = (0..2).map(|_| ClientPlan { begins_ms: Some(100), ..user(random, "cad") }).collect();
    let stall = random.between(1_000, 60_000);
    at(plan, stall, Act::Stall(random.between(20_000, 100_000), random.chance(700)));
}

fn a_stop_while_somebody_waits(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.clients = vec![user(random, "cad"), waits(user(random, "cad"), 600_000), waits(user(random, "cad"), 600_000)];
    at(plan, 50, Act::Begin(0));
    at(plan, 500, Act::Begin(1));
    at(plan, 600, Act::Begin(2));
    let stop = random.between(1_000, 40_000);
    at(plan, stop, Act::Stop);
    at(plan, stop + random.between(1, 30_000), Act::DiskFull(random.between(5_000, 60_000)));
}

fn a_takeover(plan: &mut Plan, random: &mut Random) {
    cad(plan, 2);
    plan.clients = (0..4).map(|_| ClientPlan { begins_ms: Some(100), uses_ms: Some((2_000, 30_000)), ..user(random, "cad") }).collect();
    plan.append_ms = (1, 2_000);
    for _ in 0..6 {
        let when = random.between(1_000, 200_000);
        at(plan, when, Act::TakeOver);
    }
}

fn a_takeover_that_some_do_not_see(plan: &mut Plan, random: &mut Random) {
    plan.ttl_ms = random.between(10_000, 15_000);
    plan.ttl_max_ms = plan.ttl_ms;
    plan.duration_ms = 300_000;
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 10, plan.ttl_ms / 1_000, plan.ttl_ms / 1_000)]));
    at(plan, 5, Act::Install(0));
    // They only renew, so a server that leads no more has nothing to write that would end it.
    plan.clients = (0..8).map(|_| ClientPlan { begins_ms: Some(100), ..user(random, "cad") }).collect();
    for turn in 1..8 {
        at(plan, turn * 35_000 + random.between(1, 10_000), Act::TakeOver);
    }
}

fn a_wide_recovery(plan: &mut Plan, random: &mut Random) {
    plan.limits.events_max = EVENTS_MAX_MIN;
    let many = 900;
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 4_000, 120, 600)]));
    at(plan, 5, Act::Install(0));
    plan.ttl_ms = 120_000;
    plan.ttl_max_ms = 600_000;
    plan.duration_ms = 70_000;
    plan.clients = (0..many)
        .map(|number| ClientPlan { batch: Some(number % 3), begins_ms: Some(random.between(100, 4_000)), ..user(random, "cad") })
        .collect();
    // They renew in the same second, and their hosts send that in three requests.
    let killed = random.between(6_000, 20_000);
    at(plan, killed, Act::Kill(500));
    at(plan, killed + 600, Act::Stall(random.between(30_000, 45_000), true));
}

fn a_wide_removal(plan: &mut Plan, random: &mut Random) {
    plan.limits.events_max = EVENTS_MAX_MIN;
    let many = 600;
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 2_000, 12, 30)]));
    at(plan, 5, Act::Install(0));
    plan.ttl_ms = 12_000;
    plan.ttl_max_ms = 30_000;
    plan.duration_ms = 25_000;
    plan.append_ms = (50, 400);
    plan.clients = (0..many).map(|_| ClientPlan { begins_ms: Some(random.between(100, 4_000)), ..user(random, "cad") }).collect();
    at(plan, random.between(6_000, 15_000), Act::Remove(0));
}

fn a_wrong_future_with_a_removal(plan: &mut Plan, random: &mut Random) {
    let step_ms = random.between(1_200, 3_600) * 1_000;
    let begins_ms = random.between(600_000, step_ms - 300_000);
    let expires_ms = random.chance(400).then(|| random.between(400_000, begins_ms));
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 2, 30, 120).dates(None, expires_ms)]));
    plan.licenses.push(issue(&[0], "B", &["A"], &[Draft::new("cad", 1, 30, 120).dates(Some(begins_ms), None)]));
    at(plan, 5, Act::Install(0));
    at(plan, 105, Act::Install(1));
    plan.clients = (0..3).map(|_| user(random, "cad")).collect();
    if random.chance(500) {
        at(plan, 300, Act::Begin(0));
    }
    let by_ms = i64::try_from(step_ms).expect("an hour at most");
    let wrong = random.between(1_000, 30_000);
    at(plan, wrong, Act::StepServer(by_ms, true));
    let removed = wrong + random.between(3_000, 20_000);
    at(plan, removed, Act::Remove(1));
    let mut accepted = removed + random.between(1_000, 60_000);
    if random.chance(400) {
        at(plan, removed + 300, Act::Snapshot);
    }
    if random.chance(400) {
        at(plan, removed + 600, Act::Kill(500));
        accepted += 5_000;
    }
    at(plan, accepted, Act::StepServer(-by_ms, true));
    at(plan, accepted + 3_000, Act::AcceptClock);
    for client in 1..3 {
        at(plan, accepted + 3_000 + random.between(500, 30_000), Act::Begin(client));
    }
}

fn answers_that_take_long(plan: &mut Plan, random: &mut Random) {
    plan.ttl_ms = 10_000;
    plan.ttl_max_ms = 30_000;
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 1, 10, 30)]));
    at(plan, 5, Act::Install(0));
    plan.drift_per_million = crate::clock::DRIFT_MAX_PER_MILLION;
    plan.wire = Wire { lost: 20, slow: 800, twice: 0, slow_ms_max: 4_500 };
    plan.clients = (0..2).map(|_| ClientPlan { begins_ms: Some(100), ..user(random, "cad") }).collect();
    for _ in 0..4 {
        let when = random.between(5_000, 250_000);
        at(plan, when, Act::CutOff(0, 20_000));
    }
}

fn attempts_in_the_wrong_order(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.wire = Wire { lost: 150, slow: 400, twice: 600, slow_ms_max: 6_000 };
    plan.duration_ms = 600_000;
    plan.clients = (0..4).map(|_| ClientPlan { begins_ms: Some(100), uses_ms: Some((1_000, 20_000)), ..user(random, "cad") }).collect();
}

/// Few requests, so that nothing later asks for what an earlier answer still waits for.
fn confirmations_that_take_long(plan: &mut Plan, random: &mut Random) {
    plan.ttl_ms = 10_000;
    plan.ttl_max_ms = 30_000;
    cad(plan, 4);
    plan.append_ms = (100, 900);
    plan.confirm_ms = (100, 900);
    plan.wire = Wire { lost: 0, slow: 500, twice: 500, slow_ms_max: 1_000 };
    plan.duration_ms = 400_000;
    let stays = |random: &mut Random| ClientPlan { begins_ms: Some(random.between(100, 3_000)), ..user(random, "cad") };
    plan.clients = vec![stays(random), stays(random), ClientPlan { uses_ms: Some((1_000, 4_000)), ..user(random, "cad") }];
    for begin in 1..50 {
        at(plan, begin * 8_000 + random.between(0, 1_500), Act::Begin(2));
    }
}

fn clocks_that_part(plan: &mut Plan, random: &mut Random) {
    let ttl_s = random.between(120, 900);
    plan.ttl_ms = ttl_s * 1_000;
    plan.ttl_max_ms = plan.ttl_ms;
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 1, ttl_s, ttl_s)]));
    at(plan, 5, Act::Install(0));
    plan.duration_ms = 8 * plan.ttl_ms;
    plan.drift_per_million = crate::clock::DRIFT_MAX_PER_MILLION;
    let slow = ClientPlan { drift_per_million: -crate::clock::DRIFT_MAX_PER_MILLION, begins_ms: Some(100), ..user(random, "cad") };
    plan.clients = vec![slow, waits(user(random, "cad"), 3_600_000)];
    let cut = random.between(1_000, plan.ttl_ms);
    at(plan, cut, Act::CutOff(0, 3 * plan.ttl_ms));
    at(plan, cut + 1, Act::Begin(1));
}

fn entries_on_a_small_disk(plan: &mut Plan, random: &mut Random) {
    cad(plan, 6);
    if random.chance(500) {
        plan.reserve_bytes = 0;
    }
    plan.room_bytes = usize::try_from(random.between(200, 6_000)).expect("small");
    plan.clients = (0..8)
        .map(|_| ClientPlan { begins_ms: Some(random.between(50, 30_000)), uses_ms: Some((2_000, 8_000)), ..user(random, "cad") })
        .collect();
    at(plan, random.between(1_000, 10_000), Act::DiskFull(100_000));
}

fn features_that_change_at_one_instant(plan: &mut Plan, random: &mut Random) {
    // More than one entry holds: the old rights end at the instant at which the new ones begin.
    let instant = random.between(40, 90) * 1_000;
    const MANY: [&str; 8] = ["cad", "cam", "mesh", "sim", "flow", "heat", "mill", "turn"];
    let licenses = 70;
    for number in 0..licenses {
        let old: Vec<Draft> = MANY.iter().map(|feature| Draft::new(feature, 1, 30, 120).dates(None, Some(instant))).collect();
        let new: Vec<Draft> = MANY.iter().map(|feature| Draft::new(feature, 1, 30, 120).dates(Some(instant), None)).collect();
        plan.licenses.push(issue(&[0], &format!("O{number}"), &[], &old));
        plan.licenses.push(issue(&[0], &format!("N{number}"), &[], &new));
    }
    for number in 0..plan.licenses.len() {
        at(plan, 5 + number as u64, Act::Install(number));
    }
    plan.duration_ms = instant + 40_000;
    plan.append_ms = (20, 300);
    let many = 8 * licenses;
    plan.clients = (0..many)
        .map(|number| ClientPlan {
            begins_ms: Some(random.between(1_000, 9_000)),
            items: vec![item(MANY[number % MANY.len()], None, 1)],
            ..user(random, "cad")
        })
        .collect();
}

fn lingering_seats_give_way(plan: &mut Plan, random: &mut Random) {
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 1, 30, 120).linger(600), Draft::new("cam", 2, 30, 120).linger(600)]));
    plan.licenses.push(issue(&[0], "B", &[], &[Draft::new("cam", 2, 30, 120).linger(600)]));
    let both = ClientPlan { items: vec![item("cad", None, 1), item("cam", None, 1)], ..user(random, "cad") };
    let large = ClientPlan { items: vec![item("cam", None, 2)], ..user(random, "cam") };
    let small = user(random, "cam");
    plan.clients = vec![both, large, small];
    at(plan, 5, Act::Install(0));
    at(plan, 6, Act::Install(1));
    let mut order = [0, 1, 2];
    if random.chance(500) {
        order.swap(0, 1);
    }
    for (place, client) in order.into_iter().enumerate() {
        at(plan, 100 + 300 * place as u64, Act::Begin(client));
    }
    let released = random.between(2_000, 40_000);
    at(plan, released, Act::Done(1));
    at(plan, released + random.between(500, 20_000), Act::Remove(usize::from(random.chance(500))));
}

fn lines_on_a_full_disk(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    let reserves = random.chance(600);
    plan.draw_room(reserves);
    plan.duration_ms = 900_000;
    plan.clients = vec![user(random, "cad")];
    for _ in 0..4 {
        let waiter = waits(user(random, "cad"), 3_600_000);
        plan.clients.push(waiter);
    }
    for client in 0..5 {
        at(plan, 50 + 200 * u64::from(client), Act::Begin(client));
    }
    let full = random.between(2_000, 20_000);
    let long = random.between(130_000, 300_000);
    at(plan, full, Act::DiskFull(long));
    at(plan, full + random.between(500, 10_000), Act::Done(0));
    if random.chance(300) {
        at(plan, full + random.between(500, 100_000), Act::Kill(500));
    }
}

fn many_ask_for_one_seat(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.clients = (0..6)
        .map(|_| ClientPlan { begins_ms: Some(random.between(50, 3_000)), uses_ms: Some((5_000, 40_000)), ..user(random, "cad") })
        .collect();
    for client in plan.clients.iter_mut().skip(3) {
        client.wait_ms = Some(random.between(10_000, 200_000));
    }
}

fn many_requests_at_once(plan: &mut Plan, random: &mut Random) {
    // More than waits and more than a pass takes, behind a disk that is slow.
    cad(plan, 6);
    plan.queues.commands_per_network_max = usize::try_from(random.between(2, 6)).expect("small");
    plan.queues.commands_max = usize::try_from(random.between(8, 40)).expect("small");
    plan.queues.commands_per_pass_max = usize::try_from(random.between(1, 8)).expect("small");
    plan.queues.commands_per_turn_max = usize::try_from(random.between(1, 3)).expect("small");
    plan.queues.lane_per_pass_max = usize::try_from(random.between(1, 8)).expect("small");
    plan.append_ms = (100, 1_500);
    plan.wire = Wire { lost: 30, slow: 100, twice: 100, slow_ms_max: 3_000 };
    plan.duration_ms = 400_000;
    plan.clients = (0..40)
        .map(|number| ClientPlan {
            begins_ms: Some(random.between(50, 3_000)),
            uses_ms: Some((2_000, 40_000)),
            wait_ms: (number % 3 == 0).then_some(60_000),
            batch: (number % 4 == 0).then_some(number % 3),
            presence: number % 5 == 0,
            ..user(random, "cad")
        })
        .collect();
    for stall in 0..4 {
        let when = stall * 90_000 + random.between(5_000, 60_000);
        at(plan, when, Act::Stall(random.between(1_000, 6_000), true));
    }
}

fn merged_vendors_with_many_seats(plan: &mut Plan, random: &mut Random) {
    let most = 10_000_000;
    for number in 0..4u32 {
        let key = u8::try_from(number % 2).expect("few");
        let drafts: Vec<Draft> = (0..110).map(|_| Draft::new("cad", most, 30, 120)).collect();
        plan.licenses.push(issue(&[key], &format!("M{number}"), &[], &drafts));
    }
    plan.licenses.push(issue(&[0, 1], "BOTH", &[], &[Draft::new("cad", most, 30, 120)]));
    for number in 0..5 {
        at(plan, 5 + 5 * number, Act::Install(usize::try_from(number).expect("few")));
    }
    plan.duration_ms = 60_000;
    plan.clients = vec![ClientPlan { begins_ms: Some(100), ..user(random, "cad") }];
    at(plan, random.between(200, 20_000), Act::Snapshot);
    at(plan, random.between(20_000, 30_000), Act::Kill(500));
}

/// A vendor goes from one key to another: old applications embed the first, newer ones both, the newest the second.
fn keys_of_one_vendor_that_change(plan: &mut Plan, random: &mut Random) {
    let seats = |random: &mut Random| u32::try_from(random.between(1, 3)).expect("few");
    let draft = |seats: u32| Draft { linger_s: 0, ..Draft::new("cad", seats, 30, 120) };
    plan.licenses.push(issue(&[0], "OLD", &[], &[draft(seats(random))]));
    plan.licenses.push(issue(&[1], "NEW", &[], &[draft(seats(random))]));
    plan.licenses.push(issue(&[0, 1], "BOTH", &[], &[draft(1)]));
    plan.licenses.push(issue(&[1], "NEXT", &["OLD"], &[draft(seats(random))]));
    plan.duration_ms = 600_000;
    for number in 0..9u64 {
        let keys = match number % 3 {
            0 => vec![0],
            1 => vec![1, 0],
            _ => vec![1],
        };
        let client =
            ClientPlan { keys, begins_ms: Some(random.between(50, 120_000)), uses_ms: Some((20_000, 90_000)), ..user(random, "cad") };
        plan.clients.push(if random.chance(500) { waits(client, random.between(20_000, 300_000)) } else { client });
    }
    at(plan, 5, Act::Install(0));
    at(plan, 6, Act::Install(1));
    let merged = random.between(100, 60_000);
    at(plan, merged, Act::Install(2));
    let ended = merged + random.between(10_000, 120_000);
    at(plan, ended, if random.chance(500) { Act::Install(3) } else { Act::Remove(usize::from(random.chance(500))) });
    let killed = merged + random.between(1_000, 200_000);
    at(plan, killed, if random.chance(500) { Act::Kill(500) } else { Act::Snapshot });
}

fn seats_for_large_and_small(plan: &mut Plan, random: &mut Random) {
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 3, 30, 120), Draft::new("cam", 2, 30, 120)]));
    at(plan, 5, Act::Install(0));
    plan.duration_ms = 600_000;
    for number in 0..8u32 {
        let mut client = ClientPlan { begins_ms: Some(random.between(50, 20_000)), uses_ms: Some((5_000, 60_000)), ..user(random, "cad") };
        match number % 4 {
            0 => client.items = vec![item("cad", None, 2)],
            1 => client.items = vec![item("cad", None, 1), item("cam", None, 1)],
            2 => client.items = vec![item("cam", None, 2)],
            _ => {}
        }
        if random.chance(700) {
            client.wait_ms = Some(random.between(20_000, 300_000));
        }
        plan.clients.push(client);
    }
}

fn a_rollback_passed_by_a_busy_server(plan: &mut Plan, random: &mut Random) {
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 2, 60, 120), Draft::new("cam", 3, 30, 120)]));
    at(plan, 5, Act::Install(0));
    plan.ttl_ms = 60_000;
    plan.clients = vec![user(random, "cad"), waits(user(random, "cad"), 300_000), user(random, "cad")];
    for _ in 0..6 {
        plan.clients.push(ClientPlan { begins_ms: Some(4_000), uses_ms: Some((100, 1_500)), ..user(random, "cam") });
    }
    // Of two holders one shows its grant, and the other is not heard while its promise runs.
    plan.clients.push(user(random, "cad"));
    at(plan, 1_100, Act::Begin(9));
    at(plan, 1_900, Act::CutOff(9, 57_000));
    at(plan, 200, Act::Backup);
    // The lost history and the present one have an epoch of the same number.
    at(plan, 400, Act::Kill(100));
    at(plan, 1_000, Act::Begin(0));
    let back = random.between(2_000, 3_500);
    at(plan, back, Act::Rollback);
    let asks = back + 20_000 + random.between(2_000, 8_000);
    at(plan, asks, Act::Begin(1));
    at(plan, asks + random.between(1, 10_000), Act::Begin(2));
}

/// A proof and the wish to end a quarantine that was looked at before lie before one pass.
fn a_rollback_shown_before_a_quarantine_is_ended(plan: &mut Plan, random: &mut Random) {
    a_rollback_shown_with_a_newcomer(plan, random);
    let shown = plan.acts.iter().find(|(_, act)| matches!(act, Act::Show(_))).map_or(0, |(when, _)| *when);
    at(plan, shown + random.between(500, 8_000), Act::EndQuarantine);
}

fn a_rollback_shown_with_a_newcomer(plan: &mut Plan, random: &mut Random) {
    cad(plan, 1);
    plan.clients = vec![user(random, "cad"), user(random, "cad"), user(random, "cad")];
    at(plan, 200, Act::Backup);
    at(plan, 500, Act::Begin(0));
    let back = random.between(2_000, 9_000);
    at(plan, back, Act::Rollback);
    // Everything that comes in a while lies before one pass: newcomers first.
    let stall = back + random.between(1_100, 4_000);
    at(plan, stall, Act::Stall(12_000, true));
    at(plan, stall + 10, Act::Begin(1));
    at(plan, stall + 20, Act::Begin(2));
    at(plan, stall + 60, Act::Show(0));
}

fn a_stale_backup_frees_nothing(plan: &mut Plan, random: &mut Random) {
    plan.ttl_ms = 120_000;
    plan.ttl_max_ms = 120_000;
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 1, 120, 120)]));
    at(plan, 5, Act::Install(0));
    plan.clients = vec![user(random, "cad")];
    at(plan, 50, Act::Begin(0));
    let killed = random.between(3_000, 10_000);
    at(plan, killed, Act::Kill(200));
    // It is not heard until shortly before its promise ends; the backup knows it as it was then.
    let unheard = random.between(85_000, 100_000);
    at(plan, killed - 1, Act::CutOff(0, unheard));
    at(plan, killed + unheard - 1_000, Act::Backup);
    let restored = killed + unheard + random.between(16_000, 20_000);
    at(plan, restored, Act::CutOff(0, 110_000));
    at(plan, restored + 1, Act::Restore);
}

fn late_renewals_of_many(plan: &mut Plan, random: &mut Random) {
    // More than one entry takes up.
    plan.limits.events_max = EVENTS_MAX_MIN;
    let many = 700;
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 4_000, 30, 120)]));
    at(plan, 5, Act::Install(0));
    (plan.reserve_bytes, plan.room_bytes) = (0, 0);
    plan.drift_per_million = 0;
    plan.duration_ms = 45_000;
    plan.clients = (0..many).map(|_| ClientPlan { begins_ms: Some(random.between(100, 3_000)), ..user(random, "cad") }).collect();
    let killed = random.between(5_000, 6_000);
    at(plan, killed, Act::Kill(300));
    // The start is written, and then nothing more for as long as it promises: they ask, and their first word in it waits for room.
    let full = killed + random.between(320, 420);
    at(plan, full, Act::DiskFull(killed + 30_300 + random.between(100, 2_000) - full));
}

fn lowered_on_a_full_disk(plan: &mut Plan, random: &mut Random) {
    plan.licenses.push(issue(&[0], "A", &[], &[Draft::new("cad", 2, 60, 120)]));
    plan.licenses.push(issue(&[0], "B", &["A"], &[Draft::new("cad", 2, 10, 10)]));
    plan.ttl_ms = 60_000;
    if !random.chance(300) {
        plan.reserve_bytes = 0;
    }
    if random.chance(500) {
        // That there is no room shows when the lower time to live is to be written.
        (plan.room_bytes, plan.quota) = (0, true);
    } else {
        // There is room in the reserve only.
        (plan.reserve_bytes, plan.room_bytes) = (2_000_000, 1_500_000);
    }
    plan.clients = vec![user(random, "cad")];
    at(plan, 5, Act::Install(0));
    at(plan, 50, Act::Begin(0));
    let replaced = random.between(1_000, 10_000);
    at(plan, replaced, Act::Install(1));
    at(plan, replaced + 100, Act::DiskFull(100_000));
}

fn many_ids_behind_one_address(plan: &mut Plan, random: &mut Random) {
    cad(plan, 2);
    // Each use makes an id that is remembered, each denial too, and a copy of a request comes long after.
    plan.wire = Wire { lost: 50, slow: 200, twice: 500, slow_ms_max: 3_000 };
    plan.limits.remember_ms = random.between(150_000, 240_000);
    plan.limits.remembered_per_network_max = random.between(4, 16);
    plan.limits.remembered_max = random.between(8, 40);
    plan.duration_ms = 900_000;
    plan.clients = (0..8)
        .map(|_| ClientPlan { begins_ms: Some(random.between(50, 20_000)), uses_ms: Some((500, 12_000)), ..user(random, "cad") })
        .collect();
    if random.chance(300) {
        at(plan, random.between(60_000, 600_000), Act::Kill(500));
    }
    if random.chance(300) {
        at(plan, 30_000, Act::Backup);
        at(plan, random.between(60_000, 300_000), Act::Restore);
    }
}

fn many_old_grants_are_shown(plan: &mut Plan, random: &mut Random) {
    cad(plan, 2);
    let clients = 6;
    plan.clients = (0..clients).map(|_| user(random, "cad")).collect();
    at(plan, 100, Act::Backup);
    // One after the other, each with a grant of its own.
    for client in 0..clients {
        at(plan, 500 + 1_000 * u64::from(client), Act::Begin(client));
        at(plan, 1_200 + 1_000 * u64::from(client), Act::Done(client));
    }
    let restored = 10_000 + random.between(0, 5_000);
    at(plan, restored, Act::Restore);
    for client in 0..clients {
        at(plan, restored + 2_000 + 100 * u64::from(client), Act::Show(client));
    }
}

fn who_must_go_holds_a_seat_of_its_version(plan: &mut Plan, random: &mut Random) {
    let ttl_s = random.between(60, 240);
    let license =
        |id: &str, version: &'static str, seats: u32| issue(&[0], id, &[], &[Draft::new("cad", seats, ttl_s, ttl_s).version(version)]);
    plan.licenses.extend([license("A", "1.0", 1), license("B", "2.0", 2), license("C", "2.0", 1)]);
    (plan.ttl_ms, plan.ttl_max_ms) = (ttl_s * 1_000, ttl_s * 1_000);
    plan.duration_ms = 4 * plan.ttl_ms;
    for number in 0..3 {
        at(plan, 5 + number as u64, Act::Install(number));
    }
    // One of an old version and three of a newer one, of whom one must go; then somebody of each leaves, and others of the newer one come.
    for (number, version) in ["1.0", "1.5", "1.5", "1.5", "1.5", "1.5"].into_iter().enumerate() {
        let client = ClientPlan { items: vec![item("cad", Some(version), 1)], ..user(random, "cad") };
        plan.clients.push(if number > 3 && random.chance(500) { waits(client, 2 * plan.ttl_ms) } else { client });
        if number < 4 {
            at(plan, 100 + 300 * number as u64, Act::Begin(u32::try_from(number).expect("few")));
        }
    }
    let removed = random.between(2_000, 20_000);
    at(plan, removed, Act::Remove(2));
    at(plan, removed + random.between(100, 2_000), Act::Done(0));
    at(plan, removed + random.between(100, 2_000), Act::Done(1));
    for ask in 0..8 {
        at(plan, removed + 2_500 + ask * 500, Act::Begin(4 + u32::try_from(ask % 2).expect("one of two")));
    }
    if random.chance(300) {
        at(plan, removed + random.between(1_000, 8_000), Act::Kill(500));
    }
}
