//! Links, declarations and places become a configuration, or a list of what stands against it.

use std::fmt;
use std::sync::Arc;

use skein_api::fleet::Broker;
use skein_api::name::BrokerName;

use super::Config;
use crate::link::Link;
use crate::version::Version;

/// What a configuration is made from.
pub struct Compile<'a> {
    /// Whose configuration.
    pub broker: &'a BrokerName,
    /// What is declared of it.
    pub declared: &'a Broker,
    /// The links it holds: it is their downstream end.
    pub links: &'a [Arc<Link>],
    /// Where it runs.
    pub placement: &'a Placement,
    /// Host and port of each other broker, for bridges.
    pub addresses: &'a dyn Fn(&BrokerName) -> Option<(String, u16)>,
    /// The Mosquitto that will run it.
    pub version: Version,
    /// The configuration's number.
    pub epoch: u64,
}

/// Where a broker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The host name or address to listen on.
    pub listen: String,
    /// The port for bridges, heartbeats and probes.
    pub peer_port: u16,
    /// Further ports for clients, if they do not use the peer port.
    pub client_ports: Vec<u16>,
    /// Where the broker keeps its store: an absolute path.
    pub data_directory: String,
    /// The system user the daemon becomes when it is started as root; `None` leaves Mosquitto's default.
    pub user: Option<String>,
    /// The path of `mosquitto_persist_sqlite.so`, if there is one.
    pub sqlite_plugin: Option<String>,
}

/// One thing that stands against a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{object}: {field}: {reason}; {remedy}")]
pub struct Problem {
    /// The object, as `Broker/a`.
    pub object: String,
    /// The field, as `spec.managed.durability`, or the part of the object.
    pub field: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

/// Everything that stands against a configuration, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// What, at least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for CompileError {}

/// The configuration of a broker. Fails, never alters: what cannot be written safely is refused.
pub fn compile(input: &Compile<'_>) -> Result<Config, CompileError> {
    let _ = input;
    Err(CompileError { problems: Vec::new() })
}
