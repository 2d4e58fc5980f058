//! How a fleet that runs gets from one declaration to the next: the steps of the engine itself, in a world where everything
//! goes well.
//!
//! Knows what brokers, bridges and envoys answer when nothing is in their way; knows no trouble and decides nothing: each
//! step is a directive of the engine.

mod caution;
mod step;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use skein_api::fleet::{Broker, Fleet};
use skein_api::name::BrokerName;
use skein_mosquitto::version::Version;

pub use self::step::{Loading, Step};
use self::world::World;
pub use crate::strand::LinkId;
use crate::tools::{Real, Tools};
use crate::{Engine, Settings};

/// What is declared at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declaration {
    /// The fleet.
    pub fleet: Arc<Fleet>,
    /// The brokers that are to be without clients.
    pub drains: BTreeMap<BrokerName, Drain>,
}

/// How a broker is to be drained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Where its clients are to go; none: to its planned substitute.
    pub to: Option<BrokerName>,
    /// Do not wait for clients that do not get what waits for them.
    pub abandon: bool,
}

/// The steps from one declaration to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsal {
    /// In order: each round waits for what the one before it asked for. Empty if nothing is to be done.
    pub rounds: Vec<Round>,
    /// How much that is.
    pub summary: Summary,
    /// What is not without loss or not without a pause, in sentences that name the object.
    pub cautions: Vec<String>,
    /// In the end everybody runs what the new plan says, and nothing is wrong.
    pub settled: bool,
    /// Why not, in sentences.
    pub problems: Vec<String>,
}

/// What is done at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Round {
    /// In the order in which they are asked for.
    pub steps: Vec<Step>,
}

/// How many steps of which kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Rounds.
    pub rounds: usize,
    /// Configurations given, in whatever way they are loaded.
    pub configurations: usize,
    /// Brokers started.
    pub starts: usize,
    /// Configurations that a running broker reloads.
    pub reloads: usize,
    /// Configurations for which a broker is restarted.
    pub restarts: usize,
    /// Brokers stopped.
    pub stops: usize,
    /// Sessions of links opened before anything moves.
    pub sessions_opened: usize,
    /// Client addresses led elsewhere.
    pub addresses: usize,
}

impl Summary {
    fn of(rounds: &[Round]) -> Self {
        let mut summary = Self {
            rounds: rounds.len(),
            ..Self::default()
        };
        for step in rounds.iter().flat_map(|round| &round.steps) {
            match step {
                Step::GiveConfiguration { loading, .. } => {
                    summary.configurations += 1;
                    match loading {
                        Loading::Start => summary.starts += 1,
                        Loading::Reload => summary.reloads += 1,
                        Loading::Restart => summary.restarts += 1,
                        Loading::Nothing => {}
                    }
                }
                Step::Stop { .. } => summary.stops += 1,
                Step::OpenSession { .. } => summary.sessions_opened += 1,
                Step::PointAddress { .. } => summary.addresses += 1,
                _ => {}
            }
        }
        summary
    }
}

/// The fleet does not come to rest on the declaration that was to be left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it never runs as it was declared before: {}", .problems.join("; "))]
pub struct NeverRan {
    /// Why, in sentences.
    pub problems: Vec<String>,
}

/// Brings a fleet up as it was declared before, declares the other, and notes what the engine does until it is settled.
///
/// Each broker is of the version that `version` says when it is first declared, answers at once, and has no clients. What the
/// engine asks for is done before anything else happens, and only then time goes on, as fast as the engine has something to
/// wait for. Of several configurations that a broker is given at once it loads the last.
///
/// # Errors
/// If the fleet does not run as it was declared before.
pub fn rehearse(
    old: &Declaration,
    new: &Declaration,
    settings: &Settings,
    version: &dyn Fn(&Broker) -> Version,
) -> Result<Rehearsal, NeverRan> {
    rehearse_with(old, new, settings, version, Box::new(Real::default()))
}

fn rehearse_with(
    old: &Declaration,
    new: &Declaration,
    settings: &Settings,
    version: &dyn Fn(&Broker) -> Version,
    tools: Box<dyn Tools>,
) -> Result<Rehearsal, NeverRan> {
    let mut stage = Stage::with_tools(settings, version, tools);
    stage.run(old)?;
    Ok(stage.change(new))
}

/// A fleet on which several changes are rehearsed one after the other.
pub struct Stage<'a> {
    world: World<'a>,
}

impl<'a> Stage<'a> {
    /// Nothing is declared yet.
    #[must_use]
    pub fn new(settings: &Settings, version: &'a dyn Fn(&Broker) -> Version) -> Self {
        Self::with_tools(settings, version, Box::new(Real::default()))
    }

    fn with_tools(
        settings: &Settings,
        version: &'a dyn Fn(&Broker) -> Version,
        tools: Box<dyn Tools>,
    ) -> Self {
        let engine = Engine::with_tools(settings.clone(), tools).without_audits();
        Self {
            world: World::new(engine, version),
        }
    }

    /// Brings the fleet up as it is declared.
    ///
    /// # Errors
    /// If it does not come to rest so.
    pub fn run(&mut self, declaration: &Declaration) -> Result<(), NeverRan> {
        // Nobody can be led elsewhere before there are others.
        let undrained = Declaration {
            drains: BTreeMap::new(),
            ..declaration.clone()
        };
        for declaration in [&undrained, declaration] {
            let course = self.world.settle(declaration);
            let problems = self.world.problems();
            if !course.settled || !problems.is_empty() {
                return Err(NeverRan { problems });
            }
        }
        Ok(())
    }

    /// Declares something else.
    pub fn change(&mut self, declaration: &Declaration) -> Rehearsal {
        let course = self.world.settle(declaration);
        let problems = self.world.problems();
        Rehearsal {
            summary: Summary::of(&course.rounds),
            rounds: course.rounds,
            cautions: course.cautions,
            settled: course.settled && problems.is_empty(),
            problems,
        }
    }
}
