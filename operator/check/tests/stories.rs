//! What the check says of links that people got wrong, and of some that are right.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{flow, line, link, name, names};
use skein_api::fleet::FleetBuilder;
use skein_api::name::{BrokerName, Qos};
use skein_check::{Flow, Kind, Problem, Severity, check, deduplicating, flows, hazards};
use skein_mosquitto::link::Link;

/// Every broker removes duplicates, as those do that Skein controls.
fn all() -> BTreeSet<BrokerName> {
    names("a b c d e p u")
}

fn problems(flows: &[Flow], links: &[Link]) -> Vec<Problem> {
    check(flows, links, &all()).problems
}

fn kinds(problems: &[Problem]) -> Vec<Kind> {
    problems.iter().map(|problem| problem.kind).collect()
}

fn trail(problem: &Problem) -> String {
    problem
        .trail
        .iter()
        .map(BrokerName::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_chain_of_pulls_carries_its_flow_exactly_once() {
    let links = [link("a<b", "farm/+/soil in 1"), link("b<c", "farm/+/soil in 1")];
    let report = check(&[flow("soil", "farm/+/soil", "c", "a")], &links, &all());
    assert_eq!(report.problems, []);
    assert!(report.is_sound());
    assert_eq!(report.walked, 1);
}

#[test]
fn two_opposite_pulls_echo_for_ever() {
    let links = [link("a<b", "x/# in 1"), link("b<a", "x/y in 1")];
    let found = hazards(&links, &all(), None);
    assert_eq!(kinds(&found), [Kind::Loop]);
    assert_eq!(found[0].topic, "x/y");
    assert_eq!(trail(&found[0]), "a b a");
    assert_eq!(
        found[0].message,
        "a message on `x/y` published at a goes round for ever, a → b → a: the pull link b ← a (line `x/y`); the pull \
         link a ← b (line `x/#`). Remove one of these lines; a pair of brokers that needs both directions takes one \
         duplex link"
    );
    // Filters that no topic matches both of are no danger: a topic and its commands on a pair of pulls.
    assert_eq!(
        hazards(
            &[link("a<b", "x/+/state in 1"), link("b<a", "x/+/set in 1")],
            &all(),
            None
        ),
        []
    );
}

#[test]
fn an_echo_of_probes_is_just_as_endless() {
    let mut one = link("a<b", "x in 1");
    let mut other = link("b<a", "y in 1");
    one.control = [line("$skein/probe/x/# in 1")].into();
    other.control = [line("$skein/probe/x/# in 1")].into();
    let found = hazards(&[one.clone(), other.clone()], &all(), None);
    assert_eq!(kinds(&found), [Kind::Loop]);
    assert_eq!(found[0].topic, "$skein/probe/x/any");
    // With a line for each producer they are apart.
    one.control = [line("$skein/probe/x/b in 1")].into();
    other.control = [line("$skein/probe/x/a in 1")].into();
    assert_eq!(hazards(&[one, other], &all(), None), []);
}

#[test]
fn a_ring_of_three_links_is_found_although_no_two_of_its_filters_tell() {
    // Only `1/2/3` matches all three lines.
    let links = [
        link("a<b", "1/+/+ in 1"),
        link("b<c", "+/2/+ in 1"),
        link("c<a", "+/+/3 in 1"),
    ];
    let found = hazards(&links, &all(), None);
    assert_eq!(kinds(&found), [Kind::Loop]);
    assert_eq!(found[0].topic, "1/2/3");
    assert_eq!(
        hazards(
            &[
                link("a<b", "1/+/+ in 1"),
                link("b<c", "+/2/+ in 1"),
                link("c<a", "2/+/3 in 1")
            ],
            &all(),
            None
        ),
        []
    );
}

#[test]
fn overlapping_lines_give_a_copy_each_unless_the_sender_removes_duplicates() {
    let links = [link("a<u", "t/# in 1,t/+ in 1,t/a in 1")];
    assert_eq!(hazards(&links, &names("a u"), None), []);
    let found = hazards(&links, &names("a"), None);
    assert_eq!(kinds(&found), [Kind::Duplicate]);
    assert_eq!((found[0].broker.as_str(), found[0].topic.as_str()), ("a", "t/a"));
    assert_eq!(
        found[0].message,
        "a gets a message on `t/a` published at u 3 times: the pull link a ← u (lines `t/#`, `t/+`, `t/a`). Keep one \
         line that covers them, or let the sending broker remove duplicates"
    );
    // Of lines that go out it is the downstream broker that sends.
    let links = [link("a<u", "t/# out 1,t/+ out 1")];
    assert_eq!(hazards(&links, &names("a"), None), []);
    assert_eq!(kinds(&hazards(&links, &names("u"), None)), [Kind::Duplicate]);
}

#[test]
fn lines_that_cross_only_meet_in_their_intersection() {
    let links = [link("a<u", "t/+/c in 1,t/b/# in 1")];
    let found = hazards(&links, &BTreeSet::new(), None);
    assert_eq!(kinds(&found), [Kind::Duplicate]);
    assert_eq!(found[0].topic, "t/b/c");
}

#[test]
fn a_diamond_of_pulls_delivers_twice() {
    let links = [
        link("b<p", "x/# in 1"),
        link("c<p", "x/1 in 1"),
        link("d<b", "x/+ in 1"),
        link("d<c", "x/# in 1"),
    ];
    let found = problems(&[flow("x", "x/1", "p", "d")], &links);
    assert_eq!(kinds(&found), [Kind::Duplicate]);
    assert_eq!(found[0].broker, name("d"));
    assert_eq!(found[0].producer, name("p"));
    assert!(["p b d", "p c d"].contains(&trail(&found[0]).as_str()));
    assert!(
        found[0]
            .message
            .starts_with("d gets a message on `x/1` published at p 2 times: "),
        "{}",
        found[0].message
    );
    // No declared message takes both ways when the two sides carry different ones.
    let links = [
        link("b<p", "x/2 in 1"),
        link("c<p", "x/1 in 1"),
        link("d<b", "x/+ in 1"),
        link("d<c", "x/1 in 1"),
    ];
    assert_eq!(
        problems(&[flow("x", "x/1", "p", "d"), flow("y", "x/2", "p", "d")], &links),
        []
    );
}

#[test]
fn a_broker_that_got_copies_does_not_blame_those_behind_it() {
    let links = [
        link("b<p", "x in 1"),
        link("c<p", "x in 1"),
        link("d<b", "x in 1"),
        link("d<c", "x in 1"),
        link("e<d", "x in 1"),
    ];
    let found = hazards(&links, &all(), None);
    assert_eq!(
        found
            .iter()
            .map(|problem| problem.broker.as_str())
            .collect::<Vec<_>>(),
        ["d"]
    );
}

#[test]
fn duplex_links_on_a_tree_deliver_exactly_once_from_everywhere() {
    let everyone = "a b c d";
    let links = [
        link("a<b", "x/# both 1"),
        link("c<b", "x/# both 1"),
        link("d<c", "x/# both 1"),
    ];
    assert_eq!(problems(&[flow("x", "x/#", everyone, everyone)], &links), []);
    // One more link closes a ring, and everything goes round.
    let ring = [&links[..], &[link("d<a", "x/# both 1")]].concat();
    assert!(kinds(&problems(&[flow("x", "x/#", everyone, everyone)], &ring)).contains(&Kind::Loop));
}

#[test]
fn a_pull_beside_a_duplex_link_of_one_pair_is_a_ring_of_two() {
    let links = [link("a<b", "x both 1"), link("a<b", "x in 1")];
    assert_eq!(kinds(&hazards(&links, &all(), None)), [Kind::Loop]);
    // Without a way back it is only a second copy.
    let links = [link("a<b", "x in 1,y out 1"), link("a<b", "x in 1")];
    assert_eq!(kinds(&hazards(&links, &all(), None)), [Kind::Duplicate]);
}

#[test]
fn commands_go_out_while_data_comes_in() {
    let fleet = FleetBuilder::new()
        .topic("t", "t/#", "u", "a")
        .commands("t", "t/+/cmd")
        .build();
    let flows = flows(&fleet, &BTreeSet::new(), &BTreeMap::new());
    let links = [link("a<u", "t/# in 1,t/+/cmd out 1")];
    assert_eq!(problems(&flows, &links), []);
    // On links of their own the command would come back as data, and go again.
    let links = [link("a<u", "t/# in 1"), link("u<a", "t/+/cmd in 1")];
    let found = problems(&flows, &links);
    assert_eq!(kinds(&found), [Kind::Loop]);
    assert_eq!(
        (found[0].producer.as_str(), found[0].topic.as_str()),
        ("a", "t/any/cmd")
    );
}

#[test]
fn a_missing_hop_is_a_loss_that_says_how_far_it_gets() {
    let links = [
        link("a<b", "other in 1"),
        link("b<c", "soil in 1"),
        link("c<p", "soil in 1"),
    ];
    let found = problems(&[flow("soil", "soil", "p", "a")], &links);
    assert_eq!(kinds(&found), [Kind::Loss, Kind::Needless]);
    assert_eq!(trail(&found[0]), "p c b");
    assert_eq!(
        found[0].message,
        "topic/soil: a message on `soil` published at p does not reach its consumer a: it gets as far as b, and the \
         pull link a ← b has no line for it. Add what is missing"
    );
    let found = problems(&[flow("soil", "soil", "p", "a")], &links[1..]);
    assert_eq!(
        found[0].message,
        "topic/soil: a message on `soil` published at p does not reach its consumer a: no links lead from where it \
         gets to there. Add what is missing"
    );
}

#[test]
fn a_narrow_line_loses_some_messages_of_a_wide_flow() {
    // `#` includes its parent, which `+` does not.
    let lost = |lines: &str| problems(&[flow("x", "x/#", "p", "a")], &[link("a<p", lines)]);
    assert_eq!(lost("x/# in 1"), []);
    assert_eq!(lost("x in 1,x/+ in 1,x/+/+/# in 1"), []);
    assert_eq!(lost("x/+/# in 1")[0].topic, "x");
    assert_eq!(lost("x in 1,x/+ in 1,x/+/+ in 1")[0].topic, "x/any/any/any");
    assert_eq!(kinds(&lost("x/any in 1")), [Kind::Loss]);
}

#[test]
fn a_broker_that_produces_and_consumes_needs_no_link() {
    assert_eq!(problems(&[flow("x", "x", "a", "a")], &[]), []);
    let found = problems(&[flow("x", "x", "a b", "a b")], &[link("a<b", "x in 1")]);
    assert_eq!(
        found
            .iter()
            .map(|problem| problem.broker.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(kinds(&found), [Kind::Loss]);
}

#[test]
fn a_hop_that_serves_nobody_is_needless_and_shown_where_it_goes_astray() {
    let links = [
        link("a<b", "x in 1"),
        link("b<p", "x in 1"),
        link("c<b", "x in 1"),
        link("d<c", "x in 1"),
    ];
    let found = problems(&[flow("x", "x", "p", "a")], &links);
    assert_eq!(kinds(&found), [Kind::Needless]);
    assert_eq!(
        (found[0].broker.as_str(), found[0].severity()),
        ("c", Severity::Warning)
    );
    assert_eq!(
        found[0].message,
        "a message on `x` published at p is carried to c, where and beyond which nobody consumes it, over the pull \
         link c ← b (line `x`). Narrow that line or remove it"
    );
    // An archive takes what it subscribed, also from those that it was not declared for.
    let flows = [flow("x", "x/1", "p", "a"), flow("archive", "x/#", "b", "c")];
    let links = [
        link("a<b", "x/1 in 1"),
        link("b<p", "x/1 in 1"),
        link("c<b", "x/# in 1"),
    ];
    assert_eq!(problems(&flows, &links), []);
}

#[test]
fn a_line_left_over_is_needless_though_only_some_messages_of_a_wide_flow_take_it() {
    let flows = [flow("archive", "x/#", "p", "a")];
    let links = [link("a<p", "x/# in 1"), link("b<p", "x/y in 1")];
    let found = problems(&flows, &links);
    assert_eq!(kinds(&found), [Kind::Needless]);
    assert_eq!((found[0].broker.as_str(), found[0].topic.as_str()), ("b", "x/y"));
}

#[test]
fn the_lowest_line_on_the_way_sets_the_quality() {
    let links = [link("a<b", "x in 1"), link("b<p", "x in 0")];
    let found = problems(&[flow("x", "x", "p", "a")], &links);
    assert_eq!(kinds(&found), [Kind::QosLowered]);
    assert_eq!(
        found[0].message,
        "topic/x: the consumer a gets a message on `x` published at p with QoS 0 instead of 1, because of the pull \
         link b ← p (line `x`). Raise that line's QoS"
    );
}

#[test]
fn where_lines_cross_the_lower_quality_counts() {
    // The sender gives one copy, and it is not promised which line it is for.
    let links = [link("a<p", "t/+/c in 0,t/b/# in 1")];
    let found = problems(&[flow("t", "t/b/#", "p", "a")], &links);
    assert_eq!(kinds(&found), [Kind::QosLowered]);
    assert_eq!(found[0].topic, "t/b/c");
    // Also where the lower line serves a flow of its own, which wants no more.
    let mut modest = flow("modest", "t/+/c", "p", "a");
    modest.qos = Qos::AtMostOnce;
    let found = problems(&[flow("t", "t/b/#", "p", "a"), modest], &links);
    assert_eq!(kinds(&found), [Kind::QosLowered]);
}

#[test]
fn only_the_entries_asked_for_are_walked() {
    let links = [
        link("b<p", "x in 1"),
        link("c<p", "x in 1"),
        link("d<b", "x in 1"),
        link("d<c", "x in 1"),
    ];
    assert_eq!(
        kinds(&hazards(&links, &all(), Some(&names("p")))),
        [Kind::Duplicate]
    );
    assert_eq!(hazards(&links, &all(), Some(&names("b c d elsewhere"))), []);
}

#[test]
fn an_undeclared_producer_is_walked_for_hazards_only() {
    // `x` is declared at c only, but whoever publishes it at p has it delivered twice.
    let links = [
        link("b<p", "x in 1"),
        link("c<p", "x in 1"),
        link("d<b", "x in 1"),
        link("d<c", "x in 1"),
    ];
    let found = problems(&[flow("x", "x", "c", "d")], &links);
    assert_eq!(kinds(&found), [Kind::Duplicate]);
    assert_eq!(found[0].producer, name("p"));
}

#[test]
fn an_old_configuration_of_a_link_is_the_same_session_as_the_new_one() {
    // Same pair, same mode: a line of both is subscribed once, and nothing echoes between the two.
    let links = [link("a<u", "x in 1,y in 1"), link("a<u", "x in 1")];
    assert_eq!(hazards(&links, &BTreeSet::new(), None), []);
    // A wider line beside a narrow one that stays subscribed is another matter.
    let links = [link("a<u", "x/y in 1"), link("a<u", "x/# in 1")];
    assert_eq!(kinds(&hazards(&links, &BTreeSet::new(), None)), [Kind::Duplicate]);
}

#[test]
fn roles_of_a_dead_broker_are_played_by_its_substitute() {
    let fleet = FleetBuilder::new()
        .topic("x", "x", "p i", "a")
        .commands("x", "x/set")
        .build();
    let served_by = BTreeMap::from([(name("a"), name("b")), (name("b"), name("c"))]);
    let roles = |down: &str| -> Vec<String> {
        let join = |brokers: &BTreeSet<BrokerName>| {
            brokers
                .iter()
                .map(BrokerName::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let flows = flows(&fleet, &names(down), &served_by);
        flows
            .iter()
            .map(|flow| {
                format!(
                    "{}: {} > {}",
                    flow.filter,
                    join(&flow.producers),
                    join(&flow.consumers)
                )
            })
            .collect()
    };
    assert_eq!(roles(""), ["x: i p > a", "x/set: a > i p"]);
    assert_eq!(roles("a i"), ["x: p > b", "x/set: b > p"]);
    assert_eq!(roles("a b"), ["x: i p > c", "x/set: c > i p"]);
    assert_eq!(roles("a b c"), ["x: i p > ", "x/set:  > i p"]);
}

#[test]
fn skein_removes_duplicates_where_it_is_in_control() {
    let fleet = FleetBuilder::new().brokers("a b").external("cloud").build();
    assert_eq!(deduplicating(&fleet), names("a b"));
}
