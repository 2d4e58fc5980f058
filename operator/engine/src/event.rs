//! What the engine is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skein_api::fleet::Fleet;
use skein_api::name::{BrokerName, ClassName, TopicName};
use skein_mosquitto::link::Link;

#[cfg(doc)]
use crate::directive::Directive;
use crate::directive::{Migration, OpenSession};
use crate::sessions::ClientSessions;

/// A moment: time since an origin of the adapter's choosing, on a clock that never goes back.
pub type Moment = Duration;

/// The number of a configuration given to a broker; it only ever grows, per broker.
pub type Epoch = u64;

/// Something happened, or was found to be so.
#[derive(Clone, Debug)]
pub enum Event {
    /// The declarations are now these (validated; the first one starts the engine).
    FleetChanged(Arc<Fleet>),
    /// What an earlier life left: sent once, before the first `FleetChanged`.
    Restored(Restored),
    /// Where a broker can be reached and keeps its files.
    Placed {
        /// Which broker.
        broker: BrokerName,
        /// Where it is.
        placement: Placement,
    },
    /// A heartbeat came back.
    HeartbeatAnswered {
        /// From which broker.
        broker: BrokerName,
        /// From publish to receive.
        round_trip: Duration,
    },
    /// A heartbeat did not come back within its interval.
    HeartbeatMissed {
        /// From which broker.
        broker: BrokerName,
        /// The connection itself was refused: nobody listens.
        refused: bool,
    },
    /// What a broker's process did while a heartbeat went unanswered: told before the [`Event::HeartbeatMissed`] that it
    /// belongs to. Whoever cannot see the process does not tell it, and heartbeats decide.
    Activity {
        /// Of which broker.
        broker: BrokerName,
        /// What it did.
        activity: Activity,
    },
    /// A supervisor said how its broker is.
    Supervisor {
        /// Which broker.
        broker: BrokerName,
        /// What it said.
        report: Report,
    },
    /// A supervisor is gone: nobody restarts this broker or gives it a configuration.
    SupervisorLost {
        /// Which broker.
        broker: BrokerName,
    },
    /// A probe of a path arrived, or did not within its time.
    Probe {
        /// The topic.
        topic: TopicName,
        /// Where it was published.
        producer: BrokerName,
        /// Where it was awaited.
        consumer: BrokerName,
        /// End to end time, if it arrived.
        took: Option<Duration>,
    },
    /// A marker came through: see [`Directive::AwaitMarkers`].
    MarkerSeen {
        /// Where it was awaited.
        broker: BrokerName,
        /// Its topic.
        topic: String,
    },
    /// What [`Directive::Seed`] asked for is done, or cannot be done now.
    Seeded {
        /// The broker that is going to hold the connection.
        broker: BrokerName,
        /// The session's client id.
        client_id: String,
        /// Why not, if it is not.
        error: Option<String>,
    },
    /// What [`Directive::EndSubscriptions`] asked for is done, or cannot be done now.
    SubscriptionsEnded {
        /// The broker that held the connection.
        broker: BrokerName,
        /// The session's client id.
        client_id: String,
        /// Why not, if it is not.
        error: Option<String>,
    },
    /// What [`Directive::Adopt`] asked for is done, or cannot be done now.
    Adopted {
        /// The broker that held the connection.
        broker: BrokerName,
        /// The session's client id.
        client_id: String,
        /// How many messages were passed on.
        messages: u64,
        /// Why not, if it is not.
        error: Option<String>,
    },
    /// The process of a broker keeps out the links of these brokers and no others, as [`Directive::Bar`] asked.
    Barred {
        /// The upstream end.
        broker: BrokerName,
        /// The downstream ends.
        downstreams: BTreeSet<BrokerName>,
    },
    /// What a broker keeps of its clients: told whenever it was read, because it was asked for or because it changed.
    SessionsRead {
        /// Which broker.
        broker: BrokerName,
        /// What it keeps; none if that cannot be read, as where a broker keeps nothing.
        sessions: Option<Arc<ClientSessions>>,
        /// The number of the last [`Directive::ReadSessions`] that came before it was read, if any did.
        serial: Option<u64>,
    },
    /// What [`Directive::OpenClientSession`] asked for is done, or cannot be done now.
    ClientSessionOpened {
        /// Where it is.
        broker: BrokerName,
        /// Whose it is.
        client_id: String,
        /// Why not, if it is not.
        error: Option<String>,
    },
    /// What [`Directive::EndClientSession`] asked for is done, or cannot be done now.
    ClientSessionEnded {
        /// Where it was.
        broker: BrokerName,
        /// Whose it was.
        client_id: String,
        /// Why not, if it is not.
        error: Option<String>,
    },
    /// What [`Directive::ForgetValues`] asked for is done, or cannot be done now.
    ValuesForgotten {
        /// Which broker.
        broker: BrokerName,
        /// Of which directive.
        serial: u64,
        /// Why not, if it is not.
        error: Option<String>,
    },
    /// What [`Directive::CopyValues`] asked for is done, or cannot be done now.
    ValuesCopied {
        /// Whose clients' they are.
        home: BrokerName,
        /// Of which directive.
        serial: u64,
        /// Why not, if it is not.
        error: Option<String>,
    },
    /// A person wants a broker without clients, so that it can be stopped: they are led to its substitute, without loss.
    Drain {
        /// Which broker.
        broker: BrokerName,
        /// Where they are to go; none: to its planned substitute.
        to: Option<BrokerName>,
        /// Do not wait for clients that do not get what waits for them: give it up.
        abandon: bool,
    },
    /// A person wants a drained broker to have its clients back, or a drain under way called off.
    Undrain {
        /// Which broker.
        broker: BrokerName,
    },
    /// A person approved what waits for approval: moving a dead broker's sessions (policy Manual, or collisions), or taking a
    /// returned broker back (failback Manual).
    Approved {
        /// Which broker.
        broker: BrokerName,
    },
    /// A person gives up what waits at the substitute for clients of a broker that is to have them back, so that it has.
    Abandoned {
        /// Which broker.
        broker: BrokerName,
    },
    /// Time went by.
    Tick,
}

/// What is known from before, besides the configurations that supervisors report.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The class of each topic.
    pub classes: BTreeMap<TopicName, ClassName>,
    /// Per broker: the configurations it may be running, in any order.
    pub configs: BTreeMap<BrokerName, Vec<KeptConfig>>,
    /// Where client addresses lead that do not lead to their own broker.
    pub addresses: BTreeMap<BrokerName, BrokerName>,
    /// Sessions that were open upstream, as [`Directive::RecordSessions`] said last.
    pub sessions: Vec<OpenSession>,
    /// Migrations that were not over; those that were may be given too, so that names are not used twice.
    pub migrations: Vec<Migration>,
}

/// A configuration that was given in an earlier life.
#[derive(Clone, Debug)]
pub struct KeptConfig {
    /// Its number.
    pub epoch: Epoch,
    /// The links that the broker holds in it.
    pub links: Vec<Link>,
    /// Its text, if it is at hand. Without it a change of anything but links that was made while no engine ran goes
    /// unnoticed until the next change, and so do subscriptions that earlier configurations left upstream.
    pub text: Option<String>,
}

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The address that the broker itself listens on, where it runs.
    pub listen: String,
    /// Host and port for bridges, heartbeats and probes: always this very process.
    pub peer: (String, u16),
    /// Host and port for clients: stays while the broker behind it may change.
    pub client: (String, u16),
    /// Where the broker keeps its store.
    pub data_directory: String,
}

/// A supervisor's report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The configuration the running process uses (or the next start will use, if no process runs).
    pub loaded: Option<Epoch>,
    /// The last configuration that was refused, and why.
    pub rejected: Option<(Epoch, String)>,
    /// Mosquitto's version, such as `2.1.2`.
    pub version: Option<String>,
    /// The process.
    pub process: Process,
}

/// What a broker's process was seen to do since the last look at it, one heartbeat interval or more ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// It computed, or would have, had it been given a processor: it is late, and not hung.
    Busy,
    /// It slept, as if nothing waited for it.
    Asleep,
    /// It waited for a disk and got nowhere.
    Stalled,
    /// It is stopped in its tracks (a signal, a debugger).
    Frozen,
}

/// A broker process, as its supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// It runs.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// It is dead and being restarted.
    Restarting,
    /// A person keeps it down (`skein break`).
    Held,
    /// A person keeps it stopped in its tracks (`skein break --hang`).
    Hung {
        /// Its process id.
        pid: u32,
    },
    /// It does not run: it has no configuration yet, or its supervisor was told to stop.
    Stopped,
}
