//! Who may connect to the brokers that Skein runs: what each is to be started with, and processes that do not know of it yet.
//!
//! A broker knows the brokers that a route joins it to, those that it knew before (a link may outlive its route), and itself,
//! for the sake of clients without a name ([`skein_mosquitto::security`] says why). Whom to bar is not decided here: who is
//! told to be is noted in what the broker is started with before its process is told; and one that barred everybody, because
//! nobody knew any more who should be, is brought back to what is. Where it is noted, a [`Roll`] knows.

mod lacking;

use std::collections::{BTreeMap, BTreeSet};

use skein_api::fleet::{Fleet, Managed};
use skein_api::name::BrokerName;
use skein_engine::event::Event;
use skein_mosquitto::security::{FleetSecret, Login, Security};
use skein_mqtt::Address;
use skein_mqtt::administration::AdministrationError;
use tokio::sync::{mpsc, oneshot};

use self::lacking::{Errand, Lacking, Task};

/// What is noted of one broker's users.
pub trait Roll {
    /// Why it cannot be noted.
    type Error;

    /// What the broker is to be started with, as noted; none if that was lost.
    fn kept(&self) -> Option<Security>;

    /// Notes it.
    fn keep(&self, users: &Security) -> Result<(), Self::Error>;
}

/// Whom the process that runs knows, as can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// None runs, or it cannot be seen now.
    Unseen,
    /// As the file tells that it rewrites when its users change.
    File(String),
    /// It has to be asked.
    Ask,
}

/// See the head of this module.
#[derive(Debug)]
pub struct Users {
    secret: FleetSecret,
    /// What each broker is started with.
    known: BTreeMap<BrokerName, Security>,
    /// Brokers whose process may know less.
    unsure: BTreeMap<BrokerName, Unsure>,
    /// Whom to bar at which broker, as was said in this life: these and no others. Of other brokers, who is barred stays so.
    said: BTreeMap<BrokerName, BTreeSet<BrokerName>>,
    /// The processes that were let back, after they had barred all: by when they were started.
    let_in: BTreeMap<BrokerName, Option<u64>>,
}

#[derive(Debug, Default)]
struct Unsure {
    /// It bars all and should not.
    all_barred: Option<AllBarred>,
    /// Somebody waits to hear that it bars whom it should.
    awaited: bool,
    errand: Option<oneshot::Receiver<Result<(), AdministrationError>>>,
}

#[derive(Clone, Debug)]
struct AllBarred {
    why: String,
    started_at: Option<u64>,
}

impl Users {
    /// With the secret of the fleet.
    #[must_use]
    pub fn new(secret: FleetSecret) -> Self {
        Self {
            secret,
            known: BTreeMap::new(),
            unsure: BTreeMap::new(),
            said: BTreeMap::new(),
            let_in: BTreeMap::new(),
        }
    }

    /// What the passwords in configurations follow from.
    #[must_use]
    pub fn secret(&self) -> &FleetSecret {
        &self.secret
    }

    /// How Skein logs in to a broker of its own. One that asks nobody for a name does not mind.
    #[must_use]
    pub fn administrator(&self, broker: &BrokerName) -> (String, String) {
        let Login { user, password } = self.secret.administrator(broker);
        (user, password.expose().to_owned())
    }

    /// Says what a broker is to be started with: with users for the brokers that routes join it to, for itself, and for those
    /// it had before and that may still hold a link. A process that runs is told by [`Self::look_after`].
    pub fn provide<R: Roll>(
        &mut self,
        broker: &BrokerName,
        managed: &Managed,
        neighbours: &BTreeSet<BrokerName>,
        stays: impl Fn(&BrokerName) -> bool,
        roll: &R,
    ) -> Result<&Security, R::Error> {
        let known = self.known.get(broker);
        let kept = roll.kept().filter(|_| known.is_none());
        let mut downstreams = neighbours.clone();
        downstreams.insert(broker.clone());
        let before = known.or(kept.as_ref()).into_iter();
        let earlier = before.flat_map(|before| before.bridges.keys());
        downstreams.extend(earlier.filter(|name| stays(name)).cloned());
        let mut users = match (known, kept.as_ref()) {
            (Some(known), _) if downstreams.iter().all(|name| known.bridges.contains_key(name)) => {
                kept_users(known, &downstreams, managed.allow_anonymous)
            }
            (known, kept) => self.derived(broker, &downstreams, managed.allow_anonymous, known.or(kept)),
        };
        if let Some(said) = self.said.get(broker) {
            bar(&mut users, broker, said);
        }
        if known.or(kept.as_ref()) != Some(&users) {
            roll.keep(&users)?;
        }
        self.unsure.entry(broker.clone()).or_default();
        self.known.remove(broker);
        Ok(self.known.entry(broker.clone()).or_insert(users))
    }

    /// To hash costs, so what is there stays, if it follows from this secret.
    fn derived(
        &self,
        broker: &BrokerName,
        downstreams: &BTreeSet<BrokerName>,
        anonymous: bool,
        before: Option<&Security>,
    ) -> Security {
        let unknown = |name: &&BrokerName| before.is_none_or(|before| !before.bridges.contains_key(*name));
        let new = downstreams.iter().filter(unknown);
        let mut users = Security::derived(&self.secret, broker, new, anonymous);
        match before {
            Some(before) if before.administrator.hash == users.administrator.hash => {
                let kept = kept_users(before, downstreams, anonymous);
                users.bridges.extend(kept.bridges);
                users
            }
            Some(before) => {
                let mut users = Security::derived(&self.secret, broker, downstreams, anonymous);
                users.bar(&before.barred().cloned().collect());
                users
            }
            None => users,
        }
    }

    /// Bars these brokers' bridges at a broker and no others: first in what it is started with, then ([`Self::look_after`])
    /// in the process that runs. Does nothing if the broker asks nobody for a name.
    pub fn bar<R: Roll>(
        &mut self,
        broker: &BrokerName,
        downstreams: &BTreeSet<BrokerName>,
        roll: &R,
    ) -> Result<(), R::Error> {
        let Some(known) = self.known.get(broker) else {
            return Ok(());
        };
        let mut users = known.clone();
        bar(&mut users, broker, downstreams);
        if users != *known {
            roll.keep(&users)?;
        }
        self.known.insert(broker.clone(), users);
        self.said.insert(broker.clone(), downstreams.clone());
        self.unsure.entry(broker.clone()).or_default().awaited = true;
        Ok(())
    }

    /// A supervisor said how its broker was started.
    pub fn heard(&mut self, broker: &BrokerName, all_barred: Option<&str>, started_at: Option<u64>) {
        let is_over = self.let_in.get(broker) == Some(&started_at);
        let Some(why) = all_barred.filter(|_| !is_over) else {
            return;
        };
        self.unsure.entry(broker.clone()).or_default().all_barred = Some(AllBarred {
            why: why.to_owned(),
            started_at,
        });
    }

    /// A process was begun that may have been started with something older than what is noted now.
    pub fn doubt(&mut self, broker: &BrokerName) {
        if self.known.contains_key(broker) {
            self.unsure.entry(broker.clone()).or_default();
        }
    }

    /// A broker is not ours any more.
    pub fn forget(&mut self, broker: &BrokerName) {
        self.known.remove(broker);
        self.unsure.remove(broker);
        self.said.remove(broker);
        self.let_in.remove(broker);
    }

    /// Looks after processes that may not know their users: tells those that do not, and `events` where somebody waits for
    /// that. Gives what stands in the way now, by broker; to be called again and again.
    pub fn look_after(
        &mut self,
        left: impl Fn(&BrokerName) -> Left,
        address: impl Fn(&BrokerName) -> Option<Address>,
        instance: &str,
        events: &mpsc::UnboundedSender<Event>,
    ) -> BTreeMap<BrokerName, Option<String>> {
        let mut troubles = BTreeMap::new();
        let brokers: Vec<BrokerName> = self.unsure.keys().cloned().collect();
        for broker in brokers {
            let Some(unsure) = self.unsure.get_mut(&broker) else {
                continue;
            };
            let mut trouble = unsure.all_barred.as_ref().map(|all_barred| {
                format!(
                    "broker {broker}: all bridges to it were barred when it was started, because {}; they are let in again",
                    all_barred.why
                )
            });
            let mut was_asked = false;
            if let Some(errand) = &mut unsure.errand {
                match errand.try_recv() {
                    Err(oneshot::error::TryRecvError::Empty) => continue,
                    Ok(Err(error)) => {
                        unsure.awaited = self.said.contains_key(&broker);
                        trouble = Some(format!("broker {broker}: {error}; it is tried again"));
                    }
                    Ok(Ok(())) => was_asked = true,
                    Err(oneshot::error::TryRecvError::Closed) => {}
                }
                unsure.errand = None;
            }
            let Some(known) = self.known.get(&broker) else {
                continue;
            };
            let said = self.said.get(&broker);
            let exactly = unsure.all_barred.is_some() || said.is_some();
            let task = match left(&broker) {
                // What was asked and told what it lacks lacks nothing.
                Left::Ask if was_asked => Some(Task::Tell(Lacking::default())),
                Left::Ask => Some(Task::Ask(known.clone(), exactly)),
                Left::File(left) => Lacking::of_file(&left, known, exactly).map(Task::Tell),
                Left::Unseen => None,
            };
            match (task, address(&broker)) {
                (Some(task), _) if task.is_done() && !unsure.awaited => {
                    if let Some(all_barred) = &unsure.all_barred {
                        self.let_in.insert(broker.clone(), all_barred.started_at);
                    }
                    self.unsure.remove(&broker);
                    trouble = None;
                }
                (Some(task), Some(address)) => {
                    let event = |downstreams: &BTreeSet<_>| Event::Barred {
                        broker: broker.clone(),
                        downstreams: downstreams.clone(),
                    };
                    let awaited = std::mem::take(&mut unsure.awaited);
                    let then = said.filter(|_| awaited).map(event);
                    let errand = Errand {
                        secret: &self.secret,
                        broker: &broker,
                        address,
                        instance,
                    };
                    unsure.errand = Some(errand.run(task, then.map(|event| (events.clone(), event))));
                }
                // Half a file, just being written; or nowhere to go.
                _ => {}
            }
            troubles.insert(broker, trouble);
        }
        troubles
    }
}

/// Bars these and no others, and never a broker at itself: that would keep nobody out and end its own bridges, which are at
/// home what they are elsewhere.
fn bar(users: &mut Security, broker: &BrokerName, downstreams: &BTreeSet<BrokerName>) {
    let others = downstreams.iter().filter(|name| *name != broker);
    users.bar(&others.cloned().collect());
}

fn kept_users(before: &Security, downstreams: &BTreeSet<BrokerName>, anonymous: bool) -> Security {
    let kept = before
        .bridges
        .iter()
        .filter(|(name, _)| downstreams.contains(*name));
    Security {
        administrator: before.administrator.clone(),
        bridges: kept
            .map(|(name, account)| (name.clone(), account.clone()))
            .collect(),
        anonymous,
    }
}

/// The brokers that routes join to each, whichever way: each may come to hold a link to it.
#[must_use]
pub fn neighbours(fleet: &Fleet) -> BTreeMap<&BrokerName, BTreeSet<BrokerName>> {
    let mut neighbours: BTreeMap<&BrokerName, BTreeSet<BrokerName>> = BTreeMap::new();
    for route in fleet.routes.values() {
        neighbours.entry(&route.a).or_default().insert(route.b.clone());
        neighbours.entry(&route.b).or_default().insert(route.a.clone());
    }
    neighbours
}
