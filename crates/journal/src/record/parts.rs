//! Parts that several records share, and the numbers of plain kinds.

use minicbor::bytes::ByteArray;
use minicbor::{Decode, Decoder, Encode, Encoder};
use triquest_allocator::{
    Actor, Charge, Claim, Denial, DenialCode, DequeueReason, EndReason, EntitlementId, GrantedItem, Holder, PoolId, PoolNumbers,
    ReleaseCause, RightEnd,
};
use triquest_license::{FeatureName, Version};

/// Defines the frozen numbers of a plain kind. A number is never reused; a retired one stays reserved in a comment.
macro_rules! frozen {
    ($(#[$doc:meta])* $module:ident: $type:ty, $what:literal { $($code:literal = $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        pub(super) mod $module {
            /// The number of a kind.
            pub(in crate::record) fn code(kind: $type) -> u8 {
                match kind { $(<$type>::$variant => $code),* }
            }

            /// The kind of a number.
            pub(in crate::record) fn kind(code: u8) -> Result<$type, String> {
                match code {
                    $($code => Ok(<$type>::$variant),)*
                    unknown => Err(format!(concat!("unknown ", $what, " {}; a newer version may have written it"), unknown)),
                }
            }
        }
    };
}

frozen! { end_reason: super::EndReason, "reason of an end" {
    1 = Expired, 2 = Released, 3 = Presence, 4 = Reclaimed, 5 = LicenseEnded, 6 = LicenseReplaced, 7 = LicenseRemoved, 8 = Excluded, 9 = Unclaimed,
} }
frozen! { release_cause: super::ReleaseCause, "cause of a release" { 1 = Holder, 2 = Presence } }
frozen! { dequeue_reason: super::DequeueReason, "reason for leaving the line" { 1 = Released, 2 = Silent, 3 = WaitOver, 4 = Hopeless } }
frozen! { right_end: super::RightEnd, "end of an entitlement" { 1 = Expired, 2 = Removed, 3 = Replaced } }
frozen! { denial_code: super::DenialCode, "code of a denial" {
    1 = NoSeatFree, 2 = MoreThanPool, 3 = VersionNotCovered, 4 = Expired, 5 = NotYetValid, 6 = UnknownFeature, 7 = UnknownVendor, 8 = LeaseEnded,
    9 = QueueFull, 10 = Quarantine, 11 = ServerFull, 12 = WaitOver,
} }

pub(super) type Bytes16 = ByteArray<16>;
pub(super) type Bytes32 = ByteArray<32>;

pub(super) fn is_false(value: &bool) -> bool {
    !*value
}

pub(super) fn is_zero(value: &u64) -> bool {
    *value == 0
}

pub(super) fn is_empty<T>(list: &[T]) -> bool {
    list.is_empty()
}

/// What somebody said of a holder.
#[derive(Encode, Decode)]
pub(super) struct ClaimRecord<'a> {
    #[b(0)]
    value: &'a str,
    /// Absent is claimed.
    #[cbor(n(1), skip_if = "is_false")]
    proved: bool,
}

/// A holder; a field that is absent was not said.
#[derive(Encode, Decode)]
pub(super) struct HolderRecord<'a> {
    #[b(0)]
    user: Option<ClaimRecord<'a>>,
    #[b(1)]
    host: Option<ClaimRecord<'a>>,
    #[b(2)]
    address: Option<ClaimRecord<'a>>,
    #[b(3)]
    process: Option<ClaimRecord<'a>>,
    #[b(4)]
    session: Option<ClaimRecord<'a>>,
    #[b(5)]
    display: Option<ClaimRecord<'a>>,
    #[b(6)]
    container: Option<ClaimRecord<'a>>,
    #[b(7)]
    job: Option<ClaimRecord<'a>>,
    #[b(8)]
    project: Option<ClaimRecord<'a>>,
}

impl<'a> From<&'a Holder> for HolderRecord<'a> {
    fn from(holder: &'a Holder) -> Self {
        fn claim(claim: &Option<Claim>) -> Option<ClaimRecord<'_>> {
            claim.as_ref().map(|claim| ClaimRecord { value: &claim.value, proved: claim.proved })
        }
        let Holder { user, host, display, session, address, container, process, job, project } = holder;
        Self {
            user: claim(user),
            host: claim(host),
            address: claim(address),
            process: claim(process),
            session: claim(session),
            display: claim(display),
            container: claim(container),
            job: claim(job),
            project: claim(project),
        }
    }
}

impl From<HolderRecord<'_>> for Holder {
    fn from(record: HolderRecord<'_>) -> Self {
        fn claim(record: Option<ClaimRecord<'_>>) -> Option<Claim> {
            record.map(|record| Claim { value: record.value.to_owned(), proved: record.proved })
        }
        Self {
            user: claim(record.user),
            host: claim(record.host),
            display: claim(record.display),
            session: claim(record.session),
            address: claim(record.address),
            container: claim(record.container),
            process: claim(record.process),
            job: claim(record.job),
            project: claim(record.project),
        }
    }
}

/// Who did it.
#[derive(Encode, Decode)]
pub(super) struct ActorRecord<'a> {
    #[b(0)]
    name: &'a str,
    /// Absent is no reason given.
    #[b(1)]
    reason: Option<&'a str>,
}

impl<'a> From<&'a Actor> for ActorRecord<'a> {
    fn from(Actor { name, reason }: &'a Actor) -> Self {
        Self { name, reason: (!reason.is_empty()).then_some(reason.as_str()) }
    }
}

impl From<ActorRecord<'_>> for Actor {
    fn from(record: ActorRecord<'_>) -> Self {
        Self { name: record.name.to_owned(), reason: record.reason.unwrap_or_default().to_owned() }
    }
}

/// A version, as the list of its numbers as they were written.
pub(super) struct VersionRecord(Version);

impl From<Version> for VersionRecord {
    fn from(version: Version) -> Self {
        Self(version)
    }
}

impl From<VersionRecord> for Version {
    fn from(record: VersionRecord) -> Self {
        record.0
    }
}

impl<C> Encode<C> for VersionRecord {
    fn encode<W: minicbor::encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        let numbers = self.0.numbers();
        e.array(numbers.len() as u64)?;
        numbers.iter().try_for_each(|&number| e.u32(number).map(|_| ()))
    }
}

impl<'b, C> Decode<'b, C> for VersionRecord {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let wrong = || minicbor::decode::Error::message("a version has one to four numbers");
        let count = d.array()?.and_then(|count| usize::try_from(count).ok()).ok_or_else(wrong)?;
        let mut numbers = [0; 4];
        let numbers = numbers.get_mut(..count).ok_or_else(wrong)?;
        for number in numbers.iter_mut() {
            *number = d.u32()?;
        }
        Version::new(numbers).map(Self).map_err(|_| wrong())
    }
}

/// Seats charged to one entitlement.
#[derive(Encode, Decode)]
pub(super) struct ChargeRecord {
    #[n(0)]
    entitlement: u32,
    #[n(1)]
    seats: u32,
}

/// One part of a lease.
#[derive(Encode, Decode)]
pub(super) struct ItemRecord {
    #[n(0)]
    pool: u32,
    #[n(1)]
    seats: u32,
    /// Absent is charged nowhere: a waiter.
    #[cbor(n(2), skip_if = "is_empty")]
    charges: Vec<ChargeRecord>,
    /// Absent is a checkout that named no version.
    #[n(3)]
    version: Option<VersionRecord>,
}

pub(super) fn items(items: &[GrantedItem]) -> Vec<ItemRecord> {
    let charge = |&Charge { entitlement, seats }: &Charge| ChargeRecord { entitlement: entitlement.0, seats };
    items
        .iter()
        .map(|GrantedItem { pool, version, seats, charges }| ItemRecord {
            pool: pool.0,
            seats: *seats,
            charges: charges.iter().map(charge).collect(),
            version: version.map(VersionRecord),
        })
        .collect()
}

pub(super) fn granted_items(records: Vec<ItemRecord>) -> Vec<GrantedItem> {
    let charge = |record: ChargeRecord| Charge { entitlement: EntitlementId(record.entitlement), seats: record.seats };
    records
        .into_iter()
        .map(|record| GrantedItem {
            pool: PoolId(record.pool),
            version: record.version.map(Version::from),
            seats: record.seats,
            charges: record.charges.into_iter().map(charge).collect(),
        })
        .collect()
}

/// The numbers of a pool; absent is 0.
#[derive(Encode, Decode)]
struct PoolNumbersRecord {
    #[n(0)]
    total: u32,
    #[n(1)]
    used: u32,
    #[n(2)]
    lingering: u32,
    #[n(3)]
    reserved_idle: u32,
    #[n(4)]
    free: u32,
    #[n(5)]
    over: u32,
    #[n(6)]
    queued: u32,
}

/// A denial with its numbers.
#[derive(Encode, Decode)]
pub(super) struct DenialRecord<'a> {
    #[n(0)]
    code: u8,
    #[n(1)]
    seats: u32,
    #[b(2)]
    feature: Option<&'a str>,
    /// Absent if there is no pool: all zero.
    #[n(3)]
    pool: Option<PoolNumbersRecord>,
    #[n(4)]
    first_due_ms: Option<u64>,
    #[n(5)]
    newest_version: Option<VersionRecord>,
    #[n(6)]
    at_civil_ms: Option<i64>,
    /// Absent: the clock is followed, or has no part in it.
    #[n(7)]
    clock_ms: Option<i64>,
}

impl<'a> From<&'a Denial> for DenialRecord<'a> {
    fn from(denial: &'a Denial) -> Self {
        let Denial { code, feature, seats, pool, first_due_ms, newest_version, at_civil_ms, clock_ms } = denial;
        let &PoolNumbers { total, used, lingering, reserved_idle, free, over, queued } = pool;
        Self {
            code: denial_code::code(*code),
            seats: *seats,
            feature: feature.as_ref().map(FeatureName::as_str),
            pool: (*pool != PoolNumbers::default()).then_some(PoolNumbersRecord {
                total,
                used,
                lingering,
                reserved_idle,
                free,
                over,
                queued,
            }),
            first_due_ms: *first_due_ms,
            newest_version: newest_version.map(VersionRecord),
            at_civil_ms: *at_civil_ms,
            clock_ms: *clock_ms,
        }
    }
}

impl TryFrom<DenialRecord<'_>> for Denial {
    type Error = String;

    fn try_from(record: DenialRecord<'_>) -> Result<Self, String> {
        Ok(Self {
            code: denial_code::kind(record.code)?,
            feature: record.feature.map(feature).transpose()?,
            seats: record.seats,
            pool: record.pool.map_or_else(PoolNumbers::default, |record| {
                let PoolNumbersRecord { total, used, lingering, reserved_idle, free, over, queued } = record;
                PoolNumbers { total, used, lingering, reserved_idle, free, over, queued }
            }),
            first_due_ms: record.first_due_ms,
            newest_version: record.newest_version.map(Version::from),
            at_civil_ms: record.at_civil_ms,
            clock_ms: record.clock_ms,
        })
    }
}

pub(super) fn feature(name: &str) -> Result<FeatureName, String> {
    FeatureName::new(name).map_err(|error| error.to_string())
}

/// Charges as pairs of an entitlement and its seats.
pub(super) fn charge_pairs(charges: &[Charge]) -> Vec<PairRecord> {
    charges.iter().map(|charge| PairRecord { first: charge.entitlement.0, second: charge.seats }).collect()
}

/// The charges again.
pub(super) fn plain_charges(pairs: Vec<PairRecord>) -> Vec<Charge> {
    pairs.into_iter().map(|pair| Charge { entitlement: EntitlementId(pair.first), seats: pair.second }).collect()
}

/// Two civil times that belong together, unix milliseconds.
#[derive(Encode, Decode)]
pub(super) struct TimesRecord {
    #[n(0)]
    pub(super) first: i64,
    #[n(1)]
    pub(super) second: i64,
}

/// Two numbers that belong together.
#[derive(Encode, Decode)]
pub(super) struct PairRecord {
    #[n(0)]
    pub(super) first: u32,
    #[n(1)]
    pub(super) second: u32,
}
