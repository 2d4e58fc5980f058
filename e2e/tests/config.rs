//! What Skein writes into `mosquitto.conf`, on real brokers of both series: they accept it, and it means what the planner
//! and the check believe it means.
//!
//! Findings that others rely on, each kept by a test below:
//! - With `allow_duplicate_messages false` at both ends and a 3.1.1 bridge, overlapping and crossing lines give one copy, in
//!   every direction: `in` lines by the upstream's option, `out` lines by the holder's, `both` beside `in` by the
//!   upstream's. Without it 2.1 sends one copy per matching line.
//! - A removed line keeps its subscription upstream; [`Config::forget`] ends it.
//! - `restart_timeout 1 1` brings a link back one to two seconds after its upstream listens again.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use skein_api::fleet::{Broker, Durability, FleetBuilder, Hosting};
use skein_api::name::{BrokerName, ClassName, Qos};
use skein_e2e::{Listener, Series, free_port, mosquitto, publish_once, version_of, wait_until};
use skein_filters::TopicFilter;
use skein_mosquitto::config::{Compile, Config, Placement, compile, links_of, parse, render};
use skein_mosquitto::link::{Direction, Line, Link, Mode};
use skein_mosquitto::settings::review_for;
use skein_mosquitto::transition::{Action, transition};
use skein_mosquitto::version::Version;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SOON: Duration = Duration::from_secs(20);

/// A broker that runs exactly what Skein rendered; killed when dropped.
struct Rendered {
    binary: PathBuf,
    folder: TempDir,
    child: Child,
    config: Config,
}

impl Rendered {
    async fn start(series: Series, name: &str, links: &[Link], upstream: Option<u16>) -> Result<Self> {
        Self::start_with(series, name, links, upstream, |_| ()).await
    }

    async fn start_with(
        series: Series,
        name: &str,
        links: &[Link],
        upstream: Option<u16>,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-config-").tempdir()?;
        let mut config = configuration(series, name, links, upstream, folder.path(), &noisy(name))?;
        change(&mut config);
        let binary = mosquitto(series);
        let child = spawn(&binary, folder.path(), &config)?;
        let broker = Self {
            binary,
            folder,
            child,
            config,
        };
        broker.wait_listening().await?;
        Ok(broker)
    }

    async fn wait_listening(&self) -> Result<()> {
        let listening = async || tokio::net::TcpStream::connect(self.address()).await.is_ok();
        wait_until("a rendered broker to listen", SOON, listening)
            .await
            .with_context(|| self.log())
    }

    fn port(&self) -> u16 {
        self.config.listeners[0].port
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until its bridges have so many subscriptions acknowledged, counted from its first start.
    async fn wait_subscribed(&self, count: usize) -> Result<()> {
        let subscribed = async || self.log().matches("Received SUBACK").count() >= count;
        wait_until(&format!("{count} subscriptions of a bridge"), SOON, subscribed)
            .await
            .with_context(|| self.log())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("no process")?;
        Ok(kill_process(pid, signal)?)
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    async fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&self.binary, self.folder.path(), &self.config)?;
        self.wait_listening().await
    }

    /// Goes over to other links, by what `transition` says, and tells what that was.
    async fn change(
        &mut self,
        series: Series,
        links: &[Link],
        upstream: u16,
        forget: bool,
    ) -> Result<Action> {
        let name = self.config.broker.to_string();
        let mut new = configuration(
            series,
            &name,
            links,
            Some(upstream),
            self.folder.path(),
            &noisy(&name),
        )?;
        new.listeners.clone_from(&self.config.listeners);
        if forget {
            new.forget(&self.config);
        }
        let action = transition(&self.config, &new, version(series)?).action;
        self.config = new;
        fs::write(self.folder.path().join("mosquitto.conf"), render(&self.config))?;
        match action {
            Action::None => {}
            Action::Reload => self.signal(Signal::HUP)?,
            Action::Restart => {
                self.signal(Signal::TERM)?;
                self.child.wait()?;
                self.start_again().await?;
            }
        }
        Ok(action)
    }
}

impl Drop for Rendered {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(binary: &Path, folder: &Path, config: &Config) -> Result<Child> {
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

fn version(series: Series) -> Result<Version> {
    Ok(version_of(&mosquitto(series))?.parse()?)
}

/// A broker that logs what its bridges do.
fn noisy(name: &str) -> Broker {
    declared(name, &[("log_type", "all")], None)
}

fn declared(name: &str, settings: &[(&str, &str)], durability: Option<Durability>) -> Broker {
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
fn configuration(
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
            sqlite_plugin: sqlite_plugin(series),
        },
        addresses: &|_| Some(("127.0.0.1".to_owned(), upstream.unwrap_or(1))),
        version: version(series)?,
        epoch: 1,
    })?;
    Ok(config)
}

/// The plugin beside the binary: in the folder tree that a package was unpacked to.
fn sqlite_plugin(series: Series) -> Option<String> {
    let root = mosquitto(series).parent()?.parent()?.to_owned();
    let libraries = root.join("usr/lib");
    let folders = fs::read_dir(&libraries)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    let places = folders
        .flat_map(|folder| [folder.join("mosquitto"), folder.clone()])
        .chain([libraries.join("mosquitto")]);
    let plugin = places
        .map(|place| place.join("mosquitto_persist_sqlite.so"))
        .find(|plugin| plugin.is_file())?;
    Some(plugin.display().to_string())
}

/// `"farm/+/soil in 1"`.
fn line(text: &str) -> Line {
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
fn link(lines: &[&str]) -> Link {
    let lines: Vec<Line> = lines.iter().map(|text| line(text)).collect();
    let pulls = lines.iter().all(|line| line.direction == Direction::In);
    Link {
        downstream: BrokerName::new("down").unwrap(),
        upstream: BrokerName::new("up").unwrap(),
        mode: if pulls { Mode::Pull } else { Mode::Duplex },
        lines,
        control: vec![line(if pulls {
            "$skein/probe/soil/# in 1"
        } else {
            "$skein/probe/soil/# both 1"
        })],
        classes: BTreeSet::from([ClassName::new("soil").unwrap()]),
    }
}

/// How many subscriptions a link makes upstream.
fn subscriptions(link: &Link) -> usize {
    link.lines
        .iter()
        .chain(&link.control)
        .filter(|line| line.direction != Direction::Out)
        .count()
}

#[tokio::test]
async fn every_rendered_configuration_passes_the_brokers_own_parser() -> Result<()> {
    let thousand: Vec<String> = (0..1000)
        .map(|number| format!("farm/{number}/soil/# in {}", number % 3))
        .collect();
    let long = format!("{}/# in 1", "x".repeat(20_000));
    let links = [
        vec![],
        vec![link(&["#  in 1".replace("  ", " ").as_str()])],
        vec![link(&["a/+/c in 0", "a/b/# in 2"])],
        vec![link(&[
            "a/# both 1",
            "b/+ out 0",
            "c in 2",
            "a/b out 1",
            "a/b in 1",
        ])],
        vec![link(&[
            "é/日本/+ in 1",
            "a//b in 1",
            "/ in 1",
            "q\"/' in 1",
            &long,
        ])],
        vec![link(&thousand.iter().map(String::as_str).collect::<Vec<_>>())],
    ];
    let settings = [
        ("allow_zero_length_clientid", "false"),
        ("auto_id_prefix", "device-"),
        ("check_retain_source", "false"),
        ("connection_messages", "false"),
        ("enable_control_api", "true"),
        ("log_timestamp", "true"),
        ("log_timestamp_format", "%Y-%m-%dT%H:%M:%S #1"),
        ("log_type", "error warning subscribe websockets internal"),
        ("max_keepalive", "10"),
        ("retain_expiry_interval", "1"),
        ("set_tcp_nodelay", "true"),
        ("sys_interval", "65535"),
    ];
    for series in Series::ALL {
        let version = version(series)?;
        let usable: Vec<(&str, &str)> = settings
            .iter()
            .copied()
            .filter(|(key, value)| review_for(key, value, version).is_ok())
            .collect();
        let left_out = settings.len() - usable.len();
        ensure!(
            left_out == if series == Series::Oldest { 2 } else { 0 },
            "{left_out} options are refused"
        );
        for (index, links) in links.iter().enumerate() {
            for durability in [None, Some(Durability::Classic), Some(Durability::None)] {
                let folder = tempfile::Builder::new().prefix("skein config # ").tempdir()?;
                let declared = declared("down", &usable, durability);
                let config = configuration(series, "down", links, None, folder.path(), &declared)?;
                accepts(series, &config, folder.path())
                    .await
                    .with_context(|| format!("{series:?}, case {index}"))?;
                assert_eq!(parse(&render(&config)).as_ref(), Ok(&config));
                assert_eq!(&links_of(&config.broker, &config), links);
            }
        }
    }
    Ok(())
}

/// 2.1 can be asked; 2.0 must be started.
async fn accepts(series: Series, config: &Config, folder: &Path) -> Result<()> {
    let binary = mosquitto(series);
    if series == Series::Newest {
        let file = folder.join("tested.conf");
        fs::write(&file, render(config))?;
        let output = Command::new(&binary)
            .arg("--test-config")
            .arg("-c")
            .arg(&file)
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mut child = spawn(&binary, folder, config)?;
    let port = config.listeners[0].port;
    let listening = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
    let outcome = wait_until("it to listen", SOON, listening).await;
    child.kill()?;
    child.wait()?;
    let log = fs::read_to_string(folder.join("log"))?;
    outcome.with_context(|| log.clone())?;
    // Where an error is in the file; "Error creating bridge" is only an upstream that is not there.
    ensure!(!log.contains("Error found at"), "{log}");
    Ok(())
}

#[tokio::test]
async fn topics_with_odd_characters_really_cross_a_bridge() -> Result<()> {
    let odd = [
        "é/日本",
        "a//b",
        "/lead",
        "trail/",
        "q\"uote/x",
        "back\\slash",
        "'single'",
        "semi;colon",
        "a#b",
        "{%s}",
        "$x",
    ];
    for series in Series::ALL {
        let mut topics: Vec<String> = odd
            .iter()
            .filter(|topic| !topic.contains('#'))
            .map(|topic| (*topic).to_owned())
            .collect();
        let long = format!("{}end", "long/".repeat(199));
        topics.extend([long, "x".repeat(20_000)]);
        if series == Series::Newest {
            topics.extend(["north wing/soil", "a  b/c d/e"].map(str::to_owned));
        }
        let lines: Vec<String> = topics.iter().map(|topic| format!("{topic} in 1")).collect();
        let link = link(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let up = Rendered::start(series, "up", &[], None).await?;
        let down = Rendered::start(series, "down", std::slice::from_ref(&link), Some(up.port())).await?;
        down.wait_subscribed(subscriptions(&link)).await?;
        for topic in &topics {
            let listener = Listener::start(&down.address(), "ear", topic, 1).await?;
            publish_once(&up.address(), topic, "1", 1, false).await?;
            let got = listener
                .wait_messages(1, SOON)
                .await
                .with_context(|| format!("{series:?} {topic}"))?;
            assert_eq!(&got[0].topic, topic);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_quoted_pattern_stops_the_oldest_version_which_is_why_it_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let spaced = [link(&["north wing/+ in 1"])];
    let refused = configuration(
        Series::Oldest,
        "down",
        &spaced,
        None,
        folder.path(),
        &noisy("down"),
    );
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("cannot bridge a filter with a space")
    );
    let newest = configuration(
        Series::Newest,
        "down",
        &spaced,
        None,
        folder.path(),
        &declared("down", &[], Some(Durability::None)),
    )?;
    let mut child = spawn(&mosquitto(Series::Oldest), folder.path(), &newest)?;
    let ended = async || matches!(child.try_wait(), Ok(Some(status)) if !status.success());
    wait_until("the oldest version to give up", SOON, ended).await
}

/// How often a message that is published at one end arrives at both, with the lines and the option given.
struct Copies {
    down: usize,
    up: usize,
}

async fn copies(
    series: Series,
    lines: &[&str],
    at_up: bool,
    topic: &str,
    duplicates: bool,
) -> Result<Copies> {
    // The last message takes the same way as those before it, so whatever is to come is there when it is.
    let pulls = lines.iter().all(|line| line.contains(" in "));
    let mut lines = lines.to_vec();
    lines.push(if pulls { "end in 1" } else { "end both 1" });
    let link = link(&lines);
    let allow = |config: &mut Config| config.limits.allow_duplicate_messages = duplicates;
    let up = Rendered::start_with(series, "up", &[], None, allow).await?;
    let down = Rendered::start_with(
        series,
        "down",
        std::slice::from_ref(&link),
        Some(up.port()),
        allow,
    )
    .await?;
    down.wait_subscribed(subscriptions(&link)).await?;
    let ears = (
        Listener::start(&down.address(), "ear-down", "#", 2).await?,
        Listener::start(&up.address(), "ear-up", "#", 2).await?,
    );
    let (near, far) = if at_up { (&up, &down) } else { (&down, &up) };
    publish_once(&near.address(), topic, "1", 1, false).await?;
    publish_once(&near.address(), "end", "there", 1, false).await?;
    let ends = |ear: &Listener, count: usize| {
        ear.messages()
            .iter()
            .filter(|message| message.topic == "end")
            .count()
            >= count
    };
    let arrived = async || ends(&ears.0, 1) && ends(&ears.1, 1);
    wait_until("the last message to arrive", SOON, arrived)
        .await
        .with_context(|| down.log())?;
    if !pulls {
        publish_once(&far.address(), "end", "and back", 1, false).await?;
        let returned = async || ends(&ears.0, 2) && ends(&ears.1, 2);
        wait_until("the last message to return", SOON, returned).await?;
    }
    let count = |ear: &Listener| {
        ear.messages()
            .iter()
            .filter(|message| message.topic == topic)
            .count()
    };
    Ok(Copies {
        down: count(&ears.0),
        up: count(&ears.1),
    })
}

/// Lines, whether the message is published upstream, its topic, and how many copies 2.1 sends without the option.
const OVERLAPS: [(&[&str], bool, &str, usize); 9] = [
    (&["t/# in 1", "t/a in 1", "t/+ in 1"], true, "t/a", 3),
    (&["a/+/c in 1", "a/b/# in 1"], true, "a/b/c", 2),
    (&["a/+/c in 0", "a/b/# in 2"], true, "a/b/c", 2),
    (&["t/# out 1", "t/a out 1", "t/+ out 1"], false, "t/a", 3),
    (&["a/+/c out 1", "a/b/# out 1"], false, "a/b/c", 2),
    (&["t/# both 1", "t/a in 1"], true, "t/a", 2),
    (&["t/# both 1", "t/a both 1"], false, "t/a", 2),
    (&["t/# in 1", "t/+/cmd out 1"], false, "t/a/cmd", 1),
    (&["t in 1", "t out 1"], true, "t", 1),
];

#[tokio::test]
async fn overlapping_and_crossing_lines_give_one_copy_in_every_direction() -> Result<()> {
    for series in Series::ALL {
        for (lines, at_up, topic, _) in OVERLAPS {
            let copies = copies(series, lines, at_up, topic, false).await?;
            assert_eq!((copies.down, copies.up), (1, 1), "{series:?} {lines:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_the_option_the_newest_version_sends_a_copy_per_line() -> Result<()> {
    for (lines, at_up, topic, expected) in OVERLAPS {
        let copies = copies(Series::Newest, lines, at_up, topic, true).await?;
        let (near, far) = if at_up {
            (copies.up, copies.down)
        } else {
            (copies.down, copies.up)
        };
        assert_eq!((near, far), (1, expected), "{lines:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_removed_line_goes_on_flowing_unless_it_is_forgotten() -> Result<()> {
    for series in Series::ALL {
        for forget in [false, true] {
            let wide = link(&["old in 1", "new in 1"]);
            let narrow = link(&["new in 1"]);
            let up = Rendered::start(series, "up", &[], None).await?;
            let mut down =
                Rendered::start(series, "down", std::slice::from_ref(&wide), Some(up.port())).await?;
            down.wait_subscribed(subscriptions(&wide)).await?;
            let action = down
                .change(series, std::slice::from_ref(&narrow), up.port(), forget)
                .await?;
            assert_eq!(
                action,
                if series == Series::Oldest {
                    Action::Restart
                } else {
                    Action::Reload
                }
            );
            down.wait_subscribed(subscriptions(&wide) + subscriptions(&narrow))
                .await?;
            if forget {
                let unsubscribed = async || down.log().contains("Received UNSUBACK");
                wait_until("the bridge to unsubscribe", SOON, unsubscribed)
                    .await
                    .with_context(|| down.log())?;
            }
            let ear = Listener::start(&down.address(), "ear", "#", 1).await?;
            publish_once(&up.address(), "old", "1", 1, false).await?;
            publish_once(&up.address(), "new", "2", 1, false).await?;
            let last = async || ear.messages().iter().any(|message| message.topic == "new");
            wait_until("what is still carried", SOON, last).await?;
            let old = ear
                .messages()
                .iter()
                .filter(|message| message.topic == "old")
                .count();
            assert_eq!(old, usize::from(!forget), "{series:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_link_is_back_soon_after_its_upstream() -> Result<()> {
    for series in Series::ALL {
        let link = link(&["t in 1"]);
        let mut up = Rendered::start(series, "up", &[], None).await?;
        let down = Rendered::start(series, "down", std::slice::from_ref(&link), Some(up.port())).await?;
        for life in 1..=2 {
            down.wait_subscribed(life * subscriptions(&link)).await?;
            up.kill()?;
            up.start_again().await?;
            let listening = Instant::now();
            down.wait_subscribed((life + 1) * subscriptions(&link)).await?;
            let took = listening.elapsed();
            println!("{series:?}: back after {took:.1?}");
            // The form `restart_timeout 1` takes six seconds on the oldest version.
            assert!(took < Duration::from_secs(4), "{series:?}: {took:?}");
        }
    }
    Ok(())
}

/// A 3.1.1 packet.
fn packet(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u8::try_from(body.len()).unwrap();
    assert!(length < 128, "one byte says how long it is");
    [&[kind, length], body.as_slice()].concat()
}

#[tokio::test]
async fn thirty_qos_2_messages_at_once_arrive_and_nobody_complains() -> Result<()> {
    const COUNT: u16 = 30;
    for series in Series::ALL {
        let broker = Rendered::start(series, "a", &[], None).await?;
        let listener = Listener::start(&broker.address(), "ear", "t/#", 2).await?;
        let mut stream = tokio::net::TcpStream::connect(broker.address()).await?;
        let connect = packet(0x10, &[b"\0\x04MQTT\x04\x02\0\x3c", b"\0\x05burst"]);
        stream.write_all(&connect).await?;
        stream.read_exact(&mut [0; 4]).await?;
        let publish = |id: u16| packet(0x34, &[b"\0\x03t/x", &id.to_be_bytes(), &id.to_be_bytes()]);
        let release = |id: u16| packet(0x62, &[&id.to_be_bytes()]);
        stream
            .write_all(&(1..=COUNT).flat_map(publish).collect::<Vec<u8>>())
            .await?;
        // All are received before any is released: that many are on their way at once.
        stream.read_exact(&mut [0; 4 * COUNT as usize]).await?;
        stream
            .write_all(&(1..=COUNT).flat_map(release).collect::<Vec<u8>>())
            .await?;
        stream.read_exact(&mut [0; 4 * COUNT as usize]).await?;
        listener.wait_messages(usize::from(COUNT), SOON).await?;
        ensure!(!broker.log().contains("receive-maximum"), "{}", broker.log());
    }
    Ok(())
}
