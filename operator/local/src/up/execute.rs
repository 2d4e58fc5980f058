//! Directives, executed; and what the engine needs to go on from where an earlier life ended.

use std::collections::BTreeMap;
use std::path::Path;

use skein_adapter::users::Users;
use skein_adapter::{Conductor, Ground, links, values};
use skein_agent::Configuration;
use skein_agent::files::{self, FileError};
use skein_api::name::BrokerName;
use skein_engine::directive::Directive;
use skein_engine::event::{Event, KeptConfig, Process, Report, Restored};
use skein_engine::sessions::ClientSession;
use tokio::time::Instant;

use super::runner::{Runner, is_managed, join};
use crate::happening::UpEvent;
use crate::processes::{Begun, Role};
use crate::state::StateDirectory;
use crate::users::Files;

impl<F: FnMut(UpEvent)> Runner<F> {
    /// Does what is of files and processes.
    pub(super) fn execute_here(&mut self, directive: &Directive) -> Result<(), Undone> {
        match directive {
            Directive::GiveConfig {
                broker,
                epoch,
                config,
                links,
            } => {
                let links = links::to_json(links.iter().map(AsRef::as_ref))?;
                self.place
                    .state
                    .broker(broker)
                    .give(*epoch, config.as_str(), links)?;
            }
            Directive::Bar { broker, downstreams } => {
                let files = Files(self.place.state.broker(broker));
                self.users.bar(broker, downstreams, &files)?;
                self.look_after_users();
            }
            Directive::ReadSessions { broker, serial } => self.stores.read(broker.clone(), *serial),
            Directive::ForgetValues { .. } | Directive::CopyValues { .. } => {
                values::mind(directive, &self.conductor.envoys, |broker| self.keeper(broker));
            }
            Directive::RecordSessions(sessions) => {
                files::write_json(&self.place.state.sessions_file(), sessions)?;
            }
            Directive::PointAddress { broker, to } => self.point(broker, to)?,
            Directive::RecordMigration(migration) => {
                self.migrations
                    .record(migration.clone(), &jiff::Timestamp::now().to_string());
                files::write_json(&self.place.state.migrations_file(), &self.migrations.records())?;
            }
            Directive::Retire { broker } => {
                let asked = self.processes.stop(broker);
                self.changes.remove(self.place.state.broker(broker).path());
                self.conductor.placed.remove(broker);
                self.users.forget(broker);
                self.watch_brokers();
                self.watch_stores();
                if asked.is_empty() {
                    // It was stopped long ago: nothing will end that could be told later.
                    self.retired(broker);
                }
            }
            // The others go over MQTT.
            _ => {}
        }
        Ok(())
    }

    /// Says that a broker no longer declared is stopped, once it is.
    pub(super) fn retired(&mut self, broker: &BrokerName) {
        if self.conductor.placed.contains_key(broker) || !self.processes.is_dead(broker) {
            return;
        }
        let loaded = self.place.state.broker(broker).loaded().ok().flatten();
        let report = Report {
            loaded: loaded.map(|configuration| configuration.epoch),
            rejected: None,
            version: None,
            process: Process::Stopped,
        };
        self.observe(Event::Supervisor {
            broker: broker.clone(),
            report,
        });
    }

    fn point(&mut self, broker: &BrokerName, to: &BrokerName) -> Result<(), FileError> {
        let managed = self.conductor.fleet.brokers.get(broker).is_some_and(is_managed);
        let Some(target) = self.conductor.placed.get(to).filter(|_| managed) else {
            return Ok(());
        };
        let directory = self.place.state.forwarder(broker);
        let target = join(&target.peer);
        if directory.target()?.as_ref() != Some(&target) {
            directory.point(Some(&target))?;
        }
        Ok(())
    }

    /// Where an earlier life pointed forwarders, if not to their own broker.
    fn addresses(&self) -> BTreeMap<BrokerName, BrokerName> {
        let known = self.place.state.known_brokers();
        let leads = |broker: &BrokerName| {
            let target = self.place.state.forwarder(broker).target().ok().flatten()?;
            let port: u16 = target.rsplit(':').next()?.parse().ok()?;
            let at = |other: &&BrokerName| self.ports.get(other).is_some_and(|ports| ports.peer == port);
            known.iter().find(at).cloned()
        };
        known
            .iter()
            .filter_map(|broker| Some((broker.clone(), leads(broker)?)))
            .filter(|(broker, to)| broker != to)
            .collect()
    }

    /// At a start, forwarders go on leading where they led, wherever that is now.
    pub(super) fn point_as_before(&mut self) -> Result<(), FileError> {
        let Some(before) = self.led.take() else {
            return Ok(());
        };
        for broker in self.conductor.placed.keys().cloned().collect::<Vec<_>>() {
            let to = before.get(&broker).unwrap_or(&broker);
            self.point(&broker, to)?;
        }
        Ok(())
    }

    /// Writes a file that the next life is better off with; that it cannot be written is only a trouble.
    pub(super) fn keep<T: serde::Serialize>(&mut self, what: &str, path: &Path, value: &T) {
        match files::write_json(path, value) {
            Ok(()) => {
                self.conductor.troubles.remove(what);
            }
            Err(error) => {
                self.conductor.troubles.insert(what.to_owned(), error.to_string());
            }
        }
    }

    /// Starts or takes over both processes of a broker.
    pub(super) fn begin(&mut self, broker: &BrokerName) {
        let forwarder = self.begin_one(broker, Role::Forwarder);
        let supervisor = self.begin_one(broker, Role::Supervisor);
        let Some(address) = self
            .conductor
            .placed
            .get(broker)
            .map(|placement| join(&placement.client))
        else {
            return;
        };
        let broker = broker.clone();
        match (supervisor, forwarder) {
            (Some(Begun::TookOver), Some(_)) => (self.tell)(UpEvent::TookOver { broker, address }),
            (Some(_), Some(_)) => (self.tell)(UpEvent::Started { broker, address }),
            _ => {}
        }
    }

    /// Starts or takes over a process; `None` if it cannot be done now (it will be tried again).
    pub(super) fn begin_one(&mut self, broker: &BrokerName, role: Role) -> Option<Begun> {
        let client = self.conductor.placed.get(broker)?.client.1;
        let trouble = format!("{role:?}/{broker}");
        if role == Role::Forwarder {
            if self.processes.alive(broker, role).is_none() && !crate::ports::is_free(client) {
                let text = format!(
                    "broker {broker}: its client address 127.0.0.1:{client} is taken by another program; stop that \
                     program, or remove {} and `up` again for new addresses",
                    self.place.state.ports_file().display()
                );
                self.conductor.troubles.insert(trouble, text);
                self.processes.later(broker, role);
                self.gather();
                return None;
            }
            self.conductor.troubles.remove(&trouble);
            // A forwarder that finds no target turns clients away.
            let directory = self.place.state.forwarder(broker);
            if directory.target().ok().flatten().is_none() {
                let own = broker.clone();
                if let Err(error) = self.point(broker, &own) {
                    self.conductor.troubles.insert(trouble.clone(), error.to_string());
                }
            }
        }
        match self.processes.begin(broker, role, client) {
            Ok(begun) => Some(begun),
            Err(error) => {
                self.conductor.troubles.insert(
                    trouble,
                    format!("broker {broker}: cannot start its {role:?}: {error}"),
                );
                self.gather();
                None
            }
        }
    }

    /// What an earlier life left in the state directory. What is damaged is left out, and said.
    pub(super) fn restored(&mut self) -> Restored {
        let mut restored = Restored {
            classes: self.conductor.classes.clone(),
            migrations: self.migrations.plain(),
            addresses: self.addresses(),
            ..Restored::default()
        };
        self.led = Some(restored.addresses.clone());
        match StateDirectory::read(&self.place.state.sessions_file()) {
            Ok(sessions) => restored.sessions = sessions.unwrap_or_default(),
            Err(error) => {
                self.conductor
                    .troubles
                    .insert("restored/sessions".to_owned(), error.to_string());
            }
        }
        for broker in self.place.state.known_brokers() {
            let directory = self.place.state.broker(&broker);
            let mut configurations: Vec<Configuration> = Vec::new();
            for read in [directory.loaded(), directory.desired()] {
                match read {
                    Ok(configuration) => configurations.extend(configuration),
                    Err(error) => {
                        self.conductor
                            .troubles
                            .insert(format!("restored/{broker}"), format!("broker {broker}: {error}"));
                    }
                }
            }
            configurations.sort_by_key(|configuration| configuration.epoch);
            configurations.dedup_by_key(|configuration| configuration.epoch);
            let mut kept: Vec<KeptConfig> = Vec::new();
            for configuration in configurations {
                match links::from_json(&configuration.links) {
                    Ok(links) => kept.push(KeptConfig {
                        epoch: configuration.epoch,
                        links,
                        text: Some(configuration.config),
                    }),
                    Err(error) => {
                        let text = format!(
                            "broker {broker}: the links of epoch {}: {error}",
                            configuration.epoch
                        );
                        self.conductor.troubles.insert(format!("restored/{broker}"), text);
                    }
                }
            }
            if !kept.is_empty() {
                restored.configs.insert(broker, kept);
            }
        }
        restored
    }
}

/// Why a directive is not executed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undone {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Links(#[from] links::LinkError),
}

impl<F: FnMut(UpEvent)> Ground for Runner<F> {
    type Refusal = Undone;

    fn conductor(&self) -> &Conductor {
        &self.conductor
    }

    fn conductor_mut(&mut self) -> &mut Conductor {
        &mut self.conductor
    }

    fn users(&self) -> &Users {
        &self.users
    }

    fn session(&self, broker: &BrokerName, client_id: &str) -> Option<&ClientSession> {
        self.stores.session(broker, client_id)
    }

    fn carry_out(&mut self, directive: &Directive) -> Result<(), Undone> {
        self.execute_here(directive)
    }

    fn keep_classes(&mut self) {
        let classes = self.conductor.classes.clone();
        self.keep("classes", &self.place.state.classes_file(), &classes);
    }

    fn gather(&mut self) {
        self.status_due
            .get_or_insert_with(|| Instant::now() + self.gathering);
    }

    fn missed(&mut self, broker: BrokerName, refused: bool, _: &str) {
        if !refused {
            self.look_at_process(&broker);
        }
        self.observe(Event::HeartbeatMissed { broker, refused });
    }
}
