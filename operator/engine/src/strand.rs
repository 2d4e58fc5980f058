//! Strands: the single `topic` lines of links, each with its two ends. What the engine adds and removes is strands, so
//! that a link that carries many topics is not withheld for the sake of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use skein_api::name::{BrokerName, ClassName, Qos};
use skein_filters::TopicFilter;
use skein_mosquitto::config::{RESERVED, identity_of};
use skein_mosquitto::link::{Direction, Identity, Line, Link, Mode, client_id};

use crate::strands::Strands;

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

/// Which link, whatever it carries: [`Identity`], to be kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LinkId {
    /// The broker that holds the connection.
    pub downstream: BrokerName,
    /// The broker that is connected to.
    pub upstream: BrokerName,
    /// Whether data only comes in, and by which session.
    pub mode: Mode,
    /// The overlap class it serves.
    pub class: ClassName,
}

impl LinkId {
    pub(crate) fn of((downstream, upstream, mode, class): Identity<'_>) -> Self {
        Self {
            downstream: downstream.clone(),
            upstream: upstream.clone(),
            mode,
            class: class.clone(),
        }
    }

    /// The link whose session this is; none, if it is not one of ours.
    pub(crate) fn named(client_id: &str) -> Option<Self> {
        let (downstream, upstream, mode, class) = identity_of(client_id)?;
        Some(Self {
            downstream,
            upstream,
            mode,
            class,
        })
    }

    fn identity(&self) -> Identity<'_> {
        (&self.downstream, &self.upstream, self.mode, &self.class)
    }

    /// That of its session upstream.
    pub(crate) fn client_id(&self) -> String {
        client_id(self.identity())
    }
}

impl Strand {
    /// That of its link.
    pub(crate) fn identity(&self) -> Identity<'_> {
        (&self.downstream, &self.upstream, self.mode, &self.class)
    }

    pub(crate) fn link(&self) -> LinkId {
        LinkId::of(self.identity())
    }

    /// Every line of a link.
    pub(crate) fn of(link: &Link) -> impl Iterator<Item = Self> {
        let user = link.lines.iter().map(|line| (line, false));
        let lines = user.chain(link.control.iter().map(|line| (line, true)));
        lines.map(|(line, control)| Self {
            downstream: link.downstream.clone(),
            upstream: link.upstream.clone(),
            mode: link.mode,
            class: link.class.clone(),
            control,
            filter: line.filter.clone(),
            direction: line.direction,
            qos: line.qos,
        })
    }
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

/// The links that carry these strands, taken from those there are where one is just right. A link without any line of the
/// user's is not worth a connection.
pub(crate) fn assembled(target: &Strands, desired: &[Arc<Link>], newest: &[Arc<Link>]) -> Vec<Arc<Link>> {
    let mut links = links(target.iter());
    links.sort_by(|one, other| one.identity().cmp(&other.identity()));
    links.retain(|link| !link.lines.is_empty());
    let mut there: BTreeMap<Identity<'_>, [Option<&Arc<Link>>; 2]> = BTreeMap::new();
    for (place, known) in [desired, newest].into_iter().enumerate() {
        for link in known {
            there.entry(link.identity()).or_default()[place] = Some(link);
        }
    }
    links
        .into_iter()
        .map(|link| {
            let known = there.get(&link.identity()).into_iter().flatten().flatten();
            let same = known.copied().find(|known| ***known == link);
            same.cloned().unwrap_or_else(|| Arc::new(link))
        })
        .collect()
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
