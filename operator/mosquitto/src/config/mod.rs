//! A broker's configuration: the model, how it comes from links, and its text.
//!
//! `compile` makes it from what the planner says, `render` writes it as `mosquitto.conf`, `parse` reads such a file
//! back. Reading understands what `render` writes, nothing more: it is no general parser of Mosquitto's language.

mod compile;
mod links;
mod parse;
mod render;
mod secure;
mod sessions;
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use compile::{Compile, CompileError, Placement, Problem, compile};
pub use links::{PROBE, RESERVED, identity_of, links_of};
pub use parse::{ParseError, epoch_of, parse};
pub use render::render;
pub use sessions::{MARKER, Session};

use skein_api::name::BrokerName;
use skein_filters::TopicFilter;

use crate::link::{Direction, Line};
use crate::security::Login;

/// The option whose value may be several words, one line each.
pub(crate) const MANY_WORDS: &str = "log_type";

/// The whole configuration of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whose it is.
    pub broker: BrokerName,
    /// Its number; only grows, per broker.
    pub epoch: u64,
    /// The system user the daemon becomes when started as root.
    pub user: Option<String>,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Clients without a user name may connect.
    pub allow_anonymous: bool,
    /// What survives a killed process.
    pub persistence: Persistence,
    /// The plugin that decides who may do what, if one does. See [`Config::secure`].
    pub security: Option<SecurityPlugin>,
    /// Limits of queues and packets.
    pub limits: Limits,
    /// The user's own options.
    pub settings: BTreeMap<String, String>,
    /// The connections it holds, by name.
    pub connections: Vec<Arc<Connection>>,
    /// Sessions upstream that no connection resumes any more, by client id, and what they may still be subscribed to:
    /// a note for whoever ends these subscriptions, which Mosquitto reads over.
    pub left: BTreeMap<String, BTreeSet<TopicFilter>>,
}

/// An address and port to listen on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// A host name or address of this machine.
    pub address: String,
    /// The TCP port.
    pub port: u16,
}

/// What the broker keeps on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing.
    None,
    /// The in-memory store, written out on every change (at most once a second).
    Classic {
        /// Where.
        directory: String,
    },
    /// The sqlite store, flushed at once: everything acknowledged survives a kill.
    Durable {
        /// Where.
        directory: String,
        /// The plugin's path.
        plugin: String,
    },
}

/// The dynamic-security plugin. It reads its file when the broker starts, and at no other time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityPlugin {
    /// The path of `mosquitto_dynamic_security.so`.
    pub plugin: String,
    /// The path of its file: what [`crate::security::render`] writes. The broker must be able to write it, and on 2.1 its
    /// folder.
    pub file: String,
}

/// Limits that the delivery contract rests on. Zero means unlimited, as in Mosquitto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages waiting per session.
    pub max_queued_messages: u64,
    /// Bytes waiting per session.
    pub max_queued_bytes: u64,
    /// Messages on their way per session. Must be more than anybody has on their way: one QoS 2 message more from a 3.1.1
    /// client is completed and discarded. And neither 0 nor 65535, with which 2.1 complains of each message.
    pub max_inflight_messages: u32,
    /// QoS 0 messages wait for absent sessions too. Without it they are lost whenever a link is down.
    pub queue_qos0_messages: bool,
    /// A message that several subscriptions of one session match is delivered several times. Must be false: lines of
    /// one link may cross, and 2.1 otherwise sends one copy per matching line, inwards (the upstream's option counts)
    /// as well as outwards (the own one counts). With it there is exactly one copy on 2.0.11, 2.0.21 and 2.1.2, for
    /// overlapping and crossing `in`, `out` and `both` lines alike, as long as the bridge speaks 3.1.1.
    pub allow_duplicate_messages: bool,
    /// Bytes of the largest packet taken from a client or bridge; at least 20.
    pub max_packet_size: u32,
    /// Bytes that are read from a connection at a time; `None` where there is no such option.
    pub packet_buffer_size: Option<u32>,
}

/// A bridge connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its name: Mosquitto matches connections by name on reload.
    pub name: String,
    /// Host of the upstream broker.
    pub host: String,
    /// Port of the upstream broker.
    pub port: u16,
    /// The client id it has upstream: its persistent session.
    pub remote_client_id: String,
    /// Who it is upstream; nobody where the upstream asks for no name.
    pub login: Option<Login>,
    /// The client id it has in its own broker: what queues for `out` and `both` lines.
    pub local_client_id: String,
    /// What passes, the user's lines first, then those under `$skein/`.
    pub lines: Vec<Line>,
    /// Filters that its session upstream may be subscribed to and must not be any more. See [`Config::resume`].
    pub forgotten: BTreeSet<TopicFilter>,
    /// Seconds between attempts to connect: least and most, with jitter between them.
    pub restart_timeout: (u32, u32),
    /// Seconds between pings, at least 5.
    pub keepalive_interval: u32,
    /// Pass the retain flag of outgoing messages on.
    pub outgoing_retain: bool,
    /// Unsubscribe upstream what is an `out` line.
    pub unsubscribes: bool,
}

impl Connection {
    /// It publishes too: what waits for its upstream is in this broker. Forgotten filters do not count, nothing ever
    /// matches them.
    #[must_use]
    pub fn publishes(&self) -> bool {
        self.lines.iter().any(|line| line.direction != Direction::In)
    }
}
