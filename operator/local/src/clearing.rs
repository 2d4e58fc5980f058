//! What links leave upstream: the markers that prove a bridge has unsubscribed, and the sessions that are cleared of
//! their subscriptions over MQTT.

use std::time::Duration;

use skein_api::name::BrokerName;
use skein_engine::directive::Marker;
use skein_engine::event::Event;
use skein_filters::TopicFilter;
use skein_mqtt::{Address, LeftSession, Probe, ProbeEnd, RumqttSession, end_subscriptions};
use tokio::sync::mpsc;

/// The markers that are awaited, and the way back of what is done beside the loop.
#[derive(Debug)]
pub(crate) struct Clearing {
    markers: Vec<Marker>,
    done: mpsc::UnboundedSender<Event>,
}

impl Clearing {
    /// And where its events come.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (done, events) = mpsc::unbounded_channel();
        let clearing = Self {
            markers: Vec::new(),
            done,
        };
        (clearing, events)
    }

    /// Awaits these markers and no others.
    pub(crate) fn expect(&mut self, markers: Vec<Marker>) {
        self.markers = markers;
    }

    /// What to send and where to await it.
    pub(crate) fn probes(&self) -> impl Iterator<Item = Probe> {
        self.markers.iter().map(|marker| Probe {
            topic: marker.topic.clone(),
            at: marker.upstream.to_string(),
            consumers: vec![ProbeEnd {
                consumer: marker.broker.to_string(),
                at: marker.broker.to_string(),
            }],
        })
    }

    /// The outcome of a message on a topic: a marker came through, if it is one of those awaited.
    pub(crate) fn event(&self, topic: &str, took: Option<Duration>) -> Option<Event> {
        took?;
        let marker = self.markers.iter().find(|marker| marker.topic == topic)?;
        Some(Event::MarkerSeen {
            broker: marker.broker.clone(),
            connection: marker.connection.clone(),
        })
    }

    /// Clears a session beside the loop; the event comes when that is done.
    pub(crate) fn end(
        &self,
        broker: &BrokerName,
        client_id: &str,
        address: Option<Address>,
        filters: &[TopicFilter],
        discard: bool,
    ) {
        let (broker, client_id, done) = (broker.clone(), client_id.to_owned(), self.done.clone());
        let filters = filters.iter().map(ToString::to_string).collect();
        tokio::spawn(async move {
            let error = match address {
                None => Some("its broker has no address".to_owned()),
                Some(address) => {
                    let left = LeftSession {
                        address,
                        credentials: None,
                        client_id: client_id.clone(),
                        filters,
                        discard,
                    };
                    let ended = end_subscriptions::<RumqttSession>(&left).await;
                    ended.err().map(|error| error.to_string())
                }
            };
            // Nobody listens only when the loop has ended.
            let _ = done.send(Event::SubscriptionsEnded {
                broker,
                client_id,
                error,
            });
        });
    }
}
