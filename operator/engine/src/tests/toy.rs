//! A planner of a hundred lines, for tests that must not depend on how good the real one is: one spanning tree per
//! overlap class. Its faults can be switched on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::Fleet;
use skein_api::name::{BrokerName, ClassName, Qos, TopicName};
use skein_check::Flow;
use skein_filters::{TopicFilter, overlap_classes};
use skein_mosquitto::link::{Direction, Line, Link, Mode};
use skein_planner::plan::{Candidate, Class, Equivalence, Path, Plan, Substitution, View};

use super::judge;
use crate::strand::LinkId;
use crate::tools::{Culprits, Hazard, Tools};

/// The toy planner and the counting judge.
#[derive(Debug, Default)]
pub(crate) struct Toy {
    last: Arc<Plan>,
    /// The plan closes a ring on purpose as soon as a broker with this name is declared.
    ring_with: Option<&'static str>,
}

impl Toy {
    pub(crate) fn with_ring(broker: &'static str) -> Self {
        Self {
            ring_with: Some(broker),
            ..Self::default()
        }
    }
}

impl Tools for Toy {
    fn plan(&mut self, fleet: &Arc<Fleet>, view: &View) -> Arc<Plan> {
        let mut plan = plan(fleet, view);
        if let Some(name) = self.ring_with
            && fleet.brokers.contains_key(name)
        {
            for class in plan.classes.values_mut() {
                let turned = class.links.iter().map(|link| {
                    let mut turned = Link::clone(link);
                    std::mem::swap(&mut turned.downstream, &mut turned.upstream);
                    Arc::new(turned)
                });
                let links = class.links.iter().cloned().chain(turned).collect();
                Arc::make_mut(class).links = links;
            }
        }
        self.last = Arc::new(plan);
        Arc::clone(&self.last)
    }

    fn report(&mut self) -> Arc<Plan> {
        Arc::clone(&self.last)
    }

    fn substitution(&self, fleet: &Fleet, view: &View, broker: &BrokerName) -> Option<Arc<Substitution>> {
        plan(fleet, view).substitutes.remove(broker)
    }

    fn hazards(&self, _: &BTreeSet<BrokerName>, links: &[Link]) -> Vec<Hazard> {
        judge::hazards(links)
    }

    fn culprits(&self, _: &BTreeSet<BrokerName>, links: &[Link]) -> Option<Culprits> {
        // Which of them it is, is not known.
        let all = links.iter().flat_map(|link| {
            let each = link.lines.iter().chain(link.control.iter());
            each.map(|line| (LinkId::of(link.identity()), line.filter.clone()))
        });
        (!judge::hazards(links).is_empty()).then(|| all.collect())
    }

    fn faults(
        &self,
        _: &[Flow],
        _: &View,
        _: &Plan,
        links: &[Arc<Link>],
        _: &BTreeSet<BrokerName>,
    ) -> Vec<String> {
        let links: Vec<Link> = links.iter().map(|link| Link::clone(link)).collect();
        judge::hazards(&links)
            .iter()
            .map(|hazard| format!("{hazard:?}"))
            .collect()
    }
}

type Tree = BTreeMap<BrokerName, BrokerName>;

fn plan(fleet: &Fleet, view: &View) -> Plan {
    let filters: Vec<&TopicFilter> = fleet.topics.values().map(|topic| &topic.filter).collect();
    let mut members: BTreeMap<usize, Vec<&TopicName>> = BTreeMap::new();
    for (number, name) in overlap_classes(filters).into_iter().zip(fleet.topics.keys()) {
        members.entry(number).or_default().push(name);
    }
    let mut plan = Plan::default();
    for topics in members.into_values() {
        let Some(first) = topics.first() else { continue };
        let name = ClassName::from(*first);
        let class = class(fleet, view, &name, &topics);
        plan.classes.insert(name, Arc::new(class));
    }
    for broker in fleet.brokers.keys() {
        plan.substitutes
            .insert(broker.clone(), Arc::new(substitution(fleet, broker)));
    }
    plan
}

fn class(fleet: &Fleet, view: &View, name: &ClassName, topics: &[&TopicName]) -> Class {
    let mut carried: BTreeMap<(BrokerName, BrokerName), BTreeSet<TopicFilter>> = BTreeMap::new();
    let now = |broker: &BrokerName| {
        view.served_by
            .get(broker)
            .cloned()
            .or_else(|| (!view.down.contains(broker)).then(|| broker.clone()))
    };
    let ends = topics
        .iter()
        .filter_map(|name| fleet.topics.get(*name))
        .flat_map(|topic| &topic.consumers);
    let root = ends.filter_map(now).min();
    let tree = root
        .as_ref()
        .map(|root| tree(fleet, view, root))
        .unwrap_or_default();
    let mut paths = Vec::new();
    for topic_name in topics {
        let topic = &fleet.topics[*topic_name];
        for consumer in &topic.consumers {
            for producer in &topic.producers {
                let way = match (now(consumer), now(producer)) {
                    (Some(consumer), Some(producer)) => way(&tree, &consumer, &producer),
                    _ => Vec::new(),
                };
                for hop in way.windows(2) {
                    let lines = carried.entry((hop[0].clone(), hop[1].clone())).or_default();
                    lines.insert(topic.filter.clone());
                }
                let (producer, consumer) = (producer.clone(), consumer.clone());
                let topic = TopicName::clone(topic_name);
                paths.push(Path {
                    topic,
                    producer,
                    consumer,
                    brokers: way.into(),
                    cost: 0,
                    shortest: 0,
                });
            }
        }
    }
    Class {
        name: name.clone(),
        topics: topics.iter().copied().cloned().collect(),
        root,
        paths,
        links: links(name, &carried),
    }
}

/// The parent of each broker on the way to the root, nearest first.
fn tree(fleet: &Fleet, view: &View, root: &BrokerName) -> Tree {
    let mut tree = Tree::from([(root.clone(), root.clone())]);
    let mut cost = BTreeMap::from([(root.clone(), 0_u32)]);
    let mut open = BTreeSet::from([(0_u32, root.clone())]);
    while let Some((so_far, at)) = open.pop_first() {
        for route in fleet
            .routes
            .values()
            .filter(|route| !route.paused && !route.one_way)
        {
            let other = match (route.a == at, route.b == at) {
                (true, _) => &route.b,
                (_, true) => &route.a,
                _ => continue,
            };
            let total = so_far + u32::from(route.cost.get());
            if view.down.contains(other) || cost.get(other).is_some_and(|known| *known <= total) {
                continue;
            }
            cost.insert(other.clone(), total);
            tree.insert(other.clone(), at.clone());
            open.insert((total, other.clone()));
        }
    }
    tree
}

fn way(tree: &Tree, from: &BrokerName, to: &BrokerName) -> Vec<BrokerName> {
    let chain = |start: &BrokerName| {
        let mut chain = vec![start.clone()];
        let mut at = tree.get(start)?;
        while Some(at) != chain.last() {
            chain.push(at.clone());
            at = tree.get(at)?;
        }
        Some(chain)
    };
    let (Some(up), Some(down)) = (chain(from), chain(to)) else {
        return Vec::new();
    };
    let Some(meeting) = up.iter().find(|broker| down.contains(broker)) else {
        return Vec::new();
    };
    let mut way: Vec<BrokerName> = up
        .iter()
        .take_while(|broker| *broker != meeting)
        .cloned()
        .collect();
    way.push(meeting.clone());
    let below: Vec<BrokerName> = down
        .iter()
        .take_while(|broker| *broker != meeting)
        .cloned()
        .collect();
    way.extend(below.into_iter().rev());
    way
}

fn links(
    class: &ClassName,
    carried: &BTreeMap<(BrokerName, BrokerName), BTreeSet<TopicFilter>>,
) -> Arc<[Arc<Link>]> {
    let mut links: BTreeMap<(BrokerName, BrokerName, Mode), Link> = BTreeMap::new();
    for ((downstream, upstream), filters) in carried {
        let both = carried.contains_key(&(upstream.clone(), downstream.clone()));
        let (holder, other, mode, direction) = if !both {
            (downstream, upstream, Mode::Pull, Direction::In)
        } else if downstream < upstream {
            (downstream, upstream, Mode::Duplex, Direction::Both)
        } else {
            (upstream, downstream, Mode::Duplex, Direction::Both)
        };
        let link = links
            .entry((holder.clone(), other.clone(), mode))
            .or_insert_with(|| Link {
                downstream: holder.clone(),
                upstream: other.clone(),
                mode,
                class: class.clone(),
                lines: [].into(),
                control: [Line {
                    filter: TopicFilter::parse(&format!("$skein/probe/{class}/#")).unwrap(),
                    direction,
                    qos: Qos::AtLeastOnce,
                }]
                .into(),
            });
        let carried = filters.iter().map(|filter| Line {
            filter: filter.clone(),
            direction,
            qos: Qos::AtLeastOnce,
        });
        let all: BTreeSet<Line> = link.lines.iter().cloned().chain(carried).collect();
        let covered = |line: &Line| {
            all.iter()
                .any(|it| it.filter != line.filter && it.filter.covers(&line.filter))
        };
        link.lines = all.iter().filter(|line| !covered(line)).cloned().collect();
    }
    links.into_values().map(Arc::new).collect()
}

fn substitution(fleet: &Fleet, broker: &BrokerName) -> Substitution {
    // Likeness enough for a toy: both publish, both subscribe, or both do neither.
    let roles = |broker: &BrokerName| {
        let publishes = fleet
            .topics
            .values()
            .any(|topic| topic.producers.contains(broker));
        let subscribes = fleet
            .topics
            .values()
            .any(|topic| topic.consumers.contains(broker));
        (publishes, subscribes)
    };
    let mine = roles(broker);
    let others = fleet
        .brokers
        .iter()
        .filter(|(name, declared)| *name != broker && declared.is_controlled());
    let mut candidates: Vec<Candidate> = others
        .map(|(name, _)| Candidate {
            broker: name.clone(),
            equivalence: if roles(name) == mine {
                Equivalence::Strong
            } else {
                Equivalence::Partial
            },
            missing: Vec::new().into(),
            distance: None,
            same_zone: false,
            load: 0,
        })
        .collect();
    candidates.sort_by(|a, b| (a.equivalence, &a.broker).cmp(&(b.equivalence, &b.broker)));
    Substitution {
        candidates,
        cover: Vec::new(),
        grafts: Vec::new(),
        gaps: Vec::new(),
    }
}
