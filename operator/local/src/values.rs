//! Retained values: read from the brokers' stores, beside the loop, and put where they are to be. Which those are the engine
//! decides (`skein_engine::retained`); here is what a store tells and how it is published.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use skein_adapter::envoys::{Access, level};
use skein_api::name::BrokerName;
use skein_engine::retained::{Action, Change, Content, Copying, Places, Source, Value, copy, forgettable};
use skein_filters::TopicFilter;
use skein_mqtt::session::{Qos, SessionError};
use skein_mqtt::{RetainedValue, RetainedValues, put_for_sake_of, put_retained};
use skein_store::{Retained, Store, StoreError};

/// The sake of what is put only to fade: by the source that the store tells for it, it is known for gone.
const FADING: &str = "fading:";

/// A broker whose values can be read and changed.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    /// Which.
    pub(crate) broker: BrokerName,
    /// Where its store is.
    pub(crate) directory: PathBuf,
    /// How it is reached.
    pub(crate) access: Access,
}

/// Why values are not as they are to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValuesError {
    /// It cannot be asked.
    #[error("broker {0}: its store or its address is not known here")]
    Unknown(BrokerName),
    /// Its store cannot be read.
    #[error("broker {broker}: {source}")]
    Store {
        /// Whose store.
        broker: BrokerName,
        /// What is wrong with it.
        source: StoreError,
    },
    /// It does not take them.
    #[error("broker {broker}: retained values cannot be put there: {source}")]
    Put {
        /// Who does not take them.
        broker: BrokerName,
        /// Why.
        source: SessionError,
    },
    /// The program ends.
    #[error("the stores cannot be read any more: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// What a broker may keep.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// What links carry to it or from it.
    pub(crate) carried: Vec<TopicFilter>,
    /// What its clients publish.
    pub(crate) published: Vec<TopicFilter>,
}

/// Whose values go where.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    /// Where they are at home.
    pub(crate) home: Keeper,
    /// Where they are.
    pub(crate) from: Keeper,
    /// Where they go.
    pub(crate) to: Keeper,
    /// Which of them.
    pub(crate) copying: Arc<Copying>,
}

/// Has a broker forget what it is not to keep, and waits until nobody can hear of that any more. The sake tells this errand from
/// others at the same broker.
pub(crate) async fn forget(keeper: Keeper, kept: Kept, sake: String) -> Result<(), ValuesError> {
    let read = keeper.clone();
    let values = tokio::task::spawn_blocking(move || forgotten(&read, &kept, now())).await??;
    if values.is_empty() {
        return Ok(());
    }
    put(&keeper, values, sake).await?;
    tokio::time::sleep(RetainedValue::GONE_AFTER).await;
    Ok(())
}

/// Has the values of clients go with them.
pub(crate) async fn bring(moved: Move, sake: String) -> Result<(), ValuesError> {
    let (from, to) = (moved.from.clone(), moved.to.clone());
    let changes = tokio::task::spawn_blocking(move || brought(&moved, now())).await??;
    put(&to, changes.to, sake.clone()).await?;
    // Whether it goes well or not, this is done: to ask once more would take for cleared what has faded by now.
    let _ = put(&from, changes.from, format!("{FADING}{sake}")).await;
    Ok(())
}

async fn put(keeper: &Keeper, values: Vec<RetainedValue>, sake: String) -> Result<(), ValuesError> {
    if values.is_empty() {
        return Ok(());
    }
    let values = RetainedValues {
        address: keeper.access.address.clone(),
        credentials: keeper.access.credentials.clone(),
        sake,
        values,
    };
    let put = put_retained(&values).await;
    put.map(drop).map_err(|source| ValuesError::Put {
        broker: keeper.broker.clone(),
        source,
    })
}

/// What is to be put at two brokers.
#[derive(Debug, PartialEq, Eq)]
struct Brought {
    to: Vec<RetainedValue>,
    from: Vec<RetainedValue>,
}

fn forgotten(keeper: &Keeper, kept: &Kept, now: u64) -> Result<Vec<RetainedValue>, ValuesError> {
    let values = read(keeper, &[], now)?;
    let topics = forgettable(&values, &kept.carried, &kept.published).into_iter();
    Ok(topics
        .map(|topic| RetainedValue::forgotten(topic.to_owned()))
        .collect())
}

fn brought(moved: &Move, now: u64) -> Result<Brought, ValuesError> {
    let read = |keeper| read(keeper, &moved.copying.published, now);
    let from = read(&moved.from)?;
    let home = if moved.home.broker == moved.from.broker {
        from.clone()
    } else {
        read(&moved.home)?
    };
    let to = if moved.home.broker == moved.to.broker {
        home.clone()
    } else {
        read(&moved.to)?
    };
    let places = Places {
        home: &home,
        from: &from,
        to: &to,
    };
    let changes = copy(&moved.copying, &places);
    let published = |change| published(change, now);
    Ok(Brought {
        to: changes.to.into_iter().map(published).collect(),
        from: changes.from.into_iter().map(published).collect(),
    })
}

/// What a broker's store has, with the payload of what matches these.
///
/// Left out are topics under `$`, which belong to nobody's clients, what is about to fade, and what has expired, which stays in a
/// store until somebody asks the broker for it.
fn read(keeper: &Keeper, filters: &[TopicFilter], now: u64) -> Result<Vec<Value>, ValuesError> {
    let failed = |source| ValuesError::Store {
        broker: keeper.broker.clone(),
        source,
    };
    // A broker that keeps nothing has nothing after a restart.
    let Some(mut store) = Store::open(&keeper.directory).map_err(failed)? else {
        return Ok(Vec::new());
    };
    let is_wanted = |topic: &str| filters.iter().any(|filter| filter.matches(topic));
    let mut values = store.retained(is_wanted).map_err(failed)?;
    values.retain(|value| {
        let is_there = value.expires_at.is_none_or(|at| at > now) && !is_fading(value);
        is_there && !value.topic.starts_with('$')
    });
    Ok(values.into_iter().map(of_store).collect())
}

fn is_fading(value: &Retained) -> bool {
    let sake = value.source.as_deref().and_then(put_for_sake_of);
    sake.is_some_and(|sake| sake.starts_with(FADING))
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

/// How a change is published. A value that expires goes on to expire when it would have.
fn published(Change { topic, action }: Change, now: u64) -> RetainedValue {
    match action {
        Action::Set(content) => {
            let left = |at: u64| u32::try_from(at.saturating_sub(now)).unwrap_or(u32::MAX).max(1);
            RetainedValue {
                topic,
                payload: content.payload,
                qos: level(content.qos),
                expiry: content.expires_at.map(left),
            }
        }
        Action::Clear => RetainedValue {
            topic,
            payload: Vec::new(),
            qos: Qos::AtLeastOnce,
            expiry: None,
        },
        Action::Forget => RetainedValue::forgotten(topic),
        Action::Fade(content) => RetainedValue::fading(topic, content.payload, level(content.qos)),
    }
}

/// In seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests;
