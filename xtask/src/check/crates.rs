//! The crate graph: ARCHITECTURE.md's rule that dependencies point downwards, and that pure crates do no I/O.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::{cargo, output};

/// Crates from the bottom up; those in one row do not know each other.
const LAYERS: [&[&str]; 12] = [
    &["skein-filters", "skein-contract", "skein-metrics"],
    &["skein-api"],
    &["skein-mosquitto"],
    &["skein-planner", "skein-check"],
    &["skein-engine"],
    &["skein-mqtt", "skein-agent", "skein-store", "skein-simulator"],
    &["skein-sight"],
    &["skein-adapter"],
    &["skein-local", "skein-pod", "skein-controller", "skein-commands"],
    &["skein-cli", "skein-kubernetes", "kubectl-skein"],
    &["skein-e2e"],
    &["xtask"],
];

/// Crates that do no I/O.
const PURE: [&str; 9] = [
    "skein-filters",
    "skein-contract",
    "skein-metrics",
    "skein-api",
    "skein-mosquitto",
    "skein-planner",
    "skein-check",
    "skein-engine",
    "skein-simulator",
];

/// Crates that do.
const IMPURE: [&str; 8] = [
    "tokio", "rumqttc", "notify", "rustix", "mio", "socket2", "reqwest", "hyper",
];

/// What lies below and is still no business of theirs: crate, and what it must not know.
const STRANGERS: [(&str, &[&str]); 8] = [
    (
        "skein-mqtt",
        &["skein-api", "skein-planner", "skein-check", "skein-engine"],
    ),
    (
        "skein-agent",
        &["skein-planner", "skein-check", "skein-engine", "rumqttc"],
    ),
    (
        "skein-store",
        &["skein-planner", "skein-check", "skein-engine", "rumqttc", "tokio"],
    ),
    (
        "skein-sight",
        &["skein-planner", "skein-check", "skein-mqtt", "rumqttc"],
    ),
    // One machine needs no client of Kubernetes, and would hold it in memory.
    ("skein-local", &["kube"]),
    ("skein-commands", &["kube"]),
    ("skein-cli", &["kube", "skein-controller", "skein-pod"]),
    ("kubectl-skein", &["skein-local", "skein-pod", "skein-agent"]),
];

/// Fails with every edge that must not be.
pub(super) fn check() -> Result<()> {
    let metadata = output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package without a name")?;
        let dependencies: BTreeSet<&str> = package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            // Tests may look at any crate: what they know is in no program.
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .filter_map(|dependency| dependency["name"].as_str())
            .collect();
        problems.extend(judge(name, &dependencies));
    }
    if !problems.is_empty() {
        bail!("\n  {}", problems.join("\n  "));
    }
    println!("{} crates, every dependency points downwards", packages.len());
    Ok(())
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&name))
}

fn judge(name: &str, dependencies: &BTreeSet<&str>) -> Vec<String> {
    let Some(own) = layer(name) else {
        return vec![format!(
            "{name} has no place: say in ARCHITECTURE.md and in xtask/src/check/crates.rs what it lies above"
        )];
    };
    let mut problems = Vec::new();
    for dependency in dependencies {
        if layer(dependency).is_some_and(|other| other >= own) {
            problems.push(format!("{name} depends on {dependency}, which is not below it"));
        }
        if PURE.contains(&name) && IMPURE.contains(dependency) {
            problems.push(format!("{name} does no I/O and depends on {dependency}"));
        }
        if STRANGERS
            .iter()
            .any(|(crate_name, strangers)| *crate_name == name && strangers.contains(dependency))
        {
            problems.push(format!(
                "{name} depends on {dependency}, which ARCHITECTURE.md says it never knows"
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upward_sideways_and_impure_edges_are_found() {
        let found = |name, dependency| judge(name, &BTreeSet::from([dependency])).len();
        assert_eq!(found("skein-engine", "skein-planner"), 0);
        assert_eq!(found("skein-planner", "skein-engine"), 1, "upward");
        assert_eq!(found("skein-check", "skein-planner"), 1, "sideways");
        assert_eq!(found("skein-engine", "tokio"), 1, "impure");
        assert_eq!(found("skein-agent", "rumqttc"), 1, "a stranger");
        assert_eq!(found("skein-new", "serde"), 1, "unplaced");
    }
}
