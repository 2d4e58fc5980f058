//! The supervisor and the forwarder on real Mosquitto, oldest and newest.
//!
//! Supervisors and forwarders are processes of their own here (this very program, see the first two tests), so that they
//! can be killed as a machine kills them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use skein_agent::{
    BrokerDirectory, ForwardOptions, ForwarderDirectory, Hold, Identity, ProcessState, Report,
    SupervisorOptions, find_mosquitto, spawn_detached,
};
use skein_api::fleet::{Durability, FleetBuilder, Hosting};
use skein_api::name::{BrokerName, ClassName, Qos};
use skein_e2e::{Listener, PlainBroker, Series, free_port, mosquitto, publish_once, wait_for, wait_until};
use skein_filters::TopicFilter;
use skein_mosquitto::config::{Compile, Placement, Session, compile, parse, render};
use skein_mosquitto::link::{Direction, Line, Link, Mode};
use skein_mosquitto::version::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
const SUPERVISE: &str = "SKEIN_TEST_SUPERVISE";
const FORWARD: &str = "SKEIN_TEST_FORWARD";

/// Not a test but the supervisor of the others: `DIRECTORY:MOSQUITTO` is in the environment then.
#[tokio::test]
async fn supervisor_process() {
    let Ok(arguments) = std::env::var(SUPERVISE) else {
        return;
    };
    let (directory, mosquitto) = arguments.split_once(':').unwrap();
    let options = SupervisorOptions {
        directory: BrokerDirectory::new(directory),
        mosquitto: mosquitto.into(),
    };
    skein_agent::supervise(options).await.unwrap();
}

/// Not a test but the forwarder of the others.
#[tokio::test]
async fn forwarder_process() {
    let Ok(directory) = std::env::var(FORWARD) else {
        return;
    };
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = ForwardOptions {
        listen,
        directory: ForwarderDirectory::new(directory),
    };
    skein_agent::forward(options).await.unwrap();
}

fn run_this(variable: &str, value: &str, test: &str, log: &Path) -> Result<Identity> {
    let own = std::env::current_exe()?;
    let own = own.to_str().context("this program's path is not UTF-8")?;
    let arguments = [
        &format!("{variable}={value}"),
        own,
        "--exact",
        test,
        "--nocapture",
    ];
    Ok(spawn_detached(Path::new("/usr/bin/env"), arguments, log)?)
}

/// One supervised broker, called a.
struct Scene {
    _folder: tempfile::TempDir,
    directory: BrokerDirectory,
    mosquitto: PathBuf,
    version: Version,
    port: u16,
}

impl Scene {
    fn new(series: Series) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-supervisor-").tempdir()?;
        let directory = BrokerDirectory::new(folder.path().join("a"));
        directory.create()?;
        let found = find_mosquitto(Some(&mosquitto(series)))?;
        Ok(Self {
            _folder: folder,
            directory,
            mosquitto: found.path,
            version: found.version,
            port: free_port()?,
        })
    }

    /// Starts a supervisor and waits for its first word.
    async fn supervise(&self) -> Result<Identity> {
        let path = self.directory.path().to_str().context("no UTF-8")?;
        let program = self.mosquitto.to_str().context("no UTF-8")?;
        let log = self.directory.supervisor_log();
        let identity = run_this(
            SUPERVISE,
            &format!("{path}:{program}"),
            "supervisor_process",
            &log,
        )?;
        self.until("the supervisor to speak", |report| {
            report.supervisor_pid == identity.pid
        })
        .await?;
        Ok(identity)
    }

    /// A configuration with these bridges, each pulling `t/#` from a port of this machine.
    fn config(&self, epoch: u64, upstreams: &[(&str, u16)]) -> Result<String> {
        let name = BrokerName::new("a")?;
        let fleet = FleetBuilder::new().brokers("a").with("a", |broker| {
            if let Hosting::Managed(managed) = &mut broker.hosting {
                managed.durability = Some(Durability::None);
                managed.allow_anonymous = true;
            }
        });
        let fleet = fleet.build();
        let links: Vec<Arc<Link>> = upstreams
            .iter()
            .map(|(upstream, _)| -> Result<Arc<Link>> {
                let line = |filter: &str| -> Result<Line> {
                    let filter = TopicFilter::parse(filter)?;
                    Ok(Line {
                        filter,
                        direction: Direction::In,
                        qos: Qos::AtLeastOnce,
                    })
                };
                Ok(Arc::new(Link {
                    downstream: name.clone(),
                    upstream: BrokerName::new(upstream)?,
                    mode: Mode::Pull,
                    lines: [line("t/#")?].into(),
                    control: [line("$skein/probe/t/#")?].into(),
                    class: ClassName::new("t")?,
                }))
            })
            .collect::<Result<_>>()?;
        let addresses = |name: &BrokerName| {
            let (_, port) = upstreams
                .iter()
                .find(|(upstream, _)| *upstream == name.as_str())?;
            Some(("127.0.0.1".to_owned(), *port))
        };
        let root = rustix::process::geteuid().is_root();
        let placement = Placement {
            listen: "127.0.0.1".to_owned(),
            peer_port: self.port,
            client_ports: Vec::new(),
            data_directory: self.directory.data().display().to_string(),
            user: root.then(|| "root".to_owned()),
            sqlite_plugin: None,
        };
        let config = compile(&Compile {
            broker: &name,
            declared: fleet.brokers.get(&name).context("no broker a")?,
            links: &links,
            placement: &placement,
            addresses: &addresses,
            version: self.version,
            epoch,
        })?;
        Ok(render(&config))
    }

    fn give(&self, epoch: u64, config: String) -> Result<()> {
        Ok(self.directory.give(epoch, config, serde_json::Value::Null)?)
    }

    async fn until(&self, what: &str, holds: impl Fn(&Report) -> bool) -> Result<Report> {
        let report = async || self.directory.report().ok().flatten().filter(&holds);
        wait_for(what, PATIENCE, report).await.with_context(|| {
            let supervisor = std::fs::read_to_string(self.directory.supervisor_log()).unwrap_or_default();
            format!("{:#?}\n{supervisor}\n{}", self.directory.report(), self.log())
        })
    }

    /// Waits until the broker runs this epoch and accepts clients.
    async fn running(&self, epoch: u64) -> Result<Identity> {
        let report = self
            .until("a running broker", |report| {
                report.loaded == Some(epoch) && matches!(report.process, ProcessState::Running { .. })
            })
            .await?;
        wait_until("a listening broker", PATIENCE, async || {
            TcpStream::connect(self.address()).await.is_ok()
        })
        .await?;
        Identity::of(report.process.pid().unwrap_or_default()).context("the broker is dead")
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.log()).unwrap_or_default()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let forwarder = ForwarderDirectory::new(self.directory.path()).running();
        let forwarder = forwarder.map(|found| found.map(|report| report.identity));
        for process in [self.directory.supervisor(), self.directory.broker(), forwarder] {
            if let Ok(Some(process)) = process {
                let _ = process.signal(Signal::KILL);
            }
        }
    }
}

#[tokio::test]
async fn a_killed_broker_is_back() -> Result<()> {
    for series in Series::ALL {
        let scene = Scene::new(series)?;
        scene.supervise().await?;
        scene.give(1, scene.config(1, &[])?)?;
        let first = scene.running(1).await?;
        first.signal(Signal::KILL)?;
        first.wait_exit().await?;
        let report = scene.until("a restart", |report| report.restarts == 1).await?;
        ensure!(
            report.version.as_deref() == Some(scene.version.to_string().as_str()),
            "{report:?}"
        );
        ensure!(scene.running(1).await? != first);
        publish_once(&scene.address(), "t/1", "hello", 1, false).await?;
    }
    Ok(())
}

/// A reload of 2.1 alone would pass over every other connection that goes: see `Transition::stages`.
#[tokio::test]
async fn any_number_of_bridges_are_exchanged_at_once() -> Result<()> {
    const BRIDGES: usize = 5;
    for series in Series::ALL {
        let upstream = PlainBroker::start(&mosquitto(series), "").await?;
        let scene = Scene::new(series)?;
        scene.supervise().await?;
        let upstreams = ["b", "c", "d", "e", "f"].map(|name| (name, upstream.port()));
        let old = parse(&scene.config(1, &upstreams)?)?;
        scene.give(1, render(&old))?;
        scene.running(1).await?;
        arrives(&scene, &upstream, "t/1", BRIDGES).await?;

        // The same bridges for another topic, with the same client ids.
        let mut new = old.clone();
        new.epoch = 2;
        for held in &mut new.connections {
            let held = std::sync::Arc::make_mut(held);
            held.name.push_str("-again");
            held.lines[0].filter = TopicFilter::parse("u/#")?;
        }
        let sessions = old.connections.iter();
        let sessions = sessions.map(|held| (held.remote_client_id.clone(), Session::of(held)));
        new.resume(&sessions.collect());
        scene.give(2, render(&new))?;
        let process = scene.running(2).await?;
        arrives(&scene, &upstream, "u/1", BRIDGES).await?;
        let listener = Listener::start(&scene.address(), "listener", "#", 1).await?;
        publish_once(&upstream.address(), "t/1", "gone", 1, false).await?;
        publish_once(&upstream.address(), "u/1", "last", 1, false).await?;
        let messages = listener.wait_messages(BRIDGES, PATIENCE).await?;
        ensure!(
            messages.iter().all(|message| message.topic == "u/1"),
            "{messages:?}"
        );
        ensure!(scene.running(2).await? == process, "{}", scene.log());
    }
    Ok(())
}

/// Publishes at the upstream broker until so many copies of one message arrive at the supervised one.
async fn arrives(scene: &Scene, upstream: &PlainBroker, topic: &str, copies: usize) -> Result<()> {
    let listener = Listener::start(&scene.address(), "listener", topic, 1).await?;
    wait_until("every bridge to carry it", PATIENCE, async || {
        listener.clear();
        let published = publish_once(&upstream.address(), topic, "hello", 1, false).await;
        let arrived = listener.wait_messages(copies, Duration::from_millis(200)).await;
        published.is_ok() && arrived.is_ok()
    })
    .await
    .with_context(|| scene.log())
}

#[tokio::test]
async fn a_new_bridge_takes_a_reload_on_2_1_and_a_restart_before() -> Result<()> {
    for series in Series::ALL {
        let upstream = PlainBroker::start(&mosquitto(series), "").await?;
        publish_once(&upstream.address(), "t/1", "kept", 1, true).await?;
        let scene = Scene::new(series)?;
        scene.supervise().await?;
        scene.give(1, scene.config(1, &[])?)?;
        let first = scene.running(1).await?;
        scene.give(2, scene.config(2, &[("b", upstream.port())])?)?;
        let second = scene.running(2).await?;
        ensure!((first == second) == (series == Series::Newest), "{}", scene.log());
        let listener = Listener::start(&scene.address(), "listener", "t/#", 1).await?;
        let messages = listener.wait_messages(1, PATIENCE).await?;
        ensure!(messages[0].payload == "kept", "{messages:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_configuration_leaves_the_broker_alone() -> Result<()> {
    for series in Series::ALL {
        let scene = Scene::new(series)?;
        scene.supervise().await?;
        let good = scene.config(1, &[("b", 1)])?;
        scene.give(1, good.clone())?;
        let broker = scene.running(1).await?;
        let bad = [
            "nonsense 1\n",
            "connection half\n",
            "password_file /nowhere/passwords\n",
        ];
        for (epoch, line) in (2..).zip(bad) {
            scene.give(epoch, format!("{good}\n{line}"))?;
            let refused = |report: &Report| report.rejected.as_ref().is_some_and(|r| r.epoch == epoch);
            let report = scene.until("a refusal", refused).await?;
            ensure!(report.loaded == Some(1), "{report:?}");
            ensure!(
                report.process == ProcessState::Running { pid: broker.pid },
                "{report:?}"
            );
            let reason = report
                .rejected
                .map(|rejected| rejected.reason)
                .unwrap_or_default();
            ensure!(!reason.is_empty());
        }
        ensure!(
            broker.is_alive() && !scene.log().contains("Reloading"),
            "{}",
            scene.log()
        );
        ensure!(std::fs::read_to_string(scene.directory.config_file())? == good);
        scene.give(9, scene.config(9, &[("b", 2)])?)?;
        scene.running(9).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_only_the_start_shows_is_taken_back() -> Result<()> {
    for series in Series::ALL {
        let mut scene = Scene::new(series)?;
        scene.supervise().await?;
        scene.give(1, scene.config(1, &[])?)?;
        scene.running(1).await?;
        // A port that another program has: no test of the file can know.
        let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
        let port = std::mem::replace(&mut scene.port, taken.local_addr()?.port());
        scene.give(2, scene.config(2, &[])?)?;
        let report = scene
            .until("a refusal", |report| report.rejected.is_some())
            .await?;
        let rejected = report.rejected.context("nothing refused")?;
        ensure!(
            rejected.epoch == 2 && rejected.reason.contains("Address already in use"),
            "{rejected:?}"
        );
        scene.port = port;
        scene.running(1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn hung_and_mended_it_takes_what_came_meanwhile() -> Result<()> {
    for series in Series::ALL {
        let scene = Scene::new(series)?;
        scene.supervise().await?;
        scene.give(1, scene.config(1, &[])?)?;
        let broker = scene.running(1).await?;
        scene.directory.hold(Hold::Hang)?;
        let hung = ProcessState::Hung { pid: broker.pid };
        scene
            .until("a hung broker", |report| report.process == hung)
            .await?;
        let answer = tokio::time::timeout(Duration::from_millis(300), connect(&scene.address())).await;
        ensure!(answer.is_err(), "it answers: {answer:?}");
        scene.give(2, scene.config(2, &[("b", 1)])?)?;
        scene.directory.mend()?;
        let second = scene.running(2).await?;
        ensure!((broker == second) == (series == Series::Newest));
        connect(&scene.address()).await?;

        scene.directory.hold(Hold::Down)?;
        scene
            .until("a held broker", |report| report.process == ProcessState::Held)
            .await?;
        ensure!(!second.is_alive() && TcpStream::connect(scene.address()).await.is_err());
        scene.give(3, scene.config(3, &[])?)?;
        scene
            .until("the next configuration", |report| report.loaded == Some(3))
            .await?;
        scene.directory.mend()?;
        scene.running(3).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_broker_outlives_its_supervisor_and_is_taken_over() -> Result<()> {
    for series in Series::ALL {
        let scene = Scene::new(series)?;
        let supervisor = scene.supervise().await?;
        scene.give(1, scene.config(1, &[])?)?;
        let broker = scene.running(1).await?;
        supervisor.signal(Signal::KILL)?;
        supervisor.wait_exit().await?;
        // As if it had died before it could note whom it started.
        std::fs::remove_file(scene.directory.path().join("broker.pid"))?;
        let supervisor = scene.supervise().await?;
        ensure!(scene.running(1).await? == broker);
        broker.signal(Signal::KILL)?;
        broker.wait_exit().await?;
        scene.until("a restart", |report| report.restarts == 1).await?;
        let broker = scene.running(1).await?;
        // Ctrl-C in its terminal and the terminal's end are not meant for it.
        supervisor.signal(Signal::INT)?;
        supervisor.signal(Signal::HUP)?;
        supervisor.signal(Signal::TERM)?;
        supervisor.wait_exit().await?;
        let report = scene.directory.report()?.context("no report")?;
        ensure!(
            report.process == ProcessState::Stopped,
            "the last word is {report:?}"
        );
        ensure!(!broker.is_alive(), "it took its broker along");
    }
    Ok(())
}

/// An MQTT 3.1.1 CONNECT with a clean session and an empty client id, until CONNACK.
async fn connect(address: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00")
        .await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    ensure!(answer == [0x20, 2, 0, 0], "{answer:?}");
    Ok(stream)
}

#[tokio::test]
async fn clients_are_back_through_their_address_in_no_time() -> Result<()> {
    const KILLS: usize = 40;
    for series in Series::ALL {
        let scene = Scene::new(series)?;
        scene.supervise().await?;
        scene.give(1, scene.config(1, &[])?)?;
        scene.running(1).await?;
        let directory = ForwarderDirectory::new(scene.directory.path());
        directory.point(Some(&scene.address()))?;
        let path = directory.path().to_str().context("no UTF-8")?;
        let forwarder = run_this(FORWARD, path, "forwarder_process", &directory.log())?;
        let listening = wait_for("a forwarder", PATIENCE, async || {
            directory.running().ok().flatten()
        })
        .await?;
        ensure!(listening.identity == forwarder);
        let address: SocketAddr = listening.listen;

        let mut times = Vec::new();
        for _ in 0..KILLS {
            let mut client = connect(&address.to_string()).await?;
            // It may serve before its supervisor comes to note it.
            let noted = async || scene.directory.broker().ok().flatten();
            let broker = wait_for("the broker to be noted", PATIENCE, noted).await?;
            broker.signal(Signal::KILL)?;
            let killed = Instant::now();
            let mut rest = Vec::new();
            // Its end may come as a reset.
            let _ = client.read_to_end(&mut rest).await;
            while connect(&address.to_string()).await.is_err() {}
            times.push(killed.elapsed());
        }
        times.sort();
        let (median, worst) = (times[KILLS / 2], times[KILLS - 1]);
        println!(
            "{}: killed until CONNACK: median {median:?}, worst {worst:?}",
            scene.version
        );
        for process in [
            &forwarder,
            &scene.directory.supervisor()?.context("no supervisor")?,
        ] {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid))?;
            let figures = status
                .lines()
                .filter(|line| line.starts_with("Rss") || line.starts_with("VmRSS"));
            println!("{}", figures.collect::<Vec<_>>().join("  "));
        }
        forwarder.signal(Signal::KILL)?;
        ensure!(median < Duration::from_millis(100), "{times:?}");
    }
    Ok(())
}
