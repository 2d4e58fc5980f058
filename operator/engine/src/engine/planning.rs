//! From who is out to the plan: failovers first, as they are part of the view that is planned in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::Fleet;
use skein_api::name::BrokerName;
use skein_mosquitto::link::Link;
use skein_planner::plan::{Plan, View};

use super::{COMPLETION, Engine};
use crate::directive::{BrokerPhase, Directive};
use crate::event::Moment;
use crate::failover::Situation;

impl Engine {
    /// Declared brokers that nothing is planned through.
    pub(super) fn out(&self, fleet: &Fleet) -> BTreeSet<BrokerName> {
        let mut out = self.with_phase(fleet, |phase| {
            matches!(phase, BrokerPhase::Down | BrokerPhase::Returning)
        });
        let drained = self.drains.iter().filter(|(_, drain)| drain.is_out());
        out.extend(drained.map(|(broker, _)| broker.clone()));
        out
    }

    fn with_phase(&self, fleet: &Fleet, wanted: impl Fn(BrokerPhase) -> bool) -> BTreeSet<BrokerName> {
        let is = |name: &&BrokerName| {
            self.sites
                .get(*name)
                .is_some_and(|site| wanted(site.health.phase()))
        };
        fleet.brokers.keys().filter(is).cloned().collect()
    }

    /// Nobody is left to plan with.
    pub(super) fn all_are_down(&self, fleet: &Fleet) -> bool {
        !fleet.brokers.is_empty()
            && self.with_phase(fleet, |phase| phase == BrokerPhase::Down).len() == fleet.brokers.len()
    }

    pub(super) fn replan(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        let Some(fleet) = self.fleet.clone() else { return };
        if self.all_are_down(&fleet) {
            return;
        }
        let out = self.out(&fleet);
        let mut ready = self.with_phase(&fleet, |phase| phase == BrokerPhase::Ready);
        ready.retain(|broker| !self.drains.contains_key(broker));
        let leaving: BTreeSet<BrokerName> = out.iter().chain(self.drains.keys()).cloned().collect();
        let candidates: BTreeMap<_, _> = leaving
            .iter()
            .map(|broker| (broker.clone(), self.candidates(&fleet, broker, &out)))
            .collect();
        let evidence = out
            .iter()
            .filter_map(|broker| Some((broker.clone(), self.sites.get(broker)?.health.evidence().to_vec())))
            .collect();
        let situation = Situation {
            fleet: &fleet,
            out: &out,
            ready: &ready,
            candidates: &candidates,
            evidence: &evidence,
            drains: &self.drains,
            collisions: &|home, to| self.would_collide(&fleet, home, to),
        };
        let mut failovers = self.failovers.clone();
        let records = failovers.assign(&situation);
        let view = View {
            down: out.clone(),
            served_by: failovers.served_by().clone(),
            previous_classes: self.classes.clone(),
        };
        let plan = self.tools.plan(&fleet, &view);
        let desired = by_holder(&self.plan, &self.desired, &plan);
        self.faults = self.prove(&fleet, &view, &plan, &desired);
        if !self.faults.is_empty() {
            return;
        }
        self.failovers = failovers;
        directives.extend(records);
        self.moves = self.moves_to_make(&fleet);
        self.classes = plan.class_names();
        self.plan = plan;
        self.desired = desired;
        self.commitments.stale = true;
        self.stale_rollout = true;
        self.incomplete.get_or_insert(now.saturating_add(COMPLETION));
    }

    /// Client addresses that do not lead to who serves now.
    fn moves_to_make(&self, fleet: &Fleet) -> BTreeMap<BrokerName, BrokerName> {
        let managed = fleet.brokers.iter().filter(|(_, broker)| broker.is_controlled());
        managed
            .filter_map(|(broker, _)| {
                let leads = self.addresses.get(broker).unwrap_or(broker);
                let serves = self.failovers.served_by().get(broker).unwrap_or(broker);
                (leads != serves).then(|| (broker.clone(), serves.clone()))
            })
            .collect()
    }

    /// Who would replace whom from here on: takes longer than the plan, and nobody waits for it.
    pub(super) fn complete_plan(&mut self) {
        let Some(fleet) = self.fleet.clone() else { return };
        let out = self.out(&fleet);
        self.plan = self.tools.report();
        self.substitutes
            .retain(|broker, _| fleet.brokers.contains_key(broker));
        for (broker, substitution) in &self.plan.substitutes {
            if !out.contains(broker) {
                self.substitutes.insert(broker.clone(), Arc::clone(substitution));
            }
        }
    }

    /// Who could stand in for a broker that is out: decided while it was well; if there was no such time, as if it were.
    fn candidates(
        &mut self,
        fleet: &Fleet,
        broker: &BrokerName,
        out: &BTreeSet<BrokerName>,
    ) -> Vec<BrokerName> {
        if !self.substitutes.contains_key(broker) {
            let mut down = out.clone();
            down.remove(broker);
            let mut served_by = self.failovers.served_by().clone();
            served_by.remove(broker);
            let view = View {
                down,
                served_by,
                previous_classes: self.classes.clone(),
            };
            if let Some(found) = self.tools.substitution(fleet, &view, broker) {
                self.substitutes.insert(broker.clone(), found);
            }
        }
        let substitution = self.substitutes.get(broker);
        let candidates = substitution.into_iter().flat_map(|it| &it.candidates);
        candidates.map(|candidate| candidate.broker.clone()).collect()
    }
}

/// The links of a plan by the broker that holds them, sorted: made from those of the plan before, as most stay, and are then the
/// very same.
fn by_holder(
    before: &Plan,
    known: &BTreeMap<BrokerName, Vec<Arc<Link>>>,
    plan: &Plan,
) -> BTreeMap<BrokerName, Vec<Arc<Link>>> {
    let changed = before.changed_classes(plan);
    let links_of = |plan: &'_ Plan| {
        let classes = changed.iter().filter_map(|name| plan.classes.get(name)).cloned();
        classes
            .flat_map(|class| class.links.to_vec())
            .collect::<Vec<Arc<Link>>>()
    };
    let (old, new) = (links_of(before), links_of(plan));
    let stayed: BTreeMap<_, &Arc<Link>> = old.iter().map(|link| (link.identity(), link)).collect();
    let mut touched: BTreeMap<&BrokerName, Vec<&Arc<Link>>> = BTreeMap::new();
    for link in &old {
        touched.entry(&link.downstream).or_default();
    }
    for link in &new {
        let same = stayed.get(&link.identity()).filter(|known| **known == link);
        touched
            .entry(&link.downstream)
            .or_default()
            .push(same.unwrap_or(&link));
    }
    let mut desired = known.clone();
    for (broker, new) in touched {
        let links = desired.entry(broker.clone()).or_default();
        links.retain(|link| !changed.contains(&link.class));
        links.extend(new.into_iter().cloned());
        links.sort_by(|one, other| one.identity().cmp(&other.identity()));
        if links.is_empty() {
            desired.remove(broker);
        }
    }
    desired
}
