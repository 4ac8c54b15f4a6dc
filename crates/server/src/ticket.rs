//! Who waits for an answer, and how to tell.

use tokio::sync::oneshot;
use triquest_allocator::Outcome;
use triquest_engine::{Origin, TookEffect, Why};

use crate::{
    accept::Conn,
    driver::{Answer, DriverError},
    gate::Denial,
};

/// Where one answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, DriverError>>;

/// Who waits. Kept small, for it is moved from queue to queue.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// For a request with several commands.
    Many(Reply<Vec<Result<Answer, DriverError>>>),
    /// For one command; the nonce is for the signed grant of a checkout or adoption.
    One(Reply<Answer>, Option<[u8; 32]>, Denial),
}

impl triquest_engine::Ticket for Ticket {
    fn is_gone(&self) -> bool {
        match self {
            Self::Many(reply) => reply.is_closed(),
            Self::One(reply, ..) => reply.is_closed(),
        }
    }
}

impl Ticket {
    /// What a checkout may be denied was charged before; this is what became of it.
    pub(crate) fn settle(&self, outcome: &Outcome) {
        if let (Self::One(.., denial), Outcome::Denied(_)) = (self, outcome) {
            denial.stays();
        }
    }

    /// Tells why there is no answer. Whoever has gone asks again with the same id.
    pub(crate) fn fail(self, why: Why) {
        // Of whoever has gone nothing was decided.
        if let Self::One(.., denial) = &self
            && !matches!(why, Why::Gone)
            && DriverError::from(why).took_effect() != TookEffect::No
        {
            denial.stays();
        }
        match self {
            Self::Many(reply) => drop(reply.send(Err(why.into()))),
            Self::One(reply, ..) => drop(reply.send(Err(why.into()))),
        }
    }
}

/// Where the requests of a connection come from.
pub(crate) fn origin(conn: &Conn) -> Origin {
    // The place in memory is one connection's for its life.
    Origin { network: conn.network(), connection: std::ptr::from_ref(conn) as usize as u64 }
}
