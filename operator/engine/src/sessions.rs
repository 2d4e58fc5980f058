//! Sessions of clients, as brokers keep them: what is subscribed and whether something waits, and never a message.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skein_api::name::Qos;

/// What a broker keeps of its clients, and of links, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientSessions {
    /// The number of the newest message that the broker keeps for anybody: what comes later has a greater one. 0 if it keeps
    /// none.
    pub newest: u64,
    /// By client id.
    pub by_client: BTreeMap<String, ClientSession>,
    /// What the sessions of links are subscribed to, by the client id that the connection has here: those in use, and
    /// whatever an older life left.
    pub links: BTreeMap<String, BTreeSet<String>>,
}

/// The session of a client, which outlives its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientSession {
    /// As who the client connected; none if anonymously.
    pub username: Option<String>,
    /// Seconds after the connection's end when the broker forgets it; none: never.
    pub expiry: Option<u32>,
    /// By filter, which may be shared (`$share/GROUP/…`).
    pub subscriptions: BTreeMap<String, Subscription>,
    /// Messages that wait for it, or are on their way to it and not acknowledged.
    pub waiting: u64,
    /// The number of the oldest of them.
    pub oldest: Option<u64>,
}

impl ClientSession {
    /// Nothing comes to it, and nothing waits in it: at most exchanges are under way of what its client publishes.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.subscriptions.is_empty() && self.waiting == 0
    }
}

/// How a client subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// The quality of service that was granted.
    pub qos: Qos,
    /// What the client publishes does not come back to it.
    pub no_local: bool,
    /// Messages keep their retain flag.
    pub retain_as_published: bool,
    /// What the client wants to see with each message.
    pub identifier: Option<u32>,
}

impl ClientSessions {
    /// The same clients subscribe the same filters.
    pub(crate) fn subscribe_as(&self, other: &Self) -> bool {
        let mut both = self.by_client.iter().zip(&other.by_client);
        let same = self.by_client.len() == other.by_client.len();
        same && both.all(|((client, mine), (other, theirs))| {
            client == other && mine.subscriptions.keys().eq(theirs.subscriptions.keys())
        })
    }
}

impl ClientSession {
    /// Something waits that is not newer than this.
    #[must_use]
    pub fn awaits(&self, newest: u64) -> bool {
        self.oldest.is_some_and(|oldest| oldest <= newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_back() {
        let how = Subscription {
            qos: Qos::ExactlyOnce,
            no_local: true,
            retain_as_published: false,
            identifier: Some(3),
        };
        let valve = ClientSession {
            username: Some("valves".to_owned()),
            expiry: Some(60),
            subscriptions: [("$share/g/farm/#".to_owned(), how)].into(),
            waiting: 2,
            oldest: Some(4),
        };
        let sessions = ClientSessions {
            newest: 7,
            by_client: [
                ("valve".to_owned(), valve),
                ("idle".to_owned(), ClientSession::default()),
            ]
            .into(),
            links: [("skein:a:b:pull:soil".to_owned(), ["farm/#".to_owned()].into())].into(),
        };
        let text = serde_json::to_string(&sessions).unwrap();
        assert!(text.contains(r#""retainAsPublished":false"#), "{text}");
        assert_eq!(serde_json::from_str::<ClientSessions>(&text).unwrap(), sessions);
    }
}
