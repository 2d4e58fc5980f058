//! The counting clients themselves, on one real broker of each series: what they report must be trustworthy.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use skein_e2e::{
    Ledger, Listener, PlainBroker, Publisher, Series, Subscriber, find_mosquitto, mosquitto, publish_once,
};

const SOON: Duration = Duration::from_secs(20);
const UNLIMITED: &str = "max_queued_messages 0\nmax_inflight_messages 0\n";

fn keeping(folder: &str) -> String {
    format!(
        "{UNLIMITED}persistence true\nautosave_on_changes true\nautosave_interval 1\npersistence_location {folder}/\n"
    )
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_on_a_quiet_broker() -> Result<()> {
    for series in Series::ALL {
        for qos in [1, 2] {
            let broker = PlainBroker::start(&mosquitto(series), UNLIMITED).await?;
            let ledger = Ledger::new();
            let subscriber = Subscriber::start(&broker.address(), "office", "t/#", qos, &ledger).await?;
            let publisher = Publisher::start(&broker.address(), "sensor", "t/1", qos, 500, &ledger).await?;
            publisher.wait_acknowledged(200, SOON).await?;
            publisher.finish(SOON).await?;
            subscriber.wait_caught_up(SOON).await?;
            let summary = subscriber.summary();
            assert!(
                summary.is_perfect() && summary.received >= 200,
                "{series:?} QoS {qos}: {summary}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_stopped_broker_that_keeps_its_store_loses_nothing() -> Result<()> {
    for series in Series::ALL {
        for qos in [1, 2] {
            let store = tempfile::tempdir()?;
            let binary = find_mosquitto(series)?;
            let config = keeping(&store.path().display().to_string());
            let mut broker = PlainBroker::start(&binary, &config).await?;
            let ledger = Ledger::new();
            let subscriber = Subscriber::start(&broker.address(), "office", "t/#", qos, &ledger).await?;
            let publisher = Publisher::start(&broker.address(), "sensor", "t/1", qos, 500, &ledger).await?;
            publisher.wait_acknowledged(100, SOON).await?;
            broker.stop().await?;
            broker.restart(&binary).await?;
            publisher.wait_acknowledged(100, SOON).await?;
            publisher.finish(SOON).await?;
            subscriber.wait_caught_up(SOON).await?;
            let summary = subscriber.summary();
            assert_eq!(
                (summary.lost, summary.unexpected),
                (0, 0),
                "{series:?} QoS {qos}: {summary}"
            );
            assert_eq!(
                subscriber.fresh_sessions(),
                1,
                "{series:?}: the session outlives the restart"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_killed_broker_without_a_store_is_seen_to_lose_what_it_had_queued() -> Result<()> {
    let binary = mosquitto(Series::Newest);
    let mut broker = PlainBroker::start(&binary, UNLIMITED).await?;
    let ledger = Ledger::new();
    let subscriber = Subscriber::start(&broker.address(), "office", "t/#", 1, &ledger).await?;
    subscriber.go_offline();
    let publisher = Publisher::start(&broker.address(), "sensor", "t/1", 1, 500, &ledger).await?;
    publisher.wait_acknowledged(100, SOON).await?;
    broker.restart(&binary).await?;
    subscriber.go_online();
    publisher.wait_acknowledged(100, SOON).await?;
    publisher.finish(SOON).await?;
    assert!(subscriber.wait_caught_up(Duration::from_secs(1)).await.is_err());
    let summary = subscriber.summary();
    assert!(summary.lost >= 100, "{summary}");
    Ok(())
}

#[tokio::test]
async fn a_hung_broker_shows_as_a_pause() -> Result<()> {
    let broker = PlainBroker::start(&mosquitto(Series::Newest), UNLIMITED).await?;
    let ledger = Ledger::new();
    let subscriber = Subscriber::start(&broker.address(), "office", "t/#", 1, &ledger).await?;
    let publisher = Publisher::start(&broker.address(), "sensor", "t/1", 1, 200, &ledger).await?;
    subscriber.wait_received(50, SOON).await?;
    let _ = subscriber.take_longest_pause();
    broker.signal(Signal::STOP)?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    broker.signal(Signal::CONT)?;
    subscriber.wait_received(50, SOON).await?;
    publisher.finish(SOON).await?;
    subscriber.wait_caught_up(SOON).await?;
    let pause = subscriber.take_longest_pause();
    assert!((400..2000).contains(&pause.as_millis()), "{pause:?}");
    assert!(subscriber.summary().is_perfect(), "{}", subscriber.summary());
    Ok(())
}

#[tokio::test]
async fn a_listener_sees_every_copy() -> Result<()> {
    let broker = PlainBroker::start(&mosquitto(Series::Newest), UNLIMITED).await?;
    publish_once(&broker.address(), "t/kept", "0", 1, true).await?;
    let listener = Listener::start(&broker.address(), "ear", "t/#", 2).await?;
    publish_once(&broker.address(), "t/a", "1", 2, false).await?;
    publish_once(&broker.address(), "t/a", "1", 0, false).await?;
    let messages = listener.wait_messages(3, SOON).await?;
    assert_eq!(
        messages.iter().map(|message| message.retain).collect::<Vec<_>>(),
        [true, false, false]
    );
    Ok(())
}
