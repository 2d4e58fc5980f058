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
    let (mut found, mut unnoticed) = (Vec::new(), Vec::new());
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
                None => unnoticed.push(name.clone()),
            }
            if let Some(more) = object.data.pointer("/status/morePaths").and_then(Value::as_i64) {
                found.push(format!("{name}: it has {more} more paths than its status lists"));
            }
        }
    }
    if let Some(first) = unnoticed.first() {
        let more = match unnoticed.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        found.push(format!("no controller has taken notice yet of {first}{more}"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use skein_commands::output::json as text_of;
    use skein_commands::status::human;

    fn object(kind: &str, name: &str, spec: &Value, status: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "mqtt.skein.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "farm", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn said(ready: &str, message: &str) -> Value {
        json!([{
            "type": "Ready", "status": ready, "reason": "Told", "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }])
    }

    /// A broker that died, its substitute, one that somebody else runs; a drain; and an edit that nobody has read.
    fn objects() -> Objects {
        let managed = json!({"managed": {"allowAnonymous": true}});
        let broker = |name: &str, status: Value| object("Broker", name, &managed, &status);
        let path = |consumer: &str, path: Value, up: bool| json!({"producer": "i", "consumer": consumer, "path": path, "up": up});
        let mut unread = object("NodeRoute", "a-i", &json!({"between": ["a", "i"]}), &Value::Null);
        unread.data.as_object_mut().unwrap().remove("status");
        let cloud = json!({"external": {"address": "broker.example:8883"}});
        Objects {
            brokers: vec![
                broker(
                    "a",
                    json!({"phase": "Up", "version": "2.1.2", "epoch": {"given": 3, "loaded": 3}, "conditions": said("True", "it answers")}),
                ),
                object(
                    "Broker",
                    "cloud",
                    &cloud,
                    &json!({"phase": "Up", "conditions": said("True", "it answers")}),
                ),
                broker(
                    "i",
                    json!({"phase": "Fenced", "version": "2.1.2", "servedBy": "i2", "conditions": said("False", "it is down; i2 serves its clients")}),
                ),
                broker(
                    "i2",
                    json!({"phase": "Up", "version": "2.1.2", "conditions": said("True", "it answers")}),
                ),
            ],
            routes: vec![unread],
            topics: vec![object(
                "Topic",
                "soil",
                &json!({"filter": "farm/+/soil", "producers": [{"broker": "i"}], "consumers": [{"broker": "a"}]}),
                &json!({
                    "class": "soil", "conditions": said("True", "it gets there"),
                    "paths": [path("a", json!(["a", "i2"]), true), path("cloud", json!([]), false)],
                }),
            )],
            migrations: vec![
                object(
                    "Migration",
                    "i-1",
                    &json!({"broker": "i", "to": "i2", "reason": "Failure"}),
                    &json!({
                        "phase": "Completed", "to": "i2", "evidence": [{"message": "connection refused"}],
                        "times": [{"phase": "Completed", "at": "2026-01-01T00:00:01Z"}], "conditions": said("True", "done"),
                    }),
                ),
                object(
                    "Migration",
                    "drain-a",
                    &json!({"broker": "a", "reason": "Drain"}),
                    &json!({
                        "phase": "Draining", "to": "i2", "waiting": [{"client": "pump", "messages": 12}],
                        "times": [{"phase": "Draining", "at": "2026-01-01T00:00:02Z"}], "conditions": said("True", "it goes on"),
                    }),
                ),
            ],
        }
    }

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    #[test]
    fn a_fleet_for_people_and_programs() {
        let shown = view(&objects(), "farm", &Keeper::Acts, now());
        let text = human(&shown, now(), &crate::voice::VOICE);
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
        insta::assert_snapshot!("a_fleet_for_programs", text_of(&shown).unwrap());
    }

    #[test]
    fn that_nobody_acts_is_said_and_since_when() {
        let keeper = Keeper::Nobody("2026-01-01T00:00:30Z".parse().ok());
        let shown = view(&objects(), "farm", &keeper, now());
        assert_eq!(shown.running, Some(false));
        let text = human(&shown, now(), &crate::voice::VOICE);
        assert!(
            text.contains("no controller acts; this is how it was 30 seconds ago"),
            "{text}"
        );
        let unknown = view(&objects(), "farm", &Keeper::Unknown, now());
        assert_eq!(unknown.running, None);
        assert!(!human(&unknown, now(), &crate::voice::VOICE).contains("no controller acts"));
    }

    #[test]
    fn what_is_down_is_so_in_plans() {
        let subject = objects().subject();
        let names = |names: Vec<&BrokerName>| names.into_iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(subject.view.down.iter().collect()), ["i"]);
        assert_eq!(names(subject.view.served_by.values().collect()), ["i2"]);
        assert_eq!(subject.view.previous_classes.len(), 1);
    }

    #[test]
    fn the_drain_that_is_wished_is_the_oldest_that_is_not_ended() {
        let mut objects = objects();
        let wished = |objects: &Objects| {
            objects
                .drains()
                .into_iter()
                .map(|drain| drain.declared_by.unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(wished(&objects), ["drain-a"]);
        let mut older = object("Migration", "upgrade", &json!({"broker": "a"}), &Value::Null);
        older.metadata.creation_timestamp = serde_json::from_value(json!("2025-01-01T00:00:00Z")).unwrap();
        objects.migrations.push(older);
        assert_eq!(wished(&objects), ["upgrade"]);
        objects.migrations.last_mut().unwrap().data["spec"]["end"] = json!(true);
        assert_eq!(wished(&objects), ["drain-a"]);
    }
}
