//! What happens in the demo.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use skein_e2e::{Fleet, Ledger, Publisher, Subscriber};

use super::stage::{Stage, span};

/// Messages per second.
const RATE: u32 = 100;
/// No single step takes nearly so long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(25);

/// The two clients, and the messages between them.
struct Stream {
    publisher: Publisher,
    subscriber: Subscriber,
    ledger: Ledger,
}

/// The whole story, on a fleet that is just starting.
pub(super) async fn tell(fleet: &Fleet, stage: &Stage) -> Result<()> {
    stage.title("Ten brokers, twelve routes, one topic");
    stage.say("skein up -f deploy/samples/farm");
    let status = fleet.wait_ready(PATIENCE).await?;
    let brokers = status["brokers"].as_array().map_or(0, Vec::len);
    stage.say(&format!(
        "{brokers} Mosquitto processes run, and every path has passed its probe"
    ));
    follow(fleet, stage, "a b c i").await?;

    let stream = begin(fleet, stage).await?;
    stream.flow().await?;
    stage.say(&format!(
        "{} messages arrived, {} lost",
        stream.subscriber.summary().received,
        stream.subscriber.summary().lost
    ));

    stage.title("A broker on the way dies");
    accident(fleet, stage, &stream, &["break", "c"], "a e f g i").await?;
    stage.title("It comes back");
    accident(fleet, stage, &stream, &["mend", "c"], "a b c i").await?;
    stage.title("The producer's own broker dies");
    accident(fleet, stage, &stream, &["break", "i"], "a b c i2").await?;
    let served = fleet.broker("i").await?["servedBy"]
        .as_str()
        .unwrap_or("nobody")
        .to_owned();
    Stage::more(&format!(
        "i's clients are at {served} now; they still connect to the same address"
    ));
    stage.title("And comes back, too");
    accident(fleet, stage, &stream, &["mend", "i"], "a b c i").await?;

    settle(stream, stage).await
}

/// Starts the clients: a durable subscriber at a's address, then a publisher at i's.
async fn begin(fleet: &Fleet, stage: &Stage) -> Result<Stream> {
    let (office, field) = (fleet.client_address("a").await?, fleet.client_address("i").await?);
    let ledger = Ledger::new();
    let subscriber = Subscriber::start(&office, "office", "farm/+/soil", 1, &ledger).await?;
    let publisher = Publisher::start(&field, "sensor", "farm/7/soil", 1, RATE, &ledger).await?;
    stage.say(&format!(
        "a sensor publishes farm/7/soil at i ({field}): {RATE} numbered messages a second, QoS 1"
    ));
    stage.say(&format!(
        "a durable subscriber of farm/+/soil listens at a ({office})"
    ));
    Ok(Stream {
        publisher,
        subscriber,
        ledger,
    })
}

/// Runs a `skein` command and waits until the path reads as it should and messages arrive again.
async fn accident(fleet: &Fleet, stage: &Stage, stream: &Stream, command: &[&str], path: &str) -> Result<()> {
    let before = stream.subscriber.summary();
    let _ = stream.subscriber.take_longest_pause();
    fleet.skein(command).await?;
    let begin = Instant::now();
    stage.say(&format!("skein {}", command.join(" ")));
    fleet.wait_path("soil", "i", "a", path, PATIENCE).await?;
    let rerouted = begin.elapsed();
    follow(fleet, stage, path).await?;
    stream.flow().await?;
    let after = stream.subscriber.summary();
    let pause = stream.subscriber.take_longest_pause();
    Stage::more(&format!(
        "the status showed the new path after {}; {} messages arrived meanwhile, the longest pause between two was {}",
        span(rerouted),
        after.received - before.received,
        span(pause)
    ));
    Ok(())
}

/// Shows the path from i to a as the status has it, with its probe's travel time.
async fn follow(fleet: &Fleet, stage: &Stage, expected: &str) -> Result<()> {
    let status = fleet.wait_path("soil", "i", "a", expected, PATIENCE).await?;
    let paths = status["paths"].as_array().into_iter().flatten();
    let path = paths
        .into_iter()
        .find(|path| path["topic"] == "soil" && path["producer"] == "i" && path["consumer"] == "a")
        .context("the status has no path of soil from i to a")?;
    let names: Vec<&str> = path["path"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let probe = path["probeMs"]
        .as_f64()
        .map(|time| format!("   (a probe takes {time:.1} ms)"));
    stage.say(&format!(
        "soil  {}{}",
        names.join(" ← "),
        probe.unwrap_or_default()
    ));
    Ok(())
}

impl Stream {
    /// Waits for two seconds' worth of messages.
    async fn flow(&self) -> Result<()> {
        self.subscriber.wait_received(u64::from(2 * RATE), PATIENCE).await
    }
}

/// Ends the stream and adds up.
async fn settle(stream: Stream, stage: &Stage) -> Result<()> {
    let Stream {
        publisher,
        subscriber,
        ledger,
    } = stream;
    publisher.finish(PATIENCE).await?;
    // What is lost never arrives, so waiting for it ends by itself.
    let _ = subscriber.wait_caught_up(Duration::from_secs(3)).await;
    let summary = subscriber.summary();
    stage.title("Ledger");
    println!("  sent           {:>6}", summary.sent);
    println!("  acknowledged   {:>6}", ledger.acknowledged());
    println!("  received       {:>6}", summary.received);
    println!("  lost           {:>6}", summary.lost);
    println!("  duplicated     {:>6}", summary.duplicated);
    println!("  out of order   {:>6}", summary.out_of_order);
    if !summary.is_perfect() {
        println!(
            "\n  What was on its way by a broker that died waits in sessions until that broker is back: it comes late,"
        );
        println!("  and some of it twice.");
    }
    Ok(())
}
