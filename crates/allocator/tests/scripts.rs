//! Each rule of docs/leases.md in the words of the domain. `needs` also shows that the script breaks without the rule.
#![allow(clippy::unwrap_used)]

mod support;

use support::script::{check, needs};

// One checkout and its answers.

#[test]
fn seats_are_granted_until_there_are_none_and_a_denial_has_its_numbers() {
    check(
        "
        00:00 install A cad=2                     => installed began=A
        00:00 checkout L1 cad ana@ws1             => grant left=300s ttl=300s free=1 cad=A:1
        00:05 checkout L2 cad bo@ws2              => grant free=0
        00:10 checkout L3 cad cy@ws3              => deny no_seat_free seats=1 total=2 used=2 free=0 first_due=05:00
        00:20 release L1                          => released linger=0s
        00:21 checkout L3 cad cy@ws3 attempt=2    => grant free=0
    ",
    );
}

#[test]
fn a_seat_comes_back_after_linger_and_not_before() {
    check(
        "
        00:00 install A cad=2 linger=10s          => installed
        00:00 checkout L1 cad ana@ws1             => grant free=1
        00:05 checkout L2 cad bo@ws2              => grant free=0
        00:20 release L1                          => released linger=10s
        00:29 checkout L3 cad cy@ws3              => deny no_seat_free total=2 used=1 lingering=1 first_due=00:30
        00:30 checkout L3 cad cy@ws3 attempt=2    => grant freed=L1 free=0
    ",
    );
}

#[test]
fn a_denial_over_a_lapsed_linger_does_not_happen() {
    needs(
        |safeguards| safeguards.due_before_decide = false,
        "
        00:00 install A cad=1 linger=10s          => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:10 release L1                          => released
        00:20 checkout L2 cad bo@ws2              => grant freed=L1
    ",
    );
}

#[test]
fn the_same_attempt_gets_the_same_answer_and_takes_no_second_seat() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad ana@ws1             => grant free=1 granted=L1
        00:01 checkout L1 cad ana@ws1             => grant free=1 facts=0
        00:02 checkout L1 cad ana@ws1 attempt=7   => grant free=1 facts=0
    ",
    );
}

#[test]
fn every_answer_that_carries_a_live_lease_is_a_renewal() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant left=300s
        04:00 checkout L1 cad ana@ws1             => grant left=300s
        08:59 renew L1                            => renewed left=300s
        13:00 checkout L2 cad bo@ws2              => deny no_seat_free
        14:00 checkout L2 cad bo@ws2 attempt=2    => grant ended=L1:expired
    ",
    );
}

#[test]
fn a_denial_is_repeated_for_its_attempt_and_decided_anew_for_the_next() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L2 cad bo@ws2              => deny no_seat_free denied
        00:02 release L1                          => released
        00:03 checkout L2 cad bo@ws2              => deny no_seat_free facts=0
        00:04 checkout L2 cad bo@ws2 attempt=2    => grant
    ",
    );
}

#[test]
fn a_late_lower_attempt_is_stale() {
    needs(
        |safeguards| safeguards.attempts_ordered = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L2 cad bo@ws2 attempt=2    => deny no_seat_free
        00:02 release L1                          => released
        00:03 checkout L2 cad bo@ws2 attempt=1    => refused stale_attempt last=2
    ",
    );
}

#[test]
fn an_id_with_other_content_is_taken() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L1 cad:2 ana@ws1           => refused id_taken
        00:02 checkout L1 cad bo@ws2              => refused id_taken
        00:03 release L1                          => released
        00:04 checkout L1 cad bo@ws2              => refused id_taken
        00:05 checkout L2 cad:3 bo@ws2            => deny more_than_pool
        00:06 checkout L2 cad bo@ws2 attempt=2    => refused id_taken
    ",
    );
}

#[test]
fn an_id_that_ended_never_grants_again() {
    needs(
        |safeguards| safeguards.remember_ended = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 release L1                          => released
        00:02 checkout L1 cad ana@ws1             => deny lease_ended facts=0 free=1
        00:03 checkout L1 cad ana@ws1 attempt=2   => deny lease_ended free=1
        00:04 release L1                          => released facts=0
        00:05 restart                             => recovered
        00:06 checkout L1 cad ana@ws1 attempt=3   => deny lease_ended
    ",
    );
}

#[test]
fn an_id_released_before_it_was_known_never_grants() {
    needs(
        |safeguards| safeguards.release_before_known = false,
        "
        00:00 install A cad=1                     => installed
        00:00 release L1                          => released released_unknown
        00:01 checkout L1 cad ana@ws1             => deny lease_ended free=1
        00:02 restart                             => recovered
        00:03 checkout L1 cad ana@ws1             => deny lease_ended
        00:04 release L1                          => released facts=0
    ",
    );
}

#[test]
fn a_denied_id_that_is_released_never_grants() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L2 cad bo@ws2              => deny no_seat_free
        00:02 release L2                          => released
        00:03 release L1                          => released
        00:04 checkout L2 cad bo@ws2 attempt=2    => deny lease_ended
    ",
    );
}

#[test]
fn ended_ids_are_forgotten_in_bulk_after_an_hour() {
    check(
        "
        00:00 install A cad=3                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:00 checkout L2 cad bo@ws2              => grant
        00:01 release L1                          => released
        00:02 release L2                          => released
        60:00 sweep                               => done !forgot
        60:00 renew L1                            => ended released
        61:30 sweep                               => done forgot
        61:31 renew L1                            => refused unknown_lease
    ",
    );
}

#[test]
fn nonsense_is_refused_and_leaves_no_trace() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad:0 ana@ws1           => refused malformed facts=0
        00:00 checkout L1 cad,cad ana@ws1         => refused malformed facts=0
        00:00 checkout L1 cad ana@ws1 vendor=evil => deny unknown_vendor
        00:00 checkout L2 cam ana@ws1             => deny unknown_feature feature=cam
        00:00 renew L9                            => refused unknown_lease facts=0
        00:00 reclaim L9                          => refused unknown_lease
        00:00 remove Z                            => refused unknown_license
    ",
    );
}

#[test]
fn several_features_at_once_are_all_or_none() {
    check(
        "
        00:00 install A cad=2 cam=1 sim=5         => installed
        00:00 checkout L1 cad,cam,sim:3 ana@ws1   => grant cad=A:1 cam=A:1 sim=A:3
        00:01 checkout L2 cad,cam bo@ws2          => deny no_seat_free feature=cam used=1
        00:01 state cad                           => done used=1 free=1
        00:01 checkout L3 cad,sim:3 cy@ws3        => deny no_seat_free feature=sim
        00:01 checkout L4 cad,sim:2 cy@ws3        => grant
        00:02 release L1                          => released
        00:02 state sim                           => done used=2 free=3
        00:02 state cam                           => done used=0 free=1
    ",
    );
}

#[test]
fn one_checkout_does_not_take_the_same_seat_twice_from_one_license() {
    check(
        "
        00:00 install A cad=3                     => installed
        00:00 checkout L1 cad:2 ana@ws1           => grant free=1
        00:00 checkout L2 cad:2 bo@ws2            => deny no_seat_free free=1
        00:00 checkout L3 cad:4 bo@ws2            => deny more_than_pool total=3
    ",
    );
}

#[test]
fn two_vendors_with_the_same_feature_have_two_pools() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 install B/beta cad=1                => installed !overlap=cad:1->2
        00:00 checkout L1 cad ana@ws1             => grant cad=A:1
        00:00 checkout L2 cad bo@ws2              => deny no_seat_free
        00:00 checkout L3 cad bo@ws2 vendor=beta  => grant cad=B:1
        00:00 checkout L4 cad cy@ws3 vendor=nobody,beta => deny no_seat_free
    ",
    );
}

#[test]
fn the_first_key_whose_vendor_can_serve_counts() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 install B/beta cad=1                => installed
        00:00 checkout L1 cad ana@ws1 vendor=acme,beta => grant cad=A:1
        00:00 checkout L2 cad bo@ws2 vendor=acme,beta  => grant cad=B:1
        00:00 checkout L3 cad cy@ws3 vendor=acme,beta  => deny no_seat_free
    ",
    );
}

// Time to live.

#[test]
fn time_to_live_is_asked_for_within_what_the_vendor_permits() {
    check(
        "
        00:00 install A cad=9 ttl_max=20min       => installed
        00:00 checkout L1 cad ana@ws1 ttl=10min   => grant ttl=600s
        00:00 checkout L2 cad ana@ws1 ttl=2h      => grant ttl=1200s
        00:00 checkout L3 cad ana@ws1 ttl=1s      => grant ttl=10s
        00:00 checkout L4 cad ana@ws1             => grant ttl=300s
        00:00 install B cam=9 ttl=2min ttl_max=2h => installed
        00:00 checkout L5 cam ana@ws1             => grant ttl=120s
        00:00 checkout L6 cam,cad ana@ws1 ttl=1h  => grant ttl=1200s
    ",
    );
}

#[test]
fn a_lease_that_moves_to_a_stricter_license_is_promised_no_more_than_that_permits() {
    check(
        "
        00:00 install A cad=1 ttl_max=2h          => installed
        00:00 checkout L1 cad ana@ws1 ttl=1h      => grant ttl=3600s
        00:01 install B cad=1 ttl_max=10min replaces=A => installed moved=L1:A>B:1
        00:02 checkout L1 cad ana@ws1 ttl=1h      => grant ttl=600s left=600s
        59:00 renew L1                            => renewed left=600s
        59:01 restart                             => recovered
        69:00 checkout L2 cad bo@ws2              => deny no_seat_free first_due=69:01
    ",
    );
}

#[test]
fn grace_and_vendor_data_travel_in_the_grant() {
    check(
        "
        00:00 install A cad=9 grace=2h            => installed
        00:00 install B cam=9 grace=1h presence=false => installed
        00:00 checkout L1 cad,cam ana@ws1         => grant grace=3600s presence=false
        00:00 checkout L2 cad ana@ws1             => grant grace=7200s presence=true
    ",
    );
}

#[test]
fn linger_follows_an_expiry_too_so_that_killing_a_client_gains_nothing() {
    check(
        "
        00:00 install A cad=1 linger=60s          => installed
        00:00 checkout L1 cad ana@ws1             => grant
        05:00 sweep                               => done ended=L1:expired lingers=L1
        05:59 checkout L2 cad bo@ws2              => deny no_seat_free lingering=1 first_due=06:00
        06:00 checkout L2 cad bo@ws2 attempt=2    => grant freed=L1
    ",
    );
}

#[test]
fn a_renewal_that_arrives_late_but_before_the_sweep_still_counts() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        05:00 renew L1                            => renewed left=300s
    ",
    );
}

// Clones.

#[test]
fn the_same_counter_with_another_nonce_is_a_clone() {
    needs(
        |safeguards| safeguards.counters_detect_clones = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:10 renew L1 counter=5 nonce=a          => renewed
        00:10 renew L1 counter=5 nonce=a          => renewed
        00:11 renew L1 counter=5 nonce=b          => refused cloned_client
        00:12 renew L1 counter=4 nonce=c          => refused stale_counter
        00:13 renew L1 counter=6 nonce=d          => renewed
    ",
    );
}

// Recovery.

#[test]
fn a_promise_outlives_a_crash() {
    needs(
        |safeguards| safeguards.extend_on_recovery = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        04:00 renew L1                            => renewed left=300s
        04:01 restart                             => recovered
        09:00 checkout L2 cad bo@ws2              => deny no_seat_free
        09:00 renew L1                            => renewed heard=L1
    ",
    );
}

#[test]
fn a_dead_client_costs_one_more_time_to_live_and_not_one_for_every_restart() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        01:00 restart                             => recovered
        02:00 restart                             => recovered
        03:00 restart                             => recovered
        05:59 checkout L2 cad bo@ws2              => deny no_seat_free first_due=06:00
        06:00 checkout L2 cad bo@ws2 attempt=2    => grant ended=L1:expired
    ",
    );
}

#[test]
fn the_first_renewal_in_an_epoch_is_durable_and_later_ones_are_not() {
    needs(
        |safeguards| safeguards.heard_is_durable = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:10 renew L1                            => renewed facts=0
        01:00 restart                             => recovered
        01:10 renew L1                            => renewed heard=L1
        01:20 renew L1                            => renewed facts=0
        05:00 restart                             => recovered
        09:59 checkout L2 cad bo@ws2              => deny no_seat_free first_due=10:00
    ",
    );
}

#[test]
fn lease_time_is_marked_while_a_lease_is_unheard_and_not_in_quiet_hours() {
    needs(
        |safeguards| safeguards.clock_is_marked = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:20 sweep                               => done facts=0
        00:30 restart                             => recovered
        00:39 sweep                               => done facts=0
        00:40 sweep                               => done clock_marked
        00:50 renew L1                            => renewed heard=L1
        01:10 sweep                               => done facts=0
    ",
    );
}

#[test]
fn the_clock_is_marked_while_seats_linger() {
    check(
        "
        00:00 install A cad=1 linger=60s          => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 release L1                          => released
        00:11 sweep                               => done clock_marked
        01:01 sweep                               => done freed=L1
        01:30 sweep                               => done facts=0
    ",
    );
}

#[test]
fn an_ending_lease_is_not_prolonged_by_a_restart() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        01:00 reclaim L1                          => reclaimed left=240s
        02:00 restart                             => recovered
        02:00 renew L1                            => ended reclaimed left=180s
        05:00 checkout L2 cad bo@ws2              => grant ended=L1:reclaimed
    ",
    );
}

// Reclaim.

#[test]
fn a_reclaimed_lease_ends_at_its_present_deadline() {
    needs(
        |safeguards| safeguards.ending_keeps_deadline = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        01:00 renew L1                            => renewed
        02:00 reclaim L1                          => reclaimed left=240s ending=L1:reclaimed
        02:10 renew L1                            => ended reclaimed left=230s !heard=L1
        02:11 checkout L1 cad ana@ws1             => ended reclaimed left=229s
        02:12 reclaim L1                          => reclaimed left=228s facts=0
        05:59 checkout L2 cad bo@ws2              => deny no_seat_free
        06:00 checkout L2 cad bo@ws2 attempt=2    => grant
        06:01 renew L1                            => ended reclaimed left=0s
    ",
    );
}

#[test]
fn a_reclaimed_lease_may_be_given_back_earlier_and_does_not_linger_then() {
    check(
        "
        00:00 install A cad=1 linger=60s          => installed
        00:00 checkout L1 cad ana@ws1             => grant
        01:00 reclaim L1                          => reclaimed
        01:10 release L1                          => released linger=0s
        01:10 checkout L2 cad bo@ws2              => grant
    ",
    );
}

#[test]
fn reclaim_now_frees_at_once_and_takes_lingering_seats_too() {
    check(
        "
        00:00 install A cad=2 linger=60s          => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:00 checkout L2 cad bo@ws2              => grant
        00:01 reclaim L1 now                      => reclaimed left=0s ended=L1:reclaimed
        00:01 renew L1                            => ended reclaimed left=0s
        00:02 release L2                          => released linger=60s
        00:03 reclaim L2                          => reclaimed left=0s freed=L2
        00:03 state cad                           => done free=2
    ",
    );
}

// Presence.

#[test]
fn a_dead_process_frees_its_seat_by_the_end_of_its_newest_presence_connection() {
    needs(
        |safeguards| safeguards.presence_generation = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1                  => done
        00:02 presence L1 open 2                  => done
        00:02 renew L1 presence=2                 => renewed
        00:03 presence L1 close 1                 => done facts=0
        00:04 checkout L2 cad bo@ws2              => deny no_seat_free
        00:05 presence L1 close 2                 => done released=L1:presence
        00:06 checkout L2 cad bo@ws2 attempt=2    => grant
    ",
    );
}

#[test]
fn a_presence_connection_whose_opening_the_client_never_confirmed_frees_nothing() {
    needs(
        |rules| rules.presence_confirmed = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1                  => done
        00:02 renew L1                            => renewed
        00:11 presence L1 close 1                 => done facts=0
        00:12 checkout L2 cad bo@ws2              => deny no_seat_free
        00:13 renew L1                            => renewed
    ",
    );
}

#[test]
fn a_client_stands_down_from_a_presence_connection_by_its_next_renewal() {
    needs(
        |rules| rules.presence_confirmed = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1                  => done
        00:02 renew L1 presence=1                 => renewed
        00:03 renew L1                            => renewed
        00:04 presence L1 close 1                 => done facts=0
    ",
    );
}

#[test]
fn behind_an_address_translation_the_end_of_a_presence_connection_frees_nothing() {
    needs(
        |rules| rules.presence_ends_agree = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1 ends=differ      => done
        00:02 renew L1 presence=1                 => renewed
        00:03 presence L1 close 1                 => done facts=0
        00:04 presence L1 open 2                  => done
        00:05 renew L1 presence=2                 => renewed
        00:06 presence L1 close 2                 => done released=L1:presence
    ",
    );
}

#[test]
fn two_presence_connections_of_one_generation_free_nothing() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1                  => done
        00:02 renew L1 presence=1                 => renewed
        00:03 presence L1 open 1 connection=7     => done
        00:04 presence L1 close 1                 => done facts=0
    ",
    );
}

#[test]
fn the_end_of_a_presence_connection_counts_for_an_added_lease_from_its_own_renewal() {
    needs(
        |rules| rules.added_counts_from_its_renewal = false,
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1                  => done
        00:01 renew L1 presence=1                 => renewed
        00:02 checkout L2 cad ana@ws1             => grant
        00:03 presence L2 add 1                   => done
        00:04 presence L2 close 1                 => done facts=0
        00:05 presence L2 add 2                   => done
        00:06 presence L2 add 2                   => done
        00:07 renew L2 presence=2                 => renewed
        00:08 presence L2 add 2                   => done
        00:09 presence L2 close 2                 => done released=L2:presence
        00:09 presence L1 close 1                 => done released=L1:presence
    ",
    );
}

#[test]
fn the_end_of_a_presence_connection_frees_nothing_of_a_lease_that_was_dropped_from_it() {
    needs(
        |rules| rules.dropped_is_not_freed = false,
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1                  => done
        00:01 renew L1 presence=1                 => renewed
        00:02 presence L1 drop 1                  => done
        00:03 presence L1 close 1                 => done facts=0
    ",
    );
}

#[test]
fn a_lease_enters_a_generation_once_whatever_arrives_late() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:00 checkout L2 cad ana@ws1             => grant
        00:01 presence L1 open 1                  => done
        00:01 presence L1 drop 1                  => done
        00:02 presence L1 add 1                   => done
        00:03 renew L1 presence=1                 => renewed
        00:04 presence L1 close 1                 => done facts=0
        00:05 presence L2 drop 1                  => done
        00:06 presence L2 add 1                   => done
        00:06 renew L2 presence=1                 => renewed
        00:07 presence L2 close 1                 => done facts=0
        00:08 presence L1 add 2                   => done
        00:08 renew L1 presence=2                 => renewed
        00:09 presence L1 close 2                 => done released=L1:presence
    ",
    );
}

#[test]
fn in_a_named_network_seats_are_free_half_a_minute_after_the_end_of_a_presence_connection() {
    needs(
        |rules| rules.named_network_waits = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1 ends=named       => done
        00:01 renew L1 presence=1                 => renewed
        00:02 presence L1 close 1                 => done facts=0
        00:31 checkout L2 cad bo@ws2              => deny no_seat_free
        00:32 sweep                               => done ended=L1:presence
        00:33 checkout L2 cad bo@ws2 attempt=2    => grant
        00:34 renew L1                            => ended presence regretted=L1
        00:35 checkout L3 cad ana@ws1             => deny no_seat_free
    ",
    );
}

#[test]
fn in_a_named_network_a_client_that_is_heard_keeps_its_seats() {
    needs(
        |rules| rules.renewal_ends_the_wait = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1 ends=named       => done
        00:01 renew L1 presence=1                 => renewed
        00:02 presence L1 close 1                 => done facts=0
        00:20 presence L1 open 2 ends=named       => done
        00:31 renew L1 presence=2                 => renewed
        00:33 sweep                               => done facts=0
        00:40 presence L1 close 2                 => done facts=0
        00:50 checkout L1 cad ana@ws1             => grant
        01:20 sweep                               => done facts=0
        01:20 renew L1                            => renewed
    ",
    );
}

#[test]
fn in_a_named_network_a_client_that_opens_again_keeps_its_seats_and_only_what_it_confirmed_ends_them() {
    needs(
        |rules| rules.opening_ends_the_wait = false,
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:00 checkout L2 cad ana@ws1             => grant
        00:01 presence L1 open 1 ends=named       => done
        00:01 presence L2 open 1 ends=named       => done
        00:01 renew L1 presence=1                 => renewed
        00:01 renew L2 presence=1                 => renewed
        00:02 presence L1 close 1                 => done facts=0
        00:02 presence L2 close 1                 => done facts=0
        00:03 presence L1 open 2 ends=named       => done
        00:04 presence L2 add 3 ends=named        => done
        00:32 sweep                               => done facts=0
        00:33 presence L1 close 2                 => done facts=0
        01:10 sweep                               => done facts=0
        01:11 renew L1                            => renewed
    ",
    );
}

#[test]
fn a_drop_does_not_end_the_wait_in_a_named_network() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1 ends=named       => done
        00:01 renew L1 presence=1                 => renewed
        00:02 presence L1 close 1                 => done facts=0
        00:03 presence L1 drop 1 ends=named       => done
        00:32 sweep                               => done ended=L1:presence
    ",
    );
}

#[test]
fn in_a_named_network_a_client_whose_opening_was_refused_keeps_its_seats() {
    needs(
        |rules| rules.refused_opening_ends_the_wait = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1 ends=named       => done
        00:01 renew L1 presence=1                 => renewed
        00:02 presence L1 close 1                 => done facts=0
        00:31 presence L1 refused                 => done facts=0
        00:33 sweep                               => done facts=0
        00:40 renew L1                            => renewed
    ",
    );
}

#[test]
fn a_batch_decides_what_is_said_of_presence_before_what_is_due() {
    needs(
        |rules| rules.presence_hears_first = false,
        "
        00:00 install A cad=3                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:00 checkout L2 cad bo@ws2              => grant
        00:00 checkout L3 cad cy@ws3              => grant
        00:01 presence L1 open 1 ends=named       => done
        00:01 presence L2 open 1 ends=named       => done
        00:01 presence L3 open 1 ends=named       => done
        00:01 renew L1 presence=1                 => renewed
        00:01 renew L2 presence=1                 => renewed
        00:01 renew L3 presence=1                 => renewed
        00:02 presence L1 close 1                 => done facts=0
        00:03 presence L2 close 1                 => done facts=0
        00:04 presence L3 close 1                 => done facts=0
        00:32 presence L1 open 2 ends=named       => done facts=0
        00:33 presence L2 refused                 => done facts=0
        00:34 presence L3 add 2 ends=named        => done facts=0
        00:35 sweep                               => done facts=0
    ",
    );
}

#[test]
fn nothing_of_a_named_network_is_freed_early_while_its_connections_are_turned_away() {
    needs(
        |rules| rules.turned_away_frees_nothing = false,
        "
        00:00 install A cad=3                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:00 checkout L2 cad bo@ws2              => grant
        00:00 checkout L3 cad cy@ws3              => grant
        00:01 presence L1 open 1 ends=named       => done
        00:01 presence L2 open 1 ends=named       => done
        00:01 renew L1 presence=1                 => renewed
        00:01 renew L2 presence=1                 => renewed
        00:02 presence L1 close 1 from=10.0.0.1   => done facts=0
        00:02 presence L2 close 1 from=10.0.0.2   => done facts=0
        00:20 presence full named=10.0.0.0/16     => done facts=0
        00:33 sweep                               => done facts=0
        00:40 renew L1 presence=1                 => renewed
        00:41 presence L1 open 2 ends=named       => done
        00:41 renew L1 presence=2                 => renewed
        00:50 presence L1 close 2 from=10.0.0.1   => done facts=0
        01:21 sweep                               => done ended=L1:presence
        01:22 presence L3 open 1 ends=named       => done
        01:22 renew L3 presence=1                 => renewed
        01:23 presence L3 close 1 from=10.0.0.3   => done facts=0
        01:30 presence full                       => done facts=0
        01:54 sweep                               => done facts=0
    ",
    );
}

#[test]
fn nothing_is_freed_early_any_more_where_a_network_was_named() {
    needs(
        |rules| rules.unnamed_frees_nothing = false,
        "
        00:00 install A cad=3                         => installed
        00:00 checkout L1 cad ana@ws1                 => grant
        00:00 checkout L2 cad bo@ws2                  => grant
        00:00 checkout L3 cad cy@ws3                  => grant
        00:01 presence L1 open 1 ends=named           => done
        00:01 presence L2 open 1 ends=named           => done
        00:01 presence L3 open 1 ends=named           => done
        00:01 renew L1 presence=1                     => renewed
        00:01 renew L2 presence=1                     => renewed
        00:01 renew L3 presence=1                     => renewed
        00:02 presence L1 close 1 from=10.0.0.1       => done facts=0
        00:20 presence unnamed unnamings=1               => done facts=0
        00:21 presence L2 close 1 from=10.0.0.2       => done facts=0
        00:33 sweep                                   => done facts=0
        00:52 sweep                                   => done facts=0
        00:53 presence L3 close 1 unnamings=1 from=10.1.0.3 => done facts=0
        00:54 presence unnamed unnamings=1               => done facts=0
        01:24 sweep                                   => done ended=L3:presence
    ",
    );
}

#[test]
fn whoever_comes_back_through_another_address_of_a_named_range_may_have_been_turned_away_there_and_in_no_other_range() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:00 checkout L2 cad bo@ws2              => grant
        00:01 presence L1 open 1 ends=named       => done
        00:01 presence L2 open 1 ends=named       => done
        00:01 renew L1 presence=1                 => renewed
        00:01 renew L2 presence=1                 => renewed
        00:02 presence L1 close 1 from=10.1.9.1   => done facts=0
        00:02 presence L2 close 1 from=10.2.9.1   => done facts=0
        00:03 presence full named=10.1.0.0/16     => done facts=0
        00:32 sweep                               => done ended=L2:presence !ended=L1:presence
        00:33 renew L1                            => renewed
    ",
    );
}

#[test]
fn where_more_ranges_are_named_than_are_told_apart_nothing_is_freed_early_anywhere() {
    let most = triquest_allocator::limits::TURNED_AWAY_NAMED_MAX;
    let mut text = "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1 ends=named       => done
        00:01 renew L1 presence=1                 => renewed
        00:02 presence L1 close 1 from=10.9.0.1   => done facts=0
        "
    .to_owned();
    for number in 0..most {
        text += &format!("00:03 presence full named=172.16.{number}.0/24 => done facts=0\n");
    }
    check(&format!("{text} 00:32 sweep => done ended=L1:presence"));
    check(&format!("{text} 00:03 presence full named=172.17.0.0/24 => done facts=0\n 00:32 sweep => done facts=0"));
}

#[test]
fn a_vendor_may_forbid_early_freeing() {
    check(
        "
        00:00 install A cad=1 presence=false      => installed
        00:00 checkout L1 cad ana@ws1             => grant presence=false
        00:01 presence L1 open 1                  => done
        00:01 renew L1 presence=1                 => renewed
        00:02 presence L1 close 1                 => done facts=0
        00:03 renew L1                            => renewed
    ",
    );
}

#[test]
fn a_client_that_comes_back_turns_early_freeing_off_for_its_network() {
    needs(
        |safeguards| safeguards.presence_regret = false,
        "
        00:00 install A cad=3                     => installed
        00:00 checkout L1 cad ana@ws1 from=2001:db8::1 => grant
        00:01 presence L1 open 1                  => done
        00:01 renew L1 presence=1                 => renewed
        00:02 presence L1 close 1                 => done released=L1:presence
        00:03 renew L1                            => ended presence regretted=L1
        00:04 renew L1                            => ended presence facts=0
        00:05 checkout L2 cad ana@ws1 from=2001:db8::7:1 => grant presence=false
        00:05 presence L2 open 1                  => done
        00:05 renew L2 presence=1                 => renewed
        00:06 presence L2 close 1                 => done facts=0
        00:07 checkout L3 cad bo@ws2 from=10.0.0.2 => grant
        00:07 presence L3 open 1                  => done
        00:07 renew L3 presence=1                 => renewed
        00:08 presence L3 close 1                 => done released=L3:presence
        09:00 renew L3                            => ended presence !regretted=L3
        09:01 restart                             => recovered
        09:02 checkout L4 cad ana@ws1 from=2001:db8::1 => grant
        09:02 presence L4 open 1                  => done
        09:02 renew L4 presence=1                 => renewed
        09:03 presence L4 close 1                 => done facts=0
    ",
    );
}

#[test]
fn a_client_that_lost_its_seat_by_its_own_clock_and_regains_it_is_held_against_nobody() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad ana@ws1 from=10.0.0.1 => grant
        00:01 presence L1 open 1                  => done
        00:01 renew L1 presence=1                 => renewed
        00:02 presence L1 close 1                 => done released=L1:presence
        00:03 renew L1 regained                   => ended presence !regretted=L1
        00:04 checkout L1 cad ana@ws1 regained from=10.0.0.1 => deny lease_ended !regretted=L1
        00:05 checkout L2 cad ana@ws1 from=10.0.0.1 => grant presence=true
    ",
    );
}

#[test]
fn presence_connections_of_an_earlier_run_free_nothing() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 presence L1 open 1                  => done
        00:01 renew L1 presence=1                 => renewed
        00:02 restart                             => recovered
        00:03 presence L1 close 1                 => done facts=0
    ",
    );
}

// Versions and several licenses.

#[test]
fn several_licenses_add_up_and_are_charged_soonest_ending_first() {
    check(
        "
        00:00 install A cad=2 expires=2027-12-31  => installed
        00:00 install B cad=2 expires=2026-12-31  => installed overlap=cad:2->4 beside=A until=2027-01-01
        00:00 checkout L1 cad:3 ana@ws1           => grant cad=B:2 cad=A:1 total=4 free=1
        00:01 checkout L2 cad bo@ws2              => grant cad=A:1
        00:02 release L1                          => released
        00:02 state cad                           => done free=3 used=1
    ",
    );
}

#[test]
fn a_newer_version_needs_a_right_to_it() {
    check(
        "
        00:00 install A cad=2@11                  => installed
        00:00 install B cad=2@12.4                => installed
        00:00 checkout L1 cad@13 ana@ws1          => deny version_not_covered newest=12.4
        00:00 checkout L2 cad@12 ana@ws1          => grant cad=B:1
        00:00 checkout L3 cad@11 ana@ws1          => grant cad=A:1
        00:00 checkout L4 cad:3@12 ana@ws1        => deny more_than_pool
        00:00 checkout L5 cad ana@ws1             => grant cad=A:1
    ",
    );
}

#[test]
fn an_old_version_never_blocks_a_new_one_while_an_old_seat_is_free() {
    needs(
        |safeguards| safeguards.charges_move = false,
        "
        00:00 install A cad=1@12 expires=2026-12-31 => installed
        00:00 install B cad=1@11 expires=2027-12-31 => installed
        00:00 checkout L1 cad@11 ana@ws1          => grant cad=A:1
        00:01 checkout L2 cad@12 bo@ws2           => grant cad=A:1 moved=L1:A>B:1
        00:02 renew L1                            => renewed regrant
        00:03 checkout L1 cad@11 ana@ws1          => grant cad=B:1
        00:04 renew L1                            => renewed !regrant
    ",
    );
}

#[test]
fn charges_move_in_a_chain_if_they_must() {
    check(
        "
        00:00 install A cad=1@12 expires=2026-10-31 => installed
        00:00 install B cad=1@11 expires=2026-11-30 => installed
        00:00 install C cad=1@10 expires=2026-12-31 => installed
        00:00 checkout L1 cad@11 ana@ws1          => grant cad=A:1
        00:01 checkout L2 cad@10 bo@ws2           => grant cad=B:1
        00:02 checkout L3 cad@12 cy@ws3           => grant cad=A:1 moved=L2:B>C:1 moved=L1:A>B:1
        00:03 checkout L4 cad@10 di@ws4           => deny no_seat_free free=0
    ",
    );
}

#[test]
fn seats_of_one_lease_may_move_in_part() {
    check(
        "
        00:00 install A cad=4@12 expires=2026-10-31 => installed
        00:00 install B cad=3@11 expires=2026-11-30 => installed
        00:00 checkout L1 cad:4@11 ana@ws1        => grant cad=A:4
        00:01 checkout L2 cad:2@12 bo@ws2         => grant cad=A:2 moved=L1:A>B:2
        00:02 checkout L1 cad:4@11 ana@ws1        => grant cad=A:2 cad=B:2
        00:03 checkout L3 cad:2@12 cy@ws3         => deny no_seat_free free=1
        00:04 checkout L4 cad:1@12 cy@ws3         => grant moved=L1:A>B:1
        00:05 release L1                          => released
        00:05 state cad                           => done used=3 free=4
    ",
    );
}

#[test]
fn moves_that_made_no_room_in_the_end_are_not_made() {
    check(
        "
        00:00 install A cad=3@12 expires=2026-10-31 => installed
        00:00 install B cad=2@11 expires=2026-11-30 => installed
        00:00 checkout L1 cad:1@11 ana@ws1        => grant cad=A:1
        00:00 checkout L2 cad:2@12 bo@ws2         => grant cad=A:2
        00:00 install C cam=1                     => installed
        00:00 checkout L3 cam cy@ws3              => grant
        00:01 checkout L4 cad:2@12 di@ws4         => deny no_seat_free facts=1
        00:01 checkout L1 cad:1@11 ana@ws1        => grant cad=A:1
    ",
    );
}

// Dates.

#[test]
fn a_license_not_yet_valid_waits_and_takes_effect_by_itself() {
    check(
        "
        00:00 install A cad=2 starts=2026-09-01   => installed waiting
        00:00 checkout L1 cad ana@ws1             => deny not_yet_valid at=2026-08-31
        00:01 date 2026-09-01                     => done began=A
        00:02 checkout L1 cad ana@ws1 attempt=2   => grant
    ",
    );
}

#[test]
fn a_license_that_ends_lets_its_leases_run_to_their_deadline_and_no_further() {
    check(
        "
        00:00 install A cad=2 expires=2026-09-01  => installed
        00:00 checkout L1 cad ana@ws1             => grant
        01:00 date 2026-09-03                     => done over=A:expired ending=L1:license_ended
        01:01 renew L1                            => ended license_ended left=239s
        01:02 checkout L2 cad bo@ws2              => deny expired total=0 used=1 over=1
        05:00 sweep                               => done ended=L1:license_ended
        05:00 state cad                           => done used=0 over=0 total=0
        05:01 install B cad=1 expires=2026-08-01  => refused expired
    ",
    );
}

#[test]
fn a_lease_walks_across_new_year_from_the_old_license_to_the_new() {
    needs(
        |safeguards| safeguards.charges_move = false,
        "
        00:00 install A cad=25 expires=2026-12-31 => installed
        00:00 checkout L1 cad ana@ws1             => grant cad=A:1
        01:00 date 2026-12-01                     => done
        01:00 install B cad=25 starts=2027-01-01 expires=2027-12-31 => installed waiting overlap=cad:25->50
        01:01 state cad                           => done total=25
        02:00 date 2027-01-01                     => done began=B
        02:00 state cad                           => done total=50
        03:00 renew L1                            => renewed !regrant
        04:00 date 2027-01-02                     => done over=A:expired moved=L1:A>B:1
        04:00 state cad                           => done total=25 used=1 over=0
        05:00 renew L1                            => renewed regrant
        05:01 checkout L1 cad ana@ws1             => grant cad=B:1
        09:00 renew L1                            => renewed !regrant
    ",
    );
}

#[test]
fn a_lease_walks_across_new_year_when_the_new_license_replaces_the_old() {
    check(
        "
        00:00 install A cad=25 expires=2026-12-31 => installed
        00:00 checkout L1 cad:20 ana@ws1          => grant cad=A:20
        01:00 date 2026-12-01                     => done
        01:00 install B cad=25 starts=2027-01-01 expires=2027-12-31 replaces=A => installed waiting !replaced=A !overlap=cad:25->50
        01:01 state cad                           => done total=25 free=5
        02:00 date 2027-01-01                     => done began=B over=A:replaced moved=L1:A>B:20 gone=A
        02:00 state cad                           => done total=25 free=5 used=20
        02:01 checkout L2 cad:6 bo@ws2            => deny no_seat_free
        03:00 renew L1                            => renewed regrant
        04:00 date 2027-01-02                     => done facts=0
        05:00 renew L1                            => renewed
    ",
    );
}

#[test]
fn nobody_loses_a_seat_when_a_license_is_replaced_live_and_seats_suffice() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:00 checkout L2 cad bo@ws2              => grant free=0
        01:00 install B cad=3 replaces=A          => installed replaced=A moved=L1:A>B:1 moved=L2:A>B:1
        01:00 state cad                           => done total=3 free=1 used=2
        01:01 checkout L3 cad cy@ws3              => grant cad=B:1
        01:02 renew L1                            => renewed regrant
    ",
    );
}

#[test]
fn a_smaller_successor_keeps_whom_it_can_and_the_rest_end() {
    check(
        "
        00:00 install A cad=3                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:00 checkout L2 cad bo@ws2              => grant
        00:00 checkout L3 cad cy@ws3              => grant
        01:00 install B cad=2 replaces=A          => installed replaced=A
        01:00 state cad                           => done total=2 used=3 over=1 free=0
        01:01 checkout L4 cad di@ws4              => deny no_seat_free
        05:00 sweep                               => done
        05:00 state cad                           => done over=0
    ",
    );
}

#[test]
fn a_successor_replaces_feature_by_feature_as_its_rights_begin() {
    check(
        "
        00:00 install A cad=1 cam=1               => installed
        00:00 checkout L1 cad,cam ana@ws1         => grant
        01:00 install B cad=1 replaces=A          => installed replaced=A moved=L1:A>B:1 ending=L1:license_replaced
        05:00 sweep                               => done ended=L1:license_replaced
    ",
    );
}

#[test]
fn the_same_license_again_is_already_installed_and_counts_once() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:01 install A cad=2                     => refused already_installed facts=0
        00:02 state cad                           => done total=2
    ",
    );
}

#[test]
fn another_text_under_the_same_id_is_refused_unless_it_says_that_it_replaces() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:01 install A2*A cad=5                  => refused license_id_taken facts=0
        00:02 install A3*A cad=5 replaces=A       => installed replaced=A
        00:03 state cad                           => done total=5
        00:04 install A4/beta cad=5               => installed
        00:05 install A2*A cad=9                  => refused license_id_taken
    ",
    );
}

#[test]
fn what_was_replaced_does_not_come_back_beside_its_successor_and_is_told_which_that_is() {
    check(
        "
        00:00 install B cad=5 replaces=A          => installed
        00:01 install A cad=2                     => refused replaced by=B since=2026-07-01 facts=0
        00:02 install C cad=5 starts=2026-08-15 replaces=B => installed waiting
        00:03 install D cam=5                     => installed
        00:04 date 2026-08-20                     => done began=C over=B:replaced
        00:05 install B cad=5                     => refused replaced by=C since=2026-08-20
        00:06 install A cad=2                     => installed
    ",
    );
}

#[test]
fn an_earlier_issue_of_a_license_whose_next_one_is_in_force_is_no_other_text() {
    check(
        "
        00:00 install A2*A cad=5 replaces=A issued=2026-03-01 => installed
        00:01 install A1*A cad=2                  => refused replaced by=A since=2026-07-01
        00:02 install A3*A cad=2 issued=2026-04-01 => refused license_id_taken
    ",
    );
}

#[test]
fn a_license_replaces_only_what_was_installed_before_it() {
    needs(
        |safeguards| safeguards.reissue_order = false,
        "
        00:00 install A1*A cad=1                  => installed
        00:00 install A2*A cad=2 starts=2026-08-01 replaces=A => installed waiting
        00:00 install A3*A cad=3 starts=2026-09-01 replaces=A => installed waiting
        00:00 checkout L1 cad ana@ws1             => grant cad=A1:1
        01:00 date 2026-08-01                     => done began=A2 gone=A1 !gone=A3 moved=L1:A1>A2:1
        01:00 state cad                           => done total=2
        02:00 date 2026-09-01                     => done began=A3 gone=A2 moved=L1:A2>A3:1
        02:00 state cad                           => done total=3 used=1
        02:01 restart                             => recovered
        02:02 state cad                           => done total=3
    ",
    );
}

#[test]
fn the_newest_of_several_issues_is_kept_whichever_begins_first() {
    check(
        "
        00:00 install A1*A cad=1                  => installed
        00:00 install A2*A cad=2 starts=2026-09-01 replaces=A => installed waiting
        00:00 install A3*A cad=3 starts=2026-08-01 replaces=A => installed waiting
        01:00 date 2026-08-01                     => done began=A3 gone=A1 gone=A2
        02:00 date 2026-09-02                     => done facts=0
        02:00 state cad                           => done total=3
    ",
    );
}

#[test]
fn a_license_of_several_rights_to_a_feature_takes_over_with_all_of_them() {
    check(
        "
        00:00 install A cad=3@12                  => installed
        00:00 checkout L1 cad@12 ana@ws1          => grant
        00:00 checkout L2 cad@11 bo@ws2           => grant
        00:01 install B cad=1@11 cad=1@12 replaces=A => installed replaced=A moved=L1:A>B:1 moved=L2:A>B:1 !ending=L1:license_replaced
        00:02 renew L1                            => renewed
        00:02 renew L2                            => renewed
    ",
    );
}

#[test]
fn a_removed_license_ends_its_leases_at_their_deadline_unless_others_cover_them() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 install B cad=1                     => installed overlap=cad:2->3
        00:00 checkout L1 cad:2 ana@ws1           => grant cad=A:2
        00:01 checkout L2 cad bo@ws2              => grant cad=B:1
        00:02 release L2                          => released
        00:03 checkout L3 cad bo@ws2              => grant cad=B:1
        00:04 remove A                            => removed ending=1 ending=L1:license_removed
        00:05 renew L3                            => renewed
        00:06 renew L1                            => ended license_removed left=294s
        00:07 install A cad=2                     => installed
        00:08 state cad                           => done total=3 used=3 free=0
        05:00 sweep                               => done ended=L1:license_removed
        05:01 checkout L4 cad:2 ana@ws1           => grant cad=A:2
        05:02 remove A                            => removed ending=1
        10:02 sweep                               => done
        10:03 checkout L5 cad ana@ws1             => grant cad=B:1
    ",
    );
}

#[test]
fn whoever_must_go_is_counted_for_its_version_too() {
    needs(
        |safeguards| safeguards.grant_within_versions = false,
        "
        00:00 install A cad=1@1.0 => installed
        00:00 install B cad=2@2.0 => installed
        00:00 install C cad=1@2.0 => installed
        00:00 checkout L1 cad@1.0 ana@ws1         => grant cad=A:1
        00:00 checkout L2 cad@1.5 bo@ws2          => grant cad=B:1
        00:00 checkout L3 cad@1.5 cy@ws3          => grant cad=B:1
        00:00 checkout L4 cad@1.5 di@ws4          => grant cad=C:1
        00:01 remove C                            => removed ending=1 ending=L4:license_removed
        00:02 release L2                          => released
        00:02 release L1                          => released
        00:02 state cad                           => done total=3 used=2 free=1
        00:03 checkout L5 cad@1.5 ed@ws5          => deny no_seat_free
        00:03 checkout L6 cad@1.0 fi@ws6          => grant cad=A:1
        00:04 release L6                          => released
        00:04 renew L3                            => renewed
        05:00 sweep                               => done ended=L4:license_removed
        05:01 checkout L7 cad@1.5 ed@ws5          => grant cad=B:1
    ",
    );
}

#[test]
fn lingering_seats_move_or_end_with_their_license() {
    check(
        "
        00:00 install A cad=1 linger=1h           => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 release L1                          => released linger=3600s
        00:02 install B cad=1                     => installed
        00:03 remove A                            => removed ending=0 moved=L1:A>B:1
        00:04 state cad                           => done total=1 lingering=1 free=0
        00:05 remove B                            => removed ending=0 freed=L1
        00:06 state cad                           => done total=0 lingering=0
    ",
    );
}

#[test]
fn seats_that_linger_give_way_before_a_live_lease_loses_its_license() {
    needs(
        |safeguards| safeguards.linger_gives_way = false,
        "
        00:00 install A cad=1                     => installed
        00:00 install B cam=1 linger=1h expires=2026-12-31 => installed
        00:00 install C cam=2 linger=1h expires=2027-12-31 => installed
        00:00 checkout L0 cad,cam ana@ws1         => grant cam=B:1
        00:01 checkout L6 cam:2 bo@ws2            => grant cam=C:2
        00:02 release L6                          => released linger=3600s
        00:03 remove B                            => removed ending=0 freed=L6 moved=L0:B>C:1 !ending=L0:license_removed
        00:04 renew L0                            => renewed
        00:04 state cam                           => done total=2 used=1 lingering=0 free=1
    ",
    );
}

#[test]
fn seats_that_linger_are_not_given_up_where_that_helps_nobody() {
    check(
        "
        00:00 install A cam=3 expires=2026-12-31  => installed
        00:00 install B cam=1 linger=1h expires=2027-12-31 => installed
        00:00 checkout L0 cam:3 ana@ws1           => grant cam=A:3
        00:01 checkout L1 cam bo@ws2              => grant cam=B:1
        00:02 release L1                          => released linger=3600s
        00:03 remove A                            => removed ending=1 ending=L0:license_removed !freed=L1
        00:03 state cam                           => done lingering=1
    ",
    );
}

#[test]
fn lingering_seats_that_do_not_cover_a_lease_are_not_given_up_for_it() {
    check(
        "
        00:00 install A cam=1@12 expires=2026-12-31 => installed
        00:00 install B cam=1@10 linger=1h expires=2027-12-31 => installed
        00:00 install C cam=1@12 expires=2028-12-31 => installed
        00:01 checkout L0 cam@12 ana@ws1          => grant cam=A:1
        00:01 checkout L1 cam@12 bo@ws2           => grant cam=C:1
        00:02 checkout L2 cam@10 cy@ws3           => grant cam=B:1
        00:03 release L2                          => released linger=3600s
        00:04 remove A                            => removed ending=1 ending=L0:license_removed !freed=L2
        00:05 state cam                           => done lingering=1
    ",
    );
}

#[test]
fn lingering_seats_give_way_where_others_move_there_to_make_room() {
    check(
        "
        00:00 install C cam=1@12 expires=2026-11-30 => installed
        00:00 checkout L1 cam@9 bo@ws2            => grant cam=C:1
        00:00 install A cam=1@12 expires=2026-12-31 => installed
        00:00 checkout L0 cam@12 ana@ws1          => grant cam=A:1
        00:01 install B cam=1@10 linger=1h expires=2027-12-31 => installed
        00:02 checkout L2 cam@10 cy@ws3           => grant cam=B:1
        00:03 release L2                          => released linger=3600s
        00:04 remove A                            => removed ending=0 freed=L2 moved=L1:C>B:1 moved=L0:A>C:1
        00:05 state cam                           => done lingering=0 used=2
    ",
    );
}

#[test]
fn what_lingers_in_two_pools_gives_way_in_both_at_once() {
    check(
        "
        00:00 install A cad=2 cam=2 expires=2026-12-31 => installed
        00:00 install B cad=2 cam=2 linger=1h expires=2027-12-31 => installed
        00:01 checkout L0 cam:2,cad:2 ana@ws1     => grant
        00:01 checkout L1 cam,cad bo@ws2          => grant
        00:01 checkout L2 cam cy@ws3              => grant cam=B:1
        00:01 checkout L3 cad di@ws4              => grant cad=B:1
        00:02 release L1                          => released linger=3600s
        00:02 release L2                          => released linger=3600s
        00:02 release L3                          => released linger=3600s
        00:03 remove A                            => removed ending=0 freed=L1 freed=L2 freed=L3
        00:04 renew L0                            => renewed
        00:04 state cam                           => done used=2 lingering=0 total=2
        00:04 state cad                           => done used=2 lingering=0 total=2
    ",
    );
}

#[test]
fn nothing_that_lingers_is_given_up_for_a_lease_whose_other_part_fits_nowhere() {
    check(
        "
        00:00 install A cad=1 cam=1 expires=2026-12-31 => installed
        00:00 install B cam=1 linger=1h expires=2027-12-31 => installed
        00:01 checkout L0 cam,cad ana@ws1         => grant
        00:01 checkout L1 cam bo@ws2              => grant cam=B:1
        00:02 release L1                          => released linger=3600s
        00:03 remove A                            => removed ending=1 ending=L0:license_removed !freed=L1
        00:04 state cam                           => done lingering=1
    ",
    );
}

#[test]
fn a_pool_that_became_part_of_another_is_seen_as_that_one() {
    check(
        "
        00:00 install A/acme cad=1 sim=2          => installed
        00:00 install B/acme+2 cad=1 cam=1        => installed
        00:00 checkout L1 cad:1 ana@ws1 vendor=acme+2 => grant
        00:01 checkout L2 cad bo@ws2 vendor=acme+2 wait=1h => wait place=1
        00:02 install C/acme&acme+2 sim=1         => installed pools_merged !granted=L2
        00:03 state cad vendor=acme+2             => done total=2 used=1
        00:03 state cam vendor=acme               => done total=1
        00:03 state sim vendor=acme+2             => done total=3
        00:04 restart                             => recovered
        00:05 checkout L3 cad:2 cy@ws3 vendor=acme,acme+2 wait=1h => wait place=2
        00:06 remove A                            => removed ending=0 dequeued=L3:hopeless told=L3:more_than_pool
    ",
    );
}

#[test]
fn keys_that_signed_one_text_together_are_one_vendor() {
    check(
        "
        00:00 install A/acme cad=1                => installed
        00:00 install B/acme+2 cad=1 cam=1        => installed
        00:00 checkout L1 cad ana@ws1 vendor=acme => grant cad=A:1
        00:00 checkout L2 cad bo@ws2 vendor=acme+2 => grant cad=B:1
        00:01 checkout L3 cad cy@ws3 vendor=acme  => deny no_seat_free total=1
        00:02 install C/acme&acme+2 cad=1         => installed vendors_merged overlap=cad:2->3
        00:03 state cad                           => done total=3 used=2 free=1
        00:04 checkout L4 cad cy@ws3 vendor=acme  => grant free=0
        00:05 checkout L5 cam cy@ws3 vendor=acme,acme+2 => grant cam=B:1
        00:06 restart                             => recovered
        00:07 checkout L6 cad di@ws4 vendor=acme+2 => deny no_seat_free total=2
        00:08 release L2                          => released
        00:09 checkout L7 cad di@ws4 vendor=acme+2 => grant
    ",
    );
}

#[test]
fn a_license_replaces_an_older_one_of_a_vendor_that_becomes_one_with_its_own() {
    check(
        "
        00:00 install W/acme sim=1                => installed
        00:00 install OLD/acme+2 cad=2            => installed
        00:01 install NEW/acme cad=3 replaces=OLD => installed
        00:02 install C/acme&acme+2 cam=1         => installed vendors_merged
        00:02 sweep                               => done
        00:03 state cad vendor=acme               => done total=3
        00:04 restart                             => recovered
        00:04 sweep                               => done facts=0
        00:05 state cad vendor=acme               => done total=3
    ",
    );
}

#[test]
fn a_rotated_key_joins_its_vendor() {
    check(
        "
        00:00 install A/acme cad=1                => installed
        00:00 install B/acme&acme+2 cad=1         => installed !vendors_merged vendor_keys
        00:00 install C/acme+2 cad=1              => installed overlap=cad:2->3
        00:01 checkout L1 cad:3 ana@ws1 vendor=acme,acme+2 => grant free=0
    ",
    );
}

// The wall clock.

#[test]
fn a_clock_that_is_not_believed_ends_nothing_and_begins_nothing() {
    check(
        "
        00:00 install A cad=1 expires=2026-09-01  => installed
        00:00 install B cad=1 starts=2026-10-01   => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 step-clock 2030-01-01               => done clock_stepped
        00:02 date 2030-01-01                     => done facts=0
        00:03 renew L1                            => renewed
        00:04 restart                             => recovered
        00:05 renew L1                            => renewed
        00:06 accept-clock 2026-07-02             => done clock_accepted
        00:07 date 2026-09-03                     => done over=A:expired
    ",
    );
}

#[test]
fn one_start_with_a_wrong_battery_clock_does_not_kill_every_license() {
    check(
        "
        00:00 install A cad=2 expires=2026-09-01  => installed
        00:00 install B cam=1 starts=2026-10-01   => installed waiting
        00:00 checkout L1 cad ana@ws1             => grant
        01:00 date 2030-01-01                     => done over=A:expired began=B
        01:00 checkout L2 cad bo@ws2              => deny expired at=2026-09-02
        02:00 accept-clock 2026-07-02             => done began=A over=B:expired
        02:01 checkout L2 cad bo@ws2 attempt=2    => grant
        02:02 checkout L3 cam cy@ws3              => deny not_yet_valid
        02:03 restart                             => recovered
        03:00 date 2026-10-01                     => done over=A:expired began=B
    ",
    );
}

// The queue.

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    needs(
        |safeguards| safeguards.queue_strict = false,
        "
        00:00 install A cad=4                     => installed
        00:00 checkout L1 cad:2 ana@ws1           => grant
        00:00 checkout L2 cad:2 ana@ws1           => grant
        00:01 checkout L3 cad:4 bo@ws2 wait=1h    => wait place=1 for=3600s queued=L3
        00:02 checkout L4 cad cy@ws3 wait=1h      => wait place=2
        00:03 release L1                          => released !granted=L4
        00:04 checkout L5 cad di@ws4              => deny no_seat_free free=2 queued=2
        00:05 release L2                          => released granted=L3 !granted=L4
        00:06 checkout L3 cad:4 bo@ws2 wait=1h    => grant heard=L3
        00:07 release L3                          => released granted=L4
    ",
    );
}

#[test]
fn when_licenses_change_every_waiter_is_looked_at_wherever_it_stands() {
    needs(
        |safeguards| safeguards.waiters_looked_at = false,
        "
        00:00 install A cad=3 cam=1               => installed
        00:00 install C cad=2                     => installed
        00:00 checkout L1 cam ana@ws1             => grant
        00:01 checkout L2 cam bo@ws2 wait=1h      => wait place=1
        00:02 checkout H cad:5,cam cy@ws3 wait=1h => wait place=2
        00:03 checkout L3 cad di@ws4              => deny no_seat_free free=5
        00:04 remove C                            => removed dequeued=H:hopeless told=H:more_than_pool
        00:05 checkout L3 cad di@ws4 attempt=2    => grant
        00:06 checkout H cad:5,cam cy@ws3         => deny more_than_pool seats=5 total=3 queued=1
    ",
    );
}

#[test]
fn a_hopeless_waiter_behind_others_is_told_when_its_right_ends_by_date_and_by_replacement() {
    check(
        "
        00:00 install A cad=2@12 expires=2026-08-01 => installed
        00:00 install B cad=2@11                  => installed
        00:00 checkout L1 cad:4@11 ana@ws1        => grant
        00:01 checkout L2 cad@11 bo@ws2 wait=5h   => wait place=1
        00:02 checkout L3 cad@12 cy@ws3 wait=5h   => wait place=2
        00:03 checkout L4 cad:4@11 di@ws4 wait=5h => wait place=3
        00:04 checkout L5 cad@11 ed@ws5 wait=5h   => wait place=4
        01:00 date 2026-08-03                     => done over=A:expired dequeued=L3:hopeless told=L3:version_not_covered dequeued=L4:hopeless !dequeued=L2:hopeless !dequeued=L5:hopeless
        01:01 checkout L3 cad@12 cy@ws3 wait=5h   => deny version_not_covered newest=11
        01:02 checkout L6 cad:2@11 fa@ws6 wait=5h => wait place=3
        01:03 install D cad=1@11 replaces=B       => installed dequeued=L6:hopeless told=L6:more_than_pool
        01:04 checkout L5 cad@11 ed@ws5 wait=5h   => wait place=2
    ",
    );
}

#[test]
fn a_hopeless_waiter_is_told_during_a_quarantine_too() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 install B cad=1                     => installed
        00:00 checkout L1 cad:2 ana@ws1           => grant
        00:01 checkout L2 cad bo@ws2 wait=5h      => wait place=1
        00:02 checkout L3 cad:2 cy@ws3 wait=5h    => wait place=2
        00:03 backup                              => done
        00:04 restore                             => recovered
        00:05 remove B                            => removed dequeued=L3:hopeless !dequeued=L2:hopeless
    ",
    );
}

#[test]
fn a_waiter_sees_its_place_and_its_wait_ends() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L2 cad bo@ws2 wait=100s    => wait place=1 for=100s
        00:41 checkout L2 cad bo@ws2 wait=100s    => wait place=1 for=60s facts=0
        01:41 sweep                               => done dequeued=L2:wait_over
        01:42 checkout L2 cad bo@ws2              => deny wait_over facts=0
        01:43 checkout L2 cad bo@ws2 attempt=2 wait=100s => wait place=1
    ",
    );
}

#[test]
fn a_waiter_that_does_not_ask_again_leaves_the_line() {
    needs(
        |safeguards| safeguards.silent_waiters_leave = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L2 cad bo@ws2 wait=1h      => wait
        00:02 checkout L3 cad cy@ws3 wait=1h      => wait place=2
        01:50 checkout L3 cad cy@ws3 wait=1h      => wait place=2
        02:01 sweep                               => done dequeued=L2:silent
        02:02 checkout L3 cad cy@ws3 wait=1h      => wait place=1
        02:03 release L1                          => released granted=L3
    ",
    );
}

#[test]
fn a_seat_granted_to_a_waiter_goes_on_if_it_does_not_come() {
    needs(
        |safeguards| safeguards.claims_end = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L2 cad bo@ws2 wait=1h      => wait
        00:02 checkout L3 cad cy@ws3 wait=1h      => wait
        01:30 checkout L3 cad cy@ws3 wait=1h      => wait
        01:31 release L1                          => released granted=L2
        03:29 checkout L3 cad cy@ws3 wait=1h      => wait place=1
        03:31 sweep                               => done ended=L2:unclaimed granted=L3
        03:32 checkout L2 cad bo@ws2              => deny lease_ended
    ",
    );
}

#[test]
fn a_request_larger_than_its_pool_is_told_at_once_and_blocks_nobody() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad:2 ana@ws1           => grant
        00:01 checkout L2 cad:3 bo@ws2 wait=1h    => deny more_than_pool
        00:02 checkout L3 cad cy@ws3 wait=1h      => wait place=1
        00:03 checkout L4 cad@9 di@ws4 wait=1h    => wait place=2
    ",
    );
}

#[test]
fn waiters_are_looked_at_again_when_licenses_change() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad:2 ana@ws1           => grant
        00:01 checkout L2 cad:2 bo@ws2 wait=1h    => wait
        00:02 checkout L3 cad:1 cy@ws3 wait=1h    => wait place=2
        00:03 install B cad=1                     => installed !granted=L2 !granted=L3
        00:04 install C cad=1                     => installed granted=L2 !granted=L3
        00:05 remove A                            => removed
        00:06 remove C                            => removed
        00:07 remove B                            => removed dequeued=L3:hopeless
    ",
    );
}

#[test]
fn there_are_no_partial_holds_and_lines_of_several_pools_keep_one_order() {
    check(
        "
        00:00 install A cad=1 cam=1               => installed
        00:00 checkout L1 cam ana@ws1             => grant
        00:01 checkout L2 cad,cam bo@ws2 wait=1h  => wait place=1
        00:01 state cad                           => done used=0 free=1 queued=1
        00:02 checkout L3 cad cy@ws3 wait=1h      => wait place=2
        00:03 checkout L4 cam di@ws4 wait=1h      => wait place=2
        00:04 release L1                          => released granted=L2 !granted=L3 !granted=L4
        00:05 checkout L2 cad,cam bo@ws2          => grant
        00:06 release L2                          => released granted=L3 granted=L4
    ",
    );
}

#[test]
fn a_place_in_line_survives_a_restart() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L2 cad bo@ws2 wait=1h      => wait place=1
        00:02 checkout L3 cad cy@ws3 wait=1h      => wait place=2
        01:30 restart                             => recovered
        03:20 checkout L3 cad cy@ws3 wait=1h      => wait place=2
        03:25 checkout L2 cad bo@ws2 wait=1h      => wait place=1
        03:26 release L1                          => released granted=L2
    ",
    );
}

#[test]
fn a_waiter_that_releases_leaves_and_its_id_never_grants() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L2 cad bo@ws2 wait=1h      => wait
        00:02 release L2                          => released dequeued=L2:released
        00:03 release L1                          => released !granted=L2
        00:04 checkout L2 cad bo@ws2 attempt=2    => deny lease_ended
    ",
    );
}

// Lineage.

#[test]
fn after_a_restore_nothing_is_granted_until_lost_grants_must_have_ended() {
    needs(
        |safeguards| safeguards.quarantine_after_restore = false,
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 backup                              => done
        00:02 checkout L2 cad bo@ws2              => grant
        00:10 restore                             => recovered
        00:11 checkout L3 cad cy@ws3              => deny quarantine
        00:12 renew L1                            => renewed
        00:13 renew L2                            => refused unknown_lease
        00:14 adopt L2 cad bo@ws2                 => grant adopted=L2 used=2
        00:15 renew L2                            => renewed
        60:09 checkout L3 cad cy@ws3 attempt=2    => deny quarantine
        60:10 sweep                               => done quarantine_ended
        60:11 checkout L3 cad cy@ws3 attempt=3    => grant
        60:12 adopt L9 cad di@ws4                 => grant granted=L9 !adopted=L9
    ",
    );
}

#[test]
fn an_adoption_may_go_over_and_is_counted_so() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 backup                              => done
        00:02 release L1                          => released
        00:03 checkout L2 cad bo@ws2              => grant
        00:10 restore                             => recovered
        00:11 adopt L2 cad bo@ws2                 => grant used=2 total=1 over=1 free=0
        00:12 adopt L2 cad bo@ws2                 => grant facts=0
        00:13 adopt L3 cam bo@ws2                 => deny quarantine
        00:14 release L1                          => released
        00:15 state cad                           => done over=0 free=0
        00:16 end-quarantine                      => done quarantine_ended
        00:17 checkout L4 cad cy@ws3              => deny no_seat_free
        00:18 end-quarantine                      => refused nothing_to_do
    ",
    );
}

#[test]
fn a_denial_in_quarantine_has_the_numbers_of_the_pool() {
    check(
        "
        00:00 install A cad=3                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 backup                              => done
        00:10 restore                             => recovered
        00:11 checkout L2 cad bo@ws2              => deny quarantine total=3 used=1 free=2
        00:12 checkout L3 cam bo@ws2              => deny quarantine total=0
    ",
    );
}

#[test]
fn a_restart_does_not_shorten_the_quarantine() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:01 backup                              => done
        00:10 restore                             => recovered
        30:00 restart                             => recovered
        59:00 checkout L1 cad ana@ws1             => deny quarantine
        60:11 checkout L1 cad ana@ws1 attempt=2   => grant
    ",
    );
}

// What was promised.

#[test]
fn a_promise_is_as_long_as_it_was_said_whatever_its_license_permits_now() {
    needs(
        |safeguards| safeguards.promised_ttl_counts = false,
        "
        00:00 install A cad=1 ttl_max=2h          => installed
        00:00 checkout L1 cad ana@ws1 ttl=1h      => grant ttl=3600s
        00:01 install B cad=1 ttl_max=10s replaces=A => installed moved=L1:A>B:1
        00:02 restart                             => recovered
        00:13 checkout L2 cad bo@ws2              => deny no_seat_free first_due=60:02
        60:01 checkout L2 cad bo@ws2 attempt=2    => deny no_seat_free
        60:02 checkout L2 cad bo@ws2 attempt=3    => grant ended=L1:expired
    ",
    );
}

#[test]
fn making_room_for_another_shortens_no_promise() {
    needs(
        |safeguards| safeguards.promised_ttl_counts = false,
        "
        00:00 install A cad=1@9 ttl_max=2h        => installed
        00:00 checkout L1 cad@5 ana@ws1 ttl=1h    => grant cad=A:1
        00:01 install B cad=1@6 ttl_max=10s       => installed
        00:02 checkout L2 cad@9 bo@ws2 ttl=1h     => grant moved=L1:A>B:1 cad=A:1
        00:03 restart                             => recovered
        00:20 checkout L3 cad@5 cy@ws3            => deny no_seat_free
        60:02 checkout L3 cad@5 cy@ws3 attempt=2  => deny no_seat_free
    ",
    );
}

#[test]
fn an_ending_lease_ends_when_it_was_promised_to_although_its_license_permits_less() {
    needs(
        |safeguards| safeguards.promised_ttl_counts = false,
        "
        00:00 install A cad=1 ttl_max=2h          => installed
        00:00 checkout L1 cad ana@ws1 ttl=1h      => grant
        00:01 install B cad=1 ttl_max=10s replaces=A => installed
        00:02 restart                             => recovered
        00:03 reclaim L1                          => reclaimed left=3599s
        59:00 checkout L2 cad bo@ws2              => deny no_seat_free
        60:02 checkout L2 cad bo@ws2 attempt=2    => grant ended=L1:reclaimed
    ",
    );
}

#[test]
fn a_lower_time_to_live_comes_with_the_renewal_that_says_so_and_has_a_floor() {
    needs(
        |safeguards| safeguards.lowered_ttl_has_floor = false,
        "
        00:00 install A cad=1 ttl_max=2min        => installed
        00:00 checkout L1 cad ana@ws1 ttl=2min    => grant ttl=120s
        00:01 install B cad=1 ttl_max=10s replaces=A => installed !lowered=L1:10s
        00:40 renew L1                            => renewed left=10s lowered=L1:10s
        # Its answer is lost, and so is the server.
        00:41 restart                             => recovered
        00:53 checkout L2 cad bo@ws2              => deny no_seat_free first_due=02:40
        02:39 checkout L2 cad bo@ws2 attempt=2    => deny no_seat_free
        02:40 checkout L2 cad bo@ws2 attempt=3    => grant
    ",
    );
}

#[test]
fn the_floor_holds_for_expiry_and_ending_too_and_a_release_frees_at_once() {
    needs(
        |safeguards| safeguards.lowered_ttl_has_floor = false,
        "
        00:00 install A cad=2 ttl_max=2min        => installed
        00:00 checkout L1 cad ana@ws1 ttl=2min    => grant
        00:00 checkout L2 cad bo@ws2 ttl=2min     => grant
        00:01 install B cad=2 ttl_max=10s replaces=A => installed
        00:40 renew L1                            => renewed left=10s
        00:40 renew L2                            => renewed left=10s
        00:45 renew L1                            => renewed left=10s facts=0
        01:00 reclaim L1                          => reclaimed left=100s
        01:01 release L2                          => released
        01:02 checkout L3 cad cy@ws3              => grant ttl=10s
        02:39 sweep                               => done !ended=L1:reclaimed
        02:40 sweep                               => done ended=L1:reclaimed
    ",
    );
}

#[test]
fn a_full_disk_lowers_nothing() {
    needs(
        |safeguards| safeguards.full_disk_lowers_nothing = false,
        "
        00:00 install A cad=1 ttl_max=2min        => installed
        00:00 checkout L1 cad ana@ws1 ttl=2min    => grant
        00:01 install B cad=1 ttl_max=10s replaces=A => installed
        00:02 disk full                           => done
        00:40 renew L1                            => renewed left=120s facts=0
        00:50 disk room                           => done
        01:00 renew L1                            => renewed left=10s lowered=L1:10s
    ",
    );
}

#[test]
fn a_longer_time_to_live_comes_back_and_counts_when_it_is_durable() {
    needs(
        |safeguards| safeguards.longer_ttl_is_durable = false,
        "
        00:00 install A cad=1 ttl_max=2min        => installed
        00:00 checkout L1 cad ana@ws1 ttl=2min    => grant ttl=120s
        00:01 install B cad=1 ttl_max=10s replaces=A => installed
        00:40 renew L1                            => renewed left=10s lowered=L1:10s
        00:45 install C cad=1 ttl_max=1h replaces=B => installed moved=L1:B>C:1
        # This answer may leave before the fact is durable.
        00:46 renew L1                            => renewed left=10s longer=L1:120s
        00:47 renew L1                            => renewed left=120s facts=0
        00:48 restart                             => recovered
        00:49 checkout L2 cad bo@ws2              => deny no_seat_free first_due=02:48
        00:50 renew L1                            => renewed left=120s heard=L1 facts=1
    ",
    );
}

#[test]
fn a_charge_that_moves_back_brings_back_what_was_asked_for_once() {
    check(
        "
        00:00 install A cad=1@9 ttl_max=2h        => installed
        00:00 checkout L1 cad@5 ana@ws1 ttl=1h    => grant cad=A:1 ttl=3600s
        00:01 install B cad=1@6 ttl_max=10s       => installed
        00:02 checkout L2 cad@9 bo@ws2            => grant moved=L1:A>B:1
        00:03 renew L1                            => renewed left=10s lowered=L1:10s
        00:04 release L2                          => released gave=L2:1
        00:05 remove B                            => removed moved=L1:B>A:1
        00:06 renew L1                            => renewed left=10s longer=L1:3600s
        00:07 checkout L1 cad@5 ana@ws1 ttl=1h attempt=1 => grant ttl=3600s left=3600s facts=0
        00:08 renew L1                            => renewed left=3600s facts=0
        00:09 restart                             => recovered
        00:10 reclaim L1                          => reclaimed left=3599s
        60:08 sweep                               => done !ended=L1:reclaimed
        60:09 sweep                               => done ended=L1:reclaimed gave=L1:1
    ",
    );
}

#[test]
fn who_asked_for_no_time_to_live_has_what_the_license_says_now() {
    check(
        "
        00:00 install A cad=2 ttl=1min ttl_max=1min => installed
        00:00 checkout L1 cad ana@ws1             => grant ttl=60s
        00:00 checkout L2 cad bo@ws2 ttl=30s      => grant ttl=30s
        00:01 install B cad=2 ttl=5min ttl_max=1h replaces=A => installed
        00:02 renew L1                            => renewed left=60s longer=L1:300s
        00:02 renew L2                            => renewed left=30s !longer=L2:300s
        00:03 renew L1                            => renewed left=300s
    ",
    );
}

#[test]
fn a_full_disk_raises_nothing_and_no_renewal_waits_for_it() {
    check(
        "
        00:00 install A cad=1 ttl_max=10s         => installed
        00:00 checkout L1 cad ana@ws1 ttl=2min    => grant ttl=10s
        00:01 install B cad=1 ttl_max=1h replaces=A => installed
        00:02 disk full                           => done
        00:05 renew L1                            => renewed left=10s facts=0
        00:12 renew L1                            => renewed left=10s facts=0
        00:13 disk room                           => done
        00:14 renew L1                            => renewed left=10s longer=L1:120s
        00:15 renew L1                            => renewed left=120s facts=0
    ",
    );
}

// What goes on while a disk is full.

#[test]
fn while_the_disk_is_full_lines_stand_still_and_begin_anew_with_room() {
    needs(
        |safeguards| safeguards.lines_stand_while_full = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L2 cad bo@ws2 wait=1h      => wait place=1
        00:01 checkout L3 cad cy@ws3 wait=1h      => wait place=2
        00:02 disk full                           => done
        00:10 release L1                          => released !granted=L2
        05:00 sweep                               => done !dequeued=L2:silent
        05:00 state cad                           => done queued=2
        05:01 disk room                           => done lines_resumed granted=L2
        06:50 sweep                               => done !ended=L2:unclaimed !dequeued=L3:silent
        06:51 checkout L2 cad bo@ws2 wait=1h      => grant heard=L2
        06:52 checkout L3 cad cy@ws3 wait=1h      => wait place=1
    ",
    );
}

#[test]
fn a_claim_that_ran_while_the_disk_was_full_begins_anew() {
    needs(
        |safeguards| safeguards.lines_stand_while_full = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L2 cad bo@ws2 wait=1h      => wait place=1
        00:02 release L1                          => released granted=L2
        00:03 disk full                           => done
        10:00 sweep                               => done !ended=L2:unclaimed
        10:01 disk room                           => done lines_resumed
        10:02 restart                             => recovered
        11:59 checkout L2 cad bo@ws2 wait=1h      => grant
    ",
    );
}

#[test]
fn a_dead_head_does_not_hold_its_line_for_ever_on_a_server_that_restarts_often() {
    needs(
        |safeguards| safeguards.waiter_heard = false,
        "
        00:00 install A cad=1 cam=1               => installed
        00:00 checkout L1 cad,cam ana@ws1         => grant
        00:01 checkout L2 cad,cam bo@ws2 wait=12h => wait place=1
        00:02 checkout L3 cad cy@ws3 wait=12h     => wait place=2
        00:10 restart                             => recovered
        00:20 checkout L3 cad cy@ws3 wait=12h     => wait asked=L3
        00:21 checkout L3 cad cy@ws3 wait=12h     => wait facts=0
        01:30 renew L1                            => renewed
        01:50 restart                             => recovered
        01:51 checkout L3 cad cy@ws3 wait=12h     => wait asked=L3 place=2
        02:10 sweep                               => done dequeued=L2:silent
        02:11 checkout L3 cad cy@ws3 wait=12h     => wait place=1
        03:10 renew L1                            => renewed
        03:20 restart                             => recovered
        03:21 checkout L3 cad cy@ws3 wait=12h     => wait asked=L3
    ",
    );
}

// Early freeing.

#[test]
fn a_regret_turns_early_freeing_off_for_a_day_and_an_administrator_ends_it_sooner() {
    check(
        "
        00:00 install A cad=9                     => installed
        00:00 checkout L1 cad ana@ws1 from=10.0.0.1 => grant
        00:01 presence L1 open 1                  => done
        00:01 renew L1 presence=1                 => renewed
        00:02 presence L1 close 1                 => done released=L1:presence
        00:03 renew L1                            => ended presence regretted=L1
        00:04 checkout L2 cad ana@ws1 from=10.0.0.1 => grant presence=false
        00:05 allow-presence 10.0.0.1            => done presence_allowed
        00:06 checkout L3 cad ana@ws1 from=10.0.0.1 => grant presence=true
        00:07 allow-presence 10.0.0.1            => refused nothing_to_do
        00:08 presence L3 open 1                  => done
        00:08 renew L3 presence=1                 => renewed
        00:09 presence L3 close 1                 => done released=L3:presence
        00:10 renew L3                            => ended presence regretted=L3
        1440:09 checkout L4 cad ana@ws1 from=10.0.0.1 => grant presence=false
        1440:10 checkout L5 cad ana@ws1 from=10.0.0.1 => grant presence=true
        1440:11 restart                           => recovered
        1440:12 checkout L6 cad ana@ws1 from=10.0.0.1 => grant presence=true
    ",
    );
}

#[test]
fn a_client_that_lost_its_seat_by_its_own_clock_and_says_so_is_no_regret() {
    check(
        "
        00:00 install A cad=9                     => installed
        00:00 checkout L1 cad ana@ws1 from=10.0.0.1 => grant
        00:01 presence L1 open 1                  => done
        00:01 renew L1 presence=1                 => renewed
        00:02 presence L1 close 1                 => done released=L1:presence
        00:03 renew L1 regained                   => ended presence !regretted=L1
        00:04 checkout L2 cad ana@ws1 from=10.0.0.1 => grant presence=true
    ",
    );
}

// Histories.

#[test]
fn an_old_copy_that_was_put_back_is_proved_and_begins_a_new_lineage() {
    needs(
        |safeguards| safeguards.rollback_is_proved = false,
        "
        00:00 install A cad=1                     => installed
        00:00 backup                              => done
        00:01 restart                             => recovered
        00:02 checkout L1 cad ana@ws1             => grant
        00:03 rollback                            => recovered
        00:04 adopt L1 cad ana@ws1                => grant lineage_began=L1 adopted=L1 used=1 over=0
        00:05 checkout L2 cad bo@ws2              => deny quarantine first_due=60:04
        00:06 adopt L1 cad ana@ws1                => grant facts=0
        60:04 sweep                               => done quarantine_ended
    ",
    );
}

#[test]
fn the_same_epoch_and_index_of_another_start_is_a_proof() {
    needs(
        |safeguards| safeguards.epoch_has_instance = false,
        "
        00:00 install A cad=2                     => installed
        00:00 backup                              => done
        00:01 restart                             => recovered
        00:02 checkout L1 cad ana@ws1             => grant
        00:03 rollback                            => recovered
        # This server has long passed the entry that the grant names.
        00:04 checkout L2 cad bo@ws2              => grant
        00:05 checkout L3 cad cy@ws3              => grant
        00:06 release L3                          => released
        00:07 adopt L1 cad ana@ws1                => grant lineage_began=L1 adopted=L1
        00:08 checkout L4 cad di@ws4              => deny quarantine
    ",
    );
}

#[test]
fn a_grant_that_is_ours_starts_nothing_and_is_a_repeat_or_asks_anew() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 restart                             => recovered
        00:02 adopt L1 cad ana@ws1                => grant heard=L1 !adopted=L1 !lineage_began=L1
        00:03 adopt L1 cad ana@ws1                => grant facts=0
        05:10 sweep                               => done ended=L1:expired
        05:11 adopt L1 cad ana@ws1                => deny lease_ended !lineage_began=L1
        05:12 checkout L2 cad ana@ws1             => grant
    ",
    );
}

#[test]
fn what_is_older_than_memory_and_what_a_test_copy_signed_start_nothing() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 adopt L1 cad ana@ws1 lineage=77     => grant granted=L1 !lineage_began=L1
        00:01 release L1                          => released
        00:02 adopt L2 cad bo@ws2 lineage=1 epoch=0 => grant granted=L2 !lineage_began=L2
    ",
    );
}

#[test]
fn a_proof_stops_all_granting_although_the_disk_is_full() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 backup                              => done
        00:01 restart                             => recovered
        00:02 checkout L1 cad ana@ws1             => grant
        00:03 rollback                            => recovered
        00:04 disk full                           => done
        # From what is kept for a full disk.
        00:05 adopt L1 cad ana@ws1                => deny quarantine lineage_began=L1
        00:06 checkout L2 cad bo@ws2              => deny quarantine
        00:07 disk room                           => done
        00:08 checkout L3 cad cy@ws3              => deny quarantine
        00:09 adopt L1 cad ana@ws1 attempt=2      => grant adopted=L1
    ",
    );
}

#[test]
fn a_proof_within_a_quarantine_does_not_shorten_it() {
    check(
        "
        00:00 install A cad=1 ttl_max=10h         => installed
        00:01 backup                              => done
        00:02 restore                             => recovered
        # The copy is put back once more: what was granted or taken over meanwhile is lost.
        00:03 adopt L1 cad ana@ws1                => grant adopted=L1
        00:04 adopt L2 cad bo@ws2 lineage=2 instance=77 epoch=2 => deny quarantine lineage_began=L2 first_due=600:04
        10:00 adopt L3 cad bo@ws2 lineage=2 instance=77 epoch=2 => deny quarantine !lineage_began=L3 first_due=600:04
    ",
    );
}

#[test]
fn a_quarantine_is_as_long_as_lost_history_may_have_promised() {
    needs(
        |safeguards| safeguards.quarantine_from_lineage_start = false,
        "
        00:00 install A cad=1                     => installed
        00:01 backup                              => done
        00:02 folder ttl_max=12h                  => done
        00:03 restore                             => recovered
        60:03 checkout L2 cad bo@ws2              => deny quarantine first_due=720:03
    ",
    );
}

#[test]
fn a_license_that_is_installed_again_lengthens_the_quarantine_from_the_beginning_of_the_lineage() {
    needs(
        |safeguards| safeguards.quarantine_from_lineage_start = false,
        "
        00:00 install A cad=1                     => installed
        00:01 backup                              => done
        00:02 install B cad=1 ttl_max=24h         => installed
        00:03 checkout L1 cad:2 ana@ws1 ttl=12h   => grant ttl=3600s
        00:04 restore                             => recovered
        10:00 install B cad=1 ttl_max=24h         => installed quarantine_until=1440:04
        70:00 checkout L2 cad bo@ws2              => deny quarantine first_due=1440:04
    ",
    );
}

#[test]
fn a_removed_license_counts_for_the_quarantine() {
    needs(
        |safeguards| safeguards.quarantine_from_lineage_start = false,
        "
        00:00 install A cad=1                     => installed
        00:00 install B cad=1 ttl_max=8h          => installed
        00:01 remove B                            => removed
        00:02 backup                              => done
        00:03 restore                             => recovered
        60:10 checkout L2 cad bo@ws2              => deny quarantine first_due=480:03
    ",
    );
}

#[test]
fn a_grant_that_is_shown_lengthens_the_quarantine() {
    needs(
        |safeguards| safeguards.quarantine_from_lineage_start = false,
        "
        00:00 install A cad=2                     => installed
        00:01 backup                              => done
        00:02 restore                             => recovered
        00:03 adopt L1 cad ana@ws1 promised=5h    => grant adopted=L1 quarantine_until=300:02 ttl=3600s
        61:00 checkout L2 cad bo@ws2              => deny quarantine first_due=300:02
    ",
    );
}

#[test]
fn in_the_quarantine_of_a_new_lineage_leases_end_by_release_only() {
    needs(
        |safeguards| safeguards.new_lineage_frees_nothing = false,
        "
        00:00 install A cad=2                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 restart                             => recovered
        # Not heard at the backup, renewed afterwards.
        00:02 backup                              => done
        00:03 renew L1                            => renewed
        00:10 restore                             => recovered
        20:00 sweep                               => done !ended=L1:expired
        20:01 renew L1                            => renewed heard=L1
        40:00 sweep                               => done !ended=L1:expired
        60:10 sweep                               => done quarantine_ended ended=L1:expired
    ",
    );
}

#[test]
fn a_claim_does_not_end_in_a_quarantine_either() {
    needs(
        |safeguards| safeguards.new_lineage_frees_nothing = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L2 cad bo@ws2 wait=2h      => wait
        00:02 release L1                          => released granted=L2
        00:03 backup                              => done
        00:04 restore                             => recovered
        10:00 sweep                               => done !ended=L2:unclaimed
        10:01 checkout L2 cad bo@ws2 wait=2h      => grant heard=L2
    ",
    );
}

#[test]
fn an_administrator_ends_the_quarantine() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:01 backup                              => done
        00:02 restore                             => recovered
        00:03 checkout L1 cad ana@ws1             => deny quarantine
        00:04 end-quarantine                      => done quarantine_ended
        00:05 checkout L1 cad ana@ws1 attempt=2   => grant
        00:06 end-quarantine                      => refused nothing_to_do
    ",
    );
}

#[test]
fn the_seats_that_are_taken_over_are_never_more_than_the_entitlement_has() {
    needs(
        |safeguards| safeguards.adoption_is_bounded = false,
        "
        00:00 install A cad=2                     => installed
        00:01 backup                              => done
        00:02 restore                             => recovered
        00:03 adopt L1 cad ana@ws1                => grant adopted=L1
        00:04 adopt L2 cad bo@ws2                 => grant adopted=L2
        00:05 adopt L3 cad cy@ws3                 => deny quarantine
        00:06 release L1                          => released
        00:07 adopt L3 cad cy@ws3 attempt=2       => grant adopted=L3
        00:08 restart                             => recovered
        00:09 adopt L4 cad di@ws4                 => deny quarantine
    ",
    );
}

#[test]
fn grants_of_a_vendor_that_the_request_does_not_name_give_nothing() {
    needs(
        |safeguards| safeguards.adoption_is_bounded = false,
        "
        00:00 install A cad=2                     => installed
        00:00 install X/own cad=50                => installed
        00:01 backup                              => done
        00:02 restore                             => recovered
        00:03 adopt L1 cad ana@ws1 license=X      => deny quarantine used=0
        00:04 adopt L2 cad ana@ws1 license=X vendor=own => grant adopted=L2
    ",
    );
}

#[test]
fn a_grant_of_a_license_that_is_not_installed_waits_until_it_is() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:01 backup                              => done
        00:02 install B cad=1                     => installed
        00:03 checkout L1 cad:2 ana@ws1           => grant
        00:04 restore                             => recovered
        00:05 adopt L1 cad:2 ana@ws1              => refused license_unknown facts=0
        00:06 install B cad=1                     => installed
        00:07 adopt L1 cad:2 ana@ws1              => grant adopted=L1
    ",
    );
}

#[test]
fn ids_that_expired_or_went_unclaimed_can_be_taken_over_and_others_not() {
    check(
        "
        00:00 install A cad=3                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:00 checkout L2 cad bo@ws2              => grant
        00:00 checkout L3 cad cy@ws3              => grant
        04:00 release L2                          => released
        04:00 reclaim L3 now                      => reclaimed
        05:00 sweep                               => done ended=L1:expired
        05:01 backup                              => done
        05:02 restore                             => recovered
        05:03 adopt L1 cad ana@ws1                => grant adopted=L1
        05:04 adopt L2 cad bo@ws2                 => deny lease_ended
        05:05 adopt L3 cad cy@ws3                 => deny lease_ended
    ",
    );
}

// Clocks.

#[test]
fn a_first_start_in_a_wrong_future_says_so_and_is_taken_back() {
    check(
        "
        00:00 date 2036-07-01                     => done
        00:01 install A cad=1 expires=2027-01-01  => refused expired
        00:02 install B cad=1                     => installed
        00:03 step-clock 2026-07-01               => done clock_stepped
        00:04 checkout L1 cad ana@ws1             => grant
        00:05 accept-clock 2026-07-01             => done clock_accepted
        00:06 install A cad=1 expires=2027-01-01  => installed began=A
    ",
    );
}

#[test]
fn what_was_replaced_in_a_wrong_future_comes_back_with_the_right_time() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 install B cad=3 starts=2027-01-01 replaces=A => installed waiting
        00:00 checkout L1 cad ana@ws1             => grant
        01:00 date 2028-01-01                     => done began=B over=A:replaced gone=A moved=L1:A>B:1
        01:01 checkout L2 cad bo@ws2              => grant total=3
        01:02 checkout L3 cad cy@ws3              => grant total=3
        02:00 accept-clock 2026-07-02             => done back=A began=A over=B:expired
        02:01 sweep                               => done moved=L1:B>A:1 moved=L2:B>A:1 ending=L3:license_ended
        02:02 renew L1                            => renewed regrant
        02:03 restart                             => recovered
        02:04 install A cad=2                     => refused already_installed
        03:00 date 2027-01-01                     => done began=B over=A:replaced gone=A
        03:01 accept-clock 2026-12-30             => done back=A
    ",
    );
}

#[test]
fn a_chain_of_replacements_is_taken_back_as_far_as_it_reached_into_the_wrong_future() {
    check(
        "
        00:00 install A cad=1 expires=2026-12-31  => installed
        00:00 install B cad=2 starts=2027-01-01 expires=2027-12-31 replaces=A => installed waiting
        00:00 install C cad=3 starts=2028-01-01 replaces=B => installed waiting
        01:00 date 2027-06-01                     => done began=B over=A:replaced gone=A
        01:01 date 2028-06-01                     => done began=C over=B:replaced gone=B
        02:00 accept-clock 2026-07-02             => done back=A back=B began=A over=C:expired
        02:01 checkout L1 cad ana@ws1             => grant total=1
        02:02 date 2027-01-02                     => done began=B gone=A
        02:03 date 2028-01-02                     => done began=C gone=B
    ",
    );
}

#[test]
fn nothing_comes_back_that_was_replaced_before_the_clock_went_wrong_or_taken_off_by_hand() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 install B cad=2 replaces=A          => installed gone=A
        00:00 install C cad=3 starts=2027-01-01 replaces=B => installed waiting
        01:00 date 2028-01-01                     => done began=C gone=B
        01:01 remove C                            => removed
        02:00 accept-clock 2026-07-02             => done back=B !back=A !back=C
        02:01 checkout L1 cad ana@ws1             => grant total=2
    ",
    );
}

#[test]
fn a_denial_that_a_clock_behind_causes_says_so_until_it_is_accepted() {
    check(
        "
        00:00 install A cad=1 expires=2027-01-01  => installed
        00:01 date 2036-07-01                     => done over=A:expired
        00:02 step-clock 2026-07-01               => done clock_stepped
        00:03 checkout L1 cad ana@ws1             => deny expired clock=2026-07-01
        00:04 restart                             => recovered
        00:05 checkout L2 cad ana@ws1             => deny expired clock=2026-07-01
        00:06 accept-clock 2026-07-01             => done clock_accepted began=A
        00:07 checkout L3 cad ana@ws1             => grant
    ",
    );
}

// When to look again.

#[test]
fn the_next_deadline_is_never_after_what_is_due() {
    check(
        "
        00:00 wake                                => never
        00:00 install A cad=1 linger=10s          => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:00 wake                                => 04:59
        01:00 release L1                          => released
        01:00 wake                                => 01:09
        01:10 sweep                               => done freed=L1
        01:10 wake                                => 04:59
        05:00 sweep                               => done facts=0
        05:00 wake                                => 62:00
    ",
    );
}

// Rules that the others lean on.

#[test]
fn no_grant_goes_beyond_what_licenses_allow() {
    needs(
        |safeguards| safeguards.grant_within_total = false,
        "
        00:00 install A cad=1                     => installed
        00:00 checkout L1 cad ana@ws1             => grant
        00:01 checkout L2 cad bo@ws2              => deny no_seat_free
    ",
    );
}

#[test]
fn seats_of_an_ended_license_that_are_still_held_are_not_given_to_others() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 install B cad=3@11                  => installed
        00:00 checkout L1 cad:3@11 ana@ws1        => grant cad=B:3
        00:00 checkout L2 cad:2@12 bo@ws2         => grant cad=A:2
        00:01 remove A                            => removed ending=1 ending=L2:license_removed
        00:02 release L1                          => released
        00:02 state cad                           => done total=3 used=2 free=1
        00:03 checkout L3 cad:2@11 cy@ws3         => deny no_seat_free free=1
        00:03 checkout L4 cad:1@11 cy@ws3         => grant over=0
        05:01 checkout L3 cad:2@11 cy@ws3 attempt=2 => grant ended=L2:license_removed
    ",
    );
}

#[test]
fn an_entitlement_covers_exactly_the_versions_that_the_license_says() {
    check(
        "
        00:00 install A cad=1@12.0                => installed
        00:00 checkout L1 cad@12.0.0.1 ana@ws1    => deny version_not_covered newest=12.0
        00:00 checkout L2 cad@12 ana@ws1          => grant
        00:00 release L2                          => released
        00:00 checkout L3 cad@0 ana@ws1           => grant
        00:00 release L3                          => released
        00:00 checkout L4 cad ana@ws1             => grant
    ",
    );
}

#[test]
fn what_expired_and_was_then_replaced_in_a_wrong_future_comes_back_with_the_clock() {
    check(
        "
        00:00 install A cad=2 expires=2026-12-31  => installed
        00:00 install B cad=2 starts=2027-02-01 replaces=A => installed waiting
        00:00 checkout L1 cad ana@ws1             => grant
        01:00 date 2027-01-15                     => done over=A:expired
        02:00 date 2027-03-01                     => done began=B
        03:00 accept-clock 2026-07-02             => done began=A over=B:expired
        03:01 checkout L2 cad bo@ws2              => grant
    ",
    );
}

#[test]
fn what_was_replaced_in_a_wrong_future_comes_back_although_its_successor_was_taken_off_by_hand() {
    needs(
        |safeguards| safeguards.removed_successors_are_known = false,
        "
        00:00 install A cad=2                     => installed
        00:00 install B cad=3 starts=2027-01-01 replaces=A => installed waiting
        01:00 date 2028-01-01                     => done began=B gone=A
        01:01 remove B                            => removed
        01:02 restart                             => recovered
        02:00 accept-clock 2026-07-02             => done back=A began=A !back=B
        02:01 checkout L1 cad:2 ana@ws1           => grant total=2
        03:00 date 2027-01-02                     => done !began=B
        03:01 checkout L2 cad bo@ws2              => deny
    ",
    );
}

#[test]
fn what_was_replaced_in_a_wrong_future_does_not_come_back_beside_another_text_of_its_id() {
    check(
        "
        00:00 install A cad=2                     => installed
        00:00 install B cad=3 starts=2027-01-01 replaces=A => installed waiting
        01:00 date 2028-01-01                     => done began=B gone=A
        01:01 remove B                            => removed
        01:02 install A2*A cad=2                  => installed
        02:00 accept-clock 2026-07-02             => done !back=A
        02:01 checkout L1 cad:2 ana@ws1           => grant total=2
        02:02 restart                             => recovered
        02:03 checkout L2 cad bo@ws2              => deny total=2
    ",
    );
}

#[test]
fn what_expired_and_was_replaced_in_a_wrong_future_comes_back_although_its_successor_was_taken_off_by_hand() {
    needs(
        |safeguards| safeguards.removed_successors_are_known = false,
        "
        00:00 install A cad=2 expires=2026-12-31  => installed
        00:00 install B cad=2 starts=2027-02-01 replaces=A => installed waiting
        01:00 date 2027-01-15                     => done over=A:expired
        02:00 date 2027-03-01                     => done began=B gone=A
        02:01 remove B                            => removed
        03:00 accept-clock 2026-07-02             => done back=A began=A
        03:01 checkout L1 cad:2 bo@ws2            => grant
        04:00 date 2027-01-15                     => done over=A:expired
    ",
    );
}

#[test]
fn a_right_that_is_over_by_the_right_time_does_not_come_back_with_it() {
    check(
        "
        00:00 install A cad=2 expires=2026-07-20  => installed
        00:00 install B cad=3 starts=2027-01-01 replaces=A => installed waiting
        01:00 date 2028-01-01                     => done began=B gone=A
        01:01 remove B                            => removed
        02:00 accept-clock 2026-08-01             => done !back=A
        02:01 checkout L1 cad ana@ws1             => deny
    ",
    );
}

#[test]
fn a_chain_of_replacements_comes_back_although_links_of_it_were_taken_off_by_hand() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 install B cad=2 starts=2027-01-01 replaces=A => installed waiting
        00:00 install C cad=3 starts=2028-01-01 replaces=A,B => installed waiting
        01:00 date 2027-06-01                     => done began=B gone=A
        01:01 date 2028-06-01                     => done began=C gone=B
        01:02 remove C                            => removed
        02:00 accept-clock 2026-07-02             => done back=A back=B began=A !back=C
        02:01 checkout L1 cad ana@ws1             => grant total=1
        02:02 date 2027-01-02                     => done began=B gone=A
        02:03 remove B                            => removed
        03:00 accept-clock 2026-07-02             => done back=A began=A !back=B
        03:01 checkout L2 cad bo@ws2              => deny no_seat_free total=1
    ",
    );
}

#[test]
fn a_successor_that_is_installed_again_waits_for_its_day_when_the_clock_is_taken_back() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 install B cad=2 starts=2027-01-01 replaces=A => installed waiting
        01:00 date 2028-01-01                     => done began=B gone=A
        01:01 remove B                            => removed
        01:02 install B cad=2 starts=2027-01-01 replaces=A => installed began=B
        02:00 accept-clock 2026-07-02             => done back=A began=A over=B:expired
        02:01 checkout L1 cad ana@ws1             => grant total=1
        03:00 date 2027-01-02                     => done began=B gone=A
    ",
    );
}

#[test]
fn what_was_installed_again_and_taken_off_by_hand_stays_off_when_the_clock_is_taken_back() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 install B cad=2 starts=2027-01-01 replaces=A => installed waiting
        01:00 date 2028-01-01                     => done began=B gone=A
        01:01 remove B                            => removed
        01:02 install A cad=1                     => installed began=A
        01:03 remove A                            => removed
        02:00 accept-clock 2026-07-02             => done !back=A
        02:01 checkout L1 cad ana@ws1             => deny
    ",
    );
}

#[test]
fn what_was_replaced_in_the_present_stays_replaced_although_a_later_license_names_it_too() {
    check(
        "
        00:00 install A cad=1                     => installed
        00:00 install B cad=2 replaces=A          => installed gone=A
        00:00 install C cad=3 starts=2027-01-01 replaces=A,B => installed waiting
        01:00 date 2028-01-01                     => done began=C gone=B
        02:00 accept-clock 2026-07-02             => done back=B began=B !back=A
        02:01 date 2028-01-01                     => done began=C gone=B
        02:02 remove C                            => removed
        03:00 accept-clock 2026-07-02             => done back=B began=B !back=A
        03:01 remove B                            => removed
        03:02 accept-clock 2026-07-03             => done !back=A !back=B
    ",
    );
}
