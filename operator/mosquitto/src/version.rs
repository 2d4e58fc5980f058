//! Mosquitto's versions: what each can do, and what is wrong with it.
//!
//! Everything here was measured on 2.0.11, 2.0.21 and 2.1.2, or is in Mosquitto's own release notes.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

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
    /// The first that reloads bridges and has the sqlite store.
    pub const V2_1: Self = Self::new(2, 1, 0);

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
        let series_2_1 = version >= Version::V2_1;
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
    /// What it does to a fleet at worst.
    pub effect: Effect,
    /// What happens, in a sentence.
    pub what: &'static str,
    /// What to do, in a sentence.
    pub remedy: &'static str,
    /// The first version without it, if there is one.
    pub fixed_in: Option<Version>,
    /// Skein's configurations and supervisors keep clear of it; it may still hit what is done by hand.
    pub avoided: bool,
}

/// What an issue does at worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Messages or sessions are lost.
    Loses,
    /// The broker dies.
    Crashes,
    /// Messages arrive more than once.
    Doubles,
    /// Messages arrive late.
    Delays,
    /// Clients have to connect again.
    Interrupts,
}

impl Effect {
    /// Messages or a broker are gone.
    #[must_use]
    pub fn is_grave(self) -> bool {
        matches!(self, Self::Loses | Self::Crashes)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Loses => "loses",
            Self::Crashes => "crashes",
            Self::Doubles => "doubles",
            Self::Delays => "delays",
            Self::Interrupts => "interrupts",
        })
    }
}

const fn issue(
    since: Version,
    name: &'static str,
    effect: Effect,
    what: &'static str,
    remedy: &'static str,
) -> (Version, KnownIssue) {
    let issue = KnownIssue {
        name,
        effect,
        what,
        remedy,
        fixed_in: None,
        avoided: false,
    };
    (since, issue)
}

const fn fixed((since, issue): (Version, KnownIssue), fixed_in: Version) -> (Version, KnownIssue) {
    let issue = KnownIssue {
        fixed_in: Some(fixed_in),
        ..issue
    };
    (since, issue)
}

const fn avoided((since, issue): (Version, KnownIssue)) -> (Version, KnownIssue) {
    let issue = KnownIssue {
        avoided: true,
        ..issue
    };
    (since, issue)
}

/// Since when, and what; worst first. Each measured on 2.0.11, 2.0.21 or 2.1.2, but for those of which Mosquitto's release
/// notes tell.
const ISSUES: &[(Version, KnownIssue)] = &[
    fixed(
        issue(
            Version::OLDEST,
            "classic-only",
            Effect::Loses,
            "a killed broker may lose its last moments, and saving on each change is slow (2.0.11: 500 messages/s)",
            "use Mosquitto 2.1 or later with the sqlite store",
        ),
        Version::V2_1,
    ),
    fixed(
        issue(
            Version::OLDEST,
            "clean-start-forgotten",
            Effect::Loses,
            "a restart forgets the session of an MQTT 5.0 client that connected with clean start, whatever its expiry",
            "use Mosquitto 2.1 or later, or connect such clients without clean start",
        ),
        Version::V2_1,
    ),
    // From the release notes of 2.0.12.
    fixed(
        issue(
            Version::OLDEST,
            "shared-subscriptions-forgotten",
            Effect::Loses,
            "a durable client that reconnects has lost its shared subscriptions",
            "use Mosquitto 2.0.12 or later",
        ),
        Version::new(2, 0, 12),
    ),
    issue(
        Version::OLDEST,
        "foreign-release",
        Effect::Loses,
        "a client that begins a QoS 2 message at one broker and completes it at another, where it has a session too, is told \
         that all is well, and the message is nowhere",
        "publish with QoS 1 where clients may be moved",
    ),
    avoided(issue(
        Version::OLDEST,
        "in-flight-discard",
        Effect::Loses,
        "of QoS 2 messages from a 3.1.1 client, those above `max_inflight_messages` (20 by default) are completed and \
         discarded; Skein sets 65,534",
        "send fewer at a time to brokers that Skein does not configure",
    )),
    avoided(issue(
        Version::V2_1,
        "reload-drops-out-queues",
        Effect::Loses,
        "a reload destroys what waits for `out` lines, even of unchanged connections; Skein restarts such a broker",
        "do not reload by hand",
    )),
    avoided(fixed(
        issue(
            Version::OLDEST,
            "bridge-remap-crash",
            Effect::Crashes,
            "a crafted packet on a bridge that renames topics crashes the broker; Skein's bridges rename nothing that comes in, \
             a hand-made one might",
            "use Mosquitto 2.0.19 or later",
        ),
        Version::new(2, 0, 19),
    )),
    // CVE-2023-28366, from the release notes of 2.0.16 and 2.0.21.
    fixed(
        issue(
            Version::OLDEST,
            "qos2-leak",
            Effect::Crashes,
            "clients that begin QoS 2 messages and never complete them fill the broker's memory (CVE-2023-28366)",
            "use Mosquitto 2.0.21 or later",
        ),
        Version::new(2, 0, 21),
    ),
    issue(
        Version::OLDEST,
        "qos0-unlimited",
        Effect::Crashes,
        "QoS 0 messages that wait for an absent session count for no limit of its queue, so they fill memory for as long as it \
         is away",
        "publish with QoS 1 what comes fast, or let the subscriber's session expire",
    ),
    avoided(issue(
        Version::V2_1,
        "reload-crash",
        Effect::Crashes,
        "a reload of a configuration that has bridges and that the broker rejects kills it, and so does one with a new listener; \
         Skein tests each one first, and restarts for listeners",
        "do not reload by hand",
    )),
    avoided(issue(
        Version::V2_1,
        "reload-passes-over",
        Effect::Crashes,
        "a reload that ends several connections passes over some, and the process dies of it at its end; Skein ends them in \
         stages",
        "do not reload by hand",
    )),
    fixed(
        issue(
            Version::OLDEST,
            "classic-restart-duplicates",
            Effect::Doubles,
            "after a restart with the classic store, QoS 2 messages may arrive twice",
            "use Mosquitto 2.1 or later",
        ),
        Version::V2_1,
    ),
    fixed(
        issue(
            Version::OLDEST,
            "restart-timeout-ignored",
            Effect::Delays,
            "a bridge whose upstream was lost is back after about five seconds, whatever `restart_timeout` says",
            "use Mosquitto 2.0.15 or later",
        ),
        Version::new(2, 0, 15),
    ),
    // From the release notes of 2.0.15.
    fixed(
        issue(
            Version::OLDEST,
            "expired-blocks-queue",
            Effect::Delays,
            "an expired message at the head of a queue holds up those behind it",
            "use Mosquitto 2.0.15 or later",
        ),
        Version::new(2, 0, 15),
    ),
    issue(
        Version::V2_1,
        "qos0-holds-up",
        Effect::Delays,
        "when a session comes back to more bytes of QoS 0 than its queue may hold, the rest, and QoS 1 and 2 behind it, wait until \
         further messages come",
        "publish with QoS 1 what comes fast, or raise `queue.bytes`",
    ),
    avoided(issue(
        Version::V2_1,
        "bridge-leftovers",
        Effect::Delays,
        "a bridge that lost its connection takes what it had read ahead for the next one's first packets, which fails once a second \
         until all is used up; Skein lets it read two bytes ahead (`packet_buffer_size`)",
        "set `packet_buffer_size 2` where you make bridges by hand",
    )),
    avoided(issue(
        Version::OLDEST,
        "hang-unnoticed",
        Effect::Delays,
        "a bridge does not notice for minutes that its upstream hangs; Skein's heartbeats do",
        "do not wait for a bridge's own notice",
    )),
    fixed(
        issue(
            Version::OLDEST,
            "bridge-restart",
            Effect::Interrupts,
            "every change of a bridge takes a restart of the broker, and its clients reconnect",
            "use Mosquitto 2.1 or later, which reloads bridges",
        ),
        Version::V2_1,
    ),
];

/// What is wrong with a version, as far as it concerns a fleet: worst first.
#[must_use]
pub fn known_issues(version: Version) -> Vec<KnownIssue> {
    let concerns = |(since, issue): &&(Version, KnownIssue)| {
        *since <= version && issue.fixed_in.is_none_or(|fixed_in| version < fixed_in)
    };
    ISSUES.iter().filter(concerns).map(|(_, issue)| *issue).collect()
}
