//! [`Up`]: a fleet on this machine from start to stop, and what stands in its way.

mod declare;
mod execute;
mod heed;
mod runner;
mod security;
mod show;
mod stop;
mod values;

use std::path::PathBuf;

use skein_agent::files::FileError;
use skein_agent::{FindError, find_mosquitto};

use crate::happening::UpEvent;
use crate::manifests::{self, Declared, ManifestFile, Problem};
use crate::ports::PortError;
use crate::state::{LockError, StateDirectory};
use crate::users::SecretFileError;

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
    #[error("{}: there is no manifest in it; put .yaml, .yml or .json files there", path.display())]
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
    /// No secret.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
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
    /// If it cannot be started, or the state directory fails while it runs; what was started is stopped then.
    pub fn run(self, mut tell: impl FnMut(UpEvent)) -> Result<(), UpError> {
        let system = |action| move |source| UpError::System { action, source };
        let (files, declared) = read(&self.manifests)?;
        let program = match self.program {
            Some(program) => program,
            None => std::env::current_exe().map_err(system("find this program"))?,
        };
        let unreadable = |source| UpError::Unreadable {
            path: self.manifests.clone(),
            source,
        };
        let manifests = self.manifests.canonicalize().map_err(unreadable)?;
        let state = match self.state {
            Some(path) => {
                StateDirectory::new(std::path::absolute(path).map_err(system("find the state directory"))?)
            }
            None => StateDirectory::of_manifests(&StateDirectory::base().ok_or(UpError::NoHome)?, &manifests)
                .map_err(unreadable)?,
        };
        let _lock = state.lock()?;
        let found = find_mosquitto(self.mosquitto.as_deref())?;
        if !declared.warnings.is_empty() {
            declared
                .warnings
                .iter()
                .for_each(|warning| tell(UpEvent::Trouble(warning.to_string())));
        }
        tell(UpEvent::Starting {
            fleet: manifests.clone(),
            state: state.path().to_owned(),
            mosquitto: (found.path.clone(), found.version.to_string()),
        });
        // What blocks reads small files: more threads would not be faster, and each keeps memory of its own.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .build()
            .map_err(system("start the event loop"))?;
        let place = runner::Place {
            manifests,
            state,
            program,
            mosquitto: found.path,
        };
        runtime.block_on(runner::run(place, files, declared, tell))
    }
}

/// Reads and judges the manifests.
fn read(path: &std::path::Path) -> Result<(Vec<ManifestFile>, Declared), UpError> {
    let files = manifests::read(path).map_err(|source| UpError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    if files.is_empty() {
        return Err(UpError::NoManifests {
            path: path.to_owned(),
        });
    }
    let declared = manifests::load(&files).map_err(UpError::Manifests)?;
    Ok((files, declared))
}
