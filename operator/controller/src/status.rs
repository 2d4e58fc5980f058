//! What custom resources say of themselves: from what the engine and validation say to the `status` of each.
//!
//! Pure: no client, no clock. A status changes when something happens and not when figures do, so that who compares it with the
//! one that is written writes seldom. Lists that could grow without end are cut; but not those of a migration, from which it is
//! restored. It has to be applied or replaced as a whole: what is absent is so on purpose.

mod broker;
mod conditions;
mod declared;
mod index;
mod migration;
mod phases;
mod route;
#[cfg(test)]
mod tests;
mod topic;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use jiff::Timestamp;
use skein_api::fleet::Fleet;
use skein_api::manifest::Problem;
use skein_api::name::BrokerName;
use skein_engine::directive::{self, BrokerPhase};
use skein_planner::plan::Plan;

use index::Index;

pub use broker::broker;
pub use migration::{from_status, migration};
pub use route::{HeldLinks, held_links, route};
pub use topic::topic;

/// The most entries of a list that could grow without end.
const MOST: usize = 256;

/// What is the case in a fleet, and what is declared in it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// What is in force.
    pub fleet: &'a Fleet,
    /// How it is to flow.
    pub plan: &'a Plan,
    /// What the engine says.
    pub status: &'a directive::Status,
    /// What validation found in the resources as they are now.
    pub problems: &'a [Problem],
    /// The last edit is not in force.
    pub refused: bool,
    /// What stands against a broker's objects, in a sentence. Who is not in it has all of them.
    pub objects: &'a BTreeMap<BrokerName, String>,
    /// Brokers whose objects a person has left as they are.
    pub paused: &'a BTreeSet<BrokerName>,
    /// The time; of it, whole seconds count.
    pub now: Timestamp,
}

/// What status is made of: what is the case, with what is often looked for in it at hand.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    case: Case<'a>,
    index: Index<'a>,
}

impl<'a> Deref for Seen<'a> {
    type Target = Case<'a>;

    fn deref(&self) -> &Case<'a> {
        &self.case
    }
}

impl<'a> Seen<'a> {
    /// Once for all objects of a fleet.
    #[must_use]
    pub fn of(case: Case<'a>) -> Self {
        let index = Index::of(&case);
        Self { case, index }
    }

    fn broker(&self, name: &str) -> Option<&'a directive::BrokerStatus> {
        self.index.brokers.get(name).copied()
    }

    fn phase(&self, name: &str) -> BrokerPhase {
        self.broker(name)
            .map_or(BrokerPhase::Pending, |broker| broker.phase)
    }

    /// Declared down, or not yet taken back: nothing passes through it.
    fn is_out(&self, name: &str) -> bool {
        matches!(self.phase(name), BrokerPhase::Down | BrokerPhase::Returning)
    }

    /// What the engine says of an object such as `Broker/a`.
    fn sentences(&self, object: &str) -> Vec<&'a str> {
        self.index.sentences.get(object).cloned().unwrap_or_default()
    }
}

/// How many of a list are beyond what is listed.
fn more(all: usize) -> Option<i64> {
    let more = all.checked_sub(MOST).filter(|more| *more > 0)?;
    i64::try_from(more).ok()
}
