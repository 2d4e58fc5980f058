//! One Mosquitto: sessions, subscriptions, queues, retained messages, bridges, and what survives what.
//!
//! Modelled as measured (`e2e/tests/model.rs` runs the same scripts on this and on real brokers). It knows packets and
//! configurations; it does not know supervisors, engines or plans.

mod bridge;
mod publish;
mod session;
mod setup;
mod store;

use std::collections::BTreeMap;

pub(crate) use self::bridge::Bridge;
pub(crate) use self::session::{Session, Subscription};
pub(crate) use self::setup::{Section, Setup};
use self::store::Store;
use crate::air::{Air, BrokerId, Brokers, Conn, End, Happening, MOST_BROKERS};
use crate::names::{ClientId, Topic};
use crate::packet::{Message, Packet, Parcel, Will};

/// What the model distinguishes of Mosquitto's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// 2.0.11.
    Oldest,
    /// 2.1.2.
    Newest,
}

impl Series {
    /// The version's number.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::Oldest => "2.0.11",
            Self::Newest => "2.1.2",
        }
    }
}

/// A retained message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retained {
    pub(crate) message: Message,
    pub(crate) qos: u8,
    /// Who published it; none: the controller.
    pub(crate) source: Option<ClientId>,
}

/// One broker.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) id: BrokerId,
    pub(crate) series: Series,
    /// A process runs.
    pub(crate) running: bool,
    /// The process is stopped in its tracks: connections are accepted, nothing is done.
    pub(crate) hung: bool,
    /// Counts processes.
    pub(crate) life: u32,
    setup: Setup,
    sessions: BTreeMap<ClientId, Session>,
    retained: BTreeMap<Topic, Retained>,
    bridges: Vec<Bridge>,
    /// Which session a connection belongs to.
    conns: BTreeMap<Conn, ClientId>,
    /// What is on disk beside what is in memory.
    saved: Option<Store>,
    /// The classic store is going to be saved for what has happened.
    saving: bool,
    /// What arrived while it was hung.
    backlog: Vec<Happening>,
    serials: u32,
    /// The controller's clients are subscribed to all that begins with `$skein/` and wait for these.
    pub(crate) watched: Vec<Topic>,
    /// Numbers the messages that are kept for somebody.
    newest: u64,
    /// Messages that a full queue did not take.
    pub(crate) dropped: u64,
    /// Whose bridges are kept out.
    barred: Brokers,
    /// The last order to do so.
    barred_at: u64,
}

impl Broker {
    pub(crate) fn new(id: BrokerId, series: Series) -> Self {
        Self {
            id,
            series,
            running: false,
            hung: false,
            life: 0,
            setup: Setup::default(),
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            bridges: Vec::new(),
            conns: BTreeMap::new(),
            saved: None,
            saving: false,
            backlog: Vec::new(),
            serials: 0,
            watched: Vec::new(),
            newest: 0,
            dropped: 0,
            barred: 0,
            barred_at: 0,
        }
    }

    /// Starts a process, which goes on from what is on disk.
    pub(crate) fn start(&mut self, setup: Setup, barred: Brokers, air: &mut Air) {
        if self.running {
            return;
        }
        self.barred = barred;
        self.running = true;
        self.hung = false;
        self.life += 1;
        self.setup = setup;
        self.restore();
        self.saving = false;
        self.begin_bridges(air);
    }

    /// Ends the process politely (SIGTERM): what it keeps is saved.
    pub(crate) fn stop(&mut self, air: &mut Air) {
        if !self.running {
            return;
        }
        self.save_at_end();
        self.end(air);
    }

    /// Ends the process at once (SIGKILL).
    pub(crate) fn kill(&mut self, air: &mut Air) {
        if !self.running {
            return;
        }
        self.save_killed();
        self.end(air);
    }

    fn end(&mut self, air: &mut Air) {
        let conns: Vec<Conn> = std::mem::take(&mut self.conns).into_keys().collect();
        for conn in conns {
            let end = self.own_end(conn, air);
            air.close(conn, end);
        }
        for bridge in std::mem::take(&mut self.bridges) {
            if let Some(conn) = bridge.conn {
                air.close(conn, End::Opener);
            }
        }
        // What arrived at a hung process and was never read.
        for happening in std::mem::take(&mut self.backlog) {
            if let Happening::Arrive { conn, end, .. } = happening {
                air.close(conn, end);
            }
        }
        self.sessions.clear();
        self.retained.clear();
        self.running = false;
        self.hung = false;
    }

    /// What is on disk is gone.
    pub(crate) fn lose_volume(&mut self) {
        self.saved = None;
    }

    /// Stops the process in its tracks, or lets it go on: then it reads all that arrived.
    pub(crate) fn hang(&mut self, hung: bool, air: &mut Air) {
        self.hung = hung && self.running;
        if !self.hung {
            for happening in std::mem::take(&mut self.backlog) {
                air.clock.after(0, happening);
            }
        }
    }

    /// A hung process does nothing: what happens to it waits.
    pub(crate) fn postpone(&mut self, happening: Happening) -> Option<Happening> {
        if self.hung {
            self.backlog.push(happening);
            return None;
        }
        Some(happening)
    }

    fn own_end(&self, conn: Conn, air: &Air) -> End {
        let own = Some(crate::air::Party::Broker(self.id));
        // A bridge to itself does not exist.
        if air.party(conn, End::Opener) == own {
            End::Opener
        } else {
            End::Acceptor
        }
    }

    /// A parcel arrives on a connection that this broker accepted or opened.
    pub(crate) fn receive(&mut self, conn: Conn, end: End, parcel: Parcel, air: &mut Air) {
        if !self.running {
            air.close(conn, end);
            return;
        }
        if end == End::Opener && self.receive_as_bridge(conn, parcel, air) {
            return;
        }
        match parcel {
            Parcel::Closed => {
                air.close(conn, end);
                self.gone(conn, false, air);
            }
            Parcel::Packet(packet) => self.packet(conn, end, packet, air),
        }
    }

    fn packet(&mut self, conn: Conn, end: End, packet: Packet, air: &mut Air) {
        if let Packet::Connect {
            client,
            clean,
            bridge,
            will,
        } = packet
        {
            self.connect(conn, client, clean, bridge, will, air);
            return;
        }
        let Some(client) = self.conns.get(&conn).copied() else {
            return;
        };
        // A QoS 2 message that was received and is not released is saved with other changes and is none itself.
        if !matches!(packet, Packet::Publish { qos: 2, .. } | Packet::Ping) {
            self.plan_save(air);
        }
        match packet {
            Packet::Subscribe {
                filter,
                qos,
                retained,
            } => {
                self.subscribe(client, filter, qos);
                air.send(conn, end, Packet::SubAck);
                if retained {
                    self.send_retained(client, filter, qos, air);
                }
            }
            Packet::Unsubscribe { filter } => {
                if let Some(session) = self.sessions.get_mut(&client) {
                    session.unsubscribe(filter);
                }
                air.send(conn, end, Packet::UnsubAck);
            }
            Packet::Publish {
                message,
                id,
                qos,
                retain,
                ..
            } => self.take_publish(client, conn, end, message, id, qos, retain, air),
            Packet::PubRel { id } => self.take_release(client, conn, end, id, air),
            Packet::PubAck { id } | Packet::PubComp { id } => self.take_done(client, id, air),
            Packet::PubRec { id } => self.take_received(client, conn, end, id, air),
            Packet::Ping => air.send(conn, end, Packet::Pong),
            Packet::Disconnect => {
                air.close(conn, end);
                self.gone(conn, true, air);
            }
            Packet::Connect { .. }
            | Packet::ConnAck { .. }
            | Packet::SubAck
            | Packet::UnsubAck
            | Packet::Pong => {}
        }
    }

    fn connect(
        &mut self,
        conn: Conn,
        client: ClientId,
        clean: bool,
        bridge: bool,
        will: Option<Will>,
        air: &mut Air,
    ) {
        if bridge && self.bars(conn, air) {
            air.close(conn, End::Acceptor);
            return;
        }
        if let Some(old) = self.sessions.get(&client).and_then(|session| session.conn) {
            air.ledger.takeover(self.id, client, air.clock.now());
            air.close(old, End::Acceptor);
            // A client of 3.1.1 that is taken over leaves no will.
            self.gone(old, true, air);
        }
        let present = !clean && self.sessions.get(&client).is_some_and(|session| !session.clean);
        if !present {
            self.sessions.insert(client, Session::new(clean));
        }
        if let Some(session) = self.sessions.get_mut(&client) {
            session.conn = Some(conn);
            session.end = End::Acceptor;
            session.bridge = bridge;
            session.will = will;
        }
        self.conns.insert(conn, client);
        air.send(conn, End::Acceptor, Packet::ConnAck { present });
        self.resume(client, air);
    }

    /// A connection is over.
    fn gone(&mut self, conn: Conn, politely: bool, air: &mut Air) {
        let Some(client) = self.conns.remove(&conn) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        if session.conn != Some(conn) {
            return;
        }
        session.conn = None;
        let will = session.will.take();
        if session.clean {
            self.sessions.remove(&client);
        }
        if let (Some(will), false) = (will, politely) {
            self.route(Some(client), will.message, will.qos, false, None, air);
        }
    }

    fn bars(&self, conn: Conn, air: &Air) -> bool {
        let origin = air.origin(conn);
        // The controller is no broker, whomever it stands in for.
        origin < MOST_BROKERS && self.barred & (1 << origin) != 0
    }

    /// Ends the bridges of these, and lets none of them in from now on; their sessions go on collecting. False if a later order has
    /// come.
    pub(crate) fn bar(&mut self, downstreams: Brokers, turn: u64, air: &mut Air) -> bool {
        if turn < self.barred_at {
            return false;
        }
        self.barred_at = turn;
        self.barred = downstreams;
        let held = self
            .sessions
            .values()
            .filter(|session| session.bridge && !session.local);
        let barred: Vec<Conn> = held
            .filter_map(|session| session.conn)
            .filter(|conn| self.bars(*conn, air))
            .collect();
        for conn in barred {
            air.close(conn, End::Acceptor);
            self.gone(conn, true, air);
        }
        true
    }

    /// The controller publishes a probe or a marker here.
    pub(crate) fn publish_probe(&mut self, message: Message, qos: u8, air: &mut Air) {
        if self.running {
            self.plan_save(air);
            self.route(None, message, qos, false, None, air);
        }
    }

    /// Its sessions.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (ClientId, &Session)> {
        self.sessions.iter().map(|(client, session)| (*client, session))
    }

    /// What it retains on a topic.
    pub(crate) fn retained(&self, topic: Topic) -> Option<Message> {
        self.retained.get(&topic).map(|kept| kept.message)
    }

    pub(crate) fn bridges(&self) -> &[Bridge] {
        &self.bridges
    }

    /// The classic store is due to be saved.
    pub(crate) fn save_due(&mut self, life: u32) {
        if self.running && self.life == life {
            self.save();
        }
    }
}
