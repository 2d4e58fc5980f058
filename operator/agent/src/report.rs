//! What a supervisor says of its broker.
//!
//! Written as a whole at every change; the JSON shape is the serde form of [`Report`], in camel case.

use serde::{Deserialize, Serialize};

/// How a broker is, as its supervisor sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The supervisor's process id.
    pub supervisor_pid: u32,
    /// The broker's process.
    pub process: ProcessState,
    /// Epoch of the configuration that the process uses; while none runs, of the one that the next start will use.
    pub loaded: Option<u64>,
    /// The configuration that was refused, if the newest one was.
    pub rejected: Option<Rejected>,
    /// Mosquitto's version, such as `2.1.2`.
    pub version: Option<String>,
    /// How often a process that died by itself was started again, in this supervisor's life.
    pub restarts: u64,
    /// How the last process ended, if one did in this supervisor's life.
    pub last_exit: Option<Exit>,
    /// Why the present process was started with all bridges barred, if it was: nobody knew any more who should be.
    pub all_barred: Option<String>,
    /// What keeps the process from starting and does not go away by itself, and what to do about it.
    #[serde(default)]
    pub obstacle: Option<String>,
    /// When the present process was started or taken over, in milliseconds since 1970.
    pub started_at: Option<u64>,
    /// When this was written, in milliseconds since 1970.
    pub at: u64,
}

/// The broker's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum ProcessState {
    /// It runs.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// It is dead and being started again.
    Restarting,
    /// It is kept down on purpose.
    Held,
    /// It is kept stopped in its tracks on purpose.
    Hung {
        /// Its process id.
        pid: u32,
    },
    /// It does not run: no configuration was given yet, or the supervisor was told to stop.
    Stopped,
}

impl ProcessState {
    /// The process id, if there is a process.
    #[must_use]
    pub fn pid(self) -> Option<u32> {
        match self {
            Self::Running { pid } | Self::Hung { pid } => Some(pid),
            Self::Restarting | Self::Held | Self::Stopped => None,
        }
    }
}

/// A configuration that the broker does not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// Its number.
    pub epoch: u64,
    /// Why, in the broker's words where it said something.
    pub reason: String,
}

/// How a process ended. Neither code nor signal is known of one that was taken over from an earlier supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Its exit status, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When that was noticed, in milliseconds since 1970.
    pub at: u64,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(formatter, "exited with status {code}"),
            (None, Some(signal)) => write!(formatter, "was ended by signal {signal}"),
            (None, None) => write!(formatter, "ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_shape_is_the_documented_one() {
        let report = Report {
            supervisor_pid: 7,
            process: ProcessState::Running { pid: 8 },
            loaded: Some(3),
            rejected: Some(Rejected {
                epoch: 4,
                reason: "no".to_owned(),
            }),
            version: Some("2.1.2".to_owned()),
            restarts: 1,
            last_exit: Some(Exit {
                code: None,
                signal: Some(9),
                at: 5,
            }),
            all_barred: Some("half a file".to_owned()),
            obstacle: Some("half a store".to_owned()),
            started_at: Some(6),
            at: 9,
        };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "supervisorPid": 7,
                "process": {"state": "running", "pid": 8},
                "loaded": 3,
                "rejected": {"epoch": 4, "reason": "no"},
                "version": "2.1.2",
                "restarts": 1,
                "lastExit": {"code": null, "signal": 9, "at": 5},
                "allBarred": "half a file",
                "obstacle": "half a store",
                "startedAt": 6,
                "at": 9,
            })
        );
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }
}
