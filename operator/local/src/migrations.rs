//! Failovers, remembered with wall clock times: the engine has no clock, people want to know when.

use std::collections::BTreeMap;

use skein_engine::directive::{Migration, MigrationPhase};

use crate::status::MigrationRecord;

/// How many finished ones are kept.
const KEPT: usize = 200;

/// All failovers of a fleet, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Migrations {
    records: Vec<MigrationRecord>,
}

impl Migrations {
    pub(crate) fn new(records: Vec<MigrationRecord>) -> Self {
        Self { records }
    }

    pub(crate) fn records(&self) -> &[MigrationRecord] {
        &self.records
    }

    /// Without the times, as the engine knows them.
    pub(crate) fn plain(&self) -> Vec<Migration> {
        self.records
            .iter()
            .map(|record| record.migration.clone())
            .collect()
    }

    /// Keeps this state of a migration.
    pub(crate) fn record(&mut self, migration: Migration, now: &str) {
        let phase = format!("{:?}", migration.phase);
        if let Some(known) = self
            .records
            .iter_mut()
            .find(|known| known.migration.name == migration.name)
        {
            if known.migration.phase != migration.phase {
                known.times.insert(phase, now.to_owned());
            }
            known.migration = migration;
        } else {
            let times = BTreeMap::from([(phase, now.to_owned())]);
            self.records.push(MigrationRecord { migration, times });
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
            if is_over(record) && self.records.iter().skip(index + 1).any(same_broker) {
                self.records.remove(index);
                surplus -= 1;
            } else {
                index += 1;
            }
        }
    }
}

fn is_over(record: &MigrationRecord) -> bool {
    matches!(
        record.migration.phase,
        MigrationPhase::FailedBack | MigrationPhase::Aborted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_api::name::BrokerName;

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
