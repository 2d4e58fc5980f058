//! Brokers, and what holds for the conditions of all.

use skein_api::fleet::FailoverPolicy;
use skein_api::resources::{self, EpochStatus, Equivalence};

use super::*;
use crate::status::broker;

fn ring() -> FleetBuilder {
    FleetBuilder::new()
        .routes("a-b b-c c-a")
        .topic("soil", "farm/+/soil", "a b", "c")
}

#[test]
fn a_healthy_broker_is_ready_and_says_who_would_take_over() {
    let scene = Scene::new(ring());
    let status = broker(&scene.seen(), "a", Some(4), None);
    assert_eq!(letters(&status.conditions), "TTTT");
    assert_eq!(status.phase, Some(resources::BrokerPhase::Up));
    assert_eq!(status.observed_generation, Some(4));
    assert_eq!(status.version.as_deref(), Some("2.1.2"));
    assert_eq!(status.epoch, Some(EpochStatus { given: 3, loaded: 3 }));
    assert_eq!(status.served_by, None);
    let substitute = status.substitute.unwrap();
    assert_eq!(substitute.broker, name("b"));
    assert_eq!(substitute.equivalence, Equivalence::Strong);
    let ready = condition(&status.conditions, "Ready");
    assert_eq!(ready.reason, "Ready");
    assert_eq!(ready.last_transition_time.0, at("2026-01-01T00:00:00Z"));
    assert_eq!(ready.observed_generation, Some(4));
}

#[test]
fn a_paused_broker_is_ready_and_says_that_it_is_paused() {
    let mut scene = Scene::new(ring());
    scene.paused.insert(name("a"));
    let status = broker(&scene.seen(), "a", Some(4), None);
    assert_eq!(letters(&status.conditions), "TTTT");
    assert_eq!(condition(&status.conditions, "Matched").reason, "Paused");
    says(&status.conditions, "Matched", &["mqtt.skein.dev/paused"]);
}

#[test]
fn a_broker_that_another_serves_for_is_fenced_and_told_how_to_come_back() {
    let view = View {
        down: [name("a")].into(),
        served_by: [(name("a"), name("b"))].into(),
        ..View::default()
    };
    let well = broker(&Scene::new(ring()).seen(), "a", Some(1), None);
    let mut scene = Scene::planned(ring(), &view);
    scene.status.problems = vec![
        "Broker/a: down: 3 heartbeats in a row were missed".to_owned(),
        "Broker/b: it refused configuration 2: no".to_owned(),
    ];
    // Of one that is out the plan says who could be next.
    let next = scene.plan.substitutes["b"].clone();
    assert_ne!(next.candidates[0].broker, name("b"));
    scene.plan.substitutes.insert(name("a"), next);
    let status = broker(&scene.seen(), "a", Some(1), Some(&well));
    assert_eq!(status.phase, Some(resources::BrokerPhase::Fenced));
    assert_eq!(status.served_by, Some(name("b")));
    assert_eq!(letters(&status.conditions), "TTFF");
    let parts = ["3 heartbeats in a row", "b serves its clients", "Pod/a-0"];
    says(&status.conditions, "Operational", &parts);
    assert!(!message(&status.conditions, "Operational").contains("refused"));
    assert_eq!(
        message(&status.conditions, "Ready"),
        message(&status.conditions, "Operational")
    );
    assert_eq!(status.substitute, well.substitute, "who took over is who was to");

    scene.broker("a").served_by = None;
    let status = broker(&scene.seen(), "a", Some(1), None);
    assert_eq!(status.phase, Some(resources::BrokerPhase::Down));
    says(&status.conditions, "Operational", &["nobody serves its clients"]);
}

#[test]
fn what_was_not_heard_yet_is_unknown() {
    let mut scene = Scene::new(ring());
    let heard = scene.broker("a");
    heard.phase = BrokerPhase::Pending;
    (heard.epoch_given, heard.epoch_loaded) = (None, None);
    let status = broker(&scene.seen(), "a", Some(1), None);
    assert_eq!(status.phase, Some(resources::BrokerPhase::Starting));
    assert_eq!(status.epoch, None);
    assert_eq!(letters(&status.conditions), "TUUU");
    scene.broker("a").epoch_given = Some(1);
    let status = broker(&scene.seen(), "a", Some(1), None);
    assert_eq!(status.epoch, Some(EpochStatus { given: 1, loaded: 0 }));
    says(&status.conditions, "Matched", &["configuration 1"]);
    scene.broker("a").phase = BrokerPhase::Suspect;
    scene.broker("a").epoch_loaded = Some(1);
    assert_eq!(
        letters(&broker(&scene.seen(), "a", Some(1), None).conditions),
        "TTUU"
    );
}

#[test]
fn a_broker_without_its_objects_or_its_configuration_is_not_matched() {
    let mut scene = Scene::new(ring());
    scene.broker("a").epoch_given = Some(5);
    scene
        .status
        .problems
        .push("Broker/a: it refused configuration 5: bad value".to_owned());
    let status = broker(&scene.seen(), "a", Some(1), None);
    assert_eq!(letters(&status.conditions), "TFTF");
    says(
        &status.conditions,
        "Ready",
        &["configuration 3", "given 5", "bad value"],
    );
    let lack = "Secret/users does not exist: make it";
    scene.objects.insert(name("a"), lack.to_owned());
    let status = broker(&scene.seen(), "a", Some(1), None);
    assert_eq!(message(&status.conditions, "Ready"), lack);
    let b = broker(&scene.seen(), "b", Some(1), None);
    assert_eq!(letters(&b.conditions), "TTTT");
}

#[test]
fn an_external_broker_has_nothing_to_match() {
    let mut scene = Scene::new(ring().external("x").routes("a-x"));
    let heard = scene.broker("x");
    (heard.epoch_given, heard.epoch_loaded) = (None, None);
    let status = broker(&scene.seen(), "x", Some(1), None);
    assert_eq!(letters(&status.conditions), "TTTT");
    assert_eq!(status.substitute, None);
    scene.broker("x").phase = BrokerPhase::Down;
    let status = broker(&scene.seen(), "x", Some(1), None);
    says(&status.conditions, "Operational", &["127.0.0.1:1883"]);
}

#[test]
fn a_substitute_stays_while_the_plan_is_being_completed_and_goes_with_its_broker() {
    let mut scene = Scene::new(ring());
    let before = broker(&scene.seen(), "a", Some(1), None);
    scene.plan.substitutes.clear();
    let status = broker(&scene.seen(), "a", Some(1), Some(&before));
    assert_eq!(status, before);
    scene.fleet.brokers.remove("b");
    let status = broker(&scene.seen(), "a", Some(1), Some(&before));
    assert_eq!(status.substitute, None);
    let scene = Scene::new(ring().with("a", |a| a.failover.policy = FailoverPolicy::Disabled));
    assert_eq!(broker(&scene.seen(), "a", Some(1), None).substitute, None);
}

#[test]
fn what_a_substitute_misses_is_listed_up_to_a_bound() {
    let many =
        |fleet: FleetBuilder, number| fleet.topic(&format!("t{number:03}"), &format!("t/{number}"), "a", "c");
    let scene = Scene::new((0..300).fold(FleetBuilder::new().routes("a-b b-c"), many));
    let substitute = broker(&scene.seen(), "a", Some(1), None).substitute.unwrap();
    assert_eq!(substitute.equivalence, Equivalence::Partial);
    assert_eq!(substitute.missing.len(), 256);
    assert_eq!(substitute.missing[254..], ["t254", "and 45 more"]);
}

#[test]
fn times_move_only_with_the_status_of_a_condition_and_figures_move_nothing() {
    let mut scene = Scene::new(ring());
    let first = broker(&scene.seen(), "a", Some(1), None);
    scene.later();
    let second = broker(&scene.seen(), "a", Some(1), Some(&first));
    assert_eq!(second, first);

    scene.broker("a").phase = BrokerPhase::Down;
    let third = broker(&scene.seen(), "a", Some(1), Some(&second));
    let time =
        |status: &resources::BrokerStatus, kind| condition(&status.conditions, kind).last_transition_time.0;
    assert_eq!(time(&third, "Matched"), time(&first, "Matched"));
    assert_eq!(time(&third, "Operational"), scene.now);
    assert_eq!(time(&third, "Ready"), scene.now);
    scene.now = at("2026-01-01T02:00:00Z");
    scene
        .status
        .problems
        .push("Broker/a: down: its port refuses connections".to_owned());
    let fourth = broker(&scene.seen(), "a", Some(1), Some(&third));
    assert_eq!(time(&fourth, "Operational"), time(&third, "Operational"));
    says(&fourth.conditions, "Operational", &["its port refuses"]);
}

#[test]
fn an_edit_that_is_refused_is_told_to_those_it_concerns() {
    let mut scene = Scene::new(ring());
    let before = broker(&scene.seen(), "a", Some(1), None);
    scene.problem(
        "Topic/soil",
        "spec.producers[0].broker",
        "there is no broker d",
        "declare it",
    );
    let same = broker(&scene.seen(), "a", Some(1), Some(&before));
    assert_eq!(letters(&same.conditions), "TTTT", "nobody edited it");
    let edited = broker(&scene.seen(), "a", Some(2), Some(&before));
    assert_eq!(letters(&edited.conditions), "FTTF");
    says(&edited.conditions, "Ready", &["not in force", "Topic/soil"]);
    let again = broker(&scene.seen(), "a", Some(2), Some(&edited));
    assert_eq!(again, edited);
    let new = broker(&scene.seen(), "d", Some(1), None);
    assert_eq!(letters(&new.conditions), "FUUF");
    assert_eq!(new.phase, None);

    scene.problems.clear();
    scene.status.problems = vec!["plan: not given to the brokers, as its proof failed: a loop".to_owned()];
    let edited = broker(&scene.seen(), "a", Some(2), Some(&edited));
    says(&edited.conditions, "Configured", &["a loop"]);
    scene.refused = false;
    let edited = broker(&scene.seen(), "a", Some(2), Some(&edited));
    assert_eq!(letters(&edited.conditions), "TTTT");
}

#[test]
fn a_warning_is_shown_and_stands_against_nothing() {
    let mut scene = Scene::new(ring());
    scene.problem("Broker/a", "spec.managed", "it is old", "take a newer one");
    scene.problems[0].severity = Severity::Warning;
    scene.refused = false;
    let status = broker(&scene.seen(), "a", Some(1), None);
    assert_eq!(letters(&status.conditions), "TTTT");
    says(
        &status.conditions,
        "Configured",
        &["spec.managed: it is old; take a newer one"],
    );
}

#[test]
fn messages_end_somewhere() {
    let mut scene = Scene::new(ring());
    scene.objects.insert(name("a"), "ä".repeat(2000));
    let status = broker(&scene.seen(), "a", Some(1), None);
    let message = message(&status.conditions, "Matched");
    assert_eq!(message.chars().count(), 1024);
    assert!(message.ends_with('…'));
}
