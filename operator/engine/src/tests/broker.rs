//! One broker of the simulated fleet with its supervisor: lives, hangs, dies, and loads what it is given after a while.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use skein_api::name::BrokerName;
use skein_mosquitto::config::Config;
use skein_mosquitto::link::Link;

use crate::event::{Epoch, Process, Report};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    /// The supervisor is starting it again.
    Restarting,
    Held,
    Hung,
}

pub(super) type Configuration = (Epoch, Vec<Link>, Config);

/// One broker with its supervisor.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    pub(super) life: Life,
    pub(super) supervised: bool,
    /// Loads by itself after this long; `None` waits until told.
    pub(super) load_after: Option<Duration>,
    pub(super) loaded: Option<Configuration>,
    /// The network between it and the controller is cut.
    pub(super) cut_off: bool,
    /// Refuses every configuration that is given.
    pub(super) refuses: bool,
    pub(super) version: Option<String>,
    rejected: Option<(Epoch, String)>,
    pub(super) inbox: VecDeque<(Duration, Configuration)>,
    /// Whose links it is to keep out, and whose its process does.
    pub(super) bars: BTreeSet<BrokerName>,
    pub(super) keeps_out: BTreeSet<BrokerName>,
    /// What it has been asked to bar since its process was told.
    pub(super) asked_to_bar: Option<BTreeSet<BrokerName>>,
    reported: Option<Report>,
    pub(super) outbox: VecDeque<Report>,
}

impl Broker {
    pub(super) fn new() -> Self {
        Self {
            life: Life::Running,
            supervised: true,
            load_after: Some(Duration::from_millis(300)),
            loaded: None,
            cut_off: false,
            refuses: false,
            version: Some("2.1.2".to_owned()),
            rejected: None,
            inbox: VecDeque::new(),
            bars: BTreeSet::new(),
            keeps_out: BTreeSet::new(),
            asked_to_bar: None,
            reported: None,
            outbox: VecDeque::new(),
        }
    }

    /// Loads the newest configuration that arrived.
    pub(super) fn load(&mut self) {
        if self.life == Life::Hung || !self.supervised {
            return;
        }
        if let Some((_, newest)) = self.inbox.drain(..).next_back() {
            if self.refuses {
                self.rejected = Some((newest.0, "line 3: no".to_owned()));
            } else if self.loaded.as_ref().is_none_or(|(epoch, ..)| *epoch < newest.0) {
                self.loaded = Some(newest);
                self.rejected = None;
            }
        }
    }

    /// Loads the oldest one that waits, as a slow supervisor would.
    pub(super) fn load_one(&mut self) {
        if let Some(oldest) = self.inbox.pop_front() {
            let rest = std::mem::replace(&mut self.inbox, VecDeque::from([oldest]));
            if self.life == Life::Hung || !self.supervised {
                self.inbox.extend(rest);
                return;
            }
            self.load();
            self.inbox = rest;
        }
    }

    fn report(&self) -> Report {
        Report {
            loaded: self.loaded.as_ref().map(|(epoch, ..)| *epoch),
            rejected: self.rejected.clone(),
            version: self.version.clone(),
            process: match self.life {
                Life::Running => Process::Running { pid: 7 },
                Life::Restarting => Process::Restarting,
                Life::Held => Process::Held,
                Life::Hung => Process::Hung { pid: 7 },
            },
        }
    }

    /// Writes a report if there is news.
    pub(super) fn write_report(&mut self) {
        let report = self.report();
        if self.supervised && self.reported.as_ref() != Some(&report) {
            self.reported = Some(report.clone());
            self.outbox.push_back(report);
        }
    }

    /// The reports under way are lost; the newest state will be told again.
    pub(super) fn lose_reports(&mut self) {
        self.outbox.clear();
        self.reported = None;
    }
}
