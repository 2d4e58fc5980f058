//! The sessions that simulated bridges have upstream: their subscriptions outlive connections, and change only when a
//! bridge connects, or a client comes with the same id.

use std::collections::{BTreeMap, BTreeSet};

use skein_api::name::{BrokerName, Qos};
use skein_filters::TopicFilter;
use skein_mosquitto::config::{Config, Connection, identity_of, links_of};
use skein_mosquitto::link::{Direction, Line, Link};

/// All sessions of a fleet, by client id.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    subscriptions: BTreeMap<String, BTreeSet<TopicFilter>>,
    /// The connection that came last, while its broker runs a configuration that has it.
    connected: BTreeMap<String, String>,
}

impl Sessions {
    /// The bridge connects: it subscribes, unsubscribes, and its marker would come through.
    pub(super) fn connect(&mut self, held: &Connection) {
        let subscriptions = self
            .subscriptions
            .entry(held.remote_client_id.clone())
            .or_default();
        if held.unsubscribes {
            subscriptions.retain(|filter| !held.forgotten.contains(filter));
        }
        subscriptions.extend(held.subscribed().cloned());
        self.connected
            .insert(held.remote_client_id.clone(), held.name.clone());
    }

    /// The broker runs another configuration: connections that are not in it end.
    pub(super) fn reload(&mut self, old: Option<&Config>, new: &Config) {
        for held in old.iter().flat_map(|old| &old.connections) {
            let stays = new.connections.iter().any(|it| it.name == held.name);
            if !stays {
                self.connected.remove(&held.remote_client_id);
            }
        }
    }

    pub(super) fn is_connected(&self, connection: &str) -> bool {
        self.connected.values().any(|name| name == connection)
    }

    /// Somebody subscribes under this client id.
    pub(super) fn open(&mut self, client_id: &str, subscriptions: &[(TopicFilter, Qos)]) {
        let session = self.subscriptions.entry(client_id.to_owned()).or_default();
        session.extend(subscriptions.iter().map(|(filter, _)| filter.clone()));
    }

    /// Somebody unsubscribes everything under this client id.
    pub(super) fn clear(&mut self, client_id: &str) {
        self.subscriptions.remove(client_id);
    }

    /// What is in the store of a broker.
    pub(super) fn at(&self, broker: &BrokerName) -> BTreeMap<String, BTreeSet<String>> {
        let there =
            |client_id: &str| identity_of(client_id).is_some_and(|(_, upstream, ..)| upstream == *broker);
        let sessions = self
            .subscriptions
            .iter()
            .filter(|(client_id, _)| there(client_id));
        let texts = |filters: &BTreeSet<TopicFilter>| filters.iter().map(ToString::to_string).collect();
        sessions
            .map(|(client_id, filters)| (client_id.clone(), texts(filters)))
            .collect()
    }

    /// The links of a configuration with all that may pass on them: their lines, and what their sessions are
    /// subscribed to besides.
    pub(super) fn flowing(&self, config: &Config) -> Vec<Link> {
        let mut links = links_of(&config.broker, config);
        for link in &mut links {
            let subscribed: BTreeSet<&TopicFilter> = link
                .lines
                .iter()
                .chain(link.control.iter())
                .filter(|line| line.direction != Direction::Out)
                .map(|line| &line.filter)
                .collect();
            let session = self.subscriptions.get(&link.client_id());
            let lingering: Vec<Line> = session
                .into_iter()
                .flatten()
                .filter(|filter| !subscribed.contains(filter))
                .map(|filter| Line {
                    filter: filter.clone(),
                    direction: Direction::In,
                    qos: Qos::AtLeastOnce,
                })
                .collect();
            link.lines = link.lines.iter().cloned().chain(lingering).collect();
        }
        links
    }

    /// Sessions that are subscribed to anything, though no connection of these configurations uses them.
    pub(super) fn left<'a>(&self, configs: impl IntoIterator<Item = &'a Config>) -> Vec<String> {
        let used: BTreeSet<&String> = configs
            .into_iter()
            .flat_map(|config| &config.connections)
            .map(|held| &held.remote_client_id)
            .collect();
        self.subscriptions
            .iter()
            .filter(|(client_id, filters)| !used.contains(client_id) && !filters.is_empty())
            .map(|(client_id, _)| client_id.clone())
            .collect()
    }
}
