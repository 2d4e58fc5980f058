//! A publisher: numbered messages, kept until they are acknowledged.

use std::collections::VecDeque;

use crate::air::{Air, Conn, End};
use crate::names::Topic;
use crate::packet::{Message, Packet, PacketId, Time};

/// What a publisher keeps of a message.
#[derive(Clone, Copy, Debug)]
struct Kept {
    number: u32,
    empty: bool,
    /// 0: not sent yet.
    id: PacketId,
    /// QoS 2: it was received, and must only be released.
    received: bool,
}

/// It publishes to one topic.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) topic: Topic,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// One in so many of its messages is empty, and clears what it had published; none, if 0.
    pub(crate) clears: u32,
    /// After so many it falls silent.
    pub(crate) most: u32,
    /// Its number in the ledger.
    pub(crate) origin: u16,
    /// Time between two messages; without one it publishes when told.
    pub(crate) interval: Option<Time>,
    kept: VecDeque<Kept>,
    next_id: PacketId,
    conn: Option<Conn>,
}

impl Publisher {
    pub(crate) fn new(topic: Topic, qos: u8, retain: bool, origin: u16) -> Self {
        Self {
            topic,
            qos,
            retain,
            clears: 0,
            most: u32::MAX,
            origin,
            interval: None,
            kept: VecDeque::new(),
            next_id: 0,
            conn: None,
        }
    }

    /// Publishes the next message, now or when it can.
    pub(crate) fn publish(&mut self, empty: bool, conn: Option<Conn>, air: &mut Air) {
        let number = air.ledger.send(self.origin, air.clock.now());
        let kept = Kept {
            number,
            empty,
            id: 0,
            received: false,
        };
        if self.qos == 0 {
            if let Some(conn) = conn {
                let packet = self.packet(kept, false);
                air.send(conn, End::Opener, packet);
                // Nobody says so, but that is all there is.
                air.ledger.acknowledge(self.origin, number, air.clock.now());
            }
            return;
        }
        self.kept.push_back(kept);
        if let Some(conn) = conn.filter(|conn| self.conn == Some(*conn)) {
            let index = self.kept.len() - 1;
            self.send(index, conn, air);
        }
    }

    fn send(&mut self, index: usize, conn: Conn, air: &mut Air) {
        let mut kept = self.kept[index];
        let duplicate = kept.id != 0;
        if !duplicate {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            kept.id = self.next_id;
            self.kept[index] = kept;
        }
        let packet = if kept.received {
            Packet::PubRel { id: kept.id }
        } else {
            self.packet(kept, duplicate)
        };
        air.send(conn, End::Opener, packet);
    }

    fn packet(&self, kept: Kept, duplicate: bool) -> Packet {
        Packet::Publish {
            message: Message {
                topic: self.topic,
                origin: self.origin,
                number: kept.number,
                empty: kept.empty,
            },
            id: kept.id,
            qos: self.qos,
            retain: self.retain,
            duplicate,
        }
    }

    pub(super) fn hear(&mut self, packet: Packet, conn: Conn, air: &mut Air) {
        match packet {
            Packet::ConnAck { present } => {
                self.conn = Some(conn);
                if !present {
                    // The broker knows nothing of what was under way: it is sent as new.
                    for kept in &mut self.kept {
                        kept.id = 0;
                        kept.received = false;
                    }
                }
                for index in 0..self.kept.len() {
                    self.send(index, conn, air);
                }
            }
            Packet::PubAck { id } | Packet::PubComp { id } => {
                if let Some(index) = self.kept.iter().position(|kept| kept.id == id)
                    && let Some(kept) = self.kept.remove(index)
                {
                    air.ledger.acknowledge(self.origin, kept.number, air.clock.now());
                }
            }
            Packet::PubRec { id } => {
                if let Some(kept) = self.kept.iter_mut().find(|kept| kept.id == id) {
                    kept.received = true;
                }
                air.send(conn, End::Opener, Packet::PubRel { id });
            }
            _ => {}
        }
    }

    /// Publishes if it does so regularly; when next.
    pub(super) fn turn(&mut self, conn: Option<Conn>, air: &mut Air) -> Time {
        let next = air.ledger.count(self.origin);
        if self.interval.is_some() && next < self.most {
            let empty = self.clears > 0 && next % self.clears == self.clears - 1;
            self.publish(empty, conn, air);
        }
        self.interval.unwrap_or(crate::packet::SECOND / 2)
    }
}
