//! What the user should know about a plan, in sentences that name the object and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::Fleet;
use skein_api::name::{BrokerName, TopicName};
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Mode};

use crate::classes;
use crate::declared::{Declared, Situation};
use crate::laid::Packed;
use crate::parts::Laid;
use crate::plan::{Class, Finding, Severity, Substitution};
use crate::topology::{Node, Topology};

fn topic(name: &TopicName) -> String {
    format!("topic/{name}")
}

/// Flows without a way, and links that need both directions. `explained` are places of paths whose lack of a way is said
/// elsewhere.
pub(crate) fn of_class(
    topology: &Topology,
    situation: &Situation,
    class: &Class,
    topics: &[Arc<Declared>],
    laid: &Laid,
    explained: &BTreeSet<usize>,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = class
        .paths
        .iter()
        .enumerate()
        .filter(|(place, path)| path.brokers.is_empty() && !explained.contains(place))
        .map(|(_, path)| {
            let missing = [&path.producer, &path.consumer]
                .into_iter()
                .find(|name| topology.node(name).is_none_or(|node| situation.player(node).is_none()));
            let (producer, consumer) = (&path.producer, &path.consumer);
            let message = if let Some(name) = missing {
                format!(
                    "nothing flows from {producer} to {consumer}: {name} is down and no other broker serves its clients"
                )
            } else {
                let down: Vec<&str> = situation.closed.iter().map(|&node| topology.name(node).as_str()).collect();
                let remedy = if down.is_empty() {
                    "add a NodeRoute or resume a paused one".to_owned()
                } else {
                    format!("a NodeRoute around what is down ({}) would", down.join(", "))
                };
                format!("nothing flows from {producer} to {consumer}: no open route connects them; {remedy}")
            };
            Finding { severity: Severity::Error, object: topic(&path.topic), message }
        })
        .collect();
    let out = |line: &Packed| line.direction() != Direction::In;
    // Parts come pair by pair and pairs in the order of names.
    let duplex: Vec<(Node, Node)> = laid
        .parts
        .iter()
        .filter(|part| part.head.mode == Mode::Duplex)
        .map(|part| part.head.ends(topology))
        .filter(|&(_, other)| topology.is_controlled(other))
        .collect();
    if let (false, Some(first)) = (duplex.is_empty(), topics.first()) {
        let edge = |&(a, b): &(Node, Node)| format!("{}–{}", topology.name(a), topology.name(b));
        findings.push(Finding {
            severity: Severity::Warning,
            object: topic(&first.name),
            message: format!(
                "class {} flows both ways with overlapping filters over {}, which needs duplex links; messages sent \
                 from the smaller name to the larger queue in the sending broker, which the loss contract does not \
                 cover. Filters that tell the two directions apart avoid this",
                class.name,
                listed(&duplex, edge),
            ),
        });
    }
    let pushed = laid
        .parts
        .iter()
        .filter(|part| part.head.mode == Mode::Duplex && part.lines.iter().any(out))
        .map(|part| part.head.ends(topology))
        .filter(|&(_, other)| !topology.is_controlled(other));
    findings.extend(pushed.map(|(holder, other)| {
        let (holder, other) = (topology.name(holder), topology.name(other));
        Finding {
            severity: Severity::Warning,
            object: format!("broker/{other}"),
            message: format!(
                "{other} is not controlled by Skein, so {holder} pushes class {} to it; what is not delivered yet queues \
                 in {holder}, which the loss contract does not cover",
                class.name
            ),
        }
    }));
    findings.sort_unstable();
    findings
}

/// Lines that had to be made more general than what was declared.
pub(crate) fn widened(class: &Class, widened: &[(TopicName, TopicFilter)]) -> Vec<Finding> {
    let filters: BTreeMap<&TopicFilter, &TopicName> =
        widened.iter().map(|(name, filter)| (filter, name)).collect();
    filters
        .into_iter()
        .map(|(filter, name)| Finding {
            severity: Severity::Warning,
            object: topic(name),
            message: format!(
                "filters of class {} cross on a link whose sender does not remove duplicates, so the link carries {filter} \
                 instead, which may match more than was declared",
                class.name
            ),
        })
        .collect()
}

/// A flow that would have to pass a one-way route against its direction.
pub(crate) fn against_one_way(
    topology: &Topology,
    fleet: &Fleet,
    declared: &Declared,
    (producer, consumer): (Node, Node),
    from: Node,
    to: Node,
) -> Finding {
    let (from, to) = (topology.name(from), topology.name(to));
    let route = fleet
        .routes
        .iter()
        .find(|(_, route)| route.one_way && !route.paused && &route.a == to && &route.b == from)
        .map_or_else(|| format!("{from}–{to}"), |(name, _)| format!("route/{name}"));
    let commands = if declared.commands.is_empty() {
        ""
    } else {
        " with its commands"
    };
    Finding {
        severity: Severity::Error,
        object: topic(&declared.name),
        message: format!(
            "no tree was found on which {}{commands} can flow between {} and {}: {route} is one-way and would be crossed \
             from {from} to {to}; declare it with `between`, or add a route that leads that way",
            declared.filter,
            topology.name(producer),
            topology.name(consumer),
        ),
    }
}

/// Topics that keep a class together which would fall apart without them, if that costs something.
pub(crate) fn merging(fleet: &Fleet, class: &Class) -> Vec<Finding> {
    let excess: u64 = class
        .paths
        .iter()
        .map(|path| u64::from(path.cost - path.shortest))
        .sum();
    if excess == 0 || class.topics.len() < 2 {
        return Vec::new();
    }
    let topics: Vec<_> = class
        .topics
        .iter()
        .filter_map(|name| Some((name, fleet.topics.get(name)?)))
        .collect();
    let wild = |filter: &TopicFilter| filter.as_str().contains(['+', '#']);
    topics
        .iter()
        .filter(|(_, declared)| classes::filters(declared).any(wild))
        .filter_map(|&(name, declared)| {
            let others = topics.iter().filter(|&&(other, _)| other != name).copied();
            let parts = classes::partition(others, &BTreeMap::new()).len();
            (parts > 1).then(|| Finding {
                severity: Severity::Info,
                object: topic(name),
                message: format!(
                    "its filter {} joins {parts} groups of topics into class {}, which all flow on one tree; their paths \
                     cost {excess} more in all than the shortest ways would. A narrower filter frees them",
                    declared.filter, class.name
                ),
            })
        })
        .collect()
}

/// Brokers whose failure would stop something.
pub(crate) fn substitution(
    fleet: &Fleet,
    substitutes: &BTreeMap<BrokerName, std::sync::Arc<Substitution>>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, substitution) in substitutes {
        if fleet
            .brokers
            .get(name)
            .is_none_or(|broker| !broker.is_controlled())
        {
            continue;
        }
        if !substitution.gaps.is_empty() {
            let gap = |(topic, producer, consumer): &(TopicName, BrokerName, BrokerName)| {
                format!("{topic} from {producer} to {consumer}")
            };
            findings.push(Finding {
                severity: Severity::Warning,
                object: format!("broker/{name}"),
                message: format!(
                    "if {name} dies, nothing can carry {}; a further route around it, or a further broker that may \
                     substitute it, closes the gap",
                    listed(&substitution.gaps, gap)
                ),
            });
        }
    }
    findings
}

fn listed<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    const SHOWN: usize = 6;
    let shown = items.iter().take(SHOWN).map(text).collect::<Vec<_>>().join(", ");
    if items.len() > SHOWN {
        format!("{shown} and {} more", items.len() - SHOWN)
    } else {
        shown
    }
}
