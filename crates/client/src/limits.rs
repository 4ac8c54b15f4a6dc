//! Sizes, counts and times of the client, unit last. The keeper's own stand in `keeper.rs`, those of the protocol in `triquest_wire::limits`.

/// A server that does not answer costs no more than this before the next one is tried (the first one is not given up yet).
pub const DEAD_SERVER_MS: u64 = 2_000;
/// The next address of one server is tried after so long (RFC 8305 calls it the connection attempt delay).
pub const NEXT_ADDRESS_MS: u64 = 250;
/// Connecting, handshake and trust exchange with one server take no longer.
pub const CONNECT_MS_MAX: u64 = 10_000;
/// One call takes no longer.
pub const CALL_MS_MAX: u64 = crate::keeper::CALL_MS_MAX;
/// A waiting checkout's call takes no longer.
pub const WAITING_CALL_MS_MAX: u64 = crate::keeper::WAITING_CALL_MS_MAX;
/// A checkout that does not wait in line gives up after so long if no server gives a definite answer.
pub const CHECKOUT_MS_MAX: u64 = 20_000;
/// The background thread looks at the clocks at least this often, so that a wake from suspend is noticed.
pub const LOOK_MS_MAX: u64 = 5_000;
/// Dropping the last handle of a client waits for its releases for at most so long.
pub const DROP_MS_MAX: u64 = 2_000;
/// Largest block of headers in an answer.
pub const ANSWER_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most servers in one list.
pub const SERVERS_MAX: usize = 16;
/// Most addresses of one server that are tried.
pub const ADDRESSES_MAX: usize = 16;
