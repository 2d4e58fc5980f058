//! Which brokers' clients collide with those of their substitutes, kept up to date.
//!
//! Subscriptions are indexed when they change, and two brokers compared when one of them has changed, when another is to be
//! the substitute, or when something else is declared; never at a heartbeat.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::{Broker, FailoverPolicy, Fleet};
use skein_api::name::BrokerName;

use super::Engine;
use crate::collisions::{Collisions, Subscriptions};

/// What is known of collisions.
#[derive(Debug, Default)]
pub(super) struct Colliding {
    /// Of the brokers' own clients, wherever these are served now.
    subscriptions: BTreeMap<BrokerName, Subscriptions>,
    /// By home: with whose clients its own were compared, and what was found.
    compared: BTreeMap<BrokerName, (BrokerName, Option<Arc<Collisions>>)>,
    /// What these keep has changed.
    changed: BTreeSet<BrokerName>,
    stale: bool,
}

impl Colliding {
    /// A broker keeps other subscriptions than before.
    pub(super) fn note_sessions(&mut self, broker: &BrokerName) {
        self.changed.insert(broker.clone());
        self.stale = true;
    }

    /// Something else is declared.
    pub(super) fn note_declared(&mut self) {
        self.compared.clear();
        self.stale = true;
    }

    /// It is known again who would stand in for whom.
    pub(super) fn note_planned(&mut self) {
        self.stale = true;
    }

    /// What collides of the clients of a broker.
    pub(super) fn of(&self, broker: &BrokerName) -> Option<&Collisions> {
        self.compared.get(broker)?.1.as_deref()
    }

    /// By broker.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&BrokerName, &Collisions)> {
        let compared = self.compared.iter();
        compared.filter_map(|(broker, (_, found))| Some((broker, found.as_deref()?)))
    }

    fn compare(&self, fleet: &Fleet, home: &BrokerName, with: &BrokerName) -> Option<Arc<Collisions>> {
        let own = self.subscriptions.get(home)?;
        let others = self.subscriptions.get(with)?;
        Collisions::between(fleet, (home, own), (with, others)).map(Arc::new)
    }
}

impl Engine {
    /// What collides if the clients of the one go to the other.
    pub(super) fn would_collide(
        &self,
        fleet: &Fleet,
        home: &BrokerName,
        to: &BrokerName,
    ) -> Option<Arc<Collisions>> {
        match self.colliding.compared.get(home) {
            Some((with, found)) if with == to => found.clone(),
            _ => self.colliding.compare(fleet, home, to),
        }
    }

    /// Compares what is to be compared again.
    pub(super) fn mind_collisions(&mut self) {
        if !std::mem::take(&mut self.colliding.stale) {
            return;
        }
        let Some(fleet) = self.fleet.clone() else { return };
        let changed = std::mem::take(&mut self.colliding.changed);
        for broker in &changed {
            let subscriptions = self.own_subscriptions(broker);
            self.colliding.subscriptions.insert(broker.clone(), subscriptions);
        }
        let declared = |broker: &BrokerName| fleet.brokers.contains_key(broker);
        self.colliding.subscriptions.retain(|broker, _| declared(broker));
        let mut before = std::mem::take(&mut self.colliding.compared);
        let out = self.out(&fleet);
        for (home, broker) in &fleet.brokers {
            let Some(with) = self.planned_substitute(home, broker, &out) else {
                continue;
            };
            let known = before.remove(home).filter(|(known, _)| *known == with);
            let now = match &known {
                Some((_, found)) if !changed.contains(home) && !changed.contains(&with) => found.clone(),
                _ => self.colliding.compare(&fleet, home, &with),
            };
            if self.failovers.is_pending(home) && known.is_none_or(|(_, found)| found != now) {
                // Its clients may wait for another reason from now on, or for none.
                self.stale_plan = true;
            }
            self.colliding.compared.insert(home.clone(), (with, now));
        }
    }

    /// What clients subscribe whose home a broker is.
    fn own_subscriptions(&self, broker: &BrokerName) -> Subscriptions {
        let own = self.lodged(broker, broker);
        let kept = self.handovers.kept(broker);
        let sessions = kept.into_iter().flat_map(|kept| &kept.by_client);
        Subscriptions::of(sessions.filter(|(client, _)| own.contains(*client)))
    }

    /// Who serves the clients of a broker or is about to; else who would.
    fn planned_substitute(
        &self,
        home: &BrokerName,
        broker: &Broker,
        out: &BTreeSet<BrokerName>,
    ) -> Option<BrokerName> {
        if let Some(to) = self.failovers.destination(home) {
            return Some(to.clone());
        }
        if !broker.is_controlled() || broker.failover.policy == FailoverPolicy::Disabled {
            return None;
        }
        let fleet = self.fleet.as_ref()?;
        let allowed = broker.failover.substitutes.as_ref();
        let candidates = self
            .substitutes
            .get(home)
            .into_iter()
            .flat_map(|it| &it.candidates);
        let mut candidates = candidates.map(|candidate| &candidate.broker).filter(|candidate| {
            let controlled = fleet.brokers.get(*candidate).is_some_and(Broker::is_controlled);
            let free = !out.contains(*candidate) && !self.drains.contains_key(*candidate);
            controlled && free && allowed.is_none_or(|allowed| allowed.contains(*candidate))
        });
        candidates.next().cloned()
    }
}
