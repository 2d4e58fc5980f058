//! The stable address of a broker's clients: a TCP forwarder that can be pointed elsewhere.
//!
//! It knows bytes and one target, nothing of what passes. It holds a client whose target refuses for a moment, because a
//! broker that is restarted in place is back within milliseconds and the client's own retry would take seconds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::set_socket_keepalive;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::files::{self, FileError};
use crate::identity::Identity;
use crate::relay::relay;
use crate::say::say;
use crate::spawn;
use crate::watch::Changes;

#[cfg(test)]
mod tests;

/// How long a client is held while nobody answers at the target. Longer than any restart in place takes, shorter than a
/// client waits for its CONNACK.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two attempts of one held client. The broker is back after 8 to 50 ms, and this is lost at most.
const PAUSE: Duration = Duration::from_millis(2);
/// How long one attempt may take. Where a burst of clients fills the queue of those whom a broker has yet to accept, the kernel
/// itself tries again after a whole second only, which is all the patience there is.
const ATTEMPT: Duration = Duration::from_millis(200);
/// How many held clients attempt at the same time; the others queue, so that thousands do not burn a processor.
const ATTEMPTS: usize = 16;
/// The pause after a connection that could not be accepted, for want of descriptors say.
const BREATHER: Duration = Duration::from_millis(20);

/// The directory of one forwarder.
///
/// ```text
/// target           controller → forwarder   `host:port`, or empty: nobody serves
/// forwarder.json   forwarder → all          see `ForwarderReport`
/// forwarder.log    what the forwarder writes, for whoever spawns it
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwarderDirectory {
    path: PathBuf,
}

/// How a forwarder is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwarderReport {
    /// Its process.
    pub identity: Identity,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where it leads now: every connection to an earlier target is closed. `None`: nowhere.
    pub target: Option<String>,
}

impl ForwarderDirectory {
    /// The file of the target.
    pub const TARGET: &str = "target";
    /// The file of the report.
    pub const REPORT: &str = "forwarder.json";

    /// The directory at this path, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the forwarder itself writes; for whoever spawns it.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("forwarder.log")
    }

    /// Points the address to a broker (`host:port`), or to nobody.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn point(&self, target: Option<&str>) -> Result<(), FileError> {
        files::write(
            &self.path.join(Self::TARGET),
            format!("{}\n", target.unwrap_or_default()).as_bytes(),
        )
    }

    /// Where it should lead.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn target(&self) -> Result<Option<String>, FileError> {
        let text = files::read(&self.path.join(Self::TARGET))?;
        Ok(text
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty()))
    }

    /// The forwarder, if it is alive.
    ///
    /// # Errors
    /// If its file cannot be read or is damaged.
    pub fn running(&self) -> Result<Option<ForwarderReport>, FileError> {
        let report: Option<ForwarderReport> = files::read_json(&self.path.join(Self::REPORT))?;
        Ok(report.filter(|report| report.identity.is_alive()))
    }
}

/// What a forwarder is told at its start.
#[derive(Clone, Debug)]
pub struct ForwardOptions {
    /// Where clients connect. Port 0 takes a free one; the report says which.
    pub listen: SocketAddr,
    /// Where its files are; the directory exists.
    pub directory: ForwarderDirectory,
}

/// Why a forwarder ended.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Something else listens there already.
    #[error(
        "cannot listen on {listen}: {source}; another forwarder or program has this address: end it or choose another"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Its files cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system lacks something.
    #[error("cannot run a forwarder: {0}")]
    System(#[from] std::io::Error),
}

/// Forwards until SIGTERM; ignores SIGINT and SIGHUP. Connections are closed at its end.
///
/// # Errors
/// If the address is taken or the files cannot be used. A target that cannot be reached is no error.
pub async fn forward(options: ForwardOptions) -> Result<(), ForwardError> {
    let mut end = signal(SignalKind::terminate())?;
    // Handled by not being fatal: they are meant for whoever runs in the terminal.
    let _interrupt = signal(SignalKind::interrupt())?;
    let _hang_up = signal(SignalKind::hangup())?;
    spawn::raise_descriptor_limit();
    let forwarder = Forwarder::begin(options).await?;
    tokio::select! {
        biased;
        _ = end.recv() => Ok(()),
        error = forwarder.run() => Err(error),
    }
}

/// A forwarder at work. Dropped, it takes its connections along.
struct Forwarder {
    directory: ForwarderDirectory,
    changes: Changes,
    listener: TcpListener,
    report: ForwarderReport,
    target: watch::Sender<Option<Arc<str>>>,
    clients: tokio::task::JoinSet<()>,
}

impl Forwarder {
    /// Takes the address, and says so.
    async fn begin(options: ForwardOptions) -> Result<Self, ForwardError> {
        let ForwardOptions { listen, directory } = options;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|source| ForwardError::Listen { listen, source })?;
        // Watched first, read then: no change falls between.
        let changes = Changes::of(directory.path(), [ForwarderDirectory::TARGET]);
        let target = directory.target()?;
        let report = ForwarderReport {
            identity: Identity::own()?,
            listen: listener.local_addr()?,
            target: target.clone(),
        };
        files::write_json(&directory.path().join(ForwarderDirectory::REPORT), &report)?;
        say!(
            "forwards {} to {}",
            report.listen,
            target.as_deref().unwrap_or("nobody")
        );
        let (target, _) = watch::channel(target.map(Arc::from));
        Ok(Self {
            directory,
            changes,
            listener,
            report,
            target,
            clients: tokio::task::JoinSet::new(),
        })
    }

    /// Works until something makes it impossible.
    async fn run(mut self) -> ForwardError {
        let attempts = Arc::new(Semaphore::new(ATTEMPTS));
        loop {
            tokio::select! {
                biased;
                () = self.changes.next() => {
                    if let Err(error) = self.retarget() {
                        say!("{error}");
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((client, _)) => {
                        self.clients.spawn(serve(client, self.target.subscribe(), attempts.clone()));
                    }
                    Err(error) => {
                        say!("cannot accept a client: {error}");
                        sleep(BREATHER).await;
                    }
                },
                Some(_) = self.clients.join_next() => {}
            }
        }
    }

    /// Points the connections where the file says, and says so.
    fn retarget(&mut self) -> Result<(), FileError> {
        let target = self.directory.target()?;
        if target == self.report.target {
            return Ok(());
        }
        say!("leads to {}", target.as_deref().unwrap_or("nobody"));
        self.target.send_replace(target.clone().map(Arc::from));
        self.report.target = target;
        files::write_json(
            &self.directory.path().join(ForwarderDirectory::REPORT),
            &self.report,
        )
    }
}

/// Sees one client through: to the target and back until either side is done, or the target is another.
async fn serve(client: TcpStream, mut target: watch::Receiver<Option<Arc<str>>>, attempts: Arc<Semaphore>) {
    // Keep-alive finds out about a client that vanished where its broker's own patience is without end.
    let prepared = client
        .set_nodelay(true)
        .and_then(|()| Ok(set_socket_keepalive(&client, true)?));
    if let Err(error) = prepared {
        say!("cannot serve a client: {error}");
        return;
    }
    // A change of the target while the client is held starts this again; afterwards it ends the connection.
    let broker = loop {
        let address = target.borrow_and_update().clone();
        tokio::select! {
            biased;
            changed = target.changed() => if changed.is_err() { return },
            () = gone(&client) => return,
            reached = timeout(PATIENCE, reach(address, &attempts)) => match reached {
                Ok(broker) => break broker,
                Err(_) => return,
            },
        }
    };
    tokio::select! {
        biased;
        _ = target.changed() => {}
        // How it ended is the two sides' affair; both connections close here.
        _ = relay(&client, &broker) => {}
    }
}

/// Connects to the target as soon as somebody answers there; never, if it is nobody.
async fn reach(address: Option<Arc<str>>, attempts: &Semaphore) -> TcpStream {
    let Some(address) = address else {
        return std::future::pending().await;
    };
    loop {
        // Closed never; if it were, going on unlimited is right.
        let _attempt = attempts.acquire().await.ok();
        if let Ok(Ok(broker)) = timeout(ATTEMPT, TcpStream::connect(&*address)).await
            && broker.set_nodelay(true).is_ok()
            && !is_self(&broker)
        {
            return broker;
        }
        sleep(PAUSE).await;
    }
}

/// A connection to a free port of this machine may, by chance, get that very port as its own and talk to itself.
fn is_self(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// Resolves when the client closed its connection or its half of it. What it sent before stays to be read.
async fn gone(client: &TcpStream) {
    // PRIORITY wakes for a closed read side, and unlike READABLE not for the bytes that a held client has sent.
    match client.ready(Interest::PRIORITY).await {
        Ok(ready) if ready.is_read_closed() => {}
        Ok(_) => std::future::pending().await,
        Err(_) => {}
    }
}
