//! Clients: publishers that keep what is not acknowledged, subscribers, and envoys that stand in for a bridge for a moment.
//!
//! A client connects to a client address, which leads to some broker, and comes back by itself. What it published, had
//! acknowledged and received is in the ledger.

mod bench;
mod carrier;
mod envoy;
mod publisher;
mod subscriber;

pub(crate) use self::bench::Bench;
pub(crate) use self::carrier::{Carrier, Hand};
pub(crate) use self::envoy::{Envoy, Mission};
pub(crate) use self::publisher::Publisher;
pub(crate) use self::subscriber::Subscriber;
use crate::air::{Air, BrokerId, CLIENTS, CONTROLLER, ClientNumber, Conn, End, Happening, Party};
use crate::names::ClientId;
use crate::packet::{MILLISECOND, Packet, Parcel, SECOND, Time, Will};

/// A broker that says nothing for so long is taken for hung.
const SILENCE: Time = 2 * SECOND;
/// How often a client asks whether anybody is there.
const PING: Time = SECOND;
/// The turn in which a client connects again.
pub(crate) const RECONNECT: u32 = u32::MAX;

/// Where a client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The client address of a broker, wherever it leads.
    Address(BrokerId),
    /// This very broker.
    Broker(BrokerId),
}

/// What a client does.
#[derive(Debug)]
pub(crate) enum Role {
    Publisher(Publisher),
    Subscriber(Subscriber),
    Envoy(Envoy),
    Bench(Bench),
    Carrier(Carrier),
    Hand(Hand),
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: ClientNumber,
    pub(crate) id: ClientId,
    pub(crate) target: Target,
    pub(crate) clean: bool,
    pub(crate) will: Option<Will>,
    /// It wants to be connected.
    pub(crate) online: bool,
    pub(crate) conn: Option<Conn>,
    /// It was let in.
    pub(crate) connected: bool,
    pub(crate) role: Role,
    heard: Time,
    pinged: Time,
}

impl Client {
    pub(crate) fn new(number: ClientNumber, id: ClientId, target: Target, clean: bool, role: Role) -> Self {
        Self {
            number,
            id,
            target,
            clean,
            will: None,
            online: true,
            conn: None,
            connected: false,
            role,
            heard: 0,
            pinged: 0,
        }
    }

    /// Connects if it wants to be and is not.
    pub(crate) fn connect(&mut self, air: &mut Air) {
        if self.conn.is_some() || !self.online {
            return;
        }
        let to = match self.target {
            Target::Address(home) => air.addresses[home],
            Target::Broker(broker) => broker,
        };
        let place = if matches!(self.role, Role::Envoy(_) | Role::Carrier(_) | Role::Hand(_)) {
            CONTROLLER
        } else {
            CLIENTS
        };
        let connect = Packet::Connect {
            client: self.id,
            clean: self.clean,
            // What gathers in the session of a link to come is to keep its retain flag.
            bridge: matches!(&self.role, Role::Envoy(envoy) if envoy.is_for_link()),
            will: self.will,
        };
        self.heard = air.now();
        self.conn = Some(air.open(Party::Client(self.number), place, to, connect));
    }

    /// Closes the connection, without a word or with one.
    pub(crate) fn leave(&mut self, politely: bool, air: &mut Air) {
        if let Some(conn) = self.conn.take() {
            if politely {
                air.send(conn, End::Opener, Packet::Disconnect);
            }
            air.close(conn, End::Opener);
        }
        self.connected = false;
    }

    /// Goes offline or comes back.
    pub(crate) fn set_online(&mut self, online: bool, air: &mut Air) {
        self.online = online;
        if online {
            self.connect(air);
        } else {
            self.leave(true, air);
        }
    }

    /// Its address leads elsewhere: the forwarder closes what led to the old place.
    pub(crate) fn retarget(&mut self, home: BrokerId, air: &mut Air) {
        if self.target == Target::Address(home) && self.conn.is_some() {
            self.leave(false, air);
            self.later(air);
        }
    }

    fn later(&self, air: &mut Air) {
        let pause = air.random.between(20, 150) * MILLISECOND;
        let client = self.number;
        air.clock.after(
            pause,
            Happening::Client {
                client,
                turn: RECONNECT,
            },
        );
    }

    /// A parcel on a connection that it opened.
    pub(crate) fn receive(&mut self, conn: Conn, parcel: Parcel, air: &mut Air) {
        if self.conn != Some(conn) {
            air.close(conn, End::Opener);
            return;
        }
        self.heard = air.now();
        match parcel {
            Parcel::Closed => {
                air.close(conn, End::Opener);
                self.conn = None;
                self.connected = false;
                let errand = self.give_up(air);
                if errand {
                    self.online = false;
                } else if self.online && !matches!(self.role, Role::Bench(_)) {
                    self.later(air);
                }
            }
            Parcel::Packet(packet) => {
                if matches!(packet, Packet::ConnAck { .. }) {
                    self.connected = true;
                }
                match &mut self.role {
                    Role::Publisher(publisher) => publisher.hear(packet, conn, air),
                    Role::Subscriber(subscriber) => subscriber.hear(packet, conn, air),
                    Role::Bench(bench) => bench.hear(packet, conn, air),
                    Role::Hand(hand) => hand.hear(packet, conn, air),
                    Role::Envoy(envoy) => {
                        if envoy.hear(packet, conn, self.number, air) {
                            self.online = false;
                            self.leave(true, air);
                        }
                    }
                    Role::Carrier(carrier) => {
                        if carrier.hear(packet, conn, self.number, air) {
                            self.online = false;
                            self.leave(true, air);
                        }
                    }
                }
            }
        }
    }

    /// Its time has come: to connect again, or to do what it does regularly.
    pub(crate) fn turn(&mut self, turn: u32, air: &mut Air) {
        if turn == RECONNECT {
            self.connect(air);
            return;
        }
        let conn = self.conn.filter(|_| self.connected);
        let next = match &mut self.role {
            Role::Publisher(publisher) => Some(publisher.turn(conn, air)),
            Role::Subscriber(_) => Some(PING / 2),
            Role::Bench(_) | Role::Hand(_) => None,
            Role::Envoy(_) | Role::Carrier(_) => {
                if self.online {
                    self.online = false;
                    self.give_up(air);
                    self.leave(false, air);
                }
                None
            }
        };
        self.mind_silence(air);
        if let Some(next) = next {
            let client = self.number;
            air.clock.after(next, Happening::Client { client, turn: 0 });
        }
    }

    /// One that is out on an errand says that it cannot do it; true if it is.
    fn give_up(&mut self, air: &mut Air) -> bool {
        match &self.role {
            Role::Envoy(_) | Role::Carrier(_) => air.errand_done(self.number, false),
            // What it was to publish, it cannot.
            Role::Hand(hand) => air.errand_done(hand.carrier, false),
            Role::Publisher(_) | Role::Subscriber(_) | Role::Bench(_) => return false,
        }
        true
    }

    fn mind_silence(&mut self, air: &mut Air) {
        let Some(conn) = self.conn else { return };
        let now = air.now();
        if now.saturating_sub(self.heard) > SILENCE {
            self.leave(false, air);
            self.later(air);
        } else if self.connected && now.saturating_sub(self.pinged) >= PING {
            self.pinged = now;
            air.send(conn, End::Opener, Packet::Ping);
        }
    }
}
