//! What may be asked of the allocator.

use triquest_license::{FeatureName, LicenseHash, VerifiedLicense, Version};

use crate::{ContentDigest, Epoch, Holder, LeaseId, Lineage, Network};

/// Who does an administrative act; every such act is an event with who and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Actor {
    /// Such as `unix:alice`, `token:nightly`, `folder`, `server`.
    pub name: String,
    /// What the actor gave as the reason, empty if nothing.
    pub reason: String,
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

/// A command, decided at one [`crate::Moment`].
#[derive(Clone, Debug)]
pub enum Command {
    /// Believe the present wall clock although the kernel does not call it synchronized, or take back a wrong future.
    AcceptClock {
        /// Who confirms it.
        actor: Actor,
    },
    /// After a restore or rollback: stop waiting for what may have been borrowed or granted in the lost history.
    AcceptBorrowLoss {
        /// Who accepts it.
        actor: Actor,
    },
    /// Take over a lease that its signed grant (verified by the caller) shows to have been granted in lost history.
    Adopt {
        /// The lease, from the secret.
        lease: LeaseId,
        /// The holder now.
        holder: Holder,
        /// Digest of content, as for a checkout.
        content: ContentDigest,
        /// The vendor's keys.
        vendor_keys: Vec<[u8; 32]>,
        /// Its parts.
        items: Vec<CheckoutItem>,
        /// The time to live that the shown grant states, in milliseconds.
        ttl_ms: u64,
        /// Where it came from; none is this machine's own socket.
        network: Option<Network>,
    },
    /// Take seats, or ask again with the same id.
    Checkout {
        /// From the client's secret.
        lease: LeaseId,
        /// Counts the client's attempts for this id, from 1.
        attempt: u32,
        /// Digest of holder (without address) and parts.
        content: ContentDigest,
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
    /// Put a verified license into force.
    Install(InstallLicense),
    /// The orderly end (FIN) of a presence connection.
    PresenceClosed {
        /// The lease that it stood for.
        lease: LeaseId,
        /// Only the newest generation counts.
        generation: u64,
    },
    /// A presence connection opened; soft state. Its end frees nothing before a renewal has confirmed it.
    PresenceOpened {
        /// The lease that it stands for.
        lease: LeaseId,
        /// The client's counter of presence connections, growing.
        generation: u64,
        /// Client and server see the same two addresses and ports, so that nothing between them ends the connection in a client's place.
        ends_agree: bool,
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
        /// The history; another one than the state's means restored.
        lineage: Lineage,
    },
    /// Give seats back. Valid before any answer was seen: an id released before it was known never grants.
    Release {
        /// Which.
        lease: LeaseId,
        /// Where it came from; none is this machine's own socket.
        network: Option<Network>,
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
