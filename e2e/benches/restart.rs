//! A broker process is killed: how long until a client gets its first message through the broker's client address again?
//!
//! Skein's side is `skein up` (restart in place by the supervisor, clients held by the forwarder). The rival is what people
//! build by hand: a broker with a bridge file under a shell loop that starts it again after 100 ms (the default of the usual
//! service manager), clients connecting to it directly. Both run in this program, one after the other, with the same client.
//!
//! `SKEIN_BENCH_KILLS` sets the number of kills (500 and, for the rival, a fifth of that).

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::json;
use skein_e2e::{
    Fleet, Manifest, PlainBroker, Series, echo, find_mosquitto, free_ports, from_environment, quantile,
    wait_for, wait_until,
};

/// Longer than a process must live (250 ms) not to count as one that dies at once.
const SETTLE: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let kills = from_environment("SKEIN_BENCH_KILLS", 500, 2);
    let ours = skein(kills).await?;
    let rival = by_hand((kills / 5).max(2)).await?;
    let line = json!({
        "bench": "restart",
        "kills": ours.len(),
        "p50_ms": quantile(&ours, 0.5),
        "p99_ms": quantile(&ours, 0.99),
        "worst_ms": quantile(&ours, 1.0),
        "hand_made_kills": rival.len(),
        "hand_made_p50_ms": quantile(&rival, 0.5),
        "hand_made_p99_ms": quantile(&rival, 0.99),
    });
    println!("{line}");
    Ok(())
}

/// Kills a broker of a fleet of two again and again.
async fn skein(kills: u32) -> Result<Vec<f64>> {
    let fleet = Fleet::new(Series::Newest)?;
    let brokers = Manifest::new().brokers_as("field office", "{managed: {allowAnonymous: true}}");
    let manifest = brokers
        .routes("field-office")
        .topic("soil", "farm/+/soil", "field", "office");
    fleet.write("fleet.yaml", manifest.text())?;
    let up = fleet.up()?;
    up.wait_ready(PATIENCE).await?;
    let address = up.client_address("field").await?;
    let folder = fleet.state().join("brokers/field").display().to_string();
    let times = trial(kills, &address, SETTLE, || broker_process(&folder))
        .await
        .with_context(|| fleet.log())?;
    up.stop().await?;
    Ok(times)
}

/// The same with what one would build by hand.
async fn by_hand(kills: u32) -> Result<Vec<f64>> {
    let binary = find_mosquitto(Series::Newest)?;
    let office = PlainBroker::start(&binary, "").await?;
    let folder = tempfile::tempdir()?;
    let port = free_ports(1)?[0];
    let config = folder.path().join("mosquitto.conf");
    let store = folder.path().display();
    let text = format!(
        "{}listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {store}/\n\
         connection office\naddress {}\ntopic farm/+/soil out 1\n",
        PlainBroker::user_line(),
        office.address()
    );
    fs::write(&config, text)?;
    let script = "while :; do \"$0\" -c \"$1\"; sleep 0.1; done";
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(&binary).arg(&config);
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut supervisor = quiet.process_group(0).spawn()?;
    let group = i32::try_from(supervisor.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("no process group")?;
    let address = format!("127.0.0.1:{port}");
    let named = folder.path().display().to_string();
    let times = trial(kills, &address, Duration::ZERO, || broker_process(&named)).await;
    kill_process_group(group, Signal::KILL)?;
    supervisor.wait()?;
    times
}

/// Kills the broker, and measures until a message has gone through its address and back, in milliseconds.
async fn trial(
    kills: u32,
    address: &str,
    settle: Duration,
    process: impl Fn() -> Option<i32>,
) -> Result<Vec<f64>> {
    wait_until("a first message", PATIENCE, async || echo(address).await.is_ok()).await?;
    let mut times = Vec::new();
    for _ in 0..kills {
        // Deaths in quick succession are slowed down on purpose, and are not what is measured.
        tokio::time::sleep(settle).await;
        let victim = wait_for("the broker's process", PATIENCE, async || process()).await?;
        kill_process(Pid::from_raw(victim).context("no such process")?, Signal::KILL)?;
        let begin = Instant::now();
        let time = loop {
            let answer = echo(address).await;
            let time = begin.elapsed();
            // A dying process may still answer once.
            if answer.is_ok() && process() != Some(victim) {
                break time;
            }
            if time > PATIENCE {
                bail!("no message for {} s: {answer:?}", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        times.push(time.as_secs_f64() * 1000.0);
    }
    Ok(times)
}

/// The Mosquitto whose configuration is in this folder.
fn broker_process(folder: &str) -> Option<i32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let arguments: Vec<&str> = line.split('\0').collect();
        // `-c FILE`, and neither the shell that loops nor a test of the configuration.
        let config = arguments.windows(2).find(|pair| pair[0] == "-c")?[1];
        let plain = !arguments.contains(&"--test-config") && !config.contains("while");
        (config.starts_with(folder) && plain).then_some(pid)
    })
}
