//! Topics and views in node numbers: what the search and the trees work on.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_api::fleet::{Fleet, Topic};
use skein_api::name::{BrokerName, Qos, TopicName};
use skein_filters::TopicFilter;

use crate::plan::View;
use crate::topology::{Node, Topology};

/// A topic with its ends as nodes, in node order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) name: TopicName,
    pub(crate) filter: TopicFilter,
    pub(crate) qos: Qos,
    pub(crate) commands: Vec<TopicFilter>,
    pub(crate) producers: Vec<Node>,
    pub(crate) consumers: Vec<Node>,
}

impl Declared {
    pub(crate) fn new(topology: &Topology, name: &TopicName, topic: &Topic) -> Self {
        let nodes = |names: &std::collections::BTreeSet<BrokerName>| {
            names.iter().filter_map(|name| topology.node(name)).collect()
        };
        Self {
            name: name.clone(),
            filter: topic.filter.clone(),
            qos: topic.qos,
            commands: topic.commands.clone(),
            producers: nodes(&topic.producers),
            consumers: nodes(&topic.consumers),
        }
    }

    /// Its declared (producer, consumer) pairs, consumer by consumer.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Node, Node)> {
        self.consumers
            .iter()
            .flat_map(|&consumer| self.producers.iter().map(move |&producer| (producer, consumer)))
    }
}

/// A view in node numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Situation {
    /// Nodes that nothing passes, in order.
    pub(crate) closed: Vec<Node>,
    /// Closed nodes whose roles another node plays, with that node; in order.
    served: Vec<(Node, Node)>,
}

impl Situation {
    pub(crate) fn new(topology: &Topology, view: &View) -> Self {
        let closed: Vec<Node> = view.down.iter().filter_map(|name| topology.node(name)).collect();
        let served = closed
            .iter()
            .filter_map(|&node| {
                let mut server = topology.name(node);
                // A substitute may have died in turn. Each step leaves a broker that is down behind, so there are
                // no more steps than such brokers unless they serve each other, which serves nobody.
                for _ in 0..=view.down.len() {
                    if !view.down.contains(server) {
                        return topology.node(server).map(|server| (node, server));
                    }
                    server = view.served_by.get(server)?;
                }
                None
            })
            .collect();
        Self { closed, served }
    }

    /// Who plays the roles of a node: itself, its substitute, or nobody.
    pub(crate) fn player(&self, node: Node) -> Option<Node> {
        if self.closed.binary_search(&node).is_err() {
            return Some(node);
        }
        self.served
            .binary_search_by_key(&node, |&(served, _)| served)
            .ok()
            .map(|place| self.served[place].1)
    }

    /// The same with one more node closed, and its substitute, if any, in its roles and those it had taken over.
    pub(crate) fn without(&self, node: Node, substitute: Option<Node>) -> Self {
        let mut situation = self.clone();
        if let Err(place) = situation.closed.binary_search(&node) {
            situation.closed.insert(place, node);
        }
        situation.served.retain_mut(|(_, server)| {
            if *server == node
                && let Some(substitute) = substitute
            {
                *server = substitute;
            }
            *server != node
        });
        if let Some(substitute) = substitute {
            situation.served.push((node, substitute));
            situation.served.sort_unstable();
        }
        situation
    }

    /// Nodes for which the two situations differ, in order.
    pub(crate) fn changed(&self, other: &Self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.closed.iter().chain(&other.closed).copied().collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.retain(|&node| {
            let closed = |situation: &Self| situation.closed.binary_search(&node).is_ok();
            closed(self) != closed(other) || self.player(node) != other.player(node)
        });
        nodes
    }
}

/// All topics of a fleet as nodes.
pub(crate) fn topics(topology: &Topology, fleet: &Fleet) -> BTreeMap<TopicName, Arc<Declared>> {
    fleet
        .topics
        .iter()
        .map(|(name, topic)| (name.clone(), Arc::new(Declared::new(topology, name, topic))))
        .collect()
}

/// A set of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeSet(Vec<u64>);

impl NodeSet {
    pub(crate) fn new(topology: &Topology) -> Self {
        Self(vec![0; topology.len().div_ceil(64)])
    }

    /// Adds a node; whether it was new.
    pub(crate) fn insert(&mut self, node: Node) -> bool {
        let (word, bit) = (node as usize / 64, 1 << (node % 64));
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    pub(crate) fn contains(&self, node: Node) -> bool {
        self.0
            .get(node as usize / 64)
            .is_some_and(|word| word & (1 << (node % 64)) != 0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Node> {
        (0..).step_by(64).zip(&self.0).flat_map(|(first, &word)| {
            (0..64)
                .filter(move |bit| word & (1 << bit) != 0)
                .map(move |bit| first + bit)
        })
    }
}
