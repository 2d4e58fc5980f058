//! Reduces what must pass a hop to lines that never give two copies of a message.
//!
//! Mosquitto sends a bridge one copy per matching line, so covered filters are dropped. Crossing ones (neither covers
//! the other, as `a/+/c` and `a/b/#`) stay where the sending broker removes duplicates itself, else they are
//! generalised to their least cover, and the caller must plan with the widened filter.

use skein_api::name::Qos;
use skein_filters::{FilterTrie, TopicFilter};

/// The place of a filter among all filters of its class, which are sorted.
pub(crate) type Place = u32;

/// The filters of a class and how they relate, found once and asked on every hop.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    filters: Vec<(TopicFilter, Qos)>,
    /// By place: other filters that cover this one, but not those of mutual cover that come later.
    coverers: Vec<Vec<Place>>,
    /// By place: other filters that overlap this one.
    overlaps: Vec<Vec<Place>>,
    /// Scratch: which filters are in the set at hand.
    present: Vec<bool>,
}

/// A set of filters that pass one hop in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reduced {
    /// What to write down, sorted by filter.
    pub(crate) lines: Vec<(TopicFilter, Qos)>,
    /// Filters among them that nobody declared.
    pub(crate) widened: Vec<TopicFilter>,
}

impl Relations {
    /// Takes filters in; they must be sorted.
    pub(crate) fn new(filters: Vec<(TopicFilter, Qos)>) -> Self {
        let mut trie = FilterTrie::new();
        for (place, (filter, _)) in (0..).zip(&filters) {
            trie.insert(filter, place);
        }
        let mut relations = Self {
            present: vec![false; filters.len()],
            ..Self::default()
        };
        for (place, (filter, _)) in (0..).zip(&filters) {
            let (mut coverers, mut overlaps) = (Vec::new(), Vec::new());
            trie.overlapping(filter, |&other: &Place| {
                if other != place {
                    overlaps.push(other);
                }
            });
            // Whatever covers it overlaps it, so a filter that stands alone is done.
            if !overlaps.is_empty() {
                trie.covering(filter, |&other| {
                    // Of two that cover each other (`#` and `+/#`) the first stays.
                    if other < place || (other > place && !filter.covers(&filters[other as usize].0)) {
                        coverers.push(other);
                    }
                });
            }
            relations.coverers.push(coverers);
            relations.overlaps.push(overlaps);
        }
        relations.filters = filters;
        relations
    }

    /// Whether any filter of the one set overlaps any of the other.
    pub(crate) fn meet(&mut self, one: &[Place], other: &[Place]) -> bool {
        self.mark(one, true);
        let meet = other.iter().any(|&place| {
            self.present[place as usize]
                || self.overlaps[place as usize]
                    .iter()
                    .any(|&met| self.present[met as usize])
        });
        self.mark(one, false);
        meet
    }

    fn mark(&mut self, places: &[Place], present: bool) {
        for &place in places {
            self.present[place as usize] = present;
        }
    }

    /// The fewest lines for a sorted set of filters. `deduplicates`: the sending broker gives one copy however many
    /// lines match.
    pub(crate) fn reduce(&mut self, places: &[Place], deduplicates: bool) -> Reduced {
        let line = |place: Place| self.filters[place as usize].clone();
        if let [only] = places {
            return Reduced {
                lines: vec![line(*only)],
                widened: Vec::new(),
            };
        }
        self.mark(places, true);
        let mut qos: Vec<Qos> = places
            .iter()
            .map(|&place| self.filters[place as usize].1)
            .collect();
        let mut kept = vec![true; places.len()];
        for (number, &place) in places.iter().enumerate() {
            for cover in self.coverers[place as usize]
                .iter()
                .filter(|&&cover| self.present[cover as usize])
            {
                kept[number] = false;
                if let Ok(cover) = places.binary_search(cover) {
                    qos[cover] = qos[cover].max(qos[number]);
                }
            }
        }
        // A cover's cover covers too, so every kept filter has heard of all that it covers.
        self.mark(places, false);
        let mut left: Vec<(Place, Qos)> = places
            .iter()
            .zip(qos)
            .zip(kept)
            .filter(|(_, kept)| *kept)
            .map(|((&place, qos), _)| (place, qos))
            .collect();
        let crossing = self.level_crossing(&mut left);
        let lines = left
            .into_iter()
            .map(|(place, qos)| (self.filters[place as usize].0.clone(), qos))
            .collect();
        if crossing && !deduplicates {
            generalise(lines)
        } else {
            Reduced {
                lines,
                widened: Vec::new(),
            }
        }
    }

    /// The broker chooses one of several crossing lines for its one copy, so all of them carry the highest quality.
    /// Returns whether any cross.
    fn level_crossing(&self, lines: &mut [(Place, Qos)]) -> bool {
        let mut crossing = false;
        loop {
            let mut raised = false;
            for number in 0..lines.len() {
                for met in &self.overlaps[lines[number].0 as usize] {
                    let Ok(met) = lines.binary_search_by_key(met, |line| line.0) else {
                        continue;
                    };
                    crossing = true;
                    let highest = lines[number].1.max(lines[met].1);
                    raised |= lines[number].1 != lines[met].1;
                    lines[number].1 = highest;
                    lines[met].1 = highest;
                }
            }
            if !raised {
                return crossing;
            }
        }
    }
}

/// Replaces crossing filters by their least cover until none cross. Rare, so pair by pair.
fn generalise(mut lines: Vec<(TopicFilter, Qos)>) -> Reduced {
    let mut widened = Vec::new();
    let crossing = |lines: &[(TopicFilter, Qos)]| {
        (0..lines.len()).find_map(|first| {
            let second =
                (first + 1..lines.len()).find(|&second| lines[first].0.overlaps(&lines[second].0))?;
            Some((first, second, lines[first].0.least_cover(&lines[second].0)?))
        })
    };
    while let Some((first, second, cover)) = crossing(&lines) {
        let mut qos = lines[first].1.max(lines[second].1);
        lines.retain(|line| {
            let covered = cover.covers(&line.0);
            if covered {
                qos = qos.max(line.1);
            }
            !covered
        });
        lines.push((cover.clone(), qos));
        lines.sort_unstable();
        widened.push(cover);
    }
    widened.retain(|wide| lines.iter().any(|(filter, _)| filter == wide));
    Reduced { lines, widened }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduced(filters: &str, deduplicates: bool) -> String {
        let mut filters: Vec<_> = filters
            .split(' ')
            .map(|text| {
                let (filter, qos) = text.split_once('@').unwrap_or((text, "1"));
                (
                    TopicFilter::parse(filter).unwrap(),
                    Qos::new(qos.parse().unwrap()).unwrap(),
                )
            })
            .collect();
        filters.sort();
        let places: Vec<Place> = (0..).take(filters.len()).collect();
        let lines = Relations::new(filters).reduce(&places, deduplicates).lines;
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
        assert_eq!(
            reduced(&format!("{many} t/+ u/+/x u/7/#"), false),
            "t/+@1 u/+/#@1"
        );
    }
}
