//! What the custom resources of a namespace declare together: as much of it as is sound.
//!
//! An edit that is wrong leaves its object as it was while it was sound; one that was never sound is left out, and with it what
//! cannot be without it. Each problem names its object and field, and is shown there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use skein_adapter::declared::{Declared, ManifestFile, Problem, load};
use skein_api::fleet::Fleet;
use skein_api::manifest::Severity;
use skein_api::name::{BrokerName, RouteName, TopicName};
use skein_api::resources::{API_VERSION, Broker};

use crate::custom::Custom;
use crate::fleet::{is_held, pauses};
use crate::{names, objects};

/// What is known of the custom resources of a namespace, from one reading to the next.
#[derive(Debug, Default)]
pub struct Declarations {
    /// Each object's text as it was sound last, by `Kind/name`.
    sound: Texts,
    /// The text of each object as it was read last, and which state of the object that was.
    read: BTreeMap<String, (Option<String>, Arc<str>)>,
    /// What was in force last, if nothing was wrong with it, nor surprising.
    last: Option<(Arc<Fleet>, BTreeMap<BrokerName, Declaration>)>,
}

/// Objects' texts, by `Kind/name`.
type Texts = BTreeMap<String, Arc<str>>;

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
    pub fn read<'a>(&mut self, objects: impl IntoIterator<Item = &'a Custom>) -> Reading {
        let mut uids = BTreeMap::new();
        let mut paused = BTreeSet::new();
        let mut leaving = BTreeMap::new();
        let mut now = Texts::new();
        let mut read = BTreeMap::new();
        for object in objects {
            // One that is being deleted is not wanted any more.
            if object.meta().deletion_timestamp.is_some() {
                leaving.extend(left(object));
                continue;
            }
            let key = format!("{}/{}", object.kind(), object.name_any());
            if object.kind() == "Broker" {
                if pauses(object) {
                    paused.insert(key.clone());
                }
                uids.insert(key.clone(), object.uid().unwrap_or_default());
            }
            let version = object.resource_version();
            let known = self.read.remove(&key);
            let known = known.filter(|(known, _)| known.is_some() && *known == version);
            let text = known.map_or_else(|| text(object).into(), |(_, text)| text);
            now.insert(key.clone(), Arc::clone(&text));
            read.insert(key, (version, text));
        }
        self.read = read;
        self.sound.retain(|key, _| now.contains_key(key));
        let (declared, problems, taken) = match self.changed(&now) {
            Some(fleet) => (Some(fleet), Vec::new(), now),
            None => self.judge_all(now),
        };
        let is_broker =
            |key: &String, text: &Arc<str>| key.starts_with("Broker/") && taken.get(key) != Some(text);
        let brokers_changed = self.sound.iter().any(|(key, text)| is_broker(key, text));
        let fleet = declared.unwrap_or_default();
        let before = self.last.take().filter(|_| !brokers_changed);
        let before = before.map(|(_, hosted)| hosted).unwrap_or_default();
        let hosted = fleet.brokers.iter().filter_map(|(name, broker)| {
            let key = format!("Broker/{name}");
            let uid = uids.get(&key)?.clone();
            let known = before.get(name).filter(|known| known.uid == uid);
            let broker = match known {
                Some(known) => known.broker.clone(),
                None => serde_json::from_str(taken.get(&key)?)
                    .ok()
                    .filter(|_| broker.is_controlled())?,
            };
            let is_paused = paused.contains(&key);
            let declaration = Declaration {
                uid,
                broker,
                is_paused,
            };
            Some((name.clone(), declaration))
        });
        let hosted: BTreeMap<BrokerName, Declaration> = hosted.collect();
        self.sound = taken;
        self.last = problems.is_empty().then(|| (Arc::clone(&fleet), hosted.clone()));
        Reading {
            fleet,
            problems,
            hosted,
            leaving,
        }
    }

    /// The fleet as it is now, if only routes and topics are others than in the last reading, and all is well: what has not
    /// changed is not judged again. A route is judged beside those between the same brokers, and all of them beside the brokers;
    /// nothing else of one matters to another.
    fn changed(&self, now: &Texts) -> Option<Arc<Fleet>> {
        let (fleet, _) = self.last.as_ref()?;
        let mut fleet = Arc::clone(fleet);
        let changed = now
            .iter()
            .filter(|(key, text)| self.sound.get(*key) != Some(text));
        let changed: Vec<(&String, &Arc<str>)> = changed.collect();
        if changed.iter().any(|(key, _)| key.starts_with("Broker/")) {
            return None;
        }
        // Those that are not there any more were left out of what was sound when this reading began.
        let is_gone = |key: String| !now.contains_key(&key);
        if fleet.brokers.keys().any(|name| is_gone(format!("Broker/{name}"))) {
            return None;
        }
        let gone: Vec<RouteName> = fleet
            .routes
            .keys()
            .filter(|name| is_gone(format!("NodeRoute/{name}")))
            .cloned()
            .collect();
        let ended: Vec<TopicName> = fleet
            .topics
            .keys()
            .filter(|name| is_gone(format!("Topic/{name}")))
            .cloned()
            .collect();
        if changed.is_empty() && gone.is_empty() && ended.is_empty() {
            return Some(fleet);
        }
        let some = Arc::make_mut(&mut fleet);
        some.routes.retain(|name, _| !gone.contains(name));
        some.topics.retain(|name, _| !ended.contains(name));
        if changed.is_empty() {
            return Some(fleet);
        }
        let mut judged = Texts::new();
        let brokers = now
            .range("Broker/".to_owned()..)
            .take_while(|(key, _)| key.starts_with("Broker/"));
        judged.extend(brokers.map(|(key, text)| (key.clone(), Arc::clone(text))));
        for (key, text) in changed {
            if key.starts_with("NodeRoute/") {
                judged.extend(beside(now, text));
            }
            judged.insert(key.clone(), Arc::clone(text));
        }
        let declared = judge(&judged)
            .ok()
            .filter(|declared| declared.warnings.is_empty())?;
        let part = Arc::unwrap_or_clone(declared.fleet);
        some.routes.extend(part.routes);
        some.topics.extend(part.topics);
        Some(fleet)
    }

    /// All of it, from the beginning: the fleet, what is wrong, and the texts that it follows from.
    fn judge_all(&self, now: Texts) -> (Option<Arc<Fleet>>, Vec<Problem>, Texts) {
        let mut problems = Vec::new();
        let mut taken = now;
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
                                taken.insert(key, Arc::clone(sound));
                            }
                            _ => {
                                taken.remove(&key);
                            }
                        }
                    }
                }
            }
        };
        let fleet = declared.map(|declared| {
            add(&mut problems, declared.warnings);
            declared.fleet
        });
        (fleet, problems, taken)
    }
}

/// The routes between the brokers of this one.
fn beside(all: &Texts, route: &str) -> Texts {
    let ends = |text: &str| {
        let value: Value = serde_json::from_str(text).ok()?;
        let spec = &value["spec"];
        let named = |field: &Value| field.as_str().map(str::to_owned);
        let between = spec["between"].as_array().into_iter().flatten();
        let ends: BTreeSet<String> = between
            .filter_map(named)
            .chain(named(&spec["from"]))
            .chain(named(&spec["to"]))
            .collect();
        Some(ends)
    };
    let Some(own) = ends(route) else {
        return Texts::new();
    };
    let names_both = |text: &str| own.iter().all(|name| text.contains(&format!("\"{name}\"")));
    let routes = all
        .range("NodeRoute/".to_owned()..)
        .take_while(|(key, _)| key.starts_with("NodeRoute/"));
    routes
        .filter(|(_, text)| names_both(text) && ends(text).as_ref() == Some(&own))
        .map(|(key, text)| (key.clone(), Arc::clone(text)))
        .collect()
}

/// A broker that is being deleted and waits for us, as it was declared last.
fn left(object: &Custom) -> Option<(BrokerName, Declaration)> {
    let broker: Broker = serde_json::from_str(&text(object)).ok()?;
    let is_ours = is_held(object) && object.kind() == "Broker";
    let declaration = Declaration {
        uid: object.uid()?,
        broker,
        is_paused: false,
    };
    let name = BrokerName::new(&object.name_any()).ok()?;
    is_ours.then_some((name, declaration))
}

/// What of an object a manifest would say.
fn text(object: &Custom) -> String {
    let (name, kind) = (json!(object.name_any()), json!(object.kind()));
    let labels = json!(object.meta().labels);
    let spec = object.spec.as_str();
    format!(
        r#"{{"apiVersion":"{API_VERSION}","kind":{kind},"metadata":{{"labels":{labels},"name":{name}}},"spec":{spec}}}"#
    )
}

/// Judges the objects together, and what only a cluster minds.
fn judge(objects: &Texts) -> Result<Declared, Vec<Problem>> {
    let file = |(path, text): (&String, &Arc<str>)| ManifestFile {
        path: path.clone(),
        text: text.to_string(),
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

    fn object(kind: &str, name: &str, spec: &Value) -> Custom {
        serde_json::from_value(json!({
            "apiVersion": "mqtt.skein.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "uid": format!("{kind}-{name}"), "namespace": "farm", "generation": 1},
            "spec": spec, "status": {"phase": "Up"},
        }))
        .unwrap()
    }

    fn broker(name: &str) -> Custom {
        object("Broker", name, &json!({"managed": {"allowAnonymous": true}}))
    }

    fn route(name: &str, a: &str, b: &str) -> Custom {
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

    fn topic(name: &str, filter: &str, from: &str, to: &str) -> Custom {
        let spec = json!({"filter": filter, "producers": [{"broker": from}], "consumers": [{"broker": to}]});
        object("Topic", name, &spec)
    }

    #[test]
    fn a_change_is_read_like_the_whole() {
        let fleet = |b_c: bool, soil: &str, leaf: bool| {
            let mut objects = vec![broker("a"), broker("b"), broker("c"), route("a-b", "a", "b")];
            objects.extend(b_c.then(|| route("b-c", "b", "c")));
            objects.push(topic("soil", soil, "a", "b"));
            objects.extend(leaf.then(|| topic("leaf", "leaf/#", "a", "c")));
            objects
        };
        let mut declarations = Declarations::default();
        for objects in [
            fleet(false, "soil", false),
            // A topic changes, one comes, a route comes, and all go again.
            fleet(false, "soil/+", false),
            fleet(false, "soil/+", true),
            fleet(true, "soil/+", true),
            fleet(false, "soil", false),
        ] {
            let reading = declarations.read(&objects);
            let whole = Declarations::default().read(&objects);
            assert_eq!(reading.fleet, whole.fleet);
            assert_eq!(reading.hosted, whole.hosted);
            assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        }
    }

    #[test]
    fn what_is_wrong_with_a_change_is_found_like_in_the_whole() {
        let sound = [
            broker("a"),
            broker("b"),
            route("a-b", "a", "b"),
            topic("soil", "soil", "a", "b"),
        ];
        for wrong in [
            topic("leaf", "leaf/#/x", "a", "b"),
            topic("leaf", "leaf", "a", "nobody"),
            // Another one between the same brokers.
            route("b-a", "b", "a"),
            route("a-x", "a", "x"),
            broker("b-skein"),
        ] {
            let mut declarations = Declarations::default();
            declarations.read(&sound);
            let all: Vec<Custom> = sound.iter().cloned().chain([wrong]).collect();
            let reading = declarations.read(&all);
            let whole = Declarations::default().read(&all);
            assert_eq!(reading.problems, whole.problems);
            assert_eq!(reading.fleet, whole.fleet);
            // And back from it.
            let reading = declarations.read(&sound);
            assert!(reading.problems.is_empty());
            assert_eq!(reading.fleet, Declarations::default().read(&sound).fleet);
        }
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
        going.meta_mut().deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let reading = Declarations::default().read(&[broker("a"), going.clone()]);
        assert_eq!(names(&reading).0, ["a"]);
        assert!(reading.leaving.is_empty(), "nobody holds it");
        going.meta_mut().finalizers = Some(vec![crate::names::FINALIZER.to_owned()]);
        let reading = Declarations::default().read(&[broker("a"), going]);
        assert_eq!(
            reading.leaving.keys().map(BrokerName::as_str).collect::<Vec<_>>(),
            ["b"]
        );
    }

    #[test]
    fn an_annotation_pauses() {
        let mut paused = broker("b");
        paused.meta_mut().annotations = Some([(crate::names::PAUSED.to_owned(), "true".to_owned())].into());
        let reading = Declarations::default().read(&[broker("a"), paused]);
        let is_paused = |name: &str| reading.hosted[&BrokerName::new(name).unwrap()].is_paused;
        assert!(!is_paused("a") && is_paused("b"));
    }
}
