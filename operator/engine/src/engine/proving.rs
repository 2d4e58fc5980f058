//! The proof that comes before a plan is worked towards: over the configurations as they would be written down and read back.
//!
//! What was proven before stays proven. Anew are looked at the brokers whose configuration is made from something else now,
//! and the classes that are planned otherwise or are to let flow something else, with all that overlap them. That the others
//! have nothing to do with these follows from their filters, and not from the planner's word.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::{Fleet, Topic};
use skein_api::name::{BrokerName, ClassName, TopicName};
use skein_check::Flow;
use skein_filters::TopicFilter;
use skein_mosquitto::config::{links_of, parse, render};
use skein_mosquitto::link::Link;
use skein_planner::plan::{Class, Plan, View};

use super::Engine;
use crate::overlaps::Overlaps;

/// What is proven.
#[derive(Debug, Default)]
pub(super) struct Proof {
    proven: Option<Proven>,
    /// Counts what goes into configurations beside links and declarations: where brokers are, and which version they have.
    pub(super) surroundings: u64,
}

#[derive(Debug)]
struct Proven {
    fleet: Arc<Fleet>,
    down: BTreeSet<BrokerName>,
    served_by: BTreeMap<BrokerName, BrokerName>,
    plan: Arc<Plan>,
    /// The filters of lines and topics of each class.
    overlaps: Overlaps,
    written: BTreeMap<BrokerName, Written>,
    surroundings: u64,
}

/// A configuration that was written down and read back.
#[derive(Debug)]
struct Written {
    links: Vec<Arc<Link>>,
    /// Unless it is what was planned.
    read_back: Option<Vec<Link>>,
}

impl Proof {
    /// Nothing goes wrong with the class as it is planned for this fleet.
    pub(super) fn covers(&self, class: &ClassName, fleet: &Arc<Fleet>) -> bool {
        let proven = self
            .proven
            .as_ref()
            .filter(|proven| Arc::ptr_eq(&proven.fleet, fleet));
        proven.is_some_and(|proven| proven.plan.classes.contains_key(class))
    }
}

impl Engine {
    /// What is wrong with a plan as it would be written down and read back.
    pub(super) fn prove(
        &mut self,
        fleet: &Arc<Fleet>,
        view: &View,
        plan: &Arc<Plan>,
        desired: &BTreeMap<BrokerName, Vec<Arc<Link>>>,
    ) -> Vec<String> {
        // What is not proven in the end is not relied on.
        let before = self.proof.proven.take();
        let before = before.filter(|before| same_brokers(&before.fleet, fleet));
        let all_anew = before.is_none();
        let mut proven = before.unwrap_or_else(|| Proven {
            fleet: Arc::default(),
            down: BTreeSet::new(),
            served_by: BTreeMap::new(),
            plan: Arc::default(),
            overlaps: Overlaps::default(),
            written: BTreeMap::new(),
            surroundings: self.proof.surroundings,
        });
        let changed = proven.changed_topics(fleet, view);
        let unfaithful = match self.write_down(&mut proven, fleet, desired) {
            Ok(unfaithful) => unfaithful,
            Err(fault) => return vec![fault],
        };
        let mut classes = proven.plan.changed_classes(plan);
        classes.extend(unfaithful);
        let class_of = |topic: &TopicName| {
            let class = self
                .classes
                .get(topic)
                .filter(|name| plan.classes.contains_key(*name));
            let holds = |class: &&Arc<Class>| class.topics.binary_search(topic).is_ok();
            class.and_then(|class| plan.classes.get(class)).filter(holds)
        };
        let of_changed = changed.iter().filter_map(class_of);
        classes.extend(of_changed.map(|class| class.name.clone()));
        for name in &classes {
            let filters = plan.classes.get(name).map(|class| filters_of(class, fleet));
            proven.overlaps.set(name, filters.unwrap_or_default());
        }
        // Topics of no class overlap some, too.
        let mut open: Vec<TopicFilter> = changed
            .iter()
            .filter_map(|topic| fleet.topics.get(topic))
            .flat_map(|topic| filters(topic).cloned())
            .collect();
        open.extend(
            classes
                .iter()
                .flat_map(|class| proven.overlaps.of(class).cloned()),
        );
        while let Some(filter) = open.pop() {
            let found: Vec<ClassName> = proven.overlaps.with(&filter).into_iter().cloned().collect();
            for class in found {
                if !classes.contains(&class) {
                    open.extend(proven.overlaps.of(&class).cloned());
                    classes.insert(class);
                }
            }
        }
        let planned: BTreeMap<ClassName, Arc<Class>> = classes
            .iter()
            .filter_map(|name| plan.classes.get_key_value(name))
            .map(|(name, class)| (name.clone(), Arc::clone(class)))
            .collect();
        let links = proven.links(&planned);
        let mut topics = changed;
        topics.extend(planned.values().flat_map(|class| class.topics.iter().cloned()));
        let flows = flows(fleet, &topics, view);
        let part = Plan {
            classes: planned,
            ..Plan::default()
        };
        let deduplicating = skein_check::deduplicating(fleet);
        let faults = self.tools.faults(&flows, view, &part, &links, &deduplicating);
        debug_assert!(all_anew || self.is_fault_anywhere(fleet, view, plan, &proven) != faults.is_empty());
        if faults.is_empty() {
            self.proof.proven = Some(Proven {
                fleet: Arc::clone(fleet),
                down: view.down.clone(),
                served_by: view.served_by.clone(),
                plan: Arc::clone(plan),
                ..proven
            });
        }
        faults
    }

    /// The same question about everything.
    fn is_fault_anywhere(&self, fleet: &Fleet, view: &View, plan: &Plan, proven: &Proven) -> bool {
        let links = proven.links(&plan.classes);
        let flows = skein_check::flows(fleet, &view.down, &view.served_by);
        let deduplicating = skein_check::deduplicating(fleet);
        let faults = self.tools.faults(&flows, view, plan, &links, &deduplicating);
        !faults.is_empty()
    }

    /// Writes down the configurations that are made from something else now, and reads them back: gives the classes of links that
    /// do not come back as they are planned.
    fn write_down(
        &self,
        proven: &mut Proven,
        fleet: &Fleet,
        desired: &BTreeMap<BrokerName, Vec<Arc<Link>>>,
    ) -> Result<BTreeSet<ClassName>, String> {
        let mut classes = BTreeSet::new();
        let surroundings = std::mem::replace(&mut proven.surroundings, self.proof.surroundings);
        let same_surroundings = surroundings == self.proof.surroundings;
        proven.written.retain(|broker, _| desired.contains_key(broker));
        for (broker, links) in desired {
            let known = proven.written.get(broker).filter(|known| {
                same_surroundings
                    && fleet.brokers.get(broker) == proven.fleet.brokers.get(broker)
                    && are_same(&known.links, links)
            });
            if known.is_some() {
                continue;
            }
            let config = self
                .ingredients(fleet, broker, links.clone())
                .filter(|ingredients| ingredients.addresses.iter().all(|(_, address)| address.is_some()))
                .and_then(|ingredients| self.config(broker, &ingredients, 0).ok());
            let read_back = match config.map(|config| parse(&render(&config))) {
                Some(Ok(config)) => Some(links_of(broker, &config)),
                Some(Err(error)) => {
                    return Err(format!(
                        "Broker/{broker}: its configuration cannot be read back: {error}"
                    ));
                }
                // Not placed yet, or refused: the giving reports that, and gives nothing.
                None => None,
            };
            let read_back = read_back.filter(|read| !same_links(read, links));
            let before = proven
                .written
                .get(broker)
                .and_then(|before| before.read_back.as_ref());
            let strange = read_back.iter().chain(before).flatten();
            classes.extend(strange.map(|link| link.class.clone()));
            if read_back.is_some() {
                classes.extend(links.iter().map(|link| link.class.clone()));
            }
            let links = links.clone();
            proven
                .written
                .insert(broker.clone(), Written { links, read_back });
        }
        Ok(classes)
    }
}

impl Proven {
    /// The topics that are to let flow something else than before.
    fn changed_topics(&self, fleet: &Fleet, view: &View) -> BTreeSet<TopicName> {
        let (before, now) = (&self.fleet.topics, &fleet.topics);
        let gone = before.keys().filter(|topic| !now.contains_key(*topic));
        let new = now
            .iter()
            .filter(|(name, topic)| before.get(*name) != Some(topic));
        let mut changed: BTreeSet<TopicName> = new.map(|(name, _)| name).chain(gone).cloned().collect();
        if (&self.down, &self.served_by) != (&view.down, &view.served_by) {
            let before = skein_check::flows(fleet, &self.down, &self.served_by);
            let now = skein_check::flows(fleet, &view.down, &view.served_by);
            let other = before.into_iter().zip(now).filter(|(before, now)| before != now);
            changed.extend(other.map(|(_, now)| now.topic));
        }
        changed
    }

    /// The links of these classes, as they were read back.
    fn links(&self, classes: &BTreeMap<ClassName, Arc<Class>>) -> Vec<Arc<Link>> {
        let is_faithful = |link: &&Arc<Link>| {
            let written = self.written.get(&link.downstream);
            written.is_none_or(|written| written.read_back.is_none())
        };
        let planned = classes.values().flat_map(|class| class.links.iter());
        let mut links: Vec<Arc<Link>> = planned.filter(is_faithful).cloned().collect();
        let strange = self
            .written
            .values()
            .filter_map(|written| written.read_back.as_ref());
        links.extend(strange.flatten().cloned().map(Arc::new));
        links
    }
}

/// Those that deduplicate are among them.
fn same_brokers(one: &Fleet, other: &Fleet) -> bool {
    let kinds = |fleet: &Fleet| -> Vec<(BrokerName, bool)> {
        let each = fleet.brokers.iter();
        each.map(|(name, broker)| (name.clone(), broker.is_controlled()))
            .collect()
    };
    kinds(one) == kinds(other)
}

/// They are the very same.
pub(super) fn are_same(some: &[Arc<Link>], others: &[Arc<Link>]) -> bool {
    let mut both = some.iter().zip(others);
    some.len() == others.len() && both.all(|(one, other)| Arc::ptr_eq(one, other))
}

/// They say the same, in whatever order.
fn same_links(read: &[Link], planned: &[Arc<Link>]) -> bool {
    let mut read: Vec<&Link> = read.iter().collect();
    let mut planned: Vec<&Link> = planned.iter().map(Arc::as_ref).collect();
    read.sort_by_key(|link| link.identity());
    planned.sort_by_key(|link| link.identity());
    read == planned
}

fn filters(topic: &Topic) -> impl Iterator<Item = &TopicFilter> {
    std::iter::once(&topic.filter).chain(&topic.commands)
}

/// All that messages of a class are published or passed on by.
fn filters_of(class: &Class, fleet: &Fleet) -> BTreeSet<TopicFilter> {
    let topics = class.topics.iter().filter_map(|topic| fleet.topics.get(topic));
    let declared = topics.flat_map(|topic| filters(topic));
    let lines = class
        .links
        .iter()
        .flat_map(|link| link.lines.iter().chain(link.control.iter()));
    declared.chain(lines.map(|line| &line.filter)).cloned().collect()
}

/// What these topics are to let flow.
fn flows(fleet: &Fleet, topics: &BTreeSet<TopicName>, view: &View) -> Vec<Flow> {
    let declared = topics.iter().filter_map(|name| fleet.topics.get_key_value(name));
    skein_check::flows_of(declared, &view.down, &view.served_by)
}
