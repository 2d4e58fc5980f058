use skein_api::fleet::FleetBuilder;
use skein_api::name::Qos;

use super::*;
use crate::sessions::Subscription;

/// Both brokers take part in `soil`, and only one in each other topic.
fn fleet() -> Fleet {
    FleetBuilder::new()
        .routes("a-b b-i")
        .topic("soil", "farm/+/soil", "i", "a b")
        .topic("mine", "farm/+/mine", "a", "i")
        .topic("yours", "farm/+/yours", "b", "i")
        .build()
}

/// `office: farm/1/soil, plan/#; archive: #`
fn subscriptions(text: &str) -> Subscriptions {
    let subscription = Subscription {
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        identifier: None,
    };
    let session = |text: &str| {
        let (client, filters) = text.split_once(':').expect("a client and its filters");
        let filters = filters
            .split(',')
            .map(|filter| (filter.trim().to_owned(), subscription));
        let session = ClientSession {
            subscriptions: filters.collect(),
            ..ClientSession::default()
        };
        (client.trim().to_owned(), session)
    };
    let sessions: BTreeMap<String, ClientSession> = text.split(';').map(session).collect();
    Subscriptions::of(&sessions)
}

fn broker(name: &str) -> BrokerName {
    BrokerName::new(name).unwrap()
}

fn between(own: &str, others: &str) -> Option<Collisions> {
    let (own, others) = (subscriptions(own), subscriptions(others));
    Collisions::between(&fleet(), (&broker("a"), &own), (&broker("b"), &others))
}

fn collide(own: &str, others: &str) -> bool {
    let found = between(own, others).is_some();
    assert_eq!(found, between(others, own).is_some(), "the same from both sides");
    found
}

#[test]
fn what_is_declared_for_both_does_not_collide() {
    assert!(!collide("office: farm/1/soil", "desk: farm/+/soil"));
    assert!(!collide("office: farm/+/soil", "desk: farm/+/soil"));
    // What they share is declared, though each subscribes more.
    assert!(!collide("office: farm/7/+", "desk: +/+/soil; other: plan/7"));
    assert!(!collide("office: plan/1", "desk: plan/2"));
}

#[test]
fn what_is_declared_for_one_of_them_or_for_nobody_does() {
    assert!(collide("office: plan/1", "desk: plan/+"));
    assert!(collide("office: farm/1/mine", "desk: farm/1/mine"));
    assert!(collide("office: farm/1/yours", "desk: farm/1/yours"));
    assert!(collide("office: #", "desk: #"), "wildcards count");
    assert!(collide("office: farm/#", "desk: farm/1/soil, farm/1/light"));
}

#[test]
fn commands_flow_for_both_as_the_topic_does() {
    let fleet = FleetBuilder::new()
        .routes("a-b b-i")
        .topic("soil", "farm/+/soil", "a b", "i")
        .commands("soil", "farm/+/valve")
        .build();
    let (own, others) = (subscriptions("one: farm/1/valve"), subscriptions("two: farm/#"));
    let found = Collisions::between(&fleet, (&broker("a"), &own), (&broker("b"), &others));
    assert_eq!(found, None);
}

#[test]
fn each_subscription_counts_once_and_the_first_are_named() {
    let found = between(
        "office: plan/1, plan/2; archive: #",
        "desk: plan/#, #; hall: plan/+",
    )
    .unwrap();
    assert_eq!(found.count, 3);
    let named: Vec<String> = found
        .named
        .iter()
        .map(|it| {
            format!(
                "{} {} {} {} {}",
                it.client, it.filter, it.with, it.other, it.other_filter
            )
        })
        .collect();
    assert_eq!(
        named,
        [
            "archive # b desk #",
            "office plan/1 b desk #",
            "office plan/2 b desk #"
        ]
    );
    let many: Vec<String> = (0..50)
        .map(|number| format!("client{number}: plan/{number}"))
        .collect();
    let found = between(&many.join(";"), "desk: plan/#").unwrap();
    assert_eq!((found.count, found.named.len()), (50, NAMED));
}

#[test]
fn shared_subscriptions_count_by_what_they_match() {
    assert!(collide("office: $share/group/plan/1", "desk: plan/+"));
    assert!(!collide("office: $share/group/farm/1/soil", "desk: farm/#"));
}

#[test]
fn what_is_a_brokers_own_or_ours_does_not_count() {
    assert!(!collide("office: $SYS/#", "desk: $SYS/#"));
    assert!(!collide("skein-link-a-b: #", "desk: #"));
    // It has been at the other broker, and is back.
    assert!(!collide("office: plan/1", "office: plan/1"));
    assert!(!collide("office: plan/1; desk: plan/3", "office: plan/1, plan/3"));
}

#[test]
fn a_migration_says_it_once_and_forgets_what_is_over() {
    let known = vec!["its port refuses connections".to_owned()];
    let found = between("office: plan/1", "desk: plan/#");
    let said_once = evidence(&known, &broker("a"), found.as_ref());
    assert_eq!(
        said_once,
        [
            "its port refuses connections",
            "collision: client office of a (plan/1) and client desk of b (plan/#) would get each other's messages on \
             topics that no Topic declares for both brokers"
        ]
    );
    assert_eq!(evidence(&said_once, &broker("a"), found.as_ref()), said_once);
    assert_eq!(evidence(&said_once, &broker("a"), None), known);
}
