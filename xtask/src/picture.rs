//! One real failover as Prometheus sees it: recorded on a cluster into `docs/failover.json`, from which `gen` draws `docs/failover.svg`.

mod drawing;
mod recording;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use skein_e2e::Cluster;

use crate::command::{command, root, run as run_command};
use crate::{cluster, generate, image};

pub(crate) use drawing::draw;
pub(crate) use recording::Recording;

/// `cargo xtask picture`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
On a cluster that is brought up for it, as root, and taken down afterwards (`cargo xtask cluster --help`), or on the one that SKEIN_CLUSTER \
names. It takes two minutes after that. Writes docs/failover.json, and draws docs/failover.svg from it.")]
pub(crate) struct Arguments {}

/// Where the recording is kept.
pub(crate) fn file() -> PathBuf {
    root().join("docs/failover.json")
}

/// Runs the task.
pub(crate) fn run(_: &Arguments) -> Result<()> {
    if let Some(cluster) = Cluster::find("cargo xtask picture") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let recording = runtime.block_on(recording::record(&cluster))?;
        let text = serde_json::to_string(&recording)?;
        fs::write(file(), text + "\n").context("cannot write docs/failover.json")?;
        return generate::write();
    }
    if let Some(obstacle) = cluster::obstacle() {
        bail!("there is no cluster: {obstacle}");
    }
    let image = image::for_tests()?;
    let lease = cluster::Lease::begin()?;
    lease.load(&image)?;
    // Anew, and told of the cluster.
    let mut again = command(std::env::current_exe()?);
    run_command(again.arg("picture").envs(lease.environment()?))?;
    lease.end()
}
