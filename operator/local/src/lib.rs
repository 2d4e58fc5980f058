//! A fleet of processes on one machine.
//!
//! [`Up`] is the adapter between the engine and this machine: it keeps a state directory, starts a supervisor and a
//! forwarder process per broker, watches files and heartbeats, feeds the engine with what it sees and executes what the
//! engine says. [`client`] is for everyone else who wants to look at a running fleet or break a broker of it. Decides
//! nothing that the engine decides.

mod changes;
pub mod client;
mod happening;
pub mod manifests;
mod narrate;
mod ports;
pub mod process;
mod processes;
mod state;
mod status;
mod up;
mod users;
mod wishes;

pub use happening::{Summary, UpEvent};
pub use manifests::{ManifestFile, Problem};
pub use ports::{PortError, Ports};
pub use state::{LockError, StateDirectory};
pub use status::{FleetStatus, MigrationRecord};
pub use up::{Up, UpError};
pub use users::SecretFileError;
pub use wishes::{Approval, Drain, DrainWish, Step};
