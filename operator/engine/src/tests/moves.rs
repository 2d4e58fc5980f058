//! Clients that are led elsewhere with their sessions, when their broker dies and when a person drains it.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_api::fleet::{FailoverPolicy, FleetBuilder};
use skein_api::name::{BrokerName, Qos};

use super::world::{Life, World, name};
use crate::directive::{BrokerPhase, Directive, Migration, MigrationPhase, Reason};
use crate::event::Event;
use crate::sessions::{ClientSession, ClientSessions, Subscription};

/// Two who subscribe at `a`, and one who only publishes.
fn started(fleet: FleetBuilder) -> World {
    let mut world = World::new(fleet.build());
    world.run(4.0);
    world.clients.insert(name("a"), kept(&["office", "archive"]));
    world.tell(Event::SessionsRead {
        broker: name("a"),
        sessions: Some(Arc::new(world.clients[&name("a")].clone())),
        serial: None,
    });
    world
}

fn farm() -> FleetBuilder {
    FleetBuilder::new()
        .routes("a-b b-i e-b")
        .topic("soil", "farm/+/soil", "i", "a")
}

fn kept(clients: &[&str]) -> ClientSessions {
    let subscription = Subscription {
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        identifier: None,
    };
    let session = ClientSession {
        subscriptions: BTreeMap::from([("farm/+/soil".to_owned(), subscription)]),
        ..ClientSession::default()
    };
    let sessions = clients
        .iter()
        .map(|client| ((*client).to_owned(), session.clone()));
    let sensor = ("sensor".to_owned(), ClientSession::default());
    ClientSessions {
        newest: 0,
        by_client: sessions.chain([sensor]).collect(),
        ..ClientSessions::default()
    }
}

/// Messages wait for a client.
fn waits(world: &mut World, at: &str, client: &str, messages: u64) {
    let sessions = world.clients.get_mut(&name(at)).unwrap();
    sessions.newest = 7;
    let session = sessions.by_client.get_mut(client).unwrap();
    session.waiting = messages;
    session.oldest = (messages > 0).then_some(7);
}

fn newest(world: &World) -> Migration {
    world.status().migrations.last().unwrap().clone()
}

fn clients(world: &World, at: &str) -> Vec<String> {
    let kept = world.clients.get(&name(at));
    kept.into_iter()
        .flat_map(|kept| kept.by_client.keys().cloned())
        .collect()
}

fn drain(world: &mut World, to: Option<&str>, abandon: bool) {
    world.tell(Event::Drain {
        broker: name("a"),
        to: to.map(name),
        abandon,
    });
}

#[test]
fn sessions_are_open_before_the_address_leads_to_them() {
    let mut world = started(farm());
    world.set_life("a", Life::Held);
    world.run(8.0);
    let to = world.addresses[&name("a")].clone();
    let place = |wanted: &dyn Fn(&Directive) -> bool| world.done.iter().position(wanted).unwrap();
    let opened = |client: &'static str| {
        place(&move |it| matches!(it, Directive::OpenClientSession { client_id, .. } if client_id == client))
    };
    let moved = place(&|it| matches!(it, Directive::PointAddress { broker, .. } if *broker == name("a")));
    assert!(opened("office") < moved && opened("archive") < moved);
    // Who only publishes has nothing to get.
    assert_eq!(clients(&world, to.as_str()), ["archive", "office"]);

    world.set_life("a", Life::Running);
    world.run(8.0);
    assert_eq!(newest(&world).phase, MigrationPhase::FailedBack);
    assert_eq!(clients(&world, to.as_str()), Vec::<String>::new());
    // The sensor subscribes nothing: it finds no session with exchanges that are over.
    assert_eq!(clients(&world, "a"), ["archive", "office"]);
}

/// `a` is back, and its clients are still elsewhere, as three messages wait there for one of them; where that is.
fn waiting_to_go_back() -> (World, BrokerName) {
    let mut world = started(farm());
    world.set_life("a", Life::Held);
    world.run(8.0);
    let to = world.addresses[&name("a")].clone();
    waits(&mut world, to.as_str(), "archive", 3);
    world.set_life("a", Life::Running);
    world.run(12.0);
    assert_eq!(world.phase("a"), BrokerPhase::Returning);
    (world, to)
}

#[test]
fn nobody_is_led_back_past_messages() {
    let (mut world, to) = waiting_to_go_back();
    assert_eq!(
        newest(&world).waiting,
        BTreeMap::from([("archive".to_owned(), 3)])
    );
    waits(&mut world, to.as_str(), "archive", 0);
    world.run(12.0);
    assert_eq!(
        (world.phase("a"), newest(&world).phase),
        (BrokerPhase::Ready, MigrationPhase::FailedBack)
    );
    assert_eq!(world.addresses[&name("a")], name("a"));
}

#[test]
fn what_nobody_comes_for_can_be_given_up() {
    let (mut world, _) = waiting_to_go_back();
    let before = world.done.len();
    world.tell(Event::Abandoned { broker: name("a") });
    world.run(3.0);
    let going_back = world.done[before..].iter().find_map(|done| match done {
        Directive::RecordMigration(it) if it.phase == MigrationPhase::FailingBack => Some(it.waiting.clone()),
        _ => None,
    });
    assert_eq!(
        going_back,
        Some(BTreeMap::from([("archive".to_owned(), 3)])),
        "it is counted"
    );
    assert_eq!(
        (world.phase("a"), newest(&world).phase),
        (BrokerPhase::Ready, MigrationPhase::FailedBack)
    );
    assert_eq!(world.addresses[&name("a")], name("a"));
}

#[test]
fn a_client_whose_name_is_taken_begins_anew() {
    let mut world = started(farm());
    for other in ["b", "e", "i"] {
        world.clients.insert(name(other), kept(&["office"]));
        world.tell(Event::SessionsRead {
            broker: name(other),
            sessions: Some(Arc::new(kept(&["office"]))),
            serial: None,
        });
    }
    world.set_life("a", Life::Held);
    world.run(8.0);
    let migration = newest(&world);
    assert!(
        migration.not_moved["office"].contains("has a client of that name"),
        "{migration:?}"
    );
    world.set_life("a", Life::Running);
    world.run(8.0);
    let to = migration.to.unwrap();
    assert_eq!(clients(&world, to.as_str()), ["office"], "that is its own");
}

#[test]
fn a_drained_broker_is_left_empty_and_gets_its_clients_back() {
    let mut world = started(farm());
    drain(&mut world, None, false);
    let migration = newest(&world);
    assert_eq!(
        (migration.reason, migration.phase),
        (Reason::Drain, MigrationPhase::Draining)
    );
    world.run(4.0);
    let migration = newest(&world);
    let to = migration.to.unwrap();
    assert_eq!(migration.phase, MigrationPhase::Completed);
    assert_eq!(
        (&world.addresses[&name("a")], world.phase("a")),
        (&to, BrokerPhase::Ready)
    );
    assert_eq!(clients(&world, "a"), ["sensor"]);
    assert_eq!(clients(&world, to.as_str()), ["archive", "office"]);
    assert_eq!(
        world.loaded().find("a<"),
        None,
        "nothing flows to it: {}",
        world.loaded()
    );

    world.tell(Event::Undrain { broker: name("a") });
    world.run(4.0);
    assert_eq!(newest(&world).phase, MigrationPhase::FailedBack);
    assert_eq!(clients(&world, "a"), ["archive", "office"]);
    assert_eq!(clients(&world, to.as_str()), Vec::<String>::new());
    assert!(world.loaded().contains("a<b"), "{}", world.loaded());
}

#[test]
fn a_drain_waits_for_who_is_away_and_can_be_called_off_or_made_to_give_up() {
    let mut world = started(farm());
    waits(&mut world, "a", "archive", 2);
    drain(&mut world, None, false);
    world.run(4.0);
    assert_eq!(
        newest(&world).waiting,
        BTreeMap::from([("archive".to_owned(), 2)])
    );
    world.tell(Event::Undrain { broker: name("a") });
    world.run(1.0);
    assert_eq!(newest(&world).phase, MigrationPhase::Aborted);
    assert!(
        !world
            .done
            .iter()
            .any(|it| matches!(it, Directive::PointAddress { .. }))
    );

    drain(&mut world, None, false);
    world.run(1.0);
    drain(&mut world, None, true);
    world.run(1.0);
    let moved = world.done.iter().find_map(|it| match it {
        Directive::RecordMigration(it) if it.phase == MigrationPhase::Retargeted => Some(it.clone()),
        _ => None,
    });
    assert_eq!(
        moved.unwrap().waiting["archive"],
        2,
        "what is given up is counted"
    );
}

#[test]
fn clients_go_where_a_person_says_or_nowhere() {
    let fleet = farm().with("a", |broker| broker.failover.policy = FailoverPolicy::Disabled);
    let mut world = started(fleet);
    drain(&mut world, Some("i"), false);
    world.run(4.0);
    assert_eq!(
        world.addresses[&name("a")],
        name("i"),
        "whatever the policy for failures"
    );
    world.tell(Event::Undrain { broker: name("a") });
    world.run(4.0);
    world.set_life("i", Life::Held);
    world.run(8.0);
    drain(&mut world, Some("i"), false);
    world.run(4.0);
    let migration = newest(&world);
    assert_eq!(migration.phase, MigrationPhase::Failed, "{migration:?}");
    assert!(
        migration.evidence[0].starts_with("i is not well"),
        "{migration:?}"
    );
    assert_eq!(world.addresses[&name("a")], name("a"));
}

#[test]
fn a_drained_broker_stays_so_when_it_dies_and_returns() {
    let mut world = started(farm());
    drain(&mut world, None, false);
    world.run(4.0);
    let to = world.addresses[&name("a")].clone();
    world.set_life("a", Life::Held);
    world.run(8.0);
    world.set_life("a", Life::Running);
    world.run(8.0);
    assert_eq!(world.phase("a"), BrokerPhase::Ready);
    assert_eq!(world.addresses[&name("a")], to);
    assert_eq!(newest(&world).phase, MigrationPhase::Completed);
}
