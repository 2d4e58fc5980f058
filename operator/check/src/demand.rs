//! Walks what was declared: every flow from each of its producers, for loss, lowered quality of service and needless
//! hops.
//!
//! A message that matches more lines goes wherever one with fewer goes. So a flow loses nothing if those of its
//! messages that match the fewest lines arrive; and its quality can only be lowered further by overlapping lines on
//! one arc, which are walked too.

use std::collections::HashSet;

use skein_filters::FilterTrie;

use crate::flows::Flow;
use crate::groups::Groups;
use crate::judge::{Judge, Message};
use crate::model::{ArcId, Broker, FilterId, Model};

/// At most so many further messages are walked to find needless lines.
const MOST_STRAY: usize = 100_000;

/// The flows with numbers for their brokers.
pub(crate) struct Demand<'f> {
    flows: &'f [Flow],
    producers: Vec<Vec<Broker>>,
    consumers: Vec<Vec<Broker>>,
    trie: FilterTrie<usize>,
}

impl<'f> Demand<'f> {
    pub(crate) fn new(flows: &'f [Flow], model: &Model<'_>) -> Self {
        let numbers = |names: &std::collections::BTreeSet<_>| {
            names.iter().filter_map(|name| model.number(name)).collect()
        };
        let mut trie = FilterTrie::new();
        for (number, flow) in flows.iter().enumerate() {
            trie.insert(&flow.filter, number);
        }
        Self {
            flows,
            producers: flows.iter().map(|flow| numbers(&flow.producers)).collect(),
            consumers: flows.iter().map(|flow| numbers(&flow.consumers)).collect(),
            trie,
        }
    }

    pub(crate) fn walk(&self, model: &Model<'_>, groups: &Groups, judge: &mut Judge<'_, '_>) {
        let mut wanted = Wanted::new(model);
        for (number, flow) in self.flows.iter().enumerate() {
            for message in messages(flow, model, groups) {
                self.walk_from_producers(number, &message, judge, &mut wanted);
                wanted.note_lines(model, &message.1);
            }
        }
        // What the flows' own messages had no use for may still carry some of a wide flow's that nobody wants there.
        let start = judge.walked;
        for (line, filter) in model.filters.iter().enumerate() {
            if wanted.lines[line] == model.places(line).len() || filter.as_str().starts_with("$skein/") {
                continue;
            }
            let mut narrowed = Vec::new();
            self.trie.overlapping(filter, |flow| {
                narrowed.push((*flow, self.flows[*flow].filter.intersection(filter)));
            });
            for (number, filter) in narrowed {
                let Some(filter) = filter else { continue };
                if judge.walked - start > MOST_STRAY {
                    return;
                }
                let topic = model.witness(&filter);
                let matched = model.matching(&topic);
                self.walk_from_producers(number, &(topic, matched), judge, &mut wanted);
            }
        }
    }

    fn walk_from_producers(
        &self,
        number: usize,
        (topic, matched): &(String, Vec<FilterId>),
        judge: &mut Judge<'_, '_>,
        wanted: &mut Wanted,
    ) {
        wanted.message += 1;
        judge.walker.load(matched);
        for entry in &self.producers[number] {
            self.judge(
                number,
                Message {
                    topic,
                    matched,
                    entry: *entry,
                },
                judge,
                wanted,
            );
        }
    }

    fn judge(&self, number: usize, message: Message<'_>, judge: &mut Judge<'_, '_>, wanted: &mut Wanted) {
        let flow = &self.flows[number];
        let rests = judge.walk(message);
        for consumer in &self.consumers[number] {
            match judge.walker.arrived(*consumer) {
                None => judge.report_loss(number, flow, message, *consumer),
                Some(qos) if qos < flow.qos => judge.report_lowered(number, flow, message, *consumer, qos),
                Some(_) => {}
            }
        }
        if rests && !judge.walker.taken().is_empty() {
            self.find_needless(message, judge, wanted);
        }
    }

    /// A message is wanted where a flow that it matches is consumed, whoever is that flow's producer: no line can tell
    /// one producer's messages from another's.
    fn find_needless(&self, message: Message<'_>, judge: &mut Judge<'_, '_>, wanted: &mut Wanted) {
        wanted.round += 1;
        let round = wanted.round;
        self.trie.matching(message.topic, |flow| {
            for consumer in &self.consumers[*flow] {
                wanted.brokers[*consumer] = round;
            }
        });
        let mut needless: Vec<ArcId> = Vec::new();
        for arc in judge.walker.taken() {
            let useful = wanted.brokers[judge.head(*arc)] == round
                || judge.walker.onward(*arc).any(|next| wanted.arcs[next] == round);
            if useful {
                wanted.arcs[*arc] = round;
                wanted.useful[*arc] = wanted.message;
            } else {
                needless.push(*arc);
            }
        }
        for arc in needless {
            // Where it first goes astray is enough.
            if judge
                .walker
                .came_by(arc)
                .is_none_or(|before| wanted.arcs[before] == round)
            {
                judge.report_needless(message, arc);
            }
        }
    }
}

/// What was found useful. Marks are valid in the round, or the message, that they were made in.
struct Wanted {
    round: u32,
    brokers: Vec<u32>,
    arcs: Vec<u32>,
    message: u32,
    useful: Vec<u32>,
    /// How many places of each line filter some message had use for, and which.
    lines: Vec<usize>,
    places: HashSet<(FilterId, ArcId)>,
}

impl Wanted {
    fn new(model: &Model<'_>) -> Self {
        Self {
            round: 0,
            brokers: vec![0; model.broker_count()],
            arcs: vec![0; model.arc_count()],
            message: 0,
            useful: vec![0; model.arc_count()],
            lines: vec![0; model.filters.len()],
            places: HashSet::new(),
        }
    }

    /// Notes which lines the message under way had use for.
    fn note_lines(&mut self, model: &Model<'_>, matched: &[FilterId]) {
        for filter in matched {
            if self.lines[*filter] == model.places(*filter).len() {
                continue;
            }
            for place in model.places(*filter) {
                if self.useful[place.arc] == self.message && self.places.insert((*filter, place.arc)) {
                    self.lines[*filter] += 1;
                }
            }
        }
    }
}

/// The messages of a flow that are worth walking, with the line filters they match.
fn messages(flow: &Flow, model: &Model<'_>, groups: &Groups) -> Vec<(String, Vec<FilterId>)> {
    let mut messages = model.least_matched(&flow.filter);
    let mut low = Vec::new();
    model.trie.overlapping(&flow.filter, |line| {
        let filter = model.filters[*line];
        if groups.crossing[*line]
            && model.places(*line).iter().any(|place| place.qos < flow.qos)
            && !filter.covers(&flow.filter)
        {
            low.extend(flow.filter.intersection(filter));
        }
    });
    for filter in low {
        for message in model.least_matched(&filter) {
            if !messages.iter().any(|(_, matched)| *matched == message.1) {
                messages.push(message);
            }
        }
    }
    messages
}
