//! Which probes show that the plan's paths pass messages, and which paths each probe speaks for.
//!
//! A probe belongs to a class and a pair of brokers as they serve now; several topics of the class, and declared
//! brokers that one substitute serves, share it. A path with commands passes messages if probes arrive both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skein_api::fleet::Fleet;
use skein_api::name::{BrokerName, TopicName};
use skein_engine::event::Event;
use skein_mosquitto::config::PROBE;
use skein_mqtt::session::Qos;
use skein_mqtt::{Probe, ProbeEnd};
use skein_planner::plan::Plan;

/// (class, producer as it serves, consumer as it serves)
type Pair = (String, String, String);

/// (topic, producer, consumer), as declared
type Flow = (TopicName, BrokerName, BrokerName);

/// The probes of a plan.
#[derive(Debug, Default)]
pub struct Probing {
    /// The flows that a probe speaks for.
    pairs: BTreeMap<Pair, Vec<Flow>>,
    flows: BTreeMap<Flow, Way>,
    /// What came of each pair's last probe.
    last: BTreeMap<Pair, Option<Duration>>,
}

/// How a flow goes.
#[derive(Debug, PartialEq, Eq)]
struct Way {
    /// The brokers it passes, consumer first.
    brokers: Vec<BrokerName>,
    forth: Pair,
    /// The way of its commands, if it has any.
    back: Option<Pair>,
}

impl Probing {
    /// Those that a plan of a fleet needs.
    #[must_use]
    pub fn of(fleet: &Fleet, plan: &Plan) -> Self {
        let mut pairs: BTreeMap<Pair, Vec<Flow>> = BTreeMap::new();
        let mut flows = BTreeMap::new();
        for (name, class) in &plan.classes {
            let pair =
                |from: &BrokerName, to: &BrokerName| (name.to_string(), from.to_string(), to.to_string());
            for path in &class.paths {
                let (Some(consumer), Some(producer)) = (path.brokers.first(), path.brokers.last()) else {
                    continue;
                };
                let flow = (path.topic.clone(), path.producer.clone(), path.consumer.clone());
                let topic = fleet.topics.get(&path.topic);
                let commanded = topic.is_some_and(|topic| !topic.commands.is_empty()) && producer != consumer;
                let way = Way {
                    brokers: path.brokers.to_vec(),
                    forth: pair(producer, consumer),
                    back: commanded.then(|| pair(consumer, producer)),
                };
                for pair in std::iter::once(&way.forth).chain(&way.back) {
                    pairs.entry(pair.clone()).or_default().push(flow.clone());
                }
                flows.insert(flow, way);
            }
        }
        Self {
            pairs,
            flows,
            last: BTreeMap::new(),
        }
    }

    /// The same probes for the same flows.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.pairs, &self.flows) == (&other.pairs, &other.flows)
    }

    /// Takes over what the probes before this have shown, where it still holds.
    pub fn continue_from(&mut self, before: &Self) {
        for (flow, way) in &self.flows {
            if before.flows.get(flow) == Some(way) {
                for pair in std::iter::once(&way.forth).chain(&way.back) {
                    if let Some(outcome) = before.last.get(pair) {
                        self.last.insert(pair.clone(), *outcome);
                    }
                }
            }
        }
    }

    /// What was probed on another way before: nothing has passed the new one yet.
    #[must_use]
    pub fn unproven(&self, before: &Self) -> Vec<Event> {
        let moved = self
            .flows
            .iter()
            .filter(|(flow, way)| before.flows.get(flow).is_some_and(|old| old != *way));
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
    #[must_use]
    pub fn probes(&self) -> Vec<Probe> {
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
                topic: format!("{PROBE}{class}/{producer}"),
                at: producer.to_owned(),
                qos: Qos::AtLeastOnce,
                consumers,
            })
            .collect()
    }

    /// The topics that a probe speaks for, each once.
    pub fn topics(&self, topic: &str, consumer: &str) -> impl Iterator<Item = &TopicName> {
        let flows = pair(topic, consumer).and_then(|pair| self.pairs.get(&pair));
        let topics: BTreeSet<&TopicName> = flows.into_iter().flatten().map(|(topic, ..)| topic).collect();
        topics.into_iter()
    }

    /// A probe's outcome: what it means for every path it speaks for.
    pub fn events(&mut self, topic: &str, consumer: &str, took: Option<Duration>) -> Vec<Event> {
        let Some(key) = pair(topic, consumer) else {
            return Vec::new();
        };
        let Some(flows) = self.pairs.get(&key) else {
            return Vec::new();
        };
        self.last.insert(key, took);
        let outcome = |pair: &Pair| self.last.get(pair).copied().flatten();
        let event = |flow: &Flow| {
            let way = self.flows.get(flow)?;
            let back = way.back.as_ref().is_none_or(|back| outcome(back).is_some());
            Some(Event::Probe {
                topic: flow.0.clone(),
                producer: flow.1.clone(),
                consumer: flow.2.clone(),
                took: outcome(&way.forth).filter(|_| back),
            })
        };
        flows.iter().filter_map(event).collect()
    }
}

/// Which pair a probe on this topic is of, if it is one of a path.
fn pair(topic: &str, consumer: &str) -> Option<Pair> {
    let (class, producer) = topic.strip_prefix(PROBE)?.split_once('/')?;
    Some((class.to_owned(), producer.to_owned(), consumer.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_api::fleet::FleetBuilder;
    use skein_api::name::ClassName;
    use skein_planner::plan::{Class, Path};

    /// Only what the plan does not say: which topics have commands.
    fn fleet() -> Fleet {
        FleetBuilder::new()
            .brokers("a b c i")
            .routes("a-b b-c c-i")
            .topic("soil", "soil", "i", "a")
            .topic("valve", "bed", "i", "a")
            .commands("valve", "valve")
            .build()
    }

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
                links: std::sync::Arc::default(),
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
        let mut probing = Probing::of(&fleet(), &plan);
        let [probe] = probing.probes().try_into().unwrap();
        assert_eq!(
            (probe.topic.as_str(), probe.at.as_str()),
            ("$skein/probe/soil/i", "i")
        );
        assert_eq!(
            probe
                .consumers
                .iter()
                .map(|end| end.consumer.as_str())
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        let events = probing.events("$skein/probe/soil/i", "a", Some(Duration::from_millis(1)));
        let topics: Vec<String> = events
            .iter()
            .map(|event| match event {
                Event::Probe { topic, .. } => topic.to_string(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(topics, ["air", "soil"]);
        let topics = |topic, consumer| {
            probing
                .topics(topic, consumer)
                .map(TopicName::as_str)
                .collect::<Vec<_>>()
        };
        assert_eq!(topics("$skein/probe/soil/i", "a"), ["air", "soil"]);
        assert_eq!(topics("$skein/probe/soil/i", "b"), ["soil"]);
        assert!(
            topics("$skein/marker/soil/i", "b").is_empty(),
            "no probe of a path"
        );
        assert_eq!(plan.class_names().len(), 2);
    }

    #[test]
    fn a_probe_travels_between_those_that_serve_and_speaks_for_those_declared() {
        let mut probing = Probing::of(&fleet(), &plan(vec![path("soil", "i", "a", "a b twin")]));
        assert_eq!(probing.probes()[0].at, "twin");
        let events = probing.events("$skein/probe/soil/twin", "a", None);
        assert!(
            matches!(&events[..], [Event::Probe { producer, took: None, .. }] if producer.as_str() == "i"),
            "{events:?}"
        );
        assert!(
            probing.events("$skein/probe/soil/i", "a", None).is_empty(),
            "an outcome of the plan before"
        );
    }

    #[test]
    fn a_path_with_commands_is_up_when_probes_arrive_both_ways() {
        let up = |events: Vec<Event>| match &events[..] {
            [Event::Probe { took, .. }] => took.is_some(),
            other => panic!("{other:?}"),
        };
        let some = Some(Duration::from_millis(1));
        let mut probing = Probing::of(&fleet(), &plan(vec![path("valve", "i", "a", "a b i")]));
        assert_eq!(probing.probes().len(), 2);
        assert!(!up(probing.events("$skein/probe/soil/i", "a", some)));
        assert!(up(probing.events("$skein/probe/soil/a", "i", some)));
        let mut continued = Probing::of(
            &fleet(),
            &plan(vec![
                path("valve", "i", "a", "a b i"),
                path("soil", "c", "a", "a b c"),
            ]),
        );
        continued.continue_from(&probing);
        assert!(
            up(continued.events("$skein/probe/soil/i", "a", some)),
            "it went on meanwhile"
        );
        let mut other = Probing::of(&fleet(), &plan(vec![path("valve", "i", "a", "a c i")]));
        other.continue_from(&probing);
        assert!(
            !up(other.events("$skein/probe/soil/i", "a", some)),
            "the way back is unproven"
        );
        assert!(up(other.events("$skein/probe/soil/a", "i", some)));
        assert!(!up(other.events("$skein/probe/soil/a", "i", None)));
    }

    #[test]
    fn a_flow_that_took_another_way_is_unproven_and_one_that_did_not_is_not() {
        let before = Probing::of(
            &fleet(),
            &plan(vec![
                path("air", "i", "a", "a b i"),
                path("soil", "i", "a", "a b i"),
            ]),
        );
        let after = Probing::of(
            &fleet(),
            &plan(vec![
                path("air", "i", "a", "a b i"),
                path("fire", "i", "a", "a c i"),
                path("soil", "i", "a", "a c i"),
            ]),
        );
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
            Probing::of(&fleet(), &plan(vec![path("soil", "i", "a", "")]))
                .probes()
                .is_empty()
        );
    }
}
