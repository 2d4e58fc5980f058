//! Data on an edge is turned round. The old subscription outlives its line, and even its link, in the session upstream:
//! what it collects there would come back by the next link that resumes the session, and go to and fro.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use skein_e2e::{Fleet, Listener, Manifest, PATIENCE, Series, publish_once};

/// A message that comes back does so within milliseconds of the link.
const QUIET: Duration = Duration::from_millis(700);
const MESSAGES: usize = 50;

#[tokio::test]
async fn nothing_comes_back_on_the_oldest_mosquitto() -> Result<()> {
    story(Series::Oldest).await
}

#[tokio::test]
async fn nothing_comes_back_on_the_newest_mosquitto() -> Result<()> {
    story(Series::Newest).await
}

/// Both topics are of one class, and so on one link where they go the same way, by a third that stays at c.
fn pair(producer: &str, consumer: &str) -> Manifest {
    Manifest::new()
        .brokers("a b c")
        .routes("a-b b-c")
        .topic("all", "t/#", "c", "c")
        .topic("turned", "t/turned/#", producer, consumer)
}

async fn story(series: Series) -> Result<()> {
    let fleet = Fleet::new(series)?;
    fleet.write("fleet.yaml", pair("b", "a").text())?;
    let up = fleet.up()?;
    up.wait_way("turned", "b", "a", "a b").await?;
    let mut ears = BTreeMap::new();
    for broker in ["a", "b"] {
        let address = up.client_address(broker).await?;
        ears.insert(broker, Listener::start(&address, "ear", "t/turned/#", 1).await?);
    }

    // The link a <- b goes, and with it all that was to be carried on it.
    fleet.write("fleet.yaml", pair("a", "b").text())?;
    up.wait_way("turned", "a", "b", "b a").await?;
    up.check_once("t/turned/before", "a", "b", PATIENCE).await?;
    let address = up.client_address("a").await?;
    for number in 0..MESSAGES {
        publish_once(&address, "t/turned/now", &number.to_string(), 1, false).await?;
    }
    ears["b"].wait_messages(MESSAGES, PATIENCE).await?;

    // It comes again, for another topic.
    let both = pair("a", "b").topic("fixed", "t/fixed/#", "b", "a");
    fleet.write("fleet.yaml", both.text())?;
    up.wait_way("fixed", "b", "a", "a b").await?;
    up.check_once("t/fixed/now", "b", "a", PATIENCE).await?;
    for (broker, ear) in &ears {
        let mut copies: BTreeMap<String, usize> = BTreeMap::new();
        for message in ear.wait_quiet(QUIET, PATIENCE).await? {
            if message.topic == "t/turned/now" {
                *copies.entry(message.payload).or_default() += 1;
            }
        }
        ensure!(
            copies.len() == MESSAGES && copies.values().all(|copies| *copies == 1),
            "copies at {broker}: {copies:?}"
        );
    }

    // And is kept while the other is turned back and forth.
    for (producer, consumer) in [("b", "a"), ("a", "b")] {
        let both = pair(producer, consumer).topic("fixed", "t/fixed/#", "b", "a");
        fleet.write("fleet.yaml", both.text())?;
        let way = format!("{consumer} {producer}");
        up.wait_way("turned", producer, consumer, &way).await?;
        up.check_once("t/turned/after", producer, consumer, PATIENCE)
            .await?;
    }
    up.stop().await
}

#[tokio::test]
async fn a_link_that_goes_leaves_nothing_that_collects_messages() -> Result<()> {
    let fleet = Fleet::new(Series::Newest)?;
    let topic = |consumer: &str| {
        Manifest::new()
            .brokers("a b c")
            .routes("a-b c-b")
            .topic("t", "t/#", "b", consumer)
    };
    fleet.write("fleet.yaml", topic("a").text())?;
    let up = fleet.up()?;
    up.wait_way("t", "b", "a", "a b").await?;
    up.check_once("t/before", "b", "a", PATIENCE).await?;
    fleet.write("fleet.yaml", topic("c").text())?;
    up.wait_way("t", "b", "c", "c b").await?;
    // Its session is cleared within milliseconds: one message may get into it, and a second of messages may not.
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for number in 0..20 {
        pace.tick().await;
        publish_once(
            &up.client_address("b").await?,
            "t/meanwhile",
            &number.to_string(),
            1,
            false,
        )
        .await?;
    }
    let ear = Listener::start(&up.client_address("a").await?, "ear", "t/#", 1).await?;
    fleet.write("fleet.yaml", topic("a").text())?;
    up.wait_way("t", "b", "a", "a b").await?;
    up.check_once("t/after", "b", "a", PATIENCE).await?;
    let heard = ear.wait_quiet(Duration::from_millis(300), PATIENCE).await?;
    let late: Vec<_> = heard
        .iter()
        .filter(|message| message.topic == "t/meanwhile")
        .collect();
    ensure!(late.iter().all(|message| message.payload != "19"), "{late:?}");
    up.stop().await
}
