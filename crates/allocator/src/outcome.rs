//! What the allocator answers.

use triquest_license::{FeatureName, LicenseHash, LicenseId, Version};

use crate::{EndReason, Epoch, Index, LeaseId, Timestamp};

/// One part of a grant, with the entitlements that its seats are charged to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantItem {
    /// The feature.
    pub feature: FeatureName,
    /// The application's version as asked.
    pub version: Option<Version>,
    /// Seats of this part.
    pub seats: u32,
    /// License text, the entitlement's position in it from 0, seats charged; the seats add up to `seats`.
    pub from: Vec<(LicenseHash, u16, u32)>,
}

/// A live lease as its holder is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which.
    pub lease: LeaseId,
    /// Lease time of the grant.
    pub granted_at: Timestamp,
    /// The entry that granted it; `None` if this very batch does, whose index the driver knows.
    pub granted_in: Option<(Epoch, Index)>,
    /// Time to live in milliseconds.
    pub ttl_ms: u64,
    /// What remains of the right now, in milliseconds.
    pub remaining_ms: u64,
    /// Grace that the vendor permits while no server answers, in milliseconds: the smallest of its parts.
    pub grace_ms: u64,
    /// Whether an orderly end of the presence connection may free the seats early.
    pub presence: bool,
    /// The parts.
    pub items: Vec<GrantItem>,
    /// The vendor's own data from the entitlements that it is charged to, in order, without repeats.
    pub vendor_data: Vec<String>,
}

/// The numbers of a pool, which obey `free + used + lingering + reserved_idle == total + over`, `free == 0 || over == 0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolNumbers {
    /// Seats of all entitlements in force.
    pub total: u64,
    /// Seats that leases hold.
    pub used: u64,
    /// Seats taken after release.
    pub lingering: u64,
    /// Seats set aside and not in use.
    pub reserved_idle: u64,
    /// Seats free.
    pub free: u64,
    /// Seats held beyond the total.
    pub over: u64,
    /// Waiters in line.
    pub queued: u64,
}

/// Why seats were denied; codes are stable, kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DenialCode {
    /// Every entitlement that would cover it has ended.
    Expired,
    /// The id is of a lease that has ended or was released.
    LeaseEnded,
    /// More seats than the pool (or the part of it that covers the version) has in all, or than the
    /// [`CHARGES_PER_PART_MAX`](crate::limits::CHARGES_PER_PART_MAX) largest of its entitlements have: waiting cannot help.
    MoreThanPool,
    /// The seats are in use.
    NoSeatFree,
    /// The license begins later.
    NotYetValid,
    /// The line is full.
    QueueFull,
    /// After a restore: only leases that show their grant are taken over until the quarantine ends.
    Quarantine,
    /// A limit of the server (leases, remembered ids) is reached.
    ServerFull,
    /// No license here has this feature of this vendor.
    UnknownFeature,
    /// No license here is signed by any of these keys.
    UnknownVendor,
    /// Seats exist, but for older versions only.
    VersionNotCovered,
    /// The wait ended without a seat.
    WaitOver,
    /// Every entitlement that would cover it needs words that the client does not accept.
    WordsNotAccepted,
}

/// A denial with its numbers. An outcome, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub code: DenialCode,
    /// The part of the checkout that failed first.
    pub feature: Option<FeatureName>,
    /// How many seats that part wanted.
    pub seats: u32,
    /// The pool's numbers when it was decided (all zero if there is no pool).
    pub pool: PoolNumbers,
    /// When a seat may come back at the earliest, in milliseconds from the decision: the first deadline or end of linger, or the end of the
    /// quarantine.
    pub first_due_ms: Option<u64>,
    /// Newest version covered, for `VersionNotCovered`.
    pub newest_version: Option<Version>,
    /// When it began or ended in civil time (unix ms), for `NotYetValid` and `Expired`; none if all was taken off before its last day.
    pub at_civil_ms: Option<i64>,
    /// What the machine's wall clock says (unix ms), for `NotYetValid` and `Expired` that were decided by another time because the clock is
    /// not followed: an administrator may accept it.
    pub clock_ms: Option<i64>,
}

/// A refusal: the request itself cannot be decided. Kept alphabetical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The same license is installed already.
    AlreadyInstalled(LicenseHash),
    /// The same counter with another nonce: two clients use one secret.
    ClonedClient,
    /// The license has ended.
    Expired(LicenseHash),
    /// Refused, and yet facts came of it, such as of a shown grant that proves that history was lost: whether this sending changed something is *unknown*
    /// to whoever asked.
    HadEffect(Box<Refusal>),
    /// The id is in use with other content.
    IdTaken,
    /// The license has been replaced by one that is in force, so there is nothing to do.
    Replaced {
        /// The license that replaced it.
        by: LicenseId,
        /// Its text.
        license: LicenseHash,
        /// Since when it is in force (unix ms).
        since_ms: i64,
    },
    /// Another text is installed under this vendor and license id and the new one does not replace it.
    LicenseIdTaken {
        /// The text that has the id.
        installed: LicenseHash,
    },
    /// The shown grant is charged to a license that is not installed here (any more): nothing can be taken over before it is.
    LicenseUnknown(LicenseHash),
    /// Too many pools, licenses or entitlements.
    LimitReached(&'static str),
    /// No wish that can be decided: zero seats, no item, a feature twice, a bound exceeded.
    Malformed(&'static str),
    /// There is no such thing to act upon now.
    NothingToDo(&'static str),
    /// It speaks of a history that is not the present one any more.
    OtherHistory,
    /// A renewal's counter went backwards.
    StaleCounter,
    /// A lower attempt than the last.
    StaleAttempt {
        /// The last attempt seen.
        last: u32,
    },
    /// Too many ids that are not live any more, or never were, are remembered for this network or for everybody.
    TooManyIds {
        /// When the first of them is forgotten at the latest, in milliseconds.
        retry_after_ms: u64,
    },
    /// No live lease and no memory of this id.
    UnknownLease,
    /// No such license.
    UnknownLicense,
}

impl Refusal {
    /// Why it was refused, whether or not something came of it.
    #[must_use]
    pub fn itself(&self) -> &Self {
        match self {
            Self::HadEffect(refusal) => refusal.itself(),
            refusal => refusal,
        }
    }
}

/// Where a license adds seats to those of others at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The feature.
    pub feature: FeatureName,
    /// Seats without the new license.
    pub before: u64,
    /// Seats with it.
    pub with: u64,
    /// Until when (unix ms), if it ends.
    pub until_ms: Option<i64>,
    /// The other licenses, each once.
    pub others: Vec<LicenseHash>,
}

/// What `decide` answers. Kept alphabetical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Seats denied, durably.
    Denied(Denial),
    /// Nothing to say (sweeps, presence).
    Done,
    /// The lease is ending or has ended; renewals stop.
    Ended {
        /// Why.
        reason: EndReason,
        /// How long the present promise still runs, 0 if it has run out.
        remaining_ms: u64,
    },
    /// The lease is live; so is a repeat's answer.
    Granted(Box<Grant>),
    /// A license was put into force, or waits for its day.
    Installed {
        /// The text.
        license: LicenseHash,
        /// It has not begun yet.
        waiting: bool,
        /// Texts that it replaced.
        replaced: Vec<LicenseHash>,
        /// Leases that are ending because of it; more may follow where it changes more than fits an entry.
        ending: u32,
        /// Pools where other licenses add to it at the same time.
        overlaps: Vec<Overlap>,
    },
    /// A lease was marked as ending, or ended.
    Reclaimed {
        /// How long until the seats are free, 0 if they are.
        remaining_ms: u64,
    },
    /// The epoch began.
    Recovered,
    /// The request was not decided and changed nothing.
    Refused(Refusal),
    /// Seats given back, now or before.
    Released {
        /// How long they linger, in milliseconds.
        linger_ms: u64,
        /// Why the lease had ended already, if not by its holder's release: then nothing was given back.
        ended: Option<EndReason>,
    },
    /// A license was taken off; its leases end at their present deadlines.
    Removed {
        /// Leases that are ending because of it.
        ending: u32,
    },
    /// The deadline moved.
    Renewed {
        /// What remains of the right, in milliseconds.
        remaining_ms: u64,
        /// The lease's charges changed since the grant, so the client should ask for a fresh grant (repeat its checkout).
        regrant: bool,
    },
    /// In line.
    Waiting {
        /// Place in line, from 1.
        place: u32,
        /// The pool's numbers.
        pool: PoolNumbers,
        /// The wait ends in so many milliseconds.
        gives_up_in_ms: u64,
        /// First deadline in the pool, in milliseconds from now.
        first_due_ms: Option<u64>,
    },
}
