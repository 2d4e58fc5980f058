//! The supervisor of one Mosquitto process.

use std::path::PathBuf;

use crate::directory::BrokerDirectory;
use crate::files::FileError;
use crate::find::Obstacle;

/// What a supervisor is told at its start.
#[derive(Clone, Debug)]
pub struct SupervisorOptions {
    /// The broker's files.
    pub directory: BrokerDirectory,
    /// The program.
    pub mosquitto: PathBuf,
}

/// Why a supervisor ended.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// There is one already.
    #[error("{} has a supervisor already{}", directory.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Taken {
        /// The broker's directory.
        directory: PathBuf,
        /// The other supervisor, if it said who it is.
        pid: Option<u32>,
    },
    /// The program is of no use.
    #[error("{}: {source}", mosquitto.display())]
    Mosquitto {
        /// The program.
        mosquitto: PathBuf,
        /// Why.
        source: Obstacle,
    },
    /// Its files cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system lacks something.
    #[error("cannot supervise a broker: {0}")]
    System(#[from] std::io::Error),
}

/// Supervises the broker of a directory until SIGTERM, which stops the broker too; ignores SIGINT and SIGHUP. Killed
/// otherwise, it leaves the broker running and the next supervisor takes it over.
///
/// # Errors
/// If the directory has a supervisor already, the program is no usable Mosquitto, or the files cannot be used.
pub async fn supervise(options: SupervisorOptions) -> Result<(), SupervisorError> {
    let _ = options;
    std::future::pending().await
}
