//! A fleet that runs, and what is done to it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use skein_e2e::{Fleet, Manifest, PATIENCE, Up, broker_processes, newest_migration, process, wait_until};

use super::BROKERS;
use super::disk::SmallDisk;
use super::fault::{Ended, Fault};
use super::network::Network;
use super::seclusion::Means;

/// How long what is late may take once the fleet is at rest.
pub(crate) const LATE: Duration = Duration::from_secs(20);

/// A fleet of [`BROKERS`]: two for each end, and two ways between them.
pub(crate) struct Victim<'fleet> {
    fleet: &'fleet Fleet,
    network: Option<&'fleet Network>,
    up: Option<Up<'fleet>>,
    // After what uses it.
    disk: Option<SmallDisk>,
}

impl<'fleet> Victim<'fleet> {
    /// Starts it, with these topics, and waits until it is at rest.
    pub(crate) async fn begin(fleet: &'fleet Fleet, topics: &Manifest, means: &'fleet Means) -> Result<Self> {
        Self::start(fleet, topics, means, None).await
    }

    /// The same, and the disk of a broker can be filled.
    pub(crate) async fn with_small_disk(
        fleet: &'fleet Fleet,
        topics: &Manifest,
        means: &'fleet Means,
        broker: &str,
    ) -> Result<Self> {
        let disk = SmallDisk::mount(&data(fleet, broker))?;
        Self::start(fleet, topics, means, Some(disk)).await
    }

    async fn start(
        fleet: &'fleet Fleet,
        topics: &Manifest,
        means: &'fleet Means,
        disk: Option<SmallDisk>,
    ) -> Result<Self> {
        let brokers = Manifest::new().brokers(&BROKERS.join(" "));
        fleet.write("brokers.yaml", brokers.text())?;
        fleet.write("routes.yaml", routes(1).text())?;
        fleet.write("topics.yaml", topics.text())?;
        let up = fleet.up_apart()?;
        up.wait_settled(PATIENCE).await?;
        Ok(Self {
            fleet,
            network: means.network(),
            up: Some(up),
            disk,
        })
    }

    /// Stops everything.
    pub(crate) async fn end(self) -> Result<()> {
        match self.up {
            Some(up) => up.stop().await,
            None => Ok(()),
        }
    }

    /// Does it, waits until the fleet has done about it what it does, and somewhat longer, and takes it back.
    pub(crate) async fn strike(&mut self, fault: Fault, pause: Duration) -> Result<()> {
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
            Fault::Crash(broker) => self.ended(broker, Signal::KILL).await?,
            Fault::Restart(broker) => self.ended(broker, Signal::TERM).await?,
            Fault::Death(broker) | Fault::Hang(broker) | Fault::Volume(broker) => {
                let how: &[&str] = if matches!(fault, Fault::Hang(_)) {
                    &["break", broker, "--hang"]
                } else {
                    &["break", broker]
                };
                self.fleet.skein(how).await?;
                let replaced = self.replaced(broker).await;
                tokio::time::sleep(pause).await;
                if !matches!(fault, Fault::Volume(_)) {
                    self.fleet.skein(&["mend", broker]).await?;
                }
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
                    self.ways(way).await?;
                    tokio::time::sleep(pause / 2).await;
                }
            }
            Fault::Cut(direction, time) => {
                let network = self.network.context("no link can be cut here")?;
                let cut = network.cut(self.fleet, "a", "b", direction)?;
                tokio::time::sleep(time).await;
                drop(cut);
            }
            Fault::Disk(broker, ended) => {
                let disk = self.disk.as_ref().context("no disk can be filled here")?;
                disk.fill()?;
                tokio::time::sleep(pause).await;
                if ended == Ended::Meanwhile {
                    kill_process(process(&self.fleet.broker(broker).await?["pid"])?, Signal::KILL)?;
                }
                tokio::time::sleep(pause).await;
                disk.free()?;
                if ended == Ended::Later {
                    tokio::time::sleep(pause).await;
                    self.ended(broker, Signal::TERM).await?;
                }
            }
        }
        Ok(())
    }

    /// Waits until who was replaced is back. It may be that some client has to be there for that.
    pub(crate) async fn is_back(&self, fault: Fault) -> Result<()> {
        match fault.replaced() {
            Some(broker) => self.is_ready(broker).await,
            None => Ok(()),
        }
    }

    /// Gives the fleet a new broker in place of one that is gone for good, once nobody counts any more what that costs.
    pub(crate) async fn make_whole(&self, fault: Fault) -> Result<()> {
        let Fault::Volume(broker) = fault else {
            return Ok(());
        };
        for entry in fs::read_dir(data(self.fleet, broker))? {
            fs::remove_file(entry?.path())?;
        }
        self.fleet.skein(&["mend", broker]).await?;
        self.is_ready(broker).await?;
        self.fleet.wait_settled(PATIENCE).await.map(drop)
    }

    /// Ends a broker's process, and waits until it has another.
    async fn ended(&self, broker: &str, signal: Signal) -> Result<()> {
        let before = process(&self.fleet.broker(broker).await?["pid"])?;
        kill_process(before, signal)?;
        let another = |status: &Value| {
            broker_processes(status).is_ok_and(|now| now.get(broker).is_some_and(|now| *now != before))
        };
        let waited = self.fleet.wait_status("another process", PATIENCE, another);
        waited.await.map(drop)
    }

    /// Waits until every topic goes this way and is up.
    async fn ways(&self, way: &str) -> Result<()> {
        let wanted = ["a", way, "i"];
        let goes = |path: &Value| {
            let brokers = path["path"].as_array();
            path["up"] == true && brokers.is_some_and(|path| path.iter().eq(wanted.iter().copied()))
        };
        let all = |status: &Value| {
            let paths = status["paths"].as_array();
            paths.is_some_and(|paths| paths.iter().all(goes))
        };
        let what = format!("every topic to go by {way}");
        self.fleet.wait_status(&what, PATIENCE, all).await.map(drop)
    }

    async fn replaced(&self, broker: &str) -> Result<Value> {
        let about = |status: &Value| {
            let is_it = |it: &Value| it["broker"] == broker && it["phase"] == "Completed";
            newest_migration(status).is_some_and(is_it)
        };
        let what = format!("{broker} to be replaced");
        self.fleet.wait_status(&what, PATIENCE, about).await
    }

    async fn is_ready(&self, broker: &str) -> Result<()> {
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
}

fn data(fleet: &Fleet, broker: &str) -> std::path::PathBuf {
    fleet.state().join("brokers").join(broker).join("data")
}

/// The path goes by b, or, if that way costs much, by c.
fn routes(cost: u16) -> Manifest {
    Manifest::new().routes(&format!(
        "a-b:{cost} a2-b:{cost} b-i:1 b-i2:1 a-c:2 a2-c:2 c-i:2 c-i2:2"
    ))
}
