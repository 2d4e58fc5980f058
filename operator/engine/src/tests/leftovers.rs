//! Given, when, then: subscriptions that links leave upstream, and what must wait for their end.

use skein_api::fleet::{Fleet, FleetBuilder};

use super::judge;
use super::world::{Life, World};
use crate::tools::Real;

/// Two brokers; each topic flows as given: `x:b>a` from b to a. All are of one class, by a topic that stays at a third.
fn pair(topics: &str) -> Fleet {
    let mut fleet = FleetBuilder::new()
        .routes("a-b b-c")
        .topic("all", "t/#", "c", "c");
    for topic in topics.split_whitespace() {
        let (name, flow) = topic.split_once(':').unwrap();
        let (producer, consumer) = flow.split_once('>').unwrap();
        fleet = fleet.topic(name, &format!("t/{name}"), producer, consumer);
    }
    fleet.build()
}

/// A fleet that runs, and whose bridges do nothing from here on unless told.
fn quiet(topics: &str) -> World {
    let mut world = World::new(pair(topics));
    world.run(8.0);
    world.bridges_connect = false;
    world
}

fn assert_harmless(world: &World) {
    assert_eq!(judge::hazards(&world.flowing()), [], "{}", world.loaded());
}

#[test]
fn an_edge_is_reversed_once_the_link_that_stays_has_forgotten_the_topic() {
    let mut world = quiet("x:b>a u:b>a");
    assert_eq!(world.loaded(), "a<b");
    world.declare(pair("x:a>b u:b>a"));
    world.run(10.0);
    assert_eq!(world.loaded(), "a<b", "its session is still subscribed to x");
    assert_harmless(&world);
    world.connect("a");
    world.run(2.0);
    assert_eq!(world.loaded(), "a<b", "nobody knows that it connected");
    world.pass_markers();
    world.run(2.0);
    assert_eq!(world.loaded(), "a<b b<a");
    assert_harmless(&world);
    let before = world.done.len();
    world.restart_engine(Box::new(Real::default()));
    world.run(10.0);
    assert_eq!(world.done.len(), before, "{:?}", &world.done[before..]);
}

#[test]
fn a_marker_of_an_earlier_connection_proves_nothing() {
    let mut world = quiet("x:b>a u:b>a");
    world.declare(pair("u:b>a"));
    world.run(2.0);
    world.connect("a");
    // Before the marker is seen, another change makes another connection of it.
    world.declare(pair("x:a>b u:b>a v:b>a"));
    world.run(2.0);
    world.pass_markers();
    world.run(2.0);
    assert_eq!(world.loaded(), "a<b");
    world.connect("a");
    world.pass_markers();
    world.run(2.0);
    assert_eq!(world.loaded(), "a<b b<a");
    assert_harmless(&world);
}

#[test]
fn a_link_that_left_subscriptions_comes_again_once_they_are_ended() {
    let mut world = quiet("x:b>a");
    world.declare(pair("x:a>b"));
    world.run(3.0);
    assert_eq!(world.loaded(), "b<a", "a link that is gone passes nothing");
    world.declare(pair("x:a>b u:b>a"));
    world.run(5.0);
    assert_eq!(world.loaded(), "b<a", "its session is still subscribed to x");
    assert_harmless(&world);
    world.clear_sessions();
    world.run(3.0);
    assert_eq!(world.loaded(), "a<b b<a");
    world.connect("a");
    assert_harmless(&world);
}

#[test]
fn what_was_left_is_remembered_by_the_next_controller() {
    let mut world = quiet("x:b>a");
    world.declare(pair("x:a>b"));
    world.run(3.0);
    world.restart_engine(Box::new(Real::default()));
    world.run(5.0);
    world.declare(pair("x:a>b u:b>a"));
    world.run(5.0);
    assert_eq!(world.loaded(), "b<a");
    world.clear_sessions();
    assert_eq!(
        world.adopted,
        ["skein:a:b:pull:all to a"],
        "it may have collected something"
    );
    world.run(3.0);
    assert_eq!(world.loaded(), "a<b b<a");
    world.connect("a");
    assert_harmless(&world);
}

#[test]
fn what_cannot_be_ended_is_said_and_tried_again() {
    let mut world = quiet("x:b>a");
    world.declare(pair("x:a>b"));
    world.run(3.0);
    world.broker("b").cut_off = true;
    world.clear_sessions();
    assert!(
        world.has_problem("Broker/a: the session skein:a:b:pull:all of a link that is gone"),
        "{:?}",
        world.status().problems
    );
    world.broker("b").cut_off = false;
    world.run(3.0);
    world.clear_sessions();
    world.run(1.0);
    assert_eq!(world.status().problems, Vec::<String>::new());
}

#[test]
fn nobody_is_woken_for_what_cannot_be_ended_while_its_broker_is_down() {
    let mut world = quiet("x:b>a");
    world.declare(pair("x:a>b"));
    world.run(3.0);
    world.set_life("b", Life::Held);
    world.run(30.0);
    world.clear_sessions();
    world.run(5.0);
    assert!(
        world.engine.next_wakeup().is_none_or(|at| at > world.now),
        "{:?} at {:?}",
        world.engine.next_wakeup(),
        world.now
    );
}

#[test]
fn a_broker_that_answers_again_has_what_was_left_there_ended() {
    let mut world = World::new(
        FleetBuilder::new()
            .routes("a-b b-c a-c:9")
            .topic("x", "x", "c", "a")
            .build(),
    );
    world.run(8.0);
    assert_eq!(world.loaded(), "a<b b<c");
    world.set_life("b", Life::Held);
    world.run(10.0);
    assert_eq!(world.loaded(), "a<c");
    let left = |world: &World| {
        let loaded = world.brokers.values().filter_map(|it| it.loaded.as_ref());
        world.sessions.left(loaded.map(|(.., config)| config))
    };
    assert_eq!(
        left(&world),
        ["skein:a:b:pull:x"],
        "c is well, so that of b is ended; that at b must wait"
    );
    world.set_life("b", Life::Running);
    world.run(20.0);
    assert_eq!(world.loaded(), "a<b b<c");
    assert_eq!(left(&world), Vec::<String>::new());
}
