//! A broker that hangs and stays away: what its neighbours keep for it comes to its clients by way of its substitute, at once.

use anyhow::{Context as _, Result, ensure};
use skein_e2e::{Fleet, Ledger, PATIENCE, Publisher, Series, Subscriber, newest_migration};

#[tokio::test]
async fn what_came_for_a_hung_broker_does_not_wait_for_its_return_on_the_oldest_mosquitto() -> Result<()> {
    story(Series::Oldest).await
}

#[tokio::test]
async fn what_came_for_a_hung_broker_does_not_wait_for_its_return_on_the_newest_mosquitto() -> Result<()> {
    story(Series::Newest).await
}

async fn story(series: Series) -> Result<()> {
    let fleet = Fleet::pair(series)?;
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    let home = fleet.client_address("a").await?;
    let ledger = Ledger::new();
    let office = Subscriber::start(&home, "office", "farm/+/soil", 1, &ledger).await?;
    let sensor = fleet.client_address("i").await?;
    let sensor = Publisher::start(&sensor, "sensor", "farm/7/soil", 1, 200, &ledger).await?;
    office.wait_received(200, PATIENCE).await?;

    up.skein(&["break", "a", "--hang"]).await?;
    let served = up.wait_served("a").await?;
    let adopted = up.wait_status("what waited for a to be passed on", PATIENCE, |status| {
        newest_migration(status).is_some_and(|migration| migration["adopted"].as_u64() > Some(0))
    });
    let adopted = adopted.await.with_context(|| fleet.log())?;
    sensor.finish(PATIENCE).await?;
    let caught_up = office.wait_caught_up(PATIENCE).await;
    caught_up.with_context(|| format!("a hangs, {served} serves; {}\n{}", office.summary(), fleet.log()))?;
    ensure!(
        newest_migration(&adopted).is_some_and(|it| it["phase"] == "Completed"),
        "{adopted:#}"
    );
    println!(
        "{series:?}: {}, {} passed on",
        office.summary(),
        newest_migration(&adopted).map_or(0, |it| it["adopted"].as_u64().unwrap_or(0))
    );

    // Once it is back it may pass on again what it had received, and nothing else happens.
    up.skein(&["mend", "a"]).await?;
    let back = up.wait_status("a to be taken back", PATIENCE, |status| {
        newest_migration(status).is_some_and(|migration| migration["phase"] == "FailedBack")
    });
    back.await?;
    up.wait_settled(PATIENCE).await?;
    println!("{series:?}: {} once a is back", office.summary());
    ensure!(office.summary().unexpected == 0, "{}", office.summary());
    up.stop().await
}
