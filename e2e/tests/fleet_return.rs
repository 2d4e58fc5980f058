//! A broker that returns on its old configuration after the data on its edges was turned round: the classic storm of
//! hand-made bridges (thousands of copies of one message in a second). It is kept out by those that its old links lead to,
//! until it runs what is safe by then.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use skein_e2e::{
    Fleet, Listener, Manifest, Message, PATIENCE, Series, Up, mosquitto, process, publish_once, wait_until,
};

/// A storm has no such pause.
const QUIET: Duration = Duration::from_millis(700);
const MESSAGES: usize = 50;
/// Fifty messages take four seconds: a broker that is well is taken back within one.
const PACE: Duration = Duration::from_millis(80);

#[tokio::test]
async fn no_storm_on_the_oldest_mosquitto() -> Result<()> {
    story(Series::Oldest).await
}

#[tokio::test]
async fn no_storm_on_the_newest_mosquitto() -> Result<()> {
    story(Series::Newest).await
}

/// p and z are joined by x, and at a high cost directly; q is behind z.
fn triangle(producer: &str, consumers: &str) -> Manifest {
    Manifest::new()
        .brokers("p q x z")
        .routes("p-x x-z p-z:5 z-q")
        .topic("news", "news/#", producer, consumers)
}

/// Mosquitto started by hand, on files that Skein wrote once; killed when dropped.
struct ByHand(Child);

impl ByHand {
    fn start(series: Series, config: &std::path::Path) -> Result<Self> {
        let child = Command::new(mosquitto(series))
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn story(series: Series) -> Result<()> {
    let fleet = Fleet::new(series)?;
    fleet.write("fleet.yaml", triangle("p", "z q").text())?;
    let up = fleet.up()?;
    up.wait_way("news", "p", "q", "q z x p").await?;
    up.check_once("news/before", "p", "z q", PATIENCE).await?;

    // x dies, and its supervisor is in no state to give the next x another configuration.
    let directory = fleet.state().join("brokers/x");
    let old = std::fs::read_to_string(directory.join("mosquitto.conf"))?;
    ensure!(old.contains("topic news/# in"), "x pulls from p: {old}");
    let supervisor = fleet.supervisor("x")?;
    let broker = up.broker("x").await?;
    kill_process(supervisor, Signal::STOP)?;
    kill_process(process(&broker["pid"])?, Signal::KILL)?;
    up.wait_path("news", "p", "q", "q z p", PATIENCE).await?;

    // Meanwhile the data is to flow the other way.
    fleet.write("fleet.yaml", triangle("z", "p q").text())?;
    up.wait_way("news", "z", "p", "p z").await?;
    up.check_once("news/meanwhile", "z", "p q", PATIENCE).await?;

    // x returns as it was, pulling from p what p would now pull from x.
    ensure!(
        std::fs::read_to_string(directory.join("mosquitto.conf"))? == old,
        "nobody could write it"
    );
    let by_hand = ByHand::start(series, &directory.join("mosquitto.conf"))?;
    let peer = broker["peerAddress"].as_str().context("no peer address")?;
    wait_until("x to listen again", PATIENCE, async || {
        tokio::net::TcpStream::connect(peer).await.is_ok()
    })
    .await?;
    up.wait_status("x to be seen again", PATIENCE, |status| {
        phase_of(status, "x").is_some_and(|phase| phase == "Returning")
    })
    .await?;
    nothing_circulates(&up, peer).await?;

    // Its supervisor comes to itself, and so does the fleet.
    drop(by_hand);
    kill_process(supervisor, Signal::CONT)?;
    up.wait_way("news", "z", "p", "p x z").await?;
    up.check_once("news/after", "z", "p q", PATIENCE).await?;
    up.stop().await
}

/// For longer than it takes to be taken back, messages are published at the new producer and, by a stray client, at the
/// old one. The former arrive once at every consumer, neither arrives at x nor anywhere twice, and then there is silence.
async fn nothing_circulates(up: &Up<'_>, x: &str) -> Result<()> {
    let mut listeners = BTreeMap::new();
    for broker in ["p", "q", "z"] {
        let address = up.client_address(broker).await?;
        listeners.insert(broker, Listener::start(&address, "ear", "news/#", 1).await?);
    }
    listeners.insert("x", Listener::start(x, "ear", "news/#", 1).await?);
    let z = up.client_address("z").await?;
    let p = up.client_address("p").await?;
    let mut pace = tokio::time::interval(PACE);
    for number in 0..MESSAGES {
        pace.tick().await;
        for (address, topic) in [(&z, "news/now"), (&p, "news/stray")] {
            publish_once(address, topic, &number.to_string(), 1, false)
                .await
                .with_context(|| format!("a storm, perhaps: no room for one message on {topic}"))?;
        }
    }
    nobody_gets_two(&listeners).await?;
    let new = |listener: &Listener| {
        let messages = listener.messages();
        messages
            .iter()
            .filter(|message| message.topic == "news/now")
            .count()
    };
    for consumer in ["p", "q", "z"] {
        let all = async || new(&listeners[consumer]) == MESSAGES;
        wait_until("every message to arrive", PATIENCE, all)
            .await
            .with_context(|| format!("at {consumer}, with {}", up.log()))?;
    }
    nobody_gets_two(&listeners).await?;
    let x = listeners["x"].messages();
    ensure!(x.is_empty(), "p lets x in: {x:?}");
    Ok(())
}

/// Once it is quiet.
async fn nobody_gets_two(listeners: &BTreeMap<&str, Listener>) -> Result<()> {
    for (broker, listener) in listeners {
        let messages = listener
            .wait_quiet(QUIET, PATIENCE)
            .await
            .with_context(|| format!("a storm at {broker}"))?;
        let mut copies: BTreeMap<&Message, usize> = BTreeMap::new();
        for message in &messages {
            *copies.entry(message).or_default() += 1;
        }
        copies.retain(|_, count| *count > 1);
        ensure!(copies.is_empty(), "copies at {broker}: {copies:?}");
    }
    Ok(())
}

fn phase_of<'a>(status: &'a Value, broker: &str) -> Option<&'a str> {
    let mut brokers = status["brokers"].as_array()?.iter();
    brokers.find(|entry| entry["name"] == broker)?["phase"].as_str()
}
