//! The hard state as a list of records: what a snapshot holds, and what replay, snapshots and standbys agree on byte for byte.

use std::sync::Arc;

use triquest_license::{FeatureName, LicenseHash, Words};

use crate::{
    Actor, Charge, ContentDigest, Denial, EndReason, EntitlementId, Epoch, EpochRecord, GrantedItem, Holder, Index, InstalledTerms,
    Instance, LeaseId, Lineage, Network, Networks, PoolId, RightEnd, Timestamp, VendorId, VerifierKeys,
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
        /// How long this epoch's start has ended ids remembered.
        remember_ms: u64,
        /// How long this epoch's start lets a waiter stay that does not ask.
        wait_ttl_ms: u64,
    },
    /// A finished epoch, oldest first.
    Epoch(EpochRecord),
    /// A vendor and its keys.
    Vendor {
        vendor: VendorId,
        name: String,
        keys: Vec<[u8; 32]>,
        /// It became part of this one, and some of its pools have not followed yet.
        into: Option<VendorId>,
    },
    /// A pool.
    Pool {
        pool: PoolId,
        vendor: VendorId,
        feature: FeatureName,
        /// It became part of this one when vendors merged: facts of before name it yet.
        into: Option<PoolId>,
    },
    /// An installed license.
    License {
        license: LicenseHash,
        note: Vec<u8>,
        terms: Arc<InstalledTerms>,
        /// What was wrong with its signatures at the last start.
        problem: Option<String>,
        vendor: VendorId,
        /// One pool for each of its entitlements that is understood. They are numbered from here by their position in the text.
        first_entitlement: EntitlementId,
        pools: Vec<PoolId>,
        actor: Actor,
        /// It was taken off, and is kept only until the last lease that names it has ended.
        removed: Option<RightEnd>,
        /// It was replaced and may come back, or says whether such a one does: after how many others of these.
        replaced: Option<u64>,
    },
    /// What is so of an entitlement beyond its text.
    Entitlement {
        entitlement: EntitlementId,
        /// When it came into force, in civil time (unix ms).
        began: Option<i64>,
        ended: Option<RightEnd>,
    },
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
        /// The time to live that its client asked for; none: what the license says.
        asked_ttl_ms: Option<u64>,
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
        /// The keys that its client's application embeds.
        embeds: VerifierKeys,
        /// Its id is counted for this network when it has ended.
        network: Option<Network>,
    },
    /// A released lease whose seats linger.
    Lingering {
        lease: LeaseId,
        items: Vec<GrantedItem>,
        until: Timestamp,
        /// The keys that its client's application embedded: the seats stay with licenses that one of them has signed.
        embeds: VerifierKeys,
    },
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
        /// The keys that its client's application embeds.
        embeds: VerifierKeys,
        /// The place is counted for this network.
        network: Option<Network>,
    },
    /// An id that is not live but must not grant again, or a denial that must be repeated the same.
    Remembered {
        lease: LeaseId,
        attempt: u32,
        /// The first four bytes of the content's digest; none if it was only released.
        content: Option<[u8; 4]>,
        denial: Option<Box<Denial>>,
        ended: Option<EndReason>,
        forget: Timestamp,
        /// It is counted for this network.
        network: Option<Network>,
    },
    /// Networks in which presence frees nothing early, and until when.
    PresenceOff { networks: Networks, until: Timestamp },
    /// Leases that were freed before their promise was over, which may be over-use: how many of those promises run until then.
    FreedEarly { until: Timestamp, leases: u64 },
    /// The words of kinds of records that the journal may hold, if any.
    Format { words: Words },
    /// The words that the client of a lease or waiter accepts.
    WordsAccepted { lease: LeaseId, words: Words },
}
