//! Distances between two nodes along a tree.
//!
//! The way from one node to another goes up to where their branches meet and down again, so its cost is both distances
//! to the root less twice that of the meeting point.

use crate::search::{NOWHERE, Tree};
use crate::topology::{Node, UNREACHABLE};

/// What a pair that cannot be connected adds to a total: more than any path could cost.
pub(crate) const NO_WAY: u64 = 1 << 40;

/// Cost of the way between two nodes along the tree; [`NO_WAY`] if either is not on it.
///
/// Walks; for many pairs on one tree use [`Meetings`].
#[must_use]
pub(crate) fn between(tree: &Tree, a: Node, b: Node) -> u64 {
    let distance = &tree.distance;
    if distance[a as usize] == UNREACHABLE || distance[b as usize] == UNREACHABLE {
        return if a == b { 0 } else { NO_WAY };
    }
    let meeting = meeting(tree, a, b);
    u64::from(distance[a as usize]) + u64::from(distance[b as usize])
        - 2 * u64::from(distance[meeting as usize])
}

/// Where the branches of two nodes on the tree meet.
#[must_use]
pub(crate) fn meeting(tree: &Tree, mut a: Node, mut b: Node) -> Node {
    // Every step away from the root costs at least 1, so of two different nodes the farther one is no ancestor.
    while a != b {
        let up = if tree.distance[a as usize] >= tree.distance[b as usize] {
            &mut a
        } else {
            &mut b
        };
        *up = tree.parent[*up as usize];
    }
    a
}

/// The nodes from `from` to `to` along the tree, both included; empty if either is not on it.
#[must_use]
pub(crate) fn way(tree: &Tree, from: Node, to: Node) -> Vec<Node> {
    if from != to
        && (tree.distance[from as usize] == UNREACHABLE || tree.distance[to as usize] == UNREACHABLE)
    {
        return Vec::new();
    }
    let meeting = if from == to { from } else { meeting(tree, from, to) };
    let up = |mut node: Node| {
        let mut steps = 0;
        while node != meeting {
            node = tree.parent[node as usize];
            steps += 1;
        }
        steps
    };
    let mut way = Vec::with_capacity(up(from) + 1 + up(to));
    let mut node = from;
    while node != meeting {
        way.push(node);
        node = tree.parent[node as usize];
    }
    way.push(meeting);
    let turn = way.len();
    node = to;
    while node != meeting {
        way.push(node);
        node = tree.parent[node as usize];
    }
    way[turn..].reverse();
    way
}

/// Answers distances along one tree in constant time.
///
/// In depth-first order, the nodes between two others hang on their meeting point or below it, and one of them hangs
/// right on it; so the least distance of a parent in that stretch is the distance of the meeting point. A table of
/// minima over stretches of 1, 2, 4, … nodes gives it in two look-ups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meetings {
    /// Place of a node in depth-first order; `u32::MAX` if it is not on the tree.
    place: Vec<u32>,
    /// Row k: for each place, the least parent distance of the 2^k places from there on.
    minima: Vec<u32>,
    width: usize,
    child: Vec<Node>,
    sibling: Vec<Node>,
    stack: Vec<Node>,
}

impl Meetings {
    /// Takes a tree in.
    pub(crate) fn read(&mut self, tree: &Tree) {
        let count = tree.parent.len();
        self.child.clear();
        self.child.resize(count, NOWHERE);
        self.sibling.clear();
        self.sibling.resize(count, NOWHERE);
        self.place.clear();
        self.place.resize(count, u32::MAX);
        self.minima.clear();
        let mut root = NOWHERE;
        for (node, &parent) in (0..).zip(&tree.parent) {
            if parent != NOWHERE {
                self.sibling[node as usize] = self.child[parent as usize];
                self.child[parent as usize] = node;
            } else if tree.distance[node as usize] == 0 {
                root = node;
            }
        }
        if root == NOWHERE {
            return;
        }
        self.stack.push(root);
        let mut next = 0;
        while let Some(node) = self.stack.pop() {
            self.place[node as usize] = next;
            next += 1;
            let parent = tree.parent[node as usize];
            self.minima.push(if parent == NOWHERE {
                0
            } else {
                tree.distance[parent as usize]
            });
            let mut child = self.child[node as usize];
            while child != NOWHERE {
                self.stack.push(child);
                child = self.sibling[child as usize];
            }
        }
        self.width = next as usize;
        let mut reach = 1;
        while 2 * reach <= self.width {
            let row = self.minima.len() - self.width;
            self.minima.extend_from_within(row..);
            let (known, fresh) = self.minima.split_at_mut(row + self.width);
            for (here, &there) in fresh.iter_mut().zip(&known[row + reach..]) {
                *here = there.min(*here);
            }
            reach *= 2;
        }
    }

    /// As [`between`], for the tree that was read.
    #[must_use]
    pub(crate) fn between(&self, tree: &Tree, a: Node, b: Node) -> u64 {
        let (first, last) = (self.place[a as usize], self.place[b as usize]);
        if a == b {
            return 0;
        }
        if first == u32::MAX || last == u32::MAX {
            return NO_WAY;
        }
        let (start, end) = (first.min(last) as usize + 1, first.max(last) as usize + 1);
        let level = (end - start).ilog2();
        let row = level as usize * self.width;
        let meeting = self.minima[row + start].min(self.minima[row + end - (1 << level)]);
        u64::from(tree.distance[a as usize]) + u64::from(tree.distance[b as usize]) - 2 * u64::from(meeting)
    }
}
