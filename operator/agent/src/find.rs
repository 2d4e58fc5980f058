//! Where Mosquitto is on this machine.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use skein_mosquitto::version::Version;

/// A Mosquitto that Skein can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The program.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
}

/// No usable Mosquitto: every place looked at, and how to get one.
#[derive(Debug, thiserror::Error)]
#[error(
    "no usable mosquitto (2.0.11 or later) on this machine\n{}\n\
     get it with `apt install mosquitto` (Debian and Ubuntu; other systems have a package of the same name), or, \
     without touching the system, with `cargo xtask mosquitto` in a checkout of Skein; or say where it is with \
     `--mosquitto PATH`",
    Places(looked_at)
)]
pub struct FindError {
    /// Each place, and what was there.
    pub looked_at: Vec<(PathBuf, Obstacle)>,
}

/// Why a program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// Nothing is there.
    #[error("not there")]
    Missing,
    /// It cannot be run.
    #[error("cannot be run: {0}")]
    Unusable(#[from] io::Error),
    /// It runs, and does not say what version of Mosquitto it is.
    #[error("is no mosquitto: with `-h` it printed {0:?}")]
    Stranger(String),
    /// It is older than 2.0.11.
    #[error("is version {0}; Skein needs 2.0.11 or later")]
    TooOld(Version),
}

struct Places<'a>(&'a [(PathBuf, Obstacle)]);

impl fmt::Display for Places<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (path, obstacle)) in self.0.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(formatter, "{end}  {}: {obstacle}", path.display())?;
        }
        Ok(())
    }
}

/// Where the environment says that programs may be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) path: Option<OsString>,
    pub(crate) cache: Option<PathBuf>,
    pub(crate) system: Vec<PathBuf>,
}

impl Surroundings {
    fn of_this_process() -> Self {
        let home_cache = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
        // The base directory specification: a relative or empty path counts as unset.
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        Self {
            path: env::var_os("PATH"),
            cache: cache.or_else(home_cache),
            system: vec!["/usr/sbin/mosquitto".into(), "/usr/local/sbin/mosquitto".into()],
        }
    }

    fn candidates(&self) -> Vec<PathBuf> {
        let on_path = self
            .path
            .iter()
            .flat_map(env::split_paths)
            .filter(|path| path.is_absolute());
        let mut places: Vec<PathBuf> = on_path.map(|path| path.join("mosquitto")).collect();
        places.extend(self.system.iter().cloned());
        for series in ["mosquitto-2.1", "mosquitto-2.0"] {
            places.extend(
                self.cache
                    .iter()
                    .map(|cache| cache.join("skein").join(series).join("bin/mosquitto")),
            );
        }
        places
    }
}

/// The Mosquitto to use: this one if it is named, else the first usable one on `PATH`, in `/usr/sbin`, in
/// `/usr/local/sbin`, and where `cargo xtask mosquitto` puts it (`${XDG_CACHE_HOME:-~/.cache}/skein`, 2.1 first).
///
/// # Errors
/// If the named one, or every one there is, is missing, older than 2.0.11, or no Mosquitto.
pub fn find_mosquitto(explicit: Option<&Path>) -> Result<Found, FindError> {
    find(explicit, &Surroundings::of_this_process())
}

pub(crate) fn find(explicit: Option<&Path>, surroundings: &Surroundings) -> Result<Found, FindError> {
    let candidates = match explicit {
        Some(path) => vec![std::path::absolute(path).unwrap_or_else(|_| path.to_owned())],
        None => surroundings.candidates(),
    };
    let mut looked_at: Vec<(PathBuf, Obstacle)> = Vec::new();
    for path in candidates {
        if looked_at.iter().any(|(seen, _)| *seen == path) {
            continue;
        }
        match version_of(&path) {
            Ok(version) => return Ok(Found { path, version }),
            Err(obstacle) => looked_at.push((path, obstacle)),
        }
    }
    Err(FindError { looked_at })
}

/// Asks a program for its version. `mosquitto -h` prints it first and exits with status 3 or 0, by version.
pub(crate) fn version_of(path: &Path) -> Result<Version, Obstacle> {
    let output = Command::new(path)
        .arg("-h")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Obstacle::Missing
            } else {
                Obstacle::Unusable(error)
            }
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default().trim();
    let version: Version = line
        .strip_prefix("mosquitto version ")
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| Obstacle::Stranger(line.chars().take(80).collect()))?;
    if version.is_supported() {
        Ok(version)
    } else {
        Err(Obstacle::TooOld(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn program(path: &Path, prints: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let script = format!("#!/bin/sh\necho '{prints}'\nexit 3\n");
        let draft = path.with_extension("draft");
        fs::write(&draft, script).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        // Copied by another process: a file that this one has open for writing while a neighbouring test forks cannot
        // be run ("text file busy").
        assert!(
            Command::new("cp")
                .arg("-p")
                .arg(&draft)
                .arg(path)
                .status()
                .unwrap()
                .success()
        );
    }

    #[test]
    fn the_cache_is_looked_at_last_and_newest_first() {
        let directory = tempfile::tempdir().unwrap();
        let (path, cache) = (directory.path().join("bin"), directory.path().join("cache"));
        let surroundings = Surroundings {
            path: Some(path.clone().into()),
            cache: Some(cache.clone()),
            system: vec![directory.path().join("sbin/mosquitto")],
        };
        let found = |version: &str| {
            let found = find(None, &surroundings).unwrap();
            assert_eq!(found.version.to_string(), version);
            found.path
        };

        program(
            &cache.join("skein/mosquitto-2.0/bin/mosquitto"),
            "mosquitto version 2.0.11",
        );
        assert_eq!(found("2.0.11"), cache.join("skein/mosquitto-2.0/bin/mosquitto"));
        program(
            &cache.join("skein/mosquitto-2.1/bin/mosquitto"),
            "mosquitto version 2.1.2",
        );
        assert_eq!(found("2.1.2"), cache.join("skein/mosquitto-2.1/bin/mosquitto"));
        program(&path.join("mosquitto"), "mosquitto version 2.0.18");
        assert_eq!(found("2.0.18"), path.join("mosquitto"));
    }

    #[test]
    fn an_error_names_every_place_and_says_how_to_get_one() {
        let directory = tempfile::tempdir().unwrap();
        let old = directory.path().join("old/mosquitto");
        program(&old, "mosquitto version 1.6.12");
        let stranger = directory.path().join("other/mosquitto");
        program(&stranger, "hello");
        let surroundings = Surroundings {
            path: env::join_paths([old.parent().unwrap(), stranger.parent().unwrap()]).ok(),
            cache: Some(directory.path().join("cache")),
            system: Vec::new(),
        };
        let error = find(None, &surroundings).unwrap_err().to_string();
        for part in [
            "old/mosquitto: is version 1.6.12; Skein needs 2.0.11 or later",
            "other/mosquitto: is no mosquitto",
            "skein/mosquitto-2.1/bin/mosquitto: not there",
            "apt install mosquitto",
            "cargo xtask mosquitto",
        ] {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }

    #[test]
    fn a_named_program_is_the_only_one_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("cache");
        program(
            &cache.join("skein/mosquitto-2.1/bin/mosquitto"),
            "mosquitto version 2.1.2",
        );
        let surroundings = Surroundings {
            path: None,
            cache: Some(cache),
            system: Vec::new(),
        };
        let error = find(Some(Path::new("/nowhere/mosquitto")), &surroundings).unwrap_err();
        assert_eq!(error.looked_at.len(), 1);
    }
}
