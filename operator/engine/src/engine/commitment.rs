//! Switches that have gone too far to be given up.
//!
//! Once an old link has been let go, or clients have been led elsewhere, what is published gathers in sessions of links
//! to come, and nowhere else. So the classes of such a switch keep their aim until it is reached, whatever is planned
//! meanwhile; what is planned then starts from there. A switch that cannot be finished is given up after all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::Fleet;
use skein_api::name::{BrokerName, ClassName};
use skein_filters::TopicFilter;
use skein_mosquitto::link::Link;

use super::Engine;
use super::giving::is_unreachable;
use super::proving::are_same;
use crate::event::Moment;
use crate::rollout::Position;
use crate::site::Aim;
use crate::strands::Strands;

/// The classes that keep their aims, and until when at the latest.
#[derive(Debug)]
pub(super) struct Commitments {
    until: BTreeMap<ClassName, Moment>,
    /// Something else may be planned for them by now.
    pub(super) behind: bool,
    /// What the brokers are to hold must be found anew.
    pub(super) stale: bool,
}

impl Default for Commitments {
    fn default() -> Self {
        Self {
            until: BTreeMap::new(),
            behind: false,
            stale: true,
        }
    }
}

impl Commitments {
    pub(super) fn commit<'a>(&mut self, classes: impl IntoIterator<Item = &'a ClassName>, until: Moment) {
        for class in classes {
            self.until.entry(class.clone()).or_insert(until);
        }
    }

    /// Its switch has gone too far to be given up.
    pub(super) fn has(&self, class: &ClassName) -> bool {
        self.until.contains_key(class)
    }

    pub(super) fn next(&self) -> Option<Moment> {
        self.until.values().min().copied()
    }
}

impl Engine {
    /// What a broker is to hold: what is planned, but for classes that go where it was planned before.
    pub(super) fn mind_aims(&mut self, fleet: &Fleet) {
        if !std::mem::take(&mut self.commitments.stale) {
            return;
        }
        let homeless: BTreeSet<&BrokerName> = fleet
            .brokers
            .keys()
            .filter(|broker| !self.has_address(fleet, broker))
            .collect();
        let kept = &self.commitments.until;
        let is_planned =
            |link: &&Arc<Link>| !homeless.contains(&link.upstream) && !kept.contains_key(&link.class);
        let mut before = std::mem::take(&mut self.aims);
        let brokers: BTreeSet<BrokerName> = self.desired.keys().chain(before.keys()).cloned().collect();
        let mut changed: BTreeSet<ClassName> = BTreeSet::new();
        for broker in brokers {
            let before = before.remove(&broker).unwrap_or_default();
            let desired = self.desired.get(&broker).into_iter().flatten();
            let mut links: Vec<Arc<Link>> = desired.filter(is_planned).cloned().collect();
            let earlier = before.links.iter().filter(|link| kept.contains_key(&link.class));
            links.extend(earlier.cloned());
            links.sort_by(|one, other| one.identity().cmp(&other.identity()));
            let aim = if are_same(&links, &before.links) {
                before
            } else {
                let strands = Strands::of(links.iter().map(Arc::as_ref)).shared_with(&before.strands);
                let (come, go) = (
                    strands.differing(&before.strands),
                    before.strands.differing(&strands),
                );
                changed.extend(come.chain(go).map(|(class, ..)| class.clone()));
                if let Some(site) = self.sites.get_mut(&broker) {
                    site.touched = true;
                }
                Aim { links, strands }
            };
            self.aims.insert(broker, aim);
        }
        self.commitments.behind = !kept.is_empty();
        self.mind_overlaps(changed);
    }

    /// Finds anew which filters these classes have by what is aimed for.
    fn mind_overlaps(&mut self, classes: BTreeSet<ClassName>) {
        let mut filters: BTreeMap<ClassName, BTreeSet<TopicFilter>> = classes
            .into_iter()
            .map(|class| (class, BTreeSet::new()))
            .collect();
        if filters.is_empty() {
            return;
        }
        for (class, strands) in self.aims.values().flat_map(|aim| aim.strands.classes()) {
            if let Some(filters) = filters.get_mut(class) {
                let user = strands.iter().filter(|strand| !strand.control);
                filters.extend(user.map(|strand| strand.filter.clone()));
            }
        }
        for (class, filters) in filters {
            self.overlaps.set(&class, filters);
        }
    }

    /// Ends what is done or cannot be. True if the aims have to be found anew.
    pub(super) fn mind_commitments(
        &mut self,
        fleet: &Fleet,
        positions: &BTreeMap<BrokerName, Position>,
        now: Moment,
    ) -> bool {
        let kept = &self.commitments.until;
        if kept.is_empty() {
            return false;
        }
        let mut open: BTreeSet<&ClassName> = BTreeSet::new();
        let mut stuck = kept.values().any(|until| *until <= now);
        for (broker, position) in positions {
            let site = self.sites.get(broker);
            let cannot =
                !position.takes || !fleet.brokers.contains_key(broker) || site.is_none_or(is_unreachable);
            let is_loaded = site.is_some_and(|site| site.ledger.is_confirmed());
            let given = position.desired.iter().filter(|_| !is_loaded);
            let missing = position.desired.difference(&position.newest);
            for strand in given
                .chain(missing)
                .filter(|strand| kept.contains_key(&strand.class))
            {
                open.insert(&strand.class);
                stuck |= cannot || !self.can_be_asked(&strand.upstream);
            }
            let leftover = position.newest.difference(&position.desired);
            for strand in leftover.filter(|strand| kept.contains_key(&strand.class)) {
                open.insert(&strand.class);
                stuck |= cannot;
            }
        }
        let before = kept.len();
        let open: BTreeSet<ClassName> = open.into_iter().cloned().collect();
        let until = &mut self.commitments.until;
        until.retain(|class, _| !stuck && open.contains(class));
        let changed = until.len() != before;
        self.commitments.stale |= changed && self.commitments.behind;
        self.commitments.stale
    }
}
