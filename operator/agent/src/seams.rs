//! What differs between the places where a supervisor runs.
//!
//! On one machine all three are files; in a pod the report goes to the API as well, and somebody else writes the files that
//! come from there. How a broker is administered beyond its configuration file (dynamic security, session inventory) is
//! nothing yet.

use std::future::Future;

use crate::directory::{BrokerDirectory, Configuration, Hold};
use crate::files::{self, FileError};
use crate::report::Report;
use crate::watch::Changes;

/// What a supervisor should see to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What the broker should run, if that was said.
    pub configuration: Option<Configuration>,
    /// Whether it is held.
    pub hold: Option<Hold>,
}

/// Where configuration comes from.
pub trait ConfigSource {
    /// What is wanted now.
    fn wanted(&mut self) -> impl Future<Output = Result<Wanted, FileError>>;

    /// Resolves when [`Self::wanted`] may have changed since this last resolved. May be dropped and called again.
    fn changed(&mut self) -> impl Future<Output = ()>;
}

/// Where reports go.
pub trait ReportSink {
    /// Makes this the report.
    fn publish(&mut self, report: &Report) -> impl Future<Output = Result<(), FileError>>;
}

/// What is done to a broker over its own protocol.
pub trait Administration {
    /// The broker runs with this configuration: called after every start, take-over and reload.
    fn loaded(&mut self, configuration: &Configuration) -> impl Future<Output = ()>;
}

/// Configuration from a broker's directory.
pub struct DirectorySource {
    directory: BrokerDirectory,
    changes: Changes,
}

impl DirectorySource {
    /// Watches a directory that exists.
    #[must_use]
    pub fn new(directory: BrokerDirectory) -> Self {
        let changes = Changes::of(
            directory.path(),
            [BrokerDirectory::DESIRED, BrokerDirectory::HOLD],
        );
        Self { directory, changes }
    }
}

impl ConfigSource for DirectorySource {
    async fn wanted(&mut self) -> Result<Wanted, FileError> {
        Ok(Wanted {
            configuration: self.directory.desired()?,
            hold: self.directory.held()?,
        })
    }

    async fn changed(&mut self) {
        self.changes.next().await;
    }
}

/// Reports into a broker's directory.
#[derive(Clone, Debug)]
pub struct FileReports {
    directory: BrokerDirectory,
}

impl FileReports {
    /// Into this directory.
    #[must_use]
    pub fn new(directory: BrokerDirectory) -> Self {
        Self { directory }
    }
}

impl ReportSink for FileReports {
    async fn publish(&mut self, report: &Report) -> Result<(), FileError> {
        files::write_json(&self.directory.path().join(BrokerDirectory::REPORT), report)
    }
}

/// Nothing is done to the broker.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAdministration;

impl Administration for NoAdministration {
    async fn loaded(&mut self, _: &Configuration) {}
}
