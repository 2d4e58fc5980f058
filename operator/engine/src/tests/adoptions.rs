//! Given, when, then: what waits for a broker that is out, and to whom it goes.

use skein_api::fleet::FleetBuilder;

use super::world::{Life, World, name};
use crate::directive::MigrationPhase;

/// `a` subscribes what `i` publishes, by way of `b`, which also stands in for `a`.
fn farm(routes: &str) -> World {
    let fleet = FleetBuilder::new()
        .routes(routes)
        .topic("soil", "farm/+/soil", "i", "a");
    let mut world = World::new(fleet.build());
    world.run(8.0);
    assert_eq!(world.adopted, Vec::<String>::new());
    world
}

#[test]
fn what_waits_for_a_broker_that_hangs_goes_to_its_substitute() {
    let mut world = farm("a-b b-i");
    world.set_life("a", Life::Hung);
    world.run(8.0);
    assert_eq!(world.adopted, ["skein:a:b:pull:soil to b"]);
    let migration = world.status().migrations.pop().unwrap();
    assert_eq!(migration.phase, MigrationPhase::Completed);
    assert_eq!(migration.adopted, 1, "as many as were passed on");
}

#[test]
fn what_waits_for_one_on_the_way_goes_to_who_had_it_from_there() {
    let mut world = farm("a-b b-i a-c:2 c-i:2");
    world.set_life("b", Life::Hung);
    world.run(8.0);
    assert_eq!(world.adopted, ["skein:b:i:pull:soil to a"]);
}

#[test]
fn where_there_is_no_other_way_all_that_comes_waits_for_the_holder() {
    let mut world = farm("a-b b-i");
    world.set_life("b", Life::Hung);
    world.run(8.0);
    assert_eq!(world.adopted, Vec::<String>::new());
}

#[test]
fn who_may_come_back_to_its_session_at_any_time_is_left_to_it() {
    let mut world = farm("a-b b-i");
    world.deaf_to_bars = true;
    world.set_life("a", Life::Hung);
    world.run(8.0);
    assert_eq!(world.addresses.get(&name("a")), Some(&name("b")));
    assert_eq!(world.adopted, Vec::<String>::new(), "nobody keeps it out");
}
