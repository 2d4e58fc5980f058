//! Ends the subscriptions of a session that another client left, by standing in for that client for a moment.

use crate::Address;
use crate::dialect::{Dialect, Request};
use crate::session::SessionError;
use crate::stand_in::{Role, StandIn};

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
    let role = Role {
        address: &left.address,
        credentials: left.credentials.as_ref(),
        client_id: &left.client_id,
    };
    let connect = |clean| StandIn::connect(role, Dialect::V3_1_1, clean);
    let mut stand_in = connect(left.discard).await?;
    if left.discard {
        return stand_in.leave().await;
    }
    if !stand_in.resumed {
        // There was none, and connecting made one.
        stand_in.leave().await?;
        return connect(true).await?.leave().await;
    }
    let requests = left.filters.chunks(1);
    let requests: Vec<Request> = requests
        .map(|filters| Request::Unsubscribe(filters.to_vec()))
        .collect();
    stand_in.ask(&requests).await?;
    stand_in.leave().await
}
