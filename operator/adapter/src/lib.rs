//! What is done for the engine alike wherever brokers run: errands over MQTT, which probe speaks for which path, a supervisor's
//! report in the engine's words, links as they are kept beside a configuration, and when failovers and drains got how far.
//!
//! It knows the engine, and what talks to brokers and runs them. Where brokers are, what they are started by and where anything
//! is kept is for those who use it: processes of one machine, or a cluster.

pub mod approvals;
pub mod conductor;
pub mod declared;
pub mod envoys;
pub mod links;
pub mod migrations;
pub mod moves;
mod probing;
pub mod translate;
pub mod users;
pub mod values;

pub use conductor::{Conductor, Ground};
pub use envoys::{Access, Envoys};
pub use probing::Probing;
