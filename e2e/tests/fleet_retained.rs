//! Retained values through a failover: they are where the clients are that published them, none comes back that was replaced or
//! cleared meanwhile, and nobody hears of an older one after a newer one.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use skein_e2e::{Fleet, Manifest, PATIENCE, RawClient, Series, Up, newest_migration, wait_for};

const QUIET: Duration = Duration::from_millis(300);

/// `a` hears `i` by way of `b`, and could by way of `c`; `a2` and `i2` are no worse placed than these.
fn fleet(series: Series) -> Result<Fleet> {
    let fleet = Fleet::new(series)?;
    let manifest = Manifest::new()
        .brokers("a a2 b c i i2")
        .routes("a-b a2-b b-i b-i2 a-c:2 a2-c:2 c-i:2 c-i2:2")
        .topic("state", "farm/+/state", "i", "a");
    fleet.write("fleet.yaml", manifest.text())?;
    Ok(fleet)
}

async fn client(fleet: &Fleet, at: &str, client_id: &str) -> Result<RawClient> {
    RawClient::connect(&fleet.client_address(at).await?, client_id, true, None).await
}

/// Published by a client of a broker, wherever that is led now.
async fn publish(fleet: &Fleet, at: &str, topic: &str, payload: &str) -> Result<()> {
    let mut sensor = client(fleet, at, "sensor").await?;
    sensor.publish(topic, payload, 1, true).await?;
    sensor.disconnect().await
}

/// What somebody sees who subscribes now as a client of a broker.
async fn shown(fleet: &Fleet, at: &str) -> Result<Vec<String>> {
    let mut looker = client(fleet, at, "looker").await?;
    looker.subscribe("farm/+/state", 1).await?;
    let taken = looker.take(QUIET, true).await?;
    let mut shown: Vec<String> = taken.iter().filter(|each| each.retain).map(told).collect();
    shown.sort();
    Ok(shown)
}

fn told(message: &rumqttc::Publish) -> String {
    format!("{}={}", message.topic, String::from_utf8_lossy(&message.payload))
}

async fn wait_shown(fleet: &Fleet, at: &str, expected: &[&str]) -> Result<()> {
    let mut last = Vec::new();
    let seen = wait_for("values", PATIENCE, async || {
        last = shown(fleet, at).await.ok()?;
        (last == expected).then_some(())
    });
    seen.await
        .with_context(|| format!("at {at}: {last:?} instead of {expected:?}\n{}", fleet.log()))
}

async fn returns(up: &Up<'_>, fleet: &Fleet) -> Result<()> {
    let back = up.wait_status("it to be taken back", 2 * PATIENCE, |status| {
        newest_migration(status).is_some_and(|migration| migration["phase"] == "FailedBack")
    });
    back.await.with_context(|| fleet.log())?;
    up.wait_settled(PATIENCE).await.map(drop)
}

#[tokio::test]
async fn values_go_with_who_published_them_on_the_oldest_mosquitto() -> Result<()> {
    values_go_with_who_published_them(Series::Oldest).await
}

#[tokio::test]
async fn values_go_with_who_published_them_on_the_newest_mosquitto() -> Result<()> {
    values_go_with_who_published_them(Series::Newest).await
}

async fn values_go_with_who_published_them(series: Series) -> Result<()> {
    let fleet = fleet(series)?;
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    let mut office = client(&fleet, "a", "office").await?;
    office.subscribe("farm/+/state", 1).await?;
    for (topic, payload) in [
        ("farm/1/state", "1"),
        ("farm/2/state", "1"),
        ("farm/3/state", "1"),
    ] {
        publish(&fleet, "i", topic, payload).await?;
    }
    wait_shown(
        &fleet,
        "a",
        &["farm/1/state=1", "farm/2/state=1", "farm/3/state=1"],
    )
    .await?;

    up.skein(&["break", "i", "--hang"]).await?;
    up.wait_served("i").await?;
    // At once: they were there before the clients were.
    let there = shown(&fleet, "i").await?;
    ensure!(
        there == ["farm/1/state=1", "farm/2/state=1", "farm/3/state=1"],
        "{there:?}"
    );
    publish(&fleet, "i", "farm/1/state", "2").await?;
    publish(&fleet, "i", "farm/2/state", "").await?;
    wait_shown(&fleet, "a", &["farm/1/state=2", "farm/3/state=1"]).await?;

    up.skein(&["mend", "i"]).await?;
    returns(&up, &fleet).await?;
    for at in ["i", "a"] {
        let there = shown(&fleet, at).await?;
        ensure!(
            there == ["farm/1/state=2", "farm/3/state=1"],
            "{series:?} {at}: {there:?} {}",
            fleet.log()
        );
    }
    publish(&fleet, "i", "farm/1/state", "3").await?;
    wait_shown(&fleet, "a", &["farm/1/state=3", "farm/3/state=1"]).await?;
    let heard = office.take(QUIET, true).await?;
    let heard: Vec<String> = heard.iter().map(told).collect();
    println!("{series:?}: {heard:?}");
    let of = |topic: &str| {
        let mut values: Vec<&str> = heard
            .iter()
            .filter_map(|each| each.strip_prefix(topic)?.strip_prefix('='))
            .collect();
        values.dedup();
        values
    };
    ensure!(of("farm/1/state") == ["1", "2", "3"], "{series:?} {heard:?}");
    ensure!(of("farm/2/state") == ["1", ""], "{series:?} {heard:?}");
    ensure!(of("farm/3/state") == ["1"], "{series:?} {heard:?}");
    up.stop().await
}

#[tokio::test]
async fn a_broker_that_was_out_shows_nothing_that_was_cleared_on_the_oldest_mosquitto() -> Result<()> {
    a_broker_that_was_out_shows_nothing_that_was_cleared(Series::Oldest).await
}

#[tokio::test]
async fn a_broker_that_was_out_shows_nothing_that_was_cleared_on_the_newest_mosquitto() -> Result<()> {
    a_broker_that_was_out_shows_nothing_that_was_cleared(Series::Newest).await
}

async fn a_broker_that_was_out_shows_nothing_that_was_cleared(series: Series) -> Result<()> {
    let fleet = fleet(series)?;
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    for topic in ["farm/1/state", "farm/2/state"] {
        publish(&fleet, "i", topic, "1").await?;
    }
    for at in ["a", "b"] {
        wait_shown(&fleet, at, &["farm/1/state=1", "farm/2/state=1"]).await?;
    }
    for out in ["a", "b"] {
        up.skein(&["break", out, "--hang"]).await?;
        up.wait_served(out).await?;
        wait_shown(&fleet, "a", &["farm/1/state=1", "farm/2/state=1"]).await?;
        publish(&fleet, "i", "farm/2/state", "").await?;
        wait_shown(&fleet, "a", &["farm/1/state=1"]).await?;
        let mut office = client(&fleet, "a", "office").await?;
        office.subscribe("farm/2/state", 1).await?;
        up.skein(&["mend", out]).await?;
        returns(&up, &fleet).await?;
        for at in ["a", "b"] {
            let there = shown(&fleet, at).await?;
            ensure!(there == ["farm/1/state=1"], "{series:?} {out} {at}: {there:?}");
        }
        publish(&fleet, "i", "farm/2/state", "2").await?;
        wait_shown(&fleet, "a", &["farm/1/state=1", "farm/2/state=2"]).await?;
        publish(&fleet, "i", "farm/2/state", "1").await?;
    }
    up.stop().await
}
