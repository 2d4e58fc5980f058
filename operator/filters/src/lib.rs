//! MQTT topic filter algebra: match, cover, overlap, least cover.
//!
//! Knows MQTT 3.1.1 section 4.7 (levels, `+`, `#`, `$` topics) and nothing of brokers. It has no dependencies and does
//! no I/O.

mod filter;

pub use filter::{FilterError, Level, TopicFilter};
