//! Who may connect to the brokers that run here: the secret of the fleet, what each broker is to be started with, and
//! processes that do not know of all this yet.
//!
//! A broker knows the brokers that a route joins it to, and those that it knew before: a link may outlive its route. Whom to
//! bar is not decided here; but a broker that barred everybody, because nobody knew any more who should be, is brought back
//! to what is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use skein_agent::BrokerDirectory;
use skein_agent::files::{self, FileError};
use skein_api::fleet::{Fleet, Managed};
use skein_api::name::BrokerName;
use skein_mosquitto::config::parse;
use skein_mosquitto::security::{
    BRIDGE_ROLE, FleetSecret, Login, SecretError, Security, barred, bridge_user, read, render,
};
use skein_mqtt::administration::{AdministrationError, Administrator, admit, unfence};
use skein_mqtt::{Address, RumqttSession};
use tokio::sync::oneshot;

/// How long a broker may take to change its users.
const PATIENCE: Duration = Duration::from_secs(5);

/// The secret of a fleet cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// There is something else in its place.
    #[error("{}: {source}; put the secret back that was there, or remove the file for a new one", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SecretError,
    },
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system gives no random bytes to make one of.
    #[error("cannot make a secret for the fleet: {0}")]
    Random(io::Error),
}

/// See the head of this module.
#[derive(Debug)]
pub(crate) struct Users {
    secret: FleetSecret,
    /// What each broker is started with.
    known: BTreeMap<BrokerName, Security>,
    /// Brokers whose process may know less.
    unsure: BTreeMap<BrokerName, Unsure>,
    /// The processes that were let back, after they had barred all: by when they were started.
    let_in: BTreeMap<BrokerName, Option<u64>>,
}

#[derive(Debug, Default)]
struct Unsure {
    /// It bars all and should not.
    all_barred: Option<AllBarred>,
    errand: Option<oneshot::Receiver<Result<(), AdministrationError>>>,
}

#[derive(Clone, Debug)]
struct AllBarred {
    why: String,
    started_at: Option<u64>,
}

impl Users {
    /// With the secret of this file, or a new one; tells whether it is new.
    pub(crate) fn open(file: &Path) -> Result<(Self, bool), SecretFileError> {
        let kept = files::read(file)?;
        let is_new = kept.is_none();
        let secret = if let Some(text) = kept {
            let path = file.to_owned();
            FleetSecret::parse(&text).map_err(|source| SecretFileError::Content { path, source })?
        } else {
            let secret = random().map_err(SecretFileError::Random)?;
            files::write(file, format!("{}\n", secret.to_text()).as_bytes())?;
            secret
        };
        let users = Self {
            secret,
            known: BTreeMap::new(),
            unsure: BTreeMap::new(),
            let_in: BTreeMap::new(),
        };
        Ok((users, is_new))
    }

    /// What the passwords in configurations follow from.
    pub(crate) fn secret(&self) -> &FleetSecret {
        &self.secret
    }

    /// How Skein logs in to a broker of its own. One that asks nobody for a name does not mind.
    pub(crate) fn administrator(&self, broker: &BrokerName) -> (String, String) {
        let Login { user, password } = self.secret.administrator(broker);
        (user, password.expose().to_owned())
    }

    /// Says what a broker is to be started with: with users for the brokers that routes join it to, and for those it had
    /// before and that may still hold a link. A process that runs is told by [`Self::look_after`].
    pub(crate) fn provide(
        &mut self,
        broker: &BrokerName,
        managed: &Managed,
        neighbours: &BTreeSet<BrokerName>,
        stays: impl Fn(&BrokerName) -> bool,
        directory: &BrokerDirectory,
    ) -> Result<(), FileError> {
        let known = self.known.get(broker);
        // Damaged: written anew.
        let kept = directory.users().ok().flatten().filter(|_| known.is_none());
        let mut downstreams = neighbours.clone();
        let before = known.or(kept.as_ref()).into_iter();
        let earlier = before.flat_map(|before| before.bridges.keys());
        downstreams.extend(earlier.filter(|name| stays(name)).cloned());
        let users = match (known, kept.as_ref()) {
            (Some(known), _) if downstreams.iter().all(|name| known.bridges.contains_key(name)) => {
                kept_users(known, &downstreams, managed.allow_anonymous)
            }
            (known, kept) => self.derived(broker, &downstreams, managed.allow_anonymous, known.or(kept)),
        };
        if known.or(kept.as_ref()) != Some(&users) {
            directory.set_users(&users)?;
        }
        // Where there is no file, a broker would begin one of its own.
        let file = directory.security_file();
        if !file.exists() && !has_begun(directory) {
            files::write(&file, render(&users).as_bytes())?;
        }
        self.known.insert(broker.clone(), users);
        self.unsure.entry(broker.clone()).or_default();
        Ok(())
    }

    /// To hash costs, so what is there stays, if it follows from this secret.
    fn derived(
        &self,
        broker: &BrokerName,
        downstreams: &BTreeSet<BrokerName>,
        anonymous: bool,
        before: Option<&Security>,
    ) -> Security {
        let unknown = |name: &&BrokerName| before.is_none_or(|before| !before.bridges.contains_key(*name));
        let new = downstreams.iter().filter(unknown);
        let mut users = Security::derived(&self.secret, broker, new, anonymous);
        match before {
            Some(before) if before.administrator.hash == users.administrator.hash => {
                let kept = kept_users(before, downstreams, anonymous);
                users.bridges.extend(kept.bridges);
                users
            }
            Some(_) => Security::derived(&self.secret, broker, downstreams, anonymous),
            None => users,
        }
    }

    /// A supervisor said how its broker was started.
    pub(crate) fn heard(&mut self, broker: &BrokerName, all_barred: Option<&str>, started_at: Option<u64>) {
        let is_over = self.let_in.get(broker) == Some(&started_at);
        let Some(why) = all_barred.filter(|_| !is_over) else {
            return;
        };
        self.unsure.entry(broker.clone()).or_default().all_barred = Some(AllBarred {
            why: why.to_owned(),
            started_at,
        });
    }

    /// A broker is not ours any more.
    pub(crate) fn forget(&mut self, broker: &BrokerName) {
        self.known.remove(broker);
        self.unsure.remove(broker);
        self.let_in.remove(broker);
    }

    /// Looks after processes that may not know their users: tells those that do not. Gives what stands in the way now, by
    /// broker; to be called again and again.
    pub(crate) fn look_after(
        &mut self,
        directory: impl Fn(&BrokerName) -> BrokerDirectory,
        address: impl Fn(&BrokerName) -> Option<Address>,
        instance: &str,
    ) -> BTreeMap<BrokerName, Option<String>> {
        let mut troubles = BTreeMap::new();
        let brokers: Vec<BrokerName> = self.unsure.keys().cloned().collect();
        for broker in brokers {
            let Some(unsure) = self.unsure.get_mut(&broker) else {
                continue;
            };
            let mut trouble = unsure.all_barred.as_ref().map(|all_barred| {
                format!(
                    "broker {broker}: all bridges to it were barred when it was started, because {}; they are let in again",
                    all_barred.why
                )
            });
            if let Some(errand) = &mut unsure.errand {
                match errand.try_recv() {
                    Err(oneshot::error::TryRecvError::Empty) => continue,
                    Ok(Err(error)) => trouble = Some(format!("broker {broker}: {error}; it is tried again")),
                    Ok(Ok(())) | Err(oneshot::error::TryRecvError::Closed) => {}
                }
                unsure.errand = None;
            }
            let files = directory(&broker);
            let runs = files.broker().ok().flatten().is_some();
            let left = if runs { read_file(&files) } else { None };
            if let (Some(left), Some(known)) = (left, self.known.get(&broker)) {
                let lacking = Lacking::of(&left, known, unsure.all_barred.is_some());
                match (lacking, address(&broker)) {
                    (Some(lacking), _) if lacking.is_empty() => {
                        if let Some(all_barred) = &unsure.all_barred {
                            self.let_in.insert(broker.clone(), all_barred.started_at);
                        }
                        self.unsure.remove(&broker);
                        trouble = None;
                    }
                    (Some(lacking), Some(address)) => {
                        let errand = lacking.errand(&self.secret, &broker, address, instance);
                        unsure.errand = Some(errand);
                    }
                    // Half a file, just being written; or nowhere to go.
                    _ => {}
                }
            }
            troubles.insert(broker, trouble);
        }
        troubles
    }
}

/// What the users of a process lack.
struct Lacking {
    missing: Vec<BrokerName>,
    barred: Vec<BrokerName>,
}

impl Lacking {
    /// As the file tells that a process rewrites when its users change.
    fn of(left: &str, known: &Security, all_barred: bool) -> Option<Self> {
        let there = read(left).ok()?;
        let missing = known
            .bridges
            .keys()
            .filter(|name| !there.bridges.contains_key(*name));
        let barred = barred(left).ok()?.into_iter().filter(|_| all_barred);
        let wanted: BTreeSet<&BrokerName> = known.barred().collect();
        Some(Self {
            missing: missing.cloned().collect(),
            barred: barred.filter(|name| !wanted.contains(name)).collect(),
        })
    }

    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.barred.is_empty()
    }

    /// Tells the process; the answer comes when that is done.
    fn errand(
        &self,
        secret: &FleetSecret,
        broker: &BrokerName,
        address: Address,
        instance: &str,
    ) -> oneshot::Receiver<Result<(), AdministrationError>> {
        let (done, answer) = oneshot::channel();
        let login = |downstream| {
            let Login { user, password } = secret.bridge(downstream, broker);
            (user, password.expose().to_owned())
        };
        let missing: Vec<(String, String)> = self.missing.iter().map(login).collect();
        let barred: Vec<String> = self.barred.iter().map(bridge_user).collect();
        let Login { user, password } = secret.administrator(broker);
        let at = Administrator {
            address,
            credentials: (user, password.expose().to_owned()),
            client_id: format!("skein:users:{broker}:{instance}"),
            patience: PATIENCE,
        };
        tokio::spawn(async move {
            let told = async {
                admit::<RumqttSession>(&at, BRIDGE_ROLE, &missing).await?;
                unfence::<RumqttSession>(&at, &barred).await
            };
            // Nobody listens only when the broker is nobody's concern any more.
            let _ = done.send(told.await);
        });
        answer
    }
}

fn random() -> io::Result<FleetSecret> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(FleetSecret::new(bytes))
}

/// What a broker made of its file, if that can be read now.
fn read_file(directory: &BrokerDirectory) -> Option<String> {
    files::read(&directory.security_file()).ok().flatten()
}

/// It may have run under the plugin before.
fn has_begun(directory: &BrokerDirectory) -> bool {
    match directory.loaded() {
        Ok(Some(loaded)) => parse(&loaded.config).map_or(true, |config| config.security.is_some()),
        Ok(None) => false,
        Err(_) => true,
    }
}

fn kept_users(before: &Security, downstreams: &BTreeSet<BrokerName>, anonymous: bool) -> Security {
    let kept = before
        .bridges
        .iter()
        .filter(|(name, _)| downstreams.contains(*name));
    Security {
        administrator: before.administrator.clone(),
        bridges: kept
            .map(|(name, account)| (name.clone(), account.clone()))
            .collect(),
        anonymous,
    }
}

/// The brokers that routes join to each, whichever way: each may come to hold a link to it.
pub(crate) fn neighbours(fleet: &Fleet) -> BTreeMap<&BrokerName, BTreeSet<BrokerName>> {
    let mut neighbours: BTreeMap<&BrokerName, BTreeSet<BrokerName>> = BTreeMap::new();
    for route in fleet.routes.values() {
        neighbours.entry(&route.a).or_default().insert(route.b.clone());
        neighbours.entry(&route.b).or_default().insert(route.a.clone());
    }
    neighbours
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use skein_api::fleet::{FleetBuilder, Hosting};

    struct Place {
        temporary: tempfile::TempDir,
        users: Users,
    }

    impl Place {
        fn new() -> Self {
            let temporary = tempfile::tempdir().unwrap();
            let (users, is_new) = Users::open(&temporary.path().join("secret")).unwrap();
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
            let Hosting::Managed(managed) = &fleet.brokers[&b].hosting else {
                unreachable!()
            };
            let stays = |other: &BrokerName| fleet.brokers.contains_key(other);
            self.users
                .provide(&b, managed, &neighbours[&b], stays, &directory)
                .unwrap();
            directory.users().unwrap().unwrap()
        }

        /// The next life.
        fn again(self) -> Self {
            let (users, is_new) = Users::open(&self.temporary.path().join("secret")).unwrap();
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
        let error = Users::open(&file).unwrap_err().to_string();
        assert!(
            error.contains("secret: ") && error.contains("remove the file"),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_broker_knows_its_neighbours_and_those_it_knew_while_they_are_there() {
        let mut place = Place::new();
        assert_eq!(downstreams(&place.provide("a b c d", "a-b b-c c-d")), ["a", "c"]);
        // A link may outlive its route, also when skein up is started anew.
        assert_eq!(
            downstreams(&place.provide("a b c d", "a-b c-d b-d")),
            ["a", "c", "d"]
        );
        let mut place = place.again();
        let users = place.provide("a b c d", "a-b c-d b-d");
        assert_eq!(downstreams(&users), ["a", "c", "d"]);
        let fresh = Security::derived(place.users.secret(), &name("b"), users.bridges.keys(), true);
        assert_eq!(users, fresh, "whatever was taken over");
        assert_eq!(downstreams(&place.provide("a b d", "a-b b-d")), ["a", "d"]);
    }

    #[test]
    fn users_of_another_secret_are_made_anew() {
        let mut place = Place::new();
        let before = place.provide("a b", "a-b");
        fs::remove_file(place.temporary.path().join("secret")).unwrap();
        (place.users, _) = Users::open(&place.temporary.path().join("secret")).unwrap();
        let now = place.provide("a b", "a-b");
        assert_ne!(now.bridges, before.bridges);
        let derived = Security::derived(place.users.secret(), &name("b"), [&name("a")], true);
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
    fn a_process_lacks_users_that_came_later_and_bars_none_that_is_wanted() {
        let mut place = Place::new();
        let mut known = place.provide("a b c", "a-b b-c");
        let mut left = known.clone();
        left.bridges.remove(&name("c"));
        left.bar_all();
        let lacking = |known: &Security, left: &Security, all_barred| {
            let lacking = Lacking::of(&render(left), known, all_barred).unwrap();
            (lacking.missing, lacking.barred)
        };
        assert_eq!(lacking(&known, &left, false), (vec![name("c")], vec![]));
        assert_eq!(lacking(&known, &left, true), (vec![name("c")], vec![name("a")]));
        known.bar(&BTreeSet::from([name("a")]));
        assert_eq!(lacking(&known, &left, true), (vec![name("c")], vec![]));
        assert!(Lacking::of("{", &known, true).is_none());
    }
}
