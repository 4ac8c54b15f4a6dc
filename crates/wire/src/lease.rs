//! Checkout, renewal, release, inspection, presence.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    Bytes16, Bytes32, Position, Problem, Retry, Secret, WordList, codes::open_codes, limits::LICENSES_SHOWN_MAX, strict::present,
    trust::SignedGrant,
};

/// One feature wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Name of the feature, as in the license.
    pub feature: String,
    /// The application's version, such as `12.4`; none is covered by any entitlement.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// At least 1.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub seats: u32,
}

/// Who asks, as the client says. The server adds what it observes and marks each field claimed or proved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HolderClaim {
    /// Account name.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Host name.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Display, terminal or console.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// Session kind: `local`, `ssh`, `rdp`, `x11`, `wayland`, `batch`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Container id or name.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// `pid` or `pid:name`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Batch job, such as `slurm:48213`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Project that the use is booked to.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// `POST /v1/leases`: take seats, or ask again with the same secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CheckoutRequest {
    /// Made by the client for this lease only.
    pub secret: Secret,
    /// Counts the client's attempts with this secret, from 1. The same attempt gets the same outcome.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub attempt: u32,
    /// Fresh in every message; stands in the signed grant.
    pub nonce: Bytes32,
    /// Public keys that the application embeds, 1 to 16.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 16))]
    pub vendor_keys: Vec<Bytes32>,
    /// All or none, 1 to 32, each feature once.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 32))]
    pub items: Vec<Item>,
    /// Words that the client knows: no seat comes from an entitlement that needs others. Unknown ones are no error.
    #[serde(default, skip_serializing_if = "WordList::is_empty")]
    pub accepts: WordList,
    /// Who asks.
    #[serde(default)]
    pub holder: HolderClaim,
    /// Wished time to live in milliseconds.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Wait in line for at most so long from the first asking, milliseconds.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// The highest position of this server that the client has seen.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub seen: Option<Position>,
    /// The last signed grant of this lease, shown with every checkout inside its promise: a server that was restored or rolled back takes
    /// the lease over. Where it cannot, the request is an ordinary checkout.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub shown: Option<SignedGrant>,
    /// The right of this lease had ended by the client's own clock, and it is back for the seat.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub regained: bool,
}

/// Answers a checkout. A denial is an outcome, not an error: status 200.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CheckoutAnswer {
    /// Seats denied.
    Denied {
        /// Where in history.
        position: Position,
        /// Why, with numbers.
        denial: Denial,
    },
    /// The lease has ended.
    Ended {
        /// Where in history.
        position: Position,
        /// Such as `expired`, `reclaimed`, `released`.
        reason: EndReason,
        /// `new_request` if a new lease may be asked for.
        #[serde(default = "Retry::later")]
        retry: Retry,
        /// The rest of the present promise, milliseconds.
        remaining_ms: u64,
    },
    /// Seats granted.
    Granted {
        /// Where in history.
        position: Position,
        /// The signed grant.
        #[serde(flatten)]
        grant: SignedGrant,
        /// What remains of the right counted from when the request was sent, milliseconds; authoritative.
        remaining_ms: u64,
        /// Licenses (as files) named by the grant that the trust answer may not have held; filled only when they changed since.
        #[serde(default, deserialize_with = "crate::strict::at_most::<LICENSES_SHOWN_MAX, _, _>", skip_serializing_if = "Vec::is_empty")]
        licenses: Vec<String>,
    },
    /// In line; ask again with the same attempt.
    Waiting {
        /// Where in history.
        position: Position,
        /// From 1.
        place: u32,
        /// The pool's numbers.
        pool: PoolNumbers,
        /// The wait ends in so many milliseconds.
        gives_up_in_ms: u64,
        /// First deadline in the pool, milliseconds from now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_due_ms: Option<u64>,
    },
}

open_codes! {
    /// Why a lease is ending or has ended. `retry` says whether a new lease may be asked for: nobody took it away on purpose.
    EndReason {
        /// A rule of the administrator shuts its holder out. No command of this version sets one.
        Excluded, "excluded", Never;
        /// No renewal came before its deadline.
        Expired, "expired", NewRequest;
        /// The last day of the license that it was charged to is over, and no other covers it.
        LicenseEnded, "license_ended", Never;
        /// An administrator removed the license that it was charged to, and no other covers it.
        LicenseRemoved, "license_removed", Never;
        /// The license that it was charged to was replaced by one that does not cover it, and no other does.
        LicenseReplaced, "license_replaced", Never;
        /// Its presence connection ended in order, as the kernel ends it when a process dies.
        Presence, "presence", NewRequest;
        /// An administrator took it back.
        Reclaimed, "reclaimed", Never;
        /// Its holder gave it back.
        Released, "released", Never;
        /// A waiter did not come for its seat in time.
        Unclaimed, "unclaimed", NewRequest;
    }
}

open_codes! {
    /// Why seats were denied.
    DenialCode {
        /// Every entitlement that would cover it has ended; `at` is when the last one did.
        Expired, "expired", Never;
        /// The id is of a lease that has ended or was released. It is never granted again.
        LeaseEnded, "lease_ended", NewRequest;
        /// More seats than there are in all for this version, or than one part of a lease can be charged to. Waiting cannot help.
        MoreThanPool, "more_than_pool", Never;
        /// All seats are in use; `first_due_ms` is when one may come back at the earliest.
        NoSeatFree, "no_seat_free", Later;
        /// The license begins later, at `at`.
        NotYetValid, "not_yet_valid", Later;
        /// The server was restored or rolled back: until the quarantine ends, after `first_due_ms`, only leases whose signed grants are shown are taken over.
        Quarantine, "quarantine", Later;
        /// The line is full, or this network's part of it or of all lines is.
        QueueFull, "queue_full", Later;
        /// The pool or the server has as many leases as it can carry.
        ServerFull, "server_full", Later;
        /// No license here that one of these keys signed has this feature.
        UnknownFeature, "unknown_feature", Never;
        /// No license here is signed by any of these keys.
        UnknownVendor, "unknown_vendor", Never;
        /// Seats exist for older versions only; `newest_version` is the newest that is covered.
        VersionNotCovered, "version_not_covered", Never;
        /// The wait ended without a seat, because it was over or because the waiter did not ask again in time.
        WaitOver, "wait_over", Later;
        /// Every entitlement that would cover it needs words that the client does not accept: a newer application may have the seat.
        WordsNotAccepted, "words_not_accepted", Never;
    }
}

impl DenialCode {
    /// Whether asking later may help without a new license.
    #[must_use]
    pub fn may_help_later(&self) -> bool {
        self.retry() == Retry::Later
    }
}

/// `free + used + lingering + reserved_idle == total + over`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolNumbers {
    /// Seats in force.
    pub total: u64,
    /// Held by leases.
    pub used: u64,
    /// Taken after release.
    pub lingering: u64,
    /// Set aside and idle.
    pub reserved_idle: u64,
    /// Free.
    pub free: u64,
    /// Held beyond the total.
    pub over: u64,
    /// Waiters in line.
    pub queued: u64,
}

/// A denial with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Denial {
    /// Why.
    pub code: DenialCode,
    /// Whether to ask again.
    #[serde(default = "Retry::later")]
    pub retry: Retry,
    /// The part that failed first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
    /// Seats wanted of it.
    pub seats: u32,
    /// The pool's numbers when it was decided.
    pub pool: PoolNumbers,
    /// When a seat may come back at the earliest, milliseconds from the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_due_ms: Option<u64>,
    /// Newest version covered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_version: Option<String>,
    /// When the right began or ended, RFC 3339, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// One sentence for people.
    pub message: String,
    /// One next step for people, empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// `POST /v1/leases/{lease}/renew`, and one member of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The lease's secret.
    pub secret: Secret,
    /// Fresh for each counter; a retry repeats both.
    pub nonce: Bytes16,
    /// Grows with each renewal.
    pub counter: u64,
    /// How long the application's user has been idle, milliseconds.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// The generation of the presence connection that stands for the lease now; absent if none does. Only by this word does the end of a
    /// presence connection free seats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<u64>,
    /// The right had ended by the client's own clock, and it is back for the seat.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub regained: bool,
    /// The highest position of this server that the client has seen.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub seen: Option<Position>,
}

/// Answers a renewal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RenewAnswer {
    /// No more renewals.
    Ended {
        /// Where in history.
        position: Position,
        /// Why.
        reason: EndReason,
        /// `new_request` if a new lease may be asked for.
        #[serde(default = "Retry::later")]
        retry: Retry,
        /// The rest of the present promise, milliseconds.
        remaining_ms: u64,
    },
    /// The deadline moved.
    Renewed {
        /// Where in history.
        position: Position,
        /// As asked, so that an old answer cannot pass for this one.
        nonce: Bytes16,
        /// As asked.
        counter: u64,
        /// What remains counted from when the request was sent, milliseconds.
        remaining_ms: u64,
        /// The charges changed: repeat the checkout (same attempt) for a fresh signed grant.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        regrant: bool,
    },
}

/// `POST /v1/renewals`: many leases of one host in one request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenewBatchRequest {
    /// 1 to [`crate::limits::RENEWALS_PER_REQUEST_MAX`].
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub renewals: Vec<RenewRequest>,
}

/// Answers a batch in the order asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenewBatchAnswer {
    /// One for each, in order.
    pub answers: Vec<RenewResult>,
    /// Why some were refused, each reason once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl RenewBatchAnswer {
    /// The problem of a refused renewal.
    #[must_use]
    pub fn problem(&self, result: &RenewResult) -> Option<&Problem> {
        match result {
            RenewResult::Refused { problem } => self.problems.get(usize::from(*problem)),
            RenewResult::Ended { .. } | RenewResult::Renewed { .. } => None,
        }
    }

    /// Adds one that was refused. The same reason is told once, with the latest time to ask again.
    pub fn refuse(&mut self, problem: Problem) {
        let reason = |problem: &Problem| (problem.code, problem.retry, problem.took_effect);
        let is_told = |told: &Problem| reason(told) == reason(&problem) && told.detail == problem.detail && told.hint == problem.hint;
        let told = self.problems.iter().position(is_told);
        let place = told.unwrap_or_else(|| {
            self.problems.push(problem.clone());
            self.problems.len() - 1
        });
        if let Some(told) = self.problems.get_mut(place) {
            told.retry_after_ms = told.retry_after_ms.max(problem.retry_after_ms);
        }
        let problem = u16::try_from(place).expect("a batch has at most RENEWALS_PER_REQUEST_MAX renewals");
        self.answers.push(RenewResult::Refused { problem });
    }
}

/// One result of a batch: as for one renewal, or refused for a reason that stands in `problems`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RenewResult {
    /// No more renewals.
    Ended {
        /// Where in history.
        position: Position,
        /// Why.
        reason: EndReason,
        /// `new_request` if a new lease may be asked for.
        #[serde(default = "Retry::later")]
        retry: Retry,
        /// The rest of the present promise, milliseconds.
        remaining_ms: u64,
    },
    /// Refused, as the answer to one renewal would be.
    Refused {
        /// Its place in `problems`, from 0.
        problem: u16,
    },
    /// The deadline moved.
    Renewed {
        /// Where in history.
        position: Position,
        /// As asked, so that an old answer cannot pass for this one.
        nonce: Bytes16,
        /// As asked.
        counter: u64,
        /// What remains counted from when the request was sent, milliseconds.
        remaining_ms: u64,
        /// The charges changed: repeat the checkout (same attempt) for a fresh signed grant.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        regrant: bool,
    },
}

impl From<RenewAnswer> for RenewResult {
    fn from(answer: RenewAnswer) -> Self {
        match answer {
            RenewAnswer::Ended { position, reason, retry, remaining_ms } => Self::Ended { position, reason, retry, remaining_ms },
            RenewAnswer::Renewed { position, nonce, counter, remaining_ms, regrant } => {
                Self::Renewed { position, nonce, counter, remaining_ms, regrant }
            }
        }
    }
}

/// A body that carries only the lease's secret: release and inspection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SecretRequest {
    /// The lease's secret.
    pub secret: Secret,
}

/// Answers a release; the same for a repeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseAnswer {
    /// Always `released`.
    pub outcome: ReleaseOutcome,
    /// Where in history.
    pub position: Position,
    /// How long the seats linger, milliseconds.
    pub linger_ms: u64,
    /// Why the lease had ended already, if not by its holder's release: then nothing was given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndReason>,
}

/// The one outcome of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReleaseOutcome {
    /// Given back.
    Released,
}

/// `POST /v1/presence`: this connection stands for the lives of these leases until its orderly end. The connection must be HTTP/1.1.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PresenceRequest {
    /// 1 to [`crate::limits::PRESENCE_LEASES_MAX`].
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub leases: Vec<SecretRequest>,
    /// Counts the client's presence connections, growing; each has its own. For a lease only the newest one that it entered frees seats, after a
    /// renewal that names it.
    pub generation: u64,
    /// The client's end of this connection as the client sees it, `address:port`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub client: SocketAddr,
    /// The server's end of this connection as the client sees it, `address:port`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub server: SocketAddr,
}

/// Answers a presence request, once; afterwards the server sends nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PresenceAnswer {
    /// Where in history.
    pub position: Position,
    /// Names this connection in requests that change it. Only its client is told.
    pub connection: Bytes16,
    /// How many of the leases are live.
    pub live: u32,
    /// What the connection's orderly end does.
    pub frees: Freeing,
}

/// What the orderly end of a presence connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Freeing {
    /// The administrator named this network: the seats are free 30 seconds later, unless the client is heard before.
    AfterWait,
    /// It frees the seats at once.
    AtOnce,
    /// Nothing: the server sees other addresses than the client, so something between them could end the connection in the client's place.
    Never,
}

/// `POST /v1/presence/change`, on any connection but that one: a presence connection stands for more leases, or for some no more. Its end counts for an
/// added lease only after a renewal of that lease which names the generation and was sent after the answer. A lease that was dropped can be added again
/// to a higher generation only. Repeating the request does nothing more.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PresenceChangeRequest {
    /// As the opening was told.
    pub connection: Bytes16,
    /// As the opening said.
    pub generation: u64,
    /// Leases that it stands for from now on. It never stands for more than [`crate::limits::PRESENCE_LEASES_MAX`].
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    pub add: Vec<SecretRequest>,
    /// Leases that it stands for no more.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    pub drop: Vec<SecretRequest>,
}

/// Answers a change of a presence connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PresenceChangeAnswer {
    /// Where in history.
    pub position: Position,
    /// How many of the added leases are live.
    pub live: u32,
}
