//! How long the proof of a large plan takes. `cargo bench -p skein-check`; the last line is JSON.
//!
//! The fleet is drawn like the one that the planner's own benchmark plans: 1,000 brokers, 3,000 routes, and 10,000 topics
//! in 100 overlap classes. The planner is needed for its links only.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark may fail"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use skein_api::fleet::{Fleet, FleetBuilder, Route, Topic};
use skein_api::name::{BrokerName, Cost, Qos, RouteName, TopicName};
use skein_check::{check, deduplicating, flows};
use skein_filters::TopicFilter;
use skein_planner::plan::View;

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let quick = std::env::args().any(|argument| argument == "--test");
    let (brokers, classes, rounds) = if quick { (30, 4, 1) } else { (1_000, 100, 9) };
    let fleet = fleet(brokers, classes, 100);
    let plan = skein_planner::plan(&fleet, &View::default());
    let mut times = Vec::new();
    let mut walked = 0;
    for _ in 0..rounds {
        let begin = Instant::now();
        let flows = flows(&fleet, &BTreeSet::new(), &BTreeMap::new());
        let report = black_box(check(&flows, &plan.links(), &deduplicating(&fleet)));
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        assert!(report.is_sound(), "{:?}", report.problems.first());
        walked = report.walked;
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!(
        "{walked} messages walked over {} links of {brokers} brokers, {} topics in {} classes: median {median:.1} ms",
        plan.links().len(),
        fleet.topics.len(),
        plan.classes.len(),
    );
    println!("{{\"bench\": \"check\", \"full_ms\": {median:.4}}}");
}

/// A small generator of our own, so that every run checks the very same plan.
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
    BrokerName::new(&format!("broker-{number:05}")).unwrap()
}

/// A random tree and random pairs up to three routes a broker, costs uniform in 1–100.
fn fleet(brokers: usize, classes: usize, topics: usize) -> Fleet {
    let mut dice = Dice(0x5eed);
    let mut builder = FleetBuilder::new();
    for number in 0..brokers {
        builder = builder.brokers(broker(number).as_str());
    }
    let mut fleet = builder.build();
    let mut pairs = BTreeSet::new();
    for number in 1..brokers {
        pairs.insert((dice.roll(number), number));
    }
    while pairs.len() < 3 * brokers {
        let (a, b) = (dice.roll(brokers), dice.roll(brokers));
        if a != b {
            pairs.insert((a.min(b), a.max(b)));
        }
    }
    for (number, (a, b)) in pairs.into_iter().enumerate() {
        let route = Route {
            a: broker(a),
            b: broker(b),
            one_way: false,
            cost: Cost::new(i64::try_from(1 + dice.roll(100)).unwrap()).unwrap(),
            paused: false,
        };
        let name = RouteName::new(&format!("route-{number:05}")).unwrap();
        fleet.routes.insert(name, route);
    }
    for class in 0..classes {
        for number in 0..topics {
            let name = TopicName::new(&format!("topic-{class:03}-{number:03}")).unwrap();
            fleet
                .topics
                .insert(name, Arc::new(topic(class, number, brokers, &mut dice)));
        }
    }
    fleet
}

/// One topic of a class is an archive of all of it; the ends are drawn from all brokers.
fn topic(class: usize, number: usize, brokers: usize, dice: &mut Dice) -> Topic {
    let filter = match number {
        0 => format!("class-{class}/#"),
        n if n % 10 == 0 => format!("class-{class}/+/value-{n}"),
        n => format!("class-{class}/device-{n}/value"),
    };
    let mut ends = |most| {
        (0..=dice.roll(most))
            .map(|_| broker(dice.roll(brokers)))
            .collect()
    };
    Topic {
        filter: TopicFilter::parse(&filter).unwrap(),
        qos: Qos::AtLeastOnce,
        producers: ends(2),
        consumers: ends(1),
        commands: Vec::new(),
        retained: false,
        expected: None,
    }
}
