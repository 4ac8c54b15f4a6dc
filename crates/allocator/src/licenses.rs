//! Installing and removing licenses.

use std::{collections::BTreeSet, sync::Arc};

use triquest_license::{FeatureName, LicenseHash, VerifiedLicense};

use crate::{
    Actor, Allocator, EndReason, EntitlementId, Event, InstallLicense, InstalledEntitlement, InstalledLeftOut, InstalledTerms, Outcome,
    Overlap, PoolId, Refusal, RightEnd, VendorId,
    allocator::{InstalledLicense, Right, Sink},
    limits::{ENTITLEMENTS_PER_LICENSE_MAX, LICENSES_MAX, POOL_SEATS_MAX, POOLS_MAX, PROBLEM_CHARS_MAX},
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
        if terms.left_out.is_empty() && terms.entitlements.iter().all(|right| right.expires.is_some_and(|expires| expires.0 <= wall_ms)) {
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
            self.emit(sink, Event::VendorsMerged { from: *from, into: vendor });
        }
        if keys.iter().any(|key| !self.keys.contains_key(key)) {
            self.emit(sink, Event::VendorKeys { vendor, name: terms.vendor.as_str().to_owned(), keys });
        }
        self.merge_features(vendor, terms.entitlements.iter().map(|right| &right.feature), sink);
        let pools: Vec<PoolId> = terms.entitlements.iter().map(|right| self.pool_for(vendor, &right.feature, sink)).collect();
        let first = EntitlementId(self.rights.len() as u32);
        let note = license.note().to_file_bytes();
        let actor = install.actor.clone();
        let longest = terms.entitlements.iter().map(|right| right.ttl_max.ms()).max().unwrap_or(0);
        let terms = Arc::new(InstalledTerms::of(terms));
        self.emit(sink, Event::LicenseInstalled { license: hash, note, terms, vendor, first_entitlement: first, pools, actor });

        self.lengthen_quarantine(longest, sink);
        let (waiting, replaced) = self.effect_of(first);
        let from = sink.events.len();
        self.work_licenses(sink);
        self.work_lines(sink);
        let ending = sink.events[from..].iter().filter(|event| matches!(event, Event::Ending { reason: EndReason::LicenseReplaced, .. }));
        let ending = u32::try_from(ending.count()).unwrap_or(u32::MAX);
        Outcome::Installed { license: hash, waiting, replaced, ending, overlaps: self.overlaps(first) }
    }

    /// It is installed, or another one has taken its place: nothing is to be done, whatever room there is.
    pub(crate) fn is_nothing_to_install(&self, install: &InstallLicense) -> bool {
        let license = &install.license;
        if self.by_hash.contains_key(&license.hash()) {
            return true;
        }
        let vendors: BTreeSet<VendorId> = license.vendor_keys().iter().filter_map(|key| self.keys.get(key.as_bytes())).copied().collect();
        matches!(self.may_install(install, &vendors), Err(Refusal::Replaced { .. }))
    }

    /// What a start reads in an installed license: another verdict on its signatures than before is a fact, and so is what is understood of it
    /// by now. Neither is ever taken back by reading less: what was installed stays what it was.
    pub(crate) fn reread_license(
        &mut self,
        license: &LicenseHash,
        read: &Result<Box<VerifiedLicense>, String>,
        sink: &mut Sink<'_>,
    ) -> Outcome {
        let Some(first) = self.by_hash.get(license).copied() else { return Outcome::Refused(Refusal::UnknownLicense) };
        let installed = &self.licenses[&first];
        let problem = read.as_ref().err().map(|why| why.chars().take(PROBLEM_CHARS_MAX).collect::<String>());
        let (vendor, known) = (installed.vendor, Arc::clone(&installed.terms));
        let changed = installed.problem != problem;
        if changed {
            self.emit(sink, Event::LicenseChecked { license: *license, problem });
        }
        let fresh = read.as_ref().ok().map(|read| InstalledTerms::of(read.terms()));
        let (new, left_out) = fresh.map_or_else(Default::default, |fresh| {
            let new = |right: &InstalledEntitlement| known.left_out.iter().any(|out| out.position == right.position);
            let (new, _): (Vec<_>, Vec<_>) = fresh.entitlements.into_iter().partition(new);
            let still = known.left_out.iter().filter(|out| !new.iter().any(|right| right.position == out.position));
            let still: Vec<InstalledLeftOut> = still.cloned().collect();
            (new, still)
        });
        // Its seats are counted as those of an installation.
        let fits = |right: &InstalledEntitlement| {
            let there = self.seats_in(&self.pools_of_feature(&[vendor], &right.feature));
            let all: u64 = new.iter().filter(|other| other.feature == right.feature).map(|other| u64::from(other.seats)).sum();
            there + all <= POOL_SEATS_MAX
        };
        if self.pools.len() + new.len() > POOLS_MAX || !new.iter().all(fits) {
            return Outcome::Refused(Refusal::LimitReached("seats of one feature, or pools"));
        }
        if new.is_empty() {
            return if changed { Outcome::Done } else { Outcome::Refused(Refusal::NothingToDo("it is read as before")) };
        }
        let pools: Vec<PoolId> = new.iter().map(|right| self.pool_for(vendor, &right.feature, sink)).collect();
        let longest = new.iter().map(|right| right.ttl_max_ms).max().unwrap_or(0);
        self.emit(sink, Event::EntitlementsUnderstood { license: *license, entitlements: new, left_out, pools });
        self.lengthen_quarantine(longest, sink);
        self.work_licenses(sink);
        self.work_lines(sink);
        Outcome::Done
    }

    /// Whether a license that was just installed waits for its day, and otherwise what it replaces at once, however many entries that takes.
    fn effect_of(&self, first: EntitlementId) -> (bool, Vec<LicenseHash>) {
        let rights = |license: EntitlementId| self.licenses.get(&license).into_iter().flat_map(move |found| found.rights(license));
        let begins = |right: &Right| right.in_force() || !self.clock_is_ahead() && right.runs_at(self.now.wall_ms);
        let mine: Vec<&Right> = rights(first).filter_map(|right| self.right(right)).collect();
        let now: BTreeSet<PoolId> = mine.iter().filter(|right| begins(right)).map(|right| self.resolve(right.pool)).collect();
        let later: BTreeSet<PoolId> = mine.iter().map(|right| self.resolve(right.pool)).filter(|pool| !now.contains(pool)).collect();
        if now.is_empty() {
            return (true, Vec::new());
        }
        let understood = self.licenses.get(&first).is_none_or(|license| license.terms.left_out.is_empty());
        let stays = |right: &Right| {
            let pool = self.resolve(right.pool);
            !right.is_over_at(self.now.wall_ms) && (later.contains(&pool) || !understood && !now.contains(&pool))
        };
        let replaced = self.replaced_by(first).into_iter();
        let replaced = replaced.filter(|old| !rights(*old).filter_map(|right| self.right(right)).any(stays));
        (false, replaced.map(|old| self.licenses[&old].hash).collect())
    }

    /// Pools of these features follow at once from vendors that became this one.
    fn merge_features<'a>(&mut self, into: VendorId, features: impl Iterator<Item = &'a FeatureName> + Clone, sink: &mut Sink<'_>) {
        let merging: Vec<VendorId> = self.merging.iter().filter(|(_, target)| **target == into).map(|(from, _)| *from).collect();
        for from in merging {
            let seen: BTreeSet<&FeatureName> = features.clone().collect();
            let found = self.vendor(from).map(|vendor| &vendor.features);
            let pools = seen.into_iter().filter_map(|feature| Some((feature, found?.get(feature)?)));
            let pools: Vec<_> = pools.map(|(feature, pool)| (pool, self.counterpart(into, feature, pool))).collect();
            if !pools.is_empty() {
                self.emit(sink, Event::PoolsMerged { from, into, pools });
            }
        }
    }

    /// The pool of a vendor's feature, also if it has not followed from a vendor that became part of this one.
    pub(crate) fn pool_of_feature(&self, vendor: VendorId, feature: &FeatureName) -> Option<PoolId> {
        let merging = self.merging.iter().filter(|(_, into)| **into == vendor).map(|(from, _)| *from);
        let mut vendors = std::iter::once(vendor).chain(merging);
        vendors.find_map(|vendor| self.vendor(vendor)?.features.get(feature)).map(|pool| self.resolve(pool))
    }

    /// All that speaks against it, before anything is changed.
    fn may_install(&self, install: &InstallLicense, vendors: &BTreeSet<VendorId>) -> Result<(), Refusal> {
        let license = &install.license;
        let terms = license.terms();
        let mut new_pools = 0;
        for vendor in vendors {
            let mut same_id = self.by_id.get(&(*vendor, terms.license.clone())).into_iter().flatten();
            if let Some(other) = same_id.find(|_| !terms.replaces.contains(&terms.license)) {
                return Err(self.replaced(install, *other).unwrap_or(Refusal::LicenseIdTaken { installed: self.licenses[other].hash }));
            }
            // What an installed license has taken the place of does not come back beside it.
            let successors = self.successors.get(&(*vendor, terms.license.clone())).into_iter().flatten();
            for first in successors {
                let names = |other: &InstalledLicense| !terms.replaces.contains(&other.id);
                if let Some(refusal) = self.licenses.get(first).filter(|other| names(other)).and_then(|_| self.replaced(install, *first)) {
                    return Err(refusal);
                }
            }
        }
        if terms.entitlements.len() > ENTITLEMENTS_PER_LICENSE_MAX {
            return Err(Refusal::LimitReached("entitlements of one license"));
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
        let vendors: Vec<VendorId> = vendors.iter().copied().collect();
        for (feature, seats) in seen {
            let pools = self.pools_of_feature(&vendors, feature);
            new_pools += usize::from(pools.is_empty());
            if seats + self.seats_in(&pools) > POOL_SEATS_MAX {
                return Err(Refusal::LimitReached("seats of one feature"));
            }
        }
        // Of all that two vendors have in common the seats add up.
        if vendors.len() > 1 {
            let features = |vendor: &VendorId| self.vendor(*vendor).into_iter().flat_map(|vendor| vendor.features.iter());
            for (feature, _) in vendors.iter().skip(1).flat_map(features) {
                if self.seats_in(&self.pools_of_feature(&vendors, feature)) > POOL_SEATS_MAX {
                    return Err(Refusal::LimitReached("seats of one feature of vendors that become one"));
                }
            }
        }
        if self.pools.len() + new_pools > POOLS_MAX {
            return Err(Refusal::LimitReached("pools"));
        }
        Ok(())
    }

    fn pool_for(&mut self, vendor: VendorId, feature: &FeatureName, sink: &mut Sink<'_>) -> PoolId {
        if let Some(pool) = self.pool_of_feature(vendor, feature) {
            return pool;
        }
        let pool = PoolId(self.pools.len() as u32);
        self.emit(sink, Event::PoolOpened { pool, vendor, feature: feature.clone() });
        pool
    }

    /// Each pool that counts this feature for one of these vendors.
    fn pools_of_feature(&self, vendors: &[VendorId], feature: &FeatureName) -> BTreeSet<PoolId> {
        let merging = self.merging.iter().filter(|(_, into)| vendors.contains(into)).map(|(from, _)| *from);
        let pools = vendors.iter().copied().chain(merging).filter_map(|vendor| self.vendor(vendor)?.features.get(feature));
        pools.map(|pool| self.resolve(pool)).collect()
    }

    /// All seats that these pools may count at some time.
    fn seats_in(&self, pools: &BTreeSet<PoolId>) -> u64 {
        let rights = pools.iter().filter_map(|pool| self.pool(*pool)).flat_map(|pool| &pool.rights);
        // What was removed by hand never counts again.
        let may_count = rights.filter_map(|right| self.right(*right)).filter(|right| right.ended != Some(RightEnd::Removed));
        may_count.map(|right| right.seats).sum()
    }

    /// The refusal of a license that another one, which is in force, has replaced. Under the same id only what was issued before it was.
    fn replaced(&self, install: &InstallLicense, by: EntitlementId) -> Option<Refusal> {
        let other = self.licenses.get(&by)?;
        let terms = install.license.terms();
        let earlier = other.id != terms.license || terms.issued.begins().0 < other.terms.issued_ms;
        if !earlier || !other.replaces.contains(&terms.license) {
            return None;
        }
        let rights = other.rights(by).filter_map(|right| self.right(right)).filter(|right| right.in_force());
        let since_ms = rights.filter_map(|right| right.began).min()?;
        Some(Refusal::Replaced { by: other.id.clone(), license: other.hash, since_ms })
    }

    /// Where other licenses, that this one does not replace, add seats at the same time: said aloud, because it is often a mistake.
    fn overlaps(&self, first: EntitlementId) -> Vec<Overlap> {
        let Some(license) = self.licenses.get(&first) else { return Vec::new() };
        let replaced = self.replaced_by(first);
        let mut overlaps: Vec<Overlap> = Vec::new();
        let may_count = |right: &&Right| !right.is_over_at(self.now.wall_ms);
        let mine: Vec<&Right> = license.rights(first).filter_map(|right| self.right(right)).filter(may_count).collect();
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
            let others = others.filter(|other| other.license != first && may_count(other) && !replaced.contains(&other.license));
            let others: Vec<&Right> = others.filter(|other| meets(other)).collect();
            if others.is_empty() {
                continue;
            }
            let seats = |rights: &[&Right]| rights.iter().map(|right| right.seats).sum::<u64>();
            let own: Vec<&Right> = mine.iter().copied().filter(|other| self.resolve(other.pool) == self.resolve(right.pool)).collect();
            let until = others.iter().chain(&own).filter_map(|right| right.expires).min();
            let before = seats(&others);
            let mut licenses: Vec<LicenseHash> = Vec::new();
            for other in &others {
                if !licenses.contains(&other.hash) {
                    licenses.push(other.hash);
                }
            }
            overlaps.push(Overlap { feature: pool.feature.clone(), before, with: before + seats(&own), until_ms: until, others: licenses });
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
        self.work_licenses(sink);
        self.work_lines(sink);
        let ending = |event: &&Event| matches!(event, Event::Ending { reason: EndReason::LicenseRemoved, .. });
        let marked = sink.events[from..].iter().filter(ending).count();
        // Those whose turn has not come yet may still find another entitlement: counted as ending, so that the number is not too small.
        let left = rights.iter().filter_map(|right| self.right(*right)).flat_map(|right| right.held.values());
        let left: usize = left.map(BTreeSet::len).sum();
        Outcome::Removed { ending: u32::try_from(marked + left).unwrap_or(u32::MAX) }
    }
}
