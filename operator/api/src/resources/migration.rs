//! `Migration`: a broker's sessions move to a substitute, and back.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::BrokerName;

/// A migration: made by Skein on a failure, or by a person as a drain.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "mqtt.skein.dev",
    version = "v1alpha1",
    kind = "Migration",
    plural = "migrations",
    namespaced,
    status = "MigrationStatus",
    derive = "PartialEq",
    shortname = "mqm",
    category = "skein",
    doc = "A broker's sessions move to a substitute, and back.",
    printcolumn(name = "Broker", type_ = "string", json_path = ".spec.broker"),
    printcolumn(name = "To", type_ = "string", json_path = ".status.to"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.to) || self.to != self.broker").message("a broker cannot move to itself: name another one in to, or leave it out"),
    validation = Rule::new("self.broker == oldSelf.broker && self.reason == oldSelf.reason").message("broker and reason cannot be changed: make another Migration")
)]
pub struct MigrationSpec {
    /// The broker whose sessions move.
    pub broker: BrokerName,
    /// The broker they move to. Without it: the planned substitute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<BrokerName>,
    /// Why. Default: Drain.
    #[serde(default)]
    pub reason: MigrationReason,
    /// A person agrees: failover policy Manual and failback Manual wait for it. Default: false.
    #[serde(default)]
    pub approved: bool,
    /// Do not wait for clients that do not get what waits for them: it is given up, and counted. Default: false.
    #[serde(default)]
    pub abandon: bool,
    /// Move back now; removing a drain does the same. Default: false.
    #[serde(default)]
    pub end: bool,
}

/// Why sessions move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MigrationReason {
    /// The broker died.
    Failure,
    /// A person wants it empty.
    #[default]
    Drain,
}

/// How far a migration is. What it says is all that whoever runs the fleet knows of it, and has it back from here after a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationStatus {
    /// The phase it is in. Absent: it is not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<MigrationPhase>,
    /// The broker that the sessions move to, as chosen. Absent: there is none (yet).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<BrokerName>,
    /// When each phase was entered (the last time, if several), oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12))]
    pub times: Vec<PhaseTime>,
    /// Why the broker was declared down, or what the migration waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// Where sessions were opened for the broker's clients that are not ended yet, and for whom.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["at"]))]
    pub moved: Vec<MovedSessions>,
    /// What did not move, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_moved: Vec<NotMoved>,
    /// Sessions with messages waiting where they are, which must be got before the others can go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
    /// Of a drain: the sessions for which messages waited when the client address moved; those are given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<Waiting>,
    /// How many messages were passed on that waited elsewhere for the broker's links.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub adopted: i64,
    /// The retained values of the broker's clients were copied when they left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copied: bool,
    /// `Configured`, `Matched`, `Operational`, `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The phases of a migration, in order; the last three are ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum MigrationPhase {
    /// Waiting for approval, or for its turn.
    Pending,
    /// The broker is declared down (or to be drained).
    Detected,
    /// Its neighbours no longer let it in.
    Fenced,
    /// Sessions wait at the substitute.
    Seeded,
    /// The client address points at the substitute.
    Retargeted,
    /// The substitute took over the upstream sessions.
    Adopted,
    /// What the old broker still holds is flowing off.
    Draining,
    /// The substitute serves.
    Completed,
    /// Moving back.
    FailingBack,
    /// Moved back: the broker serves again.
    FailedBack,
    /// Given up before anything moved.
    Aborted,
    /// It could not be done.
    Failed,
}

/// When a phase was entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseTime {
    /// The phase.
    pub phase: MigrationPhase,
    /// When it was entered.
    pub at: Time,
}

/// One observation that a broker is down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// What was seen, and by whom.
    pub message: String,
}

/// Sessions that moved to one broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MovedSessions {
    /// The broker.
    pub at: BrokerName,
    /// Their MQTT client ids.
    pub clients: Vec<String>,
}

/// Something that did not move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotMoved {
    /// The MQTT client id, or the topic.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// A session with messages waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The MQTT client id.
    pub client: String,
    /// How many messages wait.
    #[schemars(range(min = 0))]
    pub messages: i64,
}
