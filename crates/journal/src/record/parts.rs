//! Parts that several records share, and the numbers of plain kinds.

use minicbor::bytes::ByteArray;
use minicbor::{Decode, Decoder, Encode, Encoder};
use triquest_allocator::{
    Actor, Charge, Claim, Denial, DenialCode, DequeueReason, EndReason, EntitlementId, GrantedItem, Holder, InstalledEntitlement,
    InstalledLeftOut, InstalledTerms, Network, Networks, PoolId, PoolNumbers, ReleaseCause, RightEnd, WideNetwork,
};
use triquest_license::{FeatureName, LicenseId, Version, Word, Words};

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
    9 = QueueFull, 10 = Quarantine, 11 = ServerFull, 12 = WaitOver, 13 = WordsNotAccepted,
} }

pub(super) type Bytes4 = ByteArray<4>;
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
    total: u64,
    #[n(1)]
    used: u64,
    #[n(2)]
    lingering: u64,
    #[n(3)]
    reserved_idle: u64,
    #[n(4)]
    free: u64,
    #[n(5)]
    over: u64,
    #[n(6)]
    queued: u64,
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

/// Networks: none of the bytes of an address for all, the first 3 or 6 for a wider network, 4 or 8 for a network.
pub(super) struct NetworksRecord(pub(super) Networks);

impl<C> Encode<C> for NetworksRecord {
    fn encode<W: minicbor::encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        match &self.0 {
            Networks::All => e.bytes(&[])?,
            Networks::One(Network::V4(network)) => e.bytes(network)?,
            Networks::One(Network::V6(network)) => e.bytes(network)?,
            Networks::Wide(WideNetwork::V4(network)) => e.bytes(network)?,
            Networks::Wide(WideNetwork::V6(network)) => e.bytes(network)?,
        };
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for NetworksRecord {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Ok(Self(match *d.bytes()? {
            [] => Networks::All,
            [a, b, c] => Networks::Wide(WideNetwork::V4([a, b, c])),
            [a, b, c, d] => Networks::One(Network::V4([a, b, c, d])),
            [a, b, c, d, e, f] => Networks::Wide(WideNetwork::V6([a, b, c, d, e, f])),
            [a, b, c, d, e, f, g, h] => Networks::One(Network::V6([a, b, c, d, e, f, g, h])),
            _ => return Err(minicbor::decode::Error::message("networks have 0, 3, 4, 6 or 8 bytes")),
        }))
    }
}

/// A network: the 4 bytes of an IPv4 address, or the first 8 of an IPv6 address.
pub(super) struct NetworkRecord(pub(super) Network);

impl<C> Encode<C> for NetworkRecord {
    fn encode<W: minicbor::encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        match &self.0 {
            Network::V4(network) => e.bytes(network)?,
            Network::V6(network) => e.bytes(network)?,
        };
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for NetworkRecord {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        match (bytes.try_into(), bytes.try_into()) {
            (Ok(network), _) => Ok(Self(Network::V4(network))),
            (_, Ok(network)) => Ok(Self(Network::V6(network))),
            _ => Err(minicbor::decode::Error::message("a network has 4 or 8 bytes")),
        }
    }
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

/// What is understood of a license.
#[derive(Encode, Decode)]
pub(super) struct TermsRecord {
    #[n(0)]
    license: String,
    #[n(1)]
    vendor: String,
    #[n(2)]
    licensee: String,
    #[cbor(n(3), skip_if = "is_empty")]
    replaces: Vec<String>,
    #[cbor(n(4), skip_if = "is_empty")]
    pub(super) entitlements: Vec<EntitlementRecord>,
    #[cbor(n(5), skip_if = "is_empty")]
    pub(super) left_out: Vec<LeftOutRecord>,
    #[n(6)]
    issued_ms: i64,
    #[n(7)]
    keys: Vec<Bytes32>,
}

/// One right.
#[derive(Encode, Decode)]
pub(super) struct EntitlementRecord {
    #[n(0)]
    position: u16,
    #[n(1)]
    feature: String,
    /// Absent: every version.
    #[n(2)]
    version: Option<String>,
    #[n(3)]
    seats: u32,
    /// Absent: from the beginning.
    #[n(4)]
    starts: Option<i64>,
    #[n(5)]
    starts_written: Option<String>,
    /// Absent: it never ends.
    #[n(6)]
    expires: Option<i64>,
    #[n(7)]
    expires_written: Option<String>,
    /// Absent: the server's own.
    #[n(8)]
    ttl_ms: Option<u64>,
    #[n(9)]
    ttl_max_ms: u64,
    /// Absent: seats are free at once after release.
    #[cbor(n(10), skip_if = "is_zero")]
    linger_ms: u64,
    /// Absent: none.
    #[cbor(n(11), skip_if = "is_zero")]
    grace_ms: u64,
    #[n(12)]
    presence: bool,
    #[n(13)]
    vendor_data: Option<String>,
    /// Absent: none.
    #[cbor(n(14), skip_if = "is_empty")]
    needs: Vec<String>,
}

/// A right that was left out.
#[derive(Encode, Decode)]
pub(super) struct LeftOutRecord {
    #[n(0)]
    position: u16,
    #[n(1)]
    feature: Option<String>,
    #[n(2)]
    unknown: Vec<String>,
}

pub(super) fn word_texts(words: &Words) -> Vec<String> {
    words.iter().map(|word| word.as_str().to_owned()).collect()
}

pub(super) fn words(texts: &[String]) -> Result<Words, String> {
    Words::parse(texts.iter().map(String::as_str)).map_err(|error| error.to_string())
}

impl From<&InstalledEntitlement> for EntitlementRecord {
    fn from(right: &InstalledEntitlement) -> Self {
        Self {
            position: right.position,
            feature: right.feature.as_str().to_owned(),
            version: right.version.map(|version| version.to_string()),
            seats: right.seats,
            starts: right.starts,
            starts_written: right.starts_written.clone(),
            expires: right.expires,
            expires_written: right.expires_written.clone(),
            ttl_ms: right.ttl_ms,
            ttl_max_ms: right.ttl_max_ms,
            linger_ms: right.linger_ms,
            grace_ms: right.grace_ms,
            presence: right.presence,
            vendor_data: right.vendor_data.clone(),
            needs: word_texts(&right.needs),
        }
    }
}

impl TryFrom<EntitlementRecord> for InstalledEntitlement {
    type Error = String;

    fn try_from(record: EntitlementRecord) -> Result<Self, String> {
        Ok(Self {
            position: record.position,
            feature: feature(&record.feature)?,
            version: record.version.map(|version| version.parse::<Version>().map_err(|error| error.to_string())).transpose()?,
            seats: record.seats,
            starts: record.starts,
            starts_written: record.starts_written,
            expires: record.expires,
            expires_written: record.expires_written,
            ttl_ms: record.ttl_ms,
            ttl_max_ms: record.ttl_max_ms,
            linger_ms: record.linger_ms,
            grace_ms: record.grace_ms,
            presence: record.presence,
            vendor_data: record.vendor_data,
            needs: words(&record.needs)?,
        })
    }
}

impl From<&InstalledLeftOut> for LeftOutRecord {
    fn from(out: &InstalledLeftOut) -> Self {
        Self {
            position: out.position,
            feature: out.feature.as_ref().map(|feature| feature.as_str().to_owned()),
            unknown: out.unknown.iter().map(|word| word.as_str().to_owned()).collect(),
        }
    }
}

impl TryFrom<LeftOutRecord> for InstalledLeftOut {
    type Error = String;

    fn try_from(record: LeftOutRecord) -> Result<Self, String> {
        Ok(Self {
            position: record.position,
            feature: record.feature.as_deref().map(feature).transpose()?,
            unknown: record.unknown.iter().map(|word| Word::new(word).map_err(|error| error.to_string())).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&InstalledTerms> for TermsRecord {
    fn from(terms: &InstalledTerms) -> Self {
        Self {
            license: terms.license.as_str().to_owned(),
            vendor: terms.vendor.clone(),
            keys: terms.keys.iter().map(|key| (*key).into()).collect(),
            licensee: terms.licensee.clone(),
            issued_ms: terms.issued_ms,
            replaces: terms.replaces.iter().map(|id| id.as_str().to_owned()).collect(),
            entitlements: terms.entitlements.iter().map(Into::into).collect(),
            left_out: terms.left_out.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<TermsRecord> for InstalledTerms {
    type Error = String;

    fn try_from(record: TermsRecord) -> Result<Self, String> {
        let id = |text: &str| LicenseId::new(text).map_err(|error| error.to_string());
        Ok(Self {
            license: id(&record.license)?,
            vendor: record.vendor,
            keys: record.keys.into_iter().map(<[u8; 32]>::from).collect(),
            licensee: record.licensee,
            issued_ms: record.issued_ms,
            replaces: record.replaces.iter().map(|text| id(text)).collect::<Result<_, _>>()?,
            entitlements: record.entitlements.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            left_out: record.left_out.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}
