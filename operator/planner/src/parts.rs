//! What a class puts on links: from the flows' ways to lines, pair of neighbours by pair of neighbours.

use std::sync::Arc;

use skein_api::name::{ClassName, TopicName};
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Link, Mode};

use crate::declared::Declared;
use crate::filters::ClassFilters;
use crate::grow::Flow;
use crate::hops::{Hop, Touched, is_upward, origins_of, pair_of, what_of};
use crate::laid::{ANYBODY, Head, Packed, Parts, View};
use crate::lines::{NO_PLACE, Place};
use crate::links::links;
use crate::topology::{Node, Topology};

/// The parts of a class, with what they were made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Laid {
    /// Which filters pass; sorted, see [`Hop::of`].
    hops: Vec<u64>,
    /// Whose messages pass; sorted; only there if some pair of neighbours needs it.
    origins: Vec<u64>,
    pub(crate) parts: Parts,
    /// By part.
    pub(crate) links: Arc<[Arc<Link>]>,
}

impl Laid {
    /// The same for a class whose filters have other places now; what it was made of is forgotten.
    pub(crate) fn renumbered(&self, old: &ClassFilters, new: &ClassFilters) -> Self {
        let mut parts = self.parts.clone();
        parts.renumber(|place| {
            let filter = old.relations.filter(place);
            filter.map_or(NO_PLACE, |filter| new.relations.place(filter))
        });
        Self {
            parts,
            links: Arc::clone(&self.links),
            ..Self::default()
        }
    }
}

/// Lays what the flows need on links; with it the lines that had to be widened. Of `former`, what a class of the same
/// topics was and its flows, all is taken over that the flows do not touch.
pub(crate) fn lay(
    topology: &Topology,
    class: &ClassName,
    topics: &[Arc<Declared>],
    flows: &[Flow],
    filters: &mut ClassFilters,
    former: Option<(&Arc<Laid>, &[Flow])>,
) -> (Arc<Laid>, Vec<(TopicName, TopicFilter)>) {
    let touched = match former {
        Some((laid, before)) if before.len() == flows.len() => {
            match Touched::between(topology, before, flows) {
                Some(touched) => touched,
                None => return (laid.clone(), Vec::new()),
            }
        }
        _ => Touched::All,
    };
    let empty = Laid::default();
    let former = former.map_or(&empty, |(laid, _)| laid);
    let mut hops: Vec<u64> = Vec::new();
    for flow in flows {
        let places = filters.place_of[flow.topic].split_first();
        let (own, commands) = places.map_or((0, &[][..]), |(own, commands)| (*own, commands));
        for pair in flow.way.windows(2) {
            let Some(forth) = Hop::new(topology, pair[1], pair[0]).filter(|hop| touched.contains(hop.pair))
            else {
                continue;
            };
            hops.push(forth.of(own));
            hops.extend(commands.iter().map(|&command| forth.back().of(command)));
        }
    }
    let hops = touched.with(hops, &former.hops);
    let mut known_parts = former.parts.iter().peekable();
    let mut layer = Layer {
        topology,
        topics,
        flows,
        filters,
        known: &former.origins,
        touched: &touched,
        origins: None,
        widened: Vec::new(),
        parts: Parts::like(&former.parts),
        scratch: Scratch::default(),
    };
    for hops in hops.chunk_by(|one, other| pair_of(*one) == pair_of(*other)) {
        let pair = pair_of(hops[0]);
        if touched.contains(pair) {
            layer.compile(hops);
            continue;
        }
        while known_parts.next_if(|known| known.head.pair < pair).is_some() {}
        while let Some(known) = known_parts.next_if(|known| known.head.pair == pair) {
            layer.parts.push(known);
        }
    }
    // Which of the class's topics a widened filter is planned with makes no difference to the classes.
    let owner = topics.first().map(|topic| &topic.name);
    let widened = std::mem::take(&mut layer.widened)
        .into_iter()
        .filter_map(|filter| Some((owner?.clone(), filter)))
        .collect();
    let (origins, mut parts) = (layer.origins, layer.parts);
    parts.shrink();
    let origins = origins.unwrap_or_else(|| touched.with(Vec::new(), &former.origins));
    let mut named: Vec<Node> = origins
        .iter()
        .filter(|&&hop| touched.contains(pair_of(hop)))
        .map(|&hop| what_of(hop))
        .collect();
    named.sort_unstable();
    named.dedup();
    filters.add_probes(topology, class, &named);
    let links = links(topology, class, filters, &parts, (&former.parts, &former.links));
    let laid = Laid {
        hops,
        origins,
        parts,
        links,
    };
    (Arc::new(laid), widened)
}

/// Compiles what passes between neighbours into parts of links.
struct Layer<'a> {
    topology: &'a Topology,
    topics: &'a [Arc<Declared>],
    flows: &'a [Flow],
    filters: &'a mut ClassFilters,
    /// Hops of the brokers that messages come from; made when first asked for.
    origins: Option<Vec<u64>>,
    /// Those of the class as it was.
    known: &'a [u64],
    touched: &'a Touched,
    widened: Vec<TopicFilter>,
    parts: Parts,
    scratch: Scratch,
}

/// Working memory for one pair of neighbours.
#[derive(Default)]
struct Scratch {
    places: Vec<Place>,
    /// What comes to the smaller node, and what goes from it.
    coming: Vec<Packed>,
    going: Vec<Packed>,
    origins: Vec<Node>,
}

impl Layer<'_> {
    fn compile(&mut self, hops: &[u64]) {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.compile_with(hops, &mut scratch);
        self.scratch = scratch;
    }

    fn compile_with(&mut self, hops: &[u64], scratch: &mut Scratch) {
        let pair = pair_of(hops[0]);
        let (low, high) = self.topology.pair(pair);
        let split = hops.partition_point(|&hop| !is_upward(hop));
        scratch.places.clear();
        scratch.places.extend(hops.iter().map(|&hop| what_of(hop)));
        let (downward, upward) = scratch.places.split_at(split);
        // Data is pulled, unless only the sender can hold a connection: then it is pushed.
        let pulled = |to| {
            if self.topology.is_controlled(to) {
                Direction::In
            } else {
                Direction::Out
            }
        };
        let (inward, outward) = (pulled(low), pulled(high));
        let widened = self.lines(downward, inward, high, &mut scratch.coming)
            | self.lines(upward, outward, low, &mut scratch.going);
        // What was widened may meet what flows the other way, though nothing declared does.
        let meet = if widened {
            self.cross(&scratch.coming, &scratch.going)
        } else {
            self.filters.relations.meet(downward, upward)
        };
        if meet {
            // Two opposite pulls would echo, so one connection carries both directions. The smaller name holds it,
            // whatever else changes, unless Skein cannot configure that broker.
            let held_by_larger = !self.topology.is_controlled(low);
            let (coming, going) = if held_by_larger {
                (Direction::Out, Direction::In)
            } else {
                (Direction::In, Direction::Out)
            };
            let lines = both_where_equal(&scratch.coming, coming, &scratch.going, going);
            self.parts.push(View {
                head: Head {
                    pair,
                    held_by_larger,
                    mode: Mode::Duplex,
                    direction: Direction::Both,
                },
                lines: &lines,
                origins: &[ANYBODY],
            });
            return;
        }
        let both_ways = !downward.is_empty() && !upward.is_empty();
        let coming = (false, inward, &scratch.coming);
        let going = (true, outward, &scratch.going);
        let head = |upward: bool, direction| Head {
            pair,
            // Who holds it: the receiver of what is pulled, the sender of what is pushed.
            held_by_larger: upward == (direction == Direction::In),
            mode: if direction == Direction::In {
                Mode::Pull
            } else {
                Mode::Duplex
            },
            direction,
        };
        let mut sides = [coming, going];
        sides.sort_by_key(|&(upward, direction, _)| head(upward, direction));
        for (upward, direction, lines) in sides {
            if lines.is_empty() {
                continue;
            }
            scratch.origins.clear();
            // The same filter on two opposite links would echo; an origin is on one side of the edge only.
            if both_ways {
                let hops = self.origins_of(pair).iter();
                let hops = hops.filter(|&&hop| is_upward(hop) == upward);
                scratch.origins.extend(hops.map(|&hop| what_of(hop)));
            } else {
                scratch.origins.push(ANYBODY);
            }
            self.parts.push(View {
                head: head(upward, direction),
                lines,
                origins: &scratch.origins,
            });
        }
    }

    /// Finds what passes a pair of neighbours one way. Returns whether some line is more general than what was declared.
    fn lines(
        &mut self,
        filters: &[Place],
        direction: Direction,
        sender: Node,
        lines: &mut Vec<Packed>,
    ) -> bool {
        lines.clear();
        let deduplicates = self.topology.is_controlled(sender);
        let widened = self
            .filters
            .relations
            .reduce(filters, deduplicates, direction, lines);
        let is_widened = !widened.is_empty();
        self.widened.extend(widened);
        is_widened
    }

    /// Whether any line of the one list overlaps any of the other.
    fn cross(&self, one: &[Packed], other: &[Packed]) -> bool {
        let filter = |line: &Packed| self.filters.relations.filter(line.place());
        one.iter().filter_map(filter).any(|mine| {
            other
                .iter()
                .filter_map(filter)
                .any(|theirs| mine.overlaps(theirs))
        })
    }

    /// Whose messages pass a pair of neighbours.
    fn origins_of(&mut self, pair: u32) -> &[u64] {
        let (topology, touched) = (self.topology, self.touched);
        // What was not needed before is not known of the pairs that stay either.
        let all = &Touched::All;
        let touched = if self.known.is_empty() { all } else { touched };
        let origins = self.origins.get_or_insert_with(|| {
            let mut hops = Vec::new();
            for flow in self.flows {
                let Some((producer, consumer)) = flow.players else {
                    continue;
                };
                let commands = !self.topics[flow.topic].commands.is_empty();
                for pair in flow.way.windows(2) {
                    let forth = Hop::new(topology, pair[1], pair[0]);
                    if let Some(forth) = forth.filter(|hop| touched.contains(hop.pair)) {
                        hops.push(forth.of(producer));
                        hops.extend(commands.then(|| forth.back().of(consumer)));
                    }
                }
            }
            touched.with(hops, self.known)
        });
        origins_of(origins, pair)
    }
}

/// Lines of both directions as one list: a filter that passes both ways is one line.
fn both_where_equal(
    coming: &[Packed],
    inward: Direction,
    going: &[Packed],
    outward: Direction,
) -> Vec<Packed> {
    let line = |line: &Packed, direction| Packed::new(line.place(), direction, line.qos());
    let mut lines: Vec<Packed> = Vec::with_capacity(coming.len() + going.len());
    let mut going = going.iter().peekable();
    for one in coming {
        while let Some(other) = going.next_if(|other| other.place() < one.place()) {
            lines.push(line(other, outward));
        }
        match going.next_if(|other| other.place() == one.place()) {
            Some(other) => lines.push(Packed::new(
                one.place(),
                Direction::Both,
                one.qos().max(other.qos()),
            )),
            None => lines.push(line(one, inward)),
        }
    }
    lines.extend(going.map(|other| line(other, outward)));
    lines
}
