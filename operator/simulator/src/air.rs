//! What brokers and clients share: time, chance, names, and the network between places, which can be cut and slow.
//!
//! Knows connections and parcels; does not know what a packet means.

use std::collections::VecDeque;

use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::names::Names;
use crate::packet::{MILLISECOND, Packet, Parcel, Time};
use crate::random::Random;
use crate::world::Errand;

/// The number of a broker.
pub(crate) type BrokerId = usize;

/// The number of a client.
pub(crate) type ClientNumber = usize;

/// The number of a connection.
pub(crate) type Conn = usize;

/// One side of a connection: who opened it, or who accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Opener,
    Acceptor,
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Opener => Self::Acceptor,
            Self::Acceptor => Self::Opener,
        }
    }
}

/// The most brokers that a model has.
pub(crate) const MOST_BROKERS: usize = 8;

/// Where clients are.
pub(crate) const CLIENTS: usize = MOST_BROKERS;

/// Where the controller is.
pub(crate) const CONTROLLER: usize = MOST_BROKERS + 1;

const PLACES: usize = MOST_BROKERS + 2;

/// Who holds an end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Broker(BrokerId),
    Client(ClientNumber),
}

/// What is to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A parcel reaches an end of a connection.
    Arrive { conn: Conn, end: End, parcel: Parcel },
    /// A bridge tries to connect.
    Bridge {
        broker: BrokerId,
        serial: u32,
        attempt: u32,
    },
    /// A client has something to do.
    Client { client: ClientNumber, turn: u32 },
    /// The classic store is saved.
    Save { broker: BrokerId, life: u32 },
    /// The controller's word reaches a broker.
    Word { broker: BrokerId, word: Word },
    /// Something for whoever runs the model.
    Errand(Errand),
}

/// What the controller's clients say to a broker: heartbeats, probes and markers, without the packets they take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    Beat {
        sequence: u64,
    },
    Publish {
        message: crate::packet::Message,
        qos: u8,
    },
    /// Keep out the bridges of these and no others.
    Bar {
        downstreams: Brokers,
        /// Which one this is, for they go by one connection, in order.
        turn: u64,
    },
    /// Take the retained messages of this job.
    Values {
        serial: u64,
    },
}

/// Some brokers, a bit each.
pub(crate) type Brokers = u8;

#[derive(Debug)]
struct Connection {
    /// By end; `None` once that end is closed.
    parties: [Option<Party>; 2],
    places: [usize; 2],
    /// The last arrival by the end it goes to: the order is kept.
    last: [Time; 2],
    /// What waits for the network to heal.
    held: [VecDeque<Parcel>; 2],
}

/// What everybody shares.
#[derive(Debug)]
pub(crate) struct Air {
    pub(crate) clock: Clock<Happening>,
    pub(crate) random: Random,
    pub(crate) names: Names,
    pub(crate) ledger: Ledger,
    /// Which broker the client address of each broker leads to.
    pub(crate) addresses: [BrokerId; MOST_BROKERS],
    connections: Vec<Connection>,
    /// From place to place: nothing passes.
    cuts: [[bool; PLACES]; PLACES],
    /// From place to place: how many times slower than usual.
    slow: [[u64; PLACES]; PLACES],
    /// One line per happening, if anybody wants to read them.
    story: Option<Vec<String>>,
}

impl Air {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            clock: Clock::new(),
            random: Random::new(seed),
            names: Names::default(),
            ledger: Ledger::default(),
            addresses: std::array::from_fn(|index| index),
            connections: Vec::new(),
            cuts: [[false; PLACES]; PLACES],
            slow: [[1; PLACES]; PLACES],
            story: None,
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Keeps a story from now on.
    pub(crate) fn record(&mut self) {
        self.story = Some(Vec::new());
    }

    pub(crate) fn take_story(&mut self) -> Vec<String> {
        self.story.take().unwrap_or_default()
    }

    /// Adds a line to the story, if there is one.
    pub(crate) fn tell(&mut self, line: impl FnOnce(&Names) -> String) {
        let now = self.clock.now();
        if let Some(story) = &mut self.story {
            let line = line(&self.names);
            story.push(format!("{:9.3} s  {line}", now as f64 / 1e6));
        }
    }

    /// How long something takes from place to place.
    pub(crate) fn delay(&mut self, from: usize, to: usize) -> Time {
        let usual = self.random.between(200, 900);
        usual * self.slow[from][to]
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts[from][to]
    }

    /// Opens a connection to a broker; its first packet tells whether anybody is there.
    pub(crate) fn open(&mut self, party: Party, place: usize, to: BrokerId, connect: Packet) -> Conn {
        let conn = self.connections.len();
        self.connections.push(Connection {
            parties: [Some(party), Some(Party::Broker(to))],
            places: [place, to],
            last: [0; 2],
            held: Default::default(),
        });
        self.send(conn, End::Opener, connect);
        conn
    }

    /// Sends a packet from one end of a connection to the other.
    pub(crate) fn send(&mut self, conn: Conn, from: End, packet: Packet) {
        self.post(conn, from, Parcel::Packet(packet));
    }

    /// Closes one end; the other hears of it.
    pub(crate) fn close(&mut self, conn: Conn, end: End) {
        if self.connections[conn].parties[end as usize].take().is_some() {
            self.post(conn, end, Parcel::Closed);
        }
    }

    /// From where a connection was opened.
    pub(crate) fn origin(&self, conn: Conn) -> usize {
        self.connections[conn].places[End::Opener as usize]
    }

    /// Who holds an end, if it is open.
    pub(crate) fn party(&self, conn: Conn, end: End) -> Option<Party> {
        self.connections[conn].parties[end as usize]
    }

    fn post(&mut self, conn: Conn, from: End, parcel: Parcel) {
        let to = from.other();
        let connection = &self.connections[conn];
        if connection.parties[to as usize].is_none() {
            return;
        }
        let (here, there) = (connection.places[from as usize], connection.places[to as usize]);
        if self.cuts[here][there] {
            self.connections[conn].held[to as usize].push_back(parcel);
            return;
        }
        let due = self.clock.now() + self.delay(here, there);
        self.schedule(conn, to, parcel, due);
    }

    fn schedule(&mut self, conn: Conn, to: End, parcel: Parcel, due: Time) {
        let last = &mut self.connections[conn].last[to as usize];
        *last = due.max(*last + 1);
        let due = *last;
        self.clock.at(
            due,
            Happening::Arrive {
                conn,
                end: to,
                parcel,
            },
        );
    }

    /// Cuts what goes from one place to another, or heals it: then all that waited arrives, in order.
    pub(crate) fn cut(&mut self, from: usize, to: usize, cut: bool) {
        self.cuts[from][to] = cut;
        if cut {
            return;
        }
        for conn in 0..self.connections.len() {
            for end in [End::Opener, End::Acceptor] {
                let connection = &mut self.connections[conn];
                let ends = (
                    connection.places[end.other() as usize],
                    connection.places[end as usize],
                );
                if ends != (from, to) || connection.held[end as usize].is_empty() {
                    continue;
                }
                // The next retransmission may take a while.
                let held = std::mem::take(&mut connection.held[end as usize]);
                let due = self.clock.now() + self.random.between(1, 400) * MILLISECOND;
                for parcel in held {
                    self.schedule(conn, end, parcel, due);
                }
            }
        }
    }

    /// Makes what goes from one place to another so many times slower than usual.
    pub(crate) fn slow_down(&mut self, from: usize, to: usize, times: u64) {
        self.slow[from][to] = times;
    }
}
