//! Migrations, and that nothing of them is lost.

use std::collections::BTreeSet;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use skein_adapter::migrations::{MigrationRecord, Migrations};
use skein_api::resources::{self, MigrationReason, MigrationSpec, MigrationStatus};
use skein_engine::directive::{Migration, MigrationPhase, Reason};

use super::*;
use crate::status::{from_status, migration};

fn spec(reason: MigrationReason) -> MigrationSpec {
    MigrationSpec {
        broker: name("c"),
        to: None,
        reason,
        approved: false,
        abandon: false,
        end: false,
    }
}

fn record(phase: MigrationPhase, change: impl FnOnce(&mut Migration)) -> MigrationRecord {
    let mut migration = Migration {
        phase,
        to: Some(name("b")),
        ..Migration::new("c-1".to_owned(), name("c"))
    };
    change(&mut migration);
    MigrationRecord {
        migration,
        times: BTreeMap::from([(format!("{phase:?}"), "2026-01-01T00:00:00Z".to_owned())]),
        abandoned: BTreeMap::new(),
    }
}

fn of(scene: &Scene, record: Option<&MigrationRecord>) -> MigrationStatus {
    migration(
        &scene.seen(),
        "c-1",
        &spec(MigrationReason::Drain),
        record,
        Some(1),
        None,
    )
}

#[test]
fn a_failover_that_was_carried_out_is_ready_and_says_how_it_went() {
    let scene = Scene::new(line());
    let mut migrations = Migrations::default();
    let times = ["00.1", "00.2", "05"].map(|second| format!("2026-01-01T00:00:{second}Z"));
    let phases = [
        MigrationPhase::Detected,
        MigrationPhase::Retargeted,
        MigrationPhase::Completed,
    ];
    for (phase, time) in phases.into_iter().zip(&times) {
        let note = |migration: &mut Migration| {
            migration.evidence = vec!["its port refuses connections".to_owned()];
        };
        migrations.record(record(phase, note).migration, time);
    }
    let status = of(&scene, migrations.records().first());
    assert_eq!(letters(&status.conditions), "TTTT");
    says(&status.conditions, "Ready", &["b serves the clients of c"]);
    assert_eq!(status.phase, Some(resources::MigrationPhase::Completed));
    assert_eq!(status.to, Some(name("b")));
    assert_eq!(status.evidence[0].message, "its port refuses connections");
    let entered: Vec<_> = status.times.iter().map(|time| (time.phase, time.at.0)).collect();
    assert_eq!(
        entered,
        [
            (resources::MigrationPhase::Detected, at("2026-01-01T00:00:00Z")),
            (resources::MigrationPhase::Retargeted, at("2026-01-01T00:00:00Z")),
            (resources::MigrationPhase::Completed, at("2026-01-01T00:00:05Z")),
        ]
    );
}

#[test]
fn a_drain_waits_before_its_address_moves_and_a_failover_after() {
    let scene = Scene::new(line());
    for (reason, first) in [
        (Reason::Drain, resources::MigrationPhase::Draining),
        (Reason::Failure, resources::MigrationPhase::Retargeted),
    ] {
        let mut record = record(MigrationPhase::Retargeted, |migration| migration.reason = reason);
        record
            .times
            .insert("Draining".to_owned(), "2026-01-01T00:00:00Z".to_owned());
        assert_eq!(of(&scene, Some(&record)).times[0].phase, first);
    }
}

#[test]
fn what_waits_for_a_person_says_for_what() {
    let mut scene = Scene::new(line());
    let unbegun = of(&scene, None);
    assert_eq!(letters(&unbegun.conditions), "TTUU");
    assert_eq!(unbegun.phase, None);
    let waits = record(MigrationPhase::Pending, |_| {});
    let status = of(&scene, Some(&waits));
    assert_eq!(letters(&status.conditions), "TTFF");
    says(&status.conditions, "Ready", &["spec.approved"]);
    scene.status.problems =
        vec!["Migration/c-1: b would serve; it waits for approval, as it says".to_owned()];
    let status = of(&scene, Some(&waits));
    says(
        &status.conditions,
        "Ready",
        &["b would serve; it waits for approval"],
    );

    let draining = record(MigrationPhase::Draining, |migration| {
        migration.waiting = BTreeMap::from([("pump".to_owned(), 9)]);
    });
    let status = of(&scene, Some(&draining));
    assert_eq!(letters(&status.conditions), "TTTT");
    says(&status.conditions, "Operational", &["pump", "spec.abandon"]);
    assert_eq!(
        (status.waiting[0].client.as_str(), status.waiting[0].messages),
        ("pump", 9)
    );
}

#[test]
fn what_cannot_go_on_names_what_is_missing() {
    let scene = Scene::new(line());
    let failed = record(MigrationPhase::Failed, |migration| migration.to = None);
    let status = of(&scene, Some(&failed));
    assert_eq!(letters(&status.conditions), "TFFF");
    says(
        &status.conditions,
        "Ready",
        &["Broker/c", "spec.failover.substitutes"],
    );
    let drain = record(MigrationPhase::Failed, |migration| {
        migration.reason = Reason::Drain;
        migration.evidence = vec!["b is not well".to_owned()];
    });
    says(&of(&scene, Some(&drain)).conditions, "Ready", &["b is not well"]);
    let mut wanted = spec(MigrationReason::Drain);
    wanted.to = Some(name("gone"));
    let status = migration(&scene.seen(), "c-1", &wanted, None, None, None);
    says(&status.conditions, "Ready", &["Broker/gone is not declared"]);
    let around = record(MigrationPhase::Completed, |migration| migration.to = None);
    assert_eq!(letters(&of(&scene, Some(&around)).conditions), "TTTT");
    wanted.broker = name("gone");
    let over = record(MigrationPhase::FailedBack, |_| {});
    let status = migration(&scene.seen(), "c-1", &wanted, Some(&over), None, None);
    assert_eq!(
        letters(&status.conditions),
        "TTTT",
        "what is over may be of brokers of old"
    );
}

#[test]
fn nothing_happens_and_nothing_changes() {
    let mut scene = Scene::new(line());
    let spec = spec(MigrationReason::Failure);
    let record = record(MigrationPhase::Completed, |_| {});
    let first = migration(&scene.seen(), "c-1", &spec, Some(&record), Some(1), None);
    scene.later();
    let second = migration(&scene.seen(), "c-1", &spec, Some(&record), Some(1), Some(&first));
    assert_eq!(second, first);
}

#[test]
fn what_is_not_begun_is_not_restored() {
    let scene = Scene::new(line());
    let status = of(&scene, None);
    assert_eq!(from_status("c-1", &spec(MigrationReason::Drain), &status), None);
}

fn broker_name() -> impl Strategy<Value = BrokerName> {
    "[a-e]".prop_map(|text| name(&text))
}

/// What JSON can hold: whole numbers up to those of the schema.
fn count() -> impl Strategy<Value = u64> {
    0..=i64::MAX.cast_unsigned()
}

fn clients() -> impl Strategy<Value = BTreeSet<String>> {
    btree_set(".{0,8}", 0..4)
}

prop_compose! {
    fn any_migration()(
        to in proptest::option::of(broker_name()),
        reason in prop_oneof![Just(Reason::Failure), Just(Reason::Drain)],
        phase in proptest::sample::select(&MigrationPhase::ALL[..]),
        evidence in vec(".{0,12}", 0..4),
        moved in btree_map(broker_name(), clients(), 0..4),
        not_moved in btree_map(".{0,8}", ".{0,8}", 0..4),
        adopted in count(),
        copied in any::<bool>(),
        waiting in btree_map(".{0,8}", count(), 0..4),
    ) -> Migration {
        Migration {
            to, reason, phase, evidence, moved, not_moved, adopted, copied, waiting,
            ..Migration::new("c-7".to_owned(), name("c"))
        }
    }
}

prop_compose! {
    fn any_record()(
        migration in any_migration(),
        times in btree_map(proptest::sample::select(&MigrationPhase::ALL[..]).prop_map(|phase| format!("{phase:?}")), 0_i64..4_000_000_000, 0..12),
        abandoned in btree_map(".{0,8}", count(), 0..4),
    ) -> MigrationRecord {
        let time = |(phase, second)| (phase, Timestamp::from_second(second).unwrap().to_string());
        MigrationRecord { migration, times: times.into_iter().map(time).collect(), abandoned }
    }
}

proptest! {
    #[test]
    fn a_record_comes_back_from_its_status(record in any_record()) {
        let scene = Scene::new(line());
        let reason = match record.migration.reason {
            Reason::Failure => MigrationReason::Failure,
            Reason::Drain => MigrationReason::Drain,
        };
        let spec = spec(reason);
        let status = migration(&scene.seen(), "c-7", &spec, Some(&record), Some(1), None);
        let written = serde_json::to_string(&status).unwrap();
        let read: MigrationStatus = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(&read, &status);
        let restored = from_status("c-7", &spec, &read).unwrap();
        prop_assert_eq!(&restored, &record);
        let again = migration(&scene.seen(), "c-7", &spec, Some(&restored), Some(1), Some(&read));
        prop_assert_eq!(again, read);
    }
}
