//! Wishes over the lives of `skein up`.

use super::*;
use crate::state::StateDirectory;
use crate::status::MigrationRecord;
use crate::wishes::DrainWish;
use skein_api::fleet::FleetBuilder;
use skein_api::resources::MigrationReason;
use skein_engine::directive::BrokerPhase;

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

fn fleet() -> Fleet {
    FleetBuilder::new()
        .routes("a-b b-c")
        .topic("t", "t", "a", "c")
        .with("c", |broker| broker.failover.failback = Failback::Manual)
        .build()
}

/// A life of `up` on a state directory, as far as wishes are concerned.
struct Life {
    heeded: Heeded,
    fleet: Fleet,
}

impl Life {
    fn begin(state: &StateDirectory, migrations: Vec<Migration>) -> Self {
        let mut heeded = Heeded::new(WishDirectory::of(state));
        heeded.remember(migrations);
        Self {
            heeded,
            fleet: fleet(),
        }
    }

    fn look(&mut self) -> Vec<String> {
        let found = self.heeded.directory.read().unwrap();
        let weighed = wishes::weigh(&found, &self.heeded.declared, &self.fleet);
        let words = |event| match event {
            Event::Drain {
                broker,
                to: None,
                abandon: false,
            } => format!("drain {broker}"),
            Event::Drain {
                broker,
                to: Some(to),
                abandon,
            } => format!("drain {broker} to {to} {abandon}"),
            Event::Undrain { broker } => format!("undrain {broker}"),
            other => panic!("{other:?}"),
        };
        self.heeded.news(weighed.drains).into_iter().map(words).collect()
    }
}

fn migration(broker: &str, reason: Reason, phase: MigrationPhase) -> Migration {
    Migration {
        reason,
        phase,
        ..Migration::new(format!("{broker}-1"), name(broker))
    }
}

#[test]
fn a_drain_is_told_once_and_again_to_the_next_life() {
    let temporary = tempfile::tempdir().unwrap();
    let state = StateDirectory::new(temporary.path());
    let wishes = WishDirectory::of(&state);
    let mut life = Life::begin(&state, Vec::new());
    assert_eq!(life.look(), [""; 0]);
    wishes.drain(&name("b"), &DrainWish::default()).unwrap();
    assert_eq!(life.look(), ["drain b"]);
    assert_eq!(life.look(), [""; 0], "nothing changed");
    let wish = DrainWish {
        to: Some(name("c")),
        abandon: true,
    };
    wishes.drain(&name("b"), &wish).unwrap();
    assert_eq!(life.look(), ["drain b to c true"]);

    let under_way = migration("b", Reason::Drain, MigrationPhase::Draining);
    let mut next = Life::begin(&state, vec![under_way]);
    assert_eq!(next.look(), ["drain b to c true"]);
    wishes.undrain(&name("b")).unwrap();
    assert_eq!(next.look(), ["undrain b"]);
    assert_eq!(next.look(), [""; 0]);
}

#[test]
fn what_was_taken_back_while_nobody_ran_is_noticed() {
    let temporary = tempfile::tempdir().unwrap();
    let state = StateDirectory::new(temporary.path());
    let mut life = Life::begin(
        &state,
        vec![
            migration("a", Reason::Failure, MigrationPhase::Completed),
            migration("b", Reason::Drain, MigrationPhase::Completed),
            migration("c", Reason::Drain, MigrationPhase::FailedBack),
        ],
    );
    assert_eq!(life.look(), ["undrain b"]);
}

#[test]
fn a_wish_that_cannot_be_read_leaves_all_as_it_is() {
    let temporary = tempfile::tempdir().unwrap();
    let state = StateDirectory::new(temporary.path());
    let wishes = WishDirectory::of(&state);
    wishes.drain(&name("b"), &DrainWish::default()).unwrap();
    let mut life = Life::begin(&state, Vec::new());
    assert_eq!(life.look(), ["drain b"]);
    std::fs::write(wishes.path().join("drain-b.json"), "{").unwrap();
    assert_eq!(life.look(), [""; 0]);
    let mut next = Life::begin(
        &state,
        vec![migration("b", Reason::Drain, MigrationPhase::Completed)],
    );
    assert_eq!(next.look(), [""; 0], "nor does the next life undrain it");
    wishes.drain(&name("b"), &DrainWish::default()).unwrap();
    assert_eq!(next.look(), ["drain b"]);
}

#[test]
fn a_drain_among_the_manifests_ends_with_its_removal() {
    let temporary = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&StateDirectory::new(temporary.path()), Vec::new());
    let mut spec = MigrationSpec {
        broker: name("b"),
        to: Some(name("c")),
        reason: MigrationReason::Drain,
        approved: false,
        abandon: false,
        end: false,
    };
    life.heeded.declared.insert("drain-b".to_owned(), spec.clone());
    assert_eq!(life.look(), ["drain b to c false"]);
    let [drain] = life.heeded.drains().try_into().unwrap();
    assert_eq!(drain.declared_by.as_deref(), Some("drain-b"));
    spec.end = true;
    life.heeded.declared.insert("drain-b".to_owned(), spec.clone());
    assert_eq!(life.look(), ["undrain b"]);
    spec.end = false;
    life.heeded.declared.insert("drain-b".to_owned(), spec);
    assert_eq!(life.look(), ["drain b to c false"]);
    life.heeded.declared.clear();
    assert_eq!(life.look(), ["undrain b"]);
}

#[test]
fn an_approval_is_told_once_it_is_awaited_and_forgotten_when_its_step_is_behind() {
    use MigrationPhase::{Completed, FailingBack};
    let temporary = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&StateDirectory::new(temporary.path()), Vec::new());
    let approval = Approval {
        migration: "c-1".to_owned(),
        step: Step::TakeBack,
    };
    life.heeded.approvals.insert(name("c"), approval);
    let mut look = |phase, migration_phase| {
        let status = status(phase, migration("c", Reason::Failure, migration_phase));
        let (due, behind) = life.heeded.approvals_due(&status, &life.fleet);
        (due.len(), behind.len())
    };
    assert_eq!(
        look(BrokerPhase::Down, Completed),
        (0, 0),
        "it is not awaited yet"
    );
    assert_eq!(look(BrokerPhase::Returning, Completed), (1, 0));
    assert_eq!(look(BrokerPhase::Returning, Completed), (0, 0), "it was told");
    assert_eq!(look(BrokerPhase::Ready, FailingBack), (0, 1));
}

#[test]
fn a_manifest_approves_whatever_waits_as_long_as_it_says_so() {
    let temporary = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&StateDirectory::new(temporary.path()), Vec::new());
    let agreed = MigrationSpec {
        broker: name("c"),
        to: None,
        reason: MigrationReason::Failure,
        approved: true,
        abandon: false,
        end: false,
    };
    life.heeded.declared.insert("c-1".to_owned(), agreed);
    let mut look = |phase, migration_phase| {
        let status = status(phase, migration("c", Reason::Failure, migration_phase));
        life.heeded.approvals_due(&status, &life.fleet).0.len()
    };
    assert_eq!(look(BrokerPhase::Down, MigrationPhase::Pending), 1);
    assert_eq!(look(BrokerPhase::Down, MigrationPhase::Completed), 0);
    assert_eq!(look(BrokerPhase::Returning, MigrationPhase::Completed), 1);
}

fn status(phase: BrokerPhase, migration: Migration) -> FleetStatus {
    FleetStatus {
        updated_at: String::new(),
        fleet: "/fleet".into(),
        pid: 1,
        brokers: vec![BrokerStatus {
            name: migration.broker.clone(),
            phase,
            client_address: None,
            peer_address: None,
            pid: None,
            version: None,
            heartbeat_ms: None,
            served_by: None,
            epoch_given: None,
            epoch_loaded: None,
            collisions: Vec::new(),
            collision_count: 0,
        }],
        paths: Vec::new(),
        migrations: vec![MigrationRecord {
            migration,
            times: BTreeMap::new(),
            abandoned: BTreeMap::new(),
        }],
        drains: Vec::new(),
        settled: true,
        problems: Vec::new(),
    }
}
