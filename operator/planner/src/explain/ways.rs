//! Shortest ways for single questions: what a pair would take on its own, what a detour would cost.

use serde::Serialize;
use skein_api::fleet::{Fleet, Route};
use skein_api::name::{BrokerName, RouteName};

use crate::plan::View;
use crate::search::{Flow, NOWHERE, Search, Tree};
use crate::topology::{Node, Topology, UNREACHABLE};

/// A way through the fleet and what it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Way {
    /// The brokers, the one that data reaches last first.
    pub path: Vec<BrokerName>,
    /// Sum of the route costs.
    pub cost: u32,
}

/// The ways that a fleet's open routes and healthy brokers leave.
pub(super) struct Ways {
    topology: Topology,
    closed: Vec<Node>,
}

impl Ways {
    pub(super) fn new(fleet: &Fleet, view: &View) -> Self {
        let topology = Topology::new(fleet);
        let closed = view.down.iter().filter_map(|name| topology.node(name)).collect();
        Self { topology, closed }
    }

    /// The ways with one route declared otherwise.
    pub(super) fn with(
        fleet: &Fleet,
        view: &View,
        route: &RouteName,
        change: impl FnOnce(&mut Route),
    ) -> Self {
        let mut fleet = fleet.clone();
        if let Some(route) = fleet.routes.get_mut(route) {
            change(route);
        }
        Self::new(&fleet, view)
    }

    /// Everybody's shortest way for data to (or from) one broker.
    pub(super) fn tree(&self, root: &BrokerName, flow: Flow) -> Option<Reach<'_>> {
        let root = self.topology.node(root)?;
        let tree = Search::default().tree(&self.topology, root, flow, &self.closed);
        Some(Reach { ways: self, tree })
    }

    /// The shortest way of data from a producer to a consumer.
    pub(super) fn shortest(&self, producer: &BrokerName, consumer: &BrokerName) -> Option<Way> {
        self.tree(consumer, Flow::ToRoot)?.way(producer)
    }
}

/// Distances to (or from) one broker.
pub(super) struct Reach<'ways> {
    ways: &'ways Ways,
    tree: Tree,
}

impl Reach<'_> {
    /// Of a broker; `None` if there is no way.
    pub(super) fn distance(&self, broker: &BrokerName) -> Option<u32> {
        let node = self.ways.topology.node(broker)?;
        Some(self.tree.distance[node as usize]).filter(|&distance| distance != UNREACHABLE)
    }

    /// The shortest way from a producer to the broker, if that is what was asked for ([`Flow::ToRoot`]).
    pub(super) fn way(&self, producer: &BrokerName) -> Option<Way> {
        let cost = self.distance(producer)?;
        let mut node = self.ways.topology.node(producer)?;
        let mut path = vec![producer.clone()];
        while self.tree.parent[node as usize] != NOWHERE {
            node = self.tree.parent[node as usize];
            path.push(self.ways.topology.name(node).clone());
        }
        path.reverse();
        Some(Way { path, cost })
    }
}

/// The route that carries data from one neighbour to another: the cheapest open one, the smallest name among equals.
pub(super) fn carrier<'fleet>(
    fleet: &'fleet Fleet,
    upstream: &BrokerName,
    downstream: &BrokerName,
) -> Option<(&'fleet RouteName, &'fleet Route)> {
    fleet
        .routes
        .iter()
        .filter(|(_, route)| !route.paused && allows(route, upstream, downstream))
        .min_by_key(|(name, route)| (route.cost, *name))
}

/// Data may flow over the route from `upstream` to `downstream`.
pub(super) fn allows(route: &Route, upstream: &BrokerName, downstream: &BrokerName) -> bool {
    (&route.a == upstream && &route.b == downstream)
        || (!route.one_way && &route.b == upstream && &route.a == downstream)
}
