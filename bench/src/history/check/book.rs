//! What licenses give, read naively: which entitlement counts when, for which versions, and what takes whose place.

use std::collections::BTreeMap;

use super::super::record::{LicenseTerms, Terms};
use super::keys::{Keys, Vendors};

/// A version as numbers; absent ones at its end are zero.
pub(super) type Version = Vec<u64>;

/// The version that somebody asks for; whoever names none is content with any.
pub(super) fn asked_version(text: &str) -> Version {
    let mut numbers: Version = text.split('.').filter_map(|part| part.parse().ok()).collect();
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    numbers
}

/// The newest version that an entitlement is for.
fn newest(terms: &Terms) -> Version {
    terms.version.as_deref().map_or_else(|| vec![u64::MAX], asked_version)
}

/// `2026-11-28T01:18:00Z` as seconds since 1970.
pub(super) fn civil(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if text.len() != 20 || !text.ends_with('Z') {
        return None;
    }
    // Counted one by one: whoever reads this sees that it is right.
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let years: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: i64 = lengths.iter().take(usize::try_from(month - 1).ok()?).sum();
    Some((((years + months + day - 1) * 24 + hour) * 60 + minute) * 60 + second)
}

/// One entitlement of an installed license; its place in the list is the number that facts call it by.
#[derive(Debug)]
pub(super) struct Right<'a> {
    pub(super) pool: usize,
    pub(super) terms: &'a Terms,
    /// Who has signed its license.
    pub(super) signers: Keys,
    /// Which installation.
    license: usize,
    /// Which entitlement of its license, from 0.
    place: u64,
    pub(super) counts: bool,
    over: bool,
}

struct Installed<'a> {
    terms: &'a LicenseTerms,
    signers: Keys,
    gone: bool,
}

/// All entitlements in the order of their installation.
#[derive(Default)]
pub(super) struct Book<'a> {
    pub(super) rights: Vec<Right<'a>>,
    installed: Vec<Installed<'a>>,
    /// By license id, which installations name it as what they replace: in an hour there are thousands, and each grant asks.
    replaced_by: BTreeMap<&'a str, Vec<usize>>,
    /// Whose licenses may take each other's place.
    vendors: Vendors,
}

/// A broken rule, and how.
pub(super) type Wrong = (&'static str, String);

impl<'a> Book<'a> {
    pub(super) fn install(&mut self, license: &'a LicenseTerms, signers: Keys, pools: &[usize]) {
        let number = self.installed.len();
        self.installed.push(Installed { terms: license, signers, gone: false });
        for id in &license.replaces {
            self.replaced_by.entry(id).or_default().push(number);
        }
        for ((place, terms), pool) in (0..).zip(&license.entitlements).zip(pools) {
            self.rights.push(Right { pool: *pool, terms, signers, license: number, place, counts: false, over: false });
        }
    }

    /// From now on these are the vendors, and what was in a pool is in the one that it has become part of.
    pub(super) fn unite(&mut self, vendors: &Vendors, home: impl Fn(usize) -> usize) {
        self.vendors = vendors.clone();
        self.rights.iter_mut().for_each(|right| right.pool = home(right.pool));
    }

    /// A license that was removed, or whose place another has taken, begins no more.
    pub(super) fn remove(&mut self, hash: &str) {
        for license in self.installed.iter_mut().filter(|license| license.terms.hash == hash) {
            license.gone = true;
        }
    }

    /// Why this one may not count any more: the number of a license that has taken its place, in this pool.
    fn successor(&self, right: &Right<'_>) -> Option<usize> {
        let old = &self.installed[right.license];
        let naming = self.replaced_by.get(old.terms.id.as_str()).into_iter().flatten().copied();
        let mut takes =
            naming.filter(|number| *number > right.license && self.vendors.are_one(self.installed[*number].signers, old.signers));
        takes.find(|number| {
            let mut own = self.rights.iter().filter(|own| own.license == *number);
            let here = own.clone().filter(|own| own.pool == right.pool);
            let began = |own: &Right<'_>| own.counts || own.over;
            if here.clone().next().is_some() { here.clone().any(began) } else { own.any(began) }
        })
    }

    fn name(&self, right: &Right<'_>) -> String {
        let license = self.installed[right.license].terms;
        format!("entitlement {} of {} ({} seats of {})", right.place, license.id, right.terms.seats, right.terms.feature)
    }

    /// An entitlement counts from now on; what is wrong with that.
    pub(super) fn begin(&mut self, number: usize, now: i64) -> Option<Wrong> {
        let right = self.rights.get_mut(number)?;
        right.counts = true;
        let right = &self.rights[number];
        let early = right.terms.starts.is_some_and(|starts| now < starts);
        let late = right.terms.expires.is_some_and(|expires| now >= expires);
        (early || late || right.over).then(|| ("dates_are_kept", format!("{} begins at {now}: {:?}", self.name(right), right.terms)))
    }

    /// An entitlement counts no more; what is wrong with that.
    pub(super) fn end(&mut self, number: usize, reason: &str, now: i64) -> Option<Wrong> {
        let right = self.rights.get_mut(number)?;
        (right.counts, right.over) = (false, true);
        let right = &self.rights[number];
        match reason {
            "expired" => {
                if right.terms.expires.is_none_or(|expires| now < expires) {
                    return Some(("dates_are_kept", format!("{} ends at {now}: {:?}", self.name(right), right.terms)));
                }
                let waits = self.rights.iter().find(|other| other.pool == right.pool && self.should_begin(other, now))?;
                Some(("begin_before_end", format!("{} ends at {now}, before {} begins", self.name(right), self.name(waits))))
            }
            "replaced" => {
                if self.successor(right).is_none() {
                    return Some(("reissue_order", format!("nothing that was installed later takes the place of {}", self.name(right))));
                }
                None
            }
            _ => None,
        }
    }

    fn should_begin(&self, right: &Right<'_>, now: i64) -> bool {
        let runs = right.terms.starts.is_none_or(|starts| starts <= now) && right.terms.expires.is_none_or(|expires| now < expires);
        runs && !right.counts && !right.over && !self.installed[right.license].gone && self.successor(right).is_none()
    }

    /// What should have begun or ended in this pool before anything is decided at this time.
    pub(super) fn due(&self, pool: usize, now: i64) -> Option<Wrong> {
        self.rights.iter().filter(|right| right.pool == pool).find_map(|right| {
            if self.should_begin(right, now) {
                return Some(("dates_are_kept", format!("{} should count at {now}: {:?}", self.name(right), right.terms)));
            }
            if right.counts && right.terms.expires.is_some_and(|expires| expires <= now) {
                return Some(("dates_are_kept", format!("{} still counts at {now}: {:?}", self.name(right), right.terms)));
            }
            if right.counts && self.successor(right).is_some() {
                return Some(("reissue_order", format!("{} still counts beside what takes its place", self.name(right))));
            }
            None
        })
    }

    /// Seats of a pool for whoever asks for this version and embeds these keys.
    pub(super) fn seats_for(&self, pool: usize, version: &Version, embeds: Keys) -> u64 {
        let covers =
            |right: &&Right<'_>| right.counts && right.pool == pool && right.signers & embeds != 0 && *version <= newest(right.terms);
        self.rights.iter().filter(covers).map(|right| right.terms.seats).sum()
    }

    /// All entitlements of a pool, with their numbers.
    pub(super) fn of_pool(&self, pool: usize) -> impl Iterator<Item = (usize, &Right<'a>)> {
        self.rights.iter().enumerate().filter(move |(_, right)| right.pool == pool)
    }

    /// Not everybody who can verify some license of this pool can verify all of them.
    pub(super) fn is_mixed(&self, pool: usize) -> bool {
        let mut signers = self.of_pool(pool).map(|(_, right)| right.signers);
        let first = signers.next();
        signers.any(|other| Some(other) != first)
    }

    /// The id of its license.
    pub(super) fn license(&self, right: &Right<'_>) -> &'a str {
        &self.installed[right.license].terms.id
    }

    /// It has ended for good.
    pub(super) fn is_over(&self, number: usize) -> bool {
        self.rights.get(number).is_none_or(|right| right.over)
    }

    /// By how many seats at most these holders, each with a version and seats, are more than this pool has for them: whoever asks for a newer version
    /// can have fewer of its entitlements, so it is enough to look at each version and those who ask for it or a newer one.
    pub(super) fn lack(&self, pool: usize, holders: &[(&Version, u64)]) -> u64 {
        let lacks = holders.iter().map(|(version, _)| {
            let asked: u64 = holders.iter().filter(|(other, _)| other >= version).map(|(_, seats)| seats).sum();
            asked.saturating_sub(self.seats_for(pool, version, Keys::MAX))
        });
        lacks.max().unwrap_or(0)
    }

    /// The numbers under which an entitlement of this license was installed, if it has seats of this feature for this version.
    pub(super) fn numbers(&self, hash: &str, place: u64, feature: &str, version: &Version, seats: u64) -> Vec<usize> {
        let fits = |right: &Right<'_>| {
            self.installed[right.license].terms.hash == hash
                && right.place == place
                && right.terms.feature == feature
                && *version <= newest(right.terms)
                && seats <= right.terms.seats
        };
        (0..self.rights.len()).filter(|number| fits(&self.rights[*number])).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn dates_and_versions_are_read() {
        assert_eq!(civil("1970-01-01T00:00:00Z").unwrap(), 0);
        assert_eq!(civil("2026-11-28T01:18:00Z").unwrap(), 1_795_828_680);
        assert_eq!(civil("2024-03-01T00:00:00Z").unwrap() - civil("2024-02-28T00:00:00Z").unwrap(), 2 * 86_400);
        assert_eq!(civil("2026-11-28"), None);
        assert_eq!(asked_version("1.0"), asked_version("1"));
        assert!(
            asked_version("1.5") > asked_version("1.0")
                && asked_version("2.0") > asked_version("1.5")
                && asked_version("") < asked_version("1")
        );
    }
}
