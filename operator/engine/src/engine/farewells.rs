//! Sessions that clients left behind: ended once nobody comes for them any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skein_api::name::BrokerName;

use super::Engine;
use crate::directive::Directive;
use crate::event::Moment;

/// How long until one that could not be ended is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// Where a session is, and whose.
pub(super) type Key = (BrokerName, String);

/// What is to be ended, and what was.
#[derive(Debug, Default)]
pub(super) struct Farewells {
    /// When to ask (again); none: it was asked for.
    open: BTreeMap<Key, Option<Moment>>,
    /// Those that were ended, and are not noted yet.
    ended: Vec<Key>,
    /// Of guests who publish only, and have gone home.
    strays: BTreeSet<Key>,
    /// Guests' that ever were: a broker that dies may have them again, and nobody comes for them.
    gone: BTreeSet<Key>,
}

impl Farewells {
    /// Where some are still to be ended.
    pub(super) fn places(&self) -> impl Iterator<Item = &BrokerName> {
        self.open.keys().map(|(at, _)| at)
    }

    /// When one is to be asked for.
    pub(super) fn next(&self) -> Option<Moment> {
        self.open.values().copied().flatten().min()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// It was ended, whatever is found there.
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.gone.contains(key)
    }

    /// A session is there again, and meant to be.
    pub(super) fn is_back(&mut self, at: &BrokerName, client: &str) {
        self.gone.remove(&(at.clone(), client.to_owned()));
    }

    /// Guests who publish only have left a broker for their home.
    pub(super) fn strays(&mut self, at: &BrokerName, clients: BTreeSet<String>) {
        let keys = clients.into_iter().map(|client| (at.clone(), client));
        self.strays.extend(keys);
    }

    /// These are left, and no others.
    fn leave(&mut self, left: impl Iterator<Item = Key>, now: Moment) {
        let asked = std::mem::take(&mut self.open);
        let known = |key: Key| {
            let asked = asked.get(&key).copied();
            (key, asked.unwrap_or(Some(now)))
        };
        self.open = left.map(known).collect();
    }

    /// Asks for those that are due.
    fn ask(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        let due = |again: &&mut Option<Moment>| again.is_some_and(|again| again <= now);
        for ((broker, client_id), again) in &mut self.open {
            if due(&again) {
                *again = None;
                directives.push(Directive::EndClientSession {
                    broker: broker.clone(),
                    client_id: client_id.clone(),
                });
            }
        }
    }
}

impl Engine {
    /// A session was ended, or could not be.
    pub(super) fn take_ending(&mut self, at: &BrokerName, client: String, error: Option<&str>, now: Moment) {
        self.stale_rollout |= self.handovers.take_ending(at, &client);
        let key = (at.clone(), client);
        self.farewells.strays.remove(&key);
        if error.is_some() {
            if let Some(ending) = self.farewells.open.get_mut(&key) {
                *ending = Some(now.saturating_add(AGAIN));
            }
        } else if self.farewells.open.remove(&key).is_some() {
            self.handovers.forget(at, &key.1);
            self.colliding.note_sessions(at);
            if self.failovers.guests(at).contains(&key.1) {
                self.farewells.gone.insert(key.clone());
            }
            self.farewells.ended.push(key);
            self.stale_rollout = true;
        }
    }

    /// Finds what clients have left behind, and has it ended.
    pub(super) fn mind_farewells(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        for (at, client) in std::mem::take(&mut self.farewells.ended) {
            directives.extend(self.failovers.note_ended(&at, &client));
        }
        let mut left: Vec<Key> = Vec::new();
        for (home, at, clients) in self.failovers.lodgings() {
            let leads = self.addresses.get(home).unwrap_or(home);
            if leads != at && !self.handovers.is_to(home, at) && self.can_be_asked(at) {
                left.extend(clients.into_iter().map(|client| (at.clone(), client.clone())));
            }
        }
        // A drained broker is left with nothing of clients that have a session elsewhere.
        for (home, to, moved) in self.failovers.drained() {
            let led = self.addresses.get(home) == Some(to) && !self.handovers.is_under_way(home);
            let kept = self.handovers.kept(home);
            if let Some(kept) = kept.filter(|_| led && self.can_be_asked(home)) {
                let here = moved
                    .into_iter()
                    .filter(|client| kept.by_client.contains_key(*client));
                left.extend(here.map(|client| (home.clone(), client.clone())));
            }
        }
        let strays = std::mem::take(&mut self.farewells.strays);
        self.farewells.strays = strays
            .into_iter()
            .filter(|(at, _)| self.can_be_asked(at))
            .collect();
        left.extend(self.farewells.strays.iter().cloned());
        self.farewells.leave(left.into_iter(), now);
        self.farewells.ask(now, directives);
    }
}
