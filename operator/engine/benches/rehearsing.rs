//! What the engine itself takes for a large fleet: to bring it up, and for one change of a topic, in a world in which
//! everything answers at once. `cargo bench -p skein-engine`; the last line is JSON.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Instant;

use skein_api::fleet::{Broker, Fleet, FleetBuilder, Route, Topic};
use skein_api::name::{BrokerName, Cost, Qos, RouteName, TopicName};
use skein_engine::Settings;
use skein_engine::rehearsal::{Declaration, Stage};
use skein_filters::TopicFilter;
use skein_mosquitto::version::Version;

/// Topics that overlap each other.
const OVERLAP: usize = 10;

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let quick = std::env::args().any(|argument| argument == "--test");
    let brokers = std::env::var("SKEIN_BENCH_BROKERS").ok();
    let brokers = brokers.map_or(if quick { 20 } else { 1000 }, |count| count.parse().unwrap());
    let changes = if quick { 2 } else { 20 };
    let mut dice = Dice(0x5eed);
    let mut fleet = fleet(brokers, &mut dice);
    let settings = Settings::default();
    let newest = |_: &Broker| "2.1.2".parse::<Version>().unwrap();
    let mut stage = Stage::new(&settings, &newest);
    let begin = Instant::now();
    stage.run(&declared(&fleet)).unwrap();
    let cold = begin.elapsed().as_secs_f64();
    println!(
        "{brokers} brokers: as declared after {cold:.1} s, {:.0} MB",
        memory()
    );
    let mut took = Vec::new();
    for number in 0..changes {
        let name = fleet
            .topics
            .keys()
            .nth(number * 7 % fleet.topics.len())
            .unwrap()
            .clone();
        let consumers = BTreeSet::from([broker(dice.roll(brokers))]);
        let topic = Topic::clone(&fleet.topics[&name]);
        fleet.topics.insert(name, Arc::new(Topic { consumers, ..topic }));
        let declaration = declared(&fleet);
        let begin = Instant::now();
        let rehearsal = stage.change(&declaration);
        assert!(rehearsal.settled, "{:?}", rehearsal.problems);
        took.push(begin.elapsed().as_secs_f64() * 1e3);
        println!("{} rounds: {:.1} ms", rehearsal.summary.rounds, took[number]);
    }
    took.sort_by(f64::total_cmp);
    println!(
        "{{\"bench\": \"rehearsing\", \"cold_s\": {cold:.3}, \"change_ms\": {:.3}, \"peak_mb\": {:.1}}}",
        took[took.len() / 2],
        memory()
    );
}

fn declared(fleet: &Fleet) -> Declaration {
    Declaration {
        fleet: Arc::new(fleet.clone()),
        drains: BTreeMap::new(),
    }
}

/// A small generator of our own, so that every run has the very same fleets.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides
    }
}

fn broker(number: usize) -> BrokerName {
    BrokerName::new(&format!("b{number:04}")).unwrap()
}

/// A random tree, and random pairs; topics from anywhere to anywhere, of which ten at a time overlap one archive.
fn fleet(brokers: usize, dice: &mut Dice) -> Fleet {
    let names: Vec<BrokerName> = (0..brokers).map(broker).collect();
    let builder = names
        .iter()
        .fold(FleetBuilder::new(), |fleet, name| fleet.brokers(name.as_str()));
    let mut fleet = builder.build();
    let mut pairs: BTreeSet<(usize, usize)> =
        (1..brokers).map(|number| (dice.roll(number), number)).collect();
    while pairs.len() < 3 * brokers {
        let (a, b) = (dice.roll(brokers), dice.roll(brokers));
        if a != b {
            pairs.insert((a.min(b), a.max(b)));
        }
    }
    for (a, b) in pairs {
        let name = format!("{}-{}", names[a], names[b]);
        let route = Route {
            a: names[a].clone(),
            b: names[b].clone(),
            one_way: false,
            cost: Cost::new(i64::try_from(1 + dice.roll(100)).unwrap()).unwrap(),
            paused: false,
        };
        fleet.routes.insert(RouteName::new(&name).unwrap(), route);
    }
    for class in 0..brokers {
        for number in 0..OVERLAP {
            let filter = match number {
                0 => format!("class-{class}/#"),
                _ => format!("class-{class}/device-{number}/value"),
            };
            let topic = Topic {
                filter: TopicFilter::parse(&filter).unwrap(),
                qos: Qos::AtLeastOnce,
                producers: BTreeSet::from([names[dice.roll(brokers)].clone()]),
                consumers: BTreeSet::from([names[dice.roll(brokers)].clone()]),
                commands: Vec::new(),
                retained: false,
                expected: None,
            };
            let name = TopicName::new(&format!("t{class:04}-{number}")).unwrap();
            fleet.topics.insert(name, Arc::new(topic));
        }
    }
    fleet
}

/// The most that this process had so far, in megabytes.
fn memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or_default() / 1024.0
}
