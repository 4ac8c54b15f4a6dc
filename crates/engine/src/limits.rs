//! Every limit of the engine, unit last. Those of an entry are the allocator's.

/// Entries that are being written at once: one on the disk and one that waits for it, so that the disk need not wait for the engine.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 2;
/// Most commands that one network may have waiting in the ordinary queue.
pub const COMMANDS_PER_NETWORK_MAX: usize = 4_096;
/// Most commands that the /24 or /48 around a network may have waiting.
pub const COMMANDS_PER_WIDER_NETWORK_MAX: usize = 4 * COMMANDS_PER_NETWORK_MAX;
/// Most commands of all networks that wait in the ordinary queue.
pub const COMMANDS_MAX: usize = 32_768;
/// Above so many waiting commands, networks over their even share are refused first.
pub const COMMANDS_EVEN_SHARE_MIN: usize = COMMANDS_MAX / 4 * 3;
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

const _: () = assert!(TICK_MS_MAX * 2 <= triquest_allocator::limits::STALL_MS);
const _: () = assert!(COMMANDS_PER_PASS_MAX >= COMMANDS_PER_TURN_MAX);
