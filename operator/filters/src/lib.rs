//! MQTT topic filter algebra: match, cover, overlap, least cover.
//!
//! Knows MQTT 3.1.1 section 4.7 (levels, `+`, `#`, `$` topics) and nothing of brokers. It has no dependencies and does
//! no I/O.

mod classes;
mod error;
mod filter;
mod trie;

pub use classes::overlap_classes;
pub use error::FilterError;
pub use filter::{Level, TopicFilter};
pub use trie::FilterTrie;
