//! Who may hold how much at once: one table for everything that an anonymous client can hold open or let pile up.
//!
//! The rule is [`Share::admits`]; here is who has what. Pure, but for the lock in [`Places`].

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use parking_lot::Mutex;
pub use triquest_allocator::share::{Over, Share};
use triquest_allocator::{LeaseId, Network, WideNetwork, share::Has};

use crate::limits::HOLDER_CONNECTIONS_PER_LEASE_MAX;

/// How much each network has. Exact, and never larger than the number of networks that have something.
#[derive(Debug)]
pub struct Shares {
    share: Share,
    all: u64,
    networks: BTreeMap<Network, u64>,
    wider: BTreeMap<WideNetwork, Around>,
}

/// What a wider network has.
#[derive(Clone, Copy, Debug, Default)]
struct Around {
    amount: u64,
    /// How many of its networks have something.
    networks: u64,
}

impl Shares {
    /// Nobody has anything.
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self { share, all: 0, networks: BTreeMap::new(), wider: BTreeMap::new() }
    }

    /// Gives so much to a network.
    ///
    /// # Errors
    /// Whose limit is in the way; then nothing was given.
    pub fn take(&mut self, network: Network, amount: u64) -> Result<(), Over> {
        if amount == 0 {
            return Ok(());
        }
        let present = self.wider.len() as u64;
        let (own, wider) = (self.networks.entry(network), self.wider.entry(network.wide()));
        let mine = if let Entry::Occupied(count) = &own { *count.get() } else { 0 };
        let Around { amount: around, networks: within } =
            if let Entry::Occupied(around) = &wider { *around.get() } else { Around::default() };
        self.share.admits(Has { own: mine, wider: around, all: self.all, within, present }, amount)?;
        self.all += amount;
        own.insert_entry(mine + amount);
        wider.insert_entry(Around { amount: around + amount, networks: within + u64::from(mine == 0) });
        Ok(())
    }

    /// Takes back what was given.
    pub fn give_back(&mut self, network: Network, amount: u64) {
        let Entry::Occupied(mut own) = self.networks.entry(network) else { return };
        let amount = amount.min(*own.get());
        *own.get_mut() -= amount;
        let is_last = *own.get() == 0;
        if is_last {
            own.remove();
        }
        if let Entry::Occupied(mut around) = self.wider.entry(network.wide()) {
            let Around { amount: left, networks } = around.get_mut();
            (*left, *networks) = (left.saturating_sub(amount), networks.saturating_sub(u64::from(is_last)));
            if *networks == 0 {
                around.remove();
            }
        }
        self.all = self.all.saturating_sub(amount);
    }

    /// What a wider network has.
    #[must_use]
    fn around(&self, wide: WideNetwork) -> u64 {
        self.wider.get(&wide).map_or(0, |around| around.amount)
    }

    /// What all have together.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.all
    }
}

/// [`Shares`] that many tasks use. A [`Place`] gives itself back.
#[derive(Clone, Debug)]
pub struct Places(Arc<Mutex<Shares>>);

/// What somebody has of [`Places`], until it is dropped.
#[derive(Debug)]
pub struct Place {
    of: Option<(Places, Network)>,
    amount: u64,
}

impl Places {
    /// All free.
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self(Arc::new(Mutex::new(Shares::new(share))))
    }

    /// So much for a network. Whoever comes over the Unix socket has no network, and no limit here.
    ///
    /// # Errors
    /// Whose limit is in the way.
    pub fn take(&self, network: Option<Network>, amount: u64) -> Result<Place, Over> {
        let Some(network) = network else { return Ok(Place { of: None, amount: 0 }) };
        self.0.lock().take(network, amount)?;
        Ok(Place { of: Some((self.clone(), network)), amount })
    }

    /// What all have together.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.0.lock().all()
    }
}

impl Place {
    /// Takes more into the same place.
    ///
    /// # Errors
    /// Whose limit is in the way; what was there stays.
    pub fn grow(&mut self, amount: u64) -> Result<(), Over> {
        if let Some((places, network)) = &self.of {
            places.0.lock().take(*network, amount)?;
            self.amount += amount;
        }
        Ok(())
    }
}

impl Place {
    /// Gives a part back.
    pub fn shrink(&mut self, amount: u64) {
        let amount = amount.min(self.amount);
        if let Some((places, network)) = &self.of {
            places.0.lock().give_back(*network, amount);
            self.amount -= amount;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((places, network)) = self.of.take() {
            places.0.lock().give_back(network, self.amount);
        }
    }
}

/// How easily somebody may be asked to leave: the smallest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// It stands for leases.
    pub leased: bool,
    /// Since when it has done nothing, milliseconds of any clock that only grows.
    pub since_ms: u64,
}

/// Whether a connection counts as that of a holder of a seat.
#[derive(Debug, Default)]
pub struct Rank(AtomicU8);

impl Rank {
    const PLAIN: u8 = 0;
    const HOLDER: u8 = 1;
    const GONE: u8 = 2;

    /// It does.
    #[must_use]
    pub fn is_holder(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::HOLDER
    }
}

/// Which connections count as those of holders: for each lease the newest few, and each connection for one lease. So whoever has one seat has few of them.
#[derive(Debug, Default)]
pub struct Holders {
    connections: BTreeMap<u64, (LeaseId, Arc<Rank>)>,
    /// The oldest first.
    leases: BTreeMap<LeaseId, Vec<u64>>,
    /// Those that count no more since this was last asked for.
    sunk: BTreeSet<u64>,
}

impl Holders {
    /// A connection serves this lease: it counts for it, in the place of the oldest if need be.
    pub fn join(&mut self, connection: u64, rank: &Arc<Rank>, lease: LeaseId) {
        if rank.0.load(Ordering::Acquire) == Rank::GONE {
            return;
        }
        self.leave(connection);
        let holders = self.leases.entry(lease).or_default();
        holders.push(connection);
        let oldest = (holders.len() > HOLDER_CONNECTIONS_PER_LEASE_MAX).then(|| holders.remove(0));
        self.connections.insert(connection, (lease, Arc::clone(rank)));
        self.sunk.remove(&connection);
        rank.0.store(Rank::HOLDER, Ordering::Release);
        if let Some((_, rank)) = oldest.and_then(|oldest| self.connections.remove(&oldest)) {
            rank.0.store(Rank::PLAIN, Ordering::Release);
            self.sunk.extend(oldest);
        }
    }

    /// Which lease a connection counts for.
    #[must_use]
    pub fn lease_of(&self, connection: u64) -> Option<LeaseId> {
        self.connections.get(&connection).map(|(lease, _)| *lease)
    }

    /// Whether one more connection can count for this lease without another's leaving.
    #[must_use]
    pub fn has_room(&self, lease: &LeaseId) -> bool {
        self.leases.get(lease).is_none_or(|holders| holders.len() < HOLDER_CONNECTIONS_PER_LEASE_MAX)
    }

    /// A connection counts no more.
    pub fn leave(&mut self, connection: u64) {
        let Some((lease, rank)) = self.connections.remove(&connection) else { return };
        rank.0.store(Rank::PLAIN, Ordering::Release);
        self.sunk.insert(connection);
        if let Some(holders) = self.leases.get_mut(&lease) {
            holders.retain(|holder| *holder != connection);
            if holders.is_empty() {
                self.leases.remove(&lease);
            }
        }
    }

    /// A connection has ended, and never counts again.
    pub fn gone(&mut self, connection: u64, rank: &Rank) {
        self.leave(connection);
        self.sunk.remove(&connection);
        rank.0.store(Rank::GONE, Ordering::Release);
    }

    /// A lease has ended: no connection counts for it.
    pub fn ended(&mut self, lease: &LeaseId) {
        for connection in self.leases.get(lease).cloned().unwrap_or_default() {
            self.leave(connection);
        }
    }

    /// The connections that count no more since the last time.
    pub fn take_sunk(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.sunk)
    }
}

/// How a member stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Among others.
    pub standing: Standing,
    /// The server works for it: that counts as not idle, however long it takes.
    pub at_work: bool,
}

/// Who is inside, when a newcomer may take the place of somebody who needs it less: the idlest of the largest network of the largest wider network, of
/// those without leases first. Whoever stands for leases leaves only for a newcomer whose wider network has less than an even part, and only where the
/// wider network has more. Standings that are kept may be out of date; they only ever grow, but for those that [`Crowd::sink`] tells of, so the smallest is asked again before
/// it counts.
#[derive(Debug)]
pub struct Crowd {
    shares: Shares,
    /// For so long, in milliseconds since it stands as it does, nobody has to leave for a network that has as many inside.
    settled_ms: u64,
    members: BTreeMap<u64, (Network, Standing)>,
    networks: BTreeMap<Network, BTreeSet<(Standing, u64)>>,
    /// By size: the wider networks, and the networks within each.
    sizes: BTreeSet<(u64, WideNetwork)>,
    sizes_within: BTreeMap<WideNetwork, BTreeSet<(usize, Network)>>,
}

/// What became of a newcomer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// It is inside; else whose limit is in the way.
    pub entered: Result<(), Over>,
    /// Who has to leave for it. They are not inside any more.
    pub leaving: Vec<u64>,
    /// The limit that was reached, if one was.
    pub reached: Option<Over>,
}

impl Crowd {
    /// Busy members that are passed over in the search for an idle one.
    const PASSED_OVER_MAX: usize = 64;
    /// Networks of a wider one that are looked at for one that has somebody who may leave.
    const NETWORKS_PASSED_OVER_MAX: usize = 16;

    /// Nobody inside. For `settled_ms` whoever enters keeps its place against newcomers of its own network and of those that have as many
    /// inside: so places change hands only so often, however fast newcomers come.
    #[must_use]
    pub fn new(share: Share, settled_ms: u64) -> Self {
        Self {
            shares: Shares::new(share),
            settled_ms,
            members: BTreeMap::new(),
            networks: BTreeMap::new(),
            sizes: BTreeSet::new(),
            sizes_within: BTreeMap::new(),
        }
    }

    /// How many are inside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Lets a newcomer in, if need be in somebody's place. `now` says how a member stands now; `None` is one that is as it was.
    pub fn enter(&mut self, id: u64, network: Network, standing: Standing, now: impl Fn(u64) -> Option<Now>) -> Entered {
        let (mut leaving, mut reached) = (Vec::new(), None);
        // Each round makes room in one more count: the network's, the wider one's, the even parts, everybody's.
        for _ in 0..6 {
            let over = match self.shares.take(network, 1) {
                Ok(()) => {
                    self.put(id, network, standing);
                    return Entered { entered: Ok(()), leaving, reached };
                }
                Err(over) => over,
            };
            reached.get_or_insert(over);
            let victim = match over {
                // A newcomer takes no place of a lease or of work under way from its own network, which would gain nothing.
                Over::Network | Over::EvenPart => self
                    .idlest(network, Takes::IDLE, standing.since_ms, &now)
                    .filter(|victim| self.members.get(victim).is_some_and(|(_, kept)| self.is_settled(*kept, standing))),
                // The wider network has its share: no lease of another network in it goes for one more of it.
                Over::Wider | Over::WiderEvenPart => self.largest_within(network.wide(), network, Takes::WORK, standing, &now),
                Over::All => self.sizes.last().copied().and_then(|(size, wide)| {
                    let takes = if size > self.shares.around(network.wide()) + 1 { Takes::ANY } else { Takes::WORK };
                    self.largest_within(wide, network, Takes::WORK, standing, &now)
                        .or_else(|| self.largest_within(wide, network, takes, standing, &now))
                }),
            };
            let Some(victim) = victim else { return Entered { entered: Err(over), leaving, reached } };
            self.leave(victim);
            leaving.push(victim);
        }
        let over = reached.unwrap_or(Over::All);
        Entered { entered: Err(over), leaving, reached }
    }

    /// A member stands for no lease any more.
    pub fn sink(&mut self, id: u64, standing: Standing) {
        let Some((network, kept)) = self.members.get_mut(&id) else { return };
        if let Some(inside) = self.networks.get_mut(network) {
            inside.remove(&(*kept, id));
            inside.insert((standing, id));
        }
        *kept = standing;
    }

    fn inside(&self, network: Network) -> usize {
        self.networks.get(&network).map_or(0, BTreeSet::len)
    }

    /// Somebody has gone, or is not counted any more.
    pub fn leave(&mut self, id: u64) {
        let Some((network, standing)) = self.members.remove(&id) else { return };
        self.shares.give_back(network, 1);
        if let Some(inside) = self.networks.get_mut(&network) {
            let size = inside.len();
            inside.remove(&(standing, id));
            let left = inside.len();
            if left == 0 {
                self.networks.remove(&network);
            }
            self.resize(network, size, left);
        }
    }

    fn put(&mut self, id: u64, network: Network, standing: Standing) {
        self.members.insert(id, (network, standing));
        let inside = self.networks.entry(network).or_default();
        let size = inside.len();
        inside.insert((standing, id));
        let grown = inside.len();
        self.resize(network, size, grown);
    }

    fn resize(&mut self, network: Network, before: usize, after: usize) {
        let wide = network.wide();
        let within = self.sizes_within.entry(wide).or_default();
        within.remove(&(before, network));
        if after > 0 {
            within.insert((after, network));
        } else if within.is_empty() {
            self.sizes_within.remove(&wide);
        }
        // The shares have counted the change already.
        let around = self.shares.around(wide);
        self.sizes.remove(&(around + before as u64 - after as u64, wide));
        if around > 0 {
            self.sizes.insert((around, wide));
        }
    }

    /// Whether a member has had its place for so long that it may leave for a newcomer who has as many.
    fn is_settled(&self, kept: Standing, newcomer: Standing) -> bool {
        newcomer.since_ms.saturating_sub(kept.since_ms) >= self.settled_ms
    }

    /// The idlest of the largest network in a wider one that has somebody who may leave for a newcomer of `network`. From a wider network that has no more
    /// than the newcomer's, and from a network within it that has no more than its own, only whoever has had its place for long.
    fn largest_within(
        &mut self,
        wide: WideNetwork,
        network: Network,
        takes: Takes,
        newcomer: Standing,
        now: &impl Fn(u64) -> Option<Now>,
    ) -> Option<u64> {
        let is_own = wide == network.wide();
        let own = if is_own { self.inside(network) } else { 0 };
        let sizes = self.sizes_within.get(&wide)?.iter().rev().take(Self::NETWORKS_PASSED_OVER_MAX);
        let largest: Vec<(usize, Network)> = sizes.copied().filter(|(size, from)| *size >= own || *from == network).collect();
        let wide_has_more = self.shares.around(wide) > self.shares.around(network.wide()) + 1;
        for (size, from) in largest {
            let takes = if from == network { Takes::IDLE } else { takes };
            let Some(victim) = self.idlest(from, takes, newcomer.since_ms, now) else { continue };
            let at_once = if is_own { size > own + 1 } else { wide_has_more };
            if at_once || self.members.get(&victim).is_some_and(|(_, kept)| self.is_settled(*kept, newcomer)) {
                return Some(victim);
            }
        }
        None
    }

    /// The member of a network that needs its place least, of those that may be taken.
    fn idlest(&mut self, network: Network, takes: Takes, now_ms: u64, now: &impl Fn(u64) -> Option<Now>) -> Option<u64> {
        let mut at_work = None;
        for _ in 0..Self::PASSED_OVER_MAX {
            let inside = self.networks.get_mut(&network)?;
            let (kept, id) = *inside.first()?;
            if kept.leased && !takes.leased {
                break;
            }
            let Now { standing, at_work: works } = now(id).unwrap_or(Now { standing: kept, at_work: false });
            if works || standing > kept {
                // At work: it will have been idle since now at the earliest.
                let since_ms = if works { now_ms.max(standing.since_ms) } else { standing.since_ms };
                let newer = Standing { since_ms, ..standing }.max(kept);
                inside.remove(&(kept, id));
                inside.insert((newer, id));
                self.members.insert(id, (network, newer));
                if works && at_work == Some(id) {
                    break;
                }
                if works && (takes.leased || !newer.leased) {
                    at_work.get_or_insert(id);
                }
                continue;
            }
            return Some(id);
        }
        at_work.filter(|_| takes.at_work)
    }
}

/// Who may be taken a place from, beside those that are idle and stand for nothing.
#[derive(Clone, Copy, Debug)]
struct Takes {
    at_work: bool,
    leased: bool,
}

impl Takes {
    const IDLE: Self = Self { at_work: false, leased: false };
    const WORK: Self = Self { at_work: true, leased: false };
    const ANY: Self = Self { at_work: true, leased: true };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{collections::HashMap, net::IpAddr};

    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        Network::from(text.parse::<IpAddr>().unwrap())
    }

    fn idle(standing: Standing) -> Option<Now> {
        Some(Now { standing, at_work: false })
    }

    fn at_work(standing: Standing) -> Option<Now> {
        Some(Now { standing, at_work: true })
    }

    #[test]
    fn one_lease_makes_only_its_newest_connections_those_of_a_holder() {
        let mut holders = Holders::default();
        let ranks: Vec<Arc<Rank>> = (0..100).map(|_| Arc::default()).collect();
        let (one, other) = (LeaseId([1; 16]), LeaseId([2; 16]));
        let counting = || (0..100).filter(|number| ranks[*number].is_holder()).collect::<Vec<_>>();
        for (number, rank) in ranks.iter().enumerate() {
            holders.join(number as u64, rank, one);
        }
        assert_eq!(counting(), [96, 97, 98, 99]);
        assert_eq!(holders.take_sunk(), (0..96).collect());
        // Whoever counts for another lease too is counted for one of them.
        holders.join(97, &ranks[97], other);
        holders.join(3, &ranks[3], one);
        assert_eq!(counting(), [3, 96, 97, 98, 99]);
        assert!(!holders.has_room(&one) && holders.has_room(&other));
        holders.ended(&one);
        assert_eq!((counting(), holders.take_sunk()), (vec![97], BTreeSet::from([3, 96, 98, 99])));
        holders.gone(97, &ranks[97]);
        holders.join(97, &ranks[97], one);
        assert!(counting().is_empty() && holders.take_sunk().is_empty());
        assert!(holders.connections.is_empty() && holders.leases.is_empty());
    }

    #[test]
    fn a_member_that_holds_no_seat_any_more_leaves_as_one_that_never_did() {
        let mut crowd = Crowd::new(Share { network: 2, all: 9 }, 0);
        let standing = |leased, since_ms| Standing { leased, since_ms };
        let here = network("10.0.0.1");
        for id in 1..=2 {
            assert!(crowd.enter(id, here, standing(true, id), |id| idle(standing(true, id))).entered.is_ok());
        }
        assert!(crowd.enter(3, here, standing(false, 9), |id| idle(standing(true, id))).entered.is_err());
        crowd.sink(2, standing(false, 2));
        let entered = crowd.enter(3, here, standing(false, 9), |id| idle(standing(id == 1, id)));
        assert_eq!((entered.entered, entered.leaving), (Ok(()), vec![2]));
    }

    #[test]
    fn little_room_is_for_those_who_have_less_than_an_even_part() {
        let mut shares = Shares::new(Share { network: 90, all: 100 });
        let (large, small) = (network("10.0.0.1"), network("10.9.0.1"));
        shares.take(large, 75).unwrap();
        shares.take(small, 1).unwrap();
        assert_eq!(shares.take(large, 1), Err(Over::WiderEvenPart));
        assert_eq!(shares.take(network("10.0.0.2"), 1), Err(Over::WiderEvenPart), "its neighbor is of the same party");
        shares.take(small, 24).unwrap();
        assert_eq!(shares.take(network("10.8.0.1"), 1), Err(Over::All));
    }

    /// One network of few, so that they meet in wider ones.
    fn any_network() -> impl Strategy<Value = Network> {
        (0u8..3, 0u8..6).prop_map(|(wider, host)| Network::from(IpAddr::from([10, 0, wider, host])))
    }

    /// The rule, written down once more as plainly as can be.
    fn naive(held: &[(Network, u64)], share: Share, network: Network, amount: u64) -> Result<(), Over> {
        let sum = |of: &dyn Fn(Network) -> bool| held.iter().filter(|(who, _)| of(*who)).map(|(_, amount)| amount).sum::<u64>();
        let present: BTreeSet<Network> = held.iter().map(|(who, _)| *who).chain([network]).collect();
        let wide: BTreeSet<WideNetwork> = present.iter().map(|who| who.wide()).collect();
        let within = present.iter().filter(|who| who.wide() == network.wide()).count() as u64;
        let wider_part = share.all / wide.len() as u64;
        let (own, wider, all) = (sum(&|who| who == network), sum(&|who| who.wide() == network.wide()), sum(&|_| true));
        if amount == 0 {
            Ok(())
        } else if own + amount > share.network {
            Err(Over::Network)
        } else if wider + amount > (4 * share.network).min(share.all - share.all / 4).max(share.network) {
            Err(Over::Wider)
        } else if all + amount > share.all - share.all / 4 && wider + amount > wider_part {
            Err(Over::WiderEvenPart)
        } else if all + amount > share.all - share.all / 4 && own + amount > wider_part / within {
            Err(Over::EvenPart)
        } else if all + amount > share.all {
            Err(Over::All)
        } else {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn the_table_of_shares_is_the_plain_rule(
            share in (1u64..20, 1u64..80).prop_map(|(network, all)| Share { network, all }),
            steps in proptest::collection::vec((any_network(), 0u64..6, any::<proptest::sample::Index>(), any::<bool>()), 0..200),
        ) {
            let mut shares = Shares::new(share);
            let mut held: Vec<(Network, u64)> = Vec::new();
            for (network, amount, which, gives_back) in steps {
                if gives_back && !held.is_empty() {
                    let (network, amount) = held.swap_remove(which.index(held.len()));
                    shares.give_back(network, amount);
                } else {
                    let expected = naive(&held, share, network, amount);
                    prop_assert_eq!(shares.take(network, amount), expected);
                    if expected.is_ok() && amount > 0 {
                        held.push((network, amount));
                    }
                }
                prop_assert_eq!(shares.all(), held.iter().map(|(_, amount)| amount).sum::<u64>());
            }
            for (network, amount) in held {
                shares.give_back(network, amount);
            }
            prop_assert!(shares.all() == 0 && shares.networks.is_empty() && shares.wider.is_empty());
        }

        #[test]
        fn a_crowd_keeps_its_limits_and_asks_the_idlest_to_leave(
            share in (1u64..6, 2u64..12).prop_map(|(network, all)| Share { network, all }),
            steps in proptest::collection::vec((any_network(), 0u64..50, any::<bool>(), 0u8..4), 1..120),
        ) {
            let mut crowd = Crowd::new(share, 0);
            let mut real: HashMap<u64, (Network, Now)> = HashMap::new();
            for (id, (network, since_ms, leased, kind)) in (0u64..).zip(steps) {
                let standing = Standing { leased, since_ms };
                let known = real.clone();
                let entered = crowd.enter(id, network, standing, |id| Some(known[&id].1));
                for gone in &entered.leaving {
                    let around = |wide| real.values().filter(|(other, _)| other.wide() == wide).count();
                    let (larger, own) = (around(real[gone].0.wide()), around(network.wide()));
                    let (of, now) = real.remove(gone).unwrap();
                    prop_assert!(of != network || !now.at_work && !now.standing.leased);
                    // A lease of another network goes only for a wider network that has less.
                    prop_assert!(!now.standing.leased || larger > own, "{of:?} has {larger}, {network:?} {own}");
                    // Nobody of its network who could leave was idler.
                    let others = real.values().filter(|(other, now)| *other == of && !now.at_work);
                    if let Some(idler) = others.map(|(_, now)| now.standing).min().filter(|_| !now.at_work) {
                        prop_assert!(now.standing <= idler, "{:?} left before {:?}", now.standing, idler);
                    }
                }
                if entered.entered.is_ok() {
                    real.insert(id, (network, Now { standing, at_work: kind == 0 }));
                }
                prop_assert_eq!(crowd.len(), real.len());
                prop_assert!(real.len() as u64 <= share.all);
                for (network, _) in real.values() {
                    prop_assert!(real.values().filter(|other| other.0 == *network).count() as u64 <= share.network);
                    prop_assert!(real.values().filter(|other| other.0.wide() == network.wide()).count() as u64 <= share.wider());
                }
                if kind == 3 && let Some(id) = real.keys().min().copied() {
                    real.remove(&id);
                    crowd.leave(id);
                }
            }
            for id in real.into_keys() {
                crowd.leave(id);
            }
            prop_assert!(crowd.is_empty() && crowd.networks.is_empty() && crowd.sizes.is_empty() && crowd.sizes_within.is_empty());
        }
    }

    #[test]
    fn a_place_gives_itself_back_and_the_unix_socket_needs_none() {
        let places = Places::new(Share { network: 3, all: 4 });
        let one = network("10.0.0.1");
        let mut place = places.take(Some(one), 2).unwrap();
        assert_eq!(place.grow(2), Err(Over::Network));
        place.grow(1).unwrap();
        assert_eq!(places.take(Some(one), 1).unwrap_err(), Over::Network);
        drop(places.take(None, 1_000).unwrap());
        drop(place);
        assert_eq!(places.all(), 0);
    }

    #[test]
    fn a_young_place_is_safe_from_its_own_network_and_from_those_that_have_as_many() {
        let mut crowd = Crowd::new(Share { network: 4, all: 6 }, 100);
        let (large, small) = (network("10.0.0.1"), network("10.9.0.1"));
        let at = |since_ms| Standing { leased: false, since_ms };
        let as_it_entered = |_| idle(at(0));
        for id in 0..3 {
            assert!(crowd.enter(id, large, at(id), as_it_entered).entered.is_ok());
        }
        for id in 3..6 {
            assert!(crowd.enter(id, small, at(id), as_it_entered).entered.is_ok());
        }
        assert!(crowd.enter(6, large, at(50), as_it_entered).entered.is_err());
        let third = network("10.8.0.1");
        assert_eq!(crowd.enter(7, third, at(50), as_it_entered).leaving.len(), 1, "one that has less than others has a place at once");
        let later = crowd.enter(8, large, at(200), as_it_entered);
        assert!(later.entered.is_ok() && !later.leaving.is_empty());
    }

    #[test]
    fn one_wider_network_of_many_networks_takes_no_place_of_a_holder_elsewhere() {
        let mut crowd = Crowd::new(Share { network: 60, all: 100 }, 0);
        let holder = Standing { leased: true, since_ms: 0 };
        for id in 0..20 {
            assert!(crowd.enter(id, network(&format!("10.1.{id}.1")), holder, |_| None).entered.is_ok());
        }
        let newcomer = |id| Standing { leased: false, since_ms: id };
        let mut left = Vec::new();
        for id in 100..1_000u64 {
            let from = network(&format!("2001:db8:1:{id:x}::1"));
            left.extend(crowd.enter(id, from, newcomer(id), |_| None).leaving);
        }
        assert!(left.iter().all(|id| *id >= 100), "{left:?}");
        assert_eq!(crowd.shares.around(network("2001:db8:1:1::1").wide()), 55, "nothing of the last quarter");
        // Who comes from elsewhere has a place at once, and in the end one of theirs.
        for id in 20..60 {
            let entered = crowd.enter(id, network(&format!("10.1.{id}.1")), newcomer(2_000), |_| None);
            assert!(entered.entered.is_ok() && entered.leaving.iter().all(|id| *id >= 100), "{entered:?}");
        }
        assert_eq!(crowd.len(), 100);
    }

    #[test]
    fn holders_of_a_wider_network_stay_when_others_of_it_come() {
        let mut crowd = Crowd::new(Share { network: 4, all: 100 }, 0);
        let holder = Standing { leased: true, since_ms: 0 };
        for id in 0..16 {
            assert!(crowd.enter(id, network(&format!("10.0.0.{}", id % 8)), holder, |_| None).entered.is_ok());
        }
        let newcomer = Standing { leased: false, since_ms: 9 };
        let refused = crowd.enter(99, network("10.0.0.99"), newcomer, |_| None);
        assert_eq!((refused.entered, refused.leaving), (Err(Over::Wider), vec![]));
        crowd.sink(3, Standing { leased: false, since_ms: 3 });
        assert_eq!(crowd.enter(99, network("10.0.0.99"), newcomer, |_| None).leaving, [3]);
        assert!(crowd.enter(98, network("10.0.1.1"), newcomer, |_| None).leaving.is_empty());
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_largest_network_s_idlest() {
        let mut crowd = Crowd::new(Share { network: 8, all: 8 }, 0);
        let (large, small) = (network("10.0.0.1"), network("10.9.0.1"));
        for id in 0..8 {
            let standing = Standing { leased: id < 2, since_ms: id };
            assert!(crowd.enter(id, large, standing, |_| None).entered.is_ok());
        }
        let now = |id| {
            let standing = Standing { leased: id < 2, since_ms: if id == 2 { 100 } else { id } };
            if id == 3 { at_work(standing) } else { idle(standing) }
        };
        let entered = crowd.enter(9, small, Standing { leased: false, since_ms: 9 }, now);
        // 0 and 1 stand for leases, 2 has moved since, 3 is at work.
        assert_eq!((entered.entered, entered.leaving, entered.reached), (Ok(()), vec![4], Some(Over::All)));
    }
}
