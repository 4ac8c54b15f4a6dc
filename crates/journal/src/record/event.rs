//! Records of events. The numbers of kinds and fields are frozen: they may be added to and never be used again for anything else.

use minicbor::bytes::{ByteArray, ByteSlice};
use minicbor::{Decode, Encode};
use triquest_allocator::{
    Actor, ContentDigest, Denial, EntitlementId, Epoch, Event, Index, Instance, LeaseId, Lineage, PoolId, Timestamp, VendorId, VerifierKeys,
};
use triquest_license::LicenseHash;

use super::parts::{
    ActorRecord, Bytes16, Bytes32, DenialRecord, EntitlementRecord, HolderRecord, ItemRecord, LeftOutRecord, NetworkRecord, NetworksRecord,
    PairRecord, TermsRecord, charge_pairs, dequeue_reason, end_reason, feature, granted_items, is_empty, is_zero, items, plain_charges,
    release_cause, right_end, word_texts, words,
};

/// One event, in the order of invention.
#[derive(Encode, Decode)]
pub(super) enum EventRecord<'a> {
    #[n(1)]
    Recovered {
        #[n(0)]
        epoch: u64,
        #[n(1)]
        lineage: Bytes16,
        /// Absent: no quarantine.
        #[n(2)]
        quarantine_until: Option<u64>,
        #[n(3)]
        instance: Bytes16,
        #[n(4)]
        remember_ms: u64,
        #[n(5)]
        wait_ttl_ms: u64,
    },
    #[n(2)]
    ClockMarked,
    #[n(3)]
    ClockStepped {
        #[n(0)]
        from_ms: i64,
        #[n(1)]
        to_ms: i64,
        #[n(2)]
        believed: bool,
    },
    #[n(4)]
    ClockAccepted {
        #[n(0)]
        wall_ms: i64,
        #[b(1)]
        actor: ActorRecord<'a>,
    },
    #[n(5)]
    QuarantineEnded {
        /// Absent: by itself.
        #[b(0)]
        actor: Option<ActorRecord<'a>>,
    },
    #[n(7)]
    VendorKeys {
        #[n(0)]
        vendor: u32,
        #[b(1)]
        name: &'a str,
        #[n(2)]
        keys: Vec<Bytes32>,
    },
    #[n(8)]
    VendorsMerged {
        #[n(0)]
        from: u32,
        #[n(1)]
        into: u32,
    },
    #[n(9)]
    PoolOpened {
        #[n(0)]
        pool: u32,
        #[n(1)]
        vendor: u32,
        #[b(2)]
        feature: &'a str,
    },
    #[n(10)]
    LicenseInstalled {
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
        #[n(6)]
        terms: TermsRecord,
    },
    #[n(11)]
    LicenseRemoved {
        #[n(0)]
        license: Bytes32,
        #[n(1)]
        reason: u8,
        #[b(2)]
        actor: ActorRecord<'a>,
    },
    #[n(12)]
    EntitlementBegan {
        #[n(0)]
        entitlement: u32,
    },
    #[n(13)]
    EntitlementEnded {
        #[n(0)]
        entitlement: u32,
        #[n(1)]
        reason: u8,
    },
    #[n(14)]
    Granted {
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
        /// Absent: seats are free at once after release.
        #[cbor(n(6), skip_if = "is_zero")]
        linger_ms: u64,
        /// Absent: not a waiter.
        #[n(7)]
        claim_due: Option<u64>,
        /// Absent: this machine's own socket.
        #[n(8)]
        network: Option<NetworkRecord>,
        /// Absent: what the license says.
        #[n(9)]
        asked_ttl_ms: Option<u64>,
        /// The keys that its client's application embeds.
        #[n(10)]
        embeds: Vec<Bytes32>,
    },
    #[n(15)]
    Denied {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        attempt: u32,
        #[n(2)]
        content: Bytes16,
        #[b(3)]
        holder: HolderRecord<'a>,
        #[b(4)]
        denial: DenialRecord<'a>,
        /// Absent: no vendor here has any of the keys.
        #[n(5)]
        vendor: Option<u32>,
        /// Absent: this machine's own socket.
        #[n(6)]
        network: Option<NetworkRecord>,
    },
    #[n(16)]
    Heard {
        #[n(0)]
        lease: Bytes16,
    },
    #[n(17)]
    Released {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        cause: u8,
        /// Absent: free at once.
        #[n(2)]
        linger_until: Option<u64>,
        #[n(3)]
        items: Vec<ItemRecord>,
    },
    #[n(18)]
    ReleasedUnknown {
        #[n(0)]
        lease: Bytes16,
        /// Absent: this machine's own socket.
        #[n(1)]
        network: Option<NetworkRecord>,
    },
    #[n(19)]
    LingerEnded {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        items: Vec<ItemRecord>,
    },
    #[n(20)]
    Ending {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        due: u64,
        #[n(2)]
        reason: u8,
        /// Absent: nobody in particular.
        #[b(3)]
        actor: Option<ActorRecord<'a>>,
    },
    #[n(21)]
    Ended {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        due: u64,
        #[n(2)]
        reason: u8,
        /// Absent: free at once.
        #[n(3)]
        linger_until: Option<u64>,
        /// Absent: nobody in particular.
        #[b(4)]
        actor: Option<ActorRecord<'a>>,
        #[n(5)]
        items: Vec<ItemRecord>,
    },
    #[n(22)]
    ChargeMoved {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        item: u8,
        #[n(2)]
        from: u32,
        #[n(3)]
        to: u32,
        #[n(4)]
        seats: u32,
    },
    #[n(23)]
    Queued {
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
        /// Absent: 0.
        #[cbor(n(7), skip_if = "is_zero")]
        linger_ms: u64,
        /// Absent: this machine's own socket.
        #[n(8)]
        network: Option<NetworkRecord>,
        /// The keys that its client's application embeds.
        #[n(9)]
        embeds: Vec<Bytes32>,
    },
    #[n(24)]
    Dequeued {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        reason: u8,
        /// Absent: it released its id.
        #[b(2)]
        denial: Option<DenialRecord<'a>>,
    },
    #[n(25)]
    PresenceRegretted {
        #[n(0)]
        lease: Bytes16,
        /// Absent: this machine's own socket.
        #[n(1)]
        networks: Option<NetworksRecord>,
        #[n(2)]
        until: u64,
    },
    #[n(26)]
    Adopted {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        content: Bytes16,
        #[b(2)]
        holder: HolderRecord<'a>,
        #[n(3)]
        items: Vec<ItemRecord>,
        #[n(4)]
        ttl_ms: u64,
        /// Absent: 0.
        #[cbor(n(5), skip_if = "is_zero")]
        linger_ms: u64,
        #[n(6)]
        attempt: u32,
        #[n(7)]
        shown: Vec<PairRecord>,
        /// Absent: this machine's own socket.
        #[n(8)]
        network: Option<NetworkRecord>,
        /// Absent: what the license says.
        #[n(9)]
        asked_ttl_ms: Option<u64>,
        /// The keys that its client's application embeds.
        #[n(10)]
        embeds: Vec<Bytes32>,
    },
    #[n(27)]
    Forgot {
        #[n(0)]
        until: u64,
    },
    #[n(28)]
    TtlLowered {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        ttl_ms: u64,
        #[n(2)]
        not_before: u64,
    },
    #[n(29)]
    LineageBegan {
        #[n(0)]
        lineage: Bytes16,
        #[n(1)]
        quarantine_until: u64,
        #[n(2)]
        lease: Bytes16,
        #[n(3)]
        epoch: u64,
        #[n(4)]
        instance: Bytes16,
        #[n(5)]
        index: u64,
    },
    #[n(30)]
    QuarantineLengthened {
        #[n(0)]
        until: u64,
    },
    #[n(31)]
    WaiterHeard {
        #[n(0)]
        lease: Bytes16,
    },
    #[n(32)]
    LinesResumed {
        #[n(0)]
        claim_due: u64,
    },
    #[n(33)]
    PresenceAllowed {
        #[n(0)]
        networks: NetworksRecord,
        #[b(1)]
        actor: ActorRecord<'a>,
    },
    #[n(34)]
    PoolsMerged {
        #[n(0)]
        from: u32,
        #[n(1)]
        into: u32,
        #[n(2)]
        pools: Vec<PairRecord>,
    },
    #[n(35)]
    EntitlementsUnderstood {
        #[n(0)]
        license: Bytes32,
        #[n(1)]
        entitlements: Vec<EntitlementRecord>,
        #[cbor(n(2), skip_if = "is_empty")]
        left_out: Vec<LeftOutRecord>,
        #[n(3)]
        pools: Vec<u32>,
    },
    /// Kept readable by every version for ever: it is how a version learns what it lacks.
    #[n(36)]
    FormatRaised {
        #[n(0)]
        words: Vec<String>,
    },
    #[n(37)]
    LicenseChecked {
        #[n(0)]
        license: Bytes32,
        /// Absent: all is well.
        #[b(1)]
        problem: Option<&'a str>,
    },
    #[n(38)]
    WordsAccepted {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        words: Vec<String>,
    },
    #[n(39)]
    TtlRaised {
        #[n(0)]
        lease: Bytes16,
        #[n(1)]
        ttl_ms: u64,
    },
    #[n(40)]
    DenialsCounted {
        #[n(0)]
        since: u64,
        #[n(1)]
        pools: Vec<CountRecord>,
        /// Absent: 0.
        #[cbor(n(2), skip_if = "is_zero")]
        elsewhere: u64,
    },
    #[n(41)]
    ReplacementUndone {
        #[n(0)]
        license: Bytes32,
        #[n(1)]
        first_entitlement: u32,
        #[n(2)]
        entitlements: Vec<u32>,
    },
}

/// How many of something a pool has.
#[derive(Encode, Decode)]
pub(super) struct CountRecord {
    #[n(0)]
    pool: u32,
    #[n(1)]
    count: u64,
}

fn actor(actor: &Option<Actor>) -> Option<ActorRecord<'_>> {
    actor.as_ref().map(ActorRecord::from)
}

pub(super) fn keys(keys: &[[u8; 32]]) -> Vec<Bytes32> {
    keys.iter().map(|&key| ByteArray::from(key)).collect()
}

pub(super) fn plain_keys(keys: Vec<Bytes32>) -> Vec<[u8; 32]> {
    keys.into_iter().map(<[u8; 32]>::from).collect()
}

impl<'a> From<&'a Event> for EventRecord<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Adopted { lease, attempt, content, holder, items: parts, ttl_ms, linger_ms, asked_ttl_ms, shown, embeds, network } => {
                Self::Adopted {
                    asked_ttl_ms: *asked_ttl_ms,
                    attempt: *attempt,
                    shown: charge_pairs(shown),
                    lease: lease.0.into(),
                    content: content.0.into(),
                    holder: holder.into(),
                    items: items(parts),
                    ttl_ms: *ttl_ms,
                    linger_ms: *linger_ms,
                    embeds: keys(embeds.as_slice()),
                    network: network.map(NetworkRecord),
                }
            }
            &Event::ChargeMoved { lease, item, from, to, seats } => {
                Self::ChargeMoved { lease: lease.0.into(), item, from: from.0, to: to.0, seats }
            }
            Event::ClockAccepted { wall_ms, actor } => Self::ClockAccepted { wall_ms: *wall_ms, actor: actor.into() },
            Event::ClockMarked => Self::ClockMarked,
            &Event::ClockStepped { from_ms, to_ms, believed } => Self::ClockStepped { from_ms, to_ms, believed },
            Event::Denied { lease, attempt, content, holder, vendor, denial, network } => Self::Denied {
                lease: lease.0.into(),
                attempt: *attempt,
                content: content.0.into(),
                holder: holder.into(),
                denial: denial.into(),
                vendor: vendor.map(|vendor| vendor.0),
                network: network.map(NetworkRecord),
            },
            Event::Dequeued { lease, reason, denial } => Self::Dequeued {
                lease: lease.0.into(),
                reason: dequeue_reason::code(*reason),
                denial: denial.as_deref().map(DenialRecord::from),
            },
            Event::Ending { lease, due, reason, actor: who } => {
                Self::Ending { lease: lease.0.into(), due: due.0, reason: end_reason::code(*reason), actor: actor(who) }
            }
            Event::Ended { lease, due, reason, linger_until, items: parts, actor: who } => Self::Ended {
                items: items(parts),
                lease: lease.0.into(),
                due: due.0,
                reason: end_reason::code(*reason),
                linger_until: linger_until.map(|until| until.0),
                actor: actor(who),
            },
            Event::EntitlementBegan { entitlement } => Self::EntitlementBegan { entitlement: entitlement.0 },
            Event::EntitlementEnded { entitlement, reason } => {
                Self::EntitlementEnded { entitlement: entitlement.0, reason: right_end::code(*reason) }
            }
            Event::Forgot { until } => Self::Forgot { until: until.0 },
            Event::Granted {
                lease,
                attempt,
                content,
                holder,
                items: parts,
                ttl_ms,
                linger_ms,
                asked_ttl_ms,
                claim_due,
                embeds,
                network,
            } => Self::Granted {
                asked_ttl_ms: *asked_ttl_ms,
                lease: lease.0.into(),
                attempt: *attempt,
                content: content.0.into(),
                holder: holder.into(),
                items: items(parts),
                ttl_ms: *ttl_ms,
                linger_ms: *linger_ms,
                claim_due: claim_due.map(|due| due.0),
                embeds: keys(embeds.as_slice()),
                network: network.map(NetworkRecord),
            },
            Event::Heard { lease } => Self::Heard { lease: lease.0.into() },
            Event::EntitlementsUnderstood { license, entitlements, left_out, pools } => Self::EntitlementsUnderstood {
                license: (*license.as_bytes()).into(),
                entitlements: entitlements.iter().map(Into::into).collect(),
                left_out: left_out.iter().map(Into::into).collect(),
                pools: pools.iter().map(|pool| pool.0).collect(),
            },
            Event::FormatRaised { words } => Self::FormatRaised { words: word_texts(words) },
            Event::LicenseChecked { license, problem } => {
                Self::LicenseChecked { license: (*license.as_bytes()).into(), problem: problem.as_deref() }
            }
            Event::WordsAccepted { lease, words } => Self::WordsAccepted { lease: lease.0.into(), words: word_texts(words) },
            Event::LicenseInstalled { license, note, terms, vendor, first_entitlement, pools, actor } => Self::LicenseInstalled {
                terms: (&**terms).into(),
                license: (*license.as_bytes()).into(),
                note: note.as_slice().into(),
                vendor: vendor.0,
                first_entitlement: first_entitlement.0,
                pools: pools.iter().map(|pool| pool.0).collect(),
                actor: actor.into(),
            },
            Event::LicenseRemoved { license, reason, actor } => {
                Self::LicenseRemoved { license: (*license.as_bytes()).into(), reason: right_end::code(*reason), actor: actor.into() }
            }
            Event::LingerEnded { lease, items: parts } => Self::LingerEnded { lease: lease.0.into(), items: items(parts) },
            Event::PoolOpened { pool, vendor, feature } => Self::PoolOpened { pool: pool.0, vendor: vendor.0, feature: feature.as_str() },
            Event::PresenceRegretted { lease, networks, until } => {
                Self::PresenceRegretted { lease: lease.0.into(), networks: networks.map(NetworksRecord), until: until.0 }
            }
            Event::Queued { lease, attempt, content, holder, items: parts, ttl_ms, linger_ms, gives_up, embeds, network } => Self::Queued {
                lease: lease.0.into(),
                attempt: *attempt,
                content: content.0.into(),
                holder: holder.into(),
                items: items(parts),
                ttl_ms: *ttl_ms,
                gives_up: gives_up.0,
                linger_ms: *linger_ms,
                embeds: keys(embeds.as_slice()),
                network: network.map(NetworkRecord),
            },
            &Event::LineageBegan { lineage, quarantine_until, lease, epoch, instance, index } => Self::LineageBegan {
                lineage: lineage.0.into(),
                quarantine_until: quarantine_until.0,
                lease: lease.0.into(),
                epoch: epoch.0,
                instance: instance.0.into(),
                index: index.0,
            },
            Event::LinesResumed { claim_due } => Self::LinesResumed { claim_due: claim_due.0 },
            Event::PresenceAllowed { networks, actor } => {
                Self::PresenceAllowed { networks: NetworksRecord(*networks), actor: actor.into() }
            }
            Event::QuarantineEnded { actor: who } => Self::QuarantineEnded { actor: actor(who) },
            Event::QuarantineLengthened { until } => Self::QuarantineLengthened { until: until.0 },
            &Event::Recovered { epoch, instance, lineage, quarantine_until, remember_ms, wait_ttl_ms } => Self::Recovered {
                epoch: epoch.0,
                lineage: lineage.0.into(),
                quarantine_until: quarantine_until.map(|until| until.0),
                instance: instance.0.into(),
                remember_ms,
                wait_ttl_ms,
            },
            &Event::TtlLowered { lease, ttl_ms, not_before } => {
                Self::TtlLowered { lease: lease.0.into(), ttl_ms, not_before: not_before.0 }
            }
            &Event::TtlRaised { lease, ttl_ms } => Self::TtlRaised { lease: lease.0.into(), ttl_ms },
            Event::DenialsCounted { since, pools, elsewhere } => Self::DenialsCounted {
                since: since.0,
                pools: pools.iter().map(|(pool, count)| CountRecord { pool: pool.0, count: *count }).collect(),
                elsewhere: *elsewhere,
            },
            Event::ReplacementUndone { license, first_entitlement, entitlements } => Self::ReplacementUndone {
                license: (*license.as_bytes()).into(),
                first_entitlement: first_entitlement.0,
                entitlements: entitlements.iter().map(|right| right.0).collect(),
            },
            Event::WaiterHeard { lease } => Self::WaiterHeard { lease: lease.0.into() },
            Event::Released { lease, cause, linger_until, items: parts } => Self::Released {
                items: items(parts),
                lease: lease.0.into(),
                cause: release_cause::code(*cause),
                linger_until: linger_until.map(|until| until.0),
            },
            Event::ReleasedUnknown { lease, network } => {
                Self::ReleasedUnknown { lease: lease.0.into(), network: network.map(NetworkRecord) }
            }
            Event::VendorKeys { vendor, name, keys: bytes } => Self::VendorKeys { vendor: vendor.0, name, keys: keys(bytes) },
            Event::VendorsMerged { from, into } => Self::VendorsMerged { from: from.0, into: into.0 },
            Event::PoolsMerged { from, into, pools } => Self::PoolsMerged {
                from: from.0,
                into: into.0,
                pools: pools.iter().map(|(first, second)| PairRecord { first: first.0, second: second.0 }).collect(),
            },
        }
    }
}

pub(super) fn lease(bytes: Bytes16) -> LeaseId {
    LeaseId(bytes.into())
}

pub(super) fn content(bytes: Bytes16) -> ContentDigest {
    ContentDigest(bytes.into())
}

pub(super) fn license(bytes: Bytes32) -> LicenseHash {
    LicenseHash::from_bytes(bytes.into())
}

impl TryFrom<EventRecord<'_>> for Event {
    type Error = String;

    fn try_from(record: EventRecord<'_>) -> Result<Self, String> {
        Ok(match record {
            EventRecord::Recovered { epoch, lineage, quarantine_until, instance, remember_ms, wait_ttl_ms } => Self::Recovered {
                epoch: Epoch(epoch),
                instance: Instance(instance.into()),
                lineage: Lineage(lineage.into()),
                quarantine_until: quarantine_until.map(Timestamp),
                remember_ms,
                wait_ttl_ms,
            },
            EventRecord::ClockMarked => Self::ClockMarked,
            EventRecord::ClockStepped { from_ms, to_ms, believed } => Self::ClockStepped { from_ms, to_ms, believed },
            EventRecord::ClockAccepted { wall_ms, actor } => Self::ClockAccepted { wall_ms, actor: actor.into() },
            EventRecord::QuarantineEnded { actor } => Self::QuarantineEnded { actor: actor.map(Actor::from) },
            EventRecord::VendorKeys { vendor, name, keys } => {
                Self::VendorKeys { vendor: VendorId(vendor), name: name.to_owned(), keys: plain_keys(keys) }
            }
            EventRecord::VendorsMerged { from, into } => Self::VendorsMerged { from: VendorId(from), into: VendorId(into) },
            EventRecord::PoolsMerged { from, into, pools } => Self::PoolsMerged {
                from: VendorId(from),
                into: VendorId(into),
                pools: pools.into_iter().map(|pair| (PoolId(pair.first), PoolId(pair.second))).collect(),
            },
            EventRecord::PoolOpened { pool, vendor, feature: name } => {
                Self::PoolOpened { pool: PoolId(pool), vendor: VendorId(vendor), feature: feature(name)? }
            }
            EventRecord::EntitlementsUnderstood { license: hash, entitlements, left_out, pools } => Self::EntitlementsUnderstood {
                license: license(hash),
                entitlements: entitlements.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
                left_out: left_out.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
                pools: pools.into_iter().map(PoolId).collect(),
            },
            EventRecord::FormatRaised { words: texts } => Self::FormatRaised { words: words(&texts)? },
            EventRecord::LicenseChecked { license: hash, problem } => {
                Self::LicenseChecked { license: license(hash), problem: problem.map(str::to_owned) }
            }
            EventRecord::WordsAccepted { lease: id, words: texts } => Self::WordsAccepted { lease: lease(id), words: words(&texts)? },
            EventRecord::LicenseInstalled { license: hash, note, vendor, first_entitlement, pools, actor, terms } => {
                Self::LicenseInstalled {
                    terms: std::sync::Arc::new(terms.try_into()?),
                    license: license(hash),
                    note: note.to_vec(),
                    vendor: VendorId(vendor),
                    first_entitlement: EntitlementId(first_entitlement),
                    pools: pools.into_iter().map(PoolId).collect(),
                    actor: actor.into(),
                }
            }
            EventRecord::LicenseRemoved { license: hash, reason, actor } => {
                Self::LicenseRemoved { license: license(hash), reason: right_end::kind(reason)?, actor: actor.into() }
            }
            EventRecord::EntitlementBegan { entitlement } => Self::EntitlementBegan { entitlement: EntitlementId(entitlement) },
            EventRecord::EntitlementEnded { entitlement, reason } => {
                Self::EntitlementEnded { entitlement: EntitlementId(entitlement), reason: right_end::kind(reason)? }
            }
            EventRecord::Granted {
                lease: id,
                attempt,
                content: digest,
                holder,
                items,
                ttl_ms,
                linger_ms,
                claim_due,
                embeds,
                network,
                asked_ttl_ms,
            } => Self::Granted {
                asked_ttl_ms,
                lease: lease(id),
                attempt,
                content: content(digest),
                holder: holder.into(),
                items: granted_items(items),
                ttl_ms,
                linger_ms,
                claim_due: claim_due.map(Timestamp),
                embeds: VerifierKeys::of(&plain_keys(embeds)),
                network: network.map(|network| network.0),
            },
            EventRecord::Denied { lease: id, attempt, content: digest, holder, denial, vendor, network } => Self::Denied {
                lease: lease(id),
                attempt,
                content: content(digest),
                holder: holder.into(),
                vendor: vendor.map(VendorId),
                denial: Denial::try_from(denial)?,
                network: network.map(|network| network.0),
            },
            EventRecord::Heard { lease: id } => Self::Heard { lease: lease(id) },
            EventRecord::Released { lease: id, cause, linger_until, items } => Self::Released {
                lease: lease(id),
                cause: release_cause::kind(cause)?,
                linger_until: linger_until.map(Timestamp),
                items: granted_items(items),
            },
            EventRecord::ReleasedUnknown { lease: id, network } => {
                Self::ReleasedUnknown { lease: lease(id), network: network.map(|network| network.0) }
            }
            EventRecord::LingerEnded { lease: id, items } => Self::LingerEnded { lease: lease(id), items: granted_items(items) },
            EventRecord::Ending { lease: id, due, reason, actor } => {
                Self::Ending { lease: lease(id), due: Timestamp(due), reason: end_reason::kind(reason)?, actor: actor.map(Actor::from) }
            }
            EventRecord::Ended { lease: id, due, reason, linger_until, actor, items } => Self::Ended {
                items: granted_items(items),
                lease: lease(id),
                due: Timestamp(due),
                reason: end_reason::kind(reason)?,
                linger_until: linger_until.map(Timestamp),
                actor: actor.map(Actor::from),
            },
            EventRecord::ChargeMoved { lease: id, item, from, to, seats } => {
                Self::ChargeMoved { lease: lease(id), item, from: EntitlementId(from), to: EntitlementId(to), seats }
            }
            EventRecord::Queued { lease: id, attempt, content: digest, holder, items, ttl_ms, gives_up, linger_ms, embeds, network } => {
                Self::Queued {
                    lease: lease(id),
                    attempt,
                    content: content(digest),
                    holder: holder.into(),
                    items: granted_items(items),
                    ttl_ms,
                    linger_ms,
                    gives_up: Timestamp(gives_up),
                    embeds: VerifierKeys::of(&plain_keys(embeds)),
                    network: network.map(|network| network.0),
                }
            }
            EventRecord::Dequeued { lease: id, reason, denial } => Self::Dequeued {
                lease: lease(id),
                reason: dequeue_reason::kind(reason)?,
                denial: denial.map(|denial| Denial::try_from(denial).map(Box::new)).transpose()?,
            },
            EventRecord::PresenceRegretted { lease: id, networks, until } => {
                Self::PresenceRegretted { lease: lease(id), networks: networks.map(|networks| networks.0), until: Timestamp(until) }
            }
            EventRecord::Adopted {
                lease: id,
                content: digest,
                holder,
                items,
                ttl_ms,
                linger_ms,
                attempt,
                shown,
                embeds,
                network,
                asked_ttl_ms,
            } => Self::Adopted {
                asked_ttl_ms,
                attempt,
                shown: plain_charges(shown),
                lease: lease(id),
                content: content(digest),
                holder: holder.into(),
                items: granted_items(items),
                ttl_ms,
                linger_ms,
                embeds: VerifierKeys::of(&plain_keys(embeds)),
                network: network.map(|network| network.0),
            },
            EventRecord::Forgot { until } => Self::Forgot { until: Timestamp(until) },
            EventRecord::TtlLowered { lease: id, ttl_ms, not_before } => {
                Self::TtlLowered { lease: lease(id), ttl_ms, not_before: Timestamp(not_before) }
            }
            EventRecord::LineageBegan { lineage, quarantine_until, lease: id, epoch, instance, index } => Self::LineageBegan {
                lineage: Lineage(lineage.into()),
                quarantine_until: Timestamp(quarantine_until),
                lease: lease(id),
                epoch: Epoch(epoch),
                instance: Instance(instance.into()),
                index: Index(index),
            },
            EventRecord::QuarantineLengthened { until } => Self::QuarantineLengthened { until: Timestamp(until) },
            EventRecord::TtlRaised { lease: id, ttl_ms } => Self::TtlRaised { lease: lease(id), ttl_ms },
            EventRecord::DenialsCounted { since, pools, elsewhere } => Self::DenialsCounted {
                since: Timestamp(since),
                pools: pools.into_iter().map(|CountRecord { pool, count }| (PoolId(pool), count)).collect(),
                elsewhere,
            },
            EventRecord::ReplacementUndone { license: hash, first_entitlement, entitlements } => Self::ReplacementUndone {
                license: license(hash),
                first_entitlement: EntitlementId(first_entitlement),
                entitlements: entitlements.into_iter().map(EntitlementId).collect(),
            },
            EventRecord::WaiterHeard { lease: id } => Self::WaiterHeard { lease: lease(id) },
            EventRecord::LinesResumed { claim_due } => Self::LinesResumed { claim_due: Timestamp(claim_due) },
            EventRecord::PresenceAllowed { networks, actor } => Self::PresenceAllowed { networks: networks.0, actor: actor.into() },
        })
    }
}
