//! All that is known of one broker besides its declaration.

use std::sync::Arc;

use skein_api::fleet::Broker;
use skein_api::name::BrokerName;
use skein_mosquitto::link::Link;
use skein_mosquitto::version::Version;

use crate::event::{Epoch, Moment, Placement};
use crate::health::Health;
use crate::ledger::Ledger;
use crate::strands::Strands;

/// One broker, declared or not (any more).
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) health: Health,
    pub(crate) ledger: Ledger,
    pub(crate) placement: Option<Placement>,
    /// As its supervisor reported it.
    pub(crate) version: Option<String>,
    /// An earlier life gave it configurations.
    pub(crate) restored: bool,
    /// Its wait for the first report.
    pub(crate) hold: Hold,
    /// When [`Health::deadline`] is due, as kept among the alarms.
    pub(crate) alarm: Option<Moment>,
    /// What its last configuration was made from, and the numbers in use then: equal means nothing to do.
    pub(crate) made_from: Option<(Ingredients, Option<Epoch>, Option<Epoch>)>,
    /// Something besides its links may have changed since its configuration was last looked at.
    pub(crate) touched: bool,
    /// Why it cannot be given the configuration it should have.
    pub(crate) complaints: Vec<String>,
}

/// A new broker's wait for its supervisor to say which version it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is not declared, not placed, or it need not wait.
    NotBegun,
    /// It waits.
    Begun,
    /// It has waited long enough.
    Over,
}

/// What a broker is to hold in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aim {
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) strands: Arc<Strands>,
}

/// All that goes into a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ingredients {
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) declared: Broker,
    pub(crate) placement: Placement,
    pub(crate) version: Version,
    pub(crate) addresses: Vec<(BrokerName, Option<(String, u16)>)>,
}

impl Site {
    pub(crate) fn unheard() -> Self {
        Self {
            health: Health::unheard(),
            ledger: Ledger::default(),
            placement: None,
            version: None,
            restored: false,
            hold: Hold::NotBegun,
            alarm: None,
            made_from: None,
            touched: true,
            complaints: Vec::new(),
        }
    }

    /// What it can do, or the least that any can.
    pub(crate) fn version(&self) -> Version {
        self.version
            .as_deref()
            .and_then(|text| text.parse().ok())
            .unwrap_or(Version::OLDEST)
    }
}
