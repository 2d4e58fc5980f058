//! Brokers that run exactly what Skein rendered, and links between them in few words: for the tests of configurations.

#![allow(dead_code, reason = "each test uses some of it")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
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
    pub(crate) config: Config,
    series: Series,
    child: Child,
    /// Lines that follow what Skein rendered, from the next start on.
    pub(crate) further: &'static str,
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
        Self::run(series, folder, config).await
    }

    /// Runs a configuration, which has this folder to itself.
    pub(crate) async fn run(series: Series, folder: TempDir, config: Config) -> Result<Self> {
        let child = spawn(&mosquitto(series), folder.path(), &config)?;
        let broker = Self {
            folder,
            config,
            series,
            child,
            further: "",
        };
        broker.wait_listening().await?;
        Ok(broker)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("no process id")?, signal)?)
    }

    /// Ends it, properly or by a kill.
    pub(crate) fn end(&mut self, politely: bool) -> Result<()> {
        self.signal(if politely { Signal::TERM } else { Signal::KILL })?;
        self.child.wait()?;
        Ok(())
    }

    /// On its configuration as it is now, and the files that are there.
    pub(crate) async fn start_again(&mut self) -> Result<()> {
        let text = render(&self.config) + self.further;
        self.child = spawn_on(&mosquitto(self.series), self.folder.path(), &text)?;
        self.wait_listening().await
    }

    async fn wait_listening(&self) -> Result<()> {
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
    spawn_on(binary, folder, &render(config))
}

fn spawn_on(binary: &Path, folder: &Path, text: &str) -> Result<Child> {
    let file = folder.join("mosquitto.conf");
    fs::write(&file, text)?;
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
    let upstreams = |_: &BrokerName| Some(("127.0.0.1".to_owned(), upstream.unwrap_or(1)));
    compiled(
        series,
        &BrokerName::new(name)?,
        &links,
        free_port()?,
        folder,
        declared,
        &upstreams,
    )
}

/// The configuration of a broker on this port.
pub(crate) fn compiled(
    series: Series,
    broker: &BrokerName,
    links: &[Arc<Link>],
    port: u16,
    folder: &Path,
    declared: &Broker,
    addresses: &dyn Fn(&BrokerName) -> Option<(String, u16)>,
) -> Result<Config> {
    let config = compile(&Compile {
        broker,
        declared,
        links,
        placement: &Placement {
            listen: "127.0.0.1".to_owned(),
            peer_port: port,
            client_ports: Vec::new(),
            data_directory: folder.display().to_string(),
            user: rustix::process::geteuid().is_root().then(|| "root".to_owned()),
            sqlite_plugin: plugin(series, "mosquitto_persist_sqlite.so")
                .ok()
                .map(|file| file.display().to_string()),
        },
        addresses,
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
