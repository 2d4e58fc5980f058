//! Gives a broker retained values, or has it forget some, over one connection. Knows no stores: which values those are is told.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{Packet, PingReq, PubRel, Publish, PublishProperties};

use crate::Address;
use crate::dialect::{self, Answer, Dialect, Step};
use crate::session::{Qos, SessionError};
use crate::stand_in::{Role, StandIn};

/// Of client ids: with whose values are put.
const CLIENT_ID_PREFIX: &str = "skein:retained:";

/// Messages under way at once, if the broker allows so many.
const AT_ONCE: u16 = 1000;

/// Bytes that are written before answers are looked at.
const BATCH: usize = 256 << 10;

/// Seconds after which what waits of a value's end is not sent any more.
const SHORT: u32 = 1;

/// Values for a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedValues {
    /// Where the broker is.
    pub address: Address,
    /// User name and password, if it asks for them.
    pub credentials: Option<(String, String)>,
    /// For whose sake: the client id is `skein:retained:` with this, and so is the source that the broker's store names. Of two who
    /// have the same at one broker, the later one kicks the other.
    pub sake: String,
    /// One for a topic.
    pub values: Vec<RetainedValue>,
}

/// What a topic's retained value is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedValue {
    /// Its topic.
    pub topic: String,
    /// Empty: there is to be none.
    pub payload: Vec<u8>,
    /// With which it is published, and with which subscribers get it at most. At QoS 0 the broker does not tell what it rejects.
    pub qos: Qos,
    /// Seconds after which the broker forgets it, and sends it no more to whom it waits for; none: never.
    pub expiry: Option<u32>,
}

impl RetainedValue {
    /// How long after a value was published that was [`Self::forgotten`] or is [`Self::fading`] nobody hears of it any more. It
    /// expires after one second; but brokers count whole ones, and send it in the one in which it expires, too.
    pub const GONE_AFTER: Duration = Duration::from_millis(2_100);

    /// There is to be no value at this topic, and who is not there now is not to hear of its end: what waits of it is not sent
    /// any more when it has expired. Who is there hears of it.
    #[must_use]
    pub fn forgotten(topic: String) -> Self {
        Self {
            topic,
            payload: Vec::new(),
            qos: Qos::AtLeastOnce,
            expiry: Some(SHORT),
        }
    }

    /// This value again, and then there is to be none: who is there gets it once more, and nobody hears of its end. But who
    /// passes it on, as a bridge of 3.1.1 does, passes on nothing about its end.
    #[must_use]
    pub fn fading(topic: String, payload: Vec<u8>, qos: Qos) -> Self {
        Self {
            topic,
            payload,
            qos,
            expiry: Some(SHORT),
        }
    }

    fn has_topic(&self) -> bool {
        !self.topic.is_empty() && u16::try_from(self.topic.len()).is_ok() && rumqttc::valid_topic(&self.topic)
    }

    fn packet(&self, number: u16) -> Packet {
        let properties = self.expiry.map(|seconds| PublishProperties {
            message_expiry_interval: Some(seconds),
            ..PublishProperties::default()
        });
        Packet::Publish(Publish {
            dup: false,
            qos: dialect::level_5(self.qos),
            retain: true,
            topic: Bytes::copy_from_slice(self.topic.as_bytes()),
            pkid: number,
            payload: Bytes::copy_from_slice(&self.payload),
            properties,
        })
    }
}

/// For whose sake a value was put that has this source, if it was put so.
#[must_use]
pub fn put_for_sake_of(source: &str) -> Option<&str> {
    source.strip_prefix(CLIENT_ID_PREFIX)
}

/// Publishes them in this order, and tells how many those were. When this returns, the broker has seen to all.
///
/// This is a publication like any other: who is subscribed gets it, and a bridge passes it on.
///
/// # Errors
/// If the broker cannot be reached, ends the connection, or does nothing for 5 s: it has some of the values then. If it rejects
/// some: it has all others, and the first that was rejected is named, but 2.0 (2.0.11) ends the connection. If one has no valid topic: it has none.
pub async fn put_retained(values: &RetainedValues) -> Result<u64, SessionError> {
    if let Some(value) = values.values.iter().find(|value| !value.has_topic()) {
        return Err(SessionError::Invalid(format!("topic {:?}", value.topic)));
    }
    let client_id = format!("{CLIENT_ID_PREFIX}{}", values.sake);
    let role = Role {
        address: &values.address,
        credentials: values.credentials.as_ref(),
        client_id: &client_id,
    };
    let mut stand_in = StandIn::connect(role, Dialect::V5 { expiry: 0 }, true).await?;
    let rejected = publish(&mut stand_in, &values.values).await?;
    stand_in.leave().await?;
    match rejected {
        Some(error) => Err(error),
        None => Ok(values.values.len() as u64),
    }
}

/// Publishes all, and tells of the first that is rejected, if any is.
async fn publish(
    stand_in: &mut StandIn,
    values: &[RetainedValue],
) -> Result<Option<SessionError>, SessionError> {
    let window = usize::from(stand_in.window.clamp(1, AT_ONCE));
    let mut free: Vec<u16> = (1..=AT_ONCE).rev().collect();
    let mut under_way: BTreeMap<u16, &RetainedValue> = BTreeMap::new();
    let mut rejected = None;
    let mut values = values.iter().peekable();
    let mut bytes = BytesMut::new();
    // What is published at QoS 0 is not acknowledged, but a broker sees to one thing after the other.
    let mut is_asked = false;
    let mut is_alive = false;
    loop {
        while under_way.len() < window
            && bytes.len() < BATCH
            && let Some(value) = values.peek()
        {
            let number = if value.qos == Qos::AtMostOnce {
                0
            } else {
                let Some(number) = free.pop() else { break };
                under_way.insert(number, value);
                number
            };
            dialect::write_5(&value.packet(number), &mut bytes)?;
            values.next();
        }
        if values.peek().is_none() && !is_asked {
            is_asked = true;
            dialect::write_5(&Packet::PingReq(PingReq), &mut bytes)?;
        }
        stand_in.say_written(&bytes.split()).await?;
        if under_way.len() < window && values.peek().is_some() {
            continue;
        }
        if is_alive && under_way.is_empty() {
            return Ok(rejected);
        }
        let mut next = Some(stand_in.answer().await?);
        while let Some(answer) = next {
            match answer {
                Answer::Alive => is_alive = true,
                Answer::Published {
                    number,
                    step: Step::Received,
                    ..
                } => dialect::write_5(&Packet::PubRel(PubRel::new(number, None)), &mut bytes)?,
                Answer::Published {
                    number,
                    step: Step::Done,
                    rejected: why,
                } => {
                    if let Some(value) = under_way.remove(&number) {
                        free.push(number);
                        if let (Some(reason), None) = (why, &rejected) {
                            let topic = value.topic.clone();
                            rejected = Some(SessionError::MessageRejected { topic, reason });
                        }
                    }
                }
                _ => {}
            }
            next = stand_in.answer_at_hand()?;
        }
    }
}
