//! Opens a session that another client is going to resume, by standing in for that client for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::Address;
use crate::session::{Incoming, Options, Qos, Session, SessionError, in_time};

/// How long the broker may take for anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Filters per SUBSCRIBE packet, and packets under way at once: fewer than the client library has packet numbers.
const FILTERS: usize = 100;
const AT_ONCE: usize = 32;

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
pub async fn seed<S: Session>(seeded: &SeededSession) -> Result<(), SessionError> {
    let mut options = Options::new(seeded.address.clone(), seeded.client_id.clone());
    options.credentials.clone_from(&seeded.credentials);
    options.connect_timeout = PATIENCE;
    options.keep_alive = PATIENCE;
    options.clean_session = false;
    options.manual_acks = true;
    let mut session = S::connect(options).await?;
    let mut by_qos: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    for (filter, qos) in &seeded.subscriptions {
        by_qos.entry(*qos as u8).or_default().push(filter);
    }
    let packets: Vec<(Qos, &[&str])> = by_qos
        .iter()
        .flat_map(|(level, filters)| {
            let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
            let qos = qos.get(usize::from(*level)).copied().unwrap_or(Qos::ExactlyOnce);
            filters.chunks(FILTERS).map(move |filters| (qos, filters))
        })
        .collect();
    for packets in packets.chunks(AT_ONCE) {
        let mut open = BTreeSet::new();
        for (qos, filters) in packets {
            open.insert(session.start_subscribe(filters, *qos)?);
        }
        while !open.is_empty() {
            if let Incoming::Subscribed(ticket) = in_time(PATIENCE, session.next()).await? {
                open.remove(&ticket);
            }
        }
    }
    in_time(PATIENCE, session.disconnect()).await
}
