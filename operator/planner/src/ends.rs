//! Where the pairs of classes end, so that a changed tree is brought home to those that feel it, and to no others.

use crate::branches::NO_WAY;
use crate::choice::Choice;
use crate::repair::Repair;
use crate::search::{NOWHERE, Tree};
use crate::topology::{Node, UNREACHABLE};

/// By node: the pairs that end there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    at: Vec<Vec<End>>,
    /// Scratch, by place of a class: whether it is asked about, and what was found.
    is_asked: Vec<bool>,
    found: Vec<Option<Moved>>,
    before: Branch,
    after: Branch,
}

/// A pair, seen from one of its ends.
#[derive(Clone, Copy, Debug)]
struct End {
    /// The place of its class.
    class: u32,
    other: Node,
    /// How often it is declared.
    times: u32,
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

    /// Where the branch of another node, at or above a node of it, meets the way followed.
    fn meeting(&self, tree: &Tree, mut node: Node) -> Node {
        while self.on[node as usize] != self.number {
            node = tree.parent[node as usize];
        }
        node
    }
}

/// A node that moved, with its way to the root before and after.
struct Turned<'a> {
    node: Node,
    before: &'a Tree,
    after: &'a Tree,
    was: &'a Branch,
    is: &'a Branch,
}

impl Turned<'_> {
    /// How much more the way to another node costs along the tree than it did.
    fn more(&self, other: Node, other_moved: bool) -> i64 {
        let cost = |tree: &Tree, meeting: Node| {
            let distance = |node: Node| i64::from(tree.distance[node as usize]);
            distance(self.node) + distance(other) - 2 * distance(meeting)
        };
        let is_lost = |tree: &Tree, node: Node| tree.distance[node as usize] == UNREACHABLE;
        let was_lost = is_lost(self.before, self.node) || is_lost(self.before, other);
        let now_lost = is_lost(self.after, self.node) || is_lost(self.after, other);
        let no_way = NO_WAY.cast_signed();
        let met = if was_lost {
            NOWHERE
        } else {
            self.was.meeting(self.before, other)
        };
        let was = if was_lost { no_way } else { cost(self.before, met) };
        if now_lost {
            return no_way - was;
        }
        // Who has not moved has the way to the root that it had, so the later of the two meetings lies beyond the first.
        let start = if other_moved || met == NOWHERE || self.is.on[met as usize] == self.is.number {
            other
        } else {
            met
        };
        cost(self.after, self.is.meeting(self.after, start)) - was
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
        for &(a, b, times) in &choice.pairs {
            self.at[a as usize].push(End {
                class,
                other: b,
                times,
            });
            self.at[b as usize].push(End {
                class,
                other: a,
                times,
            });
        }
    }

    /// Forgets the pairs of a class.
    pub(crate) fn remove(&mut self, class: usize, choice: &Choice) {
        for node in choice.pairs.iter().flat_map(|&(a, b, _)| [a, b]) {
            self.at[node as usize].retain(|end| end.class as usize != class);
        }
    }

    /// Which of some classes have pairs with an end that moved on the tree of a root, with what that does to them.
    pub(crate) fn moved(
        &mut self,
        classes: impl Iterator<Item = usize>,
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
            let mut followed = false;
            for &End { class, other, times } in &self.at[node as usize] {
                let class = class as usize;
                if !self.is_asked.get(class).copied().unwrap_or(false) {
                    continue;
                }
                let both = repair.is_moved(other);
                let more = match shift {
                    _ if both && node > other => 0, // counted at the other end
                    Some(_) if both || after.distance[other as usize] == UNREACHABLE => 0,
                    Some(shift) => shift,
                    None => {
                        if !followed {
                            self.before.follow(before, node);
                            self.after.follow(after, node);
                            followed = true;
                        }
                        let turned = Turned {
                            node,
                            before,
                            after,
                            was: &self.before,
                            is: &self.after,
                        };
                        turned.more(other, both)
                    }
                };
                let found = self.found[class].get_or_insert_default();
                found.more += i64::from(times) * more;
                found.shortest |= node == root || other == root;
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
