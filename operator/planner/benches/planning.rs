//! How long planning takes, with the rival in the same run. `cargo bench -p skein-planner`; the last line is JSON.
//!
//! Times are medians over several rounds in which the contestants take turns, so a ratio holds on a noisy machine.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use petgraph::algo::dijkstra;
use petgraph::graph::UnGraph;
use skein_api::fleet::Fleet;
use skein_api::fleet::drawn::Draw;
use skein_planner::Planner;
use skein_planner::plan::{Plan, View};
use skein_planner::search::{Flow, Search, Tree};
use skein_planner::topology::{Topology, UNREACHABLE};

/// Every run plans the very same fleet.
const SEED: u64 = 0x5eed;

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let quick = std::env::args().any(|argument| argument == "--test");
    // A process of its own plans once, so that its peak is that of planning and not of the comparisons.
    if std::env::args().any(|argument| argument == "--once") {
        let fleet = Arc::new(Draw::new(SEED).fleet(1_000, 100, 100));
        let before = peak_memory().unwrap_or(0.0);
        let mut planner = Planner::default();
        let (first, _) = milliseconds(|| planner.replan(&fleet, &View::default()));
        let half_way = peak_memory().unwrap_or(0.0);
        let (rest, _) = milliseconds(|| planner.report());
        println!(
            "{first:.1} ms {rest:.1} ms {before:.1} MB {half_way:.1} MB {:.1} MB",
            peak_memory().unwrap_or(0.0)
        );
        return;
    }
    let mut results = BTreeMap::new();
    if std::env::args().any(|argument| argument == "--changes") {
        change(&Draw::new(SEED).fleet(1_000, 100, 100), 400, &mut results);
        return;
    }
    tree(if quick { 100 } else { 10_000 }, &mut results);
    let fleet = Draw::new(SEED).fleet(if quick { 30 } else { 1_000 }, if quick { 4 } else { 100 }, 100);
    full(&fleet, if quick { 1 } else { 9 }, &mut results);
    change(&fleet, if quick { 8 } else { 400 }, &mut results);
    if !quick {
        let peak = peak_of_one_plan();
        println!("peak memory of one plan with substitutes, its fleet included: {peak:.0} MB");
        results.insert("peak_mb", peak);
    }
    let json: Vec<String> = results
        .iter()
        .map(|(name, value)| format!("\"{name}\": {value:.4}"))
        .collect();
    println!("{{\"bench\": \"planning\", {}}}", json.join(", "));
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn milliseconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = black_box(work());
    (start.elapsed().as_secs_f64() * 1e3, result)
}

/// One shortest-path tree, against petgraph's `dijkstra` on the same graph.
fn tree(brokers: usize, results: &mut BTreeMap<&'static str, f64>) {
    let fleet = Draw::new(0xca11).network(brokers);
    let topology = Topology::new(&fleet);
    let mut graph = UnGraph::<(), u32, u32>::with_capacity(brokers, 3 * brokers);
    let nodes: Vec<_> = (0..brokers).map(|_| graph.add_node(())).collect();
    for route in fleet.routes.values() {
        let end = |name| nodes[topology.node(name).unwrap() as usize];
        graph.add_edge(end(&route.a), end(&route.b), u32::from(route.cost.get()));
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut search = Search::default();
    let mut tree = Tree::default();
    for round in 0..41 {
        let root = (round * 239) % brokers;
        let node = u32::try_from(root).unwrap();
        let (time, ()) = milliseconds(|| search.grow(&topology, node, Flow::Both, &[], &mut tree));
        ours.push(time);
        let (time, distances) = milliseconds(|| dijkstra(&graph, nodes[root], None, |edge| *edge.weight()));
        theirs.push(time);
        for (node, &distance) in tree.distance.iter().enumerate() {
            let theirs = distances.get(&nodes[node]).copied().unwrap_or(UNREACHABLE);
            assert_eq!(distance, theirs, "distance of node {node} from {root}");
        }
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "tree of {brokers} brokers, {} routes: {ours:.3} ms; petgraph dijkstra {theirs:.3} ms; {:.1}x",
        3 * brokers,
        theirs / ours
    );
    results.insert("tree_ms", ours);
    results.insert("tree_petgraph_ms", theirs);
    results.insert("tree_ratio", theirs / ours);
}

/// The full plan, and the plan with every substitute.
fn full(fleet: &Fleet, rounds: usize, results: &mut BTreeMap<&'static str, f64>) {
    let shared = Arc::new(fleet.clone());
    let (mut plans, mut reports) = (Vec::new(), Vec::new());
    let mut last = Plan::default();
    for _ in 0..rounds {
        let mut planner = Planner::default();
        let (plan_time, _) = milliseconds(|| planner.replan(&shared, &View::default()));
        let (report_time, report) = milliseconds(|| planner.report());
        plans.push(plan_time);
        reports.push(plan_time + report_time);
        last = report;
    }
    let paths: usize = last.classes.values().map(|class| class.paths.len()).sum();
    let grafts: usize = last
        .substitutes
        .values()
        .map(|substitution| substitution.grafts.len())
        .sum();
    println!(
        "fleet of {} brokers, {} routes, {} topics in {} classes: {paths} paths, {} links, {grafts} grafts in {} failures",
        fleet.brokers.len(),
        fleet.routes.len(),
        fleet.topics.len(),
        last.classes.len(),
        last.links().len(),
        last.substitutes.len(),
    );
    println!(
        "full plan: {:.1} ms; with substitutes: {:.1} ms",
        median(plans.clone()),
        median(reports.clone())
    );
    results.insert("full_ms", median(plans));
    results.insert("substitutes_ms", median(reports));
}

/// Planning again after one random change, against the full plan of the same fleet; both must be equal.
fn change(fleet: &Fleet, rounds: usize, results: &mut BTreeMap<&'static str, f64>) {
    let mut draw = Draw::new(0xd1ce);
    let mut fleet = Arc::new(fleet.clone());
    let mut view = View::default();
    let mut planner = Planner::default();
    let mut previous = planner.replan(&fleet, &view).class_names();
    let mut times: [Vec<f64>; 4] = Default::default();
    let mut scratch = Vec::new();
    for round in 0..rounds {
        let kind = round % 4;
        let mut next = Fleet::clone(&fleet);
        let brokers = next.brokers.len();
        let count = next.routes.len();
        match kind {
            0 => {
                let classes = next.topics.len() / 100;
                let (class, number) = (draw.roll(classes.max(1)), draw.roll(100));
                let (name, topic) = draw.topic(class, number, brokers);
                next.topics.insert(name, Arc::new(topic));
            }
            1 => {
                let route = next.routes.values_mut().nth(draw.roll(count)).unwrap();
                route.cost = draw.cost();
            }
            2 => {
                let route = next.routes.values_mut().nth(draw.roll(count)).unwrap();
                route.paused = !route.paused;
            }
            _ => {
                view.down.clear();
                view.down.insert(draw.broker(brokers));
            }
        }
        let next = Arc::new(next);
        let (time, changed) = milliseconds(|| planner.replan(&next, &view));
        times[kind].push(time);
        if round % 16 < 4 {
            let (time, whole) = milliseconds(|| Planner::new(previous.clone()).replan(&next, &view));
            scratch.push(time);
            assert!(changed == whole, "change {round} differs from the full plan");
        }
        previous = changed.class_names();
        fleet = next;
        if kind == 3 {
            // The broker comes back before the next change; that is a change as well, but not one of the four.
            view.down.clear();
            previous = planner.replan(&fleet, &view).class_names();
        }
    }
    let all = median(times.iter().flatten().copied().collect());
    let whole = median(scratch);
    println!("full plan of the changed fleet: {whole:.1} ms");
    for (kind, times) in [
        "topic edited",
        "cost changed",
        "route paused or resumed",
        "broker down",
    ]
    .iter()
    .zip(times)
    {
        println!("  {kind}: median {:.3} ms", median(times));
    }
    println!(
        "one change: median {all:.3} ms, {:.0}x cheaper than the full plan",
        whole / all
    );
    results.insert("change_ms", all);
    results.insert("change_full_ms", whole);
    results.insert("change_ratio", whole / all);
}

fn peak_of_one_plan() -> f64 {
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program)
        .arg("--once")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim()
        .trim_end_matches(" MB")
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<f64>()
        .ok()
        .map(|kilobytes| kilobytes / 1024.0)
}
