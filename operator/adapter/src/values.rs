//! Retained values: read from the brokers' stores, beside the loop, and put where they are to be. Which those are the engine
//! decides (`skein_engine::retained`); here is how what a store tells is published. How stores are read is for those who use this.

use std::error::Error;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use skein_api::name::BrokerName;
use skein_engine::directive::Directive;
use skein_engine::event::Event;
use skein_engine::retained::{Action, Change, Changes, Copying, Places, Value, copy, forgettable};
use skein_filters::TopicFilter;
use skein_mqtt::session::{Qos, SessionError};
use skein_mqtt::{RetainedValue, RetainedValues, put_retained};

use crate::envoys::{Access, Envoys, level};

/// The sake of what is put only to fade: by the source that the store tells for it, readers know it for gone.
const FADING: &str = "fading:";

/// Who can read the retained values of one broker.
pub trait ReadValues: Clone + Send + Sync + 'static {
    /// Why they cannot be read.
    type Error: Error + Send + Sync + 'static;

    /// What the broker's store has, with the payload of what matches these: as `skein_sight::values` tells it.
    fn read(&self, filters: Vec<TopicFilter>)
    -> impl Future<Output = Result<Vec<Value>, Self::Error>> + Send;
}

/// A broker whose values can be read and changed.
#[derive(Clone, Debug)]
pub struct Keeper<R> {
    /// Which.
    pub broker: BrokerName,
    /// Who reads its store.
    pub reader: R,
    /// How it is reached.
    pub access: Access,
}

/// Why values are not as they are to be.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// It cannot be asked.
    #[error("broker {0}: its store or its address is not known here")]
    Unknown(BrokerName),
    /// Its store cannot be read.
    #[error("broker {broker}: {source}")]
    Store {
        /// Whose store.
        broker: BrokerName,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
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
    #[error("values cannot be compared any more: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// Begins what a directive about values asks for, with those that `keeper` gives for brokers; nothing, if it is another one.
pub fn mind<R: ReadValues>(
    directive: &Directive,
    envoys: &Envoys,
    keeper: impl Fn(&BrokerName) -> Result<Keeper<R>, ValuesError>,
) {
    match directive {
        Directive::ForgetValues {
            broker,
            carried,
            published,
            serial,
        } => {
            let kept = Kept {
                carried: carried.clone(),
                published: published.clone(),
            };
            let (keeper, broker, serial) = (keeper(broker), broker.clone(), *serial);
            envoys.beside(async move {
                let forgotten = match keeper {
                    Ok(keeper) => forget(keeper, kept, format!("{broker}-{serial}")).await,
                    Err(error) => Err(error),
                };
                let error = forgotten.err().map(|error| error.to_string());
                Event::ValuesForgotten {
                    broker,
                    serial,
                    error,
                }
            });
        }
        Directive::CopyValues {
            home,
            from,
            to,
            copying,
            serial,
        } => {
            let keepers = || Ok((keeper(home)?, keeper(from)?, keeper(to)?));
            let moved = keepers().map(|(home, from, to)| Move {
                home,
                from,
                to,
                copying: Arc::clone(copying),
            });
            let (home, serial) = (home.clone(), *serial);
            envoys.beside(async move {
                let brought = match moved {
                    Ok(moved) => bring(moved, format!("{home}-{serial}")).await,
                    Err(error) => Err(error),
                };
                let error = brought.err().map(|error| error.to_string());
                Event::ValuesCopied { home, serial, error }
            });
        }
        _ => {}
    }
}

/// What a broker may keep.
#[derive(Clone, Debug)]
struct Kept {
    /// What links carry to it or from it.
    carried: Vec<TopicFilter>,
    /// What its clients publish.
    published: Vec<TopicFilter>,
}

/// Whose values go where.
#[derive(Clone, Debug)]
struct Move<R> {
    /// Where they are at home.
    home: Keeper<R>,
    /// Where they are.
    from: Keeper<R>,
    /// Where they go.
    to: Keeper<R>,
    /// Which of them.
    copying: Arc<Copying>,
}

/// Has a broker forget what it is not to keep, and waits until nobody can hear of that any more. The sake tells this errand from
/// others at the same broker.
async fn forget<R: ReadValues>(keeper: Keeper<R>, kept: Kept, sake: String) -> Result<(), ValuesError> {
    let values = keeper.read(&[]).await?;
    // There may be many, and the loop is not to wait for that.
    let values = tokio::task::spawn_blocking(move || forgotten(&values, &kept)).await?;
    if values.is_empty() {
        return Ok(());
    }
    put(&keeper, values, sake).await?;
    tokio::time::sleep(RetainedValue::GONE_AFTER).await;
    Ok(())
}

/// Has the values of clients go with them.
async fn bring<R: ReadValues>(moved: Move<R>, sake: String) -> Result<(), ValuesError> {
    let changes = changes(&moved).await?;
    let now = now();
    let publish = |changes: Vec<Change>| changes.into_iter().map(|change| published(change, now)).collect();
    put(&moved.to, publish(changes.to), sake.clone()).await?;
    // Whether it goes well or not, this is done: to ask once more would take for cleared what has faded by now.
    let _ = put(&moved.from, publish(changes.from), format!("{FADING}{sake}")).await;
    Ok(())
}

impl<R: ReadValues> Keeper<R> {
    async fn read(&self, filters: &[TopicFilter]) -> Result<Vec<Value>, ValuesError> {
        let read = self.reader.read(filters.to_vec()).await;
        read.map_err(|source| ValuesError::Store {
            broker: self.broker.clone(),
            source: source.into(),
        })
    }
}

async fn put<R>(keeper: &Keeper<R>, values: Vec<RetainedValue>, sake: String) -> Result<(), ValuesError> {
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

fn forgotten(values: &[Value], kept: &Kept) -> Vec<RetainedValue> {
    let topics = forgettable(values, &kept.carried, &kept.published).into_iter();
    topics
        .map(|topic| RetainedValue::forgotten(topic.to_owned()))
        .collect()
}

/// What is to be put at two brokers.
async fn changes<R: ReadValues>(moved: &Move<R>) -> Result<Changes, ValuesError> {
    let published = &moved.copying.published;
    let from = Arc::new(moved.from.read(published).await?);
    let home = if moved.home.broker == moved.from.broker {
        Arc::clone(&from)
    } else {
        Arc::new(moved.home.read(published).await?)
    };
    let to = if moved.home.broker == moved.to.broker {
        Arc::clone(&home)
    } else {
        Arc::new(moved.to.read(published).await?)
    };
    let copying = Arc::clone(&moved.copying);
    let compare = move || {
        let places = Places {
            home: &home,
            from: &from,
            to: &to,
        };
        copy(&copying, &places)
    };
    Ok(tokio::task::spawn_blocking(compare).await?)
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
