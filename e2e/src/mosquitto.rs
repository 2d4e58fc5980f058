//! Where the Mosquitto releases under test are. It finds them; `cargo xtask mosquitto` puts them there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::place::{named_path, user_folder};

/// A supported Mosquitto series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Series {
    /// 2.0: the oldest release that Skein supports (2.0.11).
    Oldest,
    /// 2.1: the newest.
    Newest,
}

impl Series {
    /// Both, oldest first.
    pub const ALL: [Self; 2] = [Self::Oldest, Self::Newest];

    /// Its name, such as `2.1`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Oldest => "2.0",
            Self::Newest => "2.1",
        }
    }

    /// The environment variable that may name its binary.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Oldest => "SKEIN_MOSQUITTO_2_0",
            Self::Newest => "SKEIN_MOSQUITTO_2_1",
        }
    }

    /// The folder that `cargo xtask mosquitto` fills: `${XDG_CACHE_HOME:-~/.cache}/skein/mosquitto-SERIES`.
    pub fn folder(self) -> Result<PathBuf> {
        let cache = user_folder("XDG_CACHE_HOME", ".cache")?;
        Ok(cache.join("skein").join(format!("mosquitto-{}", self.name())))
    }
}

/// The binary of a series: from its environment variable, else from the cache.
pub fn find_mosquitto(series: Series) -> Result<PathBuf> {
    let path = match named_path(series.variable()) {
        Some(path) => path,
        None => series.folder()?.join("bin").join("mosquitto"),
    };
    if !path.is_file() {
        bail!(
            "no Mosquitto {} at {}: run `cargo xtask mosquitto` to fetch it, or set {} to a binary",
            series.name(),
            path.display(),
            series.variable()
        );
    }
    Ok(path)
}

/// Like [`find_mosquitto`], for tests.
///
/// # Panics
///
/// If it is missing; the message says how to get it.
#[must_use]
#[allow(clippy::panic, reason = "a test without its broker cannot go on")]
pub fn mosquitto(series: Series) -> PathBuf {
    find_mosquitto(series).unwrap_or_else(|error| panic!("{error:#}"))
}

/// The version that a binary reports, such as `2.1.2`.
pub fn version_of(binary: &Path) -> Result<String> {
    // `-h` prints "mosquitto version 2.0.11" and ends with a status that differs between releases.
    let output = Command::new(binary)
        .arg("-h")
        .output()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("mosquitto version "));
    let version = version.and_then(|rest| rest.split_whitespace().next());
    version.map(str::to_owned).with_context(|| {
        let why = String::from_utf8_lossy(&output.stderr);
        format!(
            "{} does not say its version; it said: {}{}",
            binary.display(),
            text.trim(),
            why.trim()
        )
    })
}

/// A plugin of a release: beside its binary, in the folder tree that a package was unpacked to.
pub fn plugin(series: Series, name: &str) -> Result<PathBuf> {
    let binary = mosquitto(series);
    let root = binary
        .parent()
        .and_then(Path::parent)
        .context("no folder above the binary")?;
    let libraries = root.join("usr/lib");
    let mut folders = vec![libraries.join("mosquitto")];
    for entry in std::fs::read_dir(&libraries)? {
        let folder = entry?.path();
        folders.push(folder.join("mosquitto"));
        folders.push(folder);
    }
    let mut files = folders.iter().map(|folder| folder.join(name));
    files
        .find(|file| file.is_file())
        .with_context(|| format!("no {name} below {}", libraries.display()))
}
