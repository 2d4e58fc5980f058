//! `plan -o json`.

use serde::Serialize;
use skein_api::name::{BrokerName, ClassName, Qos, TopicName};
use skein_mosquitto::link::{Direction, Line, Link, Mode};
use skein_planner::explain::MissingRole;
use skein_planner::plan::{Candidate, Equivalence, Path, Plan, Severity, Substitution};
use skein_planner::tables::RoleRow;

use super::rounded;

/// The whole plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanView {
    /// By topic, consumer, producer.
    paths: Vec<PathView>,
    /// By downstream, upstream, mode.
    links: Vec<LinkView>,
    /// By name.
    classes: Vec<ClassView>,
    /// By broker.
    substitutes: Vec<SubstitutionView>,
    /// Most severe first.
    findings: Vec<FindingView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PathView {
    topic: TopicName,
    producer: BrokerName,
    consumer: BrokerName,
    /// Consumer first; empty if there is no way.
    path: Vec<BrokerName>,
    cost: u32,
    /// Cost over the cost of the shortest way; 1 is best.
    stretch: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkView {
    /// The connection's name in the configuration of `downstream`.
    name: String,
    client_id: String,
    /// The broker that holds the connection.
    downstream: BrokerName,
    upstream: BrokerName,
    mode: Mode,
    class: ClassName,
    /// The `topic` lines for the user.
    filters: Vec<LineView>,
    /// The lines under `$skein/`.
    control: Vec<LineView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LineView {
    filter: String,
    qos: Qos,
    /// As seen from `downstream`.
    direction: Direction,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClassView {
    name: ClassName,
    topics: Vec<TopicName>,
    /// What its tree grows from; null if none of its pairs can be connected.
    root: Option<BrokerName>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SubstitutionView {
    broker: BrokerName,
    /// Best first.
    candidates: Vec<CandidateView>,
    /// The fewest brokers that together cover its roles, when no single one does.
    cover: Vec<BrokerName>,
    /// Hops that its death would add, the first candidate standing in.
    grafts: Vec<GraftView>,
    /// Flows that its death would interrupt.
    gaps: Vec<GapView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CandidateView {
    broker: BrokerName,
    equivalence: Equivalence,
    missing: Vec<MissingRole>,
    /// Cost of the shortest way between the two; null if there is none.
    distance: Option<u32>,
    same_zone: bool,
    load: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GraftView {
    downstream: BrokerName,
    upstream: BrokerName,
    class: ClassName,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GapView {
    topic: TopicName,
    producer: BrokerName,
    consumer: BrokerName,
}

/// A finding, in `plan` and `check`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FindingView {
    severity: Severity,
    object: String,
    message: String,
}

impl FindingView {
    pub(super) fn all(plan: &Plan) -> Vec<Self> {
        let view = |finding: &skein_planner::plan::Finding| Self {
            severity: finding.severity,
            object: finding.object.clone(),
            message: finding.message.clone(),
        };
        plan.findings.iter().map(view).collect()
    }
}

impl From<&Plan> for PlanView {
    fn from(plan: &Plan) -> Self {
        let mut paths: Vec<&Path> = plan.classes.values().flat_map(|class| &class.paths).collect();
        paths.sort_by_key(|path| (&path.topic, &path.consumer, &path.producer));
        Self {
            paths: paths.into_iter().map(path).collect(),
            links: plan.links().iter().map(|plan| link(plan)).collect(),
            classes: plan
                .classes
                .values()
                .map(|class| ClassView {
                    name: class.name.clone(),
                    topics: class.topics.clone(),
                    root: class.root.clone(),
                })
                .collect(),
            substitutes: plan
                .substitutes
                .iter()
                .map(|(broker, found)| substitution(broker, found))
                .collect(),
            findings: FindingView::all(plan),
        }
    }
}

fn path(path: &Path) -> PathView {
    PathView {
        topic: path.topic.clone(),
        producer: path.producer.clone(),
        consumer: path.consumer.clone(),
        path: path.brokers.to_vec(),
        cost: path.cost,
        stretch: rounded(path.stretch()),
    }
}

fn link(link: &Link) -> LinkView {
    let lines = |lines: &[Line]| {
        let view = |line: &Line| LineView {
            filter: line.filter.to_string(),
            qos: line.qos,
            direction: line.direction,
        };
        lines.iter().map(view).collect()
    };
    LinkView {
        name: link.name(),
        client_id: link.client_id(),
        downstream: link.downstream.clone(),
        upstream: link.upstream.clone(),
        mode: link.mode,
        class: link.class.clone(),
        filters: lines(&link.lines),
        control: lines(&link.control),
    }
}

fn substitution(broker: &BrokerName, found: &Substitution) -> SubstitutionView {
    let candidate = |candidate: &Candidate| CandidateView {
        broker: candidate.broker.clone(),
        equivalence: candidate.equivalence,
        missing: candidate
            .missing
            .iter()
            .map(|role| MissingRole::from(&**role))
            .collect(),
        distance: candidate.distance,
        same_zone: candidate.same_zone,
        load: candidate.load,
    };
    SubstitutionView {
        broker: broker.clone(),
        candidates: found.candidates.iter().map(candidate).collect(),
        cover: found.cover.clone(),
        grafts: found
            .grafts
            .iter()
            .map(|graft| GraftView {
                downstream: graft.hop.downstream.clone(),
                upstream: graft.hop.upstream.clone(),
                class: graft.class.clone(),
            })
            .collect(),
        gaps: found
            .gaps
            .iter()
            .map(|(topic, producer, consumer)| GapView {
                topic: topic.clone(),
                producer: producer.clone(),
                consumer: consumer.clone(),
            })
            .collect(),
    }
}

/// `plan --roles -o json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RolesView {
    pub(crate) roles: Vec<RoleRow>,
}
