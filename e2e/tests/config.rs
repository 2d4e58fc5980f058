//! What Skein writes into `mosquitto.conf`, on real brokers of both series: they accept it, whatever names, filters and
//! settings are in it, and the limits in it are enough.

#![allow(clippy::unwrap_used, reason = "test code")]

mod rendered;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rendered::{Rendered, SOON, configuration, declared, link, noisy, spawn, subscriptions, version};
use skein_api::fleet::Durability;
use skein_e2e::{Listener, Series, mosquitto, publish_once, wait_until};
use skein_mosquitto::config::{Config, links_of, parse, render};
use skein_mosquitto::settings::review_for;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
