//! What people wish, told to the engine: drains, by Migrations that they made, and approvals, in those that wait for one.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use skein_adapter::Ground as _;
use skein_adapter::approvals::{Approval, Step, awaited, blocked};
use skein_api::fleet::Failback;
use skein_api::name::BrokerName;
use skein_api::resources::{Migration as Resource, MigrationReason};
use skein_engine::directive::{Migration, MigrationPhase, Reason};
use skein_engine::event::Event;

use super::Fleet;

/// The drains that are wished, and those that the engine was told of.
#[derive(Debug, Default)]
pub(super) struct Drains {
    /// None: an earlier life told it, and what exactly is not known.
    told: BTreeMap<BrokerName, Option<Wish>>,
    /// The Migration that says so.
    objects: BTreeMap<BrokerName, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    to: Option<BrokerName>,
    abandon: bool,
}

impl Drains {
    /// Takes up what an earlier life told the engine, so that what was taken back meanwhile is noticed.
    pub(super) fn remember(&mut self, migrations: &[Migration]) {
        let under_way = migrations.iter().filter(|migration| {
            migration.reason == Reason::Drain
                && !migration.phase.is_over()
                && migration.phase != MigrationPhase::FailingBack
        });
        self.told
            .extend(under_way.map(|migration| (migration.broker.clone(), None)));
    }

    /// The Migration by which a person has a broker drained.
    pub(super) fn object(&self, broker: &BrokerName) -> Option<&String> {
        self.objects.get(broker)
    }

    /// What the engine is to be told now that these are wished, and no others.
    fn news(&mut self, wished: BTreeMap<BrokerName, (String, Wish)>) -> Vec<Event> {
        let ended = self.told.keys().filter(|broker| !wished.contains_key(*broker));
        let ended: Vec<BrokerName> = ended.cloned().collect();
        let mut news = Vec::new();
        for broker in ended {
            self.told.remove(&broker);
            news.push(Event::Undrain { broker });
        }
        for (broker, (object, wish)) in wished {
            self.objects.insert(broker.clone(), object);
            let told = self.told.insert(broker.clone(), Some(wish.clone()));
            if told.flatten().as_ref() != Some(&wish) {
                news.push(Event::Drain {
                    broker,
                    to: wish.to,
                    abandon: wish.abandon,
                });
            }
        }
        news
    }
}

impl Fleet {
    /// The Migrations of this namespace, oldest first.
    pub(super) fn migration_resources(&self) -> Vec<Resource> {
        let objects = self.here(&self.setting.watched.migrations);
        let parsed = objects.iter().filter_map(|object| {
            let json = serde_json::to_value(object.as_ref()).ok()?;
            serde_json::from_value::<Resource>(json).ok()
        });
        let mut migrations: Vec<Resource> = parsed.collect();
        migrations.sort_by_key(|migration| (migration.creation_timestamp(), migration.name_any()));
        migrations
    }

    /// Tells the engine what is wished now, as far as that is news to it.
    pub(super) fn heed(&mut self) {
        let mut wished = BTreeMap::new();
        for migration in self.migration_resources() {
            let spec = &migration.spec;
            let is_wish = spec.reason == MigrationReason::Drain
                && !spec.end
                && migration.metadata.deletion_timestamp.is_none()
                && self.conductor.fleet.brokers.contains_key(&spec.broker);
            if is_wish {
                let wish = Wish {
                    to: spec.to.clone(),
                    abandon: spec.abandon,
                };
                // The oldest counts.
                wished
                    .entry(spec.broker.clone())
                    .or_insert_with(|| (migration.name_any(), wish));
            }
        }
        for event in self.drains.news(wished) {
            self.observe(event);
        }
        self.heed_approvals();
        self.gather();
    }

    /// Tells the engine what people approved of what waits for that now, once for each step.
    pub(super) fn heed_approvals(&mut self) {
        let resources = self.migration_resources();
        let failures = resources
            .iter()
            .filter(|resource| resource.spec.reason == MigrationReason::Failure);
        let mut due = Vec::new();
        for resource in failures {
            let spec = &resource.spec;
            let name = resource.name_any();
            let records = self.migrations.records().iter().rev();
            let mut newest = records.filter(|record| record.migration.broker == spec.broker);
            let newest = newest
                .next()
                .map(|record| &record.migration)
                .filter(|newest| newest.name == name);
            let Some(phase) = self.phases.get(&spec.broker) else {
                continue;
            };
            let declared = self.conductor.fleet.brokers.get(&spec.broker);
            let failback = declared.map_or(Failback::Automatic, |declared| declared.failover.failback);
            let broker = spec.broker.clone();
            let awaited = awaited(*phase, newest, failback);
            let agreed = |approval: &Approval| match approval.step {
                Step::Move => spec.approved,
                Step::TakeBack => spec.approved || spec.end,
                Step::Abandon => spec.abandon,
            };
            if let Some(approval) = awaited.filter(agreed) {
                due.push((approval, Event::Approved { broker }));
            } else if let Some(approval) = blocked(newest).filter(agreed) {
                due.push((approval, Event::Abandoned { broker }));
            }
        }
        for (approval, event) in due {
            if self.approved.insert((approval.migration, approval.step)) {
                self.observe(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wished(brokers: &[(&str, Option<&str>)]) -> BTreeMap<BrokerName, (String, Wish)> {
        let name = |text: &str| BrokerName::new(text).unwrap();
        let wish = |(broker, to): &(&str, Option<&str>)| {
            let wish = Wish {
                to: to.map(name),
                abandon: false,
            };
            (name(broker), (format!("drain-{broker}"), wish))
        };
        brokers.iter().map(wish).collect()
    }

    #[test]
    fn a_drain_is_told_once_and_so_is_its_end() {
        let mut drains = Drains::default();
        assert!(matches!(
            drains.news(wished(&[("a", None)])).as_slice(),
            [Event::Drain { to: None, .. }]
        ));
        assert!(drains.news(wished(&[("a", None)])).is_empty());
        assert!(matches!(
            drains.news(wished(&[("a", Some("b"))])).as_slice(),
            [Event::Drain { to: Some(_), .. }]
        ));
        assert!(matches!(
            drains.news(wished(&[])).as_slice(),
            [Event::Undrain { .. }]
        ));
        assert!(drains.news(wished(&[])).is_empty());
    }

    #[test]
    fn what_was_taken_back_while_nobody_looked_is_noticed() {
        let mut drains = Drains::default();
        let mut before = Migration::new("a-1".to_owned(), BrokerName::new("a").unwrap());
        before.reason = Reason::Drain;
        before.phase = MigrationPhase::Completed;
        drains.remember(&[before]);
        assert!(matches!(
            drains.news(wished(&[])).as_slice(),
            [Event::Undrain { .. }]
        ));
    }
}
