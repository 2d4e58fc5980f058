//! Opens a session that another client is going to resume, by standing in for that client for a moment.

use rumqttc::{Packet, Subscribe, SubscribeFilter};

use crate::Address;
use crate::rumqtt::level;
use crate::session::{FILTERS, Qos, SessionError};
use crate::stand_in::{AT_ONCE, StandIn};

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
/// # Errors
/// If the broker cannot be reached, does not answer, or rejects a subscription.
pub async fn seed(seeded: &SeededSession) -> Result<(), SessionError> {
    let credentials = seeded.credentials.as_ref();
    let mut stand_in = StandIn::connect(&seeded.address, credentials, &seeded.client_id, false).await?;
    let filters: Vec<SubscribeFilter> = seeded
        .subscriptions
        .iter()
        .map(|(filter, qos)| SubscribeFilter::new(filter.clone(), level(*qos)))
        .collect();
    let requests: Vec<Packet> = filters
        .chunks(FILTERS)
        .map(|filters| Packet::Subscribe(Subscribe::new_many(filters.to_vec())))
        .collect();
    for requests in requests.chunks(AT_ONCE) {
        stand_in.ask(requests.to_vec()).await?;
    }
    stand_in.leave().await
}
