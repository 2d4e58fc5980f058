//! What is declared, put in force: at the start, and at every edit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skein_adapter::Ground as _;
use skein_agent::{BrokerDirectory, files};
use skein_api::fleet::{Broker, Fleet};
use skein_api::manifest::is_manifest;
use skein_api::name::BrokerName;
use skein_engine::event::{Event, Placement};

use super::runner::{Runner, is_managed, is_report, join};
use super::{UpError, read};
use crate::happening::UpEvent;
use crate::manifests::{Declared, ManifestFile, compare, differences};
use crate::ports::{self, Ports};
use crate::state::StateDirectory;

/// Where all brokers of this machine listen.
const HERE: &str = "127.0.0.1";

impl<F: FnMut(UpEvent)> Runner<F> {
    pub(super) fn start(&mut self, sources: &[ManifestFile], declared: Declared) -> Result<(), UpError> {
        let restored = self.restored();
        self.observe(Event::Restored(restored));
        for broker in self.place.state.known_brokers() {
            let managed = declared.fleet.brokers.get(&broker).is_some_and(is_managed);
            if !managed {
                self.processes.stop(&broker);
            }
        }
        let directory = if self.place.manifests.is_dir() {
            self.place.manifests.clone()
        } else {
            self.place.manifests.parent().unwrap_or(Path::new("/")).to_owned()
        };
        self.changes
            .add(&directory, |name| name.to_str().is_some_and(is_manifest));
        self.remember_drains();
        self.put_in_force(sources, declared.fleet)?;
        self.wishes.declared = declared.migrations;
        self.heed_wishes();
        self.refresh_status();
        Ok(())
    }

    /// Makes a fleet the one that runs.
    pub(super) fn put_in_force(
        &mut self,
        sources: &[ManifestFile],
        fleet: Arc<Fleet>,
    ) -> Result<(), UpError> {
        // All that can fail comes first: an edit is in force as a whole or not at all.
        self.ports.reserve(named_ports(&fleet));
        let mut fresh = Vec::new();
        for (name, broker) in &fleet.brokers {
            let placement = self.placement(name, broker)?;
            if self.conductor.placed.get(name) != Some(&placement) {
                fresh.push((name, broker, placement));
            }
        }
        self.provide_users(&fleet)?;
        files::write_json(&self.place.state.fleet_file(), &sources)?;
        let mut begun = Vec::new();
        for (name, broker, placement) in fresh {
            if !is_managed(broker) {
                // It may have been one of ours.
                self.processes.stop(name);
                self.changes.remove(self.place.state.broker(name).path());
                (self.tell)(UpEvent::Watching {
                    broker: name.clone(),
                    address: join(&placement.client),
                });
            }
            self.conductor.placed.insert(name.clone(), placement.clone());
            self.observe(Event::Placed {
                broker: name.clone(),
                placement,
            });
            if is_managed(broker) {
                begun.push(name.clone());
                self.changes.add(self.place.state.broker(name).path(), is_report);
                // What a living supervisor said; what a dead one said is no longer so.
                self.hear_supervisor(name);
            }
        }
        self.conductor.fleet = fleet.clone();
        self.point_as_before()?;
        self.observe(Event::FleetChanged(fleet));
        self.to_begin.extend(begun);
        self.watch_brokers();
        self.watch_stores();
        self.look_after_users();
        Ok(())
    }

    /// Where a broker is; its directories are made and its ports chosen.
    pub(super) fn placement(&mut self, name: &BrokerName, broker: &Broker) -> Result<Placement, UpError> {
        if let Some(external) = broker.external() {
            let address = (external.host.clone(), external.port);
            return Ok(Placement {
                listen: String::new(),
                peer: address.clone(),
                client: address,
                data_directory: String::new(),
            });
        }
        let directory = self.place.state.broker(name);
        let forwarder = self.place.state.forwarder(name);
        if !self.conductor.placed.contains_key(name) {
            self.check_ports(name, &directory)?;
        }
        directory.create()?;
        StateDirectory::make(forwarder.path()).map_err(|source| UpError::System {
            action: "make a forwarder's directory",
            source,
        })?;
        let Ports { client, peer } = self.ports.assign(name)?;
        let here = |port| (HERE.to_owned(), port);
        Ok(Placement {
            listen: HERE.to_owned(),
            peer: here(peer),
            client: here(client),
            data_directory: directory.data().display().to_string(),
        })
    }

    /// Gives a broker other ports if its own were taken while it did not run: the peer port always, the client port only
    /// if no client can know it yet.
    pub(super) fn check_ports(
        &mut self,
        name: &BrokerName,
        directory: &BrokerDirectory,
    ) -> Result<(), UpError> {
        let Some(ports) = self.ports.get(name) else {
            return Ok(());
        };
        let fresh = !self.place.state.forwarder(name).path().exists();
        if fresh && !ports::is_free(ports.client) {
            self.ports.forget(name);
        }
        let runs = directory.broker()?.is_some();
        if !runs && self.ports.get(name).is_some() && !ports::is_free(ports.peer) {
            self.ports.move_peer(name)?;
        }
        Ok(())
    }

    /// The manifests were edited.
    pub(super) fn edit(&mut self) {
        const TROUBLE: &str = "manifests";
        let applied = read(&self.place.manifests).and_then(|(sources, declared)| {
            let mut changes = differences(&self.conductor.fleet, &declared.fleet);
            if !changes.is_empty() {
                self.put_in_force(&sources, declared.fleet)?;
            }
            let before = changes.len();
            compare(
                "migration",
                &self.wishes.declared,
                &declared.migrations,
                &mut changes,
            );
            if changes.len() > before {
                files::write_json(&self.place.state.fleet_file(), &sources)?;
                self.wishes.declared = declared.migrations;
            }
            if !changes.is_empty() {
                // What is wished may be possible only now, or no longer.
                self.heed_wishes();
            }
            Ok(changes)
        });
        match applied {
            Ok(changes) => {
                let was_refused = self.conductor.troubles.remove(TROUBLE).is_some();
                if was_refused || !changes.is_empty() {
                    (self.tell)(UpEvent::Applied { changes });
                }
            }
            Err(error) => {
                let text = format!("the last edit of the manifests is not in force: {error}");
                let known = self.conductor.troubles.insert(TROUBLE.to_owned(), text.clone());
                // The same mistake saved again is not worth saying again.
                if known.as_ref() != Some(&text) {
                    match error {
                        UpError::Manifests(problems) => (self.tell)(UpEvent::Refused(problems)),
                        _ => (self.tell)(UpEvent::Trouble(text)),
                    }
                }
            }
        }
        self.gather();
    }

    /// Reads the stores of all that are ours and looks whether there is room for them, also of those that are not declared any more until they are stopped.
    pub(super) fn watch_stores(&mut self) {
        // Of a broker that somebody else runs there is none to be seen.
        let ours = self
            .conductor
            .placed
            .iter()
            .filter(|(_, it)| !it.data_directory.is_empty());
        let directories = ours.map(|(name, it)| (name.clone(), PathBuf::from(&it.data_directory)));
        let directories: BTreeMap<BrokerName, PathBuf> = directories.collect();
        self.rooms.watch(directories.clone());
        self.stores.watch(directories);
    }
}

/// Ports that manifests name, wherever they are meant to be: here, perhaps.
fn named_ports(fleet: &Fleet) -> BTreeSet<u16> {
    let of = |broker: &Broker| {
        let external = broker.external().map(|external| external.port);
        let listeners = broker
            .managed()
            .into_iter()
            .flat_map(|managed| &managed.listeners);
        let ports: Vec<u16> = external
            .into_iter()
            .chain(listeners.map(|listener| listener.port))
            .collect();
        ports
    };
    fleet.brokers.values().flat_map(of).collect()
}
