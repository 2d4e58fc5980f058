//! Turns a declared fleet into trees, links, substitutes: the plan.
//!
//! Knows graphs, overlap classes and lines; knows no broker software, no processes and no clock. Same input, same
//! bytes out.

pub mod plan;
