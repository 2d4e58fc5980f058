//! Explanations of small fleets, as a person would ask for them.

use std::collections::BTreeSet;

use proptest::prelude::*;
use skein_api::fleet::{Fleet, FleetBuilder};
use skein_api::name::{BrokerName, RouteName, TopicName};
use skein_mosquitto::version::Version;

use super::*;
use crate::plan::{Equivalence, View};

/// Figure 3 of the paper: i produces, a consumes.
fn farm() -> FleetBuilder {
    FleetBuilder::new()
        .routes("a-b a-d a-e b-c e-f c-i f-g g-i")
        .topic("soil", "farm/+/soil", "i", "a")
}

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

fn newest() -> Software {
    Software {
        version: Version::new(2, 1, 2),
        known: KnownFrom::Assumed,
        profile: None,
    }
}

fn explained_topic(fleet: &Fleet, view: &View, topic_name: &str) -> TopicExplanation {
    let plan = crate::plan(fleet, view);
    topic(
        fleet,
        view,
        &plan,
        &TopicName::new(topic_name).unwrap(),
        None,
        None,
    )
    .unwrap()
}

fn explained_route(fleet: &Fleet, view: &View, route_name: &str) -> RouteExplanation {
    let plan = crate::plan(fleet, view);
    route(fleet, view, &plan, &RouteName::new(route_name).unwrap()).unwrap()
}

fn why_unused(fleet: &Fleet, route_name: &str) -> String {
    let found = explained_route(fleet, &View::default(), route_name);
    assert!(found.uses.is_empty(), "{found:?}");
    found.reasons.join(" ")
}

fn down(names: &[&str]) -> View {
    View {
        down: names.iter().map(|text| name(text)).collect(),
        ..View::default()
    }
}

#[test]
fn a_path_is_told_hop_by_hop() {
    let found = explained_topic(&farm().build(), &View::default(), "soil");

    let path = &found.paths[0];
    assert_eq!(arrows(&path.path), "a ← b ← c ← i");
    let routes: Vec<&str> = path
        .hops
        .iter()
        .map(|hop| hop.route.as_ref().unwrap().as_str())
        .collect();
    assert_eq!(routes, ["a-b", "b-c", "c-i"]);
    for hop in &path.hops {
        assert_eq!((hop.lines.len(), &hop.lines[0].held_by), (1, &hop.to));
        assert_eq!(hop.lines[0].filter, "farm/+/soil");
    }
    assert_eq!(path.reasons, ["It is a shortest way."]);
}

#[test]
fn the_routing_table_is_the_papers() {
    let found = explained_topic(&farm().build(), &View::default(), "soil");
    let rows: Vec<String> = found
        .routing_table
        .iter()
        .map(|row| format!("{} {} {}", row.node, row.path_and_topic(), row.weight))
        .collect();
    assert_eq!(rows, ["a /soil 0", "b a/soil 1", "c ba/soil 2", "i cba/soil 3"]);
}

#[test]
fn longer_names_are_set_apart_in_the_routing_table() {
    let fleet = FleetBuilder::new()
        .routes("hq-core core-edge")
        .topic("t", "t", "edge", "hq")
        .build();
    let found = explained_topic(&fleet, &View::default(), "t");
    assert_eq!(found.routing_table.last().unwrap().path_and_topic(), "core>hq/t");
}

#[test]
fn only_the_paths_asked_for_are_told() {
    let fleet = FleetBuilder::new()
        .routes("a-b b-c")
        .topic("t", "t", "a c", "b")
        .build();
    let plan = crate::plan(&fleet, &View::default());
    let topic_name = TopicName::new("t").unwrap();
    let found = topic(
        &fleet,
        &View::default(),
        &plan,
        &topic_name,
        Some(&name("c")),
        None,
    )
    .unwrap();
    assert_eq!(found.paths.len(), 1);
    assert_eq!(found.paths[0].producer, name("c"));
}

#[test]
fn a_detour_names_the_topics_that_force_it() {
    // Each would go straight over its own side of the triangle, but one message may match both.
    let fleet = FleetBuilder::new()
        .routes("a-b b-c a-c")
        .topic("all", "t/#", "a b c", "a b c")
        .topic("one", "t/one", "b", "c")
        .build();
    let found = explained_topic(&fleet, &View::default(), "one");
    let bent = explained_topic(&fleet, &View::default(), "all");
    let bent = bent.paths.iter().find(|path| path.stretch > 1.0).unwrap();

    assert_eq!(found.shares_tree_with, [TopicName::new("all").unwrap()]);
    let told = bent.reasons.join(" ");
    assert!(told.contains("The shortest way on its own is"), "{told}");
    assert!(told.contains("overlaps with topic one"), "{told}");
    assert!(
        told.contains(&format!("grows from {}", found.root.unwrap())),
        "{told}"
    );
}

#[test]
fn where_there_is_no_way_the_obstacle_is_named() {
    let paused = farm().paused("c-i").paused("g-i").build();
    let told = explained_topic(&paused, &View::default(), "soil").paths[0]
        .reasons
        .join(" ");
    assert_eq!(
        told,
        "There is no open way from i to a: the shortest would be a ← b ← c ← i, but route c-i is paused."
    );

    let against = FleetBuilder::new()
        .routes("a>b")
        .topic("t", "t", "b", "a")
        .build();
    let told = explained_topic(&against, &View::default(), "t").paths[0]
        .reasons
        .join(" ");
    assert!(told.contains("route a-b is one-way the other way"), "{told}");

    let apart = FleetBuilder::new()
        .brokers("a b")
        .topic("t", "t", "b", "a")
        .build();
    let told = explained_topic(&apart, &View::default(), "t").paths[0]
        .reasons
        .join(" ");
    assert_eq!(told, "No route leads from b to a; declare the missing NodeRoute.");
}

#[test]
fn a_used_route_says_by_whom_and_which_way() {
    let found = explained_route(&farm().build(), &View::default(), "b-c");
    assert!(found.reasons.is_empty());
    let used = &found.uses[0];
    assert_eq!(
        (used.class.as_str(), &used.to, &used.from, used.links.len()),
        ("soil", &name("b"), &name("c"), 1)
    );
}

#[test]
fn an_unused_route_says_why() {
    let fleet = farm().paused("a-d").build();
    assert!(why_unused(&fleet, "a-d").starts_with("It is paused; remove spec.paused from route a-d"));

    let fleet = farm().build();
    assert_eq!(
        why_unused(&fleet, "a-d"),
        "No declared flow needs it: it leads from no producer to any consumer."
    );
    assert_eq!(
        why_unused(&fleet, "e-f"),
        "No flow is shorter over it: the nearest, topic soil from i to a, would cost 4 instead of 3."
    );

    let found = explained_route(&fleet, &down(&["c"]), "b-c");
    assert_eq!(found.reasons, ["Broker c is down."]);
}

#[test]
fn a_route_dearer_than_its_detour_says_so() {
    let fleet = FleetBuilder::new()
        .routes("a-b a-c:3 b-c")
        .topic("t", "t", "c", "a")
        .build();
    assert!(why_unused(&fleet, "a-c").starts_with("It costs 3, more than the detour c ← b ← a at cost 2."));
}

#[test]
fn of_parallel_routes_the_cheaper_one_is_named() {
    let mut fleet = FleetBuilder::new()
        .routes("a-b:4 b-a:2")
        .topic("t", "t", "b", "a")
        .build();
    assert_eq!(
        why_unused(&fleet, "a-b"),
        "Route b-a between the same brokers is cheaper (cost 2)."
    );

    let cost = fleet.routes["b-a"].cost;
    fleet.routes.get_mut("a-b").unwrap().cost = cost;
    assert!(why_unused(&fleet, "b-a").contains("of the same cost with the smaller name"));
}

#[test]
fn a_one_way_route_against_the_flow_says_so() {
    let fleet = FleetBuilder::new()
        .routes("a>c a-b b-c")
        .topic("t", "t", "c", "a")
        .build();
    assert_eq!(
        why_unused(&fleet, "a-c"),
        "It is one-way from a to c; topic t from c to a would take it the other way (cost 1 instead of 2)."
    );
}

#[test]
fn a_route_that_another_tree_leaves_out_says_so() {
    let fleet = FleetBuilder::new()
        .routes("a-b b-c a-c")
        .topic("all", "t", "a b c", "a b c")
        .build();
    let plan = crate::plan(&fleet, &View::default());
    let unused: Vec<String> = fleet
        .routes
        .keys()
        .filter_map(|name| route(&fleet, &View::default(), &plan, name))
        .filter(|found| found.uses.is_empty())
        .map(|found| found.reasons.join(" "))
        .collect();
    assert_eq!(unused.len(), 1, "{unused:?}");
    assert!(unused[0].contains("On its own, topic all from"), "{unused:?}");
}

#[test]
fn two_brokers_that_nobody_controls_cannot_be_bridged() {
    let fleet = FleetBuilder::new()
        .external("x")
        .external("y")
        .routes("x-y")
        .topic("t", "t", "x", "y")
        .build();
    assert!(why_unused(&fleet, "x-y").contains("Skein controls neither x nor y"));
}

#[test]
fn a_twin_takes_the_clients_and_the_paths_move_with_them() {
    let fleet = farm()
        .routes("j-g")
        .topic("soil", "farm/+/soil", "i j", "a")
        .build();
    let plan = crate::plan(&fleet, &View::default());

    let found = broker(&fleet, &View::default(), &plan, &name("i"), newest()).unwrap();

    let best = &found.candidates[0];
    assert_eq!(
        (&best.broker, best.equivalence),
        (&name("j"), Equivalence::Strong)
    );
    assert!(
        found.if_it_dies[0].starts_with("Its clients go to j, which publishes and subscribes the very same")
    );
    assert_eq!(found.roles.len(), 1);
    assert!(found.roles[0].publish && !found.roles[0].subscribe && found.roles[0].normal);
}

#[test]
fn a_transit_broker_is_routed_around() {
    let fleet = farm().build();
    let plan = crate::plan(&fleet, &View::default());
    let found = broker(&fleet, &View::default(), &plan, &name("c"), newest()).unwrap();

    assert_eq!(
        found.if_it_dies,
        [
            "No clients are declared at it, so nobody needs to stand in for it.",
            "Topic soil goes round it, where there is a way.",
            "Every declared flow goes on.",
        ]
    );
    let hops: BTreeSet<String> = found
        .grafts
        .iter()
        .map(|graft| format!("{}{}", graft.to, graft.from))
        .collect();
    assert_eq!(hops, ["ae", "ef", "fg", "gi"].map(str::to_owned).into());
}

#[test]
fn a_path_to_a_substitute_says_so() {
    let fleet = farm().build();
    let mut view = down(&["i"]);
    view.served_by.insert(name("i"), name("g"));
    let path = explained_topic(&fleet, &view, "soil").paths.remove(0);
    assert_eq!(arrows(&path.path), "a ← e ← f ← g");
    assert_eq!(path.reasons[0], "Producer i is down; g stands in for it.");
    assert_eq!(path.shortest.unwrap().cost, 3);
}

#[test]
fn a_broker_that_is_down_says_who_serves_its_clients() {
    let fleet = farm().build();
    let told = |view: &View| {
        let plan = crate::plan(&fleet, view);
        broker(&fleet, view, &plan, &name("i"), newest())
            .unwrap()
            .if_it_dies
    };
    let mut view = down(&["i"]);
    assert_eq!(told(&view), ["It is down, and nobody serves its clients."]);
    view.served_by.insert(name("i"), name("g"));
    assert_eq!(
        told(&view),
        ["It is down; g serves its clients until it is back."]
    );
}

#[test]
fn lists_stay_short() {
    assert_eq!(listed(["a"]), "a");
    assert_eq!(listed(["a", "b", "c"]), "a, b and c");
    assert_eq!(listed(["a", "b", "c", "d", "e", "f"]), "a, b, c, d, e and f");
    assert_eq!(
        listed(["a", "b", "c", "d", "e", "f", "g"]),
        "a, b, c, d, e and 2 more"
    );
    assert_eq!(listed(Vec::<String>::new()), "none");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Nobody is left without an answer, and nobody is told that a route in use is not, or the other way round.
    #[test]
    fn every_route_is_used_or_says_why_not(
        routes in prop::collection::vec((0..6u8, 0..6u8, 1..4u8, prop::bool::weighted(0.2)), 1..12),
        flows in prop::collection::vec((0..6u8, 0..6u8, 0..3u8), 1..5),
    ) {
        let broker = |number: u8| char::from(b'a' + number);
        let mut builder = FleetBuilder::new();
        for (a, b, cost, one_way) in routes.into_iter().filter(|(a, b, ..)| a != b) {
            let sign = if one_way { '>' } else { '-' };
            builder = builder.routes(&format!("{}{sign}{}:{cost}", broker(a), broker(b)));
        }
        for (index, (producer, consumer, filter)) in flows.into_iter().enumerate() {
            let filter = ["t/a", "t/+", "u"][usize::from(filter)];
            builder = builder.topic(
                &format!("t{index}"),
                filter,
                &broker(producer).to_string(),
                &broker(consumer).to_string(),
            );
        }
        let fleet = builder.build();
        let plan = crate::plan(&fleet, &View::default());
        let mut told: BTreeSet<(BrokerName, BrokerName)> = BTreeSet::new();
        for name in fleet.routes.keys() {
            let found = route(&fleet, &View::default(), &plan, name).unwrap();
            prop_assert!(found.uses.is_empty() != found.reasons.is_empty(), "{found:?}");
            told.extend(found.uses.into_iter().map(|used| (used.to, used.from)));
        }
        let hops = plan.classes.values().flat_map(|class| &class.paths).flat_map(|path| path.brokers.windows(2));
        let hops: BTreeSet<_> = hops.map(|hop| (hop[0].clone(), hop[1].clone())).collect();
        prop_assert_eq!(told, hops);
    }
}
