//! Which promises are shown for which broker.

use std::sync::Arc;

use skein_api::fleet::FleetBuilder;

use super::*;
use crate::explain::broker;
use crate::plan::View;

fn software(version: Version, known: KnownFrom) -> Software {
    Software {
        version,
        known,
        profile: None,
    }
}

const OLD: Version = Version::OLDEST;
const NEW: Version = Version::new(2, 1, 2);

/// a ← b ← i, and one that has nothing to do.
fn farm() -> FleetBuilder {
    FleetBuilder::new()
        .routes("a-b b-i")
        .brokers("idle")
        .topic("soil", "farm/+/soil", "i", "a")
}

fn explained(fleet: &Fleet, name: &str, software: Software) -> BrokerExplanation {
    let view = View::default();
    let plan = crate::plan(fleet, &view);
    broker(fleet, &view, &plan, &BrokerName::new(name).unwrap(), software).unwrap()
}

fn durable(durability: Durability) -> impl FnOnce(&mut Broker) {
    move |broker| {
        if let Some(managed) = broker.managed_mut() {
            managed.durability = Some(durability);
        }
    }
}

fn profile(fleet: &Fleet, software: Software) -> (Profile, bool, String) {
    let found = explained(fleet, "b", software).durability.unwrap();
    (found.profile, found.declared, found.reason)
}

#[test]
fn the_profile_is_what_runs_else_what_is_declared_else_the_best_there_is() {
    let told = |fleet: &Fleet, version, known| profile(fleet, software(version, known));
    let fleet = farm().build();
    assert_eq!(told(&fleet, NEW, KnownFrom::Assumed).0, Profile::Durable);
    assert_eq!(told(&fleet, OLD, KnownFrom::Declared).0, Profile::Classic);

    let declared = farm().with("b", durable(Durability::Classic)).build();
    let (is, was_declared, reason) = told(&declared, NEW, KnownFrom::Running);
    assert_eq!(
        (is, was_declared, reason.as_str()),
        (Profile::Classic, true, "as declared")
    );

    let seen = Software {
        profile: Some(Profile::Classic),
        ..software(NEW, KnownFrom::Running)
    };
    let (is, was_declared, reason) = profile(&fleet, seen);
    assert_eq!((is, was_declared), (Profile::Classic, false));
    assert!(reason.contains("plugin is missing"), "{reason}");
    let other = farm().with("b", durable(Durability::Durable)).build();
    let (is, was_declared, reason) = profile(&other, seen);
    assert_eq!((is, was_declared), (Profile::Classic, false));
    assert!(reason.contains("though durable is declared"), "{reason}");
}

#[test]
fn what_a_version_cannot_is_warned_of() {
    let fleet = farm().with("b", durable(Durability::Durable)).build();
    let found = explained(&fleet, "b", software(OLD, KnownFrom::Declared));
    assert_eq!(found.durability.unwrap().profile, Profile::Classic);
    let messages: Vec<&str> = found
        .findings
        .iter()
        .map(|finding| finding.message.as_str())
        .collect();
    assert!(messages[0].contains("Mosquitto 2.0.11 cannot be"), "{messages:?}");
    assert!(
        messages[1].contains("known to lose messages or to crash"),
        "{messages:?}"
    );
    assert!(messages[1].contains("use 2.1.0 or later"), "{messages:?}");

    let fine = explained(&farm().build(), "b", software(NEW, KnownFrom::Running));
    assert_eq!(fine.findings, []);
    assert!(
        fine.known_issues
            .iter()
            .any(|issue| issue.name == "reload-crash" && issue.avoided)
    );

    let nothing = farm().with("b", durable(Durability::None)).build();
    let found = explained(&nothing, "b", software(NEW, KnownFrom::Running));
    assert!(
        found.findings[0].message.starts_with("it keeps nothing on disk"),
        "{:?}",
        found.findings
    );
}

fn events(fleet: &Fleet, name: &str) -> Vec<Event> {
    let found = explained(fleet, name, software(NEW, KnownFrom::Running));
    found.contract.iter().map(|row| row.event).collect()
}

#[test]
fn only_the_rows_that_concern_a_broker_are_shown() {
    use Event::{
        Away, Controller, Crash, Disk, Drain, Duplex, Hang, Link, Retained, Route, Supervisor, Transit,
        Volume, Wills,
    };
    let fleet = farm().build();
    let transit = [
        Controller, Supervisor, Link, Transit, Route, Crash, Hang, Volume, Disk,
    ];
    assert_eq!(events(&fleet, "b"), transit);
    assert_eq!(
        events(&fleet, "a"),
        [
            Controller, Supervisor, Link, Away, Route, Drain, Crash, Hang, Volume, Disk, Wills
        ]
    );
    assert_eq!(
        events(&fleet, "idle"),
        [Controller, Supervisor, Crash, Hang, Volume, Disk]
    );

    let both_ways = FleetBuilder::new()
        .routes("a-b")
        .topic("chat", "chat", "a b", "a b")
        .build();
    assert!(events(&both_ways, "a").contains(&Duplex));
    let mut retained = farm().build();
    retained
        .topics
        .get_mut("soil")
        .map(Arc::make_mut)
        .unwrap()
        .retained = true;
    for name in ["a", "b", "i"] {
        assert!(events(&retained, name).contains(&Retained), "{name}");
    }
    assert!(!events(&retained, "idle").contains(&Retained));
}

#[test]
fn a_row_says_whether_it_is_kept_today() {
    let found = explained(&farm().build(), "b", software(NEW, KnownFrom::Running));
    for row in &found.contract {
        assert_eq!(row.kept, row.since.is_some(), "{row:?}");
        assert_eq!(
            row.kept,
            row.why_not_yet.is_none() && row.today.is_none(),
            "{row:?}"
        );
        assert_eq!(row.promises.len(), 3, "{row:?}");
    }
    assert!(
        found
            .contract
            .iter()
            .any(|row| row.event == Event::Crash && row.kept)
    );
}

#[test]
fn a_broker_that_is_not_ours_is_promised_nothing() {
    let fleet = farm().external("b").build();
    let found = explained(&fleet, "b", software(NEW, KnownFrom::Assumed));
    assert!(found.durability.is_none() && found.contract.is_empty() && found.known_issues.is_empty());
    assert_eq!(found.findings, []);
}
