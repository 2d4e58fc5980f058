//! The fleet: what a directory of manifests (or a namespace) declares, after validation.
//!
//! Every name refers to something that exists, every selector is resolved to sorted names, every filter parses and
//! every number is in its range, so planning cannot fail on a bad reference. Built by `manifest` from resources, or
//! by [`FleetBuilder`] in tests.

mod builder;
pub mod drawn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use builder::FleetBuilder;
use skein_filters::TopicFilter;

use crate::name::{BrokerName, Cost, Qos, RouteName, TopicName};

/// All that is declared, by name. Equal declarations give equal fleets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// The brokers.
    pub brokers: BTreeMap<BrokerName, Broker>,
    /// The routes between them.
    pub routes: BTreeMap<RouteName, Route>,
    /// The topics that must flow.
    pub topics: BTreeMap<TopicName, Arc<Topic>>,
}

/// A declared broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Failure zone: the label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// Its labels, which selectors match.
    pub labels: BTreeMap<String, String>,
    /// Whether Skein runs it.
    pub hosting: Hosting,
    /// How it is watched.
    pub heartbeat: Heartbeat,
    /// What happens when it dies.
    pub failover: Failover,
}

impl Broker {
    /// Skein (or its agent) writes this broker's configuration. Only then can it hold connections, and be a substitute.
    #[must_use]
    pub fn is_controlled(&self) -> bool {
        self.managed().is_some()
    }

    /// What Skein makes its configuration from; `None` if that is somebody else's.
    #[must_use]
    pub fn managed(&self) -> Option<&Managed> {
        match &self.hosting {
            Hosting::Managed(managed) | Hosting::Agent(managed, _) => Some(managed),
            Hosting::External(_) => None,
        }
    }

    /// Which part of its spec says that, for whoever has to name a field.
    #[must_use]
    pub fn section(&self) -> &'static str {
        if self.external().is_some() {
            "external"
        } else {
            "managed"
        }
    }

    /// What Skein makes its configuration from, to be changed.
    pub fn managed_mut(&mut self) -> Option<&mut Managed> {
        match &mut self.hosting {
            Hosting::Managed(managed) | Hosting::Agent(managed, _) => Some(managed),
            Hosting::External(_) => None,
        }
    }

    /// Where it is, if Skein was told that and does not choose it.
    #[must_use]
    pub fn external(&self) -> Option<&External> {
        match &self.hosting {
            Hosting::Managed(_) => None,
            Hosting::Agent(_, external) | Hosting::External(external) => Some(external),
        }
    }
}

/// Who runs a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosting {
    /// Skein does, where it chooses.
    Managed(Managed),
    /// `skein-operator agent` does, at an address that Skein is given.
    Agent(Managed, External),
    /// Someone else; Skein is given an address.
    External(External),
}

/// What Skein, or its agent, runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    /// The Mosquitto series asked for, such as `2.1`; `None` takes whatever there is.
    pub version: Option<String>,
    /// What survives a killed process.
    pub durability: Option<Durability>,
    /// Per-session queue limits.
    pub queue: Queue,
    /// Further listeners beside the one for clients.
    pub listeners: Vec<Listener>,
    /// Clients without a user name may connect.
    pub allow_anonymous: bool,
    /// The Secret that holds users, if one is named.
    pub users: Option<String>,
    /// Mosquitto options passed through, checked by the `mosquitto` crate.
    pub settings: BTreeMap<String, String>,
}

/// Where a broker is that Skein does not place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Speak TLS to it.
    pub tls: bool,
    /// The Secret with `username` and `password`, if any.
    pub credentials: Option<String>,
}

/// What a broker keeps when its process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Everything acknowledged (2.1 and later, sqlite store).
    Durable,
    /// All but the last moments (in-memory store, saved on change).
    Classic,
    /// Nothing.
    None,
}

/// Limits of one session's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            messages: 100_000,
            bytes: 64 << 20,
        }
    }
}

/// A further listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Its TCP port.
    pub port: u16,
}

/// How a broker is watched: down after `misses` heartbeats in a row, one each `interval`, went unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Time between two heartbeats.
    pub interval: Duration,
    /// How many may be missed.
    pub misses: u32,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            misses: 3,
        }
    }
}

/// What happens when a broker dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Who decides.
    pub policy: FailoverPolicy,
    /// How long a dead process may take to come back in place.
    pub after: Duration,
    /// Only these may substitute it; `None` means any.
    pub substitutes: Option<BTreeSet<BrokerName>>,
    /// Who decides where clients would get each other's messages.
    pub collisions: CollisionPolicy,
    /// Who decides on the way back.
    pub failback: Failback,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            policy: FailoverPolicy::Automatic,
            after: Duration::from_secs(5),
            substitutes: None,
            collisions: CollisionPolicy::Manual,
            failback: Failback::Automatic,
        }
    }
}

/// Who decides that a dead broker's sessions move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverPolicy {
    /// Skein.
    Automatic,
    /// A person approves each migration.
    Manual,
    /// Nobody: the broker is routed around, its sessions wait.
    Disabled,
}

/// Who decides that a dead broker's sessions move where clients would get each other's messages, on topics that no Topic
/// declares for both brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollisionPolicy {
    /// A person approves that migration, even if the policy is Automatic.
    Manual,
    /// Nobody is asked for that reason.
    Accept,
}

/// Who decides that a returned broker is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    /// Skein, once it is stable.
    Automatic,
    /// A person.
    Manual,
}

/// Two brokers may be bridged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// One end; of a one-way route the end that data comes from.
    pub a: BrokerName,
    /// The other end; of a one-way route the end that data goes to.
    pub b: BrokerName,
    /// Data may flow from `a` to `b` only.
    pub one_way: bool,
    /// Its cost.
    pub cost: Cost,
    /// Not to be used now.
    pub paused: bool,
}

/// A topic that must flow from every producer to every consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// What is published and subscribed.
    pub filter: TopicFilter,
    /// The most a link carries it with.
    pub qos: Qos,
    /// Brokers whose clients publish it; sorted.
    pub producers: BTreeSet<BrokerName>,
    /// Brokers whose clients subscribe it; sorted.
    pub consumers: BTreeSet<BrokerName>,
    /// Filters that flow back, from the consumers to the producers.
    pub commands: Vec<TopicFilter>,
    /// Its messages are retained.
    pub retained: bool,
    /// The load to expect, if declared.
    pub expected: Option<Expected>,
}

/// A topic's declared load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Messages per second, all producers together.
    pub messages_per_second: u64,
    /// Bytes per message.
    pub bytes: u64,
}
