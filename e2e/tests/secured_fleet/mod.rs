//! Three brokers on rendered configurations and security files, a link with a user each between them.

#![allow(dead_code, reason = "each test uses some of it")]

use std::fs;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use skein_api::name::{BrokerName, ClassName};
use skein_e2e::{RawClient, Series, free_ports, plugin, wait_until};
use skein_mosquitto::config::{Config, SecurityPlugin};
use skein_mosquitto::link::{Direction, Link, Mode};
use skein_mosquitto::security::{self, FleetSecret, Login, Security, bridge_user};
use skein_mqtt::Address;
use skein_mqtt::administration::Administrator;

use crate::rendered::{Rendered, SOON, compiled, line, noisy};

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
pub(crate) struct Member(Rendered);

impl Deref for Member {
    type Target = Rendered;

    fn deref(&self) -> &Rendered {
        &self.0
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
        let file = folder.path().join("security.json");
        let declared = noisy(broker);
        let broker = name(broker);
        let addresses = |broker: &BrokerName| {
            let index = NAMES.iter().position(|name| *name == broker.as_str())?;
            Some(("127.0.0.1".to_owned(), ports[index]))
        };
        let (_, port) = addresses(&broker).context("no port")?;
        let mut config = compiled(series, &broker, links, port, folder.path(), &declared, &addresses)?;
        let security = SecurityPlugin {
            plugin: plugin(series, "mosquitto_dynamic_security.so")?
                .display()
                .to_string(),
            file: file.display().to_string(),
        };
        config.secure(security, |upstream| Some(SECRET.bridge(&broker, upstream)))?;
        change(&mut config);
        fs::write(file, security::render(&model(broker.as_str())))?;
        Ok(Self(Rendered::run(series, folder, config).await?))
    }

    /// Ends it, by a kill or properly, and starts it again on the files that are there.
    pub(crate) async fn restart(&mut self, politely: bool) -> Result<()> {
        self.0.end(politely)?;
        self.0.start_again().await
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
