//! From a class and its tree to flows and paths (`parts` makes links of them).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::{BrokerName, ClassName, TopicName};
use skein_filters::TopicFilter;
use skein_mosquitto::link::Link;

use crate::branches::{between, way};
use crate::declared::{Declared, Situation};
use crate::parts::Laid;
use crate::plan::{Class, Finding, Path};
use crate::search::Tree;
use crate::topology::{Node, Topology, UNREACHABLE};

/// A class, grown.
#[derive(Clone, Debug)]
pub(crate) struct Grown {
    pub(crate) class: Arc<Class>,
    pub(crate) flows: Vec<Flow>,
    /// What it puts on links.
    pub(crate) laid: Arc<Laid>,
    /// Lines that had to be widened, each with a topic to plan it with.
    pub(crate) widened: Vec<(TopicName, TopicFilter)>,
    /// What to tell the user about it.
    pub(crate) findings: Vec<Finding>,
    /// Not all of its flows are on the tree of its root.
    pub(crate) scattered: bool,
}

/// A class as it was grown last; what did not change since is taken over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Former<'a> {
    pub(crate) class: &'a Class,
    pub(crate) flows: &'a [Flow],
    pub(crate) laid: &'a Arc<Laid>,
    /// The only nodes that may have moved on the tree of its root, if its flows are all on that tree.
    pub(crate) moved: Option<&'a BTreeSet<Node>>,
}

impl Former<'_> {
    /// Its flows, without the ways that may have moved; `None` if all may have.
    pub(crate) fn kept(&self) -> Option<Vec<Flow>> {
        let moved = self.moved?;
        let is_moved = |(producer, consumer)| moved.contains(&producer) || moved.contains(&consumer);
        let kept = |flow: &Flow| {
            let stays = !flow.players.is_some_and(is_moved);
            Flow {
                way: if stays { flow.way.clone() } else { Vec::new() },
                cost: if stays { flow.cost } else { 0 },
                ..*flow
            }
        };
        Some(self.flows.iter().map(kept).collect())
    }
}

/// One declared pair of a topic, with who plays its roles now and the nodes between them.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// Which of the class's topics.
    pub(crate) topic: usize,
    pub(crate) producer: Node,
    pub(crate) consumer: Node,
    /// Players now, producer's first; `None` if somebody is missing.
    pub(crate) players: Option<(Node, Node)>,
    /// Nodes from consumer to producer; empty if there is no way.
    pub(crate) way: Vec<Node>,
    /// What the way costs.
    pub(crate) cost: u32,
}

/// The flows of a class in a situation, with ways still to be found.
pub(crate) fn flows(topics: &[Arc<Declared>], situation: &Situation) -> Vec<Flow> {
    let mut flows = Vec::with_capacity(topics.iter().map(|topic| topic.pairs().count()).sum());
    for (topic, declared) in topics.iter().enumerate() {
        for (producer, consumer) in declared.pairs() {
            let players = situation.player(producer).zip(situation.player(consumer));
            flows.push(Flow {
                topic,
                producer,
                consumer,
                players,
                way: Vec::new(),
                cost: 0,
            });
        }
    }
    flows
}

/// Finds the ways of all flows along a tree that have none yet.
pub(crate) fn route(flows: &mut [Flow], tree: &Tree) {
    for flow in flows.iter_mut().filter(|flow| flow.way.is_empty()) {
        if let Some((producer, consumer)) = flow.players {
            flow.way = way(tree, consumer, producer);
            if !flow.way.is_empty() {
                flow.cost = u32::try_from(between(tree, consumer, producer)).unwrap_or(UNREACHABLE);
            }
        }
    }
}

/// Cost of data along a way (consumer first).
pub(crate) fn cost(topology: &Topology, way: &[Node]) -> u32 {
    way.windows(2).fold(0, |sum: u32, hop| {
        sum.saturating_add(topology.cost(hop[1], hop[0]))
    })
}

/// The paths of routed flows, sorted by topic, consumer, producer. `shortest` is given the place of a flow.
pub(crate) fn paths(
    topology: &Topology,
    topics: &[Arc<Declared>],
    flows: &[Flow],
    former: Option<Former>,
    shortest: impl Fn(usize) -> Option<u32>,
) -> Vec<Path> {
    let name = |node: Node| topology.name(node).clone();
    // A class of the same topics has the same flows, in the same order.
    let former = former.filter(|former| former.flows.len() == flows.len());
    flows
        .iter()
        .enumerate()
        .map(|(place, flow)| {
            let shortest = if flow.way.is_empty() {
                0
            } else {
                shortest(place).unwrap_or(flow.cost)
            };
            if let Some(former) = former
                && let (Some(known), Some(path)) = (former.flows.get(place), former.class.paths.get(place))
                && (known.topic, known.producer, known.consumer) == (flow.topic, flow.producer, flow.consumer)
                && known.way == flow.way
                && path.topic == topics[flow.topic].name
            {
                return Path {
                    cost: flow.cost,
                    shortest,
                    ..path.clone()
                };
            }
            Path {
                topic: topics[flow.topic].name.clone(),
                producer: name(flow.producer),
                consumer: name(flow.consumer),
                brokers: flow.way.iter().map(|&node| name(node)).collect(),
                cost: flow.cost,
                shortest,
            }
        })
        .collect()
}

/// The topics of a class as the plan shows them.
pub(crate) fn class(
    name: &ClassName,
    topics: &[Arc<Declared>],
    root: Option<BrokerName>,
    paths: Vec<Path>,
    links: Arc<[Arc<Link>]>,
) -> Arc<Class> {
    Arc::new(Class {
        name: name.clone(),
        topics: topics.iter().map(|topic| topic.name.clone()).collect(),
        root,
        paths,
        links,
    })
}

/// The widened filters of all classes, by topic.
pub(crate) fn collect_widened<'a>(
    grown: impl Iterator<Item = &'a (TopicName, TopicFilter)>,
) -> BTreeMap<TopicName, Vec<TopicFilter>> {
    let mut all: BTreeMap<TopicName, Vec<TopicFilter>> = BTreeMap::new();
    for (topic, filter) in grown {
        let known = all.entry(topic.clone()).or_default();
        if !known.contains(filter) {
            known.push(filter.clone());
        }
    }
    all
}
