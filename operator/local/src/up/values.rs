//! Directives about retained values: which brokers and stores they mean here.

use std::path::PathBuf;

use skein_adapter::Ground as _;
use skein_adapter::values::{Keeper, ReadValues, ValuesError};
use skein_api::name::BrokerName;
use skein_engine::retained::Value;
use skein_filters::TopicFilter;
use skein_sight::values::{now, read};
use skein_store::StoreError;

use super::runner::Runner;
use crate::happening::UpEvent;

impl<F: FnMut(UpEvent)> Runner<F> {
    /// A broker with its store, if both are known.
    pub(super) fn keeper(&self, broker: &BrokerName) -> Result<Keeper<Directory>, ValuesError> {
        let unknown = || ValuesError::Unknown(broker.clone());
        let placement = self.conductor.placed.get(broker).ok_or_else(unknown)?;
        // Of a broker that somebody else runs there is none to be seen.
        if placement.data_directory.is_empty() {
            return Err(unknown());
        }
        Ok(Keeper {
            broker: broker.clone(),
            reader: Directory(placement.data_directory.clone().into()),
            access: self.access(broker).ok_or_else(unknown)?,
        })
    }
}

/// Where a store is.
#[derive(Clone, Debug)]
pub(super) struct Directory(PathBuf);

impl ReadValues for Directory {
    type Error = UnreadError;

    async fn read(&self, filters: Vec<TopicFilter>) -> Result<Vec<Value>, UnreadError> {
        let Self(directory) = self.clone();
        let read = tokio::task::spawn_blocking(move || read(&directory, &filters, now())).await?;
        Ok(read?)
    }
}

/// Why a store is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnreadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The program ends.
    #[error("the stores cannot be read any more: {0}")]
    Ended(#[from] tokio::task::JoinError),
}
