//! The fleet as the engine sees it, for people.

use super::Engine;
use crate::directive::{BrokerPhase, BrokerStatus, PathStatus, Status, milliseconds};
use crate::event::{Event, Process};

impl Engine {
    /// The fleet as it is seen now.
    #[must_use]
    pub fn status(&self) -> Status {
        let Some(fleet) = &self.fleet else {
            return Status::default();
        };
        let address = |(host, port): &(String, u16)| format!("{host}:{port}");
        let mut brokers = Vec::with_capacity(fleet.brokers.len());
        for name in fleet.brokers.keys() {
            let site = self.sites.get(name);
            let phase = site.map_or(BrokerPhase::Pending, |site| site.health.phase());
            let out = matches!(phase, BrokerPhase::Down | BrokerPhase::Returning);
            let own = (!out).then(|| name.clone());
            let collisions = self.colliding.of(name);
            let process = site.and_then(|site| site.health.process());
            brokers.push(BrokerStatus {
                name: name.clone(),
                phase,
                client_address: site
                    .and_then(|it| it.placement.as_ref())
                    .map(|it| address(&it.client)),
                peer_address: self.address(fleet, name).as_ref().map(address),
                pid: match process {
                    Some(Process::Running { pid } | Process::Hung { pid }) => Some(pid),
                    _ => None,
                },
                version: site.and_then(|site| site.version.clone()),
                heartbeat_ms: site
                    .and_then(|site| site.health.round_trip())
                    .filter(|_| !out)
                    .map(milliseconds),
                served_by: self.failovers.served_by().get(name).cloned().or(own),
                epoch_given: site.and_then(|site| site.ledger.last()).map(|given| given.epoch),
                epoch_loaded: site.and_then(|site| site.ledger.loaded()),
                collisions: collisions.map(|found| found.named.clone()).unwrap_or_default(),
                collision_count: collisions.map_or(0, |found| found.count),
            });
        }
        Status {
            brokers,
            paths: self.paths(),
            migrations: self.failovers.migrations().to_vec(),
            settled: self.is_settled() && !self.clears_up(),
            problems: self.problems(),
        }
    }

    /// This is as it was before, and changes no more than figures of the status: a broker that is well answers, or messages come
    /// through a path that is up.
    #[must_use]
    pub fn is_routine(&self, event: &Event) -> bool {
        match event {
            Event::HeartbeatAnswered { broker, .. } => {
                let site = self.sites.get(broker);
                site.is_some_and(|site| site.health.phase() == BrokerPhase::Ready)
            }
            Event::Probe {
                topic,
                producer,
                consumer,
                took: Some(_),
            } => {
                let key = (topic.clone(), producer.clone(), consumer.clone());
                matches!(self.probes.get(&key), Some(Some(_)))
            }
            _ => false,
        }
    }

    fn paths(&self) -> Vec<PathStatus> {
        let mut paths: Vec<PathStatus> = Vec::new();
        for path in self.plan.classes.values().flat_map(|class| &class.paths) {
            let key = (path.topic.clone(), path.producer.clone(), path.consumer.clone());
            let took = self.probes.get(&key).copied().flatten();
            paths.push(PathStatus {
                topic: path.topic.clone(),
                producer: path.producer.clone(),
                consumer: path.consumer.clone(),
                path: path.brokers.to_vec(),
                up: took.is_some() && !path.brokers.is_empty(),
                probe_ms: took.map(milliseconds),
            });
        }
        paths.sort_by(|a, b| (&a.topic, &a.producer, &a.consumer).cmp(&(&b.topic, &b.producer, &b.consumer)));
        paths
    }
}
