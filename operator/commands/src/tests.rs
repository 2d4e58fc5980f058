//! What people and programs read, on a plan made by hand so that only showing is tested here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anstream::adapter::strip_str;
use skein_adapter::migrations::MigrationRecord;
use skein_adapter::moves::Drain;
use skein_api::fleet::{Durability, Expected, Fleet, FleetBuilder, Hosting};
use skein_api::name::{BrokerName, ClassName, Qos, TopicName};
use skein_check::{Kind, Problem, Report};
use skein_contract::Profile;
use skein_engine::collisions::Collision;
use skein_engine::directive::{BrokerPhase, BrokerStatus, Migration, MigrationPhase, PathStatus, Reason};
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Line, Link, Mode};
use skein_mosquitto::version::Version;
use skein_planner::explain::{KnownFrom, Software};
use skein_planner::plan::{
    Action, Candidate, Class, Equivalence, Finding, Graft, Hop, Path, Plan, Role, Severity, Substitution,
    View,
};
use skein_planner::{diff, explain, tables};

use crate::explain::BrokerView;
use crate::output::json;
use crate::views::{
    BrokerView as ShownBroker, CheckView, MigrationView, PathView, PlanView, RolesView, StatusView,
};
use crate::{Failure, Voice};

const VOICE: Voice = Voice {
    command: "skein",
    nobody: "skein up is not running",
    ended: "`skein up` has ended",
    edit: "an edit of the manifests",
    overruled: |broker, migration| Failure::bad_input(format!("{broker}: {migration}")),
};

fn broker(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

fn brokers(text: &str) -> Vec<BrokerName> {
    text.split_whitespace().map(broker).collect()
}

fn topic(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn line(filter: &str, direction: Direction) -> Line {
    Line {
        filter: TopicFilter::parse(filter).unwrap(),
        direction,
        qos: Qos::AtLeastOnce,
    }
}

fn link(ends: &str, mode: Mode, lines: Vec<Line>) -> Arc<Link> {
    let ends = brokers(ends);
    Arc::new(Link {
        downstream: ends[0].clone(),
        upstream: ends[1].clone(),
        mode,
        control: [line("$skein/probe/soil/#", lines[0].direction)].into(),
        lines: lines.into(),
        class: ClassName::from(&topic("soil")),
    })
}

/// Two sensors' brokers, a hub, a head office with a twin, and a route that nobody needs.
fn fleet() -> Fleet {
    FleetBuilder::new()
        .routes("hq-hub:2 twin-hub hub-north hub-south:3 north-south:9")
        .topic("soil", "farm/+/soil", "north south", "hq")
        .commands("soil", "farm/+/valve")
        .with("hq", |broker| broker.zone = Some("city".to_owned()))
        .build()
}

fn newest() -> Software {
    Software {
        version: Version::new(2, 1, 2),
        known: KnownFrom::Assumed,
        profile: None,
    }
}

fn path(brokers_passed: &str, producer: &str, cost: u32, shortest: u32) -> Path {
    Path {
        topic: topic("soil"),
        producer: broker(producer),
        consumer: broker("hq"),
        brokers: brokers(brokers_passed).into(),
        cost,
        shortest,
    }
}

fn hop(to: &str, from: &str) -> Arc<Hop> {
    Arc::new(Hop {
        downstream: broker(to),
        upstream: broker(from),
    })
}

fn plan() -> Plan {
    let class = ClassName::from(&topic("soil"));
    let role = Role {
        action: Action::Subscribe,
        topic: topic("soil"),
        filter: TopicFilter::parse("farm/+/soil").unwrap(),
    };
    let candidate = |name: &str, equivalence, missing: &[Role], same_zone| Candidate {
        broker: broker(name),
        equivalence,
        missing: missing.iter().cloned().map(Arc::new).collect(),
        distance: Some(3),
        same_zone,
        load: 0,
    };
    let graft = |to: &str, from: &str| Graft {
        hop: hop(to, from),
        class: class.clone(),
    };
    let finding = |severity, object: &str, message: &str| Finding {
        severity,
        object: object.to_owned(),
        message: message.to_owned(),
    };
    Plan {
        classes: [(
            class.clone(),
            Arc::new(Class {
                name: class.clone(),
                topics: vec![topic("soil")],
                root: Some(broker("hq")),
                paths: vec![
                    path("hq hub north", "north", 3, 3),
                    path("hq hub north south", "south", 12, 5),
                ],
                links: vec![
                    link("hq hub", Mode::Pull, vec![line("farm/+/soil", Direction::In)]),
                    link(
                        "hub north",
                        Mode::Duplex,
                        vec![
                            line("farm/+/soil", Direction::In),
                            line("farm/+/valve", Direction::Out),
                        ],
                    ),
                    link(
                        "north south",
                        Mode::Pull,
                        (0..9)
                            .map(|n| line(&format!("farm/{n}/soil"), Direction::In))
                            .collect(),
                    ),
                ]
                .into(),
            }),
        )]
        .into(),
        substitutes: [
            (
                broker("hq"),
                Substitution {
                    candidates: vec![
                        candidate("twin", Equivalence::Partial, std::slice::from_ref(&role), true),
                        candidate("hub", Equivalence::Partial, &[role.clone(), role], false),
                    ],
                    cover: brokers("hub twin"),
                    grafts: vec![graft("twin", "hub"), graft("hub", "twin"), graft("hub", "south")],
                    gaps: Vec::new(),
                },
            ),
            (
                broker("hub"),
                Substitution {
                    candidates: Vec::new(),
                    cover: Vec::new(),
                    grafts: Vec::new(),
                    gaps: vec![(topic("soil"), broker("north"), broker("hq"))],
                },
            ),
            (
                broker("north"),
                Substitution {
                    candidates: vec![candidate("south", Equivalence::Strong, &[], false)],
                    cover: Vec::new(),
                    grafts: Vec::new(),
                    gaps: Vec::new(),
                },
            ),
        ]
        .map(|(name, found)| (name, Arc::new(found)))
        .into(),
        findings: vec![
            finding(
                Severity::Error,
                "topic/soil",
                "nothing reaches it; declare a route",
            ),
            finding(Severity::Warning, "broker/hub", "it is alone; give it a twin"),
            finding(Severity::Info, "route/a-b", "unused"),
        ],
    }
}

fn plain(text: &str) -> String {
    strip_str(text).to_string()
}

#[test]
fn a_plan_for_people() {
    insta::assert_snapshot!(plain(&crate::plan::human(&fleet(), &plan())));
}

#[test]
fn a_plan_for_programs() {
    insta::assert_snapshot!(json(&PlanView::from(&plan())).unwrap());
}

#[test]
fn the_roles_of_a_fleet() {
    let view = RolesView {
        roles: tables::equivalence(&fleet(), &View::default()),
    };
    insta::assert_snapshot!(plain(&crate::plan::roles(&view.roles).text()));
    insta::assert_snapshot!("the_roles_of_a_fleet_for_programs", json(&view).unwrap());
}

#[test]
fn a_topic_for_people_and_programs() {
    let found = explain::topic(&fleet(), &View::default(), &plan(), &topic("soil"), None, None).unwrap();
    insta::assert_snapshot!(plain(&crate::explain::topic(&found)));
    insta::assert_snapshot!("a_topic_for_programs", json(&found).unwrap());
}

#[test]
fn a_broker_for_people_and_programs() {
    let found = explain::broker(&fleet(), &View::default(), &plan(), &broker("hq"), newest()).unwrap();
    insta::assert_snapshot!(plain(&crate::explain::broker(&found)));
    insta::assert_snapshot!("a_broker_for_programs", json(&found).unwrap());
}

#[test]
fn whose_clients_would_get_each_others_messages_is_listed() {
    let found = explain::broker(&fleet(), &View::default(), &plan(), &broker("hq"), newest()).unwrap();
    let collision = Collision {
        client: "planner".to_owned(),
        filter: "plan/today".to_owned(),
        with: broker("hub"),
        other: "clerk".to_owned(),
        other_filter: "plan/#".to_owned(),
    };
    let mut view = BrokerView {
        found,
        collisions: Vec::new(),
        collision_count: 0,
    };
    assert_eq!(crate::explain::colliding(&view), "");
    view.collisions.push(collision);
    view.collision_count = 3;
    assert_eq!(
        plain(&crate::explain::colliding(&view)),
        "
Collisions
  Once hub serves its clients, they and those of hub get each other's messages here; no Topic declares that.
  CLIENT   FILTER      OTHER CLIENT  ITS FILTER
  planner  plan/today  clerk         plan/#
  and 2 more
"
    );
    let printed: serde_json::Value = serde_json::from_str(&json(&view).unwrap()).unwrap();
    assert_eq!(printed["collisions"][0]["otherFilter"], "plan/#");
    assert_eq!(printed["broker"], "hq");
}

#[test]
fn an_old_broker_that_keeps_nothing_is_warned_of() {
    let mut fleet = fleet();
    let soil = fleet.topics.get_mut("soil").map(Arc::make_mut).unwrap();
    soil.retained = true;
    soil.expected = Some(Expected {
        messages_per_second: 2_000,
        bytes: 4_096,
    });
    let hub = fleet.brokers.get_mut("hub").unwrap();
    if let Hosting::Managed(managed) = &mut hub.hosting {
        managed.durability = Some(Durability::None);
    }
    let software = Software {
        version: Version::OLDEST,
        known: KnownFrom::Running,
        profile: Some(Profile::None),
    };
    let found = explain::broker(&fleet, &View::default(), &plan(), &broker("hub"), software).unwrap();
    let text = plain(&crate::explain::broker(&found));
    insta::assert_snapshot!(text);
    let contract = text.split("If … then").nth(1).unwrap();
    for line in contract.lines().take_while(|line| !line.starts_with("warning")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn nothing_is_promised_of_a_broker_that_skein_does_not_control() {
    let fleet = FleetBuilder::new()
        .external("cloud")
        .routes("cloud-hq")
        .topic("soil", "farm/+/soil", "hq", "cloud")
        .build();
    let view = View::default();
    let plan = skein_planner::plan(&fleet, &view);
    let found = explain::broker(&fleet, &view, &plan, &broker("cloud"), newest()).unwrap();
    assert!(found.durability.is_none() && found.contract.is_empty() && found.known_issues.is_empty());
    let text = plain(&crate::explain::broker(&found));
    assert!(text.contains("what it keeps is up to whoever runs it"), "{text}");
}

#[test]
fn a_route_in_use_and_one_that_is_not() {
    let route = |name: &str| {
        let name = skein_api::name::RouteName::new(name).unwrap();
        explain::route(&fleet(), &View::default(), &plan(), &name).unwrap()
    };
    let (used, unused) = (route("hub-north"), route("twin-hub"));
    let text = crate::explain::route(&used) + "\n" + &crate::explain::route(&unused);
    insta::assert_snapshot!(plain(&text));
    insta::assert_snapshot!("a_route_for_programs", json(&used).unwrap());
}

#[test]
fn a_difference_is_coloured_by_its_sign() {
    let found = diff::diff(&Plan::default(), &plan());
    let text = crate::diff::human(&found);
    assert!(text.contains("\u{1b}[32m+ class soil\u{1b}[0m"), "{text:?}");
    insta::assert_snapshot!(plain(&text));
}

#[test]
fn a_proof_for_people_and_programs() {
    let good = Report {
        walked: 12,
        problems: Vec::new(),
    };
    let bad = Report {
        walked: 12,
        problems: vec![Problem {
            kind: Kind::Loss,
            topic: "farm/1/soil".to_owned(),
            producer: broker("north"),
            broker: broker("hq"),
            trail: brokers("north hub"),
            message: "farm/1/soil from north does not reach hq; it ends at hub".to_owned(),
        }],
    };
    let sound = Plan {
        findings: Vec::new(),
        ..plan()
    };
    let text = |plan: &Plan, report| plain(&crate::check::human(&fleet(), plan, report));
    insta::assert_snapshot!(text(&sound, &good) + "\n" + &text(&plan(), &bad));
    insta::assert_snapshot!(
        "a_proof_for_programs",
        json(&CheckView::new(&sound, &bad)).unwrap()
    );

    assert!(CheckView::new(&sound, &good).ok);
    assert!(!CheckView::new(&sound, &bad).ok);
    assert!(
        !CheckView::new(&plan(), &good).ok,
        "a finding of severity error fails the check too"
    );
}

fn status() -> StatusView {
    let one = |name: &str, phase, served_by: Option<&str>| BrokerStatus {
        name: broker(name),
        phase,
        client_address: Some("127.0.0.1:1883".to_owned()),
        peer_address: Some("127.0.0.1:20001".to_owned()),
        pid: (phase == BrokerPhase::Ready).then_some(4711),
        version: Some("2.1.2".to_owned()),
        heartbeat_ms: (phase == BrokerPhase::Ready).then_some(0.234_567_8),
        served_by: served_by.map(broker),
        epoch_given: Some(3),
        epoch_loaded: Some(2),
        collisions: Vec::new(),
        collision_count: 0,
    };
    let path = |brokers_passed: &str, up| PathStatus {
        topic: topic("soil"),
        producer: broker("north"),
        consumer: broker("hq"),
        path: brokers(brokers_passed),
        up,
        probe_ms: up.then_some(1.25),
    };
    StatusView {
        updated_at: "2026-01-02T03:04:05Z".to_owned(),
        fleet: "/farm".to_owned(),
        pid: Some(99),
        running: Some(true),
        brokers: [
            one("hq", BrokerPhase::Ready, Some("hq")),
            one("hub", BrokerPhase::Suspect, None),
            one("north", BrokerPhase::Down, Some("south")),
        ]
        .iter()
        .map(ShownBroker::from)
        .collect(),
        paths: [path("hq hub south", true), path("", false)]
            .iter()
            .map(PathView::from)
            .collect(),
        migrations: [
            MigrationRecord {
                migration: Migration {
                    to: Some(broker("south")),
                    phase: MigrationPhase::FailedBack,
                    evidence: vec!["3 heartbeats missed".to_owned(), "connection refused".to_owned()],
                    ..Migration::new("north-1".to_owned(), broker("north"))
                },
                times: at("FailedBack", "2026-01-02T02:00:00Z"),
                abandoned: BTreeMap::new(),
            },
            MigrationRecord {
                migration: Migration {
                    to: Some(broker("south")),
                    phase: MigrationPhase::Completed,
                    evidence: vec!["connection refused".to_owned()],
                    ..Migration::new("north-2".to_owned(), broker("north"))
                },
                times: at("Completed", "2026-01-02T03:04:04.5Z"),
                abandoned: BTreeMap::new(),
            },
            drain(),
        ]
        .iter()
        .map(MigrationView::from)
        .collect(),
        drains: vec![Drain {
            broker: broker("hq"),
            to: None,
            abandon: false,
            declared_by: Some("drain-hq".to_owned()),
        }],
        settled: Some(true),
        problems: vec!["broker hub has no configuration".to_owned()],
    }
}

fn at(phase: &str, when: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(phase.to_owned(), when.to_owned())])
}

fn drain() -> MigrationRecord {
    let count = |clients: &[(&str, u64)]| {
        clients
            .iter()
            .map(|(client, n)| ((*client).to_owned(), *n))
            .collect()
    };
    MigrationRecord {
        migration: Migration {
            to: Some(broker("twin")),
            reason: Reason::Drain,
            phase: MigrationPhase::Draining,
            moved: BTreeMap::from([(
                broker("twin"),
                BTreeSet::from(["gate".to_owned(), "pump".to_owned()]),
            )]),
            not_moved: BTreeMap::from([("old".to_owned(), "it has no client id of its own".to_owned())]),
            waiting: count(&[("gate", 1), ("pump", 12)]),
            ..Migration::new("hq-1".to_owned(), broker("hq"))
        },
        times: at("Draining", "2026-01-02T03:03:05Z"),
        abandoned: count(&[("pump", 3)]),
    }
}

#[test]
fn a_drain_ends_with_what_moved_and_what_did_not() {
    let mut record = drain();
    let mut told = String::new();
    for phase in [
        MigrationPhase::Detected,
        MigrationPhase::Seeded,
        MigrationPhase::Draining,
        MigrationPhase::Retargeted,
        MigrationPhase::FailingBack,
        MigrationPhase::FailedBack,
        MigrationPhase::Aborted,
        MigrationPhase::Failed,
    ] {
        record.migration.phase = phase;
        told += &(crate::moving::sentence(&record) + "\n");
    }
    record.migration.phase = MigrationPhase::Completed;
    record.migration.waiting.clear();
    insta::assert_snapshot!(told + "\n" + &crate::drain::told(&record));
}

fn now() -> jiff::Timestamp {
    "2026-01-02T03:04:06Z".parse().unwrap()
}

#[test]
fn a_status_for_people_and_programs() {
    insta::assert_snapshot!(plain(&crate::status::human(&status(), now(), &VOICE)));
    insta::assert_snapshot!("a_status_for_programs", json(&status()).unwrap());
}

#[test]
fn a_broker_without_declared_clients_is_not_said_to_have_some() {
    let mut status = status();
    status.brokers[1].phase = BrokerPhase::Down;
    status.brokers[1].served_by = Some(broker("hq"));
    let text = plain(&crate::status::human(&status, now(), &VOICE));
    assert!(text.contains("  hq, if any  "), "{text}");
    assert!(
        text.contains("\nno clients of hub are declared; any that it has are served by hq\n\nproblem:"),
        "{text}"
    );
    assert!(!text.contains("south, if any"), "{text}");
}

#[test]
fn a_status_that_nobody_updates_says_since_when() {
    for (updated_at, said) in [
        (
            "2026-01-02T03:04:05.987654321Z",
            "0 seconds ago, at 2026-01-02 03:04:05Z",
        ),
        ("2026-01-02T03:04:04.1Z", "1 second ago, at 2026-01-02 03:04:04Z"),
        ("2026-01-02T02:59:00Z", "5 minutes ago, at 2026-01-02 02:59:00Z"),
        ("2026-01-01T04:04:05+01:00", "1 day ago, at 2026-01-01 03:04:05Z"),
        ("2027-01-01T00:00:00Z", "0 seconds ago, at 2027-01-01 00:00:00Z"),
    ] {
        let status = StatusView {
            updated_at: updated_at.to_owned(),
            running: Some(false),
            ..status()
        };
        let text = plain(&crate::status::human(&status, now(), &VOICE));
        let line = format!("skein up is not running; this is how it was {said}\n");
        assert!(text.contains(&line), "{updated_at}: {text}");
    }
}

/// Every field name in a JSON value.
fn fields(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                found.insert(name.clone());
                fields(value, found);
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

#[test]
fn every_field_is_documented() {
    let documentation = include_str!("../OUTPUT.md");
    let view = View::default();
    let route = skein_api::name::RouteName::new("hub-north").unwrap();
    let mut found = std::collections::BTreeSet::new();
    for text in [
        json(&PlanView::from(&plan())),
        json(&CheckView::new(&plan(), &Report::default())),
        json(&status()),
        json(&explain::topic(
            &fleet(),
            &view,
            &plan(),
            &topic("soil"),
            None,
            None,
        )),
        json(&explain::broker(
            &fleet(),
            &view,
            &plan(),
            &broker("hq"),
            newest(),
        )),
        json(&explain::route(&fleet(), &view, &plan(), &route)),
        json(&diff::diff(&Plan::default(), &plan())),
        json(&crate::diff::steps::show::tests::rehearsed()),
        json(&RolesView {
            roles: tables::equivalence(&fleet(), &view),
        }),
    ] {
        fields(&serde_json::from_str(&text.unwrap()).unwrap(), &mut found);
    }
    // Phases, the ids of clients and where they are moved to are keys, not fields.
    for key in [
        "Completed",
        "Draining",
        "FailedBack",
        "gate",
        "pump",
        "old",
        "twin",
    ] {
        found.remove(key);
    }
    let missing: Vec<&String> = found
        .iter()
        .filter(|name| {
            !documentation.contains(&format!("`{name}`")) && !documentation.contains(&format!("`{name}[]`"))
        })
        .collect();
    assert!(
        found.len() > 50 && missing.is_empty(),
        "OUTPUT.md lacks {missing:?}"
    );
}
