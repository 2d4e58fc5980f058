//! The status, written for everyone and told where it changed.

use std::time::Duration;

use skein_engine::directive::BrokerPhase;
use tokio::time::Instant;

use super::runner::Runner;
use crate::happening::{Summary, UpEvent};
use crate::narrate::narrate;
use crate::status::FleetStatus;

/// Changes of the status are gathered at least this long.
pub(super) const GATHER: Duration = Duration::from_millis(20);
/// The status is written at least this often.
pub(super) const WRITE: Duration = Duration::from_secs(1);

impl<F: FnMut(UpEvent)> Runner<F> {
    /// Writes the status if it changed or is old, and tells what changed.
    pub(super) fn refresh_status(&mut self) {
        self.status_due = None;
        let began = Instant::now();
        let seen = self.conductor.engine.status();
        let mut problems = seen.problems;
        problems.extend(self.conductor.troubles.values().cloned());
        problems.extend(self.rooms.problems(&self.conductor.fleet, &seen.brokers));
        let status = FleetStatus {
            updated_at: jiff::Timestamp::now().to_string(),
            fleet: self.place.manifests.clone(),
            pid: std::process::id(),
            brokers: seen.brokers,
            paths: seen.paths,
            migrations: self.migrations.records().to_vec(),
            drains: self.wishes.drains(),
            settled: seen.settled,
            problems,
        };
        let now = Instant::now();
        let changed = self
            .status
            .as_ref()
            .is_none_or(|before| !before.same_but_for_figures(&status));
        if !changed && now < self.written + WRITE {
            self.gathering = (began.elapsed() * 10).clamp(GATHER, WRITE);
            return;
        }
        self.keep("status", &self.place.state.status_file(), &status);
        self.written = now;
        if changed {
            // The same trouble was told when it was found.
            let known = self.conductor.troubles.get("manifests");
            for event in narrate(self.status.as_ref(), &status) {
                if matches!(event, UpEvent::PathDown { .. }) {
                    self.conductor.watch.hurry();
                }
                if !matches!(&event, UpEvent::Trouble(text) if Some(text) == known) {
                    (self.tell)(event);
                }
            }
        }
        self.tell_readiness(&status);
        self.approve_what_waits(&status);
        self.status = Some(status);
        self.gathering = (began.elapsed() * 10).clamp(GATHER, WRITE);
    }

    pub(super) fn tell_readiness(&mut self, status: &FleetStatus) {
        let ready = status
            .brokers
            .iter()
            .all(|broker| broker.phase == BrokerPhase::Ready)
            && status.paths.iter().all(|path| path.up);
        if ready && !self.was_ready {
            self.was_ready = true;
            (self.tell)(UpEvent::Ready(Summary {
                brokers: status.brokers.len(),
                paths: status.paths.len(),
                milliseconds: self.conductor.origin.elapsed().as_millis(),
            }));
        }
    }
}
