//! What is said at which room, and when it is not said any more.

use skein_api::fleet::FleetBuilder;
use skein_engine::directive::BrokerPhase;

use super::*;

const PLENTY: u64 = 10 << 30;

fn name() -> BrokerName {
    BrokerName::new("b").unwrap()
}

fn process(pid: u32) -> BrokerStatus {
    BrokerStatus {
        name: name(),
        phase: BrokerPhase::Ready,
        client_address: None,
        peer_address: None,
        pid: Some(pid),
        version: None,
        heartbeat_ms: None,
        served_by: None,
        epoch_given: None,
        epoch_loaded: None,
        collisions: Vec::new(),
        collision_count: 0,
    }
}

/// A fleet whose broker has queues of so many bytes.
fn fleet(queue: u64, durability: Option<Durability>) -> Fleet {
    let change = |broker: &mut skein_api::fleet::Broker| {
        let managed = broker.managed_mut().unwrap();
        managed.queue.bytes = queue;
        managed.durability = durability;
    };
    FleetBuilder::new().brokers("b").with("b", change).build()
}

struct Scene {
    rooms: Rooms,
    told: watch::Sender<Seen>,
    fleet: Fleet,
}

impl Scene {
    fn new(queue: u64) -> Self {
        let (told, seen) = watch::channel(Seen::new());
        let rooms = Rooms {
            orders: mpsc::channel().0,
            seen,
            behind: BTreeMap::new(),
        };
        let fleet = fleet(queue, None);
        Self { rooms, told, fleet }
    }

    /// The one thing that is said of a process with so much room.
    fn said(&mut self, free: u64, keeps: Keeps, pid: u32) -> Option<String> {
        let room = Room {
            directory: "/state/b/data".into(),
            free,
            keeps,
        };
        self.told.send_replace([(name(), room)].into());
        let mut said = self.rooms.problems(&self.fleet, &[process(pid)]);
        assert!(said.len() <= 1, "{said:?}");
        said.pop()
    }
}

#[test]
fn little_is_told_from_nothing_and_both_from_enough() {
    let mut scene = Scene::new(64 << 20);
    assert_eq!(scene.said(64 << 20, Keeps::Rows, 1), None);
    let little = scene.said((64 << 20) - 1, Keeps::Rows, 1).unwrap();
    assert!(
        little.starts_with("Broker/b: less than 64 MiB are left") && little.contains("(/state/b/data)"),
        "{little}"
    );
    assert_eq!(
        scene.said(PAGES, Keeps::Rows, 1),
        Some(little),
        "the same words, so that nobody hears them again and again"
    );
    let nothing = scene.said(PAGES - 1, Keeps::Rows, 1).unwrap();
    assert!(nothing.contains("no room is left"), "{nothing}");
}

#[test]
fn who_may_queue_little_needs_no_more() {
    let mut scene = Scene::new(1 << 20);
    assert_eq!(scene.said(1 << 20, Keeps::Rows, 1), None);
    assert!(
        scene
            .said(1 << 19, Keeps::Rows, 1)
            .unwrap()
            .contains("less than 1 MiB")
    );
    // Without a limit it may take any number.
    assert!(
        Scene::new(0)
            .said(63 << 20, Keeps::Rows, 1)
            .unwrap()
            .contains("64 MiB")
    );
}

#[test]
fn a_file_that_is_saved_anew_needs_its_own_length_again() {
    let mut scene = Scene::new(64 << 20);
    let file = Keeps::File(1 << 30);
    assert_eq!(scene.said(2 << 30, file, 1), None);
    let little = scene.said(1 << 30 | 1 << 20, file, 1).unwrap();
    assert!(little.contains("less than 64 MiB are left"), "{little}");
    let nothing = scene.said((1 << 30) - 1, file, 1).unwrap();
    assert!(
        nothing.contains("perhaps with all that it had stored"),
        "{nothing}"
    );
    assert_eq!(
        scene.said(PLENTY, file, 1),
        None,
        "all is saved once there is room"
    );
}

#[test]
fn what_a_database_missed_is_told_until_its_process_is_another() {
    let mut scene = Scene::new(64 << 20);
    scene.said(0, Keeps::Rows, 7).unwrap();
    let behind = scene.said(PLENTY, Keeps::Rows, 7).unwrap();
    assert!(behind.contains("lost at its next restart"), "{behind}");
    assert_eq!(
        scene.said(1 << 20, Keeps::Rows, 7),
        Some(behind),
        "the worse news first"
    );
    assert!(
        scene
            .said(1 << 20, Keeps::Rows, 8)
            .unwrap()
            .contains("less than 64 MiB")
    );
    assert_eq!(scene.said(PLENTY, Keeps::Rows, 8), None);
}

#[test]
fn who_stores_nothing_and_who_is_not_seen_lacks_nothing() {
    let mut scene = Scene::new(64 << 20);
    scene.fleet = fleet(64 << 20, Some(Durability::None));
    assert_eq!(scene.said(0, Keeps::File(0), 1), None);
    scene.fleet = fleet(64 << 20, None);
    scene.told.send_replace(Seen::new());
    assert!(scene.rooms.problems(&scene.fleet, &[process(1)]).is_empty());
}

#[test]
fn a_real_folder_has_room_and_says_what_is_kept_there() {
    let folder = tempfile::tempdir().unwrap();
    let rooms = Rooms::start().unwrap();
    let mut seen = rooms.seen.clone();
    fs::write(folder.path().join(CLASSIC_FILE), [0; 300]).unwrap();
    rooms.watch([(name(), folder.path().to_owned())].into());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let seen = runtime.block_on(async {
        let awaited = seen.wait_for(|seen| seen.contains_key(&name()));
        let seen = tokio::time::timeout(Duration::from_secs(10), awaited).await;
        seen.unwrap().unwrap().clone()
    });
    let room = &seen[&name()];
    assert_eq!(room.keeps, Keeps::File(300));
    assert!(room.free > 0, "{room:?}");
    fs::write(folder.path().join(SQLITE_FILE), "").unwrap();
    assert_eq!(Room::at(folder.path()).unwrap().keeps, Keeps::Rows);
    assert_eq!(Room::at(&folder.path().join("gone")), None);
}
