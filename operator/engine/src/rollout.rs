//! From what may be running to what should be, a safe step at a time.
//!
//! Each round gives every broker what it has and should keep, and of what it lacks as much as is harmless whatever the
//! others run by then. Knows strands and alternatives; knows no health, no text and no time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::{BrokerName, ClassName};
use skein_filters::overlap_classes;
use skein_mosquitto::link::{Direction, Mode};

use crate::strand::{Strand, Strands};

/// How many combinations of alternatives are looked at before a step is put off.
const PATIENCE: usize = 64;

/// One broker, as the rollout sees it.
#[derive(Clone, Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about one broker"
)]
pub(crate) struct Position {
    /// What may pass by what it may be running: one of these.
    pub(crate) alternatives: Vec<Arc<Strands>>,
    /// The lines of the newest of them.
    pub(crate) newest: Arc<Strands>,
    /// What the sessions of its links, those to come included, may be subscribed to, in whichever order it was given. A
    /// link passes all of that until it is proven to have forgotten what it should.
    pub(crate) subscriptions: Arc<Strands>,
    /// Links that must not be given yet: their sessions are being cleared of subscriptions.
    pub(crate) barred: BTreeSet<(BrokerName, Mode, ClassName)>,
    /// What it should run.
    pub(crate) desired: Arc<Strands>,
    /// Of the newest, what must stay for now though it should not: something may still have to come by it.
    pub(crate) held: Strands,
    /// That will soon be over.
    pub(crate) switching: bool,
    /// That will soon be over.
    pub(crate) clearing: bool,
    /// A configuration can be given to it now.
    pub(crate) takes: bool,
    /// It cannot be expected to confirm anything soon.
    pub(crate) unreachable: bool,
    /// It takes nothing and passes messages on all the same, until nobody needs it any more.
    pub(crate) leaving: bool,
}

impl Position {
    /// It is to be given something else.
    pub(crate) fn changes(&self) -> bool {
        self.takes && self.newest != self.desired
    }

    /// What it has and should keep, for now at least.
    fn kept(&self) -> impl Iterator<Item = &Strand> {
        let keeps = |strand: &&Strand| self.desired.contains(*strand) || self.held.contains(*strand);
        self.newest.iter().filter(keeps)
    }

    fn is_barred(&self, strand: &Strand) -> bool {
        let link = (strand.upstream.clone(), strand.mode, strand.class.clone());
        self.barred.contains(&link)
    }
}

/// A strand that must wait.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Withheld {
    /// What waits.
    pub(crate) strand: Strand,
    /// The unreachable broker whose old configuration stands in the way; `None` if it only has to wait its turn.
    pub(crate) blocked_by: Option<BrokerName>,
}

/// What to give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// What each broker should have now; one that has what it should have, or takes nothing, is not in here.
    pub(crate) targets: BTreeMap<BrokerName, Strands>,
    /// What has to wait, sorted.
    pub(crate) withheld: Vec<Withheld>,
}

/// Says whether strands that might run together do harm.
pub(crate) type Harmful<'a> = dyn Fn(&BTreeSet<&Strand>) -> bool + 'a;

/// The next round. Nothing is added while `frozen`.
pub(crate) fn next_round(
    positions: &BTreeMap<BrokerName, Position>,
    frozen: bool,
    harmful: &Harmful<'_>,
) -> Round {
    let mut round = Round::default();
    let mut missing: Vec<&Strand> = Vec::new();
    for (broker, position) in positions {
        if position.changes() {
            for strand in position.desired.difference(&position.newest) {
                if position.is_barred(strand) {
                    round.withheld.push(Withheld {
                        strand: strand.clone(),
                        blocked_by: None,
                    });
                } else {
                    missing.push(strand);
                }
            }
            round
                .targets
                .insert(broker.clone(), position.kept().cloned().collect());
        }
    }
    if frozen {
        round.withheld.extend(missing.into_iter().map(|strand| Withheld {
            strand: strand.clone(),
            blocked_by: None,
        }));
        round.withheld.sort();
        return round;
    }
    for group in groups(positions, &missing) {
        group.grant(positions, harmful, &mut round);
    }
    leave_no_link_in_part(positions, &mut round);
    spare_needless_rounds(positions, &mut round);
    round.withheld.sort();
    round
}

/// A link whose session is open already passes all of its lines as soon as it is there: it comes as a whole or not yet.
fn leave_no_link_in_part(positions: &BTreeMap<BrokerName, Position>, round: &mut Round) {
    for (broker, target) in &mut round.targets {
        let Some(position) = positions.get(broker) else {
            continue;
        };
        let known: BTreeSet<_> = position.newest.iter().map(Strand::identity).collect();
        let open = position.subscriptions.iter().map(Strand::identity);
        let open: BTreeSet<_> = open.filter(|link| !known.contains(link)).collect();
        let before = target.clone();
        let missing = position.desired.difference(&before);
        let in_part: BTreeSet<_> = missing
            .map(Strand::identity)
            .filter(|link| open.contains(link))
            .collect();
        for link in in_part {
            let withheld = round.withheld.iter();
            let mut withheld = withheld.filter(|withheld| withheld.strand.identity() == link);
            let blocked_by = withheld.find_map(|withheld| withheld.blocked_by.clone());
            let rest: Vec<Strand> = target
                .iter()
                .filter(|strand| strand.identity() == link)
                .cloned()
                .collect();
            for strand in rest {
                target.remove(&strand);
                round.withheld.push(Withheld {
                    strand,
                    blocked_by: blocked_by.clone(),
                });
            }
        }
    }
}

/// A broker that would be touched only to be touched again once others have confirmed is left alone until then.
fn spare_needless_rounds(positions: &BTreeMap<BrokerName, Position>, round: &mut Round) {
    let changes = |broker: &BrokerName, target: &Strands| {
        positions
            .get(broker)
            .is_some_and(|position| *target != *position.newest)
    };
    let withheld = round
        .withheld
        .iter()
        .filter(|withheld| withheld.blocked_by.is_none())
        .map(|withheld| withheld.strand.downstream.clone());
    // What holds on to old links will let go of them soon.
    let switching = positions
        .iter()
        .filter(|(_, position)| position.switching)
        .map(|(broker, _)| broker.clone());
    let waiting: BTreeSet<BrokerName> = withheld
        .chain(switching)
        .filter(|broker| {
            positions
                .get(broker)
                .is_some_and(|position| position.kept().count() == position.newest.len())
        })
        .collect();
    // Only while something is on its way can there be a later round that makes this one needless.
    let under_way = positions.values().any(|position| {
        !position.unreachable && position.alternatives.len() > 1 || position.clearing || position.switching
    }) || round
        .targets
        .iter()
        .any(|(broker, target)| !waiting.contains(broker) && changes(broker, target));
    if !under_way {
        return;
    }
    for broker in &waiting {
        let (Some(position), Some(target)) = (positions.get(broker), round.targets.get_mut(broker)) else {
            continue;
        };
        for strand in target.difference(&position.newest) {
            round.withheld.push(Withheld {
                strand: strand.clone(),
                blocked_by: None,
            });
        }
        target.clone_from(&position.newest);
    }
}

/// Strands whose filters overlap, directly or by way of others: what happens to them concerns no other strand.
struct Group<'a> {
    /// Per broker what it may be running of them; never one set within another.
    alternatives: BTreeMap<&'a BrokerName, Vec<BTreeSet<&'a Strand>>>,
    /// Per broker what it keeps of them.
    kept: BTreeMap<&'a BrokerName, BTreeSet<&'a Strand>>,
    /// Per broker what its links may be subscribed to of them, and whether the link is there in any case.
    subscriptions: BTreeMap<&'a BrokerName, Vec<(&'a Strand, bool)>>,
    /// Per broker what it lacks of them.
    missing: BTreeMap<&'a BrokerName, Vec<&'a Strand>>,
}

fn groups<'a>(positions: &'a BTreeMap<BrokerName, Position>, missing: &[&'a Strand]) -> Vec<Group<'a>> {
    let mut all: BTreeSet<&Strand> = BTreeSet::new();
    for position in positions.values() {
        all.extend(position.alternatives.iter().flat_map(|strands| strands.iter()));
        all.extend(position.desired.iter());
        all.extend(position.subscriptions.iter());
    }
    let filters: BTreeSet<_> = all.iter().map(|strand| &strand.filter).collect();
    let class_of: BTreeMap<_, usize> = filters
        .iter()
        .copied()
        .zip(overlap_classes(filters.iter().copied()))
        .collect();
    let class = |strand: &Strand| class_of.get(&strand.filter).copied().unwrap_or(usize::MAX);

    let touched: BTreeSet<usize> = missing.iter().map(|strand| class(strand)).collect();
    let mut groups: BTreeMap<usize, Group<'a>> = touched
        .iter()
        .map(|number| {
            let group = Group {
                alternatives: BTreeMap::new(),
                kept: BTreeMap::new(),
                subscriptions: BTreeMap::new(),
                missing: BTreeMap::new(),
            };
            (*number, group)
        })
        .collect();
    for (broker, position) in positions {
        for strands in &position.alternatives {
            let mut parts: BTreeMap<usize, BTreeSet<&Strand>> = BTreeMap::new();
            for strand in strands.iter() {
                parts.entry(class(strand)).or_default().insert(strand);
            }
            for (number, part) in parts {
                if let Some(group) = groups.get_mut(&number) {
                    add_maximal(group.alternatives.entry(broker).or_default(), part);
                }
            }
        }
        if !position.takes {
            continue;
        }
        for strand in position.kept() {
            if let Some(group) = groups.get_mut(&class(strand)) {
                group.kept.entry(broker).or_default().insert(strand);
            }
        }
        let wanted: BTreeSet<_> = position.desired.iter().map(Strand::identity).collect();
        let staying: BTreeSet<_> = position.newest.iter().map(Strand::identity).collect();
        for strand in position.subscriptions.iter() {
            if wanted.contains(&strand.identity())
                && let Some(group) = groups.get_mut(&class(strand))
            {
                let stays = staying.contains(&strand.identity());
                group
                    .subscriptions
                    .entry(broker)
                    .or_default()
                    .push((strand, stays));
            }
        }
    }
    for strand in missing {
        if let Some(group) = groups.get_mut(&class(strand)) {
            group.missing.entry(&strand.downstream).or_default().push(strand);
        }
    }
    groups.into_values().collect()
}

/// Harm only grows with what runs, so a set within another need not be looked at.
fn add_maximal<'a>(sets: &mut Vec<BTreeSet<&'a Strand>>, set: BTreeSet<&'a Strand>) {
    if sets.iter().any(|other| set.is_subset(other)) {
        return;
    }
    sets.retain(|other| !other.is_subset(&set));
    sets.push(set);
}

impl<'a> Group<'a> {
    fn grant(&self, positions: &BTreeMap<BrokerName, Position>, harmful: &Harmful<'_>, round: &mut Round) {
        let mut granted = BTreeMap::new();
        for (broker, missing) in &self.missing {
            granted.insert(*broker, missing.clone());
        }
        if !self.is_safe(&granted, None, harmful) {
            granted = self.grant_one_by_one(harmful);
        }
        for (broker, missing) in &self.missing {
            let allowed = granted.get(broker).map(Vec::as_slice).unwrap_or_default();
            for strand in missing {
                if allowed.contains(strand) {
                    if let Some(target) = round.targets.get_mut(*broker) {
                        target.insert(Strand::clone(strand));
                    }
                } else {
                    let blocked_by = self.obstacle(positions, &granted, strand, harmful);
                    round.withheld.push(Withheld {
                        strand: Strand::clone(strand),
                        blocked_by,
                    });
                }
            }
        }
    }

    fn grant_one_by_one(&self, harmful: &Harmful<'_>) -> BTreeMap<&'a BrokerName, Vec<&'a Strand>> {
        let mut granted: BTreeMap<&BrokerName, Vec<&Strand>> = BTreeMap::new();
        for (broker, missing) in &self.missing {
            granted.insert(broker, missing.clone());
            if self.is_safe(&granted, None, harmful) {
                continue;
            }
            granted.insert(broker, Vec::new());
            for strand in missing {
                granted.entry(broker).or_default().push(strand);
                if !self.is_safe(&granted, None, harmful) {
                    granted.entry(broker).or_default().pop();
                }
            }
        }
        granted
    }

    /// The unreachable broker without whose old configuration the strand could be given.
    fn obstacle(
        &self,
        positions: &BTreeMap<BrokerName, Position>,
        granted: &BTreeMap<&'a BrokerName, Vec<&'a Strand>>,
        strand: &'a Strand,
        harmful: &Harmful<'_>,
    ) -> Option<BrokerName> {
        let mut wanted = granted.clone();
        wanted.entry(&strand.downstream).or_default().push(strand);
        let unreachable = positions
            .iter()
            .filter(|(_, position)| position.unreachable)
            .map(|(name, _)| name);
        unreachable
            .filter(|name| self.alternatives.contains_key(name))
            .find(|name| self.is_safe(&wanted, Some(name), harmful))
            .cloned()
    }

    /// Adds what may pass beside these lines, as the sessions of links that stay are still subscribed to it.
    fn add_lingering(&self, broker: &BrokerName, lines: &mut BTreeSet<&'a Strand>) {
        let subscriptions = self.subscriptions.get(broker).into_iter().flatten();
        let wanted: BTreeSet<_> = lines
            .iter()
            .filter(|line| line.direction != Direction::Out)
            .map(|line| (line.identity(), &line.filter))
            .collect();
        // A session is nothing without a connection that resumes it.
        let resumed: BTreeSet<_> = lines.iter().map(|line| line.identity()).collect();
        let lingering: Vec<&Strand> = subscriptions
            .filter(|(it, stays)| *stays || resumed.contains(&it.identity()))
            .filter(|(it, _)| !wanted.contains(&(it.identity(), &it.filter)))
            .map(|(it, _)| *it)
            .collect();
        lines.extend(lingering);
    }

    /// No combination of what the brokers may be running does harm, if these are given in addition.
    fn is_safe(
        &self,
        granted: &BTreeMap<&'a BrokerName, Vec<&'a Strand>>,
        without: Option<&BrokerName>,
        harmful: &Harmful<'_>,
    ) -> bool {
        let mut choices = self.alternatives.clone();
        for (broker, strands) in granted {
            if !strands.is_empty() {
                let mut set = self.kept.get(broker).cloned().unwrap_or_default();
                set.extend(strands);
                self.add_lingering(broker, &mut set);
                add_maximal(choices.entry(broker).or_default(), set);
            }
        }
        if let Some(broker) = without {
            choices.remove(broker);
        }
        let mut settled = BTreeSet::new();
        let mut open = Vec::new();
        for sets in choices.into_values() {
            match <[_; 1]>::try_from(sets) {
                Ok([only]) => settled.extend(only),
                Err(several) => open.push(several),
            }
        }
        no_combination(&settled, &open, harmful, &mut PATIENCE.clone())
    }
}

/// A broker runs one of its alternatives, never two together. All of them together are tried first, as most often even
/// that is harmless; then they are told apart, one broker after the other.
fn no_combination<'a>(
    settled: &BTreeSet<&'a Strand>,
    open: &[Vec<BTreeSet<&'a Strand>>],
    harmful: &Harmful<'_>,
    patience: &mut usize,
) -> bool {
    let Some(left) = patience.checked_sub(1) else {
        return false;
    };
    *patience = left;
    let mut together = settled.clone();
    together.extend(open.iter().flatten().flatten());
    if !harmful(&together) {
        return true;
    }
    let Some((first, rest)) = open.split_first() else {
        return false;
    };
    first.iter().all(|alternative| {
        let mut settled = settled.clone();
        settled.extend(alternative);
        no_combination(&settled, rest, harmful, patience)
    })
}

#[cfg(test)]
mod tests;
