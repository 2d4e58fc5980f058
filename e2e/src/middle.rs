//! A man in the middle between a controller and the API server, who lets so many writes pass and then cuts all connections, or
//! keeps the server away for a while; or who shows once more what there was at first. Behind it `kubectl proxy` speaks TLS and shows who we are.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
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
    /// The first answer to each request for a list.
    first: BTreeMap<String, Bytes>,
    back: Option<Back>,
}

/// What was answered since it went back.
#[derive(Debug, Default)]
struct Back {
    expired: BTreeSet<String>,
    listed: BTreeSet<String>,
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

fn full(status: StatusCode, body: Bytes) -> Result<Answer> {
    let body = Full::new(body).map_err(|never| match never {}).boxed();
    Ok(Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .body(body)?)
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

    /// Cuts all connections, and answers as a server that is behind the others: what is watched has expired, and lists are those that
    /// were asked for first. What happened since is told anew then.
    pub fn go_back(&self) {
        self.shared.gate().back = Some(Back::default());
        self.shared.round.send_modify(|round| *round += 2);
    }

    /// How many lists were asked for.
    #[must_use]
    pub fn first_lists(&self) -> usize {
        self.shared.gate().first.len()
    }

    /// How many old lists were given since it went back.
    #[must_use]
    pub fn old_lists(&self) -> usize {
        self.shared
            .gate()
            .back
            .as_ref()
            .map_or(0, |back| back.listed.len())
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
    async fn pass(&self, request: Request<Incoming>) -> Result<Answer> {
        if request.method() == Method::GET {
            return self.show(request).await;
        }
        if request.uri().path().contains("/events") {
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

    /// What is there, or was.
    async fn show(&self, request: Request<Incoming>) -> Result<Answer> {
        let (uri, path) = (request.uri().to_string(), request.uri().path().to_owned());
        if let Some(old) = self.gate().show_old(&uri, &path) {
            return old;
        }
        let answer = self.forward(request).await?;
        if !is_list(&uri) || !answer.status().is_success() {
            return Ok(answer);
        }
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        self.gate().first.entry(uri).or_insert_with(|| body.clone());
        full(parts.status, body)
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Answer> {
        Ok(ask(self.behind, request).await?.map(BodyExt::boxed))
    }
}

/// What a mirror begins with.
fn is_list(uri: &str) -> bool {
    uri.contains("limit=") && !uri.contains("watch=")
}

impl Gate {
    /// Whatever a server would answer that is behind, once for each request.
    fn show_old(&mut self, uri: &str, path: &str) -> Option<Result<Answer>> {
        let back = self.back.as_mut()?;
        if uri.contains("watch=") && back.expired.insert(path.to_owned()) {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "message": "too old", "reason": "Expired", "code": 410});
            let told = json!({"type": "ERROR", "object": status});
            return Some(full(StatusCode::OK, format!("{told}\n").into()));
        }
        let old = self.first.get(uri)?;
        let is_first = back.listed.insert(uri.to_owned());
        is_first.then(|| full(StatusCode::OK, old.clone()))
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

/// The Lease of controllers on this machine.
pub const LEASE: &str = "controllers";

/// A controller on this machine that talks to the API server through a [`Middle`]; killed when this is dropped.
#[derive(Debug)]
pub struct Controller(Child);

impl Controller {
    /// Cares for one namespace. It asks for no Lease: who may act is not the question here. Its log goes to a file.
    pub fn start(program: &Path, kubeconfig: &Path, namespace: &str, log: &Path) -> Result<Self> {
        Self::begin(program, kubeconfig, namespace, log, &[])
    }

    /// The same, if it has a Lease of that namespace, or as soon as it does.
    pub fn standing_by(program: &Path, kubeconfig: &Path, namespace: &str, log: &Path) -> Result<Self> {
        let lease = format!("{namespace}/{LEASE}");
        Self::begin(program, kubeconfig, namespace, log, &["--lease", &lease])
    }

    fn begin(
        program: &Path,
        kubeconfig: &Path,
        namespace: &str,
        log: &Path,
        further: &[&str],
    ) -> Result<Self> {
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
            .args(further)
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
