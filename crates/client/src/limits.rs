//! Sizes, counts and times of the client, unit last. The keeper's own stand in `keeper.rs`, those of the protocol in `triquest_wire::limits`.

/// Dead servers and addresses cost no more than this, all together: within it each one has been tried, and a TCP connection that does not stand after it is none.
pub const DEAD_SERVER_MS: u64 = 2_000;
/// The next server is tried beside the ones before it after so long, or sooner if there are many.
pub const NEXT_SERVER_MS: u64 = 250;
/// The next address of one server is tried after so long, or sooner if there are many (RFC 8305 calls it the connection attempt delay).
pub const NEXT_ADDRESS_MS: u64 = 250;
/// Connecting, handshake and trust exchange with one server take no longer.
pub const CONNECT_MS_MAX: u64 = 10_000;
/// A call that must end because a right does is given at least this.
pub const CALL_MS_MIN: u64 = 20;
/// One step of one seat takes no longer, unless the machine sleeps: connecting and two calls.
pub const STEP_MS_MAX: u64 = 45_000;
/// A server that could not be reached is not tried again for the thread's other seats for so long.
pub const UNREACHABLE_MS: u64 = 3_000;
/// Pause before a presence connection that failed is opened again.
pub const PRESENCE_RETRY_MS: u64 = 10_000;
/// Pause before it is tried again where its end would free nothing; the machine may have moved to another network since.
pub const PRESENCE_USELESS_RETRY_MS: u64 = 600_000;
pub use crate::keeper::{CALL_MS_MAX, LAST_WORD_MS, REOPEN_MS_MAX, WAITING_CALL_MS_MAX};
/// What an administrator reads of a server on this machine takes no longer.
pub const ADMIN_READ_MS_MAX: u64 = 20_000;
/// What an administrator changes takes no longer: it waits for the disk, and for what must be decided before it.
pub const ADMIN_CHANGE_MS_MAX: u64 = 60_000;
/// A backup takes no longer: a minute for each of a large journal's first ten gigabytes.
pub const ADMIN_BACKUP_MS_MAX: u64 = 600_000;
/// A server on this machine that does not take an administrator's connection, or says nothing to its health check, for so long hangs. It is asked for
/// nothing then; and after so long a silence in the middle of a call, or of a stream, it is looked at whether it still lives.
pub const ADMIN_SILENT_MS_MAX: u64 = 5_000;
const _: () = assert!(2 * ADMIN_SILENT_MS_MAX < ADMIN_READ_MS_MAX, "that a server hangs is known before any call's time is over");
pub use triquest_wire::limits::LICENSES_SHOWN_MAX;
/// Longest inclusion path of a grant: a tree of 2^64 leaves.
pub const PATH_MAX: usize = 64;
/// One round of opening and changing presence connections takes no longer, to all servers at once, whichever of them hang. Those that could not be opened
/// are heard by renewals after it.
pub const PRESENCE_MS_MAX: u64 = 5_000;
/// Where the end of a presence connection frees seats after a wait, the thread looks at the connections at least this often: what it does for one seat
/// takes no longer, whatever its server does, and neither does a pause.
pub const WATCH_MS_MAX: u64 = 3_000;
/// So many servers may hang before the one whose seats have to be heard; those that answered last are asked first.
pub const HUNG_SERVERS_MAX: u64 = 2;
/// From the end of a presence connection until its seats were heard again, at the worst: a round of openings to others in which nobody looks, the random
/// pause, a step for one seat that began in it, the opening, and if that is not taken, renewals behind servers that hang.
pub const HEARD_AGAIN_MS_MAX: u64 =
    PRESENCE_MS_MAX + REOPEN_MS_MAX + WATCH_MS_MAX + PRESENCE_MS_MAX + (HUNG_SERVERS_MAX + 1) * WATCH_MS_MAX;
const _: () = assert!(WATCH_MS_MAX <= PRESENCE_MS_MAX, "nothing else keeps the thread from its presence connections for longer");
const _: () = assert!(HEARD_AGAIN_MS_MAX < PRESENCE_WAIT_MS, "a seat is heard before it is freed, also behind servers that hang");
pub use triquest_wire::limits::PRESENCE_WAIT_MS;
/// A checkout that does not wait in line gives up after so long if no server gives a definite answer.
pub const CHECKOUT_MS_MAX: u64 = 20_000;
/// Whoever waits out a quarantine looks this often whether an administrator has ended it: reading changes nothing, while asking leaves a denial.
pub const QUARANTINE_LOOK_MS: u64 = 10_000;
/// The background thread looks at the clocks at least this often, so that a wake from suspend is noticed.
pub const LOOK_MS_MAX: u64 = 5_000;
/// Dropping the last handle of a client waits for its releases for at most so long, and no longer than until their servers are found to be dead. One that
/// takes connections and says nothing may be back any moment.
pub const DROP_MS_MAX: u64 = 5_000;
/// A release that no server answers, or that one refuses for now without saying for how long, is tried again after so long.
pub const RELEASE_AGAIN_MS: u64 = 500;
/// One attempt to release takes no longer, connecting included: what hangs is left for a new connection while there is time.
pub const RELEASE_CALL_MS_MAX: u64 = 2_000;
/// The last attempt to release begins so long before the time for it is over, whatever pause a server has asked for.
pub const RELEASE_LAST_MS: u64 = 500;
const _: () = assert!(2 * RELEASE_CALL_MS_MAX + RELEASE_LAST_MS < DROP_MS_MAX, "one attempt that hangs leaves time for another");
/// Longest words of a server that has proved nothing that are shown.
pub const SAID_BYTES_MAX: usize = 240;
/// Largest block of headers in an answer.
pub const ANSWER_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Where printers listen, and print whatever they get: nothing is ever sent there.
pub const PAPER_PORTS: std::ops::RangeInclusive<u16> = 9100..=9107;
/// Most instances of one key that are asked once more whether they run at the same time.
pub const INSTANCES_ASKED_MAX: usize = 8;
/// Most servers in one list.
pub const SERVERS_MAX: usize = 16;
/// Most addresses of one server that are tried.
pub const ADDRESSES_MAX: usize = 16;
/// Largest client.toml that is read.
pub const CLIENT_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Asking DNS for servers takes no longer, all domains and name servers together.
pub const SRV_MS_MAX: u64 = 2_000;
/// Most domains that are asked for servers.
pub const DOMAINS_MAX: usize = 6;
/// Most name servers that are asked, as in the system's own resolver.
pub const NAMESERVERS_MAX: usize = 3;
/// Most SRV records of one answer that are read.
pub const SRV_RECORDS_MAX: usize = 64;
/// Most aliases (CNAME) that are followed in one answer.
pub const ALIASES_MAX: usize = 8;
/// Largest resolv.conf and hosts file that are read.
pub const SYSTEM_FILE_BYTES_MAX: u64 = 256 * 1024;
/// Largest file that remembers the last good server.
pub const REMEMBERED_BYTES_MAX: u64 = 512;
/// Proving who answers at an address takes no longer.
pub const PROVE_MS_MAX: u64 = 2_000;
/// The same at an address of this machine's loopback.
pub const PROVE_LOOPBACK_MS_MAX: u64 = 800;
/// After TCP has told all, the answer over UDP is waited for at most so long.
pub const UDP_AFTER_TCP_MS: u64 = 250;
/// Most questions over UDP at once: addresses, and networks of this machine.
pub const UDP_QUESTIONS_MAX: usize = 256;
/// Most datagrams that are looked at for one round of questions; the rest is left to the kernel.
pub const UDP_DATAGRAMS_MAX: usize = 1_024;
/// Most servers whose keys are pinned; the one that was not seen for longest gives way.
pub const PINS_MAX: usize = 1_024;
/// Largest file of pinned keys that is read.
pub const PINS_BYTES_MAX: u64 = 512 * 1024;
