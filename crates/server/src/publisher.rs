//! Shows and answers what has become durable, in the order of the journal.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc};

use crate::{
    config::Fault,
    driver::{Answer, panic_text},
    feed::{self, Feed},
    limits::PUBLISHED_AT_ONCE_MAX,
    ticket::{Reply, Ticket},
    view::View,
};
use tokio::sync::{mpsc, watch};
use triquest_allocator::Outcome;
use triquest_engine::{
    Answers, Heard, Position,
    grants::{GrantSigner, Place, granted_in},
};
use triquest_journal::record::Entry;

/// An entry that is durable, or none, with what depends on it.
pub(crate) struct Publish {
    pub(crate) entry: Option<Arc<Entry>>,
    pub(crate) heard: Vec<Heard>,
    pub(crate) answers: Vec<(Ticket, Answers)>,
}

pub(crate) struct Publisher {
    pub(crate) view: Arc<View>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) signer: GrantSigner,
    pub(crate) fault: Arc<watch::Sender<Option<Fault>>>,
}

/// Somebody who waits for a grant with its signature.
struct Asks {
    reply: Reply<Answer>,
    nonce: [u8; 32],
    answer: triquest_engine::Answer,
}

impl Publisher {
    pub(crate) async fn run(self, mut published: mpsc::UnboundedReceiver<Publish>) {
        let mut together = Vec::new();
        while published.recv_many(&mut together, PUBLISHED_AT_ONCE_MAX).await > 0 {
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| self.publish(together.drain(..)))) {
                let message = format!("what is durable cannot be shown: {}", panic_text(&*panic));
                tracing::error!(message, "the server must stop");
                let hint = "start the server again, and report this with the log".to_owned();
                self.fault.send_replace(Some(Fault { message, hint }));
                return;
            }
        }
    }

    /// Publishes what stands in the queue together. The grants of an entry share one signature. Grants of older entries that are told again come after
    /// all that is new, and share one for each place at which they are told: however many repeats come at once, each costs one leaf.
    pub(crate) fn publish(&self, together: impl IntoIterator<Item = Publish>) {
        let mut again: BTreeMap<Place, Vec<Asks>> = BTreeMap::new();
        for Publish { entry, heard, answers } in together {
            let mut here = None;
            if let Some(entry) = &entry {
                self.view.publish(entry, &heard);
                self.feed.publish(entry);
                here = Some(Place { lineage: entry.lineage, epoch: entry.epoch, index: entry.index });
            }
            let mut new = Vec::new();
            for (ticket, answers) in answers {
                match (ticket, answers) {
                    // A grant costs nothing of what may be denied.
                    (Ticket::One(reply, Some(nonce), denial), Answers::One(answer)) => match (&answer.outcome, here) {
                        // Whoever has gone asks again.
                        (Outcome::Granted(_), _) if reply.is_closed() => {}
                        (Outcome::Granted(grant), Some(here)) if granted_in(grant, here) => new.push(Asks { reply, nonce, answer }),
                        (Outcome::Granted(_), _) => {
                            let Position { lineage, epoch, index } = answer.position;
                            again.entry(Place { lineage, epoch, index }).or_default().push(Asks { reply, nonce, answer });
                        }
                        _ => tell(Ticket::One(reply, Some(nonce), denial), Answers::One(answer)),
                    },
                    (ticket, answers) => tell(ticket, answers),
                }
            }
            if let Some(here) = here {
                self.sign(new, here);
            }
        }
        for (place, asks) in again {
            self.sign(asks, place);
        }
    }

    /// Tells grants with their proofs, by one signature.
    fn sign(&self, asks: Vec<Asks>, at: Place) {
        let payload = |asks: &Asks| match &asks.answer.outcome {
            Outcome::Granted(grant) => self.signer.payload(grant, asks.nonce, at),
            _ => Vec::new(),
        };
        let signed = self.signer.sign(asks.iter().map(payload).collect(), at);
        for (Asks { reply, answer, .. }, signed) in asks.into_iter().zip(signed) {
            let _ = reply.send(Ok(Answer { outcome: answer.outcome, position: wire(answer.position), signed: Some(signed) }));
        }
    }
}

/// Tells answers that need no signature.
pub(crate) fn tell(ticket: Ticket, answers: Answers) {
    let plain = |answer: triquest_engine::Answer| Answer { outcome: answer.outcome, position: wire(answer.position), signed: None };
    match (ticket, answers) {
        (ticket @ Ticket::One(..), Answers::One(answer)) => {
            // Before it is told, so that whoever hears it finds it so.
            ticket.settle(&answer.outcome);
            if let Ticket::One(reply, ..) = ticket {
                drop(reply.send(Ok(plain(answer))));
            }
        }
        (Ticket::Many(reply), Answers::Many(answers)) => {
            let answers = answers.into_iter().map(|answer| answer.map(plain).map_err(Into::into)).collect();
            drop(reply.send(Ok(answers)));
        }
        // One ticket is asked for one command and the other for many, so this is nobody's answer.
        (Ticket::One(..), Answers::Many(_)) | (Ticket::Many(_), Answers::One(_)) => {}
    }
}

/// Whether an answer can be told without a signature.
pub(crate) fn is_plain(ticket: &Ticket, answers: &Answers) -> bool {
    match (ticket, answers) {
        (Ticket::One(_, Some(_), _), Answers::One(answer)) => !matches!(answer.outcome, Outcome::Granted(_)),
        _ => true,
    }
}

/// Whether it is about renewals alone: those leave at once, however far the publisher is.
pub(crate) fn only_renews(answers: &Answers) -> bool {
    let renews = |answer: &triquest_engine::Answer| matches!(answer.outcome, Outcome::Renewed { .. });
    match answers {
        Answers::Many(answers) => answers.iter().all(|answer| answer.as_ref().is_ok_and(renews)),
        Answers::One(answer) => renews(answer),
    }
}

fn wire(position: Position) -> triquest_wire::Position {
    feed::position(position.lineage, position.epoch, position.index)
}
