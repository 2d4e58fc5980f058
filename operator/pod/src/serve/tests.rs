//! What strangers and the controller are answered, byte by byte; how the controller goes about it is tested there.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command};

use serde_json::{Value, json};
use skein_agent::{BrokerDirectory, Identity};
use skein_api::name::BrokerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::*;

#[path = "../../../store/tests/common/classic.rs"]
#[allow(dead_code, reason = "shared with the tests of the store")]
mod classic;

const TOKEN: &str = "token-of-a";
const SOON: Duration = Duration::from_secs(10);

/// A pod that is asked.
struct Scene {
    directory: BrokerDirectory,
    address: SocketAddr,
    token: watch::Sender<Option<String>>,
    serving: JoinHandle<Infallible>,
    _temporary: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let directory = BrokerDirectory::new(temporary.path());
        directory.create().unwrap();
        let sight = Sight::start("farm", &BrokerName::new("a").unwrap(), &directory).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (token, known) = watch::channel(Some(TOKEN.to_owned()));
        let clerk = Clerk::new(known, sight, Duration::from_millis(50));
        Self {
            directory,
            address,
            token,
            serving: tokio::spawn(attend_all(listener, clerk)),
            _temporary: temporary,
        }
    }

    /// What somebody with this header is answered.
    async fn ask(&self, what: &str, header: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request =
            format!("{what} HTTP/1.1\r\nHost: pod\r\n{header}\r\nContent-Length: {length}\r\n\r\n{body}");
        self.say(&request).await
    }

    async fn say(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = timeout(SOON, stream.read_to_string(&mut answer)).await;
        read.expect("no answer").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    async fn granted(&self, what: &str, body: &str) -> (u16, String) {
        self.ask(what, &format!("Authorization: Bearer {TOKEN}"), body)
            .await
    }

    async fn json(&self, what: &str, body: &str) -> Value {
        let (status, text) = self.granted(what, body).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test]
async fn nobody_is_told_anything_without_the_token() {
    let scene = Scene::new().await;
    let room = async |header: &str| scene.ask("GET /room", header, "").await.0;
    for wrong in [
        "Accept: */*",
        "Authorization: Bearer",
        "Authorization: Bearer token-of-b",
        "Authorization: Bearer token-of-",
        "Authorization: Bearer token-of-aa",
        "Authorization: Basic token-of-a",
    ] {
        assert_eq!(room(wrong).await, 401, "{wrong}");
    }
    let right = "Authorization: Bearer token-of-a";
    assert_eq!(room(right).await, 200);
    scene.token.send_replace(Some("another".to_owned()));
    assert_eq!(room(right).await, 401, "it is known no more");
    assert_eq!(room("Authorization: Bearer another").await, 200);
    for none in [None, Some(String::new())] {
        scene.token.send_replace(none);
        assert_eq!(room("Authorization: Bearer ").await, 401, "there is none");
    }
    let health = scene.ask("GET /healthz", "Accept: */*", "").await;
    assert_eq!(health, (200, "ok".to_owned()), "anybody may know");
}

#[tokio::test]
async fn figures_are_told_to_anybody() {
    let scene = Scene::new().await;
    let report = json!({
        "supervisorPid": 1, "process": {"state": "running", "pid": std::process::id()}, "loaded": 3,
        "rejected": {"epoch": 4, "reason": "no"}, "version": "2.1.2", "restarts": 2, "lastExit": null, "allBarred": null,
        "startedAt": 1_790_000_000_500_u64, "at": 9,
    });
    fs::write(scene.directory.path().join("report.json"), report.to_string()).unwrap();
    let config = include_str!("../../../mosquitto/tests/snapshots/compile__a_pull_broker.snap");
    let config = config.splitn(3, "---\n").last().unwrap();
    scene.directory.give(3, config, Value::Null).unwrap();
    fs::rename(
        scene.directory.path().join("desired.json"),
        scene.directory.path().join("loaded.json"),
    )
    .unwrap();
    let mut store = classic::Writer::new(6);
    for number in 1..=5 {
        store.message(number, "t", b"1234567", 1, 0);
    }
    store.client("valve", b"", u32::MAX, 0);
    store.client("skein:a:b:pull:soil", b"", u32::MAX, 0);
    for number in 1..=5 {
        store.queued("valve", number, true);
    }
    fs::write(scene.directory.data().join("mosquitto.db"), &store.bytes).unwrap();
    // So that it is read.
    scene.json("POST /sessions", "").await;
    let (status, text) = scene.ask("GET /metrics", "Accept: */*", "").await;
    assert_eq!(status, 200, "{text}");
    for line in [
        "skein_broker_running{broker=\"a\",namespace=\"farm\"} 1",
        "skein_broker_restarts_total{broker=\"a\",namespace=\"farm\"} 2",
        "skein_broker_start_time_seconds{broker=\"a\",namespace=\"farm\"} 1790000000.5",
        "skein_config_epoch{broker=\"a\",namespace=\"farm\"} 3",
        "skein_config_rejected{broker=\"a\",namespace=\"farm\"} 1",
        "skein_sessions{broker=\"a\",namespace=\"farm\",of=\"link\"} 1",
        "skein_queue_messages{broker=\"a\",namespace=\"farm\",of=\"client\"} 5",
        "skein_queue_bytes{broker=\"a\",namespace=\"farm\",of=\"client\"} 35",
        "skein_queue_fill_ratio{broker=\"a\",namespace=\"farm\"} 0.00005",
        "skein_queue_full_after_seconds{broker=\"a\",namespace=\"farm\"} inf",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    for row in skein_metrics::pod::TABLE {
        assert!(
            text.contains(&format!("# TYPE {} ", row.name)),
            "{} has no series",
            row.name
        );
    }
    assert!(!text.contains("valve"), "no client is named");
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_words() {
    let scene = Scene::new().await;
    for (what, body, expected) in [
        ("GET /elsewhere", "", 404),
        ("POST /healthz", "", 404),
        ("GET /values", "", 405),
        ("DELETE /sessions", "", 405),
        ("GET /sessions?after=x", "", 400),
        ("POST /values", "{", 400),
        ("POST /values", r#"{"filters": ["a/#/b"]}"#, 400),
    ] {
        let (status, why) = scene.granted(what, body).await;
        assert_eq!(status, expected, "{what}: {why}");
        assert!(!why.is_empty(), "{what}");
    }
    let long = format!(
        "POST /values HTTP/1.1\r\nHost: pod\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 5000000\r\n\r\n"
    );
    assert_eq!(scene.say(&long).await.0, 413);
    let endless = format!("GET /room HTTP/1.1\r\nHost: pod\r\nX: {}", "x".repeat(LONGEST));
    assert_eq!(scene.say(&endless).await.0, 431);
}

#[tokio::test]
async fn who_waits_for_news_is_told_after_a_while_that_there_are_none() {
    let scene = Scene::new().await;
    let told = scene.json("POST /sessions", "").await;
    assert_eq!(told["sessions"], Value::Null, "it keeps nothing");
    let version = told["version"].as_u64().unwrap();
    assert_ne!(version, 0);
    let again = scene.json("GET /sessions", "").await;
    assert_eq!(again, told, "known at once");
    let news = scene.granted(&format!("GET /sessions?after={version}"), "").await;
    assert_eq!(news, (204, String::new()));
    let earlier = scene
        .json(&format!("GET /sessions?after={}", version + 7), "")
        .await;
    assert_eq!(earlier, told, "of another life");
}

#[tokio::test]
async fn more_connections_than_there_may_be_wait() {
    let scene = Scene::new().await;
    let mut silent = Vec::new();
    for _ in 0..AT_ONCE {
        silent.push(TcpStream::connect(scene.address).await.unwrap());
    }
    let mut further = TcpStream::connect(scene.address).await.unwrap();
    further
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: pod\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let early = timeout(Duration::from_millis(200), further.read_to_end(&mut answer)).await;
    assert!(early.is_err(), "it is not its turn");
    silent.pop();
    let turn = timeout(SOON, further.read_to_end(&mut answer)).await;
    turn.expect("never its turn").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

/// A process that is stopped in its tracks.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn the_process_and_the_disk_are_looked_at() {
    let scene = Scene::new().await;
    let activity = async || scene.json("GET /activity?interval=50", "").await;
    assert_eq!(activity().await, Value::Null, "there is no process");
    let stopped = Stopped(
        Command::new("sh")
            .args(["-c", "kill -STOP $$; sleep 600"])
            .spawn()
            .unwrap(),
    );
    let identity = serde_json::to_string(&Identity::of(stopped.0.id()).unwrap()).unwrap();
    fs::write(scene.directory.path().join("broker.pid"), identity).unwrap();
    timeout(SOON, async { while activity().await != "Frozen" {} })
        .await
        .expect("it is never seen to be stopped");
    drop(stopped);
    assert_eq!(activity().await, Value::Null, "it is gone");

    fs::write(scene.directory.data().join("mosquitto.db"), [0; 300]).unwrap();
    let room = scene.json("GET /room", "").await;
    assert_eq!(room["keeps"], json!({"file": 300}));
    assert!(room["free"].as_u64().unwrap() > 0, "{room}");
}
