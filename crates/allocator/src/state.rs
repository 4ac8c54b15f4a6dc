//! The hard state as a list of records: what a snapshot holds, and what replay, snapshots and standbys agree on byte for byte.

use triquest_license::{FeatureName, LicenseHash};

use crate::{
    Actor, Charge, ContentDigest, Denial, EndReason, EntitlementId, Epoch, EpochRecord, GrantedItem, Holder, Index, Instance, LeaseId,
    Lineage, PoolId, RightEnd, Timestamp, VendorId,
};

/// One record of the hard state. [`crate::Allocator::snapshot`] yields them in one canonical order (kind, then id), [`crate::Allocator::load`] takes them in that order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named after what they are; types and variants say the rest")]
pub enum StateRecord {
    /// Always the first.
    Head {
        lineage: Lineage,
        epoch: Epoch,
        /// The last entry folded in.
        index: Index,
        at: Timestamp,
        wall_ms: i64,
        quarantine_until: Option<Timestamp>,
        next_vendor: u32,
        next_pool: u32,
        next_entitlement: u32,
        /// The wall clock is not followed: what was believed when it was told, and what it said.
        clock_refused: Option<(i64, i64)>,
        forgotten_until: Timestamp,
        /// Of this epoch's start.
        instance: Instance,
        /// When the lineage began.
        lineage_since: Timestamp,
        /// The longest `ttl_max` of all licenses that were ever installed.
        ttl_max_seen_ms: u64,
    },
    /// A finished epoch, oldest first.
    Epoch(EpochRecord),
    /// A vendor and its keys.
    Vendor { vendor: VendorId, name: String, keys: Vec<[u8; 32]> },
    /// A pool.
    Pool { pool: PoolId, vendor: VendorId, feature: FeatureName },
    /// An installed license.
    License {
        license: LicenseHash,
        note: Vec<u8>,
        vendor: VendorId,
        /// One pool for each of its entitlements, which are numbered from here.
        first_entitlement: EntitlementId,
        pools: Vec<PoolId>,
        actor: Actor,
        /// It was taken off, and is kept only until the last lease that names it has ended.
        removed: Option<RightEnd>,
    },
    /// What is so of an entitlement beyond its text.
    Entitlement { entitlement: EntitlementId, began: bool, ended: Option<RightEnd> },
    /// A live lease. Its deadline is soft but for `ending` and `unheard_deadline`.
    Lease {
        lease: LeaseId,
        attempt: u32,
        content: ContentDigest,
        holder: Holder,
        items: Vec<GrantedItem>,
        granted_at: Timestamp,
        /// The same in civil time, unix milliseconds.
        granted_wall_ms: i64,
        granted_epoch: Epoch,
        granted_index: Index,
        ttl_ms: u64,
        linger_ms: u64,
        claim_due: Option<Timestamp>,
        /// The epoch in which it was last heard.
        heard: Epoch,
        /// For a lease not heard in this epoch: the deadline set at the last recovery (or at the grant).
        unheard_deadline: Timestamp,
        ending: Option<(Timestamp, EndReason)>,
        /// Its time to live was lowered: nothing ends before.
        not_before: Option<Timestamp>,
        /// What its shown grant was charged to, if it was taken over.
        adopted: Vec<Charge>,
    },
    /// A released lease whose seats linger.
    Lingering { lease: LeaseId, items: Vec<GrantedItem>, until: Timestamp },
    /// A waiter, in the order of the line.
    Waiter {
        lease: LeaseId,
        attempt: u32,
        content: ContentDigest,
        holder: Holder,
        items: Vec<GrantedItem>,
        ttl_ms: u64,
        linger_ms: u64,
        gives_up: Timestamp,
        order: u64,
        /// The epoch in which it last asked.
        heard: Epoch,
        /// For a waiter not heard in this epoch: when it leaves, as the last recovery set it.
        unheard_due: Timestamp,
    },
    /// An id that is not live but must not grant again, or a denial that must be repeated the same.
    Remembered {
        lease: LeaseId,
        attempt: u32,
        content: Option<ContentDigest>,
        denial: Option<Box<Denial>>,
        ended: Option<EndReason>,
        forget: Timestamp,
    },
    /// An address for which presence frees nothing early, and until when.
    PresenceOff { address: String, until: Timestamp },
}
