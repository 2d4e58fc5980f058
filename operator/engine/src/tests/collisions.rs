//! Brokers whose clients would get each other's messages if those of one were led to the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_api::fleet::{CollisionPolicy, FleetBuilder};
use skein_api::name::Qos;

use super::world::{Life, World, name};
use crate::directive::{BrokerStatus, Migration, MigrationPhase};
use crate::event::Event;
use crate::sessions::{ClientSession, ClientSessions, Subscription};

/// `a` and `b` subscribe the same, so each would stand in for the other.
fn farm() -> FleetBuilder {
    FleetBuilder::new()
        .routes("a-c b-c c-i")
        .topic("soil", "farm/+/soil", "i", "a b")
}

/// Clients at both subscribe what is declared for both.
fn started(fleet: FleetBuilder) -> World {
    let mut world = World::new(fleet.build());
    world.run(4.0);
    keep(&mut world, "a", &[("office", "farm/+/soil")]);
    keep(&mut world, "b", &[("desk", "farm/#")]);
    world.run(1.0);
    world
}

/// A broker keeps these sessions, and tells.
fn keep(world: &mut World, at: &str, sessions: &[(&str, &str)]) {
    let mut kept = ClientSessions::default();
    for (client, filter) in sessions {
        let subscription = Subscription {
            qos: Qos::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            identifier: None,
        };
        let session = ClientSession {
            subscriptions: BTreeMap::from([((*filter).to_owned(), subscription)]),
            ..ClientSession::default()
        };
        kept.by_client.insert((*client).to_owned(), session);
    }
    world.clients.insert(name(at), kept.clone());
    world.tell(Event::SessionsRead {
        broker: name(at),
        sessions: Some(Arc::new(kept)),
        serial: None,
    });
}

/// Two who do not know of each other subscribe the same beside that.
fn collide(world: &mut World) {
    keep(
        world,
        "a",
        &[("office", "farm/+/soil"), ("planner", "plan/today")],
    );
    keep(world, "b", &[("desk", "farm/#"), ("clerk", "plan/#")]);
}

fn newest(world: &World) -> Migration {
    world.status().migrations.last().unwrap().clone()
}

fn broker(world: &World, which: &str) -> BrokerStatus {
    let brokers = world.status().brokers;
    brokers.into_iter().find(|it| it.name.as_str() == which).unwrap()
}

const SAID: &str =
    "client planner of a (plan/today) and client clerk of b (plan/#) would get each other's messages";

/// `a` is down, and its clients wait.
fn waiting() -> World {
    let mut world = started(farm());
    collide(&mut world);
    world.set_life("a", Life::Held);
    world.run(10.0);
    let migration = newest(&world);
    assert_eq!(migration.phase, MigrationPhase::Pending, "{migration:?}");
    assert_eq!(migration.to, Some(name("b")));
    let said = format!("collision: {SAID} on topics that no Topic declares for both brokers");
    assert_eq!(migration.evidence.last(), Some(&said), "{migration:?}");
    assert_eq!(world.addresses.get("a"), None);
    assert!(
        world.has_problem(&format!(
            "Migration/a-1: b would serve the clients of a; it waits for approval, as {SAID}"
        )),
        "{:?}",
        world.status().problems
    );
    world
}

#[test]
fn it_is_said_before_anything_fails() {
    let mut world = started(farm());
    assert_eq!(broker(&world, "a").collision_count, 0);
    assert_eq!(world.status().problems, Vec::<String>::new());
    let before = world.done.len();
    collide(&mut world);
    let found = broker(&world, "a");
    assert_eq!((found.collision_count, found.collisions.len()), (1, 1));
    assert_eq!(found.collisions[0].other_filter, "plan/#");
    assert_eq!(
        broker(&world, "b").collision_count,
        1,
        "each would stand in for the other"
    );
    assert_eq!(broker(&world, "c").collision_count, 0);
    assert!(world.has_problem(&format!(
        "Broker/a: were it down, its clients would wait for approval before b serves them, as {SAID}"
    )));
    // Nobody is asked to do anything for that.
    world.run(3.0);
    assert_eq!(world.done.len(), before, "{:?}", &world.done[before..]);

    keep(&mut world, "b", &[("desk", "farm/#")]);
    assert_eq!(broker(&world, "a").collision_count, 0);
    assert_eq!(world.status().problems, Vec::<String>::new());
}

#[test]
fn who_takes_part_in_the_same_fails_over_by_itself() {
    let mut world = started(farm());
    world.set_life("a", Life::Held);
    world.run(10.0);
    assert_eq!(world.addresses[&name("a")], name("b"));
    assert_eq!(
        broker(&world, "a").collision_count,
        0,
        "guests are not the substitute's own"
    );
    assert_eq!(broker(&world, "b").collision_count, 0);
}

#[test]
fn its_clients_wait_until_a_person_approves() {
    let mut world = waiting();
    world.tell(Event::Approved { broker: name("a") });
    world.run(4.0);
    assert_eq!(world.addresses[&name("a")], name("b"));
    let migration = newest(&world);
    assert_eq!(migration.phase, MigrationPhase::Completed);
    assert!(
        migration.evidence.last().unwrap().contains(SAID),
        "it stays on record"
    );
    world.set_life("a", Life::Running);
    world.run(10.0);
    assert_eq!(
        newest(&world).phase,
        MigrationPhase::FailedBack,
        "the way back needs no approval"
    );
}

#[test]
fn its_clients_wait_no_longer_than_there_is_a_reason() {
    let mut world = waiting();
    keep(&mut world, "b", &[("desk", "farm/#")]);
    world.run(4.0);
    assert_eq!(world.addresses[&name("a")], name("b"));
    assert!(
        !newest(&world)
            .evidence
            .iter()
            .any(|text| text.contains("collision"))
    );
}

#[test]
fn a_declaration_for_both_ends_it() {
    let mut world = waiting();
    world.declare(farm().topic("plan", "plan/#", "a b", "a b").build());
    world.run(6.0);
    assert_eq!(world.addresses[&name("a")], name("b"));
}

#[test]
fn an_engine_that_begins_anew_waits_too() {
    let mut world = waiting();
    world.restart_engine(Box::new(crate::tools::Real::default()));
    // What is down is read as soon as it is placed.
    collide(&mut world);
    world.run(10.0);
    let migration = newest(&world);
    assert_eq!(migration.phase, MigrationPhase::Pending, "{migration:?}");
    let said = migration
        .evidence
        .iter()
        .filter(|text| text.contains(SAID))
        .count();
    assert_eq!(said, 1, "{migration:?}");
    assert!(!world.has_problem("Broker/a: down: collision"));
}

#[test]
fn who_accepts_collisions_is_not_asked() {
    let accepts = |broker: &mut skein_api::fleet::Broker| {
        broker.failover.collisions = CollisionPolicy::Accept;
    };
    let mut world = started(farm().with("a", accepts).with("b", accepts));
    collide(&mut world);
    assert_eq!(broker(&world, "a").collision_count, 1);
    assert_eq!(world.status().problems, Vec::<String>::new());
    world.set_life("a", Life::Held);
    world.run(10.0);
    assert_eq!(world.addresses[&name("a")], name("b"));
    assert!(newest(&world).evidence.last().unwrap().contains(SAID));
}

#[test]
fn a_person_who_drains_has_decided() {
    let mut world = started(farm());
    collide(&mut world);
    world.tell(Event::Drain {
        broker: name("a"),
        to: None,
        abandon: false,
    });
    world.run(6.0);
    assert_eq!(world.addresses[&name("a")], name("b"));
    let migration = newest(&world);
    assert_eq!(migration.phase, MigrationPhase::Completed, "{migration:?}");
    assert_eq!(migration.evidence.len(), 1, "{migration:?}");
    assert!(migration.evidence[0].contains(SAID));
}
