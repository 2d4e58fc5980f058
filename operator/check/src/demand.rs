//! Walks what was declared: every flow from each of its producers, for loss, lowered quality of service and needless
//! hops.
//!
//! A message that matches more lines goes wherever one with fewer goes. So a flow loses nothing if those of its
//! messages that match the fewest lines arrive; and its quality can only be lowered further by overlapping lines on
//! one arc, which are walked too.

use skein_filters::FilterTrie;

use crate::flows::Flow;
use crate::groups::Groups;
use crate::judge::{Judge, Message};
use crate::model::{ArcId, Broker, FilterId, Model};

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
        let mut wanted = Wanted {
            round: 0,
            brokers: vec![0; model.broker_count()],
            arcs: vec![0; model.arc_count()],
        };
        for (number, flow) in self.flows.iter().enumerate() {
            for (topic, matched) in messages(flow, model, groups) {
                judge.walker.load(&matched);
                for entry in &self.producers[number] {
                    let message = Message {
                        topic: &topic,
                        matched: &matched,
                        entry: *entry,
                    };
                    self.judge(number, message, judge, &mut wanted);
                }
            }
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

/// Marks, valid in the round they were made in.
struct Wanted {
    round: u32,
    brokers: Vec<u32>,
    arcs: Vec<u32>,
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
