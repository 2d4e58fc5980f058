//! Opens a session that another client is going to resume, by standing in for that client for a moment: a bridge's, or that
//! of any client.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::Address;
use crate::dialect::{Dialect, Request, Wanted};
use crate::session::{FILTERS, Qos, SessionError};
use crate::stand_in::{Role, StandIn};

/// A session to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededSession {
    /// Where the broker is.
    pub address: Address,
    /// User name and password, if it asks for them.
    pub credentials: Option<(String, String)>,
    /// The client id. A live client that has it is kicked.
    pub client_id: String,
    /// What to subscribe.
    pub subscriptions: Vec<(String, Qos)>,
}

/// Opens it, or adds to one that is there. When this returns, the broker has taken every subscription, and everything that
/// is published from now on gathers in the session. No message is acknowledged: what waits stays, but for messages at QoS 0,
/// which nobody acknowledges.
///
/// It is subscribed as the bridge itself would be, but for what is retained now: the bridge gets that by its own subscription, when it
/// comes, and a value that was replaced or cleared by then must not come once more. What gathers has its retain flag: else a
/// value that was cleared meanwhile would stay where the bridge is, for good. This takes 5.0; see [`open_client_session`].
///
/// # Errors
/// If the broker cannot be reached, does not answer, or rejects a subscription.
pub async fn seed(seeded: &SeededSession) -> Result<(), SessionError> {
    let role = Role {
        address: &seeded.address,
        credentials: seeded.credentials.as_ref(),
        client_id: &seeded.client_id,
    };
    let mut stand_in = StandIn::connect(role, Dialect::V5 { expiry: u32::MAX }, false).await?;
    let wanted = seeded.subscriptions.iter().map(|(filter, qos)| Wanted {
        filter: filter.clone(),
        qos: *qos,
        no_local: true,
        retain_as_published: true,
    });
    let wanted: Vec<Wanted> = wanted.collect();
    stand_in.ask(&subscribing(None, &wanted)).await?;
    stand_in.leave().await?;
    leave_as_of_3_1_1(role).await
}

/// Has the broker take a session for one that a client of 3.1.1 left.
async fn leave_as_of_3_1_1(role: Role<'_>) -> Result<(), SessionError> {
    let stand_in = StandIn::connect(role, Dialect::V3_1_1, false).await?;
    let resumed = stand_in.resumed;
    stand_in.leave().await?;
    if resumed {
        Ok(())
    } else {
        Err(SessionError::Closed(
            "the session was ended by somebody else".to_owned(),
        ))
    }
}

/// A client's session to be opened where the client is going to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSession {
    /// Where the broker is.
    pub address: Address,
    /// User name and password of the client; none: anonymously. While nobody is connected, the broker judges by the rights of
    /// who was last what it keeps for the session.
    pub credentials: Option<(String, String)>,
    /// The client id. A live client that has it is kicked.
    pub client_id: String,
    /// Seconds after its connection's end when the broker forgets it; none: never.
    pub expiry: Option<u32>,
    /// What to subscribe.
    pub subscriptions: Vec<ClientSubscription>,
    /// What it may be subscribed to and is to be no more.
    pub unwanted: Vec<String>,
}

/// A subscription of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSubscription {
    /// May be shared (`$share/GROUP/…`).
    pub filter: String,
    /// With which messages come at most.
    pub qos: Qos,
    /// What the client publishes does not come back to it.
    pub no_local: bool,
    /// Messages keep their retain flag.
    pub retain_as_published: bool,
    /// What the client sees with each message.
    pub identifier: Option<u32>,
}

/// Opens it, or changes one that is there: as [`seed`], and no retained message is sent for the subscriptions.
///
/// This takes 5.0. But of a session that a client of 5.0 left, Mosquitto sends a message once for each subscription that
/// matches it, and of one of 3.1.1 only once (`allow_duplicate_messages false`). So where nothing tells that the client
/// speaks 5.0, the session is left by a second connection, over 3.1.1. (A client of 5.0 may get such a message once, too, says 3.3.4
/// of 5.0.)
///
/// # Errors
/// If the broker cannot be reached, does not answer, or rejects a subscription; the others may be there then.
pub async fn open_client_session(session: &ClientSession) -> Result<(), SessionError> {
    let role = Role {
        address: &session.address,
        credentials: session.credentials.as_ref(),
        client_id: &session.client_id,
    };
    let dialect = Dialect::V5 {
        expiry: session.expiry.unwrap_or(u32::MAX),
    };
    let mut stand_in = StandIn::connect(role, dialect, false).await?;
    // An identifier goes with a packet.
    let mut by_identifier: BTreeMap<Option<u32>, Vec<Wanted>> = BTreeMap::new();
    for subscription in &session.subscriptions {
        let wanted = by_identifier.entry(subscription.identifier).or_default();
        wanted.push(Wanted {
            filter: subscription.filter.clone(),
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
        });
    }
    for (identifier, wanted) in by_identifier {
        stand_in.ask(&subscribing(identifier, &wanted)).await?;
    }
    // Afterwards: between an old filter and a new one there must be no gap.
    if stand_in.resumed {
        let requests = session.unwanted.chunks(FILTERS);
        let requests: Vec<Request> = requests
            .map(|filters| Request::Unsubscribe(filters.to_vec()))
            .collect();
        stand_in.ask(&requests).await?;
    }
    stand_in.leave().await?;
    if session.is_of_5() {
        return Ok(());
    }
    leave_as_of_3_1_1(role).await
}

impl ClientSession {
    /// Only 5.0 has such a one.
    fn is_of_5(&self) -> bool {
        let has_options = |each: &ClientSubscription| {
            each.no_local || each.retain_as_published || each.identifier.is_some()
        };
        self.expiry.is_some() || self.subscriptions.iter().any(has_options)
    }
}

fn subscribing(identifier: Option<u32>, wanted: &[Wanted]) -> Vec<Request> {
    wanted
        .chunks(FILTERS)
        .map(|wanted| Request::Subscribe {
            wanted: wanted.to_vec(),
            identifier,
        })
        .collect()
}
