//! What a person wants to hear of the difference between two statuses.

use std::collections::BTreeMap;

use skein_engine::directive::{BrokerPhase, BrokerStatus, Migration, MigrationPhase, PathStatus, Reason};

use crate::happening::UpEvent;
use crate::status::{FleetStatus, MigrationRecord};

/// Everything worth telling, brokers first.
pub(crate) fn narrate(before: Option<&FleetStatus>, after: &FleetStatus) -> Vec<UpEvent> {
    let mut told = Vec::new();
    let brokers: BTreeMap<_, _> = before
        .iter()
        .flat_map(|status| &status.brokers)
        .map(|one| (&one.name, one))
        .collect();
    for broker in &after.brokers {
        tell_broker(brokers.get(&broker.name).copied(), broker, after, &mut told);
    }
    tell_drains(before, after, &mut told);
    tell_adoptions(before, after, &mut told);
    let key = |path: &PathStatus| (path.topic.clone(), path.producer.clone(), path.consumer.clone());
    let paths: BTreeMap<_, _> = before
        .iter()
        .flat_map(|status| &status.paths)
        .map(|one| (key(one), one))
        .collect();
    for path in &after.paths {
        let known = paths.get(&key(path)).copied();
        let was_up = known.is_some_and(|known| known.up);
        if path.up && (!was_up || known.is_some_and(|known| known.path != path.path)) {
            let same = |event: &UpEvent| matches!(event, UpEvent::PathUp { topic, path: way, .. } if *topic == path.topic && *way == path.path);
            // Two declared ends served by one broker share a path.
            if !told.iter().any(same) {
                told.push(UpEvent::PathUp {
                    topic: path.topic.clone(),
                    path: path.path.clone(),
                    milliseconds: path.probe_ms,
                });
            }
        } else if was_up && !path.up {
            told.push(UpEvent::PathDown {
                topic: path.topic.clone(),
                producer: path.producer.clone(),
                consumer: path.consumer.clone(),
            });
        }
    }
    let already_said: Vec<String> = told
        .iter()
        .filter_map(|event| match event {
            UpEvent::BrokerDown { broker, .. } => Some(format!("Broker/{broker}: down: ")),
            _ => None,
        })
        .collect();
    let new = after.problems.iter().filter(|problem| {
        let known = before.is_some_and(|before| before.problems.contains(problem));
        !known && !already_said.iter().any(|start| problem.starts_with(start))
    });
    told.extend(new.map(|problem| UpEvent::Trouble(problem.clone())));
    told
}

fn tell_broker(
    before: Option<&BrokerStatus>,
    after: &BrokerStatus,
    status: &FleetStatus,
    told: &mut Vec<UpEvent>,
) {
    let broker = &after.name;
    // What becomes of a drained broker's clients is told as its drain gets on.
    let drained = status
        .newest_migration(broker)
        .is_some_and(|newest| newest.reason == Reason::Drain);
    let was_down =
        before.is_some_and(|before| matches!(before.phase, BrokerPhase::Down | BrokerPhase::Returning));
    let served_before = before.and_then(|before| before.served_by.as_ref());
    if after.phase == BrokerPhase::Down && !was_down {
        let migration = status
            .migrations
            .iter()
            .rev()
            .map(|record| &record.migration)
            .find(|one| one.broker == *broker);
        let evidence = migration
            .map(|migration| migration.evidence.clone())
            .unwrap_or_default();
        told.push(UpEvent::BrokerDown {
            broker: broker.clone(),
            evidence,
        });
    }
    if let Some(to) = &after.served_by
        && to != broker
        && served_before != Some(to)
        && !drained
    {
        told.push(UpEvent::Migrated {
            broker: broker.clone(),
            to: to.clone(),
            declared: status
                .paths
                .iter()
                .any(|path| path.producer == *broker || path.consumer == *broker),
        });
    }
    let serves = after.phase == BrokerPhase::Ready && after.served_by.as_ref() == Some(broker);
    let was_replaced = served_before.is_some_and(|to| to != broker);
    if serves && (was_down || was_replaced && !drained) {
        told.push(UpEvent::Returned {
            broker: broker.clone(),
        });
    }
}

/// Drains whose phase changed, and those that begin or end to wait for clients.
fn tell_drains(before: Option<&FleetStatus>, after: &FleetStatus, told: &mut Vec<UpEvent>) {
    let known: BTreeMap<&str, &MigrationRecord> = before
        .iter()
        .flat_map(|status| &status.migrations)
        .map(|record| (record.migration.name.as_str(), record))
        .collect();
    for record in &after.migrations {
        let migration = &record.migration;
        if migration.reason != Reason::Drain {
            continue;
        }
        let waits = |migration: &Migration| {
            migration.phase == MigrationPhase::Draining && !migration.waiting.is_empty()
        };
        let news = match known.get(migration.name.as_str()) {
            Some(known) => {
                known.migration.phase != migration.phase || waits(&known.migration) != waits(migration)
            }
            // What was over before this life is no news.
            None => before.is_some() || !record.is_over(),
        };
        if news {
            told.push(UpEvent::Drain(record.clone()));
        }
    }
}

/// What was passed on meanwhile, if this is not the first that is told.
fn tell_adoptions(before: Option<&FleetStatus>, after: &FleetStatus, told: &mut Vec<UpEvent>) {
    let Some(before) = before else { return };
    for MigrationRecord { migration, .. } in &after.migrations {
        let mut known = before.migrations.iter().map(|record| &record.migration);
        let known = known.find(|known| known.name == migration.name);
        let messages = migration
            .adopted
            .saturating_sub(known.map_or(0, |known| known.adopted));
        if messages > 0 {
            told.push(UpEvent::Adopted {
                broker: migration.broker.clone(),
                messages,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_api::name::{BrokerName, TopicName};

    fn name(text: &str) -> BrokerName {
        BrokerName::new(text).unwrap()
    }

    /// c's phase and server, and the path a ← … ← i.
    fn status(phase: BrokerPhase, served_by: Option<&str>, path: &str, up: bool) -> FleetStatus {
        FleetStatus {
            updated_at: String::new(),
            fleet: "/farm".into(),
            pid: 1,
            brokers: vec![BrokerStatus {
                name: name("c"),
                phase,
                client_address: None,
                peer_address: None,
                pid: None,
                version: None,
                heartbeat_ms: None,
                served_by: served_by.map(name),
                epoch_given: None,
                epoch_loaded: None,
                collisions: Vec::new(),
                collision_count: 0,
            }],
            paths: vec![PathStatus {
                topic: TopicName::new("soil").unwrap(),
                producer: name("i"),
                consumer: name("a"),
                path: path.split_whitespace().map(name).collect(),
                up,
                probe_ms: None,
            }],
            migrations: Vec::new(),
            drains: Vec::new(),
            settled: true,
            problems: Vec::new(),
        }
    }

    fn words(before: Option<&FleetStatus>, after: &FleetStatus) -> Vec<String> {
        let word = |event: UpEvent| match event {
            UpEvent::BrokerDown { broker, evidence } => format!("{broker} down: {}", evidence.join(", ")),
            UpEvent::Migrated {
                broker,
                to,
                declared: false,
            } => format!("{broker} -> {to}"),
            UpEvent::Adopted { broker, messages } => format!("{messages} for {broker}"),
            UpEvent::Returned { broker } => format!("{broker} returned"),
            UpEvent::PathUp { path, .. } => {
                format!(
                    "up {}",
                    path.iter().map(BrokerName::as_str).collect::<Vec<_>>().join(" ")
                )
            }
            UpEvent::PathDown {
                producer, consumer, ..
            } => format!("{producer} to {consumer} down"),
            UpEvent::Drain(record) => format!(
                "drain of {}: {:?}",
                record.migration.broker, record.migration.phase
            ),
            UpEvent::Trouble(text) => text,
            other => panic!("{other:?}"),
        };
        narrate(before, after).into_iter().map(word).collect()
    }

    #[test]
    fn a_failover_and_a_return_are_told_step_by_step() {
        use BrokerPhase::{Down, Ready, Returning, Suspect};
        let fine = status(Ready, Some("c"), "a c i", true);
        let suspect = status(Suspect, Some("c"), "a c i", false);
        let mut down = status(Down, None, "a e i", false);
        down.migrations.push(MigrationRecord {
            migration: Migration {
                evidence: vec!["refused".to_owned()],
                ..Migration::new("c-1".to_owned(), name("c"))
            },
            times: BTreeMap::new(),
            abandoned: BTreeMap::new(),
        });
        let problem = "Broker/c: down: refused".to_owned();
        down.problems.push(problem.clone());
        let mut replaced = status(Down, Some("e"), "a e i", true);
        replaced.problems.push(problem.clone());
        let returning = status(Returning, Some("e"), "a e i", true);
        let back = status(Ready, Some("c"), "a c i", true);
        assert_eq!(words(None, &fine), ["up a c i"]);
        assert_eq!(words(Some(&fine), &suspect), ["i to a down"]);
        assert_eq!(words(Some(&suspect), &down), ["c down: refused"]);
        assert_eq!(words(Some(&down), &replaced), ["c -> e", "up a e i"]);
        assert_eq!(words(Some(&replaced), &returning), [""; 0]);
        assert_eq!(words(Some(&returning), &back), ["c returned", "up a c i"]);
        assert_eq!(words(Some(&back), &back), [""; 0]);
        let mut down_again = replaced.clone();
        down_again.migrations.clone_from(&down.migrations);
        assert_eq!(words(Some(&returning), &down_again), [problem]);
        let mut producing = replaced.clone();
        producing.paths[0].producer = name("c");
        assert!(narrate(Some(&down), &producing).contains(&UpEvent::Migrated {
            broker: name("c"),
            to: name("e"),
            declared: true,
        }));
        let answering = status(Ready, Some("e"), "a c i", true);
        assert_eq!(
            words(Some(&answering), &back),
            ["c returned"],
            "its clients come back later than it does"
        );
    }

    #[test]
    fn a_drain_is_told_phase_by_phase_and_nothing_else_of_it() {
        use MigrationPhase::{Completed, Detected, Draining, FailedBack, Retargeted};
        let at = |phase, served_by, waiting: &[&str]| {
            let mut status = status(BrokerPhase::Ready, Some(served_by), "a c i", true);
            status.migrations.push(MigrationRecord {
                migration: Migration {
                    phase,
                    reason: Reason::Drain,
                    waiting: waiting.iter().map(|client| ((*client).to_owned(), 1)).collect(),
                    ..Migration::new("c-1".to_owned(), name("c"))
                },
                times: BTreeMap::new(),
                abandoned: BTreeMap::new(),
            });
            status
        };
        let well = status(BrokerPhase::Ready, Some("c"), "a c i", true);
        let steps = [
            at(Detected, "c", &[]),
            at(Draining, "c", &[]),
            at(Draining, "c", &["pump"]),
            at(Draining, "c", &["pump", "gate"]),
            at(Retargeted, "e", &[]),
            at(Completed, "e", &[]),
            at(FailedBack, "c", &[]),
        ];
        let mut before = &well;
        let mut told = Vec::new();
        for step in &steps {
            told.extend(words(Some(before), step));
            before = step;
        }
        let phases = [
            "Detected",
            "Draining",
            "Draining",
            "Retargeted",
            "Completed",
            "FailedBack",
        ];
        assert_eq!(told, phases.map(|phase| format!("drain of c: {phase}")));
        assert_eq!(
            words(None, &steps[5]),
            ["drain of c: Completed", "up a c i"],
            "at a start"
        );
        assert_eq!(words(None, &steps[6]), ["up a c i"], "what was over is no news");
    }

    #[test]
    fn a_problem_is_told_once() {
        let before = status(BrokerPhase::Ready, Some("c"), "a c i", true);
        let mut after = before.clone();
        after.problems.push("no way".to_owned());
        assert_eq!(words(Some(&before), &after), ["no way"]);
        assert_eq!(words(Some(&after), &after), [""; 0]);
    }
}
