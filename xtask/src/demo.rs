//! The demo: the sample `farm` on real brokers, two deaths, a hang, a drain, and an honest ledger. It watches the fleet from
//! outside, through `skein` and MQTT clients, and stops what it started however it ends.

mod cast;
mod stage;
mod story;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use skein_e2e::{Fleet, Series, Up, version_of};
use tokio::signal::unix::{SignalKind, signal};

use crate::command::{cargo, root, run as run_command};
use crate::{mosquitto, suite};

use stage::Stage;

/// `cargo xtask demo`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It fetches Mosquitto into the cache if it is not there (see `cargo xtask mosquitto --help`; nothing is installed), builds
skein, and runs deploy/samples/farm with its state in a temporary folder. Ctrl-C ends it and stops everything.")]
pub(crate) struct Arguments {
    /// Leave the fleet running at the end, and say how to look at it and stop it
    #[arg(long)]
    keep: bool,
    /// Build skein with optimisation (the build takes longer)
    #[arg(long)]
    release: bool,
    /// The skein program to run, instead of building it
    #[arg(long, value_name = "PATH", conflicts_with = "release")]
    skein: Option<PathBuf>,
    /// The mosquitto program to run instead of the cached one
    #[arg(long, value_name = "PATH")]
    mosquitto: Option<PathBuf>,
}

/// Runs the task.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (broker, version) = broker(arguments)?;
    let skein = match &arguments.skein {
        Some(path) => std::path::absolute(path)?,
        None => build(arguments.release)?,
    };
    println!("\nMosquitto {version}, {}\n", broker.display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let fleet = Fleet::of(root().join("deploy/samples/farm"), skein.clone(), broker)?;
    runtime.block_on(perform(fleet, &skein, arguments.keep))
}

/// The program named, else the cached one, else whatever is installed and new enough.
fn broker(arguments: &Arguments) -> Result<(PathBuf, String)> {
    if let Some(path) = &arguments.mosquitto {
        return Ok((path.clone(), version_of(path)?));
    }
    let fetched = mosquitto::ensure(Series::Newest, None);
    fetched.or_else(|why| {
        let places = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&places).chain([PathBuf::from("/usr/sbin")]);
        let mut installed = places
            .map(|place| place.join("mosquitto"))
            .filter(|path| path.is_file());
        let usable = |path: PathBuf| version_of(&path).ok().map(|version| (path, version));
        let found = installed
            .find_map(usable)
            .filter(|(_, version)| version.starts_with("2."));
        found.with_context(|| format!("there is no Mosquitto to run, and it cannot be fetched: {why:#}"))
    })
}

fn build(release: bool) -> Result<PathBuf> {
    let profile = if release { "release" } else { "debug" };
    println!(
        "Building skein ({profile}{})",
        if release { "" } else { ", which builds fastest" }
    );
    let mut command = cargo(&["build", "--package", "skein-cli"]);
    run_command(if release {
        command.arg("--release")
    } else {
        &mut command
    })?;
    suite::built(profile, "skein")
}

/// Runs the story on a fleet, or stops at a signal; either way nothing is left running unless it should be.
async fn perform(fleet: Fleet, skein: &Path, keep: bool) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stage = Stage::new();
    let mut up = fleet.up_apart()?;
    let told = tokio::select! {
        told = story::tell(&fleet, &stage) => told,
        ended = up.wait_end() => Err(anyhow::anyhow!("skein up ended by itself ({})", ended?)),
        _ = interrupt.recv() => return interrupted(up, &stage).await,
        _ = terminate.recv() => return interrupted(up, &stage).await,
    };
    match told {
        Ok(()) if keep => {
            let pid = up.leave()?;
            let folder = fleet.leave();
            stage.title("The fleet goes on");
            let skein = skein.strip_prefix(root()).unwrap_or(skein).display();
            println!(
                "  look at it:  {skein} status --watch --state {}",
                folder.display()
            );
            println!("  hurt it:     {skein} break f --state {}", folder.display());
            println!("  stop it:     kill -INT {pid}");
            Ok(())
        }
        Ok(()) => stop(up, &stage).await,
        Err(error) => {
            let log = fleet.log();
            drop(up);
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            Err(error.context(format!(
                "the demo broke off. skein up said:\n{}\n",
                tail.join("\n")
            )))
        }
    }
}

async fn interrupted(up: Up<'_>, stage: &Stage) -> Result<()> {
    println!();
    stage.say("interrupted; stopping the fleet");
    stop(up, stage).await?;
    bail!("interrupted")
}

async fn stop(up: Up<'_>, stage: &Stage) -> Result<()> {
    up.stop().await?;
    stage.say("skein up stopped everything it had started");
    Ok(())
}
