//! Mosquitto's versions: what each can do, and what is wrong with it.
//!
//! Everything here was measured on 2.0.11, 2.0.21 and 2.1.2, or is in Mosquitto's own release notes.

use std::fmt;
use std::str::FromStr;

/// A Mosquitto version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// 2 of 2.1.3.
    pub major: u16,
    /// 1 of 2.1.3.
    pub minor: u16,
    /// 3 of 2.1.3; 0 where only the series is known.
    pub patch: u16,
}

/// A text that names no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a Mosquitto version: expected something like 2.1.2")]
pub struct VersionError(pub String);

impl Version {
    /// The oldest that Skein supports.
    pub const OLDEST: Self = Self::new(2, 0, 11);

    /// A version from its three numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// Skein can use it.
    #[must_use]
    pub fn is_supported(self) -> bool {
        self >= Self::OLDEST
    }

    /// Belongs to a series as in `spec.managed.version`: `2` has 2.1.2, `2.1` has 2.1.2, `2.1.2` has 2.1.2 only.
    #[must_use]
    pub fn is_of(self, series: &str) -> bool {
        let mine = [self.major, self.minor, self.patch].map(|number| number.to_string());
        let asked: Vec<&str> = series.trim().split('.').collect();
        asked.len() <= mine.len() && asked.iter().zip(&mine).all(|(asked, mine)| asked == mine)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    /// Takes `2.1.2`, `2.1`, and the first line of `mosquitto -h`: `mosquitto version 2.1.2`.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError(text.to_owned());
        let line = text.trim().lines().next().unwrap_or_default().trim();
        let numbers = line.strip_prefix("mosquitto version ").unwrap_or(line);
        let mut parts = numbers.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if digits {
                part.parse::<u16>().map_err(|_| error())
            } else {
                Err(error())
            }
        });
        let major = parts.next().ok_or_else(error)??;
        let minor = parts.next().ok_or_else(error)??;
        let patch = parts.next().transpose()?.unwrap_or(0);
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}.{}", self.major, self.minor, self.patch))
    }
}

/// What a version can do. Each is a fact that decides something in Skein.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // independent facts, not a state
pub struct Capabilities {
    /// SIGHUP adds and removes connections, matched by name. Without it a changed connection takes a restart.
    pub reloads_bridges: bool,
    /// `mosquitto --test-config` exists.
    pub tests_config: bool,
    /// A rejected configuration at SIGHUP kills the process: test it first.
    pub dies_of_bad_reload: bool,
    /// The sqlite store plugin exists: everything acknowledged survives a kill.
    pub stores_in_sqlite: bool,
    /// A `topic` pattern may be quoted, so that it may have spaces.
    pub quotes_patterns: bool,
    /// A bridge whose upstream was lost waits `restart_timeout`; without it, it waits about five seconds.
    pub honours_restart_timeout: bool,
    /// A bridge reads ahead, and does not forget what it has read when its connection is lost.
    pub keeps_old_packets: bool,
}

impl Capabilities {
    /// What this version can do.
    #[must_use]
    pub fn of(version: Version) -> Self {
        let series_2_1 = version >= Version::new(2, 1, 0);
        Self {
            reloads_bridges: series_2_1,
            tests_config: series_2_1,
            dies_of_bad_reload: series_2_1,
            stores_in_sqlite: series_2_1,
            quotes_patterns: series_2_1,
            keeps_old_packets: series_2_1,
            honours_restart_timeout: version >= Version::new(2, 0, 15),
        }
    }
}

/// Something wrong with a version that a user should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownIssue {
    /// A short name, stable across releases.
    pub name: &'static str,
    /// What happens, in a sentence.
    pub what: &'static str,
    /// What to do, in a sentence.
    pub remedy: &'static str,
    /// The first version without it, if there is one.
    pub fixed_in: Option<Version>,
}

/// Each measured on 2.0.11, 2.0.21 or 2.1.2, but for the first, which is known from others' reports only.
const ISSUES: &[(Version, KnownIssue)] = &[
    (
        Version::OLDEST,
        KnownIssue {
            name: "bridge-remap-crash",
            what: "a crafted packet on a bridge that renames topics crashes the broker; Skein's bridges rename none, a \
                   hand-made one might",
            remedy: "use Mosquitto 2.0.19 or later",
            fixed_in: Some(Version::new(2, 0, 19)),
        },
    ),
    (
        Version::OLDEST,
        KnownIssue {
            name: "classic-restart-duplicates",
            what: "after a restart with the classic store, QoS 2 messages may arrive twice",
            remedy: "use Mosquitto 2.1 or later",
            fixed_in: Some(Version::new(2, 1, 0)),
        },
    ),
    (
        Version::OLDEST,
        KnownIssue {
            name: "bridge-restart",
            what: "every change of a bridge takes a restart of the broker, and its clients reconnect",
            remedy: "use Mosquitto 2.1 or later, which reloads bridges",
            fixed_in: Some(Version::new(2, 1, 0)),
        },
    ),
    (
        Version::OLDEST,
        KnownIssue {
            name: "classic-only",
            what: "a killed broker may lose its last moments, and saving on each change is slow (2.0.11: 500 messages/s)",
            remedy: "use Mosquitto 2.1 or later with the sqlite store",
            fixed_in: Some(Version::new(2, 1, 0)),
        },
    ),
    (
        Version::new(2, 1, 0),
        KnownIssue {
            name: "reload-crash",
            what: "a reload of a configuration that has bridges and that the broker rejects kills it; Skein tests each one first",
            remedy: "do not reload by hand",
            fixed_in: None,
        },
    ),
];

/// What is wrong with a version, as far as it concerns a fleet.
#[must_use]
pub fn known_issues(version: Version) -> Vec<KnownIssue> {
    let concerns = |(since, issue): &&(Version, KnownIssue)| {
        *since <= version && issue.fixed_in.is_none_or(|fixed_in| version < fixed_in)
    };
    ISSUES.iter().filter(concerns).map(|(_, issue)| *issue).collect()
}
