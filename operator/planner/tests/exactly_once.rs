//! Every consumer gets each message exactly once: the links of random fleets, judged by `skein_check`, which knows nothing
//! of how they came about; and the same links once more after they were written down as configuration and read back.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use skein_api::fleet::{Fleet, FleetBuilder, Route};
use skein_api::name::{BrokerName, Cost, Qos, RouteName, TopicName};
use skein_check::{Flow, Kind, Problem, check, deduplicating, flows, hazards};
use skein_filters::TopicFilter;
use skein_mosquitto::config::{Compile, Placement, compile, links_of, parse, render};
use skein_mosquitto::link::{Direction, Line, Link, Mode};
use skein_mosquitto::version::Version;
use skein_planner::plan;
use skein_planner::plan::{Plan, Severity, View};

const BROKERS: usize = 10;

/// Filters that cover, cross and miss each other, on few levels so that they meet often. One of them joins nearly all.
const FILTERS: &[&str] = &[
    "a/b", "a/+", "a/#", "a/+/c", "a/b/#", "+/b", "a/b/c", "b", "b/+", "b/c", "+/c", "b/#", "c/+/d", "c/d/#",
    "c/d/d", "+/d/+", "c/d/e", "d", "d/e", "e/+", "+/e", "e/e", "f/+/+", "f/g", "f/g/#", "f/+/h", "g/h/+",
    "g/+/i", "$own/x", "$own/#", "+", "#",
];

#[derive(Clone, Debug)]
struct Road {
    ends: (usize, usize),
    cost: i64,
    one_way: bool,
    paused: bool,
}

#[derive(Clone, Debug)]
struct Declared {
    filter: usize,
    commands: Vec<usize>,
    qos: i64,
    producers: BTreeSet<usize>,
    consumers: BTreeSet<usize>,
}

/// A fleet and what is the case, as numbers, so that a failing one shrinks.
#[derive(Clone, Debug)]
struct World {
    brokers: usize,
    externals: BTreeSet<usize>,
    roads: Vec<Road>,
    topics: Vec<Declared>,
    /// Who is down, and who serves it.
    down: BTreeMap<usize, Option<usize>>,
}

fn name(number: usize) -> BrokerName {
    BrokerName::new(&format!("n{number}")).unwrap()
}

/// Worlds with one-way routes or only two-way ones.
fn world(one_way: f64) -> impl Strategy<Value = World> {
    (2..=BROKERS).prop_flat_map(move |brokers| {
        let road = (0..brokers, 0..brokers, 1..5i64, prop::bool::weighted(one_way), prop::bool::weighted(0.1)).prop_map(
            |(a, b, cost, one_way, paused)| Road { ends: (a, b), cost, one_way, paused },
        );
        let ends = move || prop::collection::btree_set(0..brokers, 1..4);
        let filter = prop_oneof![20 => 0..FILTERS.len() - 2, 1 => Just(FILTERS.len() - 2), 1 => Just(FILTERS.len() - 1)];
        let commands = prop_oneof![
            3 => Just(Vec::new()),
            1 => prop::collection::vec(0..FILTERS.len() - 2, 1..3),
        ];
        let topic = (filter, commands, 0..3i64, ends(), ends()).prop_map(
            |(filter, commands, qos, producers, consumers)| Declared { filter, commands, qos, producers, consumers },
        );
        (
            prop::collection::btree_set(0..brokers, 0..3),
            prop::collection::vec(road, brokers..3 * brokers),
            prop::collection::vec(topic, 1..9),
            prop::collection::btree_map(0..brokers, prop::option::weighted(0.7, 0..brokers), 0..3),
        )
            .prop_map(move |(externals, roads, topics, down)| World { brokers, externals, roads, topics, down })
    })
}

impl World {
    fn fleet(&self) -> Fleet {
        let mut builder = FleetBuilder::new();
        for number in 0..self.brokers {
            builder = builder.brokers(name(number).as_str());
        }
        for &number in &self.externals {
            builder = builder.external(name(number).as_str());
        }
        let list = |numbers: &BTreeSet<usize>| {
            numbers
                .iter()
                .map(|&number| name(number).to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (number, topic) in self.topics.iter().enumerate() {
            let text = format!("t{number}");
            builder = builder
                .topic(
                    &text,
                    FILTERS[topic.filter],
                    &list(&topic.producers),
                    &list(&topic.consumers),
                )
                .qos(&text, Qos::new(topic.qos).unwrap());
            for &command in &topic.commands {
                builder = builder.commands(&text, FILTERS[command]);
            }
        }
        let mut fleet = builder.build();
        for (number, road) in self
            .roads
            .iter()
            .enumerate()
            .filter(|(_, road)| road.ends.0 != road.ends.1)
        {
            let route = Route {
                a: name(road.ends.0),
                b: name(road.ends.1),
                one_way: road.one_way,
                cost: Cost::new(road.cost).unwrap(),
                paused: road.paused,
            };
            fleet
                .routes
                .insert(RouteName::new(&format!("r{number}")).unwrap(), route);
        }
        fleet
    }

    fn view(&self) -> View {
        let served = self
            .down
            .iter()
            .filter_map(|(&dead, by)| by.filter(|&by| by != dead).map(|by| (dead, by)));
        View {
            down: self.down.keys().map(|&number| name(number)).collect(),
            served_by: served.map(|(dead, by)| (name(dead), name(by))).collect(),
            ..View::default()
        }
    }
}

/// Topic, producer, consumer: as they are now.
type Pair = (TopicName, BrokerName, BrokerName);

fn pairs(flow: &Flow) -> impl Iterator<Item = Pair> {
    flow.producers.iter().flat_map(|producer| {
        flow.consumers
            .iter()
            .map(|consumer| (flow.topic.clone(), producer.clone(), consumer.clone()))
    })
}

/// The pairs that the plan has a way for. A topic's commands take the same way back.
fn ways(plan: &Plan) -> BTreeSet<Pair> {
    let paths = plan.classes.values().flat_map(|class| &class.paths);
    paths
        .filter_map(|path| {
            let (consumer, producer) = path.brokers.first().zip(path.brokers.last())?;
            Some((path.topic.clone(), producer.clone(), consumer.clone()))
        })
        .collect()
}

/// The declared flows, pair by pair, of which the plan says that they have a way.
fn promised(fleet: &Fleet, view: &View, plan: &Plan) -> Vec<Flow> {
    let ways = ways(plan);
    let mut promised = Vec::new();
    for flow in flows(fleet, &view.down, &view.served_by) {
        for pair in pairs(&flow) {
            let (topic, producer, consumer) = pair.clone();
            let way = if flow.command {
                (topic, consumer, producer)
            } else {
                pair.clone()
            };
            if ways.contains(&way) {
                promised.push(Flow {
                    producers: BTreeSet::from([pair.1]),
                    consumers: BTreeSet::from([pair.2]),
                    ..flow.clone()
                });
            }
        }
    }
    promised
}

/// Whether filters were generalised for the sake of a broker that does not remove duplicates: the one excuse for carrying
/// what nobody asked for, and the plan says so.
fn is_widened(plan: &Plan) -> bool {
    plan.findings
        .iter()
        .any(|finding| finding.message.contains("may match more than was declared"))
}

/// All that is wrong with links, for messages of the promised flows and for any other message from anywhere.
fn problems(fleet: &Fleet, view: &View, plan: &Plan, links: &[Arc<Link>]) -> Vec<Problem> {
    let flat = deduplicating(fleet);
    let mut found = check(&promised(fleet, view, plan), links, &flat).problems;
    found.extend(hazards(links, &flat, None));
    found.retain(|problem| problem.kind != Kind::Needless || !is_widened(plan));
    found
}

/// The links as the brokers that hold them would read them.
fn written_and_read(fleet: &Fleet, links: &[Arc<Link>], version: Version) -> Vec<Arc<Link>> {
    let placement = Placement {
        listen: "127.0.0.1".to_owned(),
        peer_port: 1883,
        client_ports: Vec::new(),
        data_directory: "/var/lib/skein".to_owned(),
        user: None,
        sqlite_plugin: None,
    };
    let mut read = Vec::new();
    for (broker, declared) in fleet
        .brokers
        .iter()
        .filter(|(_, declared)| declared.is_controlled())
    {
        let held: Vec<Arc<Link>> = links
            .iter()
            .filter(|link| link.downstream == *broker)
            .cloned()
            .collect();
        let config = compile(&Compile {
            broker,
            declared,
            links: &held,
            placement: &placement,
            addresses: &|_| Some(("127.0.0.1".to_owned(), 1883)),
            version,
            epoch: 1,
        })
        .unwrap();
        let config = parse(&render(&config)).unwrap();
        read.extend(links_of(broker, &config).into_iter().map(Arc::new));
    }
    read.sort_by_key(|link| (link.downstream.clone(), link.upstream.clone(), link.mode));
    read
}

/// Brokers that two-way routes connect with each other, as far as everybody between is up.
fn islands(fleet: &Fleet, view: &View) -> BTreeMap<BrokerName, usize> {
    let up = fleet.brokers.keys().filter(|name| !view.down.contains(*name));
    let mut islands: BTreeMap<BrokerName, usize> = up.cloned().zip(0..).collect();
    for _ in 0..fleet.brokers.len() {
        for route in fleet.routes.values().filter(|route| !route.paused) {
            let controlled = |name| fleet.brokers.get(name).unwrap().is_controlled();
            let (Some(&a), Some(&b)) = (islands.get(&route.a), islands.get(&route.b)) else {
                continue;
            };
            if controlled(&route.a) || controlled(&route.b) {
                islands.insert(route.a.clone(), a.min(b));
                islands.insert(route.b.clone(), a.min(b));
            }
        }
    }
    islands
}

fn judge(world: &World) -> Result<(), TestCaseError> {
    let (fleet, view) = (world.fleet(), world.view());
    let plan = plan(&fleet, &view);
    let found = problems(&fleet, &view, &plan, &plan.links());
    prop_assert!(found.is_empty(), "{found:#?}\nlinks {:#?}", plan.links());
    for version in [Version::OLDEST, Version::new(2, 1, 2)] {
        let read = written_and_read(&fleet, &plan.links(), version);
        prop_assert_eq!(&read, &plan.links());
    }
    // What has no way is said.
    let ways = ways(&plan);
    for flow in flows(&fleet, &view.down, &view.served_by)
        .iter()
        .filter(|flow| !flow.command)
    {
        for pair in pairs(flow).filter(|pair| !ways.contains(pair)) {
            let object = format!("topic/{}", pair.0);
            let said = plan
                .findings
                .iter()
                .any(|finding| finding.severity == Severity::Error && finding.object == object);
            prop_assert!(
                said,
                "{pair:?} has no way, and no finding says so: {:#?}",
                plan.findings
            );
        }
    }
    Ok(())
}

/// Brokers that data can get to from one broker, along routes that lead that way.
fn downstream_of(fleet: &Fleet, view: &View, producer: &BrokerName) -> BTreeSet<BrokerName> {
    let is_up = |name: &BrokerName| !view.down.contains(name);
    let controlled = |name| fleet.brokers.get(name).unwrap().is_controlled();
    let mut reached: BTreeSet<BrokerName> = BTreeSet::from([producer.clone()]);
    for _ in 0..fleet.brokers.len() {
        for route in fleet
            .routes
            .values()
            .filter(|route| !route.paused && is_up(&route.a) && is_up(&route.b))
        {
            if !controlled(&route.a) && !controlled(&route.b) {
                continue;
            }
            if reached.contains(&route.a) {
                reached.insert(route.b.clone());
            } else if reached.contains(&route.b) && !route.one_way {
                reached.insert(route.a.clone());
            }
        }
    }
    reached
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_global_rejects: 65_536, ..ProptestConfig::default() })]

    #[test]
    fn every_consumer_gets_each_message_exactly_once(world in world(0.0)) {
        judge(&world)?;
        // With two-way routes alone, whatever is connected flows.
        let (fleet, view) = (world.fleet(), world.view());
        let ways = ways(&plan(&fleet, &view));
        let islands = islands(&fleet, &view);
        for flow in flows(&fleet, &view.down, &view.served_by).iter().filter(|flow| !flow.command) {
            for pair in pairs(flow) {
                let connected = islands.get(&pair.1) == islands.get(&pair.2);
                prop_assert_eq!(ways.contains(&pair), connected, "{:?}", pair);
            }
        }
    }

    #[test]
    fn one_way_routes_change_nothing_about_that(world in world(0.3)) {
        judge(&world)?;
    }

    #[test]
    fn to_a_single_consumer_everything_flows_that_a_one_way_route_lets_through(mut world in world(0.4)) {
        world.topics.truncate(1);
        for topic in &mut world.topics {
            topic.commands.clear();
            topic.consumers = topic.consumers.first().copied().into_iter().collect();
        }
        judge(&world)?;
        let (fleet, view) = (world.fleet(), world.view());
        let ways = ways(&plan(&fleet, &view));
        for flow in flows(&fleet, &view.down, &view.served_by) {
            for pair in pairs(&flow) {
                let connected = downstream_of(&fleet, &view, &pair.1).contains(&pair.2);
                prop_assert_eq!(ways.contains(&pair), connected, "{:?}", pair);
            }
        }
    }

    // The same judgement on links that were tampered with: it must see each of these, or it proves nothing.

    #[test]
    fn a_dropped_line_is_a_loss(world in world(0.1), chosen in any::<prop::sample::Index>()) {
        let (fleet, view) = (world.fleet(), world.view());
        let plan = plan(&fleet, &view);
        let lines: usize = plan.links().iter().map(|link| link.lines.len()).sum();
        prop_assume!(lines > 0 && !is_widened(&plan));
        let mut links: Vec<Link> = plan.links().iter().map(|link| Link::clone(link)).collect();
        let mut chosen = chosen.index(lines);
        for link in &mut links {
            if chosen < link.lines.len() {
                let mut fewer = link.lines.to_vec();
                fewer.remove(chosen);
                link.lines = fewer.into();
                break;
            }
            chosen -= link.lines.len();
        }
        let links: Vec<Arc<Link>> = links.into_iter().map(Arc::new).collect();
        prop_assert!(kinds(&fleet, &view, &plan, &links).contains(&Kind::Loss));
    }

    #[test]
    fn a_second_way_is_a_duplicate(world in world(0.1), chosen in any::<prop::sample::Index>()) {
        let (fleet, view) = (world.fleet(), world.view());
        let plan = plan(&fleet, &view);
        let paths = plan.classes.values().flat_map(|class| &class.paths);
        let far: Vec<_> = paths.filter(|path| path.brokers.len() > 2).collect();
        prop_assume!(!far.is_empty());
        let path = far[chosen.index(far.len())];
        let filter = fleet.topics.get(&path.topic).unwrap().filter.clone();
        let mut links = plan.links();
        links.push(pull(&path.brokers[0], &path.brokers[path.brokers.len() - 1], filter));
        // Where data also flows the other way, the second way closes a ring.
        let kinds = kinds(&fleet, &view, &plan, &links);
        prop_assert!(kinds.contains(&Kind::Duplicate) || kinds.contains(&Kind::Loop));
    }

    #[test]
    fn an_opposite_pull_is_a_loop(world in world(0.1), chosen in any::<prop::sample::Index>()) {
        let (fleet, view) = (world.fleet(), world.view());
        let plan = plan(&fleet, &view);
        let all = plan.links();
        let pulls: Vec<_> = all.iter().filter(|link| link.mode == Mode::Pull).collect();
        prop_assume!(!pulls.is_empty());
        let link = pulls[chosen.index(pulls.len())];
        let mut links = plan.links();
        links.push(pull(&link.upstream, &link.downstream, link.lines[0].filter.clone()));
        prop_assert!(kinds(&fleet, &view, &plan, &links).contains(&Kind::Loop));
    }
}

fn kinds(fleet: &Fleet, view: &View, plan: &Plan, links: &[Arc<Link>]) -> BTreeSet<Kind> {
    problems(fleet, view, plan, links)
        .iter()
        .map(|problem| problem.kind)
        .collect()
}

/// A link that pulls one filter.
fn pull(downstream: &BrokerName, upstream: &BrokerName, filter: TopicFilter) -> Arc<Link> {
    Arc::new(Link {
        downstream: downstream.clone(),
        upstream: upstream.clone(),
        mode: Mode::Pull,
        lines: [Line {
            filter,
            direction: Direction::In,
            qos: Qos::AtLeastOnce,
        }]
        .into(),
        control: [].into(),
        class: skein_api::name::ClassName::new("any").unwrap(),
    })
}

#[test]
fn a_second_way_on_the_farm_is_told_as_a_duplicate_of_that_message() {
    let fleet = FleetBuilder::new()
        .routes("a-b a-e b-c e-f c-i f-i")
        .topic("soil", "farm/+/soil", "i", "a")
        .build();
    let plan = plan(&fleet, &View::default());
    let filter = TopicFilter::parse("farm/+/soil").unwrap();
    let mut links = plan.links();
    for (downstream, upstream) in [("a", "e"), ("e", "f"), ("f", "i")] {
        links.push(pull(
            &downstream.parse().unwrap(),
            &upstream.parse().unwrap(),
            filter.clone(),
        ));
    }
    let found = problems(&fleet, &View::default(), &plan, &links);
    assert_eq!(
        (found[0].kind, found[0].broker.as_str()),
        (Kind::Duplicate, "a"),
        "{found:#?}"
    );
}

#[test]
fn what_is_widened_on_its_way_from_the_cloud_does_not_meet_what_flows_back() {
    let fleet = FleetBuilder::new()
        .external("cloud")
        .routes("a-cloud")
        .topic("one", "down/+/x", "cloud", "a")
        .topic("two", "down/y/#", "cloud", "a")
        .topic("zed", "down/z", "a", "cloud")
        .build();
    let plan = plan(&fleet, &View::default());
    // down/+/# comes back from the cloud, so whatever a sends there must go by the same connection.
    assert_eq!(problems(&fleet, &View::default(), &plan, &plan.links()), []);
}
