//! The persistent sessions that bridges have upstream: what they may still be subscribed to, and how a configuration
//! ends what it no longer wants.
//!
//! Mosquitto never ends a subscription by itself: a line that goes leaves it in the session upstream, and messages keep
//! coming (measured on all versions), which in the worst case closes a loop. So a connection *forgets*: a line
//! `topic FILTER out 0 $skein/forgotten/ ""` makes the bridge send the UNSUBSCRIBE when it connects, and matches nothing
//! itself, because nobody publishes under `$skein/forgotten/`. Whether it has connected, a *marker* tells: the last line
//! subscribes a topic of this very connection. Bridges send SUBSCRIBE and UNSUBSCRIBE in the order of the lines, so once a
//! message on it comes through, all before it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::BrokerName;
use skein_filters::TopicFilter;

use super::{Config, Connection};
use crate::link::Direction;

/// Markers of connections: followed by the broker that holds the connection and its name.
pub const MARKER: &str = "$skein/link/";

/// A session upstream, as far as configurations tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The connection that resumes it in the newest configuration, if any does.
    pub connection: Option<Arc<Connection>>,
    /// All that it may be subscribed to.
    pub holds: BTreeSet<TopicFilter>,
}

impl Session {
    /// The session of a connection that is in use, or is going to be.
    #[must_use]
    pub fn of(connection: &Arc<Connection>) -> Self {
        Self {
            connection: Some(Arc::clone(connection)),
            holds: connection.may_hold().cloned().collect(),
        }
    }
}

impl Connection {
    /// The filters it subscribes upstream.
    pub fn subscribed(&self) -> impl Iterator<Item = &TopicFilter> {
        self.lines
            .iter()
            .filter(|line| line.direction != Direction::Out)
            .map(|line| &line.filter)
    }

    /// All that its session may be subscribed to, in any order: until it has connected, also what it forgets.
    pub fn may_hold(&self) -> impl Iterator<Item = &TopicFilter> {
        self.subscribed().chain(&self.forgotten)
    }

    /// The topic whose messages prove, once they come through to `holder`, that it has forgotten what it should.
    /// `None` if it forgets nothing, or cannot.
    #[must_use]
    pub fn marker(&self, holder: &BrokerName) -> Option<String> {
        let forgets = self.unsubscribes && !self.forgotten.is_empty();
        forgets.then(|| format!("{MARKER}{holder}/{}", self.name))
    }

    /// It does what `other` does, whatever either is called and forgets.
    fn is_like(&self, other: &Self) -> bool {
        let Self {
            name: _,
            forgotten: _,
            host,
            port,
            remote_client_id,
            login,
            local_client_id,
            lines,
            restart_timeout,
            keepalive_interval,
            outgoing_retain,
            unsubscribes,
        } = self;
        (host, port, remote_client_id, login)
            == (&other.host, &other.port, &other.remote_client_id, &other.login)
            && (local_client_id, lines) == (&other.local_client_id, &other.lines)
            && (restart_timeout, keepalive_interval) == (&other.restart_timeout, &other.keepalive_interval)
            && (outgoing_retain, unsubscribes) == (&other.outgoing_retain, &other.unsubscribes)
    }
}

impl Config {
    /// Makes each connection forget what its session may hold and it does not want, and leaves one that stays as it
    /// was alone. A connection that forgets has the configuration's number in its name: the same lines after a detour
    /// are another connection, whose marker no earlier one can have subscribed.
    ///
    /// The session of a connection that is gone altogether cannot be helped this way: see [`Config::left`].
    pub fn resume(&mut self, sessions: &BTreeMap<String, Session>) {
        for held in &mut self.connections {
            let Some(session) = sessions.get(&held.remote_client_id) else {
                continue;
            };
            if let Some(before) = session.connection.as_ref().filter(|it| held.is_like(it)) {
                *held = Arc::clone(before);
                continue;
            }
            let held = Arc::make_mut(held);
            let wanted: BTreeSet<&TopicFilter> = held.subscribed().collect();
            let gone = session.holds.iter().filter(|filter| !wanted.contains(filter));
            held.forgotten = gone.cloned().collect();
            if !held.forgotten.is_empty() {
                held.name = format!("{}-{}", held.name, self.epoch);
            }
        }
    }
}
