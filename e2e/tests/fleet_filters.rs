//! Filters that overlap and cross, through a whole fleet: however many of them a message matches on its way, each client
//! that subscribes gets one copy.

use anyhow::{Result, ensure};
use serde_json::Value;
use skein_e2e::{Fleet, Manifest, PATIENCE, Series};

/// A line s - m - k with an archive at the side: k takes all temperatures and all of bed 1, which cross in
/// `plant/1/temp`; s takes the same of what m publishes; the archive takes everything.
fn plant() -> Manifest {
    Manifest::new()
        .brokers("s m k archive")
        .routes("s-m m-k m-archive")
        .topic("temperatures", "plant/+/temp", "s m", "k")
        .topic_with("bed-one", "plant/1/#", "s m", "k", "qos: 2")
        .topic("bed-one-temperature", "plant/1/temp", "s m", "k")
        .topic("archived", "plant/#", "s m", "archive")
}

/// The lines of the link between two brokers, whichever way round, as `filter direction`.
fn lines(plan: &Value, downstream: &str, upstream: &str) -> Vec<String> {
    let links = plan["links"].as_array().into_iter().flatten();
    links
        .filter(|link| link["downstream"] == downstream && link["upstream"] == upstream)
        .flat_map(|link| link["filters"].as_array().into_iter().flatten())
        .map(|line| {
            let word = |member: &str| line[member].as_str().unwrap_or_default().to_owned();
            format!("{} {}", word("filter"), word("direction"))
        })
        .collect()
}

#[tokio::test]
async fn overlapping_and_crossing_filters_deliver_one_copy() -> Result<()> {
    for series in Series::ALL {
        let fleet = Fleet::new(series)?;
        fleet.write("plant.yaml", plant().text())?;
        let up = fleet.up()?;
        up.wait_settled(PATIENCE).await?;
        let plan = up.plan().await?;
        // Else this would show nothing: crossing lines on one link, and one that covers them on another.
        let crossing = lines(&plan, "k", "m");
        ensure!(
            crossing == ["plant/+/temp in", "plant/1/# in"]
                || crossing == ["plant/1/# in", "plant/+/temp in"],
            "{crossing:?}"
        );
        ensure!(lines(&plan, "archive", "m") == ["plant/# in"], "{plan:#}");

        let everywhere =
            "k=plant/+/temp k=plant/1/# k=plant/1/temp k=plant/# k=# k=+/1/temp archive=plant/# archive=#";
        up.check_once("plant/1/temp", "s m", everywhere, PATIENCE).await?;
        up.check_once(
            "plant/2/temp",
            "s",
            "k=plant/+/temp k=# archive=plant/#",
            PATIENCE,
        )
        .await?;
        up.check_once(
            "plant/1/soil/deep",
            "s",
            "k=plant/1/# k=# archive=plant/#",
            PATIENCE,
        )
        .await?;
        up.check_once("plant/2/soil", "s m", "archive=plant/# archive=#", PATIENCE)
            .await?;
        up.stop().await?;
    }
    Ok(())
}

/// The same where data crosses a link both ways, so that one connection carries overlapping lines in both directions.
#[tokio::test]
async fn overlapping_filters_both_ways_deliver_one_copy() -> Result<()> {
    let fleet_of_gates = Manifest::new()
        .brokers("east hall west")
        .routes("east-hall hall-west")
        .topic("badges", "site/+/badge", "east west", "east west")
        .topic("gate-one", "site/1/#", "east", "west")
        .topic("everything", "site/#", "east", "hall");
    for series in Series::ALL {
        let fleet = Fleet::new(series)?;
        fleet.write("gates.yaml", fleet_of_gates.text())?;
        let up = fleet.up()?;
        up.wait_settled(PATIENCE).await?;
        let everywhere = "east=site/+/badge east=# west=site/+/badge west=site/1/# west=# hall=site/#";
        up.check_once("site/1/badge", "east west", everywhere, PATIENCE)
            .await?;
        up.check_once(
            "site/1/door",
            "east",
            "west=site/1/# west=# hall=site/# east=#",
            PATIENCE,
        )
        .await?;
        up.stop().await?;
    }
    Ok(())
}
