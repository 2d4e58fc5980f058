//! Plans one class, from its root to its paths and parts, where every route costs the same both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::ClassName;

use crate::branches::between;
use crate::choice::Choice;
use crate::declared::{Declared, NodeSet, Situation};
use crate::filters::ClassFilters;
use crate::findings;
use crate::grow::{self, Former, Grown};
use crate::parts;
use crate::search::{NOWHERE, Tree};
use crate::topology::{Node, Topology, UNREACHABLE};
use crate::trees::Trees;

/// What planning one class needs where every route costs the same both ways.
pub(crate) struct Context<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) situation: &'a Situation,
    pub(crate) trees: &'a mut Trees,
}

impl Context<'_> {
    /// Finds the ways of flows that have none yet, and whether some are not on the tree of the class's root: either
    /// nothing connects them, or the fleet has come apart.
    pub(crate) fn route(&mut self, choice: &Choice, mut flows: Vec<grow::Flow>) -> (Vec<grow::Flow>, bool) {
        let closed = &self.situation.closed;
        if let Some(root) = choice.root().and_then(|root| self.situation.player(root)) {
            // Who is on nobody's way may die without moving anything, though the tree beyond would look different.
            grow::route(&mut flows, &self.trees.declared(self.topology, root));
            let is_closed = |node: &Node| closed.binary_search(node).is_ok();
            if !closed.is_empty() && flows.iter().any(|flow| flow.way.iter().any(is_closed)) {
                for flow in &mut flows {
                    flow.way.clear();
                }
                grow::route(&mut flows, &self.trees.avoiding(self.topology, root, closed));
            }
        }
        let scattered = flows.iter().any(|flow| flow.way.is_empty());
        self.route_stranded(&mut flows);
        (flows, scattered)
    }

    /// Plans the class.
    pub(crate) fn grow(
        mut self,
        name: &ClassName,
        topics: &[Arc<Declared>],
        choice: &Choice,
        filters: &mut ClassFilters,
        former: Option<Former>,
    ) -> Grown {
        let player = choice.root().and_then(|root| self.situation.player(root));
        let flows = former
            .and_then(|former| former.kept())
            .unwrap_or_else(|| grow::flows(topics, self.situation));
        let (flows, scattered) = self.route(choice, flows);
        let shortest = self.shortest(&flows, player);
        let paths = grow::paths(self.topology, topics, &flows, former, |flow| shortest[flow]);
        let (laid, widened) = parts::lay(
            self.topology,
            name,
            topics,
            &flows,
            filters,
            former.map(|former| (former.laid, former.flows)),
        );
        let root = player.map(|player| self.topology.name(player).clone());
        let class = grow::class(name, topics, root, paths, Arc::clone(&laid.links));
        let mut findings = findings::of_class(
            self.topology,
            self.situation,
            &class,
            topics,
            &laid,
            &BTreeSet::new(),
        );
        findings.extend(findings::widened(&class, &widened));
        Grown {
            class,
            flows,
            laid,
            widened,
            findings,
            scattered,
        }
    }

    /// Where the fleet has come apart, each part that holds both ends of some pair gets a tree of its own.
    fn route_stranded(&mut self, flows: &mut [grow::Flow]) {
        let closed = &self.situation.closed;
        let mut tried: BTreeSet<Node> = BTreeSet::new();
        loop {
            let stranded: Vec<(Node, Node)> = flows
                .iter()
                .filter(|flow| flow.way.is_empty())
                .filter_map(|flow| flow.players)
                .collect();
            // A broker that was reached from another root lies in a part that has been dealt with.
            let Some(&(start, _)) = stranded.iter().find(|(producer, _)| !tried.contains(producer)) else {
                return;
            };
            let part = self.trees.avoiding(self.topology, start, closed);
            let inside = |node: Node| part.distance[node as usize] != UNREACHABLE;
            let pairs: Vec<(Node, Node)> = stranded
                .into_iter()
                .filter(|&(producer, consumer)| inside(producer) && inside(consumer))
                .collect();
            tried.extend(
                flows
                    .iter()
                    .filter_map(|flow| flow.players)
                    .map(|(producer, _)| producer)
                    .filter(|&node| inside(node)),
            );
            tried.insert(start);
            let roots: BTreeSet<Node> = pairs
                .iter()
                .flat_map(|&(producer, consumer)| [producer, consumer])
                .collect();
            // As with the class's own root, who is down elsewhere has no say.
            let best = roots.into_iter().min_by_key(|&root| {
                let tree = self.trees.declared(self.topology, root);
                let total: u64 = pairs.iter().map(|&(a, b)| between(&tree, a, b)).sum();
                (total, root)
            });
            if let Some(best) = best {
                let tree = self.trees.avoiding(self.topology, best, closed);
                grow::route(flows, &tree);
            }
        }
    }

    /// For each flow, the cost of its shortest way, unless its path on a tree of `root` is just that.
    pub(crate) fn shortest(&mut self, flows: &[grow::Flow], root: Option<Node>) -> Vec<Option<u32>> {
        // The shortest way of a pair is on the tree of its producer.
        let closed = &self.situation.closed;
        let mut avoiding: BTreeMap<Node, Arc<Tree>> = BTreeMap::new();
        flows
            .iter()
            .map(|flow| {
                let (producer, consumer) = flow.players?;
                if Some(producer) == root || Some(consumer) == root || producer == consumer {
                    return None;
                }
                let declared = self.trees.declared(self.topology, producer);
                let distance = if passes(&declared, consumer, closed) {
                    let tree = avoiding
                        .entry(producer)
                        .or_insert_with(|| self.trees.avoiding(self.topology, producer, closed));
                    tree.distance[consumer as usize]
                } else {
                    declared.distance[consumer as usize]
                };
                Some(distance).filter(|&distance| distance != UNREACHABLE)
            })
            .collect()
    }

    /// Every node that matters to the class while all brokers are healthy.
    pub(crate) fn uses(&mut self, topics: &[Arc<Declared>], root: Option<Node>) -> NodeSet {
        let mut uses = NodeSet::new(self.topology);
        let Some(root) = root else { return uses };
        let tree = self.trees.declared(self.topology, root);
        uses.insert(root);
        for (producer, consumer) in topics.iter().flat_map(|topic| topic.pairs()) {
            for mut node in [producer, consumer] {
                while uses.insert(node) && tree.parent[node as usize] != NOWHERE {
                    node = tree.parent[node as usize];
                }
            }
        }
        for (producer, consumer) in topics.iter().flat_map(|topic| topic.pairs()) {
            if producer != root && consumer != root {
                let shortest = self.trees.declared(self.topology, producer);
                let mut node = consumer;
                while node != producer && shortest.parent[node as usize] != NOWHERE {
                    uses.insert(node);
                    node = shortest.parent[node as usize];
                }
            }
        }
        uses
    }
}

/// Whether the way from a node to the root meets any of some nodes.
fn passes(tree: &Tree, mut node: Node, closed: &[Node]) -> bool {
    while !closed.is_empty() && node != NOWHERE {
        if closed.binary_search(&node).is_ok() {
            return true;
        }
        node = tree.parent[node as usize];
    }
    false
}
