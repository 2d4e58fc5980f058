//! What `skein up` itself takes: memory with nine brokers, processor time with a hundred.
//!
//! Both fleets are real and idle but for heartbeats and probes: what Skein costs where nothing happens. The nine have had a
//! broker killed, an edit and a drain before they are looked at, so that all that runs now and then is in memory. Beside the memory
//! that is resident stands the proportional share of it: supervisors and forwarders run the same program, and share its code.
//!
//! `SKEIN_BENCH_BROKERS` sets how many the large fleet has (100), `SKEIN_BENCH_SECONDS` for how long it is watched (120).

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use skein_e2e::{Fleet, Manifest, PATIENCE, Series, Up, broker_processes, from_environment};

/// A megabyte, in the system's kilobytes: as `ps` and `top` count.
const MEGABYTE: f64 = 1024.0;
/// Each broker's, in the large fleet.
const HEARTBEAT: &str = "{managed: {allowAnonymous: true}, heartbeat: {interval: 1s, misses: 3}}";
/// How long the many processes of the large fleet may take to start.
const STARTING: Duration = Duration::from_mins(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let brokers = from_environment("SKEIN_BENCH_BROKERS", 100, 4);
    let seconds = from_environment("SKEIN_BENCH_SECONDS", 120, 1);
    let memory = nine().await?;
    let load = many(brokers, Duration::from_secs(seconds)).await?;
    let line = json!({
        "bench": "footprint",
        "resident_mb": rounded(memory.resident),
        "resident_peak_mb": rounded(memory.peak),
        "proportional_mb": rounded(memory.proportional),
        "brokers": brokers,
        "seconds": seconds,
        "cpu_percent": rounded(load.own),
        "cpu_helpers_percent": rounded(load.helpers),
        "many_resident_mb": rounded(load.memory.resident),
    });
    println!("{line}");
    Ok(())
}

/// Megabytes of one process.
struct Memory {
    resident: f64,
    peak: f64,
    proportional: f64,
}

/// Nine brokers in a ring with a chord, after a day's work.
async fn nine() -> Result<Memory> {
    let fleet = Fleet::new(Series::Newest)?;
    let manifest = Manifest::new()
        .brokers("a b c d e f g h i")
        .routes("a-b b-c c-d d-e e-f f-g g-h h-i i-a:2 a-e:3")
        .topic("soil", "farm/+/soil", "i f", "a")
        .topic("weather", "weather/#", "c", "g h")
        .topic_with("orders", "orders/#", "a", "d", "qos: 2");
    fleet.write("fleet.yaml", manifest.text())?;
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    work(&fleet, &up, manifest).await.with_context(|| fleet.log())?;
    let memory = memory(own_pid(&up)?)?;
    up.stop().await?;
    Ok(memory)
}

async fn work(fleet: &Fleet, up: &Up<'_>, manifest: Manifest) -> Result<()> {
    let processes = broker_processes(&up.status().await?)?;
    let killed = processes.get("b").context("b has no process")?;
    kill_process(*killed, Signal::KILL)?;
    up.wait_status("b to serve again", PATIENCE, |status| {
        let now = broker_processes(status).ok();
        now.is_some_and(|now| now.get("b").is_some_and(|process| process != killed))
    })
    .await?;
    up.wait_settled(PATIENCE).await?;
    let edited = manifest.topic("alarms", "alarms/#", "e", "b");
    fleet.write("fleet.yaml", edited.text())?;
    up.wait_path("alarms", "e", "b", "b c d e", PATIENCE).await?;
    up.wait_settled(PATIENCE).await?;
    for command in ["drain", "undrain"] {
        up.skein(&[command, "d"]).await?;
        up.wait_settled(PATIENCE).await?;
    }
    Ok(())
}

/// Percent of one core.
struct Load {
    own: f64,
    /// Of all supervisors and forwarders together, without the brokers.
    helpers: f64,
    memory: Memory,
}

/// A ring with chords, in which nothing happens.
async fn many(count: usize, watched: Duration) -> Result<Load> {
    let fleet = Fleet::new(Series::Newest)?;
    let name = |number: usize| format!("b{}", number % count);
    let (mut names, mut routes) = (String::new(), String::new());
    for number in 0..count {
        let (this, next, far) = (name(number), name(number + 1), name(number * 7 + 3));
        write!(names, "{this} ")?;
        write!(routes, "{this}-{next} ")?;
        if far != this && number.is_multiple_of(5) && far != next {
            write!(routes, "{this}-{far}:3 ")?;
        }
    }
    let mut manifest = Manifest::new().brokers_as(&names, HEARTBEAT).routes(&routes);
    for number in (0..count).step_by(4) {
        let filter = format!("site/{number}/#");
        let (from, to) = (name(number), name(number + count / 3));
        manifest = manifest.topic(&format!("site-{number}"), &filter, &from, &to);
    }
    fleet.write("fleet.yaml", manifest.text())?;
    let up = fleet.up()?;
    up.wait_settled(STARTING).await.with_context(|| fleet.log())?;
    let own = own_pid(&up)?;
    let helpers: Vec<u32> = helpers(&fleet).into_iter().filter(|pid| *pid != own).collect();
    let spent = |pids: &[u32]| pids.iter().map(|pid| processor_time(*pid)).sum::<Result<f64>>();
    let before = (Instant::now(), processor_time(own)?, spent(&helpers)?);
    // Nothing is awaited: this is the time that is measured.
    tokio::time::sleep(watched).await;
    let took = before.0.elapsed().as_secs_f64();
    let load = Load {
        own: (processor_time(own)? - before.1) / took * 100.0,
        helpers: (spent(&helpers)? - before.2) / took * 100.0,
        memory: memory(own)?,
    };
    up.stop().await?;
    Ok(load)
}

/// The processes of a fleet that run `skein`.
fn helpers(fleet: &Fleet) -> Vec<u32> {
    let pids = fleet.processes().into_iter();
    let pids = pids.filter_map(|pid| u32::try_from(pid).ok());
    let is_skein = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "skein"
    };
    pids.filter(is_skein).collect()
}

fn own_pid(up: &Up<'_>) -> Result<u32> {
    up.pid().context("skein up has ended")
}

fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let shares = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(Memory {
        resident: megabytes(&status, "VmRSS:")?,
        peak: megabytes(&status, "VmHWM:")?,
        proportional: megabytes(&shares, "Pss:")?,
    })
}

fn megabytes(text: &str, label: &str) -> Result<f64> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(label));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: f64 = number.with_context(|| format!("no {label}"))?.parse()?;
    Ok(kilobytes / MEGABYTE)
}

/// Seconds that a process has spent on processors, its threads that have ended included.
fn processor_time(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("stat without a name")?;
    // proc(5): the times in user and in system mode are the fields 14 and 15; the name is the second.
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = times.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    #[allow(clippy::cast_precision_loss)]
    let second = rustix::param::clock_ticks_per_second() as f64;
    Ok(ticks / second)
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
