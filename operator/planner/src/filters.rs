//! The filters of a class: the user's, and those of Skein's own lines.

use std::sync::Arc;

use skein_api::name::{BrokerName, ClassName, Qos};
use skein_filters::TopicFilter;
use skein_mosquitto::config::PROBE;
use skein_mosquitto::link::Line;

use crate::declared::Declared;
use crate::laid::{ANYBODY, View};
use crate::lines::{Place, Relations};
use crate::topology::{Node, Topology};

/// The filters of a class, in order, and how they relate.
#[derive(Debug)]
pub(crate) struct ClassFilters {
    pub(crate) relations: Relations,
    /// By topic: the places of its filter and its commands.
    pub(crate) place_of: Vec<Vec<Place>>,
    /// The filter of all path probes of the class.
    any_probe: Option<TopicFilter>,
    /// The filters of single brokers' path probes, sorted.
    probes: Vec<(Node, TopicFilter)>,
}

impl ClassFilters {
    pub(crate) fn new(class: &ClassName, topics: &[Arc<Declared>]) -> Self {
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
            any_probe: probe(class, None),
            probes: Vec::new(),
        }
    }

    /// The user's lines of a part, in the order of places.
    pub(crate) fn lines(&self, part: View) -> impl Iterator<Item = Line> {
        part.lines.iter().filter_map(|line| {
            Some(Line {
                filter: self.relations.filter(line.place())?.clone(),
                direction: line.direction(),
                qos: line.qos(),
            })
        })
    }

    /// Skein's own lines of a part, sorted.
    pub(crate) fn control(&self, part: View) -> impl Iterator<Item = Line> {
        part.origins.iter().filter_map(move |&origin| {
            Some(Line {
                filter: self.probe(origin)?.clone(),
                direction: part.head.direction,
                // Probes are published at QoS 1. The markers of a barrier are at QoS 2: at 1 they overtake messages.
                qos: Qos::ExactlyOnce,
            })
        })
    }

    fn probe(&self, origin: Node) -> Option<&TopicFilter> {
        if origin == ANYBODY {
            return self.any_probe.as_ref();
        }
        let place = self
            .probes
            .binary_search_by_key(&origin, |(node, _)| *node)
            .ok()?;
        Some(&self.probes[place].1)
    }

    /// Makes the filters of probes that are still missing. `origins` are sorted.
    pub(crate) fn add_probes(&mut self, topology: &Topology, class: &ClassName, origins: &[Node]) {
        let missing: Vec<Node> = origins
            .iter()
            .copied()
            .filter(|origin| {
                self.probes
                    .binary_search_by_key(origin, |(node, _)| *node)
                    .is_err()
            })
            .collect();
        if !missing.is_empty() {
            self.probes.extend(
                missing
                    .into_iter()
                    .filter_map(|origin| Some((origin, probe(class, Some(topology.name(origin)))?))),
            );
            self.probes.sort_unstable_by_key(|(node, _)| *node);
        }
    }
}

/// The filter of what Skein sends along the paths of a class, from anybody or from one broker.
fn probe(class: &ClassName, origin: Option<&BrokerName>) -> Option<TopicFilter> {
    let filter = match origin {
        None => format!("{PROBE}{class}/#"),
        Some(origin) => format!("{PROBE}{class}/{origin}/#"),
    };
    TopicFilter::parse(&filter).ok()
}
