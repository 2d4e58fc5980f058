//! What changes from one plan to another, for people to review and for programs to judge.
//!
//! Knows plans only, not why they differ. Its text form has one change per line: `+` added, `-` removed, `~` changed.

mod classes;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use skein_api::name::{BrokerName, ClassName, TopicName};
use skein_mosquitto::link::{Line, Link, Mode};

use crate::plan::{Equivalence, Finding, Path, Plan, Substitution};

/// All differences of two plans. Empty if they are equal for every purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Overlap classes, by name.
    pub classes: Vec<ClassChange>,
    /// Paths, by topic, consumer, producer.
    pub paths: Vec<PathChange>,
    /// Links, by downstream, upstream, mode.
    pub links: Vec<LinkChange>,
    /// Who would stand in for whom, by broker.
    pub substitutes: Vec<SubstituteChange>,
    /// Findings.
    pub findings: Vec<FindingChange>,
}

impl Diff {
    /// The plans do not differ.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// Which kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is there in both, differently.
    Changed,
}

/// A link that comes, goes, or carries other lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkChange {
    /// Which kind.
    pub change: Change,
    /// Who holds the connection.
    pub downstream: BrokerName,
    /// Who is connected to.
    pub upstream: BrokerName,
    /// Whether data flows one way.
    pub mode: Mode,
    /// The class it serves.
    pub class: ClassName,
    /// Lines that it did not have, as `farm/+/soil in qos 1`.
    pub gained: Vec<String>,
    /// Lines that it no longer has.
    pub lost: Vec<String>,
    /// Lines under `$skein/` change as well (or alone).
    pub control: bool,
}

/// A path that comes, goes, or takes another way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathChange {
    /// Which kind.
    pub change: Change,
    /// The topic.
    pub topic: TopicName,
    /// Where it is published.
    pub producer: BrokerName,
    /// Where it is subscribed.
    pub consumer: BrokerName,
    /// How it was, consumer first; empty if there was no way, missing if the pair is new.
    pub old: Option<Way>,
    /// How it is now; missing if the pair is gone.
    pub new: Option<Way>,
}

/// A path's way and its cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Way {
    /// Consumer first; empty if there is no way.
    pub path: Vec<BrokerName>,
    /// Sum of the route costs.
    pub cost: u32,
}

/// What becomes of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClassFate {
    /// None of its topics was there before.
    Added,
    /// None of its topics is there any more.
    Removed,
    /// The same topics under another name.
    Renamed,
    /// Several became one.
    Merged,
    /// One became several.
    Split,
    /// Topics moved between several.
    Regrouped,
    /// Other topics, or another root.
    Changed,
}

/// A class, or several that share topics, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassChange {
    /// What became of them.
    pub fate: ClassFate,
    /// Before.
    pub old: Vec<ClassState>,
    /// After.
    pub new: Vec<ClassState>,
    /// Topics that are in no class before.
    pub gained: Vec<TopicName>,
    /// Topics that are in no class after.
    pub lost: Vec<TopicName>,
}

/// A class at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassState {
    /// Its name.
    pub name: ClassName,
    /// What its tree grows from.
    pub root: Option<BrokerName>,
    /// How many topics it has.
    pub topics: usize,
}

/// Who would stand in for a broker, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubstituteChange {
    /// The broker that dies.
    pub broker: BrokerName,
    /// Before; null if nobody would, nobody needs to, or the broker is new.
    pub old: Option<StandIn>,
    /// After; null if nobody would, nobody needs to, or the broker is gone.
    pub new: Option<StandIn>,
    /// Flows that its death would interrupt, before.
    pub old_gaps: usize,
    /// Flows that its death would interrupt, after.
    pub new_gaps: usize,
}

/// A first candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StandIn {
    /// Which broker.
    pub broker: BrokerName,
    /// How well it fits.
    pub equivalence: Equivalence,
    /// How many roles it lacks.
    pub missing: usize,
}

/// A finding that comes or goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingChange {
    /// Added or removed.
    pub change: Change,
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
}

/// Compares two plans.
#[must_use]
pub fn diff(old: &Plan, new: &Plan) -> Diff {
    Diff {
        classes: classes::changes(old, new),
        paths: paths(old, new),
        links: link_changes(&old.links(), &new.links()),
        substitutes: substitutes(old, new),
        findings: findings(old, new),
    }
}

/// Pairs what is in either of two maps by key, in key order.
fn both<'plan, Key: Ord, Value>(
    old: &'plan BTreeMap<Key, Value>,
    new: &'plan BTreeMap<Key, Value>,
) -> impl Iterator<Item = (&'plan Key, Option<&'plan Value>, Option<&'plan Value>)> {
    let keys: BTreeSet<&Key> = old.keys().chain(new.keys()).collect();
    keys.into_iter().map(|key| (key, old.get(key), new.get(key)))
}

fn change<Value>(old: Option<&Value>, new: Option<&Value>) -> Change {
    match (old, new) {
        (None, _) => Change::Added,
        (_, None) => Change::Removed,
        _ => Change::Changed,
    }
}

fn paths(old: &Plan, new: &Plan) -> Vec<PathChange> {
    type Paths<'plan> = BTreeMap<(&'plan TopicName, &'plan BrokerName, &'plan BrokerName), &'plan Path>;
    let index = |plan: &'_ Plan| -> Vec<_> { plan.classes.values().cloned().collect() };
    let (old_classes, new_classes) = (index(old), index(new));
    let (mut before, mut after): (Paths<'_>, Paths<'_>) = Default::default();
    for (classes, paths) in [(&old_classes, &mut before), (&new_classes, &mut after)] {
        for path in classes.iter().flat_map(|class| &class.paths) {
            paths.insert((&path.topic, &path.consumer, &path.producer), path);
        }
    }
    let way = |path: &&Path| Way {
        path: path.brokers.to_vec(),
        cost: path.cost,
    };
    both(&before, &after)
        .map(|(&(topic, consumer, producer), old, new)| PathChange {
            change: change(old, new),
            topic: topic.clone(),
            producer: producer.clone(),
            consumer: consumer.clone(),
            old: old.map(way),
            new: new.map(way),
        })
        .filter(|change| change.old != change.new)
        .collect()
}

fn line(line: &Line) -> String {
    format!("{} {} qos {}", line.filter, line.direction, line.qos)
}

/// Compares two sets of links, each of which has a link of one identity at most once.
#[must_use]
pub fn link_changes(old: &[Arc<Link>], new: &[Arc<Link>]) -> Vec<LinkChange> {
    let index = |links: &[Arc<Link>]| -> BTreeMap<_, _> {
        let key = |link: &Link| {
            (
                link.downstream.clone(),
                link.upstream.clone(),
                link.mode,
                link.class.clone(),
            )
        };
        links.iter().map(|link| (key(link), Arc::clone(link))).collect()
    };
    let lines = |link: Option<&Arc<Link>>| -> BTreeSet<String> {
        link.iter().flat_map(|link| link.lines.iter()).map(line).collect()
    };
    let control = |link: Option<&Arc<Link>>| -> BTreeSet<String> {
        link.iter()
            .flat_map(|link| link.control.iter())
            .map(line)
            .collect()
    };
    let (before, after) = (index(old), index(new));
    both(&before, &after)
        .filter_map(|((downstream, upstream, mode, class), old, new)| {
            let (had, has) = (lines(old), lines(new));
            let control = control(old) != control(new);
            (old.is_none() || new.is_none() || had != has || control).then(|| LinkChange {
                change: change(old, new),
                downstream: downstream.clone(),
                upstream: upstream.clone(),
                mode: *mode,
                class: class.clone(),
                gained: has.difference(&had).cloned().collect(),
                lost: had.difference(&has).cloned().collect(),
                control,
            })
        })
        .collect()
}

/// Brokers that clients are declared at: only they need somebody to stand in.
fn ends(plan: &Plan) -> BTreeSet<&BrokerName> {
    plan.classes
        .values()
        .flat_map(|class| &class.paths)
        .flat_map(|path| [&path.producer, &path.consumer])
        .collect()
}

fn substitutes(old: &Plan, new: &Plan) -> Vec<SubstituteChange> {
    let stand_in = |ends: &BTreeSet<&BrokerName>, broker, found: Option<&Arc<Substitution>>| {
        let first = found.filter(|_| ends.contains(broker))?.candidates.first()?;
        Some(StandIn {
            broker: first.broker.clone(),
            equivalence: first.equivalence,
            missing: first.missing.len(),
        })
    };
    let gaps = |found: Option<&Arc<Substitution>>| found.map_or(0, |found| found.gaps.len());
    let (old_ends, new_ends) = (ends(old), ends(new));
    both(&old.substitutes, &new.substitutes)
        .map(|(broker, old, new)| SubstituteChange {
            broker: broker.clone(),
            old: stand_in(&old_ends, broker, old),
            new: stand_in(&new_ends, broker, new),
            old_gaps: gaps(old),
            new_gaps: gaps(new),
        })
        .filter(|change| change.old != change.new || change.old_gaps != change.new_gaps)
        .collect()
}

fn findings(old: &Plan, new: &Plan) -> Vec<FindingChange> {
    let (before, after): (BTreeSet<&Finding>, BTreeSet<&Finding>) =
        (old.findings.iter().collect(), new.findings.iter().collect());
    let of = |change, finding: &&Finding| FindingChange {
        change,
        finding: (*finding).clone(),
    };
    after
        .difference(&before)
        .map(|finding| of(Change::Added, finding))
        .chain(
            before
                .difference(&after)
                .map(|finding| of(Change::Removed, finding)),
        )
        .collect()
}
