//! Ids that are neither live nor forgotten: denied, ended, or released before they were known. Anybody can make them, so each is kept
//! small, and they are counted by network.

use std::collections::BTreeMap;

use crate::{
    ContentDigest, Denial, EndReason, LeaseId, Network, Timestamp,
    crowd::{Crowd, Slot},
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

/// What nearly all need.
#[derive(Debug)]
struct Kept {
    forget: u32,
    attempt: u32,
    network: Slot,
    content: [u8; 4],
    has_content: bool,
    ended: Option<EndReason>,
}

/// All remembered ids.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    kept: BTreeMap<LeaseId, Kept>,
    /// Only denials that were not followed by an end.
    denials: BTreeMap<LeaseId, Box<Denial>>,
    /// By the end of their memory the beginnings of ids; some of those may have been remembered longer or gone since.
    due: BTreeMap<u32, Vec<[u8; 8]>>,
    /// Who made the server remember them.
    pub(crate) crowd: Crowd,
}

fn beginning(lease: &LeaseId) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = lease.0;
    [a, b, c, d, e, f, g, h]
}

impl Memory {
    pub(crate) fn contains(&self, lease: &LeaseId) -> bool {
        self.kept.contains_key(lease)
    }

    pub(crate) fn get(&self, lease: &LeaseId) -> Option<Remembered> {
        self.kept.get(lease).map(|kept| self.remembered(lease, kept))
    }

    /// Why an id has ended, if it has and is remembered.
    pub(crate) fn ended(&self, lease: &LeaseId) -> Option<EndReason> {
        self.kept.get(lease)?.ended
    }

    fn remembered(&self, lease: &LeaseId, kept: &Kept) -> Remembered {
        Remembered {
            attempt: kept.attempt,
            content: kept.has_content.then_some(kept.content),
            denial: self.denials.get(lease).cloned(),
            ended: kept.ended,
            forget: time_of(kept.forget),
            network: self.crowd.network(kept.network),
        }
    }

    /// Remembers an id, or something else of it.
    pub(crate) fn insert(&mut self, lease: LeaseId, remembered: Remembered) {
        let Remembered { attempt, content, denial, ended, forget, network } = remembered;
        let forget = tick_of(forget);
        let kept = Kept {
            forget,
            attempt,
            network: self.crowd.enter(network),
            content: content.unwrap_or_default(),
            has_content: content.is_some(),
            ended,
        };
        let before = self.kept.insert(lease, kept);
        if let Some(before) = &before {
            self.crowd.leave(before.network);
        }
        match denial {
            Some(denial) => drop(self.denials.insert(lease, denial)),
            None => drop(self.denials.remove(&lease)),
        }
        if before.is_none_or(|before| before.forget != forget) {
            self.due.entry(forget).or_default().push(beginning(&lease));
        }
    }

    /// Forgets an id before its time: it is live or waits.
    pub(crate) fn remove(&mut self, lease: &LeaseId) {
        if let Some(before) = self.kept.remove(lease) {
            self.crowd.leave(before.network);
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
                let due = self.kept.range(low..=high).filter(|(_, kept)| kept.forget <= tick);
                let due: Vec<LeaseId> = due.map(|(lease, _)| *lease).collect();
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
        self.kept.iter().map(|(lease, kept)| (*lease, self.remembered(lease, kept)))
    }
}

/// The first and the last id with this beginning.
fn range(beginning: [u8; 8]) -> (LeaseId, LeaseId) {
    let (mut low, mut high) = ([0; 16], [0xff; 16]);
    low[..8].copy_from_slice(&beginning);
    high[..8].copy_from_slice(&beginning);
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

    #[test]
    fn an_ended_id_takes_little_memory() {
        assert!(size_of::<(LeaseId, Kept)>() <= 36, "{}", size_of::<(LeaseId, Kept)>());
    }
}
