//! Directives, executed as the adapters do: at once, late, or never because the controller died before.

use std::collections::BTreeSet;
use std::sync::Arc;

use skein_api::name::{BrokerName, Qos};
use skein_engine::directive::{Directive, Marker};
use skein_engine::event::{Epoch, Event, Process, Report};
use skein_filters::TopicFilter;
use skein_mosquitto::config::parse;
use skein_mosquitto::link::{Link, Mode};

use super::supervisor::Given;
use super::{Errand, Flaw, World, name, number};
use crate::air::{BrokerId, Brokers, MOST_BROKERS, Word};
use crate::clients::{Envoy, Mission, Role, Target};
use crate::packet::{MILLISECOND, SECOND};

/// What an envoy is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To open the session of a link that is to come.
    Seed,
    /// To end the subscriptions of one that a link left.
    End,
    /// To pass on what waits in such a one.
    Adopt,
    /// To open the session of a client that is to come.
    OpenClient,
    /// To end the one that a client left.
    EndClient,
}

impl Purpose {
    /// The mistake of doing nothing of the kind.
    fn flaw(self) -> Option<Flaw> {
        match self {
            Self::Seed => Some(Flaw::SeedsNothing),
            Self::End => Some(Flaw::EndsNothing),
            Self::OpenClient => Some(Flaw::OpensNoClients),
            Self::Adopt | Self::EndClient => None,
        }
    }
}

impl World {
    pub(super) fn take_directive(&mut self, directive: Directive) {
        if self.dies_after == Some(0) {
            let pause = self.fabric.air.random.between(100, 3000) * MILLISECOND;
            self.kill_controller(pause);
            return;
        }
        self.dies_after = self.dies_after.map(|left| left - 1);
        let now = self.now();
        let due = (now + self.lateness).max(self.late_until);
        if due > now {
            // They stay in order.
            self.late_until = due + 1;
            let life = self.life;
            self.after(due - now, Errand::Late { life, directive });
        } else {
            self.execute(directive);
        }
    }

    pub(super) fn execute(&mut self, directive: Directive) {
        self.directives += 1;
        self.last_directive = self.now();
        match directive {
            Directive::GiveConfig {
                broker,
                epoch,
                config,
                links,
            } => self.give(&broker, epoch, config, &links),
            Directive::PointAddress { broker, to } => {
                self.tell(|| format!("the address of {broker} leads to {to}"));
                if let (Some(home), Some(to)) = (number(&broker), number(&to)) {
                    if home != to {
                        self.moved.insert(home);
                    }
                    self.moves.push((home, self.now()));
                    self.fabric.point(home, to);
                }
            }
            Directive::AwaitMarkers(markers) => self.expect(markers),
            Directive::EndSubscriptions {
                broker,
                upstream,
                client_id,
                filters,
                discard,
            } => self.end_subscriptions(broker, &upstream, client_id, &filters, discard),
            Directive::Seed {
                broker,
                upstream,
                client_id,
                subscriptions,
            } => self.seed(broker, &upstream, client_id, &subscriptions),
            Directive::Adopt {
                broker,
                upstream,
                client_id,
                filters,
                to,
            } => self.adopt(broker, &upstream, client_id, &filters, &to),
            Directive::Bar { broker, downstreams } => self.bar(&broker, &downstreams),
            Directive::ReadSessions { broker, serial } => self.read_sessions(&broker, serial),
            Directive::OpenClientSession {
                broker,
                client_id,
                session,
            } => self.open_client_session(broker, client_id, &session),
            Directive::EndClientSession { broker, client_id } => self.end_client_session(broker, client_id),
            Directive::ForgetValues { .. } | Directive::CopyValues { .. } => self.mind_values(directive),
            Directive::RecordSessions(sessions) => self.sessions = sessions,
            Directive::RecordMigration(migration) => {
                self.tell(|| {
                    let to = migration.to.as_ref().map_or("nobody", |to| to.as_str());
                    let evidence = migration.evidence.join("; ");
                    let (name, phase) = (&migration.name, migration.phase);
                    let (moved, waiting) = (&migration.moved, &migration.waiting);
                    format!("migration {name} to {to}: {phase:?} ({evidence}); moved {moved:?}, waiting {waiting:?}")
                });
                self.migrations.insert(migration.name.clone(), migration);
            }
            Directive::Retire { broker } => self.retire_broker(&broker),
        }
    }

    fn give(&mut self, broker: &BrokerName, epoch: Epoch, config: String, links: &[Arc<Link>]) {
        self.tell(|| {
            let links: Vec<String> = links
                .iter()
                .map(|link| {
                    format!(
                        "{}<-{} {} {}",
                        link.downstream, link.upstream, link.mode, link.class
                    )
                })
                .collect();
            format!("give {broker} configuration {epoch}: {}", links.join(", "))
        });
        self.duplex |= links.iter().any(|link| link.mode == Mode::Duplex);
        let Some(number) = number(broker) else { return };
        let Ok(read) = parse(&config) else {
            let what = format!("configuration {epoch} of {broker} cannot be read back");
            self.fabric.air.ledger.complain(what);
            return;
        };
        let site = &mut self.sites[number];
        if site.desired.as_ref().is_some_and(|known| known.epoch > epoch) {
            return;
        }
        site.desired = Some(Arc::new(Given {
            epoch,
            links: links.iter().map(|link| (**link).clone()).collect(),
            text: config,
            config: read,
        }));
        let notice = self.fabric.air.random.between(1, 20) * MILLISECOND;
        self.after(notice, Errand::Look { broker: number });
    }

    fn expect(&mut self, markers: Vec<Marker>) {
        let (life, now) = (self.life, self.now());
        if self.flaw == Some(Flaw::SeesMarkersAtOnce) {
            for marker in &markers {
                let event = Event::MarkerSeen {
                    broker: marker.broker.clone(),
                    topic: marker.topic.clone(),
                };
                self.after(MILLISECOND, Errand::Tell { event, life });
            }
        }
        let known = std::mem::take(&mut self.markers);
        self.markers = markers
            .into_iter()
            .map(|marker| {
                let since = known.get(&marker).copied().unwrap_or(now);
                (marker, since)
            })
            .collect();
        self.watch();
    }

    fn seed(
        &mut self,
        broker: BrokerName,
        upstream: &BrokerName,
        client_id: String,
        subscriptions: &[(TopicFilter, Qos)],
    ) {
        self.tell(|| format!("open the session {client_id} at {upstream}"));
        let names = &mut self.fabric.air.names;
        let subscriptions = subscriptions
            .iter()
            .map(|(filter, qos)| (names.filter(filter.as_str()), *qos as u8))
            .collect();
        let mission = Mission::Subscribe {
            filters: subscriptions,
            bridge: true,
        };
        self.send_envoy(Purpose::Seed, broker, client_id, upstream, mission);
    }

    pub(super) fn send_envoy(
        &mut self,
        purpose: Purpose,
        broker: BrokerName,
        client_id: String,
        at: &BrokerName,
        mission: Mission,
    ) {
        let Some(at) = number(at) else { return };
        let envoy = super::Envoy {
            purpose,
            broker,
            client_id,
        };
        if self.flaw.is_some() && self.flaw == purpose.flaw() {
            let (life, event) = (self.life, envoy.back(None));
            self.after(MILLISECOND, Errand::Tell { event, life });
            return;
        }
        let id = self.fabric.air.names.client(&envoy.client_id);
        let clean = matches!(mission, Mission::Discard);
        let role = Role::Envoy(Envoy::new(mission));
        let client = self.fabric.add_client(id, Target::Broker(at), clean, role);
        self.fabric.turn_after(client, 5 * SECOND);
        self.envoys.insert(client, envoy);
    }

    fn end_subscriptions(
        &mut self,
        broker: BrokerName,
        upstream: &BrokerName,
        client_id: String,
        filters: &[TopicFilter],
        discard: bool,
    ) {
        self.tell(|| format!("end the subscriptions of {client_id} at {upstream}"));
        let names = &mut self.fabric.air.names;
        let mission = if discard {
            Mission::Discard
        } else {
            Mission::Unsubscribe(
                filters
                    .iter()
                    .map(|filter| names.filter(filter.as_str()))
                    .collect(),
            )
        };
        self.send_envoy(Purpose::End, broker, client_id, upstream, mission);
    }

    fn bar(&mut self, broker: &BrokerName, downstreams: &BTreeSet<BrokerName>) {
        self.tell(|| {
            let names: Vec<&str> = downstreams.iter().map(BrokerName::as_str).collect();
            format!("{broker} is to keep out [{}]", names.join(" "))
        });
        let Some(broker) = number(broker) else { return };
        let bits = downstreams.iter().filter_map(number).map(|number| 1 << number);
        self.bars[broker] = super::Bars {
            downstreams: bits.fold(0, |all, bit| all | bit),
            turn: self.bars[broker].turn + 1,
            awaited: true,
        };
        if self.flaw == Some(Flaw::BarsNobody) {
            let downstreams = self.bars[broker].downstreams;
            self.after(MILLISECOND, Errand::Barred { broker, downstreams });
            return;
        }
        self.tell_bars(broker, self.life);
    }

    /// Tells a process, and again until it has answered.
    pub(super) fn tell_bars(&mut self, broker: BrokerId, life: u32) {
        let bars = self.bars[broker];
        if life == self.life && bars.awaited {
            let super::Bars {
                downstreams, turn, ..
            } = bars;
            self.fabric.air.say(broker, Word::Bar { downstreams, turn });
            self.after(400 * MILLISECOND, Errand::Bar { broker, life });
        }
    }

    pub(super) fn barred(&mut self, broker: BrokerId, downstreams: Brokers) {
        if self.bars[broker].downstreams != downstreams {
            return;
        }
        self.bars[broker].awaited = false;
        let all = (0..MOST_BROKERS).filter(|number| downstreams & (1 << number) != 0);
        let downstreams = all.filter_map(name).collect();
        if let Some(broker) = name(broker) {
            self.observe(Event::Barred { broker, downstreams });
        }
    }

    fn retire_broker(&mut self, broker: &BrokerName) {
        self.tell(|| format!("retire {broker}"));
        let Some(broker) = number(broker) else { return };
        self.retire(broker);
        let report = Report {
            loaded: self.sites[broker].loaded.as_ref().map(|given| given.epoch),
            rejected: None,
            version: None,
            process: Process::Stopped,
        };
        let life = self.life;
        self.after(20 * MILLISECOND, Errand::Report { broker, report, life });
    }
}
