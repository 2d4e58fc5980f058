//! Directives, executed; and what the engine needs to go on from where an earlier life ended.

use std::collections::BTreeMap;
use std::path::Path;

use skein_adapter::{Access, Probing, links};
use skein_agent::Configuration;
use skein_agent::files::{self, FileError};
use skein_api::fleet::Hosting;
use skein_api::name::BrokerName;
use skein_engine::directive::Directive;
use skein_engine::event::{Event, KeptConfig, Process, Report, Restored};
use skein_mqtt::Address;

use super::runner::{Runner, is_managed, join};
use crate::happening::UpEvent;
use crate::processes::{Begun, Role};
use crate::state::StateDirectory;

impl<F: FnMut(UpEvent)> Runner<F> {
    /// Tells the engine, and does what it says.
    pub(super) fn observe(&mut self, event: Event) {
        let replanned = matches!(event, Event::FleetChanged(_));
        let is_routine = self.engine.is_routine(&event);
        let directives = self.engine.observe(event, self.origin.elapsed());
        let replanned = replanned || !directives.is_empty();
        let is_news = !is_routine || replanned;
        for directive in directives {
            self.execute(directive);
        }
        if replanned {
            self.follow_plan();
        }
        if is_news {
            self.gather();
        }
    }

    /// Executes a directive. What the machine refuses is told, and tried again: the engine counts on it.
    fn execute(&mut self, directive: Directive) {
        let about = about(&directive);
        // An older one about the same must not come after this.
        self.undone.remove(&about);
        match self.try_execute(&directive) {
            Ok(()) => {
                self.troubles.remove(&about);
            }
            Err(error) => {
                self.troubles.insert(about.clone(), error.to_string());
                self.undone.insert(about, directive);
            }
        }
    }

    /// Tries again what could not be done.
    pub(super) fn retry_undone(&mut self) {
        for directive in std::mem::take(&mut self.undone).into_values() {
            self.execute(directive);
        }
    }

    fn try_execute(&mut self, directive: &Directive) -> Result<(), Undone> {
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
            Directive::AwaitMarkers(markers) => {
                self.envoys.expect(markers.clone());
                self.send_probes();
            }
            Directive::EndSubscriptions {
                broker,
                upstream,
                client_id,
                filters,
                discard,
            } => {
                let access = self.access(upstream);
                self.envoys.end(broker, client_id, access, filters, *discard);
            }
            Directive::Seed {
                broker,
                upstream,
                client_id,
                subscriptions,
            } => {
                let access = self.access(upstream);
                self.envoys.seed(broker, client_id, access, subscriptions);
            }
            Directive::Adopt {
                broker,
                upstream,
                client_id,
                filters,
                to,
            } => {
                let access = self.access(upstream);
                let to = to.iter().map(|to| self.access(to)).collect();
                self.envoys.adopt(broker, client_id, access.zip(to), filters);
            }
            Directive::Bar { broker, downstreams } => {
                let directory = self.place.state.broker(broker);
                self.users.bar(broker, downstreams, &directory)?;
                self.look_after_users();
            }
            Directive::ReadSessions { broker, serial } => self.stores.read(broker.clone(), *serial),
            Directive::OpenClientSession {
                broker,
                client_id,
                session,
            } => {
                let at = self.peer(broker);
                let before = self.stores.session(broker, client_id);
                self.envoys.open_client(broker, client_id, at, session, before);
            }
            Directive::EndClientSession { broker, client_id } => {
                let at = self.peer(broker);
                self.envoys.end_client(broker, client_id, at);
            }
            Directive::ForgetValues { .. } | Directive::CopyValues { .. } => self.mind_values(directive),
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
                self.placed.remove(broker);
                self.users.forget(broker);
                self.watch_brokers();
                self.watch_stores();
                if asked.is_empty() {
                    // It was stopped long ago: nothing will end that could be told later.
                    self.retired(broker);
                }
            }
        }
        Ok(())
    }

    /// How a broker is reached, if it is known.
    pub(super) fn access(&self, broker: &BrokerName) -> Option<Access> {
        Some(Access {
            address: self.peer(broker)?,
            credentials: self.credentials(broker),
        })
    }

    /// Where a broker listens for bridges, if it is known.
    pub(super) fn peer(&self, broker: &BrokerName) -> Option<Address> {
        if let Some(placement) = self.placed.get(broker) {
            let (host, port) = placement.peer.clone();
            return Some(Address { host, port });
        }
        match &self.fleet.brokers.get(broker)?.hosting {
            Hosting::External(external) => Some(Address {
                host: external.host.clone(),
                port: external.port,
            }),
            Hosting::Managed(_) => None,
        }
    }

    /// Says that a broker no longer declared is stopped, once it is.
    pub(super) fn retired(&mut self, broker: &BrokerName) {
        if self.placed.contains_key(broker) || !self.processes.is_dead(broker) {
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
        let managed = self.fleet.brokers.get(broker).is_some_and(is_managed);
        let Some(target) = self.placed.get(to).filter(|_| managed) else {
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
        for broker in self.placed.keys().cloned().collect::<Vec<_>>() {
            let to = before.get(&broker).unwrap_or(&broker);
            self.point(&broker, to)?;
        }
        Ok(())
    }

    /// Probes and class names follow the plan.
    fn follow_plan(&mut self) {
        let mut probing = Probing::of(&self.fleet, self.engine.plan());
        if !probing.is_like(&self.probing) {
            probing.continue_from(&self.probing);
            let unproven = probing.unproven(&self.probing);
            self.probing = probing;
            self.send_probes();
            for event in unproven {
                self.observe(event);
            }
        }
        let classes = self.engine.plan().class_names();
        if classes != self.classes {
            self.classes = classes;
            self.keep("classes", &self.place.state.classes_file(), &self.classes.clone());
        }
    }

    /// Sends the probes of paths and the markers of connections, quickly at first: something changed.
    fn send_probes(&self) {
        let mut probes = self.probing.probes();
        probes.extend(self.envoys.probes());
        self.watch.set_probes(probes);
        self.watch.hurry();
    }

    /// Writes a file that the next life is better off with; that it cannot be written is only a trouble.
    pub(super) fn keep<T: serde::Serialize>(&mut self, what: &str, path: &Path, value: &T) {
        match files::write_json(path, value) {
            Ok(()) => {
                self.troubles.remove(what);
            }
            Err(error) => {
                self.troubles.insert(what.to_owned(), error.to_string());
            }
        }
    }

    /// Starts or takes over both processes of a broker.
    pub(super) fn begin(&mut self, broker: &BrokerName) {
        let forwarder = self.begin_one(broker, Role::Forwarder);
        let supervisor = self.begin_one(broker, Role::Supervisor);
        let Some(address) = self.placed.get(broker).map(|placement| join(&placement.client)) else {
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
        let client = self.placed.get(broker)?.client.1;
        let trouble = format!("{role:?}/{broker}");
        if role == Role::Forwarder {
            if self.processes.alive(broker, role).is_none() && !crate::ports::is_free(client) {
                let text = format!(
                    "broker {broker}: its client address 127.0.0.1:{client} is taken by another program; stop that \
                     program, or remove {} and `up` again for new addresses",
                    self.place.state.ports_file().display()
                );
                self.troubles.insert(trouble, text);
                self.processes.later(broker, role);
                self.gather();
                return None;
            }
            self.troubles.remove(&trouble);
            // A forwarder that finds no target turns clients away.
            let directory = self.place.state.forwarder(broker);
            if directory.target().ok().flatten().is_none() {
                let own = broker.clone();
                if let Err(error) = self.point(broker, &own) {
                    self.troubles.insert(trouble.clone(), error.to_string());
                }
            }
        }
        match self.processes.begin(broker, role, client) {
            Ok(begun) => Some(begun),
            Err(error) => {
                self.troubles.insert(
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
            classes: self.classes.clone(),
            migrations: self.migrations.plain(),
            addresses: self.addresses(),
            ..Restored::default()
        };
        self.led = Some(restored.addresses.clone());
        match StateDirectory::read(&self.place.state.sessions_file()) {
            Ok(sessions) => restored.sessions = sessions.unwrap_or_default(),
            Err(error) => {
                self.troubles
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
                        self.troubles
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
                        self.troubles.insert(format!("restored/{broker}"), text);
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
enum Undone {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Links(#[from] links::LinkError),
}

/// What a directive is about: a newer one about the same makes an older one void.
fn about(directive: &Directive) -> String {
    match directive {
        Directive::GiveConfig { broker, .. } => format!("configuration/{broker}"),
        Directive::AwaitMarkers(_) => "markers".to_owned(),
        Directive::Seed { client_id, .. }
        | Directive::EndSubscriptions { client_id, .. }
        | Directive::Adopt { client_id, .. } => {
            format!("session/{client_id}")
        }
        Directive::ReadSessions { broker, .. } => format!("clients/{broker}"),
        Directive::ForgetValues { broker, .. } => format!("values/{broker}"),
        Directive::CopyValues { home, .. } => format!("values of clients/{home}"),
        Directive::OpenClientSession {
            broker, client_id, ..
        }
        | Directive::EndClientSession { broker, client_id } => format!("clients/{broker}/{client_id}"),
        Directive::Bar { broker, .. } => format!("bars/{broker}"),
        Directive::RecordSessions(_) => "sessions".to_owned(),
        Directive::PointAddress { broker, .. } => format!("address/{broker}"),
        Directive::RecordMigration(migration) => format!("migration/{}", migration.name),
        Directive::Retire { broker } => format!("retire/{broker}"),
    }
}
