//! Brokers and routes as a compact graph: nodes are numbers in name order, arcs point the way data may flow.
//!
//! Knows nothing of topics. A node number is only meaningful together with the topology that gave it.

use std::collections::BTreeMap;

use skein_api::fleet::{Fleet, Route};
use skein_api::name::BrokerName;

/// A broker's number: its place among all declared brokers, sorted by name. Smaller number, smaller name.
pub type Node = u32;

/// The cost of something that cannot be.
pub const UNREACHABLE: u32 = u32::MAX;

/// One way out of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arc {
    /// The neighbour.
    pub to: Node,
    /// Cost of data flowing from the node to `to`; [`UNREACHABLE`] if it may not.
    pub outward: u32,
    /// Cost of data flowing from `to` to the node; [`UNREACHABLE`] if it may not.
    pub inward: u32,
}

/// A way out of a node that is taken in both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) to: Node,
    /// The cost of the dearer direction; [`UNREACHABLE`] if data may not flow both ways.
    pub(crate) cost: u32,
}

impl Step {
    fn new(arc: Arc) -> Self {
        Self {
            to: arc.to,
            cost: arc.inward.max(arc.outward),
        }
    }
}

/// The graph of a fleet: compressed adjacency, one arc per neighbour, in neighbour order.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    names: Vec<BrokerName>,
    offsets: Vec<u32>,
    arcs: Vec<Arc>,
    /// By arc: what most searches need of it, side by side.
    steps: Vec<Step>,
    /// By arc: the node it leaves.
    sources: Vec<Node>,
    controlled: Vec<bool>,
    asymmetric_pairs: usize,
    highest_cost: u32,
}

impl Topology {
    /// The graph of a fleet's open routes. Routes between two brokers of which neither is controlled are left out, for
    /// nobody could hold the connection.
    #[must_use]
    pub fn new(fleet: &Fleet) -> Self {
        let names: Vec<BrokerName> = fleet.brokers.keys().cloned().collect();
        let controlled: Vec<bool> = fleet
            .brokers
            .values()
            .map(skein_api::fleet::Broker::is_controlled)
            .collect();
        let mut topology = Self {
            names,
            controlled,
            ..Self::default()
        };
        // Every declared pair has its place, also while all its routes are paused, so that opening one moves nothing.
        let mut pairs: Vec<(Node, Node)> = Vec::with_capacity(fleet.routes.len() * 2);
        let mut costs: BTreeMap<(Node, Node), u32> = BTreeMap::new();
        for route in fleet.routes.values() {
            let Some((a, b)) = topology.ends(route) else {
                continue;
            };
            pairs.extend([(a, b), (b, a)]);
            if route.paused {
                continue;
            }
            let cost = u32::from(route.cost.get());
            let mut open = |from, to| {
                let known = costs.entry((from, to)).or_insert(UNREACHABLE);
                *known = cost.min(*known);
            };
            open(a, b);
            if !route.one_way {
                open(b, a);
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        let cost = |from, to| costs.get(&(from, to)).copied().unwrap_or(UNREACHABLE);
        topology.offsets = vec![0; topology.names.len() + 1];
        for &(from, to) in &pairs {
            topology.offsets[from as usize + 1] += 1;
            topology.sources.push(from);
            topology.arcs.push(Arc {
                to,
                outward: cost(from, to),
                inward: cost(to, from),
            });
        }
        for node in 0..topology.names.len() {
            topology.offsets[node + 1] += topology.offsets[node];
        }
        topology.steps = topology.arcs.iter().map(|&arc| Step::new(arc)).collect();
        topology.count();
        topology
    }

    fn count(&mut self) {
        self.asymmetric_pairs = self.arcs.iter().filter(|arc| arc.outward != arc.inward).count() / 2;
        self.highest_cost = self
            .arcs
            .iter()
            .map(|arc| arc.outward)
            .filter(|&cost| cost != UNREACHABLE)
            .max()
            .unwrap_or(0);
    }

    /// The ends of a route, if both are declared, differ, and one can hold a connection.
    #[must_use]
    pub fn ends(&self, route: &Route) -> Option<(Node, Node)> {
        let (a, b) = (self.node(&route.a)?, self.node(&route.b)?);
        (a != b && (self.is_controlled(a) || self.is_controlled(b))).then_some((a, b))
    }

    /// Takes over what the routes between two brokers, all of them, are now.
    ///
    /// Returns the arc from the smaller to the larger end before and after; `None` if the pair is new, so that the
    /// topology must be made anew.
    pub fn update<'a>(
        &mut self,
        (a, b): (Node, Node),
        routes: impl Iterator<Item = &'a Route>,
    ) -> Option<(Arc, Arc)> {
        let (a, b) = (a.min(b), a.max(b));
        let mut now = Arc {
            to: b,
            outward: UNREACHABLE,
            inward: UNREACHABLE,
        };
        for route in routes.filter(|route| !route.paused) {
            let cost = u32::from(route.cost.get());
            let from_a = route.a == self.names[a as usize];
            if from_a || !route.one_way {
                now.outward = now.outward.min(cost);
            }
            if !from_a || !route.one_way {
                now.inward = now.inward.min(cost);
            }
        }
        let (place, back) = (self.place(a, b)?, self.place(b, a)?);
        let before = std::mem::replace(&mut self.arcs[place], now);
        self.arcs[back] = Arc {
            to: a,
            outward: now.inward,
            inward: now.outward,
        };
        self.steps[place] = Step::new(now);
        self.steps[back] = Step::new(self.arcs[back]);
        if before != now {
            self.count();
        }
        Some((before, now))
    }

    /// The ends of the arc that has a number: from, to.
    pub(crate) fn arc(&self, number: usize) -> (Node, Node) {
        (self.sources[number], self.arcs[number].to)
    }

    /// The number of the arc from one neighbour to another: its place in the order of (from, to).
    pub(crate) fn place(&self, from: Node, to: Node) -> Option<usize> {
        let start = self.offsets[from as usize] as usize;
        self.arcs(from)
            .binary_search_by_key(&to, |arc| arc.to)
            .ok()
            .map(|place| start + place)
    }

    /// The number of a pair of neighbours, in the order of (smaller, larger) node.
    pub(crate) fn pair_number(&self, a: Node, b: Node) -> Option<u32> {
        self.place(a.min(b), a.max(b))
            .and_then(|place| u32::try_from(place).ok())
    }

    /// The pair that has a number: smaller node, larger node.
    pub(crate) fn pair(&self, number: u32) -> (Node, Node) {
        (self.sources[number as usize], self.arcs[number as usize].to)
    }

    /// How many arcs there are; two for each pair of neighbours.
    pub(crate) fn arc_count(&self) -> usize {
        self.arcs.len()
    }

    /// How many brokers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// There are no brokers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The number of a broker.
    #[must_use]
    pub fn node(&self, name: &BrokerName) -> Option<Node> {
        self.names
            .binary_search(name)
            .ok()
            .and_then(|node| Node::try_from(node).ok())
    }

    /// The name of a broker.
    #[must_use]
    pub fn name(&self, node: Node) -> &BrokerName {
        &self.names[node as usize]
    }

    /// All names, by number.
    #[must_use]
    pub fn names(&self) -> &[BrokerName] {
        &self.names
    }

    /// Skein writes this broker's configuration.
    #[must_use]
    pub fn is_controlled(&self, node: Node) -> bool {
        self.controlled[node as usize]
    }

    /// The neighbours of a node, in their order; paused ones included, with no way to them.
    #[must_use]
    pub fn arcs(&self, node: Node) -> &[Arc] {
        &self.arcs[self.offsets[node as usize] as usize..self.offsets[node as usize + 1] as usize]
    }

    /// As [`Topology::arcs`], for ways that are taken in both directions.
    pub(crate) fn steps(&self, node: Node) -> &[Step] {
        &self.steps[self.offsets[node as usize] as usize..self.offsets[node as usize + 1] as usize]
    }

    /// Cost of data flowing from one neighbour to another; [`UNREACHABLE`] if it may not.
    #[must_use]
    pub fn cost(&self, from: Node, to: Node) -> u32 {
        self.place(from, to)
            .map_or(UNREACHABLE, |place| self.arcs[place].outward)
    }

    /// Every open pair costs the same both ways, so a tree serves flows in either direction.
    #[must_use]
    pub fn is_symmetric(&self) -> bool {
        self.asymmetric_pairs == 0
    }

    /// The highest cost of any open arc; 0 if there is none.
    #[must_use]
    pub fn highest_cost(&self) -> u32 {
        self.highest_cost
    }
}
