//! What Prometheus is told: every metric there is, as data, and the families that count by it.
//!
//! `docs/metrics.md` is written from the same tables. Knows neither fleets nor how anything is measured.

pub mod controller;
mod families;
mod page;
pub mod pod;

pub use families::{FORMAT, Families};
pub use page::page;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It goes up, and begins anew with its process.
    Counter,
    /// How often it was at most how much.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name, with the unit as Prometheus wants it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What its series are told apart by: only what is declared, or one of a few words.
    pub labels: &'static [&'static str],
    /// A sentence or two.
    pub help: &'static str,
}

const NAMESPACE: &[&str] = &["namespace"];
const BROKER: &[&str] = &["namespace", "broker"];

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Row {
    let kind = Kind::Gauge;
    Row {
        name,
        kind,
        labels,
        help,
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Row {
    let kind = Kind::Counter;
    Row {
        name,
        kind,
        labels,
        help,
    }
}
