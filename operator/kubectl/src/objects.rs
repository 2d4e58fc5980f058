//! The custom resources of a namespace, and the fleet that they declare.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;
use skein_adapter::migrations::MigrationRecord;
use skein_adapter::moves::Drain;
use skein_api::manifest::Severity;
use skein_api::name::{BrokerName, TopicName};
use skein_api::resources::{
    Broker, BrokerPhase as Phase, BrokerStatus, Migration, MigrationReason, NodeRoute, Topic, TopicStatus,
};
use skein_commands::paint::{BAD, CAREFUL, paint};
use skein_commands::{Failure, Running, Subject, output};
use skein_contract::Profile;
use skein_controller::custom::Custom;
use skein_controller::declared::{Declarations, Reading};
use skein_controller::status::from_status;
use skein_engine::collisions::Collision;
use skein_engine::directive::BrokerPhase;
use skein_planner::plan::View;

use crate::cluster::Cluster;
use crate::refusal::Tried;

/// What a namespace declares, and the status of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    pub(crate) brokers: Vec<DynamicObject>,
    pub(crate) routes: Vec<DynamicObject>,
    pub(crate) topics: Vec<DynamicObject>,
    pub(crate) migrations: Vec<DynamicObject>,
}

/// A kind's name as roles have it: `brokers.mqtt.skein.dev`.
pub(crate) fn plural<K: Resource<DynamicType = ()>>() -> String {
    format!("{}.{}", K::plural(&()), K::group(&()))
}

impl Objects {
    /// Those of a namespace.
    ///
    /// # Errors
    /// If there is no fleet, or it may not be read.
    pub(crate) async fn read(cluster: &Cluster) -> Result<Self, Failure> {
        let objects = Self {
            brokers: list::<Broker>(cluster).await?,
            routes: list::<NodeRoute>(cluster).await?,
            topics: list::<Topic>(cluster).await?,
            migrations: list::<Migration>(cluster).await?,
        };
        objects.or_none(&cluster.namespace)
    }

    /// Itself, if it is a fleet.
    pub(crate) fn or_none(self, namespace: &str) -> Result<Self, Failure> {
        if self.brokers.is_empty() {
            return Err(Failure::could_not(format!(
                "there is no fleet in namespace {namespace}: no Broker is declared there; name another with -n, or see with \
                 `kubectl get brokers -A` where there are some"
            )));
        }
        Ok(self)
    }

    /// What they declare together, as a controller that begins now would read it.
    pub(crate) fn reading(&self) -> Reading {
        let declared = [&self.brokers, &self.routes, &self.topics].into_iter().flatten();
        let declared: Vec<Custom> = declared.map(Custom::from).collect();
        Declarations::default().read(&declared)
    }

    /// The fleet that they declare, and what of it is down. What is wrong with an object is said, and the object left out.
    pub(crate) fn subject(&self) -> Subject {
        let reading = self.reading();
        tell_problems(&reading);
        let mut view = View::default();
        let mut versions = BTreeMap::new();
        for (name, status) in self.broker_statuses() {
            let is_out = matches!(status.phase, Some(Phase::Down | Phase::Fenced));
            if is_out || status.served_by.is_some() {
                view.down.insert(name.clone());
            }
            if let Some(substitute) = status.served_by {
                view.served_by.insert(name.clone(), substitute);
            }
            versions.extend(status.version.map(|version| (name, version)));
        }
        let topics = self.topics.iter().filter_map(|object| {
            let status: TopicStatus = status(object)?;
            let name = TopicName::new(&object.name_any()).ok()?;
            Some((name, status.class?.parse().ok()?))
        });
        view.previous_classes = topics.collect();
        let known: BTreeSet<&BrokerName> = reading.fleet.brokers.keys().collect();
        view.down.retain(|name| known.contains(name));
        view.served_by
            .retain(|name, by| known.contains(name) && known.contains(by));
        Subject {
            view,
            running: Some(Box::new(There { versions })),
            fleet: (*reading.fleet).clone(),
        }
    }

    /// Brokers with what their status says.
    pub(crate) fn broker_statuses(&self) -> Vec<(BrokerName, BrokerStatus)> {
        let one = |object: &DynamicObject| {
            let name = BrokerName::new(&object.name_any()).ok()?;
            Some((name, status(object).unwrap_or_default()))
        };
        self.brokers.iter().filter_map(one).collect()
    }

    /// Migrations as resources, oldest first; those that nobody can read are left out.
    pub(crate) fn migrations(&self) -> Vec<Migration> {
        let parsed = self.migrations.iter().filter_map(|object| {
            let json = serde_json::to_value(object).ok()?;
            serde_json::from_value::<Migration>(json).ok()
        });
        let mut migrations: Vec<Migration> = parsed.collect();
        migrations.sort_by_key(|migration| (migration.creation_timestamp(), migration.name_any()));
        migrations
    }

    /// What is on record of those that were begun, in the order in which they were.
    pub(crate) fn records(&self) -> Vec<MigrationRecord> {
        let migrations = self.migrations().into_iter();
        let records = migrations.filter_map(|migration| {
            from_status(&migration.name_any(), &migration.spec, migration.status.as_ref()?)
        });
        let mut records: Vec<MigrationRecord> = records.collect();
        records.sort_by_key(|record| record.times.values().min().cloned());
        records
    }

    /// The drains that are wished: of those of one broker the oldest counts.
    pub(crate) fn drains(&self) -> Vec<Drain> {
        let mut drains: BTreeMap<BrokerName, Drain> = BTreeMap::new();
        for migration in self.migrations() {
            let (name, spec) = (migration.name_any(), migration.spec);
            let is_wished = spec.reason == MigrationReason::Drain
                && !spec.end
                && migration.metadata.deletion_timestamp.is_none();
            if is_wished && !drains.contains_key(&spec.broker) {
                let drain = Drain {
                    broker: spec.broker.clone(),
                    to: spec.to,
                    abandon: spec.abandon,
                    declared_by: Some(name),
                };
                drains.insert(spec.broker, drain);
            }
        }
        drains.into_values().collect()
    }
}

/// What an object's status says, if it is one.
pub(crate) fn status<S: DeserializeOwned>(object: &DynamicObject) -> Option<S> {
    S::deserialize(object.data.get("status")?).ok()
}

/// A phase as everybody has it who does not look at resources.
pub(crate) fn phase(phase: Option<Phase>) -> BrokerPhase {
    match phase {
        None | Some(Phase::Starting) => BrokerPhase::Pending,
        Some(Phase::Up) => BrokerPhase::Ready,
        Some(Phase::Suspect) => BrokerPhase::Suspect,
        Some(Phase::Down | Phase::Fenced) => BrokerPhase::Down,
        Some(Phase::Returning) => BrokerPhase::Returning,
    }
}

fn tell_problems(reading: &Reading) {
    for problem in &reading.problems {
        let style = if problem.severity == Severity::Error {
            BAD
        } else {
            CAREFUL
        };
        let place = [problem.object.as_str(), problem.field.as_str()].join(" ");
        let said = format!("{}: {}; {}", place.trim(), problem.message, problem.remedy);
        output::tell(&paint(style, said));
    }
}

/// The namespaces with a broker in them.
///
/// # Errors
/// If brokers may not be listed everywhere.
pub(crate) async fn namespaces(cluster: &Cluster) -> Result<BTreeSet<String>, Failure> {
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &ApiResource::erase::<Broker>(&()));
    let listed = api.list_metadata(&ListParams::default()).await;
    let listed = listed.map_err(|error| {
        let resource = plural::<Broker>();
        let tried = Tried {
            verb: "list",
            resource: &resource,
            namespace: None,
        };
        tried.failure(&error)
    })?;
    Ok(listed
        .items
        .iter()
        .filter_map(kube::ResourceExt::namespace)
        .collect())
}

async fn list<K: Resource<DynamicType = ()>>(cluster: &Cluster) -> Result<Vec<DynamicObject>, Failure> {
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let listed = api.list(&ListParams::default()).await.map_err(|error| {
        let resource = plural::<K>();
        let tried = Tried {
            verb: "list",
            resource: &resource,
            namespace: Some(&cluster.namespace),
        };
        tried.failure(&error)
    })?;
    Ok(listed
        .items
        .into_iter()
        .map(|object| typed(object, &resource))
        .collect())
}

/// With the kind that lists leave out of their items.
pub(crate) fn typed(mut object: DynamicObject, resource: &ApiResource) -> DynamicObject {
    object.types.get_or_insert_with(|| kube::api::TypeMeta {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
    });
    object.metadata.managed_fields = None;
    object
}

/// What is known of brokers from their status.
#[derive(Debug)]
struct There {
    versions: BTreeMap<BrokerName, String>,
}

impl Running for There {
    fn version(&self, broker: &BrokerName) -> Result<Option<String>, Failure> {
        Ok(self.versions.get(broker).cloned())
    }

    /// The images of pods have all that a profile asks for.
    fn profile(&self, _broker: &BrokerName) -> Option<Profile> {
        None
    }

    /// A status says only that there are some.
    fn collisions(&self, _broker: &BrokerName) -> Result<(Vec<Collision>, usize), Failure> {
        Ok((Vec::new(), 0))
    }
}

/// An object's field, if it is a text.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(path)?.as_str()
}
