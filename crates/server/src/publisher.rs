//! Shows and answers what has become durable, in the order of the journal.

use std::{panic::AssertUnwindSafe, sync::Arc};

use tokio::sync::{mpsc, watch};
use triquest_allocator::{Grant, Outcome};
use triquest_engine::{
    Answers, Heard, Position,
    grants::{GrantSigner, Place, granted_in},
};
use triquest_journal::record::Entry;
use triquest_wire::trust::SignedGrant;

use crate::{
    config::Fault,
    driver::{Answer, panic_text},
    feed::{self, Feed},
    ticket::Ticket,
    view::View,
};

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

impl Publisher {
    pub(crate) async fn run(self, mut published: mpsc::UnboundedReceiver<Publish>) {
        while let Some(publish) = published.recv().await {
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| self.publish(publish))) {
                let message = format!("what is durable cannot be shown: {}", panic_text(&*panic));
                tracing::error!(message, "the server must stop");
                let hint = "start the server again, and report this with the log".to_owned();
                self.fault.send_replace(Some(Fault { message, hint }));
                return;
            }
        }
    }

    pub(crate) fn publish(&self, publish: Publish) {
        let Publish { entry, heard, answers } = publish;
        let mut here = None;
        if let Some(entry) = &entry {
            self.view.publish(entry, &heard);
            self.feed.publish(entry);
            here = Some(Place { lineage: entry.lineage, epoch: entry.epoch, index: entry.index });
        }
        // Grants of this entry share one signature; a grant of an older entry that is told again is a tree of its own.
        let mut leaves = Vec::new();
        for (ticket, answers) in &answers {
            if let (Some(here), Ticket::One(_, Some(nonce)), Answers::One(answer)) = (here, ticket, answers)
                && let Outcome::Granted(grant) = &answer.outcome
                && granted_in(grant, here)
            {
                leaves.push(self.signer.payload(grant, *nonce, here));
            }
        }
        let mut signed = here.map_or_else(Vec::new, |here| self.signer.sign(leaves, here)).into_iter();
        for (ticket, answers) in answers {
            match (ticket, answers) {
                (Ticket::One(reply, nonce), Answers::One(answer)) => {
                    let signed = match (&answer.outcome, nonce) {
                        (Outcome::Granted(grant), Some(nonce)) => match here {
                            Some(here) if granted_in(grant, here) => signed.next(),
                            _ => self.sign_again(grant, nonce, answer.position),
                        },
                        _ => None,
                    };
                    let _ = reply.send(Ok(Answer { outcome: answer.outcome, position: wire(answer.position), signed }));
                }
                (ticket, answers) => tell(ticket, answers),
            }
        }
    }

    /// The grant of an older entry, signed for whoever repeats its request.
    fn sign_again(&self, grant: &Grant, nonce: [u8; 32], position: Position) -> Option<SignedGrant> {
        self.signer.sign_again(grant, nonce, Place { lineage: position.lineage, epoch: position.epoch, index: position.index })
    }
}

/// Tells answers that need no signature.
pub(crate) fn tell(ticket: Ticket, answers: Answers) {
    let plain = |answer: triquest_engine::Answer| Answer { outcome: answer.outcome, position: wire(answer.position), signed: None };
    match (ticket, answers) {
        (Ticket::One(reply, _), Answers::One(answer)) => drop(reply.send(Ok(plain(answer)))),
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
        (Ticket::One(_, Some(_)), Answers::One(answer)) => !matches!(answer.outcome, Outcome::Granted(_)),
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
