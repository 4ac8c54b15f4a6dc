//! Events as the stream `GET /v1/events` shows them: one JSON object for each, named by a stable `kind`.

use serde::{Deserialize, Serialize};

use crate::Position;

/// One event of one entry. `id` of the SSE frame is `LINEAGE.EPOCH.INDEX.NUMBER`; resume with `Last-Event-ID` or `?after=`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventBody {
    /// The entry.
    pub position: Position,
    /// The event within the entry, from 0.
    pub number: u32,
    /// Lease time of the entry, milliseconds.
    pub at_ms: u64,
    /// Civil time of the entry, RFC 3339.
    pub time: String,
    /// Such as `granted`, `denied`, `released`, `expired`, `license_installed`.
    pub kind: String,
    /// The members of that kind (docs/reference/events.md).
    #[serde(flatten)]
    pub facts: serde_json::Map<String, serde_json::Value>,
}
