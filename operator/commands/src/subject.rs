//! What a command is about: a fleet as it is declared, and what is the case.

use std::fmt;

use skein_api::fleet::Fleet;
use skein_api::name::BrokerName;
use skein_contract::Profile;
use skein_engine::collisions::Collision;
use skein_mosquitto::version::Version;
use skein_planner::explain::{KnownFrom, Software, listed};
use skein_planner::plan::{Plan, View};

use crate::arguments::Down;
use crate::configs;
use crate::failure::Failure;

/// What is known of brokers that run, where somebody was asked.
pub trait Running: fmt::Debug {
    /// The Mosquitto that runs, or ran last.
    ///
    /// # Errors
    /// If it cannot be asked.
    fn version(&self, broker: &BrokerName) -> Result<Option<String>, Failure>;

    /// What it keeps, as it runs with it.
    fn profile(&self, broker: &BrokerName) -> Option<Profile>;

    /// The subscriptions of its clients that overlap with those of its substitute's; and how many there are.
    ///
    /// # Errors
    /// If it cannot be asked.
    fn collisions(&self, broker: &BrokerName) -> Result<(Vec<Collision>, usize), Failure>;
}

/// What a command is about.
#[derive(Debug)]
pub struct Subject {
    /// What is declared.
    pub fleet: Fleet,
    /// What is the case.
    pub view: View,
    /// Who knows more of it, if it runs.
    pub running: Option<Box<dyn Running>>,
}

impl Subject {
    /// What is declared, all of it well.
    #[must_use]
    pub fn declared(fleet: Fleet) -> Self {
        Self {
            fleet,
            view: View::default(),
            running: None,
        }
    }

    /// Supposes these brokers down.
    ///
    /// # Errors
    /// If there is none of that name, or one that is to serve another's clients is down too.
    pub fn suppose(&mut self, down: &[Down]) -> Result<(), Failure> {
        for Down { broker, substitute } in down {
            for name in std::iter::once(broker).chain(substitute) {
                if !self.fleet.brokers.contains_key(name) {
                    let known = listed(self.fleet.brokers.keys());
                    return Err(Failure::bad_input(format!(
                        "--down: there is no broker {name}; there are {known}"
                    )));
                }
            }
            self.view.down.insert(broker.clone());
            if let Some(substitute) = substitute {
                self.view.served_by.insert(broker.clone(), substitute.clone());
            }
        }
        for Down { broker, substitute } in down {
            if let Some(substitute) = substitute.as_ref().filter(|name| self.view.down.contains(*name)) {
                let message =
                    format!("--down: {substitute} cannot serve the clients of {broker}, for it is down too");
                return Err(Failure::bad_input(message));
            }
        }
        Ok(())
    }

    /// The Mosquitto of a broker: the one that runs (or ran last), else the one that its manifest asks for.
    pub(crate) fn software(&self, name: &BrokerName) -> Result<Software, Failure> {
        let declared = self.fleet.brokers.get(name);
        let managed = declared.and_then(|broker| broker.managed());
        let asked = managed.is_some_and(|managed| managed.version.is_some());
        let mut software = Software {
            version: declared.map_or(Version::OLDEST, configs::version),
            known: if asked {
                KnownFrom::Declared
            } else {
                KnownFrom::Assumed
            },
            profile: None,
        };
        let Some(running) = &self.running else {
            return Ok(software);
        };
        let version = running.version(name)?;
        if let Some(version) = version.and_then(|version| version.parse().ok()) {
            software.version = version;
            software.known = KnownFrom::Running;
        }
        software.profile = running.profile(name);
        Ok(software)
    }

    /// See [`Running::collisions`]; none, if nobody was asked.
    pub(crate) fn collisions(&self, name: &BrokerName) -> Result<(Vec<Collision>, usize), Failure> {
        match &self.running {
            Some(running) => running.collisions(name),
            None => Ok((Vec::new(), 0)),
        }
    }

    /// Its plan, substitutes included.
    #[must_use]
    pub fn plan(&self) -> Plan {
        skein_planner::plan(&self.fleet, &self.view)
    }
}
