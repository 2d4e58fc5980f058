//! What one schema cannot see: fields that contradict each other and names that refer to nothing. Returns the fleet.

mod broker;
mod migration;
mod route;
mod salvage;
mod topic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::envelope::{Document, Kind};
use super::problem::Report;
use super::schema;
use super::suggest::nearest;
use crate::fleet::{self, Fleet};
use crate::name::{BrokerName, RouteName, TopicName};
use crate::resources::{BrokerSpec, Migration, NodeRouteSpec, TopicSpec};

/// A document and what it deserialised to.
pub(crate) struct Item<'a, T> {
    pub(crate) document: &'a Document,
    pub(crate) spec: T,
    /// Fields that broke the schema were left out, so defaults stand in their place.
    pub(crate) partial: bool,
}

/// The documents by kind, as far as they could be deserialised; and the names of all brokers.
#[derive(Default)]
pub(crate) struct Declared<'a> {
    names: BTreeMap<&'a str, &'a Document>,
    brokers: Vec<Item<'a, BrokerSpec>>,
    routes: Vec<Item<'a, NodeRouteSpec>>,
    topics: Vec<Item<'a, TopicSpec>>,
    migrations: Vec<Item<'a, Migration>>,
}

impl<'a> Declared<'a> {
    /// Checks a document against its schema and takes it, unless another one has its name already.
    pub(crate) fn take(&mut self, document: &'a Document, repeated: bool, report: &mut Report) {
        let mut value = document.node.to_value();
        if let Some(object) = value.as_object_mut() {
            let read = |key: &str| key == "spec" || key == "status" && document.kind == Kind::Migration;
            object.retain(|key, _| read(key));
        }
        if document.kind == Kind::Broker && !document.name.is_empty() {
            self.names.entry(&document.name).or_insert(document);
        }
        let flawed = schema::check(document, &value, report);
        if repeated {
            return;
        }
        match document.kind {
            Kind::Broker => self.brokers.extend(read(document, &value, &flawed, report)),
            Kind::NodeRoute => self.routes.extend(read(document, &value, &flawed, report)),
            Kind::Topic => self.topics.extend(read(document, &value, &flawed, report)),
            Kind::Migration if flawed.is_empty() => {
                self.migrations.extend(migration::read(document, &value, report));
            }
            Kind::Migration => {}
        }
        report.settle(document, flawed);
    }
}

/// Deserialises a spec. What broke the schema is left out, so that the rest is judged in the same run.
fn read<'a, T: DeserializeOwned>(
    document: &'a Document,
    value: &Value,
    flawed: &BTreeSet<String>,
    report: &mut Report,
) -> Option<Item<'a, T>> {
    let mut left_out = flawed.clone();
    loop {
        let spec = salvage::without(value, &left_out);
        match serde_json::from_value(spec["spec"].clone()) {
            Ok(spec) => {
                return Some(Item {
                    document,
                    spec,
                    partial: !flawed.is_empty(),
                });
            }
            Err(error) if flawed.is_empty() => {
                report.error(document, "spec", error.to_string(), "correct it");
                return None;
            }
            // A field that must be there was left out: leave out what it is part of.
            Err(_) => left_out = salvage::parents(&left_out)?,
        }
    }
}

/// What checks of routes, topics and migrations ask about brokers.
pub(crate) struct Brokers<'a> {
    names: &'a BTreeMap<&'a str, &'a Document>,
    sound: &'a BTreeMap<BrokerName, fleet::Broker>,
}

impl Brokers<'_> {
    /// Reports a name that no broker has; true if one has it.
    fn exists(&self, name: &BrokerName, document: &Document, field: &str, report: &mut Report) -> bool {
        if self.names.contains_key(name.as_str()) {
            return true;
        }
        let near = nearest(name.as_str(), self.names.keys().copied());
        if near.is_some() || !report.has_lost() {
            let remedy = match near {
                Some(near) => format!("did you mean {near}?"),
                None => "declare it, or name another one".to_owned(),
            };
            report.error(
                document,
                field,
                format!("there is no Broker named {name}"),
                remedy,
            );
        }
        false
    }

    /// Whether a broker is external and without an agent; false if that cannot be told.
    fn is_uncontrolled(&self, name: &BrokerName) -> bool {
        self.sound.get(name).is_some_and(|broker| !broker.is_controlled())
    }
}

/// Judges everything together. The fleet holds what is sound; it is whole only if no error was reported.
pub(crate) fn judge(
    declared: &Declared<'_>,
    paths: &[String],
    report: &mut Report,
) -> (Option<Fleet>, Vec<Migration>) {
    let mut fleet = Fleet::default();
    for item in &declared.brokers {
        let broker = broker::judge(item, report);
        // Of a broker that is only partly known, no other object is judged.
        if let (Ok(name), Some(broker), false) = (BrokerName::new(&item.document.name), broker, item.partial)
        {
            fleet.brokers.insert(name, broker);
        }
    }
    let brokers = Brokers {
        names: &declared.names,
        sound: &fleet.brokers,
    };
    for item in &declared.brokers {
        broker::judge_substitutes(item, &brokers, report);
    }
    for item in &declared.routes {
        if let (Ok(name), Some(route)) = (
            RouteName::new(&item.document.name),
            route::judge(item, &brokers, report),
        ) {
            fleet.routes.insert(name, route);
        }
    }
    route::judge_duplicates(&declared.routes, paths, report);
    for item in &declared.topics {
        if let (Ok(name), Some(topic)) = (
            TopicName::new(&item.document.name),
            topic::judge(item, &brokers, report),
        ) {
            fleet.topics.insert(name, Arc::new(topic));
        }
    }
    migration::judge_together(&declared.migrations, report);
    let mut migrations: Vec<Migration> = declared
        .migrations
        .iter()
        .filter_map(|item| migration::judge(item, &brokers, report))
        .collect();
    migrations.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    (Some(fleet), migrations)
}
