//! How much can still be appended.

use crate::ENTRY_BYTES_MAX;

/// What an entry may take beside its own bytes: the page that it begins, and those above it in a tree that grow with it.
const ENTRY_PAGES_BYTES: u64 = 12 * 1024;
/// Of so many bytes of an entry one more is spent on the chain of its pages.
const CHAINED_BYTES: u64 = 512;
/// What is left for entries beside the reserve, whatever else is written: whoever makes a snapshot or a backup finds less room than this full.
pub(crate) const LEFT_FOR_ENTRIES_BYTES: u64 = 8 * 1024 * 1024;

const _: () = assert!(Room::taken_by(ENTRY_BYTES_MAX) * 4 <= LEFT_FOR_ENTRIES_BYTES);

/// How much can still be appended, in bytes of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// All that is left, the reserve included.
    pub left_bytes: u64,
    /// So much of it is kept for what must be written on a full disk.
    pub reserve_bytes: u64,
}

impl Room {
    /// No end is known.
    pub const UNLIMITED: Self = Self { left_bytes: u64::MAX, reserve_bytes: 0 };

    /// What an entry of so many bytes takes at most.
    #[must_use]
    pub const fn taken_by(entry_bytes: usize) -> u64 {
        let bytes = entry_bytes as u64;
        bytes + bytes / CHAINED_BYTES + ENTRY_PAGES_BYTES
    }

    /// The largest entry that certainly fits so many bytes of the disk.
    #[must_use]
    pub const fn entry_that_fits(left_bytes: u64) -> usize {
        let left = left_bytes.saturating_sub(ENTRY_PAGES_BYTES);
        let (whole, rest) = (left / (CHAINED_BYTES + 1), left % (CHAINED_BYTES + 1));
        let bytes = whole * CHAINED_BYTES + if rest < CHAINED_BYTES { rest } else { CHAINED_BYTES - 1 };
        if bytes < ENTRY_BYTES_MAX as u64 { bytes as usize } else { ENTRY_BYTES_MAX }
    }
}

/// What a journal has learned by being refused. It counts for more than what a file system says, which knows of no quota.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Refused {
    /// What is left at most, from a refusal until the reserve is whole again.
    left_bytes: Option<u64>,
}

impl Refused {
    /// There is no whole reserve: what is left is less than one, or not known to be more.
    pub(crate) fn lives_on_the_reserve(&mut self, reserve_bytes: u64) {
        self.left_bytes = Some(reserve_bytes);
    }

    /// There was no room for an entry.
    pub(crate) fn found_none(&mut self) {
        self.left_bytes = Some(0);
    }

    /// An entry was written. After a refusal there is some room again, and nobody knows how much; no more than a reserve, or one could be made.
    pub(crate) fn wrote(&mut self, entry_bytes: usize, reserve_bytes: u64) {
        self.left_bytes = match self.left_bytes {
            None => None,
            Some(0) => Some(reserve_bytes),
            Some(left) => Some(left.saturating_sub(Room::taken_by(entry_bytes)).max(1)),
        };
    }

    /// There is a whole reserve, so nothing speaks against what the file system says.
    pub(crate) fn has_reserve(&mut self) {
        self.left_bytes = None;
    }

    pub(crate) fn bound(self, left_bytes: u64) -> u64 {
        self.left_bytes.map_or(left_bytes, |most| most.min(left_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_fits_takes_no_more_than_is_left() {
        for left in (0..4_000_000).step_by(997).chain([u64::MAX]) {
            let entry = Room::entry_that_fits(left);
            assert!(entry == 0 || Room::taken_by(entry) <= left, "{left}: {entry}");
            assert!(entry == ENTRY_BYTES_MAX || Room::taken_by(entry + 1) > left, "{left}: {entry} is not the largest");
        }
    }
}
