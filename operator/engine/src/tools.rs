//! What the engine uses of planner and check, behind one seam so that a test can put a faulty planner in.
//!
//! Knows their signatures; decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use skein_api::fleet::Fleet;
use skein_api::name::BrokerName;
use skein_check::{Flow, Kind, Problem};
use skein_filters::TopicFilter;
use skein_mosquitto::link::Link;
use skein_planner::Planner;
use skein_planner::plan::{Path, Plan, Substitution, View};

use crate::strand::LinkId;

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

/// Lines by their links and filters.
pub(crate) type Culprits = BTreeSet<(LinkId, TopicFilter)>;

/// Planner and check.
pub(crate) trait Tools: fmt::Debug + Send {
    /// The plan of a fleet in a view; substitutes and what is only for people may be left out.
    fn plan(&mut self, fleet: &Arc<Fleet>, view: &View) -> Arc<Plan>;

    /// The plan last made, with everything.
    fn report(&mut self) -> Arc<Plan>;

    /// Who could replace a broker in some other view than the one last planned.
    fn substitution(&self, fleet: &Fleet, view: &View, broker: &BrokerName) -> Option<Arc<Substitution>>;

    /// What would go wrong if these links ran together.
    fn hazards(&self, deduplicating: &BTreeSet<BrokerName>, links: &[Link]) -> Vec<Hazard>;

    /// Lines that have a hazard without all the others already, by link and filter; `None` if there is no hazard.
    fn culprits(&self, deduplicating: &BTreeSet<BrokerName>, links: &[Link]) -> Option<Culprits>;

    /// What is wrong with these links as all that a plan has for these flows: sentences.
    fn faults(
        &self,
        flows: &[Flow],
        view: &View,
        plan: &Plan,
        links: &[Arc<Link>],
        deduplicating: &BTreeSet<BrokerName>,
    ) -> Vec<String>;
}

/// The real ones.
#[derive(Debug, Default)]
pub(crate) struct Real {
    planner: Option<Planner>,
}

impl Tools for Real {
    fn plan(&mut self, fleet: &Arc<Fleet>, view: &View) -> Arc<Plan> {
        let planner = self
            .planner
            .get_or_insert_with(|| Planner::new(view.previous_classes.clone()));
        planner.replan(fleet, view)
    }

    fn report(&mut self) -> Arc<Plan> {
        self.planner
            .as_mut()
            .map(|planner| Arc::new(planner.report()))
            .unwrap_or_default()
    }

    fn substitution(&self, fleet: &Fleet, view: &View, broker: &BrokerName) -> Option<Arc<Substitution>> {
        skein_planner::plan(fleet, view).substitutes.remove(broker)
    }

    fn hazards(&self, deduplicating: &BTreeSet<BrokerName>, links: &[Link]) -> Vec<Hazard> {
        let problems = skein_check::hazards(links, deduplicating, None);
        problems
            .into_iter()
            .filter_map(|problem| {
                Some(Hazard {
                    danger: danger(problem.kind)?,
                    broker: problem.broker,
                })
            })
            .collect()
    }

    fn culprits(&self, deduplicating: &BTreeSet<BrokerName>, links: &[Link]) -> Option<Culprits> {
        let found = skein_check::culprits(links, deduplicating)?;
        let kept = found.into_iter();
        Some(
            kept.map(|(link, filter)| (LinkId::of(link), filter.clone()))
                .collect(),
        )
    }

    fn faults(
        &self,
        flows: &[Flow],
        view: &View,
        plan: &Plan,
        links: &[Arc<Link>],
        deduplicating: &BTreeSet<BrokerName>,
    ) -> Vec<String> {
        let report = skein_check::check(flows, links, deduplicating);
        let known = unconnected(plan, &view.served_by);
        report
            .problems
            .into_iter()
            .filter(|problem| is_fault(problem, &known))
            .map(|problem| problem.message)
            .collect()
    }
}

fn danger(kind: Kind) -> Option<Danger> {
    match kind {
        Kind::Loop => Some(Danger::Loop),
        Kind::Duplicate => Some(Danger::Duplicate),
        Kind::Loss | Kind::QosLowered | Kind::Needless => None,
    }
}

/// Pairs that the plan itself says it cannot connect, as they stand now.
fn unconnected(
    plan: &Plan,
    served_by: &BTreeMap<BrokerName, BrokerName>,
) -> BTreeSet<(BrokerName, BrokerName)> {
    let now = |broker: &BrokerName| served_by.get(broker).unwrap_or(broker).clone();
    let pair = |path: &Path| (now(&path.producer), now(&path.consumer));
    let paths = plan.classes.values().flat_map(|class| &class.paths);
    paths.filter(|path| path.brokers.is_empty()).map(pair).collect()
}

/// A plan with this must not be given to anybody. A flow that cannot be connected at all is a finding, not a fault.
fn is_fault(problem: &Problem, unconnected: &BTreeSet<(BrokerName, BrokerName)>) -> bool {
    match problem.kind {
        Kind::Loop | Kind::Duplicate => true,
        Kind::Loss => {
            let (from, to) = (problem.producer.clone(), problem.broker.clone());
            // Commands go the other way.
            !unconnected.contains(&(from.clone(), to.clone())) && !unconnected.contains(&(to, from))
        }
        Kind::QosLowered | Kind::Needless => false,
    }
}
