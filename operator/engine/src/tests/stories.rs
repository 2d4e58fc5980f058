//! Given, when, then: what happens to a fleet.

use std::time::Duration;

use skein_api::fleet::{Failback, FailoverPolicy, Fleet, FleetBuilder};

use super::toy::Toy;
use super::world::{Life, World, name};
use crate::directive::{BrokerPhase, Directive, MigrationPhase};
use crate::event::{Event, Process, Report};
use crate::tools::Real;

/// The paper's farm: i produces, a consumes; the short way over b and c, the long one over e, f and g. j produces
/// the same and can stand in for i.
pub(super) fn farm() -> FleetBuilder {
    FleetBuilder::new()
        .routes("a-b b-c c-i a-e e-f f-g g-i c-j g-j")
        .topic("soil", "farm/+/soil", "i j", "a")
}

pub(super) fn started(fleet: Fleet) -> World {
    let mut world = World::new(fleet);
    world.run(8.0);
    world
}

fn phases(world: &World, broker: &str) -> Vec<MigrationPhase> {
    let mut phases = Vec::new();
    for directive in &world.done {
        match directive {
            Directive::RecordMigration(migration) if migration.broker.as_str() == broker => {
                phases.push(migration.phase);
            }
            _ => {}
        }
    }
    // A record is written again when something else of it changes.
    phases.dedup();
    phases
}

#[test]
fn a_first_fleet_gets_its_configurations_and_then_is_left_alone() {
    let mut world = started(farm().build());
    assert_eq!(world.path("soil"), "a b c i");
    assert_eq!(world.loaded(), "a<b b<c c<i c<j");
    assert_eq!(
        world.gives(0).len(),
        world.brokers.len(),
        "one configuration each"
    );
    let before = world.done.len();
    world.run(30.0);
    assert_eq!(world.done.len(), before, "{:?}", &world.done[before..]);
    assert_eq!(world.status().problems, Vec::<String>::new());
}

#[test]
fn a_dead_transit_broker_is_routed_around_after_its_time_and_used_again_when_it_is_back() {
    let mut world = started(farm().build());
    world.set_life("c", Life::Held);
    world.run(4.5);
    assert_eq!(world.phase("c"), BrokerPhase::Suspect);
    assert_eq!(world.path("soil"), "a b c i");
    world.run(3.0);
    assert_eq!(world.phase("c"), BrokerPhase::Down);
    assert_eq!(world.path("soil"), "a e f g i");
    assert!(world.loaded().contains("a<e"), "{}", world.loaded());
    assert!(!world.loaded().contains("a<b"), "{}", world.loaded());

    world.set_life("c", Life::Running);
    world.run(10.0);
    assert_eq!(world.phase("c"), BrokerPhase::Ready);
    assert_eq!(world.path("soil"), "a b c i");
    assert_eq!(world.loaded(), "a<b b<c c<i c<j");
}

#[test]
fn a_reroute_takes_one_configuration_per_broker() {
    let mut world = started(farm().build());
    let before = world.done.len();
    world.set_life("c", Life::Held);
    world.run(10.0);
    let gives = world.gives(before);
    let mut once = gives.clone();
    once.sort();
    once.dedup();
    assert_eq!(gives.len(), once.len(), "{gives:?}");
}

#[test]
fn a_process_that_is_back_in_time_changes_nothing() {
    let mut world = started(farm().build());
    let before = world.done.len();
    world.set_life("c", Life::Restarting);
    world.run(3.0);
    assert_eq!(world.phase("c"), BrokerPhase::Suspect);
    world.set_life("c", Life::Running);
    world.run(20.0);
    assert_eq!(world.phase("c"), BrokerPhase::Ready);
    assert_eq!(world.done.len(), before);
}

#[test]
fn a_hang_is_noticed_by_its_heartbeats_alone_and_acted_on_at_once() {
    let mut world = started(farm().build());
    // A supervisor sees a process that exists and has nothing to say about it.
    world.broker("c").life = Life::Hung;
    world.broker("c").supervised = false;
    world.run(2.5);
    assert_eq!(world.phase("c"), BrokerPhase::Suspect);
    world.run(1.0);
    assert_eq!(world.phase("c"), BrokerPhase::Down);
    let record = &world.status().migrations[0];
    assert_eq!(
        record.evidence,
        [
            "3 heartbeats in a row were missed",
            "other brokers answered meanwhile"
        ]
    );
}

#[test]
fn a_hang_is_said_before_it_is_proven_and_not_again_when_it_is_over() {
    const SAID: &str = "stopped in its tracks";
    let mut world = started(farm().build());
    world.set_life("c", Life::Hung);
    world.run(1.0);
    assert!(world.phase("c") == BrokerPhase::Suspect && world.has_problem(SAID));
    world.run(5.0);
    assert_eq!(world.phase("c"), BrokerPhase::Down);
    // It answers before its supervisor has said that it runs.
    world.reports_arrive = false;
    world.set_life("c", Life::Running);
    world.run(1.0);
    assert!(world.phase("c") == BrokerPhase::Returning && !world.has_problem(SAID));
}

#[test]
fn the_substitute_serves_both_ends_and_hands_them_back() {
    let mut world = started(farm().build());
    world.set_life("i", Life::Held);
    world.run(8.0);
    assert_eq!(world.addresses[&name("i")], name("j"));
    assert_eq!(world.path("soil"), "a b c j");
    assert!(
        world.loaded().contains("c<j") && !world.loaded().contains("c<i"),
        "{}",
        world.loaded()
    );
    let served = world
        .status()
        .brokers
        .iter()
        .find(|it| it.name == name("i"))
        .unwrap()
        .served_by
        .clone();
    assert_eq!(served, Some(name("j")));

    world.set_life("i", Life::Running);
    world.run(10.0);
    assert_eq!(world.addresses[&name("i")], name("i"));
    assert_eq!(world.path("soil"), "a b c i");
    assert_eq!(
        phases(&world, "i"),
        [
            MigrationPhase::Detected,
            MigrationPhase::Retargeted,
            MigrationPhase::Completed,
            MigrationPhase::FailingBack,
            MigrationPhase::FailedBack
        ]
    );
}

#[test]
fn two_die_at_once_and_one_is_the_substitute_of_the_other() {
    let mut world = started(farm().build());
    world.set_life("i", Life::Held);
    world.set_life("j", Life::Held);
    world.run(8.0);
    let substitute = world.addresses[&name("i")].clone();
    assert_ne!(substitute, name("j"));
    assert_eq!(world.phase(substitute.as_str()), BrokerPhase::Ready);
    assert!(
        world.path("soil").ends_with(substitute.as_str()),
        "{}",
        world.path("soil")
    );
}

#[test]
fn a_substitute_that_dies_passes_on_whom_it_served() {
    let mut world = started(farm().build());
    world.set_life("i", Life::Held);
    world.run(8.0);
    world.set_life("j", Life::Held);
    world.run(8.0);
    let substitute = world.addresses[&name("i")].clone();
    assert_eq!(world.phase(substitute.as_str()), BrokerPhase::Ready);
    assert_eq!(world.status().migrations.len(), 2);

    world.set_life("i", Life::Running);
    world.set_life("j", Life::Running);
    world.run(12.0);
    assert_eq!(world.path("soil"), "a b c i");
    assert_eq!(world.addresses[&name("j")], name("j"));
}

#[test]
fn without_a_substitute_it_says_so_and_takes_the_broker_back() {
    let fleet = FleetBuilder::new().routes("a-b").topic("t", "t", "b", "a");
    let fleet = fleet.with("b", |broker| broker.failover.substitutes = Some([].into()));
    let mut world = started(fleet.build());
    world.set_life("b", Life::Held);
    world.run(8.0);
    assert!(
        world.has_problem("Migration/b-1: no broker that is well"),
        "{:?}",
        world.status().problems
    );
    world.set_life("b", Life::Running);
    world.run(8.0);
    assert_eq!(phases(&world, "b").last(), Some(&MigrationPhase::Aborted));
    assert_eq!(world.loaded(), "a<b");
    assert_eq!(world.status().problems, Vec::<String>::new());
}

#[test]
fn manual_policies_wait_for_a_person_both_ways() {
    let fleet = farm().with("i", |broker| {
        broker.failover.policy = FailoverPolicy::Manual;
        broker.failover.failback = Failback::Manual;
    });
    let mut world = started(fleet.build());
    world.set_life("i", Life::Held);
    world.run(8.0);
    assert_eq!(world.addresses.get("i"), None);
    assert!(world.has_problem("Migration/i-1: j would serve the clients of i"));
    world.tell(Event::Approved { broker: name("i") });
    assert_eq!(world.addresses[&name("i")], name("j"));

    world.run(2.0).set_life("i", Life::Running);
    world.run(10.0);
    assert_eq!(world.phase("i"), BrokerPhase::Returning);
    assert!(world.has_problem("approve its migration to take it back"));
    world.tell(Event::Approved { broker: name("i") });
    world.run(3.0);
    assert_eq!(world.addresses[&name("i")], name("i"));
    assert_eq!(world.path("soil"), "a b c i");
}

#[test]
fn a_stalled_controller_moves_nothing() {
    let mut world = started(farm().build());
    let before = world.done.len();
    world.now += Duration::from_secs(30);
    // What piled up meanwhile arrives at once.
    for broker in ["a", "b", "c", "e", "f", "g", "i"] {
        for _ in 0..5 {
            world.tell(Event::HeartbeatMissed {
                broker: name(broker),
                refused: false,
            });
        }
    }
    world.tell(Event::HeartbeatAnswered {
        broker: name("j"),
        round_trip: Duration::from_millis(1),
    });
    assert!(
        world.has_problem("controller: it was stalled"),
        "{:?}",
        world.status().problems
    );
    world.run(10.0);
    assert_eq!(world.done.len(), before, "{:?}", &world.done[before..]);
}

#[test]
fn a_controller_that_reaches_nobody_moves_nothing() {
    let mut world = started(farm().build());
    let before = world.done.len();
    for broker in world.brokers.values_mut() {
        broker.cut_off = true;
    }
    world.run(20.0);
    assert!(
        world.has_problem("controller: no broker answers"),
        "{:?}",
        world.status().problems
    );
    // They come back one after the other; nobody is suspected for being later than the first.
    for broker in ["a", "b", "c", "e", "f", "g", "i", "j"] {
        world.broker(broker).cut_off = false;
        world.run(0.3);
    }
    world.run(10.0);
    assert_eq!(world.done.len(), before, "{:?}", &world.done[before..]);
    assert!(!world.has_problem("no broker answers"));
}

#[test]
fn a_single_broker_is_judged_by_its_misses_alone() {
    let mut world = started(FleetBuilder::new().brokers("a").build());
    world.broker("a").cut_off = true;
    world.run(5.0);
    assert_eq!(world.phase("a"), BrokerPhase::Down);
}

#[test]
fn a_link_that_an_unreachable_broker_contradicts_waits_until_it_confirms() {
    // Data flows from b to a; then the edge is reversed while the supervisor of a is gone.
    let mut world = started(
        FleetBuilder::new()
            .routes("a-b")
            .topic("t", "t", "b", "a")
            .build(),
    );
    assert_eq!(world.loaded(), "a<b");
    world.lose_supervisor("a");
    world.declare(
        FleetBuilder::new()
            .routes("a-b")
            .topic("t", "t", "a", "b")
            .build(),
    );
    world.run(10.0);
    assert_eq!(world.loaded(), "a<b");
    assert!(
        world.has_problem("Broker/a: it cannot be reached"),
        "{:?}",
        world.status().problems
    );
    assert!(
        world.has_problem("b <- a (t) has to wait"),
        "{:?}",
        world.status().problems
    );

    world.restart_supervisor("a");
    world.run(5.0);
    assert_eq!(world.loaded(), "b<a");
    assert_eq!(world.status().problems, Vec::<String>::new());
}

#[test]
fn a_hung_broker_may_come_back_with_its_old_configuration() {
    let fleet = |producer: &str, consumer: &str| {
        FleetBuilder::new()
            .routes("a-b b-c")
            .topic("t", "t", producer, consumer)
            .with("a", |broker| broker.failover.policy = FailoverPolicy::Disabled)
            .build()
    };
    let mut world = started(fleet("b", "a"));
    world.set_life("a", Life::Hung);
    world.run(6.0);
    assert_eq!(world.phase("a"), BrokerPhase::Down);
    world.declare(fleet("a", "c"));
    world.run(5.0);
    assert_eq!(world.loaded(), "a<b", "nothing can flow from a while it hangs");
    world.set_life("a", Life::Running);
    world.run(10.0);
    assert_eq!(world.loaded(), "b<a c<b");
}

#[test]
fn a_refused_configuration_is_said_and_not_given_again() {
    let mut world = started(farm().build());
    world.broker("b").refuses = true;
    let before = world.done.len();
    world.set_life("c", Life::Held);
    world.run(30.0);
    assert!(
        world.has_problem("Broker/b: it refused configuration 2: line 3: no"),
        "{:?}",
        world.status().problems
    );
    assert_eq!(
        world.gives(before).iter().filter(|broker| *broker == "b").count(),
        1
    );
    world.broker("b").refuses = false;
    world.set_life("c", Life::Running);
    world.run(10.0);
    assert_eq!(world.loaded(), "a<b b<c c<i c<j");
}

#[test]
fn a_faulty_plan_is_not_given() {
    let mut world = World::with_tools(farm().build(), Box::new(Toy::with_ring("x")));
    world.run(8.0);
    let (loaded, before) = (world.loaded(), world.done.len());
    world.declare(farm().routes("x-a").build());
    world.run(10.0);
    assert_eq!(world.loaded(), loaded);
    assert_eq!(
        world.gives(before),
        ["x"],
        "it gets a configuration without links"
    );
    assert!(
        world.has_problem("plan: not given to the brokers"),
        "{:?}",
        world.status().problems
    );
    world.declare(farm().build());
    world.run(5.0);
    assert_eq!(world.status().problems, Vec::<String>::new());
}

#[test]
fn a_new_engine_does_not_disturb_a_running_fleet() {
    let mut world = started(farm().build());
    let before = world.done.len();
    world.restart_engine(Box::new(Real::default()));
    world.run(20.0);
    assert_eq!(world.done.len(), before, "{:?}", &world.done[before..]);
}

#[test]
fn a_new_engine_leaves_a_failover_as_it_is_until_the_broker_is_well() {
    let mut world = started(farm().build());
    world.set_life("i", Life::Held);
    world.run(10.0);
    let before = world.done.len();
    world.restart_engine(Box::new(Real::default()));
    world.run(20.0);
    assert_eq!(world.gives(before), Vec::<String>::new());
    assert_eq!(world.addresses[&name("i")], name("j"));
    assert_eq!(world.path("soil"), "a b c j");
    world.set_life("i", Life::Running);
    world.run(10.0);
    assert_eq!(world.addresses[&name("i")], name("i"));
    assert_eq!(world.path("soil"), "a b c i");
}

#[test]
fn an_edit_made_while_no_engine_ran_is_given_by_the_next() {
    let mut world = started(farm().build());
    let before = world.done.len();
    world.fleet = farm().routes("a-c").build().into();
    world.restart_engine(Box::new(Real::default()));
    world.run(10.0);
    assert_eq!(world.path("soil"), "a c i");
    assert!(!world.gives(before).is_empty());
    assert!(world.loaded().contains("a<c"), "{}", world.loaded());
}

#[test]
fn a_version_that_becomes_known_late_is_used_then() {
    let mut world = World::new(farm().build());
    for broker in world.brokers.values_mut() {
        broker.supervised = false;
    }
    world.run(5.0);
    let old = world
        .done
        .iter()
        .any(|it| matches!(it, Directive::GiveConfig { config, .. } if !config.contains("sqlite")));
    assert!(old, "nobody said which version it is");
    for broker in world.brokers.values_mut() {
        broker.supervised = true;
    }
    world.run(5.0);
    let last = world.done.iter().rev().find_map(|it| match it {
        Directive::GiveConfig { config, .. } => Some(config.clone()),
        _ => None,
    });
    assert!(last.unwrap().contains("sqlite"));
    assert_eq!(world.loaded(), "a<b b<c c<i c<j");
}

#[test]
fn a_broker_that_is_no_longer_declared_is_retired() {
    let mut world = started(farm().brokers("x").build());
    world.declare(farm().build());
    assert!(world.done.contains(&Directive::Retire { broker: name("x") }));
    world.run(5.0);
    assert_eq!(world.status().problems, Vec::<String>::new());
}

#[test]
fn a_broker_that_is_declared_again_has_all_the_time_of_a_new_one() {
    let mut world = started(farm().build());
    let without_i =
        FleetBuilder::new()
            .routes("a-b b-c c-j g-j f-g e-f a-e")
            .topic("soil", "farm/+/soil", "j", "a");
    world.declare(without_i.build());
    world.tell(Event::Supervisor {
        broker: name("i"),
        report: Report {
            loaded: None,
            rejected: None,
            version: None,
            process: Process::Stopped,
        },
    });
    world.run(20.0);
    world.declare(farm().build());
    assert_eq!(world.phase("i"), BrokerPhase::Pending);
    world.set_life("i", Life::Restarting);
    world.run(10.0);
    assert_eq!(world.phase("i"), BrokerPhase::Pending);
    world.set_life("i", Life::Running);
    world.run(5.0);
    assert_eq!(world.phase("i"), BrokerPhase::Ready);
    assert_eq!(world.status().migrations, []);
    assert_eq!(world.loaded(), "a<b b<c c<i c<j");
}

#[test]
fn an_external_broker_is_only_routed_around() {
    let fleet = FleetBuilder::new()
        .routes("a-x x-b a-c:5 c-b:5")
        .external("x")
        .topic("t", "t", "b", "a")
        .build();
    let mut world = started(fleet);
    // The toy planner does not know that x holds no connection; the engine never gives it one.
    assert!(!world.gives(0).contains(&"x".to_owned()));
    world.broker("x").supervised = false;
    world.broker("x").life = Life::Hung;
    world.run(5.0);
    assert_eq!(world.phase("x"), BrokerPhase::Down);
    assert_eq!(world.path("t"), "a c b");
    assert_eq!(world.addresses.get("x"), None);
    world.broker("x").life = Life::Running;
    world.run(5.0);
    assert_eq!(world.phase("x"), BrokerPhase::Ready);
}

#[test]
fn watching_a_hundred_brokers_costs_little() {
    let mut fleet = FleetBuilder::new();
    for number in 0..99 {
        fleet = fleet.routes(&format!("n{number}-n{}", number + 1));
    }
    for number in 0..50 {
        let (producer, consumer) = (format!("n{number}"), format!("n{}", number + 40));
        fleet = fleet.topic(
            &format!("t{number}"),
            &format!("t/{number}/#"),
            &producer,
            &consumer,
        );
    }
    let mut world = started(fleet.build());
    let before = world.done.len();
    let brokers: Vec<_> = world.brokers.keys().cloned().collect();
    let begun = std::time::Instant::now();
    for second in 1..=100 {
        for (index, broker) in brokers.iter().enumerate() {
            let now = world.now + Duration::from_millis(1000 * second + 10 * index as u64);
            let round_trip = Duration::from_micros(200);
            let event = Event::HeartbeatAnswered {
                broker: broker.clone(),
                round_trip,
            };
            assert!(world.engine.observe(event, now).is_empty());
        }
    }
    // A hundred seconds of heartbeats in 2 % of that, with an unoptimised build on an idle machine.
    println!("10,000 heartbeats: {:?}", begun.elapsed());
    assert_eq!(world.done.len(), before);
}
