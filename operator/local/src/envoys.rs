//! What is done over MQTT for the sake of links: markers, sessions opened for links to come, and sessions that links left
//! cleared of their subscriptions.

use std::collections::BTreeMap;
use std::time::Duration;

use skein_api::name::{BrokerName, Qos};
use skein_engine::directive::Marker;
use skein_engine::event::Event;
use skein_filters::TopicFilter;
use skein_mqtt::session::{Qos as Level, SessionError};
use skein_mqtt::{Address, LeftSession, Probe, ProbeEnd, SeededSession, end_subscriptions, seed};
use tokio::sync::mpsc;

/// How a broker is reached.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Where it listens for bridges.
    pub(crate) address: Address,
    /// User and password, where it asks for them.
    pub(crate) credentials: Option<(String, String)>,
}

/// The markers that are awaited, and the way back of what is done beside the loop.
#[derive(Debug)]
pub(crate) struct Envoys {
    markers: Vec<Marker>,
    done: mpsc::UnboundedSender<Event>,
}

impl Envoys {
    /// And where their events come.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (done, events) = mpsc::unbounded_channel();
        let envoys = Self {
            markers: Vec::new(),
            done,
        };
        (envoys, events)
    }

    /// Where events of what is done beside the loop go.
    pub(crate) fn way_back(&self) -> &mpsc::UnboundedSender<Event> {
        &self.done
    }

    /// Awaits these markers and no others.
    pub(crate) fn expect(&mut self, markers: Vec<Marker>) {
        self.markers = markers;
    }

    /// What to send and where to await it.
    pub(crate) fn probes(&self) -> impl Iterator<Item = Probe> {
        let mut probes: BTreeMap<(&BrokerName, &str), Vec<ProbeEnd>> = BTreeMap::new();
        for marker in &self.markers {
            let ends = probes.entry((&marker.origin, &marker.topic)).or_default();
            ends.push(ProbeEnd {
                consumer: marker.broker.to_string(),
                at: marker.broker.to_string(),
            });
        }
        probes.into_iter().map(|((origin, topic), consumers)| Probe {
            topic: topic.to_owned(),
            at: origin.to_string(),
            qos: Level::ExactlyOnce,
            consumers,
        })
    }

    /// The outcome of a message on a topic: a marker came through, if it is one of those awaited.
    pub(crate) fn event(&self, topic: &str, consumer: &str, took: Option<Duration>) -> Option<Event> {
        took?;
        let awaited = |marker: &&Marker| marker.topic == topic && marker.broker.as_str() == consumer;
        let marker = self.markers.iter().find(awaited)?;
        Some(Event::MarkerSeen {
            broker: marker.broker.clone(),
            topic: marker.topic.clone(),
        })
    }

    /// Opens a session beside the loop; the event comes when that is done.
    pub(crate) fn seed(
        &self,
        broker: &BrokerName,
        client_id: &str,
        at: Option<Access>,
        subscriptions: &[(TopicFilter, Qos)],
    ) {
        let level = |qos| match qos {
            Qos::AtMostOnce => Level::AtMostOnce,
            Qos::AtLeastOnce => Level::AtLeastOnce,
            Qos::ExactlyOnce => Level::ExactlyOnce,
        };
        let subscriptions = subscriptions
            .iter()
            .map(|(filter, qos)| (filter.to_string(), level(*qos)))
            .collect();
        let broker = broker.clone();
        self.send(
            at,
            client_id,
            move |client_id, at| async move {
                let seeded = SeededSession {
                    address: at.address,
                    credentials: at.credentials,
                    client_id,
                    subscriptions,
                };
                seed(&seeded).await
            },
            move |client_id, error| Event::Seeded {
                broker,
                client_id,
                error,
            },
        );
    }

    /// Clears a session beside the loop; the event comes when that is done.
    pub(crate) fn end(
        &self,
        broker: &BrokerName,
        client_id: &str,
        at: Option<Access>,
        filters: &[TopicFilter],
        discard: bool,
    ) {
        let filters = filters.iter().map(ToString::to_string).collect();
        let broker = broker.clone();
        self.send(
            at,
            client_id,
            move |client_id, at| async move {
                let left = LeftSession {
                    address: at.address,
                    credentials: at.credentials,
                    client_id,
                    filters,
                    discard,
                };
                end_subscriptions(&left).await
            },
            move |client_id, error| Event::SubscriptionsEnded {
                broker,
                client_id,
                error,
            },
        );
    }

    /// Has something done under a client id at an address, and tells what came of it.
    fn send<F>(
        &self,
        at: Option<Access>,
        client_id: &str,
        errand: impl FnOnce(String, Access) -> F + Send + 'static,
        event: impl FnOnce(String, Option<String>) -> Event + Send + 'static,
    ) where
        F: Future<Output = Result<(), SessionError>> + Send,
    {
        let (client_id, done) = (client_id.to_owned(), self.done.clone());
        tokio::spawn(async move {
            let error = match at {
                None => Some("its broker has no address".to_owned()),
                Some(at) => errand(client_id.clone(), at)
                    .await
                    .err()
                    .map(|error| error.to_string()),
            };
            // Nobody listens only when the loop has ended.
            let _ = done.send(event(client_id, error));
        });
    }
}
