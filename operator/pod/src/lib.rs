//! The supervisor of one Mosquitto, in a pod or beside whatever else a machine outside of the cluster does.
//!
//! It is the same supervisor as everywhere, on a directory of its own. What the controller says comes from a Secret that is
//! watched through the API, and is written into that directory; what the supervisor reports goes to a `ConfigMap`, and what
//! the broker writes to standard output, where `kubectl logs` finds it. None of that is needed for the broker to go on: an
//! API that cannot be reached is asked again for ever.

mod courier;
mod install;
mod logs;
mod plugins;
mod post;
pub mod serve;
#[cfg(test)]
mod tests;
mod trouble;

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::config::InferConfigError;
use kube::{Api, Client};
use skein_agent::files::FileError;
use skein_agent::seams::FileReports;
use skein_agent::{
    BrokerDirectory, FindError, SupervisorError, SupervisorOptions, find_mosquitto, supervise_until,
};
use skein_api::name::BrokerName;
use skein_sight::wire::PORT;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use courier::Courier;
use logs::Follower;
use post::{Reports, post};
use serve::Sight;
use trouble::Trouble;

pub use install::install;

/// Who writes the report into the `ConfigMap`, by server-side apply.
pub const FIELD_MANAGER: &str = "skein-pod";

/// The `ConfigMap`'s key of the uid of the pod that reports.
pub const POD: &str = "pod";

/// What a broker's Secret and `ConfigMap` are called: its name, and this. The controller makes both.
const SUFFIX: &str = "-skein";

/// How long a broker without any configuration waits for its first one before it reports that it has none.
const FIRST: Duration = Duration::from_secs(10);

/// How long what is left to say is tried after the broker has ended: the kubelet waits for it.
const LAST: Duration = Duration::from_secs(2);

/// When to try again to listen for who asks what is to be seen.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// After this silence a connection to the API is dead. It is more than a watch takes ([`courier`] has it end before), so
/// that only requests that nobody answers are given up: a list or a patch would otherwise wait for ever.
const SILENCE: Duration = Duration::from_secs(30);

/// What the supervisor in a pod is told at its start.
#[derive(Clone, Debug)]
pub struct PodOptions {
    /// The broker.
    pub broker: BrokerName,
    /// Where its Secret and its `ConfigMap` are; if not said, where the pod is.
    pub namespace: Option<String>,
    /// The broker's files; the store is below it, in `data`.
    pub directory: PathBuf,
    /// The program, if it is to be that one.
    pub mosquitto: Option<PathBuf>,
    /// The pod's uid, for its reports. Without one, as outside of a pod, each life has a name of its own.
    pub pod_uid: Option<String>,
}

/// Why the supervisor of a pod ended, or could not begin.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// Nothing says where the API is, or who asks.
    #[error("no Kubernetes API is known: {0}")]
    Nowhere(#[source] Box<InferConfigError>),
    /// What says so is of no use.
    #[error("cannot use the Kubernetes API: {0}")]
    Client(#[source] Box<kube::Error>),
    /// There is no usable Mosquitto.
    #[error(transparent)]
    Mosquitto(#[from] FindError),
    /// Its files cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The supervisor.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// It would become another user, and then its files would be somebody else's.
    #[error(
        "run this as the user that Mosquitto is to run as (`mosquitto`, say): as root, it would become another one and could \
         not use its files"
    )]
    Root,
    /// The system lacks something.
    #[error("cannot supervise a broker: {0}")]
    System(#[from] std::io::Error),
}

/// Supervises a broker until SIGTERM or SIGINT, which stop the broker too.
///
/// # Errors
/// If there is no usable Mosquitto, if nothing says how to reach the API (not if it cannot be reached), or as
/// [`skein_agent::supervise`].
pub async fn run(options: PodOptions) -> Result<(), PodError> {
    // First of all: the first process of a container is not ended by a signal that it does not handle.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let (client, namespace) = client(options.namespace).await?;
    if rustix::process::geteuid().is_root() {
        return Err(PodError::Root);
    }
    let pod = Pod {
        client,
        namespace,
        object: format!("{}{SUFFIX}", options.broker),
        // Of both families, where there are both.
        door: (Ipv6Addr::UNSPECIFIED, PORT).into(),
        broker: options.broker,
        directory: BrokerDirectory::new(std::path::absolute(&options.directory)?),
        mosquitto: find_mosquitto(options.mosquitto.as_deref())?.path,
        uid: options.pod_uid.unwrap_or_else(name_of_this_life),
    };
    pod.work(tokio::io::stdout(), end).await
}

/// Tells this process from those before it that reported of the same broker.
fn name_of_this_life() -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("agent-{}-{:x}", std::process::id(), now.as_millis())
}

async fn client(namespace: Option<String>) -> Result<(Client, String), PodError> {
    let mut config = kube::Config::infer()
        .await
        .map_err(|error| PodError::Nowhere(Box::new(error)))?;
    config.read_timeout = Some(SILENCE);
    // From when a request is sent: a connection may have been idle before.
    config.reset_reader_on_write = true;
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| PodError::Client(Box::new(error)))?;
    Ok((client, namespace))
}

/// Answers whoever knows the token. That nobody can be is no reason to end.
async fn answer(door: SocketAddr, token: watch::Receiver<Option<String>>, sight: Sight) -> Infallible {
    let mut trouble = Trouble::default();
    loop {
        let bound = match TcpListener::bind(door).await {
            // There is only the other family.
            Err(_) if door.ip() == Ipv6Addr::UNSPECIFIED => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, door.port())).await
            }
            bound => bound,
        };
        match bound {
            Ok(listener) => return serve::serve(listener, token, sight).await,
            Err(error) => trouble.say(format_args!("cannot listen at {door}: {error}")),
        }
        sleep(LISTEN_AGAIN).await;
    }
}

/// A broker's supervisor, and what goes in and out of the pod.
struct Pod {
    client: Client,
    namespace: String,
    broker: BrokerName,
    /// The name of the Secret and of the `ConfigMap`.
    object: String,
    /// Where the controller asks what is to be seen.
    door: SocketAddr,
    directory: BrokerDirectory,
    mosquitto: PathBuf,
    uid: String,
}

impl Pod {
    /// Works until `end` resolves; what the broker writes goes to `out`.
    async fn work(
        self,
        mut out: impl AsyncWrite + Unpin,
        end: impl Future<Output = ()>,
    ) -> Result<(), PodError> {
        let Self {
            client,
            namespace,
            broker,
            object,
            door,
            directory,
            mosquitto,
            uid,
        } = self;
        directory.create()?;
        plugins::link(&directory, &mosquitto)?;
        // Before the broker may write anything. What an earlier container wrote, that one has shown.
        let mut logs = Follower::new(&directory);
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
        let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
        let (arrived, first) = oneshot::channel();
        let (told, token) = watch::channel(None);
        let courier = Courier::new(secrets, &object, directory.clone(), arrived, told);
        let sight = Sight::start(&namespace, &broker, &directory)?;
        let (reports, newest) = Reports::new(FileReports::new(directory.clone()));
        let posting = tokio::spawn(post(maps, object, uid, newest));

        let supervision = async {
            let mut end = pin!(end);
            if !directory.path().join(BrokerDirectory::DESIRED).exists() {
                tokio::select! {
                    // Late or never, the supervisor sees by itself what comes.
                    _ = timeout(FIRST, first) => {}
                    () = &mut end => return Ok(()),
                }
            }
            let options = SupervisorOptions {
                directory: directory.clone(),
                mosquitto,
            };
            supervise_until(options, reports, end).await
        };
        let ended = tokio::select! {
            ended = supervision => ended,
            never = courier.carry() => match never {},
            never = logs.follow(&mut out) => match never {},
            never = answer(door, token, sight) => match never {},
        };
        // The reports' other end is gone, so posting ends with the last one.
        let _ = timeout(LAST, async { tokio::join!(logs.copy(&mut out), posting) }).await;
        Ok(ended?)
    }
}
