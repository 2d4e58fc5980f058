//! `skein up` and its processes, killed and started again: brokers outlive it, it takes them over and goes on healing;
//! only one at a time holds a state; Ctrl-C leaves nothing behind.

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use skein_e2e::{Fleet, PATIENCE, Series, Traffic, broker_processes, wait_until};

#[tokio::test]
async fn skein_comes_and_goes_on_the_oldest_mosquitto() -> Result<()> {
    story(Series::Oldest).await
}

#[tokio::test]
async fn skein_comes_and_goes_on_the_newest_mosquitto() -> Result<()> {
    story(Series::Newest).await
}

async fn story(series: Series) -> Result<()> {
    let fleet = Fleet::square(series)?;
    let up = fleet.up()?;
    let before = broker_processes(&up.wait_settled(PATIENCE).await?)?;
    let traffic = Traffic::start(&fleet).await?;
    traffic.flows(20).await?;

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
    traffic.flows(50).await?;
    let status = fleet.status().await?;
    ensure!(status["running"] == false, "{status:#}");

    // Back again, it takes over what runs, as it runs.
    let up = fleet.up()?;
    let status = wait_written_by(&fleet, up.pid()).await?;
    ensure!(
        broker_processes(&status)? == before,
        "{before:?} became {status:#}"
    );
    ensure!(
        fleet.log().contains("still running, taken over"),
        "{}",
        fleet.log()
    );
    traffic.flows(20).await?;
    let address = traffic.address.clone();
    let office = traffic.finish().await?;
    let summary = office.summary();
    ensure!(summary.is_perfect(), "nothing was disturbed: {summary}");
    ensure!(office.fresh_sessions() == 1, "the office was never cut off");

    // And it goes on healing.
    up.skein(&["break", "b"]).await?;
    up.wait_way("soil", "i", "a", "a c i").await?;
    up.check_once("farm/around/soil", "i", "a", PATIENCE).await?;

    // It is killed while a broker is down; the next one knows, and takes the broker back when it returns.
    up.kill().await?;
    let up = fleet.up()?;
    wait_written_by(&fleet, up.pid()).await?;
    up.skein(&["mend", "b"]).await?;
    up.wait_way("soil", "i", "a", "a b i").await?;
    up.check_once("farm/back/soil", "i", "a", PATIENCE).await?;

    // A supervisor that dies is replaced, and its broker goes on under the next one.
    let before = broker_processes(&up.status().await?)?;
    let supervisor = fleet.supervisor("b")?;
    kill_process(supervisor, Signal::KILL)?;
    wait_until("another supervisor of b", PATIENCE, async || {
        fleet.supervisor("b").is_ok_and(|now| now != supervisor)
    })
    .await?;
    up.wait_settled(PATIENCE).await?;
    up.check_once("farm/supervised/soil", "i", "a", PATIENCE).await?;
    ensure!(
        broker_processes(&up.status().await?)? == before,
        "no broker was restarted"
    );
    // The new one does its work: a killed broker is back.
    let pid = before["b"];
    kill_process(pid, Signal::KILL)?;
    up.wait_status("b to be restarted", PATIENCE, |status| {
        broker_processes(status).is_ok_and(|now| now["b"] != pid)
    })
    .await?;
    up.wait_settled(PATIENCE).await?;
    up.check_once("farm/restarted/soil", "i", "a", PATIENCE).await?;

    // Ctrl-C ends everything, whoever started it.
    up.stop().await?;

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
