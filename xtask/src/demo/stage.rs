//! How the story is told: plain lines with the time since the beginning, no cursor tricks.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// Where the story is told.
pub(super) struct Stage {
    begin: Instant,
    bold: bool,
}

impl Stage {
    /// Time starts now.
    pub(super) fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            begin: Instant::now(),
            bold: std::io::stdout().is_terminal() && !plain,
        }
    }

    /// The head of an act.
    pub(super) fn title(&self, text: &str) {
        let (on, off) = if self.bold {
            ("\u{1b}[1m", "\u{1b}[0m")
        } else {
            ("", "")
        };
        println!("\n{on}{text}{off}");
    }

    /// Something happened now.
    pub(super) fn say(&self, text: &str) {
        println!("  {:5.1} s  {text}", self.begin.elapsed().as_secs_f64());
    }

    /// More about it.
    pub(super) fn more(text: &str) {
        println!("           {text}");
    }
}

/// A duration for people: `120 ms`, `1.3 s`.
pub(super) fn span(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
