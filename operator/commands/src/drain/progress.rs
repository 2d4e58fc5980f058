//! The progress of what is waited for: one line that changes on a terminal, a line for each step elsewhere. On standard
//! error, for standard output is for results.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use skein_adapter::migrations::MigrationRecord;
use skein_engine::directive::MigrationPhase;
use tokio::time::Instant;

use crate::moving;

/// How often numbers alone are worth a line of their own.
const NUMBERS: Duration = Duration::from_secs(5);

/// What is shown so far.
pub(super) struct Progress {
    redraw: bool,
    shown: Option<String>,
    step: Option<(MigrationPhase, BTreeSet<String>)>,
    next_numbers: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            redraw: std::io::stderr().is_terminal(),
            shown: None,
            step: None,
            next_numbers: Instant::now(),
        }
    }

    /// Shows how far it is, if that is worth it.
    pub(super) fn show(&mut self, record: &MigrationRecord) {
        if let Some(text) = self.next(record, Instant::now()) {
            // Nobody reads it: then nobody misses it.
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }

    /// What is to be written now.
    fn next(&mut self, record: &MigrationRecord, now: Instant) -> Option<String> {
        let line = moving::sentence(record);
        if self.shown.as_ref() == Some(&line) {
            return None;
        }
        let blocking = record.migration.waiting.keys().cloned().collect();
        let step = Some((record.migration.phase, blocking));
        if !self.redraw && self.step == step && now < self.next_numbers {
            return None;
        }
        self.step = step;
        self.next_numbers = now + NUMBERS;
        let text = if self.redraw {
            // A line that is wider than the terminal is not wrapped, or the next one would not come in its place.
            format!("\r\u{1b}[?7l{line}\u{1b}[K\u{1b}[?7h")
        } else {
            format!("{line}\n")
        };
        self.shown = Some(line);
        Some(text)
    }

    /// What follows begins on a line of its own.
    pub(super) fn end(&mut self) {
        if self.redraw && self.shown.take().is_some() {
            let _ = std::io::stderr().lock().write_all(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_engine::directive::{Migration, Reason};
    use std::collections::BTreeMap;

    fn record(phase: MigrationPhase, waiting: &[(&str, u64)]) -> MigrationRecord {
        let broker = skein_api::name::BrokerName::new("i").unwrap();
        MigrationRecord {
            migration: Migration {
                phase,
                reason: Reason::Drain,
                waiting: waiting
                    .iter()
                    .map(|(client, number)| ((*client).to_owned(), *number))
                    .collect(),
                ..Migration::new("i-1".to_owned(), broker)
            },
            times: BTreeMap::new(),
            abandoned: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn a_log_gets_a_line_for_each_step_and_numbers_now_and_then() {
        use MigrationPhase::{Draining, Seeded};
        let mut progress = Progress {
            redraw: false,
            ..Progress::new()
        };
        let now = Instant::now();
        let mut lines = |record, after| progress.next(&record, now + Duration::from_secs(after)).is_some();
        assert!(lines(record(Seeded, &[]), 0));
        assert!(!lines(record(Seeded, &[]), 0), "it is the same");
        assert!(lines(record(Draining, &[("pump", 9)]), 0));
        assert!(!lines(record(Draining, &[("pump", 8)]), 1), "only a number");
        assert!(lines(record(Draining, &[("pump", 7)]), 5));
        assert!(
            lines(record(Draining, &[("gate", 1), ("pump", 7)]), 6),
            "another client"
        );
    }

    #[tokio::test]
    async fn a_terminal_has_one_line_that_changes() {
        let mut progress = Progress {
            redraw: true,
            ..Progress::new()
        };
        let now = Instant::now();
        for number in [9, 8] {
            let text = progress
                .next(&record(MigrationPhase::Draining, &[("pump", number)]), now)
                .unwrap();
            assert!(text.starts_with('\r') && !text.contains('\n'), "{text:?}");
            assert!(text.contains(&format!("pump ({number} messages)")), "{text:?}");
        }
    }
}
