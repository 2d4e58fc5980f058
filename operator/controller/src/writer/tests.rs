//! On an API server of a few lines: objects by path, numbered anew with each change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use tower::service_fn;

use super::*;

#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    changes: u64,
    /// What was asked, but for reading.
    writes: Vec<String>,
    refuses: bool,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body
                    .collect()
                    .await
                    .map(http_body_util::Collected::to_bytes)
                    .unwrap_or_default();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let (code, answer) = server.answer(&parts.method, parts.uri.path(), &body);
                let response = Response::builder().status(code);
                Ok::<_, kube::Error>(
                    response
                        .body(Body::from(answer.to_string().into_bytes()))
                        .unwrap(),
                )
            }
        });
        Client::new(service, "farm")
    }

    fn answer(&self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let mut state = self.0.lock().unwrap();
        let state = &mut *state;
        if method != Method::GET {
            state
                .writes
                .push(format!("{method} {}", path.rsplit('/').next().unwrap()));
            if state.refuses {
                return (422, status(422));
            }
        }
        let Some(known) = state.objects.get(path) else {
            if method != Method::PATCH {
                return (404, status(404));
            }
            state.changes += 1;
            let mut made = body.clone();
            made["metadata"]["resourceVersion"] = json!(state.changes.to_string());
            made["metadata"]["uid"] = json!(format!("uid-{}", state.changes));
            state.objects.insert(path.to_owned(), made.clone());
            return (201, made);
        };
        let mut known = known.clone();
        if *method == Method::PATCH {
            let before = known.clone();
            merge(&mut known, body);
            if before != known {
                state.changes += 1;
                known["metadata"]["resourceVersion"] = json!(state.changes.to_string());
            }
            state.objects.insert(path.to_owned(), known.clone());
        } else if *method == Method::DELETE {
            state.objects.remove(path);
        }
        (200, known)
    }

    /// Somebody else changes an object; gives what a watch would tell of it.
    fn meddle(&self, path: &str, change: &Value) -> Version {
        let (_, changed) = self.answer(&Method::PATCH, path, change);
        self.0.lock().unwrap().writes.clear();
        Version::of(&serde_json::from_value(changed["metadata"].clone()).unwrap())
    }

    fn object(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().writes)
    }
}

fn merge(known: &mut Value, patch: &Value) {
    match (known, patch) {
        (Value::Object(known), Value::Object(patch)) => {
            for (key, value) in patch {
                if key != "resourceVersion" {
                    merge(known.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (known, patch) => *known = patch.clone(),
    }
}

fn status(code: u16) -> Value {
    let reason = if code == 404 { "NotFound" } else { "Invalid" };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "no", "reason": reason})
}

const PATH: &str = "/api/v1/namespaces/farm/configmaps/a-skein";

fn wanted(value: &str) -> Wanted {
    let (label, ours) = names::MANAGED_BY;
    Wanted {
        resource: ApiResource::erase::<ConfigMap>(&()),
        name: "a-skein".to_owned(),
        body: json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a-skein", "labels": {label: ours}},
            "data": {"key": value},
        }),
    }
}

fn key() -> Key {
    Key::of("ConfigMap", "a-skein")
}

/// A writer, and what it is told.
struct Bench {
    server: Server,
    writer: Writer,
    done: mpsc::UnboundedReceiver<Done>,
}

impl Bench {
    fn new() -> Self {
        let server = Server::default();
        let (writer, done) = Writer::new(server.client(), "farm");
        Self { server, writer, done }
    }

    /// The next write's end.
    async fn end(&mut self) -> End {
        let done = self.done.recv().await.unwrap();
        self.writer.heard(done).1
    }

    /// What is written by the time that nothing is left to write.
    async fn settle(&mut self) -> Vec<String> {
        while self.writer.is_pending(&key()) {
            tokio::select! {
                done = self.done.recv() => drop(self.writer.heard(done.unwrap())),
                () = tokio::time::sleep(Duration::from_millis(100)) => {
                    self.writer.try_again(Instant::now());
                }
            }
        }
        self.server.writes()
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_changed_is_written() {
    let mut bench = Bench::new();
    bench.writer.want(wanted("1"));
    assert_eq!(bench.settle().await, ["PATCH a-skein"]);
    bench.writer.want(wanted("1"));
    assert!(bench.settle().await.is_empty());
    bench.writer.want(wanted("2"));
    bench.writer.want(wanted("3"));
    assert_eq!(bench.settle().await.len(), 2, "what was overtaken is not written");
    assert_eq!(bench.server.object(PATH).unwrap()["data"]["key"], "3");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_changed_or_deleted_is_written_again() {
    let mut bench = Bench::new();
    bench.writer.want(wanted("1"));
    bench.settle().await;
    let own = bench.server.object(PATH).unwrap();
    let own = Version::of(&serde_json::from_value(own["metadata"].clone()).unwrap());
    bench.writer.saw(&key(), Some(own));
    assert!(bench.settle().await.is_empty(), "it is as we made it");
    let foreign = bench.server.meddle(PATH, &json!({"data": {"key": "theirs"}}));
    bench.writer.saw(&key(), Some(foreign));
    assert_eq!(bench.settle().await, ["PATCH a-skein"]);
    assert_eq!(bench.server.object(PATH).unwrap()["data"]["key"], "1");
    bench.server.answer(&Method::DELETE, PATH, &Value::Null);
    bench.writer.saw(&key(), None);
    bench.settle().await;
    assert!(bench.server.object(PATH).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_adds_stays_and_is_answered_once() {
    let mut bench = Bench::new();
    bench.writer.want(wanted("1"));
    bench.settle().await;
    let foreign = bench.server.meddle(PATH, &json!({"data": {"theirs": "2"}}));
    bench.writer.saw(&key(), Some(foreign.clone()));
    assert_eq!(bench.settle().await.len(), 1);
    assert_eq!(bench.server.object(PATH).unwrap()["data"]["theirs"], "2");
    bench.writer.saw(&key(), Some(foreign));
    assert!(bench.settle().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_meddles_again_and_again_is_answered_more_and_more_seldom() {
    let mut bench = Bench::new();
    bench.writer.want(wanted("1"));
    bench.settle().await;
    let mut pauses = Vec::new();
    for number in 0..6 {
        let foreign = bench
            .server
            .meddle(PATH, &json!({"data": {"key": format!("theirs {number}")}}));
        let begin = Instant::now();
        bench.writer.saw(&key(), Some(foreign));
        bench.settle().await;
        pauses.push(begin.elapsed());
    }
    assert!(pauses[0] < Duration::from_millis(50), "{pauses:?}");
    assert!(pauses[5] > 8 * pauses[1] && pauses[1] > pauses[0], "{pauses:?}");
    // Who is quiet for a while is forgiven.
    tokio::time::advance(QUIET).await;
    let foreign = bench.server.meddle(PATH, &json!({"data": {"key": "again"}}));
    let begin = Instant::now();
    bench.writer.saw(&key(), Some(foreign));
    bench.settle().await;
    assert!(begin.elapsed() < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_is_left_alone() {
    let mut bench = Bench::new();
    bench.server.meddle(
        PATH,
        &json!({"metadata": {"name": "a-skein"}, "data": {"key": "theirs"}}),
    );
    bench.writer.want(wanted("1"));
    let refused = loop {
        match bench.end().await {
            End::Refused(refusal) => break refusal,
            End::Again => {
                tokio::time::advance(Duration::from_secs(1)).await;
                bench.writer.try_again(Instant::now());
            }
            End::Written => panic!("it is somebody else's"),
        }
    };
    assert!(matches!(refused, Refusal::Foreign { .. }), "{refused}");
    assert!(bench.server.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_tried_again_with_growing_pauses() {
    let mut bench = Bench::new();
    bench.server.0.lock().unwrap().refuses = true;
    bench.writer.want(wanted("1"));
    let mut pauses = Vec::new();
    for _ in 0..4 {
        bench.end().await;
        let due = bench.writer.next_due().unwrap();
        pauses.push(due - Instant::now());
        tokio::time::sleep_until(due).await;
        bench.writer.try_again(Instant::now());
    }
    assert!(pauses.is_sorted() && pauses[3] > 4 * pauses[0], "{pauses:?}");
    bench.server.0.lock().unwrap().refuses = false;
    bench.settle().await;
    assert!(bench.writer.is_written(&key()));
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_is_taken_away_and_others_stay() {
    let mut bench = Bench::new();
    bench.server.meddle(
        PATH,
        &json!({"metadata": {"name": "a-skein", "finalizers": [names::FINALIZER, "example.org/theirs"]}}),
    );
    bench
        .writer
        .want_free(ApiResource::erase::<ConfigMap>(&()), "a-skein");
    bench.settle().await;
    let left = bench.server.object(PATH).unwrap();
    assert_eq!(left["metadata"]["finalizers"], json!(["example.org/theirs"]));
    // One that is gone needs nothing.
    bench
        .writer
        .want_free(ApiResource::erase::<ConfigMap>(&()), "gone");
    assert!(matches!(bench.end().await, End::Written));
}
