//! One question to a pod, over a connection of its own.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use skein_engine::event::Activity;
use skein_engine::retained::Value;
use skein_sight::wire::{ACTIVITY, HOLD, SESSIONS, Told, VALUES, Wanted};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::timeout;

/// How long a pod may take until it is reached.
const REACH: Duration = Duration::from_secs(2);
/// How long a store may take to be read, and what it says to come here.
const READING: Duration = Duration::from_secs(5);
/// The same for values, with their payloads.
const VALUES_READING: Duration = Duration::from_secs(30);
/// The longest answer, in bytes.
const LONGEST: usize = 256 << 20;

/// Why a pod does not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It has no address.
    #[error("its pod is not there")]
    Gone,
    /// It cannot be reached.
    #[error("its pod cannot be reached: {0}")]
    Unreached(#[from] io::Error),
    /// It does not answer in time.
    #[error("its pod does not answer in time")]
    Late,
    /// It answers with something else.
    #[error("its pod does not answer as it should: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It refuses.
    #[error("its pod answers {0}: {1}")]
    Refused(StatusCode, String),
}

impl AskError {
    fn broken(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Broken(why.into())
    }
}

/// Where a pod is asked, and what shows it who asks.
#[derive(Clone)]
pub(crate) struct Pod {
    address: SocketAddr,
    token: Arc<str>,
}

impl fmt::Debug for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pod({})", self.address)
    }
}

impl Pod {
    pub(super) fn new(address: SocketAddr, token: &str) -> Self {
        let token = token.into();
        Self { address, token }
    }

    /// What its store keeps, as soon as that is something else than this version; nothing, if it is not for a while.
    pub(super) async fn news(&self, after: u64) -> Result<Option<Told>, AskError> {
        let path = format!("{SESSIONS}?after={after}");
        self.ask(Method::GET, &path, Bytes::new(), HOLD + READING).await
    }

    /// What its store keeps now.
    pub(super) async fn read(&self) -> Result<Told, AskError> {
        let told = self.ask(Method::POST, SESSIONS, Bytes::new(), READING).await?;
        told.ok_or_else(|| AskError::broken("nothing is said"))
    }

    /// The retained values in its store, with the payload of what matches these.
    pub(super) async fn values(&self, filters: Vec<String>) -> Result<Vec<Value>, AskError> {
        let wanted = serde_json::to_vec(&Wanted { filters }).map_err(AskError::broken)?;
        let values = self.ask(Method::POST, VALUES, wanted.into(), VALUES_READING);
        values.await?.ok_or_else(|| AskError::broken("nothing is said"))
    }

    /// What its broker's process did, if that is to be seen.
    pub(super) async fn activity(
        &self,
        interval: Duration,
        patience: Duration,
    ) -> Result<Option<Activity>, AskError> {
        let path = format!("{ACTIVITY}?interval={}", interval.as_millis());
        self.ask(Method::GET, &path, Bytes::new(), patience)
            .await
            .map(Option::flatten)
    }

    /// What it answers; nothing, if it says that there is nothing.
    async fn ask<T: DeserializeOwned + Send + 'static>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Option<T>, AskError> {
        let asked = timeout(patience, self.exchange(method, path, body));
        let (status, body) = asked.await.map_err(|_| AskError::Late)??;
        match status {
            StatusCode::OK => {
                // The loop does not wait for that: it may be much.
                let parsed = spawn_blocking(move || serde_json::from_slice(&body)).await;
                let parsed = parsed.map_err(AskError::broken)?;
                parsed.map(Some).map_err(AskError::broken)
            }
            StatusCode::NO_CONTENT => Ok(None),
            refused => {
                let why = String::from_utf8_lossy(&body).chars().take(200).collect();
                Err(AskError::Refused(refused, why))
            }
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let connected = timeout(REACH, TcpStream::connect(self.address)).await;
        let stream = connected.map_err(|_| AskError::Late)??;
        stream.set_nodelay(true)?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(AskError::broken)?;
        // Whether it ended well shows in the answer.
        let _connection = Beside(tokio::spawn(async { drop(connection.await) }).abort_handle());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::new(body))
            .map_err(AskError::broken)?;
        let answer = sender.send_request(request).await.map_err(AskError::broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        Ok((status, body.map_err(AskError::Broken)?.to_bytes()))
    }
}

/// A task that ends with this: nobody waits for the connection of a question that is no longer asked.
struct Beside(AbortHandle);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.abort();
    }
}
