//! One round for people: what is done in it, kind by kind, and at which broker.

use std::collections::{BTreeMap, BTreeSet};

use skein_api::name::{BrokerName, ClassName};
use skein_engine::rehearsal::{LinkId, Loading, Round, Step};
use skein_mosquitto::link::Mode;
use skein_mosquitto::version::{Capabilities, Version};
use skein_planner::diff::{Change, LinkChange};
use unicode_width::UnicodeWidthStr as _;

use crate::paint::{BAD, CAREFUL, FAINT, GOOD, TITLE, paint};

/// What is done, in the order in which it is told within a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Read,
    OpenClients,
    Open,
    Bar,
    Await,
    AwaitLinks,
    Give,
    Copy,
    Point,
    EndClients,
    End,
    Silence,
    PassOn,
    Forget,
    Stop,
}

impl Deed {
    fn title(self) -> &'static str {
        match self {
            Self::Read => "Read what brokers keep of their clients",
            Self::OpenClients => "Open the sessions of clients where they are going to come",
            Self::Open => "Open the sessions of links to come, which collect from now on",
            Self::Bar => "Keep out links",
            Self::Await => "Wait for markers: when they are there, everything older has arrived",
            Self::AwaitLinks => "Wait until changed links have connected",
            Self::Give => "Give configurations",
            Self::Copy => "Copy retained values",
            Self::Point => "Lead client addresses",
            Self::EndClients => "End the sessions that clients left",
            Self::End => "End the sessions that links left",
            Self::Silence => "End the subscriptions of sessions that links left",
            Self::PassOn => "Pass on what waits in the sessions that links left",
            Self::Forget => "Have brokers forget retained values that nothing puts there any more",
            Self::Stop => "Stop brokers",
        }
    }

    /// Several of it at one broker go in one line.
    fn is_brief(self) -> bool {
        matches!(self, Self::Open | Self::End | Self::Silence)
    }
}

/// How links are called.
pub(super) struct Names {
    pub(super) with_class: bool,
}

/// The classes that a round is about.
pub(super) fn classes(round: &Round) -> BTreeSet<&ClassName> {
    let mut classes = BTreeSet::new();
    for step in &round.steps {
        match step {
            Step::OpenSession { link, .. } | Step::EndSession { link, .. } | Step::PassOn { link, .. } => {
                classes.insert(&link.class);
            }
            Step::AwaitMarkers { class, .. } => classes.extend(class),
            Step::GiveConfiguration { links, .. } => {
                classes.extend(links.iter().map(|change| &change.class));
            }
            _ => {}
        }
    }
    classes
}

/// It is restarted because its version of Mosquitto reloads no connections, and would not be on another.
pub(super) fn restarted_by_version(step: &Step) -> Option<&str> {
    match step {
        Step::GiveConfiguration {
            version,
            loading: Loading::Restart,
            reasons,
            ..
        } => {
            let mut reasons = reasons.iter();
            let concerned = reasons.any(|reason| is_by_version(version, reason));
            concerned.then_some(version.as_str())
        }
        _ => None,
    }
}

fn is_by_version(version: &str, reason: &str) -> bool {
    let version = version.parse::<Version>();
    let reloads = version.is_ok_and(|version| Capabilities::of(version).reloads_bridges);
    !reloads && reason.starts_with("connection ")
}

impl Names {
    /// The round with its number before the first line.
    pub(super) fn text(&self, number: usize, round: &Round) -> String {
        let mut deeds: BTreeMap<Deed, BTreeMap<String, Vec<String>>> = BTreeMap::new();
        for step in &round.steps {
            let (deed, whom, lines) = self.told(step);
            let rows = deeds.entry(deed).or_default();
            rows.entry(whom).or_default().extend(lines);
        }
        let mut text = String::new();
        let mut label = format!("{number:>2}. ");
        for (deed, rows) in deeds {
            text += &format!("{label}{}\n{}", paint(TITLE, deed.title()), table(deed, &rows));
            label = " ".repeat(label.len());
        }
        text
    }

    /// What is done, at which broker, and lines on it.
    fn told(&self, step: &Step) -> (Deed, String, Vec<String>) {
        let (deed, broker, line) = match step {
            Step::OpenSession { link, .. } => (Deed::Open, &link.upstream, self.link(link)),
            Step::EndSession { link, discard } => {
                let deed = if *discard { Deed::End } else { Deed::Silence };
                (deed, &link.upstream, self.link(link))
            }
            Step::PassOn { link, to } => {
                let line = format!("{} to {}", self.link(link), listed(to));
                (Deed::PassOn, &link.upstream, line)
            }
            Step::AwaitMarkers { broker, class, from } => {
                let class = class.as_ref().map(|class| self.class(class)).unwrap_or_default();
                (Deed::Await, broker, format!("from {}{class}", listed(from)))
            }
            Step::AwaitLink { downstream, upstream } => {
                (Deed::AwaitLinks, downstream, format!("{downstream} ← {upstream}"))
            }
            Step::GiveConfiguration { broker, .. } => {
                return (Deed::Give, broker.to_string(), self.configuration(step));
            }
            Step::Bar { broker, downstreams } if downstreams.is_empty() => {
                (Deed::Bar, broker, "of nobody any more".to_owned())
            }
            Step::Bar { broker, downstreams } => (Deed::Bar, broker, format!("of {}", listed(downstreams))),
            Step::OpenClientSession { broker, client_id } => (Deed::OpenClients, broker, client_id.clone()),
            Step::EndClientSession { broker, client_id } => (Deed::EndClients, broker, client_id.clone()),
            Step::PointAddress { broker, to } => (Deed::Point, broker, format!("to {to}")),
            Step::ForgetValues { broker } => return (Deed::Forget, broker.to_string(), Vec::new()),
            Step::CopyValues { home, from, to } => {
                let line = format!("to {to}, those of {home}'s clients");
                (Deed::Copy, from, line)
            }
            Step::ReadSessions { broker } => return (Deed::Read, broker.to_string(), Vec::new()),
            Step::Stop { broker } => return (Deed::Stop, broker.to_string(), Vec::new()),
        };
        (deed, broker.to_string(), vec![line])
    }

    /// How a configuration is loaded, and what comes and goes by it.
    fn configuration(&self, step: &Step) -> Vec<String> {
        let Step::GiveConfiguration {
            version,
            loading,
            reasons,
            links,
            ..
        } = step
        else {
            return Vec::new();
        };
        let (mut come, mut go, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        for change in links {
            let link = self.ends(&change.downstream, &change.upstream, change.mode, &change.class);
            if let Some(gone) = links.iter().find(|other| turns(other, change)) {
                lines.push(turned(&link, gone, change));
            } else if !links.iter().any(|other| turns(change, other)) {
                match change.change {
                    Change::Added => come.push(link),
                    Change::Removed => go.push(link),
                    Change::Changed => lines.push(changed(&link, &change.gained, &change.lost)),
                }
            }
        }
        let signed = [("-", BAD, go), ("+", GOOD, come)].into_iter();
        let signed = signed.filter(|(.., links)| !links.is_empty());
        let signed = signed.map(|(sign, style, links)| paint(style, format!("{sign} {}", links.join(", "))));
        let mut lines: Vec<String> = signed.chain(lines).collect();
        let word = match loading {
            Loading::Start => format!("start on {version}"),
            Loading::Reload => "reload".to_owned(),
            Loading::Restart => "restart".to_owned(),
            Loading::Nothing => "as it is".to_owned(),
        };
        if *loading == Loading::Restart {
            let told = reasons.iter().filter(|reason| !is_by_version(version, reason));
            lines.extend(told.map(|reason| paint(FAINT, format!("as {reason}"))));
        }
        if lines.is_empty() {
            return vec![word];
        }
        let width = word.len().max("restart".len());
        let labels = std::iter::once(word.as_str()).chain(std::iter::repeat(""));
        let labelled = labels.zip(lines);
        labelled
            .map(|(label, line)| format!("{label:<width$}   {line}"))
            .collect()
    }

    fn link(&self, link: &LinkId) -> String {
        self.ends(&link.downstream, &link.upstream, link.mode, &link.class)
    }

    fn ends(&self, downstream: &BrokerName, upstream: &BrokerName, mode: Mode, class: &ClassName) -> String {
        let arrow = if mode == Mode::Duplex { "↔" } else { "←" };
        format!("{downstream} {arrow} {upstream}{}", self.class(class))
    }

    fn class(&self, class: &ClassName) -> String {
        if self.with_class {
            format!(" ({class})")
        } else {
            String::new()
        }
    }
}

/// `gone` and `come` are one link, by its two sessions.
fn turns(gone: &LinkChange, come: &LinkChange) -> bool {
    let is_pull = |change: &LinkChange| change.mode.in_plan() == Mode::Pull;
    (gone.change, come.change) == (Change::Removed, Change::Added)
        && gone.upstream == come.upstream
        && gone.class == come.class
        && is_pull(gone)
        && is_pull(come)
}

/// A link that goes with one session and comes with its other.
fn turned(link: &str, gone: &LinkChange, come: &LinkChange) -> String {
    let only = |these: &[String], others: &[String]| -> Vec<String> {
        let those = these.iter().filter(|line| !others.contains(line));
        those.cloned().collect()
    };
    changed(
        link,
        &only(&come.gained, &gone.lost),
        &only(&gone.lost, &come.gained),
    )
}

/// `~ a ← e: + farm/+/soil in qos 1`
fn changed(link: &str, gained: &[String], lost: &[String]) -> String {
    let more = gained.iter().map(|line| format!("+ {line}"));
    let lines: Vec<String> = more.chain(lost.iter().map(|line| format!("- {line}"))).collect();
    let text = if lines.is_empty() {
        "only lines of Skein's own".to_owned()
    } else {
        lines.join(", ")
    };
    format!("{}: {text}", paint(CAREFUL, format!("~ {link}")))
}

/// Rows with their brokers before them, in a column.
fn table(deed: Deed, rows: &BTreeMap<String, Vec<String>>) -> String {
    if rows.values().all(Vec::is_empty) {
        return format!("      {}\n", listed(rows.keys()));
    }
    let width = rows.keys().map(|whom| whom.width()).max().unwrap_or(0);
    let mut text = String::new();
    for (whom, lines) in rows {
        let joined = vec![lines.join(", ")];
        let lines = if deed.is_brief() { &joined } else { lines };
        let labels = std::iter::once(whom.as_str()).chain(std::iter::repeat(""));
        for (label, line) in labels.zip(lines) {
            let gap = " ".repeat(width - label.width());
            text += &format!("      {label}{gap}   {line}\n");
        }
    }
    text
}

/// All of them, as nothing here is cut.
fn listed<Name: ToString>(names: impl IntoIterator<Item = Name>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    names.join(", ")
}
