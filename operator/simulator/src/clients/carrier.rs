//! A carrier: takes what waits in a session that a bridge left, has others publish it elsewhere, and acknowledges what they
//! have got rid of. A marker of its own, behind all that waits, tells it that nothing does any more.

use std::collections::{BTreeSet, VecDeque};

use crate::air::{Air, ClientNumber, Conn, End, Happening};
use crate::ledger::PROBES;
use crate::names::{Filter, Topic};
use crate::packet::{Message, Packet, PacketId};
use crate::world::Errand;

/// The end that receives.
#[derive(Debug)]
pub(crate) struct Carrier {
    /// What the session may be subscribed to.
    unwanted: Vec<Filter>,
    filter: Filter,
    topic: Topic,
    /// Not published elsewhere yet, by everybody who is to: how many still have to.
    carried: Vec<(PacketId, u8, usize)>,
    /// Received with QoS 2, and not released.
    unreleased: BTreeSet<PacketId>,
    /// How many are to publish each.
    hands: usize,
    marked: bool,
    /// Only the end of its own subscription is still to be heard of.
    leaves: bool,
}

/// The end that publishes.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(super) carrier: ClientNumber,
    connected: bool,
    waiting: VecDeque<(Message, PacketId, u8)>,
    /// Under way, by its own identifier.
    open: Vec<(PacketId, PacketId)>,
    next_id: PacketId,
}

impl Carrier {
    pub(crate) fn new(client_id: &str, unwanted: Vec<Filter>, hands: usize, air: &mut Air) -> Self {
        let text = format!("$skein/adopted/{client_id}");
        Self {
            unwanted,
            filter: air.names.filter(&text),
            topic: air.names.topic(&text),
            carried: Vec::new(),
            unreleased: BTreeSet::new(),
            hands,
            marked: false,
            leaves: false,
        }
    }

    /// It hears something; true once it is done and leaves.
    pub(super) fn hear(&mut self, packet: Packet, conn: Conn, number: ClientNumber, air: &mut Air) -> bool {
        let mut say = |packet| air.send(conn, End::Opener, packet);
        match packet {
            Packet::ConnAck { present: false } => {
                air.errand_done(number, true);
                return true;
            }
            Packet::ConnAck { present: true } => {
                for filter in &self.unwanted {
                    say(Packet::Unsubscribe { filter: *filter });
                }
                say(Packet::Subscribe {
                    filter: self.filter,
                    qos: 1,
                    retained: false,
                });
            }
            Packet::SubAck => {
                let now = air.clock.now();
                let message = Message {
                    topic: self.topic,
                    origin: PROBES,
                    number: air.ledger.send(PROBES, now),
                    empty: false,
                };
                let marker = Packet::Publish {
                    message,
                    id: 1,
                    qos: 1,
                    retain: false,
                    duplicate: false,
                };
                air.send(conn, End::Opener, marker);
            }
            Packet::Publish { message, id, qos, .. } if message.topic == self.topic => {
                if qos > 0 {
                    say(Packet::PubAck { id });
                }
                self.marked = true;
            }
            Packet::Publish { message, id, qos, .. } => {
                if qos == 2 && !self.unreleased.insert(id) {
                    return false;
                }
                if qos > 0 {
                    self.carried.push((id, qos, self.hands));
                }
                let carry = Errand::Carry {
                    carrier: number,
                    message,
                    id,
                    qos,
                };
                air.clock.after(0, Happening::Errand(carry));
            }
            // The release of what somebody else has is for that one to hear.
            Packet::PubRel { id } if self.unreleased.remove(&id) => say(Packet::PubComp { id }),
            Packet::UnsubAck if self.leaves => {
                air.errand_done(number, true);
                return true;
            }
            _ => {}
        }
        self.leave_when_done(conn, air);
        false
    }

    /// One of those who publish has got rid of a message.
    pub(crate) fn deliver(&mut self, id: PacketId, conn: Option<Conn>, air: &mut Air) {
        let Some(index) = self.carried.iter().position(|(open, ..)| *open == id) else {
            return;
        };
        let (_, qos, left) = &mut self.carried[index];
        *left -= 1;
        if *left > 0 {
            return;
        }
        let answer = if *qos == 1 {
            Packet::PubAck { id }
        } else {
            Packet::PubRec { id }
        };
        self.carried.remove(index);
        if let Some(conn) = conn {
            air.send(conn, End::Opener, answer);
            self.leave_when_done(conn, air);
        }
    }

    fn leave_when_done(&mut self, conn: Conn, air: &mut Air) {
        if self.marked && self.carried.is_empty() && self.unreleased.is_empty() {
            self.marked = false;
            self.leaves = true;
            air.send(conn, End::Opener, Packet::Unsubscribe { filter: self.filter });
        }
    }
}

impl Hand {
    pub(crate) fn new(carrier: ClientNumber) -> Self {
        Self {
            carrier,
            connected: false,
            waiting: VecDeque::new(),
            open: Vec::new(),
            next_id: 0,
        }
    }

    /// Publishes a message that was carried, as soon as it can.
    pub(crate) fn publish(
        &mut self,
        message: Message,
        id: PacketId,
        qos: u8,
        conn: Option<Conn>,
        air: &mut Air,
    ) {
        self.waiting.push_back((message, id, qos));
        if let Some(conn) = conn.filter(|_| self.connected) {
            self.send(conn, air);
        }
    }

    fn send(&mut self, conn: Conn, air: &mut Air) {
        while let Some((message, carried, qos)) = self.waiting.pop_front() {
            let mut id = 0;
            if qos > 0 {
                self.next_id = self.next_id.checked_add(1).unwrap_or(1);
                id = self.next_id;
                self.open.push((id, carried));
            }
            let packet = Packet::Publish {
                message,
                id,
                qos,
                retain: false,
                duplicate: false,
            };
            air.send(conn, End::Opener, packet);
        }
    }

    pub(super) fn hear(&mut self, packet: Packet, conn: Conn, air: &mut Air) {
        match packet {
            Packet::ConnAck { .. } => {
                self.connected = true;
                self.send(conn, air);
            }
            Packet::PubRec { id } => air.send(conn, End::Opener, Packet::PubRel { id }),
            Packet::PubAck { id } | Packet::PubComp { id } => {
                if let Some(index) = self.open.iter().position(|(own, _)| *own == id) {
                    let (_, id) = self.open.remove(index);
                    let delivered = Errand::Delivered {
                        carrier: self.carrier,
                        id,
                    };
                    air.clock.after(0, Happening::Errand(delivered));
                }
            }
            _ => {}
        }
    }
}
