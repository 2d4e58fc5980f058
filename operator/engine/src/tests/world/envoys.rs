//! Those who are sent to sessions upstream: they open them, clear them, pass on what waits in them. And to those of clients.

use std::collections::VecDeque;
use std::sync::Arc;

use skein_api::name::{BrokerName, Qos};
use skein_filters::TopicFilter;

use super::{Life, Reading, World};
use crate::directive::Directive;
use crate::event::Event;

/// Who is going to hold the link, where its session is to be, its client id, and what it is to be subscribed to.
type SeedRequest = (BrokerName, BrokerName, String, Vec<(TopicFilter, Qos)>);

/// Who holds the link, where its session is, and its client id.
type Errand = (BrokerName, BrokerName, String);

/// Who is on the way.
#[derive(Debug, Default)]
pub(super) struct Envoys {
    seeds: VecDeque<SeedRequest>,
    clearings: VecDeque<Errand>,
    adoptions: VecDeque<Errand>,
}

impl World {
    /// Somebody is sent to the session of a link.
    pub(super) fn send(&mut self, directive: Directive) {
        match directive {
            Directive::EndSubscriptions {
                broker,
                upstream,
                client_id,
                ..
            } => self.envoys.clearings.push_back((broker, upstream, client_id)),
            Directive::Adopt {
                broker,
                upstream,
                client_id,
                to,
                ..
            } => {
                assert!(!to.is_empty(), "what waits in {client_id} is to go to nobody");
                let whom: Vec<&str> = to.iter().map(BrokerName::as_str).collect();
                self.adopted.push(format!("{client_id} to {}", whom.join(" ")));
                self.envoys.adoptions.push_back((broker, upstream, client_id));
            }
            Directive::Seed {
                broker,
                upstream,
                client_id,
                subscriptions,
            } => {
                let request = (broker, upstream, client_id, subscriptions);
                self.envoys.seeds.push_back(request);
            }
            _ => {}
        }
    }

    /// Forgets or copies retained values.
    pub(super) fn mind_values(&mut self, directive: Directive) {
        let error = (self.reading == Reading::Fails).then(|| "no such file".to_owned());
        let answer = match &directive {
            Directive::ForgetValues { broker, serial, .. } => Event::ValuesForgotten {
                broker: broker.clone(),
                serial: *serial,
                error,
            },
            Directive::CopyValues { home, serial, .. } => Event::ValuesCopied {
                home: home.clone(),
                serial: *serial,
                error,
            },
            _ => return,
        };
        self.values.push(directive);
        if self.reading != Reading::Takes {
            self.answers.push_back(answer);
        }
    }

    /// Reads, opens or ends sessions of clients.
    pub(super) fn lodge(&mut self, directive: Directive) {
        match directive {
            Directive::ReadSessions { broker, serial } => {
                let mut sessions = self.clients.get(&broker).cloned();
                if self.audited {
                    sessions.get_or_insert_default().links = self.sessions.at(&broker);
                }
                self.answers.push_back(Event::SessionsRead {
                    sessions: sessions.map(Arc::new),
                    broker,
                    serial: Some(serial),
                });
            }
            Directive::OpenClientSession {
                broker,
                client_id,
                session,
            } => {
                let clients = self.clients.entry(broker.clone()).or_default();
                clients.by_client.insert(client_id.clone(), (*session).clone());
                self.answers.push_back(Event::ClientSessionOpened {
                    broker,
                    client_id,
                    error: None,
                });
            }
            Directive::EndClientSession { broker, client_id } => {
                self.clients
                    .entry(broker.clone())
                    .or_default()
                    .by_client
                    .remove(&client_id);
                self.answers.push_back(Event::ClientSessionEnded {
                    broker,
                    client_id,
                    error: None,
                });
            }
            _ => {}
        }
    }

    /// Whether a client with the id of a bridge is let in at a broker.
    fn stands_in(&self, upstream: &BrokerName, client_id: &str) -> bool {
        let live = self
            .brokers
            .values()
            .filter_map(|it| it.loaded.as_ref())
            .filter(|(.., config)| !self.is_barred(upstream, &config.broker))
            .flat_map(|(.., config)| &config.connections)
            .any(|held| held.remote_client_id == client_id);
        assert!(!live, "standing in for {client_id} would kick a bridge");
        let upstream = self.brokers.get(upstream);
        upstream.is_some_and(|it| it.life == Life::Running && !it.cut_off)
    }

    /// The sessions of links to come are opened, if their broker lets a client in.
    pub(super) fn open_sessions(&mut self) {
        for (broker, upstream, client_id, subscriptions) in std::mem::take(&mut self.envoys.seeds) {
            let reached = self.stands_in(&upstream, &client_id);
            if reached {
                self.sessions.open(&client_id, &subscriptions);
            }
            self.tell(Event::Seeded {
                broker,
                client_id,
                error: (!reached).then(|| "no answer".to_owned()),
            });
        }
    }

    /// The sessions that were left are cleared, and what waits in them is passed on, if their broker lets a client in.
    pub(crate) fn clear_sessions(&mut self) {
        for (broker, upstream, client_id) in std::mem::take(&mut self.envoys.clearings) {
            let reached = self.stands_in(&upstream, &client_id);
            if reached {
                self.sessions.clear(&client_id);
            }
            self.tell(Event::SubscriptionsEnded {
                broker,
                client_id,
                error: (!reached).then(|| "no answer".to_owned()),
            });
        }
        for (broker, upstream, client_id) in std::mem::take(&mut self.envoys.adoptions) {
            let reached = self.stands_in(&upstream, &client_id);
            if reached {
                self.sessions.clear(&client_id);
            }
            self.tell(Event::Adopted {
                broker,
                client_id,
                messages: u64::from(reached),
                error: (!reached).then(|| "no answer".to_owned()),
            });
        }
    }
}
