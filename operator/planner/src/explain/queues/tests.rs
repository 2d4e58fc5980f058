//! How long what waits may wait, on fleets small enough to reckon by hand.

use std::sync::Arc;

use skein_api::fleet::{Expected, FleetBuilder, Hosting};

use super::*;

/// a ← b ← i: 100 messages of 1 KiB a second, so 1,000 s until 100,000 messages, and 655.36 s until 64 MiB.
fn farm() -> Fleet {
    let mut fleet = FleetBuilder::new()
        .routes("a-b b-i")
        .topic("soil", "farm/+/soil", "i", "a")
        .build();
    expect(&mut fleet, "soil", 100, 1_024);
    fleet
}

fn expect(fleet: &mut Fleet, topic: &str, messages_per_second: u64, bytes: u64) {
    let topic = fleet.topics.get_mut(topic).map(Arc::make_mut).unwrap();
    topic.expected = Some(Expected {
        messages_per_second,
        bytes,
    });
}

fn limit(fleet: &mut Fleet, broker: &str, messages: u64, bytes: u64) {
    let broker = fleet.brokers.get_mut(broker).unwrap();
    if let Hosting::Managed(managed) = &mut broker.hosting {
        managed.queue = Queue { messages, bytes };
    }
}

/// The queues of a broker as `holder>whom topics time limit`.
fn told(fleet: &Fleet, broker: &str) -> Vec<String> {
    let view = View::default();
    let plan = crate::plan(fleet, &view);
    of_broker(fleet, &view, &plan, &BrokerName::new(broker).unwrap())
        .iter()
        .map(|queue| {
            let whom = queue.waits_for.as_ref().map_or("subscriber", BrokerName::as_str);
            let time = queue
                .full_after_ms
                .map_or("unknown".to_owned(), |after| after.to_string());
            let limit = queue
                .limited_by
                .map_or(String::new(), |limit| format!(" {limit:?}"));
            format!("{}>{whom} {} {time}{limit}", queue.holder, listed(&queue.topics))
        })
        .collect()
}

#[test]
fn what_waits_in_a_broker_comes_before_what_waits_for_it() {
    let fleet = farm();
    assert_eq!(
        told(&fleet, "b"),
        ["b>a soil 655360 Bytes", "i>b soil 655360 Bytes"]
    );
    assert_eq!(told(&fleet, "i"), ["i>b soil 655360 Bytes"]);
    assert_eq!(
        told(&fleet, "a"),
        ["b>a soil 655360 Bytes", "a>subscriber soil 655360 Bytes"]
    );
}

#[test]
fn the_limits_are_those_of_the_broker_in_which_it_waits_and_the_first_counts() {
    let mut fleet = farm();
    limit(&mut fleet, "b", 500, 64 << 20);
    limit(&mut fleet, "a", 1, 1);
    assert_eq!(
        told(&fleet, "b"),
        ["b>a soil 5000 Messages", "i>b soil 655360 Bytes"]
    );
    limit(&mut fleet, "b", 500, 1_024);
    assert_eq!(told(&fleet, "b")[0], "b>a soil 10 Bytes");
    limit(&mut fleet, "b", 0, 0);
    assert_eq!(told(&fleet, "b")[0], "b>a soil unknown", "0 is no limit");
}

#[test]
fn topics_of_one_link_add_up() {
    let mut fleet = FleetBuilder::new()
        .routes("a-b")
        .topic("all", "farm/#", "b", "a")
        .topic("soil", "farm/+/soil", "b", "a")
        .topic("other", "elsewhere", "b", "a")
        .build();
    for topic in ["all", "soil", "other"] {
        expect(&mut fleet, topic, 500, 1);
    }
    // all and soil overlap, so they share a class and its link; other has its own.
    let links = told(&fleet, "b");
    assert_eq!(
        links,
        ["b>a all and soil 100000 Messages", "b>a other 200000 Messages"]
    );
}

#[test]
fn what_declares_no_load_is_named() {
    let mut fleet = FleetBuilder::new()
        .routes("a-b")
        .topic("all", "farm/#", "b", "a")
        .topic("soil", "farm/+/soil", "b", "a")
        .commands("soil", "valve")
        .build();
    let view = View::default();
    let plan = crate::plan(&fleet, &view);
    let queues = |fleet: &Fleet| of_broker(fleet, &view, &plan, &BrokerName::new("b").unwrap());
    assert!(queues(&fleet).iter().all(|queue| queue.full_after_ms.is_none()));
    expect(&mut fleet, "soil", 1_000, 1);
    let found = queues(&fleet);
    let to = |whom: &str| {
        let is = |queue: &&QueueBudget| queue.waits_for.as_ref().is_some_and(|name| name.as_str() == whom);
        found.iter().find(is).unwrap()
    };
    assert_eq!(
        (to("a").full_after_ms, listed(&to("a").undeclared)),
        (Some(100_000), "all".to_owned())
    );
    // Its commands wait in a for b, and nobody declares how many they are.
    let back = to("b");
    assert_eq!(
        (back.full_after_ms, listed(&back.commands)),
        (None, "soil".to_owned())
    );
    assert!(back.topics.is_empty() && back.undeclared.is_empty());
}

#[test]
fn a_link_both_ways_has_a_queue_at_each_end() {
    let mut fleet = FleetBuilder::new()
        .routes("a-b")
        .topic("chat", "chat", "a b", "a b")
        .build();
    expect(&mut fleet, "chat", 1_000, 1);
    let found = told(&fleet, "a");
    let both = [
        "a>b chat 100000 Messages",
        "b>a chat 100000 Messages",
        "a>subscriber chat 100000 Messages",
    ];
    assert_eq!(found, both);
}

#[test]
fn qos_0_is_not_counted() {
    let mut fleet = FleetBuilder::new()
        .routes("a-b")
        .topic("fast", "fast", "b", "a")
        .qos("fast", Qos::AtMostOnce)
        .build();
    expect(&mut fleet, "fast", 1_000_000, 1_024);
    let view = View::default();
    let plan = crate::plan(&fleet, &view);
    let queues = of_topic(&fleet, &view, &plan, &TopicName::new("fast").unwrap());
    assert_eq!(queues.len(), 2);
    for queue in queues {
        assert_eq!(
            (queue.full_after_ms, listed(&queue.uncounted)),
            (None, "fast".to_owned())
        );
        assert!(queue.undeclared.is_empty());
    }
}

#[test]
fn less_than_a_minute_is_warned_of() {
    let mut fleet = farm();
    let warned = |fleet: &Fleet| {
        let view = View::default();
        let plan = crate::plan(fleet, &view);
        findings(&of_topic(fleet, &view, &plan, &TopicName::new("soil").unwrap()))
    };
    assert_eq!(warned(&fleet), []);
    limit(&mut fleet, "b", 5_999, 64 << 20);
    let found = warned(&fleet);
    assert_eq!((found.len(), found[0].object.as_str()), (1, "broker/b"));
    assert!(
        found[0].message.contains("full 59 s after"),
        "{}",
        found[0].message
    );
    assert!(
        found[0]
            .message
            .ends_with("raise spec.managed.queue.messages of Broker/b")
    );
    limit(&mut fleet, "b", 6_000, 64 << 20);
    assert_eq!(warned(&fleet), [], "a minute is enough");
}

#[test]
fn the_limits_of_a_broker_that_is_not_ours_are_unknown() {
    let mut fleet = FleetBuilder::new()
        .external("x")
        .routes("a-x")
        .topic("soil", "soil", "x", "a")
        .build();
    expect(&mut fleet, "soil", 1_000, 1);
    assert_eq!(told(&fleet, "x"), ["x>a soil unknown"]);
}
