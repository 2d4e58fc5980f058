//! What passes between clients, brokers and bridges: MQTT at the granularity of whole packets.

use crate::names::{ClientId, Filter, Topic};

/// Virtual time in microseconds since the beginning.
pub(crate) type Time = u64;

/// One millisecond.
pub(crate) const MILLISECOND: Time = 1_000;

/// One second.
pub(crate) const SECOND: Time = 1_000_000;

/// A message that expires a second after it was published is there for so long at the most: brokers count whole seconds.
pub(crate) const LASTING: Time = 2 * SECOND;

/// A packet identifier.
pub(crate) type PacketId = u16;

/// A message: its content is who published it and which number it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: Topic,
    /// Who published it: counted by the ledger.
    pub(crate) origin: u16,
    /// Counted from 0 by each origin.
    pub(crate) number: u32,
    /// It has no payload: as a retained message it clears the topic.
    pub(crate) empty: bool,
}

/// A will, published when the client goes without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) message: Message,
    pub(crate) qos: u8,
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Connect {
        client: ClientId,
        clean: bool,
        /// It says that it is a bridge: no echo, and the retain flag is kept.
        bridge: bool,
        will: Option<Will>,
    },
    ConnAck {
        present: bool,
    },
    Subscribe {
        /// Retained messages are wanted.
        retained: bool,
        filter: Filter,
        qos: u8,
    },
    SubAck,
    Unsubscribe {
        filter: Filter,
    },
    UnsubAck,
    Publish {
        message: Message,
        id: PacketId,
        qos: u8,
        retain: bool,
        duplicate: bool,
    },
    PubAck {
        id: PacketId,
    },
    PubRec {
        id: PacketId,
    },
    PubRel {
        id: PacketId,
    },
    PubComp {
        id: PacketId,
    },
    Ping,
    Pong,
    Disconnect,
}

/// What arrives at an end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parcel {
    Packet(Packet),
    /// The other end closed it, or there was nobody.
    Closed,
}
