//! The status of a topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_api::name::BrokerName;
use skein_api::resources::{PathStatus, TopicStatus};
use skein_engine::directive::BrokerPhase;
use skein_planner::explain::arrows;
use skein_planner::plan::{Class, Path, Severity};

use super::conditions::{Verdict, Verdicts};
use super::{MOST, Seen, declared, way};

/// The status of the topic `name`, whose spec is of this generation.
#[must_use]
pub fn topic(
    seen: &Seen<'_>,
    name: &str,
    generation: Option<i64>,
    before: Option<&TopicStatus>,
) -> TopicStatus {
    let known = before
        .map(|before| before.conditions.as_slice())
        .unwrap_or_default();
    let declared = seen.fleet.topics.contains_key(name);
    let class = class(seen, name).filter(|_| declared);
    let mut paths: Vec<&Path> = class.map(|class| paths_of(class, name)).unwrap_or_default();
    // Those without a way, then the dearest: what is cut off is what matters least.
    paths.sort_by_key(|path| {
        let ways = !path.brokers.is_empty();
        (ways, std::cmp::Reverse(path.cost), &path.consumer, &path.producer)
    });
    let configured = declared::configured(seen, &format!("Topic/{name}"), declared, generation, known);
    let (matched, operational) = if declared {
        (matched(seen, name, &paths), operational(seen, name, &paths))
    } else {
        (Verdict::idle(), Verdict::idle())
    };
    let dearest = paths.iter().find(|path| !path.brokers.is_empty());
    let verdicts = Verdicts {
        configured,
        matched,
        operational,
        ready: "it gets from every producer to every consumer".to_owned(),
    };
    TopicStatus {
        class: class.map(|class| class.name.to_string()),
        root: class.and_then(|class| class.root.clone()),
        path: dearest.map(|path| match paths.len() {
            1 => arrows(&path.brokers),
            all => format!("{} and {} more", arrows(&path.brokers), all - 1),
        }),
        cost: dearest.map(|path| i64::from(path.cost)),
        more_paths: super::more(paths.len()),
        paths: listed(seen, name, &paths),
        conditions: verdicts.conditions(generation, known, seen.now),
        observed_generation: generation,
    }
}

fn class<'a>(seen: &Seen<'a>, name: &str) -> Option<&'a Arc<Class>> {
    seen.index.classes.get(name).copied()
}

/// A topic's paths: a class has them by topic.
fn paths_of<'a>(class: &'a Class, topic: &str) -> Vec<&'a Path> {
    let begin = class.paths.partition_point(|path| path.topic.as_str() < topic);
    let own = class.paths.iter().skip(begin);
    own.take_while(|path| path.topic.as_str() == topic).collect()
}

fn listed(seen: &Seen<'_>, name: &str, paths: &[&Path]) -> Vec<PathStatus> {
    let heard = heard(seen, name);
    let mut listed: Vec<&Path> = paths.iter().copied().take(MOST).collect();
    listed.sort_by_key(|path| (&path.consumer, &path.producer));
    let status = |path: &Path| {
        let exists = !path.brokers.is_empty();
        PathStatus {
            producer: path.producer.clone(),
            consumer: path.consumer.clone(),
            path: path.brokers.to_vec(),
            cost: exists.then(|| path.cost.into()),
            stretch: exists.then(|| decimal(path.stretch())),
            up: heard.get(&(&path.producer, &path.consumer)).copied(),
        }
    };
    listed.into_iter().map(status).collect()
}

/// Which paths of a topic are up, as far as they were tried.
fn heard<'a>(seen: &Seen<'a>, name: &str) -> BTreeMap<(&'a BrokerName, &'a BrokerName), bool> {
    let paths = seen.index.heard.get(name).into_iter().flatten();
    paths
        .map(|path| ((&path.producer, &path.consumer), path.up))
        .collect()
}

/// As `plan -o json` rounds it: three places at most.
fn decimal(stretch: f64) -> String {
    ((stretch * 1000.0).round() / 1000.0).to_string()
}

fn matched(seen: &Seen<'_>, name: &str, paths: &[&Path]) -> Verdict {
    if paths.is_empty() {
        return Verdict::unknown("NotPlanned", "it is not planned yet");
    }
    let missing: Vec<&&Path> = paths.iter().filter(|path| path.brokers.is_empty()).collect();
    let Some(first) = missing.first() else {
        return Verdict::yes("Planned", "there is a way from every producer to every consumer");
    };
    let (producer, consumer) = (&first.producer, &first.consumer);
    let why = unserved(seen, [producer, consumer])
        .or_else(|| way::remedy(seen, producer, consumer))
        .map(|why| format!("nothing flows from {producer} to {consumer}: {why}"))
        .or_else(|| finding(seen, name))
        .unwrap_or_else(|| format!("nothing flows from {producer} to {consumer}: there is no way"));
    let more = match missing.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more without a way)"),
    };
    Verdict::no("NoWay", format!("{why}{more}"))
}

/// An end that is out, and that nobody stands in for.
fn unserved(seen: &Seen<'_>, ends: [&BrokerName; 2]) -> Option<String> {
    let alone = |name: &&BrokerName| {
        let heard = seen.broker(name.as_str());
        heard.is_some_and(|heard| heard.served_by.is_none())
    };
    let name = ends.into_iter().find(alone)?;
    Some(format!(
        "{name} is out and no other broker serves its clients; bring Broker/{name} back, or allow another in its spec.failover"
    ))
}

fn finding(seen: &Seen<'_>, name: &str) -> Option<String> {
    let object = format!("topic/{name}");
    let mut findings = seen.plan.findings.iter();
    findings
        .find(|finding| finding.severity == Severity::Error && finding.object == object)
        .map(|finding| finding.message.clone())
}

fn operational(seen: &Seen<'_>, name: &str, paths: &[&Path]) -> Verdict {
    let heard = heard(seen, name);
    let up = |path: &Path| heard.get(&(&path.producer, &path.consumer)).copied();
    if paths.is_empty() {
        return Verdict::unknown("NotPlanned", "it is not planned yet");
    }
    let stuck: Vec<&Path> = paths
        .iter()
        .copied()
        .filter(|path| up(path) != Some(true))
        .collect();
    if stuck.is_empty() {
        return Verdict::yes(
            "Flows",
            "what was sent last to try them came through on every path",
        );
    }
    let pending = |path: &Path| {
        let starts = |broker: &BrokerName| seen.phase(broker.as_str()) == BrokerPhase::Pending;
        !path.brokers.is_empty() && (up(path).is_none() || path.brokers.iter().any(starts))
    };
    // What is certain comes first.
    let Some(first) = stuck.iter().find(|path| !pending(path)) else {
        return Verdict::unknown(
            "NotTried",
            "its brokers have only just begun, and nothing was sent to try it yet",
        );
    };
    let more = match stuck.len() - 1 {
        0 => String::new(),
        more => format!(" (nor on {more} more)"),
    };
    let (producer, consumer) = (&first.producer, &first.consumer);
    if first.brokers.is_empty() {
        return Verdict::no(
            "NoWay",
            format!("nothing comes from {producer} to {consumer}, as there is no way{more}"),
        );
    }
    Verdict::no(
        "NothingComes",
        format!(
            "nothing comes from {producer} to {consumer} on {}{more}: {}",
            arrows(&first.brokers),
            culprit(seen, &first.brokers)
        ),
    )
}

/// What on a path is known not to work.
fn culprit(seen: &Seen<'_>, brokers: &[BrokerName]) -> String {
    let unwell = |name: &&BrokerName| seen.phase(name.as_str()) != BrokerPhase::Ready;
    if let Some(name) = brokers.iter().find(unwell) {
        return format!("Broker/{name} is not well, see its conditions");
    }
    let loading = |name: &&BrokerName| {
        let heard = seen.broker(name.as_str());
        heard.is_some_and(|heard| heard.epoch_given != heard.epoch_loaded)
    };
    if let Some(name) = brokers.iter().find(loading) {
        return format!("Broker/{name} does not use its configuration yet, see its conditions");
    }
    let waits = |pair: &[BrokerName]| match pair {
        [to, from] => {
            let (to, from) = (to.as_str(), from.as_str());
            let said = &seen.index.links_said;
            said.get(&(to, from)).or_else(|| said.get(&(from, to))).copied()
        }
        _ => None,
    };
    brokers.windows(2).find_map(waits).cloned().unwrap_or_else(|| {
        "its brokers are well, so a link between them is being opened, or they do not reach each other; if it stays so, see \
         whether they do"
            .to_owned()
    })
}
