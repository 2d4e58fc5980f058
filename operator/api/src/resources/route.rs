//! `NodeRoute`: two brokers may be bridged, at a cost.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::BrokerName;

/// A route: either `between` two brokers, or one-way `from` one `to` another.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "mqtt.skein.dev",
    version = "v1alpha1",
    kind = "NodeRoute",
    plural = "noderoutes",
    namespaced,
    status = "NodeRouteStatus",
    derive = "PartialEq",
    shortname = "mqr",
    category = "skein",
    doc = "Two brokers may be bridged, at a cost.",
    printcolumn(name = "Between", type_ = "string", json_path = ".spec.between"),
    printcolumn(name = "From", type_ = "string", json_path = ".spec.from"),
    printcolumn(name = "To", type_ = "string", json_path = ".spec.to"),
    printcolumn(name = "Cost", type_ = "integer", json_path = ".spec.cost"),
    printcolumn(name = "Paused", type_ = "boolean", json_path = ".spec.paused"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.between) != has(self.from)").message("exactly one of between and from is needed"),
    validation = Rule::new("has(self.from) == has(self.to)").message("a one-way route needs both from and to"),
    validation = Rule::new("!has(self.between) || self.between[0] != self.between[1]").message("a route joins two different brokers"),
    validation = Rule::new("!has(self.from) || !has(self.to) || self.from != self.to").message("a route joins two different brokers")
)]
pub struct NodeRouteSpec {
    /// The two brokers; data may flow both ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 2))]
    pub between: Option<Vec<BrokerName>>,
    /// One-way: the broker that data comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<BrokerName>,
    /// One-way: the broker that data goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<BrokerName>,
    /// What using the route costs, 1 to 10000 in units of your choosing; paths have the least total. Default: 1.
    #[serde(default = "cost")]
    #[schemars(range(min = 1, max = 10_000))]
    pub cost: i32,
    /// The route is not to be used now. Default: false.
    #[serde(default)]
    pub paused: bool,
}

fn cost() -> i32 {
    1
}

/// What Skein makes of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRouteStatus {
    /// The links that use it. Of more than 256, those that are down come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub links: Vec<CarriedLink>,
    /// How many links there are beside those listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_links: Option<i64>,
    /// Whether all its links are up; absent while it carries none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// `Configured`, `Matched`, `Operational`, `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A bridge connection that uses a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CarriedLink {
    /// The broker that holds the connection.
    pub downstream: BrokerName,
    /// The broker at the other end.
    pub upstream: BrokerName,
    /// The overlap class of the topics it carries.
    pub class: String,
    /// Whether messages came through when that was tried last.
    pub up: bool,
}
