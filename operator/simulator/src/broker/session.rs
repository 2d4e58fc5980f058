//! One session: its subscriptions, what waits for it and what is on its way to or from it.

use std::collections::VecDeque;

use super::Broker;
use crate::air::{Air, Conn, End};
use crate::names::{ClientId, Filter};
use crate::packet::{Message, Packet, PacketId, Time, Will};

/// One subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) filter: Filter,
    pub(crate) qos: u8,
    /// A bridge's: no echo, and the retain flag is kept.
    pub(crate) bridge: bool,
}

/// How far a message to a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Queued,
    /// Sent, not acknowledged.
    Sent,
    /// QoS 2: received, released, not completed.
    Released,
}

/// A message to a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    pub(crate) message: Message,
    pub(crate) id: PacketId,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) stage: Stage,
    /// By which its broker keeps it.
    pub(crate) number: u64,
    /// It is not sent after that.
    pub(crate) until: Option<Time>,
}

/// A QoS 2 message from a client that is not released yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    pub(crate) message: Message,
    pub(crate) id: PacketId,
    pub(crate) retain: bool,
}

/// One session, of a client or of this broker's own bridge.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts, not a state")]
pub(crate) struct Session {
    pub(crate) clean: bool,
    pub(crate) conn: Option<Conn>,
    /// The end that this broker has of `conn`.
    pub(crate) end: End,
    /// The client at the other end is a bridge, or this is the session of an own bridge.
    pub(crate) bridge: bool,
    /// It is the session of an own bridge, or was.
    pub(crate) local: bool,
    /// An own bridge that clears the retain flag of what it sends.
    pub(crate) clears_retain: bool,
    pub(crate) subscriptions: Vec<Subscription>,
    /// Those under way first, in order; then those that wait.
    pub(crate) out: VecDeque<Outgoing>,
    pub(crate) incoming: Vec<Incoming>,
    pub(crate) will: Option<Will>,
    next_id: PacketId,
}

impl Session {
    pub(crate) fn new(clean: bool) -> Self {
        Self {
            clean,
            conn: None,
            end: End::Acceptor,
            bridge: false,
            local: false,
            clears_retain: false,
            subscriptions: Vec::new(),
            out: VecDeque::new(),
            incoming: Vec::new(),
            will: None,
            next_id: 0,
        }
    }

    pub(crate) fn next_id(&mut self) -> PacketId {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }

    pub(crate) fn unsubscribe(&mut self, filter: Filter) {
        self.subscriptions.retain(|held| held.filter != filter);
    }

    pub(crate) fn under_way(&self) -> usize {
        self.out
            .iter()
            .take_while(|outgoing| outgoing.stage != Stage::Queued)
            .count()
    }
}

impl Broker {
    pub(super) fn subscribe(&mut self, client: ClientId, filter: Filter, qos: u8) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let subscription = Subscription {
            filter,
            qos,
            bridge: session.bridge,
        };
        match session
            .subscriptions
            .iter_mut()
            .find(|held| held.filter == filter)
        {
            Some(held) => *held = subscription,
            None => session.subscriptions.push(subscription),
        }
    }

    /// Sends again what was under way when the last connection ended, and then what waits.
    pub(super) fn resume(&mut self, client: ClientId, air: &mut Air) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let Some(conn) = session.conn else { return };
        for outgoing in &session.out {
            let packet = match outgoing.stage {
                Stage::Queued => break,
                Stage::Sent => publish(outgoing, true, session.clears_retain),
                Stage::Released => Packet::PubRel { id: outgoing.id },
            };
            air.send(conn, session.end, packet);
        }
        self.promote(client, air);
    }

    /// Sends what waits, as far as the limit of those under way allows.
    pub(super) fn promote(&mut self, client: ClientId, air: &mut Air) {
        let most = self.setup.most_under_way();
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let Some(conn) = session.conn else { return };
        let mut index = session.under_way();
        while index < most && index < session.out.len() {
            let mut outgoing = session.out[index];
            if outgoing.until.is_some_and(|until| until <= air.now()) {
                session.out.remove(index);
                continue;
            }
            if outgoing.qos == 0 {
                session.out.remove(index);
            } else {
                outgoing.id = session.next_id();
                outgoing.stage = Stage::Sent;
                session.out[index] = outgoing;
                index += 1;
            }
            let packet = publish(&outgoing, false, session.clears_retain);
            air.send(conn, session.end, packet);
        }
    }
}

pub(super) fn publish(outgoing: &Outgoing, duplicate: bool, clears_retain: bool) -> Packet {
    Packet::Publish {
        message: outgoing.message,
        id: outgoing.id,
        qos: outgoing.qos,
        retain: outgoing.retain && !clears_retain,
        duplicate,
    }
}
