//! Which configurations each broker may be running: "a link is present until its owner says otherwise".
//!
//! Knows epochs, reports and strands; knows no plan and no health.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_mosquitto::config::{Config, Connection};
use skein_mosquitto::link::Link;

use crate::event::{Epoch, Report};
use crate::strand::{Strands, strands};

/// How many configurations of a broker are remembered though it has moved on.
const HISTORY: usize = 16;

/// A configuration that was given.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) epoch: Epoch,
    /// All of it; unknown after a restart if the adapter has not kept it.
    pub(crate) config: Option<Config>,
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) strands: Arc<Strands>,
}

/// The configurations of one broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Oldest first; from `present` on, those it may be running.
    history: Vec<Given>,
    /// The last connection of each session upstream, by client id: the session outlives its connection.
    sessions: BTreeMap<String, Connection>,
    /// The highest number ever seen.
    highest: Epoch,
    loaded: Option<Epoch>,
    /// The last refused one, and why.
    rejected: Option<(Epoch, String)>,
    /// It has reported in this life.
    reported: bool,
}

impl Ledger {
    /// What an earlier life left, newest last.
    pub(crate) fn restore(&mut self, configs: Vec<(Epoch, Vec<Link>)>, newest: Option<Config>) {
        for (epoch, links) in configs {
            self.highest = self.highest.max(epoch);
            let strands = Arc::new(strands(&links));
            self.history.push(Given {
                epoch,
                config: None,
                links: links.into_iter().map(Arc::new).collect(),
                strands,
            });
        }
        self.history.sort_by_key(|given| given.epoch);
        if let Some(last) = self.history.last_mut() {
            last.config = newest;
        }
        self.remember_sessions();
    }

    /// Takes a report in. True if what the broker may be running changed, or what is known of it.
    pub(crate) fn report(&mut self, report: &Report) -> bool {
        let before = (self.loaded, self.rejected.clone(), self.reported);
        self.reported = true;
        if let Some(loaded) = report.loaded {
            self.loaded = Some(loaded);
            self.highest = self.highest.max(loaded);
        }
        self.rejected.clone_from(&report.rejected);
        if let Some((epoch, _)) = &self.rejected {
            self.highest = self.highest.max(*epoch);
        }
        before != (self.loaded, self.rejected.clone(), self.reported)
    }

    /// A further configuration; its number is the next one.
    pub(crate) fn give(&mut self, config: Config, links: Vec<Arc<Link>>) -> Epoch {
        let epoch = config.epoch;
        self.highest = self.highest.max(epoch);
        let strands = Arc::new(strands(links.iter().map(Arc::as_ref)));
        self.history.push(Given {
            epoch,
            config: Some(config),
            links,
            strands,
        });
        self.remember_sessions();
        let present = self
            .history
            .iter()
            .position(|given| self.may_run(given))
            .unwrap_or(0);
        let excess = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..excess.min(present));
        epoch
    }

    fn remember_sessions(&mut self) {
        let Some(config) = self.history.last().and_then(|given| given.config.as_ref()) else {
            return;
        };
        for connection in &config.connections {
            self.sessions
                .insert(connection.remote_client_id.clone(), connection.clone());
        }
    }

    /// Makes a configuration unsubscribe what any earlier one with the same session subscribed, even if there was one
    /// without that link in between.
    pub(crate) fn forget(&self, config: &mut Config) {
        let mut previous = config.clone();
        previous.connections = self.sessions.values().cloned().collect();
        config.forget(&previous);
    }

    /// The number that the next one gets.
    pub(crate) fn next_epoch(&self) -> Epoch {
        self.highest + 1
    }

    /// The broker is gone for good: nothing runs any more.
    pub(crate) fn clear(&mut self) {
        self.history.clear();
        self.loaded = None;
        self.rejected = None;
    }

    fn may_run(&self, given: &Given) -> bool {
        let refused = self
            .rejected
            .as_ref()
            .is_some_and(|(epoch, _)| *epoch == given.epoch);
        self.loaded.is_none_or(|loaded| given.epoch >= loaded)
            && (!refused || self.loaded == Some(given.epoch))
    }

    /// The configurations it may be running, oldest first.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Given> {
        self.history.iter().filter(|given| self.may_run(given))
    }

    /// The newest configuration that it may be running: where the next one starts from.
    pub(crate) fn newest(&self) -> Option<&Given> {
        self.history.iter().rev().find(|given| self.may_run(given))
    }

    /// The last one given, refused or not.
    pub(crate) fn last(&self) -> Option<&Given> {
        self.history.last()
    }

    /// It runs a configuration of which nothing is known.
    pub(crate) fn runs_unknown(&self) -> Option<Epoch> {
        self.loaded
            .filter(|loaded| !self.history.iter().any(|given| given.epoch == *loaded))
    }

    /// Nothing is given that it has not loaded or refused.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.newest()
            .is_some_and(|given| self.loaded == Some(given.epoch))
    }

    pub(crate) fn loaded(&self) -> Option<Epoch> {
        self.loaded
    }

    /// The last one given, if it was refused, and why.
    pub(crate) fn refusal(&self) -> Option<(&Given, &str)> {
        let (epoch, reason) = self.rejected.as_ref()?;
        let last = self
            .last()
            .filter(|given| given.epoch == *epoch && self.loaded != Some(*epoch))?;
        Some((last, reason))
    }

    pub(crate) fn has_reported(&self) -> bool {
        self.reported
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.history.is_empty() && self.loaded.is_none()
    }
}
