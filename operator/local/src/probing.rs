//! Which probes show that the plan's paths pass messages, and which paths each probe speaks for.
//!
//! A probe belongs to a class and a pair of brokers as they serve now; several topics of the class, and declared
//! brokers that one substitute serves, share it.

use std::collections::{BTreeMap, BTreeSet};

use skein_api::name::{BrokerName, ClassName, TopicName};
use skein_engine::event::Event;
use skein_mqtt::{Probe, ProbeEnd};
use skein_planner::plan::Plan;

/// (class, producer as it serves, consumer as it serves)
type Pair = (String, String, String);

/// (topic, producer, consumer), as declared
type Flow = (TopicName, BrokerName, BrokerName);

/// The probes of a plan.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Probing {
    pairs: BTreeMap<Pair, Vec<Flow>>,
    /// The brokers each flow passes.
    ways: BTreeMap<Flow, Vec<BrokerName>>,
}

impl Probing {
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut pairs: BTreeMap<Pair, Vec<Flow>> = BTreeMap::new();
        let mut ways = BTreeMap::new();
        for (name, class) in &plan.classes {
            for path in &class.paths {
                let flow = (path.topic.clone(), path.producer.clone(), path.consumer.clone());
                ways.insert(flow.clone(), path.brokers.clone());
                if let (Some(consumer), Some(producer)) = (path.brokers.first(), path.brokers.last()) {
                    pairs
                        .entry((name.to_string(), producer.to_string(), consumer.to_string()))
                        .or_default()
                        .push(flow);
                }
            }
        }
        Self { pairs, ways }
    }

    /// What was probed on another way before: nothing has passed the new one yet.
    pub(crate) fn unproven(&self, before: &Self) -> Vec<Event> {
        let moved = self
            .ways
            .iter()
            .filter(|(flow, way)| before.ways.get(flow).is_some_and(|old| old != *way));
        moved
            .map(|((topic, producer, consumer), _)| Event::Probe {
                topic: topic.clone(),
                producer: producer.clone(),
                consumer: consumer.clone(),
                took: None,
            })
            .collect()
    }

    /// What to send and where to await it.
    pub(crate) fn probes(&self) -> Vec<Probe> {
        let mut probes: BTreeMap<(&str, &str), Vec<ProbeEnd>> = BTreeMap::new();
        for (class, producer, consumer) in self.pairs.keys() {
            let end = ProbeEnd {
                consumer: consumer.clone(),
                at: consumer.clone(),
            };
            probes.entry((class, producer)).or_default().push(end);
        }
        probes
            .into_iter()
            .map(|((class, producer), consumers)| Probe {
                class: class.to_owned(),
                producer: producer.to_owned(),
                at: producer.to_owned(),
                consumers,
            })
            .collect()
    }

    /// A probe's outcome, for every path it speaks for.
    pub(crate) fn events(
        &self,
        class: &str,
        producer: &str,
        consumer: &str,
        took: Option<std::time::Duration>,
    ) -> Vec<Event> {
        let key = (class.to_owned(), producer.to_owned(), consumer.to_owned());
        let paths = self.pairs.get(&key).map(Vec::as_slice).unwrap_or_default();
        paths
            .iter()
            .map(|(topic, producer, consumer)| Event::Probe {
                topic: topic.clone(),
                producer: producer.clone(),
                consumer: consumer.clone(),
                took,
            })
            .collect()
    }
}

/// The class of each topic of a plan.
pub(crate) fn classes(plan: &Plan) -> BTreeMap<TopicName, ClassName> {
    let one = |(name, topics): (&ClassName, &Vec<TopicName>)| -> BTreeSet<(TopicName, ClassName)> {
        topics.iter().map(|topic| (topic.clone(), name.clone())).collect()
    };
    plan.classes
        .iter()
        .flat_map(|(name, class)| one((name, &class.topics)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_planner::plan::{Class, Path};
    use std::time::Duration;

    fn name(text: &str) -> BrokerName {
        BrokerName::new(text).unwrap()
    }

    fn path(topic: &str, producer: &str, consumer: &str, brokers: &str) -> Path {
        Path {
            topic: TopicName::new(topic).unwrap(),
            producer: name(producer),
            consumer: name(consumer),
            brokers: brokers.split_whitespace().map(name).collect(),
            cost: 1,
            shortest: 1,
        }
    }

    fn plan(paths: Vec<Path>) -> Plan {
        let class = ClassName::new("soil").unwrap();
        let topics = vec![TopicName::new("air").unwrap(), TopicName::new("soil").unwrap()];
        let mut plan = Plan::default();
        plan.classes.insert(
            class.clone(),
            Class {
                name: class,
                topics,
                root: None,
                paths,
            }
            .into(),
        );
        plan
    }

    #[test]
    fn topics_of_one_class_and_pair_share_a_probe() {
        let plan = plan(vec![
            path("air", "i", "a", "a b i"),
            path("soil", "i", "a", "a b i"),
            path("soil", "i", "b", "b i"),
        ]);
        let probing = Probing::of(&plan);
        let [probe] = probing.probes().try_into().unwrap();
        assert_eq!(
            (probe.class.as_str(), probe.producer.as_str(), probe.at.as_str()),
            ("soil", "i", "i")
        );
        assert_eq!(
            probe
                .consumers
                .iter()
                .map(|end| end.consumer.as_str())
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        let events = probing.events("soil", "i", "a", Some(Duration::from_millis(1)));
        let topics: Vec<String> = events
            .iter()
            .map(|event| match event {
                Event::Probe { topic, .. } => topic.to_string(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(topics, ["air", "soil"]);
        assert_eq!(classes(&plan).len(), 2);
    }

    #[test]
    fn a_probe_travels_between_those_that_serve_and_speaks_for_those_declared() {
        let probing = Probing::of(&plan(vec![path("soil", "i", "a", "a b twin")]));
        assert_eq!(probing.probes()[0].at, "twin");
        let events = probing.events("soil", "twin", "a", None);
        assert!(
            matches!(&events[..], [Event::Probe { producer, took: None, .. }] if producer.as_str() == "i"),
            "{events:?}"
        );
        assert!(
            probing.events("soil", "i", "a", None).is_empty(),
            "an outcome of the plan before"
        );
    }

    #[test]
    fn a_flow_that_took_another_way_is_unproven_and_one_that_did_not_is_not() {
        let before = Probing::of(&plan(vec![
            path("air", "i", "a", "a b i"),
            path("soil", "i", "a", "a b i"),
        ]));
        let after = Probing::of(&plan(vec![
            path("air", "i", "a", "a b i"),
            path("fire", "i", "a", "a c i"),
            path("soil", "i", "a", "a c i"),
        ]));
        let unproven = after.unproven(&before);
        assert!(
            matches!(&unproven[..], [Event::Probe { topic, took: None, .. }] if topic.as_str() == "soil"),
            "{unproven:?}"
        );
        assert!(after.unproven(&after).is_empty());
    }

    #[test]
    fn a_path_that_does_not_exist_is_not_probed() {
        assert!(
            Probing::of(&plan(vec![path("soil", "i", "a", "")]))
                .probes()
                .is_empty()
        );
    }
}
