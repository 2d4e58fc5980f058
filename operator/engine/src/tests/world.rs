//! A simulated fleet in virtual time: its brokers, the bridges between them, and the adapter between them and the engine,
//! which can die too.

mod envoys;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use skein_api::fleet::Fleet;
use skein_api::name::BrokerName;
use skein_mosquitto::config::{PROBE, identity_of, parse};
use skein_mosquitto::link::Link;

use self::envoys::Envoys;
pub(super) use super::broker::{Broker, Life};
use super::sessions::Sessions;
use crate::directive::{BrokerPhase, Directive, Marker, Migration, OpenSession, Status};
use crate::event::{Epoch, Event, KeptConfig, Placement, Restored};
use crate::sessions::ClientSessions;
use crate::tools::{Real, Tools};
use crate::{Engine, Settings};

/// One step of virtual time.
pub(super) const STEP: Duration = Duration::from_millis(100);

/// What becomes of it when retained values are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reading {
    #[default]
    Works,
    Fails,
    /// Longer than anybody waits.
    Takes,
}

/// The fleet, the adapter's memory and the engine.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is what some stories are about"
)]
pub(super) struct World {
    pub(super) engine: Engine,
    /// What brokers keep of their clients.
    pub(super) clients: BTreeMap<BrokerName, ClientSessions>,
    /// What it is told next.
    answers: VecDeque<Event>,
    pub(super) now: Duration,
    pub(super) fleet: Arc<Fleet>,
    pub(super) brokers: BTreeMap<BrokerName, Broker>,
    /// Where client addresses lead.
    pub(super) addresses: BTreeMap<BrokerName, BrokerName>,
    /// Everything ever asked for.
    pub(super) done: Vec<Directive>,
    /// Reports arrive by themselves.
    pub(super) reports_arrive: bool,
    /// Bridges connect, markers come through and sessions are cleared by themselves.
    pub(super) bridges_connect: bool,
    pub(super) sessions: Sessions,
    markers: Vec<Marker>,
    envoys: Envoys,
    /// What was asked to be passed on: which session, and to whom.
    pub(super) adopted: Vec<String>,
    /// What was asked to be forgotten, and to be copied.
    pub(super) values: Vec<Directive>,
    /// How that goes.
    pub(super) reading: Reading,
    /// Brokers ask nobody for a name, and bar nobody.
    pub(super) deaf_to_bars: bool,
    pub(super) recorded: Vec<OpenSession>,
    /// Sessions are looked for of which nobody knows. Else most stories would tell of it.
    audited: bool,
    configs: BTreeMap<BrokerName, Vec<(Epoch, Vec<Link>, String)>>,
    migrations: BTreeMap<String, Migration>,
}

pub(super) fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

impl World {
    pub(super) fn new(fleet: Fleet) -> Self {
        Self::with_tools(fleet, Box::new(Real::default()))
    }

    pub(super) fn with_tools(fleet: Fleet, tools: Box<dyn Tools>) -> Self {
        let mut world = Self::empty(tools);
        world.declare(fleet);
        world
    }

    /// A fleet whose brokers are looked through for sessions of which nobody knows.
    pub(super) fn audited(fleet: Fleet) -> Self {
        let mut world = Self::empty(Box::new(Real::default()));
        world.engine = Engine::new(settings());
        world.audited = true;
        world.declare(fleet);
        world
    }

    fn empty(tools: Box<dyn Tools>) -> Self {
        Self {
            engine: Engine::with_tools(settings(), tools).without_audits(),
            clients: BTreeMap::new(),
            answers: VecDeque::new(),
            now: Duration::ZERO,
            fleet: Arc::default(),
            brokers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            done: Vec::new(),
            reports_arrive: true,
            bridges_connect: true,
            sessions: Sessions::default(),
            markers: Vec::new(),
            envoys: Envoys::default(),
            adopted: Vec::new(),
            values: Vec::new(),
            reading: Reading::default(),
            deaf_to_bars: false,
            recorded: Vec::new(),
            audited: false,
            configs: BTreeMap::new(),
            migrations: BTreeMap::new(),
        }
    }

    /// The declarations are now these.
    pub(super) fn declare(&mut self, fleet: Fleet) {
        self.fleet = Arc::new(fleet);
        for broker in self.fleet.brokers.keys().cloned().collect::<Vec<_>>() {
            self.brokers.entry(broker.clone()).or_insert_with(Broker::new);
            self.tell(Event::Placed {
                placement: placement(&broker),
                broker,
            });
        }
        self.tell(Event::FleetChanged(Arc::clone(&self.fleet)));
    }

    pub(super) fn tell(&mut self, event: Event) {
        for directive in self.engine.observe(event, self.now) {
            self.execute(directive);
        }
        // In their turn: what was said before is done first.
        if let Some(answer) = self.answers.pop_front() {
            self.tell(answer);
        }
    }

    fn execute(&mut self, directive: Directive) {
        match directive.clone() {
            Directive::GiveConfig {
                broker,
                epoch,
                config,
                links,
            } => {
                let links: Vec<Link> = links.iter().map(|link| Link::clone(link)).collect();
                let kept = self.configs.entry(broker.clone()).or_default();
                if kept.last().is_none_or(|(last, ..)| *last < epoch) {
                    kept.push((epoch, links.clone(), config));
                }
                let read = parse(
                    self.configs[&broker]
                        .last()
                        .map(|it| it.2.as_str())
                        .expect("just kept"),
                );
                let broker = self.brokers.get_mut(&broker).expect("a broker that exists");
                broker
                    .inbox
                    .push_back((self.now, (epoch, links, read.expect("a configuration"))));
            }
            Directive::AwaitMarkers(markers) => {
                self.markers = markers;
                return;
            }
            Directive::EndSubscriptions { .. } | Directive::Adopt { .. } | Directive::Seed { .. } => {
                self.send(directive);
                return;
            }
            Directive::PointAddress { broker, to } => {
                self.addresses.insert(broker, to);
            }
            Directive::Bar { broker, downstreams } => {
                let broker = self.broker(broker.as_str());
                broker.bars.clone_from(&downstreams);
                broker.asked_to_bar = Some(downstreams);
                return;
            }
            Directive::RecordSessions(sessions) => {
                self.recorded = sessions;
                return;
            }
            Directive::ReadSessions { .. }
            | Directive::OpenClientSession { .. }
            | Directive::EndClientSession { .. } => self.lodge(directive.clone()),
            Directive::ForgetValues { .. } | Directive::CopyValues { .. } => {
                self.mind_values(directive);
                return;
            }
            Directive::RecordMigration(migration) => {
                self.migrations.insert(migration.name.clone(), migration);
            }
            Directive::Retire { broker } => {
                self.brokers.remove(&broker);
                self.configs.remove(&broker);
                self.done.push(directive);
                self.tell(Event::SupervisorLost { broker });
                return;
            }
        }
        self.done.push(directive);
    }

    pub(super) fn broker(&mut self, broker: &str) -> &mut Broker {
        self.brokers.get_mut(broker).expect("a broker that exists")
    }

    /// A supervisor loads the newest configuration it has, or the oldest.
    pub(super) fn load(&mut self, broker: &str, newest: bool) {
        let it = self.brokers.get_mut(broker).expect("a broker that exists");
        let before = it.loaded.clone();
        if newest {
            it.load();
        } else {
            it.load_one();
        }
        if let Some((.., config)) = &it.loaded {
            self.sessions
                .reload(before.as_ref().map(|(.., config)| config), config);
        }
    }

    /// The bridges of a broker connect where they can.
    pub(super) fn connect(&mut self, broker: &str) {
        let runs = |name: &BrokerName| self.brokers.get(name).is_some_and(|it| it.life == Life::Running);
        let Some((.., config)) = &self.brokers[broker].loaded else {
            return;
        };
        for held in config.connections.iter().filter(|_| runs(&config.broker)) {
            let (_, upstream, ..) = identity_of(&held.remote_client_id).expect("one of ours");
            if runs(&upstream) && !self.is_barred(&upstream, &config.broker) {
                self.sessions.connect(held);
            }
        }
    }

    /// Messages on the markers of connections come through where the bridge has connected.
    pub(super) fn pass_markers(&mut self) {
        self.pass(|marker| !marker.topic.starts_with(PROBE));
    }

    /// The markers of barriers come through.
    fn pass_barriers(&mut self) {
        self.pass(|marker| marker.topic.starts_with(PROBE));
    }

    fn pass(&mut self, which: impl Fn(&Marker) -> bool) {
        for marker in self.markers.clone().into_iter().filter(which) {
            let loaded = self.brokers.get(&marker.broker).and_then(|it| it.loaded.as_ref());
            let held = loaded.and_then(|(.., config)| {
                let mut held = config.connections.iter();
                held.find(|held| held.marker(&marker.broker).as_ref() == Some(&marker.topic))
            });
            let passes = if marker.topic.starts_with(PROBE) {
                // What goes a way of several links is passed at once.
                [&marker.origin, &marker.broker].into_iter().all(|end| {
                    let end = self.brokers.get(end);
                    end.is_some_and(|it| it.life == Life::Running && !it.cut_off)
                })
            } else {
                held.is_some_and(|held| self.sessions.is_connected(&held.name))
            };
            if passes {
                self.tell(Event::MarkerSeen {
                    broker: marker.broker,
                    topic: marker.topic,
                });
            }
        }
    }

    /// The links of all configurations in use, with what the sessions of their bridges are subscribed to besides.
    pub(super) fn flowing(&self) -> Vec<Link> {
        let loaded = self.brokers.values().filter_map(|it| it.loaded.as_ref());
        loaded
            .flat_map(|(.., config)| self.sessions.flowing(config))
            .filter(|link| !self.is_barred(&link.upstream, &link.downstream))
            .collect()
    }

    fn is_barred(&self, upstream: &BrokerName, downstream: &BrokerName) -> bool {
        let upstream = self.brokers.get(upstream);
        upstream.is_some_and(|it| it.keeps_out.contains(downstream))
    }

    /// Processes that can be told bar whom they should.
    fn bar(&mut self) {
        let deaf = self.deaf_to_bars;
        let names: Vec<BrokerName> = self.brokers.keys().cloned().collect();
        for broker in names {
            let it = self.broker(broker.as_str());
            let can_be_told = it.life == Life::Running && !it.cut_off && !deaf;
            if let Some(downstreams) = it.asked_to_bar.take_if(|_| can_be_told) {
                it.keeps_out.clone_from(&downstreams);
                self.tell(Event::Barred { broker, downstreams });
            }
        }
    }

    pub(super) fn deliver_report(&mut self, broker: &BrokerName) {
        if let Some(report) = self.brokers.get_mut(broker).and_then(|it| it.outbox.pop_front()) {
            self.tell(Event::Supervisor {
                broker: broker.clone(),
                report,
            });
        }
    }

    pub(super) fn set_life(&mut self, broker: &str, life: Life) {
        let it = self.broker(broker);
        if matches!(it.life, Life::Held | Life::Restarting) {
            // A new process reads whom to bar.
            it.keeps_out = it.bars.clone();
        }
        it.life = life;
        it.write_report();
    }

    pub(super) fn lose_supervisor(&mut self, broker: &str) {
        self.broker(broker).supervised = false;
        self.broker(broker).lose_reports();
        self.tell(Event::SupervisorLost { broker: name(broker) });
    }

    pub(super) fn restart_supervisor(&mut self, broker: &str) {
        self.broker(broker).supervised = true;
        self.broker(broker).write_report();
    }

    /// Everything that happens within one step of time.
    pub(super) fn step(&mut self) {
        self.now += STEP;
        if self.engine.next_wakeup().is_some_and(|at| at <= self.now) {
            self.tell(Event::Tick);
        }
        for broker in self.fleet.brokers.keys().cloned().collect::<Vec<_>>() {
            let now = self.now;
            let it = &self.brokers[&broker];
            let due =
                |given: Duration, after: Option<Duration>| after.is_some_and(|after| given + after <= now);
            if it
                .inbox
                .front()
                .is_some_and(|(given, _)| due(*given, it.load_after))
            {
                self.load(broker.as_str(), true);
            }
            self.broker(broker.as_str()).write_report();
            if self.reports_arrive {
                while self.brokers[&broker].outbox.front().is_some() {
                    self.deliver_report(&broker);
                }
            }
            let interval = self.fleet.brokers[&broker].heartbeat.interval;
            if self.now.as_millis().is_multiple_of(interval.as_millis()) {
                self.beat(&broker);
            }
            if self.bridges_connect {
                self.connect(broker.as_str());
            }
        }
        self.bar();
        self.open_sessions();
        self.pass_barriers();
        if self.bridges_connect {
            self.pass_markers();
            self.clear_sessions();
        }
    }

    fn beat(&mut self, broker: &BrokerName) {
        let it = &self.brokers[broker];
        let broker = broker.clone();
        let event = match it.life {
            _ if it.cut_off => Event::HeartbeatMissed {
                broker,
                refused: false,
            },
            Life::Running => Event::HeartbeatAnswered {
                broker,
                round_trip: Duration::from_micros(300),
            },
            Life::Hung => Event::HeartbeatMissed {
                broker,
                refused: false,
            },
            Life::Restarting | Life::Held => Event::HeartbeatMissed {
                broker,
                refused: true,
            },
        };
        self.tell(event);
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, seconds: f64) -> &mut Self {
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end {
            self.step();
        }
        self
    }

    /// The controller dies and another takes over, with what an adapter keeps.
    pub(super) fn restart_engine(&mut self, tools: Box<dyn Tools>) {
        let classes = self.engine.plan().class_names();
        let kept = |(epoch, links, text): &(Epoch, Vec<Link>, String)| KeptConfig {
            epoch: *epoch,
            links: links.clone(),
            text: Some(text.clone()),
        };
        let restored = Restored {
            classes,
            configs: self
                .configs
                .iter()
                .map(|(broker, configs)| (broker.clone(), configs.iter().map(kept).collect()))
                .collect(),
            addresses: self.addresses.clone(),
            sessions: self.recorded.clone(),
            migrations: self.migrations.values().cloned().collect(),
        };
        let engine = Engine::with_tools(settings(), tools);
        self.engine = if self.audited {
            engine
        } else {
            engine.without_audits()
        };
        self.markers.clear();
        self.envoys = Envoys::default();
        self.tell(Event::Restored(restored));
        for broker in self.fleet.brokers.keys().cloned().collect::<Vec<_>>() {
            self.brokers
                .get_mut(&broker)
                .expect("a broker that exists")
                .lose_reports();
            self.tell(Event::Placed {
                placement: placement(&broker),
                broker,
            });
        }
        self.tell(Event::FleetChanged(Arc::clone(&self.fleet)));
    }

    pub(super) fn status(&self) -> Status {
        self.engine.status()
    }

    pub(super) fn phase(&self, broker: &str) -> BrokerPhase {
        let status = self.status();
        status
            .brokers
            .iter()
            .find(|it| it.name.as_str() == broker)
            .expect("declared")
            .phase
    }

    /// The path of a topic between two brokers, consumer first, as planned.
    pub(super) fn path(&self, topic: &str) -> String {
        let status = self.status();
        let path = status
            .paths
            .iter()
            .find(|it| it.topic.as_str() == topic)
            .expect("declared");
        path.path
            .iter()
            .map(BrokerName::as_str)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The links in use everywhere, as `downstream<upstream`.
    pub(super) fn loaded(&self) -> String {
        let links = self
            .brokers
            .values()
            .filter_map(|it| it.loaded.as_ref())
            .flat_map(|(_, links, _)| links);
        let mut names: Vec<String> = links
            .map(|link| format!("{}<{}", link.downstream, link.upstream))
            .collect();
        names.sort();
        names.join(" ")
    }

    pub(super) fn gives(&self, since: usize) -> Vec<String> {
        self.done[since..]
            .iter()
            .filter_map(|directive| match directive {
                Directive::GiveConfig { broker, .. } => Some(broker.to_string()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn has_problem(&self, part: &str) -> bool {
        self.status()
            .problems
            .iter()
            .any(|problem| problem.contains(part))
    }
}

fn settings() -> Settings {
    Settings {
        sqlite_plugin: Some("/usr/lib/mosquitto_persist_sqlite.so".to_owned()),
        ..Settings::default()
    }
}

fn placement(broker: &BrokerName) -> Placement {
    Placement {
        listen: format!("{broker}.peer"),
        peer: (format!("{broker}.peer"), 1883),
        client: (format!("{broker}.client"), 1883),
        data_directory: format!("/var/lib/{broker}"),
    }
}
