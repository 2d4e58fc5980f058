//! What a case is: something clients do, what they see of one broker, and what they see of a federation, and why.

use std::pin::Pin;

use anyhow::Result;
use skein_e2e::Series;

use crate::packet::Version;
use crate::scene::Scene;

/// A case being played; gives what was seen.
pub(crate) type Play = Pin<Box<dyn Future<Output = Result<String>> + Send>>;

/// One behaviour. What is seen is a text that the play makes from what arrived, and is compared with these to the letter.
pub(crate) struct Case {
    /// Part of its topics and client ids, and how to name it: `ONLY=name`.
    pub(crate) name: &'static str,
    pub(crate) versions: &'static [Version],
    pub(crate) behaviour: &'static str,
    /// Of one plain broker.
    pub(crate) one: &'static str,
    /// Of one plain broker of the oldest series, where that is another.
    pub(crate) one_oldest: Option<&'static str>,
    /// Of two brokers and more, where that is something else than of one.
    pub(crate) federation: Option<(&'static str, Why)>,
    /// Subscribes everything, which is only quick when there is little.
    pub(crate) quiet: bool,
    pub(crate) play: fn(Scene) -> Play,
}

impl Case {
    pub(crate) fn new(
        name: &'static str,
        behaviour: &'static str,
        one: &'static str,
        play: fn(Scene) -> Play,
    ) -> Self {
        Self {
            name,
            versions: Version::BOTH,
            behaviour,
            one,
            one_oldest: None,
            federation: None,
            quiet: false,
            play,
        }
    }

    /// For clients of one version only.
    pub(crate) fn only(mut self, version: Version) -> Self {
        self.versions = match version {
            Version::Three => &[Version::Three],
            Version::Five => &[Version::Five],
        };
        self
    }

    /// Played when most others are over.
    pub(crate) fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    pub(crate) fn oldest(mut self, one: &'static str) -> Self {
        self.one_oldest = Some(one);
        self
    }

    pub(crate) fn federation(mut self, seen: &'static str, why: Why) -> Self {
        self.federation = Some((seen, why));
        self
    }

    /// What must be seen.
    pub(crate) fn expected(&self, series: Series, brokers: usize) -> &'static str {
        match (self.federation, self.one_oldest) {
            (Some((seen, _)), _) if brokers > 1 => seen,
            (_, Some(seen)) if series == Series::Oldest => seen,
            _ => self.one,
        }
    }
}

/// Why a federation differs from one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Declared,
    Direction,
    Quality,
    Bridges,
    ExpiryStops,
    RetainedExpiry,
    BothWays,
    OwnLinks,
    OwnSessions,
    OwnGroups,
    OwnCounters,
    NoLocal,
    Waiting,
    OneCopy,
    Sizes,
    InFlight,
    BridgeSubscribes,
}

impl Why {
    /// A sentence without its dot.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Declared => "only what a Topic declares leaves its broker",
            Self::Direction => "a Topic flows from its producers to its consumers only",
            Self::Quality => "links carry a Topic with at most its `qos`",
            Self::Bridges => "bridges speak 3.1.1, which has no properties",
            Self::ExpiryStops => {
                "the expiry is a property and ends at the first bridge; beyond, nothing says that the message is old"
            }
            Self::RetainedExpiry => {
                "the expiry ends at the first bridge, and the value stays retained at every broker beyond"
            }
            Self::BothWays => {
                "the smaller name holds the link and sends without the retain flag: after a cut, an old value would else come back over a newer one"
            }
            Self::OwnLinks => "Topics that do not overlap have links of their own",
            Self::OwnSessions => "client ids and sessions belong to one broker",
            Self::OwnGroups => "each broker shares out among the group members connected to it",
            Self::OwnCounters => "`$SYS` tells of one broker, and no bridge carries it",
            Self::NoLocal => "beyond a bridge nobody knows which client published",
            Self::Waiting => "every broker of Skein has `queue_qos0_messages true`, for the sake of links",
            Self::OneCopy => {
                "every broker of Skein has `allow_duplicate_messages false`, for the sake of links"
            }
            Self::Sizes => {
                "every broker of Skein takes what MQTT allows: what one acknowledges the next must not refuse"
            }
            Self::InFlight => {
                "every broker of Skein takes as many in flight as there can be; Mosquitto's default is 20 and discards the rest"
            }
            Self::BridgeSubscribes => "the bridge is a subscriber",
        }
    }
}
