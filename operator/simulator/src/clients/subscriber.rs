//! A subscriber: one filter, with a session that lasts or does not, and a record of what came.
//!
//! It subscribes whenever it connects. One that trusts "session present" instead is deaf for ever once an earlier
//! attempt got as far as CONNECT and no further at the broker that it is led back to.

use crate::air::{Air, Conn, End};
use crate::names::Filter;
use crate::packet::{Message, Packet, PacketId};

/// It subscribes one filter.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) filter: Filter,
    pub(crate) qos: u8,
    /// Its number in the ledger.
    pub(crate) receiver: usize,
    /// QoS 2 messages that are not released yet: a repetition of one is no second copy.
    unreleased: Vec<(PacketId, Message)>,
}

impl Subscriber {
    pub(crate) fn new(filter: Filter, qos: u8, receiver: usize) -> Self {
        Self {
            filter,
            qos,
            receiver,
            unreleased: Vec::new(),
        }
    }

    pub(super) fn hear(&mut self, packet: Packet, conn: Conn, air: &mut Air) {
        match packet {
            Packet::ConnAck { present } => {
                if !present {
                    self.unreleased.clear();
                    air.ledger.fresh_session(self.receiver);
                }
                let (filter, qos) = (self.filter, self.qos);
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
            Packet::SubAck => {
                air.ledger.subscribed(self.receiver, air.clock.now());
            }
            Packet::Publish { message, id, qos, .. } => {
                let held = self.unreleased.iter().find(|(held, _)| *held == id);
                match held.filter(|_| qos == 2) {
                    Some((_, held)) if *held == message => {}
                    // It is led to another session in the midst of an exchange, and cannot know that.
                    Some(_) => air.ledger.mistake(self.receiver, message),
                    None => {
                        if qos == 2 {
                            self.unreleased.push((id, message));
                        }
                        air.ledger.receive(self.receiver, message);
                    }
                }
                match qos {
                    0 => {}
                    1 => air.send(conn, End::Opener, Packet::PubAck { id }),
                    _ => air.send(conn, End::Opener, Packet::PubRec { id }),
                }
            }
            Packet::PubRel { id } => {
                self.unreleased.retain(|(held, _)| *held != id);
                air.send(conn, End::Opener, Packet::PubComp { id });
            }
            _ => {}
        }
    }
}
