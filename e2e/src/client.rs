//! Clients for a look at single messages: who gets which, and how many copies.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rumqttc::{Connect, Packet, PubRel, Publish, QoS, Subscribe};
use tokio::time::timeout;

use crate::subscriber::{Receiving, Sink, start};
use crate::wait::wait_until;
use crate::wire::{Client, Wire};

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload as text.
    pub payload: String,
    /// The retain flag it arrived with.
    pub retain: bool,
}

/// Publishes one message under a client id of its own and waits until the broker has acknowledged it.
pub async fn publish_once(address: &str, topic: &str, payload: &str, qos: u8, retain: bool) -> Result<()> {
    let Ok(qos) = rumqttc::qos(qos) else {
        bail!("QoS is 0, 1 or 2, not {qos}")
    };
    let exchange = async {
        // An empty client id makes the broker choose one.
        let (mut wire, _) = Wire::open(address, Connect::new("")).await?;
        let mut publish = Publish::new(topic, qos, payload);
        publish.pkid = u16::from(qos != QoS::AtMostOnce);
        publish.retain = retain;
        wire.send(&[Packet::Publish(publish)]).await?;
        if qos != QoS::AtMostOnce {
            loop {
                match wire.receive().await? {
                    Packet::PubAck(_) | Packet::PubComp(_) => break,
                    Packet::PubRec(got) => wire.send(&[Packet::PubRel(PubRel::new(got.pkid))]).await?,
                    _ => {}
                }
            }
        }
        wire.send(&[Packet::Disconnect]).await
    };
    timeout(Duration::from_secs(5), exchange)
        .await
        .with_context(|| format!("{address} does not acknowledge a message on {topic}"))?
}

/// Connects, subscribes a topic of its own, publishes to it with QoS 1 and waits until the message is back.
pub async fn echo(address: &str) -> Result<()> {
    let exchange = async {
        let (mut wire, _) = Wire::open(address, Connect::new("")).await?;
        let mut subscribe = Subscribe::new("echo", QoS::AtLeastOnce);
        subscribe.pkid = 1;
        let mut publish = Publish::new("echo", QoS::AtLeastOnce, "echo");
        publish.pkid = 2;
        // A broker handles packets in order, so the subscription is there when the message is.
        wire.send(&[Packet::Subscribe(subscribe), Packet::Publish(publish)])
            .await?;
        while !matches!(wire.receive().await?, Packet::Publish(_)) {}
        wire.send(&[Packet::Disconnect]).await
    };
    timeout(Duration::from_secs(5), exchange)
        .await
        .context("no echo in 5 s")?
}

/// Collects every message that matches a filter, copies included, with a clean session.
#[derive(Debug)]
pub struct Listener {
    client: Client<Receiving<Collecting>>,
}

impl Listener {
    /// Connects, subscribes, and waits until that is acknowledged.
    pub async fn start(address: &str, client_id: &str, filter: &str, qos: u8) -> Result<Self> {
        let role = Receiving::new(client_id, filter, qos, true, Collecting::default())?;
        Ok(Self {
            client: start(address, role).await?,
        })
    }

    /// What arrived so far, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.client.with(|role| role.sink.0.clone())
    }

    /// Waits until so many messages in all have arrived, and gives them.
    pub async fn wait_messages(&self, count: usize, timeout: Duration) -> Result<Vec<Message>> {
        let what = format!("{count} messages");
        wait_until(&what, timeout, async || {
            self.client.with(|role| role.sink.0.len()) >= count
        })
        .await
        .with_context(|| format!("{:?} arrived", self.messages()))?;
        Ok(self.messages())
    }

    /// Waits until nothing has arrived for a while, and gives what arrived so far; an error if it never ends.
    pub async fn wait_quiet(&self, quiet: Duration, timeout: Duration) -> Result<Vec<Message>> {
        let count = || self.client.with(|role| role.sink.0.len());
        let (mut last, mut since) = (count(), Instant::now());
        wait_until("an end of the messages", timeout, async || {
            let now = count();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            since.elapsed() >= quiet
        })
        .await
        .with_context(|| format!("{} arrived", count()))?;
        Ok(self.messages())
    }

    /// Forgets what arrived so far.
    pub fn clear(&self) {
        self.client.with(|role| role.sink.0.clear());
    }
}

#[derive(Debug, Default)]
pub(crate) struct Collecting(Vec<Message>);

impl Sink for Collecting {
    fn take(&mut self, publish: &Publish, _: Instant) {
        self.0.push(Message {
            topic: publish.topic.clone(),
            payload: String::from_utf8_lossy(&publish.payload).into_owned(),
            retain: publish.retain,
        });
    }
}
