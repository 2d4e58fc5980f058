//! Which lines could make a message loop or arrive twice, and the messages that would show it.
//!
//! Lines whose filters overlap, directly or by way of others, form a group; no message matches lines of two groups. If
//! the links of a group form no ring, any message has one way to any broker and never a way back, whatever it matches
//! and wherever it enters: nothing in such a group needs walking, except where two lines on one arc overlap.

use std::collections::{BTreeSet, HashSet};

use skein_filters::TopicFilter;

use crate::model::{ArcId, Broker, FilterId, Model, link_of};

/// What is known of the groups without walking.
pub(crate) struct Groups {
    /// The groups with rings, or with overlapping lines on an arc that leaves a broker that sends a copy for each.
    pub(crate) suspects: Vec<Vec<FilterId>>,
    /// Filters that overlap another one on some arc.
    pub(crate) crossing: Vec<bool>,
}

impl Groups {
    pub(crate) fn new(model: &Model<'_>) -> Self {
        let count = model.classes.iter().max().map_or(0, |last| last + 1);
        let mut groups: Vec<Vec<FilterId>> = vec![Vec::new(); count];
        for (filter, class) in model.classes.iter().enumerate() {
            groups[*class].push(filter);
        }
        let mut crossing = vec![false; model.filters.len()];
        let mut rings = Rings::new(model.broker_count());
        groups.retain(|group| {
            let mut lines: Vec<(ArcId, FilterId)> = group
                .iter()
                .flat_map(|filter| model.places(*filter))
                .map(|place| (place.arc, place.filter))
                .collect();
            lines.sort_unstable();
            let edges = lines
                .chunk_by(|left, right| link_of(left.0) == link_of(right.0))
                .map(|lines| lines[0].0);
            let ring = rings.closes_one(edges.map(|arc| (model.tail(arc), model.head(arc))));
            let mut doubled = false;
            for lines in lines.chunk_by(|left, right| left.0 == right.0) {
                if overlap(model, lines) {
                    doubled |= !model.deduplicates(lines[0].0);
                    for (_, filter) in lines {
                        crossing[*filter] = true;
                    }
                }
            }
            ring || doubled
        });
        Self {
            suspects: groups,
            crossing,
        }
    }
}

/// Whether two lines of an arc overlap.
fn overlap(model: &Model<'_>, lines: &[(ArcId, FilterId)]) -> bool {
    if lines.len() > 8 {
        let classes = skein_filters::overlap_classes(lines.iter().map(|(_, filter)| model.filters[*filter]));
        return classes.iter().max().is_some_and(|last| last + 1 < lines.len());
    }
    lines.iter().enumerate().any(|(index, (_, filter))| {
        lines[..index]
            .iter()
            .any(|(_, other)| model.filters[*filter].overlaps(model.filters[*other]))
    })
}

/// Union-find over brokers, kept to be used again.
struct Rings {
    round: u32,
    above: Vec<(u32, Broker)>,
}

impl Rings {
    fn new(brokers: usize) -> Self {
        Self {
            round: 0,
            above: vec![(0, 0); brokers],
        }
    }

    fn closes_one(&mut self, edges: impl Iterator<Item = (Broker, Broker)>) -> bool {
        self.round += 1;
        for (left, right) in edges {
            let (left, right) = (self.top(left), self.top(right));
            if left == right {
                return true;
            }
            self.above[left] = (self.round, right);
        }
        false
    }

    fn top(&mut self, mut broker: Broker) -> Broker {
        loop {
            let (round, above) = self.above[broker];
            if round != self.round || above == broker {
                self.above[broker] = (self.round, broker);
                return broker;
            }
            let (round, further) = self.above[above];
            if round == self.round {
                self.above[broker].1 = further;
            }
            broker = above;
        }
    }
}

/// The kinds of message of a group that match the most lines: whatever loops or arrives twice, one of these does,
/// because a message that matches more lines takes every way that one with fewer takes. `None` if there are more
/// than `limit` intersections to look at.
pub(crate) fn most_matched(
    model: &Model<'_>,
    group: &[FilterId],
    limit: usize,
) -> Option<Vec<(String, Vec<FilterId>)>> {
    let mut open: Vec<TopicFilter> = group
        .iter()
        .map(|filter| model.filters[*filter].clone())
        .collect();
    let mut known: HashSet<TopicFilter> = open.iter().cloned().collect();
    let mut found = BTreeSet::new();
    while let Some(filter) = open.pop() {
        let mut narrowest = true;
        let mut narrower = Vec::new();
        model.trie.overlapping(&filter, |other| {
            let other = model.filters[*other];
            if !other.covers(&filter) {
                narrowest = false;
                // One that lies within is looked at by itself.
                narrower.extend(
                    (!filter.covers(other))
                        .then(|| filter.intersection(other))
                        .flatten(),
                );
            }
        });
        for filter in narrower {
            if !known.contains(&filter) {
                known.insert(filter.clone());
                open.push(filter);
            }
        }
        if known.len() > limit {
            return None;
        }
        if narrowest {
            let topic = model.witness(&filter);
            let matched = model.matching(&topic);
            found.insert((topic, matched));
        }
    }
    Some(found.into_iter().collect())
}

/// Finds the rings of a message's links: what is left when links that lead nowhere else are taken off one by one.
pub(crate) struct Core {
    degree: Vec<usize>,
    /// The links at a broker, folded into one number: of a broker with one link, that link.
    folded: Vec<usize>,
    /// The links that were taken off.
    gone: Vec<bool>,
}

impl Core {
    pub(crate) fn new(brokers: usize) -> Self {
        Self {
            degree: vec![0; brokers],
            folded: vec![0; brokers],
            gone: Vec::new(),
        }
    }

    /// The arcs that are left of these, sorted.
    pub(crate) fn of(&mut self, model: &Model<'_>, carrying: &[ArcId]) -> Vec<ArcId> {
        let mut links: Vec<usize> = carrying.iter().map(|arc| link_of(*arc)).collect();
        links.sort_unstable();
        links.dedup();
        let all = links.last().map_or(0, |last| last + 1);
        self.gone.resize(self.gone.len().max(all), false);
        let ends = |link: usize| [model.tail(2 * link), model.head(2 * link)];
        for link in &links {
            for broker in ends(*link) {
                self.degree[broker] += 1;
                self.folded[broker] ^= link;
            }
        }
        for link in &links {
            for mut broker in ends(*link) {
                while self.degree[broker] == 1 {
                    let link = self.folded[broker];
                    self.gone[link] = true;
                    for end in ends(link) {
                        self.degree[end] -= 1;
                        self.folded[end] ^= link;
                    }
                    let [tail, head] = ends(link);
                    broker = if broker == tail { head } else { tail };
                }
            }
        }
        for broker in links.iter().flat_map(|link| ends(*link)) {
            self.degree[broker] = 0;
            self.folded[broker] = 0;
        }
        let mut left: Vec<ArcId> = carrying
            .iter()
            .copied()
            .filter(|arc| !self.gone[link_of(*arc)])
            .collect();
        left.sort_unstable();
        for link in links {
            self.gone[link] = false;
        }
        left
    }
}
