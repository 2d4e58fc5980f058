//! Three brokers on rendered configurations: b pulls soil from u and is lost, s is to get what waits for b at u. Each step of
//! an adoption is a call here; which are made, and in what order, is up to the stories.

#![allow(dead_code, reason = "each test uses some of it")]

mod releases;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use skein_api::name::{BrokerName, ClassName};
use skein_e2e::{RawClient, Series, UNSAVED, free_ports, plugin};
use skein_mosquitto::config::{Config, Connection, Persistence, SecurityPlugin, render};
use skein_mosquitto::link::{Link, Mode};
use skein_mosquitto::security::{self, FleetSecret, Login, Security, bridge_user};
use skein_mosquitto::transition::{Action, transition};
use skein_mqtt::administration::{Administrator, fence, unfence};
use skein_mqtt::{
    Address, AdoptedSession, LeftSession, RumqttSession, SeededSession, Target, end_subscriptions, seed,
};

#[allow(unused_imports, reason = "each test uses some of it")]
pub(crate) use releases::{Releaser, begun};

use crate::rendered::{Rendered, SOON, compiled, declared, line, noisy, version};

const SECRET: FleetSecret = FleetSecret::new([42; 32]);
const NAMES: [&str; 3] = ["u", "b", "s"];

/// What a link subscribes, all at QoS 2.
pub(crate) const SOIL: &str = "farm/+/soil";
const PROBE: &str = "$skein/probe/soil/#";
/// The only filter of a connection that adopts.
const ADOPTED: &str = "$skein/adopted/soil/#";
const MARKER: &str = "$skein/adopted/soil/1";
/// b's session at u.
pub(crate) const SESSION: &str = "skein:b:u:pull:soil";

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

/// The link by which a broker pulls soil from u.
fn pull(downstream: &str) -> Arc<Link> {
    Arc::new(Link {
        downstream: name(downstream),
        upstream: name("u"),
        mode: Mode::Pull,
        class: ClassName::new("soil").unwrap(),
        lines: [line(&format!("{SOIL} in 2"))].into(),
        control: [line(&format!("{PROBE} in 2"))].into(),
    })
}

/// Which versions, and whether brokers ask for names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) up: Series,
    pub(crate) down: Series,
    pub(crate) secure: bool,
}

impl Place {
    /// Every pair of series, with dynamic security and without.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let pairs = Series::ALL
            .into_iter()
            .flat_map(|up| Series::ALL.map(|down| (up, down)));
        pairs.flat_map(|(up, down)| [true, false].map(|secure| Self { up, down, secure }))
    }

    /// Each series with its like, with dynamic security.
    pub(crate) fn alike() -> [Self; 2] {
        Series::ALL.map(|series| Self {
            up: series,
            down: series,
            secure: true,
        })
    }
}

/// The security file of a broker to which these may hold bridges.
fn users(broker: &BrokerName, downstreams: &[&str]) -> String {
    let downstreams: Vec<BrokerName> = downstreams.iter().map(|text| name(text)).collect();
    security::render(&Security::derived(&SECRET, broker, &downstreams, true))
}

/// A broker of the three. It knows a user for its own bridges, too: see `after_a_restart_...`.
pub(crate) struct Member {
    pub(crate) running: Rendered,
    series: Series,
    secure: bool,
}

impl Member {
    async fn start(
        series: Series,
        broker: &str,
        links: &[Arc<Link>],
        ports: &[u16],
        secure: bool,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-adoption-").tempdir()?;
        let addresses = |broker: &BrokerName| {
            let index = NAMES.iter().position(|name| *name == broker.as_str())?;
            Some(("127.0.0.1".to_owned(), ports[index]))
        };
        // It is b's bridge alone whose subscriptions are awaited.
        let declared = if broker == "b" {
            noisy(broker)
        } else {
            declared(broker, &[], None)
        };
        let broker = name(broker);
        let (_, port) = addresses(&broker).context("no port")?;
        let mut config = compiled(series, &broker, links, port, folder.path(), &declared, &addresses)?;
        if secure {
            let file = folder.path().join("security.json");
            fs::write(&file, users(&broker, &NAMES))?;
            let security = SecurityPlugin {
                plugin: plugin(series, "mosquitto_dynamic_security.so")?
                    .display()
                    .to_string(),
                file: file.display().to_string(),
            };
            config.secure(security, |upstream| Some(SECRET.bridge(&broker, upstream)))?;
        }
        change(&mut config);
        let running = Rendered::run(series, folder, config).await?;
        Ok(Self {
            running,
            series,
            secure,
        })
    }

    fn skein(&self) -> Option<(String, String)> {
        let Login { user, password } = SECRET.administrator(&self.running.config.broker);
        self.secure.then(|| (user, password.expose().to_owned()))
    }

    fn at(&self) -> Address {
        Address {
            host: "127.0.0.1".to_owned(),
            port: self.running.port(),
        }
    }

    /// A client that is Skein.
    pub(crate) async fn as_skein(&self, client_id: &str, clean_session: bool) -> Result<RawClient> {
        self.connect(client_id, clean_session, self.skein()).await
    }

    /// A client without a name.
    pub(crate) async fn as_nobody(&self, client_id: &str, clean_session: bool) -> Result<RawClient> {
        self.connect(client_id, clean_session, None).await
    }

    async fn connect(
        &self,
        client_id: &str,
        clean_session: bool,
        login: Option<(String, String)>,
    ) -> Result<RawClient> {
        let login = login
            .as_ref()
            .map(|(user, password)| (user.as_str(), password.as_str()));
        RawClient::connect(&self.running.address(), client_id, clean_session, login).await
    }

    /// How often a client was refused.
    pub(crate) fn refusals(&self) -> usize {
        self.running.log().matches("not authorised").count()
    }

    /// From its next start on it knows bridges of these brokers.
    pub(crate) fn know(&self, downstreams: &[&str]) -> Result<()> {
        let file = self.running.folder.path().join("security.json");
        Ok(fs::write(file, users(&self.running.config.broker, downstreams))?)
    }

    /// Kills it and starts it again.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.running.end(false)?;
        self.running.start_again().await
    }

    /// Goes over to other connections as its supervisor would.
    pub(crate) async fn give(&mut self, connections: Vec<Connection>) -> Result<()> {
        let old = &self.running.config;
        let new = Config {
            epoch: old.epoch + 1,
            connections: connections.into_iter().map(Arc::new).collect(),
            ..old.clone()
        };
        let transition = transition(old, &new, version(self.series)?);
        ensure!(transition.stages.is_empty(), "more than one reload is needed");
        self.running.config = new;
        match transition.action {
            Action::None => Ok(()),
            Action::Reload => {
                let file = self.running.folder.path().join("mosquitto.conf");
                fs::write(file, render(&self.running.config))?;
                self.running.signal(Signal::HUP)
            }
            Action::Restart => {
                self.running.end(true)?;
                self.running.start_again().await
            }
        }
    }

    /// A durable session, left at once.
    async fn open(&self, client_id: &str, skein: bool, filters: &[&str]) -> Result<()> {
        let login = self.skein().filter(|_| skein);
        let mut client = self.connect(client_id, false, login).await?;
        for filter in filters {
            ensure!(client.subscribe(filter, 2).await?, "{client_id} may not {filter}");
        }
        client.disconnect().await
    }

    /// What has come by now to the durable session `office`, of a client without a name.
    pub(crate) async fn office(&self) -> Result<Vec<String>> {
        let mut publisher = self.as_nobody("publisher", true).await?;
        publisher.publish("farm/0/soil", "last", 2, false).await?;
        let mut office = self.as_nobody("office", false).await?;
        ensure!(office.session_present(), "the office's session is gone");
        let taken = take_until(&mut office, "farm/0/soil", usize::MAX).await?;
        office.settle().await?;
        office.disconnect().await?;
        Ok(taken)
    }
}

/// What a client gets before a message on a topic, or before so many.
async fn take_until(client: &mut RawClient, topic: &str, count: usize) -> Result<Vec<String>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let message = client.receive(SOON).await?;
        let message = message.with_context(|| format!("nothing on {topic}, after {} others", taken.len()))?;
        client.acknowledge(&message).await?;
        if message.topic == topic {
            break;
        }
        taken.push(String::from_utf8(message.payload.to_vec())?);
    }
    Ok(taken)
}

/// The three brokers. s has two durable sessions that are there before anything happens: `office`, and `witness` of Skein,
/// which gets markers as well.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) u: Member,
    pub(crate) b: Member,
    pub(crate) s: Member,
}

impl Scene {
    /// b's link is up, and b has an `office`, too.
    pub(crate) async fn start(place: Place) -> Result<Self> {
        Self::start_with(place, |_| ()).await
    }

    /// With something else in the configurations of u and s.
    pub(crate) async fn start_with(place: Place, change: impl Fn(&mut Config)) -> Result<Self> {
        let ports = free_ports(3)?;
        let Place { up, down, secure } = place;
        let u = Member::start(up, "u", &[], &ports, secure, |config| {
            // 2.0 writes its whole store at each change, and u is never restarted here.
            if up == Series::Oldest {
                config.persistence = Persistence::None;
            }
            change(config);
        });
        let u = u.await?;
        let mut s = Member::start(down, "s", &[], &ports, secure, change).await?;
        if down == Series::Oldest {
            s.running.further = UNSAVED;
        }
        let b = Member::start(down, "b", &[pull("b")], &ports, secure, |_| ()).await?;
        b.running.wait_subscribed(2).await?;
        s.open("office", false, &[SOIL]).await?;
        s.open("witness", true, &[SOIL, ADOPTED]).await?;
        b.open("office", false, &[SOIL]).await?;
        Ok(Self { place, u, b, s })
    }

    /// Publishes numbered messages at u, each when the one before is acknowledged.
    pub(crate) async fn publish(&self, publisher: &str, qos: u8, numbers: Range<u32>) -> Result<()> {
        let mut client = self.u.as_nobody(publisher, true).await?;
        let topic = format!("farm/{publisher}/soil");
        for number in numbers {
            let text = format!("{publisher} {number}");
            client.publish(&topic, &text, qos, false).await?;
        }
        client.disconnect().await
    }

    fn administrator(&self) -> Option<Administrator> {
        Some(Administrator {
            address: self.u.at(),
            credentials: self.u.skein()?,
            client_id: "skein-engine".to_owned(),
            patience: Duration::from_secs(5),
        })
    }

    /// u bars b, if it knows who is who.
    pub(crate) async fn bar(&self) -> Result<()> {
        match self.administrator() {
            Some(at) => Ok(fence::<RumqttSession>(&at, &[bridge_user(&name("b"))]).await?),
            None => Ok(()),
        }
    }

    /// u lets b in again.
    pub(crate) async fn let_in(&self) -> Result<()> {
        match self.administrator() {
            Some(at) => Ok(unfence::<RumqttSession>(&at, &[bridge_user(&name("b"))]).await?),
            None => Ok(()),
        }
    }

    async fn end(&self, discard: bool) -> Result<()> {
        let left = LeftSession {
            address: self.u.at(),
            credentials: self.u.skein(),
            client_id: SESSION.to_owned(),
            filters: vec![SOIL.to_owned(), PROBE.to_owned()],
            discard,
        };
        Ok(end_subscriptions(&left).await?)
    }

    /// b's session at u gets nothing more; what waits in it stays.
    pub(crate) async fn end_subscriptions(&self) -> Result<()> {
        self.end(false).await
    }

    /// Opens the session of s's own link, which gathers from now on.
    pub(crate) async fn seed(&self) -> Result<()> {
        let line = |filter: &str| (filter.to_owned(), skein_mqtt::session::Qos::ExactlyOnce);
        let seeded = SeededSession {
            address: self.u.at(),
            credentials: self.u.skein(),
            client_id: pull("s").client_id(),
            subscriptions: vec![line(SOIL), line(PROBE)],
        };
        Ok(seed(&seeded).await?)
    }

    /// A connection of s to u, as it would be compiled.
    fn connection(&self, client_id: &str, filters: &[&str]) -> Connection {
        Connection {
            name: client_id.replace(':', "-"),
            remote_client_id: client_id.to_owned(),
            local_client_id: format!("skein:s:for:{client_id}:local"),
            login: self.place.secure.then(|| SECRET.bridge(&name("s"), &name("u"))),
            lines: filters
                .iter()
                .map(|filter| line(&format!("{filter} in 2")))
                .collect(),
            ..Connection::clone(&self.b.running.config.connections[0])
        }
    }

    /// The connection that adopts.
    pub(crate) fn adoption(&self) -> Connection {
        self.connection(SESSION, &[ADOPTED])
    }

    /// s's own link.
    pub(crate) fn own(&self) -> Connection {
        self.connection(&pull("s").client_id(), &[SOIL, PROBE])
    }

    /// s resumes b's session, and has no other link.
    pub(crate) async fn adopt(&mut self) -> Result<()> {
        let adoption = self.adoption();
        self.s.give(vec![adoption]).await
    }

    /// b's session and where it is to go: for who passes on what waits in it without a bridge.
    pub(crate) fn adopted(&self) -> AdoptedSession {
        AdoptedSession {
            address: self.u.at(),
            credentials: self.u.skein(),
            client_id: SESSION.to_owned(),
            unwanted: self.own().subscribed().map(ToString::to_string).collect(),
            to: vec![Target {
                address: self.s.at(),
                credentials: self.s.skein(),
            }],
        }
    }

    /// s leaves b's session, which ends.
    pub(crate) async fn leave(&mut self) -> Result<()> {
        self.s.give(Vec::new()).await?;
        self.end(true).await
    }

    /// What the witness gets before the first marker. Markers are published at u all the time, so the first comes as soon
    /// as one can.
    pub(crate) async fn witness(&self) -> Result<Vec<String>> {
        self.witness_first(usize::MAX).await
    }

    /// The same, so many messages at most.
    pub(crate) async fn witness_first(&self, count: usize) -> Result<Vec<String>> {
        let mut mouth = self.u.as_skein("mouth", true).await?;
        let markers = tokio::spawn(async move {
            while mouth.publish(MARKER, "", 2, false).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let mut witness = self.s.as_skein("witness", false).await?;
        let taken = take_until(&mut witness, MARKER, count).await;
        markers.abort();
        taken
    }
}

/// What came of a publisher's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) arrived: usize,
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    /// First arrivals behind a later one.
    pub(crate) late: usize,
}

impl Account {
    /// Of messages with these numbers, `PUBLISHER NUMBER`.
    pub(crate) fn of(publisher: &str, numbers: Range<u32>, taken: &[String]) -> Self {
        let mut copies: BTreeMap<u32, usize> = BTreeMap::new();
        let mut account = Self::default();
        let ours = taken.iter().filter_map(|text| text.rsplit_once(' '));
        for (_, number) in ours.filter(|(name, _)| *name == publisher) {
            let Ok(number) = number.parse() else { continue };
            let behind = copies.last_key_value().is_some_and(|(last, _)| number < *last);
            let copies = copies.entry(number).or_default();
            *copies += 1;
            if *copies == 1 {
                account.arrived += 1;
                account.late += usize::from(behind);
            } else {
                account.doubled += 1;
            }
        }
        account.lost = numbers.filter(|number| !copies.contains_key(number)).count();
        account
    }

    /// So many came, each once and in order, and none is missing.
    pub(crate) fn all(count: usize) -> Self {
        Self {
            arrived: count,
            ..Self::default()
        }
    }
}
