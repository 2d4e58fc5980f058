//! A durable subscriber that accounts for every numbered message.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rumqttc::{Packet, PubAck, PubComp, PubRec, Publish, QoS, Subscribe};

use crate::ledger::{Ledger, Received, Summary};
use crate::wait::wait_until;
use crate::wire::{Client, Presence, Role};

/// Receives with a persistent session and reconnects by itself; runs until it is dropped.
#[derive(Debug)]
pub struct Subscriber {
    client: Client<Receiving<Counting>>,
    ledger: Ledger,
}

impl Subscriber {
    /// Connects to `address` (`host:port`), subscribes, and waits until that is acknowledged.
    ///
    /// It subscribes again only where the broker has no session of it.
    pub async fn start(
        address: &str,
        client_id: &str,
        filter: &str,
        qos: u8,
        ledger: &Ledger,
    ) -> Result<Self> {
        let role = Receiving::new(client_id, filter, qos, false, Counting::default())?;
        let client = start(address, role).await?;
        Ok(Self {
            client,
            ledger: ledger.clone(),
        })
    }

    /// The result so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.client.with(|role| role.sink.0.summary(&self.ledger))
    }

    /// The longest time between two first deliveries since this was last asked; it starts anew, so that each act of a
    /// story has its own.
    #[must_use]
    pub fn take_longest_pause(&self) -> Duration {
        self.client.with(|role| role.sink.0.take_longest_pause())
    }

    /// How often it found no session at the broker, the first time included.
    #[must_use]
    pub fn fresh_sessions(&self) -> u32 {
        self.client.with(|role| role.fresh_sessions)
    }

    /// How often it was connected, the first time included.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.client.with(|role| role.connections)
    }

    /// Waits until every message acknowledged by then has arrived.
    pub async fn wait_caught_up(&self, timeout: Duration) -> Result<()> {
        let missing = || self.client.with(|role| role.sink.0.missing(&self.ledger));
        let start = Instant::now();
        if wait_until("", timeout, async || missing() == 0).await.is_err() {
            bail!(
                "{} messages still missing after {:.1} s: {}; {}",
                missing(),
                start.elapsed().as_secs_f64(),
                self.client.with(|role| role.sink.0.name_missing(&self.ledger)),
                self.summary()
            );
        }
        Ok(())
    }

    /// Which acknowledged messages have not arrived, as `PUBLISHER FIRST-LAST`, comma separated.
    #[must_use]
    pub fn missing(&self) -> String {
        self.client.with(|role| role.sink.0.name_missing(&self.ledger))
    }

    /// Waits until so many more different messages than now have arrived.
    pub async fn wait_received(&self, more: u64, timeout: Duration) -> Result<()> {
        let start = self.summary().received;
        let what = format!("{more} more messages to arrive");
        wait_until(&what, timeout, async || self.summary().received >= start + more).await
    }

    /// Disconnects politely; the broker keeps the session and queues.
    pub fn go_offline(&self) {
        self.client.set_presence(Presence::Left);
    }

    /// Its connection ends without a word; the broker keeps the session and queues.
    pub fn vanish(&self) {
        self.client.set_presence(Presence::Gone);
    }

    /// Connects again after [`Subscriber::go_offline`] or [`Subscriber::vanish`].
    pub fn go_online(&self) {
        self.client.set_presence(Presence::Here);
    }
}

pub(crate) async fn start<S: Sink>(address: &str, role: Receiving<S>) -> Result<Client<Receiving<S>>> {
    let what = format!("{} to subscribe at {address}", role.client_id);
    let client = Client::start(address, role);
    wait_until(&what, Duration::from_secs(10), async || {
        client.with(|role| role.subscribed)
    })
    .await?;
    if let Some(refused) = client.with(|role| role.refused.take()) {
        bail!("{what}: {refused}");
    }
    Ok(client)
}

/// Where received messages go.
pub(crate) trait Sink: Send + 'static {
    fn take(&mut self, publish: &Publish, now: Instant);
}

#[derive(Debug, Default)]
struct Counting(Received);

impl Sink for Counting {
    fn take(&mut self, publish: &Publish, now: Instant) {
        let text = std::str::from_utf8(&publish.payload).ok();
        let parts = text.and_then(|text| text.rsplit_once(' '));
        match parts.and_then(|(publisher, number)| Some((publisher, number.parse().ok()?))) {
            Some((publisher, number)) => self.0.receive(publisher, number, now),
            None => self.0.receive_unexpected(),
        }
    }
}

/// The receiving side of MQTT.
#[derive(Debug)]
pub(crate) struct Receiving<S> {
    client_id: String,
    filter: String,
    qos: QoS,
    clean_session: bool,
    subscribed: bool,
    refused: Option<String>,
    fresh_sessions: u32,
    connections: u32,
    /// QoS 2 messages that are received and not yet released: a repetition of one is no second copy.
    unreleased: BTreeSet<u16>,
    pub(crate) sink: S,
}

impl<S> Receiving<S> {
    pub(crate) fn new(client_id: &str, filter: &str, qos: u8, clean_session: bool, sink: S) -> Result<Self> {
        let Ok(qos) = rumqttc::qos(qos) else {
            bail!("QoS is 0, 1 or 2, not {qos}")
        };
        Ok(Self {
            client_id: client_id.to_owned(),
            filter: filter.to_owned(),
            qos,
            clean_session,
            subscribed: false,
            refused: None,
            fresh_sessions: 0,
            connections: 0,
            unreleased: BTreeSet::new(),
            sink,
        })
    }
}

impl<S: Sink> Role for Receiving<S> {
    fn client_id(&self) -> &str {
        &self.client_id
    }

    fn clean_session(&self) -> bool {
        self.clean_session
    }

    fn connected(&mut self, session_present: bool) -> Vec<Packet> {
        self.connections += 1;
        if session_present && self.subscribed {
            return Vec::new();
        }
        if !session_present {
            self.fresh_sessions += 1;
            self.unreleased.clear();
        }
        let mut subscribe = Subscribe::new(&self.filter, self.qos);
        subscribe.pkid = 1;
        vec![Packet::Subscribe(subscribe)]
    }

    fn heard(&mut self, packet: Packet, now: Instant) -> Vec<Packet> {
        match packet {
            Packet::SubAck(ack) => {
                self.subscribed = true;
                if ack.return_codes.contains(&rumqttc::SubscribeReasonCode::Failure) {
                    self.refused = Some(format!("the broker refuses {}", self.filter));
                }
                Vec::new()
            }
            Packet::Publish(publish) => match publish.qos {
                QoS::AtMostOnce => {
                    self.sink.take(&publish, now);
                    Vec::new()
                }
                QoS::AtLeastOnce => {
                    self.sink.take(&publish, now);
                    vec![Packet::PubAck(PubAck::new(publish.pkid))]
                }
                QoS::ExactlyOnce => {
                    if self.unreleased.insert(publish.pkid) {
                        self.sink.take(&publish, now);
                    }
                    vec![Packet::PubRec(PubRec::new(publish.pkid))]
                }
            },
            Packet::PubRel(release) => {
                self.unreleased.remove(&release.pkid);
                vec![Packet::PubComp(PubComp::new(release.pkid))]
            }
            _ => Vec::new(),
        }
    }

    fn due(&mut self, _: bool, _: Instant) -> Vec<Packet> {
        Vec::new()
    }
}
