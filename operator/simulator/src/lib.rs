//! A deterministic model of Mosquitto brokers, bridges, clients and network that drives the real engine and planner.
//!
//! [`schedule::run`] makes a random fleet and random faults from a seed, lets the engine deal with them in virtual time,
//! and judges what clients saw by the loss contract. [`script`] runs small scripts on the model of a broker alone, which
//! are run on real brokers too (`e2e/tests/model.rs`): what the simulator says is worth what the model is.
//!
//! No I/O, no clock, no randomness but from the seed: one seed, one story.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "numbers here are small: brokers, messages, microseconds of a minute"
)]

mod air;
mod broker;
mod clients;
mod clock;
mod contract;
mod fabric;
mod ledger;
mod names;
mod packet;
mod random;
pub mod schedule;
pub mod script;
mod sketch;
mod world;

pub use broker::Series;
