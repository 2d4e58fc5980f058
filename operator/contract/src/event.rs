//! What can happen to a fleet: the contract's rows.

use serde::Serialize;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// The controller (or `skein up`) dies, stalls or is late.
    Controller,
    /// A supervisor dies; its broker goes on.
    Supervisor,
    /// A link is cut, or slow, and heals.
    Link,
    /// A client with a durable session is away, and comes back to its broker.
    Away,
    /// A broker on the way restarts, planned or not.
    Transit,
    /// Skein moves a path, because of an edit or of something else that changed.
    Route,
    /// Any of it, and the path has a duplex link.
    Duplex,
    /// A person moves a broker's clients away.
    Drain,
    /// A broker's process dies and is restarted in place.
    Crash,
    /// A broker hangs, or its node is gone; its volume survives.
    Hang,
    /// A broker and its volume are gone for good.
    Volume,
    /// A broker's disk is full for a time, and its process ends meanwhile or later.
    Disk,
    /// What becomes of retained values in any of it.
    Retained,
    /// What becomes of wills in any of it.
    Wills,
}

impl Event {
    /// All, in the order of a table.
    pub const ALL: [Self; 14] = [
        Self::Controller,
        Self::Supervisor,
        Self::Link,
        Self::Away,
        Self::Transit,
        Self::Route,
        Self::Duplex,
        Self::Drain,
        Self::Crash,
        Self::Hang,
        Self::Volume,
        Self::Disk,
        Self::Retained,
        Self::Wills,
    ];

    /// As a row of a document is headed.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Controller => "the controller (or `skein up`) dies",
            Self::Supervisor => "a supervisor dies",
            Self::Link => "a link is cut and heals",
            Self::Away => "a client with a durable session is away and comes back",
            Self::Transit => "a transit broker restarts",
            Self::Route => "Skein changes a route",
            Self::Duplex => "any of this on a duplex link",
            Self::Drain => "a broker is drained",
            Self::Crash => "a broker's process crashes and restarts in place",
            Self::Hang => "a broker hangs or its node is gone, and its volume survives",
            Self::Volume => "a broker and its volume are gone for good",
            Self::Disk => "a broker's disk is full for a while",
            Self::Retained => "retained values",
            Self::Wills => "wills",
        }
    }

    /// The same for a table in a terminal: at most 23 letters.
    #[must_use]
    pub fn brief(self) -> &'static str {
        match self {
            Self::Controller => "the controller dies",
            Self::Supervisor => "a supervisor dies",
            Self::Link => "a link is cut and heals",
            Self::Away => "a subscriber is away",
            Self::Transit => "transit broker restarts",
            Self::Route => "a route changes",
            Self::Duplex => "any of it, duplex link",
            Self::Drain => "a broker is drained",
            Self::Crash => "its process crashes",
            Self::Hang => "hang, or node is gone",
            Self::Volume => "broker and volume gone",
            Self::Disk => "its disk is full",
            Self::Retained => "retained values",
            Self::Wills => "wills",
        }
    }
}
