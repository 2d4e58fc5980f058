//! The planner: keeps what planning computed, so that a change costs what it touches.
//!
//! Two ways lead to a plan, and they must agree to the byte: everything from scratch, and the classes that a change
//! touches. Which classes those are is decided here; how a class is planned is `choice`, `grow` and `directed`.

mod change;
mod compare;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::Fleet;
use skein_api::name::{BrokerName, ClassName, RouteName, TopicName};
use skein_filters::{FilterTrie, TopicFilter};

use crate::branches::Meetings;
use crate::choice::Choice;
use crate::class::Context;
use crate::classes;
use crate::declared::{self, Declared, NodeSet, Situation};
use crate::directed;
use crate::ends::Ends;
use crate::failures::{Failures, Planned};
use crate::filters::ClassFilters;
use crate::findings;
use crate::grow::{self, Flow, Former};
use crate::parts::Laid;
use crate::plan::{Finding, Plan, Substitution, View};
use crate::substitutes;
use crate::topology::{Node, Topology};
use crate::trees::Trees;

/// Plans a fleet, and plans it again after a change for little.
#[derive(Debug, Default)]
pub struct Planner {
    fleet: Arc<Fleet>,
    situation: Situation,
    topology: Topology,
    routes_between: BTreeMap<(Node, Node), BTreeSet<RouteName>>,
    trees: Trees,
    topics: BTreeMap<TopicName, Arc<Declared>>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    slot_of: BTreeMap<TopicName, usize>,
    /// By node: the slots whose choice of a root depends on the tree of that node.
    watching: Vec<BTreeSet<usize>>,
    ends: Ends,
    /// Topics by filter, made when a filter first changes.
    overlaps: Option<FilterTrie<TopicName>>,
    /// Class names of the plan before, by topic.
    names: BTreeMap<TopicName, ClassName>,
    widened: BTreeMap<TopicName, Vec<TopicFilter>>,
    plan: Arc<Plan>,
    planned: bool,
}

/// One class.
#[derive(Debug)]
struct Slot {
    name: ClassName,
    /// Its topics, by name.
    topics: Vec<Arc<Declared>>,
    choice: Choice,
    /// The root its trees were grown from.
    root: Option<Node>,
    /// The filters of its topics; made when it is first grown.
    filters: Option<Box<ClassFilters>>,
    /// It has been grown; what follows is the result.
    grown: bool,
    flows: Vec<Flow>,
    laid: Arc<Laid>,
    class: Arc<crate::plan::Class>,
    findings: Vec<Finding>,
    /// Every node it touches while all brokers are healthy; found when asked for.
    uses: Option<NodeSet>,
    /// Somebody it would use is closed, so any change may matter to it.
    detoured: bool,
    /// Not all of its flows are on the tree of its root, so any new or lost way may matter to it.
    scattered: bool,
}

impl Slot {
    /// Whether it touches any of some nodes while all brokers are healthy; if that is not known, yes.
    fn uses_any(&self, nodes: &[Node]) -> bool {
        self.uses
            .as_ref()
            .is_none_or(|uses| nodes.iter().any(|&node| uses.contains(node)))
    }
}

impl Planner {
    /// A planner that names classes as they were called before.
    #[must_use]
    pub fn new(previous_classes: BTreeMap<TopicName, ClassName>) -> Self {
        Self {
            names: previous_classes,
            ..Self::default()
        }
    }

    /// The plan of a fleet in a view, without substitutes. The view's `previous_classes` are not looked at: the planner
    /// remembers its own.
    pub fn replan(&mut self, fleet: &Arc<Fleet>, view: &View) -> Arc<Plan> {
        if !self.change(fleet, view) {
            self.rebuild(fleet, view);
        }
        self.plan.clone()
    }

    /// Plans everything from scratch.
    fn rebuild(&mut self, fleet: &Arc<Fleet>, view: &View) {
        self.fleet = fleet.clone();
        self.topology = Topology::new(fleet);
        self.situation = Situation::new(&self.topology, view);
        self.routes_between = self.index_routes();
        self.topics = declared::topics(&self.topology, fleet);
        self.overlaps = None;
        self.widened.clear();
        self.trees.reset(&self.topology);
        // What had to be widened may overlap more, so classes are found anew until nothing is added.
        loop {
            self.classify();
            self.choose();
            let mut widened = self.widened.clone();
            for place in 0..self.slots.len() {
                for (topic, filters) in grow::collect_widened(self.grow(place, None).iter()) {
                    let known = widened.entry(topic).or_default();
                    known.extend(filters);
                    known.sort_unstable();
                    known.dedup();
                }
            }
            let settled = widened == self.widened;
            self.widened = widened;
            if settled {
                break;
            }
        }
        self.remember();
        self.assemble();
        self.planned = true;
    }

    fn index_routes(&self) -> BTreeMap<(Node, Node), BTreeSet<RouteName>> {
        let mut index: BTreeMap<_, BTreeSet<RouteName>> = BTreeMap::new();
        for (name, route) in &self.fleet.routes {
            if let Some((a, b)) = self.topology.ends(route) {
                index
                    .entry((a.min(b), a.max(b)))
                    .or_default()
                    .insert(name.clone());
            }
        }
        index
    }

    /// Sorts all topics into classes.
    fn classify(&mut self) {
        self.slots.clear();
        self.free.clear();
        self.slot_of.clear();
        self.watching = vec![BTreeSet::new(); self.topology.len()];
        self.ends.reset(self.topology.len());
        let groups = classes::partition(&self.fleet.topics, &self.widened);
        let names = classes::name(&groups, &self.names, &BTreeSet::new());
        for (group, name) in groups.into_iter().zip(names) {
            let place = self.free_place();
            self.put_slot(place, name, &group);
        }
    }

    fn free_place(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        })
    }

    fn put_slot(&mut self, place: usize, name: ClassName, topics: &[TopicName]) {
        let topics: Vec<Arc<Declared>> = topics
            .iter()
            .filter_map(|topic| self.topics.get(topic).cloned())
            .collect();
        let choice = Choice::new(topics.iter().map(|topic| &**topic));
        for topic in &topics {
            self.slot_of.insert(topic.name.clone(), place);
        }
        for root in choice.roots() {
            self.watching[root as usize].insert(place);
        }
        self.ends.add(place, &choice);
        let slot = Slot {
            class: grow::class(&name, &[], None, Vec::new(), Arc::default()),
            name,
            topics,
            choice,
            root: None,
            filters: None,
            grown: false,
            flows: Vec::new(),
            laid: Arc::default(),
            findings: Vec::new(),
            uses: None,
            detoured: false,
            scattered: false,
        };
        self.slots[place] = Some(slot);
    }

    /// Finds every class's totals. Root by root, for the tree and its table serve all classes that consider it.
    fn choose(&mut self) {
        if !self.topology.is_symmetric() {
            return; // `directed` weighs whole trees instead
        }
        let mut meetings = Meetings::default();
        for slot in self.slots.iter_mut().flatten() {
            slot.choice.totals = vec![0; slot.choice.candidates.len()];
        }
        for (root, watching) in (0..).zip(&self.watching) {
            let mut read = None;
            for &place in watching {
                let Some(slot) = self.slots.get_mut(place).and_then(Option::as_mut) else {
                    continue;
                };
                let Ok(candidate) = slot.choice.candidates.binary_search(&root) else {
                    continue;
                };
                let tree = read.get_or_insert_with(|| {
                    let tree = self.trees.declared(&self.topology, root);
                    meetings.read(&tree);
                    tree
                });
                slot.choice.totals[candidate] = slot.choice.total(tree, &meetings);
            }
        }
    }

    /// Plans one class from its choice on. Returns the lines that had to be widened.
    /// `moved` are the only nodes that moved on the tree of its root, where that is known.
    fn grow(&mut self, place: usize, moved: Option<&BTreeSet<Node>>) -> Vec<(TopicName, TopicFilter)> {
        let Some(mut slot) = self.slots.get_mut(place).and_then(Option::take) else {
            return Vec::new();
        };
        let topics = &slot.topics;
        let filters = slot
            .filters
            .get_or_insert_with(|| Box::new(ClassFilters::new(&slot.name, topics)));
        let grown = if self.topology.is_symmetric() {
            let (topology, situation) = (&self.topology, &self.situation);
            let context = Context {
                topology,
                situation,
                trees: &mut self.trees,
            };
            let former = Former {
                class: &slot.class,
                flows: &slot.flows,
                laid: &slot.laid,
                moved: moved.filter(|_| {
                    let same_tree = slot.root == slot.choice.root() && self.situation.closed.is_empty();
                    same_tree && !slot.scattered && !slot.detoured
                }),
            };
            context.grow(
                &slot.name,
                topics,
                &slot.choice,
                filters,
                slot.grown.then_some(former),
            )
        } else {
            directed::grow(
                &self.topology,
                &self.situation,
                &self.fleet,
                &slot.name,
                topics,
                &slot.choice,
                filters,
            )
        };
        slot.laid = grown.laid;
        slot.flows = grown.flows;
        slot.class = grown.class;
        slot.grown = true;
        slot.root = slot.choice.root();
        slot.findings = grown.findings;
        slot.scattered = grown.scattered;
        self.slots[place] = Some(slot);
        self.detour(place);
        grown.widened
    }

    /// Notes whether a class would use somebody who is closed.
    fn detour(&mut self, place: usize) {
        let closed = !self.situation.closed.is_empty();
        if closed {
            self.find_uses(place);
        }
        if let Some(slot) = self.slots.get_mut(place).and_then(Option::as_mut) {
            slot.detoured = closed && slot.uses_any(&self.situation.closed);
        }
    }

    /// Finds what a class uses while all brokers are healthy, unless that is known.
    fn find_uses(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place).and_then(Option::as_mut) else {
            return;
        };
        if slot.uses.is_none() {
            let topics = &slot.topics;
            let (topology, situation) = (&self.topology, &self.situation);
            let mut context = Context {
                topology,
                situation,
                trees: &mut self.trees,
            };
            slot.uses = Some(context.uses(topics, slot.root));
        }
    }

    /// A class whose paths stay where they are, while the shortest ways of some of its pairs have changed.
    fn stretch(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place).and_then(Option::as_mut) else {
            return;
        };
        let mut context = Context {
            topology: &self.topology,
            situation: &self.situation,
            trees: &mut self.trees,
        };
        let shortest = context.shortest(&slot.flows, slot.root);
        let paths = slot.class.paths.iter().zip(&shortest);
        if paths
            .into_iter()
            .any(|(path, &shortest)| shortest.is_some_and(|shortest| path.shortest != shortest))
        {
            for (path, shortest) in Arc::make_mut(&mut slot.class).paths.iter_mut().zip(shortest) {
                path.shortest = shortest.unwrap_or(path.shortest);
            }
        }
        self.detour(place);
    }

    fn remember(&mut self) {
        self.names = self
            .slots
            .iter()
            .flatten()
            .flat_map(|slot| {
                slot.topics
                    .iter()
                    .map(|topic| (topic.name.clone(), slot.name.clone()))
            })
            .collect();
    }

    fn assemble(&mut self) {
        let classes = self
            .slots
            .iter()
            .flatten()
            .map(|slot| (slot.name.clone(), slot.class.clone()))
            .collect();
        let mut findings: Vec<Finding> = self
            .slots
            .iter()
            .flatten()
            .flat_map(|slot| &slot.findings)
            .cloned()
            .collect();
        findings.sort_unstable();
        self.plan = Arc::new(Plan {
            classes,
            substitutes: BTreeMap::new(),
            findings,
        });
    }

    /// The plan last made, with what is not needed to run it: substitutes, and what merged classes cost.
    #[must_use]
    pub fn report(&mut self) -> Plan {
        let mut plan = Plan::clone(&self.plan);
        plan.substitutes = self.substitutes();
        plan.findings.extend(
            plan.classes
                .values()
                .flat_map(|class| findings::merging(&self.fleet, class)),
        );
        plan.findings
            .extend(findings::substitution(&self.fleet, &plan.substitutes));
        plan.findings.sort_unstable();
        plan
    }

    /// For each broker, who would replace it and what that takes, in the fleet and view last planned.
    #[must_use]
    pub fn substitutes(&mut self) -> BTreeMap<BrokerName, Arc<Substitution>> {
        let classes = self.slots.iter().flatten().map(|slot| Planned {
            name: &slot.name,
            topics: &slot.topics,
            choice: &slot.choice,
        });
        let failures = Failures {
            situation: &self.situation,
            classes: classes.collect(),
        };
        substitutes::all(
            &self.fleet,
            &self.topology,
            &self.situation.closed,
            &mut self.trees,
            failures,
        )
    }
}
