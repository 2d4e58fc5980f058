//! Reduces what must pass a hop to lines that never give two copies of a message.
//!
//! Mosquitto sends a bridge one copy per matching line, so covered filters are dropped. Crossing ones (neither covers
//! the other, as `a/+/c` and `a/b/#`) stay where the sending broker removes duplicates itself, else they are
//! generalised to their least cover, and the caller must plan with the widened filter.

use std::collections::BTreeSet;

use skein_api::name::Qos;
use skein_filters::{FilterTrie, TopicFilter};

/// From this many filters on, covers and crossings are looked up in a trie rather than pair by pair.
const MANY: usize = 24;

/// A set of filters that pass one hop in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reduced {
    /// What to write down, sorted by filter.
    pub lines: Vec<(TopicFilter, Qos)>,
    /// Filters among them that nobody declared.
    pub widened: Vec<TopicFilter>,
}

/// The fewest lines for these filters. `deduplicates`: the sending broker gives one copy however many lines match.
#[must_use]
pub(crate) fn reduce(mut filters: Vec<(TopicFilter, Qos)>, deduplicates: bool) -> Reduced {
    let mut widened = BTreeSet::new();
    loop {
        filters.sort_unstable();
        // Equal filters stand together with the highest quality of service last.
        filters.reverse();
        filters.dedup_by(|next, kept| next.0 == kept.0);
        filters.reverse();
        if filters.len() > 1 {
            drop_covered(&mut filters);
        }
        let Some(crossing) = first_crossing(&filters) else {
            break;
        };
        if deduplicates {
            level_crossing(&mut filters);
            break;
        }
        let (first, second) = crossing;
        let Some(cover) = filters[first].0.least_cover(&filters[second].0) else {
            break;
        };
        let qos = filters[first].1.max(filters[second].1);
        filters.remove(second);
        filters[first] = (cover.clone(), qos);
        widened.insert(cover);
    }
    let widened = widened
        .into_iter()
        .filter(|wide| filters.iter().any(|(filter, _)| filter == wide))
        .collect();
    Reduced {
        lines: filters,
        widened,
    }
}

/// Drops every filter that another covers, and gives that other the higher quality of service.
fn drop_covered(filters: &mut Vec<(TopicFilter, Qos)>) {
    let coverers = Coverers::of(filters);
    let mut highest: Vec<Qos> = filters.iter().map(|&(_, qos)| qos).collect();
    let mut kept = vec![true; filters.len()];
    for place in 0..filters.len() {
        for cover in coverers.of_filter(filters, place) {
            // Of two that cover each other (`#` and `+/#`) the first stays.
            let mutual = filters[place].0.covers(&filters[cover].0);
            if !mutual || cover < place {
                kept[place] = false;
            }
            highest[cover] = highest[cover].max(filters[place].1);
        }
    }
    let mut place = 0;
    filters.retain_mut(|(_, qos)| {
        *qos = highest[place];
        place += 1;
        kept[place - 1]
    });
}

/// Finds the filters that cover a given one.
enum Coverers {
    Pairs,
    Trie(Box<FilterTrie<usize>>),
}

impl Coverers {
    fn of(filters: &[(TopicFilter, Qos)]) -> Self {
        if filters.len() < MANY {
            return Self::Pairs;
        }
        let mut trie = FilterTrie::default();
        for (place, (filter, _)) in filters.iter().enumerate() {
            trie.insert(filter, place);
        }
        Self::Trie(Box::new(trie))
    }

    fn of_filter(&self, filters: &[(TopicFilter, Qos)], place: usize) -> Vec<usize> {
        let mut found = Vec::new();
        match self {
            Self::Pairs => found.extend(
                (0..filters.len())
                    .filter(|&other| other != place && filters[other].0.covers(&filters[place].0)),
            ),
            Self::Trie(trie) => trie.covering(&filters[place].0, |&other| {
                if other != place {
                    found.push(other);
                }
            }),
        }
        found
    }
}

fn first_crossing(filters: &[(TopicFilter, Qos)]) -> Option<(usize, usize)> {
    if filters.len() < MANY {
        return (0..filters.len()).find_map(|first| {
            (first + 1..filters.len())
                .find(|&second| filters[first].0.overlaps(&filters[second].0))
                .map(|second| (first, second))
        });
    }
    let mut trie = FilterTrie::default();
    for (place, (filter, _)) in filters.iter().enumerate() {
        trie.insert(filter, place);
    }
    (0..filters.len()).find_map(|first| {
        let mut second = None;
        trie.overlapping(&filters[first].0, |&other| {
            if other > first {
                second = Some(second.map_or(other, |known: usize| known.min(other)));
            }
        });
        second.map(|second| (first, second))
    })
}

/// The broker chooses one of several crossing lines for its one copy, so all of them carry the highest quality.
fn level_crossing(filters: &mut [(TopicFilter, Qos)]) {
    if filters.windows(2).all(|pair| pair[0].1 == pair[1].1) {
        return;
    }
    loop {
        let mut raised = false;
        for first in 0..filters.len() {
            for second in first + 1..filters.len() {
                if filters[first].1 != filters[second].1 && filters[first].0.overlaps(&filters[second].0) {
                    let highest = filters[first].1.max(filters[second].1);
                    filters[first].1 = highest;
                    filters[second].1 = highest;
                    raised = true;
                }
            }
        }
        if !raised {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduced(filters: &str, deduplicates: bool) -> String {
        let filters = filters
            .split(' ')
            .map(|text| {
                let (filter, qos) = text.split_once('@').unwrap_or((text, "1"));
                (
                    TopicFilter::parse(filter).unwrap(),
                    Qos::new(qos.parse().unwrap()).unwrap(),
                )
            })
            .collect();
        let lines = reduce(filters, deduplicates).lines;
        lines
            .iter()
            .map(|(filter, qos)| format!("{filter}@{qos}"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn covered_filters_are_dropped_and_the_highest_quality_kept() {
        assert_eq!(reduced("t/# t/a@2 t/+@0", true), "t/#@2");
        assert_eq!(reduced("t/a@0 t/a@2", true), "t/a@2");
        assert_eq!(reduced("# +/#@2", false), "#@2");
    }

    #[test]
    fn crossing_filters_stay_where_the_sender_removes_duplicates() {
        assert_eq!(reduced("a/+/c a/b/#@2", true), "a/+/c@2 a/b/#@2");
    }

    #[test]
    fn crossing_filters_are_generalised_elsewhere() {
        assert_eq!(reduced("a/+/c a/b/#@2 x", false), "a/+/#@2 x@1");
    }

    #[test]
    fn many_filters_give_the_same_as_few() {
        let many = (0..40)
            .map(|place| format!("t/{place} u/{place}/x"))
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(reduced(&format!("{many} t/+ u/#@2"), true), "t/+@1 u/#@2");
        assert_eq!(reduced(&format!("{many} t/+ u/+/x u/7/#"), false), "t/+@1 u/+/#@1");
    }
}
