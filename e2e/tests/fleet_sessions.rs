//! Clients with sessions that outlive their connections, whose broker hangs while some of them are away: they find a session
//! at the substitute with all that came since, and back home nothing is missing.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use skein_e2e::{Fleet, Ledger, PATIENCE, Publisher, Series, Subscriber, newest_migration};

#[tokio::test]
async fn who_is_away_while_a_broker_hangs_misses_nothing_on_the_oldest_mosquitto() -> Result<()> {
    story(Series::Oldest).await
}

#[tokio::test]
async fn who_is_away_while_a_broker_hangs_misses_nothing_on_the_newest_mosquitto() -> Result<()> {
    story(Series::Newest).await
}

async fn story(series: Series) -> Result<()> {
    let fleet = Fleet::pair(series)?;
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    let home = fleet.client_address("a").await?;
    let ledger = Ledger::new();
    let present = Subscriber::start(&home, "present", "farm/+/soil", 1, &ledger).await?;
    let absent = Subscriber::start(&home, "absent", "farm/7/#", 1, &ledger).await?;
    let sensor = fleet.client_address("i").await?;
    let sensor = Publisher::start(&sensor, "sensor", "farm/7/soil", 1, 50, &ledger).await?;
    present.wait_received(50, PATIENCE).await?;
    absent.wait_caught_up(PATIENCE).await?;
    absent.go_offline();

    up.skein(&["break", "a", "--hang"]).await?;
    let served = up.wait_served("a").await?;
    present.wait_received(50, PATIENCE).await?;
    ensure!(
        present.fresh_sessions() == 1,
        "{served} had no session for a client that was there all the time"
    );

    // Nobody is led back past messages that wait for somebody.
    up.skein(&["mend", "a"]).await?;
    let blocked = up.wait_status("the way back to wait for who is away", PATIENCE, |status| {
        newest_migration(status).is_some_and(|migration| migration["waiting"]["absent"].as_u64() > Some(0))
    });
    let blocked = blocked.await?;
    ensure!(
        newest_migration(&blocked).is_some_and(|it| it["phase"] == "Completed"),
        "{blocked:#}"
    );
    absent.go_online();
    let back = up.wait_status("a to be taken back", PATIENCE, |status| {
        newest_migration(status).is_some_and(|migration| migration["phase"] == "FailedBack")
    });
    let back = back.await?;
    ensure!(
        newest_migration(&back)
            .is_some_and(|migration| migration["moved"] == Value::Object(serde_json::Map::new())),
        "what was opened at {served} is ended: {back:#}"
    );
    present.wait_received(50, PATIENCE).await?;

    sensor.finish(PATIENCE).await?;
    for subscriber in [present, absent] {
        subscriber
            .wait_caught_up(PATIENCE)
            .await
            .with_context(|| fleet.log())?;
        let summary = subscriber.summary();
        println!("{series:?}: {summary}");
        ensure!(
            subscriber.fresh_sessions() == 1,
            "a session of its own everywhere: {summary}"
        );
    }
    up.stop().await
}

#[tokio::test]
async fn who_stays_away_keeps_nobody_from_going_home_once_that_is_given_up() -> Result<()> {
    let fleet = Fleet::pair(Series::Newest)?;
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    let home = fleet.client_address("a").await?;
    let ledger = Ledger::new();
    let absent = Subscriber::start(&home, "absent", "farm/7/#", 1, &ledger).await?;
    let sensor = fleet.client_address("i").await?;
    let sensor = Publisher::start(&sensor, "sensor", "farm/7/soil", 1, 50, &ledger).await?;
    absent.wait_received(20, PATIENCE).await?;
    absent.go_offline();
    let refused = up.run(&["approve", "a", "--abandon"]).await?;
    ensure!(
        refused.status.code() == Some(2),
        "nothing waits there yet: {refused:?}"
    );

    up.skein(&["break", "a", "--hang"]).await?;
    up.wait_served("a").await?;
    up.skein(&["mend", "a"]).await?;
    let waits = |status: &Value| {
        newest_migration(status).is_some_and(|migration| migration["waiting"]["absent"].as_u64() > Some(0))
    };
    up.wait_status("the way back to wait for who is away", PATIENCE, waits)
        .await?;
    up.skein(&["approve", "a", "--abandon"]).await?;
    let back = up.wait_status("a to be taken back", 2 * PATIENCE, |status| {
        newest_migration(status).is_some_and(|migration| migration["phase"] == "FailedBack")
    });
    let back = back.await.with_context(|| fleet.log())?;
    let given_up = newest_migration(&back).and_then(|it| it["abandoned"]["absent"].as_u64());
    ensure!(given_up > Some(0), "{back:#}");
    sensor.finish(PATIENCE).await?;
    up.stop().await
}
