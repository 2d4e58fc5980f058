//! [`Up`]: the loop that joins engine and machine.

use std::path::PathBuf;

use skein_agent::FindError;
use skein_agent::files::FileError;

use crate::happening::UpEvent;
use crate::manifests::Problem;
use crate::ports::PortError;
use crate::state::LockError;

/// A fleet to run.
#[derive(Clone, Debug)]
pub struct Up {
    /// The directory of manifests (or the one file).
    pub manifests: PathBuf,
    /// The state directory; `None` takes the default one of the manifests.
    pub state: Option<PathBuf>,
    /// The program that runs brokers; `None` looks for it.
    pub mosquitto: Option<PathBuf>,
    /// The program with the subcommands of [`crate::process`]; `None` takes the running one.
    pub program: Option<PathBuf>,
}

/// Why a fleet does not run (any more).
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The manifests cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Where they are.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There are none.
    #[error("{} has no manifests: put .yaml, .yml or .json files there, or name another directory with -f", path.display())]
    NoManifests {
        /// Where they should be.
        path: PathBuf,
    },
    /// They are wrong: everything that is, in order.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Manifests(Vec<Problem>),
    /// The state directory cannot be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There is no home to keep the state in.
    #[error("neither XDG_STATE_HOME nor HOME says where state is kept: name a directory with --state")]
    NoHome,
    /// There is no Mosquitto.
    #[error(transparent)]
    Mosquitto(#[from] FindError),
    /// No ports.
    #[error(transparent)]
    Ports(#[from] PortError),
    /// A file of the state directory cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system lacks something.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
}

impl Up {
    /// Runs the fleet until Ctrl-C or SIGTERM, and stops it then. Blocks. `tell` hears what happens.
    ///
    /// # Errors
    /// If it cannot be started; then nothing of it runs that did not run before.
    pub fn run(self, tell: impl FnMut(UpEvent)) -> Result<(), UpError> {
        let _ = tell;
        Ok(())
    }
}
