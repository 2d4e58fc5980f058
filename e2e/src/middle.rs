//! A man in the middle between a controller and the API server, who lets so many writes pass and then cuts all connections, or
//! keeps the server away for a while. Behind it `kubectl proxy` speaks TLS and shows who we are.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use hyper::body::Incoming;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::Cluster;
use crate::proxy::{ApiProxy, ask};

/// See the head of this module. Ends with this value.
#[derive(Debug)]
pub struct Middle {
    shared: Arc<Shared>,
    folder: TempDir,
    accepting: tokio::task::JoinHandle<()>,
    _proxy: ApiProxy,
}

#[derive(Debug)]
struct Shared {
    behind: SocketAddr,
    gate: Mutex<Gate>,
    /// Writes pass one at a time, so that none slips through with the last one.
    turn: tokio::sync::Mutex<()>,
    /// Which round of being open this is; connections end with theirs. Odd: closed.
    round: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Gate {
    /// How many writes may pass; any number, if none.
    left: Option<u64>,
    writes: Vec<String>,
}

impl Middle {
    /// Stands before the API server of a cluster, and is open.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let proxy = ApiProxy::start(cluster).await?;
        let shared = Arc::new(Shared {
            behind: proxy.address(),
            gate: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            round: watch::channel(0).0,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let folder = tempfile::tempdir()?;
        let kubeconfig = format!(
            "{{apiVersion: v1, kind: Config, current-context: middle, \
             clusters: [{{name: middle, cluster: {{server: \"http://{}\"}}}}], \
             users: [{{name: nobody, user: {{}}}}], \
             contexts: [{{name: middle, context: {{cluster: middle, user: nobody}}}}]}}\n",
            listener.local_addr()?
        );
        fs::write(folder.path().join("kubeconfig"), kubeconfig)?;
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self {
            shared,
            folder,
            accepting,
            _proxy: proxy,
        })
    }

    /// By which the API server is reached through it.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Lets anybody through: so many writes, then it closes; or for ever.
    pub fn open(&self, writes: Option<u64>) {
        self.shared.gate().left = writes;
        self.shared.round.send_if_modified(|round| {
            *round += *round % 2;
            true
        });
    }

    /// Ends all connections, and lets nobody through.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Resolves when it is closed.
    pub async fn wait_closed(&self) {
        // The sender lives as long as this.
        let _ = self
            .shared
            .round
            .subscribe()
            .wait_for(|round| round % 2 == 1)
            .await;
    }

    /// What was written since this was asked last: `PATCH /api/v1/...`.
    #[must_use]
    pub fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.gate().writes)
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.close();
    }
}

impl Shared {
    fn gate(&self) -> std::sync::MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.round.send_if_modified(|round| {
            *round += 1 - *round % 2;
            true
        });
    }

    fn is_open(&self) -> bool {
        self.round.borrow().is_multiple_of(2)
    }

    /// Passes a request on. Of the last write that may pass the server's answer does not come back.
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Incoming>> {
        let is_write = request.method() != Method::GET && !request.uri().path().contains("/events");
        if !is_write {
            return self.forward(request).await;
        }
        let _turn = self.turn.lock().await;
        anyhow::ensure!(self.is_open(), "closed");
        let written = format!("{} {}", request.method(), request.uri().path());
        let answer = self.forward(request).await?;
        let mut gate = self.gate();
        gate.writes.push(written);
        if let Some(left) = &mut gate.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.close();
                anyhow::bail!("closed");
            }
        }
        Ok(answer)
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Incoming>> {
        ask(self.behind, request).await
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        if shared.is_open() {
            tokio::spawn(serve(stream, shared.clone()));
        }
    }
}

/// One connection, which ends when it is closed.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut round = shared.round.subscribe();
    let began = *round.borrow();
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move {
            match shared.pass(request).await {
                Ok(answer) => Ok::<_, Infallible>(answer),
                // The connection is cut before this is answered.
                Err(_) => std::future::pending().await,
            }
        }
    });
    let serving = server::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = serving => {}
        _ = round.wait_for(|round| *round != began) => {}
    }
}

/// A controller on this machine that talks to the API server through a [`Middle`]; killed when this is dropped.
#[derive(Debug)]
pub struct Controller(Child);

impl Controller {
    /// Cares for one namespace. It asks for no Lease: who may act is not the question here. Its log goes to a file.
    pub fn start(program: &Path, kubeconfig: &Path, namespace: &str, log: &Path) -> Result<Self> {
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = Command::new(program)
            .args([
                "controller",
                "--image",
                "localhost/skein:1",
                "--pull-policy",
                "Never",
            ])
            .args([
                "--mosquitto-image",
                "localhost/mosquitto:1",
                "--listen",
                "127.0.0.1:0",
            ])
            .args(["--namespace", namespace])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        Ok(Self(
            child.with_context(|| format!("cannot run {}", program.display()))?,
        ))
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.0.id()
    }

    /// As by a power failure.
    pub async fn kill(mut self) -> Result<()> {
        self.0.kill().await.context("cannot kill the controller")
    }
}
