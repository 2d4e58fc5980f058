//! What changes together, and what must have come before an old link may go.

use std::sync::Arc as Shared;

use super::*;

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

/// `a<b` fetches `t` of class `k`, with the probes that go with it.
fn position(newest: &str, desired: &str) -> Position {
    let strands = |texts: &str| {
        let links = texts.split_whitespace().map(|text| text.split_once('<').unwrap());
        let both = links.flat_map(|(downstream, upstream)| {
            [("t", false), ("$skein/probe/k/#", true)].map(|(filter, control)| Strand {
                downstream: name(downstream),
                upstream: name(upstream),
                mode: skein_mosquitto::link::Mode::Pull,
                class: "k".parse().unwrap(),
                control,
                filter: TopicFilter::parse(filter).unwrap(),
                direction: Direction::In,
                qos: Qos::ExactlyOnce,
            })
        });
        Shared::new(both.collect())
    };
    Position {
        newest: strands(newest),
        desired: strands(desired),
        takes: true,
        ..Position::default()
    }
}

fn positions(brokers: &[(&str, &str, &str)]) -> BTreeMap<BrokerName, Position> {
    let all = brokers
        .iter()
        .map(|(broker, newest, desired)| (name(broker), position(newest, desired)));
    all.collect()
}

fn written(link: &LinkId) -> String {
    format!("{}<{}", link.downstream, link.upstream)
}

/// `fresh | old` of each switch.
fn found(brokers: &[(&str, &str, &str)], passing: &[&str]) -> Vec<String> {
    let passing = |link: &LinkId| passing.contains(&written(link).as_str());
    let all = switches(&positions(brokers), &BTreeSet::new(), &|_| false, &passing);
    let list = |links: Vec<&LinkId>| links.into_iter().map(written).collect::<Vec<_>>().join(" ");
    all.iter()
        .map(|it| {
            let (fresh, old) = (it.fresh.keys().collect(), it.old.keys().collect());
            format!("{} | {}", list(fresh), list(old))
        })
        .collect()
}

#[test]
fn a_path_that_moves_is_a_switch() {
    let brokers = [("a", "a<b", "a<c"), ("b", "b<i", ""), ("c", "", "c<i")];
    assert_eq!(found(&brokers, &[]), ["a<c c<i | a<b b<i"]);
}

#[test]
fn what_only_ends_is_none_unless_it_still_passes_what_came_before() {
    let brokers = [("a", "a<b", ""), ("c", "c<i", "c<i")];
    assert_eq!(found(&brokers, &[]), Vec::<String>::new());
    assert_eq!(found(&brokers, &["a<b"]), [" | a<b"]);
}

/// `origin@broker` of each marker that the link `a<b` waits for.
fn markers(ways: &Ways, down: &[&str]) -> Vec<String> {
    let link = position("a<b", "").newest.iter().next().unwrap().link();
    let found = ways.markers(&link, 7, &|broker| !down.contains(&broker.as_str()));
    let each = found
        .iter()
        .map(|marker| format!("{}@{}", marker.origin, marker.broker));
    each.collect()
}

#[test]
fn a_link_waits_for_what_every_broker_upstream_sent_whatever_has_gone_since() {
    let class = BTreeSet::from(["k".parse().unwrap()]);
    let before = positions(&[("a", "a<b", ""), ("b", "b<i b<j", "")]);
    let ways = Ways::of(&before, &class);
    assert_eq!(markers(&ways, &[]), ["b@a", "i@a", "j@a"]);
    // Nothing comes from the dead, nor through them.
    assert_eq!(markers(&ways, &["j"]), ["b@a", "i@a"]);
    assert_eq!(markers(&ways, &["b"]), Vec::<String>::new());
    // Those of a later time know nothing of a link that has gone, and with it of what it brought.
    let after = positions(&[("a", "a<b", ""), ("b", "b<j", "")]);
    assert_eq!(markers(&Ways::of(&after, &class), &[]), ["b@a", "j@a"]);
}

#[test]
fn a_line_that_was_changed_since_is_another() {
    let class = BTreeSet::from(["k".parse().unwrap()]);
    let before = positions(&[("a", "a<b", "")]);
    let ways = Ways::of(&before, &class);
    let mut lines = before[&name("a")].newest.iter().filter(|strand| !strand.control);
    let line = lines.next().unwrap();
    assert!(ways.carried(line) && ways.knows(&line.link()));
    let changed = Strand {
        qos: Qos::AtLeastOnce,
        ..line.clone()
    };
    assert!(!ways.carried(&changed) && ways.knows(&changed.link()));
}
