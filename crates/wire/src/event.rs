//! Events as the stream `GET /v1/events` shows them: one flat JSON object for each, named by a stable `kind`.
//!
//! Kinds are an open list. Who reads takes [`EventBody`], which passes every kind through, and asks [`EventBody::known`] for the members of
//! those that this version knows.

use serde::{Deserialize, Serialize};

use crate::{
    Bytes32, LeaseId, Lineage, Position,
    lease::{Denial, EndReason},
    status::HolderStatus,
};

/// One event of one entry, of any kind. `id` of the SSE frame is `LINEAGE.EPOCH.INDEX.NUMBER`; resume with `Last-Event-ID` or `?after=`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventBody {
    /// The entry.
    pub position: Position,
    /// The event within the entry, from 0.
    pub number: u32,
    /// Lease time of the entry, milliseconds.
    pub at_ms: u64,
    /// Civil time of the entry, RFC 3339.
    pub time: String,
    /// Such as `granted`, `denied`, `released`, `license_installed`.
    pub kind: String,
    /// The members of that kind.
    #[serde(flatten)]
    pub facts: serde_json::Map<String, serde_json::Value>,
}

impl EventBody {
    /// An event of a kind that this version knows.
    #[must_use]
    pub fn new(position: Position, number: u32, at_ms: u64, time: String, facts: &EventFacts) -> Self {
        let value = serde_json::to_value(facts).expect("facts have only text keys, and memory takes all");
        let serde_json::Value::Object(mut facts) = value else { unreachable!("facts are an object") };
        let kind = match facts.remove("kind") {
            Some(serde_json::Value::String(kind)) => kind,
            _ => unreachable!("facts are tagged by their kind"),
        };
        Self { position, number, at_ms, time, kind, facts }
    }

    /// The members, if this version knows the kind.
    #[must_use]
    pub fn known(&self) -> Option<EventFacts> {
        let mut facts = self.facts.clone();
        facts.insert("kind".to_owned(), self.kind.clone().into());
        serde_json::from_value(facts.into()).ok()
    }
}

/// Seats of one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventItem {
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

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventPool {
    /// The vendor's name.
    pub vendor: String,
    /// The feature.
    pub feature: String,
}

/// Denials of one pool that left no record of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventDenials {
    /// The vendor's name.
    pub vendor: String,
    /// The feature.
    pub feature: String,
    /// How many.
    pub denials: u64,
}

/// Who did an administrative act, and why; only for viewers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventActor {
    /// Such as `unix:alice`, `folder`, `server`.
    pub name: String,
    /// What was given as the reason, empty if nothing.
    pub reason: String,
}

/// An entitlement that was left out, and the words that it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventLeftOut {
    /// Its position in the license, from 0.
    pub entitlement: u16,
    /// The words that the server would have to know.
    pub unknown_words: Vec<String>,
}

/// What happened. Kept alphabetical. Times named `*_ms` are lease time, in milliseconds since the lineage began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "each is made for one line of a stream, and gone when that is written")]
pub enum EventFacts {
    /// A lease of lost history was taken over, shown by its signed grant.
    Adopted {
        /// The lease.
        lease: LeaseId,
        /// Who; only for viewers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<HolderStatus>,
        /// Its parts.
        items: Vec<EventItem>,
        /// Time to live, milliseconds.
        ttl_ms: u64,
    },
    /// Seats of a lease moved from one entitlement to another.
    ChargeMoved {
        /// The lease.
        lease: LeaseId,
        /// Which of its parts, from 0.
        item: u32,
        /// Number of the entitlement before.
        from: u32,
        /// Number of the entitlement after.
        to: u32,
        /// Seats.
        seats: u32,
    },
    /// An administrator confirmed the wall clock.
    ClockAccepted {
        /// The time confirmed, RFC 3339.
        clock: String,
        /// Who and why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<EventActor>,
    },
    /// Time passed.
    ClockMarked {},
    /// The wall clock made a step.
    ClockStepped {
        /// RFC 3339.
        from: String,
        /// RFC 3339.
        to: String,
        /// Whether it was believed.
        believed: bool,
    },
    /// Seats denied.
    Denied {
        /// The lease asked for.
        lease: LeaseId,
        /// The attempt.
        attempt: u32,
        /// Who; only for viewers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<HolderStatus>,
        /// Why, with numbers.
        denial: Denial,
    },
    /// Requests that were refused because too many of their network were denied: they left no record of their own. At most once a minute.
    DenialsCounted {
        /// Since when they are counted.
        since_ms: u64,
        /// How many, by pool.
        pools: Vec<EventDenials>,
        /// How many of other pools, or for what is not here.
        #[serde(default)]
        elsewhere: u64,
    },
    /// A waiter left the line without a seat.
    Dequeued {
        /// The lease asked for.
        lease: LeaseId,
        /// `hopeless`, `released`, `silent` or `wait_over`.
        reason: String,
    },
    /// A lease ended otherwise than by its holder.
    Ended {
        /// The lease.
        lease: LeaseId,
        /// Why.
        reason: EndReason,
        /// Seats that it gives back, by pool.
        #[serde(default)]
        items: Vec<EventItem>,
        /// Until when they linger; absent: free at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        linger_until_ms: Option<u64>,
        /// Until when it was promised, if it ended before that (a reclaim at once, a named network): until then its holder may run on one of the
        /// freed seats, which is possible over-use.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        promised_until_ms: Option<u64>,
        /// Who and why, if somebody in particular.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<EventActor>,
    },
    /// A lease will end at its present deadline.
    Ending {
        /// The lease.
        lease: LeaseId,
        /// When.
        due_ms: u64,
        /// Why.
        reason: EndReason,
        /// Who and why, if somebody in particular.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<EventActor>,
    },
    /// An entitlement counts from now on.
    EntitlementBegan {
        /// Its number on this server.
        entitlement: u32,
    },
    /// An entitlement counts no more.
    EntitlementEnded {
        /// Its number on this server.
        entitlement: u32,
        /// `expired`, `removed` or `replaced`.
        reason: String,
    },
    /// Entitlements that were left out of a license are understood by now.
    EntitlementsUnderstood {
        /// SHA-256 of the license's text; as all that tells which license it is, for viewers only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash: Option<String>,
        /// Its id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        license: Option<String>,
        /// The pools that they count for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pools: Vec<EventPool>,
        /// What is still left out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left_out: Vec<EventLeftOut>,
    },
    /// Ended ids of before that time were forgotten.
    Forgot {
        /// When.
        until_ms: u64,
    },
    /// From here on, entries hold records that only programs with these words can read.
    FormatRaised {
        /// The words.
        words: Vec<String>,
    },
    /// Seats granted.
    Granted {
        /// The lease.
        lease: LeaseId,
        /// The attempt.
        attempt: u32,
        /// Who; only for viewers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<HolderStatus>,
        /// Its parts.
        items: Vec<EventItem>,
        /// Time to live, milliseconds.
        ttl_ms: u64,
        /// Whether it had waited in line.
        from_queue: bool,
    },
    /// A lease was heard for the first time since a start.
    Heard {
        /// The lease.
        lease: LeaseId,
    },
    /// A license was installed.
    LicenseInstalled {
        /// SHA-256 of the text; as all that tells which license it is, for viewers only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash: Option<String>,
        /// Its id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        license: Option<String>,
        /// The vendor's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vendor: Option<String>,
        /// The pools that it counts for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pools: Vec<EventPool>,
        /// What the server does not understand of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left_out: Vec<EventLeftOut>,
        /// Who and why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<EventActor>,
    },
    /// A license was removed, or replaced.
    LicenseRemoved {
        /// SHA-256 of the text; as all that tells which license it is, for viewers only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash: Option<String>,
        /// Its id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        license: Option<String>,
        /// The vendor's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vendor: Option<String>,
        /// `expired`, `removed` or `replaced`.
        reason: String,
        /// Who and why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<EventActor>,
    },
    /// The signatures of a license were checked at a start, by that version's rules, with another result than before.
    LicenseChecked {
        /// SHA-256 of the text; as all that tells which license it is, for viewers only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash: Option<String>,
        /// Its id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        license: Option<String>,
        /// What is wrong; absent: all is well again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    },
    /// A shown grant proved that entries of this history are lost: a new history begins, and nothing is granted for a while.
    LineageBegan {
        /// The new history.
        lineage: Lineage,
        /// Until when nothing is granted.
        quarantine_until_ms: u64,
        /// The lease whose grant was shown.
        lease: LeaseId,
        /// The epoch that the grant names.
        shown_epoch: u64,
        /// The entry that the grant names.
        shown_index: u64,
    },
    /// The disk has room again, and lines go on.
    LinesResumed {
        /// Seats that were granted to waiters wait to be claimed at least until then.
        claim_due_ms: u64,
    },
    /// Seats that lingered are free.
    LingerEnded {
        /// The lease.
        lease: LeaseId,
        /// The seats, by pool.
        #[serde(default)]
        items: Vec<EventItem>,
    },
    /// A feature is counted from now on.
    PoolOpened {
        /// The vendor's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vendor: Option<String>,
        /// The feature.
        feature: String,
    },
    /// Pools of a vendor whose keys signed one text with another's are the other's from now on.
    PoolsMerged {
        /// How many.
        pools: u64,
    },
    /// An administrator lets presence free seats early again in a network.
    PresenceAllowed {
        /// The network, with all in it: an IPv4 address, an IPv6 /64, a /24 or /48, or `*` for all. Only for viewers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        network: Option<String>,
        /// Who and why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<EventActor>,
    },
    /// A holder whose seats were freed early was alive after all: nothing is freed early in its network for a while.
    PresenceRegretted {
        /// The lease.
        lease: LeaseId,
        /// Where nothing is freed early: its network, an IPv4 address or an IPv6 /64; the /24 or /48 around it, when that has too many; `*`, everywhere, while
        /// there are too many to remember. Only for viewers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        network: Option<String>,
        /// Until when.
        until_ms: u64,
    },
    /// The time after a restore or rollback in which nothing is granted is over.
    QuarantineEnded {
        /// Who ended it and why; absent: it was over by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<EventActor>,
    },
    /// Lost history may have granted for longer than was known: nothing is granted until then.
    QuarantineLengthened {
        /// When.
        until_ms: u64,
    },
    /// Somebody waits in line.
    Queued {
        /// The lease asked for.
        lease: LeaseId,
        /// The attempt.
        attempt: u32,
        /// Who; only for viewers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<HolderStatus>,
        /// What is waited for.
        items: Vec<EventItem>,
        /// When the wait ends.
        gives_up_ms: u64,
    },
    /// A server started.
    Recovered {
        /// The epoch that begins.
        epoch: u64,
        /// Until when nothing is granted; absent: not restored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quarantine_until_ms: Option<u64>,
    },
    /// A lease was given back.
    Released {
        /// The lease.
        lease: LeaseId,
        /// `holder` or `presence`.
        cause: String,
        /// Seats that it gives back, by pool.
        #[serde(default)]
        items: Vec<EventItem>,
        /// Until when they linger; absent: free at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        linger_until_ms: Option<u64>,
    },
    /// An id was given back before it was known: it never grants.
    ReleasedUnknown {
        /// The lease.
        lease: LeaseId,
    },
    /// The wall clock was taken back to before the beginning of what had replaced these entitlements: they come back.
    ReplacementUndone {
        /// SHA-256 of the license's text; as all that tells which license it is, for viewers only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash: Option<String>,
        /// Its id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        license: Option<String>,
        /// Their numbers on this server.
        entitlements: Vec<u32>,
    },
    /// A renewal told the client of a shorter time to live.
    TtlLowered {
        /// The lease.
        lease: LeaseId,
        /// Time to live from now on, milliseconds.
        ttl_ms: u64,
        /// Nothing of the lease ends before.
        not_before_ms: u64,
    },
    /// A lease has a longer time to live again, as its client asked for it.
    TtlRaised {
        /// The lease.
        lease: LeaseId,
        /// Time to live from now on, milliseconds.
        ttl_ms: u64,
    },
    /// A vendor's keys became known.
    VendorKeys {
        /// The vendor's name.
        vendor: String,
        /// The keys, for viewers.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        keys: Vec<Bytes32>,
    },
    /// Two vendors turned out to be one.
    VendorsMerged {},
    /// Somebody in line asked for the first time since a start.
    WaiterHeard {
        /// The lease asked for.
        lease: LeaseId,
    },
    /// The client of a lease knows these words.
    WordsAccepted {
        /// The lease asked for.
        lease: LeaseId,
        /// Those of them that a license may need.
        words: Vec<String>,
    },
}
