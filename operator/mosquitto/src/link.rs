//! Links and lines: what a bridge connection carries, independent of how it is written down.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use skein_api::name::{BrokerName, ClassName, Qos};
use skein_filters::TopicFilter;

/// A bridge connection between two brokers.
///
/// It serves one overlap class: what happens to a class disturbs no other, and its session upstream holds nothing but what
/// that class needs. At most one link of each class and mode exists per (downstream, upstream) pair: that is its identity
/// ([`Link::identity`]); the `name` changes with its content, because Mosquitto must see a changed connection as a new one
/// (see ARCHITECTURE.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The broker that holds the connection.
    pub downstream: BrokerName,
    /// The broker that is connected to.
    pub upstream: BrokerName,
    /// Whether data only comes in.
    pub mode: Mode,
    /// The overlap class it serves.
    pub class: ClassName,
    /// What it carries for the user, sorted by filter; never two overlapping lines in one direction, unless the
    /// receiving end of the subscription removes duplicates.
    pub lines: Arc<[Line]>,
    /// Skein's own lines under `$skein/`. Both are shared, as links along one path carry the same.
    pub control: Arc<[Line]>,
}

/// What stays the same for as long as a link is there: downstream, upstream, mode and class.
pub type Identity<'a> = (&'a BrokerName, &'a BrokerName, Mode, &'a ClassName);

/// The direction of a whole link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// The downstream broker only subscribes: its queue is a persistent session upstream.
    Pull,
    /// The same with another session, which can gather while that of [`Mode::Pull`] still passes what came before: such a
    /// link that is to fetch more turns from one into the other.
    Pull2,
    /// It also publishes: those queue in the downstream broker.
    Duplex,
}

impl Mode {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Pull, Self::Pull2, Self::Duplex];

    /// What a plan calls it, to which it is no matter which session a link uses.
    #[must_use]
    pub const fn in_plan(self) -> Self {
        match self {
            Self::Pull | Self::Pull2 => Self::Pull,
            Self::Duplex => Self::Duplex,
        }
    }
}

impl std::str::FromStr for Mode {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|mode| mode.to_string() == word).ok_or(())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pull => "pull",
            Self::Pull2 => "pull2",
            Self::Duplex => "duplex",
        })
    }
}

/// One `topic` line of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Line {
    /// What passes.
    pub filter: TopicFilter,
    /// Which way, seen from the downstream broker.
    pub direction: Direction,
    /// With which quality of service at most.
    pub qos: Qos,
}

/// The direction of a line, seen from the broker that holds the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From upstream to downstream.
    In,
    /// From downstream to upstream.
    Out,
    /// Both ways.
    Both,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        })
    }
}

/// Client ids that start with this are Skein's own.
pub const CLIENT_ID_PREFIX: &str = "skein:";

/// The MQTT client id that a link connects with.
#[must_use]
pub fn client_id((downstream, upstream, mode, class): Identity<'_>) -> String {
    format!("{CLIENT_ID_PREFIX}{downstream}:{upstream}:{mode}:{class}")
}

impl Link {
    /// What stays the same, whatever it carries. Links are sorted by it.
    #[must_use]
    pub fn identity(&self) -> Identity<'_> {
        (&self.downstream, &self.upstream, self.mode, &self.class)
    }

    /// The MQTT client id it connects with: the same for as long as its identity is.
    #[must_use]
    pub fn client_id(&self) -> String {
        client_id(self.identity())
    }

    /// The connection's name in the configuration: new whenever a line changes.
    #[must_use]
    pub fn name(&self) -> String {
        use std::hash::Hasher as _;
        // FNV-1a: stable across releases and machines, which std's hasher does not promise.
        let mut hash = fnv::FnvHasher::default();
        for line in self.lines.iter().chain(self.control.iter()) {
            hash.write(line.filter.as_str().as_bytes());
            hash.write(&[0, line.direction as u8, line.qos as u8]);
        }
        format!(
            "{}-{}-{}-{:012x}",
            self.upstream,
            self.mode,
            self.class,
            hash.finish() & 0xffff_ffff_ffff
        )
    }
}
