//! Getting at a database that a broker may have open, has left, or died with, without it ever noticing. Knows SQLite's
//! files and modes, no tables.
//!
//! A database in write-ahead mode has a log beside it (`-wal`), and an index of that log (`-shm`), for as long as somebody
//! has it open, and after a crash. So:
//! - With a log, it is opened read-only, and its index, too (`readonly_shm`). Then nothing of ours ever writes or repairs:
//!   after a crash SQLite makes an index of its own in memory, where otherwise it would repair the one on disk under a lock,
//!   in the way of the broker that is just being started again. Only where the index is missing for good (files copied without
//!   it) and nothing else helps does SQLite make one.
//! - Without one, nobody has it open, and it is read as an immutable file, which creates none of the two. Whether somebody
//!   opened it meanwhile is checked afterwards; then what was read is thrown away.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::StoreError;
use crate::place::{Fingerprint, Stamp, State, head, log_of};

/// Why an answer was not given.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    Schema {
        major: i64,
        minor: i64,
    },
    Value {
        table: &'static str,
        column: &'static str,
        what: String,
    },
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// How long to wait for a lock, and between attempts.
const PATIENCE: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(5);
const ATTEMPTS: usize = 20;

/// The way to a database.
#[derive(Debug)]
pub(super) struct Access {
    path: PathBuf,
    log: PathBuf,
    live: Option<Live>,
    /// How many connections there were: what one says of changes means nothing to the next.
    opened: u64,
}

/// A connection that is kept, as only one that is can say that nothing changed.
#[derive(Debug)]
struct Live {
    connection: Connection,
    /// The database and its log: other files of the same names are another store.
    identity: [(u64, u64); 2],
}

impl Access {
    pub(super) fn to(path: PathBuf) -> Self {
        Self {
            log: log_of(&path),
            path,
            live: None,
            opened: 0,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is a database in write-ahead mode. A broker creates it in another mode and changes that at once; who
    /// had it open then would stop it from doing so, and so from starting.
    pub(super) fn is_set_up(&self) -> Result<bool, StoreError> {
        // With a log it is, and then its file is not opened: closing it would drop this process's locks on it.
        if Stamp::at(&self.log)?.is_some() {
            return Ok(true);
        }
        // The versions that are needed to write and to read it (bytes 18 and 19): 2 is write-ahead.
        Ok(head(&self.path)?.get(18..20) == Some(&[2, 2]))
    }

    /// Asks something in one transaction. What is asked may be asked again, when what was read turned out to be moving.
    pub(super) fn ask<T>(
        &mut self,
        what: &'static str,
        mut question: impl FnMut(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                thread::sleep(PAUSE);
            }
            let answer = match Stamp::at(&self.log)? {
                Some(log) => self.ask_live(log, attempt + 1 < ATTEMPTS, &mut question),
                None => match self.ask_left(&mut question)? {
                    Some(answer) => answer,
                    None => continue,
                },
            };
            match answer {
                Err(Fault::Sqlite(error)) if is_passing(&error) => self.live = None,
                answer => return answer.map_err(|fault| self.error(what, fault)),
            }
        }
        Err(StoreError::Busy {
            path: self.path.clone(),
        })
    }

    pub(super) fn fingerprint(&mut self) -> Result<Fingerprint, StoreError> {
        let version = self.ask("whether it changed", |connection| {
            Ok(connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
        })?;
        Ok(Fingerprint(match self.live {
            Some(_) => State::Live {
                connection: self.opened,
                version,
            },
            None => State::File(Stamp::at(&self.path)?),
        }))
    }

    /// Somebody may have it open.
    fn ask_live<T>(
        &mut self,
        log: Stamp,
        leave_index: bool,
        question: &mut impl FnMut(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let database = Stamp::at(&self.path).ok().flatten();
        let identity = [database.map(Stamp::identity).unwrap_or_default(), log.identity()];
        let live = match self.live.take() {
            Some(live) if live.identity == identity => live,
            _ => {
                self.opened += 1;
                Live {
                    connection: open(
                        &self.path,
                        if leave_index {
                            "readonly_shm=1"
                        } else {
                            "readonly_shm=0"
                        },
                    )?,
                    identity,
                }
            }
        };
        in_one(&self.live.insert(live).connection, question)
    }

    /// Nobody had it open; none if somebody did before this was over.
    fn ask_left<T>(
        &mut self,
        question: &mut impl FnMut(&Connection) -> Result<T, Fault>,
    ) -> Result<Option<Result<T, Fault>>, StoreError> {
        self.live = None;
        let before = Stamp::at(&self.path)?;
        if before.is_none() || !self.is_set_up()? {
            return Ok(None);
        }
        let answer = open(&self.path, "immutable=1")
            .map_err(Fault::from)
            .and_then(|connection| in_one(&connection, question));
        let untouched = Stamp::at(&self.log)?.is_none() && Stamp::at(&self.path)? == before;
        Ok(untouched.then_some(answer))
    }

    fn error(&self, what: &'static str, fault: Fault) -> StoreError {
        let path = self.path.clone();
        match fault {
            Fault::Sqlite(source) => StoreError::Sqlite { what, path, source },
            Fault::Schema { major, minor } => StoreError::Format {
                path,
                found: format!("{major}.{minor}"),
                known: "1.0 and 1.1",
                newer: major > 0,
            },
            Fault::Value { table, column, what } => StoreError::Value {
                path,
                table,
                column,
                what,
            },
        }
    }
}

/// Whether it is only that somebody opens, closes or repairs the database just now.
fn is_passing(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}

fn in_one<T>(
    connection: &Connection,
    question: &mut impl FnMut(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let transaction = connection.unchecked_transaction()?;
    question(&transaction)
}

fn open(path: &Path, parameter: &str) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri(path, parameter), flags)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// The path as a URI, whatever characters it has.
fn uri(path: &Path, parameter: &str) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;

    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            other => {
                // Writing into a string does not fail.
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri + "?mode=ro&" + parameter
}
