//! What Prometheus is told of the broker beside: what each figure is, [`skein_metrics::pod`] says.
//!
//! All of it is looked up when it is asked for, but for what waits in sessions, which is as of when the store was read last.

use std::time::{SystemTime, UNIX_EPOCH};

use skein_agent::report::{ProcessState, Report};
use skein_metrics::pod::{
    BYTES, CPU, EPOCH, FILL, FREE, FULL_AFTER, MEMORY, MESSAGES, READ, REJECTED, RESTARTS, RUNNING, SESSIONS,
    START, TABLE,
};
use skein_metrics::{Families, Row};
use skein_mosquitto::config::parse;
use skein_sight::queues::{Limits, Owner, Queues};
use skein_sight::rooms::Room;
use skein_sight::vitals::Usage;

use super::Sight;

/// As Prometheus reads it. What is not known has no series. Blocks.
pub(super) fn text(sight: &Sight) -> Result<String, impl std::error::Error + use<>> {
    let figures = Figures {
        families: Families::new(&TABLE),
        of: [&sight.namespace, sight.broker.as_str()],
    };
    if let Ok(Some(report)) = sight.directory.report() {
        figures.report(&report);
    }
    if let Some(room) = Room::at(&sight.directory.data()) {
        figures.set(&FREE, number(room.free));
    }
    let loaded = sight.directory.loaded().ok().flatten();
    let limits = loaded.and_then(|loaded| limits(&loaded.config));
    figures.queues(&sight.queues(), limits);
    figures.families.text()
}

/// What one queue may take, as the configuration in use says.
fn limits(config: &str) -> Option<Limits> {
    let limits = parse(config).ok()?.limits;
    Some(Limits {
        messages: limits.max_queued_messages,
        bytes: limits.max_queued_bytes,
    })
}

struct Figures<'a> {
    families: Families,
    of: [&'a str; 2],
}

impl Figures<'_> {
    fn set(&self, row: &Row, value: f64) {
        self.families.set(row.name, &self.of, value);
    }

    fn report(&self, report: &Report) {
        let is_running = matches!(report.process, ProcessState::Running { .. });
        self.set(&RUNNING, f64::from(u8::from(is_running)));
        self.families
            .add(RESTARTS.name, &self.of, number(report.restarts));
        self.set(&REJECTED, f64::from(u8::from(report.rejected.is_some())));
        if let Some(epoch) = report.loaded {
            self.set(&EPOCH, number(epoch));
        }
        let pid = report.process.pid();
        if let Some(at) = report.started_at.filter(|_| pid.is_some()) {
            self.set(&START, number(at) / 1000.0);
        }
        if let Some(usage) = pid.and_then(Usage::of) {
            self.families.add(CPU.name, &self.of, usage.cpu);
            self.set(&MEMORY, number(usage.resident));
        }
    }

    fn queues(&self, queues: &Queues, limits: Option<Limits>) {
        let Some(read) = queues.read_at() else { return };
        self.set(&READ, since_1970(read));
        for (owner, word) in [(Owner::Client, "client"), (Owner::Link, "link")] {
            let total = queues.total(owner);
            let [namespace, broker] = self.of;
            for (row, value) in [
                (&SESSIONS, total.sessions),
                (&MESSAGES, total.messages),
                (&BYTES, total.bytes),
            ] {
                self.families
                    .set(row.name, &[namespace, broker, word], number(value));
            }
        }
        if let Some(limits) = limits {
            self.set(&FILL, queues.fill(limits));
            self.set(&FULL_AFTER, queues.full_after(limits));
        }
    }
}

fn since_1970(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[allow(
    clippy::cast_precision_loss,
    reason = "it is looked at, and not reckoned with"
)]
fn number(value: u64) -> f64 {
    value as f64
}
