//! The custom resource definitions as files. What they say comes from the types; nothing is added here.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

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
    let value = serde_json::to_value(definition).unwrap_or_default();
    let text = serde_saphyr::to_string(&value).unwrap_or_default();
    (
        name,
        format!("# Generated from the types in operator/api by `cargo xtask gen`: change those.\n{text}"),
    )
}
