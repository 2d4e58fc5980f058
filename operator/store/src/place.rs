//! Where a store is, which kind it is, and whether a file is still the one it was. Knows the names and first bytes of
//! stores, nothing of what is in them.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::StoreError;

/// What the sqlite plugin calls its file.
pub const SQLITE_FILE: &str = "mosquitto.sqlite3";
/// What a broker calls its classic store, unless `persistence_file` says otherwise.
pub const CLASSIC_FILE: &str = "mosquitto.db";

const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
/// Of every classic store.
pub(crate) const CLASSIC_MAGIC: &[u8; 15] = b"\x00\xb5\x00mosquitto db";

/// A state of a store; see [`crate::Store::fingerprint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub(crate) State);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody writes to this file: it is replaced, or its writer is gone.
    File(Option<Stamp>),
    /// Somebody may: which connection of ours says so, and the number it gave.
    Live { connection: u64, version: i64 },
}

/// What the files of a store look like from outside; see [`glance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    stamps: [Option<Stamp>; 3],
    settled: bool,
}

impl Glance {
    /// Whether a change after this one would show. File systems count time in steps, so of what was written just now the next
    /// change may look the same.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled
    }
}

/// Longer than any file system's step that a running broker is likely to have: the kernel's own is up to ten milliseconds.
const STEP: Duration = Duration::from_millis(100);

/// Looks at the files that may be a store in a directory and opens none: for who watches many and has no need to hold any. Two
/// that are equal, the first of them settled, mean that nothing changed between. Costs microseconds. Take it *before* the
/// inventory that it stands for.
///
/// # Errors
/// If a file cannot be looked at.
pub fn glance(directory: &Path) -> Result<Glance, StoreError> {
    let sqlite = directory.join(SQLITE_FILE);
    let stamps = [
        Stamp::at(&sqlite)?,
        Stamp::at(&log_of(&sqlite))?,
        Stamp::at(&directory.join(CLASSIC_FILE))?,
    ];
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let settled = now.is_ok_and(|now| {
        stamps.iter().flatten().all(|stamp| {
            let (seconds, nanoseconds) = stamp.written;
            let written = u64::try_from(seconds).unwrap_or_default();
            let written = Duration::new(written, u32::try_from(nanoseconds).unwrap_or_default());
            // One that lies ahead was written before the clock was set.
            now.abs_diff(written) > STEP
        })
    });
    Ok(Glance { stamps, settled })
}

/// Which file it is, and when it was last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    written: (i64, i64),
    size: u64,
    identity: (u64, u64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            written: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
            identity: (metadata.dev(), metadata.ino()),
        }
    }

    /// Of what is at a path now, if anything is.
    pub(crate) fn at(path: &Path) -> Result<Option<Self>, StoreError> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::system("look at", path)(error)),
        }
    }

    /// Device and inode: the same as long as it is the same file.
    pub(crate) fn identity(self) -> (u64, u64) {
        self.identity
    }
}

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Classic(PathBuf),
    Sqlite(PathBuf),
}

/// The file beside a database in which changes wait, and which is there while somebody has the database open, or died with it.
pub(crate) fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

pub(crate) fn find(path: &Path) -> Result<Found, StoreError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(StoreError::system("look at", path)(error)),
    };
    if !metadata.is_dir() {
        return judge(path);
    }
    let sqlite = path.join(SQLITE_FILE);
    let classic = path.join(CLASSIC_FILE);
    // None is older than any; changes of a database wait in the file beside it.
    let changed = Stamp::at(&sqlite)?.max(Stamp::at(&log_of(&sqlite))?.filter(|_| sqlite.exists()));
    match (changed, Stamp::at(&classic)?) {
        (None, None) => Ok(Found::Nothing),
        (sqlite_stamp, classic_stamp) if sqlite_stamp >= classic_stamp => judge(&sqlite),
        _ => judge(&classic),
    }
}

fn judge(path: &Path) -> Result<Found, StoreError> {
    // Closing any descriptor of a database drops the locks that this process holds on it, so one that is in use is not read
    // but through SQLite.
    if log_of(path).exists() {
        return Ok(Found::Sqlite(path.to_owned()));
    }
    let head = head(path)?;
    Ok(if head.is_empty() {
        Found::Nothing
    } else if head.starts_with(CLASSIC_MAGIC) {
        Found::Classic(path.to_owned())
    } else if head.starts_with(SQLITE_MAGIC) {
        Found::Sqlite(path.to_owned())
    } else {
        return Err(StoreError::NotAStore {
            path: path.to_owned(),
        });
    })
}

/// The first bytes, as many as there are up to the length of a database's header.
pub(crate) fn head(path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(100).read_to_end(&mut head));
    match read {
        Ok(_) => Ok(head),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::system("read", path)(error)),
    }
}
