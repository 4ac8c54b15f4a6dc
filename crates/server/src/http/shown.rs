//! What clients show of histories, for status and log: bounded, and said no more than once a minute.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use triquest_license::LicenseHash;
use triquest_wire::Bytes32;

use crate::limits::UNKNOWN_LICENSES_MAX;

/// The same thing is said in the log no more often than this.
const SAID_EVERY_MS: u64 = 60_000;

/// Notes about grants that clients showed since this start.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    foreign: AtomicU64,
    foreign_said_ms: AtomicU64,
    unknown: Mutex<BTreeSet<[u8; 32]>>,
}

/// Whether it is time to say it again. Zero is "never said", so times count from 1.
fn may_say(said_ms: &AtomicU64, now_ms: u64) -> bool {
    let last = said_ms.load(Ordering::Relaxed);
    let due = last == 0 || now_ms + 1 >= last + SAID_EVERY_MS;
    due && said_ms.compare_exchange(last, now_ms + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

impl Shown {
    /// A grant of a foreign history with our key: counted; true if the log should say so now.
    pub(crate) fn is_foreign(&self, now_ms: u64) -> bool {
        self.foreign.fetch_add(1, Ordering::Relaxed);
        may_say(&self.foreign_said_ms, now_ms)
    }

    /// Such grants since this start.
    pub(crate) fn foreign(&self) -> u64 {
        self.foreign.load(Ordering::Relaxed)
    }

    /// A license of a shown grant is not installed here.
    pub(crate) fn misses(&self, license: LicenseHash) {
        let mut unknown = self.unknown.lock();
        if unknown.len() < UNKNOWN_LICENSES_MAX && unknown.insert(*license.as_bytes()) {
            tracing::warn!(%license, "a client shows a grant of a license that is not installed here: it waits until it is");
        }
    }

    /// Installed licenses have changed: what is still missing will be shown again.
    pub(crate) fn licenses_changed(&self) {
        self.unknown.lock().clear();
    }

    /// Licenses of shown grants that are not installed.
    pub(crate) fn unknown_licenses(&self) -> Vec<Bytes32> {
        self.unknown.lock().iter().copied().map(Bytes32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_and_counted_each_time() {
        let shown = Shown::default();
        assert!(shown.is_foreign(0));
        assert!(!shown.is_foreign(59_999));
        assert!(shown.is_foreign(60_000));
        assert_eq!(shown.foreign(), 3);
    }

    #[test]
    fn missing_licenses_are_bounded_and_forgotten_when_licenses_change() {
        let shown = Shown::default();
        for number in 0..40 {
            shown.misses(LicenseHash::from_bytes([number; 32]));
        }
        assert_eq!(shown.unknown_licenses().len(), UNKNOWN_LICENSES_MAX);
        shown.licenses_changed();
        assert!(shown.unknown_licenses().is_empty());
    }
}
