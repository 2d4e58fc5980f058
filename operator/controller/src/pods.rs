//! What can be seen of brokers in their pods, which the pods' supervisors are asked for ([`skein_sight::wire`]): followed for what
//! their stores keep of clients, and asked for all else.
//!
//! What a store kept when its pod was last heard is remembered when the pod is gone: it is what a failover moves.

mod ask;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skein_adapter::values::ReadValues;
use skein_api::name::BrokerName;
use skein_engine::event::{Activity, Event};
use skein_engine::retained::Value;
use skein_engine::sessions::{ClientSession, ClientSessions};
use skein_filters::TopicFilter;
use skein_mosquitto::security::Password;
use skein_sight::wire::Told;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use ask::{AskError, Pod};

/// How long until a pod is asked again that did not answer: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// The pods of a fleet's brokers.
#[derive(Debug)]
pub(crate) struct Pods {
    events: mpsc::UnboundedSender<Event>,
    followed: BTreeMap<BrokerName, Followed>,
}

/// One of them, and who follows it.
#[derive(Debug)]
struct Followed {
    pod: watch::Sender<Option<Pod>>,
    /// The numbers of readings that are asked for.
    orders: mpsc::UnboundedSender<u64>,
    told: Option<Arc<ClientSessions>>,
    task: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pods {
    /// Follows none yet. What is heard of those to come goes this way.
    pub(crate) fn new(events: mpsc::UnboundedSender<Event>) -> Self {
        Self {
            events,
            followed: BTreeMap::new(),
        }
    }

    /// Follows the pod of a broker at this address from now on, or waits until it has one.
    pub(crate) fn follow(&mut self, broker: &BrokerName, address: Option<SocketAddr>, token: &Password) {
        let pod = address.map(|address| Pod::new(address, token.expose()));
        if let Some(followed) = self.followed.get(broker) {
            followed.pod.send_replace(pod);
        } else {
            self.begin(broker, pod, Told::default());
        }
    }

    fn begin(&mut self, broker: &BrokerName, pod: Option<Pod>, told: Told) {
        let (place, pod) = watch::channel(pod);
        let (orders, asked) = mpsc::unbounded_channel();
        let sessions = told.sessions.clone();
        let follower = Follower {
            broker: broker.clone(),
            events: self.events.clone(),
            told,
            serial: None,
            rests: Instant::now(),
            pause: AGAIN.0,
        };
        let watched = Followed {
            pod: place,
            orders,
            told: sessions,
            task: tokio::spawn(follower.run(pod, asked)),
        };
        self.followed.insert(broker.clone(), watched);
    }

    /// Takes up what another remembered of brokers that it followed, which may be gone by now.
    pub(crate) fn remember(&mut self, memory: BTreeMap<BrokerName, Arc<ClientSessions>>) {
        for (broker, sessions) in memory {
            let told = Told {
                // Whatever its pod says from now on is news.
                version: 0,
                sessions: Some(sessions),
            };
            let known = Event::SessionsRead {
                broker: broker.clone(),
                sessions: told.sessions.clone(),
                serial: None,
            };
            // Nobody listens only when the fleet has ended.
            let _ = self.events.send(known);
            self.begin(&broker, None, told);
        }
    }

    /// All that was told, by broker.
    pub(crate) fn told(&self) -> BTreeMap<BrokerName, Arc<ClientSessions>> {
        let told = |(broker, followed): (&BrokerName, &Followed)| {
            let sessions = followed.told.clone()?;
            Some((broker.clone(), sessions))
        };
        self.followed.iter().filter_map(told).collect()
    }

    /// Follows it no more, and forgets what it kept.
    pub(crate) fn forget(&mut self, broker: &BrokerName) {
        self.followed.remove(broker);
    }

    /// Has a store read; its event has this number. Of a pod that cannot be reached it is what was known before.
    pub(crate) fn read(&self, broker: &BrokerName, serial: u64) {
        if let Some(followed) = self.followed.get(broker)
            && followed.orders.send(serial).is_ok()
        {
            return;
        }
        // Nobody listens only when the fleet has ended.
        let _ = self.events.send(Event::SessionsRead {
            broker: broker.clone(),
            sessions: None,
            serial: Some(serial),
        });
    }

    /// Takes note of what was told.
    pub(crate) fn heard(&mut self, event: &Event) {
        if let Event::SessionsRead { broker, sessions, .. } = event
            && let Some(followed) = self.followed.get_mut(broker)
        {
            followed.told.clone_from(sessions);
        }
    }

    /// The session of a client, as far as is known.
    pub(crate) fn session(&self, broker: &BrokerName, client_id: &str) -> Option<&ClientSession> {
        let told = self.followed.get(broker)?.told.as_ref()?;
        told.by_client.get(client_id)
    }

    /// Who reads the retained values of a broker, if its pod has an address.
    pub(crate) fn values(&self, broker: &BrokerName) -> Option<PodValues> {
        self.pod(broker).map(PodValues)
    }

    /// Asks what a broker's process did in an interval, if its pod has an address; none, if it does not say so in time.
    pub(crate) fn activity(
        &self,
        broker: &BrokerName,
        interval: Duration,
        patience: Duration,
    ) -> Option<impl Future<Output = Option<Activity>> + Send + use<>> {
        let pod = self.pod(broker)?;
        Some(async move { pod.activity(interval, patience).await.ok().flatten() })
    }

    fn pod(&self, broker: &BrokerName) -> Option<Pod> {
        self.followed.get(broker)?.pod.borrow().clone()
    }
}

/// Reads retained values in a pod.
#[derive(Clone, Debug)]
pub(crate) struct PodValues(Pod);

impl ReadValues for PodValues {
    type Error = AskError;

    async fn read(&self, filters: Vec<TopicFilter>) -> Result<Vec<Value>, AskError> {
        let filters = filters.iter().map(ToString::to_string).collect();
        self.0.values(filters).await
    }
}

/// Follows one pod. All that is told of it goes through here, one after the other, so that nothing older comes later.
struct Follower {
    broker: BrokerName,
    events: mpsc::UnboundedSender<Event>,
    /// What was told last.
    told: Told,
    /// The number of the last reading that was asked for and told.
    serial: Option<u64>,
    /// Nothing that is not asked for is asked of the pod before.
    rests: Instant,
    /// How long until it is asked again after the next failure.
    pause: Duration,
}

impl Follower {
    async fn run(mut self, mut pod: watch::Receiver<Option<Pod>>, mut orders: mpsc::UnboundedReceiver<u64>) {
        let mut wanted: Option<u64> = None;
        loop {
            // Read once, it is read for all who have asked before.
            while let Ok(serial) = orders.try_recv() {
                wanted = wanted.max(Some(serial));
            }
            let at = pod.borrow_and_update().clone();
            tokio::select! {
                biased;
                changed = pod.changed() => match changed {
                    Ok(()) => (self.rests, self.pause) = (Instant::now(), AGAIN.0),
                    Err(_) => return,
                },
                order = orders.recv(), if wanted.is_none() => match order {
                    Some(serial) => wanted = Some(serial),
                    None => return,
                },
                answer = ask(at, wanted.is_some(), self.told.version, self.rests) => {
                    if !self.take(answer, wanted.take()) {
                        return;
                    }
                }
            }
        }
    }

    /// Tells what came of asking, if it is news or was wanted; whether anybody still listens.
    fn take(&mut self, answer: Result<Option<Told>, AskError>, wanted: Option<u64>) -> bool {
        if let Ok(told) = answer {
            (self.rests, self.pause) = (Instant::now(), AGAIN.0);
            let Some(told) = told else {
                return true;
            };
            self.told = told;
        } else {
            self.rests = Instant::now() + self.pause;
            self.pause = (2 * self.pause).min(AGAIN.1);
            if wanted.is_none() {
                return true;
            }
        }
        self.serial = self.serial.max(wanted);
        let read = Event::SessionsRead {
            broker: self.broker.clone(),
            sessions: self.told.sessions.clone(),
            serial: self.serial,
        };
        self.events.send(read).is_ok()
    }
}

/// What a pod's store keeps: now, or as soon as it is something else than that of a version.
async fn ask(pod: Option<Pod>, now: bool, after: u64, rests: Instant) -> Result<Option<Told>, AskError> {
    match (pod, now) {
        (Some(pod), true) => pod.read().await.map(Some),
        (Some(pod), false) => {
            sleep_until(rests).await;
            pod.news(after).await
        }
        (None, true) => Err(AskError::Gone),
        (None, false) => std::future::pending().await,
    }
}
