//! The links as numbered brokers, arcs and lines. Knows which lines a topic matches, not where a message then goes.
//!
//! An *arc* is one direction of a link: two per link, of which the lines may use one or both.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use skein_api::name::{BrokerName, Qos};
use skein_filters::{FilterTrie, Level, TopicFilter, overlap_classes};
use skein_mosquitto::link::{Direction, Link};

/// A broker's number: brokers are numbered in the order of their names.
pub(crate) type Broker = usize;
/// An arc's number: `2 * link` towards the downstream broker, `2 * link + 1` towards the upstream one.
pub(crate) type ArcId = usize;
/// The number of a line filter; equal filters on several links have one number.
pub(crate) type FilterId = usize;

/// One line on one arc.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) filter: FilterId,
    pub(crate) arc: ArcId,
    pub(crate) qos: Qos,
}

pub(crate) struct Model<'a> {
    pub(crate) names: Vec<&'a BrokerName>,
    numbers: BTreeMap<&'a BrokerName, Broker>,
    /// By number; of several configurations of one link, the first.
    links: Vec<&'a Link>,
    /// Tail and head of each arc.
    ends: Vec<(Broker, Broker)>,
    /// Arcs by their tail.
    leaving: Vec<Vec<ArcId>>,
    deduplicating: Vec<bool>,
    pub(crate) filters: Vec<&'a TopicFilter>,
    pub(crate) trie: FilterTrie<FilterId>,
    /// The overlap class of each filter.
    pub(crate) classes: Vec<usize>,
    /// Sorted by filter, then arc.
    places: Vec<Place>,
    /// Where the places of each filter start.
    starts: Vec<usize>,
    /// A level that no filter names.
    filler: String,
}

/// The link that an arc is a direction of.
pub(crate) fn link_of(arc: ArcId) -> usize {
    arc / 2
}

impl<'a> Model<'a> {
    /// The model of these links, which also knows the brokers and the literal levels of `names` and `filters`.
    pub(crate) fn new(
        links: &'a [impl Borrow<Link>],
        deduplicating: &BTreeSet<BrokerName>,
        names: impl Iterator<Item = &'a BrokerName>,
        filters: impl Iterator<Item = &'a TopicFilter>,
    ) -> Self {
        let mut links: Vec<&Link> = links.iter().map(Borrow::borrow).collect();
        links.sort_by_key(|link| link.identity());
        let ends = links.iter().flat_map(|link| [&link.downstream, &link.upstream]);
        let names: BTreeSet<&BrokerName> = ends.chain(names).collect();
        let numbers: BTreeMap<&BrokerName, Broker> = names.iter().copied().zip(0..).collect();
        let mut model = Self {
            links: Vec::new(),
            ends: Vec::new(),
            leaving: vec![Vec::new(); names.len()],
            deduplicating: names.iter().map(|name| deduplicating.contains(*name)).collect(),
            filters: Vec::new(),
            trie: FilterTrie::new(),
            classes: Vec::new(),
            places: Vec::new(),
            starts: Vec::new(),
            filler: String::new(),
            names: names.into_iter().collect(),
            numbers,
        };
        let mut known: HashMap<&str, FilterId> = HashMap::new();
        for (index, link) in links.iter().enumerate() {
            // Two configurations of one link share its client id and so its session: they are one link with the
            // lines of both (a line that is gone from the text stays subscribed in the session).
            if index == 0 || links[index - 1].identity() != link.identity() {
                model.add_link(link);
            }
            let inward = model.ends.len() - 2;
            for line in link.lines.iter().chain(link.control.iter()) {
                let filter = *known.entry(line.filter.as_str()).or_insert_with(|| {
                    model.filters.push(&line.filter);
                    model.filters.len() - 1
                });
                let arcs = match line.direction {
                    Direction::In => inward..inward + 1,
                    Direction::Out => inward + 1..inward + 2,
                    Direction::Both => inward..inward + 2,
                };
                model.places.extend(arcs.map(|arc| Place {
                    filter,
                    arc,
                    qos: line.qos,
                }));
            }
        }
        // A filter that is there twice is subscribed once; with which quality is anyone's guess, so the lower counts.
        model.places.sort_unstable();
        model.places.dedup_by_key(|place| (place.filter, place.arc));
        model.starts = vec![0; model.filters.len() + 1];
        for place in &model.places {
            model.starts[place.filter + 1] += 1;
        }
        for index in 0..model.filters.len() {
            model.starts[index + 1] += model.starts[index];
            model.trie.insert(model.filters[index], index);
        }
        model.classes = overlap_classes(model.filters.iter().copied());
        model.filler = filler(model.filters.iter().copied().chain(filters));
        model
    }

    fn add_link(&mut self, link: &'a Link) {
        let (Some(downstream), Some(upstream)) = (self.number(&link.downstream), self.number(&link.upstream))
        else {
            return;
        };
        let inward = self.ends.len();
        self.links.push(link);
        self.ends.extend([(upstream, downstream), (downstream, upstream)]);
        self.leaving[upstream].push(inward);
        self.leaving[downstream].push(inward + 1);
    }

    pub(crate) fn number(&self, name: &BrokerName) -> Option<Broker> {
        self.numbers.get(name).copied()
    }

    pub(crate) fn broker_count(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn arc_count(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn tail(&self, arc: ArcId) -> Broker {
        self.ends[arc].0
    }

    pub(crate) fn head(&self, arc: ArcId) -> Broker {
        self.ends[arc].1
    }

    /// Whether the broker that the arc leaves gives one copy however many lines match.
    pub(crate) fn deduplicates(&self, arc: ArcId) -> bool {
        self.deduplicating[self.tail(arc)]
    }

    /// Arcs that leave a broker, whatever they carry.
    pub(crate) fn leaving(&self, broker: Broker) -> &[ArcId] {
        &self.leaving[broker]
    }

    /// The arcs on which a filter has a line.
    pub(crate) fn places(&self, filter: FilterId) -> &[Place] {
        &self.places[self.starts[filter]..self.starts[filter + 1]]
    }

    /// The line filters that a topic matches, sorted.
    pub(crate) fn matching(&self, topic: &str) -> Vec<FilterId> {
        let mut found = Vec::new();
        self.trie.matching(topic, |filter| found.push(*filter));
        found.sort_unstable();
        found
    }

    /// The topic of a filter that matches no filter but those that cover it.
    pub(crate) fn witness(&self, filter: &TopicFilter) -> String {
        filter.witness_with(&self.filler)
    }

    /// Topics of a filter such that each topic it matches finds the lines of one of these matching too: for every
    /// length that makes a difference, the one whose wildcard levels no filter names.
    pub(crate) fn least_matched(&self, filter: &TopicFilter) -> Vec<(String, Vec<FilterId>)> {
        let stem = stem(filter);
        let open = filter.levels().any(|level| level == Level::Hash);
        let mut longest = stem;
        if open {
            self.trie.overlapping(filter, |other| {
                longest = longest.max(self::stem(self.filters[*other]));
            });
            // Longer ones than any line fare alike.
            longest += 1;
        }
        let mut found: Vec<(String, Vec<FilterId>)> = Vec::new();
        for length in stem..=longest {
            let levels = filter.levels().take(stem).map(|level| match level {
                Level::Literal(literal) => literal,
                Level::Plus | Level::Hash => &self.filler,
            });
            let fill = std::iter::repeat_n(self.filler.as_str(), length - stem);
            let topic = levels.chain(fill).collect::<Vec<&str>>().join("/");
            if topic.is_empty() {
                continue;
            }
            let matched = self.matching(&topic);
            if !found.iter().any(|(_, other)| *other == matched) {
                found.push((topic, matched));
            }
        }
        found
    }

    /// The link that an arc is a direction of.
    pub(crate) fn link(&self, arc: ArcId) -> &'a Link {
        self.links[link_of(arc)]
    }

    /// A link as people write it: the downstream broker first.
    pub(crate) fn link_name(&self, arc: ArcId) -> String {
        let (upstream, downstream) = self.ends[2 * link_of(arc)];
        let mode = self.links[link_of(arc)].mode;
        format!(
            "the {mode} link {} ← {}",
            self.names[downstream], self.names[upstream]
        )
    }
}

/// How many levels a filter has before its `#`.
fn stem(filter: &TopicFilter) -> usize {
    filter.levels().filter(|level| *level != Level::Hash).count()
}

fn filler<'a>(filters: impl Iterator<Item = &'a TopicFilter>) -> String {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for filter in filters {
        taken.extend(
            filter
                .as_str()
                .split('/')
                .filter(|level| level.starts_with("any")),
        );
    }
    let mut filler = "any".to_owned();
    let mut number = 1_u32;
    while taken.contains(filler.as_str()) {
        number += 1;
        filler = format!("any{number}");
    }
    filler
}
