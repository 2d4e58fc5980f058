//! Strands: the single `topic` lines of links, each with its two ends. What the engine adds and removes is strands, so
//! that a link that carries many topics is not withheld for the sake of one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::{BrokerName, ClassName, Qos};
use skein_filters::TopicFilter;
use skein_mosquitto::config::RESERVED;
use skein_mosquitto::link::{Direction, Identity, Line, Link, Mode};

/// One line of one link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Strand {
    pub(crate) downstream: BrokerName,
    pub(crate) upstream: BrokerName,
    pub(crate) mode: Mode,
    pub(crate) class: ClassName,
    /// One of Skein's own lines.
    pub(crate) control: bool,
    pub(crate) filter: TopicFilter,
    pub(crate) direction: Direction,
    pub(crate) qos: Qos,
}

impl Strand {
    /// That of its link.
    pub(crate) fn identity(&self) -> Identity<'_> {
        (&self.downstream, &self.upstream, self.mode, &self.class)
    }
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
                class: link.class.clone(),
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
    (downstream, upstream, mode, class): Identity<'_>,
    filter: &TopicFilter,
) -> Strand {
    Strand {
        downstream: downstream.clone(),
        upstream: upstream.clone(),
        mode,
        class: class.clone(),
        control: filter.as_str().starts_with(RESERVED),
        filter: filter.clone(),
        direction: Direction::In,
        qos: Qos::ExactlyOnce,
    }
}

/// As much of the desired links of one broker as these strands allow. A link without any line of the user's is not
/// worth a connection.
pub(crate) fn reduced(desired: &[Arc<Link>], allowed: &Strands) -> Vec<Arc<Link>> {
    let mut reduced = Vec::with_capacity(desired.len());
    for link in desired {
        let keep = |lines: &[Line], control: bool| -> Vec<Line> {
            let strand = |line: &Line| Strand {
                downstream: link.downstream.clone(),
                upstream: link.upstream.clone(),
                mode: link.mode,
                class: link.class.clone(),
                control,
                filter: line.filter.clone(),
                direction: line.direction,
                qos: line.qos,
            };
            lines
                .iter()
                .filter(|line| allowed.contains(&strand(line)))
                .cloned()
                .collect()
        };
        let (lines, control) = (keep(&link.lines, false), keep(&link.control, true));
        if lines.len() == link.lines.len() && control.len() == link.control.len() {
            reduced.push(Arc::clone(link));
        } else if !lines.is_empty() {
            reduced.push(Arc::new(Link {
                lines: lines.into(),
                control: control.into(),
                ..Link::clone(link)
            }));
        }
    }
    reduced
}

/// Links that carry these strands and nothing else, for judging.
pub(crate) fn links<'a>(strands: impl IntoIterator<Item = &'a Strand>) -> Vec<Link> {
    let mut by_identity: BTreeMap<Identity<'_>, (Vec<Line>, Vec<Line>)> = BTreeMap::new();
    for strand in strands {
        let (lines, control) = by_identity.entry(strand.identity()).or_default();
        let list = if strand.control { control } else { lines };
        list.push(Line {
            filter: strand.filter.clone(),
            direction: strand.direction,
            qos: strand.qos,
        });
    }
    by_identity
        .into_iter()
        .map(|((downstream, upstream, mode, class), (lines, control))| Link {
            downstream: downstream.clone(),
            upstream: upstream.clone(),
            mode,
            class: class.clone(),
            lines: lines.into(),
            control: control.into(),
        })
        .collect()
}
