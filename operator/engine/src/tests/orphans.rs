//! Given, when, then: sessions of links that brokers keep and of which no record tells.

use std::time::Duration;

use skein_api::fleet::{Fleet, FleetBuilder};
use skein_api::name::Qos;
use skein_filters::TopicFilter;

use super::world::{Life, World};
use crate::directive::Directive;
use crate::tools::Real;

fn farm() -> Fleet {
    FleetBuilder::new()
        .routes("a-b b-i")
        .topic("soil", "farm/+/soil", "i", "a")
        .build()
}

fn started() -> World {
    let mut world = World::audited(farm());
    world.run(8.0);
    assert_eq!(left(&world), Vec::<String>::new());
    world
}

/// Somebody left a session, and no record of it.
fn orphan(world: &mut World, client_id: &str) {
    let subscribed = (TopicFilter::parse("farm/#").unwrap(), Qos::AtLeastOnce);
    world.sessions.open(client_id, &[subscribed]);
}

fn left(world: &World) -> Vec<String> {
    let loaded = world.brokers.values().filter_map(|it| it.loaded.as_ref());
    world.sessions.left(loaded.map(|(.., config)| config))
}

fn readings(world: &World) -> usize {
    let reads = |done: &&Directive| matches!(done, Directive::ReadSessions { .. });
    world.done.iter().filter(reads).count()
}

#[test]
fn each_broker_is_looked_through_once_in_the_life_of_an_engine_and_of_a_process() {
    let mut world = started();
    assert_eq!(readings(&world), 3);
    world.run(20.0);
    assert_eq!(readings(&world), 3);
    world.restart_engine(Box::new(Real::default()));
    world.run(20.0);
    assert_eq!(readings(&world), 6);
    world.set_life("b", Life::Held);
    world.run(1.0);
    world.set_life("b", Life::Running);
    world.run(20.0);
    assert_eq!(readings(&world), 7);
    assert_eq!(
        world.adopted,
        Vec::<String>::new(),
        "nothing is passed on that is in use"
    );
}

#[test]
fn what_an_older_life_left_is_ended_and_what_waited_in_it_is_not_lost() {
    let mut world = started();
    let running = world.loaded();
    orphan(&mut world, "skein:a:b:pull2:old");
    world.run(8.0);
    assert_eq!(left(&world), ["skein:a:b:pull2:old"], "nobody looks all the time");
    world.restart_engine(Box::new(Real::default()));
    world.run(8.0);
    assert_eq!(left(&world), Vec::<String>::new());
    assert_eq!(world.adopted, ["skein:a:b:pull2:old to a"]);
    assert_eq!(world.loaded(), running, "links are left alone");
    assert!(world.status().settled);
}

#[test]
fn what_a_broker_left_that_is_gone_is_ended_after_a_restart_of_the_one_that_keeps_it() {
    let mut world = started();
    world.set_life("b", Life::Held);
    world.run(1.0);
    orphan(&mut world, "skein:gone:b:pull:soil");
    world.set_life("b", Life::Running);
    world.run(12.0);
    assert_eq!(left(&world), Vec::<String>::new());
    assert_eq!(
        world.adopted,
        Vec::<String>::new(),
        "there is nobody to whom it could go"
    );
    assert_eq!(world.recorded, []);
}

#[test]
fn nothing_is_ended_that_a_broker_may_use_of_which_nobody_has_heard() {
    let mut world = started();
    orphan(&mut world, "skein:a:b:pull2:old");
    world.lose_supervisor("a");
    world.run(1.0);
    world.restart_engine(Box::new(Real::default()));
    world.run(10.0);
    assert_eq!(left(&world), ["skein:a:b:pull2:old"]);
    world.restart_supervisor("a");
    world.run(10.0);
    assert_eq!(left(&world), Vec::<String>::new());
}

#[test]
fn it_is_looked_only_when_all_is_at_rest() {
    let mut world = started();
    orphan(&mut world, "skein:a:b:pull2:old");
    world.broker("i").load_after = None;
    let topics = FleetBuilder::new()
        .routes("a-b b-i")
        .topic("soil", "farm/+/soil", "a", "i");
    world.declare(topics.build());
    world.run(2.0);
    let before = readings(&world);
    world.restart_engine(Box::new(Real::default()));
    world.run(5.0);
    assert!(!world.status().settled);
    assert_eq!(readings(&world), before);
    world.broker("i").load_after = Some(Duration::ZERO);
    world.load("i", true);
    world.run(20.0);
    assert_eq!(left(&world), Vec::<String>::new(), "{:?}", world.status());
}
