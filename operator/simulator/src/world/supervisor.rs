//! The supervisor of one broker: compares what is wanted with what runs, one step after another.

use std::sync::Arc;

use skein_engine::event::{Epoch, Process, Report};
use skein_mosquitto::config::Config;
use skein_mosquitto::link::Link;
use skein_mosquitto::transition::{Action, transition};

use super::{Errand, Flaw, World, place};
use crate::air::{BrokerId, CONTROLLER};
use crate::broker::Setup;
use crate::packet::{MILLISECOND, SECOND};

/// A configuration that was given.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) epoch: Epoch,
    pub(crate) links: Vec<Link>,
    pub(crate) text: String,
    pub(crate) config: Config,
}

/// What a person does to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Down,
    Hang,
}

/// What a supervisor is in the middle of.
#[derive(Debug)]
enum Work {
    /// These are to be reloaded, one after another; the last is the one wanted.
    Reload { new: Arc<Given>, stages: Vec<Config> },
    /// A process is to be started on this.
    Start { new: Arc<Given> },
}

/// A broker's supervisor and files.
#[derive(Debug, Default)]
pub(crate) struct Site {
    /// It is or was declared, and not retired.
    pub(crate) exists: bool,
    pub(crate) supervised: bool,
    /// It refuses every configuration.
    pub(crate) refuses: bool,
    pub(crate) hold: Option<Hold>,
    pub(crate) desired: Option<Arc<Given>>,
    pub(crate) loaded: Option<Arc<Given>>,
    pub(crate) rejected: Option<(Epoch, String)>,
    pub(crate) reported: Option<Report>,
    work: Option<Work>,
    turn: u32,
}

impl World {
    /// Tells the controller how the broker is, if that is news.
    pub(super) fn report(&mut self, broker: BrokerId) {
        let running = &self.fabric.brokers[broker];
        let site = &self.sites[broker];
        if !site.supervised {
            return;
        }
        let pid = running.life;
        let early = site
            .desired
            .as_ref()
            .filter(|_| self.flaw == Some(Flaw::ReportsEarly));
        let report = Report {
            loaded: early.or(site.loaded.as_ref()).map(|given| given.epoch),
            rejected: site.rejected.clone(),
            version: Some(running.series.version().to_owned()),
            process: match (running.running, site.hold) {
                (true, Some(Hold::Hang)) => Process::Hung { pid },
                (true, _) => Process::Running { pid },
                (false, Some(_)) => Process::Held,
                (false, None) if site.loaded.is_none() => Process::Stopped,
                (false, None) => Process::Restarting,
            },
        };
        if site.reported.as_ref() == Some(&report) || self.fabric.air.is_cut(broker, CONTROLLER) {
            return;
        }
        self.sites[broker].reported = Some(report.clone());
        let life = self.life;
        // The same time for all, so that they stay in order.
        self.after(5 * MILLISECOND, Errand::Report { broker, report, life });
    }

    fn later(&mut self, broker: BrokerId, least: u64, most: u64, work: Work) {
        let site = &mut self.sites[broker];
        site.turn += 1;
        site.work = Some(work);
        let turn = site.turn;
        let pause = self.fabric.air.random.between(least, most) * MILLISECOND;
        self.after(pause, Errand::Step { broker, turn });
    }

    /// Looks what there is to do, unless it is in the middle of something.
    pub(super) fn supervise(&mut self, broker: BrokerId) {
        self.report(broker);
        let site = &self.sites[broker];
        if !site.supervised || !site.exists || site.work.is_some() || site.hold.is_some() {
            return;
        }
        let running = self.fabric.brokers[broker].running;
        let reachable = !self.fabric.air.is_cut(CONTROLLER, broker);
        let refused = |given: &Given| {
            site.rejected
                .as_ref()
                .is_some_and(|(epoch, _)| *epoch == given.epoch)
        };
        let news = site.desired.clone().filter(|given| {
            let loaded = site.loaded.as_ref().map(|loaded| loaded.epoch);
            reachable && loaded != Some(given.epoch) && !refused(given)
        });
        match news {
            Some(new) if site.refuses => {
                self.sites[broker].rejected = Some((new.epoch, "line 3: no".to_owned()));
                self.report(broker);
            }
            Some(new) => self.take(broker, running, new),
            None if !running => {
                if let Some(loaded) = site.loaded.clone() {
                    self.later(broker, 10, 50, Work::Start { new: loaded });
                }
            }
            None => {}
        }
    }

    fn take(&mut self, broker: BrokerId, running: bool, new: Arc<Given>) {
        let Some(old) = self.sites[broker].loaded.clone().filter(|_| running) else {
            self.later(broker, 10, 60, Work::Start { new });
            return;
        };
        let version = self.fabric.brokers[broker].series.version().parse();
        let Ok(version) = version else { return };
        let transition = transition(&old.config, &new.config, version);
        match transition.action {
            Action::None => self.accept(broker, new),
            Action::Reload => {
                let mut stages = transition.stages;
                if self.flaw == Some(Flaw::SkipsStages) {
                    stages.clear();
                }
                stages.push(new.config.clone());
                stages.reverse();
                self.later(broker, 5, 60, Work::Reload { new, stages });
            }
            Action::Restart => {
                self.tell(|| format!("{} stops, to restart", super::NAMES[broker]));
                let process = &mut self.fabric.brokers[broker];
                if process.hung {
                    process.kill(&mut self.fabric.air);
                } else {
                    process.stop(&mut self.fabric.air);
                }
                self.report(broker);
                self.later(broker, 20, 90, Work::Start { new });
            }
        }
    }

    fn accept(&mut self, broker: BrokerId, new: Arc<Given>) {
        self.tell(|| format!("{} runs configuration {}", super::NAMES[broker], new.epoch));
        let site = &mut self.sites[broker];
        site.rejected = None;
        site.loaded = Some(new);
        self.report(broker);
        self.after(0, Errand::Look { broker });
    }

    /// The next step of what it is in the middle of.
    pub(super) fn step(&mut self, broker: BrokerId, turn: u32) {
        let site = &mut self.sites[broker];
        if site.turn != turn || !site.supervised {
            return;
        }
        let Some(work) = site.work.take() else { return };
        if site.hold.is_some() {
            // Once it is let go, it looks again.
            if let Work::Start { new } | Work::Reload { new, .. } = work
                && site.hold == Some(Hold::Down)
            {
                site.loaded = Some(new);
                self.report(broker);
            }
            return;
        }
        let process = &mut self.fabric.brokers[broker];
        match work {
            Work::Reload { new, .. } if !process.running => {
                self.later(broker, 10, 50, Work::Start { new });
            }
            Work::Reload { new, stages } if process.hung => {
                // It does not read its file: it is asked again.
                let pause = SECOND / MILLISECOND;
                self.later(broker, pause, pause, Work::Reload { new, stages });
            }
            Work::Reload { new, mut stages } => {
                if let Some(stage) = stages.pop() {
                    let setup = Setup::of(&stage, &mut self.fabric.air.names, &place);
                    process.reload(setup, &mut self.fabric.air);
                }
                if stages.is_empty() {
                    self.accept(broker, new);
                } else {
                    self.later(broker, 5, 40, Work::Reload { new, stages });
                }
            }
            Work::Start { new } => {
                let setup = Setup::of(&new.config, &mut self.fabric.air.names, &place);
                process.start(setup, self.bars[broker].downstreams, &mut self.fabric.air);
                self.accept(broker, new);
            }
        }
    }

    /// The supervisor is gone; the broker's process goes on.
    pub(super) fn lose_supervisor(&mut self, broker: BrokerId) {
        let site = &mut self.sites[broker];
        site.supervised = false;
        site.work = None;
        site.turn += 1;
        let life = self.life;
        self.after(10 * MILLISECOND, Errand::Lost { broker, life });
    }

    pub(super) fn regain_supervisor(&mut self, broker: BrokerId) {
        let site = &mut self.sites[broker];
        site.supervised = site.exists;
        site.reported = None;
        self.supervise(broker);
    }

    /// It is not declared any more.
    pub(super) fn retire(&mut self, broker: BrokerId) {
        let process = &mut self.fabric.brokers[broker];
        process.stop(&mut self.fabric.air);
        let site = &mut self.sites[broker];
        site.exists = false;
        site.supervised = false;
        site.work = None;
        site.turn += 1;
    }

    /// Brokers whose queues do not survive a kill whole.
    pub(crate) fn is_durable(&self, broker: BrokerId) -> bool {
        self.sites[broker].loaded.as_ref().is_some_and(|given| {
            matches!(
                given.config.persistence,
                skein_mosquitto::config::Persistence::Durable { .. }
            )
        })
    }
}
