//! From what travels to what is decided, and back.

use triquest_allocator::{CheckoutItem, ContentDigest, Denial, DenialCode, Holder, Outcome, PoolNumbers, Refusal};
use triquest_license::{CivilMs, FeatureName, Version, Written, sha256};
use triquest_wire::{
    Bytes16, Effect, ErrorCode, LeaseId, Lineage, Position, Problem,
    lease::{CheckoutAnswer, Denial as WireDenial, DenialCode as WireCode, Item, PoolNumbers as WireNumbers, RenewAnswer},
    limits::ITEMS_PER_CHECKOUT_MAX,
    trust::SignedGrant,
};

use super::bad;
use crate::view::wire_end_reason;

pub(super) fn to_core(lease: LeaseId) -> triquest_allocator::LeaseId {
    triquest_allocator::LeaseId(lease.0)
}

/// Parses the parts of a checkout. Each feature once, at least one seat each.
pub(super) fn items(items: &[Item]) -> Result<Vec<CheckoutItem>, Problem> {
    if items.is_empty() {
        return Err(bad("items: needs at least one"));
    }
    if items.len() > ITEMS_PER_CHECKOUT_MAX {
        return Err(Problem::new(
            ErrorCode::LimitReached,
            format!("items: {} parts, at most {ITEMS_PER_CHECKOUT_MAX} are taken", items.len()),
        ));
    }
    let mut parsed: Vec<CheckoutItem> = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let feature = FeatureName::new(&item.feature).map_err(|cause| bad(format!("items[{place}].feature: {cause}")))?;
        let version = item
            .version
            .as_deref()
            .map(str::parse::<Version>)
            .transpose()
            .map_err(|cause| bad(format!("items[{place}].version: {cause}")))?;
        if item.seats == 0 {
            return Err(bad(format!("items[{place}].seats: needs at least 1")));
        }
        if parsed.iter().any(|other| other.feature == feature) {
            return Err(bad(format!("items[{place}].feature: `{feature}` stands twice; ask for the sum of seats")));
        }
        parsed.push(CheckoutItem { feature, version, seats: item.seats });
    }
    Ok(parsed)
}

/// What a lease is for: holder and parts. Not the address, which changes as laptops move, nor the keys that the application embeds, which change with its
/// versions: a lease keeps those of its grant.
pub(super) fn content(holder: &Holder, items: &[CheckoutItem]) -> ContentDigest {
    let mut bytes = Vec::with_capacity(512);
    let Holder { user, host, display, session, address: _, container, process, job, project } = holder;
    for claim in [user, host, display, session, container, process, job, project] {
        // Lengths before texts, so that no text can pass for two.
        match claim {
            Some(claim) => {
                bytes.extend_from_slice(&(claim.value.len() as u64 + 1).to_be_bytes());
                bytes.extend_from_slice(claim.value.as_bytes());
            }
            None => bytes.extend_from_slice(&0u64.to_be_bytes()),
        }
    }
    bytes.extend_from_slice(&(items.len() as u64).to_be_bytes());
    for item in items {
        bytes.extend_from_slice(&(item.feature.as_str().len() as u64).to_be_bytes());
        bytes.extend_from_slice(item.feature.as_str().as_bytes());
        let numbers = item.version.as_ref().map_or(&[][..], Version::numbers);
        bytes.push(u8::try_from(numbers.len()).unwrap_or(u8::MAX));
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        bytes.extend_from_slice(&item.seats.to_be_bytes());
    }
    let mut digest = [0; 16];
    digest.copy_from_slice(&sha256(&bytes)[..16]);
    ContentDigest(digest)
}

/// What a checkout became.
pub(super) fn checkout_answer(
    outcome: Outcome,
    position: Position,
    signed: Option<SignedGrant>,
    licenses: Vec<String>,
    vendor_keys: usize,
) -> Result<CheckoutAnswer, Problem> {
    match outcome {
        Outcome::Denied(told) => Ok(CheckoutAnswer::Denied { position, denial: denial_in(Some(position.lineage), &told, vendor_keys) }),
        Outcome::Ended { reason, remaining_ms } => {
            let reason = wire_end_reason(reason);
            Ok(CheckoutAnswer::Ended { position, reason, retry: reason.retry(), remaining_ms })
        }
        Outcome::Granted(grant) => {
            let signed = signed.ok_or_else(|| Problem::new(ErrorCode::Internal, "the grant has no signature"))?;
            Ok(CheckoutAnswer::Granted { position, grant: signed, remaining_ms: grant.remaining_ms, licenses })
        }
        Outcome::Waiting { place, pool, gives_up_in_ms, first_due_ms } => {
            Ok(CheckoutAnswer::Waiting { position, place, pool: numbers(pool), gives_up_in_ms, first_due_ms })
        }
        Outcome::Refused(refusal) => Err(refused(&refusal)),
        other => Err(unexpected(&other)),
    }
}

/// What a renewal became.
pub(super) fn renew_answer(outcome: Outcome, position: Position, nonce: Bytes16, counter: u64) -> Result<RenewAnswer, Problem> {
    match outcome {
        Outcome::Ended { reason, remaining_ms } => {
            let reason = wire_end_reason(reason);
            Ok(RenewAnswer::Ended { position, reason, retry: reason.retry(), remaining_ms })
        }
        Outcome::Renewed { remaining_ms, regrant } => Ok(RenewAnswer::Renewed { position, nonce, counter, remaining_ms, regrant }),
        Outcome::Refused(refusal) => Err(refused(&refusal)),
        other => Err(unexpected(&other)),
    }
}

/// An outcome that this command never has: a defect, not a peer's fault.
pub(super) fn unexpected(outcome: &Outcome) -> Problem {
    tracing::error!(?outcome, "an outcome that does not fit its command");
    Problem::new(ErrorCode::Internal, "the server decided something that does not fit the request")
}

/// A refusal as a problem.
pub(super) fn refused(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::AlreadyInstalled(hash) => Problem::new(ErrorCode::NothingToDo, format!("license {hash} is installed already")),
        Refusal::ClonedClient => {
            Problem::new(ErrorCode::ClonedClient, "a renewal with this counter and another nonce was seen: two clients use one secret")
                .hint("each process makes its own secret; a copied or forked one must not go on with its parent's")
        }
        Refusal::Expired(hash) => {
            Problem::new(ErrorCode::BadLicense, format!("license {hash} has ended")).hint("ask the vendor for its successor")
        }
        Refusal::HadEffect(refusal) => Problem { took_effect: Effect::Unknown, ..refused(refusal) },
        Refusal::IdTaken => Problem::new(ErrorCode::IdTaken, "this secret's lease is for another holder or other parts")
            .hint("make a fresh secret for each lease"),
        Refusal::LicenseIdTaken { installed } => {
            Problem::new(ErrorCode::LicenseIdTaken, format!("another text is installed under this license id (SHA-256 {installed})"))
                .hint("remove that one first, or ask the vendor for a license that `replaces` it")
        }
        Refusal::LicenseUnknown(hash) => Problem::new(
            ErrorCode::LicenseUnknown,
            format!("the shown grant is charged to the license with SHA-256 {hash}, which is not installed here"),
        )
        .hint("the server's administrator installs it again with `triquest-lm license install FILE`; then the seat is taken over"),
        Refusal::LimitReached(what) => Problem::new(ErrorCode::LimitReached, *what),
        Refusal::Malformed(what) => bad(*what),
        Refusal::NothingToDo(what) => Problem::new(ErrorCode::NothingToDo, *what),
        Refusal::OtherHistory => Problem::new(
            ErrorCode::OtherHistory,
            "another history has begun since: a client has proved that entries of the one before are lost",
        )
        .hint("look at `triquest-lm status`, and ask again if its quarantine is to be ended too"),
        Refusal::Replaced { by, since_ms, .. } => Problem::new(
            ErrorCode::NothingToDo,
            format!("the license was replaced by {by}, in force since {}", triquest_license::CivilMs(*since_ms)),
        ),
        Refusal::StaleAttempt { last } => Problem::new(ErrorCode::StaleAttempt, format!("attempt {last} of this secret was seen")),
        Refusal::StaleCounter => Problem::new(ErrorCode::StaleCounter, "a renewal with a higher counter was seen"),
        Refusal::TooManyIds { retry_after_ms } => Problem {
            retry_after_ms: Some(*retry_after_ms),
            ..Problem::new(ErrorCode::TooManyIds, "this network has made the server remember too many ended or denied leases")
                .hint("keep a lease and renew it, and wait in line with `wait_ms`, instead of checking out again and again")
        },
        Refusal::UnknownLease => Problem::new(ErrorCode::UnknownLease, "there is no such lease, and none is remembered")
            .hint("check out again with a fresh secret"),
        Refusal::UnknownLicense => {
            Problem::new(ErrorCode::NotFound, "there is no such license here").hint("`triquest-lm license list` shows what is installed")
        }
    }
}

pub(super) fn numbers(pool: PoolNumbers) -> WireNumbers {
    let PoolNumbers { total, used, lingering, reserved_idle, free, over, queued } = pool;
    WireNumbers { total, used, lingering, reserved_idle, free, over, queued }
}

pub(super) fn code(code: DenialCode) -> WireCode {
    match code {
        DenialCode::Expired => WireCode::Expired,
        DenialCode::LeaseEnded => WireCode::LeaseEnded,
        DenialCode::MoreThanPool => WireCode::MoreThanPool,
        DenialCode::NoSeatFree => WireCode::NoSeatFree,
        DenialCode::NotYetValid => WireCode::NotYetValid,
        DenialCode::Quarantine => WireCode::Quarantine,
        DenialCode::QueueFull => WireCode::QueueFull,
        DenialCode::ServerFull => WireCode::ServerFull,
        DenialCode::UnknownFeature => WireCode::UnknownFeature,
        DenialCode::UnknownVendor => WireCode::UnknownVendor,
        DenialCode::VersionNotCovered => WireCode::VersionNotCovered,
        DenialCode::WaitOver => WireCode::WaitOver,
        DenialCode::WordsNotAccepted => WireCode::WordsNotAccepted,
    }
}

/// A denial with a sentence and a next step, told apart from the history that it was decided in.
pub(super) fn denial(denial: &Denial, vendor_keys: usize) -> WireDenial {
    denial_in(None, denial, vendor_keys)
}

/// The same where the history is known, which an administrator's next step may have to name.
fn denial_in(lineage: Option<Lineage>, denial: &Denial, vendor_keys: usize) -> WireDenial {
    let feature = denial.feature.as_ref().map(ToString::to_string);
    let named = feature.as_deref().unwrap_or("this checkout");
    let at = denial.at_civil_ms.map(|ms| CivilMs(ms).to_string());
    // As the license writes it: a day of a license is longer than a day of UTC.
    let day = |written: fn(CivilMs) -> Written| {
        denial.at_civil_ms.map_or_else(|| "another day".to_owned(), |ms| written(CivilMs(ms)).to_string())
    };
    let pool = &denial.pool;
    let in_use = in_use(pool);
    let due = denial.first_due_ms.map(|ms| format!(", the first may be free in {}", span(ms))).unwrap_or_default();
    let newest = denial.newest_version.as_ref().map(ToString::to_string);
    let (message, hint) = match denial.code {
        DenialCode::Expired if denial.at_civil_ms.is_none() => (
            format!("the license for `{named}` was taken off this server: it was removed, or another one took its place"),
            "the server's administrator can say why, and install a license for it".to_owned(),
        ),
        DenialCode::Expired => (
            format!("the last day of the license for `{named}` was {}", day(Written::of_end)),
            "the server's administrator installs the vendor's next license".to_owned(),
        ),
        DenialCode::LeaseEnded => ("this lease has ended and cannot be taken again".to_owned(), "check out anew".to_owned()),
        DenialCode::MoreThanPool => (
            format!("{} of `{named}` wanted, but there are {} in all", seats(denial.seats), pool.total),
            "ask for fewer; waiting cannot help".to_owned(),
        ),
        DenialCode::NoSeatFree => (
            format!("no seat free for `{named}` ({in_use}{due})"),
            format!("`triquest-lm status {named}` shows the use; `--wait 10m` waits in line"),
        ),
        DenialCode::NotYetValid => {
            (format!("the license for `{named}` begins on {}", day(Written::of_begin)), "it takes effect by itself".to_owned())
        }
        DenialCode::Quarantine => (
            format!(
                "the server's history was restored or rolled back, and seats granted before may still be in use: no new seat{}",
                denial.first_due_ms.map(|ms| format!(" for {}", span(ms))).unwrap_or_default()
            ),
            format!(
                "it grants again by itself; clients that hold a seat go on; an administrator ends it sooner{}",
                lineage.map_or_else(String::new, |lineage| format!(
                    " with `triquest-lm quarantine end --lineage {} --reason TEXT`",
                    lineage.short()
                ))
            ),
        ),
        DenialCode::QueueFull => {
            (format!("no seat free for `{named}` ({in_use}), and the line of {} is full", pool.queued), "ask again later".to_owned())
        }
        DenialCode::ServerFull => {
            ("the server is at its limit of leases".to_owned(), "ask again later, and tell the administrator".to_owned())
        }
        DenialCode::UnknownFeature => (
            match vendor_keys {
                1 => format!("no license here that this vendor's key signed has the feature `{named}`"),
                _ => format!("no license here that one of this vendor's keys signed has the feature `{named}`"),
            },
            "`triquest-lm license list` on the server shows the features, and where keys differ which signed what; case counts".to_owned(),
        ),
        DenialCode::UnknownVendor => (
            if vendor_keys == 1 {
                "no license here is by this vendor's key".to_owned()
            } else {
                "no license here is by any of this vendor's keys".to_owned()
            },
            "the server's administrator installs the vendor's license with `triquest-lm license install FILE`".to_owned(),
        ),
        DenialCode::VersionNotCovered => (
            format!("the licenses for `{named}` cover versions up to {}", newest.as_deref().unwrap_or("an older one")),
            "use that version, or ask the vendor for an upgrade".to_owned(),
        ),
        DenialCode::WordsNotAccepted => {
            (format!("the license for `{named}` is for newer versions of this application"), "update the application".to_owned())
        }
        DenialCode::WaitOver => {
            (format!("the wait for `{named}` ended without a seat ({in_use}{due})"), "wait longer with `--wait`".to_owned())
        }
    };
    let (message, hint) = match denial.clock_ms {
        // The date is one of a time that the machine's clock does not say: then the clock comes first.
        Some(clock_ms) => (
            format!("{message}; but the server's clock says {} and is not followed", CivilMs(clock_ms)),
            "if that is right, the administrator runs `triquest-lm clock accept --reason TEXT` on the server".to_owned(),
        ),
        None => (message, hint),
    };
    WireDenial {
        code: code(denial.code),
        retry: code(denial.code).retry(),
        feature,
        seats: denial.seats,
        pool: numbers(denial.pool),
        first_due_ms: denial.first_due_ms,
        newest_version: newest,
        at,
        message,
        hint,
    }
}

fn seats(count: u32) -> String {
    if count == 1 { "1 seat".to_owned() } else { format!("{count} seats") }
}

fn in_use(pool: &PoolNumbers) -> String {
    let mut text = format!("{} of {} in use", pool.used, pool.total);
    for (count, what) in [(pool.lingering, "lingering"), (pool.reserved_idle, "reserved"), (pool.queued, "waiting")] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

/// Milliseconds for people: `45 s`, `4 min`, `3 h`, `2 d`.
fn span(ms: u64) -> String {
    match ms.div_ceil(1_000) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds.div_ceil(60)),
        seconds @ 7_200..172_800 => format!("{} h", seconds.div_ceil(3_600)),
        seconds => format!("{} d", seconds.div_ceil(86_400)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use triquest_allocator::Claim;

    #[test]
    fn a_denial_gives_its_numbers_first_and_one_next_step() {
        let told = denial(
            &Denial {
                code: DenialCode::NoSeatFree,
                feature: Some(FeatureName::new("cad").unwrap()),
                seats: 1,
                pool: PoolNumbers { total: 2, used: 2, lingering: 1, queued: 3, ..PoolNumbers::default() },
                first_due_ms: Some(29_001),
                newest_version: None,
                at_civil_ms: None,
                clock_ms: None,
            },
            1,
        );
        assert_eq!(told.message, "no seat free for `cad` (2 of 2 in use, 1 lingering, 3 waiting, the first may be free in 30 s)");
        assert!(told.hint.contains("--wait"));
    }

    #[test]
    fn a_restored_server_says_until_when_it_denies() {
        let told = denial_in(
            Some(Lineage([0xab; 16])),
            &Denial {
                code: DenialCode::Quarantine,
                feature: None,
                seats: 0,
                pool: PoolNumbers::default(),
                first_due_ms: Some(3_600_000),
                newest_version: None,
                at_civil_ms: None,
                clock_ms: None,
            },
            1,
        );
        assert_eq!(
            told.message,
            "the server's history was restored or rolled back, and seats granted before may still be in use: no new seat for 60 min"
        );
        assert!(told.hint.ends_with(" with `triquest-lm quarantine end --lineage abababab --reason TEXT`"), "{}", told.hint);
    }

    #[test]
    fn the_first_and_the_last_day_are_said_as_the_license_writes_them() {
        let told = |code, at: CivilMs| {
            let none = PoolNumbers::default();
            let feature = Some(FeatureName::new("fut").unwrap());
            let denied = Denial {
                code,
                feature,
                seats: 1,
                pool: none,
                first_due_ms: None,
                newest_version: None,
                at_civil_ms: Some(at.0),
                clock_ms: None,
            };
            denial(&denied, 1).message
        };
        for written in ["2027-01-01", "2027-01-01T18:00:00Z"] {
            let instant: Written = written.parse().unwrap();
            assert_eq!(told(DenialCode::NotYetValid, instant.begins()), format!("the license for `fut` begins on {written}"));
            assert_eq!(told(DenialCode::Expired, instant.ends()), format!("the last day of the license for `fut` was {written}"));
        }
    }

    #[test]
    fn content_tells_holders_and_parts_apart_but_not_addresses() {
        let claim = |value: &str, proved| Some(Claim { value: value.into(), proved });
        let ana = Holder { user: claim("ana", false), ..Holder::default() };
        let item = |feature: &str, version: Option<&str>, seats| CheckoutItem {
            feature: FeatureName::new(feature).unwrap(),
            version: version.map(|version| version.parse().unwrap()),
            seats,
        };
        let parts = [item("cad", Some("1.2"), 1)];
        let digest = content(&ana, &parts);
        assert_eq!(content(&Holder { address: claim("10.0.0.1", true), ..ana.clone() }, &parts), digest);
        for other in [
            Holder { user: claim("an", false), host: claim("a", false), ..Holder::default() },
            Holder { host: claim("ana", false), ..Holder::default() },
        ] {
            assert_ne!(content(&other, &parts), digest);
        }
        for other in
            [vec![item("cad", Some("1.2"), 2)], vec![item("cad", None, 1)], vec![item("cad", Some("1.2"), 1), item("sim", None, 1)]]
        {
            assert_ne!(content(&ana, &other), digest);
        }
    }

    #[test]
    fn parts_are_checked_with_their_place() {
        let item = |feature: &str, seats| Item { feature: feature.into(), version: None, seats };
        assert!(items(&[]).is_err());
        assert!(items(&[item("cad", 0)]).unwrap_err().detail.contains("items[0].seats"));
        assert!(items(&[item("cad", 1), item("cad", 2)]).unwrap_err().detail.contains("items[1].feature"));
        assert!(items(&[item("a\u{1b}b", 1)]).is_err());
        assert_eq!(items(&vec![item("cad", 1); ITEMS_PER_CHECKOUT_MAX + 1]).unwrap_err().code, ErrorCode::LimitReached);
        let bad_version = Item { version: Some("1.x".into()), ..item("cad", 1) };
        assert!(items(&[bad_version]).unwrap_err().detail.contains("items[0].version"));
    }

    #[test]
    fn spans_read_well() {
        for (ms, text) in [(1, "1 s"), (119_000, "119 s"), (120_000, "2 min"), (7_200_000, "2 h"), (172_800_000, "2 d")] {
            assert_eq!(span(ms), text);
        }
    }
}
