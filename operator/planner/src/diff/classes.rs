//! What became of the overlap classes: groups of classes that share topics, before and after.

use std::collections::{BTreeMap, BTreeSet};

use skein_api::name::{ClassName, TopicName};

use super::{ClassChange, ClassFate, ClassState};
use crate::plan::Plan;

pub(super) fn changes(old: &Plan, new: &Plan) -> Vec<ClassChange> {
    let (old_of, new_of) = (membership(old), membership(new));
    let mut seen: BTreeSet<(bool, &ClassName)> = BTreeSet::new();
    let mut changes = Vec::new();
    for (is_new, name) in old
        .classes
        .keys()
        .map(|name| (false, name))
        .chain(new.classes.keys().map(|name| (true, name)))
    {
        if seen.contains(&(is_new, name)) {
            continue;
        }
        // Walk from class to class over shared topics.
        let mut group: BTreeSet<(bool, &ClassName)> = BTreeSet::new();
        let mut waiting = vec![(is_new, name)];
        while let Some((is_new, name)) = waiting.pop() {
            if !group.insert((is_new, name)) {
                continue;
            }
            let (plan, other) = if is_new { (new, &old_of) } else { (old, &new_of) };
            let topics = plan.classes.get(name).into_iter().flat_map(|class| &class.topics);
            waiting.extend(
                topics
                    .filter_map(|topic| other.get(topic))
                    .map(|name| (!is_new, *name)),
            );
        }
        seen.extend(&group);
        changes.extend(change(old, new, &group));
    }
    changes.sort_by(|one, other| names(one).cmp(&names(other)));
    changes
}

fn names(change: &ClassChange) -> Vec<&ClassName> {
    change
        .old
        .iter()
        .chain(&change.new)
        .map(|state| &state.name)
        .collect()
}

fn membership(plan: &Plan) -> BTreeMap<&TopicName, &ClassName> {
    plan.classes
        .values()
        .flat_map(|class| class.topics.iter().map(|topic| (topic, &class.name)))
        .collect()
}

fn change(old: &Plan, new: &Plan, group: &BTreeSet<(bool, &ClassName)>) -> Option<ClassChange> {
    let side = |plan: &Plan, wanted: bool| {
        let (mut states, mut topics) = (Vec::new(), BTreeSet::new());
        let classes = group.iter().filter(|(is_new, _)| *is_new == wanted);
        for class in classes.filter_map(|(_, name)| plan.classes.get(*name)) {
            topics.extend(class.topics.iter().cloned());
            states.push(ClassState {
                name: class.name.clone(),
                root: class.root.clone(),
                topics: class.topics.len(),
            });
        }
        (states, topics)
    };
    let ((before, had), (after, has)) = (side(old, false), side(new, true));
    let gained: Vec<TopicName> = has.difference(&had).cloned().collect();
    let lost: Vec<TopicName> = had.difference(&has).cloned().collect();
    let fate = match (before.as_slice(), after.as_slice()) {
        ([], _) => ClassFate::Added,
        (_, []) => ClassFate::Removed,
        ([one], [other]) if one == other && gained.is_empty() && lost.is_empty() => return None,
        ([one], [other]) if one.name != other.name => ClassFate::Renamed,
        ([_], [_]) => ClassFate::Changed,
        (_, [_]) => ClassFate::Merged,
        ([_], _) => ClassFate::Split,
        _ => ClassFate::Regrouped,
    };
    Some(ClassChange {
        fate,
        old: before,
        new: after,
        gained,
        lost,
    })
}
