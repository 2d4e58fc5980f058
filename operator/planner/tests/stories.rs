//! What planning promises, told on small fleets.

#![allow(clippy::unwrap_used)]

use skein_api::fleet::{Fleet, FleetBuilder};
use skein_api::name::{BrokerName, TopicName};
use skein_planner::plan;
use skein_planner::plan::{Equivalence, Plan, Severity, View};

fn paths(plan: &Plan) -> Vec<String> {
    plan.classes
        .values()
        .flat_map(|class| &class.paths)
        .map(|path| {
            let brokers: Vec<&str> = path.brokers.iter().map(BrokerName::as_str).collect();
            format!(
                "{}: {} cost {} stretch {:.2}",
                path.topic,
                brokers.join(" ← "),
                path.cost,
                path.stretch()
            )
        })
        .collect()
}

fn links(plan: &Plan) -> Vec<String> {
    plan.links()
        .iter()
        .map(|link| {
            let lines: Vec<String> = link
                .lines
                .iter()
                .chain(link.control.iter())
                .map(|line| format!("{} {} {}", line.filter, line.direction, line.qos))
                .collect();
            format!(
                "{} {} {}: {}",
                link.downstream,
                link.mode,
                link.upstream,
                lines.join(", ")
            )
        })
        .collect()
}

fn healthy(fleet: &Fleet) -> Plan {
    plan(fleet, &View::default())
}

fn down(fleet: &Fleet, brokers: &str, served: &[(&str, &str)]) -> Plan {
    let name = |text: &str| BrokerName::new(text).unwrap();
    let view = View {
        down: brokers.split_whitespace().map(name).collect(),
        served_by: served.iter().map(|&(dead, by)| (name(dead), name(by))).collect(),
        ..View::default()
    };
    plan(fleet, &view)
}

fn farm() -> FleetBuilder {
    FleetBuilder::new()
        .routes("a-b a-d a-e b-c e-f c-i f-g g-i")
        .topic("soil", "farm/+/soil", "i", "a")
}

#[test]
fn the_papers_farm_takes_the_shortest_path() {
    let plan = healthy(&farm().build());
    assert_eq!(paths(&plan), ["soil: a ← b ← c ← i cost 3 stretch 1.00"]);
    assert_eq!(
        links(&plan),
        [
            "a pull b: farm/+/soil in 1, $skein/probe/soil/# in 2",
            "b pull c: farm/+/soil in 1, $skein/probe/soil/# in 2",
            "c pull i: farm/+/soil in 1, $skein/probe/soil/# in 2",
        ]
    );
}

#[test]
fn a_dead_transit_broker_is_routed_around() {
    let plan = down(&farm().build(), "c", &[]);
    assert_eq!(paths(&plan), ["soil: a ← e ← f ← g ← i cost 4 stretch 1.00"]);
}

#[test]
fn publishers_and_subscribers_of_a_dead_broker_move_together() {
    let fleet = FleetBuilder::new()
        .routes("a-b b-c b-c2")
        .topic("soil", "soil/#", "c", "a")
        .topic("valve", "valve", "a", "c");
    let plan = down(&fleet.build(), "c", &[("c", "c2")]);
    assert_eq!(
        paths(&plan),
        [
            "soil: a ← b ← c2 cost 2 stretch 1.00",
            "valve: c2 ← b ← a cost 2 stretch 1.00"
        ]
    );
    assert_eq!(
        plan.classes.values().next().unwrap().paths[0].producer.as_str(),
        "c"
    );
}

#[test]
fn commands_flow_back_along_the_path() {
    let plan = healthy(&farm().commands("soil", "farm/+/valve").build());
    assert!(
        links(&plan).contains(&"a pull b: farm/+/soil in 1, $skein/probe/soil/i/# in 2".to_owned()),
        "{:?}",
        links(&plan)
    );
    assert!(
        links(&plan).contains(&"b pull a: farm/+/valve in 1, $skein/probe/soil/a/# in 2".to_owned()),
        "{:?}",
        links(&plan)
    );
}

#[test]
fn many_to_many_needs_a_duplex_link_and_says_so() {
    let fleet = FleetBuilder::new()
        .routes("a-b b-c")
        .topic("chat", "chat/#", "a c", "a c");
    let plan = healthy(&fleet.build());
    assert_eq!(
        links(&plan),
        [
            "a duplex b: chat/# both 1, $skein/probe/chat/# both 2",
            "b duplex c: chat/# both 1, $skein/probe/chat/# both 2",
        ]
    );
    let warning = plan
        .findings
        .iter()
        .find(|finding| finding.message.contains("duplex"))
        .unwrap();
    assert_eq!(
        (warning.severity, warning.object.as_str()),
        (Severity::Warning, "topic/chat")
    );
}

#[test]
fn a_wildcard_topic_joins_classes_and_its_cost_is_named() {
    // The two topics alone would take the straight edges of the square; the archive forces all on one tree.
    let fleet = FleetBuilder::new()
        .routes("a-b b-c c-d d-a")
        .topic("east", "east/x", "a", "b")
        .topic("west", "west/x", "c", "d")
        .topic("north", "north/x", "b", "c")
        .topic("south", "south/x", "d", "a")
        .topic("archive", "#", "a", "c")
        .build();
    let plan = healthy(&fleet);
    assert_eq!(plan.classes.len(), 1);
    let merging = plan
        .findings
        .iter()
        .find(|finding| finding.severity == Severity::Info)
        .unwrap();
    assert_eq!(merging.object, "topic/archive");
    assert!(merging.message.contains("joins 4 groups"), "{}", merging.message);
}

#[test]
fn an_uncontrolled_broker_holds_no_connection_and_gets_no_crossing_lines() {
    let fleet = FleetBuilder::new()
        .external("cloud")
        .routes("a-cloud b-a")
        .topic("up", "up/#", "b", "cloud")
        .topic("one", "down/+/x", "cloud", "a")
        .topic("two", "down/y/#", "cloud", "a")
        .build();
    let plan = healthy(&fleet);
    assert_eq!(
        links(&plan),
        [
            "a pull b: up/# in 1, $skein/probe/up/# in 2",
            "a pull cloud: down/+/# in 1, $skein/probe/one/# in 2",
            "a duplex cloud: up/# out 1, $skein/probe/up/# out 2",
        ]
    );
}

#[test]
fn widening_is_taken_to_its_fixpoint() {
    // down/+/x and down/y/# become down/+/# on the way from the cloud, and that overlaps down/z of another class.
    let fleet = FleetBuilder::new()
        .external("cloud")
        .routes("a-cloud a-b")
        .topic("one", "down/+/x", "cloud", "a")
        .topic("two", "down/y/#", "cloud", "a")
        .topic("zed", "down/z", "b", "a")
        .build();
    let plan = healthy(&fleet);
    assert_eq!(plan.classes.len(), 1, "{:?}", plan.classes.keys());
}

#[test]
fn a_one_way_route_is_used_forwards_only() {
    let fleet = FleetBuilder::new().routes("i>c c>a a-x:5 x-i:5");
    let forwards = healthy(&fleet.clone().topic("soil", "soil", "i", "a").build());
    assert_eq!(paths(&forwards), ["soil: a ← c ← i cost 2 stretch 1.00"]);
    let backwards = healthy(&fleet.clone().topic("soil", "soil", "a", "i").build());
    assert_eq!(paths(&backwards), ["soil: i ← x ← a cost 10 stretch 1.00"]);
    let commands = healthy(
        &fleet
            .topic("soil", "soil", "i", "a")
            .commands("soil", "valve")
            .build(),
    );
    assert_eq!(paths(&commands), ["soil: a ← x ← i cost 10 stretch 1.00"]);
}

#[test]
fn a_flow_against_the_only_one_way_route_names_it() {
    let plan = healthy(
        &FleetBuilder::new()
            .routes("i>c c-a")
            .topic("soil", "soil", "a", "i")
            .build(),
    );
    let error = &plan.findings[0];
    assert_eq!(
        (error.severity, error.object.as_str()),
        (Severity::Error, "topic/soil")
    );
    assert!(
        error.message.contains("route/i-c is one-way"),
        "{}",
        error.message
    );
}

#[test]
fn one_way_routes_that_meet_in_the_middle_make_a_tree() {
    let fleet = FleetBuilder::new()
        .routes("p1>m p2>m m>c1 m>c2")
        .topic("t", "t", "p1 p2", "c1 c2")
        .build();
    let plan = healthy(&fleet);
    assert_eq!(paths(&plan).len(), 4);
    assert!(
        plan.classes
            .values()
            .flat_map(|class| &class.paths)
            .all(|path| path.cost == 2),
        "{:?}",
        paths(&plan)
    );
}

#[test]
fn substitutes_are_ranked_by_equivalence_then_distance() {
    let fleet = FleetBuilder::new()
        .routes("hub-b1 hub-b2 hub-b3 b2-x:3 hub-b4")
        .topic("t1", "t/1", "b1 b2 b3", "hub")
        .topic("t2", "t/2", "hub", "b1 b2")
        .topic("wide", "t/#", "hub", "b3")
        .build();
    let plan = healthy(&fleet);
    let of = |name: &str| {
        let candidates = &plan.substitutes.get(name).unwrap().candidates;
        candidates
            .iter()
            .map(|candidate| (candidate.broker.to_string(), candidate.equivalence))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("b1")[..2],
        [
            ("b2".to_owned(), Equivalence::Strong),
            ("b3".to_owned(), Equivalence::Weak)
        ]
    );
    let missing = &plan.substitutes.get("b1").unwrap().candidates[2];
    assert_eq!(missing.equivalence, Equivalence::Partial);
    let role = &missing.missing[0];
    assert_eq!(role.topic, TopicName::new("t2").unwrap());
}

#[test]
fn the_failure_plan_is_what_planning_the_failure_gives() {
    let fleet = farm()
        .routes("i2-g i2-c")
        .topic("soil", "farm/+/soil", "i i2", "a")
        .build();
    let plan = healthy(&fleet);
    let i = plan.substitutes.get("i").unwrap();
    assert_eq!(i.candidates[0].broker.as_str(), "i2");
    let c = plan.substitutes.get("c").unwrap();
    let grafts: Vec<String> = c
        .grafts
        .iter()
        .map(|graft| format!("{} ← {}", graft.hop.downstream, graft.hop.upstream))
        .collect();
    assert_eq!(grafts, ["a ← e", "e ← f", "f ← g", "g ← i", "g ← i2"]);
}
