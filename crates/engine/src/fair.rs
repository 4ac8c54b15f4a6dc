//! Turns between those who wait, pure: a group (a network) has its turn, and within its turn its members (connections) alternate.

use std::collections::{BTreeMap, VecDeque};

/// What waits, by group and member. Nobody waits longer than one turn of each other group, and within a group than one of each other member's.
#[derive(Debug)]
pub struct Turns<G, M, V> {
    groups: BTreeMap<G, Group<M, V>>,
    /// Groups that have something, the next first.
    order: VecDeque<G>,
    /// What the first group may still take in its present turn.
    left: usize,
    per_turn: usize,
    len: usize,
}

#[derive(Debug)]
struct Group<M, V> {
    members: BTreeMap<M, VecDeque<V>>,
    /// Members that have something, the next first.
    order: VecDeque<M>,
    len: usize,
}

impl<G: Ord + Copy, M: Ord + Copy, V> Turns<G, M, V> {
    /// With turns of so many, at least 1.
    #[must_use]
    pub fn new(per_turn: usize) -> Self {
        let per_turn = per_turn.max(1);
        Self { groups: BTreeMap::new(), order: VecDeque::new(), left: per_turn, per_turn, len: 0 }
    }

    /// How many wait in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of this group wait. The tests look at it.
    #[must_use]
    pub fn len_of(&self, group: &G) -> usize {
        self.groups.get(group).map_or(0, |group| group.len)
    }

    /// Adds one behind those of its member.
    pub fn push(&mut self, group: G, member: M, value: V) {
        let order = &mut self.order;
        let found = self.groups.entry(group).or_insert_with(|| {
            order.push_back(group);
            Group { members: BTreeMap::new(), order: VecDeque::new(), len: 0 }
        });
        let waiting = found.members.entry(member).or_default();
        if waiting.is_empty() {
            found.order.push_back(member);
        }
        waiting.push_back(value);
        found.len += 1;
        self.len += 1;
    }

    /// Gives one back that was taken and could not be served: it is the next to be taken again.
    pub fn give_back(&mut self, group: G, member: M, value: V) {
        if self.order.front() == Some(&group) {
            self.left = (self.left + 1).min(self.per_turn);
        } else {
            self.order.retain(|other| *other != group);
            self.order.push_front(group);
            self.left = 1;
        }
        let empty = || Group { members: BTreeMap::new(), order: VecDeque::new(), len: 0 };
        let found = self.groups.entry(group).or_insert_with(empty);
        found.members.entry(member).or_default().push_front(value);
        if found.order.front() != Some(&member) {
            found.order.retain(|other| *other != member);
            found.order.push_front(member);
        }
        found.len += 1;
        self.len += 1;
    }

    /// Takes the next.
    pub fn pop(&mut self) -> Option<(G, M, V)> {
        let group = *self.order.front()?;
        let found = self.groups.get_mut(&group)?;
        let member = found.order.pop_front()?;
        let waiting = found.members.get_mut(&member)?;
        let value = waiting.pop_front()?;
        if waiting.is_empty() {
            found.members.remove(&member);
        } else {
            found.order.push_back(member);
        }
        found.len -= 1;
        self.len -= 1;
        self.left -= 1;
        if found.len == 0 {
            self.groups.remove(&group);
            self.order.pop_front();
            self.left = self.per_turn;
        } else if self.left == 0 {
            self.order.rotate_left(1);
            self.left = self.per_turn;
        }
        Some((group, member, value))
    }
}
