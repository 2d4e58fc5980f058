//! Behaviour equivalence: who can stand in for whom (paper 002, section 3.3).
//!
//! A broker's behaviour is its set of roles: filters that its clients publish, filters that they subscribe. What a failure
//! would change on the trees is `failures`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::{FailoverPolicy, Fleet};
use skein_api::name::BrokerName;
use skein_filters::{FilterTrie, TopicFilter};

use crate::failures;
use crate::plan::{Action, Candidate, Equivalence, Role, Substitution};
use crate::topology::{Node, Topology, UNREACHABLE};
use crate::trees::Trees;

/// The roles of every broker, sorted, by node.
pub(crate) fn roles(fleet: &Fleet, topology: &Topology) -> Vec<Vec<Arc<Role>>> {
    let mut roles: Vec<Vec<Arc<Role>>> = vec![Vec::new(); topology.len()];
    for (name, topic) in &fleet.topics {
        let mut add = |brokers: &BTreeSet<BrokerName>, action, filter: &TopicFilter| {
            let role = Arc::new(Role {
                action,
                topic: name.clone(),
                filter: filter.clone(),
            });
            for node in brokers.iter().filter_map(|broker| topology.node(broker)) {
                roles[node as usize].push(role.clone());
            }
        };
        add(&topic.producers, Action::Publish, &topic.filter);
        add(&topic.consumers, Action::Subscribe, &topic.filter);
        for command in &topic.commands {
            add(&topic.consumers, Action::Publish, command);
            add(&topic.producers, Action::Subscribe, command);
        }
    }
    for roles in &mut roles {
        roles.sort_unstable();
    }
    roles
}

/// The other ends of every broker's declared pairs, by node.
fn partners(fleet: &Fleet, topology: &Topology) -> Vec<Vec<Node>> {
    let mut partners = vec![Vec::new(); topology.len()];
    for topic in fleet.topics.values() {
        for producer in topic.producers.iter().filter_map(|name| topology.node(name)) {
            for consumer in topic.consumers.iter().filter_map(|name| topology.node(name)) {
                if producer != consumer {
                    partners[producer as usize].push(consumer);
                    partners[consumer as usize].push(producer);
                }
            }
        }
    }
    partners
}

/// The parts that a fleet falls into without one broker.
struct Islands {
    /// By node: the number of its island.
    island: Vec<u32>,
    /// By island: how many of the lost broker's partners are on it.
    partners: Vec<u32>,
    all: u32,
}

impl Islands {
    /// `None` if all other brokers stay connected, as is usual.
    fn without(topology: &Topology, closed: &[Node], lost: Node, partners: &[Node]) -> Option<Self> {
        const NONE: u32 = u32::MAX;
        let mut island = vec![NONE; topology.len()];
        let mut count = 0;
        let mut stack = Vec::new();
        let is_closed = |node: Node| node == lost || closed.binary_search(&node).is_ok();
        for start in (0..).take(topology.len()) {
            if island[start as usize] != NONE || is_closed(start) {
                continue;
            }
            island[start as usize] = count;
            stack.push(start);
            while let Some(node) = stack.pop() {
                for arc in topology.arcs(node) {
                    let open = arc.inward != UNREACHABLE || arc.outward != UNREACHABLE;
                    if open && island[arc.to as usize] == NONE && !is_closed(arc.to) {
                        island[arc.to as usize] = count;
                        stack.push(arc.to);
                    }
                }
            }
            count += 1;
        }
        if count < 2 {
            return None;
        }
        let mut on = vec![0; count as usize];
        let mut all = 0;
        for &partner in partners {
            if let Some(place) = on.get_mut(island[partner as usize] as usize) {
                *place += 1;
                all += 1;
            }
        }
        Some(Self {
            island,
            partners: on,
            all,
        })
    }

    /// How many partners a substitute could not reach.
    fn partners_elsewhere(&self, node: Node) -> u32 {
        self.all
            - self
                .partners
                .get(self.island[node as usize] as usize)
                .copied()
                .unwrap_or(0)
    }
}

/// Which brokers play a role that covers a given one.
struct Coverage {
    /// By action and filter: nodes, sorted.
    covering: BTreeMap<(Action, TopicFilter), Vec<Node>>,
}

impl Coverage {
    fn new(roles: &[Vec<Arc<Role>>]) -> Self {
        let mut players: BTreeMap<(Action, &TopicFilter), Vec<Node>> = BTreeMap::new();
        for (node, roles) in (0..).zip(roles) {
            for role in roles {
                let nodes = players.entry((role.action, &role.filter)).or_default();
                if nodes.last() != Some(&node) {
                    nodes.push(node);
                }
            }
        }
        // Only a filter with wildcards covers another, so the many without stay out of the tries.
        let mut tries: BTreeMap<Action, FilterTrie<&[Node]>> = BTreeMap::new();
        for (&(action, filter), nodes) in players.iter().filter(|((_, filter), _)| !filter.is_exact()) {
            tries.entry(action).or_default().insert(filter, nodes);
        }
        let covering = players
            .iter()
            .map(|(&(action, filter), own)| {
                let mut nodes = own.clone();
                if let Some(trie) = tries.get(&action) {
                    trie.covering(filter, |found| nodes.extend_from_slice(found));
                }
                nodes.sort_unstable();
                nodes.dedup();
                ((action, filter.clone()), nodes)
            })
            .collect();
        Self { covering }
    }

    fn of(&self, role: &Role) -> &[Node] {
        self.covering
            .get(&(role.action, role.filter.clone()))
            .map_or(&[], Vec::as_slice)
    }
}

/// Ranks the substitutes of every broker, and tells what its failure would change.
pub(crate) fn all(
    fleet: &Fleet,
    topology: &Topology,
    closed: &[Node],
    trees: &mut Trees,
    mut failures: failures::Failures,
) -> BTreeMap<BrokerName, Arc<Substitution>> {
    let roles = roles(fleet, topology);
    let coverage = Coverage::new(&roles);
    let partners = partners(fleet, topology);
    let mut covered = vec![0u32; topology.len()];
    let zones: Vec<Option<&str>> = fleet
        .brokers
        .values()
        .map(|broker| broker.zone.as_deref())
        .collect();
    let mut ranked: Vec<Ranked> = Vec::with_capacity(topology.len());
    for node in 0..Node::try_from(topology.len()).unwrap_or(0) {
        let allowed = fleet
            .brokers
            .get(topology.name(node))
            .and_then(|broker| broker.failover.substitutes.as_ref());
        let allowed = allowed.map(|names| names.iter().filter_map(|name| topology.node(name)).collect());
        let ranking = Ranking {
            topology,
            closed,
            zones: &zones,
            roles: &roles,
            partners: &partners,
            coverage: &coverage,
            node,
            allowed,
        };
        ranked.push(ranking.rank(&mut covered, trees));
    }
    let best = |node: Node| {
        // With its failover disabled nobody takes a broker's clients, however well somebody would fit.
        let broker = fleet.brokers.get(topology.name(node))?;
        let first = ranked[node as usize].candidates.first()?;
        topology
            .node(&first.broker)
            .filter(|_| broker.failover.policy != FailoverPolicy::Disabled)
    };
    let changes = failures.all(topology, trees, best);
    let hops = failures::hops(topology);
    ranked
        .into_iter()
        .zip(changes)
        .zip(topology.names())
        .map(|((ranked, change), name)| {
            let Ranked { candidates, cover } = ranked;
            let substitution = Substitution {
                candidates,
                cover,
                grafts: failures.grafts(&hops, topology, &change),
                gaps: change.gaps,
            };
            (name.clone(), Arc::new(substitution))
        })
        .collect()
}

struct Ranked {
    candidates: Vec<Candidate>,
    cover: Vec<BrokerName>,
}

/// The ranking of one broker's substitutes.
struct Ranking<'a> {
    topology: &'a Topology,
    closed: &'a [Node],
    zones: &'a [Option<&'a str>],
    roles: &'a [Vec<Arc<Role>>],
    /// By node: the other ends of its declared pairs, one entry a pair.
    partners: &'a [Vec<Node>],
    coverage: &'a Coverage,
    node: Node,
    /// The only brokers that may substitute it, if some are named; sorted, as names are.
    allowed: Option<Vec<Node>>,
}

/// What candidates are ordered by, first things first: pairs that nothing would connect, how well it fits, how many roles it
/// lacks, distance, another zone, load, name.
type Rank = (u32, Equivalence, usize, u32, bool, usize, Node);

impl Ranking<'_> {
    fn rank(&self, covered: &mut [u32], trees: &mut Trees) -> Ranked {
        let own = &self.roles[self.node as usize];
        if !self.topology.is_controlled(self.node) {
            // Nobody can move the address of a broker that is not ours.
            return Ranked {
                candidates: Vec::new(),
                cover: Vec::new(),
            };
        }
        let lists: Vec<&[Node]> = own.iter().map(|role| self.coverage.of(role)).collect();
        for &node in lists.iter().copied().flatten() {
            covered[node as usize] += 1;
        }
        let tree = trees.declared(self.topology, self.node);
        let cut = Islands::without(
            self.topology,
            self.closed,
            self.node,
            &self.partners[self.node as usize],
        );
        let cut = cut.as_ref();
        let zone = self.zones[self.node as usize];
        let mut ranks: Vec<Rank> = (0..)
            .zip(covered.iter())
            .filter(|&(node, _)| self.is_eligible(node))
            .map(|(node, &covered)| {
                let missing = own.len() - covered as usize;
                let equivalence = if missing > 0 {
                    Equivalence::Partial
                } else if self.behaves_like(node) {
                    Equivalence::Strong
                } else {
                    Equivalence::Weak
                };
                let other_zone = zone.is_none() || self.zones[node as usize] != zone;
                let load = self.roles[node as usize].len();
                let cut = cut.map_or(0, |islands| islands.partners_elsewhere(node));
                (
                    cut,
                    equivalence,
                    missing,
                    tree.distance[node as usize],
                    other_zone,
                    load,
                    node,
                )
            })
            .collect();
        for &node in lists.iter().copied().flatten() {
            covered[node as usize] = 0;
        }
        if ranks.len() > Substitution::CANDIDATES {
            ranks.select_nth_unstable(Substitution::CANDIDATES);
            ranks.truncate(Substitution::CANDIDATES);
        }
        ranks.sort_unstable();
        let own: Arc<[Arc<Role>]> = own.as_slice().into();
        let partly = ranks.first().is_none_or(|rank| rank.1 == Equivalence::Partial);
        let cover = if partly { self.cover(&lists) } else { Vec::new() };
        Ranked {
            candidates: ranks
                .into_iter()
                .map(|rank| self.candidate(rank, &own, &lists))
                .collect(),
            cover,
        }
    }

    fn candidate(&self, rank: Rank, own: &Arc<[Arc<Role>]>, lists: &[&[Node]]) -> Candidate {
        let (_, equivalence, missing, distance, other_zone, load, node) = rank;
        let lacks = |nodes: &[Node]| nodes.binary_search(&node).is_err();
        let missing = if missing == own.len() {
            own.clone() // most candidates of a large fleet play none of the roles
        } else {
            own.iter()
                .zip(lists)
                .filter(|(_, nodes)| lacks(nodes))
                .map(|(role, _)| role.clone())
                .collect()
        };
        Candidate {
            broker: self.topology.name(node).clone(),
            equivalence,
            missing,
            distance: (distance != UNREACHABLE).then_some(distance),
            same_zone: !other_zone,
            load: u32::try_from(load).unwrap_or(u32::MAX),
        }
    }

    fn is_eligible(&self, node: Node) -> bool {
        node != self.node
            && self
                .allowed
                .as_ref()
                .is_none_or(|allowed| allowed.binary_search(&node).is_ok())
            && self.topology.is_controlled(node)
            && self.closed.binary_search(&node).is_err()
    }

    /// Strong equivalence: the very same filters, published and subscribed.
    fn behaves_like(&self, node: Node) -> bool {
        let behaviour = |node: Node| -> BTreeSet<_> {
            self.roles[node as usize]
                .iter()
                .map(|role| (role.action, &role.filter))
                .collect()
        };
        behaviour(self.node) == behaviour(node)
    }

    /// Brokers that together cover as many roles as can be, greedily: always the one that covers most of what is left,
    /// the smaller name among equals.
    fn cover(&self, lists: &[&[Node]]) -> Vec<BrokerName> {
        let mut left: Vec<&[Node]> = lists.to_vec();
        let mut cover = Vec::new();
        loop {
            let mut counts: BTreeMap<Node, usize> = BTreeMap::new();
            for &node in left
                .iter()
                .copied()
                .flatten()
                .filter(|&&node| self.is_eligible(node))
            {
                *counts.entry(node).or_default() += 1;
            }
            let best = counts
                .into_iter()
                .max_by_key(|&(node, count)| (count, std::cmp::Reverse(node)));
            let Some((node, _)) = best else { return cover };
            cover.push(self.topology.name(node).clone());
            left.retain(|nodes| nodes.binary_search(&node).is_err());
        }
    }
}
