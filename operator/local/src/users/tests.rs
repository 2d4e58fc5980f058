use super::*;
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use skein_adapter::users::neighbours;
use skein_agent::Identity;
use skein_api::fleet::{FleetBuilder, Hosting};
use skein_api::name::BrokerName;
use skein_engine::event::Event;
use skein_mosquitto::security::read;
use skein_mqtt::Address;
use tokio::sync::mpsc;

struct Place {
    temporary: tempfile::TempDir,
    users: Users,
}

impl Place {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let (users, is_new) = open(&temporary.path().join("secret")).unwrap();
        assert!(is_new);
        Self { temporary, users }
    }

    fn directory(&self) -> BrokerDirectory {
        let directory = BrokerDirectory::new(self.temporary.path().join("b"));
        directory.create().unwrap();
        directory
    }

    /// Provides b with its users in a fleet with these brokers and routes; gives them.
    fn provide(&mut self, brokers: &str, routes: &str) -> Security {
        let fleet = FleetBuilder::new().brokers(brokers).routes(routes).build();
        let directory = self.directory();
        let (b, neighbours) = (name("b"), neighbours(&fleet));
        let neighbours = neighbours.get(&b).cloned().unwrap_or_default();
        let Hosting::Managed(managed) = &fleet.brokers[&b].hosting else {
            unreachable!()
        };
        let stays = |other: &BrokerName| fleet.brokers.contains_key(other);
        let files = Files(directory.clone());
        let users = self.users.provide(&b, managed, &neighbours, stays, &files);
        files.begin(users.unwrap()).unwrap();
        directory.users().unwrap().unwrap()
    }

    /// Has b bar these and no others.
    fn bar(&mut self, downstreams: &[&str]) {
        let downstreams = downstreams.iter().map(|text| name(text)).collect();
        let files = Files(self.directory());
        self.users.bar(&name("b"), &downstreams, &files).unwrap();
    }

    /// The next life.
    fn again(self) -> Self {
        let (users, is_new) = open(&self.temporary.path().join("secret")).unwrap();
        assert!(!is_new);
        Self { users, ..self }
    }
}

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

fn downstreams(users: &Security) -> Vec<&str> {
    users.bridges.keys().map(BrokerName::as_str).collect()
}

#[test]
fn a_secret_is_made_once_for_its_owner_alone() {
    let place = Place::new();
    let file = place.temporary.path().join("secret");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = place.users.secret().clone();
    assert_eq!(*place.again().users.secret(), secret);
    assert_ne!(*Place::new().users.secret(), secret);
}

#[test]
fn what_is_no_secret_is_refused_and_not_repeated() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("secret");
    fs::write(&file, "hunter2").unwrap();
    let error = open(&file).unwrap_err().to_string();
    assert!(
        error.contains("secret: ") && error.contains("remove the file"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn a_broker_knows_itself_its_neighbours_and_those_it_knew_while_they_are_there() {
    let mut place = Place::new();
    assert_eq!(downstreams(&place.provide("b", "")), ["b"]);
    assert_eq!(
        downstreams(&place.provide("a b c d", "a-b b-c c-d")),
        ["a", "b", "c"]
    );
    // A link may outlive its route, also when skein up is started anew.
    assert_eq!(
        downstreams(&place.provide("a b c d", "a-b c-d b-d")),
        ["a", "b", "c", "d"]
    );
    let mut place = place.again();
    let users = place.provide("a b c d", "a-b c-d b-d");
    assert_eq!(downstreams(&users), ["a", "b", "c", "d"]);
    let fresh = Security::derived(place.users.secret(), &name("b"), users.bridges.keys(), true);
    assert_eq!(users, fresh, "whatever was taken over");
    assert_eq!(downstreams(&place.provide("a b d", "a-b b-d")), ["a", "b", "d"]);
}

#[test]
fn a_broker_of_an_earlier_version_comes_to_know_itself() {
    let mut place = Place::new();
    let users = place.provide("a b", "a-b");
    let mut earlier = users.clone();
    earlier.bridges.remove(&name("b"));
    earlier.bar(&BTreeSet::from([name("a")]));
    place.directory().set_users(&earlier).unwrap();
    let mut place = place.again();
    let now = place.provide("a b", "a-b");
    assert_eq!(downstreams(&now), ["a", "b"]);
    assert_eq!(now.bridges[&name("b")], users.bridges[&name("b")]);
}

#[test]
fn a_broker_is_never_barred_at_itself() {
    let mut place = Place::new();
    place.provide("a b", "a-b");
    place.bar(&["a", "b"]);
    let barred = |users: &Security| users.barred().cloned().collect::<Vec<_>>();
    assert_eq!(barred(&place.directory().users().unwrap().unwrap()), [name("a")]);
    let users = place.provide("a b c", "a-b b-c");
    assert_eq!(barred(&users), [name("a")]);
}

#[test]
fn users_of_another_secret_are_made_anew() {
    let mut place = Place::new();
    let before = place.provide("a b", "a-b");
    fs::remove_file(place.temporary.path().join("secret")).unwrap();
    (place.users, _) = open(&place.temporary.path().join("secret")).unwrap();
    let now = place.provide("a b", "a-b");
    assert_ne!(now.bridges, before.bridges);
    let derived = Security::derived(place.users.secret(), &name("b"), &["a", "b"].map(name), true);
    assert_eq!(now, derived);
}

#[test]
fn a_file_is_begun_for_a_broker_that_never_had_one_and_for_no_other() {
    let mut place = Place::new();
    let users = place.provide("a b", "a-b");
    let file = place.directory().security_file();
    assert_eq!(read(&fs::read_to_string(&file).unwrap()), Ok(users));
    fs::write(&file, "its own").unwrap();
    place.provide("a b", "a-b");
    assert_eq!(fs::read_to_string(&file).unwrap(), "its own");
    // One that had a file and has lost it: its supervisor knows what to do.
    fs::remove_file(&file).unwrap();
    let loaded = r#"{"epoch": 1, "config": "nothing that can be read"}"#;
    fs::write(place.directory().path().join(BrokerDirectory::LOADED), loaded).unwrap();
    place.provide("a b", "a-b");
    assert!(!file.exists());
}

#[test]
fn who_is_barred_stays_so_whatever_is_made_anew() {
    let mut place = Place::new();
    place.provide("a b c", "a-b b-c");
    place.bar(&["a"]);
    let barred = |users: &Security| users.barred().cloned().collect::<Vec<_>>();
    assert_eq!(barred(&place.directory().users().unwrap().unwrap()), [name("a")]);
    assert_eq!(
        barred(&place.provide("a b c d", "a-b b-c b-d")),
        [name("a")],
        "another edit"
    );
    let mut place = place.again();
    assert_eq!(
        barred(&place.provide("a b c", "a-b b-c")),
        [name("a")],
        "another life"
    );
    fs::remove_file(place.temporary.path().join("secret")).unwrap();
    (place.users, _) = open(&place.temporary.path().join("secret")).unwrap();
    assert_eq!(
        barred(&place.provide("a b c", "a-b b-c")),
        [name("a")],
        "another secret"
    );
    place.bar(&["c"]);
    assert_eq!(
        barred(&place.directory().users().unwrap().unwrap()),
        [name("c")],
        "those and no others"
    );
}

#[test]
fn who_is_to_be_barred_is_so_from_when_it_is_known() {
    let mut place = Place::new();
    place.provide("a b", "a-b");
    place.bar(&["c"]);
    let users = place.provide("a b c", "a-b b-c");
    assert_eq!(users.barred().collect::<Vec<_>>(), [&name("c")]);
}

/// What never comes fails the test instead of holding it up.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, what).await.expect("it comes in time")
}

#[tokio::test]
async fn who_waits_for_a_bar_hears_of_it_once_the_process_bars() {
    let mut place = Place::new();
    let users = place.provide("a b", "a-b");
    let directory = place.directory();
    // Any process that lives.
    let process = Identity::of(std::process::id()).unwrap();
    files::write_json(&directory.path().join("broker.pid"), &process).unwrap();
    let (events, mut heard) = mpsc::unbounded_channel();
    // Nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let look = |users: &mut Users| {
        let host = "127.0.0.1".to_owned();
        let address = |_: &BrokerName| {
            Some(Address {
                host: host.clone(),
                port,
            })
        };
        let troubles = users.look_after(|_| Files(directory.clone()).left(), address, "test", &events);
        troubles.get(&name("b")).cloned().flatten()
    };
    place.bar(&["a"]);
    let trouble = soon(async {
        loop {
            if let Some(trouble) = look(&mut place.users) {
                break trouble;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(
        trouble.starts_with("broker b: ") && trouble.ends_with("it is tried again"),
        "{trouble}"
    );
    assert!(heard.try_recv().is_err());
    // Now it has done so.
    let mut barring = users;
    barring.bar(&BTreeSet::from([name("a")]));
    fs::write(directory.security_file(), render(&barring)).unwrap();
    let event = soon(async {
        loop {
            look(&mut place.users);
            if let Ok(event) = heard.try_recv() {
                break event;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let Event::Barred { broker, downstreams } = event else {
        panic!("{event:?}");
    };
    assert_eq!((broker, downstreams), (name("b"), BTreeSet::from([name("a")])));
}
