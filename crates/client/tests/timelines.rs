//! The keeper, rule by rule, as timelines: when it asks, renews, warns, stops.
//!
//! A line is `TIME what => what the keeper does`. Times count from the start on the boot clock; `wall` and `pause` move the wall clock against it. Every
//! request shows the number of the randomness it was given, so that a fresh nonce and a repeated one are told apart. `dark` lets time pass while
//! nobody answers, and shows only what is told. Any line may also check
//! `may` (the application may run), `held` (the server promises it) and `wake` (the next look).
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use triquest_client::keeper::{self, Action, Answer, Failure, Fresh, Keeper, Notice, Now, Phase, Terms};
use triquest_wire::{
    ErrorCode,
    lease::{DenialCode, EndReason},
};

const WALL: i64 = 1_780_272_000_000;
const BOOT: u64 = 5_000_000;

struct Script {
    keeper: Option<Keeper>,
    wall_ahead: i64,
    fresh: u8,
    call: u64,
    sent: Option<Action>,
}

fn ms(text: &str) -> u64 {
    if let Some(seconds) = text.strip_suffix('s') {
        return seconds.parse::<u64>().unwrap() * 1000;
    }
    let (minutes, rest) = text.split_once(':').unwrap_or_else(|| panic!("no time: {text}"));
    let (seconds, milli) = rest.split_once('.').unwrap_or((rest, "0"));
    let milli = format!("{milli:0<3}").parse::<u64>().unwrap();
    minutes.parse::<u64>().unwrap() * 60_000 + seconds.parse::<u64>().unwrap() * 1000 + milli
}

fn text(ms: u64) -> String {
    let milli = if ms.is_multiple_of(1000) { String::new() } else { format!(".{:03}", ms % 1000).trim_end_matches('0').to_owned() };
    format!("{}:{:02}{milli}", ms / 60_000, ms / 1000 % 60)
}

fn failure(failure: Failure) -> String {
    match failure {
        Failure::Denied(code) => format!("denied {}", code.as_str()),
        Failure::Ended(reason) => format!("ended {reason:?}").to_lowercase(),
        Failure::Refused(code) => format!("refused {}", code.as_str()),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn shown(action: &Action) -> String {
    match action {
        Action::Checkout { id, attempt, nonce, wait_ms, show_grant, regained, .. } => format!(
            "checkout #{id}.{attempt} n{}{}{}{}",
            nonce[0],
            if wait_ms.is_some() { " in line" } else { "" },
            if *show_grant { " showing" } else { "" },
            if *regained { " regained" } else { "" }
        ),
        Action::Release { id, .. } => format!("release #{id}"),
        Action::Renew { id, counter, nonce, presence, regained, .. } => format!(
            "renew #{id} c{counter} n{}{}{}",
            nonce[0],
            presence.map_or_else(String::new, |generation| format!(" presence {generation}")),
            if *regained { " regained" } else { "" }
        ),
        Action::Tell(notice) => match notice {
            Notice::Denied { code } => format!("tell denied {}", code.as_str()),
            Notice::Ending { ends_in_ms, .. } => format!("tell ending {}", text(*ends_in_ms)),
            Notice::Failed(cause) => format!("tell failed {}", failure(*cause)),
            Notice::Grace { ends_in_ms } => format!("tell grace {}", text(*ends_in_ms)),
            Notice::Granted => "tell granted".into(),
            Notice::HeldUp(cause) => format!("tell held up {}", failure(*cause)),
            Notice::Late { ends_in_ms } => format!("tell late {}", text(*ends_in_ms)),
            Notice::Lost(cause) => format!("tell lost {}", failure(*cause)),
            Notice::Regained { new_lease } => format!("tell regained{}", if *new_lease { " anew" } else { "" }),
            Notice::Regaining { gives_up_in_ms } => format!("tell regaining {}", text(*gives_up_in_ms)),
            Notice::Released { confirmed } => format!("tell released{}", if *confirmed { "" } else { " unconfirmed" }),
            Notice::Waiting { place } => format!("tell place {place}"),
        },
    }
}

fn code<T: serde::de::DeserializeOwned>(word: &str) -> T {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).unwrap_or_else(|_| panic!("no such code: {word}"))
}

impl Script {
    fn fresh(&mut self) -> Fresh {
        self.fresh += 1;
        Fresh { nonce: [self.fresh; 32], jitter: 0 }
    }

    fn answer(&self, words: &[&str]) -> Answer {
        let option = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
        let at = |place: usize| words.get(place).copied().unwrap_or_default();
        match words[0] {
            "granted" => Answer::Granted(Terms {
                remaining_ms: ms(at(1)),
                ttl_ms: option("ttl=").map_or(300_000, ms),
                grace_ms: option("grace=").map_or(0, ms),
                entitled_until_ms: option("until=").map(|until| WALL + ms(until) as i64),
            }),
            "renewed" => {
                let Some(Action::Renew { counter, nonce, .. }) = self.sent else { panic!("no renewal is under way") };
                let nonce = if words.contains(&"replayed") { [255; 16] } else { nonce };
                Answer::Renewed { counter, nonce, remaining_ms: ms(at(1)), regrant: words.contains(&"regrant") }
            }
            "denied" => Answer::Denied { code: code::<DenialCode>(at(1)), over_in_ms: option("over=").map(ms) },
            "ended" => Answer::Ended { reason: code::<EndReason>(at(1)), remaining_ms: words.get(2).map_or(0, |word| ms(word)) },
            "refused" => Answer::Refused { code: code::<ErrorCode>(at(1)), retry_after_ms: option("after=").map(ms) },
            "place" => Answer::Waiting { place: at(1).parse().unwrap() },
            "released" => Answer::Released,
            "nothing" => Answer::Unreachable,
            "forged" => Answer::Untrusted,
            other => panic!("no such word: {other}"),
        }
    }

    fn line(&mut self, line: &str) -> (String, String) {
        let (left, wanted) = line.split_once("=>").unwrap_or((line, ""));
        let words: Vec<&str> = left.split_whitespace().collect();
        let at = ms(words[0]);
        let words = &words[1..];
        match words[0] {
            "wall" => self.wall_ahead += words[1].strip_prefix('-').map_or_else(|| ms(words[1]) as i64, |back| -(ms(back) as i64)),
            "pause" => self.wall_ahead += ms(words[1]) as i64,
            _ => {}
        }
        let now = Now { boot_ms: BOOT + at, wall_ms: WALL + at as i64 + self.wall_ahead };
        if words[0] == "dark" {
            return self.dark(at, wanted);
        }
        let fresh = self.fresh();
        let call = self.call;
        let answer = match words[0] {
            "ask" | "look" | "release" | "again" | "wall" | "pause" | "soon" | "wonder" | "stands" => None,
            _ => Some(self.answer(words)),
        };
        let actions = match (words[0], answer) {
            (_, Some(answer)) => {
                let call = if words.contains(&"stale") { call - 1 } else { call };
                self.keeper.as_mut().unwrap().on_answer(now, call, answer, fresh)
            }
            ("ask", _) => {
                self.keeper = Some(Keeper::new(now, words.get(1).map(|wait| ms(wait))));
                self.keeper.as_mut().unwrap().on_time(now, fresh)
            }
            ("soon", _) => {
                self.keeper.as_mut().unwrap().asks_soon(now);
                Vec::new()
            }
            ("wonder", _) => {
                self.keeper.as_mut().unwrap().asks_at_once(now);
                self.keeper.as_mut().unwrap().on_time(now, fresh)
            }
            ("stands", _) => {
                self.keeper.as_mut().unwrap().stands(now, words[1].parse().ok());
                Vec::new()
            }
            ("look" | "wall" | "pause", _) => self.keeper.as_mut().unwrap().on_time(now, fresh),
            ("release", _) => self.keeper.as_mut().unwrap().release(now, fresh),
            _ => self.keeper.as_mut().unwrap().ask_again(now, fresh),
        };
        for action in &actions {
            if let Action::Checkout { call, .. } | Action::Release { call, .. } | Action::Renew { call, .. } = action {
                self.call = *call;
                self.sent = Some(action.clone());
            }
        }
        self.compare(actions.iter().map(shown).collect(), wanted, now)
    }

    /// Looks whenever that is due, until `at`; requests are lost.
    fn dark(&mut self, at: u64, wanted: &str) -> (String, String) {
        let mut told = Vec::new();
        let keeper = self.keeper.as_mut().unwrap();
        let fresh = Fresh { nonce: [200; 32], jitter: 0 };
        let mut boot_ms = BOOT + at;
        loop {
            let due = keeper.next_wake().unwrap_or(u64::MAX).min(BOOT + at);
            let now = Now { boot_ms: due, wall_ms: WALL + (due - BOOT) as i64 + self.wall_ahead };
            let mut actions = keeper.on_time(now, fresh);
            while let Some(call) = keeper.under_way() {
                // Refused at once by the network, but for every other one, which is lost.
                if call % 2 == 0 && due < BOOT + at {
                    break;
                }
                actions.extend(keeper.on_answer(now, call, Answer::Unreachable, fresh));
            }
            told.extend(actions.iter().filter(|action| matches!(action, Action::Tell(_))).map(shown));
            boot_ms = boot_ms.max(due);
            if due == BOOT + at {
                break;
            }
        }
        self.compare(told, wanted, Now { boot_ms, wall_ms: WALL + at as i64 + self.wall_ahead })
    }

    fn compare(&self, mut did: Vec<String>, wanted: &str, now: Now) -> (String, String) {
        let keeper = self.keeper.as_ref().unwrap();
        for word in wanted.split(',').map(str::trim) {
            let yes = |is: bool| if is { "yes" } else { "no" };
            match word.split_once('=') {
                Some(("may", _)) => did.push(format!("may={}", yes(keeper.may_run(now)))),
                Some(("held", _)) => did.push(format!("held={}", yes(keeper.promised(now)))),
                Some(("wake", _)) => did.push(format!("wake={}", keeper.next_wake().map_or("never".into(), |at| text(at - BOOT)))),
                _ => {}
            }
        }
        let wanted: Vec<&str> = wanted.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        (did.join(", "), wanted.join(", "))
    }
}

#[track_caller]
fn check(script: &str) {
    let mut run = Script { keeper: None, wall_ahead: 0, fresh: 0, call: 0, sent: None };
    let mut wrong = false;
    let mut report = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (did, wanted) = run.line(line);
        let left = line.split("=>").next().unwrap().trim_end();
        report.push_str(&format!("    {left} => {did}\n"));
        if did != wanted {
            wrong = true;
            report.push_str(&format!("    ^ wanted {wanted}\n"));
        }
    }
    assert!(!wrong, "\n{report}");
}

#[test]
fn a_held_seat_is_renewed_at_a_third_of_its_time_to_live() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1, wake=0:10
        0:00.2   granted 300s         => tell granted, may=yes, held=yes, wake=1:40
        1:40     look                 => renew #0 c1 n3
        1:40.1   renewed 300s         => wake=3:20
        3:20     look                 => renew #0 c2 n5
        3:20.1   renewed 300s         => may=yes, held=yes, wake=5:00
    ",
    );
}

#[test]
fn the_right_counts_from_the_send_time_less_a_64th_and_ends_on_the_dot() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:08     granted 300s         => tell granted, held=yes
        1:40     look                 => renew #0 c1 n3
        1:40.1   nothing              => wake=1:40.475
        1:40.475 look                 => renew #0 c1 n3
        4:55.312 dark                 => tell late 2:27.656, may=yes, held=yes
        4:55.313 dark                 => tell lost noanswer, may=no, held=no
    ",
    );
}

#[test]
fn a_failed_renewal_is_repeated_with_its_counter_and_nonce_ever_less_often() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40     nothing              => wake=1:40.375
        1:40.375 look                 => renew #0 c1 n3
        1:40.375 nothing              => wake=1:41.125
        1:41.125 look                 => renew #0 c1 n3
        1:41.125 nothing              => wake=1:42.625
        1:42.625 look                 => renew #0 c1 n3
        1:42.7   renewed 300s         => wake=3:22.625
        3:22.625 look                 => renew #0 c2 n11
    ",
    );
}

#[test]
fn a_call_without_any_answer_ends_by_itself_and_its_late_answer_is_ignored() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1, wake=0:10
        0:10     look                 => wake=0:10.375
        0:10.375 look                 => checkout #0.1 n3
        0:10.4   granted 300s stale   => held=no
        0:10.5   granted 300s         => tell granted
    ",
    );
}

#[test]
fn an_unknown_outcome_repeats_the_same_id_and_attempt_with_a_fresh_nonce() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:01     refused outcome_unknown =>
        0:01.375 look                 => checkout #0.1 n3
        0:02     refused overloaded after=5s => wake=0:07
        0:07     look                 => checkout #0.1 n5
        0:07     refused overloaded   =>
        0:09     look                 => checkout #0.1 n7
        0:09     granted 300s         => tell granted
    ",
    );
}

#[test]
fn after_a_denial_a_higher_attempt_of_the_same_id_asks_anew() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     denied no_seat_free  => tell denied no_seat_free, wake=never
        9:00     look                 => wake=never
        9:00     again                => checkout #0.2 n4
        9:00     denied lease_ended   => tell denied lease_ended
        9:30     again                => checkout #1.1 n6
    ",
    );
}

#[test]
fn a_waiter_asks_again_at_once_but_not_more_than_once_a_second() {
    check(
        "
        0:00     ask 600s             => checkout #0.1 n1 in line, wake=0:35
        0:00.1   place 3              => tell place 3, wake=0:01
        0:01     look                 => checkout #0.1 n3 in line
        0:26     place 2              => tell place 2, checkout #0.1 n4 in line
        0:50     granted 300s         => tell granted, wake=2:06
    ",
    );
}

#[test]
fn a_full_disk_is_told_at_once_to_whoever_does_not_wait() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     refused disk_full    => tell failed refused disk_full, wake=never
        9:00     again                => checkout #0.1 n3
        9:00     granted 300s         => tell granted
    ",
    );
}

#[test]
fn whoever_waits_for_room_on_the_disk_hears_why_and_asks_for_the_last_time_when_the_wait_is_over() {
    check(
        "
        0:00     ask 8s               => checkout #0.1 n1 in line
        0:00     refused disk_full    => tell held up refused disk_full, wake=0:00.375
        0:00.375 look                 => checkout #0.1 n3 in line
        0:00.4   refused disk_full    => wake=0:01.15
        0:01.15  look                 => checkout #0.1 n5 in line
        0:01.2   nothing              => wake=0:02.7
        0:02.7   look                 => checkout #0.1 n7 in line
        0:02.7   refused rate_limited after=9s => wake=0:08
        0:08     look                 => checkout #0.1 n9 in line
        0:08     refused overloaded   => tell failed refused disk_full, wake=never
    ",
    );
    check(
        "
        0:00     ask 8s               => checkout #0.1 n1 in line
        0:00     refused disk_full    => tell held up refused disk_full
        0:08     look                 => checkout #0.1 n3 in line
        0:08     granted 300s         => tell granted
    ",
    );
}

#[test]
fn a_quarantine_is_waited_for_with_new_attempts_and_is_the_denial_at_the_end() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     denied quarantine    => tell denied quarantine, wake=never
    ",
    );
    check(
        "
        0:00     ask 60s              => checkout #0.1 n1 in line
        0:00     denied quarantine    => tell held up denied quarantine, wake=0:00.375
        0:00.375 look                 => checkout #0.2 n3 in line
        0:00.375 denied quarantine    => wake=0:01.125
        0:30     look                 => checkout #0.3 n5 in line
        0:30     denied quarantine    => wake=0:31.5
        0:31.5   look                 => checkout #0.4 n7 in line
        0:31.5   denied quarantine    => wake=0:34.5
        0:34.5   look                 => checkout #0.5 n9 in line
        0:34.5   denied quarantine    => wake=0:40.5
        0:40.5   look                 => checkout #0.6 n11 in line
        0:40.5   denied quarantine    => wake=0:48
        0:48     look                 => checkout #0.7 n13 in line
        0:48     denied quarantine    => wake=0:55.5
        0:55.5   look                 => checkout #0.8 n15 in line
        0:55.5   denied quarantine    => wake=1:00
        1:00     look                 => checkout #0.9 n17 in line
        1:00     denied quarantine    => tell denied quarantine, wake=never
    ",
    );
    check(
        "
        0:00     ask 60s              => checkout #0.1 n1 in line
        0:00     denied quarantine    => tell held up denied quarantine
        0:20     look                 => checkout #0.2 n3 in line
        0:20     place 1              => tell place 1
        0:30     look                 => checkout #0.2 n5 in line
        0:30     denied quarantine    => tell held up denied quarantine
        0:45     look                 => checkout #0.3 n7 in line
        0:45     granted 300s         => tell granted
    ",
    );
}

#[test]
fn a_wait_that_is_over_is_a_denial() {
    check(
        "
        0:00     ask 60s              => checkout #0.1 n1 in line
        0:01     place 1              => tell place 1, checkout #0.1 n2 in line
        0:30     denied wait_over     => tell denied wait_over, may=no
    ",
    );
}

#[test]
fn a_wait_is_one_span_by_the_clients_clock_whatever_becomes_of_servers() {
    // The server goes away and stays away: what was waited for last is a server.
    check(
        "
        0:00     ask 12s              => checkout #0.1 n1 in line, wake=0:14
        0:00.1   place 2              => tell place 2, wake=0:01
        0:01     look                 => checkout #0.1 n3 in line
        0:04     nothing              => wake=0:04.375
        0:12     dark                 => tell failed noanswer, wake=never
    ",
    );
    // It comes back and knows the place, whose end it counts anew: what was waited for last is a seat.
    check(
        "
        0:00     ask 12s              => checkout #0.1 n1 in line
        0:00.1   place 2              => tell place 2
        0:01     look                 => checkout #0.1 n3 in line
        0:04     nothing              =>
        0:08     look                 => checkout #0.1 n5 in line, wake=0:14
        0:08.5   place 2              => tell place 2, wake=0:09
        0:09     look                 => checkout #0.1 n7 in line, wake=0:14
        0:13.9   look                 =>
        0:14     look                 => tell failed waitover, wake=never
        0:20     release              => release #0
        0:20     released             => tell released
    ",
    );
    check(
        "
        0:00     ask 12s              => checkout #0.1 n1 in line
        0:00.1   place 2              => tell place 2
        0:11.5   look                 => checkout #0.1 n3 in line
        0:11.8   place 1              => tell place 1, wake=0:12
        0:12     look                 => checkout #0.1 n5 in line
        0:12.1   place 1              => tell place 1, tell failed waitover, wake=never
        0:30     again                => checkout #0.1 n7 in line
    ",
    );
    // An answer that is under way may come a moment late.
    check(
        "
        0:00     ask 12s              => checkout #0.1 n1 in line
        0:13     granted 300s         => tell granted
    ",
    );
    check(
        "
        0:00     ask 1s               => checkout #0.1 n1 in line
        0:03     look                 => tell failed noanswer, wake=never
    ",
    );
}

#[test]
fn whoever_waits_out_a_quarantine_asks_again_when_it_is_over_or_the_wait_is() {
    check(
        "
        0:00     ask 3600s                  => checkout #0.1 n1 in line
        0:00     denied quarantine over=40s => tell held up denied quarantine, wake=0:40
        0:40     look                       => checkout #0.2 n3 in line
        0:40     place 1                    => tell place 1
    ",
    );
    check(
        "
        0:00     ask 720s                     => checkout #0.1 n1 in line
        0:00     denied quarantine over=3600s => tell held up denied quarantine, wake=12:00
        12:00    look                         => checkout #0.2 n3 in line
        12:00    denied quarantine over=2880s => tell denied quarantine, wake=never
    ",
    );
    // Cut off, the last asking may have been granted: what it asked for is given back.
    check(
        "
        0:00     ask 720s                     => checkout #0.1 n1 in line
        0:00     denied quarantine over=3600s => tell held up denied quarantine, wake=12:00
        12:00    look                         => checkout #0.2 n3 in line
        12:02    nothing                      => tell denied quarantine, wake=never
        12:02    release                      => release #0
    ",
    );
    // An administrator has ended it, and the driver has seen that.
    check(
        "
        0:00     ask 720s                     => checkout #0.1 n1 in line
        0:00     denied quarantine over=3600s => tell held up denied quarantine
        4:00     soon                         => wake=4:00
        4:00     look                         => checkout #0.2 n4 in line
        4:00     granted 300s                 => tell granted
    ",
    );
}

#[test]
fn grace_counts_from_the_last_verified_answer_and_only_if_the_vendor_signed_it() {
    check(
        "
        0:00      ask                 => checkout #0.1 n1
        0:00      granted 300s grace=900s => tell granted
        4:55.312  dark                => tell late 2:27.656, held=yes
        4:55.313  dark                => tell grace 10:04.687, may=yes, held=no
        14:59.999 dark                => may=yes
        15:00     dark                => tell lost noanswer, may=no
    ",
    );
}

#[test]
fn grace_shorter_than_the_right_permits_nothing_more() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s grace=60s => tell granted
        4:55.312 dark                 => tell late 2:27.656, may=yes
        4:55.313 dark                 => tell lost noanswer, may=no
    ",
    );
}

#[test]
fn a_server_that_comes_back_in_grace_renews_the_same_lease() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s grace=900s => tell granted
        1:40     look                 => renew #0 c1 n3
        6:00     dark                 => tell late 2:27.656, tell grace 10:04.687
        6:30     look                 => renew #0 c1 n3 regained
        6:31     renewed 300s         => tell regained, held=yes
    ",
    );
}

#[test]
fn a_lease_that_expired_during_grace_is_taken_anew_before_it_is_lost() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s grace=900s => tell granted
        1:40     look                 => renew #0 c1 n3
        6:00     dark                 => tell late 2:27.656, tell grace 10:04.687
        6:19     look                 => renew #0 c1 n3 regained
        6:20     ended expired        => tell regaining 0:30, checkout #1.1 n5 regained, may=yes, held=no
        6:21     granted 300s         => tell regained anew, held=yes
    ",
    );
}

#[test]
fn a_lost_seat_that_another_has_taken_is_said_to_be_lost_and_asked_for_now_and_then() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        6:00     dark                 => tell late 2:27.656, tell lost noanswer
        7:00     look                 => renew #0 c1 n3 regained
        7:01     ended expired        => checkout #1.1 n5 regained, may=no
        7:01     denied no_seat_free  => may=no, wake=7:01.375
        7:01.375 look                 => checkout #1.2 n7 regained
        7:01.4   granted 300s         => tell regained anew, may=yes, held=yes
    ",
    );
}

#[test]
fn whoever_waits_for_a_lost_seat_hears_when_none_will_come_back() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        6:00     dark                 => tell late 2:27.656, tell lost noanswer
        7:00     look                 => renew #0 c1 n3 regained
        7:01     ended reclaimed      => tell lost ended reclaimed, may=no, wake=never
    ",
    );
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        6:00     dark                 => tell late 2:27.656, tell lost noanswer
        7:00     look                 => renew #0 c1 n3 regained
        7:01     ended expired        => checkout #1.1 n5 regained
        7:01     denied unknown_feature => tell lost denied unknown_feature, wake=never
    ",
    );
}

#[test]
fn after_a_suspend_there_are_thirty_seconds_to_regain_before_lost() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted, wake=1:40
        90:00    look                 => tell regaining 0:30, renew #0 c1 n3 regained, may=yes, held=no
        90:05    nothing              => may=yes
        90:06    look                 => renew #0 c1 n3 regained
        90:06    renewed 300s         => tell regained, held=yes
    ",
    );
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        90:00    look                 => tell regaining 0:30, renew #0 c1 n3 regained
        90:01    ended expired        => checkout #1.1 n4 regained, may=yes
        90:02    granted 300s         => tell regained anew
    ",
    );
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        90:00    look                 => tell regaining 0:30, renew #0 c1 n3 regained
        90:29.999 dark                => may=yes
        90:30    dark                 => tell lost noanswer, may=no
    ",
    );
}

#[test]
fn a_short_sleep_within_the_right_costs_nothing() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        2:20     look                 => renew #0 c1 n3, held=yes
        2:20.1   renewed 300s         => held=yes, wake=4:00
    ",
    );
}

#[test]
fn a_paused_virtual_machine_is_seen_by_its_wall_clock() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        0:10     pause 3600s          => tell regaining 0:30, renew #0 c1 n3 regained, held=no
        0:11     renewed 300s         => tell regained, held=yes
    ",
    );
}

#[test]
fn a_wall_clock_set_back_prolongs_nothing() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        0:10     wall -3600s          => held=yes, wake=1:40
        4:55.312 dark                 => tell late 2:27.656, held=yes
        4:55.313 dark                 => tell lost noanswer, may=no
    ",
    );
}

#[test]
fn a_lease_that_is_taken_back_runs_to_its_promised_end_and_is_not_asked_for_again() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s grace=900s => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40     ended reclaimed 200s => tell ending 3:16.875, may=yes, held=yes, wake=4:56.875
        4:56.874 look                 => may=yes
        4:56.875 look                 => tell lost ended reclaimed, may=no, wake=never
    ",
    );
}

#[test]
fn whoever_wonders_about_an_ending_lease_hears_from_the_server_how_it_stands() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40     ended reclaimed 200s => tell ending 3:16.875
        2:00     wonder               => renew #0 c2 n5
        2:00     ended reclaimed 180s => held=yes, wake=4:57.188
        2:30     wonder               => renew #0 c3 n7
        2:30     nothing              => held=yes, wake=4:57.188
        2:40     wonder               => renew #0 c3 n7
        2:40     refused unknown_lease => held=yes, wake=4:57.188
        3:00     wonder               => renew #0 c3 n7
        3:00     ended reclaimed      => tell lost ended reclaimed, may=no, wake=never
    ",
    );
}

#[test]
fn a_right_that_ends_while_nothing_here_runs_is_not_blamed_on_the_server() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 10s ttl=10s  => tell granted
        0:12     look                 => tell lost halted, renew #0 c1 n3 regained
    ",
    );
    // A request was under way that nobody answered.
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 10s ttl=10s  => tell granted
        0:03.334 look                 => renew #0 c1 n3
        0:05     look                 => tell late 0:04.844
        0:05     nothing              => wake=0:05.375
        0:12     look                 => tell lost noanswer, renew #0 c1 n3 regained
    ",
    );
}

#[test]
fn a_lease_taken_back_at_once_is_lost_at_once() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s grace=900s => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40     ended reclaimed      => tell lost ended reclaimed, may=no, wake=never
    ",
    );
}

#[test]
fn a_regrant_is_fetched_at_once_with_the_same_attempt() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40.1   renewed 300s regrant => checkout #0.1 n4 showing, held=yes
        1:40.2   granted 300s         => held=yes, wake=3:20.1
        3:20.1   look                 => renew #0 c2 n6
    ",
    );
}

#[test]
fn a_clock_that_is_ahead_of_the_server_s_does_not_make_a_client_ask_again_and_again() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s until=0:50 => tell granted, wake=0:50
        0:50     look                 => checkout #0.1 n3 showing, held=yes
        0:50.1   granted 300s until=0:50 => held=yes, wake=2:30
        2:30     look                 => checkout #0.1 n5 showing
        2:30.1   granted 300s until=600:00 => held=yes, wake=4:10
        4:10     look                 => renew #0 c1 n7
    ",
    );
}

#[test]
fn when_its_entitlement_ends_by_the_own_clock_only_a_fresh_grant_prolongs_the_right() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s until=0:50 => tell granted, wake=0:50
        0:50     look                 => checkout #0.1 n3 showing, held=yes
        0:50.1   forged               => held=yes, wake=0:50.475
        0:50.475 look                 => checkout #0.1 n5 showing
        0:50.5   granted 300s until=600:00 => held=yes, wake=2:30.475
    ",
    );
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s until=0:50 => tell granted
        0:50     look                 => checkout #0.1 n3 showing
        0:51     forged               =>
        0:51.375 look                 => checkout #0.1 n5 showing
        2:27     dark                 =>
        2:40     look                 => tell late 2:15.313, checkout #0.1 n6 showing
        2:41     forged               =>
        4:55.312 dark                 => may=yes
        4:55.313 dark                 => tell lost noanswer, may=no
    ",
    );
}

#[test]
fn a_server_that_forgot_the_lease_is_shown_the_grant_until_it_takes_it_over() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40     refused unknown_lease => checkout #0.1 n4 showing, held=yes
        1:40.1   denied quarantine    => held=yes, wake=1:40.475
        1:40.475 look                 => checkout #0.2 n6 showing
        1:40.5   granted 300s         => held=yes
    ",
    );
}

#[test]
fn a_grant_whose_license_is_not_installed_yet_is_shown_again_until_it_is() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40     refused unknown_lease => checkout #0.1 n4 showing, held=yes
        1:40.1   refused license_unknown => held=yes
        1:41     look                 => renew #0 c2 n6
        1:41     refused unknown_lease => checkout #0.1 n7 showing
        1:41.1   granted 300s         => held=yes
    ",
    );
}

#[test]
fn a_cloned_client_takes_a_seat_of_its_own_or_stops() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40     refused cloned_client => tell regaining 0:30, checkout #1.1 n4, held=no
        1:40.1   denied no_seat_free  => tell lost denied no_seat_free, may=no
    ",
    );
}

#[test]
fn an_old_renewal_that_is_replayed_prolongs_nothing() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40     renewed 300s replayed => wake=1:40.375
        1:40.375 look                 => renew #0 c1 n3
    ",
    );
}

#[test]
fn a_forged_grant_ends_the_asking_and_the_seat_is_given_back() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     forged               => tell failed untrusted, may=no, wake=never
        0:01     release              => release #0
        0:02     released             => tell released, wake=never
    ",
    );
}

#[test]
fn a_release_before_any_answer_is_sent_and_repeated_until_it_is_heard() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:01     release              => release #0
        0:01.1   granted 300s stale   => may=no
        0:02     nothing              => wake=0:02.375
        0:02.375 look                 => release #0
        0:02.4   released             => tell released, wake=never
    ",
    );
}

#[test]
fn a_release_that_nobody_hears_is_given_up_when_the_lease_must_have_ended() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:00     release              => release #0
        1:10     nothing              =>
        3:00     look                 => release #0
        3:10     nothing              =>
        6:04.687 look                 => tell released unconfirmed, wake=never
    ",
    );
}

#[test]
fn what_was_denied_or_never_asked_is_released_without_a_word() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     denied no_seat_free  => tell denied no_seat_free
        0:01     release              => tell released, wake=never
    ",
    );
}

#[test]
fn an_answer_slower_than_its_own_right_promises_nothing() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:09     granted 5s           => checkout #0.1 n2, held=no, may=no
        0:09.1   granted 300s         => tell granted, held=yes
    ",
    );
}

#[test]
fn a_taken_id_is_left_for_a_new_one() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     refused id_taken     =>
        0:00.375 look                 => checkout #1.1 n3
    ",
    );
}

#[test]
fn what_the_server_refuses_for_ever_is_not_repeated() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     refused bad_request  => tell failed refused bad_request, wake=never
    ",
    );
}

#[test]
fn a_grant_that_cannot_be_taken_over_is_asked_for_anew_within_its_promise() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40     refused unknown_lease => checkout #0.1 n4 showing, held=yes
        1:40.1   refused nothing_to_do => checkout #1.1 n5, held=yes
        1:40.2   granted 300s         => held=yes, wake=3:20.1
    ",
    );
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40     refused unknown_lease => checkout #0.1 n4 showing
        1:40.1   refused nothing_to_do => checkout #1.1 n5, held=yes
        1:40.2   denied no_seat_free  => held=yes, may=yes
        1:40.575 look                 => checkout #1.2 n7
        4:55.312 dark                 => tell late 2:27.656, may=yes
        4:55.313 dark                 => tell lost noanswer, may=no
    ",
    );
}

#[test]
fn a_server_that_ends_a_lease_by_time_inside_its_promise_is_shown_the_grant() {
    for reason in ["expired", "unclaimed"] {
        check(&format!(
            "
            0:00     ask                  => checkout #0.1 n1
            0:00     granted 300s         => tell granted
            1:40     look                 => renew #0 c1 n3
            1:40     ended {reason}       => checkout #0.1 n4 showing, held=yes
            1:40.1   ended {reason}       => checkout #1.1 n5, held=yes
            1:40.2   granted 300s         => held=yes
        "
        ));
    }
}

#[test]
fn whoever_lost_a_seat_by_its_own_clock_says_so_when_it_is_back() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        6:00     dark                 => tell late 2:27.656, tell lost noanswer
        7:00     look                 => renew #0 c1 n3 regained
        7:01     ended presence       => checkout #1.1 n5 regained, may=no
        7:01.1   granted 300s         => tell regained anew, may=yes
        8:41     look                 => renew #1 c1 n7
    ",
    );
}

#[test]
fn the_time_to_regain_begins_once_after_each_promise() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        90:00    look                 => tell regaining 0:30, renew #0 c1 n3 regained, may=yes
        90:10    nothing              => may=yes
        90:11    pause 3600s          => renew #0 c1 n3 regained, may=yes
        90:12    nothing              => may=yes
        90:30    look                 => tell lost noanswer, renew #0 c1 n3 regained, may=no
    ",
    );
}

#[test]
fn a_presence_connection_is_confirmed_by_a_renewal_at_once_and_stood_down_from_by_the_next() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted, wake=1:40
        0:00.1   stands 1             => wake=0:00.1
        0:00.1   look                 => renew #0 c1 n4 presence 1
        0:00.2   renewed 300s         => wake=1:40.1
        0:10     stands 1             => wake=1:40.1
        0:20     stands none          => wake=1:40.1
        1:40.1   look                 => renew #0 c2 n8
    ",
    );
}

#[test]
fn the_servers_pause_is_followed_and_the_own_one_is_only_the_least() {
    check(
        "
        0:00     ask 600s             => checkout #0.1 n1 in line
        0:00     nothing              =>
        0:00.375 look                 => checkout #0.1 n3 in line
        0:00.4   nothing              =>
        0:01.15  look                 => checkout #0.1 n5 in line
        0:01.2   refused rate_limited after=0:00.6 => wake=0:01.8
        0:01.8   look                 => checkout #0.1 n7 in line
        0:01.8   refused rate_limited after=0:00.01 => wake=0:02.175
        0:02.175 look                 => checkout #0.1 n9 in line
        0:02.2   place 4              => tell place 4, wake=0:03.175
        0:03.175 look                 => checkout #0.1 n11 in line
        0:03.2   refused rate_limited after=20s => wake=0:23.2
        0:23.2   look                 => checkout #0.1 n13 in line
        0:24     place 3              => tell place 3
    ",
    );
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 60s          => tell granted
        0:20     look                 => renew #0 c1 n3
        0:20     refused overloaded after=60s => held=yes
        0:39.531 look                 => tell late 0:19.532, renew #0 c1 n3
    ",
    );
}

#[test]
fn the_pauses_of_a_lost_seat_grow_and_begin_anew_after_each_promise_that_was_regained() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        6:00     dark                 => tell late 2:27.656, tell lost noanswer
        7:00     look                 => renew #0 c1 n3 regained
        7:01     ended expired        => checkout #1.1 n5 regained
        7:01     denied no_seat_free  => wake=7:01.375
        7:01.375 look                 => checkout #1.2 n7 regained
        7:01.375 denied no_seat_free  => wake=7:02.125
        7:02.125 look                 => checkout #1.3 n9 regained
        7:02.125 denied no_seat_free  => wake=7:03.625
        7:03.625 look                 => checkout #1.4 n11 regained
        7:03.625 granted 300s         => tell regained anew, held=yes
        8:43.625 look                 => renew #1 c1 n13
        13:00    dark                 => tell late 2:27.656, tell lost noanswer
        14:00    look                 => renew #1 c1 n13 regained
        14:01    ended expired        => checkout #2.1 n15 regained
        14:01    denied no_seat_free  => wake=14:01.375
        14:01.375 look                => checkout #2.2 n17 regained
        14:01.375 denied no_seat_free => wake=14:02.125
    ",
    );
}

#[test]
fn a_server_that_asks_for_a_pause_ends_no_grace_and_no_time_to_regain_unasked() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40     ended presence       => tell regaining 0:30, checkout #1.1 n4
        1:40     refused overloaded after=60s => wake=1:55
        1:55     look                 => renew #1 c1 n6
    ",
    );
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 60s ttl=60s grace=90s => tell granted
        0:20     look                 => renew #0 c1 n3
        1:00     dark                 => tell late 0:29.531, tell grace 0:30.937
        1:20     look                 => renew #0 c1 n3 regained
        1:20     refused overloaded after=60s => wake=1:25
    ",
    );
}

#[test]
fn a_server_that_says_how_long_an_ending_lease_runs_says_no_more_than_was_promised() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     granted 300s         => tell granted
        1:40     look                 => renew #0 c1 n3
        1:40     ended reclaimed 9000000s => tell ending 4:55.313, held=yes
        6:35.312 look                 => held=yes
        6:35.313 look                 => tell lost ended reclaimed, may=no
    ",
    );
}

#[test]
fn a_server_whose_answers_want_another_request_at_once_is_asked_ever_less_often() {
    check(
        "
        0:00     ask                  => checkout #0.1 n1
        0:00     ended expired        => checkout #1.1 n2
        0:00     ended expired        => checkout #2.1 n3
        0:00     ended expired        => checkout #3.1 n4
        0:00     ended expired        => checkout #4.1 n5
        0:00     ended expired        => wake=0:00.375
        0:00.375 look                 => checkout #5.1 n7
        0:00.375 ended expired        => wake=0:01.125
        0:01.125 look                 => checkout #6.1 n9
        0:01.125 granted 300s         => tell granted
    ",
    );
}

/// What a server that wants to keep a client from its seat, or to be asked without end, may say.
fn spiteful() -> impl Strategy<Value = Answer> {
    let ms = prop_oneof![Just(0), Just(1), 0u64..100_000, Just(i64::MAX as u64), Just(u64::MAX)];
    let after = prop::option::of(ms.clone());
    prop_oneof![
        4 => (prop::sample::select(ErrorCode::ALL), after.clone()).prop_map(|(code, retry_after_ms)| Answer::Refused { code, retry_after_ms }),
        2 => (prop::sample::select(DenialCode::ALL), after).prop_map(|(code, over_in_ms)| Answer::Denied { code, over_in_ms }),
        2 => (prop::sample::select(EndReason::ALL), ms.clone()).prop_map(|(reason, remaining_ms)| Answer::Ended { reason, remaining_ms }),
        2 => ms.prop_map(|ms| Answer::Granted(Terms { remaining_ms: ms.min(60_000), ttl_ms: 60_000, grace_ms: 0, entitled_until_ms: None })),
        1 => Just(Answer::Waiting { place: 1 }),
        1 => Just(Answer::Untrusted),
        1 => Just(Answer::Unreachable),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a server says: who asks, asks again within a minute and a bit, or earlier than what is left of its right is over, and never in a loop.
    #[test]
    fn no_server_makes_it_wait_or_ask_without_bounds(
        answers in prop::collection::vec(spiteful(), 1..80),
        wait in prop::option::of(1u64..10_000_000),
        released in prop::option::of(0usize..80),
        jitter in any::<u16>(),
    ) {
        let mut now = Now { boot_ms: BOOT, wall_ms: WALL };
        let mut keeper = Keeper::new(now, wait);
        let fresh = Fresh { nonce: [7; 32], jitter };
        let mut sent = None;
        let mut at_once = 0;
        let mut actions = keeper.on_time(now, fresh);
        for (number, answer) in answers.into_iter().enumerate() {
            if released == Some(number) {
                actions = keeper.release(now, fresh);
            }
            // It is asked again when it is due.
            let mut looks = 0;
            while keeper.under_way().is_none() && let Some(at) = keeper.next_wake() {
                let pause = at.saturating_sub(now.boot_ms);
                // A quarantine alone lasts as long as it is said to, and is looked at meanwhile.
                let most = if keeper.waits_out_a_quarantine() { wait.unwrap_or(0) } else { keeper::LOST_BACKOFF_MS_MAX * 5 / 4 };
                prop_assert!(pause <= most, "{pause} ms in {:?}", keeper.phase());
                now = Now { boot_ms: now.boot_ms + pause, wall_ms: now.wall_ms + pause as i64 };
                actions = keeper.on_time(now, fresh);
                looks += 1;
                prop_assert!(looks < 20, "it looks and never asks");
            }
            let Some(call) = keeper.under_way() else { break };
            let asked = actions.iter().rev().find(|action| !matches!(action, Action::Tell(_))).cloned();
            let answer = match (asked, answer) {
                (Some(Action::Renew { counter, nonce, .. }), Answer::Granted(terms)) =>
                    Answer::Renewed { counter, nonce, remaining_ms: terms.remaining_ms, regrant: terms.remaining_ms % 2 == 0 },
                (_, other) => other,
            };
            let is_promise = matches!(&answer, Answer::Granted(Terms { remaining_ms, .. }) | Answer::Renewed { remaining_ms, .. } if *remaining_ms >= 1_500);
            at_once = match sent {
                Some(before) if before == now.boot_ms => at_once + 1,
                _ => 0,
            };
            prop_assert!(at_once <= 2 * keeper::AT_ONCE_MAX, "it is asked in a loop");
            sent = (!is_promise).then_some(now.boot_ms);
            actions = keeper.on_answer(now, call, answer, fresh);
        }
    }
}

/// What the network and the server may do next, and how long until then.
#[derive(Clone, Debug)]
enum Chance {
    Answer(Answer, u64),
    Silence(u64),
    Sleep(u64),
    StepWall(i64),
}

fn chances() -> impl Strategy<Value = Vec<Chance>> {
    let answer = prop_oneof![
        4 => Just(Answer::Unreachable),
        4 => (1_000u64..400_000).prop_map(|remaining_ms| Answer::Granted(Terms { remaining_ms, ttl_ms: 300_000, grace_ms: 0, entitled_until_ms: None })),
        1 => Just(Answer::Denied { code: DenialCode::NoSeatFree, over_in_ms: None }),
        1 => Just(Answer::Waiting { place: 1 }),
        1 => Just(Answer::Untrusted),
        1 => prop::sample::select(ErrorCode::ALL).prop_map(|code| Answer::Refused { code, retry_after_ms: None }),
        1 => (0u64..200_000).prop_map(|remaining_ms| Answer::Ended { reason: EndReason::Expired, remaining_ms }),
        1 => (0u64..200_000).prop_map(|remaining_ms| Answer::Ended { reason: EndReason::Reclaimed, remaining_ms }),
    ];
    let chance = prop_oneof![
        8 => (answer, 0u64..9_000).prop_map(|(answer, after)| Chance::Answer(answer, after)),
        4 => (0u64..120_000).prop_map(Chance::Silence),
        1 => (0u64..10_000_000).prop_map(Chance::Sleep),
        1 => (-4_000_000i64..4_000_000).prop_map(Chance::StepWall),
    ];
    prop::collection::vec(chance, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes: a promise is believed only within some answer's own span from its send time by both clocks, one request is under way at a time,
    /// counters and attempts grow, a retry repeats its nonce, and there is always a next look while something is held or asked for.
    #[test]
    fn no_course_of_events_makes_it_believe_more_than_it_was_promised(chances in chances(), jitter in any::<u16>()) {
        let mut now = Now { boot_ms: BOOT, wall_ms: WALL };
        let mut keeper = Keeper::new(now, None);
        let mut seed = 0u8;
        // A naive model: the last answer's promise, with the times of its request.
        let mut promise: Option<(Now, u64)> = None;
        let mut under_way: Option<(u64, Action, Now)> = None;
        let mut last_renewal: Option<(u32, u64, [u8; 16])> = None;
        for chance in chances {
            let mut fresh = || { seed = seed.wrapping_add(1); Fresh { nonce: [seed; 32], jitter } };
            let actions = match chance {
                Chance::Answer(answer, after) => match under_way.take() {
                    None => vec![],
                    Some((call, action, sent)) => {
                        now = Now { boot_ms: now.boot_ms + after, wall_ms: now.wall_ms + after as i64 };
                        let answer = match (&action, answer) {
                            (Action::Renew { counter, nonce, .. }, Answer::Granted(terms)) =>
                                Answer::Renewed { counter: *counter, nonce: *nonce, remaining_ms: terms.remaining_ms, regrant: after % 7 == 0 },
                            (_, other) => other,
                        };
                        match &answer {
                            _ if keeper.under_way() != Some(call) => {}
                            Answer::Granted(Terms { remaining_ms, .. }) | Answer::Renewed { remaining_ms, .. } => promise = Some((sent, *remaining_ms)),
                            // A server that says *expired* inside a promise has lost it: the promise stands.
                            Answer::Ended { reason: EndReason::Expired, remaining_ms: 0 } => {}
                            Answer::Ended { remaining_ms, .. } => promise = promise.map(|(at, _)| if *remaining_ms > 0 { (sent, *remaining_ms) } else { (at, 0) }),
                            _ => {}
                        }
                        keeper.on_answer(now, call, answer, fresh())
                    }
                },
                Chance::Silence(after) => {
                    let until = keeper.next_wake().unwrap_or(now.boot_ms).min(now.boot_ms + after).max(now.boot_ms);
                    now = Now { wall_ms: now.wall_ms + (until - now.boot_ms) as i64, boot_ms: until };
                    keeper.on_time(now, fresh())
                }
                Chance::Sleep(after) => {
                    now = Now { boot_ms: now.boot_ms + after, wall_ms: now.wall_ms + after as i64 };
                    keeper.on_time(now, fresh())
                }
                Chance::StepWall(by) => {
                    now.wall_ms += by;
                    keeper.on_time(now, fresh())
                }
            };
            for action in actions {
                match &action {
                    Action::Checkout { call, attempt, .. } => {
                        prop_assert!(*attempt >= 1);
                        under_way = Some((*call, action.clone(), now));
                    }
                    Action::Renew { call, id, counter, nonce, .. } => {
                        if let Some((before_id, before, same)) = last_renewal && before_id == *id {
                            prop_assert!(*counter > before || (*counter == before && same == *nonce));
                        }
                        last_renewal = Some((*id, *counter, *nonce));
                        under_way = Some((*call, action.clone(), now));
                    }
                    Action::Release { call, .. } => under_way = Some((*call, action.clone(), now)),
                    Action::Tell(_) => {}
                }
            }
            if keeper.promised(now) {
                let (sent, remaining) = promise.expect("nothing was promised");
                let right = remaining - remaining / 64;
                prop_assert!(now.boot_ms < sent.boot_ms + right, "by the boot clock");
                prop_assert!(now.wall_ms < sent.wall_ms + right as i64, "by the wall clock");
                prop_assert!(keeper.may_run(now));
            }
            match keeper.phase() {
                Phase::Asking | Phase::Waiting | Phase::Held | Phase::Late | Phase::Grace | Phase::Regaining | Phase::Releasing =>
                    prop_assert!(keeper.next_wake().is_some(), "{:?}", keeper.phase()),
                Phase::Lost | Phase::Refused | Phase::Released => prop_assert!(!keeper.may_run(now)),
            }
        }
    }
}
