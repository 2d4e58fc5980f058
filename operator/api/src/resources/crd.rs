//! The custom resource definitions as files. What they say comes from the types; nothing is added here but the width of whoever
//! shows it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use super::{Broker, Migration, NodeRoute, Topic};

/// Every definition as (file name, YAML text), sorted by file name. Same source, same bytes.
#[must_use]
pub fn crds() -> Vec<(String, String)> {
    [Broker::crd(), Migration::crd(), NodeRoute::crd(), Topic::crd()]
        .iter()
        .map(file)
        .collect()
}

fn file(definition: &CustomResourceDefinition) -> (String, String) {
    let name = format!("{}.yaml", definition.metadata.name.as_deref().unwrap_or_default());
    // Serialising a value tree cannot fail; if it did, the drift test would show an empty file.
    let mut value = serde_json::to_value(definition).unwrap_or_default();
    unwrap_lines(&mut value);
    let text = serde_saphyr::to_string(&value).unwrap_or_default();
    (
        name,
        format!("# Generated from the types in operator/api by `cargo xtask gen`: change those.\n{text}"),
    )
}

/// Descriptions are broken into lines as the source is, which is nothing to whoever shows them.
fn unwrap_lines(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "description" => {
                        let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
                        *text = paragraphs.collect::<Vec<String>>().join("\n\n");
                    }
                    other => unwrap_lines(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(unwrap_lines),
        _ => {}
    }
}
