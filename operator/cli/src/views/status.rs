//! `status -o json`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use skein_api::name::{BrokerName, TopicName};
use skein_engine::collisions::Collision;
use skein_engine::directive::{BrokerPhase, BrokerStatus, MigrationPhase, PathStatus, Reason};
use skein_local::{Drain, FleetStatus, MigrationRecord};

use super::rounded;

/// The fleet as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusView {
    /// When `skein up` wrote this: RFC 3339, UTC.
    pub(crate) updated_at: String,
    /// The manifests it runs.
    pub(crate) fleet: String,
    /// The process id of `skein up`.
    pub(crate) pid: u32,
    /// That process is alive; if not, this is how it left the fleet.
    pub(crate) running: bool,
    /// By name.
    pub(crate) brokers: Vec<BrokerView>,
    /// One per declared producer and consumer of a topic.
    pub(crate) paths: Vec<PathView>,
    /// Oldest first.
    pub(crate) migrations: Vec<MigrationView>,
    /// The drains that are wished, by broker.
    pub(crate) drains: Vec<Drain>,
    /// Until something happens, nothing will be changed.
    pub(crate) settled: bool,
    /// What does not work and why, in sentences.
    pub(crate) problems: Vec<String>,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BrokerView {
    pub(crate) name: BrokerName,
    /// `Pending`, `Ready`, `Suspect`, `Down` or `Returning`.
    pub(crate) phase: BrokerPhase,
    /// `host:port` for clients: stays, whoever serves them.
    pub(crate) client_address: Option<String>,
    /// `host:port` for bridges and probes: always this broker.
    pub(crate) peer_address: Option<String>,
    pub(crate) pid: Option<u32>,
    /// Mosquitto's version.
    pub(crate) version: Option<String>,
    /// The last heartbeat's round trip.
    pub(crate) heartbeat_ms: Option<f64>,
    /// Who serves its clients; null while nobody does.
    pub(crate) served_by: Option<BrokerName>,
    /// The configuration last given.
    pub(crate) epoch_given: Option<u64>,
    /// The configuration in use.
    pub(crate) epoch_loaded: Option<u64>,
    /// Subscriptions of its clients, up to twenty, that overlap with those of its substitute's clients where no Topic is
    /// declared for both.
    pub(crate) collisions: Vec<Collision>,
    /// How many there are.
    pub(crate) collision_count: usize,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PathView {
    pub(crate) topic: TopicName,
    pub(crate) producer: BrokerName,
    pub(crate) consumer: BrokerName,
    /// Consumer first; empty if there is no way.
    pub(crate) path: Vec<BrokerName>,
    /// The last probe arrived.
    pub(crate) up: bool,
    /// How long it took.
    pub(crate) probe_ms: Option<f64>,
}

/// One migration.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MigrationView {
    pub(crate) name: String,
    pub(crate) broker: BrokerName,
    /// The substitute; null if there is none.
    pub(crate) to: Option<BrokerName>,
    pub(crate) reason: Reason,
    pub(crate) phase: MigrationPhase,
    pub(crate) evidence: Vec<String>,
    /// Where sessions were opened for its clients that are not ended yet, and for whom.
    pub(crate) moved: BTreeMap<BrokerName, BTreeSet<String>>,
    /// Clients whose sessions could not be, and why.
    pub(crate) not_moved: BTreeMap<String, String>,
    /// Messages that wait for clients, which must be got before others can go on.
    pub(crate) waiting: BTreeMap<String, u64>,
    /// Messages passed on that waited elsewhere for the broker's links.
    pub(crate) adopted: u64,
    /// Messages that waited for clients when their address moved.
    pub(crate) abandoned: BTreeMap<String, u64>,
    /// When it reached each phase: RFC 3339, UTC.
    pub(crate) times: BTreeMap<String, String>,
}

impl StatusView {
    /// The view of what `skein up` wrote.
    pub(crate) fn new(status: &FleetStatus, running: bool) -> Self {
        Self {
            updated_at: status.updated_at.clone(),
            fleet: status.fleet.display().to_string(),
            pid: status.pid,
            running,
            brokers: status.brokers.iter().map(broker).collect(),
            paths: status.paths.iter().map(path).collect(),
            migrations: status.migrations.iter().map(MigrationView::from).collect(),
            drains: status.drains.clone(),
            settled: status.settled,
            problems: status.problems.clone(),
        }
    }

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

fn broker(status: &BrokerStatus) -> BrokerView {
    BrokerView {
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

fn path(status: &PathStatus) -> PathView {
    PathView {
        topic: status.topic.clone(),
        producer: status.producer.clone(),
        consumer: status.consumer.clone(),
        path: status.path.clone(),
        up: status.up,
        probe_ms: status.probe_ms.map(rounded),
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
