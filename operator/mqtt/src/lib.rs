//! Heartbeats and path probes over MQTT.
//!
//! [`Watch`] holds one connection per broker and tells whether each answers and which paths pass messages.
//! [`seed`] opens the session of a bridge to come, [`open_client_session`] that of a client, [`end_subscriptions`] clears or ends one that was
//! left, [`adopt`] passes on what waits in one. [`put_retained`] gives a broker retained values, or has it forget some. [`administration`] bars users of a broker and lets them in again. [`carry`] tries whether
//! a message gets from one broker to another.
//! [`session`] is the seam under the others: one MQTT 3.1.1 connection as a trait, with `rumqttc` behind it. Knows names as
//! plain strings and addresses; knows no fleets, no plans, no processes. TLS is not there yet.

pub mod administration;
mod adopting;
mod carry;
mod clearing;
mod dialect;
#[cfg(test)]
mod fake;
mod line;
mod pulse;
mod retained;
mod rumqtt;
mod seeding;
pub mod session;
mod stand_in;
#[cfg(test)]
mod tests;
mod watch;

pub use adopting::{AdoptedSession, Target, adopt};
pub use carry::carry;
pub use clearing::{LeftSession, end_subscriptions};
pub use retained::{RetainedValue, RetainedValues, put_for_sake_of, put_retained};
pub use rumqtt::RumqttSession;
pub use seeding::{ClientSession, ClientSubscription, SeededSession, open_client_session, seed};
pub use watch::{Outcome, Probe, ProbeEnd, Settings, Watch, Watched};

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Heartbeats of a broker: `$skein/heartbeat/<broker>`.
pub const HEARTBEAT_TOPIC: &str = "$skein/heartbeat/";
