//! What the controller counts and measures, for Prometheus: one table of all of it, from which `docs/metrics.md` is written, too.
//!
//! Series are bounded by what is declared: those of brokers, paths and namespaces that are gone go with them.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{
    Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder,
};
use skein_api::name::BrokerName;
use skein_engine::directive::{BrokerPhase, MigrationPhase, Status};

use self::table::{
    BROKER_PHASE, HEARTBEAT, Kind, LAST_CONTACT, LEADER, MIGRATIONS, PATH_LATENCY, PATH_UP, PLAN, PROBLEMS,
    RECONCILES, Row, TABLE, WRITES,
};

pub use self::table::page;

/// Those of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

const BROKER_PHASES: [BrokerPhase; 5] = [
    BrokerPhase::Pending,
    BrokerPhase::Ready,
    BrokerPhase::Suspect,
    BrokerPhase::Down,
    BrokerPhase::Returning,
];

/// From a plan of a few brokers to one of a thousand, in seconds.
const PLAN_BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

enum Family {
    Gauge(GaugeVec),
    Counter(IntCounterVec),
    Histogram(HistogramVec),
}

impl Family {
    fn new(row: &Row, registry: &Registry) -> prometheus::Result<Self> {
        let options = Opts::new(row.name, row.help);
        match row.kind {
            Kind::Gauge => {
                let gauge = GaugeVec::new(options, row.labels)?;
                registry.register(Box::new(gauge.clone()))?;
                Ok(Self::Gauge(gauge))
            }
            Kind::Counter => {
                let counter = IntCounterVec::new(options, row.labels)?;
                registry.register(Box::new(counter.clone()))?;
                Ok(Self::Counter(counter))
            }
            Kind::Histogram => {
                let options = HistogramOpts::from(options).buckets(PLAN_BUCKETS.to_vec());
                let histogram = HistogramVec::new(options, row.labels)?;
                registry.register(Box::new(histogram.clone()))?;
                Ok(Self::Histogram(histogram))
            }
        }
    }
}

/// A row's name, and a value for each of its labels.
type Series = (&'static str, Vec<String>);

/// All that is counted and measured.
pub struct Metrics {
    registry: Registry,
    /// By name. A row that Prometheus did not take would be missing; a test sees that none is.
    families: BTreeMap<&'static str, Family>,
    /// What follows from a namespace's status, as shown.
    shown: Mutex<BTreeMap<String, BTreeSet<Series>>>,
    /// When brokers answered last: namespace, broker.
    contacts: Mutex<BTreeMap<(String, String), Instant>>,
}

impl Metrics {
    fn new() -> Self {
        let registry = Registry::new();
        let family = |row: &&Row| Some((row.name, Family::new(row, &registry).ok()?));
        let families = TABLE.iter().filter_map(family).collect();
        Self {
            registry,
            families,
            shown: Mutex::default(),
            contacts: Mutex::default(),
        }
    }

    /// This controller acts, or another.
    pub fn leads(&self, leads: bool) {
        self.set(&LEADER, &[], f64::from(u8::from(leads)));
    }

    /// What a namespace declares was read, and given to its engine.
    pub fn reconciled(&self, namespace: &str) {
        self.count(&RECONCILES, &[namespace]);
    }

    /// A plan was made, and took so long.
    pub fn planned(&self, took: Duration) {
        if let Some(Family::Histogram(histogram)) = self.families.get(PLAN.name)
            && let Ok(histogram) = histogram.get_metric_with_label_values::<&str>(&[])
        {
            histogram.observe(took.as_secs_f64());
        }
    }

    /// A write of an object of this kind ended: `ok`, or why not in a word.
    pub fn wrote(&self, kind: &str, result: &str) {
        self.count(&WRITES, &[kind, result]);
    }

    /// A broker answered now.
    pub fn contact(&self, namespace: &str, broker: &BrokerName) {
        self.contact_at(namespace, broker, Instant::now());
    }

    fn contact_at(&self, namespace: &str, broker: &BrokerName, at: Instant) {
        let broker = (namespace.to_owned(), broker.to_string());
        lock(&self.contacts).insert(broker, at);
    }

    /// Shows a fleet as its engine sees it, and nothing of what is not in it any more.
    pub fn observe_status(&self, namespace: &str, status: &Status) {
        let declared: BTreeSet<&str> = status.brokers.iter().map(|broker| broker.name.as_str()).collect();
        lock(&self.contacts)
            .retain(|(there, broker), _| there != namespace || declared.contains(broker.as_str()));
        let mut wanted: BTreeMap<Series, f64> = BTreeMap::new();
        let mut show = |row: &Row, labels: &[&str], value: f64| {
            let labels = std::iter::once(namespace).chain(labels.iter().copied());
            wanted.insert((row.name, labels.map(str::to_owned).collect()), value);
        };
        for broker in &status.brokers {
            let name = broker.name.as_str();
            for phase in BROKER_PHASES {
                let is_in = f64::from(u8::from(broker.phase == phase));
                show(&BROKER_PHASE, &[name, &format!("{phase:?}")], is_in);
            }
            if let Some(took) = broker.heartbeat_ms {
                show(&HEARTBEAT, &[name], took / 1000.0);
            }
        }
        for path in &status.paths {
            let labels = [
                path.topic.as_str(),
                path.producer.as_str(),
                path.consumer.as_str(),
            ];
            show(&PATH_UP, &labels, f64::from(u8::from(path.up)));
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
        self.show(namespace, &wanted);
    }

    /// A namespace has no fleet any more, or another controller cares for it.
    pub fn forget(&self, namespace: &str) {
        self.show(namespace, &BTreeMap::new());
        lock(&self.contacts).retain(|(there, _), _| there != namespace);
        self.remove(RECONCILES.name, &[namespace]);
    }

    /// All of it, as Prometheus reads it.
    ///
    /// # Errors
    /// If a value cannot be written down.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        self.text_at(Instant::now())
    }

    fn text_at(&self, now: Instant) -> Result<String, prometheus::Error> {
        // An age has to be reckoned when it is asked for.
        if let Some(Family::Gauge(gauge)) = self.families.get(LAST_CONTACT.name) {
            gauge.reset();
        }
        for ((namespace, broker), at) in &*lock(&self.contacts) {
            let age = now.saturating_duration_since(*at);
            self.set(&LAST_CONTACT, &[namespace, broker], age.as_secs_f64());
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn show(&self, namespace: &str, wanted: &BTreeMap<Series, f64>) {
        let mut shown = lock(&self.shown);
        let now: BTreeSet<Series> = wanted.keys().cloned().collect();
        let before = shown.remove(namespace).unwrap_or_default();
        for (name, labels) in before.difference(&now) {
            self.remove(name, labels);
        }
        for ((name, labels), value) in wanted {
            self.set_named(name, labels, *value);
        }
        if !now.is_empty() {
            shown.insert(namespace.to_owned(), now);
        }
    }

    fn set(&self, row: &Row, labels: &[&str], value: f64) {
        self.set_named(row.name, labels, value);
    }

    fn set_named<L: AsRef<str> + std::fmt::Debug>(&self, name: &str, labels: &[L], value: f64) {
        if let Some(Family::Gauge(gauge)) = self.families.get(name)
            && let Ok(gauge) = gauge.get_metric_with_label_values(labels)
        {
            gauge.set(value);
        }
    }

    fn count(&self, row: &Row, labels: &[&str]) {
        if let Some(Family::Counter(counter)) = self.families.get(row.name)
            && let Ok(counter) = counter.get_metric_with_label_values(labels)
        {
            counter.inc();
        }
    }

    fn remove<L: AsRef<str> + std::fmt::Debug>(&self, name: &str, labels: &[L]) {
        // Nothing to remove is as good as removed.
        match self.families.get(name) {
            Some(Family::Gauge(gauge)) => drop(gauge.remove_label_values(labels)),
            Some(Family::Counter(counter)) => drop(counter.remove_label_values(labels)),
            Some(Family::Histogram(_)) | None => {}
        }
    }
}

/// What is counted here would do no harm half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
