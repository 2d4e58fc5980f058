//! The check against a simulation that sends every copy of every message by itself, over random links.

#![allow(
    clippy::unwrap_used,
    clippy::similar_names,
    clippy::needless_for_each,
    reason = "a test, and it may fail"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{link, name, names};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use skein_api::name::{BrokerName, ClassName, Qos};
use skein_check::{Flow, Kind, Problem, check, hazards};
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Line, Link, Mode};

const BROKERS: [&str; 4] = ["a", "b", "c", "d"];
const CLASSES: [&str; 2] = ["one", "two"];

/// What became of one message.
#[derive(Default)]
struct Outcome {
    loops: bool,
    copies: BTreeMap<BrokerName, u32>,
    /// The best quality that arrived.
    qos: BTreeMap<BrokerName, Qos>,
    /// The brokers that each copy passed.
    trails: Vec<Vec<BrokerName>>,
}

/// A copy at a broker: how it came, and by which link.
struct Copy {
    trail: Vec<BrokerName>,
    by: Option<usize>,
    qos: Qos,
}

/// Sends a message as the brokers would, copy by copy, and stops a copy where it was before.
fn simulate(
    links: &[Link],
    deduplicating: &BTreeSet<BrokerName>,
    topic: &str,
    entry: &BrokerName,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut under_way = vec![Copy {
        trail: vec![entry.clone()],
        by: None,
        qos: Qos::ExactlyOnce,
    }];
    while let Some(copy) = under_way.pop() {
        let here = copy.trail.last().unwrap().clone();
        *outcome.copies.entry(here.clone()).or_default() += 1;
        let best = outcome.qos.entry(here.clone()).or_insert(copy.qos);
        *best = copy.qos.max(*best);
        outcome.trails.push(copy.trail.clone());
        if copy.trail[..copy.trail.len() - 1].contains(&here) {
            outcome.loops = true;
            continue;
        }
        for (number, link) in links
            .iter()
            .enumerate()
            .filter(|(number, _)| copy.by != Some(*number))
        {
            let sends = [
                (&link.upstream, &link.downstream, Direction::In),
                (&link.downstream, &link.upstream, Direction::Out),
            ];
            for (from, to, direction) in sends {
                if *from != here {
                    continue;
                }
                let carries = |line: &&Line| {
                    (line.direction == direction || line.direction == Direction::Both)
                        && line.filter.matches(topic)
                };
                let mut lines: BTreeMap<&str, Qos> = BTreeMap::new();
                for line in link.lines.iter().filter(carries) {
                    let qos = lines.entry(line.filter.as_str()).or_insert(line.qos);
                    *qos = line.qos.min(*qos);
                }
                let mut levels: Vec<Qos> = lines.into_values().collect();
                levels.sort_unstable();
                if deduplicating.contains(from) {
                    levels.truncate(1);
                }
                for qos in levels {
                    let mut trail = copy.trail.clone();
                    trail.push(to.clone());
                    under_way.push(Copy {
                        trail,
                        by: Some(number),
                        qos: copy.qos.min(qos),
                    });
                }
            }
        }
    }
    outcome
}

/// Every topic that can tell apart filters of up to three levels from `x` and `y`.
fn topics() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut longest = vec![String::new()];
    for _ in 0..4 {
        longest = longest
            .iter()
            .flat_map(|stem| ["x", "y", "other"].map(|level| format!("{stem}/{level}")))
            .collect();
        all.extend(longest.iter().map(|topic| topic[1..].to_owned()));
    }
    all
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![3 => Just("x"), 2 => Just("y"), 3 => Just("+")];
    (vec(level, 0..=3), prop::bool::weighted(0.4)).prop_map(|(mut levels, hash)| {
        if hash || levels.is_empty() {
            levels.push("#");
        }
        TopicFilter::parse(&levels.join("/")).unwrap()
    })
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![1 => Just(Qos::AtMostOnce), 3 => Just(Qos::AtLeastOnce)]
}

fn broker() -> impl Strategy<Value = BrokerName> {
    (0..BROKERS.len()).prop_map(|number| name(BROKERS[number]))
}

fn brokers(size: std::ops::Range<usize>) -> impl Strategy<Value = BTreeSet<BrokerName>> {
    btree_set(broker(), size)
}

/// Links between different brokers, at most one of each mode for a pair.
fn links(most: usize) -> impl Strategy<Value = Vec<Link>> {
    let direction =
        prop_oneof![2 => Just(Direction::In), 1 => Just(Direction::Out), 2 => Just(Direction::Both)];
    let line = (filter(), direction, qos()).prop_map(|(filter, direction, qos)| Line {
        filter,
        direction,
        qos,
    });
    let identity = (
        0..BROKERS.len(),
        1..BROKERS.len(),
        prop::bool::weighted(0.7),
        0..CLASSES.len(),
    );
    btree_map(identity, vec(line, 1..=3), 1..=most).prop_map(|links| {
        let link =
            |((downstream, step, pull, class), mut lines): ((usize, usize, bool, usize), Vec<Line>)| {
                if pull {
                    lines.iter_mut().for_each(|line| line.direction = Direction::In);
                }
                Link {
                    downstream: name(BROKERS[downstream]),
                    upstream: name(BROKERS[(downstream + step) % BROKERS.len()]),
                    mode: if pull { Mode::Pull } else { Mode::Duplex },
                    lines: lines.into(),
                    control: [].into(),
                    class: ClassName::new(CLASSES[class]).unwrap(),
                }
            };
        links.into_iter().map(link).collect()
    })
}

fn flows() -> impl Strategy<Value = Vec<Flow>> {
    let flow = (filter(), qos(), brokers(1..3), brokers(1..3));
    vec(flow, 1..4).prop_map(|flows| {
        let flow = |(number, (filter, qos, producers, consumers))| Flow {
            topic: format!("t{number}").parse().unwrap(),
            filter,
            qos,
            command: false,
            producers,
            consumers,
        };
        flows.into_iter().enumerate().map(flow).collect()
    })
}

/// Whether a problem of hazards is as it says.
fn is_true(problem: &Problem, links: &[Link], deduplicating: &BTreeSet<BrokerName>) -> bool {
    let outcome = simulate(links, deduplicating, &problem.topic, &problem.producer);
    let (last, before) = problem.trail.split_last().unwrap();
    outcome.trails.contains(&problem.trail)
        && *last == problem.broker
        && match problem.kind {
            Kind::Loop => outcome.loops && before.contains(last),
            Kind::Duplicate => !outcome.loops && outcome.copies[last] > 1,
            _ => false,
        }
}

/// The flow that a problem names, by number.
fn flow_of(problem: &Problem) -> usize {
    let subject = problem.message.split(':').next().unwrap();
    subject.strip_prefix("topic/t").unwrap().parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hazards_are_just_those_that_a_simulation_of_every_message_meets(
        links in links(6), deduplicating in brokers(0..5)
    ) {
        let outcomes = |entry: &BrokerName| -> Vec<(bool, bool)> {
            topics()
                .iter()
                .map(|topic| simulate(&links, &deduplicating, topic, entry))
                .map(|outcome| (outcome.loops, outcome.copies.values().any(|copies| *copies > 1)))
                .collect()
        };
        let mut anywhere = Vec::new();
        for entry in BROKERS.map(name) {
            let met = outcomes(&entry);
            let found = hazards(&links, &deduplicating, Some(&BTreeSet::from([entry.clone()])));
            prop_assert_eq!(
                met.iter().any(|(loops, _)| *loops), found.iter().any(|problem| problem.kind == Kind::Loop),
                "loops from {}: {:?}", entry, found);
            prop_assert_eq!(met.iter().any(|(_, copies)| *copies), !found.is_empty(), "copies from {}", entry);
            for problem in &found {
                prop_assert!(is_true(problem, &links, &deduplicating), "{:?}", problem);
            }
            anywhere.extend(met);
        }
        let found = hazards(&links, &deduplicating, None);
        prop_assert_eq!(
            anywhere.iter().any(|(loops, _)| *loops), found.iter().any(|problem| problem.kind == Kind::Loop));
        prop_assert_eq!(anywhere.iter().any(|(_, copies)| *copies), !found.is_empty());
        for problem in &found {
            prop_assert!(is_true(problem, &links, &deduplicating), "{:?}", problem);
        }
    }

    #[test]
    fn losses_and_lowered_quality_are_just_those_of_a_simulation(
        links in links(4), flows in flows(), deduplicating in brokers(0..5)
    ) {
        let report = check(&flows, &links, &deduplicating);
        let hazardous = report.problems.iter().any(|problem| matches!(problem.kind, Kind::Loop | Kind::Duplicate));
        prop_assert_eq!(hazardous, !hazards(&links, &deduplicating, None).is_empty());
        let mut lost = BTreeSet::new();
        let mut lowered = BTreeSet::new();
        for (number, flow) in flows.iter().enumerate() {
            for topic in topics().iter().filter(|topic| flow.filter.matches(topic)) {
                for producer in &flow.producers {
                    let outcome = simulate(&links, &deduplicating, topic, producer);
                    for consumer in &flow.consumers {
                        match outcome.qos.get(consumer) {
                            None => { lost.insert((number, producer.clone(), consumer.clone())); }
                            Some(qos) if *qos < flow.qos => { lowered.insert((number, consumer.clone())); }
                            Some(_) => {}
                        }
                    }
                }
            }
        }
        let of = |kind: Kind| report.problems.iter().filter(move |problem| problem.kind == kind);
        let found: BTreeSet<_> = of(Kind::Loss)
            .map(|problem| (flow_of(problem), problem.producer.clone(), problem.broker.clone()))
            .collect();
        prop_assert_eq!(&found, &lost);
        for problem in of(Kind::Loss) {
            let outcome = simulate(&links, &deduplicating, &problem.topic, &problem.producer);
            prop_assert!(flows[flow_of(problem)].filter.matches(&problem.topic));
            prop_assert!(!outcome.copies.contains_key(&problem.broker));
            prop_assert!(outcome.trails.contains(&problem.trail));
        }
        if !hazardous {
            let found: BTreeSet<_> =
                of(Kind::QosLowered).map(|problem| (flow_of(problem), problem.broker.clone())).collect();
            // Of a flow that loses messages the ones that do arrive are not looked at further.
            prop_assert!(found.is_subset(&lowered), "{:?} and {:?}", found, lowered);
            lowered.retain(|(number, consumer)| !lost.iter().any(|(flow, _, to)| flow == number && to == consumer));
            prop_assert!(lowered.is_subset(&found), "{:?} and {:?}", found, lowered);
        }
        for problem in of(Kind::Needless) {
            let outcome = simulate(&links, &deduplicating, &problem.topic, &problem.producer);
            let consumed = |broker: &BrokerName| {
                flows.iter().any(|flow| flow.filter.matches(&problem.topic) && flow.consumers.contains(broker))
            };
            prop_assert!(outcome.trails.contains(&problem.trail));
            prop_assert!(
                outcome.trails.iter()
                    .filter(|trail| trail.starts_with(&problem.trail))
                    .all(|trail| !trail[problem.trail.len() - 1..].iter().any(consumed)),
                "{:?}", problem);
        }
    }

    #[test]
    fn the_order_of_links_and_lines_changes_nothing(links in links(5), flows in flows()) {
        let mut others: Vec<Link> = links.iter().rev().cloned().collect();
        for link in &mut others {
            link.lines = link.lines.iter().rev().cloned().collect();
        }
        let deduplicating = names("a b");
        let sound = |links: &[Link]| -> Vec<(Kind, BrokerName)> {
            let report = check(&flows, links, &deduplicating);
            report.problems.iter().filter(|problem| problem.kind == Kind::Loss)
                .map(|problem| (problem.kind, problem.broker.clone()))
                .collect()
        };
        prop_assert_eq!(sound(&links), sound(&others));
        prop_assert_eq!(hazards(&links, &deduplicating, None).is_empty(), hazards(&others, &deduplicating, None).is_empty());
    }
}

#[test]
fn the_simulation_itself_sees_what_was_measured_on_brokers() {
    let everyone = names("a b");
    let echo = simulate(
        &[link("a<b", "x in 1"), link("b<a", "x in 1")],
        &everyone,
        "x",
        &name("a"),
    );
    assert!(echo.loops);
    let duplex = simulate(&[link("a<b", "x both 1")], &everyone, "x", &name("a"));
    assert!(!duplex.loops && duplex.copies.values().all(|copies| *copies == 1));
    let overlapping = link("a<b", "t/# in 1,t/a in 1,t/+ in 1");
    assert_eq!(
        simulate(std::slice::from_ref(&overlapping), &names("a"), "t/a", &name("b")).copies[&name("a")],
        3
    );
    assert_eq!(
        simulate(&[overlapping], &everyone, "t/a", &name("b")).copies[&name("a")],
        1
    );
}
