//! Reduces what must pass a hop to lines that never give two copies of a message.
//!
//! Mosquitto sends a bridge one copy per matching line, so covered filters are dropped. Crossing ones (neither covers
//! the other, as `a/+/c` and `a/b/#`) stay where the sending broker removes duplicates itself, else they are
//! generalised to their least cover, and the caller must plan with the widened filter.

use skein_api::name::Qos;
use skein_filters::{FilterTrie, TopicFilter};
use skein_mosquitto::link::{Direction, Line};

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
    /// Scratch: which filters are in the set at hand, and what is left of it.
    present: Vec<bool>,
    left: Vec<(Place, Qos)>,
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

    /// The fewest lines for a sorted set of filters, sorted, and those among them that nobody declared.
    /// `deduplicates`: the sending broker gives one copy however many lines match.
    pub(crate) fn reduce(
        &mut self,
        places: &[Place],
        deduplicates: bool,
        direction: Direction,
    ) -> (Vec<Line>, Vec<TopicFilter>) {
        self.mark(places, true);
        let mut left = std::mem::take(&mut self.left);
        left.clear();
        left.extend(
            places
                .iter()
                .map(|&place| (place, self.filters[place as usize].1)),
        );
        let mut alone = true;
        for (number, &place) in places.iter().enumerate() {
            for cover in self.coverers[place as usize]
                .iter()
                .filter(|&&cover| self.present[cover as usize])
            {
                // A cover's cover covers too, so every filter that stays hears of all that it covers.
                if let Ok(cover) = places.binary_search(cover) {
                    left[cover].1 = left[cover].1.max(self.filters[places[number] as usize].1);
                }
            }
            alone &= self.overlaps[place as usize].is_empty();
        }
        let mut crossing = false;
        if !alone {
            left.retain(|&(place, _)| {
                !self.coverers[place as usize]
                    .iter()
                    .any(|&cover| self.present[cover as usize])
            });
            crossing = left.len() > 1 && self.level_crossing(&mut left);
        }
        self.mark(places, false);
        let line = |&(place, qos): &(Place, Qos)| Line {
            filter: self.filters[place as usize].0.clone(),
            direction,
            qos,
        };
        let lines: Vec<Line> = left.iter().map(line).collect();
        self.left = left;
        if crossing && !deduplicates {
            generalise(lines)
        } else {
            (lines, Vec::new())
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
fn generalise(mut lines: Vec<Line>) -> (Vec<Line>, Vec<TopicFilter>) {
    let mut widened = Vec::new();
    let crossing = |lines: &[Line]| {
        (0..lines.len()).find_map(|first| {
            let second = (first + 1..lines.len())
                .find(|&second| lines[first].filter.overlaps(&lines[second].filter))?;
            Some((
                lines[first].clone(),
                lines[first].filter.least_cover(&lines[second].filter)?,
            ))
        })
    };
    while let Some((mut line, cover)) = crossing(&lines) {
        lines.retain(|covered| {
            let is_covered = cover.covers(&covered.filter);
            if is_covered {
                line.qos = line.qos.max(covered.qos);
            }
            !is_covered
        });
        line.filter = cover.clone();
        lines.push(line);
        lines.sort_unstable();
        widened.push(cover);
    }
    widened.retain(|wide| lines.iter().any(|line| line.filter == *wide));
    (lines, widened)
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
        let (lines, _) = Relations::new(filters).reduce(&places, deduplicates, Direction::In);
        lines
            .iter()
            .map(|line| format!("{}@{}", line.filter, line.qos))
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
