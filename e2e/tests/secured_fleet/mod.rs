//! Three brokers on rendered configurations and security files, a link with a user each between them.

use std::fs;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use skein_api::name::{BrokerName, ClassName};
use skein_e2e::{RawClient, Series, free_ports, mosquitto, plugin, wait_until};
use skein_mosquitto::config::{Compile, Config, Placement, SecurityPlugin, compile};
use skein_mosquitto::link::{Direction, Link, Mode};
use skein_mosquitto::security::{self, FleetSecret, Login, Security, bridge_user};
use skein_mqtt::Address;
use skein_mqtt::administration::Administrator;
use tempfile::TempDir;

use crate::rendered::{SOON, line, noisy, spawn, version};

pub(crate) const SECRET: FleetSecret = FleetSecret::new([42; 32]);

/// a pulls from b, b from c.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

pub(crate) fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

pub(crate) fn link(downstream: &str, upstream: &str, direction: &str) -> Arc<Link> {
    let lines = line(&format!("t/# {direction} 2"));
    let pulls = lines.direction == Direction::In;
    Arc::new(Link {
        downstream: name(downstream),
        upstream: name(upstream),
        mode: if pulls { Mode::Pull } else { Mode::Duplex },
        class: ClassName::new("t").unwrap(),
        lines: [lines].into(),
        control: [line(&format!("$skein/probe/t/# {direction} 1"))].into(),
    })
}

/// A broker of the fleet.
pub(crate) struct Member {
    pub(crate) series: Series,
    pub(crate) config: Config,
    pub(crate) folder: TempDir,
    child: Child,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Member {
    /// Starts one that holds `links`. Any broker may be its downstream.
    pub(crate) async fn start(
        series: Series,
        broker: &str,
        links: &[Arc<Link>],
        ports: &[u16],
        change: impl FnOnce(&mut Config),
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-fence-").tempdir()?;
        let in_folder = |file: &str| folder.path().join(file).display().to_string();
        let library = |name: &str| plugin(series, name).map(|file| file.display().to_string());
        let broker = name(broker);
        let addresses = |broker: &BrokerName| {
            let index = NAMES.iter().position(|name| *name == broker.as_str())?;
            Some(("127.0.0.1".to_owned(), ports[index]))
        };
        let (_, port) = addresses(&broker).context("no port")?;
        let mut config = compile(&Compile {
            broker: &broker,
            declared: &noisy(broker.as_str()),
            links,
            placement: &Placement {
                listen: "127.0.0.1".to_owned(),
                peer_port: port,
                client_ports: Vec::new(),
                data_directory: in_folder(""),
                user: rustix::process::geteuid().is_root().then(|| "root".to_owned()),
                sqlite_plugin: library("mosquitto_persist_sqlite.so").ok(),
            },
            addresses: &addresses,
            version: version(series)?,
            epoch: 1,
        })?;
        let security = SecurityPlugin {
            plugin: library("mosquitto_dynamic_security.so")?,
            file: in_folder("security.json"),
        };
        config.secure(security, |upstream| Some(SECRET.bridge(&broker, upstream)))?;
        change(&mut config);
        fs::write(
            in_folder("security.json"),
            security::render(&model(broker.as_str())),
        )?;
        let child = spawn(&mosquitto(series), folder.path(), &config)?;
        let member = Self {
            series,
            config,
            folder,
            child,
        };
        member.wait_listening().await?;
        Ok(member)
    }

    pub(crate) async fn wait_listening(&self) -> Result<()> {
        let listening = async || tokio::net::TcpStream::connect(self.address()).await.is_ok();
        wait_until("a broker to listen", SOON, listening)
            .await
            .with_context(|| self.log())
    }

    /// Ends it, by a kill or properly, and starts it again on the files that are there.
    pub(crate) async fn restart(&mut self, politely: bool) -> Result<()> {
        if politely {
            self.signal(Signal::TERM)?;
        } else {
            self.child.kill()?;
        }
        self.child.wait()?;
        self.child = spawn(&mosquitto(self.series), self.folder.path(), &self.config)?;
        self.wait_listening().await
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("no process id")?, signal)?)
    }

    pub(crate) fn port(&self) -> u16 {
        self.config.listeners[0].port
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Puts another security file there, as its supervisor would.
    pub(crate) fn write_security(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.folder.path().join("security.json"), text)?)
    }

    /// How often a client was refused.
    pub(crate) fn refusals(&self) -> usize {
        self.log().matches("not authorised").count()
    }

    /// Waits until one more is.
    pub(crate) async fn wait_refusal(&self, before: usize) -> Result<()> {
        let refused = async || self.refusals() > before;
        wait_until("a client to be refused", SOON, refused)
            .await
            .with_context(|| self.log())
    }

    /// The security file as it is now.
    pub(crate) fn security(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("security.json"))?)
    }

    pub(crate) fn administrator(&self) -> Administrator {
        let Login { user, password } = SECRET.administrator(&self.config.broker);
        Administrator {
            address: Address {
                host: "127.0.0.1".to_owned(),
                port: self.port(),
            },
            credentials: (user, password.expose().to_owned()),
            client_id: "skein-engine".to_owned(),
            patience: Duration::from_secs(5),
        }
    }

    pub(crate) async fn connect(&self, client_id: &str, login: &Login) -> Result<RawClient> {
        let login = Some((login.user.as_str(), login.password.expose()));
        RawClient::connect(&self.address(), client_id, true, login).await
    }

    /// A client that is Skein.
    pub(crate) async fn skein(&self, client_id: &str) -> Result<RawClient> {
        self.connect(client_id, &SECRET.administrator(&self.config.broker))
            .await
    }

    pub(crate) async fn anonymous(&self, client_id: &str) -> Result<RawClient> {
        RawClient::connect(&self.address(), client_id, true, None).await
    }
}

/// What the file of a broker says.
pub(crate) fn model(broker: &str) -> Security {
    let others = NAMES.map(name);
    let others = others.iter().filter(|other| other.as_str() != broker);
    Security::derived(&SECRET, &name(broker), others, true)
}

pub(crate) fn user(downstream: &str) -> Vec<String> {
    vec![bridge_user(&name(downstream))]
}

/// a, b and c, each with a security file of its own, and the links between them up. The lines are those of a's link to b.
pub(crate) async fn fleet(series: Series, direction: &str) -> Result<[Member; 3]> {
    let ports = free_ports(3)?;
    let start = async |index: usize, links: &[Arc<Link>]| {
        Member::start(series, NAMES[index], links, &ports, |_| ()).await
    };
    let c = start(2, &[]).await?;
    let b = start(1, &[link("b", "c", "in")]).await?;
    let a = start(0, &[link("a", "b", direction)]).await?;
    let mut ear = a.skein("ear").await?;
    ensure!(
        ear.subscribe("$skein/probe/#", 1).await?,
        "no right to read probes"
    );
    let mut mouth = c.skein("mouth").await?;
    let mut arrived = false;
    let there = async || {
        let sent = mouth.publish("$skein/probe/t/c", "", 1, false).await;
        arrived |= sent.is_ok() && matches!(ear.receive(Duration::from_millis(50)).await, Ok(Some(_)));
        arrived
    };
    wait_until("the chain", SOON, there)
        .await
        .with_context(|| format!("{}\n{}\n{}", a.log(), b.log(), c.log()))?;
    Ok([a, b, c])
}
