//! What statuses look for again and again, found once: a fleet has thousands of objects, and each looks at the paths of one
//! topic, the links of one pair of brokers, the sentences about one object.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use skein_api::manifest::Problem;
use skein_api::name::{BrokerName, ClassName, Cost, RouteName};
use skein_engine::directive::{BrokerStatus, PathStatus};
use skein_mosquitto::link::Link;
use skein_planner::plan::Class;

use super::Case;

/// Two brokers, whichever way.
pub(super) type Edge<'a> = (&'a BrokerName, &'a BrokerName);

/// An edge between two brokers.
pub(super) fn edge<'a>(a: &'a BrokerName, b: &'a BrokerName) -> Edge<'a> {
    (a.min(b), a.max(b))
}

/// A path that passes between two brokers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried<'a> {
    pub(super) to: &'a BrokerName,
    pub(super) up: bool,
}

/// See the head of this module.
#[derive(Clone, Debug, Default)]
pub(super) struct Index<'a> {
    /// What the engine says of each broker.
    pub(super) brokers: HashMap<&'a str, &'a BrokerStatus>,
    /// The class of each topic.
    pub(super) classes: HashMap<&'a str, &'a Arc<Class>>,
    /// Which of a topic's paths are up.
    pub(super) heard: HashMap<&'a str, Vec<&'a PathStatus>>,
    /// The links between two brokers, and the class of each.
    pub(super) links: HashMap<Edge<'a>, Vec<(&'a Class, &'a Link)>>,
    /// The paths of a class between two brokers.
    pub(super) tried: HashMap<(Edge<'a>, &'a ClassName), Vec<Tried<'a>>>,
    /// The route that data takes from one broker to another: the cheapest.
    pub(super) carriers: HashMap<(&'a BrokerName, &'a BrokerName), (Cost, &'a RouteName)>,
    /// What is wrong with what an object declares.
    pub(super) problems: HashMap<&'a str, Vec<&'a Problem>>,
    /// What the engine says does not work, by what it is about, and without that.
    pub(super) sentences: HashMap<&'a str, Vec<&'a str>>,
    /// What it says of links, by the two names in it.
    pub(super) links_said: BTreeMap<(&'a str, &'a str), &'a String>,
}

impl<'a> Index<'a> {
    pub(super) fn of(case: &Case<'a>) -> Self {
        let mut index = Self::default();
        let brokers = case.status.brokers.iter();
        index.brokers = brokers.map(|broker| (broker.name.as_str(), broker)).collect();
        for class in case.plan.classes.values() {
            let topics = class.topics.iter();
            index.classes.extend(topics.map(|topic| (topic.as_str(), class)));
            for link in class.links.iter() {
                let between = index.links.entry(edge(&link.downstream, &link.upstream));
                between.or_default().push((class, link));
            }
        }
        for path in &case.status.paths {
            index.heard.entry(path.topic.as_str()).or_default().push(path);
            let Some(class) = index.classes.get(path.topic.as_str()) else {
                continue;
            };
            for pair in path.path.windows(2) {
                let [to, from] = pair else { continue };
                let between = index.tried.entry((edge(to, from), &class.name));
                between.or_default().push(Tried { to, up: path.up });
            }
        }
        for (name, route) in case.fleet.routes.iter().filter(|(_, route)| !route.paused) {
            let ways = [(&route.a, &route.b), (&route.b, &route.a)];
            for way in ways.into_iter().take(if route.one_way { 1 } else { 2 }) {
                let carrier = index.carriers.entry(way).or_insert((route.cost, name));
                *carrier = (*carrier).min((route.cost, name));
            }
        }
        for problem in case.problems {
            index.problems.entry(&problem.object).or_default().push(problem);
        }
        for problem in &case.status.problems {
            if let Some((about, sentence)) = problem.split_once(": ") {
                index.sentences.entry(about).or_default().push(sentence);
            }
            if let Some(link) = link_of(problem) {
                index.links_said.entry(link).or_insert(problem);
            }
        }
        index
    }
}

/// The brokers at both ends of the link that a sentence is about: `… the link a <- b …`.
fn link_of(problem: &str) -> Option<(&str, &str)> {
    let (_, link) = problem.split_once("the link ")?;
    let mut words = link.split(' ');
    let (to, arrow, from) = (words.next()?, words.next()?, words.next()?);
    (arrow == "<-").then_some((to, from))
}
