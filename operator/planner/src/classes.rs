//! Overlap classes: which topics must share a tree, and what their class is called.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::Topic;
use skein_api::name::{ClassName, TopicName};
use skein_filters::{TopicFilter, overlap_classes};

/// The filters of a topic: its own, and those of its commands.
pub(crate) fn filters(topic: &Topic) -> impl Iterator<Item = &TopicFilter> {
    std::iter::once(&topic.filter).chain(&topic.commands)
}

/// Splits topics into groups that share no message: two topics are in one group if any of their filters overlap,
/// directly or by way of others. `widened` filters belong to the topic they stand beside.
///
/// Groups are sorted by their smallest topic, topics within a group by name.
#[must_use]
pub(crate) fn partition<'a>(
    topics: impl IntoIterator<Item = (&'a TopicName, &'a Arc<Topic>)>,
    widened: &BTreeMap<TopicName, Vec<TopicFilter>>,
) -> Vec<Vec<TopicName>> {
    let mut all = Vec::new();
    let mut owners = Vec::new();
    let mut names = Vec::new();
    for (name, topic) in topics {
        let wide = widened.get(name).into_iter().flatten();
        for filter in filters(topic).chain(wide) {
            all.push(filter);
            owners.push(names.len());
        }
        names.push(name.clone());
    }
    let numbers = overlap_classes(all);
    // A topic with several filters joins the groups of all of them.
    let mut joined = Union::new(numbers.iter().max().map_or(0, |highest| highest + 1));
    let mut number_of = vec![usize::MAX; names.len()];
    for (&owner, &number) in owners.iter().zip(&numbers) {
        if number_of[owner] == usize::MAX {
            number_of[owner] = number;
        } else {
            joined.join(number_of[owner], number);
        }
    }
    let mut places = BTreeMap::new();
    let mut groups: Vec<Vec<TopicName>> = Vec::new();
    for (name, number) in names.into_iter().zip(number_of) {
        let place = *places.entry(joined.find(number)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(name);
    }
    for group in &mut groups {
        group.sort_unstable();
    }
    groups.sort_unstable();
    groups
}

/// Disjoint sets with path halving.
struct Union(Vec<usize>);

impl Union {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn find(&mut self, mut item: usize) -> usize {
        while self.0[item] != item {
            self.0[item] = self.0[self.0[item]];
            item = self.0[item];
        }
        item
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}

/// Names groups (sorted, as [`partition`] returns them).
///
/// A class keeps its name while any of its topics stays. At a merge the smallest name wins; at a split the part with
/// the smallest of the old topics keeps it. A new class is called after its smallest topic; should another class bear
/// that name still, a number is added. `taken` names are not given to new classes.
#[must_use]
pub(crate) fn name(
    groups: &[Vec<TopicName>],
    previous: &BTreeMap<TopicName, ClassName>,
    taken: &BTreeSet<ClassName>,
) -> Vec<ClassName> {
    // Each old name is claimed by the group that has its smallest surviving topic.
    let mut claims: BTreeMap<&ClassName, (&TopicName, usize)> = BTreeMap::new();
    for (number, group) in groups.iter().enumerate() {
        for topic in group {
            if let Some(old) = previous.get(topic) {
                let claim = claims.entry(old).or_insert((topic, number));
                *claim = (*claim).min((topic, number));
            }
        }
    }
    let mut names: Vec<Option<ClassName>> = vec![None; groups.len()];
    for (old, (_, number)) in claims {
        // Old names come in order, so the first claim of a group is its smallest.
        names[number].get_or_insert_with(|| old.clone());
    }
    let mut used: BTreeSet<ClassName> = names.iter().flatten().chain(taken).cloned().collect();
    names
        .into_iter()
        .zip(groups)
        .map(|(name, group)| {
            name.unwrap_or_else(|| {
                let fresh = fresh_name(&group[0], &used);
                used.insert(fresh.clone());
                fresh
            })
        })
        .collect()
}

fn fresh_name(topic: &TopicName, used: &BTreeSet<ClassName>) -> ClassName {
    let plain = ClassName::from(topic);
    if !used.contains(&plain) {
        return plain;
    }
    // A label has at most 63 characters; the topic's end gives way to the number.
    (2..u32::MAX)
        .filter_map(|number| {
            let suffix = format!("-{number}");
            let stem = &topic.as_str()[..topic.as_str().len().min(63 - suffix.len())];
            ClassName::new(&format!("{stem}{suffix}")).ok()
        })
        .find(|name| !used.contains(name))
        .unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(groups: &[&str], previous: &[(&str, &str)]) -> Vec<String> {
        let groups: Vec<Vec<TopicName>> = groups
            .iter()
            .map(|group| {
                group
                    .split(' ')
                    .map(|topic| TopicName::new(topic).unwrap())
                    .collect()
            })
            .collect();
        let previous = previous
            .iter()
            .map(|(topic, class)| (TopicName::new(topic).unwrap(), ClassName::new(class).unwrap()))
            .collect();
        name(&groups, &previous, &BTreeSet::new())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_new_class_is_called_after_its_smallest_topic() {
        assert_eq!(names(&["a b", "c"], &[]), ["a", "c"]);
    }

    #[test]
    fn a_class_keeps_its_name_while_any_topic_stays() {
        assert_eq!(names(&["b c"], &[("a", "a"), ("b", "a")]), ["a"]);
    }

    #[test]
    fn at_a_merge_the_smallest_name_wins() {
        assert_eq!(names(&["a b c"], &[("a", "z"), ("b", "m"), ("c", "n")]), ["m"]);
    }

    #[test]
    fn at_a_split_the_part_with_the_smallest_topic_keeps_the_name() {
        assert_eq!(
            names(&["a", "b c"], &[("a", "old"), ("b", "old"), ("c", "old")]),
            ["old", "b"]
        );
    }

    #[test]
    fn a_new_class_does_not_take_a_name_still_borne() {
        assert_eq!(names(&["a", "b"], &[("b", "a")]), ["a-2", "a"]);
    }
}
