//! Nothing is wrong, everything is busy: how many healthy brokers are declared down?
//!
//! Four brokers with heartbeats of 50 ms × 3 carry what keeps a broker's loop busy for long: bursts of messages to a hundred
//! subscribers, and payloads of megabytes across a bridge. Beside them burners of this program's own keep every core
//! busy. Nobody stops, kills or disturbs a broker, so every migration is a false one.
//!
//! `SKEIN_BENCH_MINUTES` sets for how long (30), `SKEIN_BENCH_BURNERS` how many burners there are (one per core).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rumqttc::{AsyncClient, Event, Packet, QoS};
use serde_json::{Value, json};
use skein_e2e::{Burners, Fleet, Manifest, Series, connect_options, cores, from_environment};

const PATIENCE: Duration = Duration::from_mins(1);
/// Clients of one broker that all get the same messages.
const AUDIENCE: usize = 100;
/// Messages of a burst.
const BURST: u32 = 200;
/// Bytes of a large payload.
const LARGE: usize = 5_000_000;
/// Time between two bursts; a large payload goes with each tenth.
const PACE: Duration = Duration::from_millis(200);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let minutes = from_environment("SKEIN_BENCH_MINUTES", 30.0, 0.02);
    let burners = from_environment("SKEIN_BENCH_BURNERS", cores(), cores());

    let fleet = Fleet::new(Series::Newest)?;
    let brokers = Manifest::new().quick_brokers("field hall office spare");
    let fleet_of = brokers
        .routes("field-hall hall-office office-spare spare-field")
        .topic("soil", "farm/+/soil", "field", "office")
        .topic("crowd", "crowd/#", "hall", "hall");
    fleet.write("fleet.yaml", fleet_of.text())?;
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    let before = migrations(&up)?;

    let traffic = Traffic::start(
        &up.client_address("field").await?,
        &up.client_address("hall").await?,
        &up.client_address("office").await?,
    );
    let heat = Burners::start(burners);
    let began = Instant::now();
    let mut seen = before.len();
    while began.elapsed().as_secs_f64() < minutes * 60.0 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = migrations(&up)?;
        for false_one in &now[seen.min(now.len())..] {
            println!(
                "after {:.1} s: {}",
                began.elapsed().as_secs_f64(),
                short(false_one)
            );
        }
        seen = now.len();
    }
    let after = migrations(&up)?;
    let (load, ran) = (load(), began.elapsed());
    let received = traffic.stop();
    drop(heat);
    up.stop().await.with_context(|| fleet.log())?;
    let line = json!({
        "bench": "calm",
        "minutes": ran.as_secs_f64() / 60.0,
        "burners": burners,
        "load": load,
        "messages_received": received,
        "false_migrations": after.len() - before.len(),
    });
    println!("{line}");
    Ok(())
}

/// Every migration there was, oldest first.
fn migrations(fleet: &Fleet) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(fleet.state().join("status.json"))?;
    let status: Value = serde_json::from_str(&text)?;
    status["migrations"]
        .as_array()
        .cloned()
        .context("the status names no migrations")
}

fn short(migration: &Value) -> String {
    let evidence = migration["evidence"].as_array().into_iter().flatten();
    let evidence: Vec<&str> = evidence.filter_map(Value::as_str).collect();
    format!(
        "{} was declared down: {}",
        migration["broker"],
        evidence.join("; ")
    )
}

/// The machine's load over the last minute.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// Clients in a thread of their own: bursts to an audience, large payloads across a bridge.
struct Traffic {
    on: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Traffic {
    fn start(field: &str, hall: &str, office: &str) -> Self {
        let (on, received) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let (field, hall, office) = (field.to_owned(), hall.to_owned(), office.to_owned());
        let (going, count) = (on.clone(), received.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // Without a runtime there is no traffic, and the count of messages says so.
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                for member in 0..AUDIENCE {
                    listen(&hall, &format!("member-{member}"), "crowd/#", &count);
                }
                listen(&office, "archive", "farm/+/soil", &count);
                let speaker = client(&hall, "speaker", None, &count);
                let camera = client(&field, "camera", None, &count);
                let mut turn = 0_u32;
                while going.load(Ordering::Relaxed) {
                    for _ in 0..BURST {
                        // What does not fit in any more is not sent: the broker is to be busy, not to be filled up.
                        let _ = speaker.try_publish("crowd/news", QoS::AtLeastOnce, false, vec![b'n'; 200]);
                    }
                    if turn.is_multiple_of(10) {
                        let _ = camera.try_publish("farm/1/soil", QoS::AtLeastOnce, false, vec![b'i'; LARGE]);
                    }
                    turn += 1;
                    tokio::time::sleep(PACE).await;
                }
            });
        });
        Self { on, received, thread }
    }

    /// Ends the clients; gives how many messages they received.
    fn stop(self) -> u64 {
        self.on.store(false, Ordering::Relaxed);
        let _ = self.thread.join();
        self.received.load(Ordering::Relaxed)
    }
}

fn listen(address: &str, id: &str, filter: &str, count: &Arc<AtomicU64>) {
    client(address, id, Some(filter.to_owned()), count);
}

/// A client that connects again whenever it is thrown out; the runtime's end is its own.
fn client(address: &str, id: &str, filter: Option<String>, count: &Arc<AtomicU64>) -> AsyncClient {
    let mut options = connect_options(address, id);
    options
        .set_keep_alive(Duration::from_mins(1))
        .set_max_packet_size(2 * LARGE, 2 * LARGE);
    let (client, mut events) = AsyncClient::new(options, 2 * BURST as usize);
    let (count, subscriber) = (count.clone(), client.clone());
    tokio::spawn(async move {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    if let Some(filter) = &filter {
                        let _ = subscriber.try_subscribe(filter, QoS::AtLeastOnce);
                    }
                }
                Ok(Event::Incoming(Packet::Publish(_))) => {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    client
}
