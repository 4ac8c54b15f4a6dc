//! Past-tense facts. What is kept is these, never the commands.

use std::sync::Arc;

use triquest_license::{FeatureName, LicenseHash, Version, Words};

use crate::{
    Actor, ContentDigest, Denial, EntitlementId, Epoch, Holder, Index, InstalledEntitlement, InstalledLeftOut, InstalledTerms, Instance,
    LeaseId, Lineage, Network, Networks, PoolId, Timestamp, VendorId, VerifierKeys,
};

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
        /// The time to live that its client asked for; none: what the license says.
        asked_ttl_ms: Option<u64>,
        shown: Vec<Charge>,
        /// The keys that its client's application embeds: it is charged only to licenses that one of them has signed.
        embeds: VerifierKeys,
        /// Its id is counted for this network when it has ended.
        network: Option<Network>,
    },
    /// A lease's charge went from one entitlement to another.
    ChargeMoved { lease: LeaseId, item: u8, from: EntitlementId, to: EntitlementId, seats: u32 },
    /// The wall clock was confirmed by an administrator.
    ClockAccepted { wall_ms: i64, actor: Actor },
    /// How far lease time and civil time have come (the entry's own header says it); keeps dead leases dying across restarts.
    ClockMarked,
    /// The wall clock made a step that is not followed by itself (ahead of or behind the time that is believed), or came back from one.
    ClockStepped { from_ms: i64, to_ms: i64, believed: bool },
    /// Seats denied. Remembered for the id until `forget`.
    Denied {
        lease: LeaseId,
        attempt: u32,
        content: ContentDigest,
        holder: Holder,
        vendor: Option<VendorId>,
        denial: Denial,
        /// The remembered id is counted for this network.
        network: Option<Network>,
    },
    /// Denials that left no record of their own, since a while: so many of these pools, and so many of others or of none.
    DenialsCounted { since: Timestamp, pools: Vec<(PoolId, u64)>, elsewhere: u64 },
    /// A waiter left the line. What it is told when it asks again is here too; nothing if it released its id.
    Dequeued { lease: LeaseId, reason: DequeueReason, denial: Option<Box<Denial>> },
    /// A lease will not be renewed and ends at `due`.
    Ending { lease: LeaseId, due: Timestamp, reason: EndReason, actor: Option<Actor> },
    /// A lease ended and its seats are free (or linger until `linger_until`). `items` is what it had, for readers; nothing is charged there
    /// any more.
    Ended {
        lease: LeaseId,
        due: Timestamp,
        reason: EndReason,
        linger_until: Option<Timestamp>,
        items: Vec<GrantedItem>,
        actor: Option<Actor>,
    },
    /// Entitlements of an installed license that were left out are understood by this version: one pool for each. They count from
    /// `EntitlementBegan` on.
    EntitlementsUnderstood {
        license: LicenseHash,
        entitlements: Vec<InstalledEntitlement>,
        left_out: Vec<InstalledLeftOut>,
        pools: Vec<PoolId>,
    },
    /// From here on there may be kinds of records that only versions which know these words can read.
    FormatRaised { words: Words },
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
        /// The time to live that its client asked for; none: what the license says. Where a license permits less for a while, this is what
        /// the lease goes back to.
        asked_ttl_ms: Option<u64>,
        /// Set for a waiter: it must ask by then.
        claim_due: Option<Timestamp>,
        /// The keys that its client's application embeds: it is charged only to licenses that one of them has signed.
        embeds: VerifierKeys,
        /// Its id is counted for this network when it has ended.
        network: Option<Network>,
    },
    /// The first renewal (or repeat) of a lease in this epoch.
    Heard { lease: LeaseId },
    /// The signatures of an installed license, checked at a start by that version's rules, have another verdict than before.
    LicenseChecked { license: LicenseHash, problem: Option<String> },
    /// A license was installed; its entitlements count from `EntitlementBegan` on. The note's own bytes are for those who verify it; what it
    /// says was parsed once, and is in `terms`.
    LicenseInstalled {
        license: LicenseHash,
        note: Vec<u8>,
        terms: Arc<InstalledTerms>,
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
    /// The seats of a released lease are free now; `items` says which.
    LingerEnded { lease: LeaseId, items: Vec<GrantedItem> },
    /// A pool appeared.
    PoolOpened { pool: PoolId, vendor: VendorId, feature: FeatureName },
    /// Pools of a vendor that became part of another, in portions: each with the pool that it is part of now, itself if the other vendor has
    /// none for its feature.
    PoolsMerged { from: VendorId, into: VendorId, pools: Vec<(PoolId, PoolId)> },
    /// An administrator lets presence free seats early again in these networks, and in all within them.
    PresenceAllowed { networks: Networks, actor: Actor },
    /// A client came back with its right running after its seats were freed by presence; turns early freeing off for these networks
    /// until then: its own or the wider one; all if there is no place to remember it, for as long as there is none. None: it came over this machine's own
    /// socket.
    PresenceRegretted { lease: LeaseId, networks: Option<Networks>, until: Timestamp },
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
        /// The keys that its client's application embeds: it is charged only to licenses that one of them has signed.
        embeds: VerifierKeys,
        /// The place is counted for this network.
        network: Option<Network>,
    },
    /// The quarantine of a new lineage ended: by itself, or because an administrator accepts that seats of lost history may be in use twice.
    QuarantineEnded { actor: Option<Actor> },
    /// Lost history may have promised for longer than was known when the lineage began.
    QuarantineLengthened { until: Timestamp },
    /// The wall clock was taken back to before the beginning of what had replaced these entitlements: they count again from their
    /// `EntitlementBegan` on, and the license is installed again if it was taken off for that.
    ReplacementUndone { license: LicenseHash, first_entitlement: EntitlementId, entitlements: Vec<EntitlementId> },
    /// A start or a takeover. How long it has ended ids remembered, and lets a waiter stay that does not ask, is part of it: another
    /// version may have other limits.
    Recovered {
        epoch: Epoch,
        instance: Instance,
        lineage: Lineage,
        quarantine_until: Option<Timestamp>,
        remember_ms: u64,
        wait_ttl_ms: u64,
    },
    /// The holder gave seats back (or the kernel did for a dead process); `items` says which.
    Released { lease: LeaseId, cause: ReleaseCause, linger_until: Option<Timestamp>, items: Vec<GrantedItem> },
    /// An id was released before it was known; it never grants.
    ReleasedUnknown {
        lease: LeaseId,
        /// The remembered id is counted for this network.
        network: Option<Network>,
    },
    /// A renewal told the client of a shorter time to live, which counts from here. No recovery, expiry or ending of the lease falls
    /// before `not_before`: until then an older, longer promise may still run.
    TtlLowered { lease: LeaseId, ttl_ms: u64, not_before: Timestamp },
    /// A lease may have a longer time to live again, as its client asked for it: a renewal wrote this, and answers that name the longer time
    /// leave when it is durable. Its floor stays.
    TtlRaised { lease: LeaseId, ttl_ms: u64 },
    /// A vendor appeared, or more keys became known as its own.
    VendorKeys { vendor: VendorId, name: String, keys: Vec<[u8; 32]> },
    /// Keys of two vendors co-signed one text: keys and licenses of `from` are of `into` now; its pools follow in [`Event::PoolsMerged`].
    VendorsMerged { from: VendorId, into: VendorId },
    /// The client of this lease knows these words. Precedes its grant, place in line or adoption.
    WordsAccepted { lease: LeaseId, words: Words },
    /// The first asking of a waiter in this epoch.
    WaiterHeard { lease: LeaseId },
}

impl Event {
    /// The word under which this kind of record came after version 1; none for those of version 1. The first record of such a kind follows
    /// [`Event::FormatRaised`] with its word, so that an older version that meets it can say what it lacks.
    #[must_use]
    pub const fn word(&self) -> Option<&'static str> {
        // No kind was added since version 1.
        None
    }

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
        fn key_bytes(keys: &VerifierKeys) -> usize {
            36 * keys.as_slice().len()
        }
        fn words_bytes(words: &Words) -> usize {
            words.iter().map(|word| word.as_str().len() + 2).sum()
        }
        const PLAIN: usize = 64;
        PLAIN
            + match self {
                Self::Adopted { holder: who, items: parts, shown, embeds, .. } => {
                    holder(who) + items(parts) + 12 * shown.len() + key_bytes(embeds) + 48
                }
                Self::Granted { holder: who, items: parts, embeds, .. } | Self::Queued { holder: who, items: parts, embeds, .. } => {
                    holder(who) + items(parts) + key_bytes(embeds) + 64
                }
                Self::Denied { holder: who, .. } => holder(who) + 256,
                Self::ClockAccepted { actor: who, .. } | Self::LicenseRemoved { actor: who, .. } => actor(who) + 40,
                Self::Ended { actor: who, items: parts, .. } => who.as_ref().map_or(0, actor) + items(parts),
                Self::Ending { actor: who, .. } | Self::QuarantineEnded { actor: who } => who.as_ref().map_or(0, actor),
                Self::LingerEnded { items: parts, .. } | Self::Released { items: parts, .. } => items(parts),
                Self::PresenceAllowed { actor: who, .. } => actor(who) + 16,
                Self::EntitlementsUnderstood { entitlements, left_out, pools, .. } => {
                    entitlements.iter().map(InstalledEntitlement::weight).sum::<usize>()
                        + left_out.iter().map(InstalledLeftOut::weight).sum::<usize>()
                        + 6 * pools.len()
                        + 64
                }
                Self::LicenseChecked { problem, .. } => problem.as_ref().map_or(0, String::len) + 40,
                Self::LicenseInstalled { note, terms, pools, actor: who, .. } => {
                    note.len() + terms.weight() + 6 * pools.len() + actor(who) + 64
                }
                Self::FormatRaised { words } | Self::WordsAccepted { words, .. } => words_bytes(words),
                Self::LineageBegan { .. } | Self::Recovered { .. } => 64,
                Self::PoolOpened { feature, .. } => feature.as_str().len(),
                Self::PresenceRegretted { .. } => 16,
                Self::VendorKeys { name, keys, .. } => name.len() + 36 * keys.len(),
                Self::Dequeued { denial, .. } => denial.as_ref().map_or(0, |_| 256),
                Self::PoolsMerged { pools, .. } => 12 * pools.len(),
                Self::DenialsCounted { pools, .. } => 16 * pools.len(),
                Self::ReplacementUndone { entitlements, .. } => 6 * entitlements.len() + 40,
                Self::ChargeMoved { .. }
                | Self::ClockMarked
                | Self::ClockStepped { .. }
                | Self::EntitlementBegan { .. }
                | Self::EntitlementEnded { .. }
                | Self::Forgot { .. }
                | Self::Heard { .. }
                | Self::LinesResumed { .. }
                | Self::QuarantineLengthened { .. }
                | Self::ReleasedUnknown { .. }
                | Self::TtlLowered { .. }
                | Self::TtlRaised { .. }
                | Self::VendorsMerged { .. }
                | Self::WaiterHeard { .. } => 0,
            }
    }
}
