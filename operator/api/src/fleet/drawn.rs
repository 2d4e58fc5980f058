//! Large fleets that are drawn by lot, and are the very same in every run: for benchmarks.

use std::collections::BTreeSet;
use std::sync::Arc;

use skein_filters::TopicFilter;

use super::{Fleet, FleetBuilder, Route, Topic};
use crate::name::{BrokerName, Cost, Qos, RouteName, TopicName};

/// A generator of our own: no library's next version changes what is drawn.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// Draws the same for the same seed, which is not 0.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`, which is not 0.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or_default() % sides
    }

    /// The name of one of that many brokers.
    pub fn broker(&mut self, brokers: usize) -> BrokerName {
        broker(self.roll(brokers))
    }

    /// A cost, uniform in 1–100.
    pub fn cost(&mut self) -> Cost {
        named(Cost::new(named(i64::try_from(1 + self.roll(100)))).ok_or("a cost"))
    }

    /// A connected network with three routes a broker: a random tree, and random pairs.
    pub fn network(&mut self, brokers: usize) -> Fleet {
        let names: Vec<BrokerName> = (0..brokers).map(broker).collect();
        let builder = names.iter().map(BrokerName::as_str);
        let mut fleet = builder.fold(FleetBuilder::new(), FleetBuilder::brokers).build();
        let mut pairs: BTreeSet<(usize, usize)> =
            (1..brokers).map(|number| (self.roll(number), number)).collect();
        while pairs.len() < 3 * brokers {
            let (a, b) = (self.roll(brokers), self.roll(brokers));
            if a != b {
                pairs.insert((a.min(b), a.max(b)));
            }
        }
        for (number, (a, b)) in pairs.into_iter().enumerate() {
            let route = Route {
                a: names[a].clone(),
                b: names[b].clone(),
                one_way: false,
                cost: self.cost(),
                paused: false,
            };
            let name = named(RouteName::new(&format!("route-{number:05}")));
            fleet.routes.insert(name, route);
        }
        fleet
    }

    /// One topic of a class. Topic 0 is an archive of all the others, every tenth overlaps some of them. Its ends, one or two
    /// producers and a consumer, are drawn from all brokers, so that a class reaches over most of the network.
    pub fn topic(&mut self, class: usize, number: usize, brokers: usize) -> (TopicName, Topic) {
        let filter = match number {
            0 => format!("class-{class}/#"),
            n if n % 10 == 0 => format!("class-{class}/+/value-{n}"),
            n => format!("class-{class}/device-{n}/value"),
        };
        let producers = 1 + self.roll(2);
        let topic = Topic {
            filter: named(TopicFilter::parse(&filter)),
            qos: Qos::AtLeastOnce,
            producers: (0..producers).map(|_| self.broker(brokers)).collect(),
            consumers: BTreeSet::from([self.broker(brokers)]),
            commands: Vec::new(),
            retained: false,
            expected: None,
        };
        (topic_name(class, number), topic)
    }

    /// A network, and as many topics in each of so many classes.
    pub fn fleet(&mut self, brokers: usize, classes: usize, topics: usize) -> Fleet {
        let mut fleet = self.network(brokers);
        for class in 0..classes {
            for number in 0..topics {
                let (name, topic) = self.topic(class, number, brokers);
                fleet.topics.insert(name, Arc::new(topic));
            }
        }
        fleet
    }
}

/// What the broker of this number is called.
#[must_use]
pub fn broker(number: usize) -> BrokerName {
    named(BrokerName::new(&format!("broker-{number:05}")))
}

/// What the topic of this number is called in its class.
#[must_use]
pub fn topic_name(class: usize, number: usize) -> TopicName {
    named(TopicName::new(&format!("topic-{class:04}-{number:03}")))
}

/// What is made here is well formed.
fn named<T, E: std::fmt::Debug>(made: Result<T, E>) -> T {
    made.unwrap_or_else(|error| unreachable!("{error:?}"))
}
