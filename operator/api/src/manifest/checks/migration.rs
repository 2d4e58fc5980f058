//! Migrations: brokers that exist and can be moved from and to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::envelope::Document;
use super::super::problem::Report;
use super::{Brokers, Item};
use crate::name::BrokerName;
use crate::resources::{API_VERSION, Migration, MigrationReason};

/// The whole resource, with its status: that is where it stands.
pub(super) fn read<'a>(
    document: &'a Document,
    value: &Value,
    report: &mut Report,
) -> Option<Item<'a, Migration>> {
    let mut whole = json!({
        "apiVersion": API_VERSION,
        "kind": "Migration",
        "metadata": { "name": document.name, "labels": document.labels },
        "spec": value["spec"],
    });
    if !value["status"].is_null() {
        whole["status"] = value["status"].clone();
    }
    if let Some(namespace) = document.node.find("metadata.namespace").node.text() {
        whole["metadata"]["namespace"] = namespace.into();
    }
    match serde_json::from_value(whole) {
        Ok(migration) => Some(Item {
            document,
            spec: migration,
            partial: false,
        }),
        Err(error) => {
            report.error(document, "", error.to_string(), "correct it");
            None
        }
    }
}

pub(super) fn judge(
    item: &Item<'_, Migration>,
    brokers: &Brokers<'_>,
    report: &mut Report,
) -> Option<Migration> {
    let (document, spec) = (item.document, &item.spec.spec);
    let mut sound = brokers.exists(&spec.broker, document, "spec.broker", report);
    let mut uncontrolled = |name, field: &str, report: &mut Report| {
        if brokers.is_uncontrolled(name) {
            let message = format!("{name} is external and Skein does not control it");
            report.error(
                document,
                field,
                message,
                "name another broker, or run `skein-operator agent` beside it (control: Agent)",
            );
            sound = false;
        }
    };
    uncontrolled(&spec.broker, "spec.broker", report);
    if let Some(to) = &spec.to {
        uncontrolled(to, "spec.to", report);
        if *to == spec.broker {
            report.error(
                document,
                "spec.to",
                "a broker cannot move to itself",
                "name another broker, or leave it out",
            );
            sound = false;
        } else {
            sound &= brokers.exists(to, document, "spec.to", report);
        }
    }
    sound.then(|| item.spec.clone())
}

/// One Migration says whether a broker is drained, and clients are led to a broker that keeps its own.
pub(super) fn judge_together(items: &[Item<'_, Migration>], report: &mut Report) {
    let mut first: BTreeMap<&BrokerName, &Item<'_, Migration>> = BTreeMap::new();
    for item in items
        .iter()
        .filter(|item| item.spec.spec.reason == MigrationReason::Drain)
    {
        let broker = &item.spec.spec.broker;
        if let Some(first) = first.get(broker) {
            let message = format!(
                "{} says whether {broker} is drained already",
                first.document.object()
            );
            report.error(item.document, "spec.broker", message, "keep one of them");
        } else {
            first.insert(broker, item);
        }
    }
    for item in first.values().filter(|item| !item.spec.spec.end) {
        let drained = |to: &&BrokerName| first.get(*to).filter(|other| !other.spec.spec.end);
        let Some(to) = &item.spec.spec.to else { continue };
        if let Some(other) = drained(&to).filter(|_| *to != item.spec.spec.broker) {
            let message = format!("{to} is drained itself, by {}", other.document.object());
            report.error(
                item.document,
                "spec.to",
                message,
                "name another broker, or leave it out",
            );
        }
    }
}
