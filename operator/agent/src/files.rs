//! Small files that two processes share: written as a whole or not at all.
//!
//! Knows nothing of what is in them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use skein_mosquitto::security::ReadError;

/// A shared file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// The content is not what it should be.
    #[error("{} is not what Skein writes there: {source}; remove the file to go on without it", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Nobody said who may connect to a broker.
    #[error("{} is missing, and without it nobody knows who may connect: `skein up` writes it", path.display())]
    NoUsers {
        /// Which file.
        path: PathBuf,
    },
    /// The users in it cannot be taken over.
    #[error("{}: {source}", path.display())]
    Users {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: ReadError,
    },
}

impl FileError {
    pub(crate) fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::System { action, path, source }
    }
}

/// Replaces the file in one step; a reader sees the old content or the new, and nobody but the owner may read it.
///
/// # Errors
/// If the directory is missing or full, or may not be written.
pub fn write(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // The process id keeps two writers apart; each replaces the other's whole file, never a part of it.
    name.push(format!(".{}.new", std::process::id()));
    let draft = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file: File| file.write_all(content))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // Best effort: the error below is the one to tell.
        let _ = fs::remove_file(&draft);
    }
    written.map_err(FileError::system("write", path))
}

/// The texts of a directory's files (not of those in directories in it) whose names are `wanted`, sorted by name; or that of the one
/// file that `path` is, whatever it is called.
///
/// # Errors
/// If the directory or a file cannot be read: which.
pub fn texts(path: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<(PathBuf, String)>> {
    let mut paths = Vec::new();
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let file = entry?.path();
            let name = file.file_name().and_then(|name| name.to_str());
            if name.is_some_and(&wanted) && !file.is_dir() {
                paths.push(file);
            }
        }
        paths.sort();
    } else {
        paths.push(path.to_owned());
    }
    let one = |path: PathBuf| match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(error) => {
            let text = format!("cannot read {}: {error}", path.display());
            Err(io::Error::new(error.kind(), text))
        }
    };
    paths.into_iter().map(one).collect()
}

/// [`write`] of a value as JSON.
///
/// # Errors
/// As [`write`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FileError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| FileError::Content {
        path: path.to_owned(),
        source,
    })?;
    text.push(b'\n');
    write(path, &text)
}

/// The content, or `None` if there is no such file.
///
/// # Errors
/// If it is there and cannot be read, or is not UTF-8.
pub fn read(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::system("read", path)(error)),
    }
}

/// [`read`] of a value as JSON.
///
/// # Errors
/// As [`read`], or if it is not such a value.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let Some(text) = read(path)? else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| FileError::Content {
            path: path.to_owned(),
            source,
        })
}

/// Removes the file, if there is one.
///
/// # Errors
/// If it is there and cannot be removed.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::system("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_is_the_owners_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        assert_eq!(read(&path).unwrap(), None);
        write(&path, b"a long first content").unwrap();
        write(&path, b"short").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("short"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "no draft is left behind"
        );
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn a_file_of_something_else_is_named_in_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("desired.json");
        write(&path, b"{").unwrap();
        let error = read_json::<Vec<u8>>(&path).unwrap_err().to_string();
        assert!(error.contains("desired.json"), "{error}");
    }
}
