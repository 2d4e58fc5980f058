//! What the controller counts and measures, for Prometheus: what each is, [`skein_metrics::controller`] says.
//!
//! Series are bounded by what is declared: those of brokers, paths, topics and namespaces that are gone go with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skein_api::name::{BrokerName, TopicName};
use skein_engine::directive::{BrokerPhase, MigrationPhase, Status};
use skein_metrics::controller::{
    BROKER_PHASE, BROKER_REPLACED, DECLARATION_ERRORS, HEARTBEAT, LAST_CONTACT, LEADER, LINKS, LINKS_UP,
    MIGRATIONS, PATH_LATENCY, PATH_UP, PLAN, PROBES, PROBLEMS, RECONCILES, TABLE, TOPIC_LATENCY, WRITES,
};
use skein_metrics::{Families, Row};

use crate::status::HeldLinks;

/// Those of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

const BROKER_PHASES: [BrokerPhase; 5] = [
    BrokerPhase::Pending,
    BrokerPhase::Ready,
    BrokerPhase::Suspect,
    BrokerPhase::Down,
    BrokerPhase::Returning,
];

/// What came of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// It came, and took so long.
    Arrived(Duration),
    /// It did not, in its time.
    Lost,
    /// It came before.
    Doubled,
}

impl Probed {
    const WORDS: [&'static str; 3] = ["arrived", "lost", "doubled"];

    fn word(self) -> &'static str {
        let [arrived, lost, doubled] = Self::WORDS;
        match self {
            Self::Arrived(_) => arrived,
            Self::Lost => lost,
            Self::Doubled => doubled,
        }
    }
}

/// What is not in the engine's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// By the broker that holds them.
    pub links: BTreeMap<BrokerName, HeldLinks>,
    /// How much of what is declared is wrong.
    pub errors: usize,
}

/// A row's name, and a value for each of its labels.
type Series = (&'static str, Vec<String>);

/// All that is counted and measured.
pub struct Metrics {
    families: Families,
    /// What follows from a namespace's status, as shown.
    shown: Mutex<BTreeMap<String, BTreeSet<Series>>>,
    /// When brokers answered last: namespace, broker.
    contacts: Mutex<BTreeMap<(String, String), Instant>>,
    /// The topics whose probes were counted: namespace, topic.
    probed: Mutex<BTreeSet<(String, String)>>,
}

impl Metrics {
    fn new() -> Self {
        Self {
            families: Families::new(&TABLE),
            shown: Mutex::default(),
            contacts: Mutex::default(),
            probed: Mutex::default(),
        }
    }

    /// This controller acts, or another.
    pub fn leads(&self, leads: bool) {
        self.families.set::<&str>(LEADER.name, &[], is(leads));
    }

    /// What a namespace declares was read, and given to its engine.
    pub fn reconciled(&self, namespace: &str) {
        self.families.add(RECONCILES.name, &[namespace], 1.0);
    }

    /// A plan was made, and took so long.
    pub fn planned(&self, took: Duration) {
        self.families.observe::<&str>(PLAN.name, &[], took.as_secs_f64());
    }

    /// A write of an object of this kind ended: `ok`, or why not in a word.
    pub fn wrote(&self, kind: &str, result: &str) {
        self.families.add(WRITES.name, &[kind, result], 1.0);
    }

    /// A broker answered now.
    pub fn contact(&self, namespace: &str, broker: &BrokerName) {
        self.contact_at(namespace, broker, Instant::now());
    }

    fn contact_at(&self, namespace: &str, broker: &BrokerName, at: Instant) {
        let broker = (namespace.to_owned(), broker.to_string());
        lock(&self.contacts).insert(broker, at);
    }

    /// This came of a probe of a topic.
    pub fn probed(&self, namespace: &str, topic: &TopicName, what: Probed) {
        let topic = topic.as_str();
        self.families
            .add(PROBES.name, &[namespace, topic, what.word()], 1.0);
        if let Probed::Arrived(took) = what {
            self.families
                .observe(TOPIC_LATENCY.name, &[namespace, topic], took.as_secs_f64());
        }
        let counted = (namespace.to_owned(), topic.to_owned());
        if lock(&self.probed).insert(counted) {
            // What has not happened yet is counted, too: a rate begins with the first time that it does.
            for word in Probed::WORDS {
                self.families.add(PROBES.name, &[namespace, topic, word], 0.0);
            }
        }
    }

    /// Shows a fleet as its engine sees it, and nothing of what is not in it any more.
    pub fn observe_status(&self, namespace: &str, status: &Status, figures: &Figures) {
        let declared: BTreeSet<&str> = status.brokers.iter().map(|broker| broker.name.as_str()).collect();
        lock(&self.contacts)
            .retain(|(there, broker), _| there != namespace || declared.contains(broker.as_str()));
        let topics: BTreeSet<&str> = status.paths.iter().map(|path| path.topic.as_str()).collect();
        self.forget_probes(namespace, |topic| topics.contains(topic));
        let mut wanted: BTreeMap<Series, f64> = BTreeMap::new();
        let mut show = |row: &Row, labels: &[&str], value: f64| {
            let labels = std::iter::once(namespace).chain(labels.iter().copied());
            wanted.insert((row.name, labels.map(str::to_owned).collect()), value);
        };
        for broker in &status.brokers {
            let name = broker.name.as_str();
            for phase in BROKER_PHASES {
                show(
                    &BROKER_PHASE,
                    &[name, &format!("{phase:?}")],
                    is(broker.phase == phase),
                );
            }
            if let Some(took) = broker.heartbeat_ms {
                show(&HEARTBEAT, &[name], took / 1000.0);
            }
            if let Some(by) = broker.served_by.as_ref().filter(|by| **by != broker.name) {
                show(&BROKER_REPLACED, &[name, by.as_str()], 1.0);
            }
            let held = figures.links.get(&broker.name).copied().unwrap_or_default();
            show(&LINKS, &[name], number(held.planned));
            show(&LINKS_UP, &[name], number(held.up));
        }
        for path in &status.paths {
            let labels = [
                path.topic.as_str(),
                path.producer.as_str(),
                path.consumer.as_str(),
            ];
            show(&PATH_UP, &labels, is(path.up));
            if let Some(took) = path.probe_ms {
                show(&PATH_LATENCY, &labels, took / 1000.0);
            }
        }
        for phase in MigrationPhase::ALL {
            let in_it = status
                .migrations
                .iter()
                .filter(|migration| migration.phase == phase);
            show(&MIGRATIONS, &[&format!("{phase:?}")], number(in_it.count()));
        }
        show(&PROBLEMS, &[], number(status.problems.len()));
        show(&DECLARATION_ERRORS, &[], number(figures.errors));
        self.show(namespace, &wanted);
    }

    /// A namespace has no fleet any more, or another controller cares for it.
    pub fn forget(&self, namespace: &str) {
        self.show(namespace, &BTreeMap::new());
        self.forget_probes(namespace, |_| false);
        lock(&self.contacts).retain(|(there, _), _| there != namespace);
        self.families.remove(RECONCILES.name, &[namespace]);
    }

    fn forget_probes(&self, namespace: &str, is_there: impl Fn(&str) -> bool) {
        lock(&self.probed).retain(|(there, topic)| {
            let stays = there != namespace || is_there(topic);
            if !stays {
                for word in Probed::WORDS {
                    self.families.remove(PROBES.name, &[namespace, topic, word]);
                }
                self.families.remove(TOPIC_LATENCY.name, &[namespace, topic]);
            }
            stays
        });
    }

    /// All of it, as Prometheus reads it.
    ///
    /// # Errors
    /// If a value cannot be written down.
    pub fn text(&self) -> Result<String, impl std::error::Error + use<>> {
        self.text_at(Instant::now())
    }

    fn text_at(&self, now: Instant) -> Result<String, impl std::error::Error + use<>> {
        // An age has to be reckoned when it is asked for.
        self.families.clear(LAST_CONTACT.name);
        for ((namespace, broker), at) in &*lock(&self.contacts) {
            let age = now.saturating_duration_since(*at);
            self.families
                .set(LAST_CONTACT.name, &[namespace, broker], age.as_secs_f64());
        }
        self.families.text()
    }

    fn show(&self, namespace: &str, wanted: &BTreeMap<Series, f64>) {
        let mut shown = lock(&self.shown);
        let now: BTreeSet<Series> = wanted.keys().cloned().collect();
        let before = shown.remove(namespace).unwrap_or_default();
        for (name, labels) in before.difference(&now) {
            self.families.remove(name, labels);
        }
        for ((name, labels), value) in wanted {
            self.families.set(name, labels, *value);
        }
        if !now.is_empty() {
            shown.insert(namespace.to_owned(), now);
        }
    }
}

/// What is counted here would do no harm half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is(so: bool) -> f64 {
    f64::from(u8::from(so))
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
