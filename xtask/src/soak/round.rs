//! One fleet, and one fault of it after the other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use skein_e2e::{
    Fleet, Ledger, Manifest, PATIENCE, Publisher, Subscriber, Up, broker_processes, newest_migration,
    process, wait_until,
};

use super::Dice;
use super::fault::Fault;

/// Messages a second.
const RATE: u32 = 100;
/// How long what is late may take once the fleet is at rest.
const LATE: Duration = Duration::from_secs(20);

/// What came of a fault.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) fault: Fault,
    pub(super) took: Duration,
    /// Of the round's messages.
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    /// By both subscribers together.
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
    /// The fleet came to rest afterwards.
    pub(super) rested: bool,
    /// What did not go as it should, in words.
    pub(super) remarks: Vec<String>,
}

/// The fleet, and who uses it.
pub(super) struct Patient<'fleet> {
    fleet: &'fleet Fleet,
    up: Option<Up<'fleet>>,
    ledger: Ledger,
    office: Subscriber,
    /// Away during some faults.
    inspector: Subscriber,
    rounds: u64,
}

impl<'fleet> Patient<'fleet> {
    /// A fleet that runs: two brokers for each end, and two ways between them.
    pub(super) async fn begin(fleet: &'fleet Fleet) -> Result<Self> {
        let brokers = Manifest::new().brokers("a a2 b c i i2");
        fleet.write("brokers.yaml", brokers.text())?;
        fleet.write("routes.yaml", routes(1).text())?;
        let topic = Manifest::new().topic("soil", "farm/+/soil", "i", "a");
        fleet.write("topics.yaml", topic.text())?;
        let up = fleet.up_apart()?;
        up.wait_settled(PATIENCE).await?;
        let home = fleet.client_address("a").await?;
        let ledger = Ledger::new();
        let office = Subscriber::start(&home, "office", "farm/+/soil", 1, &ledger).await?;
        let inspector = Subscriber::start(&home, "inspector", "farm/7/#", 1, &ledger).await?;
        Ok(Self {
            fleet,
            up: Some(up),
            ledger,
            office,
            inspector,
            rounds: 0,
        })
    }

    /// Stops everything.
    pub(super) async fn end(self) -> Result<()> {
        match self.up {
            Some(up) => up.stop().await,
            None => Ok(()),
        }
    }

    /// One round.
    pub(super) async fn suffer(&mut self, fault: Fault, dice: &mut Dice) -> Result<Round> {
        self.rounds += 1;
        let begin = Instant::now();
        let sensor_id = format!("sensor-{}", self.rounds);
        let before = self.counts();
        let address = self.fleet.client_address("i").await?;
        let sensor = Publisher::start(&address, &sensor_id, "farm/7/soil", 1, RATE, &self.ledger).await?;
        self.office.wait_received(20, PATIENCE).await?;
        // Who is drained is waited for.
        if dice.roll(2) == 0 && !matches!(fault, Fault::Drain(_)) {
            self.inspector.go_offline();
        }
        let mut remarks = Vec::new();
        let pause = Duration::from_millis(dice.roll(1500) as u64);
        let mut done = self.strike(fault, pause).await;
        self.inspector.go_online();
        if let (Ok(()), Fault::Death(broker) | Fault::Hang(broker)) = (&done, fault) {
            done = self.is_back(broker).await;
        }
        let rested = self.fleet.wait_settled(PATIENCE).await;
        let finished = sensor.finish(LATE).await;
        let (acknowledged, sent) = (self.ledger.acknowledged(), self.ledger.sent());
        for subscriber in [&self.office, &self.inspector] {
            remarks.extend(
                subscriber
                    .wait_caught_up(LATE)
                    .await
                    .err()
                    .map(|error| format!("{error:#}")),
            );
        }
        let after = self.counts();
        self.ledger.close(&sensor_id);
        let rested = done.and(rested.map(drop)).and(finished);
        remarks.extend(rested.as_ref().err().map(|error| format!("{error:#}")));
        Ok(Round {
            fault,
            took: begin.elapsed(),
            sent,
            acknowledged,
            lost: after.lost,
            duplicated: after.duplicated - before.duplicated,
            out_of_order: after.out_of_order - before.out_of_order,
            rested: rested.is_ok(),
            remarks,
        })
    }

    /// Does it, waits until the fleet has done about it what it does, and somewhat longer, and takes it back.
    async fn strike(&mut self, fault: Fault, pause: Duration) -> Result<()> {
        match fault {
            Fault::Controller => {
                if let Some(up) = self.up.take() {
                    up.kill().await?;
                }
                tokio::time::sleep(pause).await;
                self.up = Some(self.fleet.up_apart()?);
            }
            Fault::Supervisor(broker) => {
                let before = self.fleet.supervisor(broker)?;
                kill_process(before, Signal::KILL)?;
                let another = async || self.fleet.supervisor(broker).is_ok_and(|now| now != before);
                wait_until("another supervisor", PATIENCE, another).await?;
            }
            Fault::Crash(broker) => {
                let before = process(&self.fleet.broker(broker).await?["pid"])?;
                kill_process(before, Signal::KILL)?;
                let another = |status: &Value| {
                    broker_processes(status)
                        .is_ok_and(|now| now.get(broker).is_some_and(|now| *now != before))
                };
                self.fleet
                    .wait_status("another process", PATIENCE, another)
                    .await?;
            }
            Fault::Death(broker) | Fault::Hang(broker) => {
                let how: &[&str] = if matches!(fault, Fault::Hang(_)) {
                    &["break", broker, "--hang"]
                } else {
                    &["break", broker]
                };
                self.fleet.skein(how).await?;
                let replaced = self.replaced(broker).await;
                tokio::time::sleep(pause).await;
                self.fleet.skein(&["mend", broker]).await?;
                replaced?;
            }
            Fault::Drain(broker) => {
                self.fleet.skein(&["drain", broker]).await?;
                tokio::time::sleep(pause).await;
                self.fleet.skein(&["undrain", broker]).await?;
            }
            Fault::Edit => {
                for (cost, way) in [(9, "c"), (1, "b")] {
                    self.fleet.write("routes.yaml", routes(cost).text())?;
                    self.fleet
                        .wait_path("soil", "i", "a", &format!("a {way} i"), PATIENCE)
                        .await?;
                    tokio::time::sleep(pause / 2).await;
                }
            }
        }
        Ok(())
    }

    async fn replaced(&self, broker: &str) -> Result<Value> {
        let about = |status: &Value| {
            let is_it = |it: &Value| it["broker"] == broker && it["phase"] == "Completed";
            newest_migration(status).is_some_and(is_it)
        };
        let what = format!("{broker} to be replaced");
        self.fleet.wait_status(&what, PATIENCE, about).await
    }

    async fn is_back(&self, broker: &str) -> Result<()> {
        let what = format!("{broker} to be back");
        let ready = |status: &Value| {
            let brokers = status["brokers"].as_array();
            brokers.is_some_and(|all| {
                all.iter()
                    .any(|it| it["name"] == broker && it["phase"] == "Ready")
            })
        };
        self.fleet
            .wait_status(&what, PATIENCE, ready)
            .await
            .map(drop)
            .with_context(|| "after it was mended")
    }

    /// What both have so far; lost is what they miss now.
    fn counts(&self) -> Counts {
        let sums = [self.office.summary(), self.inspector.summary()];
        Counts {
            lost: sums.iter().map(|sum| sum.lost).sum(),
            duplicated: sums.iter().map(|sum| sum.duplicated).sum(),
            out_of_order: sums.iter().map(|sum| sum.out_of_order).sum(),
        }
    }
}

struct Counts {
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
}

/// The path goes by b, or, if that way costs much, by c.
fn routes(cost: u16) -> Manifest {
    Manifest::new().routes(&format!(
        "a-b:{cost} a2-b:{cost} b-i:1 b-i2:1 a-c:2 a2-c:2 c-i:2 c-i2:2"
    ))
}
