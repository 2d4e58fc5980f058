//! The files of one broker, through which its controller and its supervisor speak.
//!
//! ```text
//! desired.json     controller → supervisor  {epoch, config, links}: what should run
//! users.json       controller → supervisor  who may connect, as hashes: what the broker's security file is made from
//! hold             a person   → supervisor  `down` or `hang`; absent: run
//! loaded.json      supervisor → all         same shape: what the running process uses
//! report.json      supervisor → all         see `report::Report`
//! mosquitto.conf   what the broker is started with; candidate.conf: the one under test
//! supervisor.pid   the supervisor's identity; supervisor.lock is locked while it lives
//! broker.pid       the broker's identity
//! data/            the broker's store, and the security file that it starts with and rewrites
//! log/             mosquitto.log (and .1, the older half), supervisor.log
//! ```
//!
//! Every file is replaced as a whole. The logs have a directory of their own so that a chatty broker wakes nobody who
//! watches the files.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skein_mosquitto::security::{FILE, Security, read, render};

use crate::files::{self, FileError};
use crate::identity::Identity;
use crate::report::Report;

/// What a broker should run, or runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Its number, given by the controller.
    pub epoch: u64,
    /// The text of `mosquitto.conf`.
    pub config: String,
    /// What the controller wants to find beside the text again; the supervisor does not look into it.
    #[serde(default)]
    pub links: serde_json::Value,
}

/// A broker kept from working, for trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Killed, and not started again.
    Down,
    /// Stopped in its tracks; connections to it stay open.
    Hang,
}

impl Hold {
    /// As it stands in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Hang => "hang",
        }
    }
}

/// The directory of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerDirectory {
    path: PathBuf,
}

impl BrokerDirectory {
    /// The file of the desired configuration.
    pub const DESIRED: &str = "desired.json";
    /// The file of who may connect.
    pub const USERS: &str = "users.json";
    /// The file of the configuration in use.
    pub const LOADED: &str = "loaded.json";
    /// The file of the supervisor's report.
    pub const REPORT: &str = "report.json";
    /// The file that holds a broker down or hung.
    pub const HOLD: &str = "hold";

    /// The directory at this path, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes the directory and those in it, readable by the owner only, where they are missing.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn create(&self) -> Result<(), FileError> {
        for path in [self.path.clone(), self.data(), self.path.join("log")] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(FileError::system("create", &path))?;
        }
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the broker keeps its store (`persistence_location`).
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// What the broker is started with.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.path.join("mosquitto.conf")
    }

    pub(crate) fn candidate_file(&self) -> PathBuf {
        self.path.join("candidate.conf")
    }

    /// What the broker writes to its standard output and error.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log/mosquitto.log")
    }

    /// What was set aside of [`Self::log`] when it had become large.
    #[must_use]
    pub fn older_log(&self) -> PathBuf {
        self.path.join("log/mosquitto.log.1")
    }

    /// What the supervisor itself writes; for whoever spawns it.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        self.path.join("log/supervisor.log")
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.path.join("supervisor.lock")
    }

    pub(crate) fn supervisor_file(&self) -> PathBuf {
        self.path.join("supervisor.pid")
    }

    pub(crate) fn broker_file(&self) -> PathBuf {
        self.path.join("broker.pid")
    }

    /// Says what should run; the supervisor notices.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn give(
        &self,
        epoch: u64,
        config: impl Into<String>,
        links: serde_json::Value,
    ) -> Result<(), FileError> {
        let configuration = Configuration {
            epoch,
            config: config.into(),
            links,
        };
        files::write_json(&self.path.join(Self::DESIRED), &configuration)
    }

    /// What should run, if that was said.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn desired(&self) -> Result<Option<Configuration>, FileError> {
        files::read_json(&self.path.join(Self::DESIRED))
    }

    /// Says who may connect: the broker is started with that, and with those barred that its own file bars. Nothing is done
    /// to a process that runs.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn set_users(&self, users: &Security) -> Result<(), FileError> {
        files::write(&self.users_file(), render(users).as_bytes())
    }

    /// Who may connect, if that was said.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn users(&self) -> Result<Option<Security>, FileError> {
        let path = self.users_file();
        let Some(text) = files::read(&path)? else {
            return Ok(None);
        };
        read(&text)
            .map(Some)
            .map_err(|source| FileError::Users { path, source })
    }

    /// Somebody once said who may connect.
    #[must_use]
    pub fn has_users(&self) -> bool {
        self.users_file().exists()
    }

    pub(crate) fn users_file(&self) -> PathBuf {
        self.path.join(Self::USERS)
    }

    /// The file of the broker's dynamic-security plugin: see [`skein_mosquitto::security`].
    #[must_use]
    pub fn security_file(&self) -> PathBuf {
        self.data().join(FILE)
    }

    /// What the running process uses, or the last one used.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn loaded(&self) -> Result<Option<Configuration>, FileError> {
        files::read_json(&self.path.join(Self::LOADED))
    }

    pub(crate) fn set_loaded(&self, configuration: &Configuration) -> Result<(), FileError> {
        files::write_json(&self.path.join(Self::LOADED), configuration)
    }

    /// What the supervisor last said. It may be dead: see [`Self::supervisor`].
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn report(&self) -> Result<Option<Report>, FileError> {
        files::read_json(&self.path.join(Self::REPORT))
    }

    /// Holds the broker; the supervisor notices.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn hold(&self, hold: Hold) -> Result<(), FileError> {
        files::write(
            &self.path.join(Self::HOLD),
            format!("{}\n", hold.as_str()).as_bytes(),
        )
    }

    /// Lets a held broker go; the supervisor notices.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn mend(&self) -> Result<(), FileError> {
        files::remove(&self.path.join(Self::HOLD))
    }

    /// Whether the broker is held. Any content but `hang` means down: a person wrote it, and meant something.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn held(&self) -> Result<Option<Hold>, FileError> {
        let content = files::read(&self.path.join(Self::HOLD))?;
        Ok(content.map(|text| {
            if text.trim() == "hang" {
                Hold::Hang
            } else {
                Hold::Down
            }
        }))
    }

    /// The supervisor, if it is alive.
    ///
    /// # Errors
    /// If its file cannot be read or is damaged.
    pub fn supervisor(&self) -> Result<Option<Identity>, FileError> {
        Ok(files::read_json(&self.supervisor_file())?.filter(Identity::is_alive))
    }

    /// The broker's process, if it is alive; it may be so without a supervisor.
    ///
    /// # Errors
    /// If its file cannot be read or is damaged.
    pub fn broker(&self) -> Result<Option<Identity>, FileError> {
        Ok(files::read_json(&self.broker_file())?.filter(Identity::is_alive))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_found_again() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = BrokerDirectory::new(temporary.path().join("brokers/a"));
        directory.create().unwrap();
        directory.create().unwrap();
        assert_eq!(directory.desired().unwrap(), None);
        directory
            .give(3, "listener 1\n", serde_json::json!([{"any": "thing"}]))
            .unwrap();
        let desired = directory.desired().unwrap().unwrap();
        assert_eq!((desired.epoch, desired.config.as_str()), (3, "listener 1\n"));
        assert_eq!(desired.links, serde_json::json!([{"any": "thing"}]));
        assert_eq!(directory.supervisor().unwrap(), None);
    }

    #[test]
    fn a_hold_lasts_until_mended() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = BrokerDirectory::new(temporary.path());
        assert_eq!(directory.held().unwrap(), None);
        for hold in [Hold::Hang, Hold::Down] {
            directory.hold(hold).unwrap();
            assert_eq!(directory.held().unwrap(), Some(hold));
        }
        directory.mend().unwrap();
        assert_eq!(directory.held().unwrap(), None);
    }
}
