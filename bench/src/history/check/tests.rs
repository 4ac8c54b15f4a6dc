//! The checker is worth what it rejects: one good history, and for each rule one that was doctored to break it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::history::record::{Heard, Parting, Reading, Renewal, Sending, Spell, Terms};

const LINEAGE: &str = "00000000000000000000000000000001";
const VENDOR: &str = "one.example";
const KEY: &str = "key-one";

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
    /// Seconds since 1970 that entries bear.
    second: i64,
}

impl Story {
    /// A server with one seat of cad and two of cam.
    fn new() -> Self {
        let terms = |feature: &str, seats| Terms { feature: feature.to_owned(), seats, ..Terms::default() };
        let license = LicenseTerms {
            id: "L".into(),
            hash: "aa".into(),
            vendor: VENDOR.into(),
            keys: vec![KEY.into()],
            replaces: Vec::new(),
            entitlements: vec![terms("cad", 1), terms("cam", 2)],
        };
        let mut story = Self {
            recording: Recording { licenses: vec![license], ..Recording::default() },
            index: 0,
            epoch: 1,
            lines: Vec::new(),
            second: 0,
        };
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
            let time = format!("1970-01-01T00:{:02}:{:02}Z", self.second / 60, self.second % 60);
            self.lines.push(format!(r#"{{"position":{},"number":{number},"at_ms":{at_ms},"time":"{time}",{fact}}}"#, self.position()));
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
            keys: vec![KEY.into()],
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
            .map(|(feature, seats)| {
                let place = u32::from(*feature == "cam");
                let from = format!(r#"{{"license":"{}","entitlement":{place},"seats":{seats}}}"#, encoded(&[0xaa]));
                format!(r#"{{"feature":"{feature}","seats":{seats},"from":[{from}]}}"#)
            })
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

    /// The last sending was a renewal that named this presence connection.
    fn naming(&mut self, generation: u64) {
        if let Some(Sending { asked: Asked::Renew(renewal), .. }) = self.recording.sendings.last_mut() {
            renewal.presence = Some(generation);
        }
    }

    fn opened(&mut self, generation: u64, lease: &str, sent_ms: u64) {
        let body = format!(r#"{{"live":1,"ends_agree":true,"position":{}}}"#, self.position());
        let asked = Asked::Presence { generation, leases: vec![lease.into()], dropped: Vec::new() };
        self.sending(asked, sent_ms, Some((sent_ms + 2, 200, body)));
    }

    fn parted(&mut self, generation: u64, lease: &str, at_ms: u64, died: bool) {
        let parting = Parting { client: 1, generation, leases: vec![lease.into()], at: at_ms * 1_000, died };
        self.recording.partings.push(parting);
    }

    fn reclaimed(&mut self, lease: &str, now: bool, sent_ms: u64) {
        let body = format!(r#"{{"remaining_ms":0,"position":{}}}"#, self.position());
        self.sending(Asked::Reclaim { lease: lease.into(), now }, sent_ms, Some((sent_ms + 2, 200, body)));
    }

    fn renewal(&mut self, lease: &str, counter: u64, sent_ms: u64, status: u16, body: String) {
        let asked = Asked::Renew(Renewal { lease: lease.into(), counter, nonce: format!("n{counter}"), presence: None });
        self.sending(asked, sent_ms, Some((sent_ms + 2, status, body)));
    }

    fn released(&mut self, lease: &str, sent_ms: u64) {
        let body = format!(r#"{{"outcome":"released","position":{},"linger_ms":0}}"#, self.position());
        self.sending(Asked::Release { lease: lease.into() }, sent_ms, Some((sent_ms + 2, 200, body)));
    }

    fn status(&mut self, sent_ms: u64, feature: &str, numbers: [u64; 6]) {
        let [total, used, lingering, free, over, queued] = numbers;
        let body = format!(
            r#"{{"position":{},"pools":[{{"vendor":"{VENDOR}","vendor_keys":["{KEY}"],"feature":"{feature}","total":{total},"used":{used},"lingering":{lingering},"free":{free},"over":{over},"queued":{queued}}}]}}"#,
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

// Presence.

const FREED: &str = r#""kind":"released","lease":"b","cause":"presence""#;

/// [`good`], and b's process opens a presence connection and names it.
fn standing() -> Story {
    let mut story = good();
    story.opened(1, "b", 5_200);
    story.renewed("b", 1, 5_300);
    story.naming(1);
    story
}

#[test]
fn a_death_that_frees_early_is_right() {
    let mut story = standing();
    story.parted(1, "b", 6_000, true);
    story.entry(6_005, &[FREED, &grant_fact("c", 1, CAD)]);
    story.granted("c", 1, CAD, 6_004, (2, 10, 6_005));
    story.renewed("c", 1, 12_100);
    assert_eq!(story.rules(), [""; 0]);
}

#[test]
fn a_seat_that_is_freed_early_while_its_process_lives_is_found() {
    let free = |story: &mut Story| {
        story.entry(6_005, &[FREED]);
        story.status(6_100, "cad", [1, 0, 0, 1, 0, 0]);
    };
    let mut story = standing();
    free(&mut story);
    breaks(story, "only_death_frees");
    let mut story = standing();
    story.parted(1, "b", 6_000, false);
    free(&mut story);
    breaks(story, "only_death_frees");
    let mut story = standing();
    free(&mut story);
    story.parted(1, "b", 6_500, true);
    breaks(story, "only_death_frees");
}

#[test]
fn a_presence_connection_that_frees_without_having_been_named_is_found() {
    let die = |mut story: Story| {
        story.parted(2, "b", 6_000, true);
        story.entry(6_005, &[FREED]);
        story.status(6_100, "cad", [1, 0, 0, 1, 0, 0]);
        breaks(story, "only_death_frees");
    };
    let mut story = good();
    story.opened(2, "b", 5_200);
    die(story);
    // It had named an earlier one.
    let mut story = standing();
    story.parted(1, "b", 5_400, false);
    story.opened(2, "b", 5_500);
    die(story);
    // It named this one, and then none any more.
    let mut story = good();
    story.opened(2, "b", 5_200);
    story.renewed("b", 1, 5_300);
    story.naming(2);
    story.renewed("b", 2, 5_400);
    die(story);
    // It was never opened.
    let mut story = good();
    story.renewed("b", 1, 5_300);
    story.naming(2);
    die(story);
}

#[test]
fn a_death_that_frees_nothing_is_found_but_not_beside_a_restart() {
    let expires = |story: &mut Story| {
        story.parted(1, "b", 6_000, true);
        story.entry(15_301, &[r#""kind":"ended","lease":"b","reason":"expired""#]);
        story.status(15_400, "cad", [1, 0, 0, 1, 0, 0]);
    };
    let mut story = standing();
    expires(&mut story);
    story.entry(15_500, &[&grant_fact("c", 1, CAD)]);
    story.granted("c", 1, CAD, 15_499, (2, 11, 15_500));
    breaks(story, "death_frees");
    let mut story = standing();
    expires(&mut story);
    story.recording.spells.push(Spell { fault: Fault::Down, from: 5_400_000, to: 5_900_000 });
    assert_eq!(story.rules(), [""; 0]);
}

#[test]
fn a_dead_process_that_is_said_to_have_come_back_is_found() {
    let mut story = standing();
    story.parted(1, "b", 6_000, true);
    story.entry(6_005, &[FREED]);
    story.entry(6_105, &[r#""kind":"presence_regretted","lease":"b","until_ms":90000000"#]);
    story.status(6_200, "cad", [1, 0, 0, 1, 0, 0]);
    breaks(story, "only_the_living_regret");
}

// Reclaiming.

const TAKEN: &str = r#""kind":"ended","lease":"b","reason":"reclaimed""#;

#[test]
fn a_seat_that_is_taken_back_at_once_is_right_only_if_an_administrator_asked_for_that() {
    let taken = |now: bool| {
        let mut story = good();
        story.entry(6_001, &[TAKEN, &grant_fact("c", 1, CAD)]);
        story.reclaimed("b", now, 6_000);
        story.granted("c", 1, CAD, 6_000, (2, 10, 6_001));
        story
    };
    assert_eq!(taken(true).rules(), [""; 0]);
    breaks(taken(false), "promise_survives");
    breaks(taken(false), "one_holder_per_seat");
    let mut story = good();
    story.entry(6_001, &[TAKEN]);
    story.status(6_100, "cad", [1, 0, 0, 1, 0, 0]);
    breaks(story, "asked_before_decided");
}

#[test]
fn a_reclaimed_lease_that_goes_on_is_found() {
    let ending = |story: &mut Story| {
        story.entry(6_001, &[r#""kind":"ending","lease":"b","reason":"reclaimed""#]);
        story.reclaimed("b", false, 6_000);
    };
    let mut story = good();
    ending(&mut story);
    story.renewal("b", 1, 6_100, 200, format!(r#"{{"outcome":"ended","reason":"reclaimed","position":{}}}"#, story.position()));
    story.entry(15_101, &[TAKEN]);
    story.status(15_200, "cad", [1, 0, 0, 1, 0, 0]);
    assert_eq!(story.rules(), [""; 0]);
    let mut story = good();
    ending(&mut story);
    story.renewed("b", 1, 6_100);
    breaks(story, "reclaimed_is_over");
    let mut story = good();
    story.reclaimed("b", false, 6_000);
    breaks(story, "answered_implies_durable");
}

// Dates, versions, and one license in the place of another.

/// A second license of cad with these dates, in the place of others, which is entitlement 2; civil time is 100.
fn dated(starts: Option<i64>, expires: Option<i64>, replaces: &[&str]) -> Story {
    let mut story = good();
    let terms = Terms { feature: "cad".into(), seats: 1, starts, expires, ..Terms::default() };
    story.recording.licenses.push(LicenseTerms {
        id: "M".into(),
        hash: "bb".into(),
        vendor: VENDOR.into(),
        keys: vec![KEY.into()],
        replaces: replaces.iter().map(|old| (*old).to_owned()).collect(),
        entitlements: vec![terms],
    });
    story.second = 100;
    story.entry(6_001, &[r#""kind":"license_installed","hash":"bb""#]);
    story
}

const BEGAN: &str = r#""kind":"entitlement_began","entitlement":2"#;
const EXPIRED: &str = r#""kind":"entitlement_ended","entitlement":2,"reason":"expired""#;
const REPLACED: &str = r#""kind":"entitlement_ended","entitlement":0,"reason":"replaced""#;

/// Somebody asks for the second seat of cad, and gets it.
fn second(story: &mut Story, at_ms: u64) {
    story.entry(at_ms, &[&grant_fact("c", 1, CAD)]);
    let index = story.index;
    story.granted("c", 1, CAD, at_ms - 1, (2, index, at_ms));
}

#[test]
fn seats_for_some_days_are_right_on_these() {
    let mut story = dated(Some(101), Some(103), &[]);
    story.entry(6_101, &[&denial_fact("d", 1, "cad", "no_seat_free", [1, 1, 0, 0, 0])]);
    story.checkout("d", 1, CAD, 6_100, DENIED);
    story.second = 101;
    story.entry(6_201, &[BEGAN]);
    second(&mut story, 6_301);
    story.second = 103;
    story.entry(8_201, &[EXPIRED, r#""kind":"ending","lease":"c","reason":"license_ended""#]);
    story.status(8_300, "cad", [1, 2, 0, 0, 1, 0]);
    assert_eq!(story.rules(), [""; 0]);
}

#[test]
fn seats_before_their_first_or_after_their_last_second_are_found() {
    let mut story = dated(Some(101), None, &[]);
    story.entry(6_101, &[BEGAN]);
    breaks(story, "dates_are_kept");
    let mut story = dated(None, Some(103), &[]);
    story.entry(6_101, &[BEGAN]);
    story.entry(6_201, &[EXPIRED]);
    breaks(story, "dates_are_kept");
    let mut story = dated(None, Some(103), &[]);
    story.entry(6_101, &[BEGAN]);
    story.second = 103;
    second(&mut story, 6_301);
    breaks(story, "dates_are_kept");
    let mut story = dated(None, Some(103), &[]);
    story.second = 103;
    story.entry(6_101, &[BEGAN]);
    breaks(story, "dates_are_kept");
}

#[test]
fn seats_that_do_not_begin_on_their_day_are_found() {
    let mut story = dated(Some(101), None, &[]);
    story.second = 101;
    story.entry(6_101, &[&denial_fact("d", 1, "cad", "no_seat_free", [1, 1, 0, 0, 0])]);
    story.checkout("d", 1, CAD, 6_100, DENIED);
    breaks(story, "denials_are_right");
}

#[test]
fn one_license_in_the_place_of_another_is_right_at_one_instant() {
    let mut story = dated(Some(101), None, &["L"]);
    story.second = 101;
    story.entry(6_101, &[BEGAN, REPLACED, r#""kind":"charge_moved","lease":"b","item":0,"from":0,"to":2,"seats":1"#]);
    story.entry(6_201, &[&denial_fact("d", 1, "cad", "no_seat_free", [1, 1, 0, 0, 0])]);
    story.checkout("d", 1, CAD, 6_200, DENIED);
    assert_eq!(story.rules(), [""; 0]);
}

#[test]
fn an_old_right_that_ends_without_a_new_one_or_goes_on_beside_it_is_found() {
    // Nothing replaces it.
    let mut story = dated(Some(101), None, &[]);
    story.second = 101;
    story.entry(6_101, &[BEGAN, REPLACED]);
    breaks(story, "reissue_order");
    // What replaces it has not begun.
    let mut story = dated(Some(101), None, &["L"]);
    story.second = 101;
    story.entry(6_101, &[REPLACED, BEGAN]);
    breaks(story, "reissue_order");
    // Both give seats.
    let mut story = dated(None, None, &["L"]);
    story.entry(6_101, &[BEGAN]);
    second(&mut story, 6_301);
    breaks(story, "reissue_order");
    // The old one names the new one, and is the elder.
    let mut story = dated(None, None, &[]);
    story.recording.licenses[0].replaces.push("M".into());
    story.entry(6_101, &[BEGAN, r#""kind":"entitlement_ended","entitlement":2,"reason":"replaced""#]);
    breaks(story, "reissue_order");
}

#[test]
fn seats_that_end_before_others_begin_at_the_same_instant_are_found() {
    let mut story = dated(Some(101), None, &[]);
    story.recording.licenses[0].entitlements[0].expires = Some(101);
    story.second = 101;
    story.entry(6_101, &[r#""kind":"entitlement_ended","entitlement":0,"reason":"expired""#, BEGAN]);
    breaks(story, "begin_before_end");
}

#[test]
fn a_lease_that_must_end_although_it_fits_is_found() {
    let mut story = dated(Some(101), None, &["L"]);
    story.second = 101;
    story.entry(6_101, &[BEGAN, REPLACED, r#""kind":"ending","lease":"b","reason":"license_replaced""#]);
    breaks(story, "ending_for_a_reason");
}

/// One seat for version 1 and one for version 2, and somebody who runs the older version on the first.
fn versions(asked: &str) -> (Story, &'static str) {
    let mut story = good();
    let terms = |version: &str| Terms { feature: "ver".into(), version: Some(version.into()), seats: 1, ..Terms::default() };
    let entitlements = vec![terms("1.0"), terms("2.0")];
    story.recording.licenses.push(LicenseTerms {
        id: "V".into(),
        hash: "cc".into(),
        vendor: VENDOR.into(),
        keys: vec![KEY.into()],
        replaces: vec![],
        entitlements,
    });
    let began = r#""kind":"entitlement_began","entitlement":3"#;
    story.entry(6_001, &[r#""kind":"license_installed","hash":"cc""#, BEGAN, began]);
    versioned(&mut story, "c", asked, 6_101);
    (story, "ver")
}

/// A checkout of one seat for this version, granted from the entitlement that is just enough.
fn versioned(story: &mut Story, lease: &str, version: &str, at_ms: u64) {
    let fact = grant_fact(lease, 1, &[("ver", 1)]).replace(r#""seats""#, &format!(r#""version":"{version}","seats""#));
    story.entry(at_ms, &[&fact]);
    let index = story.index;
    let place = u32::from(version > "1.0");
    let grant = format!(
        r#"{{"lease":"{lease}","nonce":"nonce-{lease}-1","epoch":2,"index":{index},"granted_at_ms":{at_ms},"items":[{{"feature":"ver","version":"{version}","seats":1,"from":[{{"license":"{}","entitlement":{place},"seats":1}}]}}]}}"#,
        encoded(&[0xcc])
    );
    let members = format!(r#""outcome":"granted","grant":"{}","remaining_ms":10000"#, encoded(grant.as_bytes()));
    story.checkout(lease, 1, &[("ver", 1)], at_ms - 1, &members);
    name_version(story, version);
}

/// The last checkout was of this version.
fn name_version(story: &mut Story, version: &str) {
    if let Some(Sending { asked: Asked::Checkout { parts, .. }, .. }) = story.recording.sendings.last_mut() {
        parts[0].version = Some(version.into());
    }
}

#[test]
fn a_seat_for_a_newer_version_than_licensed_is_found() {
    let (mut story, _) = versions("1.0");
    versioned(&mut story, "d", "2.0", 6_201);
    assert_eq!(story.rules(), [""; 0]);
    let (mut story, _) = versions("2.0");
    versioned(&mut story, "d", "1.5", 6_201);
    breaks(story, "no_grant_past_entitlement");
    let (story, _) = versions("2.5");
    breaks(story, "grants_name_rights_in_force");
}

#[test]
fn a_denial_although_the_version_has_a_seat_is_found() {
    for code in ["no_seat_free", "version_not_covered"] {
        let (mut story, feature) = versions("1.0");
        story.entry(6_201, &[&denial_fact("d", 1, feature, code, [2, 1, 0, 1, 0])]);
        let denied = DENIED.replace("no_seat_free", code);
        story.checkout("d", 1, &[("ver", 1)], 6_200, &denied);
        name_version(&mut story, "2.0");
        breaks(story, "denials_are_right");
    }
}

#[test]
fn a_grant_from_an_entitlement_that_does_not_count_is_found() {
    let mut story = dated(Some(200), None, &[]);
    story.entry(6_101, &[r#""kind":"released","lease":"b","cause":"holder""#, &grant_fact("c", 1, CAD)]);
    story.released("b", 6_100);
    story.granted("c", 1, CAD, 6_100, (2, 11, 6_101));
    assert_eq!(story.rules(), [""; 0]);
    let mut story = dated(Some(200), None, &[]);
    story.entry(6_101, &[r#""kind":"released","lease":"b","cause":"holder""#, &grant_fact("c", 1, CAD)]);
    story.released("b", 6_100);
    let from = |place: &str| format!(r#"{{"license":"{}","entitlement":{place},"seats":1}}"#, encoded(&[0xbb]));
    let grant = format!(
        r#"{{"lease":"c","nonce":"nonce-c-1","epoch":2,"index":11,"granted_at_ms":6101,"items":[{{"feature":"cad","seats":1,"from":[{}]}}]}}"#,
        from("0")
    );
    let members = format!(r#""outcome":"granted","grant":"{}","remaining_ms":10000"#, encoded(grant.as_bytes()));
    story.checkout("c", 1, CAD, 6_100, &members);
    breaks(story, "grants_name_rights_in_force");
}

#[test]
fn an_entry_that_bears_another_time_than_the_clock_showed_is_found() {
    let mut story = whole();
    story.second = 3;
    story.entry(9_001, &[&grant_fact("c", 1, CAD)]);
    story.granted("c", 1, CAD, 9_000, (2, 11, 9_001));
    story.recording.began = 1;
    breaks(story, "civil_time_is_read_again");
    // The first entries are older than the recording.
    let mut story = Story::new();
    story.second = 11;
    story.entry(1_001, &[&grant_fact("a", 1, CAD)]);
    story.granted("a", 1, CAD, 1_000, (1, 3, 1_001));
    story.recording.began = 10_000_000;
    assert_eq!(story.rules(), [""; 0]);
}

// Vendors with two keys.

const OTHER: &str = "key-two";
const MERGED: &[&str] = &[r#""kind":"vendors_merged""#, r#""kind":"license_installed","hash":"cc""#, BEGAN];

/// A seat of cad by each of two keys that have one name, and a text of both, with a seat of net.
fn two_keys() -> Story {
    let mut story = Story::new();
    let license = |id: &str, hash: &str, keys: &[&str], feature: &str| LicenseTerms {
        id: id.into(),
        hash: hash.into(),
        vendor: VENDOR.into(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        replaces: Vec::new(),
        entitlements: vec![Terms { feature: feature.into(), seats: 1, ..Terms::default() }],
    };
    story.recording.licenses =
        vec![license("OLD", "aa", &[KEY], "cad"), license("NEW", "bb", &[OTHER], "cad"), license("BOTH", "cc", &[KEY, OTHER], "net")];
    story.lines.pop();
    story.entry(2, &[r#""kind":"license_installed","hash":"bb""#, r#""kind":"entitlement_began","entitlement":1"#]);
    story
}

/// The same, and they are one vendor.
fn one_vendor() -> Story {
    let mut story = two_keys();
    story.entry(3, MERGED);
    story
}

/// The last checkout was of an application that embeds these.
fn embedding(story: &mut Story, embeds: &[&str]) {
    if let Some(Sending { asked: Asked::Checkout { keys, .. }, .. }) = story.recording.sendings.last_mut() {
        *keys = embeds.iter().map(|key| (*key).to_owned()).collect();
    }
}

/// A seat of cad for an application that embeds these, from the license with this hash.
fn charged(story: &mut Story, lease: &str, embeds: &[&str], hash: u8, at_ms: u64) {
    story.entry(at_ms, &[&grant_fact(lease, 1, CAD)]);
    let grant = format!(
        r#"{{"lease":"{lease}","nonce":"nonce-{lease}-1","epoch":1,"index":{},"granted_at_ms":{at_ms},"items":[{{"feature":"cad","seats":1,"from":[{{"license":"{}","entitlement":0,"seats":1}}]}}]}}"#,
        story.index,
        encoded(&[hash])
    );
    let members = format!(r#""outcome":"granted","grant":"{}","remaining_ms":10000"#, encoded(grant.as_bytes()));
    story.checkout(lease, 1, CAD, at_ms - 1, &members);
    embedding(story, embeds);
}

fn denied(story: &mut Story, lease: &str, embeds: &[&str], numbers: [u64; 5], at_ms: u64) {
    story.entry(at_ms, &[&denial_fact(lease, 1, "cad", "no_seat_free", numbers)]);
    story.checkout(lease, 1, CAD, at_ms - 1, DENIED);
    embedding(story, embeds);
}

fn waits(story: &mut Story, lease: &str, embeds: &[&str], at_ms: u64) {
    story.entry(at_ms, &[&queue_fact(lease, 1, CAD)]);
    story.checkout(lease, 1, CAD, at_ms - 1, WAITING);
    embedding(story, embeds);
}

#[test]
fn two_keys_are_two_vendors_and_then_one_whose_seats_are_for_who_can_verify_them() {
    let mut story = two_keys();
    charged(&mut story, "a", &[KEY], 0xaa, 1_001);
    denied(&mut story, "b", &[KEY], [1, 1, 0, 0, 0], 1_101);
    charged(&mut story, "c", &[KEY, OTHER], 0xbb, 1_201);
    story.entry(1_301, MERGED);
    story.status(1_400, "cad", [2, 2, 0, 0, 0, 0]);
    let row = story.recording.sendings.last_mut().unwrap().heard.as_mut().unwrap();
    row.body = row.body.replace(&format!(r#"["{KEY}"]"#), &format!(r#"["{KEY}","{OTHER}"]"#));
    story.entry(1_501, &[r#""kind":"released","lease":"c","cause":"holder""#]);
    story.released("c", 1_500);
    denied(&mut story, "d", &[KEY], [1, 1, 0, 0, 0], 1_601);
    charged(&mut story, "e", &[OTHER], 0xbb, 1_701);
    denied(&mut story, "f", &[OTHER, KEY], [2, 2, 0, 0, 0], 1_801);
    assert_eq!(story.rules(), [""; 0]);
}

#[test]
fn a_seat_of_a_license_that_no_key_of_the_client_has_signed_is_found() {
    let mut story = one_vendor();
    charged(&mut story, "a", &[KEY], 0xbb, 1_001);
    let piece = Reading { done: 2_000_000, lines: story.lines.clone() };
    let recording = Recording { pieces: vec![piece], end: 2_000_000, ..story.recording.clone() };
    let (found, _) = check(&recording);
    let says = &found.iter().find(|violation| violation.rule == "client_can_verify").unwrap().says;
    assert!(says.contains("seats of cad come from NEW, which key-tw has signed, and the client embeds key-on"), "{says}");
    assert!(says.contains("(lease a,"), "{says}");
    breaks(story, "client_can_verify");
    // The pools of two vendors are not one before they are.
    let mut story = two_keys();
    charged(&mut story, "a", &[KEY], 0xbb, 1_001);
    breaks(story, "client_can_verify");
    // It had a seat that it could verify, and lost it to nobody knows whom.
    let mut story = one_vendor();
    charged(&mut story, "a", &[KEY], 0xaa, 1_001);
    story.entry(1_101, &[r#""kind":"charge_moved","lease":"a","item":0,"from":0,"to":1,"seats":1"#]);
    breaks(story, "client_can_verify");
}

#[test]
fn more_holders_than_their_keys_have_signed_seats_for_are_found_although_nobody_says_where_they_are_charged() {
    let mut story = one_vendor();
    charged(&mut story, "a", &[KEY], 0xaa, 1_001);
    story.entry(1_101, &[&grant_fact("b", 1, CAD)]);
    story.sending(Story::asked("b", 1, CAD), 1_100, None);
    breaks(story, "no_grant_past_entitlement");
    // Of two vendors each has its own.
    let mut story = two_keys();
    charged(&mut story, "a", &[KEY], 0xaa, 1_001);
    story.entry(1_101, &[&grant_fact("b", 1, CAD)]);
    story.sending(Story::asked("b", 1, CAD), 1_100, None);
    breaks(story, "no_grant_past_entitlement");
}

#[test]
fn a_denial_although_a_seat_that_the_client_can_verify_is_free_is_found() {
    for embeds in [&[OTHER][..], &[OTHER, KEY], &[KEY, OTHER]] {
        let mut story = one_vendor();
        charged(&mut story, "a", &[KEY], 0xaa, 1_001);
        let numbers = if embeds.len() == 1 { [1, 0, 0, 1, 0] } else { [2, 1, 0, 1, 0] };
        denied(&mut story, "b", embeds, numbers, 1_101);
        breaks(story, "denials_are_right");
    }
    // Whoever embeds both makes room.
    let mut story = one_vendor();
    charged(&mut story, "a", &[KEY, OTHER], 0xaa, 1_001);
    denied(&mut story, "b", &[KEY], [1, 1, 0, 0, 0], 1_101);
    breaks(story, "denials_are_right");
    let mut story = one_vendor();
    charged(&mut story, "a", &[KEY, OTHER], 0xaa, 1_001);
    story.entry(1_101, &[r#""kind":"charge_moved","lease":"a","item":0,"from":0,"to":1,"seats":1"#, &grant_fact("b", 1, CAD)]);
    story.sending(Story::asked("b", 1, CAD), 1_100, None);
    story.renewed("a", 1, 1_200);
    assert_eq!(story.rules(), [""; 0]);
    // Before they are one, one of two vendors has a seat.
    let mut story = two_keys();
    charged(&mut story, "a", &[KEY], 0xaa, 1_001);
    denied(&mut story, "b", &[KEY, OTHER], [1, 1, 0, 0, 0], 1_101);
    breaks(story, "denials_are_right");
}

#[test]
fn a_client_that_is_told_of_seats_which_it_cannot_verify_is_found() {
    for (story, embeds) in [(one_vendor(), &[KEY][..]), (two_keys(), &[KEY]), (two_keys(), &[KEY, OTHER])] {
        let mut story = story;
        charged(&mut story, "a", &[KEY], 0xaa, 1_001);
        charged(&mut story, "b", &[OTHER], 0xbb, 1_101);
        denied(&mut story, "c", embeds, [2, 2, 0, 0, 0], 1_201);
        breaks(story, "denials_are_right");
    }
    // Of a seat whose grant nobody heard it is known whose it can be.
    let mut story = one_vendor();
    charged(&mut story, "a", &[KEY], 0xaa, 1_001);
    story.entry(1_101, &[&grant_fact("b", 1, CAD)]);
    story.sending(Story::asked("b", 1, CAD), 1_100, None);
    embedding(&mut story, &[OTHER]);
    denied(&mut story, "c", &[KEY], [1, 2, 0, 0, 1], 1_201);
    breaks(story, "denials_are_right");
}

#[test]
fn who_waits_is_not_passed_but_by_who_could_have_none_of_its_seats() {
    let line = |waiting: &[&str]| {
        let mut story = one_vendor();
        charged(&mut story, "a", &[KEY], 0xaa, 1_001);
        waits(&mut story, "b", waiting, 1_101);
        story
    };
    let mut story = line(&[KEY]);
    charged(&mut story, "c", &[OTHER], 0xbb, 1_201);
    assert_eq!(story.rules(), [""; 0]);
    let mut story = line(&[KEY, OTHER]);
    charged(&mut story, "c", &[OTHER], 0xbb, 1_201);
    breaks(story, "queue_order");
    // Nor is it a reason to deny them.
    let mut story = line(&[KEY]);
    denied(&mut story, "c", &[OTHER], [1, 0, 0, 1, 0], 1_201);
    breaks(story, "denials_are_right");
    // Two vendors have two lines, and when they become one these are one.
    let mut story = two_keys();
    charged(&mut story, "a", &[KEY], 0xaa, 1_001);
    charged(&mut story, "b", &[OTHER], 0xbb, 1_051);
    waits(&mut story, "c", &[KEY], 1_101);
    waits(&mut story, "d", &[OTHER], 1_151);
    story.entry(1_201, MERGED);
    story.entry(1_301, &[&queue_fact("e", 1, CAD)]);
    story.checkout("e", 1, CAD, 1_300, &WAITING.replace('1', "3"));
    assert_eq!(story.rules(), [""; 0]);
}

#[test]
fn a_line_that_stands_still_behind_who_waits_for_other_seats_is_found() {
    let stands = |waiting: &[&str]| {
        let mut story = one_vendor();
        charged(&mut story, "a", &[KEY], 0xaa, 1_001);
        charged(&mut story, "b", &[OTHER], 0xbb, 1_101);
        waits(&mut story, "c", &[KEY], 1_201);
        waits(&mut story, "d", waiting, 1_301);
        let place = story.recording.sendings.last_mut().unwrap().heard.as_mut().unwrap();
        place.body = place.body.replace(r#""place":1"#, r#""place":2"#);
        story.entry(1_401, &[r#""kind":"released","lease":"b","cause":"holder""#]);
        story.released("b", 1_400);
        story.renewed("a", 1, 9_000);
        story.entry(10_500, &[r#""kind":"clock_marked""#]);
        story.status(10_600, "cad", [2, 1, 0, 1, 0, 2]);
        story
    };
    breaks(stands(&[OTHER]), "queue_moves");
    assert_eq!(stands(&[KEY]).rules(), [""; 0], "no seat that they can verify is free");
}

#[test]
fn vendors_that_become_one_without_a_text_of_both_or_do_not_with_one_are_found() {
    let mut story = two_keys();
    story.entry(3, &MERGED[1..]);
    breaks(story, "who_signs_together_is_one_vendor");
    let mut story = two_keys();
    story.entry(3, &MERGED[..1]);
    breaks(story, "who_signs_together_is_one_vendor");
    let mut story = two_keys();
    story.status(100, "cad", [1, 0, 0, 1, 0, 0]);
    let row = story.recording.sendings.last_mut().unwrap().heard.as_mut().unwrap();
    row.body = row.body.replace(&format!(r#"["{KEY}"]"#), &format!(r#"["{KEY}","{OTHER}"]"#));
    breaks(story, "who_signs_together_is_one_vendor");
}

#[test]
fn seats_that_bear_no_name_are_found() {
    let mut story = good();
    let line = story.lines.iter_mut().find(|line| line.contains(r#""kind":"granted""#)).unwrap();
    *line = line.replace(&format!(r#""vendor":"{VENDOR}","feature":"cad""#), r#""vendor":"","feature":"""#);
    breaks(story, "facts_name_their_pool");
}

#[test]
fn a_license_takes_the_place_of_another_keys_only_once_they_are_one_vendor() {
    let story = |linked: bool| {
        let mut story = two_keys();
        story.recording.licenses[1].replaces.push("OLD".into());
        if linked {
            story.entry(3, MERGED);
        }
        story.entry(101, &[r#""kind":"entitlement_ended","entitlement":0,"reason":"replaced""#]);
        story
    };
    assert_eq!(story(true).rules(), [""; 0]);
    breaks(story(false), "reissue_order");
}
