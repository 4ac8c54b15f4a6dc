//! The checker is worth what it rejects: one good history, and for each rule one that was doctored to break it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::history::record::{Heard, Reading, Renewal, Sending, Spell, Terms};

const LINEAGE: &str = "00000000000000000000000000000001";
const VENDOR: &str = "one.example";

fn encoded(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0u32, |bits, (place, byte)| bits | u32::from(*byte) << (16 - 8 * place));
        for place in 0..=chunk.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}

/// A history that is told in milliseconds.
struct Story {
    recording: Recording,
    index: u64,
    epoch: u64,
    lines: Vec<String>,
}

impl Story {
    /// A server with one seat of cad and two of cam.
    fn new() -> Self {
        let terms = |feature: &str, seats| Terms { feature: feature.to_owned(), version: None, seats, linger_ms: 0 };
        let license =
            License { id: "L".into(), hash: "aa".into(), vendor: VENDOR.into(), entitlements: vec![terms("cad", 1), terms("cam", 2)] };
        let mut story =
            Self { recording: Recording { licenses: vec![license], ..Recording::default() }, index: 0, epoch: 1, lines: Vec::new() };
        story.entry(0, &[r#""kind":"recovered","epoch":1"#]);
        story.entry(
            1,
            &[
                r#""kind":"license_installed","hash":"aa""#,
                r#""kind":"entitlement_began","entitlement":0"#,
                r#""kind":"entitlement_began","entitlement":1"#,
            ],
        );
        story
    }

    fn entry(&mut self, at_ms: u64, facts: &[&str]) {
        self.index += 1;
        for (number, fact) in facts.iter().enumerate() {
            self.lines.push(format!(r#"{{"position":{},"number":{number},"at_ms":{at_ms},{fact}}}"#, self.position()));
        }
    }

    fn position(&self) -> String {
        format!(r#"{{"lineage":"{LINEAGE}","epoch":{},"index":{}}}"#, self.epoch, self.index)
    }

    fn restart(&mut self, at_ms: u64) {
        self.epoch += 1;
        let recovered = format!(r#""kind":"recovered","epoch":{}"#, self.epoch);
        self.entry(at_ms, &[&recovered]);
    }

    fn sending(&mut self, asked: Asked, sent_ms: u64, heard: Option<(u64, u16, String)>) {
        let heard = heard.map(|(received, status, body)| Heard { received: received * 1_000, status, body });
        self.recording.sendings.push(Sending { client: 1, asked, sent: sent_ms * 1_000, heard });
    }

    fn asked(lease: &str, attempt: u64, parts: &[(&str, u64)]) -> Asked {
        Asked::Checkout {
            lease: lease.into(),
            attempt,
            nonce: format!("nonce-{lease}-{attempt}"),
            vendors: vec![VENDOR.into()],
            parts: parts.iter().map(|(feature, seats)| Part { feature: (*feature).into(), version: None, seats: *seats }).collect(),
            wait_ms: None,
        }
    }

    /// Asked and answered within two milliseconds, at the present position, with these further members.
    fn checkout(&mut self, lease: &str, attempt: u64, parts: &[(&str, u64)], sent_ms: u64, members: &str) {
        let body = format!(r#"{{{members},"position":{}}}"#, self.position());
        self.sending(Self::asked(lease, attempt, parts), sent_ms, Some((sent_ms + 2, 200, body)));
    }

    fn granted(&mut self, lease: &str, attempt: u64, parts: &[(&str, u64)], sent_ms: u64, entry: (u64, u64, u64)) {
        let items: Vec<String> = parts
            .iter()
            .map(|(feature, seats)| format!(r#"{{"feature":"{feature}","seats":{seats},"from":[{{"seats":{seats}}}]}}"#))
            .collect();
        let (epoch, index, at_ms) = entry;
        let grant = format!(
            r#"{{"lease":"{lease}","nonce":"nonce-{lease}-{attempt}","epoch":{epoch},"index":{index},"granted_at_ms":{at_ms},"items":[{}]}}"#,
            items.join(",")
        );
        let members = format!(r#""outcome":"granted","grant":"{}","remaining_ms":10000"#, encoded(grant.as_bytes()));
        self.checkout(lease, attempt, parts, sent_ms, &members);
    }

    fn renewed(&mut self, lease: &str, counter: u64, sent_ms: u64) {
        let body = format!(
            r#"{{"outcome":"renewed","position":{},"nonce":"n{counter}","counter":{counter},"remaining_ms":10000}}"#,
            self.position()
        );
        self.renewal(lease, counter, sent_ms, 200, body);
    }

    fn renewal(&mut self, lease: &str, counter: u64, sent_ms: u64, status: u16, body: String) {
        let asked = Asked::Renew(Renewal { lease: lease.into(), counter, nonce: format!("n{counter}") });
        self.sending(asked, sent_ms, Some((sent_ms + 2, status, body)));
    }

    fn released(&mut self, lease: &str, sent_ms: u64) {
        let body = format!(r#"{{"outcome":"released","position":{},"linger_ms":0}}"#, self.position());
        self.sending(Asked::Release { lease: lease.into() }, sent_ms, Some((sent_ms + 2, 200, body)));
    }

    fn status(&mut self, sent_ms: u64, feature: &str, numbers: [u64; 6]) {
        let [total, used, lingering, free, over, queued] = numbers;
        let body = format!(
            r#"{{"position":{},"pools":[{{"vendor":"{VENDOR}","feature":"{feature}","total":{total},"used":{used},"lingering":{lingering},"free":{free},"over":{over},"queued":{queued}}}]}}"#,
            self.position()
        );
        self.sending(Asked::Status, sent_ms, Some((sent_ms + 2, 200, body)));
    }

    fn rules(mut self) -> Vec<&'static str> {
        let last =
            self.recording.sendings.iter().filter_map(|sending| sending.heard.as_ref()).map(|heard| heard.received).max().unwrap_or(0);
        self.recording.end = self.recording.end.max(last);
        let piece = Reading { done: self.recording.end, lines: self.lines.clone() };
        self.recording.pieces = vec![piece.clone()];
        self.recording.again.get_or_insert(piece);
        check(&self.recording).0.into_iter().map(|violation| violation.rule).collect()
    }
}

fn grant_fact(lease: &str, attempt: u64, parts: &[(&str, u64)]) -> String {
    let items: Vec<String> =
        parts.iter().map(|(feature, seats)| format!(r#"{{"vendor":"{VENDOR}","feature":"{feature}","seats":{seats}}}"#)).collect();
    format!(r#""kind":"granted","lease":"{lease}","attempt":{attempt},"items":[{}],"ttl_ms":10000"#, items.join(","))
}

fn queue_fact(lease: &str, attempt: u64, parts: &[(&str, u64)]) -> String {
    grant_fact(lease, attempt, parts).replace("granted", "queued") + r#","gives_up_ms":60000"#
}

fn denial_fact(lease: &str, attempt: u64, feature: &str, code: &str, [total, used, lingering, free, over]: [u64; 5]) -> String {
    format!(
        r#""kind":"denied","lease":"{lease}","attempt":{attempt},"denial":{{"code":"{code}","feature":"{feature}","pool":{{"total":{total},"used":{used},"lingering":{lingering},"free":{free},"over":{over}}}}}"#
    )
}

const CAD: &[(&str, u64)] = &[("cad", 1)];
const CAM: &[(&str, u64)] = &[("cam", 1)];
const BOTH: &[(&str, u64)] = &[("cad", 1), ("cam", 1)];
const DENIED: &str = r#""outcome":"denied","denial":{"code":"no_seat_free"}"#;
const WAITING: &str = r#""outcome":"waiting","place":1"#;

/// A holder of both features, one who is denied, waits, and gets the seat; a restart in between.
fn good() -> Story {
    let mut story = Story::new();
    story.entry(1_001, &[&grant_fact("a", 1, BOTH)]);
    story.granted("a", 1, BOTH, 1_000, (1, 3, 1_001));
    story.entry(1_101, &[&denial_fact("b", 1, "cad", "no_seat_free", [1, 1, 0, 0, 0])]);
    story.checkout("b", 1, CAD, 1_100, DENIED);
    story.entry(1_201, &[&queue_fact("b", 2, CAD)]);
    story.checkout("b", 2, CAD, 1_200, WAITING);
    story.renewed("a", 1, 3_000);
    story.restart(3_100);
    story.entry(3_201, &[r#""kind":"heard","lease":"a""#]);
    story.renewed("a", 2, 3_200);
    story.status(3_300, "cad", [1, 1, 0, 0, 0, 1]);
    story.entry(5_001, &[r#""kind":"released","lease":"a","cause":"holder""#, &grant_fact("b", 2, CAD)]);
    story.released("a", 5_000);
    story.entry(5_101, &[r#""kind":"heard","lease":"b""#]);
    story.granted("b", 2, CAD, 5_100, (2, 8, 5_001));
    story
}

/// [`good`], and b gives back.
fn whole() -> Story {
    let mut story = good();
    story.entry(6_001, &[r#""kind":"released","lease":"b","cause":"holder""#]);
    story.released("b", 6_000);
    story.status(6_100, "cad", [1, 0, 0, 1, 0, 0]);
    story
}

#[track_caller]
fn breaks(story: Story, rule: &str) {
    let rules = story.rules();
    assert!(rules.contains(&rule), "{rule} was broken, and the checker found {rules:?}");
}

#[test]
fn a_good_history_is_right() {
    assert_eq!(whole().rules(), [""; 0]);
}

#[test]
fn a_lease_that_ends_inside_its_promise_is_found() {
    let mut story = good();
    story.entry(9_001, &[r#""kind":"ended","lease":"b","reason":"expired""#]);
    story.status(9_100, "cad", [1, 0, 0, 1, 0, 0]);
    breaks(story, "promise_survives");
}

#[test]
fn two_who_run_on_one_seat_are_found() {
    let mut story = good();
    story.entry(9_001, &[r#""kind":"ended","lease":"b","reason":"expired""#, &grant_fact("c", 1, CAD)]);
    story.granted("c", 1, CAD, 9_000, (2, 10, 9_001));
    breaks(story, "one_holder_per_seat");
}

#[test]
fn a_grant_beyond_the_license_is_found() {
    let mut story = good();
    story.entry(9_001, &[&grant_fact("c", 1, CAD)]);
    story.granted("c", 1, CAD, 9_000, (2, 10, 9_001));
    breaks(story, "no_grant_past_entitlement");
}

#[test]
fn a_second_grant_of_one_id_is_found() {
    let mut story = whole();
    story.entry(9_001, &[&grant_fact("b", 2, CAD)]);
    story.granted("b", 2, CAD, 9_000, (2, 11, 9_001));
    breaks(story, "one_grant_per_id");
}

#[test]
fn a_grant_after_a_release_that_came_before_the_id_was_known_is_found() {
    let mut story = whole();
    story.entry(9_001, &[r#""kind":"released_unknown","lease":"c""#]);
    story.released("c", 9_000);
    story.entry(9_101, &[&grant_fact("c", 1, CAD)]);
    story.granted("c", 1, CAD, 9_100, (2, 12, 9_101));
    breaks(story, "released_never_grants");
}

#[test]
fn a_renewal_of_what_was_given_back_is_found() {
    let mut story = whole();
    story.renewed("b", 1, 9_000);
    breaks(story, "released_never_grants");
    let mut story = good();
    story.entry(20_001, &[r#""kind":"ended","lease":"b","reason":"expired""#]);
    story.status(20_100, "cad", [1, 0, 0, 1, 0, 0]);
    story.renewed("b", 1, 21_000);
    breaks(story, "lease_history_linearizable");
}

#[test]
fn answers_that_the_journal_does_not_have_are_found() {
    let answers: [&dyn Fn(&mut Story); 6] = [
        &|story| story.granted("c", 1, CAD, 9_000, (2, 10, 9_001)),
        &|story| story.checkout("c", 1, CAD, 9_000, DENIED),
        &|story| story.checkout("c", 1, CAD, 9_000, WAITING),
        &|story| story.renewed("c", 1, 9_000),
        &|story| story.released("c", 9_000),
        &|story| story.checkout("c", 1, CAD, 9_000, r#""outcome":"ended","reason":"expired","remaining_ms":0"#),
    ];
    for answer in answers {
        let mut story = whole();
        answer(&mut story);
        breaks(story, "answered_implies_durable");
    }
}

#[test]
fn a_renewal_in_a_new_epoch_that_left_no_fact_is_found() {
    let mut story = good();
    story.restart(7_000);
    story.renewed("b", 1, 7_100);
    breaks(story, "answered_implies_durable");
}

#[test]
fn an_answer_before_its_fact_was_durable_is_found() {
    let mut story = whole();
    let early = story.position();
    story.entry(9_001, &[&grant_fact("c", 1, CAD)]);
    story.granted("c", 1, CAD, 9_000, (2, 11, 9_001));
    let now = story.position();
    let last = story.recording.sendings.last_mut().unwrap().heard.as_mut().unwrap();
    last.body = last.body.replace(&now, &early);
    breaks(story, "answered_implies_durable");
}

#[test]
fn a_live_lease_that_is_denied_or_unknown_is_found() {
    let mut story = good();
    story.checkout("b", 3, CAD, 8_000, DENIED);
    breaks(story, "lease_history_linearizable");
    let mut story = good();
    story.renewal("b", 1, 8_000, 404, r#"{"code":"unknown_lease","retry":"new_request","took_effect":"no"}"#.into());
    breaks(story, "lease_history_linearizable");
}

#[test]
fn two_answers_to_one_attempt_are_found() {
    let mut story = good();
    story.checkout("b", 2, CAD, 1_250, DENIED);
    breaks(story, "answers_agree");
    let mut story = whole();
    story.entry(9_001, &[&denial_fact("c", 1, "cad", "more_than_pool", [1, 0, 0, 1, 0])]);
    story.checkout("c", 1, &[("cad", 2)], 9_000, r#""outcome":"denied","denial":{"code":"no_seat_free"}"#);
    breaks(story, "answers_agree");
}

#[test]
fn a_grant_that_names_another_entry_is_found() {
    let mut story = whole();
    story.entry(9_001, &[&grant_fact("c", 1, CAD)]);
    story.granted("c", 1, CAD, 9_000, (2, 9, 9_001));
    breaks(story, "answers_agree");
}

#[test]
fn a_lower_attempt_that_is_decided_is_found() {
    let mut story = good();
    let denial = |attempt| denial_fact("c", attempt, "cad", "no_seat_free", [1, 1, 0, 0, 0]);
    story.entry(5_201, &[&denial(2)]);
    story.checkout("c", 2, CAD, 5_200, DENIED);
    story.entry(5_301, &[&denial(1)]);
    story.checkout("c", 1, CAD, 5_300, DENIED);
    breaks(story, "answers_agree");
}

#[test]
fn half_a_checkout_is_found() {
    let mut story = whole();
    story.entry(9_001, &[&grant_fact("c", 1, CAD)]);
    story.granted("c", 1, CAD, 9_000, (2, 11, 9_001));
    story.recording.sendings.last_mut().unwrap().asked = Story::asked("c", 1, BOTH);
    breaks(story, "atomic_checkout");
    let mut story = whole();
    story.entry(9_001, &[&grant_fact("c", 1, CAD)]);
    story.granted("c", 1, BOTH, 9_000, (2, 11, 9_001));
    breaks(story, "atomic_checkout");
}

#[test]
fn a_false_no_is_found_but_not_one_beside_another_sending() {
    let no = || (1_260, 503, r#"{"code":"overloaded","retry":"same_id","took_effect":"no"}"#.to_owned());
    let mut story = whole();
    story.sending(Story::asked("b", 2, CAD), 1_250, Some(no()));
    assert_eq!(story.rules(), [""; 0], "an earlier sending of the same id may have taken effect");
    let mut story = whole();
    story.recording.sendings.retain(|sending| sending.asked != Story::asked("b", 2, CAD));
    story.sending(Story::asked("b", 2, CAD), 1_150, Some(no()));
    breaks(story, "no_false_no");
}

#[test]
fn a_fact_that_nobody_asked_for_is_found() {
    let mut story = whole();
    story.entry(9_001, &[&grant_fact("c", 1, CAD)]);
    breaks(story, "asked_before_decided");
}

#[test]
fn passing_in_line_is_found_but_not_passing_who_can_never_be_served() {
    let mut story = good();
    story.entry(5_201, &[&queue_fact("c", 1, BOTH)]);
    story.checkout("c", 1, BOTH, 5_200, WAITING);
    story.entry(5_301, &[&grant_fact("d", 1, CAM)]);
    story.granted("d", 1, CAM, 5_300, (2, 11, 5_301));
    let mut other = Story { recording: story.recording.clone(), lines: story.lines.clone(), ..Story::new() };
    (other.index, other.epoch) = (story.index, story.epoch);
    assert_eq!(story.rules(), [""; 0], "one of two seats is left for the waiter");
    other.entry(5_401, &[&grant_fact("e", 1, CAM)]);
    other.granted("e", 1, CAM, 5_400, (2, 12, 5_401));
    breaks(other, "queue_order");

    let mut story = good();
    story.entry(5_201, &[&queue_fact("c", 1, &[("cad", 7), ("cam", 2)])]);
    story.checkout("c", 1, &[("cad", 7), ("cam", 2)], 5_200, WAITING);
    story.entry(5_301, &[&grant_fact("d", 1, CAM)]);
    story.granted("d", 1, CAM, 5_300, (2, 11, 5_301));
    assert_eq!(story.rules(), [""; 0]);
}

#[test]
fn a_wrong_place_in_line_is_found() {
    let mut story = good();
    story.entry(5_201, &[&queue_fact("c", 1, CAD)]);
    story.checkout("c", 1, CAD, 5_200, &WAITING.replace('1', "2"));
    breaks(story, "queue_order");
}

#[test]
fn a_line_that_stands_still_is_found() {
    let mut story = whole();
    story.entry(7_001, &[&queue_fact("c", 1, CAD)]);
    story.checkout("c", 1, CAD, 7_000, WAITING);
    story.entry(20_000, &[r#""kind":"clock_marked""#]);
    story.status(20_100, "cad", [1, 0, 0, 1, 0, 1]);
    breaks(story, "queue_moves");
}

#[test]
fn wrong_denials_are_found() {
    let mut story = whole();
    story.entry(7_001, &[&denial_fact("c", 1, "cad", "no_seat_free", [1, 0, 0, 1, 0])]);
    story.checkout("c", 1, CAD, 7_000, DENIED);
    breaks(story, "denials_are_right");
    let mut story = good();
    story.entry(5_201, &[&denial_fact("c", 1, "cad", "no_seat_free", [2, 2, 0, 0, 0])]);
    story.checkout("c", 1, CAD, 5_200, DENIED);
    breaks(story, "denials_are_right");
    // Whoever can never be served is no reason to deny others.
    let mut story = whole();
    story.entry(7_001, &[&queue_fact("c", 1, &[("cad", 7)])]);
    story.checkout("c", 1, &[("cad", 7)], 7_000, WAITING);
    story.entry(7_101, &[&denial_fact("d", 1, "cad", "no_seat_free", [1, 0, 0, 1, 0])]);
    story.checkout("d", 1, CAD, 7_100, DENIED);
    breaks(story, "denials_are_right");
}

#[test]
fn waiters_that_are_sent_away_too_early_are_found() {
    for reason in ["silent", "hopeless", "wait_over"] {
        let mut story = good();
        story.entry(5_201, &[&queue_fact("c", 1, CAD)]);
        story.checkout("c", 1, CAD, 5_200, WAITING);
        let gone = format!(r#""kind":"dequeued","lease":"c","reason":"{reason}""#);
        story.entry(9_000, &[&gone]);
        story.status(9_100, "cad", [1, 1, 0, 0, 0, 0]);
        breaks(story, "waiters_leave_for_a_reason");
    }
    let mut story = whole();
    story.entry(7_001, &[&queue_fact("c", 1, CAD), &grant_fact("c", 1, CAD)]);
    story.checkout("c", 1, CAD, 7_000, WAITING);
    story.entry(9_000, &[r#""kind":"ended","lease":"c","reason":"unclaimed""#]);
    story.status(9_100, "cad", [1, 0, 0, 1, 0, 0]);
    breaks(story, "waiters_leave_for_a_reason");
}

#[test]
fn numbers_that_are_shown_wrongly_are_found() {
    let mut story = whole();
    story.status(9_000, "cad", [1, 1, 0, 0, 0, 0]);
    breaks(story, "seats_conserved");
}

#[test]
fn lease_time_that_runs_ahead_or_back_is_found() {
    let mut story = whole();
    story.entry(12_000, &[&grant_fact("c", 1, CAD)]);
    story.granted("c", 1, CAD, 9_000, (2, 11, 12_000));
    breaks(story, "lease_time_never_fast");
    let mut story = whole();
    story.entry(4_000, &[r#""kind":"clock_marked""#]);
    breaks(story, "lease_time_never_fast");
}

#[test]
fn a_dead_seat_that_never_comes_back_is_found_but_not_while_the_server_is_away() {
    let mut story = good();
    story.status(60_000, "cad", [1, 1, 0, 0, 0, 0]);
    breaks(story, "dead_seat_returns");
    let mut story = good();
    story.status(60_000, "cad", [1, 1, 0, 0, 0, 0]);
    story.recording.spells.push(Spell { fault: Fault::Paused, from: 8_000_000, to: 50_000_000 });
    assert_eq!(story.rules(), [""; 0]);
}

#[test]
fn a_journal_with_a_gap_or_two_contents_is_found() {
    let mut story = whole();
    story.index += 1;
    story.entry(9_000, &[r#""kind":"clock_marked""#]);
    breaks(story, "one_writer");
    let mut story = whole();
    let mut lines = story.lines.clone();
    *lines.last_mut().unwrap() = lines.last().unwrap().replace("\"lease\":\"b\"", "\"lease\":\"x\"");
    story.recording.again = Some(Reading { done: 0, lines });
    breaks(story, "one_writer");
    let mut story = whole();
    story.epoch += 1;
    story.entry(9_000, &[r#""kind":"clock_marked""#]);
    breaks(story, "one_writer");
}

#[test]
fn an_answer_to_another_request_is_found() {
    let mut story = good();
    let body = format!(r#"{{"outcome":"renewed","position":{},"nonce":"n7","counter":7,"remaining_ms":10000}}"#, story.position());
    story.renewal("b", 1, 8_000, 200, body);
    breaks(story, "answers_are_for_their_request");
}

#[test]
fn inner_faults_and_answers_that_nobody_can_read_are_found() {
    for (status, body) in [(500, r#"{"code":"internal","retry":"same_id","took_effect":"unknown"}"#), (200, "{"), (503, "busy")] {
        let mut story = good();
        story.renewal("b", 1, 8_000, status, body.to_owned());
        breaks(story, "answers_can_be_read");
    }
}

#[test]
fn leases_that_contradict_their_own_past_are_found() {
    for fact in ["heard", "ended", "linger_ended", "dequeued"] {
        let mut story = whole();
        let gone = format!(r#""kind":"{fact}","lease":"a""#);
        story.entry(9_000, &[&gone]);
        breaks(story, "lease_history");
    }
}
