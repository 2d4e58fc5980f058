//! Wishes of people, told to the engine: at the start, and whenever they change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use skein_adapter::Ground as _;
use skein_api::fleet::{Failback, Fleet};
use skein_api::name::BrokerName;
use skein_api::resources::MigrationSpec;
use skein_engine::directive::{BrokerStatus, Migration, MigrationPhase, Reason};
use skein_engine::event::Event;

use super::runner::Runner;
use crate::happening::UpEvent;
use crate::status::FleetStatus;
use crate::wishes::{self, Approval, Drain, Found, Step, Wanted, WishDirectory};

/// The wishes that are in force.
pub(super) struct Heeded {
    directory: WishDirectory,
    /// What the manifests say, by name.
    pub(super) declared: BTreeMap<String, MigrationSpec>,
    /// What the engine was told to drain; none: an earlier life told it, and what exactly is not known.
    told: BTreeMap<BrokerName, Option<Drain>>,
    /// What commands approved.
    approvals: BTreeMap<BrokerName, Approval>,
    /// Steps that the engine was told are approved.
    approved: BTreeSet<(String, Step)>,
    /// Keys of troubles that wishes made.
    troubled: BTreeSet<String>,
}

impl Heeded {
    pub(super) fn new(directory: WishDirectory) -> Self {
        Self {
            directory,
            declared: BTreeMap::new(),
            told: BTreeMap::new(),
            approvals: BTreeMap::new(),
            approved: BTreeSet::new(),
            troubled: BTreeSet::new(),
        }
    }

    /// Takes up what an earlier life told the engine, so that what was taken back meanwhile is noticed.
    fn remember(&mut self, migrations: Vec<Migration>) {
        let under_way = migrations.into_iter().filter(|migration| {
            migration.reason == Reason::Drain
                && !migration.phase.is_over()
                && migration.phase != MigrationPhase::FailingBack
        });
        self.told
            .extend(under_way.map(|migration| (migration.broker, None)));
    }

    /// What the engine is to be told now that these are to be drained, and no others.
    fn news(&mut self, drains: BTreeMap<BrokerName, Wanted>) -> Vec<Event> {
        let ended = |broker: &&BrokerName| !drains.contains_key(*broker);
        let ended: Vec<BrokerName> = self.told.keys().filter(ended).cloned().collect();
        let mut news = Vec::new();
        for broker in ended {
            self.told.remove(&broker);
            news.push(Event::Undrain { broker });
        }
        for (broker, wanted) in drains {
            let Wanted::Drain(drain) = wanted else { continue };
            let same = |told: &Drain| told.to == drain.to && told.abandon == drain.abandon;
            let known = self.told.get(&broker).and_then(Option::as_ref).is_some_and(same);
            self.told.insert(broker.clone(), Some(drain.clone()));
            if !known {
                news.push(Event::Drain {
                    broker,
                    to: drain.to,
                    abandon: drain.abandon,
                });
            }
        }
        news
    }

    /// What the engine is to be told of brokers at which something waits that is approved; and the brokers with an approval
    /// whose step is behind.
    fn approvals_due(&mut self, status: &FleetStatus, fleet: &Fleet) -> (Vec<Event>, Vec<BrokerName>) {
        let agreed = |broker: &BrokerName| {
            let mut declared = self.declared.values();
            declared.any(|spec| spec.approved && spec.broker == *broker)
        };
        let (mut due, mut behind) = (Vec::new(), Vec::new());
        for BrokerStatus { name, phase, .. } in &status.brokers {
            let approval = self.approvals.get(name);
            if approval.is_none() && !agreed(name) {
                continue;
            }
            let newest = status.newest_migration(name);
            if approval.is_some_and(|approval| is_behind(approval, newest)) {
                behind.push(name.clone());
            }
            let failback = fleet
                .brokers
                .get(name)
                .map_or(Failback::Automatic, |declared| declared.failover.failback);
            let broker = name.clone();
            if let Some(awaited) = wishes::awaited(*phase, newest, failback)
                && (approval == Some(&awaited) || agreed(name))
                && self.approved.insert((awaited.migration, awaited.step))
            {
                due.push(Event::Approved { broker });
            } else if let Some(blocked) = wishes::blocked(newest)
                && approval == Some(&blocked)
                && self.approved.insert((blocked.migration, blocked.step))
            {
                due.push(Event::Abandoned { broker });
            }
        }
        (due, behind)
    }

    /// The drains that the engine knows of.
    pub(super) fn drains(&self) -> Vec<Drain> {
        self.told.values().flatten().cloned().collect()
    }
}

impl<F: FnMut(UpEvent)> Runner<F> {
    /// Takes up what an earlier life wished, and watches what is wished from now on.
    pub(super) fn remember_drains(&mut self) {
        self.wishes.remember(self.migrations.plain());
        let directory = self.wishes.directory.path();
        self.changes.add(directory, WishDirectory::counts);
    }

    /// Whether a change was one of wishes.
    pub(super) fn is_of_wishes(&self, directory: &Path) -> bool {
        self.wishes.directory.path() == directory
    }

    /// Tells the engine what is wished now, as far as that is news to it.
    pub(super) fn heed_wishes(&mut self) {
        const TROUBLE: &str = "wishes";
        let found = match self.wishes.directory.read() {
            Ok(found) => found,
            Err(error) => {
                // Nobody knows what is wished: nothing is changed.
                self.conductor
                    .troubles
                    .insert(TROUBLE.to_owned(), error.to_string());
                self.gather();
                return;
            }
        };
        self.conductor.troubles.remove(TROUBLE);
        self.heed_drains(&found);
        self.wishes.approvals = found.approvals;
        if let Some(status) = self.status.take() {
            self.approve_what_waits(&status);
            self.status = Some(status);
        }
        self.gather();
    }

    fn heed_drains(&mut self, found: &Found) {
        let weighed = wishes::weigh(found, &self.wishes.declared, &self.conductor.fleet);
        for key in std::mem::take(&mut self.wishes.troubled) {
            self.conductor.troubles.remove(&key);
        }
        for (about, text) in weighed.troubles {
            let key = format!("wishes/{about}");
            self.wishes.troubled.insert(key.clone());
            self.conductor.troubles.insert(key, text);
        }
        for (broker, migration) in weighed.void {
            match self.wishes.directory.undrain(&broker) {
                Ok(_) => (self.tell)(UpEvent::Trouble(format!(
                    "Broker/{broker}: Migration/{migration} in the manifests says from now on whether it is drained; \
                     what `skein drain {broker}` said no longer counts"
                ))),
                Err(error) => {
                    let key = format!("wishes/void/{broker}");
                    self.wishes.troubled.insert(key.clone());
                    self.conductor.troubles.insert(key, error.to_string());
                }
            }
        }
        for event in self.wishes.news(weighed.drains) {
            self.observe(event);
        }
    }

    /// Tells the engine of approvals of what waits for them now, and forgets those whose step is behind.
    pub(super) fn approve_what_waits(&mut self, status: &FleetStatus) {
        let (due, behind) = self.wishes.approvals_due(status, &self.conductor.fleet);
        for event in due {
            self.observe(event);
        }
        for broker in behind {
            self.wishes.approvals.remove(&broker);
            // One that stays does no harm: it is of a step that does not come again.
            let _ = self.wishes.directory.forget_approval(&broker);
        }
    }
}

/// The step that was approved does not come any more.
fn is_behind(approval: &Approval, newest: Option<&Migration>) -> bool {
    use MigrationPhase::{Detected, Failed, FailingBack, Pending};
    newest
        .filter(|newest| newest.name == approval.migration && !newest.phase.is_over())
        .is_none_or(|newest| match approval.step {
            // Approved, and nobody there to take the clients: it may wait again.
            Step::Move => !matches!(newest.phase, Pending | Detected | Failed),
            Step::TakeBack | Step::Abandon => newest.phase == FailingBack,
        })
}

#[cfg(test)]
mod tests;
