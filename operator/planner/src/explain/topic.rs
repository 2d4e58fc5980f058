//! Why a topic flows as it does, hop by hop, and the paper's routing table of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use skein_api::fleet::{Fleet, Topic};
use skein_api::name::{BrokerName, ClassName, Qos, RouteName, TopicName};
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Link, Mode};

use super::queues::{self, QueueBudget};
use super::ways::{Reach, Way, Ways, carrier};
use super::{arrows, listed};
use crate::plan::{Class, Finding, Path, Plan, View};
use crate::search::Flow;

/// All about one topic.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicExplanation {
    /// The topic.
    pub topic: TopicName,
    /// Its filter.
    pub filter: String,
    /// Its quality of service.
    pub qos: Qos,
    /// What flows back, from consumers to producers.
    pub commands: Vec<String>,
    /// Its overlap class; `None` if the plan has none for it.
    pub class: Option<ClassName>,
    /// The broker that the class's tree grows from.
    pub root: Option<BrokerName>,
    /// The other topics on that tree.
    pub shares_tree_with: Vec<TopicName>,
    /// Its paths (those asked for), by consumer, then producer.
    pub paths: Vec<PathExplanation>,
    /// The paper's routing table of these paths (002, definition 1): one row per broker passed and consumer.
    pub routing_table: Vec<RoutingRow>,
    /// The queues that it may wait in, of all its paths.
    pub queues: Vec<QueueBudget>,
    /// What should be looked at.
    pub findings: Vec<Finding>,
}

/// All about one path.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathExplanation {
    /// Where the topic is published, as declared.
    pub producer: BrokerName,
    /// Where it is subscribed, as declared.
    pub consumer: BrokerName,
    /// The brokers passed, consumer first; empty if there is no way.
    pub path: Vec<BrokerName>,
    /// Sum of the route costs.
    pub cost: u32,
    /// Cost over the cost of the shortest way.
    pub stretch: f64,
    /// The shortest way for this pair alone, if there is any.
    pub shortest: Option<Way>,
    /// Its hops, consumer first.
    pub hops: Vec<Hop>,
    /// Why it is so, in sentences.
    pub reasons: Vec<String>,
}

/// One hop of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hop {
    /// Where data goes.
    pub to: BrokerName,
    /// Where it comes from.
    pub from: BrokerName,
    /// The route it takes.
    pub route: Option<RouteName>,
    /// The route's cost.
    pub cost: u32,
    /// The bridge lines that carry the topic over it.
    pub lines: Vec<HopLine>,
    /// The bridge lines that carry its commands back over it.
    pub commands: Vec<HopLine>,
}

/// A bridge line that carries a hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HopLine {
    /// The connection's name.
    pub link: String,
    /// The broker that holds it.
    pub held_by: BrokerName,
    /// What it is.
    pub mode: Mode,
    /// The line's filter.
    pub filter: String,
    /// The line's quality of service.
    pub qos: Qos,
    /// The line's direction as seen from the broker that holds the connection.
    pub direction: Direction,
}

/// A row of the paper's routing table (002, section 3.2.1, tables 1 to 10).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutingRow {
    /// Number of brokers in the queue.
    pub weight: usize,
    /// The broker whose row it is.
    pub node: BrokerName,
    /// The subscribing-node queue: who subscribes the broker, who subscribes that one, and so on to the consumer.
    pub queue: Vec<BrokerName>,
    /// The topic.
    pub topic: TopicName,
}

impl RoutingRow {
    /// The queue and topic as the paper writes them, `CBA/top`; names longer than a letter are set apart, `core>hq/top`.
    #[must_use]
    pub fn path_and_topic(&self) -> String {
        let letters = self.queue.iter().all(|broker| broker.as_str().len() == 1);
        let names: Vec<&str> = self.queue.iter().map(BrokerName::as_str).collect();
        format!("{}/{}", names.join(if letters { "" } else { ">" }), self.topic)
    }
}

/// Explains a topic, or only its paths from one producer or to one consumer. `None` if it is not declared.
#[must_use]
pub fn topic(
    fleet: &Fleet,
    view: &View,
    plan: &Plan,
    name: &TopicName,
    from: Option<&BrokerName>,
    to: Option<&BrokerName>,
) -> Option<TopicExplanation> {
    let declared = fleet.topics.get(name)?;
    let class = plan.classes.values().find(|class| class.topics.contains(name));
    let asked = |path: &&Path| {
        path.topic == *name
            && from.is_none_or(|from| path.producer == *from)
            && to.is_none_or(|to| path.consumer == *to)
    };
    let chosen: Vec<&Path> = class
        .iter()
        .flat_map(|class| &class.paths)
        .filter(asked)
        .collect();
    let queues = queues::of_topic(fleet, view, plan, name);
    Some(TopicExplanation {
        topic: name.clone(),
        filter: declared.filter.to_string(),
        qos: declared.qos,
        commands: declared.commands.iter().map(ToString::to_string).collect(),
        class: class.map(|class| class.name.clone()),
        root: class.and_then(|class| class.root.clone()),
        shares_tree_with: class
            .iter()
            .flat_map(|class| &class.topics)
            .filter(|other| *other != name)
            .cloned()
            .collect(),
        paths: paths(fleet, view, plan, class, &chosen, declared),
        routing_table: routing_table(&chosen),
        findings: queues::findings(&queues),
        queues,
    })
}

fn paths(
    fleet: &Fleet,
    view: &View,
    plan: &Plan,
    class: Option<&Arc<Class>>,
    chosen: &[&Path],
    declared: &Topic,
) -> Vec<PathExplanation> {
    let ways = Ways::new(fleet, view);
    let served = |name: &BrokerName| view.served_by.get(name).unwrap_or(name).clone();
    // Many pairs share consumers and hops: each is looked at once.
    let mut reaches: BTreeMap<BrokerName, Option<Reach<'_>>> = BTreeMap::new();
    let mut hops: BTreeMap<(BrokerName, BrokerName), Hop> = BTreeMap::new();
    let mut told = Vec::with_capacity(chosen.len());
    for path in chosen {
        let consumer = served(&path.consumer);
        let reach = reaches
            .entry(consumer)
            .or_insert_with_key(|consumer| ways.tree(consumer, Flow::ToRoot));
        let shortest = reach
            .as_ref()
            .and_then(|reach| reach.way(&served(&path.producer)));
        let mut hop = |to: &BrokerName, from: &BrokerName| {
            hops.entry((to.clone(), from.clone()))
                .or_insert_with(|| one_hop(fleet, plan, to, from, declared))
                .clone()
        };
        told.push(PathExplanation {
            producer: path.producer.clone(),
            consumer: path.consumer.clone(),
            path: path.brokers.to_vec(),
            cost: path.cost,
            stretch: path.stretch(),
            reasons: reasons(fleet, view, class.map(AsRef::as_ref), path, shortest.as_ref()),
            shortest,
            hops: path
                .brokers
                .windows(2)
                .map(|ends| hop(&ends[0], &ends[1]))
                .collect(),
        });
    }
    told
}

fn one_hop(fleet: &Fleet, plan: &Plan, to: &BrokerName, from: &BrokerName, declared: &Topic) -> Hop {
    let route = carrier(fleet, from, to);
    let lines = |to, from, filters: &[TopicFilter]| -> Vec<HopLine> {
        let mut lines = Vec::new();
        for link in plan.classes.values().flat_map(|class| class.links.iter()) {
            lines.extend(carrying(link, to, from, filters));
        }
        lines
    };
    Hop {
        to: to.clone(),
        from: from.clone(),
        route: route.map(|(name, _)| name.clone()),
        cost: route.map_or(0, |(_, route)| u32::from(route.cost.get())),
        lines: lines(to, from, std::slice::from_ref(&declared.filter)),
        commands: lines(from, to, &declared.commands),
    }
}

/// The lines of a link that carry one of the filters (or a part of it) from one broker to another.
fn carrying(link: &Link, to: &BrokerName, from: &BrokerName, filters: &[TopicFilter]) -> Vec<HopLine> {
    let against = if &link.downstream == to && &link.upstream == from {
        Direction::Out
    } else if &link.downstream == from && &link.upstream == to {
        Direction::In
    } else {
        return Vec::new();
    };
    link.lines
        .iter()
        .filter(|line| line.direction != against && filters.iter().any(|filter| line.filter.overlaps(filter)))
        .map(|line| HopLine {
            link: link.name(),
            held_by: link.downstream.clone(),
            mode: link.mode,
            filter: line.filter.to_string(),
            qos: line.qos,
            direction: line.direction,
        })
        .collect()
}

fn reasons(
    fleet: &Fleet,
    view: &View,
    class: Option<&Class>,
    path: &Path,
    shortest: Option<&Way>,
) -> Vec<String> {
    let mut reasons = Vec::new();
    for (end, role) in [(&path.producer, "Producer"), (&path.consumer, "Consumer")] {
        if let Some(substitute) = view.served_by.get(end) {
            reasons.push(format!("{role} {end} is down; {substitute} stands in for it."));
        } else if view.down.contains(end) {
            reasons.push(format!("{role} {end} is down and nobody stands in for it."));
        }
    }
    let root = class.and_then(|class| class.root.as_ref());
    let others: Vec<&TopicName> = class
        .iter()
        .flat_map(|class| &class.topics)
        .filter(|other| **other != path.topic)
        .collect();
    match shortest {
        _ if !path.brokers.is_empty() && path.cost <= path.shortest => {
            if path.brokers.len() == 1 {
                reasons.push("Producer and consumer are one broker; nothing needs to be carried.".to_owned());
            } else {
                reasons.push("It is a shortest way.".to_owned());
            }
        }
        None if reasons.is_empty() => reasons.push(no_way(fleet, view, path)),
        None => {}
        Some(way) if path.brokers.is_empty() => reasons.push(format!(
            "There is a way, {} at cost {}, but no single tree carries every flow of class {} in its direction; see the \
             findings.",
            arrows(&way.path),
            way.cost,
            class.map_or("?", |class| class.name.as_str()),
        )),
        Some(way) => {
            reasons.push(format!("The shortest way on its own is {} at cost {}.", arrows(&way.path), way.cost));
            let root = root.map_or("nowhere", BrokerName::as_str);
            reasons.push(if others.is_empty() {
                format!(
                    "All its producers and consumers share one tree, so that no message arrives twice; it grows from \
                     {root}, from where they cost the least in sum while every broker is up."
                )
            } else {
                format!(
                    "Its filter overlaps with topic {}, so they share one tree, which grows from {root}: a message that matches several \
                     of them must arrive once. Filters that do not overlap would let each topic go its own way.",
                    listed(others),
                )
            });
        }
    }
    reasons
}

fn no_way(fleet: &Fleet, view: &View, path: &Path) -> String {
    let mut all = fleet.clone();
    for route in all.routes.values_mut() {
        route.paused = false;
        route.one_way = false;
    }
    let (producer, consumer) = (&path.producer, &path.consumer);
    let ideal = Ways::new(&all, &View::default()).shortest(producer, consumer);
    let Some(ideal) = ideal else {
        return format!("No route leads from {producer} to {consumer}; declare the missing NodeRoute.");
    };
    let mut blocked: Vec<String> = Vec::new();
    for hop in ideal.path.windows(2) {
        if carrier(fleet, &hop[1], &hop[0]).is_some() {
            continue;
        }
        let between = |route: &&skein_api::fleet::Route| {
            (route.a == hop[0] && route.b == hop[1]) || (route.a == hop[1] && route.b == hop[0])
        };
        for (name, route) in fleet.routes.iter().filter(|(_, route)| between(route)) {
            blocked.push(format!(
                "route {name} is {}",
                if route.paused {
                    "paused"
                } else {
                    "one-way the other way"
                }
            ));
        }
    }
    blocked.extend(
        ideal
            .path
            .iter()
            .filter(|name| view.down.contains(*name))
            .map(|name| format!("broker {name} is down")),
    );
    format!(
        "There is no open way from {producer} to {consumer}: the shortest would be {}, but {}.",
        arrows(&ideal.path),
        listed(blocked),
    )
}

fn routing_table(paths: &[&Path]) -> Vec<RoutingRow> {
    let mut rows: Vec<RoutingRow> = paths
        .iter()
        .flat_map(|path| {
            path.brokers.iter().enumerate().map(|(place, node)| RoutingRow {
                weight: place,
                node: node.clone(),
                queue: path.brokers[..place].iter().rev().cloned().collect(),
                topic: path.topic.clone(),
            })
        })
        .collect();
    rows.sort_unstable();
    // Paths of several producers share their last hops; a consumer's own row is one per topic.
    rows.dedup();
    rows
}
