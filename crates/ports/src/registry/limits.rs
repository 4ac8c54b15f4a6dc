//! Limits of the registry, each with its unit last. A file over one of them is refused with the limit's name, never read in part.

/// The table as it is stored and embedded, compressed. IANA's of 2025 takes less than a tenth of it.
pub const ENCODED_BYTES_MAX: usize = 4 << 20;
/// The table as it is embedded in the program: what a build may weigh.
pub const EMBEDDED_BYTES_MAX: usize = 400_000;
/// The table's text, decompressed.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// IANA's XML or CSV, decompressed. The XML of 2025 has 3 MB, of which the people that we leave out are a part.
pub const SOURCE_BYTES_MAX: usize = 32 << 20;
/// Nodes of IANA's XML: elements, texts, comments. That of 2025 has about 250,000.
pub const XML_NODES_MAX: u32 = 4_000_000;
/// Records of a registry: one for each service, port and protocol. That of 2025 has 14,468.
pub const RECORDS_MAX: usize = 200_000;
/// One field of a record, after its spaces are collapsed. The longest of 2025 has 1,532 bytes.
pub const FIELD_BYTES_MAX: usize = 8_192;
/// A service name. RFC 6335 allows 15 characters; older names may be longer.
pub const NAME_BYTES_MAX: usize = 64;
/// Names or references in one record.
pub const LIST_ITEMS_MAX: usize = 64;
/// The words of a search.
pub const QUERY_BYTES_MAX: usize = 256;
/// Rows that a search returns at most; how many there were is told beside them.
pub const SEARCH_HITS_MAX: usize = 500;
/// Changes between two registries that are listed; how many there were is told beside them.
pub const CHANGES_LISTED_MAX: usize = 1_000;
/// An update with fewer records than this part of the known ones (one in two) is refused: it is another file, or a part of one.
pub const UPDATE_SHRINK_MAX: usize = 2;
