//! Limits of the protocol, and those of the server that others know; what an anonymous client can take is in `server/limits.rs`. Unit last. The core's own are in `allocator/limits.rs`, those of signed text in `license/limits.rs`.

/// Sentences about installed licenses in one answer to a status.
pub const LICENSE_WARNINGS_MAX: usize = 20;
/// The port that IANA has registered as `triquest-lm`.
pub const PORT: u16 = 1588;
/// Largest request body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest body of a checkout, renewal or release.
pub const LEASE_BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest answer that a client reads.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most licenses that a trust exchange shows; a client refuses more unread, and keeps so many of one server. Of more, the newest are shown, and grants bring
/// the text of those that they are charged to.
pub const LICENSES_SHOWN_MAX: usize = 4_096;
/// Bytes that the texts of those licenses may take in JSON, so that statement and texts fit [`ANSWER_BYTES_MAX`].
pub const LICENSES_SHOWN_BYTES_MAX: usize = ANSWER_BYTES_MAX - 1024 * 1024;
const _: () = assert!(LICENSES_SHOWN_MAX * 64 * 4 / 3 < 1024 * 1024 / 2, "their hashes fit the statement, in base64");
/// Hex digits of a history that messages show, and that a command takes at least.
pub const LINEAGE_DIGITS_MIN: usize = 8;
/// Most renewals in one request.
pub const RENEWALS_PER_REQUEST_MAX: usize = 1_000;
/// Most leases that one presence connection stands for.
pub const PRESENCE_LEASES_MAX: usize = 1_000;
/// Largest body that opens a presence connection, or one of the two lists that change it.
pub const PRESENCE_BODY_BYTES_MAX: usize = PRESENCE_LEASES_MAX * 80;
/// In a network that the administrator named, the seats of a presence connection that ended are free so long after it, unless their client was heard: by a
/// reopening, or by a renewal.
pub const PRESENCE_WAIT_MS: u64 = 30_000;
pub use triquest_license::limits::{ITEMS_PER_CHECKOUT_MAX, VENDOR_KEYS_MAX};
/// Longest text of one holder field.
pub const HOLDER_FIELD_BYTES_MAX: usize = 256;
/// Longest reason of an administrative act.
pub const REASON_BYTES_MAX: usize = 1_024;
/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 20_000;
/// A handshake must end within this.
pub const HANDSHAKE_MS_MAX: u64 = 10_000;
/// Request headers must arrive within this; an idle connection that never asked ends too.
pub const HEADER_MS_MAX: u64 = 15_000;
/// A body must arrive within this.
pub const BODY_MS_MAX: u64 = 15_000;
/// A keep-alive connection may idle for this long, presence connections for ever.
pub const IDLE_MS_MAX: u64 = 600_000;
/// An HTTP/2 connection without a request may idle for this long.
pub const IDLE_HTTP2_MS_MAX: u64 = 120_000;
/// Most connections at once to the Unix socket; they are apart from [`CONNECTIONS_MAX`].
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// At a stop, answers under way may leave within this.
pub const DRAIN_MS_MAX: u64 = 10_000;
/// Largest block of request headers.
pub const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// Most request headers.
pub const HEADERS_MAX: usize = 64;
/// Most HTTP/2 streams at once on a connection.
pub const STREAMS_MAX: u32 = 16;
/// An HTTP/2 connection ends when more streams than this wait to be taken up by the server although they were reset (rapid reset), or when more of them
/// were so wrong that the server had to reset them.
pub const STREAM_RESETS_MAX: usize = 32;
/// A reader of events that falls behind by so many entries is cut off and resumes by cursor.
pub const EVENT_STREAM_BEHIND_MAX: usize = 4_096;
/// A silent event stream gets a comment this often.
pub const EVENT_KEEP_ALIVE_MS: u64 = 15_000;
/// A reader of events that takes nothing for so long is cut off.
pub const EVENT_WRITE_MS_MAX: u64 = 10_000;
/// Most rows of a list in one answer.
pub const LIST_ROWS_MAX: usize = 1_000;
/// How long a waiting checkout is held before it is answered `waiting`, at most; also under a third of its ttl.
pub const WAIT_HELD_MS_MAX: u64 = 25_000;
/// An answer that the journal has not confirmed after this is `outcome_unknown`.
pub const ANSWER_MS_MAX: u64 = 30_000;
/// Entries between snapshots.
pub const SNAPSHOT_ENTRIES: u64 = 50_000;
/// Most bytes of entries that stay behind a snapshot for readers of events, however few entries that is.
pub const JOURNAL_KEPT_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Most license files that one reading of the folder takes.
pub const FOLDER_FILES_MAX: usize = 10_000;
/// Bytes of an identity question over UDP, exactly; an answer has at most as many.
pub const IDENTITY_BYTES: usize = 512;
/// Longest machine name in an identity answer.
pub const IDENTITY_NAME_BYTES_MAX: usize = 64;
/// Longest version in an identity answer.
pub const IDENTITY_VERSION_BYTES_MAX: usize = 32;
/// Identity answers per second in all: each costs a signature.
pub const IDENTITY_ANSWERS_PER_SECOND_MAX: u32 = 1_000;
/// Identity answers per second that one network (/32, or /64 of IPv6) gets, after a burst of [`IDENTITY_ANSWERS_PER_NETWORK_BURST`].
pub const IDENTITY_ANSWERS_PER_NETWORK_PER_SECOND_MAX: u32 = 10;
/// Identity answers that one network gets at once.
pub const IDENTITY_ANSWERS_PER_NETWORK_BURST: u32 = 50;
/// Slots of the table that counts identity answers by network.
pub const IDENTITY_TABLE_SLOTS: usize = 65_536;
/// A question to a group or to everybody is answered after a random time of at most this, so that a network's servers do not all speak at once.
pub const IDENTITY_DELAY_MS_MAX: u64 = 200;
/// Most identity answers that wait for their time.
pub const IDENTITY_DELAYED_MAX: usize = 256;
/// Questions from ports below this get no identity answer: services live there, and a forged source would make them talk (RFC 6335, section 6).
pub const IDENTITY_SOURCE_PORT_MIN: u16 = 1_024;
/// How often the server looks which interfaces and addresses its machine has, for groups and for telling who is on its link.
pub const INTERFACES_READ_MS: u64 = 15_000;
/// Longest port or service name, or words of a search, that the port reference looks up.
pub const PORT_NAME_BYTES_MAX: usize = 200;
/// Most rows of one search in the port reference.
pub const PORT_SEARCH_HITS_MAX: usize = 100;
/// Largest form of an answer to "was this helpful".
pub const FEEDBACK_BODY_BYTES_MAX: usize = 256;
/// Answers to "was this helpful" that one network may give at once.
pub const FEEDBACK_BURST: u32 = 10;
/// Answers to "was this helpful" that one network may give in a minute for long.
pub const FEEDBACK_PER_MINUTE: u32 = 6;
/// Largest file of answers that is read: all ports with their counts fit.
pub const FEEDBACK_FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Slots of a table of networks for what is seldom.
pub const SELDOM_TABLE_SLOTS: usize = 4_096;

/// Bytes that are kept of a code that is not known.
pub const CODE_BYTES_MAX: usize = 40;
