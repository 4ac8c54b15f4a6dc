//! Every size and count of the license format, by name, unit last.

/// Bytes of one license file, signature lines included.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of any input that may hold a license: the one-line form of the largest file, with room for wrapping.
pub const INPUT_BYTES_MAX: usize = 128 * 1024;
/// Signature lines of one note.
pub const SIGNATURES_MAX: usize = 16;
/// Bytes of one decoded signature line: a key id and the largest signature that another party may add.
pub const SIGNATURE_BYTES_MAX: usize = 8 * 1024;
/// Verifier keys that one license, or one application, may name.
pub const VERIFIERS_MAX: usize = 16;
/// Entitlements in one license.
pub const ENTITLEMENTS_MAX: usize = 256;
/// Server keys in one license.
pub const SERVERS_MAX: usize = 64;
/// Licenses that one license may replace.
pub const REPLACES_MAX: usize = 64;
/// Depth of values in the license text: a table, an array, what is inside it.
pub const NESTING_MAX: usize = 3;
/// Keys in one section of the license text, known or not.
pub const KEYS_MAX: usize = 32;
/// Seats of one entitlement.
pub const SEATS_MAX: u32 = 10_000_000;
/// Bytes of a feature's name or a license's id.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of a vendor's name, which is also the name of its keys.
pub const VENDOR_BYTES_MAX: usize = 128;
/// Bytes of the licensee.
pub const LICENSEE_BYTES_MAX: usize = 256;
/// Bytes of the vendor's own data in an entitlement.
pub const VENDOR_DATA_BYTES_MAX: usize = 4096;
/// Numbers in a version.
pub const VERSION_PARTS_MAX: usize = 4;
/// Milliseconds of the longest span that a license may state: ten years of 366 days.
pub const SPAN_MS_MAX: u64 = 3660 * 86_400_000;
/// Milliseconds: the longest time to live that a client accepts when the license does not say.
pub const TTL_MAX_MS_DEFAULT: u64 = 3_600_000;
/// Milliseconds: the shortest time to live that a license may ask for.
pub const TTL_MS_MIN: u64 = 10_000;
/// Milliseconds: the longest time to live that a license may permit.
pub const TTL_MS_MAX: u64 = 86_400_000;
/// Bytes of a word.
pub const WORD_BYTES_MAX: usize = 32;
/// Words in one list.
pub const WORDS_MAX: usize = 256;
/// Bytes of the words of one list.
pub const WORDS_BYTES_MAX: usize = 4096;
/// Words that one license or entitlement needs.
pub const NEEDS_MAX: usize = 32;
/// Bytes of a server's request, as it is mailed.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a host name in a server's request.
pub const HOST_BYTES_MAX: usize = 255;
/// Most features in one checkout: both sides of the wire, and the server's core.
pub const ITEMS_PER_CHECKOUT_MAX: usize = 32;
/// Most verifier keys that one request names, as its application embeds them: the same sides.
pub const VENDOR_KEYS_MAX: usize = 16;

const _: () = assert!(INPUT_BYTES_MAX > NOTE_BYTES_MAX.div_ceil(3) * 4 + 1024);
const _: () = assert!(TTL_MS_MIN < TTL_MAX_MS_DEFAULT && TTL_MAX_MS_DEFAULT <= TTL_MS_MAX);
