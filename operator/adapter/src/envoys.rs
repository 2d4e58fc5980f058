//! What is done over MQTT for the sake of links and of clients that move: markers, sessions opened for who is to come, sessions
//! that were left cleared of their subscriptions, or ended; and the way back of whatever else is done beside the loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skein_api::name::{BrokerName, Qos};
use skein_engine::directive::Marker;
use skein_engine::event::Event;
use skein_engine::sessions::ClientSession;
use skein_filters::TopicFilter;
use skein_mqtt::session::{Qos as Level, SessionError};
use skein_mqtt::{
    Address, AdoptedSession, ClientSubscription, LeftSession, Probe, ProbeEnd, SeededSession, Target, adopt,
    end_subscriptions, open_client_session, seed,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

/// Sessions of clients that are opened or ended at one broker at a time: it may have thousands.
const AT_ONCE: usize = 16;

/// How a broker is reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where it listens for bridges.
    pub address: Address,
    /// User and password, where it asks for them.
    pub credentials: Option<(String, String)>,
}

/// The markers that are awaited, and the way back of what is done beside the loop.
#[derive(Debug)]
pub struct Envoys {
    markers: Vec<Marker>,
    /// Until then none is sent, and none counts.
    held: Option<Instant>,
    done: mpsc::UnboundedSender<Event>,
    /// By broker, who may be busy with the sessions of its clients.
    turns: BTreeMap<BrokerName, Arc<Semaphore>>,
}

impl Envoys {
    /// And where their events come.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (done, events) = mpsc::unbounded_channel();
        let envoys = Self {
            markers: Vec::new(),
            held: None,
            done,
            turns: BTreeMap::new(),
        };
        (envoys, events)
    }

    /// Where events of what is done beside the loop go.
    #[must_use]
    pub fn way_back(&self) -> &mpsc::UnboundedSender<Event> {
        &self.done
    }

    /// Awaits these markers and no others.
    pub fn expect(&mut self, markers: Vec<Marker>) {
        self.markers = markers;
    }

    /// Sends no marker until then, so that those which come through prove something of all that is published by then.
    pub fn hold(&mut self, until: Instant) {
        self.held = self.held.max(Some(until));
    }

    /// Whether that is over, which is told once.
    pub fn is_released(&mut self, now: Instant) -> bool {
        self.held.take_if(|until| *until <= now).is_some()
    }

    /// What to send and where to await it.
    pub fn probes(&self) -> impl Iterator<Item = Probe> {
        let mut probes: BTreeMap<(&BrokerName, &str), Vec<ProbeEnd>> = BTreeMap::new();
        for marker in self.markers.iter().filter(|_| self.held.is_none()) {
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
    #[must_use]
    pub fn event(&self, topic: &str, consumer: &str, took: Option<Duration>) -> Option<Event> {
        took.filter(|_| self.held.is_none())?;
        let awaited = |marker: &&Marker| marker.topic == topic && marker.broker.as_str() == consumer;
        let marker = self.markers.iter().find(awaited)?;
        Some(Event::MarkerSeen {
            broker: marker.broker.clone(),
            topic: marker.topic.clone(),
        })
    }

    /// Opens a session beside the loop; the event comes when that is done.
    pub fn seed(
        &self,
        broker: &BrokerName,
        client_id: &str,
        at: Option<Access>,
        subscriptions: &[(TopicFilter, Qos)],
    ) {
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
            move |client_id, outcome| Event::Seeded {
                broker,
                client_id,
                error: outcome.err(),
            },
        );
    }

    /// Clears a session beside the loop; the event comes when that is done.
    pub fn end(
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
            move |client_id, outcome| Event::SubscriptionsEnded {
                broker,
                client_id,
                error: outcome.err(),
            },
        );
    }

    /// Passes on beside the loop what waits in a session; the event comes when that is done.
    pub fn adopt(
        &self,
        broker: &BrokerName,
        client_id: &str,
        at: Option<(Access, Vec<Access>)>,
        filters: &[TopicFilter],
    ) {
        let unwanted = filters.iter().map(ToString::to_string).collect();
        let broker = broker.clone();
        self.send(
            at,
            client_id,
            move |client_id, (at, to)| async move {
                let target = |to: Access| Target {
                    address: to.address,
                    credentials: to.credentials,
                };
                let session = AdoptedSession {
                    address: at.address,
                    credentials: at.credentials,
                    client_id,
                    unwanted,
                    to: to.into_iter().map(target).collect(),
                };
                adopt(&session).await
            },
            move |client_id, outcome| {
                let (messages, error) = match outcome {
                    Ok(messages) => (messages, None),
                    Err(error) => (0, Some(error)),
                };
                Event::Adopted {
                    broker,
                    client_id,
                    messages,
                    error,
                }
            },
        );
    }

    /// Opens a client's session beside the loop, without what it was subscribed to before; the event comes when that is done.
    ///
    /// As nobody, whatever the client calls itself: no broker of ours knows a client's name, and each lets in who gives none. A
    /// session has another user than none only where nobody is asked for a name, or where 2.0 wrote down somebody else's.
    pub fn open_client(
        &mut self,
        broker: &BrokerName,
        client_id: &str,
        at: Option<Address>,
        session: &ClientSession,
        before: Option<&ClientSession>,
    ) {
        let subscriptions = session.subscriptions.iter();
        let subscriptions = subscriptions.map(|(filter, how)| ClientSubscription {
            filter: filter.clone(),
            qos: level(how.qos),
            no_local: how.no_local,
            retain_as_published: how.retain_as_published,
            identifier: how.identifier,
        });
        let subscriptions = subscriptions.collect();
        let before = before.into_iter().flat_map(|before| before.subscriptions.keys());
        let unwanted = before.filter(|filter| !session.subscriptions.contains_key(*filter));
        let unwanted = unwanted.cloned().collect();
        let expiry = session.expiry;
        let (turn, broker) = (self.turn(broker), broker.clone());
        self.send(
            at,
            client_id,
            move |client_id, address| async move {
                let _turn = turn.acquire().await;
                let session = skein_mqtt::ClientSession {
                    address,
                    credentials: None,
                    client_id,
                    expiry,
                    subscriptions,
                    unwanted,
                };
                open_client_session(&session).await
            },
            move |client_id, outcome| Event::ClientSessionOpened {
                broker,
                client_id,
                error: outcome.err(),
            },
        );
    }

    /// Ends a client's session beside the loop; the event comes when that is done.
    pub fn end_client(&mut self, broker: &BrokerName, client_id: &str, at: Option<Address>) {
        let (turn, broker) = (self.turn(broker), broker.clone());
        // A client that is led there once more meanwhile finds what it had.
        let held = self.held;
        self.send(
            at,
            client_id,
            move |client_id, address| async move {
                if let Some(until) = held {
                    sleep_until(until).await;
                }
                let _turn = turn.acquire().await;
                let left = LeftSession {
                    address,
                    credentials: None,
                    client_id,
                    filters: Vec::new(),
                    discard: true,
                };
                end_subscriptions(&left).await
            },
            move |client_id, outcome| Event::ClientSessionEnded {
                broker,
                client_id,
                error: outcome.err(),
            },
        );
    }

    fn turn(&mut self, broker: &BrokerName) -> Arc<Semaphore> {
        let turns = self.turns.entry(broker.clone());
        turns.or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))).clone()
    }

    /// Does something else beside the loop; the event that it ends with comes as those of the others do.
    pub fn beside(&self, errand: impl Future<Output = Event> + Send + 'static) {
        let done = self.done.clone();
        tokio::spawn(async move {
            // Nobody listens only when the loop has ended.
            let _ = done.send(errand.await);
        });
    }

    /// Has something done under a client id at an address, and tells what came of it.
    fn send<A: Send + 'static, T: Send, F>(
        &self,
        at: Option<A>,
        client_id: &str,
        errand: impl FnOnce(String, A) -> F + Send + 'static,
        event: impl FnOnce(String, Result<T, String>) -> Event + Send + 'static,
    ) where
        F: Future<Output = Result<T, SessionError>> + Send,
    {
        let client_id = client_id.to_owned();
        self.beside(async move {
            let outcome = match at {
                None => Err("its broker has no address".to_owned()),
                Some(at) => errand(client_id.clone(), at)
                    .await
                    .map_err(|error| error.to_string()),
            };
            event(client_id, outcome)
        });
    }
}

/// The same, as said over MQTT.
#[must_use]
pub fn level(qos: Qos) -> Level {
    match qos {
        Qos::AtMostOnce => Level::AtMostOnce,
        Qos::AtLeastOnce => Level::AtLeastOnce,
        Qos::ExactlyOnce => Level::ExactlyOnce,
    }
}
