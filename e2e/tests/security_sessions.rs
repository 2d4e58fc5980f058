//! Whose rights count for a session that waits, and what seeding, kicking and adoption lose, on the oldest and the newest
//! version, under dynamic security and without.
//!
//! Findings, each kept by a test below:
//! - While nobody is connected, the rights to receive of the user who connected last decide what is queued; the client that
//!   resumes decides, by its own, what of it is kept. Both judge each message by its topic, with `publishClientReceive` alone:
//!   rights to subscribe do not count for a session that has its subscriptions.
//! - A client that never acknowledges takes nothing out of a session, at QoS 1 and 2, however much of it was on the wire. It
//!   does take every message of QoS 0 that waited: a session that was seeded must not be seeded again.
//! - A session that was seeded, or whose bridge was kicked by the seeding client, delivers everything to the bridge, under
//!   another user as well: none lost; what had been on the wire comes once, and is new to the bridge.
//! - A bridge of another broker that resumes a dead broker's session under its client id gets all since the crash.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rumqttc::Publish;
use serde_json::{Value, json};
use skein_e2e::{
    Ledger, PASSWORD, PlainBroker, Publisher, RawClient, Secured, Series, Subscriber, UNBOUNDED, UNSAVED,
    anonymous_rights, bridge, careful, durable, mosquitto, rights, security_file, wait_until,
};
use tempfile::TempDir;

const QUIET: Duration = Duration::from_millis(150);
const SOON: Duration = Duration::from_secs(20);
const ID: &str = "skein:a:b:pull";

async fn topics(client: &mut RawClient, acknowledge: bool) -> Result<Vec<String>> {
    let taken = client.take(QUIET, acknowledge).await?;
    Ok(taken.into_iter().map(|publish| publish.topic).collect())
}

/// Users for one session: `both` may read `t/#` and `u/#`, `half` only `t/#`, `reader` may read both and subscribe neither.
async fn secured(series: Series) -> Result<Secured> {
    let mut reader = rights(&[], &["t/#", "u/#"]);
    reader.retain(|rule| rule["acltype"] == json!("publishClientReceive"));
    let users = [
        ("both", rights(&[], &["t/#", "u/#"])),
        ("half", rights(&[], &["t/#"])),
        ("reader", reader),
        ("none", Vec::<Value>::new()),
    ];
    Secured::start(series, &security_file(&users, &anonymous_rights()), "").await
}

/// A session with both subscriptions that was last used by `user`, who left. One message waits on each.
async fn queued(secured: &Secured, user: &str) -> Result<()> {
    secured.user("skein", ID, true).await?;
    let mut opener = secured.user("skein", ID, false).await?;
    opener.subscribe("t/#", 1).await?;
    opener.subscribe("u/#", 2).await?;
    opener.disconnect().await?;
    secured.user(user, ID, false).await?.disconnect().await?;
    let mut publisher = secured.user("skein", "publisher", true).await?;
    publisher.publish("t/1", "", 1, false).await?;
    publisher.publish("u/1", "", 2, false).await
}

#[tokio::test]
async fn the_last_user_decides_what_is_queued_and_the_next_what_is_kept() -> Result<()> {
    for series in Series::ALL {
        let secured = secured(series).await?;
        let cases: [(&str, &str, &[&str]); 7] = [
            ("both", "both", &["t/1", "u/1"]),
            ("skein", "both", &["t/1", "u/1"]),
            ("both", "reader", &["t/1", "u/1"]),
            ("reader", "skein", &["t/1", "u/1"]),
            ("both", "half", &["t/1"]),
            ("half", "both", &["t/1"]),
            ("none", "both", &[]),
        ];
        for (last, next, expected) in cases {
            queued(&secured, last).await?;
            let mut next_client = secured.user(next, ID, false).await?;
            assert!(next_client.session_present(), "{series:?} {last} {next}");
            assert_eq!(
                topics(&mut next_client, false).await?,
                expected,
                "{series:?} {last} {next}"
            );
            next_client.disconnect().await?;
            // What the resuming user may not read is gone for good; nothing is lost by not acknowledging.
            let mut after = secured.user("both", ID, false).await?;
            assert_eq!(
                topics(&mut after, true).await?,
                expected,
                "{series:?} {last} {next}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn rights_taken_while_nobody_is_connected_end_the_queueing_and_given_ones_begin_it() -> Result<()> {
    let rule = |command: &str| json!({"command": command, "rolename": "both", "acltype": "publishClientReceive", "topic": "u/#", "allow": true});
    for series in Series::ALL {
        let secured = secured(series).await?;
        let mut control = secured.control().await?;
        queued(&secured, "both").await?;
        let mut publisher = secured.user("skein", "publisher", true).await?;
        control.command(&[rule("removeRoleACL")]).await?;
        publisher.publish("u/2", "", 1, false).await?;
        control.command(&[rule("addRoleACL")]).await?;
        publisher.publish("u/3", "", 1, false).await?;
        // What was queued before stays as long as it may be read again when the client returns.
        let mut client = secured.user("both", ID, false).await?;
        assert_eq!(
            topics(&mut client, true).await?,
            ["t/1", "u/1", "u/3"],
            "{series:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_client_takes_out_of_a_session_what_it_acknowledges_and_every_message_of_qos_0() -> Result<()> {
    for series in Series::ALL {
        let secured = secured(series).await?;
        for (acknowledge, left) in [(false, &["t/1", "t/2"] as &[&str]), (true, &[])] {
            secured.user("skein", ID, true).await?;
            let mut seeder = secured.user("skein", ID, false).await?;
            seeder.subscribe("t/#", 2).await?;
            seeder.disconnect().await?;
            let mut publisher = secured.user("skein", "publisher", true).await?;
            for qos in 0..=2 {
                publisher.publish(&format!("t/{qos}"), "", qos, false).await?;
            }
            let mut seeder = secured.user("skein", ID, false).await?;
            assert_eq!(topics(&mut seeder, acknowledge).await?.len(), 3, "{series:?}");
            seeder.settle().await?;
            seeder.disconnect().await?;
            let mut bridge = secured.user("both", ID, false).await?;
            assert_eq!(topics(&mut bridge, true).await?, left, "{series:?}");
        }
    }
    Ok(())
}

/// The numbers of a publisher among messages, with how often each came.
fn numbers(messages: &[Publish], publisher: &str) -> BTreeMap<u64, u32> {
    let mut found = BTreeMap::new();
    for message in messages {
        let text = String::from_utf8_lossy(&message.payload);
        if let Some((name, number)) = text.rsplit_once(' ')
            && name == publisher
        {
            *found.entry(number.parse().unwrap()).or_insert(0) += 1;
        }
    }
    found
}

/// A downstream broker that pulls `t/#` by one connection.
async fn downstream(
    series: Series,
    up: &str,
    connection: &str,
    user: Option<&str>,
) -> Result<(PlainBroker, TempDir)> {
    let files = tempfile::tempdir()?;
    let link = bridge(connection, up, ID, user, &["t/# in 2"]);
    let config = format!(
        "{UNBOUNDED}{}{UNSAVED}{}{link}",
        durable(series, files.path())?,
        careful(series)
    );
    Ok((PlainBroker::start(&mosquitto(series), &config).await?, files))
}

/// An upstream with or without dynamic security, and who Skein and the bridge are there.
async fn upstream(series: Series, secure: bool) -> Result<(Option<Secured>, Option<PlainBroker>, TempDir)> {
    let files = tempfile::tempdir()?;
    if secure {
        let users = [
            ("a-b", rights(&[], &["#", "$skein/#"])),
            ("c-b", rights(&[], &["#", "$skein/#"])),
        ];
        let secured = Secured::start(series, &security_file(&users, &anonymous_rights()), UNSAVED).await?;
        return Ok((Some(secured), None, files));
    }
    let config = format!("{UNBOUNDED}{}{UNSAVED}", durable(series, files.path())?);
    Ok((
        None,
        Some(PlainBroker::start(&mosquitto(series), &config).await?),
        files,
    ))
}

/// Opens the session with a subscription and leaves when it has seen so many messages, none of them acknowledged.
async fn seed(address: &str, secure: bool, seen: usize) -> Result<Vec<Publish>> {
    let login = secure.then_some(("skein", PASSWORD));
    let mut seeder = RawClient::connect(address, ID, false, login).await?;
    assert!(seeder.subscribe("t/#", 2).await?);
    let mut taken = Vec::new();
    while taken.len() < seen {
        taken.push(seeder.receive(SOON).await?.context("nothing flows")?);
    }
    seeder.disconnect().await?;
    Ok(taken)
}

#[tokio::test]
async fn a_session_seeded_under_load_delivers_all_that_the_seeding_client_saw() -> Result<()> {
    for (series, secure) in [
        (Series::Oldest, true),
        (Series::Newest, true),
        (Series::Newest, false),
    ] {
        let (secured, plain, _files) = upstream(series, secure).await?;
        let up = secured
            .as_ref()
            .map_or_else(|| plain.as_ref().unwrap().address(), Secured::address);
        let ledger = Ledger::new();
        let one = Publisher::start(&up, "one", "t/1", 1, 1000, &ledger).await?;
        let two = Publisher::start(&up, "two", "t/2", 2, 1000, &ledger).await?;
        one.wait_acknowledged(100, SOON).await?;
        two.wait_acknowledged(100, SOON).await?;
        let seen = seed(&up, secure, 500).await?;
        two.wait_acknowledged(1000, SOON).await?;
        // The subscriber's session is there before the bridge, which a broker connects as soon as it runs.
        let (mut down, _store) = downstream(series, "127.0.0.1:1", "b", secure.then_some("a-b")).await?;
        let mut ear = RawClient::connect(&down.address(), "ear", false, None).await?;
        ear.subscribe("t/#", 2).await?;
        ear.disconnect().await?;
        let file = down.folder().join("mosquitto.conf");
        let text = fs::read_to_string(&file)?.replace("address 127.0.0.1:1\n", &format!("address {up}\n"));
        fs::write(&file, text)?;
        down.stop().await?;
        down.restart(&mosquitto(series)).await?;
        one.finish(SOON).await?;
        two.finish(SOON).await?;
        let mut ear = RawClient::connect(&down.address(), "ear", false, None).await?;
        let got = ear.take(Duration::from_millis(800), true).await?;
        let mut sent = 0;
        for name in ["one", "two"] {
            let seen = numbers(&seen, name);
            let first = *seen.keys().next().context("the seeding client saw none")?;
            let there = numbers(&got, name);
            let newest = *there.keys().next_back().context("nothing arrived")?;
            sent += newest + 1;
            let lost = (first..=newest)
                .filter(|number| !there.contains_key(number))
                .count();
            let twice = there.values().filter(|copies| **copies > 1).count();
            println!(
                "{series:?} secure {secure} {name}: saw {} from {first}, {} arrived",
                seen.len(),
                there.len()
            );
            assert_eq!((lost, twice), (0, 0), "{series:?} {secure} {name}");
        }
        assert_eq!(
            sent,
            ledger.acknowledged(),
            "{series:?} {secure}: the last of them are missing"
        );
    }
    Ok(())
}

#[tokio::test]
async fn kicking_a_live_bridge_by_seeding_its_session_loses_nothing() -> Result<()> {
    for (series, secure) in [
        (Series::Oldest, true),
        (Series::Newest, true),
        (Series::Newest, false),
    ] {
        let (secured, plain, _files) = upstream(series, secure).await?;
        let up = secured
            .as_ref()
            .map_or_else(|| plain.as_ref().unwrap().address(), Secured::address);
        seed(&up, secure, 0).await?;
        let (down, _store) = downstream(series, &up, "b", secure.then_some("a-b")).await?;
        let ledger = Ledger::new();
        let office = Subscriber::start(&down.address(), "office", "t/#", 2, &ledger).await?;
        let one = Publisher::start(&up, "one", "t/1", 1, 1000, &ledger).await?;
        let two = Publisher::start(&up, "two", "t/2", 2, 1000, &ledger).await?;
        office.wait_received(500, SOON).await?;
        seed(&up, secure, 100).await?;
        office.wait_received(3000, SOON).await?;
        one.finish(SOON).await?;
        two.finish(SOON).await?;
        office.wait_caught_up(SOON).await?;
        let summary = office.summary();
        println!("{series:?} secure {secure}: {summary}");
        assert!(!down.log().contains("before session is active"), "{series:?}");
        assert_eq!(
            (summary.lost, summary.out_of_order, summary.unexpected),
            (0, 0, 0),
            "{series:?} {summary}"
        );
        assert!(summary.duplicated < 100, "{series:?} {summary}");
    }
    Ok(())
}

#[tokio::test]
async fn an_adopted_session_holds_everything_since_the_crash() -> Result<()> {
    for series in Series::ALL {
        let (secured, _, _files) = upstream(series, true).await?;
        let secured = secured.unwrap();
        let up = secured.address();
        seed(&up, true, 0).await?;
        let (mut dead, _store) = downstream(series, &up, "b", Some("a-b")).await?;
        let linked = async || secured.broker.log().contains("u'a-b'");
        wait_until("the link", SOON, linked).await?;
        dead.kill()?;
        let ledger = Ledger::new();
        let one = Publisher::start(&up, "one", "t/1", 1, 500, &ledger).await?;
        let two = Publisher::start(&up, "two", "t/2", 2, 500, &ledger).await?;
        two.wait_acknowledged(500, SOON).await?;
        secured.control().await?.disable("a-b").await?;
        // The dead broker comes back on its old configuration, and is kept out.
        dead.restart(&mosquitto(series)).await?;
        let kept_out = async || secured.broker.log().contains("not authorised");
        wait_until("the returning broker to be refused", SOON, kept_out).await?;

        let substitute_files = tempfile::tempdir()?;
        let mut config = format!("{UNBOUNDED}{}", durable(series, substitute_files.path())?);
        let mut substitute = PlainBroker::start(&mosquitto(series), &config).await?;
        let office = Subscriber::start(&substitute.address(), "office", "t/#", 2, &ledger).await?;
        config = fs::read_to_string(substitute.folder().join("mosquitto.conf"))?;
        config += &bridge("adopted", &up, ID, Some("c-b"), &["t/# in 2"]);
        fs::write(substitute.folder().join("mosquitto.conf"), config)?;
        substitute.restart(&mosquitto(series)).await?;
        office.wait_received(1500, SOON).await?;
        one.finish(SOON).await?;
        two.finish(SOON).await?;
        office.wait_caught_up(SOON).await?;
        let summary = office.summary();
        println!("{series:?}: {summary}");
        assert_eq!(
            (summary.lost, summary.duplicated, summary.out_of_order),
            (0, 0, 0),
            "{series:?} {summary}"
        );
    }
    Ok(())
}
