//! Every kind of step, made by hand so that only showing is tested here.

use anstream::adapter::strip_str;
use skein_api::name::{BrokerName, ClassName};
use skein_engine::rehearsal::{LinkId, Loading, Rehearsal, Round, Step, Summary};
use skein_mosquitto::link::Mode;
use skein_planner::diff::{Change, LinkChange};

use super::human;
use crate::output::json;

fn broker(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

fn class(text: &str) -> ClassName {
    ClassName::new(text).unwrap()
}

fn link(downstream: &str, upstream: &str, mode: Mode, class_name: &str) -> LinkId {
    LinkId {
        downstream: broker(downstream),
        upstream: broker(upstream),
        mode,
        class: class(class_name),
    }
}

fn change(change: Change, link: LinkId, gained: &[&str], lost: &[&str]) -> LinkChange {
    let texts = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
    LinkChange {
        change,
        downstream: link.downstream,
        upstream: link.upstream,
        mode: link.mode,
        class: link.class,
        gained: texts(gained),
        lost: texts(lost),
        control: true,
    }
}

fn give(name: &str, loading: Loading, version: &str, reasons: &[&str], links: Vec<LinkChange>) -> Step {
    Step::GiveConfiguration {
        broker: broker(name),
        epoch: 2,
        version: version.to_owned(),
        loading,
        reasons: reasons.iter().map(ToString::to_string).collect(),
        links,
    }
}

fn pull(downstream: &str, upstream: &str) -> LinkId {
    link(downstream, upstream, Mode::Pull, "soil")
}

/// What remains to be done when all has moved.
fn clearing_up() -> Vec<Step> {
    vec![
        Step::AwaitLink {
            downstream: broker("a"),
            upstream: broker("b"),
        },
        Step::EndSession {
            link: pull("hub", "i"),
            discard: true,
        },
        Step::EndSession {
            link: pull("b", "i"),
            discard: false,
        },
        Step::PassOn {
            link: pull("c", "i"),
            to: [broker("b"), broker("hub")].into(),
        },
        Step::CopyValues {
            home: broker("i"),
            from: broker("i"),
            to: broker("i2"),
        },
        Step::ForgetValues { broker: broker("b") },
        Step::EndClientSession {
            broker: broker("i"),
            client_id: "pump".to_owned(),
        },
        Step::Bar {
            broker: broker("hub"),
            downstreams: [].into(),
        },
        Step::Stop { broker: broker("c") },
        Step::Stop { broker: broker("d") },
    ]
}

/// Two classes, one with a duplex link; a drain of `i`; a broker that comes and one that goes.
pub(crate) fn rehearsed() -> Rehearsal {
    let other = |downstream, upstream| link(downstream, upstream, Mode::Pull2, "soil");
    let air = || link("a", "hub", Mode::Duplex, "air");
    let (line, more) = ("farm/+/soil in qos 1", "farm/+/valve in qos 1");
    let rounds = vec![
        vec![
            Step::ReadSessions { broker: broker("i") },
            Step::OpenSession {
                link: pull("hub", "i2"),
                subscriptions: vec!["farm/+/soil qos 1".to_owned()],
            },
            Step::OpenSession {
                link: other("b", "i2"),
                subscriptions: vec!["farm/+/soil qos 1".to_owned()],
            },
            give("new", Loading::Start, "2.1.2", &[], Vec::new()),
        ],
        vec![
            Step::OpenClientSession {
                broker: broker("i2"),
                client_id: "pump".to_owned(),
            },
            Step::AwaitMarkers {
                broker: broker("hub"),
                class: Some(class("soil")),
                from: vec![broker("i"), broker("north")],
            },
            Step::Bar {
                broker: broker("hub"),
                downstreams: [broker("b")].into(),
            },
        ],
        vec![
            give(
                "hub",
                Loading::Reload,
                "2.1.2",
                &["connection i-pull-soil-1 is removed"],
                vec![
                    change(Change::Removed, pull("hub", "i"), &[], &[line]),
                    change(Change::Added, pull("hub", "i2"), &[line], &[]),
                    change(Change::Added, pull("hub", "new"), &[line], &[]),
                ],
            ),
            give(
                "b",
                Loading::Restart,
                "2.0.11",
                &["connection i2-pull-soil-1 is removed, and Mosquitto 2.0.11 does not reload connections"],
                vec![
                    change(Change::Removed, pull("b", "i2"), &[], &[line]),
                    change(Change::Added, other("b", "i2"), &[line, more], &[]),
                ],
            ),
            give(
                "a",
                Loading::Restart,
                "2.1.2",
                &["a reload would destroy what waits for connection hub-duplex-air-1"],
                vec![
                    change(Change::Changed, air(), &["farm/air both qos 1"], &[]),
                    change(Change::Changed, pull("a", "b"), &[], &[]),
                ],
            ),
            give("idle", Loading::Nothing, "2.1.2", &[], Vec::new()),
            Step::PointAddress {
                broker: broker("i"),
                to: broker("i2"),
            },
        ],
        clearing_up(),
    ];
    Rehearsal {
        summary: Summary {
            rounds: rounds.len(),
            configurations: 5,
            starts: 1,
            reloads: 1,
            restarts: 2,
            stops: 2,
            sessions_opened: 2,
            addresses: 1,
        },
        rounds: rounds.into_iter().map(|steps| Round { steps }).collect(),
        cautions: vec!["Broker/a: its link with hub (air) changes and is duplex".to_owned()],
        settled: true,
        problems: Vec::new(),
    }
}

fn plain(text: &str) -> String {
    strip_str(text).to_string()
}

#[test]
fn steps_for_people_and_programs() {
    let text = human(&rehearsed());
    assert!(
        text.contains("\u{1b}[32m+ hub ← i2 (soil), hub ← new (soil)\u{1b}[0m"),
        "{text:?}"
    );
    insta::assert_snapshot!(plain(&text));
    insta::assert_snapshot!("steps_for_programs", json(&rehearsed()).unwrap());
}

#[test]
fn one_class_is_said_once_and_nothing_to_do_is_said() {
    let mut found = rehearsed();
    found.rounds.truncate(2);
    found.cautions.clear();
    let text = plain(&human(&found));
    assert!(text.starts_with("All of class soil.\n"), "{text}");
    assert!(
        text.contains("hub ← i2\n")
            || text.contains("b ← i2, hub ← i2\n")
            || text.contains("hub ← i2, b ← i2\n"),
        "{text}"
    );
    assert!(
        text.contains("nothing acknowledged at QoS 1 or 2 is lost"),
        "{text}"
    );

    found.rounds.clear();
    let text = plain(&human(&found));
    assert_eq!(text, "Nothing to do: brokers run the new fleet as they are.\n");
}

#[test]
fn an_edit_that_the_engine_refuses_is_told_with_its_reason() {
    let refused = Rehearsal {
        rounds: Vec::new(),
        cautions: Vec::new(),
        settled: false,
        problems: vec!["plan: not given to the brokers, as its proof failed".to_owned()],
        ..rehearsed()
    };
    let text = plain(&human(&refused));
    assert_eq!(
        text,
        "Skein does not get there:\n  plan: not given to the brokers, as its proof failed\n"
    );
}
