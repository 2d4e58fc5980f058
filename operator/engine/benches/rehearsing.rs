//! What the engine itself takes for a large fleet: to bring it up, and for one change of a topic, in a world in which
//! everything answers at once. `cargo bench -p skein-engine`; the last line is JSON.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Instant;

use skein_api::fleet::drawn::Draw;
use skein_api::fleet::{Broker, Fleet, Topic};
use skein_engine::Settings;
use skein_engine::rehearsal::{Declaration, Stage};
use skein_mosquitto::version::Version;

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let quick = std::env::args().any(|argument| argument == "--test");
    let brokers = std::env::var("SKEIN_BENCH_BROKERS").ok();
    let brokers = brokers.map_or(if quick { 20 } else { 1000 }, |count| count.parse().unwrap());
    let changes = if quick { 2 } else { 20 };
    let mut draw = Draw::new(0x5eed);
    let mut fleet = draw.fleet(brokers, brokers.div_ceil(10), 100);
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
        let consumers = BTreeSet::from([draw.broker(brokers)]);
        let topic = Topic::clone(&fleet.topics[&name]);
        fleet.topics.insert(name, Arc::new(Topic { consumers, ..topic }));
        let declaration = declared(&fleet);
        let begin = Instant::now();
        let rehearsal = stage.change(&declaration);
        assert!(rehearsal.settled, "{:?}", rehearsal.problems);
        took.push(begin.elapsed().as_secs_f64() * 1e3);
        let summary = rehearsal.summary;
        println!(
            "{} rounds, {} configurations, {} sessions opened: {:.1} ms",
            summary.rounds, summary.configurations, summary.sessions_opened, took[number]
        );
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

/// The most that this process had so far, in megabytes.
fn memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or_default() / 1024.0
}
