//! Shortest-path trees from scratch (`repair` mends them after a change).
//!
//! A tree is canonical: of several equally short ways, each node takes the neighbour with the smallest number. So a
//! repaired tree equals the one that a search from scratch finds, whatever the order of work. The price: such a tie is
//! settled alike for every class, so ways between two brokers that are not the root may be longer than on another tree
//! that is as short from the root (their stretch says so).

use crate::topology::{Node, Topology, UNREACHABLE};

/// No parent: the root itself, or a node that cannot be reached.
pub const NOWHERE: Node = Node::MAX;

/// Distances from, and the next hop towards, one root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Distance to the root, by node; [`UNREACHABLE`] if there is no way.
    pub distance: Vec<u32>,
    /// Next node towards the root, by node; [`NOWHERE`] for the root and the unreachable.
    pub parent: Vec<Node>,
}

/// Which way data flows in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// From the leaves to the root: a consumer's tree.
    ToRoot,
    /// From the root to the leaves: a producer's tree.
    FromRoot,
    /// Both ways over routes that allow it, at the cost of the dearer way.
    Both,
    /// Over any route in either direction; whether flows fit is for the caller to see.
    Any,
}

/// Searches from scratch, with their working memory; reuse it.
///
/// Dial's algorithm: distances are small integers, so a ring of buckets one wider than the dearest route replaces a heap, and
/// a bit per bucket finds the next full one.
#[derive(Clone, Debug, Default)]
pub struct Search {
    buckets: Vec<Vec<Node>>,
    full: Vec<u64>,
    waiting: usize,
}

impl Search {
    /// The tree of shortest ways between `root` and all others. `closed` nodes are passed by nobody.
    pub fn tree(&mut self, topology: &Topology, root: Node, flow: Flow, closed: &[Node]) -> Tree {
        let count = topology.len();
        let mut tree = Tree {
            distance: vec![UNREACHABLE; count],
            parent: vec![NOWHERE; count],
        };
        self.grow(topology, root, flow, closed, &mut tree);
        tree
    }

    /// As [`Search::tree`], into memory that is there already.
    pub fn grow(&mut self, topology: &Topology, root: Node, flow: Flow, closed: &[Node], tree: &mut Tree) {
        tree.distance.clear();
        tree.distance.resize(topology.len(), UNREACHABLE);
        tree.parent.clear();
        tree.parent.resize(topology.len(), NOWHERE);
        if closed.contains(&root) {
            return;
        }
        self.prepare(topology);
        tree.distance[root as usize] = 0;
        self.push(0, root);
        let arcs = |node: Node| topology.arcs(node).iter();
        match flow {
            Flow::ToRoot => self.run(closed, tree, |node| arcs(node).map(|arc| (arc.to, arc.inward))),
            Flow::FromRoot => self.run(closed, tree, |node| arcs(node).map(|arc| (arc.to, arc.outward))),
            Flow::Both => self.run(closed, tree, |node| {
                topology.steps(node).iter().map(|step| (step.to, step.cost))
            }),
            Flow::Any => self.run(closed, tree, |node| {
                arcs(node).map(|arc| (arc.to, arc.inward.min(arc.outward)))
            }),
        }
    }

    /// As [`Search::tree`] with [`Flow::Any`], over no pair of neighbours that `barred` names.
    pub(crate) fn tree_without(
        &mut self,
        topology: &Topology,
        root: Node,
        closed: &[Node],
        barred: impl Fn(Node, Node) -> bool,
    ) -> Tree {
        let count = topology.len();
        let mut tree = Tree {
            distance: vec![UNREACHABLE; count],
            parent: vec![NOWHERE; count],
        };
        if !closed.contains(&root) {
            self.prepare(topology);
            tree.distance[root as usize] = 0;
            self.push(0, root);
            let barred = &barred;
            self.run(closed, &mut tree, |from| {
                let arcs = topology
                    .arcs(from)
                    .iter()
                    .filter(move |arc| !barred(from, arc.to));
                arcs.map(|arc| (arc.to, arc.inward.min(arc.outward)))
            });
        }
        tree
    }

    fn prepare(&mut self, topology: &Topology) {
        // A power of two, so that finding a bucket is a mask and not a division.
        let width = (topology.highest_cost() as usize + 1).next_power_of_two();
        if self.buckets.len() < width {
            self.buckets.resize(width, Vec::new());
        }
        self.full.resize(self.buckets.len().div_ceil(64), 0);
        self.waiting = 0;
    }

    fn push(&mut self, distance: u32, node: Node) {
        let place = distance as usize & (self.buckets.len() - 1);
        self.buckets[place].push(node);
        self.full[place / 64] |= 1 << (place % 64);
        self.waiting += 1;
    }

    /// The next full bucket at or after `distance`, as a distance.
    fn next_full(&self, distance: u32) -> u32 {
        let mask = self.buckets.len() - 1;
        let start = distance as usize & mask;
        let mut word = start / 64;
        let mut bits = self.full[word] & (u64::MAX << (start % 64));
        loop {
            if bits != 0 {
                let place = word * 64 + bits.trailing_zeros() as usize;
                let ahead = place.wrapping_sub(start) & mask;
                #[expect(clippy::cast_possible_truncation, reason = "there are at most 16,384 buckets")]
                return distance + ahead as u32;
            }
            word = if word + 1 == self.full.len() { 0 } else { word + 1 };
            bits = self.full[word];
        }
    }

    /// `steps` gives the neighbours of a node, and what it costs to go on to them; [`UNREACHABLE`] if nothing may.
    fn run<Steps: Iterator<Item = (Node, u32)>>(
        &mut self,
        closed: &[Node],
        tree: &mut Tree,
        steps: impl Fn(Node) -> Steps,
    ) {
        let mask = self.buckets.len() - 1;
        let mut distance = 0;
        let mut batch = Vec::new();
        while self.waiting > 0 {
            distance = self.next_full(distance);
            let place = distance as usize & mask;
            std::mem::swap(&mut batch, &mut self.buckets[place]);
            self.full[place / 64] &= !(1 << (place % 64));
            self.waiting -= batch.len();
            for node in batch.drain(..) {
                if tree.distance[node as usize] != distance {
                    continue; // a shorter way was found after this one was noted
                }
                for (to, step) in steps(node) {
                    // What cannot be passed leads nowhere nearer than what has not been reached.
                    let through = distance.saturating_add(step);
                    let known = tree.distance[to as usize];
                    if through > known || through == UNREACHABLE {
                        continue;
                    }
                    if through < known {
                        if !closed.is_empty() && closed.contains(&to) {
                            continue;
                        }
                        tree.distance[to as usize] = through;
                        tree.parent[to as usize] = node;
                        self.push(through, to);
                    } else if node < tree.parent[to as usize] && known != 0 {
                        tree.parent[to as usize] = node;
                    }
                }
            }
        }
    }
}
