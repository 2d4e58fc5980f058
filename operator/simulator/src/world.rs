//! A fleet in virtual time: the model, a supervisor per broker, and the controller, in which the real engine runs.
//!
//! Knows how events get to the engine and what becomes of its directives; decides nothing that the engine decides.

mod adopting;
mod controller;
mod execute;
mod fault;
mod lodging;
mod probing;
mod supervisor;
mod values;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use skein_api::fleet::Fleet;
use skein_api::name::{BrokerName, ClassName, TopicName};
use skein_engine::directive::{Directive, Marker, Migration, OpenSession, Status};
use skein_engine::event::{Event, Placement, Report};
use skein_engine::sessions::ClientSessions;
use skein_engine::{Engine, Settings};

use self::controller::Pulse;
use self::execute::Purpose;
pub(crate) use self::fault::Fault;
use self::probing::Probing;
use self::supervisor::Site;
use self::values::Job;
use crate::air::{BrokerId, Brokers, ClientNumber, Happening, MOST_BROKERS};
use crate::broker::Series;
use crate::fabric::Fabric;
use crate::packet::{Message, PacketId, Time};

/// The names of brokers, by number.
pub(crate) const NAMES: [&str; MOST_BROKERS] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// More than any trial takes.
const MOST_STEPS: u64 = 3_000_000;

/// A mistake that the simulator must find: made on purpose, to see that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Sessions that links left are said to be ended and are not.
    EndsNothing,
    /// Markers are said to have been seen as soon as they are awaited.
    SeesMarkersAtOnce,
    /// Reloads go straight to the new configuration.
    SkipsStages,
    /// A controller that starts is told of no configuration of an earlier life.
    RestoresNothing,
    /// What was given is reported as loaded before it is.
    ReportsEarly,
    /// Sessions of links to come are said to be open and are not.
    SeedsNothing,
    /// Markers are published at QoS 1.
    HastyMarkers,
    /// Sessions of clients to come are said to be open and are not.
    OpensNoClients,
    /// Brokers are said to keep no messages for their clients.
    SeesNobodyWaiting,
    /// What is to be passed on is thrown away.
    PurgesForAdoption,
    /// Brokers are said to keep out whom they should, and do not.
    BarsNobody,
    /// What clients published with the retain flag is said to be where they go, and is not.
    CopiesNoValues,
    /// What brokers are to forget is said to be forgotten, and is not.
    ForgetsNothing,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::EndsNothing,
        Self::SeesMarkersAtOnce,
        Self::SkipsStages,
        Self::RestoresNothing,
        Self::ReportsEarly,
        Self::SeedsNothing,
        Self::HastyMarkers,
        Self::OpensNoClients,
        Self::SeesNobodyWaiting,
        Self::PurgesForAdoption,
        Self::BarsNobody,
        Self::CopiesNoValues,
        Self::ForgetsNothing,
    ];
}

/// What happens outside brokers and clients.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A message that the controller waits for passed a broker.
    Seen { broker: BrokerId, message: Message },
    /// A broker answered a heartbeat, or its machine refused it.
    Answer {
        broker: BrokerId,
        sequence: u64,
        refused: bool,
    },
    /// A broker keeps out whom it was told to.
    Barred { broker: BrokerId, downstreams: Brokers },
    /// A broker that has not said so yet is told again.
    Bar { broker: BrokerId, life: u32 },
    /// An envoy is done, or cannot be.
    Envoy { client: ClientNumber, done: bool },
    /// A message that waited in a session is to be published elsewhere.
    Carry {
        carrier: ClientNumber,
        message: Message,
        id: PacketId,
        qos: u8,
    },
    /// It was, by one of those who are to.
    Delivered { carrier: ClientNumber, id: PacketId },
    /// The next heartbeat of a broker is due.
    Beat { broker: BrokerId, life: u32 },
    /// Probes and markers are due.
    Probes { life: u32 },
    /// The engine asked for a tick.
    Wake { life: u32 },
    /// The controller goes on after a stall.
    Resume { life: u32 },
    /// A controller starts.
    Begin { life: u32 },
    /// A directive that was late.
    Late { life: u32, directive: Directive },
    /// A report reaches the controller.
    Report {
        broker: BrokerId,
        report: Report,
        life: u32,
    },
    /// A supervisor is seen to be gone.
    Lost { broker: BrokerId, life: u32 },
    /// What brokers keep of clients is looked at.
    LookAtSessions { life: u32 },
    /// What a broker keeps of clients is read.
    ReadSessions {
        broker: BrokerId,
        serial: u64,
        life: u32,
    },
    /// Retained values are read, so that some can be forgotten or copied.
    ReadValues { serial: u64, life: u32 },
    /// A broker takes those that it is to have.
    TakeValues { broker: BrokerId, serial: u64 },
    /// All has been taken, or something has not come in time.
    ValuesDone { serial: u64, error: bool },
    /// Something else reaches the controller.
    Tell { event: Event, life: u32 },
    /// A supervisor looks whether there is something to do.
    Look { broker: BrokerId },
    /// A supervisor's next step is due.
    Step { broker: BrokerId, turn: u32 },
    /// A fault of the schedule.
    Fault { index: usize },
    /// The end of a fault.
    Mend { fault: Fault },
}

/// Who is out to do something under the client id of a bridge, or of a client.
#[derive(Clone, Debug)]
struct Envoy {
    purpose: Purpose,
    broker: BrokerName,
    client_id: String,
}

impl Envoy {
    /// What the engine is told of it.
    fn back(self, error: Option<String>) -> Event {
        let Self {
            purpose,
            broker,
            client_id,
        } = self;
        match purpose {
            Purpose::Seed => Event::Seeded {
                broker,
                client_id,
                error,
            },
            Purpose::End => Event::SubscriptionsEnded {
                broker,
                client_id,
                error,
            },
            Purpose::Adopt => Event::Adopted {
                broker,
                client_id,
                messages: 0,
                error,
            },
            Purpose::OpenClient => Event::ClientSessionOpened {
                broker,
                client_id,
                error,
            },
            Purpose::EndClient => Event::ClientSessionEnded {
                broker,
                client_id,
                error,
            },
        }
    }
}

/// Whom a broker is to keep out.
#[derive(Clone, Copy, Debug, Default)]
struct Bars {
    downstreams: Brokers,
    /// How often that was changed.
    turn: u64,
    /// The controller waits for its process to do so.
    awaited: bool,
}

/// The fleet.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) fabric: Fabric,
    pub(crate) fleet: Arc<Fleet>,
    /// None while no controller runs.
    engine: Option<Engine>,
    /// Counts controllers.
    life: u32,
    stalled: bool,
    inbox: VecDeque<Event>,
    woken_at: Option<Time>,
    /// Ticks in a row that were asked for at once.
    hurried: u32,
    /// How often it was too much.
    pub(crate) spins: u64,
    /// What the world does wrong on purpose.
    pub(crate) flaw: Option<Flaw>,
    sites: Vec<Site>,
    pulses: Vec<Pulse>,
    probing: Probing,
    /// With when each was first asked for.
    markers: BTreeMap<Marker, Time>,
    envoys: BTreeMap<ClientNumber, Envoy>,
    /// Who publishes what a carrier takes.
    adoptions: BTreeMap<ClientNumber, Vec<ClientNumber>>,
    /// What is to be done about retained values, by the number of the directive.
    values: BTreeMap<u64, Job>,
    /// What survives a controller.
    classes: BTreeMap<TopicName, ClassName>,
    migrations: BTreeMap<String, Migration>,
    sessions: Vec<OpenSession>,
    /// Brokers that people want without clients.
    drained: BTreeSet<BrokerId>,
    /// What controllers were told last of clients' sessions.
    sessions_told: Vec<Option<Arc<ClientSessions>>>,
    /// Whom each broker is to keep out, and is started with.
    bars: [Bars; MOST_BROKERS],
    /// How late directives are executed.
    lateness: Time,
    late_until: Time,
    /// Flows that had no way at some time: topic, producer and consumer, as declared.
    pub(crate) interrupted: BTreeSet<(TopicName, BrokerName, BrokerName)>,
    /// Brokers whose clients were led elsewhere at some time.
    pub(crate) moved: BTreeSet<BrokerId>,
    /// When clients were led elsewhere, by their home.
    pub(crate) moves: Vec<(BrokerId, Time)>,
    /// Some link was to carry both ways at some time.
    pub(crate) duplex: bool,
    /// The controller dies after so many directives.
    dies_after: Option<u32>,
    /// Directives executed so far, and when the last one was.
    pub(crate) directives: u64,
    pub(crate) last_directive: Time,
    /// What the schedule keeps: see [`Fault`].
    pub(crate) schedule: Vec<Fault>,
    pub(crate) edits: Vec<Arc<Fleet>>,
}

pub(crate) fn name(broker: BrokerId) -> Option<BrokerName> {
    BrokerName::new(NAMES.get(broker)?).ok()
}

pub(crate) fn number(broker: &BrokerName) -> Option<BrokerId> {
    NAMES.iter().position(|name| *name == broker.as_str())
}

/// Where a broker is: its port tells its number.
pub(crate) fn placement(broker: BrokerId) -> Placement {
    let port = 20_000 + broker as u16;
    Placement {
        listen: "127.0.0.1".to_owned(),
        peer: ("127.0.0.1".to_owned(), port),
        client: ("127.0.0.1".to_owned(), port + 100),
        data_directory: "/var/lib/skein".to_owned(),
    }
}

/// The broker at an address.
pub(crate) fn place(_: &str, port: u16) -> Option<BrokerId> {
    let broker = usize::from(port.checked_sub(20_000)?);
    (broker < MOST_BROKERS).then_some(broker)
}

fn settings() -> Settings {
    Settings {
        sqlite_plugin: Some("/usr/lib/mosquitto_persist_sqlite.so".to_owned()),
        ..Settings::default()
    }
}

impl World {
    pub(crate) fn new(seed: u64, fleet: Arc<Fleet>, series: &[Series]) -> Self {
        let mut fabric = Fabric::new(seed, series);
        fabric
            .air
            .clock
            .after(0, Happening::Errand(Errand::Begin { life: 1 }));
        let sites = series.iter().map(|_| Site::default()).collect();
        Self {
            fabric,
            fleet,
            engine: None,
            life: 1,
            stalled: false,
            inbox: VecDeque::new(),
            woken_at: None,
            hurried: 0,
            spins: 0,
            flaw: None,
            sites,
            pulses: Vec::new(),
            probing: Probing::default(),
            markers: BTreeMap::new(),
            envoys: BTreeMap::new(),
            adoptions: BTreeMap::new(),
            values: BTreeMap::new(),
            classes: BTreeMap::new(),
            migrations: BTreeMap::new(),
            sessions: Vec::new(),
            drained: BTreeSet::new(),
            sessions_told: Vec::new(),
            bars: [Bars::default(); MOST_BROKERS],
            lateness: 0,
            late_until: 0,
            interrupted: BTreeSet::new(),
            moved: BTreeSet::new(),
            moves: Vec::new(),
            duplex: false,
            dies_after: None,
            directives: 0,
            last_directive: 0,
            schedule: Vec::new(),
            edits: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.fabric.now()
    }

    fn moment(&self) -> Duration {
        Duration::from_micros(self.now())
    }

    fn after(&mut self, delay: Time, errand: Errand) {
        self.fabric.air.clock.after(delay, Happening::Errand(errand));
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        self.fabric.air.tell(|_| line());
    }

    /// Plans a fault of the schedule.
    pub(crate) fn plan_fault(&mut self, at: Time, fault: Fault) {
        let index = self.schedule.len();
        self.schedule.push(fault);
        self.fabric
            .air
            .clock
            .at(at, Happening::Errand(Errand::Fault { index }));
    }

    /// Lets time pass; ends early if a message goes round.
    pub(crate) fn run(&mut self, until: Time) {
        while let Some(errand) = self.fabric.run(until) {
            self.fabric.steps += 1;
            self.heed(errand);
            if self.fabric.air.ledger.loops.is_some() || !self.fabric.air.ledger.complaints.is_empty() {
                return;
            }
            if self.fabric.steps > MOST_STEPS {
                let what = "it does not come to rest: too much happens in too little time".to_owned();
                self.fabric.air.ledger.complain(what);
                return;
            }
        }
    }

    fn heed(&mut self, errand: Errand) {
        match errand {
            Errand::Seen { broker, message } => self.seen(broker, message),
            Errand::Answer {
                broker,
                sequence,
                refused,
            } => self.answered(broker, sequence, refused),
            Errand::Barred { broker, downstreams } => self.barred(broker, downstreams),
            Errand::Bar { broker, life } => self.tell_bars(broker, life),
            Errand::Envoy { client, done } => self.envoy_back(client, done),
            Errand::Carry {
                carrier,
                message,
                id,
                qos,
            } => self.carry(carrier, message, id, qos),
            Errand::Delivered { carrier, id } => self.delivered(carrier, id),
            Errand::Beat { broker, life } => self.beat(broker, life),
            Errand::Probes { life } => self.probe(life),
            Errand::Wake { life } => self.wake(life),
            Errand::Resume { life } => self.resume(life),
            Errand::Begin { life } => self.begin_controller(life),
            Errand::Late { life, directive } => {
                if life == self.life && self.engine.is_some() {
                    self.execute(directive);
                }
            }
            Errand::Report { broker, report, life } => {
                if let Some(broker) = name(broker).filter(|_| life == self.life) {
                    self.observe(Event::Supervisor { broker, report });
                }
            }
            Errand::Lost { broker, life } => {
                if let Some(broker) = name(broker).filter(|_| life == self.life) {
                    self.observe(Event::SupervisorLost { broker });
                }
            }
            Errand::LookAtSessions { life } => self.look_at_sessions(life),
            Errand::ReadSessions { broker, serial, life } => {
                if life == self.life {
                    self.answer_sessions(broker, serial);
                }
            }
            Errand::ReadValues { serial, life } => {
                if life == self.life {
                    self.read_values(serial);
                }
            }
            Errand::TakeValues { broker, serial } => self.take_values(broker, serial),
            Errand::ValuesDone { serial, error } => self.values_done(serial, error),
            Errand::Tell { event, life } => {
                if life == self.life {
                    self.observe(event);
                }
            }
            Errand::Look { broker } => self.supervise(broker),
            Errand::Step { broker, turn } => self.step(broker, turn),
            Errand::Fault { index } => self.strike(index),
            Errand::Mend { fault } => self.mend(&fault),
        }
    }

    /// What the engine says of the fleet; `None` while no controller runs.
    pub(crate) fn status(&self) -> Option<Status> {
        self.engine.as_ref().map(Engine::status)
    }
}
