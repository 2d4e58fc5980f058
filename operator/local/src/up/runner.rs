//! The loop: what is seen goes to the engine, what the engine says is done.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skein_adapter::migrations::Migrations;
use skein_adapter::{Conductor, Envoys, Ground as _, translate};
use skein_agent::{BrokerDirectory, plugin};
use skein_api::fleet::Hosting;
use skein_api::name::BrokerName;
use skein_engine::event::Event;
use skein_engine::{Engine, Securing, Settings};
use skein_mqtt::{Outcome, Watch};
use skein_sight::rooms::Rooms;
use skein_sight::stores::Stores;
use skein_sight::vitals::Vitals;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::UpError;
use super::heed::Heeded;
use super::show::{GATHER, WRITE};
use crate::changes::Changes;
use crate::happening::UpEvent;
use crate::manifests::{Declared, ManifestFile};
use crate::ports::PortBook;
use crate::processes::{Gone, Processes, Role};
use crate::state::StateDirectory;
use crate::status::FleetStatus;
use crate::users;
use crate::wishes::WishDirectory;
use skein_adapter::users::Users;

/// An edit is read this long after the last write: an editor writes more than once.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Starting processes takes the loop no longer than this at a time: a thousand of them take long, and heartbeats
/// must not wait for that.
const SLICE: Duration = Duration::from_millis(10);

/// How often at most processes are looked at that may not know their users.
const LOOK: Duration = Duration::from_millis(200);

/// Where everything is.
pub(super) struct Place {
    pub(super) manifests: PathBuf,
    pub(super) state: StateDirectory,
    pub(super) program: PathBuf,
    pub(super) mosquitto: PathBuf,
}

pub(super) struct Runner<F> {
    pub(super) place: Place,
    pub(super) tell: F,
    pub(super) conductor: Conductor,
    pub(super) ports: PortBook,
    pub(super) processes: Processes,
    pub(super) changes: Changes,
    pub(super) stores: Stores,
    /// Where there is room for what brokers keep.
    pub(super) rooms: Rooms,
    vitals: Vitals,
    /// Where forwarders led when this life began, if not to their own broker; until they are told that again.
    pub(super) led: Option<BTreeMap<BrokerName, BrokerName>>,
    pub(super) users: Users,
    /// Brokers ask for names: there is a plugin for that.
    pub(super) secured: bool,
    pub(super) looked_after_users: Instant,
    pub(super) instance: String,
    pub(super) migrations: Migrations,
    /// What people wish.
    pub(super) wishes: Heeded,
    pub(super) status: Option<FleetStatus>,
    pub(super) status_due: Option<Instant>,
    /// How long changes of the status are gathered: the larger the fleet, the longer.
    pub(super) gathering: Duration,
    pub(super) written: Instant,
    pub(super) edited: Option<Instant>,
    pub(super) was_ready: bool,
    /// Brokers whose processes are still to be started or taken over.
    pub(super) to_begin: VecDeque<BrokerName>,
}

/// Runs the fleet until a signal ends it.
pub(super) async fn run<F: FnMut(UpEvent)>(
    place: Place,
    sources: Vec<ManifestFile>,
    declared: Declared,
    tell: F,
) -> Result<(), UpError> {
    let system = |action| move |source| UpError::System { action, source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("listen for Ctrl-C"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system("listen for SIGTERM"))?;
    allow_many_files();
    let (outcomes_sender, mut outcomes) = mpsc::unbounded_channel();
    let (processes, mut gone) = Processes::new(
        place.program.clone(),
        place.mosquitto.clone(),
        place.state.clone(),
    );
    let instance = instance();
    let watch = Watch::start(skein_mqtt::Settings::new(instance.clone()), outcomes_sender);
    let (envoys, mut returned) = Envoys::new();
    let stores = Stores::start(envoys.way_back().clone()).map_err(system("start a thread"))?;
    let rooms = Rooms::start().map_err(system("start a thread"))?;
    let (users, secret_is_new) = users::open(&place.state.secret_file())?;
    let plugin = |name| plugin::find(&place.mosquitto, name).map(|path| path.display().to_string());
    let security = plugin(plugin::SECURITY).map(|plugin| Securing {
        plugin,
        secret: users.secret().clone(),
    });
    let settings = Settings {
        // Started as root, Mosquitto becomes a user who may not exist and to whom our directories are closed.
        user: rustix::process::geteuid().is_root().then(|| "root".to_owned()),
        sqlite_plugin: plugin(plugin::STORE),
        security: security.clone(),
        ..Settings::default()
    };
    let mut runner = Runner {
        ports: PortBook::open(place.state.ports_file())?,
        migrations: Migrations::new(
            StateDirectory::read(&place.state.migrations_file())?.unwrap_or_default(),
        ),
        conductor: Conductor::new(
            Engine::new(settings),
            watch,
            envoys,
            StateDirectory::read(&place.state.classes_file())?.unwrap_or_default(),
        ),
        wishes: Heeded::new(WishDirectory::of(&place.state)),
        place,
        tell,
        processes,
        changes: Changes::new(),
        stores,
        rooms,
        vitals: Vitals::default(),
        led: None,
        users,
        secured: security.is_some(),
        looked_after_users: Instant::now(),
        instance,
        status: None,
        status_due: None,
        gathering: GATHER,
        written: Instant::now(),
        edited: None,
        was_ready: false,
        to_begin: VecDeque::new(),
    };
    if security.is_none() {
        let text = format!(
            "{} was not found beside {}: brokers ask nobody for a name, so any client may read and write what is Skein's, \
             and no bridge can be kept out; install it, and `up` again",
            plugin::SECURITY,
            runner.place.mosquitto.display()
        );
        runner.conductor.troubles.insert("security".to_owned(), text);
    }
    if secret_is_new {
        runner.stop_strangers();
    }
    let result = match runner.start(&sources, declared) {
        Ok(()) => {
            runner
                .turn(
                    &mut outcomes,
                    &mut returned,
                    &mut gone,
                    &mut interrupt,
                    &mut terminate,
                )
                .await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    runner.stop(&mut interrupt, &mut terminate).await;
    result
}

impl<F: FnMut(UpEvent)> Runner<F> {
    async fn turn(
        &mut self,
        outcomes: &mut mpsc::UnboundedReceiver<Outcome>,
        returned: &mut mpsc::UnboundedReceiver<Event>,
        gone: &mut mpsc::UnboundedReceiver<Gone>,
        interrupt: &mut Signal,
        terminate: &mut Signal,
    ) {
        loop {
            let wake = self.next_wakeup();
            tokio::select! {
                biased;
                _ = interrupt.recv() => return,
                _ = terminate.recv() => return,
                Some(gone) = gone.recv() => self.process_gone(&gone),
                directory = self.changes.next() => self.changed(&directory),
                Some(outcome) = outcomes.recv() => {
                    let mut events = Vec::new();
                    self.outcome(outcome, &mut events);
                    while let Ok(outcome) = outcomes.try_recv() {
                        self.outcome(outcome, &mut events);
                    }
                    self.observe_all(events);
                }
                Some(event) = returned.recv() => {
                    let barred = matches!(event, Event::Barred { .. });
                    self.stores.heard(&event);
                    self.observe(event);
                    if barred {
                        // More may have been said meanwhile.
                        self.look_after_users();
                    }
                }
                () = sleep_until(wake) => {}
            }
            self.due_by_now();
        }
    }

    fn next_wakeup(&self) -> Instant {
        let engine = self.conductor.next_wakeup();
        let debounced = self.edited.map(|edited| edited + DEBOUNCE);
        let begin = (!self.to_begin.is_empty()).then(Instant::now);
        [
            engine,
            debounced,
            begin,
            self.status_due,
            self.processes.next_due(),
        ]
        .into_iter()
        .flatten()
        .fold(self.written + WRITE, Instant::min)
    }

    fn due_by_now(&mut self) {
        let now = Instant::now();
        self.tick();
        while Instant::now() < now + SLICE
            && let Some(broker) = self.to_begin.pop_front()
        {
            self.begin(&broker);
        }
        for (broker, role) in self.processes.due(now) {
            self.begin_one(&broker, role);
        }
        if self.edited.is_some_and(|edited| edited + DEBOUNCE <= now) {
            self.edited = None;
            self.edit();
        }
        if self.status_due.is_some_and(|due| due <= now) || self.written + WRITE <= now {
            self.retry_undone();
            if self.looked_after_users + LOOK <= now {
                self.look_after_users();
            }
            self.refresh_status();
        }
    }

    fn changed(&mut self, directory: &Path) {
        let broker = directory
            .file_name()
            .and_then(OsStr::to_str)
            .and_then(|name| BrokerName::new(name).ok());
        match broker {
            _ if self.is_of_wishes(directory) => self.heed_wishes(),
            Some(name) if self.place.state.broker(&name).path() == directory => self.hear_supervisor(&name),
            _ => self.edited = Some(Instant::now()),
        }
    }

    /// Takes a supervisor's report in, if it is of the one that lives.
    pub(super) fn hear_supervisor(&mut self, broker: &BrokerName) {
        let directory = self.place.state.broker(broker);
        let living = directory.supervisor().ok().flatten();
        let trouble = format!("report/{broker}");
        match directory.report() {
            Ok(Some(report)) if living.is_some_and(|living| living.pid == report.supervisor_pid) => {
                self.conductor.troubles.remove(&trouble);
                self.conductor
                    .troubles
                    .remove(&format!("{:?}/{broker}", Role::Supervisor));
                let obstacle = format!("obstacle/{broker}");
                match &report.obstacle {
                    Some(text) => self
                        .conductor
                        .troubles
                        .insert(obstacle, format!("Broker/{broker}: {text}")),
                    None => self.conductor.troubles.remove(&obstacle),
                };
                self.users
                    .heard(broker, report.all_barred.as_deref(), report.started_at);
                let report = translate::report(&report);
                self.observe(Event::Supervisor {
                    broker: broker.clone(),
                    report,
                });
            }
            Ok(_) => {}
            Err(error) => {
                self.conductor
                    .troubles
                    .insert(trouble, format!("broker {broker}: {error}"));
            }
        }
    }

    fn process_gone(&mut self, gone: &Gone) {
        let Some(failures) = self.processes.ended(gone) else {
            if !self.conductor.placed.contains_key(&gone.broker) {
                if gone.role == Role::Supervisor {
                    (self.tell)(UpEvent::Stopped {
                        broker: gone.broker.clone(),
                    });
                }
                self.vitals.forget(&gone.broker);
                self.conductor
                    .troubles
                    .remove(&format!("obstacle/{}", gone.broker));
                // Whichever of its processes ends last.
                self.retired(&gone.broker);
            }
            return;
        };
        if failures >= 3 {
            let complaint = self.processes.complaint(&gone.broker, gone.role);
            self.conductor
                .troubles
                .insert(format!("{:?}/{}", gone.role, gone.broker), complaint);
        }
        if gone.role == Role::Supervisor {
            self.observe(Event::SupervisorLost {
                broker: gone.broker.clone(),
            });
        }
        self.gather();
    }

    /// Says what a broker's process does while a heartbeat goes unanswered, if it can be seen.
    pub(super) fn look_at_process(&mut self, broker: &BrokerName) {
        let declared = self.conductor.fleet.brokers.get(broker);
        let Some(declared) = declared.filter(|it| is_managed(it)) else {
            return;
        };
        let interval = declared.heartbeat.interval;
        let process = self.place.state.broker(broker).broker();
        if let Ok(Some(identity)) = process
            && let Some(activity) = self.vitals.look(broker, &identity, interval)
        {
            let broker = broker.clone();
            self.observe(Event::Activity { broker, activity });
        }
    }
}

pub(super) fn is_managed(broker: &skein_api::fleet::Broker) -> bool {
    matches!(broker.hosting, Hosting::Managed(_))
}

pub(super) fn is_report(name: &OsStr) -> bool {
    name == BrokerDirectory::REPORT
}

pub(super) fn join((host, port): &(String, u16)) -> String {
    format!("{host}:{port}")
}

/// Tells this process's heartbeats from those of any other that watches the same brokers.
fn instance() -> String {
    format!(
        "{}-{:x}",
        std::process::id(),
        jiff::Timestamp::now().as_millisecond()
    )
}

/// A connection, a process handle or two per broker: a thousand brokers are more than the usual limit of open files.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Not granted: then it is as it was.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}
