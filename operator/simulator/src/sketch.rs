//! Random fleets: what is declared, in numbers, so that an edit is a small change of numbers.

use std::fmt::Write as _;
use std::time::Duration;

use skein_api::fleet::{Durability, Fleet, FleetBuilder};
use skein_api::name::Qos;

use crate::air::BrokerId;
use crate::broker::Series;
use crate::random::Random;
use crate::world::NAMES;

/// Filters that overlap in some ways, and a topic of each that clients publish.
const FILTERS: [(&str, &str); 6] = [
    ("farm/+/soil", "farm/7/soil"),
    ("farm/7/#", "farm/7/air"),
    ("farm/#", "farm/8/x"),
    ("town/+", "town/hall"),
    ("town/hall", "town/hall"),
    ("sea", "sea"),
];

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) a: BrokerId,
    pub(crate) b: BrokerId,
    /// 0: it is left out.
    pub(crate) cost: u64,
}

/// A topic; brokers as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) filter: usize,
    pub(crate) qos: u8,
    pub(crate) producers: u8,
    pub(crate) consumers: u8,
}

/// What is declared.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    pub(crate) series: Vec<Series>,
    pub(crate) durable: Vec<bool>,
    /// Brokers that are not declared, as bits.
    pub(crate) absent: u8,
    pub(crate) routes: Vec<Route>,
    /// With clients.
    pub(crate) topics: Vec<Topic>,
    /// Without: they come and go.
    pub(crate) others: Vec<Topic>,
}

impl Topic {
    pub(crate) fn filter_text(self) -> &'static str {
        FILTERS[self.filter].0
    }

    /// A topic that its filter matches, and that belongs to the clients of one broker; none, if the filter leaves no room.
    pub(crate) fn value_text(self, home: BrokerId) -> Option<String> {
        let filter = self.filter_text();
        let owner = NAMES[home];
        let text = filter.replace(['+', '#'], owner);
        (text != filter).then_some(text)
    }

    /// A topic that its filter matches.
    pub(crate) fn topic_text(self) -> &'static str {
        FILTERS[self.filter].1
    }
}

pub(crate) fn brokers_of(bits: u8) -> impl Iterator<Item = BrokerId> {
    (0..8).filter(move |broker| bits & (1 << broker) != 0)
}

fn some_brokers(random: &mut Random, count: usize, most: u64) -> u8 {
    let mut bits = 0;
    for _ in 0..random.between(1, most) {
        bits |= 1 << random.index(count);
    }
    bits
}

fn random_topic(random: &mut Random, count: usize) -> Topic {
    Topic {
        filter: random.index(FILTERS.len()),
        qos: [1, 1, 2, 2, 0][random.index(5)],
        producers: some_brokers(random, count, 2),
        consumers: some_brokers(random, count, 2),
    }
}

impl Sketch {
    /// Three to seven brokers in a chain with some further routes, one to three topics.
    pub(crate) fn random(random: &mut Random) -> Self {
        let count = random.between(3, 7) as usize;
        let mixed = random.one_in(3);
        let series: Vec<Series> = (0..count)
            .map(|_| {
                if mixed && random.one_in(2) {
                    Series::Oldest
                } else {
                    Series::Newest
                }
            })
            .collect();
        let durable = series.iter().map(|_| !random.one_in(6)).collect();
        let mut routes: Vec<Route> = (1..count).map(|b| Route { a: b - 1, b, cost: 3 }).collect();
        for _ in 0..random.between(0, 4) {
            let (a, b) = (random.index(count), random.index(count));
            if a + 1 < b && routes.iter().all(|route| (route.a, route.b) != (a, b)) {
                let cost = random.between(1, 6);
                routes.push(Route { a, b, cost });
            }
        }
        let topics = (0..random.between(1, 3))
            .map(|_| random_topic(random, count))
            .collect();
        let others = if random.one_in(3) {
            vec![random_topic(random, count)]
        } else {
            Vec::new()
        };
        Self {
            series,
            durable,
            absent: 0,
            routes,
            topics,
            others,
        }
    }

    /// The same, a little different.
    pub(crate) fn edited(&self, random: &mut Random) -> Self {
        let mut edited = self.clone();
        let count = self.series.len();
        match random.below(5) {
            0 | 1 => {
                let index = random.index(edited.routes.len());
                let route = &mut edited.routes[index];
                // What holds the fleet together stays.
                let least = u64::from(route.a + 1 == route.b);
                route.cost = random.between(least, 8);
            }
            2 => edited.others = vec![random_topic(random, count)],
            3 => {
                // One without clients, at an end of the chain, goes or comes back.
                let used = self
                    .topics
                    .iter()
                    .fold(0, |used, topic| used | topic.producers | topic.consumers);
                let end = if random.one_in(2) { 0 } else { count - 1 };
                if used & (1 << end) == 0 {
                    edited.absent ^= 1 << end;
                }
            }
            _ => {
                for topic in &mut edited.others {
                    std::mem::swap(&mut topic.producers, &mut topic.consumers);
                }
            }
        }
        edited
    }

    /// Every route costs something else: many ways change at once.
    pub(crate) fn recosted(&self, random: &mut Random) -> Self {
        let mut edited = self.clone();
        for route in &mut edited.routes {
            // What holds the fleet together stays.
            let least = u64::from(route.a + 1 == route.b);
            route.cost = random.between(least, 8);
        }
        edited
    }

    pub(crate) fn fleet(&self) -> Fleet {
        let names = &NAMES[..self.series.len()];
        let there = |broker: BrokerId| self.absent & (1 << broker) == 0;
        let mut fleet = FleetBuilder::new();
        for (index, name) in names.iter().enumerate().filter(|(index, _)| there(*index)) {
            let durable = self.durable[index] && self.series[index] == Series::Newest;
            fleet = fleet.with(name, |broker| {
                broker.failover.after = Duration::from_secs(2);
                if let Some(managed) = broker.managed_mut() {
                    managed.durability = Some(if durable {
                        Durability::Durable
                    } else {
                        Durability::Classic
                    });
                }
            });
        }
        let routes = self
            .routes
            .iter()
            .filter(|route| route.cost > 0 && there(route.a) && there(route.b));
        for route in routes {
            fleet = fleet.routes(&format!("{}-{}:{}", names[route.a], names[route.b], route.cost));
        }
        for (index, topic) in self.topics.iter().chain(&self.others).enumerate() {
            let ends = |bits| {
                brokers_of(bits)
                    .filter(|broker| there(*broker))
                    .map(|broker| names[broker])
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            let name = format!("t{index}");
            let (producers, consumers) = (ends(topic.producers), ends(topic.consumers));
            if producers.is_empty() || consumers.is_empty() {
                continue;
            }
            fleet = fleet.topic(&name, topic.filter_text(), &producers, &consumers);
            if let Some(qos) = Qos::new(i64::from(topic.qos)) {
                fleet = fleet.qos(&name, qos);
            }
        }
        fleet.build()
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for (index, series) in self.series.iter().enumerate() {
            let store = if self.durable[index] && *series == Series::Newest {
                "durable"
            } else {
                "classic"
            };
            let _ = write!(text, "{} {} {store}; ", NAMES[index], series.version());
        }
        for route in &self.routes {
            let _ = write!(text, "{}-{}:{} ", NAMES[route.a], NAMES[route.b], route.cost);
        }
        for topic in self.topics.iter().chain(&self.others) {
            let ends = |bits| brokers_of(bits).map(|broker| NAMES[broker]).collect::<String>();
            let _ = write!(
                text,
                "; {} QoS {} from {} to {}",
                topic.filter_text(),
                topic.qos,
                ends(topic.producers),
                ends(topic.consumers)
            );
        }
        text
    }
}
