//! The controller: watches brokers, feeds the engine, dies and comes back with what is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skein_api::name::BrokerName;
use skein_engine::Engine;
use skein_engine::event::{Event, KeptConfig, Restored};

use super::execute::Purpose;
use super::{Errand, Flaw, World, name, number, placement, settings};
use crate::air::{BrokerId, ClientNumber, Word};
use crate::contract::Rule;
use crate::packet::{MILLISECOND, Time};

/// More ticks at once than any work takes.
const HURRIED: u32 = 200;

/// The heartbeats of one broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse {
    sequence: u64,
    sent_at: Time,
    /// The interval has its outcome.
    heard: bool,
}

impl World {
    /// A controller starts, with what an earlier one left.
    pub(super) fn begin_controller(&mut self, life: u32) {
        if life != self.life || self.engine.is_some() {
            return;
        }
        self.tell(|| "the controller starts".to_owned());
        self.engine = Some(Engine::new(settings()));
        self.woken_at = None;
        self.stalled = false;
        self.inbox.clear();
        self.markers.clear();
        self.envoys.clear();
        self.pulses = vec![Pulse::default(); self.sites.len()];
        let restored = self.restored();
        self.observe(Event::Restored(restored));
        self.declare();
        self.tell_wishes();
        for broker in 0..self.sites.len() {
            self.sites[broker].reported = None;
            self.report(broker);
            if self.sites[broker].exists && !self.sites[broker].supervised {
                self.after(MILLISECOND, Errand::Lost { broker, life });
            }
            self.after(MILLISECOND, Errand::Beat { broker, life });
        }
        self.after(200 * MILLISECOND, Errand::Probes { life });
        self.sessions_told.resize(self.sites.len(), None);
        for broker in 0..self.sites.len() {
            let sessions = self.sessions_told[broker].clone();
            if let (Some(broker), true) = (name(broker), sessions.is_some()) {
                self.observe(Event::SessionsRead {
                    broker,
                    sessions,
                    serial: None,
                });
            }
        }
        self.after(50 * MILLISECOND, Errand::LookAtSessions { life });
    }

    /// Where client addresses lead.
    fn addresses(&self) -> BTreeMap<BrokerName, BrokerName> {
        let addresses = self.fabric.air.addresses.iter().enumerate();
        addresses
            .filter_map(|(home, to)| Some((name(home)?, name(*to)?)))
            .filter(|(home, to)| home != to)
            .collect()
    }

    fn restored(&self) -> Restored {
        let mut restored = Restored {
            classes: self.classes.clone(),
            migrations: self.migrations.values().cloned().collect(),
            addresses: self.addresses(),
            sessions: self.sessions.clone(),
            ..Restored::default()
        };
        let sites = if self.flaw == Some(Flaw::RestoresNothing) {
            &[]
        } else {
            self.sites.as_slice()
        };
        for (broker, site) in sites.iter().enumerate() {
            let mut kept: Vec<KeptConfig> = Vec::new();
            for given in site.loaded.iter().chain(&site.desired) {
                if kept.iter().all(|known| known.epoch != given.epoch) {
                    kept.push(KeptConfig {
                        epoch: given.epoch,
                        links: given.links.clone(),
                        text: Some(given.text.clone()),
                    });
                }
            }
            kept.sort_by_key(|kept| kept.epoch);
            if let (Some(name), false) = (name(broker), kept.is_empty()) {
                restored.configs.insert(name, kept);
            }
        }
        restored
    }

    /// The declarations are those of `fleet`.
    pub(crate) fn declare(&mut self) {
        let fleet = Arc::clone(&self.fleet);
        for broker in fleet.brokers.keys() {
            let Some(number) = number(broker) else { continue };
            if !self.sites[number].exists {
                self.sites[number].exists = true;
                self.sites[number].supervised = true;
                self.report(number);
                // It goes on from the files that it has, if it was there before.
                self.after(30 * MILLISECOND, Errand::Look { broker: number });
            }
            self.observe(Event::Placed {
                broker: broker.clone(),
                placement: placement(number),
            });
        }
        self.observe(Event::FleetChanged(fleet));
    }

    /// The controller dies; another starts after a while.
    pub(super) fn kill_controller(&mut self, pause: Time) {
        if self.engine.take().is_some() {
            self.tell(|| "the controller dies".to_owned());
        }
        while let Some(carrier) = self.adoptions.keys().next().copied() {
            self.end_adoption(carrier);
        }
        self.values.clear();
        self.dies_after = None;
        self.life += 1;
        let life = self.life;
        self.after(pause, Errand::Begin { life });
    }

    /// The controller does nothing for a while, and is told then what happened meanwhile.
    pub(super) fn stall(&mut self, pause: Time) {
        self.stalled = true;
        let life = self.life;
        self.after(pause, Errand::Resume { life });
    }

    pub(super) fn resume(&mut self, life: u32) {
        if life != self.life {
            return;
        }
        self.stalled = false;
        let missed = self.inbox.drain(..);
        let events = [Event::Tick].into_iter().chain(missed).collect();
        self.observe_all(events);
    }

    /// Tells the engine, and does what it says.
    pub(super) fn observe(&mut self, event: Event) {
        if self.stalled {
            self.inbox.push_back(event);
            return;
        }
        self.observe_all(vec![event]);
    }

    /// Tells the engine all of these together.
    fn observe_all(&mut self, events: Vec<Event>) {
        let now = self.moment();
        let Some(engine) = &mut self.engine else { return };
        let replanned = events.iter().any(|event| matches!(event, Event::FleetChanged(_)));
        let directives = engine.observe_all(events, now);
        let replanned = replanned || !directives.is_empty();
        for directive in directives {
            self.take_directive(directive);
            if self.engine.is_none() {
                return;
            }
        }
        if replanned {
            self.follow_plan();
        }
        self.plan_wake();
    }

    fn plan_wake(&mut self) {
        let Some(engine) = &self.engine else { return };
        let Some(at) = engine.next_wakeup() else { return };
        let mut at = (at.as_micros() as Time).max(self.now());
        if at > self.now() {
            self.hurried = 0;
        } else {
            self.hurried += 1;
        }
        if self.hurried > HURRIED {
            self.spins += 1;
            if Rule::NeverSpins.is_kept() {
                let what = "the engine asks to be woken at once, again and again: the controller spins";
                self.fabric.air.ledger.complain(what.to_owned());
                return;
            }
            at = self.now() + 50 * MILLISECOND;
        }
        if self.woken_at.is_none_or(|known| at < known) {
            self.woken_at = Some(at);
            let life = self.life;
            let pause = at - self.now();
            self.after(pause, Errand::Wake { life });
        }
    }

    pub(super) fn wake(&mut self, life: u32) {
        if life != self.life {
            return;
        }
        if self.stalled {
            // Asked for anew when it goes on.
            self.woken_at = None;
            return;
        }
        let now = self.now();
        if self.woken_at.is_some_and(|at| at <= now) {
            self.woken_at = None;
            let due = |engine: &Engine| {
                let at = engine.next_wakeup();
                at.is_some_and(|at| at.as_micros() as Time <= now)
            };
            if self.engine.as_ref().is_some_and(due) || self.hurried > 0 {
                self.observe(Event::Tick);
            } else {
                self.plan_wake();
            }
        }
    }

    /// The next heartbeat of a broker.
    pub(super) fn beat(&mut self, broker: BrokerId, life: u32) {
        if life != self.life {
            return;
        }
        let declared = name(broker).and_then(|name| {
            let declared = self.fleet.brokers.get(&name)?;
            Some((name, declared.heartbeat.interval))
        });
        let pause = declared
            .as_ref()
            .map_or(Duration::from_secs(1), |(_, interval)| *interval);
        // A stalled controller sends none, and misses none.
        if let (Some((name, _)), false) = (declared, self.stalled) {
            let pulse = &mut self.pulses[broker];
            let missed = pulse.sequence > 0 && !std::mem::take(&mut pulse.heard);
            pulse.sequence += 1;
            let sequence = pulse.sequence;
            pulse.sent_at = self.fabric.now();
            if missed {
                self.observe(Event::HeartbeatMissed {
                    broker: name,
                    refused: false,
                });
            }
            self.fabric.air.say(broker, Word::Beat { sequence });
        }
        self.after(pause.as_micros() as Time, Errand::Beat { broker, life });
    }

    pub(super) fn answered(&mut self, broker: BrokerId, sequence: u64, refused: bool) {
        let now = self.now();
        let Some(pulse) = self.pulses.get_mut(broker) else {
            return;
        };
        let newest = pulse.sequence == sequence;
        if sequence > pulse.sequence || (!newest && pulse.heard) {
            return;
        }
        pulse.heard = true;
        let round_trip = Duration::from_micros(now - pulse.sent_at.min(now));
        let declared = name(broker).filter(|name| self.fleet.brokers.contains_key(name));
        let Some(broker) = declared else { return };
        self.observe(if refused {
            Event::HeartbeatMissed { broker, refused }
        } else {
            Event::HeartbeatAnswered { broker, round_trip }
        });
    }

    pub(super) fn envoy_back(&mut self, client: ClientNumber, done: bool) {
        self.end_adoption(client);
        let Some(envoy) = self.envoys.remove(&client) else {
            return;
        };
        if done && envoy.purpose == Purpose::EndClient {
            self.forget_client(&envoy.broker, &envoy.client_id);
        }
        let error = (!done).then(|| "no answer".to_owned());
        self.observe(envoy.back(error));
    }
}
