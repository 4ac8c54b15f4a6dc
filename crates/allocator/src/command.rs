//! What may be asked of the allocator.

use triquest_license::{FeatureName, LicenseHash, VerifiedLicense, Version, Words};

use crate::{ContentDigest, Epoch, Holder, Index, Instance, LeaseId, Lineage, NamedNetwork, Network, Networks, PoolId, Timestamp};

/// Who does an administrative act; every such act is an event with who and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Actor {
    /// Such as `unix:alice`, `token:nightly`, `folder`, `server`.
    pub name: String,
    /// What the actor gave as the reason, empty if nothing.
    pub reason: String,
}

/// What stands between the two ends of a presence connection, and so what its orderly end says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Between {
    /// The administrator named the client's network: the connection's end may be the process's. The seats are free when the client has not come back
    /// after [`crate::limits::PRESENCE_WAIT_MS`].
    Named,
    /// Client and server see the same two addresses and ports, and the administrator has named no proxy that vouches for clients. So nothing ends the
    /// connection in a client's place: its end is the process's.
    Nothing,
    /// They see others, or the connection may be that of a named proxy: something between them may have ended it, and its end says nothing.
    Something,
}

/// One part of a checkout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckoutItem {
    /// The feature that is counted.
    pub feature: FeatureName,
    /// The application's version; none asks for no version gate and any entitlement covers it.
    pub version: Option<Version>,
    /// How many seats, at least 1.
    pub seats: u32,
}

/// A license to be installed.
#[derive(Clone, Debug)]
pub struct InstallLicense {
    /// Verified under every key that its own text names, and naming this server (the caller checks `serves`).
    pub license: Box<VerifiedLicense>,
    /// Who installs it.
    pub actor: Actor,
}

/// One part of a grant that a client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownItem {
    /// The feature.
    pub feature: FeatureName,
    /// License text, the entitlement's position in it from 0, seats charged.
    pub from: Vec<(LicenseHash, u16, u32)>,
}

/// A grant that this server's key has signed (the caller verified it, and that it is of the same lease and parts), with the point in
/// history that the signed statement names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownGrant {
    /// The history.
    pub lineage: Lineage,
    /// The epoch.
    pub epoch: Epoch,
    /// The start that signed it.
    pub instance: Instance,
    /// The entry.
    pub index: Index,
    /// The time to live that it promises, in milliseconds.
    pub ttl_ms: u64,
    /// Its parts, in the order asked.
    pub items: Vec<ShownItem>,
}

/// A command, decided at one [`crate::Moment`].
#[derive(Clone, Debug)]
pub enum Command {
    /// Believe the present wall clock although the kernel does not call it synchronized, or take back a wrong future.
    AcceptClock {
        /// Who confirms it.
        actor: Actor,
    },
    /// A checkout that shows the signed grant of its lease. If the grant is of lost history, the lease is taken over; if it proves that
    /// the present history was rolled back, a new lineage begins first. If nothing can be taken over, it is an ordinary checkout: the
    /// client asks as a new one.
    Adopt {
        /// From the client's secret.
        lease: LeaseId,
        /// As for a checkout.
        attempt: u32,
        /// As for a checkout.
        content: ContentDigest,
        /// As for a checkout.
        accepts: Words,
        /// The holder now.
        holder: Holder,
        /// The vendor's keys; the shown licenses must be of a vendor that they name.
        vendor_keys: Vec<[u8; 32]>,
        /// Its parts.
        items: Vec<CheckoutItem>,
        /// As for a checkout.
        ttl_ms: Option<u64>,
        /// As for a checkout.
        wait_ms: Option<u64>,
        /// As for a checkout.
        network: Option<Network>,
        /// As for a checkout.
        regained: bool,
        /// What it shows.
        shown: Box<ShownGrant>,
        /// Random: names the new lineage if the grant proves a rollback.
        next_lineage: Lineage,
    },
    /// Let presence free seats early again in networks that a regret had turned it off for.
    AllowPresence {
        /// Which, with all in them.
        networks: Networks,
        /// Who and why.
        actor: Actor,
    },
    /// Take seats, or ask again with the same id.
    Checkout {
        /// From the client's secret.
        lease: LeaseId,
        /// Counts the client's attempts for this id, from 1.
        attempt: u32,
        /// Digest of holder (without address) and parts.
        content: ContentDigest,
        /// Words that the client knows, as far as a license here may need them.
        accepts: Words,
        /// Who wants it.
        holder: Holder,
        /// The keys that the application embeds; the first that names a vendor here which can serve counts.
        vendor_keys: Vec<[u8; 32]>,
        /// All or none.
        items: Vec<CheckoutItem>,
        /// The time to live that the client would like, in milliseconds; bounded by the license and [`crate::limits`].
        ttl_ms: Option<u64>,
        /// Wait in line for at most so many milliseconds from the first asking; none is no waiting.
        wait_ms: Option<u64>,
        /// Its client has lost the right of this id by its own clock and is back for it.
        regained: bool,
        /// Where it came from; none is this machine's own socket. No part of the content.
        network: Option<Network>,
    },
    /// Denials that were refused by a limit, before they were decided and so without a record, are counted in one fact.
    CountDenials {
        /// Lease time of the first of them.
        since: Timestamp,
        /// How many of each pool, at most [`crate::limits::DENIALS_COUNTED_POOLS_MAX`] by name.
        pools: Vec<(PoolId, u64)>,
        /// How many of other pools, or of none that is here.
        elsewhere: u64,
    },
    /// End the quarantine of a new lineage now: grant again, although lost history may have promised the same seats. Who accepts that is recorded.
    EndQuarantine {
        /// The history whose quarantine it is, as it was shown to whoever ends it.
        lineage: Lineage,
        /// Who and why.
        actor: Actor,
    },
    /// Put a verified license into force.
    Install(InstallLicense),
    /// A presence connection stands for one lease more; soft state. Its end frees nothing before a renewal of that lease has confirmed it.
    PresenceAdded {
        /// The lease that it stands for from now on.
        lease: LeaseId,
        /// Which of the server's connections.
        connection: u64,
        /// The client's counter of presence connections.
        generation: u64,
        /// What stands between its two ends.
        between: Between,
    },
    /// The orderly end (FIN) of a presence connection.
    PresenceClosed {
        /// The lease that it stood for.
        lease: LeaseId,
        /// Only the newest generation counts.
        generation: u64,
        /// Whose connection it was: from there its client would open another one.
        network: Option<Network>,
        /// How many unnamings had been told when its network was looked up at its end ([`Command::PresenceUnnamed`]).
        unnamings: u64,
    },
    /// A presence connection stands for this lease no more, and never again: its end frees nothing of it; soft state.
    PresenceDropped {
        /// The lease.
        lease: LeaseId,
        /// Which of the server's connections.
        connection: u64,
        /// The client's counter of presence connections.
        generation: u64,
        /// What stands between its two ends.
        between: Between,
    },
    /// A presence connection opened; soft state. Its end frees nothing before a renewal has confirmed it.
    PresenceOpened {
        /// The lease that it stands for.
        lease: LeaseId,
        /// Which of the server's connections.
        connection: u64,
        /// The client's counter of presence connections, growing.
        generation: u64,
        /// What stands between its two ends.
        between: Between,
    },
    /// An opening, or a change that adds this lease, came and was refused; soft state. Whatever ended the connection before, it was not death.
    PresenceRefused {
        /// The lease.
        lease: LeaseId,
    },
    /// Connections of a range that the administrator named had to wait or were turned away before anybody knew whose they were; soft state. Each may
    /// have been the reopening of a presence connection of any client of that range.
    PresenceTurnedAway {
        /// The range that they came from; none if it is not known either.
        named: Option<NamedNetwork>,
    },
    /// The administrator has taken a network out of those that are named; soft state. Every wait that runs ends, and none begins with an end that was
    /// looked up before this unnaming: seats are then free at the end of their time to live.
    PresenceUnnamed {
        /// How often that has happened since the server started, this time included.
        unnamings: u64,
    },
    /// Take a lease back.
    Reclaim {
        /// Which.
        lease: LeaseId,
        /// Free the seats at once, recorded as possible over-use, rather than at the end of the present promise.
        now: bool,
        /// Who and why.
        actor: Actor,
    },
    /// The first command of each start or takeover.
    Recover {
        /// One more than the last.
        epoch: Epoch,
        /// Random for this start.
        instance: Instance,
        /// The history; another one than the state's means restored.
        lineage: Lineage,
        /// The longest `ttl_max` among the licenses in the license folder, in milliseconds, 0 if there is none: lost history may have
        /// granted by them.
        folder_ttl_max_ms: u64,
    },
    /// Give seats back. Valid before any answer was seen: an id released before it was known never grants.
    Release {
        /// Which.
        lease: LeaseId,
        /// Where it came from; none is this machine's own socket.
        network: Option<Network>,
    },
    /// What this version reads in the note of an installed license, at each start: its verdict on the signatures, and what it understands.
    Reread {
        /// Which.
        license: LicenseHash,
        /// Verified under every key that its own text names, or why it is not.
        read: Result<Box<VerifiedLicense>, String>,
    },
    /// Take a license off the server.
    Remove {
        /// Which text.
        license: LicenseHash,
        /// Who and why.
        actor: Actor,
    },
    /// Prolong a lease.
    Renew {
        /// Which.
        lease: LeaseId,
        /// Grows with each renewal of the lease by one client.
        counter: u64,
        /// The same counter with another nonce is a cloned client.
        nonce: [u8; 16],
        /// What the application says of its user's idleness, in milliseconds; soft, for status only.
        idle_ms: Option<u64>,
        /// The generation of the presence connection that stands for the lease by its client's word; none if none does. The last renewal counts.
        presence: Option<u64>,
        /// Its client has lost the right by its own clock and is back for it.
        regained: bool,
    },
    /// The wall clock made a step that [`crate::CivilClock`] did not follow, or one that it followed after all; reported, and while not
    /// believed no right begins or ends by date.
    StepClock {
        /// What the clock says.
        to_ms: i64,
        /// It is followed.
        believed: bool,
    },
    /// Handle what is due; also what a tick of the driver sends in quiet hours.
    Sweep,
}

impl Command {
    /// The lease that it is about.
    #[must_use]
    pub fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::Adopt { lease, .. }
            | Self::Checkout { lease, .. }
            | Self::PresenceAdded { lease, .. }
            | Self::PresenceClosed { lease, .. }
            | Self::PresenceDropped { lease, .. }
            | Self::PresenceOpened { lease, .. }
            | Self::PresenceRefused { lease }
            | Self::Reclaim { lease, .. }
            | Self::Release { lease, .. }
            | Self::Renew { lease, .. } => Some(*lease),
            _ => None,
        }
    }

    /// It says something of presence that can only keep a lease from being freed: everything but an end. Such a command needs no entry, and is decided
    /// before anything is freed in the same pass.
    #[must_use]
    pub fn tells_presence(&self) -> bool {
        matches!(
            self,
            Self::PresenceAdded { .. }
                | Self::PresenceDropped { .. }
                | Self::PresenceOpened { .. }
                | Self::PresenceRefused { .. }
                | Self::PresenceTurnedAway { .. }
                | Self::PresenceUnnamed { .. }
        )
    }
}
