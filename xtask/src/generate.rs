//! Generated files: the custom resource definitions in `crds/` and in their chart, from the types in `operator/api`, the contract's page in
//! `docs/`, the tables of metrics there, the readme's table of what was measured of the contract; Grafana's dashboards, and what the chart
//! has of them and of the alerts; the picture of a failover.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::command::root;
use crate::{dashboards, picture};

/// Prometheus's rules.
const ALERTS: &str = "deploy/alerts/skein.yaml";

/// `cargo xtask gen`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail if a file is not as it would be generated
    #[arg(long)]
    check: bool,
}

/// Runs the task.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.check {
        return check();
    }
    write()
}

/// Writes those that are not as they should be.
pub(crate) fn write() -> Result<()> {
    let drifted = drift()?;
    if drifted.is_empty() {
        println!("generated files are up to date");
    }
    for (path, text) in drifted {
        if let Some(text) = text {
            fs::create_dir_all(path.parent().context("a file without a folder")?)?;
            fs::write(&path, text)?;
            println!("wrote {}", shown(&path));
        } else {
            fs::remove_file(&path)?;
            println!("removed {}", shown(&path));
        }
    }
    Ok(())
}

/// Fails, and names the files, if any is not as it would be generated.
pub(crate) fn check() -> Result<()> {
    let drifted = drift()?;
    if !drifted.is_empty() {
        let names: Vec<String> = drifted.keys().map(|path| shown(path)).collect();
        bail!(
            "not as generated: {}. Run `cargo xtask gen` and commit the result",
            names.join(", ")
        );
    }
    println!("generated files are up to date");
    Ok(())
}

/// Files that are not as they would be generated, with what they should hold; `None` for one that should not be there.
fn drift() -> Result<BTreeMap<PathBuf, Option<String>>> {
    let folder = root().join("crds");
    let chart = root().join("charts/skein-crds/templates");
    let mut wanted: BTreeMap<PathBuf, Option<String>> = BTreeMap::new();
    for (name, text) in skein_api::resources::crds() {
        if text.is_empty() {
            bail!("{name} came out empty");
        }
        wanted.insert(chart.join(&name), Some(in_chart(&name, &text)?));
        wanted.insert(folder.join(name), Some(text));
    }
    wanted.insert(root().join("docs/contract.md"), Some(skein_contract::page()));
    let readme = root().join("README.md");
    let text = fs::read_to_string(&readme).context("cannot read README.md")?;
    wanted.insert(readme, Some(crate::matrix::in_readme(&text)?));
    wanted.insert(root().join("docs/metrics.md"), Some(skein_metrics::page()));
    let (boards, charted) = (
        root().join("deploy/dashboards"),
        root().join("charts/skein/dashboards"),
    );
    for (name, text) in dashboards::all() {
        wanted.insert(boards.join(&name), Some(text.clone()));
        wanted.insert(charted.join(name), Some(text));
    }
    let alerts = fs::read_to_string(root().join(ALERTS)).with_context(|| format!("cannot read {ALERTS}"))?;
    wanted.insert(root().join("charts/skein/alerts.yaml"), Some(alerts));
    let recording = fs::read_to_string(picture::file()).context("cannot read docs/failover.json")?;
    let recording = serde_json::from_str(&recording).context("docs/failover.json is no recording")?;
    wanted.insert(root().join("docs/failover.svg"), Some(picture::draw(&recording)));
    for folder in [folder, chart, boards, charted] {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml" || extension == "json")
            {
                wanted.entry(path).or_insert(None);
            }
        }
    }
    wanted.retain(|path, text| fs::read_to_string(path).ok() != *text);
    Ok(wanted)
}

/// A definition as its chart has it: kept when the chart is uninstalled, for with it would go every fleet.
fn in_chart(name: &str, text: &str) -> Result<String> {
    const HEAD: &str = "\nmetadata:\n";
    if text.contains("{{") {
        bail!("{name} has what Helm would take for its own");
    }
    let (before, after) = text
        .split_once(HEAD)
        .with_context(|| format!("{name} has no metadata"))?;
    let kept = "  annotations:\n    helm.sh/resource-policy: keep\n  labels:\n    app.kubernetes.io/part-of: skein\n";
    Ok(format!("{before}{HEAD}{kept}{after}"))
}

fn shown(path: &std::path::Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
