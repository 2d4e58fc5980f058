//! One MQTT 3.1.1 connection with a session of its own, as Skein needs it: started once, never reconnected behind the
//! caller's back. What is done in somebody else's session is `stand_in`'s.
//!
//! Nothing runs beside the caller: the connection makes progress only while one of its futures is polled, so a caller
//! that wants pings answered keeps [`Session::next`] pending.

use std::future::Future;
use std::io;
use std::time::Duration;

use crate::Address;

/// The largest packet MQTT can express, in bytes: what a broker may send is not for us to limit.
pub(crate) const PACKET_LIMIT: usize = 268_435_455;

/// Filters per SUBSCRIBE packet.
pub(crate) const FILTERS: usize = 100;

/// How to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where to.
    pub address: Address,
    /// As whom. Two live connections with one client id kick each other for ever.
    pub client_id: String,
    /// User name and password, if the broker asks for them.
    pub credentials: Option<(String, String)>,
    /// Time between two pings; at least one second. A ping unanswered when the next is due ends the connection.
    pub keep_alive: Duration,
    /// How long TCP and MQTT connecting may take together.
    pub connect_timeout: Duration,
}

impl Options {
    /// 5 s to connect and between pings.
    #[must_use]
    pub fn new(address: Address, client_id: impl Into<String>) -> Self {
        Self {
            address,
            client_id: client_id.into(),
            credentials: None,
            keep_alive: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// Why a connection is not there (any more).
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nobody listens at the address.
    #[error("connection refused: nobody listens there")]
    Refused,
    /// The broker listens and does not want us.
    #[error("the broker rejects the connection: {0}")]
    Rejected(&'static str),
    /// It took longer than allowed.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The broker rejects a subscription.
    #[error("the broker rejects the subscription of {0}")]
    SubscriptionRejected(String),
    /// The broker does not take a message.
    #[error("the broker rejects the message at {topic}: {reason}")]
    MessageRejected {
        /// The topic of the first such message.
        topic: String,
        /// As MQTT 5.0 calls it (2.4 there), such as `NotAuthorized`.
        reason: String,
    },
    /// What was asked for cannot be sent, such as a topic with a wildcard.
    #[error("not a valid request: {0}")]
    Invalid(String),
    /// Too much is waiting to be sent: the broker does not take it.
    #[error("the broker does not keep up: too many requests are waiting")]
    Overflow,
    /// The operating system reports a failure.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// The connection ended, or its other end broke the protocol.
    #[error("the connection ended: {0}")]
    Closed(String),
}

/// An MQTT quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// 0.
    AtMostOnce,
    /// 1.
    AtLeastOnce,
    /// 2.
    ExactlyOnce,
}

/// A message received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its content.
    pub payload: Vec<u8>,
}

/// A publish, subscribe or unsubscribe under way; numbered from 1 within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a session reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message(Message),
    /// The broker has taken the publish (PUBACK; at QoS 2 PUBCOMP; at QoS 0 it was sent).
    Published(Ticket),
    /// The broker has taken the subscription (SUBACK), with every filter accepted.
    Subscribed(Ticket),
    /// The broker has ended the subscription (UNSUBACK).
    Unsubscribed(Ticket),
}

/// One connection. Errors are final: after the first, every call fails; connect again.
pub trait Session: Send + Sized {
    /// Connects, and waits until the broker accepts.
    fn connect(options: Options) -> impl Future<Output = Result<Self, SessionError>> + Send;

    /// Starts a publish; [`Incoming::Published`] with the same ticket tells its end.
    fn start_publish(
        &mut self,
        topic: &str,
        qos: Qos,
        retain: bool,
        payload: Vec<u8>,
    ) -> Result<Ticket, SessionError>;

    /// Starts a subscription of all the filters in one packet; [`Incoming::Subscribed`] with the same ticket tells its end.
    fn start_subscribe(&mut self, filters: &[&str], qos: Qos) -> Result<Ticket, SessionError>;

    /// Starts to end a subscription; [`Incoming::Unsubscribed`] with the same ticket tells that it has ended.
    fn start_unsubscribe(&mut self, filter: &str) -> Result<Ticket, SessionError>;

    /// The next thing that happens. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Incoming, SessionError>> + Send;

    /// Puts something back that [`Session::next`] returned too early: it is returned again, after what was put back before.
    fn put_back(&mut self, incoming: Incoming);

    /// Subscribes and waits until the broker has accepted every filter. Messages that arrive meanwhile wait.
    fn subscribe(
        &mut self,
        filters: &[&str],
        qos: Qos,
    ) -> impl Future<Output = Result<(), SessionError>> + Send {
        async move {
            let ticket = self.start_subscribe(filters, qos)?;
            self.wait(&Incoming::Subscribed(ticket)).await
        }
    }

    /// Waits for the end of what was started. What happens meanwhile waits.
    fn wait(&mut self, awaited: &Incoming) -> impl Future<Output = Result<(), SessionError>> + Send {
        async move {
            let mut others = Vec::new();
            let result = loop {
                match self.next().await {
                    Ok(incoming) if incoming == *awaited => break Ok(()),
                    Ok(incoming) => others.push(incoming),
                    Err(error) => break Err(error),
                }
            };
            for other in others {
                self.put_back(other);
            }
            result
        }
    }

    /// Ends the connection orderly: what was started is sent before.
    fn disconnect(self) -> impl Future<Output = Result<(), SessionError>> + Send;
}
