//! Golden cases: each folder under `cases` holds manifests and, as people read it, the plan they lead to.
//!
//! `plan.txt` is the plan of the healthy fleet. A file `down-c.txt` beside it is the plan with c down (`down-c+f.txt`: c and
//! f), each served by its first candidate that is up. A new case is a new folder; `UPDATE_GOLDEN=1 cargo test` writes what is
//! expected, to be read before it is committed.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use skein_api::fleet::Fleet;
use skein_api::manifest::{self, Source};
use skein_api::name::{BrokerName, ClassName};
use skein_mosquitto::link::Link;
use skein_planner::plan;
use skein_planner::plan::{Action, Candidate, Class, Plan, Role, Substitution, View};

/// How many candidates of each broker are shown.
const CANDIDATES: usize = 3;

fn joined<T: ToString>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    items
        .into_iter()
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(between)
}

fn class(class: &Class) -> String {
    let root = class.root.as_ref().map_or("none", BrokerName::as_str);
    let mut text = format!(
        "class {}: root {root}, topics {}\n",
        class.name,
        joined(&class.topics, " ")
    );
    for path in &class.paths {
        let topic = &path.topic;
        if path.brokers.is_empty() {
            writeln!(
                text,
                "  {topic}: no way from {} to {}",
                path.producer, path.consumer
            )
            .unwrap();
            continue;
        }
        write!(
            text,
            "  {topic}: {} (cost {}",
            joined(path.brokers.iter(), " ← "),
            path.cost
        )
        .unwrap();
        if path.cost != path.shortest {
            write!(text, ", stretch {:.2}", path.stretch()).unwrap();
        }
        text.push(')');
        for (declared, now) in [
            (&path.producer, path.brokers.last()),
            (&path.consumer, path.brokers.first()),
        ] {
            if let Some(now) = now.filter(|now| *now != declared) {
                write!(text, ", {now} for {declared}").unwrap();
            }
        }
        text.push('\n');
    }
    text
}

fn link(link: &Link) -> String {
    let mut text = format!(
        "link {} ← {}: {}, for {}\n",
        link.downstream, link.upstream, link.mode, link.class
    );
    for line in link.lines.iter().chain(link.control.iter()) {
        writeln!(text, "  {} {} {}", line.filter, line.direction, line.qos).unwrap();
    }
    text
}

fn role(role: &Role) -> String {
    let action = match role.action {
        Action::Publish => "publish",
        Action::Subscribe => "subscribe",
    };
    format!("{action} {}", role.filter)
}

fn candidate(candidate: &Candidate) -> String {
    let mut text = format!("{} {:?}", candidate.broker, candidate.equivalence);
    match candidate.distance {
        Some(distance) => write!(text, ", {distance} away").unwrap(),
        None => text.push_str(", not connected"),
    }
    if candidate.same_zone {
        text.push_str(", same zone");
    }
    write!(text, ", load {}", candidate.load).unwrap();
    if !candidate.missing.is_empty() {
        write!(
            text,
            ", lacks {}",
            joined(candidate.missing.iter().map(|missing| role(missing)), " and ")
        )
        .unwrap();
    }
    text
}

fn substitution(broker: &BrokerName, substitution: &Substitution) -> String {
    let mut text = format!("if {broker} dies\n");
    for (number, best) in (1..).zip(substitution.candidates.iter().take(CANDIDATES)) {
        writeln!(text, "  {number}. {}", candidate(best)).unwrap();
    }
    if !substitution.cover.is_empty() {
        writeln!(
            text,
            "  covered as far as can be by {}",
            joined(&substitution.cover, " ")
        )
        .unwrap();
    }
    let mut grafts: BTreeMap<&ClassName, Vec<String>> = BTreeMap::new();
    for graft in &substitution.grafts {
        let hop = format!("{}←{}", graft.hop.downstream, graft.hop.upstream);
        grafts.entry(&graft.class).or_default().push(hop);
    }
    for (class, hops) in grafts {
        writeln!(text, "  grafts for {class}: {}", hops.join(" ")).unwrap();
    }
    for (topic, producer, consumer) in &substitution.gaps {
        writeln!(text, "  gap: {topic} from {producer} to {consumer}").unwrap();
    }
    text
}

/// The whole plan as text; blocks are parted by empty lines.
fn text(plan: &Plan) -> String {
    let mut blocks: Vec<String> = plan.classes.values().map(|one| class(one)).collect();
    blocks.extend(plan.links().iter().map(|one| link(one)));
    blocks.extend(
        plan.substitutes
            .iter()
            .map(|(broker, one)| substitution(broker, one)),
    );
    let mut findings = String::from("findings\n");
    for finding in &plan.findings {
        let severity = format!("{:?}", finding.severity).to_lowercase();
        writeln!(findings, "  {severity} {}: {}", finding.object, finding.message).unwrap();
    }
    if plan.findings.is_empty() {
        findings.push_str("  none\n");
    }
    blocks.push(findings);
    blocks.join("\n")
}

/// The plan with some brokers down, without who would replace the next one.
fn text_without(fleet: &Fleet, healthy: &Plan, down: &str) -> String {
    let down: BTreeSet<BrokerName> = down.split('+').map(|name| name.parse().unwrap()).collect();
    let mut view = View {
        down,
        ..View::default()
    };
    let mut head = String::new();
    for dead in &view.down {
        assert!(fleet.brokers.contains_key(dead), "{dead} is not in the fleet");
        let candidates = &healthy.substitutes.get(dead).unwrap().candidates;
        match candidates
            .iter()
            .find(|candidate| !view.down.contains(&candidate.broker))
        {
            Some(first) => {
                writeln!(head, "{dead} is down, {} serves its clients", first.broker).unwrap();
                view.served_by.insert(dead.clone(), first.broker.clone());
            }
            None => writeln!(head, "{dead} is down, nobody serves its clients").unwrap(),
        }
    }
    let mut plan = plan(fleet, &view);
    plan.substitutes.clear();
    plan.findings
        .retain(|finding| !finding.message.starts_with("if "));
    format!("{head}\n{}", text(&plan))
}

fn load(folder: &Path) -> Fleet {
    let path = folder.join("fleet.yaml");
    let content = std::fs::read_to_string(&path).unwrap();
    let shown = path.display().to_string();
    let loaded = manifest::load(&[Source {
        path: &shown,
        text: &content,
    }]);
    loaded
        .fleet
        .unwrap_or_else(|| panic!("{}: {:#?}", path.display(), loaded.problems))
}

/// Where two texts first differ.
fn difference(expected: &str, actual: &str) -> Option<String> {
    let mut lines = (1..).zip(
        expected
            .lines()
            .map(Some)
            .chain(std::iter::repeat(None))
            .zip(actual.lines().map(Some).chain(std::iter::repeat(None))),
    );
    let longest = expected.lines().count().max(actual.lines().count());
    lines
        .by_ref()
        .take(longest)
        .find(|(_, (expected, actual))| expected != actual)
        .map(|(number, (expected, actual))| {
            let shown = |line: Option<&str>| line.map_or_else(|| "(nothing)".to_owned(), str::to_owned);
            format!(
                "line {number}\n    expected {}\n    planned  {}",
                shown(expected),
                shown(actual)
            )
        })
}

fn compare(path: &Path, actual: &str, failures: &mut Vec<String>) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if let Some(difference) = difference(&expected, actual) {
        failures.push(format!("{}: {difference}", path.display()));
    }
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

#[test]
fn every_case_is_planned_as_its_folder_says() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let folders = sorted(&cases);
    assert!(!folders.is_empty());
    let mut failures = Vec::new();
    for folder in folders.iter().filter(|path| path.is_dir()) {
        let fleet = load(folder);
        let healthy = plan(&fleet, &View::default());
        compare(&folder.join("plan.txt"), &text(&healthy), &mut failures);
        for path in sorted(folder) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if let Some(down) = name
                .strip_prefix("down-")
                .and_then(|rest| rest.strip_suffix(".txt"))
            {
                compare(&path, &text_without(&fleet, &healthy, down), &mut failures);
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{}\nif this is meant, run again with UPDATE_GOLDEN=1 and read what changed",
        failures.join("\n")
    );
}

#[test]
fn the_first_difference_is_shown() {
    assert_eq!(difference("a\nb\n", "a\nb\n"), None);
    assert!(difference("a\nb\n", "a\nc\n").unwrap().contains("line 2"));
    assert!(difference("a\n", "a\nb\n").unwrap().contains("(nothing)"));
}
