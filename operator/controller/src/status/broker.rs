//! The status of a broker.

use std::collections::BTreeSet;

use skein_api::fleet::{Broker, External, FailoverPolicy, Hosting};
use skein_api::name::BrokerName;
use skein_api::resources::{self, BrokerStatus, EpochStatus, SubstituteStatus};
use skein_engine::directive::{self, BrokerPhase};
use skein_planner::plan::{Candidate, Equivalence};

use super::conditions::{Verdict, Verdicts};
use super::{MOST, Seen, declared};
use crate::names;

/// The status of the broker `name`, whose spec is of this generation.
#[must_use]
pub fn broker(
    seen: &Seen<'_>,
    name: &str,
    generation: Option<i64>,
    before: Option<&BrokerStatus>,
) -> BrokerStatus {
    let known = before
        .map(|before| before.conditions.as_slice())
        .unwrap_or_default();
    let declared = seen.fleet.brokers.get(name);
    let heard = seen.broker(name).filter(|_| declared.is_some());
    let configured = declared::configured(
        seen,
        &format!("Broker/{name}"),
        declared.is_some(),
        generation,
        known,
    );
    let (matched, operational) = match declared {
        Some(declared) => (
            matched(seen, name, declared, heard),
            operational(seen, name, declared, heard),
        ),
        None => (Verdict::idle(), Verdict::idle()),
    };
    let verdicts = Verdicts {
        configured,
        matched,
        operational,
        ready: "it answers, and is configured as it should be".to_owned(),
    };
    BrokerStatus {
        phase: heard.map(phase),
        conditions: verdicts.conditions(generation, known, seen.now),
        observed_generation: generation,
        substitute: declared.and_then(|declared| substitute(seen, name, declared, before)),
        version: heard.and_then(|heard| heard.version.clone()),
        epoch: heard.and_then(epoch),
        served_by: heard.and_then(other).cloned(),
    }
}

/// The broker that serves its clients, if it is another one.
fn other(heard: &directive::BrokerStatus) -> Option<&BrokerName> {
    heard.served_by.as_ref().filter(|server| **server != heard.name)
}

fn phase(heard: &directive::BrokerStatus) -> resources::BrokerPhase {
    match heard.phase {
        BrokerPhase::Pending => resources::BrokerPhase::Starting,
        BrokerPhase::Ready => resources::BrokerPhase::Up,
        BrokerPhase::Suspect => resources::BrokerPhase::Suspect,
        BrokerPhase::Down if other(heard).is_some() => resources::BrokerPhase::Fenced,
        BrokerPhase::Down => resources::BrokerPhase::Down,
        BrokerPhase::Returning => resources::BrokerPhase::Returning,
    }
}

fn epoch(heard: &directive::BrokerStatus) -> Option<EpochStatus> {
    let number = |epoch: Option<u64>| epoch.map_or(0, |epoch| i64::try_from(epoch).unwrap_or(i64::MAX));
    let some = heard.epoch_given.is_some() || heard.epoch_loaded.is_some();
    some.then(|| EpochStatus {
        given: number(heard.epoch_given),
        loaded: number(heard.epoch_loaded),
    })
}

fn matched(
    seen: &Seen<'_>,
    name: &str,
    declared: &Broker,
    heard: Option<&directive::BrokerStatus>,
) -> Verdict {
    if let Some(lack) = seen.objects.get(name) {
        return Verdict::no("ObjectsMissing", lack.clone());
    }
    if !declared.is_controlled() {
        return Verdict::yes(
            "External",
            "someone else runs it: Skein has nothing to configure there",
        );
    }
    let given = heard.and_then(|heard| heard.epoch_given);
    let loaded = heard.and_then(|heard| heard.epoch_loaded);
    match (given, loaded) {
        (None, _) => Verdict::unknown(
            "NoConfiguration",
            told(seen, name, "it has not been given a configuration yet"),
        ),
        (Some(given), None) => Verdict::unknown(
            "NotReported",
            told(
                seen,
                name,
                &format!("it has not said yet that it uses configuration {given}"),
            ),
        ),
        (Some(given), Some(loaded)) if given == loaded && seen.paused.contains(name) => Verdict::yes(
            "Paused",
            format!(
                "it uses the configuration that it was given; its objects are left as they are, for it is annotated {}",
                names::PAUSED
            ),
        ),
        (Some(given), Some(loaded)) if given == loaded => Verdict::yes(
            "Loaded",
            "its objects are there, and it uses the configuration that it was given",
        ),
        (Some(given), Some(loaded)) => Verdict::no(
            "NotLoaded",
            told(
                seen,
                name,
                &format!("it uses configuration {loaded}, and was given {given}"),
            ),
        ),
    }
}

fn operational(
    seen: &Seen<'_>,
    name: &str,
    declared: &Broker,
    heard: Option<&directive::BrokerStatus>,
) -> Verdict {
    let server = heard.and_then(other);
    match heard.map_or(BrokerPhase::Pending, |heard| heard.phase) {
        BrokerPhase::Pending => Verdict::unknown("NotHeard", told(seen, name, "it has not answered yet")),
        BrokerPhase::Ready => match server {
            Some(server) => {
                let case = format!("it answers, and {server} serves its clients");
                Verdict::yes("ServedByAnother", told(seen, name, &case))
            }
            None => Verdict::yes("Answers", told(seen, name, "it answers")),
        },
        BrokerPhase::Suspect => {
            let doubt = "something is amiss, and it is not clear yet whether it is down";
            Verdict::unknown("Suspect", told(seen, name, doubt))
        }
        BrokerPhase::Down => {
            let meanwhile = server.map_or_else(
                || "nobody serves its clients".to_owned(),
                |server| format!("{server} serves its clients"),
            );
            let mut all = seen.sentences(&format!("Broker/{name}"));
            if all.is_empty() {
                all.push("down");
            }
            let said = all.join(". ");
            Verdict::no(
                "Down",
                format!("{said}; {meanwhile}; to have it back, {}", see_to(name, declared)),
            )
        }
        BrokerPhase::Returning => {
            let case = server.map_or_else(
                || "it is back, and not yet taken in again".to_owned(),
                |server| format!("it is back, and {server} still serves its clients"),
            );
            Verdict::no("Returning", told(seen, name, &case))
        }
    }
}

/// Where a person has to look.
fn see_to(name: &str, declared: &Broker) -> String {
    match &declared.hosting {
        Hosting::Managed(_) => format!("see what keeps Pod/{name}-0 from running"),
        Hosting::Agent(_, External { host, port, .. }) => {
            format!("see to `skein-operator agent --broker {name}` at {host}:{port}")
        }
        Hosting::External(External { host, port, .. }) => format!("see to what runs it at {host}:{port}"),
    }
}

/// What is the case, and what the engine says of the broker besides.
fn told(seen: &Seen<'_>, name: &str, case: &str) -> String {
    let mut all = vec![case];
    all.extend(seen.sentences(&format!("Broker/{name}")));
    all.join(". ")
}

/// As planned. That is not known at all times: not while the plan is still being completed, and of one that is out the plan says
/// who could take over if it were out once more. Until it is known again, it is who it was.
fn substitute(
    seen: &Seen<'_>,
    name: &str,
    declared: &Broker,
    before: Option<&BrokerStatus>,
) -> Option<SubstituteStatus> {
    if declared.failover.policy == FailoverPolicy::Disabled || !declared.is_controlled() {
        return None;
    }
    let planned = seen.plan.substitutes.get(name);
    let known = before.and_then(|before| before.substitute.as_ref());
    let known = known.filter(|known| seen.fleet.brokers.contains_key(&known.broker));
    match (planned, known) {
        (Some(planned), known) if known.is_none() || !seen.is_out(name) => {
            planned.candidates.first().map(substitution)
        }
        (_, known) => known.cloned(),
    }
}

fn substitution(candidate: &Candidate) -> SubstituteStatus {
    let topics: BTreeSet<&str> = candidate.missing.iter().map(|role| role.topic.as_str()).collect();
    let count = topics.len();
    let mut missing: Vec<String> = topics.into_iter().map(ToOwned::to_owned).collect();
    if count > MOST {
        missing.truncate(MOST - 1);
        missing.push(format!("and {} more", count - missing.len()));
    }
    SubstituteStatus {
        broker: candidate.broker.clone(),
        equivalence: match candidate.equivalence {
            Equivalence::Strong => resources::Equivalence::Strong,
            Equivalence::Weak => resources::Equivalence::Weak,
            Equivalence::Partial => resources::Equivalence::Partial,
        },
        missing,
    }
}
