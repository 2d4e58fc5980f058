//! [`Session`] over `rumqttc`, whose event loop is polled here directly: no task beside the caller, and its habit of
//! reconnecting on the next poll is not used.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Outgoing,
    Packet, Publish, SubscribeFilter, SubscribeReasonCode,
};

use crate::Address;
use crate::dialect::level;
use crate::session::{Incoming, Message, Options, PACKET_LIMIT, Qos, Session, SessionError, Ticket};

/// Requests that may wait for the network before the caller is told that the broker does not keep up.
const WAITING: usize = 1024;

/// Publishes under way at once.
const IN_FLIGHT: u16 = 64;

/// A [`Session`] over `rumqttc`.
pub struct RumqttSession {
    client: AsyncClient,
    event_loop: EventLoop,
    tickets: u64,
    /// Started and not yet numbered by the event loop, in order: it numbers publishes as it sends them.
    unsent_publishes: VecDeque<Ticket>,
    unsent_subscribes: VecDeque<(Ticket, Vec<String>)>,
    unsent_unsubscribes: VecDeque<Ticket>,
    publishes: HashMap<u16, Ticket>,
    /// At QoS 2, once received: the event loop may give the identifier to a further publish before PUBCOMP has come.
    releases: HashMap<u16, Ticket>,
    subscribes: HashMap<u16, (Ticket, Vec<String>)>,
    unsubscribes: HashMap<u16, Ticket>,
    put_back: VecDeque<Incoming>,
    closed: Option<String>,
    disconnected: bool,
}

impl RumqttSession {
    fn ticket(&mut self) -> Result<Ticket, SessionError> {
        if let Some(reason) = &self.closed {
            return Err(SessionError::Closed(reason.clone()));
        }
        self.tickets += 1;
        Ok(Ticket(self.tickets))
    }

    async fn poll(&mut self) -> Result<Option<Incoming>, SessionError> {
        if let Some(reason) = &self.closed {
            return Err(SessionError::Closed(reason.clone()));
        }
        let event = match self.event_loop.poll().await {
            Ok(event) => event,
            Err(error) => {
                self.closed = Some(error.to_string());
                return Err(translate(error, Duration::ZERO));
            }
        };
        match event {
            Event::Outgoing(outgoing) => Ok(self.sent(&outgoing)),
            Event::Incoming(packet) => self.received(packet),
        }
    }

    fn sent(&mut self, outgoing: &Outgoing) -> Option<Incoming> {
        match outgoing {
            Outgoing::Publish(packet) => {
                let ticket = self.unsent_publishes.pop_front()?;
                if *packet == 0 {
                    return Some(Incoming::Published(ticket));
                }
                self.publishes.insert(*packet, ticket);
            }
            Outgoing::Subscribe(packet) => {
                let subscribe = self.unsent_subscribes.pop_front()?;
                self.subscribes.insert(*packet, subscribe);
            }
            Outgoing::Unsubscribe(packet) => {
                let ticket = self.unsent_unsubscribes.pop_front()?;
                self.unsubscribes.insert(*packet, ticket);
            }
            Outgoing::Disconnect => self.disconnected = true,
            _ => {}
        }
        None
    }

    fn received(&mut self, packet: Packet) -> Result<Option<Incoming>, SessionError> {
        Ok(match packet {
            Packet::Publish(publish) => Some(Incoming::Message(message(publish))),
            Packet::PubAck(ack) => self.publishes.remove(&ack.pkid).map(Incoming::Published),
            Packet::PubRec(received) => {
                if let Some(ticket) = self.publishes.remove(&received.pkid) {
                    self.releases.insert(received.pkid, ticket);
                }
                None
            }
            Packet::PubComp(complete) => self.releases.remove(&complete.pkid).map(Incoming::Published),
            Packet::SubAck(ack) => match self.subscribes.remove(&ack.pkid) {
                None => None,
                Some((ticket, filters)) => {
                    let mut codes = ack.return_codes.iter();
                    let rejected = filters
                        .into_iter()
                        .find(|_| !matches!(codes.next(), Some(SubscribeReasonCode::Success(_))));
                    match rejected {
                        Some(filter) => return Err(SessionError::SubscriptionRejected(filter)),
                        None => Some(Incoming::Subscribed(ticket)),
                    }
                }
            },
            Packet::UnsubAck(ack) => self.unsubscribes.remove(&ack.pkid).map(Incoming::Unsubscribed),
            _ => None,
        })
    }
}

impl Session for RumqttSession {
    async fn connect(options: Options) -> Result<Self, SessionError> {
        let timeout = options.connect_timeout;
        let (client, mut event_loop) = AsyncClient::new(mqtt_options(&options)?, WAITING);
        let mut network = NetworkOptions::new();
        // A heartbeat is one small packet: it must not wait for an acknowledgement of the one before.
        network.set_tcp_nodelay(true);
        // Whole seconds, and also the limit for every later flush; the true limit for connecting is around the poll.
        network.set_connection_timeout(timeout.as_secs().max(1) + 1);
        event_loop.set_network_options(network);
        match tokio::time::timeout(timeout, event_loop.poll()).await {
            Err(_) => return Err(SessionError::TimedOut(timeout)),
            Ok(Err(error)) => return Err(translate(error, timeout)),
            Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => {}
            Ok(Ok(other)) => return Err(SessionError::Closed(format!("unexpected {other:?}"))),
        }
        Ok(Self {
            client,
            event_loop,
            tickets: 0,
            unsent_publishes: VecDeque::new(),
            unsent_subscribes: VecDeque::new(),
            unsent_unsubscribes: VecDeque::new(),
            publishes: HashMap::new(),
            releases: HashMap::new(),
            subscribes: HashMap::new(),
            unsubscribes: HashMap::new(),
            put_back: VecDeque::new(),
            closed: None,
            disconnected: false,
        })
    }

    fn start_publish(
        &mut self,
        topic: &str,
        qos: Qos,
        retain: bool,
        payload: Vec<u8>,
    ) -> Result<Ticket, SessionError> {
        let ticket = self.ticket()?;
        if !rumqttc::valid_topic(topic) {
            return Err(SessionError::Invalid(format!("topic {topic:?}")));
        }
        self.client
            .try_publish(topic, level(qos), retain, payload)
            .map_err(|_| SessionError::Overflow)?;
        self.unsent_publishes.push_back(ticket);
        Ok(ticket)
    }

    fn start_subscribe(&mut self, filters: &[&str], qos: Qos) -> Result<Ticket, SessionError> {
        let ticket = self.ticket()?;
        if let Some(filter) = filters.iter().find(|filter| !rumqttc::valid_filter(filter)) {
            return Err(SessionError::Invalid(format!("filter {filter:?}")));
        }
        if filters.is_empty() {
            return Err(SessionError::Invalid("a subscription without filters".to_owned()));
        }
        let many = filters
            .iter()
            .map(|&filter| SubscribeFilter::new(filter.to_owned(), level(qos)));
        self.client
            .try_subscribe_many(many)
            .map_err(|_| SessionError::Overflow)?;
        self.unsent_subscribes
            .push_back((ticket, filters.iter().map(|&filter| filter.to_owned()).collect()));
        Ok(ticket)
    }

    fn start_unsubscribe(&mut self, filter: &str) -> Result<Ticket, SessionError> {
        let ticket = self.ticket()?;
        self.client
            .try_unsubscribe(filter)
            .map_err(|_| SessionError::Overflow)?;
        self.unsent_unsubscribes.push_back(ticket);
        Ok(ticket)
    }

    async fn next(&mut self) -> Result<Incoming, SessionError> {
        if let Some(incoming) = self.put_back.pop_front() {
            return Ok(incoming);
        }
        loop {
            if let Some(incoming) = self.poll().await? {
                return Ok(incoming);
            }
        }
    }

    fn put_back(&mut self, incoming: Incoming) {
        self.put_back.push_back(incoming);
    }

    async fn disconnect(mut self) -> Result<(), SessionError> {
        self.client.try_disconnect().map_err(|_| SessionError::Overflow)?;
        while !self.disconnected {
            self.poll().await?;
        }
        Ok(())
    }
}

fn mqtt_options(options: &Options) -> Result<MqttOptions, SessionError> {
    // rumqttc panics on these; they are the caller's mistakes.
    let invalid = |what: &str| Err(SessionError::Invalid(what.to_owned()));
    if options.keep_alive < Duration::from_secs(1) {
        return invalid("a keep-alive of less than a second");
    }
    if options.client_id.is_empty() {
        return invalid("an empty client id");
    }
    let Address { host, port } = options.address.clone();
    let mut mqtt = MqttOptions::new(options.client_id.clone(), host, port);
    mqtt.set_keep_alive(options.keep_alive)
        .set_clean_session(true)
        .set_inflight(IN_FLIGHT)
        .set_max_packet_size(PACKET_LIMIT, PACKET_LIMIT);
    if let Some((user, password)) = &options.credentials {
        mqtt.set_credentials(user, password);
    }
    Ok(mqtt)
}

fn translate(error: ConnectionError, timeout: Duration) -> SessionError {
    match error {
        ConnectionError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            SessionError::Refused
        }
        ConnectionError::Io(error) => SessionError::Io(error),
        ConnectionError::NetworkTimeout => SessionError::TimedOut(timeout),
        ConnectionError::ConnectionRefused(code) => SessionError::Rejected(reason(code)),
        other => SessionError::Closed(other.to_string()),
    }
}

fn reason(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Success => "it says it accepts",
        ConnectReturnCode::RefusedProtocolVersion => "it does not speak MQTT 3.1.1",
        ConnectReturnCode::BadClientId => "bad client id",
        ConnectReturnCode::ServiceUnavailable => "service unavailable",
        ConnectReturnCode::BadUserNamePassword => "bad user name or password",
        ConnectReturnCode::NotAuthorized => "not authorised",
    }
}

fn message(publish: Publish) -> Message {
    Message {
        topic: publish.topic,
        payload: publish.payload.to_vec(),
    }
}
