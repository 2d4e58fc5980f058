//! Where a fleet comes from: a directory of manifests, or the fleet that runs.

use std::path::Path;

use skein_api::fleet::{Fleet, Hosting};
use skein_api::name::BrokerName;
use skein_contract::Profile;
use skein_engine::collisions::Collision;
use skein_engine::directive::BrokerPhase;
use skein_local::{StateDirectory, client};
use skein_mosquitto::config::{self, Persistence};
use skein_mosquitto::version::Version;
use skein_planner::explain::{KnownFrom, Software, listed};
use skein_planner::plan::{Plan, View};

use crate::arguments::{Down, Source};
use crate::configs;
use crate::failure::Failure;
use crate::manifests;

/// What a command is about.
#[derive(Debug)]
pub(crate) struct Subject {
    /// What is declared.
    pub(crate) fleet: Fleet,
    /// What is the case.
    pub(crate) view: View,
    /// Where it runs, if it was asked for.
    running: Option<StateDirectory>,
}

impl Subject {
    /// Reads what the arguments say.
    pub(crate) fn read(source: &Source) -> Result<Self, Failure> {
        let mut subject = match &source.directory {
            Some(directory) => Self {
                fleet: manifests::read(directory)?,
                view: View::default(),
                running: None,
            },
            None => Self::running(source.state.as_deref())?,
        };
        for Down { broker, substitute } in &source.down {
            for name in std::iter::once(broker).chain(substitute) {
                if !subject.fleet.brokers.contains_key(name) {
                    let known = listed(subject.fleet.brokers.keys());
                    return Err(Failure::bad_input(format!(
                        "--down: there is no broker {name}; there are {known}"
                    )));
                }
            }
            subject.view.down.insert(broker.clone());
            if let Some(substitute) = substitute {
                subject.view.served_by.insert(broker.clone(), substitute.clone());
            }
        }
        for Down { broker, substitute } in &source.down {
            if let Some(substitute) = substitute
                .as_ref()
                .filter(|name| subject.view.down.contains(*name))
            {
                let message =
                    format!("--down: {substitute} cannot serve the clients of {broker}, for it is down too");
                return Err(Failure::bad_input(message));
            }
        }
        Ok(subject)
    }

    /// The fleet that runs, as it is now: with what is down and who serves it.
    fn running(state: Option<&Path>) -> Result<Self, Failure> {
        let state = client::find(state).map_err(|error| {
            let hint = "or read manifests with -f DIR";
            match Failure::from(error) {
                Failure::BadInput(message) => Failure::BadInput(format!("{message}; {hint}")),
                Failure::CouldNot(message) => Failure::CouldNot(format!("{message}; {hint}")),
                problems @ Failure::Problems(_) => problems,
            }
        })?;
        let files = client::manifests(&state)?;
        let fleet = manifests::judge(state.path(), &files)?;
        // The class names that the fleet runs with, as far as it has written them down.
        let previous_classes = std::fs::read_to_string(state.path().join("classes.json"))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let mut view = View {
            previous_classes,
            ..View::default()
        };
        for broker in client::status(&state)?
            .into_iter()
            .flat_map(|status| status.brokers)
        {
            if broker.phase == BrokerPhase::Down {
                view.down.insert(broker.name.clone());
            }
            if let Some(substitute) = broker.served_by.filter(|substitute| *substitute != broker.name) {
                // Until it is taken back, a returning broker is served too and nothing may pass through it.
                view.down.insert(broker.name.clone());
                view.served_by.insert(broker.name, substitute);
            }
        }
        Ok(Self {
            fleet,
            view,
            running: Some(state),
        })
    }

    /// Reads two directories; the problems of both are reported together. The newer plan keeps the older one's class names.
    pub(crate) fn read_both(old: &Path, new: &Path) -> Result<(Self, Self), Failure> {
        let subject = |directory: &Path| {
            manifests::read(directory).map(|fleet| Self {
                fleet,
                view: View::default(),
                running: None,
            })
        };
        let (old, mut new) = manifests::both(subject, old, new)?;
        new.view.previous_classes = old.plan().class_names();
        Ok((old, new))
    }

    /// The Mosquitto of a broker: the one that runs (or ran last), else the one that its manifest asks for.
    pub(crate) fn software(&self, name: &BrokerName) -> Result<Software, Failure> {
        let declared = self.fleet.brokers.get(name);
        let asked = match declared.map(|broker| &broker.hosting) {
            Some(Hosting::Managed(managed)) => managed.version.is_some(),
            _ => false,
        };
        let mut software = Software {
            version: declared.map_or(Version::OLDEST, configs::version),
            known: if asked {
                KnownFrom::Declared
            } else {
                KnownFrom::Assumed
            },
            profile: None,
        };
        let Some(state) = &self.running else {
            return Ok(software);
        };
        let status = client::status(state)?;
        let running = status
            .as_ref()
            .and_then(|status| status.broker(name.as_str())?.version.as_deref());
        if let Some(version) = running.and_then(|version| version.parse().ok()) {
            software.version = version;
            software.known = KnownFrom::Running;
        }
        // What it runs with says what it keeps: whether the sqlite plugin was found is in no manifest.
        let loaded = state.broker(name).loaded().ok().flatten();
        software.profile = loaded.and_then(|loaded| {
            Some(match config::parse(&loaded.config).ok()?.persistence {
                Persistence::Durable { .. } => Profile::Durable,
                Persistence::Classic { .. } => Profile::Classic,
                Persistence::None => Profile::None,
            })
        });
        Ok(software)
    }

    /// The subscriptions of its clients that overlap with those of its substitute's, as far as it runs; and how many there
    /// are.
    pub(crate) fn collisions(&self, name: &BrokerName) -> Result<(Vec<Collision>, usize), Failure> {
        let Some(state) = &self.running else {
            return Ok((Vec::new(), 0));
        };
        let status = client::status(state)?;
        let found = status.as_ref().and_then(|status| status.broker(name.as_str()));
        Ok(found
            .map(|broker| (broker.collisions.clone(), broker.collision_count))
            .unwrap_or_default())
    }

    /// Its plan, substitutes included.
    pub(crate) fn plan(&self) -> Plan {
        skein_planner::plan(&self.fleet, &self.view)
    }
}
