//! Every limit of the engine, unit last. Those of an entry are the allocator's.

use triquest_allocator::limits::{ENTRY_BYTES_MAX, ENTRY_BYTES_MIN};
use triquest_journal::Room;

/// Entries that are being written at once: one on the disk and one that waits for it, so that the disk need not wait for the engine.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 2;
/// Everything is decided while so much is left beside the reserve: all entries that may be in flight, at their largest.
pub const ROOM_FOR_ALL_BYTES: u64 = ENTRIES_IN_FLIGHT_MAX as u64 * Room::taken_by(ENTRY_BYTES_MAX + ENTRY_HEAD_BYTES_MAX);
/// Nothing at all is decided that needs an entry where less is left.
pub const ROOM_FOR_ANY_BYTES: u64 = Room::taken_by(ENTRY_BYTES_MIN + ENTRY_HEAD_BYTES_MAX);
/// After the disk was full, everything is decided again when so much is left beside the reserve.
pub const ROOM_AGAIN_BYTES: u64 = 2 * ROOM_FOR_ALL_BYTES;
/// Facts of an entry beside its events, in bytes.
pub const ENTRY_HEAD_BYTES_MAX: usize = 512;
/// Most commands that one network may have waiting in the ordinary queue. Repeats of leases and places that live count apart, here and in all.
pub const COMMANDS_PER_NETWORK_MAX: usize = 4_096;
/// Most commands of all networks that wait in the ordinary queue.
pub const COMMANDS_MAX: usize = 32_768;
/// Most commands that wait and came over the Unix socket or from the server itself: a place of their own.
pub const COMMANDS_LOCAL_MAX: usize = 4_096;
/// Commands of one network that are decided before it is another network's turn.
pub const COMMANDS_PER_TURN_MAX: usize = 64;
/// Most commands of the ordinary queue that one pass takes.
pub const COMMANDS_PER_PASS_MAX: usize = 256;
/// Most renewals and releases of the lane that one pass takes; more follow in the next at once.
pub const LANE_PER_PASS_MAX: usize = 8_192;
/// The clocks are read at least so often: lease time counts no more than STALL_MS between two readings.
pub const TICK_MS_MAX: u64 = 500;
/// A pass for something that is due comes no sooner than this after the last.
pub const TICK_MS_MIN: u64 = 5;
/// After a full disk or an unknown outcome, the same bytes are handed out again after this.
pub const APPEND_RETRY_MS: u64 = 100;

/// A disk that has had an entry for so long hangs: what came in one request with what waits for it is answered without it.
pub const DISK_HANGS_MS: u64 = 2_000;

/// How much may wait, and how much of it one pass takes: what a simulated world draws, to come near it with few clients. A server has the default:
/// the constants of this module that have the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// [`COMMANDS_LOCAL_MAX`].
    pub commands_local_max: usize,
    /// [`COMMANDS_MAX`].
    pub commands_max: usize,
    /// [`COMMANDS_PER_NETWORK_MAX`].
    pub commands_per_network_max: usize,
    /// [`COMMANDS_PER_PASS_MAX`], at least 1.
    pub commands_per_pass_max: usize,
    /// [`COMMANDS_PER_TURN_MAX`], at least 1.
    pub commands_per_turn_max: usize,
    /// [`LANE_PER_PASS_MAX`], at least 1.
    pub lane_per_pass_max: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            commands_local_max: COMMANDS_LOCAL_MAX,
            commands_max: COMMANDS_MAX,
            commands_per_network_max: COMMANDS_PER_NETWORK_MAX,
            commands_per_pass_max: COMMANDS_PER_PASS_MAX,
            commands_per_turn_max: COMMANDS_PER_TURN_MAX,
            lane_per_pass_max: LANE_PER_PASS_MAX,
        }
    }
}

const _: () = assert!(TICK_MS_MAX * 2 <= triquest_allocator::limits::STALL_MS);
const _: () = assert!(COMMANDS_PER_PASS_MAX >= COMMANDS_PER_TURN_MAX);
