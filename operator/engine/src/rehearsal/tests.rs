//! Given a fleet that runs, when it is declared otherwise, then these steps are taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_api::fleet::{Durability, Fleet, FleetBuilder, Hosting};
use skein_api::name::{BrokerName, Qos};
use skein_mosquitto::link::Mode;
use skein_mosquitto::version::Version;
use skein_planner::diff::Change;

use super::{Declaration, Drain, Loading, Rehearsal, Round, Step, rehearse, rehearse_with};
use crate::Settings;
use crate::tests::toy::Toy;

const NEWEST: Version = Version::new(2, 1, 2);

fn settings() -> Settings {
    Settings {
        sqlite_plugin: Some("/usr/lib/mosquitto_persist_sqlite.so".to_owned()),
        ..Settings::default()
    }
}

fn declared(fleet: Fleet) -> Declaration {
    Declaration {
        fleet: Arc::new(fleet),
        drains: BTreeMap::new(),
    }
}

fn steps(old: Fleet, new: Fleet) -> Rehearsal {
    steps_on(NEWEST, old, new)
}

fn steps_on(version: Version, old: Fleet, new: Fleet) -> Rehearsal {
    rehearse(&declared(old), &declared(new), &settings(), &|_| version).unwrap()
}

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

/// i produces and a consumes; the one way is over b, the other over e.
fn ring(cost: u16) -> FleetBuilder {
    FleetBuilder::new()
        .routes(&format!("a-b:{cost} b-i a-e:2 e-i"))
        .topic("soil", "farm/+/soil", "i", "a")
}

/// A step in a few words.
fn brief(step: &Step) -> String {
    match step {
        Step::OpenSession { link, .. } => format!("open {}<{}", link.downstream, link.upstream),
        Step::EndSession { link, .. } => format!("end {}<{}", link.downstream, link.upstream),
        Step::AwaitMarkers { broker, from, .. } => {
            let from: Vec<&str> = from.iter().map(BrokerName::as_str).collect();
            format!("await {broker} from {}", from.join(" "))
        }
        Step::AwaitLink { downstream, upstream } => format!("await {downstream}<{upstream}"),
        Step::GiveConfiguration {
            broker,
            loading,
            links,
            ..
        } => {
            let links = links.iter().map(|change| {
                let sign = match change.change {
                    Change::Added => '+',
                    Change::Removed => '-',
                    Change::Changed => '~',
                };
                format!(" {sign}{}<{}", change.downstream, change.upstream)
            });
            format!("{loading:?} {broker}{}", links.collect::<String>())
        }
        Step::PointAddress { broker, to } => format!("point {broker} to {to}"),
        Step::ReadSessions { broker } => format!("read {broker}"),
        Step::ForgetValues { broker } => format!("forget {broker}"),
        Step::CopyValues { from, to, .. } => format!("copy {from} to {to}"),
        Step::Stop { broker } => format!("stop {broker}"),
        other => format!("{other:?}"),
    }
}

fn briefs(found: &Rehearsal) -> Vec<Vec<String>> {
    let round = |round: &Round| round.steps.iter().map(brief).collect();
    found.rounds.iter().map(round).collect()
}

#[test]
fn a_path_that_moves_is_seeded_then_followed_by_markers_then_switched_then_cleared_up() {
    let found = steps(ring(1).build(), ring(9).build());
    assert_eq!(
        briefs(&found),
        [
            vec!["open a<e", "open e<i"],
            vec!["await a from b i", "await b from i"],
            vec!["Reload a -a<b +a<e", "Reload b -b<i", "Reload e +e<i"],
            vec!["end a<b", "end b<i", "forget b"],
        ]
    );
    assert!(found.settled && found.problems.is_empty() && found.cautions.is_empty());
    assert_eq!((found.summary.rounds, found.summary.reloads), (4, 3));
    assert_eq!(found.summary.sessions_opened, 2);
}

#[test]
fn what_stays_as_it_is_takes_no_step() {
    let found = steps(ring(1).build(), ring(1).build());
    assert_eq!(found.rounds, []);
    // Another route that nobody needs changes no broker.
    let found = steps(ring(1).build(), ring(1).routes("b-e:9").build());
    assert!(found.rounds.is_empty() && found.settled);
}

#[test]
fn the_same_edit_gives_the_same_steps() {
    let rehearsed = || steps(ring(1).build(), ring(9).build());
    assert_eq!(rehearsed(), rehearsed());
}

#[test]
fn a_broker_of_the_old_series_is_restarted_for_what_the_new_one_reloads() {
    let found = steps_on(Version::OLDEST, ring(1).build(), ring(9).build());
    assert_eq!(
        (
            found.summary.configurations,
            found.summary.restarts,
            found.summary.reloads
        ),
        (3, 3, 0)
    );
    let Some(Step::GiveConfiguration { reasons, version, .. }) = found.rounds[2].steps.first() else {
        panic!("no configuration: {:?}", found.rounds[2]);
    };
    assert_eq!(version, "2.0.11");
    assert!(reasons[0].contains("does not reload"), "{reasons:?}");
    assert_eq!(found.cautions, Vec::<String>::new(), "at QoS 1 nothing is lost");

    let twice = |cost| ring(cost).qos("soil", Qos::ExactlyOnce).build();
    let found = steps_on(Version::OLDEST, twice(1), twice(9));
    assert!(
        found.cautions.iter().any(|it| it.contains("half received")),
        "{:?}",
        found.cautions
    );
}

#[test]
fn a_broker_that_is_new_is_started_and_one_that_is_not_declared_any_more_goes_when_nobody_needs_it() {
    let without_b = FleetBuilder::new()
        .routes("a-e:2 e-i")
        .topic("soil", "farm/+/soil", "i", "a");
    let with_f = without_b.clone().routes("a-f f-i");
    let found = steps(ring(1).build(), with_f.build());
    let rounds = briefs(&found);
    assert_eq!(
        rounds[0],
        ["open f<i", "Start f"],
        "where it is to come from collects at once"
    );
    let at = |wanted: &str| {
        rounds
            .iter()
            .position(|round| round.iter().any(|it| it == wanted))
    };
    let (started, opened) = (at("Start f"), at("open a<f"));
    let (gone, stopped) = (at("Reload a -a<b +a<f"), at("stop b"));
    assert!(started < opened && opened < gone && gone < stopped, "{rounds:?}");
    assert!(stopped.is_some() && found.settled);
    assert!(
        found.cautions[0].starts_with("Broker/b: it is stopped"),
        "{:?}",
        found.cautions
    );
}

#[test]
fn a_drain_leads_the_address_elsewhere_and_its_end_leads_it_back() {
    let twins = FleetBuilder::new()
        .routes("a-b b-i b-i2")
        .topic("soil", "farm/+/soil", "i i2", "a");
    let wished = Declaration {
        fleet: Arc::new(twins.clone().build()),
        drains: [(name("i"), Drain::default())].into(),
    };
    let unwished = declared(twins.build());
    let there = rehearse(&unwished, &wished, &settings(), &|_| NEWEST).unwrap();
    let back = rehearse(&wished, &unwished, &settings(), &|_| NEWEST).unwrap();
    let pointed = |found: &Rehearsal| -> Vec<String> {
        let rounds = briefs(found);
        let steps = rounds.into_iter().flatten();
        steps.filter(|step| step.starts_with("point")).collect()
    };
    assert_eq!(pointed(&there), ["point i to i2"]);
    assert_eq!(pointed(&back), ["point i to i"]);
    assert!(briefs(&there)[0].contains(&"read i".to_owned()));
    assert!(there.settled && back.settled);
}

#[test]
fn what_is_not_without_loss_is_said() {
    let both_ways = |cost: u16| {
        FleetBuilder::new()
            .routes(&format!("a-b:{cost} b-i a-e:2 e-i"))
            .topic("soil", "farm/#", "i a", "a i")
            .build()
    };
    let found = steps(both_ways(1), both_ways(9));
    let is_duplex = |change: &skein_planner::diff::LinkChange| change.mode == Mode::Duplex;
    let mut steps_taken = found.rounds.iter().flat_map(|round| &round.steps);
    assert!(
        steps_taken
            .any(|step| matches!(step, Step::GiveConfiguration { links, .. } if links.iter().any(is_duplex)))
    );
    assert!(found.cautions[0].contains("duplex"), "{:?}", found.cautions);

    let kept = |durability| {
        let managed = move |broker: &mut skein_api::fleet::Broker| {
            if let Hosting::Managed(managed) = &mut broker.hosting {
                managed.durability = Some(durability);
            }
        };
        ring(1).with("b", managed).build()
    };
    let found = steps(kept(Durability::None), kept(Durability::Durable));
    assert_eq!(briefs(&found), [["Restart b"]]);
    assert!(
        found.cautions[0].contains("keeps nothing"),
        "{:?}",
        found.cautions
    );
    let found = steps(kept(Durability::Classic), kept(Durability::Durable));
    assert!(found.cautions[0].contains("the old one"), "{:?}", found.cautions);
}

#[test]
fn a_plan_that_the_engine_refuses_changes_no_link_and_is_said_to_be_refused() {
    let old = FleetBuilder::new()
        .routes("a-b b-c")
        .topic("soil", "farm/+/soil", "c", "a");
    let new = old.clone().routes("c-x").build();
    let refused = rehearse_with(
        &declared(old.build()),
        &declared(new.clone()),
        &settings(),
        &|_| NEWEST,
        Box::new(Toy::with_ring("x")),
    )
    .unwrap();
    assert_eq!(briefs(&refused), [["Start x"]], "with nothing to do");
    assert!(!refused.settled);
    assert!(
        refused.problems[0].contains("its proof failed"),
        "{:?}",
        refused.problems
    );

    let never = rehearse_with(
        &declared(new.clone()),
        &declared(new),
        &settings(),
        &|_| NEWEST,
        Box::new(Toy::with_ring("x")),
    );
    assert!(never.unwrap_err().to_string().contains("its proof failed"));
}

#[test]
fn what_nothing_ran_before_is_started_at_once() {
    let found = steps(Fleet::default(), ring(1).build());
    assert!(found.settled);
    let all = |step: &Step| {
        matches!(
            step,
            Step::GiveConfiguration {
                loading: Loading::Start,
                ..
            }
        )
    };
    assert!(found.rounds[0].steps.iter().all(all), "{:?}", found.rounds);
}
