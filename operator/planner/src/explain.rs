//! Why the plan is as it is: a topic's paths, a broker's links and substitutes and what it promises, a route's use.
//!
//! Answers are plain data, sorted and serialisable, with sentences where a reason is asked for; how they are laid out
//! is for whoever shows them. Knows the declarations and the plan only, and changes neither.

mod broker;
mod promises;
mod queues;
mod route;
#[cfg(test)]
mod tests;
mod topic;
mod ways;

pub use broker::{
    BrokerExplanation, BrokerLink, CandidateExplanation, Gap, GraftExplanation, MissingRole, broker,
};
pub use promises::{ContractRow, DurabilityExplanation, KnownFrom, Left, QosPromise, Software, VersionIssue};
pub use queues::{Limit, QueueBudget};
pub use route::{RouteExplanation, RouteUse, route};
pub use topic::{Hop, HopLine, PathExplanation, RoutingRow, TopicExplanation, topic};
pub use ways::Way;

use skein_api::name::BrokerName;

/// A path as people read it: `a ← b ← c ← i`.
#[must_use]
pub fn arrows(brokers: &[BrokerName]) -> String {
    brokers
        .iter()
        .map(BrokerName::as_str)
        .collect::<Vec<_>>()
        .join(" ← ")
}

/// Names as a sentence holds them: `a`, `a and b`, `a, b and c`, or `a, b, c and 7 more`.
#[must_use]
pub fn listed<Name: ToString>(names: impl IntoIterator<Item = Name>) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    if names.len() > SHOWN + 1 {
        let more = names.len() - SHOWN;
        names.truncate(SHOWN);
        names.push(format!("{more} more"));
    }
    match names.pop() {
        None => "none".to_owned(),
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} and {last}", names.join(", ")),
    }
}
