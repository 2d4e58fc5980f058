//! Brokers that a person wants without clients.
//!
//! First their clients get what waits for them where they are. Then such a broker counts as out, as one that is down does,
//! and a substitute serves its clients: but it answers, so they move there with all that is theirs. When it is to have them
//! back, the same happens the other way.

use std::collections::BTreeMap;

use skein_api::name::BrokerName;

use super::Engine;
use crate::event::Moment;

/// What is wished of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    /// Where its clients are to go; none: to its substitute.
    pub(crate) to: Option<BrokerName>,
    /// What they do not get is given up.
    pub(crate) abandon: bool,
    pub(crate) stage: Stage,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its clients are still to get what waits for them.
    Waiting,
    /// It is out: others serve its clients, or are about to.
    Out,
    /// It is to have them back, once they have got what waits for them.
    GoingBack,
}

/// All drains, by broker.
pub(crate) type Drains = BTreeMap<BrokerName, Drain>;

impl Drain {
    /// Nothing is planned through its broker.
    pub(crate) fn is_out(&self) -> bool {
        self.stage != Stage::Waiting
    }

    fn at(&self, stage: Stage) -> Self {
        Self {
            stage,
            ..self.clone()
        }
    }
}

impl Engine {
    pub(super) fn take_drain(&mut self, broker: &BrokerName, to: Option<BrokerName>, abandon: bool) {
        let known = self.drains.get(broker);
        // One that has been led elsewhere may be led on, and one that was to come back stays.
        let stage = if known.is_some_and(Drain::is_out) {
            Stage::Out
        } else {
            Stage::Waiting
        };
        self.set_drain(broker, Some(Drain { to, abandon, stage }));
    }

    pub(super) fn take_undrain(&mut self, broker: &BrokerName) {
        if let Some(drain) = self.drains.get(broker) {
            let back = drain.is_out().then(|| drain.at(Stage::GoingBack));
            self.set_drain(broker, back);
        }
    }

    /// Takes every drain as far as it goes now.
    pub(super) fn mind_drains(&mut self, now: Moment) {
        if self.drains.is_empty() {
            return;
        }
        let Some(fleet) = &self.fleet else { return };
        let declared = |broker: &BrokerName| fleet.brokers.contains_key(broker);
        self.drains.retain(|broker, _| declared(broker));
        for (broker, drain) in self.drains.clone() {
            match drain.stage {
                Stage::Waiting if self.failovers.served_by().contains_key(&broker) => {
                    // It has died meanwhile, and they are gone.
                    self.set_drain(&broker, Some(drain.at(Stage::Out)));
                }
                Stage::Waiting => {
                    let found = self.failovers.destination(&broker).is_some();
                    let may_go = found && self.may_be_left(&broker, &broker, now);
                    if may_go || found && drain.abandon && self.watches.has_looked(&broker) {
                        self.failovers.give_up(&broker, self.watches.waiting(&broker));
                        self.set_drain(&broker, Some(drain.at(Stage::Out)));
                    }
                }
                Stage::GoingBack => {
                    let at = self.failovers.served_by().get(&broker).cloned();
                    if at.is_none_or(|at| self.may_be_left(&broker, &at, now)) {
                        self.failovers.give_up(&broker, self.watches.waiting(&broker));
                        self.set_drain(&broker, None);
                    }
                }
                Stage::Out => {}
            }
        }
    }

    /// What is wished of it now is another thing to plan, and to wait for.
    fn set_drain(&mut self, broker: &BrokerName, drain: Option<Drain>) {
        match drain {
            Some(drain) => self.drains.insert(broker.clone(), drain),
            None => self.drains.remove(broker),
        };
        self.watches.stop(broker);
        self.stale_plan = true;
    }
}
