//! One broker's connection: keeps it up, beats, subscribes and publishes probes. Measures nothing but heartbeats.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::pulse::Pulse;
use crate::session::{FILTERS, Incoming, Message, Options, Qos, Session, SessionError};
use crate::{Address, HEARTBEAT_TOPIC};

/// How long a connection attempt may hang, and after which silence a connection is given up. Long on purpose: a stopped
/// process that goes on answers on the connection it has, and each attempt at a stopped one stays in its backlog.
const PATIENCE: Duration = Duration::from_secs(5);

/// Each message comes as it was published.
const ANY: Qos = Qos::ExactlyOnce;

/// What a line is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Duties {
    pub(crate) address: Address,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) interval: Duration,
    pub(crate) subscriptions: BTreeSet<Arc<str>>,
}

/// A probe to send.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) topic: Arc<str>,
    pub(crate) qos: Qos,
    pub(crate) payload: Vec<u8>,
}

/// What a line tells.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A heartbeat came back.
    Answered(Duration),
    /// None did.
    Missed { refused: bool, why: String },
    /// A message on one of the subscriptions.
    Message {
        topic: String,
        payload: Vec<u8>,
        at: Instant,
    },
}

pub(crate) struct Line<F> {
    pub(crate) broker: Arc<str>,
    pub(crate) instance: Arc<str>,
    pub(crate) duties: watch::Receiver<Duties>,
    pub(crate) publications: mpsc::Receiver<Publication>,
    pub(crate) tell: F,
    /// The same for all lines of one watch.
    pub(crate) origin: Instant,
}

/// Why a connection was left.
enum Left {
    /// The address or the credentials changed.
    Moved,
    /// It failed.
    Lost(SessionError),
    /// Nobody wants this line any more.
    Done,
}

impl<F: FnMut(Heard) + Send> Line<F> {
    /// Runs until the duties' sender is dropped.
    pub(crate) async fn run<S: Session>(mut self) {
        let interval = self.duties.borrow().interval;
        let mut pulse = Pulse::new(interval, Instant::now(), self.origin);
        // A first refusal after contact (or ever) is told at once; the following ones once per interval.
        let mut contact = true;
        loop {
            let Some((session, subscribed)) = self.connect::<S>(&mut pulse, &mut contact).await else {
                return;
            };
            contact = true;
            let began = Instant::now();
            match self.serve(session, subscribed, &mut pulse).await {
                Left::Done => return,
                Left::Moved => {}
                Left::Lost(error) => {
                    pulse.disconnected();
                    // Reconnect at once, unless the broker throws us out again and again.
                    let next = began + pace(pulse.interval());
                    if !self.pause(next, &mut pulse, false, &error.to_string()).await {
                        return;
                    }
                }
            }
            pulse.disconnected();
        }
    }

    /// Tries until it is connected and subscribed; `None` if nobody wants this line any more.
    async fn connect<S: Session>(
        &mut self,
        pulse: &mut Pulse,
        contact: &mut bool,
    ) -> Option<(S, BTreeSet<Arc<str>>)> {
        let mut last = None;
        loop {
            let duties = self.duties.borrow_and_update().clone();
            pulse.set_interval(duties.interval, Instant::now());
            let began = Instant::now();
            let mut attempt = Box::pin(attempt::<S>(&self.broker, &self.instance, &duties));
            let error = loop {
                tokio::select! {
                    biased;
                    result = &mut attempt => match result {
                        Ok(session) => return Some((session, duties.subscriptions.clone())),
                        Err(error) => break Some(error),
                    },
                    changed = self.duties.changed() => {
                        changed.ok()?;
                        let now = self.duties.borrow().clone();
                        if now.address != duties.address || now.credentials != duties.credentials {
                            break None;
                        }
                        pulse.set_interval(now.interval, Instant::now());
                    }
                    () = sleep_until(pulse.deadline()) => if pulse.turn(Instant::now()) == Some(true) {
                        // An attempt that has only just begun knows less than the one before.
                        let young = began.elapsed() < pace(pulse.interval());
                        let (refused, why) = last
                            .clone()
                            .filter(|_| young)
                            .unwrap_or_else(|| (false, "no answer to the connection attempt".to_owned()));
                        (self.tell)(Heard::Missed { refused, why });
                    },
                    publication = self.publications.recv() => { publication?; }
                }
            };
            drop(attempt);
            let Some(error) = error else { continue };
            let refused = matches!(error, SessionError::Refused);
            let why = error.to_string();
            if refused && std::mem::take(contact) {
                (self.tell)(Heard::Missed {
                    refused,
                    why: why.clone(),
                });
                pulse.restart(Instant::now());
            }
            let next = began + pace(pulse.interval());
            if !self.pause(next, pulse, refused, &why).await {
                return None;
            }
            last = Some((refused, why));
        }
    }

    /// Waits, telling misses as they fall due. False if nobody wants this line any more.
    async fn pause(&mut self, until: Instant, pulse: &mut Pulse, refused: bool, why: &str) -> bool {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(until) => return true,
                changed = self.duties.changed() => return changed.is_ok(),
                () = sleep_until(pulse.deadline()) => if pulse.turn(Instant::now()) == Some(true) {
                    (self.tell)(Heard::Missed { refused, why: why.to_owned() });
                },
                publication = self.publications.recv() => if publication.is_none() { return false },
            }
        }
    }

    /// Beats and listens on a connection until it ends.
    async fn serve<S: Session>(
        &mut self,
        mut session: S,
        mut subscribed: BTreeSet<Arc<str>>,
        pulse: &mut Pulse,
    ) -> Left {
        let duties = self.duties.borrow().clone();
        let heartbeat = format!("{HEARTBEAT_TOPIC}{}", self.broker);
        let beat = |session: &mut S, pulse: &mut Pulse, instance: &str| match pulse.beat(Instant::now()) {
            None => Ok(()),
            Some(sequence) => {
                let payload = format!("{instance} {sequence}").into_bytes();
                session
                    .start_publish(&heartbeat, Qos::AtLeastOnce, false, payload)
                    .map(|_| ())
            }
        };
        // Subscriptions may have changed while it connected.
        let started = resubscribe(&mut session, &mut subscribed, duties.subscriptions.clone())
            .and_then(|()| beat(&mut session, pulse, &self.instance));
        if let Err(error) = started {
            return Left::Lost(error);
        }
        loop {
            // Messages first: what has arrived by the end of an interval is not a miss.
            let done = tokio::select! {
                biased;
                incoming = session.next() => match incoming {
                    Err(error) => Err(error),
                    Ok(Incoming::Message(message)) => {
                        self.received(message, pulse);
                        Ok(())
                    }
                    Ok(Incoming::Published(_) | Incoming::Subscribed(_) | Incoming::Unsubscribed(_)) => {
                        pulse.hear();
                        Ok(())
                    }
                },
                changed = self.duties.changed() => {
                    if changed.is_err() {
                        // A broker that hangs must not hold up the farewell.
                        let _ = tokio::time::timeout(Duration::from_millis(100), session.disconnect()).await;
                        return Left::Done;
                    }
                    let now = self.duties.borrow().clone();
                    if now.address != duties.address || now.credentials != duties.credentials {
                        return Left::Moved;
                    }
                    pulse.set_interval(now.interval, Instant::now());
                    resubscribe(&mut session, &mut subscribed, now.subscriptions)
                }
                () = sleep_until(pulse.deadline()) => {
                    if pulse.turn(Instant::now()) == Some(true) {
                        (self.tell)(Heard::Missed { refused: false, why: "no answer to a heartbeat".to_owned() });
                    }
                    beat(&mut session, pulse, &self.instance)
                }
                publication = self.publications.recv() => match publication {
                    None => return Left::Done,
                    // Overflow means a hung broker: its probes count as lost anyway.
                    Some(Publication { topic, qos, payload }) =>
                        match session.start_publish(&topic, qos, false, payload) {
                            Ok(_) | Err(SessionError::Overflow) => Ok(()),
                            Err(error) => Err(error),
                        },
                },
            };
            if let Err(error) = done {
                return Left::Lost(error);
            }
        }
    }

    fn received(&mut self, message: Message, pulse: &mut Pulse) {
        let at = Instant::now();
        if message.topic.strip_prefix(HEARTBEAT_TOPIC) != Some(&*self.broker) {
            pulse.hear();
            (self.tell)(Heard::Message {
                topic: message.topic,
                payload: message.payload,
                at,
            });
            return;
        }
        // Another Skein may watch the same broker under the same name: its heartbeats are not ours.
        let sequence = std::str::from_utf8(&message.payload)
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(instance, _)| *instance == &*self.instance)
            .and_then(|(_, sequence)| sequence.parse().ok());
        if let Some(round_trip) = sequence.and_then(|sequence| pulse.answer(sequence, at)) {
            (self.tell)(Heard::Answered(round_trip));
        }
    }
}

/// Time between two connection attempts: several per interval, so that a broker restarted in place is heard soon.
fn pace(interval: Duration) -> Duration {
    (interval / 4).clamp(Duration::from_millis(25), Duration::from_secs(1))
}

async fn attempt<S: Session>(broker: &str, instance: &str, duties: &Duties) -> Result<S, SessionError> {
    // The instance is part of the client id: two watchers of one broker with one client id would kick each other for ever.
    let mut options = Options::new(
        duties.address.clone(),
        format!("skein:heartbeat:{broker}:{instance}"),
    );
    options.credentials.clone_from(&duties.credentials);
    options.connect_timeout = PATIENCE;
    options.keep_alive = PATIENCE.max(duties.interval);
    let subscribing = async {
        let mut session = S::connect(options).await?;
        let heartbeat = format!("{HEARTBEAT_TOPIC}{broker}");
        // That it was taken says the same as an answer that is sure to come, so this one costs no acknowledgement.
        session.subscribe(&[heartbeat.as_str()], Qos::AtMostOnce).await?;
        let filters: Vec<&str> = duties.subscriptions.iter().map(|topic| &**topic).collect();
        for filters in filters.chunks(FILTERS) {
            session.subscribe(filters, ANY).await?;
        }
        Ok(session)
    };
    // Connecting has its own limit; this one is for a broker that hangs between CONNACK and SUBACK.
    tokio::time::timeout(PATIENCE, subscribing)
        .await
        .unwrap_or(Err(SessionError::TimedOut(PATIENCE)))
}

fn resubscribe<S: Session>(
    session: &mut S,
    subscribed: &mut BTreeSet<Arc<str>>,
    wanted: BTreeSet<Arc<str>>,
) -> Result<(), SessionError> {
    for topic in subscribed.difference(&wanted) {
        session.start_unsubscribe(topic)?;
    }
    let added: Vec<&str> = wanted.difference(subscribed).map(|topic| &**topic).collect();
    for filters in added.chunks(FILTERS) {
        session.start_subscribe(filters, ANY)?;
    }
    *subscribed = wanted;
    Ok(())
}
