//! Health, epochs and migrations as a state machine without I/O.
//!
//! [`Engine::observe`] takes one event and the time, and returns directives. Adapters (processes here, Kubernetes later)
//! execute directives and feed back what happened. The engine never waits and never remembers what it could not see
//! again: after a restart the adapter replays what it finds, and the engine goes on.

pub mod collisions;
pub mod directive;
pub mod event;
pub mod rehearsal;
pub mod retained;
pub mod sessions;

mod engine;

pub use engine::{Engine, Securing, Settings};

mod apart;
mod failover;
mod handover;
mod health;
mod ledger;
mod overlaps;
mod rollout;
mod site;
mod strand;
mod strands;
mod switch;
mod tools;
mod turns;
mod vantage;
mod watch;

#[cfg(test)]
mod tests;
