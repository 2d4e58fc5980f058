//! The JSON and YAML shapes. They are stable: fields are added, never renamed or removed. Names are camelCase; brokers,
//! topics, routes and classes are given by name, paths consumer first, costs as declared, times in milliseconds.
//!
//! `explain` and `diff` have theirs in the planner, where the same types are the answers themselves.

mod check;
mod plan;
mod status;

pub(crate) use check::CheckView;
pub(crate) use plan::{PlanView, RolesView};
pub use status::{BrokerView, MigrationView, PathView, StatusView};

/// At most three decimals.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
