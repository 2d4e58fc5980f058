//! Directives, done at once: what each answers, and the step that it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::{BrokerName, Qos};
use skein_filters::TopicFilter;
use skein_mosquitto::config::parse;
use skein_mosquitto::link::Link;
use skein_mosquitto::transition::transition;
use skein_planner::diff::link_changes;

use super::super::caution;
use super::super::step::{self, Loading, Step};
use super::{Loaded, World};
use crate::directive::{Directive, Marker};
use crate::event::{Epoch, Event};
use crate::sessions::ClientSessions;

impl World<'_> {
    /// Does all of it at once, and says what that was. Whatever is only written down is no step.
    pub(super) fn execute(&mut self, directives: Vec<Directive>) -> Vec<Step> {
        let mut newest = BTreeMap::new();
        for directive in &directives {
            if let Directive::GiveConfig { broker, epoch, .. } = directive {
                newest.insert(broker.clone(), *epoch);
            }
        }
        let mut steps = Vec::new();
        for directive in directives {
            match directive {
                Directive::GiveConfig {
                    broker,
                    epoch,
                    config,
                    links,
                } => {
                    if newest.get(&broker) == Some(&epoch) {
                        steps.extend(self.load(broker, epoch, &config, links));
                    }
                }
                Directive::AwaitMarkers(markers) => {
                    let before: BTreeSet<Marker> = std::mem::take(&mut self.awaited).into_iter().collect();
                    let new = markers.iter().filter(|marker| !before.contains(marker));
                    let run = &self.run;
                    steps.extend(step::awaited(new, &|broker| run.get(broker)?.config()));
                    let given_up = before.iter().filter(|marker| !markers.contains(marker));
                    let lost = given_up.filter(|marker| !self.came.contains(*marker));
                    self.cautions.extend(lost.map(caution::lost));
                    self.awaited = markers;
                }
                Directive::Retire { broker } => {
                    self.stopped.push(broker.clone());
                    self.run.remove(&broker);
                    self.placed.remove(&broker);
                    self.answers.push(Event::SupervisorLost {
                        broker: broker.clone(),
                    });
                    steps.push(Step::Stop { broker });
                }
                Directive::PointAddress { broker, to } => steps.push(Step::PointAddress { broker, to }),
                Directive::Bar { broker, downstreams } => {
                    self.answers.push(Event::Barred {
                        broker: broker.clone(),
                        downstreams: downstreams.clone(),
                    });
                    steps.push(Step::Bar { broker, downstreams });
                }
                Directive::RecordSessions(_) | Directive::RecordMigration(_) => {}
                directive @ (Directive::Seed { .. }
                | Directive::EndSubscriptions { .. }
                | Directive::Adopt { .. }) => steps.extend(self.stand_in(directive)),
                directive @ (Directive::ReadSessions { .. }
                | Directive::OpenClientSession { .. }
                | Directive::EndClientSession { .. }
                | Directive::ForgetValues { .. }
                | Directive::CopyValues { .. }) => steps.extend(self.lodge(directive)),
            }
        }
        steps
    }

    /// Sessions of links, at whose brokers somebody stands in for them.
    fn stand_in(&mut self, directive: Directive) -> Option<Step> {
        match directive {
            Directive::Seed {
                broker,
                client_id,
                subscriptions,
                ..
            } => {
                let link = step::link(&client_id);
                self.answers.push(Event::Seeded {
                    broker,
                    client_id,
                    error: None,
                });
                let subscribed = |(filter, qos): &(TopicFilter, Qos)| format!("{filter} qos {qos}");
                Some(Step::OpenSession {
                    link: link?,
                    subscriptions: subscriptions.iter().map(subscribed).collect(),
                })
            }
            Directive::EndSubscriptions {
                broker,
                client_id,
                discard,
                ..
            } => {
                let link = step::link(&client_id);
                self.answers.push(Event::SubscriptionsEnded {
                    broker,
                    client_id,
                    error: None,
                });
                Some(Step::EndSession { link: link?, discard })
            }
            Directive::Adopt {
                broker,
                client_id,
                to,
                ..
            } => {
                let link = step::link(&client_id);
                self.answers.push(Event::Adopted {
                    broker,
                    client_id,
                    messages: 0,
                    error: None,
                });
                Some(Step::PassOn { link: link?, to })
            }
            _ => None,
        }
    }

    /// What brokers keep of clients: no sessions, and values that are as they should be.
    fn lodge(&mut self, directive: Directive) -> Option<Step> {
        let (step, answer) = match directive {
            Directive::ReadSessions { broker, serial } => {
                let answer = Event::SessionsRead {
                    broker: broker.clone(),
                    sessions: Some(Arc::new(ClientSessions::default())),
                    serial: Some(serial),
                };
                (Step::ReadSessions { broker }, answer)
            }
            Directive::OpenClientSession {
                broker, client_id, ..
            } => {
                let answer = Event::ClientSessionOpened {
                    broker: broker.clone(),
                    client_id: client_id.clone(),
                    error: None,
                };
                (Step::OpenClientSession { broker, client_id }, answer)
            }
            Directive::EndClientSession { broker, client_id } => {
                let answer = Event::ClientSessionEnded {
                    broker: broker.clone(),
                    client_id: client_id.clone(),
                    error: None,
                };
                (Step::EndClientSession { broker, client_id }, answer)
            }
            Directive::ForgetValues { broker, serial, .. } => {
                let answer = Event::ValuesForgotten {
                    broker: broker.clone(),
                    serial,
                    error: None,
                };
                (Step::ForgetValues { broker }, answer)
            }
            Directive::CopyValues {
                home,
                from,
                to,
                serial,
                ..
            } => {
                let answer = Event::ValuesCopied {
                    home: home.clone(),
                    serial,
                    error: None,
                };
                (Step::CopyValues { home, from, to }, answer)
            }
            _ => return None,
        };
        self.answers.push(answer);
        Some(step)
    }

    /// A supervisor loads a configuration, as its version of Mosquitto can.
    fn load(&mut self, broker: BrokerName, epoch: Epoch, text: &str, links: Vec<Arc<Link>>) -> Option<Step> {
        let run = self.run.get_mut(&broker)?;
        let config = parse(text).ok();
        let before = run.loaded.take();
        let (mut loading, mut reasons) = (Loading::Start, Vec::new());
        if let Some(before) = &before {
            loading = Loading::Restart;
            if let (Some(old), Some(new)) = (&before.config, &config) {
                let needed = transition(old, new, run.version);
                loading = needed.action.into();
                reasons = needed.reasons;
                if loading == Loading::Restart {
                    self.cautions.extend(caution::restarted(old, new, run.version));
                }
            }
        }
        if matches!(loading, Loading::Start | Loading::Restart) {
            run.pid += 1;
        }
        let held = before.as_ref().map(|before| before.links.as_slice());
        let changes = link_changes(held.unwrap_or_default(), &links);
        let costs = changes
            .iter()
            .filter_map(|change| caution::changed(change, &links));
        self.cautions.extend(costs);
        run.loaded = Some(Loaded { epoch, config, links });
        let report = run.report(&broker);
        self.answers.push(report);
        Some(Step::GiveConfiguration {
            broker,
            epoch,
            version: run.version.to_string(),
            loading,
            reasons,
            links: changes,
        })
    }
}
