//! Directives, executed; and what the engine needs to go on from where an earlier life ended.

use std::sync::Arc;

use skein_agent::Configuration;
use skein_agent::files;
use skein_api::name::BrokerName;
use skein_engine::directive::Directive;
use skein_engine::event::{Epoch, Event, Process, Report, Restored};
use skein_mosquitto::link::Link;

use super::UpError;
use super::runner::{Runner, is_managed, join};
use crate::happening::UpEvent;
use crate::links;
use crate::probing::{self, Probing};
use crate::processes::{Begun, Role};

impl<F: FnMut(UpEvent)> Runner<F> {
    /// Tells the engine, and does what it says.
    pub(super) fn observe(&mut self, event: Event) -> Result<(), UpError> {
        let replanned = matches!(event, Event::FleetChanged(_));
        let directives = self.engine.observe(event, self.origin.elapsed());
        let replanned = replanned || !directives.is_empty();
        for directive in directives {
            self.execute(directive)?;
        }
        if replanned {
            self.follow_plan()?;
        }
        self.gather();
        Ok(())
    }

    fn execute(&mut self, directive: Directive) -> Result<(), UpError> {
        match directive {
            Directive::GiveConfig {
                broker,
                epoch,
                config,
                links,
            } => self.give(&broker, epoch, config, &links),
            Directive::PointAddress { broker, to } => self.point(&broker, &to),
            Directive::RecordMigration(migration) => {
                self.migrations
                    .record(migration, &jiff::Timestamp::now().to_string());
                let path = self.place.state.migrations_file();
                Ok(files::write_json(&path, &self.migrations.records())?)
            }
            Directive::Retire { broker } => {
                self.processes.stop(&broker);
                self.changes.remove(self.place.state.broker(&broker).path());
                self.placed.remove(&broker);
                self.retired(&broker)
            }
        }
    }

    /// Says that a broker no longer declared is stopped, once it is.
    pub(super) fn retired(&mut self, broker: &BrokerName) -> Result<(), UpError> {
        if self.placed.contains_key(broker) || !self.processes.is_dead(broker) {
            return Ok(());
        }
        let loaded = self.place.state.broker(broker).loaded().ok().flatten();
        let report = Report {
            loaded: loaded.map(|configuration| configuration.epoch),
            rejected: None,
            version: None,
            process: Process::Stopped,
        };
        (self.tell)(UpEvent::Stopped {
            broker: broker.clone(),
        });
        self.observe(Event::Supervisor {
            broker: broker.clone(),
            report,
        })
    }

    fn give(
        &mut self,
        broker: &BrokerName,
        epoch: Epoch,
        config: String,
        carried: &[Arc<Link>],
    ) -> Result<(), UpError> {
        let directory = self.place.state.broker(broker);
        let trouble = format!("links/{broker}");
        match links::to_json(carried.iter().map(AsRef::as_ref)) {
            Ok(links) => {
                self.troubles.remove(&trouble);
                Ok(directory.give(epoch, config, links)?)
            }
            Err(error) => {
                self.troubles.insert(
                    trouble,
                    format!("broker {broker}: cannot keep its links: {error}"),
                );
                Ok(())
            }
        }
    }

    fn point(&mut self, broker: &BrokerName, to: &BrokerName) -> Result<(), UpError> {
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

    /// After a start, forwarders lead where an earlier life pointed them; the engine says who serves now.
    pub(super) fn point_as_served(&mut self) -> Result<(), UpError> {
        for broker in self.engine.status().brokers {
            let to = broker.served_by.as_ref().unwrap_or(&broker.name);
            self.point(&broker.name, to)?;
        }
        Ok(())
    }

    /// Probes and class names follow the plan.
    fn follow_plan(&mut self) -> Result<(), UpError> {
        let probing = Probing::of(self.engine.plan());
        if probing != self.probing {
            self.watch.set_probes(probing.probes());
            self.watch.hurry();
            let unproven = probing.unproven(&self.probing);
            self.probing = probing;
            for event in unproven {
                self.observe(event)?;
            }
        }
        let classes = probing::classes(self.engine.plan());
        if classes != self.classes {
            files::write_json(&self.place.state.classes_file(), &classes)?;
            self.classes = classes;
        }
        Ok(())
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
            let held = self.processes.alive(broker, role).is_some();
            if !held && !crate::ports::is_free(client) {
                let text = format!(
                    "broker {broker}: its client address 127.0.0.1:{client} is taken by another program; stop that program"
                );
                self.troubles.insert(trouble.clone(), text);
                self.gather();
            } else {
                self.troubles.remove(&trouble);
            }
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
            ..Restored::default()
        };
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
            let Some(newest) = configurations.last() else {
                continue;
            };
            restored.texts.insert(broker.clone(), newest.config.clone());
            let mut kept: Vec<(Epoch, Vec<Link>)> = Vec::new();
            for configuration in &configurations {
                match links::from_json(&configuration.links) {
                    Ok(links) => kept.push((configuration.epoch, links)),
                    Err(error) => {
                        let text = format!(
                            "broker {broker}: the links of epoch {}: {error}",
                            configuration.epoch
                        );
                        self.troubles.insert(format!("restored/{broker}"), text);
                    }
                }
            }
            restored.configs.insert(broker, kept);
        }
        restored
    }
}
