//! For everyone beside `skein up`: find a running fleet, read its status, wait for it, break and mend its brokers.

mod moves;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skein_agent::Hold;
use skein_agent::files::{self, FileError};
use skein_agent::watch::Changes;
use skein_api::name::BrokerName;
use tokio::time::Instant;

pub use moves::{MoveError, approve, drain, undrain};

use crate::manifests::ManifestFile;
use crate::state::StateDirectory;
use crate::status::FleetStatus;

/// Why a running fleet cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// None runs.
    #[error("no fleet is running: start one with `skein up -f DIR`{}", if *named { ", or name its state directory with --state" } else { "" })]
    NoneRunning {
        /// Whether naming a state directory could help.
        named: bool,
    },
    /// Several run.
    #[error("several fleets are running; say which with --state:\n{}", list(states))]
    SeveralRunning {
        /// Their state directories.
        states: Vec<PathBuf>,
    },
    /// There is nothing of a fleet there.
    #[error("{} holds no fleet: name the directory that `skein up` printed, or leave --state away", state.display())]
    NoFleet {
        /// What was named.
        state: PathBuf,
    },
    /// No such broker.
    #[error("there is no broker {broker:?} in this fleet that Skein runs; there are: {}", known.join(", "))]
    NoBroker {
        /// What was asked for.
        broker: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// What was waited for did not come.
    #[error("it did not happen within {0:?}")]
    TimedOut(Duration),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

fn list(states: &[PathBuf]) -> String {
    states
        .iter()
        .map(|state| format!("  {}", state.display()))
        .collect::<Vec<_>>()
        .join("\n")
}

/// State directories below the default base whose `up` is alive, sorted.
#[must_use]
pub fn running() -> Vec<StateDirectory> {
    StateDirectory::base()
        .map(|base| running_below(&base))
        .unwrap_or_default()
}

fn running_below(base: &Path) -> Vec<StateDirectory> {
    let mut states: Vec<StateDirectory> = fs::read_dir(base)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(StateDirectory::new(entry.ok()?.path())))
        .filter(|state| state.holder().is_some())
        .collect();
    states.sort_by(|one, other| one.path().cmp(other.path()));
    states
}

/// The fleet that is meant: this state directory, or else the only one running.
///
/// # Errors
/// If the named one is no state directory; without a name, if none or several run.
pub fn find(state: Option<&Path>) -> Result<StateDirectory, ClientError> {
    if let Some(path) = state {
        let state = StateDirectory::new(path);
        // Other files may be missing while `up` is still starting.
        return if path.join("lock").exists() {
            Ok(state)
        } else {
            Err(ClientError::NoFleet {
                state: path.to_owned(),
            })
        };
    }
    only(running())
}

fn only(mut states: Vec<StateDirectory>) -> Result<StateDirectory, ClientError> {
    match (states.pop(), states.is_empty()) {
        (None, _) => Err(ClientError::NoneRunning { named: true }),
        (Some(state), true) => Ok(state),
        (Some(state), false) => {
            states.push(state);
            Err(ClientError::SeveralRunning {
                states: states.iter().map(|state| state.path().to_owned()).collect(),
            })
        }
    }
}

/// The status last written; `None` if there is none (stopped, or still starting). Whether its `up` is alive says
/// [`StateDirectory::holder`].
///
/// # Errors
/// If the file cannot be read.
pub fn status(state: &StateDirectory) -> Result<Option<FleetStatus>, ClientError> {
    Ok(files::read_json(&state.status_file())?)
}

/// The manifests last accepted.
///
/// # Errors
/// If there are none, or they cannot be read.
pub fn manifests(state: &StateDirectory) -> Result<Vec<ManifestFile>, ClientError> {
    files::read_json(&state.fleet_file())?.ok_or_else(|| ClientError::NoFleet {
        state: state.path().to_owned(),
    })
}

/// Keeps a broker down, or stops it in its tracks.
///
/// # Errors
/// If there is no such broker that Skein runs, or its file cannot be written.
pub fn break_broker(state: &StateDirectory, broker: &BrokerName, hang: bool) -> Result<(), ClientError> {
    check(state, broker)?;
    Ok(state
        .broker(broker)
        .hold(if hang { Hold::Hang } else { Hold::Down })?)
}

/// Lets a broken broker go.
///
/// # Errors
/// If there is no such broker that Skein runs, or its file cannot be removed.
pub fn mend(state: &StateDirectory, broker: &BrokerName) -> Result<(), ClientError> {
    check(state, broker)?;
    Ok(state.broker(broker).mend()?)
}

fn check(state: &StateDirectory, broker: &BrokerName) -> Result<(), ClientError> {
    let declared = status(state)?.map(|status| status.brokers);
    let known: Vec<BrokerName> = state
        .known_brokers()
        .into_iter()
        .filter(|name| state.broker(name).path().exists())
        // Brokers no longer declared keep their files.
        .filter(|name| {
            declared
                .as_ref()
                .is_none_or(|declared| declared.iter().any(|broker| broker.name == *name))
        })
        .collect();
    if known.contains(broker) {
        return Ok(());
    }
    Err(ClientError::NoBroker {
        broker: broker.to_string(),
        known: known.iter().map(ToString::to_string).collect(),
    })
}

/// The status, again and again as it changes.
pub struct StatusWatch {
    state: StateDirectory,
    changes: Changes,
    last: Option<FleetStatus>,
}

impl StatusWatch {
    /// Begins with the status as it is.
    #[must_use]
    pub fn new(state: &StateDirectory) -> Self {
        let changes = Changes::of(state.path(), ["status.json"]);
        Self {
            state: state.clone(),
            changes,
            last: None,
        }
    }

    /// The next status that differs from the one before; the first time, the first there is.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn next(&mut self) -> Result<FleetStatus, ClientError> {
        loop {
            if let Some(status) = status(&self.state)?
                && self.last.as_ref() != Some(&status)
            {
                self.last = Some(status.clone());
                return Ok(status);
            }
            self.changes.next().await;
        }
    }
}

/// Waits until the status satisfies a condition, and returns it.
///
/// # Errors
/// If it does not in time, or the file cannot be read.
pub async fn wait_for(
    state: &StateDirectory,
    timeout: Duration,
    mut condition: impl FnMut(&FleetStatus) -> bool,
) -> Result<FleetStatus, ClientError> {
    let deadline = Instant::now() + timeout;
    let mut watch = StatusWatch::new(state);
    loop {
        let status = tokio::time::timeout_at(deadline, watch.next())
            .await
            .map_err(|_| ClientError::TimedOut(timeout))??;
        if condition(&status) {
            return Ok(status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> BrokerName {
        BrokerName::new(text).unwrap()
    }

    fn empty_status() -> FleetStatus {
        FleetStatus {
            updated_at: String::new(),
            fleet: PathBuf::new(),
            pid: 1,
            brokers: Vec::new(),
            paths: Vec::new(),
            migrations: Vec::new(),
            drains: Vec::new(),
            settled: true,
            problems: Vec::new(),
        }
    }

    #[test]
    fn the_only_running_fleet_is_meant() {
        let base = tempfile::tempdir().unwrap();
        let (one, other) = (
            StateDirectory::new(base.path().join("one")),
            StateDirectory::new(base.path().join("other")),
        );
        assert!(
            only(running_below(base.path()))
                .unwrap_err()
                .to_string()
                .contains("skein up -f DIR")
        );
        let _one = one.lock().unwrap();
        drop(other.lock().unwrap());
        assert_eq!(only(running_below(base.path())).unwrap(), one);
        let _other = other.lock().unwrap();
        let error = only(running_below(base.path())).unwrap_err().to_string();
        assert!(
            error.contains("one") && error.contains("other") && error.contains("--state"),
            "{error}"
        );
    }

    #[test]
    fn a_broker_that_is_not_there_is_answered_with_those_that_are() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(temporary.path());
        for broker in ["a", "b"] {
            state.broker(&name(broker)).create().unwrap();
        }
        break_broker(&state, &name("a"), true).unwrap();
        assert_eq!(state.broker(&name("a")).held().unwrap(), Some(Hold::Hang));
        mend(&state, &name("a")).unwrap();
        assert_eq!(state.broker(&name("a")).held().unwrap(), None);
        let error = break_broker(&state, &name("z"), false).unwrap_err().to_string();
        assert!(error.contains("\"z\"") && error.ends_with("a, b"), "{error}");
    }

    #[test]
    fn a_directory_without_a_fleet_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        assert!(matches!(
            find(Some(temporary.path())),
            Err(ClientError::NoFleet { .. })
        ));
    }

    #[tokio::test]
    async fn waiting_ends_when_the_status_is_as_wished() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(temporary.path());
        let file = state.status_file();
        let writer = async {
            for pid in 1..=5 {
                files::write_json(
                    &file,
                    &FleetStatus {
                        pid,
                        ..empty_status()
                    },
                )
                .unwrap();
                tokio::task::yield_now().await;
            }
        };
        let waiting = wait_for(&state, Duration::from_secs(10), |status| status.pid == 5);
        let (status, ()) = tokio::join!(waiting, writer);
        assert_eq!(status.unwrap().pid, 5);
        let error = wait_for(&state, Duration::from_millis(1), |_| false)
            .await
            .unwrap_err();
        assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
    }
}
