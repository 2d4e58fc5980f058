//! From old ways to new ones without loss: which sessions must be opened before anything moves, and what must have come
//! through an old link before it may go.
//!
//! A *switch* is what classes whose messages meet have to change together. First every link that is new in it is
//! *seeded*: its session is opened upstream and collects, while nothing flows. When all are, a message published anywhere
//! goes into some new session if it does not go by an old link that stays. Then a *barrier* follows the messages that are
//! still on their way: markers, published behind them wherever the old links bring messages from. What has seen all of its
//! markers has got everything older, and may go. Knows strands and who answers; knows no text, no time and no sessions.

use std::collections::{BTreeMap, BTreeSet};

use skein_api::name::{BrokerName, ClassName, Qos};
use skein_filters::{TopicFilter, overlap_classes};
use skein_mosquitto::config::PROBE;
use skein_mosquitto::link::Direction;

use crate::directive::Marker;
use crate::rollout::Position;
use crate::strand::{LinkId, Strand};

/// What changes together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Switch {
    /// Its classes, of before and of afterwards.
    pub(crate) classes: BTreeSet<ClassName>,
    /// The links that are new, with what each subscribes upstream.
    pub(crate) fresh: BTreeMap<LinkId, BTreeMap<TopicFilter, Qos>>,
    /// The user's lines that are to go, by link.
    pub(crate) old: BTreeMap<LinkId, Vec<Strand>>,
    /// Some line that is new cannot be given to its broker now.
    pub(crate) waits: bool,
    /// Some line that is to go belongs to a broker that is out of reach.
    pub(crate) severed: bool,
}

/// All switches that what the brokers have and should have amounts to. Clients are about
/// to be moved to some brokers: what is new there must be open before they come. In some classes anything waits for them to
/// move. What is passing its last messages goes on to do so, even when all that is new has come.
pub(crate) fn switches(
    positions: &BTreeMap<BrokerName, Position>,
    awaiting_clients: &BTreeSet<&BrokerName>,
    concerned: &dyn Fn(&ClassName) -> bool,
    passing: &dyn Fn(&LinkId) -> bool,
) -> Vec<Switch> {
    let mut changes = Changes::default();
    for position in positions.values() {
        for strand in position.newest.difference(&position.desired) {
            changes.goes(strand, position);
        }
    }
    if changes.by_class.is_empty() && awaiting_clients.is_empty() {
        return Vec::new();
    }
    for position in positions.values() {
        for (_, desired, newest) in position.desired.differing(&position.newest) {
            let newest = newest.into_iter().flat_map(|strands| strands.iter());
            let (has, known): (BTreeSet<&Strand>, BTreeSet<_>) =
                newest.map(|strand| (strand, strand.identity())).unzip();
            for strand in desired.iter().filter(|strand| !has.contains(strand)) {
                changes.comes(strand, known.contains(&strand.identity()), position.takes);
            }
        }
    }
    changes.together(awaiting_clients, concerned, passing)
}

/// What comes and what goes, class by class.
#[derive(Default)]
struct Changes<'a> {
    by_class: BTreeMap<&'a ClassName, Change<'a>>,
}

#[derive(Default)]
struct Change<'a> {
    filters: BTreeSet<&'a TopicFilter>,
    switch: Switch,
    comes: bool,
    goes: bool,
}

impl<'a> Changes<'a> {
    fn goes(&mut self, strand: &'a Strand, position: &Position) {
        let change = self.by_class.entry(&strand.class).or_default();
        if strand.control {
            return;
        }
        change.goes = true;
        change.switch.severed |= !position.takes && !position.leaving;
        change.filters.insert(&strand.filter);
        if position.takes {
            let link = change.switch.old.entry(strand.link()).or_default();
            link.push(strand.clone());
        }
    }

    fn comes(&mut self, strand: &'a Strand, known: bool, takes: bool) {
        let change = self.by_class.entry(&strand.class).or_default();
        change.switch.waits |= !takes;
        if !strand.control {
            change.comes = true;
            change.filters.insert(&strand.filter);
        }
        if !known && strand.direction != Direction::Out {
            let subscriptions = change.switch.fresh.entry(strand.link()).or_default();
            subscriptions.insert(strand.filter.clone(), strand.qos);
        }
    }

    /// Classes whose filters overlap belong together: one may take over what another carried.
    fn together(
        self,
        awaiting_clients: &BTreeSet<&BrokerName>,
        concerned: &dyn Fn(&ClassName) -> bool,
        passing: &dyn Fn(&LinkId) -> bool,
    ) -> Vec<Switch> {
        let filters: Vec<(&ClassName, &TopicFilter)> = self
            .by_class
            .iter()
            .flat_map(|(class, change)| change.filters.iter().map(|filter| (*class, *filter)))
            .collect();
        let groups = overlap_classes(filters.iter().map(|(_, filter)| *filter));
        let mut first_of: BTreeMap<&ClassName, &ClassName> = BTreeMap::new();
        let mut of_group: BTreeMap<usize, &ClassName> = BTreeMap::new();
        for ((class, _), group) in filters.iter().zip(groups) {
            let joined = *of_group.entry(group).or_insert(class);
            let joined = first(&first_of, joined);
            let own = first(&first_of, class);
            let (small, large) = if joined <= own {
                (joined, own)
            } else {
                (own, joined)
            };
            first_of.insert(large, small);
        }
        let mut switches: BTreeMap<ClassName, (Switch, bool, bool)> = BTreeMap::new();
        for (class, change) in self.by_class {
            let (switch, comes, goes) = switches.entry(first(&first_of, class).clone()).or_default();
            switch.classes.insert(class.clone());
            switch.fresh.extend(change.switch.fresh);
            switch.old.extend(change.switch.old);
            switch.waits |= change.switch.waits;
            switch.severed |= change.switch.severed;
            *comes |= change.comes;
            *goes |= change.goes;
        }
        // What only ends, or only begins, takes nothing over from anybody.
        let awaits = |broker: &BrokerName| awaiting_clients.contains(broker);
        let takes_over = |switch: &Switch, comes: bool, goes: bool| {
            let mut fresh = switch.fresh.keys();
            comes && (goes || fresh.any(|link| awaits(&link.upstream) || awaits(&link.downstream)))
                || switch.old.keys().any(passing)
                || switch.classes.iter().any(concerned)
        };
        switches
            .into_values()
            .filter(|(switch, comes, goes)| takes_over(switch, *comes, *goes))
            .map(|(switch, ..)| switch)
            .collect()
    }
}

fn first<'a>(first_of: &BTreeMap<&'a ClassName, &'a ClassName>, class: &'a ClassName) -> &'a ClassName {
    let mut class = class;
    while let Some(next) = first_of.get(class).filter(|next| **next != class) {
        class = next;
    }
    class
}

/// One way that a link leads messages, and whose it lets pass.
#[derive(Clone, Debug)]
struct Arc {
    link: LinkId,
    from: BrokerName,
    to: BrokerName,
    origins: BTreeSet<String>,
}

/// All that was carried at some time, as far as it matters to barriers. A barrier goes by the ways of when it began: what
/// a link has brought is still to be passed on when that link is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    arcs: BTreeMap<ClassName, Vec<Arc>>,
    /// The user's lines by link, those of links without a line of Skein's own included, by which no marker comes.
    lines: BTreeMap<LinkId, BTreeSet<Strand>>,
}

/// Any broker's markers pass.
const ANYBODY: &str = "#";

impl Ways {
    /// Those of some classes.
    pub(crate) fn of(positions: &BTreeMap<BrokerName, Position>, classes: &BTreeSet<ClassName>) -> Self {
        let mut arcs: BTreeMap<ClassName, Vec<Arc>> = BTreeMap::new();
        let mut lines: BTreeMap<LinkId, BTreeSet<Strand>> = BTreeMap::new();
        let carried = positions.values().flat_map(|position| {
            let of_classes = classes.iter().filter_map(|class| position.newest.of_class(class));
            of_classes.flat_map(|strands| strands.iter())
        });
        for strand in carried {
            if !strand.control {
                lines.entry(strand.link()).or_default().insert(strand.clone());
                continue;
            }
            let prefix = format!("{PROBE}{}/", strand.class);
            let Some(origin) = strand.filter.as_str().strip_prefix(&prefix) else {
                continue;
            };
            let origin = origin.strip_suffix("/#").unwrap_or(origin);
            let inward = (&strand.upstream, &strand.downstream);
            let outward = (&strand.downstream, &strand.upstream);
            let ways = match strand.direction {
                Direction::In => vec![inward],
                Direction::Out => vec![outward],
                Direction::Both => vec![inward, outward],
            };
            let known = arcs.entry(strand.class.clone()).or_default();
            for (from, to) in ways {
                let link = strand.link();
                let same = |arc: &&mut Arc| arc.link == link && arc.from == *from;
                if let Some(arc) = known.iter_mut().find(same) {
                    arc.origins.insert(origin.to_owned());
                } else {
                    known.push(Arc {
                        link,
                        from: from.clone(),
                        to: to.clone(),
                        origins: BTreeSet::from([origin.to_owned()]),
                    });
                }
            }
        }
        Self { arcs, lines }
    }

    fn of_class(&self, class: &ClassName) -> &[Arc] {
        self.arcs.get(class).map(Vec::as_slice).unwrap_or_default()
    }

    /// The link carried something then.
    pub(crate) fn knows(&self, link: &LinkId) -> bool {
        self.lines.contains_key(link)
    }

    /// It carried this then.
    pub(crate) fn carried(&self, line: &Strand) -> bool {
        let lines = self.lines.get(&line.link());
        lines.is_some_and(|lines| lines.contains(line))
    }

    /// The markers that tell, once all have come to a broker, that everything that was published before them has.
    pub(crate) fn arriving(
        &self,
        at: &BrokerName,
        serial: u64,
        answers: &dyn Fn(&BrokerName) -> bool,
    ) -> BTreeSet<Marker> {
        let arcs = self.arcs.values().flatten().filter(|arc| arc.to == *at);
        let links: BTreeSet<&LinkId> = arcs.map(|arc| &arc.link).collect();
        let markers = links
            .into_iter()
            .flat_map(|link| self.markers(link, serial, answers));
        markers.filter(|marker| marker.broker == *at).collect()
    }

    /// The markers that tell, once each has come to where it is awaited, that a link has passed everything that was
    /// published before them. None, if nobody is there to send or to receive: nothing can come through.
    ///
    /// They are published at every broker from which messages come: each sends behind whatever it has passed on itself.
    pub(crate) fn markers(
        &self,
        link: &LinkId,
        serial: u64,
        answers: &dyn Fn(&BrokerName) -> bool,
    ) -> BTreeSet<Marker> {
        let mut markers = BTreeSet::new();
        let arcs = self.of_class(&link.class);
        for last in arcs.iter().filter(|arc| arc.link == *link) {
            if !answers(&last.to) {
                continue;
            }
            let mut reached: BTreeSet<&BrokerName> = BTreeSet::from([&last.to]);
            let mut open = vec![(&last.from, last.origins.clone())];
            while let Some((at, origins)) = open.pop() {
                if !answers(at) || !reached.insert(at) {
                    continue;
                }
                let named = if origins.contains(ANYBODY) || origins.contains(at.as_str()) {
                    Some(at.as_str())
                } else {
                    origins.first().map(String::as_str)
                };
                // Nothing comes from there.
                let Some(named) = named else { continue };
                markers.insert(Marker {
                    broker: last.to.clone(),
                    origin: at.clone(),
                    topic: format!("{PROBE}{}/{named}/{serial}-{at}", link.class),
                });
                for arc in arcs.iter().filter(|arc| arc.to == *at) {
                    open.push((&arc.from, common(&origins, &arc.origins)));
                }
            }
        }
        markers
    }
}

/// Whose messages pass both.
fn common(one: &BTreeSet<String>, other: &BTreeSet<String>) -> BTreeSet<String> {
    if one.contains(ANYBODY) {
        other.clone()
    } else if other.contains(ANYBODY) {
        one.clone()
    } else {
        one.intersection(other).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
