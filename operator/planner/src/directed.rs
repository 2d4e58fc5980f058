//! Trees where some routes are one-way.
//!
//! A one-way route may be on a tree only if every flow of the class crosses it forwards; a topic with commands flows both
//! ways. Several kinds of tree are tried from every possible root, then trees around the routes that stood in the way;
//! the one that serves most pairs at the least cost is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::Fleet;
use skein_api::name::ClassName;

use crate::choice::Choice;
use crate::declared::{Declared, Situation};
use crate::filters::ClassFilters;
use crate::findings;
use crate::grow::{self, Flow, Grown, cost};
use crate::parts;
use crate::search::{self, Search, Tree};
use crate::topology::{Node, Topology, UNREACHABLE};

/// Plans one class.
pub(crate) fn grow(
    topology: &Topology,
    situation: &Situation,
    fleet: &Fleet,
    name: &ClassName,
    topics: &[Arc<Declared>],
    choice: &Choice,
    filters: &mut ClassFilters,
) -> Grown {
    let flows = grow::flows(topics, situation);
    let mut search = Search::default();
    let planted = plant(topology, situation, &mut search, topics, choice, &flows);
    let flows = planted.flows;
    let mut shortest: BTreeMap<(Node, bool), Tree> = BTreeMap::new();
    for flow in &flows {
        if let Some((producer, _)) = flow.players {
            let both_ways = !topics[flow.topic].commands.is_empty();
            let kind = if both_ways {
                search::Flow::Both
            } else {
                search::Flow::FromRoot
            };
            shortest
                .entry((producer, both_ways))
                .or_insert_with(|| search.tree(topology, producer, kind, &situation.closed));
        }
    }
    let paths = grow::paths(topology, topics, &flows, None, |place| {
        let flow = &flows[place];
        let both_ways = !topics[flow.topic].commands.is_empty();
        let (producer, consumer) = flow.players?;
        let distance = shortest.get(&(producer, both_ways))?.distance[consumer as usize];
        Some(distance.min(flow.cost))
    });
    let (laid, widened) = parts::lay(topology, name, topics, &flows, filters, None);
    let root = planted.root.map(|root| topology.name(root).clone());
    let class = grow::class(name, topics, root, paths, Arc::clone(&laid.links));
    let against: BTreeSet<usize> = planted
        .blocked
        .iter()
        .filter(|(_, hop)| hop.is_some())
        .map(|&(place, _)| place)
        .collect();
    let mut findings = findings::of_class(topology, situation, &class, topics, &laid, &against);
    findings.extend(findings::widened(&class, &widened));
    findings.extend(planted.blocked.into_iter().filter_map(|(place, hop)| {
        let (from, to) = hop?;
        let flow = &flows[place];
        Some(findings::against_one_way(
            topology,
            fleet,
            &topics[flow.topic],
            (flow.producer, flow.consumer),
            from,
            to,
        ))
    }));
    findings.sort_unstable();
    Grown {
        class,
        flows,
        laid,
        widened,
        findings,
        // Any change may matter to a class here, and all is planned anew at each.
        scattered: true,
    }
}

/// Finds the ways of flows, as far as the best tree has them.
pub(crate) fn route(
    topology: &Topology,
    situation: &Situation,
    topics: &[Arc<Declared>],
    choice: &Choice,
    flows: &[Flow],
) -> Vec<Flow> {
    plant(topology, situation, &mut Search::default(), topics, choice, flows).flows
}

/// A root with its tree, and the flows routed on it.
struct Planted {
    root: Option<Node>,
    flows: Vec<Flow>,
    /// Flows that the best tree cannot serve, with the first neighbours (from, to) on it that data may not pass.
    blocked: Vec<(usize, Option<(Node, Node)>)>,
}

/// Finds the best tree for flows without ways.
fn plant(
    topology: &Topology,
    situation: &Situation,
    search: &mut Search,
    topics: &[Arc<Declared>],
    choice: &Choice,
    flows: &[Flow],
) -> Planted {
    let closed = &situation.closed;
    // Who is on nobody's way may die without moving anything, though the best of all trees may be another then.
    let planted = plant_around(&[], topology, situation, search, topics, choice, flows);
    let is_closed = |node: &Node| closed.binary_search(node).is_ok();
    if closed.is_empty() || !planted.flows.iter().any(|flow| flow.way.iter().any(is_closed)) {
        return planted;
    }
    plant_around(closed, topology, situation, search, topics, choice, flows)
}

/// As [`plant`], on trees that pass no closed node.
fn plant_around(
    closed: &[Node],
    topology: &Topology,
    situation: &Situation,
    search: &mut Search,
    topics: &[Arc<Declared>],
    choice: &Choice,
    flows: &[Flow],
) -> Planted {
    let roots: BTreeSet<Node> = choice.roots().filter_map(|root| situation.player(root)).collect();
    let mut best: Option<Attempt> = None;
    for &root in &roots {
        for kind in [
            search::Flow::Both,
            search::Flow::ToRoot,
            search::Flow::FromRoot,
            search::Flow::Any,
        ] {
            let tree = search.tree(topology, root, kind, closed);
            consider(&mut best, Attempt::new(topology, topics, flows, root, &tree));
        }
    }
    for &root in &roots {
        if best.as_ref().is_none_or(|best| best.blocked.is_empty()) {
            break;
        }
        let mut barred: BTreeSet<(Node, Node)> = BTreeSet::new();
        // Each round bars at least one more pair of neighbours, so there are at most as many rounds as pairs; a few
        // find what can be found.
        for _ in 0..32 {
            let tree = search.tree_without(topology, root, closed, |a, b| {
                barred.contains(&(a.min(b), a.max(b)))
            });
            let attempt = Attempt::new(topology, topics, flows, root, &tree);
            let count = barred.len();
            barred.extend(
                attempt
                    .blocked
                    .iter()
                    .filter_map(|&(_, hop)| hop)
                    .map(|(a, b)| (a.min(b), a.max(b))),
            );
            consider(&mut best, attempt);
            if barred.len() == count {
                break;
            }
        }
    }
    let Some(best) = best else {
        let blocked = (0..flows.len()).map(|flow| (flow, None)).collect();
        return Planted {
            root: None,
            flows: flows.to_vec(),
            blocked,
        };
    };
    Planted {
        root: Some(best.root),
        flows: best.flows,
        blocked: best.blocked,
    }
}

struct Attempt {
    root: Node,
    flows: Vec<Flow>,
    blocked: Vec<(usize, Option<(Node, Node)>)>,
    total: u64,
}

impl Attempt {
    fn new(topology: &Topology, topics: &[Arc<Declared>], flows: &[Flow], root: Node, tree: &Tree) -> Self {
        let mut flows = flows.to_vec();
        crate::grow::route(&mut flows, tree);
        let (mut blocked, mut total) = (Vec::new(), 0);
        for (place, flow) in flows.iter_mut().enumerate() {
            if flow.players.is_none() {
                continue;
            }
            let both_ways = !topics[flow.topic].commands.is_empty();
            let wrong = flow.way.windows(2).find_map(|hop| {
                let (to, from) = (hop[0], hop[1]);
                if topology.cost(from, to) == UNREACHABLE {
                    Some((from, to))
                } else if both_ways && topology.cost(to, from) == UNREACHABLE {
                    Some((to, from))
                } else {
                    None
                }
            });
            if flow.way.is_empty() || wrong.is_some() {
                blocked.push((place, wrong));
                flow.way.clear();
            } else {
                flow.cost = cost(topology, &flow.way);
                total += u64::from(flow.cost);
            }
        }
        Self {
            root,
            flows,
            blocked,
            total,
        }
    }
}

fn consider(best: &mut Option<Attempt>, attempt: Attempt) {
    // Of trees that serve equally many, one that shows what is in the way is worth more than one that is cheaper.
    let unexplained = |attempt: &Attempt| attempt.blocked.iter().filter(|(_, hop)| hop.is_none()).count();
    let rank = |attempt: &Attempt| (attempt.blocked.len(), unexplained(attempt), attempt.total);
    if best.as_ref().is_none_or(|best| rank(&attempt) < rank(best)) {
        *best = Some(attempt);
    }
}
