//! The API server, asked in plain HTTP: `kubectl proxy` speaks TLS and shows who we are. `kubectl` itself takes a tenth of a second to
//! begin, which is no way to measure.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::Cluster;

/// A way to the API server. Ends with this value.
#[derive(Debug)]
pub struct ApiProxy {
    address: SocketAddr,
    _child: Child,
}

impl ApiProxy {
    /// To the API server of a cluster.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .args(["proxy", "--port=0", "--keepalive=5s"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run `kubectl proxy`")?;
        let said = child.stdout.take().context("no output")?;
        let line = BufReader::new(said).lines().next_line().await?;
        let line = line.context("`kubectl proxy` said nothing")?;
        let address = line.rsplit(' ').next().unwrap_or_default().parse();
        let address = address.with_context(|| format!("`kubectl proxy` names no address: {line}"))?;
        Ok(Self {
            address,
            _child: child,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, path: &str, change: &Value) -> Result<()> {
        self.change(path, "application/merge-patch+json", change).await
    }

    /// Has an object be as this says, by server-side apply; the path says who does.
    pub async fn apply(&self, path: &str, object: &Value) -> Result<()> {
        self.change(path, "application/apply-patch+yaml", object).await
    }

    async fn change(&self, path: &str, type_: &str, body: &Value) -> Result<()> {
        let refused = self.send(Method::PATCH, path, type_, body).await?.err();
        ensure!(
            refused.is_none(),
            "{path}: {}",
            refused.unwrap_or_default()["message"]
        );
        Ok(())
    }

    /// What is there.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let type_ = "application/json";
        let got = self.send(Method::GET, path, type_, &Value::Null).await?;
        got.map_err(|refused| anyhow::anyhow!("{path}: {}", refused["message"]))
    }

    /// Has an object be made; gives it, or the status that says why not.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Result<Value, Value>> {
        Self::create_at(self.address, path, object).await
    }

    /// The same, by where the way to the API server begins: for many at a time.
    pub async fn create_at(address: SocketAddr, path: &str, object: &Value) -> Result<Result<Value, Value>> {
        send(address, Method::POST, path, "application/json", object).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        type_: &str,
        body: &Value,
    ) -> Result<Result<Value, Value>> {
        send(self.address, method, path, type_, body).await
    }

    /// Hands over each change that a watch tells of, until that ends.
    pub async fn watch(&self, path: &str, mut take: impl FnMut(Value)) -> Result<()> {
        let request = Request::get(path)
            .header(HOST, self.address.to_string())
            .body(Full::new(Bytes::new()))?;
        let mut body = ask(self.address, request).await?.into_body();
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            text.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                take(serde_json::from_slice(&line)?);
            }
        }
        Ok(())
    }
}

async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    type_: &str,
    body: &Value,
) -> Result<Result<Value, Value>> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string())
        .header(CONTENT_TYPE, type_)
        .body(Full::new(Bytes::from(body)))?;
    let answer = ask(address, request).await?;
    let is_done = answer.status().is_success();
    let said = answer.into_body().collect().await?.to_bytes();
    let said = serde_json::from_slice(&said).context("no answer in JSON")?;
    Ok(if is_done { Ok(said) } else { Err(said) })
}

/// One request on a connection of its own.
pub(crate) async fn ask<B>(at: SocketAddr, request: Request<B>) -> Result<Response<Incoming>>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Whether it ended well shows in the answer.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender.send_request(request).await?)
}
