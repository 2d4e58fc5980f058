//! What a broker's profile and version promise: the rows of the loss contract that concern it, and what is known to be wrong.
//!
//! Knows `skein-contract` and which of its rows matter to which broker; what the rows say is there.

#[cfg(test)]
mod tests;

use serde::Serialize;
use skein_api::fleet::{Broker, Durability, Fleet};
use skein_api::name::{BrokerName, TopicName};
use skein_contract::{Blow, Event, Kept, Lost, Order, Profile, Series, Terms, clause, survives};
use skein_mosquitto::link::Mode;
use skein_mosquitto::version::{Effect, Version, known_issues};

use super::BrokerExplanation;
use crate::plan::{Finding, Severity};

/// The Mosquitto of a broker, as far as somebody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Software {
    /// Its version.
    pub version: Version,
    /// How that is known.
    pub known: KnownFrom,
    /// What it keeps on disk, if its configuration was seen.
    pub profile: Option<Profile>,
}

/// How a version is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum KnownFrom {
    /// It runs.
    Running,
    /// The manifest asks for it.
    Declared,
    /// Nothing says so; it is the newest that Skein knows.
    Assumed,
}

/// What a broker keeps of what it acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DurabilityExplanation {
    /// The profile in use.
    pub profile: Profile,
    /// The manifest names it.
    pub declared: bool,
    /// Mosquitto's version.
    pub version: String,
    /// How that is known.
    pub version_from: KnownFrom,
    /// Why this profile, as a sentence.
    pub reason: String,
    /// What it has left after which blow.
    pub keeps: Vec<Left>,
}

/// What is left of QoS 1 and 2 messages that were acknowledged and not passed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// After what.
    pub after: Blow,
    /// What is lost, in one word: see [`skein_contract::Lost::kind`].
    pub lost: &'static str,
    /// What or when that is.
    pub lost_what: Option<&'static str>,
    /// The same as a sentence, without a full stop.
    pub says: &'static str,
}

/// A row of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContractRow {
    /// What happens.
    pub event: Event,
    /// The same in words.
    pub title: &'static str,
    /// What is to be known of the whole row; may be empty.
    pub says: &'static str,
    /// It is so today.
    pub kept: bool,
    /// Since which release of Skein.
    pub since: Option<&'static str>,
    /// What is missing.
    pub why_not_yet: Option<&'static str>,
    /// What holds instead, today.
    pub today: Option<&'static str>,
    /// By quality of service; empty where it does not matter.
    pub promises: Vec<QosPromise>,
    /// What it rests on, a sentence each.
    pub footnotes: Vec<&'static str>,
}

/// A cell of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QosPromise {
    /// The quality of service.
    pub qos: u8,
    /// What may be lost, in one word: `nothing`, `bounded`, `while`, `everythingHeld` or `notPromised`.
    pub lost: &'static str,
    /// What or when, for `bounded` and `while`.
    pub lost_what: Option<&'static str>,
    /// What may arrive again: `never`, `possible` or `bounded`.
    pub duplicates: &'static str,
    /// How many, for `bounded`.
    pub duplicates_bound: Option<&'static str>,
    /// In which order messages arrive.
    pub order: Order,
    /// The same as a sentence, without a full stop.
    pub says: &'static str,
    /// What `lost` and `lost_what` tell programs.
    #[serde(skip)]
    pub loss: Lost,
}

/// Something wrong with a broker's Mosquitto.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionIssue {
    /// A short name, stable across releases.
    pub name: &'static str,
    /// What it does at worst.
    pub effect: Effect,
    /// What happens.
    pub what: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// The first version without it.
    pub fixed_in: Option<String>,
    /// Skein keeps clear of it.
    pub avoided: bool,
}

fn series(version: Version) -> Series {
    if version >= Version::V2_1 {
        Series::V2_1
    } else {
        Series::V2_0
    }
}

fn declared_profile(declared: &Broker) -> Option<Profile> {
    declared.managed()?.durability.map(|durability| match durability {
        Durability::Durable => Profile::Durable,
        Durability::Classic => Profile::Classic,
        Durability::None => Profile::None,
    })
}

/// The terms in use; `None` for a broker that Skein does not control.
fn terms(declared: &Broker, software: Software) -> Option<Terms> {
    if !declared.is_controlled() {
        return None;
    }
    let series = series(software.version);
    let profile = software
        .profile
        .or_else(|| declared_profile(declared))
        .unwrap_or_else(|| Profile::default_of(series));
    Some(Terms::new(profile, series))
}

/// The durability section.
pub(super) fn durability(declared: &Broker, software: Software) -> Option<DurabilityExplanation> {
    let terms = terms(declared, software)?;
    let asked = declared_profile(declared);
    let (profile, version) = (terms.profile(), software.version);
    let reason = match (asked, software.known) {
        (Some(asked), KnownFrom::Running) if asked != profile => {
            format!("it runs with this one, though {asked} is declared")
        }
        (Some(asked), _) if asked != profile => {
            format!("{asked} is declared, and Mosquitto {version} has no more than this")
        }
        (Some(_), _) => "as declared".to_owned(),
        (None, _) if profile == Profile::default_of(terms.series()) => {
            format!("the default with Mosquitto {}", series_name(terms.series()))
        }
        (None, _) => "the default where Mosquitto's sqlite plugin is missing".to_owned(),
    };
    Some(DurabilityExplanation {
        profile,
        declared: asked == Some(profile),
        version: version.to_string(),
        version_from: software.known,
        reason,
        keeps: Blow::ALL
            .iter()
            .map(|blow| {
                let left = survives(terms, *blow);
                Left {
                    after: *blow,
                    lost: left.lost.kind(),
                    lost_what: left.lost.what(),
                    says: left.says,
                }
            })
            .collect(),
    })
}

fn series_name(series: Series) -> &'static str {
    match series {
        Series::V2_0 => "2.0",
        Series::V2_1 => "2.1 and later",
    }
}

/// The rows that concern a broker, as far as it is explained already.
pub(super) fn contract(
    fleet: &Fleet,
    declared: &Broker,
    software: Software,
    explanation: &BrokerExplanation,
) -> Vec<ContractRow> {
    let Some(terms) = terms(declared, software) else {
        return Vec::new();
    };
    let concerned = |event: &&Event| concerns(fleet, explanation, **event);
    Event::ALL
        .iter()
        .filter(concerned)
        .map(|event| row(*event, terms))
        .collect()
}

fn concerns(fleet: &Fleet, broker: &BrokerExplanation, event: Event) -> bool {
    let name: &BrokerName = &broker.broker;
    let has_clients = !broker.roles.is_empty();
    match event {
        Event::Controller | Event::Supervisor | Event::Crash | Event::Hang | Event::Volume | Event::Disk => {
            true
        }
        Event::Link | Event::Route => !broker.links.is_empty(),
        Event::Away => broker.roles.iter().any(|role| role.subscribe),
        Event::Transit => !broker.transit.is_empty(),
        Event::Duplex => broker.links.iter().any(|link| link.mode == Mode::Duplex),
        Event::Drain | Event::Wills => has_clients,
        Event::Retained => {
            let retained = |topic: &TopicName| fleet.topics.get(topic).is_some_and(|topic| topic.retained);
            let own = fleet
                .topics
                .iter()
                .filter(|(_, topic)| topic.producers.contains(name) || topic.consumers.contains(name));
            broker.transit.iter().any(retained) || own.into_iter().any(|(_, topic)| topic.retained)
        }
    }
}

fn row(event: Event, terms: Terms) -> ContractRow {
    let clause = clause(event, terms);
    let (since, why_not_yet, today) = match clause.kept {
        Kept::Since { release } => (Some(release), None, None),
        Kept::NotYet { why, today } => (None, Some(why), Some(today)),
    };
    ContractRow {
        event,
        title: event.title(),
        says: clause.says,
        kept: clause.kept.is_kept(),
        since,
        why_not_yet,
        today,
        promises: clause
            .promises
            .iter()
            .flatten()
            .zip(0..)
            .map(|(promise, qos)| QosPromise {
                qos,
                lost: promise.lost.kind(),
                lost_what: promise.lost.what(),
                duplicates: promise.duplicates.kind(),
                duplicates_bound: promise.duplicates.bound(),
                order: promise.order,
                says: promise.says,
                loss: promise.lost,
            })
            .collect(),
        footnotes: clause.footnotes.iter().map(|footnote| footnote.says()).collect(),
    }
}

/// What is wrong with the version in use, worst first.
pub(super) fn issues(declared: &Broker, software: Software) -> Vec<VersionIssue> {
    if terms(declared, software).is_none() {
        return Vec::new();
    }
    known_issues(software.version)
        .into_iter()
        .map(|issue| VersionIssue {
            name: issue.name,
            effect: issue.effect,
            what: issue.what,
            remedy: issue.remedy,
            fixed_in: issue.fixed_in.map(|version| version.to_string()),
            avoided: issue.avoided,
        })
        .collect()
}

/// What the profile and the version have against each other, and against the fleet.
pub(super) fn findings(
    declared: &Broker,
    software: Software,
    explanation: &BrokerExplanation,
) -> Vec<Finding> {
    let Some(terms) = terms(declared, software) else {
        return Vec::new();
    };
    let (name, version) = (&explanation.broker, software.version);
    let mut findings = Vec::new();
    let mut warn = |message: String| {
        findings.push(Finding {
            severity: Severity::Warning,
            object: format!("broker/{name}"),
            message,
        });
    };
    if declared_profile(declared) == Some(Profile::Durable) && terms.series() == Series::V2_0 {
        warn(format!(
            "it is declared durable, which Mosquitto {version} cannot be, and does not start so; install 2.1 or later, or say \
             classic"
        ));
    }
    if terms.profile() == Profile::None && !explanation.links.is_empty() {
        let when = match terms.series() {
            Series::V2_0 => "and on 2.0 every change of a link is a restart",
            Series::V2_1 => "planned or not",
        };
        warn(format!(
            "it keeps nothing on disk, so each restart loses what waits in it for others, {when}; leave \
             spec.managed.durability out, or say classic"
        ));
    }
    let serious: Vec<_> = issues(declared, software)
        .into_iter()
        .filter(|issue| !issue.avoided && issue.fixed_in.is_some() && issue.effect.is_grave())
        .collect();
    if !serious.is_empty() {
        let fixed = serious
            .iter()
            .filter_map(|issue| issue.fixed_in.as_deref()?.parse::<Version>().ok());
        warn(format!(
            "Mosquitto {version} is known to lose messages or to crash ({}); use {} or later",
            super::listed(serious.iter().map(|issue| issue.name)),
            fixed.max().unwrap_or(version),
        ));
    }
    findings
}
