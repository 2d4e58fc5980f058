//! Given, when, then: switches that are finished before anything else, and brokers that are kept out meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_api::fleet::FleetBuilder;

use super::stories::{farm, started};
use super::world::{Life, World, name};
use crate::directive::{BrokerPhase, Directive};

#[test]
fn a_switch_that_has_begun_is_finished_before_the_next_change() {
    // The same, with the long way made the short one.
    let detour = || {
        FleetBuilder::new()
            .routes("a-b:9 b-c c-i a-e e-f f-g g-i c-j:9 g-j")
            .topic("soil", "farm/+/soil", "i j", "a")
            .build()
    };
    let mut world = started(farm().build());
    world.broker("e").load_after = None;
    world.declare(detour());
    world.run(2.0);
    assert!(!world.loaded().contains("a<b"), "{}", world.loaded());
    // What is published gathers for e, which has not loaded its configuration, when the edit is taken back.
    let before = world.done.len();
    world.declare(farm().build());
    world.run(2.0);
    assert_eq!(world.path("soil"), "a b c i", "that is the plan");
    assert_eq!(world.gives(before), Vec::<String>::new());
    let opened = |it: &Directive| matches!(it, Directive::Seed { .. } | Directive::EndSubscriptions { .. });
    let touched = world.done[before..].iter().filter(|it| opened(it)).count();
    assert_eq!(touched, 0, "{:?}", &world.done[before..]);
    world.broker("e").load_after = Some(Duration::ZERO);
    world.run(10.0);
    assert_eq!(world.loaded(), "a<b b<c c<i c<j");
}

#[test]
fn what_cannot_be_finished_is_given_up() {
    let mut world = started(farm().build());
    world.broker("e").load_after = None;
    let detour = FleetBuilder::new()
        .routes("a-b:9 b-c c-i a-e e-f f-g g-i c-j:9 g-j")
        .topic("soil", "farm/+/soil", "i j", "a");
    world.declare(detour.build());
    world.run(2.0);
    world.declare(farm().build());
    world.set_life("e", Life::Held);
    world.run(10.0);
    assert_eq!(world.phase("e"), BrokerPhase::Down);
    assert_eq!(world.loaded(), "a<b b<c c<i c<j");
}

/// Who is kept out where, as `upstream:downstream`.
fn kept_out(world: &World) -> String {
    let all = world.brokers.iter().flat_map(|(upstream, it)| {
        let downstreams = it.keeps_out.iter();
        downstreams.map(move |downstream| format!("{upstream}:{downstream}"))
    });
    all.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_dead_broker_is_kept_out_until_it_runs_what_is_safe() {
    let mut world = started(farm().build());
    assert_eq!(world.loaded(), "a<b b<c c<i c<j");
    // It is hung, so its supervisor can make it load nothing.
    world.set_life("c", Life::Hung);
    world.run(10.0);
    assert_eq!(world.phase("c"), BrokerPhase::Down);
    assert_eq!(kept_out(&world), "i:c j:c");
    world.broker("c").load_after = None;
    world.set_life("c", Life::Running);
    world.run(10.0);
    assert_eq!(world.phase("c"), BrokerPhase::Returning);
    assert_eq!(kept_out(&world), "i:c j:c", "it goes on with what it had");
    world.broker("c").load_after = Some(Duration::ZERO);
    world.run(10.0);
    assert_eq!(kept_out(&world), "");
    assert_eq!(world.loaded(), "a<b b<c c<i c<j");
}

#[test]
fn the_next_controller_lets_in_whom_it_may_and_no_sooner() {
    let mut world = started(farm().build());
    world.set_life("c", Life::Hung);
    world.run(10.0);
    world.restart_engine(Box::new(crate::tools::Real::default()));
    world.run(2.0);
    assert_eq!(kept_out(&world), "i:c j:c", "nothing is known of c yet");
    world.run(10.0);
    assert_eq!(kept_out(&world), "i:c j:c");
    world.set_life("c", Life::Running);
    world.run(12.0);
    assert_eq!(kept_out(&world), "");
    // One that was left barred by a life that is over.
    let stale = BTreeSet::from([name("c")]);
    world.broker("i").bars.clone_from(&stale);
    world.broker("i").keeps_out = stale;
    world.restart_engine(Box::new(crate::tools::Real::default()));
    world.run(3.0);
    assert_eq!(kept_out(&world), "");
}
