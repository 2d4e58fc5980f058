//! Running the benchmarks and keeping their results.
//!
//! A benchmark is a program that prints, among whatever else, one JSON object per result on a line of its own:
//! `{"name": "…", "value": 1.2, "unit": "ms", "budget": 150, "rival": {"name": "…", "value": 4.8}}`. `budget`, `rival` and
//! any further fields may be missing. `higher_is_better: true` turns the budget into a floor.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use skein_e2e::Series;

use crate::command::{cargo, root, run as run_command, shown};
use crate::{mosquitto, suite};

/// Packages that have benchmarks, and what runs them.
const PACKAGES: [(&str, bool); 3] = [
    ("skein-planner", false),
    ("skein-check", false),
    ("skein-e2e", true),
];

/// `cargo xtask bench`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only the package or benchmark whose name contains this, such as `planner`
    name: Option<String>,
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
            if needs_brokers {
                for series in Series::ALL {
                    command.env(series.variable(), mosquitto::ensure(series, None)?.0);
                }
                run_command(&mut cargo(&["build", "--release", "--package", "skein-cli"]))?;
                command.env("SKEIN_BIN", suite::built("release")?);
            }
            println!("\n== {}", shown(&command));
            for result in measure(&mut command)? {
                let name = result["name"].as_str().unwrap_or(&bench).to_owned();
                results.insert(name, result);
            }
        }
    }
    if results.is_empty() {
        bail!("no benchmark has a name like {wanted:?}, or none gave a result");
    }
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder)?;
    for (name, result) in &results {
        fs::write(
            folder.join(format!("{}.json", file_name(name))),
            format!("{result:#}\n"),
        )?;
    }
    table(&results);
    println!("\nKept in target/bench/*.json");
    let over: Vec<&str> = results
        .iter()
        .filter(|(_, result)| !within(result))
        .map(|(name, _)| name.as_str())
        .collect();
    if !over.is_empty() {
        bail!("over budget: {}", over.join(", "));
    }
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

fn file_name(name: &str) -> String {
    let safe = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    name.chars().map(safe).collect()
}

/// Whether a result keeps its budget, if it has one.
fn within(result: &Value) -> bool {
    match (result["value"].as_f64(), result["budget"].as_f64()) {
        (Some(value), Some(floor)) if result["higher_is_better"] == true => value >= floor,
        (Some(value), Some(budget)) => value <= budget,
        _ => true,
    }
}

fn table(results: &BTreeMap<String, Value>) {
    let width = results
        .keys()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        .max(9);
    println!(
        "\n{:width$}  {:>14}  {:>14}  {:>6}  rival",
        "benchmark", "result", "budget", "within"
    );
    for (name, result) in results {
        let unit = result["unit"].as_str().unwrap_or_default();
        let figure = |value: &Value| value.as_f64().map(|number| format!("{} {unit}", short(number)));
        let value = figure(&result["value"]).unwrap_or_default();
        let bound = if result["higher_is_better"] == true {
            "≥"
        } else {
            "≤"
        };
        let budget = figure(&result["budget"]).map_or(String::new(), |budget| format!("{bound} {budget}"));
        let verdict = match (budget.is_empty(), within(result)) {
            (true, _) => "",
            (false, true) => "yes",
            (false, false) => "NO",
        };
        let rival = result["rival"]["name"].as_str().map(|rival| {
            format!(
                "{rival}: {}",
                figure(&result["rival"]["value"]).unwrap_or_default()
            )
        });
        println!(
            "{name:width$}  {value:>14}  {budget:>14}  {verdict:>6}  {}",
            rival.unwrap_or_default()
        );
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
    fn a_budget_is_a_ceiling_unless_more_is_better() {
        assert!(within(&json!({"value": 3})));
        assert!(within(&json!({"value": 3, "budget": 4})) && !within(&json!({"value": 5, "budget": 4})));
        assert!(within(
            &json!({"value": 5, "budget": 4, "higher_is_better": true})
        ));
        assert!(!within(
            &json!({"value": 3, "budget": 4, "higher_is_better": true})
        ));
    }
}
