//! What the agents of many brokers do, done by one process: it takes each broker's configuration from its Secret, at once, and reports
//! that it is in use; and answers the questions that the controller asks beside each broker.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use skein_agent::{Configuration, ProcessState, Report, packed};
use skein_e2e::ApiProxy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::bus::{Bus, Users};

/// How long a question for news is held.
const HOLD: Duration = Duration::from_secs(25);
/// Reports under way at a time.
const AT_ONCE: usize = 8;

/// What became of each broker's configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    /// The newest that it was given.
    pub(crate) given: u64,
    /// How many it was given.
    pub(crate) count: f64,
    /// The newest whose use the API server knows of, and since when.
    pub(crate) reported: Option<(u64, Instant)>,
}

/// All of them.
pub(crate) struct Agents {
    proxy: Arc<ApiProxy>,
    namespace: String,
    bus: Arc<Bus>,
    addresses: BTreeMap<String, IpAddr>,
    taken: Mutex<BTreeMap<String, Taken>>,
    turns: Semaphore,
}

impl Agents {
    pub(crate) fn new(
        proxy: Arc<ApiProxy>,
        namespace: &str,
        bus: Arc<Bus>,
        addresses: BTreeMap<String, IpAddr>,
    ) -> Arc<Self> {
        Arc::new(Self {
            proxy,
            namespace: namespace.to_owned(),
            bus,
            addresses,
            taken: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
        })
    }

    pub(crate) fn taken(&self) -> MutexGuard<'_, BTreeMap<String, Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is given, for ever.
    pub(crate) async fn work(self: Arc<Self>) {
        let path = format!(
            "/api/v1/namespaces/{}/secrets?watch=1&labelSelector=app.kubernetes.io/managed-by=skein",
            self.namespace
        );
        loop {
            let watched = self.proxy.watch(&path, |change| {
                if let Err(error) = self.seen(&change) {
                    println!("a Secret cannot be read: {error:#}");
                }
            });
            if let Err(error) = watched.await {
                println!("the watch has ended: {error:#}");
            }
        }
    }

    fn seen(self: &Arc<Self>, change: &Value) -> Result<()> {
        let object = &change["object"];
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let Some(broker) = name.strip_suffix("-skein") else {
            return Ok(());
        };
        let Some(at) = self.addresses.get(broker) else {
            return Ok(());
        };
        let text = |key: &str| -> Result<Option<Vec<u8>>> {
            let text = object["data"][key].as_str();
            Ok(text.map(|text| BASE64_STANDARD.decode(text)).transpose()?)
        };
        let Some(desired) = text("desired.json.gz")? else {
            return Ok(());
        };
        let desired: Configuration = serde_json::from_str(&packed::unpack(&desired)?)?;
        if let Some(users) = text("users.json")? {
            self.bus.begin(*at, users_of(&serde_json::from_slice(&users)?));
        }
        let is_new = {
            let mut all = self.taken();
            let taken = all.entry(broker.to_owned()).or_default();
            let is_new = desired.epoch > taken.given;
            taken.given = taken.given.max(desired.epoch);
            taken.count += f64::from(u8::from(is_new));
            is_new
        };
        if is_new {
            let (agents, broker) = (self.clone(), broker.to_owned());
            tokio::spawn(async move {
                if let Err(error) = agents.report(&broker, desired.epoch).await {
                    println!("{broker} cannot report: {error:#}");
                }
            });
        }
        Ok(())
    }

    async fn report(&self, broker: &str, epoch: u64) -> Result<()> {
        let _turn = self.turns.acquire().await?;
        if self.taken().get(broker).is_some_and(|taken| taken.given > epoch) {
            return Ok(());
        }
        let report = Report {
            supervisor_pid: 1,
            process: ProcessState::Running { pid: 2 },
            loaded: Some(epoch),
            rejected: None,
            version: Some("2.1.2".to_owned()),
            restarts: 0,
            last_exit: None,
            all_barred: None,
            obstacle: None,
            started_at: Some(1),
            at: epoch,
        };
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{broker}-skein")},
            "data": {"report.json": serde_json::to_string(&report)?, "pod": "stand-in"},
        });
        let path = format!(
            "/api/v1/namespaces/{}/configmaps/{broker}-skein?fieldManager=skein-pod&force=true",
            self.namespace
        );
        self.proxy.apply(&path, &map).await?;
        let mut all = self.taken();
        all.entry(broker.to_owned()).or_default().reported = Some((epoch, Instant::now()));
        Ok(())
    }
}

/// The users of a file of dynamic security.
fn users_of(file: &Value) -> Users {
    let clients = file["clients"].as_array().into_iter().flatten();
    let user = |client: &Value| {
        let name = client["username"].as_str()?.to_owned();
        Some((name, client["disabled"].as_bool().unwrap_or_default()))
    };
    clients.filter_map(user).collect()
}

/// Answers what is asked beside brokers, for ever: nobody is connected to any.
pub(crate) async fn answer(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move { drop(attend(stream).await) });
    }
}

/// A store in which nobody has left anything.
fn nobody() -> String {
    json!({"version": 1, "sessions": {"newest": 0, "byClient": {}, "links": {}}}).to_string()
}

async fn attend(stream: TcpStream) -> Result<()> {
    let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
        let path = request.uri().path();
        let (status, body) = match (request.method(), path) {
            (&Method::GET, "/sessions") if request.uri().query() == Some("after=1") => {
                tokio::time::sleep(HOLD).await;
                (StatusCode::NO_CONTENT, String::new())
            }
            (_, "/sessions") => (StatusCode::OK, nobody()),
            (_, "/values") => (StatusCode::OK, "[]".to_owned()),
            _ => (StatusCode::OK, "null".to_owned()),
        };
        Response::builder()
            .status(status)
            .body(Full::new(Bytes::from(body)))
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    served.await.context("it has left")
}
