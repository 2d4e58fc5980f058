//! Fleets on Kubernetes: a namespace is a fleet.
//!
//! The adapter between the engine and the API server. It reads custom resources, keeps the objects that brokers run by as
//! they should be, watches heartbeats, feeds the engine with what it sees, executes what the engine says and writes status.
//! Decides nothing that the engine decides.

pub mod custom;
pub mod declared;
mod fence;
mod fleet;
mod hearing;
mod lease;
pub mod metrics;
pub mod names;
pub mod objects;
mod pods;
mod serve;
mod standby;
pub mod status;
mod watching;
mod writer;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use kube::runtime::reflector::Store;
use kube::{Client, Config, ResourceExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet};

use crate::custom::Custom;
use crate::fleet::Fleet;
use crate::lease::Candidacy;
pub use crate::lease::{LeaseNameError, LeaseSettings};
use crate::metrics::METRICS;
use crate::serve::Sight;
use crate::standby::{Memory, Standby};
use crate::watching::{About, Change, ROUND, Watched};

/// What the controller is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The only namespace to care for; all, if there is none.
    pub namespace: Option<String>,
    /// The Lease by which this controller and others agree who acts; without one it acts whatever others do.
    pub lease: Option<LeaseSettings>,
    /// Where it tells over HTTP whether it is well, and its metrics; nowhere, if there is no address.
    pub listen: Option<SocketAddr>,
    /// What holds for all brokers.
    pub objects: objects::Settings,
}

/// Why a controller does not run (any more).
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// There is no cluster to be found.
    #[error("no cluster: {0}; run this in a pod, or name a kubeconfig with KUBECONFIG")]
    NoCluster(#[from] kube::config::InferConfigError),
    /// The cluster cannot be talked to.
    #[error("cannot talk to the API server: {0}")]
    Client(#[from] kube::Error),
    /// Another may act.
    #[error("this controller leads no more: {0}")]
    NotLeading(String),
    /// The address is not to be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The system lacks something.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
}

/// How long what waits for the system may take to come to an end.
const FAREWELL: Duration = Duration::from_millis(500);

/// Cares for fleets until SIGTERM or Ctrl-C. Brokers go on without it.
///
/// # Errors
/// If there is no cluster, the system lacks something, or another controller may act: this one must not go on.
pub fn run(options: &Options) -> Result<(), ControllerError> {
    let system = |action| move |source| ControllerError::System { action, source };
    // Fleets are cared for here; what goes to the API server and comes from it does not wait for that.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("beside")
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .map_err(system("start the event loop"))?;
    let here = LocalSet::new();
    let mut candidacy = None;
    let result = here.block_on(&runtime, async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("listen for Ctrl-C"))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(system("listen for SIGTERM"))?;
        tokio::select! {
            result = care(options, &mut candidacy) => result,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    });
    // Nothing may be under way any more when another is let in.
    drop(here);
    runtime.shutdown_timeout(FAREWELL);
    if let Some(candidacy) = candidacy {
        candidacy.resign();
    }
    result
}

async fn cluster() -> Result<Config, ControllerError> {
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(Duration::from_secs(5));
    // A watch is ended by the server after a round; one that is silent for longer has lost its connection.
    config.read_timeout = Some(Duration::from_secs(u64::from(ROUND) + 10));
    Ok(config)
}

/// Mirrors the cluster, and while it leads has a fleet for each namespace with something declared in it.
async fn care(options: &Options, candidacy: &mut Option<Candidacy>) -> Result<(), ControllerError> {
    let config = cluster().await?;
    let client = Client::try_from(config.clone())?;
    let (watched, mut changes) = Watched::start(&client, options.namespace.as_deref());
    METRICS.leads(false);
    let is_ready = Rc::new(Cell::new(false));
    if let Some(address) = options.listen {
        let (ears, is_ready) = (watched.ears.clone(), is_ready.clone());
        serve::serve(address, Sight { ears, is_ready }).await?;
    }
    say("reads the cluster");
    if watched.ready().await.is_err() {
        return Ok(());
    }
    is_ready.set(true);
    let candidacy = candidacy.insert(Candidacy::begin(config, options.lease.as_ref())?);
    let mut standby = Standby::new(client.clone(), watched.clone());
    let mut look = tokio::time::interval(standby::LOOK);
    loop {
        tokio::select! {
            biased;
            led = candidacy.lead() => break led?,
            // The mirror has it already.
            Some(_) = changes.recv() => {}
            _ = look.tick() => standby.look().await,
        }
    }
    METRICS.leads(true);
    let client = fence::fenced(client, candidacy.standing());
    let mut fleets = Fleets {
        options,
        client,
        watched,
        memory: standby.remembered(),
        running: BTreeMap::new(),
    };
    fleets.begin();
    loop {
        tokio::select! {
            biased;
            why = candidacy.lost() => return Err(ControllerError::NotLeading(why)),
            change = changes.recv() => match change {
                Some(change) => fleets.tell(&change),
                None => return Ok(()),
            },
        }
    }
}

struct Fleets<'a> {
    options: &'a Options,
    client: Client,
    watched: Watched,
    /// What was remembered of fleets that have not begun.
    memory: BTreeMap<String, Memory>,
    running: BTreeMap<String, (mpsc::UnboundedSender<Change>, JoinHandle<()>)>,
}

impl Fleets<'_> {
    /// Begins what is declared and has not begun.
    fn begin(&mut self) {
        for object in self.watched.declared.iter().flat_map(Store::state) {
            let Some(namespace) = object.namespace() else {
                continue;
            };
            let has_ended = |(_, task): &(_, JoinHandle<()>)| task.is_finished();
            if self.running.get(&namespace).is_none_or(has_ended) {
                say(&format!("cares for the fleet of {namespace}"));
                let (changes, told) = mpsc::unbounded_channel();
                let fleet = fleet::Setting {
                    namespace: namespace.clone(),
                    client: self.client.clone(),
                    watched: self.watched.clone(),
                    objects: self.options.objects.clone(),
                };
                let memory = self.memory.remove(&namespace).unwrap_or_default();
                let task = tokio::task::spawn_local(Fleet::care(fleet, memory, told));
                self.running.insert(namespace, (changes, task));
            }
        }
    }

    /// Nothing is declared in a namespace, and no broker runs there.
    fn is_empty(&self, namespace: &str) -> bool {
        let is_in = |other: Option<&String>| other.is_some_and(|other| other == namespace);
        let declared = self.watched.declared.iter();
        let is_declared = |store: &Store<_>| {
            store
                .find(|object: &Custom| is_in(object.namespace().as_ref()))
                .is_some()
        };
        let mut declared = declared.map(is_declared);
        let pod = self
            .watched
            .pods
            .find(|pod| is_in(pod.metadata.namespace.as_ref()));
        !declared.any(|is_there| is_there) && pod.is_none()
    }

    fn tell(&mut self, change: &Change) {
        if change.about == About::Declared {
            self.begin();
        }
        if let Some(namespace) = &change.namespace
            && matches!(change.about, About::Declared | About::Pods)
            && self.is_empty(namespace)
            && self.running.remove(namespace).is_some()
        {
            METRICS.forget(namespace);
            say(&format!("there is no fleet in {namespace} any more"));
        }
        let concerned = |name: &String| change.namespace.as_ref().is_none_or(|changed| changed == name);
        let mut has_ended = false;
        for (_, (changes, _)) in self.running.iter().filter(|(name, _)| concerned(name)) {
            has_ended |= changes.send(change.clone()).is_err();
        }
        if has_ended {
            self.begin();
        }
    }
}

/// Says something to whoever reads the log.
fn say(text: &str) {
    eprintln!("{} {text}", jiff::Timestamp::now());
}
