//! What the custom resources of a namespace declare together: as much of it as is sound.
//!
//! An edit that is wrong leaves its object as it was while it was sound; one that was never sound is left out, and with it what
//! cannot be without it. Each problem names its object and field, and is shown there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use skein_adapter::declared::{Declared, ManifestFile, Problem, load};
use skein_api::fleet::Fleet;
use skein_api::manifest::Severity;
use skein_api::name::BrokerName;
use skein_api::resources::Broker;

use crate::fleet::{is_held, pauses};
use crate::{names, objects};

/// What is known of the custom resources of a namespace, from one reading to the next.
#[derive(Debug, Default)]
pub struct Declarations {
    /// Each object's text as it was sound last, by `Kind/name`.
    sound: BTreeMap<String, String>,
}

/// What a reading came to.
#[derive(Debug)]
pub struct Reading {
    /// The fleet that is to be.
    pub fleet: Arc<Fleet>,
    /// All that is wrong, or may surprise.
    pub problems: Vec<Problem>,
    /// The brokers that Skein or its agents run, as custom resources.
    pub hosted: BTreeMap<BrokerName, Declaration>,
    /// Those that were, are being deleted, and wait to be let go.
    pub leaving: BTreeMap<BrokerName, Declaration>,
}

/// The custom resource of a broker that Skein runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// Its uid.
    pub uid: String,
    /// What it says, as it is in force.
    pub broker: Broker,
    /// A person has its objects left as they are.
    pub is_paused: bool,
}

impl Declarations {
    /// Reads these objects together.
    pub fn read<'a>(&mut self, objects: impl IntoIterator<Item = &'a DynamicObject>) -> Reading {
        let mut uids = BTreeMap::new();
        let mut paused = BTreeSet::new();
        let mut leaving = BTreeMap::new();
        let mut now: BTreeMap<String, String> = BTreeMap::new();
        for object in objects {
            let Some(types) = &object.types else { continue };
            // One that is being deleted is not wanted any more.
            if object.metadata.deletion_timestamp.is_some() {
                leaving.extend(left(object));
                continue;
            }
            let key = format!("{}/{}", types.kind, object.name_any());
            if pauses(object) {
                paused.insert(key.clone());
            }
            uids.insert(key.clone(), object.metadata.uid.clone().unwrap_or_default());
            now.insert(key, text(object));
        }
        self.sound.retain(|key, _| now.contains_key(key));
        let mut problems = Vec::new();
        let mut taken = now.clone();
        let declared = loop {
            if !taken.keys().any(|key| key.starts_with("Broker/")) {
                break None;
            }
            match judge(&taken) {
                Ok(declared) => break Some(declared),
                Err(found) => {
                    let wrong = objects_of(&found);
                    add(&mut problems, found);
                    if wrong.is_empty() {
                        // Nobody knows whose fault it is: nothing of it can be trusted.
                        break None;
                    }
                    for key in wrong {
                        match self.sound.get(&key) {
                            Some(sound) if taken.get(&key) != Some(sound) => {
                                taken.insert(key, sound.clone());
                            }
                            _ => {
                                taken.remove(&key);
                            }
                        }
                    }
                }
            }
        };
        let fleet = declared.map_or_else(Arc::default, |declared| {
            add(&mut problems, declared.warnings);
            declared.fleet
        });
        let hosted = fleet.brokers.iter().filter_map(|(name, broker)| {
            let key = format!("Broker/{name}");
            let broker = serde_json::from_str(taken.get(&key)?)
                .ok()
                .filter(|_| broker.is_controlled())?;
            let uid = uids.get(&key)?.clone();
            let is_paused = paused.contains(&key);
            let declaration = Declaration {
                uid,
                broker,
                is_paused,
            };
            Some((name.clone(), declaration))
        });
        let hosted = hosted.collect();
        self.sound = taken;
        Reading {
            fleet,
            problems,
            hosted,
            leaving,
        }
    }
}

/// A broker that is being deleted and waits for us, as it was declared last.
fn left(object: &DynamicObject) -> Option<(BrokerName, Declaration)> {
    let broker: Broker = serde_json::from_str(&text(object)).ok()?;
    let is_ours = is_held(object) && object.types.as_ref()?.kind == "Broker";
    let declaration = Declaration {
        uid: object.metadata.uid.clone()?,
        broker,
        is_paused: false,
    };
    let name = BrokerName::new(&object.name_any()).ok()?;
    is_ours.then_some((name, declaration))
}

/// What of an object a manifest would say.
fn text(object: &DynamicObject) -> String {
    let types = object.types.clone().unwrap_or_default();
    let manifest = json!({
        "apiVersion": types.api_version,
        "kind": types.kind,
        "metadata": {"name": object.metadata.name, "labels": object.metadata.labels},
        "spec": object.data.get("spec").unwrap_or(&Value::Null),
    });
    manifest.to_string()
}

/// Judges the objects together, and what only a cluster minds.
fn judge(objects: &BTreeMap<String, String>) -> Result<Declared, Vec<Problem>> {
    let file = |(path, text): (&String, &String)| ManifestFile {
        path: path.clone(),
        text: text.clone(),
    };
    let files: Vec<ManifestFile> = objects.iter().map(file).collect();
    let declared = load(&files)?;
    let mut problems = Vec::new();
    for (name, broker) in &declared.fleet.brokers {
        if !broker.is_controlled() {
            continue;
        }
        let key = format!("Broker/{name}");
        let mut object = |field: &str, objection: Option<(String, &str)>| {
            problems.extend(objection.map(|(message, remedy)| Problem {
                severity: Severity::Error,
                path: key.clone(),
                line: 1,
                column: 1,
                object: key.clone(),
                field: field.to_owned(),
                message,
                remedy: remedy.to_owned(),
            }));
        };
        object("metadata.name", names::objection(name));
        let named = broker
            .external()
            .filter(|external| external.host.parse::<IpAddr>().is_err());
        let objection = named.map(|external| {
            (
                format!("a Service leads to addresses, and {:?} is a name", external.host),
                "write the IP address of the machine where the agent runs",
            )
        });
        object("spec.external.address", objection);
        let resource = objects
            .get(&key)
            .and_then(|text| serde_json::from_str::<Broker>(text).ok());
        let spec = resource.and_then(|resource| resource.spec.managed);
        object(
            "spec.managed.listeners",
            spec.as_ref().and_then(objects::objection),
        );
    }
    if problems.is_empty() {
        Ok(declared)
    } else {
        Err(problems)
    }
}

/// The objects that errors name.
fn objects_of(problems: &[Problem]) -> BTreeSet<String> {
    let errors = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error);
    // The path is the object's key: what cannot be read at all has no object.
    let keys = errors.map(|problem| {
        if problem.path.is_empty() {
            &problem.object
        } else {
            &problem.path
        }
    });
    keys.filter(|key| !key.is_empty()).cloned().collect()
}

fn add(problems: &mut Vec<Problem>, found: Vec<Problem>) {
    for problem in found {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, name: &str, spec: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "mqtt.skein.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "uid": format!("{kind}-{name}"), "namespace": "farm", "generation": 1},
            "spec": spec, "status": {"phase": "Up"},
        }))
        .unwrap()
    }

    fn broker(name: &str) -> DynamicObject {
        object("Broker", name, &json!({"managed": {"allowAnonymous": true}}))
    }

    fn route(name: &str, a: &str, b: &str) -> DynamicObject {
        object("NodeRoute", name, &json!({"between": [a, b]}))
    }

    fn names(reading: &Reading) -> (Vec<&str>, Vec<&str>) {
        let brokers = reading.fleet.brokers.keys().map(BrokerName::as_str).collect();
        (
            brokers,
            reading
                .fleet
                .routes
                .keys()
                .map(skein_api::name::RouteName::as_str)
                .collect(),
        )
    }

    #[test]
    fn what_is_sound_is_the_fleet() {
        let objects = [broker("a"), broker("b"), route("a-b", "a", "b")];
        let reading = Declarations::default().read(&objects);
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        assert_eq!(names(&reading), (vec!["a", "b"], vec!["a-b"]));
        assert_eq!(reading.hosted.len(), 2);
        assert_eq!(reading.hosted[&BrokerName::new("a").unwrap()].uid, "Broker-a");
    }

    #[test]
    fn nothing_declared_is_an_empty_fleet_and_no_problem() {
        let reading = Declarations::default().read(&[]);
        assert!(reading.problems.is_empty() && reading.fleet.brokers.is_empty());
    }

    #[test]
    fn what_was_never_sound_is_left_out_and_named() {
        let objects = [
            broker("a"),
            broker("b"),
            route("a-b", "a", "b"),
            route("a-x", "a", "x"),
        ];
        let reading = Declarations::default().read(&objects);
        assert_eq!(names(&reading), (vec!["a", "b"], vec!["a-b"]));
        let [problem] = reading.problems.as_slice() else {
            panic!("{:?}", reading.problems)
        };
        assert_eq!(problem.object, "NodeRoute/a-x");
    }

    #[test]
    fn a_wrong_edit_leaves_its_object_as_it_was() {
        let mut declarations = Declarations::default();
        declarations.read(&[broker("a"), broker("b"), route("a-b", "a", "b")]);
        let edited = route("a-b", "a", "nobody");
        let reading = declarations.read(&[broker("a"), broker("b"), edited]);
        assert_eq!(names(&reading), (vec!["a", "b"], vec!["a-b"]));
        assert_eq!(reading.fleet.routes.values().next().unwrap().b.as_str(), "b");
        assert!(
            reading
                .problems
                .iter()
                .any(|problem| problem.object == "NodeRoute/a-b")
        );
        // And back from the error.
        let reading = declarations.read(&[broker("a"), broker("b"), route("a-b", "b", "a")]);
        assert!(reading.problems.is_empty());
        assert_eq!(reading.fleet.routes.values().next().unwrap().a.as_str(), "b");
    }

    #[test]
    fn what_cannot_be_without_what_is_gone_goes_with_it() {
        let mut declarations = Declarations::default();
        declarations.read(&[broker("a"), broker("b"), route("a-b", "a", "b")]);
        let reading = declarations.read(&[broker("a"), route("a-b", "a", "b")]);
        assert_eq!(names(&reading), (vec!["a"], vec![]));
        assert!(
            reading
                .problems
                .iter()
                .any(|problem| problem.object == "NodeRoute/a-b")
        );
    }

    #[test]
    fn names_that_only_a_cluster_minds_are_refused() {
        let reading = Declarations::default().read(&[broker("a"), broker("a-skein")]);
        assert_eq!(names(&reading).0, ["a"]);
        assert_eq!(reading.problems[0].object, "Broker/a-skein");
        assert_eq!(reading.problems[0].field, "metadata.name");
    }

    #[test]
    fn what_is_being_deleted_is_not_wanted() {
        let mut going = broker("b");
        going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let reading = Declarations::default().read(&[broker("a"), going.clone()]);
        assert_eq!(names(&reading).0, ["a"]);
        assert!(reading.leaving.is_empty(), "nobody holds it");
        going.metadata.finalizers = Some(vec![crate::names::FINALIZER.to_owned()]);
        let reading = Declarations::default().read(&[broker("a"), going]);
        assert_eq!(
            reading.leaving.keys().map(BrokerName::as_str).collect::<Vec<_>>(),
            ["b"]
        );
    }

    #[test]
    fn an_annotation_pauses() {
        let mut paused = broker("b");
        paused.metadata.annotations = Some([(crate::names::PAUSED.to_owned(), "true".to_owned())].into());
        let reading = Declarations::default().read(&[broker("a"), paused]);
        let is_paused = |name: &str| reading.hosted[&BrokerName::new(name).unwrap()].is_paused;
        assert!(!is_paused("a") && is_paused("b"));
    }
}
