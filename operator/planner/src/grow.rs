//! From a class and its root to paths, hops and lines.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_api::name::{BrokerName, ClassName, Qos, TopicName};
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Line, Mode};

use crate::branches::way;
use crate::declared::{Declared, NodeSet, Situation};
use crate::lines::reduce;
use crate::plan::{Class, Finding, Path};
use crate::search::Tree;
use crate::topology::{Node, Topology};

/// A class, grown.
#[derive(Clone, Debug)]
pub(crate) struct Grown {
    pub(crate) class: Arc<Class>,
    /// What it puts on links, by link.
    pub(crate) parts: Vec<Part>,
    /// Lines that had to be widened, each with a topic to plan it with.
    pub(crate) widened: Vec<(TopicName, TopicFilter)>,
    /// Every node its declared ends, trees and shortest ways touch while all brokers are healthy.
    pub(crate) uses: NodeSet,
    /// What to tell the user about it.
    pub(crate) findings: Vec<Finding>,
}

/// What one class puts on one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The broker that holds the connection.
    pub(crate) holder: Node,
    /// The other.
    pub(crate) other: Node,
    pub(crate) mode: Mode,
    pub(crate) lines: Vec<Line>,
    pub(crate) control: Vec<Line>,
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
}

/// The flows of a class in a situation, with ways still to be found.
pub(crate) fn flows(topics: &[&Declared], situation: &Situation) -> Vec<Flow> {
    let mut flows = Vec::new();
    for (topic, declared) in topics.iter().enumerate() {
        for (producer, consumer) in declared.pairs() {
            let players = situation.player(producer).zip(situation.player(consumer));
            flows.push(Flow {
                topic,
                producer,
                consumer,
                players,
                way: Vec::new(),
            });
        }
    }
    flows
}

/// Finds the ways of all flows along a tree that have none yet. How many were found.
pub(crate) fn route(flows: &mut [Flow], tree: &Tree) -> usize {
    let mut found = 0;
    for flow in flows.iter_mut().filter(|flow| flow.way.is_empty()) {
        if let Some((producer, consumer)) = flow.players {
            flow.way = way(tree, consumer, producer);
            found += usize::from(!flow.way.is_empty());
        }
    }
    found
}

/// Cost of data along a way (consumer first).
pub(crate) fn cost(topology: &Topology, way: &[Node]) -> u32 {
    way.windows(2).fold(0, |sum: u32, hop| {
        sum.saturating_add(topology.cost(hop[1], hop[0]))
    })
}

/// The paths of routed flows, sorted by topic, consumer, producer.
pub(crate) fn paths(
    topology: &Topology,
    topics: &[&Declared],
    flows: &[Flow],
    shortest: impl Fn(&Flow, u32) -> u32,
) -> Vec<Path> {
    let name = |node: Node| topology.name(node).clone();
    flows
        .iter()
        .map(|flow| {
            let cost = cost(topology, &flow.way);
            Path {
                topic: topics[flow.topic].name.clone(),
                producer: name(flow.producer),
                consumer: name(flow.consumer),
                brokers: flow.way.iter().map(|&node| name(node)).collect(),
                cost,
                shortest: if flow.way.is_empty() {
                    0
                } else {
                    shortest(flow, cost)
                },
            }
        })
        .collect()
}

/// One filter that passes between two neighbours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hop {
    low: Node,
    high: Node,
    /// From the smaller node to the larger.
    upward: bool,
    /// Place in the class's list of filters.
    filter: u32,
}

/// What the flows put on links, sorted by link; with it the lines that had to be widened.
pub(crate) fn parts(
    topology: &Topology,
    class: &ClassName,
    topics: &[&Declared],
    flows: &[Flow],
) -> (Vec<Part>, Vec<(TopicName, TopicFilter)>) {
    // The class's filters: for each topic its own, then its commands.
    let mut filters: Vec<(&TopicFilter, Qos, &TopicName)> = Vec::new();
    let mut first_of: Vec<u32> = Vec::with_capacity(topics.len());
    for topic in topics {
        first_of.push(u32::try_from(filters.len()).unwrap_or(u32::MAX));
        filters.push((&topic.filter, topic.qos, &topic.name));
        filters.extend(
            topic
                .commands
                .iter()
                .map(|command| (command, topic.qos, &topic.name)),
        );
    }
    let mut hops = Vec::new();
    for flow in flows {
        for pair in flow.way.windows(2) {
            let (to, from) = (pair[0], pair[1]);
            let (low, high) = (to.min(from), to.max(from));
            let first = first_of[flow.topic];
            hops.push(Hop {
                low,
                high,
                upward: from < to,
                filter: first,
            });
            for (_, filter) in topics[flow.topic].commands.iter().zip(first + 1..) {
                hops.push(Hop {
                    low,
                    high,
                    upward: to < from,
                    filter,
                });
            }
        }
    }
    hops.sort_unstable();
    hops.dedup();
    let mut parts = Vec::new();
    let mut widened = Vec::new();
    for hops in hops.chunk_by(|one, other| (one.low, one.high) == (other.low, other.high)) {
        let split = hops.partition_point(|hop| !hop.upward);
        let mut edge = Edge {
            topology,
            class,
            low: hops[0].low,
            high: hops[0].high,
            widened: Vec::new(),
        };
        let take = |hops: &[Hop]| -> Vec<(TopicFilter, Qos)> {
            hops.iter()
                .map(|hop| {
                    (
                        filters[hop.filter as usize].0.clone(),
                        filters[hop.filter as usize].1,
                    )
                })
                .collect()
        };
        edge.compile(
            take(&hops[..split]),
            take(&hops[split..]),
            flows,
            topics,
            &mut parts,
        );
        let owner = filters[hops[0].filter as usize].2;
        widened.extend(edge.widened.into_iter().map(|filter| (owner.clone(), filter)));
    }
    parts.sort_unstable_by_key(|part| (part.holder, part.other, part.mode));
    (parts, widened)
}

/// Two neighbours on the tree, and what passes between them.
struct Edge<'a> {
    topology: &'a Topology,
    class: &'a ClassName,
    low: Node,
    high: Node,
    widened: Vec<TopicFilter>,
}

impl Edge<'_> {
    fn compile(
        &mut self,
        downward: Vec<(TopicFilter, Qos)>,
        upward: Vec<(TopicFilter, Qos)>,
        flows: &[Flow],
        topics: &[&Declared],
        parts: &mut Vec<Part>,
    ) {
        let (low, high) = (self.low, self.high);
        let crosses = |one: &[(TopicFilter, Qos)], other: &[(TopicFilter, Qos)]| {
            one.iter()
                .any(|(filter, _)| other.iter().any(|(there, _)| filter.overlaps(there)))
        };
        if crosses(&downward, &upward) {
            // Two opposite pulls would echo, so one connection carries both directions. The smaller name holds it,
            // whatever else changes, unless Skein cannot configure that broker.
            let (holder, other) = if self.topology.is_controlled(low) {
                (low, high)
            } else {
                (high, low)
            };
            let (inward, outward) = if holder == low {
                (downward, upward)
            } else {
                (upward, downward)
            };
            let inward = self.lines(inward, Direction::In, other);
            let outward = self.lines(outward, Direction::Out, holder);
            let lines = both_where_equal(inward, outward);
            let control = vec![probe(self.class, "#", Direction::Both)]
                .into_iter()
                .flatten()
                .collect();
            parts.push(Part {
                holder,
                other,
                mode: Mode::Duplex,
                lines,
                control,
            });
            return;
        }
        let both_ways = !downward.is_empty() && !upward.is_empty();
        for (from, to, filters) in [(high, low, downward), (low, high, upward)] {
            if filters.is_empty() {
                continue;
            }
            // Data is pulled, unless only the sender can hold a connection: then it is pushed.
            let (holder, other, mode, direction) = if self.topology.is_controlled(to) {
                (to, from, Mode::Pull, Direction::In)
            } else {
                (from, to, Mode::Duplex, Direction::Out)
            };
            let lines = self.lines(filters, direction, from);
            let control = if both_ways {
                // The same filter on two opposite links would echo; an origin is on one side of the edge only.
                origins(flows, topics, from, to)
                    .filter_map(|origin| probe(self.class, self.topology.name(origin).as_str(), direction))
                    .collect()
            } else {
                probe(self.class, "#", direction).into_iter().collect()
            };
            parts.push(Part {
                holder,
                other,
                mode,
                lines,
                control,
            });
        }
    }

    fn lines(&mut self, filters: Vec<(TopicFilter, Qos)>, direction: Direction, sender: Node) -> Vec<Line> {
        let reduced = reduce(filters, self.topology.is_controlled(sender));
        self.widened.extend(reduced.widened);
        reduced
            .lines
            .into_iter()
            .map(|(filter, qos)| Line {
                filter,
                direction,
                qos,
            })
            .collect()
    }
}

/// Lines of both directions as one list: a filter that passes both ways is one line.
fn both_where_equal(mut inward: Vec<Line>, outward: Vec<Line>) -> Vec<Line> {
    let mut lines = Vec::new();
    for line in outward {
        match inward.iter_mut().find(|inward| inward.filter == line.filter) {
            Some(inward) => {
                inward.direction = Direction::Both;
                inward.qos = inward.qos.max(line.qos);
            }
            None => lines.push(line),
        }
    }
    lines.append(&mut inward);
    lines.sort_unstable();
    lines
}

/// The line that carries path probes.
fn probe(class: &ClassName, origin: &str, direction: Direction) -> Option<Line> {
    let filter = TopicFilter::parse(&format!("$skein/probe/{class}/{origin}")).ok()?;
    Some(Line {
        filter,
        direction,
        qos: Qos::AtLeastOnce,
    })
}

/// The brokers whose messages pass from one neighbour to the other.
fn origins(flows: &[Flow], topics: &[&Declared], from: Node, to: Node) -> impl Iterator<Item = Node> {
    let mut origins = std::collections::BTreeSet::new();
    for flow in flows {
        let Some((producer, consumer)) = flow.players else {
            continue;
        };
        for hop in flow.way.windows(2) {
            if hop == [to, from] {
                origins.insert(producer);
            }
            if hop == [from, to] && !topics[flow.topic].commands.is_empty() {
                origins.insert(consumer);
            }
        }
    }
    origins.into_iter()
}

/// The topics of a class as the plan shows them.
pub(crate) fn class(
    name: &ClassName,
    topics: &[&Declared],
    root: Option<BrokerName>,
    paths: Vec<Path>,
) -> Arc<Class> {
    Arc::new(Class {
        name: name.clone(),
        topics: topics.iter().map(|topic| topic.name.clone()).collect(),
        root,
        paths,
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
