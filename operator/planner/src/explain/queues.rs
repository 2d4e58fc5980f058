//! How long what waits may wait: queue limits against declared load, queue by queue.
//!
//! A queue is a session: a link's in its upstream broker (and, for lines that go out, the link's own in the broker that holds
//! it), or that of a durable subscriber. Measured on 2.0.11 and 2.1.2, and so in the source of both (`db__ready_for_queue`):
//!
//! - `max_queued_messages` and `max_queued_bytes` both hold: whichever is reached first drops what comes next.
//! - Bytes are those of payloads; topics and properties do not count. The message that passes the limit is still taken.
//! - QoS 0 counts for neither, and is refused only once QoS 1 and 2 have filled the queue: alone it fills memory.
//! - While the session is connected, as many more as may be in flight (65,534) fit in; here it is away from the start.
//!
//! Times are the shortest that declarations allow: a topic's whole rate is taken for each link that any of its producers is
//! behind, and a message that two topics declare counts twice. Skein's own probes (one or a few a second) are left out.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Serialize;
use skein_api::fleet::{Fleet, Queue, Topic};
use skein_api::name::{BrokerName, ClassName, Qos, TopicName};
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Link};

use super::listed;
use crate::plan::{Finding, Plan, Severity, View};

/// Less than this until a queue is full is worth a warning: no longer than it takes to notice and to help.
const SOON_MS: u64 = 60_000;

/// A queue, and how soon it is full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueBudget {
    /// The broker in which it waits.
    pub holder: BrokerName,
    /// The broker that it waits for; `None`: a subscriber with a durable session.
    pub waits_for: Option<BrokerName>,
    /// The connection's name, if it is a link's.
    pub link: Option<String>,
    /// The class of the link, or that of the topic.
    pub class: Option<ClassName>,
    /// The topics that wait in it.
    pub topics: Vec<TopicName>,
    /// The topics whose commands wait in it; nobody declares how many come, so with them it is full sooner.
    pub commands: Vec<TopicName>,
    /// The most messages; `None` if Skein does not know, as the broker is not its own.
    pub messages: Option<u64>,
    /// The most bytes, likewise.
    pub bytes: Option<u64>,
    /// Messages a second that are declared for it.
    pub messages_per_second: u64,
    /// Bytes a second that are declared for it.
    pub bytes_per_second: u64,
    /// Topics that declare no load: with them it is full sooner.
    pub undeclared: Vec<TopicName>,
    /// Topics of QoS 0, which the limits do not count.
    pub uncounted: Vec<TopicName>,
    /// Milliseconds from empty to full; `None` if unknown.
    pub full_after_ms: Option<u64>,
    /// Which limit is reached first.
    pub limited_by: Option<Limit>,
}

/// One of a queue's two limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// `queue.messages`
    Messages,
    /// `queue.bytes`
    Bytes,
}

/// Something that may wait.
struct Waiting<'a> {
    topic: &'a TopicName,
    declared: &'a Topic,
    /// They are its commands, whose load nobody declares.
    commands: bool,
    /// The session gets it with QoS 1 or 2.
    counts: bool,
}

/// The queues that hold what is for this broker or in it: those of its links, then those of its subscribers.
pub(super) fn of_broker(fleet: &Fleet, view: &View, plan: &Plan, name: &BrokerName) -> Vec<QueueBudget> {
    let mut found = Vec::new();
    for link in plan.links() {
        if &link.downstream == name || &link.upstream == name {
            found.extend(of_link(fleet, plan, &link, |_| true));
        }
    }
    // What waits in it is what it may lose, so that comes first.
    found.sort_by_key(|queue| &queue.holder != name);
    found.extend(of_subscribers(fleet, view, plan, |consumer, _| consumer == name));
    found
}

/// The queues that hold this topic, on the way and at its subscribers.
pub(super) fn of_topic(fleet: &Fleet, view: &View, plan: &Plan, name: &TopicName) -> Vec<QueueBudget> {
    let mut found = Vec::new();
    let class = plan.classes.values().find(|class| class.topics.contains(name));
    for link in class.iter().flat_map(|class| class.links.iter()) {
        found.extend(of_link(fleet, plan, link, |topic| topic == name));
    }
    found.extend(of_subscribers(fleet, view, plan, |_, topic| topic == name));
    found
}

/// Warnings of queues that are full within a minute.
pub(super) fn findings(queues: &[QueueBudget]) -> Vec<Finding> {
    let soon = queues.iter().filter_map(|queue| {
        Some((
            queue,
            queue.full_after_ms.filter(|after| *after < SOON_MS)?,
            queue.limited_by?,
        ))
    });
    soon.map(|(queue, after, limit)| {
        let whom = queue
            .waits_for
            .as_ref()
            .map_or_else(|| "a subscriber".to_owned(), ToString::to_string);
        let field = match limit {
            Limit::Messages => "spec.managed.queue.messages",
            Limit::Bytes => "spec.managed.queue.bytes",
        };
        Finding {
            severity: Severity::Warning,
            object: format!("broker/{}", queue.holder),
            message: format!(
                "what waits in it for {whom} (topic {}) is full {} s after that one goes away, and what comes then is dropped; \
                 raise {field} of Broker/{}",
                listed(&queue.topics),
                // Rounded down: better a second early.
                after / 1000,
                queue.holder
            ),
        }
    })
    .collect()
}

/// The queue at its upstream end, and, if lines go out, the one at its own end; those in which something `asked` waits.
fn of_link(fleet: &Fleet, plan: &Plan, link: &Link, asked: impl Fn(&TopicName) -> bool) -> Vec<QueueBudget> {
    let mut queues = Vec::new();
    for (holder, receiver, against) in [
        (&link.upstream, &link.downstream, Direction::Out),
        (&link.downstream, &link.upstream, Direction::In),
    ] {
        let waiting = over(fleet, plan, link, (holder, receiver), against);
        if waiting.iter().any(|one| asked(one.topic)) {
            queues.push(QueueBudget {
                waits_for: Some(receiver.clone()),
                link: Some(link.name()),
                class: Some(link.class.clone()),
                ..budget(fleet, holder, &waiting)
            });
        }
    }
    queues
}

/// What a link takes from one of its ends to the other, by lines that do not go `against` that.
fn over<'a>(
    fleet: &'a Fleet,
    plan: &Plan,
    link: &Link,
    (from, to): (&BrokerName, &BrokerName),
    against: Direction,
) -> Vec<Waiting<'a>> {
    // Whether a line carries the filter, and if with QoS 1 or 2.
    let carried = |filter: &TopicFilter| -> Option<bool> {
        let lines = link.lines.iter();
        let lines = lines.filter(|line| line.direction != against && line.filter.overlaps(filter));
        lines
            .map(|line| line.qos > Qos::AtMostOnce)
            .reduce(|one, other| one || other)
    };
    let paths = plan
        .classes
        .get(&link.class)
        .map_or(&[][..], |class| &class.paths);
    let crossing = |towards: &BrokerName, origin: &BrokerName| -> BTreeSet<&TopicName> {
        // Paths are written consumer first.
        let crosses = |brokers: &[BrokerName]| {
            brokers
                .windows(2)
                .any(|hop| hop[0] == *towards && hop[1] == *origin)
        };
        let paths = paths.iter().filter(|path| crosses(&path.brokers));
        paths.map(|path| &path.topic).collect()
    };
    let declared = |name: &TopicName| fleet.topics.get_key_value(name);
    let mut waiting = Vec::new();
    for (topic, declared) in crossing(to, from).into_iter().filter_map(declared) {
        waiting.extend(carried(&declared.filter).map(|counts| Waiting {
            topic,
            declared,
            commands: false,
            counts,
        }));
    }
    for (topic, declared) in crossing(from, to).into_iter().filter_map(declared) {
        let carried: Vec<bool> = declared.commands.iter().filter_map(carried).collect();
        if !carried.is_empty() {
            waiting.push(Waiting {
                topic,
                declared,
                commands: true,
                counts: carried.contains(&true),
            });
        }
    }
    waiting
}

/// A queue per consumer and topic: that of a durable subscriber of this topic alone.
fn of_subscribers(
    fleet: &Fleet,
    view: &View,
    plan: &Plan,
    asked: impl Fn(&BrokerName, &TopicName) -> bool,
) -> Vec<QueueBudget> {
    let mut queues = Vec::new();
    for (topic, declared) in &fleet.topics {
        for consumer in &declared.consumers {
            let holder = view.served_by.get(consumer).unwrap_or(consumer);
            if !asked(holder, topic) {
                continue;
            }
            let class = plan.classes.values().find(|class| class.topics.contains(topic));
            let waiting = Waiting {
                topic,
                declared,
                commands: false,
                counts: declared.qos > Qos::AtMostOnce,
            };
            queues.push(QueueBudget {
                class: class.map(|class| class.name.clone()),
                ..budget(fleet, holder, &[waiting])
            });
        }
    }
    queues
}

/// A queue's limits against what comes; whose it is, is for the caller to say.
fn budget(fleet: &Fleet, holder: &BrokerName, waiting: &[Waiting<'_>]) -> QueueBudget {
    let names = |which: &dyn Fn(&Waiting<'_>) -> bool| -> Vec<TopicName> {
        let names: BTreeSet<&TopicName> = waiting
            .iter()
            .filter(|one| which(one))
            .map(|one| one.topic)
            .collect();
        names.into_iter().cloned().collect()
    };
    let load = |one: &Waiting<'_>| one.declared.expected.filter(|_| !one.commands);
    let (mut messages, mut bytes) = (0_u64, 0_u64);
    for load in waiting.iter().filter(|one| one.counts).filter_map(load) {
        messages = messages.saturating_add(load.messages_per_second);
        bytes = bytes.saturating_add(load.messages_per_second.saturating_mul(load.bytes));
    }
    let limits = limits(fleet, holder);
    let soonest = limits.and_then(|limits| {
        let by_messages = milliseconds(limits.messages, messages).map(|after| (after, Limit::Messages));
        let by_bytes = milliseconds(limits.bytes, bytes).map(|after| (after, Limit::Bytes));
        [by_messages, by_bytes]
            .into_iter()
            .flatten()
            .min_by_key(|(after, _)| *after)
    });
    QueueBudget {
        holder: holder.clone(),
        waits_for: None,
        link: None,
        class: None,
        topics: names(&|one| !one.commands),
        commands: names(&|one| one.commands),
        messages: limits.map(|limits| limits.messages),
        bytes: limits.map(|limits| limits.bytes),
        messages_per_second: messages,
        bytes_per_second: bytes,
        undeclared: names(&|one| one.counts && !one.commands && load(one).is_none()),
        uncounted: names(&|one| !one.counts),
        full_after_ms: soonest.map(|(after, _)| after),
        limited_by: soonest.map(|(_, limit)| limit),
    }
}

/// The limits of a broker's queues; `None` if they are not Skein's to set.
fn limits(fleet: &Fleet, broker: &BrokerName) -> Option<Queue> {
    Some(fleet.brokers.get(broker)?.managed()?.queue)
}

/// How long so much lasts at such a rate a second; a limit of 0 is none.
fn milliseconds(limit: u64, rate: u64) -> Option<u64> {
    let limit = u128::from(limit).checked_mul(1000).filter(|limit| *limit > 0)?;
    let after = limit.checked_div(u128::from(rate))?;
    Some(u64::try_from(after).unwrap_or(u64::MAX))
}
