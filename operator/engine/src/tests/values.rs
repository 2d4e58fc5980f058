//! Retained values: forgotten before they could come again as news, and taken along by the clients that published them.

use skein_filters::TopicFilter;

use super::stories::{farm, started};
use super::world::{Life, Reading, World, name};
use crate::directive::{BrokerPhase, Directive};
use crate::event::Event;
use crate::retained::Stage;

/// What was asked of brokers since then.
fn asked(world: &World, since: usize) -> Vec<String> {
    let of = |directive: &Directive| match directive {
        Directive::ForgetValues { broker, carried, .. } => {
            let carried: Vec<&str> = carried.iter().map(TopicFilter::as_str).collect();
            Some(format!("{broker} forgets all but [{}]", carried.join(" ")))
        }
        Directive::CopyValues {
            home,
            from,
            to,
            copying,
            ..
        } => Some(format!(
            "{home}: {from} to {to} {:?} {}",
            copying.stage, copying.complete
        )),
        _ => None,
    };
    world.values[since..].iter().filter_map(of).collect()
}

#[test]
fn a_returning_broker_forgets_what_links_had_brought_before_it_is_taken_back() {
    let mut world = started(farm().build());
    world.set_life("c", Life::Held);
    world.run(8.0);
    let before = world.values.len();
    world.reading = Reading::Fails;
    world.set_life("c", Life::Running);
    // As long as that cannot be seen to, it stays out; but not for ever.
    world.run(2.5);
    assert_eq!(world.phase("c"), BrokerPhase::Returning);
    assert!(
        world.has_problem("Broker/c: it may have retained values"),
        "{:?}",
        world.status().problems
    );
    assert_eq!(asked(&world, before)[0], "c forgets all but []");
    world.reading = Reading::Works;
    world.run(6.0);
    assert_eq!(world.phase("c"), BrokerPhase::Ready);
    assert_eq!(world.path("soil"), "a b c i");
}

#[test]
fn values_that_nobody_can_read_keep_no_broker_out_for_ever() {
    let mut world = started(farm().build());
    world.reading = Reading::Fails;
    world.set_life("c", Life::Held);
    world.run(8.0);
    world.set_life("c", Life::Running);
    world.run(15.0);
    assert_eq!(world.phase("c"), BrokerPhase::Ready);
    assert!(world.status().settled, "{:?}", world.status().problems);
}

#[test]
fn a_broker_that_no_way_leads_through_any_more_forgets_what_came_by_it() {
    let mut world = started(farm().build());
    let before = world.values.len();
    world.set_life("c", Life::Held);
    world.run(8.0);
    // b has lost its way to c, and nothing goes through it now.
    assert!(
        asked(&world, before).contains(&"b forgets all but []".to_owned()),
        "{:?}",
        asked(&world, before)
    );
    let before = world.values.len();
    world.run(8.0);
    assert_eq!(asked(&world, before), [""; 0], "and that is that");
}

#[test]
fn values_go_with_the_clients_and_come_back_with_them() {
    let mut world = started(farm().build());
    let before = world.values.len();
    world.set_life("i", Life::Held);
    world.run(8.0);
    let away = asked(&world, before);
    assert!(away.contains(&"i: i to j Ahead false".to_owned()), "{away:?}");
    assert!(
        !away.iter().any(|it| it.contains("Behind")),
        "it does not answer: {away:?}"
    );
    let migration = world.status().migrations.pop().unwrap();
    assert!(migration.copied);

    let before = world.values.len();
    world.set_life("i", Life::Running);
    world.run(10.0);
    let back = asked(&world, before);
    let at = |what: &str| back.iter().position(|it| it == what);
    let (ahead, behind) = (at("i: j to i Ahead true"), at("i: j to i Behind false"));
    assert!(ahead.is_some() && ahead < behind, "{back:?}");
    assert_eq!(world.addresses[&name("i")], name("i"));
}

#[test]
fn clients_wait_for_their_values_but_not_long() {
    let mut world = started(farm().build());
    world.reading = Reading::Takes;
    world.set_life("i", Life::Held);
    while world.phase("i") != BrokerPhase::Down {
        world.step();
    }
    let copies = |world: &World| {
        let ahead = |it: &&Directive| matches!(it, Directive::CopyValues { copying, .. } if copying.stage == Stage::Ahead);
        world.values.iter().filter(ahead).count()
    };
    while copies(&world) == 0 {
        world.step();
    }
    assert!(
        !world.addresses.contains_key(&name("i")),
        "their values are not there yet"
    );
    world.run(1.0);
    assert_eq!(world.addresses[&name("i")], name("j"));
}

#[test]
fn no_link_begins_at_a_broker_while_it_forgets() {
    let mut world = started(farm().build());
    world.reading = Reading::Takes;
    world.set_life("c", Life::Held);
    world.run(8.0);
    assert_eq!(world.path("soil"), "a e f g i");
    world.reading = Reading::Works;
    world.set_life("c", Life::Running);
    world.declare(farm().topic("rain", "rain/+", "a", "b").build());
    world.run(12.0);
    // One that only begins, and one that takes over what others fetch.
    assert!(!world.loaded().contains("b<a"), "{}", world.loaded());
    assert!(!world.loaded().contains("b<c"), "{}", world.loaded());
    world.tell(Event::ValuesForgotten {
        broker: name("b"),
        serial: world.values.iter().rev().find_map(of_b).unwrap(),
        error: None,
    });
    world.run(4.0);
    assert!(world.loaded().contains("b<a"), "{}", world.loaded());
    assert!(world.loaded().contains("b<c"), "{}", world.loaded());
}

/// The number of what was asked of b.
fn of_b(directive: &Directive) -> Option<u64> {
    match directive {
        Directive::ForgetValues { broker, serial, .. } if *broker == name("b") => Some(*serial),
        _ => None,
    }
}
