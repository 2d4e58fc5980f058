//! What a broker's promises rest on: its durability profile and its Mosquitto's series.

use std::fmt;

use serde::Serialize;

/// What a broker keeps on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The sqlite store, flushed at once (`flush_period 0`); from 2.1.
    Durable,
    /// The in-memory store, written out as a whole after each change.
    Classic,
    /// Nothing.
    None,
}

impl Profile {
    /// What a broker has for which nothing is declared.
    #[must_use]
    pub fn default_of(series: Series) -> Self {
        match series {
            Series::V2_0 => Self::Classic,
            Series::V2_1 => Self::Durable,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Durable => "durable",
            Self::Classic => "classic",
            Self::None => "none",
        })
    }
}

/// Mosquitto's releases, as far as the contract tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Series {
    /// 2.0.11 to the last 2.0: every change of a link takes a restart, and there is no sqlite store.
    #[serde(rename = "2.0")]
    V2_0,
    /// 2.1 and later.
    #[serde(rename = "2.1")]
    V2_1,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V2_0 => "2.0",
            Self::V2_1 => "2.1",
        })
    }
}

/// A profile and a series that can have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Terms {
    profile: Profile,
    series: Series,
}

impl Terms {
    /// All there are, best first.
    pub const ALL: [Self; 5] = [
        Self::new(Profile::Durable, Series::V2_1),
        Self::new(Profile::Classic, Series::V2_1),
        Self::new(Profile::Classic, Series::V2_0),
        Self::new(Profile::None, Series::V2_1),
        Self::new(Profile::None, Series::V2_0),
    ];

    /// These. The most that 2.0 has is [`Profile::Classic`], so that is what `Durable` becomes there.
    #[must_use]
    pub const fn new(profile: Profile, series: Series) -> Self {
        let profile = match (profile, series) {
            (Profile::Durable, Series::V2_0) => Profile::Classic,
            _ => profile,
        };
        Self { profile, series }
    }

    /// What is kept on disk.
    #[must_use]
    pub const fn profile(self) -> Profile {
        self.profile
    }

    /// By which releases.
    #[must_use]
    pub const fn series(self) -> Series {
        self.series
    }
}
