//! Installing and removing licenses.

use std::collections::BTreeSet;

use triquest_license::{FeatureName, LicenseHash};

use crate::{
    Actor, Allocator, EndReason, EntitlementId, Event, InstallLicense, Outcome, Overlap, PoolId, Refusal, RightEnd, VendorId,
    allocator::{Right, Sink},
    limits::{ENDS_PER_INSTALL_MAX, LICENSES_MAX, POOL_SEATS_MAX, POOLS_MAX},
};

impl Allocator {
    pub(crate) fn install_license(&mut self, install: &InstallLicense, sink: &mut Sink<'_>) -> Outcome {
        let license = &install.license;
        let hash = license.hash();
        let terms = license.terms();
        if self.by_hash.contains_key(&hash) {
            return Outcome::Refused(Refusal::AlreadyInstalled(hash));
        }
        let wall_ms = self.now.wall_ms;
        if terms.entitlements.iter().all(|right| right.expires.is_some_and(|expires| expires.0 <= wall_ms)) {
            return Outcome::Refused(Refusal::Expired(hash));
        }
        let keys: Vec<[u8; 32]> = license.vendor_keys().iter().map(|key| *key.as_bytes()).collect();
        let vendors: BTreeSet<VendorId> = keys.iter().filter_map(|key| self.keys.get(key)).copied().collect();
        if let Err(refusal) = self.may_install(install, &vendors) {
            return Outcome::Refused(refusal);
        }

        // Keys that co-signed one text are one vendor.
        let vendor = vendors.first().copied().unwrap_or(VendorId(self.vendors.len() as u32));
        for from in vendors.iter().skip(1) {
            let pools = self.same_features(*from, vendor);
            self.emit(sink, Event::VendorsMerged { from: *from, into: vendor, pools });
        }
        if keys.iter().any(|key| !self.keys.contains_key(key)) {
            self.emit(sink, Event::VendorKeys { vendor, name: terms.vendor.as_str().to_owned(), keys });
        }
        let pools: Vec<PoolId> = terms.entitlements.iter().map(|right| self.pool_for(vendor, &right.feature, sink)).collect();
        let first = EntitlementId(self.rights.len() as u32);
        self.verified = Some(license.clone());
        let note = license.note().to_file_bytes();
        let actor = install.actor.clone();
        self.emit(sink, Event::LicenseInstalled { license: hash, note, vendor, first_entitlement: first, pools: pools.clone(), actor });

        let longest = terms.entitlements.iter().map(|right| right.ttl_max.ms()).max().unwrap_or(0);
        self.lengthen_quarantine(longest, sink);
        let replaces: Vec<LicenseHash> = self.replaced_by(first).into_iter().map(|old| self.licenses[&old].hash).collect();
        let rights: Vec<_> = self.licenses[&first].rights(first).collect();
        for right in &rights {
            let due = self.right(*right).is_some_and(|right| !right.in_force() && right.runs_at(wall_ms));
            if due && !self.clock_is_ahead() {
                self.begin(*right, sink);
            }
        }
        self.work_dates(sink);
        self.work_stranded(sink);
        self.work_lines(sink);
        Outcome::Installed {
            license: hash,
            waiting: !rights.iter().any(|right| self.right(*right).is_some_and(Right::in_force)),
            replaced: replaces.into_iter().filter(|hash| !self.by_hash.contains_key(hash)).collect(),
            overlaps: self.overlaps(first),
        }
    }

    /// All that speaks against it, before anything is changed.
    fn may_install(&self, install: &InstallLicense, vendors: &BTreeSet<VendorId>) -> Result<(), Refusal> {
        let license = &install.license;
        let terms = license.terms();
        let mut ends = 0;
        let mut new_pools = 0;
        for vendor in vendors {
            let mut same_id = self.by_id.get(&(*vendor, terms.license.clone())).into_iter().flatten();
            if let Some(other) = same_id.find(|_| !terms.replaces.contains(&terms.license)) {
                return Err(Refusal::LicenseIdTaken { installed: self.licenses[other].hash });
            }
            // What an installed license has taken the place of does not come back beside it.
            let successors = self.successors.get(&(*vendor, terms.license.clone())).into_iter().flatten();
            for (first, other) in successors.filter_map(|first| Some((*first, self.licenses.get(first)?))) {
                let began = || other.rights(first).any(|right| self.right(right).is_some_and(Right::in_force));
                if !terms.replaces.contains(&other.id) && began() {
                    return Err(Refusal::LicenseIdTaken { installed: other.hash });
                }
            }
            for id in &terms.replaces {
                for old in self.by_id.get(&(*vendor, id.clone())).into_iter().flatten() {
                    ends += self.licenses[old].entitlements as usize + 1;
                }
            }
        }
        if ends + 2 * terms.entitlements.len() > ENDS_PER_INSTALL_MAX {
            return Err(Refusal::LimitReached("entitlements that one installation begins and ends"));
        }
        if self.licenses.len() >= LICENSES_MAX {
            return Err(Refusal::LimitReached("licenses"));
        }
        let mut seen: Vec<(&FeatureName, u64)> = Vec::new();
        for right in &terms.entitlements {
            match seen.iter_mut().find(|(feature, _)| *feature == &right.feature) {
                Some((_, seats)) => *seats += u64::from(right.seats),
                None => seen.push((&right.feature, right.seats.into())),
            }
        }
        for (feature, mut seats) in seen {
            let pools = vendors.iter().filter_map(|vendor| self.vendor(*vendor)?.features.get(feature));
            let pools: Vec<_> = pools.collect();
            new_pools += usize::from(pools.is_empty());
            let rights = pools.iter().filter_map(|pool| self.pool(*pool)).flat_map(|pool| &pool.rights);
            seats += rights.filter_map(|right| self.right(*right)).map(|right| right.seats).sum::<u64>();
            if seats > POOL_SEATS_MAX {
                return Err(Refusal::LimitReached("seats of one feature"));
            }
        }
        if self.pools.len() + new_pools > POOLS_MAX {
            return Err(Refusal::LimitReached("pools"));
        }
        Ok(())
    }

    fn pool_for(&mut self, vendor: VendorId, feature: &FeatureName, sink: &mut Sink<'_>) -> PoolId {
        if let Some(pool) = self.vendor(vendor).and_then(|vendor| vendor.features.get(feature)) {
            return self.resolve(pool);
        }
        let pool = PoolId(self.pools.len() as u32);
        self.emit(sink, Event::PoolOpened { pool, vendor, feature: feature.clone() });
        pool
    }

    /// Pools of two vendors that count the same feature, and become one.
    fn same_features(&self, from: VendorId, into: VendorId) -> Vec<(PoolId, PoolId)> {
        let (Some(from), Some(into)) = (self.vendor(from), self.vendor(into)) else { return Vec::new() };
        from.features.iter().filter_map(|(feature, pool)| Some((pool, into.features.get(feature)?))).collect()
    }

    /// Where other licenses, that this one does not replace, add seats at the same time: said aloud, because it is often a mistake.
    fn overlaps(&self, first: EntitlementId) -> Vec<Overlap> {
        let Some(license) = self.licenses.get(&first) else { return Vec::new() };
        let replaced = self.replaced_by(first);
        let mut overlaps: Vec<Overlap> = Vec::new();
        let mine: Vec<&Right> = license.rights(first).filter_map(|right| self.right(right)).filter(|right| right.ended.is_none()).collect();
        for right in &mine {
            let Some(pool) = self.pool(right.pool) else { continue };
            if overlaps.iter().any(|overlap| overlap.feature == pool.feature) {
                continue;
            }
            let meets = |other: &Right| {
                let begins_in_time = right.expires.is_none_or(|expires| other.starts.is_none_or(|starts| starts < expires));
                begins_in_time && other.expires.is_none_or(|expires| right.starts.is_none_or(|starts| starts < expires))
            };
            let others = pool.rights.iter().filter_map(|other| self.right(*other));
            let others = others.filter(|other| other.license != first && other.ended.is_none() && !replaced.contains(&other.license));
            let others: Vec<&Right> = others.filter(|other| meets(other)).collect();
            if others.is_empty() {
                continue;
            }
            let seats = |rights: &[&Right]| rights.iter().map(|right| right.seats).sum::<u64>();
            let own: Vec<&Right> = mine.iter().copied().filter(|other| self.resolve(other.pool) == self.resolve(right.pool)).collect();
            let until = others.iter().chain(&own).filter_map(|right| right.expires).min();
            let narrow = |seats: u64| u32::try_from(seats).unwrap_or(u32::MAX);
            let before = seats(&others);
            let mut licenses: Vec<LicenseHash> = Vec::new();
            for other in &others {
                if !licenses.contains(&other.hash) {
                    licenses.push(other.hash);
                }
            }
            overlaps.push(Overlap {
                feature: pool.feature.clone(),
                before: narrow(before),
                with: narrow(before + seats(&own)),
                until_ms: until,
                others: licenses,
            });
        }
        overlaps
    }

    pub(crate) fn remove_license(&mut self, license: &LicenseHash, actor: &Actor, sink: &mut Sink<'_>) -> Outcome {
        let Some(first) = self.by_hash.get(license).copied() else { return Outcome::Refused(Refusal::UnknownLicense) };
        let rights: Vec<_> = self.licenses[&first].rights(first).collect();
        let from = sink.events.len();
        for right in rights.iter().copied() {
            if self.right(right).is_some_and(|right| right.ended.is_none()) {
                self.emit(sink, Event::EntitlementEnded { entitlement: right, reason: RightEnd::Removed });
            }
        }
        self.emit(sink, Event::LicenseRemoved { license: *license, reason: RightEnd::Removed, actor: actor.clone() });
        self.work_stranded(sink);
        self.work_lines(sink);
        let ending = |event: &&Event| matches!(event, Event::Ending { reason: EndReason::LicenseRemoved, .. });
        let marked = sink.events[from..].iter().filter(ending).count();
        // Those whose turn has not come yet may still find another entitlement: counted as ending, so that the number is not too small.
        let left = rights.iter().filter_map(|right| self.right(*right)).flat_map(|right| right.held.values());
        let left: usize = left.map(BTreeSet::len).sum();
        Outcome::Removed { ending: u32::try_from(marked + left).unwrap_or(u32::MAX) }
    }
}
