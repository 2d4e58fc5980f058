//! What the controller tells.

#![allow(missing_docs, reason = "the help of each is its documentation")]

use crate::{BROKER, Kind, NAMESPACE, Row, counter, gauge};

const PATH: &[&str] = &["namespace", "topic", "producer", "consumer"];

/// From a plan of a few brokers to one of a thousand, in seconds.
const PLANNING: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// From one hop inside a machine to a probe that waited for a failover, in seconds.
const PASSING: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

pub const LEADER: Row = gauge(
    "skein_leader",
    &[],
    "1 if this controller acts, 0 if it waits for another. All others but skein_writes_total are the leader's.",
);
pub const RECONCILES: Row = counter(
    "skein_reconciles_total",
    NAMESPACE,
    "How often what a namespace declares was read and given to its engine.",
);
pub const DECLARATION_ERRORS: Row = gauge(
    "skein_declaration_errors",
    NAMESPACE,
    "How many things are wrong with what is declared, so that it is not in force; the conditions of the objects say which.",
);
pub const PLAN: Row = Row {
    name: "skein_plan_seconds",
    kind: Kind::Histogram(PLANNING),
    labels: &[],
    help: "How long it took to plan a fleet anew.",
};
pub const WRITES: Row = counter(
    "skein_writes_total",
    &["kind", "result"],
    "Writes to the API server by kind of object, and how they ended: ok, refused, unanswered, or foreign (somebody else's object is in the way).",
);
pub const BROKER_PHASE: Row = gauge(
    "skein_broker_phase",
    &["namespace", "broker", "phase"],
    "1 for the phase that a broker is in (Pending, Ready, Suspect, Down or Returning), 0 for the others.",
);
pub const BROKER_REPLACED: Row = gauge(
    "skein_broker_replaced",
    &["namespace", "broker", "substitute"],
    "1 while a substitute serves the clients of a broker; no series while it serves them itself.",
);
pub const HEARTBEAT: Row = gauge(
    "skein_heartbeat_seconds",
    BROKER,
    "How long a broker's last heartbeat took there and back; no series while it is out.",
);
pub const LAST_CONTACT: Row = gauge(
    "skein_last_contact_seconds",
    BROKER,
    "How long ago a broker answered last.",
);
pub const LINKS: Row = gauge(
    "skein_links",
    BROKER,
    "How many links (bridge connections) the plan has a broker hold.",
);
pub const LINKS_UP: Row = gauge(
    "skein_links_up",
    BROKER,
    "On how many of them something comes through: both ends answer, and a probe passed that way.",
);
pub const PATH_UP: Row = gauge(
    "skein_path_up",
    PATH,
    "1 if the last probe from a topic's producer to its consumer came through, else 0.",
);
pub const PATH_LATENCY: Row = gauge(
    "skein_path_latency_seconds",
    PATH,
    "How long the last probe took that came through; no series while none does.",
);
pub const TOPIC_LATENCY: Row = Row {
    name: "skein_topic_latency_seconds",
    kind: Kind::Histogram(PASSING),
    labels: &["namespace", "topic"],
    help: "How long probes took end to end, by Topic, over all of its paths and back where it has commands.",
};
pub const PROBES: Row = counter(
    "skein_probes_total",
    &["namespace", "topic", "result"],
    "Probes by Topic and by what came of them: arrived, lost (none came within the probe interval), or doubled (one came again).",
);
pub const MIGRATIONS: Row = gauge(
    "skein_migrations",
    &["namespace", "phase"],
    "Migrations by phase, those included that are over and not forgotten.",
);
pub const PROBLEMS: Row = gauge(
    "skein_problems",
    NAMESPACE,
    "How many things do not work; the status of the resources says which.",
);

/// All of them.
pub const TABLE: [&Row; 17] = [
    &LEADER,
    &RECONCILES,
    &DECLARATION_ERRORS,
    &PLAN,
    &WRITES,
    &BROKER_PHASE,
    &BROKER_REPLACED,
    &HEARTBEAT,
    &LAST_CONTACT,
    &LINKS,
    &LINKS_UP,
    &PATH_UP,
    &PATH_LATENCY,
    &TOPIC_LATENCY,
    &PROBES,
    &MIGRATIONS,
    &PROBLEMS,
];
