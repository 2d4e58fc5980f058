//! What differs between two fleets.
//!
//! Fleets that come of one another share their texts, which are scattered over memory, so where they are is compared first.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::{Route, Topic};
use skein_api::name::{BrokerName, RouteName, TopicName};
use skein_filters::TopicFilter;

/// The names of routes that differ, or that only one has; sorted.
pub(super) fn routes<'a>(
    old: &'a BTreeMap<RouteName, Route>,
    new: &'a BTreeMap<RouteName, Route>,
) -> Vec<&'a RouteName> {
    changed(old, new, RouteName::as_str, same_route)
}

/// The names of topics that differ, or that only one has; sorted.
pub(super) fn topics<'a>(
    old: &'a BTreeMap<TopicName, Arc<Topic>>,
    new: &'a BTreeMap<TopicName, Arc<Topic>>,
) -> Vec<&'a TopicName> {
    changed(old, new, TopicName::as_str, |old, new| {
        Arc::ptr_eq(old, new) || same_topic(old, new)
    })
}

fn same_route(old: &Route, new: &Route) -> bool {
    let Route {
        a,
        b,
        one_way,
        cost,
        paused,
    } = new;
    (old.one_way, old.cost, old.paused) == (*one_way, *cost, *paused)
        && same_broker(&old.a, a)
        && same_broker(&old.b, b)
}

fn same_topic(old: &Topic, new: &Topic) -> bool {
    let Topic {
        filter,
        qos,
        producers,
        consumers,
        commands,
        retained,
        expected,
    } = new;
    (old.qos, old.retained, old.expected) == (*qos, *retained, *expected)
        && same_filter(&old.filter, filter)
        && old.commands.len() == commands.len()
        && old
            .commands
            .iter()
            .zip(commands)
            .all(|(old, new)| same_filter(old, new))
        && same_brokers(&old.producers, producers)
        && same_brokers(&old.consumers, consumers)
}

fn same_brokers(old: &BTreeSet<BrokerName>, new: &BTreeSet<BrokerName>) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same_broker(old, new))
}

fn same_broker(old: &BrokerName, new: &BrokerName) -> bool {
    same(old.as_str(), new.as_str())
}

fn same_filter(old: &TopicFilter, new: &TopicFilter) -> bool {
    same(old.as_str(), new.as_str())
}

fn same(old: &str, new: &str) -> bool {
    std::ptr::eq(old, new) || old == new
}

/// Keys whose values differ between two maps, or that only one has; sorted.
fn changed<'a, K: Ord, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
    text: impl Fn(&K) -> &str,
    same_value: impl Fn(&V, &V) -> bool,
) -> Vec<&'a K> {
    let (mut left, mut right) = (old.iter().peekable(), new.iter().peekable());
    let mut keys = Vec::new();
    loop {
        match (left.peek(), right.peek()) {
            (Some(&(old_key, old_value)), Some(&(new_key, new_value))) => {
                let order = if same(text(old_key), text(new_key)) {
                    Ordering::Equal
                } else {
                    old_key.cmp(new_key)
                };
                if order != Ordering::Equal || !same_value(old_value, new_value) {
                    keys.push(old_key.min(new_key));
                }
                if order.is_le() {
                    left.next();
                }
                if order.is_ge() {
                    right.next();
                }
            }
            (Some(&(key, _)), None) => {
                keys.push(key);
                left.next();
            }
            (None, Some(&(key, _))) => {
                keys.push(key);
                right.next();
            }
            (None, None) => return keys,
        }
    }
}
