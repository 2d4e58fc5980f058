//! The status of custom resources, written where it changed; and Migrations, which are Skein's to make when a broker fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::core::ApiResource;
use kube::{Resource as _, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skein_adapter::migrations::{MigrationRecord, Migrations};
use skein_api::manifest::Severity;
use skein_api::name::BrokerName;
use skein_api::resources::{Broker, Migration, MigrationReason, NodeRoute, Topic};
use skein_engine::directive::{self, Reason};
use tokio::time::Instant;

use super::{Fleet, REST};
use crate::custom::Custom;
use crate::metrics::{Figures, METRICS};
use crate::names;
use crate::objects::Wanted;
use crate::status::{self, Case, Seen};

/// How many Migrations of a broker's failures stay.
const KEPT: usize = 10;
/// It is looked at again after no more than this: this process may have been kept from going on.
const LONGEST_REST: Duration = Duration::from_secs(10);

impl Fleet {
    /// Takes up the migrations of an earlier life.
    pub(super) fn restore_migrations(&mut self) {
        let mut records: Vec<MigrationRecord> = Vec::new();
        for resource in self.migration_resources() {
            let name = resource.name_any();
            let status = resource.status.as_ref();
            let record = status.and_then(|status| status::from_status(&name, &resource.spec, status));
            if record.is_some() && resource.spec.reason == MigrationReason::Drain {
                self.drains.restore(name, resource.uid().unwrap_or_default());
            }
            records.extend(record);
        }
        // In the order in which they began, which is not that in which people declared them.
        records.sort_by_key(|record| record.times.values().min().cloned());
        self.migrations = Migrations::new(records);
    }

    /// The Migration that tells of a record, and its uid if that matters: a person's, if it is the drain that a person wished.
    pub(super) fn resource_of(&self, record: &MigrationRecord) -> (String, Option<String>) {
        let migration = &record.migration;
        let wished = match migration.reason {
            Reason::Drain => self.drains.object(migration),
            Reason::Failure => None,
        };
        match wished {
            Some(object) => (object.name.clone(), Some(object.uid.clone())),
            None => (
                migration.name.clone(),
                self.drains.restored(&migration.name).cloned(),
            ),
        }
    }

    /// Makes the Migration of a failure, if it is not there yet.
    pub(super) fn write_migration(&mut self, migration: &directive::Migration) {
        let name = &migration.name;
        if migration.reason == Reason::Failure {
            let (label, ours) = names::MANAGED_BY;
            let mut spec = json!({"broker": migration.broker, "reason": "Failure"});
            if let Some(to) = &migration.to {
                spec["to"] = json!(to);
            }
            let labels = json!({label: ours, names::BROKER: migration.broker});
            let body = json!({"metadata": {"labels": labels}, "spec": spec});
            self.writer
                .want(Wanted::part::<Migration>(&self.setting.namespace, name, body));
        }
    }

    /// Deletes the oldest Migrations of a broker's failures that are over. The newest tell enough, and which number comes next.
    pub(super) fn forget_migrations(&mut self, broker: &BrokerName) {
        let failures = self.migrations.records().iter().rev().filter(|record| {
            let migration = &record.migration;
            migration.broker == *broker && migration.reason == Reason::Failure
        });
        let old: Vec<String> = failures
            .skip(KEPT)
            .filter(|record| record.is_over())
            .map(|record| record.migration.name.clone())
            .collect();
        for name in old {
            self.writer.want_gone(ApiResource::erase::<Migration>(&()), &name);
        }
    }

    /// Writes what has changed.
    pub(super) fn show(&mut self) {
        let begin = Instant::now();
        let engine = self.conductor.engine.status();
        let phases = engine
            .brokers
            .iter()
            .map(|broker| (broker.name.clone(), broker.phase));
        self.phases = phases.collect();
        self.heed_approvals();
        let objects = self.objections();
        let fleet = self.conductor.fleet.clone();
        let problems = self.problems.clone();
        let paused: BTreeSet<BrokerName> = self
            .hosted
            .iter()
            .filter(|(_, declaration)| declaration.is_paused)
            .map(|(name, _)| name.clone())
            .collect();
        let seen = Seen::of(Case {
            fleet: &fleet,
            plan: self.conductor.engine.plan(),
            status: &engine,
            problems: &problems,
            refused: problems.iter().any(|problem| problem.severity == Severity::Error),
            objects: &objects,
            paused: &paused,
            now: jiff::Timestamp::now(),
        });
        let errors = problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error);
        self.figures = Figures {
            links: status::held_links(&seen),
            errors: errors.count(),
        };
        METRICS.observe_status(&self.setting.namespace, &engine, &self.figures);
        let [brokers, routes, topics] = &self.setting.watched.declared;
        let mut wanted = Vec::new();
        for (store, say) in [
            (brokers, Say::of(&seen, status::broker)),
            (routes, Say::of(&seen, status::route)),
            (topics, Say::of(&seen, status::topic)),
        ] {
            for object in self.here(store) {
                let news = (say.0)(&object, self.shown.get(&key(&object)));
                wanted.push((object, news));
            }
        }
        let records = self.migrations.records().iter().map(|record| {
            let (name, uid) = self.resource_of(record);
            (name, (record, uid))
        });
        let records: BTreeMap<String, (&MigrationRecord, Option<String>)> = records.collect();
        for object in self.here(&self.setting.watched.migrations) {
            let name = object.name_any();
            let Some(resource) = object.typed::<Migration>() else {
                continue;
            };
            let of_this = |(_, uid): &&(_, Option<String>)| uid.is_none() || *uid == object.uid();
            let record = records.get(&name).filter(of_this).map(|(record, _)| *record);
            let say = Say::of(&seen, |seen, name, generation, before| {
                status::migration(seen, name, &resource.spec, record, generation, before)
            });
            let news = (say.0)(&object, self.shown.get(&key(&object)));
            drop(say);
            wanted.push((object, news));
        }
        let there: BTreeSet<String> = wanted.iter().map(|(object, _)| key(object)).collect();
        self.shown.retain(|uid, _| there.contains(uid));
        for (object, news) in wanted {
            match news {
                Some(status) => self.show_one(&object, status),
                // Remembered only until the server has it: there may be thousands.
                None => drop(self.shown.remove(&key(&object))),
            }
        }
        self.rests = Instant::now() + (begin.elapsed() * REST).min(LONGEST_REST);
    }

    fn show_one(&mut self, object: &Custom, status: Value) {
        if self.shown.get(&key(object)) == Some(&status) {
            return;
        }
        let body = json!({"status": status});
        let (namespace, name) = (&self.setting.namespace, object.name_any());
        let wanted = match object.kind() {
            "Broker" => Wanted::part::<Broker>(namespace, &name, body),
            "NodeRoute" => Wanted::part::<NodeRoute>(namespace, &name, body),
            "Topic" => Wanted::part::<Topic>(namespace, &name, body),
            _ => Wanted::part::<Migration>(namespace, &name, body),
        };
        self.shown.insert(key(object), status);
        self.writer.want_status(wanted);
    }

    /// What stands against brokers' objects.
    fn objections(&self) -> BTreeMap<BrokerName, String> {
        let mut objections = BTreeMap::new();
        for broker in self.hosted.keys() {
            if !self.heard.get(broker).is_some_and(super::place::Heard::has_pod) {
                let text = if self.is_attended(broker) {
                    format!(
                        "no agent has reported yet: run `skein-operator agent --broker {broker}` where it is"
                    )
                } else {
                    format!("there is no pod {} yet", names::pod(broker))
                };
                objections.insert(broker.clone(), text);
            }
        }
        for (about, text) in &self.conductor.troubles {
            let mut parts = about.split('/');
            let (Some("write" | "objects" | "secret"), Some(name)) = (parts.next(), parts.next_back()) else {
                continue;
            };
            let broker = names::broker_of(name).or_else(|| BrokerName::new(name).ok());
            if let Some(broker) = broker.filter(|broker| self.hosted.contains_key(broker)) {
                objections.insert(broker, text.clone());
            }
        }
        objections
    }
}

/// How one kind says its status.
struct Say<'a>(Box<Saying<'a>>);

/// Given the object, and what it was said to be since: what it is to say, unless it says that already.
type Saying<'a> = dyn Fn(&Custom, Option<&Value>) -> Option<Value> + 'a;

impl<'a> Say<'a> {
    fn of<S, F>(seen: &'a Seen<'a>, say: F) -> Self
    where
        S: Serialize + DeserializeOwned + PartialEq,
        F: Fn(&Seen<'_>, &str, Option<i64>, Option<&S>) -> S + 'a,
    {
        Self(Box::new(move |object, shown| {
            let said: Option<S> = object.status.parse();
            let shown: Option<S> = shown.and_then(|shown| S::deserialize(shown).ok());
            let before = shown.as_ref().or(said.as_ref());
            let now = say(seen, &object.name_any(), object.meta().generation, before);
            // A status has no map whose keys are no text.
            (said.as_ref() != Some(&now)).then(|| serde_json::to_value(&now).unwrap_or_default())
        }))
    }
}

/// Which object: one that was deleted and made anew is another.
fn key(object: &Custom) -> String {
    object.uid().unwrap_or_default()
}
