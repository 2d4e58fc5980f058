//! A broker that keeps what it has, and its store.

#![allow(dead_code, reason = "each test uses some of it")]

use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use skein_e2e::{PlainBroker, RawClient, Series, UNBOUNDED, durable, mosquitto, wait_for};
use skein_store::{Inventory, Store};
use tempfile::TempDir;

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A durable broker and the folder of its store.
pub(crate) struct Kept {
    pub(crate) broker: PlainBroker,
    pub(crate) series: Series,
    pub(crate) folder: TempDir,
}

impl Kept {
    pub(crate) async fn start(series: Series, config: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-store-").tempdir()?;
        let config = format!("{UNBOUNDED}{}{config}\n", durable(series, folder.path())?);
        let broker = PlainBroker::start(&mosquitto(series), &config).await?;
        Ok(Self {
            broker,
            series,
            folder,
        })
    }

    pub(crate) async fn client(
        &self,
        client_id: &str,
        clean_session: bool,
        user: Option<&str>,
    ) -> Result<RawClient> {
        let login = user.map(|user| (user, "secret"));
        RawClient::connect(&self.broker.address(), client_id, clean_session, login).await
    }

    /// A session of 3.1.1 with subscriptions, whose client has left.
    pub(crate) async fn session(
        &self,
        client_id: &str,
        user: Option<&str>,
        filters: &[(&str, u8)],
    ) -> Result<()> {
        let mut client = self.client(client_id, false, user).await?;
        for (filter, qos) in filters {
            client.subscribe(filter, *qos).await?;
        }
        client.disconnect().await
    }

    /// The store once it says what it should: at once with sqlite, after a save with the classic store.
    pub(crate) async fn inventory(
        &self,
        is_as_wanted: impl Fn(&Inventory) -> bool,
    ) -> Result<(Store, Inventory)> {
        if self.series == Series::Oldest {
            self.broker.signal(Signal::USR1)?;
        }
        let mut last = None;
        let wanted = wait_for("the inventory", SOON, async || {
            let mut store = Store::open(self.folder.path()).unwrap()?;
            let inventory = store.inventory().unwrap();
            let wanted = is_as_wanted(&inventory);
            last = Some(inventory.clone());
            wanted.then_some((store, inventory))
        });
        wanted
            .await
            .with_context(|| format!("{:?} {last:#?}", self.series))
    }
}
