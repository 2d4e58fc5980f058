//! A reader with stores that change under it. Time is what `work` is told.

use std::cell::Cell;

use skein_api::name::Qos;
use skein_store::{CLASSIC_FILE, Expiry};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::classic_store as classic;

const NEVER: u32 = u32::MAX;
const LATER: Duration = Duration::from_hours(1);

fn name() -> BrokerName {
    BrokerName::new("a").unwrap()
}

/// The one broker that it watches.
struct Scene {
    folder: TempDir,
    reader: Reader,
    events: UnboundedReceiver<Event>,
    now: Instant,
    saves: Cell<u64>,
}

type News = (Option<Arc<ClientSessions>>, Option<u64>);

impl Scene {
    fn new() -> Self {
        let (sender, events) = unbounded_channel();
        Self {
            folder: tempfile::tempdir().unwrap(),
            reader: Reader::new(sender, watch::channel(BTreeMap::new()).0),
            events,
            now: Instant::now(),
            saves: Cell::new(0),
        }
    }

    /// A session `valve` with so many messages and these filters.
    fn save(&self, waiting: u64, filters: &[&str]) {
        let mut writer = classic::Writer::new(6);
        for number in 1..=waiting {
            writer.message(number, "t", b"", 1, 0);
        }
        writer.client("valve", b"", NEVER, 0);
        writer.client("skein:a:b:pull:soil", b"", NEVER, 0);
        writer.subscription("skein:a:b:pull:soil", "farm/#", 1, 0, 0);
        writer.client("skein:b:c:duplex:soil:local", b"", NEVER, 0);
        for number in 1..=waiting {
            writer.queued("valve", number, true);
        }
        for filter in filters {
            writer.subscription("valve", filter, 1, 0, 0);
        }
        self.write(&writer.bytes);
    }

    /// A store that was saved a while ago, each a little later than the one before.
    fn write(&self, bytes: &[u8]) {
        let file = self.folder.path().join(CLASSIC_FILE);
        fs::write(&file, bytes).unwrap();
        let number = self.saves.get() + 1;
        self.saves.set(number);
        let saved = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + number);
        let file = fs::File::options().write(true).open(file).unwrap();
        file.set_modified(saved).unwrap();
    }

    fn watch(&mut self) {
        let directory = self.folder.path().to_owned();
        self.reader.take(Order::Watch([(name(), directory)].into()));
    }

    fn ask(&mut self, serial: u64) {
        let broker = name();
        self.reader.take(Order::Read { broker, serial });
    }

    /// What is told when there is time for everything.
    fn news(&mut self) -> Option<News> {
        self.now += LATER;
        self.reader.work(self.now);
        self.told()
    }

    fn told(&mut self) -> Option<News> {
        match self.events.try_recv().ok()? {
            Event::SessionsRead { sessions, serial, .. } => Some((sessions, serial)),
            other => panic!("{other:?}"),
        }
    }
}

fn waiting(news: Option<News>) -> (u64, Option<u64>, Option<u64>) {
    let (sessions, serial) = news.expect("nothing is told");
    let sessions = sessions.expect("not known");
    assert_eq!(sessions.by_client.len(), 1, "those of Skein are apart");
    let links = [("skein:a:b:pull:soil".to_owned(), ["farm/#".to_owned()].into())];
    assert_eq!(
        sessions.links,
        links.into(),
        "and of them those that a link has here"
    );
    let valve = &sessions.by_client["valve"];
    (valve.waiting, valve.oldest, serial)
}

#[test]
fn what_changed_is_told_and_counts_only_when_asked_for() {
    let mut scene = Scene::new();
    scene.save(2, &["t"]);
    scene.watch();
    assert_eq!(waiting(scene.news()), (2, Some(1), None), "at the start");
    assert_eq!(scene.news(), None);
    scene.save(3, &["t"]);
    assert_eq!(scene.news(), None, "only a message came");
    scene.ask(7);
    assert_eq!(waiting(scene.news()), (3, Some(1), Some(7)));
    scene.ask(8);
    assert_eq!(
        waiting(scene.news()),
        (3, Some(1), Some(8)),
        "though nothing changed"
    );
    scene.save(0, &["t", "u"]);
    assert_eq!(waiting(scene.news()), (0, None, Some(8)));
    assert_eq!(scene.news(), None);
}

#[test]
fn a_broker_without_a_store_keeps_nothing_that_is_known() {
    let mut scene = Scene::new();
    scene.watch();
    assert_eq!(scene.news(), Some((None, None)));
    assert_eq!(scene.news(), None);
    scene.save(1, &["t"]);
    assert_eq!(waiting(scene.news()), (1, Some(1), None));
    scene.write(b"no store");
    assert_eq!(scene.news(), Some((None, None)));
    scene.save(1, &["t"]);
    assert_eq!(waiting(scene.news()), (1, Some(1), None));
    // One that is not watched, as it is somebody else's.
    scene.reader.take(Order::Watch(BTreeMap::new()));
    scene.ask(3);
    assert_eq!(scene.told(), Some((None, Some(3))));
}

#[test]
fn between_two_readings_it_rests_but_for_what_is_asked() {
    let mut scene = Scene::new();
    scene.save(1, &["t"]);
    scene.watch();
    assert!(scene.news().is_some());
    let began = Instant::now();
    scene.ask(0);
    assert!(scene.news().is_some());
    assert!(scene.reader.rests > began, "after a reading");
    scene.reader.rests = scene.now + 2 * LATER;
    scene.save(1, &["t", "u"]);
    assert_eq!(scene.news(), None, "it rests");
    assert!(scene.reader.wait().is_some_and(|wait| wait > LATER));
    scene.ask(1);
    assert_eq!(scene.reader.wait(), Some(Duration::ZERO));
    assert!(scene.news().is_some());
}

#[test]
fn what_did_not_change_is_not_read_again() {
    let mut scene = Scene::new();
    scene.save(1, &["t"]);
    scene.watch();
    assert!(scene.news().is_some());
    let rests = scene.reader.rests;
    assert_eq!(scene.news(), None);
    assert_eq!(scene.reader.rests, rests, "it was only looked at");
    // What was written just now may change again and look the same.
    let file = scene.folder.path().join(CLASSIC_FILE);
    fs::write(&file, fs::read(&file).unwrap()).unwrap();
    for _ in 0..2 {
        let before = Instant::now();
        scene.reader.rests = before;
        assert_eq!(scene.news(), None);
        assert!(scene.reader.rests > before, "it was read");
    }
}

#[test]
fn sessions_that_end_or_have_ended_are_left_out() {
    let session = |client_id: &str, after, at| {
        let text = serde_json::json!({"clientId": client_id, "expiry": {"after": null}, "subscriptions": []});
        let mut session: Session = serde_json::from_value(text).unwrap();
        session.expiry = Expiry { after, at };
        session
    };
    let of_clients = |sessions: Vec<Session>, now, saved| {
        let inventory = Inventory {
            store: Kind::Classic,
            newest: 5,
            sessions,
        };
        let (sessions, next) = of_clients(inventory, now, saved);
        let clients: Vec<String> = sessions.by_client.into_keys().collect();
        (clients.join(" "), next)
    };
    let sessions = vec![
        session("clean", Some(0), None),
        session("gone", Some(60), Some(1000)),
        session("left", Some(60), Some(1050)),
        session("long", Some(6000), Some(6900)),
        session("never", None, None),
        session("online", Some(60), None),
        session("skein:a:b:pull:soil", None, None),
    ];
    let found = of_clients(sessions.clone(), 1000, None);
    assert_eq!(found, ("left long never online".to_owned(), Some(1050)));
    assert_eq!(of_clients(sessions, 1050, None).0, "long never online");
    // Saved at 995, when it was connected: nobody knows until when it was.
    let connected = vec![session("connected", Some(60), Some(1055))];
    let found = of_clients(connected.clone(), 2000, Some(995));
    assert_eq!(found, ("connected".to_owned(), None));
    assert_eq!(of_clients(connected, 2000, Some(1040)).0, "");
}

#[test]
fn subscriptions_are_taken_over_with_their_options() {
    let text = serde_json::json!({
        "clientId": "valve", "username": "valves", "expiry": {"after": 60},
        "subscriptions": [{"filter": "t/#", "qos": 2, "noLocal": true, "identifier": 3}],
        "waiting": {"messages": 2, "bytes": 9, "oldest": 4},
    });
    let (client_id, session) = client(serde_json::from_value(text).unwrap());
    let how = Subscription {
        qos: Qos::ExactlyOnce,
        no_local: true,
        retain_as_published: false,
        identifier: Some(3),
    };
    let expected = ClientSession {
        username: Some("valves".to_owned()),
        expiry: Some(60),
        subscriptions: [("t/#".to_owned(), how)].into(),
        waiting: 2,
        oldest: Some(4),
    };
    assert_eq!((client_id.as_str(), session), ("valve", expected));
}

#[tokio::test]
async fn the_thread_reads_at_once_what_is_asked_for() {
    let scene = Scene::new();
    scene.save(2, &["t", "u"]);
    let (sender, mut events) = unbounded_channel();
    let mut stores = Stores::start(sender).unwrap();
    let directory = scene.folder.path().to_owned();
    stores.watch([(name(), directory)].into());
    let mut next = async || {
        let event = tokio::time::timeout(Duration::from_secs(10), events.recv());
        event.await.unwrap().unwrap()
    };
    stores.heard(&next().await);
    let valve = stores.session(&name(), "valve").unwrap();
    assert_eq!(valve.subscriptions.keys().collect::<Vec<_>>(), ["t", "u"]);
    stores.read(name(), 5);
    let Event::SessionsRead { serial, .. } = next().await else {
        panic!("something else")
    };
    assert_eq!(serial, Some(5));
    stores.watch(BTreeMap::new());
    assert_eq!(stores.session(&name(), "valve"), None);
}
