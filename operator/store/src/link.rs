//! Whose a session with one of Skein's client ids is: the audit of bridges' sessions begins with this. Knows names only.

use skein_api::name::{BrokerName, ClassName};
use skein_mosquitto::link::{CLIENT_ID_PREFIX, Mode};

use crate::inventory::Session;

/// What a client id of a link says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkSession {
    /// The broker that holds the connection.
    pub downstream: BrokerName,
    /// The broker that it leads to.
    pub upstream: BrokerName,
    /// Whether it only pulls.
    pub mode: Mode,
    /// The overlap class that it serves.
    pub class: ClassName,
    /// At which end the session is.
    pub end: End,
}

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// At the broker that the connection leads to: what the downstream broker pulls waits there.
    Upstream,
    /// At the broker that holds the connection: what it pushes waits there.
    Downstream,
}

impl Session {
    /// Whose it is, if it is a link's.
    #[must_use]
    pub fn link(&self) -> Option<LinkSession> {
        LinkSession::of(&self.client_id)
    }
}

impl LinkSession {
    /// Reads a client id such as `skein:a:b:pull:soil`, or `skein:a:b:pull:soil:local` at the end that holds the connection;
    /// none if it is no link's.
    #[must_use]
    pub fn of(client_id: &str) -> Option<Self> {
        let mut parts = client_id.strip_prefix(CLIENT_ID_PREFIX)?.split(':');
        let downstream = BrokerName::new(parts.next()?).ok()?;
        let upstream = BrokerName::new(parts.next()?).ok()?;
        let mode = parts.next()?.parse().ok()?;
        let class = ClassName::new(parts.next()?).ok()?;
        let end = match parts.next() {
            None => End::Upstream,
            Some("local") => End::Downstream,
            Some(_) => return None,
        };
        parts.next().is_none().then_some(Self {
            downstream,
            upstream,
            mode,
            class,
            end,
        })
    }
}

#[cfg(test)]
mod tests {
    use skein_mosquitto::link::Link;

    use super::*;

    #[test]
    fn what_a_link_is_called_is_read_back() {
        for mode in Mode::ALL {
            let link = Link {
                downstream: BrokerName::new("a").unwrap(),
                upstream: BrokerName::new("b-2").unwrap(),
                mode,
                class: ClassName::new("soil").unwrap(),
                lines: [].into(),
                control: [].into(),
            };
            let upstream = LinkSession {
                downstream: link.downstream.clone(),
                upstream: link.upstream.clone(),
                mode,
                class: link.class.clone(),
                end: End::Upstream,
            };
            assert_eq!(LinkSession::of(&link.client_id()).as_ref(), Some(&upstream));
            let downstream = LinkSession {
                end: End::Downstream,
                ..upstream
            };
            assert_eq!(
                LinkSession::of(&format!("{}:local", link.client_id())),
                Some(downstream)
            );
        }
    }

    #[test]
    fn other_client_ids_are_no_links() {
        for client_id in [
            "a:b:pull:soil",
            "skein:a:b:pull",
            "skein:a:b:push:soil",
            "skein:a:b:pull:soil:remote",
            "skein:a:b:pull:soil:local:x",
            "skein:A:b:pull:soil",
            "skein:",
        ] {
            assert_eq!(LinkSession::of(client_id), None, "{client_id}");
        }
    }
}
