//! Switches that have gone too far to be given up.
//!
//! Once an old link has been let go, or clients have been led elsewhere, what is published gathers in sessions of links
//! to come, and nowhere else. So the classes of such a switch keep their aim until it is reached, whatever is planned
//! meanwhile; what is planned then starts from there. A switch that cannot be finished is given up after all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::Fleet;
use skein_api::name::{BrokerName, ClassName};
use skein_mosquitto::link::Link;

use super::Engine;
use super::giving::is_unreachable;
use crate::event::Moment;
use crate::rollout::Position;
use crate::site::Aim;
use crate::strand;

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
        let mut aims: BTreeMap<BrokerName, Vec<Arc<Link>>> = BTreeMap::new();
        let kept = &self.commitments.until;
        for (broker, links) in &self.desired {
            let placed = |link: &&Arc<Link>| self.address(fleet, &link.upstream).is_some();
            let planned = links
                .iter()
                .filter(placed)
                .filter(|link| !kept.contains_key(&link.class));
            aims.insert(broker.clone(), planned.cloned().collect());
        }
        for (broker, aim) in &self.aims {
            let earlier = aim.links.iter().filter(|link| kept.contains_key(&link.class));
            aims.entry(broker.clone()).or_default().extend(earlier.cloned());
        }
        self.commitments.behind = !kept.is_empty();
        let aims = aims.into_iter().map(|(broker, mut links)| {
            links.sort_by(|one, other| one.identity().cmp(&other.identity()));
            let strands = Arc::new(strand::strands(links.iter().map(Arc::as_ref)));
            (broker, Aim { links, strands })
        });
        self.aims = aims.collect();
        for site in self.sites.values_mut() {
            site.touched = true;
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
