//! Why a store cannot be read. Each message names the file, what is wrong with it, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// A store could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} the broker's store {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// The file is something else.
    #[error(
        "{} is no store of Mosquitto: give the file mosquitto.db or mosquitto.sqlite3, or the directory that \
         persistence_location names",
        path.display()
    )]
    NotAStore {
        /// Which file.
        path: PathBuf,
    },
    /// It was written by a release that this reader does not know, older or newer.
    #[error(
        "the store {} has format {found}, and formats {known} are known: {}",
        path.display(),
        if *newer { "update Skein, or run the release of Mosquitto that Skein supports" }
        else { "a supported release of Mosquitto writes it anew at its next save" }
    )]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: String,
        /// Those that are known.
        known: &'static str,
        /// Whether it is newer than those, not older.
        newer: bool,
    },
    /// The content contradicts itself or ends too early.
    #[error(
        "the store {} is damaged at byte {offset}: {what}; the broker puts a whole one in its place at its next save \
         (SIGUSR1 asks for it)",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where, in bytes from the start.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A value in a table is not what the broker writes there.
    #[error("the store {} has a value in {table}.{column} that the broker does not write: {what}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// In which table.
        table: &'static str,
        /// In which column.
        column: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The file kept changing under the reader, or somebody is repairing it.
    #[error("the store {} is being set up or repaired just now: try again", path.display())]
    Busy {
        /// Which file.
        path: PathBuf,
    },
    /// SQLite refused.
    #[error("cannot read {what} from the store {}: {source}", path.display())]
    Sqlite {
        /// What was to be read.
        what: &'static str,
        /// From which file.
        path: PathBuf,
        /// Its answer.
        source: rusqlite::Error,
    },
}

impl StoreError {
    pub(crate) fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::System { action, path, source }
    }
}
