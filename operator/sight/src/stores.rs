//! What brokers keep of their clients, read from their stores on a thread of its own: as soon as a broker is placed, whenever
//! it changed, and at once when it is asked for. Knows no engine; what is told are its events.
//!
//! A store that is in use changes all the time, by probes alone. So each reading is followed by a rest that is [`SHARE`] times as
//! long, in which only what is asked for is read; and no store is held open meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use skein_api::name::BrokerName;
use skein_engine::event::Event;
use skein_engine::sessions::{ClientSession, ClientSessions, Subscription};
use skein_store::{End, Glance, Inventory, Kind, Session, Store, StoreError, glance};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::queues::Queues;

/// How often a store is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Reading takes one part in so many of a core, more or less.
const SHARE: u32 = 200;

/// The reader, and what it told.
#[derive(Debug)]
pub struct Stores {
    orders: Sender<Order>,
    queues: watch::Receiver<BTreeMap<BrokerName, Queues>>,
    told: BTreeMap<BrokerName, Arc<ClientSessions>>,
}

#[derive(Debug)]
enum Order {
    /// These stores and no others, by the directories that they are in.
    Watch(BTreeMap<BrokerName, PathBuf>),
    Read {
        broker: BrokerName,
        serial: u64,
    },
}

impl Stores {
    /// Starts the thread, which ends with this.
    pub fn start(events: UnboundedSender<Event>) -> io::Result<Self> {
        let (orders, incoming) = mpsc::channel();
        let (told, queues) = watch::channel(BTreeMap::new());
        let mut reader = Reader::new(events, told);
        thread::Builder::new()
            .name("stores".to_owned())
            .spawn(move || reader.run(&incoming))?;
        Ok(Self {
            orders,
            queues,
            told: BTreeMap::new(),
        })
    }

    /// Watches these, by the directories that they are in.
    pub fn watch(&mut self, directories: BTreeMap<BrokerName, PathBuf>) {
        self.told.retain(|broker, _| directories.contains_key(broker));
        // The thread ends with this value only.
        let _ = self.orders.send(Order::Watch(directories));
    }

    /// Reads one at once; its event has this number.
    pub fn read(&self, broker: BrokerName, serial: u64) {
        let _ = self.orders.send(Order::Read { broker, serial });
    }

    /// Takes note of what was told.
    pub fn heard(&mut self, event: &Event) {
        if let Event::SessionsRead { broker, sessions, .. } = event {
            match sessions {
                Some(sessions) => self.told.insert(broker.clone(), sessions.clone()),
                None => self.told.remove(broker),
            };
        }
    }

    /// What waits in the sessions of a broker, as far as is known.
    #[must_use]
    pub fn queues(&self, broker: &BrokerName) -> Queues {
        self.queues.borrow().get(broker).cloned().unwrap_or_default()
    }

    /// The session of a client, as far as is known.
    #[must_use]
    pub fn session(&self, broker: &BrokerName, client_id: &str) -> Option<&ClientSession> {
        self.told.get(broker)?.by_client.get(client_id)
    }
}

/// What the thread knows.
struct Reader {
    events: UnboundedSender<Event>,
    queues: watch::Sender<BTreeMap<BrokerName, Queues>>,
    watched: BTreeMap<BrokerName, Watched>,
    /// New, or asked for.
    at_once: VecDeque<BrokerName>,
    /// When to look at each next.
    due: BTreeSet<(Instant, BrokerName)>,
    /// Nothing that was not asked for is read before.
    rests: Instant,
}

#[derive(Debug)]
struct Watched {
    directory: PathBuf,
    /// How its files looked before it was read last; none if it is to be read anyway.
    glance: Option<Glance>,
    told: Told,
    queues: Queues,
    /// When the next session of it expires, in seconds since 1970.
    expires: Option<u64>,
    /// The number of the last request.
    serial: Option<u64>,
    asked: bool,
}

impl Reader {
    fn new(events: UnboundedSender<Event>, queues: watch::Sender<BTreeMap<BrokerName, Queues>>) -> Self {
        Self {
            events,
            queues,
            watched: BTreeMap::new(),
            at_once: VecDeque::new(),
            due: BTreeSet::new(),
            rests: Instant::now(),
        }
    }

    fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            let order = match self.wait() {
                Some(wait) => orders.recv_timeout(wait),
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(order) => self.take(order),
                Err(RecvTimeoutError::Timeout) => self.work(Instant::now()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// How long there is nothing to do.
    fn wait(&self) -> Option<Duration> {
        if !self.at_once.is_empty() {
            return Some(Duration::ZERO);
        }
        let (due, _) = self.due.first()?;
        Some(self.rests.max(*due).saturating_duration_since(Instant::now()))
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Watch(directories) => {
                self.queues
                    .send_modify(|known| known.retain(|broker, _| directories.contains_key(broker)));
                self.watched
                    .retain(|broker, watched| directories.get(broker) == Some(&watched.directory));
                self.due.retain(|(_, broker)| self.watched.contains_key(broker));
                for (broker, directory) in directories {
                    if !self.watched.contains_key(&broker) {
                        self.at_once.push_back(broker.clone());
                        self.watched.insert(broker, Watched::at(directory));
                    }
                }
            }
            Order::Read { broker, serial } => {
                if let Some(watched) = self.watched.get_mut(&broker) {
                    watched.serial = Some(serial);
                    watched.asked = true;
                    self.at_once.push_front(broker);
                } else {
                    let _ = self.events.send(Event::SessionsRead {
                        broker,
                        sessions: None,
                        serial: Some(serial),
                    });
                }
            }
        }
    }

    /// Reads one store at most, so that orders are heard in between.
    fn work(&mut self, now: Instant) {
        if let Some(broker) = self.at_once.pop_front() {
            self.due.retain(|(_, other)| *other != broker);
            self.look(broker, now);
            return;
        }
        while self.rests <= now
            && let Some((due, _)) = self.due.first()
            && *due <= now
            && let Some((_, broker)) = self.due.pop_first()
        {
            if self.look(broker, now) {
                return;
            }
        }
    }

    /// Reads a store if it changed or was asked for, and tells what it should; whether it was read.
    fn look(&mut self, broker: BrokerName, now: Instant) -> bool {
        let Some(watched) = self.watched.get_mut(&broker) else {
            return false;
        };
        let began = Instant::now();
        let seen = watched.look();
        let ended = Instant::now();
        let queues = watched.queues.clone();
        self.queues.send_modify(|known| {
            known.insert(broker.clone(), queues);
        });
        let is_read = !matches!(seen, Seen::Same);
        if is_read {
            self.rests = ended + (ended - began) * SHARE;
        }
        if let Seen::News(sessions) = seen {
            let _ = self.events.send(Event::SessionsRead {
                broker: broker.clone(),
                sessions,
                serial: watched.serial,
            });
        }
        self.due.insert((ended.max(now) + LOOK, broker));
        is_read
    }
}

/// What was told last.
#[derive(Debug)]
enum Told {
    Nothing,
    Unknown,
    Known(Arc<ClientSessions>),
}

/// What came of looking at a store.
#[derive(Debug)]
enum Seen {
    /// It is as it was, and was not read.
    Same,
    /// It was read, and there is nothing to tell.
    Read,
    News(Option<Arc<ClientSessions>>),
}

impl Watched {
    fn at(directory: PathBuf) -> Self {
        Self {
            directory,
            glance: None,
            told: Told::Nothing,
            queues: Queues::default(),
            expires: None,
            serial: None,
            asked: false,
        }
    }

    fn look(&mut self) -> Seen {
        let now = seconds_since_1970();
        // Before it is read: what changes meanwhile is read again.
        let glance = glance(&self.directory).ok();
        let is_known = glance.is_some() && glance == self.glance && self.expires.is_none_or(|at| at > now);
        if is_known && !self.asked {
            self.queues.unchanged(Instant::now());
            return Seen::Same;
        }
        self.glance = glance.filter(Glance::is_settled);
        let read = read(&self.directory);
        if read.is_err() {
            self.glance = None;
        }
        let read = match read {
            Ok(read) => read,
            // Somebody opens or leaves it just now, so nothing is known to have changed.
            Err(StoreError::Busy { .. }) if !self.asked => return Seen::Read,
            Err(_) => None,
        };
        match &read {
            Some((inventory, _)) => self.queues.read(inventory, Instant::now()),
            None => self.queues.forget(),
        }
        let read = read.map(|(inventory, saved)| of_clients(inventory, now, saved));
        self.expires = read.as_ref().and_then(|(_, expires)| *expires);
        let sessions = read.map(|(sessions, _)| sessions);
        let is_news = match (&self.told, &sessions) {
            (Told::Known(told), Some(sessions)) => !differ_in_counts_only(told, sessions),
            (Told::Unknown, None) => false,
            _ => true,
        };
        if !is_news && !self.asked {
            return Seen::Read;
        }
        self.asked = false;
        let sessions = sessions.map(Arc::new);
        self.told = sessions.clone().map_or(Told::Unknown, Told::Known);
        Seen::News(sessions)
    }
}

fn seconds_since_1970() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// What is in a store, if there is one, and when it was saved if it is a classic one, in seconds since 1970.
fn read(directory: &Path) -> Result<Option<(Inventory, Option<u64>)>, StoreError> {
    let Some(mut store) = Store::open(directory)? else {
        return Ok(None);
    };
    let saved = match store.kind() {
        Kind::Sqlite => None,
        Kind::Classic => fs::metadata(store.path())
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|saved| saved.duration_since(SystemTime::UNIX_EPOCH).ok())
            .map(|saved| saved.as_secs()),
    };
    Ok(Some((store.inventory()?, saved)))
}

/// A save takes no longer than this, in seconds.
const SAVING: u64 = 5;

/// What there is of clients, and when the next of the sessions expires; told when a classic store was saved.
fn of_clients(inventory: Inventory, now: u64, saved: Option<u64>) -> (ClientSessions, Option<u64>) {
    let mut sessions = ClientSessions {
        newest: inventory.newest,
        ..ClientSessions::default()
    };
    let mut next: Option<u64> = None;
    for session in inventory.sessions {
        if session.is_ours() {
            if session.link().is_some_and(|link| link.end == End::Upstream) {
                let filters = session.subscriptions.into_iter().map(|held| held.filter);
                sessions.links.insert(session.client_id, filters.collect());
            }
            continue;
        }
        if session.expiry.after == Some(0) {
            continue;
        }
        if let Some(at) = expires(&session, saved) {
            if at <= now {
                continue;
            }
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        let (client_id, session) = client(session);
        sessions.by_client.insert(client_id, session);
    }
    (sessions, next)
}

/// When a session is over whatever happens. The classic store of 2.0.16 and later counts from the save for those whose clients
/// were connected, so of such a one it is not known.
fn expires(session: &Session, saved: Option<u64>) -> Option<u64> {
    let at = session.expiry.at?;
    let from = at.saturating_sub(u64::from(session.expiry.after?));
    Some(at).filter(|_| saved.is_none_or(|saved| from + SAVING < saved))
}

fn client(session: Session) -> (String, ClientSession) {
    let subscriptions = session.subscriptions.into_iter().map(|subscription| {
        let how = Subscription {
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            identifier: subscription.identifier,
        };
        (subscription.filter, how)
    });
    let client = ClientSession {
        username: session.username,
        expiry: session.expiry.after,
        subscriptions: subscriptions.collect(),
        waiting: session.waiting.messages,
        oldest: session.waiting.oldest,
    };
    (session.client_id, client)
}

/// Whether only messages came and went between the two.
fn differ_in_counts_only(one: &ClientSessions, other: &ClientSessions) -> bool {
    one.by_client.len() == other.by_client.len()
        && one.by_client.iter().zip(&other.by_client).all(|(one, other)| {
            let ((one_id, one), (other_id, other)) = (one, other);
            one_id == other_id
                && one.username == other.username
                && one.expiry == other.expiry
                && one.subscriptions == other.subscriptions
        })
}

#[cfg(test)]
mod tests;
