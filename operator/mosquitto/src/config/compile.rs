//! Links, declarations and places become a configuration, or a list of what stands against it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use skein_api::fleet::{Broker, Durability, Managed, Queue};
use skein_api::name::BrokerName;

use super::links::is_control;
use super::{Config, Connection, Limits, Listener, MANY_WORDS, Persistence, words};
use crate::link::{Direction, Line, Link};
use crate::settings;
use crate::version::{Capabilities, Version};

/// What a configuration is made from.
pub struct Compile<'a> {
    /// Whose configuration.
    pub broker: &'a BrokerName,
    /// What is declared of it.
    pub declared: &'a Broker,
    /// The links it holds: it is their downstream end.
    pub links: &'a [Arc<Link>],
    /// Where it runs.
    pub placement: &'a Placement,
    /// Host and port of each other broker, for bridges.
    pub addresses: &'a dyn Fn(&BrokerName) -> Option<(String, u16)>,
    /// The Mosquitto that will run it.
    pub version: Version,
    /// The configuration's number.
    pub epoch: u64,
}

/// Where a broker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The host name or address to listen on.
    pub listen: String,
    /// The port for bridges, heartbeats and probes.
    pub peer_port: u16,
    /// Further ports for clients, if they do not use the peer port.
    pub client_ports: Vec<u16>,
    /// Where the broker keeps its store: an absolute path.
    pub data_directory: String,
    /// The system user the daemon becomes when it is started as root; `None` leaves Mosquitto's default.
    pub user: Option<String>,
    /// The path of `mosquitto_persist_sqlite.so`, if there is one.
    pub sqlite_plugin: Option<String>,
}

/// One thing that stands against a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{object}: {field}: {reason}; {remedy}")]
pub struct Problem {
    /// The object, as `Broker/a`.
    pub object: String,
    /// The field, as `spec.managed.durability`, or the part of the object.
    pub field: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

/// Everything that stands against a configuration, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// What, at least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for CompileError {}

/// Mosquitto's own limit for counts and sizes on 2.1.
const LARGEST_LIMIT: u64 = i32::MAX as u64;

/// The largest packet MQTT allows. Mosquitto 2.1 disconnects senders of more than 2,000,000 bytes by default, 2.0 does
/// not: a message that one broker acknowledged and the next one refuses would block the link between them for ever.
const MAX_PACKET_SIZE: u32 = 268_435_455;

/// Messages on their way per session, one less than there are packet ids. With a limit, message limit + 1 of a QoS 2
/// burst from a 3.1.1 client is completed and discarded (measured with 30 in flight: 30 of 30 arrive with this limit on
/// 2.0.11, 2.0.21 and 2.1.2, 20 with the default on 2.1.2; 65,534 of 65,534 too, of 65,535 one is missing). Neither 0 nor 65535: with these,
/// 2.1.2 writes "exceeded its receive-maximum quota" to its log for each QoS 1 and 2 message, and goes on.
const MAX_INFLIGHT_MESSAGES: u32 = 65_534;

/// The least: what a bridge has read of a lost connection and not yet looked at, it takes for the first packets of the next
/// one (2.1.2), which then fails, once a second, until all of it is used up; with a backlog of a thousand messages that is
/// a quarter of an hour. With 2 bytes there is next to nothing to carry over: a link that was cut at 2,000 msg/s is back in
/// 0.5-1.1 s, else in up to 4.5 s or, behind a backlog, not at all. It costs 1-2 us per packet.
const PACKET_BUFFER_SIZE: u32 = 2;

/// Settings that a user may change and that are better for a fleet than Mosquitto's own. Without `set_tcp_nodelay` a lone
/// message waits for the acknowledgement of the one before: probes over 3 hops took 44 ms every few times, with it 2–4 ms
/// (2.1.2, loopback).
const DEFAULTS: [(&str, &str); 1] = [("set_tcp_nodelay", "true")];

/// Least and most seconds between attempts to connect. Measured from "upstream listens again" to "subscribed", after a
/// kill with instant restart: 2.0 s on 2.0.11 and 2.0.21, 1.0 s on 2.1.2, without spinning. The form with one number
/// (0 or 1) takes 6.0 s on 2.0.11 and is no faster elsewhere.
const RESTART_TIMEOUT: (u32, u32) = (1, 1);

/// Seconds between pings. The least is 5; an upstream closes the connection of a vanished downstream after half as
/// much again.
const KEEPALIVE_INTERVAL: u32 = 10;

/// The configuration of a broker. Fails, never alters: what cannot be written safely is refused.
pub fn compile(input: &Compile<'_>) -> Result<Config, CompileError> {
    let mut problems = Problems {
        broker: input.broker,
        found: Vec::new(),
    };
    let managed = declared(input, &mut problems);
    let config = Config {
        broker: input.broker.clone(),
        epoch: input.epoch,
        user: user(input.placement, &mut problems),
        listeners: listeners(input.placement, &managed, &mut problems),
        allow_anonymous: managed.allow_anonymous,
        persistence: persistence(input, &managed, &mut problems),
        security: None,
        limits: limits(managed.queue, input.version, &mut problems),
        settings: passed_through(input.version, &managed, &mut problems),
        connections: connections(input, &mut problems),
        left: BTreeMap::new(),
    };
    if problems.found.is_empty() {
        Ok(config)
    } else {
        Err(CompileError {
            problems: problems.found,
        })
    }
}

/// Collects what stands against it.
struct Problems<'a> {
    broker: &'a BrokerName,
    found: Vec<Problem>,
}

impl Problems<'_> {
    fn add(&mut self, field: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(Problem {
            object: format!("Broker/{}", self.broker),
            field: field.into(),
            reason: reason.into(),
            remedy: remedy.into(),
        });
    }
}

/// What is declared of a broker that Skein configures.
fn declared(input: &Compile<'_>, problems: &mut Problems<'_>) -> Managed {
    if !input.version.is_supported() {
        problems.add(
            "version",
            format!("Mosquitto {} is too old", input.version),
            format!("install {} or later", Version::OLDEST),
        );
    }
    let Some(managed) = input.declared.managed() else {
        problems.add(
            "spec.external.control",
            "Skein does not configure this broker",
            "let its neighbours hold the connections, or run `skein-operator agent` there",
        );
        return Managed::default();
    };
    if !managed.allow_anonymous {
        problems.add(
            format!("spec.{}.allowAnonymous", input.declared.section()),
            "clients cannot log in with names of their own yet, so none could connect",
            "set it to true, and keep the broker on a network you trust",
        );
    }
    if let Some(asked) = managed
        .version
        .as_deref()
        .filter(|asked| !input.version.is_of(asked))
    {
        problems.add(
            "spec.managed.version",
            format!("{asked} is asked for, and Mosquitto {} is there", input.version),
            "install the one that is asked for, or remove the field",
        );
    }
    managed.clone()
}

fn user(placement: &Placement, problems: &mut Problems<'_>) -> Option<String> {
    let user = placement.user.clone()?;
    if !words::is_word(&user) {
        problems.add(
            "user",
            format!("{user:?} is no name of a system user"),
            "give one without spaces",
        );
    }
    Some(user)
}

fn listeners(placement: &Placement, managed: &Managed, problems: &mut Problems<'_>) -> Vec<Listener> {
    if !words::is_host(&placement.listen) {
        problems.add(
            "listen address",
            format!("{:?} is no host name or address", placement.listen),
            "give one of this machine's addresses",
        );
    }
    let further = placement.client_ports.iter().copied();
    let ports = further.chain(managed.listeners.iter().map(|listener| listener.port));
    let mut seen = BTreeSet::new();
    let mut listeners = Vec::new();
    for port in std::iter::once(placement.peer_port).chain(ports) {
        if port == 0 {
            problems.add("listeners", "port 0 is none", "give a port from 1 to 65535");
        }
        // A port that serves bridges and clients alike is one listener.
        if seen.insert(port) {
            listeners.push(Listener {
                address: placement.listen.clone(),
                port,
            });
        }
    }
    listeners
}

fn persistence(input: &Compile<'_>, managed: &Managed, problems: &mut Problems<'_>) -> Persistence {
    let placement = input.placement;
    let mut path = |path: &str| {
        if !words::is_path(path) {
            problems.add(
                "data directory or plugin path",
                format!("{path:?} is not an absolute path that Mosquitto's configuration can name"),
                "use one without control characters and without a space at its end",
            );
        }
        path.to_owned()
    };
    let can_be_durable = Capabilities::of(input.version).stores_in_sqlite;
    let plugin = placement.sqlite_plugin.as_deref().filter(|_| can_be_durable);
    match (managed.durability, plugin) {
        (Some(Durability::None), _) => Persistence::None,
        (Some(Durability::Durable) | None, Some(plugin)) => Persistence::Durable {
            directory: path(&placement.data_directory),
            plugin: path(plugin),
        },
        (Some(Durability::Classic) | None, _) => Persistence::Classic {
            directory: path(&placement.data_directory),
        },
        (Some(Durability::Durable), None) => {
            let (reason, remedy) = if can_be_durable {
                (
                    "mosquitto_persist_sqlite.so was not found beside Mosquitto".to_owned(),
                    "install it, or",
                )
            } else {
                (
                    format!("Mosquitto {} cannot: that takes 2.1 or later", input.version),
                    "install that, or",
                )
            };
            let remedy = format!("{remedy} say classic (which may lose the last moments before a kill)");
            problems.add("spec.managed.durability", reason, remedy);
            Persistence::None
        }
    }
}

fn limits(queue: Queue, version: Version, problems: &mut Problems<'_>) -> Limits {
    for (field, value) in [("messages", queue.messages), ("bytes", queue.bytes)] {
        if value > LARGEST_LIMIT {
            problems.add(
                format!("spec.managed.queue.{field}"),
                format!("{value} is more than Mosquitto takes"),
                format!("at most {LARGEST_LIMIT}, or 0 for no limit"),
            );
        }
    }
    Limits {
        max_queued_messages: queue.messages,
        max_queued_bytes: queue.bytes,
        max_inflight_messages: MAX_INFLIGHT_MESSAGES,
        queue_qos0_messages: true,
        allow_duplicate_messages: false,
        max_packet_size: MAX_PACKET_SIZE,
        packet_buffer_size: Capabilities::of(version)
            .keeps_old_packets
            .then_some(PACKET_BUFFER_SIZE),
    }
}

fn passed_through(
    version: Version,
    managed: &Managed,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for (key, value) in &managed.settings {
        if let Err(refused) = settings::review_for(key, value, version) {
            problems.add(
                format!("spec.managed.settings.{key}"),
                refused.reason,
                refused.remedy,
            );
        }
        let value = if key == MANY_WORDS {
            value.split_whitespace().collect::<Vec<_>>().join(" ")
        } else {
            value.clone()
        };
        settings.insert(key.clone(), value);
    }
    for (key, value) in DEFAULTS {
        settings.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    settings
}

fn connections(input: &Compile<'_>, problems: &mut Problems<'_>) -> Vec<Arc<Connection>> {
    let mut connections = Vec::new();
    let mut names = BTreeSet::new();
    for link in input.links {
        let field = format!("link from {}", link.upstream);
        if link.downstream != *input.broker {
            problems.add(
                field,
                format!("{} holds it", link.downstream),
                "this is a bug of Skein: report it",
            );
            continue;
        }
        let Some((host, port)) = (input.addresses)(&link.upstream) else {
            problems.add(
                field,
                format!("no address of {} is known", link.upstream),
                "wait until it is placed",
            );
            continue;
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if !words::is_host(&host) || port == 0 {
            let reason = format!("{host:?} port {port} is no address");
            problems.add(
                field,
                reason,
                format!("correct the address of Broker/{}", link.upstream),
            );
            continue;
        }
        for line in link.lines.iter().chain(link.control.iter()) {
            if let Err(reason) = words::writable(&line.filter, input.version) {
                problems.add(
                    format!("{field}, filter {:?}", line.filter.as_str()),
                    reason,
                    "change the filter of the Topic, or cover that level with +",
                );
            }
        }
        for line in link.lines.iter() {
            if is_control(line) {
                let reason = format!("{} is reserved for Skein", line.filter);
                problems.add(
                    field.clone(),
                    reason,
                    "choose a filter that does not start with $skein/",
                );
            }
        }
        if !names.insert(link.client_id()) {
            problems.add(field, "it is there twice", "this is a bug of Skein: report it");
            continue;
        }
        connections.push(Arc::new(connection(link, host, port)));
    }
    connections
}

fn connection(link: &Link, host: String, port: u16) -> Connection {
    let lines: Vec<Line> = link.lines.iter().chain(link.control.iter()).cloned().collect();
    // Mosquitto unsubscribes what is an `out` line, on the same connection: that of an `in` line for the same filter
    // too (measured on all versions: nothing comes in any more).
    let has = |filter, direction| {
        lines
            .iter()
            .any(|line| line.filter == filter && line.direction == direction)
    };
    let contradicting = lines
        .iter()
        .any(|line| line.direction == Direction::Out && has(line.filter.clone(), Direction::In));
    let client_id = link.client_id();
    Connection {
        name: link.name(),
        host,
        port,
        local_client_id: format!("{client_id}:local"),
        remote_client_id: client_id,
        login: None,
        outgoing_retain: !returns_what_it_sends(&link.lines),
        unsubscribes: !contradicting,
        lines,
        forgotten: BTreeSet::new(),
        restart_timeout: RESTART_TIMEOUT,
        keepalive_interval: KEEPALIVE_INTERVAL,
    }
}

/// The same topic may pass both ways. A retained value that was changed at one end while the link was down would then
/// be overwritten by the old one from the other end, so retained values are not sent outwards.
fn returns_what_it_sends(lines: &[Line]) -> bool {
    let inwards = lines.iter().filter(|line| line.direction != Direction::Out);
    let outwards: Vec<&Line> = lines
        .iter()
        .filter(|line| line.direction != Direction::In)
        .collect();
    inwards
        .into_iter()
        .any(|line| outwards.iter().any(|other| line.filter.overlaps(&other.filter)))
}
