//! Checks a document against the schema generated for its kind, collecting every error, not the first only.
//!
//! The schema is the one of the custom resource definition, made strict: fields that Kubernetes would drop silently
//! are errors here.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::envelope::{Document, Kind};
use super::problem::{Report, Severity};
use super::suggest::nearest;
use super::tree::{Content, Node};
use super::wording;
use crate::resources::{Broker, Migration, NodeRoute, Topic};

struct Checker {
    schema: Value,
    validator: Option<Validator>,
}

fn checker(kind: Kind) -> &'static Checker {
    static BROKER: LazyLock<Checker> = LazyLock::new(|| Checker::new::<Broker>(Kind::Broker));
    static ROUTE: LazyLock<Checker> = LazyLock::new(|| Checker::new::<NodeRoute>(Kind::NodeRoute));
    static TOPIC: LazyLock<Checker> = LazyLock::new(|| Checker::new::<Topic>(Kind::Topic));
    static MIGRATION: LazyLock<Checker> = LazyLock::new(|| Checker::new::<Migration>(Kind::Migration));
    match kind {
        Kind::Broker => &BROKER,
        Kind::NodeRoute => &ROUTE,
        Kind::Topic => &TOPIC,
        Kind::Migration => &MIGRATION,
    }
}

impl Checker {
    fn new<R: CustomResourceExt>(kind: Kind) -> Self {
        let definition = serde_json::to_value(R::crd()).unwrap_or_default();
        let properties = definition
            .pointer("/spec/versions/0/schema/openAPIV3Schema/properties")
            .cloned()
            .unwrap_or_else(|| json!({}));
        let mut kept = Map::from_iter([("spec".to_owned(), properties["spec"].clone())]);
        // A migration's status is where it stands; the others' is only what Skein observed, and is not read.
        if kind == Kind::Migration {
            kept.insert("status".to_owned(), properties["status"].clone());
        }
        let mut schema = json!({ "type": "object", "required": ["spec"], "properties": kept });
        make_strict(&mut schema);
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .build(&schema)
            .ok();
        Self { schema, validator }
    }
}

/// Refuses fields that are not declared, and says "integer or string" the way JSON Schema does.
fn make_strict(schema: &mut Value) {
    if let Value::Object(object) = schema {
        if object.remove("x-kubernetes-int-or-string").is_some() {
            object.insert("type".to_owned(), json!(["integer", "string"]));
        }
        if object.get("properties").is_some_and(Value::is_object)
            && !object.contains_key("x-kubernetes-preserve-unknown-fields")
        {
            object.entry("additionalProperties").or_insert(Value::Bool(false));
        }
        for (key, value) in object {
            match (key.as_str(), value) {
                ("properties", Value::Object(properties)) => properties.values_mut().for_each(make_strict),
                ("items" | "additionalProperties", value) => make_strict(value),
                _ => {}
            }
        }
    }
}

/// Where an error is: the node, its schema, and its path in our notation.
pub(crate) struct Place<'a> {
    pub(crate) node: &'a Node,
    pub(crate) schema: &'a Value,
    pub(crate) path: String,
}

impl Place<'_> {
    pub(crate) fn child(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }
}

/// Reports all that the schema of its kind has against a document; returns the fields it is about.
pub(crate) fn check(document: &Document, value: &Value, report: &mut Report) -> BTreeSet<String> {
    let checker = checker(document.kind);
    let mut flawed = BTreeSet::new();
    let Some(validator) = &checker.validator else {
        report.error(
            document,
            "",
            "the schema of this kind does not compile",
            "report this as a bug",
        );
        flawed.insert(String::new());
        return flawed;
    };
    for error in validator.iter_errors(value) {
        describe(
            document,
            &place(document, &checker.schema, &error),
            &error,
            &mut flawed,
            report,
        );
    }
    quantities(document, value, &checker.schema, "", &mut flawed, report);
    flawed
}

fn place<'a>(document: &'a Document, schema: &'a Value, error: &ValidationError<'_>) -> Place<'a> {
    let mut place = Place {
        node: &document.node,
        schema,
        path: String::new(),
    };
    for segment in error.instance_path().as_str().split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        if let Content::List(items) = &place.node.content {
            let index = segment.parse::<usize>().ok();
            let Some(item) = index.and_then(|index| items.get(index)) else {
                break;
            };
            place.node = item;
            place.schema = &place.schema["items"];
            place.path = format!("{}[{segment}]", place.path);
        } else {
            let Some(value) = place.node.get(&segment) else {
                break;
            };
            place.node = value;
            place.path = place.child(&segment);
            let declared = place.schema["properties"].get(segment.as_str());
            place.schema = declared.unwrap_or(&place.schema["additionalProperties"]);
        }
    }
    place
}

fn describe(
    document: &Document,
    place: &Place<'_>,
    error: &ValidationError<'_>,
    flawed: &mut BTreeSet<String>,
    report: &mut Report,
) {
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            for name in unexpected {
                flawed.insert(place.child(name));
                unknown_field(document, place, name, report);
            }
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let field = place.child(name);
            let empty = place.node.entry(name).is_some();
            let message = if empty { "it has no value" } else { "it is missing" };
            report.error(
                document,
                &field,
                message,
                wording::add(name, &place.schema["properties"][name]),
            );
            flawed.insert(field);
        }
        kind => {
            // One problem for a value: that it is too short says enough, not also that it has the wrong pattern.
            if flawed.insert(place.path.clone()) {
                let (message, remedy) = wording::value(kind, place);
                report.error(document, &place.path, message, remedy);
            }
        }
    }
}

fn unknown_field(document: &Document, place: &Place<'_>, name: &str, report: &mut Report) {
    // The validator is shown the top level's other fields too; `envelope` judges those.
    if place.path.is_empty() {
        return;
    }
    let known: Vec<&str> = place.schema["properties"]
        .as_object()
        .map(|map| map.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let remedy = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("the fields of {} are {}", place.path, known.join(", ")),
    };
    let at = place.node.entry(name).map_or(place.node.at, |entry| entry.key_at);
    let field = place.child(name);
    let message = "unknown field".to_owned();
    report.add(
        Severity::Error,
        document.source,
        at,
        &document.object(),
        &field,
        message,
        remedy,
    );
}

/// Durations and sizes whose form is right and whose value is not: patterns cannot bound them.
fn quantities(
    document: &Document,
    value: &Value,
    schema: &Value,
    path: &str,
    flawed: &mut BTreeSet<String>,
    report: &mut Report,
) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                quantities(document, value, &schema["properties"][key], &path, flawed, report);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                quantities(
                    document,
                    value,
                    &schema["items"],
                    &format!("{path}[{index}]"),
                    flawed,
                    report,
                );
            }
        }
        Value::String(text) => {
            let pattern = schema["pattern"].as_str().unwrap_or_default();
            if let Some((reason, remedy)) = wording::judged(pattern, text, schema)
                && flawed.insert(path.to_owned())
            {
                report.error(document, path, reason, remedy);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema_that_compiles() {
        for kind in [Kind::Broker, Kind::NodeRoute, Kind::Topic, Kind::Migration] {
            let checker = checker(kind);
            assert!(checker.validator.is_some(), "{kind:?}");
            assert!(checker.schema["properties"]["spec"]["properties"].is_object());
        }
    }
}
