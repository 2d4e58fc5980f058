//! Which broker a class's tree grows from.
//!
//! One consumer: there, so every path is the shortest. One producer: likewise. Several of both: the declared producer or
//! consumer with the least total path cost, the smaller name among equals. The choice is made on what is *declared*, with every
//! broker taken as healthy, so that a failure re-roots no class but the dead root's own.

use std::collections::BTreeSet;

use crate::branches::{Meetings, between};
use crate::declared::Declared;
use crate::search::Tree;
use crate::topology::Node;

/// The pairs of a class and what each possible root would make them cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Unordered pairs (smaller node first) with how often they are declared; sorted.
    pub(crate) pairs: Vec<(Node, Node, u32)>,
    /// The only root there is.
    fixed: Option<Node>,
    /// Else the possible roots, sorted.
    pub(crate) candidates: Vec<Node>,
    /// Total path cost by candidate.
    pub(crate) totals: Vec<u64>,
}

impl Choice {
    /// The choice a class has, totals still to be found.
    pub(crate) fn new<'a>(topics: impl Iterator<Item = &'a Declared> + Clone) -> Self {
        let mut pairs: Vec<(Node, Node)> = topics
            .clone()
            .flat_map(Declared::pairs)
            .filter(|(producer, consumer)| producer != consumer)
            .map(|(producer, consumer)| (producer.min(consumer), producer.max(consumer)))
            .collect();
        pairs.sort_unstable();
        let pairs = pairs
            .chunk_by(|one, other| one == other)
            .map(|same| (same[0].0, same[0].1, times(same.len())));
        let consumers: BTreeSet<Node> = topics
            .clone()
            .flat_map(|topic| &topic.consumers)
            .copied()
            .collect();
        let producers: BTreeSet<Node> = topics.flat_map(|topic| &topic.producers).copied().collect();
        let only = |nodes: &BTreeSet<Node>| nodes.first().copied().filter(|_| nodes.len() == 1);
        let fixed = only(&consumers).or_else(|| only(&producers));
        let candidates = match fixed {
            Some(_) => Vec::new(),
            None => consumers.union(&producers).copied().collect(),
        };
        Self {
            pairs: pairs.collect(),
            fixed,
            candidates,
            totals: Vec::new(),
        }
    }

    /// The root: the candidate with the least total, or the only one. `None` if the class has no ends at all.
    pub(crate) fn root(&self) -> Option<Node> {
        self.fixed.or_else(|| {
            self.candidates
                .iter()
                .zip(&self.totals)
                .min_by_key(|&(&node, &total)| (total, node))
                .map(|(&node, _)| node)
        })
    }

    /// Every node whose tree the choice depends on.
    pub(crate) fn roots(&self) -> impl Iterator<Item = Node> {
        self.candidates.iter().copied().chain(self.fixed)
    }

    /// What the pairs cost along the tree that was read.
    pub(crate) fn total(&self, tree: &Tree, meetings: &Meetings) -> u64 {
        self.pairs
            .iter()
            .map(|&(a, b, times)| u64::from(times) * meetings.between(tree, a, b))
            .sum()
    }

    /// The totals, from those of a choice that was much like this one: only what differs is walked.
    pub(crate) fn total_like(&mut self, old: &Self, mut tree: impl FnMut(Node) -> std::sync::Arc<Tree>) {
        let (gone, new) = difference(&old.pairs, &self.pairs);
        let few = gone.len() + new.len() < self.pairs.len();
        self.totals = self
            .candidates
            .iter()
            .map(|&candidate| {
                let tree = tree(candidate);
                let walk = |pairs: &[(Node, Node, u32)]| -> u64 {
                    pairs
                        .iter()
                        .map(|&(a, b, times)| u64::from(times) * between(&tree, a, b))
                        .sum()
                };
                match old.candidates.binary_search(&candidate) {
                    Ok(place) if few => old.totals[place] + walk(&new) - walk(&gone),
                    _ => walk(&self.pairs),
                }
            })
            .collect();
    }

    /// Corrects the total of one candidate after its tree changed.
    pub(crate) fn correct(&mut self, root: Node, more: i64) {
        if let Ok(place) = self.candidates.binary_search(&root) {
            self.totals[place] = self.totals[place].saturating_add_signed(more);
        }
    }
}

fn times(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

type Pairs = Vec<(Node, Node, u32)>;

/// What only the first has, and what only the second has.
fn difference(old: &[(Node, Node, u32)], new: &[(Node, Node, u32)]) -> (Pairs, Pairs) {
    let only = |these: &[(Node, Node, u32)], those: &[(Node, Node, u32)]| {
        these
            .iter()
            .filter(|pair| those.binary_search(pair).is_err())
            .copied()
            .collect()
    };
    (only(old, new), only(new, old))
}
