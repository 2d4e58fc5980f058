//! How long the proof of a large plan takes. `cargo bench -p skein-check`; the last line is JSON.
//!
//! The fleet is the one that the planner's own benchmark plans: 1,000 brokers, 3,000 routes, and 10,000 topics
//! in 100 overlap classes. The planner is needed for its links only.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark may fail"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::Instant;

use skein_api::fleet::drawn::Draw;
use skein_check::{check, deduplicating, flows};
use skein_planner::plan::View;

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let quick = std::env::args().any(|argument| argument == "--test");
    let (brokers, classes, rounds) = if quick { (30, 4, 1) } else { (1_000, 100, 9) };
    let fleet = Draw::new(0x5eed).fleet(brokers, classes, 100);
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
