//! What several stories begin with: a square of brokers, and traffic through a fleet that goes on all the time.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::declare::Manifest;
use crate::fleet::Fleet;
use crate::ledger::Ledger;
use crate::mosquitto::Series;
use crate::publisher::Publisher;
use crate::subscriber::Subscriber;
use crate::wait::PATIENCE;

impl Manifest {
    /// The topic `soil`, which `a` has from `i`.
    #[must_use]
    pub fn soil(self) -> Self {
        self.topic("soil", "farm/+/soil", "i", "a")
    }

    /// The routes of the square. The way over `c` costs 4, the one over `b` 1 and what is given.
    #[must_use]
    pub fn square(self, a_to_b: u16) -> Self {
        self.routes(&format!("a-b:{a_to_b} b-i a-c:2 c-i:2"))
    }
}

impl Fleet {
    /// A square: `a` hears `i` by way of `b`, and could by way of `c`. In `brokers.yaml`, `routes.yaml` and `topics.yaml`.
    pub fn square(series: Series) -> Result<Self> {
        let fleet = Self::new(series)?;
        fleet.write("brokers.yaml", Manifest::new().brokers("a b c i").text())?;
        fleet.write("routes.yaml", Manifest::new().square(1).text())?;
        fleet.write("topics.yaml", Manifest::new().soil().text())?;
        Ok(fleet)
    }

    /// Waits until a topic takes this way, consumer first, and everything is at rest. Gives the status.
    pub async fn wait_way(&self, topic: &str, producer: &str, consumer: &str, way: &str) -> Result<Value> {
        self.wait_path(topic, producer, consumer, way, PATIENCE).await?;
        self.wait_settled(PATIENCE).await
    }

    /// The square, with soil at QoS 2, and `wind`, which `a` has from `c` whatever becomes of soil.
    pub fn square_with_wind(series: Series) -> Result<Self> {
        let fleet = Self::square(series)?;
        let topics = Manifest::new()
            .topic_with("soil", "farm/+/soil", "i", "a", "qos: 2")
            .topic("wind", "wind", "c", "a");
        fleet.write("topics.yaml", topics.text())?;
        Ok(fleet)
    }
}

/// The migration of a status that began last.
#[must_use]
pub fn newest_migration(status: &Value) -> Option<&Value> {
    status["migrations"].as_array()?.last()
}

impl Fleet {
    /// `a` and `a2` stand in for each other; `a` hears `i` by way of `b`.
    pub fn pair(series: Series) -> Result<Self> {
        let fleet = Self::new(series)?;
        let manifest = Manifest::new().brokers("a a2 b i").routes("a-b a2-b b-i");
        fleet.write("fleet.yaml", manifest.soil().text())?;
        Ok(fleet)
    }

    /// Waits until somebody else serves the clients of a broker; who.
    pub async fn wait_served(&self, home: &str) -> Result<String> {
        let status = self.wait_status("a substitute to serve", PATIENCE, |status| {
            newest_migration(status).is_some_and(|migration| migration["phase"] == "Completed")
        });
        let status = status.await?;
        let brokers = status["brokers"].as_array().context("brokers")?;
        let entry = brokers
            .iter()
            .find(|broker| broker["name"] == home)
            .context("it is declared")?;
        let by = entry["servedBy"].as_str().context("somebody serves")?;
        ensure!(by != home, "{entry}");
        Ok(by.to_owned())
    }
}

/// Fifty numbered messages a second on `farm/7/soil` from a client of `i`, counted by a client of `a`.
#[derive(Debug)]
pub struct Traffic<'fleet> {
    fleet: &'fleet Fleet,
    sensor: Publisher,
    /// Who counts.
    pub office: Subscriber,
    /// Where the publishing client connects to.
    pub address: String,
}

impl<'fleet> Traffic<'fleet> {
    /// Begins; the fleet must run.
    pub async fn start(fleet: &'fleet Fleet) -> Result<Self> {
        let ledger = Ledger::new();
        let office = fleet.client_address("a").await?;
        let office = Subscriber::start(&office, "office", "farm/+/soil", 1, &ledger).await?;
        let address = fleet.client_address("i").await?;
        let sensor = Publisher::start(&address, "sensor", "farm/7/soil", 1, 50, &ledger).await?;
        Ok(Self {
            fleet,
            sensor,
            office,
            address,
        })
    }

    /// Waits until so many more messages have arrived.
    pub async fn flows(&self, more: u64) -> Result<()> {
        self.office
            .wait_received(more, PATIENCE)
            .await
            .with_context(|| format!("skein up said:\n{}", self.fleet.log()))
    }

    /// Waits until a topic takes this way from `i` to `a`, everything is at rest, and the traffic goes on. Gives the
    /// status.
    pub async fn rests(&self, topic: &str, way: &str) -> Result<Value> {
        let status = self.fleet.wait_way(topic, "i", "a", way).await?;
        self.flows(20).await?;
        Ok(status)
    }

    /// Stops publishing and waits until all has arrived. Gives who counted.
    pub async fn finish(self) -> Result<Subscriber> {
        self.sensor.finish(PATIENCE).await?;
        self.office.wait_caught_up(PATIENCE).await?;
        Ok(self.office)
    }
}
