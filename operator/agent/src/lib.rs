//! The supervisor of one Mosquitto, and the forwarder of its client address.
//!
//! Both know processes, files and TCP only: no MQTT, no fleets. A supervisor reads what it should do from files and says
//! in files what it did, so that whoever controls it may die and come back; it may itself be killed, and the next one
//! takes over the broker that went on running.

pub mod directory;
pub mod files;
pub mod find;
pub mod forwarder;
pub mod identity;
mod judge;
mod obstacle;
pub mod packed;
pub mod plugin;
mod process;
mod ready;
mod relay;
pub mod report;
pub mod say;
pub mod seams;
mod sockets;
pub mod spawn;
pub mod supervisor;
mod users;
pub mod watch;

pub use directory::{BrokerDirectory, Configuration, Hold};
pub use find::{FindError, Found, find_mosquitto};
pub use forwarder::{ForwardError, ForwardOptions, ForwarderDirectory, ForwarderReport, forward};
pub use identity::Identity;
pub use report::{Exit, ProcessState, Rejected, Report};
pub use spawn::spawn_detached;
pub use supervisor::{SupervisorError, SupervisorOptions, supervise, supervise_until};
