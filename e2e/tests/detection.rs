//! What moves a broker and what does not: hangs do, in time and whoever else is gone; being busy, and trouble of the
//! controller's own, do not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process, setpriority_process};
use serde_json::Value;
use skein_e2e::{Burners, Fleet, Manifest, PATIENCE, Series, Traffic, Up, broker_processes, cores};

/// Far longer than the 150 ms after which a hang is seen on an idle machine, far shorter than any other way to notice.
const SOON: Duration = Duration::from_secs(5);

/// A square with the quickest heartbeats there are.
fn square(series: Series) -> Result<Fleet> {
    let fleet = Fleet::square(series)?;
    fleet.write("brokers.yaml", Manifest::new().quick_brokers("a b c i").text())?;
    Ok(fleet)
}

/// A process stopped in its tracks, until dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(process: Pid) -> Result<Self> {
        kill_process(process, Signal::STOP)?;
        Ok(Self(process))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// What it was declared down for, as soon as it is.
async fn evidence(up: &Up<'_>, broker: &str) -> Result<Vec<String>> {
    let of = |status: &Value| -> Option<Vec<String>> {
        let migrations = status["migrations"].as_array()?;
        let migration = migrations
            .iter()
            .find(|migration| migration["broker"] == broker)?;
        let texts = migration["evidence"].as_array()?.iter();
        Some(
            texts
                .filter_map(|text| text.as_str().map(str::to_owned))
                .collect(),
        )
    };
    let what = format!("{broker} to be declared down");
    let status = up.wait_status(&what, SOON, |status| of(status).is_some()).await?;
    of(&status).context("no evidence")
}

async fn ensure_nobody_moved(up: &Up<'_>, when: &str) -> Result<()> {
    let status = up.status().await?;
    let migrations = status["migrations"].as_array().context("no migrations")?;
    ensure!(migrations.is_empty(), "{when}: {migrations:#?}");
    Ok(())
}

async fn a_hang_is_seen_though_the_supervisor_is_gone(series: Series) -> Result<()> {
    let fleet = square(series)?;
    let up = fleet.up()?;
    let status = up.wait_settled(PATIENCE).await?;
    // One that hangs, too: a dead one would be started again.
    let _supervisor = Stopped::new(up.supervisor("b")?)?;
    let _broker = Stopped::new(broker_processes(&status)?["b"])?;
    let evidence = evidence(&up, "b").await?;
    let stopped = "its process is stopped in its tracks".to_owned();
    ensure!(evidence.contains(&stopped), "{evidence:?}");
    up.wait_path("soil", "i", "a", "a c i", PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_hang_is_seen_though_the_supervisor_is_gone_2_0() -> Result<()> {
    a_hang_is_seen_though_the_supervisor_is_gone(Series::Oldest).await
}

#[tokio::test]
async fn a_hang_is_seen_though_the_supervisor_is_gone_2_1() -> Result<()> {
    a_hang_is_seen_though_the_supervisor_is_gone(Series::Newest).await
}

#[tokio::test]
async fn a_broker_that_gets_no_processor_is_late_and_not_moved_but_a_hung_one_is() -> Result<()> {
    let fleet = square(Series::Newest)?;
    let up = fleet.up()?;
    let status = up.wait_settled(PATIENCE).await?;
    let processes = broker_processes(&status)?;
    let traffic = Traffic::start(&up).await?;
    let heat = Burners::start(4 * cores());
    // Last in the queue for a processor: it waits for seconds in all, and for a good part of one at a time.
    setpriority_process(Some(processes["b"]), 19)?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    ensure_nobody_moved(&up, "while the machine was busy").await?;
    let _broker = Stopped::new(processes["b"])?;
    let evidence = evidence(&up, "b").await?;
    let stopped = "its process is stopped in its tracks".to_owned();
    ensure!(evidence.contains(&stopped), "{evidence:?}");
    drop((heat, traffic));
    Ok(())
}

#[tokio::test]
async fn a_controller_that_did_not_run_for_a_while_moves_nobody() -> Result<()> {
    let fleet = square(Series::Newest)?;
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    let controller = up
        .pid()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    let controller = controller.context("no skein up")?;
    for pause in [30, 70, 160, 200, 400, 1100] {
        // Again and again, so that it is hit in each part of an interval.
        for _ in 0..8 {
            let stopped = Stopped::new(controller)?;
            tokio::time::sleep(Duration::from_millis(pause)).await;
            drop(stopped);
            tokio::time::sleep(Duration::from_millis(37)).await;
        }
        ensure_nobody_moved(&up, &format!("stalls of {pause} ms")).await?;
    }
    up.wait_settled(PATIENCE).await?;
    up.stop().await
}
