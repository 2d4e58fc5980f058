//! Running the benchmarks and keeping their results.
//!
//! A benchmark is a program that prints, among whatever else, one JSON object on a line of its own: its name under `bench`,
//! and figures, `{"bench": "restart", "p50_ms": 11.2, "hand_made_p50_ms": 118.0}`. What a figure should be stands here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use skein_e2e::Series;

use crate::command::{cargo, root, run as run_command, shown};
use crate::{cluster, image, mosquitto, suite};

/// Packages that have benchmarks, and whether these take a built `skein` and real brokers.
const PACKAGES: [(&str, bool); 4] = [
    ("skein-planner", false),
    ("skein-check", false),
    ("skein-engine", false),
    ("skein-e2e", true),
];

/// Benchmarks that take a cluster, too.
const ON_CLUSTER: [&str; 3] = ["deployed", "failover", "scale"];

/// What a figure should be.
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// Goals by benchmark and figure, with what the figure is. A figure without a goal is shown as it is.
const GOALS: [(&str, &str, Goal, &str); 30] = [
    (
        "planning",
        "tree_ratio",
        Goal::AtLeast(3.0),
        "shortest-path tree, 10,000 brokers: times faster than petgraph's dijkstra",
    ),
    (
        "planning",
        "full_ms",
        Goal::AtMost(150.0),
        "full plan: 1,000 brokers, 3,000 routes, 10,000 topics",
    ),
    (
        "planning",
        "substitutes_ms",
        Goal::AtMost(500.0),
        "the same with every substitute and its links",
    ),
    (
        "planning",
        "change_ratio",
        Goal::AtLeast(20.0),
        "one change: times cheaper than a full plan",
    ),
    ("planning", "peak_mb", Goal::AtMost(64.0), "peak memory"),
    ("check", "full_ms", Goal::AtMost(1000.0), "check of the same plan"),
    (
        "restart",
        "p50_ms",
        Goal::AtMost(100.0),
        "broker killed until the next message, median",
    ),
    (
        "restart",
        "p99_ms",
        Goal::AtMost(250.0),
        "the same, 99th percentile",
    ),
    (
        "switch",
        "lost",
        Goal::AtMost(0.0),
        "a path moves under 2,000 messages a second: lost, all switches together",
    ),
    (
        "switch",
        "out_of_order",
        Goal::AtMost(0.0),
        "first deliveries out of order",
    ),
    (
        "switch",
        "stray",
        Goal::AtMost(0.0),
        "messages that come again after a later switch",
    ),
    (
        "switch",
        "restless",
        Goal::AtMost(0.0),
        "switches after which the fleet did not come to rest",
    ),
    (
        "switch",
        "pause_worst_ms",
        Goal::AtMost(2000.0),
        "the longest pause on the path that moves",
    ),
    (
        "switch",
        "unchanged_worst_ms",
        Goal::AtMost(50.0),
        "the same on a path beside it",
    ),
    (
        "switch",
        "duplicates_of_bound",
        Goal::AtMost(1.0),
        "duplicates, of rate × barrier time",
    ),
    (
        "hang",
        "p99_ms",
        Goal::AtMost(400.0),
        "broker hung until the next message by its substitute, 99th percentile",
    ),
    (
        "calm",
        "false_migrations",
        Goal::AtMost(0.0),
        "healthy brokers declared down while every core is busy",
    ),
    (
        "footprint",
        "resident_mb",
        Goal::AtMost(15.0),
        "memory of `skein up` with nine brokers",
    ),
    (
        "footprint",
        "cpu_percent",
        Goal::AtMost(2.0),
        "its processor time with 100 brokers and heartbeats of 1 s, of one core",
    ),
    (
        "deployed",
        "topic_p50_ms",
        Goal::AtMost(300.0),
        "on Kubernetes: a Topic changed until every broker concerned has loaded it, median",
    ),
    (
        "deployed",
        "topic_p95_ms",
        Goal::AtMost(1500.0),
        "the same, 95th percentile",
    ),
    (
        "deployed",
        "route_p50_ms",
        Goal::AtMost(300.0),
        "the same of a NodeRoute, by which a path moves without loss",
    ),
    (
        "deployed",
        "route_p95_ms",
        Goal::AtMost(1500.0),
        "the same, 95th percentile",
    ),
    (
        "failover",
        "killed_p95_ms",
        Goal::AtMost(1000.0),
        "on Kubernetes: a killed broker until a client that connects again gets a message, 95th percentile",
    ),
    (
        "failover",
        "hung_p95_ms",
        Goal::AtMost(4500.0),
        "the same of a hung one, with heartbeats of 1 s × 3",
    ),
    (
        "failover",
        "node_p95_ms",
        Goal::AtMost(4500.0),
        "the same of one whose node is lost",
    ),
    (
        "scale",
        "cold_s",
        Goal::AtMost(60.0),
        "1,000 brokers: a controller that begins until all is in force and said to be, in seconds",
    ),
    (
        "scale",
        "resident_mb",
        Goal::AtMost(100.0),
        "the controller's memory then",
    ),
    (
        "scale",
        "change_p95_ms",
        Goal::AtMost(500.0),
        "one change until every broker concerned has loaded it, 95th percentile",
    ),
    (
        "scale",
        "idle_writes",
        Goal::AtMost(0.0),
        "writes to the API server while nothing happens, but for the Lease",
    ),
];

/// `cargo xtask bench`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Figures that miss their goal are marked and counted; that is no failure, for this machine may be busy or slow."
)]
pub(crate) struct Arguments {
    /// Only the package or benchmark whose name contains this, such as `planner`
    name: Option<String>,
    /// Handed to the benchmark itself: `cargo xtask bench switch -- --switches 12`
    #[arg(last = true)]
    further: Vec<String>,

    /// For how long the benchmark `calm` watches
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
}

/// Runs the task.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut results: BTreeMap<String, Value> = BTreeMap::new();
    let wanted = arguments.name.as_deref().unwrap_or_default();
    for (package, needs_brokers) in PACKAGES {
        for bench in benches(package)? {
            if !package.contains(wanted) && !bench.contains(wanted) {
                continue;
            }
            let mut command = cargo(&["bench", "--package", package, "--bench", &bench]);
            command.arg("--").args(&arguments.further);
            if needs_brokers {
                for series in Series::ALL {
                    command.env(series.variable(), mosquitto::ensure(series, None)?.0);
                }
                let programs = ["--package", "skein-cli", "--package", "skein-kubernetes"];
                run_command(&mut cargo(
                    &[&["build", "--release"], &programs as &[&str]].concat(),
                ))?;
                command.env("SKEIN_BIN", suite::built("release", "skein")?);
                command.env("SKEIN_BENCH_MINUTES", arguments.minutes.to_string());
            }
            let lease = if ON_CLUSTER.contains(&bench.as_str()) {
                let lease = cluster::Lease::begin()?;
                lease.load(&image::for_benches()?)?;
                command.envs(lease.environment()?);
                Some(lease)
            } else {
                None
            };
            println!("\n== {}", shown(&command));
            for result in measure(&mut command)? {
                let name = result["bench"].as_str().unwrap_or(&bench).to_owned();
                results.insert(name, result);
            }
            if let Some(lease) = lease {
                lease.end()?;
            }
        }
    }
    if results.is_empty() {
        bail!("no benchmark has a name like {wanted:?}, or none gave a result");
    }
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder)?;
    for (name, result) in &results {
        fs::write(folder.join(format!("{name}.json")), format!("{result:#}\n"))?;
    }
    let missed = table(&results);
    println!("\nKept in target/bench; {}", sum(missed));
    Ok(())
}

/// The names of a package's benchmarks, from its manifest's folder.
fn benches(package: &str) -> Result<Vec<String>> {
    let metadata = crate::command::output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let mut found = Vec::new();
    for target in packages
        .iter()
        .filter(|candidate| candidate["name"] == package)
        .flat_map(|found| found["targets"].as_array().into_iter().flatten())
    {
        let is_bench = target["kind"]
            .as_array()
            .is_some_and(|kinds| kinds.iter().any(|kind| kind == "bench"));
        if let (true, Some(name)) = (is_bench, target["name"].as_str()) {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// Runs a benchmark, passes its output on, and picks the results out of it.
fn measure(command: &mut std::process::Command) -> Result<Vec<Value>> {
    let shown = shown(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{shown}`"))?;
    let mut results = Vec::new();
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        match serde_json::from_str::<Value>(&line) {
            Ok(result) if result.is_object() => results.push(result),
            _ => println!("{line}"),
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(results)
}

/// Prints the figures; gives how many miss their goal.
fn table(results: &BTreeMap<String, Value>) -> usize {
    println!(
        "\n{:10}  {:24}  {:>10}  {:>10}",
        "BENCHMARK", "FIGURE", "RESULT", "GOAL"
    );
    let mut missed = 0;
    for (bench, result) in results {
        for (figure, value) in result.as_object().into_iter().flatten() {
            let Some(value) = value.as_f64() else { continue };
            let goal = GOALS.iter().find(|(of, name, ..)| of == bench && name == figure);
            let (bound, verdict, meaning) = match goal {
                Some((_, _, goal, meaning)) => {
                    missed += usize::from(!goal.is_met(value));
                    (
                        goal.shown(),
                        if goal.is_met(value) { "met" } else { "MISSED" },
                        *meaning,
                    )
                }
                None => (String::new(), "", ""),
            };
            let line = format!(
                "{bench:10}  {figure:24}  {:>10}  {bound:>10}  {verdict:6}  {meaning}",
                short(value)
            );
            println!("{}", line.trim_end());
        }
    }
    missed
}

/// The closing words. A missed goal is no failure: how fast a machine is, and what else it does, decides as well.
fn sum(missed: usize) -> String {
    match missed {
        0 => "every goal is met".to_owned(),
        1 => "1 figure MISSES its goal".to_owned(),
        more => format!("{more} figures MISS their goals"),
    }
}

impl Goal {
    fn is_met(&self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= *most,
            Self::AtLeast(least) => value >= *least,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most}"),
            Self::AtLeast(least) => format!("≥ {least}"),
        }
    }
}

/// Three significant figures are enough to read.
fn short(number: f64) -> String {
    match number.abs() {
        big if big >= 100.0 => format!("{number:.0}"),
        middling if middling >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_goal_is_for_a_figure_that_a_benchmark_prints() {
        let sources = [
            ("planning", "operator/planner/benches/planning.rs"),
            ("check", "operator/check/benches/check.rs"),
            ("restart", "e2e/benches/restart.rs"),
            ("switch", "e2e/benches/switch.rs"),
            ("hang", "e2e/benches/hang.rs"),
            ("calm", "e2e/benches/calm.rs"),
            ("footprint", "e2e/benches/footprint.rs"),
            ("deployed", "e2e/benches/deployed.rs"),
            ("failover", "e2e/benches/failover.rs"),
            ("scale", "e2e/benches/scale/main.rs"),
        ];
        for (bench, figure, ..) in GOALS {
            let (_, path) = sources.iter().find(|(name, _)| *name == bench).unwrap();
            let source = fs::read_to_string(root().join(path)).unwrap();
            assert!(
                source.contains(&format!("\"{figure}")) || source.contains(&format!("\\\"{figure}")),
                "{path} prints no {figure}"
            );
        }
        assert_eq!(sum(0), "every goal is met");
    }

    #[test]
    fn a_missed_goal_is_counted_and_a_figure_without_one_is_not() {
        let table_of = |bench: &str, result| table(&BTreeMap::from([(bench.to_owned(), result)]));
        assert_eq!(
            table_of(
                "restart",
                json!({"bench": "restart", "p50_ms": 99.0, "worst_ms": 9000.0})
            ),
            0
        );
        assert_eq!(
            table_of(
                "restart",
                json!({"bench": "restart", "p50_ms": 101.0, "p99_ms": 251})
            ),
            2
        );
        assert_eq!(
            table_of("planning", json!({"bench": "planning", "tree_ratio": 2.9})),
            1
        );
    }
}
