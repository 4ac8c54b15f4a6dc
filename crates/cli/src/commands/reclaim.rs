//! `reclaim`: an administrator takes a lease back.

use triquest_wire::{
    LeaseId,
    status::{LeaseStatus, ReclaimAnswer, ReclaimRequest},
};

use crate::{
    admin::{Admin, DataDir, reason},
    commands::status::{LEASE_DIGITS_SHOWN, holder_text},
    failure::{Failure, exit},
    terminal::{Terminal, duration, escape},
};

/// The least of a lease id that is taken as its beginning.
const LEASE_DIGITS_MIN: usize = 4;

/// `reclaim LEASE --reason WHY`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReclaimCommand {
    /// The lease's id or its beginning, as `status` shows it
    lease: String,
    /// Why, for the record
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Free the seats at once, before the holder has stopped; recorded as possible over-use
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    data: DataDir,
}

impl ReclaimCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let admin = Admin::connect(&self.data)?;
        let leases = admin.leases(None, usize::MAX)?;
        let lease = find(&leases, &self.lease)?;
        let path = format!("/v1/leases/{}/reclaim", lease.lease);
        let answer: ReclaimAnswer = admin.post(&path, &ReclaimRequest { reason: self.reason, now: self.now })?;
        let seats: u32 = lease.items.iter().map(|item| item.seats).sum();
        let features = lease.items.iter().map(|item| item.feature.as_str()).collect::<Vec<_>>().join(", ");
        let freed = if answer.remaining_ms == 0 {
            "free now".to_owned()
        } else {
            format!("free when it is given back, in {} at the latest", duration(answer.remaining_ms))
        };
        terminal.verb(
            "Reclaimed",
            format_args!(
                "{} from {}: {seats} {} of {}, {freed}",
                &lease.lease.to_string()[..LEASE_DIGITS_SHOWN],
                escape(&holder_text(&lease.holder)),
                if seats == 1 { "seat" } else { "seats" },
                escape(&features),
            ),
        );
        Ok(exit::OK)
    }
}

/// Finds the one lease whose id begins so.
fn find<'a>(leases: &'a [LeaseStatus], given: &str) -> Result<&'a LeaseStatus, Failure> {
    let digits = given.len() >= LEASE_DIGITS_MIN && given.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !digits || given.len() > LeaseId::default().to_string().len() {
        return Err(Failure::usage(format_args!("`{}` is no beginning of a lease id", escape(given)))
            .hint(format_args!("give at least {LEASE_DIGITS_MIN} of the hex digits that `triquest-lm status` shows under LEASE")));
    }
    let found: Vec<_> = leases.iter().filter(|lease| lease.lease.to_string().starts_with(given)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Failure::new(format_args!("no lease here begins with {given}"))
            .hint("it may have ended by now; `triquest-lm status` lists those that live")),
        several => {
            let mut failure = Failure::new(format_args!("{} leases begin with {given}", several.len())).hint("give more digits");
            for lease in several.iter().take(5) {
                failure = failure.row(lease.lease, escape(&holder_text(&lease.holder)));
            }
            Err(failure)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use triquest_wire::status::{HolderStatus, LeaseState};

    use super::*;

    fn lease(first: u8, second: u8) -> LeaseStatus {
        let mut id = [0; 16];
        (id[0], id[1], id[2]) = (first, second, 0xcd);
        LeaseStatus {
            lease: LeaseId(id),
            state: LeaseState::Live,
            items: Vec::new(),
            holder: HolderStatus::default(),
            since_at: String::new(),
            adopted: false,
            age_ms: 0,
            heard_ms: 0,
            idle_ms: None,
            remaining_ms: 0,
            place: None,
            ending: None,
        }
    }

    #[test]
    fn a_lease_is_found_by_a_clear_beginning_only() {
        let leases = [lease(0xab, 0x01), lease(0xab, 0x02), lease(0xff, 0x00)];
        assert_eq!(find(&leases, "ab02").unwrap().lease.0[1], 2);
        assert_eq!(find(&leases, "ff00cd").unwrap().lease.0[0], 0xff);
        assert!(find(&leases, "abcd").unwrap_err().message().contains("no lease"));
        assert_eq!(find(&leases, "ab").unwrap_err().code(), exit::USAGE);
        assert_eq!(find(&leases, "ab0g").unwrap_err().code(), exit::USAGE);
        let twins = [lease(0xab, 0x01), lease(0xab, 0x01)];
        assert_eq!(find(&twins, "ab01").unwrap_err().rows().len(), 2);
    }
}
