//! `skein up` and its processes, killed and started again: brokers outlive it, it takes them over and goes on healing;
//! only one at a time holds a state; Ctrl-C leaves nothing behind.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use skein_e2e::{Fleet, Ledger, Manifest, Publisher, Series, Subscriber, wait_until};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn skein_comes_and_goes_on_the_oldest_mosquitto() -> Result<()> {
    story(Series::Oldest).await
}

#[tokio::test]
async fn skein_comes_and_goes_on_the_newest_mosquitto() -> Result<()> {
    story(Series::Newest).await
}

/// A square: a hears i by way of b, and could by way of c.
fn square() -> Manifest {
    Manifest::new()
        .brokers("a b c i")
        .routes("a-b b-i a-c:2 c-i:2")
        .topic("soil", "farm/+/soil", "i", "a")
}

async fn story(series: Series) -> Result<()> {
    let fleet = Fleet::new(series)?;
    fleet.write("fleet.yaml", square().text())?;
    let up = fleet.up()?;
    let before = processes(&up.wait_settled(PATIENCE).await?)?;
    let ledger = Ledger::new();
    let office = Subscriber::start(
        &up.client_address("a").await?,
        "office",
        "farm/+/soil",
        1,
        &ledger,
    )
    .await?;
    let address = up.client_address("i").await?;
    let sensor = Publisher::start(&address, "sensor", "farm/7/soil", 1, 50, &ledger).await?;
    office.wait_received(20, PATIENCE).await?;

    // Another one on the same state is refused, and disturbs nothing.
    let refused = fleet.up()?.ended(PATIENCE).await?;
    ensure!(matches!(refused.code(), Some(1 | 2)), "refused with {refused}");
    ensure!(
        fleet.log().contains("in use by another `skein up`"),
        "{}",
        fleet.log()
    );

    // Killed, it is missed by nobody: traffic flows, and status says who is gone.
    up.kill().await?;
    office.wait_received(50, PATIENCE).await?;
    let status = fleet.status().await?;
    ensure!(status["running"] == false, "{status:#}");

    // Back again, it takes over what runs, as it runs.
    let up = fleet.up()?;
    let status = wait_written_by(&fleet, up.pid()).await?;
    ensure!(processes(&status)? == before, "{before:?} became {status:#}");
    ensure!(
        fleet.log().contains("still running, taken over"),
        "{}",
        fleet.log()
    );
    office.wait_received(20, PATIENCE).await?;
    sensor.finish(PATIENCE).await?;
    office.wait_caught_up(PATIENCE).await?;
    let summary = office.summary();
    ensure!(summary.is_perfect(), "nothing was disturbed: {summary}");
    ensure!(office.fresh_sessions() == 1, "the office was never cut off");

    // And it goes on healing.
    up.skein(&["break", "b"]).await?;
    up.wait_path("soil", "i", "a", "a c i", PATIENCE).await?;
    up.wait_settled(PATIENCE).await?;
    up.check_once("farm/around/soil", "i", "a", PATIENCE).await?;

    // It is killed while a broker is down; the next one knows, and takes the broker back when it returns.
    up.kill().await?;
    let up = fleet.up()?;
    wait_written_by(&fleet, up.pid()).await?;
    up.skein(&["mend", "b"]).await?;
    up.wait_path("soil", "i", "a", "a b i", PATIENCE).await?;
    up.wait_settled(PATIENCE).await?;
    up.check_once("farm/back/soil", "i", "a", PATIENCE).await?;

    // A supervisor that dies is replaced, and its broker goes on under the next one.
    let before = processes(&up.status().await?)?;
    let supervisor = supervisor_of(&fleet, "b")?;
    kill_process(supervisor, Signal::KILL)?;
    wait_until("another supervisor of b", PATIENCE, async || {
        supervisor_of(&fleet, "b").is_ok_and(|now| now != supervisor)
    })
    .await?;
    up.wait_settled(PATIENCE).await?;
    up.check_once("farm/supervised/soil", "i", "a", PATIENCE).await?;
    ensure!(
        processes(&up.status().await?)? == before,
        "no broker was restarted"
    );
    // The new one does its work: a killed broker is back.
    let pid = before["b"];
    kill_process(Pid::from_raw(pid).context("no process")?, Signal::KILL)?;
    up.wait_status("b to be restarted", PATIENCE, |status| {
        processes(status).is_ok_and(|now| now["b"] != pid)
    })
    .await?;
    up.wait_settled(PATIENCE).await?;
    up.check_once("farm/restarted/soil", "i", "a", PATIENCE).await?;

    // Ctrl-C ends everything, whoever started it.
    up.stop().await?;
    ensure!(
        fleet.processes().is_empty(),
        "left behind: {:?}",
        fleet.processes()
    );

    // And all of it starts again on the same addresses.
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    ensure!(
        up.client_address("i").await? == address,
        "clients keep their address"
    );
    up.check_once("farm/again/soil", "i", "a", PATIENCE).await?;
    up.stop().await
}

/// The process of each broker.
fn processes(status: &Value) -> Result<BTreeMap<String, i32>> {
    let brokers = status["brokers"].as_array().context("no brokers")?;
    let one = |broker: &Value| {
        let name = broker["name"].as_str()?.to_owned();
        Some((name, broker["pid"].as_i64()?.try_into().ok()?))
    };
    let found: Option<BTreeMap<String, i32>> = brokers.iter().map(one).collect();
    found.with_context(|| format!("a broker has no process: {status:#}"))
}

/// Waits until this `skein up` wrote a status in which all brokers that were up are ready.
async fn wait_written_by(fleet: &Fleet, pid: Option<u32>) -> Result<Value> {
    let pid = pid.context("skein up has ended")?;
    fleet
        .wait_status("the next skein up to know its fleet", PATIENCE, |status| {
            let known = |broker: &Value| broker["phase"] == "Ready" || broker["phase"] == "Down";
            let paths = status["paths"].as_array();
            status["pid"] == pid
                && status["brokers"]
                    .as_array()
                    .is_some_and(|brokers| brokers.iter().all(known))
                && paths.is_some_and(|paths| paths.iter().all(|path| path["up"] == true))
        })
        .await
}

fn supervisor_of(fleet: &Fleet, broker: &str) -> Result<Pid> {
    let file = fleet.state().join("brokers").join(broker).join("report.json");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let pid = report["supervisorPid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok());
    pid.and_then(Pid::from_raw)
        .with_context(|| format!("no supervisor in {report}"))
}
