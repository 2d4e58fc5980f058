//! What planning returns. Plain data, sorted, equal for equal input.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use skein_api::name::{BrokerName, ClassName, TopicName};
use skein_filters::TopicFilter;
use skein_mosquitto::link::Link;

/// What is the case besides the declarations: an input of planning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Brokers that are down: nothing passes through them.
    pub down: BTreeSet<BrokerName>,
    /// Down brokers whose declared roles another broker plays now.
    pub served_by: BTreeMap<BrokerName, BrokerName>,
    /// The class of each topic in the plan before, so that classes keep their names.
    pub previous_classes: BTreeMap<TopicName, ClassName>,
}

/// The whole plan of a fleet in a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Overlap classes with their trees, by name.
    pub classes: BTreeMap<ClassName, Arc<Class>>,
    /// For each broker, who would replace it and what that takes. Empty unless asked for.
    pub substitutes: BTreeMap<BrokerName, Arc<Substitution>>,
    /// What the user should know, most severe first.
    pub findings: Vec<Finding>,
}

/// Topics whose filters overlap, directly or by way of others, and the one tree they all flow on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: ClassName,
    /// Its topics, sorted.
    pub topics: Vec<TopicName>,
    /// The broker the tree grows from; `None` if no pair of the class can be connected.
    pub root: Option<BrokerName>,
    /// Its paths, by topic, then consumer, then producer.
    pub paths: Vec<Path>,
    /// Its links, pair of brokers by pair of brokers.
    pub links: Arc<[Arc<Link>]>,
}

impl Plan {
    /// The links of all classes, sorted by downstream, upstream, mode and class.
    #[must_use]
    pub fn links(&self) -> Vec<Arc<Link>> {
        let classes = self.classes.values();
        let mut links: Vec<Arc<Link>> = classes.flat_map(|class| class.links.iter()).cloned().collect();
        links.sort_unstable_by(|one, other| one.identity().cmp(&other.identity()));
        links
    }

    /// The classes that are another's, or differ from those: of what a planner made one after the other, what stayed is the very
    /// same and needs no look.
    #[must_use]
    pub fn changed_classes(&self, other: &Self) -> BTreeSet<ClassName> {
        let differing = |one: &Self, other: &Self| -> BTreeSet<ClassName> {
            let differs = |(name, class): &(&ClassName, &Arc<Class>)| other.classes.get(*name) != Some(class);
            let classes = one.classes.iter().filter(differs);
            classes.map(|(name, _)| name.clone()).collect()
        };
        let mut changed = differing(self, other);
        changed.extend(differing(other, self));
        changed
    }

    /// The class of each topic: what the next view knows as [`View::previous_classes`].
    #[must_use]
    pub fn class_names(&self) -> BTreeMap<TopicName, ClassName> {
        let classes = self.classes.values();
        let topics = classes.flat_map(|class| {
            class
                .topics
                .iter()
                .map(|topic| (topic.clone(), class.name.clone()))
        });
        topics.collect()
    }
}

/// How a topic gets from one producer to one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The topic.
    pub topic: TopicName,
    /// Where it is published, as declared.
    pub producer: BrokerName,
    /// Where it is subscribed, as declared.
    pub consumer: BrokerName,
    /// The brokers it passes, consumer first, as they are now (a substitute stands where it serves). Empty if there
    /// is no way.
    pub brokers: Arc<[BrokerName]>,
    /// Sum of the route costs along it.
    pub cost: u32,
    /// Cost of the shortest possible path for this pair on its own.
    pub shortest: u32,
}

impl Path {
    /// Cost over shortest possible cost; 1 where both are 0.
    #[must_use]
    pub fn stretch(&self) -> f64 {
        if self.shortest == 0 {
            1.0
        } else {
            f64::from(self.cost) / f64::from(self.shortest)
        }
    }
}

/// What happens if a broker dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substitution {
    /// Ranked candidates, best first; at most [`Substitution::CANDIDATES`].
    pub candidates: Vec<Candidate>,
    /// Brokers that together cover as many of its roles as any do, found greedily, when no single one covers all; a report
    /// only.
    pub cover: Vec<BrokerName>,
    /// Links that exist with the broker dead and its roles at the first candidate, and do not exist today.
    pub grafts: Vec<Graft>,
    /// Declared pairs that could not be connected then: (topic, producer, consumer).
    pub gaps: Vec<(TopicName, BrokerName, BrokerName)>,
}

impl Substitution {
    /// How many candidates are listed.
    pub const CANDIDATES: usize = 8;
}

/// A broker that could stand in for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub broker: BrokerName,
    /// How well it fits.
    pub equivalence: Equivalence,
    /// Roles of the dead broker that it does not play yet: paths that would be added.
    pub missing: Arc<[Arc<Role>]>,
    /// Cost of the shortest way between the two; `None` if there is none.
    pub distance: Option<u32>,
    /// Both are in one zone.
    pub same_zone: bool,
    /// Its own declared (topic, role) pairs.
    pub load: u32,
}

/// Paper 002, definitions 13 and 14.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Equivalence {
    /// Publishes and subscribes the very same filters.
    Strong,
    /// Its filters cover those of the broker it replaces.
    Weak,
    /// It lacks some.
    Partial,
}

/// One declared (topic, action) of a broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Role {
    /// Whether its clients publish or subscribe.
    pub action: Action,
    /// The topic.
    pub topic: TopicName,
    /// The topic's filter, or one of its command filters.
    pub filter: TopicFilter,
}

/// What clients do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// They publish it.
    Publish,
    /// They subscribe it.
    Subscribe,
}

/// A hop that a failure would add to a class's tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Graft {
    /// From where to where.
    pub hop: Arc<Hop>,
    /// For which class.
    pub class: ClassName,
}

/// A step of data from one broker to its neighbour.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// Where data goes.
    pub downstream: BrokerName,
    /// Where it comes from.
    pub upstream: BrokerName,
}

/// Something the user should know about the plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The object, as `topic/soil`.
    pub object: String,
    /// What is the case, and what to do.
    pub message: String,
}

/// How bad a finding is; the worst sorts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A declared flow will not work.
    Error,
    /// It works, with a cost or a risk.
    Warning,
    /// Good to know.
    Info,
}
