//! What a broker still has after a blow to its own process or machine, by its profile.
//!
//! Measured on 2.0.11, 2.0.21 and 2.1.2: kills and stops. Power failures are not.

use serde::Serialize;

use crate::promise::{Duplicates, Lost};
use crate::terms::{Profile, Series, Terms};

/// What hits a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Blow {
    /// Its process is killed, or dies by itself.
    Kill,
    /// It is stopped as it should be, and started again.
    Restart,
    /// Its machine loses power.
    PowerFailure,
}

impl Blow {
    /// All, in the order of a table.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Restart, Self::PowerFailure];

    /// As a table says it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Kill => "a kill",
            Self::Restart => "a planned restart",
            Self::PowerFailure => "a power failure",
        }
    }
}

/// What is left of QoS 1 and 2 messages that it had acknowledged and not passed on, and of durable sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survival {
    /// What is gone.
    pub lost: Lost,
    /// What may be delivered again.
    pub duplicates: Duplicates,
    /// The same as a sentence, without a full stop.
    pub says: &'static str,
}

const LAST_MOMENTS: Lost = Lost::Bounded("its last moments");

/// What a blow leaves.
#[must_use]
pub const fn survives(terms: Terms, blow: Blow) -> Survival {
    let (lost, duplicates, says) = match (terms.profile(), blow, terms.series()) {
        (Profile::Durable, Blow::Kill, _) => (
            Lost::Nothing,
            Duplicates::Possible,
            "it keeps all that it acknowledged, but perhaps for the very last message",
        ),
        (Profile::Durable | Profile::Classic, Blow::Restart, Series::V2_1) => (
            Lost::Nothing,
            Duplicates::Possible,
            "it keeps all that it acknowledged",
        ),
        (Profile::Durable | Profile::Classic, Blow::Restart, Series::V2_0) => (
            Lost::Nothing,
            Duplicates::Possible,
            "it keeps all that it acknowledged; QoS 2 messages may arrive twice",
        ),
        (Profile::Durable, Blow::PowerFailure, _) => (
            Lost::NotPromised,
            Duplicates::Possible,
            "nothing is promised and nothing was measured: its store does not wait for the disk",
        ),
        (Profile::Classic, Blow::Kill, Series::V2_1) => (
            LAST_MOMENTS,
            Duplicates::Possible,
            "it loses what it acknowledged since it last saved its store, which it does after each change: a moment, longer \
             under load, for all of it is written each time",
        ),
        (Profile::Classic, Blow::Kill, Series::V2_0) => (
            LAST_MOMENTS,
            Duplicates::Possible,
            "it loses what it acknowledged since it last saved its store, which it does after each change: a moment, longer \
             under load, for all of it is written each time; QoS 2 messages may arrive twice",
        ),
        (Profile::Classic, Blow::PowerFailure, _) => (
            Lost::NotPromised,
            Duplicates::Possible,
            "nothing is promised and nothing was measured: each save waits for the disk, so what a kill leaves should be \
             left",
        ),
        (Profile::None, _, _) => (
            Lost::EverythingHeld,
            Duplicates::Possible,
            "it loses all that it held: waiting messages, sessions and retained values",
        ),
    };
    Survival {
        lost,
        duplicates,
        says,
    }
}
