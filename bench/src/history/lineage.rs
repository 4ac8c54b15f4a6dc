//! What must hold after a server's disk has gone back to an older state: its backup was restored, or an old copy of its directory was put in place.
//!
//! As the checker of recordings, it shares no code with the server and reads only what was asked and answered.

use std::collections::{BTreeMap, BTreeSet};

use super::check::Violation;
use super::json::Json;

/// A quarantine is at least so long.
const QUARANTINE_MS_MIN: u64 = 3_600_000;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Checkout,
    /// A checkout that shows the lease's signed grant.
    Shown,
    Release,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A client asked and was answered: JSON, as it came.
    Answered { lease: String, ask: Ask, answer: String },
    /// A copy of the server's disk was made.
    Copied,
    /// A backup of then was restored into a new place.
    Restored,
    /// The copy of then was put in place of what is newer.
    PutBack,
    /// An administrator ended the quarantine.
    QuarantineEnded,
    /// The journal as it is now, a fact on each line.
    Facts(Vec<String>),
}

/// What is known of the server by what it said.
#[derive(Default)]
struct Story {
    /// Granted and not given back.
    held: BTreeSet<String>,
    copied: BTreeSet<String>,
    /// Granted at some time.
    granted: BTreeSet<String>,
    /// Held, but granted after the copy, and not taken over yet.
    lost: BTreeSet<String>,
    lineage: String,
    /// No answer may bear these any more.
    old: BTreeSet<String>,
    quarantine: bool,
    /// An old copy is in place, and whoever shows a lost grant proves it.
    unproved: bool,
    /// Whose grants proved it.
    proofs: Vec<String>,
    found: Vec<Violation>,
}

/// Judges what happened, in order.
pub(super) fn judge(steps: &[Step]) -> Vec<Violation> {
    let mut story = Story::default();
    for step in steps {
        match step {
            Step::Answered { lease, ask, answer } => story.answered(lease, *ask, answer),
            Step::Copied => story.copied = story.held.clone(),
            Step::Restored => {
                story.goes_back();
                story.new_lineage();
            }
            Step::PutBack => {
                story.goes_back();
                story.unproved = true;
            }
            Step::QuarantineEnded => story.quarantine = false,
            Step::Facts(lines) => story.facts(lines),
        }
    }
    story.found
}

impl Story {
    fn wrong(&mut self, rule: &'static str, says: String, answer: &str) {
        let mut excerpt: String = answer.chars().take(600).collect();
        if excerpt.len() < answer.len() {
            excerpt.push_str("...");
        }
        self.found.push(Violation { rule, says, excerpt: vec![excerpt] });
    }

    fn goes_back(&mut self) {
        self.lost = self.held.difference(&self.copied).cloned().collect();
    }

    /// From now on nothing of the present lineage is answered, and nobody new gets a seat.
    fn new_lineage(&mut self) {
        self.old.insert(std::mem::take(&mut self.lineage));
        self.quarantine = true;
        self.unproved = false;
    }

    fn answered(&mut self, lease: &str, ask: Ask, answer: &str) {
        let json = Json::read(answer).unwrap_or(Json::Null);
        let (outcome, code) = (json.at("outcome").text().to_owned(), json.at("denial.code").text().to_owned());
        if ask == Ask::Shown && self.unproved && self.lost.contains(lease) {
            self.proofs.push(lease.to_owned());
            self.new_lineage();
        }
        let lineage = json.at("position.lineage").text();
        if self.lineage.is_empty() {
            lineage.clone_into(&mut self.lineage);
        }
        if lineage != self.lineage || self.old.contains(lineage) {
            let says =
                format!("{lease} was answered in history {lineage}, after {:?} had ended; the present one is {}", self.old, self.lineage);
            self.wrong("proof_begins_a_new_lineage", says, answer);
        }
        let known = !self.lost.contains(lease) || ask == Ask::Shown && !self.unproved;
        match (ask, outcome.as_str()) {
            (Ask::Release, "released") => {
                self.held.remove(lease);
                self.lost.remove(lease);
            }
            (Ask::Release, _) => self.wrong("renewing_and_releasing_work", format!("{lease} could not be given back"), answer),
            (_, "granted") => {
                if self.quarantine && !(self.held.contains(lease) && known) {
                    self.wrong("restored_waits", format!("{lease} got a seat in the quarantine"), answer);
                }
                self.granted.insert(lease.to_owned());
                self.held.insert(lease.to_owned());
                self.lost.remove(lease);
            }
            _ if self.held.contains(lease) && known => {
                self.wrong("promise_survives", format!("{lease} holds a seat inside its promise, and got another answer"), answer);
            }
            (_, "denied") if self.quarantine && !self.granted.contains(lease) && code != "quarantine" => {
                self.wrong("restored_waits", format!("{lease} was denied in the quarantine, as `{code}`"), answer);
            }
            (_, "denied") if !self.quarantine && code == "quarantine" => {
                self.wrong("quarantine_ends", format!("{lease} was denied for a quarantine that there is not"), answer);
            }
            _ => {}
        }
    }

    fn facts(&mut self, lines: &[String]) {
        let facts: Vec<Json> = lines.iter().filter_map(|line| Json::read(line)).collect();
        let mut began: BTreeMap<String, &Json> = BTreeMap::new();
        for fact in facts.iter().filter(|fact| fact.at("kind").text() == "lineage_began") {
            began.insert(fact.at("lease").text().to_owned(), fact);
        }
        for proof in self.proofs.clone() {
            let Some(fact) = began.get(&proof) else {
                self.wrong("proof_begins_a_new_lineage", format!("{proof} proved that history is lost, and no fact says so"), "");
                continue;
            };
            let length = fact.at("quarantine_until_ms").number().unwrap_or(0).saturating_sub(fact.at("at_ms").number().unwrap_or(0));
            // From the beginning of the new lineage, which is this fact.
            if length < QUARANTINE_MS_MIN {
                let says = format!("the quarantine after the proof of {proof} is {length} ms long");
                self.wrong("quarantine_from_lineage_start", says, "");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn answered(lease: &str, ask: Ask, lineage: &str, outcome: &str) -> Step {
        let outcome = match outcome {
            "granted" | "released" => format!(r#""outcome":"{outcome}""#),
            code => format!(r#""outcome":"denied","denial":{{"code":"{code}"}}"#),
        };
        Step::Answered { lease: lease.into(), ask, answer: format!(r#"{{{outcome},"position":{{"lineage":"{lineage}","index":1}}}}"#) }
    }

    fn began(lease: &str, until_ms: u64) -> Step {
        Step::Facts(vec![format!(r#"{{"kind":"lineage_began","lease":"{lease}","at_ms":1000,"quarantine_until_ms":{until_ms}}}"#)])
    }

    /// An old copy is put in place; its loss is proved, and the quarantine ended by an administrator.
    fn put_back() -> Vec<Step> {
        use Ask::*;
        vec![
            answered("known", Checkout, "1", "granted"),
            Step::Copied,
            answered("lost", Checkout, "1", "granted"),
            Step::PutBack,
            answered("ignorant", Checkout, "1", "granted"),
            answered("known", Checkout, "1", "granted"),
            answered("lost", Shown, "2", "granted"),
            answered("new", Checkout, "2", "quarantine"),
            answered("known", Checkout, "2", "granted"),
            answered("lost", Checkout, "2", "granted"),
            answered("lost", Release, "2", "released"),
            answered("new", Checkout, "2", "quarantine"),
            began("lost", 3_601_000),
            Step::QuarantineEnded,
            answered("new", Checkout, "2", "granted"),
        ]
    }

    #[track_caller]
    fn breaks(place: usize, step: Step, rule: &str) {
        let mut steps = put_back();
        steps[place] = step;
        let rules: Vec<&str> = judge(&steps).into_iter().map(|violation| violation.rule).collect();
        assert!(rules.contains(&rule), "{rule} was broken, and {rules:?} was found");
    }

    #[test]
    fn an_old_copy_in_place_that_is_found_out_is_right() {
        assert_eq!(judge(&put_back()), []);
    }

    #[test]
    fn a_restored_backup_that_waits_is_right_and_one_that_grants_is_found() {
        use Ask::*;
        let story = |new: &str| {
            judge(&[
                answered("known", Checkout, "1", "granted"),
                Step::Copied,
                answered("lost", Checkout, "1", "granted"),
                Step::Restored,
                answered("new", Checkout, "2", new),
                answered("known", Checkout, "2", "granted"),
                answered("lost", Shown, "2", "granted"),
            ])
        };
        assert_eq!(story("quarantine"), []);
        assert_eq!(story("granted")[0].rule, "restored_waits");
        assert_eq!(story("no_seat_free")[0].rule, "restored_waits");
    }

    #[test]
    fn a_proof_that_begins_nothing_is_found() {
        use Ask::*;
        breaks(6, answered("lost", Shown, "1", "granted"), "proof_begins_a_new_lineage");
        breaks(8, answered("known", Checkout, "1", "granted"), "proof_begins_a_new_lineage");
        breaks(12, Step::Facts(Vec::new()), "proof_begins_a_new_lineage");
        breaks(12, began("lost", 600_000), "quarantine_from_lineage_start");
    }

    #[test]
    fn holders_that_lose_their_seats_are_found() {
        use Ask::*;
        breaks(5, answered("known", Checkout, "1", "lease_ended"), "promise_survives");
        breaks(6, answered("lost", Shown, "2", "quarantine"), "promise_survives");
        breaks(9, answered("lost", Checkout, "2", "lease_ended"), "promise_survives");
        breaks(10, answered("lost", Release, "2", "quarantine"), "renewing_and_releasing_work");
    }

    #[test]
    fn a_seat_in_the_quarantine_and_a_quarantine_without_end_are_found() {
        use Ask::*;
        breaks(7, answered("new", Checkout, "2", "granted"), "restored_waits");
        breaks(11, answered("new", Checkout, "2", "granted"), "restored_waits");
        breaks(14, answered("new", Checkout, "2", "quarantine"), "quarantine_ends");
    }
}
