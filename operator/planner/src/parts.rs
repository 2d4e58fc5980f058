//! What a class puts on links: from the flows' ways to lines, pair of neighbours by pair of neighbours.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use skein_api::name::{ClassName, Qos, TopicName};
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Line, Mode};

use crate::declared::Declared;
use crate::grow::Flow;
use crate::lines::{Place, Relations};
use crate::topology::{Node, Topology};

/// What one class puts on one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The broker that holds the connection.
    pub(crate) holder: Node,
    /// The other.
    pub(crate) other: Node,
    pub(crate) mode: Mode,
    pub(crate) lines: Box<[Line]>,
    pub(crate) control: Box<[Line]>,
}

/// The parts of a class, with what they were made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Laid {
    /// Which filters pass; sorted, see [`hop`].
    hops: Vec<u64>,
    /// Whose messages pass; sorted; only there if some pair of neighbours needs it.
    origins: Vec<u64>,
    /// With the number of the pair of neighbours, in its order.
    pub(crate) parts: Vec<(u32, Arc<Part>)>,
}

/// The filters of a class, in order, and how they relate.
#[derive(Debug)]
pub(crate) struct ClassFilters {
    relations: Relations,
    /// By topic: the places of its filter and its commands.
    place_of: Vec<Vec<Place>>,
    /// The filter of all path probes of the class.
    any_probe: Option<TopicFilter>,
    /// The filter of one broker's path probes.
    probes: BTreeMap<Node, TopicFilter>,
}

impl ClassFilters {
    pub(crate) fn new(class: &ClassName, topics: &[&Declared]) -> Self {
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
        let filters = filters
            .into_iter()
            .map(|(filter, qos, ..)| (filter.clone(), qos))
            .collect();
        Self {
            relations: Relations::new(filters),
            place_of,
            any_probe: probe(class, "#"),
            probes: BTreeMap::new(),
        }
    }
}

/// The filter of path probes.
fn probe(class: &ClassName, origin: &str) -> Option<TopicFilter> {
    TopicFilter::parse(&format!("$skein/probe/{class}/{origin}")).ok()
}

/// Something that passes between two neighbours, packed so that sorting is cheap: number of the pair, direction (1 from
/// the smaller node to the larger), and what it is.
fn hop(topology: &Topology, from: Node, to: Node, what: u32) -> Option<u64> {
    let pair = u64::from(topology.pair_number(from, to)?);
    Some(pair << 33 | u64::from(from < to) << 32 | u64::from(what))
}

fn pair_of(hop: u64) -> u32 {
    (hop >> 33) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "it is the lower half")]
fn what_of(hop: u64) -> u32 {
    hop as u32
}

fn is_upward(hop: u64) -> bool {
    hop >> 32 & 1 == 1
}

fn sorted(mut hops: Vec<u64>) -> Vec<u64> {
    hops.sort_unstable();
    hops.dedup();
    hops
}

/// Lays what the flows need on links; with it the lines that had to be widened. What is as in `former` is taken over.
pub(crate) fn lay(
    topology: &Topology,
    class: &ClassName,
    topics: &[&Declared],
    flows: &[Flow],
    filters: &mut ClassFilters,
    former: Option<&Laid>,
) -> (Laid, Vec<(TopicName, TopicFilter)>) {
    let mut hops: Vec<u64> = Vec::new();
    for flow in flows {
        let places = filters.place_of[flow.topic].split_first();
        let (own, commands) = places.map_or((0, &[][..]), |(own, commands)| (*own, commands));
        for pair in flow.way.windows(2) {
            hops.extend(hop(topology, pair[1], pair[0], own));
            hops.extend(
                commands
                    .iter()
                    .filter_map(|&command| hop(topology, pair[0], pair[1], command)),
            );
        }
    }
    let hops = sorted(hops);
    let empty = Laid::default();
    let former = former.unwrap_or(&empty);
    let mut known_hops = former
        .hops
        .chunk_by(|one, other| pair_of(*one) == pair_of(*other))
        .peekable();
    let mut known_parts = former.parts.chunk_by(|one, other| one.0 == other.0).peekable();
    let mut layer = Layer {
        topology,
        class,
        topics,
        flows,
        filters,
        origins: None,
        widened: Vec::new(),
    };
    let mut parts = Vec::with_capacity(former.parts.len());
    for hops in hops.chunk_by(|one, other| pair_of(*one) == pair_of(*other)) {
        let pair = pair_of(hops[0]);
        while known_hops.next_if(|known| pair_of(known[0]) < pair).is_some() {}
        while known_parts.next_if(|known| known[0].0 < pair).is_some() {}
        let known = known_parts
            .next_if(|known| known[0].0 == pair)
            .unwrap_or_default();
        let same = known_hops.next_if(|known| pair_of(known[0]) == pair) == Some(hops);
        // Opposite links name the origins of probes, which may change while the filters stay.
        if same && (known.len() == 1 || layer.origins_of(pair) == origins_of(&former.origins, pair)) {
            parts.extend_from_slice(known);
            continue;
        }
        for part in layer.compile(hops) {
            let known = known.iter().find(|(_, known)| **known == part);
            parts.push(known.cloned().unwrap_or_else(|| (pair, Arc::new(part))));
        }
    }
    // Which of the class's topics a widened filter is planned with makes no difference to the classes.
    let owner = topics.first().map(|topic| &topic.name);
    let widened = std::mem::take(&mut layer.widened)
        .into_iter()
        .filter_map(|filter| Some((owner?.clone(), filter)))
        .collect();
    let origins = layer.origins.unwrap_or_default();
    (Laid { hops, origins, parts }, widened)
}

/// Compiles what passes between neighbours into parts of links.
struct Layer<'a> {
    topology: &'a Topology,
    class: &'a ClassName,
    topics: &'a [&'a Declared],
    flows: &'a [Flow],
    filters: &'a mut ClassFilters,
    /// Hops of the brokers that messages come from; made when first asked for.
    origins: Option<Vec<u64>>,
    widened: Vec<TopicFilter>,
}

impl Layer<'_> {
    fn compile(&mut self, hops: &[u64]) -> Vec<Part> {
        let pair = pair_of(hops[0]);
        let (low, high) = self.topology.pair(pair);
        let split = hops.partition_point(|&hop| !is_upward(hop));
        let places: Vec<Place> = hops.iter().map(|&hop| what_of(hop)).collect();
        let (downward, upward) = places.split_at(split);
        let coming = self.lines(downward, Direction::In, high);
        let going = self.lines(upward, Direction::In, low);
        // What was widened may meet what flows the other way, though nothing declared does.
        let meet = if coming.widened || going.widened {
            coming.lines.iter().any(|line| {
                going
                    .lines
                    .iter()
                    .any(|other| line.filter.overlaps(&other.filter))
            })
        } else {
            self.filters.relations.meet(downward, upward)
        };
        if meet {
            // Two opposite pulls would echo, so one connection carries both directions. The smaller name holds it,
            // whatever else changes, unless Skein cannot configure that broker.
            let (holder, other) = if self.topology.is_controlled(low) {
                (low, high)
            } else {
                (high, low)
            };
            let (inward, outward) = if holder == low {
                (coming, going)
            } else {
                (going, coming)
            };
            let lines = both_where_equal(inward.lines, directed(outward.lines, Direction::Out)).into();
            let control = self.any_probe(Direction::Both);
            return vec![Part {
                holder,
                other,
                mode: Mode::Duplex,
                lines,
                control,
            }];
        }
        let both_ways = !downward.is_empty() && !upward.is_empty();
        let mut parts = Vec::with_capacity(2);
        for (from, to, lines) in [(high, low, coming.lines), (low, high, going.lines)] {
            if lines.is_empty() {
                continue;
            }
            // Data is pulled, unless only the sender can hold a connection: then it is pushed.
            let (holder, other, mode, direction) = if self.topology.is_controlled(to) {
                (to, from, Mode::Pull, Direction::In)
            } else {
                (from, to, Mode::Duplex, Direction::Out)
            };
            let lines = directed(lines, direction).into();
            // The same filter on two opposite links would echo; an origin is on one side of the edge only.
            let control = if both_ways {
                self.probes(pair, from < to, direction)
            } else {
                self.any_probe(direction)
            };
            parts.push(Part {
                holder,
                other,
                mode,
                lines,
                control,
            });
        }
        parts
    }

    fn lines(&mut self, filters: &[Place], direction: Direction, sender: Node) -> Side {
        let deduplicates = self.topology.is_controlled(sender);
        let (lines, widened) = self.filters.relations.reduce(filters, deduplicates, direction);
        let side = Side {
            lines,
            widened: !widened.is_empty(),
        };
        self.widened.extend(widened);
        side
    }

    fn any_probe(&self, direction: Direction) -> Box<[Line]> {
        let line = |filter: &TopicFilter| Line {
            filter: filter.clone(),
            direction,
            qos: Qos::AtLeastOnce,
        };
        self.filters.any_probe.iter().map(line).collect()
    }

    /// Probes of the brokers whose messages pass a pair of neighbours in one direction.
    fn probes(&mut self, pair: u32, upward: bool, direction: Direction) -> Box<[Line]> {
        let origins: Vec<Node> = self
            .origins_of(pair)
            .iter()
            .filter(|&&hop| is_upward(hop) == upward)
            .map(|&hop| what_of(hop))
            .collect();
        let mut lines = Vec::with_capacity(origins.len());
        for origin in origins {
            let filter = match self.filters.probes.entry(origin) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(place) => {
                    let Some(filter) = probe(self.class, self.topology.name(origin).as_str()) else {
                        continue;
                    };
                    place.insert(filter).clone()
                }
            };
            lines.push(Line {
                filter,
                direction,
                qos: Qos::AtLeastOnce,
            });
        }
        lines.into()
    }

    /// Whose messages pass a pair of neighbours.
    fn origins_of(&mut self, pair: u32) -> &[u64] {
        let (topology, flows, topics) = (self.topology, self.flows, self.topics);
        let origins = self.origins.get_or_insert_with(|| {
            let mut hops = Vec::new();
            for flow in flows {
                let Some((producer, consumer)) = flow.players else {
                    continue;
                };
                let commands = !topics[flow.topic].commands.is_empty();
                for pair in flow.way.windows(2) {
                    hops.extend(hop(topology, pair[1], pair[0], producer));
                    hops.extend(hop(topology, pair[0], pair[1], consumer).filter(|_| commands));
                }
            }
            sorted(hops)
        });
        origins_of(origins, pair)
    }
}

/// The hops of one pair of neighbours.
fn origins_of(origins: &[u64], pair: u32) -> &[u64] {
    let start = origins.partition_point(|&hop| pair_of(hop) < pair);
    let count = origins[start..].partition_point(|&hop| pair_of(hop) == pair);
    &origins[start..start + count]
}

/// What passes a pair of neighbours one way.
struct Side {
    lines: Vec<Line>,
    /// Some line is more general than what was declared.
    widened: bool,
}

fn directed(mut lines: Vec<Line>, direction: Direction) -> Vec<Line> {
    for line in &mut lines {
        line.direction = direction;
    }
    lines
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
