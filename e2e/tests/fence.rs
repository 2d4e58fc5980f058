//! Fencing as Skein does it, on the oldest and the newest version: brokers on rendered configurations and security files of
//! `skein_mosquitto`, links with a user each, and `skein_mqtt` to bar them.
//!
//! Findings, each kept by a test below:
//! - A fence takes 5-12 ms, connecting included, nearly all of it the broker's writing of its file; when it is acknowledged,
//!   the client is gone and stays out. 2.0 writes the file, in place, at each of the commands of a message: 100 users take
//!   0.3 s, in which it serves nobody else for 70 ms at a time; on 2.1 they take 0.04 s.
//! - It outlives a kill and an end of the broker, and what waits behind it, in the session upstream and in the out queue of
//!   the fenced broker, arrives when it is lifted: nothing lost.
//! - A user that is added while the broker runs disturbs nobody. 2.1 knows it by a hash that 2.0 cannot read.
#![allow(clippy::unwrap_used, reason = "test code")]

mod rendered;
mod secured_fleet;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use rendered::SOON;
use secured_fleet::{Member, SECRET, fleet, model, name, user};
use skein_api::name::BrokerName;
use skein_e2e::{Ledger, Publisher, RawClient, Series, Subscriber, free_ports};
use skein_mosquitto::security::{self, BRIDGE_ROLE, Security, barred, bridge_user, read};
use skein_mqtt::RumqttSession;
use skein_mqtt::administration::{AdministrationError, Reason, admit, fence, fenced, unfence};

const QUIET: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_fence_holds_over_restarts_and_what_waited_behind_it_arrives() -> Result<()> {
    for series in Series::ALL {
        let [a, mut b, c] = fleet(series, "in").await?;
        let at = b.administrator();
        let ledger = Ledger::new();
        let office = Subscriber::start(&a.address(), "office", "t/#", 2, &ledger).await?;
        let near = Subscriber::start(&b.address(), "near", "t/#", 2, &ledger).await?;
        let publishers = [
            Publisher::start(&c.address(), "one", "t/1", 1, 100, &ledger).await?,
            Publisher::start(&c.address(), "two", "t/2", 2, 100, &ledger).await?,
        ];
        office.wait_received(100, SOON).await?;

        let start = Instant::now();
        fence::<RumqttSession>(&at, &user("a")).await?;
        let took = start.elapsed();
        let before = office.summary().received;
        let expected = BTreeSet::from(["skein:a".to_owned()]);
        assert_eq!(fenced::<RumqttSession>(&at).await?, expected, "{series:?}");
        assert_eq!(
            barred(&b.security()?),
            Ok(BTreeSet::from([name("a")])),
            "{series:?}"
        );
        b.wait_refusal(0).await?;
        let late = office.summary().received - before;

        // Messages go on to b meanwhile. Fenced again, ended, killed: the fence stands.
        fence::<RumqttSession>(&at, &user("a")).await?;
        let refusals = b.refusals();
        b.restart(true).await?;
        b.wait_refusal(refusals).await?;
        assert_eq!(fenced::<RumqttSession>(&at).await?, expected, "{series:?}");
        for publisher in publishers {
            publisher.finish(SOON).await?;
        }
        // A kill takes what a broker acknowledged last, so that must be something else.
        near.wait_caught_up(SOON).await?;
        b.skein("skein")
            .await?
            .publish("$skein/last", "", 2, true)
            .await?;
        let refusals = b.refusals();
        b.restart(false).await?;
        b.wait_refusal(refusals).await?;
        assert_eq!(fenced::<RumqttSession>(&at).await?, expected, "{series:?}");
        assert_eq!(
            office.summary().received - before,
            late,
            "{series:?}: it has a hole"
        );
        let mut kept = model("b");
        kept.bar(&BTreeSet::from([name("a")]));
        assert_eq!(read(&b.security()?), Ok(kept), "{series:?}");

        let start = Instant::now();
        unfence::<RumqttSession>(&at, &user("a")).await?;
        office.wait_caught_up(SOON).await?;
        let back = start.elapsed();
        let summary = office.summary();
        println!("{series:?}: fenced in {took:.1?}, {late} on their way; back after {back:.1?}; {summary}");
        assert!(late < 20, "{series:?}: {late} came through the fence");
        assert_eq!((summary.lost, summary.unexpected), (0, 0), "{series:?} {summary}");
        assert!(fenced::<RumqttSession>(&at).await?.is_empty());
        assert_eq!(read(&b.security()?), Ok(model("b")), "{series:?}");
    }
    Ok(())
}

#[tokio::test]
async fn both_halves_of_a_duplex_link_wait_behind_a_fence() -> Result<()> {
    for series in Series::ALL {
        let [a, b, _c] = fleet(series, "both").await?;
        let at = b.administrator();
        let ledgers = [Ledger::new(), Ledger::new()];
        let at_a = Subscriber::start(&a.address(), "at-a", "t/b/#", 2, &ledgers[0]).await?;
        let at_b = Subscriber::start(&b.address(), "at-b", "t/a/#", 2, &ledgers[1]).await?;
        let publishers = [
            Publisher::start(&b.address(), "one", "t/b/1", 1, 50, &ledgers[0]).await?,
            Publisher::start(&b.address(), "two", "t/b/2", 2, 50, &ledgers[0]).await?,
            Publisher::start(&a.address(), "three", "t/a/1", 1, 50, &ledgers[1]).await?,
            Publisher::start(&a.address(), "four", "t/a/2", 2, 50, &ledgers[1]).await?,
        ];
        at_a.wait_received(50, SOON).await?;
        at_b.wait_received(50, SOON).await?;
        fence::<RumqttSession>(&at, &user("a")).await?;
        let refusals = b.refusals();
        publishers[0].wait_acknowledged(50, SOON).await?;
        publishers[2].wait_acknowledged(50, SOON).await?;
        b.wait_refusal(refusals).await?;
        unfence::<RumqttSession>(&at, &user("a")).await?;
        at_a.wait_received(100, SOON).await?;
        for publisher in publishers {
            publisher.finish(SOON).await?;
        }
        for end in [at_a, at_b] {
            end.wait_caught_up(SOON).await?;
            let summary = end.summary();
            println!("{series:?}: {summary}");
            assert_eq!((summary.lost, summary.unexpected), (0, 0), "{series:?} {summary}");
        }
    }
    Ok(())
}

/// A lone broker b that any broker may hold a bridge to.
async fn lone(series: Series) -> Result<Member> {
    Member::start(series, "b", &[], &free_ports(3)?, |_| ()).await
}

#[tokio::test]
async fn an_acknowledged_fence_is_one_at_once() -> Result<()> {
    for series in Series::ALL {
        let b = lone(series).await?;
        let at = b.administrator();
        let login = SECRET.bridge(&name("a"), &name("b"));
        let (mut slowest, mut whole) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..50 {
            let mut bridge = b.connect("bridge", &login).await?;
            let mut other = b.connect("other", &SECRET.bridge(&name("c"), &name("b"))).await?;
            let start = Instant::now();
            fence::<RumqttSession>(&at, &user("a")).await?;
            let took = start.elapsed();
            (slowest, whole) = (slowest.max(took), whole + took);
            assert!(
                bridge.settle().await.is_err(),
                "{series:?}: it is still connected"
            );
            assert!(
                b.connect("bridge", &login).await.is_err(),
                "{series:?}: it is let in"
            );
            other.settle().await?;
            unfence::<RumqttSession>(&at, &user("a")).await?;
        }
        println!(
            "{series:?}: fenced in {:.1?} on average, {slowest:.1?} at most",
            whole / 50
        );
    }
    Ok(())
}

#[tokio::test]
async fn all_users_of_a_broker_are_fenced_together() -> Result<()> {
    for series in Series::ALL {
        let mut b = lone(series).await?;
        let many: Vec<BrokerName> = (0..100).map(|number| name(&format!("edge-{number}"))).collect();
        let security = Security::derived(&SECRET, &name("b"), &many, true);
        b.write_security(&security::render(&security))?;
        b.restart(false).await?;
        let at = b.administrator();
        let users: Vec<String> = many.iter().map(bridge_user).collect();
        let path = b.folder.path().join("security.json");
        let before = std::fs::File::open(&path)?;
        let start = Instant::now();
        fence::<RumqttSession>(&at, &users).await?;
        let took = start.elapsed();
        println!(
            "{series:?}: {} fenced in {took:.1?}, the file has mode {:o}",
            users.len(),
            path.metadata()?.mode() & 0o777
        );
        // The same file, in place, or another, by a rename.
        let is_there = before.metadata()?.nlink() == 1;
        assert_eq!(is_there, series == Series::Oldest, "{series:?}");
        assert_eq!(
            fenced::<RumqttSession>(&at).await?,
            users.iter().cloned().collect()
        );
        let mut expected = security;
        expected.bar_all();
        assert_eq!(read(&b.security()?), Ok(expected), "{series:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_user_is_told_and_the_others_are_fenced() -> Result<()> {
    for series in Series::ALL {
        let b = lone(series).await?;
        let at = b.administrator();
        let users = [user("x"), user("a")].concat();
        let error = fence::<RumqttSession>(&at, &users).await.unwrap_err();
        let AdministrationError::Refused { refusals, .. } = error else {
            panic!("{error}")
        };
        let found: Vec<_> = refusals.iter().map(|it| (it.user.as_str(), &it.reason)).collect();
        assert_eq!(found, [("skein:x", &Reason::UnknownUser)], "{series:?}");
        assert_eq!(
            barred(&b.security()?),
            Ok(BTreeSet::from([name("a")])),
            "{series:?}"
        );

        let mut at = b.administrator();
        at.credentials = (
            "skein:c".to_owned(),
            SECRET.bridge(&name("c"), &name("b")).password.expose().to_owned(),
        );
        let error = unfence::<RumqttSession>(&at, &user("a")).await.unwrap_err();
        assert!(
            error.to_string().contains("rejects the subscription"),
            "{series:?} {error}"
        );
        at.credentials.1.push('x');
        let error = unfence::<RumqttSession>(&at, &user("a")).await.unwrap_err();
        assert!(
            error.to_string().contains("rejects the connection"),
            "{series:?} {error}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_user_added_while_the_broker_runs_disturbs_nobody() -> Result<()> {
    for series in Series::ALL {
        let mut b = lone(series).await?;
        let at = b.administrator();
        let mut bridge = b
            .connect("bridge", &SECRET.bridge(&name("a"), &name("b")))
            .await?;
        bridge.subscribe("t/#", 1).await?;
        let mut anonymous = b.anonymous("client").await?;
        let login = SECRET.bridge(&name("x"), &name("b"));
        let added = [(login.user.clone(), login.password.expose().to_owned())];
        assert!(b.connect("new", &login).await.is_err(), "{series:?}");
        for _ in 0..2 {
            admit::<RumqttSession>(&at, BRIDGE_ROLE, &added).await?;
            let mut new = b.connect("new", &login).await?;
            assert!(new.subscribe("$skein/probe/#", 1).await?, "{series:?}");
            bridge.settle().await?;
            anonymous.settle().await?;
        }
        // Added again, it stays fenced.
        fence::<RumqttSession>(&at, &user("x")).await?;
        admit::<RumqttSession>(&at, BRIDGE_ROLE, &added).await?;
        assert!(b.connect("new", &login).await.is_err(), "{series:?}");
        b.restart(false).await?;
        assert!(b.connect("new", &login).await.is_err(), "{series:?}");
        let read = read(&b.security()?)?;
        println!("{series:?}: it is known by {:?}", read.bridges[&name("x")].hash);
        assert_eq!(read.barred().collect::<Vec<_>>(), [&name("x")], "{series:?}");
        // What its supervisor starts it with then has them all.
        let mut next = Security::derived(&SECRET, &name("b"), &["a", "c", "x"].map(name), true);
        next.keep_barred(&b.security()?)?;
        b.write_security(&security::render(&next))?;
        b.restart(false).await?;
        unfence::<RumqttSession>(&at, &user("x")).await?;
        b.connect("new", &login).await?;
        let error = admit::<RumqttSession>(&at, "no-such-role", &[("y".to_owned(), "z".to_owned())]).await;
        assert!(
            error.unwrap_err().to_string().contains("no such role"),
            "{series:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_fenced_session_goes_on_queueing() -> Result<()> {
    for series in Series::ALL {
        let b = lone(series).await?;
        let at = b.administrator();
        let login = SECRET.bridge(&name("a"), &name("b"));
        let login = Some((login.user.as_str(), login.password.expose()));
        let mut bridge = RawClient::connect(&b.address(), "skein:a:b:pull:t", false, login).await?;
        bridge.subscribe("t/#", 2).await?;
        bridge.subscribe("$skein/probe/t/#", 1).await?;
        fence::<RumqttSession>(&at, &user("a")).await?;
        let mut skein = b.skein("skein").await?;
        for qos in 0..=2 {
            skein.publish(&format!("t/{qos}"), "", qos, false).await?;
        }
        skein.publish("$skein/probe/t/b", "", 1, false).await?;
        unfence::<RumqttSession>(&at, &user("a")).await?;
        let mut bridge = RawClient::connect(&b.address(), "skein:a:b:pull:t", false, login).await?;
        let taken = bridge.take(QUIET, true).await?;
        let topics: Vec<&str> = taken.iter().map(|publish| publish.topic.as_str()).collect();
        assert_eq!(topics, ["t/0", "t/1", "t/2", "$skein/probe/t/b"], "{series:?}");
    }
    Ok(())
}
