//! The independent proof over rendered lines.
//!
//! Knows filters, links and how Mosquitto passes a message on; knows nothing of trees, paths or how the links came
//! about, so that a planner's mistake cannot hide here.

mod demand;
mod flows;
mod groups;
mod judge;
mod model;
mod problem;
mod walk;

use std::borrow::Borrow;
use std::collections::BTreeSet;

pub use flows::{Flow, deduplicating, flows, flows_of};
pub use problem::{Kind, Problem, Report, Severity};
use skein_api::name::BrokerName;
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Identity, Link};

use crate::demand::Demand;
use crate::groups::Groups;
use crate::judge::{Extent, Judge};
use crate::model::Model;

/// Judges the links against what must flow.
///
/// Shown are all losses, by flow, producer and consumer, all loops and duplicates that any message from anywhere could
/// meet, each lowered quality of service, and needless hops of declared messages.
#[must_use]
pub fn check(flows: &[Flow], links: &[impl Borrow<Link>], deduplicating: &BTreeSet<BrokerName>) -> Report {
    let names = flows
        .iter()
        .flat_map(|flow| flow.producers.iter().chain(&flow.consumers));
    let filters = flows.iter().map(|flow| &flow.filter);
    let model = Model::new(links, deduplicating, names, filters);
    let groups = Groups::new(&model);
    let mut judge = Judge::new(&model);
    // First what was declared, so that a problem is shown with a declared producer if there is one.
    Demand::new(flows, &model).walk(&model, &groups, &mut judge);
    judge.hazards(&groups, None, Extent::All);
    let (problems, walked) = judge.finish();
    Report { problems, walked }
}

/// Only what any state, also an intermediate one, must never have: loops, and brokers that get a message twice. For
/// every kind of message the lines can carry, entering at any broker that the links touch, or only at `entries`.
#[must_use]
pub fn hazards(
    links: &[impl Borrow<Link>],
    deduplicating: &BTreeSet<BrokerName>,
    entries: Option<&BTreeSet<BrokerName>>,
) -> Vec<Problem> {
    let model = Model::new(links, deduplicating, std::iter::empty(), std::iter::empty());
    let groups = Groups::new(&model);
    let mut judge = Judge::new(&model);
    let entries: Option<Vec<usize>> =
        entries.map(|entries| entries.iter().filter_map(|name| model.number(name)).collect());
    judge.hazards(&groups, entries.as_deref(), Extent::All);
    judge.finish().0
}

/// Some lines of some links that have [`hazards`] already without all the others, wherever messages enter: each by its link and its
/// filter. `None` if nothing can happen. Where there are many hazards it is much cheaper than all of them.
#[must_use]
pub fn culprits<'a>(
    links: &'a [impl Borrow<Link>],
    deduplicating: &BTreeSet<BrokerName>,
) -> Option<BTreeSet<(Identity<'a>, &'a TopicFilter)>> {
    let model = Model::new(links, deduplicating, std::iter::empty(), std::iter::empty());
    let groups = Groups::new(&model);
    let mut judge = Judge::new(&model);
    judge.hazards(&groups, None, Extent::First);
    let found = !judge.problems.is_empty();
    found.then(|| judge.culprits())
}
