//! Probes of the plan's paths and markers of connections: published at one broker, awaited at others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skein_api::name::BrokerName;
use skein_engine::event::Event;
use skein_mosquitto::config::PROBE;

use super::{Errand, Flaw, World, name, number};
use crate::air::BrokerId;
use crate::names::Topic;
use crate::packet::{MILLISECOND, Message, Time};

/// How often probes are sent.
const PROBES: Time = 2_000 * MILLISECOND;
/// How often markers are.
const MARKERS: Time = 400 * MILLISECOND;

/// A probe's topic, where it is published and where it is awaited, and the flows that it speaks for.
#[derive(Debug)]
struct Path {
    topic: Topic,
    from: BrokerId,
    to: BrokerId,
    flows: Vec<(skein_api::name::TopicName, BrokerName, BrokerName)>,
}

/// The probes of the plan.
#[derive(Debug, Default)]
pub(crate) struct Probing {
    paths: Vec<Path>,
    last: Time,
}

impl World {
    /// Probes and class names follow the plan.
    pub(super) fn follow_plan(&mut self) {
        let Some(engine) = &self.engine else { return };
        let mut pairs: BTreeMap<(String, BrokerId, BrokerId), Vec<_>> = BTreeMap::new();
        for (class_name, class) in &engine.plan().classes {
            for topic in &class.topics {
                self.classes.insert(topic.clone(), class_name.clone());
            }
            for path in &class.paths {
                if path.brokers.is_empty() {
                    let flow = (path.topic.clone(), path.producer.clone(), path.consumer.clone());
                    self.interrupted.insert(flow);
                }
                let ends = path.brokers.last().zip(path.brokers.first());
                let Some((from, to)) = ends.and_then(|(from, to)| number(from).zip(number(to))) else {
                    continue;
                };
                let flow = (path.topic.clone(), path.producer.clone(), path.consumer.clone());
                pairs
                    .entry((class_name.to_string(), from, to))
                    .or_default()
                    .push(flow);
            }
        }
        let names = &mut self.fabric.air.names;
        self.probing.paths = pairs
            .into_iter()
            .map(|((class, from, to), flows)| Path {
                topic: names.topic(&format!("{PROBE}{class}/{}", super::NAMES[from])),
                from,
                to,
                flows,
            })
            .collect();
        self.watch();
    }

    /// Brokers tell of what is awaited there, and of nothing else.
    pub(super) fn watch(&mut self) {
        for broker in &mut self.fabric.brokers {
            broker.watched.clear();
        }
        for path in &self.probing.paths {
            let watched = &mut self.fabric.brokers[path.to].watched;
            if !watched.contains(&path.topic) {
                watched.push(path.topic);
            }
        }
        for marker in self.markers.keys() {
            if let Some(broker) = number(&marker.broker) {
                let topic = self.fabric.air.names.topic(&marker.topic);
                self.fabric.brokers[broker].watched.push(topic);
            }
        }
    }

    /// Sends what is due.
    pub(super) fn probe(&mut self, life: u32) {
        if life != self.life {
            return;
        }
        if !self.stalled {
            let now = self.now();
            if now >= self.probing.last + PROBES {
                self.probing.last = now;
                let sources: BTreeSet<(BrokerId, Topic)> = self
                    .probing
                    .paths
                    .iter()
                    .map(|path| (path.from, path.topic))
                    .collect();
                for (from, topic) in sources {
                    self.fabric.probe(from, topic, 1);
                }
            }
            let qos = if self.flaw == Some(Flaw::HastyMarkers) {
                1
            } else {
                2
            };
            let sources: BTreeSet<(BrokerName, String)> = self
                .markers
                .keys()
                .map(|marker| (marker.origin.clone(), marker.topic.clone()))
                .collect();
            for (origin, topic) in sources {
                if let Some(origin) = number(&origin) {
                    let topic = self.fabric.air.names.topic(&topic);
                    self.fabric.probe(origin, topic, qos);
                }
            }
        }
        self.after(MARKERS, Errand::Probes { life });
    }

    /// A message that was awaited came.
    pub(super) fn seen(&mut self, broker: BrokerId, message: Message) {
        let Some(here) = name(broker) else { return };
        let at = self
            .fabric
            .air
            .ledger
            .sent_at(crate::ledger::PROBES, message.number);
        let topic = self.fabric.air.names.topic_text(message.topic);
        let marker = self
            .markers
            .iter()
            .find(|(marker, _)| marker.broker == here && marker.topic == topic);
        if let Some((_, since)) = marker {
            // Those of an earlier life prove nothing.
            if at >= *since {
                let topic = topic.to_owned();
                self.observe(Event::MarkerSeen { broker: here, topic });
            }
            return;
        }
        let took = Duration::from_micros(self.now() - at);
        let flows: Vec<_> = self
            .probing
            .paths
            .iter()
            .filter(|path| path.to == broker && path.topic == message.topic)
            .flat_map(|path| path.flows.clone())
            .collect();
        for (topic, producer, consumer) in flows {
            self.observe(Event::Probe {
                topic,
                producer,
                consumer,
                took: Some(took),
            });
        }
    }
}
