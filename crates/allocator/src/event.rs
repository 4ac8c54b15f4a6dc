//! Past-tense facts. What is kept is these, never the commands.

use triquest_license::{FeatureName, LicenseHash, Version};

use crate::{Actor, ContentDigest, Denial, EntitlementId, Epoch, Holder, Index, Instance, LeaseId, Lineage, PoolId, Timestamp, VendorId};

/// Seats of one lease's part charged to one entitlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Charge {
    /// To which.
    pub entitlement: EntitlementId,
    /// How many.
    pub seats: u32,
}

/// One part of a granted or queued lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedItem {
    /// The pool.
    pub pool: PoolId,
    /// The application's version.
    pub version: Option<Version>,
    /// Seats.
    pub seats: u32,
    /// Where they are charged; empty for a waiter.
    pub charges: Vec<Charge>,
}

/// Why a lease is ending or has ended. Kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndReason {
    /// A new rule shuts the holder out.
    Excluded,
    /// No renewal came.
    Expired,
    /// The entitlement's last day is over and no other covers the lease.
    LicenseEnded,
    /// The license was replaced and no other covers the lease.
    LicenseReplaced,
    /// The license was removed and no other covers the lease.
    LicenseRemoved,
    /// The presence connection ended in order.
    Presence,
    /// An administrator took it back.
    Reclaimed,
    /// The holder gave it back.
    Released,
    /// A waiter was granted a seat and did not come for it.
    Unclaimed,
}

/// What released a lease. Kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReleaseCause {
    /// The holder asked.
    Holder,
    /// FIN of the newest generation of its presence connection.
    Presence,
}

/// Why a waiter left the line. Kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DequeueReason {
    /// It can never be served now.
    Hopeless,
    /// It released its id.
    Released,
    /// It did not ask again in time.
    Silent,
    /// Its own wait ran out.
    WaitOver,
}

/// Why an entitlement stopped counting. Kept alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RightEnd {
    /// Its last day is over.
    Expired,
    /// The license was removed.
    Removed,
    /// Another license replaced it.
    Replaced,
}

/// A fact. Variants get frozen numbers in the journal's records, in the order of their invention; here they are alphabetical.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named after what they are; types and variants say the rest")]
pub enum Event {
    /// A lease of lost history was taken over; may raise `over`. `shown` is what its signed grant was charged to: the seats that live
    /// adopted leases show of an entitlement never exceed it.
    Adopted {
        lease: LeaseId,
        attempt: u32,
        content: ContentDigest,
        holder: Holder,
        items: Vec<GrantedItem>,
        ttl_ms: u64,
        linger_ms: u64,
        shown: Vec<Charge>,
    },
    /// The risk of seats granted or borrowed in lost history was accepted.
    BorrowLossAccepted { actor: Actor },
    /// A lease's charge went from one entitlement to another.
    ChargeMoved { lease: LeaseId, item: u8, from: EntitlementId, to: EntitlementId, seats: u32 },
    /// The wall clock was confirmed by an administrator.
    ClockAccepted { wall_ms: i64, actor: Actor },
    /// How far lease time and civil time have come (the entry's own header says it); keeps dead leases dying across restarts.
    ClockMarked,
    /// The wall clock made a step that is not followed by itself (ahead of or behind the time that is believed), or came back from one.
    ClockStepped { from_ms: i64, to_ms: i64, believed: bool },
    /// Seats denied. Remembered for the id until `forget`.
    Denied { lease: LeaseId, attempt: u32, content: ContentDigest, holder: Holder, vendor: Option<VendorId>, denial: Denial },
    /// A waiter left the line.
    Dequeued { lease: LeaseId, reason: DequeueReason },
    /// A lease will not be renewed and ends at `due`.
    Ending { lease: LeaseId, due: Timestamp, reason: EndReason, actor: Option<Actor> },
    /// A lease ended and its seats are free (or linger until `linger_until`).
    Ended { lease: LeaseId, due: Timestamp, reason: EndReason, linger_until: Option<Timestamp>, actor: Option<Actor> },
    /// An entitlement came into force.
    EntitlementBegan { entitlement: EntitlementId },
    /// An entitlement stopped counting.
    EntitlementEnded { entitlement: EntitlementId, reason: RightEnd },
    /// Remembered ids that nobody can repeat any more, in bulk: all whose memory ends at or before `until`.
    Forgot { until: Timestamp },
    /// Seats granted.
    Granted {
        lease: LeaseId,
        attempt: u32,
        content: ContentDigest,
        holder: Holder,
        items: Vec<GrantedItem>,
        ttl_ms: u64,
        linger_ms: u64,
        /// Set for a waiter: it must ask by then.
        claim_due: Option<Timestamp>,
    },
    /// The first renewal (or repeat) of a lease in this epoch.
    Heard { lease: LeaseId },
    /// A license was installed; its entitlements count from `EntitlementBegan` on. The note's own bytes, to be verified again when read back.
    LicenseInstalled {
        license: LicenseHash,
        note: Vec<u8>,
        vendor: VendorId,
        first_entitlement: EntitlementId,
        pools: Vec<PoolId>,
        actor: Actor,
    },
    /// A license was taken off; its entitlements ended before in the same entry.
    LicenseRemoved { license: LicenseHash, reason: RightEnd, actor: Actor },
    /// A signed grant of the present lineage proved that entries of it are lost: a new lineage begins here, and its quarantine. The rest
    /// says which lease showed what.
    LineageBegan { lineage: Lineage, quarantine_until: Timestamp, lease: LeaseId, epoch: Epoch, instance: Instance, index: Index },
    /// The disk has room again, so lines go on: who waits has its full time to ask again, and seats that were granted to waiters wait to
    /// be claimed at least until `claim_due`.
    LinesResumed { claim_due: Timestamp },
    /// The seats of a released lease are free now.
    LingerEnded { lease: LeaseId },
    /// A pool appeared.
    PoolOpened { pool: PoolId, vendor: VendorId, feature: FeatureName },
    /// An administrator lets presence free seats early again for an address.
    PresenceAllowed { address: String, actor: Actor },
    /// A client came back with its right running after its seats were freed by presence; turns early freeing off for its address until
    /// then.
    PresenceRegretted { lease: LeaseId, address: Option<String>, until: Timestamp },
    /// A waiter got its place in line; order is the order of these events.
    Queued {
        lease: LeaseId,
        attempt: u32,
        content: ContentDigest,
        holder: Holder,
        items: Vec<GrantedItem>,
        ttl_ms: u64,
        linger_ms: u64,
        gives_up: Timestamp,
    },
    /// The quarantine of a new lineage ended: by itself, or because an administrator said so.
    QuarantineEnded { actor: Option<Actor> },
    /// Lost history may have promised for longer than was known when the lineage began.
    QuarantineLengthened { until: Timestamp },
    /// A start or a takeover.
    Recovered { epoch: Epoch, instance: Instance, lineage: Lineage, quarantine_until: Option<Timestamp> },
    /// The holder gave seats back (or the kernel did for a dead process).
    Released { lease: LeaseId, cause: ReleaseCause, linger_until: Option<Timestamp> },
    /// An id was released before it was known; it never grants.
    ReleasedUnknown { lease: LeaseId },
    /// A renewal told the client of a shorter time to live, which counts from here. No recovery, expiry or ending of the lease falls
    /// before `not_before`: until then an older, longer promise may still run.
    TtlLowered { lease: LeaseId, ttl_ms: u64, not_before: Timestamp },
    /// A vendor appeared, or more keys became known as its own.
    VendorKeys { vendor: VendorId, name: String, keys: Vec<[u8; 32]> },
    /// Keys of two vendors co-signed one text: `from` and all its pools are `into` now.
    VendorsMerged { from: VendorId, into: VendorId, pools: Vec<(PoolId, PoolId)> },
    /// The first asking of a waiter in this epoch.
    WaiterHeard { lease: LeaseId },
}

impl Event {
    /// Bytes that the event may take in an entry, estimated from above: entries are closed by it.
    #[must_use]
    pub fn weight(&self) -> usize {
        fn holder(holder: &Holder) -> usize {
            let claims = [
                &holder.user,
                &holder.host,
                &holder.display,
                &holder.session,
                &holder.address,
                &holder.container,
                &holder.process,
                &holder.job,
                &holder.project,
            ];
            claims.into_iter().flatten().map(|claim| claim.value.len() + 8).sum()
        }
        fn items(items: &[GrantedItem]) -> usize {
            items.iter().map(|item| 48 + 12 * item.charges.len()).sum()
        }
        fn actor(actor: &Actor) -> usize {
            actor.name.len() + actor.reason.len() + 12
        }
        const PLAIN: usize = 64;
        PLAIN
            + match self {
                Self::Adopted { holder: who, items: parts, shown, .. } => holder(who) + items(parts) + 12 * shown.len() + 48,
                Self::Granted { holder: who, items: parts, .. } | Self::Queued { holder: who, items: parts, .. } => {
                    holder(who) + items(parts) + 64
                }
                Self::Denied { holder: who, .. } => holder(who) + 256,
                Self::BorrowLossAccepted { actor: who }
                | Self::ClockAccepted { actor: who, .. }
                | Self::LicenseRemoved { actor: who, .. } => actor(who) + 40,
                Self::Ended { actor: who, .. } | Self::Ending { actor: who, .. } | Self::QuarantineEnded { actor: who } => {
                    who.as_ref().map_or(0, actor)
                }
                Self::PresenceAllowed { address, actor: who } => address.len() + actor(who),
                Self::LicenseInstalled { note, pools, actor: who, .. } => note.len() + 6 * pools.len() + actor(who) + 64,
                Self::LineageBegan { .. } | Self::Recovered { .. } => 64,
                Self::PoolOpened { feature, .. } => feature.as_str().len(),
                Self::PresenceRegretted { address, .. } => address.as_ref().map_or(0, String::len),
                Self::VendorKeys { name, keys, .. } => name.len() + 36 * keys.len(),
                Self::VendorsMerged { pools, .. } => 12 * pools.len(),
                Self::ChargeMoved { .. }
                | Self::ClockMarked
                | Self::ClockStepped { .. }
                | Self::Dequeued { .. }
                | Self::EntitlementBegan { .. }
                | Self::EntitlementEnded { .. }
                | Self::Forgot { .. }
                | Self::Heard { .. }
                | Self::LinesResumed { .. }
                | Self::LingerEnded { .. }
                | Self::QuarantineLengthened { .. }
                | Self::Released { .. }
                | Self::ReleasedUnknown { .. }
                | Self::TtlLowered { .. }
                | Self::WaiterHeard { .. } => 0,
            }
    }
}
