//! A path moves while messages flow: nothing that was acknowledged is lost, first deliveries come in order, and what does
//! not move is not disturbed.

use anyhow::{Result, ensure};
use skein_e2e::{Fleet, Ledger, Manifest, PATIENCE, Publisher, Series, Subscriber};

/// Messages a second, at QoS 1; some more at QoS 2. A broker of 2.0 writes its whole store at every change.
fn rate(series: Series) -> u32 {
    match series {
        Series::Oldest => 200,
        Series::Newest => 2_000,
    }
}

/// Soil goes from i over b to a. Some of what soil is goes from i to c as well: the link that fetches it is to fetch all of
/// soil when that goes over c.
fn square(series: Series) -> Result<Fleet> {
    let fleet = Fleet::square_with_wind(series)?;
    let seven = Manifest::new().topic("seven", "farm/7/#", "i", "c");
    fleet.write("seven.yaml", seven.text())?;
    Ok(fleet)
}

/// How often c let the bridge in that fetches wind.
fn connects_of_wind(fleet: &Fleet) -> Result<usize> {
    let log = std::fs::read_to_string(fleet.state().join("brokers/c/log/mosquitto.log"))?;
    let lets_in = |line: &&str| line.contains("New bridge connected") && line.contains("skein:a:c:pull:wind");
    Ok(log.lines().filter(lets_in).count())
}

async fn moves_without_loss(series: Series) -> Result<()> {
    let rate = rate(series);
    let fleet = square(series)?;
    let up = fleet.up()?;
    up.wait_way("soil", "i", "a", "a b i").await?;
    let (a, c, i) = (
        up.client_address("a").await?,
        up.client_address("c").await?,
        up.client_address("i").await?,
    );
    let soil = Ledger::new();
    let wind = Ledger::new();
    let here = Subscriber::start(&a, "here", "farm/+/soil", 2, &soil).await?;
    let aside = Subscriber::start(&a, "aside", "wind", 1, &wind).await?;
    let many = Publisher::start(&i, "many", "farm/1/soil", 1, rate, &soil).await?;
    let some = Publisher::start(&i, "some", "farm/2/soil", 2, rate / 10, &soil).await?;
    let other = Publisher::start(&c, "other", "wind", 1, 200, &wind).await?;
    here.wait_received(u64::from(rate), PATIENCE).await?;
    aside.wait_received(20, PATIENCE).await?;
    let _ = (here.take_longest_pause(), aside.take_longest_pause());

    let before = connects_of_wind(&fleet)?;
    let mut pauses = Vec::new();
    for (over_b, way) in [(10, "a c i"), (1, "a b i")] {
        fleet.write("routes.yaml", Manifest::new().square(over_b).text())?;
        up.wait_way("soil", "i", "a", way).await?;
        here.wait_received(u64::from(rate) / 2, PATIENCE).await?;
        pauses.push((here.take_longest_pause(), aside.take_longest_pause()));
    }

    for publisher in [many, some, other] {
        publisher.finish(PATIENCE).await?;
    }
    here.wait_caught_up(PATIENCE).await?;
    aside.wait_caught_up(PATIENCE).await?;
    let (soil, wind) = (here.summary(), aside.summary());
    println!("soil: {soil}\nwind: {wind}\npauses of soil and wind: {pauses:?}");
    ensure!(soil.lost == 0 && wind.lost == 0, "lost: {soil}, {wind}");
    ensure!(soil.out_of_order == 0 && wind.out_of_order == 0, "{soil}, {wind}");
    // What is published between the seeds and the barrier comes both ways, never a third.
    ensure!(soil.duplicated <= soil.received, "{soil}");
    if series == Series::Newest {
        // On 2.0 the brokers are restarted.
        ensure!(wind.duplicated == 0, "{wind}");
        let after = connects_of_wind(&fleet)?;
        ensure!(
            after == before,
            "the bridge of wind connected {before} times, then {after}"
        );
    }
    up.stop().await
}

#[tokio::test]
async fn a_path_moves_without_loss_on_the_oldest_mosquitto() -> Result<()> {
    moves_without_loss(Series::Oldest).await
}

#[tokio::test]
async fn a_path_moves_without_loss_on_the_newest_mosquitto() -> Result<()> {
    moves_without_loss(Series::Newest).await
}
