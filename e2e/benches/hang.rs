//! A broker hangs (SIGSTOP): how long until a client's messages pass again, by way of its substitute?
//!
//! Skein's side is `skein up` with heartbeats of 50 ms × 3; the client knows one address and connects again as soon as it is
//! thrown out. The rival is what people build by hand: two brokers with the same bridge to a third, and a client that knows
//! both addresses, sends a ping each second (the least that MQTT can ask for) and goes to the other one when no answer
//! comes. It is the same client for both. *Local* is a message that comes back to the client which published it,
//! *federated* one that arrives at a subscriber of the third broker; both were published after the broker hung.
//!
//! `SKEIN_BENCH_HANGS` sets the number of hangs (500 and, for the rival, a tenth of that).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use skein_e2e::{
    Fleet, Manifest, PlainBroker, Series, broker_processes, connect_options, find_mosquitto,
    from_environment, quantile, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// How long everything must have been well before the next hang.
const SETTLE: Duration = Duration::from_millis(500);
/// Time between two messages of the client.
const PACE: Duration = Duration::from_millis(2);
const TOPIC: &str = "farm/1/soil";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let hangs = from_environment("SKEIN_BENCH_HANGS", 500, 1);
    let ours = skein(hangs).await?;
    let rival = by_hand((hangs / 10).max(1)).await?;
    let line = json!({
        "bench": "hang",
        "hangs": ours.local.len(),
        "p50_ms": quantile(&ours.local, 0.5),
        "p99_ms": quantile(&ours.local, 0.99),
        "worst_ms": quantile(&ours.local, 1.0),
        "federated_p50_ms": quantile(&ours.federated, 0.5),
        "federated_p99_ms": quantile(&ours.federated, 0.99),
        "federated_worst_ms": quantile(&ours.federated, 1.0),
        "hand_made_hangs": rival.local.len(),
        "hand_made_p50_ms": quantile(&rival.local, 0.5),
        "hand_made_p99_ms": quantile(&rival.local, 0.99),
        "hand_made_federated_p50_ms": quantile(&rival.federated, 0.5),
        "hand_made_federated_p99_ms": quantile(&rival.federated, 0.99),
    });
    println!("{line}");
    Ok(())
}

/// Milliseconds, one per hang.
#[derive(Default)]
struct Times {
    local: Vec<f64>,
    federated: Vec<f64>,
}

/// Stops a broker of a fleet of three again and again.
async fn skein(hangs: u32) -> Result<Times> {
    let fleet = Fleet::new(Series::Newest)?;
    let brokers = Manifest::new().quick_brokers("field office spare");
    let manifest = brokers.routes("field-office field-spare spare-office").topic(
        "soil",
        "farm/+/soil",
        "field",
        "office",
    );
    fleet.write("fleet.yaml", manifest.text())?;
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    let client = Client::start(
        vec![up.client_address("field").await?],
        &up.client_address("office").await?,
    );
    let mut times = Times::default();
    for _ in 0..hangs {
        let status = up
            .wait_status("every broker to serve its own clients", PATIENCE, is_whole)
            .await?;
        client.wait_well().await?;
        let victim = broker_processes(&status)?["field"];
        let signal = |signal| Ok(kill_process(victim, signal)?);
        client
            .measure(signal, &mut times)
            .await
            .with_context(|| fleet.log())?;
    }
    drop(client);
    up.stop().await?;
    Ok(times)
}

fn is_whole(status: &Value) -> bool {
    let all = |list: &str, holds: &dyn Fn(&Value) -> bool| {
        status[list].as_array().is_some_and(|list| list.iter().all(holds))
    };
    status["settled"] == true
        && all("brokers", &|broker| broker["phase"] == "Ready")
        && all("paths", &|path| path["up"] == true)
}

/// The same with what one would build by hand.
async fn by_hand(hangs: u32) -> Result<Times> {
    let binary = find_mosquitto(Series::Newest)?;
    let office = PlainBroker::start(&binary, "").await?;
    let bridge = |name: &str| {
        format!(
            "connection {name}\naddress {}\ntopic farm/+/soil out 1\nrestart_timeout 1\n",
            office.address()
        )
    };
    let one = PlainBroker::start(&binary, &bridge("one")).await?;
    let two = PlainBroker::start(&binary, &bridge("two")).await?;
    let client = Client::start(vec![one.address(), two.address()], &office.address());
    let mut times = Times::default();
    for _ in 0..hangs {
        client.wait_well().await?;
        let serving = if client.connected() == 0 { &one } else { &two };
        client
            .measure(|signal| serving.signal(signal), &mut times)
            .await?;
    }
    Ok(times)
}

/// A client that publishes when it was, as fast as it gets its own messages back, and a subscriber far away. All times are
/// nanoseconds since the client began.
struct Client {
    origin: Instant,
    /// When the newest message was published that came back; the same for those that arrived far away.
    local: Arc<AtomicU64>,
    federated: Arc<AtomicU64>,
    /// Which of its addresses it is at.
    at: Arc<AtomicU64>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Client {
    fn start(addresses: Vec<String>, far_away: &str) -> Self {
        let origin = Instant::now();
        let counter = || Arc::new(AtomicU64::new(0));
        let (local, federated, at) = (counter(), counter(), counter());
        let near = talk(addresses, origin, local.clone(), at.clone());
        let far = listen(far_away.to_owned(), federated.clone());
        Self {
            origin,
            local,
            federated,
            at,
            tasks: [tokio::spawn(near), tokio::spawn(far)],
        }
    }

    fn connected(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }

    /// Waits until messages pass both ways, without a pause for a while.
    async fn wait_well(&self) -> Result<()> {
        let lag = |seen: &AtomicU64| since(self.origin).saturating_sub(seen.load(Ordering::Relaxed));
        let mut well = Instant::now();
        wait_until("messages to pass", PATIENCE, async || {
            let limit = 100_000_000;
            if lag(&self.local) > limit || lag(&self.federated) > limit {
                well = Instant::now();
            }
            well.elapsed() >= SETTLE
        })
        .await
    }

    /// Stops a process, waits until messages pass again, and lets it go on.
    async fn measure(&self, signal: impl Fn(Signal) -> Result<()>, times: &mut Times) -> Result<()> {
        signal(Signal::STOP)?;
        let stopped = since(self.origin);
        let (mut local, mut federated) = (None, None);
        let waiting = async {
            while local.is_none() || federated.is_none() {
                let now = since(self.origin);
                if self.local.load(Ordering::Relaxed) > stopped {
                    local.get_or_insert(now - stopped);
                }
                if self.federated.load(Ordering::Relaxed) > stopped {
                    federated.get_or_insert(now - stopped);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let result = tokio::time::timeout(PATIENCE, waiting).await;
        signal(Signal::CONT)?;
        result.context("waited in vain for messages to pass again")?;
        #[allow(clippy::cast_precision_loss)]
        let milliseconds = |time: Option<u64>| time.map(|time| time as f64 / 1e6);
        times.local.extend(milliseconds(local));
        times.federated.extend(milliseconds(federated));
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn since(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn options(address: &str, id: &str) -> MqttOptions {
    let mut options = connect_options(address, id);
    options.set_keep_alive(Duration::from_secs(1));
    options
}

/// Publishes and gets back, at one address after the other.
async fn talk(addresses: Vec<String>, origin: Instant, newest: Arc<AtomicU64>, at: Arc<AtomicU64>) {
    for turn in (0..addresses.len()).cycle() {
        // A new client each time: what the one before had not sent is of no interest any more.
        let (client, mut events) = AsyncClient::new(options(&addresses[turn], "sensor"), 10);
        let publish = || {
            let now = since(origin).to_string();
            let _ = client.try_publish(TOPIC, QoS::AtLeastOnce, false, now);
        };
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    let _ = client.try_subscribe(TOPIC, QoS::AtLeastOnce);
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => {
                    at.store(turn as u64, Ordering::Relaxed);
                    publish();
                }
                Ok(Event::Incoming(Packet::Publish(message))) => {
                    note(&newest, &message.payload);
                    tokio::time::sleep(PACE).await;
                    publish();
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        // Refused at once, it would not let anybody else run.
        tokio::task::yield_now().await;
    }
}

/// Receives what arrives far away.
async fn listen(address: String, newest: Arc<AtomicU64>) {
    let (client, mut events) = AsyncClient::new(options(&address, "archive"), 10);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                let _ = client.try_subscribe(TOPIC, QoS::AtLeastOnce);
            }
            Ok(Event::Incoming(Packet::Publish(message))) => note(&newest, &message.payload),
            Ok(_) => {}
            Err(_) => tokio::time::sleep(PACE).await,
        }
    }
}

fn note(newest: &AtomicU64, payload: &[u8]) {
    let sent = std::str::from_utf8(payload)
        .ok()
        .and_then(|text| text.parse().ok());
    newest.fetch_max(sent.unwrap_or(0), Ordering::Relaxed);
}
