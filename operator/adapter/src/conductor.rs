//! What is alike wherever a fleet runs: events go to the engine, and of what it says that which goes over MQTT is done here.
//!
//! [`Conductor`] is what that takes; who has one is a [`Ground`], which does all else: files of this machine, or objects of a
//! cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use skein_api::fleet::Fleet;
use skein_api::name::{BrokerName, ClassName, TopicName};
use skein_engine::Engine;
use skein_engine::directive::Directive;
use skein_engine::event::{Event, Placement};
use skein_engine::sessions::ClientSession;
use skein_mqtt::{Address, Outcome, Watch, Watched};
use skein_planner::plan::Class;
use tokio::time::Instant;

use crate::envoys::{Access, Envoys};
use crate::probing::Probing;
use crate::users::Users;

/// What the engine may think of each event without anybody noticing.
const LONG: Duration = Duration::from_millis(5);
/// The longest that events are gathered.
const LONGEST: Duration = Duration::from_millis(500);

/// The engine, and what is done over MQTT for it.
pub struct Conductor {
    /// Who decides.
    pub engine: Engine,
    /// The engine's time counts from here.
    pub origin: Instant,
    /// The fleet that is in force.
    pub fleet: Arc<Fleet>,
    /// Where brokers are: those that are declared, and those that are not any more until they are stopped.
    pub placed: BTreeMap<BrokerName, Placement>,
    /// Heartbeats and probes.
    pub watch: Watch,
    /// What is done beside the loop.
    pub envoys: Envoys,
    /// The class of each topic, as planned last.
    pub classes: BTreeMap<TopicName, ClassName>,
    /// What is wrong beside what the engine knows, by what it is about.
    pub troubles: BTreeMap<String, String>,
    /// How long the engine thought lately.
    thought: Duration,
    /// See [`Self::rests_until`].
    rests: Instant,
    probing: Probing,
    /// The fleet, and the classes of the plan, that probes and class names were made for last.
    followed: (Arc<Fleet>, BTreeMap<ClassName, Arc<Class>>),
    /// Directives that could not be executed, to be tried again, by what they are about.
    undone: BTreeMap<String, Directive>,
}

impl Conductor {
    /// With an engine that has heard nothing yet, and the classes of an earlier life.
    #[must_use]
    pub fn new(
        engine: Engine,
        watch: Watch,
        envoys: Envoys,
        classes: BTreeMap<TopicName, ClassName>,
    ) -> Self {
        Self {
            engine,
            origin: Instant::now(),
            fleet: Arc::default(),
            placed: BTreeMap::new(),
            watch,
            envoys,
            classes,
            troubles: BTreeMap::new(),
            thought: Duration::ZERO,
            rests: Instant::now(),
            probing: Probing::default(),
            followed: Default::default(),
            undone: BTreeMap::new(),
        }
    }

    /// When the engine wants to be told that time went by.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        let wakeup = self.engine.next_wakeup();
        wakeup.map(|moment| (self.origin + moment).max(self.rests))
    }

    /// Until when events had better be gathered, so that the engine does not think of each alone what it could think of all
    /// together, and all else is done meanwhile: not at all, unless the fleet is large.
    #[must_use]
    pub fn rests_until(&self) -> Instant {
        self.rests
    }

    fn has_thought(&mut self, since: Instant) {
        let now = Instant::now();
        self.thought = (now - since).max(self.thought * 7 / 8);
        if self.thought >= LONG {
            self.rests = now + (self.thought * 2).min(LONGEST);
        }
    }

    /// Notes what is wrong about something, or that nothing is any more; whether that is news.
    pub fn trouble(&mut self, about: impl Into<String>, what: Option<String>) -> bool {
        let about = about.into();
        match what {
            Some(text) if self.troubles.get(&about) == Some(&text) => false,
            Some(text) => {
                self.troubles.insert(about, text);
                true
            }
            None => self.troubles.remove(&about).is_some(),
        }
    }

    /// Where a broker listens for bridges, if it is known.
    #[must_use]
    pub fn peer(&self, broker: &BrokerName) -> Option<Address> {
        if let Some(placement) = self.placed.get(broker) {
            let (host, port) = placement.peer.clone();
            return Some(Address { host, port });
        }
        let external = self.fleet.brokers.get(broker)?.external()?;
        Some(Address {
            host: external.host.clone(),
            port: external.port,
        })
    }

    /// Somebody else runs this broker, and Skein has no say in how.
    #[must_use]
    pub fn is_foreign(&self, broker: &BrokerName) -> bool {
        let declared = self.fleet.brokers.get(broker);
        declared.is_some_and(|declared| !declared.is_controlled())
    }

    /// The topics that a probe speaks for, each once.
    pub fn probed(&self, topic: &str, consumer: &str) -> impl Iterator<Item = &TopicName> {
        self.probing.topics(topic, consumer)
    }

    /// Whether the plan, which is looked at often, is the one that was followed last; from now on it is.
    fn is_followed(&mut self) -> bool {
        let classes = &self.engine.plan().classes;
        let (fleet, known) = &self.followed;
        let is_same = Arc::ptr_eq(fleet, &self.fleet)
            && known.len() == classes.len()
            && known
                .values()
                .zip(classes.values())
                .all(|(one, other)| Arc::ptr_eq(one, other));
        if !is_same {
            self.followed = (Arc::clone(&self.fleet), classes.clone());
        }
        is_same
    }

    /// Sends the probes of paths and the markers of connections, quickly at first: something changed.
    fn send_probes(&self) {
        let mut probes = self.probing.probes();
        probes.extend(self.envoys.probes());
        self.watch.set_probes(probes);
        self.watch.hurry();
    }
}

/// Where brokers run.
pub trait Ground {
    /// Why the place does not do as it is told.
    type Refusal: fmt::Display;

    /// What is alike everywhere.
    fn conductor(&self) -> &Conductor;

    /// The same, to be changed.
    fn conductor_mut(&mut self) -> &mut Conductor;

    /// Who may connect where.
    fn users(&self) -> &Users;

    /// The session of a client at a broker, as far as is known.
    fn session(&self, broker: &BrokerName, client_id: &str) -> Option<&ClientSession>;

    /// Does what does not go over MQTT. Refused, it is tried again: the engine counts on it.
    fn carry_out(&mut self, directive: &Directive) -> Result<(), Self::Refusal>;

    /// What a directive rests on is kept already: a session is opened upstream once a later life would find the record of it.
    fn may_go(&self, directive: &Directive) -> bool {
        let _ = directive;
        true
    }

    /// Keeps the classes of topics for a later life.
    fn keep_classes(&mut self);

    /// The status may have changed.
    fn gather(&mut self);

    /// A broker left a heartbeat unanswered.
    fn missed(&mut self, broker: BrokerName, refused: bool, why: &str);

    /// Tells the engine, and does what it says.
    fn observe(&mut self, event: Event) {
        self.observe_all(vec![event]);
    }

    /// The same of several that are there together, in their order.
    fn observe_all(&mut self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let planned = events.iter().any(|event| matches!(event, Event::FleetChanged(_)));
        let conductor = self.conductor_mut();
        let is_routine = events.iter().all(|event| conductor.engine.is_routine(event));
        let begin = Instant::now();
        let directives = conductor.engine.observe_all(events, begin - conductor.origin);
        conductor.has_thought(begin);
        let replanned = planned || !directives.is_empty();
        for directive in directives {
            self.execute(directive);
        }
        if replanned {
            self.follow_plan();
        }
        if !is_routine || replanned {
            self.gather();
        }
    }

    /// Executes a directive. What is refused is told, and tried again.
    fn execute(&mut self, directive: Directive) {
        let about = about(&directive);
        // An older one about the same must not come after this.
        self.conductor_mut().undone.remove(&about);
        if !self.may_go(&directive) {
            self.conductor_mut().undone.insert(about, directive);
            return;
        }
        if self.send_envoy(&directive) {
            return;
        }
        let refused = self
            .carry_out(&directive)
            .err()
            .map(|refusal| refusal.to_string());
        let conductor = self.conductor_mut();
        if refused.is_some() {
            conductor.undone.insert(about.clone(), directive);
        }
        conductor.trouble(about, refused);
    }

    /// Tries again what could not be done.
    fn retry_undone(&mut self) {
        for directive in std::mem::take(&mut self.conductor_mut().undone).into_values() {
            self.execute(directive);
        }
    }

    /// Tells the engine that time went by, if it wants to be told by now.
    fn tick(&mut self) {
        if self.conductor_mut().envoys.is_released(Instant::now()) {
            self.conductor_mut().send_probes();
        }
        let due = self.conductor().next_wakeup();
        if due.is_some_and(|due| due <= Instant::now()) {
            self.observe(Event::Tick);
        }
    }

    /// Does what goes over MQTT; whether it does.
    fn send_envoy(&mut self, directive: &Directive) -> bool {
        match directive {
            Directive::AwaitMarkers(markers) => {
                let conductor = self.conductor_mut();
                conductor.envoys.expect(markers.clone());
                conductor.send_probes();
            }
            Directive::EndSubscriptions {
                broker,
                upstream,
                client_id,
                filters,
                discard,
            } => {
                let access = self.access(upstream);
                let envoys = &self.conductor().envoys;
                envoys.end(broker, client_id, access, filters, *discard);
            }
            Directive::Seed {
                broker,
                upstream,
                client_id,
                subscriptions,
            } => {
                let access = self.access(upstream);
                let envoys = &self.conductor().envoys;
                envoys.seed(broker, client_id, access, subscriptions);
            }
            Directive::Adopt {
                broker,
                upstream,
                client_id,
                filters,
                to,
            } => {
                let access = self.access(upstream);
                let to = to.iter().map(|to| self.access(to)).collect();
                let envoys = &self.conductor().envoys;
                envoys.adopt(broker, client_id, access.zip(to), filters);
            }
            Directive::OpenClientSession {
                broker,
                client_id,
                session,
            } => {
                let at = self.conductor().peer(broker);
                let before = self.session(broker, client_id).cloned();
                let envoys = &mut self.conductor_mut().envoys;
                envoys.open_client(broker, client_id, at, session, before.as_ref());
            }
            Directive::EndClientSession { broker, client_id } => {
                let at = self.conductor().peer(broker);
                self.conductor_mut().envoys.end_client(broker, client_id, at);
            }
            _ => return false,
        }
        true
    }

    /// What Skein logs in to a broker with: to all that it runs.
    fn credentials(&self, broker: &BrokerName) -> Option<(String, String)> {
        (!self.conductor().is_foreign(broker)).then(|| self.users().administrator(broker))
    }

    /// How a broker is reached, if it is known.
    fn access(&self, broker: &BrokerName) -> Option<Access> {
        Some(Access {
            address: self.conductor().peer(broker)?,
            credentials: self.credentials(broker),
        })
    }

    /// Probes and class names follow the plan.
    fn follow_plan(&mut self) {
        let conductor = self.conductor_mut();
        if conductor.is_followed() {
            return;
        }
        let mut unproven = Vec::new();
        let mut probing = Probing::of(&conductor.fleet, conductor.engine.plan());
        if !probing.is_like(&conductor.probing) {
            probing.continue_from(&conductor.probing);
            unproven = probing.unproven(&conductor.probing);
            conductor.probing = probing;
            conductor.send_probes();
        }
        let classes = conductor.engine.plan().class_names();
        let classes_changed = classes != conductor.classes;
        conductor.classes = classes;
        for event in unproven {
            self.observe(event);
        }
        if classes_changed {
            self.keep_classes();
        }
    }

    /// Watches all that are declared, and those that are not any more until they are stopped.
    fn watch_brokers(&self) {
        let conductor = self.conductor();
        let watched = |(name, placement): (&BrokerName, &Placement)| {
            let (host, port) = placement.peer.clone();
            let declared = conductor.fleet.brokers.get(name);
            let watched = Watched {
                address: Address { host, port },
                credentials: self.credentials(name),
                interval: declared.map_or(Duration::from_secs(1), |broker| broker.heartbeat.interval),
            };
            (name.to_string(), watched)
        };
        let watched = conductor.placed.iter().map(watched).collect();
        conductor.watch.set_brokers(watched);
    }

    /// What came of a heartbeat or of a probe, as events. A broker that left a heartbeat unanswered is told of by
    /// [`Self::missed`], after what came before.
    fn outcome(&mut self, outcome: Outcome, events: &mut Vec<Event>) {
        match outcome {
            Outcome::Answered { broker, round_trip } => {
                if let Ok(broker) = BrokerName::new(&broker) {
                    self.conductor_mut().trouble(format!("heartbeat/{broker}"), None);
                    events.push(Event::HeartbeatAnswered { broker, round_trip });
                }
            }
            Outcome::Missed { broker, refused, why } => {
                if let Ok(broker) = BrokerName::new(&broker) {
                    // Of a broker that we run, the engine knows more than this; of another, only this is known.
                    let conductor = self.conductor_mut();
                    let address = conductor.placed.get(&broker).map(|placement| &placement.peer);
                    if conductor.is_foreign(&broker)
                        && let Some((host, port)) = address
                    {
                        let text = format!("broker {broker} ({host}:{port}): {why}");
                        conductor.trouble(format!("heartbeat/{broker}"), Some(text));
                    }
                    self.observe_all(std::mem::take(events));
                    self.missed(broker, refused, &why);
                }
            }
            Outcome::Probed {
                topic,
                consumer,
                took,
            } => {
                let conductor = self.conductor_mut();
                events.extend(conductor.envoys.event(&topic, &consumer, took));
                events.extend(conductor.probing.events(&topic, &consumer, took));
            }
            // The check proves that links carry no message twice; a copy is one that was sent again, and decides nothing.
            Outcome::Doubled { .. } => {}
        }
    }
}

/// What a directive is about: a newer one about the same makes an older one void.
fn about(directive: &Directive) -> String {
    match directive {
        Directive::GiveConfig { broker, .. } => format!("configuration/{broker}"),
        Directive::AwaitMarkers(_) => "markers".to_owned(),
        Directive::Seed { client_id, .. }
        | Directive::EndSubscriptions { client_id, .. }
        | Directive::Adopt { client_id, .. } => {
            format!("session/{client_id}")
        }
        Directive::ReadSessions { broker, .. } => format!("clients/{broker}"),
        Directive::ForgetValues { broker, .. } => format!("values/{broker}"),
        Directive::CopyValues { home, .. } => format!("values of clients/{home}"),
        Directive::OpenClientSession {
            broker, client_id, ..
        }
        | Directive::EndClientSession { broker, client_id } => format!("clients/{broker}/{client_id}"),
        Directive::Bar { broker, .. } => format!("bars/{broker}"),
        Directive::RecordSessions(_) => "sessions".to_owned(),
        Directive::PointAddress { broker, .. } => format!("address/{broker}"),
        Directive::RecordMigration(migration) => format!("migration/{}", migration.name),
        Directive::Retire { broker } => format!("retire/{broker}"),
    }
}
