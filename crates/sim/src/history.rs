//! Whether the answers about each lease fit one order inside their request-answer intervals, found without a search.
//!
//! Every answer carries where in the server's history it was given. Sorted by that, none may lie before one that had ended before it was
//! asked; and along that order a model of five states must agree with each answer.

use std::collections::BTreeMap;

use triquest_allocator::LeaseId;

/// Where an answer was given: the epoch, the last entry that it depends on, and the how-many-eth answer it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Counts histories in the order of their beginning.
    pub lineage: u32,
    /// The start.
    pub epoch: u64,
    /// The pass of that start.
    pub pass: u64,
    /// The entry.
    pub index: u64,
    /// In the order of publishing.
    pub turn: u64,
}

/// What an answer says of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is live.
    Live,
    /// It waits.
    Waiting,
    /// This attempt was denied.
    Denied,
    /// It is over for good.
    Over,
    /// Nobody knows it.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    place: Place,
    asked_ms: u64,
    answered_ms: u64,
    attempt: Option<u32>,
    said: Said,
}

/// The five states of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    Unknown,
    Waiting,
    Held,
    Denied(u32),
    Over,
}

#[derive(Clone, Debug)]
struct Lease {
    operations: Vec<Operation>,
    /// What was folded away.
    state: Model,
    asked_before_ms: u64,
}

/// All answers, by lease.
#[derive(Clone, Debug, Default)]
pub struct History {
    leases: BTreeMap<LeaseId, Lease>,
}

/// A lease with so many answers is looked at and its older ones are folded away.
const OPERATIONS_MAX: usize = 256;
/// So many stay, for those that are still under way.
const OPERATIONS_KEPT: usize = 64;

impl History {
    /// An answer that left the server. `Err` describes the two that do not fit.
    ///
    /// # Errors
    /// What does not fit.
    pub fn answered(
        &mut self,
        lease: LeaseId,
        place: Place,
        asked_ms: u64,
        answered_ms: u64,
        attempt: Option<u32>,
        said: Said,
    ) -> Result<(), String> {
        let history =
            self.leases.entry(lease).or_insert_with(|| Lease { operations: Vec::new(), state: Model::Unknown, asked_before_ms: 0 });
        history.operations.push(Operation { place, asked_ms, answered_ms, attempt, said });
        if history.operations.len() >= OPERATIONS_MAX {
            return history.look(OPERATIONS_KEPT).map_err(|what| format!("{lease}: {what}"));
        }
        Ok(())
    }

    /// A lease that was taken over from lost history may live again.
    pub fn adopted(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
    }

    /// Ids of which nothing is remembered any more may be asked for as if they were new.
    pub fn retain(&mut self, remembered: impl Fn(LeaseId) -> bool) {
        self.leases.retain(|lease, _| remembered(*lease));
    }

    /// Another history begins: what was answered in the lost one binds nobody.
    pub fn forget(&mut self) {
        self.leases.clear();
    }

    /// Looks at all that is left.
    ///
    /// # Errors
    /// What does not fit.
    pub fn finish(&mut self) -> Result<(), String> {
        for (lease, history) in &mut self.leases {
            history.look(0).map_err(|what| format!("{lease}: {what}"))?;
        }
        self.leases.clear();
        Ok(())
    }
}

impl Lease {
    fn look(&mut self, keep: usize) -> Result<(), String> {
        self.operations.sort_by_key(|operation| operation.place);
        let fold = self.operations.len() - keep.min(self.operations.len());
        let mut state = self.state;
        let mut asked_before_ms = self.asked_before_ms;
        for (number, operation) in self.operations.iter().enumerate() {
            if number == fold {
                (self.state, self.asked_before_ms) = (state, asked_before_ms);
            }
            if operation.answered_ms < asked_before_ms {
                return Err(format!(
                    "{:?}, answered at {} ms, lies after one that was asked at {asked_before_ms} ms",
                    operation.said, operation.answered_ms
                ));
            }
            asked_before_ms = asked_before_ms.max(operation.asked_ms);
            state =
                state.next(operation).ok_or_else(|| format!("{:?} (attempt {:?}) after {state:?}", operation.said, operation.attempt))?;
        }
        if fold == self.operations.len() {
            (self.state, self.asked_before_ms) = (state, asked_before_ms);
        }
        self.operations.drain(..fold);
        Ok(())
    }
}

impl Model {
    fn next(self, operation: &Operation) -> Option<Self> {
        let attempt = operation.attempt;
        let later = |last: u32| attempt.is_none_or(|attempt| attempt > last);
        match (self, operation.said) {
            // Nothing lives after its end, and nothing that was held is denied or waits.
            (Self::Over, Said::Live | Said::Waiting | Said::Denied) | (Self::Held, Said::Waiting | Said::Denied | Said::Unknown) => None,
            (Self::Denied(last), Said::Live | Said::Waiting) if !later(last) => None,
            (Self::Denied(last), Said::Denied) if attempt.is_some_and(|attempt| attempt < last) => None,
            (_, Said::Live) => Some(Self::Held),
            (_, Said::Waiting) => Some(Self::Waiting),
            (_, Said::Denied) => Some(Self::Denied(attempt.unwrap_or(0))),
            (_, Said::Over) => Some(Self::Over),
            (state, Said::Unknown) => Some(state),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use triquest_allocator::LeaseId;

    use super::{History, Place, Said};

    fn place(turn: u64) -> Place {
        Place { lineage: 0, epoch: 1, pass: turn, index: turn, turn }
    }

    #[test]
    fn an_answer_that_lies_before_one_that_had_ended_before_it_was_asked_does_not_fit() {
        let lease = LeaseId([1; 16]);
        let mut history = History::default();
        history.answered(lease, place(2), 0, 10, Some(1), Said::Live).unwrap();
        history.answered(lease, place(1), 20, 30, None, Said::Live).unwrap();
        assert!(history.finish().is_err());
    }

    #[test]
    fn overlapping_answers_fit_in_the_order_of_their_places() {
        let lease = LeaseId([1; 16]);
        let mut history = History::default();
        history.answered(lease, place(2), 0, 30, Some(1), Said::Over).unwrap();
        history.answered(lease, place(1), 20, 25, Some(1), Said::Live).unwrap();
        history.finish().unwrap();
    }

    #[test]
    fn nothing_lives_after_its_end_and_a_denied_attempt_stays_denied() {
        let lease = LeaseId([1; 16]);
        for (first, then, attempt, fits) in [
            (Said::Over, Said::Live, Some(1), false),
            (Said::Denied, Said::Live, Some(1), false),
            (Said::Denied, Said::Live, Some(2), true),
            (Said::Waiting, Said::Denied, Some(1), true),
            (Said::Live, Said::Denied, Some(1), false),
        ] {
            let mut history = History::default();
            history.answered(lease, place(1), 0, 10, Some(1), first).unwrap();
            history.answered(lease, place(2), 20, 30, attempt, then).unwrap();
            assert_eq!(history.finish().is_ok(), fits, "{first:?} then {then:?}");
        }
    }
}
