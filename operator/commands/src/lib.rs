//! What commands show of a fleet, and how they end: tables and sentences for people, stable shapes for programs, exit codes.
//!
//! `skein`, which asks files and processes, and `kubectl skein`, which asks a cluster, are thin around this. Knows neither.

// Pages of text, made once: `write!` would leave a result to discard at every line.
#![allow(clippy::format_push_string, clippy::format_collect)]

pub mod arguments;
pub mod check;
pub mod configs;
pub mod diff;
pub mod drain;
pub mod explain;
mod failure;
mod findings;
pub mod graph;
pub mod manifests;
pub mod moving;
mod object;
pub mod output;
pub mod paint;
pub mod plan;
mod prose;
pub mod status;
mod subject;
pub mod table;
#[cfg(test)]
mod tests;
pub mod views;
mod voice;

pub use failure::Failure;
pub use object::Object;
pub use subject::{Running, Subject};
pub use voice::Voice;

/// What a command that waits for something runs on.
///
/// # Errors
/// If the system lacks something.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::could_not(format!("cannot start: {error}")))
}
