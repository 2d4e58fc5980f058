//! What does not work and why, in sentences that name the object to fix.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skein_api::fleet::{CollisionPolicy, Failback, Failover, FailoverPolicy, Fleet};
use skein_api::name::BrokerName;

use super::Engine;
use crate::collisions;
use crate::directive::{BrokerPhase, MigrationPhase};
use crate::event::Process;
use crate::health::spoken;
use crate::site::Site;

/// How long a stall of the controller is worth mentioning.
const STALL_MEMORY: Duration = Duration::from_mins(1);

impl Engine {
    pub(super) fn problems(&self) -> Vec<String> {
        let Some(fleet) = &self.fleet else {
            return Vec::new();
        };
        let mut problems = Vec::new();
        if self.vantage.is_isolated() {
            problems.push(
                "controller: no broker answers and none refuses, so it is the controller that is cut off; nothing is \
                 moved until one answers"
                    .to_owned(),
            );
        }
        if let Some(late) = self.vantage.recent_stall(STALL_MEMORY) {
            problems.push(format!(
                "controller: it was stalled for {}, heartbeats missed meanwhile do not count; give it more \
                 processor time if this comes again",
                spoken(late)
            ));
        }
        if self.all_are_down(fleet) {
            problems.push("fleet: every broker is down, so there is nowhere to move anything to".to_owned());
        }
        for fault in &self.faults {
            problems.push(format!(
                "plan: not given to the brokers, as its proof failed: {fault}; please report this"
            ));
        }
        for (name, site) in &self.sites {
            if fleet.brokers.contains_key(name) {
                self.of_broker(fleet, name, site, &mut problems);
            } else if self.retired.contains_key(name) && !site.ledger.is_empty() {
                problems.push(format!(
                    "Broker/{name}: no longer declared, and not yet seen stopped"
                ));
            }
        }
        problems.extend(self.uncleared());
        problems.extend(self.values.unforgotten());
        problems.extend(self.switching.unseeded());
        self.withheld_links(&mut problems);
        self.failed_migrations(fleet, &mut problems);
        problems.extend(self.collisions(fleet));
        problems
    }

    fn of_broker(&self, fleet: &Fleet, name: &BrokerName, site: &Site, problems: &mut Vec<String>) {
        let phase = site.health.phase();
        let controlled = fleet
            .brokers
            .get(name)
            .is_some_and(skein_api::fleet::Broker::is_controlled);
        if phase == BrokerPhase::Down {
            let evidence = site.health.evidence().join(", ");
            problems.push(format!("Broker/{name}: down: {evidence}"));
        }
        if controlled && site.health.supervisor_lost() {
            problems.push(format!(
                "Broker/{name}: its supervisor is gone, so nobody restarts it or changes its configuration; start the \
                 supervisor again"
            ));
        }
        // Of one that is down there is better evidence, and one that answers again has overtaken that report.
        if let (Some(Process::Hung { .. }), false) = (site.health.process(), site.health.is_out()) {
            problems.push(format!("Broker/{name}: its process is stopped in its tracks"));
        }
        if controlled && site.placement.is_none() {
            problems.push(format!(
                "Broker/{name}: it is not known yet where it runs, so it has no configuration"
            ));
        }
        if let Some(epoch) = site.ledger.runs_unknown() {
            problems.push(format!(
                "Broker/{name}: it runs configuration {epoch}, which is not known here, so no link is added anywhere \
                 until it has loaded a known one"
            ));
        }
        if let Some((given, reason)) = site.ledger.refusal() {
            let epoch = given.epoch;
            problems.push(format!(
                "Broker/{name}: it refused configuration {epoch}: {reason}; it is not given that again until something \
                 in it changes"
            ));
        }
        // They name the broker themselves.
        problems.extend(site.complaints.iter().cloned());
        if phase == BrokerPhase::Returning {
            problems.extend(self.why_not_back(fleet, name, site, controlled));
        }
    }

    fn why_not_back(
        &self,
        fleet: &Fleet,
        name: &BrokerName,
        site: &Site,
        controlled: bool,
    ) -> Option<String> {
        let failback = fleet.brokers.get(name)?.failover.failback;
        let substitute = self.failovers.served_by().get(name);
        if let (Failback::Manual, Some(substitute), false) =
            (failback, substitute, self.failovers.may_fail_back(fleet, name))
        {
            return Some(format!(
                "Broker/{name}: it answers again, and {substitute} goes on serving its clients, as its \
                 spec.failover.failback is Manual; approve its migration to take it back"
            ));
        }
        if controlled && !site.health.supervisor_lost() && !site.ledger.is_confirmed() {
            return Some(format!(
                "Broker/{name}: it answers again, and is taken back once its supervisor has loaded its configuration"
            ));
        }
        None
    }

    /// One sentence for each pair of brokers and obstacle, however many lines that concerns.
    fn withheld_links(&self, problems: &mut Vec<String>) {
        let mut blocked: BTreeMap<(&BrokerName, &BrokerName, &BrokerName), BTreeSet<&str>> = BTreeMap::new();
        for withheld in &self.withheld {
            if let (Some(obstacle), false) = (&withheld.blocked_by, withheld.strand.control) {
                let key = (&withheld.strand.downstream, &withheld.strand.upstream, obstacle);
                blocked
                    .entry(key)
                    .or_default()
                    .insert(withheld.strand.filter.as_str());
            }
        }
        for ((downstream, upstream, obstacle), filters) in blocked {
            let filters = filters.into_iter().collect::<Vec<_>>().join(", ");
            problems.push(format!(
                "Broker/{obstacle}: it cannot be reached and may come back with its old configuration, so the link \
                 {downstream} <- {upstream} ({filters}) has to wait; bring {obstacle} or its supervisor back, or \
                 remove it from the fleet"
            ));
        }
    }

    /// Brokers whose failover would wait for approval, as clients would get each other's messages.
    fn collisions(&self, fleet: &Fleet) -> Vec<String> {
        let would_wait = |broker: &BrokerName| {
            let failover = fleet.brokers.get(broker).map(|declared| &declared.failover);
            let served = self.failovers.served_by().contains_key(broker) || self.failovers.is_pending(broker);
            let automatic = |failover: &Failover| {
                failover.policy == FailoverPolicy::Automatic && failover.collisions == CollisionPolicy::Manual
            };
            failover.is_some_and(automatic) && !served
        };
        let found = self.colliding.iter().filter(|(broker, _)| would_wait(broker));
        found
            .map(|(broker, found)| {
                format!(
                    "Broker/{broker}: were it down, its clients would wait for approval before {to} serves them, as {says}; \
                     declare those topics for both, let clients subscribe other filters, or take it as it is with \
                     spec.failover.collisions: Accept",
                    to = found.with,
                    says = found.says(broker)
                )
            })
            .collect()
    }

    fn failed_migrations(&self, fleet: &Fleet, problems: &mut Vec<String>) {
        for migration in self.failovers.migrations() {
            let broker = &migration.broker;
            match (migration.phase, &migration.to) {
                (MigrationPhase::Pending, Some(to)) if !is_manual(fleet, broker) => problems.push(format!(
                    "Migration/{}: {to} would serve the clients of {broker}; it waits for approval, as {}; approve it \
                     (skein approve {broker}), or set spec.failover.collisions of Broker/{broker} to Accept",
                    migration.name,
                    collisions::said(&migration.evidence)
                )),
                (MigrationPhase::Pending, Some(to)) => problems.push(format!(
                    "Migration/{}: {to} would serve the clients of {broker}; it waits for approval, as \
                     spec.failover.policy of Broker/{broker} is Manual",
                    migration.name
                )),
                (MigrationPhase::Pending, None) => problems.push(format!(
                    "Migration/{}: no broker that is well can serve the clients of {broker}",
                    migration.name
                )),
                (MigrationPhase::Failed, _) => problems.push(format!(
                    "Migration/{}: no broker that is well can serve the clients of {broker}; bring it back, or \
                     allow another in spec.failover.substitutes of Broker/{broker}",
                    migration.name
                )),
                _ => {}
            }
        }
    }
}

fn is_manual(fleet: &Fleet, broker: &BrokerName) -> bool {
    let declared = fleet.brokers.get(broker);
    declared.is_some_and(|declared| declared.failover.policy == FailoverPolicy::Manual)
}
