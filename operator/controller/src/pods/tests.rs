//! The controller's end and the pod's, against each other.

use std::cell::Cell;
use std::convert::Infallible;
use std::fs;
use std::process::{Child, Command};
use std::time::SystemTime;

use skein_agent::{BrokerDirectory, Identity};
use skein_engine::retained::Source;
use skein_mosquitto::security::FleetSecret;
use skein_pod::serve::{Sight, serve};
use skein_store::CLASSIC_FILE;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;

#[path = "../../../store/tests/common/classic.rs"]
#[allow(dead_code, reason = "shared with the tests of the store")]
mod classic;

const SOON: Duration = Duration::from_secs(20);
const NEVER: u32 = u32::MAX;

fn name() -> BrokerName {
    BrokerName::new("a").unwrap()
}

fn token() -> Password {
    FleetSecret::new([7; 32]).token(&name())
}

/// A broker's directory with a classic store in it.
struct Store {
    folder: TempDir,
    saves: Cell<u64>,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        BrokerDirectory::new(folder.path()).create().unwrap();
        let saves = Cell::new(0);
        Self { folder, saves }
    }

    fn directory(&self) -> BrokerDirectory {
        BrokerDirectory::new(self.folder.path())
    }

    /// A session `valve` with so many messages and these filters, and a retained value.
    fn save(&self, waiting: u64, filters: &[&str]) {
        let mut writer = classic::Writer::new(6);
        for number in 1..=waiting {
            writer.message(number, "t", b"", 1, 0);
        }
        writer.message_of("probe", 99, "farm/1", b"\xff5", 1, 0);
        writer.retained(99);
        writer.client("valve", b"", NEVER, 0);
        for number in 1..=waiting {
            writer.queued("valve", number, true);
        }
        for filter in filters {
            writer.subscription("valve", filter, 1, 0, 0);
        }
        self.write(&writer.bytes);
    }

    /// As if it had been saved a while ago, each a little later than the one before.
    fn write(&self, bytes: &[u8]) {
        let file = self.directory().data().join(CLASSIC_FILE);
        let draft = file.with_extension("new");
        fs::write(&draft, bytes).unwrap();
        self.saves.set(self.saves.get() + 1);
        let saved = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + self.saves.get());
        let written = fs::File::options().write(true).open(&draft).unwrap();
        written.set_modified(saved).unwrap();
        fs::rename(draft, file).unwrap();
    }
}

/// The supervisor of a pod, as far as it answers.
struct Pod {
    address: SocketAddr,
    token: watch::Sender<Option<String>>,
    serving: JoinHandle<Infallible>,
}

impl Pod {
    async fn of(store: &Store) -> Self {
        let sight = Sight::start("farm", &name(), &store.directory()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (token, known) = watch::channel(Some(token().expose().to_owned()));
        let serving = tokio::spawn(serve(listener, known, sight));
        Self {
            address,
            token,
            serving,
        }
    }

    /// It ends, with all its connections.
    async fn end(self) {
        self.serving.abort();
        assert!(self.serving.await.unwrap_err().is_cancelled());
    }
}

/// The controller's end.
struct Scene {
    pods: Pods,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Scene {
    fn new() -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let pods = Pods::new(sender);
        Self { pods, events }
    }

    fn follow(&mut self, address: Option<SocketAddr>) {
        self.pods.follow(&name(), address, &token());
    }

    /// What is told next.
    async fn told(&mut self) -> (Option<Arc<ClientSessions>>, Option<u64>) {
        let event = timeout(SOON, self.events.recv()).await;
        let event = event.expect("nothing is told").unwrap();
        self.pods.heard(&event);
        match event {
            Event::SessionsRead { sessions, serial, .. } => (sessions, serial),
            other => panic!("{other:?}"),
        }
    }

    /// Of the one client that is told of: what waits for it; and the number.
    async fn waiting(&mut self) -> (Option<u64>, Option<u64>) {
        let (sessions, serial) = self.told().await;
        (
            sessions.map(|sessions| sessions.by_client["valve"].waiting),
            serial,
        )
    }

    fn filters(&self) -> Vec<&str> {
        let session = self.pods.session(&name(), "valve");
        let filters = session
            .into_iter()
            .flat_map(|session| session.subscriptions.keys());
        filters.map(String::as_str).collect()
    }
}

#[tokio::test]
async fn what_changes_in_a_store_is_told_and_counts_when_asked_for() {
    let (store, mut scene) = (Store::new(), Scene::new());
    store.save(2, &["t"]);
    let pod = Pod::of(&store).await;
    scene.follow(Some(pod.address));
    assert_eq!(scene.waiting().await, (Some(2), None), "at the start");
    assert_eq!(scene.filters(), ["t"]);
    store.save(3, &["t"]);
    scene.pods.read(&name(), 7);
    assert_eq!(scene.waiting().await, (Some(3), Some(7)));
    scene.pods.read(&name(), 8);
    assert_eq!(
        scene.waiting().await,
        (Some(3), Some(8)),
        "though nothing changed"
    );
    store.save(3, &["t", "u"]);
    assert_eq!(scene.waiting().await, (Some(3), Some(8)));
    assert_eq!(scene.filters(), ["t", "u"]);
}

#[tokio::test]
async fn what_a_pod_kept_is_remembered_when_it_is_gone() {
    let (store, mut scene) = (Store::new(), Scene::new());
    scene.pods.read(&name(), 1);
    assert_eq!(scene.told().await, (None, Some(1)), "nobody knows it");
    scene.follow(None);
    scene.pods.read(&name(), 2);
    assert_eq!(scene.told().await, (None, Some(2)), "it was never there");
    store.save(2, &["t"]);
    let pod = Pod::of(&store).await;
    let address = pod.address;
    scene.follow(Some(address));
    assert_eq!(scene.waiting().await, (Some(2), Some(2)));

    pod.end().await;
    scene.pods.read(&name(), 3);
    assert_eq!(scene.waiting().await, (Some(2), Some(3)), "nobody listens");
    scene.follow(None);
    scene.pods.read(&name(), 4);
    assert_eq!(scene.waiting().await, (Some(2), Some(4)), "it has no address");
    assert_eq!(scene.filters(), ["t"]);

    store.save(1, &["v"]);
    let pod = Pod::of(&store).await;
    scene.follow(Some(pod.address));
    assert_eq!(scene.waiting().await, (Some(1), Some(4)), "it is back");
    assert_eq!(scene.filters(), ["v"]);
    scene.pods.forget(&name());
    assert!(scene.filters().is_empty());
}

#[tokio::test]
async fn what_one_controller_remembered_another_takes_up() {
    let (store, mut first) = (Store::new(), Scene::new());
    store.save(2, &["t"]);
    let pod = Pod::of(&store).await;
    first.follow(Some(pod.address));
    first.waiting().await;
    pod.end().await;
    // Its pod is gone, and so is who followed it.
    let mut next = Scene::new();
    next.pods.remember(first.pods.told());
    drop(first);
    assert_eq!(next.waiting().await, (Some(2), None));
    assert_eq!(next.filters(), ["t"]);
    next.pods.read(&name(), 9);
    assert_eq!(next.waiting().await, (Some(2), Some(9)), "nobody else knows");
    // Whatever a new one says counts, though it counts its news from the beginning.
    store.save(2, &["t"]);
    let pod = Pod::of(&store).await;
    next.follow(Some(pod.address));
    assert_eq!(next.waiting().await, (Some(2), Some(9)));
}

#[tokio::test]
async fn a_pod_that_does_not_know_the_token_yet_is_asked_until_it_does() {
    let (store, mut scene) = (Store::new(), Scene::new());
    store.save(2, &["t"]);
    let pod = Pod::of(&store).await;
    pod.token.send_replace(None);
    scene.follow(Some(pod.address));
    scene.pods.read(&name(), 5);
    assert_eq!(scene.told().await, (None, Some(5)));
    let values = scene.pods.values(&name()).unwrap().read(Vec::new()).await;
    assert!(values.unwrap_err().to_string().contains("401"));
    pod.token.send_replace(Some(token().expose().to_owned()));
    assert_eq!(scene.waiting().await, (Some(2), Some(5)));
}

#[tokio::test]
async fn values_are_read_with_the_payloads_of_what_is_asked_for() {
    let (store, mut scene) = (Store::new(), Scene::new());
    store.save(0, &[]);
    let pod = Pod::of(&store).await;
    assert!(scene.pods.values(&name()).is_none());
    scene.follow(Some(pod.address));
    let reader = scene.pods.values(&name()).unwrap();
    for (filter, payload) in [("farm/#", b"\xff5".as_slice()), ("light/#", b"")] {
        let filters = vec![TopicFilter::parse(filter).unwrap()];
        let values = reader.read(filters).await.unwrap();
        let [value] = values.as_slice() else {
            panic!("{values:?}")
        };
        assert_eq!(
            (value.topic.as_str(), value.content.payload.as_slice()),
            ("farm/1", payload)
        );
        assert_eq!(value.source, Source::Client("probe".to_owned()));
    }
    store.write(b"no store");
    let error = reader.read(Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("500") && error.contains(CLASSIC_FILE), "{error}");
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
async fn what_a_process_does_is_told_by_who_can_see_it_in_time() {
    let (store, mut scene) = (Store::new(), Scene::new());
    let pod = Pod::of(&store).await;
    let interval = Duration::from_millis(50);
    assert!(
        scene.pods.activity(&name(), interval, SOON).is_none(),
        "nobody is there to ask"
    );
    scene.follow(Some(pod.address));
    let activity = async |patience| scene.pods.activity(&name(), interval, patience).unwrap().await;
    assert_eq!(activity(SOON).await, None, "there is no process");
    let program = Command::new("sh")
        .args(["-c", "kill -STOP $$; sleep 600"])
        .spawn();
    let stopped = Stopped(program.unwrap());
    let identity = serde_json::to_string(&Identity::of(stopped.0.id()).unwrap()).unwrap();
    fs::write(store.folder.path().join("broker.pid"), identity).unwrap();
    let frozen = async { while activity(SOON).await != Some(Activity::Frozen) {} };
    timeout(SOON, frozen)
        .await
        .expect("it is never seen to be stopped");

    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    scene.follow(Some(mute.local_addr().unwrap()));
    let look = scene.pods.activity(&name(), interval, interval).unwrap();
    assert_eq!(timeout(SOON, look).await.expect("it waits for ever"), None);
}

/// Answers one request with this.
async fn answer(listener: &TcpListener, with: &str) -> String {
    let (mut stream, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(with.as_bytes()).await.unwrap();
    let request = String::from_utf8(request).unwrap();
    request.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn who_has_no_news_is_asked_again_for_the_same() {
    let mut scene = Scene::new();
    let pod = TcpListener::bind("127.0.0.1:0").await.unwrap();
    scene.follow(Some(pod.local_addr().unwrap()));
    let told = r#"{"version": 7, "sessions": null}"#;
    let told = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len());
    assert_eq!(answer(&pod, &told).await, "GET /sessions?after=0 HTTP/1.1");
    assert_eq!(scene.told().await, (None, None));
    for with in ["HTTP/1.1 204 No Content\r\n\r\n", "no HTTP at all\r\n\r\n", &told] {
        assert_eq!(answer(&pod, with).await, "GET /sessions?after=7 HTTP/1.1");
    }
    assert_eq!(scene.told().await, (None, None));
    assert!(scene.events.try_recv().is_err(), "nothing else was told");
}
