//! The clients of one broker on their way to another, with their sessions: how far that is. Knows no engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::{BrokerName, ClassName};

use crate::directive::Marker;
use crate::event::Moment;
use crate::sessions::ClientSession;
use crate::switch::Ways;
use crate::watch::Watch;

/// The clients of one broker on their way.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) from: BrokerName,
    pub(crate) to: BrokerName,
    /// Those in which the broker whose clients they are has a part.
    pub(crate) classes: BTreeSet<ClassName>,
    pub(crate) step: Step,
    /// The clients that have a session at the new broker.
    pub(crate) opened: BTreeSet<String>,
    /// Those whose sessions at the new broker, which is their home, were ended: they had nothing there.
    pub(crate) idle: BTreeSet<String>,
    /// Their retained values are there.
    pub(crate) copied: bool,
    /// Those who have none there or leave something behind, and why.
    pub(crate) failed: BTreeMap<String, String>,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Step {
    /// Something else has to be finished first.
    Blocked,
    /// What the old broker keeps is being read; which reading is awaited, if any still is.
    Reading { asked: Option<u64>, until: Moment },
    /// Sessions are being opened.
    Opening {
        open: BTreeMap<String, Opening>,
        /// Those that are in nobody's way only when they are ended.
        ending: BTreeSet<String>,
        until: Option<Moment>,
    },
    /// They are open; links to the new broker are not yet.
    Opened,
    /// The last messages from before that are awaited at the old broker.
    Arriving(Arriving),
    /// Its clients are getting them.
    Draining { watch: Watch, until: Moment },
    /// Their retained values are being copied; the number of what was asked.
    Copying { serial: u64, until: Moment },
    /// They may go.
    Ready,
}

/// What is awaited at the old broker.
#[derive(Debug)]
pub(crate) struct Arriving {
    pub(crate) serial: u64,
    /// What was carried when it began.
    pub(crate) ways: Ways,
    pub(crate) markers: BTreeSet<Marker>,
    seen: BTreeSet<Marker>,
    /// When it is given up.
    pub(crate) until: Moment,
}

impl Arriving {
    pub(crate) fn new(serial: u64, ways: Ways, until: Moment) -> Self {
        Self {
            serial,
            ways,
            markers: BTreeSet::new(),
            seen: BTreeSet::new(),
            until,
        }
    }

    /// Those that have not come.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Marker> {
        self.markers.difference(&self.seen)
    }
}

/// A session that is being opened.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) session: Arc<ClientSession>,
    /// When to ask again.
    pub(crate) again: Option<Moment>,
}

impl Handover {
    pub(crate) fn new(from: BrokerName, to: BrokerName, step: Step) -> Self {
        Self {
            from,
            to,
            classes: BTreeSet::new(),
            step,
            opened: BTreeSet::new(),
            idle: BTreeSet::new(),
            copied: false,
            failed: BTreeMap::new(),
        }
    }

    /// The clients may go, as far as it is up to them.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.step, Step::Ready)
    }

    /// It is to or from one of these.
    pub(crate) fn touches(&self, brokers: &BTreeSet<&BrokerName>) -> bool {
        brokers.contains(&self.from) || brokers.contains(&self.to)
    }

    /// When something is to be asked, or given up.
    pub(crate) fn due(&self) -> Option<Moment> {
        match &self.step {
            Step::Reading { until, .. } | Step::Copying { until, .. } => Some(*until),
            Step::Opening { open, until, .. } => {
                let again = open.values().filter_map(|opening| opening.again).min();
                again.into_iter().chain(*until).min()
            }
            Step::Arriving(arriving) => Some(arriving.until),
            Step::Draining { watch, until } => Some(watch.next().map_or(*until, |again| again.min(*until))),
            Step::Blocked | Step::Opened | Step::Ready => None,
        }
    }

    /// The markers that are awaited.
    pub(crate) fn markers(&self) -> impl Iterator<Item = &Marker> {
        let arriving = match &self.step {
            Step::Arriving(arriving) => Some(arriving),
            _ => None,
        };
        arriving.into_iter().flat_map(Arriving::open)
    }

    /// True if it was awaited.
    pub(crate) fn take_marker(&mut self, broker: &BrokerName, topic: &str) -> bool {
        let Step::Arriving(arriving) = &mut self.step else {
            return false;
        };
        let known = |marker: &&Marker| marker.broker == *broker && marker.topic == topic;
        let marker = arriving.markers.iter().find(known);
        marker.is_some_and(|marker| arriving.seen.insert(marker.clone()))
    }

    /// A session was ended, or could not be. True if that was awaited.
    pub(crate) fn take_ending(&mut self, client: &str) -> bool {
        match &mut self.step {
            Step::Opening { ending, .. } => ending.remove(client),
            _ => false,
        }
    }

    /// Their retained values were copied, or could not be. True if that was awaited.
    pub(crate) fn take_copy(&mut self, serial: u64, done: bool) -> bool {
        let awaited = matches!(self.step, Step::Copying { serial: asked, .. } if asked == serial);
        if awaited {
            self.copied = done;
            self.step = Step::Ready;
        }
        awaited
    }

    /// A session was opened, or could not be. Gives the session, if it was.
    pub(crate) fn take_opening(
        &mut self,
        client: &str,
        error: Option<&str>,
        again: Moment,
    ) -> Option<Arc<ClientSession>> {
        let Step::Opening { open, .. } = &mut self.step else {
            return None;
        };
        let opening = open.get_mut(client)?;
        if let Some(reason) = error {
            opening.again = Some(again);
            self.failed.insert(client.to_owned(), reason.to_owned());
            return None;
        }
        self.failed.remove(client);
        self.opened.insert(client.to_owned());
        open.remove(client).map(|opening| opening.session)
    }
}
