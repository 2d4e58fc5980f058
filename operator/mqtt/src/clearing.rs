//! Ends the subscriptions of a session that another client left, by standing in for that client for a moment.

use rumqttc::{Packet, Unsubscribe};

use crate::Address;
use crate::session::SessionError;
use crate::stand_in::{AT_ONCE, StandIn};

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
///
/// # Errors
/// If the broker cannot be reached or does not answer.
pub async fn end_subscriptions(left: &LeftSession) -> Result<(), SessionError> {
    let connect = |clean| StandIn::connect(&left.address, left.credentials.as_ref(), &left.client_id, clean);
    let mut stand_in = connect(left.discard).await?;
    if left.discard {
        return stand_in.leave().await;
    }
    if !stand_in.resumed {
        // There was none, and connecting made one.
        stand_in.leave().await?;
        return connect(true).await?.leave().await;
    }
    for filters in left.filters.chunks(AT_ONCE) {
        let requests = filters
            .iter()
            .map(|filter| Packet::Unsubscribe(Unsubscribe::new(filter)));
        stand_in.ask(requests.collect()).await?;
    }
    stand_in.leave().await
}
