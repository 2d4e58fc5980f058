//! A client in a script's hands: does what it is told, once, and keeps what comes.

use crate::air::{Air, Conn, End};
use crate::names::Filter;
use crate::packet::{Message, Packet, PacketId};

/// It never connects again by itself.
#[derive(Debug)]
pub(crate) struct Bench {
    /// It acknowledges nothing.
    silent: bool,
    /// It releases nothing by itself.
    holds: bool,
    /// Requests that are not answered.
    pub(crate) open: usize,
    /// What came, with the retain flag.
    pub(crate) heard: Vec<(Message, bool)>,
    unreleased: Vec<PacketId>,
    next_id: PacketId,
}

impl Bench {
    pub(crate) fn new(silent: bool) -> Self {
        Self {
            silent,
            holds: false,
            open: 0,
            heard: Vec::new(),
            unreleased: Vec::new(),
            next_id: 0,
        }
    }

    pub(crate) fn subscribe(&mut self, filter: Filter, qos: u8, conn: Conn, air: &mut Air) {
        self.open += 1;
        air.send(
            conn,
            End::Opener,
            Packet::Subscribe {
                filter,
                qos,
                retained: true,
            },
        );
    }

    pub(crate) fn unsubscribe(&mut self, filter: Filter, conn: Conn, air: &mut Air) {
        self.open += 1;
        air.send(conn, End::Opener, Packet::Unsubscribe { filter });
    }

    pub(crate) fn publish(&mut self, message: Message, qos: u8, retain: bool, conn: Conn, air: &mut Air) {
        self.open += usize::from(qos > 0);
        self.next_id += 1;
        let publish = Packet::Publish {
            message,
            id: self.next_id,
            qos,
            retain,
            duplicate: false,
        };
        air.send(conn, End::Opener, publish);
    }

    /// Publishes with QoS 2 and leaves it at that.
    pub(crate) fn begin(&mut self, message: Message, id: PacketId, conn: Conn, air: &mut Air) {
        self.open += 1;
        self.holds = true;
        let publish = Packet::Publish {
            message,
            id,
            qos: 2,
            retain: false,
            duplicate: false,
        };
        air.send(conn, End::Opener, publish);
    }

    /// Releases what was begun, on whichever connection.
    pub(crate) fn release(&mut self, ids: &[PacketId], conn: Conn, air: &mut Air) {
        self.open += ids.len();
        for id in ids {
            air.send(conn, End::Opener, Packet::PubRel { id: *id });
        }
    }

    pub(super) fn hear(&mut self, packet: Packet, conn: Conn, air: &mut Air) {
        match packet {
            Packet::SubAck | Packet::UnsubAck | Packet::PubAck { .. } | Packet::PubComp { .. } => {
                self.open = self.open.saturating_sub(1);
            }
            Packet::PubRec { .. } if self.holds => self.open = self.open.saturating_sub(1),
            Packet::PubRec { id } => air.send(conn, End::Opener, Packet::PubRel { id }),
            Packet::Publish {
                message,
                id,
                qos,
                retain,
                ..
            } => {
                if qos < 2 || !self.unreleased.contains(&id) {
                    self.heard.push((message, retain));
                }
                match qos {
                    _ if self.silent => {}
                    0 => {}
                    1 => air.send(conn, End::Opener, Packet::PubAck { id }),
                    _ => {
                        self.unreleased.push(id);
                        air.send(conn, End::Opener, Packet::PubRec { id });
                    }
                }
            }
            Packet::PubRel { id } => {
                self.unreleased.retain(|held| *held != id);
                air.send(conn, End::Opener, Packet::PubComp { id });
            }
            _ => {}
        }
    }
}
