//! `status -o json`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use skein_adapter::migrations::MigrationRecord;
use skein_adapter::moves::Drain;
use skein_api::name::{BrokerName, TopicName};
use skein_engine::collisions::Collision;
use skein_engine::directive::{BrokerPhase, BrokerStatus, MigrationPhase, PathStatus, Reason};

use super::rounded;

/// The fleet as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    /// When this was so: RFC 3339, UTC.
    pub updated_at: String,
    /// The manifests that run, or the namespace.
    pub fleet: String,
    /// The process id of `skein up`; null on a cluster.
    pub pid: Option<u32>,
    /// Somebody keeps the fleet healthy; if not, this is how it was left. Null: that could not be found out.
    pub running: Option<bool>,
    /// By name.
    pub brokers: Vec<BrokerView>,
    /// One per declared producer and consumer of a topic.
    pub paths: Vec<PathView>,
    /// Oldest first.
    pub migrations: Vec<MigrationView>,
    /// The drains that are wished, by broker.
    pub drains: Vec<Drain>,
    /// Until something happens, nothing will be changed. Null on a cluster, which does not say.
    pub settled: Option<bool>,
    /// What does not work and why, in sentences.
    pub problems: Vec<String>,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerView {
    /// Its name.
    pub name: BrokerName,
    /// `Pending`, `Ready`, `Suspect`, `Down` or `Returning`.
    pub phase: BrokerPhase,
    /// `host:port` for clients: stays, whoever serves them.
    pub client_address: Option<String>,
    /// `host:port` for bridges and probes: always this broker.
    pub peer_address: Option<String>,
    /// Its process id; null on a cluster.
    pub pid: Option<u32>,
    /// Mosquitto's version.
    pub version: Option<String>,
    /// The last heartbeat's round trip.
    pub heartbeat_ms: Option<f64>,
    /// Who serves its clients; null while nobody does.
    pub served_by: Option<BrokerName>,
    /// The configuration last given.
    pub epoch_given: Option<u64>,
    /// The configuration in use.
    pub epoch_loaded: Option<u64>,
    /// Subscriptions of its clients, up to twenty, that overlap with those of its substitute's clients where no Topic is
    /// declared for both.
    pub collisions: Vec<Collision>,
    /// How many there are.
    pub collision_count: usize,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathView {
    /// Of this topic,
    pub topic: TopicName,
    /// from this broker
    pub producer: BrokerName,
    /// to this one.
    pub consumer: BrokerName,
    /// Consumer first; empty if there is no way.
    pub path: Vec<BrokerName>,
    /// The last probe arrived.
    pub up: bool,
    /// How long it took.
    pub probe_ms: Option<f64>,
}

/// One migration.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationView {
    /// Its name.
    pub name: String,
    /// The broker whose clients move.
    pub broker: BrokerName,
    /// The substitute; null if there is none.
    pub to: Option<BrokerName>,
    /// Why.
    pub reason: Reason,
    /// How far it is.
    pub phase: MigrationPhase,
    /// What spoke for it, or what stands against it.
    pub evidence: Vec<String>,
    /// Where sessions were opened for its clients that are not ended yet, and for whom.
    pub moved: BTreeMap<BrokerName, BTreeSet<String>>,
    /// Clients whose sessions could not be, and why.
    pub not_moved: BTreeMap<String, String>,
    /// Messages that wait for clients, which must be got before others can go on.
    pub waiting: BTreeMap<String, u64>,
    /// Messages passed on that waited elsewhere for the broker's links.
    pub adopted: u64,
    /// Messages that waited for clients when their address moved.
    pub abandoned: BTreeMap<String, u64>,
    /// When it reached each phase: RFC 3339, UTC.
    pub times: BTreeMap<String, String>,
}

impl StatusView {
    /// Something declared is published or subscribed by clients of this broker.
    pub(crate) fn has_clients_declared(&self, broker: &BrokerName) -> bool {
        self.paths
            .iter()
            .any(|path| path.producer == *broker || path.consumer == *broker)
    }
}

impl MigrationView {
    /// Nothing of it is left to be done, or to be undone.
    pub(crate) fn is_over(&self) -> bool {
        self.phase.is_over()
    }

    /// When it reached its phase.
    pub(crate) fn since(&self) -> Option<&str> {
        self.times.get(&format!("{:?}", self.phase)).map(String::as_str)
    }
}

impl BrokerView {
    /// The other broker that serves its clients.
    pub(crate) fn substitute(&self) -> Option<&BrokerName> {
        self.served_by.as_ref().filter(|name| **name != self.name)
    }
}

impl From<&BrokerStatus> for BrokerView {
    fn from(status: &BrokerStatus) -> Self {
        Self {
            name: status.name.clone(),
            phase: status.phase,
            client_address: status.client_address.clone(),
            peer_address: status.peer_address.clone(),
            pid: status.pid,
            version: status.version.clone(),
            heartbeat_ms: status.heartbeat_ms.map(rounded),
            served_by: status.served_by.clone(),
            epoch_given: status.epoch_given,
            epoch_loaded: status.epoch_loaded,
            collisions: status.collisions.clone(),
            collision_count: status.collision_count,
        }
    }
}

impl From<&PathStatus> for PathView {
    fn from(status: &PathStatus) -> Self {
        Self {
            topic: status.topic.clone(),
            producer: status.producer.clone(),
            consumer: status.consumer.clone(),
            path: status.path.clone(),
            up: status.up,
            probe_ms: status.probe_ms.map(rounded),
        }
    }
}

impl From<&MigrationRecord> for MigrationView {
    fn from(record: &MigrationRecord) -> Self {
        let migration = record.migration.clone();
        Self {
            name: migration.name,
            broker: migration.broker,
            to: migration.to,
            reason: migration.reason,
            phase: migration.phase,
            evidence: migration.evidence,
            moved: migration.moved,
            not_moved: migration.not_moved,
            waiting: migration.waiting,
            adopted: migration.adopted,
            abandoned: record.abandoned.clone(),
            times: record.times.clone(),
        }
    }
}
