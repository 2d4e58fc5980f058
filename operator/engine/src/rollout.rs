//! From what may be running to what should be, a safe step at a time.
//!
//! Each round gives every broker what it has and should keep, and of what it lacks as much as is harmless whatever the
//! others run by then. Knows strands and alternatives; knows no health, no text and no time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use skein_api::name::{BrokerName, ClassName};
use skein_filters::{TopicFilter, overlap_classes};
use skein_mosquitto::link::{Direction, Identity, Mode};

use crate::overlaps::Overlaps;
use crate::strand::Strand;
use crate::strands::{OfClass, Strands};

/// How many combinations of alternatives are looked at before a step is put off.
const PATIENCE: usize = 16;

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
    fn kept(&self) -> Strands {
        let mut kept = Strands::clone(&self.newest);
        for (class, strands, desired) in self.newest.differing(&self.desired) {
            let keeps = |strand: &&Strand| {
                desired.is_some_and(|desired| desired.contains(*strand)) || self.held.contains(strand)
            };
            kept.set_class(class, Arc::new(strands.iter().filter(keeps).cloned().collect()));
        }
        kept
    }

    /// It may be running something else of a class than it should run, or comes to.
    pub(crate) fn changes_in(&self, class: &ClassName) -> bool {
        let desired = self.desired.of_class(class);
        let mut has = self.alternatives.iter().chain([&self.newest]);
        has.any(|strands| strands.of_class(class) != desired)
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

/// Says whether strands that might run together do harm: some of them that do already without the others, or `None`.
pub(crate) type Harm<'a> = dyn for<'s> Fn(&BTreeSet<&'s Strand>) -> Option<BTreeSet<&'s Strand>> + 'a;

/// What sets of strands do, remembered for a round: the same come up again and again.
struct Looks<'a, 'h> {
    harm: &'h Harm<'h>,
    known: RefCell<HashMap<Vec<*const Strand>, Option<BTreeSet<&'a Strand>>>>,
}

impl<'a, 'h> Looks<'a, 'h> {
    fn new(harm: &'h Harm<'h>) -> Self {
        Self {
            harm,
            known: RefCell::default(),
        }
    }

    fn at(&self, strands: &BTreeSet<&'a Strand>) -> Option<BTreeSet<&'a Strand>> {
        // The very same are equal; equal ones that are not the same are looked at once more.
        let key: Vec<*const Strand> = strands.iter().map(|strand| std::ptr::from_ref(*strand)).collect();
        let mut known = self.known.borrow_mut();
        known.entry(key).or_insert_with(|| (self.harm)(strands)).clone()
    }
}

/// The next round. Nothing is added while `frozen`. `planned` has the filters of what all brokers should have. A class
/// `is_sound` if all that brokers should have of it may run together.
pub(crate) fn next_round(
    positions: &BTreeMap<BrokerName, Position>,
    frozen: bool,
    planned: &Overlaps,
    is_sound: &dyn Fn(&ClassName) -> bool,
    harm: &Harm<'_>,
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
            round.targets.insert(broker.clone(), position.kept());
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
    let number_of = together(positions, &missing, planned);
    let sight = Sight::of(positions, number_of, is_sound);
    let (in_sight, harmless): (Vec<&Strand>, Vec<&Strand>) =
        missing.into_iter().partition(|strand| sight.has(strand));
    for strand in harmless {
        if let Some(target) = round.targets.get_mut(&strand.downstream) {
            target.insert(strand.clone());
        }
    }
    let looks = Looks::new(harm);
    for group in groups(positions, &in_sight, &sight) {
        group.grant(positions, &looks, &mut round);
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
        if open.is_empty() {
            continue;
        }
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
                .is_some_and(|position| position.kept() == *position.newest)
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

/// Strands of classes whose filters overlap, directly or by way of others: what happens to them concerns no other strand.
#[derive(Default)]
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

fn groups<'a>(
    positions: &'a BTreeMap<BrokerName, Position>,
    missing: &[&'a Strand],
    sight: &Sight<'a>,
) -> Vec<Group<'a>> {
    if missing.is_empty() {
        return Vec::new();
    }
    let number_of = &sight.number_of;
    let number = |class: &ClassName| number_of.get(class).copied();
    let mut groups: BTreeMap<usize, Group<'a>> = BTreeMap::new();
    for strand in missing {
        if let Some(number) = number(&strand.class) {
            let group = groups.entry(number).or_default();
            group.missing.entry(&strand.downstream).or_default().push(strand);
        }
    }
    let touched: BTreeMap<&ClassName, usize> = number_of
        .iter()
        .filter(|(_, number)| groups.contains_key(number))
        .map(|(class, number)| (*class, *number))
        .collect();
    for (broker, position) in positions {
        for strands in &position.alternatives {
            for (number, part) in parts(strands, &touched, sight) {
                if let Some(group) = groups.get_mut(&number) {
                    add_maximal(group.alternatives.entry(broker).or_default(), part);
                }
            }
        }
        if !position.takes {
            continue;
        }
        for (number, part) in parts(&position.newest, &touched, sight) {
            let keeps =
                |strand: &&Strand| position.desired.contains(strand) || position.held.contains(strand);
            let part: BTreeSet<&Strand> = part.into_iter().filter(keeps).collect();
            if let Some(group) = groups.get_mut(&number).filter(|_| !part.is_empty()) {
                group.kept.insert(broker, part);
            }
        }
        for (number, part) in parts(&position.subscriptions, &touched, sight) {
            let Some(group) = groups.get_mut(&number) else {
                continue;
            };
            for strand in part {
                let holds = |strands: &Strands| {
                    let of_class = strands.of_class(&strand.class);
                    of_class.is_some_and(|all| all.iter().any(|it| it.identity() == strand.identity()))
                };
                if holds(&position.desired) {
                    let known = group.subscriptions.entry(broker).or_default();
                    known.push((strand, holds(&position.newest)));
                }
            }
        }
    }
    groups.into_values().collect()
}

/// What has to be looked at, of all that is missing and of all that brokers may be running.
///
/// Harm only grows with what runs. Where all that brokers should have does none, there is none without something that they
/// should not have, a *stray*; and then what goes wrong is a message that a stray passes. Lines that never pass such a message
/// may be there or not.
struct Sight<'a> {
    number_of: BTreeMap<&'a ClassName, usize>,
    /// Of groups that do no harm as they should be: the filters that overlap those of strays.
    filters: BTreeMap<usize, BTreeSet<&'a TopicFilter>>,
    /// Links whose sessions are subscribed to such a thing: what resumes them matters.
    links: BTreeSet<Identity<'a>>,
}

impl<'a> Sight<'a> {
    fn of(
        positions: &'a BTreeMap<BrokerName, Position>,
        number_of: BTreeMap<&'a ClassName, usize>,
        is_sound: &dyn Fn(&ClassName) -> bool,
    ) -> Self {
        let mut sound: BTreeMap<usize, bool> = BTreeMap::new();
        for (class, number) in &number_of {
            let group = sound.entry(*number).or_insert(true);
            *group = *group && is_sound(class);
        }
        let sound = sound.into_iter().filter(|(_, sound)| *sound);
        let mut strays: BTreeMap<usize, BTreeSet<&TopicFilter>> =
            sound.map(|(number, _)| (number, BTreeSet::new())).collect();
        for position in positions.values() {
            let all = [&position.newest, &position.subscriptions];
            for strand in position
                .alternatives
                .iter()
                .chain(all)
                .flat_map(|it| it.difference(&position.desired))
            {
                let number = number_of.get(&strand.class);
                if let Some(strays) = number.and_then(|number| strays.get_mut(number)) {
                    strays.insert(&strand.filter);
                }
            }
        }
        let mut sight = Self {
            number_of,
            filters: strays.keys().map(|number| (*number, BTreeSet::new())).collect(),
            links: BTreeSet::new(),
        };
        if strays.values().all(BTreeSet::is_empty) {
            return sight;
        }
        for position in positions.values() {
            let all = [&position.newest, &position.subscriptions, &position.desired];
            let all = position.alternatives.iter().chain(all);
            for (class, strands) in all.flat_map(|it| it.classes()) {
                let number = sight.number_of.get(class);
                let has_strays =
                    |number: &&usize| strays.get(number).is_some_and(|strays| !strays.is_empty());
                if let Some(number) = number.filter(has_strays) {
                    let filters = sight.filters.entry(*number).or_default();
                    filters.extend(strands.iter().map(|strand| &strand.filter));
                }
            }
        }
        for (number, filters) in &mut sight.filters {
            let strays = strays.get(number).into_iter().flatten();
            filters.retain(|filter| strays.clone().any(|stray| stray.overlaps(filter)));
        }
        let subscribed = positions
            .values()
            .flat_map(|position| position.subscriptions.iter());
        let links = subscribed
            .filter(|strand| sight.has(strand))
            .map(Strand::identity);
        sight.links = links.collect();
        sight
    }

    fn has(&self, strand: &Strand) -> bool {
        let number = self.number_of.get(&strand.class);
        let filters = number.and_then(|number| self.filters.get(number));
        filters
            .is_none_or(|filters| filters.contains(&strand.filter) || self.links.contains(&strand.identity()))
    }
}

/// What there is of each group, by its number, as far as it matters.
fn parts<'a>(
    strands: &'a Strands,
    touched: &BTreeMap<&ClassName, usize>,
    sight: &Sight<'_>,
) -> BTreeMap<usize, BTreeSet<&'a Strand>> {
    let mut parts: BTreeMap<usize, BTreeSet<&Strand>> = BTreeMap::new();
    let mut add = |number: usize, strands: &'a OfClass| {
        let part = parts.entry(number).or_default();
        part.extend(strands.iter().filter(|strand| sight.has(strand)));
    };
    // Mostly a class or two are touched, of many; in the beginning it is the other way round.
    if touched.len() < strands.classes().len() {
        for (class, number) in touched {
            if let Some(strands) = strands.of_class(class) {
                add(*number, strands);
            }
        }
    } else {
        for (class, strands) in strands.classes() {
            if let Some(number) = touched.get(class) {
                add(*number, strands);
            }
        }
    }
    parts
}

/// Numbers for the classes of what is missing, and for all that belong together with one of them: their filters overlap, directly
/// or by way of others.
///
/// Classes of one plan do not overlap. But some may be on their way to where an older one said, and brokers have things besides.
fn together<'a>(
    positions: &'a BTreeMap<BrokerName, Position>,
    missing: &[&'a Strand],
    planned: &'a Overlaps,
) -> BTreeMap<&'a ClassName, usize> {
    let mut besides: BTreeSet<(&TopicFilter, &ClassName)> = BTreeSet::new();
    for position in positions.values() {
        for strands in position.alternatives.iter().chain([&position.subscriptions]) {
            let others = strands.difference(&position.desired);
            let others = others.filter(|it| !it.control && !planned.has(&it.class, &it.filter));
            besides.extend(others.map(|strand| (&strand.filter, &strand.class)));
        }
    }
    let mut classes = Together::default();
    for strand in missing {
        classes.number(&strand.class);
    }
    let groups = overlap_classes(besides.iter().map(|(filter, _)| *filter));
    let mut first_of: BTreeMap<usize, &ClassName> = BTreeMap::new();
    for ((filter, class), group) in besides.iter().zip(groups) {
        classes.join(first_of.entry(group).or_insert(class), class);
        for other in planned.with(filter) {
            classes.join(class, other);
        }
    }
    let mut open: Vec<&ClassName> = classes.numbers.keys().copied().collect();
    while let Some(class) = open.pop() {
        for other in planned.of(class).flat_map(|filter| planned.with(filter)) {
            if !classes.numbers.contains_key(other) {
                open.push(other);
            }
            classes.join(class, other);
        }
    }
    classes.numbered()
}

/// Classes that are found to belong together, one after the other.
#[derive(Default)]
struct Together<'a> {
    numbers: BTreeMap<&'a ClassName, usize>,
    above: Vec<usize>,
}

impl<'a> Together<'a> {
    fn join(&mut self, one: &'a ClassName, other: &'a ClassName) {
        let (one, other) = (self.number(one), self.number(other));
        let (one, other) = (self.top(one), self.top(other));
        self.above[one.max(other)] = one.min(other);
    }

    fn number(&mut self, class: &'a ClassName) -> usize {
        let next = self.above.len();
        let number = *self.numbers.entry(class).or_insert(next);
        if number == next {
            self.above.push(next);
        }
        number
    }

    fn top(&self, mut number: usize) -> usize {
        while self.above[number] != number {
            number = self.above[number];
        }
        number
    }

    fn numbered(self) -> BTreeMap<&'a ClassName, usize> {
        let numbers = self.numbers.iter();
        numbers
            .map(|(class, number)| (*class, self.top(*number)))
            .collect()
    }
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
    fn grant(&self, positions: &BTreeMap<BrokerName, Position>, looks: &Looks<'a, '_>, round: &mut Round) {
        let mut granted = BTreeMap::new();
        for (broker, missing) in &self.missing {
            granted.insert(*broker, missing.clone());
        }
        if !self.is_safe(&granted, None, looks) {
            granted = self.grant_some(looks);
        }
        for (broker, missing) in &self.missing {
            let allowed = granted.get(broker).map(Vec::as_slice).unwrap_or_default();
            for strand in missing {
                if allowed.contains(strand) {
                    if let Some(target) = round.targets.get_mut(*broker) {
                        target.insert(Strand::clone(strand));
                    }
                } else {
                    let blocked_by = self.obstacle(positions, &granted, strand, looks);
                    round.withheld.push(Withheld {
                        strand: Strand::clone(strand),
                        blocked_by,
                    });
                }
            }
        }
    }

    /// One after the other, as long as it is harmless with those before it. Harm only grows with what runs, so as many are tried
    /// at once as went well before.
    fn grant_some(&self, looks: &Looks<'a, '_>) -> BTreeMap<&'a BrokerName, Vec<&'a Strand>> {
        let missing = self.missing.iter();
        let missing: Vec<(&BrokerName, &Strand)> = missing
            .flat_map(|(broker, strands)| strands.iter().map(move |strand| (*broker, *strand)))
            .collect();
        let mut granted: BTreeMap<&BrokerName, Vec<&Strand>> = BTreeMap::new();
        let mut rest = missing.as_slice();
        let mut step = rest.len() / 2;
        while !rest.is_empty() {
            let (some, further) = rest.split_at(step.clamp(1, rest.len()));
            let mut more = granted.clone();
            for (broker, strand) in some {
                more.entry(*broker).or_default().push(*strand);
            }
            if self.is_safe(&more, None, looks) {
                granted = more;
                rest = further;
                step = some.len() * 2;
            } else {
                step = some.len() / 2;
                if step == 0 {
                    rest = further;
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
        looks: &Looks<'a, '_>,
    ) -> Option<BrokerName> {
        let mut wanted = granted.clone();
        wanted.entry(&strand.downstream).or_default().push(strand);
        let unreachable = positions
            .iter()
            .filter(|(_, position)| position.unreachable)
            .map(|(name, _)| name);
        unreachable
            .filter(|name| self.alternatives.contains_key(name))
            .find(|name| self.is_safe(&wanted, Some(name), looks))
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
        looks: &Looks<'a, '_>,
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
        no_combination(&settled, &open, looks, &mut PATIENCE.clone())
    }
}

/// A broker runs one of its alternatives, never two together. All of them together are tried first, as most often even that is
/// harmless. Where it is not, it matters only of those brokers which one they run whose lines do harm but by several of them.
fn no_combination<'a>(
    settled: &BTreeSet<&'a Strand>,
    open: &[Vec<BTreeSet<&'a Strand>>],
    looks: &Looks<'a, '_>,
    patience: &mut usize,
) -> bool {
    let Some(left) = patience.checked_sub(1) else {
        return false;
    };
    *patience = left;
    let mut together = settled.clone();
    together.extend(open.iter().flatten().flatten());
    let Some(culprits) = looks.at(&together) else {
        return true;
    };
    let run_by_one = |alternatives: &Vec<BTreeSet<&'a Strand>>| {
        let theirs = alternatives.iter().flatten().filter(|it| !settled.contains(*it));
        let theirs: BTreeSet<&Strand> = theirs.filter(|it| culprits.contains(*it)).copied().collect();
        alternatives
            .iter()
            .any(|alternative| theirs.is_subset(alternative))
    };
    let Some(undecided) = open.iter().position(|alternatives| !run_by_one(alternatives)) else {
        return false;
    };
    let mut rest = open.to_vec();
    let first = rest.remove(undecided);
    first.iter().all(|alternative| {
        let mut settled = settled.clone();
        settled.extend(alternative);
        no_combination(&settled, &rest, looks, patience)
    })
}

#[cfg(test)]
mod tests;
