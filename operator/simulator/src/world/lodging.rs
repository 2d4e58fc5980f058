//! Sessions of clients: read from what brokers keep, opened where a client is to come, ended where it was.

use std::sync::Arc;

use skein_api::name::{BrokerName, Qos};
use skein_engine::directive::{Migration, Reason};
use skein_engine::event::Event;
use skein_engine::sessions::{ClientSession, ClientSessions, Subscription};
use skein_mosquitto::link::CLIENT_ID_PREFIX;

use super::execute::Purpose;
use super::{Errand, Flaw, World, name, number};
use crate::air::{BrokerId, CONTROLLER};
use crate::clients::Mission;
use crate::packet::{MILLISECOND, SECOND};

impl World {
    /// A person wants a broker without clients, or wants that no longer.
    pub(super) fn wish_drained(&mut self, broker: BrokerId, drained: bool) {
        if drained {
            self.drained.insert(broker);
        } else {
            self.drained.remove(&broker);
        }
        let Some(broker) = name(broker) else { return };
        self.observe(if drained {
            Event::Drain {
                broker,
                to: None,
                abandon: false,
            }
        } else {
            Event::Undrain { broker }
        });
    }

    /// A controller that starts is told of the wishes, and of those that were taken back meanwhile.
    pub(super) fn tell_wishes(&mut self) {
        for broker in 0..self.sites.len() {
            let drained = self.drained.contains(&broker);
            let under_way = |migration: &Migration| {
                migration.reason == Reason::Drain
                    && number(&migration.broker) == Some(broker)
                    && migration.phase.is_active()
            };
            if drained || self.migrations.values().any(under_way) {
                self.wish_drained(broker, drained);
            }
        }
    }

    /// Looks at what every broker keeps, and says what has changed.
    pub(super) fn look_at_sessions(&mut self, life: u32) {
        if life != self.life {
            return;
        }
        self.after(SECOND, Errand::LookAtSessions { life });
        for broker in 0..self.sites.len() {
            let Some(sessions) = self.read(broker) else {
                continue;
            };
            let plain = |sessions: &ClientSessions| {
                let mut plain = sessions.by_client.clone();
                for session in plain.values_mut() {
                    session.waiting = 0;
                    session.oldest = None;
                }
                plain
            };
            let known = self.sessions_told[broker].as_ref();
            if known.is_none_or(|known| plain(known) != plain(&sessions)) {
                self.tell_sessions(broker, Some(sessions), None);
            }
        }
    }

    /// Reads what a broker keeps because it was asked for.
    pub(super) fn read_sessions(&mut self, broker: &BrokerName, serial: u64) {
        let Some(broker) = number(broker) else { return };
        // Not by chance: who reads once more would make another schedule of the same seed.
        let pause = (2 + serial * 17 % 39) * MILLISECOND;
        let life = self.life;
        self.after(pause, Errand::ReadSessions { broker, serial, life });
    }

    pub(super) fn answer_sessions(&mut self, broker: BrokerId, serial: u64) {
        // Nobody is there to read, or to hear the answer.
        if !self.sites[broker].supervised || self.fabric.air.is_cut(broker, CONTROLLER) {
            return;
        }
        let sessions = self.read(broker);
        self.tell_sessions(broker, sessions, Some(serial));
    }

    fn tell_sessions(&mut self, broker: BrokerId, sessions: Option<ClientSessions>, serial: Option<u64>) {
        let sessions = sessions.map(Arc::new);
        self.sessions_told[broker].clone_from(&sessions);
        if let Some(broker) = name(broker) {
            self.observe(Event::SessionsRead {
                broker,
                sessions,
                serial,
            });
        }
    }

    /// What is kept for the next controller is not to tell of a session that was ended.
    pub(super) fn forget_client(&mut self, broker: &BrokerName, client_id: &str) {
        let told = number(broker).and_then(|broker| self.sessions_told[broker].as_mut());
        if let Some(told) = told {
            Arc::make_mut(told).by_client.remove(client_id);
        }
    }

    fn read(&self, broker: BrokerId) -> Option<ClientSessions> {
        if !self.sites[broker].supervised || self.fabric.air.is_cut(broker, CONTROLLER) {
            return None;
        }
        let names = &self.fabric.air.names;
        let kept = self.fabric.brokers[broker].kept()?;
        let mut sessions = ClientSessions::default();
        for (client, session) in kept {
            let text = names.client_text(client);
            let newest = session.out.iter().map(|outgoing| outgoing.number).max();
            sessions.newest = sessions.newest.max(newest.unwrap_or_default());
            if text.starts_with(CLIENT_ID_PREFIX) {
                let filters = session
                    .subscriptions
                    .iter()
                    .map(|held| names.filter_text(held.filter));
                let filters = filters.map(str::to_owned).collect();
                sessions.links.insert(text.to_owned(), filters);
                continue;
            }
            let subscriptions = session.subscriptions.iter().map(|held| {
                let subscription = Subscription {
                    qos: Qos::new(i64::from(held.qos)).unwrap_or(Qos::AtMostOnce),
                    no_local: false,
                    retain_as_published: false,
                    identifier: None,
                };
                (names.filter_text(held.filter).to_owned(), subscription)
            });
            let mut kept = ClientSession {
                subscriptions: subscriptions.collect(),
                ..ClientSession::default()
            };
            if self.flaw != Some(Flaw::SeesNobodyWaiting) {
                kept.waiting = session.out.len() as u64;
                kept.oldest = session.out.iter().map(|outgoing| outgoing.number).min();
            }
            sessions.by_client.insert(text.to_owned(), kept);
        }
        Some(sessions)
    }

    pub(super) fn open_client_session(
        &mut self,
        broker: BrokerName,
        client_id: String,
        session: &ClientSession,
    ) {
        self.tell(|| format!("open the session of the client {client_id} at {broker}"));
        let names = &mut self.fabric.air.names;
        let filters = session.subscriptions.iter();
        let filters = filters
            .map(|(filter, held)| (names.filter(filter), held.qos as u8))
            .collect();
        let at = broker.clone();
        let mission = Mission::Subscribe {
            filters,
            bridge: false,
        };
        self.send_envoy(Purpose::OpenClient, broker, client_id, &at, mission);
    }

    pub(super) fn end_client_session(&mut self, broker: BrokerName, client_id: String) {
        self.tell(|| format!("end the session of the client {client_id} at {broker}"));
        let at = broker.clone();
        self.send_envoy(Purpose::EndClient, broker, client_id, &at, Mission::Discard);
    }
}
