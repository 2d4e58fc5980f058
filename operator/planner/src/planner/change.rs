//! Planning again after a change: finds the classes that it touches, and plans only those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::Fleet;
use skein_api::name::TopicName;
use skein_filters::FilterTrie;

use super::{Planner, Slot, compare};
use crate::classes;
use crate::declared::{Declared, Situation};
use crate::filters::ClassFilters;
use crate::plan::View;
use crate::topology::Node;

/// From this many changed routes on, starting over is cheaper than repairing tree by tree.
const MANY_ROUTES: usize = 8;

impl Planner {
    /// Brings the plan to a new fleet and view, if that can be done in part. Otherwise everything must be made anew,
    /// and whatever this left half done is overwritten by that.
    pub(super) fn change(&mut self, fleet: &Arc<Fleet>, view: &View) -> bool {
        let old = self.fleet.clone();
        let same_brokers = old.brokers.len() == fleet.brokers.len()
            && old
                .brokers
                .iter()
                .zip(&fleet.brokers)
                .all(|((old_name, old), (name, new))| {
                    old_name == name && old.is_controlled() == new.is_controlled()
                });
        // Where a sender does not remove duplicates, lines may be widened, which joins classes across the fleet.
        let all_controlled = fleet
            .brokers
            .values()
            .all(skein_api::fleet::Broker::is_controlled);
        if !self.planned || !same_brokers || !all_controlled || !self.topology.is_symmetric() {
            return false;
        }
        let (mut routes, mut topics) = (Vec::new(), Vec::new());
        if !Arc::ptr_eq(&old, fleet) {
            routes = compare::routes(&old.routes, &fleet.routes);
            topics = compare::topics(&old.topics, &fleet.topics);
        }
        if routes.len() > MANY_ROUTES || topics.len() > 16 + fleet.topics.len() / 8 {
            return false;
        }
        self.fleet = fleet.clone();
        let mut dirty = BTreeSet::new();
        let mut moved = BTreeMap::new();
        let mut stretched = BTreeSet::new();
        for name in routes {
            let ends = [&old, fleet]
                .into_iter()
                .filter_map(|fleet| self.topology.ends(fleet.routes.get(name)?));
            for (a, b) in ends.collect::<BTreeSet<_>>() {
                if !self.change_pair((a.min(b), a.max(b)), name, &mut dirty, &mut moved, &mut stretched) {
                    return false;
                }
            }
        }
        self.change_view(view, &mut dirty);
        if !topics.is_empty() {
            self.change_topics(&old, &topics, &mut dirty, &mut stretched);
        }
        for place in stretched.difference(&dirty) {
            self.stretch(*place);
        }
        for place in dirty {
            self.grow(place, moved.get(&place));
        }
        self.assemble();
        true
    }

    /// A route between two brokers changed.
    fn change_pair(
        &mut self,
        pair: (Node, Node),
        name: &skein_api::name::RouteName,
        dirty: &mut BTreeSet<usize>,
        moved_on: &mut BTreeMap<usize, BTreeSet<Node>>,
        stretched: &mut BTreeSet<usize>,
    ) -> bool {
        let between = self.routes_between.entry(pair).or_default();
        let still_there = self
            .fleet
            .routes
            .get(name)
            .and_then(|route| self.topology.ends(route));
        if still_there.is_some_and(|(a, b)| (a.min(b), a.max(b)) == pair) {
            between.insert(name.clone());
        } else {
            between.remove(name);
        }
        let routes = between.iter().filter_map(|name| self.fleet.routes.get(name));
        let Some((before, now)) = self.topology.update(pair, routes) else {
            return false;
        };
        if before == now {
            return true;
        }
        let watched = (0..)
            .zip(&self.watching)
            .filter(|(_, slots)| !slots.is_empty())
            .map(|(root, _)| root);
        if !self.topology.is_symmetric() || !self.trees.are_all_kept(watched) {
            return false;
        }
        let (slots, watching, ends) = (&mut self.slots, &self.watching, &mut self.ends);
        let worse = before.outward < now.outward;
        let mut touched = BTreeSet::new();
        self.trees
            .change(&self.topology, pair, worse, |root, before, after, repair| {
                let places = watching[root as usize].iter().copied();

                for (place, moved) in ends.moved(places, root, (before, after), repair) {
                    let Some(slot) = slots.get_mut(place).and_then(Option::as_mut) else {
                        continue;
                    };
                    slot.choice.correct(root, moved.more);
                    touched.insert(place);
                    if slot.root == Some(root) {
                        dirty.insert(place);
                        moved_on.entry(place).or_default().extend(repair.moved());
                    } else if moved.shortest {
                        stretched.insert(place);
                    }
                }
            });
        dirty.extend(touched.into_iter().filter(|&place| {
            self.slots
                .get(place)
                .and_then(Option::as_ref)
                .is_some_and(|slot| slot.choice.root() != slot.root)
        }));
        dirty.extend(self.places(|slot| slot.detoured || slot.scattered));
        for &place in dirty.union(stretched) {
            if let Some(slot) = self.slots[place].as_mut() {
                slot.uses = None;
            }
        }
        true
    }

    fn change_view(&mut self, view: &View, dirty: &mut BTreeSet<usize>) {
        let situation = Situation::new(&self.topology, view);
        let nodes = situation.changed(&self.situation);
        self.situation = situation;
        if !nodes.is_empty() {
            for place in 0..self.slots.len() {
                if !dirty.contains(&place) {
                    self.find_uses(place);
                }
            }
            dirty.extend(self.places(|slot| slot.detoured || slot.scattered || slot.uses_any(&nodes)));
        }
    }

    fn places(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<usize> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| slot.as_ref().is_some_and(&wanted))
            .map(|(place, _)| place)
            .collect()
    }

    /// Topics came, went or changed: the classes they leave and the classes they meet are sorted anew.
    fn change_topics(
        &mut self,
        old: &Arc<Fleet>,
        changed: &[&TopicName],
        dirty: &mut BTreeSet<usize>,
        stretched: &mut BTreeSet<usize>,
    ) {
        let fleet = self.fleet.clone();
        let mut met: BTreeSet<usize> = BTreeSet::new();
        let mut members: BTreeSet<TopicName> = BTreeSet::new();
        let overlaps = self.overlaps.get_or_insert_with(|| {
            let mut trie = FilterTrie::new();
            for (name, topic) in &old.topics {
                classes::filters(topic).for_each(|filter| trie.insert(filter, name.clone()));
            }
            trie
        });
        for &name in changed {
            if let Some(topic) = old.topics.get(name) {
                for filter in classes::filters(topic) {
                    overlaps.remove(filter, name);
                }
                met.extend(self.slot_of.remove(name));
                self.topics.remove(name);
            }
            if let Some(topic) = fleet.topics.get(name) {
                classes::filters(topic).for_each(|filter| overlaps.insert(filter, name.clone()));
                self.topics
                    .insert(name.clone(), Arc::new(Declared::new(&self.topology, name, topic)));
                members.insert(name.clone());
            }
        }
        for &name in changed {
            for filter in fleet
                .topics
                .get(name)
                .into_iter()
                .flat_map(|topic| classes::filters(topic))
            {
                overlaps.overlapping(filter, |other| met.extend(self.slot_of.get(other)));
            }
        }
        let left: Vec<Slot> = met.iter().filter_map(|&place| self.slots[place].take()).collect();
        for (place, slot) in met.iter().zip(&left) {
            slot.choice.roots().for_each(|root| {
                self.watching[root as usize].remove(place);
            });
            self.ends.remove(*place, &slot.choice);
            dirty.remove(place);
            stretched.remove(place);
            members.extend(
                slot.topics
                    .iter()
                    .map(|topic| &topic.name)
                    .filter(|name| fleet.topics.contains_key(*name))
                    .cloned(),
            );
        }
        let topics = members.iter().filter_map(|name| fleet.topics.get_key_value(name));
        let groups = classes::partition(topics, &BTreeMap::new());
        let taken = self
            .slots
            .iter()
            .flatten()
            .map(|slot| slot.name.clone())
            .collect();
        let names = classes::name(&groups, &self.names, &taken);
        for &name in changed {
            self.names.remove(name);
        }
        let left: Vec<(usize, Slot)> = met.into_iter().zip(left).collect();
        for (place, _) in left.iter().filter(|(_, slot)| !names.contains(&slot.name)) {
            self.free.push(*place);
        }
        for (group, name) in groups.into_iter().zip(names) {
            self.names
                .extend(group.iter().map(|topic| (topic.clone(), name.clone())));
            let like = left.iter().map(|(_, slot)| slot).find(|slot| {
                slot.topics
                    .iter()
                    .any(|topic| group.binary_search(&topic.name).is_ok())
            });
            // A class that goes on keeps its place, and what stays of its links.
            let former = left.iter().find(|(_, slot)| slot.name == name);
            let place = former.map_or_else(|| self.free_place(), |(place, _)| *place);
            self.put_slot(place, name, &group);
            if let Some(slot) = self.slots[place].as_mut() {
                if let Some((_, former)) = former {
                    let filters = ClassFilters::new(&slot.name, &slot.topics);
                    if let Some(known) = &former.filters {
                        slot.laid = Arc::new(former.laid.renumbered(known, &filters));
                    }
                    slot.filters = Some(Box::new(filters));
                }
                let empty = crate::choice::Choice::default();
                let like = like.map_or(&empty, |slot| &slot.choice);
                let (trees, topology) = (&mut self.trees, &self.topology);
                slot.choice
                    .total_like(like, |root| trees.declared(topology, root));
            }
            dirty.insert(place);
        }
    }
}
