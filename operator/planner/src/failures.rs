//! What the failure of each broker would change: hops that its classes would need and do not have, pairs that nothing
//! would connect any more (the N−1 plan).

use std::sync::Arc;

use skein_api::name::{BrokerName, ClassName, TopicName};

use crate::branches::way;
use crate::choice::Choice;
use crate::class::Context;
use crate::declared::{Declared, NodeSet, Situation};
use crate::directed;
use crate::grow::{self, Flow};
use crate::plan::{Graft, Hop};
use crate::repair::Repair;
use crate::search::{NOWHERE, Tree};
use crate::topology::{Node, Topology};
use crate::trees::Trees;

/// A graft in numbers: where data goes, where it comes from, place of the class.
type Found = (Node, Node, u32);

/// What one failure changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    grafts: Vec<Found>,
    pub(crate) gaps: Vec<(TopicName, BrokerName, BrokerName)>,
}

/// One class as it is planned now.
pub(crate) struct Planned<'a> {
    pub(crate) name: &'a ClassName,
    pub(crate) topics: &'a [Arc<Declared>],
    pub(crate) choice: &'a Choice,
}

/// All classes, in a situation.
pub(crate) struct Failures<'a> {
    pub(crate) situation: &'a Situation,
    pub(crate) classes: Vec<Planned<'a>>,
}

impl Failures<'_> {
    /// For every node, what its failure changes if `substitute` says who plays its roles then.
    pub(crate) fn all(
        &mut self,
        topology: &Topology,
        trees: &mut Trees,
        substitute: impl Fn(Node) -> Option<Node>,
    ) -> Vec<Change> {
        self.classes
            .sort_unstable_by(|one, other| one.name.cmp(other.name));
        let mut changes = vec![Change::default(); topology.len()];
        let mut repair = Repair::default();
        let mut hops = Hops::default();
        for (class, planned) in (0..).zip(&self.classes) {
            let (flows, scattered) = routed(planned, topology, trees, self.situation);
            hops.read(topology, planned, &flows);
            let root = planned.choice.root().and_then(|root| self.situation.player(root));
            let declared = root.map(|root| trees.declared(topology, root));
            let mut tree = declared.clone();
            let mut passed = NodeSet::new(topology);
            for flow in flows.iter().filter(|flow| flow.way.len() > 2) {
                for &node in &flow.way[1..flow.way.len() - 1] {
                    passed.insert(node);
                }
            }
            let mut concerned = NodeSet::new(topology);
            for flow in &flows {
                // A pair that has no way today may have one from its end's substitute.
                let ends = flow
                    .players
                    .into_iter()
                    .flat_map(|(producer, consumer)| [producer, consumer]);
                for node in flow.way.iter().copied().chain(ends) {
                    concerned.insert(node);
                }
            }
            // With one-way routes and somebody out, the best tree that is left may be another whoever dies.
            if !topology.is_symmetric() && !self.situation.closed.is_empty() {
                for node in (0..).take(topology.len()) {
                    concerned.insert(node);
                }
            }
            // What hangs on the failed broker can be told from one tree only if all flows are on it as declared.
            let quick = topology.is_symmetric() && !scattered && self.situation.closed.is_empty();
            for node in concerned.iter() {
                let substitute = substitute(node);
                let change = &mut changes[node as usize];
                let failure = Failure {
                    topology,
                    planned,
                    class,
                    node,
                    substitute,
                };
                let known = change.grafts.len();
                let done = match (&declared, &mut tree) {
                    (Some(declared), Some(tree)) if quick && root != Some(node) => {
                        if passed.contains(node) || failure.passes_by_substitute(&flows, declared) {
                            let tree = Arc::make_mut(tree);
                            repair.branch(topology, tree, node, node);
                            let is_moved = |end| repair.is_moved(end);
                            let done = failure.quick(&flows, tree, is_moved, &hops, change);
                            repair.undo(tree);
                            done
                        } else {
                            failure.quick(&flows, declared, |end| end == node, &hops, change)
                        }
                    }
                    _ => false,
                };
                if !done {
                    let situation = self.situation.without(node, substitute);
                    let (after, _) = routed(planned, topology, trees, &situation);
                    failure.slow(&flows, &after, &hops, change);
                }
                compact(&mut change.grafts, known);
            }
        }
        for change in &mut changes {
            change.grafts.sort_unstable();
            change.gaps.sort_unstable();
        }
        changes
    }

    /// Grafts by name.
    pub(crate) fn grafts(&self, hops: &[Arc<Hop>], topology: &Topology, change: &Change) -> Vec<Graft> {
        let graft = |&(downstream, upstream, class): &Found| {
            Some(Graft {
                hop: hops.get(topology.place(downstream, upstream)?)?.clone(),
                class: self.classes[class as usize].name.clone(),
            })
        };
        change.grafts.iter().filter_map(graft).collect()
    }
}

/// All hops by name, by the number of the arc from where data goes to where it comes from.
pub(crate) fn hops(topology: &Topology) -> Vec<Arc<Hop>> {
    (0..topology.arc_count())
        .map(|number| {
            let (downstream, upstream) = topology.arc(number);
            Arc::new(Hop {
                downstream: topology.name(downstream).clone(),
                upstream: topology.name(upstream).clone(),
            })
        })
        .collect()
}

/// Sorts what was found since there were `known`, and drops what was found twice.
fn compact(grafts: &mut Vec<Found>, known: usize) {
    grafts[known..].sort_unstable();
    let mut kept = known;
    for place in known..grafts.len() {
        if kept == known || grafts[place] != grafts[kept - 1] {
            grafts[kept] = grafts[place];
            kept += 1;
        }
    }
    grafts.truncate(kept);
}

/// The flows of a class, routed, and whether some are not on the tree of its root.
fn routed(
    planned: &Planned,
    topology: &Topology,
    trees: &mut Trees,
    situation: &Situation,
) -> (Vec<Flow>, bool) {
    let flows = grow::flows(planned.topics, situation);
    if topology.is_symmetric() {
        Context {
            topology,
            situation,
            trees,
        }
        .route(planned.choice, flows)
    } else {
        (
            directed::route(topology, situation, planned.topics, planned.choice, &flows),
            true,
        )
    }
}

/// Which hops a class has, for quick asking.
#[derive(Default)]
struct Hops {
    /// Sorted (from, to).
    all: Vec<(Node, Node)>,
    /// By node: the only neighbour that data goes to over this class, if it is one; spares most searches.
    only: Vec<Node>,
}

impl Hops {
    fn read(&mut self, topology: &Topology, planned: &Planned, flows: &[Flow]) {
        self.all.clear();
        for flow in flows {
            let commands = !planned.topics[flow.topic].commands.is_empty();
            for hop in flow.way.windows(2) {
                self.all.push((hop[1], hop[0]));
                if commands {
                    self.all.push((hop[0], hop[1]));
                }
            }
        }
        self.all.sort_unstable();
        self.all.dedup();
        self.only.clear();
        self.only.resize(topology.len(), NOWHERE);
        for &(from, to) in &self.all {
            self.only[from as usize] = to;
        }
    }

    fn has(&self, from: Node, to: Node) -> bool {
        let only = self.only[from as usize];
        only == to || (only != NOWHERE && self.all.binary_search(&(from, to)).is_ok())
    }
}

/// One class, and one node that fails.
struct Failure<'a> {
    topology: &'a Topology,
    planned: &'a Planned<'a>,
    /// Place of the class.
    class: u32,
    node: Node,
    substitute: Option<Node>,
}

impl Failure<'_> {
    /// Whether a way to the substitute would pass the failed node on the tree as declared.
    fn passes_by_substitute(&self, flows: &[Flow], declared: &Tree) -> bool {
        let Some(substitute) = self.substitute else {
            return false;
        };
        let player = |end| if end == self.node { substitute } else { end };
        let pairs = flows.iter().filter_map(|flow| flow.players);
        pairs
            .filter(|&(producer, consumer)| producer == self.node || consumer == self.node)
            .any(|(producer, consumer)| {
                way(declared, player(consumer), player(producer)).contains(&self.node)
            })
    }

    /// Looks only at flows of which an end is moved. Returns false, having changed nothing, if the class comes apart,
    /// which takes more than one tree.
    fn quick(
        &self,
        flows: &[Flow],
        tree: &Tree,
        is_moved: impl Fn(Node) -> bool,
        hops: &Hops,
        change: &mut Change,
    ) -> bool {
        let start = (change.grafts.len(), change.gaps.len());
        for flow in flows {
            let Some((producer, consumer)) = flow.players else {
                continue;
            };
            if !is_moved(producer) && !is_moved(consumer) {
                continue;
            }
            let player = |node| {
                if node == self.node {
                    self.substitute
                } else {
                    Some(node)
                }
            };
            let (Some(producer), Some(consumer)) = (player(producer), player(consumer)) else {
                self.gap(flow, change);
                continue;
            };
            let lost = crate::topology::UNREACHABLE;
            if producer != consumer
                && (tree.distance[producer as usize] == lost || tree.distance[consumer as usize] == lost)
            {
                change.grafts.truncate(start.0);
                change.gaps.truncate(start.1);
                return false;
            }
            let commands = !self.planned.topics[flow.topic].commands.is_empty();
            let (mut from, mut to) = (producer, consumer);
            while from != to {
                // Whichever end is farther from the root takes the next step up.
                let (source, sink) = if tree.distance[from as usize] >= tree.distance[to as usize] {
                    let next = tree.parent[from as usize];
                    let hop = (from, next);
                    from = next;
                    hop
                } else {
                    let next = tree.parent[to as usize];
                    let hop = (next, to);
                    to = next;
                    hop
                };
                self.graft(source, sink, hops, change);
                if commands {
                    self.graft(sink, source, hops, change);
                }
            }
        }
        true
    }

    fn slow(&self, before: &[Flow], after: &[Flow], hops: &Hops, change: &mut Change) {
        for (before, flow) in before.iter().zip(after) {
            if flow.way.is_empty() && !before.way.is_empty() {
                self.gap(flow, change);
            }
            let commands = !self.planned.topics[flow.topic].commands.is_empty();
            for hop in flow.way.windows(2) {
                self.graft(hop[1], hop[0], hops, change);
                if commands {
                    self.graft(hop[0], hop[1], hops, change);
                }
            }
        }
    }

    fn graft(&self, from: Node, to: Node, hops: &Hops, change: &mut Change) {
        if !hops.has(from, to) {
            change.grafts.push((to, from, self.class));
        }
    }

    fn gap(&self, flow: &Flow, change: &mut Change) {
        let name = |node: Node| self.topology.name(node).clone();
        let topic = self.planned.topics[flow.topic].name.clone();
        change
            .gaps
            .push((topic, name(flow.producer), name(flow.consumer)));
    }
}
