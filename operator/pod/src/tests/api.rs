//! As much of a Kubernetes API as a pod sees: one Secret to watch, one `ConfigMap` to write.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use skein_agent::packed;
use tokio::sync::watch;
use tokio::time::timeout;

/// Far longer than anything here takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How it takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// It answers that it cannot.
    Broken,
    /// It does not answer.
    Silent,
}

/// A request that wrote the `ConfigMap`.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) query: String,
    pub(super) map: Value,
}

impl Applied {
    /// The report in it.
    pub(super) fn report(&self) -> Value {
        serde_json::from_str(self.map["data"]["report.json"].as_str().unwrap()).unwrap()
    }
}

struct State {
    mood: watch::Sender<Mood>,
    /// How often anything was asked.
    asked: watch::Sender<u32>,
    /// The Secret's data as text, and a number that grows with each change.
    secret: watch::Sender<(u64, Option<Value>)>,
    applied: watch::Sender<Vec<Applied>>,
}

#[derive(Clone)]
pub(super) struct FakeApi(Arc<State>);

impl FakeApi {
    pub(super) fn new() -> Self {
        Self(Arc::new(State {
            mood: watch::Sender::new(Mood::Well),
            asked: watch::Sender::new(0),
            secret: watch::Sender::new((1, None)),
            applied: watch::Sender::default(),
        }))
    }

    pub(super) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "elsewhere")
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        self.0.mood.send_replace(mood);
    }

    /// Changes the Secret; `None` deletes it.
    pub(super) fn set_secret(&self, data: Option<Value>) {
        self.0.secret.send_modify(|(version, secret)| {
            *version += 1;
            *secret = data;
        });
    }

    /// Waits until it was asked so often.
    pub(super) async fn asked(&self, times: u32) {
        let mut asked = self.0.asked.subscribe();
        // Pauses between tries count, where time is virtual.
        timeout(10 * PATIENCE, asked.wait_for(|asked| *asked >= times))
            .await
            .unwrap()
            .unwrap();
    }

    pub(super) fn applied(&self) -> Vec<Applied> {
        self.0.applied.borrow().clone()
    }

    /// Waits until the `ConfigMap` has such a report.
    pub(super) async fn reported(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut applied = self.0.applied.subscribe();
        let found = applied.wait_for(|applied| applied.last().is_some_and(|last| wanted(&last.report())));
        let found = timeout(PATIENCE, found)
            .await
            .map(|found| found.unwrap().last().unwrap().report());
        found.unwrap_or_else(|_| panic!("the last report is {:?}", self.applied().last()))
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        self.0.asked.send_modify(|asked| *asked += 1);
        let mood = *self.0.mood.borrow();
        match mood {
            Mood::Well => {}
            Mood::Broken => return respond(500, &json!({"message": "no", "reason": "Broken", "code": 500})),
            Mood::Silent => std::future::pending().await,
        }
        let (head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let parameter = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
                .next()
        };
        match (&head.method, head.uri.path()) {
            (&Method::GET, "/api/v1/namespaces/fleet/secrets") => {
                assert_eq!(
                    parameter("fieldSelector").as_deref(),
                    Some("metadata.name%3Da-skein")
                );
                if parameter("watch").is_some() {
                    let since = parameter("resourceVersion").unwrap().parse().unwrap();
                    self.change(since).await
                } else {
                    self.list()
                }
            }
            (&Method::PATCH, "/api/v1/namespaces/fleet/configmaps/a-skein") => {
                let body = body.collect_bytes().await.unwrap();
                let map: Value = serde_json::from_slice(&body).unwrap();
                let applied = Applied {
                    query,
                    map: map.clone(),
                };
                self.0.applied.send_modify(|all| all.push(applied));
                respond(200, &map)
            }
            other => panic!("a pod may not do {other:?}"),
        }
    }

    fn list(&self) -> Response<Body> {
        let (version, secret) = self.0.secret.borrow().clone();
        let items: Vec<Value> = secret.iter().map(|data| object(version, data)).collect();
        respond(
            200,
            &json!({
                "apiVersion": "v1",
                "kind": "SecretList",
                "metadata": {"resourceVersion": version.to_string()},
                "items": items,
            }),
        )
    }

    /// A watch that ends with the first change.
    async fn change(&self, since: u64) -> Response<Body> {
        let mut changes = self.0.secret.subscribe();
        let (version, secret) = changes
            .wait_for(|(version, _)| *version > since)
            .await
            .unwrap()
            .clone();
        let (kind, data) = match secret {
            Some(data) => ("MODIFIED", data),
            None => ("DELETED", json!({})),
        };
        respond(200, &json!({"type": kind, "object": object(version, &data)}))
    }
}

fn object(version: u64, data: &Value) -> Value {
    let encoded: serde_json::Map<String, Value> = data
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, content)| {
            let text = content.as_str().unwrap();
            let bytes = if key.strip_suffix(".gz").is_some() {
                packed::pack(text).unwrap()
            } else {
                text.into()
            };
            let content = serde_json::to_value(k8s_openapi::ByteString(bytes)).unwrap();
            (key.clone(), content)
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a-skein", "namespace": "fleet", "resourceVersion": version.to_string()},
        "data": encoded,
    })
}

fn respond(status: u16, body: &Value) -> Response<Body> {
    let mut text = serde_json::to_vec(body).unwrap();
    text.push(b'\n');
    Response::builder().status(status).body(Body::from(text)).unwrap()
}
