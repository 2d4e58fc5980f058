//! From a class and its root to paths, hops and lines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::{BrokerName, ClassName, Qos, TopicName};
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Line, Mode};

use crate::branches::way;
use crate::declared::{Declared, NodeSet, Situation};
use crate::lines::{Place, Relations};
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

/// The paths of routed flows, sorted by topic, consumer, producer. `shortest` is given the place of a flow and its cost.
pub(crate) fn paths(
    topology: &Topology,
    topics: &[&Declared],
    flows: &[Flow],
    shortest: impl Fn(usize, u32) -> u32,
) -> Vec<Path> {
    let name = |node: Node| topology.name(node).clone();
    flows
        .iter()
        .enumerate()
        .map(|(place, flow)| {
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
                    shortest(place, cost)
                },
            }
        })
        .collect()
}

/// One filter that passes between two neighbours, packed so that sorting is cheap: number of the pair, direction
/// (1 from the smaller node to the larger), place of the filter.
fn hop(topology: &Topology, from: Node, to: Node, filter: Place) -> Option<u64> {
    let pair = u64::from(topology.pair_number(from, to)?);
    Some(pair << 33 | u64::from(from < to) << 32 | u64::from(filter))
}

/// What the flows put on links, sorted by link; with it the lines that had to be widened.
pub(crate) fn parts(
    topology: &Topology,
    class: &ClassName,
    topics: &[&Declared],
    flows: &[Flow],
) -> (Vec<Part>, Vec<(TopicName, TopicFilter)>) {
    // All filters of the class in order, each with the place of its topic and of itself in that topic.
    let mut filters: Vec<(&TopicFilter, Qos, usize, usize)> = Vec::new();
    for (number, topic) in topics.iter().enumerate() {
        let all = std::iter::once(&topic.filter).chain(&topic.commands);
        filters.extend(
            all.enumerate()
                .map(|(place, filter)| (filter, topic.qos, number, place)),
        );
    }
    filters.sort_unstable();
    let mut place_of: Vec<Vec<Place>> = topics
        .iter()
        .map(|topic| vec![0; 1 + topic.commands.len()])
        .collect();
    for (place, &(_, _, topic, filter)) in (0..).zip(&filters) {
        place_of[topic][filter] = place;
    }
    let mut hops: Vec<u64> = Vec::new();
    for flow in flows {
        let (filter, commands) = place_of[flow.topic]
            .split_first()
            .map_or((0, &[][..]), |(first, rest)| (*first, rest));
        for pair in flow.way.windows(2) {
            hops.extend(hop(topology, pair[1], pair[0], filter));
            hops.extend(commands.iter().filter_map(|&filter| hop(topology, pair[0], pair[1], filter)));
        }
    }
    hops.sort_unstable();
    hops.dedup();
    let relations = Relations::new(
        filters
            .iter()
            .map(|&(filter, qos, ..)| (filter.clone(), qos))
            .collect(),
    );
    let mut edges = Edges {
        topology,
        class,
        topics,
        flows,
        relations,
        any_probe: probe(class, "#"),
        widened: Vec::new(),
        parts: Vec::new(),
    };
    let mut filters: Vec<Place> = Vec::new();
    for hops in hops.chunk_by(|one, other| one >> 33 == other >> 33) {
        let split = hops.partition_point(|hop| hop >> 32 & 1 == 0);
        filters.clear();
        #[expect(clippy::cast_possible_truncation, reason = "the filter is the lower half")]
        filters.extend(hops.iter().map(|&hop| hop as Place));
        #[expect(clippy::cast_possible_truncation, reason = "a pair's number has 31 bits")]
        let pair = topology.pair((hops[0] >> 33) as u32);
        edges.compile(pair, &filters[..split], &filters[split..]);
    }
    let Edges {
        mut parts, widened, ..
    } = edges;
    parts.sort_unstable_by_key(|part| (part.holder, part.other, part.mode));
    // Which of the class's topics a widened filter is planned with makes no difference to the classes.
    let widened = topics.first().map(|owner| {
        widened
            .into_iter()
            .map(|filter| (owner.name.clone(), filter))
            .collect()
    });
    (parts, widened.unwrap_or_default())
}

/// Compiles what passes between neighbours into parts of links.
struct Edges<'a> {
    topology: &'a Topology,
    class: &'a ClassName,
    topics: &'a [&'a Declared],
    flows: &'a [Flow],
    relations: Relations,
    /// The filter of all path probes of the class.
    any_probe: Option<TopicFilter>,
    widened: Vec<TopicFilter>,
    parts: Vec<Part>,
}

impl Edges<'_> {
    fn compile(&mut self, (low, high): (Node, Node), downward: &[Place], upward: &[Place]) {
        if self.relations.meet(downward, upward) {
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
            let control = self.any_probe(Direction::Both);
            self.parts.push(Part {
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
            // The same filter on two opposite links would echo; an origin is on one side of the edge only.
            let control = if both_ways {
                self.probes(from, to, direction)
            } else {
                self.any_probe(direction)
            };
            self.parts.push(Part {
                holder,
                other,
                mode,
                lines,
                control,
            });
        }
    }

    fn lines(&mut self, filters: &[Place], direction: Direction, sender: Node) -> Vec<Line> {
        let deduplicates = self.topology.is_controlled(sender);
        let (lines, widened) = self.relations.reduce(filters, deduplicates, direction);
        self.widened.extend(widened);
        lines
    }

    fn any_probe(&self, direction: Direction) -> Vec<Line> {
        let line = |filter: &TopicFilter| Line {
            filter: filter.clone(),
            direction,
            qos: Qos::AtLeastOnce,
        };
        self.any_probe.iter().map(line).collect()
    }

    /// Probes of the brokers whose messages pass from one neighbour to the other.
    fn probes(&self, from: Node, to: Node, direction: Direction) -> Vec<Line> {
        let mut origins = BTreeSet::new();
        for flow in self.flows {
            let Some((producer, consumer)) = flow.players else {
                continue;
            };
            for hop in flow.way.windows(2) {
                if hop == [to, from] {
                    origins.insert(producer);
                }
                if hop == [from, to] && !self.topics[flow.topic].commands.is_empty() {
                    origins.insert(consumer);
                }
            }
        }
        origins
            .into_iter()
            .filter_map(|origin| probe(self.class, self.topology.name(origin).as_str()))
            .map(|filter| Line {
                filter,
                direction,
                qos: Qos::AtLeastOnce,
            })
            .collect()
    }
}

/// The filter of path probes.
fn probe(class: &ClassName, origin: &str) -> Option<TopicFilter> {
    TopicFilter::parse(&format!("$skein/probe/{class}/{origin}")).ok()
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
