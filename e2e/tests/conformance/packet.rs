//! What clients and brokers say to each other, under one set of names for both protocol versions. It knows no bytes.

use bytes::Bytes;
pub(crate) use rumqttc::v5::mqttbytes::v5::PublishProperties as Properties;
use rumqttc::v5::mqttbytes::v5::RetainForwardRule;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// 3.1.1.
    Three,
    /// 5.0.
    Five,
}

impl Version {
    pub(crate) const BOTH: &'static [Self] = &[Self::Three, Self::Five];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Three => "3.1.1",
            Self::Five => "5.0",
        }
    }
}

/// A message as it is sent. Properties are heeded by 5.0 only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Properties,
}

impl Message {
    /// With QoS 2, so that what comes after it on the way does not overtake it.
    pub(crate) fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: 2,
            ..Self::default()
        }
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Its payload as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// A message as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) dup: bool,
    /// Packet identifier; 0 with QoS 0.
    pub(crate) id: u16,
}

impl std::ops::Deref for Received {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// A subscription that is wished for. All but filter and QoS are heeded by 5.0 only.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) filter: String,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) as_published: bool,
    pub(crate) retained: RetainForwardRule,
    pub(crate) identifier: Option<usize>,
}

impl Wish {
    /// With QoS 2.
    pub(crate) fn new(filter: impl Into<String>) -> Self {
        Self {
            filter: filter.into(),
            qos: 2,
            no_local: false,
            as_published: false,
            retained: RetainForwardRule::OnEverySubscribe,
            identifier: None,
        }
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn no_local(mut self) -> Self {
        self.no_local = true;
        self
    }

    pub(crate) fn retain_as_published(mut self) -> Self {
        self.as_published = true;
        self
    }

    /// Retained messages only if it is new.
    pub(crate) fn retained_if_new(mut self) -> Self {
        self.retained = RetainForwardRule::OnNewSubscribe;
        self
    }

    /// No retained messages.
    pub(crate) fn none_retained(mut self) -> Self {
        self.retained = RetainForwardRule::Never;
        self
    }

    pub(crate) fn identifier(mut self, identifier: usize) -> Self {
        self.identifier = Some(identifier);
        self
    }
}

/// How a client connects. All but the first are optional; expiry and delay are heeded by 5.0 only.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    /// Clean session in 3.1.1, clean start in 5.0.
    pub(crate) clean: bool,
    /// Seconds for which the session outlives its connection.
    pub(crate) expiry: Option<u32>,
    /// Seconds.
    pub(crate) keep_alive: u16,
    pub(crate) will: Option<Message>,
    /// Seconds between the loss of the connection and the will.
    pub(crate) will_delay: Option<u32>,
}

impl Hello {
    pub(crate) fn new(version: Version, client_id: impl Into<String>) -> Self {
        Self {
            version,
            client_id: client_id.into(),
            clean: true,
            expiry: None,
            keep_alive: 60,
            will: None,
            will_delay: None,
        }
    }

    /// With a session that outlives the connection.
    pub(crate) fn durable(mut self) -> Self {
        self.clean = false;
        self.expiry = Some(600);
        self
    }

    pub(crate) fn expiry(mut self, seconds: u32) -> Self {
        self.clean = false;
        self.expiry = Some(seconds);
        self
    }

    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub(crate) fn will(mut self, will: Message) -> Self {
        self.will = Some(will);
        self
    }

    pub(crate) fn will_delay(mut self, seconds: u32) -> Self {
        self.will_delay = Some(seconds);
        self
    }
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP, which carry no more than a packet identifier and, in 5.0, a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Acknowledged = 4,
    Received,
    Release,
    Complete,
}

/// What a client says.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    Connect(&'a Hello),
    Publish(u16, &'a Message),
    Answer(Answer, u16),
    Subscribe(u16, &'a Wish),
    Unsubscribe(u16, &'a str),
    Ping,
    /// With a reason, which 3.1.1 does not have.
    Disconnect(u8),
}

/// What a client hears.
#[derive(Debug)]
pub(crate) enum Heard {
    Connected {
        session_present: bool,
        code: u8,
    },
    Message(Box<Received>),
    Answer(Answer, u16, u8),
    Subscribed(u16, u8),
    Unsubscribed(u16),
    Pong,
    /// The broker ends a connection of 5.0, with a reason.
    Disconnect(u8),
}
