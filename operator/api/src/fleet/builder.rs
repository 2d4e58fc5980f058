//! The fluent builder that tests and benchmarks declare fleets with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Broker, External, Failover, Fleet, Heartbeat, Hosting, Managed, Queue, Route, Topic};
use crate::name::{BrokerName, Cost, Qos, RouteName, TopicName};
use skein_filters::TopicFilter;

/// Declares a [`Fleet`] in a few lines. Brokers named by routes and topics come into being by themselves.
///
/// It is for tests, benchmarks and examples: a bad name or filter is dropped silently by `build`, so use `manifest` for
/// anything a user wrote.
#[derive(Clone, Debug, Default)]
pub struct FleetBuilder {
    fleet: Fleet,
}

impl FleetBuilder {
    /// An empty fleet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Managed brokers, space separated.
    #[must_use]
    pub fn brokers(mut self, names: &str) -> Self {
        for name in names.split_whitespace() {
            self.broker(name);
        }
        self
    }

    /// An external broker that Skein does not control.
    #[must_use]
    pub fn external(mut self, name: &str) -> Self {
        if let Some(name) = self.broker(name)
            && let Some(broker) = self.fleet.brokers.get_mut(&name)
        {
            broker.hosting = Hosting::External(External {
                host: "127.0.0.1".to_owned(),
                port: 1883,
                tls: false,
                credentials: None,
            });
        }
        self
    }

    /// Changes a broker in place.
    #[must_use]
    pub fn with(mut self, name: &str, change: impl FnOnce(&mut Broker)) -> Self {
        if let Some(name) = self.broker(name)
            && let Some(broker) = self.fleet.brokers.get_mut(&name)
        {
            change(broker);
        }
        self
    }

    /// Two-way routes of cost 1, such as `"a-b b-c"` (or `"a-b:7"` for cost 7); `"a>b"` is one-way from a to b.
    #[must_use]
    pub fn routes(mut self, routes: &str) -> Self {
        for text in routes.split_whitespace() {
            let (ends, cost) = text.split_once(':').unwrap_or((text, "1"));
            let (one_way, separator) = if ends.contains('>') {
                (true, '>')
            } else {
                (false, '-')
            };
            let Some((a, b)) = ends.split_once(separator) else {
                continue;
            };
            let (Some(a), Some(b)) = (self.broker(a), self.broker(b)) else {
                continue;
            };
            let name = RouteName::new(&format!("{a}-{b}"));
            let cost = cost.parse().ok().and_then(Cost::new);
            if let (Ok(name), Some(cost)) = (name, cost) {
                self.fleet.routes.insert(
                    name,
                    Route {
                        a,
                        b,
                        one_way,
                        cost,
                        paused: false,
                    },
                );
            }
        }
        self
    }

    /// Pauses a route.
    #[must_use]
    pub fn paused(mut self, route: &str) -> Self {
        if let Some(route) = self.fleet.routes.get_mut(route) {
            route.paused = true;
        }
        self
    }

    /// A QoS 1 topic; producers and consumers space separated.
    #[must_use]
    pub fn topic(mut self, name: &str, filter: &str, producers: &str, consumers: &str) -> Self {
        let producers = self.ends(producers);
        let consumers = self.ends(consumers);
        if let (Ok(name), Ok(filter)) = (TopicName::new(name), TopicFilter::parse(filter)) {
            let topic = Topic {
                filter,
                qos: Qos::default(),
                producers,
                consumers,
                commands: Vec::new(),
                retained: false,
                expected: None,
            };
            self.fleet.topics.insert(name, Arc::new(topic));
        }
        self
    }

    /// Adds command filters (space separated) to a topic.
    #[must_use]
    pub fn commands(mut self, topic: &str, filters: &str) -> Self {
        if let Some(topic) = self.fleet.topics.get_mut(topic) {
            Arc::make_mut(topic).commands.extend(
                filters
                    .split_whitespace()
                    .filter_map(|text| TopicFilter::parse(text).ok()),
            );
        }
        self
    }

    /// Sets a topic's quality of service.
    #[must_use]
    pub fn qos(mut self, topic: &str, qos: Qos) -> Self {
        if let Some(topic) = self.fleet.topics.get_mut(topic) {
            Arc::make_mut(topic).qos = qos;
        }
        self
    }

    /// The fleet.
    #[must_use]
    pub fn build(self) -> Fleet {
        self.fleet
    }

    fn ends(&mut self, names: &str) -> BTreeSet<BrokerName> {
        names
            .split_whitespace()
            .filter_map(|name| self.broker(name))
            .collect()
    }

    fn broker(&mut self, name: &str) -> Option<BrokerName> {
        let name = BrokerName::new(name).ok()?;
        self.fleet.brokers.entry(name.clone()).or_insert_with(|| Broker {
            zone: None,
            labels: BTreeMap::new(),
            hosting: Hosting::Managed(Managed {
                version: None,
                durability: None,
                queue: Queue::default(),
                listeners: Vec::new(),
                allow_anonymous: true,
                users: None,
                settings: BTreeMap::new(),
            }),
            heartbeat: Heartbeat::default(),
            failover: Failover::default(),
        });
        Some(name)
    }
}
