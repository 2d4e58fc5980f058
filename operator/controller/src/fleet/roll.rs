//! Pods replaced because their template changed: one broker at a time, drained before and given its clients back after.
//!
//! Nothing of that is remembered: the drain is a Migration, and which template a pod is from it says itself. So a controller that
//! begins goes on where another ended. A drain waits until each client has got what waits for it; one that waits for clients that
//! are away holds up no other broker.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::core::ApiResource;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;
use skein_adapter::migrations::MigrationRecord;
use skein_api::name::BrokerName;
use skein_api::resources::{Migration, MigrationReason, MigrationSpec};
use skein_engine::directive::{BrokerPhase, MigrationPhase, Reason};

use super::Fleet;
use super::kick::FOLLOWING;
use crate::names;
use crate::objects::{TEMPLATE, Wanted};
use crate::writer::Key;

/// How long a drain that waits for clients holds up others.
const PATIENCE: Duration = Duration::from_mins(1);

impl Fleet {
    /// Takes the next step, if there is one.
    pub(super) fn roll(&mut self) {
        let outdated: Vec<BrokerName> = self
            .hosted
            .keys()
            .filter(|name| self.is_outdated(name))
            .cloned()
            .collect();
        for (name, broker) in self.rolls() {
            if !outdated.contains(&broker) && self.is_back(&broker) {
                self.writer.want_gone(ApiResource::erase::<Migration>(&()), &name);
            }
        }
        if outdated.is_empty() {
            return;
        }
        let empty = outdated.iter().find(|broker| self.is_drained(broker));
        if let Some(broker) = empty.cloned() {
            self.replace_pod(&broker);
        } else if self.is_calm() {
            // Who serves others' clients has its turn when they have gone home.
            let serves = |broker: &BrokerName| self.serving.values().any(|server| server == broker);
            let next = |broker: &&BrokerName| !serves(broker) && !self.is_being_drained(broker);
            if let Some(broker) = outdated.iter().find(next).cloned() {
                if self.has_substitute(&broker) {
                    self.drain(&broker);
                } else {
                    self.replace_pod(&broker);
                }
            }
        }
    }

    /// Leads its clients away.
    fn drain(&mut self, broker: &BrokerName) {
        let name = names::roll(broker);
        let (label, ours) = names::MANAGED_BY;
        self.tell(&format!(
            "Broker/{broker}: its pod is to be another; it is drained for that"
        ));
        let body = json!({
            "metadata": {"labels": {label: ours, names::BROKER: broker}},
            "spec": {"broker": broker, "reason": "Drain"},
        });
        self.writer
            .want(Wanted::part::<Migration>(&self.setting.namespace, &name, body));
    }

    /// Deletes its pod: it has no clients, or there is nobody to take them.
    fn replace_pod(&mut self, broker: &BrokerName) {
        if let Some(uid) = self.pod_of(broker).and_then(|pod| pod.metadata.uid.clone()) {
            let resource = ApiResource::erase::<Pod>(&());
            self.writer.want_replaced(resource, &names::pod(broker), uid);
        }
    }

    /// Its pod is there, and is not of the template that is wanted, which the `StatefulSet` has by now.
    fn is_outdated(&self, broker: &BrokerName) -> bool {
        let is_written = || {
            let kind = StatefulSet::kind(&());
            self.writer.is_written(&Key::of(&kind, broker.as_str()))
        };
        let Some(wanted) = self.templates.get(broker).filter(|_| !self.is_paused(broker)) else {
            return false;
        };
        self.pod_of(broker)
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .is_some_and(|pod| pod.annotations().get(TEMPLATE) != Some(wanted))
            && is_written()
    }

    /// The drains that were made for this, by name. It is asked often, so of all others no more is read than their labels.
    fn rolls(&self) -> Vec<(String, BrokerName)> {
        let (label, ours) = names::MANAGED_BY;
        let migrations = self.here(&self.setting.watched.migrations);
        let ours = migrations.iter().filter(|migration| {
            let found = migration.labels().get(label);
            found.is_some_and(|value| value == ours)
        });
        ours.filter_map(|migration| {
            let spec: MigrationSpec = migration.spec.parse()?;
            let is_drain = spec.reason == MigrationReason::Drain;
            is_drain.then(|| (migration.name_any(), spec.broker))
        })
        .collect()
    }

    /// It answers, in a pod that is to stay; or it is not declared any more.
    fn is_back(&self, broker: &BrokerName) -> bool {
        if !self.hosted.contains_key(broker) {
            return true;
        }
        let wanted = self.templates.get(broker);
        let is_newest =
            |pod: &Pod| wanted.is_none_or(|wanted| pod.annotations().get(TEMPLATE) == Some(wanted));
        self.is_well(broker) && self.pod_of(broker).is_some_and(|pod| is_newest(&pod))
    }

    /// Its pod stays and is ready, and its broker answers.
    fn is_well(&self, broker: &BrokerName) -> bool {
        let is_ready = |pod: &Pod| {
            let conditions = pod
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten());
            let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
            pod.metadata.deletion_timestamp.is_none() && ready.any(|condition| condition.status == "True")
        };
        self.runs(broker)
            && self.phases.get(broker) == Some(&BrokerPhase::Ready)
            && (self.is_attended(broker) || self.pod_of(broker).is_some_and(|pod| is_ready(&pod)))
    }

    /// Its clients are elsewhere, whoever wanted that.
    fn is_drained(&self, broker: &BrokerName) -> bool {
        let now = jiff::Timestamp::now();
        self.migrations.newest(broker).is_some_and(|record| {
            record.migration.reason == Reason::Drain
                && record.migration.phase == MigrationPhase::Completed
                && is_older(record, FOLLOWING, now)
        })
    }

    /// Nothing is out of order, and nobody is on the way anywhere: the next may begin.
    fn is_calm(&self) -> bool {
        let now = jiff::Timestamp::now();
        let waits = |broker: &BrokerName| {
            let newest = self.migrations.newest(broker);
            newest.is_some_and(|record| is_blocked(record, now))
        };
        let is_moving = |record: &MigrationRecord| {
            let phase = record.migration.phase;
            !phase.is_over() && phase != MigrationPhase::Failed && !is_blocked(record, now)
        };
        self.rolls().iter().all(|(_, broker)| waits(broker))
            && !self.migrations.records().iter().any(is_moving)
            && self.hosted.keys().all(|broker| self.is_well(broker))
    }

    fn is_being_drained(&self, broker: &BrokerName) -> bool {
        self.rolls().iter().any(|(_, rolled)| rolled == broker)
    }

    fn has_substitute(&self, broker: &BrokerName) -> bool {
        let planned = self.conductor.engine.plan().substitutes.get(broker);
        planned.is_some_and(|planned| !planned.candidates.is_empty())
    }
}

/// It still serves, and waits for clients that do not come.
fn is_blocked(record: &MigrationRecord, now: jiff::Timestamp) -> bool {
    let migration = &record.migration;
    migration.reason == Reason::Drain
        && !migration.phase.has_moved()
        && migration.phase.is_active()
        && is_older(record, PATIENCE, now)
}

/// It has been in its phase for longer than that.
fn is_older(record: &MigrationRecord, age: Duration, now: jiff::Timestamp) -> bool {
    let times = record
        .times
        .values()
        .filter_map(|time| time.parse::<jiff::Timestamp>().ok());
    times
        .max()
        .is_some_and(|newest| now.duration_since(newest).unsigned_abs() > age && now > newest)
}
