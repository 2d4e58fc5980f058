//! What [`crate::Up`] tells while it runs, for whoever prints it.

use std::path::PathBuf;

use skein_api::name::{BrokerName, TopicName};

use crate::manifests::Problem;
use crate::status::MigrationRecord;

/// Something that a person in front of `skein up` wants to see.
#[derive(Clone, Debug, PartialEq)]
pub enum UpEvent {
    /// The state directory is ours; starting begins.
    Starting {
        /// The manifests.
        fleet: PathBuf,
        /// The state directory.
        state: PathBuf,
        /// The program that runs brokers, and its version.
        mosquitto: (PathBuf, String),
    },
    /// A broker's supervisor and forwarder were started.
    Started {
        /// Which.
        broker: BrokerName,
        /// `host:port` for clients.
        address: String,
    },
    /// A broker went on running without us and is ours again, not restarted.
    TookOver {
        /// Which.
        broker: BrokerName,
        /// `host:port` for clients.
        address: String,
    },
    /// A broker that someone else runs is watched.
    Watching {
        /// Which.
        broker: BrokerName,
        /// Its `host:port`.
        address: String,
    },
    /// An edit of the manifests is wrong, and changes nothing: all that is wrong with it.
    Refused(Vec<Problem>),
    /// An edit of the manifests is in force.
    Applied {
        /// What changed, a line each; empty if an edit that was refused is taken back.
        changes: Vec<String>,
    },
    /// Something does not work, in a sentence.
    Trouble(String),
    /// A broker is declared down.
    BrokerDown {
        /// Which.
        broker: BrokerName,
        /// Why: a sentence each.
        evidence: Vec<String>,
    },
    /// A substitute serves a dead broker's clients.
    Migrated {
        /// The dead broker.
        broker: BrokerName,
        /// Its substitute.
        to: BrokerName,
        /// Its clients publish or subscribe something that is declared. If not, it may have no clients at all.
        declared: bool,
    },
    /// Messages that waited elsewhere for a broker that is out were passed on.
    Adopted {
        /// That broker.
        broker: BrokerName,
        /// How many since this was told last.
        messages: u64,
    },
    /// A broker that was down serves itself again.
    Returned {
        /// Which.
        broker: BrokerName,
    },
    /// A drain was begun, or got on.
    Drain(MigrationRecord),
    /// Messages pass again (or for the first time).
    PathUp {
        /// The topic.
        topic: TopicName,
        /// The brokers passed, consumer first.
        path: Vec<BrokerName>,
        /// What the probe took, in milliseconds.
        milliseconds: Option<f64>,
    },
    /// Messages do not pass.
    PathDown {
        /// The topic.
        topic: TopicName,
        /// Where it is published.
        producer: BrokerName,
        /// Where it is subscribed.
        consumer: BrokerName,
    },
    /// For the first time everything declared works.
    Ready(Summary),
    /// Ctrl-C or SIGTERM: everything is being stopped.
    Stopping,
    /// A broker and its forwarder are stopped.
    Stopped {
        /// Which.
        broker: BrokerName,
    },
}

/// A fleet in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Brokers that answer.
    pub brokers: usize,
    /// Paths that pass messages.
    pub paths: usize,
    /// Milliseconds since the start.
    pub milliseconds: u128,
}
