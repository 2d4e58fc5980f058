//! What is declared, put in force; and what an earlier life left.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;
use std::sync::Arc;

use kube::ResourceExt as _;
use skein_adapter::Ground as _;
use skein_adapter::users::neighbours;
use skein_api::name::BrokerName;
use skein_engine::event::{Event, Restored};
use tokio::time::Instant;

use super::given::{Kept, Note};
use super::place::SERVED_BY;
use super::{Fleet, REST};
use crate::declared::Declaration;
use crate::metrics::METRICS;
use crate::names;
use crate::objects::{self, Wanted};

impl Fleet {
    /// Takes up what an earlier life left.
    pub(super) fn restore(&mut self, kept: Kept) {
        let mut restored = Restored {
            classes: kept.classes,
            sessions: kept.sessions,
            ..Restored::default()
        };
        self.sessions.clone_from(&restored.sessions);
        for (broker, given) in &kept.given {
            match given.configurations() {
                Ok(configurations) if configurations.is_empty() => {}
                Ok(configurations) => {
                    restored.configs.insert(broker.clone(), configurations);
                }
                Err(error) => {
                    let text = format!("Secret {}: {error}", names::own(broker));
                    self.conductor.trouble(format!("restored/{broker}"), Some(text));
                }
            }
        }
        self.given = kept.given;
        for slice in self.here(&self.setting.watched.slices) {
            let broker = slice
                .labels()
                .get(names::BROKER)
                .map(|name| BrokerName::from_str(name));
            let to = slice
                .annotations()
                .get(SERVED_BY)
                .map(|name| BrokerName::from_str(name));
            if let (Some(Ok(broker)), Some(Ok(to))) = (broker, to)
                && broker != to
            {
                restored.addresses.insert(broker, to);
            }
        }
        self.serving.clone_from(&restored.addresses);
        self.restore_migrations();
        restored.migrations = self.migrations.plain();
        self.drains.remember(&restored.migrations);
        self.observe(Event::Restored(restored));
    }

    /// Reads what is declared, and puts in force what of it is new.
    pub(super) fn declare(&mut self) {
        let begin = Instant::now();
        let objects: Vec<_> = self
            .setting
            .watched
            .declared
            .iter()
            .flat_map(|store| self.here(store))
            .collect();
        let reading = self.declarations.read(objects.iter().map(AsRef::as_ref));
        // Each of a thousand Brokers is written to when it is first seen.
        self.reads_from = Instant::now() + begin.elapsed() * REST;
        if self.problems != reading.problems {
            self.problems = reading.problems;
            for problem in self.problems.clone() {
                self.tell(&problem.to_string());
            }
            self.gather();
        }
        let before = std::mem::replace(&mut self.hosted, reading.hosted);
        self.take_leave(reading.leaving);
        let was_paused = before
            .iter()
            .any(|(name, declaration)| declaration.is_paused && !self.is_paused(name));
        let is_gone =
            |name: &&BrokerName| !self.hosted.contains_key(*name) && !self.leaving.contains_key(*name);
        for broker in before.keys().filter(is_gone) {
            // Those of a deleted Broker go by themselves; one that somebody else runs now leaves them behind.
            for (resource, name) in objects::all_of(broker) {
                self.writer.want_gone(resource, &name);
            }
        }
        if before != self.hosted {
            self.hold();
            self.keep_objects();
        }
        if was_paused {
            self.see_all();
        }
        let known = std::mem::replace(&mut self.conductor.fleet, reading.fleet.clone());
        let is_news = !Arc::ptr_eq(&known, &reading.fleet) && *known != *reading.fleet;
        if !self.has_begun || known.brokers != reading.fleet.brokers || known.routes != reading.fleet.routes {
            self.provide_users();
        }
        let mut news = self.place();
        if is_news || !self.has_begun {
            self.has_begun = true;
            let begin = Instant::now();
            news.push(Event::FleetChanged(reading.fleet));
            self.observe_all(news);
            METRICS.planned(begin.elapsed());
            METRICS.reconciled(&self.setting.namespace);
            self.watch_brokers();
            self.heed();
        } else {
            self.observe_all(news);
        }
        let heard = self.hear_pods();
        self.observe_all(heard);
        self.gather();
    }

    /// A broker that Skein configures, or did until it was deleted.
    fn declaration(&self, name: &BrokerName) -> Option<&Declaration> {
        self.hosted.get(name).or_else(|| self.leaving.get(name))
    }

    /// A broker that Skein configures, by what its objects are known by.
    pub(super) fn owner<'a>(&'a self, name: &'a BrokerName) -> Option<objects::Owner<'a>> {
        Some(objects::Owner {
            name,
            namespace: &self.setting.namespace,
            uid: &self.declaration(name)?.uid,
        })
    }

    /// A broker that runs in a pod, by what its objects follow from.
    pub(super) fn hosted<'a>(&'a self, name: &'a BrokerName) -> Option<objects::Hosted<'a>> {
        Some(objects::Hosted {
            owner: self.owner(name)?,
            spec: self.declaration(name)?.broker.spec.managed.as_ref()?,
        })
    }

    /// Whether an agent runs this broker elsewhere.
    pub(super) fn is_attended(&self, name: &BrokerName) -> bool {
        self.declaration(name)
            .is_some_and(|declaration| declaration.broker.spec.managed.is_none())
    }

    /// The objects that follow from a broker's declaration.
    fn objects_of(&self, name: &BrokerName) -> Result<Vec<Wanted>, serde_json::Error> {
        if let Some(hosted) = self.hosted(name) {
            let address = self.cluster_ip(&names::own(name));
            return objects::for_broker(&hosted, &self.setting.objects, address.as_deref());
        }
        let owner = self.owner(name);
        owner.map_or_else(|| Ok(Vec::new()), |owner| objects::for_agent(&owner))
    }

    /// Has the objects of brokers be as they should.
    pub(super) fn keep_objects(&mut self) {
        self.objects_due = None;
        if self.hosted.is_empty() {
            return;
        }
        let begin = Instant::now();
        let (mut wanted, mut troubles) = (Vec::new(), Vec::new());
        let mut templates = BTreeMap::new();
        let kept = self.hosted.keys().filter(|name| !self.is_paused(name));
        for name in kept {
            match self.objects_of(name) {
                Ok(objects) => {
                    templates.extend(objects::template_of(&objects).map(|hash| (name.clone(), hash)));
                    wanted.extend(objects);
                }
                Err(error) => {
                    let text = format!("Broker/{name}: its objects cannot be written down: {error}");
                    troubles.push((format!("objects/{name}"), text));
                }
            }
        }
        let has_pods = self.hosted.keys().any(|name| !self.is_attended(name));
        if has_pods && let Ok(budget) = Wanted::of(&objects::disruption_budget(&self.setting.namespace)) {
            wanted.push(budget);
        }
        self.templates = templates;
        for (about, text) in troubles {
            self.conductor.trouble(about, Some(text));
        }
        for wanted in wanted {
            self.writer.want(wanted);
        }
        self.objects_took = begin.elapsed();
    }

    /// Says what the brokers of the fleet are to be started with.
    fn provide_users(&mut self) {
        let fleet = self.conductor.fleet.clone();
        let neighbours = neighbours(&fleet);
        let none = BTreeSet::new();
        let mut changed = Vec::new();
        for (name, broker) in &fleet.brokers {
            let Some(managed) = broker.managed() else {
                continue;
            };
            let placed = &self.conductor.placed;
            let stays = |other: &BrokerName| placed.contains_key(other) || fleet.brokers.contains_key(other);
            let given = self.given.entry(name.clone()).or_default();
            let before = given.users.clone();
            let notes = Note(given.into());
            let neighbours = neighbours.get(name).unwrap_or(&none);
            // It is noted in memory, which does not fail.
            let _ = self.users.provide(name, managed, neighbours, stays, &notes);
            if before != given.users {
                changed.push(name.clone());
            }
        }
        for name in changed {
            self.write_given(&name);
        }
    }

    /// Writes what a broker was given.
    pub(super) fn write_given(&mut self, name: &BrokerName) {
        let (Some(owner), Some(given)) = (self.owner(name), self.given.get(name)) else {
            return;
        };
        let data = given.data(&self.users.secret().token(name));
        let wanted = Wanted::of(&objects::secret(&owner, data));
        let about = format!("secret/{name}");
        match wanted {
            Ok(wanted) => {
                self.conductor.trouble(about, None);
                self.writer.want(wanted);
            }
            Err(error) => {
                let text = format!("Broker/{name}: its configuration cannot be written down: {error}");
                self.conductor.trouble(about, Some(text));
            }
        }
    }

    /// Writes what is the whole fleet's.
    pub(super) fn write_fleet(&mut self) {
        let data = super::given::fleet_data(self.users.secret(), &self.conductor.classes, &self.sessions);
        let secret = |data: BTreeMap<String, Vec<u8>>| objects::fleet_secret(&self.setting.namespace, data);
        if let Ok(wanted) = data.and_then(|data| Ok(Wanted::of(&secret(data))?)) {
            self.writer.want(wanted);
        }
    }
}
