//! The security file of `skein_mosquitto` on the oldest and the newest version: who gets in, what an anonymous client may,
//! and when a broker reads the file.
//!
//! Findings, each kept by a test below:
//! - The file is read at the start and at no other time: a reload passes over it and disturbs nobody, and the next command
//!   writes over it.
//! - With an empty file, or half of one, which a kill of 2.0 may leave, a broker starts and lets nobody do anything. Without
//!   a file so does 2.0; 2.1 makes one of its own, with users that nobody asked for.
#![allow(clippy::unwrap_used, reason = "test code")]

mod rendered;
mod secured_fleet;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rendered::SOON;
use rustix::process::Signal;
use secured_fleet::{Member, SECRET, fleet, link, model, name, user};
use skein_e2e::{RawClient, Series, free_ports, wait_until};
use skein_mosquitto::security::{self, FleetSecret, Login, Password, barred, read};
use skein_mqtt::RumqttSession;
use skein_mqtt::administration::{fence, fenced};

const QUIET: Duration = Duration::from_millis(150);

/// A lone broker b that any broker may hold a bridge to.
async fn lone(series: Series) -> Result<Member> {
    Member::start(series, "b", &[], &free_ports(3)?, |_| ()).await
}

async fn topics(client: &mut RawClient) -> Result<Vec<String>> {
    let taken = client.take(QUIET, true).await?;
    Ok(taken.into_iter().map(|publish| publish.topic).collect())
}

#[tokio::test]
async fn an_anonymous_client_is_nobody_else_and_has_all_but_what_is_skeins() -> Result<()> {
    for series in Series::ALL {
        let b = lone(series).await?;
        let right = SECRET.bridge(&name("a"), &name("b"));
        // An empty password is none: with a name alone a client is not anonymous.
        for user in ["skein", "skein:a", "skein:x", "anonymous"] {
            for password in ["", "x", user] {
                let found = RawClient::connect(&b.address(), "x", true, Some((user, password))).await;
                assert!(found.is_err(), "{series:?} {user:?} {password:?}");
            }
        }
        for user in ["skein", "skein:c"] {
            let login = Login {
                user: user.to_owned(),
                ..right.clone()
            };
            assert!(b.connect("x", &login).await.is_err(), "{series:?} {user}");
        }
        b.connect("x", &right).await?;

        let mut skein = b.skein("skein").await?;
        skein.subscribe("$skein/#", 1).await?;
        let mut client = b.anonymous("client").await?;
        for filter in [
            "$skein/#",
            "$skein/probe/t/+",
            "$CONTROL/#",
            "$CONTROL/dynamic-security/v1/response",
            "$SYS/broker/log/#",
        ] {
            assert!(!client.subscribe(filter, 1).await?, "{series:?} {filter}");
        }
        for filter in ["#", "t/+", "$SYS/broker/version"] {
            assert!(client.subscribe(filter, 1).await?, "{series:?} {filter}");
        }
        let mut sharing = b.anonymous("sharing").await?;
        assert!(sharing.subscribe("$share/group/u/#", 1).await?, "{series:?}");
        assert_eq!(topics(&mut client).await?, ["$SYS/broker/version"], "{series:?}");
        skein.publish("$skein/probe/t/b", "", 1, true).await?;
        client.publish("$skein/probe/t/x", "", 1, false).await?;
        client.publish("t/1", "", 1, true).await?;
        assert_eq!(topics(&mut client).await?, ["t/1"], "{series:?}");
        client.publish("u/1", "", 2, false).await?;
        assert_eq!(topics(&mut client).await?, ["u/1"], "{series:?}");
        assert_eq!(topics(&mut sharing).await?, ["u/1"], "{series:?}");
        assert_eq!(topics(&mut skein).await?, ["$skein/probe/t/b"], "{series:?}");
        let command = r#"{"commands": [{"command": "disableClient", "username": "skein:a"}]}"#;
        // 2.0 closes the connection for this, 2.1 acknowledges and does nothing.
        let _ = client
            .publish("$CONTROL/dynamic-security/v1", command, 1, false)
            .await;
        assert!(
            fenced::<RumqttSession>(&b.administrator()).await?.is_empty(),
            "{series:?}"
        );
        b.connect("x", &right).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bridges_user_may_carry_and_not_administer() -> Result<()> {
    for series in Series::ALL {
        let b = lone(series).await?;
        let mut bridge = b
            .connect("bridge", &SECRET.bridge(&name("a"), &name("b")))
            .await?;
        for filter in ["#", "t/#", "$skein/#", "$skein/barrier/t/#"] {
            assert!(bridge.subscribe(filter, 1).await?, "{series:?} {filter}");
        }
        for filter in ["$CONTROL/#", "$CONTROL/dynamic-security/v1/response", "$SYS/#"] {
            assert!(!bridge.subscribe(filter, 1).await?, "{series:?} {filter}");
        }
        bridge.publish("t/1", "", 1, false).await?;
        bridge.publish("$skein/barrier/t/b", "", 2, false).await?;
        let expected = ["t/1", "$skein/barrier/t/b"];
        assert_eq!(topics(&mut bridge).await?, expected, "{series:?}");
        let command = r#"{"commands": [{"command": "disableClient", "username": "skein:c"}]}"#;
        let _ = bridge
            .publish("$CONTROL/dynamic-security/v1", command, 1, false)
            .await;
        assert!(
            fenced::<RumqttSession>(&b.administrator()).await?.is_empty(),
            "{series:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_bridge_without_the_right_password_stays_out() -> Result<()> {
    for series in Series::ALL {
        let ports = free_ports(3)?;
        let b = Member::start(series, "b", &[], &ports, |config| config.allow_anonymous = false).await?;
        assert!(b.anonymous("client").await.is_err(), "{series:?}");
        let wrong = [
            Some(Login {
                password: Password::new("wrong").unwrap(),
                ..SECRET.bridge(&name("a"), &name("b"))
            }),
            Some(SECRET.bridge(&name("a"), &name("c"))),
            Some(SECRET.bridge(&name("b"), &name("a"))),
            Some(FleetSecret::new([1; 32]).bridge(&name("a"), &name("b"))),
            None,
        ];
        for login in wrong {
            let refusals = b.refusals();
            let change = |config: &mut skein_mosquitto::config::Config| {
                std::sync::Arc::make_mut(&mut config.connections[0])
                    .login
                    .clone_from(&login);
            };
            let a = Member::start(series, "a", &[link("a", "b", "in")], &ports, change).await?;
            b.wait_refusal(refusals).await.with_context(|| a.log())?;
            assert!(!b.log().contains(" as skein:a:b:pull:t "), "{series:?} {login:?}");
        }
        let a = Member::start(series, "a", &[link("a", "b", "in")], &ports, |_| ()).await?;
        let linked = async || b.log().contains(" as skein:a:b:pull:t ");
        wait_until("the link", SOON, linked)
            .await
            .with_context(|| a.log())?;
    }
    Ok(())
}

#[tokio::test]
async fn a_reload_passes_over_the_file_and_a_start_reads_it() -> Result<()> {
    for series in Series::ALL {
        let [a, mut b, _c] = fleet(series, "in").await?;
        let mut ear = a.anonymous("ear").await?;
        ear.subscribe("t/#", 1).await?;
        let mut next = model("b");
        next.bar(&BTreeSet::from([name("a")]));
        let next = security::render(&next);
        b.write_security(&next)?;
        let connections = b.log().matches("New client connected").count();
        b.signal(Signal::HUP)?;
        let reloaded = async || b.log().contains("Reloading config");
        wait_until("a reload", SOON, reloaded).await?;
        b.skein("skein").await?.publish("t/1", "", 1, false).await?;
        assert_eq!(topics(&mut ear).await?, ["t/1"], "{series:?}: the link is down");
        assert!(
            fenced::<RumqttSession>(&b.administrator()).await?.is_empty(),
            "{series:?}"
        );
        let now = b.log().matches("New client connected").count();
        assert_eq!(now, connections + 2, "{series:?}: somebody was disturbed");
        // A command writes over what was written meanwhile, and a start reads it.
        fence::<RumqttSession>(&b.administrator(), &user("c")).await?;
        assert_eq!(
            barred(&b.security()?),
            Ok(BTreeSet::from([name("c")])),
            "{series:?}"
        );
        b.write_security(&next)?;
        let refusals = b.refusals();
        b.restart(false).await?;
        b.wait_refusal(refusals).await?;
        let found = fenced::<RumqttSession>(&b.administrator()).await?;
        assert_eq!(found, BTreeSet::from(["skein:a".to_owned()]), "{series:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_broker_with_a_broken_file_lets_nobody_do_anything() -> Result<()> {
    for series in Series::ALL {
        let mut b = lone(series).await?;
        let whole = b.security()?;
        for broken in [Some(""), Some(&whole[..whole.len() / 2]), Some("{}"), None] {
            match broken {
                Some(text) => b.write_security(text)?,
                None => fs::remove_file(b.folder.path().join("security.json"))?,
            }
            b.restart(false).await?;
            let case = format!("{series:?} {:?}", broken.map(str::len));
            assert!(b.skein("skein").await.is_err(), "{case}");
            let mut client = b.anonymous("client").await?;
            for filter in ["t/#", "$skein/#", "$SYS/#"] {
                assert!(!client.subscribe(filter, 1).await?, "{case} {filter}");
            }
            if broken.is_some() {
                let mut next = model("b");
                assert!(next.keep_barred(&b.security()?).is_err(), "{case}");
                assert_eq!(next.barred().count(), 2, "{case}");
            } else {
                // 2.1 makes users of its own then, with passwords beside the file.
                assert_eq!(b.security().is_ok(), series == Series::Newest);
            }
        }
        b.write_security(&whole)?;
        b.restart(false).await?;
        b.skein("skein").await?;
        assert_eq!(read(&b.security()?), Ok(model("b")), "{series:?}");
    }
    Ok(())
}
