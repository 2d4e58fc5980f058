//! What the engine wants done, and what it says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skein_api::name::{BrokerName, Qos, TopicName};
use skein_filters::TopicFilter;
use skein_mosquitto::link::Link;

use crate::collisions::Collision;
use crate::event::Epoch;
#[cfg(doc)]
use crate::event::Event;
use crate::retained::Copying;
use crate::sessions::ClientSession;

/// Something an adapter must do. Each is idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Hand a broker's supervisor this configuration.
    GiveConfig {
        /// To which broker.
        broker: BrokerName,
        /// Its number.
        epoch: Epoch,
        /// The text of `mosquitto.conf`.
        config: String,
        /// The links the broker holds in it, to be kept beside the text.
        links: Vec<Arc<Link>>,
    },
    /// Let the client address of a broker lead to another (or back to itself).
    PointAddress {
        /// Whose address.
        broker: BrokerName,
        /// Which broker serves it from now on.
        to: BrokerName,
    },
    /// Publish a message on each of these topics, at QoS 2, now and again, and tell when it comes through
    /// ([`Event::MarkerSeen`]): these and no others, until told otherwise. What comes through must have been published
    /// after this was said.
    AwaitMarkers(Vec<Marker>),
    /// Open the session of a link that is to come, so that it collects: connect with its client id and without a clean
    /// session, subscribe, see that every subscription is acknowledged, and leave, acknowledging no message. Answer with
    /// [`Event::Seeded`].
    Seed {
        /// The broker that is going to hold the connection.
        broker: BrokerName,
        /// Where the session is to be.
        upstream: BrokerName,
        /// Its client id.
        client_id: String,
        /// What to subscribe.
        subscriptions: Vec<(TopicFilter, Qos)>,
    },
    /// End the subscriptions of a session that no connection uses any more: connect with its client id, unsubscribe and
    /// leave, acknowledging no message, so that what waits in it stays. Answer with [`Event::SubscriptionsEnded`].
    EndSubscriptions {
        /// The broker that held the connection.
        broker: BrokerName,
        /// Where the session is.
        upstream: BrokerName,
        /// The session's client id.
        client_id: String,
        /// What it may be subscribed to.
        filters: Vec<TopicFilter>,
        /// Nobody will ever use the session again: end it with all that waits in it.
        discard: bool,
    },
    /// Pass on what waits in a session that no connection uses any more: connect with its client id, end its subscriptions,
    /// publish each message that comes at all of `to`, with its quality of service and not retained, acknowledge it once they
    /// have, and leave when nothing waits any more. A release that comes of a message that did not is left unanswered:
    /// whoever has that message is to hear it. Answer with [`Event::Adopted`].
    Adopt {
        /// The broker that held the connection.
        broker: BrokerName,
        /// Where the session is.
        upstream: BrokerName,
        /// The session's client id.
        client_id: String,
        /// What it may be subscribed to.
        filters: Vec<TopicFilter>,
        /// Who stands where the holder stood.
        to: BTreeSet<BrokerName>,
    },
    /// Keep out the links that these brokers hold to this one, of whatever class, and no others: end those that are there, let
    /// none in, and have the broker start that way whatever becomes of it and of who executes this. Their sessions go on
    /// collecting. Answer with [`Event::Barred`] as often as the process that runs has come to do so; who runs brokers that ask
    /// nobody for a name cannot, and never answers.
    Bar {
        /// The upstream end.
        broker: BrokerName,
        /// The downstream ends: all that are to be barred there.
        downstreams: BTreeSet<BrokerName>,
    },
    /// Read anew what a broker keeps of its clients, and answer with [`Event::SessionsRead`] of this number.
    ReadSessions {
        /// Which broker.
        broker: BrokerName,
        /// The number of the answer.
        serial: u64,
    },
    /// Open the session of a client that is to come, so that it collects: connect with its client id and without a clean
    /// session, subscribe what it subscribes (and have no retained message sent for that), see that every subscription is
    /// acknowledged, and leave, acknowledging no message. Answer with [`Event::ClientSessionOpened`].
    OpenClientSession {
        /// Where the client is going to come.
        broker: BrokerName,
        /// Its client id.
        client_id: String,
        /// What its session is to be.
        session: Arc<ClientSession>,
    },
    /// End the session of a client that has gone elsewhere, with all that waits in it. Answer with
    /// [`Event::ClientSessionEnded`].
    EndClientSession {
        /// Where the client was.
        broker: BrokerName,
        /// Its client id.
        client_id: String,
    },
    /// Have a broker forget the retained values that nothing puts there any more: see [`forgettable`]. Answer with
    /// [`Event::ValuesForgotten`], and not before whoever might still hear of it does not any more.
    ///
    /// [`forgettable`]: crate::retained::forgettable
    ForgetValues {
        /// Which broker.
        broker: BrokerName,
        /// What links carry to it or from it, and what the clients of others publish that it serves.
        carried: Vec<TopicFilter>,
        /// What its own clients publish, as declared.
        published: Vec<TopicFilter>,
        /// The number of the answer.
        serial: u64,
    },
    /// Have the retained values of clients go where they go: see [`copy`]. Answer with [`Event::ValuesCopied`].
    ///
    /// [`copy`]: crate::retained::copy
    CopyValues {
        /// Whose clients they are.
        home: BrokerName,
        /// Where they are.
        from: BrokerName,
        /// Where they go.
        to: BrokerName,
        /// Which of the values there.
        copying: Arc<Copying>,
        /// The number of the answer.
        serial: u64,
    },
    /// Keep these records, and no others of their kind, so that a later life finds them ([`Restored::sessions`]); done
    /// before what follows.
    ///
    /// [`Restored::sessions`]: crate::event::Restored::sessions
    RecordSessions(Vec<OpenSession>),
    /// Keep this record.
    RecordMigration(Migration),
    /// A broker is no longer declared: stop it and its forwarder.
    Retire {
        /// Which.
        broker: BrokerName,
    },
}

/// A message whose coming proves something of all that came before it: see [`Directive::AwaitMarkers`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Marker {
    /// Where the message is awaited.
    pub broker: BrokerName,
    /// Where it is published.
    pub origin: BrokerName,
    /// The topic, which no other marker has that is awaited there.
    pub topic: String,
}

/// The record of a session that is open upstream, or is about to be, and that no configuration tells of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenSession {
    /// The broker that is going to hold the connection.
    pub broker: BrokerName,
    /// The session's client id.
    pub client_id: String,
    /// The filters that it may be subscribed to.
    pub filters: Vec<String>,
}

/// The record of one move of a broker's clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Migration {
    /// Its name: broker and a number.
    pub name: String,
    /// The broker whose clients are moved.
    pub broker: BrokerName,
    /// Its substitute; `None` if there is none (it is only routed around).
    pub to: Option<BrokerName>,
    /// Why they are.
    #[serde(default)]
    pub reason: Reason,
    /// How far it is.
    pub phase: MigrationPhase,
    /// Why it was begun.
    pub evidence: Vec<String>,
    /// Where sessions were opened for its clients that are not ended yet, and for whom.
    #[serde(default)]
    pub moved: BTreeMap<BrokerName, BTreeSet<String>>,
    /// The clients whose sessions could not be, and why.
    #[serde(default)]
    pub not_moved: BTreeMap<String, String>,
    /// How many messages were passed on that waited elsewhere for the broker's links.
    #[serde(default)]
    pub adopted: u64,
    /// The retained values of its clients were copied when they left.
    #[serde(default)]
    pub copied: bool,
    /// The clients for whom messages wait where they are, which must be got before the others can go on; and how many.
    #[serde(default)]
    pub waiting: BTreeMap<String, u64>,
}

impl Migration {
    /// One that begins.
    #[must_use]
    pub fn new(name: String, broker: BrokerName) -> Self {
        Self {
            name,
            broker,
            to: None,
            reason: Reason::default(),
            phase: MigrationPhase::Detected,
            evidence: Vec::new(),
            moved: BTreeMap::new(),
            not_moved: BTreeMap::new(),
            adopted: 0,
            copied: false,
            waiting: BTreeMap::new(),
        }
    }
}

/// Why clients are moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Their broker was declared down.
    #[default]
    Failure,
    /// A person wants their broker empty.
    Drain,
}

/// Phases of a migration. The engine records those in which it waits for somebody or something has been done; barring and
/// seeding go with the switch of the links, and have names here for who writes a migration down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MigrationPhase {
    /// It waits for approval (policy Manual, or clients that would get each other's messages).
    Pending,
    /// The broker was declared down.
    Detected,
    /// Its links are barred.
    Fenced,
    /// Sessions wait at the substitute.
    Seeded,
    /// Its client address leads to the substitute.
    Retargeted,
    /// The substitute took over its upstream sessions.
    Adopted,
    /// Its clients get what waits for them where they are.
    Draining,
    /// Done: the substitute serves.
    Completed,
    /// The broker is back and being taken back.
    FailingBack,
    /// It serves itself again.
    FailedBack,
    /// Ended before anything moved.
    Aborted,
    /// It could not be done.
    Failed,
}

impl MigrationPhase {
    /// All there are, in order.
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::Detected,
        Self::Fenced,
        Self::Seeded,
        Self::Retargeted,
        Self::Adopted,
        Self::Draining,
        Self::Completed,
        Self::FailingBack,
        Self::FailedBack,
        Self::Aborted,
        Self::Failed,
    ];

    /// Whatever comes of that broker later is another migration.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::FailedBack | Self::Aborted)
    }

    /// The broker is out, or about to be: neither over nor on the way back.
    #[must_use]
    pub fn is_active(self) -> bool {
        !self.is_over() && self != Self::FailingBack
    }

    /// Somebody else serves the broker's clients.
    #[must_use]
    pub fn has_moved(self) -> bool {
        matches!(self, Self::Retargeted | Self::Adopted | Self::Completed)
    }
}

/// The fleet as the engine sees it; adapters write it down for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// One per declared broker, by name.
    pub brokers: Vec<BrokerStatus>,
    /// One per declared producer and consumer of a topic.
    pub paths: Vec<PathStatus>,
    /// Migrations of this life and those restored, oldest first.
    pub migrations: Vec<Migration>,
    /// All that can be reached runs what the plan says, and links that are gone have left nothing behind: until something
    /// happens, nothing will be changed.
    pub settled: bool,
    /// What does not work and why, in sentences.
    pub problems: Vec<String>,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// Which.
    pub name: BrokerName,
    /// Its health.
    pub phase: BrokerPhase,
    /// `host:port` for clients.
    pub client_address: Option<String>,
    /// `host:port` for bridges and probes.
    pub peer_address: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// Mosquitto's version.
    pub version: Option<String>,
    /// Last heartbeat's round trip in milliseconds.
    pub heartbeat_ms: Option<f64>,
    /// Who serves its clients: itself, or its substitute; nobody while it is down and not replaced.
    pub served_by: Option<BrokerName>,
    /// The configuration last given.
    pub epoch_given: Option<Epoch>,
    /// The configuration in use.
    pub epoch_loaded: Option<Epoch>,
    /// Subscriptions of its clients, up to twenty, that overlap with those of clients of its substitute, planned or present,
    /// on topics that no Topic declares for both brokers.
    #[serde(default)]
    pub collisions: Vec<Collision>,
    /// How many such subscriptions there are.
    #[serde(default)]
    pub collision_count: usize,
}

/// A broker's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BrokerPhase {
    /// Nothing heard yet.
    Pending,
    /// It answers.
    Ready,
    /// Something is amiss; not enough to act.
    Suspect,
    /// Declared down: routed around, and replaced if the policy says so.
    Down,
    /// It answers again, and is not yet taken back.
    Returning,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStatus {
    /// The topic.
    pub topic: TopicName,
    /// Where it is published, as declared.
    pub producer: BrokerName,
    /// Where it is subscribed, as declared.
    pub consumer: BrokerName,
    /// Brokers passed, consumer first; empty if there is no way.
    pub path: Vec<BrokerName>,
    /// The last probe arrived.
    pub up: bool,
    /// How long the last probe took, in milliseconds.
    pub probe_ms: Option<f64>,
}

/// Milliseconds with fractions, for status.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
