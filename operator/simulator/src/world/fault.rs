//! What can go wrong, and how it is mended.

use super::supervisor::Hold;
use super::{Errand, World};
use crate::air::{BrokerId, CLIENTS, CONTROLLER, MOST_BROKERS};
use crate::clients::{Role, Target};
use crate::packet::{MILLISECOND, Time};

/// Something that goes wrong; times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed; its supervisor starts it again.
    Crash { broker: BrokerId },
    /// The process stops in its tracks, and a person did it (the supervisor says so) or nobody knows.
    Hang {
        broker: BrokerId,
        known: bool,
        lasts: Time,
    },
    /// A person holds the broker down.
    Down { broker: BrokerId, lasts: Time },
    /// The machine is gone, without a word to anybody; it comes back on what it had, perhaps without its volume.
    Node {
        broker: BrokerId,
        volume: bool,
        lasts: Time,
    },
    /// The supervisor dies; the broker goes on.
    Supervisor { broker: BrokerId, lasts: Time },
    /// It refuses every configuration.
    Refuse { broker: BrokerId, lasts: Time },
    /// Nothing passes between two brokers, or one way only.
    Cut {
        from: BrokerId,
        to: BrokerId,
        both: bool,
        lasts: Time,
    },
    /// Nothing passes between the controller and a broker, or one way only.
    Isolate {
        broker: BrokerId,
        to: bool,
        from: bool,
        lasts: Time,
    },
    /// What goes between two brokers takes so many times longer than usual.
    Slow {
        from: BrokerId,
        to: BrokerId,
        times: u64,
        lasts: Time,
    },
    /// The controller dies.
    Controller { lasts: Time },
    /// It dies after so many further directives.
    Directives { count: u32 },
    /// It is stalled, or its clock jumps.
    Stall { lasts: Time },
    /// Directives are executed late.
    Late { by: Time, lasts: Time },
    /// The declarations change to another fleet.
    Edit { index: usize },
    /// A person drains a broker, and undrains it later.
    Drain { broker: BrokerId, lasts: Time },
    /// The subscribers of a broker are offline.
    Away { broker: BrokerId, lasts: Time },
}

impl Fault {
    pub(crate) fn lasts(self) -> Option<Time> {
        match self {
            Self::Hang { lasts, .. }
            | Self::Down { lasts, .. }
            | Self::Node { lasts, .. }
            | Self::Supervisor { lasts, .. }
            | Self::Refuse { lasts, .. }
            | Self::Cut { lasts, .. }
            | Self::Isolate { lasts, .. }
            | Self::Slow { lasts, .. }
            | Self::Late { lasts, .. }
            | Self::Drain { lasts, .. }
            | Self::Away { lasts, .. } => Some(lasts),
            Self::Crash { .. }
            | Self::Controller { .. }
            | Self::Directives { .. }
            | Self::Stall { .. }
            | Self::Edit { .. } => None,
        }
    }
}

impl World {
    /// A fault happens.
    pub(super) fn strike(&mut self, index: usize) {
        let Some(fault) = self.schedule.get(index).copied() else {
            return;
        };
        self.tell(|| format!("FAULT {fault:?}"));
        match fault {
            Fault::Crash { broker } => self.kill(broker),
            Fault::Hang { broker, known, .. } => {
                let site = &mut self.sites[broker];
                if known && site.hold.is_none() && site.supervised {
                    site.hold = Some(Hold::Hang);
                }
                self.fabric.brokers[broker].hang(true, &mut self.fabric.air);
                self.supervise(broker);
            }
            Fault::Down { broker, .. } => {
                if self.sites[broker].supervised {
                    self.sites[broker].hold = Some(Hold::Down);
                    self.kill(broker);
                }
            }
            Fault::Node { broker, .. } => {
                self.set_node(broker, true);
                self.sites[broker].hold = None;
                let process = &mut self.fabric.brokers[broker];
                process.kill(&mut self.fabric.air);
                self.lose_supervisor(broker);
            }
            Fault::Supervisor { broker, .. } => self.lose_supervisor(broker),
            Fault::Refuse { broker, .. } => self.sites[broker].refuses = true,
            Fault::Cut { from, to, both, .. } => {
                self.fabric.air.cut(from, to, true);
                if both {
                    self.fabric.air.cut(to, from, true);
                }
            }
            Fault::Isolate { broker, to, from, .. } => {
                if to {
                    self.fabric.air.cut(CONTROLLER, broker, true);
                }
                if from {
                    self.fabric.air.cut(broker, CONTROLLER, true);
                }
            }
            Fault::Slow { from, to, times, .. } => {
                self.fabric.air.slow_down(from, to, times);
                self.fabric.air.slow_down(to, from, times);
            }
            Fault::Controller { lasts } => self.kill_controller(lasts * MILLISECOND),
            Fault::Directives { count } => self.dies_after = Some(count),
            Fault::Stall { lasts } => self.stall(lasts * MILLISECOND),
            Fault::Late { by, .. } => self.lateness = by * MILLISECOND,
            Fault::Edit { index } => {
                if let Some(fleet) = self.edits.get(index).cloned() {
                    self.fleet = fleet;
                    self.declare();
                }
            }
            Fault::Drain { broker, .. } => self.wish_drained(broker, true),
            Fault::Away { broker, .. } => self.set_subscribers_online(broker, false),
        }
        if let Some(lasts) = fault.lasts() {
            self.after(lasts * MILLISECOND, Errand::Mend { fault });
        }
    }

    fn set_subscribers_online(&mut self, home: BrokerId, online: bool) {
        for client in &mut self.fabric.clients {
            if client.target == Target::Address(home) && matches!(client.role, Role::Subscriber(_)) {
                client.set_online(online, &mut self.fabric.air);
            }
        }
    }

    fn kill(&mut self, broker: BrokerId) {
        self.fabric.brokers[broker].kill(&mut self.fabric.air);
        self.supervise(broker);
    }

    fn set_node(&mut self, broker: BrokerId, gone: bool) {
        let others = (0..MOST_BROKERS)
            .chain([CLIENTS, CONTROLLER])
            .filter(|other| *other != broker);
        for other in others {
            self.fabric.cut_both(broker, other, gone);
        }
    }

    /// A fault is over.
    pub(super) fn mend(&mut self, fault: &Fault) {
        self.tell(|| format!("over: {fault:?}"));
        match *fault {
            Fault::Hang { broker, .. } => {
                if self.sites[broker].hold == Some(Hold::Hang) {
                    self.sites[broker].hold = None;
                }
                self.fabric.brokers[broker].hang(false, &mut self.fabric.air);
                self.supervise(broker);
            }
            Fault::Down { broker, .. } => {
                if self.sites[broker].hold == Some(Hold::Down) {
                    self.sites[broker].hold = None;
                }
                self.supervise(broker);
            }
            Fault::Node { broker, volume, .. } => {
                self.set_node(broker, false);
                if volume {
                    self.fabric.brokers[broker].lose_volume();
                }
                self.regain_supervisor(broker);
            }
            Fault::Supervisor { broker, .. } => self.regain_supervisor(broker),
            Fault::Refuse { broker, .. } => {
                self.sites[broker].refuses = false;
                // A person mended what was refused and started the supervisor again.
                self.sites[broker].rejected = None;
                self.supervise(broker);
            }
            Fault::Cut { from, to, .. } => self.fabric.cut_both(from, to, false),
            Fault::Isolate { broker, .. } => {
                self.fabric.cut_both(CONTROLLER, broker, false);
                self.sites[broker].reported = None;
                self.supervise(broker);
            }
            Fault::Slow { from, to, .. } => {
                self.fabric.air.slow_down(from, to, 1);
                self.fabric.air.slow_down(to, from, 1);
            }
            Fault::Late { .. } => self.lateness = 0,
            Fault::Drain { broker, .. } => self.wish_drained(broker, false),
            Fault::Away { broker, .. } => self.set_subscribers_online(broker, true),
            Fault::Crash { .. }
            | Fault::Controller { .. }
            | Fault::Directives { .. }
            | Fault::Stall { .. }
            | Fault::Edit { .. } => {}
        }
    }
}
