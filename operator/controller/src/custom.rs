//! A custom resource as it is remembered: there may be ten thousand, and as trees of JSON they would take ten times the memory of what
//! they say.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use skein_api::resources::API_VERSION;

/// What `kubectl apply` notes on an object: once more all that is declared.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A piece of JSON, as text; empty if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(Box<str>);

impl Text {
    /// As JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        if self.0.is_empty() { "null" } else { &self.0 }
    }

    /// What it says, if it says such a thing.
    #[must_use]
    pub fn parse<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.as_str()).ok()
    }
}

impl From<&Value> for Text {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Made from JSON, it is JSON.
        self.parse::<Value>().unwrap_or_default().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Value::deserialize(deserializer)?.to_string().into()))
    }
}

/// An object of one of our kinds, whatever it says: what is wrong with one must not keep the others from being read.
#[derive(Clone, Debug, Deserialize)]
pub struct Custom {
    kind: Box<str>,
    #[serde(default, deserialize_with = "slim")]
    metadata: ObjectMeta,
    /// What is declared.
    #[serde(default)]
    pub spec: Text,
    /// What it says of itself.
    #[serde(default)]
    pub status: Text,
}

impl From<&DynamicObject> for Custom {
    fn from(object: &DynamicObject) -> Self {
        let types = object.types.as_ref();
        let piece = |name: &str| object.data.get(name).map(Text::from).unwrap_or_default();
        Self {
            kind: types.map(|types| types.kind.as_str()).unwrap_or_default().into(),
            metadata: object.metadata.clone(),
            spec: piece("spec"),
            status: piece("status"),
        }
    }
}

/// Without what nobody looks at here.
fn slim<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let whole = ObjectMeta::deserialize(deserializer)?;
    let without = |mut notes: std::collections::BTreeMap<String, String>| {
        notes.remove(APPLIED);
        (!notes.is_empty()).then_some(notes)
    };
    Ok(ObjectMeta {
        managed_fields: None,
        annotations: whole.annotations.and_then(without),
        ..whole
    })
}

impl Custom {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The whole of it as its own type, if it is sound.
    #[must_use]
    pub fn typed<K: DeserializeOwned>(&self) -> Option<K> {
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": self.kind,
            "metadata": self.metadata,
            "spec": self.spec.parse::<Value>(),
            "status": self.status.parse::<Value>(),
        });
        serde_json::from_value(object).ok()
    }

    /// The same is declared by both, and nobody wants another thing done with it: they differ in what they say of themselves, at most.
    #[must_use]
    pub fn is_declared_like(&self, other: &Self) -> bool {
        let declared = |object: &Self| {
            let metadata = &object.metadata;
            (
                metadata.uid.clone(),
                metadata.generation,
                metadata.deletion_timestamp.clone(),
            )
        };
        declared(self) == declared(other)
            && self.labels() == other.labels()
            && self.annotations() == other.annotations()
            && self.finalizers() == other.finalizers()
            && self.spec == other.spec
    }
}

impl Resource for Custom {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(kind: &ApiResource) -> Cow<'_, str> {
        kind.kind.as_str().into()
    }

    fn group(kind: &ApiResource) -> Cow<'_, str> {
        kind.group.as_str().into()
    }

    fn version(kind: &ApiResource) -> Cow<'_, str> {
        kind.version.as_str().into()
    }

    fn plural(kind: &ApiResource) -> Cow<'_, str> {
        kind.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(value: Value) -> Custom {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn it_keeps_what_is_declared_and_said_and_no_notes_about_it() {
        let object = json!({
            "apiVersion": API_VERSION, "kind": "Topic",
            "metadata": {
                "name": "soil", "namespace": "farm", "uid": "7", "managedFields": [{"manager": "kubectl"}],
                "annotations": {APPLIED: "{}", "mqtt.skein.dev/paused": "true"},
            },
            "spec": {"filter": "soil", "producers": [{"broker": "a"}], "consumers": []},
            "status": {"cost": 3},
        });
        let kept = custom(object);
        assert_eq!(kept.kind(), "Topic");
        assert_eq!(kept.annotations().len(), 1);
        assert!(kept.managed_fields().is_empty());
        assert_eq!(kept.status.parse::<Value>().unwrap()["cost"], 3);
        let typed: skein_api::resources::Topic = kept.typed().unwrap();
        assert_eq!(typed.spec.filter, "soil");
    }

    #[test]
    fn a_status_is_no_declaration() {
        let of = |spec: &str, cost: u8, labels: Value| {
            custom(json!({
                "kind": "Topic", "metadata": {"name": "soil", "uid": "7", "labels": labels},
                "spec": {"filter": spec}, "status": {"cost": cost},
            }))
        };
        let first = of("soil", 1, json!({}));
        assert!(first.is_declared_like(&of("soil", 2, json!({}))));
        assert!(!first.is_declared_like(&of("leaf", 1, json!({}))));
        assert!(!first.is_declared_like(&of("soil", 1, json!({"team": "farm"}))));
    }

    #[test]
    fn what_is_not_there_is_null() {
        let bare = custom(json!({"kind": "Topic", "metadata": {"name": "soil"}}));
        assert_eq!(bare.status.as_str(), "null");
        assert_eq!(bare.status.parse::<Option<u8>>(), Some(None));
    }
}
