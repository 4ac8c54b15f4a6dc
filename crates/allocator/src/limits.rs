//! Every limit of the core, unit last.

/// Characters that are kept of what is wrong with the signatures of an installed license.
pub const PROBLEM_CHARS_MAX: usize = 500;
/// Most events in one entry; an entry stays under etcd's 1.5 MiB request.
pub const EVENTS_MAX: usize = 2_048;
/// Least that [`Limits::events_max`] may be: a quarter of an entry holds what may become of one checkout.
pub const EVENTS_MAX_MIN: usize = 600;
/// Most bytes that the events of one entry may weigh by [`crate::Event::weight`], which is generous: under etcd's 1.5 MiB with room for the envelope.
pub const ENTRY_BYTES_MAX: usize = 1_200_000;
/// The smallest room in which an entry is decided: each share of it, a quarter, holds whatever one command may become.
pub const ENTRY_BYTES_MIN: usize = 262_144;
/// Most entitlements of one license that an entry has room for: so many pools may open with it, and so many rights end when it is removed. Its text may
/// have no more than a third of that.
pub const ENTITLEMENTS_PER_LICENSE_MAX: usize = 768;
/// Most pools that one fact takes over from a merged vendor.
pub const POOLS_PER_MERGE_MAX: usize = 512;
/// Most waiters that one batch looks at because licenses changed.
pub const WAITERS_LOOKED_AT_MAX: usize = 4_096;
/// Most leases that are looked at to say when a seat may come back; in a larger pool the answer is "no later than".
pub const FIRST_DUE_SCAN_MAX: usize = 64;
/// Most entitlements that the seats of one part of a lease come from.
pub const CHARGES_PER_PART_MAX: usize = 48;
/// Most leases that are looked at in vain, when it is to be said whose lingering seats give way to a lease that lost its license.
pub const LINGERERS_PASSED_MAX: usize = 4_096;
/// Most seats of one vendor's feature in all: more than there are people, and exact in JSON numbers.
pub const POOL_SEATS_MAX: u64 = 100_000_000_000;
/// Most pools that one fact counts unrecorded denials for; those of others are counted together.
pub const DENIALS_COUNTED_POOLS_MAX: usize = 256;
/// Most licenses that are kept after others replaced them, so that they come back when the wall clock that had brought those is taken back. Such others
/// count too if they were removed by hand.
///
/// Folding facts depends on it and no fact carries it, so it is frozen as the numbers of the records are: another value would give an old journal another state.
pub const REPLACED_KEPT_MAX: usize = 1_024;
/// Most networks for which presence is turned off after a regret, each by itself, wider ones among them. After one of yet another wider network it is off
/// everywhere, until there is room again.
pub const PRESENCE_OFF_MAX: usize = 100_000;
/// Most networks of one wider network among them, each by itself; after one more presence is off for the wider one. In the last quarter an even part.
pub const PRESENCE_OFF_PER_WIDE_MAX: u64 = 64;
/// Ids whose memory ends are forgotten so often, in bulk.
pub const FORGET_EVERY_MS: u64 = 60_000;
/// Most deadlines of the wheel that one batch looks at, and most leases and places whose clients asked in vain.
pub const WHEEL_PER_BATCH_MAX: usize = 2_048;
/// Most due endings (expiry, end of linger, end of claim) that one batch handles.
pub const DUE_PER_BATCH_MAX: usize = 512;
/// Shortest and longest time to live of a lease that any vendor may allow, and a vendor's `ttl_max` where the license names none.
pub use triquest_license::limits::{TTL_MAX_MS_DEFAULT, TTL_MS_MAX, TTL_MS_MIN};
/// Time to live where neither license nor client names one.
pub const TTL_MS_DEFAULT: u64 = 300_000;
/// The shortest quarantine of a new lineage.
pub const QUARANTINE_MS_MIN: u64 = 3_600_000;
/// Most finished epochs that the state remembers, to tell its own grants from those of lost history.
///
/// Folding facts depends on it and no fact carries it, so it is frozen as the numbers of the records are: another value would give an old journal another state.
pub const EPOCHS_MAX: usize = 4_096;
/// How long a regret turns early freeing off for a network.
pub const PRESENCE_OFF_MS: u64 = 86_400_000;
/// How long a client of a named network may take to come back after its presence connection ended in order, before its seats are free. Far above
/// what a reopening takes, with its random pause and one failure.
pub const PRESENCE_WAIT_MS: u64 = 30_000;
/// For so long after a connection of a range that the administrator named was turned away, nothing of that range is freed early: the whole wait of
/// whoever it was, and as long for the word of its end to come.
pub const TURNED_AWAY_MS: u64 = 2 * PRESENCE_WAIT_MS;
/// Most such ranges that are told apart; of more, nothing is freed early in any named network.
pub const TURNED_AWAY_NAMED_MAX: usize = 256;
/// How long an ended id is remembered, far above the keeper's retry limit.
pub const REMEMBER_MS: u64 = 3_600_000;
/// A waiter that has not asked again for this long leaves the queue.
pub const WAIT_TTL_MS: u64 = 120_000;
/// How long a seat that was granted to a waiter waits for it to ask.
pub const CLAIM_MS: u64 = 120_000;
/// Longest wait that a client may ask for.
pub const WAIT_MS_MAX: u64 = 7 * 86_400_000;
pub use triquest_license::limits::{ITEMS_PER_CHECKOUT_MAX, VENDOR_KEYS_MAX};
/// Most kinds of leases (of one version, whose clients embed the same keys) that are looked at in one entitlement to find one that may move to another.
pub const KINDS_LOOKED_AT_MAX: usize = 256;
/// Most sets of keys, that clients in one line embed, for which it is told who wants whose seats; in a line of more nobody passes anybody.
pub const KEY_SETS_IN_LINE_MAX: usize = 64;
/// Most sets of keys that are kept although keys stand in them that are not of the vendor whose seats are asked for. So a client that embeds a key which
/// its vendor will use later can move to what that will have signed; of more, only the vendor's own keys are kept, whatever is made up.
pub const KEY_SETS_OF_OTHERS_MAX: usize = 32;
/// Most sets of keys that are looked at to count those; where there are more, none is added.
pub const KEY_SETS_LOOKED_AT_MAX: usize = 512;
/// Most leases and lingering parts that one pool may carry.
pub const LEASES_PER_POOL_MAX: u32 = 1_000_000;
/// Most live leases on one server.
pub const LEASES_MAX: usize = 5_000_000;
/// Most waiters in one pool's line; a network takes at most half of it, its last quarter only those with under a hundredth of it
/// whose wider network has under four hundredths.
pub const WAITERS_PER_POOL_MAX: u64 = 20_000;
/// Most waiters of one network, in all lines.
pub const WAITERS_PER_NETWORK_MAX: u64 = 10_000;
/// Most waiters on one server.
pub const WAITERS_MAX: u64 = 100_000;
/// Most ids of ended leases and denials that are remembered; at the limit new ids are refused, nothing is forgotten early. In the last quarter
/// a wider network has no more than an even share, and a network no more than an even share of that.
pub const REMEMBERED_MAX: u64 = 10_000_000;
/// Most remembered ids in one block of their list: adding one moves half of them at most.
pub const REMEMBERED_PER_BLOCK_MAX: usize = 256;
/// Most remembered ids of one network.
pub const REMEMBERED_PER_NETWORK_MAX: u64 = 1_250_000;
/// What a wider network (/24, /48) may have, in shares of a network (/32, /64), and nothing of the last quarter of what all may have.
pub const WIDE_NETWORK_SHARES: u64 = 4;
/// Most pools on one server.
pub const POOLS_MAX: usize = 200_000;
/// Most licenses on one server.
pub const LICENSES_MAX: usize = 100_000;
/// Most charges that one batch moves between entitlements to make room.
pub const MOVES_PER_CHECKOUT_MAX: usize = 64;
/// Lease time advances by no more than this for one pass of the driver.
pub const STALL_MS: u64 = 2_000;
/// A clock entry is written this often while a lease is unheard.
pub const CLOCK_ENTRY_MS: u64 = 10_000;
/// At start, a wall clock further ahead than this of the last entry is not believed while the kernel does not call it synchronized.
pub const WALL_JUMP_AT_START_MS_MAX: i64 = 7 * 86_400_000;
/// The same while running.
pub const WALL_JUMP_RUNNING_MS_MAX: i64 = 5 * 60_000;
/// A wall clock further behind the believed time than this is reported as set back; less is how time services correct a clock.
pub const WALL_BACK_MS_MAX: i64 = 60_000;

/// The limits that a simulated world draws, to come near what a server meets after hours or with thousands. A server has the default: the
/// constants of this module that have the same names.
///
/// Nothing here counts when a fact is folded in: what a start has of `remember_ms` and `wait_ttl_ms` is in its [`Recovered`](crate::Event::Recovered).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// [`CLAIM_MS`].
    pub claim_ms: u64,
    /// [`ENTRY_BYTES_MAX`], at least [`ENTRY_BYTES_MIN`].
    pub entry_bytes_max: usize,
    /// [`EVENTS_MAX`], at least [`EVENTS_MAX_MIN`].
    pub events_max: usize,
    /// [`PRESENCE_OFF_MAX`].
    pub presence_off_max: usize,
    /// [`QUARANTINE_MS_MIN`], at most `ttl_ms_max`.
    pub quarantine_ms_min: u64,
    /// [`REMEMBER_MS`].
    pub remember_ms: u64,
    /// [`REMEMBERED_MAX`].
    pub remembered_max: u64,
    /// [`REMEMBERED_PER_NETWORK_MAX`].
    pub remembered_per_network_max: u64,
    /// [`TTL_MS_MAX`], at least [`TTL_MS_MIN`].
    pub ttl_ms_max: u64,
    /// [`WAIT_TTL_MS`].
    pub wait_ttl_ms: u64,
    /// [`WAITERS_PER_NETWORK_MAX`].
    pub waiters_per_network_max: u64,
    /// [`WAITERS_PER_POOL_MAX`].
    pub waiters_per_pool_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            claim_ms: CLAIM_MS,
            entry_bytes_max: ENTRY_BYTES_MAX,
            events_max: EVENTS_MAX,
            presence_off_max: PRESENCE_OFF_MAX,
            quarantine_ms_min: QUARANTINE_MS_MIN,
            remember_ms: REMEMBER_MS,
            remembered_max: REMEMBERED_MAX,
            remembered_per_network_max: REMEMBERED_PER_NETWORK_MAX,
            ttl_ms_max: TTL_MS_MAX,
            wait_ttl_ms: WAIT_TTL_MS,
            waiters_per_network_max: WAITERS_PER_NETWORK_MAX,
            waiters_per_pool_max: WAITERS_PER_POOL_MAX,
        }
    }
}

/// The largest whole number up to which JSON's numbers are exact everywhere.
const JSON_EXACT_MAX: u64 = (1 << 53) - 1;

const _: () = assert!(POOL_SEATS_MAX <= JSON_EXACT_MAX);
const _: () = assert!(TTL_MS_MIN < TTL_MS_DEFAULT && TTL_MS_DEFAULT < TTL_MAX_MS_DEFAULT && TTL_MAX_MS_DEFAULT <= TTL_MS_MAX);
const _: () = assert!(QUARANTINE_MS_MIN <= TTL_MS_MAX);
/// What the weight of a fact says of the parts of a lease, twice for one that is taken over, and of the moves that make room for it, in bytes.
pub const PARTS_BYTES_MAX: usize = ITEMS_PER_CHECKOUT_MAX * (48 + 2 * 12 * CHARGES_PER_PART_MAX) + 64 * MOVES_PER_CHECKOUT_MAX;
