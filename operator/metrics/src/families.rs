//! The series of a table's metrics.

use std::collections::BTreeMap;
use std::fmt::Debug;

use prometheus::{
    CounterVec, Encoder as _, Error, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, Result,
    TextEncoder,
};

use crate::{Kind, Row};

/// What content type [`Families::text`] is.
pub const FORMAT: &str = prometheus::TEXT_FORMAT;

enum Family {
    Gauge(GaugeVec),
    Counter(CounterVec),
    Histogram(HistogramVec),
}

impl Family {
    fn new(row: &Row, registry: &Registry) -> Result<Self> {
        let options = Opts::new(row.name, row.help);
        match row.kind {
            Kind::Gauge => {
                let gauge = GaugeVec::new(options, row.labels)?;
                registry.register(Box::new(gauge.clone()))?;
                Ok(Self::Gauge(gauge))
            }
            Kind::Counter => {
                let counter = CounterVec::new(options, row.labels)?;
                registry.register(Box::new(counter.clone()))?;
                Ok(Self::Counter(counter))
            }
            Kind::Histogram(buckets) => {
                let options = HistogramOpts::from(options).buckets(buckets.to_vec());
                let histogram = HistogramVec::new(options, row.labels)?;
                registry.register(Box::new(histogram.clone()))?;
                Ok(Self::Histogram(histogram))
            }
        }
    }
}

/// Series by metric and by the values of its labels, in the order of its row. What does not fit a row is not shown.
pub struct Families {
    registry: Registry,
    /// By name. A row that Prometheus did not take would be missing; a test sees that none is.
    by_name: BTreeMap<&'static str, Family>,
}

impl Families {
    /// Of these metrics, without any series yet.
    #[must_use]
    pub fn new(table: &[&Row]) -> Self {
        let registry = Registry::new();
        let family = |row: &&Row| Some((row.name, Family::new(row, &registry).ok()?));
        let by_name = table.iter().filter_map(family).collect();
        Self { registry, by_name }
    }

    /// A gauge is so much.
    pub fn set<L: AsRef<str> + Debug>(&self, name: &str, labels: &[L], value: f64) {
        if let Some(Family::Gauge(gauge)) = self.by_name.get(name)
            && let Ok(gauge) = gauge.get_metric_with_label_values(labels)
        {
            gauge.set(value);
        }
    }

    /// A counter is so much more, which is not less than nothing.
    pub fn add<L: AsRef<str> + Debug>(&self, name: &str, labels: &[L], value: f64) {
        if let Some(Family::Counter(counter)) = self.by_name.get(name)
            && let Ok(counter) = counter.get_metric_with_label_values(labels)
        {
            counter.inc_by(value);
        }
    }

    /// It was so much once more.
    pub fn observe<L: AsRef<str> + Debug>(&self, name: &str, labels: &[L], value: f64) {
        if let Some(Family::Histogram(histogram)) = self.by_name.get(name)
            && let Ok(histogram) = histogram.get_metric_with_label_values(labels)
        {
            histogram.observe(value);
        }
    }

    /// A series is no more. Nothing to remove is as good as removed.
    pub fn remove<L: AsRef<str> + Debug>(&self, name: &str, labels: &[L]) {
        match self.by_name.get(name) {
            Some(Family::Gauge(gauge)) => drop(gauge.remove_label_values(labels)),
            Some(Family::Counter(counter)) => drop(counter.remove_label_values(labels)),
            Some(Family::Histogram(histogram)) => drop(histogram.remove_label_values(labels)),
            None => {}
        }
    }

    /// No series of a metric are left.
    pub fn clear(&self, name: &str) {
        match self.by_name.get(name) {
            Some(Family::Gauge(gauge)) => gauge.reset(),
            Some(Family::Counter(counter)) => counter.reset(),
            Some(Family::Histogram(histogram)) => histogram.reset(),
            None => {}
        }
    }

    /// All of it, as Prometheus reads it: see [`FORMAT`].
    ///
    /// # Errors
    /// If a value cannot be written down.
    pub fn text(&self) -> std::result::Result<String, Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{controller, pod};

    #[test]
    fn prometheus_takes_every_row_of_both_tables_at_once() {
        let table: Vec<&Row> = controller::TABLE.into_iter().chain(pod::TABLE).collect();
        let families = Families::new(&table);
        for row in &table {
            let labels: Vec<&str> = row.labels.iter().map(|_| "x").collect();
            families.set(row.name, &labels, 2.0);
            families.add(row.name, &labels, 2.0);
            families.observe(row.name, &labels, 2.0);
        }
        let text = families.text().unwrap();
        for row in &table {
            assert!(text.contains(&format!("# TYPE {} ", row.name)), "{}", row.name);
            let labels: Vec<&str> = row.labels.iter().map(|_| "x").collect();
            families.remove(row.name, &labels);
        }
        assert_eq!(families.text().unwrap(), "");
    }

    /// By its name one knows what a metric is and in which unit.
    #[test]
    fn names_are_as_prometheus_wants_them() {
        for row in controller::TABLE.into_iter().chain(pod::TABLE) {
            assert!(row.name.starts_with("skein_"), "{}", row.name);
            assert_eq!(
                row.name.ends_with("_total"),
                row.kind == Kind::Counter,
                "{}",
                row.name
            );
            if let Kind::Histogram(buckets) = row.kind {
                assert!(row.name.ends_with("_seconds"), "{}", row.name);
                assert!(buckets.is_sorted(), "{}", row.name);
            }
        }
    }
}
