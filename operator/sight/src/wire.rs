//! How what is seen in a pod is asked for from elsewhere: HTTP with JSON, whose paths and bodies are here for both ends.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /healthz` | `ok`, to anybody |
//! | `GET /metrics` | figures for Prometheus, to anybody; all else wants `Authorization: Bearer TOKEN` |
//! | `GET /sessions?after=N` | a [`Told`] as soon as its version is another than N; 204 after [`HOLD`] |
//! | `POST /sessions` | a [`Told`] that was read after the request came |
//! | `POST /values` with [`Wanted`] | the retained values, as [`crate::values::read`] gives them |
//! | `GET /activity?interval=MS` | an [`Activity`], or null if no process is to be seen |
//! | `GET /room` | a [`Room`], or null if the disk cannot be looked at |
//!
//! [`Activity`]: skein_engine::event::Activity
//! [`Room`]: crate::rooms::Room

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skein_engine::sessions::ClientSessions;

/// Where a pod is asked.
pub const PORT: u16 = 9883;

/// Whether somebody answers.
pub const HEALTH: &str = "/healthz";
/// Figures for Prometheus.
pub const METRICS: &str = "/metrics";
/// What the store keeps of clients.
pub const SESSIONS: &str = "/sessions";
/// Retained values.
pub const VALUES: &str = "/values";
/// What the process does.
pub const ACTIVITY: &str = "/activity";
/// Whether the disk has room.
pub const ROOM: &str = "/room";

/// How long a question for news stays without an answer.
pub const HOLD: Duration = Duration::from_secs(25);

/// What is known of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// Another one for other sessions, also after the pod's program has begun anew; 0 as long as nothing is known.
    pub version: u64,
    /// None, if the store cannot be read, as where a broker keeps nothing.
    pub sessions: Option<Arc<ClientSessions>>,
}

/// Which values are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// Those of all topics are told; of those that match one of these, the payload too.
    pub filters: Vec<String>,
}
