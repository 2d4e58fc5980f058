//! What people wish, told to the engine: drains, by Migrations that they made, and approvals, in those that wait for one.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;
use skein_adapter::Ground as _;
use skein_adapter::approvals::{Approval, Step, awaited, blocked};
use skein_adapter::migrations::MigrationRecord;
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
    /// The Migration that says so, or did last.
    objects: BTreeMap<BrokerName, Declared>,
    /// The uids of the Migrations that drains of an earlier life were read from, and are called as.
    restored: BTreeMap<String, String>,
}

/// The Migration by which a person has a broker drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// Its name.
    pub(super) name: String,
    /// Its uid: one of the same name that is made later is about another drain.
    pub(super) uid: String,
    /// Drains that were over when it came: it says nothing of them.
    earlier: BTreeSet<String>,
}

/// A Migration's name and uid.
type Object = (String, String);

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
    pub(super) fn object(&self, drain: &Migration) -> Option<&Declared> {
        let object = self.objects.get(&drain.broker)?;
        (!object.earlier.contains(&drain.name)).then_some(object)
    }

    /// Remembers which Migration a drain of an earlier life was read from.
    pub(super) fn restore(&mut self, name: String, uid: String) {
        self.restored.insert(name, uid);
    }

    /// The uid of that Migration.
    pub(super) fn restored(&self, name: &str) -> Option<&String> {
        self.restored.get(name)
    }

    /// Remembers which Migration a broker's drain is told of in.
    fn take(&mut self, broker: &BrokerName, (name, uid): Object, over: impl FnOnce() -> BTreeSet<String>) {
        let known = self.objects.get(broker);
        if known.is_none_or(|known| known.uid != uid) {
            let earlier = over();
            self.objects
                .insert(broker.clone(), Declared { name, uid, earlier });
        }
    }

    /// What the engine is to be told now that these are wished, and no others.
    fn news(&mut self, wished: BTreeMap<BrokerName, Wish>) -> Vec<Event> {
        let ended = self.told.keys().filter(|broker| !wished.contains_key(*broker));
        let ended: Vec<BrokerName> = ended.cloned().collect();
        let mut news = Vec::new();
        for broker in ended {
            self.told.remove(&broker);
            news.push(Event::Undrain { broker });
        }
        for (broker, wish) in wished {
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

/// A broker's drains that are over.
fn over(records: &[MigrationRecord], broker: &BrokerName) -> BTreeSet<String> {
    let over = records.iter().filter(|record| {
        record.migration.broker == *broker && record.migration.reason == Reason::Drain && record.is_over()
    });
    over.map(|record| record.migration.name.clone()).collect()
}

impl Fleet {
    /// The Migrations of this namespace, oldest first.
    pub(super) fn migration_resources(&self) -> Vec<Resource> {
        let objects = self.here(&self.setting.watched.migrations);
        let parsed = objects.iter().filter_map(|object| object.typed::<Resource>());
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
                if !wished.contains_key(&spec.broker) {
                    let object = (migration.name_any(), migration.uid().unwrap_or_default());
                    let records = self.migrations.records();
                    self.drains
                        .take(&spec.broker, object, || over(records, &spec.broker));
                    wished.insert(spec.broker.clone(), wish);
                }
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
        // A drain waits for nobody but on the way back.
        let waiting = resources
            .iter()
            .filter(|resource| resource.spec.reason == MigrationReason::Failure || resource.spec.end);
        let mut due = Vec::new();
        for resource in waiting {
            let spec = &resource.spec;
            let name = resource.name_any();
            let newest = self.migrations.newest(&spec.broker);
            let newest = newest
                .filter(|newest| self.resource_of(newest).0 == name)
                .map(|record| &record.migration);
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

    fn wished(brokers: &[(&str, Option<&str>)]) -> BTreeMap<BrokerName, Wish> {
        let name = |text: &str| BrokerName::new(text).unwrap();
        let wish = |(broker, to): &(&str, Option<&str>)| {
            let wish = Wish {
                to: to.map(name),
                abandon: false,
            };
            (name(broker), wish)
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
    fn a_migration_that_is_made_anew_says_nothing_of_the_drain_before() {
        let broker = BrokerName::new("a").unwrap();
        let drain = |name: &str, phase| MigrationRecord {
            migration: Migration {
                phase,
                reason: Reason::Drain,
                ..Migration::new(name.to_owned(), broker.clone())
            },
            times: BTreeMap::new(),
            abandoned: BTreeMap::new(),
        };
        let (first, second) = (
            drain("a-1", MigrationPhase::FailedBack),
            drain("a-2", MigrationPhase::Seeded),
        );
        let mut drains = Drains::default();
        let object = |uid: &str| ("drain-a".to_owned(), uid.to_owned());
        drains.take(&broker, object("one"), BTreeSet::new);
        // While it is the same object, it tells of its drain to the end.
        let records = [first.clone(), second.clone()];
        drains.take(&broker, object("one"), || over(&records, &broker));
        assert_eq!(drains.object(&first.migration).unwrap().uid, "one");
        drains.take(&broker, object("two"), || over(&records, &broker));
        assert_eq!(drains.object(&first.migration), None);
        assert_eq!(drains.object(&second.migration).unwrap().uid, "two");
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
