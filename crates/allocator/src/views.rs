//! Looking at the state without changing it: what status pages, lists and tests read.

use triquest_license::{FeatureName, LicenseHash};

use crate::{
    Actor, Allocator, EndReason, EntitlementId, GrantedItem, Holder, Instance, LeaseId, Networks, PoolId, PoolNumbers, RightEnd, Timestamp,
    VendorId,
    store::{Phase, Slot},
};

/// A pool as it is now.
#[derive(Clone, Debug)]
pub struct PoolView<'a> {
    /// Which.
    pub pool: PoolId,
    /// Whose.
    pub vendor: VendorId,
    /// The vendor's name as its first license here states it.
    pub vendor_name: &'a str,
    /// The feature.
    pub feature: &'a FeatureName,
    /// The counts.
    pub numbers: PoolNumbers,
    /// Its entitlements, in the order in which they are charged.
    pub entitlements: &'a [EntitlementId],
}

/// An entitlement as it is now.
#[derive(Clone, Debug)]
pub struct EntitlementView {
    /// The license's text.
    pub license: LicenseHash,
    /// Its position in the license, from 0.
    pub position: u16,
    /// The pool that it counts in.
    pub pool: PoolId,
    /// Its seats.
    pub seats: u64,
    /// Seats charged to it.
    pub charged: u64,
    /// It counts now.
    pub in_force: bool,
    /// Why it does not count any more.
    pub ended: Option<RightEnd>,
}

/// A license as it is now.
#[derive(Clone, Debug)]
pub struct LicenseView<'a> {
    /// Its text.
    pub license: LicenseHash,
    /// Its signed note, as it was installed.
    pub note: &'a [u8],
    /// Whose.
    pub vendor: VendorId,
    /// Its entitlements' numbers begin here.
    pub first_entitlement: EntitlementId,
    /// How many there are.
    pub entitlements: u32,
    /// Who installed it.
    pub actor: &'a Actor,
    /// It was taken off; leases that are ending still name it.
    pub removed: Option<RightEnd>,
}

/// A lease as it is now.
#[derive(Clone, Debug)]
pub struct LeaseView {
    /// Which.
    pub lease: LeaseId,
    /// Who; nobody for seats that linger.
    pub holder: Holder,
    /// What, and where it is charged.
    pub items: Vec<GrantedItem>,
    /// Since when.
    pub granted_at: Timestamp,
    /// The same in civil time, unix milliseconds.
    pub granted_wall_ms: i64,
    /// Until when, as it stands.
    pub deadline: Timestamp,
    /// Its time to live.
    pub ttl_ms: u64,
    /// It is not renewed any more, and why.
    pub ending: Option<EndReason>,
    /// Given back; the seats linger.
    pub lingering: bool,
    /// Granted to a waiter that has not come for it.
    pub unclaimed: bool,
    /// Heard in this epoch.
    pub heard: bool,
}

impl Allocator {
    /// All pools.
    pub fn pools(&self) -> impl Iterator<Item = PoolView<'_>> {
        // A pool that became part of another is gone, and is not seen twice.
        (0..self.pools.len() as u32).map(PoolId).filter(|id| self.resolve(*id) == *id).filter_map(|id| self.pool_view(id))
    }

    /// One pool; an id that became part of another gives that one.
    #[must_use]
    pub fn pool_view(&self, pool: PoolId) -> Option<PoolView<'_>> {
        let id = self.resolve(pool);
        let found = self.pool(id)?;
        let vendor_name = &self.vendor(found.vendor)?.name;
        Some(PoolView {
            pool: id,
            vendor: found.vendor,
            vendor_name,
            feature: &found.feature,
            numbers: found.numbers(),
            entitlements: &found.rights,
        })
    }

    /// The pool of a feature of the vendor that has this key.
    #[must_use]
    pub fn pool_of(&self, vendor_key: &[u8; 32], feature: &FeatureName) -> Option<PoolView<'_>> {
        let owner = *self.keys.get(vendor_key)?;
        self.pool_view(self.pool_of_feature(owner, feature)?)
    }

    /// A vendor's name and keys. The tests look at it.
    #[must_use]
    pub fn vendor_view(&self, vendor: VendorId) -> Option<(&str, &[[u8; 32]])> {
        self.vendor(vendor).map(|vendor| (vendor.name.as_str(), vendor.keys.as_slice()))
    }

    /// One entitlement. The tests look at it.
    #[must_use]
    pub fn entitlement_view(&self, entitlement: EntitlementId) -> Option<EntitlementView> {
        let right = self.right(entitlement)?;
        Some(EntitlementView {
            license: right.hash,
            position: right.position,
            pool: self.resolve(right.pool),
            seats: right.seats,
            charged: right.charged,
            in_force: right.in_force(),
            ended: right.ended,
        })
    }

    /// All licenses, in the order of installation.
    pub fn licenses(&self) -> impl Iterator<Item = LicenseView<'_>> {
        self.licenses.iter().map(|(first, license)| LicenseView {
            license: license.hash,
            note: &license.note,
            vendor: license.vendor,
            first_entitlement: *first,
            entitlements: license.entitlements,
            actor: &license.actor,
            removed: license.removed,
        })
    }

    /// One lease, live or lingering.
    #[must_use]
    pub fn lease_view(&self, lease: &LeaseId) -> Option<LeaseView> {
        self.leases.find(lease).map(|slot| self.view(slot))
    }

    /// All leases, live and lingering, in the order of their ids. The tests look at them.
    pub fn lease_views(&self) -> impl Iterator<Item = LeaseView> + '_ {
        self.leases.slots().map(|slot| self.view(slot))
    }

    fn view(&self, slot: Slot) -> LeaseView {
        let lease = self.leases.at(slot);
        LeaseView {
            lease: lease.id,
            holder: lease.holder.holder(),
            items: self.items_of(slot),
            granted_at: lease.granted_at,
            granted_wall_ms: lease.granted_wall_ms,
            deadline: lease.deadline,
            ttl_ms: lease.wish.ttl_ms.into(),
            ending: lease.ending,
            lingering: lease.phase == Phase::Lingering,
            unclaimed: lease.phase == Phase::Claimable,
            heard: lease.phase == Phase::Live && lease.heard == self.epoch_narrow(),
        }
    }

    /// Ids in line, first come first.
    pub fn waiting(&self) -> impl Iterator<Item = (LeaseId, &Holder)> {
        self.line.values().map(|waiter| (waiter.lease, &waiter.holder))
    }

    /// Until when nothing is granted after a restore.
    #[must_use]
    pub fn quarantine_until(&self) -> Option<Timestamp> {
        self.quarantine_until
    }

    /// The wall clock is not followed: the time that was believed when this was told, and what the clock said then (unix ms). Ahead of the
    /// believed time nothing begins and nothing ends by date until it is accepted.
    #[must_use]
    pub fn clock_refused(&self) -> Option<(i64, i64)> {
        self.clock_refused
    }

    /// Networks in which presence frees nothing early, and until when.
    pub fn presence_off(&self) -> impl Iterator<Item = (Networks, Timestamp)> {
        self.presence_off.iter(self.now.at)
    }

    /// This start's random instance.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.instance
    }
}
