//! What each event says of a broker, and what it makes stale.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skein_api::fleet::{Broker, Fleet};
use skein_api::name::{BrokerName, TopicName};
use skein_filters::TopicFilter;
use skein_mosquitto::config::{parse, render};

use super::Engine;
use super::draining::{Drain, Stage};
use crate::collisions::evidence;
use crate::directive::{Directive, Reason};
use crate::event::{Moment, Process, Report, Restored};

impl Engine {
    pub(super) fn take_fleet(&mut self, fleet: Arc<Fleet>, now: Moment) {
        let before = self.fleet.clone();
        for name in fleet.brokers.keys() {
            let again = before
                .as_ref()
                .is_some_and(|before| !before.brokers.contains_key(name));
            let site = self.site(name);
            if again {
                site.health.begin_again();
            }
            self.retired.remove(name);
            self.leaving.remove(name);
        }
        for (name, site) in &self.sites {
            let gone = !fleet.brokers.contains_key(name) && !site.ledger.is_empty();
            if gone && !self.retired.contains_key(name) && !self.leaving.contains_key(name) {
                let until = now.saturating_add(self.settings.barrier);
                self.leaving.insert(name.clone(), until);
            }
        }
        let pulse = fleet
            .brokers
            .values()
            .map(|broker| broker.heartbeat.interval)
            .min();
        self.vantage.watch(pulse);
        self.touch_declared(before.as_deref(), &fleet);
        self.fleet = Some(fleet);
        self.colliding.note_declared();
        self.stale_plan = true;
        let names: Vec<BrokerName> = self.sites.keys().cloned().collect();
        for name in names {
            self.judge(&name, now);
        }
    }

    /// Has the configurations looked at that what is declared of brokers goes into.
    fn touch_declared(&mut self, before: Option<&Fleet>, fleet: &Fleet) {
        let before = before.map(|before| &before.brokers);
        let reached = |broker: &Broker| (broker.is_controlled(), broker.external().cloned());
        let found = |brokers: &BTreeMap<BrokerName, Broker>| {
            let each = brokers
                .iter()
                .map(|(name, broker)| (name.clone(), reached(broker)));
            each.collect::<Vec<_>>()
        };
        if before.map(found) != Some(found(&fleet.brokers)) {
            return self.touch_all();
        }
        for (name, broker) in &fleet.brokers {
            let same = before.and_then(|before| before.get(name)) == Some(broker);
            self.site(name).touched |= !same;
        }
    }

    pub(super) fn restore(&mut self, restored: Restored) {
        if !restored.configs.is_empty() {
            self.fences.inherit();
        }
        for (broker, configs) in restored.configs {
            let configs = configs.into_iter().map(|kept| {
                let config = kept.text.and_then(|text| parse(&text).ok());
                (kept.epoch, kept.links, config)
            });
            let site = self.site(&broker);
            site.restored = true;
            site.health.ran_before();
            site.ledger.restore(configs.collect());
        }
        for open in &restored.sessions {
            let filters = open
                .filters
                .iter()
                .filter_map(|filter| TopicFilter::parse(filter).ok());
            let filters: Vec<TopicFilter> = filters.collect();
            let ledger = &mut self.site(&open.broker).ledger;
            if open.filters.is_empty() {
                ledger.leave(&open.client_id);
            } else {
                ledger.open(&open.client_id, filters.iter());
            }
        }
        self.recorded = restored.sessions;
        self.addresses = restored.addresses;
        for migration in restored
            .migrations
            .iter()
            .filter(|migration| migration.phase.is_active())
        {
            if migration.reason == Reason::Drain {
                // It is well, as far as is known.
                let stage = if migration.phase.has_moved() {
                    Stage::Out
                } else {
                    Stage::Waiting
                };
                let drain = Drain {
                    to: None,
                    abandon: false,
                    stage,
                };
                self.drains.insert(migration.broker.clone(), drain);
                continue;
            }
            self.site(&migration.broker).health.was_down(evidence(
                &migration.evidence,
                &migration.broker,
                None,
            ));
        }
        self.failovers.restore(restored.migrations);
        self.classes = restored.classes;
        self.stale_plan = true;
    }

    pub(super) fn take_answer(&mut self, broker: &BrokerName, round_trip: Duration, now: Moment) {
        let site = self.site(broker);
        let before = site.health.phase();
        site.health.on_answer(now, round_trip);
        self.after_health(broker, before);
        if self.vantage.set_isolated(false) {
            self.discount_others(broker, now);
        }
        self.vantage.contact(broker, now);
        self.judge(broker, now);
        if !self.awaiting.is_empty() {
            for name in self.awaiting.clone() {
                self.judge(&name, now);
            }
        }
    }

    pub(super) fn take_miss(&mut self, broker: &BrokerName, refused: bool, now: Moment) {
        let Some(rules) = self.rules(broker) else { return };
        let site = self.site(broker);
        let before = site.health.phase();
        site.health.on_miss(now, refused, &rules);
        self.after_health(broker, before);
        if refused {
            self.vantage.contact(broker, now);
        }
        let nobody = self.nobody_is_reached();
        if self.vantage.set_isolated(nobody) {
            self.discount_others(broker, now);
        }
        self.judge(broker, now);
    }

    /// A message came through that was sent then: the brokers between its ends have passed it on, though one of them may not
    /// answer us.
    pub(super) fn take_passage(&mut self, flow: &(TopicName, BrokerName, BrokerName), sent: Moment) {
        let (topic, producer, consumer) = flow;
        // Nobody is in doubt, which is nearly always so and costs no search.
        if !self.sites.values().any(|site| site.health.is_silent()) || !self.goes_by_the_plan() {
            return;
        }
        let plan = Arc::clone(&self.plan);
        let class = self.classes.get(topic).and_then(|class| plan.classes.get(class));
        let path = class.and_then(|class| {
            let mut paths = class.paths.iter();
            paths.find(|path| (&path.topic, &path.producer, &path.consumer) == (topic, producer, consumer))
        });
        let Some([_, between @ .., _]) = path.map(|path| &*path.brokers) else {
            return;
        };
        for broker in between {
            self.site(broker).health.on_passage(sent);
            self.awaiting.remove(broker);
        }
    }

    /// Every broker is known to run the links that the plan says, and no others: messages can have no other way than the
    /// plan's.
    fn goes_by_the_plan(&self) -> bool {
        let Some(fleet) = &self.fleet else { return false };
        let mut controlled = fleet.brokers.iter().filter(|(_, it)| it.is_controlled());
        controlled.all(|(name, _)| {
            let planned = self.desired.get(name).map_or(&[][..], |links| links);
            let site = self.sites.get(name).filter(|site| site.ledger.is_confirmed());
            site.and_then(|site| site.ledger.newest()).is_some_and(|given| {
                let mut both = given.links.iter().zip(planned);
                given.links.len() == planned.len() && both.all(|(given, planned)| **given == **planned)
            })
        })
    }

    pub(super) fn take_report(
        &mut self,
        broker: &BrokerName,
        report: &Report,
        now: Moment,
        directives: &mut Vec<Directive>,
    ) {
        let declared = self
            .fleet
            .as_ref()
            .is_none_or(|fleet| fleet.brokers.contains_key(broker));
        let site = self.site(broker);
        let before = site.health.phase();
        let was_lost = site.health.supervisor_lost();
        let was_hung = matches!(site.health.process(), Some(Process::Hung { .. }));
        let pid_before = pid(site.health.process());
        site.health.on_process(now, report.process);
        let restarted =
            pid(Some(report.process)).is_some_and(|now| pid_before.is_some_and(|before| before != now));
        let mut other_version = false;
        let mut changed = site.ledger.report(report) || was_lost;
        let gone = !declared && report.process == Process::Stopped;
        if gone {
            site.ledger.clear();
            changed = true;
        }
        if report.version.is_some() && site.version != report.version {
            site.version.clone_from(&report.version);
            changed = true;
            other_version = true;
        }
        changed |= was_hung != matches!(report.process, Process::Hung { .. });
        if was_lost && !site.ledger.is_confirmed() {
            // What was given while it was away may never have reached it.
            let again = site.ledger.newest().and_then(|given| {
                let config = render(given.config.as_ref()?);
                let (epoch, links) = (given.epoch, given.links.clone());
                Some(Directive::GiveConfig {
                    broker: broker.clone(),
                    epoch,
                    config,
                    links,
                })
            });
            directives.extend(again.filter(|_| declared));
        }
        self.proof.surroundings += u64::from(other_version);
        if gone {
            self.retired.remove(broker);
        }
        match pid(Some(report.process)).filter(|_| declared) {
            Some(pid) => self.stale_rollout |= self.audits.begin(broker, pid, now),
            None => self.audits.end(broker),
        }
        self.stale_rollout |= restarted && self.switching.forget_seeds_at(broker);
        if changed && let Some(site) = self.sites.get_mut(broker) {
            site.touched = true;
        }
        self.stale_rollout |= changed;
        self.after_health(broker, before);
        self.judge(broker, now);
    }

    pub(super) fn take_loss(&mut self, broker: &BrokerName, now: Moment) {
        let declared = self
            .fleet
            .as_ref()
            .is_none_or(|fleet| fleet.brokers.contains_key(broker));
        let site = self.site(broker);
        let before = site.health.phase();
        site.health.on_supervisor_lost();
        if !declared {
            site.ledger.clear();
        }
        if !declared {
            self.retired.remove(broker);
        }
        self.stale_rollout = true;
        self.after_health(broker, before);
        self.judge(broker, now);
    }
}

fn pid(process: Option<Process>) -> Option<u32> {
    match process {
        Some(Process::Running { pid } | Process::Hung { pid }) => Some(pid),
        _ => None,
    }
}
