//! Ends the subscriptions of a session that another client left, by standing in for that client for a moment.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::Address;
use crate::session::{Incoming, Options, Session, SessionError, in_time};

/// How long the broker may take for anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many requests are under way at once: fewer than the client library has packet numbers.
const AT_ONCE: usize = 32;

/// A session to be cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftSession {
    /// Where the broker is.
    pub address: Address,
    /// User name and password, if it asks for them.
    pub credentials: Option<(String, String)>,
    /// The client id. A live client that has it is kicked.
    pub client_id: String,
    /// What it may be subscribed to.
    pub filters: Vec<String>,
    /// End the session itself, with all that waits in it. Otherwise what waits stays: no message is acknowledged.
    pub discard: bool,
}

/// Ends its subscriptions. When this returns, the broker has taken all of them; a session that is not there is not
/// made. Messages at QoS 0 that wait in it are lost even if it is kept: nobody acknowledges those.
pub async fn end_subscriptions<S: Session>(left: &LeftSession) -> Result<(), SessionError> {
    let mut options = Options::new(left.address.clone(), left.client_id.clone());
    options.credentials.clone_from(&left.credentials);
    options.connect_timeout = PATIENCE;
    options.keep_alive = PATIENCE;
    options.clean_session = left.discard;
    options.manual_acks = true;
    let mut session = S::connect(options.clone()).await?;
    if left.discard {
        return in_time(PATIENCE, session.disconnect()).await;
    }
    if !session.resumed() {
        // There was none, and connecting made one.
        in_time(PATIENCE, session.disconnect()).await?;
        options.clean_session = true;
        return in_time(PATIENCE, S::connect(options).await?.disconnect()).await;
    }
    for filters in left.filters.chunks(AT_ONCE) {
        let mut open = BTreeSet::new();
        for filter in filters {
            open.insert(session.start_unsubscribe(filter)?);
        }
        while !open.is_empty() {
            if let Incoming::Unsubscribed(ticket) = in_time(PATIENCE, session.next()).await? {
                open.remove(&ticket);
            }
        }
    }
    in_time(PATIENCE, session.disconnect()).await
}
