//! Mends a shortest-path tree after one change, at a cost that follows the size of what moved.
//!
//! Only for topologies that cost the same both ways. The result equals a search from scratch (see `search` on canonical
//! trees), and can be taken back, which makes "what if this broker died" cheap to ask a thousand times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::search::{NOWHERE, Tree};
use crate::topology::{Node, Topology, UNREACHABLE};

/// Working memory of repairs, and the record of the last one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repair {
    heap: BinaryHeap<Reverse<(u32, Node)>>,
    /// Node, distance and parent before the repair.
    before: Vec<(Node, u32, Node)>,
    moved: Vec<Node>,
    is_moved: Vec<bool>,
}

impl Repair {
    /// After the ways through `broken` got worse or were lost: the whole branch of the tree that hangs on it finds its
    /// best place anew. `closed` is passed by nobody; give [`NOWHERE`] if all nodes are open.
    pub(crate) fn branch(&mut self, topology: &Topology, tree: &mut Tree, broken: Node, closed: Node) {
        self.begin(topology);
        if tree.distance[broken as usize] == UNREACHABLE {
            return;
        }
        self.mark(broken);
        let mut next = 0;
        while let Some(&node) = self.moved.get(next) {
            next += 1;
            for arc in topology.arcs(node) {
                if tree.parent[arc.to as usize] == node {
                    self.mark(arc.to);
                }
            }
        }
        for &node in &self.moved {
            let place = node as usize;
            self.before.push((node, tree.distance[place], tree.parent[place]));
            tree.distance[place] = UNREACHABLE;
            tree.parent[place] = NOWHERE;
        }
        for &node in &self.moved {
            if node == closed {
                continue;
            }
            let (mut best, mut parent) = (UNREACHABLE, NOWHERE);
            for arc in topology.arcs(node) {
                let there = tree.distance[arc.to as usize];
                if arc.outward == UNREACHABLE || there == UNREACHABLE || self.is_moved[arc.to as usize] {
                    continue;
                }
                // Neighbours come in their order, so the first of equals is the smallest.
                if there + arc.outward < best {
                    (best, parent) = (there + arc.outward, arc.to);
                }
            }
            if best != UNREACHABLE {
                tree.distance[node as usize] = best;
                tree.parent[node as usize] = parent;
                self.heap.push(Reverse((best, node)));
            }
        }
        while let Some(Reverse((distance, node))) = self.heap.pop() {
            if tree.distance[node as usize] != distance {
                continue;
            }
            for arc in topology.arcs(node) {
                let place = arc.to as usize;
                if arc.outward == UNREACHABLE || !self.is_moved[place] || arc.to == closed {
                    continue;
                }
                let through = distance + arc.outward;
                if through < tree.distance[place] {
                    tree.distance[place] = through;
                    tree.parent[place] = node;
                    self.heap.push(Reverse((through, arc.to)));
                } else if through == tree.distance[place] && node < tree.parent[place] {
                    tree.parent[place] = node;
                }
            }
        }
    }

    /// After the way between `a` and `b` got better or was opened.
    pub(crate) fn shortcut(&mut self, topology: &Topology, tree: &mut Tree, a: Node, b: Node) {
        self.begin(topology);
        let cost = topology.cost(a, b);
        if cost == UNREACHABLE {
            return;
        }
        self.relax(tree, a, b, cost);
        self.relax(tree, b, a, cost);
        while let Some(Reverse((distance, node))) = self.heap.pop() {
            if tree.distance[node as usize] != distance {
                continue;
            }
            for arc in topology.arcs(node) {
                if arc.outward != UNREACHABLE {
                    self.relax(tree, node, arc.to, arc.outward);
                }
            }
        }
        // A node that stayed where it was moves with its parent.
        let mut next = 0;
        while let Some(&node) = self.moved.get(next) {
            next += 1;
            for arc in topology.arcs(node) {
                if tree.parent[arc.to as usize] == node {
                    self.mark(arc.to);
                }
            }
        }
    }

    fn relax(&mut self, tree: &mut Tree, from: Node, to: Node, cost: u32) {
        let here = tree.distance[from as usize];
        let known = tree.distance[to as usize];
        if here == UNREACHABLE || known == 0 {
            return;
        }
        let through = here + cost;
        if through > known || (through == known && from >= tree.parent[to as usize]) {
            return;
        }
        if self.mark(to) {
            self.before.push((to, known, tree.parent[to as usize]));
        }
        tree.distance[to as usize] = through;
        tree.parent[to as usize] = from;
        if through < known {
            self.heap.push(Reverse((through, to)));
        }
    }

    /// Whether a node's way to the root may differ from before.
    pub(crate) fn is_moved(&self, node: Node) -> bool {
        self.is_moved[node as usize]
    }

    /// The nodes whose way to the root may differ from before.
    pub(crate) fn moved(&self) -> &[Node] {
        &self.moved
    }

    /// By how much all nodes that moved are farther from the root than before, if they still hang where they hung.
    pub(crate) fn shift(&self, tree: &Tree) -> Option<i64> {
        let &(first, distance, _) = self.before.first()?;
        let same = |&(node, _, parent): &(Node, u32, Node)| tree.parent[node as usize] == parent;
        self.before
            .iter()
            .all(same)
            .then(|| i64::from(tree.distance[first as usize]) - i64::from(distance))
    }

    /// Takes the last repair back.
    pub(crate) fn undo(&mut self, tree: &mut Tree) {
        for (node, distance, parent) in self.before.drain(..) {
            tree.distance[node as usize] = distance;
            tree.parent[node as usize] = parent;
        }
    }

    fn begin(&mut self, topology: &Topology) {
        for node in self.moved.drain(..) {
            self.is_moved[node as usize] = false;
        }
        self.is_moved.resize(topology.len(), false);
        self.before.clear();
        self.heap.clear();
    }

    fn mark(&mut self, node: Node) -> bool {
        let new = !self.is_moved[node as usize];
        if new {
            self.is_moved[node as usize] = true;
            self.moved.push(node);
        }
        new
    }
}
