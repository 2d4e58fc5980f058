//! Turns a declared fleet into trees, links, substitutes: the plan.
//!
//! Knows graphs, overlap classes and lines; knows no broker software, no processes and no clock. Same input, same
//! bytes out.

pub mod plan;

use plan::{Plan, View};
use skein_api::fleet::Fleet;

/// The plan of a fleet in a view, substitutes included.
#[must_use]
pub fn plan(fleet: &Fleet, view: &View) -> Plan {
    let _ = (fleet, view);
    Plan::default()
}
