//! Markers behind a backlog, and the out half of a duplex link over a restart of its owner, on the oldest and the newest
//! version.
//!
//! Findings, each kept by a test below:
//! - A QoS 2 marker overtakes nothing on two hops, whatever the QoS of the backlog, whether much may be in flight or one, and
//!   whether a bridge is cut meanwhile. A QoS 1 marker overtakes every QoS 2 message in flight.
//! - A bridge of 2.1 whose connection breaks while it has read more than it has handled takes the rest for the beginning of
//!   its next connection, one packet per attempt: "PUBREL before session is active", and the link stays down for minutes.
//!   `packet_buffer_size 2` on the broker that holds the bridge lets it read no further than one packet, and prevents it.
//! - What waits in the out half of a duplex link outlives a restart of its owner under the same `local_clientid`, also when
//!   the connection has a new name and other lines; even a line that is gone does not take its queue along. Another
//!   `local_clientid` loses all of it.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use skein_e2e::{
    Listener, PlainBroker, RawClient, Series, UNBOUNDED, bridge, careful, durable, mosquitto, publish_once,
    wait_until,
};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);
const BACKLOG: usize = 500;
const FIRST: &str = "skein:x:p:pull";
const MARKER: &str = "$skein/barrier/soil/p";

async fn broker(series: Series, limits: &str, links: &str) -> Result<PlainBroker> {
    PlainBroker::start(&mosquitto(series), &format!("{UNBOUNDED}{limits}{links}")).await
}

/// A chain of three brokers, each pulling from the one before it.
async fn chain(series: Series, limits: &str) -> Result<[PlainBroker; 3]> {
    let lines = ["t/# in 2", "$skein/barrier/# in 2"];
    let first = broker(series, limits, "").await?;
    let link = bridge("first", &first.address(), FIRST, None, &lines);
    let second = broker(series, limits, &link).await?;
    let link = bridge("second", &second.address(), "skein:v:x:pull", None, &lines);
    let third = broker(series, limits, &link).await?;
    let ear = Listener::start(&third.address(), "probe", "t/probe", 1).await?;
    let there = async || {
        let published = publish_once(&first.address(), "t/probe", "", 1, false).await;
        published.is_ok() && !ear.messages().is_empty()
    };
    wait_until("the chain", SOON, there)
        .await
        .with_context(|| third.log())?;
    Ok([first, second, third])
}

/// Publishes a backlog and a marker to the first broker while another hangs, which then goes on; the first link may be cut
/// while it hangs.
async fn backlog(chain: &[PlainBroker; 3], hangs: usize, marker_qos: u8, cut: bool) -> Result<()> {
    chain[hangs].signal(Signal::STOP)?;
    let mut publisher = RawClient::connect(&chain[0].address(), "publisher", true, None).await?;
    for number in 0..BACKLOG {
        // A cut takes the messages of QoS 0 that are on the wire.
        let qos = if cut { 1 + number % 2 } else { number % 3 };
        let topic = format!("t/{number}");
        publisher.publish(&topic, "", u8::try_from(qos)?, false).await?;
    }
    publisher.publish(MARKER, "", marker_qos, false).await?;
    if cut {
        let thief = RawClient::connect(&chain[0].address(), FIRST, false, None).await?;
        thief.disconnect().await?;
    }
    chain[hangs].signal(Signal::CONT)
}

/// How many messages of the backlog the marker overtakes on two hops.
async fn overtaken(series: Series, limits: &str, hangs: usize, marker_qos: u8, cut: bool) -> Result<usize> {
    let chain = chain(series, limits).await?;
    let mut ear = RawClient::connect(&chain[2].address(), "ear", true, None).await?;
    ear.subscribe("t/+/#", 2).await?;
    ear.subscribe("$skein/barrier/#", 2).await?;
    backlog(&chain, hangs, marker_qos, cut).await?;
    let mut different = BTreeSet::new();
    let mut before = None;
    while before.is_none() || different.len() < BACKLOG {
        let Some(publish) = ear.receive(SOON).await? else {
            let count = different.len();
            bail!("{count} of {BACKLOG} arrived, the marker after {before:?}")
        };
        ear.acknowledge(&publish).await?;
        if publish.topic == MARKER {
            before = before.or(Some(different.len()));
        } else if publish.topic != "t/probe" {
            different.insert(publish.topic);
        }
    }
    Ok(BACKLOG - before.unwrap())
}

#[tokio::test]
async fn a_qos_2_marker_overtakes_nothing_on_two_hops() -> Result<()> {
    for series in Series::ALL {
        let one = "max_inflight_messages 1\n";
        let cases = [
            ("", 1, false),
            ("", 2, false),
            (one, 1, false),
            (one, 2, false),
            (careful(series), 1, true),
        ];
        for (limits, hangs, cut) in cases {
            let overtaken = overtaken(series, limits, hangs, 2, cut).await?;
            assert_eq!(overtaken, 0, "{series:?} {limits} {hangs} {cut}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_qos_1_marker_overtakes_what_is_in_flight() -> Result<()> {
    for series in Series::ALL {
        let overtaken = overtaken(series, "", 1, 1, false).await?;
        println!("{series:?}: a QoS 1 marker overtook {overtaken}");
        assert!(overtaken > 0, "{series:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_bridge_of_the_newest_version_that_is_cut_behind_a_backlog_stays_down() -> Result<()> {
    let chain = chain(Series::Newest, "").await?;
    backlog(&chain, 1, 2, true).await?;
    let stale = async || chain[1].log().matches("before session is active").count() >= 3;
    wait_until("three attempts that fail over old packets", SOON, stale).await
}

struct Duplex {
    up: PlainBroker,
    owner: PlainBroker,
    series: Series,
    _files: [TempDir; 2],
}

/// An owner and its upstream, which is down; 90 messages wait at the owner for it, as many of each QoS.
async fn duplex(series: Series) -> Result<Duplex> {
    let files = [tempfile::tempdir()?, tempfile::tempdir()?];
    let mut up = PlainBroker::start(
        &mosquitto(series),
        &format!("{UNBOUNDED}{}", durable(series, files[0].path())?),
    )
    .await?;
    let link = bridge("old", &up.address(), "skein:a:b:duplex", None, &["t/# both 2"]);
    let config = format!("{UNBOUNDED}{}{link}", durable(series, files[1].path())?);
    let owner = PlainBroker::start(&mosquitto(series), &config).await?;
    let ear = Listener::start(&up.address(), "probe", "t/#", 1).await?;
    let there = async || {
        publish_once(&owner.address(), "t/probe", "", 1, false)
            .await
            .is_ok()
            && !ear.messages().is_empty()
    };
    wait_until("the link", SOON, there)
        .await
        .with_context(|| owner.log())?;
    let mut durable_ear = RawClient::connect(&up.address(), "ear", false, None).await?;
    durable_ear.subscribe("t/+/#", 2).await?;
    durable_ear.take(Duration::from_millis(200), true).await?;
    durable_ear.disconnect().await?;
    drop(ear);
    up.stop().await?;
    let mut publisher = RawClient::connect(&owner.address(), "publisher", true, None).await?;
    for number in 0..90 {
        publisher
            .publish(&format!("t/{number}"), "", number % 3, false)
            .await?;
    }
    // A broker stores what it has acknowledged before it hears the next; the last one a kill may take.
    publisher.publish("t/last", "", 2, false).await?;
    Ok(Duplex {
        up,
        owner,
        series,
        _files: files,
    })
}

impl Duplex {
    /// Restarts the owner with a changed configuration, then starts the upstream; how many of each QoS arrive there.
    async fn restart(&mut self, politely: bool, change: impl Fn(&str) -> String) -> Result<[usize; 3]> {
        let file = self.owner.folder().join("mosquitto.conf");
        fs::write(&file, change(&fs::read_to_string(&file)?))?;
        if politely {
            self.owner.stop().await?;
        }
        self.owner.restart(&mosquitto(self.series)).await?;
        self.up.restart(&mosquitto(self.series)).await?;
        // What is published last arrives last.
        let mut publisher = RawClient::connect(&self.owner.address(), "publisher", true, None).await?;
        let mut ear = RawClient::connect(&self.up.address(), "ear", false, None).await?;
        let mut counts = [0; 3];
        let mut left = 200;
        while left > 0 {
            publisher.publish("t/last", "", 2, false).await?;
            left -= 1;
            while let Some(publish) = ear.receive(Duration::from_millis(50)).await? {
                ear.acknowledge(&publish).await?;
                if publish.topic == "t/last" {
                    left = 0;
                } else if let Some(Ok(number)) = publish.topic.strip_prefix("t/").map(str::parse::<usize>) {
                    counts[number % 3] += 1;
                }
            }
        }
        Ok(counts)
    }
}

async fn out_half(series: Series) -> Result<()> {
    let renamed = |text: &str| text.replace("connection old", "connection new");
    let other_lines = |text: &str| renamed(text).replace("t/# both 2", "u/# both 2");
    let other_id = |text: &str| renamed(text).replace("duplex:local", "duplex:other");
    let mut owner = duplex(series).await?;
    assert_eq!(
        owner.restart(true, renamed).await?,
        [30, 30, 30],
        "{series:?} ended"
    );
    let mut owner = duplex(series).await?;
    assert_eq!(
        owner.restart(false, other_lines).await?,
        [30, 30, 30],
        "{series:?} killed"
    );
    let mut owner = duplex(series).await?;
    assert_eq!(
        owner.restart(true, other_id).await?,
        [0, 0, 0],
        "{series:?} another id"
    );
    Ok(())
}

#[tokio::test]
async fn the_out_half_outlives_a_restart_of_its_owner_on_the_oldest_version() -> Result<()> {
    out_half(Series::Oldest).await
}

#[tokio::test]
async fn the_out_half_outlives_a_restart_of_its_owner_on_the_newest_version() -> Result<()> {
    out_half(Series::Newest).await
}
