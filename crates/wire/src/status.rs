//! Looking: counts for everyone who may check out, names for viewers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Bytes32, LeaseId, Lineage, Position,
    lease::{EndReason, PoolNumbers},
    text::size,
};

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// Where in history.
    pub position: Position,
    /// `tqs1:` and 64 hex digits.
    pub server_key: String,
    /// Random for each start.
    pub instance: Bytes32,
    /// Program version.
    pub version: String,
    /// Milliseconds since this start.
    pub uptime_ms: u64,
    /// The server's civil time, RFC 3339.
    pub time_at: String,
    /// Whether the kernel calls the clock synchronized, and whether the server believes it.
    pub clock: ClockState,
    /// `ok`, or why nothing is granted: `disk_full`.
    pub journal: JournalState,
    /// How much room there is on the server's disk, while that is too little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<FullDisk>,
    /// Restored from a backup: for so many milliseconds no new seat is granted, because lost grants may still be in use. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_ms: Option<u64>,
    /// What the machine's wall clock says, RFC 3339, if the server does not follow it: it was set back, or far ahead without a reason.
    /// `time_at` is what the server goes by instead, until `POST /v1/clock/accept`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_says: Option<String>,
    /// Networks in which an orderly end of a presence connection frees nothing early, for a day after a client came back from one with its right running.
    /// For viewers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presence_off: Vec<PresenceOff>,
    /// Networks whose clients lately came through something that translates addresses, so that an orderly end of their presence connections
    /// frees nothing early: all for viewers, for others only their own. `presence_networks` names such networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub translated: Vec<TranslatedNetwork>,
    /// Leases whose seats were freed before their promise was over, since this start; absent if none of those promises still runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed_early: Option<FreedEarly>,
    /// SHA-256 of licenses that are not installed here, although clients showed grants of them that could be taken over. For viewers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_licenses: Vec<Bytes32>,
    /// How many grants of histories that this server's does not come from were shown since this start, signed with its key: another
    /// server has a copy of its data directory.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub foreign_grants: u64,
    /// What is to be said of the installed licenses, a sentence each: what is left out, and signatures that are not good any more.
    /// For viewers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub license_warnings: Vec<String>,
    /// Live leases.
    pub leases: u64,
    /// The pools asked for, in order of vendor and feature.
    pub pools: Vec<PoolStatus>,
    /// Set if more pools follow: pass it as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The networks that came up against a limit lately: all for viewers, for others only their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limited: Vec<LimitedNetwork>,
}

/// A network that came up against one of the server's limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LimitedNetwork {
    /// The limit: `connections`, `denials`, `event_streams`, `hellos`, `http2`, `new_ids`, `presence`, `reads`, `refused_bodies`, `reopenings`,
    /// `reopenings_anywhere`, `searches`, `shown_grants`, `trust`, `unread_bodies`, `unsent_answers` or `waiter_asks`. There may be more.
    pub limit: String,
    /// An IPv4 address, or an IPv6 /64; `*` where it concerns every network.
    pub network: String,
    /// How often, as far as it is known.
    pub times: u64,
    /// How long ago it was the last time, milliseconds.
    pub last_ms: u64,
}

fn is_false(word: &bool) -> bool {
    !word
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A network in which presence frees nothing early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PresenceOff {
    /// An IPv4 address, an IPv6 /64, the /24 or /48 around too many of them, or `*`, which is everywhere, while there are too many to remember.
    pub network: String,
    /// For how long still, milliseconds.
    pub remaining_ms: u64,
}

impl PresenceOff {
    /// Stands for every network, while there are too many to remember.
    pub const EVERYWHERE: &str = "*";

    /// How much of the world it names.
    #[must_use]
    pub fn extent(&self) -> PresenceOffExtent {
        match self.network.rsplit_once('/') {
            _ if self.network == Self::EVERYWHERE => PresenceOffExtent::Everywhere,
            Some((_, "24" | "48")) => PresenceOffExtent::Wide,
            _ => PresenceOffExtent::One,
        }
    }
}

/// How much of the world a [`PresenceOff`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceOffExtent {
    /// Every network.
    Everywhere,
    /// An IPv4 address, or an IPv6 /64.
    One,
    /// The /24 or /48 around too many of them.
    Wide,
}

/// A network whose clients see other addresses than the server does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TranslatedNetwork {
    /// An IPv4 address, or an IPv6 /64, as the server sees it.
    pub network: String,
    /// How many presence connections came from there, as far as it is known.
    pub times: u64,
    /// How long ago it was the last time, milliseconds.
    pub last_ms: u64,
}

/// Possible over-use: leases that were taken back at once by an administrator, or freed by the end of a presence connection in a named network. Their
/// holders, if they live, may still run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FreedEarly {
    /// How many of the promises still run.
    pub leases: u64,
    /// Until the last of them is over, milliseconds.
    pub remaining_ms: u64,
}

/// `POST /v1/presence/allow` (administrators): let presence free seats early again in a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AllowPresenceRequest {
    /// As `status` shows it, or any address in it; `*` for all.
    pub network: String,
    /// Why; required, for the record.
    pub reason: String,
}

/// How the server's wall clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClockState {
    /// A jump is not believed; licenses neither begin nor end until it is.
    Held,
    /// The kernel says so.
    Synchronized,
    /// Believed, though the kernel does not vouch for it.
    Unsynchronized,
}

/// How the journal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JournalState {
    /// The disk is full: nothing is granted until there is room, and nobody loses a seat.
    DiskFull,
    /// Writing.
    Ok,
}

/// How much room there is on the disk of a server's data directory, and how much it needs to grant again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FullDisk {
    /// All that can still be written there, in bytes, as far as it is known; the server's reserve is a part of it.
    pub left_bytes: u64,
    /// So much must be left before anything is granted again, in bytes: the reserve, and room for entries of the journal.
    pub needs_bytes: u64,
    /// The reserve, in bytes: it is kept for those who hold seats, and for administrators.
    pub reserve_bytes: u64,
    /// The reserve is used up too: nothing is written, so only renewals are answered.
    pub used_up: bool,
    /// The data directory. For viewers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl FullDisk {
    /// The state of a server whose disk is full, in words: everywhere the same.
    pub const FULL: &str = "the disk is full: nothing is granted until there is room";
    /// The same where even the reserve is used up.
    pub const USED_UP: &str = "the disk is full and the reserve is used up: only renewals are answered until there is room";

    /// The state in words.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.used_up { Self::USED_UP } else { Self::FULL }
    }
}

/// One sentence for people: the state, how much room there is, where, how much is needed and for what.
impl fmt::Display for FullDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { left_bytes, needs_bytes, reserve_bytes, used_up: _, path } = self;
        let place = path.as_ref().map_or_else(String::new, |path| format!(" in {path}"));
        let (reserve, entries) = (size(*reserve_bytes), size(needs_bytes.saturating_sub(*reserve_bytes)));
        write!(
            f,
            "{} ({} left{place}, the reserve counted; grants begin again at {}, {reserve} of it for the reserve and {entries} for the journal: make \
             room for {} more)",
            self.state(),
            size(*left_bytes),
            size(*needs_bytes),
            size(needs_bytes.saturating_sub(*left_bytes))
        )
    }
}

/// One pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolStatus {
    /// The vendor's name.
    pub vendor: String,
    /// The vendor's keys, for viewers: with them anybody gets the texts of its licenses. Empty for others, who ask with `vendor_keys` instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vendor_keys: Vec<Bytes32>,
    /// The feature.
    pub feature: String,
    /// Its numbers.
    #[serde(flatten)]
    pub numbers: PoolNumbers,
    /// Checkouts that were denied since this start, each once: a repeat of the same attempt, a place in line and a request that was
    /// refused for another reason do not count. Requests that were limited because too many of their network were denied count too, up to a minute
    /// later.
    pub denied: u64,
    /// When the first entitlement in force ends, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
    /// Same, unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_ms: Option<i64>,
    /// When the first entitlement that waits begins, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<String>,
}

/// `GET /v1/leases` (viewers) and `POST /v1/leases/{lease}/inspect` (the owner).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseList {
    /// Where in history.
    pub position: Position,
    /// In order of lease id.
    pub leases: Vec<LeaseStatus>,
    /// Set if more follow: pass it as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<LeaseId>,
}

/// One lease, waiter or lingering seat.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseStatus {
    /// Which.
    pub lease: LeaseId,
    /// What it is.
    pub state: LeaseState,
    /// Its parts.
    pub items: Vec<HeldItem>,
    /// Who.
    pub holder: HolderStatus,
    /// Since when, RFC 3339.
    pub since_at: String,
    /// That is when it was taken over after a restore: it was held before, since a time that is not known here.
    #[serde(default, skip_serializing_if = "is_false")]
    pub adopted: bool,
    /// For how long, milliseconds.
    pub age_ms: u64,
    /// How long ago it was last heard, milliseconds.
    pub heard_ms: u64,
    /// How long its user has been idle, as the application says, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// What remains of the promise (or of the linger, or of the wait), milliseconds.
    pub remaining_ms: u64,
    /// Place in line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u32>,
    /// Why it is ending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<EndReason>,
}

/// What a lease is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Will not be renewed.
    Ending,
    /// Released, its seats not free yet.
    Lingering,
    /// Held.
    Live,
    /// In line.
    Waiting,
}

/// One part of a lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeldItem {
    /// The vendor's name.
    pub vendor: String,
    /// The feature.
    pub feature: String,
    /// The application's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Seats.
    pub seats: u32,
}

/// A holder, each field with whether it was proved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HolderStatus {
    /// Account name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Claim>,
    /// Host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Claim>,
    /// Display, terminal or console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<Claim>,
    /// Session kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Claim>,
    /// Network address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Claim>,
    /// Container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Claim>,
    /// Process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Claim>,
    /// Batch job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Claim>,
    /// Project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Claim>,
}

/// One field of a holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Claim {
    /// In normal form.
    pub value: String,
    /// True if the server observed it itself.
    pub proved: bool,
}

/// `POST /v1/leases/{lease}/reclaim` (administrators).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReclaimRequest {
    /// Why; required, for the record.
    pub reason: String,
    /// Free the seats at once, recorded as possible over-use.
    #[serde(default)]
    pub now: bool,
}

/// Answers a reclaim.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReclaimAnswer {
    /// Where in history.
    pub position: Position,
    /// Until the seats are free, milliseconds.
    pub remaining_ms: u64,
}

/// `POST /v1/clock/accept` (administrators).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    /// Why; required, for the record.
    pub reason: String,
}

/// `POST /v1/quarantine/end` (administrators).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EndQuarantineRequest {
    /// Why; required, for the record.
    pub reason: String,
    /// The history whose quarantine was looked at, as `status` names it in its `position`. If another has begun since, nothing ends. Absent: the one that
    /// is shown when the request arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Lineage>,
}

/// `GET /v1/server/id` (open) and what `server id` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerId {
    /// `tqs1:` and 64 hex digits.
    pub server_key: String,
    /// Random for each start.
    pub instance: Bytes32,
    /// The history.
    pub position: Position,
}

/// Answers an administrative act that has no other result.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Accepted {
    /// Where in history.
    pub position: Position,
}

/// `POST /v1/backup` (administrators): writes a copy of the journal into a file that must not exist.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// A plain name for a file in `backups` in the data directory; or an absolute path in one of the folders that `backups` of the server's
    /// configuration lists. Absent: a new name in `backups` in the data directory.
    #[serde(default, deserialize_with = "crate::strict::present", skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Answers a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BackupAnswer {
    /// At least this much of history is in it.
    pub position: Position,
    /// The file.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// `POST /v1/reload` (administrators): an empty object.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {}

/// Answers a reload.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReloadAnswer {
    /// What changed, one sentence each, for people.
    pub changes: Vec<String>,
}

/// How often the pages of ports were found helpful, or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FeedbackList {
    /// In order of port; ports without an answer are absent.
    pub ports: Vec<FeedbackCounts>,
}

/// The answers to one port's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FeedbackCounts {
    /// The port.
    pub port: u16,
    /// Helpful.
    pub yes: u64,
    /// Partly.
    pub partly: u64,
    /// Not helpful.
    pub no: u64,
}
