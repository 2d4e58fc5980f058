//! `status.json`: the engine's view, with what only the adapter knows. The shape is what `skein status -o json` prints.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
pub use skein_adapter::migrations::MigrationRecord;
use skein_api::name::BrokerName;
use skein_engine::directive::{BrokerStatus, Migration, PathStatus};

use crate::wishes::Drain;

/// A running fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// When this was written: RFC 3339, UTC.
    pub updated_at: String,
    /// The manifests it runs.
    pub fleet: PathBuf,
    /// The process id of the `up` that wrote this. It may be dead: see [`crate::StateDirectory::holder`].
    pub pid: u32,
    /// One per declared broker, by name.
    pub brokers: Vec<BrokerStatus>,
    /// One per declared producer and consumer of a topic.
    pub paths: Vec<PathStatus>,
    /// Oldest first.
    pub migrations: Vec<MigrationRecord>,
    /// The drains that are wished, as the engine was told of them; by broker.
    #[serde(default)]
    pub drains: Vec<Drain>,
    /// All that can be reached runs what the plan says: until something happens, nothing will be changed.
    #[serde(default)]
    pub settled: bool,
    /// What does not work and why, in sentences: of the engine, of the processes, and of an edit that was not accepted.
    pub problems: Vec<String>,
}

impl FleetStatus {
    /// A broker, by name.
    #[must_use]
    pub fn broker(&self, name: &str) -> Option<&BrokerStatus> {
        self.brokers.iter().find(|broker| broker.name.as_str() == name)
    }

    /// The newest migration of a broker.
    #[must_use]
    pub fn newest_migration(&self, broker: &BrokerName) -> Option<&Migration> {
        let mut newest = self.migrations.iter().rev().map(|record| &record.migration);
        newest.find(|migration| migration.broker == *broker)
    }

    /// Equal but for figures that change all the time: round trips, probe times and the time of writing.
    #[must_use]
    pub(crate) fn same_but_for_figures(&self, other: &Self) -> bool {
        let still = |status: &Self| {
            let mut status = status.clone();
            status.updated_at.clear();
            for broker in &mut status.brokers {
                broker.heartbeat_ms = None;
            }
            for path in &mut status.paths {
                path.probe_ms = None;
            }
            status
        };
        still(self) == still(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use serde_json::json;
    use skein_api::name::{BrokerName, TopicName};
    use skein_engine::directive::BrokerPhase;

    fn status() -> FleetStatus {
        let name = |text| BrokerName::new(text).unwrap();
        FleetStatus {
            updated_at: "2026-01-01T00:00:00Z".to_owned(),
            fleet: "/farm".into(),
            pid: 7,
            brokers: vec![BrokerStatus {
                name: name("a"),
                phase: BrokerPhase::Ready,
                client_address: Some("127.0.0.1:1".to_owned()),
                peer_address: Some("127.0.0.1:2".to_owned()),
                pid: Some(8),
                version: Some("2.1.2".to_owned()),
                heartbeat_ms: Some(0.5),
                served_by: Some(name("a")),
                epoch_given: Some(3),
                epoch_loaded: Some(3),
                collisions: Vec::new(),
                collision_count: 0,
            }],
            paths: vec![PathStatus {
                topic: TopicName::new("soil").unwrap(),
                producer: name("i"),
                consumer: name("a"),
                path: vec![name("a"), name("i")],
                up: true,
                probe_ms: Some(1.5),
            }],
            migrations: vec![MigrationRecord {
                migration: Migration {
                    evidence: vec!["refused".to_owned()],
                    ..Migration::new("c-1".to_owned(), name("c"))
                },
                times: BTreeMap::from([("Detected".to_owned(), "2026-01-01T00:00:00Z".to_owned())]),
                abandoned: BTreeMap::new(),
            }],
            drains: Vec::new(),
            settled: true,
            problems: Vec::new(),
        }
    }

    #[test]
    fn the_json_shape_is_the_documented_one_and_reads_back() {
        let json = serde_json::to_value(status()).unwrap();
        assert_eq!(
            json,
            json!({
                "updatedAt": "2026-01-01T00:00:00Z",
                "fleet": "/farm",
                "pid": 7,
                "brokers": [{
                    "name": "a", "phase": "Ready", "clientAddress": "127.0.0.1:1", "peerAddress": "127.0.0.1:2",
                    "pid": 8, "version": "2.1.2", "heartbeatMs": 0.5, "servedBy": "a", "epochGiven": 3, "epochLoaded": 3,
                    "collisions": [], "collisionCount": 0,
                }],
                "paths": [{
                    "topic": "soil", "producer": "i", "consumer": "a", "path": ["a", "i"], "up": true, "probeMs": 1.5,
                }],
                "migrations": [{
                    "name": "c-1", "broker": "c", "to": null, "reason": "Failure", "phase": "Detected",
                    "evidence": ["refused"], "moved": {}, "notMoved": {}, "adopted": 0, "copied": false, "waiting": {}, "abandoned": {},
                    "times": {"Detected": "2026-01-01T00:00:00Z"},
                }],
                "drains": [],
                "settled": true,
                "problems": [],
            })
        );
        assert_eq!(serde_json::from_value::<FleetStatus>(json).unwrap(), status());
    }

    #[test]
    fn figures_alone_are_no_change_and_a_phase_is() {
        let mut other = status();
        other.brokers[0].heartbeat_ms = Some(9.0);
        other.paths[0].probe_ms = None;
        other.updated_at = "later".to_owned();
        assert!(status().same_but_for_figures(&other));
        other.brokers[0].phase = BrokerPhase::Suspect;
        assert!(!status().same_but_for_figures(&other));
    }
}
