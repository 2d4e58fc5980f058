//! The connections that a broker holds to others, with their measured quirks.

use skein_mosquitto::link::Direction;

use super::session::Subscription;
use super::{Broker, Section, Series, Session, Setup};
use crate::air::{Air, Conn, End, Happening, Party};
use crate::packet::{MILLISECOND, Packet, Parcel, Time};

/// One bridge.
#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) section: Section,
    pub(crate) conn: Option<Conn>,
    /// It was let in and has subscribed.
    pub(crate) connected: bool,
    serial: u32,
    attempt: u32,
}

impl Broker {
    /// All of the configuration: a process starts.
    pub(super) fn begin_bridges(&mut self, air: &mut Air) {
        for section in self.setup.sections.clone() {
            self.begin(section, 0, air);
        }
    }

    fn begin(&mut self, section: Section, wait: Time, air: &mut Air) {
        self.serials += 1;
        let serial = self.serials;
        // Its old subscriptions go, those of its lines come; what waits stays.
        let clears_retain = !section.outgoing_retain;
        let session = self
            .sessions
            .entry(section.local)
            .or_insert_with(|| Session::new(false));
        session.bridge = true;
        session.local = true;
        session.clears_retain = clears_retain;
        session.end = End::Opener;
        session.subscriptions.clear();
        for line in section
            .lines
            .iter()
            .filter(|line| line.direction != Direction::In)
        {
            let known = session
                .subscriptions
                .iter()
                .any(|held| held.filter == line.filter);
            if !known {
                session.subscriptions.push(Subscription {
                    filter: line.filter,
                    qos: line.qos,
                    bridge: true,
                });
            }
        }
        self.bridges.push(Bridge {
            section,
            conn: None,
            connected: false,
            serial,
            attempt: 0,
        });
        let broker = self.id;
        let attempt = 0;
        air.clock.after(
            wait,
            Happening::Bridge {
                broker,
                serial,
                attempt,
            },
        );
    }

    /// How long until a bridge tries again.
    fn pause(&self, air: &mut Air) -> Time {
        match self.series {
            Series::Oldest => air.random.between(1000, 2000) * MILLISECOND,
            Series::Newest => air.random.between(500, 1100) * MILLISECOND,
        }
    }

    /// A bridge tries to connect.
    pub(crate) fn bridge_attempt(&mut self, serial: u32, attempt: u32, air: &mut Air) {
        let id = self.id;
        let running = self.running;
        let Some(bridge) = self.bridges.iter_mut().find(|bridge| bridge.serial == serial) else {
            return;
        };
        let idle = bridge.attempt == attempt && bridge.conn.is_none() && running;
        let Some(to) = bridge.section.to.filter(|_| idle) else {
            return;
        };
        let connect = Packet::Connect {
            client: bridge.section.remote,
            clean: false,
            bridge: true,
            will: None,
        };
        bridge.conn = Some(air.open(Party::Broker(id), id, to, connect));
    }

    /// A parcel on a connection that a bridge opened. True if it was the bridge's own affair.
    pub(super) fn receive_as_bridge(&mut self, conn: Conn, parcel: Parcel, air: &mut Air) -> bool {
        let Some(index) = self.bridges.iter().position(|bridge| bridge.conn == Some(conn)) else {
            // Nobody's any more.
            air.close(conn, End::Opener);
            return true;
        };
        match parcel {
            Parcel::Closed => {
                air.close(conn, End::Opener);
                let local = self.bridges[index].section.local;
                if let Some(session) = self.sessions.get_mut(&local)
                    && session.conn == Some(conn)
                {
                    session.conn = None;
                }
                self.conns.remove(&conn);
                let pause = self.pause(air);
                let bridge = &mut self.bridges[index];
                bridge.conn = None;
                bridge.connected = false;
                bridge.attempt += 1;
                let (broker, serial, attempt) = (self.id, bridge.serial, bridge.attempt);
                air.clock.after(
                    pause,
                    Happening::Bridge {
                        broker,
                        serial,
                        attempt,
                    },
                );
                true
            }
            Parcel::Packet(Packet::ConnAck { .. }) => {
                self.let_in(index, conn, air);
                true
            }
            Parcel::Packet(_) => false,
        }
    }

    /// The upstream let a bridge in: it subscribes and unsubscribes in the order of its lines, and sends what waits.
    fn let_in(&mut self, index: usize, conn: Conn, air: &mut Air) {
        let bridge = &mut self.bridges[index];
        bridge.connected = true;
        let section = bridge.section.clone();
        if let Some(session) = self.sessions.get_mut(&section.local) {
            session.conn = Some(conn);
            session.end = End::Opener;
        }
        self.conns.insert(conn, section.local);
        for line in &section.lines {
            let filter = line.filter;
            if line.direction == Direction::Out {
                if section.unsubscribes {
                    air.send(conn, End::Opener, Packet::Unsubscribe { filter });
                }
            } else {
                let qos = line.qos;
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
        }
        if section.unsubscribes {
            for filter in &section.forgotten {
                air.send(conn, End::Opener, Packet::Unsubscribe { filter: *filter });
            }
        }
        if let Some(filter) = section.marker {
            air.send(
                conn,
                End::Opener,
                Packet::Subscribe {
                    filter,
                    qos: 1,
                    retained: true,
                },
            );
        }
        self.resume(section.local, air);
        for line in section
            .lines
            .iter()
            .filter(|line| line.direction != Direction::In)
        {
            self.send_retained(section.local, line.filter, line.qos, air);
        }
    }

    /// SIGHUP with another configuration.
    ///
    /// 2.0 reloads no connections. 2.1 goes through those it holds and ends what is not in the file any more, and the
    /// last takes the place of each that it ends, so that one is passed over; what waits for any bridge is destroyed.
    pub(crate) fn reload(&mut self, setup: Setup, air: &mut Air) {
        if !self.running {
            return;
        }
        let sections = setup.sections.clone();
        let profile = self.setup.profile;
        self.setup = Setup { profile, ..setup };
        if self.series == Series::Oldest {
            return;
        }
        for session in self.sessions.values_mut().filter(|session| session.local) {
            session.out.clear();
        }
        let mut index = 0;
        while index < self.bridges.len() {
            let name = &self.bridges[index].section.name;
            if !sections.iter().any(|section| section.name == *name) {
                self.end_bridge(index, air);
            }
            index += 1;
        }
        for section in sections {
            if self
                .bridges
                .iter()
                .any(|bridge| bridge.section.name == section.name)
            {
                continue;
            }
            let in_the_way = |bridge: &Bridge| bridge.section.local == section.local;
            if self.bridges.iter().any(in_the_way) {
                // It never connects; the one that was passed over goes on with its lines.
                continue;
            }
            let pause = self.pause(air);
            self.begin(section, pause, air);
        }
    }

    fn end_bridge(&mut self, index: usize, air: &mut Air) {
        let bridge = self.bridges.swap_remove(index);
        if let Some(conn) = bridge.conn {
            air.send(conn, End::Opener, Packet::Disconnect);
            air.close(conn, End::Opener);
            self.conns.remove(&conn);
        }
        if let Some(session) = self.sessions.get_mut(&bridge.section.local) {
            session.conn = None;
            session.subscriptions.clear();
        }
    }
}
