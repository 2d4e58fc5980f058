//! Turns walks into problems: each shown once, however many messages fare the same. Knows the words for people.

use std::collections::{BTreeMap, BTreeSet};

use skein_api::name::{BrokerName, Qos};
use skein_filters::TopicFilter;
use skein_mosquitto::link::Identity;

use crate::flows::Flow;
use crate::groups::{Core, Groups, most_matched};
use crate::model::{ArcId, Broker, FilterId, Model};
use crate::problem::{Kind, Problem};
use crate::walk::Walker;

/// More intersections of the filters of one group than this are not looked at.
const MOST_KINDS: usize = 50_000;

/// What makes two problems the same: the kind, its subject (a broker, or a flow and its ends) and the lines' group or
/// the arcs.
type Key = (Kind, Vec<usize>, Vec<ArcId>);

pub(crate) struct Judge<'m, 'a> {
    model: &'m Model<'a>,
    pub(crate) walker: Walker<'m, 'a>,
    seen: BTreeSet<Key>,
    pub(crate) problems: Vec<Problem>,
    /// Where the last message passed that looped or was doubled, and what it matched.
    involved: BTreeSet<(ArcId, FilterId)>,
    pub(crate) walked: usize,
}

/// How many hazards are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    All,
    /// One will do.
    First,
}

/// A message under way.
#[derive(Clone, Copy)]
pub(crate) struct Message<'t> {
    pub(crate) topic: &'t str,
    pub(crate) matched: &'t [FilterId],
    pub(crate) entry: Broker,
}

impl<'m, 'a> Judge<'m, 'a> {
    pub(crate) fn new(model: &'m Model<'a>) -> Self {
        let walker = Walker::new(model);
        Self {
            model,
            walker,
            seen: BTreeSet::new(),
            problems: Vec::new(),
            involved: BTreeSet::new(),
            walked: 0,
        }
    }

    /// The problems found, worst first.
    pub(crate) fn finish(mut self) -> (Vec<Problem>, usize) {
        self.problems
            .sort_by_cached_key(|problem| (problem.severity(), problem.clone()));
        (self.problems, self.walked)
    }

    /// Walks the message that the walker has taken, and reports loops and copies; whether it comes to rest.
    pub(crate) fn walk(&mut self, message: Message<'_>) -> bool {
        self.walked += 1;
        self.walker.walk(message.entry);
        if self.walker.is_plain() {
            return true;
        }
        if let Some((arcs, start)) = self.walker.circle() {
            self.report_loop(message, &arcs, start);
            return false;
        }
        self.report_copies(message);
        true
    }

    fn report_loop(&mut self, message: Message<'_>, arcs: &[ArcId], start: usize) {
        let round = &arcs[start..];
        let mut key = round.to_vec();
        key.sort_unstable();
        if !self.is_new(Kind::Loop, self.group(message, round[0]), key) {
            return;
        }
        self.involve(message, arcs.iter().copied());
        let model = self.model;
        let trail = self.brokers(message.entry, arcs);
        let names: Vec<&str> = std::iter::once(model.tail(round[0]))
            .chain(round.iter().map(|arc| model.head(*arc)))
            .map(|broker| model.names[broker].as_str())
            .collect();
        let lines: Vec<String> = round.iter().map(|arc| self.line(message, *arc)).collect();
        let text = format!(
            "a message on `{}` published at {} goes round for ever, {}: {}. Remove one of these lines; a pair of brokers \
             that needs both directions takes one duplex link",
            message.topic,
            model.names[message.entry],
            names.join(" → "),
            lines.join("; "),
        );
        self.report(Kind::Loop, message, model.tail(round[0]), trail, text);
    }

    fn report_copies(&mut self, message: Message<'_>) {
        let model = self.model;
        let (copies, carried) = self.walker.copies(message.entry);
        let mut arriving: BTreeMap<Broker, Vec<ArcId>> = BTreeMap::new();
        for arc in self.walker.taken() {
            arriving.entry(model.head(*arc)).or_default().push(*arc);
        }
        arriving.retain(|broker, _| copies[*broker] > 1);
        // Where several copies come over one arc because its tail has them, it began before.
        let begins = |arc: &ArcId| carried[*arc] <= u64::from(self.walker.times(*arc));
        if arriving.values().any(|arcs| arcs.iter().all(begins)) {
            arriving.retain(|_, arcs| arcs.iter().all(begins));
        }
        for (broker, mut arcs) in arriving {
            arcs.sort_unstable();
            let mut key = self.group(message, arcs[0]);
            key.push(broker);
            if !self.is_new(Kind::Duplicate, key, Vec::new()) {
                continue;
            }
            let lines: Vec<String> = arcs.iter().map(|arc| self.line(message, *arc)).collect();
            let ways: Vec<ArcId> = arcs.iter().flat_map(|arc| self.walker.trail(*arc)).collect();
            self.involve(message, ways.into_iter());
            let last = arcs.last().copied().unwrap_or_default();
            let trail = self.brokers(message.entry, &self.walker.trail(last));
            let advice = if arcs.len() > 1 || broker == message.entry {
                "Keep one way for it"
            } else {
                "Keep one line that covers them, or let the sending broker remove duplicates"
            };
            let text = format!(
                "{} gets a message on `{}` published at {} {} times: {}. {advice}",
                model.names[broker],
                message.topic,
                model.names[message.entry],
                copies[broker],
                lines.join("; "),
            );
            self.report(Kind::Duplicate, message, broker, trail, text);
        }
    }

    /// Loops and copies that any message could meet, entering anywhere or only at `entries`.
    pub(crate) fn hazards(&mut self, groups: &Groups, entries: Option<&[Broker]>, extent: Extent) {
        let mut core = Core::new(self.model.broker_count());
        for group in &groups.suspects {
            let Some(kinds) = most_matched(self.model, group, MOST_KINDS) else {
                self.report_unproven(group);
                continue;
            };
            let mut cores: BTreeSet<Vec<ArcId>> = BTreeSet::new();
            for (topic, matched) in &kinds {
                self.walker.load(matched);
                let mut arcs = core.of(self.model, self.walker.carrying());
                let doubled: BTreeSet<Broker> = self
                    .walker
                    .carrying()
                    .iter()
                    .copied()
                    .filter(|arc| self.walker.times(*arc) > 1)
                    .map(|arc| self.model.tail(arc))
                    .collect();
                let mut starts = doubled;
                if let Some(entries) = entries {
                    if arcs.is_empty() && starts.is_empty() {
                        continue;
                    }
                    starts = entries.iter().copied().collect();
                } else {
                    // Two ways part and meet again, and a round goes round, within the core: entering there shows it.
                    let brokers: Vec<Broker> = arcs
                        .iter()
                        .flat_map(|arc| [self.model.tail(*arc), self.model.head(*arc)])
                        .collect();
                    arcs.dedup();
                    if cores.insert(arcs) {
                        starts.extend(brokers);
                    }
                }
                for entry in starts {
                    self.walk(Message {
                        topic,
                        matched,
                        entry,
                    });
                    if extent == Extent::First && !self.problems.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    fn report_unproven(&mut self, group: &[FilterId]) {
        let model = self.model;
        let Some(place) = group.iter().flat_map(|filter| model.places(*filter)).next() else {
            return;
        };
        let filter = model.filters[place.filter];
        let topic = model.witness(filter);
        let text = format!(
            "the {} filters that overlap `{filter}` cross in more than {MOST_KINDS} ways and their links form a ring \
             or double messages, so nothing is proven for them: use fewer wildcards, or keep their links a tree",
            group.len(),
        );
        let message = Message {
            topic: &topic,
            matched: &[],
            entry: model.tail(place.arc),
        };
        self.report(Kind::Loop, message, model.tail(place.arc), Vec::new(), text);
    }

    /// Notes by which lines a message has passed.
    fn involve(&mut self, message: Message<'_>, arcs: impl Iterator<Item = ArcId>) {
        self.involved = arcs
            .flat_map(|arc| self.filters_on(message, arc).map(move |filter| (arc, filter)))
            .collect();
    }

    /// Lines that let some message loop or arrive twice, whatever the others are. All, if that is not known.
    pub(crate) fn culprits(&self) -> BTreeSet<(Identity<'a>, &'a TopicFilter)> {
        let model = self.model;
        let line = |(arc, filter): (ArcId, FilterId)| (model.link(arc).identity(), model.filters[filter]);
        if self.involved.is_empty() {
            let filters = 0..model.filters.len();
            let all = filters.flat_map(|filter| model.places(filter));
            return all.map(|place| line((place.arc, place.filter))).collect();
        }
        self.involved.iter().copied().map(line).collect()
    }

    /// A consumer that does not get what was published for it.
    pub(crate) fn report_loss(&mut self, number: usize, flow: &Flow, message: Message<'_>, consumer: Broker) {
        if !self.is_new(Kind::Loss, vec![number, message.entry, consumer], Vec::new()) {
            return;
        }
        let model = self.model;
        let (trail, reason) = match self.missing_hop(consumer) {
            Some(arc) => {
                let trail = self
                    .walker
                    .arrived_by(model.tail(arc))
                    .map(|arc| self.walker.trail(arc))
                    .unwrap_or_default();
                let last = model.names[model.tail(arc)];
                let reason = format!(
                    "it gets as far as {last}, and {} has no line for it",
                    model.link_name(arc)
                );
                (trail, reason)
            }
            None => (Vec::new(), "no links lead from where it gets to there".to_owned()),
        };
        let trail = without_rounds(self.brokers(message.entry, &trail));
        let text = format!(
            "{}: a message on `{}` published at {} does not reach its consumer {}: {reason}. Add what is missing",
            subject(flow),
            message.topic,
            model.names[message.entry],
            model.names[consumer],
        );
        self.report(Kind::Loss, message, consumer, trail, text);
    }

    /// The first arc that would have to carry the message on the shortest way, over any links, from where it gets to
    /// where it is consumed.
    fn missing_hop(&self, consumer: Broker) -> Option<ArcId> {
        let model = self.model;
        let mut first: Vec<Option<ArcId>> = vec![None; model.broker_count()];
        let mut queue: std::collections::VecDeque<Broker> = (0..model.broker_count())
            .filter(|broker| self.walker.reached(*broker))
            .collect();
        while let Some(broker) = queue.pop_front() {
            for arc in model.leaving(broker) {
                let head = model.head(*arc);
                if self.walker.reached(head) || first[head].is_some() {
                    continue;
                }
                first[head] = first[broker].or(Some(*arc));
                if head == consumer {
                    return first[head];
                }
                queue.push_back(head);
            }
        }
        None
    }

    /// A consumer that gets less than was declared.
    pub(crate) fn report_lowered(
        &mut self,
        number: usize,
        flow: &Flow,
        message: Message<'_>,
        consumer: Broker,
        qos: Qos,
    ) {
        let Some(last) = self.walker.arrived_by(consumer) else {
            return;
        };
        let arcs = self.walker.trail(last);
        let Some(weakest) = arcs.iter().copied().find(|arc| self.walker.qos(*arc) == qos) else {
            return;
        };
        if !self.is_new(Kind::QosLowered, vec![number, consumer], vec![weakest]) {
            return;
        }
        let model = self.model;
        let text = format!(
            "{}: the consumer {} gets a message on `{}` published at {} with QoS {qos} instead of {}, because of {}. \
             Raise that line's QoS",
            subject(flow),
            model.names[consumer],
            message.topic,
            model.names[message.entry],
            flow.qos,
            self.line(message, weakest),
        );
        let trail = self.brokers(message.entry, &arcs);
        self.report(Kind::QosLowered, message, consumer, trail, text);
    }

    /// An arc that carries a message to where nobody wants it.
    pub(crate) fn report_needless(&mut self, message: Message<'_>, arc: ArcId) {
        if !self.is_new(Kind::Needless, self.group(message, arc), vec![arc]) {
            return;
        }
        let model = self.model;
        let text = format!(
            "a message on `{}` published at {} is carried to {}, where and beyond which nobody consumes it, over {}. \
             Narrow that line or remove it",
            message.topic,
            model.names[message.entry],
            model.names[model.head(arc)],
            self.line(message, arc),
        );
        let trail = self.brokers(message.entry, &self.walker.trail(arc));
        self.report(Kind::Needless, message, model.head(arc), trail, text);
    }

    /// Where an arc leads.
    pub(crate) fn head(&self, arc: ArcId) -> Broker {
        self.model.head(arc)
    }

    fn is_new(&mut self, kind: Kind, subject: Vec<usize>, arcs: Vec<ArcId>) -> bool {
        self.seen.insert((kind, subject, arcs))
    }

    fn report(
        &mut self,
        kind: Kind,
        message: Message<'_>,
        broker: Broker,
        trail: Vec<BrokerName>,
        text: String,
    ) {
        let name = |broker: Broker| self.model.names[broker].clone();
        self.problems.push(Problem {
            kind,
            topic: message.topic.to_owned(),
            producer: name(message.entry),
            broker: name(broker),
            trail,
            message: text,
        });
    }

    /// The filters of a message on an arc.
    fn filters_on<'s>(&'s self, message: Message<'s>, arc: ArcId) -> impl Iterator<Item = FilterId> + 's {
        let holds = move |filter: &FilterId| self.model.places(*filter).iter().any(|place| place.arc == arc);
        message.matched.iter().copied().filter(holds)
    }

    /// The group that a message's lines on an arc belong to, as part of a key.
    fn group(&self, message: Message<'_>, arc: ArcId) -> Vec<usize> {
        self.filters_on(message, arc)
            .take(1)
            .map(|filter| self.model.classes[filter])
            .collect()
    }

    /// What carries a message over an arc: `the pull link a ← b (line `x/#`)`.
    fn line(&self, message: Message<'_>, arc: ArcId) -> String {
        let filters: Vec<String> = self
            .filters_on(message, arc)
            .map(|filter| format!("`{}`", self.model.filters[filter]))
            .collect();
        let noun = if filters.len() == 1 { "line" } else { "lines" };
        format!("{} ({noun} {})", self.model.link_name(arc), filters.join(", "))
    }

    fn brokers(&self, entry: Broker, arcs: &[ArcId]) -> Vec<BrokerName> {
        let passed = std::iter::once(entry).chain(arcs.iter().map(|arc| self.model.head(*arc)));
        passed.map(|broker| self.model.names[broker].clone()).collect()
    }
}

/// What declares a flow.
fn subject(flow: &Flow) -> String {
    if flow.command {
        format!("topic/{} (its command filter `{}`)", flow.topic, flow.filter)
    } else {
        format!("topic/{}", flow.topic)
    }
}

/// A trail without the rounds that it goes, if it is one of a message that loops.
fn without_rounds(trail: Vec<BrokerName>) -> Vec<BrokerName> {
    let mut direct: Vec<BrokerName> = Vec::new();
    for broker in trail {
        if let Some(before) = direct.iter().position(|earlier| *earlier == broker) {
            direct.truncate(before);
        }
        direct.push(broker);
    }
    direct
}
