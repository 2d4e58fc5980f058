//! `check -o json`.

use serde::Serialize;
use skein_api::name::BrokerName;
use skein_check::{Kind, Report, Severity};
use skein_planner::plan::Plan;

use super::plan::FindingView;

/// What the proof found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckView {
    /// Nothing is lost, doubled or looping, and no finding is an error.
    pub(crate) ok: bool,
    /// How many messages were walked through the lines.
    walked: usize,
    /// What is wrong with the lines, worst first.
    problems: Vec<ProblemView>,
    /// What the plan itself says.
    findings: Vec<FindingView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProblemView {
    severity: Severity,
    /// `loop`, `duplicate`, `loss`, `qosLowered` or `needless`.
    kind: Kind,
    /// The topic of the message that was walked.
    topic: String,
    /// Where it was published.
    producer: BrokerName,
    /// Where it goes wrong.
    broker: BrokerName,
    /// The brokers it passed until then, in its order.
    trail: Vec<BrokerName>,
    message: String,
}

impl CheckView {
    /// A verdict over a plan and what was found on its lines.
    pub(crate) fn new(plan: &Plan, report: &Report) -> Self {
        let errors = plan
            .findings
            .iter()
            .any(|finding| finding.severity == skein_planner::plan::Severity::Error);
        let problem = |problem: &skein_check::Problem| ProblemView {
            severity: problem.severity(),
            kind: problem.kind,
            topic: problem.topic.clone(),
            producer: problem.producer.clone(),
            broker: problem.broker.clone(),
            trail: problem.trail.clone(),
            message: problem.message.clone(),
        };
        Self {
            ok: report.is_sound() && !errors,
            walked: report.walked,
            problems: report.problems.iter().map(problem).collect(),
            findings: FindingView::all(plan),
        }
    }
}
