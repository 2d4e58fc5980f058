//! Brokers whose clients are about to be led elsewhere, once they have got what waits for them where they are.

use std::collections::{BTreeMap, BTreeSet};

use skein_api::name::BrokerName;

use super::Engine;
use crate::directive::Directive;
use crate::event::Moment;
use crate::sessions::ClientSessions;
use crate::watch::Watch;

/// Who is waited for.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// By whose clients they are.
    by_home: BTreeMap<BrokerName, Watch>,
    /// Those for whose clients a person waits no more, until they have gone.
    given_up: BTreeSet<BrokerName>,
    /// Numbers the readings that are asked for.
    pub(super) serial: u64,
    /// Who waits for what may have changed.
    pub(super) stale: bool,
}

impl Watches {
    /// A number that no reading has had.
    pub(super) fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// When one is to look.
    pub(super) fn next(&self) -> Option<Moment> {
        self.by_home.values().filter_map(Watch::next).min()
    }

    /// It is known what the clients of a broker still have to get.
    pub(super) fn has_looked(&self, home: &BrokerName) -> bool {
        self.by_home.get(home).is_some_and(Watch::has_looked)
    }

    /// What a broker keeps; gives those whose clients have got everything by that.
    pub(super) fn hear(
        &mut self,
        broker: &BrokerName,
        serial: Option<u64>,
        sessions: Option<&ClientSessions>,
        now: Moment,
    ) -> Vec<BrokerName> {
        let mut over = Vec::new();
        for (home, watch) in &mut self.by_home {
            if watch.hear(broker, serial, sessions, now) {
                self.stale = true;
                over.extend(watch.over.then(|| home.clone()));
            }
        }
        over
    }

    /// For whom messages wait, and how many.
    pub(super) fn waiting(&self, home: &BrokerName) -> BTreeMap<String, u64> {
        let watch = self.by_home.get(home);
        watch.map(|watch| watch.waiting.clone()).unwrap_or_default()
    }

    /// Who waits now is waited for no more.
    pub(super) fn give_up(&mut self, home: &BrokerName) {
        if let Some(watch) = self.by_home.get_mut(home).filter(|watch| watch.has_looked()) {
            watch.over = true;
            self.given_up.insert(home.clone());
        }
    }

    /// Nobody waits for the clients of a broker: they may go without what they did not get.
    pub(super) fn are_given_up(&self, home: &BrokerName) -> bool {
        self.given_up.contains(home)
    }

    /// They have gone.
    pub(super) fn forget(&mut self, home: &BrokerName) {
        self.given_up.remove(home);
    }

    /// It is not waited for any more.
    pub(super) fn stop(&mut self, home: &BrokerName) {
        self.stale |= self.by_home.remove(home).is_some();
    }
}

impl Engine {
    /// Nobody misses anything if the clients of a broker leave the one where they are now. Looks, if that is not known yet.
    pub(super) fn may_be_left(&mut self, home: &BrokerName, at: &BrokerName, now: Moment) -> bool {
        let leads = self.addresses.get(home).unwrap_or(home);
        if leads != at || !self.is_there_to_ask(at) {
            return true;
        }
        if let Some(watch) = self.watches.by_home.get(home).filter(|watch| watch.at == *at) {
            return watch.over;
        }
        let watch = Watch::new(at.clone(), self.lodged(home, at), now);
        let over = watch.over;
        self.watches.by_home.insert(home.clone(), watch);
        self.watches.stale = true;
        over
    }

    /// Looks where it is time to, and notes who is waited for.
    pub(super) fn mind_watches(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        let Watches { by_home, serial, .. } = &mut self.watches;
        for watch in by_home.values_mut() {
            watch.look(serial, now, directives);
        }
        if std::mem::take(&mut self.watches.stale) {
            directives.extend(self.failovers.note_waiting(|home| self.watches.waiting(home)));
        }
    }
}
