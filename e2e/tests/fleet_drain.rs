//! A broker is drained while messages flow, by command and by manifest, and gets its clients back: nothing is lost, who is
//! away with messages waiting is waited for, and the broker is left empty.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use skein_e2e::{
    Fleet, Ledger, PATIENCE, Publisher, RawClient, Series, Subscriber, newest_migration, wait_until,
};
use skein_store::Store;

#[tokio::test]
async fn a_drained_broker_is_empty_and_nobody_misses_anything_on_the_oldest_mosquitto() -> Result<()> {
    story(Series::Oldest).await
}

#[tokio::test]
async fn a_drained_broker_is_empty_and_nobody_misses_anything_on_the_newest_mosquitto() -> Result<()> {
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
    // What brokers keep of their clients is looked at once a second; whoever comes later is not known yet.
    present.wait_received(150, PATIENCE).await?;
    absent.go_offline();
    present.wait_received(20, PATIENCE).await?;

    // Messages wait for who is away: nobody is moved past them.
    up.skein(&["drain", "a", "--no-wait"]).await?;
    up.wait_status("the drain to wait for who is away", PATIENCE, |status| {
        newest_migration(status)
            .is_some_and(|it| it["waiting"]["absent"].as_u64() > Some(0) && it["phase"] == "Draining")
    })
    .await?;
    absent.go_online();
    up.skein(&["drain", "a", "--timeout", "60s"]).await?;
    let drained = up.wait_status("a to be drained", PATIENCE, |status| {
        newest_migration(status).is_some_and(|it| it["phase"] == "Completed")
    });
    let drained = drained.await?;
    let migration = newest_migration(&drained).context("a migration")?;
    ensure!(
        migration["reason"] == "Drain" && migration["to"] != "a",
        "{migration:#}"
    );
    present.wait_received(50, PATIENCE).await?;
    let emptied = match series {
        // A session that ended is still in what it wrote down, until something else changes: so it is asked.
        Series::Oldest => {
            let at = broker(&drained, "a")["peerAddress"].as_str();
            let at = at.context("an address")?.to_owned();
            let has = async |client| has_session(&at, client).await.unwrap_or(true);
            let is_empty = async || !has("present").await && !has("absent").await;
            wait_until("a to know no session of a client", PATIENCE, is_empty).await
        }
        Series::Newest => {
            let is_empty = async || kept(&fleet, "a").is_ok_and(|kept| kept.is_empty());
            wait_until("a to keep no session of a client", PATIENCE, is_empty).await
        }
    };
    emptied.with_context(|| format!("{:?}", kept(&fleet, "a")))?;

    // Nothing flows through it, and nobody is there: it can be stopped, and started again.
    up.skein(&["break", "a"]).await?;
    present.wait_received(50, PATIENCE).await?;
    up.skein(&["mend", "a"]).await?;
    up.wait_status("a to answer again", PATIENCE, |status| {
        broker(status, "a")["phase"] == "Ready"
    })
    .await?;

    up.skein(&["undrain", "a"]).await?;
    up.wait_status("a to have its clients back", PATIENCE, |status| {
        let back = newest_migration(status).is_some_and(|it| it["phase"] == "FailedBack");
        back && broker(status, "a")["servedBy"] == "a"
    })
    .await?;
    present.wait_received(50, PATIENCE).await?;

    sensor.finish(PATIENCE).await?;
    for subscriber in [present, absent] {
        subscriber
            .wait_caught_up(PATIENCE)
            .await
            .with_context(|| fleet.log())?;
        let summary = subscriber.summary();
        println!("{series:?}: {summary}");
        ensure!(summary.lost == 0 && subscriber.fresh_sessions() == 1, "{summary}");
        ensure!(summary.longest_pause < Duration::from_secs(20), "{summary}");
    }
    up.stop().await
}

/// The clients whose sessions a broker keeps on disk.
/// Whether a broker knows a client's session. It does not, afterwards, if it did not before.
async fn has_session(address: &str, client: &str) -> Result<bool> {
    let comes = RawClient::connect(address, client, false, None).await?;
    let is_there = comes.session_present();
    comes.disconnect().await?;
    if !is_there {
        RawClient::connect(address, client, true, None)
            .await?
            .disconnect()
            .await?;
    }
    Ok(is_there)
}

fn kept(fleet: &Fleet, broker: &str) -> Result<Vec<String>> {
    let store = Store::open(&fleet.state().join("brokers").join(broker).join("data"))?;
    let sessions = store.context("a store")?.inventory()?.sessions;
    let clients = sessions.into_iter().filter(|session| !session.is_ours());
    Ok(clients.map(|session| session.client_id).collect())
}

fn broker<'status>(status: &'status Value, name: &str) -> &'status Value {
    let brokers = status["brokers"].as_array();
    let found = brokers.and_then(|brokers| brokers.iter().find(|broker| broker["name"] == name));
    found.unwrap_or(&Value::Null)
}
