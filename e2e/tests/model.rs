//! The simulator's model of Mosquitto against real brokers of both series: the same scripts, and what clients see of them.
//!
//! Each script in `model/scripts` states what is expected, so a quirk is written down once and holds for the model and for
//! every real broker, or the test fails.

#![allow(clippy::unwrap_used, reason = "test code")]

#[path = "model/client.rs"]
mod client;
#[path = "model/real.rs"]
mod real;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use skein_simulator::Series;
use skein_simulator::script::{self, Script};
use tokio::runtime::Builder;

/// Scripts by name, in order.
fn scripts() -> Result<Vec<(String, Script)>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/model/scripts");
    let mut scripts = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // One alone: `ONLY=name cargo test …`.
        if std::env::var("ONLY").is_ok_and(|only| only != name) {
            continue;
        }
        let script = fs::read_to_string(&path)?.parse().with_context(|| name.clone())?;
        scripts.push((name, script));
    }
    scripts.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(scripts)
}

#[test]
fn the_model_does_what_the_scripts_say_whatever_the_delays() -> Result<()> {
    let mut failures = Vec::new();
    for (name, script) in scripts()? {
        for series in [Series::Oldest, Series::Newest] {
            for seed in 0..50 {
                if let Err(what) = script::run(&script, series, seed) {
                    failures.push(format!("{name} on the model of {}: {what}", series.version()));
                    break;
                }
            }
        }
    }
    ensure!(failures.is_empty(), "\n{}", failures.join("\n"));
    Ok(())
}

/// One series at a time: what must come soon may come late where a dozen scripts and the model share two processors.
static TURN: Mutex<()> = Mutex::new(());

/// A few scripts at a time: they mostly wait.
fn real_brokers_do(series: Series) -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let scripts = scripts()?;
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some((name, script)) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                    if let Err(what) = runtime.block_on(real::run(script, series)) {
                        failures.lock().unwrap().push(format!("{name}: {what:#}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    ensure!(failures.is_empty(), "\n{}", failures.join("\n"));
    Ok(())
}

#[test]
fn the_oldest_supported_mosquitto_does_what_the_scripts_say() -> Result<()> {
    real_brokers_do(Series::Oldest)
}

#[test]
fn the_newest_supported_mosquitto_does_what_the_scripts_say() -> Result<()> {
    real_brokers_do(Series::Newest)
}
