//! What there is to be seen of the broker: kept up to date, or looked at when asked.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skein_agent::BrokerDirectory;
use skein_api::name::BrokerName;
use skein_engine::event::{Activity, Event};
use skein_sight::queues::Queues;
use skein_sight::stores::Stores;
use skein_sight::vitals::Vitals;
use skein_sight::wire::Told;
use tokio::sync::{mpsc, watch};

/// The eyes on one broker.
#[derive(Debug)]
pub struct Sight {
    pub(super) namespace: String,
    pub(super) broker: BrokerName,
    pub(super) directory: BrokerDirectory,
    stores: Stores,
    /// The number of the last reading that was asked for.
    asked: AtomicU64,
    known: watch::Receiver<Known>,
    vitals: Mutex<Vitals>,
}

/// What was told of the store last.
#[derive(Clone, Debug, Default)]
struct Known {
    told: Told,
    /// The number of the last reading that was asked for before it was read.
    serial: Option<u64>,
}

impl Sight {
    /// Begins to read the store of a broker, which is below its directory. Needs a runtime.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(namespace: &str, broker: &BrokerName, directory: &BrokerDirectory) -> io::Result<Self> {
        let (events, mut read) = mpsc::unbounded_channel();
        let mut stores = Stores::start(events)?;
        stores.watch([(broker.clone(), directory.data())].into());
        let (tell, known) = watch::channel(Known::default());
        tokio::spawn(async move {
            let mut version = begin();
            while let Some(event) = read.recv().await {
                if let Event::SessionsRead { sessions, serial, .. } = event {
                    tell.send_modify(|known| {
                        if known.told.version == 0 || known.told.sessions != sessions {
                            version += 1;
                            known.told = Told { version, sessions };
                        }
                        known.serial = serial;
                    });
                }
            }
        });
        Ok(Self {
            namespace: namespace.to_owned(),
            broker: broker.clone(),
            directory: directory.clone(),
            stores,
            asked: AtomicU64::new(0),
            known,
            vitals: Mutex::default(),
        })
    }

    /// What is known of the store as soon as its version is another than this.
    pub(super) async fn news(&self, after: u64) -> Option<Told> {
        let mut known = self.known.clone();
        let is_news = |known: &Known| known.told.version != 0 && known.told.version != after;
        Some(known.wait_for(is_news).await.ok()?.told.clone())
    }

    /// Reads the store, and tells what is known then.
    pub(super) async fn read(&self) -> Option<Told> {
        let serial = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        self.stores.read(self.broker.clone(), serial);
        let mut known = self.known.clone();
        let is_read = |known: &Known| known.serial.is_some_and(|it| it >= serial);
        Some(known.wait_for(is_read).await.ok()?.told.clone())
    }

    /// What waits in the broker's sessions, as far as is known.
    pub(super) fn queues(&self) -> Queues {
        self.stores.queues(&self.broker)
    }

    /// Where the store is.
    pub(super) fn store(&self) -> PathBuf {
        self.directory.data()
    }

    /// What the process did since the last look; none if there is none to be seen.
    pub(super) fn activity(&self, interval: Duration) -> Option<Activity> {
        let identity = self.directory.broker().ok()??;
        let mut vitals = self.vitals.lock().unwrap_or_else(PoisonError::into_inner);
        vitals.look(&self.broker, &identity, interval)
    }
}

/// Greater than the versions of a life before this one, unless the clock was set back meanwhile.
fn begin() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_millis());
    u64::try_from(now).unwrap_or(0)
}
