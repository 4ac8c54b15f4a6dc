//! Who can verify what, read naively: verifier keys, which of them are one vendor, and how many seats there are for whoever embeds some of them.

use super::super::record::{LicenseTerms, Part};
use super::book::{Book, Wrong};
use super::{Checker, Fact, Lease, Numbers, Phase, Waiter, What, charged_to, in_line};
use std::rc::Rc;

/// Some of the keys of a recording: a bit for each.
pub(super) type Keys = u64;

/// All keys that have signed a license, and which of them are one vendor by now: two vendors until a text that both have signed is installed.
#[derive(Clone, Debug, Default)]
pub(super) struct Vendors {
    keys: Vec<String>,
    /// What each key's vendor calls itself.
    names: Vec<String>,
    /// The first key of each key's vendor, by which it is known here.
    first: Vec<usize>,
    /// Those that have signed something that was installed.
    known: Keys,
}

impl Vendors {
    /// Each key of these licenses is a vendor of its own.
    pub(super) fn of(licenses: &[LicenseTerms]) -> Self {
        let mut vendors = Self::default();
        for license in licenses {
            for key in &license.keys {
                if !vendors.keys.contains(key) {
                    vendors.first.push(vendors.keys.len());
                    vendors.keys.push(key.clone());
                    vendors.names.push(license.vendor.clone());
                }
            }
        }
        vendors
    }

    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.keys.iter().position(|own| own == key)
    }

    /// As a set. Keys that have signed nothing are left out.
    pub(super) fn set(&self, keys: &[String]) -> Keys {
        keys.iter().filter_map(|key| self.number(key)).fold(0, |set, key| set | 1 << key)
    }

    /// The vendors of these keys, in their order, each once.
    pub(super) fn named(&self, keys: &[String]) -> Vec<usize> {
        let mut named = Vec::new();
        for vendor in keys.iter().filter_map(|key| self.number(key)).map(|key| self.first[key]) {
            if !named.contains(&vendor) {
                named.push(vendor);
            }
        }
        named
    }

    /// The vendors that call themselves so.
    pub(super) fn called(&self, name: &str) -> Vec<usize> {
        let own = (0..self.keys.len()).filter(|key| self.first[*key] == *key && self.names[*key] == name);
        own.collect()
    }

    pub(super) fn name(&self, vendor: usize) -> &str {
        &self.names[vendor]
    }

    /// The vendor that this key is of now.
    pub(super) fn of_key(&self, key: usize) -> usize {
        self.first[key]
    }

    /// Whether whoever has signed the one and whoever has signed the other are one vendor.
    pub(super) fn are_one(&self, one: Keys, other: Keys) -> bool {
        let vendor = |keys: Keys| self.first.get(keys.trailing_zeros() as usize);
        vendor(one).is_some() && vendor(one) == vendor(other)
    }

    /// A text that these keys have signed is installed; how many vendors that were known became part of another.
    pub(super) fn unite(&mut self, signers: Keys) -> usize {
        let of: Vec<usize> = (0..self.keys.len()).filter(|key| signers & 1 << key != 0).collect();
        let Some(into) = of.iter().map(|key| self.first[*key]).min() else { return 0 };
        let mut known: Vec<usize> = of.iter().filter(|key| self.known & 1 << **key != 0).map(|key| self.first[*key]).collect();
        known.sort_unstable();
        known.dedup();
        let gone: Vec<usize> = of.iter().map(|key| self.first[*key]).collect();
        self.first.iter_mut().filter(|vendor| gone.contains(vendor)).for_each(|vendor| *vendor = into);
        self.known |= signers;
        known.len().saturating_sub(1)
    }
}

/// Seats of one pool at one time.
#[derive(Debug, Default)]
pub(super) struct Seats {
    /// Those that count: who has signed for how many.
    pub(super) licensed: Vec<(Keys, u64)>,
    /// Those who hold some and may be moved: what they embed, and how many seats.
    pub(super) held: Vec<(Keys, u64)>,
}

impl Seats {
    /// For each set of keys, how many seats these have signed, and how many those hold who can verify no others. Everybody has a seat that they can
    /// verify exactly if, for no set, the second is more than the first.
    fn by_keys(&self) -> impl Iterator<Item = (Keys, u64, u64)> {
        let all = self.licensed.iter().fold(0, |all, (signers, _)| all | signers);
        let sets = std::iter::successors(Some(0), move |set: &Keys| Some(set.wrapping_sub(all) & all).filter(|next| *next != 0));
        sets.map(move |set| {
            let signed = self.licensed.iter().filter(|(signers, _)| signers & set != 0).map(|(_, seats)| seats).sum();
            let held = self.held.iter().filter(|(embeds, _)| embeds & all & !set == 0).map(|(_, seats)| seats).sum();
            (set, signed, held)
        })
    }

    /// How many seats are held that their holders cannot have from what they can verify, whoever moves.
    pub(super) fn lack(&self) -> u64 {
        self.by_keys().map(|(_, signed, held)| held.saturating_sub(signed)).max().unwrap_or(0)
    }

    /// How many more seats whoever embeds these keys could be given, if others move as far as they can.
    pub(super) fn room(&self, embeds: Keys) -> u64 {
        let all = self.licensed.iter().fold(0, |all, (signers, _)| all | signers);
        let of = self.by_keys().filter(|(set, _, _)| embeds & all & !set == 0);
        of.map(|(_, signed, held)| signed.saturating_sub(held)).min().unwrap_or(0)
    }

    /// The same, with this holder more.
    pub(super) fn with(mut self, embeds: Keys, seats: u64) -> Self {
        self.held.push((embeds, seats));
        self
    }
}

impl Checker<'_> {
    /// The keys that the client of a lease embeds.
    pub(super) fn embeds(&self, lease: &str) -> Keys {
        self.requests.get(lease).map_or(0, |(keys, _)| self.vendors.set(keys))
    }

    /// What a lease holds, in the pools that there are now.
    pub(super) fn homes(&self, lease: &str) -> Vec<(usize, u64)> {
        let parts = self.leases.get(lease).map(|lease| lease.parts.as_slice()).unwrap_or_default();
        parts.iter().map(|(pool, seats)| (self.home(*pool), *seats)).collect()
    }

    /// Vendors may have become one: what was counted in two pools is counted in one, and who waited in two lines waits in one.
    pub(super) fn come_home(&self, numbers: &mut [Numbers], line: &mut Rc<Vec<Waiter>>) {
        for pool in 0..numbers.len() {
            let home = self.home(pool);
            if home != pool {
                let Numbers { total, used, lingering } = std::mem::take(&mut numbers[pool]);
                let there = &mut numbers[home];
                (there.total, there.used, there.lingering) = (there.total + total, there.used + used, there.lingering + lingering);
            }
        }
        if line.iter().flat_map(|waiter| &waiter.parts).any(|part| self.home(part.0) != part.0) {
            let parts = Rc::make_mut(line).iter_mut().flat_map(|waiter| &mut waiter.parts);
            parts.for_each(|part| part.0 = self.home(part.0));
        }
    }

    /// The parts of a fact about a lease, each with its pool, and what is wrong with how the fact names them.
    ///
    /// Facts name vendors as these call themselves, and two keys that are not one vendor yet may have one name. So the vendor is one that the client's
    /// keys name. Of several with this name it is that from whose licenses the signed grant takes the seats; where nobody heard that, the first one, in the
    /// order of the keys, that could do what was done. A wrong guess shows in the numbers of `status`.
    pub(super) fn parts(
        &self,
        fact: &Fact,
        place: usize,
        book: &Book<'_>,
        numbers: &[Numbers],
        line: &[Waiter],
    ) -> (Vec<(usize, u64)>, Option<Wrong>) {
        let items = fact.json.at("items").list();
        let (keys, asked): (&[String], &[Part]) = self.requests.get(fact.lease.as_str()).copied().unwrap_or_default();
        let name = items.first().map(|item| item.at("vendor").text()).unwrap_or_default();
        let nameless = items.iter().any(|item| item.at("vendor").text().is_empty() || item.at("feature").text().is_empty());
        let mut vendors = if keys.is_empty() { self.vendors.called(name) } else { self.vendors.named(keys) };
        let mut wrong = None;
        if nameless {
            wrong = Some(("facts_name_their_pool", format!("seats without a vendor or a feature: {}", fact.line)));
        } else {
            vendors.retain(|vendor| self.vendors.name(*vendor) == name);
            if vendors.is_empty() {
                wrong = Some(("client_can_verify", format!("its client embeds no key of this vendor: {}", fact.line)));
                vendors = self.vendors.called(name);
            }
        }
        let of = |vendor: usize| -> Option<Vec<(usize, u64)>> {
            let parts = items.iter().enumerate().map(|(number, item)| {
                let feature = Some(item.at("feature").text()).filter(|feature| !feature.is_empty());
                let feature = feature.or_else(|| asked.get(number).map(|part| part.feature.as_str()))?;
                Some((self.pool(vendor, feature)?, item.at("seats").number().unwrap_or(0)))
            });
            parts.collect()
        };
        let candidates: Vec<Vec<(usize, u64)>> = vendors.iter().filter_map(|vendor| of(*vendor)).collect();
        let queues = fact.kind == "queued";
        let embeds = self.embeds(&fact.lease);
        let waits = || line.iter().find(|waiter| waiter.lease == fact.lease).and_then(|waiter| waiter.parts.first()).map(|part| part.0);
        let said = || {
            let rights = self.charges(book, &fact.lease, place, items.len());
            let right = rights.first()?.as_ref()?.first()?.0;
            Some(book.rights.get(right)?.pool)
        };
        let first = if candidates.len() < 2 || queues { None } else { waits().or_else(said) };
        let is_first = |parts: &Vec<(usize, u64)>| parts.first().map(|part| part.0) == first;
        let could = |parts: &Vec<(usize, u64)>| {
            parts.iter().all(|(pool, seats)| match queues {
                true => book.seats_for(*pool, &Vec::new(), embeds) >= *seats,
                false => numbers[*pool].free() >= *seats && in_line(line, *pool) == 0,
            })
        };
        let chosen = candidates.iter().find(|parts| is_first(parts)).or_else(|| candidates.iter().find(|parts| could(parts)));
        (chosen.or_else(|| candidates.first()).cloned().unwrap_or_default(), wrong)
    }

    /// What a new lease is charged to, part by part, by the first signed grant that somebody heard before charges of it can have moved. Nothing where
    /// nobody did.
    pub(super) fn charges(&self, book: &Book<'_>, lease: &str, place: usize, parts: usize) -> Vec<Option<Vec<(usize, u64)>>> {
        let moves = self.moves.get(lease).map(Vec::as_slice).unwrap_or_default();
        let checkouts = self.deeds.get(lease).into_iter().flatten().filter(|deed| matches!(deed.what, What::Checkout { .. }));
        let answers = checkouts.filter_map(|deed| deed.answer.as_ref()).filter(|answer| answer.outcome == "granted");
        let early = answers.filter(|answer| {
            let seen = self.by_index.get(&answer.index).copied();
            seen.is_some_and(|seen| !moves.iter().any(|moved| (place..=seen).contains(moved)))
        });
        let mut heard = early.filter_map(|answer| {
            let grant = answer.grant()?;
            let items = grant.at("items").list();
            let right = |item, (hash, place, seats): (String, u64, u64)| {
                let (feature, version) = (super::Json::at(item, "feature").text(), super::asked_version(item.at("version").text()));
                let numbers = book.numbers(&hash, place, feature, &version, seats);
                let counts = numbers.into_iter().find(|number| book.rights.get(*number).is_some_and(|right| right.counts));
                counts.map(|number| (number, seats))
            };
            (items.len() == parts).then(|| items.iter().map(|item| charged_to(item).map(|from| right(item, from)).collect()).collect())
        });
        heard.next().unwrap_or_else(|| vec![None; parts])
    }

    /// A charge moves to another entitlement; what is wrong with that.
    pub(super) fn charge_moves(&mut self, fact: &Fact, book: &Book<'_>) -> Option<String> {
        let number = |name: &str| fact.json.at(name).number().and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX);
        let (item, from, to, seats) = (number("item"), number("from"), number("to"), fact.json.at("seats").number().unwrap_or(0));
        let lease = self.leases.get_mut(&fact.lease)?;
        if let Some(Some(charges)) = lease.charges.get_mut(item) {
            for charge in charges.iter_mut().filter(|charge| charge.0 == from) {
                charge.1 = charge.1.saturating_sub(seats);
            }
            match charges.iter_mut().find(|charge| charge.0 == to) {
                Some(charge) => charge.1 += seats,
                None => charges.push((to, seats)),
            }
            charges.retain(|charge| charge.1 > 0);
        }
        let right = book.rights.get(to)?;
        (right.signers & lease.embeds == 0).then(|| {
            format!("it moves to a license that no key which its client embeds has signed ({}): {}", book.license(right), fact.line)
        })
    }

    /// The parts of all leases that hold seats of this pool, each with what is known of where it is charged.
    fn in_pool(&self, pool: usize) -> impl Iterator<Item = (&Lease, u64, Option<&[(usize, u64)]>)> {
        let there = self.leases.values().filter(|lease| lease.phase != Phase::Gone);
        let parts = there.flat_map(|lease| lease.parts.iter().zip(&lease.charges).map(move |(part, charges)| (lease, part, charges)));
        let here = parts.filter(move |(_, part, _)| self.home(part.0) == pool);
        here.map(|(lease, part, charges)| (lease, part.1, charges.as_deref()))
    }

    /// Who can have which seats of a pool. Whoever must go and what lingers stays where it is, so its seats are taken out of what is licensed: where it
    /// is not known which these are, out of all that they can be, or out of none.
    pub(super) fn seats_by_keys(&self, book: &Book<'_>, pool: usize, unknown_takes_all: bool, with_linger: bool) -> Seats {
        let mut licensed: Vec<(usize, Keys, u64)> = book
            .of_pool(pool)
            .filter(|(_, right)| right.counts)
            .map(|(number, right)| (number, right.signers, right.terms.seats))
            .collect();
        let mut held = Vec::new();
        for (lease, seats, charges) in self.in_pool(pool) {
            if lease.phase == Phase::Live && lease.ending.is_none() {
                held.push((lease.embeds, seats));
            } else if lease.phase == Phase::Live || with_linger {
                for (number, signers, left) in &mut licensed {
                    let taken = match charges {
                        Some(charges) => charges.iter().filter(|charge| charge.0 == *number).map(|charge| charge.1).sum(),
                        None if unknown_takes_all && *signers & lease.embeds != 0 => seats,
                        None => 0,
                    };
                    *left = left.saturating_sub(taken);
                }
            }
        }
        Seats { licensed: licensed.into_iter().map(|(_, signers, seats)| (signers, seats)).collect(), held }
    }

    /// Nobody who waits comes before, and there are seats of licenses that these keys have signed, in all pools. So far as pools show it: that there
    /// are so many free seats at all, and for the version, is looked at elsewhere.
    ///
    /// Whoever passes others in line moves nobody to make room, so it needs seats that are free as all are charged. Where a grant was never heard, and
    /// nothing else says to which of two licenses it is charged, nobody outside knows whether there are any: then this says that there are none.
    pub(super) fn has_seats<'w>(
        &self,
        book: &Book<'_>,
        wanted: &[(usize, u64)],
        embeds: Keys,
        ahead: impl Iterator<Item = &'w Waiter>,
    ) -> bool {
        let mut passes = false;
        for waiter in ahead {
            for (pool, _) in wanted.iter().filter(|(pool, _)| waiter.parts.iter().any(|part| part.0 == *pool)) {
                if self.may_compete(book, *pool, waiter.embeds, embeds) {
                    return false;
                }
                passes = true;
            }
        }
        wanted.iter().filter(|(pool, _)| passes || book.is_mixed(*pool)).all(|(pool, seats)| {
            if passes {
                return self.free_at_once(book, *pool, embeds).is_some_and(|free| free >= *seats);
            }
            self.seats_by_keys(book, *pool, true, true).room(embeds) >= *seats
        })
    }

    /// Whether somebody who embeds some keys may want seats that somebody with others could have: the same, or those of leases that could move to these
    /// and make room for it.
    ///
    /// Who is charged where is not asked: all seats that a lease could have count as those that it has. And where seats are held beside what is licensed,
    /// which is so where somebody must go, what is free is free for all together. Both excuse more denials than there are reasons for, and never fewer.
    fn may_compete(&self, book: &Book<'_>, pool: usize, waits: Keys, wants: Keys) -> bool {
        if waits == wants || !book.is_mixed(pool) {
            return true;
        }
        if self.in_pool(pool).any(|(lease, _, _)| lease.phase == Phase::Lingering || lease.ending.is_some()) {
            return true;
        }
        let rights: Vec<Keys> = book.of_pool(pool).filter(|(number, _)| !book.is_over(*number)).map(|(_, right)| right.signers).collect();
        let meet = |one: Keys, other: Keys| rights.iter().any(|signers| signers & one != 0 && signers & other != 0);
        let mut reached = waits;
        loop {
            let more = self
                .in_pool(pool)
                .filter(|(lease, _, _)| meet(reached, lease.embeds))
                .fold(reached, |all, (lease, _, _)| all | lease.embeds);
            if more == reached {
                return meet(reached, wants);
            }
            reached = more;
        }
    }

    /// Seats that whoever embeds these keys can have with nobody moving, if that is known.
    fn free_at_once(&self, book: &Book<'_>, pool: usize, embeds: Keys) -> Option<u64> {
        let mut free = 0;
        for (number, right) in book.of_pool(pool).filter(|(_, right)| right.counts && right.signers & embeds != 0) {
            let mut taken = 0;
            for (_, _, charges) in self.in_pool(pool).filter(|(lease, _, _)| lease.embeds & right.signers != 0) {
                taken += charges?.iter().filter(|charge| charge.0 == number).map(|charge| charge.1).sum::<u64>();
            }
            free += right.terms.seats.saturating_sub(taken);
        }
        Some(free)
    }

    /// What a client with these keys may see of a pool: seats in all, and how many at least and at most are used, and linger. Seats of licenses that it
    /// cannot verify are none to it. Of a lease whose grant nobody heard it is known only which licenses it can be charged to.
    fn seen_by(&self, book: &Book<'_>, pool: usize, embeds: Keys, numbers: &[Numbers]) -> (u64, [u64; 2], [u64; 2]) {
        let Numbers { total, used, lingering } = numbers[pool];
        let is_seen = |number: usize| book.rights.get(number).is_some_and(|right| right.signers & embeds != 0);
        if book.of_pool(pool).all(|(number, _)| is_seen(number)) {
            return (total, [used; 2], [lingering; 2]);
        }
        let (mut used, mut lingering) = ([0; 2], [0; 2]);
        for (lease, seats, charges) in self.in_pool(pool) {
            let [least, most] = match charges {
                Some(charges) => [charges.iter().filter(|charge| is_seen(charge.0)).map(|charge| charge.1).sum(); 2],
                None => {
                    let mut all = true;
                    let mut any = false;
                    for (number, _) in book.of_pool(pool).filter(|(_, right)| right.signers & lease.embeds != 0) {
                        (all, any) = (all && is_seen(number), any || is_seen(number));
                    }
                    [if all { seats } else { 0 }, if any { seats } else { 0 }]
                }
            };
            let counted = if lease.phase == Phase::Lingering { &mut lingering } else { &mut used };
            *counted = [counted[0] + least, counted[1] + most];
        }
        (book.seats_for(pool, &Vec::new(), embeds), used, lingering)
    }

    /// Whether these can be the numbers that a client with these keys sees: total, used, lingering, free and over.
    pub(super) fn may_be_told(&self, book: &Book<'_>, pool: usize, embeds: Keys, numbers: &[Numbers], told: [u64; 5]) -> bool {
        let (total, used, lingering) = self.seen_by(book, pool, embeds, numbers);
        let counted = Numbers { total, used: told[1], lingering: told[2] };
        let within = |bounds: [u64; 2], value: u64| (bounds[0]..=bounds[1]).contains(&value);
        within(used, told[1]) && within(lingering, told[2]) && told == [total, told[1], told[2], counted.free(), counted.over()]
    }

    /// For people.
    pub(super) fn seen(&self, book: &Book<'_>, pool: usize, embeds: Keys, numbers: &[Numbers]) -> String {
        let (total, used, lingering) = self.seen_by(book, pool, embeds, numbers);
        if used[0] < used[1] || lingering[0] < lingering[1] {
            return format!("{total} in all, {used:?} used and {lingering:?} lingering at least and at most");
        }
        let counted = Numbers { total, used: used[0], lingering: lingering[0] };
        format!("{:?}", [total, counted.used, counted.lingering, counted.free(), counted.over()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Keys = 1;
    const NEW: Keys = 2;
    const BOTH: Keys = 3;

    #[test]
    fn seats_of_one_key_are_no_room_for_another_but_for_who_may_move() {
        let licensed = || vec![(OLD, 2), (NEW, 3)];
        let seats = |held: &[(Keys, u64)]| Seats { licensed: licensed(), held: held.to_vec() };
        assert_eq!((seats(&[]).room(OLD), seats(&[]).room(NEW), seats(&[]).room(BOTH)), (2, 3, 5));
        // Who embeds both makes room.
        assert_eq!(seats(&[(BOTH, 2)]).room(OLD), 2);
        assert_eq!(seats(&[(BOTH, 4)]).room(OLD), 1);
        assert_eq!(seats(&[(OLD, 2), (NEW, 1)]).room(OLD), 0);
        assert_eq!(seats(&[(OLD, 2), (NEW, 1)]).room(BOTH), 2);
        assert_eq!(seats(&[(OLD, 3)]).lack(), 1);
        assert_eq!(seats(&[(OLD, 2), (BOTH, 2), (NEW, 2)]).lack(), 1);
        // What nobody has signed.
        assert_eq!((seats(&[(4, 1)]).lack(), seats(&[]).room(4)), (1, 0));
        // What both have signed is for either.
        let link = Seats { licensed: vec![(OLD, 1), (BOTH, 1), (NEW, 1)], held: vec![(OLD, 2)] };
        assert_eq!((link.room(OLD), link.room(NEW), link.lack()), (0, 1, 0));
        assert_eq!(link.with(NEW, 2).lack(), 1);
    }

    #[test]
    fn keys_are_vendors_until_a_text_of_both_is_installed() {
        let license = |keys: &[&str]| LicenseTerms {
            id: String::new(),
            hash: String::new(),
            vendor: "one".to_owned(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            replaces: Vec::new(),
            entitlements: Vec::new(),
        };
        let mut vendors = Vendors::of(&[license(&["a"]), license(&["b"]), license(&["b", "c"])]);
        let names = ["b".to_owned(), "c".to_owned(), "unknown".to_owned()];
        assert_eq!((vendors.set(&names), vendors.named(&names), vendors.called("one")), (6, vec![1, 2], vec![0, 1, 2]));
        assert_eq!((vendors.unite(1), vendors.unite(2)), (0, 0));
        assert!(!vendors.are_one(1, 2));
        assert_eq!(vendors.unite(6), 0, "the third key had signed nothing before");
        assert_eq!((vendors.named(&names), vendors.called("one")), (vec![1], vec![0, 1]));
        assert_eq!(vendors.unite(5), 1);
        assert!(vendors.are_one(1, 2));
        assert_eq!(vendors.unite(5), 0);
    }
}
