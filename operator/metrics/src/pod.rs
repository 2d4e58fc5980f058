//! What the supervisor in a broker's pod tells.

#![allow(missing_docs, reason = "the help of each is its documentation")]

use crate::{BROKER, Row, counter, gauge};

/// Whose sessions: `client` or `link`.
const OF: &[&str] = &["namespace", "broker", "of"];

pub const RUNNING: Row = gauge(
    "skein_broker_running",
    BROKER,
    "1 while Mosquitto's process runs, else 0.",
);
pub const RESTARTS: Row = counter(
    "skein_broker_restarts_total",
    BROKER,
    "How often Mosquitto died by itself and was started again.",
);
pub const START: Row = gauge(
    "skein_broker_start_time_seconds",
    BROKER,
    "When Mosquitto was started, in seconds since 1970.",
);
pub const CPU: Row = counter(
    "skein_broker_cpu_seconds_total",
    BROKER,
    "Time on a processor that Mosquitto's process has taken.",
);
pub const MEMORY: Row = gauge(
    "skein_broker_memory_bytes",
    BROKER,
    "Memory of Mosquitto's process that is resident.",
);
pub const EPOCH: Row = gauge(
    "skein_config_epoch",
    BROKER,
    "The number of the configuration that Mosquitto uses.",
);
pub const REJECTED: Row = gauge(
    "skein_config_rejected",
    BROKER,
    "1 if Mosquitto does not take the newest configuration, else 0.",
);
pub const FREE: Row = gauge(
    "skein_store_free_bytes",
    BROKER,
    "Room that is left on the volume where Mosquitto keeps its messages.",
);
pub const READ: Row = gauge(
    "skein_store_read_time_seconds",
    BROKER,
    "When the store was read last, in seconds since 1970: what follows is as of then. It is read when it changed, for half a percent of the time at most.",
);
pub const SESSIONS: Row = gauge(
    "skein_sessions",
    OF,
    "Sessions that the store keeps, of clients (client) and of other brokers' bridges and its own (link).",
);
pub const MESSAGES: Row = gauge(
    "skein_queue_messages",
    OF,
    "Messages that wait in those sessions, or are on their way and not acknowledged.",
);
pub const BYTES: Row = gauge("skein_queue_bytes", OF, "Their payloads.");
pub const FILL: Row = gauge(
    "skein_queue_fill_ratio",
    BROKER,
    "How full the fullest queue of a session is, from 0 to 1, of spec.managed.queue: at 1 Mosquitto drops what comes next.",
);
pub const FULL_AFTER: Row = gauge(
    "skein_queue_full_after_seconds",
    BROKER,
    "How soon the first queue is full if all go on to grow as in the last half minute or so; +Inf if none grows.",
);

/// All of them.
pub const TABLE: [&Row; 14] = [
    &RUNNING,
    &RESTARTS,
    &START,
    &CPU,
    &MEMORY,
    &EPOCH,
    &REJECTED,
    &FREE,
    &READ,
    &SESSIONS,
    &MESSAGES,
    &BYTES,
    &FILL,
    &FULL_AFTER,
];
