//! Where the pairs of classes end, so that a changed tree is brought home to those that feel it, and to no others.

use crate::branches::NO_WAY;
use crate::choice::Choice;
use crate::repair::Repair;
use crate::search::{NOWHERE, Tree};
use crate::topology::{Node, UNREACHABLE};

/// By node: the pairs that end there, each as the place of its class and its place in the class's choice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    at: Vec<Vec<(u32, u32)>>,
    /// Scratch, by place of a class: whether it is asked about, and what was found.
    is_asked: Vec<bool>,
    found: Vec<Option<Moved>>,
    before: Branch,
    after: Branch,
}

/// The nodes on the way from one node to the root, each with the number of the way it was last on.
#[derive(Clone, Debug, Default)]
struct Branch {
    number: u32,
    on: Vec<u32>,
}

impl Branch {
    fn follow(&mut self, tree: &Tree, mut node: Node) {
        if self.on.len() != tree.parent.len() || self.number == u32::MAX {
            self.on.clear();
            self.on.resize(tree.parent.len(), 0);
            self.number = 0;
        }
        self.number += 1;
        while node != NOWHERE {
            self.on[node as usize] = self.number;
            node = tree.parent[node as usize];
        }
    }

    /// The cost of the way from the node followed, at a distance from the root, to another.
    fn between(&self, tree: &Tree, distance: u32, other: Node) -> u64 {
        let there = tree.distance[other as usize];
        if distance == UNREACHABLE || there == UNREACHABLE {
            return NO_WAY;
        }
        let mut meeting = other;
        while self.on[meeting as usize] != self.number {
            meeting = tree.parent[meeting as usize];
        }
        u64::from(distance) + u64::from(there) - 2 * u64::from(tree.distance[meeting as usize])
    }
}

/// How a class feels a changed tree.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    /// What the pairs cost more along it than before.
    pub(crate) more: i64,
    /// One of its pairs ends at the root of the tree, so the shortest way of that pair moved.
    pub(crate) shortest: bool,
}

impl Ends {
    /// Forgets all, for a new topology.
    pub(crate) fn reset(&mut self, nodes: usize) {
        self.at.clear();
        self.at.resize(nodes, Vec::new());
    }

    /// Takes the pairs of a class in.
    pub(crate) fn add(&mut self, class: usize, choice: &Choice) {
        let class = u32::try_from(class).unwrap_or(u32::MAX);
        for (place, &(a, b, _)) in (0..).zip(&choice.pairs) {
            self.at[a as usize].push((class, place));
            self.at[b as usize].push((class, place));
        }
    }

    /// Forgets the pairs of a class.
    pub(crate) fn remove(&mut self, class: usize, choice: &Choice) {
        for node in choice.pairs.iter().flat_map(|&(a, b, _)| [a, b]) {
            self.at[node as usize].retain(|&(other, _)| other as usize != class);
        }
    }

    /// Which of some classes have pairs with an end that moved on the tree of a root, with what that does to them.
    pub(crate) fn moved<'a>(
        &mut self,
        classes: impl Iterator<Item = usize>,
        choice: impl Fn(usize) -> Option<&'a Choice>,
        root: Node,
        (before, after): (&Tree, &Tree),
        repair: &Repair,
    ) -> Vec<(usize, Moved)> {
        let asked: Vec<usize> = classes.collect();
        for &class in &asked {
            if self.is_asked.len() <= class {
                self.is_asked.resize(class + 1, false);
                self.found.resize(class + 1, None);
            }
            self.is_asked[class] = true;
        }
        // Where no node hangs elsewhere, all that moved did so by the same distance, and no two of them to each other.
        let shift = repair.shift(after);
        for &node in repair.moved() {
            if shift.is_none() {
                self.before.follow(before, node);
                self.after.follow(after, node);
            }
            for &(class, place) in &self.at[node as usize] {
                let class = class as usize;
                if !self.is_asked.get(class).copied().unwrap_or(false) {
                    continue;
                }
                let Some(&(a, b, times)) = choice(class).and_then(|choice| choice.pairs.get(place as usize))
                else {
                    continue;
                };
                let both = repair.is_moved(a) && repair.is_moved(b);
                let other = if node == a { b } else { a };
                let more = match shift {
                    _ if both && node == b => 0, // counted at the other end
                    Some(_) if both || after.distance[other as usize] == UNREACHABLE => 0,
                    Some(shift) => shift,
                    None => {
                        let before = self.before.between(before, before.distance[node as usize], other);
                        let after = self.after.between(after, after.distance[node as usize], other);
                        after.cast_signed() - before.cast_signed()
                    }
                };
                let found = self.found[class].get_or_insert_default();
                found.more += i64::from(times) * more;
                found.shortest |= a == root || b == root;
            }
        }
        asked
            .into_iter()
            .filter_map(|class| {
                self.is_asked[class] = false;
                Some((class, self.found[class].take()?))
            })
            .collect()
    }
}
