//! Mosquitto's dynamic security, as fencing and anonymous access rely on it, on the oldest and the newest version.
//!
//! Findings, each kept by a test below:
//! - A file that we write (PBKDF2 with a salt of 12 bytes, which 2.0 insists on) is loaded by both; no `mosquitto_ctrl` is
//!   needed. 2.1 rewrites it in a form (`encoded_password`) whose passwords 2.0 cannot read. It is read at the start only: a
//!   reload ignores it, and the next command writes over it. An answered command is in the file and outlives a kill.
//! - A `#` in `subscribePattern` covers `$skein/#` and `$CONTROL/#` on 2.0, not on 2.1: refusals of a higher priority are
//!   needed. 2.1 grants shared subscriptions only by a rule for `$share/#`.
//! - Every change of a user's rights kicks its live clients, also one that adds (2.0 spares `modifyRole`). A kick also ends
//!   the subscriptions that the user may no longer make, for good. `disableClient` takes no right away, so it ends none. 2.0
//!   kicks at each command, 2.1 after the last one of the message; both before the answer.
//! - Deleting a user ends the queueing for its sessions at once, without a word; disabling it does not.
//! - Nothing ties a client id to a user: whoever knows the id of a bridge, an anonymous client too, can take its session
//!   over or destroy it with a clean one. Merely resuming discards the queued messages the thief may not read. No option
//!   of either version prevents it, so the id must be a secret (or nobody else be let in).

#![allow(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::{Value, json};
use skein_e2e::{
    Ledger, PASSWORD, PlainBroker, Publisher, RawClient, Secured, Series, Subscriber, UNBOUNDED, acl,
    anonymous_rights, bridge, careful, durable, mosquitto, rights, security_file, wait_until,
};

const QUIET: Duration = Duration::from_millis(150);
const SOON: Duration = Duration::from_secs(20);
const ID: &str = "skein:a:b:pull";

async fn topics(client: &mut RawClient, acknowledge: bool) -> Result<Vec<String>> {
    let taken = client.take(QUIET, acknowledge).await?;
    Ok(taken.into_iter().map(|publish| publish.topic).collect())
}

#[tokio::test]
async fn a_file_of_ours_is_loaded_and_answered_commands_outlive_a_kill() -> Result<()> {
    let mut written = Vec::new();
    for series in Series::ALL {
        let security = security_file(&[("sensor", rights(&["t/#"], &[]))], &anonymous_rights());
        let mut secured = Secured::start(series, &security, "").await?;
        let address = secured.address();
        for login in [("sensor", "wrong"), ("nobody", PASSWORD), ("sensor", "")] {
            let refused = RawClient::connect(&address, "x", true, Some(login)).await;
            assert!(refused.is_err(), "{series:?} {login:?}");
        }
        secured.user("sensor", "x", true).await?;
        secured.anonymous("y", true).await?;

        let mut control = secured.control().await?;
        control.create("late", &rights(&["u"], &[])).await?;
        control.disable("sensor").await?;
        secured.restart().await?;
        secured.user("late", "z", true).await?;
        assert!(secured.user("sensor", "x", true).await.is_err(), "{series:?}");
        written.push(secured.security()?);

        // A reload neither reads the file again nor kicks anybody, and the next command writes it anew.
        let mut control = secured.control().await?;
        fs::write(secured.files().join("security.json"), "{}")?;
        secured.broker.signal(Signal::HUP)?;
        let reloaded = async || secured.broker.log().contains("Reloading config");
        wait_until("a reload", SOON, reloaded).await?;
        secured.user("late", "z", true).await?;
        control.enable("sensor").await?;
        assert_eq!(
            secured.security()?["clients"].as_array().map(Vec::len),
            Some(3),
            "{series:?}"
        );
    }
    // An upgrade keeps the users, a downgrade does not.
    let upgraded = Secured::start(Series::Newest, &written[0], "").await?;
    upgraded.user("late", "z", true).await?;
    let downgraded = Secured::start(Series::Oldest, &written[1], "").await?;
    assert!(downgraded.user("late", "z", true).await.is_err());
    Ok(())
}

#[tokio::test]
async fn one_message_may_hold_many_commands_and_a_failed_one_stops_none() -> Result<()> {
    for series in Series::ALL {
        let secured = Secured::start(series, &security_file(&[], &[]), "").await?;
        let mut control = secured.control().await?;
        let create = |name: &str| json!({"command": "createRole", "rolename": name, "acls": rights(&["a/#"], &["b/#"])});
        let commands: Vec<Value> = (0..200).map(|number| create(&format!("role-{number}"))).collect();
        let start = Instant::now();
        assert_eq!(control.command(&commands).await?.len(), 200);
        println!("{series:?}: 200 roles in {:.1?}", start.elapsed());
        let failed = control.command(&[create("role-1"), create("after")]).await;
        assert!(failed.unwrap_err().to_string().contains("Role already exists"));
        control
            .command(&[json!({"command": "getRole", "rolename": "after"})])
            .await?;
    }
    Ok(())
}

/// Changes to the rights of user `x`, and whether each kicks it on the oldest and on the newest version.
fn changes() -> Vec<(bool, bool, Value)> {
    let receive = |command: &str, role: &str| json!({"command": command, "rolename": role, "acltype": "publishClientReceive", "topic": "u", "allow": true});
    vec![
        (true, true, receive("addRoleACL", "x")),
        (true, true, receive("removeRoleACL", "x")),
        (
            false,
            true,
            json!({"command": "modifyRole", "rolename": "x", "acls": rights(&["t/#"], &["t/#", "v"])}),
        ),
        (
            true,
            true,
            json!({"command": "addClientRole", "username": "x", "rolename": "y"}),
        ),
        (
            true,
            true,
            json!({"command": "removeClientRole", "username": "x", "rolename": "y"}),
        ),
        (
            true,
            true,
            json!({"command": "setClientPassword", "username": "x", "password": PASSWORD}),
        ),
        (false, false, receive("addRoleACL", "y")),
        (false, false, receive("addRoleACL", "anonymous")),
        (false, false, json!({"command": "enableClient", "username": "x"})),
        (true, true, json!({"command": "disableClient", "username": "x"})),
    ]
}

#[tokio::test]
async fn every_change_of_its_rights_kicks_a_user() -> Result<()> {
    for series in Series::ALL {
        let users = [("x", rights(&["t/#"], &["t/#"])), ("y", Vec::new())];
        let secured = Secured::start(series, &security_file(&users, &anonymous_rights()), "").await?;
        let mut control = secured.control().await?;
        for (oldest, newest, change) in changes() {
            let mut user = secured.user("x", "client", false).await?;
            user.subscribe("t/a", 1).await?;
            control.command(std::slice::from_ref(&change)).await?;
            // The kick is done when the answer is there.
            let kicked = user.settle().await.is_err();
            let expected = if series == Series::Oldest { oldest } else { newest };
            assert_eq!(kicked, expected, "{series:?} {change}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_kick_ends_the_subscriptions_that_the_user_may_no_longer_make() -> Result<()> {
    let change = |command: &str| json!({"command": command, "rolename": "x", "acltype": "subscribePattern", "topic": "t/#", "allow": true});
    for series in Series::ALL {
        let users = [("x", rights(&[], &["t/#", "u/#"]))];
        let secured = Secured::start(series, &security_file(&users, &[]), "").await?;
        let mut control = secured.control().await?;
        let mut skein = secured.user("skein", "publisher", true).await?;
        // Gone and back in one message: 2.1 kicks when all commands are done, 2.0 at each.
        for in_one in [true, false] {
            let mut user = secured.user("x", "client", true).await?;
            user.disconnect().await?;
            user = secured.user("x", "client", false).await?;
            user.subscribe("t/#", 1).await?;
            user.subscribe("u/#", 1).await?;
            if in_one {
                control
                    .command(&[change("removeRoleACL"), change("addRoleACL")])
                    .await?;
            } else {
                control.command(&[change("removeRoleACL")]).await?;
                control.command(&[change("addRoleACL")]).await?;
            }
            assert!(user.settle().await.is_err(), "{series:?}");
            skein.publish("t/1", "", 1, false).await?;
            skein.publish("u/1", "", 1, false).await?;
            let mut user = secured.user("x", "client", false).await?;
            let spared = in_one && series == Series::Newest;
            let kept: &[&str] = if spared { &["t/1", "u/1"] } else { &["u/1"] };
            assert_eq!(topics(&mut user, true).await?, kept, "{series:?} {in_one}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_disabled_users_session_goes_on_queueing_and_a_deleted_ones_does_not() -> Result<()> {
    for series in Series::ALL {
        let users = [("a-b", rights(&[], &["t/#"]))];
        let mut secured = Secured::start(series, &security_file(&users, &[]), "").await?;
        let mut control = secured.control().await?;
        let mut user = secured.user("a-b", ID, false).await?;
        user.subscribe("t/#", 1).await?;
        control.disable("a-b").await?;
        assert!(user.settle().await.is_err(), "{series:?}");
        secured
            .user("skein", "p", true)
            .await?
            .publish("t/1", "", 1, false)
            .await?;
        // The store keeps who the session belongs to, so that it queues on after a restart, and the fence stands.
        secured.restart_politely().await?;
        assert!(secured.user("a-b", ID, false).await.is_err(), "{series:?}");
        let mut skein = secured.user("skein", "p", true).await?;
        skein.publish("t/2", "", 1, false).await?;
        let mut control = secured.control().await?;
        control.enable("a-b").await?;
        let mut user = secured.user("a-b", ID, false).await?;
        assert_eq!(topics(&mut user, true).await?, ["t/1", "t/2"], "{series:?}");
        user.disconnect().await?;

        control
            .command(&[json!({"command": "deleteClient", "username": "a-b"})])
            .await?;
        skein.publish("t/3", "", 1, false).await?;
        let again = json!({"command": "createClient", "username": "a-b", "password": PASSWORD, "roles": [{"rolename": "a-b"}]});
        control.command(&[again]).await?;
        skein.publish("t/4", "", 1, false).await?;
        let mut user = secured.user("a-b", ID, false).await?;
        assert_eq!(topics(&mut user, true).await?, ["t/4"], "{series:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_fenced_bridge_is_cut_off_at_once_and_later_gets_everything() -> Result<()> {
    for series in Series::ALL {
        let users = [("a-b", rights(&[], &["#", "$skein/#"]))];
        let up = Secured::start(series, &security_file(&users, &anonymous_rights()), "").await?;
        let files = tempfile::tempdir()?;
        let link = bridge("b", &up.address(), ID, Some("a-b"), &["t/# in 2"]);
        let config = format!(
            "{UNBOUNDED}{}{}{link}",
            durable(series, files.path())?,
            careful(series)
        );
        let down = PlainBroker::start(&mosquitto(series), &config).await?;
        let ledger = Ledger::new();
        let subscriber = Subscriber::start(&down.address(), "office", "t/#", 2, &ledger).await?;
        let linked = async || up.broker.log().contains(&format!("as {ID} "));
        wait_until("the link", SOON, linked)
            .await
            .with_context(|| down.log())?;
        tokio::time::sleep(QUIET).await; // The subscription follows the connection, and no client can see it.
        let publishers = [
            Publisher::start(&up.address(), "one", "t/1", 1, 300, &ledger).await?,
            Publisher::start(&up.address(), "two", "t/2", 2, 300, &ledger).await?,
        ];
        subscriber.wait_received(200, SOON).await?;

        let mut control = up.control().await?;
        let start = Instant::now();
        control.disable("a-b").await?;
        let took = start.elapsed();
        let at = subscriber.summary().received;
        let refused = async || up.broker.log().contains("not authorised");
        wait_until("the bridge to be refused", SOON, refused)
            .await
            .with_context(|| up.broker.log())?;
        let late = subscriber.summary().received - at;
        control.enable("a-b").await?;
        for publisher in publishers {
            publisher.finish(SOON).await?;
        }
        subscriber.wait_caught_up(SOON).await?;
        let summary = subscriber.summary();
        println!("{series:?}: fenced in {took:.1?}, {late} on their way; {summary}");
        assert!(late < 60, "{series:?}: {late} came through the fence");
        assert_eq!(
            (summary.lost, summary.out_of_order, summary.unexpected),
            (0, 0, 0),
            "{series:?} {summary}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_anonymous_client_has_all_but_what_is_skeins_and_the_brokers() -> Result<()> {
    for series in Series::ALL {
        let logs = "log_dest stdout\nlog_dest topic\nlog_type all\n";
        let secured = Secured::start(series, &security_file(&[], &anonymous_rights()), logs).await?;
        let mut skein = secured.user("skein", "s", true).await?;
        let granted = [
            "#",
            "t/+",
            "+/a",
            "$SYS/broker/uptime",
            "$share/g/t/#",
            "$share/g/$skein/#",
        ];
        let refused = [
            "$skein/#",
            "$skein/+",
            "$skein/barrier/a/b",
            "$CONTROL/#",
            "$CONTROL/dynamic-security/v1/response",
            "$SYS/broker/log/#",
            "$SYS/broker/log/+/subscribe",
        ];
        let mut client = secured.anonymous("client", true).await?;
        for filter in refused {
            assert!(!client.subscribe(filter, 1).await?, "{series:?} {filter}");
        }
        for filter in granted {
            assert!(client.subscribe(filter, 1).await?, "{series:?} {filter}");
        }
        // A wildcard that reaches into the log is granted, and gives nothing.
        client.subscribe("$SYS/broker/+/M/subscribe", 1).await?;
        client.take(QUIET, true).await?;
        client.unsubscribe("$SYS/broker/uptime").await?;
        client.unsubscribe("$share/g/t/#").await?;
        skein.subscribe("$skein/#", 1).await?;
        skein.publish("$skein/inventory/x", "", 1, false).await?;
        skein.publish("$skein/retained/x", "1", 1, true).await?;
        skein.take(QUIET, true).await?;
        client.publish("t/a", "1", 1, true).await?;
        secured
            .control()
            .await?
            .command(&[json!({"command": "listClients"})])
            .await?;
        assert_eq!(topics(&mut client, true).await?, ["t/a"], "{series:?}");
        let mut retained = secured.anonymous("other", true).await?;
        retained.subscribe("#", 1).await?;
        assert_eq!(topics(&mut retained, true).await?, ["t/a"], "{series:?}");

        client.publish("$skein/barrier/soil/i", "", 1, false).await?;
        assert_eq!(
            topics(&mut skein, true).await?,
            Vec::<String>::new(),
            "{series:?}"
        );
        let evil = json!({"commands": [{"command": "createRole", "rolename": "evil"}]}).to_string();
        // 2.0 closes the connection for this, 2.1 acknowledges and does nothing.
        let _ = client
            .publish("$CONTROL/dynamic-security/v1", &evil, 1, false)
            .await;
        let roles = secured
            .control()
            .await?
            .command(&[json!({"command": "listRoles"})])
            .await?;
        assert!(!roles[0].to_string().contains("evil"), "{series:?} {roles:?}");
    }
    Ok(())
}

#[tokio::test]
async fn whoever_knows_a_bridges_client_id_can_rob_it() -> Result<()> {
    // Binding the user to the client id does not bind the client id to the user.
    for series in Series::ALL {
        let mut security = security_file(&[("a-b", rights(&[], &["#", "$skein/#"]))], &anonymous_rights());
        security["clients"][1]["clientid"] = json!(ID);
        let secured = Secured::start(series, &security, "").await?;
        let mut skein = secured.user("skein", "s", true).await?;
        for clean in [false, true] {
            let mut bridge = secured.user("a-b", ID, false).await?;
            bridge.subscribe("t/#", 1).await?;
            bridge.subscribe("$skein/#", 1).await?;
            bridge.disconnect().await?;
            skein.publish("t/1", "", 1, false).await?;
            skein.publish("$skein/1", "", 1, false).await?;
            let mut thief = secured.anonymous(ID, clean).await?;
            let stolen: &[&str] = if clean { &[] } else { &["t/1"] };
            assert_eq!(topics(&mut thief, false).await?, stolen, "{series:?} {clean}");
            thief.disconnect().await?;
            let mut bridge = secured.user("a-b", ID, false).await?;
            assert_eq!(bridge.session_present(), !clean, "{series:?}");
            assert_eq!(topics(&mut bridge, true).await?, stolen, "{series:?} {clean}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_refusals_a_hash_covers_dollar_topics_on_the_oldest_version_only() -> Result<()> {
    for series in Series::ALL {
        let lax = [
            acl("subscribePattern", "#", true, 0),
            acl("publishClientReceive", "#", true, 0),
        ];
        let secured = Secured::start(series, &security_file(&[], &lax), "").await?;
        let mut client = secured.anonymous("client", true).await?;
        let oldest = series == Series::Oldest;
        assert_eq!(client.subscribe("$skein/#", 1).await?, oldest, "{series:?}");
        assert_eq!(client.subscribe("$share/g/t", 1).await?, oldest, "{series:?}");
        secured
            .user("skein", "s", true)
            .await?
            .publish("$skein/x", "", 1, false)
            .await?;
        // What arrives is judged by the filter's usual meaning on both.
        assert_eq!(
            topics(&mut client, true).await?,
            Vec::<String>::new(),
            "{series:?}"
        );
    }
    Ok(())
}
