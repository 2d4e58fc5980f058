//! Small fleets, what is the case in them, and what is said of it.

mod brokers;
mod migrations;
mod routes;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use skein_api::fleet::{Fleet, FleetBuilder};
use skein_api::manifest::{Problem, Severity};
use skein_api::name::BrokerName;
use skein_api::resources::Condition;
use skein_engine::directive::{BrokerPhase, BrokerStatus, PathStatus, Status};
use skein_planner::plan::{Plan, View};

use super::{Case, Seen};

/// A fleet in which all is well, until a test changes that.
struct Scene {
    fleet: Fleet,
    plan: Plan,
    status: Status,
    problems: Vec<Problem>,
    refused: bool,
    objects: BTreeMap<BrokerName, String>,
    paused: BTreeSet<BrokerName>,
    now: Timestamp,
}

impl Scene {
    fn new(fleet: FleetBuilder) -> Self {
        Self::planned(fleet, &View::default())
    }

    /// As planned in this view: those who are down are, and others serve for them.
    fn planned(fleet: FleetBuilder, view: &View) -> Self {
        let fleet = fleet.build();
        let plan = skein_planner::plan(&fleet, view);
        let broker = |name: &BrokerName| {
            let down = view.down.contains(name);
            let own = (!down).then(|| name.clone());
            BrokerStatus {
                name: name.clone(),
                phase: if down {
                    BrokerPhase::Down
                } else {
                    BrokerPhase::Ready
                },
                client_address: None,
                peer_address: None,
                pid: Some(7),
                version: Some("2.1.2".to_owned()),
                heartbeat_ms: Some(0.5),
                served_by: view.served_by.get(name).cloned().or(own),
                epoch_given: Some(3),
                epoch_loaded: Some(3),
                collisions: Vec::new(),
                collision_count: 0,
            }
        };
        let path = |path: &skein_planner::plan::Path| PathStatus {
            topic: path.topic.clone(),
            producer: path.producer.clone(),
            consumer: path.consumer.clone(),
            path: path.brokers.to_vec(),
            up: !path.brokers.is_empty(),
            probe_ms: Some(1.5),
        };
        let paths = plan.classes.values().flat_map(|class| &class.paths);
        let status = Status {
            brokers: fleet.brokers.keys().map(broker).collect(),
            paths: paths.map(path).collect(),
            settled: true,
            ..Status::default()
        };
        Self {
            fleet,
            plan,
            status,
            problems: Vec::new(),
            refused: false,
            objects: BTreeMap::new(),
            paused: BTreeSet::new(),
            now: at("2026-01-01T00:00:00.5Z"),
        }
    }

    fn seen(&self) -> Seen<'_> {
        Seen::of(Case {
            fleet: &self.fleet,
            plan: &self.plan,
            status: &self.status,
            problems: &self.problems,
            refused: self.refused,
            objects: &self.objects,
            paused: &self.paused,
            now: self.now,
        })
    }

    fn broker(&mut self, name: &str) -> &mut BrokerStatus {
        let mut brokers = self.status.brokers.iter_mut();
        brokers.find(|broker| broker.name.as_str() == name).unwrap()
    }

    /// As after some time in which nothing happened, though figures changed.
    fn later(&mut self) {
        self.now = at("2026-01-01T01:00:00Z");
        for broker in &mut self.status.brokers {
            broker.heartbeat_ms = broker.heartbeat_ms.map(|figure| figure * 3.0);
        }
        for path in &mut self.status.paths {
            path.probe_ms = path.probe_ms.map(|figure| figure * 3.0);
        }
    }

    fn problem(&mut self, object: &str, field: &str, message: &str, remedy: &str) {
        self.problems.push(Problem {
            severity: Severity::Error,
            path: "cluster".to_owned(),
            line: 1,
            column: 1,
            object: object.to_owned(),
            field: field.to_owned(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        });
        self.refused = true;
    }
}

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// `a - b - c - i` and a topic from `i` to `a`.
fn line() -> FleetBuilder {
    FleetBuilder::new()
        .routes("a-b b-c c-i")
        .topic("soil", "farm/+/soil", "i", "a")
}

/// One status letter for each of `Configured`, `Matched`, `Operational`, `Ready`.
fn letters(conditions: &[Condition]) -> String {
    let kinds: Vec<&str> = conditions.iter().map(|it| it.type_.as_str()).collect();
    assert_eq!(kinds, ["Configured", "Matched", "Operational", "Ready"]);
    conditions
        .iter()
        .filter_map(|it| it.status.chars().next())
        .collect()
}

fn condition<'a>(conditions: &'a [Condition], kind: &str) -> &'a Condition {
    conditions.iter().find(|it| it.type_ == kind).unwrap()
}

fn message<'a>(conditions: &'a [Condition], kind: &str) -> &'a str {
    &condition(conditions, kind).message
}

#[track_caller]
fn says(conditions: &[Condition], kind: &str, parts: &[&str]) {
    let message = message(conditions, kind);
    for part in parts {
        assert!(message.contains(part), "{kind}: {part:?} is not in {message:?}");
    }
}
