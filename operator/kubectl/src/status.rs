//! A fleet's status, out of that of its custom resources: the shape that `skein status` has, too.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::Value;
use skein_api::name::{BrokerName, TopicName};
use skein_api::resources::{BrokerStatus, TopicStatus};
use skein_commands::views::{BrokerView, MigrationView, PathView, StatusView};
use skein_controller::names;
use skein_engine::directive::BrokerPhase;

use crate::keeper::Keeper;
use crate::objects::{Objects, phase, status, text};

/// The fleet of a namespace as it is now.
pub(crate) fn view(objects: &Objects, namespace: &str, keeper: &Keeper, now: Timestamp) -> StatusView {
    let since = match keeper {
        Keeper::Nobody(Some(since)) => *since,
        _ => now,
    };
    StatusView {
        updated_at: since.to_string(),
        fleet: namespace.to_owned(),
        pid: None,
        running: match keeper {
            Keeper::Acts => Some(true),
            Keeper::Nobody(_) => Some(false),
            Keeper::Unknown => None,
        },
        brokers: objects
            .brokers
            .iter()
            .filter_map(|object| broker(object, namespace))
            .collect(),
        paths: objects.topics.iter().flat_map(paths).collect(),
        migrations: objects.records().iter().map(MigrationView::from).collect(),
        drains: objects.drains(),
        settled: None,
        problems: problems(objects),
    }
}

fn broker(object: &DynamicObject, namespace: &str) -> Option<BrokerView> {
    let name = BrokerName::new(&object.name_any()).ok()?;
    let status: BrokerStatus = status(object).unwrap_or_default();
    let phase = phase(status.phase);
    let external = text(&object.data, "/spec/external/address").map(str::to_owned);
    let at = |service: &str| {
        external
            .clone()
            .unwrap_or_else(|| format!("{service}.{namespace}:{}", names::PORT.0))
    };
    let is_served = matches!(
        phase,
        BrokerPhase::Pending | BrokerPhase::Ready | BrokerPhase::Suspect
    );
    let epoch = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    Some(BrokerView {
        phase,
        client_address: Some(at(name.as_str())),
        peer_address: Some(at(&names::own(&name))),
        pid: None,
        version: status.version,
        heartbeat_ms: None,
        served_by: status.served_by.or_else(|| is_served.then(|| name.clone())),
        epoch_given: status.epoch.as_ref().and_then(|status| epoch(status.given)),
        epoch_loaded: status.epoch.as_ref().and_then(|status| epoch(status.loaded)),
        collisions: Vec::new(),
        collision_count: 0,
        name,
    })
}

fn paths(object: &DynamicObject) -> Vec<PathView> {
    let Ok(topic) = TopicName::new(&object.name_any()) else {
        return Vec::new();
    };
    let status: TopicStatus = status(object).unwrap_or_default();
    let view = |path: skein_api::resources::PathStatus| PathView {
        topic: topic.clone(),
        producer: path.producer,
        consumer: path.consumer,
        path: path.path,
        up: path.up.unwrap_or(false),
        probe_ms: None,
    };
    status.paths.into_iter().map(view).collect()
}

/// What stands against each object that is not ready, as its conditions say it.
fn problems(objects: &Objects) -> Vec<String> {
    let mut found = Vec::new();
    let kinds = [
        ("Broker", &objects.brokers),
        ("NodeRoute", &objects.routes),
        ("Topic", &objects.topics),
        ("Migration", &objects.migrations),
    ];
    for (kind, objects) in kinds {
        for object in objects {
            let name = format!("{kind}/{}", object.name_any());
            match ready(object) {
                Some(ready) if ready.status == "False" => found.push(format!("{name}: {}", ready.message)),
                Some(_) => {}
                None if object.data.get("status").is_none() => {
                    found.push(format!("{name}: no controller has taken notice of it yet"));
                }
                None => {}
            }
            if let Some(more) = object.data.pointer("/status/morePaths").and_then(Value::as_i64) {
                found.push(format!("{name}: it has {more} more paths than its status lists"));
            }
        }
    }
    found
}

fn ready(object: &DynamicObject) -> Option<Condition> {
    let conditions = object.data.pointer("/status/conditions")?;
    let conditions: Vec<Condition> = serde_json::from_value(conditions.clone()).ok()?;
    conditions
        .into_iter()
        .find(|condition| condition.type_ == "Ready")
}
