//! Every metric there is.

/// What a metric is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// It goes up and down.
    Gauge,
    /// It goes up.
    Counter,
    /// How often it was how much.
    Histogram,
}

/// One metric.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

const BROKER: &[&str] = &["namespace", "broker"];
const PATH: &[&str] = &["namespace", "topic", "producer", "consumer"];

pub(super) const LEADER: Row = Row {
    name: "skein_leader",
    kind: Kind::Gauge,
    labels: &[],
    help: "1 if this controller acts, 0 if it waits for another. All others but skein_writes_total are the leader's.",
};
pub(super) const RECONCILES: Row = Row {
    name: "skein_reconciles_total",
    kind: Kind::Counter,
    labels: &["namespace"],
    help: "How often what a namespace declares was read and given to its engine.",
};
pub(super) const PLAN: Row = Row {
    name: "skein_plan_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "How long it took to plan a fleet anew.",
};
pub(super) const WRITES: Row = Row {
    name: "skein_writes_total",
    kind: Kind::Counter,
    labels: &["kind", "result"],
    help: "Writes to the API server by kind of object, and how they ended: ok, refused, unanswered, or foreign (somebody else's object is in the way).",
};
pub(super) const BROKER_PHASE: Row = Row {
    name: "skein_broker_phase",
    kind: Kind::Gauge,
    labels: &["namespace", "broker", "phase"],
    help: "1 for the phase that a broker is in (Pending, Ready, Suspect, Down or Returning), 0 for the others.",
};
pub(super) const HEARTBEAT: Row = Row {
    name: "skein_heartbeat_seconds",
    kind: Kind::Gauge,
    labels: BROKER,
    help: "How long a broker's last heartbeat took there and back.",
};
pub(super) const LAST_CONTACT: Row = Row {
    name: "skein_last_contact_seconds",
    kind: Kind::Gauge,
    labels: BROKER,
    help: "How long ago a broker answered last.",
};
pub(super) const PATH_UP: Row = Row {
    name: "skein_path_up",
    kind: Kind::Gauge,
    labels: PATH,
    help: "1 if the last probe from a topic's producer to its consumer came through, else 0.",
};
pub(super) const PATH_LATENCY: Row = Row {
    name: "skein_path_latency_seconds",
    kind: Kind::Gauge,
    labels: PATH,
    help: "How long the last probe took that came through.",
};
pub(super) const MIGRATIONS: Row = Row {
    name: "skein_migrations",
    kind: Kind::Gauge,
    labels: &["namespace", "phase"],
    help: "Migrations by phase, those included that are over and not forgotten.",
};
pub(super) const PROBLEMS: Row = Row {
    name: "skein_problems",
    kind: Kind::Gauge,
    labels: &["namespace"],
    help: "How many things do not work; the status of the resources says which.",
};

/// All of them.
pub(super) const TABLE: [&Row; 11] = [
    &LEADER,
    &RECONCILES,
    &PLAN,
    &WRITES,
    &BROKER_PHASE,
    &HEARTBEAT,
    &LAST_CONTACT,
    &PATH_UP,
    &PATH_LATENCY,
    &MIGRATIONS,
    &PROBLEMS,
];

/// `docs/metrics.md`.
#[must_use]
pub fn page() -> String {
    let mut page = "\
# Metrics

What `skein-operator controller` tells Prometheus at `/metrics` of the address that it listens on (`--listen`, port 8080). This page is
written from the table that the controller itself counts by (`operator/controller/src/metrics/table.rs`, `cargo xtask gen`). Series of
brokers, topics and namespaces that are gone go with them.

| name | kind | labels | what it is |
| --- | --- | --- | --- |
"
    .to_owned();
    for row in TABLE {
        let kind = match row.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        let cells = [&format!("`{}`", row.name), kind, &labels.join(", "), row.help];
        page.push_str(&["| ", &cells.join(" | "), " |\n"].concat());
    }
    page
}
