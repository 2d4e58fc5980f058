//! What is done over MQTT for the sake of links and of clients that move: markers, sessions opened for who is to come, sessions
//! that were left cleared of their subscriptions, or ended, and retained values.

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

use crate::values::{self, Keeper, Kept, Move, ValuesError};

/// Sessions of clients that are opened or ended at one broker at a time: it may have thousands.
const AT_ONCE: usize = 16;

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
    /// By broker, who may be busy with the sessions of its clients.
    turns: BTreeMap<BrokerName, Arc<Semaphore>>,
}

impl Envoys {
    /// And where their events come.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (done, events) = mpsc::unbounded_channel();
        let envoys = Self {
            markers: Vec::new(),
            done,
            turns: BTreeMap::new(),
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
            move |client_id, outcome| Event::SubscriptionsEnded {
                broker,
                client_id,
                error: outcome.err(),
            },
        );
    }

    /// Passes on beside the loop what waits in a session; the event comes when that is done.
    pub(crate) fn adopt(
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
    pub(crate) fn open_client(
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
    pub(crate) fn end_client(&mut self, broker: &BrokerName, client_id: &str, at: Option<Address>) {
        let (turn, broker) = (self.turn(broker), broker.clone());
        self.send(
            at,
            client_id,
            move |client_id, address| async move {
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

    /// Has a broker forget beside the loop what it is not to keep; the event comes when that is done.
    pub(crate) fn forget_values(
        &self,
        broker: &BrokerName,
        at: Result<Keeper, ValuesError>,
        kept: Kept,
        serial: u64,
    ) {
        let (broker, done) = (broker.clone(), self.done.clone());
        tokio::spawn(async move {
            let forgotten = match at {
                Ok(keeper) => values::forget(keeper, kept, format!("{broker}-{serial}")).await,
                Err(error) => Err(error),
            };
            let error = forgotten.err().map(|error| error.to_string());
            let _ = done.send(Event::ValuesForgotten {
                broker,
                serial,
                error,
            });
        });
    }

    /// Has the values of clients go with them beside the loop; the event comes when that is done.
    pub(crate) fn bring_values(&self, home: &BrokerName, moved: Result<Move, ValuesError>, serial: u64) {
        let (home, done) = (home.clone(), self.done.clone());
        tokio::spawn(async move {
            let brought = match moved {
                Ok(moved) => values::bring(moved, format!("{home}-{serial}")).await,
                Err(error) => Err(error),
            };
            let error = brought.err().map(|error| error.to_string());
            let _ = done.send(Event::ValuesCopied { home, serial, error });
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
        let (client_id, done) = (client_id.to_owned(), self.done.clone());
        tokio::spawn(async move {
            let outcome = match at {
                None => Err("its broker has no address".to_owned()),
                Some(at) => errand(client_id.clone(), at)
                    .await
                    .map_err(|error| error.to_string()),
            };
            // Nobody listens only when the loop has ended.
            let _ = done.send(event(client_id, outcome));
        });
    }
}

/// The same, as said over MQTT.
pub(crate) fn level(qos: Qos) -> Level {
    match qos {
        Qos::AtMostOnce => Level::AtMostOnce,
        Qos::AtLeastOnce => Level::AtLeastOnce,
        Qos::ExactlyOnce => Level::ExactlyOnce,
    }
}
