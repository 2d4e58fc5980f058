//! A client in the test's own hands: it acknowledges nothing by itself, and what it is refused it says.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rumqttc::{
    Connect, Login, Packet, PubAck, PubComp, PubRec, PubRel, Publish, QoS, Subscribe, SubscribeReasonCode,
    Unsubscribe,
};
use tokio::time::timeout;

use crate::wire::Wire;

const ANSWER: Duration = Duration::from_secs(5);

/// One MQTT 3.1.1 connection. What arrives while it waits for an answer is kept for [`RawClient::receive`].
pub struct RawClient {
    client_id: String,
    wire: Wire,
    session_present: bool,
    arrived: VecDeque<Publish>,
    last_packet_id: u16,
}

impl RawClient {
    /// Connects; an error if the broker refuses. The login is a user name and a password.
    pub async fn connect(
        address: &str,
        client_id: &str,
        clean_session: bool,
        login: Option<(&str, &str)>,
    ) -> Result<Self> {
        let mut connect = Connect::new(client_id);
        connect.clean_session = clean_session;
        connect.keep_alive = 60;
        connect.login = login.map(|(user, password)| Login::new(user, password));
        let (wire, session_present) = timeout(ANSWER, Wire::open(address, connect))
            .await
            .context("no answer to CONNECT")??;
        Ok(Self {
            client_id: client_id.to_owned(),
            wire,
            session_present,
            arrived: VecDeque::new(),
            last_packet_id: 0,
        })
    }

    /// Whether the broker had a session of it.
    #[must_use]
    pub fn session_present(&self) -> bool {
        self.session_present
    }

    fn packet_id(&mut self) -> u16 {
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        self.last_packet_id
    }

    /// The first packet that is an answer; messages before it are kept.
    async fn answer<T>(&mut self, what: &str, mut pick: impl FnMut(&Packet) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + ANSWER;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let packet = timeout(left, self.wire.receive())
                .await
                .unwrap_or_else(|_| bail!("none for {ANSWER:?}"))
                .with_context(|| format!("{} gets no {what}", self.client_id))?;
            if let Some(found) = pick(&packet) {
                return Ok(found);
            }
            if let Packet::Publish(publish) = packet {
                self.arrived.push_back(publish);
            }
        }
    }

    /// Subscribes, and tells whether it was granted.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<bool> {
        let Ok(qos) = rumqttc::qos(qos) else {
            bail!("no QoS {qos}")
        };
        let mut subscribe = Subscribe::new(filter, qos);
        subscribe.pkid = self.packet_id();
        self.wire.send(&[Packet::Subscribe(subscribe)]).await?;
        self.answer("SUBACK", |packet| match packet {
            Packet::SubAck(ack) => Some(!ack.return_codes.contains(&SubscribeReasonCode::Failure)),
            _ => None,
        })
        .await
    }

    /// Unsubscribes. MQTT 3.1.1 has no refusal of it.
    pub async fn unsubscribe(&mut self, filter: &str) -> Result<()> {
        let mut unsubscribe = Unsubscribe::new(filter);
        unsubscribe.pkid = self.packet_id();
        self.wire.send(&[Packet::Unsubscribe(unsubscribe)]).await?;
        let done = |packet: &Packet| matches!(packet, Packet::UnsubAck(_)).then_some(());
        self.answer("UNSUBACK", done).await
    }

    /// Publishes, and waits until the broker has answered all that the QoS asks for, which a 3.1.1 broker also does for
    /// what it refuses.
    pub async fn publish(&mut self, topic: &str, payload: &str, qos: u8, retain: bool) -> Result<()> {
        let Ok(qos) = rumqttc::qos(qos) else {
            bail!("no QoS {qos}")
        };
        let mut publish = Publish::new(topic, qos, payload);
        publish.retain = retain;
        if qos != QoS::AtMostOnce {
            publish.pkid = self.packet_id();
        }
        let sent = publish.pkid;
        self.wire.send(&[Packet::Publish(publish)]).await?;
        if qos == QoS::AtLeastOnce {
            let mine =
                |packet: &Packet| matches!(packet, Packet::PubAck(ack) if ack.pkid == sent).then_some(());
            self.answer("PUBACK", mine).await?;
        }
        if qos == QoS::ExactlyOnce {
            let mine =
                |packet: &Packet| matches!(packet, Packet::PubRec(ack) if ack.pkid == sent).then_some(());
            self.answer("PUBREC", mine).await?;
            self.wire.send(&[Packet::PubRel(PubRel::new(sent))]).await?;
            let mine =
                |packet: &Packet| matches!(packet, Packet::PubComp(ack) if ack.pkid == sent).then_some(());
            self.answer("PUBCOMP", mine).await?;
        }
        Ok(())
    }

    /// The next message, unacknowledged; none if the broker is silent for so long. An error if it closed the connection.
    pub async fn receive(&mut self, quiet: Duration) -> Result<Option<Publish>> {
        if let Some(publish) = self.arrived.pop_front() {
            return Ok(Some(publish));
        }
        let next = async {
            loop {
                match self.wire.receive().await? {
                    Packet::Publish(publish) => return Ok::<_, anyhow::Error>(publish),
                    Packet::PubRel(release) => {
                        let complete = Packet::PubComp(PubComp::new(release.pkid));
                        self.wire.send(&[complete]).await?;
                    }
                    _ => {}
                }
            }
        };
        match timeout(quiet, next).await {
            Ok(received) => received
                .map(Some)
                .with_context(|| format!("{} waits for messages", self.client_id)),
            Err(_) => Ok(None),
        }
    }

    /// Acknowledges a message as its QoS asks.
    pub async fn acknowledge(&mut self, publish: &Publish) -> Result<()> {
        match publish.qos {
            QoS::AtMostOnce => Ok(()),
            QoS::AtLeastOnce => self.wire.send(&[Packet::PubAck(PubAck::new(publish.pkid))]).await,
            QoS::ExactlyOnce => self.wire.send(&[Packet::PubRec(PubRec::new(publish.pkid))]).await,
        }
    }

    /// Receives until the broker is silent for so long, acknowledging or not.
    pub async fn take(&mut self, quiet: Duration, acknowledge: bool) -> Result<Vec<Publish>> {
        let mut taken = Vec::new();
        while let Some(publish) = self.receive(quiet).await? {
            if acknowledge {
                self.acknowledge(&publish).await?;
            }
            taken.push(publish);
        }
        Ok(taken)
    }

    /// Waits until every message sent so far is handled: the broker answers a PINGREQ after what came before it.
    pub async fn settle(&mut self) -> Result<()> {
        self.wire.send(&[Packet::PingReq]).await?;
        let done = |packet: &Packet| matches!(packet, Packet::PingResp).then_some(());
        self.answer("PINGRESP", done).await
    }

    /// Waits until the broker closes the connection, and tells how long that took.
    pub async fn wait_closed(&mut self, patience: Duration) -> Result<Duration> {
        let start = Instant::now();
        let closed = async { while self.wire.receive().await.is_ok() {} };
        timeout(patience, closed)
            .await
            .context("the broker keeps the connection")?;
        Ok(start.elapsed())
    }

    /// Leaves politely.
    pub async fn disconnect(mut self) -> Result<()> {
        self.wire.send(&[Packet::Disconnect]).await
    }
}
