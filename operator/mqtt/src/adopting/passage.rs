//! What is between the source and the targets of an adoption: what has come, who has taken it, what the source is told, and
//! where all that ends. Knows no sockets and no clocks.

use std::collections::HashMap;

use rumqttc::QoS;
use rumqttc::mqttbytes::v4::{
    Packet, PubAck, PubComp, PubRec, Publish, Subscribe, SubscribeReasonCode, Unsubscribe,
};

use crate::session::SessionError;

/// Messages that the targets have not all taken, at most: a session refuses more than 1024 at once.
pub(super) const MOST: usize = 1000;

/// The same in bytes of payload, above which no further message is read.
const MOST_BYTES: usize = 16 << 20;

/// What a packet was.
pub(super) enum Heard {
    /// No step towards the end.
    Nothing,
    /// A step.
    Moved,
    /// A message to be passed on, under this number.
    Message(u64, Publish),
}

/// How far it is. The marker is a message to the session itself, so it comes back behind all that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The marker's topic is being subscribed.
    Subscribing,
    /// The marker is on its way.
    Marked,
    /// It is back.
    Through,
    /// Its subscription is being ended.
    Unsubscribing,
    /// It is ended.
    Unsubscribed,
}

/// A message that not all targets have taken.
struct UnderWay {
    qos: QoS,
    /// Its packet's at the source.
    id: u16,
    size: usize,
    /// How many targets have not taken it.
    open: usize,
}

/// How far the exchange of a message at QoS 2 with the source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    /// It came.
    Begun,
    /// We have said so, and wait for its release.
    Received,
}

/// See the module.
pub(super) struct Passage {
    marker: String,
    /// What this attempt's markers say.
    token: String,
    targets: usize,
    stage: Stage,
    under_way: HashMap<u64, UnderWay>,
    bytes: usize,
    /// By packet id of the source. What is not here is somebody else's.
    exchanges: HashMap<u16, Exchange>,
    last_number: u64,
    /// Of our own packets, which are not numbered with the source's.
    last_id: u16,
    answers: Vec<Packet>,
    passed: u64,
}

impl Passage {
    /// Begins with the end of what is not wanted, and the marker's subscription behind that.
    pub(super) fn new(marker: String, token: String, unwanted: &[String], targets: usize) -> Self {
        let ends = (1..).zip(unwanted).map(|(number, filter)| {
            let mut unsubscribe = Unsubscribe::new(filter.clone());
            unsubscribe.pkid = number;
            Packet::Unsubscribe(unsubscribe)
        });
        let mut answers: Vec<Packet> = ends.collect();
        let last_id = u16::try_from(answers.len() + 1).unwrap_or(u16::MAX);
        let mut subscribe = Subscribe::new(marker.clone(), QoS::AtLeastOnce);
        subscribe.pkid = last_id;
        answers.push(Packet::Subscribe(subscribe));
        Self {
            marker,
            token,
            targets,
            stage: Stage::Subscribing,
            under_way: HashMap::new(),
            bytes: 0,
            exchanges: HashMap::new(),
            last_number: 0,
            last_id,
            answers,
            passed: 0,
        }
    }

    /// What the source is to be told now.
    pub(super) fn take_answers(&mut self) -> Vec<Packet> {
        if self.stage == Stage::Through && self.is_empty() {
            self.stage = Stage::Unsubscribing;
            let mut unsubscribe = Unsubscribe::new(self.marker.clone());
            unsubscribe.pkid = self.next_id();
            self.answers.push(Packet::Unsubscribe(unsubscribe));
        }
        std::mem::take(&mut self.answers)
    }

    /// All that came is passed on and acknowledged, and the marker's subscription is ended.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Unsubscribed && self.is_empty()
    }

    /// Messages that all targets have taken.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// The source may be heard.
    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < MOST && self.bytes < MOST_BYTES
    }

    /// Nothing is there to be done but to wait for the marker.
    pub(super) fn misses_marker(&self) -> bool {
        self.stage == Stage::Marked && self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.exchanges.is_empty()
    }

    /// Publishes a marker.
    pub(super) fn mark(&mut self) {
        let mut marker = Publish::new(self.marker.clone(), QoS::AtLeastOnce, self.token.clone());
        marker.pkid = self.next_id();
        self.answers.push(Packet::Publish(marker));
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// The source says something.
    pub(super) fn hear(&mut self, packet: Packet) -> Result<Heard, SessionError> {
        match packet {
            Packet::Publish(message) => return Ok(self.message(message)),
            Packet::PubRel(release) => {
                if self.exchanges.get(&release.pkid) != Some(&Exchange::Received) {
                    // Its client has this message, and has to hear that itself.
                    return Ok(Heard::Nothing);
                }
                self.exchanges.remove(&release.pkid);
                self.answers.push(Packet::PubComp(PubComp::new(release.pkid)));
            }
            Packet::SubAck(answer) if self.stage == Stage::Subscribing => {
                if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Err(SessionError::SubscriptionRejected(self.marker.clone()));
                }
                self.stage = Stage::Marked;
                self.mark();
            }
            Packet::UnsubAck(_) if self.stage == Stage::Unsubscribing => self.stage = Stage::Unsubscribed,
            _ => return Ok(Heard::Nothing),
        }
        Ok(Heard::Moved)
    }

    fn message(&mut self, message: Publish) -> Heard {
        if message.qos == QoS::ExactlyOnce
            && let Some(exchange) = self.exchanges.get(&message.pkid)
        {
            if *exchange == Exchange::Received {
                self.answers.push(Packet::PubRec(PubRec::new(message.pkid)));
            }
            return Heard::Nothing;
        }
        if message.topic == self.marker {
            self.acknowledge(message.qos, message.pkid);
            if self.stage == Stage::Marked && message.payload == self.token {
                self.stage = Stage::Through;
            }
            return Heard::Moved;
        }
        if message.qos == QoS::ExactlyOnce {
            self.exchanges.insert(message.pkid, Exchange::Begun);
        }
        self.last_number += 1;
        self.bytes += message.payload.len();
        let under_way = UnderWay {
            qos: message.qos,
            id: message.pkid,
            size: message.payload.len(),
            open: self.targets,
        };
        self.under_way.insert(self.last_number, under_way);
        Heard::Message(self.last_number, message)
    }

    /// One of the targets has taken it.
    pub(super) fn taken(&mut self, number: u64) {
        let Some(under_way) = self.under_way.get_mut(&number) else {
            return;
        };
        under_way.open = under_way.open.saturating_sub(1);
        if under_way.open == 0
            && let Some(UnderWay { qos, id, size, .. }) = self.under_way.remove(&number)
        {
            self.bytes -= size;
            self.passed += 1;
            self.acknowledge(qos, id);
        }
    }

    fn acknowledge(&mut self, qos: QoS, id: u16) {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.answers.push(Packet::PubAck(PubAck::new(id))),
            QoS::ExactlyOnce => {
                self.exchanges.insert(id, Exchange::Received);
                self.answers.push(Packet::PubRec(PubRec::new(id)));
            }
        }
    }
}
