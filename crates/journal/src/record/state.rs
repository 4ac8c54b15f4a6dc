//! Records of the hard state, for snapshots. Numbers are frozen, as for events.

use minicbor::bytes::ByteSlice;
use minicbor::{Decode, Encode};
use triquest_allocator::{
    Denial, EntitlementId, Epoch, EpochRecord, Index, Instance, Lineage, PoolId, StateRecord, Timestamp, VendorId, VerifierKeys,
};

use super::event::{content, keys, lease, license, plain_keys};
use super::parts::{
    ActorRecord, Bytes4, Bytes16, Bytes32, DenialRecord, HolderRecord, ItemRecord, NetworkRecord, NetworksRecord, PairRecord, TermsRecord,
    TimesRecord, charge_pairs, end_reason, feature, granted_items, is_empty, is_zero, items, plain_charges, right_end, word_texts, words,
};

/// A fixed end of a lease.
#[derive(Encode, Decode)]
pub(super) struct EndingRecord {
    #[n(0)]
    due: u64,
    #[n(1)]
    reason: u8,
}

/// One record of the hard state, in the order of invention.
#[derive(Encode, Decode)]
pub(super) enum SnapshotRecord<'a> {
    #[n(1)]
    Head {
        #[n(0)]
        lineage: Bytes16,
        #[n(1)]
        epoch: u64,
        #[n(2)]
        index: u64,
        #[n(3)]
        at: u64,
        #[n(4)]
        wall_ms: i64,
        #[n(5)]
        next_vendor: u32,
        #[n(6)]
        next_pool: u32,
        #[n(7)]
        next_entitlement: u32,
        #[n(8)]
        forgotten_until: u64,
        /// Absent: no quarantine.
        #[n(9)]
        quarantine_until: Option<u64>,
        /// Absent: the clock is followed. What was believed, and what the clock said.
        #[n(10)]
        clock_refused: Option<TimesRecord>,
        #[n(11)]
        instance: Bytes16,
        #[n(12)]
        lineage_since: u64,
        #[n(13)]
        ttl_max_seen_ms: u64,
        #[n(14)]
        remember_ms: u64,
        #[n(15)]
        wait_ttl_ms: u64,
    },
    #[n(2)]
    Vendor {
        #[n(0)]
        vendor: u32,
        #[b(1)]
        name: &'a str,
        #[n(2)]
        keys: Vec<Bytes32>,
        /// Absent: it is a vendor of its own.
        #[n(3)]
        into: Option<u32>,
    },
    #[n(3)]
    Pool {
        #[n(0)]
        pool: u32,
        #[n(1)]
        vendor: u32,
        #[b(2)]
        feature: &'a str,
        /// Absent: it is a pool of its own.
        #[n(3)]
        into: Option<u32>,
    },
    #[n(4)]
    License {
        #[n(0)]
        license: Bytes32,
        #[b(1)]
        note: &'a ByteSlice,
        #[n(2)]
        vendor: u32,
        #[n(3)]
        first_entitlement: u32,
        #[n(4)]
        pools: Vec<u32>,
        #[b(5)]
        actor: ActorRecord<'a>,
        #[n(7)]
        terms: TermsRecord,
        /// Absent: its signatures are good.
        #[b(8)]
        problem: Option<&'a str>,
        /// Absent: it is installed.
        #[n(6)]
        removed: Option<u8>,
        /// Absent: it does not come back.
        #[n(9)]
        replaced: Option<u64>,
    },
    #[n(5)]
    Entitlement {
        #[n(0)]
        entitlement: u32,
        /// Absent: it has not begun.
        #[n(1)]
        began: Option<i64>,
        /// Absent: it has not ended.
        #[n(2)]
        ended: Option<u8>,
    },
    #[n(6)]
    Lease {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        attempt: u32,
        #[n(2)]
        content: Bytes16,
        #[b(3)]
        holder: HolderRecord<'a>,
        #[n(4)]
        items: Vec<ItemRecord>,
        #[n(5)]
        granted_at: u64,
        #[n(6)]
        granted_epoch: u64,
        #[n(7)]
        granted_index: u64,
        #[n(8)]
        ttl_ms: u64,
        #[n(9)]
        heard: u64,
        #[n(10)]
        unheard_deadline: u64,
        /// Absent: 0.
        #[cbor(n(11), skip_if = "is_zero")]
        linger_ms: u64,
        /// Absent: nobody has to claim it.
        #[n(12)]
        claim_due: Option<u64>,
        /// Absent: it goes on.
        #[n(13)]
        ending: Option<EndingRecord>,
        #[n(14)]
        granted_wall_ms: i64,
        /// Absent: its time to live was never lowered.
        #[n(15)]
        not_before: Option<u64>,
        /// Absent: it was granted, not taken over.
        #[cbor(n(16), skip_if = "is_empty")]
        adopted: Vec<PairRecord>,
        /// Absent: this machine's own socket.
        #[n(17)]
        network: Option<NetworkRecord>,
        /// Absent: what the license says.
        #[n(18)]
        asked_ttl_ms: Option<u64>,
        /// The keys that its client's application embeds.
        #[n(19)]
        embeds: Vec<Bytes32>,
    },
    #[n(7)]
    Lingering {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        items: Vec<ItemRecord>,
        #[n(2)]
        until: u64,
        /// The keys that its client's application embeds.
        #[n(3)]
        embeds: Vec<Bytes32>,
    },
    #[n(8)]
    Waiter {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        attempt: u32,
        #[n(2)]
        content: Bytes16,
        #[b(3)]
        holder: HolderRecord<'a>,
        #[n(4)]
        items: Vec<ItemRecord>,
        #[n(5)]
        ttl_ms: u64,
        #[n(6)]
        gives_up: u64,
        #[n(7)]
        order: u64,
        /// Absent: 0.
        #[cbor(n(8), skip_if = "is_zero")]
        linger_ms: u64,
        #[n(9)]
        heard: u64,
        #[n(10)]
        unheard_due: u64,
        /// Absent: this machine's own socket.
        #[n(11)]
        network: Option<NetworkRecord>,
        /// The keys that its client's application embeds.
        #[n(12)]
        embeds: Vec<Bytes32>,
    },
    #[n(9)]
    Remembered {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        attempt: u32,
        #[n(2)]
        forget: u64,
        /// Absent: never asked for, only released.
        #[n(3)]
        content: Option<Bytes4>,
        /// Absent: not a denial.
        #[b(4)]
        denial: Option<DenialRecord<'a>>,
        /// Absent: not an ended lease.
        #[n(5)]
        ended: Option<u8>,
        /// Absent: this machine's own socket.
        #[n(6)]
        network: Option<NetworkRecord>,
    },
    #[n(10)]
    PresenceOff {
        #[n(0)]
        networks: NetworksRecord,
        #[n(1)]
        until: u64,
    },
    #[n(11)]
    Epoch {
        #[n(0)]
        lineage: Bytes16,
        #[n(1)]
        epoch: u64,
        #[n(2)]
        instance: Bytes16,
        #[n(3)]
        last: u64,
    },
    #[n(12)]
    Format {
        #[n(0)]
        words: Vec<String>,
    },
    #[n(13)]
    WordsAccepted {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        words: Vec<String>,
    },
    #[n(14)]
    FreedEarly {
        #[n(0)]
        until: u64,
        #[n(1)]
        leases: u64,
    },
}

impl<'a> From<&'a StateRecord> for SnapshotRecord<'a> {
    fn from(record: &'a StateRecord) -> Self {
        match record {
            StateRecord::Head {
                lineage,
                epoch,
                index,
                at,
                wall_ms,
                quarantine_until,
                next_vendor,
                next_pool,
                next_entitlement,
                clock_refused,
                forgotten_until,
                instance,
                lineage_since,
                ttl_max_seen_ms,
                remember_ms,
                wait_ttl_ms,
            } => Self::Head {
                lineage: lineage.0.into(),
                epoch: epoch.0,
                index: index.0,
                at: at.0,
                wall_ms: *wall_ms,
                next_vendor: *next_vendor,
                next_pool: *next_pool,
                next_entitlement: *next_entitlement,
                forgotten_until: forgotten_until.0,
                quarantine_until: quarantine_until.map(|until| until.0),
                clock_refused: clock_refused.map(|(first, second)| TimesRecord { first, second }),
                instance: instance.0.into(),
                lineage_since: lineage_since.0,
                ttl_max_seen_ms: *ttl_max_seen_ms,
                remember_ms: *remember_ms,
                wait_ttl_ms: *wait_ttl_ms,
            },
            StateRecord::Epoch(EpochRecord { lineage, epoch, instance, last }) => {
                Self::Epoch { lineage: lineage.0.into(), epoch: epoch.0, instance: instance.0.into(), last: last.0 }
            }
            StateRecord::Vendor { vendor, name, keys: bytes, into } => {
                Self::Vendor { vendor: vendor.0, name, keys: keys(bytes), into: into.map(|into| into.0) }
            }
            StateRecord::Pool { pool, vendor, feature, into } => {
                Self::Pool { pool: pool.0, vendor: vendor.0, feature: feature.as_str(), into: into.map(|into| into.0) }
            }
            StateRecord::Format { words } => Self::Format { words: word_texts(words) },
            StateRecord::WordsAccepted { lease, words } => Self::WordsAccepted { lease: lease.0.into(), words: word_texts(words) },
            StateRecord::License { license, note, terms, problem, vendor, first_entitlement, pools, actor, removed, replaced } => {
                Self::License {
                    replaced: *replaced,
                    terms: (&**terms).into(),
                    problem: problem.as_deref(),
                    license: (*license.as_bytes()).into(),
                    note: note.as_slice().into(),
                    vendor: vendor.0,
                    first_entitlement: first_entitlement.0,
                    pools: pools.iter().map(|pool| pool.0).collect(),
                    actor: actor.into(),
                    removed: removed.map(right_end::code),
                }
            }
            StateRecord::Entitlement { entitlement, began, ended } => {
                Self::Entitlement { entitlement: entitlement.0, began: *began, ended: ended.map(right_end::code) }
            }
            StateRecord::Lease {
                lease,
                attempt,
                content,
                holder,
                items: parts,
                granted_at,
                granted_wall_ms,
                granted_epoch,
                granted_index,
                ttl_ms,
                linger_ms,
                asked_ttl_ms,
                claim_due,
                heard,
                unheard_deadline,
                ending,
                not_before,
                adopted,
                embeds,
                network,
            } => Self::Lease {
                asked_ttl_ms: *asked_ttl_ms,
                lease: lease.0.into(),
                attempt: *attempt,
                content: content.0.into(),
                holder: holder.into(),
                items: items(parts),
                granted_at: granted_at.0,
                granted_epoch: granted_epoch.0,
                granted_index: granted_index.0,
                ttl_ms: *ttl_ms,
                heard: heard.0,
                unheard_deadline: unheard_deadline.0,
                linger_ms: *linger_ms,
                claim_due: claim_due.map(|due| due.0),
                ending: ending.map(|(due, reason)| EndingRecord { due: due.0, reason: end_reason::code(reason) }),
                granted_wall_ms: *granted_wall_ms,
                not_before: not_before.map(|time| time.0),
                adopted: charge_pairs(adopted),
                embeds: keys(embeds.as_slice()),
                network: network.map(NetworkRecord),
            },
            StateRecord::Lingering { lease, items: parts, until, embeds } => {
                Self::Lingering { lease: lease.0.into(), items: items(parts), until: until.0, embeds: keys(embeds.as_slice()) }
            }
            StateRecord::Waiter {
                lease,
                attempt,
                content,
                holder,
                items: parts,
                ttl_ms,
                linger_ms,
                gives_up,
                order,
                heard,
                unheard_due,
                embeds,
                network,
            } => Self::Waiter {
                heard: heard.0,
                unheard_due: unheard_due.0,
                embeds: keys(embeds.as_slice()),
                network: network.map(NetworkRecord),
                lease: lease.0.into(),
                attempt: *attempt,
                content: content.0.into(),
                holder: holder.into(),
                items: items(parts),
                ttl_ms: *ttl_ms,
                gives_up: gives_up.0,
                order: *order,
                linger_ms: *linger_ms,
            },
            StateRecord::Remembered { lease, attempt, content, denial, ended, forget, network } => Self::Remembered {
                lease: lease.0.into(),
                attempt: *attempt,
                forget: forget.0,
                content: content.map(Bytes4::from),
                denial: denial.as_deref().map(DenialRecord::from),
                ended: ended.map(end_reason::code),
                network: network.map(NetworkRecord),
            },
            StateRecord::PresenceOff { networks, until } => Self::PresenceOff { networks: NetworksRecord(*networks), until: until.0 },
            StateRecord::FreedEarly { until, leases } => Self::FreedEarly { until: until.0, leases: *leases },
        }
    }
}

impl TryFrom<SnapshotRecord<'_>> for StateRecord {
    type Error = String;

    fn try_from(record: SnapshotRecord<'_>) -> Result<Self, String> {
        Ok(match record {
            SnapshotRecord::Head {
                lineage,
                epoch,
                index,
                at,
                wall_ms,
                next_vendor,
                next_pool,
                next_entitlement,
                forgotten_until,
                quarantine_until,
                clock_refused,
                instance,
                lineage_since,
                ttl_max_seen_ms,
                remember_ms,
                wait_ttl_ms,
            } => Self::Head {
                lineage: Lineage(lineage.into()),
                epoch: Epoch(epoch),
                index: Index(index),
                at: Timestamp(at),
                wall_ms,
                quarantine_until: quarantine_until.map(Timestamp),
                next_vendor,
                next_pool,
                next_entitlement,
                clock_refused: clock_refused.map(|times| (times.first, times.second)),
                forgotten_until: Timestamp(forgotten_until),
                instance: Instance(instance.into()),
                lineage_since: Timestamp(lineage_since),
                ttl_max_seen_ms,
                remember_ms,
                wait_ttl_ms,
            },
            SnapshotRecord::Epoch { lineage, epoch, instance, last } => Self::Epoch(EpochRecord {
                lineage: Lineage(lineage.into()),
                epoch: Epoch(epoch),
                instance: Instance(instance.into()),
                last: Index(last),
            }),
            SnapshotRecord::Vendor { vendor, name, keys, into } => {
                Self::Vendor { vendor: VendorId(vendor), name: name.to_owned(), keys: plain_keys(keys), into: into.map(VendorId) }
            }
            SnapshotRecord::Pool { pool, vendor, feature: name, into } => {
                Self::Pool { pool: PoolId(pool), vendor: VendorId(vendor), feature: feature(name)?, into: into.map(PoolId) }
            }
            SnapshotRecord::Format { words: texts } => Self::Format { words: words(&texts)? },
            SnapshotRecord::WordsAccepted { lease: id, words: texts } => Self::WordsAccepted { lease: lease(id), words: words(&texts)? },
            SnapshotRecord::License { license: hash, note, terms, problem, vendor, first_entitlement, pools, actor, removed, replaced } => {
                Self::License {
                    replaced,
                    terms: std::sync::Arc::new(terms.try_into()?),
                    problem: problem.map(str::to_owned),
                    license: license(hash),
                    note: note.to_vec(),
                    vendor: VendorId(vendor),
                    first_entitlement: EntitlementId(first_entitlement),
                    pools: pools.into_iter().map(PoolId).collect(),
                    actor: actor.into(),
                    removed: removed.map(right_end::kind).transpose()?,
                }
            }
            SnapshotRecord::Entitlement { entitlement, began, ended } => {
                Self::Entitlement { entitlement: EntitlementId(entitlement), began, ended: ended.map(right_end::kind).transpose()? }
            }
            SnapshotRecord::Lease {
                lease: id,
                attempt,
                content: digest,
                holder,
                items,
                granted_at,
                granted_epoch,
                granted_index,
                ttl_ms,
                heard,
                unheard_deadline,
                linger_ms,
                claim_due,
                ending,
                granted_wall_ms,
                not_before,
                adopted,
                embeds,
                network,
                asked_ttl_ms,
            } => Self::Lease {
                asked_ttl_ms,
                granted_wall_ms,
                not_before: not_before.map(Timestamp),
                adopted: plain_charges(adopted),
                lease: lease(id),
                attempt,
                content: content(digest),
                holder: holder.into(),
                items: granted_items(items),
                granted_at: Timestamp(granted_at),
                granted_epoch: Epoch(granted_epoch),
                granted_index: Index(granted_index),
                ttl_ms,
                linger_ms,
                claim_due: claim_due.map(Timestamp),
                heard: Epoch(heard),
                unheard_deadline: Timestamp(unheard_deadline),
                ending: ending
                    .map(|EndingRecord { due, reason }| Ok::<_, String>((Timestamp(due), end_reason::kind(reason)?)))
                    .transpose()?,
                embeds: VerifierKeys::of(&plain_keys(embeds)),
                network: network.map(|network| network.0),
            },
            SnapshotRecord::Lingering { lease: id, items, until, embeds } => {
                let embeds = VerifierKeys::of(&plain_keys(embeds));
                Self::Lingering { lease: lease(id), items: granted_items(items), until: Timestamp(until), embeds }
            }
            SnapshotRecord::Waiter {
                lease: id,
                attempt,
                content: digest,
                holder,
                items,
                ttl_ms,
                gives_up,
                order,
                linger_ms,
                heard,
                unheard_due,
                embeds,
                network,
            } => Self::Waiter {
                heard: Epoch(heard),
                unheard_due: Timestamp(unheard_due),
                embeds: VerifierKeys::of(&plain_keys(embeds)),
                network: network.map(|network| network.0),
                lease: lease(id),
                attempt,
                content: content(digest),
                holder: holder.into(),
                items: granted_items(items),
                ttl_ms,
                linger_ms,
                gives_up: Timestamp(gives_up),
                order,
            },
            SnapshotRecord::Remembered { lease: id, attempt, forget, content, denial, ended, network } => Self::Remembered {
                lease: lease(id),
                attempt,
                content: content.map(<[u8; 4]>::from),
                denial: denial.map(|denial| Denial::try_from(denial).map(Box::new)).transpose()?,
                ended: ended.map(end_reason::kind).transpose()?,
                forget: Timestamp(forget),
                network: network.map(|network| network.0),
            },
            SnapshotRecord::PresenceOff { networks, until } => Self::PresenceOff { networks: networks.0, until: Timestamp(until) },
            SnapshotRecord::FreedEarly { until, leases } => Self::FreedEarly { until: Timestamp(until), leases },
        })
    }
}
