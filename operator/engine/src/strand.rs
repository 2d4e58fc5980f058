//! Strands: the single `topic` lines of links, each with its two ends. What the engine adds and removes is strands, so
//! that a link that carries many topics is not withheld for the sake of one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::{BrokerName, ClassName, Qos};
use skein_filters::TopicFilter;
use skein_mosquitto::config::RESERVED;
use skein_mosquitto::link::{Direction, Line, Link, Mode};

/// One line of one link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Strand {
    pub(crate) downstream: BrokerName,
    pub(crate) upstream: BrokerName,
    pub(crate) mode: Mode,
    /// One of Skein's own lines.
    pub(crate) control: bool,
    pub(crate) filter: TopicFilter,
    pub(crate) direction: Direction,
    pub(crate) qos: Qos,
}

/// The strands of a configuration.
pub(crate) type Strands = BTreeSet<Strand>;

/// Every line of these links.
pub(crate) fn strands<'a>(links: impl IntoIterator<Item = &'a Link>) -> Strands {
    let mut strands = Strands::new();
    for link in links {
        let user = link.lines.iter().map(|line| (line, false));
        for (line, control) in user.chain(link.control.iter().map(|line| (line, true))) {
            strands.insert(Strand {
                downstream: link.downstream.clone(),
                upstream: link.upstream.clone(),
                mode: link.mode,
                control,
                filter: line.filter.clone(),
                direction: line.direction,
                qos: line.qos,
            });
        }
    }
    strands
}

/// What a session upstream may be subscribed to, beside the lines of its connection: it comes in whatever they say.
pub(crate) fn subscription(
    downstream: &BrokerName,
    upstream: &BrokerName,
    mode: Mode,
    filter: &TopicFilter,
) -> Strand {
    Strand {
        downstream: downstream.clone(),
        upstream: upstream.clone(),
        mode,
        control: filter.as_str().starts_with(RESERVED),
        filter: filter.clone(),
        direction: Direction::In,
        qos: Qos::ExactlyOnce,
    }
}

/// As much of the desired links of one broker as these strands allow. A link without any line of the user's is not
/// worth a connection. A class whose control lines (`$skein/KIND/CLASS/…`) are all left out is none of the link's.
pub(crate) fn reduced(desired: &[Arc<Link>], allowed: &Strands) -> Vec<Arc<Link>> {
    let mut reduced = Vec::with_capacity(desired.len());
    for link in desired {
        let keep = |line: &Line, control: bool| {
            allowed.contains(&Strand {
                downstream: link.downstream.clone(),
                upstream: link.upstream.clone(),
                mode: link.mode,
                control,
                filter: line.filter.clone(),
                direction: line.direction,
                qos: line.qos,
            })
        };
        let lines: Vec<Line> = link
            .lines
            .iter()
            .filter(|line| keep(line, false))
            .cloned()
            .collect();
        let control: Vec<Line> = link
            .control
            .iter()
            .filter(|line| keep(line, true))
            .cloned()
            .collect();
        if lines.len() == link.lines.len() && control.len() == link.control.len() {
            reduced.push(Arc::clone(link));
        } else if !lines.is_empty() {
            let names = |line: &Line, class: &ClassName| {
                line.filter
                    .as_str()
                    .split('/')
                    .nth(2)
                    .is_some_and(|level| level == class.as_str())
            };
            let gone = |class: &&ClassName| {
                link.control.iter().any(|line| names(line, class))
                    && !control.iter().any(|line| names(line, class))
            };
            let classes = link
                .classes
                .iter()
                .filter(|class| !gone(class))
                .cloned()
                .collect();
            reduced.push(Arc::new(Link {
                lines,
                control,
                classes,
                ..Link::clone(link)
            }));
        }
    }
    reduced
}

/// Links that carry these strands and nothing else, for judging.
pub(crate) fn links<'a>(strands: impl IntoIterator<Item = &'a Strand>) -> Vec<Link> {
    let mut by_identity: BTreeMap<(&BrokerName, &BrokerName, Mode), Link> = BTreeMap::new();
    for strand in strands {
        let link = by_identity
            .entry((&strand.downstream, &strand.upstream, strand.mode))
            .or_insert_with(|| Link {
                downstream: strand.downstream.clone(),
                upstream: strand.upstream.clone(),
                mode: strand.mode,
                lines: Vec::new(),
                control: Vec::new(),
                classes: BTreeSet::new(),
            });
        let carried = Line {
            filter: strand.filter.clone(),
            direction: strand.direction,
            qos: strand.qos,
        };
        if strand.control {
            &mut link.control
        } else {
            &mut link.lines
        }
        .push(carried);
    }
    by_identity.into_values().collect()
}
