//! What is done to a fleet.

use std::time::Duration;

use skein_e2e::Series;

/// One fault, at the broker that it names: `a` has the subscribers, `i` the publisher, `b` is between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `skein up` is killed, and started again.
    Controller,
    /// A supervisor is killed.
    Supervisor(&'static str),
    /// A broker's process is killed, and comes back by itself.
    Crash(&'static str),
    /// The same, and it is told to end instead.
    Restart(&'static str),
    /// A broker's process is killed, and stays away until others do its work.
    Death(&'static str),
    /// The same, and it is stopped in its tracks instead.
    Hang(&'static str),
    /// As a death, and what it had on its disk is gone, too.
    Volume(&'static str),
    /// A person drains a broker, and undrains it.
    Drain(&'static str),
    /// The costs of routes change, so that the path goes another way, and back.
    Edit,
    /// Packets between `a`, which holds the links, and `b` vanish for so long.
    Cut(Direction, Duration),
    /// A broker's disk is full for a while.
    Disk(&'static str, Ended),
}

/// When a broker is ended whose disk was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is not.
    Never,
    /// It is killed while there is no room.
    Meanwhile,
    /// It is told to end once there is room again, as for a restart.
    Later,
}

/// Which packets of a link vanish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// All.
    Both,
    /// Those with messages.
    Messages,
    /// Those with acknowledgements.
    Acknowledgements,
}

const MEASURED: [&str; 3] = ["a", "b", "i"];
const CUT: Duration = Duration::from_secs(3);

impl Fault {
    /// All for which the contract promises that nothing is lost at QoS 1 on this Mosquitto. A kill costs the classic store of
    /// 2.0 its last moments.
    pub(crate) fn lossless(series: Series) -> Vec<Self> {
        let mut all = vec![Self::Controller, Self::Edit, Self::Drain("a"), Self::Drain("i")];
        all.extend(MEASURED.map(Self::Supervisor));
        all.extend(MEASURED.map(Self::Hang));
        all.extend(
            [Direction::Both, Direction::Messages, Direction::Acknowledgements]
                .map(|direction| Self::Cut(direction, CUT)),
        );
        if series == Series::Newest {
            all.extend(MEASURED.map(Self::Crash));
            all.extend(MEASURED.map(Self::Death));
        }
        all
    }

    /// How long no message comes from `b` to `a`.
    pub(crate) fn silence(self) -> Option<Duration> {
        match self {
            Self::Cut(Direction::Both | Direction::Messages, time) => Some(time),
            _ => None,
        }
    }

    /// As in a table.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Controller => "skein up killed".to_owned(),
            Self::Supervisor(broker) => format!("supervisor of {broker} killed"),
            Self::Crash(broker) => format!("{broker} killed, back at once"),
            Self::Restart(broker) => format!("{broker} stopped, back at once"),
            Self::Death(broker) => format!("{broker} killed, replaced"),
            Self::Hang(broker) => format!("{broker} hangs, replaced"),
            Self::Volume(broker) => format!("{broker} and its disk gone"),
            Self::Drain(broker) => format!("{broker} drained"),
            Self::Edit => "path moved by an edit".to_owned(),
            Self::Cut(direction, time) => {
                let what = match direction {
                    Direction::Both => "link cut",
                    Direction::Messages => "link cut towards a",
                    Direction::Acknowledgements => "link cut towards b",
                };
                format!("{what} for {} s", time.as_secs())
            }
            Self::Disk(broker, ended) => {
                let then = match ended {
                    Ended::Never => "",
                    Ended::Meanwhile => ", killed",
                    Ended::Later => ", restarted later",
                };
                format!("disk of {broker} full{then}")
            }
        }
    }

    /// A killed broker may lose the last message that it acknowledged: it is not stored yet.
    pub(crate) fn may_lose(self) -> u64 {
        match self {
            Self::Crash(_) | Self::Death(_) | Self::Volume(_) | Self::Disk(_, Ended::Meanwhile) => 1,
            _ => 0,
        }
    }

    /// The broker whose clients others may serve meanwhile, and which is to be had back.
    pub(crate) fn replaced(self) -> Option<&'static str> {
        match self {
            Self::Death(broker) | Self::Hang(broker) | Self::Disk(broker, _) => Some(broker),
            _ => None,
        }
    }
}
