//! Rounds on small fleets, with one topic and harm counted by the check.

use skein_api::name::Qos;
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Link, Mode};

use super::*;
use crate::strand::links;

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

/// `a<b` pulls the topic `t`, `a<b/u` the topic `u`.
fn strands(texts: &str) -> Arc<Strands> {
    let strand = |text: &str| {
        let (ends, filter) = text.split_once('/').unwrap_or((text, "t"));
        let (downstream, upstream) = ends.split_once('<').unwrap();
        Strand {
            downstream: name(downstream),
            upstream: name(upstream),
            mode: Mode::Pull,
            class: "k".parse().unwrap(),
            control: false,
            filter: TopicFilter::parse(filter).unwrap(),
            direction: Direction::In,
            qos: Qos::AtLeastOnce,
        }
    };
    Arc::new(texts.split_whitespace().map(strand).collect())
}

fn position(alternatives: &[&str], desired: &str) -> Position {
    let alternatives: Vec<_> = alternatives.iter().map(|texts| strands(texts)).collect();
    let newest = alternatives.last().cloned().unwrap_or_default();
    Position {
        subscriptions: Arc::clone(&newest),
        alternatives,
        newest,
        barred: BTreeSet::new(),
        clearing: false,
        held: Strands::new(),
        switching: false,
        desired: strands(desired),
        takes: true,
        unreachable: false,
        leaving: false,
    }
}

fn lost(position: Position) -> Position {
    Position {
        takes: false,
        unreachable: true,
        ..position
    }
}

fn round(positions: Vec<(&str, Position)>) -> (String, Vec<Option<BrokerName>>) {
    let positions: BTreeMap<BrokerName, Position> = positions
        .into_iter()
        .map(|(broker, position)| (name(broker), position))
        .collect();
    let mut filters: BTreeMap<&ClassName, BTreeSet<TopicFilter>> = BTreeMap::new();
    for strand in positions.values().flat_map(|position| position.desired.iter()) {
        filters
            .entry(&strand.class)
            .or_default()
            .insert(strand.filter.clone());
    }
    let mut planned = Overlaps::default();
    for (class, filters) in filters {
        planned.set(class, filters);
    }
    let is_harmful = |links: &[Link]| !skein_check::hazards(links, &BTreeSet::new(), None).is_empty();
    let harm = |strands: &BTreeSet<&'_ Strand>| is_harmful(&links(strands.iter().copied()));
    let next = |is_sound: &dyn Fn(&ClassName) -> bool| {
        next_round(&positions, false, &planned, is_sound, &|strands| {
            harm(strands).then(|| strands.clone())
        })
    };
    let round = next(&|_| false);
    let is_sound = |class: &ClassName| {
        let desired = positions.values().flat_map(|position| position.desired.iter());
        !harm(&desired.filter(|strand| strand.class == *class).collect())
    };
    assert_eq!(round, next(&is_sound), "whichever way it is found");
    let given = round.targets.values().flat_map(Strands::iter);
    let given = given
        .map(|it| format!("{}<{}/{}", it.downstream, it.upstream, it.filter))
        .collect::<Vec<_>>();
    (
        given.join(" "),
        round
            .withheld
            .into_iter()
            .map(|withheld| withheld.blocked_by)
            .collect(),
    )
}

#[test]
fn what_is_harmless_in_any_order_is_given_at_once() {
    let (given, withheld) = round(vec![("a", position(&[], "a<b")), ("b", position(&[], "b<c"))]);
    assert_eq!(given, "a<b/t b<c/t");
    assert_eq!(withheld, []);
}

#[test]
fn one_broker_changes_its_upstream_in_one_round() {
    // Before and after are both trees; that both are never at work together needs no further round.
    let (given, withheld) = round(vec![
        ("a", position(&["a<b"], "a<c")),
        ("b", position(&["b<d"], "b<d")),
        ("c", position(&[], "c<d")),
    ]);
    assert_eq!(given, "a<c/t c<d/t");
    assert_eq!(withheld, []);
}

#[test]
fn a_reversed_edge_takes_two() {
    let (given, withheld) = round(vec![("a", position(&["a<b"], "")), ("b", position(&[], "b<a"))]);
    assert_eq!(given, "");
    assert_eq!(withheld, [None]);
    let (given, _) = round(vec![
        ("a", position(&["a<b", ""], "")),
        ("b", position(&[], "b<a")),
    ]);
    assert_eq!(given, "", "it has not confirmed yet");
    let (given, _) = round(vec![("a", position(&[""], "")), ("b", position(&[], "b<a"))]);
    assert_eq!(given, "b<a/t");
}

#[test]
fn other_topics_do_not_wait_for_one_that_must() {
    let (given, withheld) = round(vec![
        ("a", lost(position(&["a<b"], ""))),
        ("b", position(&[], "b<a b<a/u")),
    ]);
    assert_eq!(given, "b<a/u");
    assert_eq!(withheld, [Some(name("a"))]);
}

#[test]
fn a_broker_is_not_touched_twice_if_once_will_do() {
    let (given, withheld) = round(vec![
        ("a", position(&["a<b"], "")),
        ("b", position(&[], "b<a b<a/u")),
    ]);
    assert_eq!(given, "", "b gets both at once when a has confirmed");
    assert_eq!(withheld.len(), 2);
}

#[test]
fn nothing_is_added_while_frozen() {
    let positions = BTreeMap::from([(name("a"), position(&["a<b"], "a<c"))]);
    let round = next_round(&positions, true, &Overlaps::default(), &|_| false, &|_| None);
    assert_eq!(round.targets[&name("a")], Strands::new());
}

#[test]
fn a_link_that_stays_goes_on_passing_what_it_is_to_forget() {
    let reversed = || position(&[], "b<a/t");
    // By another topic the link stays: what may run passes t until the marker is seen.
    let (given, withheld) = round(vec![("a", position(&["a<b a<b/u"], "a<b/u")), ("b", reversed())]);
    assert_eq!((given.as_str(), withheld), ("a<b/u", vec![None]));
    // What it is to carry beside that must suit it, too.
    let (given, withheld) = round(vec![
        ("a", position(&["a<b"], "a<b/u a<c")),
        ("b", position(&["b<c"], "b<c")),
        ("c", position(&[], "")),
    ]);
    assert_eq!(
        (given.as_str(), withheld),
        ("a<b/u", vec![None]),
        "both of a's links would pass t"
    );
}

#[test]
fn a_link_whose_session_is_being_cleared_waits_for_that() {
    let barred = Position {
        barred: BTreeSet::from([(name("b"), Mode::Pull, "k".parse().unwrap())]),
        ..position(&[], "a<b a<c/u")
    };
    let (given, withheld) = round(vec![("a", barred.clone())]);
    assert_eq!((given.as_str(), withheld), ("a<c/u", vec![None]));
    // If that is soon over, the rest waits with it.
    let clearing = Position {
        clearing: true,
        ..barred
    };
    let (given, withheld) = round(vec![("a", clearing)]);
    assert_eq!((given.as_str(), withheld.len()), ("", 2));
}
