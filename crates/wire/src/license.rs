//! Installing, listing and removing licenses.

use serde::{Deserialize, Serialize};

use crate::{Bytes32, Position};

/// `POST /v1/licenses`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InstallRequest {
    /// A license file's text or its one-line form.
    pub license: String,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Answers an installation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstallAnswer {
    /// `installed`, `waiting`, `already_installed` or `replaced`.
    pub outcome: InstallOutcome,
    /// Where in history.
    pub position: Position,
    /// SHA-256 of the text.
    pub hash: Bytes32,
    /// The license's id.
    pub license: String,
    /// Ids of licenses that it replaces.
    pub replaced: Vec<String>,
    /// Leases that end with their present promises, because what it replaces had seats that it has not. More may follow where very many are affected.
    #[serde(default)]
    pub ending: u32,
    /// With `replaced`, the license that has taken its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<Successor>,
    /// Where it adds to others, such as `cad: 25 + 25 = 50 until 2026-12-31, together with ACME-1`.
    pub notices: Vec<String>,
}

/// A license that has taken the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Successor {
    /// Its id.
    pub license: String,
    /// SHA-256 of its text.
    pub hash: Bytes32,
    /// Since when it is in force (unix ms).
    pub since_ms: i64,
}

/// What an installation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum InstallOutcome {
    /// It was there before; nothing changed.
    AlreadyInstalled,
    /// In force.
    Installed,
    /// Another license has taken its place and is in force; nothing changed.
    Replaced,
    /// Takes effect by itself on its day.
    Waiting,
}

/// `DELETE /v1/licenses/{hash}` takes this body.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RemoveRequest {
    /// Why, for the record.
    #[serde(default)]
    pub reason: String,
}

/// Answers a removal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RemoveAnswer {
    /// Where in history.
    pub position: Position,
    /// Leases that end at their present deadlines because nothing else covers them.
    pub ending: u32,
    /// Files of the server's folder of licenses that hold it: the next start or reload installs it again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// `GET /v1/licenses`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LicenseList {
    /// Where in history.
    pub position: Position,
    /// In order of installation.
    pub licenses: Vec<LicenseSummary>,
    /// Set if more follow: pass it as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// One installed license.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LicenseSummary {
    /// SHA-256 of the text.
    pub hash: Bytes32,
    /// Its id.
    pub license: String,
    /// The vendor's name.
    pub vendor: String,
    /// The vendor's keys that signed it: a client that embeds none of them gets none of its seats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vendor_keys: Vec<Bytes32>,
    /// For whom.
    pub licensee: String,
    /// `in_force`, `waiting`, `expired`.
    pub state: LicenseState,
    /// Its entitlements that the server understands.
    pub entitlements: Vec<EntitlementSummary>,
    /// Those that it leaves out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutSummary>,
    /// What is wrong with its signatures by the rules of this version of the server, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An entitlement that the server leaves out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeftOutSummary {
    /// Its position in the license, from 0.
    pub entitlement: u16,
    /// The feature, if it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
    /// The words that the server would have to know.
    pub unknown_words: Vec<String>,
}

/// Where a license stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LicenseState {
    /// All its entitlements have ended.
    Expired,
    /// At least one entitlement counts.
    InForce,
    /// None counts yet.
    Waiting,
}

/// One entitlement of an installed license.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EntitlementSummary {
    /// The feature.
    pub feature: String,
    /// Newest version covered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Seats.
    pub seats: u32,
    /// First day as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<String>,
    /// Last day as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When the right ends, unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_ms: Option<i64>,
    /// Where it stands.
    pub state: LicenseState,
}
