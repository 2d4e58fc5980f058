//! Brokers that run exactly what Skein rendered, and links between them in few words: for the tests of configurations.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use skein_api::fleet::{Broker, Durability, FleetBuilder, Hosting};
use skein_api::name::{BrokerName, ClassName, Qos};
use skein_e2e::{Series, free_port, mosquitto, plugin, version_of, wait_until};
use skein_filters::TopicFilter;
use skein_mosquitto::config::{Compile, Config, Placement, compile, render};
use skein_mosquitto::link::{Direction, Line, Link, Mode};
use skein_mosquitto::version::Version;
use tempfile::TempDir;

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A broker that runs exactly what Skein rendered; killed when dropped.
pub(crate) struct Rendered {
    pub(crate) folder: TempDir,
    pub(crate) child: Child,
    pub(crate) config: Config,
}

impl Rendered {
    pub(crate) async fn start(
        series: Series,
        name: &str,
        links: &[Link],
        upstream: Option<u16>,
    ) -> Result<Self> {
        Self::start_with(series, name, links, upstream, |_| ()).await
    }

    pub(crate) async fn start_with(
        series: Series,
        name: &str,
        links: &[Link],
        upstream: Option<u16>,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-config-").tempdir()?;
        let mut config = configuration(series, name, links, upstream, folder.path(), &noisy(name))?;
        change(&mut config);
        let child = spawn(&mosquitto(series), folder.path(), &config)?;
        let broker = Self {
            folder,
            child,
            config,
        };
        broker.wait_listening().await?;
        Ok(broker)
    }

    pub(crate) async fn wait_listening(&self) -> Result<()> {
        let listening = async || tokio::net::TcpStream::connect(self.address()).await.is_ok();
        wait_until("a rendered broker to listen", SOON, listening)
            .await
            .with_context(|| self.log())
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

    /// Waits until its bridges have so many subscriptions acknowledged, counted from its first start.
    pub(crate) async fn wait_subscribed(&self, count: usize) -> Result<()> {
        let subscribed = async || self.log().matches("Received SUBACK").count() >= count;
        wait_until(&format!("{count} subscriptions of a bridge"), SOON, subscribed)
            .await
            .with_context(|| self.log())
    }
}

impl Drop for Rendered {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn spawn(binary: &Path, folder: &Path, config: &Config) -> Result<Child> {
    let file = folder.join("mosquitto.conf");
    fs::write(&file, render(config))?;
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"))?;
    let command = Command::new(binary)
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    command.with_context(|| format!("cannot start {}", binary.display()))
}

pub(crate) fn version(series: Series) -> Result<Version> {
    Ok(version_of(&mosquitto(series))?.parse()?)
}

/// A broker that logs what its bridges do.
pub(crate) fn noisy(name: &str) -> Broker {
    declared(name, &[("log_type", "all")], None)
}

pub(crate) fn declared(name: &str, settings: &[(&str, &str)], durability: Option<Durability>) -> Broker {
    let fleet = FleetBuilder::new().with(name, |broker| {
        if let Hosting::Managed(managed) = &mut broker.hosting {
            let settings = settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            managed.settings.extend(settings);
            managed.durability = durability;
        }
    });
    fleet.build().brokers.remove(name).unwrap()
}

/// The configuration of a broker on a free port whose bridges all lead to `upstream`.
pub(crate) fn configuration(
    series: Series,
    name: &str,
    links: &[Link],
    upstream: Option<u16>,
    folder: &Path,
    declared: &Broker,
) -> Result<Config> {
    let links: Vec<Arc<Link>> = links.iter().cloned().map(Arc::new).collect();
    let config = compile(&Compile {
        broker: &BrokerName::new(name)?,
        declared,
        links: &links,
        placement: &Placement {
            listen: "127.0.0.1".to_owned(),
            peer_port: free_port()?,
            client_ports: Vec::new(),
            data_directory: folder.display().to_string(),
            user: rustix::process::geteuid().is_root().then(|| "root".to_owned()),
            sqlite_plugin: plugin(series, "mosquitto_persist_sqlite.so")
                .ok()
                .map(|file| file.display().to_string()),
        },
        addresses: &|_| Some(("127.0.0.1".to_owned(), upstream.unwrap_or(1))),
        version: version(series)?,
        epoch: 1,
    })?;
    Ok(config)
}

/// `"farm/+/soil in 1"`.
pub(crate) fn line(text: &str) -> Line {
    let mut parts = text.rsplitn(3, ' ');
    let qos = parts
        .next()
        .and_then(|qos| qos.parse().ok())
        .and_then(Qos::new)
        .unwrap();
    let direction = match parts.next().unwrap() {
        "in" => Direction::In,
        "out" => Direction::Out,
        _ => Direction::Both,
    };
    Line {
        filter: TopicFilter::parse(parts.next().unwrap()).unwrap(),
        direction,
        qos,
    }
}

/// A link that `down` holds to `up`.
pub(crate) fn link(lines: &[&str]) -> Link {
    let lines: Vec<Line> = lines.iter().map(|text| line(text)).collect();
    let pulls = lines.iter().all(|line| line.direction == Direction::In);
    Link {
        downstream: BrokerName::new("down").unwrap(),
        upstream: BrokerName::new("up").unwrap(),
        mode: if pulls { Mode::Pull } else { Mode::Duplex },
        lines: lines.into(),
        control: [line(if pulls {
            "$skein/probe/soil/# in 1"
        } else {
            "$skein/probe/soil/# both 1"
        })]
        .into(),
        class: ClassName::new("soil").unwrap(),
    }
}

/// How many subscriptions a link makes upstream.
pub(crate) fn subscriptions(link: &Link) -> usize {
    link.lines
        .iter()
        .chain(link.control.iter())
        .filter(|line| line.direction != Direction::Out)
        .count()
}
