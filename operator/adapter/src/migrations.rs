//! Failovers and drains, remembered with wall clock times: the engine has no clock, people want to know when. And with
//! what a drain gave up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skein_api::name::BrokerName;
use skein_engine::directive::{Migration, MigrationPhase, Reason};

/// How many finished ones are kept.
const KEPT: usize = 200;

/// A failover or a drain, with the time of each phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationRecord {
    /// What the engine says of it.
    #[serde(flatten)]
    pub migration: Migration,
    /// When it reached each phase (the last time, if several): RFC 3339, UTC.
    pub times: BTreeMap<String, String>,
    /// Of a drain: the clients for whom messages waited when their address moved, and how many; those are given up.
    #[serde(default)]
    pub abandoned: BTreeMap<String, u64>,
}

impl MigrationRecord {
    /// Whatever comes of that broker later is another migration.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.migration.phase.is_over()
    }
}

/// All migrations of a fleet, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Migrations {
    records: Vec<MigrationRecord>,
}

impl Migrations {
    /// Those that a former life kept.
    #[must_use]
    pub fn new(records: Vec<MigrationRecord>) -> Self {
        Self { records }
    }

    /// With the times, oldest first.
    #[must_use]
    pub fn records(&self) -> &[MigrationRecord] {
        &self.records
    }

    /// Without the times, as the engine knows them.
    #[must_use]
    pub fn plain(&self) -> Vec<Migration> {
        self.records
            .iter()
            .map(|record| record.migration.clone())
            .collect()
    }

    /// A broker's newest: what comes of it now.
    #[must_use]
    pub fn newest(&self, broker: &BrokerName) -> Option<&MigrationRecord> {
        let mut newest_first = self.records.iter().rev();
        newest_first.find(|record| record.migration.broker == *broker)
    }

    /// How far a migration is known to be.
    #[must_use]
    pub fn phase(&self, name: &str) -> Option<MigrationPhase> {
        let mut records = self.records.iter();
        let known = records.find(|known| known.migration.name == name)?;
        Some(known.migration.phase)
    }

    /// Keeps this state of a migration. `now` is RFC 3339, UTC.
    pub fn record(&mut self, migration: Migration, now: &str) {
        let phase = format!("{:?}", migration.phase);
        if let Some(known) = self
            .records
            .iter_mut()
            .find(|known| known.migration.name == migration.name)
        {
            if known.migration.phase != migration.phase {
                known.times.insert(phase, now.to_owned());
                if gives_up(&migration) && !gives_up(&known.migration) {
                    known.abandoned.extend(migration.waiting.clone());
                }
                if migration.phase == MigrationPhase::FailingBack {
                    known.abandoned.extend(migration.waiting.clone());
                }
            }
            known.migration = migration;
        } else {
            let times = BTreeMap::from([(phase, now.to_owned())]);
            let abandoned = if gives_up(&migration) {
                migration.waiting.clone()
            } else {
                BTreeMap::new()
            };
            self.records.push(MigrationRecord {
                migration,
                times,
                abandoned,
            });
            self.drop_surplus();
        }
    }

    /// Drops the oldest that are over. Each broker's newest stays: its name says which number comes next.
    fn drop_surplus(&mut self) {
        let mut surplus = self.records.len().saturating_sub(KEPT);
        let mut index = 0;
        while surplus > 0
            && let Some(record) = self.records.get(index)
        {
            let same_broker = |later: &MigrationRecord| later.migration.broker == record.migration.broker;
            if record.is_over() && self.records.iter().skip(index + 1).any(same_broker) {
                self.records.remove(index);
                surplus -= 1;
            } else {
                index += 1;
            }
        }
    }
}

/// A drain that no longer waits for anybody: what waits now, nobody of those who go will get.
fn gives_up(migration: &Migration) -> bool {
    migration.reason == Reason::Drain
        && matches!(
            migration.phase,
            MigrationPhase::Retargeted | MigrationPhase::Completed
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_the_time_it_was_reached() {
        let migration = |phase| Migration {
            phase,
            ..Migration::new("c-1".to_owned(), BrokerName::new("c").unwrap())
        };
        let mut migrations = Migrations::default();
        migrations.record(migration(MigrationPhase::Detected), "1");
        migrations.record(migration(MigrationPhase::Detected), "2");
        migrations.record(migration(MigrationPhase::Completed), "3");
        let [record] = migrations.records() else {
            panic!("one migration")
        };
        assert_eq!(
            record.times,
            BTreeMap::from([
                ("Completed".to_owned(), "3".to_owned()),
                ("Detected".to_owned(), "1".to_owned())
            ])
        );
        assert_eq!(migrations.plain(), [migration(MigrationPhase::Completed)]);
    }

    #[test]
    fn what_waited_when_the_address_moved_is_given_up() {
        let drain = |phase, waiting: &[(&str, u64)]| Migration {
            phase,
            reason: Reason::Drain,
            waiting: waiting
                .iter()
                .map(|(client, count)| ((*client).to_owned(), *count))
                .collect(),
            ..Migration::new("c-1".to_owned(), BrokerName::new("c").unwrap())
        };
        let mut migrations = Migrations::default();
        migrations.record(drain(MigrationPhase::Draining, &[("pump", 9), ("gate", 1)]), "1");
        migrations.record(drain(MigrationPhase::Draining, &[("pump", 7)]), "2");
        assert!(
            migrations.records()[0].abandoned.is_empty(),
            "they may still get it"
        );
        migrations.record(drain(MigrationPhase::Retargeted, &[("pump", 3)]), "3");
        migrations.record(drain(MigrationPhase::Completed, &[]), "4");
        let given_up = BTreeMap::from([("pump".to_owned(), 3)]);
        assert_eq!(migrations.records()[0].abandoned, given_up);
        migrations.record(drain(MigrationPhase::Completed, &[("gate", 5)]), "5");
        assert_eq!(
            migrations.records()[0].abandoned,
            given_up,
            "it waits, and goes on waiting"
        );
        migrations.record(drain(MigrationPhase::FailingBack, &[("gate", 5)]), "6");
        let given_up = BTreeMap::from([("gate".to_owned(), 5), ("pump".to_owned(), 3)]);
        assert_eq!(migrations.records()[0].abandoned, given_up);
    }

    #[test]
    fn what_is_not_over_stays_and_numbers_go_on() {
        let migration = |broker: &str, number: usize, phase| Migration {
            phase,
            ..Migration::new(format!("{broker}-{number}"), BrokerName::new(broker).unwrap())
        };
        let mut migrations = Migrations::default();
        migrations.record(migration("a", 1, MigrationPhase::Completed), "1");
        migrations.record(migration("b", 1, MigrationPhase::FailedBack), "1");
        for number in 1..=KEPT {
            migrations.record(migration("c", number, MigrationPhase::FailedBack), "2");
        }
        let names: Vec<&str> = migrations
            .records()
            .iter()
            .map(|record| record.migration.name.as_str())
            .collect();
        assert_eq!(names.len(), KEPT);
        assert_eq!(names[..3], ["a-1", "b-1", "c-3"]);
    }
}
