//! Ids that are neither live nor forgotten: denied, ended, or released before they were known. Anybody can make them, so each is kept
//! small, and they are counted by network.

use std::collections::BTreeMap;

use crate::{
    ContentDigest, Denial, EndReason, LeaseId, Network, Timestamp,
    crowd::{Crowd, Slot},
    limits::REMEMBERED_PER_BLOCK_MAX,
};

/// An id that is not live but not forgotten either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) attempt: u32,
    /// The beginning of its content's digest; none if it was only released.
    pub(crate) content: Option<[u8; 4]>,
    pub(crate) denial: Option<Box<Denial>>,
    pub(crate) ended: Option<EndReason>,
    /// A whole number of [`TICK_MS`], see [`ticked`].
    pub(crate) forget: Timestamp,
    pub(crate) network: Option<Network>,
}

impl Remembered {
    /// Whether it was asked for with this content, as far as is known. Only the owner of the secret asks for an id, so four bytes tell
    /// its mistakes apart.
    pub(crate) fn may_be(&self, content: ContentDigest) -> bool {
        self.content.is_none_or(|known| known == mark(content))
    }
}

/// What is kept of a content's digest.
pub(crate) fn mark(content: ContentDigest) -> [u8; 4] {
    let [a, b, c, d, ..] = content.0;
    [a, b, c, d]
}

/// The end of memory is a whole number of so many milliseconds of lease time, so that it fits four bytes.
const TICK_MS: u64 = 1_024;

/// The end of an id's memory at or just after a time.
pub(crate) fn ticked(forget: Timestamp) -> Timestamp {
    time_of(tick_of(forget))
}

fn tick_of(forget: Timestamp) -> u32 {
    u32::try_from(forget.0.div_ceil(TICK_MS)).unwrap_or(u32::MAX)
}

fn time_of(tick: u32) -> Timestamp {
    Timestamp(u64::from(tick) * TICK_MS)
}

/// What nearly all need, byte by byte so that no gap is between them: there may be ten million.
#[derive(Clone, Copy, Debug)]
struct Kept {
    id: LeaseId,
    forget: [u8; 4],
    network: [u8; 4],
    content: [u8; 4],
    /// The highest bit: there is a content. The others: the attempt, or [`MANY_ATTEMPTS`].
    attempt: u8,
    ended: Option<EndReason>,
}

const HAS_CONTENT: u8 = 0x80;
/// The attempt stands in [`Memory::attempts`].
const MANY_ATTEMPTS: u8 = 0x7f;

impl Kept {
    fn forget(&self) -> u32 {
        u32::from_ne_bytes(self.forget)
    }

    fn network(&self) -> Slot {
        Slot::from_ne_bytes(self.network)
    }
}

/// Lists grow by an eighth, not to twice their size: what is free in them would be a third of all.
const GROWTH: usize = 8;

/// All by their ids, in order, in blocks of a list each. A tree of single ids would leave a third of its places empty.
#[derive(Debug, Default)]
struct Blocks {
    /// By the first id that may stand in it; the first of all begins with the lowest id.
    blocks: BTreeMap<LeaseId, Vec<Kept>>,
    len: usize,
}

impl Blocks {
    fn get(&self, id: &LeaseId) -> Option<&Kept> {
        let (_, block) = self.blocks.range(..=*id).next_back()?;
        block.get(block.binary_search_by_key(id, |kept| kept.id).ok()?)
    }

    /// Puts one in; hands out what was in its place.
    fn insert(&mut self, kept: Kept) -> Option<Kept> {
        if self.blocks.is_empty() {
            self.blocks.insert(LeaseId([0; 16]), Vec::new());
        }
        let (_, block) = self.blocks.range_mut(..=kept.id).next_back()?;
        let at = match block.binary_search_by_key(&kept.id, |other| other.id) {
            Ok(at) => return Some(std::mem::replace(&mut block[at], kept)),
            Err(at) => at,
        };
        self.len += 1;
        if block.len() < REMEMBERED_PER_BLOCK_MAX {
            insert_at(block, at, kept);
            return None;
        }
        let mut upper = block.split_off(REMEMBERED_PER_BLOCK_MAX / 2);
        block.shrink_to_fit();
        match at.checked_sub(REMEMBERED_PER_BLOCK_MAX / 2) {
            // What lies between both goes to the lower: the upper begins where its first did.
            None | Some(0) => insert_at(block, at, kept),
            Some(at) => insert_at(&mut upper, at, kept),
        }
        self.blocks.insert(upper[0].id, upper);
        None
    }

    fn remove(&mut self, id: &LeaseId) -> Option<Kept> {
        let (first, block) = self.blocks.range_mut(..=*id).next_back()?;
        let at = block.binary_search_by_key(id, |kept| kept.id).ok()?;
        let removed = block.remove(at);
        self.len -= 1;
        if self.len == 0 {
            self.blocks.clear();
        } else if block.is_empty() {
            // The lowest id has a block as long as there is any.
            if first.0 == [0; 16] {
                block.shrink_to_fit();
            } else {
                let first = *first;
                self.blocks.remove(&first);
            }
        } else if block.capacity() > 2 * block.len() + GROWTH {
            block.shrink_to(block.len() + block.len() / GROWTH);
        }
        Some(removed)
    }

    /// Those from one id to another, both included.
    fn between(&self, low: LeaseId, high: LeaseId) -> impl Iterator<Item = &Kept> {
        let first = self.blocks.range(..=low).next_back().map_or(low, |(first, _)| *first);
        let of = move |block: &'_ [Kept]| {
            let from = block.partition_point(|kept| kept.id < low);
            from..from.max(block.partition_point(|kept| kept.id <= high))
        };
        self.blocks.range(first..=high).flat_map(move |(_, block)| &block[of(block)])
    }

    fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.blocks.values().flatten()
    }
}

fn insert_at(block: &mut Vec<Kept>, at: usize, kept: Kept) {
    room_for_one(block);
    block.insert(at, kept);
}

fn room_for_one<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / GROWTH).max(4));
    }
}

/// All remembered ids.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    kept: Blocks,
    /// Only attempts above what a [`Kept`] holds.
    attempts: BTreeMap<LeaseId, u32>,
    /// Only denials that were not followed by an end.
    denials: BTreeMap<LeaseId, Box<Denial>>,
    /// By the end of their memory the beginnings of ids; some of those may have been remembered longer or gone since.
    due: BTreeMap<u32, Vec<Beginning>>,
    /// Who made the server remember them.
    pub(crate) crowd: Crowd,
}

/// The beginning of an id: enough that hardly two have the same.
type Beginning = [u8; 5];

fn beginning(lease: &LeaseId) -> Beginning {
    let [a, b, c, d, e, ..] = lease.0;
    [a, b, c, d, e]
}

impl Memory {
    pub(crate) fn contains(&self, lease: &LeaseId) -> bool {
        self.kept.get(lease).is_some()
    }

    pub(crate) fn get(&self, lease: &LeaseId) -> Option<Remembered> {
        self.kept.get(lease).map(|kept| self.remembered(kept))
    }

    /// Why an id has ended, if it has and is remembered.
    pub(crate) fn ended(&self, lease: &LeaseId) -> Option<EndReason> {
        self.kept.get(lease)?.ended
    }

    fn remembered(&self, kept: &Kept) -> Remembered {
        let attempt = match kept.attempt & !HAS_CONTENT {
            MANY_ATTEMPTS => self.attempts.get(&kept.id).copied().unwrap_or_default(),
            attempt => attempt.into(),
        };
        Remembered {
            attempt,
            content: (kept.attempt & HAS_CONTENT != 0).then_some(kept.content),
            denial: self.denials.get(&kept.id).cloned(),
            ended: kept.ended,
            forget: time_of(kept.forget()),
            network: self.crowd.network(kept.network()),
        }
    }

    /// Remembers an id, or something else of it.
    pub(crate) fn insert(&mut self, lease: LeaseId, remembered: Remembered) {
        let Remembered { attempt, content, denial, ended, forget, network } = remembered;
        let forget = tick_of(forget);
        let few = u8::try_from(attempt).ok().filter(|attempt| *attempt < MANY_ATTEMPTS);
        match few {
            Some(_) => drop(self.attempts.remove(&lease)),
            None => drop(self.attempts.insert(lease, attempt)),
        }
        let before = self.kept.insert(Kept {
            id: lease,
            forget: forget.to_ne_bytes(),
            network: self.crowd.enter(network).to_ne_bytes(),
            content: content.unwrap_or_default(),
            attempt: few.unwrap_or(MANY_ATTEMPTS) | if content.is_some() { HAS_CONTENT } else { 0 },
            ended,
        });
        if let Some(before) = &before {
            self.crowd.leave(before.network());
        }
        match denial {
            Some(denial) => drop(self.denials.insert(lease, denial)),
            None => drop(self.denials.remove(&lease)),
        }
        if before.is_none_or(|before| before.forget() != forget) {
            let due = self.due.entry(forget).or_default();
            room_for_one(due);
            due.push(beginning(&lease));
        }
    }

    /// Forgets an id before its time: it is live or waits.
    pub(crate) fn remove(&mut self, lease: &LeaseId) {
        if let Some(before) = self.kept.remove(lease) {
            self.crowd.leave(before.network());
            self.attempts.remove(lease);
            self.denials.remove(lease);
        }
    }

    /// Forgets all whose memory ends at or before a time; hands out each.
    pub(crate) fn forget(&mut self, until: Timestamp, mut gone: impl FnMut(LeaseId)) {
        while let Some(first) = self.due.first_entry()
            && time_of(*first.key()) <= until
        {
            let (tick, beginnings) = first.remove_entry();
            for beginning in beginnings {
                let (low, high) = range(beginning);
                let due = self.kept.between(low, high).filter(|kept| kept.forget() <= tick);
                let due: Vec<LeaseId> = due.map(|kept| kept.id).collect();
                for lease in due {
                    self.remove(&lease);
                    gone(lease);
                }
            }
        }
    }

    /// The first time at which memory may end.
    pub(crate) fn first_due(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|(tick, _)| time_of(*tick))
    }

    /// A time up to which about so many are to be forgotten, at least those of the first; none if nothing is due.
    pub(crate) fn portion(&self, at: Timestamp, most: usize) -> Option<Timestamp> {
        let mut until = None;
        let mut count = 0;
        for (tick, beginnings) in &self.due {
            count += beginnings.len();
            if time_of(*tick) > at || until.is_some() && count > most {
                break;
            }
            until = Some(time_of(*tick));
        }
        until
    }

    /// All, in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaseId, Remembered)> + '_ {
        self.kept.iter().map(|kept| (kept.id, self.remembered(kept)))
    }
}

/// The first and the last id with this beginning.
fn range(beginning: Beginning) -> (LeaseId, LeaseId) {
    let (mut low, mut high) = ([0; 16], [0xff; 16]);
    low[..beginning.len()].copy_from_slice(&beginning);
    high[..beginning.len()].copy_from_slice(&beginning);
    (LeaseId(low), LeaseId(high))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> LeaseId {
        // Pairs share their beginning.
        let mut bytes = [number / 2; 16];
        bytes[15] = number;
        LeaseId(bytes)
    }

    fn ended(forget: u64, network: u8) -> Remembered {
        Remembered {
            attempt: forget as u32,
            content: (network > 1).then_some([network; 4]),
            denial: None,
            ended: Some(EndReason::Released),
            forget: ticked(Timestamp(forget)),
            network: (network > 0).then_some(Network::V4([network; 4])),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn what_is_remembered_is_what_a_naive_map_has(
            steps in prop::collection::vec((0..4u8, 0..20u8, 0..20_000u64, 0..4u8), 0..200)
        ) {
            let mut memory = Memory::default();
            let mut naive: BTreeMap<LeaseId, Remembered> = BTreeMap::new();
            let mut now = 0;
            for (what, number, ms, network) in steps {
                match what {
                    0 => {
                        memory.remove(&id(number));
                        naive.remove(&id(number));
                    }
                    1 => {
                        now += ms / 4;
                        let mut gone = Vec::new();
                        memory.forget(Timestamp(now), |lease| gone.push(lease));
                        let before = naive.len();
                        naive.retain(|_, known| known.forget > Timestamp(now));
                        prop_assert_eq!(gone.len(), before - naive.len());
                    }
                    _ => {
                        memory.insert(id(number), ended(now + ms + 1, network));
                        naive.insert(id(number), ended(now + ms + 1, network));
                    }
                }
                prop_assert_eq!(memory.crowd.total(), naive.len() as u64);
                prop_assert!(memory.iter().eq(naive.iter().map(|(lease, known)| (*lease, known.clone()))));
                prop_assert!(memory.first_due().is_none_or(|due| naive.values().all(|known| known.forget >= due)));
            }
        }
    }

    /// Bytes on the heap for each id, all lists with what is free in them.
    fn bytes_per_id(memory: &Memory) -> f64 {
        const LIST_BYTES: usize = 16 + size_of::<Vec<u8>>() + 16;
        let blocks: usize = memory.kept.blocks.values().map(|block| block.capacity() * size_of::<Kept>() + LIST_BYTES).sum();
        let due: usize = memory.due.values().map(|due| due.capacity() * size_of::<Beginning>() + LIST_BYTES).sum();
        (blocks + due) as f64 / memory.kept.len as f64
    }

    fn spread(number: u64) -> LeaseId {
        let hash = triquest_license::sha256(&number.to_le_bytes());
        LeaseId(hash[..16].try_into().unwrap())
    }

    #[test]
    fn an_ended_id_takes_little_memory() {
        assert_eq!(size_of::<Kept>(), 30);
        let mut memory = Memory::default();
        for number in 0..200_000 {
            // 330 a second.
            memory.insert(spread(number), ended(number * 3, 1));
        }
        let bytes = bytes_per_id(&memory);
        println!("{bytes:.1} bytes for each ended id");
        assert!(bytes <= 40.0, "{bytes}");
        // As a start brings them: in order.
        let mut ids: Vec<LeaseId> = memory.iter().map(|(lease, _)| lease).collect();
        assert!(ids.is_sorted());
        let mut loaded = Memory::default();
        for (lease, known) in memory.iter() {
            loaded.insert(lease, known);
        }
        assert!(bytes_per_id(&loaded) <= 40.0, "{}", bytes_per_id(&loaded));
        memory.forget(Timestamp(300_000), |_| {});
        assert!(bytes_per_id(&memory) <= 60.0, "half of them are gone: {}", bytes_per_id(&memory));
        ids.retain(|lease| memory.contains(lease));
        assert_eq!(ids.len(), memory.kept.len);
        memory.forget(Timestamp(1_000_000), |_| {});
        assert!(memory.kept.blocks.is_empty() && memory.due.is_empty() && memory.kept.len == 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn blocks_split_and_go_and_keep_their_order(steps in prop::collection::vec((any::<bool>(), 0..6_000u64), 3_000..9_000)) {
            let mut memory = Memory::default();
            let mut naive: BTreeMap<LeaseId, Remembered> = BTreeMap::new();
            for (removes, number) in steps {
                // More come than go, and many attempts are kept elsewhere.
                if removes && number % 3 == 0 {
                    memory.remove(&spread(number));
                    naive.remove(&spread(number));
                } else {
                    let known = Remembered { attempt: number as u32 % 300, ..ended(number, 2) };
                    memory.insert(spread(number), known.clone());
                    naive.insert(spread(number), known);
                }
            }
            prop_assert!(memory.kept.blocks.values().all(|block| block.len() <= REMEMBERED_PER_BLOCK_MAX));
            prop_assert!(memory.iter().eq(naive.iter().map(|(lease, known)| (*lease, known.clone()))));
            for (lease, known) in &naive {
                prop_assert_eq!(memory.get(lease), Some(known.clone()));
            }
        }
    }
}
