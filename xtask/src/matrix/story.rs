//! Which faults stand for which row.

use std::time::Duration;

use serde_json::Value;
use skein_contract::Event;
use skein_e2e::Series;

use crate::harm::{Direction, Ended, Fault};

/// What a fault is an example of: a row of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row(pub(super) Event);

impl Row {
    /// All that can be made, in the order of a table. Duplex links, retained values and wills are no faults.
    pub(super) const ALL: [Self; 11] = [
        Self(Event::Controller),
        Self(Event::Supervisor),
        Self(Event::Link),
        Self(Event::Away),
        Self(Event::Transit),
        Self(Event::Route),
        Self(Event::Drain),
        Self(Event::Crash),
        Self(Event::Hang),
        Self(Event::Volume),
        Self(Event::Disk),
    ];

    /// One word, for programs.
    pub(super) fn key(self) -> String {
        match serde_json::to_value(self.0) {
            Ok(Value::String(word)) => word,
            _ => format!("{:?}", self.0),
        }
    }

    /// As a row of a document is headed.
    pub(super) fn title(self) -> &'static str {
        self.0.title()
    }

    /// The same for a terminal: at most 23 letters.
    pub(super) fn brief(self) -> &'static str {
        self.0.brief()
    }

    /// Whether a person may have to help the fleet to its rest: on a full disk 2.0 may leave a store with which it does not start.
    pub(super) fn may_need_help(self) -> bool {
        self.0 == Event::Disk
    }
}

/// One fault, and who is there while it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Story {
    pub(super) row: Row,
    /// `None` where all that happens is that the subscribers are away.
    pub(super) fault: Option<Fault>,
    /// The subscribers are away.
    pub(super) away: Option<Leave>,
    /// For runs that are in no hurry, as it takes long or is no promise's usual case.
    pub(super) rare: bool,
}

/// How subscribers leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// They say goodbye.
    Politely,
    /// Their connections end.
    Suddenly,
}

impl Story {
    /// All; or, in a hurry, one of each row, another one on each series.
    pub(super) fn all(series: Series, quick: bool) -> Vec<Self> {
        let mut all = Vec::new();
        for row in Row::ALL {
            let mut stories = stories(row);
            if quick {
                stories.retain(|story| !story.rare);
                let skip = match series {
                    Series::Oldest => 0,
                    Series::Newest => 1 % stories.len().max(1),
                };
                all.extend(stories.into_iter().skip(skip).take(1));
            } else {
                all.extend(stories);
            }
        }
        all
    }

    /// As in a table.
    pub(super) fn name(&self) -> String {
        match (self.fault, self.away) {
            (Some(fault), _) => fault.name(),
            (None, Some(Leave::Suddenly)) => "subscribers torn away".to_owned(),
            (None, _) => "subscribers away".to_owned(),
        }
    }

    /// The broker whose disk is to be one that can be filled.
    pub(super) fn small_disk(&self) -> Option<&'static str> {
        match self.fault {
            Some(Fault::Disk(broker, _)) => Some(broker),
            _ => None,
        }
    }
}

fn stories(row: Row) -> Vec<Story> {
    let away = |leave| Story {
        row,
        fault: None,
        away: Some(leave),
        rare: leave == Leave::Suddenly,
    };
    if row == Row(Event::Away) {
        return [Leave::Politely, Leave::Suddenly].map(away).to_vec();
    }
    let of = |fault: Fault| Story {
        row,
        fault: Some(fault),
        away: (row.0 == Event::Disk).then_some(Leave::Politely),
        rare: fault.silence().is_some_and(|time| time >= LONG),
    };
    faults(row).into_iter().map(of).collect()
}

/// Bridges do not notice it.
const SHORT: Duration = Duration::from_secs(3);
/// Bridges and brokers give each other up, after one and a half times their `keepalive_interval` of 10 s.
const LONG: Duration = Duration::from_secs(20);

fn faults(row: Row) -> Vec<Fault> {
    match row.0 {
        Event::Controller => vec![Fault::Controller],
        Event::Supervisor => ["b", "a", "i"].map(Fault::Supervisor).to_vec(),
        Event::Link => vec![
            Fault::Cut(Direction::Both, SHORT),
            Fault::Cut(Direction::Messages, SHORT),
            Fault::Cut(Direction::Acknowledgements, SHORT),
            Fault::Cut(Direction::Both, LONG),
        ],
        Event::Transit => vec![Fault::Crash("b"), Fault::Restart("b")],
        Event::Route => vec![Fault::Edit],
        Event::Drain => ["a", "i"].map(Fault::Drain).to_vec(),
        Event::Crash => ["a", "i"].map(Fault::Crash).to_vec(),
        Event::Hang => ["a", "i", "b"].map(Fault::Hang).to_vec(),
        Event::Volume => ["i", "b", "a"].map(Fault::Volume).to_vec(),
        Event::Disk => [Ended::Later, Ended::Meanwhile, Ended::Never]
            .map(|ended| Fault::Disk("a", ended))
            .to_vec(),
        Event::Away | Event::Duplex | Event::Retained | Event::Wills => Vec::new(),
    }
}
