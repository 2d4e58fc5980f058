//! What passes through a broker that does not answer us speaks for it.

use std::time::Duration;

use skein_api::fleet::FleetBuilder;

use super::world::{World, name};
use crate::directive::BrokerPhase;
use crate::event::Event;

/// `a` hears `i` by way of `b`; `e` stands beside and always answers.
fn started() -> World {
    let fleet = FleetBuilder::new().routes("a-b b-i a-e e-i:9");
    let mut world = World::new(fleet.topic("soil", "farm/+/soil", "i", "a").build());
    world.run(8.0);
    assert_eq!(world.path("soil"), "a b i");
    world
}

fn probe(world: &mut World, took: Option<f64>) {
    world.tell(Event::Probe {
        topic: skein_api::name::TopicName::new("soil").unwrap(),
        producer: name("i"),
        consumer: name("a"),
        took: took.map(Duration::from_secs_f64),
    });
}

#[test]
fn a_broker_that_we_do_not_reach_is_left_alone_while_messages_pass_through_it() {
    let mut world = started();
    world.broker("b").cut_off = true;
    for _ in 0..20 {
        world.run(1.0);
        probe(&mut world, Some(0.01));
        assert_eq!(world.phase("b"), BrokerPhase::Suspect);
    }
    // It hangs, and nothing passes any more.
    for _ in 0..5 {
        world.run(1.0);
        probe(&mut world, None);
    }
    assert_eq!(world.phase("b"), BrokerPhase::Down);
}

#[test]
fn what_was_sent_before_the_silence_began_proves_nothing() {
    let mut world = started();
    world.broker("b").cut_off = true;
    for second in 1..=5 {
        world.run(1.0);
        probe(&mut world, Some(f64::from(second) + 1.0));
    }
    assert_eq!(world.phase("b"), BrokerPhase::Down);
}

#[test]
fn messages_speak_for_nobody_while_it_is_not_known_which_way_they_go() {
    let mut world = started();
    // It cannot be given what the plan says: who knows what else does not go by the plan.
    world.lose_supervisor("e");
    let fleet = FleetBuilder::new().routes("a-b b-i a-e e-i:9");
    let fleet = fleet.topic("soil", "farm/+/soil", "i", "a");
    world.declare(fleet.topic("hay", "hay", "i", "e").build());
    world.run(3.0);
    world.broker("b").cut_off = true;
    for _ in 0..5 {
        world.run(1.0);
        probe(&mut world, Some(0.01));
    }
    assert_eq!(world.phase("b"), BrokerPhase::Down);
}
