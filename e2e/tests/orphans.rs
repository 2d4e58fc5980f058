//! Sessions under the client ids of links that brokers keep and of which no record tells: found and ended when Skein starts.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use skein_e2e::{Fleet, PATIENCE, RawClient, Series, wait_until};
use skein_store::Store;

/// Nobody's: `a` gets `soil` by another, and a broker `gone` there is not.
const ORPHANS: [&str; 2] = ["skein:a:b:pull2:old", "skein:gone:b:pull:soil"];

#[tokio::test]
async fn orphans_are_ended_on_the_oldest_mosquitto() -> Result<()> {
    story(Series::Oldest).await
}

#[tokio::test]
async fn orphans_are_ended_on_the_newest_mosquitto() -> Result<()> {
    story(Series::Newest).await
}

/// What the store of b has of sessions that are nobody's, and how many it has of links.
fn kept(data: &Path) -> Option<(Vec<String>, usize)> {
    let inventory = Store::open(data).ok()??.inventory().ok()?;
    let orphans = ORPHANS.iter().filter(|client_id| {
        let session = inventory.session(client_id);
        session.is_some_and(|session| !session.subscriptions.is_empty())
    });
    let orphans = orphans.map(|client_id| (*client_id).to_owned()).collect();
    Some((
        orphans,
        inventory
            .ours()
            .filter(|session| session.link().is_some())
            .count(),
    ))
}

async fn story(series: Series) -> Result<()> {
    let fleet = Fleet::square(series)?;
    let up = fleet.up()?;
    let status = up.wait_settled(PATIENCE).await?;
    let brokers = status["brokers"].as_array().context("brokers")?;
    let b = brokers.iter().find(|broker| broker["name"] == "b").context("b")?;
    let address = b["peerAddress"].as_str().context("an address")?.to_owned();
    for client_id in ORPHANS {
        let mut client = RawClient::connect(&address, client_id, false, None).await?;
        ensure!(client.subscribe("farm/#", 1).await?, "{client_id} is not let in");
        client.disconnect().await?;
    }
    let data = fleet.state().join("brokers/b/data");
    let is_kept = async || kept(&data).is_some_and(|(orphans, _)| orphans.len() == ORPHANS.len());
    wait_until("both to be kept", PATIENCE, is_kept).await?;

    // Brokers run on; the next life finds what it does not know.
    up.kill().await?;
    let up = fleet.up()?;
    let is_clear = async || kept(&data).is_some_and(|(orphans, _)| orphans.is_empty());
    wait_until("both to be ended", PATIENCE, is_clear).await?;
    up.wait_settled(PATIENCE).await?;
    let (_, links) = kept(&data).context("a store")?;
    ensure!(links > 0, "the session that a uses is still there");
    up.check_once("farm/after/soil", "i", "a", PATIENCE).await?;
    up.stop().await
}
