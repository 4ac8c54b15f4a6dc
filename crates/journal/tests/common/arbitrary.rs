//! Any event and any record of the state, and one of each kind.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use triquest_allocator::{
    Actor, Charge, Claim, ContentDigest, Denial, DenialCode, DequeueReason, EndReason, EntitlementId, Epoch, EpochRecord, Event,
    GrantedItem, Holder, Index, InstalledEntitlement, InstalledLeftOut, InstalledTerms, Instance, LeaseId, Lineage, Network, Networks,
    PoolId, PoolNumbers, ReleaseCause, RightEnd, StateRecord, Timestamp, VendorId, VerifierKeys,
};
use triquest_license::{FeatureName, LicenseHash, LicenseId, Version, Word, Words};

fn words() -> Words {
    Words::parse(["share", "token-rate"]).unwrap()
}

/// One right with everything, one with as little as there can be, and one that is left out.
fn terms() -> std::sync::Arc<InstalledTerms> {
    let feature = |name: &str| FeatureName::new(name).unwrap();
    let least = InstalledEntitlement {
        position: 0,
        feature: feature("cad"),
        version: None,
        seats: 1,
        starts: None,
        starts_written: None,
        expires: None,
        expires_written: None,
        ttl_ms: None,
        ttl_max_ms: 3_600_000,
        linger_ms: 0,
        grace_ms: 0,
        presence: false,
        vendor_data: None,
        needs: Words::default(),
    };
    let most = InstalledEntitlement {
        position: 2,
        version: Some("12.4".parse().unwrap()),
        starts: Some(-1),
        starts_written: Some("2026-11-23".to_owned()),
        expires: Some(i64::MAX),
        expires_written: Some("2099-12-31".to_owned()),
        ttl_ms: Some(300_000),
        linger_ms: 60_000,
        grace_ms: 900_000,
        presence: true,
        vendor_data: Some("x=1".to_owned()),
        needs: words(),
        ..least.clone()
    };
    let left_out = InstalledLeftOut { position: 1, feature: Some(feature("mesh")), unknown: vec![Word::new("tomorrow").unwrap()] };
    std::sync::Arc::new(InstalledTerms {
        license: LicenseId::new("ACME-2").unwrap(),
        vendor: "acme.example".to_owned(),
        keys: vec![[7; 32], [8; 32]],
        licensee: "Initech".to_owned(),
        issued_ms: 1_790_000_000_000,
        replaces: vec![LicenseId::new("ACME-1").unwrap()],
        entitlements: vec![least, most],
        left_out: vec![left_out],
    })
}

const END_REASONS: [EndReason; 9] = [
    EndReason::Excluded,
    EndReason::Expired,
    EndReason::LicenseEnded,
    EndReason::LicenseReplaced,
    EndReason::LicenseRemoved,
    EndReason::Presence,
    EndReason::Reclaimed,
    EndReason::Released,
    EndReason::Unclaimed,
];
const DENIALS: [DenialCode; 13] = [
    DenialCode::Expired,
    DenialCode::LeaseEnded,
    DenialCode::MoreThanPool,
    DenialCode::NoSeatFree,
    DenialCode::NotYetValid,
    DenialCode::QueueFull,
    DenialCode::Quarantine,
    DenialCode::ServerFull,
    DenialCode::UnknownFeature,
    DenialCode::UnknownVendor,
    DenialCode::VersionNotCovered,
    DenialCode::WaitOver,
    DenialCode::WordsNotAccepted,
];
const DEQUEUES: [DequeueReason; 4] = [DequeueReason::Hopeless, DequeueReason::Released, DequeueReason::Silent, DequeueReason::WaitOver];
const RIGHT_ENDS: [RightEnd; 3] = [RightEnd::Expired, RightEnd::Removed, RightEnd::Replaced];
const CAUSES: [ReleaseCause; 2] = [ReleaseCause::Holder, ReleaseCause::Presence];

fn one<T: Copy + std::fmt::Debug + 'static, const N: usize>(of: [T; N]) -> impl Strategy<Value = T> {
    (0..N).prop_map(move |at| of[at])
}

fn lease() -> impl Strategy<Value = LeaseId> {
    any::<[u8; 16]>().prop_map(LeaseId)
}
fn content() -> impl Strategy<Value = ContentDigest> {
    any::<[u8; 16]>().prop_map(ContentDigest)
}
fn lineage() -> impl Strategy<Value = Lineage> {
    any::<[u8; 16]>().prop_map(Lineage)
}
fn instance() -> impl Strategy<Value = Instance> {
    any::<[u8; 16]>().prop_map(Instance)
}
fn charge() -> impl Strategy<Value = Charge> {
    (any::<u32>(), any::<u32>()).prop_map(|(entitlement, seats)| Charge { entitlement: EntitlementId(entitlement), seats })
}
fn hash() -> impl Strategy<Value = LicenseHash> {
    any::<[u8; 32]>().prop_map(LicenseHash::from_bytes)
}
fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}
fn feature() -> impl Strategy<Value = FeatureName> {
    "[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}".prop_map(|name| FeatureName::new(&name).unwrap())
}
fn version() -> impl Strategy<Value = Version> {
    vec(any::<u32>(), 1..=4).prop_map(|numbers| Version::new(&numbers).unwrap())
}
fn actor() -> impl Strategy<Value = Actor> {
    (".{0,20}", ".{0,20}").prop_map(|(name, reason)| Actor { name, reason })
}
fn network() -> impl Strategy<Value = Option<Network>> {
    of(prop_oneof![any::<[u8; 4]>().prop_map(Network::V4), any::<[u8; 8]>().prop_map(Network::V6)])
}
fn networks() -> impl Strategy<Value = Networks> {
    prop_oneof![
        Just(Networks::All),
        network().prop_map(|network| network.map_or(Networks::All, Networks::One)),
        network().prop_map(|network| network.map_or(Networks::All, |network| Networks::Wide(network.wide()))),
    ]
}
fn embeds() -> impl Strategy<Value = VerifierKeys> {
    vec(any::<[u8; 32]>(), 0..3).prop_map(|keys| VerifierKeys::of(&keys))
}
fn claim() -> impl Strategy<Value = Option<Claim>> {
    of((".{0,12}", any::<bool>()).prop_map(|(value, proved)| Claim { value, proved }))
}

pub fn holders() -> impl Strategy<Value = Holder> {
    ((claim(), claim(), claim(), claim(), claim()), (claim(), claim(), claim(), claim())).prop_map(
        |((user, host, display, session, address), (container, process, job, project))| Holder {
            user,
            host,
            display,
            session,
            address,
            container,
            process,
            job,
            project,
        },
    )
}

fn items() -> impl Strategy<Value = Vec<GrantedItem>> {
    vec(
        (any::<u32>(), of(version()), any::<u32>(), vec(charge(), 0..3)).prop_map(|(pool, version, seats, charges)| GrantedItem {
            pool: PoolId(pool),
            version,
            seats,
            charges,
        }),
        0..3,
    )
}

fn denial() -> impl Strategy<Value = Denial> {
    let numbers = prop_oneof![
        Just(PoolNumbers::default()),
        any::<[u64; 7]>().prop_map(|[total, used, lingering, reserved_idle, free, over, queued]| PoolNumbers {
            total,
            used,
            lingering,
            reserved_idle,
            free,
            over,
            queued
        })
    ];
    (one(DENIALS), of(feature()), any::<u32>(), numbers, of(any::<u64>()), of(version()), of(any::<i64>()), of(any::<i64>())).prop_map(
        |(code, feature, seats, pool, first_due_ms, newest_version, at_civil_ms, clock_ms)| Denial {
            code,
            feature,
            seats,
            pool,
            first_due_ms,
            newest_version,
            at_civil_ms,
            clock_ms,
        },
    )
}

/// One strategy for each kind of event. A kind that is missing here is found by `EVENT_KINDS`.
pub fn event_kinds() -> Vec<BoxedStrategy<Event>> {
    let ids = || any::<u32>();
    vec![
        (
            lease(),
            any::<u32>(),
            content(),
            holders(),
            items(),
            (any::<u64>(), of(any::<u64>())),
            any::<u64>(),
            vec(charge(), 0..3),
            (embeds(), network()),
        )
            .prop_map(|(lease, attempt, content, holder, items, (ttl_ms, asked_ttl_ms), linger_ms, shown, (embeds, network))| {
                Event::Adopted { embeds, lease, attempt, asked_ttl_ms, shown, content, holder, items, ttl_ms, linger_ms, network }
            })
            .boxed(),
        (hash(), ids(), vec(ids().prop_map(EntitlementId), 0..3))
            .prop_map(|(license, first, entitlements)| Event::ReplacementUndone {
                license,
                first_entitlement: EntitlementId(first),
                entitlements,
            })
            .boxed(),
        (lease(), any::<u8>(), ids(), ids(), any::<u32>())
            .prop_map(|(lease, item, from, to, seats)| Event::ChargeMoved {
                lease,
                item,
                from: EntitlementId(from),
                to: EntitlementId(to),
                seats,
            })
            .boxed(),
        (any::<i64>(), actor()).prop_map(|(wall_ms, actor)| Event::ClockAccepted { wall_ms, actor }).boxed(),
        Just(Event::ClockMarked).boxed(),
        (any::<i64>(), any::<i64>(), any::<bool>())
            .prop_map(|(from_ms, to_ms, believed)| Event::ClockStepped { from_ms, to_ms, believed })
            .boxed(),
        (lease(), any::<u32>(), content(), holders(), of(ids()), denial(), network())
            .prop_map(|(lease, attempt, content, holder, vendor, denial, network)| Event::Denied {
                lease,
                attempt,
                content,
                holder,
                vendor: vendor.map(VendorId),
                denial,
                network,
            })
            .boxed(),
        (lease(), one(DEQUEUES), of(denial().prop_map(Box::new)))
            .prop_map(|(lease, reason, denial)| Event::Dequeued { lease, reason, denial })
            .boxed(),
        (lease(), time(), one(END_REASONS), of(actor()))
            .prop_map(|(lease, due, reason, actor)| Event::Ending { lease, due, reason, actor })
            .boxed(),
        (lease(), time(), one(END_REASONS), of(time()), items(), of(actor()))
            .prop_map(|(lease, due, reason, linger_until, items, actor)| Event::Ended { lease, due, reason, linger_until, items, actor })
            .boxed(),
        ids().prop_map(|id| Event::EntitlementBegan { entitlement: EntitlementId(id) }).boxed(),
        (ids(), one(RIGHT_ENDS)).prop_map(|(id, reason)| Event::EntitlementEnded { entitlement: EntitlementId(id), reason }).boxed(),
        time().prop_map(|until| Event::Forgot { until }).boxed(),
        (
            lease(),
            any::<u32>(),
            content(),
            holders(),
            items(),
            (any::<u64>(), of(any::<u64>())),
            any::<u64>(),
            of(time()),
            (embeds(), network()),
        )
            .prop_map(|(lease, attempt, content, holder, items, (ttl_ms, asked_ttl_ms), linger_ms, claim_due, (embeds, network))| {
                Event::Granted { embeds, lease, attempt, asked_ttl_ms, content, holder, items, ttl_ms, linger_ms, claim_due, network }
            })
            .boxed(),
        lease().prop_map(|lease| Event::Heard { lease }).boxed(),
        (hash(), vec(any::<u8>(), 0..200), ids(), ids(), vec(ids().prop_map(PoolId), 0..4), actor())
            .prop_map(|(license, note, vendor, first, pools, actor)| Event::LicenseInstalled {
                license,
                note,
                terms: terms(),
                vendor: VendorId(vendor),
                first_entitlement: EntitlementId(first),
                pools,
                actor,
            })
            .boxed(),
        (hash(), one(RIGHT_ENDS), actor()).prop_map(|(license, reason, actor)| Event::LicenseRemoved { license, reason, actor }).boxed(),
        (lease(), items()).prop_map(|(lease, items)| Event::LingerEnded { lease, items }).boxed(),
        (ids(), ids(), feature())
            .prop_map(|(pool, vendor, feature)| Event::PoolOpened { pool: PoolId(pool), vendor: VendorId(vendor), feature })
            .boxed(),
        (lease(), of(networks()), time()).prop_map(|(lease, networks, until)| Event::PresenceRegretted { lease, networks, until }).boxed(),
        (lease(), any::<u32>(), content(), holders(), items(), any::<u64>(), any::<u64>(), time(), (embeds(), network()))
            .prop_map(|(lease, attempt, content, holder, items, ttl_ms, linger_ms, gives_up, (embeds, network))| Event::Queued {
                embeds,
                lease,
                attempt,
                content,
                holder,
                items,
                ttl_ms,
                linger_ms,
                gives_up,
                network,
            })
            .boxed(),
        of(actor()).prop_map(|actor| Event::QuarantineEnded { actor }).boxed(),
        (any::<u64>(), instance(), lineage(), of(time()), any::<u64>(), any::<u64>())
            .prop_map(|(epoch, instance, lineage, quarantine_until, remember_ms, wait_ttl_ms)| Event::Recovered {
                epoch: Epoch(epoch),
                instance,
                lineage,
                quarantine_until,
                remember_ms,
                wait_ttl_ms,
            })
            .boxed(),
        (lease(), one(CAUSES), of(time()), items())
            .prop_map(|(lease, cause, linger_until, items)| Event::Released { lease, cause, linger_until, items })
            .boxed(),
        (lease(), network()).prop_map(|(lease, network)| Event::ReleasedUnknown { lease, network }).boxed(),
        (ids(), ".{0,40}", vec(any::<[u8; 32]>(), 0..3))
            .prop_map(|(vendor, name, keys)| Event::VendorKeys { vendor: VendorId(vendor), name, keys })
            .boxed(),
        (ids(), ids()).prop_map(|(from, into)| Event::VendorsMerged { from: VendorId(from), into: VendorId(into) }).boxed(),
        (lineage(), time(), lease(), any::<u64>(), instance(), any::<u64>())
            .prop_map(|(lineage, quarantine_until, lease, epoch, instance, index)| Event::LineageBegan {
                lineage,
                quarantine_until,
                lease,
                epoch: Epoch(epoch),
                instance,
                index: Index(index),
            })
            .boxed(),
        time().prop_map(|claim_due| Event::LinesResumed { claim_due }).boxed(),
        (networks(), actor()).prop_map(|(networks, actor)| Event::PresenceAllowed { networks, actor }).boxed(),
        time().prop_map(|until| Event::QuarantineLengthened { until }).boxed(),
        (lease(), any::<u64>(), time()).prop_map(|(lease, ttl_ms, not_before)| Event::TtlLowered { lease, ttl_ms, not_before }).boxed(),
        lease().prop_map(|lease| Event::WaiterHeard { lease }).boxed(),
        (ids(), ids(), vec((ids().prop_map(PoolId), ids().prop_map(PoolId)), 0..3))
            .prop_map(|(from, into, pools)| Event::PoolsMerged { from: VendorId(from), into: VendorId(into), pools })
            .boxed(),
        hash()
            .prop_map(|license| Event::EntitlementsUnderstood {
                license,
                entitlements: terms().entitlements.clone(),
                left_out: terms().left_out.clone(),
                pools: vec![PoolId(3)],
            })
            .boxed(),
        Just(Event::FormatRaised { words: words() }).boxed(),
        (hash(), of(".{0,40}")).prop_map(|(license, problem)| Event::LicenseChecked { license, problem }).boxed(),
        lease().prop_map(|lease| Event::WordsAccepted { lease, words: words() }).boxed(),
        (lease(), any::<u64>()).prop_map(|(lease, ttl_ms)| Event::TtlRaised { lease, ttl_ms }).boxed(),
        (time(), vec((ids().prop_map(PoolId), any::<u64>()), 0..3), any::<u64>())
            .prop_map(|(since, pools, elsewhere)| Event::DenialsCounted { since, pools, elsewhere })
            .boxed(),
    ]
}

/// The number of a kind, so that the compiler asks for a strategy when a kind is added: raise `EVENT_KINDS` and add it to `event_kinds`.
pub fn event_kind(event: &Event) -> usize {
    match event {
        Event::Adopted { .. } => 0,
        Event::ReplacementUndone { .. } => 1,
        Event::ChargeMoved { .. } => 2,
        Event::ClockAccepted { .. } => 3,
        Event::ClockMarked => 4,
        Event::ClockStepped { .. } => 5,
        Event::Denied { .. } => 6,
        Event::Dequeued { .. } => 7,
        Event::Ending { .. } => 8,
        Event::Ended { .. } => 9,
        Event::EntitlementBegan { .. } => 10,
        Event::EntitlementEnded { .. } => 11,
        Event::Forgot { .. } => 12,
        Event::Granted { .. } => 13,
        Event::Heard { .. } => 14,
        Event::LicenseInstalled { .. } => 15,
        Event::LicenseRemoved { .. } => 16,
        Event::LingerEnded { .. } => 17,
        Event::PoolOpened { .. } => 18,
        Event::PresenceRegretted { .. } => 19,
        Event::Queued { .. } => 20,
        Event::QuarantineEnded { .. } => 21,
        Event::Recovered { .. } => 22,
        Event::Released { .. } => 23,
        Event::ReleasedUnknown { .. } => 24,
        Event::VendorKeys { .. } => 25,
        Event::VendorsMerged { .. } => 26,
        Event::LineageBegan { .. } => 27,
        Event::LinesResumed { .. } => 28,
        Event::PresenceAllowed { .. } => 29,
        Event::QuarantineLengthened { .. } => 30,
        Event::TtlLowered { .. } => 31,
        Event::WaiterHeard { .. } => 32,
        Event::PoolsMerged { .. } => 33,
        Event::EntitlementsUnderstood { .. } => 34,
        Event::FormatRaised { .. } => 35,
        Event::LicenseChecked { .. } => 36,
        Event::WordsAccepted { .. } => 37,
        Event::TtlRaised { .. } => 38,
        Event::DenialsCounted { .. } => 39,
    }
}

/// Kinds of events.
pub const EVENT_KINDS: usize = 40;

/// One strategy for each kind of record.
pub fn state_kinds() -> Vec<BoxedStrategy<StateRecord>> {
    let ids = || any::<u32>();
    vec![
        (
            (lineage(), any::<u64>(), any::<u64>(), time(), any::<i64>(), of(time())),
            (ids(), ids(), ids(), of((any::<i64>(), any::<i64>())), time()),
            (instance(), time(), any::<u64>(), any::<u64>(), any::<u64>()),
        )
            .prop_map(
                |(
                    (lineage, epoch, index, at, wall_ms, quarantine_until),
                    (next_vendor, next_pool, next_entitlement, clock_refused, forgotten_until),
                    (instance, lineage_since, ttl_max_seen_ms, remember_ms, wait_ttl_ms),
                )| {
                    StateRecord::Head {
                        lineage,
                        epoch: Epoch(epoch),
                        index: Index(index),
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
                    }
                },
            )
            .boxed(),
        (ids(), ".{0,40}", vec(any::<[u8; 32]>(), 0..3), of(ids()))
            .prop_map(|(vendor, name, keys, into)| StateRecord::Vendor { vendor: VendorId(vendor), name, keys, into: into.map(VendorId) })
            .boxed(),
        (ids(), ids(), feature(), of(ids()))
            .prop_map(|(pool, vendor, feature, into)| StateRecord::Pool {
                pool: PoolId(pool),
                vendor: VendorId(vendor),
                feature,
                into: into.map(PoolId),
            })
            .boxed(),
        (hash(), vec(any::<u8>(), 0..200), ids(), ids(), vec(ids().prop_map(PoolId), 0..4), actor(), of(one(RIGHT_ENDS)), of(any::<u64>()))
            .prop_map(|(license, note, vendor, first, pools, actor, removed, replaced)| StateRecord::License {
                replaced,
                license,
                note,
                terms: terms(),
                problem: Some("bad".to_owned()),
                vendor: VendorId(vendor),
                first_entitlement: EntitlementId(first),
                pools,
                actor,
                removed,
            })
            .boxed(),
        (ids(), of(any::<i64>()), of(one(RIGHT_ENDS)))
            .prop_map(|(id, began, ended)| StateRecord::Entitlement { entitlement: EntitlementId(id), began, ended })
            .boxed(),
        (
            (lease(), any::<u32>(), content(), holders(), items(), time(), any::<u64>()),
            (any::<u64>(), any::<u64>(), any::<u64>(), of(time()), any::<u64>(), time(), of((time(), one(END_REASONS)))),
            (any::<i64>(), of(time()), vec(charge(), 0..3), (embeds(), network()), of(any::<u64>())),
        )
            .prop_map(
                |(
                    (lease, attempt, content, holder, items, granted_at, epoch),
                    (index, ttl_ms, linger_ms, claim_due, heard, unheard_deadline, ending),
                    (granted_wall_ms, not_before, adopted, (embeds, network), asked_ttl_ms),
                )| {
                    StateRecord::Lease {
                        embeds,
                        asked_ttl_ms,
                        lease,
                        attempt,
                        content,
                        holder,
                        items,
                        granted_at,
                        granted_epoch: Epoch(epoch),
                        granted_index: Index(index),
                        ttl_ms,
                        linger_ms,
                        claim_due,
                        heard: Epoch(heard),
                        unheard_deadline,
                        ending,
                        granted_wall_ms,
                        not_before,
                        adopted,
                        network,
                    }
                },
            )
            .boxed(),
        (lease(), items(), time(), embeds())
            .prop_map(|(lease, items, until, embeds)| StateRecord::Lingering { lease, items, until, embeds })
            .boxed(),
        (
            lease(),
            any::<u32>(),
            content(),
            holders(),
            items(),
            any::<u64>(),
            any::<u64>(),
            time(),
            any::<u64>(),
            (any::<u64>(), time(), embeds(), network()),
        )
            .prop_map(
                |(lease, attempt, content, holder, items, ttl_ms, linger_ms, gives_up, order, (heard, unheard_due, embeds, network))| {
                    StateRecord::Waiter {
                        embeds,
                        heard: Epoch(heard),
                        unheard_due,
                        lease,
                        attempt,
                        content,
                        holder,
                        items,
                        ttl_ms,
                        linger_ms,
                        gives_up,
                        order,
                        network,
                    }
                },
            )
            .boxed(),
        (lease(), any::<u32>(), of(any::<[u8; 4]>()), of(denial().prop_map(Box::new)), of(one(END_REASONS)), time(), network())
            .prop_map(|(lease, attempt, content, denial, ended, forget, network)| StateRecord::Remembered {
                lease,
                attempt,
                content,
                denial,
                ended,
                forget,
                network,
            })
            .boxed(),
        (networks(), time()).prop_map(|(networks, until)| StateRecord::PresenceOff { networks, until }).boxed(),
        (lineage(), any::<u64>(), instance(), any::<u64>())
            .prop_map(|(lineage, epoch, instance, last)| {
                StateRecord::Epoch(EpochRecord { lineage, epoch: Epoch(epoch), instance, last: Index(last) })
            })
            .boxed(),
        Just(StateRecord::Format { words: words() }).boxed(),
        lease().prop_map(|lease| StateRecord::WordsAccepted { lease, words: words() }).boxed(),
        (time(), any::<u64>()).prop_map(|(until, leases)| StateRecord::FreedEarly { until, leases }).boxed(),
    ]
}

/// As `event_kind`.
pub fn state_kind(record: &StateRecord) -> usize {
    match record {
        StateRecord::Head { .. } => 0,
        StateRecord::Vendor { .. } => 1,
        StateRecord::Pool { .. } => 2,
        StateRecord::License { .. } => 3,
        StateRecord::Entitlement { .. } => 4,
        StateRecord::Lease { .. } => 5,
        StateRecord::Lingering { .. } => 6,
        StateRecord::Waiter { .. } => 7,
        StateRecord::Remembered { .. } => 8,
        StateRecord::PresenceOff { .. } => 9,
        StateRecord::Epoch(_) => 10,
        StateRecord::Format { .. } => 11,
        StateRecord::WordsAccepted { .. } => 12,
        StateRecord::FreedEarly { .. } => 13,
    }
}

/// Kinds of records.
pub const STATE_KINDS: usize = 14;

pub fn events() -> impl Strategy<Value = Event> {
    proptest::strategy::Union::new(event_kinds())
}

pub fn states() -> impl Strategy<Value = StateRecord> {
    proptest::strategy::Union::new(state_kinds())
}
