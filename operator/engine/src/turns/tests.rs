//! Links that stay and are to fetch more.

use skein_api::name::Qos;

use super::*;

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

/// `a<b/t` is a pull link with its first session, `a<<b/t` one with its second, `a=b/t` one both ways.
fn strands(texts: &str) -> Arc<crate::strands::Strands> {
    let strand = |text: &str| {
        let (ends, filter) = text.split_once('/').unwrap();
        let (mode, between, direction) = if ends.contains("<<") {
            (Mode::Pull2, "<<", Direction::In)
        } else if ends.contains('=') {
            (Mode::Duplex, "=", Direction::Both)
        } else {
            (Mode::Pull, "<", Direction::In)
        };
        let (downstream, upstream) = ends.split_once(between).unwrap();
        Strand {
            downstream: name(downstream),
            upstream: name(upstream),
            mode,
            class: "k".parse().unwrap(),
            control: false,
            filter: TopicFilter::parse(filter).unwrap(),
            direction,
            qos: Qos::AtLeastOnce,
        }
    };
    Arc::new(texts.split_whitespace().map(strand).collect())
}

fn written(strands: &crate::strands::Strands) -> String {
    let words = strands.iter().map(|strand| {
        let between = match strand.mode {
            Mode::Pull => "<",
            Mode::Pull2 => "<<",
            Mode::Duplex => "=",
        };
        format!(
            "{}{between}{}/{}",
            strand.downstream, strand.upstream, strand.filter
        )
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What each broker has, and what it should have by the plan: what it is to have by turns.
fn applied(turns: &mut Turns, clients_move: bool, brokers: &[(&str, &str, &str)]) -> String {
    let mut positions: BTreeMap<BrokerName, Position> = brokers
        .iter()
        .map(|(broker, newest, desired)| {
            let position = Position {
                newest: strands(newest),
                desired: strands(desired),
                ..Position::default()
            };
            (name(broker), position)
        })
        .collect();
    turns.apply(&mut positions, clients_move);
    let desired = positions.values().map(|position| written(&position.desired));
    desired.collect::<Vec<_>>().join("; ")
}

#[test]
fn a_link_that_takes_over_from_another_turns() {
    let brokers = [
        ("b", "b<d/farm/#", "b<c/farm/#"),
        ("c", "c<d/farm/+/soil", "c<d/farm/#"),
    ];
    let desired = applied(&mut Turns::default(), false, &brokers);
    assert_eq!(desired, "b<c/farm/#; c<<d/farm/#");
}

#[test]
fn a_turn_is_kept_up_when_the_others_are_done_and_back_to_the_first_session() {
    let mut turns = Turns::default();
    let brokers = [("b", "b<d/x", "b<c/x"), ("c", "c<<d/y", "c<d/x c<d/y")];
    assert_eq!(applied(&mut turns, false, &brokers), "b<c/x; c<d/x c<d/y");
    // The other link is gone, then its own.
    let brokers = [("b", "b<c/x", "b<c/x"), ("c", "c<<d/y", "c<d/x c<d/y")];
    assert_eq!(applied(&mut turns, false, &brokers), "b<c/x; c<d/x c<d/y");
    let brokers = [("b", "b<c/x", "b<c/x"), ("c", "", "c<d/x c<d/y")];
    assert_eq!(applied(&mut turns, false, &brokers), "b<c/x; c<d/x c<d/y");
    // There it is; the next gain turns it on.
    let brokers = [
        ("b", "b<c/x b<d/z", "b<c/x b<c/z"),
        ("c", "c<d/x c<d/y", "c<d/x c<d/y c<d/z"),
    ];
    let desired = applied(&mut turns, false, &brokers);
    assert_eq!(desired, "b<<c/x b<<c/z; c<<d/x c<<d/y c<<d/z");
}

#[test]
fn one_that_has_let_go_of_its_first_session_goes_on_to_the_second() {
    let mut turns = Turns::default();
    let brokers = [("b", "b<d/x", "b<c/x"), ("c", "c<d/y", "c<d/x c<d/y")];
    assert_eq!(applied(&mut turns, false, &brokers), "b<c/x; c<<d/x c<<d/y");
    let brokers = [("b", "b<c/x", "b<c/x"), ("c", "", "c<d/x c<d/y")];
    assert_eq!(applied(&mut turns, false, &brokers), "b<c/x; c<<d/x c<<d/y");
    let brokers = [("b", "b<c/x", "b<c/x"), ("c", "c<<d/x c<<d/y", "c<d/x c<d/y")];
    assert_eq!(applied(&mut turns, false, &brokers), "b<c/x; c<<d/x c<<d/y");
}

#[test]
fn an_aim_that_is_given_up_is_no_turn() {
    let mut turns = Turns::default();
    let brokers = [("b", "b<d/x", "b<c/x"), ("c", "c<d/y", "c<d/x c<d/y")];
    assert_eq!(applied(&mut turns, false, &brokers), "b<c/x; c<<d/x c<<d/y");
    let brokers = [("b", "b<d/x", "b<d/x"), ("c", "c<d/y", "c<d/y")];
    assert_eq!(applied(&mut turns, false, &brokers), "b<d/x; c<d/y");
}

#[test]
fn what_nobody_else_fetched_is_fetched_by_the_same_session() {
    let same = |brokers: &[(&str, &str, &str)], desired: &str| {
        assert_eq!(applied(&mut Turns::default(), false, brokers), desired);
    };
    same(&[("c", "c<d/y", "c<d/x c<d/y")], "c<d/x c<d/y");
    same(
        &[("b", "b<d/z", ""), ("c", "c<d/y", "c<d/x c<d/y")],
        "; c<d/x c<d/y",
    );
    same(&[("c", "c<<d/y", "c<d/x c<d/y")], "c<<d/x c<<d/y");
    // It has it already, as part of more; or it takes over from itself.
    same(&[("b", "b<d/f/1", ""), ("c", "c<d/f/#", "c<d/f/1")], "; c<d/f/1");
    same(&[("c", "c<d/f/1", "c<d/f/#")], "c<d/f/#");
    // What both ends send cannot gather beforehand.
    same(
        &[("b", "b<d/x", ""), ("c", "c=d/y", "c=d/x c=d/y")],
        "; c=d/x c=d/y",
    );
}

#[test]
fn what_clients_will_bring_gathers_before_they_come() {
    let brokers = [("c", "c<d/y", "c<d/x c<d/y")];
    assert_eq!(applied(&mut Turns::default(), true, &brokers), "c<<d/x c<<d/y");
}
