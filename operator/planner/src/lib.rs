//! Turns a declared fleet into trees, links, substitutes: the plan.
//!
//! Knows graphs, overlap classes and lines; knows no broker software, no processes and no clock. Same input, same
//! bytes out.

mod branches;
mod choice;
mod class;
mod classes;
mod declared;
pub mod diff;
mod directed;
mod ends;
pub mod explain;
mod failures;
mod filters;
mod findings;
pub mod graph;
mod grow;
mod hops;
mod laid;
mod lines;
mod links;
mod parts;
pub mod plan;
mod planner;
mod repair;
pub mod search;
mod substitutes;
pub mod tables;
pub mod topology;
mod trees;

use std::sync::Arc;

use plan::{Plan, View};
pub use planner::Planner;
use skein_api::fleet::Fleet;

/// The plan of a fleet in a view, with substitutes and every finding.
#[must_use]
pub fn plan(fleet: &Fleet, view: &View) -> Plan {
    let mut planner = Planner::new(view.previous_classes.clone());
    planner.replan(&Arc::new(fleet.clone()), view);
    planner.report()
}
