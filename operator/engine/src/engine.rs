//! The engine itself: takes events, keeps what they mean, and says what to do.

use std::time::Duration;

use skein_planner::plan::Plan;

use crate::directive::{Directive, Status};
use crate::event::{Event, Moment};

/// What does not follow from the declarations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a broker that never ran before may take until it answers for the first time.
    pub start: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { start: Duration::from_secs(30) }
    }
}

/// Decides from observed facts which configuration each broker should have, and who serves whose clients.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    plan: Plan,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, plan: Plan::default() }
    }

    /// Takes one event in and returns what is to be done, in order.
    pub fn observe(&mut self, event: Event, now: Moment) -> Vec<Directive> {
        let _ = (event, now, &self.settings);
        Vec::new()
    }

    /// When a [`Event::Tick`] is needed at the latest, if nothing else happens before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Moment> {
        None
    }

    /// The fleet as it is seen now.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// The plan that is being worked towards.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}
