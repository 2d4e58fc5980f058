//! What is done to a fleet, and what the contract says may be lost of QoS 1 by it.

use skein_e2e::Series;

/// One fault, at the broker that it names: `a` has the subscribers, `i` the publisher, `b` is between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `skein up` is killed, and started again.
    Controller,
    /// A supervisor is killed.
    Supervisor(&'static str),
    /// A broker's process is killed, and comes back by itself.
    Crash(&'static str),
    /// A broker's process is killed, and stays away until others do its work.
    Death(&'static str),
    /// The same, and it is stopped in its tracks instead.
    Hang(&'static str),
    /// A person drains a broker, and undrains it.
    Drain(&'static str),
    /// The costs of routes change, so that the path goes another way, and back.
    Edit,
}

const BROKERS: [&str; 3] = ["a", "b", "i"];

impl Fault {
    /// All that the contract promises something for on this Mosquitto. A kill costs the classic store of 2.0 its last moments.
    pub(super) fn of(series: Series) -> Vec<Self> {
        let mut all = vec![Self::Controller, Self::Edit, Self::Drain("a"), Self::Drain("i")];
        all.extend(BROKERS.map(Self::Supervisor));
        all.extend(BROKERS.map(Self::Hang));
        if series == Series::Newest {
            all.extend(BROKERS.map(Self::Crash));
            all.extend(BROKERS.map(Self::Death));
        }
        all
    }

    /// As in the table.
    pub(super) fn name(self) -> String {
        match self {
            Self::Controller => "skein up killed".to_owned(),
            Self::Supervisor(broker) => format!("supervisor of {broker} killed"),
            Self::Crash(broker) => format!("{broker} killed, back at once"),
            Self::Death(broker) => format!("{broker} killed, replaced"),
            Self::Hang(broker) => format!("{broker} hangs, replaced"),
            Self::Drain(broker) => format!("{broker} drained"),
            Self::Edit => "path moved by an edit".to_owned(),
        }
    }

    /// A killed broker may lose the last message that it acknowledged: it is not stored yet.
    pub(super) fn may_lose(self) -> u64 {
        match self {
            Self::Crash(_) | Self::Death(_) => 1,
            _ => 0,
        }
    }
}
