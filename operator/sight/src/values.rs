//! Retained values as a broker's store tells them, in the engine's words (`skein_engine::retained`).

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use skein_engine::retained::{Content, Source, Value};
use skein_filters::TopicFilter;
use skein_store::{Retained, Store, StoreError};

/// The source that a store names for what was put only to fade starts with this: by that it is known for gone.
pub const FADING: &str = "skein:retained:fading:";

/// What the store in a directory has at this time, in seconds since 1970, with the payload of what matches these.
///
/// Left out are topics under `$`, which belong to nobody's clients, what is about to fade, and what has expired, which stays in a
/// store until somebody asks the broker for it. Blocks.
///
/// # Errors
/// If the store cannot be read.
pub fn read(directory: &Path, filters: &[TopicFilter], now: u64) -> Result<Vec<Value>, StoreError> {
    // A broker that keeps nothing has nothing after a restart.
    let Some(mut store) = Store::open(directory)? else {
        return Ok(Vec::new());
    };
    let is_wanted = |topic: &str| filters.iter().any(|filter| filter.matches(topic));
    let mut values = store.retained(is_wanted)?;
    values.retain(|value| {
        let is_there = value.expires_at.is_none_or(|at| at > now) && !is_fading(value);
        is_there && !value.topic.starts_with('$')
    });
    Ok(values.into_iter().map(of_store).collect())
}

/// In seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

fn is_fading(value: &Retained) -> bool {
    let source = value.source.as_deref();
    source.is_some_and(|source| source.starts_with(FADING))
}

fn of_store(value: Retained) -> Value {
    let source = if value.link().is_some() {
        Source::Link
    } else if value.is_ours() {
        Source::Skein
    } else {
        // What the broker says itself is nobody's to forget, either.
        Source::Client(value.source.unwrap_or_default())
    };
    Value {
        topic: value.topic,
        source,
        content: Content {
            qos: value.qos,
            payload: value.payload.unwrap_or_default(),
            expires_at: value.expires_at,
        },
    }
}

#[cfg(test)]
mod tests;
