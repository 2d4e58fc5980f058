//! The state directory of one fleet: what is in it, and who holds it. Knows files, no brokers.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::hash::Hasher as _;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use skein_agent::files::{self, FileError};
use skein_agent::{BrokerDirectory, ForwarderDirectory};
use skein_api::name::BrokerName;

use crate::wishes::WishDirectory;

/// What `skein up` keeps between runs.
///
/// ```text
/// lock              locked while an `up` runs; holds its process id
/// secret            what all passwords between brokers follow from; nobody but the owner may read it
/// ports.json        client and peer port of each broker, kept for good
/// fleet.json        the manifests last accepted
/// classes.json      the class of each topic
/// migrations.json   failovers and drains, with the time of each phase
/// sessions.json     sessions open upstream for links to come, which no configuration tells of
/// status.json       the fleet as the engine sees it, written at least once a second
/// wishes/           what people wish of the fleet while it runs: see `crate::wishes`
/// brokers/NAME/     see `skein_agent::BrokerDirectory`
/// forwarders/NAME/  see `skein_agent::ForwarderDirectory`
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirectory {
    path: PathBuf,
}

/// The state directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another `up` has it.
    #[error(
        "{} is in use by another `skein up`{}: end that one first, or give this one a state directory of its own with \
         --state",
        state.display(),
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Held {
        /// The directory.
        state: PathBuf,
        /// The process that has it, if it said so.
        pid: Option<u32>,
    },
    /// The operating system refused.
    #[error("cannot use {} as state directory: {source}", state.display())]
    System {
        /// The directory.
        state: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

/// Held as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl StateDirectory {
    /// The directory at this path, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where state directories are by default: `${XDG_STATE_HOME:-~/.local/state}/skein`; `None` without a home.
    #[must_use]
    pub fn base() -> Option<PathBuf> {
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        // The base directory specification: a relative or empty path counts as unset.
        absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
            .map(|base| base.join("skein"))
    }

    /// The default state directory of a manifest directory: its name and a digest of its canonical path, below `base`.
    ///
    /// # Errors
    /// If the manifest directory does not exist.
    pub fn of_manifests(base: &Path, manifests: &Path) -> io::Result<Self> {
        let canonical = manifests.canonicalize()?;
        // FNV-1a: the same in every release, which std's hasher does not promise.
        let mut hash = fnv::FnvHasher::default();
        hash.write(canonical.as_os_str().as_encoded_bytes());
        let name = canonical.file_stem().unwrap_or_default().to_string_lossy();
        let name: String = name
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter
                } else {
                    '-'
                }
            })
            .take(40)
            .collect();
        Ok(Self::new(base.join(format!("{name}-{:016x}", hash.finish()))))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files of a broker.
    #[must_use]
    pub fn broker(&self, name: &BrokerName) -> BrokerDirectory {
        BrokerDirectory::new(self.path.join("brokers").join(name.as_str()))
    }

    /// The files of a broker's forwarder.
    #[must_use]
    pub fn forwarder(&self, name: &BrokerName) -> ForwarderDirectory {
        ForwarderDirectory::new(self.path.join("forwarders").join(name.as_str()))
    }

    /// Brokers that have files here, declared or not.
    pub(crate) fn known_brokers(&self) -> Vec<BrokerName> {
        let mut names: Vec<BrokerName> = ["brokers", "forwarders"]
            .iter()
            .filter_map(|folder| fs::read_dir(self.path.join(folder)).ok())
            .flatten()
            .filter_map(|entry| BrokerName::new(entry.ok()?.file_name().to_str()?).ok())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// The secret of the fleet.
    pub(crate) fn secret_file(&self) -> PathBuf {
        self.path.join("secret")
    }

    pub(crate) fn ports_file(&self) -> PathBuf {
        self.path.join("ports.json")
    }

    pub(crate) fn fleet_file(&self) -> PathBuf {
        self.path.join("fleet.json")
    }

    pub(crate) fn classes_file(&self) -> PathBuf {
        self.path.join("classes.json")
    }

    /// Sessions that are open upstream and that no configuration tells of.
    pub(crate) fn sessions_file(&self) -> PathBuf {
        self.path.join("sessions.json")
    }

    pub(crate) fn migrations_file(&self) -> PathBuf {
        self.path.join("migrations.json")
    }

    /// `status.json`.
    #[must_use]
    pub fn status_file(&self) -> PathBuf {
        self.path.join("status.json")
    }

    fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Makes the directory, readable by its owner only.
    pub(crate) fn create(&self) -> Result<(), LockError> {
        Self::make(&self.path)
            .and_then(|()| Self::make(&self.path.join("brokers")))
            .and_then(|()| Self::make(WishDirectory::of(self).path()))
            .map_err(|source| self.system(source))
    }

    /// Makes a directory in it.
    pub(crate) fn make(path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    /// Takes the directory for this process.
    pub(crate) fn lock(&self) -> Result<Lock, LockError> {
        self.create()?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.lock_file())
            .map_err(|source| self.system(source))?;
        // Somebody who only looks (see `holder`) has it for a moment: worth a second try, not a refusal.
        let mut attempts = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempts < 20 => {
                    attempts += 1;
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held {
                        state: self.path.clone(),
                        pid: read_pid(&mut file),
                    });
                }
                Err(TryLockError::Error(source)) => return Err(self.system(source)),
            }
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(pid.as_bytes()))
            .map_err(|source| self.system(source))?;
        Ok(Lock { _file: file })
    }

    /// Whether an `up` has the directory now; its process id, if it said so.
    #[must_use]
    pub fn holder(&self) -> Option<Option<u32>> {
        let mut file = File::open(self.lock_file()).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read_pid(&mut file)),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }

    fn system(&self, source: io::Error) -> LockError {
        LockError::System {
            state: self.path.clone(),
            source,
        }
    }

    pub(crate) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
        files::read_json(path)
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_up_on_the_same_state_is_refused_and_told_who_has_it() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(temporary.path().join("state"));
        assert_eq!(state.holder(), None, "nothing there yet");
        let lock = state.lock().unwrap();
        assert_eq!(state.holder(), Some(Some(std::process::id())));
        let error = state.lock().unwrap_err().to_string();
        assert!(
            error.contains(&format!("(process {})", std::process::id())),
            "{error}"
        );
        assert!(error.contains("--state"), "{error}");
        drop(lock);
        assert_eq!(state.holder(), None);
        state.lock().unwrap();
    }

    #[test]
    fn a_manifest_directory_has_one_state_directory_however_it_is_written() {
        let temporary = tempfile::tempdir().unwrap();
        let farm = temporary.path().join("my farm");
        let other = temporary.path().join("other").join("my farm");
        fs::create_dir_all(&farm).unwrap();
        fs::create_dir_all(&other).unwrap();
        let base = Path::new("/base");
        let state = StateDirectory::of_manifests(base, &farm).unwrap();
        let crooked = StateDirectory::of_manifests(base, &temporary.path().join("other/../my farm")).unwrap();
        assert_eq!(state, crooked);
        assert_ne!(state, StateDirectory::of_manifests(base, &other).unwrap());
        assert!(
            state.path().to_str().unwrap().starts_with("/base/my-farm-"),
            "{state:?}"
        );
        assert!(StateDirectory::of_manifests(base, &temporary.path().join("nowhere")).is_err());
    }
}
