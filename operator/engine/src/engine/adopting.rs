//! Who stands where the holder of a link stood, and is to get what still waits for that link.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skein_api::name::{BrokerName, ClassName};

use super::Engine;
use crate::event::Moment;

/// How long clients that are led elsewhere are given to come there: those that have no session get only what comes later. The
/// others wait as long, and what comes meanwhile comes to them twice.
const COMING: Duration = Duration::from_millis(200);

/// Brokers whose clients were led elsewhere just now, and until when they are given time to come there.
#[derive(Debug, Default)]
pub(super) struct Arrivals(BTreeMap<BrokerName, Moment>);

impl Arrivals {
    pub(super) fn begin(&mut self, home: &BrokerName, now: Moment) {
        self.0.insert(home.clone(), now.saturating_add(COMING));
    }

    /// When the next ones have had their time.
    pub(super) fn next(&self) -> Option<Moment> {
        self.0.values().min().copied()
    }

    /// True if somebody has had it by now.
    pub(super) fn pass(&mut self, now: Moment) -> bool {
        let before = self.0.len();
        self.0.retain(|_, until| *until > now);
        self.0.len() < before
    }
}

impl Engine {
    /// Who is to get what waits for a link of this broker. Nobody, as long as somebody who needs it cannot get it yet.
    pub(super) fn stand_ins(&self, holder: &BrokerName, class: &ClassName) -> BTreeSet<BrokerName> {
        if !self.is_out(holder) {
            return BTreeSet::from([holder.clone()]);
        }
        if self.has_gaps(class) || !self.is_settled() {
            // Nothing has another way, or not yet: what its session goes on collecting is nowhere else.
            return BTreeSet::new();
        }
        let mut stand_ins = BTreeSet::new();
        if self.has_consumers(holder, class) {
            let substitute = self.failovers.served_by().get(holder);
            // Once its clients are there, as far as they come, and their sessions collect.
            let are_there = !self.arrivals.0.contains_key(holder);
            let serves =
                |at: &&BrokerName| are_there && self.addresses.get(holder) == Some(*at) && self.gets(at);
            let Some(substitute) = substitute.filter(serves) else {
                return stand_ins;
            };
            stand_ins.insert(substitute.clone());
        }
        // Who had it from the holder has another way by now, which did not lead past what waits. The substitute may lead it
        // there, too: better twice than never.
        let behind = self
            .sites
            .iter()
            .filter(|(broker, site)| *broker != holder && site.ledger.awaits(holder, class));
        let behind = behind.map(|(broker, _)| broker);
        stand_ins.extend(behind.filter(|broker| self.gets(broker)).cloned());
        stand_ins
    }

    /// It is well, and what is published there gets to its clients.
    fn gets(&self, broker: &BrokerName) -> bool {
        !self.is_out(broker) && self.is_there_to_ask(broker)
    }

    /// It counts as out, or is none.
    pub(super) fn is_out(&self, broker: &BrokerName) -> bool {
        self.sites.get(broker).is_none_or(|site| site.health.is_out())
    }

    /// Some flow of this class has no way as things are.
    fn has_gaps(&self, class: &ClassName) -> bool {
        let class = self.plan.classes.get(class);
        class.is_some_and(|class| class.paths.iter().any(|path| path.brokers.is_empty()))
    }

    /// Clients of this broker subscribe something of this class.
    fn has_consumers(&self, broker: &BrokerName, class: &ClassName) -> bool {
        let Some(fleet) = &self.fleet else { return false };
        let mut topics = fleet.topics.iter();
        topics.any(|(name, topic)| self.classes.get(name) == Some(class) && topic.consumers.contains(broker))
    }
}
