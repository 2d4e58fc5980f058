//! A path moves while 2,000 messages a second flow: what is lost, doubled or reordered, and how long is the pause?
//!
//! Skein's side is `skein up` and an edited route. The rival is what people do by hand: stock bridges, whose configurations
//! are edited and reloaded (SIGHUP), either one after the other at once, or with care: the new way first, and once messages
//! come that way the old one goes. All run in this program, one after the other, with the same clients, and each switch is
//! a count of its own: messages of its own publishers, durable subscribers, from before it until everything has arrived or
//! nothing comes any more.
//!
//! `--switches N` sets the number (60 and, for the rival, a sixth of that in each manner).

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use skein_e2e::{
    Fleet, Ledger, Listener, Manifest, PATIENCE, PlainBroker, Publisher, Series, Subscriber, Summary, Up,
    find_mosquitto, is_bench, quantile, wait_until,
};
use tokio::time::sleep;

/// Messages a second on the path that moves; a tenth of them with QoS 2, the rest with QoS 1.
const RATE: u32 = 2_000;
/// On the path beside it, which stays: one every five milliseconds.
const ASIDE: u32 = 200;
/// How long messages flow before and after a switch.
const FLOW: Duration = Duration::from_millis(700);
/// A fleet that is not at rest so long after an edit never will be.
const REST: Duration = Duration::from_secs(15);
/// When no more is expected of the rival.
const NO_MORE: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let named = arguments.windows(2).find(|pair| pair[0] == "--switches");
    let switches = match named {
        Some(pair) => pair[1].parse().context("--switches takes a number")?,
        None if is_bench() => 60,
        None => 2,
    };
    ensure!(switches > 0, "--switches takes a number from 1");
    let ours = skein(switches).await?;
    let rivals = switches.div_ceil(6).max(2);
    let hand_made = by_hand(rivals, false).await?;
    let careful = by_hand(rivals, true).await?;
    let line = json!({
        "bench": "switch",
        "switches": ours.len(),
        "acknowledged": sum(&ours, |summary| summary.acknowledged),
        "lost": sum(&ours, |summary| summary.lost),
        "out_of_order": sum(&ours, |summary| summary.out_of_order),
        "stray": sum(&ours, |summary| summary.unexpected),
        "restless": ours.iter().filter(|trial| !trial.rests).count(),
        "duplicates_median": median(&ours, |trial| number(trial.soil.duplicated)),
        "duplicates_worst": worst(&ours, |trial| number(trial.soil.duplicated)),
        "duplicates_of_bound": worst(&ours, of_bound),
        "barrier_median_ms": median(&ours, |trial| trial.barrier),
        "barrier_worst_ms": worst(&ours, |trial| trial.barrier),
        "pause_median_ms": median(&ours, |trial| trial.pause),
        "pause_worst_ms": worst(&ours, |trial| trial.pause),
        "unchanged_median_ms": median(&ours, |trial| trial.aside_pause),
        "unchanged_worst_ms": worst(&ours, |trial| trial.aside_pause),
        "quiet_worst_ms": worst(&ours, |trial| trial.quiet),
        "hand_made_switches": hand_made.len(),
        "hand_made_lost": sum(&hand_made, |summary| summary.lost),
        "hand_made_lost_median": median(&hand_made, |trial| number(trial.soil.lost)),
        "hand_made_duplicates": sum(&hand_made, |summary| summary.duplicated),
        "hand_made_stray": sum(&hand_made, |summary| summary.unexpected),
        "hand_made_pause_worst_ms": worst(&hand_made, |trial| trial.pause),
        "careful_switches": careful.len(),
        "careful_lost": sum(&careful, |summary| summary.lost),
        "careful_lost_median": median(&careful, |trial| number(trial.soil.lost)),
        "careful_duplicates": sum(&careful, |summary| summary.duplicated),
        "careful_stray": sum(&careful, |summary| summary.unexpected),
        "careful_pause_worst_ms": worst(&careful, |trial| trial.pause),
    });
    println!("{line}");
    Ok(())
}

/// What became of one switch.
struct Trial {
    soil: Summary,
    aside: Summary,
    /// The longest pause, in milliseconds: without a switch; on the path that moves; on the one beside it.
    quiet: f64,
    pause: f64,
    aside_pause: f64,
    /// From the edit until the consumer's broker is given its new link and not the old one, in milliseconds. By hand: 0.
    barrier: f64,
    /// The fleet came to rest.
    rests: bool,
}

/// All switches and both paths together.
fn sum(trials: &[Trial], count: fn(&Summary) -> u64) -> u64 {
    let both = |trial: &Trial| count(&trial.soil) + count(&trial.aside);
    trials.iter().map(both).sum()
}

/// How many duplicates there are for each that there may be: what is published during the barrier.
fn of_bound(trial: &Trial) -> f64 {
    number(trial.soil.duplicated) / (f64::from(RATE) * trial.barrier / 1000.0)
}

fn median(trials: &[Trial], value: fn(&Trial) -> f64) -> f64 {
    quantile(&trials.iter().map(value).collect::<Vec<f64>>(), 0.5)
}

fn worst(trials: &[Trial], value: fn(&Trial) -> f64) -> f64 {
    quantile(&trials.iter().map(value).collect::<Vec<f64>>(), 1.0)
}

#[allow(clippy::cast_precision_loss)]
fn number(count: u64) -> f64 {
    count as f64
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Where clients connect, and whether everything is certain to arrive.
struct Place {
    a: String,
    c: String,
    i: String,
    lossless: bool,
}

/// One switch with messages before, meanwhile and after.
async fn trial(
    place: &Place,
    serial: u32,
    switch: impl AsyncFnOnce() -> Result<(f64, bool)>,
) -> Result<Trial> {
    let (soil, wind) = (Ledger::new(), Ledger::new());
    let here = Subscriber::start(&place.a, "here", "farm/+/soil", 2, &soil).await?;
    let aside = Subscriber::start(&place.a, "aside", "wind", 1, &wind).await?;
    let name = |role: &str| format!("{role}-{serial}");
    let many = Publisher::start(&place.i, &name("many"), "farm/1/soil", 1, RATE - RATE / 10, &soil).await?;
    let some = Publisher::start(&place.i, &name("some"), "farm/2/soil", 2, RATE / 10, &soil).await?;
    let other = Publisher::start(&place.c, &name("other"), "wind", 1, ASIDE, &wind).await?;
    sleep(FLOW).await;
    let _ = (here.take_longest_pause(), aside.take_longest_pause());
    sleep(FLOW).await;
    let quiet = here.take_longest_pause().max(aside.take_longest_pause());
    let (barrier, rests) = switch().await?;
    here.wait_received(u64::from(RATE) / 2, PATIENCE).await?;
    sleep(FLOW).await;
    for publisher in [many, some, other] {
        publisher.finish(PATIENCE).await?;
    }
    let patience = if place.lossless { PATIENCE } else { NO_MORE };
    let caught_up = (
        here.wait_caught_up(patience).await,
        aside.wait_caught_up(patience).await,
    );
    if place.lossless {
        caught_up.0.and(caught_up.1)?;
        // What comes twice may come late.
        sleep(FLOW).await;
    }
    let (soil, aside) = (here.summary(), aside.summary());
    Ok(Trial {
        quiet: milliseconds(quiet),
        pause: milliseconds(soil.longest_pause),
        aside_pause: milliseconds(aside.longest_pause),
        soil,
        aside,
        barrier,
        rests,
    })
}

/// Edits a route of a fleet so many times. A fleet that does not come to rest is replaced by a new one.
async fn skein(switches: u32) -> Result<Vec<Trial>> {
    let mut trials: Vec<Trial> = Vec::new();
    while trials.len() < switches as usize {
        let fleet = Fleet::square_with_wind(Series::Newest)?;
        let up = fleet.up()?;
        up.wait_way("soil", "i", "a", "a b i").await?;
        let place = Place {
            a: up.client_address("a").await?,
            c: up.client_address("c").await?,
            i: up.client_address("i").await?,
            lossless: true,
        };
        let left = switches - u32::try_from(trials.len())?;
        for serial in 0..left {
            let found = trial(&place, serial, async || edit(&fleet, &up, over(serial)).await).await;
            let found = found.with_context(|| end(&fleet.log()))?;
            report("skein", serial, &found);
            let rests = found.rests;
            trials.push(found);
            if !rests {
                println!("it does not come to rest:\n{}", end(&fleet.log()));
                break;
            }
        }
        up.stop().await?;
    }
    Ok(trials)
}

/// The last lines of a log.
fn end(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

/// The first switch leads over c, the next one back.
fn over(serial: u32) -> &'static str {
    if serial.is_multiple_of(2) { "c" } else { "b" }
}

/// Edits the route; gives the milliseconds until the consumer's broker is given other links, and whether the fleet is at rest
/// again soon.
async fn edit(fleet: &Fleet, up: &Up<'_>, over: &str) -> Result<(f64, bool)> {
    let file = fleet.state().join("brokers/a/desired.json");
    let before = links(&file);
    let start = SystemTime::now();
    let routes = Manifest::new().square(if over == "b" { 1 } else { 10 });
    fleet.write("routes.yaml", routes.text())?;
    // The supervisor is given whole files, so what can be read is what is given.
    wait_until("other links of a", PATIENCE, async || links(&file) != before).await?;
    let given = fs::metadata(&file)?
        .modified()?
        .duration_since(start)
        .unwrap_or_default();
    up.wait_path("soil", "i", "a", &format!("a {over} i"), PATIENCE)
        .await?;
    let rests = up.wait_settled(REST).await.is_ok();
    Ok((milliseconds(given), rests))
}

/// The names of the connections that a broker is given, which say what they carry.
fn links(file: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(file).ok()?;
    let given: Value = serde_json::from_str(&text).ok()?;
    let lines = given["config"].as_str()?.lines();
    Some(
        lines
            .filter(|line| line.starts_with("connection "))
            .map(str::to_owned)
            .collect(),
    )
}

/// Stock brokers with bridges, and their configurations. A person who knows that a new bridge else waits for up to half a minute sets
/// `restart_timeout`; all the rest is as it is unless told otherwise.
struct ByHand {
    a: Edited,
    b: Edited,
    c: Edited,
    i: Edited,
}

/// A broker and the part of its configuration that is never changed.
struct Edited {
    broker: PlainBroker,
    fixed: String,
}

impl Edited {
    async fn start(connections: &str) -> Result<Self> {
        let mut broker = PlainBroker::start(&find_mosquitto(Series::Newest)?, "").await?;
        let file = broker.folder().join("mosquitto.conf");
        let fixed = fs::read_to_string(&file)?;
        fs::write(&file, format!("{fixed}{connections}"))?;
        broker.restart(&find_mosquitto(Series::Newest)?).await?;
        Ok(Self { broker, fixed })
    }

    /// Edits the connections and has the broker reload.
    fn edit(&self, connections: &str) -> Result<()> {
        let file = self.broker.folder().join("mosquitto.conf");
        fs::write(file, format!("{}{connections}", self.fixed))?;
        self.broker.signal(Signal::HUP)
    }

    fn connection(&self, name: &str, topic: &str) -> String {
        format!(
            "connection {name}\naddress {}\nrestart_timeout 1\ntopic {topic} in 2\n",
            self.broker.address()
        )
    }
}

/// The same square and the same switches, by hand.
async fn by_hand(switches: u32, careful: bool) -> Result<Vec<Trial>> {
    let i = Edited::start("").await?;
    let soil_of_i = i.connection("b-i", "farm/+/soil");
    let c = Edited::start("").await?;
    let b = Edited::start(&soil_of_i).await?;
    let wind = c.connection("wind", "wind");
    let a = Edited::start(&format!("{wind}{}", b.connection("soil-b", "farm/+/soil"))).await?;
    let scene = ByHand { a, b, c, i };
    let place = Place {
        a: scene.a.broker.address(),
        c: scene.c.broker.address(),
        i: scene.i.broker.address(),
        lossless: false,
    };
    arrives(&place.a, &place.i, "farm/1/soil").await?;
    arrives(&place.a, &place.c, "wind").await?;
    let mut trials = Vec::new();
    for serial in 0..switches {
        let found = trial(&place, serial, async || {
            scene.switch(over(serial), careful).await?;
            Ok((0.0, true))
        })
        .await;
        let found = found.with_context(|| end(&scene.a.broker.log()))?;
        report(if careful { "careful" } else { "by hand" }, serial, &found);
        trials.push(found);
    }
    Ok(trials)
}

/// Waits until messages come from one broker to another.
async fn arrives(at: &str, from: &str, topic: &str) -> Result<()> {
    let listener = Listener::start(at, "first", topic, 1).await?;
    wait_until("a first message", PATIENCE, async || {
        let _ = skein_e2e::publish_once(from, topic, "first", 1, false).await;
        !listener.messages().is_empty()
    })
    .await
}

impl ByHand {
    async fn switch(&self, over: &str, careful: bool) -> Result<()> {
        let (new, old) = if over == "c" {
            (&self.c, &self.b)
        } else {
            (&self.b, &self.c)
        };
        let wind = self.c.connection("wind", "wind");
        let soil = new.connection(&format!("soil-{over}"), "farm/+/soil");
        // On hosts of their own, the client ids of both would differ by themselves.
        new.edit(&self.i.connection(&format!("{over}-i"), "farm/+/soil"))?;
        if careful {
            let there = Listener::start(&new.broker.address(), "there", "farm/+/soil", 0).await?;
            there.wait_messages(1, PATIENCE).await?;
        }
        self.a.edit(&format!("{wind}{soil}"))?;
        if careful {
            sleep(FLOW).await;
        }
        old.edit("")?;
        // What is left of the old way is there by now.
        sleep(FLOW).await;
        Ok(())
    }
}

/// A line for who looks on.
fn report(who: &str, serial: u32, trial: &Trial) {
    println!(
        "{who:8} {serial:3}  {}; beside it {:.0} ms, without a switch {:.0} ms, barrier {:.0} ms",
        trial.soil, trial.aside_pause, trial.quiet, trial.barrier
    );
}
