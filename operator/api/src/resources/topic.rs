//! `Topic`: a filter that must flow from producers to consumers.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Size;
use crate::name::BrokerName;

/// A topic: what flows, and between which brokers.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "mqtt.skein.dev",
    version = "v1alpha1",
    kind = "Topic",
    plural = "topics",
    namespaced,
    status = "TopicStatus",
    derive = "PartialEq",
    shortname = "mqt",
    category = "skein",
    doc = "An MQTT topic filter that must flow from every producer to every consumer.",
    printcolumn(name = "Filter", type_ = "string", json_path = ".spec.filter"),
    printcolumn(name = "QoS", type_ = "integer", json_path = ".spec.qos"),
    printcolumn(name = "Path", type_ = "string", json_path = ".status.path"),
    printcolumn(name = "Cost", type_ = "integer", json_path = ".status.cost"),
    printcolumn(name = "Class", type_ = "string", json_path = ".status.class", priority = 1),
    printcolumn(name = "Root", type_ = "string", json_path = ".status.root", priority = 1),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct TopicSpec {
    /// The MQTT topic filter that is published and subscribed, such as `farm/+/soil`.
    #[schemars(length(min = 1, max = 65_535))]
    #[x_kube(validation = Rule::new("!self.startsWith('$')").message("topics whose first level starts with $ are reserved: by brokers, or by Skein"))]
    pub filter: String,
    /// The highest quality of service a link carries it with: 0, 1 or 2. Default: 1.
    #[serde(default = "qos")]
    #[schemars(range(min = 0, max = 2))]
    pub qos: i32,
    /// The brokers whose clients publish it: 1 to 1024 entries.
    #[schemars(length(min = 1, max = 1024))]
    pub producers: Vec<End>,
    /// The brokers whose clients subscribe it: 1 to 1024 entries.
    #[schemars(length(min = 1, max = 1024))]
    pub consumers: Vec<End>,
    /// Filters that flow back, from the consumers to the producers, along the same paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 65_535)))]
    pub commands: Vec<String>,
    /// Its messages are retained. Default: false.
    #[serde(default)]
    pub retained: bool,
    /// The load to expect; without it the time until a queue is full is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<ExpectedLoad>,
    /// Whether publishers learn that their messages arrived at the consumers. Default: None.
    #[serde(default)]
    pub receipts: Receipts,
}

fn qos() -> i32 {
    1
}

/// Brokers at one end of a topic: exactly one of `broker` and `selector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.broker) != has(self.selector)").message("exactly one of broker and selector is needed"))]
pub struct End {
    /// The broker of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerName>,
    /// Every broker with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Selects brokers by their labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// All of these labels must be there with these values: 1 to 32 entries.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 32), inner(length(max = 63)))]
    pub match_labels: BTreeMap<String, String>,
}

/// A topic's declared load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedLoad {
    /// Messages per second, all producers together, 1 to 100,000,000.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub messages_per_second: i64,
    /// Bytes per message, such as `200` or `4Ki`; at most 256Mi.
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('1')) >= 0 && quantity(string(self)).compareTo(quantity('256Mi')) <= 0").message("write the bytes of one message, from 1 to 256Mi"))]
    pub bytes: Size,
}

/// Whether publishers learn that their messages arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Receipts {
    /// They learn that their own broker has them.
    #[default]
    None,
    /// They learn that every consumer's broker has them.
    EndToEnd,
}

/// What Skein makes of a topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// The overlap class it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The root of the class's tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<BrokerName>,
    /// The dearest path as people read it, consumer first, such as `a ← b ← c ← i`, and how many more there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its cost: no path of this topic costs more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<i64>,
    /// One path per producer and consumer. Of more than 256, those that are missing and the dearest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub paths: Vec<PathStatus>,
    /// How many paths there are beside those listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_paths: Option<i64>,
    /// `Configured`, `Matched`, `Operational`, `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The path from one producer to one consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathStatus {
    /// Where it is published.
    pub producer: BrokerName,
    /// Where it is subscribed.
    pub consumer: BrokerName,
    /// The brokers on the path, consumer first; empty if there is none.
    #[serde(default)]
    pub path: Vec<BrokerName>,
    /// The sum of its routes' costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<i64>,
    /// Its cost over the least possible, as a decimal number such as `1.25`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stretch: Option<String>,
    /// What was sent last to try it came through. Absent: nothing was sent yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
}
