//! Where a case is played: brokers, at one of which clients publish and at another subscribe; and a case's own topics
//! there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use skein_e2e::{Fleet, Manifest, PATIENCE, PlainBroker, Series, Up, mosquitto};

use crate::client::Client;
use crate::packet::{Hello, Message, Received, Version, Wish};

/// Every case is played at once, so a broker that answers late is busy and not dead.
const BROKER: &str = "{managed: {allowAnonymous: true, settings: {sys_interval: \"1\"}}, heartbeat: {interval: 1s, misses: 30}}";

/// The topics of all cases. Their first level says how they flow: from the first broker to the last with QoS 2, 1 or 0, or
/// both ways; `finance` and `/finance` are two further ones, and what begins otherwise is declared by nobody.
fn manifest(brokers: usize) -> Manifest {
    let names: Vec<String> = (1..=brokers).map(|number| format!("b{number}")).collect();
    let routes: Vec<String> = names.windows(2).map(|pair| pair.join("-")).collect();
    let (first, last) = (names[0].as_str(), names[brokers - 1].as_str());
    let ends = format!("{first} {last}");
    Manifest::new()
        .brokers_as(&names.join(" "), BROKER)
        .routes(&routes.join(" "))
        .topic_with("two", "two/#", first, last, "qos: 2")
        .topic_with("one", "one/#", first, last, "qos: 1")
        .topic_with("zero", "zero/#", first, last, "qos: 0")
        .topic_with("both", "both/#", &ends, &ends, "qos: 2")
        .topic("finance", "finance", first, last)
        .topic("slash-finance", "/finance", first, last)
}

/// Brokers that are made ready: a plain one, or the fleet of a chain.
pub(crate) enum Brokers {
    Plain(PlainBroker),
    Chain(Fleet, usize),
}

impl Brokers {
    /// One broker is a plain Mosquitto with nothing configured but a port.
    pub(crate) async fn new(series: Series, count: usize) -> Result<Self> {
        if count == 1 {
            let broker = PlainBroker::start(&mosquitto(series), "sys_interval 1").await?;
            return Ok(Self::Plain(broker));
        }
        let fleet = Fleet::new(series)?;
        fleet.write("chain.yaml", manifest(count).text())?;
        Ok(Self::Chain(fleet, count))
    }

    /// Starts them. A chain runs as long as what this gives is kept.
    pub(crate) fn start(&self) -> Result<Option<Up<'_>>> {
        match self {
            Self::Plain(_) => Ok(None),
            Self::Chain(fleet, _) => fleet.up().map(Some),
        }
    }

    /// What `skein up` told, if it runs.
    pub(crate) fn log(&self) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            Self::Chain(fleet, _) => Some(fleet.log()),
        }
    }

    /// Waits until they run, and gives where clients publish and where they subscribe.
    pub(crate) async fn ends(&self) -> Result<(String, String)> {
        match self {
            Self::Plain(broker) => Ok((broker.address(), broker.address())),
            Self::Chain(fleet, count) => {
                fleet.wait_settled(PATIENCE).await?;
                let last = fleet.client_address(&format!("b{count}")).await?;
                Ok((fleet.client_address("b1").await?, last))
            }
        }
    }
}

/// A case's view of the brokers.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) version: Version,
    /// Where clients publish.
    pub(crate) here: String,
    /// Where they subscribe.
    pub(crate) there: String,
    /// Its name and version, in topics and client ids.
    name: String,
    branch: &'static str,
    ends: Arc<AtomicU32>,
}

impl Scene {
    pub(crate) fn new(case: &str, version: Version, ends: &(String, String)) -> Self {
        let number = version.name().replace('.', "");
        Self {
            version,
            here: ends.0.clone(),
            there: ends.1.clone(),
            name: format!("{case}-{number}"),
            branch: "two",
            ends: Arc::default(),
        }
    }

    /// The same with topics of another first level.
    pub(crate) fn below(mut self, branch: &'static str) -> Self {
        self.branch = branch;
        self
    }

    /// The same with topics that flow both ways, and here and there exchanged.
    pub(crate) fn backwards(mut self) -> Self {
        self.branch = "both";
        std::mem::swap(&mut self.here, &mut self.there);
        self
    }

    /// A topic of this case.
    pub(crate) fn topic(&self, tail: &str) -> String {
        format!("{}/{}/{tail}", self.branch, self.name)
    }

    pub(crate) fn message(&self, tail: &str, payload: &str) -> Message {
        Message::new(self.topic(tail), payload.to_owned())
    }

    pub(crate) fn wish(&self, tail: &str) -> Wish {
        Wish::new(self.topic(tail))
    }

    /// How a client of this case connects.
    pub(crate) fn hello(&self, role: &str) -> Hello {
        Hello::new(self.version, format!("{}-{role}", self.name))
    }

    /// A client that publishes.
    pub(crate) async fn publisher(&self) -> Result<Client> {
        Client::connect(&self.here, &self.hello("publisher")).await
    }

    /// A client at the other end that subscribes, and sees when everything is over.
    pub(crate) async fn subscriber(&self, wishes: &[Wish]) -> Result<Client> {
        self.join("subscriber", wishes).await
    }

    /// The same under another name.
    pub(crate) async fn join(&self, role: &str, wishes: &[Wish]) -> Result<Client> {
        let mut client = Client::connect(&self.there, &self.hello(role)).await?;
        self.await_with(&mut client, wishes).await?;
        Ok(client)
    }

    /// Subscribes, for a client that is connected.
    pub(crate) async fn await_with(&self, client: &mut Client, wishes: &[Wish]) -> Result<()> {
        client.subscribe(&self.wish("end")).await?;
        for wish in wishes {
            client.subscribe(wish).await?;
        }
        Ok(())
    }

    /// Publishes what comes after everything before: same way, and QoS 2, which overtakes nothing.
    pub(crate) async fn end(&self, publisher: &mut Client) -> Result<Message> {
        let number = self.ends.fetch_add(1, Ordering::Relaxed);
        let end = self.message("end", &number.to_string());
        publisher.publish(&end).await?;
        Ok(end)
    }

    /// All that a subscriber gets of what was published so far.
    pub(crate) async fn collect(
        &self,
        publisher: &mut Client,
        subscriber: &mut Client,
    ) -> Result<Vec<Received>> {
        let end = self.end(publisher).await?;
        subscriber.until(&end).await
    }

    /// Publishes, and gives all that a subscriber gets.
    pub(crate) async fn pass(
        &self,
        messages: &[Message],
        publisher: &mut Client,
        subscriber: &mut Client,
    ) -> Result<Vec<Received>> {
        for message in messages {
            publisher.publish(message).await?;
        }
        self.collect(publisher, subscriber).await
    }
}

/// Payloads in the order of their arrival: `1, 2`, or `nothing`.
pub(crate) fn payloads(received: &[Received]) -> String {
    list(received.iter().map(|one| one.text()))
}

/// `1, 2`, or `nothing`.
pub(crate) fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    if items.is_empty() {
        return "nothing".to_owned();
    }
    items.join(", ")
}
