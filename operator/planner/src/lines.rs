//! Reduces what must pass a hop to lines that never give two copies of a message.
//!
//! Mosquitto sends a bridge one copy per matching line, so covered filters are dropped. Crossing ones (neither covers
//! the other, as `a/+/c` and `a/b/#`) stay where the sending broker removes duplicates itself, else they are
//! generalised to their least cover, and the caller must plan with the widened filter.

use skein_api::name::Qos;
use skein_filters::{FilterTrie, TopicFilter};
use skein_mosquitto::link::{Direction, Line};

use crate::laid::Packed;

/// The place of a filter among all filters of its class, which are sorted; behind them come those made by widening.
pub(crate) type Place = u32;

/// No filter's place.
pub(crate) const NO_PLACE: Place = Place::MAX >> 4;

/// The filters of a class and how they relate, found once and asked on every hop.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    filters: Vec<(TopicFilter, Qos)>,
    /// By place: the first place of the same filter; only there if some filter is there twice.
    first: Vec<Place>,
    /// Filters that nobody declared.
    wide: Vec<TopicFilter>,
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
        if filters.windows(2).any(|two| two[0].0 == two[1].0) {
            for (place, (filter, _)) in (0..).zip(&filters) {
                let same = relations.first.last().copied();
                let same = same.filter(|&same: &Place| filters[same as usize].0 == *filter);
                relations.first.push(same.unwrap_or(place));
            }
        }
        relations.filters = filters;
        relations
    }

    /// The filter at a place.
    pub(crate) fn filter(&self, place: Place) -> Option<&TopicFilter> {
        let place = place as usize;
        let declared = self.filters.get(place).map(|(filter, _)| filter);
        declared.or_else(|| self.wide.get(place - self.filters.len()))
    }

    /// The (first) place of a filter, or [`NO_PLACE`].
    pub(crate) fn place(&self, filter: &TopicFilter) -> Place {
        let declared = self.filters.partition_point(|(other, _)| other < filter);
        if self
            .filters
            .get(declared)
            .is_some_and(|(other, _)| other == filter)
        {
            return place(declared);
        }
        let wide = self.wide.iter().position(|other| other == filter);
        wide.map_or(NO_PLACE, |wide| place(self.filters.len() + wide))
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

    /// Appends the fewest lines for a sorted set of filters, sorted, and returns those among them that nobody declared.
    /// `deduplicates`: the sending broker gives one copy however many lines match.
    pub(crate) fn reduce(
        &mut self,
        places: &[Place],
        deduplicates: bool,
        direction: Direction,
        lines: &mut Vec<Packed>,
    ) -> Vec<TopicFilter> {
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
        let mut widened = Vec::new();
        if crossing && !deduplicates {
            let line = |&(place, qos): &(Place, Qos)| Line {
                filter: self.filters[place as usize].0.clone(),
                direction,
                qos,
            };
            let (general, made) = generalise(left.iter().map(line).collect());
            let start = lines.len();
            for line in &general {
                let place = self.place_or_add(&line.filter);
                lines.push(Packed::new(place, line.direction, line.qos));
            }
            lines[start..].sort_unstable();
            widened = made;
        } else {
            let first = |place: Place| self.first.get(place as usize).copied().unwrap_or(place);
            lines.extend(
                left.iter()
                    .map(|&(place, qos)| Packed::new(first(place), direction, qos)),
            );
        }
        self.left = left;
        widened
    }

    fn place_or_add(&mut self, filter: &TopicFilter) -> Place {
        let known = self.place(filter);
        if known != NO_PLACE {
            return known;
        }
        self.wide.push(filter.clone());
        place(self.filters.len() + self.wide.len() - 1)
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

fn place(number: usize) -> Place {
    Place::try_from(number).unwrap_or(NO_PLACE)
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
        let mut relations = Relations::new(filters);
        let mut lines = Vec::new();
        relations.reduce(&places, deduplicates, Direction::In, &mut lines);
        let text = |line: &Packed| format!("{}@{}", relations.filter(line.place()).unwrap(), line.qos());
        let mut lines: Vec<String> = lines.iter().map(text).collect();
        lines.sort();
        lines.join(" ")
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
