//! Clients whose address leads elsewhere now, sent off where they are: a Service leads new connections only, and those that are
//! there stay until somebody ends them.
//!
//! Nodes follow a change of a slice within a second or so, each in its own time, and nobody tells when. A client that is back
//! sooner comes to where it was, so it is sent off more than once. A broker cannot tell its clients by the Service that they came
//! through: where it serves those of another and they go home, its own are sent off with them, and are back at once.

use std::time::Duration;

use skein_api::name::BrokerName;
use skein_mqtt::RumqttSession;
use skein_mqtt::administration::{Administrator, kick_nameless};

use super::Fleet;

/// How long after a change of the slice clients of a broker are sent off that has none to keep.
const FROM_HOME: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(1_500),
    Duration::from_secs(4),
];
/// And of one that has: once, when all nodes are likely to have followed.
const FROM_SUBSTITUTE: [Duration; 1] = [Duration::from_millis(1_500)];
/// How long a broker may take to do it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long nodes may take to follow a change of a slice, and clients to be sent off that came to where it led before.
pub(super) const FOLLOWING: Duration = Duration::from_secs(6);

impl Fleet {
    /// An address leads elsewhere, or is about to. Until all nodes have followed, clients may publish where it led before: links
    /// that carry what is published there may be let go only after that, so the markers that say so are sent only then.
    pub(super) fn hold_markers(&mut self, before: &BrokerName, now: &BrokerName) {
        if before != now && self.runs(before) {
            let until = tokio::time::Instant::now() + FOLLOWING;
            self.conductor.envoys.hold(until);
        }
    }

    /// A slice was written: whoever served before has connections that are to go, if it is another and still runs.
    pub(super) fn send_off(&mut self, broker: &BrokerName) {
        let now = self.serving.get(broker).unwrap_or(broker).clone();
        let before = self.led.insert(broker.clone(), now.clone());
        let Some(before) = before.filter(|before| *before != now) else {
            return;
        };
        self.hold_markers(&before, &now);
        let Some(address) = self.conductor.peer(&before).filter(|_| self.runs(&before)) else {
            return;
        };
        let at = Administrator {
            address,
            credentials: self.users.administrator(&before),
            client_id: format!("skein:kick:{before}:{}", self.instance),
            patience: PATIENCE,
        };
        let pauses: &[Duration] = if before == *broker {
            &FROM_HOME
        } else {
            &FROM_SUBSTITUTE
        };
        let begin = tokio::time::Instant::now();
        tokio::spawn(async move {
            for pause in pauses {
                tokio::time::sleep_until(begin + *pause).await;
                // One that does not answer has no clients either, or will be declared down.
                let _ = kick_nameless::<RumqttSession>(&at).await;
            }
        });
    }
}
