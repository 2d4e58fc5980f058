//! What survives the end of a process.

use std::collections::BTreeMap;

use super::setup::Profile;
use super::{Broker, Retained, Series, Session};
use crate::air::{Air, Happening};
use crate::names::{ClientId, Topic};

/// What is on disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    sessions: BTreeMap<ClientId, Session>,
    retained: BTreeMap<Topic, Retained>,
}

impl Broker {
    fn store(&self) -> Store {
        let mut sessions = self.sessions.clone();
        sessions.retain(|_, session| !session.clean);
        Store {
            sessions,
            retained: self.retained.clone(),
        }
    }

    /// Something changed: the classic store is written in one of the next turns of the broker's loop. The interval of a
    /// second counts changes and not time.
    pub(super) fn plan_save(&mut self, air: &mut Air) {
        if self.setup.profile == Profile::Classic && !std::mem::replace(&mut self.saving, true) {
            let pause = air.random.between(100, 3000);
            let (broker, life) = (self.id, self.life);
            air.clock.after(pause, Happening::Save { broker, life });
        }
    }

    pub(super) fn save(&mut self) {
        self.saving = false;
        self.saved = Some(self.store());
    }

    pub(super) fn save_at_end(&mut self) {
        self.saved = match self.setup.profile {
            Profile::None => None,
            Profile::Classic | Profile::Durable => Some(self.store()),
        };
    }

    pub(super) fn save_killed(&mut self) {
        match self.setup.profile {
            Profile::None => self.saved = None,
            // What was saved last.
            Profile::Classic => {}
            Profile::Durable => self.saved = Some(self.store()),
        }
    }

    /// The sessions that last, as they are on disk; none if nothing is.
    pub(crate) fn kept(&self) -> Option<impl Iterator<Item = (ClientId, &Session)>> {
        let live = self.running && self.setup.profile == Profile::Durable;
        let sessions = if live {
            &self.sessions
        } else {
            &self.saved.as_ref()?.sessions
        };
        let last = sessions.iter().filter(|(_, session)| !session.clean);
        Some(last.map(|(client, session)| (*client, session)))
    }

    /// The retained messages, as they are on disk.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Retained> {
        let live = self.running && self.setup.profile == Profile::Durable;
        let saved = self.saved.as_ref().filter(|_| !live);
        let retained = saved.map(|store| &store.retained);
        let retained = retained.or_else(|| live.then_some(&self.retained));
        retained.into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn restore(&mut self) {
        let saved = match self.setup.profile {
            Profile::None => None,
            Profile::Classic | Profile::Durable => self.saved.clone(),
        };
        let store = saved.unwrap_or_default();
        self.sessions = store.sessions;
        self.retained = store.retained;
        for session in self.sessions.values_mut() {
            session.conn = None;
            session.will = None;
            if session.local && self.series == Series::Oldest {
                // What a bridge had received and not released is not in the file of 2.0: it comes again.
                session.incoming.clear();
            }
        }
    }
}
