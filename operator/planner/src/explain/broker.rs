//! What a broker does, who would stand in for it, and what its death would take.

use std::fmt;

use serde::Serialize;
use skein_api::fleet::{Fleet, Hosting};
use skein_api::name::{BrokerName, ClassName, TopicName};
use skein_mosquitto::link::Mode;

use super::promises::{self, ContractRow, DurabilityExplanation, Software, VersionIssue};
use super::queues::{self, QueueBudget};
use crate::plan::{Action, Candidate, Equivalence, Finding, Plan, Role, View};
use crate::tables::{RoleRow, roles_of};

/// All about one broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerExplanation {
    /// The broker.
    pub broker: BrokerName,
    /// Who runs it: `managed`, `external, agent` or `external, no control`.
    pub hosting: String,
    /// Its failure zone.
    pub zone: Option<String>,
    /// It is taken to be down.
    pub down: bool,
    /// Who plays its roles now, if it is not itself.
    pub served_by: Option<BrokerName>,
    /// What its clients publish and subscribe, as declared.
    pub roles: Vec<RoleRow>,
    /// Topics that pass through it without being its own.
    pub transit: Vec<TopicName>,
    /// Its links: those it holds first, then those that its neighbours hold.
    pub links: Vec<BrokerLink>,
    /// Its possible substitutes, best first.
    pub candidates: Vec<CandidateExplanation>,
    /// The fewest brokers that together cover its roles, when no single one does.
    pub cover: Vec<BrokerName>,
    /// Hops that its death would add.
    pub grafts: Vec<GraftExplanation>,
    /// Declared flows that its death would interrupt.
    pub gaps: Vec<Gap>,
    /// What happens if it dies (or, if it is down, what has become of its clients), in sentences.
    pub if_it_dies: Vec<String>,
    /// What it keeps of what it acknowledged; `None` if Skein does not control it.
    pub durability: Option<DurabilityExplanation>,
    /// The rows of the loss contract that concern it.
    pub contract: Vec<ContractRow>,
    /// What waits in it for others, what waits for it, and what waits for its subscribers.
    pub queues: Vec<QueueBudget>,
    /// What is wrong with its version, worst first.
    pub known_issues: Vec<VersionIssue>,
    /// What should be looked at.
    pub findings: Vec<Finding>,
}

/// A link of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerLink {
    /// The connection's name.
    pub name: String,
    /// Who holds the connection.
    pub downstream: BrokerName,
    /// Who is connected to.
    pub upstream: BrokerName,
    /// Whether data flows one way.
    pub mode: Mode,
    /// The class it serves.
    pub class: ClassName,
    /// How many lines it has for the user.
    pub lines: usize,
}

/// A possible substitute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateExplanation {
    /// Which.
    pub broker: BrokerName,
    /// How well it fits.
    pub equivalence: Equivalence,
    /// What it does not do yet.
    pub missing: Vec<MissingRole>,
    /// Cost of the shortest way to it.
    pub distance: Option<u32>,
    /// It is in the same zone.
    pub same_zone: bool,
    /// Its own declared (topic, role) pairs.
    pub load: u32,
}

/// A hop that a death would add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GraftExplanation {
    /// Where data goes.
    pub to: BrokerName,
    /// Where it comes from.
    pub from: BrokerName,
    /// For which class.
    pub class: ClassName,
}

/// A flow that a death would interrupt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The topic.
    pub topic: TopicName,
    /// Where it is published.
    pub producer: BrokerName,
    /// Where it is subscribed.
    pub consumer: BrokerName,
}

/// A role that a candidate lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingRole {
    /// Whether its clients would publish or subscribe.
    pub action: Action,
    /// The topic.
    pub topic: TopicName,
    /// The topic's filter, or one of its command filters.
    pub filter: String,
}

impl From<&Role> for MissingRole {
    fn from(role: &Role) -> Self {
        Self {
            action: role.action,
            topic: role.topic.clone(),
            filter: role.filter.to_string(),
        }
    }
}

impl fmt::Display for MissingRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Publish => "publish",
            Action::Subscribe => "subscribe",
        };
        write!(f, "{action} {}", self.filter)
    }
}

/// Explains a broker that runs (or would run) this Mosquitto. `None` if it is not declared.
#[must_use]
pub fn broker(
    fleet: &Fleet,
    view: &View,
    plan: &Plan,
    name: &BrokerName,
    software: Software,
) -> Option<BrokerExplanation> {
    let declared = fleet.brokers.get(name)?;
    let substitution = plan.substitutes.get(name);
    let roles = roles_of(fleet, view, name);
    let candidates = substitution
        .iter()
        .flat_map(|found| &found.candidates)
        .map(candidate)
        .collect();
    let grafts = substitution.iter().flat_map(|found| &found.grafts);
    let gaps = substitution.iter().flat_map(|found| &found.gaps);
    let mut explanation = BrokerExplanation {
        broker: name.clone(),
        hosting: match &declared.hosting {
            Hosting::Managed(_) => "managed",
            Hosting::Agent(..) => "external, agent",
            Hosting::External(_) => "external, no control",
        }
        .to_owned(),
        zone: declared.zone.clone(),
        down: view.down.contains(name),
        served_by: view.served_by.get(name).cloned(),
        transit: transit(plan, name),
        links: links(plan, name),
        candidates,
        cover: substitution.map(|found| found.cover.clone()).unwrap_or_default(),
        grafts: grafts
            .map(|graft| GraftExplanation {
                to: graft.hop.downstream.clone(),
                from: graft.hop.upstream.clone(),
                class: graft.class.clone(),
            })
            .collect(),
        gaps: gaps
            .map(|(topic, producer, consumer)| Gap {
                topic: topic.clone(),
                producer: producer.clone(),
                consumer: consumer.clone(),
            })
            .collect(),
        roles,
        if_it_dies: Vec::new(),
        durability: promises::durability(declared, software),
        contract: Vec::new(),
        queues: queues::of_broker(fleet, view, plan, name),
        known_issues: promises::issues(declared, software),
        findings: Vec::new(),
    };
    explanation.if_it_dies = fate(fleet, name, &explanation);
    explanation.contract = promises::contract(fleet, declared, software, &explanation);
    explanation.findings = promises::findings(declared, software, &explanation);
    explanation.findings.extend(queues::findings(&explanation.queues));
    Some(explanation)
}

fn candidate(candidate: &Candidate) -> CandidateExplanation {
    CandidateExplanation {
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
    }
}

fn transit(plan: &Plan, name: &BrokerName) -> Vec<TopicName> {
    let mut topics: Vec<TopicName> = plan
        .classes
        .values()
        .flat_map(|class| &class.paths)
        .filter(|path| path.brokers.len() > 2 && path.brokers[1..path.brokers.len() - 1].contains(name))
        .map(|path| path.topic.clone())
        .collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

fn links(plan: &Plan, name: &BrokerName) -> Vec<BrokerLink> {
    let mut links: Vec<BrokerLink> = plan
        .links()
        .iter()
        .filter(|link| &link.downstream == name || &link.upstream == name)
        .map(|link| BrokerLink {
            name: link.name(),
            downstream: link.downstream.clone(),
            upstream: link.upstream.clone(),
            mode: link.mode,
            class: link.class.clone(),
            lines: link.lines.len(),
        })
        .collect();
    links.sort_by_key(|link| &link.downstream != name);
    links
}

fn fate(fleet: &Fleet, name: &BrokerName, explanation: &BrokerExplanation) -> Vec<String> {
    use skein_api::fleet::FailoverPolicy;
    if explanation.down {
        return vec![match &explanation.served_by {
            Some(substitute) => format!("It is down; {substitute} serves its clients until it is back."),
            None if explanation.roles.is_empty() => "It is down; no clients are declared at it.".to_owned(),
            None => "It is down, and nobody serves its clients.".to_owned(),
        }];
    }
    let mut sentences = Vec::new();
    let policy = fleet.brokers.get(name).map(|broker| broker.failover.policy);
    let controlled = fleet
        .brokers
        .get(name)
        .is_some_and(skein_api::fleet::Broker::is_controlled);
    if explanation.roles.is_empty() {
        sentences.push("No clients are declared at it, so nobody needs to stand in for it.".to_owned());
    } else if !controlled {
        sentences
            .push("Skein does not control it: it is routed around, and its clients wait for it.".to_owned());
    } else {
        match (explanation.candidates.first(), policy) {
            (_, Some(FailoverPolicy::Disabled)) => {
                sentences.push("Its failover policy is Disabled: its clients wait for it.".to_owned());
            }
            (None, _) => {
                sentences.push("Nobody can stand in for it: its clients wait until it is back.".to_owned());
            }
            (Some(best), policy) => {
                let who = &best.broker;
                let fit = match best.equivalence {
                    Equivalence::Strong => {
                        "which publishes and subscribes the very same filters already".to_owned()
                    }
                    Equivalence::Weak => "whose filters cover all of its own already".to_owned(),
                    Equivalence::Partial => {
                        format!(
                            "which does not yet {}; that is added",
                            super::listed(&best.missing)
                        )
                    }
                };
                let approved = if policy == Some(FailoverPolicy::Manual) {
                    ", once a person approves"
                } else {
                    ""
                };
                sentences.push(format!("Its clients go to {who}{approved}, {fit}."));
            }
        }
    }
    if !explanation.transit.is_empty() {
        sentences.push(format!(
            "Topic {} goes round it, where there is a way.",
            super::listed(&explanation.transit)
        ));
    }
    match explanation.gaps.len() {
        0 => sentences.push("Every declared flow goes on.".to_owned()),
        count => sentences.push(format!(
            "{count} declared {} interrupted until it is back.",
            if count == 1 { "flow is" } else { "flows are" }
        )),
    }
    sentences
}
