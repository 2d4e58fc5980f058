//! What a store tells of sessions and retained messages, and the JSON shape of it. Knows no files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skein_api::name::Qos;
use skein_mosquitto::link::CLIENT_ID_PREFIX;

use crate::link::LinkSession;

/// Which kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// One file, written as a whole (`persistence true`).
    Classic,
    /// The database of `mosquitto_persist_sqlite.so`.
    Sqlite,
}

/// The sessions that a broker keeps.
///
/// As JSON (what is absent has no field, but for `expiry.after`):
///
/// ```json
/// {"store": "sqlite", "newest": 1318284612345, "sessions": [{
///   "clientId": "valve-7", "username": "valves", "protocol": "5.0",
///   "expiry": {"after": 3600, "at": 1790000000},
///   "subscriptions": [{"filter": "farm/+/valve", "qos": 1, "noLocal": true, "retainAsPublished": true, "identifier": 3}],
///   "waiting": {"messages": 2, "bytes": 34, "oldest": 1318284612001},
///   "unreleased": 1
/// }]}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// The kind of store that it comes from, which says what may be missing.
    pub store: Kind,
    /// The number of the newest message that is kept for anybody, retained ones included; 0 if there is none.
    ///
    /// A broker numbers messages as they come, and a number that it gives is greater than all before:
    /// - 2.0 (2.0.11) counts. The store has the count, so it goes on after a restart; after a kill from the last save on, which
    ///   has no greater number in it. It begins anew with the store.
    /// - 2.1 (2.1.2) takes the time: nanoseconds since 2021 but for the last bits, and one more than the last number if the clock is
    ///   behind that. With a classic store it remembers the last one. With sqlite **it does not: after a restart with the clock set
    ///   back, numbers are smaller** than those of before, until the clock has caught up.
    ///
    /// Two things come to a session late with the number of when they came to the broker: a QoS 2 message that its publisher
    /// was slow to release (until then it is [`Session::unreleased`] with that), and a retained message that a new subscription
    /// brings.
    #[serde(default)]
    pub newest: u64,
    /// By client id.
    pub sessions: Vec<Session>,
}

impl Inventory {
    /// The session of a client.
    #[must_use]
    pub fn session(&self, client_id: &str) -> Option<&Session> {
        let found = self
            .sessions
            .binary_search_by(|session| session.client_id.as_str().cmp(client_id));
        found.ok().and_then(|index| self.sessions.get(index))
    }

    /// The sessions under Skein's own client ids, whoever they belong to now: bridges of this and of other brokers, and what
    /// an older life left.
    pub fn ours(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().filter(|session| session.is_ours())
    }
}

/// What is read of a store.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// By client id.
    pub(crate) by_client: BTreeMap<String, Session>,
    /// As [`Inventory::newest`].
    pub(crate) newest: u64,
}

impl Sessions {
    /// The one of a client; a new one if something of it comes before itself.
    pub(crate) fn named(&mut self, client_id: impl Into<String>) -> &mut Session {
        self.by_client
            .entry(client_id.into())
            .or_insert_with_key(|client_id| Session::new(client_id))
    }

    /// Notes the number of a message.
    pub(crate) fn number(&mut self, number: u64) {
        self.newest = self.newest.max(number);
    }

    /// What is to be done when all is read.
    pub(crate) fn completed(mut self) -> Self {
        self.by_client.values_mut().for_each(Session::complete);
        self
    }
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Whose.
    pub client_id: String,
    /// The user as which it connected; none if anonymously.
    ///
    /// 2.0 before 2.0.16 writes the user of the session before for one that has none. Where that is evident, none is given
    /// here; every other time it is not, and the broker itself believes it after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The protocol, where the store proves it, which it does for 5.0 only: by a finite expiry, a subscription identifier, a
    /// packet limit, or options that 3.1.1 has not. How retained messages were to be handled proves nothing: who opens a
    /// client's session for it says that, too. Who hears the broker's log knows more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// When the broker forgets it.
    pub expiry: Expiry,
    /// What it is subscribed to, by filter.
    pub subscriptions: Vec<Subscription>,
    /// What waits for it.
    #[serde(default)]
    pub waiting: Waiting,
    /// QoS 2 messages that it published and has not released: they are passed on when it does.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreleased: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Session {
    pub(crate) fn new(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            username: None,
            protocol: None,
            expiry: Expiry {
                after: Some(0),
                at: None,
            },
            subscriptions: Vec::new(),
            waiting: Waiting::default(),
            unreleased: 0,
        }
    }

    /// Whether its client id is one of Skein's.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.client_id.starts_with(CLIENT_ID_PREFIX)
    }

    /// Notes a subscription, and what it proves. The options are the byte of 5.0's SUBSCRIBE (section 3.8.3.1), its QoS apart.
    pub(crate) fn subscribe(&mut self, filter: String, qos: Qos, options: u8, identifier: u32) {
        let subscription = Subscription {
            filter,
            qos,
            no_local: options & NO_LOCAL != 0,
            retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
            identifier: Some(identifier).filter(|identifier| *identifier != 0),
        };
        // 3.1.1 has no options; the broker gives a bridge the first two, and always both.
        if subscription.identifier.is_some() || subscription.no_local != subscription.retain_as_published {
            self.protocol = Some(Protocol::V5_0);
        }
        self.subscriptions.push(subscription);
    }

    /// Orders the subscriptions, and notes what the expiry proves.
    fn complete(&mut self) {
        self.subscriptions
            .sort_by(|left, right| left.filter.cmp(&right.filter));
        // A session of 3.1.1 outlives its connection for ever, or for as long as the broker's own setting says, which is no
        // interval of the client's.
        if self.expiry.after.is_some_and(|seconds| seconds > 0) {
            self.protocol = Some(Protocol::V5_0);
        }
    }
}

const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// 3.1.1, or 3.1.
    #[serde(rename = "3.1.1")]
    V3_1_1,
    /// 5.0.
    #[serde(rename = "5.0")]
    V5_0,
}

/// When a session ends after its connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expiry {
    /// Seconds after the connection ended; none: never.
    pub after: Option<u32>,
    /// In seconds since 1970, if the broker has set the time: with sqlite, it was not connected then. A classic store of
    /// 2.0.16 and later has it for those that were connected, too, counted from the save.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

impl Expiry {
    /// As stores write it: all ones is never.
    pub(crate) fn stored(interval: u32, at: i64) -> Self {
        Self {
            after: Some(interval).filter(|interval| *interval != u32::MAX),
            at: stored_time(at),
        }
    }
}

/// A time as stores write it, in seconds since 1970: 0 is none.
pub(crate) fn stored_time(at: i64) -> Option<u64> {
    u64::try_from(at).ok().filter(|at| *at > 0)
}

/// One subscription. How retained messages are to be handled at the time of subscribing is left out: that time is past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// The filter as the client gave it, behind the listener's mount point if it has one; may be shared (`$share/GROUP/…`).
    pub filter: String,
    /// The quality of service that was granted.
    pub qos: Qos,
    /// What the client publishes itself does not come back to it. Bridges have it, in 3.1.1 too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_local: bool,
    /// Messages keep their retain flag. Bridges have it, in 3.1.1 too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retain_as_published: bool,
    /// The identifier that the client wants to see with each message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<u32>,
}

/// What waits for a client: queued, or on the way and not acknowledged. It may hold messages that have expired since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// How many.
    pub messages: u64,
    /// Of their payloads.
    pub bytes: u64,
    /// The number of the oldest of them; see [`Inventory::newest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
}

impl Waiting {
    /// Counts one more.
    pub(crate) fn add(&mut self, number: u64, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
        self.oldest = Some(self.oldest.map_or(number, |oldest| oldest.min(number)));
    }
}

/// A retained message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// Its topic.
    ///
    /// A topic that is a number (`42`, `007`, `1e3`: a single level) is stored by 2.1's sqlite plugin as that number, and comes
    /// back as one (`7`, `1000`), from here as from the broker after a restart.
    pub topic: String,
    /// As [`Inventory::newest`] counts: of two values of a topic at one broker, the later one has the greater number.
    pub number: u64,
    /// The client id under which it came: that of its publisher, or of the bridge's end here if it came over a bridge. None for
    /// what the broker says itself.
    ///
    /// What a broker has of a value after a restart or a kill is this, too. A client id that is a number is stored by 2.1's sqlite
    /// plugin as that number, like a topic.
    pub source: Option<String>,
    /// With which it was published.
    pub qos: Qos,
    /// When it expires, in seconds since 1970; none: never. What has expired may still be here: 2.1 takes it out when
    /// somebody subscribes to it, 2.0 does not even save for its sake.
    pub expires_at: Option<u64>,
    /// Of the payload.
    pub bytes: u64,
    /// If it was asked for.
    pub payload: Option<Vec<u8>>,
}

impl Retained {
    /// Whether Skein put it there or it came over one of its links, and no client of this broker published it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.source
            .as_deref()
            .is_some_and(|source| source.starts_with(CLIENT_ID_PREFIX))
    }

    /// Over which link it came, if it did. At the broker that holds the connection the source is the link's local end, at the other
    /// one its client id.
    #[must_use]
    pub fn link(&self) -> Option<LinkSession> {
        LinkSession::of(self.source.as_deref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape in the documentation of [`Inventory`].
    #[test]
    fn the_shape_is_as_documented() {
        let text = include_str!("inventory.rs")
            .lines()
            .skip_while(|line| *line != "/// ```json")
            .skip(1)
            .take_while(|line| *line != "/// ```")
            .map(|line| line.trim_start_matches("///"))
            .collect::<String>();
        let documented: serde_json::Value = serde_json::from_str(&text).unwrap();
        let inventory: Inventory = serde_json::from_value(documented.clone()).unwrap();
        assert_eq!(serde_json::to_value(&inventory).unwrap(), documented);
        assert_eq!(inventory.sessions[0].subscriptions[0].qos, Qos::AtLeastOnce);

        let plain = Session::new("a");
        let shape = serde_json::json!({
            "clientId": "a", "expiry": {"after": 0}, "subscriptions": [], "waiting": {"messages": 0, "bytes": 0},
        });
        assert_eq!(serde_json::to_value(&plain).unwrap(), shape);
        assert_eq!(serde_json::from_value::<Session>(shape).unwrap(), plain);
    }

    #[test]
    fn our_own_sessions_are_told_apart() {
        let named = |client_id: &str| Session::new(client_id);
        let inventory = Inventory {
            store: Kind::Classic,
            newest: 0,
            sessions: vec![named("skein"), named("skein:a:b:pull:soil"), named("valve")],
        };
        let ours: Vec<&str> = inventory
            .ours()
            .map(|session| session.client_id.as_str())
            .collect();
        assert_eq!(ours, ["skein:a:b:pull:soil"]);
        assert_eq!(inventory.session("valve").unwrap().client_id, "valve");
        assert_eq!(inventory.session("v"), None);
    }
}
