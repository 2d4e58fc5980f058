//! One fleet, from the first reading of its namespace until its controller ends: what is seen goes to the engine, what the engine
//! says is done.

mod beats;
mod declare;
mod events;
mod execute;
mod given;
mod heed;
mod kick;
mod leave;
mod place;
mod repair;
mod roll;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::Client;
use kube::runtime::events::Recorder;
use skein_adapter::approvals::Step;
use skein_adapter::declared::Problem;
use skein_adapter::migrations::Migrations;
use skein_adapter::users::Users;
use skein_adapter::{Conductor, Envoys, Ground as _};
use skein_api::name::BrokerName;
use skein_engine::directive::{BrokerPhase, OpenSession};
use skein_engine::event::Event;
use skein_engine::{Engine, Securing, Settings};
use skein_mqtt::{Outcome, Watch};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use self::given::Given;
pub(crate) use self::given::fleet_secret;
pub(crate) use self::leave::{is_held, pauses};
use self::place::Heard;
use crate::declared::{Declaration, Declarations};
use crate::metrics::{Figures, METRICS};
use crate::pods::Pods;
use crate::say;
use crate::standby::Memory;
use crate::watching::{About, Change, Watched};
use crate::writer::{Done, End, Writer, is_ending};
use crate::{names, objects};

/// Changes of what is declared are gathered for so long: `kubectl apply` of a folder is many.
const GATHER: Duration = Duration::from_millis(30);
/// Changes of the status are gathered for so long.
const SHOW: Duration = Duration::from_millis(100);
/// What it takes to look at all of a fleet, so many times over, passes until it is looked at again: all else comes first.
const REST: u32 = 4;
/// What goes on by itself is looked at so often.
const LOOK: Duration = Duration::from_millis(500);
/// Figures are shown so often: more often than they are scraped.
const MEASURE: Duration = Duration::from_secs(5);
/// How long a broker may take until it answers for the first time: its pod has to find a node, a volume and an image.
const START: Duration = Duration::from_mins(2);

/// Where a pod has its files, and the broker its store: the same in each.
const PLUGINS: &str = "/var/lib/skein/plugins";
const DATA: &str = "/var/lib/skein/data";

/// What a fleet is begun with.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) namespace: String,
    pub(crate) client: Client,
    pub(crate) watched: Watched,
    pub(crate) objects: objects::Settings,
}

/// See the head of this module.
pub(crate) struct Fleet {
    setting: Setting,
    conductor: Conductor,
    users: Users,
    writer: Writer,
    recorder: Recorder,
    declarations: Declarations,
    /// What is wrong with what is declared.
    problems: Vec<Problem>,
    /// The brokers that Skein runs, as declared.
    hosted: BTreeMap<BrokerName, Declaration>,
    /// Those that were, are being deleted, and are kept until nobody needs them.
    leaving: BTreeMap<BrokerName, Declaration>,
    /// The uids of those that were let go.
    released: BTreeSet<String>,
    ending: leave::Ending,
    /// The digest of the template that each pod is to be of.
    templates: BTreeMap<BrokerName, String>,
    given: BTreeMap<BrokerName, Given>,
    /// What pods said, and whether they are there.
    heard: BTreeMap<BrokerName, Heard>,
    /// What can be seen in them.
    pods: Pods,
    late: beats::Late,
    /// Who serves whom, where it is not everybody themselves.
    serving: BTreeMap<BrokerName, BrokerName>,
    /// Who served whom when that was last written.
    led: BTreeMap<BrokerName, BrokerName>,
    migrations: Migrations,
    /// The drains that the engine was told of.
    drains: heed::Drains,
    /// Steps that the engine was told are approved.
    approved: BTreeSet<(String, Step)>,
    /// How brokers are, as shown last.
    phases: BTreeMap<BrokerName, BrokerPhase>,
    /// Sessions that are open upstream and that no configuration tells of.
    sessions: Vec<OpenSession>,
    /// The engine knows a fleet.
    has_begun: bool,
    /// Tells this life's clients from those of another.
    instance: String,
    /// What is to be looked at again, and when.
    due: BTreeMap<About, Instant>,
    /// What was done beside the loop, and when the engine is to hear of it.
    returned: (Vec<Event>, Option<Instant>),
    /// What is declared is not read again before.
    reads_from: Instant,
    /// Objects are to be kept as they should be then.
    objects_due: Option<Instant>,
    /// How long it took to look at all of them.
    objects_took: Duration,
    show_due: Option<Instant>,
    /// The status is not looked at before.
    rests: Instant,
    /// What custom resources were said to be, by their uid, until the server says so.
    shown: BTreeMap<String, serde_json::Value>,
    looked: Instant,
    measured: Instant,
    figures: Figures,
    said: BTreeSet<String>,
}

impl Fleet {
    /// Cares for a fleet for ever. What stands in its way is said and tried again.
    pub(crate) async fn care(setting: Setting, memory: Memory, mut changes: mpsc::UnboundedReceiver<Change>) {
        let namespace = setting.namespace.clone();
        let mut pause = Duration::from_millis(200);
        loop {
            match Self::begin(&setting, &memory).await {
                Ok((fleet, channels)) => {
                    fleet.turn(channels, &mut changes).await;
                    return;
                }
                Err(given::Unreadable::Api(error)) if is_ending(&error) => leave::let_go(&setting).await,
                Err(error) => say(&format!("{namespace}: {error}; it is tried again")),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
    }

    async fn begin(setting: &Setting, memory: &Memory) -> Result<(Self, Channels), given::Unreadable> {
        let kept = given::Kept::read(&setting.client, &setting.namespace).await?;
        let (outcomes_sender, outcomes) = mpsc::unbounded_channel();
        let instance = instance();
        let watch = Watch::start(skein_mqtt::Settings::new(instance.clone()), outcomes_sender);
        let (envoys, returned) = Envoys::new();
        let mut pods = Pods::new(envoys.way_back().clone());
        pods.remember(memory.clone());
        let plugin = |name: &str| format!("{PLUGINS}/{name}");
        let settings = Settings {
            start: START,
            sqlite_plugin: Some(plugin("mosquitto_persist_sqlite.so")),
            security: Some(Securing {
                plugin: plugin("mosquitto_dynamic_security.so"),
                secret: kept.secret.clone(),
            }),
            ..Settings::default()
        };
        let (writer, written) = Writer::new(setting.client.clone(), &setting.namespace);
        let (ending, endings) = leave::Ending::new();
        let mut fleet = Self {
            conductor: Conductor::new(Engine::new(settings), watch, envoys, kept.classes.clone()),
            users: Users::new(kept.secret.clone()),
            writer,
            recorder: Self::recorder(&setting.client),
            declarations: Declarations::default(),
            problems: Vec::new(),
            hosted: BTreeMap::new(),
            leaving: BTreeMap::new(),
            released: BTreeSet::new(),
            ending,
            templates: BTreeMap::new(),
            given: BTreeMap::new(),
            heard: BTreeMap::new(),
            pods,
            late: beats::Late::default(),
            serving: BTreeMap::new(),
            led: BTreeMap::new(),
            migrations: Migrations::default(),
            drains: heed::Drains::default(),
            approved: BTreeSet::new(),
            phases: BTreeMap::new(),
            sessions: Vec::new(),
            has_begun: false,
            instance,
            due: BTreeMap::new(),
            returned: (Vec::new(), None),
            reads_from: Instant::now(),
            objects_due: None,
            objects_took: Duration::ZERO,
            show_due: None,
            rests: Instant::now(),
            shown: BTreeMap::new(),
            looked: Instant::now(),
            measured: Instant::now(),
            figures: Figures::default(),
            said: BTreeSet::new(),
            setting: setting.clone(),
        };
        fleet.restore(kept);
        fleet.declare();
        let channels = Channels {
            outcomes,
            returned,
            written,
            endings,
        };
        Ok((fleet, channels))
    }

    async fn turn(mut self, mut channels: Channels, changes: &mut mpsc::UnboundedReceiver<Change>) {
        loop {
            let wake = self.next_wakeup();
            let listens = self.conductor.rests_until() <= Instant::now();
            tokio::select! {
                biased;
                change = changes.recv() => match change {
                    Some(change) => {
                        self.changed(change);
                        while let Ok(change) = changes.try_recv() {
                            self.changed(change);
                        }
                    }
                    // The controller ends.
                    None => return,
                },
                Some(outcome) = channels.outcomes.recv(), if listens => self.beats(outcome, &mut channels.outcomes),
                Some(done) = channels.written.recv() => {
                    self.written(done);
                    while let Ok(done) = channels.written.try_recv() {
                        self.written(done);
                    }
                }
                Some(event) = channels.returned.recv() => self.gather_returned(event),
                Some(answer) = channels.endings.recv() => self.all_ends(answer),
                () = sleep_until(wake) => {}
            }
            self.due_by_now();
        }
    }

    fn changed(&mut self, change: Change) {
        if let Some(seen) = change.seen {
            self.saw(seen);
            return;
        }
        let now = Instant::now();
        let due = match change.about {
            About::Declared => self.reads_from.max(now + GATHER),
            About::Migrations => now + GATHER,
            About::Reports | About::Pods | About::Services => self.conductor.rests_until().max(now),
            About::Objects | About::Statuses => now,
        };
        self.due.entry(change.about).or_insert(due);
    }

    fn next_wakeup(&self) -> Instant {
        let due = self.due.values().copied();
        let due = due.chain(self.conductor.next_wakeup());
        let due = due.chain(self.objects_due).chain(self.show_due);
        let rests = Some(self.conductor.rests_until()).filter(|at| *at > Instant::now());
        let due = due.chain(self.returned.1).chain(rests);
        let due = due.chain(self.writer.next_due());
        due.fold(self.looked + LOOK, Instant::min)
    }

    fn due_by_now(&mut self) {
        let now = Instant::now();
        // The engine thinks once of all that there is by now.
        let mut news = Vec::new();
        if self.returned.1.is_some_and(|at| at <= now) {
            news = self.hear_returned();
        }
        let due: Vec<About> = self
            .due
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(about, _)| *about)
            .collect();
        for about in due {
            self.due.remove(&about);
            match about {
                About::Declared => self.declare(),
                About::Migrations => self.heed(),
                About::Reports | About::Pods => news.extend(self.hear_pods()),
                About::Services => news.extend(self.place()),
                About::Objects => self.see_all(),
                About::Statuses => self.gather(),
            }
        }
        let barred = news.iter().any(|event| matches!(event, Event::Barred { .. }));
        self.observe_all(news);
        self.tick();
        if barred {
            // More may have been said meanwhile.
            self.look_after_users();
        }
        self.writer.try_again(now);
        if self.objects_due.is_some_and(|at| at <= now) {
            self.keep_objects();
        }
        if self.looked + LOOK <= now {
            self.looked = now;
            self.measure(now);
            self.retry_undone();
            self.look_after_users();
            self.ask_whether_all_ends();
            self.roll();
        }
        if self.show_due.is_some_and(|at| at <= now) {
            self.show_due = None;
            self.show();
        }
    }

    /// Shows figures, which change without anything else.
    fn measure(&mut self, now: Instant) {
        if self.measured + MEASURE <= now {
            self.measured = now;
            let status = self.conductor.engine.status();
            METRICS.observe_status(&self.setting.namespace, &status, &self.figures);
        }
    }

    /// A write ended.
    fn written(&mut self, done: Done) {
        let (key, end) = self.writer.heard(done);
        let about = format!(
            "write/{}/{}{}",
            key.kind,
            key.name,
            if key.status { "/status" } else { "" }
        );
        let is_written = matches!(end, End::Written);
        let text = match end {
            End::Written => None,
            End::Again => return,
            End::Refused(refusal) => Some(refusal.to_string()),
        };
        if let Some(text) = &text {
            self.tell(text);
        }
        if self.conductor.trouble(about, text) {
            self.gather();
        }
        if key.kind == "EndpointSlice"
            && is_written
            && let Some(broker) = names::broker_of(&key.name)
        {
            self.send_off(&broker);
        }
        if key.kind == "Secret" && !key.status {
            if key.name == names::FLEET {
                // Sessions may have waited for the record of them.
                self.retry_undone();
            }
            self.look_after_users();
        }
    }

    /// Says something once.
    fn tell(&mut self, text: &str) {
        if self.said.insert(text.to_owned()) {
            say(&format!("{}: {text}", self.setting.namespace));
        }
    }
}

/// Where a fleet hears from what it has done elsewhere.
struct Channels {
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    returned: mpsc::UnboundedReceiver<Event>,
    written: mpsc::UnboundedReceiver<Done>,
    endings: mpsc::UnboundedReceiver<Result<bool, kube::Error>>,
}

/// Tells this process's heartbeats from those of any other that watches the same brokers.
fn instance() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    format!(
        "{host}-{}-{:x}",
        std::process::id(),
        jiff::Timestamp::now().as_millisecond()
    )
}
