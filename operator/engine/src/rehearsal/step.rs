//! One step: what a directive means for whoever runs the brokers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use skein_api::name::{BrokerName, ClassName};
use skein_mosquitto::config::{Config, PROBE};
use skein_mosquitto::transition::Action;
use skein_planner::diff::LinkChange;

#[cfg(doc)]
use crate::directive::Directive;
use crate::directive::Marker;
use crate::strand::LinkId;

/// Something that is done at a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Step {
    /// The session of a link that is to come is opened at its upstream broker, so that it collects: [`Directive::Seed`].
    OpenSession {
        /// Whose it is.
        #[serde(flatten)]
        link: LinkId,
        /// What it subscribes, as `farm/+/soil qos 1`.
        subscriptions: Vec<String>,
    },
    /// Messages sent behind the last ones that go the old ways are awaited: when they are there, everything older is.
    AwaitMarkers {
        /// Where they are awaited.
        broker: BrokerName,
        /// The class whose ways they go; null if it is not known.
        class: Option<ClassName>,
        /// Where they are published.
        from: Vec<BrokerName>,
    },
    /// A link that has changed has connected, and its session upstream is no longer subscribed to what went.
    AwaitLink {
        /// The broker that holds it.
        downstream: BrokerName,
        /// The broker that is connected to.
        upstream: BrokerName,
    },
    /// A broker gets a configuration: [`Directive::GiveConfig`].
    GiveConfiguration {
        /// Which.
        broker: BrokerName,
        /// The configuration's number.
        epoch: u64,
        /// The broker's version of Mosquitto.
        version: String,
        /// How it is loaded.
        loading: Loading,
        /// Why not with less disturbance: a sentence each.
        reasons: Vec<String>,
        /// The links it holds that come, go or change by it.
        links: Vec<LinkChange>,
    },
    /// The session that a link left upstream is ended, or its subscriptions are: [`Directive::EndSubscriptions`].
    EndSession {
        /// Whose it was.
        #[serde(flatten)]
        link: LinkId,
        /// It is ended with all that waits in it, and not only its subscriptions.
        discard: bool,
    },
    /// What waits in a session that no link resumes is passed on: [`Directive::Adopt`].
    PassOn {
        /// Whose it was.
        #[serde(flatten)]
        link: LinkId,
        /// To whom.
        to: BTreeSet<BrokerName>,
    },
    /// A broker keeps out the links of these, and of no others: [`Directive::Bar`].
    Bar {
        /// The upstream end.
        broker: BrokerName,
        /// The downstream ends.
        downstreams: BTreeSet<BrokerName>,
    },
    /// What a broker keeps of its clients is read: [`Directive::ReadSessions`].
    ReadSessions {
        /// Which broker.
        broker: BrokerName,
    },
    /// A client's session is opened where the client is going to come.
    OpenClientSession {
        /// Where.
        broker: BrokerName,
        /// Whose.
        client_id: String,
    },
    /// The session of a client that has gone elsewhere is ended.
    EndClientSession {
        /// Where.
        broker: BrokerName,
        /// Whose.
        client_id: String,
    },
    /// A broker forgets the retained values that nothing puts there any more: [`Directive::ForgetValues`].
    ForgetValues {
        /// Which.
        broker: BrokerName,
    },
    /// The retained values of clients go where the clients go: [`Directive::CopyValues`].
    CopyValues {
        /// Whose clients they are.
        home: BrokerName,
        /// Where they are.
        from: BrokerName,
        /// Where they go.
        to: BrokerName,
    },
    /// The client address of a broker leads to another, or back to itself.
    PointAddress {
        /// Whose address.
        broker: BrokerName,
        /// Where to.
        to: BrokerName,
    },
    /// A broker that is no longer declared is stopped.
    Stop {
        /// Which.
        broker: BrokerName,
    },
}

/// How a broker comes to use a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Loading {
    /// It behaves like that already.
    Nothing,
    /// It is told to read it (SIGHUP); its clients notice nothing.
    Reload,
    /// It is stopped and started; its clients connect anew.
    Restart,
    /// It has not run before.
    Start,
}

impl From<Action> for Loading {
    fn from(action: Action) -> Self {
        match action {
            Action::None => Self::Nothing,
            Action::Reload => Self::Reload,
            Action::Restart => Self::Restart,
        }
    }
}

/// The session of a link of ours, by its client id.
pub(super) fn link(client_id: &str) -> Option<LinkId> {
    LinkId::named(client_id)
}

/// What is awaited by these markers. `config` says what a broker runs or was given.
pub(super) fn awaited<'a, 'c>(
    markers: impl Iterator<Item = &'a Marker>,
    config: &dyn Fn(&BrokerName) -> Option<&'c Config>,
) -> Vec<Step> {
    let mut ways: BTreeMap<(&BrokerName, Option<ClassName>), BTreeSet<&BrokerName>> = BTreeMap::new();
    let mut links = BTreeSet::new();
    for marker in markers {
        if marker_holder(marker, config(&marker.broker)) {
            links.insert((&marker.broker, &marker.origin));
        } else {
            let class = class_of(&marker.topic);
            ways.entry((&marker.broker, class))
                .or_default()
                .insert(&marker.origin);
        }
    }
    let ways = ways
        .into_iter()
        .map(|((broker, class), from)| Step::AwaitMarkers {
            broker: broker.clone(),
            class,
            from: from.into_iter().cloned().collect(),
        });
    let links = links.into_iter().map(|(downstream, upstream)| Step::AwaitLink {
        downstream: downstream.clone(),
        upstream: upstream.clone(),
    });
    ways.chain(links).collect()
}

/// A connection of this configuration has it as its last line.
pub(super) fn marker_holder(marker: &Marker, config: Option<&Config>) -> bool {
    let mut held = config.into_iter().flat_map(|config| &config.connections);
    held.any(|held| held.marker(&marker.broker).as_ref() == Some(&marker.topic))
}

fn class_of(topic: &str) -> Option<ClassName> {
    let class = topic.strip_prefix(PROBE)?.split('/').next()?;
    ClassName::new(class).ok()
}
