//! What is promised of messages with one quality of service.

use serde::Serialize;

/// What of the acknowledged messages may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing.
    Nothing,
    /// At most this, in a few words: `its last moments`.
    Bounded(&'static str),
    /// What is published in a certain time, in a few words: `while it is down`.
    While(&'static str),
    /// Whatever waited in the broker.
    EverythingHeld,
    /// Nobody knows a bound.
    NotPromised,
}

impl Lost {
    /// One word for programs.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Bounded(_) => "bounded",
            Self::While(_) => "while",
            Self::EverythingHeld => "everythingHeld",
            Self::NotPromised => "notPromised",
        }
    }

    /// What, or when, if that belongs to it.
    #[must_use]
    pub fn what(self) -> Option<&'static str> {
        match self {
            Self::Bounded(what) | Self::While(what) => Some(what),
            Self::Nothing | Self::EverythingHeld | Self::NotPromised => None,
        }
    }

    /// A few words for a table: at most twenty letters.
    #[must_use]
    pub fn brief(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Bounded(what) | Self::While(what) => what,
            Self::EverythingHeld => "all it held",
            Self::NotPromised => "not promised",
        }
    }
}

/// Whether a message may arrive more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// It does not.
    Never,
    /// It may.
    Possible,
    /// It may, and so many messages at most.
    Bounded(&'static str),
}

impl Duplicates {
    /// One word, for programs and tables.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Possible => "possible",
            Self::Bounded(_) => "bounded",
        }
    }

    /// How many at most.
    #[must_use]
    pub fn bound(self) -> Option<&'static str> {
        match self {
            Self::Bounded(bound) => Some(bound),
            Self::Never | Self::Possible => None,
        }
    }
}

/// In which order messages of one producer arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// As they were published.
    Kept,
    /// As they were published, if only the first copy of each counts.
    FirstDeliveries,
    /// In any.
    NotPromised,
}

impl Order {
    /// One word for a table.
    #[must_use]
    pub fn brief(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::FirstDeliveries => "first",
            Self::NotPromised => "any",
        }
    }
}

/// What is promised of messages with one quality of service, of one producer for one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// What may be lost.
    pub lost: Lost,
    /// What may arrive again.
    pub duplicates: Duplicates,
    /// What arrives when.
    pub order: Order,
    /// The same as a sentence, without a full stop.
    pub says: &'static str,
}

impl Promise {
    /// Whoever counts a lost message may complain.
    #[must_use]
    pub fn loses_nothing(&self) -> bool {
        self.lost == Lost::Nothing
    }

    /// Whoever counts a second copy may complain. A bound is for those who know rates to judge.
    #[must_use]
    pub fn doubles_nothing(&self) -> bool {
        self.duplicates == Duplicates::Never
    }

    /// Whoever sees a first copy after that of a later message may complain.
    #[must_use]
    pub fn keeps_order(&self) -> bool {
        matches!(self.order, Order::Kept | Order::FirstDeliveries)
    }
}
