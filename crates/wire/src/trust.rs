//! The trust exchange (`POST /v1/trust`) and the signed payloads. Payloads are carried as exact bytes: verify first, then parse.

use serde::{Deserialize, Serialize};

use crate::{Blob, Bytes16, Bytes32, Bytes64, LeaseId, Lineage, WordList, limits::LICENSES_SHOWN_MAX};

/// Asks the server to prove itself. Says nothing about the user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrustRequest {
    /// Public keys of the vendor's verifier keys that the application embeds, 1 to 16.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 16))]
    pub vendor_keys: Vec<Bytes32>,
    /// Fresh.
    pub nonce: Bytes32,
    /// SHA-256 of the SubjectPublicKeyInfo that this TLS connection's server proved.
    pub tls_spki: Bytes32,
    /// Words of the trust statement that the client knows, and no others: the server has proved nothing yet. Unknown ones are no error.
    #[serde(default, skip_serializing_if = "WordList::is_empty")]
    pub accepts: WordList,
}

/// The server's proof.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrustAnswer {
    /// The bytes of a [`TrustPayload`] in JSON.
    pub statement: Blob,
    /// By the server key under type `trust`.
    pub signature: Bytes64,
    /// The notes of the licenses of these vendor keys that name this server, as files; at most [`LICENSES_SHOWN_MAX`].
    #[serde(deserialize_with = "crate::strict::at_most::<LICENSES_SHOWN_MAX, _, _>")]
    pub licenses: Vec<String>,
}

/// What the server signs under type `trust`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrustPayload {
    /// `tqs1:` and 64 hex digits.
    pub server_key: String,
    /// As asked.
    pub vendor_keys: Vec<Bytes32>,
    /// As asked.
    pub nonce: Bytes32,
    /// As asked, and a certificate that this server serves or vouches for.
    pub tls_spki: Bytes32,
    /// The server's history.
    pub lineage: Lineage,
    /// Random for each start: one key with two instances is a clone.
    pub instance: Bytes32,
    /// Lease time of the server, milliseconds since the lineage began.
    pub at_ms: u64,
    /// Civil time of the server, unix milliseconds, for a hint about clocks only.
    pub server_time_ms: i64,
    /// Words that name what this statement says beyond version 1. Who does not know one of them believes nothing of it.
    pub uses: WordList,
    /// Words that this server knows. Unknown ones are no error.
    pub offers: WordList,
    /// SHA-256 of each license text in the answer, in order.
    #[serde(deserialize_with = "crate::strict::at_most::<LICENSES_SHOWN_MAX, _, _>")]
    pub licenses: Vec<Bytes32>,
}

/// What the server signs under type `grants`, once for all grants of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GrantsStatement {
    /// `tqs1:` and 64 hex digits.
    pub server_key: String,
    /// The history.
    pub lineage: Lineage,
    /// Of the entry, or of the answer that repeats an older grant.
    pub epoch: u64,
    /// Random for the start that signs: the same epoch and index of another start is another history.
    pub instance: Bytes16,
    /// Of the entry, or the head when an older grant is repeated.
    pub index: u64,
    /// Number of leaves.
    pub size: u64,
    /// Merkle tree hash (RFC 6962) of the grants.
    pub root: Bytes32,
}

/// What a grant says; a leaf of the tree whose root is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GrantPayload {
    /// Words that name what this grant says beyond version 1. Who does not know one of them believes nothing of it.
    pub uses: WordList,
    /// The lease.
    pub lease: LeaseId,
    /// The nonce of the request that this answers.
    pub nonce: Bytes32,
    /// `tqs1:` and 64 hex digits.
    pub server_key: String,
    /// The history.
    pub lineage: Lineage,
    /// Of the entry that granted it.
    pub epoch: u64,
    /// Of the entry that granted it.
    pub index: u64,
    /// Lease time of the grant, milliseconds since the lineage began.
    pub granted_at_ms: u64,
    /// Time to live, milliseconds.
    pub ttl_ms: u64,
    /// The vendor permits running on for so long while no server answers, milliseconds.
    pub grace_ms: u64,
    /// Whether an orderly end of the presence connection frees the seats early.
    pub presence: bool,
    /// The parts, in the order asked.
    pub items: Vec<GrantedItem>,
    /// The vendor's own data of the entitlements that it is charged to.
    pub vendor_data: Vec<String>,
}

/// One part of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GrantedItem {
    /// As asked.
    pub feature: String,
    /// As asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// As asked.
    pub seats: u32,
    /// Where the seats come from; they add up to `seats`.
    pub from: Vec<From>,
}

/// Seats charged to one entitlement of one license.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct From {
    /// SHA-256 of the license text.
    pub license: Bytes32,
    /// The entitlement's position in the text, from 0.
    pub entitlement: u16,
    /// Seats.
    pub seats: u32,
}

/// A grant with all that proves it, which anyone verifies later without TLS.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedGrant {
    /// The bytes of a [`GrantPayload`] in JSON.
    pub grant: Blob,
    /// The grant's leaf, from 0. `leaf` in JSON, because the answer that carries it has a `position` of its own.
    #[serde(rename = "leaf")]
    pub position: u64,
    /// Inclusion path from the leaf up, empty for a tree of one.
    pub path: Vec<Bytes32>,
    /// The bytes of a [`GrantsStatement`] in JSON.
    pub statement: Blob,
    /// By the server key under type `grants`.
    pub signature: Bytes64,
}
