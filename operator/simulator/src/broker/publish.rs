//! A message's way through a broker: in from a session, out to all whose subscriptions match.

use super::session::{Incoming, Outgoing, Stage, publish};
use super::{Broker, Retained, Series};
use crate::air::{Air, Conn, End};
use crate::names::{ClientId, Filter, Topic};
use crate::packet::{LASTING, Message, Packet, PacketId, Time};

impl Broker {
    #[allow(clippy::too_many_arguments, reason = "the fields of one packet")]
    pub(super) fn take_publish(
        &mut self,
        client: ClientId,
        conn: Conn,
        end: End,
        message: Message,
        id: PacketId,
        qos: u8,
        retain: bool,
        air: &mut Air,
    ) {
        match qos {
            0 => self.route(Some(client), message, 0, retain, None, air),
            1 => {
                self.route(Some(client), message, 1, retain, None, air);
                air.send(conn, end, Packet::PubAck { id });
            }
            _ => {
                let most = self.setup.most_under_way();
                if let Some(session) = self.sessions.get_mut(&client) {
                    let known = session.incoming.iter().position(|incoming| incoming.id == id);
                    // Another message has taken the identifier of one that was never released.
                    let reused = known.filter(|index| session.incoming[*index].message != message);
                    if let Some(index) = reused {
                        session.incoming.remove(index);
                    }
                    // One more than the limit is completed and thrown away.
                    let is_new = known.is_none() || reused.is_some();
                    if is_new && session.incoming.len() < most {
                        session.incoming.push(Incoming { message, id, retain });
                    }
                }
                air.send(conn, end, Packet::PubRec { id });
            }
        }
    }

    /// QoS 2: only now is the message passed on, so that one of QoS 1 behind it may overtake it.
    pub(super) fn take_release(
        &mut self,
        client: ClientId,
        conn: Conn,
        end: End,
        id: PacketId,
        air: &mut Air,
    ) {
        let released = self.sessions.get_mut(&client).and_then(|session| {
            let index = session.incoming.iter().position(|incoming| incoming.id == id)?;
            Some(session.incoming.remove(index))
        });
        if let Some(incoming) = released {
            self.route(Some(client), incoming.message, 2, incoming.retain, None, air);
        }
        air.send(conn, end, Packet::PubComp { id });
    }

    /// QoS 1 is acknowledged, QoS 2 completed.
    pub(super) fn take_done(&mut self, client: ClientId, id: PacketId, air: &mut Air) {
        if let Some(session) = self.sessions.get_mut(&client) {
            let index = session
                .out
                .iter()
                .position(|outgoing| outgoing.stage != Stage::Queued && outgoing.id == id);
            if let Some(index) = index {
                session.out.remove(index);
                self.promote(client, air);
            }
        }
    }

    pub(super) fn take_received(
        &mut self,
        client: ClientId,
        conn: Conn,
        end: End,
        id: PacketId,
        air: &mut Air,
    ) {
        if let Some(session) = self.sessions.get_mut(&client) {
            let sent = session
                .out
                .iter_mut()
                .find(|outgoing| outgoing.stage != Stage::Queued && outgoing.id == id);
            if let Some(sent) = sent {
                sent.stage = Stage::Released;
            }
        }
        air.send(conn, end, Packet::PubRel { id });
    }

    /// The controller publishes a retained message here.
    pub(crate) fn put(&mut self, message: Message, qos: u8, passing: bool, air: &mut Air) {
        self.plan_save(air);
        let until = passing.then(|| air.now() + LASTING);
        self.route(None, message, qos, true, until, air);
        if passing {
            // It is not there for anybody who comes when that time is over, and nobody comes before.
            self.retained.remove(&message.topic);
        }
    }

    /// To all whose subscriptions match, but for a bridge that it came from. It may pass away while it waits.
    pub(super) fn route(
        &mut self,
        source: Option<ClientId>,
        message: Message,
        qos: u8,
        retain: bool,
        until: Option<Time>,
        air: &mut Air,
    ) {
        air.ledger.passes(self.id, message);
        if retain {
            if message.empty {
                self.retained.remove(&message.topic);
            } else {
                let kept = Retained { message, qos, source };
                self.retained.insert(message.topic, kept);
            }
        }
        if self.watched.contains(&message.topic) {
            air.seen(self.id, message);
        }
        let clients: Vec<ClientId> = self
            .sessions
            .iter()
            .filter(|(_, session)| !session.subscriptions.is_empty())
            .map(|(client, _)| *client)
            .collect();
        for client in clients {
            self.offer(client, source, message, qos, retain, until, air);
        }
    }

    /// One copy, or one for each subscription that matches.
    #[allow(clippy::too_many_arguments, reason = "all that is known of one message")]
    fn offer(
        &mut self,
        client: ClientId,
        source: Option<ClientId>,
        message: Message,
        qos: u8,
        retain: bool,
        until: Option<Time>,
        air: &mut Air,
    ) {
        // 2.0 gives a 3.1.1 client one copy whatever the option says.
        let one = !self.setup.allow_duplicates || self.series == Series::Oldest;
        let mut index = 0;
        let mut delivered = false;
        while let Some(held) = self
            .sessions
            .get(&client)
            .and_then(|session| session.subscriptions.get(index))
            .copied()
        {
            index += 1;
            let echo = held.bridge && source == Some(client);
            if echo || !air.names.matches(held.filter, message.topic) {
                continue;
            }
            let retain = retain && held.bridge;
            // What is passed on with its retain flag is not looked at twice.
            if delivered && one && !retain {
                continue;
            }
            delivered = true;
            self.deliver(client, message, qos.min(held.qos), retain, until, air);
        }
    }

    fn deliver(
        &mut self,
        client: ClientId,
        message: Message,
        qos: u8,
        retain: bool,
        until: Option<Time>,
        air: &mut Air,
    ) {
        let most = self.setup.most_under_way();
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        self.newest += 1;
        let mut outgoing = Outgoing {
            message,
            id: 0,
            qos,
            retain,
            stage: Stage::Queued,
            number: self.newest,
            until,
        };
        match session.conn {
            Some(conn) if qos == 0 => {
                air.send(
                    conn,
                    session.end,
                    publish(&outgoing, false, session.clears_retain),
                );
                return;
            }
            Some(conn) if session.under_way() == session.out.len() && session.out.len() < most => {
                outgoing.id = session.next_id();
                outgoing.stage = Stage::Sent;
                session.out.push_back(outgoing);
                air.send(
                    conn,
                    session.end,
                    publish(&outgoing, false, session.clears_retain),
                );
                return;
            }
            None if qos == 0 && !self.setup.queue_qos0 => return,
            _ => {}
        }
        if self.setup.most_queued > 0 && session.out.len() >= self.setup.most_queued {
            self.dropped += 1;
            return;
        }
        session.out.push_back(outgoing);
    }

    /// Retained messages for a subscription, every time it is made.
    pub(super) fn send_retained(&mut self, client: ClientId, filter: Filter, qos: u8, air: &mut Air) {
        let topics: Vec<Topic> = self.retained.keys().copied().collect();
        for topic in topics {
            if air.names.matches(filter, topic)
                && let Some(kept) = self.retained.get(&topic).copied()
            {
                self.deliver(client, kept.message, qos.min(kept.qos), true, None, air);
            }
        }
    }
}
